//! What the status and the events say: all of it true, nothing twice, and short.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use futures::StreamExt;
use kube::api::{DynamicObject, WatchEvent, WatchParams};
use serde_json::{Value, json};

use super::read::{condition, is_true, texts, version};
use super::stage::{Login, Scene, Solo};
use super::wait::{always, eventually};

const ROBOT: Login<'_> = ("robot", "first");
const NEXT: Login<'_> = ("robot", "second");
const IMAGE: &str = "reg.example/app";

fn names(namespaces: &[&str]) -> Value {
    json!({"namespaces": {"names": namespaces}})
}

/// How Helm, Flux and others judge an object (kubernetes-sigs/cli-utils:pkg/kstatus/status/generic.go).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Kstatus {
    /// As asked for.
    Current,
    /// On the way.
    InProgress,
    /// A person has to do something.
    Failed,
}

/// Judges an object.
pub(crate) fn kstatus(object: &DynamicObject) -> Kstatus {
    let status = &object.data["status"];
    let observed = status["observedGeneration"].as_i64();
    if observed.is_some() && observed != object.metadata.generation || is_true(status, "Reconciling") {
        Kstatus::InProgress
    } else if is_true(status, "Stalled") {
        Kstatus::Failed
    } else if condition(status, "Ready").is_none_or(|ready| ready["status"] == "True") {
        Kstatus::Current
    } else {
        Kstatus::InProgress
    }
}

#[tokio::test]
async fn a_good_status_has_the_originals_fields_and_is_current() {
    let Some(scene) = Scene::open().await else { return };
    let shop = scene.namespace("shop", json!({})).await;
    scene.source("hub", &[("reg.example", ROBOT)]).await;
    let grant = scene.grant("g", &["hub"], names(&[&shop])).await;
    let status = scene.ready_in(&grant, &[&shop]).await;
    let object = scene.read_grant(&grant).await;
    assert_eq!(kstatus(&object), Kstatus::Current);

    assert_eq!(status["status"], "Ready");
    assert_eq!(status["managedNamespaces"], json!([shop]));
    let source = format!("{}.hub", scene.home);
    assert_eq!(status["sourceSecretStatus"], json!({source: "Ok"}));
    let when: k8s_openapi::jiff::Timestamp =
        status["lastSuccessfulReconciliation"].as_str().unwrap().parse().unwrap();
    assert!((k8s_openapi::jiff::Timestamp::now().as_second() - when.as_second()).abs() < 60);
    assert!(status["reason"].is_null() && status["validitySeconds"].is_null(), "{status:#}");

    let kinds: Vec<&str> =
        status["conditions"].as_array().unwrap().iter().filter_map(|c| c["type"].as_str()).collect();
    assert_eq!(
        kinds,
        ["Ready", "SourcesReady", "TargetsSynced"],
        "Reconciling and Stalled only while they hold"
    );
    for condition in status["conditions"].as_array().unwrap() {
        assert_eq!((&condition["status"], &condition["reason"]), (&json!("True"), &json!("Succeeded")));
        assert_eq!(condition["observedGeneration"].as_i64(), object.metadata.generation);
        assert!(
            !condition["message"].as_str().unwrap().is_empty() && condition["lastTransitionTime"].is_string()
        );
    }
    let hub = json!({
        "name": "hub", "namespace": scene.home, "type": "kubernetes.io/dockerconfigjson", "state": "Ready",
        "registries": ["reg.example"],
    });
    assert_eq!(status["sources"], json!([hub]));
    assert_eq!(status["targets"], json!({"desired": 1, "synced": 1, "failed": 0, "conflict": 0}));

    // A change of the spec is seen, and what did not change keeps its time.
    scene.edit_grant(&grant, json!({"target": {"secret": {"labels": {"a": "b"}}}})).await;
    let later = scene.ready_in(&grant, &[&shop]).await;
    assert_eq!(
        later["observedGeneration"].as_i64(),
        object.metadata.generation.map(|generation| generation + 1)
    );
    let since = |status: &Value| condition(status, "SourcesReady").unwrap()["lastTransitionTime"].clone();
    assert_eq!(since(&later), since(&status));
}

