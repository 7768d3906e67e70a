//! Sources that say an identity instead of a login, whichever it is: what they say, what is told of them, and who sees
//! each version of a target.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::{SystemTime, UNIX_EPOCH};

use futures::StreamExt;
use imps_testbed::fresh_name;
use k8s_openapi::api::core::v1::Secret;
use kube::api::{Api, ListParams, WatchEvent, WatchParams};
use kube::{Client, ResourceExt};
use serde_json::{Value, json};
use tokio::task::JoinHandle;

use super::stage::{Login, Scene};

/// A login that does not expire.
pub(crate) const ROBOT: Login<'_> = ("robot", "first");
pub(crate) const NEXT: Login<'_> = ("robot", "second");
pub(crate) const STATIC: &str = "static.example";

/// What a source Secret says.
#[derive(Clone)]
pub(crate) struct Fields {
    /// The type of the Secret, which names the provider.
    pub(crate) secret_type: &'static str,
    /// The values.
    pub(crate) values: BTreeMap<&'static str, String>,
}

impl Fields {
    /// A Secret of this type without values.
    pub(crate) fn of(secret_type: &'static str) -> Self {
        Self { secret_type, values: BTreeMap::new() }
    }

    /// The same, with another value.
    pub(crate) fn with(mut self, key: &'static str, value: &str) -> Self {
        self.values.insert(key, value.to_owned());
        self
    }

    /// Writes the source Secret.
    pub(crate) async fn write(&self, scene: &Scene, name: &str) {
        let data: Vec<(&str, &[u8])> =
            self.values.iter().map(|(key, value)| (*key, value.as_bytes())).collect();
        scene.put_secret(&scene.home, name, self.secret_type, &data, json!({})).await;
    }
}

/// Changes nothing of a source but its version, after which its token is asked for anew.
pub(crate) async fn touch(scene: &Scene, source: &str) {
    let patch = json!({"metadata": {"labels": {"touched": fresh_name("t")}}});
    scene.edit_secret(&scene.home, source, patch).await;
}

/// Selects namespaces by their names.
pub(crate) fn names(namespaces: &[&str]) -> Value {
    json!({"namespaces": {"names": namespaces}})
}

/// Makes a namespace of the scene's team.
pub(crate) async fn team_namespace(scene: &Scene, word: &str) -> String {
    scene.namespace(word, json!({"labels": {"team": scene.id}})).await
}

/// Selects the namespaces of the scene's team.
pub(crate) fn team(scene: &Scene) -> Value {
    json!({"namespaces": {"labels": [{"matchLabels": {"team": scene.id}}]}})
}

/// What the status says about the source of this name.
pub(crate) fn source_of<'s>(status: &'s Value, name: &str) -> &'s Value {
    let sources = status["sources"].as_array().into_iter().flatten();
    sources.into_iter().find(|source| source["name"] == name).unwrap_or(&Value::Null)
}

/// Whether the source stands so; the words are of its message.
pub(crate) fn stands(status: &Value, name: &str, state: &str, reason: &str, words: &str) -> bool {
    let source = source_of(status, name);
    let text = |key: &str| source[key].as_str().unwrap_or_default();
    text("state") == state && text("reason") == reason && text("message").contains(words)
}

/// How many seconds from now a time in a status is.
pub(crate) fn seconds_until(time: &Value) -> i64 {
    let time: jiff::Timestamp = time.as_str().unwrap_or_else(|| panic!("{time} is no time")).parse().unwrap();
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
    time.as_second() - i64::try_from(now.as_secs()).unwrap()
}

/// Sees every version of the Secrets of one name, in all namespaces.
pub(crate) struct Witness {
    seen: Arc<Mutex<Vec<Secret>>>,
    task: JoinHandle<()>,
}

impl Witness {
    pub(crate) async fn of(client: &Client, name: &str) -> Self {
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
    pub(crate) fn versions(&self) -> BTreeMap<String, Vec<Secret>> {
        let mut versions: BTreeMap<String, Vec<Secret>> = BTreeMap::new();
        for secret in self.seen.lock().unwrap().iter() {
            versions.entry(secret.namespace().unwrap()).or_default().push(secret.clone());
        }
        versions
    }

    /// How often anything was written.
    pub(crate) fn count(&self) -> usize {
        self.seen.lock().unwrap().len()
    }
}

impl Drop for Witness {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// The value of the metric whose line begins like this, if there is one.
pub(crate) fn metric(page: &str, start: &str) -> Option<f64> {
    let line = page.lines().find(|line| line.starts_with(start))?;
    line.rsplit(' ').next().unwrap().parse().ok()
}
