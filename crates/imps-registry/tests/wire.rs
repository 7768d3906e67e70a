//! What servers can do to those who ask them, whichever provider asks: lie, repeat, send elsewhere, never end, never
//! begin.

#![allow(clippy::unwrap_used, reason = "a dialogue that cannot be played has failed")]

mod support;

use std::sync::Arc;
use std::time::{Duration, Instant};

use imps_core::exchange::{ExchangeFault, ExchangeFaultClass};
use imps_core::source::Document;
use imps_registry::{Limits, Outside, exchange};
use serde_json::json;
use support::{Cloud, PATIENCE, Reply, Tokens, at, claims, exchanged, issued, rsa, typed};

const EMAIL: &str = "canary@project.iam.gserviceaccount.com";
const PROVIDER: &str =
    "//iam.googleapis.com/projects/1/locations/global/workloadIdentityPools/pool/providers/k8s";

fn key_json(token_uri: &str) -> String {
    json!({"type": "service_account", "client_email": EMAIL, "private_key": rsa().pkcs8, "token_uri": token_uri})
        .to_string()
}

/// One Secret for each dialogue that begins at this address, by a name for it.
fn documents(url: &str) -> Vec<(&'static str, Document)> {
    let gcp = |values: &[(&str, &str)]| {
        typed("images.banzaicloud.io/gcp", &[&[("hosts", "gcr.io")], values].concat())
    };
    let acr = |values: &[(&str, &str)]| {
        let usual = [("registry", "team.azurecr.io"), ("registryEndpoint", url)];
        typed("images.banzaicloud.io/acr", &[&usual, values].concat())
    };
    let github = |values: &[(&str, &str)]| {
        let usual = [
            ("appID", "1"),
            ("privateKey", &rsa().pkcs8),
            ("apiURL", url),
            ("hosts", "containers.github.example"),
        ];
        typed("images.banzaicloud.io/github-app", &[&usual, values].concat())
    };
    let application =
        [("tenantID", "canary-tenant"), ("clientID", "canary-client"), ("authorityEndpoint", url)];
    vec![
        ("gcp key", gcp(&[("key.json", &key_json(url))])),
        (
            "gcp federation",
            gcp(&[
                ("workloadIdentityProvider", PROVIDER),
                ("serviceAccountName", "canary"),
                ("stsEndpoint", url),
            ]),
        ),
        ("gcp metadata", gcp(&[("metadataEndpoint", url)])),
        (
            "gcp impersonation",
            gcp(&[("metadataEndpoint", url), ("impersonate", EMAIL), ("iamEndpoint", url)]),
        ),
        ("acr secret", acr(&[&application[..], &[("clientSecret", "canary-secret")]].concat())),
        ("acr federation", acr(&[&application[..], &[("serviceAccountName", "canary")]].concat())),
        ("acr metadata", acr(&[("metadataEndpoint", url)])),
        ("github installation", github(&[("installationID", "1")])),
        ("github owner", github(&[("owner", "canary")])),
    ]
}

/// An answer that is good for every step of every dialogue, with this token in it.
fn good(token: &str) -> Reply {
    let body = json!({
        "access_token": token, "expires_in": 3600, "accessToken": token, "expireTime": "2028-01-01T01:00:00Z",
        "refresh_token": token, "token": token, "expires_at": "2028-01-01T01:00:00Z", "id": 5,
    });
    Reply::ok(body.to_string())
}

/// Asks servers like this one for each dialogue, whose first answer and whose later answers are tried as the lie.
async fn lied_to(lie: Reply) -> Vec<(&'static str, ExchangeFault)> {
    let mut faults = Vec::new();
    for later in [false, true] {
        let names: Vec<&str> = documents("http://127.0.0.1:1").into_iter().map(|(name, _)| name).collect();
        for (number, name) in names.iter().enumerate() {
            let (lie, count) = (lie.clone(), std::sync::atomic::AtomicUsize::new(0));
            let cloud = Cloud::start(move |_| {
                let first = count.fetch_add(1, std::sync::atomic::Ordering::SeqCst) == 0;
                if first && later { good("canary") } else { lie.clone() }
            })
            .await;
            let document = documents(&cloud.url).swap_remove(number).1;
            match exchanged(&document).await {
                Err(fault) => faults.push((*name, fault)),
                // Some have one step only.
                Ok(_) => assert!(later && cloud.asked().len() == 1, "{name} believes it"),
            }
        }
    }
    assert!(faults.len() >= 13, "{}", faults.len());
    faults
}

