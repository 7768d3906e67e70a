//! `imps migrate` at a cluster: it reads with few rights and writes nothing, and what it prints takes over in place.

use std::process::Output;

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use imps_api::keys;
use imps_cluster::rules::Needs;
use imps_core::dockerconfig::Format;
use imps_core::name::SecretRef;
use imps_core::selector::NamePattern;
use imps_testbed::manifest;
use k8s_openapi::api::core::v1::{Secret, ServiceAccount};
use kube::api::{Api, DynamicObject, GroupVersionKind, ListParams, PostParams};
use kube::core::ApiResource;
use kube::{Client, ResourceExt};
use serde_json::{Value, json};

use super::read::{docker_config, kubelet_uses, version};
use super::reader::{Reader, rule, said};
use super::stage::{Login, Scene, Solo};
use super::wait::eventually;

const OLD: Login<'_> = ("robot", "first");
const NEW: Login<'_> = ("robot", "second");
const IMAGE: &str = "reg.example/team/app:1";

fn migrate(reader: &Reader, arguments: &[&str]) -> Output {
    reader.run(&[&["migrate"], arguments].concat())
}

/// The objects of the JSON output.
fn printed(output: &Output) -> Vec<Value> {
    assert!(output.status.success(), "{}", said(output));
    let page: Value = serde_json::from_slice(&output.stdout).unwrap();
    page["list"]["items"].as_array().unwrap().clone()
}

/// A workload whose pods nobody runs.
async fn deployment(client: &Client, namespace: &str, name: &str, container: Value) {
    let labels = json!({ "app": name });
    let object = json!({
        "apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": name, "namespace": namespace},
        "spec": {
            "replicas": 1, "selector": {"matchLabels": labels},
            "template": {"metadata": {"labels": labels}, "spec": {"containers": [container]}},
        },
    });
    manifest::apply(client, &[object]).await.unwrap();
}

/// Writes a Secret as another tool would.
async fn write(scene: &Scene, namespace: &str, manager: &str, metadata: Value, login: Login<'_>) -> Secret {
    let config = docker_config(&[("https://reg.example", login)]);
    let secret = json!({
        "metadata": metadata,
        "type": Format::DockerConfigJson.secret_type(),
        "data": {".dockerconfigjson": BASE64_STANDARD.encode(config)},
    });
    let params = PostParams { field_manager: Some(manager.to_owned()), ..PostParams::default() };
    scene.secrets(namespace).create(&params, &serde_json::from_value(secret).unwrap()).await.unwrap()
}

/// A ServiceAccount that names these Secrets, as another tool left it.
async fn account(scene: &Scene, namespace: &str, name: &str, secrets: &[&str]) {
    let secrets: Vec<Value> = secrets.iter().map(|secret| json!({ "name": secret })).collect();
    let object = json!({
        "apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": name, "namespace": namespace},
        "imagePullSecrets": secrets,
    });
    manifest::apply(&scene.client, &[object]).await.unwrap();
}

/// The Secrets that a ServiceAccount names.
async fn named_by(scene: &Scene, namespace: &str, account: &str) -> Result<Vec<String>, String> {
    let api = Api::<ServiceAccount>::namespaced(scene.client.clone(), namespace);
    let account = api.get(account).await.map_err(|error| error.to_string())?;
    Ok(account.image_pull_secrets.into_iter().flatten().map(|reference| reference.name).collect())
}

/// Waits until the Secret in a namespace has the login, in the object that was there before.
async fn taken_over(scene: &Scene, before: &Secret, login: Login<'_>) -> Secret {
    let (namespace, name) = (before.namespace().unwrap(), before.name_any());
    eventually(&format!("{namespace}/{name} is taken over"), async || {
        let now = scene.secrets(&namespace).get(&name).await.map_err(|error| error.to_string())?;
        assert_eq!(now.uid(), before.uid(), "in place");
        match kubelet_uses(&now, IMAGE)?.first() {
            Some((user, password)) if (user.as_str(), password.as_str()) == login => Ok(now),
            other => Err(format!("the kubelet would use {other:?}")),
        }
    })
    .await
}

