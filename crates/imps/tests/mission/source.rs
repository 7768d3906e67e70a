//! Several sources become one docker config: formats, spellings, precedence, rotation.

use imps_core::dockerconfig::Format;
use k8s_openapi::api::core::v1::Secret;
use serde_json::{Value, json};

use super::read::{content, kubelet_uses, registries, texts};
use super::stage::{Login, Scene};
use super::wait::eventually;

const FIRST: Login<'_> = ("first", "f:1");
const SECOND: Login<'_> = ("second", "s:2");
const NEXT: Login<'_> = ("first", "f:next");

fn one(login: Login<'_>) -> Result<Vec<(String, String)>, String> {
    Ok(vec![(login.0.to_owned(), login.1.to_owned())])
}

fn names(namespaces: &[&str]) -> Value {
    json!({"namespaces": {"names": namespaces}})
}

#[tokio::test]
async fn sources_of_both_formats_are_merged_and_the_first_one_wins() {
    let Some(scene) = Scene::open().await else { return };
    let shop = scene.namespace("shop", json!({})).await;
    let yard = scene.namespace("yard", json!({})).await;
    // Docker Hub and a host, each in another spelling.
    scene
        .source(
            "modern",
            &[("docker.io", FIRST), ("https://Both.example/v2/", FIRST), ("a.example:5000", FIRST)],
        )
        .await;
    let legacy = json!({
        "https://index.docker.io/v1/": {"auth": "c2Vjb25kOnM6Mg=="},
        "both.example": {"username": "second", "password": "s:2"},
        "b.example/team": {"auth": "c2Vjb25kOnM6Mg==", "email": "x@y"},
    });
    scene.source_of("legacy", Format::DockerCfg, legacy.to_string().as_bytes()).await;
    scene.source("twin", &[("a.example:5000", FIRST)]).await;
    let grant = scene.grant("g", &["modern", "legacy", "twin"], names(&[&shop, &yard])).await;
    let status = scene.ready_in(&grant, &[&shop, &yard]).await;

    let secret = scene.target(&shop).await.unwrap();
    for image in ["nginx", "docker.io/library/nginx:1", "both.example/x", "a.example:5000/x"] {
        assert_eq!(kubelet_uses(&secret, image), one(FIRST), "{image}");
    }
    assert_eq!(kubelet_uses(&secret, "b.example/team/x"), one(SECOND));
    assert_eq!(kubelet_uses(&secret, "b.example/other/x"), Ok(vec![]));
    assert_eq!(kubelet_uses(&secret, "a.example/x"), Ok(vec![]), "another port is another registry");
    let keys = registries(&secret);
    let wanted = ["a.example:5000", "b.example/team", "both.example", "https://index.docker.io/v1/"];
    assert!(keys.iter().eq(wanted), "{keys:?}");
    assert_eq!(content(&secret), content(&scene.target(&yard).await.unwrap()), "the same bytes everywhere");

    let sources = status["sources"].as_array().unwrap();
    let listed = |index: usize, key: &str| texts(&sources[index][key]).collect::<Vec<_>>();
    let winner = format!("{}/modern", scene.home);
    assert_eq!(listed(0, "overridden"), [""; 0]);
    assert_eq!(
        listed(1, "overridden"),
        [format!("both.example ({winner})"), format!("docker.io ({winner})")]
    );
    assert_eq!(listed(2, "overridden"), [format!("a.example:5000 ({winner}, same login)")]);
    assert_eq!(listed(0, "registries"), ["a.example:5000", "both.example", "https://index.docker.io/v1/"]);
    assert_eq!(listed(1, "registries"), ["b.example/team"]);
    let types: Vec<&Value> = sources.iter().map(|source| &source["type"]).collect();
    assert_eq!(
        types,
        ["kubernetes.io/dockerconfigjson", "kubernetes.io/dockercfg", "kubernetes.io/dockerconfigjson"]
    );

    // The written order is the precedence: another order, another winner, in the same object.
    let order = ["legacy", "modern"].map(|name| json!({"name": name, "namespace": scene.home}));
    scene.edit_grant(&grant, json!({"registry": {"credentials": order}})).await;
    let reordered = scene.has_login(&shop, "nginx", SECOND).await;
    assert_eq!(kubelet_uses(&reordered, "both.example/x"), one(SECOND));
    assert_eq!(kubelet_uses(&reordered, "a.example:5000/x"), one(FIRST));
    assert_eq!(reordered.metadata.uid, secret.metadata.uid);
    let status = scene.ready_in(&grant, &[&shop, &yard]).await;
    let losers: Vec<&str> = texts(&status["sources"][1]["overridden"]).collect();
    assert_eq!(losers.len(), 2, "{losers:?}");
}

