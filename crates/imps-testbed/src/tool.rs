//! A program that is run to its end; what it complained about is in the error.

use std::process::{Command, Stdio};

use anyhow::{Context, Result, ensure};

/// Runs it; what it prints is of no interest.
pub(crate) fn run(command: &mut Command) -> Result<()> {
    output_of(command).map(drop)
}

/// Runs it, and returns what it printed.
pub(crate) fn output_of(command: &mut Command) -> Result<String> {
    let program = command.get_program().to_string_lossy().into_owned();
    let output = command.stdin(Stdio::null()).output().with_context(|| format!("cannot run {program}"))?;
    let complaint = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "{program} failed: {}", complaint.trim());
    String::from_utf8(output.stdout).with_context(|| format!("{program} does not print text"))
}
