//! GitHub Apps: what their Secrets ask for, and the dialogues, with a GitHub in this process that is good or lies.

#![allow(clippy::unwrap_used, reason = "a dialogue that cannot be played has failed")]

mod support;

use imps_core::exchange::ExchangeFaultClass;
use imps_core::source::Document;
use imps_registry::read;
use proptest::prelude::*;
use serde_json::{Value, json};
use support::{
    Change, Changes, Cloud, Reply, at, changed, exchanged, flaw, issued, order, registries, rsa, signed,
    typed,
};

const TYPE: &str = "images.banzaicloud.io/github-app";
const HOSTS: (&str, Option<&str>) = ("hosts", Some("containers.github.example"));

fn with(changes: &Changes<'_>) -> Document {
    let usual = [("appID", "12345"), ("installationID", "678"), ("privateKey", rsa().pkcs1.as_str())];
    changed(typed(TYPE, &usual), changes)
}

fn at_cloud<'a>(cloud: &'a Cloud, more: &Changes<'a>) -> Document {
    with(&[&[("apiURL", Some(cloud.url.as_str())), HOSTS], more].concat())
}

/// A token that ends half an hour after the cloud's clock.
fn token() -> Reply {
    Reply::status(201, json!({"token": "ghs_1_a.b.c", "expires_at": "2028-01-01T00:30:00Z"}).to_string())
}

// === reading ===

#[test]
fn github_com_gives_tokens_for_its_own_registry() {
    let found = order(&with(&[]));
    assert_eq!(
        (found.provider, found.lane.as_str(), found.keyless.clone()),
        ("github-app", "github-app/api.github.com", None)
    );
    assert_eq!(registries(&found), ["ghcr.io"]);
    let scoped = order(&with(&[("hosts", Some("ghcr.io/team-a, GHCR.io/team-b/app"))]));
    assert_eq!(registries(&scoped), ["ghcr.io/team-a", "ghcr.io/team-b/app"]);
    for host in ["registry.example", "ghcr.io.evil.example", "x.ghcr.io", "ghcr.io:8443", "*.io", "docker.io"]
    {
        for api in [None, Some("https://api.github.com"), Some("https://API.github.com/")] {
            let flaw = flaw(&with(&[("hosts", Some(host)), ("apiURL", api)]));
            assert_eq!(flaw.key, "hosts", "{host}");
        }
    }
}

#[test]
fn another_github_has_to_name_its_registry() {
    let api = ("apiURL", Some("https://github.example/api/v3"));
    assert_eq!(flaw(&with(&[api])).key, "hosts");
    let found = order(&with(&[api, HOSTS]));
    assert_eq!(
        (registries(&found)[0], found.lane.as_str()),
        ("containers.github.example", "github-app/github.example")
    );
}

#[test]
fn a_flaw_names_the_key_and_quotes_nothing() {
    let public = "-----BEGIN PUBLIC KEY-----\ncanary\n-----END PUBLIC KEY-----";
    let broken = rsa().pkcs1.replace("A", "B");
    #[rustfmt::skip]
    let cases: Vec<(&str, Vec<Change<'_>>)> = vec![
        ("appID", vec![("appID", None)]),
        ("appID", vec![("appID", Some("canary/x"))]),
        ("installationID", vec![("installationID", Some("canary"))]),
        ("owner", vec![("installationID", None)]),
        ("owner", vec![("owner", Some("canary"))]),
        ("owner", vec![("installationID", None), ("owner", Some("canary/x"))]),
        ("owner", vec![("installationID", None), ("owner", Some("../canary"))]),
        ("privateKey", vec![("privateKey", None)]),
        ("privateKey", vec![("privateKey", Some("canary"))]),
        ("privateKey", vec![("privateKey", Some(public))]),
        ("privateKey", vec![("privateKey", Some(&rsa().pkcs1[..600]))]),
        ("privateKey", vec![("privateKey", Some(&broken))]),
        ("apiURL", vec![("apiURL", Some("http://canary.example")), HOSTS]),
        ("apiURL", vec![("apiURL", Some("https://canary@x.example")), HOSTS]),
    ];
    for (key, changes) in cases {
        let found = flaw(&with(&changes));
        assert_eq!(found.key, key, "{changes:?}");
        let body = &rsa().pkcs1[100..140];
        assert!(!found.to_string().contains(body), "{found}");
    }
    order(&with(&[("privateKey", Some(&rsa().pkcs8)), ("appID", Some("Iv1.0123456789abcdef"))]));
    order(&with(&[("installationID", None), ("owner", Some("my-org_x"))]));
}

