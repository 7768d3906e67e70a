//! What is asked of a registry for a diagnosis, what its answers mean, and what servers that mean ill get out of it:
//! never a login that is not for them, and never the time of whoever waits.

#![allow(clippy::unwrap_used, reason = "a dialogue that cannot be played has failed")]

mod support;

use std::sync::Arc;
use std::time::Duration;

use imps_core::credential::Credential;
use imps_core::diagnosis::probe::{Probed, Trial, Try, Word};
use imps_core::token::Token;
use imps_registry::{Limits, probe};
use rustls::ServerConfig;
use rustls::pki_types::PrivatePkcs8KeyDer;
use support::{Asked, Cloud, PATIENCE, Reply};
use tokio::net::TcpListener;
use tokio_rustls::TlsAcceptor;

/// `canary-user:canary-password`.
const BASIC: &str = "Basic Y2FuYXJ5LXVzZXI6Y2FuYXJ5LXBhc3N3b3Jk";
const DIGEST: (&str, &str) = ("docker-content-digest", "sha256:0");

fn trial(image: String, users: &[Option<&str>]) -> Trial {
    let login =
        |user: &str| Credential { username: user.to_owned(), password: Token::new("canary-password") };
    let one = |user: &Option<&str>| Try { label: "a try".into(), login: user.map(login) };
    Trial { image, tries: users.iter().map(one).collect(), left_out: 0 }
}

fn limits() -> Limits {
    Limits { connect: PATIENCE, answer: PATIENCE, whole: PATIENCE * 3 }
}

/// Asks for an image, and holds the answer to saying nothing that was sent.
async fn asked_at(authority: &str, users: &[Option<&str>], limits: Limits) -> Probed {
    let probed = probe(vec![trial(format!("{authority}/team/app:1"), users)], limits).await.swap_remove(0);
    assert!(!format!("{probed:?} {probed:#?}").contains("canary"), "{probed:?}");
    probed
}

fn words(probed: &Probed) -> Vec<Word> {
    probed.tried.iter().map(|tried| tried.answer.word).collect()
}

/// The word of a registry that answers so, to somebody with a login.
async fn word_of(registry: &Cloud) -> Word {
    let probed = asked_at(host(registry), &[Some("canary-user")], limits()).await;
    assert_eq!(probed.tried.len(), 1);
    probed.tried[0].answer.word
}

fn host(cloud: &Cloud) -> &str {
    cloud.url.trim_start_matches("http://")
}

