//! `imps diagnose` at a cluster: pods that wait for images as a kubelet would leave them, and what is said about
//! them to somebody who may read all of it, or little.

use std::collections::BTreeMap;
use std::process::Output;

use imps_core::dockerconfig::Format;
use imps_testbed::manifest;
use k8s_openapi::api::core::v1::{Event, Pod};
use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::ResourceExt;
use kube::api::{Api, DeleteParams, ListParams, Patch, PatchParams, PostParams};
use serde_json::{Value, json};

use super::read::docker_config;
use super::reader::{Reader, rule, said};
use super::stage::{Scene, Solo};
use super::wait::{eventually, say};

const HOST: &str = "reg.example";
const IMAGE: &str = "reg.example/team/app:1";
const LOGIN: (&str, &str) = ("canary-user", "canary-password");
const ANONYMOUS: &str = "Back-off pulling image \"reg.example/team/app:1\": ErrImagePull: failed to authorize: failed \
                         to fetch anonymous token: unexpected status: 401 Unauthorized";

/// All that a diagnosis reads.
const READ: [(&str, &[&str]); 4] = [
    ("", &["pods", "events", "secrets", "serviceaccounts", "namespaces", "nodes"]),
    ("apps", &["deployments"]),
    ("batch", &["jobs"]),
    (imps_api::keys::GROUP, &["imagepullsecrets"]),
];

/// The rules for it.
pub(crate) fn everything() -> Value {
    READ.iter().map(|(group, resources)| rule(group, resources, &["get", "list"])).collect()
}

/// The verdicts by the names of the pods.
fn verdicts(output: &Output) -> BTreeMap<String, String> {
    let report: Value = serde_json::from_slice(&output.stdout).unwrap_or_else(|_| panic!("{}", said(output)));
    let pods = report["pods"].as_array().unwrap().iter();
    let text = |value: &Value| value.as_str().unwrap_or("none").to_owned();
    pods.map(|pod| (text(&pod["subject"]), text(&pod["verdict"]["code"]))).collect()
}

/// Makes a pod, and says of it what a kubelet would.
pub(crate) async fn waiting_pod(
    scene: &Scene,
    namespace: &str,
    name: &str,
    spec: Value,
    message: &str,
) -> Pod {
    let pods = scene.pods(namespace);
    let mut spec = spec;
    spec["automountServiceAccountToken"] = json!(false);
    if spec["containers"].is_null() {
        spec["containers"] = json!([{"name": "app", "image": IMAGE}]);
    }
    let labels = json!({"app": name});
    let pod = json!({"metadata": {"name": name, "labels": labels}, "spec": spec});
    let pod: Pod = serde_json::from_value(pod).unwrap();
    // The ServiceAccount `default` comes a moment after its namespace.
    eventually("the pod is admitted", async || {
        pods.create(&PostParams::default(), &pod).await.map(drop).map_err(|error| error.to_string())
    })
    .await;
    let waiting = json!({"waiting": {"reason": "ImagePullBackOff", "message": message}});
    let status = json!({"status": {"phase": "Pending", "containerStatuses": [{
        "name": "app", "state": waiting, "image": IMAGE, "imageID": "", "ready": false, "restartCount": 0,
    }]}});
    pods.patch_status(name, &PatchParams::default(), &Patch::Merge(status)).await.unwrap()
}

async fn pull_secret(scene: &Scene, namespace: &str, name: &str, key: &str) {
    let content = docker_config(&[(key, LOGIN)]);
    let format = Format::DockerConfigJson;
    let data = [(format.data_key(), content.as_bytes())];
    scene.put_secret(namespace, name, format.secret_type(), &data, json!({})).await;
}

async fn event(scene: &Scene, pod: &Pod, reason: &str, message: &str) {
    let namespace = pod.namespace().unwrap();
    let event = json!({
        "metadata": {"name": format!("{}.{}", pod.name_any(), reason.to_lowercase())},
        "involvedObject": {"kind": "Pod", "namespace": namespace, "name": pod.name_any(), "uid": pod.uid()},
        "reason": reason, "message": message, "type": "Warning",
        "lastTimestamp": "2026-01-31T12:00:00Z", "source": {"component": "kubelet"},
    });
    let api = Api::<Event>::namespaced(scene.client.clone(), &namespace);
    api.create(&PostParams::default(), &serde_json::from_value(event).unwrap()).await.unwrap();
}

