//! A diagnosis of a whole cluster: how many requests, how long beside a plain list of its pods, and how much memory.
//!
//! No node is there; pods are left in the state in which a kubelet would leave them.

use std::fs::File;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use imps_api::keys;
use imps_testbed::control_plane::{ControlPlane, Options};
use imps_testbed::manifest;
use k8s_openapi::api::core::v1::Pod;
use kube::Client;
use kube::api::{Api, ListParams, Patch, PatchParams, PostParams};
use serde_json::{Value, json};

use super::ledger::Ledger;
use super::page::{Finding, Verdict};
use super::process::Usage;
use super::rig::HOME;
use super::workers::spread_over;
use crate::console::Console;

/// Pods in each namespace.
const PODS_EACH: usize = 50;
/// Of these, the ones that wait for their image at first, in the first half of the namespaces.
const WAITING_EACH: usize = 10;
/// The account that looks.
const READER: &str = "reader";
/// How many requests a scan may make (the budget of a thousand failing pods in a hundred namespaces).
const REQUESTS_MAX: usize = 60;
/// How much memory a scan of 10,000 pods that all fail may take, in MiB.
const MEMORY_MAX: u64 = 256;
/// How often its memory is looked at.
const LOOK_EVERY: Duration = Duration::from_millis(5);
/// What a page of a plain list has, as that of imps.
const PAGE: u32 = 500;

/// What one scan took.
struct Scan {
    waiting: usize,
    took: Duration,
    /// Of plain lists of the pods, right before and after.
    floor: Duration,
    requests: usize,
    peak_mib: u64,
}

/// Pods of which one in ten fails, and then all.
pub(super) async fn measure(imps: &Path, pods: usize, console: &mut Console) -> Result<Vec<Finding>> {
    console.begin("starting etcd and kube-apiserver with an audit log");
    let plane = ControlPlane::start(Options { audit: true, ..Options::api_server() }).await?;
    let admin = plane.admin_client().await?;
    let names: Vec<String> = (0..pods.div_ceil(PODS_EACH)).map(|index| format!("bench-{index:05}")).collect();
    console.begin(&format!("making {} pods in {} namespaces", names.len() * PODS_EACH, names.len()));
    let crd = Command::new(imps).arg("crd").output().context("cannot run imps crd")?;
    manifest::apply(&admin, &manifest::read(&String::from_utf8_lossy(&crd.stdout))?).await?;
    manifest::apply(&admin, &reader()).await?;
    let half = names.len().div_ceil(2);
    furnish(&admin, &names).await?;
    wait_for_images(&admin, &names[..half], 0..WAITING_EACH).await?;

    let rig = Rig { imps, plane: &plane, admin: &admin };
    let some = rig.scan(half * WAITING_EACH, "some of them fail", console).await?;
    let told = rig.report(half * WAITING_EACH, console).await?;
    console.begin("letting all pods fail");
    wait_for_images(&admin, &names[..half], WAITING_EACH..PODS_EACH).await?;
    wait_for_images(&admin, &names[half..], 0..PODS_EACH).await?;
    let all = rig.scan(names.len() * PODS_EACH, "all of them fail", console).await?;
    plane.stop().await;
    let total = names.len() * PODS_EACH;
    Ok(vec![requests(&some, total, half), page(&told, total, half), memory(&all, names.len())])
}

/// What a scan is made with.
struct Rig<'r> {
    imps: &'r Path,
    plane: &'r ControlPlane,
    admin: &'r Client,
}

