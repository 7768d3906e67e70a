//! Identities at Google: keys of service accounts, ServiceAccounts of the cluster by workload identity federation, and
//! the metadata server.

use std::time::Duration;

use imps_testbed::Google;
use imps_testbed::Pull;
use imps_testbed::cloud::Emulation;
use imps_testbed::google::{ACCESS, FEDERATED, PLATFORM, Provider};
use imps_testbed::registry::Registry;
use imps_testbed::wire::{Lie, Wire};
use serde_json::{Value, json};
use tokio::sync::OnceCell;

use super::cloud::scenes::{self, pull};
use super::cloud::{
    BRIEF_LIFE, Cloud, Identity, PUSHER, ROTATED_LIFE, available, service_account, trust_cluster,
};
use super::exchanged::{Fields, names};
use super::stage::{Scene, Solo};

const SECRET_TYPE: &str = "images.banzaicloud.io/gcp";
/// The life of a token unless a scene wants short ones.
const LIFE: Duration = Duration::from_secs(3600);

/// Google with a wire of the scene's own.
struct Gcp {
    google: &'static Google,
    wire: Wire,
}

impl Gcp {
    async fn open() -> Option<Self> {
        static GOOGLE: OnceCell<Google> = OnceCell::const_new();
        Self::on(&GOOGLE, LIFE).await
    }

    /// One whose tokens live for [`BRIEF_LIFE`].
    async fn brief() -> Option<Self> {
        static GOOGLE: OnceCell<Google> = OnceCell::const_new();
        Self::on(&GOOGLE, BRIEF_LIFE).await
    }

    /// One whose tokens live for [`ROTATED_LIFE`].
    async fn rotating() -> Option<Self> {
        static GOOGLE: OnceCell<Google> = OnceCell::const_new();
        Self::on(&GOOGLE, ROTATED_LIFE).await
    }

    async fn on(google: &'static OnceCell<Google>, life: Duration) -> Option<Self> {
        if !available(Google::available()) {
            return None;
        }
        let google = google.get_or_try_init(|| async {
            let google = Google::start().await?;
            google.set_life(ACCESS, life).await?;
            google.set_life(FEDERATED, life).await?;
            anyhow::Ok(google)
        });
        let google = google.await.unwrap();
        Some(Self { google, wire: Wire::to(&google.endpoint()).await.unwrap() })
    }

    /// What a source Secret says that brings no key.
    async fn keyless(&self) -> Fields {
        Fields::of(SECRET_TYPE).with("hosts", &self.host(0).await)
    }

    /// The same for the metadata server.
    async fn ambient(&self) -> Fields {
        self.keyless().await.with("metadataEndpoint", &self.wire.endpoint())
    }

    /// The same for a ServiceAccount.
    async fn federated(&self, provider: &str, account: &str) -> Fields {
        let fields = self.keyless().await.with("stsEndpoint", &(self.wire.endpoint() + "/v1/token"));
        fields.with("workloadIdentityProvider", provider).with("serviceAccountName", account)
    }

    /// The same, which takes on an account.
    async fn impersonating(&self, provider: &str, account: &str, email: &str) -> Fields {
        let fields = self.federated(provider, account).await;
        fields.with("impersonate", email).with("iamEndpoint", &self.wire.endpoint())
    }

    /// A provider that takes tokens of this ServiceAccount, and who it is to Google.
    async fn provider_for(&self, scene: &Scene, account: &str) -> (String, String) {
        let issuer = trust_cluster(self.google, &scene.client).await;
        let subject = service_account(scene, account).await;
        let provider = Provider { issuer: &issuer, audiences: &[], subject: Some(&subject) };
        let provider = self.google.make_provider(&provider).await.unwrap();
        let principal = Google::principal(&provider, &subject);
        (provider, principal)
    }

