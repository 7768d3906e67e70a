//! The definition as it is installed: what the file in the repository says, and what the original promised.

#![allow(clippy::unwrap_used, reason = "a definition that cannot be read has failed")]

use imps_api::{crd, keys};
use serde_json::{Value, json};

#[test]
fn the_file_says_what_the_types_say() {
    let file: Value = serde_saphyr::from_str(include_str!("../crd.yaml")).unwrap();
    assert_eq!(file, crd::crd(), "run `cargo xtask codegen`");
}

#[test]
fn names_scope_and_columns_are_the_original_s() {
    let crd = crd::crd();
    assert_eq!(crd["metadata"]["name"], "imagepullsecrets.images.banzaicloud.io");
    assert_eq!(crd["spec"]["scope"], "Cluster");
    let names = &crd["spec"]["names"];
    assert_eq!((&names["kind"], &names["plural"]), (&json!("ImagePullSecret"), &json!("imagepullsecrets")));
    assert_eq!((&names["singular"], &names["shortNames"]), (&json!("imagepullsecret"), &json!(["imps"])));
    let version = &crd["spec"]["versions"][0];
    assert_eq!((&version["name"], &version["subresources"]), (&json!("v1alpha1"), &json!({"status": {}})));
    let columns: Vec<&str> = version["additionalPrinterColumns"]
        .as_array()
        .unwrap()
        .iter()
        .map(|c| c["name"].as_str().unwrap())
        .collect();
    assert_eq!(columns[..5], ["State", "Reconciled", "Validity seconds", "Secret Name", "Namespaces"]);
}

#[test]
fn nothing_is_required_that_the_original_did_not_require() {
    let crd = crd::crd();
    let schema = &crd["spec"]["versions"][0]["schema"]["openAPIV3Schema"];
    assert_eq!(schema["required"], Value::Null, "an object without a spec was accepted");
    let mut required = Vec::new();
    collect_required(&schema["properties"]["spec"], "spec", &mut required);
    required.sort();
    // Below `exclude`, which is ours, the selectors require what selectors do.
    required.retain(|path| !path.starts_with("spec.target.exclude"));
    assert_eq!(
        required,
        [
            "spec.registry",
            "spec.registry.credentials",
            "spec.registry.credentials.name",
            "spec.registry.credentials.namespace",
            "spec.target",
            "spec.target.namespaces.annotations.matchExpressions.key",
            "spec.target.namespaces.annotations.matchExpressions.operator",
            "spec.target.namespaces.labels.matchExpressions.key",
            "spec.target.namespaces.labels.matchExpressions.operator",
            "spec.target.namespacesWithPods.annotations.matchExpressions.key",
            "spec.target.namespacesWithPods.annotations.matchExpressions.operator",
            "spec.target.namespacesWithPods.labels.matchExpressions.key",
            "spec.target.namespacesWithPods.labels.matchExpressions.operator",
            "spec.target.secret",
            "spec.target.secret.name",
        ]
    );
}

#[test]
fn rules_stand_only_on_fields_that_the_original_did_not_have() {
    let crd = crd::crd();
    let mut paths = Vec::new();
    collect_rules(&crd["spec"]["versions"][0]["schema"]["openAPIV3Schema"], "", &mut paths);
    assert!(!paths.is_empty());
    let ours = [".spec.target.exclude", ".spec.target.serviceAccounts"];
    assert!(paths.iter().all(|path| ours.iter().any(|field| path.starts_with(field))), "{paths:?}");
}

fn collect_required(schema: &Value, path: &str, found: &mut Vec<String>) {
    for name in schema["required"].as_array().into_iter().flatten() {
        found.push(format!("{path}.{}", name.as_str().unwrap()));
    }
    for (name, inner) in schema["properties"].as_object().into_iter().flatten() {
        collect_required(inner, &format!("{path}.{name}"), found);
    }
    if schema["items"].is_object() {
        collect_required(&schema["items"], path, found);
    }
}

fn collect_rules(schema: &Value, path: &str, found: &mut Vec<String>) {
    if schema.get("x-kubernetes-validations").is_some() {
        found.push(path.to_owned());
    }
    for (name, inner) in schema["properties"].as_object().into_iter().flatten() {
        collect_rules(inner, &format!("{path}.{name}"), found);
    }
    if schema["items"].is_object() {
        collect_rules(&schema["items"], path, found);
    }
}

#[test]
fn a_demand_that_is_read_fits_into_the_status() {
    let crd = crd::crd();
    let field = "/spec/versions/0/schema/openAPIV3Schema/properties/status/properties/lastHandledRefreshAt";
    assert_eq!(crd.pointer(field).unwrap()["maxLength"], keys::REFRESH_CHARS_MAX);
}
