//! The definition of the custom resource on the API server: whether it knows all that this imps reads and writes, and
//! how it is brought there.

use std::collections::BTreeMap;
use std::fmt;
use std::time::{Duration, Instant};

use imps_api::keys;
use imps_core::reason::{Fault, FaultClass};
use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::api::{ApiResource, DynamicObject, Patch, PatchParams};
use kube::{Api, Client};
use serde_json::{Map, Value, json};

use crate::apply::within;

/// Field manager of the definition.
pub const FIELD_MANAGER: &str = "imps-crds";
/// How long the API server may take to serve a definition that it accepted.
const SERVED_WITHIN: Duration = Duration::from_secs(60);
/// How often it is asked whether it does.
const LOOK_EVERY: Duration = Duration::from_millis(250);

/// The name of the definition.
pub fn name() -> String {
    format!("{}.{}", keys::PLURAL, keys::GROUP)
}

/// The fields that this imps knows and the definition on the API server does not: what is written to them is lost
/// without a word.
pub async fn missing_fields(client: Client) -> Result<Vec<String>, Fault> {
    let served = within(api(client).get(&name())).await?;
    Ok(missing(&imps_api::crd::crd()["spec"], &served.data["spec"]))
}

/// What applying the definition did.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Applied {
    /// There was none.
    Created,
    /// There was one, and this is what became different: lines for people, none when nothing did.
    Changed(Vec<String>),
}

/// Why the definition is not in force.
#[derive(Debug, thiserror::Error)]
pub enum ApplyError {
    /// A request failed.
    #[error("{0}")]
    Fault(Fault),
    /// The API server took it and does not serve it.
    #[error("the API server does not serve {}: {reason}", name())]
    NotServed {
        /// Why, in its words, which are about the definition.
        reason: String,
    },
}

impl From<Fault> for ApplyError {
    fn from(fault: Fault) -> Self {
        Self::Fault(fault)
    }
}

/// Applies the definition of this imps, whoever wrote the one that is there, and waits until it is served.
pub async fn apply(client: Client) -> Result<Applied, ApplyError> {
    let (api, name) = (api(client), name());
    let before = match within(api.get(&name)).await {
        Ok(object) => Some(object),
        Err(fault) if fault.class == FaultClass::Gone => None,
        Err(fault) => return Err(fault.into()),
    };
    let mut body = imps_api::crd::crd();
    body["apiVersion"] = json!("apiextensions.k8s.io/v1");
    body["kind"] = json!("CustomResourceDefinition");
    let params = PatchParams::apply(FIELD_MANAGER).force();
    let mut after = within(api.patch(&name, &params, &Patch::Apply(body))).await?;
    let since = Instant::now();
    while let Some(reason) = unserved(&after) {
        if since.elapsed() > SERVED_WITHIN {
            return Err(ApplyError::NotServed { reason });
        }
        tokio::time::sleep(LOOK_EVERY).await;
        after = within(api.get(&name)).await?;
    }
    Ok(match before {
        None => Applied::Created,
        Some(before) => Applied::Changed(differences(&before.data["spec"], &after.data["spec"])),
    })
}

fn api(client: Client) -> Api<DynamicObject> {
    Api::all_with(client, &ApiResource::erase::<CustomResourceDefinition>(&()))
}

/// Why a definition is not served yet.
fn unserved(object: &DynamicObject) -> Option<String> {
    let conditions = object.data["status"]["conditions"].as_array().map(Vec::as_slice).unwrap_or_default();
    let find = |kind: &str| conditions.iter().find(|condition| condition["type"] == kind);
    let holds = |kind: &str| find(kind).is_some_and(|condition| condition["status"] == "True");
    if holds("Established") {
        return None;
    }
    // Names that another definition has are the usual reason.
    let said = ["NamesAccepted", "Established"].into_iter().filter_map(find);
    let mut refused = said.filter(|condition| condition["status"] == "False");
    let message = refused.find_map(|condition| condition["message"].as_str().map(str::to_owned));
    Some(message.unwrap_or_else(|| "it is not established yet".to_owned()))
}

// === schemas ===

/// Each field by its path, as users write it, with what the schema says of it alone.
type Fields = BTreeMap<String, Map<String, Value>>;

/// The schema of our version in the spec of a definition.
fn schema(spec: &Value) -> &Value {
    let versions = spec["versions"].as_array().map(Vec::as_slice).unwrap_or_default();
    let ours = versions.iter().find(|version| version["name"] == keys::VERSION);
    ours.map_or(&Value::Null, |version| &version["schema"]["openAPIV3Schema"])
}

fn fields(spec: &Value) -> Fields {
    let mut fields = Fields::new();
    collect("", schema(spec), &mut fields);
    fields
}

