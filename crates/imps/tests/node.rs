//! The real operator and a real node: a pod that cannot pull its image runs as soon as imps has written the pull
//! secret.
//!
//! All of it runs in namespaces of its own: the test starts itself again in there.
#![allow(clippy::unwrap_used, reason = "a scene fails where its stage does")]

use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use imps_testbed::binaries::NodeBinaries;
use imps_testbed::node::pod::{self, State};
use imps_testbed::node::{Node, Output, Unshared};
use imps_testbed::{ControlPlane, Login, Operator, Options, Registry, Run, manifest, operator};
use k8s_openapi::api::core::v1::{Pod, Secret, ServiceAccount};
use kube::api::Api;
use kube::{Client, ResourceExt};
use serde_json::{Value, json};

/// The kubelet waits 10 to 15 seconds before it tries again; a busy machine gets more.
const WITHIN: Duration = Duration::from_secs(90);
/// How often something is looked at.
const LOOK_EVERY: Duration = Duration::from_millis(50);

/// The operator's account.
const HOME: &str = "imps-system";
const ACCOUNT: &str = "imps";
/// The source.
const SOURCES: &str = "registry-access";
const SOURCE: &str = "company";
/// The namespace that is selected, and the Secret in it.
const SHOP: &str = "shop";
const TARGET: &str = "pull";

const IMAGE: &str = "team/hello:1";
const LOGIN: Login<'static> = Login { user: "robot", password: "first-made-up" };
const NEXT: Login<'static> = Login { user: "robot", password: "second-made-up" };

#[tokio::test]
async fn a_waiting_pod_runs_once_its_pull_secret_is_written_and_rotation_reaches_the_next_pod() {
    if Unshared::is_inside() {
        return play().await;
    }
    if let Err(missing) = Node::available() {
        return missing.skip_or_fail();
    }
    let name = std::thread::current().name().unwrap().to_owned();
    let arguments = [name.as_str(), "--exact", "--nocapture"].map(Into::into);
    let inside = Unshared::start(&arguments, Output::Log).unwrap();
    let status = inside.end().await.unwrap();
    let log = inside.log();
    // Marked, so that nobody takes the results inside for further results.
    log.lines().for_each(|line| say(&format!("inside: {line}")));
    assert!(status.success(), "it failed inside");
    assert!(log.contains("test result: ok. 1 passed"), "nothing was played inside");
}

async fn play() {
    let begun = Instant::now();
    let control = ControlPlane::start(Options::full()).await.unwrap();
    let client = control.admin_client().await.unwrap();
    let registry = Registry::start(&[LOGIN]).await.unwrap();
    registry.push_program(IMAGE, &NodeBinaries::find().unwrap().idle, LOGIN).await.unwrap();
    let image = format!("{}/{IMAGE}", registry.address());
    let operator = operator(&control, &client).await;
    let node = Node::start(&control).await.unwrap();
    say(&format!("all is up after {:.1?}", begun.elapsed()));
    let stage = Stage { client, node, operator };

    let waiting = stage.pod("waiting", &image).await;
    let uid = waiting.uid().unwrap();
    let message = stage.refused("waiting").await;
    assert!(message.contains("401"), "the registry asks for a login: {message}");
    say(&format!("refused after {:.1?}: {message}", begun.elapsed()));
    assert!(stage.target().await.is_none(), "the pull secret is not there before it is asked for");

    stage.apply(source(&registry, LOGIN)).await;
    stage.apply(grant()).await;
    let running = stage.running("waiting").await;
    say(&format!("running after {:.1?}", begun.elapsed()));
    assert_eq!(running.uid().unwrap(), uid, "it is the pod that waited");
    stage.pulled(&running, &image).await;
    let written = stage.target().await.unwrap();

    registry.set_users(&[NEXT]).unwrap();
    stage.apply(source(&registry, NEXT)).await;
    let rotated = stage.until("the target holds the new login", async || {
        let target = stage.target().await.ok_or("it is gone")?;
        if target.data == written.data { Err("the old login".to_owned()) } else { Ok(target) }
    });
    assert_eq!(rotated.await.uid(), written.uid(), "the Secret is updated, not replaced");
    stage.pod("later", &image).await;
    let later = stage.running("later").await;
    say(&format!("the next pod runs after {:.1?}", begun.elapsed()));
    stage.pulled(&later, &image).await;
    assert_eq!(stage.target().await.unwrap().uid(), written.uid());
    for (name, pid) in ["kubelet", "containerd"].iter().zip(stage.node.pids()) {
        say(&format!("{name}: {}", memory(pid.unwrap())));
    }
}

/// What is on the cluster besides the manifests.
struct Stage {
    client: Client,
    node: Node,
    operator: Operator,
}

impl Stage {
    async fn apply(&self, object: Value) {
        manifest::apply(&self.client, &[object]).await.unwrap();
    }

