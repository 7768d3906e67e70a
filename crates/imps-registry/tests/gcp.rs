//! Identities at Google: what their Secrets ask for, and the dialogues, with a cloud in this process that is good or
//! lies.

#![allow(clippy::unwrap_used, reason = "a dialogue that cannot be played has failed")]

mod support;

use imps_core::exchange::{ExchangeFaultClass, Keyless};
use imps_core::name::SecretRef;
use imps_core::source::Document;
use imps_registry::read;
use proptest::prelude::*;
use serde_json::{Value, json};
use support::{
    Asked, Changes, Cloud, NOW, Reply, at, changed, exchanged, flaw, issued, logins, order, order_at,
    registries, rsa, signed, typed,
};

const TYPE: &str = "images.banzaicloud.io/gcp";
const PROVIDER: &str =
    "//iam.googleapis.com/projects/1/locations/global/workloadIdentityPools/pool/providers/k8s";
const EMAIL: &str = "puller@project.iam.gserviceaccount.com";
const SCOPE: &str = "https://www.googleapis.com/auth/cloud-platform";

/// A key file of the key of this test program, with changes; null removes.
fn key_json(changes: Value) -> String {
    let mut file = json!({
        "type": "service_account",
        "project_id": "project",
        "private_key_id": "canary-key-id",
        "private_key": rsa().pkcs8,
        "client_email": "canary@project.iam.gserviceaccount.com",
        "token_uri": "https://oauth2.googleapis.com/token",
    });
    for (name, value) in changes.as_object().unwrap() {
        file[name] = value.clone();
    }
    file.to_string()
}

fn with(changes: &Changes<'_>) -> Document {
    changed(typed(TYPE, &[("hosts", "europe-docker.pkg.dev")]), changes)
}

fn with_key(changes: &Changes<'_>) -> Document {
    changed(with(&[("key.json", Some(&key_json(json!({}))))]), changes)
}

fn federated(changes: &Changes<'_>) -> Document {
    let usual = [("workloadIdentityProvider", Some(PROVIDER)), ("serviceAccountName", Some("puller"))];
    changed(with(&usual), changes)
}

/// What the token endpoint, STS and the metadata server answer.
fn oauth(token: &str) -> Reply {
    Reply::ok(json!({"access_token": token, "expires_in": 3599, "token_type": "Bearer"}).to_string())
}

fn of_iam(token: &str) -> Reply {
    Reply::ok(json!({"accessToken": token, "expireTime": "2028-01-01T00:30:00Z"}).to_string())
}

// === reading ===

#[test]
fn the_token_is_for_the_hosts_that_are_named() {
    let hosts =
        "gcr.io, EU.gcr.io\nus-central1-docker.pkg.dev docker.s3nsregistry.fr europe-docker.pkg.dev/a/images";
    let found = order(&with_key(&[("hosts", Some(hosts))]));
    assert_eq!(
        (found.provider, found.lane.as_str(), found.keyless.clone()),
        ("gcp", "gcp/token/oauth2.googleapis.com", None)
    );
    let expected = [
        "gcr.io",
        "eu.gcr.io",
        "us-central1-docker.pkg.dev",
        "docker.s3nsregistry.fr",
        "europe-docker.pkg.dev/a/images",
    ];
    assert_eq!(registries(&found), expected);
}

#[test]
fn a_token_is_never_sent_to_a_stranger() {
    for host in [
        "registry.example",
        "evilgcr.io",
        "gcr.io.evil.example",
        "gcr.io:8443",
        "-docker.pkg.dev",
        "docker.pkg.dev",
        "europe.docker.pkg.dev",
        "evil.example-docker.pkg.dev",
        "europe-docker.pkg.dev.evil.example",
        "europe-maven.pkg.dev",
        "*.gcr.io",
        "x@gcr.io",
        "docker.io",
    ] {
        for document in [with_key(&[]), federated(&[]), with(&[]), with_key(&[("login", Some("json-key"))])] {
            let flaw = flaw(&changed(document, &[("hosts", Some(&format!("gcr.io,{host}")))]));
            assert_eq!(flaw.key, "hosts", "{host}");
        }
    }
}

