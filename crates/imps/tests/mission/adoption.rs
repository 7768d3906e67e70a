//! Secrets that others made and that become ours: only by a clear word, in place, and as the tools that imps replaces
//! have left them.

use std::time::Duration;

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use imps_api::keys;
use imps_testbed::manifest;
use k8s_openapi::api::core::v1::Secret;
use kube::ResourceExt;
use kube::api::{Api, ApiResource, DeleteParams, DynamicObject, GroupVersionKind, PostParams};
use serde_json::{Value, json};

use super::read::{docker_config, kubelet_uses, version};
use super::stage::{Login, Scene};
use super::wait::{eventually, within};

const ROBOT: Login<'_> = ("robot", "first");
const NEXT: Login<'_> = ("robot", "second");
const IMAGE: &str = "reg.example/team/app:1";
const DOCKER_CONFIG: &str = "kubernetes.io/dockerconfigjson";

/// A Secret as a tool makes it: by a create, under the tool's own name.
async fn made_by(scene: &Scene, manager: &str, namespace: &str, metadata: Value, data: Value) -> Secret {
    let mut metadata = metadata;
    metadata["name"] = json!(scene.secret);
    let secret = json!({"metadata": metadata, "type": DOCKER_CONFIG, "data": data});
    let params = PostParams { field_manager: Some(manager.to_owned()), ..PostParams::default() };
    let secret = serde_json::from_value(secret).unwrap();
    scene.secrets(namespace).create(&params, &secret).await.unwrap()
}

fn data(document: &str) -> Value {
    json!({".dockerconfigjson": BASE64_STANDARD.encode(document)})
}

/// A docker config as upmc's registry-creds writes it: the scheme in the key, `auth` alone, and a mail address.
fn as_upmc() -> Value {
    let auth = BASE64_STANDARD.encode("AWS:stale");
    data(&json!({"auths": {"https://reg.example": {"auth": auth, "email": "none"}}}).to_string())
}

fn stale() -> Value {
    data(&docker_config(&[("reg.example", ("robot", "stale")), ("gone.example", ("old", "old"))]))
}

fn named(scene: &Scene, namespaces: &[&str], adopt: bool) -> Value {
    json!({"secret": {"name": scene.secret, "adopt": adopt}, "namespaces": {"names": namespaces}})
}

#[tokio::test]
async fn secrets_of_every_tool_that_imps_replaces_are_taken_over_in_place() {
    let Some(scene) = Scene::open().await else { return };
    scene.source("hub", &[("reg.example", ROBOT)]).await;
    // Who made it, what stands on it, what is in it.
    let managed_by = json!({"app.kubernetes.io/managed-by": "imagepullsecret-patcher"});
    let last_applied = json!({"kubectl.kubernetes.io/last-applied-configuration": "{}"});
    let shapes = [
        ("kubectl-create", json!({}), stale()),
        ("kubectl-client-side-apply", json!({"annotations": last_applied}), stale()),
        ("registry-creds", json!({}), as_upmc()),
        // So it writes where a provider is not configured, or has failed.
        ("registry-creds", json!({}), data("{}")),
        ("imagepullsecret-patcher", json!({"annotations": managed_by}), stale()),
        ("manager", json!({"annotations": managed_by, "labels": managed_by}), stale()),
        ("controller", json!({}), json!({".dockerconfigjson": stale()[".dockerconfigjson"], "more": "eA=="})),
    ];
    let mut made = Vec::new();
    for (index, (manager, metadata, data)) in shapes.into_iter().enumerate() {
        let namespace = scene.namespace(&format!("n{index}"), json!({})).await;
        let secret = made_by(&scene, manager, &namespace, metadata, data).await;
        made.push((namespace, secret));
    }
    let namespaces: Vec<&str> = made.iter().map(|(namespace, _)| namespace.as_str()).collect();

    let grant = scene.grant("g", &["hub"], named(&scene, &namespaces, false)).await;
    let all = namespaces.len();
    let status = scene.status(&grant, "conflicts", |status| status["targets"]["conflict"] == all).await;
    let message = status["failures"][0]["message"].as_str().unwrap();
    assert!(message.contains("spec.target.secret.adopt"), "the remedy is told: {message}");
    for (namespace, secret) in &made {
        assert_eq!(
            version(&scene.target(namespace).await.unwrap()),
            version(secret),
            "without a word nothing"
        );
    }

    scene.edit_grant(&grant, json!({"target": named(&scene, &namespaces, true)})).await;
    scene.ready_in(&grant, &namespaces).await;
    for (namespace, before) in &made {
        let taken = scene.has_login(namespace, IMAGE, ROBOT).await;
        assert_eq!(taken.uid(), before.uid(), "{namespace}: in place");
        assert_eq!(kubelet_uses(&taken, "gone.example/app").unwrap(), [], "{namespace}: its content is ours");
        for (key, value) in before.annotations() {
            assert_eq!(taken.annotations().get(key), Some(value), "{namespace}: what others say on it stays");
        }
        for (key, value) in before.labels() {
            assert_eq!(taken.labels().get(key), Some(value), "{namespace}: what others say on it stays");
        }
        assert_eq!(taken.owner_references().len(), 1);
    }
    // From now on it is like any other of ours.
    scene.source("hub", &[("reg.example", NEXT)]).await;
    for (namespace, before) in &made {
        assert_eq!(scene.has_login(namespace, IMAGE, NEXT).await.uid(), before.uid());
    }
    scene.edit_grant(&grant, json!({"target": named(&scene, &namespaces[1..], true)})).await;
    scene.has_no_target(namespaces[0]).await;
}

