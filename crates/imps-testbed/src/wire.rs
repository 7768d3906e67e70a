//! A wire to a token server that can fail: it passes requests and answers through as they are, or throttles, hangs,
//! breaks off or lies, while it is used.
//!
//! It is made for HTTP/1.1 without TLS. Heads and bodies of requests arrive byte for byte as they were sent, so that
//! signatures hold, those over the `Host` too.

mod fault;
mod lie;
pub(crate) mod message;

use std::collections::BTreeMap;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime};

use anyhow::{Context, Result};
use tokio::io::{AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::{JoinHandle, JoinSet};

pub use lie::Lie;

use message::Message;

/// What the wire does with a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Mode {
    /// Brings it to the server, and the answer back.
    Pass,
    /// Says that there were too many, in the words of AWS where it is asked in those, and with status 429 elsewhere.
    Throttle {
        /// The seconds of the header `Retry-After`, if there is to be one.
        retry_after: Option<u64>,
    },
    /// Brings it to the server, and the answer back after a while.
    Delay(Duration),
    /// Answers with this status and says nothing that would help.
    ServerError(u16),
    /// Reads the request and never answers; the connection stays open.
    Hang,
    /// Reads the request and closes the connection without a word.
    Refuse,
    /// Answers what the server would not.
    Lie(Lie),
}

/// A request that came.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Seen {
    /// What was asked for: see [`Wire`].
    pub operation: String,
    /// When all of it was read.
    pub at: SystemTime,
}

/// The wire, with an address of its own. It is cut when this value is dropped.
///
/// An operation is named after the last part of `X-Amz-Target` (`GetAuthorizationToken`), else after `Action` in a
/// form or in the query (`AssumeRole`), else after method and path (`GET /v1/credentials`).
pub struct Wire {
    address: SocketAddr,
    state: Arc<State>,
    listener: JoinHandle<()>,
}

impl Wire {
    /// A wire to a server, which is given as `host:port` or as an `http` URL without a path. It passes everything.
    pub async fn to(upstream: &str) -> Result<Self> {
        let upstream = upstream.trim_start_matches("http://").trim_end_matches('/').to_owned();
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.context("no free port")?;
        let address = listener.local_addr().context("a listener has no address")?;
        let state = Arc::new(State { upstream, modes: Mutex::default(), seen: Mutex::default() });
        let listener = tokio::spawn(listen(listener, Arc::clone(&state)));
        Ok(Self { address, state, listener })
    }

    /// Host and port.
    #[must_use]
    pub fn address(&self) -> String {
        self.address.to_string()
    }

    /// The URL that stands for the server's.
    #[must_use]
    pub fn endpoint(&self) -> String {
        format!("http://{}", self.address)
    }

    /// What happens to every operation from now on.
    pub fn set(&self, mode: Mode) {
        *lock(&self.state.modes) = Modes { of: BTreeMap::new(), rest: mode };
    }

    /// What happens to one operation from now on.
    pub fn set_for(&self, operation: &str, mode: Mode) {
        lock(&self.state.modes).of.insert(operation.to_owned(), mode);
    }

    /// Every request so far, whatever became of it.
    #[must_use]
    pub fn seen(&self) -> Vec<Seen> {
        lock(&self.state.seen).clone()
    }

    /// How many requests for this operation came so far.
    #[must_use]
    pub fn count(&self, operation: &str) -> usize {
        lock(&self.state.seen).iter().filter(|seen| seen.operation == operation).count()
    }
}

impl Drop for Wire {
    fn drop(&mut self) {
        self.listener.abort();
    }
}

struct State {
    upstream: String,
    modes: Mutex<Modes>,
    seen: Mutex<Vec<Seen>>,
}

struct Modes {
    of: BTreeMap<String, Mode>,
    rest: Mode,
}

impl Default for Modes {
    fn default() -> Self {
        Self { of: BTreeMap::new(), rest: Mode::Pass }
    }
}

impl State {
    /// Notes the request and says what becomes of it.
    fn mode_of(&self, operation: String) -> Mode {
        let modes = lock(&self.modes);
        let mode = modes.of.get(&operation).unwrap_or(&modes.rest).clone();
        lock(&self.seen).push(Seen { operation, at: SystemTime::now() });
        mode
    }

    /// Brings a request to the server and returns its answer.
    async fn ask(&self, request: &Message) -> Result<Message> {
        message::ask(&self.upstream, request).await
    }
}

async fn listen(listener: TcpListener, state: Arc<State>) {
    // Dropped with this task, and every connection with it.
    let mut connections = JoinSet::new();
    while let Ok((client, _)) = listener.accept().await {
        let state = Arc::clone(&state);
        connections.spawn(async move {
            // A client that goes away, or a server that does, ends the connection; both are seen at the other end.
            let _ = serve(client, &state).await;
        });
        while connections.try_join_next().is_some() {}
    }
}

/// Serves one connection, request by request.
async fn serve(client: TcpStream, state: &State) -> Result<()> {
    let mut client = BufReader::new(client);
    while let Some(request) = message::request(&mut client).await? {
        let answer = match state.mode_of(request.operation()) {
            Mode::Pass => state.ask(&request).await?,
            Mode::Delay(pause) => {
                let answer = state.ask(&request).await?;
                tokio::time::sleep(pause).await;
                answer
            }
            Mode::Throttle { retry_after } => fault::throttled(&request, retry_after),
            Mode::ServerError(status) => fault::broken(&request, status),
            Mode::Lie(Lie::HugeBody) => return lie::pour(&mut client).await,
            Mode::Lie(Lie::Redirect { to }) => fault::redirect(&to),
            Mode::Lie(lie) => lie::bend(state.ask(&request).await?, &lie),
            Mode::Refuse => return Ok(()),
            Mode::Hang => return wait_for_end(&mut client).await,
        };
        client.write_all(&answer.bytes()).await?;
        if answer.ends_connection() {
            break;
        }
    }
    client.shutdown().await?;
    Ok(())
}

/// Returns when the client has gone.
async fn wait_for_end(client: &mut BufReader<TcpStream>) -> Result<()> {
    let mut ignored = [0; 1024];
    while client.read(&mut ignored).await? > 0 {}
    Ok(())
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
