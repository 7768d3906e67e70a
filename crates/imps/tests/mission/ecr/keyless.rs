//! Identities that do not stand in the Secret: those of ServiceAccounts, and that of imps itself in each of its
//! surroundings. None is used unless the operator was started for that.

use std::collections::BTreeSet;

use imps_api::keys;
use imps_cluster::rules::{Needs, RULES, Scope};
use imps_testbed::aws::{Account, Trust};
use imps_testbed::{fresh_name, manifest, operator};
use k8s_openapi::api::core::v1::ServiceAccount;
use kube::Client;
use kube::api::{Api, DeleteParams};
use serde_json::{Value, json};

use super::{ASSUME, Cloud, ECR, Fields, ROBOT, SECRET_TYPE, STATIC, has_token, host, names, stands, touch};
use crate::mission::cloud::{self, issuer_of, service_account};
use crate::mission::read::version;
use crate::mission::stage::{Scene, Solo, binary, may, token_of, wait_for_right};

/// Whom tokens for STS are for.
const AUDIENCE: &str = "sts.amazonaws.com";
/// Nobody is there.
const NO_MACHINE: (&str, &str) = ("AWS_EC2_METADATA_SERVICE_ENDPOINT", "http://127.0.0.1:1");

/// Makes the emulation trust the tokens of this cluster; their issuer.
pub(super) async fn trust_cluster(cloud: &Cloud, client: &Client) -> String {
    let (issuer, keys) = issuer_of(client).await;
    cloud.aws.trust_issuer(&issuer, &keys).await.unwrap();
    issuer
}

/// A role for the ServiceAccount of this name; its ARN.
pub(super) async fn role_of(cloud: &Cloud, scene: &Scene, account: &str) -> String {
    let issuer = trust_cluster(cloud, &scene.client).await;
    let subject = service_account(scene, account).await;
    let trust = Trust::WebIdentity { issuer: &issuer, subject: Some(&subject) };
    cloud.role(Account::OURS, trust, &[ECR]).await
}

/// A token as the kubelet would mount it for STS.
pub(super) async fn mounted_token(scene: &Scene, account: &str) -> String {
    cloud::mounted_token(scene, account, AUDIENCE).await
}

#[tokio::test]
async fn unless_it_is_allowed_no_identity_but_that_in_the_secret_is_used() {
    let Some(cloud) = Cloud::open().await else { return };
    let Some(scene) = Scene::open().await else { return };
    let role = role_of(&cloud, &scene, "puller").await;
    cloud.fields("111122223333").write(&scene, "ambient").await;
    let account = cloud.fields("444455556666").with("serviceAccountName", "puller").with("roleArn", &role);
    account.write(&scene, "account").await;
    scene.source("static", &[(STATIC, ROBOT)]).await;
    let shop = scene.namespace("shop", json!({})).await;
    let grant = scene.grant("g", &["ambient", "account", "static"], names(&[&shop])).await;
    scene
        .status(&grant, "both are refused", |status| {
            stands(status, "ambient", "Failing", "KeylessForbidden", "start imps with --keyless=ambient")
                && stands(status, "account", "Failing", "KeylessForbidden", "--keyless=service-account")
        })
        .await;
    scene.has_login(&shop, &format!("{STATIC}/app"), ROBOT).await;
    assert_eq!(cloud.wire.seen(), [], "nobody was asked");
    // One flag does not stand for the other: see the next scenes, which are started with one.
}

/// Applies what `imps rbac` prints for a grant and its source, and makes the grant.
async fn permit_by_manifest(solo: &Solo, source: &str, fields: &Fields, spec: &Value) {
    let scene = &solo.scene;
    let grant = json!({
        "apiVersion": format!("{}/{}", keys::GROUP, keys::VERSION), "kind": keys::KIND,
        "metadata": {"name": scene.name("g")}, "spec": spec,
    });
    let secret = |name: &str, fields: &Fields| {
        json!({
            "apiVersion": "v1", "kind": "Secret", "type": SECRET_TYPE, "stringData": fields.values,
            "metadata": {"name": name, "namespace": scene.home},
        })
    };
    // One that no grant lists gives no right.
    let other = secret("unlisted", &fields.clone().with("serviceAccountName", "other"));
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("manifests.yaml");
    std::fs::write(&file, format!("{grant}\n---\n{}\n---\n{other}\n", secret(source, fields))).unwrap();
    let (namespace, account) = scene.account();
    let documents = operator::rights(binary(), &[file], &fresh_name("imps"), namespace, account).unwrap();
    manifest::apply(&scene.client, &documents).await.unwrap();
    let user = scene.user();
    let watch = json!({"resource": "secrets", "verb": "watch", "name": source, "namespace": scene.home});
    wait_for_right(&scene.client, &user, watch).await;
    wait_for_right(&scene.client, &user, token_of(&scene.home, "puller")).await;
    scene.permit(&Needs::default()).await;
}

