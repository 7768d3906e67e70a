//! What the measurements stand on: a control plane, identities with equal rights, namespaces, the operator.

use std::ffi::OsStr;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result};
use imps_api::keys;
use imps_testbed::control_plane::{ControlPlane, Options};
use imps_testbed::manifest;
use imps_testbed::operator::{self, Operator, Run};
use imps_testbed::plane::Profile;
use kube::Client;
use serde_json::{Value, json};

use super::ledger::Ledger;
use super::process::Usage;
use super::workers::{Workers, spread_over};
use crate::console::Console;
use crate::lookout::Lookout;

/// Where the operator's and the workers' accounts live, and the sources.
pub(super) const HOME: &str = "imps-bench";
/// As the chart starts it unless told otherwise.
const ELECTION: [&str; 3] = ["--enable-leader-election", "--config-namespace", HOME];
/// The label that selects.
pub(super) const LABEL: &str = "imps-bench";
/// The name that imps writes to.
pub(super) const TARGET: &str = "bench-pull";
/// The names that plain workers write to, before imps and after it, one pair for each time that imps fills.
pub(super) const FLOORS: [[&str; 2]; 3] = [
    ["bench-floor-0a", "bench-floor-0b"],
    ["bench-floor-1a", "bench-floor-1b"],
    ["bench-floor-2a", "bench-floor-2b"],
];
/// The two sources.
pub(super) const SOURCES: [&str; 2] = ["hub", "company"];
/// Sources that are exchanged for tokens: one that is answered, and one whose endpoint hangs.
pub(super) const IDENTITIES: [&str; 2] = ["ecr", "hanging"];
/// The ServiceAccount that imps attaches its Secret to.
const ACCOUNT: &str = "default";
/// The one that plain workers attach theirs to.
pub(super) const FLOOR_ACCOUNT: &str = "bench-floor";
/// Registries in each source: together they make a Secret of 2 KB, like that of a company with some mirrors.
const REGISTRIES: usize = 5;
/// A tenth of the slowest rate ever seen on this kind of machine.
const SECONDS_PER_THOUSAND: u64 = 100;

/// What stands before imps does anything.
#[derive(Clone, Copy)]
pub(super) struct Stage {
    namespaces: usize,
    /// Whether the Secret is attached to a ServiceAccount in each namespace.
    attached: bool,
    profile: Profile,
}

impl Stage {
    /// Secrets only.
    pub(super) fn plain(namespaces: usize) -> Self {
        Self { namespaces, attached: false, profile: Profile::ApiServer }
    }

    /// ServiceAccounts too; they are there before imps is.
    pub(super) fn attached(namespaces: usize) -> Self {
        Self { attached: true, ..Self::plain(namespaces) }
    }

    /// The same, and kube-controller-manager makes the ServiceAccounts.
    pub(super) fn full(namespaces: usize) -> Self {
        Self { profile: Profile::Full, ..Self::attached(namespaces) }
    }

    /// The objects of a namespace.
    fn objects(self, name: &str) -> Vec<Value> {
        let mut objects = vec![recipient(name)];
        if self.attached && self.profile == Profile::ApiServer {
            objects.extend([ACCOUNT, FLOOR_ACCOUNT].map(|account| service_account(account, name)));
        }
        objects
    }
}

/// Everything that runs. Dropping it ends all of it.
pub(super) struct Rig {
    // Dropped in this order: the operator before its server.
    pub(super) imps: Operator,
    pub(super) plane: ControlPlane,
    pub(super) admin: Client,
    pub(super) workers: Workers,
    pub(super) namespaces: Vec<String>,
    pub(super) ledger: Ledger,
    pub(super) targets: Lookout,
    /// The ServiceAccounts that name the targets; empty where they are attached to none.
    pub(super) accounts: Lookout,
    stage: Stage,
    _manifests: tempfile::TempDir,
}

