//! An image that a node has, and who gets it from there: since Kubernetes 1.35 that takes a credential by which it was
//! pulled, and what the kubelet says to others does not tell.

use std::path::PathBuf;
use std::time::{Duration, Instant};

use imps_testbed::binaries::NodeBinaries;
use imps_testbed::node::pod::{self, State};
use imps_testbed::{ControlPlane, Login, Node, Options, Registry, Unshared, manifest};
use k8s_openapi::api::core::v1::Pod;
use kube::Client;
use kube::api::Api;
use serde_json::{Value, json};

use super::stage::{ask, inside};

/// A node tells every ten seconds what it has; a busy machine gets more.
const WITHIN: Duration = Duration::from_secs(90);
const LOOK_EVERY: Duration = Duration::from_millis(200);

const REPOSITORY: &str = "team/kept";
const OWNER: Login<'static> = Login { user: "owner", password: "made-up" };
const STRANGER: Login<'static> = Login { user: "stranger", password: "also-made-up" };
/// As whom the pods run.
const ACCOUNT: &str = "runner";

#[tokio::test]
async fn an_image_that_is_on_the_node_for_others_is_told_of() {
    if !Unshared::is_inside()
        && let Err(missing) = Node::available()
    {
        return missing.skip_or_fail();
    }
    inside(play()).await;
}

async fn play() {
    let registry = Registry::start(&[OWNER]).await.unwrap();
    let program = NodeBinaries::find().unwrap().idle;
    registry.push_program(&format!("{REPOSITORY}:1"), &program, OWNER).await.unwrap();
    let control = ControlPlane::start(Options::full()).await.unwrap();
    let client = control.admin_client().await.unwrap();
    let node = Node::start(&control).await.unwrap();
    let kubeconfig = control.admin_kubeconfig().unwrap();
    let image = format!("{}/{REPOSITORY}:1", registry.address());
    let scene = Scene { client, kubeconfig, image, node };
    for namespace in ["home", "street"] {
        scene.furnish(namespace, &registry).await;
    }
    scene.pod("home", "first", "Always", "good").await;
    scene.runs("home", "first", "Successfully pulled image").await;

    // Who has the Secret that it was pulled with, or another one with its login, needs no registry.
    registry.set_users(&[]).unwrap();
    let present = "already present on machine and can be accessed by the pod";
    scene.pod("home", "second", "IfNotPresent", "good").await;
    scene.runs("home", "second", present).await;
    scene.pod("street", "guest", "Never", "good").await;
    scene.runs("street", "guest", present).await;
    assert_eq!(registry.visitors(REPOSITORY).unwrap(), [OWNER.user]);

    let there =
        |text: &Value| text.as_str().is_some_and(|text| text.contains("pull secret or login by which"));
    for (name, policy, secret, reason, verdict, code) in [
        ("nobody", "IfNotPresent", "", "ErrImagePull", "IMPS026", "IMPS064"),
        ("stranger", "IfNotPresent", "bad", "ErrImagePull", "IMPS017", "IMPS064"),
        ("forbidden", "Never", "", "ErrImageNeverPull", "IMPS004", "IMPS004"),
    ] {
        scene.pod("street", name, policy, secret).await;
        scene
            .until("the kubelet refuses, and the node says that it has the image", async || {
                let report = scene.told("street", name, reason).await?;
                let findings = report["findings"].as_array().unwrap();
                let told = findings.iter().any(|finding| finding["code"] == code && there(&finding["cause"]));
                let agreed = told && report["verdict"]["code"] == verdict;
                if agreed { Ok(()) } else { Err(format!("{name}: {report:#}")) }
            })
            .await;
    }
    assert_eq!(registry.visitors(REPOSITORY).unwrap(), [OWNER.user, STRANGER.user]);
}

struct Scene {
    client: Client,
    kubeconfig: PathBuf,
    image: String,
    node: Node,
}

impl Scene {
    /// A namespace, with a Secret that is let in and one that is not.
    async fn furnish(&self, namespace: &str, registry: &Registry) {
        let space = json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": namespace}});
        let account = json!({
            "apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": ACCOUNT, "namespace": namespace},
        });
        let secret = |name: &str, login| {
            json!({
                "apiVersion": "v1", "kind": "Secret", "type": "kubernetes.io/dockerconfigjson",
                "metadata": {"name": name, "namespace": namespace},
                "stringData": {".dockerconfigjson": registry.docker_config(login)},
            })
        };
        let objects = [space, account, secret("good", OWNER), secret("bad", STRANGER)];
        manifest::apply(&self.client, &objects).await.unwrap();
    }

    async fn pod(&self, namespace: &str, name: &str, policy: &str, secret: &str) {
        let secret = Some(secret).filter(|secret| !secret.is_empty());
        let mut pod = pod::manifest(namespace, name, &self.image, secret);
        pod["spec"]["serviceAccountName"] = ACCOUNT.into();
        pod["spec"]["containers"][0]["imagePullPolicy"] = policy.into();
        manifest::apply(&self.client, &[pod]).await.unwrap();
    }

    /// Waits until it runs, and an event says how it got its image.
    async fn runs(&self, namespace: &str, name: &str, how: &str) {
        self.until("the pod runs with the image", async || {
            let pod = self.read(namespace, name).await;
            let events = pod::events(&self.client, &pod).await.map_err(|error| error.to_string())?;
            let messages: Vec<String> = events.into_iter().filter_map(|event| event.message).collect();
            let told = messages.iter().any(|message| message.contains(how));
            let runs = pod::state(&pod) == State::Running;
            if runs && told { Ok(()) } else { Err(format!("{name}: {messages:?}")) }
        })
        .await;
    }

    /// What imps says of a pod, once the kubelet has said this, or that it waits after that.
    async fn told(&self, namespace: &str, name: &str, reason: &str) -> Result<Value, String> {
        match pod::state(&self.read(namespace, name).await) {
            State::Waiting { reason: said, .. } if said == reason || said == "ImagePullBackOff" => {}
            state => return Err(format!("{name}: {state:?}")),
        }
        let (_, mut report) =
            ask(&self.kubeconfig, &["diagnose", &format!("pod/{name}"), "-n", namespace]).await;
        Ok(report["pods"][0].take())
    }

    async fn read(&self, namespace: &str, name: &str) -> Pod {
        Api::namespaced(self.client.clone(), namespace).get(name).await.unwrap()
    }

    async fn until(&self, what: &str, mut look: impl AsyncFnMut() -> Result<(), String>) {
        let begun = Instant::now();
        while let Err(seen) = look().await {
            let open = begun.elapsed() < WITHIN;
            assert!(open, "not within {WITHIN:?}: {what}\nlast seen: {seen}\n{}", self.node.log_tails());
            tokio::time::sleep(LOOK_EVERY).await;
        }
    }
}
