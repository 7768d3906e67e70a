//! Sources that say an identity instead of a login: imps exchanges it for a token of a registry, and renews that.
//!
//! The token endpoint is an emulation that verifies every signature. Each scene has a wire of its own to it, so that it
//! sees who asks how often, and can fail without the others.

mod canary;
mod exchange;
mod failure;
mod identity;
mod keyless;
mod renewal;
mod restart;
mod rotation;

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use futures::StreamExt;
use imps_testbed::Aws;
use imps_testbed::aws::{Account, IssuedToken, Keys, Role, Trust, User};
use imps_testbed::fresh_name;
use imps_testbed::wire::Wire;
use k8s_openapi::api::core::v1::Secret;
use kube::api::{Api, ListParams, WatchEvent, WatchParams};
use kube::{Client, ResourceExt};
use serde_json::{Value, json};
use tokio::sync::OnceCell;
use tokio::task::JoinHandle;

use super::read::kubelet_uses;
use super::stage::{Login, Scene};
use super::wait::eventually;

/// The type of the source Secrets.
const SECRET_TYPE: &str = "banzaicloud.io/aws-ecr-login-config";
/// Where all registries of the scenes are.
const REGION: &str = "eu-west-1";
/// The one request that gives a token.
const ASK: &str = "GetAuthorizationToken";
/// The right to it.
const ECR: &str = "ecr:GetAuthorizationToken";
/// The right to take on roles.
const ASSUME: &str = "sts:AssumeRole";
/// A login that does not expire.
const ROBOT: Login<'_> = ("robot", "first");
const NEXT: Login<'_> = ("robot", "second");
const STATIC: &str = "static.example";
/// The life of a token unless a scene wants short ones, as Amazon has it.
const LIFE: Duration = Duration::from_secs(12 * 3600);
/// The life of a short one.
const BRIEF_LIFE: Duration = Duration::from_secs(6);

/// The token endpoint with a wire of the scene's own.
struct Cloud {
    aws: &'static Aws,
    wire: Wire,
}

impl Cloud {
    /// One whose tokens live for [`LIFE`]; none when this machine cannot run it.
    async fn open() -> Option<Self> {
        static AWS: OnceCell<Aws> = OnceCell::const_new();
        Self::on(&AWS, LIFE).await
    }

    /// One whose tokens live for [`BRIEF_LIFE`].
    async fn brief() -> Option<Self> {
        static AWS: OnceCell<Aws> = OnceCell::const_new();
        Self::on(&AWS, BRIEF_LIFE).await
    }

    async fn on(aws: &'static OnceCell<Aws>, life: Duration) -> Option<Self> {
        if let Err(missing) = Aws::available() {
            missing.skip_or_fail();
            return None;
        }
        let aws = aws.get_or_try_init(|| async {
            let aws = Aws::start().await?;
            aws.set_ttl(life).await?;
            anyhow::Ok(aws)
        });
        let aws = aws.await.unwrap();
        Some(Self { aws, wire: Wire::to(&aws.endpoint()).await.unwrap() })
    }

    /// Another wire to the same endpoint.
    async fn another_wire(&self) -> Wire {
        Wire::to(&self.aws.endpoint()).await.unwrap()
    }

    /// A user of ours who may do this.
    async fn user(&self, allowed: &[&str]) -> User {
        self.aws.make_user(Account::OURS, allowed).await.unwrap()
    }

    /// A role that may do this; its ARN.
    async fn role(&self, account: Account, trust: Trust<'_>, allowed: &[&str]) -> String {
        self.aws.make_role(&Role { account, name: &fresh_name("role"), trust, allowed }).await.unwrap()
    }

    /// What a source Secret says, without an identity.
    fn fields(&self, account: &str) -> Fields {
        let fields = Fields(BTreeMap::new());
        fields.with("region", REGION).with("accountID", account).through(&self.wire)
    }

    /// What a source Secret says that brings keys.
    fn fields_with(&self, account: &str, keys: &Keys) -> Fields {
        self.fields(account).with("accessKeyID", &keys.access_key_id).with("secretKey", &keys.secret_key)
    }

    /// How often a token was asked for.
    fn asked(&self) -> usize {
        self.wire.count(ASK)
    }

    /// The tokens that whoever has this in its ARN was given, the newest last.
    async fn issued_to(&self, principal: &str) -> Vec<IssuedToken> {
        let issued = self.aws.issued().await.unwrap();
        issued.into_iter().filter(|token| token.principal.contains(principal)).collect()
    }
}

