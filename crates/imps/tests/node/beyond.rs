//! What a node has beside the Secrets of a pod: images, which since Kubernetes 1.35 take a credential by which they
//! were pulled, and logins of its own. Nobody sees either by looking at the pod.

use std::path::PathBuf;
use std::time::{Duration, Instant};

use imps_testbed::binaries::NodeBinaries;
use imps_testbed::node::Plugin;
use imps_testbed::node::pod::{self, State};
use imps_testbed::{ControlPlane, Login, Node, Options, Registry, manifest};
use k8s_openapi::api::core::v1::Pod;
use kube::Client;
use kube::api::Api;
use serde_json::{Value, json};

use super::stage::{ask, on_a_node};

/// A node tells every ten seconds what it has; a busy machine gets more.
const WITHIN: Duration = Duration::from_secs(90);
const LOOK_EVERY: Duration = Duration::from_millis(200);

const REPOSITORY: &str = "team/kept";
/// Images for which the node has a login, and for which what it asks fails.
const SERVED: &str = "node/served";
const FAILED: &str = "node/failed";
const OWNER: Login<'static> = Login { user: "owner", password: "made-up" };
const STRANGER: Login<'static> = Login { user: "stranger", password: "also-made-up" };
const OF_NODE: Login<'static> = Login { user: "of-node", password: "made-up-as-well" };
/// As whom the pods run.
const ACCOUNT: &str = "runner";

#[tokio::test]
async fn an_image_that_is_on_the_node_for_others_is_told_of() {
    on_a_node(play()).await;
}

#[tokio::test]
async fn a_login_of_the_node_comes_after_those_of_the_pod() {
    on_a_node(play_plugins()).await;
}

async fn play_plugins() {
    let registry = Registry::start(&[OWNER, OF_NODE]).await.unwrap();
    let answer = json!({
        "apiVersion": "credentialprovider.kubelet.k8s.io/v1", "kind": "CredentialProviderResponse",
        "cacheKeyType": "Image",
        "auth": {registry.address(): {"username": OF_NODE.user, "password": OF_NODE.password}},
    });
    let plugins =
        [("serves", SERVED, format!("cat > /dev/null; echo '{answer}'")), ("fails", FAILED, "exit 1".into())];
    let plugins = plugins.map(|(name, path, script)| Plugin {
        name,
        images: format!("{}/{path}", registry.address()),
        script,
    });
    let scene = Scene::open(&registry, &[SERVED, FAILED], &plugins).await;
    scene.furnish("home", &registry).await;

    scene.pod("home", "bare", SERVED, "Always", "").await;
    scene.runs("home", "bare", "Successfully pulled image").await;
    scene.pod("home", "stale", SERVED, "Always", "bad").await;
    scene.runs("home", "stale", "Successfully pulled image").await;
    let visitors = registry.visitors(SERVED).unwrap();
    assert_eq!(
        visitors,
        [OWNER, OF_NODE, STRANGER, OF_NODE].map(|login| login.user),
        "the first one pushed it"
    );
    let (code, report) = ask(&scene.kubeconfig, &["diagnose", "pod/bare", "-n", "home"]).await;
    assert_eq!((code, &report["pods"][0]["verdict"]["code"]), (Some(0), &Value::Null), "{report:#}");
    // What is not to be seen is not promised.
    let image = scene.image(SERVED);
    let arguments = ["explain", &image, "-n", "home", "--service-account", ACCOUNT];
    let (code, report) = ask(&scene.kubeconfig, &arguments).await;
    assert_eq!((code, &report["answer"]), (Some(1), &"unserved".into()), "{report:#}");

    // Of a program that fails nothing is said but in the log of the kubelet.
    scene.pod("home", "helpless", FAILED, "Always", "bad").await;
    scene
        .until("the kubelet is refused, and imps says where else to look", async || {
            let report = scene.told("home", "helpless", "ErrImagePull").await?;
            let findings = report["findings"].as_array().unwrap();
            let asked =
                |text: &Value| text.as_str().is_some_and(|text| text.contains("credential providers"));
            let told = findings.iter().any(|one| one["code"] == "IMPS060" && asked(&one["evidence"]));
            let agreed = told && report["verdict"]["code"] == "IMPS017";
            if agreed { Ok(()) } else { Err(format!("{report:#}")) }
        })
        .await;
    assert_eq!(registry.visitors(FAILED).unwrap(), [OWNER.user, STRANGER.user]);
}

async fn play() {
    let registry = Registry::start(&[OWNER]).await.unwrap();
    let scene = Scene::open(&registry, &[REPOSITORY], &[]).await;
    for namespace in ["home", "street"] {
        scene.furnish(namespace, &registry).await;
    }
    scene.pod("home", "first", REPOSITORY, "Always", "good").await;
    scene.runs("home", "first", "Successfully pulled image").await;

    // Who has the Secret that it was pulled with, or another one with its login, needs no registry.
    registry.set_users(&[]).unwrap();
    let present = "already present on machine and can be accessed by the pod";
    scene.pod("home", "second", REPOSITORY, "IfNotPresent", "good").await;
    scene.runs("home", "second", present).await;
    scene.pod("street", "guest", REPOSITORY, "Never", "good").await;
    scene.runs("street", "guest", present).await;
    assert_eq!(registry.visitors(REPOSITORY).unwrap(), [OWNER.user]);

    let there =
        |text: &Value| text.as_str().is_some_and(|text| text.contains("pull secret or login by which"));
    for (name, policy, secret, reason, verdict, code) in [
        ("nobody", "IfNotPresent", "", "ErrImagePull", "IMPS026", "IMPS064"),
        ("stranger", "IfNotPresent", "bad", "ErrImagePull", "IMPS017", "IMPS064"),
        ("forbidden", "Never", "", "ErrImageNeverPull", "IMPS004", "IMPS004"),
    ] {
        scene.pod("street", name, REPOSITORY, policy, secret).await;
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
    /// The address of the registry.
    address: String,
    // Dropped in this order.
    node: Node,
    _control: ControlPlane,
}

impl Scene {
    /// With images that run in these repositories.
    async fn open(registry: &Registry, repositories: &[&str], plugins: &[Plugin]) -> Self {
        let program = NodeBinaries::find().unwrap().idle;
        for repository in repositories {
            registry.push_program(&format!("{repository}:1"), &program, OWNER).await.unwrap();
        }
        let control = ControlPlane::start(Options::full()).await.unwrap();
        let client = control.admin_client().await.unwrap();
        let node = Node::start_with_plugins(&control, plugins).await.unwrap();
        let kubeconfig = control.admin_kubeconfig().unwrap();
        Self { client, kubeconfig, address: registry.address().to_owned(), node, _control: control }
    }

    fn image(&self, repository: &str) -> String {
        format!("{}/{repository}:1", self.address)
    }

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

    async fn pod(&self, namespace: &str, name: &str, repository: &str, policy: &str, secret: &str) {
        let secret = Some(secret).filter(|secret| !secret.is_empty());
        let mut pod = pod::manifest(namespace, name, &self.image(repository), secret);
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