#[tokio::test]
async fn what_a_cluster_pull_secret_owns_outlives_it_once_it_is_taken_over() {
    let Some(scene) = Scene::open().await else { return };
    scene.source("hub", &[("reg.example", ROBOT)]).await;
    let shop = scene.namespace("shop", json!({})).await;
    let owner = cluster_pull_secret(&scene).await;
    let reference = json!([{
        "apiVersion": "ops.alexellis.io/v1", "kind": "ClusterPullSecret", "name": owner.name_any(),
        "uid": owner.uid().unwrap(), "controller": true, "blockOwnerDeletion": true,
    }]);
    let before = made_by(&scene, "manager", &shop, json!({"ownerReferences": reference}), stale()).await;
    let grant = scene.grant("g", &["hub"], named(&scene, &[&shop], true)).await;
    scene.ready_in(&grant, &[&shop]).await;
    let taken = scene.has_login(&shop, IMAGE, ROBOT).await;
    assert_eq!(taken.owner_references().len(), 2, "the other owner is its own affair");

    pull_secrets(&scene).delete(&owner.name_any(), &DeleteParams::default()).await.unwrap();
    // The garbage collector drops the reference to what is gone, and keeps what has another owner. It looks for kinds
    // that are new to it every half minute.
    within(Duration::from_secs(90), "the former owner is gone from it", async || {
        let secret = scene.target(&shop).await.ok_or("the Secret is gone")?;
        assert_eq!(secret.uid(), before.uid());
        if secret.owner_references().len() == 1 { Ok(()) } else { Err("not yet".to_owned()) }
    })
    .await;
    scene.has_login(&shop, IMAGE, ROBOT).await;
    scene.ready_in(&grant, &[&shop]).await;
}

fn pull_secrets(scene: &Scene) -> Api<DynamicObject> {
    let kind = GroupVersionKind::gvk("ops.alexellis.io", "v1", "ClusterPullSecret");
    let resource = ApiResource::from_gvk_with_plural(&kind, "clusterpullsecrets");
    Api::all_with(scene.client.clone(), &resource)
}

/// The owner that alexellis's registry-creds gives to its Secrets, with a definition that is enough for it.
async fn cluster_pull_secret(scene: &Scene) -> DynamicObject {
    let definition = json!({
        "apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition",
        "metadata": {"name": "clusterpullsecrets.ops.alexellis.io"},
        "spec": {
            "group": "ops.alexellis.io", "scope": "Cluster",
            "names": {"kind": "ClusterPullSecret", "plural": "clusterpullsecrets", "singular": "clusterpullsecret"},
            "versions": [{
                "name": "v1", "served": true, "storage": true,
                "schema": {"openAPIV3Schema": {"type": "object", "x-kubernetes-preserve-unknown-fields": true}},
            }],
        },
    });
    manifest::apply(&scene.client, &[definition]).await.unwrap();
    let object: DynamicObject = serde_json::from_value(json!({
        "apiVersion": "ops.alexellis.io/v1", "kind": "ClusterPullSecret", "metadata": {"name": scene.name("cps")},
        "spec": {"secretRef": {"name": "hub", "namespace": scene.home}},
    }))
    .unwrap();
    eventually("the kind is served", async || {
        pull_secrets(scene).create(&PostParams::default(), &object).await.map_err(|error| error.to_string())
    })
    .await
}

