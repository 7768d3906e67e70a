//! The identity of imps itself, in each of the surroundings that give one. Surroundings are those of a whole process,
//! so each test starts this program once more and carries out its exchange there.

#![cfg(feature = "aws")]
#![allow(clippy::unwrap_used, reason = "surroundings that cannot be made have failed")]

mod support;

use std::process::Stdio;
use std::sync::Arc;

use aws_sdk_ecr::primitives::{DateTime, DateTimeFormat};
use imps_registry::{Outside, exchange};
use support::{Cloud, Reply, Tokens, at, document, role, token};

/// Where the cloud of the parent is; it is there in children only.
const CLOUD: &str = "IMPS_TEST_CLOUD";
/// Where a child writes what came of its exchange.
const OUTCOME: &str = "IMPS_TEST_OUTCOME";
const ROLE: &str = "arn:aws:iam::123456789012:role/last";

/// Runs the exchange of a test in a child with these variables and no other of Amazon's, and returns its outcome. In
/// the child itself it carries the exchange out and returns nothing.
async fn outcome(
    test: &str,
    cloud: Option<&Cloud>,
    variables: &[(&str, &str)],
    chain: &str,
) -> Option<String> {
    if let (Ok(url), Ok(file)) = (std::env::var(CLOUD), std::env::var(OUTCOME)) {
        let values = [
            ("region", "eu-west-1"),
            ("accountID", "123456789012"),
            ("endpoint", &url),
            ("stsEndpoint", &url),
        ];
        let document = document(&[&values[..], &[("roleArn", chain)]].concat());
        let outside = Outside::new(Arc::new(Tokens::default()));
        let text = match exchange(&outside, &at(), &document).await {
            Ok(issued) => format!(
                "{} {} {:?}",
                issued.credential.username,
                issued.credential.password.reveal(),
                issued.session.map(|session| session.as_secs().div_ceil(3600))
            ),
            Err(fault) => fault.to_string(),
        };
        std::fs::write(file, text).unwrap();
        return None;
    }
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("outcome");
    let mut child = tokio::process::Command::new(std::env::current_exe().unwrap());
    for (name, _) in std::env::vars().filter(|(name, _)| name.starts_with("AWS_")) {
        child.env_remove(name);
    }
    let url = cloud.expect("the parent has a cloud").url.as_str();
    let status = child
        .args(["--exact", test])
        .envs([(CLOUD, url), ("AWS_EC2_METADATA_SERVICE_ENDPOINT", "http://127.0.0.1:1")])
        .env(OUTCOME, &file)
        .envs(variables.iter().copied())
        .stdout(Stdio::null())
        .status()
        .await
        .unwrap();
    assert!(status.success());
    Some(std::fs::read_to_string(file).unwrap())
}

/// A cloud that gives roles and tokens, and what the surroundings of a pod give.
async fn cloud() -> Option<Cloud> {
    if std::env::var(CLOUD).is_ok() {
        return None;
    }
    let keys = |id: &str| {
        let end = hours_from_now(2);
        let keys = serde_json::json!({
            "Code": "Success", "Type": "AWS-HMAC", "LastUpdated": "2024-01-01T00:00:00Z", "AccessKeyId": id,
            "SecretAccessKey": "s", "Token": format!("session-of-{id}"), "Expiration": end,
        });
        Reply::ok(keys.to_string())
    };
    let cloud = Cloud::start(move |asked| match asked.operation().as_str() {
        "AssumeRoleWithWebIdentity" => role("AssumeRoleWithWebIdentity", "ASIAWEB"),
        "AssumeRole" => role("AssumeRole", "ASIALAST"),
        "GET /v1/credentials HTTP/1.1" if asked.header("authorization") == "pod-token" => keys("ASIAPOD"),
        "PUT /latest/api/token HTTP/1.1" => Reply::Answer(
            200,
            vec![("x-aws-ec2-metadata-token-ttl-seconds", "21600".into())],
            "instance-token".into(),
        ),
        line if line.starts_with("GET /latest")
            && asked.header("x-aws-ec2-metadata-token") != "instance-token" =>
        {
            Reply::status(401, "")
        }
        "GET /latest/meta-data/iam/security-credentials/ HTTP/1.1" => Reply::ok("node-role"),
        "GET /latest/meta-data/iam/security-credentials/node-role HTTP/1.1" => keys("ASIANODE"),
        line if line.starts_with("GET") => Reply::status(404, ""),
        _ => token(&format!("AWS:for-{}", asked.signer().unwrap_or("nobody")), 43200),
    });
    Some(cloud.await)
}

/// An instant so many hours from now, as Amazon writes it.
fn hours_from_now(hours: u64) -> String {
    let then = std::time::SystemTime::now() + std::time::Duration::from_secs(hours * 3600);
    DateTime::from(then).fmt(DateTimeFormat::DateTime).unwrap()
}

