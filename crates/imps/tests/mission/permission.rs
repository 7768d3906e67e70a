//! The rights that are declared are the rights that are used: none more, none less.

use std::collections::BTreeSet;

use imps_api::keys;
use imps_cluster::rules::{Needs, RULES, Scope, roles};
use imps_core::dockerconfig::Format;
use imps_core::selector::NamePattern;
use imps_testbed::{fresh_name, manifest, operator};
use k8s_openapi::api::core::v1::{Secret, ServiceAccount};
use kube::api::{Api, ListParams, Patch, PatchParams};
use serde_json::{Value, json};

use super::stage::{Login, Scene, Solo, binary};
use super::wait::say;

const ROBOT: Login<'_> = ("robot", "first");
const NEXT: Login<'_> = ("robot", "second");
const IMAGE: &str = "reg.example/app";

/// Verb, group, resource with its subresource.
pub(crate) type Right = (String, String, String);

pub(crate) fn right(verb: &str, group: &str, resource: &str) -> Right {
    (verb.to_owned(), group.to_owned(), resource.to_owned())
}

fn declared() -> BTreeSet<Right> {
    let of_rule = |rule: &imps_cluster::rules::Rule| {
        rule.verbs.iter().map(|verb| right(verb, rule.group, rule.resource)).collect::<Vec<_>>()
    };
    // Those of the refresher, and of an operator that may take on identities or elects, have scenes of their own.
    let elsewhere = [Scope::Single, Scope::ServiceAccounts, Scope::Lease, Scope::Leases];
    RULES.iter().filter(|rule| !elsewhere.contains(&rule.scope)).flat_map(of_rule).collect()
}

pub(crate) fn used(request: &Value) -> Right {
    let text = |key: &str| request["objectRef"][key].as_str().unwrap_or_default();
    let resource = match text("subresource") {
        "" => text("resource").to_owned(),
        part => format!("{}/{part}", text("resource")),
    };
    right(request["verb"].as_str().unwrap(), text("apiGroup"), &resource)
}

#[tokio::test]
async fn the_declared_rights_are_just_those_that_a_whole_life_uses() {
    let Some(mut solo) = Solo::open_on_pages().await else { return };
    let spec = rights_by_manifest(&solo.scene).await;
    live(&mut solo, spec).await;

    let requests = solo.requests();
    let forbidden: Vec<&Value> = requests.iter().filter(|r| r["responseStatus"]["code"] == 403).collect();
    assert!(forbidden.is_empty(), "{forbidden:#?}");
    let mut seen: BTreeSet<Right> = requests.iter().map(used).collect();
    // An apply that makes the object is one PATCH, authorised twice: as patch and as create. The proof is below.
    assert!(!seen.contains(&right("create", "", "secrets")), "imps never posts a Secret");
    seen.insert(right("create", "", "secrets"));
    let declared = declared();
    let missing: Vec<_> = declared.difference(&seen).collect();
    let more: Vec<_> = seen.difference(&declared).collect();
    assert!(
        missing.is_empty() && more.is_empty(),
        "declared and never used: {missing:?}; used and not declared: {more:?}"
    );
    say(&format!("{} requests, {} different rights", requests.len(), seen.len()));

    create_is_needed(&solo.scene).await;
    nothing_else_can_be_read(&solo.scene).await;
    no_other_account_can_be_edited(&solo.scene).await;
}

/// Applies what `imps rbac` prints for the object that the scene will make, and gives its spec.
async fn rights_by_manifest(scene: &Scene) -> Value {
    let target = json!({
        "namespaces": {"labels": [{"matchLabels": {"team": scene.id}}]},
        "namespacesWithPods": {"labels": [{"matchLabels": {"pull": scene.id}}]},
        "serviceAccounts": {"names": [scene.name("robot")]},
    });
    let spec = scene.spec(&["hub"], target);
    let object = json!({
        "apiVersion": format!("{}/{}", keys::GROUP, keys::VERSION), "kind": keys::KIND,
        "metadata": {"name": scene.name("g")}, "spec": spec,
    });
    let folder = std::env::temp_dir().join(fresh_name("imps-rights"));
    std::fs::create_dir(&folder).unwrap();
    let file = folder.join("cr.yaml");
    std::fs::write(&file, object.to_string()).unwrap();
    let (namespace, account) = scene.account();
    let documents = operator::rights(binary(), &[file], &fresh_name("imps"), namespace, account).unwrap();
    std::fs::remove_dir_all(&folder).unwrap();
    manifest::apply(&scene.client, &documents).await.unwrap();
    // The same once more under another name, only to wait until the server knows.
    let accounts = [NamePattern::new(scene.name("robot"))].into();
    scene.permit(&Needs { pods: true, accounts, ..Needs::default() }).await;
    spec
}

