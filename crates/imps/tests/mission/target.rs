//! The Secrets that imps writes: how they look, whose they are, and what becomes of those that are not its own.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use futures::StreamExt;
use imps_api::keys;
use k8s_openapi::api::core::v1::Secret;
use kube::ResourceExt;
use kube::api::{DeleteParams, ListParams, Patch, PatchParams, PostParams, WatchEvent, WatchParams};
use serde_json::{Value, json};

use super::read::{condition, docker_config, is_true, kubelet_uses, texts, version};
use super::stage::{Login, Scene, Solo};
use super::wait::{always, assert_prompt, eventually};

const ROBOT: Login<'_> = ("robot", "first");
const NEXT: Login<'_> = ("robot", "second");
const IMAGE: &str = "reg.example/team/app:1";
const DOCKER_CONFIG: &str = "kubernetes.io/dockerconfigjson";

/// Selects namespaces of the scene by name.
fn named(namespaces: &[&str]) -> Value {
    json!({"namespaces": {"names": namespaces}})
}

/// The reference to its `ImagePullSecret` that a target of the original has.
fn owner(grant: &str, uid: &str) -> Value {
    json!({
        "apiVersion": format!("{}/{}", keys::GROUP, keys::VERSION), "kind": keys::KIND,
        "name": grant, "uid": uid, "controller": false,
    })
}

#[tokio::test]
async fn a_target_is_applied_as_imps_with_its_owner_and_just_what_the_template_says() {
    let Some(scene) = Scene::open().await else { return };
    let shop = scene.namespace("shop", json!({})).await;
    scene.source("hub", &[("reg.example", ROBOT)]).await;
    let reserved = format!("{}anything", keys::RESERVED_PREFIX);
    let mut target = named(&[&shop]);
    target["secret"] = json!({
        "name": scene.secret,
        "labels": {"app": "pull", reserved.as_str(): "mine", keys::OWNER_UID_LABEL: "forged"},
        "annotations": {"note": "to all", reserved.as_str(): "mine", keys::LEGACY_COPY_ANNOTATION: "x"},
    });
    let grant = scene.grant("g", &["hub"], target).await;
    let secret = scene.has_login(&shop, IMAGE, ROBOT).await;
    let uid = scene.read_grant(&grant).await.uid().unwrap();

    let seen = serde_json::to_value(&secret).unwrap();
    let metadata = &seen["metadata"];
    assert_eq!(metadata["labels"], json!({"app": "pull", keys::OWNER_UID_LABEL: uid}));
    assert_eq!(metadata["annotations"], json!({"note": "to all"}));
    assert_eq!(metadata["ownerReferences"], json!([owner(&grant, &uid)]));
    assert_eq!(metadata["managedFields"].as_array().unwrap().len(), 1);
    assert_eq!(metadata["managedFields"][0]["manager"], keys::FIELD_MANAGER);
    assert_eq!(metadata["managedFields"][0]["operation"], "Apply");
    assert_eq!(seen["type"], DOCKER_CONFIG);
    assert_eq!(seen["data"].as_object().unwrap().keys().collect::<Vec<_>>(), [".dockerconfigjson"]);
    assert!(metadata["finalizers"].is_null() && seen["immutable"].is_null());

    let status = scene.ready_in(&grant, &[&shop]).await;
    let message = condition(&status, "Ready").unwrap()["message"].as_str().unwrap();
    assert!(message.contains("belongs to imps and is left out"), "{message}");

    // The template changes: what it no longer says goes, in place.
    scene
        .edit_grant(&grant, json!({"target": {"secret": {"labels": {"app": "other"}, "annotations": null}}}))
        .await;
    eventually("the template's change arrives", async || {
        let now = scene.target(&shop).await.ok_or("gone")?;
        assert_eq!(now.uid(), secret.uid(), "changed in place");
        let labels = now.labels().get("app").map(String::as_str) == Some("other");
        if labels && now.annotations().is_empty() { Ok(()) } else { Err(format!("{:?}", now.metadata)) }
    })
    .await;
}

