//! Exchanges with a cloud in this process, which is good, broken or lying.

#![cfg(feature = "aws")]
#![allow(clippy::unwrap_used, reason = "a dialogue that cannot be played has failed")]

mod support;

use std::sync::Arc;
use std::time::{Duration, Instant};

use imps_core::exchange::{ExchangeFault, ExchangeFaultClass, Issued};
use imps_core::source::Document;
use imps_registry::{Limits, Outside, exchange};
use support::{Cloud, DATE, NOW, Reply, Tokens, at, document, role, token};

const FIRST: &str = "arn:aws:iam::111111111111:role/first";
const LAST: &str = "arn:aws:iam::222222222222:role/team/last";
const ECR: &str = "AmazonEC2ContainerRegistry_V20150921.GetAuthorizationToken";
const PUBLIC: &str = "SpencerFrontendService.GetAuthorizationToken";

/// Long enough for this machine when it is busy.
const PATIENCE: Duration = Duration::from_secs(20);

/// A Secret for this cloud.
fn secret(cloud: &Cloud, more: &[(&str, &str)]) -> Document {
    let mut values = vec![("region", "eu-west-1"), ("accountID", "123456789012")];
    values.extend([("endpoint", cloud.url.as_str()), ("stsEndpoint", cloud.url.as_str())]);
    values.extend(more);
    document(&values)
}

const KEYS: [(&str, &str); 2] = [("accessKeyID", "AKIDCANARY"), ("secretKey", "canary-secret")];

async fn with_keys(cloud: &Cloud, more: &[(&str, &str)]) -> Result<Issued, ExchangeFault> {
    exchange(&outside(PATIENCE), &at(), &secret(cloud, &[&KEYS, more].concat())).await
}

fn outside(answer: Duration) -> Outside {
    let limits = Limits { connect: answer, answer, whole: answer * 3 };
    Outside::new(Arc::new(Tokens::default())).with_limits(limits)
}

fn seconds(duration: Option<Duration>) -> Option<u64> {
    duration.map(|duration| duration.as_secs())
}

fn login(issued: &Issued) -> (&str, &str) {
    (&issued.credential.username, issued.credential.password.reveal())
}

#[tokio::test]
async fn keys_are_exchanged_for_a_token() {
    let cloud = Cloud::always(token("AWS:pass:word", 43200)).await;
    let issued = with_keys(&cloud, &[]).await.unwrap();
    assert_eq!(login(&issued), ("AWS", "pass:word"));
    // By the clock of the cloud, which is years from ours.
    assert_eq!((seconds(issued.lifetime), issued.session), (Some(43200), None));
    let asked = cloud.asked();
    assert_eq!(asked.len(), 1);
    assert_eq!((asked[0].line.as_str(), asked[0].body.as_str()), ("POST / HTTP/1.1", "{}"));
    assert_eq!(asked[0].header("x-amz-target"), ECR);
    assert_eq!(asked[0].header("content-type"), "application/x-amz-json-1.1");
    let authorization = asked[0].header("authorization");
    assert!(authorization.starts_with("AWS4-HMAC-SHA256 Credential=AKIDCANARY/"), "{authorization}");
    assert!(authorization.contains("/eu-west-1/ecr/aws4_request"), "{authorization}");
    assert_eq!(asked[0].header("x-amz-security-token"), "");
}

#[tokio::test]
async fn a_temporary_key_sends_its_session_token() {
    let cloud = Cloud::always(token("AWS:x", 43200)).await;
    let issued = with_keys(&cloud, &[("sessionToken", "canary-session")]).await.unwrap();
    assert_eq!(cloud.asked()[0].header("x-amz-security-token"), "canary-session");
    assert_eq!(issued.session, None, "nobody says when it ends");
}

