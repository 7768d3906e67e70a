//! From objects to the values of a case.

use std::collections::{BTreeMap, BTreeSet};

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use imps_api::{ImagePullSecret, keys, lower};
use imps_core::diagnosis::{
    Account, Case, Container, ContainerKind, Granted, Place, Pod, PullSecret, Settlement, Sight, SourceWord,
    Space, State, is_pull_reason, probe,
};
use imps_core::dockerconfig::{self, Format};
use imps_core::holding::{Holding, Sighting};
use imps_core::name::{SecretName, SecretRef, Uid, is_dns_label, is_dns_subdomain};
use imps_core::selector::{Selector, Tags};
use serde_json::{Value, json};
use zeroize::Zeroizing;

use super::{Testimony, none_among_manifests};
use crate::view::TargetView;

/// Lists of containers in a spec, and of what the status says about them.
const CONTAINERS: [(&str, &str, ContainerKind); 3] = [
    ("initContainers", "initContainerStatuses", ContainerKind::Init),
    ("containers", "containerStatuses", ContainerKind::Main),
    ("ephemeralContainers", "ephemeralContainerStatuses", ContainerKind::Ephemeral),
];

/// Reasons of events that are about images.
pub(super) const EVENT_REASONS: [&str; 4] =
    ["Failed", "FailedToRetrieveImagePullSecret", "InspectFailed", "ErrImageNeverPull"];

/// The case of a pod, with all that the testimony says about it.
pub(super) fn case(
    testimony: &Testimony,
    object: &Value,
    subject: &str,
    grants: Sight<Vec<Granted>>,
) -> Case {
    let pod = pod(testimony, object, subject);
    let here = pod.namespace.to_string();
    let account = account(testimony, &here, pod.account.as_str());
    let default_account = self::account(testimony, &here, "default");
    let named = |sight: &Sight<Account>| -> Vec<SecretName> {
        sight.seen().map(|account| account.pull_secrets.clone()).unwrap_or_default()
    };
    let targets = grants.seen().into_iter().flatten().filter_map(|granted| granted.grant.as_ref().ok());
    let targets: Vec<SecretName> = targets.map(|grant| grant.template.name.clone()).collect();
    let mut secrets: BTreeMap<SecretName, Sight<PullSecret>> = BTreeMap::new();
    for object in testimony.within("Secret", &here) {
        secrets.insert(name(object).into(), Sight::Seen(pull_secret(object)));
    }
    for name in
        pod.pull_secrets.iter().chain(&named(&account)).chain(&named(&default_account)).chain(&targets)
    {
        if !secrets.contains_key(name) {
            secrets.insert(name.clone(), testimony.unseen("Secret", &here, name.as_str()));
        }
    }
    let wanted: BTreeSet<&str> =
        secrets.iter().filter(|(_, sight)| sight.seen().is_none()).map(|(name, _)| name.as_str()).collect();
    let all = if wanted.is_empty() { &[] } else { testimony.of("Secret") };
    let elsewhere: Vec<SecretRef> = all
        .iter()
        .filter(|object| wanted.contains(name(object)) && namespace(object) != here)
        // A copy that an ImagePullSecret made for another namespace was not put there by mistake.
        .filter(|object| owners(object).is_empty())
        .map(|object| SecretRef::new(namespace(object), name(object)))
        .collect();
    let space = space(testimony, &here);
    let events = events(testimony, object);
    let probed = Vec::new();
    Case { pod, space, account, default_account, secrets, elsewhere, events, grants, probed }
}

/// What is known about a namespace.
pub(super) fn place(testimony: &Testimony, readings: &Readings, here: &str) -> Place {
    let grants = grants_in(testimony, readings, here);
    let holdings = readings.written.iter().map(|name| {
        let sight = match testimony.find("Secret", here, name) {
            Some(object) => holding(object),
            None => testimony.unseen("Secret", here, name),
        };
        (SecretName::from(name.as_str()), sight)
    });
    Place {
        namespace: here.into(),
        space: space(testimony, here),
        pods: pods(testimony, here),
        holdings: holdings.collect(),
        grants,
    }
}