fn names(secret: &str) -> Value {
    json!({"imagePullSecrets": [{"name": secret}]})
}

/// A ServiceAccount that names these.
pub(crate) fn account(namespace: &str, name: &str, secrets: &[&str]) -> Value {
    let secrets: Vec<Value> = secrets.iter().map(|name| json!({ "name": name })).collect();
    json!({
        "apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": name, "namespace": namespace},
        "imagePullSecrets": secrets,
    })
}

/// Situations of every rung; which verdict each pod must get.
async fn stage(scene: &Scene, shop: &str, yard: &str) -> BTreeMap<String, String> {
    let mut expected = BTreeMap::new();
    let mut expect = |name: &str, code: &str| {
        expected.insert(format!("pod/{name}"), code.to_owned());
    };
    let content = docker_config(&[(HOST, LOGIN)]);
    let key = Format::DockerConfigJson.data_key();
    scene.put_secret(shop, "opaque", "Opaque", &[(key, content.as_bytes())], json!({})).await;
    pull_secret(scene, yard, "elsewhere", HOST).await;
    for (name, key) in [
        ("right", HOST),
        ("port", "reg.example:5000"),
        ("path", "reg.example/other"),
        ("hub", "https://index.docker.io/v1"),
        ("capitals", "Reg.Example"),
        ("parts", "*.reg.example"),
        ("stranger", "else.example"),
    ] {
        pull_secret(scene, shop, name, key).await;
    }
    let bad = br#"{"auths":{"else.example":{"auth":"Y2FuYXJ5"}}}"#;
    let format = Format::DockerConfigJson;
    scene.put_secret(shop, "bad", format.secret_type(), &[(key, bad)], json!({})).await;

    for (name, code) in [
        ("opaque", "IMPS031"),
        ("elsewhere", "IMPS033"),
        ("port", "IMPS041"),
        ("path", "IMPS043"),
        ("capitals", "IMPS047"),
        ("parts", "IMPS044"),
        // Another Secret of the namespace would do.
        ("stranger", "IMPS026"),
        ("bad", "IMPS035"),
        ("nowhere", "IMPS032"),
    ] {
        let pod = waiting_pod(scene, shop, name, names(name), ANONYMOUS).await;
        expect(name, code);
        if name == "nowhere" {
            let message = "Unable to retrieve some image pull secrets (nowhere); attempting to pull the image may not \
                           succeed.";
            event(scene, &pod, "FailedToRetrieveImagePullSecret", message).await;
        }
    }
    let mut hub = names("hub");
    hub["containers"] = json!([{"name": "app", "image": "team/app:1"}]);
    waiting_pod(scene, shop, "hub", hub, ANONYMOUS).await;
    expect("hub", "IMPS042");
    let not_found = waiting_pod(scene, shop, "tag", names("right"), "Back-off pulling image \"x\"").await;
    event(
        scene,
        &not_found,
        "Failed",
        "Failed to pull image \"x\": rpc error: reg.example/team/app:1: not found",
    )
    .await;
    expect("tag", "IMPS015");

    // In the yard a Secret is attached after the pod was made; another account has none.
    waiting_pod(scene, yard, "early", json!({}), ANONYMOUS).await;
    expect("early", "IMPS022");
    manifest::apply(
        &scene.client,
        &[account(yard, "default", &["elsewhere"]), account(yard, "builder", &[])],
    )
    .await
    .unwrap();
    waiting_pod(scene, yard, "builder", json!({"serviceAccountName": "builder"}), ANONYMOUS).await;
    expect("builder", "IMPS025");
    expected
}

