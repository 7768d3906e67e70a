//! `imps plan` at a cluster: what it says is what the operator then does, and saying it changes nothing.

use std::collections::BTreeSet;
use std::process::Output;

use imps_api::keys;
use imps_core::dockerconfig::Format;
use imps_testbed::manifest;
use k8s_openapi::api::core::v1::ServiceAccount;
use kube::api::Api;
use serde_json::{Value, json};

use super::diagnose::account;
use super::read::docker_config;
use super::reader::{Reader, rule, said};
use super::stage::{Scene, Solo};
use super::wait::eventually;

const HOST: &str = "reg.example";
const LOGIN: (&str, &str) = ("canary-user", "canary-password");
const NEXT: (&str, &str) = ("canary-user", "canary-next");

fn page(output: &Output) -> Value {
    assert!(!said(output).contains("canary"), "{}", said(output));
    serde_json::from_slice(&output.stdout).unwrap_or_else(|_| panic!("{}", said(output)))
}

fn list<'v>(page: &'v Value, field: &str) -> impl Iterator<Item = &'v Value> {
    page[field].as_array().into_iter().flatten()
}

/// The writes that a plan speaks of, as the audit log tells them: what is made is made by a patch.
fn planned(page: &Value) -> BTreeSet<String> {
    let at = |verb: &str, kind: &str, field: &str, object: &Value| {
        let text = |field: &str| object[field].as_str().unwrap();
        format!("{verb} {}/{kind}/{}", text("namespace"), text(field))
    };
    let given = list(page, "targets").filter(|target| target["action"] != "none");
    let mut writes: BTreeSet<String> = given.map(|target| at("patch", "secrets", "secret", target)).collect();
    writes.extend(list(page, "removals").map(|removal| at("delete", "secrets", "secret", removal)));
    let named = list(page, "attached").chain(list(page, "detached"));
    writes.extend(named.map(|naming| at("patch", "serviceaccounts", "serviceAccount", naming)));
    writes
}

/// The same from the audit log.
fn done(writes: &[String]) -> BTreeSet<String> {
    let objects = writes.iter().filter_map(|write| {
        let (verb, uri) = write.split_once(' ')?;
        let path = uri.split('?').next()?.strip_prefix("/api/v1/namespaces/")?;
        let counts = path.contains("/secrets/") || path.contains("/serviceaccounts/");
        counts.then(|| format!("{verb} {path}"))
    });
    objects.collect()
}

/// What a plan says of the scene's Secret in a namespace.
fn target<'v>(page: &'v Value, namespace: &str) -> &'v Value {
    list(page, "targets").find(|target| target["namespace"] == namespace).unwrap()
}

/// Somebody who may read all that a plan looks at.
pub(crate) async fn planner(scene: &Scene) -> Reader {
    let rules = json!([
        rule("", &["namespaces", "pods", "secrets", "serviceaccounts"], &["get", "list"]),
        rule(keys::GROUP, &["imagepullsecrets"], &["list"]),
    ]);
    Reader::new(scene, rules).await
}

async fn put_account(scene: &Scene, namespace: &str, secrets: &[&str]) {
    manifest::apply(&scene.client, &[account(namespace, "builder", secrets)]).await.unwrap();
}

async fn attached(scene: &Scene, namespace: &str) {
    eventually("the account names the Secret", async || {
        let accounts = Api::<ServiceAccount>::namespaced(scene.client.clone(), namespace);
        let account = accounts.get("builder").await.unwrap();
        let named = account.image_pull_secrets.iter().flatten().any(|entry| entry.name == scene.secret);
        if named { Ok(()) } else { Err(format!("{:?}", account.image_pull_secrets)) }
    })
    .await;
}

