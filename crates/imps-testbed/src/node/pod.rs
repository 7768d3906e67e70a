//! Pods for the node: how they are asked for, and what the kubelet says of them.

use std::fmt;

use anyhow::{Context, Result};
use k8s_openapi::api::core::v1::{Event, Pod};
use kube::Client;
use kube::ResourceExt;
use kube::api::{Api, ListParams};
use serde_json::{Value, json};

/// The container of each pod.
const CONTAINER: &str = "app";

/// How a pod's container stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum State {
    /// Nothing is known of it yet.
    Pending,
    /// It waits.
    Waiting {
        /// In a word, as `ErrImagePull`.
        reason: String,
        /// In the words of the kubelet.
        message: String,
    },
    /// It runs.
    Running,
    /// It ended, which none of ours does by itself.
    Terminated,
}

impl State {
    /// Whether the image could not be pulled.
    #[must_use]
    pub fn is_pull_failure(&self) -> bool {
        matches!(self, Self::Waiting { reason, .. } if reason == "ErrImagePull" || reason == "ImagePullBackOff")
    }
}

/// In the word that `kubectl get pods` shows.
impl fmt::Display for State {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            Self::Pending => "Pending",
            Self::Waiting { reason, .. } => reason,
            Self::Running => "Running",
            Self::Terminated => "Terminated",
        })
    }
}

/// A pod for the node, on the machine's own network because there is no other. Its image is looked for each time. If it
/// names no pull secret, it gets those of the namespace's ServiceAccount `default`.
#[must_use]
pub fn manifest(namespace: &str, name: &str, image: &str, pull_secret: Option<&str>) -> Value {
    let pull_secrets: Vec<Value> = pull_secret.iter().map(|name| json!({"name": name})).collect();
    json!({
        "apiVersion": "v1", "kind": "Pod",
        "metadata": {"name": name, "namespace": namespace},
        "spec": {
            // There is no scheduler, and the node is never ready for want of a network.
            "nodeName": super::NAME,
            "tolerations": [{"operator": "Exists"}],
            "hostNetwork": true,
            "automountServiceAccountToken": false,
            "terminationGracePeriodSeconds": 0,
            "imagePullSecrets": pull_secrets,
            "containers": [{"name": CONTAINER, "image": image, "imagePullPolicy": "Always"}],
        },
    })
}

/// How its container stands.
#[must_use]
pub fn state(pod: &Pod) -> State {
    let status = pod.status.as_ref().and_then(|status| status.container_statuses.as_ref()?.first());
    let Some(state) = status.and_then(|status| status.state.as_ref()) else { return State::Pending };
    if state.running.is_some() {
        return State::Running;
    }
    if state.terminated.is_some() {
        return State::Terminated;
    }
    let waiting = state.waiting.clone().unwrap_or_default();
    State::Waiting {
        reason: waiting.reason.unwrap_or_default(),
        message: waiting.message.unwrap_or_default(),
    }
}

/// What the kubelet said of the pod, in the order in which it said it. A repeated event has a new version.
pub async fn events(client: &Client, pod: &Pod) -> Result<Vec<Event>> {
    let api = Api::<Event>::namespaced(client.clone(), &pod.namespace().unwrap_or_default());
    let fields = format!("involvedObject.uid={}", pod.uid().unwrap_or_default());
    let mut events =
        api.list(&ListParams::default().fields(&fields)).await.context("cannot list events")?.items;
    events.sort_by_key(version);
    Ok(events)
}

/// Versions of one server grow.
fn version(event: &Event) -> u64 {
    event.resource_version().and_then(|text| text.parse().ok()).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stands(state: Value) -> State {
        let status = json!({"containerStatuses": [{
            "name": CONTAINER, "image": "i", "imageID": "", "ready": false, "restartCount": 0, "state": state,
        }]});
        super::state(&serde_json::from_value(json!({"metadata": {}, "status": status})).expect("a pod"))
    }

    #[test]
    fn the_state_is_that_of_the_container() {
        assert_eq!(state(&Pod::default()), State::Pending);
        assert_eq!(stands(json!({"running": {}})), State::Running);
        assert_eq!(stands(json!({"terminated": {"exitCode": 1}})), State::Terminated);
        let waits = stands(json!({"waiting": {"reason": "ErrImagePull", "message": "401"}}));
        assert!(waits.is_pull_failure() && waits.to_string() == "ErrImagePull", "{waits:?}");
        assert!(!stands(json!({"waiting": {"reason": "ContainerCreating"}})).is_pull_failure());
    }
}
