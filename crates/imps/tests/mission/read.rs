//! Reading what the cluster shows: Secrets as the kubelet reads them, statuses by their conditions.

use std::collections::BTreeSet;

use imps_core::dockerconfig::Format;
use imps_core::kubelet::{Offer, PullSecret, lookup};
use k8s_openapi::api::core::v1::Secret;
use kube::ResourceExt;
use serde_json::{Value, json};

use super::stage::Entry;

/// The logins that the kubelet would try for an image, in order, if the pod had this Secret alone.
pub(crate) fn kubelet_uses(secret: &Secret, image: &str) -> Result<Vec<(String, String)>, String> {
    let secret_type = secret.type_.as_deref().unwrap_or_default();
    let bytes = content(secret);
    let attempts =
        lookup(&[PullSecret { secret_type, data: &bytes }], image).map_err(|error| error.to_string())?;
    let logins = attempts.iter().map(|attempt| match &attempt.offer {
        Offer::Login(login) => (login.username.clone(), login.password.reveal().to_owned()),
        other => (format!("{other:?}"), String::new()),
    });
    Ok(logins.collect())
}

/// The bytes of the docker config in a target.
pub(crate) fn content(secret: &Secret) -> Vec<u8> {
    let bytes = secret.data.as_ref().and_then(|data| data.get(Format::DockerConfigJson.data_key()));
    bytes.map(|bytes| bytes.0.clone()).unwrap_or_default()
}

/// The registries that a target has a login for, as spelled.
pub(crate) fn registries(secret: &Secret) -> BTreeSet<String> {
    let document: Value = serde_json::from_slice(&content(secret)).unwrap();
    document["auths"].as_object().unwrap().keys().cloned().collect()
}

/// A docker config with these logins.
pub(crate) fn docker_config(entries: &[Entry<'_>]) -> String {
    json!({ "auths": auths(entries) }).to_string()
}

/// The entries of a docker config.
pub(crate) fn auths(entries: &[Entry<'_>]) -> Value {
    let entry = |(registry, (user, password)): &Entry<'_>| {
        ((*registry).to_owned(), json!({"username": user, "password": password}))
    };
    Value::Object(entries.iter().map(entry).collect())
}

/// The condition of this type.
pub(crate) fn condition<'s>(status: &'s Value, kind: &str) -> Option<&'s Value> {
    status["conditions"].as_array()?.iter().find(|condition| condition["type"] == kind)
}

/// Whether the condition is there and True.
pub(crate) fn is_true(status: &Value, kind: &str) -> bool {
    condition(status, kind).is_some_and(|condition| condition["status"] == "True")
}

/// The texts of a list.
pub(crate) fn texts(list: &Value) -> impl Iterator<Item = &str> {
    list.as_array().into_iter().flatten().filter_map(Value::as_str)
}

/// What happened to the object since: its UID and version.
pub(crate) fn version(secret: &Secret) -> (String, String) {
    (secret.uid().unwrap_or_default(), secret.resource_version().unwrap_or_default())
}
