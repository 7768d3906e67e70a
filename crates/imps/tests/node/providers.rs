//! A pod for each provider: from what a source Secret says of an identity to an image that runs.
//!
//! The registries have the names of real ones, and those of clouds let in whom their cloud lets in. Pods name no pull
//! secret; they get it from their ServiceAccount, and containerd is not told of any login by anybody but the kubelet.

use std::collections::BTreeSet;
use std::time::Instant;

use futures::future::join_all;
use imps_testbed::aws::{Account, IssuedToken};
use imps_testbed::azure::{Policy, TENANT};
use imps_testbed::binaries::NodeBinaries;
use imps_testbed::github::Owner;
use imps_testbed::node::pod;
use imps_testbed::registry::Settings;
use imps_testbed::{
    Aws, Azure, ControlPlane, Github, Google, Login, Missing, Node, Options, Registry, Unshared,
};
use k8s_openapi::api::core::v1::ServiceAccount;
use kube::api::Api;
use serde_json::{Value, json};

use super::stage::{SHOP, Stage, TARGET, grant, inside, operator, say, source};

const IMAGE: &str = "team/hello:1";
/// Who pushes it. At a cloud that would be somebody with another token.
const PUSHER: Login<'static> = Login { user: "pusher", password: "made-up" };
const HUB: Login<'static> = Login { user: "company", password: "dckr_pat_made-up" };
const ROBOT: Login<'static> = Login { user: "robot", password: "also-made-up" };
/// Where the registry at Amazon is.
const REGION: &str = "eu-west-1";

#[tokio::test]
async fn a_pod_that_names_no_pull_secret_runs_with_the_credential_of_each_provider() {
    if !Unshared::is_inside()
        && let Err(missing) = available()
    {
        return missing.skip_or_fail();
    }
    inside(play()).await;
}

fn available() -> Result<(), Missing> {
    Node::available()?;
    // All clouds share an environment.
    Aws::available()
}

async fn play() {
    let begun = Instant::now();
    let clouds = tokio::try_join!(Aws::start(), Google::start(), Azure::start(), Github::start());
    let (aws, google, azure, github) = clouds.unwrap();
    let mut providers = vec![
        docker_hub().await,
        private().await,
        gcp(&google).await,
        acr(&azure).await,
        github_app(&github).await,
        ecr(&aws).await,
    ];
    let program = NodeBinaries::find().unwrap().idle;
    let pushes = providers.iter().map(|provider| provider.registry.push_program(IMAGE, &program, PUSHER));
    join_all(pushes).await.into_iter().for_each(Result::unwrap);
    let control = ControlPlane::start(Options::full()).await.unwrap();
    let client = control.admin_client().await.unwrap();
    let sources: Vec<&str> = providers.iter().map(|provider| provider.name).collect();
    let grant = grant(&sources, json!({"serviceAccounts": {"names": ["default"]}}));
    let operator = operator(&control, &client, &grant).await;
    let registries: Vec<&Registry> = providers.iter().map(|provider| &provider.registry).collect();
    let node = Node::start_for(&control, &registries).await.unwrap();
    let stage = Stage { client, node, operator };
    say(&format!("all is up after {:.1?}", begun.elapsed()));

    for Provider { name, image, .. } in &providers {
        stage.pod(&too_early(name), image, None).await;
    }
    for Provider { name, registry, .. } in &providers {
        let message = stage.refused(&too_early(name)).await;
        assert!(message.contains("401"), "the registry of {name} asks for a login: {message}");
        assert_eq!(registry.let_in().unwrap(), BTreeSet::from([registry.name_of(PUSHER)]));
    }
    say(&format!("all are refused after {:.1?}", begun.elapsed()));

    for provider in &providers {
        stage.apply(provider.source.clone()).await;
    }
    stage.apply(grant).await;
    let token = stage.until("Amazon has issued a token", async || {
        aws.issued().await.unwrap().pop().ok_or("none".to_owned())
    });
    providers.last_mut().unwrap().learn(&token.await);
    let all = async || attached(&stage, providers.len()).await;
    stage.until("the ServiceAccount names a Secret with all logins", all).await;
    say(&format!("the Secret is attached after {:.1?}", begun.elapsed()));
    for Provider { name, image, .. } in &providers {
        let pod = stage.pod(name, image, None).await;
        let named = pod.spec.unwrap().image_pull_secrets.unwrap_or_default();
        assert!(named.iter().map(|secret| secret.name.as_str()).eq([TARGET]), "of its account: {named:?}");
    }
    for Provider { name, image, registry, user, .. } in &providers {
        let running = stage.running(name).await;
        stage.pulled(&running, image).await;
        let expected = BTreeSet::from([registry.name_of(PUSHER), user.clone()]);
        assert_eq!(registry.let_in().unwrap(), expected, "nobody else came to the registry of {name}");
        let stranger = pod::state(&stage.read(&too_early(name)).await);
        assert!(stranger.is_pull_failure(), "a pod without the Secret stays out: {stranger:?}");
    }
    say(&format!("all run after {:.1?}", begun.elapsed()));
}

/// A source of each provider, and the registry that it is for.
struct Provider {
    /// Of the source and of the pod.
    name: &'static str,
    source: Value,
    registry: Registry,
    /// As pods name it.
    image: String,
    /// The name that the registry has for whom it is to let in.
    user: String,
}

