//! A new release, and whether helm's waiting tells the truth: green when every pull secret is there, red when a person
//! is needed.

use imps_testbed::manifest;
use k8s_openapi::api::core::v1::Secret;
use kube::api::Api;
use serde_json::{Value, json};

use super::cluster::{Cluster, docker_config, is_whole};
use super::ground::{can_run, grants};
use super::render::{IMAGE, chart, helm, values_file};

const GRANT: &str = "imps-imagepullsecrets-controller-default";

fn values(secret: &str) -> String {
    json!({
        "rbac": {"targetSecretNames": ["pull", "taken"]},
        "defaultConfig": {
            "enabled": true, "targetSecretName": secret, "namespaces": {"names": ["shop"]},
            "credentials": [{"name": "hub", "namespace": "sources"}],
        },
    })
    .to_string()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn helm_s_waiting_is_green_when_the_pull_secrets_are_there_and_red_when_a_person_is_needed() {
    let Some(helm) = helm() else { return };
    if !can_run() {
        return;
    }
    let cluster = Cluster::start(helm).await;
    let wait = ["--wait", "--timeout", "60s", "--set", IMAGE];
    // Definition, operator and an object of that definition, all in one release.
    let good = values_file(&cluster.folder, &values("pull"));
    cluster.must(&[&["install", "imps", &chart(), "-f", &good], &wait[..]].concat()).await;
    assert!(is_whole(&cluster.target("pull", "shop").await), "it is there as soon as helm has waited");

    let foreign = json!({
        "apiVersion": "v1", "kind": "Secret", "metadata": {"name": "taken", "namespace": "shop"},
        "type": "kubernetes.io/dockerconfigjson", "data": docker_config(),
    });
    manifest::apply(&cluster.client, &[foreign]).await.unwrap();
    let bad = values_file(&cluster.folder, &values("taken"));
    let short = ["--wait", "--timeout", "20s", "--set", IMAGE];
    let complaint = cluster.helm(&[&["upgrade", "imps", &chart(), "-f", &bad], &short[..]].concat()).await;
    let complaint = complaint.unwrap_err();
    assert!(complaint.contains(GRANT) && complaint.contains("Failed"), "{complaint}");
    let status: Value = grants(&cluster.client).get(GRANT).await.unwrap().data["status"].clone();
    let stalled =
        status["conditions"].as_array().unwrap().iter().any(|condition| condition["type"] == "Stalled");
    assert!(stalled, "{status:#}");

    // The person mends it, and the same command is green.
    Api::<Secret>::namespaced(cluster.client.clone(), "shop")
        .delete("taken", &Default::default())
        .await
        .unwrap();
    cluster.must(&[&["upgrade", "imps", &chart(), "-f", &bad], &wait[..]].concat()).await;
    assert!(is_whole(&cluster.target("taken", "shop").await));
}