#[tokio::test]
async fn what_is_planned_is_what_the_operator_then_does() {
    let Some(mut solo) = Solo::open(&[]).await else { return };
    let scene = &solo.scene;
    let team = json!({"labels": {"team": scene.id}});
    let shop = scene.namespace("shop", team.clone()).await;
    let dock = scene.namespace("dock", team.clone()).await;
    let quay = scene.namespace("quay", team.clone()).await;
    let yard = scene.namespace("yard", json!({})).await;
    for namespace in [&shop, &quay] {
        put_account(scene, namespace, &[]).await;
    }
    scene.source("hub", &[(HOST, LOGIN), ("old.example", LOGIN)]).await;
    let by_label = json!({
        "namespaces": {"labels": [{"matchLabels": {"team": scene.id}}]}, "serviceAccounts": {"names": ["builder"]},
    });
    let grant = scene.grant("g", &["hub"], by_label).await;
    scene.ready_in(&grant, &[&dock, &quay, &shop]).await;
    attached(scene, &shop).await;
    attached(scene, &quay).await;

    let planner = planner(scene).await;
    let settled = planner.run(&["plan"]);
    assert_eq!(settled.status.code(), Some(0), "{}", said(&settled));
    assert!(
        said(&settled).contains("Nothing would change; 3 Secrets as they should be."),
        "{}",
        said(&settled)
    );

    // While nobody works, all kinds of things happen.
    solo.operator.kill();
    let scene = &solo.scene;
    let evil = docker_config(&[("evil.example", ("mallory", "m"))]);
    let key = Format::DockerConfigJson.data_key();
    scene.edit_secret(&shop, &scene.secret, json!({"data": null, "stringData": {key: evil}})).await;
    put_account(scene, &shop, &["theirs"]).await;
    scene.delete_secret(&dock, &scene.secret).await;
    scene.tag_namespace(&quay, json!({"labels": {"team": "another"}})).await;
    scene.tag_namespace(&yard, team).await;
    scene.source("hub", &[(HOST, NEXT), ("new.example", LOGIN)]).await;

    let output = planner.run(&["plan", "-o", "json"]);
    assert_eq!(output.status.code(), Some(1), "{}", said(&output));
    let plan = page(&output);
    let edited = json!({"added": ["new.example", HOST], "removed": ["evil.example"]});
    assert_eq!(
        json!([target(&plan, &shop)["action"], target(&plan, &shop)["difference"]]),
        json!(["update", edited])
    );
    assert_eq!(target(&plan, &dock)["action"], "create");
    assert_eq!(plan["removals"][0]["registries"], json!(["old.example", HOST]), "{plan:#}");
    let words = said(&planner.run(&["plan"]));
    for line in ["+ new.example", "- evil.example", "Would change: 2 to create, 1 to update, 1 to delete"] {
        assert!(words.contains(line), "{line}: {words}");
    }

    let before = solo.writes().len();
    solo.operator.begin().await.unwrap();
    solo.operator.ready().await.unwrap();
    let scene = &solo.scene;
    scene.ready_in(&grant, &[&dock, &shop, &yard]).await;
    attached(scene, &shop).await;
    scene.has_no_target(&quay).await;
    assert_eq!(done(&solo.writes().split_off(before)), planned(&plan));
    let settled = planner.run(&["plan"]);
    assert_eq!(settled.status.code(), Some(0), "{}", said(&settled));

    // A rotated login alone: the registry is named, and that its credential is another.
    solo.operator.kill();
    let scene = &solo.scene;
    scene.source("hub", &[(HOST, LOGIN), ("new.example", LOGIN)]).await;
    let rotated = page(&planner.run(&["plan", "-o", "json"]));
    assert_eq!(target(&rotated, &yard)["difference"], json!({"replaced": [HOST]}));
    assert!(said(&planner.run(&["plan"])).contains(&format!("~ {HOST} (another credential)")));
    let labelled = json!({"metadata": {"labels": {keys::OWNER_UID_LABEL: null}}});
    scene.source("hub", &[(HOST, NEXT), ("new.example", LOGIN)]).await;
    scene.edit_secret(&yard, &scene.secret, labelled).await;
    let stripped = page(&planner.run(&["plan", "-o", "json"]));
    assert_eq!(target(&stripped, &yard)["difference"], json!({"metadata": true}), "{stripped:#}");
}