#[tokio::test]
async fn a_service_account_s_token_is_exchanged_with_no_right_but_those_that_are_printed() {
    let Some(cloud) = Cloud::open().await else { return };
    let Some(solo) = Solo::open(&["--keyless", "service-account"]).await else { return };
    let scene = &solo.scene;
    let role = role_of(&cloud, scene, "puller").await;
    service_account(scene, "other").await;
    let fields = cloud.fields("111122223333").with("serviceAccountName", "puller").with("roleArn", &role);
    let shop = scene.namespace("shop", json!({})).await;
    let spec = scene.spec(&["hub"], names(&[&shop]));
    permit_by_manifest(&solo, "hub", &fields, &spec).await;
    fields.write(scene, "hub").await;
    let grant = scene.grant_as_is("g", spec).await;
    scene.ready_in(&grant, &[&shop]).await;

    let calls = cloud.aws.calls().await.unwrap();
    let calls: Vec<_> = calls.iter().filter(|call| call.role_arn.as_deref() == Some(&role)).collect();
    assert_eq!((calls.len(), calls[0].operation.as_str()), (1, "AssumeRoleWithWebIdentity"));
    assert!(calls[0].policy.as_deref().unwrap().contains(ECR), "{:?}", calls[0].policy);
    let name = role.rsplit('/').next().unwrap();
    let issued = cloud.issued_to(&format!("assumed-role/{name}/imps")).await;
    let good = has_token(scene, &shop, &host("111122223333"), issued.last().unwrap()).await;

    // The audit log shows rights that are declared and no other, and tokens of the one account.
    let requests = solo.requests();
    let text = |request: &Value, key: &str| request["objectRef"][key].as_str().unwrap_or_default().to_owned();
    let mut tokens = BTreeSet::new();
    for request in &requests {
        assert!(request["responseStatus"]["code"] != 403, "{request:#}");
        let resource = match text(request, "subresource").as_str() {
            "" => text(request, "resource"),
            part => format!("{}/{part}", text(request, "resource")),
        };
        let verb = request["verb"].as_str().unwrap();
        let (group, declared) =
            (text(request, "apiGroup"), RULES.iter().filter(|rule| rule.scope != Scope::Single));
        let known =
            declared.filter(|rule| (rule.group, rule.resource) == (group.as_str(), resource.as_str()));
        assert!(known.into_iter().any(|rule| rule.verbs.contains(&verb)), "{verb} {group} {resource}");
        if resource.starts_with("serviceaccounts") {
            tokens.insert((verb.to_owned(), text(request, "namespace"), text(request, "name")));
        }
    }
    let wanted = ("create".to_owned(), scene.home.clone(), "puller".to_owned());
    assert_eq!(tokens, BTreeSet::from([wanted]));
    let user = scene.user();
    for (namespace, account) in [(&scene.home, "other"), (&shop, "default"), (&scene.home, "default")] {
        let attributes = token_of(namespace, account);
        assert_eq!(may(&scene.client, &user, &attributes).await, Ok(false), "{attributes}");
    }

    // One that imps has no right to, and one that is gone: what works stays.
    let told = async |words: &str| {
        scene
            .status(&grant, words, |status| {
                stands(status, "hub", "Failing", "ExchangeDenied", words)
                    && stands(status, "hub", "Failing", "ExchangeDenied", "stays in use")
            })
            .await;
    };
    fields.clone().with("serviceAccountName", "other").write(scene, "hub").await;
    told(&format!("imps may not ask for tokens of ServiceAccount {}/other; grant it create", scene.home))
        .await;
    let accounts = Api::<ServiceAccount>::namespaced(scene.client.clone(), &scene.home);
    accounts.delete("puller", &DeleteParams::default()).await.unwrap();
    fields.write(scene, "hub").await;
    told(&format!("there is no ServiceAccount {}/puller; create it", scene.home)).await;
    assert_eq!(version(&scene.target(&shop).await.unwrap()), version(&good));
    service_account(scene, "puller").await;
    touch(scene, "hub").await;
    scene.ready_in(&grant, &[&shop]).await;
    // The other kind of identity was not allowed.
    cloud.fields("111122223333").write(scene, "hub").await;
    scene
        .status(&grant, "refused", |status| stands(status, "hub", "Failing", "KeylessForbidden", "ambient"))
        .await;
}