#[tokio::test]
async fn ready_is_never_true_while_a_target_is_not_as_it_should_be() {
    let Some(scene) = Scene::open().await else { return };
    scene.source("hub", &[("reg.example", ROBOT)]).await;
    let shop = scene.namespace("shop", json!({})).await;
    let taken = scene.namespace("taken", json!({})).await;
    scene.put_secret(&taken, &scene.secret, "Opaque", &[], json!({})).await;
    let history = follow(&scene, "g").await;
    let grant = scene.grant("g", &["hub"], names(&[&shop, &taken])).await;
    scene.status(&grant, "a conflict", |status| status["targets"]["conflict"] == 1).await;
    assert_eq!(kstatus(&scene.read_grant(&grant).await), Kstatus::Failed);
    scene.source("hub", &[("reg.example", NEXT)]).await;
    scene.has_login(&shop, IMAGE, NEXT).await;
    scene.delete_secret(&taken, &scene.secret).await;
    scene.ready_in(&grant, &[&shop, &taken]).await;
    scene.put_secret(&scene.home, "unrelated", "Opaque", &[], json!({})).await;
    eventually("the history is complete", async || {
        let last = history.lock().unwrap().last().is_some_and(|status| is_true(status, "Ready"));
        if last { Ok(()) } else { Err("not yet".to_owned()) }
    })
    .await;
    let history = history.lock().unwrap().clone();
    assert_eq!(history[0], json!({"observedGeneration": -1}), "the server says that nobody has looked yet");
    assert!(history.len() >= 3, "{history:#?}");
    for status in history {
        let targets = &status["targets"];
        let done = targets["synced"] == 2 && targets["desired"] == 2;
        assert!(done || !is_true(&status, "Ready"), "{status:#}");
        assert_eq!(status["status"] == "Ready", is_true(&status, "Ready"), "{status:#}");
        assert!(!(is_true(&status, "Reconciling") && is_true(&status, "Stalled")), "{status:#}");
    }
}

/// Collects every status that an `ImagePullSecret` ever has.
async fn follow(scene: &Scene, word: &str) -> Arc<Mutex<Vec<Value>>> {
    let params = WatchParams::default().fields(&format!("metadata.name={}", scene.name(word)));
    let stream = scene.grants().watch(&params, "0").await.unwrap();
    let history = Arc::new(Mutex::new(Vec::<Value>::new()));
    let written = history.clone();
    tokio::spawn(async move {
        let mut stream = std::pin::pin!(stream);
        while let Some(Ok(event)) = stream.next().await {
            if let WatchEvent::Added(object) | WatchEvent::Modified(object) = event {
                written.lock().unwrap().push(object.data["status"].clone());
            }
        }
    });
    history
}

#[tokio::test]
async fn the_status_stays_short_however_much_fails() {
    const TAKEN: usize = 25;
    let Some(scene) = Scene::open().await else { return };
    scene.source("hub", &[("reg.example", ROBOT)]).await;
    for n in 0..TAKEN {
        let namespace = scene.namespace(&format!("n{n:02}"), json!({"labels": {"team": scene.id}})).await;
        scene.put_secret(&namespace, &scene.secret, "Opaque", &[], json!({})).await;
    }
    let by_label = json!({"namespaces": {"labels": [{"matchLabels": {"team": scene.id}}]}});
    let grant = scene.grant("g", &["hub"], by_label).await;
    let status = scene.status(&grant, "all conflict", |status| status["targets"]["conflict"] == TAKEN).await;
    let failures = status["failures"].as_array().unwrap();
    assert_eq!(failures.len(), 20);
    assert!(failures.iter().all(|failure| failure["reason"] == "TargetConflict"));
    let message = condition(&status, "TargetsSynced").unwrap()["message"].as_str().unwrap();
    assert!(message.starts_with(&format!("{TAKEN} namespaces not as it should be")), "{message}");
    assert!(texts(&status["managedNamespaces"]).next().is_none());
    // The status is written first, so it can be read before the event is there.
    scene.event(&grant, "TargetConflict", "left alone").await;
    let events = scene.events(&grant).await;
    assert_eq!(events.len(), 1, "one event, not one for each namespace: {events:#?}");
}

