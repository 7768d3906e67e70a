//! Nothing of an identity or a token gets out, at any log level.

use imps_testbed::aws::{Account, IssuedToken, Trust};
use imps_testbed::wire::{Lie, Mode};
use serde_json::json;

use super::keyless::{mounted_token, role_of};
use super::{ASSUME, Cloud, ECR, has_token, host, names, source_of, stands, touch};
use crate::mission::canary::{base64_forms, canary, find, places};
use crate::mission::read::content;
use crate::mission::stage::{Scene, Solo};
use crate::mission::wait::eventually;

/// How all session tokens of the emulation begin; a token of the API server begins as every other does.
const SESSION_TOKEN: &str = "FQoGZXIvYXdzEBYaD";

#[tokio::test]
async fn no_key_session_or_token_is_seen_outside_of_sources_and_targets() {
    let Some(cloud) = Cloud::open().await else { return };
    let Some(mut solo) = Solo::open(&[]).await else { return };
    let scene = &solo.scene;
    let irsa = role_of(&cloud, scene, "imps").await;
    let puller = role_of(&cloud, scene, "puller").await;
    let file = tempfile::NamedTempFile::new().unwrap();
    let mounted = mounted_token(scene, "imps").await;
    std::fs::write(file.path(), &mounted).unwrap();
    let environment =
        [("AWS_WEB_IDENTITY_TOKEN_FILE", file.path().to_str().unwrap()), ("AWS_ROLE_ARN", irsa.as_str())];
    solo.replace(&["--log.level", "trace", "--keyless", "ambient,service-account"], &environment).await;

    let scene = &solo.scene;
    let user = cloud.user(&[ECR, ASSUME]).await;
    let wrong = canary("wrongkey").replace(['%', '"'], "/");
    let trust = Trust::Principal { arn: &user.arn, external_id: None };
    let role = cloud.role(Account::OURS, trust, &[ECR]).await;
    let keys = |account: &str| cloud.fields_with(account, &user.keys);
    // A lying endpoint of its own, and a session token that nobody gave.
    let lying = cloud.another_wire().await;
    let session = format!("{SESSION_TOKEN}{}", "x".repeat(40));
    let sources = [
        ("keys", keys("700000000001")),
        ("wrong", keys("700000000002").with("secretKey", &wrong)),
        ("role", keys("700000000003").with("roleArn", &role)),
        (
            "temporary",
            keys("700000000004").with("accessKeyID", "ASIA2222333344445555").with("sessionToken", &session),
        ),
        (
            "account",
            cloud.fields("700000000005").with("serviceAccountName", "puller").with("roleArn", &puller),
        ),
        ("ambient", cloud.fields("700000000006")),
        ("lying", keys("700000000007").through(&lying)),
        ("flawed", keys("700000000008").with("region", &wrong)),
    ];
    for (name, fields) in &sources {
        fields.write(scene, name).await;
    }
    let mut needs = imps_cluster::rules::Needs::default();
    needs.service_accounts.insert((scene.home.as_str().into(), "puller".to_owned()));
    needs.sources.insert(imps_core::name::SecretRef::new(scene.home.as_str(), "account"));
    scene.permit(&needs).await;
    let shop = scene.namespace("shop", json!({})).await;
    let grant = scene.grant("g", &sources.each_ref().map(|(name, _)| *name), names(&[&shop])).await;
    let failing = ["wrong", "temporary", "flawed"];
    scene
        .status(&grant, "all have answers", |status| {
            sources.iter().all(|(name, _)| {
                let wanted = if failing.contains(name) { "Failing" } else { "Ready" };
                source_of(status, name)["state"] == wanted
            })
        })
        .await;
    // In trouble, over a restart, and renewed.
    for mode in
        [Mode::Throttle { retry_after: None }, Mode::Lie(Lie::NotJson), Mode::Lie(Lie::TokenWithoutColon)]
    {
        let before = lying.count(super::ASK);
        lying.set(mode);
        touch(scene, "lying").await;
        eventually("it is asked twice", async || {
            if lying.count(super::ASK) >= before + 2 { Ok(()) } else { Err(format!("{before} before")) }
        })
        .await;
    }
    scene
        .status(&grant, "nonsense", |status| {
            stands(status, "lying", "Failing", "ExchangeNonsense", "unreadable")
        })
        .await;
    renewed(&cloud, scene, "keys", &user.arn).await;
    solo.crash_and_restart().await;
    let scene = &solo.scene;
    let token = renewed(&cloud, scene, "role", &session_of(&role)).await;
    has_token(scene, &shop, &host("700000000003"), &token).await;

    let issued = cloud.aws.issued().await.unwrap();
    let ours = [user.arn.clone(), session_of(&role), session_of(&puller), session_of(&irsa)];
    let issued = issued.into_iter().filter(|token| ours.iter().any(|part| token.principal.contains(part)));
    let mut canaries: Vec<String> = issued.map(|token| token.password).collect();
    assert!(canaries.len() >= 6, "{} tokens", canaries.len());
    canaries.extend([user.keys.secret_key.clone(), wrong, mounted]);
    let mut places = places(&solo).await;
    assert_eq!(find(&canaries, &places), [""; 0]);
    let mut forms = base64_forms(SESSION_TOKEN);
    forms.push(SESSION_TOKEN.to_owned());
    for (place, text) in &places {
        for form in &forms {
            assert!(!text.contains(form), "a session token in {place}");
        }
    }

    // The search finds what is there.
    let target = String::from_utf8(content(&scene.target(&shop).await.unwrap())).unwrap();
    places.push(("the target".to_owned(), target));
    assert!(!find(&canaries, &places).is_empty());
}

/// Edits a source, and waits for the token that is then issued to this principal. Sources that fail ask meanwhile too.
async fn renewed(cloud: &Cloud, scene: &Scene, source: &str, principal: &str) -> IssuedToken {
    let before = cloud.issued_to(principal).await.len();
    touch(scene, source).await;
    eventually(&format!("a token is issued to {principal}"), async || {
        let mut issued = cloud.issued_to(principal).await;
        if issued.len() > before { Ok(issued.pop().unwrap()) } else { Err(format!("{before} as before")) }
    })
    .await
}

/// What is in the ARN of each session of a role.
fn session_of(role: &str) -> String {
    format!("assumed-role/{}/", role.rsplit('/').next().unwrap())
}
