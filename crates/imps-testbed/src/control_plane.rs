//! Starts and ends a real control plane: etcd, kube-apiserver and, in the full profile, kube-controller-manager.

use std::ffi::OsString;
use std::fs;
use std::io::Read;
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use k8s_openapi::api::core::v1::{Namespace, ServiceAccount};
use kube::Client;
use kube::api::Api;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use crate::binaries::Binaries;
use crate::certificates::Certificates;
use crate::daemon::{Daemon, LOOK_EVERY, Signal, runs, send, write_private};
use crate::home::Home;
use crate::janitor::Janitor;
use crate::plane::{Plane, ProcessRecord, Profile, Record};
use crate::ports::{free_ports, port_was_taken, retrying};

/// A calm start takes 4 seconds, the busiest seen 9; a machine that is slower still deserves an answer.
const READY_WITHIN: Duration = Duration::from_secs(90);

/// What each program gets to end in order. Its data is thrown away, so there is little to wait for.
const GRACE: Duration = Duration::from_secs(3);

/// What is written down about requests: who did what to which object, never a body. A line is there when the answer
/// is, because the log is written in line and the request's end is a stage of its own.
const AUDIT_POLICY: &str = r#"{
  "apiVersion": "audit.k8s.io/v1",
  "kind": "Policy",
  "omitStages": ["RequestReceived"],
  "rules": [
    {"level": "None", "nonResourceURLs": ["/healthz*", "/readyz*", "/livez*"]},
    {"level": "None", "namespaces": ["kube-system", "kube-node-lease"],
     "resources": [{"group": "coordination.k8s.io", "resources": ["leases"]}]},
    {"level": "Metadata"}
  ]
}
"#;

/// How a control plane is started.
#[derive(Clone, Debug)]
pub struct Options {
    /// Which programs run.
    pub profile: Profile,
    /// Whether requests are written to an audit log.
    pub audit: bool,
    /// Further flags of kube-apiserver; they come last, so they win.
    pub apiserver_flags: Vec<String>,
    /// Whether the folder with data and logs stays when the control plane ends. `IMPS_KEEP_PLANE=1` does the same.
    pub keep: bool,
}

impl Options {
    /// etcd and kube-apiserver, no audit log.
    #[must_use]
    pub fn api_server() -> Self {
        Self { profile: Profile::ApiServer, audit: false, apiserver_flags: vec![], keep: false }
    }

    /// The full profile, no audit log.
    #[must_use]
    pub fn full() -> Self {
        Self { profile: Profile::Full, ..Self::api_server() }
    }

    /// The full profile where kube-controller-manager is there, else without it.
    pub fn as_full_as_possible() -> Result<Self> {
        let found = Binaries::find()?.kube_controller_manager.is_some();
        Ok(if found { Self::full() } else { Self::api_server() })
    }
}

/// The process numbers of a control plane; none for a program that does not run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Pids {
    /// Of etcd.
    pub etcd: Option<u32>,
    /// Of kube-apiserver.
    pub kube_apiserver: Option<u32>,
    /// Of kube-controller-manager.
    pub kube_controller_manager: Option<u32>,
}

/// A control plane whose processes belong to this value: they end when it is dropped, and when this process dies.
pub struct ControlPlane {
    // Fields are dropped in this order: programs first, then who watches over them, then their folder.
    controller_manager: Option<Daemon>,
    apiserver: Daemon,
    etcd: Daemon,
    plane: Plane,
    etcd_address: String,
    janitor: Option<Janitor>,
    home: Home,
}

impl std::fmt::Debug for ControlPlane {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter
            .debug_struct("ControlPlane")
            .field("plane", &self.plane)
            .field("pids", &self.pids())
            .finish()
    }
}

impl ControlPlane {
    /// Starts a control plane and waits until it is ready: RBAC works, and in the full profile the namespace
    /// `default` has its ServiceAccount.
    ///
    /// # Errors
    ///
    /// When programs are missing (the error says how to build them) or do not get ready; the error then shows the
    /// end of the log, and the folder is kept.
    pub async fn start(options: Options) -> Result<Self> {
        let binaries = Binaries::find()?;
        let keep = options.keep || std::env::var_os("IMPS_KEEP_PLANE").is_some_and(|value| value == "1");
        retrying(|| async {
            let home = Home::temporary("imps-plane-")?;
            if keep {
                home.keep()?;
            }
            let janitor = Janitor::watch(home.path())?;
            Self::start_in(home, janitor, &binaries, &options).await
        })
        .await
    }

