//! The program `imps`, built from this tree.

use std::path::PathBuf;
use std::process::Stdio;

use anyhow::{Context, Result, bail};
use serde_json::Value;

use crate::workspace::cargo;

/// How it is compiled.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Profile {
    /// Quick to compile; what developers have at hand.
    Debug,
    /// As it is shipped.
    Release,
}

/// Builds a program of this workspace, with cargo's own output for the user, and returns where it is.
pub(crate) fn build(package: &str, profile: Profile) -> Result<PathBuf> {
    let mut command = cargo(&["build", "--locked", "--package", package]);
    // The name of the file stands in messages on standard output; what a person reads goes to standard error.
    command.arg("--message-format=json-render-diagnostics");
    if profile == Profile::Release {
        command.arg("--release");
    }
    let built = command.stdin(Stdio::null()).stderr(Stdio::inherit()).output().context("cannot run cargo")?;
    if !built.status.success() {
        bail!("{package} does not build");
    }
    let messages = String::from_utf8_lossy(&built.stdout);
    executable(&messages, package).with_context(|| format!("cargo built no program named {package}"))
}

/// The program among cargo's messages.
fn executable(messages: &str, name: &str) -> Option<PathBuf> {
    let messages = messages.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
    let ours = messages.filter(|message| message.pointer("/target/name").is_some_and(|found| found == name));
    ours.filter_map(|message| message.get("executable")?.as_str().map(PathBuf::from)).next_back()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_program_is_found_among_messages() {
        let messages = concat!(
            r#"{"reason":"compiler-artifact","target":{"name":"imps_core"},"executable":null}"#,
            "\n",
            r#"{"reason":"compiler-artifact","target":{"name":"imps"},"executable":"/t/debug/imps"}"#,
            "\n",
            r#"{"reason":"build-finished","success":true}"#,
        );
        assert_eq!(executable(messages, "imps"), Some(PathBuf::from("/t/debug/imps")));
        assert_eq!(executable(messages, "xtask"), None);
    }
}
