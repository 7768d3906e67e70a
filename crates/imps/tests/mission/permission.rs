//! The rights that are declared are the rights that are used: none more, none less.

use std::collections::{BTreeMap, BTreeSet};

use imps_api::keys;
use imps_cluster::rules::{Needs, RULES, Scope, roles};
use imps_core::dockerconfig::Format;
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
    // Those of the refresher, of `imps crd apply`, and of an operator that may take on identities or elects, have
    // scenes of their own.
    let elsewhere = [Scope::Single, Scope::Installer, Scope::ServiceAccounts, Scope::Lease, Scope::Leases];
    RULES.iter().filter(|rule| !elsewhere.contains(&rule.scope)).flat_map(of_rule).collect()
}

/// The rights that a request was authorised by. An apply that makes its object is authorised as a create too.
pub(crate) fn used(request: &Value) -> Vec<Right> {
    let text = |key: &str| request["objectRef"][key].as_str().unwrap_or_default();
    let resource = match text("subresource") {
        "" => text("resource").to_owned(),
        part => format!("{}/{part}", text("resource")),
    };
    let verb = request["verb"].as_str().unwrap();
    let made = verb == "patch" && request["responseStatus"]["code"] == 201;
    let verbs = [verb].into_iter().chain(made.then_some("create"));
    verbs.map(|verb| right(verb, text("apiGroup"), &resource)).collect()
}

