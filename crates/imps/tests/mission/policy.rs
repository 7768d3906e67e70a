//! The admission policies of `imps rbac --policies`, on a real API server: a whole life passes, and whatever else is
//! done with the operator's own token is refused, as is an author who hands on what they may not read.

use std::collections::BTreeSet;

use imps_api::keys;
use imps_testbed::plane::Profile;
use imps_testbed::{manifest, operator};
use k8s_openapi::api::core::v1::{Secret, ServiceAccount};
use kube::api::{Api, DeleteParams, DynamicObject, Patch, PatchParams, PostParams};
use kube::{Client, ResourceExt};
use serde_json::{Value, json};

use super::permission::{Life, names_in};
use super::stage::{Scene, Solo, binary, grant_resource};
use super::wait::{eventually, say};

const CONFIG: &str = r#"{"auths":{"reg.example":{"username":"u","password":"p","auth":"dTpw"}}}"#;
/// How many sources the policy about authors can check.
const SOURCES_MAX: usize = imps_cluster::policy::CHECKS_MAX;

/// What `imps rbac --policies` prints for the operator of a scene.
fn policies(scene: &Scene, name: &str, arguments: &[&str]) -> Vec<Value> {
    let (namespace, account) = scene.account();
    let what = [&["--policies"], arguments].concat();
    let documents = operator::rights_of(binary(), &what, name, namespace, account).unwrap();
    assert_eq!(documents.len(), 8, "four policies, each with its binding");
    documents
}

/// Puts policies in force on a control plane that is the scene's alone, and takes them off when it ends.
struct InForce {
    plane: imps_testbed::Plane,
    documents: Vec<Value>,
}

impl InForce {
    async fn put(scene: &Scene, documents: Vec<Value>) -> Self {
        manifest::apply(&scene.client, &documents).await.unwrap();
        Self { plane: scene.plane().clone(), documents }
    }
}

impl Drop for InForce {
    fn drop(&mut self) {
        let (plane, documents) = (self.plane.clone(), std::mem::take(&mut self.documents));
        // A test's runtime cannot be blocked from within.
        let off = std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            runtime.block_on(async {
                let client = plane.admin_client().await.unwrap();
                manifest::delete(&client, &documents).await.unwrap();
            });
        });
        let _ = off.join();
    }
}

/// Who refused a request: the last part of the policy's name, or `none`, or what else went wrong.
fn refused_by<T>(answer: Result<T, kube::Error>) -> String {
    match answer {
        Ok(_) => "none".to_owned(),
        Err(kube::Error::Api(status)) => {
            let policy = status.message.split_once("ValidatingAdmissionPolicy '").and_then(|(_, rest)| {
                let name = rest.split('\'').next()?;
                let kinds = ["-secrets", "-service-accounts", "-imagepullsecrets", "-authors"];
                kinds.into_iter().find(|kind| name.ends_with(kind))
            });
            policy.map_or_else(|| format!("{}: {}", status.code, status.message), |kind| kind[1..].to_owned())
        }
        Err(error) => panic!("{error}"),
    }
}

/// The parts of the API as the operator's token may use them.
struct Hand {
    client: Client,
    namespace: String,
    grant: (String, String),
}

impl Hand {
    fn secrets(&self) -> Api<Secret> {
        Api::namespaced(self.client.clone(), &self.namespace)
    }

    fn accounts(&self) -> Api<ServiceAccount> {
        Api::namespaced(self.client.clone(), &self.namespace)
    }

    fn grants(&self) -> Api<DynamicObject> {
        Api::all_with(self.client.clone(), &grant_resource())
    }

    /// A Secret as imps would write it, with changes by a merge patch.
    fn secret(&self, name: &str, change: Value) -> Value {
        let (grant, uid) = &self.grant;
        let mut secret = json!({
            "apiVersion": "v1", "kind": "Secret", "type": "kubernetes.io/dockerconfigjson",
            "metadata": {
                "name": name, "labels": {keys::OWNER_UID_LABEL: uid},
                "ownerReferences": [{
                    "apiVersion": format!("{}/{}", keys::GROUP, keys::VERSION), "kind": keys::KIND,
                    "name": grant, "uid": uid,
                }],
            },
            "stringData": {".dockerconfigjson": CONFIG},
        });
        merge(&mut secret, change);
        secret
    }

