//! Clouds whose identities are exchanged for tokens, and the scenes that are played with each of them: what arrives,
//! what stays when the exchange fails, what goes when a token ends. See `gcp`, `acr` and `github`.
//!
//! The clouds are emulations that verify every signature, judged by official clients.

pub(crate) mod scenes;

use std::time::Duration;

use imps_testbed::cloud::{Emulation, IssuedToken};
use imps_testbed::skip::Missing;
use imps_testbed::wire::Wire;
use imps_testbed::{Login, Registry, manifest};
use k8s_openapi::api::authentication::v1::{TokenRequest, TokenRequestSpec};
use k8s_openapi::api::core::v1::{Secret, ServiceAccount};
use kube::Client;
use kube::api::{Api, PostParams};
use kube::core::params::GetParams;
use kube::core::request::Request;
use serde_json::{Value, json};

use super::exchanged::Fields;
use super::read::kubelet_uses;
use super::stage::Scene;

/// What is pulled.
pub(crate) const IMAGE: &str = "shop/checkout:1.0";
/// Who pushes it. At a cloud that would be somebody with another token.
pub(crate) const PUSHER: Login<'_> = Login { user: "pusher", password: "made-up" };
/// The life of a short token.
pub(crate) const BRIEF_LIFE: Duration = Duration::from_secs(6);
/// The life of one that rotates while it is pulled: half of it is longer than a pull on a busy machine.
pub(crate) const ROTATED_LIFE: Duration = Duration::from_secs(16);

/// A cloud, and a wire of the scene's own to it.
pub(crate) trait Cloud {
    /// What metrics call it.
    const PROVIDER: &'static str;
    /// The user of its tokens.
    const USER: &'static str;
    /// The kind of those that are passwords of registries.
    const KIND: &'static str;

    /// The server.
    fn emulation(&self) -> &Emulation;

    /// The way to it of this scene.
    fn wire(&self) -> &Wire;

    /// A new identity with a secret of its own.
    async fn identity(&self) -> Identity;

    /// A host of one of its registries, which is known to it; each number has its own.
    async fn host(&self, number: usize) -> String;

    /// What a source Secret says that brings this identity for this host, and asks through this wire.
    fn fields(&self, identity: &Identity, host: &str, wire: &Wire) -> Fields;

    /// Starts the registry of a host.
    async fn start_registry(&self, host: &str) -> Registry;

    // === provided ===

    /// Another wire.
    async fn another_wire(&self) -> Wire {
        Wire::to(&self.emulation().endpoint()).await.unwrap()
    }

    /// What this identity says for the first host through the scene's own wire.
    async fn usual(&self, identity: &Identity) -> Fields {
        self.fields(identity, &self.host(0).await, self.wire())
    }

    /// The tokens for registries that this principal was given, the newest last.
    async fn issued_to(&self, principal: &str) -> Vec<IssuedToken> {
        let issued = self.emulation().issued().await.unwrap();
        issued.into_iter().filter(|token| token.kind == Self::KIND && token.principal == principal).collect()
    }

    /// Waits until the target in the namespace has this token.
    async fn has_token(&self, scene: &Scene, namespace: &str, host: &str, token: &IssuedToken) -> Secret {
        scene.has_login(namespace, &format!("{host}/app"), (Self::USER, &token.token)).await
    }

    /// The token that the kubelet would use for an image at this host.
    fn token(&self, secret: &Secret, host: &str) -> Option<String> {
        let uses = kubelet_uses(secret, &format!("{host}/app")).ok()?;
        uses.into_iter().find(|(user, _)| user == Self::USER).map(|(_, password)| password)
    }
}

/// Who is exchanged.
#[derive(Clone)]
pub(crate) struct Identity {
    /// Whose its tokens are.
    pub(crate) principal: String,
    /// By what it proves itself.
    pub(crate) secret: String,
    /// What would prove somebody else, or nobody.
    pub(crate) wrong_secret: String,
    /// What else a source Secret says of it, by key.
    pub(crate) about: Vec<(&'static str, String)>,
}

impl Identity {
    /// The same with what proves it not.
    pub(crate) fn wrong(&self) -> Self {
        Self { secret: self.wrong_secret.clone(), ..self.clone() }
    }
}

/// Whether this machine can run the cloud and what pulls from it; if not, the skip is recorded.
pub(crate) fn available(cloud: Result<(), Missing>) -> bool {
    let missing = cloud.err();
    missing.iter().for_each(Missing::skip_or_fail);
    missing.is_none()
}

/// Makes the emulation trust the tokens of this cluster; their issuer.
pub(crate) async fn trust_cluster(emulation: &Emulation, client: &Client) -> String {
    let (issuer, keys) = issuer_of(client).await;
    emulation.trust_issuer(&issuer, &keys).await.unwrap();
    issuer
}

/// The issuer of this cluster's tokens, and its public keys.
pub(crate) async fn issuer_of(client: &Client) -> (String, Value) {
    let read = async |folder: &str, name: &str| {
        let request = Request::new(folder).get(name, &GetParams::default()).unwrap();
        let text = client.request_text(request).await.unwrap();
        serde_json::from_str::<Value>(&text).unwrap()
    };
    let about = read("/.well-known", "openid-configuration").await;
    (about["issuer"].as_str().unwrap().to_owned(), read("/openid/v1", "jwks").await)
}

/// A token as the kubelet would mount it.
pub(crate) async fn mounted_token(scene: &Scene, account: &str, audience: &str) -> String {
    let spec = TokenRequestSpec { audiences: vec![audience.to_owned()], ..TokenRequestSpec::default() };
    let request = TokenRequest { spec, ..TokenRequest::default() };
    let accounts = Api::<ServiceAccount>::namespaced(scene.client.clone(), &scene.home);
    let answer = accounts.create_token_request(account, &PostParams::default(), &request).await.unwrap();
    answer.status.unwrap().token
}

/// Makes a ServiceAccount beside the sources; its name as the subject of a token.
pub(crate) async fn service_account(scene: &Scene, name: &str) -> String {
    let account = json!({
        "apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": name, "namespace": scene.home},
    });
    manifest::apply(&scene.client, &[account]).await.unwrap();
    format!("system:serviceaccount:{}:{name}", scene.home)
}