#[tokio::test]
async fn roles_are_taken_on_one_after_the_other_each_with_the_keys_of_the_one_before() {
    let cloud = Cloud::start(|asked| match (asked.operation().as_str(), asked.field("RoleArn").as_deref()) {
        ("AssumeRole", Some(FIRST)) => role("AssumeRole", "ASIAFIRST"),
        ("AssumeRole", Some(LAST)) => role("AssumeRole", "ASIALAST"),
        (ECR, _) => token("AWS:x", 43200),
        _ => Reply::status(404, ""),
    })
    .await;
    let chain = format!("{FIRST}, {LAST}");
    let more = [("roleArn", chain.as_str()), ("externalID", "ext:1"), ("durationSeconds", "900")];
    let issued = with_keys(&cloud, &more).await.unwrap();
    let session = seconds(issued.session).unwrap();
    assert!((3540..=3600).contains(&session), "{session}");

    let asked = cloud.asked();
    assert_eq!(cloud.operations(), ["AssumeRole", "AssumeRole", ECR]);
    let signers: Vec<_> = asked.iter().map(|asked| asked.signer().unwrap()).collect();
    assert_eq!(signers, ["AKIDCANARY", "ASIAFIRST", "ASIALAST"]);
    assert_eq!(asked[1].header("x-amz-security-token"), "session-of-ASIAFIRST");
    assert_eq!(asked[2].header("x-amz-security-token"), "session-of-ASIALAST");
    let field = |number: usize, name: &str| asked[number].field(name);
    assert_eq!(
        (field(0, "RoleSessionName"), field(1, "RoleSessionName")),
        (Some("imps".into()), Some("imps".into()))
    );
    assert_eq!((field(0, "ExternalId"), field(1, "ExternalId")), (None, Some("ext:1".into())));
    assert_eq!((field(0, "DurationSeconds"), field(1, "DurationSeconds")), (None, Some("900".into())));
    assert_eq!(actions(&field(0, "Policy").unwrap()), ["sts:AssumeRole"]);
    assert_eq!(
        actions(&field(1, "Policy").unwrap()),
        [
            "ecr:GetAuthorizationToken",
            "ecr:BatchGetImage",
            "ecr:GetDownloadUrlForLayer",
            "ecr:BatchCheckLayerAvailability",
            "ecr:BatchImportUpstreamImage",
        ]
    );
}

/// What a session policy allows.
fn actions(policy: &str) -> Vec<String> {
    let policy: serde_json::Value = serde_json::from_str(policy).unwrap();
    let statements = policy["Statement"].as_array().unwrap();
    assert_eq!((statements.len(), &statements[0]["Effect"]), (1, &serde_json::json!("Allow")));
    match &statements[0]["Action"] {
        serde_json::Value::String(action) => vec![action.clone()],
        actions => serde_json::from_value(actions.clone()).unwrap(),
    }
}

#[tokio::test]
async fn a_service_account_takes_on_its_role_with_a_token_and_no_signature() {
    let cloud = Cloud::start(|asked| match asked.operation().as_str() {
        "AssumeRoleWithWebIdentity" => role("AssumeRoleWithWebIdentity", "ASIAFIRST"),
        "AssumeRole" => role("AssumeRole", "ASIALAST"),
        _ => token("AWS:x", 43200),
    })
    .await;
    for (chain, count) in [(FIRST.to_owned(), 2), (format!("{FIRST} {LAST}"), 3)] {
        let before = cloud.asked().len();
        let more =
            [("serviceAccountName", "puller"), ("roleArn", chain.as_str()), ("roleSessionName", "me@x")];
        exchange(&outside(PATIENCE), &at(), &secret(&cloud, &more)).await.unwrap();
        let asked = cloud.asked().split_off(before);
        assert_eq!(asked.len(), count);
        assert_eq!(asked[0].operation(), "AssumeRoleWithWebIdentity");
        assert_eq!((asked[0].signer(), asked[0].header("x-amz-security-token")), (None, ""));
        assert_eq!(
            asked[0].field("WebIdentityToken").as_deref(),
            Some("token.of.registry-access.puller.for.sts.amazonaws.com")
        );
        assert_eq!(asked[0].field("RoleArn").as_deref(), Some(FIRST));
        assert_eq!(asked[0].field("RoleSessionName").as_deref(), Some("me@x"));
        let last = actions(&asked[count - 2].field("Policy").unwrap());
        assert!(last.contains(&"ecr:BatchGetImage".to_owned()), "{last:?}");
        if count == 3 {
            assert_eq!(actions(&asked[0].field("Policy").unwrap()), ["sts:AssumeRole"]);
            assert_eq!(asked[1].signer(), Some("ASIAFIRST"));
        }
        assert!(asked[count - 1].signer().unwrap().starts_with("ASIA"));
    }
}

