//! Registries of the emulated clouds let a real client pull with a live token, and with no other.

use std::path::PathBuf;

use imps_testbed::azure::{Application, NOBODY, Policy, TENANT};
use imps_testbed::github::Owner;
use imps_testbed::google::{PLATFORM, Provider};
use imps_testbed::registry::Registry;
use imps_testbed::skip::Missing;
use imps_testbed::{Azure, Github, Google, Login, Pull};
use serde_json::{Value, json};

use super::judge::{Judge, SUBJECT};

const IMAGE: &str = "shop/checkout:1.0";
/// Who pushes.
const PUSHER: Login<'_> = Login { user: "pusher", password: "made-up" };

fn can(cloud: Result<(), Missing>) -> bool {
    let missing = cloud.and_then(|()| Registry::available()).err();
    missing.iter().for_each(Missing::skip_or_fail);
    missing.is_none()
}

/// A client of one registry.
struct Client {
    registry: Registry,
    folder: tempfile::TempDir,
}

impl Client {
    async fn of(registry: Registry) -> Self {
        registry.push_image(IMAGE, PUSHER).await.unwrap();
        Self { registry, folder: tempfile::tempdir().unwrap() }
    }

    /// Whether this login pulls.
    async fn pulls(&self, user: &str, password: &str) -> bool {
        let config = self.registry.docker_config(Login { user, password });
        let file: PathBuf = self.folder.path().join(imps_testbed::fresh_name("config"));
        std::fs::write(&file, config).unwrap();
        match self.registry.pull(&file, IMAGE).await.unwrap() {
            Pull::Pulled => true,
            Pull::Refused(_) => false,
        }
    }
}

#[tokio::test]
async fn acr_lets_in_by_a_refresh_token_of_its_own() {
    if !can(Azure::available()) {
        return;
    }
    let azure = Azure::start().await.unwrap();
    let mut judge = Judge::of("azure");
    let application = azure.make_application(TENANT).await.unwrap();
    let client =
        Client::of(azure.start_registry("shop.azurecr.io", &[PUSHER], &Policy::OURS).await.unwrap()).await;
    azure.make_registry("other.azurecr.io", &Policy::OURS).await.unwrap();
    let ours = refresh_token(&azure, &mut judge, &application, "shop.azurecr.io").await;
    let theirs = refresh_token(&azure, &mut judge, &application, "other.azurecr.io").await;
    assert!(client.pulls(NOBODY, &ours).await);
    assert!(!client.pulls("somebody", &ours).await);
    assert!(!client.pulls(NOBODY, &theirs).await, "a token of another registry");
    let entra = azure.issued().await.unwrap().remove(0);
    for wrong in ["guess", &ours[..ours.len() - 1], &application.secret, &entra.token] {
        assert!(!client.pulls(NOBODY, wrong).await, "{wrong}");
    }
    azure.expire(&ours).await.unwrap();
    assert!(!client.pulls(NOBODY, &ours).await);
    let next = refresh_token(&azure, &mut judge, &application, "shop.azurecr.io").await;
    assert!(client.pulls(NOBODY, &next).await);
}

/// As the official client exchanges it.
async fn refresh_token(azure: &Azure, judge: &mut Judge, application: &Application, host: &str) -> String {
    azure.set_machine(&[application]).await.unwrap();
    let step = json!({
        "identity": {"machine": null}, "endpoint": azure.endpoint(), "service": host,
        "scopes": ["https://containerregistry.azure.net/.default"], "access": "repository:a:pull",
        "env": {"AZURE_POD_IDENTITY_AUTHORITY_HOST": azure.endpoint()},
    });
    judge.ok(&step).await["refresh"].as_str().unwrap().to_owned()
}