fn with(status: u16, headers: &[(&'static str, &str)]) -> Reply {
    Reply::Answer(
        status,
        headers.iter().map(|(name, value)| (*name, (*value).to_owned())).collect(),
        String::new(),
    )
}

fn path(asked: &Asked) -> &str {
    asked.line.split(' ').nth(1).unwrap()
}

/// A registry with a token service at another address, which answers as it is told to.
async fn with_token_service(realm: String, manifest: Reply) -> Cloud {
    Cloud::start(move |asked| match path(asked) {
        "/v2/" => with(401, &[("www-authenticate", &format!("Bearer realm=\"{realm}\",service=\"reg\""))]),
        _ => manifest.clone(),
    })
    .await
}

#[tokio::test]
async fn a_login_is_shown_to_the_token_service_and_its_token_to_the_registry() {
    for field in ["token", "access_token"] {
        let service = Cloud::always(Reply::ok(format!("{{\"{field}\": \"canary-token\"}}"))).await;
        let registry = with_token_service(format!("{}/t", service.url), with(200, &[DIGEST])).await;
        assert_eq!(word_of(&registry).await, Word::LetIn);
        let [token] = &service.asked()[..] else { panic!() };
        assert_eq!(token.line, "GET /t?service=reg&scope=repository%3Ateam%2Fapp%3Apull HTTP/1.1");
        assert_eq!(token.header("authorization"), BASIC);
        let [ping, head] = &registry.asked()[..] else { panic!() };
        assert_eq!((ping.line.as_str(), ping.header("authorization")), ("GET /v2/ HTTP/1.1", ""));
        assert_eq!(head.line, "HEAD /v2/team/app/manifests/1 HTTP/1.1");
        assert_eq!(head.header("authorization"), "Bearer canary-token");
        for kind in ["image.index.v1", "image.manifest.v1", "manifest.list.v2", "distribution.manifest.v2"] {
            assert!(head.header("accept").contains(kind), "{kind}");
        }
    }
}

#[tokio::test]
async fn logins_are_tried_one_after_the_other_until_one_is_let_in() {
    let registry = Cloud::start(|asked| match (path(asked), asked.header("authorization")) {
        (_, BASIC) => with(200, &[("content-type", "application/vnd.oci.image.index.v1+json")]),
        _ => with(401, &[("www-authenticate", "Basic realm=\"x\"")]),
    })
    .await;
    let users = [Some("stranger"), None, Some("canary-user"), Some("not-needed")];
    let probed = asked_at(host(&registry), &users, limits()).await;
    assert_eq!(words(&probed), [Word::Refused, Word::Refused, Word::LetIn]);
    assert_eq!(probed.gap, None);
}

#[tokio::test]
async fn a_limit_is_told_in_its_numbers() {
    let registry = Cloud::always(with(
        429,
        &[("ratelimit-limit", "100;w=21600"), ("ratelimit-remaining", "0;w=21600"), ("retry-after", "60")],
    ))
    .await;
    let answer = asked_at(host(&registry), &[None], limits()).await.tried[0].answer;
    assert_eq!(answer.word, Word::RateLimited);
    let limit = answer.limit;
    assert_eq!((limit.total, limit.remaining, limit.window), (Some(100), Some(0), Some(21600)));
    assert_eq!(limit.retry_after, Some(60));
}

#[tokio::test]
async fn who_is_no_registry_is_shown_no_login() {
    let elsewhere = Cloud::always(with(200, &[DIGEST])).await;
    let redirect = with(302, &[("location", &elsewhere.url)]);
    for lie in [
        redirect.clone(),
        with(200, &[]),
        Reply::ok("<html>canary</html>"),
        Reply::Endless,
        with(403, &[]),
        with(401, &[]),
        with(401, &[("www-authenticate", "Bearer realm=\"http://auth.example/token\"")]),
        with(401, &[("www-authenticate", "Bearer realm=\"https://canary:canary@auth.example/token\"")]),
        with(401, &[("www-authenticate", "Bearer realm=\"canary")]),
        with(401, &[("www-authenticate", &"Negotiate canary, ".repeat(200))]),
    ] {
        let registry = Cloud::always(lie).await;
        let word = word_of(&registry).await;
        assert!(matches!(word, Word::Alien(_)), "{word:?}");
        assert!(registry.asked().iter().all(|asked| asked.header("authorization").is_empty()));
    }
    assert!(elsewhere.asked().is_empty());
}

#[tokio::test]
async fn what_is_no_http_ends_it() {
    // A server on this machine is tried with TLS too, which those here may not answer.
    let limits = Limits { answer: PATIENCE / 2, ..limits() };
    let headers = format!("HTTP/1.1 200 OK\r\nx: {}\r\n\r\n", "canary".repeat(500_000));
    let many = format!("HTTP/1.1 200 OK\r\n{}\r\n", "x: canary\r\n".repeat(5_000));
    for raw in [headers, many, "canary\r\n\r\n".into()] {
        let registry = Cloud::always(Reply::Raw(raw)).await;
        let probed = asked_at(host(&registry), &[Some("canary-user")], limits).await;
        assert!(matches!(words(&probed)[..], [Word::Alien(_)]), "{probed:?}");
        assert!(registry.asked().iter().all(|asked| asked.header("authorization").is_empty()));
    }
}

#[tokio::test]
async fn a_token_service_that_means_ill_gets_nowhere() {
    let elsewhere = Cloud::always(with(200, &[DIGEST])).await;
    let long = format!("{{\"token\": \"{}\"}}", "canary".repeat(20_000));
    for lie in [
        with(307, &[("location", &elsewhere.url)]),
        Reply::Endless,
        Reply::ok(""),
        Reply::ok("{}"),
        Reply::ok("{\"token\": \"\"}"),
        Reply::ok("{\"token\": \"canary\\r\\nhost: canary\"}"),
        Reply::ok("{\"token\": [\"canary\"]}"),
        Reply::ok(long),
        with(404, &[]),
    ] {
        let service = Cloud::always(lie).await;
        let registry = with_token_service(format!("{}/t", service.url), with(200, &[DIGEST])).await;
        let word = word_of(&registry).await;
        assert!(matches!(word, Word::Alien(_)), "{word:?}");
        assert_eq!((registry.asked().len(), service.asked().len()), (1, 1));
    }
    assert!(elsewhere.asked().is_empty());
}

#[tokio::test]
async fn a_challenge_without_end_ends() {
    let service = Cloud::always(Reply::ok("{\"token\": \"canary\"}")).await;
    let challenge = format!("Bearer realm=\"{}/t\"", service.url);
    let registry = Cloud::always(with(401, &[("www-authenticate", &challenge)])).await;
    assert_eq!(word_of(&registry).await, Word::NoRight);
    assert_eq!((registry.asked().len(), service.asked().len()), (2, 1));
    let elsewhere = Cloud::always(with(200, &[DIGEST])).await;
    let moved =
        with_token_service(format!("{}/t", service.url), with(307, &[("location", &elsewhere.url)])).await;
    assert_eq!(word_of(&moved).await, Word::SentOn);
    assert!(elsewhere.asked().is_empty());
}

#[tokio::test]
async fn nobody_is_waited_for_longer_than_was_said() {
    let short = Limits { answer: Duration::from_millis(300), ..limits() };
    let silent = Cloud::always(Reply::Silence).await;
    assert_eq!(words(&asked_at(host(&silent), &[Some("canary-user"), None], short).await), [Word::Hanging]);

    let service = Cloud::always(Reply::Silence).await;
    let registry = with_token_service(format!("{}/t", service.url), with(200, &[DIGEST])).await;
    let whole = Limits { whole: Duration::from_millis(300), ..limits() };
    let probed = asked_at(host(&registry), &[Some("canary-user")], whole).await;
    assert!(probed.tried.is_empty() && probed.gap.is_some(), "{probed:?}");
}

#[tokio::test]
async fn a_port_that_nobody_listens_at_takes_no_connection() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap().to_string();
    drop(listener);
    assert_eq!(words(&asked_at(&address, &[Some("canary-user"), None], limits()).await), [Word::Unconnected]);
}

#[tokio::test]
async fn a_certificate_that_this_machine_does_not_trust_ends_it_before_anything_is_said() {
    let made = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
    let key = PrivatePkcs8KeyDer::from(made.signing_key.serialize_der()).into();
    let config = ServerConfig::builder_with_provider(Arc::new(rustls::crypto::aws_lc_rs::default_provider()))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![made.cert.der().clone()], key)
        .unwrap();
    let (listener, acceptor) =
        (TcpListener::bind("127.0.0.1:0").await.unwrap(), TlsAcceptor::from(Arc::new(config)));
    let address = format!("localhost:{}", listener.local_addr().unwrap().port());
    let server = tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            // Nobody who trusts it comes, and who does not ends the handshake.
            assert!(acceptor.accept(stream).await.is_err());
        }
    });
    assert_eq!(words(&asked_at(&address, &[Some("canary-user"), None], limits()).await), [Word::Untrusted]);
    assert!(!server.is_finished());
    server.abort();
}

#[tokio::test]
async fn few_are_asked_at_a_time_and_only_so_many_in_one_run() {
    let registry = Cloud::always(with(404, &[])).await;
    let image = |number| trial(format!("{}/team/app:{number}", host(&registry)), &[None]);
    let answers = probe((0..25).map(image).collect(), limits()).await;
    let asked = answers.iter().filter(|one| one.tried.len() == 1 && one.gap.is_none()).count();
    let left = answers.iter().filter(|one| one.tried.is_empty() && one.gap.is_some()).count();
    assert_eq!((asked, left, registry.asked().len()), (20, 5, 20));
    assert!(answers.iter().enumerate().all(|(number, one)| one.image.ends_with(&format!(":{number}"))));
}
