//! The CustomResourceDefinition as it is installed.

use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::CustomResourceExt;
use serde_json::{Value, json};

use crate::image_pull_secret::ImagePullSecret;

/// What `kubectl get imps` shows: name, type, format, where, description. The first five are the original's; the rest
/// appears with `-o wide`.
const COLUMNS: [(&str, &str, &str, &str, &str); 9] = [
    (
        "State",
        "string",
        "byte",
        ".status.status",
        "Represents if the object has been successfully reconciled",
    ),
    (
        "Reconciled",
        "date",
        "date",
        ".status.lastSuccessfulReconciliation",
        "When the object has been successfully reconciled",
    ),
    (
        "Validity seconds",
        "integer",
        "int32",
        ".status.validitySeconds",
        "How long the generated credential is valid for after the last reconciliation",
    ),
    ("Secret Name", "string", "byte", ".spec.target.secret.name", "Name of the secret generated"),
    (
        "Namespaces",
        "string",
        "byte",
        ".status.managedNamespaces",
        "Name of the namespaces the secret is generated in",
    ),
    (
        "Ready",
        "string",
        "",
        ".status.conditions[?(@.type==\"Ready\")].status",
        "Whether all sources are good and every selected namespace has its Secret",
    ),
    ("Reason", "string", "", ".status.conditions[?(@.type==\"Ready\")].reason", "Why, in a word"),
    (
        "Synced",
        "integer",
        "",
        ".status.targets.synced",
        "How many namespaces have the Secret as it should be",
    ),
    ("Desired", "integer", "", ".status.targets.desired", "How many namespaces are selected"),
];
/// How many columns are shown without `-o wide`.
const COLUMNS_OF_THE_ORIGINAL: usize = 5;

/// Where the schema of the one version stands.
const SCHEMA: &str = "/spec/versions/0/schema/openAPIV3Schema";

/// The definition, as JSON with what the derive cannot say: the status says -1 until imps has seen an object, so that
/// a tool that waits (kstatus) never takes an unseen object for a finished one; conditions are merged by type.
pub fn crd() -> Value {
    let mut crd =
        serde_json::to_value(ImagePullSecret::crd()).expect("a definition made of our own types serialises");
    // The original required nothing at the top: an object without a spec is accepted, and reported as saying nothing.
    let root = crd.pointer_mut(SCHEMA).and_then(Value::as_object_mut).expect("there is a schema");
    root.retain(|key, _| key != "required" && key != "title");
    let status = crd.pointer_mut(&format!("{SCHEMA}/properties/status")).and_then(Value::as_object_mut);
    status.expect("the schema has a status").remove("nullable");
    let mut set = |path: &str, key: &str, value: Value| {
        let place = crd.pointer_mut(&format!("{SCHEMA}{path}")).and_then(Value::as_object_mut);
        place.expect("the schema has the fields of our own types").insert(key.to_owned(), value);
    };
    set("/properties/status", "default", json!({"observedGeneration": -1}));
    set("/properties/status/properties/conditions", "x-kubernetes-list-type", json!("map"));
    set("/properties/status/properties/conditions", "x-kubernetes-list-map-keys", json!(["type"]));
    crd["spec"]["versions"][0]["additionalPrinterColumns"] = COLUMNS.iter().enumerate().map(column).collect();
    crd
}

fn column(
    (index, (name, kind, format, path, description)): (usize, &(&str, &str, &str, &str, &str)),
) -> Value {
    let mut column = json!({"name": name, "type": kind, "jsonPath": path, "description": description});
    if !format.is_empty() {
        column["format"] = json!(format);
    }
    if index >= COLUMNS_OF_THE_ORIGINAL {
        column["priority"] = json!(1);
    }
    column
}

/// The definition as a typed object, for clients.
pub fn typed() -> CustomResourceDefinition {
    serde_json::from_value(crd()).expect("it was made from that type")
}
