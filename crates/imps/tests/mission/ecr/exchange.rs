//! What an exchange gives: a token in every selected namespace, and how that is told.

use std::time::Duration;

use imps_testbed::aws::Account;
use kube::ResourceExt;

use super::{
    Cloud, ECR, LIFE, ROBOT, STATIC, Witness, has_token, host, metric, names, password, seconds_until,
    source_of, team, team_namespace,
};
use crate::mission::read::{registries, texts};
use crate::mission::stage::Scene;
use crate::mission::wait::always;

/// How far a time may be off in a busy minute.
const SLACK_SECONDS: i64 = 60;

#[tokio::test]
async fn one_request_fills_all_namespaces_of_all_grants_with_one_write_each() {
    const NAMESPACES: usize = 10;
    let Some(cloud) = Cloud::open().await else { return };
    let Some(scene) = Scene::open().await else { return };
    let user = cloud.user(&[ECR]).await;
    let account = Account::OURS.number;
    // Two Secrets of one identity, which differ in what they want the token for.
    cloud.fields_with(account, &user.keys).write(&scene, "hub").await;
    cloud.fields_with(Account::OTHER.number, &user.keys).write(&scene, "copy").await;
    scene.source("static", &[(STATIC, ROBOT)]).await;
    let mut namespaces = Vec::new();
    for n in 0..NAMESPACES {
        namespaces.push(team_namespace(&scene, &format!("n{n}")).await);
    }
    let all: Vec<&str> = namespaces.iter().map(String::as_str).collect();
    let second = scene.name("second");
    let witnesses =
        [Witness::of(&scene.client, &scene.secret).await, Witness::of(&scene.client, &second).await];
    let grant = scene.grant("g", &["hub", "static"], team(&scene)).await;
    let mut target = team(&scene);
    target["secret"]["name"] = second.as_str().into();
    let other = scene.grant("other", &["copy"], target).await;
    let status = scene.ready_in(&grant, &all).await;
    scene.ready_in(&other, &all).await;

    let issued = cloud.issued_to(&user.arn).await;
    let host = host(account);
    for namespace in &all {
        let secret = has_token(&scene, namespace, &host, &issued[0]).await;
        assert!(registries(&secret).iter().eq([host.as_str(), STATIC]), "{:?}", registries(&secret));
        let copy = scene.secrets(namespace).get(&second).await.unwrap();
        assert_eq!(password(&copy, &super::host(Account::OTHER.number)).as_ref(), Some(&issued[0].password));
    }
    always(Duration::from_millis(500), "one request and one write each", async || {
        let seen = (cloud.asked(), witnesses[0].count(), witnesses[1].count());
        if seen == (1, NAMESPACES, NAMESPACES) { Ok(()) } else { Err(format!("{seen:?}")) }
    })
    .await;

    let life = i64::try_from(LIFE.as_secs()).unwrap();
    let source = source_of(&status, "hub");
    assert_eq!(
        (&source["state"], texts(&source["registries"]).next()),
        (&"Ready".into(), Some(host.as_str()))
    );
    let expiry = seconds_until(&source["expiresAt"]);
    assert!((life - SLACK_SECONDS..=life + 1).contains(&expiry), "expires in {expiry} s");
    let next = seconds_until(&source["nextRefresh"]);
    assert!((life * 44 / 100..=life * 56 / 100).contains(&next), "renewed in {next} s");
    let validity = status["validitySeconds"].as_i64().unwrap();
    assert!((life - SLACK_SECONDS..=life + SLACK_SECONDS).contains(&validity), "valid for {validity} s");
    let secret = scene.secrets(&scene.home).get("hub").await.unwrap();
    assert_eq!(source["uid"].as_str(), secret.uid().as_deref());
    assert_eq!(source["resourceVersion"].as_str(), secret.resource_version().as_deref());
    let plain = source_of(&status, "static");
    assert!(plain["expiresAt"].is_null() && plain["nextRefresh"].is_null(), "{plain}");

    let page = scene.metrics().await;
    let labels = |source: &str| {
        format!(r#"{{name="{grant}",source_namespace="{}",source_name="{source}""#, scene.home)
    };
    let time = |what: &str, source: &str| {
        metric(&page, &format!("imps_credential_{what}_timestamp_seconds{},provider=", labels(source)))
    };
    for (what, field) in [("expiration", "expiresAt"), ("renewal", "nextRefresh")] {
        let in_status: jiff::Timestamp = source[field].as_str().unwrap().parse().unwrap();
        let (told, seconds) = (time(what, "hub").unwrap(), in_status.as_second() as f64);
        assert!((told - seconds).abs() <= 1.0, "{what}: {told}, and the status says {seconds}");
    }
    let lived = time("expiration", "hub").unwrap() - time("issued", "hub").unwrap();
    assert!((lived - LIFE.as_secs_f64()).abs() <= 2.0, "it lives for {lived} s");
    assert_eq!(time("last_error", "hub"), None, "nothing failed");
    for what in ["expiration", "renewal", "issued", "last_error"] {
        assert_eq!(time(what, "static"), None, "what does not expire has no {what}");
    }
    for start in [
        r#"imps_credential_refresh_total{provider="ecr",result="success"}"#,
        r#"imps_credential_refresh_duration_seconds_count{provider="ecr"}"#,
        r#"imps_credential_refresh_duration_seconds_bucket{le="30.0""#,
        "imps_exchanged_identities",
    ] {
        let value = metric(&page, start).unwrap_or_else(|| panic!("no {start} in {page}"));
        assert!(value >= 1.0, "{start} is {value}");
    }
    assert!(page.contains(&format!(r#"imps_source_state{},state="Ready"}} 1"#, labels("hub"))), "{page}");
}

#[tokio::test]
async fn one_token_serves_every_account_and_host_that_the_source_lists() {
    let Some(cloud) = Cloud::open().await else { return };
    let Some(scene) = Scene::open().await else { return };
    let user = cloud.user(&[ECR]).await;
    let shop = scene.namespace("shop", serde_json::json!({})).await;
    let fips = format!("444455556666.dkr.ecr-fips.{}.amazonaws.com", super::REGION);
    let fields = cloud.fields_with("111122223333", &user.keys);
    fields
        .clone()
        .with("accountIDs", "222233334444, 333344445555")
        .with("hosts", &fips)
        .write(&scene, "hub")
        .await;
    let grant = scene.grant("g", &["hub"], names(&[&shop])).await;
    scene.ready_in(&grant, &[&shop]).await;
    let secret = scene.target(&shop).await.unwrap();
    let issued = cloud.issued_to(&user.arn).await;
    let hosts = ["111122223333", "222233334444", "333344445555"].map(host);
    for host in hosts.iter().chain([&fips]) {
        assert_eq!(password(&secret, host).as_ref(), Some(&issued[0].password), "{host}");
    }
    assert_eq!((registries(&secret).len(), cloud.asked()), (4, 1));

    // What it lists no longer goes without another request: the token is good.
    fields.write(&scene, "hub").await;
    scene.ready_in(&grant, &[&shop]).await;
    crate::mission::wait::eventually("the others are gone", async || {
        let found = registries(&scene.target(&shop).await.unwrap());
        if found.iter().eq([&hosts[0]]) { Ok(()) } else { Err(format!("{found:?}")) }
    })
    .await;
}

#[tokio::test]
async fn the_public_gallery_is_a_source_too() {
    let Some(cloud) = Cloud::open().await else { return };
    let Some(scene) = Scene::open().await else { return };
    let user = cloud.user(&["ecr-public:GetAuthorizationToken", "sts:GetServiceBearerToken"]).await;
    let shop = scene.namespace("shop", serde_json::json!({})).await;
    cloud.fields_with("public", &user.keys).write(&scene, "gallery").await;
    let grant = scene.grant("g", &["gallery"], names(&[&shop])).await;
    let status = scene.ready_in(&grant, &[&shop]).await;
    let issued = cloud.issued_to(&user.arn).await;
    let secret = has_token(&scene, &shop, "public.ecr.aws", issued.last().unwrap()).await;
    assert!(registries(&secret).iter().eq(["public.ecr.aws"]));
    assert_eq!(
        (issued.len(), issued[0].service.as_str(), issued[0].region.as_str()),
        (1, "ecr-public", "us-east-1")
    );
    assert!(seconds_until(&source_of(&status, "gallery")["expiresAt"]) > 0);
    let page = scene.metrics().await;
    let refreshes = metric(&page, r#"imps_credential_refresh_total{provider="ecr-public",result="success"}"#);
    assert!(refreshes.is_some_and(|count| count >= 1.0), "{page}");
}
