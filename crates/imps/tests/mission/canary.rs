//! Nothing of a credential gets out: unique strings go in through every door, and are searched for everywhere.

use std::collections::BTreeSet;

use base64::Engine;
use base64::prelude::{BASE64_STANDARD, BASE64_STANDARD_NO_PAD, BASE64_URL_SAFE, BASE64_URL_SAFE_NO_PAD};
use imps_core::dockerconfig::Format;
use k8s_openapi::api::core::v1::{Event, Namespace, Secret};
use kube::ResourceExt;
use kube::api::{Api, ListParams};
use serde_json::{Value, json};

use super::read::docker_config;
use super::stage::{Scene, Solo, can_play};

/// The beginning of each canary, which has only letters and digits: it survives escaping, and base64 of it is the same
/// whatever stands around it.
const CORE_CHARS: usize = 20;

/// A string that occurs nowhere by chance. It ends in characters that URLs and JSON escape.
pub(super) fn canary(word: &str) -> String {
    let core = format!("Ca{word}xQ7vK3mZ9wTf5LrB2pY8");
    format!("{}%/+\"{word}", &core[..CORE_CHARS])
}

/// Every way in which the core of a canary may be written down.
fn forms(canary: &str) -> BTreeSet<String> {
    let core = &canary[..CORE_CHARS];
    let hex: String = core.bytes().map(|byte| format!("{byte:02x}")).collect();
    let once = base64_forms(core);
    // A login is in base64 inside of a docker config, which is in base64 inside of a Secret.
    let twice = once.iter().flat_map(|form| base64_forms(form)).collect::<Vec<_>>();
    let plain = [core.to_owned(), hex.to_uppercase(), hex];
    plain.into_iter().chain(once).chain(twice).collect()
}

/// In the middle of a longer text, base64 has three alignments; the characters at the edges hold neighbours' bits.
pub(super) fn base64_forms(text: &str) -> Vec<String> {
    let mut forms = Vec::new();
    for before in 0..3 {
        for engine in [BASE64_STANDARD_NO_PAD, BASE64_URL_SAFE_NO_PAD] {
            let encoded = engine.encode([vec![0; before], text.into()].concat());
            let skip = (before * 8).div_ceil(6);
            let whole = encoded.len() - usize::from(!(before + text.len()).is_multiple_of(3));
            forms.push(encoded[skip..whole].to_owned());
        }
    }
    forms
}

/// Where a canary was found, in which form.
pub(super) fn find(canaries: &[String], places: &[(String, String)]) -> Vec<String> {
    let mut found = Vec::new();
    for canary in canaries {
        for form in forms(canary) {
            for (place, text) in places {
                if let Some(at) = text.find(&form) {
                    let context: String =
                        text[..at].chars().rev().take(120).collect::<Vec<_>>().into_iter().rev().collect();
                    found.push(format!("{canary} as {form} in {place}: {context}<-"));
                }
            }
        }
    }
    found
}

#[test]
fn the_search_finds_a_canary_in_every_form() {
    let canary = canary("test");
    let texts = [
        canary.clone(),
        json!({ "a": canary }).to_string(),
        BASE64_STANDARD.encode(format!("user:{canary}")),
        BASE64_STANDARD.encode(format!("user1:{canary}and more")),
        BASE64_STANDARD.encode(format!("user12:{canary}")),
        BASE64_URL_SAFE.encode(format!("{canary}:x")),
        canary.bytes().map(|byte| format!("{byte:02x}")).collect(),
        canary.bytes().map(|byte| format!("{byte:02X}")).collect(),
        BASE64_STANDARD.encode(docker_config(&[("reg.example", ("robot", &canary))])),
        BASE64_STANDARD
            .encode(json!({"auth": BASE64_STANDARD.encode(format!("robot:{canary}"))}).to_string()),
    ];
    for text in texts {
        let places = [("here".to_owned(), format!("before {text} after"))];
        assert!(!find(std::slice::from_ref(&canary), &places).is_empty(), "{text}");
    }
    assert!(find(&[canary], &[("here".to_owned(), "nothing".to_owned())]).is_empty());
}

