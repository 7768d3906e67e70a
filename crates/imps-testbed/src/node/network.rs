//! A network for pods, by the plugins of Debian, in which the API server is where pods are told that it is.

use std::fs;
use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result};
use serde_json::json;
use tokio::net::{TcpListener, TcpStream};
use tokio::task::{JoinHandle, JoinSet};

use crate::plane::Plane;
use crate::tool;

/// Where Debian has the plugins, which are on no PATH.
const PLUGINS: &str = "/usr/lib/cni";
/// The one that leads from the node to a pod, without a bridge.
const PLUGIN: &str = "ptp";
const PACKAGE: &str = "containernetworking-plugins";

/// The addresses of pods. All of it is in namespaces of the node's own.
const PODS: &str = "10.88.0.0/16";

/// The first address of the service range, by which the kubelet tells pods of the API server.
const SERVER: &str = "10.0.0.1";
const SERVER_PORT: u16 = 443;

/// The package with the plugins, where they are missing.
pub(super) fn missing_package() -> Option<&'static str> {
    let is_here = Path::new(PLUGINS).join(PLUGIN).is_file();
    (!is_here).then_some(PACKAGE)
}

/// A network that is open. The way to the API server is closed when this value is dropped.
pub(super) struct Network {
    way: JoinHandle<()>,
}

impl Network {
    /// Opens the way to the API server, which kube-proxy would make on other nodes.
    pub(super) async fn open(plane: &Plane) -> Result<Self> {
        let address = format!("{SERVER}/32");
        tool::run(Command::new("ip").args(["address", "add", &address, "dev", "lo"]))?;
        let listener = TcpListener::bind((SERVER, SERVER_PORT)).await;
        let listener = listener.context("the address of the API server cannot be listened at")?;
        let server = plane.url().trim_start_matches("https://").to_owned();
        Ok(Self { way: tokio::spawn(lead(listener, server)) })
    }

    /// Writes the configuration of the network to this folder; what containerd has to be told of it.
    pub(super) fn configure(&self, folder: &Path) -> Result<String> {
        let networks = folder.join("networks");
        fs::create_dir_all(&networks).context("cannot make a folder for networks")?;
        let pods = json!({
            "cniVersion": "0.4.0",
            "name": "pods",
            "plugins": [{
                "type": PLUGIN,
                "ipam": {
                    "type": "host-local",
                    "dataDir": folder.join("addresses"),
                    "ranges": [[{"subnet": PODS}]],
                    "routes": [{"dst": "0.0.0.0/0"}],
                },
            }],
        });
        fs::write(networks.join("pods.conflist"), pods.to_string()).context("cannot configure a network")?;
        let networks = networks.display();
        Ok(format!(
            r#"[plugins."io.containerd.grpc.v1.cri".cni]
  bin_dir = "{PLUGINS}"
  conf_dir = "{networks}"
"#
        ))
    }
}

impl Drop for Network {
    fn drop(&mut self) {
        self.way.abort();
    }
}

async fn lead(listener: TcpListener, server: String) {
    // Dropped with this task, and every connection with it.
    let mut connections = JoinSet::new();
    while let Ok((mut client, _)) = listener.accept().await {
        let server = server.clone();
        connections.spawn(async move {
            let Ok(mut server) = TcpStream::connect(server).await else { return };
            // Whoever goes away ends the connection; that is seen at the other end.
            let _ = tokio::io::copy_bidirectional(&mut client, &mut server).await;
        });
        while connections.try_join_next().is_some() {}
    }
}