    /// Starts a control plane that outlives this process, in a folder of the caller's choice, and writes its record
    /// there. It is ended by [`stop_detached`].
    pub async fn start_detached(options: Options, folder: &Path) -> Result<Plane> {
        let binaries = Binaries::find()?;
        let mut owner = retrying(|| async {
            if folder.exists() {
                fs::remove_dir_all(folder).context("cannot clear the folder of the control plane")?;
            }
            fs::create_dir_all(folder).context("cannot make the folder of the control plane")?;
            // Until it is up it is ours: an interrupt on the way leaves nothing behind.
            let janitor = Janitor::watch(folder)?;
            Self::start_in(Home::Fixed(folder.into()), janitor, &binaries, &options).await
        })
        .await?;
        owner.write_record()?;
        owner.daemons().for_each(Daemon::release);
        if let Some(janitor) = owner.janitor.take() {
            janitor.dismiss();
        }
        Ok(owner.plane.clone())
    }

    async fn start_in(home: Home, janitor: Janitor, binaries: &Binaries, options: &Options) -> Result<Self> {
        let started = Self::assemble(home, janitor, binaries, options)?;
        match started.run().await {
            Ok(()) => Ok(started),
            Err(error) => {
                let folder = started.folder().display().to_string();
                // A collision of ports is tried again, so its folder is of no use.
                if !port_was_taken(&error) {
                    started.home.keep()?;
                }
                Err(error.context(format!("the control plane did not start; its logs are in {folder}")))
            }
        }
    }

    /// Writes every file and describes every process; nothing runs yet.
    fn assemble(home: Home, janitor: Janitor, binaries: &Binaries, options: &Options) -> Result<Self> {
        let folder = home.path().to_owned();
        let ports = Ports::free()?;
        let files = Certificates::write(&folder)?;
        let token = random_token()?;
        write_private(&folder.join("token"), &token)?;
        write_private(&folder.join("tokens.csv"), &format!("{token},admin,admin,system:masters\n"))?;
        let audit_log = options.audit.then(|| folder.join("audit.log"));
        let ca = fs::read_to_string(&files.ca).context("cannot read the authority")?;
        let url = format!("https://127.0.0.1:{}", ports.apiserver);
        let plane = Plane::new(&url, &ca, &token, &folder, options.profile, audit_log);
        let apiserver = apiserver_arguments(&folder, &ports, &files, options)?;
        let controller_manager = match (options.profile, &binaries.kube_controller_manager) {
            (Profile::ApiServer, _) => None,
            (Profile::Full, Some(program)) => {
                let arguments = controller_manager_arguments(&files, &plane.admin_kubeconfig()?);
                Some(Daemon::new("kube-controller-manager", program, &folder, arguments))
            }
            (Profile::Full, None) => bail!(
                "the full profile needs kube-controller-manager, which is not beside kube-apiserver ({}); \
                 set TEST_ASSET_KUBE_CONTROLLER_MANAGER, or unset KUBEBUILDER_ASSETS and run `cargo xtask plane build`",
                binaries.kube_apiserver.display()
            ),
        };
        Ok(Self {
            controller_manager,
            apiserver: Daemon::new("kube-apiserver", &binaries.kube_apiserver, &folder, apiserver),
            etcd: Daemon::new("etcd", &binaries.etcd, &folder, etcd_arguments(&folder, &ports)),
            plane,
            etcd_address: format!("127.0.0.1:{}", ports.etcd),
            janitor: Some(janitor),
            home,
        })
    }

    async fn run(&self) -> Result<()> {
        self.etcd.start()?;
        // A server that starts before its store backs off for up to a second, so it waits for it here.
        self.etcd.wait_until(READY_WITHIN, "be healthy", || etcd_is_healthy(&self.etcd_address)).await?;
        self.start_apiserver().await?;
        let Some(controller_manager) = &self.controller_manager else { return Ok(()) };
        controller_manager.start()?;
        let client = self.plane.admin_client().await?;
        controller_manager
            .wait_until(READY_WITHIN, "make the default ServiceAccount", || default_account_exists(&client))
            .await
    }

    /// The control plane without its processes, for code that only talks to it.
    #[must_use]
    pub fn plane(&self) -> &Plane {
        &self.plane
    }

    /// The process numbers.
    #[must_use]
    pub fn pids(&self) -> Pids {
        Pids {
            etcd: self.etcd.pid(),
            kube_apiserver: self.apiserver.pid(),
            kube_controller_manager: self.controller_manager.as_ref().and_then(Daemon::pid),
        }
    }

    /// Kills kube-apiserver without warning, as a crash of its machine would.
    pub fn kill_apiserver(&self) {
        self.apiserver.kill();
    }

    /// Starts kube-apiserver, on the same port and the same data as before, and waits until it is ready.
    pub async fn start_apiserver(&self) -> Result<()> {
        self.apiserver.start()?;
        let client = self.plane.admin_client().await?;
        self.apiserver.wait_until(READY_WITHIN, "be ready", || is_ready(&client)).await
    }

