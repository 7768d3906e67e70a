//! `imps suspend` and `imps resume` at a cluster: what stays, what is made up for, and what is said to somebody who may
//! not do it.

use imps_api::keys;
use serde_json::{Value, json};

use super::read::condition;
use super::reader::{Reader, rule, said};
use super::stage::{Login, Scene, Solo};

const ROBOT: Login<'_> = ("robot", "first");
const NEXT: Login<'_> = ("robot", "second");
const IMAGE: &str = "reg.example/app";
/// The field manager of the command.
const MANAGER: &str = "imps-suspend";

fn names(namespaces: &[&str]) -> Value {
    json!({"namespaces": {"names": namespaces}})
}

/// Somebody who may do this with ImagePullSecrets.
async fn person(scene: &Scene, verbs: &[&str]) -> Reader {
    Reader::new(scene, json!([rule(keys::GROUP, &[keys::PLURAL], verbs)])).await
}

/// Whether the field is set, and by whom.
async fn field(scene: &Scene, grant: &str) -> (Value, Vec<String>) {
    let object = scene.read_grant(grant).await;
    let entries = object.metadata.managed_fields.unwrap_or_default().into_iter();
    (object.data["spec"]["suspend"].clone(), entries.filter_map(|entry| entry.manager).collect())
}

#[tokio::test]
async fn a_suspended_one_stays_as_it_is_and_a_resumed_one_makes_up_for_it() {
    let Some(scene) = Scene::open().await else { return };
    let shop = scene.namespace("shop", json!({})).await;
    let yard = scene.namespace("yard", json!({})).await;
    scene.source("hub", &[("reg.example", ROBOT)]).await;
    let grant = scene.grant("g", &["hub"], names(&[&shop])).await;
    scene.ready_in(&grant, &[&shop]).await;
    let person = person(&scene, &["patch", "get"]).await;

    let output = person.run(&["suspend", &grant, "--dry-run"]);
    assert!(output.status.success() && said(&output).contains("would be suspended"), "{}", said(&output));
    let (suspended, managers) = field(&scene, &grant).await;
    assert_eq!(suspended, Value::Null);
    assert!(!managers.iter().any(|manager| manager == MANAGER), "{managers:?}");

    let output = person.run(&["suspend", &grant]);
    let text = said(&output);
    assert!(output.status.success() && text.contains("is suspended: until imps resume"), "{text}");
    assert!(text.contains("in one namespace"), "{text}");
    let (suspended, managers) = field(&scene, &grant).await;
    assert_eq!(suspended, json!(true));
    assert!(managers.iter().any(|manager| manager == MANAGER), "{managers:?}");
    let is_suspended =
        |status: &Value| condition(status, "Ready").is_some_and(|ready| ready["reason"] == "Suspended");
    scene.status(&grant, "it is suspended", is_suspended).await;
    let output = person.run(&["suspend", &grant]);
    assert!(
        output.status.success() && said(&output).contains("already; nothing changed"),
        "{}",
        said(&output)
    );

    // Another one shows that the operator has seen the change.
    scene.source("hub", &[("reg.example", NEXT)]).await;
    let other = scene.grant("other", &["hub"], names(&[&yard])).await;
    scene.has_login(&yard, IMAGE, NEXT).await;
    scene.ready_in(&other, &[&yard]).await;
    scene.has_login(&shop, IMAGE, ROBOT).await;

    let output = person.run(&["resume", &grant]);
    assert!(output.status.success() && said(&output).contains("is resumed"), "{}", said(&output));
    scene.has_login(&shop, IMAGE, NEXT).await;
    scene.ready_in(&grant, &[&shop]).await;
    let (suspended, managers) = field(&scene, &grant).await;
    assert_eq!(suspended, Value::Null);
    assert!(!managers.iter().any(|manager| manager == MANAGER), "nothing of it is left: {managers:?}");
    let output = person.run(&["resume", &grant]);
    assert!(said(&output).contains("is not suspended; nothing changed"), "{}", said(&output));
}

#[tokio::test]
async fn who_may_not_is_told_the_right_and_the_others_are_done() {
    let Some(scene) = Scene::open().await else { return };
    scene.source("hub", &[("reg.example", ROBOT)]).await;
    let grant = scene.grant("g", &["hub"], names(&["nowhere"])).await;
    let reader = person(&scene, &["get"]).await;
    let output = reader.run(&["suspend", &grant]);
    assert_eq!(output.status.code(), Some(3), "{}", said(&output));
    let missing = "the right that is missing is patch on imagepullsecrets.images.banzaicloud.io";
    assert!(said(&output).contains(missing), "{}", said(&output));
    let stranger = Reader::new(&scene, json!([])).await;
    let output = stranger.run(&["resume", &grant]);
    assert_eq!(output.status.code(), Some(3), "{}", said(&output));
    assert!(said(&output).contains("is get on imagepullsecrets"), "{}", said(&output));
    let output = stranger.run(&["suspend", "--all", "--dry-run"]);
    assert_eq!(output.status.code(), Some(3), "{}", said(&output));
    assert!(said(&output).contains("is list on imagepullsecrets"), "{}", said(&output));
    assert_eq!(field(&scene, &grant).await.0, Value::Null);

    let person = person(&scene, &["patch", "get"]).await;
    let output = person.run(&["suspend", "is-not-there", &grant]);
    assert_eq!(output.status.code(), Some(1), "{}", said(&output));
    assert!(said(&output).contains("there is no ImagePullSecret is-not-there"), "{}", said(&output));
    assert_eq!(field(&scene, &grant).await.0, json!(true));
}

#[tokio::test]
async fn all_are_suspended_when_that_is_said() {
    let Some(solo) = Solo::open(&[]).await else { return };
    let scene = &solo.scene;
    scene.source("hub", &[("reg.example", ROBOT)]).await;
    let first = scene.grant("first", &["hub"], names(&["nowhere"])).await;
    let second = scene.grant("second", &["hub"], names(&["elsewhere"])).await;
    let person = person(scene, &["patch", "list"]).await;
    assert_eq!(person.run(&["suspend", "--all"]).status.code(), Some(2));
    let output = person.run(&["suspend", "-A", "--dry-run"]);
    assert!(output.status.success(), "{}", said(&output));
    for grant in [&first, &second] {
        assert!(said(&output).contains(&format!("{grant} would be suspended")), "{}", said(&output));
        assert_eq!(field(scene, grant).await.0, Value::Null);
    }
    let output = person.run(&["suspend", "-A", "--yes"]);
    assert!(output.status.success(), "{}", said(&output));
    for grant in [&first, &second] {
        assert_eq!(field(scene, grant).await.0, json!(true));
    }
    assert!(person.run(&["resume", "-A", "--yes"]).status.success());
    for grant in [&first, &second] {
        assert_eq!(field(scene, grant).await.0, Value::Null);
    }
}
