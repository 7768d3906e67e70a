//! The CustomResourceDefinition as it is installed.

use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::CustomResourceExt;
use serde_json::{Value, json};

use crate::image_pull_secret::ImagePullSecret;

/// Where the schema of the one version stands.
const SCHEMA: &str = "/spec/versions/0/schema/openAPIV3Schema";

/// The definition, as JSON with what the derive cannot say: the status says -1 until imps has seen an object, so that
/// a tool that waits (kstatus) never takes an unseen object for a finished one; conditions are merged by type.
pub fn crd() -> Value {
    let mut crd =
        serde_json::to_value(ImagePullSecret::crd()).expect("a definition made of our own types serialises");
    let mut set = |path: &str, key: &str, value: Value| {
        let place = crd.pointer_mut(&format!("{SCHEMA}{path}")).and_then(Value::as_object_mut);
        place.expect("the schema has the fields of our own types").insert(key.to_owned(), value);
    };
    set("/properties/status", "default", json!({"observedGeneration": -1}));
    set("/properties/status", "nullable", json!(false));
    set("/properties/status/properties/conditions", "x-kubernetes-list-type", json!("map"));
    set("/properties/status/properties/conditions", "x-kubernetes-list-map-keys", json!(["type"]));
    crd
}

/// The definition as a typed object, for clients.
pub fn typed() -> CustomResourceDefinition {
    serde_json::from_value(crd()).expect("it was made from that type")
}
