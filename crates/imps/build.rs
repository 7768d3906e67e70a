//! Tells the program which compiler made it. The commit is for whoever builds a release to tell, as `IMPS_COMMIT`: a
//! build asks no git, so that it is the same outside of a repository.

use std::process::Command;

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    println!("cargo::rustc-env=IMPS_RUSTC={}", version().unwrap_or_else(|| "unknown".to_owned()));
}

/// `1.95.0` of `rustc 1.95.0 (59807616e 2026-04-14)`.
fn version() -> Option<String> {
    let output = Command::new(std::env::var_os("RUSTC")?).arg("--version").output().ok()?;
    let text = String::from_utf8(output.stdout).ok()?;
    text.split(' ').nth(1).map(|version| version.trim().to_owned())
}
