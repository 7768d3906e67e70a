//! A real node: kubelet and containerd, which pull images from a registry and run pods.
//!
//! It needs root and a kernel that lets it in, and runs in namespaces of its own ([`Unshared`]), together with the
//! control plane and everything that talks to it. Nothing of it is left when they end.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use kube::api::Api;
use serde_json::json;

use crate::binaries::{Binaries, NodeBinaries};
use crate::daemon::Daemon;
use crate::image::{self, Content};
use crate::names::fresh_name;
use crate::plane::Plane;
use crate::ports::free_ports;
use crate::registry::{self, Registry};
use crate::skip::Missing;
use crate::{archive, tool};

mod crossing;
mod network;
mod plugin;
pub mod pod;
mod unshared;

use crossing::Crossing;
use network::Network;
pub use plugin::Plugin;
pub use unshared::{Output, Unshared};

/// The name that the node registers.
pub const NAME: &str = "node1";

/// The programs, and the Debian packages that bring them.
const PROGRAMS: [(&str, &str); 4] =
    [("containerd", "containerd"), ("ctr", "containerd"), ("runc", "runc"), ("ip", "iproute2")];

/// Both start within two seconds on a calm machine.
const READY_WITHIN: Duration = Duration::from_secs(60);

/// What holds a pod's namespaces. Only this machine has it; a name with a host keeps it from being looked for.
const PAUSE: &str = "registry.local/pause:1";

/// A running node. Its programs end when this is dropped, and its pods with the [`Unshared`] that it runs in.
pub struct Node {
    // Fields are dropped in this order.
    kubelet: Daemon,
    containerd: Daemon,
    _crossing: Crossing,
    _network: Option<Network>,
    socket: PathBuf,
}

/// The Debian packages whose programs are missing on this machine.
#[must_use]
pub fn missing_packages() -> Vec<&'static str> {
    let mut packages = registry::packages_without(&PROGRAMS);
    packages.extend(network::missing_package());
    packages
}

/// Whether this machine would let a node run, if its programs were there; what it does not let us do is named.
pub fn permitted() -> Result<(), Missing> {
    let mut lacks = Vec::new();
    if !rustix::process::geteuid().is_root() {
        lacks.push("root".to_owned());
    }
    if let Err(error) = unshared::probe() {
        lacks.push(format!("namespaces of its own ({error:#})"));
    }
    if let Err(error) = cgroups_are_writable() {
        lacks.push(format!("writable cgroups ({error:#})"));
    }
    if lacks.is_empty() {
        return Ok(());
    }
    Err(Missing::privilege(format!("this machine cannot run a node, which needs {}", lacks.join(", "))))
}

impl Node {
    /// Whether this machine can run one, with a control plane and a registry.
    pub fn available() -> Result<(), Missing> {
        permitted()?;
        let mut packages = registry::missing_packages();
        packages.extend(missing_packages());
        if !packages.is_empty() {
            return Err(Missing::packages(&packages));
        }
        let programs = Binaries::find().and_then(|_| NodeBinaries::find());
        programs.map(drop).map_err(|error| Missing::new(format!("{error:#}")))
    }

    /// Starts containerd and the kubelet, and waits until the node is registered.
    ///
    /// # Errors
    ///
    /// Outside of [`Unshared`], and when a program does not get ready; the error shows the end of its log.
    pub async fn start(plane: &Plane) -> Result<Self> {
        Self::start_for(plane, &[]).await
    }

    /// As [`start`](Self::start), and pods have a network of their own, in which they reach the API server by the
    /// address that they are told.
    pub async fn start_with_network(plane: &Plane) -> Result<Self> {
        let network = Network::open(plane).await?;
        Self::start_in(plane, &[], Some(network), &[]).await
    }

    /// As [`start`](Self::start), and these registries are reached by the names of their hosts. containerd is told of
    /// nothing but a proxy and whom to trust, so that all it does is what it does by itself.
    pub async fn start_for(plane: &Plane, registries: &[&Registry]) -> Result<Self> {
        Self::start_in(plane, registries, None, &[]).await
    }

