//! Registries of Azure: what their Secrets ask for, and the dialogues, with a cloud in this process that is good or
//! lies.

#![allow(clippy::unwrap_used, reason = "a dialogue that cannot be played has failed")]

mod support;

use std::process::Stdio;

use imps_core::exchange::{ExchangeFaultClass, Keyless};
use imps_core::name::SecretRef;
use imps_core::source::Document;
use imps_registry::read;
use proptest::prelude::*;
use serde_json::json;
use support::{
    Changes, Cloud, NOW, Reply, at, changed, claims, exchanged, flaw, issued, order, order_at, registries,
    typed,
};

const TYPE: &str = "images.banzaicloud.io/acr";
const USER: &str = "00000000-0000-0000-0000-000000000000";
const TENANT: &str = "11111111-2222-3333-4444-555555555555";
const CLIENT: &str = "66666666-7777-8888-9999-000000000000";
const SCOPE: &str = "https://containerregistry.azure.net/.default";

fn with(changes: &Changes<'_>) -> Document {
    changed(typed(TYPE, &[("registry", "team.azurecr.io")]), changes)
}

fn by_secret(changes: &Changes<'_>) -> Document {
    let usual =
        [("tenantID", Some(TENANT)), ("clientID", Some(CLIENT)), ("clientSecret", Some("canary~secret"))];
    changed(with(&usual), changes)
}

fn by_account(changes: &Changes<'_>) -> Document {
    let usual =
        [("tenantID", Some(TENANT)), ("clientID", Some(CLIENT)), ("serviceAccountName", Some("puller"))];
    changed(with(&usual), changes)
}

/// Microsoft Entra, the metadata service and the registry in one, whose tokens live for three hours.
async fn azure() -> Cloud {
    Cloud::start(|asked| match asked.line.contains("/oauth2/exchange") {
        true => Reply::ok(json!({"refresh_token": refresh_token()}).to_string()),
        false => Reply::ok(json!({"access_token": "entra-token", "expires_in": "86399"}).to_string()),
    })
    .await
}

fn refresh_token() -> String {
    claims(&json!({"exp": NOW + 3 * 3600, "aud": "team.azurecr.io"}))
}