#[tokio::test]
async fn an_installation_of_the_original_is_checked_by_reading_alone() {
    let Some(mut solo) = Solo::open(&[]).await else { return };
    // Ours is not there yet.
    solo.operator.kill();
    let scene = &solo.scene;
    let shop = scene.namespace("shop", json!({})).await;
    scene.source("hub", &[("reg.example", NEW)]).await;
    deployment(
        &scene.client,
        &scene.home,
        "imps-imagepullsecrets-controller",
        json!({
            "name": "controller", "image": "ghcr.io/banzaicloud/imagepullsecrets:v0.3.13",
            "args": ["--metrics-addr=:8080", "--enable-leader-election", "--config-namespace=imps-system"],
        }),
    )
    .await;
    let grant = scene.grant_as_is("g", scene.spec(&["hub"], json!({"namespaces": {"names": [shop]}}))).await;
    let uid = scene.read_grant(&grant).await.uid().unwrap();
    let metadata = json!({
        "name": scene.secret,
        "labels": {keys::OWNER_UID_LABEL: uid},
        "annotations": {keys::LEGACY_COPY_ANNOTATION: "UEsDBBQACAgIAAAAAAA"},
        "ownerReferences": [{
            "apiVersion": format!("{}/{}", keys::GROUP, keys::VERSION), "kind": keys::KIND,
            "name": grant, "uid": uid, "controller": false,
        }],
    });
    let before = version(&write(scene, &shop, "manager", metadata, OLD).await);

    let rules = json!([
        rule("", &["namespaces"], &["list"]),
        rule("", &["secrets"], &["list", "get"]),
        rule("apps", &["deployments"], &["list"]),
        rule(keys::GROUP, &[keys::PLURAL], &["list"]),
        rule("images.cisco.com", &[keys::PLURAL], &["list"]),
        rule("apiextensions.k8s.io", &["customresourcedefinitions"], &["get"]),
    ]);
    let reader = Reader::new(scene, rules).await;
    let output = reader.run(&["migrate", "imps", "-o", "json"]);
    let report: Value =
        serde_json::from_slice(&output.stdout).unwrap_or_else(|_| panic!("{}", said(&output)));
    assert_eq!(report["attention"], json!([]), "{report:#}");
    assert_eq!((output.status.code(), &report["unseen"]), (Some(0), &json!([])));
    let has = |list: &str, object: &str| {
        report[list].as_array().unwrap().iter().any(|finding| finding["object"] == object)
    };
    assert!(has("same", "1 target Secret") && has("changes", "1 target Secret"), "{report:#}");
    assert_eq!(version(&scene.target(&shop).await.unwrap()), before);
    let requests = solo.requests_of(&reader.user);
    assert!(!requests.is_empty());
    for request in &requests {
        assert!(["get", "list"].contains(&request["verb"].as_str().unwrap()), "{request:#}");
    }

    // What is in the way is found too.
    let other = scene.namespace("other", json!({})).await;
    write(scene, &other, "somebody", json!({"name": scene.secret}), OLD).await;
    scene.edit_grant(&grant, json!({"target": {"namespaces": {"names": [shop, other]}}})).await;
    let output = reader.run(&["migrate", "imps"]);
    let conflict = format!("Secret {other}/{}", scene.secret);
    assert_eq!(output.status.code(), Some(1));
    assert!(
        said(&output).contains(&conflict) && said(&output).contains("TargetConflict"),
        "{}",
        said(&output)
    );

    // And a right that is missing is named.
    let stranger = Reader::new(scene, json!([rule("apps", &["deployments"], &["list"])])).await;
    let output = stranger.run(&["migrate", "imps"]);
    let missing = format!("the right that is missing is list on {}.{}", keys::PLURAL, keys::GROUP);
    assert_eq!(output.status.code(), Some(1));
    assert!(said(&output).contains(&missing), "{}", said(&output));
}

