//! `imps refresh`: tokens are asked for when a user demands it, once, and what fails takes nothing away.

use imps_api::keys;
use imps_testbed::aws::Account;
use imps_testbed::wire::Mode;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ManagedFieldsEntry;
use kube::api::{Patch, PatchParams};
use serde_json::{Value, json};

use super::{
    Cloud, ECR, ROBOT, STATIC, Witness, asked_times, has_token, host, source_of, stands, team, team_namespace,
};
use crate::mission::read::{condition, version};
use crate::mission::reader::{Reader, rule, said};
use crate::mission::stage::{Scene, Solo};
use crate::mission::wait::{always, eventually};

/// The field manager of the command.
const MANAGER: &str = "imps-refresh";

/// Somebody who may do this with ImagePullSecrets.
async fn person(scene: &Scene, verbs: &[&str]) -> Reader {
    Reader::new(scene, json!([rule(keys::GROUP, &[keys::PLURAL], verbs)])).await
}

/// Runs the command while everything else goes on. Returns the exit code and what it said.
async fn refresh(person: &Reader, arguments: &[&str]) -> (Option<i32>, String) {
    let mut command = person.command(&[&["refresh"], arguments].concat());
    let output = tokio::task::spawn_blocking(move || command.output()).await.unwrap().unwrap();
    (output.status.code(), said(&output))
}

/// The value of the annotation.
async fn demanded(scene: &Scene, grant: &str) -> Option<String> {
    let annotations = scene.read_grant(grant).await.metadata.annotations.unwrap_or_default();
    annotations.get(keys::REFRESH_ANNOTATION).cloned()
}

/// Waits until the operator says that the demand is met.
async fn met(scene: &Scene, grant: &str) -> Value {
    let demanded = demanded(scene, grant).await.unwrap();
    scene
        .status(grant, "the demand is met", |status| status["lastHandledRefreshAt"] == demanded.as_str())
        .await
}

/// What a field manager has written.
fn fields_of(entries: Option<Vec<ManagedFieldsEntry>>, manager: &str) -> Value {
    let mut entries = entries.unwrap_or_default().into_iter();
    let entry = entries.find(|entry| entry.manager.as_deref() == Some(manager));
    entry.and_then(|entry| entry.fields_v1).map(|fields| fields.0).unwrap_or_default()
}

#[tokio::test]
async fn a_demand_gets_new_tokens_at_once_and_writes_nothing_but_its_annotation() {
    let Some(cloud) = Cloud::open().await else { return };
    let Some(scene) = Scene::open().await else { return };
    let user = cloud.user(&[ECR]).await;
    cloud.fields_with(Account::OURS.number, &user.keys).write(&scene, "hub").await;
    scene.source("static", &[(STATIC, ROBOT)]).await;
    let (shop, yard) = (team_namespace(&scene, "shop").await, team_namespace(&scene, "yard").await);
    let grant = scene.grant("g", &["hub", "static"], team(&scene)).await;
    scene.ready_in(&grant, &[&shop, &yard]).await;
    let generation = scene.read_grant(&grant).await.metadata.generation;
    assert_eq!(cloud.asked(), 1);
    let witness = Witness::of(&scene.client, &scene.secret).await;
    let person = person(&scene, &["patch", "list", "watch"]).await;

    let (code, text) = refresh(&person, &[&grant, "--wait"]).await;
    assert_eq!(code, Some(0), "{text}");
    let hub = format!("{}/hub  a token that works until 20", scene.home);
    for words in ["all is done, and 2 namespaces have", &hub, "a login, which does not end"] {
        assert!(text.contains(words), "{words}: {text}");
    }
    // That it has ended says that all of this is so.
    let issued = cloud.issued_to(&user.arn).await;
    assert_eq!((cloud.asked(), issued.len()), (2, 2));
    let object = scene.read_grant(&grant).await;
    let value = demanded(&scene, &grant).await.unwrap();
    assert_eq!(object.data["status"]["lastHandledRefreshAt"], value.as_str());
    assert_eq!(object.metadata.generation, generation, "the spec is as it was");
    let mut fields = fields_of(object.metadata.managed_fields, MANAGER);
    let annotations = fields["f:metadata"]["f:annotations"].as_object_mut().unwrap();
    annotations.remove(".");
    let key = format!("f:{}", keys::REFRESH_ANNOTATION);
    assert_eq!(fields, json!({"f:metadata": {"f:annotations": {key: {}}}}));
    for namespace in [&shop, &yard] {
        has_token(&scene, namespace, &host(Account::OURS.number), &issued[1]).await;
    }
    assert_eq!(witness.count(), 2, "one write per namespace");

    // Without waiting it says how to see it.
    let (code, text) = refresh(&person, &[&grant]).await;
    assert_eq!(code, Some(0), "{text}");
    assert!(text.contains(&format!("imps status {grant} shows")), "{text}");
    met(&scene, &grant).await;
    assert_eq!(cloud.asked(), 3);
}

