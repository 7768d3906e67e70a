//! The program `imps`, built from this tree.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail};
use serde_json::Value;

use crate::workspace::{cargo, cargo_in, output_of};

/// The package, and the program that it is.
const NAME: &str = "imps";

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
    if profile == Profile::Release {
        command.arg("--release");
    }
    compile(&mut command, package)
}

/// Builds the program as it is shipped, of this tree and in this folder, neither of which leaves a trace in it. The
/// folder is for such builds only: others would be built anew each time.
pub(crate) fn build_shipped(tree: &Path, target: &Path) -> Result<PathBuf> {
    let mut command = cargo_in(tree, &["build", "--locked", "--package", NAME, "--release"]);
    command.arg("--target-dir").arg(target);
    // The last one that fits is taken, and this folder may be in the tree.
    let paths = [(tree.to_owned(), "/imps"), (cargo_home()?, "/cargo"), (target.to_owned(), "/target")];
    let flags = paths.map(|(path, name)| format!("--remap-path-prefix={}={name}", path.display()));
    // Whatever flags a developer has: these are all that a release is built with.
    command.env("CARGO_ENCODED_RUSTFLAGS", flags.join("\u{1f}")).env_remove("RUSTFLAGS");
    compile(&mut command, NAME)
}

/// What this machine builds for, as Rust names it.
pub(crate) fn target() -> Result<String> {
    let version = output_of(Command::new("rustc").arg("-vV").current_dir(crate::workspace::root()))?;
    let host = version.lines().find_map(|line| line.strip_prefix("host: "));
    host.map(str::to_owned).context("rustc does not say what it builds for")
}

/// Where cargo keeps the sources of crates.
fn cargo_home() -> Result<PathBuf> {
    let set = |name| std::env::var_os(name).filter(|value: &OsString| !value.is_empty()).map(PathBuf::from);
    let home = set("CARGO_HOME").or_else(|| Some(set("HOME")?.join(".cargo")));
    home.context("no home of cargo: set CARGO_HOME or HOME")
}

fn compile(command: &mut Command, package: &str) -> Result<PathBuf> {
    // The name of the file stands in messages on standard output; what a person reads goes to standard error.
    command.arg("--message-format=json-render-diagnostics");
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
