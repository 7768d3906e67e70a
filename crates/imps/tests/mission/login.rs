//! Sources that are a login in other words than those of docker: for Docker Hub, for any registry, and in the types
//! that Kubernetes and people have for user names and passwords.

use imps_testbed::registry::Settings;
use imps_testbed::{Login, Pull, Registry};
use serde_json::json;

use super::cloud::scenes::pull;
use super::cloud::{IMAGE, PUSHER};
use super::exchanged::{Fields, ROBOT, STATIC, names, source_of, stands};
use super::read::{content, registries, version};
use super::stage::Scene;

const DOCKER_HUB: &str = "images.banzaicloud.io/docker-hub";
const PRIVATE: &str = "images.banzaicloud.io/private";
const BASIC_AUTH: &str = "kubernetes.io/basic-auth";
const OPAQUE: &str = "Opaque";

/// What a source Secret of this type says of a login.
fn login(secret_type: &'static str, (user, password): (&str, &str)) -> Fields {
    Fields::of(secret_type).with("username", user).with("password", password)
}

#[tokio::test]
async fn logins_of_every_type_are_merged_into_one_secret() {
    let Some(scene) = Scene::open().await else { return };
    let shop = scene.namespace("shop", json!({})).await;
    let sources = [
        (
            "hub",
            login(DOCKER_HUB, ("company", "dckr_oat_1")),
            vec![("docker.io/library/app", "company", "dckr_oat_1")],
        ),
        (
            "private",
            login(PRIVATE, ("u1", "p:1"))
                .with("registry", "one.example:5000, two.example/team\nthree.example"),
            vec![
                ("one.example:5000/app", "u1", "p:1"),
                ("two.example/team/app", "u1", "p:1"),
                ("three.example/app", "u1", "p:1"),
            ],
        ),
        (
            "basic",
            login(BASIC_AUTH, ("u2", "p2")).with("registry", "https://four.example/"),
            vec![("four.example/app", "u2", "p2")],
        ),
        (
            "opaque",
            login(OPAQUE, ("u3", "p3")).with("registry", "five.example"),
            vec![("five.example/app", "u3", "p3")],
        ),
    ];
    for (name, fields, _) in &sources {
        fields.write(&scene, name).await;
    }
    let grant = scene.grant("g", &sources.each_ref().map(|(name, ..)| *name), names(&[&shop])).await;
    let status = scene.ready_in(&grant, &[&shop]).await;
    for (name, _, uses) in &sources {
        for (image, user, password) in uses {
            scene.has_login(&shop, image, (user, password)).await;
        }
        assert!(source_of(&status, name)["expiresAt"].is_null(), "{status:#}");
    }
    assert_eq!(registries(&scene.target(&shop).await.unwrap()).len(), 6);
}

#[tokio::test]
async fn a_login_that_changes_arrives_and_one_that_breaks_keeps_what_it_gave() {
    let Some(scene) = Scene::open().await else { return };
    let shop = scene.namespace("shop", json!({})).await;
    let fields = |password: &str| login(PRIVATE, ("u", password)).with("registry", "one.example");
    fields("first").write(&scene, "private").await;
    scene.source("static", &[(STATIC, ROBOT)]).await;
    let grant = scene.grant("g", &["private", "static"], names(&[&shop])).await;
    scene.ready_in(&grant, &[&shop]).await;
    scene.has_login(&shop, "one.example/app", ("u", "first")).await;
    fields("second").write(&scene, "private").await;
    let good = scene.has_login(&shop, "one.example/app", ("u", "second")).await;

    let flaws = [
        (login(PRIVATE, ("u", "third")), "registry"),
        (Fields::of(PRIVATE).with("registry", "one.example").with("username", "u"), "password"),
        (Fields::of(PRIVATE).with("registry", "one.example").with("password", "third"), "username"),
        (login(PRIVATE, ("u:v", "third")).with("registry", "one.example"), "username"),
        (login(PRIVATE, ("u", "third")).with("registry", "not a/host name?"), "registry"),
    ];
    for (flawed, key) in flaws {
        flawed.write(&scene, "private").await;
        let status = scene
            .status(&grant, key, |status| {
                let source = source_of(status, "private");
                source["state"] == "Failing" && source["message"].as_str().unwrap_or_default().contains(key)
            })
            .await;
        assert!(!status.to_string().contains("third"), "{status:#}");
        assert_eq!(version(&scene.target(&shop).await.unwrap()), version(&good));
    }
    fields("third").write(&scene, "private").await;
    scene.has_login(&shop, "one.example/app", ("u", "third")).await;
    scene.status(&grant, "all is well", |status| stands(status, "private", "Ready", "", "")).await;
}

#[tokio::test]
async fn a_client_pulls_from_a_registry_at_its_port_with_a_login_of_each_type() {
    if let Err(missing) = Registry::available() {
        return missing.skip_or_fail();
    }
    let Some(scene) = Scene::open().await else { return };
    let robot = Login { user: ROBOT.0, password: ROBOT.1 };
    let registry = Registry::start(&[PUSHER, robot]).await.unwrap();
    registry.push_image(IMAGE, PUSHER).await.unwrap();
    for secret_type in [PRIVATE, BASIC_AUTH, OPAQUE] {
        let word = secret_type.rsplit('/').next().unwrap().to_lowercase();
        login(secret_type, ROBOT).with("registry", registry.address()).write(&scene, &word).await;
        let shop = scene.namespace(&word, json!({})).await;
        let grant = scene.grant(&word, &[&word], names(&[&shop])).await;
        scene.ready_in(&grant, &[&shop]).await;
        assert_eq!(pull(&scene, &registry, &shop).await, Pull::Pulled, "{secret_type}");
        login(secret_type, ("robot", "wrong"))
            .with("registry", registry.address())
            .write(&scene, &word)
            .await;
        scene.has_login(&shop, &format!("{}/app", registry.address()), ("robot", "wrong")).await;
        assert!(matches!(pull(&scene, &registry, &shop).await, Pull::Refused(_)), "{secret_type}");
    }
}

#[tokio::test]
async fn a_client_pulls_from_docker_hub_with_an_access_token() {
    if let Err(missing) = Registry::available() {
        return missing.skip_or_fail();
    }
    let Some(scene) = Scene::open().await else { return };
    login(DOCKER_HUB, ("company", "dckr_pat_1")).write(&scene, "hub").await;
    let shop = scene.namespace("shop", json!({})).await;
    let grant = scene.grant("g", &["hub"], names(&[&shop])).await;
    scene.ready_in(&grant, &[&shop]).await;
    let users = [PUSHER, Login { user: "company", password: "dckr_pat_1" }];
    // By this name clients reach what is written docker.io.
    let settings = Settings { users: &users, host: Some("registry-1.docker.io"), ..Settings::default() };
    let registry = Registry::start_with(&settings).await.unwrap();
    registry.push_image(IMAGE, PUSHER).await.unwrap();
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("config.json");
    std::fs::write(&file, content(&scene.target(&shop).await.unwrap())).unwrap();
    assert_eq!(registry.pull_from("docker.io", &file, IMAGE).await.unwrap(), Pull::Pulled);
    registry.set_users(&[PUSHER]).unwrap();
    assert!(matches!(registry.pull_from("docker.io", &file, IMAGE).await.unwrap(), Pull::Refused(_)));
}