/// Plays an operator whose surroundings give it this role: its token arrives where a source without keys is listed.
async fn ambient(cloud: &Cloud, solo: &Solo, role: &str, session: &str) {
    let scene = &solo.scene;
    cloud.fields("111122223333").write(scene, "hub").await;
    let shop = scene.namespace("shop", json!({})).await;
    let grant = scene.grant("g", &["hub"], names(&[&shop])).await;
    scene.ready_in(&grant, &[&shop]).await;
    let name = role.rsplit('/').next().unwrap();
    let issued = cloud.issued_to(&format!("assumed-role/{name}/{session}")).await;
    has_token(scene, &shop, &host("111122223333"), issued.last().unwrap()).await;
}

/// Who found keys or took the role on, and where.
async fn found(cloud: &Cloud, role: &str) -> Vec<(String, String)> {
    let calls = cloud.aws.calls().await.unwrap();
    let calls =
        calls.into_iter().filter(|call| call.role_arn.as_deref() == Some(role) && call.error.is_none());
    calls.map(|call| (call.service, call.operation)).collect()
}

#[tokio::test]
async fn eks_pod_identity_is_used_and_may_take_on_a_role() {
    let Some(cloud) = Cloud::open().await else { return };
    let role = cloud.role(Account::OURS, Trust::Pods, &[ECR, ASSUME]).await;
    let secret = fresh_name("token-of-the-pod");
    cloud.aws.associate_pod(&secret, &role).await.unwrap();
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), &secret).unwrap();
    let environment = [
        ("AWS_CONTAINER_CREDENTIALS_FULL_URI", &*cloud.aws.pod_credentials_url()),
        ("AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE", file.path().to_str().unwrap()),
        NO_MACHINE,
    ];
    let Some(solo) = Solo::open_in(&["--keyless", "ambient"], &environment).await else { return };
    ambient(&cloud, &solo, &role, "eks-pod").await;
    assert_eq!(found(&cloud, &role).await, [("pod-identity".to_owned(), "GetCredentials".to_owned())]);

    let trust = Trust::Principal { arn: &role, external_id: None };
    let puller = cloud.role(Account::OTHER, trust, &[ECR]).await;
    let scene = &solo.scene;
    cloud.fields("444455556666").with("roleArn", &puller).write(scene, "hub").await;
    let name = puller.rsplit('/').next().unwrap().to_owned();
    let token = crate::mission::wait::eventually("a token of the role", async || {
        cloud.issued_to(&format!("assumed-role/{name}/imps")).await.pop().ok_or_else(|| "none".to_owned())
    })
    .await;
    has_token(scene, &scene.name("shop"), &host("444455556666"), &token).await;
    assert_eq!(found(&cloud, &puller).await, [("sts".to_owned(), "AssumeRole".to_owned())]);
}

#[tokio::test]
async fn a_role_for_the_service_account_of_imps_is_used() {
    let Some(cloud) = Cloud::open().await else { return };
    let Some(mut solo) = Solo::open(&[]).await else { return };
    let role = role_of(&cloud, &solo.scene, "imps").await;
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), mounted_token(&solo.scene, "imps").await).unwrap();
    let environment = [
        ("AWS_WEB_IDENTITY_TOKEN_FILE", file.path().to_str().unwrap()),
        ("AWS_ROLE_ARN", &role),
        ("AWS_ROLE_SESSION_NAME", "blue-cluster"),
        NO_MACHINE,
    ];
    solo.replace(&["--keyless", "ambient"], &environment).await;
    ambient(&cloud, &solo, &role, "blue-cluster").await;
    assert_eq!(found(&cloud, &role).await, [("sts".to_owned(), "AssumeRoleWithWebIdentity".to_owned())]);
}

#[tokio::test]
async fn the_role_of_the_machine_is_used_where_there_is_no_other() {
    let Some(cloud) = Cloud::open().await else { return };
    let role = cloud.role(Account::OURS, Trust::Machines, &[ECR]).await;
    cloud.aws.set_machine_role(Some(&role)).await.unwrap();
    let endpoint = cloud.aws.endpoint();
    let environment = [("AWS_EC2_METADATA_SERVICE_ENDPOINT", endpoint.as_str())];
    let Some(solo) = Solo::open_in(&["--keyless", "ambient"], &environment).await else { return };
    ambient(&cloud, &solo, &role, "i-0123456789abcdef0").await;
    let wanted = ("instance-metadata".to_owned(), "GetCredentials".to_owned());
    assert_eq!(found(&cloud, &role).await, [wanted]);
}