    /// How often each operation was asked for on behalf of this principal.
    async fn operations(&self, principal: &str) -> Vec<String> {
        let calls = self.google.calls().await.unwrap();
        let calls = calls.into_iter().filter(|call| call.principal.as_deref() == Some(principal));
        calls.filter(|call| call.error.is_none()).map(|call| call.operation).collect()
    }
}

impl Cloud for Gcp {
    const PROVIDER: &'static str = "gcp";
    const USER: &'static str = "oauth2accesstoken";
    const KIND: &'static str = ACCESS;

    fn emulation(&self) -> &Emulation {
        self.google
    }

    fn wire(&self) -> &Wire {
        &self.wire
    }

    async fn identity(&self) -> Identity {
        let email = self.google.make_account().await.unwrap();
        let key = self.google.make_key(&email).await.unwrap();
        let mut wrong = key.clone();
        wrong["private_key"] = self.google.make_key(&email).await.unwrap()["private_key"].take();
        Identity { principal: email, secret: key.to_string(), wrong_secret: wrong.to_string(), about: vec![] }
    }

    async fn host(&self, number: usize) -> String {
        match number {
            0 => "europe-west1-docker.pkg.dev".to_owned(),
            1 => "eu.gcr.io".to_owned(),
            _ => format!("us-east{number}-docker.pkg.dev"),
        }
    }

    fn fields(&self, identity: &Identity, host: &str, wire: &Wire) -> Fields {
        let fields = Fields::of(SECRET_TYPE).with("hosts", host).with("key.json", &identity.secret);
        fields.with("tokenEndpoint", &(wire.endpoint() + "/token"))
    }

    async fn start_registry(&self, host: &str) -> Registry {
        let registry = self.google.start_registry(host, &[PUSHER], None).await.unwrap();
        registry.push_image(super::cloud::IMAGE, PUSHER).await.unwrap();
        registry
    }
}

#[tokio::test]
async fn a_key_gives_one_token_to_all_namespaces() {
    let Some(cloud) = Gcp::open().await else { return };
    scenes::one_request_fills_all_namespaces(&cloud, LIFE).await;
}

#[tokio::test]
async fn a_client_pulls_with_the_token_of_a_key_and_not_with_that_of_a_wrong_one() {
    let Some(cloud) = Gcp::open().await else { return };
    scenes::a_client_pulls(&cloud).await;
}

#[tokio::test]
async fn whatever_fails_at_google_what_works_stays() {
    let Some(cloud) = Gcp::open().await else { return };
    scenes::what_works_stays_whatever_fails(&cloud).await;
}

#[tokio::test]
async fn access_tokens_are_renewed_in_place() {
    let Some(cloud) = Gcp::brief().await else { return };
    scenes::tokens_are_renewed_in_place(&cloud).await;
}

#[tokio::test]
async fn an_access_token_that_ends_goes_alone() {
    let Some(cloud) = Gcp::brief().await else { return };
    scenes::the_expired_entry_alone_goes(&cloud).await;
}

#[tokio::test]
async fn no_key_and_no_access_token_is_seen_outside_of_sources_and_targets() {
    let Some(cloud) = Gcp::open().await else { return };
    scenes::nothing_leaks(&cloud).await;
}

#[tokio::test]
async fn the_key_itself_is_a_login_where_the_source_says_so() {
    let Some(cloud) = Gcp::open().await else { return };
    let Some(scene) = Scene::open().await else { return };
    let host = cloud.host(0).await;
    let identity = cloud.identity().await;
    let fields = cloud.keyless().await.with("key.json", &identity.secret).with("login", "json-key");
    fields.write(&scene, "hub").await;
    let shop = scene.namespace("shop", json!({})).await;
    let grant = scene.grant("g", &["hub"], names(&[&shop])).await;
    let status = scene.ready_in(&grant, &[&shop]).await;
    assert!(status["sources"][0]["expiresAt"].is_null(), "{status:#}");
    scene.has_login(&shop, &format!("{host}/app"), ("_json_key", &identity.secret)).await;
    assert_eq!(cloud.wire.seen(), [], "nobody was asked");
    if Registry::available().is_ok() {
        let registry = cloud.start_registry(&host).await;
        assert_eq!(pull(&scene, &registry, &shop).await, Pull::Pulled);
        let key: Value = serde_json::from_str(&identity.secret).unwrap();
        cloud.google.delete_key(&key).await.unwrap();
        assert!(matches!(pull(&scene, &registry, &shop).await, Pull::Refused(_)));
    }
}

