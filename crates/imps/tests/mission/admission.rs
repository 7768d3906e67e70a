//! The policy in `examples/pods-with-own-list`, on a real API server: pods that bring a list of their own get the name
//! too.

use std::path::Path;

use imps_testbed::manifest;
use k8s_openapi::api::core::v1::Pod;
use kube::api::{DeleteParams, PostParams};
use serde_json::{Value, json};

use super::stage::Scene;
use super::wait::eventually;

/// The example, for the Secret, the name and the namespaces of a scene.
fn example(scene: &Scene) -> Vec<Value> {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../examples/pods-with-own-list/10-policy.yaml");
    let text = std::fs::read_to_string(file).unwrap();
    let text = text.replace("company-pull-secret", &scene.secret);
    assert!(text.contains("registry-access: \"yes\""), "the label that is replaced here");
    manifest::read(&text.replace("registry-access: \"yes\"", &format!("scene: {}", scene.id))).unwrap()
}

/// What a pod with this list pulls with when it has been admitted.
async fn pulls_with(scene: &Scene, namespace: &str, list: Value) -> Vec<String> {
    let pod = json!({
        "metadata": {"generateName": "p-"},
        "spec": {
            "automountServiceAccountToken": false, "imagePullSecrets": list,
            "containers": [{"name": "c", "image": "reg.example/app"}],
        },
    });
    let pod: Pod = serde_json::from_value(pod).unwrap();
    let params = PostParams { dry_run: true, ..PostParams::default() };
    let made = scene.pods(namespace).create(&params, &pod).await.unwrap();
    made.spec.unwrap().image_pull_secrets.unwrap_or_default().into_iter().map(|entry| entry.name).collect()
}

#[tokio::test]
async fn the_policy_of_the_example_adds_the_name_to_pods_with_a_list_of_their_own() {
    let Some(scene) = Scene::open().await else { return };
    let shop = scene.namespace("shop", json!({})).await;
    // So that the pods are admitted at all.
    let seen = scene.pod(&shop, "first", json!({})).await;
    scene.pods(&shop).delete(&seen, &DeleteParams::default()).await.unwrap();
    let policy = example(&scene);
    manifest::apply(&scene.client, &policy).await.unwrap();
    let (pull, own) = (scene.secret.as_str(), json!([{"name": "own"}]));
    eventually("the policy is in force", async || {
        let names = pulls_with(&scene, &shop, own.clone()).await;
        if names == ["own", pull] { Ok(()) } else { Err(format!("{names:?}")) }
    })
    .await;
    assert_eq!(pulls_with(&scene, &shop, json!([])).await, [pull]);
    assert_eq!(pulls_with(&scene, &shop, json!([{"name": pull}, {"name": "own"}])).await, [pull, "own"]);
    manifest::delete(&scene.client, &policy).await.unwrap();
}
