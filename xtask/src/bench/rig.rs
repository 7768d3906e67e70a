//! What the measurements stand on: a control plane, identities with equal rights, namespaces, the operator.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result};
use imps_api::keys;
use imps_testbed::control_plane::{ControlPlane, Options};
use imps_testbed::manifest;
use imps_testbed::operator::{self, Operator, Run};
use kube::Client;
use serde_json::{Value, json};

use super::ledger::Ledger;
use super::process::Usage;
use super::workers::{Workers, spread_over};
use crate::console::Console;
use crate::lookout::Lookout;

/// Where the operator's and the workers' accounts live, and the sources.
pub(super) const HOME: &str = "imps-bench";
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
/// Registries in each source: together they make a Secret of 2 KB, like that of a company with some mirrors.
const REGISTRIES: usize = 5;
/// A tenth of the slowest rate ever seen on this kind of machine.
const SECONDS_PER_THOUSAND: u64 = 100;

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
    _manifests: tempfile::TempDir,
}

impl Rig {
    /// Starts the control plane and the operator, and makes the namespaces. No ImagePullSecret exists yet.
    pub(super) async fn start(imps: &Path, namespaces: usize, console: &mut Console) -> Result<Self> {
        console.begin("starting etcd and kube-apiserver with an audit log");
        let plane = ControlPlane::start(Options { audit: true, ..Options::api_server() }).await?;
        let admin = plane.admin_client().await?;
        console.begin("installing the CRD and two accounts with the rights that `imps rbac` prints");
        let crd = std::process::Command::new(imps).arg("crd").output().context("cannot run imps crd")?;
        manifest::apply(&admin, &manifest::read(&String::from_utf8_lossy(&crd.stdout))?).await?;
        manifest::apply(&admin, &[named("Namespace", HOME)]).await?;
        manifest::apply(&admin, &[source(0, 0), source(1, 0)]).await?;
        let folder = tempfile::tempdir().context("cannot make a folder")?;
        grant(&admin, imps, &write(folder.path(), "imps", &[TARGET])?, "imps").await?;
        grant(&admin, imps, &write(folder.path(), "plain", FLOORS.as_flattened())?, "plain").await?;
        let mut account = named("ServiceAccount", "plain");
        account["metadata"]["namespace"] = json!(HOME);
        manifest::apply(&admin, &[account]).await?;
        let token = plane.service_account_token(HOME, "plain").await?;
        let plain = plane.client_with_token(&token).await?;
        let run = Run {
            binary: imps,
            subcommand: Some("controller"),
            namespace: HOME,
            account: "imps",
            arguments: &[],
        };
        let operator = Operator::start(&plane, &run).await?;
        let log = plane.audit_log().context("an audit log was asked for")?;
        let ledger = Ledger::of(log, format!("system:serviceaccount:{HOME}:imps"))?;
        let targets = Lookout::over(admin.clone(), TARGET).await?;
        console.begin(&format!("making {namespaces} namespaces"));
        let namespaces: Vec<String> = (0..namespaces).map(|index| format!("bench-{index:05}")).collect();
        make_namespaces(&admin, &namespaces).await?;
        operator.ready().await?;
        let workers = Workers::new(plain, namespaces.clone());
        Ok(Self { imps: operator, plane, admin, workers, namespaces, ledger, targets, _manifests: folder })
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
    pub(super) fn grant() -> Value {
        resource(TARGET, TARGET, &SOURCES)
    }

    /// The same with identities beside the logins.
    pub(super) fn grant_with(identities: &[&'static str]) -> Value {
        resource(TARGET, TARGET, &[&SOURCES, identities].concat())
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

fn resource(name: &str, target: &str, sources: &[&str]) -> Value {
    json!({
        "apiVersion": format!("{}/{}", keys::GROUP, keys::VERSION), "kind": keys::KIND,
        "metadata": {"name": name},
        "spec": {
            "registry": {
                "credentials": sources.iter().map(|name| json!({"name": name, "namespace": HOME})).collect::<Vec<_>>(),
            },
            "target": {"secret": {"name": target}, "namespaces": {"labels": [{"matchLabels": {LABEL: "yes"}}]}},
        },
    })
}

fn named(kind: &str, name: &str) -> Value {
    json!({"apiVersion": "v1", "kind": kind, "metadata": {"name": name}})
}

/// Writes manifests from which `imps rbac` learns the names.
fn write(folder: &Path, name: &str, targets: &[&str]) -> Result<PathBuf> {
    let path = folder.join(format!("{name}.yaml"));
    let sources = [SOURCES, IDENTITIES].concat();
    let documents: Vec<String> =
        targets.iter().map(|target| resource(target, target, &sources).to_string()).collect();
    fs::write(&path, documents.join("\n---\n")).context("cannot write a manifest")?;
    Ok(path)
}

async fn grant(admin: &Client, imps: &Path, manifest: &Path, account: &str) -> Result<()> {
    let rights = operator::rights(imps, &[manifest.into()], &format!("bench-{account}"), HOME, account)?;
    manifest::apply(admin, &rights).await
}

async fn make_namespaces(admin: &Client, names: &[String]) -> Result<()> {
    spread_over(names, |name| {
        let admin = admin.clone();
        async move { manifest::apply(&admin, &[recipient(&name)]).await }
    })
    .await
}