#[tokio::test]
async fn a_secret_that_the_original_wrote_is_taken_over_in_place() {
    let Some(scene) = Scene::open().await else { return };
    let shop = scene.namespace("shop", json!({})).await;
    scene.source("hub", &[("reg.example", ROBOT)]).await;
    let mut spec = scene.spec(&["hub"], named(&[&shop]));
    spec["suspend"] = json!(true);
    let grant = scene.grant("g", &["hub"], named(&[])).await;
    scene.edit_grant(&grant, spec).await;
    scene
        .status(&grant, "suspended", |status| {
            condition(status, "Ready").is_some_and(|c| c["reason"] == "Suspended")
        })
        .await;
    let uid = scene.read_grant(&grant).await.uid().unwrap();

    // As the original did: a PUT by the manager `manager`, with a copy of all in an annotation.
    let old = docker_config(&[("reg.example", ("robot", "stale")), ("gone.example", ("old", "old"))]);
    let original: Secret = serde_json::from_value(json!({
        "metadata": {
            "name": scene.secret,
            "labels": {keys::OWNER_UID_LABEL: uid},
            "annotations": {keys::LEGACY_COPY_ANNOTATION: "UEsDBBQACAgIAAAAAAA"},
            "ownerReferences": [owner(&grant, &uid)],
        },
        "type": DOCKER_CONFIG,
        "data": {".dockerconfigjson": BASE64_STANDARD.encode(old)},
    }))
    .unwrap();
    let params = PostParams { field_manager: Some("manager".to_owned()), ..PostParams::default() };
    let original = scene.secrets(&shop).create(&params, &original).await.unwrap();
    scene.edit_grant(&grant, json!({"suspend": false})).await;

    scene.ready_in(&grant, &[&shop]).await;
    let taken = scene.has_login(&shop, IMAGE, ROBOT).await;
    assert_eq!(taken.uid(), original.uid());
    assert!(taken.annotations().is_empty(), "{:?}", taken.annotations());
    assert_eq!(kubelet_uses(&taken, "gone.example/app").unwrap(), []);
    assert_eq!(taken.owner_references().len(), 1);
    let managers: BTreeSet<&str> =
        taken.managed_fields().iter().filter_map(|f| f.manager.as_deref()).collect();
    assert!(managers.contains(keys::FIELD_MANAGER), "{managers:?}");
}

#[tokio::test]
async fn a_secret_of_somebody_else_is_never_touched_and_reported() {
    let Some(scene) = Scene::open().await else { return };
    scene.source("hub", &[("reg.example", ROBOT)]).await;
    let free = scene.namespace("free", json!({})).await;
    let opaque = scene.namespace("opaque", json!({})).await;
    let typed = scene.namespace("typed", json!({})).await;
    let forged = scene.namespace("forged", json!({})).await;
    let all = [free.as_str(), &opaque, &typed, &forged];
    // The forger needs a UID to forge.
    let grant = scene.grant("g", &["hub"], named(&[])).await;
    let uid = scene.read_grant(&grant).await.uid().unwrap();
    let other = docker_config(&[("reg.example", ("tenant", "tenant"))]);
    let config: &[(&str, &[u8])] = &[(".dockerconfigjson", other.as_bytes())];
    scene.put_secret(&opaque, &scene.secret, "Opaque", &[("key", b"value")], json!({})).await;
    scene.put_secret(&typed, &scene.secret, DOCKER_CONFIG, config, json!({})).await;
    let label = json!({"labels": {keys::OWNER_UID_LABEL: uid}});
    scene.put_secret(&forged, &scene.secret, DOCKER_CONFIG, config, label).await;
    let mut before = Vec::new();
    for namespace in &all[1..] {
        before.push(version(&scene.target(namespace).await.unwrap()));
    }

    scene.edit_grant(&grant, json!({"target": {"namespaces": {"names": all}}})).await;
    scene.has_login(&free, IMAGE, ROBOT).await;
    let status = scene.status(&grant, "three conflicts", |status| status["targets"]["conflict"] == 3).await;
    assert_eq!(status["targets"], json!({"desired": 4, "synced": 1, "failed": 0, "conflict": 3}));
    assert_eq!(texts(&status["managedNamespaces"]).collect::<Vec<_>>(), [free.as_str()]);
    assert_eq!(status["status"], "Failed");
    assert!(!is_true(&status, "Ready") && is_true(&status, "Stalled"));
    for failure in status["failures"].as_array().unwrap() {
        assert_eq!(failure["reason"], "TargetConflict");
        let message = failure["message"].as_str().unwrap();
        assert!(message.contains("left alone") && message.contains("spec.target.secret.name"), "{message}");
    }
    scene.event(&grant, "TargetConflict", "left alone").await;

    // A rotation passes them by as well.
    scene.source("hub", &[("reg.example", NEXT)]).await;
    scene.has_login(&free, IMAGE, NEXT).await;
    scene.edit_grant(&grant, json!({"target": {"namespaces": {"names": [&free]}}})).await;
    scene.ready_in(&grant, &[&free]).await;
    scene.edit_grant(&grant, json!({"target": {"namespaces": {"names": all}}})).await;
    scene.status(&grant, "three conflicts again", |status| status["targets"]["conflict"] == 3).await;
    let mut after = Vec::new();
    for namespace in &all[1..] {
        after.push(version(&scene.target(namespace).await.unwrap()));
    }
    assert_eq!(after, before, "nothing was written");

    // Once they are gone, imps takes the place.
    for namespace in &all[1..] {
        scene.delete_secret(namespace, &scene.secret).await;
        scene.has_login(namespace, IMAGE, NEXT).await;
    }
    scene.ready_in(&grant, &all).await;
}

