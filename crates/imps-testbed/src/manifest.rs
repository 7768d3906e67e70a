//! Manifests onto a server, as `kubectl apply --server-side` would: what the demo and the tests set the stage with.

use anyhow::{Context, Result, anyhow};
use kube::Client;
use kube::api::{Api, ApiResource, DeleteParams, DynamicObject, GroupVersionKind, Patch, PatchParams};
use serde_json::Value;

/// The field manager of everything that tests and the demo write.
const FIELD_MANAGER: &str = "imps-testbed";

/// Kinds that live outside namespaces, of those that are used here.
const CLUSTER_SCOPED: [&str; 10] = [
    "Namespace",
    "Node",
    "ClusterRole",
    "ClusterRoleBinding",
    "CustomResourceDefinition",
    "ImagePullSecret",
    "ValidatingAdmissionPolicy",
    "ValidatingAdmissionPolicyBinding",
    "MutatingAdmissionPolicy",
    "MutatingAdmissionPolicyBinding",
];

/// Reads YAML with any number of documents.
pub fn read(yaml: &str) -> Result<Vec<Value>> {
    let documents: Vec<Value> =
        serde_saphyr::from_multiple(yaml).map_err(|error| anyhow!("not valid YAML: {error}"))?;
    Ok(documents.into_iter().filter(Value::is_object).collect())
}

/// Applies objects in their order; each must name its kind, and its namespace where it has one (`default` otherwise).
pub async fn apply(client: &Client, objects: &[Value]) -> Result<()> {
    for object in objects {
        let text = |pointer: &str| object.pointer(pointer).and_then(Value::as_str).unwrap_or_default();
        let (kind, name) = (text("/kind"), text("/metadata/name"));
        let params = PatchParams::apply(FIELD_MANAGER).force();
        api(client, object)?
            .patch(name, &params, &Patch::Apply(object))
            .await
            .with_context(|| format!("cannot apply {kind} {name}"))?;
    }
    Ok(())
}

/// Deletes objects; those that are gone already are no trouble.
pub async fn delete(client: &Client, objects: &[Value]) -> Result<()> {
    for object in objects {
        let text = |pointer: &str| object.pointer(pointer).and_then(Value::as_str).unwrap_or_default();
        match api(client, object)?.delete(text("/metadata/name"), &DeleteParams::default()).await {
            Err(kube::Error::Api(status)) if status.is_not_found() => {}
            answer => drop(answer.with_context(|| format!("cannot delete {}", text("/metadata/name")))?),
        }
    }
    Ok(())
}

/// The part of the API that an object belongs to.
pub fn api(client: &Client, object: &Value) -> Result<Api<DynamicObject>> {
    let text = |pointer: &str| object.pointer(pointer).and_then(Value::as_str).unwrap_or_default();
    let (api_version, kind) = (text("/apiVersion"), text("/kind"));
    anyhow::ensure!(!api_version.is_empty() && !kind.is_empty(), "a manifest has no apiVersion or no kind");
    let (group, version) = api_version.split_once('/').unwrap_or(("", api_version));
    // All kinds used here have the regular plural that this makes.
    let resource = ApiResource::from_gvk(&GroupVersionKind::gvk(group, version, kind));
    if CLUSTER_SCOPED.contains(&kind) {
        return Ok(Api::all_with(client.clone(), &resource));
    }
    let namespace = match text("/metadata/namespace") {
        "" => "default",
        namespace => namespace,
    };
    Ok(Api::namespaced_with(client.clone(), namespace, &resource))
}
