//! The emulated Google Cloud, judged by google-auth.

use std::time::{Duration, SystemTime};

use imps_testbed::Google;
use imps_testbed::google::{ACCESS, PLATFORM, Provider};
use serde_json::{Value, json};
use tokio::sync::OnceCell;

use super::judge::{Judge, SUBJECT, with};

const IAM: &str = "https://www.googleapis.com/auth/iam";

static GOOGLE: OnceCell<Google> = OnceCell::const_new();

/// The cloud that the tests of this file share, and a judge.
async fn court() -> Option<(&'static Google, Judge)> {
    if let Err(missing) = Google::available() {
        missing.skip_or_fail();
        return None;
    }
    Some((GOOGLE.get_or_try_init(Google::start).await.unwrap(), Judge::of("google")))
}

fn account_step(google: &Google, key: &Value) -> Value {
    json!({"account": key, "endpoint": format!("{}/token", google.endpoint())})
}

fn federation(google: &Google, provider: &str, file: &std::path::Path, impersonated: Option<&str>) -> Value {
    let mut external = json!({
        "type": "external_account", "audience": provider,
        "subject_token_type": "urn:ietf:params:oauth:token-type:jwt",
        "token_url": format!("{}/v1/token", google.endpoint()), "credential_source": {"file": file},
    });
    if let Some(email) = impersonated {
        let path = format!("/v1/projects/-/serviceAccounts/{email}:generateAccessToken");
        external["service_account_impersonation_url"] = (google.endpoint() + &path).into();
    }
    json!({ "external": external })
}

/// Seconds from now to an instant that a client tells.
fn seconds_until(instant: &Value) -> f64 {
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap();
    instant.as_f64().unwrap() - now.as_secs_f64()
}

#[tokio::test]
async fn an_assertion_is_worth_what_its_key_signed() {
    let Some((google, mut judge)) = court().await else { return };
    let email = google.make_account().await.unwrap();
    let key = google.make_key(&email).await.unwrap();
    let (answer, sent) = judge.observed(&account_step(google, &key)).await;
    assert!((3500.0..=3600.0).contains(&seconds_until(&answer["expires"])), "{answer}");
    let issued = google.issued().await.unwrap();
    let token = issued.iter().find(|token| answer["token"] == token.token.as_str()).unwrap();
    assert_eq!((token.kind.as_str(), token.principal.as_str()), (ACCESS, email.as_str()));
    assert_eq!(token.about["scopes"], json!([PLATFORM]));

    // What the client sent is taken again, and not with any one thing changed.
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap().as_secs();
    let signed =
        |claims: Value, key: &Value| json!({"in": "assertion", "claims": claims, "key": key["private_key"]});
    let again = [
        json!({}),
        signed(json!({"exp": now + 3000}), &key),
        with(&signed(json!({}), &key), json!({"header": {"kid": null}})),
    ];
    for right in again {
        assert_eq!(judge.again(&sent[0], right.clone()).await.0, 200, "{right}");
    }
    let chunked = judge.take(&json!({"send": sent[0], "chunked": true})).await;
    assert_eq!(chunked["status"], 200, "{chunked}");
    let other = google.make_key(&email).await.unwrap();
    let stranger = google.make_account().await.unwrap();
    let (long, late) = (now + 3601, now + 4000);
    let refusals = [
        (json!({"form": {"grant_type": "client_credentials"}}), "unsupported_grant_type"),
        (json!({"form": {"grant_type": null}}), "unsupported_grant_type"),
        (json!({"form": {"assertion": "guess"}}), "invalid_grant"),
        (json!({"form": {"assertion": null}}), "invalid_grant"),
        (signed(json!({}), &other), "invalid_grant"),
        (
            json!({"in": "assertion", "claims": {}, "key": "k".repeat(32), "header": {"alg": "HS256"}}),
            "invalid_grant",
        ),
        (with(&signed(json!({}), &key), json!({"header": {"kid": "unknown"}})), "invalid_grant"),
        (signed(json!({"iss": stranger}), &key), "invalid_grant"),
        (signed(json!({"iss": "nobody@shop-project.iam.gserviceaccount.com"}), &key), "invalid_grant"),
        (signed(json!({"aud": google.endpoint() + "/token"}), &key), "invalid_grant"),
        (signed(json!({"aud": null}), &key), "invalid_grant"),
        (signed(json!({"iat": now, "exp": long}), &key), "invalid_grant"),
        (signed(json!({"iat": late, "exp": late + 600}), &key), "invalid_grant"),
        (signed(json!({"iat": now - 5000, "exp": now - 1500}), &key), "invalid_grant"),
        (signed(json!({"exp": null}), &key), "invalid_grant"),
        (signed(json!({"scope": null}), &key), "invalid_scope"),
        (signed(json!({"scope": "everything"}), &key), "invalid_scope"),
    ];
    for (wrong, error) in refusals {
        let (status, body) = judge.again(&sent[0], wrong.clone()).await;
        assert_eq!((status, &body["error"]), (400, &error.into()), "{wrong}: {body}");
    }
    google.delete_key(&key).await.unwrap();
    assert!(judge.fails(&account_step(google, &key)).await.contains("Invalid JWT Signature"));
    judge.ok(&account_step(google, &other)).await;
}