#[tokio::test]
async fn google_lets_in_by_an_access_token_or_a_key_of_a_reader() {
    if !can(Google::available()) {
        return;
    }
    let google = Google::start().await.unwrap();
    let mut judge = Judge::of("google");
    let (email, stranger) = (google.make_account().await.unwrap(), google.make_account().await.unwrap());
    let keys = judge.identity("any", json!({})).await["keys"].take();
    google.trust_issuer(&judge.issuer, &keys).await.unwrap();
    let provider = Provider { issuer: &judge.issuer, audiences: &[], subject: None };
    let provider = google.make_provider(&provider).await.unwrap();
    let principal = Google::principal(&provider, SUBJECT);
    let readers = [email.as_str(), &principal];
    let host = "europe-west1-docker.pkg.dev";
    let client = Client::of(google.start_registry(host, &[PUSHER], Some(&readers)).await.unwrap()).await;

    let key = google.make_key(&email).await.unwrap();
    let strangers = google.make_key(&stranger).await.unwrap();
    let of_key = async |judge: &mut Judge, key: &Value, scope: &str| {
        let endpoint = format!("{}/token", google.endpoint());
        let answer = judge.ok(&json!({"account": key, "endpoint": endpoint, "scopes": [scope]})).await;
        answer["token"].as_str().unwrap().to_owned()
    };
    let right = of_key(&mut judge, &key, PLATFORM).await;
    assert!(client.pulls("oauth2accesstoken", &right).await);
    let mail = "https://www.googleapis.com/auth/userinfo.email";
    let wrong = [
        of_key(&mut judge, &strangers, PLATFORM).await,
        of_key(&mut judge, &key, mail).await,
        right[..right.len() - 1].to_owned(),
        key.to_string(),
    ];
    for wrong in wrong {
        assert!(!client.pulls("oauth2accesstoken", &wrong).await, "{wrong}");
    }
    assert!(!client.pulls("somebody", &right).await);
    google.expire(&right).await.unwrap();
    assert!(!client.pulls("oauth2accesstoken", &right).await);

    // A workload without an account, which is a reader too.
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("token");
    let identity = judge.identity(&provider, json!({})).await;
    std::fs::write(&file, identity["token"].as_str().unwrap()).unwrap();
    let external = json!({
        "type": "external_account", "audience": provider,
        "subject_token_type": "urn:ietf:params:oauth:token-type:jwt",
        "token_url": format!("{}/v1/token", google.endpoint()), "credential_source": {"file": file},
    });
    let federated = judge.ok(&json!({ "external": external })).await["token"].take();
    assert!(client.pulls("oauth2accesstoken", federated.as_str().unwrap()).await);

    // The key itself, which is good until it is deleted.
    assert!(client.pulls("_json_key", &key.to_string()).await);
    let mut mixed = key.clone();
    mixed["private_key"] = strangers["private_key"].clone();
    for wrong in [strangers.to_string(), mixed.to_string(), "{}".to_owned(), right] {
        assert!(!client.pulls("_json_key", &wrong).await, "{wrong}");
    }
    google.delete_key(&key).await.unwrap();
    assert!(!client.pulls("_json_key", &key.to_string()).await);
}

#[tokio::test]
async fn github_lets_in_by_a_token_that_may_read_packages() {
    if !can(Github::available()) {
        return;
    }
    let github = Github::start().await.unwrap();
    let mut judge = Judge::of("github");
    let app = github.make_app().await.unwrap();
    let key = github.make_key(&app).await.unwrap();
    let granted = json!({"packages": "read", "metadata": "read"});
    let ours = github.install(&app, Owner::Organization("shop"), &granted).await.unwrap();
    let theirs = github.install(&app, Owner::Organization("other"), &granted).await.unwrap();
    let client =
        Client::of(github.start_registry("ghcr.io", &[PUSHER], Some(&["shop"])).await.unwrap()).await;
    let token = async |judge: &mut Judge, installation: u64, permissions: Value| {
        let step = json!({
            "endpoint": github.endpoint(), "issuer": app.id, "key": key, "installation": installation,
            "permissions": permissions,
        });
        judge.ok(&step).await["token"].as_str().unwrap().to_owned()
    };
    let right = token(&mut judge, ours, json!({"packages": "read"})).await;
    assert!(client.pulls("x-access-token", &right).await);
    let wrong = [
        token(&mut judge, ours, json!({"metadata": "read"})).await,
        token(&mut judge, theirs, json!({"packages": "read"})).await,
        // As far as bcrypt would read, it is the right one.
        format!("{}x", &right[..right.len() - 1]),
        "guess".to_owned(),
    ];
    for wrong in wrong {
        assert!(!client.pulls("x-access-token", &wrong).await, "{wrong}");
    }
    github.expire(&right).await.unwrap();
    assert!(!client.pulls("x-access-token", &right).await);
}