#[tokio::test]
async fn good_answers_are_good_for_each_dialogue() {
    let cloud = Cloud::always(good(&claims(&json!({"exp": support::NOW + 3600})))).await;
    for (name, document) in documents(&cloud.url) {
        let answer = exchanged(&document).await.unwrap_or_else(|fault| panic!("{name}: {fault}"));
        assert_eq!(issued(&answer).2, Some(3600), "{name}");
        assert!(!format!("{answer:?} {answer:#?} {document:?}").contains(issued(&answer).1), "{name}");
    }
}

#[tokio::test]
async fn what_is_no_answer_is_nonsense_and_is_not_quoted() {
    let long = format!("{{\"access_token\": \"{}\"}}", "canary".repeat(200_000));
    for reply in [
        Reply::ok(""),
        Reply::ok("canary"),
        Reply::ok("{}"),
        Reply::ok("[]"),
        Reply::ok("null"),
        Reply::ok(
            "{\"access_token\": 5, \"accessToken\": 5, \"refresh_token\": 5, \"token\": 5, \"id\": \"canary\"}",
        ),
        Reply::ok("{\"access_token\": \"canary"),
        Reply::ok("[".repeat(100_000)),
        Reply::ok(long),
        Reply::Endless,
        Reply::Raw("canary canary canary\r\n\r\n".into()),
        Reply::Raw("HTTP/1.1 canary\r\n\r\n".into()),
        good(""),
        good("can\nary"),
        good("can ary"),
        good("can\u{e4}ry"),
        good(&"canary".repeat(20_000)),
    ] {
        for (name, fault) in lied_to(reply).await {
            assert_eq!(
                (fault.class, fault.code.as_str()),
                (ExchangeFaultClass::Nonsense, "unreadable answer"),
                "{name}: {fault}"
            );
            assert!(!fault.to_string().contains("can"), "{name}: {fault}");
        }
    }
}

#[tokio::test]
async fn a_server_that_repeats_what_it_was_sent_is_not_listened_to() {
    for body in [
        r#"{"error":"canary-secret","error_description":"canary"}"#,
        r#"{"error":{"status":"canary","message":"canary"}}"#,
        r#"{"errors":[{"code":"canary","message":"canary"}]}"#,
        r#"{"message":"canary"}"#,
        "canary",
    ] {
        for (name, fault) in
            lied_to(Reply::Answer(418, vec![("x-error", "canary".into())], body.into())).await
        {
            assert_eq!(
                (fault.class, fault.code.as_str()),
                (ExchangeFaultClass::Denied, "HTTP 418"),
                "{name}"
            );
            assert!(!fault.to_string().contains("canary"), "{name}: {fault}");
        }
    }
}

#[tokio::test]
async fn a_redirect_is_not_followed() {
    let elsewhere = Cloud::always(good("canary")).await;
    for status in [301, 302, 303, 307, 308] {
        let there = vec![("location", elsewhere.url.clone())];
        for (name, fault) in lied_to(Reply::Answer(status, there, String::new())).await {
            let expected = (ExchangeFaultClass::Nonsense, format!("HTTP {status}"));
            assert_eq!((fault.class, fault.code.clone()), expected, "{name}");
            assert!(fault.advice.contains("redirect"), "{fault}");
        }
    }
    assert!(elsewhere.asked().is_empty());
}

