//! promtool, which judges rules of Prometheus and plays cases against them: Debian's.

use std::ffi::OsStr;
use std::process::Command;

use anyhow::{Context, Result, ensure};

use crate::skip::Missing;

const PROGRAM: &str = "promtool";
/// The package that has it, beside the server, which nobody here starts.
const PACKAGE: &str = "prometheus";

/// Debian packages that are missing here.
#[must_use]
pub fn missing_packages() -> Vec<&'static str> {
    if find().is_ok() { Vec::new() } else { vec![PACKAGE] }
}

/// Finds the program, or says what is missing.
pub fn find() -> Result<(), Missing> {
    let found = Command::new(PROGRAM).arg("--version").output().is_ok_and(|output| output.status.success());
    if found { Ok(()) } else { Err(Missing::packages(&[PACKAGE])) }
}

/// Runs it to its end; what it finds wrong is the error.
pub fn run(arguments: &[impl AsRef<OsStr>]) -> Result<()> {
    let output = Command::new(PROGRAM).args(arguments).output().context("cannot run promtool")?;
    let said = [output.stdout, output.stderr].concat();
    ensure!(output.status.success(), "promtool: {}", String::from_utf8_lossy(&said).trim());
    Ok(())
}
