//! The real helm, with a home of its own: it sees no repository, no plugin and no kubeconfig but the one it is given.

use std::ffi::OsStr;
use std::path::PathBuf;
use std::process::Command;

use anyhow::{Context, Result};

use crate::binaries;
use crate::skip::Missing;

/// The program helm.
#[derive(Debug)]
pub struct Helm {
    program: PathBuf,
    home: tempfile::TempDir,
    kubeconfig: Option<PathBuf>,
}

/// What helm printed, and whether it succeeded.
#[derive(Clone, Debug)]
pub struct Said {
    /// Whether it succeeded.
    pub succeeded: bool,
    /// Standard output.
    pub output: String,
    /// Standard error.
    pub complaint: String,
}

impl Said {
    /// The output, or the complaint of a run that failed.
    pub fn done(self) -> Result<String, String> {
        if self.succeeded { Ok(self.output) } else { Err(self.complaint) }
    }
}

impl Helm {
    /// Finds helm, or says what is missing.
    pub fn find() -> Result<Self, Missing> {
        let program = binaries::helm().map_err(|error| Missing::new(format!("{error:#}")))?;
        let home =
            tempfile::tempdir().map_err(|error| Missing::new(format!("a folder for helm: {error}")))?;
        Ok(Self { program, home, kubeconfig: None })
    }

    /// The same, for the cluster of this kubeconfig.
    #[must_use]
    pub fn on(mut self, kubeconfig: PathBuf) -> Self {
        self.kubeconfig = Some(kubeconfig);
        self
    }

    /// Runs helm to its end.
    pub fn run(&self, arguments: &[impl AsRef<OsStr>]) -> Result<Said> {
        let output = self.command(arguments).output().context("cannot run helm")?;
        let text = |bytes: Vec<u8>| String::from_utf8_lossy(&bytes).into_owned();
        let succeeded = output.status.success();
        Ok(Said { succeeded, output: text(output.stdout), complaint: text(output.stderr) })
    }

    fn command(&self, arguments: &[impl AsRef<OsStr>]) -> Command {
        let mut command = Command::new(&self.program);
        for (name, _) in std::env::vars_os().filter(|(name, _)| name.to_string_lossy().starts_with("HELM_")) {
            command.env_remove(name);
        }
        for name in ["HELM_CONFIG_HOME", "HELM_CACHE_HOME", "HELM_DATA_HOME"] {
            command.env(name, self.home.path());
        }
        // A file that is not there: whatever the developer's own kubeconfig points to is never reached.
        let none = self.home.path().join("no-cluster");
        command.env("KUBECONFIG", self.kubeconfig.as_ref().unwrap_or(&none)).args(arguments);
        command
    }
}
