//! Programs that the kubelet asks for logins.

use std::ffi::OsString;
use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

use anyhow::{Context, Result};
use serde_json::json;

/// A program of the node, asked by `--image-credential-provider-config`.
#[derive(Clone, Debug)]
pub struct Plugin {
    /// What it is called.
    pub name: &'static str,
    /// For which images it is asked: a host, or one with a path.
    pub images: String,
    /// What it does, as a shell does it.
    pub script: String,
}

/// Puts them where the kubelet finds them; what it has to be told.
pub(super) fn install(plugins: &[Plugin], folder: &Path) -> Result<Vec<OsString>> {
    if plugins.is_empty() {
        return Ok(Vec::new());
    }
    let programs = folder.join("credential-providers");
    fs::create_dir_all(&programs).context("cannot make a folder for plugins")?;
    for Plugin { name, script, .. } in plugins {
        let program = programs.join(name);
        fs::write(&program, format!("#!/bin/sh\n{script}\n")).context("cannot write a plugin")?;
        fs::set_permissions(&program, Permissions::from_mode(0o755))
            .context("cannot make a plugin a program")?;
    }
    let provider = |plugin: &Plugin| {
        json!({
            "name": plugin.name,
            "matchImages": [plugin.images],
            "defaultCacheDuration": "0s",
            "apiVersion": "credentialprovider.kubelet.k8s.io/v1",
        })
    };
    let providers: Vec<_> = plugins.iter().map(provider).collect();
    let kind = "CredentialProviderConfig";
    let text = json!({"apiVersion": "kubelet.config.k8s.io/v1", "kind": kind, "providers": providers});
    let configuration = folder.join("credential-providers.json");
    fs::write(&configuration, text.to_string()).context("cannot configure plugins")?;
    Ok(vec![
        "--image-credential-provider-config".into(),
        configuration.into(),
        "--image-credential-provider-bin-dir".into(),
        programs.into(),
    ])
}
