//! Each mode of `imps rbac` on a cluster that is full of other people's Secrets: a whole life from the printed roles
//! alone, and nothing beyond them can be read.

use std::collections::BTreeSet;

use imps_testbed::manifest;
use k8s_openapi::api::core::v1::Secret;
use kube::ResourceExt;
use kube::api::{Api, ListParams};
use serde_json::{Value, json};

use super::permission::{Life, code, nothing_is_missed_and_nothing_is_left_over};
use super::stage::{Empty, Login, Scene, Solo};
use super::wait::{eventually, say};

const ROBOT: Login<'_> = ("robot", "first");
const IMAGE: &str = "reg.example/app";

/// How many namespaces of others there are, and how many Secrets in each.
const STRANGERS: (usize, usize) = (10, 6);

/// Namespace and name of a Secret.
type Place = (String, String);

/// Fills the cluster with Secrets that are none of imps's business. Some stand at the name that it writes elsewhere.
async fn seed(scene: &Scene, life: &Life) {
    let mut places = vec![life.shop.clone(), life.yard.clone(), scene.home.clone(), "default".to_owned()];
    for n in 0..STRANGERS.0 {
        places.push(scene.namespace(&format!("stranger{n}"), json!({})).await);
    }
    for namespace in &places {
        for n in 0..STRANGERS.1 {
            let name = scene.name(&format!("private{n}"));
            let (kind, data): (&str, &[(&str, &[u8])]) = match n % 3 {
                0 => ("Opaque", &[("key", b"value")]),
                1 => ("kubernetes.io/dockerconfigjson", &[(".dockerconfigjson", br#"{"auths":{}}"#)]),
                _ => ("kubernetes.io/basic-auth", &[("username", b"u"), ("password", b"p")]),
            };
            scene.put_secret(namespace, &name, kind, data, json!({})).await;
        }
    }
    // In the last one.
    scene
        .put_secret(&places[places.len() - 1], &scene.secret, "Opaque", &[("key", b"value")], json!({}))
        .await;
}

/// All Secrets of the cluster, and those of them that the operator's identity can read in some way.
async fn readable(scene: &Scene) -> (BTreeSet<Place>, BTreeSet<Place>) {
    let place = |secret: &Secret| (secret.namespace().unwrap(), secret.name_any());
    let all = Api::<Secret>::all(scene.client.clone()).list(&ListParams::default()).await.unwrap();
    let all: BTreeSet<Place> = all.iter().map(place).collect();
    let client = scene.operator_client().await;
    let mut readable = BTreeSet::new();
    for (namespace, name) in &all {
        let secrets = Api::<Secret>::namespaced(client.clone(), namespace);
        let named = ListParams::default().fields(&format!("metadata.name={name}"));
        let got = code(secrets.get(name).await).is_none();
        let listed = code(secrets.list(&named).await).is_none();
        let described = code(secrets.list_metadata(&named).await).is_none();
        if got || listed || described {
            readable.insert((namespace.clone(), name.clone()));
        }
    }
    (all, readable)
}

/// Whether the operator's identity can list Secrets without naming one, anywhere.
async fn lists_freely(scene: &Scene, namespaces: &[&str]) -> bool {
    let client = scene.operator_client().await;
    let all = ListParams::default();
    let mut free = code(Api::<Secret>::all(client.clone()).list(&all).await).is_none();
    for namespace in namespaces {
        free |= code(Api::<Secret>::namespaced(client.clone(), namespace).list(&all).await).is_none();
    }
    free
}

/// A whole life under the roles that `imps rbac` prints with these arguments. The operator has no other right.
async fn live(
    arguments: impl Fn(&Life) -> Vec<String>,
    controller: impl Fn(&Life) -> Vec<String>,
) -> Option<(Solo, Life)> {
    let empty = Solo::empty_on_pages().await?;
    let life = Life::prepare(&empty.scene).await;
    seed(&empty.scene, &life).await;
    let (mode, controller) = (arguments(&life), controller(&life));
    let documents = life.rights(&empty.scene, &borrowed(&mode));
    empty.scene.give(&documents).await;
    let mut solo = Solo::begin(empty, &borrowed(&controller)).await;
    life.play(&mut solo).await;
    let requests = nothing_is_missed_and_nothing_is_left_over(&solo, &documents);
    say(&format!("{mode:?}: {} requests, none forbidden, no right unused", requests.len()));
    Some((solo, life))
}

fn borrowed(words: &[String]) -> Vec<&str> {
    words.iter().map(String::as_str).collect()
}

fn words(words: &[&str]) -> Vec<String> {
    words.iter().map(|word| (*word).to_owned()).collect()
}

#[tokio::test]
async fn with_named_rights_no_secret_but_targets_and_sources_is_readable() {
    let Some((solo, life)) = live(|_| words(&["--mode=named"]), |_| Vec::new()).await else { return };
    let scene = &solo.scene;
    let (all, readable) = readable(scene).await;
    let declared =
        |(namespace, name): &&Place| *name == scene.secret || (*namespace == scene.home && name == "hub");
    let declared: BTreeSet<Place> = all.iter().filter(declared).cloned().collect();
    assert_eq!(readable, declared);
    let beyond = all.len() - declared.len();
    assert!(beyond >= 50 && declared.len() == 4, "{beyond} others, and {declared:?}");
    assert!(!lists_freely(scene, &[&life.shop, &life.yard, &scene.home]).await);
    say(&format!("{beyond} Secrets probed, none of them readable"));
    life.end(scene).await;
}

#[tokio::test]
async fn with_namespaced_rights_the_same_name_elsewhere_is_not_readable() {
    let namespaces = |life: &Life| format!("--namespaces={},{}", life.shop, life.yard);
    let mode = |life: &Life| vec!["--mode=namespaced".to_owned(), namespaces(life)];
    let Some((solo, life)) = live(mode, |life| vec![namespaces(life)]).await else { return };
    let scene = &solo.scene;
    let (all, readable) = readable(scene).await;
    let declared = |(namespace, name): &&Place| {
        let served = [&life.shop, &life.yard].contains(&namespace);
        (served && *name == scene.secret) || (*namespace == scene.home && name == "hub")
    };
    let declared: BTreeSet<Place> = all.iter().filter(declared).cloned().collect();
    assert_eq!(readable, declared);
    let beyond = all.len() - declared.len();
    assert!(beyond >= 50 && declared.len() == 3, "{beyond} others, and {declared:?}");
    let elsewhere =
        all.iter().any(|(namespace, name)| *name == scene.secret && namespace.contains("stranger"));
    assert!(elsewhere, "the name stands in a namespace that is not served");
    assert!(!lists_freely(scene, &[&life.shop, &life.yard, &scene.home]).await);
    say(&format!("{beyond} Secrets probed, none of them readable"));
    life.end(scene).await;
}

#[tokio::test]
async fn with_rights_on_the_cluster_everything_is_readable_as_the_output_says() {
    let Some((solo, life)) = live(|_| words(&["--mode=cluster"]), |_| Vec::new()).await else { return };
    let (all, readable) = readable(&solo.scene).await;
    assert_eq!(readable, all, "whoever chooses this mode is warned of it");
    life.end(&solo.scene).await;
}

/// Roles for two namespaces, of which the operator serves both and has been given just one.
async fn half(empty: &Empty, life: &Life) -> (Vec<Value>, Vec<Value>) {
    let namespaces = format!("--namespaces={},{}", life.shop, life.yard);
    let documents = life.rights(&empty.scene, &["--mode=namespaced", &namespaces]);
    let (withheld, given): (Vec<Value>, Vec<Value>) =
        documents.into_iter().partition(|document| document["metadata"]["namespace"] == life.yard.as_str());
    assert_eq!(withheld.len(), 2, "a role and its binding");
    (given, withheld)
}

#[tokio::test]
async fn a_served_namespace_without_its_role_holds_up_no_other_and_heals_when_it_comes() {
    let Some(empty) = Solo::empty_on_pages().await else { return };
    let life = Life::prepare(&empty.scene).await;
    let (given, withheld) = half(&empty, &life).await;
    empty.scene.give(&given).await;
    let namespaces = format!("--namespaces={},{}", life.shop, life.yard);
    let mut solo = Solo::begin(empty, &[&namespaces]).await;
    let grant = solo.scene.grant_as_is("g", life.spec.clone()).await;
    solo.scene.has_login(&life.shop, IMAGE, ROBOT).await;
    // It is ready without it, too.
    solo.crash_and_restart().await;
    let scene = &solo.scene;
    let status = scene.status(&grant, "one failed", |status| status["targets"]["failed"] == 1).await;
    assert_eq!(status["targets"]["synced"], 1);
    assert_eq!(status["failures"][0]["namespace"], life.yard.as_str());
    assert_eq!(status["failures"][0]["reason"], "TargetForbidden");
    let message = status["failures"][0]["message"].as_str().unwrap();
    assert!(message.contains("in namespace") && message.contains("imps rbac"), "{message}");

    manifest::apply(&scene.client, &withheld).await.unwrap();
    scene.ready_in(&grant, &[&life.shop, &life.yard]).await;
}

#[tokio::test]
async fn selected_namespaces_that_are_not_served_are_left_out_and_named() {
    let Some(empty) = Solo::empty_on_pages().await else { return };
    let life = Life::prepare(&empty.scene).await;
    let (given, _) = half(&empty, &life).await;
    empty.scene.give(&given).await;
    let solo = Solo::begin(empty, &["--namespaces", &life.shop]).await;
    let scene = &solo.scene;
    let grant = scene.grant_as_is("g", life.spec.clone()).await;
    let status = scene.ready_in(&grant, &[&life.shop]).await;
    assert_eq!((&status["targets"]["desired"], &status["targets"]["leftOut"]), (&json!(1), &json!(1)));
    let message = super::read::condition(&status, "Ready").unwrap()["message"].as_str().unwrap();
    assert!(message.contains("left out") && message.contains(&life.yard), "{message}");
    assert!(scene.target(&life.yard).await.is_none());
    eventually("the metric says so", async || {
        let (_, page) = solo.operator.get("/metrics").await.map_err(|error| error.to_string())?;
        let line = format!(r#"imps_targets{{name="{grant}",state="left-out"}} 1"#);
        if page.contains(&line) { Ok(()) } else { Err(page) }
    })
    .await;
    // One that comes later is served or left out as well.
    let later = scene.namespace("later", json!({"labels": {"team": scene.id}})).await;
    scene.status(&grant, "two are left out", |status| status["targets"]["leftOut"] == 2).await;
    assert!(scene.target(&later).await.is_none());
    let requests = solo.requests();
    let outside = requests.iter().filter(|request| {
        let namespace = request["objectRef"]["namespace"].as_str().unwrap_or_default();
        request["objectRef"]["resource"] == "secrets"
            && ![life.shop.as_str(), &scene.home].contains(&namespace)
    });
    assert_eq!(outside.count(), 0, "nothing is even asked about Secrets elsewhere");
}