/// A namespace with those who use pull secrets in it.
pub(super) fn settlement(testimony: &Testimony, readings: &Readings, here: &str) -> Settlement {
    let named = |account: &Value| pull_secrets(account.get("imagePullSecrets"));
    let accounts = match testimony.unseen::<()>("ServiceAccount", here, "") {
        Sight::Unseen(why) => Sight::Unseen(why),
        Sight::Seen(()) | Sight::Absent => {
            let accounts = testimony.within("ServiceAccount", here);
            Sight::Seen(accounts.map(|account| (name(account).into(), named(account))).collect())
        }
    };
    let place = place(testimony, readings, here);
    // Manifests without any pod tell nothing of pods, as the place knows.
    let pods = place.pods.as_ref().map(|_| {
        let living = testimony.within("Pod", here).filter(|pod| !has_ended(pod));
        living.map(|pod| (format!("pod/{}", name(pod)), references(testimony, here, pod))).collect()
    });
    Settlement { place, accounts, pods }
}

/// The pull secrets that a pod names, or would be given.
fn references(testimony: &Testimony, here: &str, object: &Value) -> Vec<SecretName> {
    let own = pull_secrets(object.pointer("/spec/imagePullSecrets"));
    if is_admitted(object) || !own.is_empty() {
        return own;
    }
    let name = object.pointer("/spec/serviceAccountName").and_then(Value::as_str).unwrap_or("default");
    account(testimony, here, name).seen().map_or_else(Vec::new, |account| account.pull_secrets.clone())
}

fn has_ended(pod: &Value) -> bool {
    let phase = pod.pointer("/status/phase").and_then(Value::as_str).unwrap_or_default();
    matches!(phase, "Succeeded" | "Failed")
}

fn space(testimony: &Testimony, here: &str) -> Sight<Space> {
    match testimony.of("Namespace").iter().find(|object| name(object) == here) {
        Some(object) => Sight::Seen(Space {
            labels: tags(object, "labels"),
            annotations: tags(object, "annotations"),
            terminating: is_deleted(object),
        }),
        None => testimony.unseen("Namespace", here, here),
    }
}

/// Labels and annotations of the pods in a namespace.
fn pods(testimony: &Testimony, here: &str) -> Sight<Vec<(Tags, Tags)>> {
    if let Sight::Unseen(why) = testimony.unseen::<()>("Pod", here, "") {
        return Sight::Unseen(why);
    }
    if testimony.offline && testimony.of("Pod").is_empty() {
        return Sight::Unseen(none_among_manifests("Pod"));
    }
    let living = testimony.within("Pod", here).filter(|pod| !is_deleted(pod));
    Sight::Seen(living.map(|pod| (tags(pod, "labels"), tags(pod, "annotations"))).collect())
}

/// What stands at the name of a target, as the operator sees it but for its values.
fn holding(object: &Value) -> Sight<Holding> {
    let mut bare = object.clone();
    if let Some(fields) = bare.as_object_mut() {
        fields.remove("data");
    }
    match serde_json::from_value::<TargetView>(bare) {
        Ok(view) => Sight::Seen(Sighting::from(view).into()),
        Err(_) => Sight::Unseen("it is no Secret that the API server would take".to_owned()),
    }
}

/// The names of Secrets that an `ImagePullSecret` writes, or may have written.
pub(super) fn written_names(grant: &Value) -> Vec<String> {
    let now = grant.pointer("/spec/target/secret/name").and_then(Value::as_str);
    let former = grant.pointer("/status/secretNames").and_then(Value::as_array).into_iter().flatten();
    let names = now.into_iter().chain(former.filter_map(Value::as_str));
    // A path of its own is asked for each of them.
    names.filter(|name| is_dns_subdomain(name)).map(str::to_owned).collect()
}

