//! `examples/registry-creds` on a cluster with its controllers, step by step as its README says: three registries,
//! every namespace, a ServiceAccount that names all three, a rotation, and namespaces that opt out.
//!
//! The objects are those of the example; only the identities are ones that the clouds on loopback know.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use imps_testbed::aws::{Account, Aws};
use imps_testbed::google::Provider;
use imps_testbed::{Google, fresh_name, manifest, operator};
use k8s_openapi::api::core::v1::{Pod, Secret, ServiceAccount};
use kube::ResourceExt;
use kube::api::{Api, PostParams};
use serde_json::{Value, json};

use super::cloud::{available, trust_cluster};
use super::read::{is_true, kubelet_uses};
use super::stage::{Scene, Solo, binary};
use super::wait::eventually;

const NAMES: [&str; 3] = ["awsecr-cred", "dockerhub-secret", "gcr-secret"];
const HOME: &str = "registry-access";

fn example() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../examples/registry-creds")
}

fn documents(file: &str) -> Vec<Value> {
    manifest::read(&std::fs::read_to_string(example().join(file)).unwrap()).unwrap()
}

/// The sources of the example, with identities that exist and the addresses at which they do.
async fn sources(scene: &Scene, aws: &Aws, google: &Google) -> Vec<Value> {
    let mut sources = documents("20-sources.yaml");
    let find = |sources: &mut Vec<Value>, name: &str| -> usize {
        sources.iter().position(|source| source["metadata"]["name"] == name).unwrap()
    };
    let account = find(&mut sources, "gcr-puller");
    manifest::apply(&scene.client, &[sources.remove(account)]).await.unwrap();

    let user = aws.make_user(Account::OURS, &["ecr:GetAuthorizationToken"]).await.unwrap();
    let ecr = find(&mut sources, "ecr");
    let said = &mut sources[ecr]["stringData"];
    said["accessKeyID"] = json!(user.keys.access_key_id);
    said["secretKey"] = json!(user.keys.secret_key);
    said["accountID"] = json!(Account::OURS.number);
    said["endpoint"] = json!(aws.endpoint());

    let issuer = trust_cluster(google, &scene.client).await;
    let subject = format!("system:serviceaccount:{HOME}:gcr-puller");
    let provider = Provider { issuer: &issuer, audiences: &[], subject: Some(&subject) };
    let provider = google.make_provider(&provider).await.unwrap();
    let gcr = find(&mut sources, "gcr");
    let said = &mut sources[gcr]["stringData"];
    said["workloadIdentityProvider"] = json!(provider);
    said["stsEndpoint"] = json!(format!("{}/v1/token", google.endpoint()));
    sources
}

async fn account(scene: &Scene, namespace: &str) -> Option<ServiceAccount> {
    Api::<ServiceAccount>::namespaced(scene.client.clone(), namespace).get_opt("default").await.unwrap()
}

fn listed(account: &ServiceAccount) -> BTreeSet<String> {
    account.image_pull_secrets.iter().flatten().map(|entry| entry.name.clone()).collect()
}

fn three() -> BTreeSet<String> {
    NAMES.map(str::to_owned).into()
}

/// Waits until a namespace has the three Secrets, and its default account their names.
async fn is_served(scene: &Scene, namespace: &str) -> ServiceAccount {
    eventually(&format!("{namespace} has all three"), async || {
        let account = account(scene, namespace).await.ok_or("the controller has not made the account yet")?;
        if listed(&account) == three() { Ok(account) } else { Err(format!("{:?}", listed(&account))) }
    })
    .await
}

async fn secret(scene: &Scene, namespace: &str, name: &str) -> Secret {
    scene.secrets(namespace).get(name).await.unwrap()
}

/// The user that the kubelet would pull an image as.
fn user(secret: &Secret, image: &str) -> String {
    kubelet_uses(secret, image).unwrap().first().unwrap_or_else(|| panic!("nobody for {image}")).0.clone()
}

async fn make_namespace(scene: &Scene, name: &str) {
    let namespace = serde_json::from_value(json!({"metadata": {"name": name}})).unwrap();
    scene.namespaces().create(&PostParams::default(), &namespace).await.unwrap();
}

