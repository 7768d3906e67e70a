//! Never worse: what works stays until the user takes it away, whatever fails, also over a restart of imps.

use std::time::{Duration, Instant};

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use imps_core::dockerconfig::Format;
use k8s_openapi::api::core::v1::Secret;
use serde_json::{Value, json};

use super::read::{docker_config, kubelet_uses, registries, version};
use super::stage::{Login, Scene, Solo};
use super::wait::always;

const ROBOT: Login<'_> = ("robot", "first");
const NEXT: Login<'_> = ("robot", "second");

fn names(namespaces: &[&str]) -> Value {
    json!({"namespaces": {"names": namespaces}})
}

fn failing(status: &Value) -> bool {
    status["sources"][0]["state"] != "Ready" && status["sources"][0]["state"] != "Unknown"
}

async fn write_json(scene: &Scene, name: &str, document: &Value) {
    scene.source_of(name, Format::DockerConfigJson, document.to_string().as_bytes()).await;
}

#[tokio::test]
async fn a_source_that_breaks_takes_nothing_away() {
    let Some(scene) = Scene::open().await else { return };
    let shop = scene.namespace("shop", json!({})).await;
    scene.source("hub", &[("a.example", ROBOT), ("b.example", ROBOT)]).await;
    scene.source("other", &[("c.example", ROBOT)]).await;
    let grant = scene.grant("g", &["hub", "other"], names(&[&shop])).await;
    let good = scene.has_login(&shop, "a.example/app", ROBOT).await;
    scene.ready_in(&grant, &[&shop]).await;

    let login = |password: &str| json!({"username": "robot", "password": password});
    let breakages = [
        ("not an object", json!({"auths": []})),
        ("emptied", json!({"auths": {}})),
        ("no auths", json!({})),
        ("one entry broken", json!({"auths": {"a.example": {"auth": "%"}, "b.example": login("first")}})),
        ("all entries broken", json!({"auths": {"a.example": {"auth": "%"}, "b.example": 5}})),
    ];
    for (what, document) in breakages {
        write_json(&scene, "hub", &document).await;
        scene.status(&grant, what, failing).await;
        assert_eq!(version(&scene.target(&shop).await.unwrap()), version(&good), "{what}");
        scene.source("hub", &[("a.example", ROBOT), ("b.example", ROBOT)]).await;
        scene.ready_in(&grant, &[&shop]).await;
    }
    // Deleted and made anew with another type, as deployment tools do it.
    scene.delete_secret(&scene.home, "hub").await;
    scene.put_secret(&scene.home, "hub", "Opaque", &[("x", b"y")], json!({})).await;
    scene
        .status(&grant, "another type", |status| status["sources"][0]["reason"] == "SourceTypeUnsupported")
        .await;
    assert_eq!(version(&scene.target(&shop).await.unwrap()), version(&good), "another type");

    // While one fails, the other one's change arrives and the failing one's entries stay.
    scene.source("other", &[("c.example", NEXT)]).await;
    let rotated = scene.has_login(&shop, "c.example/app", NEXT).await;
    assert_eq!(kubelet_uses(&rotated, "a.example/app").unwrap().len(), 1);
    assert_eq!(kubelet_uses(&rotated, "b.example/app").unwrap().len(), 1);
}

#[tokio::test]
async fn what_the_user_takes_away_goes_at_once() {
    let Some(scene) = Scene::open().await else { return };
    let shop = scene.namespace("shop", json!({})).await;
    scene.source("hub", &[("a.example", ROBOT), ("b.example", ROBOT)]).await;
    scene.source("other", &[("c.example", ROBOT)]).await;
    let grant = scene.grant("g", &["hub", "other"], names(&[&shop])).await;
    let secret = scene.has_login(&shop, "b.example/app", ROBOT).await;
    // A key that the source no longer has.
    scene.source("hub", &[("a.example", ROBOT)]).await;
    has_registries(&scene, &shop, &["a.example", "c.example"]).await;
    // A source that the spec no longer lists, also while it fails.
    write_json(&scene, "other", &json!({"auths": []})).await;
    scene.status(&grant, "the other one fails", |status| status["sources"][1]["state"] == "Failing").await;
    has_registries(&scene, &shop, &["a.example", "c.example"]).await;
    let credentials = json!([{"name": "hub", "namespace": scene.home}]);
    scene.edit_grant(&grant, json!({"registry": {"credentials": credentials}})).await;
    let left = has_registries(&scene, &shop, &["a.example"]).await;
    assert_eq!(left.metadata.uid, secret.metadata.uid);
    scene.ready_in(&grant, &[&shop]).await;
}

