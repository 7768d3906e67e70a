//! `cargo xtask publish`: the image in dist/ onto a registry, when somebody says so.

use std::io::Write;
use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result, ensure};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use clap::Args;
use imps_testbed::shipped_image;
use serde_json::{Value, json};
use tempfile::NamedTempFile;

use crate::dist::{CHECKSUMS, FOLDER, image_file};
use crate::origin::VERSION;
use crate::packages;
use crate::workspace::{output_of, root};

/// Who pushes, where skopeo does not know it by itself.
const USER: &str = "IMPS_REGISTRY_USER";
const PASSWORD: &str = "IMPS_REGISTRY_PASSWORD";

/// Say what of dist/ would be pushed where; with --push, do it.
///
/// The login is taken from IMPS_REGISTRY_USER and IMPS_REGISTRY_PASSWORD, or is one of `skopeo login`.
#[derive(Args)]
pub(crate) struct Publish {
    /// The repository of the image, such as registry.example/imps. The tag is the version.
    repository: String,
    /// Push.
    #[arg(long)]
    push: bool,
    /// Fail unless this is the tag of the version, which is `v` and the version.
    #[arg(long, value_name = "TAG")]
    tagged: Option<String>,
    /// The registry has no TLS.
    #[arg(long)]
    plain_http: bool,
}

impl Publish {
    /// Carries the command out.
    pub(crate) fn run(&self) -> Result<()> {
        if let Some(tag) = &self.tagged {
            ensure!(
                *tag == format!("v{VERSION}"),
                "{tag} is not the tag of version {VERSION}: set the version in Cargo.toml before tagging"
            );
        }
        let dist = root().join(FOLDER);
        let file = dist.join(image_file());
        ensure!(file.is_file(), "there is no {}: make it with `cargo xtask dist`", file.display());
        output_of(Command::new("sha256sum").args(["--check", "--strict", CHECKSUMS]).current_dir(&dist))
            .context("dist/ is not as it was made: make it anew with `cargo xtask dist`")?;
        let (to, digest) = (format!("{}:{VERSION}", self.repository), digest_of(&file)?);
        if !self.push {
            println!("would push {FOLDER}/{} as {to}: {digest}", image_file());
            println!("nothing was pushed; --push does it");
            return Ok(());
        }
        packages::provide_for_image()?;
        let variable = |name| std::env::var(name).ok().filter(|value| !value.is_empty());
        let login = variable(USER).zip(variable(PASSWORD));
        let authfile = login.map(|login| write_login(&self.repository, &login)).transpose()?;
        let path = authfile.as_ref().map(NamedTempFile::path);
        let pushed = shipped_image::push(&file, &to, path, self.plain_http)?;
        ensure!(pushed == digest, "{to} is {pushed}, and not {digest} as in dist/");
        println!("pushed {to}: {digest}");
        println!("for the chart: --set image.repository={},image.digest={digest}", self.repository);
        Ok(())
    }
}

/// The digest by which a registry will know the image in this archive.
fn digest_of(archive: &Path) -> Result<String> {
    let index = output_of(Command::new("tar").arg("-xOf").arg(archive).arg("index.json"))?;
    let index: Value = serde_json::from_str(&index).context("the index of the image is not JSON")?;
    let digest = index["manifests"][0]["digest"].as_str();
    digest.map(str::to_owned).context("the index of the image names no digest")
}

/// A login in a file that only its owner can read and that is gone with the value: arguments are seen by everybody.
fn write_login(repository: &str, (user, password): &(String, String)) -> Result<NamedTempFile> {
    let host = repository.split('/').next().unwrap_or(repository);
    let auth = STANDARD.encode(format!("{user}:{password}"));
    let mut file = NamedTempFile::new().context("cannot make a file for the login")?;
    let text = json!({"auths": {host: {"auth": auth}}}).to_string();
    file.write_all(text.as_bytes()).context("cannot write the login")?;
    Ok(file)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;
    use std::os::unix::fs::PermissionsExt;

    #[test]
    fn a_login_is_for_the_host_of_the_repository_and_for_its_owner_s_eyes() {
        let login = ("robot".to_owned(), "made-up".to_owned());
        let file = write_login("127.0.0.1:5000/team/imps", &login).expect("written");
        let text = fs::read_to_string(file.path()).expect("read");
        assert_eq!(text, r#"{"auths":{"127.0.0.1:5000":{"auth":"cm9ib3Q6bWFkZS11cA=="}}}"#);
        assert_eq!(file.as_file().metadata().expect("known").permissions().mode() & 0o077, 0);
    }
}
