//! What a test with a node shares with another: the way into namespaces, the operator, and what is waited for there.

use std::ffi::OsString;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use imps_testbed::node::pod::{self, State};
use imps_testbed::node::{Node, Output, Unshared};
use imps_testbed::{ControlPlane, Operator, Run, manifest, operator};
use k8s_openapi::api::core::v1::{Pod, Secret, ServiceAccount};
use kube::Client;
use kube::api::{Api, ApiResource, DynamicObject, GroupVersionKind};
use serde_json::{Value, json};

/// The kubelet waits 10 to 15 seconds before it tries again; a busy machine gets more.
const WITHIN: Duration = Duration::from_secs(90);
/// How often something is looked at.
const LOOK_EVERY: Duration = Duration::from_millis(50);

/// The operator's account.
const HOME: &str = "imps-system";
const ACCOUNT: &str = "imps";
/// Where the sources are.
pub(crate) const SOURCES: &str = "registry-access";
/// The namespace that is selected, and the Secret in it.
pub(crate) const SHOP: &str = "shop";
pub(crate) const TARGET: &str = "pull";

/// Plays the test that this is called in, if this machine can have a node.
pub(crate) async fn on_a_node(play: impl Future<Output = ()>) {
    if !Unshared::is_inside()
        && let Err(missing) = Node::available()
    {
        return missing.skip_or_fail();
    }
    inside(play).await;
}

/// Plays the test that this is called in, in namespaces of its own: it is started again in there.
pub(crate) async fn inside(play: impl Future<Output = ()>) {
    inside_knowing(&[], play).await;
}

/// The same, with these variables in its environment.
pub(crate) async fn inside_knowing(environment: &[(OsString, OsString)], play: impl Future<Output = ()>) {
    if Unshared::is_inside() {
        return play.await;
    }
    let name = std::thread::current().name().unwrap().to_owned();
    let arguments = [name.as_str(), "--exact", "--nocapture"].map(Into::into);
    let inside = Unshared::start_in(&arguments, Output::Log, environment).unwrap();
    let status = inside.end().await.unwrap();
    let log = inside.log();
    // Marked, so that nobody takes the results inside for further results.
    log.lines().for_each(|line| say(&format!("inside: {line}")));
    assert!(status.success(), "it failed inside");
    assert!(log.contains("test result: ok. 1 passed"), "nothing was played inside");
}

/// What is on the cluster besides the manifests.
pub(crate) struct Stage {
    pub(crate) client: Client,
    pub(crate) node: Node,
    pub(crate) operator: Operator,
}

impl Stage {
    pub(crate) async fn apply(&self, object: Value) {
        manifest::apply(&self.client, &[object]).await.unwrap();
    }

    /// Makes a pod that names this pull secret, or none.
    pub(crate) async fn pod(&self, name: &str, image: &str, pull_secret: Option<&str>) -> Pod {
        self.apply(pod::manifest(SHOP, name, image, pull_secret)).await;
        self.read(name).await
    }

    pub(crate) async fn read(&self, name: &str) -> Pod {
        Api::namespaced(self.client.clone(), SHOP).get(name).await.unwrap()
    }

    pub(crate) async fn target(&self) -> Option<Secret> {
        Api::namespaced(self.client.clone(), SHOP).get_opt(TARGET).await.unwrap()
    }

    /// What imps says of the `ImagePullSecret`.
    async fn status(&self) -> Value {
        let kind =
            GroupVersionKind::gvk(imps_api::keys::GROUP, imps_api::keys::VERSION, imps_api::keys::KIND);
        let resource = ApiResource::from_gvk_with_plural(&kind, imps_api::keys::PLURAL);
        let found = Api::<DynamicObject>::all_with(self.client.clone(), &resource).get_opt(TARGET).await;
        found.unwrap().map_or(Value::Null, |mut grant| grant.data["status"].take())
    }

    /// Waits until the image could not be pulled; what the kubelet says of it.
    pub(crate) async fn refused(&self, name: &str) -> String {
        let look = async || match pod::state(&self.read(name).await) {
            State::Waiting { message, .. } if message.contains("failed to") => Ok(message),
            state => Err(format!("{state:?}")),
        };
        let message = self.until("the pod cannot pull its image", look).await;
        assert!(pod::state(&self.read(name).await).is_pull_failure());
        message
    }

