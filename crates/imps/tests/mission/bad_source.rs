//! Sources that cannot be used: each is named with what is wrong and what to do, and harms nobody else.

use imps_cluster::rules::Needs;
use imps_core::dockerconfig::Format;
use imps_core::name::SecretRef;
use k8s_openapi::api::core::v1::Secret;
use serde_json::{Value, json};

use super::read::{auths, condition, docker_config, kubelet_uses};
use super::stage::{Login, Scene};
use super::wait::eventually;

const ROBOT: Login<'_> = ("robot", "good");
const IMAGE: &str = "good.example/app";
/// In every bad document, and nowhere else.
const CANARY: &str = "cNrY7pw3XqZt";

/// What stands in a source, and what is said about it.
struct Case {
    name: &'static str,
    /// Type, key and content; none for a Secret that is not made.
    secret: Option<(&'static str, &'static str, Vec<u8>)>,
    state: &'static str,
    reason: &'static str,
    words: &'static [&'static str],
}

fn json_case(
    name: &'static str,
    document: Value,
    state: &'static str,
    reason: &'static str,
    words: &'static [&'static str],
) -> Case {
    bytes_case(name, document.to_string().into_bytes(), state, reason, words)
}

fn bytes_case(
    name: &'static str,
    bytes: Vec<u8>,
    state: &'static str,
    reason: &'static str,
    words: &'static [&'static str],
) -> Case {
    let format = Format::DockerConfigJson;
    Case { name, secret: Some((format.secret_type(), format.data_key(), bytes)), state, reason, words }
}

/// A document with one entry, for the registry `bad.example`.
fn entry(entry: Value) -> Value {
    json!({"auths": {"bad.example": entry}})
}