    /// Freezes kube-apiserver: connections stay open and nothing answers.
    pub fn pause_apiserver(&self) -> Result<()> {
        self.apiserver.pause()
    }

    /// Lets a frozen kube-apiserver go on.
    pub fn resume_apiserver(&self) -> Result<()> {
        self.apiserver.resume()
    }

    /// Writes what other processes need to [attach](Plane::attach) to this control plane.
    pub fn write_record(&self) -> Result<()> {
        let processes = self.daemons().filter_map(|daemon| {
            let record = ProcessRecord { pid: daemon.pid()?, program: daemon.program().into() };
            Some((daemon.name().to_owned(), record))
        });
        let record = Record {
            url: self.url().to_owned(),
            ca: self.folder().join("ca.crt"),
            token: self.folder().join("token"),
            kubeconfig: self.admin_kubeconfig()?,
            profile: self.profile(),
            audit_log: self.audit_log().map(Path::to_owned),
            processes: processes.collect(),
        };
        record.write(self.folder())
    }

    /// Ends everything in order, each program within a few seconds. Dropping it kills at once instead.
    pub async fn stop(self) {
        for daemon in self.daemons() {
            daemon.stop(GRACE).await;
        }
    }

    /// In the order in which they are to be stopped.
    fn daemons(&self) -> impl Iterator<Item = &Daemon> {
        self.controller_manager.iter().chain([&self.apiserver, &self.etcd])
    }
}

/// Whether the control plane that was started detached in `folder` still runs and answers.
pub async fn detached_is_up(folder: &Path) -> bool {
    let Ok(record) = Record::read(folder) else { return false };
    if !record.processes.values().all(|process| runs(process.pid, &process.program)) {
        return false;
    }
    let Ok(plane) = Plane::attach(folder) else { return false };
    match plane.admin_client().await {
        Ok(client) => tokio::time::timeout(GRACE, is_ready(&client)).await.unwrap_or(false),
        Err(_) => false,
    }
}

/// Ends a control plane that was started detached and removes its folder. Only processes that still run the recorded
/// program are touched; their names are returned.
pub async fn stop_detached(folder: &Path) -> Result<Vec<String>> {
    let record = Record::read(folder)?;
    let mut stopped = Vec::new();
    // kube-controller-manager, kube-apiserver, and etcd last: nobody loses what it depends on.
    let (last, first): (Vec<_>, Vec<_>) =
        record.processes.iter().partition(|(name, _)| name.as_str() == "etcd");
    for (name, process) in first.into_iter().rev().chain(last) {
        if runs(process.pid, &process.program) {
            end(process).await.with_context(|| format!("cannot end {name} ({})", process.pid))?;
            stopped.push(name.clone());
        }
    }
    fs::remove_dir_all(folder).with_context(|| format!("cannot remove {}", folder.display()))?;
    Ok(stopped)
}

async fn end(process: &ProcessRecord) -> Result<()> {
    send(process.pid, Signal::CONT)?;
    send(process.pid, Signal::TERM)?;
    let begun = Instant::now();
    while runs(process.pid, &process.program) {
        if begun.elapsed() > 2 * GRACE {
            bail!("it does not end, not even when killed");
        }
        if begun.elapsed() > GRACE {
            // It may have ended since the look above, which is as good.
            let _ = send(process.pid, Signal::KILL);
        }
        tokio::time::sleep(LOOK_EVERY).await;
    }
    Ok(())
}

/// So that everything a [`Plane`] can do can be asked of its owner.
impl std::ops::Deref for ControlPlane {
    type Target = Plane;

    fn deref(&self) -> &Plane {
        &self.plane
    }
}

struct Ports {
    etcd: u16,
    etcd_peer: u16,
    apiserver: u16,
}

impl Ports {
    fn free() -> Result<Self> {
        let [etcd, etcd_peer, apiserver] = free_ports()?;
        Ok(Self { etcd, etcd_peer, apiserver })
    }
}

fn etcd_arguments(folder: &Path, ports: &Ports) -> Vec<OsString> {
    let client = format!("http://127.0.0.1:{}", ports.etcd);
    let peer = format!("http://127.0.0.1:{}", ports.etcd_peer);
    let cluster = format!("plane={peer}");
    flags(&[
        ("name", "plane".as_ref()),
        ("data-dir", folder.join("etcd").as_ref()),
        ("listen-client-urls", client.as_ref()),
        ("advertise-client-urls", client.as_ref()),
        ("listen-peer-urls", peer.as_ref()),
        ("initial-advertise-peer-urls", peer.as_ref()),
        ("initial-cluster", cluster.as_ref()),
        // The data is thrown away, so it need not survive a power cut.
        ("unsafe-no-fsync", "true".as_ref()),
        ("quota-backend-bytes", "8589934592".as_ref()),
        ("auto-compaction-mode", "periodic".as_ref()),
        ("auto-compaction-retention", "5m".as_ref()),
        ("log-level", "warn".as_ref()),
    ])
}