    pub(crate) async fn running(&self, name: &str) -> Pod {
        self.until("the pod runs", async || {
            let found = self.read(name).await;
            let state = pod::state(&found);
            if state == State::Running { Ok(found) } else { Err(format!("{state:?}")) }
        })
        .await
    }

    /// Waits until the kubelet has said that it pulled the image for this pod.
    pub(crate) async fn pulled(&self, pod: &Pod, image: &str) {
        let pulled = format!("Successfully pulled image \"{image}\"");
        let message = self.until("the kubelet says that it pulled", async || {
            let events = pod::events(&self.client, pod).await.map_err(|error| error.to_string())?;
            let mut messages = events.into_iter().filter_map(|event| event.message);
            messages.find(|message| message.starts_with(&pulled)).ok_or("not yet".to_owned())
        });
        say(&message.await);
    }

    pub(crate) async fn until<T>(&self, what: &str, mut look: impl AsyncFnMut() -> Result<T, String>) -> T {
        let start = Instant::now();
        loop {
            match look().await {
                Ok(found) => return found,
                Err(seen) if start.elapsed() > WITHIN => {
                    let (status, imps) = (self.status().await, self.operator.log());
                    let node = self.node.log_tails();
                    panic!(
                        "not within {WITHIN:?}: {what}\nlast seen: {seen}\n{status:#}\nimps:\n{imps}\n{node}"
                    );
                }
                Err(_) => tokio::time::sleep(LOOK_EVERY).await,
            }
        }
    }
}

/// The operator with the rights that `imps rbac` prints for this one `ImagePullSecret`; and the namespaces.
pub(crate) async fn operator(control: &ControlPlane, client: &Client, grant: &Value) -> Operator {
    let binary = Path::new(env!("CARGO_BIN_EXE_imps"));
    let crd = Command::new(binary).arg("crd").output().unwrap();
    let mut objects = manifest::read(&String::from_utf8(crd.stdout).unwrap()).unwrap();
    for name in [HOME, SOURCES, SHOP] {
        objects.push(json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}}));
    }
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("grant.json");
    std::fs::write(&file, grant.to_string()).unwrap();
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

/// An `ImagePullSecret` that gives these sources to the one namespace; `target` says what else it does there.
pub(crate) fn grant(sources: &[&str], mut target: Value) -> Value {
    let sources: Vec<Value> =
        sources.iter().map(|name| json!({"namespace": SOURCES, "name": name})).collect();
    target["secret"] = json!({"name": TARGET});
    target["namespaces"] = json!({"labels": [{"matchLabels": {"kubernetes.io/metadata.name": SHOP}}]});
    json!({
        "apiVersion": format!("{}/{}", imps_api::keys::GROUP, imps_api::keys::VERSION),
        "kind": imps_api::keys::KIND,
        "metadata": {"name": TARGET},
        "spec": {"registry": {"credentials": sources}, "target": target},
    })
}

/// A source of this type that says this.
pub(crate) fn source(name: &str, secret_type: &str, says: Value) -> Value {
    json!({
        "apiVersion": "v1", "kind": "Secret", "type": secret_type,
        "metadata": {"name": name, "namespace": SOURCES},
        "stringData": says,
    })
}

/// What `imps` answers in JSON, and its exit code.
pub(crate) async fn ask(kubeconfig: &Path, arguments: &[&str]) -> (Option<i32>, Value) {
    let mut command = tokio::process::Command::new(env!("CARGO_BIN_EXE_imps"));
    command.args(arguments).args(["-o", "json", "--kubeconfig"]).arg(kubeconfig);
    let output = command.output().await.unwrap();
    let report = serde_json::from_slice(&output.stdout);
    let complaint = || String::from_utf8_lossy(&output.stderr);
    (output.status.code(), report.unwrap_or_else(|_| panic!("{arguments:?}: {}", complaint())))
}

#[expect(clippy::print_stdout, reason = "the one place where the scene tells what it measured")]
pub(crate) fn say(line: &str) {
    println!("{line}");
}
