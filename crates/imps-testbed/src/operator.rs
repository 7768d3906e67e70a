//! The real `imps controller`, or `imps refresher`, as a process: under its own ServiceAccount, with a token of the
//! TokenRequest API and no right but those that it was given.

use std::ffi::{OsStr, OsString};
use std::path::{Path, PathBuf};
use std::process::ExitStatus;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use serde_json::{Value, json};

use crate::daemon::{Daemon, Signal};
use crate::janitor::Janitor;
use crate::plane::Plane;
use crate::{manifest, names};

/// How long the program may take to serve its probes.
const START_TIMEOUT: Duration = Duration::from_secs(20);
/// How often a condition is looked at.
const LOOK_EVERY: Duration = Duration::from_millis(10);

/// How to run it.
#[derive(Clone, Debug)]
pub struct Run<'a> {
    /// The program `imps`.
    pub binary: &'a Path,
    /// `controller` or `refresher`; none when the name of the program says it.
    pub subcommand: Option<&'a str>,
    /// Namespace of its ServiceAccount; made if it is not there.
    pub namespace: &'a str,
    /// Name of its ServiceAccount; made if it is not there.
    pub account: &'a str,
    /// More arguments for it.
    pub arguments: &'a [&'a str],
}

/// A running operator; it ends when this is dropped, and when this process dies.
pub struct Operator {
    // Fields are dropped in this order.
    daemon: Daemon,
    _janitor: Janitor,
    folder: tempfile::TempDir,
    address: Option<String>,
}

impl Operator {
    /// Makes the ServiceAccount and starts the program with a token for it. Rights are the caller's business, see
    /// [`rights`]. Returns when the program serves its probes.
    pub async fn start(plane: &Plane, run: &Run<'_>) -> Result<Self> {
        Self::start_in(plane, run, &[]).await
    }

    /// As [`start`](Self::start), with these variables in its environment.
    pub async fn start_in(plane: &Plane, run: &Run<'_>, environment: &[(&str, &str)]) -> Result<Self> {
        let client = plane.admin_client().await?;
        let account = json!({
            "apiVersion": "v1", "kind": "ServiceAccount",
            "metadata": {"name": run.account, "namespace": run.namespace},
        });
        let namespace = json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": run.namespace}});
        manifest::apply(&client, &[namespace, account]).await?;
        let token = plane.service_account_token(run.namespace, run.account).await?;
        let kubeconfig = plane.write_kubeconfig(&names::fresh_name(run.account), &token)?;
        let folder = tempfile::tempdir().context("cannot make a folder for the operator")?;
        let mut arguments: Vec<OsString> = run.subcommand.into_iter().map(Into::into).collect();
        arguments.extend(["--kubeconfig".into(), kubeconfig.into()]);
        arguments.extend(["--metrics-addr", "127.0.0.1:0", "--log.format", "json"].map(Into::into));
        arguments.extend(run.arguments.iter().map(Into::into));
        let environment = environment.iter().map(|(name, value)| (name.into(), value.into())).collect();
        let mut operator = Self {
            daemon: Daemon::new("imps", run.binary, folder.path(), arguments).in_environment(environment),
            _janitor: Janitor::watch(folder.path())?,
            folder,
            address: None,
        };
        operator.begin().await?;
        Ok(operator)
    }

    /// Starts the program again after it ended, as the same identity.
    pub async fn begin(&mut self) -> Result<()> {
        let before = self.log().len();
        self.daemon.start()?;
        let deadline = Instant::now() + START_TIMEOUT;
        loop {
            if let Some(status) = self.daemon.ended()? {
                bail!("imps ended at its start with {status}:\n{}", self.daemon.log_tail());
            }
            if let Some(address) = started_at(&self.log()[before..]) {
                self.address = Some(address);
                return Ok(());
            }
            if Instant::now() > deadline {
                bail!("imps did not start within {START_TIMEOUT:?}:\n{}", self.daemon.log_tail());
            }
            tokio::time::sleep(LOOK_EVERY).await;
        }
    }

