//! The one proxy of a node, from which ways lead to the gates of several registries.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fs;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::{Context, Result};
use tokio::io::{AsyncWriteExt, BufReader};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::{JoinHandle, JoinSet};

use crate::registry::Registry;
use crate::wire::message::{self, Message};

/// A crossing that is open. It is closed when this value is dropped.
pub(super) struct Crossing {
    address: SocketAddr,
    authorities: PathBuf,
    listener: JoinHandle<()>,
}

impl Crossing {
    /// Opens it. Whom clients have to trust goes to `folder`.
    pub(super) async fn open(registries: &[&Registry], folder: &Path) -> Result<Self> {
        let (mut gates, mut certificates) = (BTreeMap::new(), String::new());
        for registry in registries {
            let (gate, authority) = registry.way()?.context("a registry whose host has no name")?;
            gates.insert(format!("{}:443", registry.address()), gate);
            certificates.push_str(&authority);
        }
        let authorities = folder.join("authorities.crt");
        fs::write(&authorities, certificates).context("cannot write certificates")?;
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.context("no free port")?;
        let address = listener.local_addr().context("a listener has no address")?;
        Ok(Self { address, authorities, listener: tokio::spawn(listen(listener, Arc::new(gates))) })
    }

    /// What programs in Go want in their environment to take it. They go to loopback without a proxy.
    pub(super) fn environment(&self) -> Vec<(OsString, OsString)> {
        vec![
            ("HTTPS_PROXY".into(), format!("http://{}", self.address).into()),
            ("NO_PROXY".into(), OsString::new()),
            ("no_proxy".into(), OsString::new()),
            ("SSL_CERT_FILE".into(), self.authorities.clone().into()),
        ]
    }
}

impl Drop for Crossing {
    fn drop(&mut self) {
        self.listener.abort();
    }
}

async fn listen(listener: TcpListener, gates: Arc<BTreeMap<String, SocketAddr>>) {
    // Dropped with this task, and every connection with it.
    let mut connections = JoinSet::new();
    while let Ok((client, _)) = listener.accept().await {
        let gates = Arc::clone(&gates);
        connections.spawn(async move {
            // Whoever goes away ends the connection; that is seen at the other end.
            let _ = lead(client, &gates).await;
        });
        while connections.try_join_next().is_some() {}
    }
}

/// Leads a client to the gate of the host that it asks for; the gate answers from there on.
async fn lead(client: TcpStream, gates: &BTreeMap<String, SocketAddr>) -> Result<()> {
    let mut client = BufReader::new(client);
    let request = message::request(&mut client).await?.context("no request")?;
    let Some(gate) = gates.get(request.second_word()).filter(|_| request.head.starts_with("CONNECT ")) else {
        client.write_all(&Message::own("403 Forbidden", &[], b"").bytes()).await?;
        return Ok(client.shutdown().await?);
    };
    let mut gate = TcpStream::connect(gate).await.context("the gate cannot be reached")?;
    gate.write_all(&request.bytes()).await?;
    tokio::io::copy_bidirectional(&mut client, &mut gate).await?;
    Ok(())
}
