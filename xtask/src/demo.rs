//! `cargo xtask demo`: imps at work on a real control plane, told live, with the time that each thing took and why.

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Instant;

use anyhow::{Context, Result};
use clap::Args;
use imps_testbed::control_plane::{ControlPlane, Options};

use crate::console::{Console, spoken};
use crate::interrupt;
use crate::plane::provide_binaries;
use crate::product::{self, Profile};

mod node;
mod stage;
mod stay;
mod story;
mod voice;
mod words;

use stage::Stage;
use story::Story;
use voice::Voice;

/// Watch imps at work on a real Kubernetes control plane of its own, with the time each thing took and the reason.
///
/// It needs Rust and Go and nothing else. What is missing is built first: etcd, kube-apiserver and
/// kube-controller-manager from their pinned modules (about five minutes, once), and imps. Then it starts the control
/// plane on 127.0.0.1, runs `imps controller` under its own ServiceAccount with just the rights that `imps rbac`
/// prints, and plays examples/sidecar-injection: Secrets appear, are rotated, repaired, refused and taken away.
///
/// Times are honest: from the answer to whoever changed something to the moment at which a watch on Secrets, as any
/// client has, saw the result. Reasons are imps's own words, from its log, its status and `imps plan`.
///
/// With Debian's docker-registry and skopeo installed it also pulls an image with a Secret that imps wrote.
///
/// With --node it shows something else: a real kubelet and containerd, in namespaces of their own, and a pod that
/// waits in ImagePullBackOff until imps has written its pull secret. That needs Linux and root. The kubelet is built
/// first (about a minute, once), and on Debian containerd and runc are installed.
///
/// Exit code 1 says that something did not happen within 5 seconds. All is cleaned up at the end, and on Ctrl-C.
#[derive(Args)]
#[command(
    after_help = "Examples:\n  cargo xtask demo\n  cargo xtask demo --keep     play it, then try things\n  \
    cargo xtask demo --down     end what --keep left running\n  \
    cargo xtask demo --node     see a pod pull its image on a real node"
)]
pub(crate) struct Demo {
    /// Leave the control plane and imps running at the end, and say how to use them.
    #[arg(long)]
    keep: bool,
    /// End what --keep left running.
    #[arg(long, conflicts_with = "keep")]
    down: bool,
    /// Show how a pod on a real node gets its image.
    #[arg(long, conflicts_with_all = ["keep", "down"])]
    node: bool,
    /// Where imps is; what this command passes to itself in the namespaces of the node.
    #[arg(long, hide = true, requires = "node")]
    imps: Option<PathBuf>,
}

impl Demo {
    /// Carries the command out; the code says whether everything happened.
    pub(crate) fn run(&self) -> Result<ExitCode> {
        let runtime = tokio::runtime::Runtime::new().context("no async runtime")?;
        if self.down {
            return runtime.block_on(stay::down());
        }
        if self.node {
            return node::run(&runtime, self.imps.as_deref());
        }
        if self.keep {
            runtime.block_on(stay::make_way())?;
        }
        let mut voice = Voice::new();
        let imps = provide()?;
        let played = runtime.block_on(interrupt::or(play(imps, self.keep, &mut voice)));
        if self.keep && !matches!(played, Ok(true)) {
            runtime.block_on(stay::clear_away());
        }
        Ok(if played? { ExitCode::SUCCESS } else { ExitCode::FAILURE })
    }
}

/// Builds what is missing.
fn provide() -> Result<PathBuf> {
    let mut console = Console::new();
    provide_binaries()?;
    console.begin("building imps");
    let imps = product::build("imps", Profile::Debug)?;
    std::fs::canonicalize(imps).context("cannot find the program that was built")
}

/// Starts everything, tells the story and ends everything; false says that something did not happen.
async fn play(imps: PathBuf, keep: bool, voice: &mut Voice) -> Result<bool> {
    let mut console = Console::new();
    console.begin("starting etcd, kube-apiserver and kube-controller-manager");
    let begun = Instant::now();
    let owner = if keep { None } else { Some(ControlPlane::start(Options::full()).await?) };
    let plane = match &owner {
        Some(owner) => owner.plane().clone(),
        None => ControlPlane::start_detached(Options::full(), &stay::folder()?).await?,
    };
    console.line(&format!("  ready in {}: {}", spoken(begun.elapsed()), plane.url()));
    console.begin("starting imps under its own ServiceAccount, with the rights that `imps rbac` prints");
    let begun = Instant::now();
    let mut stage = Stage::set(&plane, imps).await?;
    console.line(&format!("  ready in {}", spoken(begun.elapsed())));
    let mut story = Story::new(&stage, voice);
    let told = story.tell().await;
    let rows = story.into_rows();
    if let Err(error) = told {
        voice.failure(&error, &stage.imps.log());
        return Ok(false);
    }
    voice.table(&rows);
    stage.imps.terminate().await?;
    match owner {
        Some(owner) => {
            owner.stop().await;
            voice.plain("Everything that was started is ended and removed.");
        }
        None => stay::stay(&stage, voice).await?,
    }
    Ok(true)
}
