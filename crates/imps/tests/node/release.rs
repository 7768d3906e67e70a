//! The chart on a real node: helm installs it, and the kubelet runs the image that is shipped as its pods.
//!
//! Built as `cargo xtask image` does it, of the program under test. What other clusters have and this one has not: a
//! scheduler (this test gives pods to the node), kube-proxy (connections to the API server's address are led there),
//! DNS, a second node; and the image is imported, not pulled. All else is real: admission, which refuses pods that are
//! not restricted, the projected token, the pod's own network, probes, helm's waiting.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use imps_testbed::node::{self, NAME};
use imps_testbed::shipped_image::{self, Recipe};
use imps_testbed::{ControlPlane, Helm, Missing, Node, Options, Unshared, manifest};
use k8s_openapi::api::core::v1::{Pod, Secret};
use kube::api::{Api, ListParams, PostParams};
use kube::{Client, ResourceExt};
use serde_json::{Value, json};

use super::stage::{SHOP, SOURCES, TARGET, grant, inside_knowing, say, source};

/// The namespace of the release.
const HOME: &str = "imps-system";
const REPOSITORY: &str = "registry.local/imps";
/// The variable that says inside where the image is.
const ARCHIVE: &str = "IMPS_NODE_IMAGE";
/// Far more than a step takes here.
const WITHIN: Duration = Duration::from_secs(60);
const LOOK_EVERY: Duration = Duration::from_millis(100);

#[tokio::test]
async fn the_chart_s_pods_run_the_shipped_image_on_a_real_node_and_serve_a_namespace() {
    if Unshared::is_inside() {
        return play().await;
    }
    if let Err(missing) = available() {
        return missing.skip_or_fail();
    }
    // Here, as the packages of this machine cannot be seen from inside.
    let begun = Instant::now();
    let folder = tempfile::tempdir().unwrap();
    let archive = folder.path().join("image.tar");
    build_image(folder.path(), &archive);
    say(&format!("the image is built within {:.1?}", begun.elapsed()));
    inside_knowing(&[(ARCHIVE.into(), archive.into())], play()).await;
}

fn available() -> Result<(), Missing> {
    Node::available()?;
    shipped_image::available()?;
    Helm::find().map(drop)
}

fn build_image(folder: &Path, archive: &Path) {
    let recipe = Recipe {
        program: Path::new(env!("CARGO_BIN_EXE_imps")),
        name: &format!("{REPOSITORY}:under-test"),
        version: env!("CARGO_PKG_VERSION"),
        revision: "under test",
        timestamp: 1_700_000_000,
    };
    let image = shipped_image::build(&recipe, &folder.join("layout")).unwrap();
    image.write_archive(recipe.timestamp, archive).unwrap();
}

async fn play() {
    let begun = Instant::now();
    let control = ControlPlane::start(Options::full()).await.unwrap();
    let client = control.admin_client().await.unwrap();
    let node = Node::start_with_network(&control).await.unwrap();
    node.import(Path::new(&std::env::var_os(ARCHIVE).unwrap())).unwrap();
    let restricted = json!({"pod-security.kubernetes.io/enforce": "restricted"});
    let mut objects = vec![namespace(HOME, restricted)];
    objects.extend([SOURCES, SHOP].map(|name| namespace(name, json!({}))));
    manifest::apply(&client, &objects).await.unwrap();
    let scheduler = tokio::spawn(schedule(Api::namespaced(client.clone(), HOME)));
    say(&format!("all is up after {:.1?}", begun.elapsed()));

    let stage = Stage { client, node };
    let installed = install(Helm::find().unwrap().on(control.admin_kubeconfig().unwrap())).await;
    if let Err(complaint) = installed {
        panic!("{complaint}\n{}", stage.report().await);
    }
    say(&format!("helm is content after {:.1?}", begun.elapsed()));
    stage.until("the operator's pod is ready", async || stage.ready().await).await;
    confined(&operator_s_process());

    let logins = json!({"auths": {"registry.example": {"username": "robot", "password": "made-up"}}});
    let says = json!({".dockerconfigjson": logins.to_string()});
    let objects = [source("company", "kubernetes.io/dockerconfigjson", says), grant(&["company"], json!({}))];
    manifest::apply(&stage.client, &objects).await.unwrap();
    let written = stage.until("the pull secret is written", async || {
        let found = Api::<Secret>::namespaced(stage.client.clone(), SHOP).get_opt(TARGET).await.unwrap();
        found.ok_or_else(|| "it is not there".to_owned())
    });
    let content = written.await.data.unwrap_or_default().remove(".dockerconfigjson").unwrap();
    assert!(String::from_utf8_lossy(&content.0).contains("registry.example"));
    say(&format!("a namespace is served after {:.1?}", begun.elapsed()));
    scheduler.abort();
}

fn namespace(name: &str, labels: Value) -> Value {
    json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name, "labels": labels}})
}