#[test]
fn without_a_key_another_identity_is_meant() {
    let ambient = order(&with(&[]));
    assert_eq!((ambient.keyless, ambient.lane.as_str()), (Some(Keyless::Ambient), "gcp/metadata"));
    let account = order(&federated(&[]));
    assert_eq!(account.keyless, Some(Keyless::ServiceAccount("puller".into())));
    assert_eq!(account.lane, "gcp/sts");
    let elsewhere = SecretRef::new("other", "gcp");
    let other = order_at(&elsewhere, &federated(&[]));
    assert_ne!(other.key, account.key, "the name means another ServiceAccount there");
}

#[test]
fn the_key_itself_is_a_login_when_that_is_wanted() {
    let file = key_json(json!({}));
    let document = with_key(&[("login", Some("json-key")), ("hosts", Some("gcr.io,eu.gcr.io"))]);
    let user = "_json_key".to_owned();
    assert_eq!(
        logins(&document),
        [("eu.gcr.io".into(), user.clone(), file.clone()), ("gcr.io".into(), user, file)]
    );
}

#[tokio::test]
async fn nobody_is_asked_for_a_key_that_is_the_login() {
    let cloud = Cloud::always(oauth("token")).await;
    let file = key_json(json!({"token_uri": cloud.url}));
    let document = with(&[("key.json", Some(&file)), ("login", Some("json-key"))]);
    let fault = exchanged(&document).await.unwrap_err();
    assert_eq!((fault.class, fault.code.as_str()), (ExchangeFaultClass::Denied, "no exchange"));
    assert!(cloud.asked().is_empty());
}

#[test]
fn a_flaw_names_the_key_and_quotes_nothing() {
    let file = |changes: Value| key_json(changes);
    let key = |text: &str| with(&[("key.json", Some(text))]);
    let ambient = |changes: &Changes<'_>| with(changes);
    let json_key = |changes: &Changes<'_>| with_key(&[&[("login", Some("json-key"))], changes].concat());
    let local = ("http://127.0.0.1:1", "https://canary.example");
    #[rustfmt::skip]
    let cases = [
        ("hosts", with_key(&[("hosts", None)])),
        ("hosts", with_key(&[("hosts", Some(" \n"))])),
        ("key.json", with_key(&[("key.json", Some(""))])),
        ("key.json", key("canary")),
        ("key.json", key("{\"canary\": ")),
        ("key.json", key("{}")),
        ("key.json", key(&file(json!({"type": "authorized_user"})))),
        ("key.json", key(&file(json!({"type": 5})))),
        ("key.json", key(&file(json!({"client_email": null})))),
        ("key.json", key(&file(json!({"client_email": "canary"})))),
        ("key.json", key(&file(json!({"private_key": null})))),
        ("key.json", key(&file(json!({"private_key": "canary"})))),
        ("key.json", key(&file(json!({"private_key": rsa().pkcs8.replace('\n', "")})))),
        ("key.json", key(&file(json!({"private_key": rsa().pkcs8[..900]})))),
        ("key.json", key(&file(json!({"token_uri": "http://canary.example"})))),
        ("login", with_key(&[("login", Some("canary"))])),
        ("key.json", json_key(&[("key.json", None)])),
        ("key.json", json_key(&[("key.json", Some("canary"))])),
        ("impersonate", json_key(&[("impersonate", Some(EMAIL))])),
        ("tokenEndpoint", json_key(&[("tokenEndpoint", Some("https://canary.example"))])),
        ("workloadIdentityProvider", with_key(&[("workloadIdentityProvider", Some(PROVIDER))])),
        ("workloadIdentityProvider", federated(&[("workloadIdentityProvider", Some("canary"))])),
        ("workloadIdentityProvider", federated(&[("workloadIdentityProvider", Some("projects/1"))])),
        ("workloadIdentityProvider", federated(&[("workloadIdentityProvider", Some("identitynamespace:canary"))])),
        ("serviceAccountName", federated(&[("serviceAccountName", None)])),
        ("serviceAccountName", federated(&[("serviceAccountName", Some("Canary"))])),
        ("serviceAccountName", ambient(&[("serviceAccountName", Some("canary"))])),
        ("serviceAccountName", with_key(&[("serviceAccountName", Some("canary"))])),
        ("audience", ambient(&[("audience", Some("canary"))])),
        ("audience", federated(&[("audience", Some("https://kubernetes.default.svc.cluster.local"))])),
        ("impersonate", with_key(&[("impersonate", Some("canary"))])),
        ("impersonate", with_key(&[("impersonate", Some("canary@x/y.z"))])),
        ("impersonate", with_key(&[("impersonate", Some("canary@x.y:z"))])),
        ("tokenEndpoint", with_key(&[("tokenEndpoint", Some("http://canary.example"))])),
        ("tokenEndpoint", ambient(&[("tokenEndpoint", Some(local.0))])),
        ("stsEndpoint", with_key(&[("stsEndpoint", Some(local.0))])),
        ("iamEndpoint", with_key(&[("iamEndpoint", Some(local.0))])),
        ("metadataEndpoint", federated(&[("metadataEndpoint", Some(local.0))])),
        // A borrowed identity is not shown to strangers.
        ("stsEndpoint", federated(&[("stsEndpoint", Some(local.1))])),
        ("stsEndpoint", federated(&[("stsEndpoint", Some("https://canary.storage.googleapis.com"))])),
        ("stsEndpoint", federated(&[("stsEndpoint", Some("https://sts.googleapis.com.canary.example"))])),
        ("iamEndpoint", federated(&[("impersonate", Some(EMAIL)), ("iamEndpoint", Some(local.1))])),
        ("iamEndpoint", ambient(&[("impersonate", Some(EMAIL)), ("iamEndpoint", Some(local.1))])),
    ];
    for (number, (key, document)) in cases.iter().enumerate() {
        assert_eq!(flaw(document).key, *key, "case {number}");
    }
}