#[tokio::test]
async fn without_a_token_of_the_service_account_nobody_is_asked() {
    let cloud = Cloud::always(token("AWS:x", 43200)).await;
    let fault = ExchangeFault {
        class: ExchangeFaultClass::Denied,
        code: "Forbidden".into(),
        advice: "allow it".into(),
        retry_after: Some(Duration::from_secs(3)),
    };
    let outside = Outside::new(Arc::new(Tokens { fault: Some(fault.clone()) }));
    let document = secret(&cloud, &[("serviceAccountName", "puller"), ("roleArn", FIRST)]);
    assert_eq!(exchange(&outside, &at(), &document).await.unwrap_err(), fault);
    assert!(cloud.asked().is_empty());
}

#[tokio::test]
async fn the_public_gallery_answers_an_object() {
    let cloud = Cloud::start(|asked| match asked.operation().as_str() {
        "AssumeRole" => role("AssumeRole", "ASIALAST"),
        _ => Reply::ok(
            serde_json::json!({"authorizationData": {"authorizationToken": "QVdTOng=", "expiresAt": NOW + 60}})
                .to_string(),
        ),
    })
    .await;
    let issued = with_keys(&cloud, &[("accountID", "public"), ("roleArn", LAST)]).await.unwrap();
    assert_eq!((login(&issued), seconds(issued.lifetime)), (("AWS", "x"), Some(60)));
    assert_eq!(cloud.operations(), ["AssumeRole", PUBLIC]);
    let asked = cloud.asked();
    assert!(asked[1].header("authorization").contains("/us-east-1/ecr-public/aws4_request"));
    assert_eq!(
        actions(&asked[0].field("Policy").unwrap()),
        [
            "ecr-public:GetAuthorizationToken",
            "ecr-public:BatchCheckLayerAvailability",
            "sts:GetServiceBearerToken"
        ]
    );
}

#[tokio::test]
async fn an_end_is_believed_only_when_it_is_to_come() {
    let answer = |end: &str, date: &str| {
        let body = format!("{{\"authorizationData\":[{{\"authorizationToken\":\"QVdTOng=\"{end}}}]}}");
        Reply::Answer(200, vec![("date", date.to_owned())], body)
    };
    let ours = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_secs();
    for (end, date, expected) in [
        (String::new(), DATE, None..=None),
        (",\"expiresAt\":1420070400".into(), DATE, None..=None),
        (format!(",\"expiresAt\":{NOW}"), DATE, None..=None),
        (format!(",\"expiresAt\":{}.5", NOW + 7), DATE, Some(7)..=Some(7)),
        (",\"expiresAt\":-9e9".into(), DATE, None..=None),
        // Without a clock of the server, ours has to do.
        (format!(",\"expiresAt\":{}", ours + 1000), "", Some(900)..=Some(1000)),
        (format!(",\"expiresAt\":{}", ours + 1000), "yesterday", Some(900)..=Some(1000)),
    ] {
        let cloud = Cloud::always(answer(&end, date)).await;
        let issued = with_keys(&cloud, &[]).await.unwrap();
        let lifetime = seconds(issued.lifetime);
        assert!(expected.contains(&lifetime), "{end} {date}: {lifetime:?}");
    }
}

