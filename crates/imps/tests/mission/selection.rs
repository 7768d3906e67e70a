//! Who gets a Secret: by name, label, annotation and pod, now and after every change.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use imps_api::keys;
use imps_cluster::rules::Needs;
use imps_core::name::SecretRef;
use kube::api::{DeleteParams, Patch, PatchParams};
use serde_json::{Value, json};

use super::stage::{Login, SCENE, Scene};
use super::wait::{always, assert_prompt};

const ROBOT: Login<'_> = ("robot", "secret:with a colon");
const IMAGE: &str = "reg.example/team/app:1";

/// A rule under `spec.target`, and the namespaces that it selects.
struct Case {
    name: &'static str,
    target: Value,
    selects: &'static [&'static str],
}

fn case(name: &'static str, target: Value, selects: &'static [&'static str]) -> Case {
    Case { name, target, selects }
}

/// The namespaces of the scene: `red`, `blue`, `bare`, and the one of the sources.
fn cases(id: &str) -> Vec<Case> {
    let labels = |selector: Value| {
        let mut selector = selector;
        selector["matchLabels"][SCENE] = json!(id);
        json!({"namespaces": {"labels": [selector]}})
    };
    let annotations = |selector: Value| {
        let mut selector = selector;
        selector["matchAnnotations"][SCENE] = json!(id);
        json!({"namespaces": {"annotations": [selector]}})
    };
    let all_but = |exclude: Value| {
        let mine = json!({"matchLabels": {SCENE: id}});
        json!({"namespaces": {"labels": [mine]}, "exclude": exclude})
    };
    let where_ = |key: &str, operator: &str, values: Value| {
        let mut expression = json!({"key": key, "operator": operator});
        if values.is_array() {
            expression["values"] = values;
        }
        json!({"matchExpressions": [expression]})
    };
    let elsewhere = where_(SCENE, "NotIn", json!([id]));
    vec![
        case(
            "exact",
            json!({"namespaces": {"names": [format!("red-{id}"), format!("none-{id}")]}}),
            &["red"],
        ),
        case("glob", json!({"namespaces": {"names": [format!("b*-{id}")]}}), &["blue", "bare"]),
        case("label", labels(json!({"matchLabels": {"color": "red"}})), &["red"]),
        case("labelin", labels(where_("color", "In", json!(["red", "green"]))), &["red"]),
        case("labelnotin", labels(where_("color", "NotIn", json!(["red"]))), &["blue", "bare", "home"]),
        case("labelexists", labels(where_("color", "Exists", json!(null))), &["red", "blue"]),
        case("labelabsent", labels(where_("color", "DoesNotExist", json!(null))), &["bare", "home"]),
        case(
            "all",
            json!({"namespaces": {"labels": [{}]}, "exclude": {"labels": [elsewhere]}}),
            &["red", "blue", "bare", "home"],
        ),
        case("note", annotations(json!({"matchAnnotations": {"owner": "ann"}})), &["red"]),
        case("notein", annotations(where_("owner", "In", json!(["ann", "eve"]))), &["red"]),
        case("notenotin", annotations(where_("owner", "NotIn", json!(["ann"]))), &["blue", "bare"]),
        case("noteexists", annotations(where_("owner", "Exists", json!(null))), &["red", "blue"]),
        case("noteabsent", annotations(where_("owner", "DoesNotExist", json!(null))), &["bare"]),
        case(
            "any",
            json!({"namespaces": {
                "names": [format!("bare-{id}")], "labels": [{"matchLabels": {"color": "red", SCENE: id}}],
            }}),
            &["red", "bare"],
        ),
        case("nothing", json!({}), &[]),
        case("nothingatall", json!({"namespaces": {}, "namespacesWithPods": {}}), &[]),
        case("exclname", all_but(json!({"names": [format!("red-{id}")]})), &["blue", "bare", "home"]),
        case("exclglob", all_but(json!({"names": ["b*", "home*"]})), &["red"]),
        case(
            "excllabel",
            all_but(where_list("labels", where_("color", "Exists", json!(null)))),
            &["bare", "home"],
        ),
        case(
            "exclnote",
            all_but(json!({"annotations": [{"matchAnnotations": {"owner": "ann"}}]})),
            &["blue", "bare", "home"],
        ),
        case(
            "exclwins",
            json!({"namespaces": {"names": [format!("red-{id}")]}, "exclude": {"names": [format!("red-{id}")]}}),
            &[],
        ),
    ]
}

fn where_list(key: &str, selector: Value) -> Value {
    json!({key: [selector]})
}

#[tokio::test]
async fn each_rule_selects_just_the_namespaces_that_it_describes() {
    let Some(scene) = Scene::open().await else { return };
    let note = |owner: &str| json!({"owner": owner, SCENE: scene.id});
    scene.namespace("red", json!({"labels": {"color": "red"}, "annotations": note("ann")})).await;
    scene.namespace("blue", json!({"labels": {"color": "blue"}, "annotations": note("bob")})).await;
    scene.namespace("bare", json!({"annotations": {SCENE: scene.id}})).await;
    scene.source("hub", &[("reg.example", ROBOT)]).await;

    let cases = cases(&scene.id);
    let mut needs = Needs { pods: true, ..Needs::default() };
    needs.sources.insert(SecretRef::new(scene.home.as_str(), "hub"));
    needs.targets.extend(cases.iter().map(|case| scene.name(case.name).into()));
    scene.permit(&needs).await;
    for case in &cases {
        let mut target = case.target.clone();
        target["secret"] = json!({"name": scene.name(case.name)});
        scene.grant_as_is(case.name, scene.spec(&["hub"], target)).await;
    }
    for Case { name, selects, .. } in &cases {
        let wanted: BTreeSet<String> = selects.iter().map(|word| scene.name(word)).collect();
        let listed: Vec<&str> = wanted.iter().map(String::as_str).collect();
        scene.ready_in(&scene.name(name), &listed).await;
        assert_eq!(scene.holders(&scene.name(name)).await, wanted, "{name}");
    }
}

#[tokio::test]
async fn a_namespace_is_served_promptly_when_it_comes_and_when_its_labels_change() {
    let Some(scene) = Scene::open().await else { return };
    scene.source("hub", &[("reg.example", ROBOT)]).await;
    let grant = scene
        .grant("g", &["hub"], json!({"namespaces": {"labels": [{"matchLabels": {"team": scene.id}}]}}))
        .await;
    scene.ready_in(&grant, &[]).await;

    let mut took = Took::default();
    for round in ["one", "two", "three"] {
        let start = Instant::now();
        let shop = scene.namespace(round, json!({"labels": {"team": scene.id}})).await;
        scene.has_login(&shop, IMAGE, ROBOT).await;
        took.created.push(start.elapsed());

        let start = Instant::now();
        scene.tag_namespace(&shop, json!({"labels": {"team": null}})).await;
        scene.has_no_target(&shop).await;
        took.left.push(start.elapsed());

        let start = Instant::now();
        scene.tag_namespace(&shop, json!({"labels": {"team": scene.id}})).await;
        scene.has_login(&shop, IMAGE, ROBOT).await;
        took.joined.push(start.elapsed());
    }
    assert_prompt("a new namespace is served", &took.created);
    assert_prompt("a namespace that no longer matches loses its secret", &took.left);
    assert_prompt("a namespace that matches now is served", &took.joined);
    let all: Vec<String> = ["one", "two", "three"].map(|word| scene.name(word)).into();
    scene.ready_in(&grant, &all.iter().map(String::as_str).collect::<Vec<_>>()).await;
}

#[derive(Default)]
struct Took {
    created: Vec<Duration>,
    left: Vec<Duration>,
    joined: Vec<Duration>,
}

#[tokio::test]
async fn a_namespace_is_served_while_it_has_a_pod_that_matches() {
    let Some(scene) = Scene::open().await else { return };
    scene.source("hub", &[("reg.example", ROBOT)]).await;
    let shop = scene.namespace("shop", json!({})).await;
    let yard = scene.namespace("yard", json!({})).await;
    let other = scene.namespace("other", json!({})).await;
    scene.pod(&other, "unrelated", json!({"labels": {"app": "other"}})).await;
    let by_pod = json!({"namespacesWithPods": {
        "labels": [{"matchLabels": {"pull": scene.id}}],
        "annotations": [{"matchAnnotations": {"pull": scene.id}}],
    }});
    let grant = scene.grant("g", &["hub"], by_pod).await;
    scene.ready_in(&grant, &[]).await;

    let start = Instant::now();
    let labelled = scene.pod(&shop, "labelled", json!({"labels": {"pull": scene.id}})).await;
    scene.has_login(&shop, IMAGE, ROBOT).await;
    let pod_came = start.elapsed();
    let annotated = scene.pod(&yard, "annotated", json!({"annotations": {"pull": scene.id}})).await;
    scene.has_login(&yard, IMAGE, ROBOT).await;
    scene.ready_in(&grant, &[&shop, &yard]).await;

    // A second one takes over before the first one goes: the Secret stays the same.
    let before = scene.target(&shop).await.unwrap();
    let second = scene.pod(&shop, "second", json!({"labels": {"pull": scene.id}})).await;
    delete_pod(&scene, &shop, &labelled).await;
    let relabel = Patch::Merge(json!({"metadata": {"annotations": {"pull": null}}}));
    scene.pods(&yard).patch(&annotated, &PatchParams::default(), &relabel).await.unwrap();
    scene.has_no_target(&yard).await;
    assert_eq!(scene.target(&shop).await, Some(before));

    let start = Instant::now();
    delete_pod(&scene, &shop, &second).await;
    scene.has_no_target(&shop).await;
    let pod_went = start.elapsed();
    let relabel = Patch::Merge(json!({"metadata": {"labels": {"pull": scene.id}}}));
    scene.pods(&yard).patch(&annotated, &PatchParams::default(), &relabel).await.unwrap();
    scene.has_login(&yard, IMAGE, ROBOT).await;
    scene.ready_in(&grant, &[&yard]).await;
    assert_prompt("a pod brings the secret", &[pod_came]);
    assert_prompt("the last pod takes it along", &[pod_went]);
}

#[tokio::test]
async fn a_pod_that_is_being_deleted_does_not_count() {
    let Some(scene) = Scene::open().await else { return };
    scene.source("hub", &[("reg.example", ROBOT)]).await;
    let shop = scene.namespace("shop", json!({})).await;
    let by_pod = json!({"namespacesWithPods": {"labels": [{"matchLabels": {"pull": scene.id}}]}});
    let grant = scene.grant("g", &["hub"], by_pod).await;
    let held = json!({"labels": {"pull": scene.id}, "finalizers": ["example.com/held"]});
    let pod = scene.pod(&shop, "held", held).await;
    scene.has_login(&shop, IMAGE, ROBOT).await;

    delete_pod(&scene, &shop, &pod).await;
    let seen = scene.pods(&shop).get(&pod).await.unwrap();
    assert!(seen.metadata.deletion_timestamp.is_some(), "the finalizer holds the pod");
    scene.has_no_target(&shop).await;
    // News about it do not bring the Secret back.
    let touch = Patch::Merge(json!({"metadata": {"annotations": {"touched": "yes"}}}));
    scene.pods(&shop).patch(&pod, &PatchParams::default(), &touch).await.unwrap();
    always(Duration::from_millis(500), "no secret for a pod that goes", async || {
        if scene.target(&shop).await.is_none() { Ok(()) } else { Err("there is one".to_owned()) }
    })
    .await;
    scene.ready_in(&grant, &[]).await;
    let free = Patch::Merge(json!({"metadata": {"finalizers": null}}));
    scene.pods(&shop).patch(&pod, &PatchParams::default(), &free).await.unwrap();
}

async fn delete_pod(scene: &Scene, namespace: &str, pod: &str) {
    let now = DeleteParams { grace_period_seconds: Some(0), ..DeleteParams::default() };
    scene.pods(namespace).delete(pod, &now).await.unwrap();
}

#[tokio::test]
async fn a_namespace_opts_out_and_what_it_was_given_is_taken_back() {
    let Some(scene) = Scene::open().await else { return };
    scene.source("hub", &[("reg.example", ROBOT)]).await;
    let tags = |annotations: Value| json!({"labels": {"team": scene.id}, "annotations": annotations});
    let shop = scene.namespace("shop", tags(json!({}))).await;
    // Ours, and those of the tools that imps replaces.
    let mut out = Vec::new();
    for (index, opt_out) in keys::OPT_OUTS.iter().enumerate() {
        let namespace = scene.namespace(&format!("out{index}"), tags(json!({}))).await;
        out.push((namespace, opt_out));
    }
    let everywhere = json!({"namespaces": {"labels": [{"matchLabels": {"team": scene.id}}]}});
    let grant = scene.grant("g", &["hub"], everywhere).await;
    let mut all: Vec<&str> = out.iter().map(|(namespace, _)| namespace.as_str()).collect();
    all.push(&shop);
    scene.ready_in(&grant, &all).await;
    for (namespace, opt_out) in &out {
        scene.tag_namespace(namespace, json!({"annotations": {opt_out.key: "true"}})).await;
        scene.has_no_target(namespace).await;
    }
    scene.ready_in(&grant, &[&shop]).await;
    // One that opts out from the beginning never gets anything.
    let never = scene.namespace("never", tags(json!({keys::OPT_OUTS[0].key: "true"}))).await;
    let later = scene.namespace("later", tags(json!({}))).await;
    scene.has_login(&later, IMAGE, ROBOT).await;
    assert!(scene.target(&never).await.is_none());
    for (namespace, opt_out) in &out {
        scene.tag_namespace(namespace, json!({"annotations": {opt_out.key: "false"}})).await;
        scene.has_login(namespace, IMAGE, ROBOT).await;
    }
}