#[test]
fn what_is_allowed_is_not_complained_about() {
    let gke = "identitynamespace:p.svc.id.goog:https://container.googleapis.com/v1/projects/p/locations/l/clusters/c";
    for document in [
        with(&[("key.json", Some(&key_json(json!({"private_key": rsa().pkcs1, "token_uri": null}))))]),
        with_key(&[("login", Some("access-token")), ("impersonate", Some(EMAIL))]),
        with_key(&[("impersonate", Some(EMAIL)), ("iamEndpoint", Some("https://own.example"))]),
        with_key(&[("tokenEndpoint", Some("https://own.example/token"))]),
        federated(&[("workloadIdentityProvider", Some(gke))]),
        federated(&[("stsEndpoint", Some("https://sts.googleapis.com/v1/token")), ("audience", Some("own"))]),
        federated(&[
            ("impersonate", Some(EMAIL)),
            ("iamEndpoint", Some("https://iamcredentials.googleapis.com")),
        ]),
        with(&[("metadataEndpoint", Some("http://127.0.0.1:1"))]),
    ] {
        order(&document);
    }
}

#[test]
fn all_that_decides_what_a_token_may_do_is_in_its_key_and_nothing_else() {
    let impersonating = [("impersonate", Some(EMAIL))];
    let usual = order(&with_key(&impersonating)).key;
    let other_id = key_json(json!({"private_key_id": "other"}));
    for change in [
        ("key.json", Some(other_id.as_str())),
        ("impersonate", Some("other@project.iam.gserviceaccount.com")),
        ("impersonate", None),
        ("tokenEndpoint", Some("https://own.example")),
        ("iamEndpoint", Some("https://own.example")),
    ] {
        let document = with_key(&[&impersonating[..], &[change]].concat());
        // Without impersonation there is no use for its endpoint, which is not among the changes then.
        assert_ne!(order(&document).key, usual, "{}", change.0);
    }
    for change in [("hosts", Some("gcr.io")), ("login", Some("access-token")), ("somethingElse", Some("x"))] {
        assert_eq!(order(&with_key(&[&impersonating[..], &[change]].concat())).key, usual, "{}", change.0);
    }
    let federation = order(&federated(&[])).key;
    let other_provider = PROVIDER.replace("k8s", "other");
    for change in [
        ("workloadIdentityProvider", Some(other_provider.as_str())),
        ("serviceAccountName", Some("other")),
        ("audience", Some("other")),
        ("impersonate", Some(EMAIL)),
        ("stsEndpoint", Some("http://127.0.0.1:1")),
    ] {
        assert_ne!(order(&federated(&[change])).key, federation, "{}", change.0);
    }
    let ambient = order(&with(&[])).key;
    assert_ne!(order(&with(&[("metadataEndpoint", Some("http://127.0.0.1:1"))])).key, ambient);
    assert_ne!(federation, ambient);
    let other = order_at(&SecretRef::new("other", "name"), &with(&[]));
    assert_eq!(other.key, ambient, "the identity of imps is one wherever it is asked for");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn knowing_all_of_a_key_file_but_its_secret_never_gives_the_key(a in "[!-~]{1,40}", b in "[!-~]{1,40}") {
        // What stands around the PEM is as secret as the key for our purpose: any other byte is another file.
        let key = |noise: &str| {
            let pem = format!("{noise}\n{}", rsa().pkcs8);
            order(&with(&[("key.json", Some(&key_json(json!({"private_key": pem}))))])).key
        };
        prop_assert_eq!(key(&a) == key(&b), a == b);
    }

    #[test]
    fn whatever_is_in_a_secret_reading_it_ends_well(
        key in prop::sample::select(vec!["hosts", "key.json", "login", "workloadIdentityProvider", "audience",
            "serviceAccountName", "impersonate", "tokenEndpoint", "stsEndpoint", "iamEndpoint", "metadataEndpoint"]),
        value in prop::collection::vec(any::<u8>(), 0..60),
    ) {
        for mut document in [with_key(&[]), federated(&[]), with(&[])] {
            document.data.insert(key.into(), value.clone().into());
            let read = read(&at(), &document).expect("the type is known");
            prop_assert!(read.is_ok() || read.is_err_and(|flaw| !flaw.key.is_empty()));
        }
    }
}

