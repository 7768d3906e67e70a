//! `cargo xtask bench`: what imps costs and how fast it is, on a real control plane, as ratios inside one run.
//!
//! The speed of one machine drifts by a factor of two or three within minutes, so a rate says little. Each rate of
//! imps therefore stands beside a floor of the same run: plain workers that make the same writes and do nothing else.

use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Command, ExitCode, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use clap::{Args, ValueEnum};

use crate::console::{Console, spoken};
use crate::plane::provide_binaries;
use crate::product::{self, Profile};
use crate::{cloud, interrupt};

mod admission;
mod attached;
mod bulk;
mod calm;
mod ledger;
mod page;
mod process;
mod rig;
mod scan;
mod single;
mod spread;
mod token;
mod workers;

use page::Page;
use rig::{Rig, Stage};

/// As many as the budgets speak of.
const NAMESPACES: usize = 10_000;
/// Enough to tell a rate.
const NAMESPACES_QUICK: usize = 1_000;

/// As many namespaces in which the Secret is attached to a ServiceAccount.
const ATTACHED: usize = 2_000;
/// Enough to tell a rate.
const ATTACHED_QUICK: usize = 500;

/// Measure imps on a real control plane, against plain workers that make the same writes in the same run.
///
/// It builds imps as it is shipped (the first such build takes some minutes), starts a control plane of its own on
/// 127.0.0.1, and runs imps under its own ServiceAccount with the rights that `imps rbac` prints. Then it fills
/// namespaces, adds single ones, breaks and deselects targets, rotates the credentials, listens to the silence,
/// restarts, renews a token of an emulated AWS, and lets an endpoint hang. On another one it attaches Secrets to
/// ServiceAccounts and takes them away again, on a third one it makes namespaces with a pod right after, and on a
/// fourth it diagnoses thousands of pods. The table says what that took, what was demanded, and what others need.
///
/// The control planes are etcd and kube-apiserver. Only the third has kube-controller-manager, which would take half of
/// a small machine for the ServiceAccounts of new namespaces. Other work on the machine spoils single figures, but
/// hardly the ratios.
///
/// Exit code 1 says that a bar was missed, or could not be judged because the machine was too busy; the last line names
/// it.
#[derive(Args)]
#[command(
    after_help = "Examples:\n  cargo xtask bench --quick\n  cargo xtask bench --namespaces 3000 -o json"
)]
pub(crate) struct Bench {
    /// 1,000 namespaces and fewer samples: about three minutes.
    #[arg(long)]
    quick: bool,
    /// How many namespaces to fill; 10,000 unless told otherwise.
    #[arg(long, value_name = "N", conflicts_with = "quick",
          value_parser = clap::value_parser!(u32).range(50..=100_000))]
    namespaces: Option<u32>,
    /// Measure this part alone.
    #[arg(long, value_name = "PART")]
    only: Option<Part>,
    /// For people or for machines.
    #[arg(short, long, value_name = "FORMAT", default_value = "table")]
    output: Output,
}

#[derive(ValueEnum, Clone, Copy, PartialEq, Eq)]
enum Part {
    /// Secrets, from the first fill to the restart, and tokens.
    Secrets,
    /// ServiceAccounts that name them.
    Accounts,
    /// Pods that come soon after their namespace.
    Pods,
    /// A diagnosis of all pods of a cluster.
    Diagnosis,
}

#[derive(ValueEnum, Clone, Copy, PartialEq, Eq)]
enum Output {
    /// A table.
    Table,
    /// JSON.
    Json,
}

/// How much is measured.
struct Size {
    namespaces: usize,
    /// Namespaces added one after the other.
    newcomers: usize,
    /// Repairs of each kind.
    repairs: usize,
    silence: Duration,
    /// Namespaces in which the Secret is attached to a ServiceAccount.
    attached: usize,
    /// Namespaces with a pod right after.
    pods: usize,
    /// Pods of a cluster that is diagnosed.
    diagnosed: usize,
}