fn is_deleted(object: &Value) -> bool {
    object.pointer("/metadata/deletionTimestamp").is_some_and(|time| !time.is_null())
}

fn pod(testimony: &Testimony, object: &Value, subject: &str) -> Pod {
    let text = |pointer: &str| object.pointer(pointer).and_then(Value::as_str).unwrap_or_default();
    let admitted = is_admitted(object);
    let account = match text("/spec/serviceAccountName") {
        "" => "default",
        named => named,
    };
    let node = Some(text("/spec/nodeName").to_owned()).filter(|node| !node.is_empty());
    let images = node.as_ref().map(|node| images(testimony, node)).unwrap_or_default();
    Pod {
        namespace: namespace(object).into(),
        subject: subject.to_owned(),
        name: admitted.then(|| name(object).to_owned()),
        tags: (tags(object, "labels"), tags(object, "annotations")),
        node,
        account: account.into(),
        pull_secrets: pull_secrets(object.pointer("/spec/imagePullSecrets")),
        admitted,
        containers: CONTAINERS.iter().flat_map(|place| containers(object, place, &images)).collect(),
    }
}

/// What a node says that it has.
fn images(testimony: &Testimony, node: &str) -> Vec<probe::Place> {
    let found = testimony.of("Node").iter().find(|object| name(object) == node);
    let images = found.and_then(|node| node.pointer("/status/images")?.as_array()).into_iter().flatten();
    let names = images.filter_map(|image| image["names"].as_array()).flatten().filter_map(Value::as_str);
    names.filter_map(probe::place_of).collect()
}

fn containers(
    object: &Value,
    place: &(&str, &str, ContainerKind),
    on_node: &[probe::Place],
) -> Vec<Container> {
    let (list, statuses, kind) = place;
    let items = |pointer: String| object.pointer(&pointer).and_then(Value::as_array).into_iter().flatten();
    let text = |value: &Value, key: &str| value[key].as_str().unwrap_or_default().to_owned();
    let one = |container: &Value| Container {
        name: text(container, "name"),
        kind: *kind,
        image: text(container, "image"),
        pull_policy: pull_policy(container).to_owned(),
        on_node: probe::place_of(&text(container, "image")).is_some_and(|image| on_node.contains(&image)),
        state: items(format!("/status/{statuses}"))
            .find(|status| status["name"] == container["name"])
            .map_or(State::Unsaid, |status| state(&status["state"])),
    };
    items(format!("/spec/{list}")).map(one).collect()
}

/// What a container says, or what the API server writes down where it says nothing (kubernetes/kubernetes:
/// pkg/apis/core/v1/defaults.go `SetDefaults_Container`).
fn pull_policy(container: &Value) -> &str {
    let said = container["imagePullPolicy"].as_str().unwrap_or_default();
    let image = container["image"].as_str().unwrap_or_default();
    let name = image.rsplit('/').next().unwrap_or_default();
    match name.split_once(':') {
        _ if !said.is_empty() => said,
        _ if name.contains('@') => "IfNotPresent",
        None | Some((_, "latest")) => "Always",
        Some(_) => "IfNotPresent",
    }
}

fn state(state: &Value) -> State {
    let waiting = &state["waiting"];
    if waiting.is_object() {
        let text = |key: &str| waiting[key].as_str().unwrap_or_default().to_owned();
        return State::Waiting { reason: text("reason"), message: text("message") };
    }
    if state["running"].is_object() || state["terminated"].is_object() {
        State::Started
    } else {
        State::Unsaid
    }
}

/// Whether a pod exists, and is not only described.
pub(super) fn is_admitted(pod: &Value) -> bool {
    let has = |pointer: &str| pod.pointer(pointer).is_some_and(|value| !value.is_null());
    has("/metadata/uid") || has("/metadata/creationTimestamp") || has("/status/phase")
}