// === dialogues ===

/// What was asked, as a line and the fields of its form.
fn form(asked: &Asked, names: &[&str]) -> Vec<String> {
    names.iter().map(|name| asked.field(name).unwrap_or_default()).collect()
}

#[tokio::test]
async fn a_key_signs_a_claim_and_gets_a_token() {
    for pem in [&rsa().pkcs8, &rsa().pkcs1] {
        let cloud = Cloud::always(oauth("ya29.token")).await;
        let uri = format!("{}/token", cloud.url);
        let file = key_json(json!({"private_key": pem, "token_uri": uri}));
        let answer = exchanged(&with(&[("key.json", Some(&file))])).await.unwrap();
        assert_eq!(issued(&answer), ("oauth2accesstoken", "ya29.token", Some(3599)));
        let asked = &cloud.asked()[0];
        assert_eq!(asked.line, "POST /token HTTP/1.1");
        assert_eq!(asked.header("content-type"), "application/x-www-form-urlencoded");
        assert_eq!(form(asked, &["grant_type"]), ["urn:ietf:params:oauth:grant-type:jwt-bearer"]);
        let (header, claims) = signed(&asked.field("assertion").unwrap());
        assert_eq!(header, json!({"alg": "RS256", "typ": "JWT", "kid": "canary-key-id"}));
        assert_eq!(
            (&claims["iss"], &claims["aud"]),
            (&json!("canary@project.iam.gserviceaccount.com"), &json!(uri))
        );
        assert_eq!(claims["scope"], SCOPE);
        assert_eq!(claims["exp"].as_u64().unwrap() - claims["iat"].as_u64().unwrap(), 3600);
    }
}

#[tokio::test]
async fn an_own_token_endpoint_is_asked_with_the_audience_of_the_key() {
    let cloud = Cloud::always(oauth("token")).await;
    exchanged(&with_key(&[("tokenEndpoint", Some(&cloud.url))])).await.unwrap();
    let (_, claims) = signed(&cloud.asked()[0].field("assertion").unwrap());
    assert_eq!(claims["aud"], "https://oauth2.googleapis.com/token");
}