#[tokio::test]
async fn a_server_says_when_it_wants_to_be_asked_again() {
    for (value, expected) in [
        ("7", Some(7)),
        ("Sat, 01 Jan 2028 00:00:30 GMT", Some(30)),
        ("999999999", Some(3600)),
        ("soon", None),
        ("0", None),
    ] {
        for (name, fault) in
            lied_to(Reply::Answer(429, vec![("retry-after", value.into())], String::new())).await
        {
            assert_eq!(fault.class, ExchangeFaultClass::Throttled, "{name}");
            assert_eq!(fault.retry_after.map(|wait| wait.as_secs()), expected, "{name} {value}");
        }
    }
}

#[tokio::test]
async fn nobody_is_waited_for_longer_than_the_limit() {
    let cloud = Cloud::always(Reply::Silence).await;
    let short = Duration::from_millis(200);
    let limits = Limits { connect: short, answer: short, whole: PATIENCE };
    let outside = Outside::new(Arc::new(Tokens::default())).with_limits(limits);
    for (name, document) in documents(&cloud.url) {
        let began = Instant::now();
        let fault = exchange(&outside, &at(), &document).await.unwrap_err();
        let expected = (ExchangeFaultClass::Unreachable, "no answer within 200 ms");
        assert_eq!((fault.class, fault.code.as_str()), expected, "{name}");
        assert!(began.elapsed() < PATIENCE, "{name}");
    }
}

#[tokio::test]
async fn an_address_where_nobody_answers_is_unreachable() {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let nobody = listener.local_addr().unwrap();
    drop(listener);
    // Somebody who does not speak TLS, and so has no certificate either.
    let plain = Cloud::always(good("canary")).await;
    let encrypted = plain.url.replace("http://", "https://");
    // Somebody who hangs up.
    let mute = Cloud::always(Reply::Raw(String::new())).await;
    for url in [format!("http://{nobody}"), format!("https://{nobody}"), encrypted, mute.url.clone()] {
        for (name, document) in documents(&url) {
            let fault = exchanged(&document).await.unwrap_err();
            let expected = (ExchangeFaultClass::Unreachable, "no connection");
            assert_eq!((fault.class, fault.code.as_str()), expected, "{name} {url}: {fault}");
        }
    }
    assert!(plain.asked().is_empty());
}

#[tokio::test]
async fn without_a_token_of_the_service_account_nobody_is_asked() {
    let cloud = Cloud::always(good("canary")).await;
    let fault = ExchangeFault {
        class: ExchangeFaultClass::Denied,
        code: "Forbidden".into(),
        advice: "allow it".into(),
        retry_after: Some(Duration::from_secs(3)),
    };
    let outside = Outside::new(Arc::new(Tokens { fault: Some(fault.clone()) }));
    let federated = documents(&cloud.url).into_iter().filter(|(name, _)| name.ends_with("federation"));
    let answers: Vec<_> = futures_of(&outside, federated).await;
    assert_eq!(answers, [fault.clone(), fault]);
    assert!(cloud.asked().is_empty());
}

async fn futures_of(
    outside: &Outside,
    documents: impl Iterator<Item = (&'static str, Document)>,
) -> Vec<ExchangeFault> {
    let mut faults = Vec::new();
    for (_, document) in documents {
        faults.push(exchange(outside, &at(), &document).await.unwrap_err());
    }
    faults
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
    let good = Cloud::always(good("canary-token")).await;
    let bad = Cloud::always(Reply::status(401, r#"{"error":"canary"}"#)).await;
    let mut sent = vec!["canary".to_owned(), rsa().pkcs8[100..140].to_owned(), "token.of".to_owned()];
    for cloud in [&good, &bad] {
        for (_, document) in documents(&cloud.url) {
            let _ = exchanged(&document).await;
        }
        for asked in cloud.asked() {
            sent.extend(asked.field("assertion"));
            sent.extend(asked.header("authorization").strip_prefix("Bearer ").map(str::to_owned));
        }
    }
    let log = String::from_utf8(log.0.lock().unwrap().clone()).unwrap();
    let found: Vec<_> = sent.iter().filter(|word| log.contains(word.as_str())).collect();
    assert!(log.contains("begin") && found.is_empty(), "{found:?} in {} bytes", log.len());
}
