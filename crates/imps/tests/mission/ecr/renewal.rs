//! Tokens that end: renewed in time, and gone when they work no longer.

use std::time::{Duration, SystemTime};

use kube::ResourceExt;
use serde_json::json;

use super::{
    BRIEF_LIFE, Cloud, ECR, ROBOT, STATIC, Witness, has_token, host, metric, names, password, source_of,
    stands,
};
use crate::mission::read::registries;
use crate::mission::stage::Scene;
use crate::mission::wait::{eventually, within};
use imps_testbed::aws::Account;
use imps_testbed::wire::Mode;

/// After an outage of a few seconds the pause may have grown to more than that.
const RECOVERS_WITHIN: Duration = Duration::from_secs(60);

#[tokio::test]
async fn tokens_are_renewed_by_themselves_at_half_of_their_life_with_one_write_per_namespace() {
    const TOKENS: usize = 4;
    let Some(cloud) = Cloud::brief().await else { return };
    let Some(scene) = Scene::open().await else { return };
    let user = cloud.user(&[ECR]).await;
    cloud.fields_with(Account::OURS.number, &user.keys).write(&scene, "hub").await;
    let namespaces = [
        scene.namespace("a", json!({})).await,
        scene.namespace("b", json!({})).await,
        scene.namespace("c", json!({})).await,
    ];
    let all: Vec<&str> = namespaces.iter().map(String::as_str).collect();
    let witness = Witness::of(&scene.client, &scene.secret).await;
    let grant = scene.grant("g", &["hub"], names(&all)).await;
    scene.ready_in(&grant, &all).await;
    let versions = eventually("renewed a few times", async || {
        let versions = witness.versions();
        let fewest = all.iter().map(|name| versions.get(*name).map_or(0, Vec::len)).min();
        if fewest >= Some(TOKENS) { Ok(versions) } else { Err(format!("{fewest:?} versions")) }
    })
    .await;

    let issued = cloud.issued_to(&user.arn).await;
    let host = host(Account::OURS.number);
    for (namespace, versions) in &versions {
        let written: Vec<_> = versions.iter().map(|secret| password(secret, &host).unwrap()).collect();
        let tokens: Vec<_> = issued.iter().map(|token| token.password.clone()).take(written.len()).collect();
        assert_eq!(written, tokens, "each token is written once in {namespace}");
        assert!(versions.iter().all(|secret| secret.uid() == versions[0].uid()), "in place in {namespace}");
    }
    for pair in issued.windows(2) {
        let between = pair[1].at.duration_since(pair[0].at).unwrap();
        // The life is counted from a full second, and a machine may be busy.
        let half = BRIEF_LIFE.mul_f64(0.44)..=BRIEF_LIFE.mul_f64(0.8);
        assert!(half.contains(&between) && pair[1].at < pair[0].expires, "renewed after {between:?}");
    }
    // Its status goes with it.
    let status = scene.ready_in(&grant, &all).await;
    let expires: jiff::Timestamp = source_of(&status, "hub")["expiresAt"].as_str().unwrap().parse().unwrap();
    scene
        .status(&grant, "a later expiry", |status| {
            let text = source_of(status, "hub")["expiresAt"].as_str().unwrap_or_default();
            text.parse::<jiff::Timestamp>().is_ok_and(|now| now > expires)
        })
        .await;
}

#[tokio::test]
async fn in_an_outage_the_expired_entry_alone_goes_and_it_comes_back_by_itself() {
    let Some(cloud) = Cloud::brief().await else { return };
    let Some(scene) = Scene::open().await else { return };
    let user = cloud.user(&[ECR]).await;
    cloud.fields_with(Account::OURS.number, &user.keys).write(&scene, "hub").await;
    scene.source("static", &[(STATIC, ROBOT)]).await;
    let shop = scene.namespace("shop", json!({})).await;
    let grant = scene.grant("g", &["hub", "static"], names(&[&shop])).await;
    scene.ready_in(&grant, &[&shop]).await;
    let sample = format!(
        r#"imps_credential_expiration_timestamp_seconds{{name="{grant}",source_namespace="{}""#,
        scene.home
    );
    assert!(metric(&scene.metrics().await, &sample).is_some());
    cloud.wire.set(Mode::Refuse);
    let last = cloud.issued_to(&user.arn).await.pop().unwrap();
    let host = host(Account::OURS.number);
    let held = has_token(&scene, &shop, &host, &last).await;

    let left = eventually("the token is taken out", async || {
        let secret = scene.target(&shop).await.expect("the target stays");
        assert!(registries(&secret).contains(STATIC), "what does not expire stays");
        match password(&secret, &host) {
            None => Ok(secret),
            Some(_) => Err("it is there".to_owned()),
        }
    })
    .await;
    assert!(SystemTime::now() >= last.expires, "not before it ends");
    assert_eq!((left.uid(), registries(&left).len()), (held.uid(), 1));
    scene.has_login(&shop, &format!("{STATIC}/app"), ROBOT).await;
    let told_error = sample.replace("expiration", "last_error");
    assert!(metric(&scene.metrics().await, &told_error).is_some(), "when it failed");
    let status = scene
        .status(&grant, "expired", |status| {
            stands(status, "hub", "Expired", "SourceExpired", "no connection")
        })
        .await;
    assert!(source_of(&status, "hub")["expiresAt"].is_null(), "{status:#}");
    assert!(stands(&status, "static", "Ready", "", ""), "{status:#}");
    assert_eq!(metric(&scene.metrics().await, &sample), None, "no expiry where there is no token");

    cloud.wire.set(Mode::Pass);
    let back = within(RECOVERS_WITHIN, "it is back", async || {
        let secret = scene.target(&shop).await.expect("the target stays");
        if password(&secret, &host).is_some() { Ok(secret) } else { Err("it is not".to_owned()) }
    })
    .await;
    assert_eq!(back.uid(), held.uid());
    scene.ready_in(&grant, &[&shop]).await;
}
