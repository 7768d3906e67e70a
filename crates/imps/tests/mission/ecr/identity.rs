//! Who asks: keys, roles and chains of roles; what is wrong with them is said in the words of the API's codes alone.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use imps_testbed::aws::{Account, Call, Trust};
use imps_testbed::wire::Mode;
use serde_json::{Value, json};

use super::{ASSUME, Cloud, ECR, ROBOT, STATIC, has_token, host, names, password, source_of, stands, touch};
use crate::mission::read::{registries, texts, version};
use crate::mission::stage::Scene;
use crate::mission::wait::{always, assert_prompt, eventually};

/// All that pulling needs, and nothing else.
const PULL: [&str; 5] = [
    "ecr:BatchCheckLayerAvailability",
    "ecr:BatchGetImage",
    "ecr:BatchImportUpstreamImage",
    "ecr:GetAuthorizationToken",
    "ecr:GetDownloadUrlForLayer",
];

/// The calls that took on a role, refused ones too.
async fn calls_for(cloud: &Cloud, role: &str) -> Vec<Call> {
    let calls = cloud.aws.calls().await.unwrap();
    calls.into_iter().filter(|call| call.role_arn.as_deref() == Some(role)).collect()
}

/// The actions that a session policy leaves.
fn actions(call: &Call) -> BTreeSet<String> {
    let policy: Value = serde_json::from_str(call.policy.as_deref().unwrap()).unwrap();
    let statements = policy["Statement"].as_array().unwrap();
    assert!(statements.iter().all(|statement| statement["Effect"] == "Allow"), "{policy}");
    let listed = |statement: &Value| match &statement["Action"] {
        Value::String(action) => vec![action.clone()],
        list => texts(list).map(str::to_owned).collect(),
    };
    statements.iter().flat_map(listed).collect()
}

#[tokio::test]
async fn a_role_is_taken_on_with_its_external_id_and_for_pulling_only() {
    let Some(cloud) = Cloud::open().await else { return };
    let Some(scene) = Scene::open().await else { return };
    let user = cloud.user(&[ASSUME]).await;
    let trust = Trust::Principal { arn: &user.arn, external_id: Some("shop-7") };
    let role = cloud.role(Account::OTHER, trust, &[ECR]).await;
    let fields = cloud.fields_with(Account::OTHER.number, &user.keys).with("roleArn", &role);
    let fields = fields.with("externalID", "shop-7").with("roleSessionName", "blue-cluster");
    fields.write(&scene, "hub").await;
    let shop = scene.namespace("shop", json!({})).await;
    let grant = scene.grant("g", &["hub"], names(&[&shop])).await;
    scene.ready_in(&grant, &[&shop]).await;

    let calls = calls_for(&cloud, &role).await;
    assert_eq!((calls.len(), calls[0].operation.as_str()), (1, "AssumeRole"));
    let said = (calls[0].role_session_name.as_deref(), calls[0].external_id.as_deref());
    assert_eq!(said, (Some("blue-cluster"), Some("shop-7")));
    assert!(actions(&calls[0]).iter().eq(PULL), "{:?}", actions(&calls[0]));
    let name = role.rsplit('/').next().unwrap();
    let issued = cloud.issued_to(&format!("assumed-role/{name}/blue-cluster")).await;
    let host = host(Account::OTHER.number);
    let good = has_token(&scene, &shop, &host, &issued[0]).await;

    // A wrong external id: the code is told and the server's words are not; what works stays.
    fields.clone().with("externalID", "shop-8").write(&scene, "hub").await;
    let status = scene
        .status(&grant, "denied", |status| stands(status, "hub", "Failing", "ExchangeDenied", "AccessDenied"))
        .await;
    let message = source_of(&status, "hub")["message"].as_str().unwrap();
    assert!(message.contains("trust policy") && message.contains("externalID"), "{message}");
    for raw in ["authorized", "User:", user.arn.as_str(), "shop-8", role.as_str()] {
        assert!(!status.to_string().contains(raw), "{raw} in {status:#}");
    }
    assert_eq!(version(&scene.target(&shop).await.unwrap()), version(&good));
    assert_eq!(calls_for(&cloud, &role).await.last().unwrap().error.as_deref(), Some("AccessDenied"));

    let start = Instant::now();
    fields.write(&scene, "hub").await;
    eventually("a new token", async || {
        let now = password(&scene.target(&shop).await.unwrap(), &host);
        if now == password(&good, &host) { Err("still the old one".to_owned()) } else { Ok(()) }
    })
    .await;
    assert_prompt("a repaired source has a new token after", &[start.elapsed()]);
    scene.ready_in(&grant, &[&shop]).await;
}