    /// Waits until `/readyz` says so.
    pub async fn ready(&self) -> Result<()> {
        let deadline = Instant::now() + START_TIMEOUT;
        loop {
            let answer = self.get("/readyz").await;
            if matches!(&answer, Ok((200, _))) {
                return Ok(());
            }
            if Instant::now() > deadline {
                bail!("imps is not ready within {START_TIMEOUT:?}: {answer:?}\n{}", self.daemon.log_tail());
            }
            tokio::time::sleep(LOOK_EVERY).await;
        }
    }

    /// Asks its HTTP server: status code and body.
    pub async fn get(&self, path: &str) -> Result<(u16, String)> {
        use tokio::io::{AsyncReadExt, AsyncWriteExt};
        let address = self.address.as_deref().context("imps has not started")?;
        let mut stream = tokio::net::TcpStream::connect(address).await?;
        let request = format!("GET {path} HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n");
        stream.write_all(request.as_bytes()).await?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await?;
        let (head, body) = answer.split_once("\r\n\r\n").context("no HTTP answer")?;
        let code = head.split(' ').nth(1).and_then(|code| code.parse().ok()).context("no HTTP status")?;
        Ok((code, body.to_owned()))
    }

    /// All that it has logged.
    pub fn log(&self) -> String {
        std::fs::read_to_string(self.daemon.log()).unwrap_or_default()
    }

    /// Its process number while it runs.
    pub fn pid(&self) -> Option<u32> {
        self.daemon.pid()
    }

    /// The folder with its log.
    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// Sends SIGTERM and waits for the end: how it ended, and how long that took.
    pub async fn terminate(&mut self) -> Result<(ExitStatus, Duration)> {
        let start = Instant::now();
        self.daemon.signal(Signal::TERM)?;
        loop {
            if let Some(status) = self.daemon.ended()? {
                self.daemon.kill();
                return Ok((status, start.elapsed()));
            }
            if start.elapsed() > START_TIMEOUT {
                bail!("imps did not end on SIGTERM:\n{}", self.daemon.log_tail());
            }
            tokio::time::sleep(LOOK_EVERY).await;
        }
    }

    /// Freezes it, and returns when it is frozen.
    pub fn pause(&self) -> Result<()> {
        self.daemon.pause()
    }

    /// Lets a frozen one go on.
    pub fn resume(&self) -> Result<()> {
        self.daemon.resume()
    }

    /// Ends it with SIGKILL.
    pub fn kill(&mut self) {
        self.daemon.kill();
    }
}

/// The address in the line that says that it started.
fn started_at(log: &str) -> Option<String> {
    let lines = log.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
    let mut addresses = lines.filter_map(|line| line.get("address")?.as_str().map(str::to_owned));
    addresses.next()
}

/// What `imps rbac` prints for these manifests, bound to an account: the documents to apply.
pub fn rights(
    binary: &Path,
    manifests: &[PathBuf],
    name: &str,
    namespace: &str,
    account: &str,
) -> Result<Vec<Value>> {
    let manifests: Vec<OsString> = manifests.iter().flat_map(|path| ["-f".into(), path.into()]).collect();
    rights_of(binary, &manifests, name, namespace, account)
}

/// As [`rights`], with these arguments of `imps rbac` instead of manifests.
pub fn rights_of(
    binary: &Path,
    what: &[impl AsRef<OsStr>],
    name: &str,
    namespace: &str,
    account: &str,
) -> Result<Vec<Value>> {
    let mut command = std::process::Command::new(binary);
    command.args(["rbac", "--name", name, "--service-account", &format!("{namespace}/{account}")]);
    command.args(what);
    let output = command.output().with_context(|| format!("cannot run {}", binary.display()))?;
    anyhow::ensure!(output.status.success(), "imps rbac failed: {}", String::from_utf8_lossy(&output.stderr));
    manifest::read(&String::from_utf8_lossy(&output.stdout))
}