    /// Applies a Secret as imps does, by force, and says who refused.
    async fn applies(&self, name: &str, change: Value) -> String {
        let params = PatchParams::apply(keys::FIELD_MANAGER).force();
        refused_by(self.secrets().patch(name, &params, &Patch::Apply(self.secret(name, change))).await)
    }

    async fn edits(&self, name: &str, change: Value) -> String {
        refused_by(self.secrets().patch(name, &PatchParams::default(), &Patch::Merge(change)).await)
    }

    async fn deletes(&self, name: &str) -> String {
        refused_by(self.secrets().delete(name, &DeleteParams::default()).await)
    }

    async fn edits_account(&self, name: &str, change: Value) -> String {
        refused_by(self.accounts().patch(name, &PatchParams::default(), &Patch::Merge(change)).await)
    }

    async fn edits_grant(&self, name: &str, change: Value) -> String {
        refused_by(self.grants().patch(name, &PatchParams::default(), &Patch::Merge(change)).await)
    }
}

fn merge(target: &mut Value, change: Value) {
    match (target, change) {
        (Value::Object(target), Value::Object(change)) => {
            for (key, value) in change {
                if value.is_null() {
                    target.remove(&key);
                } else {
                    merge(target.entry(key).or_insert(Value::Null), value);
                }
            }
        }
        (target, change) => *target = change,
    }
}

/// Rights beyond all that imps is ever given, so that nothing but the policies can refuse.
async fn give_too_much(scene: &Scene, deletable: &[&str]) {
    let name = scene.name("too-much");
    let (namespace, account) = scene.account();
    let role = json!({
        "apiVersion": "rbac.authorization.k8s.io/v1", "kind": "ClusterRole", "metadata": {"name": name},
        "rules": [
            {"apiGroups": [""], "resources": ["secrets"], "verbs": ["get", "create", "patch", "update"]},
            // Which Secrets are its own is told by which it may delete.
            {"apiGroups": [""], "resources": ["secrets"], "verbs": ["delete"], "resourceNames": deletable},
            {"apiGroups": [""], "resources": ["serviceaccounts"], "verbs": ["*"]},
            {"apiGroups": [keys::GROUP], "resources": [keys::PLURAL], "verbs": ["*"]},
        ],
    });
    let binding = json!({
        "apiVersion": "rbac.authorization.k8s.io/v1", "kind": "ClusterRoleBinding", "metadata": {"name": name},
        "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": name},
        "subjects": [{"kind": "ServiceAccount", "namespace": namespace, "name": account}],
    });
    scene.give(&[role, binding]).await;
}

