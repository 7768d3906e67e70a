//! The emulated AWS, judged by botocore.

use std::time::{Duration, SystemTime};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use imps_testbed::aws::{Account, Aws, Keys, Role, Trust};
use imps_testbed::fresh_name;
use imps_testbed::wire::{Lie, Mode, Wire};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::sync::OnceCell;

use super::judge::{Judge, SUBJECT, with};

const ECR: &str = "ecr:GetAuthorizationToken";
const PUBLIC: [&str; 2] = ["ecr-public:GetAuthorizationToken", "sts:GetServiceBearerToken"];
const ASSUME: &str = "sts:AssumeRole";
/// Whom identities for STS are for.
const AUDIENCE: &str = "sts.amazonaws.com";

static AWS: OnceCell<Aws> = OnceCell::const_new();

/// The AWS that the tests of this file share, and a judge.
async fn court() -> Option<(&'static Aws, Judge)> {
    if let Err(missing) = Aws::available() {
        missing.skip_or_fail();
        return None;
    }
    Some((AWS.get_or_try_init(Aws::start).await.unwrap(), Judge::of("aws")))
}

fn signed_by(keys: &Keys) -> Value {
    json!({"access_key_id": keys.access_key_id, "secret_key": keys.secret_key})
}

/// The keys of a session, as `AssumeRole` answers them.
fn session(answer: &Value) -> Value {
    let keys = &answer["Credentials"];
    json!({"access_key_id": keys["AccessKeyId"], "secret_key": keys["SecretAccessKey"],
           "session_token": keys["SessionToken"]})
}

fn step(endpoint: &str, service: &str, operation: &str, keys: &Value, params: Value) -> Value {
    json!({"endpoint": endpoint, "service": service, "operation": operation, "keys": keys, "params": params})
}

fn token_step(aws: &Aws, keys: &Value) -> Value {
    step(&aws.endpoint(), "ecr", "get_authorization_token", keys, json!({}))
}

fn public_step(aws: &Aws, keys: &Value) -> Value {
    let plain = step(&aws.endpoint(), "ecr-public", "get_authorization_token", keys, json!({}));
    with(&plain, json!({"region": "us-east-1"}))
}

fn assume_step(aws: &Aws, keys: &Value, role: &str, changes: Value) -> Value {
    let params = with(&json!({"RoleArn": role, "RoleSessionName": "imps"}), changes);
    step(&aws.endpoint(), "sts", "assume_role", keys, params)
}

/// The password in an `authorizationToken`.
fn password(entry: &Value) -> String {
    let text = STANDARD.decode(entry["authorizationToken"].as_str().unwrap()).unwrap();
    String::from_utf8(text).unwrap().strip_prefix("AWS:").unwrap().to_owned()
}

async fn role(aws: &Aws, account: Account, trust: Trust<'_>, allowed: &[&str]) -> String {
    aws.make_role(&Role { account, name: &fresh_name("role"), trust, allowed }).await.unwrap()
}

#[tokio::test]
async fn who_signs_right_gets_a_fresh_password_each_time_and_it_is_on_record() {
    let Some((aws, mut judge)) = court().await else { return };
    let user = aws.make_user(Account::OURS, &[ECR]).await.unwrap();
    let step = token_step(aws, &signed_by(&user.keys));
    let (first, second) = (judge.ok(&step).await, judge.ok(&step).await);
    let (first, second) = (&first["authorizationData"][0], &second["authorizationData"][0]);
    assert_ne!(password(first), password(second));
    assert_eq!(first["proxyEndpoint"], "https://111122223333.dkr.ecr.eu-central-1.amazonaws.com");

    let issued = aws.issued().await.unwrap();
    let ours: Vec<_> = issued.iter().filter(|token| token.principal == user.arn).collect();
    assert_eq!(
        ours.iter().map(|token| &token.password).collect::<Vec<_>>(),
        [&password(first), &password(second)]
    );
    let calls = aws.calls().await.unwrap();
    let call =
        calls.iter().find(|call| call.access_key_id.as_ref() == Some(&user.keys.access_key_id)).unwrap();
    assert_eq!((call.service.as_str(), call.operation.as_str()), ("ecr", "GetAuthorizationToken"));
    assert_eq!((call.region.as_deref(), call.error.as_deref()), (Some("eu-central-1"), None));
}