async fn has_registries(scene: &Scene, namespace: &str, wanted: &[&str]) -> Secret {
    super::wait::eventually(&format!("{namespace} has logins for {wanted:?}"), async || {
        let secret = scene.target(namespace).await.ok_or("there is no Secret")?;
        let found = registries(&secret);
        if found.iter().eq(wanted) { Ok(secret) } else { Err(format!("{found:?}")) }
    })
    .await
}

#[tokio::test]
async fn a_source_that_is_deleted_stays_in_use_for_the_grace_and_no_longer() {
    const GRACE: Duration = Duration::from_secs(3);
    let Some(solo) = Solo::open(&["--missing-source-grace", "3"]).await else { return };
    let scene = &solo.scene;
    let shop = scene.namespace("shop", json!({})).await;
    let yard = scene.namespace("yard", json!({})).await;
    scene.source("hub", &[("a.example", ROBOT)]).await;
    scene.source("other", &[("c.example", ROBOT)]).await;
    let grant = scene.grant("g", &["hub", "other"], names(&[&shop])).await;
    scene.ready_in(&grant, &[&shop]).await;
    let good = scene.target(&shop).await.unwrap();

    // Deleted and made anew within the grace: nobody notices.
    scene.delete_secret(&scene.home, "hub").await;
    let status = scene.status(&grant, "missing", |status| status["sources"][0]["state"] == "Missing").await;
    let message = status["sources"][0]["message"].as_str().unwrap();
    assert!(message.contains("stay in use for the grace period"), "{message}");
    scene.source("hub", &[("a.example", ROBOT)]).await;
    scene.ready_in(&grant, &[&shop]).await;
    assert_eq!(version(&scene.target(&shop).await.unwrap()), version(&good));

    // Deleted for good: it stays for the grace, for newcomers too, and then it goes.
    let start = Instant::now();
    scene.delete_secret(&scene.home, "hub").await;
    scene.edit_grant(&grant, json!({"target": names(&[&shop, &yard])})).await;
    scene.has_login(&yard, "a.example/app", ROBOT).await;
    always(
        GRACE.saturating_sub(start.elapsed() + Duration::from_millis(300)),
        "in use in the grace",
        async || {
            let secret = scene.target(&shop).await.ok_or("gone")?;
            let uses = kubelet_uses(&secret, "a.example/app")?;
            if uses.len() == 1 { Ok(()) } else { Err(format!("{uses:?}")) }
        },
    )
    .await;
    let left = has_registries(scene, &shop, &["c.example"]).await;
    assert!(start.elapsed() >= GRACE, "{:?}", start.elapsed());
    assert_eq!(left.metadata.uid, good.metadata.uid);
    has_registries(scene, &yard, &["c.example"]).await;
}

#[tokio::test]
async fn what_a_broken_source_last_gave_survives_a_restart() {
    let Some(mut solo) = Solo::open(&[]).await else { return };
    let shop = solo.scene.namespace("shop", json!({})).await;
    let yard = solo.scene.namespace("yard", json!({})).await;
    let late = solo.scene.name("late");
    let broken = ["malformed", "missing", "partial", "emptied", "opaque"];
    let scene = &solo.scene;
    for word in broken {
        let good = format!("{word}-good");
        scene.source(word, &[("a.example", ROBOT), ("b.example", ROBOT)]).await;
        scene.source(&good, &[("c.example", ROBOT)]).await;
        let mut target = names(&[&shop, &yard, &late]);
        target["secret"] = json!({"name": scene.name(word)});
        let grant = scene.grant(word, &[word, &good], target).await;
        scene.ready_in(&grant, &[&shop, &yard]).await;
    }
    let login = json!({"username": "robot", "password": "first"});
    write_json(scene, "malformed", &json!({"auths": "nonsense"})).await;
    scene.delete_secret(&scene.home, "missing").await;
    write_json(scene, "partial", &json!({"auths": {"a.example": {"auth": "%"}, "b.example": login}})).await;
    write_json(scene, "emptied", &json!({"auths": {}})).await;
    scene.delete_secret(&scene.home, "opaque").await;
    scene.put_secret(&scene.home, "opaque", "Opaque", &[("x", b"y")], json!({})).await;
    for word in broken {
        scene.status(&scene.name(word), "it fails", failing).await;
    }
    let before = targets(scene, &broken, &[&shop, &yard]).await;
    let requests_before = solo.writes().len();

    solo.crash_and_restart().await;
    let scene = &solo.scene;
    let late = scene.namespace("late", json!({})).await;
    for word in broken {
        let secret = late_target(scene, &late, word).await;
        for image in ["a.example/app", "b.example/app", "c.example/app"] {
            let uses = kubelet_uses(&secret, image).unwrap();
            assert_eq!(uses, [("robot".to_owned(), "first".to_owned())], "{word} {image}");
        }
        scene.status(&scene.name(word), "it still fails", failing).await;
    }
    assert_eq!(targets(scene, &broken, &[&shop, &yard]).await, before, "what stood was not written");
    let writes: Vec<String> = solo.writes().split_off(requests_before);
    let secret_writes: Vec<&String> = writes.iter().filter(|write| write.contains("/secrets/")).collect();
    assert_eq!(secret_writes.len(), broken.len(), "one for each in the new namespace: {secret_writes:#?}");
    assert!(secret_writes.iter().all(|write| write.contains(&late)), "{secret_writes:#?}");

    // The good one goes on: its rotation arrives everywhere, and what the broken one gave stays.
    for word in broken {
        scene.source(&format!("{word}-good"), &[("c.example", NEXT)]).await;
        for namespace in [&shop, &yard, &late] {
            let secret = rotated(scene, namespace, word).await;
            for image in ["a.example/app", "b.example/app"] {
                let uses = kubelet_uses(&secret, image).unwrap();
                assert_eq!(uses, [("robot".to_owned(), "first".to_owned())], "{word} {image} in {namespace}");
            }
        }
    }
}