#[tokio::test]
async fn no_credential_is_seen_outside_of_sources_and_targets_at_any_log_level() {
    if !can_play() {
        return;
    }
    let Some(mut solo) = Solo::open(&["--log.level", "trace"]).await else { return };
    let canaries = play(&mut solo).await;
    let scene = &solo.scene;
    let mut places = places(&solo).await;
    assert!(places.len() > 8, "{:?}", places.iter().map(|(place, _)| place).collect::<Vec<_>>());
    let found = find(&canaries, &places);
    assert!(found.is_empty(), "{found:#?}");

    // The credentials are where they belong, so the search looks for the right thing.
    let shop = scene.name("shop");
    let target = String::from_utf8(super::read::content(&scene.target(&shop).await.unwrap())).unwrap();
    places.push(("the target".to_owned(), target));
    let found = find(&canaries, &places);
    assert!(found.iter().any(|found| found.contains("the target")), "{found:?}");
    // And it sees what somebody plants on an object.
    scene
        .edit_secret(&shop, &scene.secret, json!({"metadata": {"annotations": {"leak": canaries[0]}}}))
        .await;
    let found = find(&canaries, &self::places(&solo).await);
    assert!(found.iter().any(|found| found.contains("metadata of")), "{found:?}");
}

/// Sends canaries through good, bad, rotated and conflicting Secrets, and a restart.
async fn play(solo: &mut Solo) -> Vec<String> {
    let mut canaries = Vec::new();
    let mut next = |word: &str| {
        canaries.push(canary(word));
        canary(word)
    };
    let scene = &solo.scene;
    let shop = scene.namespace("shop", json!({})).await;
    let taken = scene.namespace("taken", json!({})).await;
    let plain = (next("user"), next("password"));
    let auth = BASE64_STANDARD.encode(format!("robot:{}", next("auth")));
    let keyed = format!("https://robot:{}@keyed.example", next("key"));
    let document = json!({
        "auths": {
            "plain.example": {"username": plain.0, "password": plain.1},
            "auth.example": {"auth": auth},
            keyed: {"username": "robot", "password": next("keyed")},
        },
        next("setting"): {"x": next("ignored")},
    });
    // As a client-side apply leaves it: a copy of all in an annotation.
    let copied =
        json!({"annotations": {"kubectl.kubernetes.io/last-applied-configuration": document.to_string()}});
    let format = Format::DockerConfigJson;
    let bytes = document.to_string();
    let data: &[(&str, &[u8])] = &[(format.data_key(), bytes.as_bytes())];
    scene.put_secret(&scene.home, "good", format.secret_type(), data, copied).await;
    let legacy = json!({"legacy.example": {"auth": BASE64_STANDARD.encode(format!("u:{}", next("legacy")))}})
        .to_string();
    scene.source_of("legacy", Format::DockerCfg, legacy.as_bytes()).await;
    let url_safe = BASE64_URL_SAFE.encode(format!("u:???>>>{}", next("urlsafe")));
    let colonless = BASE64_STANDARD.encode(next("colonless"));
    let bad = json!({"auths": {
        "a.example": {"auth": url_safe}, "b.example": {"auth": colonless}, "c.example": next("text"),
        "d.example": {"identitytoken": next("identity")},
        next("badkey"): {"username": "u", "password": next("unkeyed")},
        "e.example": {"username": [next("list")], "password": "p"}, "f.example": {"auth": next("rawauth")},
        "g.example": {"username": "x:y", "password": next("colon")},
    }})
    .to_string();
    scene.source_of("bad", format, bad.as_bytes()).await;
    scene.put_secret(&scene.home, "opaque", "Opaque", &[("key", next("opaque").as_bytes())], json!({})).await;
    let foreign = docker_config(&[("plain.example", ("tenant", &next("foreign")))]);
    let data: &[(&str, &[u8])] = &[(format.data_key(), foreign.as_bytes())];
    scene.put_secret(&taken, &scene.secret, format.secret_type(), data, json!({})).await;
    let late = scene.name("late");
    let names = json!({"namespaces": {"names": [&shop, &taken, &late]}});
    let grant = scene.grant("g", &["good", "legacy", "bad", "opaque", "missing"], names).await;
    scene.has_login(&shop, "plain.example/app", (&plain.0, &plain.1)).await;
    scene
        .status(&grant, "all sides", |status| {
            status["targets"] == json!({"desired": 2, "synced": 1, "failed": 0, "conflict": 1})
        })
        .await;

    // Rotated, broken, recalled after a restart, and repaired.
    let rotated = next("rotated");
    scene.source("good", &[("plain.example", ("robot", &rotated))]).await;
    scene.has_login(&shop, "plain.example/app", ("robot", &rotated)).await;
    let broken = json!({"auths": {"plain.example": next("broken")}}).to_string();
    scene.source_of("good", format, broken.as_bytes()).await;
    let failing = |status: &Value| status["sources"][0]["state"] == "Failing";
    scene.status(&grant, "it fails", failing).await;
    solo.crash_and_restart().await;
    let scene = &solo.scene;
    scene.namespace("late", json!({})).await;
    scene.has_login(&late, "plain.example/app", ("robot", &rotated)).await;
    let evil = BASE64_STANDARD.encode(docker_config(&[("plain.example", ("eve", &next("evil")))]));
    scene.edit_secret(&shop, &scene.secret, json!({"data": {".dockerconfigjson": evil}})).await;
    scene.has_login(&shop, "plain.example/app", ("robot", &rotated)).await;
    scene.status(&grant, "it still fails", failing).await;
    scene.event(&grant, "TargetConflict", "left alone").await;
    canaries
}