/// Whether the kubelet says of a container that it waits for its image.
pub(super) fn waits_for_an_image(pod: &Value) -> bool {
    let statuses =
        CONTAINERS.iter().filter_map(|(_, statuses, _)| pod.pointer(&format!("/status/{statuses}")));
    statuses.filter_map(Value::as_array).flatten().any(|status| {
        status.pointer("/state/waiting/reason").and_then(Value::as_str).is_some_and(is_pull_reason)
    })
}

/// The node of a pod that waits for an image which it would take from there.
pub(super) fn expectant_node(pod: &Value) -> Option<&str> {
    let containers =
        CONTAINERS.iter().filter_map(|(list, ..)| pod.pointer(&format!("/spec/{list}"))?.as_array());
    let takes = |container: &Value| matches!(pull_policy(container), "IfNotPresent" | "Never");
    let expects = waits_for_an_image(pod) && containers.flatten().any(takes);
    pod.pointer("/spec/nodeName").and_then(Value::as_str).filter(|_| expects)
}

/// What an object that makes pods would make, and what to call it.
pub(super) fn template(workload: &Value) -> Option<(Value, String)> {
    let template = workload.pointer("/spec/template")?;
    let mut pod = json!({"kind": "Pod", "metadata": template["metadata"], "spec": template["spec"]});
    if !pod["metadata"].is_object() {
        pod["metadata"] = json!({});
    }
    pod["metadata"]["namespace"] = namespace(workload).into();
    pod["metadata"]["name"] = Value::Null;
    let kind = workload["kind"].as_str().unwrap_or_default().to_lowercase();
    Some((pod, format!("{kind}/{}", name(workload))))
}

/// Whether an object is one that makes pods from a template.
pub(super) fn makes_pods(object: &Value) -> bool {
    object.pointer("/spec/template/spec/containers").is_some() && object.pointer("/spec/selector").is_some()
}

/// The selector of a workload over pods.
pub(super) fn selector(workload: &Value) -> Option<Selector> {
    let selector = workload.pointer("/spec/selector")?;
    let labels: Tags = serde_json::from_value(selector["matchLabels"].clone()).unwrap_or_default();
    let expressions = selector["matchExpressions"].as_array().into_iter().flatten();
    let built = expressions.clone().try_fold(Selector::exactly(labels.clone()), |selector, expression| {
        let values: Vec<String> = serde_json::from_value(expression["values"].clone()).unwrap_or_default();
        let text = |key: &str| expression[key].as_str().unwrap_or_default();
        selector.and(text("key"), text("operator"), &values)
    });
    // One without requirements would take every pod for its own.
    built.ok().filter(|_| !labels.is_empty() || expressions.count() > 0)
}

fn account(testimony: &Testimony, here: &str, name: &str) -> Sight<Account> {
    match testimony.find("ServiceAccount", here, name) {
        Some(object) => Sight::Seen(Account { pull_secrets: pull_secrets(object.get("imagePullSecrets")) }),
        // Kubernetes makes this one in every namespace; manifests rarely have it.
        None if testimony.offline && name == "default" && !testimony.of("ServiceAccount").is_empty() => {
            Sight::Seen(Account::default())
        }
        None => testimony.unseen("ServiceAccount", here, name),
    }
}

/// The names in a list of pull secrets; one without a name is legal and means nothing.
pub(super) fn pull_secrets(list: Option<&Value>) -> Vec<SecretName> {
    let entries = list.and_then(Value::as_array).into_iter().flatten();
    let names = entries.filter_map(|entry| entry["name"].as_str()).filter(|name| !name.is_empty());
    names.map(SecretName::new).collect()
}