#[tokio::test]
async fn a_spec_that_makes_no_sense_is_said_to_be_so_and_changes_nothing() {
    let Some(scene) = Scene::open().await else { return };
    let shop = scene.namespace("shop", json!({})).await;
    scene.source("hub", &[("reg.example", ROBOT)]).await;
    let grant = scene.grant("g", &["hub"], names(&[&shop])).await;
    scene.ready_in(&grant, &[&shop]).await;
    let before = version(&scene.target(&shop).await.unwrap());
    let expression = |operator: &str, values: Value| {
        json!({"target": {"namespaces": {"names": [], "labels": [
            {"matchExpressions": [{"key": "k", "operator": operator, "values": values}]},
        ]}}})
    };
    let good = json!({"registry": {"credentials": [{"name": "hub", "namespace": scene.home}]},
                      "target": {"secret": {"name": scene.secret, "labels": null, "annotations": null},
                                 "namespaces": {"names": [&shop], "labels": null}}});
    let specs = [
        ("spec.target.namespaces.labels[0]", expression("Near", json!(["v"]))),
        ("spec.target.namespaces.labels[0]", expression("In", json!([]))),
        ("spec.target.secret.name", json!({"target": {"secret": {"name": "Not_A_Name"}}})),
        ("spec.target.secret.labels[\"a b\"]", json!({"target": {"secret": {"labels": {"a b": "c"}}}})),
        (
            "spec.registry.credentials[0].name",
            json!({"registry": {"credentials": [{"name": "A", "namespace": "b"}]}}),
        ),
    ];
    for (path, spec) in specs {
        scene.edit_grant(&grant, spec.clone()).await;
        let invalid =
            |status: &Value| condition(status, "Ready").is_some_and(|ready| ready["reason"] == "InvalidSpec");
        let status = scene.status(&grant, &format!("{path} is invalid"), invalid).await;
        let ready = condition(&status, "Ready").unwrap();
        assert!(ready["message"].as_str().unwrap().contains(path), "{path}: {ready}");
        assert_eq!(condition(&status, "Stalled").unwrap()["reason"], "InvalidSpec", "{path}");
        assert_eq!(status["status"], "Failed");
        assert_eq!(kstatus(&scene.read_grant(&grant).await), Kstatus::Failed, "{path}");
        assert_eq!(version(&scene.target(&shop).await.unwrap()), before, "{path}: the target stays");
        scene.edit_grant(&grant, good.clone()).await;
        scene.ready_in(&grant, &[&shop]).await;
    }
    scene.event(&grant, "ReconciliationFailed", "left as it is").await;
    assert_eq!(version(&scene.target(&shop).await.unwrap()), before);
}

