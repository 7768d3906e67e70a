//! `cargo xtask plane`: a real control plane to try things on.

use std::path::PathBuf;
use std::time::Instant;

use anyhow::{Context, Result, bail};
use clap::Subcommand;
use imps_testbed::binaries::{Binaries, cache_folder, helm};
use imps_testbed::control_plane::{ControlPlane, Options, detached_is_up, stop_detached};
use imps_testbed::plane::Record;
use imps_testbed::plane_build;

use crate::console::{Console, spoken};

/// A real Kubernetes control plane on this machine: etcd, kube-apiserver, kube-controller-manager.
#[derive(Subcommand)]
pub(crate) enum Plane {
    /// Build the programs from their pinned Go modules, unless they are cached. Takes about five minutes once.
    Build {
        /// Build what a node needs instead: the kubelet.
        #[arg(long)]
        kubelet: bool,
        /// Build again even when the programs are there.
        #[arg(long)]
        force: bool,
    },
    /// Start it, and leave it running. Does nothing when it runs.
    ///
    /// It listens on 127.0.0.1 only. Each start begins with an empty cluster.
    Up {
        /// A further flag of kube-apiserver, such as --apiserver-flag=--v=4. May be repeated.
        #[arg(long, value_name = "FLAG", allow_hyphen_values = true)]
        apiserver_flag: Vec<String>,
    },
    /// Stop it and throw its data away.
    Down,
    /// Print what a shell needs to use it: eval "$(cargo xtask plane env)".
    Env,
}

impl Plane {
    /// Carries the command out.
    pub(crate) fn run(&self) -> Result<()> {
        match self {
            Self::Build { kubelet, force } => {
                let folder = if *kubelet { build_node(*force) } else { build(*force) };
                folder.map(|folder| println!("{}", folder.display()))
            }
            Self::Up { apiserver_flag } => up(apiserver_flag.clone()),
            Self::Down => down(),
            Self::Env => env(),
        }
    }
}

/// Builds the programs unless they are there, and shows how it goes.
pub(crate) fn build(force: bool) -> Result<PathBuf> {
    let mut console = Console::new();
    plane_build::build(force, &mut |news| console.show(&news))
}

/// Builds the programs unless somebody brought their own.
pub(crate) fn provide_binaries() -> Result<Binaries> {
    if let Ok(binaries) = Binaries::find() {
        return Ok(binaries);
    }
    build(false)?;
    Binaries::find()
}

fn build_node(force: bool) -> Result<PathBuf> {
    let mut console = Console::new();
    plane_build::build_node(force, &mut |news| console.show(&news))
}

/// Builds what a node needs, unless it is cached.
pub(crate) fn provide_node_binaries() -> Result<()> {
    build_node(false).map(drop)
}

/// Builds helm, unless it is cached.
pub(crate) fn provide_helm() -> Result<PathBuf> {
    let mut console = Console::new();
    plane_build::build_helm(false, &mut |news| console.show(&news))?;
    helm()
}

fn home() -> Result<PathBuf> {
    Ok(cache_folder()?.join("plane"))
}

fn up(apiserver_flags: Vec<String>) -> Result<()> {
    let home = home()?;
    let runtime = tokio::runtime::Runtime::new().context("no async runtime")?;
    if runtime.block_on(detached_is_up(&home)) {
        eprintln!("it is up already: {}", Record::read(&home)?.url);
        return Ok(());
    }
    if Record::read(&home).is_ok() {
        runtime.block_on(stop_detached(&home)).context("cannot clear away what is left of the last one")?;
    }
    provide_binaries()?;
    let begun = Instant::now();
    let options = Options { audit: true, apiserver_flags, ..Options::as_full_as_possible()? };
    let plane = runtime.block_on(ControlPlane::start_detached(options, &home))?;
    eprintln!("ready in {}: {}", spoken(begun.elapsed()), plane.url());
    eprintln!("use it with: eval \"$(cargo xtask plane env)\"");
    Ok(())
}

fn down() -> Result<()> {
    let home = home()?;
    if Record::read(&home).is_err() {
        eprintln!("it is down already");
        return Ok(());
    }
    let runtime = tokio::runtime::Runtime::new().context("no async runtime")?;
    let stopped = runtime.block_on(stop_detached(&home))?;
    eprintln!(
        "stopped: {}",
        if stopped.is_empty() { "nothing ran any more".into() } else { stopped.join(", ") }
    );
    Ok(())
}

fn env() -> Result<()> {
    let Ok(record) = Record::read(&home()?) else {
        bail!("it does not run: cargo xtask plane up");
    };
    let assets = Binaries::find()?.etcd;
    let assets = assets.parent().context("etcd is in a folder")?;
    println!("export KUBECONFIG={}", quoted(&record.kubeconfig.display().to_string()));
    println!("export KUBEBUILDER_ASSETS={}", quoted(&assets.display().to_string()));
    Ok(())
}

/// For a POSIX shell.
fn quoted(text: &str) -> String {
    format!("'{}'", text.replace('\'', r"'\''"))
}