#[tokio::test]
async fn an_edited_source_is_asked_for_at_once_however_long_the_pause_was() {
    let Some(cloud) = Cloud::open().await else { return };
    let Some(scene) = Scene::open().await else { return };
    let user = cloud.user(&[ECR]).await;
    cloud.fields_with(Account::OURS.number, &user.keys).write(&scene, "hub").await;
    cloud.wire.set(Mode::Throttle { retry_after: Some(600) });
    let shop = scene.namespace("shop", json!({})).await;
    let grant = scene.grant("g", &["hub"], names(&[&shop])).await;
    let status = scene
        .status(&grant, "throttled", |status| {
            stands(status, "hub", "Failing", "ExchangeThrottled", "Throttling")
        })
        .await;
    let pause = super::seconds_until(&source_of(&status, "hub")["nextRefresh"]);
    assert!((570..=601).contains(&pause), "asked again in {pause} s");
    let source = source_of(&status, "hub");
    assert!(
        source["uid"].is_null() && source["resourceVersion"].is_null(),
        "no token is for nothing: {source:#}"
    );
    cloud.wire.set(Mode::Pass);
    let start = Instant::now();
    touch(&scene, "hub").await;
    eventually("a token", async || scene.target(&shop).await.map(drop).ok_or_else(|| "none".to_owned()))
        .await;
    assert_prompt("an edited source has its token after", &[start.elapsed()]);
    assert_eq!(cloud.asked(), 2);
}

#[tokio::test]
async fn a_chain_of_roles_leads_from_one_to_the_next() {
    let Some(cloud) = Cloud::open().await else { return };
    let Some(scene) = Scene::open().await else { return };
    let user = cloud.user(&[ASSUME]).await;
    let trust = Trust::Principal { arn: &user.arn, external_id: None };
    let hub = cloud.role(Account::OURS, trust, &[ASSUME, ECR]).await;
    let trust = Trust::Principal { arn: &hub, external_id: Some("from-hub") };
    let puller = cloud.role(Account::OTHER, trust, &[ECR]).await;
    for (word, separator) in [("commas", ","), ("lines", "\n")] {
        let fields = cloud.fields_with(Account::OTHER.number, &user.keys).with("externalID", "from-hub");
        let fields = fields.with("roleSessionName", word);
        fields.with("roleArn", &format!("{hub}{separator}{puller}")).write(&scene, word).await;
    }
    let shop = scene.namespace("shop", json!({})).await;
    let yard = scene.namespace("yard", json!({})).await;
    for (word, namespace) in [("commas", &shop), ("lines", &yard)] {
        let grant = scene.grant(word, &[word], names(&[namespace])).await;
        scene.ready_in(&grant, &[namespace]).await;
        let name = puller.rsplit('/').next().unwrap();
        let issued = cloud.issued_to(&format!("assumed-role/{name}/{word}")).await;
        has_token(&scene, namespace, &host(Account::OTHER.number), &issued[0]).await;
    }
    let (first, second) = (calls_for(&cloud, &hub).await, calls_for(&cloud, &puller).await);
    assert_eq!((first.len(), second.len()), (2, 2));
    assert!(first.iter().all(|call| call.external_id.is_none() && actions(call).iter().eq([ASSUME])));
    let last = |call: &Call| call.external_id.as_deref() == Some("from-hub") && actions(call).iter().eq(PULL);
    assert!(second.iter().all(last), "{second:#?}");
}