#[tokio::test]
async fn the_declared_rights_are_just_those_that_a_whole_life_uses() {
    let Some(empty) = Solo::empty_on_pages().await else { return };
    let life = Life::prepare(&empty.scene).await;
    let documents = life.rights(&empty.scene, &[]);
    empty.scene.give(&documents).await;
    let mut solo = Solo::begin(empty, &[]).await;
    life.play(&mut solo).await;

    let requests = nothing_is_missed_and_nothing_is_left_over(&solo, &documents);
    assert!(requests.iter().all(|r| r["verb"] != "create" || r["objectRef"]["resource"] == "events"));
    let seen: BTreeSet<Right> = requests.iter().flat_map(used).collect();
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

/// Holds the operator's roles against its requests: none was forbidden, and each verb of each rule was used, by a
/// request for one of the names that the rule has. Roles that are the same in several namespaces count as one. Returns
/// the requests.
pub(crate) fn nothing_is_missed_and_nothing_is_left_over(solo: &Solo, documents: &[Value]) -> Vec<Value> {
    let requests = solo.requests();
    let forbidden: Vec<&Value> = requests.iter().filter(|r| r["responseStatus"]["code"] == 403).collect();
    assert!(forbidden.is_empty(), "{forbidden:#?}");
    let mut unused: BTreeMap<String, bool> = BTreeMap::new();
    for role in documents {
        let namespace = role["metadata"]["namespace"].as_str();
        for rule in role["rules"].as_array().into_iter().flatten() {
            for verb in super::read::texts(&rule["verbs"]) {
                let wanted = right(
                    verb,
                    rule["apiGroups"][0].as_str().unwrap(),
                    rule["resources"][0].as_str().unwrap(),
                );
                let fits = |request: &Value| {
                    let at = &request["objectRef"];
                    let named =
                        |name| super::read::texts(&rule["resourceNames"]).any(|known| Some(known) == name);
                    used(request).contains(&wanted)
                        && namespace.is_none_or(|namespace| at["namespace"] == namespace)
                        && (rule["resourceNames"].is_null() || named(at["name"].as_str()))
                };
                let rule = format!("{}: {verb} by {rule}", role["kind"]);
                *unused.entry(rule).or_default() |= requests.iter().any(fits);
            }
        }
    }
    assert!(!unused.is_empty(), "there are rules");
    unused.retain(|_, used| !*used);
    assert!(unused.is_empty(), "granted and never used: {:#?}", unused.keys());
    requests
}

/// A life in which everything happens that imps ever does.
pub(crate) struct Life {
    /// Of the `ImagePullSecret`.
    pub(crate) spec: Value,
    /// A namespace that a label selects.
    pub(crate) shop: String,
    /// A namespace that a pod selects.
    pub(crate) yard: String,
    /// The ServiceAccount that the Secret is attached to.
    pub(crate) robot: String,
}

impl Life {
    /// Makes what is there before imps.
    pub(crate) async fn prepare(scene: &Scene) -> Self {
        let spec = scene.spec(
            &["hub"],
            json!({
                "namespaces": {"labels": [{"matchLabels": {"team": scene.id}}]},
                "namespacesWithPods": {"labels": [{"matchLabels": {"pull": scene.id}}]},
                "serviceAccounts": {"names": [scene.name("robot")]},
            }),
        );
        scene.source("hub", &[("reg.example", ROBOT)]).await;
        let shop = scene.namespace("shop", json!({"labels": {"team": scene.id}})).await;
        let yard = scene.namespace("yard", json!({})).await;
        scene.pod(&yard, "p", json!({"labels": {"pull": scene.id}})).await;
        let robot = scene.name("robot");
        let account = json!({
            "apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": robot, "namespace": shop},
            "imagePullSecrets": [{"name": "theirs"}],
        });
        manifest::apply(&scene.client, &[account]).await.unwrap();
        Self { spec, shop, yard, robot }
    }

    /// What `imps rbac` prints for the object of this life, with these arguments.
    pub(crate) fn rights(&self, scene: &Scene, arguments: &[&str]) -> Vec<Value> {
        let object = json!({
            "apiVersion": format!("{}/{}", keys::GROUP, keys::VERSION), "kind": keys::KIND,
            "metadata": {"name": scene.name("g")}, "spec": self.spec,
        });
        let folder = std::env::temp_dir().join(fresh_name("imps-rights"));
        std::fs::create_dir(&folder).unwrap();
        let file = folder.join("cr.yaml");
        std::fs::write(&file, object.to_string()).unwrap();
        let (namespace, account) = scene.account();
        let what = [&["-f", file.to_str().unwrap()], arguments].concat();
        let documents = operator::rights_of(binary(), &what, &fresh_name("imps"), namespace, account);
        std::fs::remove_dir_all(&folder).unwrap();
        documents.unwrap()
    }

    /// Lives it. At the end it serves both namespaces.
    pub(crate) async fn play(&self, solo: &mut Solo) {
        let Self { spec, shop, yard, robot } = self;
        let scene = &solo.scene;
        let grant = scene.grant_as_is("g", spec.clone()).await;
        scene.ready_in(&grant, &[shop, yard]).await;
        scene.status(&grant, "attached", |status| status["serviceAccounts"]["attached"] == 1).await;
        scene.source("hub", &[("reg.example", NEXT)]).await;
        scene.has_login(yard, IMAGE, NEXT).await;
        scene.tag_namespace(shop, json!({"labels": {"team": null}})).await;
        scene.has_no_target(shop).await;
        assert_eq!(names_in(scene, shop, robot).await, ["theirs"]);
        scene.ready_in(&grant, &[yard]).await;
        // The same event a second time is counted up.
        for _ in 0..2 {
            scene.source_of("hub", Format::DockerConfigJson, br#"{"auths": []}"#).await;
            scene.status(&grant, "it fails", |status| status["sources"][0]["state"] == "Failing").await;
            scene.source("hub", &[("reg.example", NEXT)]).await;
            scene.ready_in(&grant, &[yard]).await;
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
        scene.tag_namespace(shop, json!({"labels": {"team": scene.id}})).await;
        scene.has_login(shop, IMAGE, NEXT).await;
        scene.status(&grant, "two are served", |status| status["targets"]["synced"] == 2).await;
        scene.status(&grant, "attached", |status| status["serviceAccounts"]["attached"] == 1).await;
        assert_eq!(names_in(scene, shop, robot).await, ["theirs", scene.secret.as_str()]);
    }

    /// Lets it end: what was given is taken away, and the object goes.
    pub(crate) async fn end(&self, scene: &Scene) {
        let grant = scene.name("g");
        scene.delete_grant(&grant).await;
        for namespace in [&self.shop, &self.yard] {
            scene.has_no_target(namespace).await;
        }
        assert_eq!(names_in(scene, &self.shop, &self.robot).await, ["theirs"]);
        super::wait::eventually("the object is gone", async || {
            let object = scene.grants().get_opt(&grant).await.unwrap();
            object.map_or(Ok(()), |object| Err(format!("{object:?}")))
        })
        .await;
    }
}

/// The names in the list of a ServiceAccount.
pub(crate) async fn names_in(scene: &Scene, namespace: &str, account: &str) -> Vec<String> {
    let accounts = Api::<ServiceAccount>::namespaced(scene.client.clone(), namespace);
    let list = accounts.get(account).await.unwrap().image_pull_secrets.unwrap_or_default();
    list.into_iter().map(|entry| entry.name).collect()
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
pub(crate) fn code<T>(answer: Result<T, kube::Error>) -> Option<u16> {
    match answer {
        Err(kube::Error::Api(status)) => Some(status.code),
        Err(error) => panic!("{error}"),
        Ok(_) => None,
    }
}
