//! Debian packages that some tests need, and the image.

use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result, bail};
use imps_testbed::cloud::environment;
use imps_testbed::{clock, lua, node, promtool, registry, shipped_image};

use crate::workspace::output_of;

/// Installs what is missing where that is safe to do unasked, else names it; an error says what is still missing.
///
/// Safe is: Debian, as root, and no init system that would start a service of the package on its own address.
pub(crate) fn provide() -> Result<()> {
    install(missing).context("tests are skipped")
}

/// The same for what builds the image and takes it to a registry.
pub(crate) fn provide_for_image() -> Result<()> {
    install(|| [shipped_image::missing_packages(), registry::missing_packages()].concat())
}

fn install(missing: impl Fn() -> Vec<&'static str>) -> Result<()> {
    let found = missing();
    if found.is_empty() {
        return Ok(());
    }
    if may_install() {
        eprintln!("  installing {}", found.join(", "));
        output_of(&mut apt_get(&["update", "-qq"]))?;
        output_of(apt_get(&["install", "-qq", "--yes", "--no-install-recommends"]).args(&found))?;
    }
    let missing = missing();
    if !missing.is_empty() {
        bail!("missing: on Debian `apt-get install {}`", missing.join(" "));
    }
    Ok(())
}

/// Those of a node only where one could run.
fn missing() -> Vec<&'static str> {
    let mut packages = [
        registry::missing_packages(),
        environment::missing_packages(),
        clock::missing_packages(),
        lua::missing_packages(),
        promtool::missing_packages(),
        shipped_image::missing_packages(),
    ]
    .concat();
    if node::permitted().is_ok() {
        packages.extend(node::missing_packages());
    }
    packages
}

fn may_install() -> bool {
    let root = output_of(Command::new("id").arg("-u")).is_ok_and(|id| id.trim() == "0");
    root && Path::new("/etc/debian_version").exists() && !Path::new("/run/systemd/system").exists()
}

fn apt_get(arguments: &[&str]) -> Command {
    let mut command = Command::new("apt-get");
    command.args(arguments).env("DEBIAN_FRONTEND", "noninteractive");
    command
}