async fn targets(scene: &Scene, words: &[&str], namespaces: &[&str]) -> Vec<(String, String)> {
    let mut versions = Vec::new();
    for word in words {
        for namespace in namespaces {
            versions.push(version(&scene.secrets(namespace).get(&scene.name(word)).await.unwrap()));
        }
    }
    versions
}

async fn late_target(scene: &Scene, namespace: &str, word: &str) -> Secret {
    super::wait::eventually(&format!("{namespace} gets what {word} last gave"), async || {
        let secret = scene.secrets(namespace).get_opt(&scene.name(word)).await.unwrap();
        secret.ok_or_else(|| "there is no Secret".to_owned())
    })
    .await
}

async fn rotated(scene: &Scene, namespace: &str, word: &str) -> Secret {
    super::wait::eventually(&format!("{namespace} gets the rotation beside {word}"), async || {
        let secret = scene.secrets(namespace).get(&scene.name(word)).await.unwrap();
        let uses = kubelet_uses(&secret, "c.example/app")?;
        if uses == [("robot".to_owned(), "second".to_owned())] {
            Ok(secret)
        } else {
            Err(format!("{uses:?}"))
        }
    })
    .await
}

#[tokio::test]
async fn a_target_that_was_edited_while_imps_was_down_is_repaired_and_does_not_spread() {
    let Some(mut solo) = Solo::open(&[]).await else { return };
    let scene = &solo.scene;
    scene.source("hub", &[("a.example", ROBOT)]).await;
    // The edited one comes first by name, and there are as many edited ones as others.
    let edited = [scene.namespace("a1", json!({})).await, scene.namespace("a2", json!({})).await];
    let left = [scene.namespace("b1", json!({})).await, scene.namespace("b2", json!({})).await];
    let late = scene.name("late");
    let all = [edited[0].as_str(), &edited[1], &left[0], &left[1]];
    let grant = scene.grant("g", &["hub"], names(&[all[0], all[1], all[2], all[3], &late])).await;
    scene.ready_in(&grant, &all).await;
    let uids: Vec<_> =
        [scene.target(all[0]).await, scene.target(all[1]).await].map(|s| s.unwrap().metadata.uid).into();

    solo.operator.kill();
    let scene = &solo.scene;
    let evil = BASE64_STANDARD
        .encode(docker_config(&[("a.example", ("eve", "evil")), ("evil.example", ("eve", "evil"))]));
    for namespace in &edited {
        scene.edit_secret(namespace, &scene.secret, json!({"data": {".dockerconfigjson": evil}})).await;
    }
    write_json(scene, "hub", &json!({"auths": []})).await;
    let late = scene.namespace("late", json!({})).await;
    solo.crash_and_restart().await;

    let scene = &solo.scene;
    for namespace in [&late, &edited[0], &edited[1], &left[0], &left[1]] {
        let secret = scene.has_login(namespace, "a.example/app", ROBOT).await;
        assert_eq!(kubelet_uses(&secret, "evil.example/app").unwrap(), [], "{namespace}");
    }
    let after: Vec<_> =
        [scene.target(all[0]).await, scene.target(all[1]).await].map(|s| s.unwrap().metadata.uid).into();
    assert_eq!(after, uids, "repaired in place");
}
