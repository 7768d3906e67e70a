//! What the story is played on: a cluster with the CRD, the operator with its rights, and the actors' manifests.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result};
use imps_api::ImagePullSecret;
use imps_testbed::operator::{self, Operator, Run};
use imps_testbed::{Plane, manifest};
use k8s_openapi::api::core::v1::{Namespace, Pod, Secret, ServiceAccount};
use kube::Client;
use kube::api::Api;
use serde_json::{Value, json};

use super::words;
use crate::lookout::Lookout;
use crate::workspace::{output_of, root};

/// Where the operator's account lives.
pub(super) const HOME: &str = "imps-system";
/// The operator's account.
pub(super) const ACCOUNT: &str = "imps";
/// The name of the ImagePullSecret and of the Secrets that it asks for.
pub(super) const TARGET: &str = "istio-pull-secret";
/// Where the logins are.
pub(super) const SOURCES: &str = "registry-access";
/// The name of the roles, as `imps rbac` has it.
const ROLES: &str = "imps-controller";
/// kube-controller-manager makes the account of a new namespace within a second; a busy machine gets more.
const ACCOUNT_WITHIN: Duration = Duration::from_secs(20);

/// See the module.
pub(super) struct Stage {
    pub(super) imps: Operator,
    pub(super) binary: PathBuf,
    pub(super) plane: Plane,
    pub(super) admin: Client,
    pub(super) lookout: Lookout,
    /// Everything in the example, in the order of its files.
    objects: Vec<Value>,
    pub(super) plan: words::Plan,
}

impl Stage {
    /// Installs the CRD and the rights, and starts the operator. Of the example only the namespace of the logins is
    /// there, because rights are given in it.
    pub(super) async fn set(plane: &Plane, binary: PathBuf) -> Result<Self> {
        let admin = plane.admin_client().await?;
        let crd = output_of(Command::new(&binary).arg("crd"))?;
        manifest::apply(&admin, &manifest::read(&crd)?).await?;
        let home = json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": HOME}});
        let example = example();
        let objects = read(&example)?;
        let sources = find(&objects, "Namespace", SOURCES)?.clone();
        manifest::apply(&admin, &[home, sources]).await?;
        let rights = operator::rights(&binary, std::slice::from_ref(&example), ROLES, HOME, ACCOUNT)?;
        manifest::apply(&admin, &rights).await?;
        let run = Run {
            binary: &binary,
            subcommand: Some("controller"),
            namespace: HOME,
            account: ACCOUNT,
            arguments: &[],
        };
        let imps = Operator::start(plane, &run).await?;
        imps.ready().await?;
        let lookout = Lookout::over(admin.clone(), TARGET).await?;
        let plan = words::Plan::ask(&binary, &example)?;
        Ok(Self { imps, binary, plane: plane.clone(), admin, lookout, objects, plan })
    }

    /// Applies one object of the example.
    pub(super) async fn enter(&self, kind: &str, name: &str) -> Result<()> {
        self.apply(find(&self.objects, kind, name)?).await
    }

    /// Applies an object.
    pub(super) async fn apply(&self, object: &Value) -> Result<()> {
        manifest::apply(&self.admin, std::slice::from_ref(object)).await
    }

    /// Pods are refused until kube-controller-manager has made the account that they run as.
    pub(super) async fn wait_for_account(&self, namespace: &str) -> Result<()> {
        let accounts = Api::<ServiceAccount>::namespaced(self.admin.clone(), namespace);
        let made = async {
            while accounts.get("default").await.is_err() {
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        };
        let made = tokio::time::timeout(ACCOUNT_WITHIN, made).await;
        made.with_context(|| format!("namespace {namespace} has no ServiceAccount"))
    }

    pub(super) fn namespaces(&self) -> Api<Namespace> {
        Api::all(self.admin.clone())
    }

    pub(super) fn pods(&self, namespace: &str) -> Api<Pod> {
        Api::namespaced(self.admin.clone(), namespace)
    }

    pub(super) fn secrets(&self, namespace: &str) -> Api<Secret> {
        Api::namespaced(self.admin.clone(), namespace)
    }

    pub(super) fn grants(&self) -> Api<ImagePullSecret> {
        Api::all(self.admin.clone())
    }
}

fn example() -> PathBuf {
    root().join("examples/sidecar-injection")
}

fn read(folder: &Path) -> Result<Vec<Value>> {
    let entries = std::fs::read_dir(folder).context("cannot read the example")?;
    let mut files: Vec<PathBuf> = entries.filter_map(|entry| entry.ok().map(|entry| entry.path())).collect();
    files.retain(|file| file.extension().is_some_and(|extension| extension == "yaml"));
    files.sort();
    let mut objects = Vec::new();
    for file in files {
        let text = std::fs::read_to_string(&file).context("cannot read the example")?;
        objects.extend(manifest::read(&text)?);
    }
    Ok(objects)
}

fn find<'o>(objects: &'o [Value], kind: &str, name: &str) -> Result<&'o Value> {
    let fits = |object: &&Value| {
        object["kind"] == kind && object.pointer("/metadata/name").is_some_and(|found| found == name)
    };
    objects.iter().find(fits).with_context(|| format!("the example has no {kind} {name}"))
}