#[tokio::test]
async fn each_pod_is_told_what_keeps_it_from_pulling() {
    let Some(scene) = Scene::open().await else { return };
    let shop = scene.namespace("shop", json!({})).await;
    let yard = scene.namespace("yard", json!({})).await;
    let expected = stage(&scene, &shop, &yard).await;
    let reader = Reader::new(&scene, everything()).await;

    let mut found = verdicts(&reader.run(&["diagnose", "-n", &shop, "-o", "json"]));
    found.extend(verdicts(&reader.run(&["diagnose", "-n", &yard, "-o", "json"])));
    assert_eq!(found, expected);
    // One pod alone is told the same, and so is each among those of the whole cluster.
    for (subject, code) in &expected {
        let place = if matches!(subject.as_str(), "pod/early" | "pod/builder") { &yard } else { &shop };
        let output = reader.run(&["diagnose", subject, "-n", place, "-o", "json"]);
        assert_eq!(output.status.code(), Some(1), "{}", said(&output));
        assert_eq!(verdicts(&output)[subject], *code, "{subject}");
    }
    let all = reader.run(&["diagnose", "--all", "-o", "json"]);
    let report: Value = serde_json::from_slice(&all.stdout).unwrap_or_else(|_| panic!("{}", said(&all)));
    let ours = report["pods"].as_array().unwrap().iter();
    let ours = ours.filter(|pod| [&shop, &yard].iter().any(|place| pod["namespace"] == place.as_str()));
    for pod in ours {
        assert_eq!(pod["verdict"]["code"], expected[pod["subject"].as_str().unwrap()].as_str(), "{pod:#}");
    }
    for format in ["table", "wide", "json", "yaml"] {
        let output = reader.run(&["diagnose", "-A", "-o", format]);
        assert!(!said(&output).contains("canary"), "{}", said(&output));
    }
    // A workload without pods is judged by its template.
    let labels = json!({"app": "idle"});
    let container = json!({"name": "app", "image": "reg.example:5000/team/app:1"});
    let idle = json!({
        "apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "idle", "namespace": yard},
        "spec": {
            "replicas": 0, "selector": {"matchLabels": labels},
            "template": {"metadata": {"labels": labels}, "spec": {"containers": [container]}},
        },
    });
    manifest::apply(&scene.client, &[idle]).await.unwrap();
    let output = reader.run(&["diagnose", "deploy/idle", "-n", &yard, "-o", "json"]);
    assert_eq!(verdicts(&output)["deployment/idle"], "IMPS041", "{}", said(&output));
    // Of an image that nobody pulls yet.
    let output = reader.run(&[
        "diagnose",
        "--image",
        "reg.example:5000/a",
        "-n",
        &yard,
        "--service-account",
        "default",
    ]);
    assert_eq!(output.status.code(), Some(1), "{}", said(&output));
    assert!(said(&output).contains("IMPS041"), "{}", said(&output));
}

#[tokio::test]
async fn an_image_pull_secret_that_passes_the_namespace_by_is_named_with_the_rule() {
    let Some(scene) = Scene::open().await else { return };
    let shop = scene.namespace("shop", json!({"labels": {"team": "web"}})).await;
    let yard = scene.namespace("yard", json!({"labels": {"team": scene.id}})).await;
    scene.source("hub", &[(HOST, LOGIN)]).await;
    let target = json!({"namespaces": {"labels": [{"matchLabels": {"team": scene.id}}], "names": [yard]}});
    let grant = scene.grant("g", &["hub"], target).await;
    scene.ready_in(&grant, &[&yard]).await;
    waiting_pod(&scene, &shop, "web", json!({}), ANONYMOUS).await;
    waiting_pod(&scene, &yard, "web", json!({}), ANONYMOUS).await;
    let reader = Reader::new(&scene, everything()).await;

    let passed_by = reader.run(&["diagnose", "pod/web", "-n", &shop, "-o", "wide"]);
    let text = said(&passed_by);
    assert!(text.contains("Verdict  IMPS081"), "{text}");
    assert!(text.contains(&format!("namespace label team={} (it is \"web\")", scene.id)), "{text}");
    let not_attached = reader.run(&["diagnose", "pod/web", "-n", &yard]);
    assert!(said(&not_attached).contains("Verdict  IMPS083"), "{}", said(&not_attached));
}