impl Rig {
    /// Starts the control plane and the operator, and makes the namespaces. No ImagePullSecret exists yet.
    pub(super) async fn start(imps: &Path, stage: Stage, console: &mut Console) -> Result<Self> {
        console.begin(match stage.profile {
            Profile::ApiServer => "starting etcd and kube-apiserver with an audit log",
            Profile::Full => "starting etcd, kube-apiserver with an audit log, and kube-controller-manager",
        });
        let options = Options { profile: stage.profile, audit: true, ..Options::api_server() };
        let plane = ControlPlane::start(options).await?;
        let admin = plane.admin_client().await?;
        console.begin("installing the CRD and two accounts with the rights that `imps rbac` prints");
        let crd = std::process::Command::new(imps).arg("crd").output().context("cannot run imps crd")?;
        manifest::apply(&admin, &manifest::read(&String::from_utf8_lossy(&crd.stdout))?).await?;
        manifest::apply(&admin, &[named("Namespace", HOME)]).await?;
        manifest::apply(&admin, &[source(0, 0), source(1, 0)]).await?;
        let folder = tempfile::tempdir().context("cannot make a folder")?;
        let accounts = |account| if stage.attached { vec![account] } else { Vec::new() };
        let ours = write(folder.path(), "imps", &[TARGET], &accounts(ACCOUNT))?;
        let theirs = write(folder.path(), "plain", FLOORS.as_flattened(), &accounts(FLOOR_ACCOUNT))?;
        grant(&admin, imps, &ours, "imps").await?;
        grant(&admin, imps, &theirs, "plain").await?;
        manifest::apply(&admin, &[service_account("plain", HOME)]).await?;
        let token = plane.service_account_token(HOME, "plain").await?;
        let plain = plane.client_with_token(&token).await?;
        let run = Run {
            binary: imps,
            subcommand: Some("controller"),
            namespace: HOME,
            account: "imps",
            arguments: &ELECTION,
        };
        let operator = Operator::start(&plane, &run).await?;
        let log = plane.audit_log().context("an audit log was asked for")?;
        let ledger = Ledger::of(log, format!("system:serviceaccount:{HOME}:imps"), HOME)?;
        let targets = Lookout::over(admin.clone(), TARGET).await?;
        let accounts = Lookout::over_accounts(admin.clone(), ACCOUNT, TARGET).await?;
        console.begin(&format!("making {} namespaces", stage.namespaces));
        let namespaces: Vec<String> =
            (0..stage.namespaces).map(|index| format!("bench-{index:05}")).collect();
        make_namespaces(&admin, &namespaces, stage).await?;
        operator.ready().await?;
        let workers = Workers::new(plain, namespaces.clone(), stage.attached.then_some(FLOOR_ACCOUNT));
        Ok(Self {
            imps: operator,
            plane,
            admin,
            workers,
            namespaces,
            ledger,
            targets,
            accounts,
            stage,
            _manifests: folder,
        })
    }

    /// How long something that touches every namespace may take.
    pub(super) fn patience(&self) -> Duration {
        let thousands = u64::try_from(self.namespaces.len()).unwrap_or_default().div_ceil(1000);
        Duration::from_secs(SECONDS_PER_THOUSAND * thousands)
    }

    /// What the operator has used so far.
    pub(super) fn usage(&self) -> Result<Usage> {
        Usage::of(self.imps.pid().context("imps runs")?)
    }

    /// The ImagePullSecret.
    pub(super) fn grant(&self) -> Value {
        self.grant_with(&[])
    }

