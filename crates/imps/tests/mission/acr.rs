//! Identities at Microsoft Entra, for Azure Container Registry: applications with a secret, ServiceAccounts of the
//! cluster that an application trusts, and managed identities.

use std::time::Duration;

use imps_testbed::azure::{Application, NOBODY, Policy, REFRESH, TENANT};
use imps_testbed::cloud::Emulation;
use imps_testbed::registry::Registry;
use imps_testbed::wire::{Lie, Wire};
use imps_testbed::{Azure, fresh_name};
use tokio::sync::OnceCell;

use super::cloud::scenes;
use super::cloud::{
    BRIEF_LIFE, Cloud, IMAGE, Identity, PUSHER, ROTATED_LIFE, available, mounted_token, service_account,
    trust_cluster,
};
use super::exchanged::Fields;
use super::stage::{Scene, Solo};
use super::wait::eventually;

const SECRET_TYPE: &str = "images.banzaicloud.io/acr";
/// The life of a token unless a scene wants short ones.
const LIFE: Duration = Duration::from_secs(3 * 3600);
/// Whom a token of a workload is for.
const AUDIENCE: &str = "api://AzureADTokenExchange";

/// Azure with a wire of the scene's own.
struct Acr {
    azure: &'static Azure,
    wire: Wire,
    /// Part of the name of each registry of the scene.
    name: String,
}

impl Acr {
    async fn open() -> Option<Self> {
        static AZURE: OnceCell<Azure> = OnceCell::const_new();
        Self::on(&AZURE, LIFE).await
    }

    /// One whose refresh tokens live for [`BRIEF_LIFE`].
    async fn brief() -> Option<Self> {
        static AZURE: OnceCell<Azure> = OnceCell::const_new();
        Self::on(&AZURE, BRIEF_LIFE).await
    }

    /// One whose tokens live for [`ROTATED_LIFE`].
    async fn rotating() -> Option<Self> {
        static AZURE: OnceCell<Azure> = OnceCell::const_new();
        Self::on(&AZURE, ROTATED_LIFE).await
    }

    async fn on(azure: &'static OnceCell<Azure>, life: Duration) -> Option<Self> {
        if !available(Azure::available()) {
            return None;
        }
        let azure = azure.get_or_try_init(|| async {
            let azure = Azure::start().await?;
            azure.set_life(REFRESH, life).await?;
            anyhow::Ok(azure)
        });
        let azure = azure.await.unwrap();
        let (wire, name) = (Wire::to(&azure.endpoint()).await.unwrap(), fresh_name("shop").replace('-', ""));
        let cloud = Self { azure, wire, name };
        azure.make_registry(&cloud.host(0).await, &Policy::OURS).await.unwrap();
        Some(cloud)
    }

    /// What a source Secret says without an identity.
    fn plain(host: &str, wire: &Wire) -> Fields {
        Fields::of(SECRET_TYPE).with("registry", host).with("registryEndpoint", &wire.endpoint())
    }

    /// The same with that of a ServiceAccount which an application trusts.
    async fn federated(&self, application: &Application, account: &str) -> Fields {
        let fields = Self::plain(&self.host(0).await, &self.wire);
        let fields = fields.with("authorityEndpoint", &self.wire.endpoint()).with("tenantID", TENANT);
        fields.with("clientID", &application.client).with("serviceAccountName", account)
    }

    /// The same with that of the machine.
    async fn managed(&self) -> Fields {
        Self::plain(&self.host(0).await, &self.wire).with("metadataEndpoint", &self.wire.endpoint())
    }

    /// An application that trusts this ServiceAccount.
    async fn trusting(&self, scene: &Scene, account: &str) -> Application {
        let issuer = trust_cluster(self.azure, &scene.client).await;
        let subject = service_account(scene, account).await;
        let application = self.azure.make_application(TENANT).await.unwrap();
        self.azure.trust(&application, &issuer, &subject).await.unwrap();
        application
    }

    /// What was asked for on behalf of this application.
    async fn operations(&self, application: &Application) -> Vec<String> {
        let calls = self.azure.calls().await.unwrap();
        let calls = calls.into_iter().filter(|call| call.principal.as_ref() == Some(&application.client));
        calls.filter(|call| call.error.is_none()).map(|call| call.operation).collect()
    }
}

impl Cloud for Acr {
    const PROVIDER: &'static str = "acr";
    const USER: &'static str = NOBODY;
    const KIND: &'static str = REFRESH;

    fn emulation(&self) -> &Emulation {
        self.azure
    }

    fn wire(&self) -> &Wire {
        &self.wire
    }

    async fn identity(&self) -> Identity {
        let application = self.azure.make_application(TENANT).await.unwrap();
        let other = self.azure.make_application(TENANT).await.unwrap();
        Identity {
            principal: application.client.clone(),
            secret: application.secret,
            wrong_secret: other.secret,
            about: vec![("tenantID", TENANT.to_owned()), ("clientID", application.client)],
        }
    }

    async fn host(&self, number: usize) -> String {
        let host = format!("{}{number}.azurecr.io", self.name);
        // The first one is there, and may be one that images are pushed to.
        if number > 0 {
            self.azure.make_registry(&host, &Policy::OURS).await.unwrap();
        }
        host
    }

    fn fields(&self, identity: &Identity, host: &str, wire: &Wire) -> Fields {
        let fields = Self::plain(host, wire).with("authorityEndpoint", &wire.endpoint());
        let fields = fields.with("clientSecret", &identity.secret);
        identity.about.iter().fold(fields, |fields, (key, value)| fields.with(key, value))
    }