fn pull_secret(object: &Value) -> PullSecret {
    let secret_type = object["type"].as_str().unwrap_or_default().to_owned();
    let key = Format::from_secret_type(&secret_type).map(Format::data_key);
    let value = key.and_then(|key| object["data"][key].as_str()).unwrap_or_default();
    PullSecret {
        data: Zeroizing::new(BASE64_STANDARD.decode(value).unwrap_or_default()),
        keys: object["data"].as_object().into_iter().flatten().map(|(key, _)| key.clone()).collect(),
        owners: owners(object),
        secret_type,
    }
}

/// The `ImagePullSecret`s that own an object.
fn owners(object: &Value) -> Vec<Uid> {
    let references = object.pointer("/metadata/ownerReferences").and_then(Value::as_array);
    let ours = references.into_iter().flatten().filter(|owner| owner["kind"] == keys::KIND);
    ours.filter_map(|owner| owner["uid"].as_str()).map(Uid::new).collect()
}

/// What events say about a pod, in the order of time.
fn events(testimony: &Testimony, pod: &Value) -> Vec<(Option<String>, String)> {
    let name = name(pod);
    if name.is_empty() {
        return Vec::new();
    }
    // A pod that was made anew under its name is another one.
    let own = pod.pointer("/metadata/uid").and_then(Value::as_str);
    let about = |event: &&Value| {
        let uid = regarded(event)["uid"].as_str();
        uid.is_none() || own.is_none() || uid == own
    };
    let events = testimony.events(namespace(pod), name);
    let mut events: Vec<&Value> = events.filter(about).filter(|event| is_of_a_pull(event)).collect();
    events.sort_by_key(|event| moment(event).to_owned());
    let container = |event: &Value| {
        let path = regarded(event)["fieldPath"].as_str()?;
        Some(path.split_once('{')?.1.trim_end_matches('}').to_owned())
    };
    events.into_iter().map(|event| (container(event), message(event).to_owned())).collect()
}

/// What an event is about, in either of the two groups that events come in.
pub(super) fn regarded(event: &Value) -> &Value {
    if event["involvedObject"].is_object() { &event["involvedObject"] } else { &event["regarding"] }
}

fn is_of_a_pull(event: &Value) -> bool {
    event["reason"].as_str().is_some_and(|reason| EVENT_REASONS.contains(&reason))
}

fn message(event: &Value) -> &str {
    event["message"].as_str().or(event["note"].as_str()).unwrap_or_default()
}

/// When it was last seen. Timestamps of one form are in the order of their texts.
fn moment(event: &Value) -> &str {
    let times = ["/lastTimestamp", "/series/lastObservedTime", "/eventTime", "/metadata/creationTimestamp"];
    times.iter().find_map(|pointer| event.pointer(pointer).and_then(Value::as_str)).unwrap_or_default()
}

/// The `ImagePullSecret`s, read once however many namespaces there are.
pub(super) struct Readings {
    grants: Vec<Reading>,
    /// The names of Secrets that they write, or may have written.
    written: BTreeSet<String>,
}

/// One of them, and what its status says of single namespaces.
struct Reading {
    granted: Granted,
    failures: BTreeMap<String, (String, String)>,
    managed: BTreeSet<String>,
}

/// Reads them.
pub(super) fn readings(testimony: &Testimony) -> Readings {
    let is_ours = |object: &&Value| {
        object["apiVersion"].as_str().is_some_and(|version| version.starts_with(&format!("{}/", keys::GROUP)))
    };
    let objects = testimony.of(keys::KIND).iter();
    Readings {
        grants: objects.clone().filter(is_ours).map(|object| reading(testimony, object)).collect(),
        written: objects.flat_map(written_names).collect(),
    }
}

/// What they mean for a namespace.
pub(super) fn grants_in(testimony: &Testimony, readings: &Readings, here: &str) -> Sight<Vec<Granted>> {
    if readings.grants.is_empty() {
        return testimony.unseen(keys::KIND, "", "");
    }
    let granted = |reading: &Reading| Granted {
        failure: reading.failures.get(here).cloned(),
        managed: reading.managed.contains(here),
        ..reading.granted.clone()
    };
    Sight::Seen(readings.grants.iter().map(granted).collect())
}