    /// As [`start`](Self::start), and the kubelet asks these for logins.
    pub async fn start_with_plugins(plane: &Plane, plugins: &[Plugin]) -> Result<Self> {
        Self::start_in(plane, &[], None, plugins).await
    }

    async fn start_in(
        plane: &Plane,
        registries: &[&Registry],
        network: Option<Network>,
        plugins: &[Plugin],
    ) -> Result<Self> {
        let cgroup = unshared::cgroup().context("a node runs in namespaces of its own only")?;
        let programs = NodeBinaries::find()?;
        // On the memory of these namespaces. Not removed: other file systems are mounted in it.
        let folder = std::env::temp_dir().join(fresh_name("node"));
        fs::create_dir_all(&folder).context("cannot make the folder of the node")?;
        let socket = folder.join("containerd.sock");
        let configuration = folder.join("containerd.toml");
        let mut text = containerd_configuration(&folder, &socket);
        if let Some(network) = &network {
            text.push_str(&network.configure(&folder)?);
        }
        fs::write(&configuration, text).context("cannot configure containerd")?;
        let arguments = vec!["--config".into(), configuration.into()];
        let crossing = Crossing::open(registries, &folder).await?;
        let containerd = Daemon::new("containerd", Path::new("containerd"), &folder, arguments)
            .in_environment(crossing.environment());
        let [port, healthz_port] = free_ports()?;
        let configuration = folder.join("kubelet.json");
        let text = kubelet_configuration(&folder, &socket, &cgroup, port, healthz_port);
        fs::write(&configuration, text).context("cannot configure the kubelet")?;
        let mut arguments = vec![
            "--config".into(),
            configuration.into(),
            "--kubeconfig".into(),
            plane.admin_kubeconfig()?.into(),
            "--root-dir".into(),
            folder.join("kubelet").into(),
            "--hostname-override".into(),
            NAME.into(),
            // It refuses 127.0.0.1.
            "--node-ip".into(),
            unshared::ADDRESS.into(),
        ];
        arguments.extend(plugin::install(plugins, &folder)?);
        let kubelet = Daemon::new("kubelet", &programs.kubelet, &folder, arguments);
        let node = Self { kubelet, containerd, _crossing: crossing, _network: network, socket };
        node.run(plane, &folder, &programs.idle).await?;
        Ok(node)
    }

    async fn run(&self, plane: &Plane, folder: &Path, idle: &Path) -> Result<()> {
        self.containerd.start()?;
        let answers = || async { self.ctr(&["version"]).is_ok() };
        self.containerd.wait_until(READY_WITHIN, "answer", answers).await?;
        self.import_pause(folder, idle)?;
        self.kubelet.start()?;
        let nodes = Api::<k8s_openapi::api::core::v1::Node>::all(plane.admin_client().await?);
        let registered = || async { nodes.get(NAME).await.is_ok() };
        self.kubelet.wait_until(READY_WITHIN, "register the node", registered).await
    }

    fn import_pause(&self, folder: &Path, idle: &Path) -> Result<()> {
        let (layout, file) = (folder.join("pause"), folder.join("pause.tar"));
        let program = fs::read(idle).with_context(|| format!("cannot read {}", idle.display()))?;
        image::write_layout(&layout, PAUSE, Content::Program(&program))?;
        archive::pack(&layout, &["."], 0, &file)?;
        self.import(&file)
    }

    /// Gives the node an image from an archive; the kubelet finds it by the name that it has in there.
    pub fn import(&self, archive: &Path) -> Result<()> {
        let archive = archive.display().to_string();
        self.ctr(&["--namespace", "k8s.io", "images", "import", "--snapshotter", "native", &archive])
    }

    fn ctr(&self, arguments: &[&str]) -> Result<()> {
        tool::run(Command::new("ctr").arg("--address").arg(&self.socket).args(arguments))
    }

    /// The process numbers of kubelet and containerd.
    #[must_use]
    pub fn pids(&self) -> [Option<u32>; 2] {
        [self.kubelet.pid(), self.containerd.pid()]
    }

    /// The ends of both logs, for a person who looks for the reason of a failure.
    #[must_use]
    pub fn log_tails(&self) -> String {
        let tails = [&self.kubelet, &self.containerd]
            .map(|daemon| format!("the end of the log of {}:\n{}", daemon.name(), daemon.log_tail()));
        tails.join("\n")
    }
}