#[tokio::test]
async fn a_namespace_that_is_going_is_left_alone_and_is_no_failure() {
    let Some(scene) = Scene::open().await else { return };
    scene.source("hub", &[("reg.example", ROBOT)]).await;
    let stays = scene.namespace("stays", json!({})).await;
    let goes = scene.namespace("goes", json!({})).await;
    let went = scene.namespace("went", json!({})).await;
    for namespace in [&goes, &went] {
        // It keeps the namespace from ever being gone.
        scene.pod(namespace, "held", json!({"finalizers": ["example.com/held"]})).await;
    }
    terminate(&scene, &went).await;
    let grant = scene.grant("g", &["hub"], named(&[&stays, &goes, &went])).await;
    scene.ready_in(&grant, &[&stays, &goes]).await;
    assert!(scene.target(&went).await.is_none());

    terminate(&scene, &goes).await;
    let status = scene.ready_in(&grant, &[&stays]).await;
    assert_eq!(status["targets"], json!({"desired": 1, "synced": 1, "failed": 0, "conflict": 0}));
    if scene.target(&goes).await.is_some() {
        // No controller manager clears the namespace here, so the scene does.
        let _ = scene.secrets(&goes).delete(&scene.secret, &DeleteParams::default()).await;
    }
    scene.has_no_target(&goes).await;
    always(Duration::from_millis(500), "nothing is written to a namespace that goes", async || {
        if scene.target(&goes).await.is_none() { Ok(()) } else { Err("a secret".to_owned()) }
    })
    .await;
    scene.ready_in(&grant, &[&stays]).await;
    let log = scene.log();
    let failed = log.lines().filter(|line| line.contains("not written")).collect::<Vec<_>>();
    assert!(failed.is_empty(), "{failed:#?}");
    for namespace in [&goes, &went] {
        let free = Patch::Merge(json!({"metadata": {"finalizers": null}}));
        scene.pods(namespace).patch(&scene.name("held"), &PatchParams::default(), &free).await.unwrap();
    }
}

async fn terminate(scene: &Scene, namespace: &str) {
    scene.namespaces().delete(namespace, &DeleteParams::default()).await.unwrap();
    let seen = scene.namespaces().get(namespace).await.unwrap();
    assert!(seen.metadata.deletion_timestamp.is_some());
}

/// What of a Secret must come back.
fn essence(secret: &Secret) -> Value {
    let mut seen = serde_json::to_value(secret).unwrap();
    let metadata = seen["metadata"].as_object_mut().unwrap();
    metadata.retain(|key, _| ["labels", "annotations", "ownerReferences"].contains(&key.as_str()));
    seen
}

