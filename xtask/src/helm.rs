//! `cargo xtask helm`: the pinned helm, for the chart of this project.

use std::process::{Command, ExitCode};

use anyhow::{Context, Result};
use clap::Args;

use crate::plane;

/// Run the helm that tests use; it is built from its pinned Go module once.
///
/// Example: -- template imps chart/imagepullsecrets --set image.repository=imps
#[derive(Args)]
pub(crate) struct Helm {
    /// Passed on to helm, which runs where you are and with your kubeconfig.
    #[arg(last = true)]
    arguments: Vec<String>,
}

impl Helm {
    /// Carries the command out; helm's exit code is ours.
    pub(crate) fn run(&self) -> Result<ExitCode> {
        let helm = plane::provide_helm()?;
        let status = Command::new(helm).args(&self.arguments).status().context("cannot run helm")?;
        Ok(status.code().and_then(|code| u8::try_from(code).ok()).map_or(ExitCode::FAILURE, ExitCode::from))
    }
}