/// Everything that imps ever does.
async fn live(solo: &mut Solo, spec: Value) {
    let scene = &solo.scene;
    scene.source("hub", &[("reg.example", ROBOT)]).await;
    let shop = scene.namespace("shop", json!({"labels": {"team": scene.id}})).await;
    let yard = scene.namespace("yard", json!({})).await;
    scene.pod(&yard, "p", json!({"labels": {"pull": scene.id}})).await;
    let robot = scene.name("robot");
    let account = json!({
        "apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": robot, "namespace": shop},
    });
    manifest::apply(&scene.client, &[account]).await.unwrap();
    let grant = scene.grant_as_is("g", spec).await;
    scene.ready_in(&grant, &[&shop, &yard]).await;
    scene.status(&grant, "attached", |status| status["serviceAccounts"]["attached"] == 1).await;
    scene.source("hub", &[("reg.example", NEXT)]).await;
    scene.has_login(&yard, IMAGE, NEXT).await;
    scene.tag_namespace(&shop, json!({"labels": {"team": null}})).await;
    scene.has_no_target(&shop).await;
    scene.ready_in(&grant, &[&yard]).await;
    // The same event a second time is counted up.
    for _ in 0..2 {
        scene.source_of("hub", Format::DockerConfigJson, br#"{"auths": []}"#).await;
        scene.status(&grant, "it fails", |status| status["sources"][0]["state"] == "Failing").await;
        scene.source("hub", &[("reg.example", NEXT)]).await;
        scene.ready_in(&grant, &[&yard]).await;
    }
    super::wait::eventually("an event is counted up", async || {
        let events = scene.events(&grant).await;
        if events.iter().any(|(_, _, count)| *count > 1) { Ok(()) } else { Err(format!("{events:#?}")) }
    })
    .await;
    // After a restart, what a failing source last gave is read from a target.
    scene.source_of("hub", Format::DockerConfigJson, br#"{"auths": []}"#).await;
    scene.status(&grant, "it fails", |status| status["sources"][0]["state"] == "Failing").await;
    solo.crash_and_restart().await;
    let scene = &solo.scene;
    scene.tag_namespace(&shop, json!({"labels": {"team": scene.id}})).await;
    scene.has_login(&shop, IMAGE, NEXT).await;
    scene.status(&grant, "two are served", |status| status["targets"]["synced"] == 2).await;
}

/// An account with all but `create` cannot make a target.
async fn create_is_needed(scene: &Scene) {
    let shop = scene.namespace("create", json!({})).await;
    let name = fresh_name("no-create");
    let mut needs = Needs::default();
    needs.targets.insert(scene.secret.as_str().into());
    let (mut role, _) = roles(&name, &needs);
    for rule in role
        .rules
        .iter_mut()
        .flatten()
        .filter(|rule| rule.resources.as_deref() == Some(&["secrets".to_owned()]))
    {
        rule.verbs.retain(|verb| verb != "create");
    }
    let mut role = serde_json::to_value(role).unwrap();
    role["apiVersion"] = json!("rbac.authorization.k8s.io/v1");
    role["kind"] = json!("ClusterRole");
    let account = json!({
        "apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": name, "namespace": scene.home},
    });
    let binding = json!({
        "apiVersion": "rbac.authorization.k8s.io/v1", "kind": "ClusterRoleBinding", "metadata": {"name": name},
        "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": name},
        "subjects": [{"kind": "ServiceAccount", "namespace": scene.home, "name": name}],
    });
    manifest::apply(&scene.client, &[account, role, binding]).await.unwrap();
    let client = scene.client_of(&scene.home, &name).await;
    let secrets = Api::<Secret>::namespaced(client, &shop);
    super::wait::eventually("the role is known", async || match secrets.get_opt(&scene.secret).await {
        Ok(_) => Ok(()),
        Err(error) => Err(error.to_string()),
    })
    .await;
    let body = json!({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": scene.secret}});
    let answer = secrets.patch(&scene.secret, &PatchParams::apply("imps"), &Patch::Apply(body)).await;
    assert!(matches!(&answer, Err(kube::Error::Api(status)) if status.code == 403), "{answer:?}");
}

/// The account of the operator can edit no ServiceAccount but those that its roles name, and no Secret of another name.
async fn no_other_account_can_be_edited(scene: &Scene) {
    let client = scene.operator_client().await;
    let accounts = Api::<ServiceAccount>::namespaced(client, &scene.home);
    let edit = Patch::Merge(json!({"imagePullSecrets": []}));
    let code = code(accounts.patch("default", &PatchParams::default(), &edit).await);
    assert_eq!(code, Some(403));
}

/// The account of the operator can read no Secret but its sources and targets.
async fn nothing_else_can_be_read(scene: &Scene) {
    let client = scene.operator_client().await;
    let home = Api::<Secret>::namespaced(client.clone(), &scene.home);
    scene.put_secret(&scene.home, "foreign", "Opaque", &[("key", b"value")], json!({})).await;
    assert_eq!(code(home.get("foreign").await), Some(403));
    assert_eq!(code(home.list(&ListParams::default()).await), Some(403));
    assert_eq!(code(Api::<Secret>::all(client.clone()).list(&ListParams::default()).await), Some(403));
    let by_name = |name: &str| ListParams::default().fields(&format!("metadata.name={name}"));
    assert_eq!(code(Api::<Secret>::all(client.clone()).list(&by_name("foreign")).await), Some(403));
    // The check itself can pass.
    assert_eq!(code(Api::<Secret>::all(client).list(&by_name(&scene.secret)).await), None);
    assert_eq!(code(home.list(&by_name("hub")).await), None);
}

/// The status with which the server refused.
fn code<T>(answer: Result<T, kube::Error>) -> Option<u16> {
    match answer {
        Err(kube::Error::Api(status)) => Some(status.code),
        Err(error) => panic!("{error}"),
        Ok(_) => None,
    }
}
