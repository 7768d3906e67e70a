//! Traces, as a collector gets them. It needs a build with the feature `otel`.

use imps_testbed::aws::Account;
use imps_testbed::collector::Collector;
use serde_json::json;

use super::{Cloud, ECR, has_token, host, names};
use crate::mission::canary::{canary, find};
use crate::mission::stage::Solo;
use crate::mission::wait::{eventually, say};

#[tokio::test]
async fn a_collector_gets_the_spans_of_plans_exchanges_and_requests_and_no_credential() {
    let Some(cloud) = Cloud::open().await else { return };
    let collector = Collector::start().await.unwrap();
    let environment =
        [("OTEL_EXPORTER_OTLP_ENDPOINT", collector.url()), ("OTEL_BSP_SCHEDULE_DELAY", "200".into())];
    let environment = environment.each_ref().map(|(name, value)| (*name, value.as_str()));
    let Some(mut solo) = Solo::open_in(&[], &environment).await else { return };
    let scene = &solo.scene;
    let canary = canary("traced");
    let user = cloud.user(&[ECR]).await;
    cloud.fields_with(Account::OURS.number, &user.keys).write(scene, "hub").await;
    scene.source("static", &[("reg.example", ("robot", canary.as_str()))]).await;
    let shop = scene.namespace("shop", json!({})).await;
    let grant = scene.grant("g", &["hub", "static"], names(&[&shop])).await;
    scene.ready_in(&grant, &[&shop]).await;
    let issued = cloud.issued_to(&user.arn).await.pop().unwrap();
    has_token(scene, &shop, &host(Account::OURS.number), &issued).await;

    // Names are plain text in the protocol.
    let text = || {
        let bodies = collector.posts().into_iter().map(|post| post.body).collect::<Vec<_>>().concat();
        String::from_utf8_lossy(&bodies).into_owned()
    };
    let secret = format!("/api/v1/namespaces/{shop}/secrets/{}", scene.secret);
    let wanted = ["service.name", "plan", "exchange", "api request", shop.as_str(), secret.as_str(), "PATCH"];
    eventually("the spans are there", async || {
        let text = text();
        match wanted.iter().find(|word| !text.contains(**word)) {
            None => Ok(()),
            Some(word) => Err(format!("no {word:?} in {text:?}")),
        }
    })
    .await;
    let posts = collector.posts();
    assert!(posts[0].head.starts_with("POST /v1/traces HTTP/1.1\r\n"), "{}", posts[0].head);
    say(&format!("{} batches", posts.len()));
    // At its end it sends what is left, and not later than without traces.
    let (status, _) = solo.operator.terminate().await.unwrap();
    assert!(status.success(), "{status}");
    assert!(!solo.operator.log().contains("traces"), "{}", solo.operator.log());
    let places = [("the traces".to_owned(), text())];
    let secrets = [canary, issued.password.clone(), user.keys.secret_key.clone()];
    assert_eq!(find(&secrets, &places), [] as [String; 0]);
    assert!(!places[0].1.contains("secret written"), "events stay in the log");
}