fn cases() -> Vec<Case> {
    use base64::Engine;
    use base64::prelude::{BASE64_STANDARD, BASE64_URL_SAFE};
    let bad = |name, document, words| json_case(name, document, "Failing", "SourceMalformed", words);
    let login = json!({"username": CANARY, "password": CANARY});
    let url_safe = BASE64_URL_SAFE.encode(format!("{CANARY}:>>>???"));
    assert!(url_safe.contains(['-', '_']), "{url_safe}");
    let deep = format!("{{\"auths\":{}{}, \"{CANARY}\": 1}}", "[".repeat(5000), "]".repeat(5000));
    let mut not_text = format!("{{\"auths\": {{}}, \"x\": \"{CANARY}").into_bytes();
    not_text.extend(b"\xff\"}");
    let many: Vec<(String, Login<'_>)> =
        (0..9000).map(|n| (format!("r{n}.example"), (CANARY, "p"))).collect();
    let many: Vec<(&str, Login<'_>)> =
        many.iter().map(|(registry, login)| (registry.as_str(), *login)).collect();
    let mut all = vec![
        bad(
            "list",
            json!({"auths": [login]}),
            &["auths in the docker config is a list", "write auths as an object"],
        ),
        bad("null", json!(null), &["the docker config is null, not an object", "as JSON"]),
        bad("noauths", json!({}), &["has no auths", "kubectl create secret docker-registry"]),
        bad("helper", json!({"credsStore": CANARY}), &["credential helper", "log in without"]),
        bad("bare", json!({"bad.example": login}), &["instead of in auths", "kubernetes.io/dockercfg"]),
        bad("text", entry(json!(CANARY)), &["bad.example", "a string, not an object"]),
        bad(
            "base64",
            entry(json!({"auth": format!("{CANARY}%%")})),
            &["bad.example", "auth is not base64", "| base64"],
        ),
        bad(
            "colon",
            entry(json!({"auth": BASE64_STANDARD.encode(CANARY)})),
            &["bad.example", "the colon is missing", "user and password together"],
        ),
        bad("urlsafe", entry(json!({"auth": url_safe})), &["bad.example", "URL-safe", "standard alphabet"]),
        bad(
            "token",
            entry(json!({"identitytoken": CANARY})),
            &["bad.example", "the kubelet does not use", "log in with"],
        ),
        bad("nouser", entry(json!({"password": CANARY})), &["no user name", "add the user name"]),
        bad("nopassword", entry(json!({"username": CANARY})), &["no password", "add the password"]),
        bad(
            "number",
            entry(json!({"username": CANARY, "password": 5})),
            &["password is a number", "double quotes"],
        ),
        bad("many", json!({"auths": auths(&many)}), &["9000 entries", "remove from the Secret"]),
        bytes_case("deep", deep.into_bytes(), "Failing", "SourceMalformed", &["not JSON", "as JSON"]),
        bytes_case("bytes", not_text, "Failing", "SourceMalformed", &["not UTF-8", "as JSON"]),
        json_case("empty", json!({"auths": {}}), "Failing", "SourceEmpty", &["no entry", "put one in"]),
        json_case(
            "mixed",
            json!({"auths": {"bad.example": {"auth": CANARY}, "well.example": login}}),
            "Degraded",
            "EntriesRejected",
            &["bad.example", "auth "],
        ),
    ];
    let mut of = |name, secret, state, reason, words| all.push(Case { name, secret, state, reason, words });
    let content = entry(login).to_string().into_bytes();
    let legacy = Format::DockerCfg;
    of(
        "opaque",
        Some(("Opaque", ".dockerconfigjson", content.clone())),
        "Failing",
        "SourceTypeUnsupported",
        &["\"Opaque\" is no source", "kubernetes.io/dockerconfigjson"],
    );
    of(
        "nested",
        Some((legacy.secret_type(), legacy.data_key(), content)),
        "Failing",
        "SourceMalformed",
        &["legacy format", "kubernetes.io/dockerconfigjson"],
    );
    of("missing", None, "Missing", "SourceMissing", &["does not exist", "create it, or remove it"]);
    all
}

#[tokio::test]
async fn each_bad_source_is_named_with_its_remedy_and_the_other_one_serves() {
    let Some(scene) = Scene::open().await else { return };
    let shop = scene.namespace("shop", json!({})).await;
    scene.source("good", &[("good.example", ROBOT)]).await;
    let cases = cases();
    let mut needs = Needs::default();
    needs.sources.insert(SecretRef::new(scene.home.as_str(), "good"));
    for case in &cases {
        needs.sources.insert(SecretRef::new(scene.home.as_str(), case.name));
        needs.targets.insert(scene.name(case.name).into());
        if let Some((secret_type, key, content)) = &case.secret {
            scene.put_secret(&scene.home, case.name, secret_type, &[(key, content)], json!({})).await;
        }
    }
    scene.permit(&needs).await;
    for Case { name, .. } in &cases {
        let target = json!({"secret": {"name": scene.name(name)}, "namespaces": {"names": [&shop]}});
        scene.grant_as_is(name, scene.spec(&[name, "good"], target)).await;
    }
    for case in &cases {
        check(&scene, &shop, case).await;
    }
    nobody_tells(&scene, CANARY).await;
}

async fn check(scene: &Scene, shop: &str, case: &Case) {
    let Case { name, state, reason, words, .. } = case;
    let grant = scene.name(name);
    let synced =
        |status: &Value| status["targets"]["synced"] == 1 && status["sources"][0]["state"] != "Unknown";
    let status = scene.status(&grant, "the target is written", synced).await;
    let source = &status["sources"][0];
    assert_eq!((&source["state"], &source["reason"]), (&json!(state), &json!(reason)), "{name}: {status:#}");
    let message = source["message"].as_str().unwrap();
    for word in *words {
        assert!(message.contains(word), "{name}: {word:?} is not in {message:?}");
    }
    let ready = condition(&status, "Ready").unwrap();
    assert_eq!((&ready["status"], &ready["reason"]), (&json!("False"), &json!("SourcesDegraded")), "{name}");
    assert!(
        ready["message"].as_str().unwrap().contains(&format!("{}/{name}", scene.home)),
        "{name}: {ready}"
    );
    assert_eq!(condition(&status, "SourcesReady").unwrap()["status"], "False", "{name}");
    assert_eq!(status["status"], "Failed", "{name}");
    assert_ne!(status["sourceSecretStatus"][format!("{}.{name}", scene.home)], "Ok", "{name}");
    assert_eq!(status["sourceSecretStatus"][format!("{}.good", scene.home)], "Ok", "{name}");
    assert_eq!(status["sources"][1]["state"], "Ready", "{name}");
    let secret = scene.secrets(shop).get(&grant).await.unwrap();
    assert_eq!(kubelet_uses(&secret, IMAGE), Ok(vec![("robot".to_owned(), "good".to_owned())]), "{name}");
    assert_eq!(
        kubelet_uses(&secret, "bad.example/app"),
        Ok(vec![]),
        "{name}: the bad entry is not passed on"
    );
    scene.event(&grant, "SourceCredentialsError", name).await;
}

/// Whatever is said of a scene holds no credential.
async fn nobody_tells(scene: &Scene, canary: &str) {
    assert!(!scene.log().is_empty());
    assert!(!scene.log().contains(canary), "the log");
    for grant in scene.own_grants() {
        let mut object = scene.read_grant(&grant).await;
        // Its spec is the user's own.
        object.data["spec"] = json!(null);
        assert!(!serde_json::to_string(&object).unwrap().contains(canary), "{grant}");
        assert!(!format!("{:?}", scene.events(&grant).await).contains(canary), "events of {grant}");
    }
    assert!(!scene.metrics().await.contains(canary), "the metrics");
}

#[tokio::test]
async fn a_source_that_may_not_be_read_is_named_and_served_once_it_may() {
    let Some(scene) = Scene::open().await else { return };
    let shop = scene.namespace("shop", json!({})).await;
    scene.source("good", &[("good.example", ROBOT)]).await;
    scene.source("locked", &[("locked.example", ROBOT)]).await;
    let mut needs = Needs::default();
    needs.sources.insert(SecretRef::new(scene.home.as_str(), "good"));
    needs.targets.insert(scene.secret.as_str().into());
    scene.permit(&needs).await;
    let spec = scene.spec(&["locked", "good"], json!({"namespaces": {"names": [&shop]}}));
    let grant = scene.grant_as_is("g", spec).await;

    let secret = scene.has_login(&shop, IMAGE, ROBOT).await;
    let failing = |status: &Value| status["sources"][0]["state"] == "Failing";
    let status = scene.status(&grant, "the source cannot be read", failing).await;
    assert_eq!(status["sources"][0]["reason"], "SourceForbidden");
    let message = status["sources"][0]["message"].as_str().unwrap();
    assert!(message.contains("may not list and watch") && message.contains("imps rbac"), "{message}");
    scene.event(&grant, "SourceCredentialsError", "imps rbac").await;

    needs.sources.insert(SecretRef::new(scene.home.as_str(), "locked"));
    scene.permit(&needs).await;
    let healed = scene.has_login(&shop, "locked.example/app", ROBOT).await;
    assert_eq!(healed.metadata.uid, secret.metadata.uid);
    scene.ready_in(&grant, &[&shop]).await;
}

#[tokio::test]
async fn a_large_source_is_served_and_one_too_many_is_refused_without_loss() {
    let Some(scene) = Scene::open().await else { return };
    let shop = scene.namespace("shop", json!({})).await;
    // Entries that fill most of a Secret, with long passwords.
    let long = "p".repeat(3000);
    let registries: Vec<String> = (0..110).map(|n| format!("r{n}.example")).collect();
    let entries: Vec<(&str, Login<'_>)> =
        registries.iter().map(|r| (r.as_str(), ("robot", long.as_str()))).collect();
    // Each login is written twice into a target: as it is, and in auth.
    let large = docker_config(&entries);
    assert!(large.len() > 300_000);
    scene.source_of("large", Format::DockerConfigJson, large.as_bytes()).await;
    let padding = json!({"auths": auths(&[("good.example", ROBOT)]), "detachKeys": "x".repeat(1_040_000)});
    scene.source_of("padded", Format::DockerConfigJson, padding.to_string().as_bytes()).await;
    let grant = scene.grant("g", &["padded", "large"], json!({"namespaces": {"names": [&shop]}})).await;
    let status = scene.ready_in(&grant, &[&shop]).await;
    assert!(
        status["sources"][0]["message"].as_str().unwrap().contains("not passed on: detachKeys"),
        "{status:#}"
    );
    assert_eq!(status["sources"][1]["moreRegistries"], 110 - 64);
    let before = scene.has_login(&shop, "r109.example/app", ("robot", &long)).await;

    let others: Vec<String> = registries.iter().map(|registry| format!("x{registry}")).collect();
    let entries: Vec<(&str, Login<'_>)> =
        others.iter().map(|r| (r.as_str(), ("robot", long.as_str()))).collect();
    scene.source("more", &entries).await;
    let sources: Vec<Value> = ["padded", "large", "more"]
        .iter()
        .map(|name| json!({"name": name, "namespace": scene.home}))
        .collect();
    scene.edit_grant(&grant, json!({"registry": {"credentials": sources}})).await;
    let status = scene.status(&grant, "too large", |status| status["targets"]["failed"] == 1).await;
    assert_eq!(status["failures"][0]["reason"], "TargetTooLarge");
    let message = status["failures"][0]["message"].as_str().unwrap();
    assert!(message.contains("remove entries") && message.contains("split"), "{message}");
    assert_eq!(scene.target(&shop).await, Some(before), "what works stays");
}

#[tokio::test]
async fn a_source_that_appears_later_is_served_at_once() {
    let Some(scene) = Scene::open().await else { return };
    let shop = scene.namespace("shop", json!({})).await;
    let grant = scene.grant("g", &["late"], json!({"namespaces": {"names": [&shop]}})).await;
    let status = scene.status(&grant, "nothing to give", |status| status["targets"]["failed"] == 1).await;
    assert_eq!(status["failures"][0]["reason"], "NoCredentials");
    assert!(scene.target(&shop).await.is_none(), "no empty Secret");
    scene.source("late", &[("good.example", ROBOT)]).await;
    let secret: Secret = scene.has_login(&shop, IMAGE, ROBOT).await;
    assert!(secret.immutable.is_none());
    scene.ready_in(&grant, &[&shop]).await;
    eventually("nothing is said to be missing any more", async || {
        let object = scene.read_grant(&grant).await;
        let text = object.data["status"].to_string();
        if text.contains("does not exist") { Err(text) } else { Ok(()) }
    })
    .await;
}