#[tokio::test]
async fn what_somebody_breaks_is_repaired_promptly_and_in_place() {
    let Some(scene) = Scene::open().await else { return };
    let shop = scene.namespace("shop", json!({})).await;
    scene.source("hub", &[("reg.example", ROBOT)]).await;
    let mut target = named(&[&shop]);
    target["secret"] = json!({"name": scene.secret, "labels": {"app": "pull"}, "annotations": {"note": "n"}});
    let grant = scene.grant("g", &["hub"], target).await;
    let good = scene.has_login(&shop, IMAGE, ROBOT).await;
    scene.ready_in(&grant, &[&shop]).await;

    let evil = BASE64_STANDARD.encode(docker_config(&[("reg.example", ("eve", "evil"))]));
    let edits = [
        ("data edited", json!({"data": {".dockerconfigjson": evil}})),
        ("owner label removed", json!({"metadata": {"labels": {keys::OWNER_UID_LABEL: null}}})),
        ("owner label forged", json!({"metadata": {"labels": {keys::OWNER_UID_LABEL: "another"}}})),
        ("owner reference removed", json!({"metadata": {"ownerReferences": []}})),
        ("template label changed", json!({"metadata": {"labels": {"app": "mine"}}})),
        ("template annotation removed", json!({"metadata": {"annotations": {"note": null}}})),
    ];
    for (what, edit) in edits {
        let start = Instant::now();
        let edited = scene.edit_secret(&shop, &scene.secret, edit).await;
        assert_ne!(essence(&edited), essence(&good), "{what}");
        eventually(&format!("{what}: repaired"), async || {
            let now = scene.target(&shop).await.ok_or("it is gone")?;
            assert_eq!(now.uid(), good.uid(), "{what}: repaired in place");
            if essence(&now) == essence(&good) { Ok(()) } else { Err(format!("{:#}", essence(&now))) }
        })
        .await;
        assert_prompt(what, &[start.elapsed()]);
    }
    let start = Instant::now();
    scene.delete_secret(&shop, &scene.secret).await;
    let again = scene.has_login(&shop, IMAGE, ROBOT).await;
    assert_prompt("deleted", &[start.elapsed()]);
    assert_eq!(essence(&again), essence(&good));
    scene.ready_in(&grant, &[&shop]).await;
}

#[tokio::test]
async fn what_others_add_to_a_target_is_kept() {
    let Some(scene) = Scene::open().await else { return };
    let shop = scene.namespace("shop", json!({})).await;
    scene.source("hub", &[("reg.example", ROBOT)]).await;
    scene.grant("g", &["hub"], named(&[&shop])).await;
    scene.has_login(&shop, IMAGE, ROBOT).await;
    let add = json!({"metadata": {"labels": {"theirs": "l"}, "annotations": {"theirs": "a"}}});
    let added = scene.edit_secret(&shop, &scene.secret, add).await;
    scene.source("hub", &[("reg.example", NEXT)]).await;
    let rotated = scene.has_login(&shop, IMAGE, NEXT).await;
    assert_eq!(rotated.uid(), added.uid());
    assert_eq!(rotated.labels(), added.labels());
    assert_eq!(rotated.annotations(), added.annotations());
}

#[tokio::test]
async fn a_target_that_somebody_made_immutable_is_reported_and_made_anew_once_it_is_gone() {
    let Some(scene) = Scene::open().await else { return };
    let shop = scene.namespace("shop", json!({})).await;
    let yard = scene.namespace("yard", json!({})).await;
    scene.source("hub", &[("reg.example", ROBOT)]).await;
    let grant = scene.grant("g", &["hub"], named(&[&shop, &yard])).await;
    scene.has_login(&shop, IMAGE, ROBOT).await;
    scene.edit_secret(&shop, &scene.secret, json!({"immutable": true})).await;
    scene.ready_in(&grant, &[&shop, &yard]).await;

    scene.source("hub", &[("reg.example", NEXT)]).await;
    scene.has_login(&yard, IMAGE, NEXT).await;
    let status = scene.status(&grant, "one failed", |status| status["targets"]["failed"] == 1).await;
    assert_eq!(status["failures"][0]["reason"], "TargetImmutable");
    assert_eq!(status["failures"][0]["namespace"], shop.as_str());
    assert!(status["failures"][0]["message"].as_str().unwrap().contains("delete it"));
    scene.has_login(&shop, IMAGE, ROBOT).await;

    scene.delete_secret(&shop, &scene.secret).await;
    scene.has_login(&shop, IMAGE, NEXT).await;
    scene.ready_in(&grant, &[&shop, &yard]).await;
}

