//! `cargo xtask fmt` and `cargo xtask lint`: what other people's tools find.

use std::path::PathBuf;
use std::process::Command;

use anyhow::{Context, Result};
use clap::Args;
use imps_testbed::binaries::cache_folder;

use crate::workspace::{cargo, output_of, root, run};

/// Licences, sources and banned crates are judged by this version, so that everyone gets the same judgement.
const CARGO_DENY: &str = "0.20.2";

/// Format every crate.
#[derive(Args)]
pub(crate) struct Format {
    /// Change nothing, fail where something would be changed.
    #[arg(long)]
    pub(crate) check: bool,
}

impl Format {
    /// Carries the command out.
    pub(crate) fn run(&self) -> Result<()> {
        let check: &[&str] = if self.check { &["--check"] } else { &[] };
        run(cargo(&["fmt", "--all"]).args(check))
    }
}

/// Look for mistakes: clippy on everything, then cargo-deny on licences, sources and banned crates.
///
/// cargo-deny is taken from the PATH or the cache in the pinned version, else built into the cache once. Known
/// vulnerabilities are not part of it: they need a database from the network and change without a change of ours.
#[derive(Args)]
pub(crate) struct Lint {}

impl Lint {
    /// Carries the command out.
    pub(crate) fn run(&self) -> Result<()> {
        run(&mut cargo(&["clippy", "--workspace", "--all-targets", "--locked", "--", "-D", "warnings"]))?;
        // What nobody builds by default would rot.
        let traces = ["clippy", "-p", "imps", "--features", "otel", "--all-targets", "--locked"];
        run(cargo(&traces).args(["--", "-D", "warnings"]))?;
        let deny = cargo_deny()?;
        run(Command::new(deny)
            .args([
                "--locked",
                "--log-level",
                "warn",
                "check",
                "--hide-inclusion-graph",
                "bans",
                "licenses",
                "sources",
            ])
            .current_dir(root()))
    }
}

/// cargo-deny in the pinned version, built if need be.
fn cargo_deny() -> Result<PathBuf> {
    let tools = cache_folder()?.join("tools");
    let cached = tools.join("bin/cargo-deny");
    for candidate in [PathBuf::from("cargo-deny"), cached.clone()] {
        let version = output_of(Command::new(&candidate).arg("--version"));
        if version.is_ok_and(|version| version.trim() == format!("cargo-deny {CARGO_DENY}")) {
            return Ok(candidate);
        }
    }
    eprintln!("building cargo-deny {CARGO_DENY} into {}: some minutes, once", tools.display());
    let package = format!("cargo-deny@{CARGO_DENY}");
    let mut install = cargo(&["install", "--locked", "--force", &package, "--root"]);
    // Outside the tree, so that neither our lock file nor our toolchain settings matter to it.
    run(install.arg(&tools).current_dir(std::env::temp_dir())).context("cannot build cargo-deny")?;
    Ok(cached)
}