#[tokio::test]
async fn keys_in_the_environment_come_first_and_nothing_there_changes_the_way() {
    let cloud = cloud().await;
    let nowhere = "http://127.0.0.1:1";
    let keys = [
        ("AWS_ACCESS_KEY_ID", "AKIDENV"),
        ("AWS_SECRET_ACCESS_KEY", "s"),
        ("AWS_ROLE_ARN", ROLE),
        ("AWS_ENDPOINT_URL", nowhere),
        ("AWS_ENDPOINT_URL_ECR", nowhere),
        ("HTTP_PROXY", nowhere),
        ("http_proxy", nowhere),
        ("ALL_PROXY", nowhere),
    ];
    let test = "keys_in_the_environment_come_first_and_nothing_there_changes_the_way";
    let Some(outcome) = outcome(test, cloud.as_ref(), &keys, "").await else { return };
    assert_eq!(outcome, "AWS for-AKIDENV None");
}

#[tokio::test]
async fn a_service_account_with_a_role_uses_the_token_in_its_volume() {
    let cloud = cloud().await;
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("token");
    std::fs::write(&file, "volume.token\n").unwrap();
    let variables = [("AWS_ROLE_ARN", ROLE), ("AWS_WEB_IDENTITY_TOKEN_FILE", file.to_str().unwrap())];
    let test = "a_service_account_with_a_role_uses_the_token_in_its_volume";
    let Some(outcome) = outcome(test, cloud.as_ref(), &variables, "").await else { return };
    assert_eq!(outcome, "AWS for-ASIAWEB Some(1)");
    let asked = cloud.unwrap().asked();
    assert_eq!(
        (asked[0].field("WebIdentityToken").as_deref(), asked[0].signer()),
        (Some("volume.token"), None)
    );
    assert_eq!(asked[0].field("RoleArn").as_deref(), Some(ROLE));
    assert!(asked[0].field("Policy").unwrap().contains("ecr:BatchGetImage"));
}

#[tokio::test]
async fn eks_pod_identity_is_asked_at_its_endpoint_and_may_take_on_a_role() {
    let cloud = cloud().await;
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("token");
    std::fs::write(&file, "pod-token").unwrap();
    let uri = cloud.as_ref().map(|cloud| format!("{}/v1/credentials", cloud.url)).unwrap_or_default();
    let variables = [
        ("AWS_CONTAINER_CREDENTIALS_FULL_URI", uri.as_str()),
        ("AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE", file.to_str().unwrap()),
    ];
    let test = "eks_pod_identity_is_asked_at_its_endpoint_and_may_take_on_a_role";
    let Some(outcome) = outcome(test, cloud.as_ref(), &variables, ROLE).await else { return };
    assert_eq!(outcome, "AWS for-ASIALAST Some(1)");
    let asked = cloud.unwrap().asked();
    let signers: Vec<_> = asked.iter().map(|asked| asked.signer()).collect();
    assert_eq!(signers, [None, Some("ASIAPOD"), Some("ASIALAST")]);
}

#[tokio::test]
async fn the_role_of_the_instance_is_the_last_to_be_asked() {
    let cloud = cloud().await;
    let url = cloud.as_ref().map(|cloud| cloud.url.clone()).unwrap_or_default();
    let test = "the_role_of_the_instance_is_the_last_to_be_asked";
    let variables = [("AWS_EC2_METADATA_SERVICE_ENDPOINT", url.as_str())];
    let Some(outcome) = outcome(test, cloud.as_ref(), &variables, "").await else { return };
    assert_eq!(outcome, "AWS for-ASIANODE Some(2)");
}

#[tokio::test]
async fn without_any_identity_it_says_where_one_could_come_from() {
    let cloud = cloud().await;
    let test = "without_any_identity_it_says_where_one_could_come_from";
    let Some(outcome) = outcome(test, cloud.as_ref(), &[], "").await else { return };
    assert!(outcome.starts_with("no identity: imps has no identity at Amazon"), "{outcome}");
    for word in ["IRSA", "Pod Identity", "instance profile", "accessKeyID"] {
        assert!(outcome.contains(word), "{outcome}");
    }
}

#[tokio::test]
async fn a_volume_that_is_not_there_is_named() {
    let cloud = cloud().await;
    let variables = [("AWS_ROLE_ARN", ROLE), ("AWS_WEB_IDENTITY_TOKEN_FILE", "/nowhere/canary")];
    let Some(outcome) = outcome("a_volume_that_is_not_there_is_named", cloud.as_ref(), &variables, "").await
    else {
        return;
    };
    assert!(
        outcome.starts_with("unusable identity: the file that AWS_WEB_IDENTITY_TOKEN_FILE names"),
        "{outcome}"
    );
    assert!(!outcome.contains("canary"));
}