#[tokio::test]
async fn a_rotation_reaches_every_target_in_place_with_one_write_each() {
    let Some(scene) = Scene::open().await else { return };
    scene.source("hub", &[("reg.example", FIRST), ("other.example", SECOND)]).await;
    let mut shops = Vec::new();
    for n in 0..10 {
        shops.push(scene.namespace(&format!("n{n}"), json!({})).await);
    }
    let all: Vec<&str> = shops.iter().map(String::as_str).collect();
    let grant = scene.grant("g", &["hub"], names(&all)).await;
    scene.ready_in(&grant, &all).await;
    let mut before = Vec::new();
    for shop in &all {
        before.push(scene.target(shop).await.unwrap());
    }
    // An edit that means the same is no change.
    let respelled = json!({"auths": {
        "https://other.example": {"auth": "c2Vjb25kOnM6Mg=="}, "reg.example/": {"auth": "Zmlyc3Q6Zjox"},
    }});
    scene.source_of("hub", Format::DockerConfigJson, respelled.to_string().as_bytes()).await;
    scene.source("hub", &[("reg.example", NEXT), ("other.example", SECOND)]).await;
    let mut bytes = Vec::new();
    for (shop, before) in all.iter().zip(&before) {
        let after = scene.has_login(shop, "reg.example/app", NEXT).await;
        assert_eq!(after.metadata.uid, before.metadata.uid);
        assert_eq!(kubelet_uses(&after, "other.example/app"), one(SECOND));
        bytes.push(content(&after));
    }
    assert!(bytes.windows(2).all(|pair| pair[0] == pair[1]), "the same bytes everywhere");
    scene.ready_in(&grant, &all).await;
    let written = scene.log().lines().filter(|line| line.contains(r#""verb":"update""#)).count();
    assert_eq!(written, all.len(), "one write for each namespace, and none for the edit that means the same");

    // Back to what it was gives the bytes that were there.
    scene.source("hub", &[("other.example", SECOND), ("reg.example", FIRST)]).await;
    let again: Secret = eventually("the old bytes", async || {
        let secret = scene.target(all[0]).await.ok_or("gone")?;
        if content(&secret) == content(&before[0]) { Ok(secret) } else { Err("others".to_owned()) }
    })
    .await;
    assert_eq!(again.metadata.uid, before[0].metadata.uid);
}

#[tokio::test]
async fn a_source_that_is_listed_twice_counts_once_and_that_is_said() {
    let Some(scene) = Scene::open().await else { return };
    let shop = scene.namespace("shop", json!({})).await;
    scene.source("hub", &[("reg.example", FIRST)]).await;
    let grant = scene.grant("g", &["hub", "hub"], names(&[&shop])).await;
    let status = scene.ready_in(&grant, &[&shop]).await;
    assert_eq!(status["sources"].as_array().unwrap().len(), 1);
    let message = super::read::condition(&status, "Ready").unwrap()["message"].as_str().unwrap();
    assert!(message.contains("credentials[1] is listed twice"), "{message}");
}
