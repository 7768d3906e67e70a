//! Skips that can be seen: a test that cannot run here says so, is counted, and fails in CI.

use std::fmt;
use std::io::Write;

/// Something this machine lacks, and how to get it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Missing {
    what: String,
    obtainable: bool,
}

impl Missing {
    /// Says what is missing, in words for the person who runs the tests.
    pub fn new(what: impl Into<String>) -> Self {
        Self { what: what.into(), obtainable: true }
    }

    /// Names Debian packages that are missing.
    #[must_use]
    pub fn packages(packages: &[&str]) -> Self {
        Self::new(format!("needs Debian packages {}", packages.join(", ")))
    }

    /// Says what this machine, or whoever runs on it, is not allowed: nothing that could be installed helps.
    pub fn privilege(what: impl Into<String>) -> Self {
        Self { what: what.into(), obtainable: false }
    }

    /// Skips the running test as [`skip_or_fail`] does; the caller returns right after it.
    ///
    /// # Panics
    ///
    /// When `CI=true` and it could have been installed or built. A privilege that is missing is a skip in CI too.
    pub fn skip_or_fail(&self) {
        if self.obtainable { skip_or_fail(self) } else { record(&line_of(self)) }
    }
}

impl fmt::Display for Missing {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.what)
    }
}

impl std::error::Error for Missing {}

/// Records that the running test is skipped; the caller returns right after it.
///
/// Prints `skipped: <test>: <reason>` and appends the same line to the file that `IMPS_SKIP_LOG` names, from which
/// `cargo xtask test` counts. The name of the test is the name of its thread, as the test harness sets it.
///
/// # Panics
///
/// When `CI=true`: there, everything a test needs must be present.
pub fn skip_or_fail(reason: impl fmt::Display) {
    let line = line_of(reason);
    assert!(std::env::var("CI").as_deref() != Ok("true"), "{line} (CI=true: a skip is a failure)");
    record(&line);
}

fn line_of(reason: impl fmt::Display) -> String {
    let thread = std::thread::current();
    format!("skipped: {}: {reason}", thread.name().unwrap_or("a test"))
}

fn record(line: &str) {
    say(line);
    let Some(log) = std::env::var_os("IMPS_SKIP_LOG") else { return };
    let file = std::fs::OpenOptions::new().append(true).create(true).open(log);
    // In one piece: other tests append to the same file at the same time.
    let entry = format!("{line}\n");
    if let Err(error) = file.and_then(|mut file| file.write_all(entry.as_bytes())) {
        say(&format!("the skip could not be written to IMPS_SKIP_LOG: {error}"));
    }
}

#[expect(clippy::print_stderr, reason = "the one place where a test's skip reaches the person who runs it")]
fn say(line: &str) {
    eprintln!("{line}");
}
