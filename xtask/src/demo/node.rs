//! `cargo xtask demo --node`: a pod on a real node, before and after imps has written its pull secret.
//!
//! The command builds and installs what is missing, and then runs itself again in namespaces of its own.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Instant;

use anyhow::{Context, Result, anyhow, ensure};
use imps_testbed::binaries::NodeBinaries;
use imps_testbed::control_plane::{ControlPlane, Options};
use imps_testbed::node::{self, Node, Output, Unshared};
use imps_testbed::{Login, Registry};
use tokio::runtime::Runtime;

use super::stage::Stage;
use super::story::{Pulls, Story};
use super::voice::Voice;
use crate::console::{Console, spoken};
use crate::plane::provide_node_binaries;
use crate::{interrupt, packages};

/// What is pushed and pulled.
const IMAGE: &str = "shop/checkout:1";
/// A made-up user of the private registry.
const LOGIN: Login<'static> = Login { user: "robot", password: "made-up-registry-password" };

/// Shows it; `inside` is imps, which was built outside of the namespaces.
pub(super) fn run(runtime: &Runtime, inside: Option<&Path>) -> Result<ExitCode> {
    if let Some(imps) = inside {
        ensure!(Unshared::is_inside(), "--imps is what this command passes to itself");
        let played = runtime.block_on(interrupt::or(play(imps.to_owned())))?;
        return Ok(if played { ExitCode::SUCCESS } else { ExitCode::FAILURE });
    }
    // Before anything is built: nothing that is built would help.
    node::permitted().map_err(|missing| anyhow!("{missing}"))?;
    packages::provide()?;
    let imps = super::provide()?;
    provide_node_binaries()?;
    Node::available().map_err(|missing| anyhow!("{missing}"))?;
    let arguments =
        ["demo", "--node", "--imps"].map(OsString::from).into_iter().chain([imps.into_os_string()]);
    let ended = runtime.block_on(interrupt::or(async {
        let unshared = Unshared::start(&arguments.collect::<Vec<_>>(), Output::Ours)?;
        unshared.end().await
    }))?;
    if ended.success() {
        println!("Everything that was started is ended and removed.");
        return Ok(ExitCode::SUCCESS);
    }
    Ok(ExitCode::FAILURE)
}

/// Starts everything and tells the story; false says that something did not happen.
async fn play(imps: PathBuf) -> Result<bool> {
    let (mut console, mut voice) = (Console::new(), Voice::new());
    console.begin("starting etcd, kube-apiserver and kube-controller-manager");
    let begun = Instant::now();
    let owner = ControlPlane::start(Options::full()).await?;
    console.line(&format!("  ready in {}: {}", spoken(begun.elapsed()), owner.url()));
    console.begin("starting a registry, and imps under its own ServiceAccount");
    let begun = Instant::now();
    let registry = Registry::start(&[LOGIN]).await?;
    registry.push_program(IMAGE, &NodeBinaries::find()?.idle, LOGIN).await?;
    let stage = Stage::set(owner.plane(), imps).await?;
    console.line(&format!("  ready in {}: {}", spoken(begun.elapsed()), registry.address()));
    console.begin("starting containerd and the kubelet");
    let begun = Instant::now();
    let node = Node::start(owner.plane()).await.context("the node did not start")?;
    console.line(&format!("  ready in {}", spoken(begun.elapsed())));
    let pulls = Pulls { registry: &registry, image: IMAGE, login: LOGIN };
    let mut story = Story::new(&stage, &mut voice);
    let told = story.tell_on_node(&pulls).await;
    if let Err(error) = told {
        voice.failure(&error, &stage.imps.log());
        voice.plain(&node.log_tails());
        return Ok(false);
    }
    Ok(true)
}
