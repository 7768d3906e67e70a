//! Apps of GitHub, for its packages.

use std::time::Duration;

use imps_testbed::cloud::Emulation;
use imps_testbed::github::{App, INSTALLATION, Owner};
use imps_testbed::registry::Registry;
use imps_testbed::wire::{Lie, Wire};
use imps_testbed::{Github, fresh_name};
use serde_json::{Value, json};
use tokio::sync::OnceCell;

use super::cloud::scenes;
use super::cloud::{BRIEF_LIFE, Cloud, IMAGE, Identity, PUSHER, ROTATED_LIFE, available};
use super::exchanged::{Fields, names, source_of, stands};
use super::stage::Scene;

const SECRET_TYPE: &str = "images.banzaicloud.io/github-app";
/// The life of a token unless a scene wants short ones.
const LIFE: Duration = Duration::from_secs(3600);

/// GitHub with a wire of the scene's own.
struct Ghcr {
    github: &'static Github,
    wire: Wire,
}

impl Ghcr {
    async fn open() -> Option<Self> {
        static GITHUB: OnceCell<Github> = OnceCell::const_new();
        Self::on(&GITHUB, LIFE).await
    }

    /// One whose tokens live for [`BRIEF_LIFE`].
    async fn brief() -> Option<Self> {
        static GITHUB: OnceCell<Github> = OnceCell::const_new();
        Self::on(&GITHUB, BRIEF_LIFE).await
    }

    /// One whose tokens live for [`ROTATED_LIFE`].
    async fn rotating() -> Option<Self> {
        static GITHUB: OnceCell<Github> = OnceCell::const_new();
        Self::on(&GITHUB, ROTATED_LIFE).await
    }

    async fn on(github: &'static OnceCell<Github>, life: Duration) -> Option<Self> {
        if !available(Github::available()) {
            return None;
        }
        let github = github.get_or_try_init(|| async {
            let github = Github::start().await?;
            github.set_life(INSTALLATION, life).await?;
            anyhow::Ok(github)
        });
        let github = github.await.unwrap();
        Some(Self { github, wire: Wire::to(&github.endpoint()).await.unwrap() })
    }

    /// A new App that is installed with these permissions, its installation, and what else a source Secret says of it.
    async fn app(&self, owner: Owner<'_>, permissions: Value) -> (App, u64, Fields) {
        let app = self.github.make_app().await.unwrap();
        let key = self.github.make_key(&app).await.unwrap();
        let installation = self.github.install(&app, owner, &permissions).await.unwrap();
        let fields = Fields::of(SECRET_TYPE).with("appID", &app.id).with("privateKey", &key);
        let fields = fields.with("apiURL", &self.wire.endpoint()).with("hosts", "ghcr.io");
        (app, installation, fields)
    }
}

impl Cloud for Ghcr {
    const PROVIDER: &'static str = "github-app";
    const USER: &'static str = "x-access-token";
    const KIND: &'static str = INSTALLATION;

    fn emulation(&self) -> &Emulation {
        self.github
    }

    fn wire(&self) -> &Wire {
        &self.wire
    }

    async fn identity(&self) -> Identity {
        let owner = fresh_name("shop");
        let app = self.github.make_app().await.unwrap();
        let installation =
            self.github.install(&app, Owner::Organization(&owner), &json!({"packages": "read"})).await;
        let other = self.github.make_app().await.unwrap();
        Identity {
            principal: owner,
            secret: self.github.make_key(&app).await.unwrap(),
            wrong_secret: self.github.make_key(&other).await.unwrap(),
            about: vec![("appID", app.id), ("installationID", installation.unwrap().to_string())],
        }
    }

    async fn host(&self, number: usize) -> String {
        if number == 0 { "ghcr.io".to_owned() } else { format!("containers.github{number}.example") }
    }

    fn fields(&self, identity: &Identity, host: &str, wire: &Wire) -> Fields {
        let fields = Fields::of(SECRET_TYPE).with("privateKey", &identity.secret);
        let fields = fields.with("apiURL", &wire.endpoint()).with("hosts", host);
        identity.about.iter().fold(fields, |fields, (key, value)| fields.with(key, value))
    }

    async fn start_registry(&self, host: &str) -> Registry {
        let registry = self.github.start_registry(host, &[PUSHER], None).await.unwrap();
        registry.push_image(IMAGE, PUSHER).await.unwrap();
        registry
    }
}

#[tokio::test]
async fn an_app_gives_one_token_to_all_namespaces() {
    let Some(cloud) = Ghcr::open().await else { return };
    scenes::one_request_fills_all_namespaces(&cloud, LIFE).await;
}