#[tokio::test]
async fn a_service_account_is_federated() {
    let cloud = Cloud::always(oauth("federated")).await;
    let sts = format!("{}/v1/token", cloud.url);
    let answer = exchanged(&federated(&[("stsEndpoint", Some(&sts))])).await.unwrap();
    assert_eq!(issued(&answer), ("oauth2accesstoken", "federated", Some(3599)));
    let asked = &cloud.asked()[0];
    assert_eq!(asked.line, "POST /v1/token HTTP/1.1");
    let names =
        ["grant_type", "audience", "scope", "requested_token_type", "subject_token", "subject_token_type"];
    let subject = format!("token.of.registry-access.puller.for.{PROVIDER}");
    let expected = [
        "urn:ietf:params:oauth:grant-type:token-exchange",
        PROVIDER,
        SCOPE,
        "urn:ietf:params:oauth:token-type:access_token",
        &subject,
        "urn:ietf:params:oauth:token-type:jwt",
    ];
    assert_eq!(form(asked, &names), expected);
    exchanged(&federated(&[("stsEndpoint", Some(&sts)), ("audience", Some("own"))])).await.unwrap();
    assert!(cloud.asked()[1].field("subject_token").unwrap().ends_with(".for.own"));
    let gke = "identitynamespace:project.svc.id.goog:https://container.googleapis.com/v1/projects/p";
    let document = federated(&[("stsEndpoint", Some(&sts)), ("workloadIdentityProvider", Some(gke))]);
    exchanged(&document).await.unwrap();
    assert!(cloud.asked()[2].field("subject_token").unwrap().ends_with(".for.project.svc.id.goog"));
    assert_eq!(cloud.asked()[2].field("audience").as_deref(), Some(gke));
}

#[tokio::test]
async fn a_service_account_is_taken_on_with_a_token_that_can_do_nothing_else() {
    let path = "/v1/projects/-/serviceAccounts/puller@project.iam.gserviceaccount.com:generateAccessToken";
    let line = format!("POST {path} HTTP/1.1");
    let cloud = Cloud::start({
        let line = line.clone();
        move |asked| match asked.line == line {
            true if asked.header("authorization") == "Bearer first" => of_iam("second"),
            true => Reply::status(401, ""),
            false => oauth("first"),
        }
    })
    .await;
    let iam = [("impersonate", Some(EMAIL)), ("iamEndpoint", Some(cloud.url.as_str()))];
    let cases = [
        with_key(&[&iam[..], &[("tokenEndpoint", Some(&cloud.url))]].concat()),
        federated(&[&iam[..], &[("stsEndpoint", Some(&cloud.url))]].concat()),
        with(&[&iam[..], &[("metadataEndpoint", Some(&cloud.url))]].concat()),
    ];
    for document in cases {
        let before = cloud.asked().len();
        let answer = exchanged(&document).await.unwrap();
        // By the clock of the cloud, which is years from ours.
        assert_eq!(issued(&answer), ("oauth2accesstoken", "second", Some(1800)));
        let asked = cloud.asked().split_off(before);
        let scope = match asked[0].field("assertion") {
            Some(claim) => signed(&claim).1["scope"].as_str().map(str::to_owned),
            None => asked[0].field("scope"),
        };
        let step = Some("https://www.googleapis.com/auth/iam");
        assert!(scope.is_none() || scope.as_deref() == step, "{scope:?}");
        assert_eq!(asked[1].line, line);
        let body: Value = serde_json::from_str(&asked[1].body).unwrap();
        assert_eq!(body, json!({"scope": [SCOPE], "lifetime": "3600s"}));
    }
}

#[tokio::test]
async fn the_metadata_server_is_asked_as_it_wants_to_be() {
    let cloud = Cloud::start(|asked| match asked.header("metadata-flavor") {
        "Google" => oauth("ambient"),
        _ => Reply::status(403, ""),
    })
    .await;
    let answer = exchanged(&with(&[("metadataEndpoint", Some(&cloud.url))])).await.unwrap();
    assert_eq!(issued(&answer), ("oauth2accesstoken", "ambient", Some(3599)));
    let line = "GET /computeMetadata/v1/instance/service-accounts/default/token HTTP/1.1";
    assert_eq!(cloud.asked()[0].line, line);
}