#[tokio::test]
async fn cluster_pull_secrets_are_replaced_without_a_new_secret() {
    let Some(solo) = Solo::open(&[]).await else { return };
    let scene = &solo.scene;
    install_theirs(&scene.client).await;
    let (name, seed) = (scene.name("hub"), SecretRef::new(scene.home.as_str(), "seed"));
    scene.source("seed", &[("reg.example", NEW)]).await;
    let theirs = json!({
        "apiVersion": "ops.alexellis.io/v1", "kind": "ClusterPullSecret", "metadata": {"name": name},
        "spec": {"secretRef": {"name": "seed", "namespace": scene.home}},
    });
    let theirs = their_api(&scene.client)
        .create(&PostParams::default(), &serde_json::from_value(theirs).unwrap())
        .await
        .unwrap();
    let shop = scene.namespace("shop", json!({})).await;
    let quiet =
        scene.namespace("quiet", json!({"annotations": {"alexellis.io/registry-creds.ignore": "1"}})).await;
    // As controllers/secret_reconciler.go and serviceaccount_watcher.go leave things.
    let owner = json!({
        "apiVersion": "ops.alexellis.io/v1", "kind": "ClusterPullSecret", "name": name,
        "uid": theirs.uid().unwrap(), "controller": true, "blockOwnerDeletion": true,
    });
    let metadata = json!({"name": name, "ownerReferences": [owner]});
    let before = write(scene, &shop, "controller", metadata, OLD).await;
    for account_name in ["default", "builder"] {
        account(scene, &shop, account_name, &["own", &name]).await;
    }
    account(scene, &quiet, "default", &[&name]).await;

    let rules = json!([
        rule("", &["namespaces"], &["list"]),
        rule("", &["secrets"], &["list", "get"]),
        rule("", &["replicationcontrollers"], &["list"]),
        rule("apps", &["deployments"], &["list"]),
        rule("ops.alexellis.io", &["clusterpullsecrets"], &["list"]),
    ]);
    let reader = Reader::new(scene, rules).await;
    let items = printed(&reader.run(&["migrate", "registry-creds", "-n", &scene.home, "-o", "json"]));
    let kinds: Vec<&str> = items.iter().map(|item| item["kind"].as_str().unwrap()).collect();
    assert_eq!(kinds, [keys::KIND], "the seed itself is the source");
    let needs = Needs {
        targets: [name.as_str().into()].into(),
        sources: [seed].into(),
        accounts: [NamePattern::new("*")].into(),
        ..Needs::default()
    };
    scene.permit(&needs).await;
    manifest::apply(&scene.client, &items).await.unwrap();

    let after = taken_over(scene, &before, NEW).await;
    let owners: Vec<&str> = after.owner_references().iter().map(|owner| owner.kind.as_str()).collect();
    assert!(owners.contains(&"ClusterPullSecret") && owners.contains(&keys::KIND), "{owners:?}");
    for account_name in ["default", "builder"] {
        assert_eq!(named_by(scene, &shop, account_name).await.unwrap(), ["own", &name], "named once");
    }
    let there = scene.secrets(&quiet).get_opt(&name).await.unwrap();
    assert!(there.is_none(), "{quiet} opted out");
    scene.delete_grant(&name).await;
    eventually("the accounts are let go, and nothing else", async || {
        match named_by(scene, &shop, "default").await? {
            names if names == ["own"] => Ok(()),
            names => Err(format!("{names:?}")),
        }
    })
    .await;
    eventually("the object is gone", async || match scene.grants().get_opt(&name).await {
        Ok(None) => Ok(()),
        other => Err(format!("{other:?}")),
    })
    .await;
}