/// Waits until the API server judges what the operator's account does in a namespace; a client of that account.
async fn await_in_force(scene: &Scene, namespace: &str) -> Client {
    scene.make_account().await;
    let client = scene.operator_client().await;
    let secrets = Api::<Secret>::namespaced(client.clone(), namespace);
    let name = &scene.secret;
    eventually("the policies are in force", async || {
        let body =
            json!({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": name}, "type": "Opaque"});
        let dry = PatchParams { dry_run: true, ..PatchParams::apply("probe") };
        match refused_by(secrets.patch(name, &dry, &Patch::Apply(body)).await).as_str() {
            "secrets" => Ok(()),
            other => Err(other.to_owned()),
        }
    })
    .await;
    client
}

#[tokio::test]
async fn under_the_policies_a_life_passes_and_all_else_done_with_its_token_is_refused() {
    let Some(empty) = Solo::empty_on_pages().await else { return };
    let life = Life::prepare(&empty.scene).await;
    let documents = life.rights(&empty.scene, &[]);
    empty.scene.give(&documents).await;
    let policies = policies(&empty.scene, &empty.scene.name("p"), &[]);
    let in_force = InForce::put(&empty.scene, policies).await;
    let client = await_in_force(&empty.scene, &life.shop).await;
    let mut solo = Solo::begin(empty, &[]).await;
    life.play(&mut solo).await;
    let scene = &solo.scene;
    // The probe was none of the operator's own.
    let by_hand = |request: &Value| request["requestURI"].as_str().unwrap().contains("dryRun");
    let requests = solo.requests().into_iter().filter(|request| !by_hand(request));
    let refused: Vec<Value> = requests.filter(is_refused).collect();
    assert!(refused.is_empty(), "{refused:#?}");

    let object = scene.read_grant(&scene.name("g")).await;
    let hand =
        Hand { client, namespace: life.shop.clone(), grant: (object.name_any(), object.uid().unwrap()) };
    give_too_much(scene, &[&scene.secret, "foreign", "opaque", "stranger"]).await;
    solo.operator.kill();
    let mut deeds = Deeds::default();
    secrets_of_others(scene, &hand, &mut deeds).await;
    accounts_of_others(scene, &hand, &life, &mut deeds).await;
    objects_of_others(scene, &hand, object, &mut deeds).await;
    assert!(deeds.wrong.is_empty(), "{:#?}", deeds.wrong);
    say(&format!(
        "{} things done with the operator's token, each refused or not as it should be",
        deeds.count
    ));
    drop(in_force);
}

/// A request that somebody refused; those that lost a race are not, nor watches that were to stream a list.
fn is_refused(request: &Value) -> bool {
    request["verb"] != "watch"
        && matches!(request["responseStatus"]["code"].as_u64(), Some(400 | 403 | 422 | 500..))
}

/// What was done with the operator's token, and who refused it; judged together at the end.
#[derive(Default)]
struct Deeds {
    wrong: Vec<String>,
    count: usize,
}

impl Deeds {
    fn note(&mut self, what: &str, by: &str, wanted: &str) {
        self.count += 1;
        if by != wanted {
            self.wrong.push(format!("{what}: refused by {by}, and not by {wanted}"));
        }
    }
}

async fn secrets_of_others(scene: &Scene, hand: &Hand, deeds: &mut Deeds) {
    let place = &hand.namespace;
    let docker = "kubernetes.io/dockerconfigjson";
    let config = [(".dockerconfigjson", CONFIG.as_bytes())];
    scene.put_secret(place, "foreign", docker, &config, json!({})).await;
    scene.put_secret(place, "opaque", "Opaque", &[("key", b"value")], json!({})).await;
    // Somebody's label on it proves nothing.
    let labelled = json!({"labels": {keys::OWNER_UID_LABEL: hand.grant.1}});
    scene.put_secret(place, "stranger", docker, &config, labelled).await;
    let own = scene.secret.as_str();

    // The life goes on.
    deeds.note("changing its own", &hand.applies(own, json!({})).await, "none");
    deeds.note("making one", &hand.applies("new", json!({})).await, "none");
    // All else does not.
    let opaque = json!({"type": "Opaque", "stringData": {".dockerconfigjson": null}});
    let ownerless = json!({"metadata": {"ownerReferences": null}});
    let unlabelled = json!({"metadata": {"labels": null}});
    let of_another = json!({"metadata": {"labels": {keys::OWNER_UID_LABEL: "another"}}});
    let owned_by = |version: &str, kind: &str| {
        let owner = json!({"apiVersion": version, "kind": kind, "name": hand.grant.0, "uid": hand.grant.1});
        json!({"metadata": {"ownerReferences": [owner]}})
    };
    let version = format!("{}/{}", keys::GROUP, keys::VERSION);
    // Nor does our name, where it was not imps that applied.
    let mut pretended: Secret = serde_json::from_value(hand.secret("pretended", ownerless.clone())).unwrap();
    pretended.metadata.namespace = Some(place.clone());
    let as_imps = PostParams { field_manager: Some(keys::FIELD_MANAGER.to_owned()), ..PostParams::default() };
    Api::namespaced(scene.client.clone(), place).create(&as_imps, &pretended).await.unwrap();
    let refused = [
        ("overwriting a foreign Secret", hand.applies("foreign", json!({})).await),
        ("overwriting one with a forged label", hand.applies("stranger", json!({})).await),
        (
            "editing a foreign Secret",
            hand.edits("foreign", json!({"metadata": {"labels": {"a": "b"}}})).await,
        ),
        (
            "claiming a foreign Secret",
            hand.edits("foreign", hand.secret("foreign", json!({"data": null}))).await,
        ),
        ("editing an Opaque one", hand.edits("opaque", json!({"data": {"key": null}})).await),
        ("making an Opaque one", hand.applies("new-opaque", opaque).await),
        ("making one without an owner", hand.applies("new-ownerless", ownerless).await),
        ("making one without our label", hand.applies("new-unlabelled", unlabelled.clone()).await),
        ("making one whose label lies", hand.applies("new-forged", of_another).await),
        (
            "making one that another kind of object owns",
            hand.applies("new-kind", owned_by(&version, "Other")).await,
        ),
        (
            "making one that another group's object owns",
            hand.applies("new-group", owned_by("other.example/v1alpha1", keys::KIND)).await,
        ),
        ("changing one that only pretends to be its own", hand.applies("pretended", json!({})).await),
        ("taking our label off", hand.edits(own, json!({"metadata": {"labels": null}})).await),
        ("taking the owner off", hand.edits(own, json!({"metadata": {"ownerReferences": null}})).await),
        ("deleting a foreign Secret", hand.deletes("foreign").await),
        ("deleting an Opaque one", hand.deletes("opaque").await),
        ("deleting one with a forged label", hand.deletes("stranger").await),
    ];
    for (what, by) in &refused {
        deeds.note(what, by, "secrets");
    }

    // By a clear word on it, a foreign Secret may be taken over, for the object that it names.
    let consent = |name: &str| json!({"metadata": {"annotations": {keys::ADOPT_ANNOTATION: name}}});
    scene.edit_secret(place, "foreign", consent("another")).await;
    deeds.note("taking over what another may", &hand.applies("foreign", json!({})).await, "secrets");
    scene.edit_secret(place, "foreign", consent(&hand.grant.0)).await;
    deeds.note("deleting what it may take over", &hand.deletes("foreign").await, "secrets");
    deeds.note("taking it over", &hand.applies("foreign", json!({})).await, "none");
    deeds.note("deleting it then", &hand.deletes("foreign").await, "none");
    // A Secret of its own whose owner somebody has taken off is still its own.
    scene.edit_secret(place, own, json!({"metadata": {"ownerReferences": null}})).await;
    deeds.note("repairing an orphan", &hand.applies(own, json!({})).await, "none");
    deeds.note("deleting its own", &hand.deletes(own).await, "none");
    deeds.note("making it anew", &hand.applies(own, json!({})).await, "none");
}

/// An owner that would take the object along when it goes.
fn an_owner() -> Value {
    let owner = json!({"apiVersion": "v1", "kind": "Namespace", "name": "default", "uid": "u"});
    json!({"metadata": {"ownerReferences": [owner]}})
}

async fn accounts_of_others(scene: &Scene, hand: &Hand, life: &Life, deeds: &mut Deeds) {
    let robot = life.robot.as_str();
    let names = |names: &[&str]| {
        let list: Vec<Value> = names.iter().map(|name| json!({"name": name})).collect();
        json!({"imagePullSecrets": list})
    };
    let own = scene.secret.as_str();
    let everything = json!({
        "metadata": {"labels": {"a": "b"}, "annotations": {"a": "b"}, "finalizers": ["example.com/f"]},
        "secrets": [{"name": "mounted"}], "automountServiceAccountToken": false,
    });
    let accounts = Api::<ServiceAccount>::namespaced(scene.client.clone(), &hand.namespace);
    accounts.patch(robot, &PatchParams::default(), &Patch::Merge(everything)).await.unwrap();
    let account = json!({"metadata": {"name": "made"}});
    let made: ServiceAccount = serde_json::from_value(account).unwrap();

    deeds.note("its own name goes", &hand.edits_account(robot, names(&["theirs"])).await, "none");
    deeds.note("its own name comes", &hand.edits_account(robot, names(&["theirs", own])).await, "none");
    let refused = [
        ("mounting a token", json!({"automountServiceAccountToken": true})),
        ("leaving that open", json!({"automountServiceAccountToken": null})),
        ("another secret", json!({"secrets": [{"name": "mounted"}, {"name": own}]})),
        ("a label", json!({"metadata": {"labels": {"a": "c"}}})),
        ("an annotation", json!({"metadata": {"annotations": {"a": null}}})),
        ("a finalizer", json!({"metadata": {"finalizers": null}})),
        ("an owner", an_owner()),
        ("somebody's name taken out", names(&[own])),
        ("all taken out", json!({"imagePullSecrets": null})),
        ("somebody's name put in", names(&["theirs", own, "elsewhere"])),
        ("somebody's name twice", names(&["theirs", own, "theirs"])),
    ];
    for (what, change) in &refused {
        deeds.note(what, &hand.edits_account(robot, change.clone()).await, "service-accounts");
    }
    let deletes = hand.accounts().delete(robot, &DeleteParams::default()).await;
    deeds.note("deleting a ServiceAccount", &refused_by(deletes), "service-accounts");
    let creates = hand.accounts().create(&PostParams::default(), &made).await;
    deeds.note("making a ServiceAccount", &refused_by(creates), "service-accounts");
    let left = names_in(scene, &hand.namespace, robot).await.join(" ");
    deeds.note("what is left of the list", &left, &format!("theirs {own}"));
}

async fn objects_of_others(scene: &Scene, hand: &Hand, object: DynamicObject, deeds: &mut Deeds) {
    let name = object.name_any();
    let finalizers = |list: &[&str]| json!({"metadata": {"finalizers": list}});
    let guard = "example.com/guard";
    let guarded = Patch::Merge(finalizers(&[guard, keys::ACCOUNTS_FINALIZER]));
    scene.grants().patch(&name, &PatchParams::default(), &guarded).await.unwrap();
    deeds.note("its own finalizer goes", &hand.edits_grant(&name, finalizers(&[guard])).await, "none");
    let both = finalizers(&[guard, keys::ACCOUNTS_FINALIZER]);
    deeds.note("its own finalizer comes", &hand.edits_grant(&name, both).await, "none");
    let refused = [
        ("another target", json!({"spec": {"target": {"secret": {"name": "other"}}}})),
        ("a label", json!({"metadata": {"labels": {"a": "b"}}})),
        ("an annotation", json!({"metadata": {"annotations": {"a": "b"}}})),
        ("an owner", an_owner()),
        ("somebody's finalizer taken off", finalizers(&[keys::ACCOUNTS_FINALIZER])),
    ];
    for (what, change) in &refused {
        deeds.note(what, &hand.edits_grant(&name, change.clone()).await, "imagepullsecrets");
    }
    let deletes = hand.grants().delete(&name, &DeleteParams::default()).await;
    deeds.note("deleting an ImagePullSecret", &refused_by(deletes), "imagepullsecrets");
    let mut other = DynamicObject { metadata: Default::default(), ..object };
    other.metadata.name = Some(scene.name("other"));
    let creates = hand.grants().create(&PostParams::default(), &other).await;
    deeds.note("making an ImagePullSecret", &refused_by(creates), "imagepullsecrets");
    scene.grants().patch(&name, &PatchParams::default(), &Patch::Merge(finalizers(&[]))).await.unwrap();
}

#[tokio::test]
async fn adoption_passes_for_the_targets_that_the_policies_were_printed_with() {
    let Some(empty) = Solo::empty_on_pages().await else { return };
    let mut life = Life::prepare(&empty.scene).await;
    life.spec["target"]["secret"]["adopt"] = json!(true);
    let scene = &empty.scene;
    scene.give(&life.rights(scene, &[])).await;
    let config = [(".dockerconfigjson", CONFIG.as_bytes())];
    scene.put_secret(&life.shop, &scene.secret, "kubernetes.io/dockerconfigjson", &config, json!({})).await;
    let ignorant = InForce::put(scene, policies(scene, &scene.name("p"), &[])).await;
    let imps = await_in_force(scene, &life.yard).await;
    let solo = Solo::begin(empty, &[]).await;
    let scene = &solo.scene;
    let grant = scene.grant_as_is("g", life.spec.clone()).await;
    // The other namespace has no such Secret.
    let one_of_two = |status: &Value| status["targets"]["failed"] == 1 && status["targets"]["synced"] == 1;
    let status = scene.status(&grant, "one failed, the other did not", one_of_two).await;
    assert_eq!(status["failures"][0]["reason"], "TargetRefused");
    let message = status["failures"][0]["message"].as_str().unwrap();
    assert!(message.contains("policy") && message.contains("-secrets"), "{message}");

    let _knowing = InForce::put(scene, life.rights(scene, &["--policies"])).await;
    drop(ignorant);
    scene.ready_in(&grant, &[&life.shop, &life.yard]).await;
    // What may be taken over may not be deleted instead.
    let bank = scene.namespace("bank", json!({})).await;
    scene.put_secret(&bank, &scene.secret, "kubernetes.io/dockerconfigjson", &config, json!({})).await;
    let foreign = Api::<Secret>::namespaced(imps, &bank);
    assert_eq!(refused_by(foreign.delete(&scene.secret, &DeleteParams::default()).await), "secrets");
}

/// Somebody who may write ImagePullSecrets and read no Secret.
async fn author(scene: &Scene) -> (Api<DynamicObject>, String) {
    let name = scene.name("author");
    let account = json!({
        "apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": name, "namespace": scene.home},
    });
    let verbs = ["create", "get", "patch", "delete"];
    let rules = json!([{"apiGroups": [keys::GROUP], "resources": [keys::PLURAL], "verbs": verbs}]);
    manifest::apply(&scene.client, &[account]).await.unwrap();
    let user = format!("system:serviceaccount:{}:{name}", scene.home);
    give_to(scene, &name, None, rules).await;
    let writes = json!({"group": keys::GROUP, "resource": keys::PLURAL, "verb": "create"});
    super::stage::wait_for_right(&scene.client, &user, writes).await;
    let client = scene.client_of(&scene.home, &name).await;
    (Api::all_with(client, &grant_resource()), name)
}

/// Gives rules to an account of the scene's home: there, or in the whole cluster.
async fn give_to(scene: &Scene, account: &str, place: Option<&str>, rules: Value) {
    let kind = if place.is_some() { "Role" } else { "ClusterRole" };
    let rbac = "rbac.authorization.k8s.io";
    let metadata = json!({"name": account, "namespace": place});
    let role =
        json!({"apiVersion": format!("{rbac}/v1"), "kind": kind, "metadata": metadata, "rules": rules});
    let binding = json!({
        "apiVersion": format!("{rbac}/v1"), "kind": format!("{kind}Binding"), "metadata": metadata,
        "roleRef": {"apiGroup": rbac, "kind": kind, "name": account},
        "subjects": [{"kind": "ServiceAccount", "namespace": scene.home, "name": account}],
    });
    manifest::apply(&scene.client, &[role, binding]).await.unwrap();
}

#[tokio::test]
async fn an_author_hands_on_only_sources_that_they_may_read() {
    let Some(empty) = Solo::empty_on_pages().await else { return };
    let scene = &empty.scene;
    let (grants, account) = author(scene).await;
    let _in_force = InForce::put(scene, policies(scene, &scene.name("p"), &[])).await;
    let object = |word: &str, sources: &[&str]| -> DynamicObject {
        serde_json::from_value(json!({
            "apiVersion": format!("{}/{}", keys::GROUP, keys::VERSION), "kind": keys::KIND,
            "metadata": {"name": scene.name(word)}, "spec": scene.spec(sources, json!({})),
        }))
        .unwrap()
    };
    let dry = PostParams { dry_run: true, ..PostParams::default() };
    eventually("the policy is in force", async || {
        match refused_by(grants.create(&dry, &object("g", &["hub"])).await).as_str() {
            "authors" => Ok(()),
            other => Err(other.to_owned()),
        }
    })
    .await;
    let answer = grants.create(&PostParams::default(), &object("g", &["hub"])).await;
    let Err(kube::Error::Api(status)) = answer else { panic!("{answer:?}") };
    let told = format!("credentials[0]: you may not get the Secret {}/hub", scene.home);
    assert!(status.code == 403 && status.message.contains(&told), "{status:?}");

    let readable =
        json!([{"apiGroups": [""], "resources": ["secrets"], "verbs": ["get"], "resourceNames": ["hub"]}]);
    give_to(scene, &account, Some(&scene.home), readable).await;
    eventually("who may read it may list it", async || {
        let made = grants.create(&PostParams::default(), &object("g", &["hub"])).await;
        if refused_by(made) == "none" { Ok(()) } else { Err("refused".to_owned()) }
    })
    .await;
    let name = scene.name("g");
    let edits = async |patch: Value| {
        refused_by(grants.patch(&name, &PatchParams::default(), &Patch::Merge(patch)).await)
    };
    let elsewhere = json!({"spec": {"target": {"namespaces": {"names": ["mine"]}}}});
    let another = json!({"spec": scene.spec(&["hub", "other"], json!({}))});
    assert_eq!(edits(elsewhere.clone()).await, "none");
    assert_eq!(edits(another).await, "authors", "a source added later counts as well");
    // Whoever may no longer read a source sends it nowhere else, and may still do what has nothing to do with it.
    let none =
        json!([{"apiGroups": [""], "resources": ["secrets"], "verbs": ["get"], "resourceNames": ["none"]}]);
    give_to(scene, &account, Some(&scene.home), none).await;
    let further = |n: u32| json!({"spec": {"target": {"namespaces": {"names": [format!("mine{n}")]}}}});
    let mut tries = 0;
    eventually("the right is gone", async || {
        tries += 1;
        match edits(further(tries)).await.as_str() {
            "authors" => Ok(()),
            other => Err(other.to_owned()),
        }
    })
    .await;
    assert_eq!(edits(json!({"metadata": {"labels": {"a": "b"}}})).await, "none");
    assert_eq!(edits(json!({"metadata": {"annotations": {"a": "b"}}})).await, "none");
    // The administrator may read all.
    scene.grants().delete(&name, &DeleteParams::default()).await.unwrap();

    // As many as can be checked are, and not one more.
    let everything = json!([{"apiGroups": [""], "resources": ["secrets"], "verbs": ["get"]}]);
    give_to(scene, &account, Some(&scene.home), everything).await;
    let sources: Vec<String> = (0..=SOURCES_MAX).map(|n| format!("source{n}")).collect();
    let sources: Vec<&str> = sources.iter().map(String::as_str).collect();
    eventually("all that can be checked pass", async || {
        let made = grants.create(&PostParams::default(), &object("many", &sources[..SOURCES_MAX])).await;
        match refused_by(made).as_str() {
            "none" => Ok(()),
            other => Err(other.to_owned()),
        }
    })
    .await;
    assert_eq!(refused_by(grants.create(&dry, &object("more", &sources)).await), "authors");
    let distinct: BTreeSet<&str> = sources.iter().copied().collect();
    assert_eq!(distinct.len(), SOURCES_MAX + 1);
    grants.delete(&scene.name("many"), &DeleteParams::default()).await.unwrap();
    let all_but_last = json!([{
        "apiGroups": [""], "resources": ["secrets"], "verbs": ["get"], "resourceNames": sources[..SOURCES_MAX - 1],
    }]);
    give_to(scene, &account, Some(&scene.home), all_but_last).await;
    eventually("the last one counts as the first one does", async || {
        match refused_by(grants.create(&dry, &object("many", &sources[..SOURCES_MAX])).await).as_str() {
            "authors" => Ok(()),
            other => Err(other.to_owned()),
        }
    })
    .await;
}

#[tokio::test]
async fn the_api_server_has_nothing_to_say_about_the_expressions() {
    let Some(scene) = Scene::open().await else { return };
    if scene.plane().profile() != Profile::Full {
        // The check is made by kube-controller-manager.
        return imps_testbed::skip_or_fail("no kube-controller-manager to check expressions");
    }
    let documents = policies(&scene, &scene.name("p"), &[]);
    let (bindings, policies): (Vec<Value>, Vec<Value>) =
        documents.into_iter().partition(|document| document["kind"].as_str().unwrap().ends_with("Binding"));
    assert_eq!(bindings.len(), policies.len());
    // Without bindings they bind nobody.
    let policies = InForce::put(&scene, policies).await;
    for document in &policies.documents {
        let name = document["metadata"]["name"].as_str().unwrap();
        let api = manifest::api(&scene.client, document).unwrap();
        let checked = eventually(&format!("{name} is checked"), async || {
            let policy = api.get(name).await.map_err(|error| error.to_string())?;
            let status = policy.data["status"].clone();
            if status["typeChecking"].is_object() { Ok(status) } else { Err(format!("{status}")) }
        })
        .await;
        assert!(checked["typeChecking"]["expressionWarnings"].is_null(), "{checked:#}");
    }
}