#[tokio::test]
async fn a_new_name_is_given_before_the_old_one_is_taken() {
    let Some(scene) = Scene::open().await else { return };
    let shop = scene.namespace("shop", json!({})).await;
    scene.source("hub", &[("reg.example", ROBOT)]).await;
    let grant = scene.grant("g", &["hub"], named(&[&shop])).await;
    scene.has_login(&shop, IMAGE, ROBOT).await;
    let renamed = scene.name("renamed");
    let secrets = scene.secrets(&shop);
    let since =
        secrets.list_metadata(&ListParams::default()).await.unwrap().metadata.resource_version.unwrap();
    let mut changes = std::pin::pin!(secrets.watch(&WatchParams::default(), &since).await.unwrap());
    scene.edit_grant(&grant, json!({"target": {"secret": {"name": renamed}}})).await;
    // The server tells changes in the order in which they were made.
    let mut order = Vec::new();
    while order.len() < 2 {
        match tokio::time::timeout(Duration::from_secs(20), changes.next()).await.unwrap().unwrap().unwrap() {
            WatchEvent::Added(secret) => order.push(("made", secret.name_any())),
            WatchEvent::Deleted(secret) => order.push(("deleted", secret.name_any())),
            _ => {}
        }
    }
    assert_eq!(order, [("made", renamed.clone()), ("deleted", scene.secret.clone())]);
    let secret = secrets.get(&renamed).await.unwrap();
    assert_eq!(kubelet_uses(&secret, IMAGE).unwrap(), [("robot".to_owned(), "first".to_owned())]);
    let status = scene.ready_in(&grant, &[&shop]).await;
    assert!(status["formerSecretNames"].is_null(), "{status:#}");
}

#[tokio::test]
async fn targets_go_with_their_imagepullsecret_also_where_nobody_collects_garbage() {
    let Some(solo) = Solo::open(&[]).await else { return };
    let scene = &solo.scene;
    assert_eq!(solo.control.pids().kube_controller_manager, None, "nobody else deletes here");
    scene.source("hub", &[("reg.example", ROBOT)]).await;
    let guarded = scene.namespace("guarded", json!({"labels": {"guarded": scene.id}})).await;
    let shop = scene.namespace("shop", json!({})).await;
    let yard = scene.namespace("yard", json!({})).await;
    let all = [guarded.as_str(), &shop, &yard];
    let grant = scene.grant("g", &["hub"], named(&all)).await;
    scene.ready_in(&grant, &all).await;
    forbid_deletes(scene, &guarded).await;

    // First by de-selection, where there is a status to report to.
    scene.edit_grant(&grant, json!({"target": {"namespaces": {"names": [&shop, &yard]}}})).await;
    let status = scene.status(&grant, "a delete failed", |status| !status["failures"].is_null()).await;
    assert_eq!(status["failures"][0]["namespace"], guarded.as_str());
    assert!(!is_true(&status, "Ready"));
    scene.event(&grant, "SecretDeletionError", &guarded).await;

    let start = Instant::now();
    scene.delete_grant(&grant).await;
    scene.has_no_target(&shop).await;
    scene.has_no_target(&yard).await;
    assert_prompt("revocation in two namespaces while a third one fails", &[start.elapsed()]);
    assert!(scene.target(&guarded).await.is_some(), "it cannot be deleted");
}