    /// Makes a pod that names the target as its pull secret.
    async fn pod(&self, name: &str, image: &str) -> Pod {
        self.apply(pod::manifest(SHOP, name, image, TARGET)).await;
        self.read(name).await
    }

    async fn read(&self, name: &str) -> Pod {
        Api::namespaced(self.client.clone(), SHOP).get(name).await.unwrap()
    }

    async fn target(&self) -> Option<Secret> {
        Api::namespaced(self.client.clone(), SHOP).get_opt(TARGET).await.unwrap()
    }

    /// Waits until the image could not be pulled; what the kubelet says of it.
    async fn refused(&self, name: &str) -> String {
        let look = async || match pod::state(&self.read(name).await) {
            State::Waiting { message, .. } if message.contains("failed to") => Ok(message),
            state => Err(format!("{state:?}")),
        };
        let message = self.until("the pod cannot pull its image", look).await;
        assert!(pod::state(&self.read(name).await).is_pull_failure());
        message
    }

    async fn running(&self, name: &str) -> Pod {
        self.until("the pod runs", async || {
            let found = self.read(name).await;
            let state = pod::state(&found);
            if state == State::Running { Ok(found) } else { Err(format!("{state:?}")) }
        })
        .await
    }

    /// Waits until the kubelet has said that it pulled the image for this pod.
    async fn pulled(&self, pod: &Pod, image: &str) {
        let pulled = format!("Successfully pulled image \"{image}\"");
        let message = self.until("the kubelet says that it pulled", async || {
            let events = pod::events(&self.client, pod).await.map_err(|error| error.to_string())?;
            let mut messages = events.into_iter().filter_map(|event| event.message);
            messages.find(|message| message.starts_with(&pulled)).ok_or("not yet".to_owned())
        });
        say(&message.await);
    }

    async fn until<T>(&self, what: &str, mut look: impl AsyncFnMut() -> Result<T, String>) -> T {
        let start = Instant::now();
        loop {
            match look().await {
                Ok(found) => return found,
                Err(seen) if start.elapsed() > WITHIN => {
                    let (imps, node) = (self.operator.log(), self.node.log_tails());
                    panic!("not within {WITHIN:?}: {what}\nlast seen: {seen}\nimps:\n{imps}\n{node}");
                }
                Err(_) => tokio::time::sleep(LOOK_EVERY).await,
            }
        }
    }
}

/// The operator with the rights that `imps rbac` prints for the one `ImagePullSecret`; and the namespaces.
async fn operator(control: &ControlPlane, client: &Client) -> Operator {
    let binary = Path::new(env!("CARGO_BIN_EXE_imps"));
    let crd = Command::new(binary).arg("crd").output().unwrap();
    let mut objects = manifest::read(&String::from_utf8(crd.stdout).unwrap()).unwrap();
    for name in [HOME, SOURCES, SHOP] {
        objects.push(json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}}));
    }
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("grant.json");
    std::fs::write(&file, grant().to_string()).unwrap();
    objects.extend(operator::rights(binary, &[file], "imps-controller", HOME, ACCOUNT).unwrap());
    manifest::apply(client, &objects).await.unwrap();
    let accounts = Api::<ServiceAccount>::namespaced(client.clone(), SHOP);
    // Pods are refused until their account is there, which is made a moment after the namespace.
    let start = Instant::now();
    while accounts.get("default").await.is_err() {
        assert!(start.elapsed() < WITHIN, "the namespace has no ServiceAccount");
        tokio::time::sleep(LOOK_EVERY).await;
    }
    let run =
        Run { binary, subcommand: Some("controller"), namespace: HOME, account: ACCOUNT, arguments: &[] };
    let operator = Operator::start(control, &run).await.unwrap();
    operator.ready().await.unwrap();
    operator
}

fn grant() -> Value {
    json!({
        "apiVersion": format!("{}/{}", imps_api::keys::GROUP, imps_api::keys::VERSION),
        "kind": imps_api::keys::KIND,
        "metadata": {"name": TARGET},
        "spec": {
            "registry": {"credentials": [{"namespace": SOURCES, "name": SOURCE}]},
            "target": {
                "secret": {"name": TARGET},
                "namespaces": {"labels": [{"matchLabels": {"kubernetes.io/metadata.name": SHOP}}]},
            },
        },
    })
}

fn source(registry: &Registry, login: Login<'_>) -> Value {
    json!({
        "apiVersion": "v1", "kind": "Secret", "type": "kubernetes.io/dockerconfigjson",
        "metadata": {"name": SOURCE, "namespace": SOURCES},
        "stringData": {".dockerconfigjson": registry.docker_config(login)},
    })
}

/// What a process holds, in the kernel's words.
fn memory(pid: u32) -> String {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    status.lines().filter(|line| line.starts_with("VmHWM") || line.starts_with("VmRSS")).collect()
}

#[expect(clippy::print_stdout, reason = "the one place where the scene tells what it measured")]
fn say(line: &str) {
    println!("{line}");
}