#[tokio::test]
async fn a_failure_is_told_by_class_and_code_and_asked_once() {
    use ExchangeFaultClass::*;
    let xml = "<ErrorResponse><Error><Code>SignatureDoesNotMatch</Code><Message>canary</Message></Error>\
               </ErrorResponse>";
    let json = |code: &str| format!("{{\"__type\":\"com.amazon#{code}\",\"message\":\"canary\"}}");
    let throttled = vec![("retry-after", "17".to_owned())];
    #[rustfmt::skip]
    let cases = [
        ("throttle", Reply::Answer(400, throttled, json("ThrottlingException")), Throttled, "ThrottlingException"),
        ("key", Reply::status(400, json("UnrecognizedClientException")), Denied, "UnrecognizedClientException"),
        ("right", Reply::status(400, json("AccessDeniedException")), Denied, "AccessDeniedException"),
        ("XML", Reply::status(403, xml), Denied, "SignatureDoesNotMatch"),
        ("header", Reply::Answer(403, vec![("x-amzn-errortype", "ExpiredTokenException:x".into())], String::new()),
            Denied, "ExpiredTokenException"),
        ("page", Reply::status(403, "<html>canary</html>"), Denied, "HTTP 403"),
        ("no body", Reply::status(404, ""), Denied, "HTTP 404"),
        ("free text", Reply::status(400, json("canary of a server")), Denied, "HTTP 400"),
        ("500", Reply::status(500, json("ServerException")), Unreachable, "HTTP 500"),
        ("502", Reply::status(502, "<html>canary</html>"), Unreachable, "HTTP 502"),
        ("empty", Reply::ok(""), Nonsense, "unreadable answer"),
        ("no JSON", Reply::ok("canary"), Nonsense, "unreadable answer"),
        ("null", Reply::ok("{\"authorizationData\":null}"), Nonsense, "unreadable answer"),
        ("none", Reply::ok("{\"authorizationData\":[]}"), Nonsense, "unreadable answer"),
        ("string", Reply::ok("{\"authorizationData\":\"canary\"}"), Nonsense, "unreadable answer"),
        ("bad end",
            Reply::ok("{\"authorizationData\":[{\"authorizationToken\":\"QVdTOng=\",\"expiresAt\":\"canary\"}]}"),
            Nonsense, "unreadable answer"),
        ("no colon", token("canary", 43200), Nonsense, "unreadable answer"),
        ("huge token", token(&format!("AWS:{}", "x".repeat(70_000)), 43200), Nonsense, "unreadable answer"),
        ("endless", Reply::Endless, Nonsense, "unreadable answer"),
        ("long", Reply::ok(format!("{{\"x\":\"{}\"}}", "x".repeat(1024 * 1024))), Nonsense, "unreadable answer"),
        ("gone", Reply::Raw(String::new()), Unreachable, "no connection"),
        ("half", Reply::Raw("HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\n{".into()), Unreachable, "no connection"),
        ("no HTTP", Reply::Raw("canary\r\n\r\n".into()), Unreachable, "no connection"),
    ];
    for (name, reply, class, code) in cases {
        let cloud = Cloud::always(reply).await;
        let fault = with_keys(&cloud, &[]).await.unwrap_err();
        assert_eq!((fault.class, fault.code.as_str()), (class, code), "{name}: {fault}");
        let expected = (name == "throttle").then(|| Duration::from_secs(17));
        assert_eq!(fault.retry_after, expected, "{name}");
        let shown = format!("{fault} {fault:?}").to_lowercase();
        assert!(!shown.contains("canary"), "{name}: {shown}");
        assert_eq!(cloud.asked().len(), 1, "{name}: whoever asked backs off");
    }
}

#[tokio::test]
async fn a_failing_role_is_told_from_a_failing_token() {
    let xml = |code: &str| format!("<ErrorResponse><Error><Code>{code}</Code></Error></ErrorResponse>");
    #[rustfmt::skip]
    let cases = [
        (Reply::status(403, xml("AccessDenied")), ExchangeFaultClass::Denied, "AccessDenied"),
        (Reply::status(400, xml("Throttling")), ExchangeFaultClass::Throttled, "Throttling"),
        (Reply::status(400, xml("ValidationError")), ExchangeFaultClass::Denied, "ValidationError"),
        (Reply::ok("<x/>"), ExchangeFaultClass::Nonsense, "unreadable answer"),
        (Reply::ok("canary"), ExchangeFaultClass::Nonsense, "unreadable answer"),
        (role("AssumeRole", ""), ExchangeFaultClass::Nonsense, "unreadable answer"),
    ];
    for (reply, class, code) in cases {
        let cloud = Cloud::always(reply).await;
        let fault = with_keys(&cloud, &[("roleArn", LAST)]).await.unwrap_err();
        assert_eq!((fault.class, fault.code.as_str()), (class, code), "{fault}");
        assert!(fault.advice.contains("sts:AssumeRole") && !fault.advice.contains(LAST), "{fault}");
        assert_eq!(cloud.operations(), ["AssumeRole"]);
    }
}

#[tokio::test]
async fn a_redirect_is_not_followed() {
    let elsewhere = Cloud::always(token("AWS:x", 43200)).await;
    for status in [301, 302, 307, 308] {
        let there = vec![("location", elsewhere.url.clone())];
        let cloud = Cloud::always(Reply::Answer(status, there, String::new())).await;
        let fault = with_keys(&cloud, &[]).await.unwrap_err();
        assert_eq!((fault.class, fault.code), (ExchangeFaultClass::Nonsense, format!("HTTP {status}")));
    }
    assert!(elsewhere.asked().is_empty());
}