impl Provider {
    fn new(name: &'static str, secret_type: &str, says: Value, registry: Registry, user: String) -> Self {
        let image = format!("{}/{IMAGE}", registry.address());
        Self { name, source: source(name, secret_type, says), registry, image, user }
    }

    /// Makes the registry at Amazon let in who has this token.
    fn learn(&mut self, token: &IssuedToken) {
        let login = Login { user: "AWS", password: &token.password };
        self.registry.set_users(&[login]).unwrap();
        self.user = self.registry.name_of(login);
    }
}

async fn docker_hub() -> Provider {
    // By this name clients reach what is written docker.io.
    let registry = registry("registry-1.docker.io", &[PUSHER, HUB]).await;
    let says = json!({"username": HUB.user, "password": HUB.password});
    let user = registry.name_of(HUB);
    let hub = Provider::new("docker-hub", "images.banzaicloud.io/docker-hub", says, registry, user);
    // And it is where images are that name no host.
    Provider { image: IMAGE.to_owned(), ..hub }
}

async fn private() -> Provider {
    let registry = registry("registry.company.example", &[PUSHER, ROBOT]).await;
    let says = json!({"registry": registry.address(), "username": ROBOT.user, "password": ROBOT.password});
    let user = registry.name_of(ROBOT);
    Provider::new("private", "images.banzaicloud.io/private", says, registry, user)
}

async fn gcp(google: &Google) -> Provider {
    let email = google.make_account().await.unwrap();
    let key = google.make_key(&email).await.unwrap();
    let host = "europe-docker.pkg.dev";
    let registry = google.start_registry(host, &[PUSHER], Some(&[&email])).await.unwrap();
    let endpoint = google.endpoint() + "/token";
    let says = json!({"hosts": host, "key.json": key.to_string(), "tokenEndpoint": endpoint});
    Provider::new("gcp", "images.banzaicloud.io/gcp", says, registry, email)
}

async fn acr(azure: &Azure) -> Provider {
    let application = azure.make_application(TENANT).await.unwrap();
    let host = "company.azurecr.io";
    let policy = Policy { readers: Some(&[&application.client]), ..Policy::OURS };
    let registry = azure.start_registry(host, &[PUSHER], &policy).await.unwrap();
    let says = json!({
        "registry": host, "registryEndpoint": azure.endpoint(), "authorityEndpoint": azure.endpoint(),
        "tenantID": TENANT, "clientID": application.client, "clientSecret": application.secret,
    });
    Provider::new("acr", "images.banzaicloud.io/acr", says, registry, application.client)
}

async fn github_app(github: &Github) -> Provider {
    let owner = "company";
    let app = github.make_app().await.unwrap();
    let key = github.make_key(&app).await.unwrap();
    let permissions = json!({"packages": "read"});
    let installation = github.install(&app, Owner::Organization(owner), &permissions).await.unwrap();
    let registry = github.start_registry("ghcr.io", &[PUSHER], Some(&[owner])).await.unwrap();
    let says = json!({
        "appID": app.id, "installationID": installation.to_string(), "privateKey": key,
        "apiURL": github.endpoint(), "hosts": registry.address(),
    });
    Provider::new("github-app", "images.banzaicloud.io/github-app", says, registry, owner.to_owned())
}

/// Its registry learns later whom to let in.
async fn ecr(aws: &Aws) -> Provider {
    let account = Account::OURS;
    let user = aws.make_user(account, &["ecr:GetAuthorizationToken"]).await.unwrap();
    let host = format!("{}.dkr.ecr.{REGION}.amazonaws.com", account.number);
    let registry = registry(&host, &[PUSHER]).await;
    let says = json!({
        "region": REGION, "accountID": account.number, "endpoint": aws.endpoint(),
        "stsEndpoint": aws.endpoint(), "accessKeyID": user.keys.access_key_id,
        "secretKey": user.keys.secret_key,
    });
    Provider::new("ecr", "banzaicloud.io/aws-ecr-login-config", says, registry, String::new())
}

async fn registry(host: &str, users: &[Login<'_>]) -> Registry {
    Registry::start_with(&Settings { users, host: Some(host), ..Settings::default() }).await.unwrap()
}

/// The pod of a provider that was there before the Secret.
fn too_early(provider: &str) -> String {
    format!("{provider}-too-early")
}

/// Whether the account of the pods names the Secret, and there are logins for so many hosts in it.
async fn attached(stage: &Stage, count: usize) -> Result<(), String> {
    let secret = stage.target().await.ok_or("there is no Secret")?;
    let logins =
        secret.data.unwrap_or_default().remove(".dockerconfigjson").ok_or("it is of another type")?;
    let logins: Value = serde_json::from_slice(&logins.0).map_err(|error| error.to_string())?;
    let auths = logins["auths"].as_object().ok_or("it has no logins")?;
    let hosts: Vec<&String> = auths.keys().collect();
    if hosts.len() < count {
        return Err(format!("it has logins for {hosts:?}"));
    }
    let accounts = Api::<ServiceAccount>::namespaced(stage.client.clone(), SHOP);
    let account = accounts.get("default").await.map_err(|error| error.to_string())?;
    let named = account.image_pull_secrets.unwrap_or_default();
    if named.iter().any(|secret| secret.name == TARGET) { Ok(()) } else { Err(format!("{named:?}")) }
}