/// All that can be read of imps and of what it writes, by name.
pub(super) async fn places(solo: &Solo) -> Vec<(String, String)> {
    let Scene { client, home, .. } = &solo.scene;
    let all = ListParams::default();
    let mut places = vec![
        ("the log".to_owned(), solo.operator.log()),
        ("the metrics".to_owned(), solo.operator.get("/metrics").await.unwrap().1),
        ("readyz".to_owned(), solo.operator.get("/readyz").await.unwrap().1),
        (
            "the audit log".to_owned(),
            solo.requests().iter().map(Value::to_string).collect::<Vec<_>>().join("\n"),
        ),
    ];
    let mut add = |place: String, value: &dyn erased::Json| places.push((place, value.json()));
    for grant in solo.scene.grants().list(&all).await.unwrap() {
        add(format!("ImagePullSecret {}", grant.name_any()), &grant);
    }
    for event in Api::<Event>::all(client.clone()).list(&all).await.unwrap() {
        add(format!("event {}", event.name_any()), &event);
    }
    for namespace in Api::<Namespace>::all(client.clone()).list(&all).await.unwrap() {
        add(format!("namespace {}", namespace.name_any()), &namespace);
    }
    for mut secret in Api::<Secret>::all(client.clone()).list(&all).await.unwrap() {
        if secret.namespace().as_deref() != Some(home.as_str()) {
            let place =
                format!("metadata of {}/{}", secret.namespace().unwrap_or_default(), secret.name_any());
            secret.data = None;
            add(place, &secret);
        }
    }
    assert!(places[0].1.contains("secret written"), "{}", places[0].1);
    places
}

/// Objects of any kind as text.
mod erased {
    pub(super) trait Json {
        fn json(&self) -> String;
    }
    impl<T: serde::Serialize> Json for T {
        fn json(&self) -> String {
            serde_json::to_string(self).unwrap()
        }
    }
}