impl Rig<'_> {
    async fn scan(&self, waiting: usize, which: &str, console: &mut Console) -> Result<Scan> {
        console.begin(&format!("imps diagnose --all, while {which}"));
        let check = |text: &[u8]| check(text, waiting);
        self.run(&["diagnose", "--all", "-o", "json"], waiting, check).await
    }

    async fn report(&self, waiting: usize, console: &mut Console) -> Result<Scan> {
        console.begin("imps report, while some of them fail");
        let check = |text: &[u8]| {
            let told = format!("{waiting} pods wait for images").replace("1000 ", "1,000 ");
            ensure!(String::from_utf8_lossy(text).contains(&told), "the report does not say that {told}");
            Ok(())
        };
        self.run(&["report", "-o", "html"], waiting, check).await
    }

    /// Runs a command that looks at all pods.
    async fn run(
        &self,
        arguments: &[&str],
        waiting: usize,
        check: impl FnOnce(&[u8]) -> Result<()>,
    ) -> Result<Scan> {
        let token = self.plane.service_account_token(HOME, READER).await?;
        let kubeconfig = self.plane.write_kubeconfig(READER, &token)?;
        let log = self.plane.audit_log().context("an audit log was asked for")?;
        let mut ledger = Ledger::of(log, format!("system:serviceaccount:{HOME}:{READER}"), HOME)?;
        let before = list_pods(self.admin).await?;
        let folder = tempfile::tempdir().context("cannot make a folder")?;
        let answer = folder.path().join("answer.json");
        let begun = Instant::now();
        let mut child = Command::new(self.imps)
            .args(arguments)
            .arg("--kubeconfig")
            .arg(kubeconfig)
            .stdout(File::create(&answer).context("cannot write a file")?)
            .stderr(Stdio::null())
            .spawn()
            .context("cannot run imps")?;
        let mut peak = 0;
        while child.try_wait().context("cannot wait for imps")?.is_none() {
            // It may end between the two.
            peak = peak.max(Usage::of(child.id()).unwrap_or_default().peak_kib);
            tokio::time::sleep(LOOK_EVERY).await;
        }
        let took = begun.elapsed();
        let after = list_pods(self.admin).await?;
        check(&std::fs::read(&answer).context("cannot read the answer")?)?;
        let floor = (before + after) / 2;
        Ok(Scan { waiting, took, floor, requests: ledger.since()?.requests(), peak_mib: peak.div_ceil(1024) })
    }
}

/// A fast scan that says something else would be worth nothing.
fn check(text: &[u8], waiting: usize) -> Result<()> {
    let report: Value = serde_json::from_slice(text).context("the answer is no JSON")?;
    let pods = report["pods"].as_array().context("the answer has no pods")?;
    let found = pods.iter().filter(|pod| pod["verdict"]["code"] == "IMPS041").count();
    ensure!(
        (pods.len(), found) == (waiting, waiting),
        "{waiting} pods fail for the port of an entry: {} were told of, {found} with that verdict",
        pods.len()
    );
    Ok(())
}

/// All pods, page by page, read and thrown away.
async fn list_pods(admin: &Client) -> Result<Duration> {
    let pods = Api::<Pod>::all(admin.clone());
    let begun = Instant::now();
    let mut params = ListParams::default().limit(PAGE);
    loop {
        let page = pods.list(&params).await.context("cannot list pods")?;
        match page.metadata.continue_.filter(|token| !token.is_empty()) {
            Some(token) => params = params.continue_token(&token),
            None => return Ok(begun.elapsed()),
        }
    }
}

fn reader() -> Vec<Value> {
    let version = "rbac.authorization.k8s.io/v1";
    let verbs = ["get", "list"];
    let rule = |group: &str, resources: &[&str]| json!({"apiGroups": [group], "resources": resources, "verbs": verbs});
    vec![
        json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": HOME}}),
        json!({"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": READER, "namespace": HOME}}),
        json!({
            "apiVersion": version, "kind": "ClusterRole", "metadata": {"name": READER},
            "rules": [
                rule("", &["pods", "events", "secrets", "serviceaccounts", "namespaces"]),
                rule(keys::GROUP, &[keys::PLURAL]),
            ],
        }),
        json!({
            "apiVersion": version, "kind": "ClusterRoleBinding", "metadata": {"name": READER},
            "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": READER},
            "subjects": [{"kind": "ServiceAccount", "namespace": HOME, "name": READER}],
        }),
    ]
}

