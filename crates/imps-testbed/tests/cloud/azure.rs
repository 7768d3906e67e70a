//! The emulated Azure, judged by azure-identity and azure-containerregistry.

use std::time::Duration;

use imps_testbed::azure::{AUTHORITY, Application, ENTRA, OTHER_TENANT, Policy, REFRESH, TENANT};
use imps_testbed::registry::Registry;
use imps_testbed::{Azure, Login, fresh_name};
use serde_json::{Value, json};
use tokio::sync::OnceCell;

use super::judge::{Judge, SUBJECT, with};

/// What a token is asked for that is to be exchanged.
const SCOPE: &str = "https://containerregistry.azure.net/.default";
/// What the exchange of an older client asks for.
const OLDER_SCOPE: &str = "https://management.core.windows.net/.default";
/// Whom the token of a workload is for.
const AUDIENCE: &str = "api://AzureADTokenExchange";
const PUSHER: Login<'_> = Login { user: "pusher", password: "made-up" };
const IMAGE: &str = "shop/checkout:1.0";

static AZURE: OnceCell<Azure> = OnceCell::const_new();

/// The cloud that the tests of this file share, and a judge.
async fn court() -> Option<(&'static Azure, Judge)> {
    if let Err(missing) = Azure::available() {
        missing.skip_or_fail();
        return None;
    }
    Some((AZURE.get_or_try_init(Azure::start).await.unwrap(), Judge::of("azure")))
}

/// The same with a registry of a name of its own, whose gate leads official clients, who want TLS, to this Azure.
async fn court_with_registry(policy: &Policy<'_>) -> Option<(&'static Azure, Judge, Registry)> {
    let (azure, judge) = court().await?;
    if let Err(missing) = Registry::available() {
        missing.skip_or_fail();
        return None;
    }
    let host = format!("{}.azurecr.io", fresh_name("shop"));
    let registry = azure.start_registry(&host, &[PUSHER], policy).await.unwrap();
    registry.push_image(IMAGE, PUSHER).await.unwrap();
    Some((azure, judge, registry))
}

fn environment(registry: &Registry) -> Value {
    registry
        .environment_for_python()
        .into_iter()
        .map(|(name, value)| (name.to_owned(), json!(value)))
        .collect()
}

fn secret_of(application: &Application) -> Value {
    let Application { tenant, client, secret } = application;
    json!({"tenant": tenant, "client": client, "secret": secret})
}

fn token_step(registry: &Registry, identity: &Value) -> Value {
    json!({"identity": identity, "scope": SCOPE, "env": environment(registry)})
}

fn image_step(registry: &Registry, identity: &Value) -> Value {
    json!({"identity": identity, "registry": registry.address(), "image": IMAGE, "env": environment(registry)})
}

/// The request for a token among those that a client has sent.
fn asked_for_token(sent: &[Value]) -> Value {
    let is_it = |request: &&Value| request["url"].as_str().unwrap().ends_with("/oauth2/v2.0/token");
    sent.iter().find(is_it).unwrap().clone()
}