/// Installs the chart and waits until helm says that all of it is ready, the pod of its hook included.
async fn install(helm: Helm) -> Result<String, String> {
    let chart = concat!(env!("CARGO_MANIFEST_DIR"), "/../../chart/imagepullsecrets");
    let repository = format!("image.repository={REPOSITORY}");
    let arguments = ["install", "imps", chart, "--namespace", HOME, "--wait", "--timeout", "90s", "--set"];
    let mut arguments = arguments.map(str::to_owned).to_vec();
    arguments.extend([repository, "--set".to_owned(), "image.tag=under-test".to_owned()]);
    tokio::task::spawn_blocking(move || helm.run(&arguments).unwrap().done()).await.unwrap()
}

/// Gives every pod that has no node to the only one.
async fn schedule(pods: Api<Pod>) {
    loop {
        let waiting = ListParams::default().fields("spec.nodeName=");
        // The control plane may be ending.
        let found = pods.list(&waiting).await.map(|list| list.items).unwrap_or_default();
        for pod in found {
            let binding = json!({
                "apiVersion": "v1", "kind": "Binding", "metadata": {"name": pod.name_any()},
                "target": {"apiVersion": "v1", "kind": "Node", "name": NAME},
            });
            let (name, params) = (pod.name_any(), PostParams::default());
            let bound = pods.create_subresource::<_, Value>("binding", &name, &params, &binding);
            // One that is gone by now needs no node.
            let _ = bound.await;
        }
        tokio::time::sleep(LOOK_EVERY).await;
    }
}

struct Stage {
    client: Client,
    node: Node,
}

impl Stage {
    async fn pods(&self) -> Vec<Pod> {
        let pods = Api::<Pod>::namespaced(self.client.clone(), HOME);
        pods.list(&ListParams::default()).await.unwrap().items
    }

    /// Whether the one pod of the operator is ready, in the words of the kubelet.
    async fn ready(&self) -> Result<(), String> {
        let found = self.pods().await;
        let [pod] = &found[..] else { return Err(format!("{} pods", found.len())) };
        let mut conditions = pod.status.iter().flat_map(|status| status.conditions.iter().flatten());
        if conditions.any(|condition| condition.type_ == "Ready" && condition.status == "True") {
            Ok(())
        } else {
            Err(format!("{:?}", node::pod::state(pod)))
        }
    }

    async fn until<T>(&self, what: &str, mut look: impl AsyncFnMut() -> Result<T, String>) -> T {
        let start = Instant::now();
        loop {
            match look().await {
                Ok(found) => return found,
                Err(seen) if start.elapsed() > WITHIN => {
                    panic!("not within {WITHIN:?}: {what}\nlast seen: {seen}\n{}", self.report().await)
                }
                Err(_) => tokio::time::sleep(LOOK_EVERY).await,
            }
        }
    }

    /// Everything that may tell why something did not happen.
    async fn report(&self) -> String {
        let mut report = self.node.log_tails();
        for pod in self.pods().await {
            report.push_str(&format!("\n{}: {:?}", pod.name_any(), node::pod::state(&pod)));
            for event in node::pod::events(&self.client, &pod).await.unwrap_or_default() {
                report.push_str(&format!("\n  {}", event.message.unwrap_or_default()));
            }
            let pods = Api::<Pod>::namespaced(self.client.clone(), HOME);
            let log = pods.logs(&pod.name_any(), &Default::default()).await.unwrap_or_default();
            report.push_str(&format!("\n{log}"));
        }
        report
    }
}

/// The folder in /proc of the operator. There is only one: these namespaces have all of it, and nothing else.
fn operator_s_process() -> PathBuf {
    let processes = fs::read_dir("/proc").unwrap().filter_map(|entry| Some(entry.ok()?.path()));
    let is_ours =
        |path: &PathBuf| fs::read_to_string(path.join("comm")).is_ok_and(|name| name.trim() == "imps");
    let found: Vec<_> = processes.filter(is_ours).collect();
    assert_eq!(found.len(), 1, "processes named imps: {found:?}");
    found[0].clone()
}

/// What the kernel says of the limits that the pod's securityContext asks for, and whose numbers the image brings.
fn confined(process: &Path) {
    let status = fs::read_to_string(process.join("status")).unwrap();
    let value = |name: &str| {
        let line = status.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'));
        line.unwrap_or_default().split_whitespace().collect::<Vec<_>>().join(" ")
    };
    assert_eq!(value("Uid"), "65532 65532 65532 65532");
    assert_eq!(value("Gid"), "65532 65532 65532 65532");
    assert_eq!(value("CapEff"), "0000000000000000");
    assert_eq!(value("NoNewPrivs"), "1");
    assert_eq!(value("Seccomp"), "2", "a filter");
    let mounts = fs::read_to_string(process.join("mountinfo")).unwrap();
    let root = mounts.lines().find(|line| line.split(' ').nth(4) == Some("/")).unwrap();
    let options = root.split(' ').nth(5).unwrap();
    assert!(options.split(',').any(|option| option == "ro"), "the root file system: {root}");
}