/// The values of a source Secret.
#[derive(Clone)]
struct Fields(BTreeMap<&'static str, String>);

impl Fields {
    fn with(mut self, key: &'static str, value: &str) -> Self {
        self.0.insert(key, value.to_owned());
        self
    }

    fn through(self, wire: &Wire) -> Self {
        self.with("endpoint", &wire.endpoint()).with("stsEndpoint", &wire.endpoint())
    }

    /// Writes the source Secret.
    async fn write(&self, scene: &Scene, name: &str) {
        let data: Vec<(&str, &[u8])> = self.0.iter().map(|(key, value)| (*key, value.as_bytes())).collect();
        scene.put_secret(&scene.home, name, SECRET_TYPE, &data, json!({})).await;
    }
}

/// Changes nothing of a source but its version, after which its token is asked for anew.
async fn touch(scene: &Scene, source: &str) {
    let patch = json!({"metadata": {"labels": {"touched": fresh_name("t")}}});
    scene.edit_secret(&scene.home, source, patch).await;
}

/// The host of an account's registry.
fn host(account: &str) -> String {
    format!("{account}.dkr.ecr.{REGION}.amazonaws.com")
}

/// The password that the kubelet would use for an image at this host.
fn password(secret: &Secret, host: &str) -> Option<String> {
    let uses = kubelet_uses(secret, &format!("{host}/app")).ok()?;
    uses.into_iter().find(|(user, _)| user == "AWS").map(|(_, password)| password)
}

/// Waits until the target in the namespace has this token.
async fn has_token(scene: &Scene, namespace: &str, host: &str, token: &IssuedToken) -> Secret {
    scene.has_login(namespace, &format!("{host}/app"), ("AWS", &token.password)).await
}

/// Selects namespaces by their names.
fn names(namespaces: &[&str]) -> Value {
    json!({"namespaces": {"names": namespaces}})
}

/// Makes a namespace of the scene's team.
async fn team_namespace(scene: &Scene, word: &str) -> String {
    scene.namespace(word, json!({"labels": {"team": scene.id}})).await
}

/// Selects the namespaces of the scene's team.
fn team(scene: &Scene) -> Value {
    json!({"namespaces": {"labels": [{"matchLabels": {"team": scene.id}}]}})
}

/// What the status says about the source of this name.
fn source_of<'s>(status: &'s Value, name: &str) -> &'s Value {
    let sources = status["sources"].as_array().into_iter().flatten();
    sources.into_iter().find(|source| source["name"] == name).unwrap_or(&Value::Null)
}

/// Whether the source stands so; the words are of its message.
fn stands(status: &Value, name: &str, state: &str, reason: &str, words: &str) -> bool {
    let source = source_of(status, name);
    let text = |key: &str| source[key].as_str().unwrap_or_default();
    text("state") == state && text("reason") == reason && text("message").contains(words)
}

/// How many seconds from now a time in a status is.
fn seconds_until(time: &Value) -> i64 {
    let time: jiff::Timestamp = time.as_str().unwrap_or_else(|| panic!("{time} is no time")).parse().unwrap();
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
    time.as_second() - i64::try_from(now.as_secs()).unwrap()
}

/// Sees every version of the Secrets of one name, in all namespaces.
struct Witness {
    seen: Arc<Mutex<Vec<Secret>>>,
    task: JoinHandle<()>,
}

impl Witness {
    async fn of(client: &Client, name: &str) -> Self {
        let api = Api::<Secret>::all(client.clone());
        let selector = format!("metadata.name={name}");
        let list = api.list_metadata(&ListParams::default().fields(&selector)).await.unwrap();
        let version = list.metadata.resource_version.unwrap();
        let params = WatchParams::default().fields(&selector);
        let mut events = Box::pin(api.watch(&params, &version).await.unwrap());
        // The watch has to be there before what it is to see.
        let seen = Arc::new(Mutex::new(Vec::new()));
        let notes = Arc::clone(&seen);
        let task = tokio::spawn(async move {
            while let Some(event) = events.next().await {
                if let WatchEvent::Added(secret) | WatchEvent::Modified(secret) = event.unwrap() {
                    notes.lock().unwrap().push(secret);
                }
            }
        });
        Self { seen, task }
    }

    /// What was written so far, by namespace, in order.
    fn versions(&self) -> BTreeMap<String, Vec<Secret>> {
        let mut versions: BTreeMap<String, Vec<Secret>> = BTreeMap::new();
        for secret in self.seen.lock().unwrap().iter() {
            versions.entry(secret.namespace().unwrap()).or_default().push(secret.clone());
        }
        versions
    }

    /// How often anything was written.
    fn count(&self) -> usize {
        self.seen.lock().unwrap().len()
    }
}

impl Drop for Witness {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// The value of the metric whose line begins like this, if there is one.
fn metric(page: &str, start: &str) -> Option<f64> {
    let line = page.lines().find(|line| line.starts_with(start))?;
    line.rsplit(' ').next().unwrap().parse().ok()
}

/// Waits until the endpoint was asked for so many tokens.
async fn asked_times(cloud: &Cloud, times: usize) {
    eventually(&format!("asked {times} times"), async || {
        if cloud.asked() >= times { Ok(()) } else { Err(format!("asked {} times", cloud.asked())) }
    })
    .await;
}