#[test]
fn all_that_decides_what_a_token_may_do_is_in_its_key_and_nothing_else() {
    let usual = order(&with(&[])).key;
    let api = ("apiURL", Some("https://github.example/api/v3"));
    for changes in [
        vec![("appID", Some("other"))],
        vec![("installationID", Some("5"))],
        vec![("installationID", None), ("owner", Some("678"))],
        vec![("privateKey", Some(rsa().pkcs8.as_str()))],
        vec![api, HOSTS],
    ] {
        assert_ne!(order(&with(&changes)).key, usual, "{}", changes[0].0);
    }
    for change in [("hosts", Some("ghcr.io/team")), ("somethingElse", Some("x")), ("appID", Some(" 12345\n"))]
    {
        assert_eq!(order(&with(&[change])).key, usual, "{}", change.0);
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn knowing_the_app_alone_never_gives_the_key(a in "[!-~]{1,40}", b in "[!-~]{1,40}") {
        // What stands around the key in its file counts as part of it.
        let key = |noise: &str| order(&with(&[("privateKey", Some(&format!("{noise}\n{}", rsa().pkcs8)))])).key;
        prop_assert_eq!(key(&a) == key(&b), a == b);
    }

    #[test]
    fn whatever_is_in_a_secret_reading_it_ends_well(
        key in prop::sample::select(vec!["appID", "installationID", "owner", "privateKey", "apiURL", "hosts"]),
        value in prop::collection::vec(any::<u8>(), 0..60),
    ) {
        let mut document = with(&[]);
        document.data.insert(key.into(), value.into());
        let read = read(&at(), &document).expect("the type is known");
        prop_assert!(read.is_ok() || read.is_err_and(|flaw| !flaw.key.is_empty()));
    }
}

// === dialogues ===

#[tokio::test]
async fn an_app_signs_a_claim_and_gets_a_token_that_reads_packages_alone() {
    let cloud = Cloud::always(token()).await;
    let answer = exchanged(&at_cloud(&cloud, &[])).await.unwrap();
    // By the clock of the cloud, which is years from ours.
    assert_eq!(issued(&answer), ("x-access-token", "ghs_1_a.b.c", Some(1800)));
    let asked = &cloud.asked()[0];
    assert_eq!(asked.line, "POST /app/installations/678/access_tokens HTTP/1.1");
    let body: Value = serde_json::from_str(&asked.body).unwrap();
    assert_eq!(body, json!({"permissions": {"packages": "read"}}));
    assert_eq!(asked.header("accept"), "application/vnd.github+json");
    assert!(asked.header("user-agent").starts_with("imps/"), "GitHub answers nobody without a name");
    let (header, claims) = signed(asked.header("authorization").strip_prefix("Bearer ").unwrap());
    assert_eq!((header["alg"].as_str(), claims["iss"].as_str()), (Some("RS256"), Some("12345")));
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_secs();
    let (begin, end) = (claims["iat"].as_u64().unwrap(), claims["exp"].as_u64().unwrap());
    assert!(begin <= now - 60 && end > now + 60 && end <= now + 600, "{begin} {now} {end}");
}

#[tokio::test]
async fn an_installation_is_found_by_its_owner_organization_or_user() {
    for (kind, asked_first) in [("orgs", 0), ("users", 1)] {
        let line = format!("GET /api/v3/{kind}/team/installation HTTP/1.1");
        let known = line.clone();
        let cloud = Cloud::start(move |asked| match asked.line.as_str() {
            line if line == known => Reply::ok(r#"{"id": 4242, "account": {}}"#),
            line if line.starts_with("GET") => Reply::status(404, r#"{"message":"Not Found"}"#),
            _ => token(),
        })
        .await;
        let url = format!("{}/api/v3/", cloud.url);
        let owner =
            [("installationID", None), ("owner", Some("team")), ("apiURL", Some(url.as_str())), HOSTS];
        let answer = exchanged(&with(&owner)).await.unwrap();
        assert_eq!(issued(&answer).1, "ghs_1_a.b.c");
        let lines: Vec<String> = cloud.asked().into_iter().map(|asked| asked.line).collect();
        assert_eq!(lines[asked_first], line);
        assert_eq!(lines.last().unwrap(), "POST /api/v3/app/installations/4242/access_tokens HTTP/1.1");
    }
}

#[tokio::test]
async fn an_end_is_believed_only_when_it_is_to_come() {
    for end in [json!(null), json!("2027-12-31T23:59:59Z"), json!("soon"), json!("")] {
        let body = json!({"token": "ghs_x", "expires_at": end}).to_string();
        let cloud = Cloud::always(Reply::status(201, body)).await;
        assert_eq!(issued(&exchanged(&at_cloud(&cloud, &[])).await.unwrap()).2, None, "{end}");
    }
}

#[tokio::test]
async fn each_refusal_says_what_to_look_at() {
    use ExchangeFaultClass::*;
    let now = httpdate::fmt_http_date(std::time::SystemTime::now());
    let with_headers = |status, headers: &[(&'static str, &str)]| {
        let date = [("date", now.as_str())];
        let all = date.iter().chain(headers).map(|(name, value)| (*name, (*value).to_owned())).collect();
        Reply::Answer(status, all, r#"{"message":"canary","documentation_url":"canary"}"#.into())
    };
    let spent = [("x-ratelimit-remaining", "0"), ("retry-after", "30")];
    for (reply, class, code, words, wait) in [
        (with_headers(401, &[]), Denied, "HTTP 401", "belong together", None),
        (Reply::status(401, "{}"), Denied, "HTTP 401", "clock of the node", None),
        (with_headers(403, &[]), Denied, "HTTP 403", "suspended", None),
        (with_headers(403, &spent), Throttled, "HTTP 403", "by itself", Some(30)),
        (with_headers(404, &[]), Denied, "HTTP 404", "not installed", None),
        (with_headers(422, &[]), Denied, "HTTP 422", "Packages: read-only", None),
        (with_headers(429, &[("retry-after", "7")]), Throttled, "HTTP 429", "by itself", Some(7)),
        (with_headers(502, &[]), Unreachable, "HTTP 502", "by itself", None),
    ] {
        let cloud = Cloud::always(reply).await;
        for owner in [None, Some("team")] {
            let id = owner.is_none().then_some("678");
            let document = at_cloud(&cloud, &[("owner", owner), ("installationID", id)]);
            let fault = exchanged(&document).await.unwrap_err();
            assert_eq!((fault.class, fault.code.as_str()), (class, code), "{fault}");
            assert_eq!(fault.retry_after.map(|wait| wait.as_secs()), wait);
            assert!(fault.advice.contains(words) && !fault.to_string().contains("canary"), "{fault}");
        }
    }
}