#[tokio::test]
async fn an_application_gets_a_token_for_its_secret() {
    let Some((azure, mut judge, registry)) = court_with_registry(&Policy::OURS).await else { return };
    let application = azure.make_application(TENANT).await.unwrap();
    let elsewhere = azure.make_application(OTHER_TENANT).await.unwrap();
    let right = secret_of(&application);
    let (answer, sent) = judge.observed(&token_step(&registry, &right)).await;
    let issued = azure.issued().await.unwrap();
    let token = issued.iter().find(|token| answer["token"] == token.token.as_str()).unwrap();
    assert_eq!((token.kind.as_str(), &token.principal), (ENTRA, &application.client));
    assert_eq!(token.about["resource"], SCOPE.trim_end_matches("/.default"));
    for (change, number) in [
        (json!({"secret": "guess"}), "AADSTS7000215"),
        (json!({"client": elsewhere.client}), "AADSTS700016"),
        (json!({"tenant": OTHER_TENANT}), "AADSTS700016"),
    ] {
        let words = judge.fails(&token_step(&registry, &with(&right, change))).await;
        assert!(words.contains(number), "{words}");
    }

    // What the client sent is taken again, and not with any one thing changed; here without TLS.
    let mut request = asked_for_token(&sent);
    let url = request["url"].as_str().unwrap().replace(&format!("https://{AUTHORITY}"), &azure.endpoint());
    request["url"] = url.as_str().into();
    for form in
        [json!({}), json!({"scope": OLDER_SCOPE}), json!({"scope": "https://management.azure.com//.default"})]
    {
        assert_eq!(judge.again(&request, json!({"form": form})).await.0, 200, "{form}");
    }
    let chunked = judge.take(&json!({"send": request, "chunked": true})).await;
    assert_eq!(chunked["status"], 200, "{chunked}");
    let refusals = [
        (json!({"grant_type": "password"}), 400, "unsupported_grant_type"),
        (json!({"grant_type": null}), 400, "unsupported_grant_type"),
        (json!({"scope": "https://containerregistry.azure.net"}), 400, "invalid_scope"),
        (json!({"scope": "https://vault.example/.default"}), 400, "invalid_scope"),
        (json!({"scope": null}), 400, "invalid_scope"),
        (json!({"client_id": null}), 400, "unauthorized_client"),
        (json!({"client_secret": null}), 401, "invalid_client"),
        (json!({"client_secret": elsewhere.secret}), 401, "invalid_client"),
    ];
    for (form, code, error) in refusals {
        let (status, body) = judge.again(&request, json!({"form": form})).await;
        assert_eq!((status, &body["error"]), (code, &error.into()), "{form}: {body}");
    }
    request["url"] = url.replace(TENANT, "55555555-0000-4000-8000-000000000000").into();
    assert_eq!(judge.again(&request, json!({})).await.1["error"], "invalid_request");
    azure.set_secrets(&application, &["next"]).await.unwrap();
    assert!(judge.fails(&token_step(&registry, &right)).await.contains("AADSTS7000215"));
}

#[tokio::test]
async fn an_application_gets_a_token_for_that_of_a_workload_that_it_trusts() {
    let Some((azure, mut judge, registry)) = court_with_registry(&Policy::OURS).await else { return };
    let application = azure.make_application(TENANT).await.unwrap();
    let other = azure.make_application(TENANT).await.unwrap();
    let right = judge.identity(AUDIENCE, json!({})).await;
    azure.trust_issuer(&judge.issuer, &right["keys"]).await.unwrap();
    azure.trust(&application, &judge.issuer, SUBJECT).await.unwrap();
    let asserted = |application: &Application, identity: &Value| {
        let Application { tenant, client, .. } = application;
        json!({"tenant": tenant, "client": client, "assertion": identity["token"]})
    };
    let (_, sent) = judge.observed(&token_step(&registry, &asserted(&application, &right))).await;
    for (change, number) in [
        (json!({"stranger": true}), "AADSTS7000272"),
        (json!({"issuer": "https://other.example"}), "AADSTS700211"),
        (json!({"audience": "sts.amazonaws.com"}), "AADSTS700212"),
        (json!({"lives": -60}), "AADSTS700024"),
        (json!({"subject": "system:serviceaccount:a:c"}), "AADSTS700213"),
    ] {
        let wrong = judge.identity(AUDIENCE, change.clone()).await;
        let words = judge.fails(&token_step(&registry, &asserted(&application, &wrong))).await;
        assert!(words.contains(number), "{change}: {words}");
    }
    let words = judge.fails(&token_step(&registry, &asserted(&other, &right))).await;
    assert!(words.contains("AADSTS700211"), "{words}");
    let mut request = asked_for_token(&sent);
    let url = request["url"].as_str().unwrap().replace(&format!("https://{AUTHORITY}"), &azure.endpoint());
    request["url"] = url.into();
    assert_eq!(judge.again(&request, json!({})).await.0, 200);
    let (status, body) = judge.again(&request, json!({"form": {"client_assertion_type": null}})).await;
    assert_eq!((status, &body["error"]), (400, &"invalid_request".into()), "{body}");
}