impl Bench {
    /// Carries the command out; the code says whether every bar was met.
    pub(crate) fn run(&self) -> Result<ExitCode> {
        if cfg!(debug_assertions) {
            return run_optimised();
        }
        // Before anything is measured, so that nothing is lost when something is missing.
        let binaries = provide_binaries()?;
        anyhow::ensure!(
            binaries.kube_controller_manager.is_some(),
            "kube-controller-manager is not beside {}: unset KUBEBUILDER_ASSETS to use our own",
            binaries.kube_apiserver.display()
        );
        cloud::provide().context("there is no AWS whose tokens could be measured")?;
        let mut console = Console::new();
        console.begin("building imps as it is shipped");
        let imps = product::build("imps", Profile::Release)?;
        let runtime = tokio::runtime::Runtime::new().context("no async runtime")?;
        let page = runtime.block_on(interrupt::or(measure(&imps, &self.size(), self.only, &mut console)))?;
        match self.output {
            Output::Table => print!("{}", page.table()),
            Output::Json => println!("{}", serde_json::to_string_pretty(&page.json())?),
        }
        let missed = page.missed();
        if missed.is_empty() {
            return Ok(ExitCode::SUCCESS);
        }
        console.line(&format!("missed: {}", missed.join(", ")));
        Ok(ExitCode::FAILURE)
    }

    fn size(&self) -> Size {
        let chosen = self.namespaces.and_then(|count| usize::try_from(count).ok());
        let namespaces = chosen.unwrap_or(if self.quick { NAMESPACES_QUICK } else { NAMESPACES });
        Size {
            namespaces,
            newcomers: if self.quick { 50 } else { 100 },
            repairs: 30,
            // The processor's time is counted in hundredths of a second.
            silence: Duration::from_secs(if self.quick { 60 } else { 120 }),
            attached: namespaces.min(if self.quick { ATTACHED_QUICK } else { ATTACHED }),
            pods: if self.quick { 25 } else { 100 },
            diagnosed: if self.quick { 1_000 } else { 10_000 },
        }
    }
}

/// Plain workers compiled without optimisation would be a floor that flatters imps, so this program runs itself anew.
fn run_optimised() -> Result<ExitCode> {
    Console::new().begin("building this benchmark with optimisation (the first time takes some minutes)");
    let xtask = product::build("xtask", Profile::Release)?;
    let arguments = std::env::args_os().skip(1);
    // In place of this process, so that whoever asks this one to stop reaches the one that cleans up.
    Err(Command::new(xtask).args(arguments).stdin(Stdio::null()).exec()).context("cannot run the benchmark")
}

async fn measure(imps: &Path, size: &Size, only: Option<Part>, console: &mut Console) -> Result<Page> {
    let begun = Instant::now();
    let wanted = |part| only.is_none_or(|only| only == part);
    let mut page = Page::new(size.namespaces);
    if wanted(Part::Secrets) {
        let mut rig = Rig::start(imps, Stage::plain(size.namespaces), console).await?;
        page.add(bulk::fill(&mut rig, console).await?);
        page.add(single::newcomers(&mut rig, size.newcomers, console).await?);
        page.add(single::repairs(&rig, size.repairs, console).await?);
        page.add(bulk::rotate(&mut rig, console).await?);
        page.add(calm::silence(&mut rig, size.silence, console).await?);
        page.add(calm::restart(&mut rig, "restart", "restart", console).await?);
        page.add(token::measure(&mut rig, size.newcomers, console).await?);
        rig.stop().await;
    }
    if wanted(Part::Accounts) {
        let mut rig = Rig::start(imps, Stage::attached(size.attached), console).await?;
        page.add(attached::measure(&mut rig, console).await?);
        rig.stop().await;
    }
    if wanted(Part::Pods) {
        // Few, as kube-controller-manager has its own work with each of them.
        let mut rig = Rig::start(imps, Stage::full(size.pods), console).await?;
        page.add(admission::measure(&mut rig, size.pods, console).await?);
        rig.stop().await;
    }
    if wanted(Part::Diagnosis) {
        page.add(scan::measure(imps, size.diagnosed, console).await?);
    }
    console.line(&format!("measured in {}", spoken(begun.elapsed())));
    Ok(page)
}