#[tokio::test]
async fn nobody_is_waited_for_longer_than_the_limit() {
    let cloud = Cloud::always(Reply::Silence).await;
    let document = secret(&cloud, &KEYS);
    let began = Instant::now();
    let fault = exchange(&outside(Duration::from_millis(300)), &at(), &document).await.unwrap_err();
    assert_eq!(
        (fault.class, fault.code.as_str()),
        (ExchangeFaultClass::Unreachable, "no answer within 300 ms")
    );
    assert!(began.elapsed() < PATIENCE, "{:?}", began.elapsed());

    let patient = Limits { connect: PATIENCE, answer: PATIENCE * 9, whole: Duration::from_millis(400) };
    let outside = Outside::new(Arc::new(Tokens::default())).with_limits(patient);
    let fault = exchange(&outside, &at(), &document).await.unwrap_err();
    assert_eq!(
        (fault.class, fault.code.as_str()),
        (ExchangeFaultClass::Unreachable, "no answer within 400 ms")
    );
}

#[tokio::test]
async fn an_address_where_nobody_listens_is_unreachable() {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    drop(listener);
    let values = [("region", "eu-west-1"), ("accountID", "123456789012"), ("endpoint", &url)];
    let document = document(&[&values[..], &KEYS].concat());
    let fault = exchange(&outside(PATIENCE), &at(), &document).await.unwrap_err();
    assert_eq!((fault.class, fault.code.as_str()), (ExchangeFaultClass::Unreachable, "no connection"));
}

#[tokio::test]
async fn a_secret_with_a_flaw_or_of_another_type_reaches_nobody() {
    let cloud = Cloud::always(token("AWS:x", 43200)).await;
    let fault = with_keys(&cloud, &[("durationSeconds", "1")]).await.unwrap_err();
    assert_eq!((fault.class, fault.code.as_str()), (ExchangeFaultClass::Denied, "flawed"));
    assert!(fault.advice.contains("durationSeconds"), "{fault}");
    let other = Document { secret_type: "Opaque".into(), ..secret(&cloud, &KEYS) };
    let fault = exchange(&outside(PATIENCE), &at(), &other).await.unwrap_err();
    assert_eq!((fault.class, fault.code.as_str()), (ExchangeFaultClass::Denied, "unsupported"));
    assert!(cloud.asked().is_empty());
}

#[tokio::test]
async fn what_was_issued_does_not_print() {
    let cloud = Cloud::always(token("AWS:canary", 43200)).await;
    let issued = with_keys(&cloud, &[]).await.unwrap();
    assert_eq!(login(&issued).1, "canary");
    assert!(!format!("{issued:?} {issued:#?}").contains("canary"));
}

#[derive(Clone, Default)]
struct Log(Arc<std::sync::Mutex<Vec<u8>>>);

impl std::io::Write for Log {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

#[tokio::test]
async fn nothing_of_a_credential_is_logged_at_any_level() {
    let log = Log::default();
    let writer = log.clone();
    let subscriber = tracing_subscriber::fmt()
        .with_max_level(tracing::Level::TRACE)
        .with_writer(move || writer.clone())
        .finish();
    // Tasks that the exchange leaves behind run on this thread too.
    let _guard = tracing::subscriber::set_default(subscriber);
    tracing::info!("begin");
    let cloud = Cloud::start(|asked| match asked.operation().as_str() {
        "AssumeRole" => role("AssumeRole", "ASIACANARY"),
        "AssumeRoleWithWebIdentity" => Reply::status(403, "<Error><Code>AccessDenied</Code></Error>"),
        _ => token("AWS:canary", 43200),
    })
    .await;
    with_keys(&cloud, &[("roleArn", LAST), ("sessionToken", "canary-session")]).await.unwrap();
    let document = secret(&cloud, &[("serviceAccountName", "canary"), ("roleArn", LAST)]);
    exchange(&outside(PATIENCE), &at(), &document).await.unwrap_err();
    let log = String::from_utf8(log.0.lock().unwrap().clone()).unwrap().to_lowercase();
    // `AWS:canary` as it travels, and without its padding.
    let sent = ["canary", "qvdtomnhbmfyeq", "session-of", "secret-of", "token.of"];
    let found: Vec<_> = sent.iter().filter(|word| log.contains(*word)).collect();
    assert!(log.contains("begin") && found.is_empty(), "{found:?} in {} bytes", log.len());
}