#[tokio::test]
async fn a_machine_finds_the_tokens_of_its_identities() {
    let Some((azure, mut judge)) = court().await else { return };
    let (first, second) =
        (azure.make_application(TENANT).await.unwrap(), azure.make_application(TENANT).await.unwrap());
    azure.set_machine(&[&first, &second]).await.unwrap();
    let step = |client: Value| {
        let env = json!({"AZURE_POD_IDENTITY_AUTHORITY_HOST": azure.endpoint()});
        json!({"identity": {"machine": client}, "scope": SCOPE, "env": env})
    };
    let mut sent = Vec::new();
    for (client, expected) in [(Value::Null, &first), (json!(second.client), &second)] {
        let answer;
        (answer, sent) = judge.observed(&step(client)).await;
        let issued = azure.issued().await.unwrap();
        let token = issued.iter().find(|token| answer["token"] == token.token.as_str()).unwrap();
        assert_eq!(token.principal, expected.client);
    }
    judge.fails(&step(json!("66666666-0000-4000-8000-000000000000"))).await;
    let request = sent.last().unwrap();
    assert_eq!(judge.again(request, json!({})).await.0, 200);
    for wrong in [
        json!({"headers": {"Metadata": null}}),
        json!({"headers": {"X-Forwarded-For": "192.0.2.1"}}),
        json!({"query": {"api-version": null}}),
        json!({"query": {"api-version": "2017-01-01"}}),
        json!({"query": {"resource": null}}),
        json!({"query": {"resource": "https://vault.example/"}}),
    ] {
        assert_eq!(judge.again(request, wrong.clone()).await.0, 400, "{wrong}");
    }
    azure.set_machine(&[]).await.unwrap();
    judge.fails(&step(Value::Null)).await;
}

#[tokio::test]
async fn the_official_client_reads_an_image_of_a_registry_by_its_own_exchange() {
    let policy = Policy { management: false, ..Policy::OURS };
    let Some((azure, mut judge, registry)) = court_with_registry(&policy).await else { return };
    let application = azure.make_application(TENANT).await.unwrap();
    let step = image_step(&registry, &secret_of(&application));
    let digest = judge.ok(&step).await["digest"].take();
    assert!(digest.as_str().unwrap().starts_with("sha256:"), "{digest}");
    let calls = azure.calls().await.unwrap();
    let about = |operation: &str| {
        let call = calls.iter().rfind(|call| call.operation == operation && call.error.is_none());
        call.unwrap().principal.clone().unwrap()
    };
    assert_eq!(
        (about("exchange"), about("registry-token")),
        (application.client.clone(), application.client.clone())
    );

    let elsewhere = azure.make_application(OTHER_TENANT).await.unwrap();
    let words = judge.fails(&image_step(&registry, &secret_of(&elsewhere))).await;
    assert!(words.contains("authentication required"), "{words}");
}