#[tokio::test]
async fn who_signs_wrong_is_refused_in_the_words_of_the_service() {
    let Some((aws, mut judge)) = court().await else { return };
    let user = aws.make_user(Account::OURS, &[ECR, PUBLIC[0], PUBLIC[1]]).await.unwrap();
    let right = signed_by(&user.keys);
    let wrong = with(&right, json!({"secret_key": "A".repeat(40)}));
    let unknown = with(&right, json!({"access_key_id": "AKIA2222333344445555"}));
    let who = |keys| step(&aws.endpoint(), "sts", "get_caller_identity", keys, json!({}));
    assert_eq!(judge.ok(&who(&right)).await["Arn"], user.arn);
    assert_eq!(judge.refused(&who(&wrong)).await, "SignatureDoesNotMatch");
    assert_eq!(judge.refused(&who(&unknown)).await, "InvalidClientTokenId");

    for right in [token_step(aws, &right), public_step(aws, &right)] {
        judge.ok(&right).await;
        let refusals = [
            (json!({"keys": wrong}), "InvalidSignatureException"),
            (json!({"keys": unknown}), "UnrecognizedClientException"),
            (json!({"tamper": {"Authorization": null}}), "MissingAuthenticationTokenException"),
            (json!({"tamper": {"Content-Type": "application/x-amz-json-1.0"}}), "InvalidSignatureException"),
            (json!({"body": r#"{"registryIds":["444455556666"]}"#}), "InvalidSignatureException"),
            (json!({"unsigned": ["X-Amz-Target"]}), "InvalidSignatureException"),
            (json!({"claim": {"X-Amz-Content-SHA256": "0".repeat(64)}}), "InvalidSignatureException"),
            (json!({"scope": "s3"}), "InvalidSignatureException"),
            (json!({"skew": -3600}), "InvalidSignatureException"),
            (json!({"skew": 3600}), "InvalidSignatureException"),
        ];
        for (wrong, code) in refusals {
            assert_eq!(judge.refused(&with(&right, wrong)).await, code);
        }
        judge.ok(&with(&right, json!({"skew": -60}))).await;
    }
    let elsewhere = with(&public_step(aws, &right), json!({"region": "eu-central-1"}));
    assert_eq!(judge.refused(&elsewhere).await, "InvalidSignatureException");
}

#[tokio::test]
async fn who_signs_right_but_is_not_allowed_is_refused() {
    let Some((aws, mut judge)) = court().await else { return };
    let nobody = signed_by(&aws.make_user(Account::OURS, &[]).await.unwrap().keys);
    let half = signed_by(&aws.make_user(Account::OURS, &PUBLIC[..1]).await.unwrap().keys);
    assert_eq!(judge.refused(&token_step(aws, &nobody)).await, "AccessDeniedException");
    assert_eq!(judge.refused(&public_step(aws, &half)).await, "AccessDeniedException");
    let role = role(aws, Account::OURS, Trust::Principal { arn: "*", external_id: None }, &[]).await;
    assert_eq!(judge.refused(&assume_step(aws, &nobody, &role, json!({}))).await, "AccessDenied");
}

#[tokio::test]
async fn ecr_public_answers_one_object_with_a_fresh_password() {
    let Some((aws, mut judge)) = court().await else { return };
    let user = aws.make_user(Account::OURS, &PUBLIC).await.unwrap();
    let step = public_step(aws, &signed_by(&user.keys));
    let (first, second) = (judge.ok(&step).await, judge.ok(&step).await);
    let (first, second) = (&first["authorizationData"], &second["authorizationData"]);
    assert_ne!(password(first), password(second));
    let issued = aws.issued().await.unwrap();
    let newest = issued.iter().rfind(|token| token.principal == user.arn).unwrap();
    assert_eq!((newest.service.as_str(), &newest.password), ("ecr-public", &password(second)));
}

#[tokio::test]
async fn china_has_its_own_hosts_and_its_own_keys() {
    let Some((aws, mut judge)) = court().await else { return };
    let user = aws.make_user(Account::CHINA, &[ECR]).await.unwrap();
    let step = token_step(aws, &signed_by(&user.keys));
    let answer = judge.ok(&with(&step, json!({"region": "cn-north-1"}))).await;
    let host = "https://777788889999.dkr.ecr.cn-north-1.amazonaws.com.cn";
    assert_eq!(answer["authorizationData"][0]["proxyEndpoint"], host);
    assert_eq!(judge.refused(&step).await, "UnrecognizedClientException");
}

#[tokio::test]
async fn a_role_of_another_account_is_assumed_by_whom_it_trusts_with_the_external_id() {
    let Some((aws, mut judge)) = court().await else { return };
    let user = aws.make_user(Account::OURS, &[ASSUME]).await.unwrap();
    let stranger = aws.make_user(Account::OURS, &[ASSUME]).await.unwrap();
    let trust = Trust::Principal { arn: &user.arn, external_id: Some("shop-7") };
    let role = role(aws, Account::OTHER, trust, &[ECR]).await;
    let keys = signed_by(&user.keys);
    let right = json!({"ExternalId": "shop-7", "DurationSeconds": 900});
    let answer = judge.ok(&assume_step(aws, &keys, &role, right.clone())).await;
    for wrong in [json!({}), json!({"ExternalId": "shop-8"})] {
        assert_eq!(judge.refused(&assume_step(aws, &keys, &role, wrong)).await, "AccessDenied");
    }
    let stranger = assume_step(aws, &signed_by(&stranger.keys), &role, right.clone());
    assert_eq!(judge.refused(&stranger).await, "AccessDenied");
    let unknown = "arn:aws:iam::444455556666:role/nobody-made-it";
    assert_eq!(judge.refused(&assume_step(aws, &keys, unknown, right)).await, "AccessDenied");
    let malformed = [
        json!({"DurationSeconds": 901_000}),
        json!({"DurationSeconds": 7200}),
        json!({"RoleSessionName": "two words"}),
        json!({"ExternalId": "two words"}),
    ];
    for wrong in malformed {
        assert_eq!(judge.refused(&assume_step(aws, &keys, &role, wrong)).await, "ValidationError");
    }

    let token = judge.ok(&token_step(aws, &session(&answer))).await;
    let host = "https://444455556666.dkr.ecr.eu-central-1.amazonaws.com";
    assert_eq!(token["authorizationData"][0]["proxyEndpoint"], host);
    let calls = aws.calls().await.unwrap();
    let call = calls.iter().find(|call| call.role_arn.as_deref() == Some(&role)).unwrap();
    assert_eq!(
        (call.role_session_name.as_deref(), call.external_id.as_deref()),
        (Some("imps"), Some("shop-7"))
    );
    assert_eq!((call.duration_seconds, call.policy.as_deref()), (Some(900), None));
    let refused = calls.iter().filter(|call| call.role_arn.as_deref() == Some(&role) && call.error.is_some());
    assert_eq!(refused.count(), 7);
}

#[tokio::test]
async fn a_session_holds_with_its_own_token_within_its_policy_and_while_it_lasts() {
    let Some((aws, mut judge)) = court().await else { return };
    let user = aws.make_user(Account::OURS, &[ASSUME]).await.unwrap();
    let trust = Trust::Principal { arn: &user.arn, external_id: None };
    let role = role(aws, Account::OURS, trust, &[ECR]).await;
    let keys = signed_by(&user.keys);
    let first = session(&judge.ok(&assume_step(aws, &keys, &role, json!({}))).await);
    let other = session(&judge.ok(&assume_step(aws, &keys, &role, json!({}))).await);
    judge.ok(&token_step(aws, &first)).await;
    for wrong in [Value::Null, other["session_token"].clone(), json!("guess")] {
        let wrong = with(&first, json!({"session_token": wrong}));
        assert_eq!(judge.refused(&token_step(aws, &wrong)).await, "UnrecognizedClientException");
    }
    let policy =
        r#"{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Action":["s3:*"],"Resource":"*"}]}"#;
    let narrow = judge.ok(&assume_step(aws, &keys, &role, json!({"Policy": policy}))).await;
    assert_eq!(judge.refused(&token_step(aws, &session(&narrow))).await, "AccessDeniedException");
    assert!(aws.calls().await.unwrap().iter().any(|call| call.policy.as_deref() == Some(policy)));

    aws.expire_session(first["access_key_id"].as_str().unwrap()).await.unwrap();
    assert_eq!(judge.refused(&token_step(aws, &first)).await, "ExpiredTokenException");
    judge.ok(&token_step(aws, &other)).await;
    aws.revoke(&user.keys).await.unwrap();
    assert_eq!(judge.refused(&assume_step(aws, &keys, &role, json!({}))).await, "InvalidClientTokenId");
}

#[tokio::test]
async fn a_chain_goes_from_role_to_role_and_lasts_an_hour_at_most() {
    let Some((aws, mut judge)) = court().await else { return };
    let user = aws.make_user(Account::OURS, &[ASSUME]).await.unwrap();
    let trust = Trust::Principal { arn: &user.arn, external_id: None };
    let hub = role(aws, Account::OURS, trust, &[ASSUME]).await;
    let trust = Trust::Principal { arn: &hub, external_id: Some("hub") };
    let puller = role(aws, Account::OTHER, trust, &[ECR]).await;
    let keys = signed_by(&user.keys);
    let id = json!({"ExternalId": "hub"});
    assert_eq!(judge.refused(&assume_step(aws, &keys, &puller, id.clone())).await, "AccessDenied");
    let middle = session(&judge.ok(&assume_step(aws, &keys, &hub, json!({}))).await);
    assert_eq!(judge.refused(&assume_step(aws, &middle, &puller, json!({}))).await, "AccessDenied");
    let long = with(&id, json!({"DurationSeconds": 7200}));
    assert_eq!(judge.refused(&assume_step(aws, &middle, &puller, long)).await, "ValidationError");
    let end = session(&judge.ok(&assume_step(aws, &middle, &puller, id)).await);
    judge.ok(&token_step(aws, &end)).await;
    assert_eq!(judge.refused(&token_step(aws, &middle)).await, "AccessDeniedException");
}

#[tokio::test]
async fn a_web_identity_is_worth_what_its_issuer_signed() {
    let Some((aws, mut judge)) = court().await else { return };
    let right = judge.identity(AUDIENCE, json!({})).await;
    aws.trust_issuer(&judge.issuer, &right["keys"]).await.unwrap();
    let trust = Trust::WebIdentity { issuer: &judge.issuer, subject: Some(SUBJECT) };
    let role = role(aws, Account::OURS, trust, &[ECR]).await;
    let exchange = |role: &str, identity: &Value| {
        let params =
            json!({"RoleArn": role, "RoleSessionName": "imps", "WebIdentityToken": identity["token"]});
        step(&aws.endpoint(), "sts", "assume_role_with_web_identity", &json!({}), params)
    };
    let answer = judge.ok(&exchange(&role, &right)).await;
    judge.ok(&token_step(aws, &session(&answer))).await;
    let refusals = [
        (json!({"stranger": true}), "InvalidIdentityToken"),
        (json!({"audience": "somebody-else"}), "InvalidIdentityToken"),
        (json!({"issuer": "https://other.example"}), "InvalidIdentityToken"),
        (json!({"lives": -60}), "ExpiredTokenException"),
        (json!({"subject": "system:serviceaccount:a:c"}), "AccessDenied"),
    ];
    for (change, code) in refusals {
        let wrong = judge.identity(AUDIENCE, change).await;
        assert_eq!(judge.refused(&exchange(&role, &wrong)).await, code);
    }
    assert_eq!(judge.refused(&exchange("arn:aws:iam::111122223333:role/none", &right)).await, "AccessDenied");

    // As the SDK does it by itself.
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("token");
    std::fs::write(&file, right["token"].as_str().unwrap()).unwrap();
    let env = json!({"AWS_WEB_IDENTITY_TOKEN_FILE": file, "AWS_ROLE_ARN": role, "AWS_ENDPOINT_URL": aws.endpoint()});
    judge.ok(&json!({"service": "ecr", "operation": "get_authorization_token", "env": env})).await;
}

#[tokio::test]
async fn a_pod_finds_keys_with_its_token_and_a_machine_with_the_metadata_service() {
    let Some((aws, mut judge)) = court().await else { return };
    let of_pods = role(aws, Account::OURS, Trust::Pods, &[ECR]).await;
    let of_machines = role(aws, Account::OURS, Trust::Machines, &[ECR]).await;
    aws.associate_pod("token-of-a-pod", &of_pods).await.unwrap();
    aws.associate_pod("token-of-another", &of_machines).await.unwrap();
    let ask = |env: Value| json!({"service": "ecr", "operation": "get_authorization_token", "env": env});
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("token");
    let pod = json!({"AWS_CONTAINER_CREDENTIALS_FULL_URI": aws.pod_credentials_url(),
                     "AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE": file, "AWS_ENDPOINT_URL": aws.endpoint()});
    std::fs::write(&file, "token-of-a-pod").unwrap();
    judge.ok(&ask(pod.clone())).await;
    // One that nobody knows, and one whose role does not trust pods.
    for wrong in ["token-of-nobody", "token-of-another"] {
        std::fs::write(&file, wrong).unwrap();
        assert_eq!(judge.take(&ask(pod.clone())).await["exception"], "CredentialRetrievalError");
    }

    let machine = json!({"AWS_EC2_METADATA_SERVICE_ENDPOINT": aws.endpoint(), "AWS_ENDPOINT_URL": aws.endpoint(),
                         "AWS_EC2_METADATA_V1_DISABLED": "true"});
    for role in [None, Some(of_pods.as_str())] {
        aws.set_machine_role(role).await.unwrap();
        assert_eq!(judge.take(&ask(machine.clone())).await["exception"], "NoCredentialsError");
    }
    aws.set_machine_role(Some(&of_machines)).await.unwrap();
    judge.ok(&ask(machine)).await;
    let found = aws.calls().await.unwrap();
    let found = found.iter().filter(|call| call.operation == "GetCredentials" && call.error.is_none());
    assert_eq!(found.filter_map(|call| call.role_arn.as_ref()).collect::<Vec<_>>(), [&of_pods, &of_machines]);

    // Version 1 had no token.
    let path = "/latest/meta-data/iam/security-credentials/";
    let answer = raw(&aws.endpoint(), &format!("GET {path} HTTP/1.0\r\n\r\n")).await;
    assert!(answer.starts_with("HTTP/1.1 401"), "{answer}");
}

#[tokio::test]
async fn lives_are_as_long_as_was_set_last() {
    let Some((_, mut judge)) = court().await else { return };
    // Its own, because the others must not feel it.
    let aws = Aws::start().await.unwrap();
    let user = aws.make_user(Account::OURS, &[ECR, ASSUME, PUBLIC[0], PUBLIC[1]]).await.unwrap();
    let keys = signed_by(&user.keys);
    for life in [90.5, 3.0] {
        aws.set_ttl(Duration::from_secs_f64(life)).await.unwrap();
        let private = judge.ok(&token_step(&aws, &keys)).await["authorizationData"][0]["expiresAt"].clone();
        let public = judge.ok(&public_step(&aws, &keys)).await["authorizationData"]["expiresAt"].clone();
        let issued = aws.issued().await.unwrap();
        for (said, token) in [private, public].iter().zip(&issued[issued.len() - 2..]) {
            let expires = token.expires.duration_since(SystemTime::UNIX_EPOCH).unwrap().as_secs_f64();
            assert!((said.as_f64().unwrap() - expires).abs() < 0.002, "{said} is not {expires}");
            let lives = token.expires.duration_since(token.at).unwrap().as_secs_f64();
            assert!((lives - life).abs() < 0.002, "{lives} is not {life}");
        }
    }
    let trust = Trust::Principal { arn: &user.arn, external_id: None };
    let role = role(&aws, Account::OURS, trust, &[]).await;
    let expiry = async |judge: &mut Judge, life: Option<Duration>| {
        aws.set_session_ttl(life).await.unwrap();
        let answer = judge.ok(&assume_step(&aws, &keys, &role, json!({}))).await;
        let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap().as_secs_f64();
        answer["Credentials"]["Expiration"].as_f64().unwrap() - now
    };
    assert!((30.0..=60.0).contains(&expiry(&mut judge, Some(Duration::from_secs(60))).await));
    assert!((3500.0..=3600.0).contains(&expiry(&mut judge, None).await));
}

#[tokio::test]
async fn a_wire_passes_signed_requests_and_fails_them_one_operation_at_a_time() {
    let Some((aws, mut judge)) = court().await else { return };
    let user = aws.make_user(Account::OURS, &[ECR]).await.unwrap();
    let keys = signed_by(&user.keys);
    let wire = Wire::to(&aws.endpoint()).await.unwrap();
    let token = step(&wire.endpoint(), "ecr", "get_authorization_token", &keys, json!({}));
    let who = step(&wire.endpoint(), "sts", "get_caller_identity", &keys, json!({}));
    judge.ok(&token).await;
    judge.ok(&who).await;

    wire.set_for("GetAuthorizationToken", Mode::Throttle { retry_after: Some(7) });
    let throttled = judge.take(&token).await;
    assert_eq!((&throttled["error"], &throttled["status"]), (&json!("ThrottlingException"), &json!(400)));
    assert_eq!(throttled["headers"]["retry-after"], "7");
    judge.ok(&who).await;
    wire.set(Mode::Throttle { retry_after: None });
    let throttled = judge.take(&who).await;
    assert_eq!((&throttled["error"], &throttled["status"]), (&json!("Throttling"), &json!(400)));
    assert_eq!(throttled["headers"]["retry-after"], Value::Null);

    wire.set(Mode::ServerError(503));
    assert_eq!(judge.take(&token).await["status"], 503);
    assert_eq!(judge.take(&who).await["error"], "InternalFailure");
    wire.set(Mode::Refuse);
    assert_eq!(judge.take(&token).await["exception"], "ConnectionClosedError");
    wire.set_for("GetAuthorizationToken", Mode::Hang);
    let impatient = with(&token, json!({"patience": 0.5}));
    assert_eq!(judge.take(&impatient).await["exception"], "ReadTimeoutError");
    wire.set_for("GetAuthorizationToken", Mode::Pass);
    judge.ok(&token).await;

    assert_eq!((wire.count("GetAuthorizationToken"), wire.count("GetCallerIdentity")), (6, 4));
    let seen = wire.seen();
    assert_eq!(seen.len(), 10);
    assert!(seen.windows(2).all(|pair| pair[0].at <= pair[1].at));
    assert!(SystemTime::now().duration_since(seen[9].at).unwrap() < Duration::from_secs(30));
}

#[tokio::test]
async fn a_wire_lies_as_it_is_told() {
    let Some((aws, mut judge)) = court().await else { return };
    let user = aws.make_user(Account::OURS, &[ECR, ASSUME]).await.unwrap();
    let keys = signed_by(&user.keys);
    let wire = Wire::to(&aws.endpoint()).await.unwrap();
    let token = step(&wire.endpoint(), "ecr", "get_authorization_token", &keys, json!({}));
    let trust = Trust::Principal { arn: &user.arn, external_id: None };
    let role = role(aws, Account::OURS, trust, &[]).await;
    let assume = with(&assume_step(aws, &keys, &role, json!({})), json!({"endpoint": wire.endpoint()}));
    let (past, far) = (json!(946_684_800.0), json!(253_402_300_799.0));
    for (lie, expiry) in [(Lie::NoExpiry, Value::Null), (Lie::PastExpiry, past), (Lie::FarFuture, far)] {
        wire.set(Mode::Lie(lie));
        let answer = judge.ok(&token).await;
        assert_eq!(answer["authorizationData"][0]["expiresAt"], expiry);
        assert!(!password(&answer["authorizationData"][0]).is_empty());
        let answer = judge.ok(&assume).await;
        assert_eq!(answer["Credentials"]["Expiration"], expiry);
        assert!(answer["Credentials"]["SessionToken"].is_string());
    }
    wire.set(Mode::Lie(Lie::EmptyList));
    assert_eq!(judge.ok(&token).await["authorizationData"], json!([]));
    let bent = async |judge: &mut Judge, lie: Lie| {
        wire.set(Mode::Lie(lie));
        let answer = judge.ok(&token).await;
        STANDARD.decode(answer["authorizationData"][0]["authorizationToken"].as_str().unwrap())
    };
    bent(&mut judge, Lie::TokenNotBase64).await.unwrap_err();
    assert!(!bent(&mut judge, Lie::TokenWithoutColon).await.unwrap().contains(&b':'));
    wire.set(Mode::Lie(Lie::NotJson));
    assert_eq!(judge.ok(&token).await, json!({}), "the judge reads what is not JSON as nothing");
    // A refusal stays one.
    let wrong = with(&token, json!({"keys": with(&keys, json!({"secret_key": "wrong"}))}));
    assert_eq!(judge.refused(&wrong).await, "InvalidSignatureException");
}

/// Sends a request as it is and reads until the end.
async fn raw(endpoint: &str, request: &str) -> String {
    let mut stream = tokio::net::TcpStream::connect(endpoint.trim_start_matches("http://")).await.unwrap();
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    answer
}

#[tokio::test]
async fn a_wire_serves_other_servers_too_and_keeps_every_byte() {
    let server = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let wire = Wire::to(&server.local_addr().unwrap().to_string()).await.unwrap();
    let received = tokio::spawn(async move {
        let (mut stream, _) = server.accept().await.unwrap();
        let mut bytes = [0; 1024];
        let length = stream.read(&mut bytes).await.unwrap();
        stream.write_all(b"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\nanswer").await.unwrap();
        String::from_utf8_lossy(&bytes[..length]).into_owned()
    });
    let request = "POST /token?a=b HTTP/1.1\r\nhOsT: registry.example\r\nContent-Length: 3\r\n\r\nx\ry";
    assert!(raw(&wire.endpoint(), request).await.ends_with("\r\n\r\nanswer"));
    assert_eq!(received.await.unwrap(), request);
    assert_eq!(wire.count("POST /token"), 1);

    // Whoever does not speak AWS is throttled in the words of HTTP.
    let request = "GET /token HTTP/1.1\r\nConnection: close\r\n\r\n";
    let ask = async |mode: Mode| {
        wire.set(mode);
        let mut stream = tokio::net::TcpStream::connect(wire.address()).await.unwrap();
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut answer = vec![0; 4096];
        let length = stream.read(&mut answer).await.unwrap();
        (String::from_utf8_lossy(&answer[..length]).into_owned(), stream)
    };
    let (throttled, _) = ask(Mode::Throttle { retry_after: Some(3) }).await;
    assert!(
        throttled.starts_with("HTTP/1.1 429 ") && throttled.contains("Retry-After: 3\r\n"),
        "{throttled}"
    );
    let (redirected, _) = ask(Mode::Lie(Lie::Redirect { to: "http://elsewhere.example/".into() })).await;
    assert!(redirected.starts_with("HTTP/1.1 307 "), "{redirected}");
    assert!(redirected.contains("Location: http://elsewhere.example/\r\n"), "{redirected}");
    let (_, mut huge) = ask(Mode::Lie(Lie::HugeBody)).await;
    let mut read = 0;
    let mut bytes = vec![0; 1 << 20];
    while read < 32 << 20 {
        let length = huge.read(&mut bytes).await.unwrap();
        assert!(length > 0, "it ended after {read} bytes");
        read += length;
    }
}