#[tokio::test]
async fn a_client_pulls_with_the_token_of_an_installation_and_not_with_that_of_a_wrong_key() {
    let Some(cloud) = Ghcr::open().await else { return };
    scenes::a_client_pulls(&cloud).await;
}

#[tokio::test]
async fn whatever_fails_at_github_what_works_stays() {
    let Some(cloud) = Ghcr::open().await else { return };
    scenes::what_works_stays_whatever_fails(&cloud).await;
}

#[tokio::test]
async fn tokens_of_installations_are_renewed_in_place() {
    let Some(cloud) = Ghcr::brief().await else { return };
    scenes::tokens_are_renewed_in_place(&cloud).await;
}

#[tokio::test]
async fn the_token_of_an_installation_that_ends_goes_alone() {
    let Some(cloud) = Ghcr::brief().await else { return };
    scenes::the_expired_entry_alone_goes(&cloud).await;
}

#[tokio::test]
async fn no_key_of_an_app_and_no_token_is_seen_outside_of_sources_and_targets() {
    let Some(cloud) = Ghcr::open().await else { return };
    scenes::nothing_leaks(&cloud).await;
}

#[tokio::test]
async fn an_installation_is_found_by_its_owner_and_asked_for_packages_only() {
    let Some(cloud) = Ghcr::open().await else { return };
    let Some(scene) = Scene::open().await else { return };
    let (company, person) = (fresh_name("company"), fresh_name("person"));
    let granted = json!({"packages": "write", "contents": "write"});
    let (_, of_company, by_company) = cloud.app(Owner::Organization(&company), granted.clone()).await;
    let (_, of_person, by_person) = cloud.app(Owner::User(&person), granted.clone()).await;
    let (_, _, unable) = cloud.app(Owner::Organization(&company), json!({"contents": "read"})).await;
    let (app, suspended, off) = cloud.app(Owner::Organization(&company), granted).await;
    cloud.github.suspend(suspended, true).await.unwrap();
    by_company.clone().with("owner", &company).write(&scene, "company").await;
    by_person.with("owner", &person).with("hosts", "a.example").write(&scene, "person").await;
    by_company.with("owner", &person).with("hosts", "b.example").write(&scene, "stranger").await;
    unable.with("owner", &company).with("hosts", "c.example").write(&scene, "unable").await;
    let id = suspended.to_string();
    off.with("installationID", &id)
        .with("appID", &app.client)
        .with("hosts", "d.example")
        .write(&scene, "off")
        .await;
    let shop = scene.namespace("shop", json!({})).await;
    let sources = ["company", "person", "stranger", "unable", "off"];
    let grant = scene.grant("g", &sources, names(&[&shop])).await;
    let status = scene
        .status(&grant, "each has its answer", |status| {
            let denied = |name, words| stands(status, name, "Failing", "ExchangeDenied", words);
            stands(status, "company", "Ready", "", "")
                && stands(status, "person", "Ready", "", "")
                && denied("stranger", "HTTP 404")
                && denied("unable", "HTTP 422")
                && denied("off", "HTTP 403")
        })
        .await;
    let message = source_of(&status, "unable")["message"].as_str().unwrap();
    assert!(message.contains("Packages"), "{message}");
    for (owner, installation, host) in [(&company, of_company, "ghcr.io"), (&person, of_person, "a.example")]
    {
        let token = cloud.issued_to(owner).await.pop().unwrap();
        assert_eq!(token.about["installation"], installation);
        assert_eq!(token.about["permissions"], json!({"packages": "read"}));
        cloud.has_token(&scene, &shop, host, &token).await;
    }
}

#[tokio::test]
async fn an_expiry_at_github_that_makes_no_sense_is_taken_for_a_short_one() {
    let Some(cloud) = Ghcr::open().await else { return };
    let lies = [Lie::NoExpiry, Lie::PastExpiry];
    scenes::a_senseless_expiry_is_a_short_one(&cloud, &lies).await;
}

#[tokio::test]
async fn a_restart_takes_a_token_of_github_up_in_an_outage() {
    let Some(cloud) = Ghcr::open().await else { return };
    scenes::a_restart_takes_the_token_up(&cloud).await;
}

#[tokio::test]
async fn no_pull_fails_while_tokens_of_github_rotate() {
    let Some(cloud) = Ghcr::rotating().await else { return };
    scenes::no_pull_fails_while_tokens_rotate(&cloud).await;
}