#[tokio::test]
async fn the_exchange_takes_the_live_token_of_an_application_that_may_pull() {
    let Some((azure, mut judge)) = court().await else { return };
    let (application, stranger, elsewhere) = (
        azure.make_application(TENANT).await.unwrap(),
        azure.make_application(TENANT).await.unwrap(),
        azure.make_application(OTHER_TENANT).await.unwrap(),
    );
    let readers = [application.client.as_str()];
    let policy = Policy { readers: Some(&readers), ..Policy::OURS };
    let (host, strict) =
        (format!("{}.azurecr.io", fresh_name("a")), format!("{}.azurecr.io", fresh_name("b")));
    azure.make_registry(&host, &policy).await.unwrap();
    azure.make_registry(&strict, &Policy { management: false, ..policy }).await.unwrap();
    let token = async |judge: &mut Judge, of: &Application, scope: &str| {
        let form = format!(
            "grant_type=client_credentials&client_id={}&client_secret={}&scope={scope}",
            of.client, of.secret
        );
        let request = json!({
            "method": "POST", "url": format!("{}/{}/oauth2/v2.0/token", azure.endpoint(), of.tenant), "body": form,
            "headers": {"Content-Type": "application/x-www-form-urlencoded"},
        });
        let (status, body) = judge.again(&request, json!({})).await;
        assert_eq!(status, 200, "{body}");
        body["access_token"].as_str().unwrap().to_owned()
    };
    let bearer = token(&mut judge, &application, SCOPE).await;
    let exchange = json!({
        "identity": {"bearer": bearer}, "endpoint": azure.endpoint(), "service": host, "scopes": [SCOPE],
        "access": "repository:shop/checkout:pull",
    });
    let (answer, sent) = judge.observed(&exchange).await;
    let issued = azure.issued().await.unwrap();
    let refresh = issued.iter().find(|token| answer["refresh"] == token.token.as_str()).unwrap();
    assert_eq!((refresh.kind.as_str(), &refresh.about["host"]), (REFRESH, &json!(host)));

    let strangers = token(&mut judge, &stranger, SCOPE).await;
    let theirs = token(&mut judge, &elsewhere, SCOPE).await;
    let managing = token(&mut judge, &application, OLDER_SCOPE).await;
    let graph = token(&mut judge, &application, "https://graph.microsoft.com/.default").await;
    for form in
        [json!({}), json!({"tenant": TENANT}), json!({"access_token": managing}), json!({"service": strict})]
    {
        assert_eq!(judge.again(&sent[0], json!({"form": form})).await.0, 200, "{form}");
    }
    let refusals = [
        (json!({"grant_type": "refresh_token"}), 400),
        (json!({"grant_type": null}), 400),
        (json!({"service": "other.azurecr.io"}), 401),
        (json!({"service": null}), 401),
        (json!({"tenant": OTHER_TENANT}), 401),
        (json!({"access_token": null}), 401),
        (json!({"access_token": format!("{bearer}x")}), 401),
        (json!({"access_token": strangers}), 401),
        (json!({"access_token": theirs}), 401),
        (json!({"access_token": theirs, "tenant": OTHER_TENANT}), 401),
        (json!({"access_token": graph}), 401),
        (json!({"access_token": refresh.token}), 401),
        (json!({"access_token": managing, "service": strict}), 401),
    ];
    for (form, code) in refusals {
        let (status, body) = judge.again(&sent[0], json!({"form": form})).await;
        assert_eq!(status, code, "{form}: {body}");
    }
    // A token for one repository, by the refresh token.
    assert_eq!(judge.again(&sent[1], json!({})).await.0, 200);
    for form in
        [json!({"grant_type": "access_token"}), json!({"refresh_token": bearer}), json!({"service": strict})]
    {
        let (status, body) = judge.again(&sent[1], json!({"form": form})).await;
        assert_eq!(status, 401, "{form}: {body}");
    }
    azure.expire(&refresh.token).await.unwrap();
    assert_eq!(judge.again(&sent[1], json!({})).await.0, 401);
    azure.expire(&bearer).await.unwrap();
    assert_eq!(judge.again(&sent[0], json!({})).await.0, 401);
}

#[tokio::test]
async fn lives_are_as_long_as_was_set_last() {
    let Some((_, mut judge)) = court().await else { return };
    // Its own, because the others must not feel it.
    let azure = Azure::start().await.unwrap();
    let application = azure.make_application(TENANT).await.unwrap();
    azure.make_registry("shop.azurecr.io", &Policy::OURS).await.unwrap();
    azure.set_machine(&[&application]).await.unwrap();
    let (brief, briefer) = (Duration::from_secs(90), Duration::from_secs(60));
    azure.set_life(ENTRA, brief).await.unwrap();
    azure.set_life(REFRESH, briefer).await.unwrap();
    let env = json!({"AZURE_POD_IDENTITY_AUTHORITY_HOST": azure.endpoint()});
    let step = json!({
        "identity": {"machine": null}, "endpoint": azure.endpoint(), "service": "shop.azurecr.io",
        "scopes": [SCOPE], "access": "repository:a:pull", "env": env,
    });
    let said = judge.ok(&step).await["expires"].as_f64().unwrap();
    let issued = azure.issued().await.unwrap();
    let lives: Vec<_> = issued
        .iter()
        .map(|token| token.expires.duration_since(token.at).unwrap().as_secs_f64().round())
        .collect();
    assert_eq!(lives, [brief.as_secs_f64(), briefer.as_secs_f64()]);
    // The client reads it in the token itself.
    let expires = issued[1].expires.duration_since(std::time::SystemTime::UNIX_EPOCH).unwrap().as_secs_f64();
    assert!((said - expires).abs() <= 1.0, "{said} is not {expires}");
}