fn collect(path: &str, schema: &Value, fields: &mut Fields) {
    let Some(schema) = schema.as_object() else { return };
    let mut alone = schema.clone();
    alone.retain(|key, _| !["properties", "items", "additionalProperties"].contains(&key.as_str()));
    fields.insert(path.to_owned(), alone);
    for (name, field) in schema.get("properties").and_then(Value::as_object).into_iter().flatten() {
        collect(&format!("{path}.{name}"), field, fields);
    }
    if let Some(item) = schema.get("items") {
        collect(&format!("{path}[]"), item, fields);
    }
    if let Some(value) = schema.get("additionalProperties") {
        collect(&format!("{path}.*"), value, fields);
    }
}

/// A field as it is written: without the dot of the root.
fn spelled(path: &str) -> &str {
    path.strip_prefix('.').unwrap_or(path)
}

/// The topmost fields of `wanted` that `served` does not have.
fn missing(wanted: &Value, served: &Value) -> Vec<String> {
    let served = fields(served);
    if served.is_empty() {
        return vec![format!("(all of version {})", keys::VERSION)];
    }
    let mut missing: Vec<String> = Vec::new();
    for path in fields(wanted).into_keys().filter(|path| !served.contains_key(path)) {
        if !missing.iter().any(|parent| is_below(spelled(&path), parent)) {
            missing.push(spelled(&path).to_owned());
        }
    }
    missing
}

fn is_below(path: &str, parent: &str) -> bool {
    path.strip_prefix(parent).is_some_and(|rest| rest.starts_with(['.', '[']))
}

/// What is different between the specs of two definitions, a line each.
fn differences(before: &Value, after: &Value) -> Vec<String> {
    let mut lines: Vec<String> = missing(after, before).iter().map(|path| format!("+ {path}")).collect();
    lines.extend(missing(before, after).iter().map(|path| format!("- {path}")));
    let (old, new) = (fields(before), fields(after));
    let changed = new.iter().filter(|(path, field)| old.get(*path).is_some_and(|before| before != *field));
    lines.extend(changed.map(|(path, field)| format!("~ {}: {}", spelled(path), Keys(&old[path], field))));
    let bare = |spec: &Value| {
        let mut spec = spec.clone();
        for version in spec["versions"].as_array_mut().into_iter().flatten() {
            version["schema"] = Value::Null;
        }
        spec
    };
    let (old, new) = (bare(before), bare(after));
    for key in ["conversion", "group", "names", "scope", "versions"] {
        if old[key] != new[key] {
            lines.push(format!("~ definition: {key}{}", columns(&old[key], &new[key])));
        }
    }
    lines
}

/// Says of two lists of versions whether it is the columns that `kubectl get` shows.
fn columns(old: &Value, new: &Value) -> &'static str {
    let differs = old[0]["additionalPrinterColumns"] != new[0]["additionalPrinterColumns"];
    if differs { " (columns of kubectl get)" } else { "" }
}

/// The keywords in which two schemas of one field differ.
struct Keys<'a>(&'a Map<String, Value>, &'a Map<String, Value>);

impl fmt::Display for Keys<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Keys(old, new) = self;
        let differs = |key: &&String| old.get(*key) != new.get(*key);
        let mut keys: Vec<&str> = old.keys().chain(new.keys()).filter(differs).map(String::as_str).collect();
        keys.sort_unstable();
        keys.dedup();
        f.write_str(&keys.join(", "))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ours() -> Value {
        imps_api::crd::crd()["spec"].clone()
    }

    fn at<'v>(spec: &'v mut Value, path: &str) -> &'v mut Map<String, Value> {
        let pointer = format!("/versions/0/schema/openAPIV3Schema{path}");
        spec.pointer_mut(&pointer).and_then(Value::as_object_mut).unwrap()
    }

    #[test]
    fn a_definition_that_knows_all_is_not_outdated_and_one_may_know_more() {
        assert_eq!(missing(&ours(), &ours()), Vec::<String>::new());
        let mut newer = ours();
        at(&mut newer, "/properties/spec/properties").insert("later".to_owned(), json!({"type": "string"}));
        assert_eq!(missing(&ours(), &newer), Vec::<String>::new());
        assert_eq!(differences(&ours(), &ours()), Vec::<String>::new());
    }

    #[test]
    fn what_is_missing_is_named_by_its_topmost_field() {
        let mut older = ours();
        at(&mut older, "/properties/status/properties").remove("targets");
        at(&mut older, "/properties/spec/properties/target/properties").remove("serviceAccounts");
        assert_eq!(missing(&ours(), &older), ["spec.target.serviceAccounts", "status.targets"]);
        assert_eq!(differences(&older, &ours()), ["+ spec.target.serviceAccounts", "+ status.targets"]);
        assert_eq!(differences(&ours(), &older), ["- spec.target.serviceAccounts", "- status.targets"]);
        assert_eq!(missing(&ours(), &json!({"versions": []})), ["(all of version v1alpha1)"]);
    }

    #[test]
    fn a_changed_field_is_named_with_what_changed() {
        let mut other = ours();
        at(&mut other, "/properties/status/properties/targets").insert("description".to_owned(), json!("x"));
        other["versions"][0]["additionalPrinterColumns"] = json!([]);
        assert_eq!(
            differences(&other, &ours()),
            ["~ status.targets: description", "~ definition: versions (columns of kubectl get)"]
        );
    }
}