#[tokio::test]
async fn a_workload_is_whom_its_cluster_says_it_is() {
    let Some((google, mut judge)) = court().await else { return };
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("token");
    let keys = judge.identity("any", json!({})).await["keys"].take();
    google.trust_issuer(&judge.issuer, &keys).await.unwrap();
    let issuer = judge.issuer.clone();
    let plain = Provider { issuer: &issuer, audiences: &[], subject: Some(SUBJECT) };
    let provider = google.make_provider(&plain).await.unwrap();
    let step = federation(google, &provider, &file, None);
    let mut sent = Vec::new();
    for audience in [provider.clone(), format!("https:{provider}")] {
        let identity = judge.identity(&audience, json!({})).await;
        std::fs::write(&file, identity["token"].as_str().unwrap()).unwrap();
        let answer;
        (answer, sent) = judge.observed(&step).await;
        let issued = google.issued().await.unwrap();
        let token = issued.iter().find(|token| answer["token"] == token.token.as_str()).unwrap();
        assert_eq!(token.principal, Google::principal(&provider, SUBJECT));
        assert_eq!(token.about["scopes"], json!([PLATFORM]));
    }

    let refusals = [
        (json!({"grant_type": "urn:ietf:params:oauth:grant-type:jwt-bearer"}), "unsupported_grant_type"),
        (json!({"requested_token_type": "urn:ietf:params:oauth:token-type:jwt"}), "invalid_request"),
        (json!({"subject_token_type": "urn:ietf:params:oauth:token-type:access_token"}), "invalid_request"),
        (json!({"audience": null}), "invalid_request"),
        (json!({"audience": provider.trim_start_matches("//iam.googleapis.com/")}), "invalid_request"),
        (json!({"audience": format!("{provider}-else")}), "invalid_target"),
        (json!({"scope": null}), "invalid_scope"),
        (json!({"scope": "everything"}), "invalid_scope"),
        (json!({"subject_token": "guess"}), "invalid_grant"),
    ];
    for (form, error) in refusals {
        let (status, body) = judge.again(&sent[0], json!({"form": form})).await;
        assert_eq!((status, &body["error"]), (400, &error.into()), "{form}: {body}");
    }
    let identities = [
        (json!({"stranger": true}), "invalid_grant"),
        (json!({"issuer": "https://other.example"}), "invalid_grant"),
        (json!({"audience": "somebody-else"}), "invalid_grant"),
        (json!({"lives": -60}), "invalid_grant"),
        (json!({"subject": "system:serviceaccount:a:c"}), "unauthorized_client"),
    ];
    for (change, error) in identities {
        let identity = judge.identity(&provider, change.clone()).await;
        std::fs::write(&file, identity["token"].as_str().unwrap()).unwrap();
        assert!(judge.fails(&step).await.contains(error), "{change}");
    }

    // One that wants to be called by another name.
    let named = Provider { audiences: &["images"], ..plain };
    let provider = google.make_provider(&named).await.unwrap();
    let step = federation(google, &provider, &file, None);
    for (audience, right) in [("images", true), (provider.as_str(), false)] {
        let identity = judge.identity(audience, json!({})).await;
        std::fs::write(&file, identity["token"].as_str().unwrap()).unwrap();
        assert_eq!(judge.take(&step).await.get("ok").is_some(), right, "{audience}");
    }
}