fn reading(testimony: &Testimony, object: &Value) -> Reading {
    let Ok(read) = serde_json::from_value::<ImagePullSecret>(object.clone()) else {
        let granted = Granted {
            name: name(object).into(),
            grant: Err("it does not fit the schema".to_owned()),
            sources: Vec::new(),
            failure: None,
            reported: false,
            former: Vec::new(),
            managed: false,
            leaving: is_deleted(object),
        };
        return Reading { granted, failures: BTreeMap::new(), managed: BTreeSet::new() };
    };
    let status = read.status.clone().unwrap_or_default();
    let fact = lower::lower(&read);
    let grant = fact
        .grant
        .map_err(|rejections| rejections.iter().map(ToString::to_string).collect::<Vec<_>>().join("; "));
    let told = status.sources.iter().map(|source| SourceWord {
        at: SecretRef::new(source.namespace.as_str(), source.name.as_str()),
        trouble: (!source.reason.is_empty()).then(|| (source.reason.clone(), source.message.clone())),
        registries: source.registries.clone(),
        expires: source.expires_at.map(|end| end.as_second()),
    });
    let mut sources: Vec<SourceWord> = told.collect();
    if sources.is_empty() {
        sources = grant.iter().flat_map(|grant| &grant.sources).map(|at| source(testimony, at)).collect();
    }
    // Of several failures in a namespace the first one is told.
    let failures = status.failures.into_iter().rev();
    Reading {
        granted: Granted {
            name: fact.identity.name,
            grant,
            sources,
            failure: None,
            // The API server gives every one a status, and -1 in it until somebody has reported.
            reported: read.status.is_some_and(|status| status.observed_generation != Some(-1)),
            former: status.secret_names.iter().map(SecretName::new).collect(),
            managed: false,
            leaving: fact.tenure.deleting,
        },
        failures: failures.map(|one| (one.namespace, (one.reason, one.message))).collect(),
        managed: status.managed_namespaces.into_iter().collect(),
    }
}

/// The namespaces that the status of an `ImagePullSecret` tells of.
pub(super) fn reported_namespaces(grant: &Value) -> Vec<String> {
    let texts = |pointer: &str| grant.pointer(pointer).and_then(Value::as_array).into_iter().flatten();
    let managed = texts("/status/managedNamespaces").filter_map(Value::as_str);
    let failing = texts("/status/failures").filter_map(|failure| failure["namespace"].as_str());
    // A long list ends with words.
    managed.chain(failing).filter(|name| is_dns_label(name)).map(str::to_owned).collect()
}

/// A source that no status tells of yet: what its Secret has, if that was read.
fn source(testimony: &Testimony, at: &SecretRef) -> SourceWord {
    let object = testimony.find("Secret", at.namespace.as_str(), at.name.as_str());
    let secret = object.map(pull_secret).unwrap_or_default();
    let parsed = Format::from_secret_type(&secret.secret_type)
        .and_then(|format| dockerconfig::parse(format, &secret.data).ok());
    let registries = parsed.iter().flat_map(|parsed| parsed.keyring.registries());
    SourceWord {
        at: at.clone(),
        trouble: None,
        registries: registries.map(|registry| registry.as_str().to_owned()).collect(),
        expires: None,
    }
}

/// Labels or annotations.
pub(super) fn tags(object: &Value, which: &str) -> Tags {
    serde_json::from_value(object["metadata"][which].clone()).unwrap_or_default()
}

/// The name; empty when it has none.
pub(super) fn name(object: &Value) -> &str {
    object.pointer("/metadata/name").and_then(Value::as_str).unwrap_or_default()
}

/// The namespace, or the one that kubectl would take.
pub(super) fn namespace(object: &Value) -> &str {
    object.pointer("/metadata/namespace").and_then(Value::as_str).unwrap_or("default")
}
