//! How the ImagePullSecrets stand, as data: the JSON output is just this. It is made of objects and the time alone.

use imps_api::image_pull_secret::{ImagePullSecret, ImagePullSecretStatus, SourceStatus, TargetFailure};
use imps_core::diagnosis::excerpt;
use imps_core::registry::safe_label;
use jiff::{SignedDuration, Timestamp};
use serde::Serialize;
use serde_json::Value;

use crate::command::diagnose::report::{api_version, plain};

/// The whole answer.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Page {
    api_version: String,
    kind: &'static str,
    #[serde(serialize_with = "in_whole_seconds")]
    pub(super) time: Timestamp,
    pub(super) leadership: Leadership,
    pub(super) image_pull_secrets: Vec<Entry>,
}

/// Which operator acts.
#[derive(Serialize, Clone, PartialEq, Eq, Debug)]
#[serde(rename_all = "camelCase")]
pub(super) struct Leadership {
    /// `held`, `lapsed`, `free`, `none` or `unknown`.
    pub(super) state: &'static str,
    #[serde(skip_serializing_if = "String::is_empty")]
    pub(super) holder: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    pub(super) lease: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) renewed: Option<Timestamp>,
    /// Why it is not known.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub(super) message: String,
}

/// One ImagePullSecret.
#[derive(Serialize, Clone, PartialEq, Eq, Debug)]
#[serde(rename_all = "camelCase")]
pub(in crate::command) struct Entry {
    pub(in crate::command) name: String,
    /// `True`, `False` or `Unknown`, as in the condition.
    pub(in crate::command) ready: String,
    pub(in crate::command) reason: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    pub(in crate::command) message: String,
    pub(super) namespaces: Counts,
    pub(super) sources: Vec<Source>,
    pub(super) failures: Vec<Failure>,
}

#[derive(Serialize, Clone, PartialEq, Eq, Debug)]
#[serde(rename_all = "camelCase")]
pub(super) struct Counts {
    pub(super) desired: i32,
    pub(super) synced: i32,
    pub(super) failed: i32,
    pub(super) conflict: i32,
    pub(super) left_out: i32,
}

#[derive(Serialize, Clone, PartialEq, Eq, Debug)]
#[serde(rename_all = "camelCase")]
pub(super) struct Source {
    pub(super) source: String,
    #[serde(rename = "type")]
    pub(super) secret_type: String,
    pub(super) state: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    pub(super) reason: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    pub(super) message: String,
    registries: Vec<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) expires_at: Option<Timestamp>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) next_refresh: Option<Timestamp>,
}

#[derive(Serialize, Clone, PartialEq, Eq, Debug)]
pub(super) struct Failure {
    pub(super) namespace: String,
    pub(super) reason: String,
    pub(super) message: String,
}

impl Page {
    pub(super) fn new(grants: &[Value], leadership: Leadership, now: Timestamp) -> Self {
        let mut entries: Vec<Entry> = grants.iter().map(entry).collect();
        entries.sort_by(|a, b| a.name.cmp(&b.name));
        Self {
            api_version: api_version(),
            kind: "Status",
            time: now,
            leadership,
            image_pull_secrets: entries,
        }
    }

    /// Whether every ImagePullSecret is.
    pub(super) fn is_ready(&self) -> bool {
        self.image_pull_secrets.iter().all(|entry| entry.ready == "True")
    }

    /// Whether nothing but time has passed.
    pub(super) fn says_the_same(&self, other: &Self) -> bool {
        let who = |page: &Self| (page.leadership.state, page.leadership.holder.clone());
        who(self) == who(other) && self.image_pull_secrets == other.image_pull_secrets
    }
}

