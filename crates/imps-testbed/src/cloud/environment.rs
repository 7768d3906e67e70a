//! The Python environment of the emulated clouds: the pinned packages of `tools/cloud/requirements.txt`, in the cache.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::OnceLock;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use sha2::{Digest, Sha256};

use super::folder;
use crate::binaries::cache_folder;
use crate::daemon::tail;
use crate::plane_build::{PARTIAL, Progress, TELL_EVERY, lock, remove_interrupted_builds};
use crate::skip::Missing;

/// How much of the output of Python a failure shows.
const SHOWN_LINES: usize = 20;

/// The Python of the environment, if `cargo xtask test` has made it.
pub fn find() -> Result<PathBuf, Missing> {
    let python = home().map(|home| interpreter(&home)).map_err(|error| Missing::new(format!("{error:#}")))?;
    // Follows the link to the Python that it was made with, which may be gone.
    if python.is_file() {
        Ok(python)
    } else {
        Err(Missing::new("needs the Python packages of tools/cloud, which `cargo xtask test` fetches once"))
    }
}

/// The Debian packages without which [`build`] cannot work on this machine.
#[must_use]
pub fn missing_packages() -> Vec<&'static str> {
    let able = Command::new("python3").args(["-c", "import ensurepip, venv"]).output();
    if able.is_ok_and(|output| output.status.success()) { vec![] } else { vec!["python3-venv"] }
}

/// Makes the environment unless it is there, and returns its Python.
///
/// Safe to call from several processes at once: the second waits for the first and finds its work.
pub fn build(watch: &mut dyn FnMut(Progress<'_>)) -> Result<PathBuf> {
    let home = home()?;
    let python = interpreter(&home);
    if python.is_file() {
        return Ok(python);
    }
    let cache = home.parent().context("the cache has a folder")?;
    let _lock = lock(cache, watch)?;
    if python.is_file() {
        return Ok(python);
    }
    ensure!(
        missing_packages().is_empty(),
        "python3 has no venv or no pip: on Debian `apt-get install python3-venv`"
    );
    watch(Progress::Note(&format!("the packages are fetched once; they are cached in {}", home.display())));
    remove_interrupted_builds(cache)?;
    let partial = tempfile::Builder::new().prefix(PARTIAL).tempdir_in(cache);
    let partial = partial.context("cannot make a folder for the environment")?;
    fill(partial.path(), watch)?;
    // Only a whole environment gets the final name. What is there now has lost its Python.
    if home.exists() {
        fs::remove_dir_all(&home).context("cannot remove an environment without a Python")?;
    }
    fs::rename(partial.keep(), &home).context("cannot put the environment in place")?;
    Ok(python)
}

/// The folder of the environment that belongs to the pins and to this machine's Python. It may not exist yet.
fn home() -> Result<PathBuf> {
    let requirements = requirements();
    let pins = fs::read(&requirements).with_context(|| format!("cannot read {}", requirements.display()))?;
    Ok(cache_folder()?.join("cloud").join(key(&pins, python_version()?)))
}

fn interpreter(home: &Path) -> PathBuf {
    home.join("bin/python")
}

fn requirements() -> PathBuf {
    folder().join("requirements.txt")
}

/// Changes whenever other packages would be installed.
fn key(pins: &[u8], python_version: &str) -> String {
    let digest = Sha256::new().chain_update(pins).chain_update(python_version).finalize();
    digest.iter().take(8).map(|byte| format!("{byte:02x}")).collect()
}

fn python_version() -> Result<&'static str> {
    // Asked once: a test program wants to know for each of its tests.
    static VERSION: OnceLock<String> = OnceLock::new();
    match VERSION.get() {
        Some(version) => Ok(version),
        None => ask_version().map(|version| VERSION.get_or_init(|| version).as_str()),
    }
}

fn ask_version() -> Result<String> {
    let output = Command::new("python3").args(["-c", "import sys; print(sys.version)"]).output();
    let output = output.context("needs python3 (on Debian `apt-get install python3-venv`)")?;
    ensure!(
        output.status.success(),
        "python3 does not run: {}",
        String::from_utf8_lossy(&output.stderr).trim()
    );
    Ok(String::from_utf8_lossy(&output.stdout).trim().to_owned())
}

fn fill(home: &Path, watch: &mut dyn FnMut(Progress<'_>)) -> Result<()> {
    let mut venv = Command::new("python3");
    venv.args(["-m", "venv"]).arg(home);
    let mut pip = Command::new(interpreter(home));
    pip.args(["-m", "pip", "install", "--no-input", "--disable-pip-version-check", "--requirement"]);
    pip.arg(requirements());
    let log = home.join("build.log");
    for (number, what, mut command) in
        [(1, "making a Python environment", venv), (2, "fetching Python packages", pip)]
    {
        watch(Progress::Step { number, of: 2, what });
        let begun = Instant::now();
        run(&mut command, &log, watch)
            .with_context(|| format!("{what} failed. The end of the output:\n{}", tail(&log, SHOWN_LINES)))?;
        watch(Progress::Done { elapsed: begun.elapsed() });
    }
    Ok(())
}

/// Runs a command to its end, with what it prints in a file.
fn run(command: &mut Command, log: &Path, watch: &mut dyn FnMut(Progress<'_>)) -> Result<()> {
    let file = File::create(log).context("cannot make a log file")?;
    let errors = file.try_clone().context("cannot share a log file")?;
    let child = command.stdin(Stdio::null()).stdout(file).stderr(errors).spawn();
    let mut child = child.context("cannot run Python")?;
    let begun = Instant::now();
    let mut told = begun;
    loop {
        if let Some(status) = child.try_wait().context("cannot wait for Python")? {
            return if status.success() { Ok(()) } else { bail!("Python ended with {status}") };
        }
        if told.elapsed() >= TELL_EVERY {
            told = Instant::now();
            watch(Progress::Still { elapsed: begun.elapsed(), detail: tail(log, 1).trim() });
        }
        std::thread::sleep(Duration::from_millis(50));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_key_follows_the_pins_and_the_version_of_python() {
        assert_eq!(key(b"moto==5", "3.11.7"), key(b"moto==5", "3.11.7"));
        assert_ne!(key(b"moto==5", "3.11.7"), key(b"moto==6", "3.11.7"));
        assert_ne!(key(b"moto==5", "3.11.7"), key(b"moto==5", "3.12.0"));
    }

    #[test]
    fn every_package_is_pinned() {
        let text = fs::read_to_string(requirements()).expect("readable");
        for line in text.lines().filter(|line| !line.starts_with('#')) {
            assert!(line.contains("=="), "{line}");
        }
    }

    #[test]
    fn a_failure_shows_what_python_said() {
        let folder = tempfile::tempdir().expect("a folder");
        let log = folder.path().join("log");
        let mut command = Command::new("sh");
        command.args(["-c", "echo no such package >&2; exit 3"]);
        run(&mut command, &log, &mut |_| ()).expect_err("fails");
        assert_eq!(tail(&log, 1), "no such package");
    }
}
