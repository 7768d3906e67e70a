//! `cargo xtask test`: the whole test command, the same on a laptop and in CI.

use std::fs;
use std::path::Path;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use clap::Args;
use imps_testbed::control_plane::{ControlPlane, Options};
use imps_testbed::node;

use crate::check::{Format, Lint};
use crate::codegen::Codegen;
use crate::console::spoken;
use crate::tidy::Tidy;
use crate::workspace::{cargo, follow};
use crate::{cloud, packages, plane};

/// Run everything that must hold before a change goes in.
///
/// Static checks first, then every test against one real control plane, which is built on the first run (about five
/// minutes) and started for the run. The last line counts tests: `N passed, N failed, N skipped`. With CI=true what is
/// missing on the machine is a failure and not a skip.
#[derive(Args)]
pub(crate) struct Test {
    /// Leave out clippy and cargo-deny.
    #[arg(long)]
    quick: bool,
    /// Passed on to `cargo test`; static checks are left out then. Example: -- -p imps-core selector
    #[arg(last = true)]
    rest: Vec<String>,
}

impl Test {
    /// Carries the command out. A failure is in the summary and in the exit code, so that the closing line is the last.
    pub(crate) fn run(&self) -> Result<ExitCode> {
        let all = self.rest.is_empty();
        let mut steps = Steps::of(match (all, self.quick) {
            (false, _) => 6,
            (true, true) => 9,
            (true, false) => 10,
        });
        if all {
            steps.take("tidy: house rules", || Tidy {}.run());
            steps.take("fmt: cargo fmt --check", || Format { check: true }.run());
            if !self.quick {
                steps.take("lint: clippy and cargo-deny", || Lint {}.run());
            }
            steps.take("codegen: generated files are fresh", || Codegen { check: true }.run());
        }
        steps.take_optional("packages: what tests need from Debian", packages::provide);
        steps.take_optional("cloud: Python packages for the emulated clouds", cloud::provide);
        steps.take("plane build: etcd, kube-apiserver, kube-controller-manager, helm, kubelet", || {
            plane::provide_binaries()?;
            plane::provide_helm()?;
            if node::permitted().is_ok() { plane::provide_node_binaries() } else { Ok(()) }
        });
        let runtime = tokio::runtime::Runtime::new().context("no async runtime")?;
        let shared = steps.take("plane start: one control plane for all tests", || runtime.block_on(start()));
        let folder = shared.as_ref().map(|owner| owner.folder().to_owned());
        let tests = steps.take("test: cargo test", || self.tests(folder.as_deref())).unwrap_or_default();
        if tests.failed > 0 {
            steps.mark_red();
        }
        steps.take("plane stop", || {
            if let Some(owner) = shared {
                runtime.block_on(owner.stop());
            }
            Ok(())
        });
        Ok(if steps.close(tests) { ExitCode::SUCCESS } else { ExitCode::FAILURE })
    }

    /// Runs the tests and counts them; failed ones are in the count, not in the error.
    fn tests(&self, plane: Option<&Path>) -> Result<Count> {
        let skips = tempfile::NamedTempFile::new().context("cannot make a file for skips")?;
        let mut tests = cargo(&["test", "--workspace", "--locked", "--no-fail-fast"]);
        if !self.rest.is_empty() {
            tests = cargo(&["test", "--locked"]);
            tests.args(&self.rest);
        }
        tests.env("IMPS_SKIP_LOG", skips.path());
        if let Some(folder) = plane {
            tests.env("IMPS_TEST_PLANE", folder);
        }
        let mut count = Count::default();
        let succeeded = follow(&mut tests, |line| {
            println!("{line}");
            count.learn(line);
        })?;
        let skipped = fs::read_to_string(skips.path()).context("cannot read the skips")?;
        for line in skipped.lines() {
            println!("{line}");
        }
        count.skip(skipped.lines().count());
        if !succeeded && count.failures.is_empty() {
            count.failed += 1;
            count.failures.push("cargo test itself: not every test could be compiled or run".to_owned());
        }
        Ok(count)
    }
}

async fn start() -> Result<ControlPlane> {
    let owner = ControlPlane::start(Options { audit: true, ..Options::as_full_as_possible()? }).await?;
    owner.write_record()?;
    Ok(owner)
}

/// What became of the tests.
#[derive(Debug, Default, PartialEq, Eq)]
struct Count {
    passed: usize,
    failed: usize,
    skipped: usize,
    /// The names of the failed ones, which are far up on the screen when the last program is done.
    failures: Vec<String>,
}