#[tokio::test]
async fn manifests_are_planned_as_if_they_had_been_applied() {
    let Some(solo) = Solo::open(&[]).await else { return };
    let scene = &solo.scene;
    let shop = scene.namespace("shop", json!({})).await;
    let yard = scene.namespace("yard", json!({})).await;
    let dock = scene.namespace("dock", json!({})).await;
    scene.source("hub", &[(HOST, LOGIN)]).await;
    let grant = scene.grant("g", &["hub"], json!({"namespaces": {"names": [shop, yard]}})).await;
    scene.ready_in(&grant, &[&shop, &yard]).await;

    let planner = planner(scene).await;
    let folder = tempfile::tempdir().unwrap();
    let kind = json!({"apiVersion": format!("{}/{}", keys::GROUP, keys::VERSION), "kind": keys::KIND});
    let with = |name: &str, spec: Value| {
        let mut object = kind.clone();
        object["metadata"] = json!({ "name": name });
        object["spec"] = spec;
        object
    };
    let ask = |objects: &[Value]| {
        let file = folder.path().join("objects.json");
        let list = json!({"apiVersion": "v1", "kind": "List", "items": objects});
        std::fs::write(&file, list.to_string()).unwrap();
        planner.run(&["plan", "--live", "-o", "json", "-f", file.to_str().unwrap()])
    };
    let as_it_is = scene.spec(&["hub"], json!({"namespaces": {"names": [shop, yard]}}));
    let same = ask(&[with(&grant, as_it_is)]);
    assert_eq!(same.status.code(), Some(0), "{}", said(&same));

    // Another namespace instead of one, and one more ImagePullSecret with a source that is not there yet.
    let moved = scene.spec(&["hub"], json!({"namespaces": {"names": [shop, dock]}}));
    let mine = scene.name("mine");
    let new = scene.spec(&["new"], json!({"secret": {"name": mine}, "namespaces": {"names": [yard]}}));
    let source = json!({
        "apiVersion": "v1", "kind": "Secret", "metadata": {"name": "new", "namespace": scene.home},
        "type": Format::DockerConfigJson.secret_type(),
        "stringData": {Format::DockerConfigJson.data_key(): docker_config(&[("new.example", LOGIN)])},
    });
    let output = ask(&[with(&grant, moved), with("another", new), source]);
    assert_eq!(output.status.code(), Some(1), "{}", said(&output));
    let expected = [
        format!("delete {yard}/secrets/{}", scene.secret),
        format!("patch {dock}/secrets/{}", scene.secret),
        format!("patch {yard}/secrets/{mine}"),
    ];
    assert_eq!(planned(&page(&output)), expected.into());
    assert_eq!(
        page(&output)["removals"][0]["because"],
        format!("no rule selects the namespace (ImagePullSecret {grant})")
    );
    let settled = planner.run(&["plan"]);
    assert_eq!(settled.status.code(), Some(0), "nothing was applied: {}", said(&settled));

    // Who may not read the source learns what can be known without.
    let rules = json!([
        rule("", &["namespaces"], &["list"]),
        json!({"apiGroups": [""], "resources": ["secrets"], "resourceNames": [scene.secret], "verbs": ["list"]}),
        rule(keys::GROUP, &["imagepullsecrets"], &["list"]),
    ]);
    let careful = Reader::new(scene, rules).await;
    let output = careful.run(&["plan"]);
    assert_eq!(output.status.code(), Some(3), "{}", said(&output));
    let missing = format!("could not check: cannot get secrets named hub in the namespace {}", scene.home);
    assert!(said(&output).contains(&missing), "{}", said(&output));
    assert!(said(&output).contains("Nothing would change; 2 Secrets as they should be"), "{}", said(&output));
    let stranger = Reader::new(scene, json!([rule("", &["namespaces"], &["list"])])).await;
    let output = stranger.run(&["plan"]);
    assert_eq!(output.status.code(), Some(3), "{}", said(&output));
    assert!(
        said(&output).contains("the right that is missing is list on imagepullsecrets"),
        "{}",
        said(&output)
    );
}
