//! `imps explain` and `imps status` at a cluster with a real operator, asked by somebody who may read all of it, or
//! little.

use std::process::{Child, Output, Stdio};

use imps_api::keys;
use imps_core::dockerconfig::Format;
use imps_testbed::manifest;
use serde_json::{Value, json};

use super::read::docker_config;
use super::reader::{Reader, rule, said};
use super::stage::Scene;
use super::wait::eventually;

const HOST: &str = "reg.example";
const LOGIN: (&str, &str) = ("canary-user", "canary-password");

fn report(output: &Output) -> Value {
    serde_json::from_slice(&output.stdout).unwrap_or_else(|_| panic!("{}", said(output)))
}

/// A command that goes on until it is ended, also by a scene that fails.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// What the answer says of one ImagePullSecret.
fn share(output: &Output, grant: &str) -> Value {
    let report = report(output);
    let mut shares = report["secrets"].as_array().unwrap().iter();
    let found = shares.find(|share| share["imagePullSecret"] == grant);
    found.unwrap_or_else(|| panic!("{grant} is not in {report:#}")).clone()
}

#[tokio::test]
async fn a_namespace_is_told_what_it_is_given_and_by_which_rule() {
    let Some(scene) = Scene::open().await else { return };
    let shop = scene.namespace("shop", json!({"labels": {"team": scene.id}})).await;
    let yard = scene.namespace("yard", json!({"labels": {"team": "pay"}})).await;
    scene.source("hub", &[(HOST, LOGIN)]).await;
    let target = json!({"namespaces": {"labels": [{"matchLabels": {"team": scene.id}}], "names": [shop]}});
    let grant = scene.grant("g", &["hub"], target).await;
    scene.ready_in(&grant, &[&shop]).await;

    let all = json!([
        rule("", &["namespaces", "pods", "secrets", "serviceaccounts"], &["get", "list"]),
        rule(keys::GROUP, &["imagepullsecrets"], &["list"]),
    ]);
    let reader = Reader::new(&scene, all).await;
    let has = share(&reader.run(&["explain", &shop, "-o", "json"]), &grant);
    assert_eq!(json!([has["state"], has["secret"]]), json!(["has", scene.secret]), "{has:#}");
    assert_eq!(has["rule"], format!("namespace name {shop}"));
    assert_eq!(has["sources"], json!([{"source": format!("{}/hub", scene.home), "registries": [HOST]}]));
    let left_out = share(&reader.run(&["explain", &yard, "-o", "json"]), &grant);
    assert_eq!(left_out["state"], "left out");
    let refusals = left_out["rule"].as_str().unwrap();
    assert!(refusals.contains(&format!("namespace label team={} (it is \"pay\")", scene.id)), "{refusals}");

    // Somebody else's Secret stands in the way of another one.
    let format = Format::DockerConfigJson;
    let content = docker_config(&[(HOST, LOGIN)]);
    let data = [(format.data_key(), content.as_bytes())];
    let mine = scene.name("mine");
    scene.put_secret(&yard, &mine, format.secret_type(), &data, json!({})).await;
    let target = json!({"secret": {"name": mine}, "namespaces": {"names": [yard]}});
    let blocked = scene.grant("blocked", &["hub"], target).await;
    let output = reader.run(&["explain", &yard, "-o", "json"]);
    assert_eq!(share(&output, &blocked)["state"], "conflict", "{}", said(&output));
    assert_eq!(output.status.code(), Some(1), "{}", said(&output));
    assert!(!said(&output).contains("canary"), "{}", said(&output));

    // Who may not read Secrets is told what the status says, and that this is so.
    let rules =
        json!([rule("", &["namespaces"], &["get"]), rule(keys::GROUP, &["imagepullsecrets"], &["list"])]);
    let careful = Reader::new(&scene, rules).await;
    let told = share(&careful.run(&["explain", &shop, "-o", "json"]), &grant);
    let words = "by the status; the Secret could not be read";
    assert_eq!(json!([told["state"], told["cause"]]), json!(["has", words]));
    let stranger = Reader::new(&scene, json!([rule("", &["namespaces"], &["get"])])).await;
    let output = stranger.run(&["explain", &shop]);
    assert_eq!(output.status.code(), Some(3), "{}", said(&output));
    assert!(
        said(&output).contains("the right that is missing is list on imagepullsecrets"),
        "{}",
        said(&output)
    );
    let nowhere = reader.run(&["explain", "no-such-namespace"]);
    assert_eq!(nowhere.status.code(), Some(3));
    assert!(said(&nowhere).contains("there is no namespace no-such-namespace"), "{}", said(&nowhere));
}