impl Count {
    /// Reads `test <name> ... FAILED`, and the totals of one test program: `test result: ok. 5 passed; 0 failed; …`.
    fn learn(&mut self, line: &str) {
        if let Some(name) = line.strip_prefix("test ").and_then(|rest| rest.strip_suffix(" ... FAILED")) {
            self.failures.push(name.to_owned());
        }
        let Some(totals) = line.strip_prefix("test result: ").and_then(|rest| rest.split_once(". ")) else {
            return;
        };
        for part in totals.1.split(';') {
            match part.trim().split_once(' ') {
                Some((number, "passed")) => self.passed += number.parse::<usize>().unwrap_or_default(),
                Some((number, "failed")) => self.failed += number.parse::<usize>().unwrap_or_default(),
                Some((number, "ignored")) => self.skipped += number.parse::<usize>().unwrap_or_default(),
                _ => {}
            }
        }
    }

    /// The harness knows no skip at run time: a test that skipped itself is among the passed.
    fn skip(&mut self, tests: usize) {
        self.passed = self.passed.saturating_sub(tests);
        self.skipped += tests;
    }
}

/// What was done, how long it took and how it ended.
struct Steps {
    of: usize,
    rows: Vec<Row>,
}

struct Row {
    what: String,
    took: Duration,
    ended: Ended,
}

#[derive(PartialEq, Eq)]
enum Ended {
    Well,
    /// Something is missing on this machine, which only CI minds.
    Without,
    Badly,
    /// Its tests failed, which are counted one by one.
    Red,
}

impl Steps {
    /// Announces how many steps there will be.
    fn of(of: usize) -> Self {
        Self { of, rows: Vec::new() }
    }

    /// Takes a step; its error is shown and remembered, and the next step is taken all the same.
    fn take<T>(&mut self, what: &str, step: impl FnOnce() -> Result<T>) -> Option<T> {
        self.record(what, Ended::Badly, step)
    }

    /// A step that may fail outside CI.
    fn take_optional(&mut self, what: &str, step: impl FnOnce() -> Result<()>) {
        let in_ci = std::env::var("CI").is_ok_and(|value| value == "true");
        self.record(what, if in_ci { Ended::Badly } else { Ended::Without }, step);
    }

    fn record<T>(&mut self, what: &str, failure: Ended, step: impl FnOnce() -> Result<T>) -> Option<T> {
        println!("==> [{}/{}] {what}", self.rows.len() + 1, self.of);
        let begun = Instant::now();
        let done = step();
        let took = begun.elapsed();
        let (ended, word, value) = match done {
            Ok(value) => (Ended::Well, "done", Some(value)),
            Err(error) => {
                println!("{error:#}");
                (failure, "failed", None)
            }
        };
        let word = if ended == Ended::Without { "not possible here" } else { word };
        println!("<== {word} in {}\n", spoken(took));
        self.rows.push(Row { what: what.to_owned(), took, ended });
        value
    }

    /// Says of the last step that what it ran has failed.
    fn mark_red(&mut self) {
        if let Some(row) = self.rows.last_mut() {
            row.ended = Ended::Red;
        }
    }

    /// Prints the summary, whose last line is the closing line, and says whether everything went well.
    fn close(self, mut tests: Count) -> bool {
        println!("summary");
        for row in &self.rows {
            let mark = match row.ended {
                Ended::Well => "ok",
                Ended::Without => "--",
                Ended::Badly | Ended::Red => "FAILED",
            };
            println!("  {mark:6}  {:>12}  {}", spoken(row.took), row.what);
        }
        for name in &tests.failures {
            println!("  FAILED  {name}");
        }
        // So that the closing line of a red run never says that nothing failed.
        tests.failed += self.rows.iter().filter(|row| row.ended == Ended::Badly).count();
        println!("{} passed, {} failed, {} skipped", tests.passed, tests.failed, tests.skipped);
        tests.failed == 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use anyhow::bail;

    #[test]
    fn totals_of_all_test_programs_are_added_up_and_skips_are_not_passes() {
        let mut count = Count::default();
        count.learn(
            "test result: ok. 5 passed; 0 failed; 1 ignored; 0 measured; 0 filtered out; finished in 0.00s",
        );
        count.learn(
            "test result: FAILED. 2 passed; 3 failed; 0 ignored; 0 measured; 0 filtered out; finished in 1s",
        );
        count.learn("running 5 tests");
        count.learn("test a::b ... FAILED");
        count.learn("test a::c ... ok");
        count.skip(2);
        assert_eq!(count, Count { passed: 5, failed: 3, skipped: 3, failures: vec!["a::b".into()] });
    }

    #[test]
    fn a_step_that_fails_makes_the_whole_run_fail() {
        let mut steps = Steps::of(2);
        assert_eq!(steps.take("one", || Ok(1)), Some(1));
        assert!(steps.take("two", || -> Result<()> { bail!("no") }).is_none());
        assert!(!steps.close(Count { passed: 3, ..Count::default() }));
    }

    #[test]
    fn a_test_that_fails_makes_the_whole_run_fail() {
        let mut steps = Steps::of(1);
        steps.take("one", || Ok(()));
        steps.mark_red();
        assert!(!steps.close(Count { passed: 3, failed: 1, ..Count::default() }));
        assert!(Steps::of(0).close(Count { passed: 3, ..Count::default() }));
    }
}