/// TOML; paths of ours have no characters that would need care.
fn containerd_configuration(folder: &Path, socket: &Path) -> String {
    let (folder, socket) = (folder.display(), socket.display());
    format!(
        r#"version = 2
root = "{folder}/containerd/root"
state = "{folder}/containerd/state"
[grpc]
  address = "{socket}"
[plugins."io.containerd.grpc.v1.cri"]
  # Without CAP_SYS_RESOURCE runc could not give containers the score that it is asked to.
  restrict_oom_score_adj = true
  # It would load a profile into the kernel, which outlives the node.
  disable_apparmor = true
  sandbox_image = "{PAUSE}"
[plugins."io.containerd.grpc.v1.cri".containerd]
  snapshotter = "native"
"#
    )
}

fn kubelet_configuration(folder: &Path, socket: &Path, cgroup: &str, port: u16, healthz_port: u16) -> String {
    json!({
        "apiVersion": "kubelet.config.k8s.io/v1beta1",
        "kind": "KubeletConfiguration",
        // Nobody outside of these namespaces reaches it.
        "authentication": {"anonymous": {"enabled": true}, "webhook": {"enabled": false}},
        "authorization": {"mode": "AlwaysAllow"},
        "address": "127.0.0.1",
        "port": port,
        "healthzPort": healthz_port,
        "readOnlyPort": 0,
        "cgroupDriver": "cgroupfs",
        // So that one name is all that is to be removed. Without cgroups by class it would not hold.
        "cgroupRoot": format!("/{cgroup}"),
        "cgroupsPerQOS": true,
        "enforceNodeAllocatable": [],
        "failSwapOn": false,
        "failCgroupV1": false,
        "containerRuntimeEndpoint": format!("unix://{}", socket.display()),
        // What else is on this machine is none of its business.
        "evictionHard": {
            "memory.available": "0%", "nodefs.available": "0%", "nodefs.inodesFree": "0%",
            "imagefs.available": "0%", "imagefs.inodesFree": "0%",
        },
        "imageGCHighThresholdPercent": 100,
        // What a pod is told is to be about its image, not about how many others are pulled.
        "registryPullQPS": 0,
        // Of a watch that does not begin within a second it says that there is no such Secret.
        "configMapAndSecretChangeDetectionStrategy": "Get",
        "serializeImagePulls": false,
        "localStorageCapacityIsolation": false,
        "makeIPTablesUtilChains": false,
        "podLogsDir": folder.join("pods"),
        "volumePluginDir": folder.join("plugins"),
        // The machine's may point to where it cannot be seen from here.
        "resolvConf": "",
    })
    .to_string()
}

/// Tries it, because permissions do not tell: file systems are read-only in containers.
fn cgroups_are_writable() -> Result<()> {
    let top = Path::new("/sys/fs/cgroup");
    let hierarchies = if top.join("cgroup.procs").exists() {
        vec![top.to_owned()]
    } else {
        let entries = fs::read_dir(top).context("there are none at /sys/fs/cgroup")?;
        let folders = entries.filter_map(|entry| Some(entry.ok()?.path()));
        folders.filter(|folder| !folder.is_symlink() && folder.join("cgroup.procs").exists()).collect()
    };
    if hierarchies.is_empty() {
        bail!("there are none at /sys/fs/cgroup");
    }
    let name = fresh_name("imps-probe");
    for hierarchy in hierarchies {
        let folder = hierarchy.join(&name);
        let tried = fs::create_dir(&folder).and_then(|()| fs::remove_dir(&folder));
        tried.with_context(|| format!("{} is not", hierarchy.display()))?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_node_outside_of_namespaces_of_its_own_is_refused() {
        let plane = Plane::new(
            "https://127.0.0.1:1",
            "PEM",
            "token",
            Path::new("f"),
            crate::plane::Profile::Full,
            None,
        );
        let runtime = tokio::runtime::Builder::new_current_thread().build().expect("a runtime");
        let error = runtime.block_on(Node::start(&plane)).err().expect("refused").to_string();
        assert!(error.contains("namespaces"), "{error}");
    }
}