#[tokio::test]
async fn a_demand_that_fails_takes_nothing_away_and_one_after_it_does_not_wait_for_the_pause() {
    let Some(cloud) = Cloud::open().await else { return };
    let Some(scene) = Scene::open().await else { return };
    let user = cloud.user(&[ECR]).await;
    cloud.fields_with(Account::OURS.number, &user.keys).write(&scene, "hub").await;
    let shop = team_namespace(&scene, "shop").await;
    let grant = scene.grant("g", &["hub"], team(&scene)).await;
    scene.ready_in(&grant, &[&shop]).await;
    let before = scene.target(&shop).await.unwrap();
    let person = person(&scene, &["patch", "list", "watch"]).await;

    cloud.wire.set(Mode::Refuse);
    let (code, text) = refresh(&person, &[&grant, "--wait"]).await;
    assert_eq!(code, Some(1), "{text}");
    for words in
        ["not all is well", "Failing, ExchangeUnreachable: no connection", "stays in use until it expires"]
    {
        assert!(text.contains(words), "{words}: {text}");
    }
    let status = met(&scene, &grant).await;
    assert_eq!(source_of(&status, "hub")["state"], "Failing");
    assert_eq!(version(&scene.target(&shop).await.unwrap()), version(&before), "what works stays");

    cloud.wire.set(Mode::Pass);
    let (code, text) = refresh(&person, &[&grant, "--wait"]).await;
    assert_eq!(code, Some(0), "{text}");
    let issued = cloud.issued_to(&user.arn).await;
    has_token(&scene, &shop, &host(Account::OURS.number), issued.last().unwrap()).await;
    assert!(stands(&met(&scene, &grant).await, "hub", "Ready", "", ""));
}

#[tokio::test]
async fn a_demand_outlives_the_operator_and_is_met_once() {
    let Some(cloud) = Cloud::open().await else { return };
    let Some(mut solo) = Solo::open(&[]).await else { return };
    let scene = &solo.scene;
    let user = cloud.user(&[ECR]).await;
    let host = host(Account::OURS.number);
    cloud.fields_with(Account::OURS.number, &user.keys).write(scene, "hub").await;
    let shop = team_namespace(scene, "shop").await;
    let grant = scene.grant("g", &["hub"], team(scene)).await;
    scene.ready_in(&grant, &[&shop]).await;
    let person = person(scene, &["patch", "list", "watch"]).await;

    solo.operator.kill();
    let (code, text) = refresh(&person, &[&grant, "--wait", "--timeout", "1"]).await;
    assert_eq!(code, Some(124), "{text}");
    assert!(text.contains("no operator has asked") && text.contains("imps doctor"), "{text}");
    assert_eq!(cloud.asked(), 1);

    solo.operator.begin().await.unwrap();
    met(&solo.scene, &grant).await;
    assert_eq!(cloud.asked(), 2);
    let token = cloud.issued_to(&user.arn).await.pop().unwrap();
    has_token(&solo.scene, &shop, &host, &token).await;
    solo.scene.ready_in(&grant, &[&shop]).await;
    let writes = solo.writes().len();

    // What was met is not done again: the next process works, and asks nobody and writes nothing of its own accord.
    solo.crash_and_restart().await;
    let late = team_namespace(&solo.scene, "late").await;
    has_token(&solo.scene, &late, &host, &token).await;
    solo.scene.ready_in(&grant, &[&late, &shop]).await;
    always(std::time::Duration::from_secs(1), "nothing more is asked", async || {
        if cloud.asked() == 2 { Ok(()) } else { Err(format!("asked {} times", cloud.asked())) }
    })
    .await;
    let since = solo.writes().split_off(writes);
    assert!(!since.iter().any(|write| write.contains(&format!("/{shop}/secrets"))), "{since:#?}");
}