fn to(cloud: &Cloud) -> [(&'static str, Option<&str>); 2] {
    [("authorityEndpoint", Some(&cloud.url)), ("registryEndpoint", Some(&cloud.url))]
}

// === reading ===

#[test]
fn a_token_is_for_the_one_registry_that_is_named() {
    for registry in ["team.azurecr.io", " https://TEAM.azurecr.io/\n", "team.azurecr.io, team.azurecr.io"] {
        let found = order(&by_secret(&[("registry", Some(registry))]));
        assert_eq!(registries(&found), ["team.azurecr.io"], "{registry}");
        assert_eq!((found.provider, found.lane.as_str(), found.keyless), ("acr", "acr/public", None));
    }
    for registry in ["team.azurecr.cn", "team.azurecr.us", "team.azurecr.de", "team-a1b2c3.azurecr.io"] {
        assert_eq!(registries(&order(&by_secret(&[("registry", Some(registry))]))), [registry]);
    }
}

#[test]
fn what_entra_gives_is_never_shown_to_a_stranger() {
    for registry in [
        "registry.example",
        "azurecr.io",
        ".azurecr.io",
        "teamazurecr.io",
        "team.azurecr.io.evil.example",
        "team.azurecr.io:8443",
        "team.azurecr.io/path",
        "team.region.data.azurecr.io",
        "team.azurecr.com",
        "*.azurecr.io",
        "x@team.azurecr.io",
        "127.0.0.1",
    ] {
        for document in [by_secret(&[]), by_account(&[]), with(&[])] {
            let flaw = flaw(&changed(document, &[("registry", Some(registry))]));
            assert_eq!(flaw.key, "registry", "{registry}");
        }
    }
    let several = flaw(&by_secret(&[("registry", Some("a.azurecr.io,b.azurecr.io"))]));
    assert!(several.problem.contains("a Secret for each"), "{several}");
}

#[test]
fn the_cloud_follows_from_the_registry_unless_it_is_given() {
    for (registry, cloud, lane) in [
        ("team.azurecr.io", None, "acr/public"),
        ("team.azurecr.cn", None, "acr/china"),
        ("team.azurecr.us", None, "acr/us-government"),
        ("team.azurecr.de", None, "acr/public"),
        ("team.azurecr.io", Some("china"), "acr/china"),
        ("team.azurecr.cn", Some("public"), "acr/public"),
    ] {
        assert_eq!(order(&by_secret(&[("registry", Some(registry)), ("cloud", cloud)])).lane, lane);
    }
}

#[test]
fn without_a_secret_another_identity_is_meant() {
    let account = order(&by_account(&[]));
    assert_eq!(account.keyless, Some(Keyless::ServiceAccount("puller".into())));
    let other = order_at(&SecretRef::new("other", "acr"), &by_account(&[]));
    assert_ne!(other.key, account.key, "the name means another ServiceAccount there");
    for document in [with(&[]), with(&[("clientID", Some(CLIENT))]), with(&[("tenantID", Some(TENANT))])] {
        let ambient = order(&document);
        assert_eq!((ambient.keyless, ambient.lane.as_str()), (Some(Keyless::Ambient), "acr/metadata"));
    }
}

#[test]
fn a_flaw_names_the_key_and_quotes_nothing() {
    let stranger = Some("https://canary.example");
    #[rustfmt::skip]
    let cases = [
        ("registry", by_secret(&[("registry", None)])),
        ("tenantID", by_secret(&[("tenantID", None)])),
        ("tenantID", by_secret(&[("tenantID", Some("canary/x"))])),
        ("tenantID", by_secret(&[("tenantID", Some("canary?x"))])),
        ("tenantID", by_account(&[("tenantID", None)])),
        ("clientID", by_secret(&[("clientID", None)])),
        ("clientID", by_secret(&[("clientID", Some("canary&x"))])),
        ("clientID", by_account(&[("clientID", None)])),
        ("clientSecret", by_secret(&[("clientSecret", Some("\n"))])),
        ("clientSecret", by_secret(&[("clientSecret", Some("can ary"))])),
        ("serviceAccountName", by_secret(&[("serviceAccountName", Some("canary"))])),
        ("serviceAccountName", by_account(&[("serviceAccountName", Some("Canary"))])),
        ("cloud", by_secret(&[("cloud", Some("canary"))])),
        ("authorityEndpoint", by_secret(&[("authorityEndpoint", Some("http://canary.example"))])),
        ("authorityEndpoint", by_account(&[("authorityEndpoint", stranger)])),
        ("authorityEndpoint", by_account(&[("authorityEndpoint", Some("https://login.microsoftonline.com.canary.x"))])),
        ("authorityEndpoint", with(&[("authorityEndpoint", stranger)])),
        ("registryEndpoint", by_secret(&[("registryEndpoint", stranger)])),
        ("registryEndpoint", by_account(&[("registryEndpoint", stranger)])),
        ("metadataEndpoint", with(&[("metadataEndpoint", stranger)])),
        ("metadataEndpoint", by_secret(&[("metadataEndpoint", Some("http://127.0.0.1:1"))])),
    ];
    for (number, (key, document)) in cases.iter().enumerate() {
        assert_eq!(flaw(document).key, *key, "case {number}");
    }
    order(&by_secret(&[("authorityEndpoint", Some("https://own.example"))]));
    order(&by_account(&[("authorityEndpoint", Some("https://login.partner.microsoftonline.cn"))]));
    order(&with(&[("metadataEndpoint", Some("http://127.0.0.1:1"))]));
}

#[test]
fn all_that_decides_what_a_token_may_do_is_in_its_key_and_nothing_else() {
    let usual = order(&by_secret(&[])).key;
    for change in [
        ("registry", Some("other.azurecr.io")),
        ("tenantID", Some("other.example")),
        ("clientID", Some("other")),
        ("clientSecret", Some("other")),
        ("cloud", Some("china")),
        ("authorityEndpoint", Some("https://own.example")),
        ("registryEndpoint", Some("http://127.0.0.1:1")),
    ] {
        assert_ne!(order(&by_secret(&[change])).key, usual, "{}", change.0);
    }
    for change in [("cloud", Some("public")), ("somethingElse", Some("x"))] {
        assert_eq!(order(&by_secret(&[change])).key, usual, "{}", change.0);
    }
    let ambient = order(&with(&[])).key;
    for change in [
        ("clientID", Some("other")),
        ("tenantID", Some("other")),
        ("metadataEndpoint", Some("http://127.0.0.1:1")),
    ] {
        assert_ne!(order(&with(&[change])).key, ambient, "{}", change.0);
    }
    let other = order_at(&SecretRef::new("other", "name"), &with(&[]));
    assert_eq!(other.key, ambient, "the identity of imps is one wherever it is asked for");
    assert_ne!(order(&by_account(&[])).key, order(&by_account(&[("serviceAccountName", Some("other"))])).key);
}

proptest! {
    #[test]
    fn knowing_the_client_alone_never_gives_the_key(a in "[!-~]{1,40}", b in "[!-~]{1,40}") {
        let key = |secret: &str| order(&by_secret(&[("clientSecret", Some(secret))])).key;
        prop_assert_eq!(key(&a) == key(&b), a == b);
    }

    #[test]
    fn whatever_is_in_a_secret_reading_it_ends_well(
        key in prop::sample::select(vec!["registry", "tenantID", "clientID", "clientSecret", "serviceAccountName",
            "cloud", "authorityEndpoint", "registryEndpoint", "metadataEndpoint"]),
        value in prop::collection::vec(any::<u8>(), 0..60),
    ) {
        for mut document in [by_secret(&[]), by_account(&[]), with(&[])] {
            document.data.insert(key.into(), value.clone().into());
            let read = read(&at(), &document).expect("the type is known");
            prop_assert!(read.is_ok() || read.is_err_and(|flaw| !flaw.key.is_empty()));
        }
    }
}

// === dialogues ===

fn fields(cloud: &Cloud, number: usize, names: &[&str]) -> Vec<String> {
    let asked = &cloud.asked()[number];
    names.iter().map(|name| asked.field(name).unwrap_or_default()).collect()
}

#[tokio::test]
async fn the_secret_of_an_application_becomes_the_registrys_own_token() {
    let cloud = azure().await;
    let answer = exchanged(&by_secret(&to(&cloud))).await.unwrap();
    // By the clock of the registry, which is years from ours.
    assert_eq!(issued(&answer), (USER, refresh_token().as_str(), Some(3 * 3600)));
    let lines: Vec<String> = cloud.asked().into_iter().map(|asked| asked.line).collect();
    let authority = format!("POST /{TENANT}/oauth2/v2.0/token HTTP/1.1");
    assert_eq!(lines, [authority.as_str(), "POST /oauth2/exchange HTTP/1.1"]);
    assert_eq!(
        fields(&cloud, 0, &["grant_type", "scope", "client_id", "client_secret", "client_assertion"]),
        ["client_credentials", SCOPE, CLIENT, "canary~secret", ""]
    );
    assert_eq!(
        fields(&cloud, 1, &["grant_type", "service", "tenant", "access_token"]),
        ["access_token", "team.azurecr.io", TENANT, "entra-token"]
    );
}

#[tokio::test]
async fn a_service_account_asserts_who_it_is() {
    let cloud = azure().await;
    let answer = exchanged(&by_account(&to(&cloud))).await.unwrap();
    assert_eq!(issued(&answer), (USER, refresh_token().as_str(), Some(3 * 3600)));
    let names =
        ["grant_type", "scope", "client_id", "client_assertion_type", "client_assertion", "client_secret"];
    let expected = [
        "client_credentials",
        SCOPE,
        CLIENT,
        "urn:ietf:params:oauth:client-assertion-type:jwt-bearer",
        "token.of.registry-access.puller.for.api://AzureADTokenExchange",
        "",
    ];
    assert_eq!(fields(&cloud, 0, &names), expected);
    assert_eq!(fields(&cloud, 1, &["tenant", "access_token"]), [TENANT, "entra-token"]);
}

#[tokio::test]
async fn the_managed_identity_of_the_node_is_asked_for_by_its_client_id_or_without() {
    let path = "/metadata/identity/oauth2/token?api-version=2018-02-01";
    let resource = format!("{path}&resource=https%3A%2F%2Fcontainerregistry.azure.net");
    for (client, query) in [(None, String::new()), (Some(CLIENT), format!("&client_id={CLIENT}"))] {
        let cloud = azure().await;
        let [_, registry] = to(&cloud);
        let document = with(&[registry, ("metadataEndpoint", Some(&cloud.url)), ("clientID", client)]);
        let answer = exchanged(&document).await.unwrap();
        assert_eq!(issued(&answer), (USER, refresh_token().as_str(), Some(3 * 3600)));
        let asked = cloud.asked();
        assert_eq!(asked[0].line, format!("GET {resource}{query} HTTP/1.1"));
        assert_eq!((asked[0].header("metadata"), asked[0].field("tenant")), ("true", None));
        assert_eq!(fields(&cloud, 1, &["service", "tenant"]), ["team.azurecr.io", ""]);
    }
}

#[tokio::test]
async fn an_end_is_believed_only_when_it_is_to_come() {
    for (token, expected) in [
        (claims(&json!({"exp": NOW + 7})), Some(7)),
        (claims(&json!({"exp": NOW as f64 + 7.5})), Some(7)),
        (claims(&json!({"exp": NOW})), None),
        (claims(&json!({"exp": 1})), None),
        (claims(&json!({"exp": "tomorrow"})), None),
        (claims(&json!({"exp": -1})), None),
        (claims(&json!({})), None),
        (claims(&json!([])), None),
        ("opaque".to_owned(), None),
        ("a.%%%.c".to_owned(), None),
    ] {
        let text = token.clone();
        let cloud = Cloud::start(move |asked| match asked.line.contains("exchange") {
            true => Reply::ok(json!({"refresh_token": text}).to_string()),
            false => Reply::ok(json!({"access_token": "x"}).to_string()),
        })
        .await;
        let answer = exchanged(&by_secret(&to(&cloud))).await.unwrap();
        assert_eq!(issued(&answer), (USER, token.as_str(), expected));
    }
}

#[tokio::test]
async fn each_refusal_says_what_to_look_at() {
    use ExchangeFaultClass::*;
    let entra = |number: u32| {
        json!({"error": "invalid_client", "error_description": "canary", "error_codes": [number]}).to_string()
    };
    let registry = |code: &str| json!({"errors": [{"code": code, "message": "canary"}]}).to_string();
    #[rustfmt::skip]
    let cases = [
        ("token", 401, entra(7000215), Denied, "AADSTS7000215", "the value of the secret, not its ID"),
        ("token", 401, entra(7000222), Denied, "AADSTS7000222", "expired"),
        ("token", 400, entra(700016), Denied, "AADSTS700016", "clientID"),
        ("token", 400, entra(90002), Denied, "AADSTS90002", "tenantID"),
        ("token", 401, entra(700213), Denied, "AADSTS700213", "api://AzureADTokenExchange"),
        ("token", 401, entra(1), Denied, "AADSTS1", "federated credential"),
        ("token", 400, entra(90055), Throttled, "AADSTS90055", "by itself"),
        ("token", 503, String::new(), Unreachable, "HTTP 503", "by itself"),
        ("exchange", 401, registry("UNAUTHORIZED"), Denied, "UNAUTHORIZED", "AcrPull"),
        ("exchange", 403, registry("DENIED"), Denied, "DENIED", "AcrPull"),
        ("exchange", 404, String::new(), Denied, "HTTP 404", "look at registry"),
        ("exchange", 429, registry("TOOMANYREQUESTS"), Throttled, "TOOMANYREQUESTS", "by itself"),
    ];
    for (place, status, body, class, code, words) in cases {
        let cloud = Cloud::start(move |asked| match asked.line.contains(place) {
            true => Reply::status(status, body.clone()),
            false => Reply::ok(json!({"access_token": "x"}).to_string()),
        })
        .await;
        let fault = exchanged(&by_secret(&to(&cloud))).await.unwrap_err();
        assert_eq!((fault.class, fault.code.as_str()), (class, code), "{place} {status}: {fault}");
        assert!(fault.advice.contains(words) && !fault.to_string().contains("canary"), "{fault}");
    }
    for (status, class) in [(400, Denied), (404, Unreachable), (410, Unreachable), (429, Throttled)] {
        let cloud = Cloud::always(Reply::status(status, "{\"error\":\"invalid_request\"}")).await;
        let fault = exchanged(&with(&[("metadataEndpoint", Some(&cloud.url))])).await.unwrap_err();
        assert_eq!(fault.class, class, "{status}: {fault}");
    }
}

// === the environment ===

/// Where a child writes what came of its exchange.
const OUTCOME: &str = "IMPS_TEST_OUTCOME";
/// Where its cloud is.
const CLOUD: &str = "IMPS_TEST_CLOUD";

/// Runs the exchange of a test in a child with these variables, as they are those of a whole process, and returns its
/// outcome. In the child itself it carries the exchange out and returns nothing.
async fn outcome(
    test: &str,
    cloud: &Cloud,
    variables: &[(&str, &str)],
    more: &Changes<'_>,
) -> Option<String> {
    if let (Ok(url), Ok(file)) = (std::env::var(CLOUD), std::env::var(OUTCOME)) {
        let document = with(&[more, &[("registryEndpoint", Some(&url))]].concat());
        let text = match exchanged(&document).await {
            Ok(answer) => issued(&answer).0.to_owned(),
            Err(fault) => fault.to_string(),
        };
        std::fs::write(file, text).unwrap();
        return None;
    }
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("outcome");
    let status = tokio::process::Command::new(std::env::current_exe().unwrap())
        .args(["--exact", test])
        .env(CLOUD, &cloud.url)
        .env(OUTCOME, &file)
        .envs(variables.iter().copied())
        .stdout(Stdio::null())
        .status()
        .await
        .unwrap();
    assert!(status.success());
    Some(std::fs::read_to_string(file).unwrap())
}

#[tokio::test]
async fn the_workload_identity_of_imps_is_in_its_environment() {
    let cloud = azure().await;
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("token");
    std::fs::write(&file, "volume.token\n").unwrap();
    let variables = [
        ("AZURE_FEDERATED_TOKEN_FILE", file.to_str().unwrap()),
        ("AZURE_TENANT_ID", "tenant-of-imps"),
        ("AZURE_CLIENT_ID", "client-of-imps"),
        ("AZURE_AUTHORITY_HOST", cloud.url.as_str()),
        ("HTTP_PROXY", "http://127.0.0.1:1"),
        ("http_proxy", "http://127.0.0.1:1"),
    ];
    let test = "the_workload_identity_of_imps_is_in_its_environment";
    let Some(outcome) = outcome(test, &cloud, &variables, &[("clientID", Some(CLIENT))]).await else {
        return;
    };
    assert_eq!(outcome, USER);
    assert_eq!(cloud.asked()[0].line, "POST /tenant-of-imps/oauth2/v2.0/token HTTP/1.1");
    // Which of several is for the Secret to say.
    assert_eq!(fields(&cloud, 0, &["client_id", "client_assertion"]), [CLIENT, "volume.token"]);
    assert_eq!(fields(&cloud, 1, &["tenant"]), ["tenant-of-imps"]);
}

#[tokio::test]
async fn an_environment_that_cannot_be_used_is_named() {
    let cloud = azure().await;
    let variables = [
        ("AZURE_FEDERATED_TOKEN_FILE", "/no/such/canary"),
        ("AZURE_TENANT_ID", "tenant"),
        ("AZURE_CLIENT_ID", "client"),
    ];
    let test = "an_environment_that_cannot_be_used_is_named";
    let Some(outcome) = outcome(test, &cloud, &variables, &[]).await else { return };
    assert!(
        outcome.starts_with("unusable identity: the file that AZURE_FEDERATED_TOKEN_FILE names"),
        "{outcome}"
    );
    assert!(!outcome.contains("canary") && cloud.asked().is_empty());
}
