//! What a shell is offered: names that stand on the cluster, for who may list them.

use std::collections::BTreeSet;
use std::process::Output;

use imps_api::keys;
use k8s_openapi::api::apps::v1::Deployment;
use kube::api::{Api, PostParams};
use serde_json::json;

use super::reader::{Reader, rule};
use super::stage::Scene;

/// What is offered for the last of these words.
fn completed(person: &Reader, words: &[&str]) -> Output {
    // The kubeconfig is typed behind it.
    let mut command = person.command(&[&["--", "imps"], words].concat());
    command.env("IMPS_COMPLETE", "bash").env("_CLAP_COMPLETE_INDEX", words.len().to_string());
    command.output().unwrap()
}

fn names(output: &Output) -> BTreeSet<String> {
    assert!(
        output.status.success() && output.stderr.is_empty(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    String::from_utf8_lossy(&output.stdout).lines().map(str::to_owned).collect()
}

#[tokio::test]
async fn names_are_completed_for_who_may_list_them_and_nobody_else_is_told_anything() {
    let Some(scene) = Scene::open().await else { return };
    let shop = scene.namespace("shop", json!({})).await;
    let (first, second) = (scene.name("first"), scene.name("second"));
    for word in ["first", "second"] {
        let target = json!({"namespaces": {"names": ["nowhere"]}});
        scene.grant_as_is(word, scene.spec(&[], target)).await;
    }
    let pod = scene.pod(&shop, "worker", json!({})).await;
    let deployment: Deployment = serde_json::from_value(json!({
        "metadata": {"name": "web"},
        "spec": {
            "selector": {"matchLabels": {"app": scene.id}},
            "template": {
                "metadata": {"labels": {"app": scene.id}},
                "spec": {"containers": [{"name": "c", "image": "reg.example/app"}]},
            },
        },
    }))
    .unwrap();
    let deployments = Api::<Deployment>::namespaced(scene.client.clone(), &shop);
    deployments.create(&PostParams::default(), &deployment).await.unwrap();

    let rules = json!([
        rule(keys::GROUP, &[keys::PLURAL], &["list"]),
        rule("", &["namespaces", "pods"], &["list"]),
        rule("apps", &["deployments"], &["list"]),
    ]);
    let person = Reader::new(&scene, rules).await;
    for command in ["suspend", "resume", "refresh", "status"] {
        let all = names(&completed(&person, &[command, ""]));
        assert!(all.contains(&first) && all.contains(&second), "{command}: {all:?}");
        assert_eq!(names(&completed(&person, &[command, &first])), [first.clone()].into(), "{command}");
    }
    assert_eq!(
        names(&completed(&person, &["suspend", &first, &second])),
        [second].into(),
        "one after another"
    );
    assert_eq!(names(&completed(&person, &["diagnose", "-n", &shop])), [shop.clone()].into());
    assert_eq!(names(&completed(&person, &["explain", &shop])), [shop.clone()].into());
    assert_eq!(names(&completed(&person, &["diagnose", "-n", &shop, "work"])), [pod].into());
    assert_eq!(
        names(&completed(&person, &["diagnose", "-n", &shop, "deploy/"])),
        ["deploy/web".to_owned()].into()
    );

    let stranger = Reader::new(&scene, json!([])).await;
    for words in [&["suspend", "f"][..], &["diagnose", "-n", "s"], &["diagnose", "-n", &shop, "w"]] {
        assert_eq!(names(&completed(&stranger, words)), BTreeSet::new(), "{words:?}");
    }
}