fn apiserver_arguments(
    folder: &Path,
    ports: &Ports,
    files: &Certificates,
    options: &Options,
) -> Result<Vec<OsString>> {
    let etcd = format!("http://127.0.0.1:{}", ports.etcd);
    let port = ports.apiserver.to_string();
    let mut arguments = flags(&[
        ("etcd-servers", etcd.as_ref()),
        ("bind-address", "127.0.0.1".as_ref()),
        // Needed where the machine has no default route.
        ("advertise-address", "127.0.0.1".as_ref()),
        ("secure-port", port.as_ref()),
        ("tls-cert-file", files.serving_certificate.as_ref()),
        ("tls-private-key-file", files.serving_key.as_ref()),
        ("client-ca-file", files.ca.as_ref()),
        ("token-auth-file", folder.join("tokens.csv").as_ref()),
        ("cert-dir", folder.join("certificates").as_ref()),
        ("service-cluster-ip-range", "10.0.0.0/24".as_ref()),
        ("authorization-mode", "RBAC".as_ref()),
        ("allow-privileged", "true".as_ref()),
        // It would complain about an endpoint on loopback.
        ("endpoint-reconciler-type", "none".as_ref()),
        ("service-account-issuer", "https://kubernetes.default.svc".as_ref()),
        ("service-account-key-file", files.account_public_key.as_ref()),
        ("service-account-signing-key-file", files.account_key.as_ref()),
    ]);
    if options.profile == Profile::ApiServer {
        // Nobody makes the default account without kube-controller-manager, and this plugin would wait for it.
        arguments.push("--disable-admission-plugins=ServiceAccount".into());
    }
    if options.audit {
        let policy = folder.join("audit-policy.json");
        fs::write(&policy, AUDIT_POLICY).context("cannot write the audit policy")?;
        arguments.extend(flags(&[
            ("audit-policy-file", policy.as_ref()),
            ("audit-log-path", folder.join("audit.log").as_ref()),
            ("audit-log-mode", "blocking".as_ref()),
            // MiB. Its default is 100, after which the file is another one and readers miss what came before.
            ("audit-log-maxsize", "4096".as_ref()),
        ]));
    }
    arguments.extend(options.apiserver_flags.iter().map(OsString::from));
    Ok(arguments)
}

fn controller_manager_arguments(files: &Certificates, kubeconfig: &Path) -> Vec<OsString> {
    flags(&[
        ("kubeconfig", kubeconfig.as_ref()),
        // It serves nothing that is needed here, and a port less is a collision less.
        ("secure-port", "0".as_ref()),
        ("service-account-private-key-file", files.account_key.as_ref()),
        ("root-ca-file", files.ca.as_ref()),
        ("use-service-account-credentials", "true".as_ref()),
        ("leader-elect", "false".as_ref()),
        ("kube-api-qps", "2000".as_ref()),
        ("kube-api-burst", "4000".as_ref()),
        ("concurrent-namespace-syncs", "50".as_ref()),
    ])
}

fn flags(pairs: &[(&str, &std::ffi::OsStr)]) -> Vec<OsString> {
    pairs
        .iter()
        .map(|(name, value)| {
            let mut flag = OsString::from(format!("--{name}="));
            flag.push(value);
            flag
        })
        .collect()
}

/// Plain HTTP to loopback, one request: not worth a client.
async fn etcd_is_healthy(address: &str) -> bool {
    let ask = async {
        let mut stream = tokio::net::TcpStream::connect(address).await?;
        stream.write_all(b"GET /health HTTP/1.0\r\n\r\n").await?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await?;
        std::io::Result::Ok(answer)
    };
    ask.await.is_ok_and(|answer| answer.contains(r#""health":"true""#))
}

async fn is_ready(client: &Client) -> bool {
    let request = http::Request::get("/readyz").body(Vec::new());
    let Ok(request) = request else { return false };
    client.request_text(request).await.is_ok_and(|text| text == "ok")
        // The namespace is made by the server itself a moment after it listens.
        && Api::<Namespace>::all(client.clone()).get("default").await.is_ok()
}

async fn default_account_exists(client: &Client) -> bool {
    Api::<ServiceAccount>::namespaced(client.clone(), "default").get("default").await.is_ok()
}

/// 128 random bits in hex.
fn random_token() -> Result<String> {
    let mut bytes = [0; 16];
    let mut source = fs::File::open("/dev/urandom").context("no source of randomness")?;
    source.read_exact(&mut bytes).context("the source of randomness is short")?;
    Ok(bytes.iter().map(|byte| format!("{byte:02x}")).collect())
}