    async fn start_registry(&self, host: &str) -> Registry {
        let registry = self.azure.start_registry(host, &[PUSHER], &Policy::OURS).await.unwrap();
        registry.push_image(IMAGE, PUSHER).await.unwrap();
        registry
    }
}

#[tokio::test]
async fn an_application_gives_one_token_of_the_registry_to_all_namespaces() {
    let Some(cloud) = Acr::open().await else { return };
    scenes::one_request_fills_all_namespaces(&cloud, LIFE).await;
}

#[tokio::test]
async fn a_client_pulls_with_a_refresh_token_and_not_with_that_of_a_wrong_secret() {
    let Some(cloud) = Acr::open().await else { return };
    scenes::a_client_pulls(&cloud).await;
}

#[tokio::test]
async fn whatever_fails_at_azure_what_works_stays() {
    let Some(cloud) = Acr::open().await else { return };
    scenes::what_works_stays_whatever_fails(&cloud).await;
}

#[tokio::test]
async fn refresh_tokens_are_renewed_in_place() {
    let Some(cloud) = Acr::brief().await else { return };
    scenes::tokens_are_renewed_in_place(&cloud).await;
}

#[tokio::test]
async fn a_refresh_token_that_ends_goes_alone() {
    let Some(cloud) = Acr::brief().await else { return };
    scenes::the_expired_entry_alone_goes(&cloud).await;
}

#[tokio::test]
async fn no_secret_and_no_refresh_token_is_seen_outside_of_sources_and_targets() {
    let Some(cloud) = Acr::open().await else { return };
    scenes::nothing_leaks(&cloud).await;
}

#[tokio::test]
async fn unless_it_is_allowed_no_identity_at_azure_but_a_secret_is_used() {
    let Some(cloud) = Acr::open().await else { return };
    let Some(scene) = Scene::open().await else { return };
    let application = cloud.trusting(&scene, "puller").await;
    let account = cloud.federated(&application, "puller").await;
    scenes::keyless_is_refused(&cloud, cloud.managed().await, account).await;
}

#[tokio::test]
async fn a_service_account_of_the_cluster_is_exchanged_for_a_refresh_token() {
    let Some(cloud) = Acr::open().await else { return };
    let Some(solo) = Solo::open(&["--keyless", "service-account"]).await else { return };
    let scene = &solo.scene;
    let application = cloud.trusting(scene, "puller").await;
    let mut needs = imps_cluster::rules::Needs::default();
    needs.service_accounts.insert((scene.home.as_str().into(), "puller".to_owned()));
    scene.permit(&needs).await;
    let fields = cloud.federated(&application, "puller").await;
    scenes::keyless_is_used(&cloud, scene, &fields, &application.client).await;
    assert_eq!(cloud.operations(&application).await, ["client-credentials", "exchange"]);
}

#[tokio::test]
async fn the_identities_of_the_machine_are_used_where_there_is_no_other() {
    let Some(cloud) = Acr::open().await else { return };
    let Some(solo) = Solo::open(&["--keyless", "ambient"]).await else { return };
    let (first, second) = (
        cloud.azure.make_application(TENANT).await.unwrap(),
        cloud.azure.make_application(TENANT).await.unwrap(),
    );
    cloud.azure.set_machine(&[&first, &second]).await.unwrap();
    let fields = cloud.managed().await;
    scenes::keyless_is_used(&cloud, &solo.scene, &fields, &first.client).await;
    assert_eq!(cloud.operations(&first).await, ["managed-identity", "exchange"]);

    // One of several is chosen by its id.
    fields.with("clientID", &second.client).write(&solo.scene, "hub").await;
    let token = eventually("a token of the second", async || {
        cloud.issued_to(&second.client).await.pop().ok_or_else(|| "none".to_owned())
    })
    .await;
    cloud.has_token(&solo.scene, &solo.scene.name("shop"), &cloud.host(0).await, &token).await;
}

#[tokio::test]
async fn the_application_that_the_webhook_of_azure_names_is_used() {
    let Some(cloud) = Acr::open().await else { return };
    let Some(mut solo) = Solo::open(&[]).await else { return };
    let application = cloud.trusting(&solo.scene, "imps").await;
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), mounted_token(&solo.scene, "imps", AUDIENCE).await).unwrap();
    let environment = [
        ("AZURE_FEDERATED_TOKEN_FILE", file.path().to_str().unwrap()),
        ("AZURE_TENANT_ID", TENANT),
        ("AZURE_CLIENT_ID", &application.client),
        ("AZURE_AUTHORITY_HOST", &cloud.wire.endpoint()),
    ];
    solo.replace(&["--keyless", "ambient"], &environment).await;
    let fields = Acr::plain(&cloud.host(0).await, &cloud.wire);
    scenes::keyless_is_used(&cloud, &solo.scene, &fields, &application.client).await;
    assert_eq!(cloud.operations(&application).await, ["client-credentials", "exchange"]);
}

#[tokio::test]
async fn an_expiry_at_azure_that_makes_no_sense_is_taken_for_a_short_one() {
    let Some(cloud) = Acr::open().await else { return };
    let lies = [Lie::TokenNotBase64];
    scenes::a_senseless_expiry_is_a_short_one(&cloud, &lies).await;
}

#[tokio::test]
async fn a_restart_takes_a_token_of_azure_up_in_an_outage() {
    let Some(cloud) = Acr::open().await else { return };
    scenes::a_restart_takes_the_token_up(&cloud).await;
}

#[tokio::test]
async fn no_pull_fails_while_tokens_of_azure_rotate() {
    let Some(cloud) = Acr::rotating().await else { return };
    scenes::no_pull_fails_while_tokens_rotate(&cloud).await;
}
