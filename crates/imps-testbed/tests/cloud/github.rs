//! The emulated GitHub, judged by PyJWT as GitHub's documentation uses it.

use std::time::SystemTime;

use imps_testbed::Github;
use imps_testbed::github::{App, INSTALLATION, Owner};
use serde_json::{Value, json};
use tokio::sync::OnceCell;

use super::judge::{Judge, with};

static GITHUB: OnceCell<Github> = OnceCell::const_new();

/// The cloud that the tests of this file share, and a judge.
async fn court() -> Option<(&'static Github, Judge)> {
    if let Err(missing) = Github::available() {
        missing.skip_or_fail();
        return None;
    }
    Some((GITHUB.get_or_try_init(Github::start).await.unwrap(), Judge::of("github")))
}

fn step(github: &Github, app: &App, key: &str, changes: Value) -> Value {
    let step = json!({"endpoint": github.endpoint(), "issuer": app.id, "key": key, "kind": "orgs"});
    with(&step, changes)
}

#[tokio::test]
async fn an_app_gets_a_token_of_the_installation_that_it_finds_by_its_owner() {
    let Some((github, mut judge)) = court().await else { return };
    let app = github.make_app().await.unwrap();
    let key = github.make_key(&app).await.unwrap();
    assert!(key.starts_with("-----BEGIN RSA PRIVATE KEY-----"), "as GitHub gives it");
    let granted = json!({"packages": "write", "metadata": "read"});
    let of_shop = github.install(&app, Owner::Organization("Shop"), &granted).await.unwrap();
    let of_ada = github.install(&app, Owner::User("ada"), &json!({"packages": "read"})).await.unwrap();
    let narrow = json!({"packages": "read"});
    let by_name = step(github, &app, &key, json!({"owner": "shop", "permissions": narrow}));
    let answer = judge.ok(&by_name).await;
    assert_eq!(answer["permissions"], narrow);
    let token = answer["token"].as_str().unwrap();
    assert!(token.starts_with("ghs_") && token.contains('.') && token.len() > 500, "{token}");
    let issued = github.issued().await.unwrap();
    let known = issued.iter().find(|known| known.token == token).unwrap();
    assert_eq!((known.kind.as_str(), known.principal.as_str()), (INSTALLATION, "Shop"));
    assert_eq!(known.about["installation"], of_shop);

    // A person, the whole grant, the client id, and a server of one's own, whose API has a path before it.
    let person = step(github, &app, &key, json!({"owner": "ada", "kind": "users"}));
    assert_eq!(judge.ok(&person).await["permissions"], narrow);
    let whole = json!({"installation": of_shop, "issuer": app.client});
    assert_eq!(judge.ok(&step(github, &app, &key, whole)).await["permissions"], granted);
    let server = json!({"installation": of_ada, "endpoint": github.endpoint() + "/api/v3"});
    judge.ok(&step(github, &app, &key, server)).await;

    for (change, status) in [
        (json!({"owner": "shop", "kind": "users"}), "404"),
        (json!({"owner": "nobody"}), "404"),
        (json!({"installation": of_ada, "permissions": {"packages": "write"}}), "422"),
        (json!({"installation": of_ada, "permissions": {"contents": "read"}}), "422"),
        (json!({"installation": of_ada + 1_000_000_000}), "404"),
    ] {
        let words = judge.fails(&step(github, &app, &key, change.clone())).await;
        assert!(words.starts_with(status), "{change}: {words}");
    }
    let other = github.make_app().await.unwrap();
    let others = github.make_key(&other).await.unwrap();
    let theirs = step(github, &other, &others, json!({"installation": of_shop}));
    assert!(judge.fails(&theirs).await.starts_with("404"));
    github.suspend(of_shop, true).await.unwrap();
    assert!(judge.fails(&by_name).await.starts_with("403"));
    github.suspend(of_shop, false).await.unwrap();
    judge.ok(&by_name).await;
}

#[tokio::test]
async fn the_token_of_an_app_is_worth_what_its_key_signed() {
    let Some((github, mut judge)) = court().await else { return };
    let app = github.make_app().await.unwrap();
    let (key, second) = (github.make_key(&app).await.unwrap(), github.make_key(&app).await.unwrap());
    let installation =
        github.install(&app, Owner::Organization("Shop"), &json!({"packages": "read"})).await.unwrap();
    let right = step(github, &app, &key, json!({"installation": installation}));
    let (_, sent) = judge.observed(&right).await;
    judge.ok(&step(github, &app, &second, json!({"installation": installation}))).await;

    let other = github.make_app().await.unwrap();
    let others = github.make_key(&other).await.unwrap();
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap().as_secs();
    let signed = |claims: Value| json!({"claims": claims, "key": key});
    let refusals = [
        (json!({"claims": {}, "key": others}), 401),
        (json!({"claims": {}, "key": "k".repeat(32), "header": {"alg": "HS256"}}), 401),
        (signed(json!({"iss": other.id})), 401),
        (signed(json!({"iss": "12"})), 404),
        (signed(json!({"iss": null})), 404),
        (signed(json!({"exp": now + 660})), 401),
        (signed(json!({"exp": now - 1, "iat": now - 300})), 401),
        (signed(json!({"exp": null})), 401),
        (signed(json!({"iat": now + 60})), 401),
        (signed(json!({"iat": null})), 401),
        (json!({"headers": {"Authorization": null}}), 401),
        (json!({"headers": {"Authorization": "Bearer guess"}}), 401),
        (json!({"headers": {"User-Agent": null}}), 403),
        (json!({"query": {}}), 201),
        (signed(json!({"exp": now + 300})), 201),
    ];
    for (change, expected) in refusals {
        let (status, body) = judge.again(&sent[0], change.clone()).await;
        assert_eq!(status, expected, "{change}: {body}");
    }
    github.delete_keys(&app).await.unwrap();
    assert!(judge.fails(&right).await.starts_with("401"));
}