/// Lets no Secret be deleted in the namespaces with the label `guarded`, and waits until that is so.
async fn forbid_deletes(scene: &Scene, namespace: &str) {
    let name = scene.name("guard");
    let admission = "admissionregistration.k8s.io/v1";
    let policy = json!({
        "apiVersion": admission, "kind": "ValidatingAdmissionPolicy", "metadata": {"name": name},
        "spec": {
            "failurePolicy": "Fail",
            "matchConstraints": {"resourceRules": [
                {"apiGroups": [""], "apiVersions": ["v1"], "operations": ["DELETE"], "resources": ["secrets"]},
            ]},
            "validations": [{"expression": "false", "message": "not here"}],
        },
    });
    let binding = json!({
        "apiVersion": admission, "kind": "ValidatingAdmissionPolicyBinding", "metadata": {"name": name},
        "spec": {
            "policyName": name, "validationActions": ["Deny"],
            "matchResources": {"namespaceSelector": {"matchLabels": {"guarded": scene.id}}},
        },
    });
    for object in [&policy, &binding] {
        let kind = object["kind"].as_str().unwrap();
        let gvk = kube::api::GroupVersionKind::gvk("admissionregistration.k8s.io", "v1", kind);
        let plural = if kind.ends_with("Binding") {
            "validatingadmissionpolicybindings"
        } else {
            "validatingadmissionpolicies"
        };
        let resource = kube::api::ApiResource::from_gvk_with_plural(&gvk, plural);
        let api = kube::Api::<kube::api::DynamicObject>::all_with(scene.client.clone(), &resource);
        api.patch(&name, &PatchParams::apply("somebody"), &Patch::Apply(object)).await.unwrap();
    }
    scene.put_secret(namespace, "probe", "Opaque", &[], json!({})).await;
    let dry = DeleteParams { dry_run: true, ..DeleteParams::default() };
    eventually("deletes are forbidden", async || {
        match scene.secrets(namespace).delete("probe", &dry).await {
            Ok(_) => Err("allowed".to_owned()),
            Err(_) => Ok(()),
        }
    })
    .await;
}

#[tokio::test]
async fn of_two_that_want_one_target_the_older_wins_and_the_younger_inherits_it_in_place() {
    // Without a garbage collector, which may be faster than the heir; the Secret is then made anew.
    let Some(solo) = Solo::open(&[]).await else { return };
    let scene = &solo.scene;
    let shop = scene.namespace("shop", json!({})).await;
    let yard = scene.namespace("yard", json!({})).await;
    scene.source("old", &[("reg.example", ROBOT)]).await;
    scene.source("new", &[("reg.example", NEXT)]).await;
    let elder = scene.grant("elder", &["old"], named(&[&shop])).await;
    let secret = scene.has_login(&shop, IMAGE, ROBOT).await;
    let created = |object: &kube::api::DynamicObject| object.creation_timestamp().unwrap().0.as_second();
    let born = created(&scene.read_grant(&elder).await);
    // Ages are counted in seconds.
    eventually("another second", async || {
        if k8s_openapi::jiff::Timestamp::now().as_second() > born { Ok(()) } else { Err(String::new()) }
    })
    .await;
    let younger = scene.grant("a-younger", &["new"], named(&[&shop, &yard])).await;
    assert!(created(&scene.read_grant(&younger).await) > born);

    scene.has_login(&yard, IMAGE, NEXT).await;
    let status = scene.status(&younger, "a conflict", |status| status["targets"]["conflict"] == 1).await;
    assert_eq!(status["failures"][0]["reason"], "TargetConflict");
    assert_eq!(status["failures"][0]["namespace"], shop.as_str());
    assert!(status["failures"][0]["message"].as_str().unwrap().contains(&elder), "{status:#}");
    scene.event(&younger, "TargetConflict", &elder).await;
    scene.ready_in(&elder, &[&shop]).await;
    assert_eq!(
        version(&scene.target(&shop).await.unwrap()),
        version(&secret),
        "the elder's secret stays as it is"
    );

    scene.delete_grant(&elder).await;
    let inherited = scene.has_login(&shop, IMAGE, NEXT).await;
    assert_eq!(inherited.uid(), secret.uid());
    let status = scene.ready_in(&younger, &[&shop, &yard]).await;
    assert!(status["failures"].is_null());
    let heir = scene.read_grant(&younger).await.uid().unwrap();
    assert_eq!(inherited.labels().get(keys::OWNER_UID_LABEL), Some(&heir));
    let owners: Vec<&str> = inherited.owner_references().iter().map(|owner| owner.uid.as_str()).collect();
    assert_eq!(owners, [heir.as_str()]);
}