#[tokio::test]
async fn who_cannot_be_served_is_told_why_at_once() {
    let Some(scene) = Scene::open().await else { return };
    scene.source("hub", &[(STATIC, ROBOT)]).await;
    let shop = team_namespace(&scene, "shop").await;
    let grant = scene.grant("g", &["hub"], team(&scene)).await;
    scene.ready_in(&grant, &[&shop]).await;

    let reader = person(&scene, &["get"]).await;
    let (code, text) = refresh(&reader, &[&grant, "--wait"]).await;
    assert_eq!(code, Some(3), "{text}");
    assert!(text.contains("the right that is missing is patch on imagepullsecrets"), "{text}");
    assert_eq!(demanded(&scene, &grant).await, None);
    let (code, text) = refresh(&reader, &["--all"]).await;
    assert!(code == Some(3) && text.contains("is list on imagepullsecrets"), "{text}");
    for (verbs, missing) in [(&["patch"][..], "list"), (&["patch", "list"], "watch")] {
        let writer = person(&scene, verbs).await;
        let (code, text) = refresh(&writer, &[&grant, "--wait"]).await;
        assert_eq!(code, Some(3), "{text}");
        let words = format!("the right that is missing is {missing} on imagepullsecrets");
        assert!(text.contains(&words), "{text}");
    }
    // It is demanded all the same, and a login needs no asking.
    met(&scene, &grant).await;
    let person = person(&scene, &["patch", "list", "watch"]).await;
    let (code, text) = refresh(&person, &["is-not-there", &grant, "--wait"]).await;
    assert_eq!(code, Some(1), "{text}");
    assert!(text.contains("there is no ImagePullSecret is-not-there"), "{text}");
    assert!(text.contains(&format!("{grant}: all is done, and one namespace has")), "{text}");

    scene.edit_grant(&grant, json!({"suspend": true})).await;
    scene
        .status(&grant, "suspended", |status| {
            condition(status, "Ready").is_some_and(|ready| ready["reason"] == "Suspended")
        })
        .await;
    let (code, text) = refresh(&person, &[&grant, "--wait"]).await;
    assert_eq!(code, Some(1), "{text}");
    assert!(
        text.contains(&format!("is suspended: its tokens are asked for when imps resume {grant}")),
        "{text}"
    );
    let status = scene.read_grant(&grant).await.data["status"].clone();
    assert_ne!(status["lastHandledRefreshAt"].as_str().map(str::to_owned), demanded(&scene, &grant).await);
    scene.edit_grant(&grant, json!({"suspend": null})).await;
    met(&scene, &grant).await;
}

#[tokio::test]
async fn a_value_that_does_not_fit_is_ignored_and_said_to_be() {
    let Some(cloud) = Cloud::open().await else { return };
    let Some(scene) = Scene::open().await else { return };
    let user = cloud.user(&[ECR]).await;
    cloud.fields_with(Account::OURS.number, &user.keys).write(&scene, "hub").await;
    let shop = team_namespace(&scene, "shop").await;
    let grant = scene.grant("g", &["hub"], team(&scene)).await;
    scene.ready_in(&grant, &[&shop]).await;
    let annotate = async |value: &str| {
        let patch = json!({"metadata": {"annotations": {keys::REFRESH_ANNOTATION: value}}});
        scene.grants().patch(&grant, &PatchParams::default(), &Patch::Merge(patch)).await.unwrap();
    };
    annotate(&"x".repeat(200_000)).await;
    let status = scene
        .status(&grant, "it is said to be ignored", |status| {
            let ready = condition(status, "Ready");
            ready.is_some_and(|ready| ready["message"].as_str().unwrap_or_default().contains("is ignored"))
        })
        .await;
    assert_eq!(status["lastHandledRefreshAt"], Value::Null);
    assert!(status.to_string().len() < 4096, "{status}");
    assert_eq!(cloud.asked(), 1);
    annotate("please").await;
    eventually("what fits is a demand", async || {
        let status = scene.read_grant(&grant).await.data["status"].clone();
        if status["lastHandledRefreshAt"] == "please" { Ok(()) } else { Err(format!("{status:#}")) }
    })
    .await;
    asked_times(&cloud, 2).await;
    assert_eq!(cloud.asked(), 2);
}