#[tokio::test]
async fn an_end_is_believed_only_when_it_is_to_come() {
    for (end, expected) in [
        (json!(null), None),
        (json!(0), None),
        (json!(-5), None),
        (json!("soon"), None),
        (json!("60"), Some(60)),
        (json!(7), Some(7)),
    ] {
        let body = json!({"access_token": "x", "expires_in": end});
        let cloud = Cloud::always(Reply::ok(body.to_string())).await;
        let answer = exchanged(&with_key(&[("tokenEndpoint", Some(&cloud.url))])).await.unwrap();
        assert_eq!(issued(&answer).2, expected, "{end}");
    }
    let seconds = |at: &str| at.parse::<jiff::Timestamp>().map(|at| at.as_second() - NOW as i64).ok();
    assert_eq!(seconds("2028-01-01T00:30:00Z"), Some(1800), "the cloud's clock is what this test thinks");
    for end in [json!(null), json!("2027-12-31T23:59:59Z"), json!("soon"), json!("")] {
        let iam = json!({"accessToken": "x", "expireTime": end});
        let cloud = Cloud::start(move |asked| match asked.line.contains("generateAccessToken") {
            true => Reply::ok(iam.to_string()),
            false => oauth("first"),
        })
        .await;
        let to = Some(cloud.url.as_str());
        let document = with_key(&[("tokenEndpoint", to), ("impersonate", Some(EMAIL)), ("iamEndpoint", to)]);
        assert_eq!(issued(&exchanged(&document).await.unwrap()).2, None, "{end}");
    }
}

#[tokio::test]
async fn each_refusal_says_what_to_look_at() {
    use ExchangeFaultClass::*;
    let oauth = |code: &str| format!("{{\"error\":\"{code}\",\"error_description\":\"canary\"}}");
    let google = |status: &str| format!("{{\"error\":{{\"status\":\"{status}\",\"message\":\"canary\"}}}}");
    let now = httpdate::fmt_http_date(std::time::SystemTime::now());
    let refused = |status, body: String| Reply::Answer(status, vec![("date", now.clone())], body);
    #[rustfmt::skip]
    let cases = [
        ("tokenEndpoint", refused(400, oauth("invalid_grant")), Denied, "invalid_grant", "was deleted"),
        ("tokenEndpoint", refused(401, oauth("invalid_client")), Denied, "invalid_client", "key.json"),
        ("tokenEndpoint", Reply::status(400, oauth("invalid_grant")), Denied, "invalid_grant", "clock of the node"),
        ("tokenEndpoint", refused(503, String::new()), Unreachable, "HTTP 503", "by itself"),
        ("stsEndpoint", refused(400, oauth("invalid_target")), Denied, "invalid_target", "number and not the name"),
        ("stsEndpoint", refused(400, oauth("invalid_grant")), Denied, "invalid_grant", "allowed audiences"),
        ("stsEndpoint", refused(403, oauth("unauthorized_client")), Denied, "unauthorized_client", "condition"),
        ("metadataEndpoint", refused(404, "canary".into()), Denied, "HTTP 404", "no service account"),
        ("iamEndpoint", refused(403, google("PERMISSION_DENIED")), Denied, "PERMISSION_DENIED", "TokenCreator"),
        ("iamEndpoint", refused(404, google("NOT_FOUND")), Denied, "NOT_FOUND", "look at impersonate"),
        ("iamEndpoint", refused(429, google("RESOURCE_EXHAUSTED")), Throttled, "RESOURCE_EXHAUSTED", "by itself"),
    ];
    for (endpoint, reply, class, code, words) in cases {
        let cloud = Cloud::always(reply).await;
        let usual = Cloud::always(self::oauth("first")).await;
        let to = Some(cloud.url.as_str());
        let document = match endpoint {
            "tokenEndpoint" => with_key(&[("tokenEndpoint", to)]),
            "stsEndpoint" => federated(&[("stsEndpoint", to)]),
            "metadataEndpoint" => with(&[("metadataEndpoint", to)]),
            _ => with_key(&[
                ("tokenEndpoint", Some(&usual.url)),
                ("impersonate", Some(EMAIL)),
                ("iamEndpoint", to),
            ]),
        };
        let fault = exchanged(&document).await.unwrap_err();
        assert_eq!((fault.class, fault.code.as_str()), (class, code), "{endpoint}: {fault}");
        assert!(fault.advice.contains(words) && !fault.to_string().contains("canary"), "{endpoint}: {fault}");
    }
}
