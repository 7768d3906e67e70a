//! The gate of a registry: host names with TLS, and several passwords of one user at a time.
//!
//! The names are those of hosts elsewhere, so the gate is a proxy for HTTPS: a client that is told of it is led to the
//! server behind a [`Door`] when it asks for the host of that, and nowhere when it asks for another.
//!
//! At a cloud's registry everybody is the same user, and a new token does not end those before it. The registry here
//! knows one password for each user; so each login is a user of its own behind the gate. Who is let in is still the
//! registry's decision.

use std::collections::BTreeMap;
use std::fs;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::{Context, Result, ensure};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use rustls::ServerConfig;
use rustls::crypto::aws_lc_rs;
use sha2::{Digest, Sha256};
use tokio::io::{AsyncWriteExt, BufReader};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::{JoinHandle, JoinSet};
use tokio_rustls::TlsAcceptor;

use super::Login;
use crate::certificates::ServerIdentity;
use crate::wire::message::{self, Message};

/// The file with the certificate of the authority that vouches for the names.
pub(super) const AUTHORITY: &str = "ca.crt";

/// A host and what is behind its name.
pub(super) struct Door {
    /// The name.
    pub(super) host: String,
    /// Where the server is.
    pub(super) server: String,
    /// Paths that another server answers, and where that is.
    pub(super) elsewhere: Option<(&'static [&'static str], String)>,
    /// Whether each login is a user of its own at the server.
    pub(super) renames: bool,
}

/// A gate that is open. It is closed when this value is dropped.
pub(super) struct Gate {
    address: SocketAddr,
    trust: PathBuf,
    listener: JoinHandle<()>,
}

impl Gate {
    /// Opens it for clients that ask for the hosts of these doors. What they have to trust goes to `folder`.
    pub(super) async fn open(doors: Vec<Door>, folder: &Path) -> Result<Self> {
        let hosts: Vec<&str> = doors.iter().map(|door| door.host.as_str()).collect();
        let identity = ServerIdentity::make(&hosts)?;
        let trust = folder.join("trust");
        fs::create_dir_all(&trust).context("cannot make a folder")?;
        fs::write(trust.join(AUTHORITY), &identity.authority).context("cannot write a certificate")?;
        let config = ServerConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
            .with_safe_default_protocol_versions()
            .and_then(|config| {
                config.with_no_client_auth().with_single_cert(vec![identity.certificate], identity.key)
            })
            .context("no TLS for the names of hosts")?;
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.context("no free port")?;
        let address = listener.local_addr().context("a listener has no address")?;
        let way = Way {
            doors: doors.into_iter().map(|door| (format!("{}:443", door.host), door)).collect(),
            tls: TlsAcceptor::from(Arc::new(config)),
        };
        Ok(Self { address, trust, listener: tokio::spawn(listen(listener, Arc::new(way))) })
    }

    /// Where the proxy is.
    pub(super) fn address(&self) -> SocketAddr {
        self.address
    }

    /// The URL of the proxy.
    pub(super) fn proxy(&self) -> String {
        format!("http://{}", self.address)
    }

    /// The folder with [`AUTHORITY`].
    pub(super) fn trust(&self) -> &Path {
        &self.trust
    }
}

impl Drop for Gate {
    fn drop(&mut self) {
        self.listener.abort();
    }
}

/// The user that a login is behind the gate.
pub(super) fn user_of(login: Login<'_>) -> String {
    let digest = Sha256::digest(login.password);
    let mark: String = digest.iter().take(8).map(|byte| format!("{byte:02x}")).collect();
    format!("{}-{mark}", login.user)
}

struct Way {
    /// By what a client asks a proxy for.
    doors: BTreeMap<String, Door>,
    tls: TlsAcceptor,
}

async fn listen(listener: TcpListener, way: Arc<Way>) {
    // Dropped with this task, and every connection with it.
    let mut connections = JoinSet::new();
    while let Ok((client, _)) = listener.accept().await {
        let way = Arc::clone(&way);
        connections.spawn(async move {
            // A client that goes away, or a registry that does, ends the connection; both are seen at the other end.
            let _ = serve(client, &way).await;
        });
        while connections.try_join_next().is_some() {}
    }
}

async fn serve(client: TcpStream, way: &Way) -> Result<()> {
    let mut client = BufReader::new(client);
    let request = message::request(&mut client).await?.context("no request")?;
    let door = way.doors.get(request.second_word()).filter(|_| request.head.starts_with("CONNECT "));
    let Some(door) = door else {
        client.write_all(&Message::own("403 Forbidden", &[], b"").bytes()).await?;
        return Ok(client.shutdown().await?);
    };
    client.write_all(b"HTTP/1.1 200 OK\r\n\r\n").await?;
    ensure!(client.buffer().is_empty(), "a client that does not wait for an answer");
    let mut client = BufReader::new(way.tls.accept(client.into_inner()).await?);
    while let Some(mut request) = message::request(&mut client).await? {
        if door.renames {
            request.head = renamed(&request.head);
        }
        let answer = message::ask(door.server_of(request.second_word()), &request).await?;
        client.write_all(&answer.bytes()).await?;
        client.flush().await?;
        if answer.ends_connection() {
            break;
        }
    }
    client.shutdown().await?;
    Ok(())
}

impl Door {
    /// Where a request for this path and query goes.
    fn server_of(&self, target: &str) -> &str {
        let path = target.split('?').next().unwrap_or_default();
        match &self.elsewhere {
            Some((paths, server)) if paths.contains(&path) => server,
            _ => &self.server,
        }
    }
}

/// The head of a request, with the user as it is behind the gate.
fn renamed(head: &str) -> String {
    let line = |line: &str| match basic_login(line) {
        Some(login) => {
            let (user, password) = login.split_once(':').unwrap_or((&login, ""));
            let user = user_of(Login { user, password });
            format!("Authorization: Basic {}\r\n", STANDARD.encode(format!("{user}:{password}")))
        }
        None => line.to_owned(),
    };
    head.split_inclusive('\n').map(line).collect()
}

/// The login that a header line carries, if it does.
fn basic_login(line: &str) -> Option<String> {
    let (_, value) = line.split_once(':').filter(|(name, _)| name.eq_ignore_ascii_case("authorization"))?;
    let (scheme, login) = value.trim().split_once(' ')?;
    let login = STANDARD.decode(login.trim()).ok().filter(|_| scheme.eq_ignore_ascii_case("basic"))?;
    String::from_utf8(login).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn two_logins_of_one_user_are_two_users_behind_the_gate() {
        let user = |password| user_of(Login { user: "AWS", password });
        assert!(user("first") != user("second") && user("first") == user("first"));
        let auth = |login: &str| STANDARD.encode(login);
        let head = |login: &str| format!("GET /v2/ HTTP/1.1\r\nauthorization: basic {login}\r\nA: b\r\n\r\n");
        let expected = format!("{}:first", user("first"));
        let renamed = renamed(&head(&auth("AWS:first")));
        assert!(renamed.contains(&format!("\r\nAuthorization: Basic {}\r\nA: b\r\n\r\n", auth(&expected))));
    }

    #[test]
    fn what_is_no_login_stays_as_it_is() {
        for value in ["Bearer abc", "Basic ?", "Basic"] {
            let head = format!("GET /v2/ HTTP/1.1\r\nAuthorization: {value}\r\n\r\n");
            assert_eq!(renamed(&head), head);
        }
    }
}