#[tokio::test]
async fn the_secrets_of_upmc_are_taken_over_in_place() {
    let Some(scene) = Scene::open().await else { return };
    let shop = scene.namespace("shop", json!({})).await;
    let secret = |data: Value| {
        json!({
            "apiVersion": "v1", "kind": "Secret", "metadata": {"name": "dpr", "namespace": scene.home},
            "stringData": data,
        })
    };
    let settings = secret(json!({
        "DOCKER_PRIVATE_REGISTRY_SERVER": "https://reg.example",
        "DOCKER_PRIVATE_REGISTRY_USER": NEW.0,
        "DOCKER_PRIVATE_REGISTRY_PASSWORD": NEW.1,
    }));
    manifest::apply(&scene.client, &[settings]).await.unwrap();
    let variable =
        |name: &str| json!({"name": name, "valueFrom": {"secretKeyRef": {"name": "dpr", "key": name}}});
    deployment(
        &scene.client,
        &scene.home,
        "registry-creds",
        json!({
            "name": "registry-creds", "image": "upmcenterprises/registry-creds:1.10",
            "args": [format!("--dpr-secret-name={}", scene.secret), format!("--include-namespaces={shop}")],
            "env": [
                variable("DOCKER_PRIVATE_REGISTRY_SERVER"),
                variable("DOCKER_PRIVATE_REGISTRY_USER"),
                variable("DOCKER_PRIVATE_REGISTRY_PASSWORD"),
            ],
        }),
    )
    .await;
    // As main.go leaves things: no label, no owner, and a name in the ServiceAccount default.
    let before = write(&scene, &shop, "registry-creds", json!({"name": scene.secret}), OLD).await;
    account(&scene, &shop, "default", &[&scene.secret]).await;

    let rules = json!([
        rule("", &["namespaces"], &["list"]),
        rule("", &["secrets"], &["list", "get"]),
        rule("", &["replicationcontrollers"], &["list"]),
        rule("apps", &["deployments"], &["list"]),
        rule("ops.alexellis.io", &["clusterpullsecrets"], &["list"]),
    ]);
    let reader = Reader::new(&scene, rules).await;
    let arguments = ["registry-creds", "-n", &scene.home, "-o", "json"];
    let hidden = migrate(&reader, &arguments);
    assert!(!said(&hidden).contains(NEW.1), "{}", said(&hidden));
    assert!(said(&hidden).contains("kubectl get secret dpr"), "{}", said(&hidden));
    let items = printed(&migrate(&reader, &[&arguments[..], &["--with-credentials"]].concat()));
    let grant = items.iter().find(|item| item["kind"] == keys::KIND).unwrap();
    let credential = &grant["spec"]["registry"]["credentials"][0];
    let source =
        SecretRef::new(credential["namespace"].as_str().unwrap(), credential["name"].as_str().unwrap());
    let needs = Needs {
        targets: [scene.secret.as_str().into()].into(),
        sources: [source].into(),
        accounts: [NamePattern::new("default")].into(),
        ..Needs::default()
    };
    scene.permit(&needs).await;
    manifest::apply(&scene.client, &items).await.unwrap();
    taken_over(&scene, &before, NEW).await;
    let name = grant["metadata"]["name"].as_str().unwrap();
    scene.ready_in(name, &[&shop]).await;
    assert_eq!(named_by(&scene, &shop, "default").await.unwrap(), [scene.secret.as_str()]);
    scene.delete_grant(name).await;
}

fn their_api(client: &Client) -> Api<DynamicObject> {
    let kind = GroupVersionKind::gvk("ops.alexellis.io", "v1", "ClusterPullSecret");
    Api::all_with(client.clone(), &ApiResource::from_gvk(&kind))
}

/// The custom resource of alexellis/registry-creds (its manifest.yaml), as far as it says anything.
async fn install_theirs(client: &Client) {
    let schema = json!({"type": "object", "x-kubernetes-preserve-unknown-fields": true});
    let definition = json!({
        "apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition",
        "metadata": {"name": "clusterpullsecrets.ops.alexellis.io"},
        "spec": {
            "group": "ops.alexellis.io", "scope": "Cluster",
            "names": {
                "kind": "ClusterPullSecret", "listKind": "ClusterPullSecretList",
                "plural": "clusterpullsecrets", "singular": "clusterpullsecret",
            },
            "versions": [{
                "name": "v1", "served": true, "storage": true,
                "schema": {"openAPIV3Schema": schema},
            }],
        },
    });
    manifest::apply(client, &[definition]).await.unwrap();
    eventually("their custom resource is served", async || {
        their_api(client).list(&ListParams::default()).await.map(drop).map_err(|error| error.to_string())
    })
    .await;
}