    /// The same with identities beside the logins.
    pub(super) fn grant_with(&self, identities: &[&'static str]) -> Value {
        let accounts: &[&str] = if self.stage.attached { &[ACCOUNT] } else { &[] };
        resource(TARGET, TARGET, &[&SOURCES, identities].concat(), accounts)
    }

    /// The same attached to no ServiceAccount.
    pub(super) fn grant_unattached() -> Value {
        resource(TARGET, TARGET, &SOURCES, &[])
    }

    /// Sees what imps writes last in a namespace that it fills.
    pub(super) fn last_written(&self) -> &Lookout {
        if self.stage.attached { &self.accounts } else { &self.targets }
    }

    /// The resources of which imps writes one in each namespace that it fills.
    pub(super) fn written(&self) -> &'static [&'static str] {
        if self.stage.attached { &["secrets", "serviceaccounts"] } else { &["secrets"] }
    }

    /// Ends everything in order.
    pub(super) async fn stop(mut self) {
        self.imps.kill();
        self.plane.stop().await;
    }
}

/// A namespace that the ImagePullSecret selects.
pub(super) fn recipient(name: &str) -> Value {
    json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name, "labels": {LABEL: "yes"}}})
}

/// One of the sources; another edition has other passwords of the same length.
pub(super) fn source(index: usize, edition: usize) -> Value {
    json!({
        "apiVersion": "v1", "kind": "Secret", "type": "kubernetes.io/dockerconfigjson",
        "metadata": {"name": SOURCES[index], "namespace": HOME},
        "stringData": {".dockerconfigjson": docker_config(index, edition)},
    })
}

/// A made-up docker config; each entry is as long as those of a cloud's long-lived logins.
pub(super) fn docker_config(index: usize, edition: usize) -> String {
    let auths = (0..REGISTRIES).map(|number| {
        let host = format!("mirror-{index}-{number}.registry.example.com");
        (host, json!({"username": format!("robot-{number}"), "password": format!("made-up-{edition:028}")}))
    });
    json!({"auths": Value::Object(auths.collect())}).to_string()
}

fn resource(name: &str, target: &str, sources: &[&str], accounts: &[&str]) -> Value {
    let mut resource = json!({
        "apiVersion": format!("{}/{}", keys::GROUP, keys::VERSION), "kind": keys::KIND,
        "metadata": {"name": name},
        "spec": {
            "registry": {
                "credentials": sources.iter().map(|name| json!({"name": name, "namespace": HOME})).collect::<Vec<_>>(),
            },
            "target": {"secret": {"name": target}, "namespaces": {"labels": [{"matchLabels": {LABEL: "yes"}}]}},
        },
    });
    if !accounts.is_empty() {
        resource["spec"]["target"]["serviceAccounts"] = json!({"names": accounts});
    }
    resource
}

fn service_account(name: &str, namespace: &str) -> Value {
    let mut account = named("ServiceAccount", name);
    account["metadata"]["namespace"] = json!(namespace);
    account
}

fn named(kind: &str, name: &str) -> Value {
    json!({"apiVersion": "v1", "kind": kind, "metadata": {"name": name}})
}

/// Writes manifests from which `imps rbac` learns the names.
fn write(folder: &Path, name: &str, targets: &[&str], accounts: &[&str]) -> Result<PathBuf> {
    let path = folder.join(format!("{name}.yaml"));
    let sources = [SOURCES, IDENTITIES].concat();
    let documents: Vec<String> =
        targets.iter().map(|target| resource(target, target, &sources, accounts).to_string()).collect();
    fs::write(&path, documents.join("\n---\n")).context("cannot write a manifest")?;
    Ok(path)
}

async fn grant(admin: &Client, imps: &Path, manifest: &Path, account: &str) -> Result<()> {
    let arguments = [OsStr::new("-f"), manifest.as_os_str(), "--lease-namespace".as_ref(), HOME.as_ref()];
    let rights = operator::rights_of(imps, &arguments, &format!("bench-{account}"), HOME, account)?;
    manifest::apply(admin, &rights).await
}

async fn make_namespaces(admin: &Client, names: &[String], stage: Stage) -> Result<()> {
    spread_over(names, |name| {
        let admin = admin.clone();
        async move { manifest::apply(&admin, &stage.objects(&name)).await }
    })
    .await
}