/// The namespaces, with a pull secret for another port and pods that name it.
async fn furnish(admin: &Client, names: &[String]) -> Result<()> {
    spread_over(names, |name| {
        let admin = admin.clone();
        async move {
            let entry = json!({"registry.example:5000": {"username": "robot", "password": "made-up"}});
            let objects = [
                json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}}),
                json!({
                    "apiVersion": "v1", "kind": "ServiceAccount",
                    "metadata": {"name": "default", "namespace": name},
                }),
                json!({
                    "apiVersion": "v1", "kind": "Secret", "type": "kubernetes.io/dockerconfigjson",
                    "metadata": {"name": "regcred", "namespace": name},
                    "stringData": {".dockerconfigjson": json!({"auths": entry}).to_string()},
                }),
            ];
            manifest::apply(&admin, &objects).await?;
            let pods = Api::<Pod>::namespaced(admin, &name);
            for index in 0..PODS_EACH {
                let pod = serde_json::from_value(pod(index)).context("a pod is not one")?;
                pods.create(&PostParams::default(), &pod).await.context("cannot make a pod")?;
            }
            Ok(())
        }
    })
    .await
}

fn pod(index: usize) -> Value {
    json!({
        "metadata": {"name": format!("web-{index:02}"), "labels": {"app": "web"}},
        "spec": {
            "nodeName": "node", "automountServiceAccountToken": false, "imagePullSecrets": [{"name": "regcred"}],
            "containers": [{"name": "app", "image": "registry.example/team/web:1"}],
        },
    })
}

/// Says of pods what a kubelet would.
async fn wait_for_images(admin: &Client, names: &[String], indices: std::ops::Range<usize>) -> Result<()> {
    let message = "Back-off pulling image \"registry.example/team/web:1\": ErrImagePull: failed to authorize: failed \
                   to fetch anonymous token: unexpected status: 401 Unauthorized";
    let status = json!({"status": {"phase": "Pending", "containerStatuses": [{
        "name": "app", "image": "registry.example/team/web:1", "imageID": "", "ready": false, "restartCount": 0,
        "state": {"waiting": {"reason": "ImagePullBackOff", "message": message}},
    }]}});
    spread_over(names, |name| {
        let (pods, status) = (Api::<Pod>::namespaced(admin.clone(), &name), status.clone());
        let indices = indices.clone();
        async move {
            for index in indices {
                let name = format!("web-{index:02}");
                let patch = Patch::Merge(&status);
                let patched = pods.patch_status(&name, &PatchParams::default(), &patch).await;
                patched.context("cannot say how a pod is")?;
            }
            Ok(())
        }
    })
    .await
}

impl Scan {
    fn told(&self) -> String {
        let [took, floor] = [self.took, self.floor].map(|time| time.as_secs_f64());
        let times = took / floor;
        format!(
            "{} requests, {took:.2} s, {times:.1} × a list of the pods, {} MiB",
            self.requests, self.peak_mib
        )
    }

    fn figures(&self) -> Value {
        json!({
            "failing": self.waiting, "requests": self.requests, "peak_mib": self.peak_mib,
            "seconds": self.took.as_secs_f64(), "list_seconds": self.floor.as_secs_f64(),
        })
    }
}

fn requests(scan: &Scan, pods: usize, namespaces: usize) -> Finding {
    Finding {
        key: "diagnose_some",
        what: format!("diagnose --all: {} of {pods} pods fail, in {namespaces} namespaces", scan.waiting),
        imps: scan.told(),
        bar: format!("< {REQUESTS_MAX} requests"),
        verdict: Verdict::of(scan.requests < REQUESTS_MAX),
        others: "",
        figures: scan.figures(),
    }
}

fn page(scan: &Scan, pods: usize, namespaces: usize) -> Finding {
    Finding {
        key: "report",
        what: format!("report: {} of {pods} pods fail, in {namespaces} namespaces", scan.waiting),
        ..requests(scan, pods, namespaces)
    }
}

fn memory(scan: &Scan, namespaces: usize) -> Finding {
    Finding {
        key: "diagnose_all",
        what: format!("diagnose --all: all of {} pods fail, in {namespaces} namespaces", scan.waiting),
        imps: scan.told(),
        bar: format!("≤ {MEMORY_MAX} MiB"),
        verdict: Verdict::of(scan.peak_mib <= MEMORY_MAX),
        others: "",
        figures: scan.figures(),
    }
}