#[tokio::test]
async fn an_image_is_told_which_credentials_the_kubelet_would_try() {
    let Some(scene) = Scene::open().await else { return };
    let shop = scene.namespace("shop", json!({})).await;
    scene.source("hub", &[("reg.example/team", LOGIN)]).await;
    // Selected by a pod alone, which a look at one image does not see.
    let target = json!({"namespacesWithPods": {"labels": [{"matchLabels": {"wants": scene.id}}]}});
    let grant = scene.grant("g", &["hub"], target).await;
    scene.pod(&shop, "web", json!({"labels": {"wants": scene.id}})).await;
    scene.ready_in(&grant, &[&shop]).await;
    let format = Format::DockerConfigJson;
    for (name, key) in [("wide", HOST), ("port", "reg.example:5000")] {
        let content = docker_config(&[(key, LOGIN)]);
        let data = [(format.data_key(), content.as_bytes())];
        scene.put_secret(&shop, name, format.secret_type(), &data, json!({})).await;
    }
    let names: Vec<Value> =
        ["port", "wide", &scene.secret].iter().map(|name| json!({"name": name})).collect();
    let account = json!({
        "apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": "builder", "namespace": shop},
        "imagePullSecrets": names,
    });
    manifest::apply(&scene.client, &[account]).await.unwrap();

    let rules = json!([
        rule("", &["namespaces", "secrets", "serviceaccounts"], &["get", "list"]),
        rule(keys::GROUP, &["imagepullsecrets"], &["list"]),
    ]);
    let reader = Reader::new(&scene, rules).await;
    let ask = ["explain", "reg.example/team/app:1", "-n", &shop, "--service-account", "builder"];
    let output = reader.run(&[&ask[..], &["-o", "json"]].concat());
    assert_eq!(output.status.code(), Some(0), "{}", said(&output));
    let answer = report(&output);
    let tried = answer["tried"].as_array().unwrap();
    let order: Vec<&str> = tried.iter().filter_map(|trial| trial["secret"].as_str()).collect();
    assert_eq!(order, [scene.secret.as_str(), "wide"], "{answer:#}");
    assert_eq!(json!([tried[0]["writtenBy"], tried[1]["writtenBy"]]), json!([grant, null]));
    assert_eq!(json!([answer["first"], answer["passedOver"][0]["why"]["code"]]), json!([1, "IMPS041"]));
    assert!(!said(&output).contains("canary"), "{}", said(&output));
    let output = reader.run(&["explain", "else.example/app", "-n", &shop]);
    assert_eq!(output.status.code(), Some(1), "{}", said(&output));

    // Without the right to read Secrets there is no answer, and it says what it takes.
    let blind = Reader::new(&scene, json!([rule("", &["serviceaccounts", "namespaces"], &["get"])])).await;
    let output = blind.run(&ask);
    assert_eq!(output.status.code(), Some(3), "{}", said(&output));
    assert!(
        said(&output).contains(&format!("needs the right to get secrets in {shop}")),
        "{}",
        said(&output)
    );
}

#[tokio::test]
async fn the_status_is_on_one_screen_and_follows_what_changes() {
    let Some(scene) = Scene::open().await else { return };
    let shop = scene.namespace("shop", json!({})).await;
    scene.source("hub", &[(HOST, LOGIN)]).await;
    let grant = scene.grant("g", &["hub"], json!({"namespaces": {"names": [shop]}})).await;
    scene.ready_in(&grant, &[&shop]).await;
    let listing = rule(keys::GROUP, &["imagepullsecrets"], &["list"]);
    let reader = Reader::new(&scene, json!([listing])).await;
    let output = reader.run(&["status", &grant, "-o", "json"]);
    assert_eq!(output.status.code(), Some(0), "{}", said(&output));
    let page = report(&output);
    let entry = &page["imagePullSecrets"][0];
    assert_eq!(json!([entry["ready"], entry["namespaces"]["synced"]]), json!(["True", 1]), "{page:#}");
    assert_eq!(entry["sources"][0]["registries"], json!([HOST]));
    // Leases may not be read, which is said and keeps nothing else back.
    assert_eq!(page["leadership"]["state"], "unknown");
    assert!(page["leadership"]["message"].as_str().unwrap().contains("leases"), "{page:#}");
    let nobody = reader.run(&["status", "no-such-grant"]);
    assert_eq!((nobody.status.code(), said(&nobody).contains("no-such-grant")), (Some(3), true));
    let watching = reader.run(&["status", &grant, "--watch"]);
    assert_eq!(watching.status.code(), Some(3), "{}", said(&watching));
    assert!(said(&watching).contains("the right that is missing is watch on"), "{}", said(&watching));

    let lease = json!({
        "apiVersion": "coordination.k8s.io/v1", "kind": "Lease",
        "metadata": {"name": "elected", "namespace": scene.home}, "spec": {"holderIdentity": ""},
    });
    manifest::apply(&scene.client, &[lease]).await.unwrap();
    let rules = json!([
        rule(keys::GROUP, &["imagepullsecrets"], &["watch", "list"]),
        rule("coordination.k8s.io", &["leases"], &["list"]),
    ]);
    let follower = Reader::new(&scene, rules).await;
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("screen");
    let place = ["--lease-namespace", &scene.home, "--lease-name", "elected"];
    let mut follow = follower.command(&[&["status", &grant, "--watch", "-o", "json"], &place[..]].concat());
    let screen = Stdio::from(std::fs::File::create(&file).unwrap());
    let watching = Running(follow.stdout(screen).spawn().unwrap());
    // Each line is a page of its own.
    let last = || {
        let text = std::fs::read_to_string(&file).unwrap_or_default();
        text.lines().last().and_then(|line| serde_json::from_str::<Value>(line).ok()).unwrap_or_default()
    };
    let first = eventually("the first page", async || {
        let page = last();
        if page["imagePullSecrets"][0]["ready"] == "True" { Ok(page) } else { Err(page.to_string()) }
    })
    .await;
    assert_eq!(first["leadership"]["state"], "free");
    scene.delete_secret(&scene.home, "hub").await;
    eventually("a page with the source that is missing", async || {
        let page = last();
        let source = &page["imagePullSecrets"][0]["sources"][0];
        if source["state"] == "Missing" { Ok(()) } else { Err(page.to_string()) }
    })
    .await;
    drop(watching);
    let output = reader.run(&["status", &grant]);
    assert_eq!(output.status.code(), Some(1), "{}", said(&output));
    assert!(!said(&output).contains("canary"), "{}", said(&output));
}