#[tokio::test]
async fn a_workload_may_be_the_accounts_that_let_it() {
    let Some((google, mut judge)) = court().await else { return };
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("token");
    let keys = judge.identity("any", json!({})).await["keys"].take();
    google.trust_issuer(&judge.issuer, &keys).await.unwrap();
    let provider = Provider { issuer: &judge.issuer, audiences: &[], subject: None };
    let provider = google.make_provider(&provider).await.unwrap();
    let (email, other) = (google.make_account().await.unwrap(), google.make_account().await.unwrap());
    let principal = Google::principal(&provider, SUBJECT);
    google.let_impersonate(&email, &[&principal]).await.unwrap();
    let identity = judge.identity(&provider, json!({})).await;
    std::fs::write(&file, identity["token"].as_str().unwrap()).unwrap();
    let (answer, sent) = judge.observed(&federation(google, &provider, &file, Some(&email))).await;
    assert!((3500.0..=3600.0).contains(&seconds_until(&answer["expires"])), "{answer}");
    let issued = google.issued().await.unwrap();
    let token = issued.iter().find(|token| answer["token"] == token.token.as_str()).unwrap();
    assert_eq!((token.kind.as_str(), &token.principal), (ACCESS, &email));
    let federated = issued.iter().find(|token| token.principal == principal).unwrap();
    assert_eq!(federated.about["scopes"], json!([IAM]), "the client asks for no more than it needs");

    let elsewhere = federation(google, &provider, &file, Some(&other));
    assert!(judge.fails(&elsewhere).await.contains("PERMISSION_DENIED"));
    let bearer = |token: &str| json!({"headers": {"Authorization": format!("Bearer {token}")}});
    // A token that may do something else, and one whose time is over.
    let narrow = json!({"form": {"scope": "https://www.googleapis.com/auth/devstorage.read_only"}});
    let narrow = judge.again(&sent[0], narrow).await.1["access_token"].take();
    let refusals = [
        (json!({"headers": {"Authorization": null}}), 401, "UNAUTHENTICATED"),
        (bearer("guess"), 401, "UNAUTHENTICATED"),
        (bearer(identity["token"].as_str().unwrap()), 401, "UNAUTHENTICATED"),
        (bearer(narrow.as_str().unwrap()), 403, "PERMISSION_DENIED"),
        (json!({"json": {"scope": null}}), 400, "INVALID_ARGUMENT"),
        (json!({"json": {"scope": ["everything"]}}), 400, "INVALID_ARGUMENT"),
        (json!({"json": {"lifetime": "3601s"}}), 400, "INVALID_ARGUMENT"),
        (json!({"json": {"lifetime": "3600"}}), 400, "INVALID_ARGUMENT"),
    ];
    for (wrong, code, word) in refusals {
        let (status, body) = judge.again(&sent[1], wrong.clone()).await;
        assert_eq!((status, &body["error"]["status"]), (code, &word.into()), "{wrong}: {body}");
    }
    assert_eq!(judge.again(&sent[1], json!({})).await.0, 200);
    google.expire(&federated.token).await.unwrap();
    assert_eq!(judge.again(&sent[1], json!({})).await.0, 401);
}

#[tokio::test]
async fn a_machine_finds_the_token_of_its_account() {
    let Some((google, mut judge)) = court().await else { return };
    let step = json!({"machine": google.address()});
    google.set_machine(None, &[]).await.unwrap();
    judge.fails(&step).await;
    let email = google.make_account().await.unwrap();
    google.set_machine(Some(&email), &[PLATFORM]).await.unwrap();
    let (answer, sent) = judge.observed(&step).await;
    let issued = google.issued().await.unwrap();
    let token = issued.iter().find(|token| answer["token"] == token.token.as_str()).unwrap();
    assert_eq!((&token.principal, &token.about["scopes"]), (&email, &json!([PLATFORM])));

    let request = sent.last().unwrap();
    let answer = judge.take(&json!({"send": request})).await;
    assert_eq!((&answer["status"], &answer["headers"]["metadata-flavor"]), (&200.into(), &"Google".into()));
    for wrong in [
        json!({"metadata-flavor": null}),
        json!({"metadata-flavor": "Other"}),
        json!({"X-Forwarded-For": "192.0.2.1"}),
    ] {
        assert_eq!(judge.again(request, json!({"headers": wrong})).await.0, 403, "{wrong}");
    }
}

#[tokio::test]
async fn lives_are_as_long_as_was_set_last() {
    let Some((_, mut judge)) = court().await else { return };
    // Its own, because the others must not feel it.
    let google = Google::start().await.unwrap();
    let email = google.make_account().await.unwrap();
    let key = google.make_key(&email).await.unwrap();
    for life in [90, 3] {
        google.set_life(ACCESS, Duration::from_secs(life)).await.unwrap();
        let answer = judge.ok(&account_step(&google, &key)).await;
        let expected = life as f64;
        let said = seconds_until(&answer["expires"]);
        assert!((expected - 2.0..=expected).contains(&said), "{said} instead of {expected}");
        let token = google.issued().await.unwrap().pop().unwrap();
        let lives = token.expires.duration_since(token.at).unwrap().as_secs_f64();
        assert!((lives - expected).abs() < 0.002, "{lives}");
    }
}