#[tokio::test]
async fn unless_it_is_allowed_no_identity_at_google_but_a_key_is_used() {
    let Some(cloud) = Gcp::open().await else { return };
    let Some(scene) = Scene::open().await else { return };
    let (provider, _) = cloud.provider_for(&scene, "puller").await;
    let account = cloud.federated(&provider, "puller").await;
    scenes::keyless_is_refused(&cloud, cloud.ambient().await, account).await;
}

#[tokio::test]
async fn a_service_account_of_the_cluster_is_exchanged_and_may_take_on_one_of_google() {
    let Some(cloud) = Gcp::open().await else { return };
    let Some(solo) = Solo::open(&["--keyless", "service-account"]).await else { return };
    let scene = &solo.scene;
    let (provider, principal) = cloud.provider_for(scene, "puller").await;
    let mut needs = imps_cluster::rules::Needs::default();
    needs.service_accounts.insert((scene.home.as_str().into(), "puller".to_owned()));
    scene.permit(&needs).await;
    let email = cloud.google.make_account().await.unwrap();
    cloud.google.let_impersonate(&email, &[&principal]).await.unwrap();
    let fields = cloud.impersonating(&provider, "puller", &email).await;
    scenes::keyless_is_used(&cloud, scene, &fields, &email).await;
    assert_eq!(cloud.operations(&principal).await, ["token-exchange", "generateAccessToken"]);

    // By itself it is a reader too.
    let fields = cloud.federated(&provider, "puller").await;
    fields.write(scene, "hub").await;
    let shop = scene.name("shop");
    let host = cloud.host(0).await;
    crate::mission::wait::eventually("the token of the workload", async || {
        let token = cloud.token(&scene.target(&shop).await.unwrap(), &host).unwrap();
        let issued = cloud.google.issued().await.unwrap();
        let found = issued.iter().find(|known| known.token == token).unwrap();
        if found.principal == principal { Ok(()) } else { Err(found.principal.clone()) }
    })
    .await;
}

#[tokio::test]
async fn the_account_of_the_machine_is_used_where_there_is_no_other() {
    let Some(cloud) = Gcp::open().await else { return };
    let Some(solo) = Solo::open(&["--keyless", "ambient"]).await else { return };
    let email = cloud.google.make_account().await.unwrap();
    cloud.google.set_machine(Some(&email), &[PLATFORM]).await.unwrap();
    scenes::keyless_is_used(&cloud, &solo.scene, &cloud.ambient().await, &email).await;
    assert_eq!(cloud.operations(&email).await, ["metadata-token"]);
}

#[tokio::test]
async fn an_expiry_at_google_that_makes_no_sense_is_taken_for_a_short_one() {
    let Some(cloud) = Gcp::open().await else { return };
    let lies = [Lie::NoExpiry, Lie::PastExpiry, Lie::FarFuture];
    scenes::a_senseless_expiry_is_a_short_one(&cloud, &lies).await;
}

#[tokio::test]
async fn a_restart_takes_a_token_of_google_up_in_an_outage() {
    let Some(cloud) = Gcp::open().await else { return };
    scenes::a_restart_takes_the_token_up(&cloud).await;
}

#[tokio::test]
async fn no_pull_fails_while_tokens_of_google_rotate() {
    let Some(cloud) = Gcp::rotating().await else { return };
    scenes::no_pull_fails_while_tokens_rotate(&cloud).await;
}