#[tokio::test]
async fn a_secret_consents_by_an_annotation_to_one_object_alone() {
    let Some(scene) = Scene::open().await else { return };
    scene.source("hub", &[("reg.example", ROBOT)]).await;
    let consenting = scene.namespace("yes", json!({})).await;
    let other = scene.namespace("no", json!({})).await;
    let say = |name: &str| json!({"annotations": {keys::ADOPT_ANNOTATION: name}});
    let before = made_by(&scene, "somebody", &consenting, say(&scene.name("g")), stale()).await;
    let foreign = made_by(&scene, "somebody", &other, say("another"), stale()).await;
    let grant = scene.grant("g", &["hub"], named(&scene, &[&consenting, &other], false)).await;
    assert_eq!(scene.has_login(&consenting, IMAGE, ROBOT).await.uid(), before.uid());
    scene.status(&grant, "one conflict", |status| status["targets"]["conflict"] == 1).await;
    assert_eq!(version(&scene.target(&other).await.unwrap()), version(&foreign));
    // Said later, it counts at once.
    scene.edit_secret(&other, &scene.secret, json!({"metadata": say(&grant)})).await;
    assert_eq!(scene.has_login(&other, IMAGE, ROBOT).await.uid(), foreign.uid());
    scene.ready_in(&grant, &[&consenting, &other]).await;
}

#[tokio::test]
async fn what_cannot_or_should_not_be_taken_over_is_left_and_the_remedy_told() {
    let Some(scene) = Scene::open().await else { return };
    scene.source("hub", &[("reg.example", ROBOT)]).await;
    let typed = scene.namespace("typed", json!({})).await;
    let kept = scene.namespace("kept", json!({})).await;
    // As upmc's registry-creds wrote `gcr-secret`.
    let dockercfg =
        br#"{"https://gcr.io":{"username":"oauth2accesstoken","password":"stale","email":"none"}}"#;
    let secret_type = "kubernetes.io/dockercfg";
    scene.put_secret(&typed, &scene.secret, secret_type, &[(".dockercfg", dockercfg)], json!({})).await;
    let controller = json!({"ownerReferences": [{
        "apiVersion": "external-secrets.io/v1", "kind": "ExternalSecret", "name": "hub", "uid": "e-1",
        "controller": true,
    }]});
    // The garbage collector knows no such kind and lets it be for as long as this takes.
    let controlled = made_by(&scene, "external-secrets", &kept, controller, stale()).await;
    let mut target = named(&scene, &[&typed, &kept], true);
    // The source is in the home of the scene, and a target of this name would be written over it.
    target["namespaces"]["names"] = json!([&typed, &kept]);
    let grant = scene.grant("g", &["hub"], target).await;
    let status = scene.status(&grant, "two conflicts", |status| status["targets"]["conflict"] == 2).await;
    let message = |namespace: &str| {
        let failures = status["failures"].as_array().unwrap();
        let failure = failures.iter().find(|failure| failure["namespace"] == namespace).unwrap();
        failure["message"].as_str().unwrap().to_owned()
    };
    assert!(message(&typed).contains("kubernetes.io/dockercfg") && message(&typed).contains("delete it"));
    assert!(message(&kept).contains("ExternalSecret hub"), "{}", message(&kept));
    assert_eq!(version(&scene.target(&kept).await.unwrap()), version(&controlled));
    scene.delete_secret(&typed, &scene.secret).await;
    scene.has_login(&typed, IMAGE, ROBOT).await;
}

#[tokio::test]
async fn a_source_is_never_taken_over_by_what_it_feeds() {
    let Some(scene) = Scene::open().await else { return };
    let shop = scene.namespace("shop", json!({})).await;
    let source = scene.secret.clone();
    scene.source(&source, &[("reg.example", ROBOT)]).await;
    let before = scene.secrets(&scene.home).get(&source).await.unwrap();
    let home = scene.home.clone();
    let grant = scene.grant("g", &[&source], named(&scene, &[&shop, &home], true)).await;
    scene.has_login(&shop, IMAGE, ROBOT).await;
    scene.status(&grant, "one conflict", |status| status["targets"]["conflict"] == 1).await;
    assert_eq!(version(&scene.secrets(&scene.home).get(&source).await.unwrap()), version(&before));
    scene.source(&source, &[("reg.example", NEXT)]).await;
    scene.has_login(&shop, IMAGE, NEXT).await;
}
