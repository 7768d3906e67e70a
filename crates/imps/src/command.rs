//! One module for each subcommand.

use std::process::ExitCode;

use crate::args::Command;
use crate::runtime::output;

mod answer;
pub(crate) mod candidates;
mod cluster;
pub(crate) mod completion;
mod controller;
mod crd;
mod diagnose;
mod doctor;
mod explain;
mod findings;
mod log_level;
mod man;
mod manifests;
mod metrics;
mod migrate;
mod plan;
mod rbac;
mod refresh;
mod refresher;
mod report;
mod status;
mod survey;
mod suspend;
mod tree;

/// Why a command ended early, for people.
pub(crate) type Error = Box<dyn std::error::Error + Send + Sync>;

/// The exit code of a call that makes no sense, as clap has it.
const USAGE: u8 = 2;

/// The exit code of what could not be determined.
const UNDETERMINED: u8 = 3;

/// Runs what was asked for.
pub(crate) fn run(command: Command) -> Result<ExitCode, Error> {
    match command {
        Command::Controller(args) => controller::run(args),
        Command::Refresher(args) => refresher::run(args),
        Command::Plan(args) => Ok(plan::run(&args)),
        Command::Crd(args) => crd::run(args),
        Command::Diagnose(args) => Ok(diagnose::run(*args)),
        Command::Explain(args) => Ok(explain::run(args)),
        Command::Status(args) => Ok(status::run(args)),
        Command::Tree(args) => Ok(tree::run(&args)),
        Command::Report(args) => Ok(report::run(&args)),
        Command::Findings(args) => findings::run(&args),
        Command::Doctor(args) => Ok(doctor::run(args)),
        Command::Suspend(args) => Ok(suspend::run(args, true)),
        Command::Resume(args) => Ok(suspend::run(args, false)),
        Command::Refresh(args) => Ok(refresh::run(args)),
        Command::Completion(args) => completion::run(&args),
        Command::Man(args) => man::run(args),
        Command::Rbac(args) => rbac::run(&args),
        Command::Migrate(command) => migrate::run(command),
        Command::Metrics(args) => metrics::run(args),
        Command::LogLevel(args) => log_level::run(args),
        Command::Version => {
            output::print(&format!("imps {}\n", env!("CARGO_PKG_VERSION")))?;
            Ok(ExitCode::SUCCESS)
        }
    }
}