#[tokio::test]
async fn while_suspended_nothing_is_written_and_nothing_is_taken_away() {
    let Some(scene) = Scene::open().await else { return };
    let shop = scene.namespace("shop", json!({"labels": {"team": scene.id}})).await;
    let yard = scene.namespace("yard", json!({"labels": {"team": scene.id}})).await;
    scene.source("hub", &[("reg.example", ROBOT)]).await;
    let by_label = json!({"namespaces": {"labels": [{"matchLabels": {"team": scene.id}}]}});
    let grant = scene.grant("g", &["hub"], by_label).await;
    scene.ready_in(&grant, &[&shop, &yard]).await;
    let before = version(&scene.target(&shop).await.unwrap());
    scene.edit_grant(&grant, json!({"suspend": true})).await;
    let suspended =
        |status: &Value| condition(status, "Ready").is_some_and(|ready| ready["reason"] == "Suspended");
    scene.status(&grant, "suspended", suspended).await;
    assert_eq!(kstatus(&scene.read_grant(&grant).await), Kstatus::InProgress);
    let page = scene.metrics().await;
    for line in [
        format!(r#"imps_imagepullsecret_suspended{{name="{grant}"}} 1"#),
        format!(r#"imps_imagepullsecret_ready{{name="{grant}",status="Unknown"}} 1"#),
    ] {
        assert!(page.lines().any(|found| found == line), "{line} is not in {page}");
    }

    scene.source("hub", &[("reg.example", NEXT)]).await;
    scene.tag_namespace(&shop, json!({"labels": {"team": null}})).await;
    let late = scene.namespace("late", json!({"labels": {"team": scene.id}})).await;
    scene.delete_secret(&yard, &scene.secret).await;
    always(Duration::from_millis(800), "all stays as it is", async || {
        let seen = (scene.target(&shop).await, scene.target(&yard).await, scene.target(&late).await);
        match seen {
            (Some(secret), None, None) if version(&secret) == before => Ok(()),
            (shop, yard, late) => {
                Err(format!("{:?}", [shop, yard, late].map(|s| s.map(|s| s.metadata.resource_version))))
            }
        }
    })
    .await;

    scene.edit_grant(&grant, json!({"suspend": false})).await;
    scene.has_login(&yard, IMAGE, NEXT).await;
    scene.has_login(&late, IMAGE, NEXT).await;
    scene.has_no_target(&shop).await;
    scene.ready_in(&grant, &[&yard, &late]).await;
}

#[tokio::test]
async fn an_event_is_sent_when_something_changes_and_not_again_after_a_restart() {
    let Some(mut solo) = Solo::open(&[]).await else { return };
    let scene = &solo.scene;
    scene.source("hub", &[("reg.example", ROBOT)]).await;
    scene.source_of("bad", imps_core::dockerconfig::Format::DockerConfigJson, br#"{"auths": []}"#).await;
    let shop = scene.namespace("shop", json!({})).await;
    let taken = scene.namespace("taken", json!({})).await;
    let target = |name: &str, namespaces: &[&str]| {
        let mut target = names(namespaces);
        target["secret"] = json!({ "name": name });
        target
    };
    let words = ["good", "degraded", "conflict"];
    let [good, degraded, conflict] = words.map(|word| scene.name(word));
    scene.put_secret(&taken, &conflict, "Opaque", &[], json!({})).await;
    scene.grant("good", &["hub"], target(&good, &[&shop])).await;
    scene.grant("degraded", &["hub", "bad"], target(&degraded, &[&shop])).await;
    scene.grant("conflict", &["hub"], target(&conflict, &[&shop, &taken])).await;
    scene.ready_in(&good, &[&shop]).await;
    scene.event(&good, "Reconciled", "1 namespace with Secret").await;
    scene.event(&degraded, "SourceCredentialsError", "auths in the docker config is a list").await;
    scene.event(&conflict, "TargetConflict", "left alone").await;
    let before = all_events(scene, &words).await;
    assert_eq!(before.iter().map(|(_, _, count)| count).sum::<i32>(), 3, "{before:#?}");

    always(Duration::from_secs(2), "no event while nothing changes", async || {
        let now = all_events(scene, &words).await;
        if now == before { Ok(()) } else { Err(format!("{now:#?}")) }
    })
    .await;
    solo.crash_and_restart().await;
    let scene = &solo.scene;
    let late = scene.namespace("late", json!({})).await;
    scene.edit_grant(&good, json!({"target": {"namespaces": {"names": [&shop, &late]}}})).await;
    scene.ready_in(&good, &[&shop, &late]).await;
    always(Duration::from_secs(2), "what was said is not said again", async || {
        let now = all_events(scene, &words[1..]).await;
        if now == before[1..] { Ok(()) } else { Err(format!("{now:#?}")) }
    })
    .await;
}

async fn all_events(scene: &Scene, words: &[&str]) -> Vec<(String, String, i32)> {
    let mut all = Vec::new();
    for word in words {
        all.extend(scene.events(&scene.name(word)).await);
    }
    all
}