#[tokio::test]
async fn what_may_not_be_read_is_said_and_the_rest_is_found() {
    let Some(scene) = Scene::open().await else { return };
    let shop = scene.namespace("shop", json!({})).await;
    pull_secret(&scene, &shop, "port", "reg.example:5000").await;
    waiting_pod(&scene, &shop, "web", names("port"), ANONYMOUS).await;
    let lost = waiting_pod(&scene, &shop, "lost", names("nowhere"), ANONYMOUS).await;
    let message =
        "Unable to retrieve some image pull secrets (nowhere); attempting to pull the image may not succeed.";
    event(&scene, &lost, "FailedToRetrieveImagePullSecret", message).await;

    let reader = Reader::new(&scene, json!([rule("", &["pods", "events"], &["get", "list"])])).await;
    let output = reader.run(&["diagnose", "pod/web", "-n", &shop, "-o", "wide"]);
    let text = said(&output);
    assert_eq!(output.status.code(), Some(1), "the refusal itself is a finding: {text}");
    for words in ["IMPS010", "IMPS029", "IMPS039", "IMPS089", "what could not be checked may be the reason"] {
        assert!(text.contains(words), "{words}: {text}");
    }
    assert!(text.contains(&format!("needs the right to get secrets in {shop}")), "{text}");
    // The kubelet's own word about a Secret needs no right on Secrets.
    let lost = reader.run(&["diagnose", "pod/lost", "-n", &shop]);
    assert!(said(&lost).contains("Verdict  IMPS032"), "{}", said(&lost));
    // Who may get Secrets and not list them, as roles should be, is told of those that the pod names.
    let rules = json!([
        rule("", &["pods", "secrets", "serviceaccounts", "namespaces"], &["get"]),
        rule("", &["events"], &["list"]),
        rule(imps_api::keys::GROUP, &["imagepullsecrets"], &["list"]),
    ]);
    let careful = Reader::new(&scene, rules).await;
    for (subject, code) in [("pod/web", "IMPS041"), ("pod/lost", "IMPS032")] {
        let output = careful.run(&["diagnose", subject, "-n", &shop, "-o", "json"]);
        assert_eq!(verdicts(&output)[subject], code, "{}", said(&output));
        assert!(!said(&output).contains("\"unknown\""), "{}", said(&output));
    }
    // Without pods there is nothing to begin with.
    let stranger = Reader::new(&scene, json!([rule("", &["events"], &["list"])])).await;
    let output = stranger.run(&["diagnose", "pod/web", "-n", &shop]);
    assert_eq!(output.status.code(), Some(3), "{}", said(&output));
    assert!(said(&output).contains("the right that is missing is get on pods"), "{}", said(&output));
}

#[tokio::test]
async fn many_pods_cost_few_requests_and_need_no_imps() {
    let Some(mut solo) = Solo::open(&[]).await else { return };
    solo.operator.kill();
    let scene = &solo.scene;
    // As on a cluster that has never heard of imps.
    let definitions = Api::<CustomResourceDefinition>::all(scene.client.clone());
    let name = format!("{}.{}", imps_api::keys::PLURAL, imps_api::keys::GROUP);
    definitions.delete(&name, &DeleteParams::default()).await.unwrap();
    eventually("the kind is unknown", async || match scene.grants().list(&ListParams::default()).await {
        Err(kube::Error::Api(status)) if status.code == 404 => Ok(()),
        answer => Err(format!("{:?}", answer.map(|grants| grants.items.len()))),
    })
    .await;
    let places = 15;
    let mut spaces = Vec::new();
    for index in 0..places {
        let place = scene.namespace(&format!("crowd{index}"), json!({})).await;
        pull_secret(scene, &place, "port", "reg.example:5000").await;
        for pod in 0..4 {
            waiting_pod(scene, &place, &format!("web-{pod}"), names("port"), ANONYMOUS).await;
        }
        spaces.push(place);
    }
    let reader = Reader::new(scene, everything()).await;
    let output = reader.run(&["diagnose", "--all", "-o", "json"]);
    let report: Value =
        serde_json::from_slice(&output.stdout).unwrap_or_else(|_| panic!("{}", said(&output)));
    let told = report["pods"].as_array().unwrap().iter();
    let told = told.filter(|pod| spaces.iter().any(|place| pod["namespace"] == place.as_str()));
    assert!(told.clone().all(|pod| pod["verdict"]["code"] == "IMPS041"), "{report:#}");
    assert!(told.clone().all(|pod| pod["findings"].to_string().contains("IMPS087")), "{report:#}");
    assert_eq!(told.count(), places * 4);
    let requests = solo.requests_of(&reader.user);
    say(&format!("{} pods in {places} namespaces: {} requests", places * 4, requests.len()));
    assert!(requests.len() < 20, "{requests:#?}");
}