async fn start_clouds() -> Option<(Aws, Google)> {
    if !available(Aws::available()) || !available(Google::available()) {
        return None;
    }
    Some((Aws::start().await.unwrap(), Google::start().await.unwrap()))
}

#[tokio::test]
async fn the_example_of_registry_creds_does_what_its_readme_says() {
    let Some((aws, google)) = start_clouds().await else { return };
    let Some(solo) = Solo::open_with_controllers(&["--keyless=service-account"]).await else { return };
    let scene = &solo.scene;
    // Deploy.
    let (namespace, robot) = scene.account();
    let rights = operator::rights(binary(), &[example()], &fresh_name("imps"), namespace, robot).unwrap();
    manifest::apply(&scene.client, &documents("10-namespaces.yaml")).await.unwrap();
    manifest::apply(&scene.client, &rights).await.unwrap();
    let sources = sources(scene, &aws, &google).await;
    manifest::apply(&scene.client, &sources).await.unwrap();
    manifest::apply(&scene.client, &documents("30-imagepullsecrets.yaml")).await.unwrap();

    // Three registries, for a namespace that was there and for a new one.
    is_served(scene, "shop").await;
    let fresh = fresh_name("checkout");
    make_namespace(scene, &fresh).await;
    is_served(scene, &fresh).await;
    for namespace in ["shop", fresh.as_str()] {
        assert_eq!(user(&secret(scene, namespace, "dockerhub-secret").await, "nginx"), "alice");
        let image = format!("{}.dkr.ecr.eu-west-1.amazonaws.com/app", Account::OURS.number);
        assert_eq!(user(&secret(scene, namespace, "awsecr-cred").await, &image), "AWS");
        for image in ["gcr.io/app", "eu.gcr.io/app", "europe-docker.pkg.dev/project/app"] {
            assert_eq!(user(&secret(scene, namespace, "gcr-secret").await, image), "oauth2accesstoken");
        }
    }
    for name in NAMES {
        scene.status(name, "ready", |status| is_true(status, "Ready")).await;
    }
    let pod = json!({
        "metadata": {"name": "app"},
        "spec": {"automountServiceAccountToken": false, "containers": [{"name": "c", "image": "gcr.io/app"}]},
    });
    let pod: Pod = serde_json::from_value(pod).unwrap();
    let pod = scene.pods(&fresh).create(&PostParams::default(), &pod).await.unwrap();
    let pulls_with = pod.spec.unwrap().image_pull_secrets.unwrap();
    assert_eq!(pulls_with.into_iter().map(|entry| entry.name).collect::<BTreeSet<_>>(), three());

    // Rotation, without a restart and without a word to the ServiceAccounts.
    let before = account(scene, &fresh).await.unwrap().resource_version();
    let kept = secret(scene, &fresh, "dockerhub-secret").await.uid();
    let rotated = json!({"data": {"password": BASE64_STANDARD.encode("another-token")}});
    scene.edit_secret(HOME, "dockerhub", rotated).await;
    eventually("the new login arrives", async || {
        let secret = secret(scene, &fresh, "dockerhub-secret").await;
        assert_eq!(secret.uid(), kept);
        match kubelet_uses(&secret, "nginx")?.first() {
            Some((_, password)) if password == "another-token" => Ok(()),
            other => Err(format!("{other:?}")),
        }
    })
    .await;
    assert_eq!(account(scene, &fresh).await.unwrap().resource_version(), before);

    // Ignored from the beginning, and later.
    assert_eq!(
        account(scene, "sandbox").await.map(|account| listed(&account)).unwrap_or_default(),
        [].into()
    );
    for name in NAMES {
        assert!(scene.secrets("sandbox").get_opt(name).await.unwrap().is_none());
    }
    scene.tag_namespace(&fresh, json!({"annotations": {imps_api::keys::OPT_OUTS[0].key: "true"}})).await;
    for name in NAMES {
        eventually(&format!("{name} is taken back"), async || {
            match scene.secrets(&fresh).get_opt(name).await.unwrap() {
                None => Ok(()),
                Some(_) => Err("it is there".to_owned()),
            }
        })
        .await;
    }
    assert_eq!(listed(&account(scene, &fresh).await.unwrap()), [].into());
    is_served(scene, "shop").await;
}