/// One, by its status.
pub(in crate::command) fn entry(object: &Value) -> Entry {
    let name = object.pointer("/metadata/name").and_then(Value::as_str).unwrap_or_default();
    match serde_json::from_value::<ImagePullSecret>(object.clone()) {
        Ok(grant) => {
            let status = grant.status.unwrap_or_default();
            let (ready, reason, message) = verdict(&status, grant.metadata.generation);
            let counts = status.targets.unwrap_or_default();
            Entry {
                name: plain(name),
                ready,
                reason,
                message,
                namespaces: Counts {
                    desired: counts.desired,
                    synced: counts.synced,
                    failed: counts.failed,
                    conflict: counts.conflict,
                    left_out: counts.left_out.unwrap_or_default(),
                },
                sources: status.sources.iter().map(source).collect(),
                failures: status.failures.iter().map(failure).collect(),
            }
        }
        Err(_) => Entry {
            name: plain(name),
            ready: "False".to_owned(),
            reason: "Unreadable".to_owned(),
            message: "it does not fit the schema: imps crd apply brings the definition up to date".to_owned(),
            namespaces: Counts { desired: 0, synced: 0, failed: 0, conflict: 0, left_out: 0 },
            sources: Vec::new(),
            failures: Vec::new(),
        },
    }
}

/// The condition Ready, unless it speaks of an earlier spec.
fn verdict(status: &ImagePullSecretStatus, generation: Option<i64>) -> (String, String, String) {
    let ready = status.conditions.iter().find(|condition| condition.kind == "Ready");
    let open = |reason: &str, message: &str| ("Unknown".to_owned(), reason.to_owned(), message.to_owned());
    match ready {
        None => open("NotSeen", "no operator has reported on it; see whether one runs"),
        Some(_) if generation.is_some() && status.observed_generation != generation => {
            open("NotSeen", "no operator has reported on its last change yet; see whether one runs")
        }
        Some(ready) => {
            let message = if ready.status == "True" { String::new() } else { excerpt(&ready.message) };
            (plain(&ready.status), plain(&ready.reason), message)
        }
    }
}

fn source(source: &SourceStatus) -> Source {
    Source {
        source: plain(&format!("{}/{}", source.namespace, source.name)),
        secret_type: excerpt(&source.secret_type),
        state: plain(&source.state),
        reason: plain(&source.reason),
        message: excerpt(&source.message),
        registries: source.registries.iter().map(|registry| safe_label(registry)).collect(),
        expires_at: source.expires_at,
        next_refresh: source.next_refresh,
    }
}

fn failure(failure: &TargetFailure) -> Failure {
    Failure {
        namespace: plain(&failure.namespace),
        reason: plain(&failure.reason),
        message: excerpt(&failure.message),
    }
}

impl Leadership {
    /// By the Leases of the name that operators elect with. Of several the one that was renewed last counts.
    pub(super) fn of(leases: &[Value], now: Timestamp) -> Self {
        let time = |lease: &Value| -> Option<Timestamp> {
            lease.pointer("/spec/renewTime").and_then(Value::as_str)?.parse().ok()
        };
        let Some(lease) = leases.iter().max_by_key(|lease| time(lease)) else {
            return Self { state: "none", ..Self::unseen("") };
        };
        let text = |pointer: &str| plain(lease.pointer(pointer).and_then(Value::as_str).unwrap_or_default());
        let holder = text("/spec/holderIdentity");
        let seconds = lease.pointer("/spec/leaseDurationSeconds").and_then(Value::as_i64).unwrap_or_default();
        let end =
            time(lease).and_then(|renewed| renewed.checked_add(SignedDuration::from_secs(seconds)).ok());
        let state = match end {
            _ if holder.is_empty() => "free",
            Some(end) if end >= now => "held",
            _ => "lapsed",
        };
        let place = format!("{}/{}", text("/metadata/namespace"), text("/metadata/name"));
        Self { state, holder, lease: place, renewed: time(lease), message: String::new() }
    }

    /// Leases could not be read.
    pub(super) fn unseen(why: &str) -> Self {
        let (holder, lease) = (String::new(), String::new());
        Self { state: "unknown", holder, lease, renewed: None, message: plain(why) }
    }
}

/// As Kubernetes writes times.
fn in_whole_seconds<S: serde::Serializer>(time: &Timestamp, serializer: S) -> Result<S::Ok, S::Error> {
    let whole = Timestamp::from_second(time.as_second()).unwrap_or(*time);
    serializer.collect_str(&whole)
}