#[tokio::test]
async fn who_has_the_key_id_of_another_and_not_its_secret_gets_nothing_of_the_other() {
    let Some(cloud) = Cloud::open().await else { return };
    let Some(scene) = Scene::open().await else { return };
    let user = cloud.user(&[ECR]).await;
    let account = Account::OURS.number;
    let fields = cloud.fields_with(account, &user.keys);
    fields.write(&scene, "owner").await;
    let shop = scene.namespace("shop", json!({})).await;
    let grant = scene.grant("owner", &["owner"], names(&[&shop])).await;
    scene.ready_in(&grant, &[&shop]).await;
    let good = scene.target(&shop).await.unwrap();

    fields.with("secretKey", &"A".repeat(40)).write(&scene, "thief").await;
    let yard = scene.namespace("yard", json!({})).await;
    let thief = scene.grant("thief", &["thief"], names(&[&yard])).await;
    scene
        .status(&thief, "denied", |status| {
            stands(status, "thief", "Failing", "ExchangeDenied", "InvalidSignatureException")
        })
        .await;
    // Nor when the owner's token is renewed.
    touch(&scene, "owner").await;
    eventually("it is renewed", async || {
        let count = cloud.issued_to(&user.arn).await.len();
        if count == 2 { Ok(()) } else { Err(format!("{count} tokens")) }
    })
    .await;
    let issued = cloud.issued_to(&user.arn).await;
    let renewed = has_token(&scene, &shop, &host(account), &issued[1]).await;
    assert_eq!(renewed.metadata.uid, good.metadata.uid);
    always(Duration::from_millis(500), "the thief has nothing", async || match scene.target(&yard).await {
        Some(secret) if password(&secret, &host(account)).is_some() => Err("it has a token".to_owned()),
        _ => Ok(()),
    })
    .await;
    let status = scene.ready_in(&grant, &[&shop]).await;
    assert!(stands(&status, "owner", "Ready", "", ""), "{status:#}");
}

#[tokio::test]
async fn wrong_keys_are_named_by_the_api_s_code_and_the_other_sources_go_on() {
    let Some(cloud) = Cloud::open().await else { return };
    let Some(scene) = Scene::open().await else { return };
    let user = cloud.user(&[ASSUME]).await;
    let trust = Trust::Principal { arn: &user.arn, external_id: None };
    let role = cloud.role(Account::OURS, trust, &[ECR]).await;
    let good = cloud.user(&[ECR]).await;
    let unknown = "AKIA2222333344445555";
    let base = |account: &str| cloud.fields_with(account, &user.keys);
    let wrong = "A".repeat(40);
    let nowhere = cloud.fields_with("999900000006", &good.keys).with("endpoint", "http://127.0.0.1:1");
    let cases = [
        (
            "ecr-secret",
            base("999900000001").with("secretKey", &wrong),
            "InvalidSignatureException: the secretKey",
        ),
        (
            "ecr-id",
            base("999900000002").with("accessKeyID", unknown),
            "UnrecognizedClientException: the access key",
        ),
        (
            "sts-secret",
            base("999900000003").with("secretKey", &wrong).with("roleArn", &role),
            "SignatureDoesNotMatch: the secretKey",
        ),
        (
            "sts-id",
            base("999900000004").with("accessKeyID", unknown).with("roleArn", &role),
            "InvalidClientTokenId: the access key",
        ),
        ("no-right", base("999900000005"), "AccessDeniedException: ecr:GetAuthorizationToken"),
        ("nobody", nowhere, "no connection: ecr:GetAuthorizationToken cannot be reached"),
    ];
    for (word, fields, _) in &cases {
        fields.write(&scene, word).await;
    }
    cloud.fields_with(Account::OURS.number, &good.keys).write(&scene, "good").await;
    scene.source("static", &[(STATIC, ROBOT)]).await;
    let mut sources: Vec<&str> = cases.iter().map(|(word, ..)| *word).collect();
    sources.extend(["good", "static"]);
    let shop = scene.namespace("shop", json!({})).await;
    let grant = scene.grant("g", &sources, names(&[&shop])).await;
    let status = scene
        .status(&grant, "each is named", |status| {
            cases.iter().all(|(word, _, words)| {
                let reason = if *word == "nobody" { "ExchangeUnreachable" } else { "ExchangeDenied" };
                stands(status, word, "Failing", reason, words)
            })
        })
        .await;
    for raw in
        ["authorized", "The security token", "The request signature", user.arn.as_str(), unknown, &wrong]
    {
        assert!(!status.to_string().contains(raw), "{raw} in {status:#}");
    }
    scene.has_login(&shop, &format!("{STATIC}/app"), ROBOT).await;
    let good_token = eventually("the good one has its token", async || {
        cloud.issued_to(&good.arn).await.pop().ok_or_else(|| "none".to_owned())
    })
    .await;
    let secret = has_token(&scene, &shop, &host(Account::OURS.number), &good_token).await;
    assert_eq!(registries(&secret).len(), 2, "{:?}", registries(&secret));
}
