//! A restart costs neither a token nor a request: what the targets hold is taken up until it ends.

use std::time::Duration;

use imps_testbed::aws::Account;
use imps_testbed::wire::Mode;
use k8s_openapi::api::core::v1::Secret;
use serde_json::Value;

use super::{
    Cloud, ECR, ROBOT, STATIC, has_token, host, seconds_until, source_of, stands, team, team_namespace, touch,
};
use crate::mission::plan::planner;
use crate::mission::read::{registries, version};
use crate::mission::stage::{Scene, Solo};
use crate::mission::wait::{always, eventually};

/// The writes of Secrets among these.
fn of_secrets(writes: &[String]) -> Vec<&String> {
    writes.iter().filter(|write| write.contains("/secrets/")).collect()
}

async fn targets(scene: &Scene, namespaces: &[&str]) -> Vec<(String, String)> {
    let mut versions = Vec::new();
    for namespace in namespaces {
        let secret: Secret = scene.target(namespace).await.unwrap();
        versions.push(version(&secret));
    }
    versions
}

#[tokio::test]
async fn a_restart_asks_for_no_token_and_writes_nothing_and_in_an_outage_loses_nothing() {
    let Some(cloud) = Cloud::open().await else { return };
    let Some(mut solo) = Solo::open(&[]).await else { return };
    let user = cloud.user(&[ECR]).await;
    let host = host(Account::OURS.number);
    let scene = &solo.scene;
    cloud.fields_with(Account::OURS.number, &user.keys).write(scene, "hub").await;
    scene.source("static", &[(STATIC, ROBOT)]).await;
    let (shop, yard) = (team_namespace(scene, "shop").await, team_namespace(scene, "yard").await);
    let grant = scene.grant("g", &["hub", "static"], team(scene)).await;
    let status = scene.ready_in(&grant, &[&shop, &yard]).await;
    let expiry = |status: &Value| seconds_until(&source_of(status, "hub")["expiresAt"]);
    let expires = expiry(&status);
    let before = targets(scene, &[&shop, &yard]).await;
    let token = cloud.issued_to(&user.arn).await.pop().unwrap();
    let writes = solo.writes().len();
    // What a plan decides is what a restart would do.
    let planned = planner(scene).await.run(&["plan"]);
    assert_eq!(planned.status.code(), Some(0), "{}", String::from_utf8_lossy(&planned.stdout));

    // A good endpoint: it is not asked.
    solo.crash_and_restart().await;
    let scene = &solo.scene;
    let late = team_namespace(scene, "late").await;
    has_token(scene, &late, &host, &token).await;
    let status = scene.ready_in(&grant, &[&late, &shop, &yard]).await;
    assert!((expiry(&status) - expires).abs() <= 20, "{} s, before {expires} s", expiry(&status));
    always(Duration::from_secs(1), "the token is taken up", async || {
        if cloud.asked() == 1 { Ok(()) } else { Err(format!("asked {} times", cloud.asked())) }
    })
    .await;
    assert_eq!(targets(scene, &[&shop, &yard]).await, before);
    let since = solo.writes().split_off(writes);
    let since = of_secrets(&since);
    assert!(since.len() == 1 && since[0].contains(&late), "one in the new namespace: {since:#?}");

    // An endpoint that is away, and a source that has to be asked for: its version is another.
    solo.operator.kill();
    let scene = &solo.scene;
    cloud.wire.set(Mode::Refuse);
    touch(scene, "hub").await;
    let later = team_namespace(scene, "later").await;
    let writes = solo.writes().len();
    solo.operator.begin().await.unwrap();
    solo.operator.ready().await.unwrap();
    let scene = &solo.scene;
    let secret = has_token(scene, &later, &host, &token).await;
    assert_eq!(registries(&secret).len(), 2);
    scene
        .status(&grant, "unreachable", |status| {
            stands(status, "hub", "Failing", "ExchangeUnreachable", "stays in use until it expires")
        })
        .await;
    assert!(cloud.asked() > 1, "it is asked for");
    assert_eq!(targets(scene, &[&shop, &yard]).await, before);
    let since = solo.writes().split_off(writes);
    let since = of_secrets(&since);
    assert!(since.len() == 1 && since[0].contains(&later), "one in the new namespace: {since:#?}");
    assert_eq!(cloud.issued_to(&user.arn).await.len(), 1);

    // And once more: what was not exchanged yet is not forgotten either.
    solo.crash_and_restart().await;
    let scene = &solo.scene;
    let last = team_namespace(scene, "last").await;
    has_token(scene, &last, &host, &token).await;
    cloud.wire.set(Mode::Pass);
    let renewed = eventually("it is exchanged", async || {
        let issued = cloud.issued_to(&user.arn).await;
        if issued.len() == 2 { Ok(issued) } else { Err(format!("{} tokens", issued.len())) }
    })
    .await;
    for namespace in [&shop, &yard, &late, &later, &last] {
        has_token(scene, namespace, &host, &renewed[1]).await;
    }
    let status = scene.ready_in(&grant, &[&last, &late, &later, &shop, &yard]).await;
    assert!(expiry(&status) > 0);
}
