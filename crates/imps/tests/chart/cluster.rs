//! A cluster of a test's own: a control plane, a kubelet of paper, helm, namespaces with sources and recipients.

use std::sync::Arc;

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use imps_testbed::{ControlPlane, Helm, Options, manifest};
use k8s_openapi::api::core::v1::Secret;
use kube::Client;
use kube::api::Api;
use serde_json::{Value, json};

use super::ground::{namespace, restricted};
use super::kubelet::Kubelet;

/// The namespace of the release.
pub(crate) const HOME: &str = "imps-system";

/// A cluster with a release on it.
pub(crate) struct Cluster {
    helm: Arc<Helm>,
    /// The administrator.
    pub(crate) client: Client,
    /// Who runs the pods of the release.
    pub(crate) kubelet: Kubelet,
    /// For files.
    pub(crate) folder: tempfile::TempDir,
    _control: ControlPlane,
}

impl Cluster {
    /// Starts it.
    pub(crate) async fn start(helm: Helm) -> Self {
        let control = ControlPlane::start(Options::full()).await.unwrap();
        let helm = Arc::new(helm.on(control.admin_kubeconfig().unwrap()));
        let client = control.admin_client().await.unwrap();
        let mut objects = vec![namespace(HOME, restricted())];
        objects.extend(["sources", "shop", "team-a"].map(|name| namespace(name, json!({}))));
        objects.push(json!({
            "apiVersion": "v1", "kind": "Secret", "metadata": {"name": "hub", "namespace": "sources"},
            "type": "kubernetes.io/dockerconfigjson", "data": docker_config(),
        }));
        manifest::apply(&client, &objects).await.unwrap();
        let kubelet = Kubelet::serve(&control, HOME).await;
        Self { helm, client, kubelet, folder: tempfile::tempdir().unwrap(), _control: control }
    }

    /// Runs helm in the namespace of the release.
    pub(crate) async fn helm(&self, arguments: &[&str]) -> Result<String, String> {
        let mut arguments: Vec<String> = arguments.iter().map(|&argument| argument.to_owned()).collect();
        arguments.extend(["--namespace", HOME].map(str::to_owned));
        let helm = Arc::clone(&self.helm);
        tokio::task::spawn_blocking(move || helm.run(&arguments).unwrap().done()).await.unwrap()
    }

    /// The same, which has to succeed.
    pub(crate) async fn must(&self, arguments: &[&str]) -> String {
        let said = self.helm(arguments).await;
        said.unwrap_or_else(|error| panic!("helm {arguments:?}: {error}\n{:#?}", self.kubelet.seen()))
    }

    /// A Secret that is there.
    pub(crate) async fn target(&self, secret: &str, place: &str) -> Secret {
        Api::namespaced(self.client.clone(), place).get(secret).await.unwrap()
    }
}

/// The content of a docker config with the one login there is.
pub(crate) fn docker_config() -> Value {
    let auth = BASE64_STANDARD.encode("robot:first");
    let config = json!({"auths": {"reg.example": {"username": "robot", "password": "first", "auth": auth}}});
    json!({".dockerconfigjson": BASE64_STANDARD.encode(config.to_string())})
}

/// Whether a pull with it would succeed.
pub(crate) fn is_whole(secret: &Secret) -> bool {
    let bytes = secret.data.as_ref().and_then(|data| data.get(".dockerconfigjson"));
    let config = bytes.and_then(|bytes| serde_json::from_slice::<Value>(&bytes.0).ok()).unwrap_or_default();
    config["auths"]["reg.example"]["auth"] == BASE64_STANDARD.encode("robot:first")
}
