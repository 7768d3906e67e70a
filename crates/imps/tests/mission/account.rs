//! ServiceAccounts: who gets the name of the Secret, when, and what of the lists of others stays.

use std::time::{Duration, Instant};

use imps_api::keys;
use imps_testbed::{fresh_name, manifest};
use k8s_openapi::api::core::v1::{Pod, ServiceAccount};
use kube::api::{Api, Patch, PatchParams, PostParams};
use kube::{Client, ResourceExt};
use serde_json::{Value, json};

use super::read::condition;
use super::stage::{Login, Scene, Solo};
use super::wait::{always, assert_prompt, eventually, say};

const ROBOT: Login<'_> = ("robot", "first");
const NEXT: Login<'_> = ("robot", "second");
const IMAGE: &str = "reg.example/app";
/// How many ServiceAccounts two writers share.
const SHARED_ACCOUNTS: usize = 50;

fn accounts(client: &Client, namespace: &str) -> Api<ServiceAccount> {
    Api::namespaced(client.clone(), namespace)
}

/// The names in a list of pull secrets.
fn listed(account: &ServiceAccount) -> Vec<String> {
    account.image_pull_secrets.iter().flatten().map(|entry| entry.name.clone()).collect()
}

/// Makes a ServiceAccount with these pull secrets, or writes its list whole, as somebody who is not imps.
async fn put_account(scene: &Scene, namespace: &str, name: &str, secrets: &[&str]) -> ServiceAccount {
    let list: Vec<Value> = secrets.iter().map(|name| json!({ "name": name })).collect();
    let body = json!({
        "apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": name}, "imagePullSecrets": list,
    });
    let params = PatchParams::apply("somebody").force();
    accounts(&scene.client, namespace).patch(name, &params, &Patch::Apply(body)).await.unwrap()
}

/// Waits until a ServiceAccount has just these pull secrets, in this order.
async fn has_list(scene: &Scene, namespace: &str, name: &str, secrets: &[&str]) -> ServiceAccount {
    eventually(&format!("{namespace}/{name} names {secrets:?}"), async || {
        let account =
            accounts(&scene.client, namespace).get_opt(name).await.unwrap().ok_or("no such account")?;
        if listed(&account) == secrets { Ok(account) } else { Err(format!("{:?}", listed(&account))) }
    })
    .await
}

/// The version in which an object stands.
fn version(object: &impl ResourceExt) -> u64 {
    object.resource_version().unwrap().parse().unwrap()
}

/// Namespaces of the scene by name, with the Secret attached to these accounts.
fn attached(namespaces: &[&str], names: &[&str]) -> Value {
    json!({"namespaces": {"names": namespaces}, "serviceAccounts": {"names": names}})
}

async fn make_pod(scene: &Scene, namespace: &str, word: &str, spec: Value) -> Pod {
    let mut spec = spec;
    spec["automountServiceAccountToken"] = json!(false);
    spec["containers"] = json!([{"name": "c", "image": IMAGE}]);
    let pod = json!({"metadata": {"name": scene.name(word)}, "spec": spec});
    scene.pods(namespace).create(&PostParams::default(), &serde_json::from_value(pod).unwrap()).await.unwrap()
}

fn pulls_with(pod: &Pod) -> Vec<String> {
    let secrets = pod.spec.iter().flat_map(|spec| spec.image_pull_secrets.iter().flatten());
    secrets.map(|entry| entry.name.clone()).collect()
}

#[tokio::test]
async fn the_name_comes_after_the_secret_and_pods_made_from_then_on_have_it() {
    let Some(scene) = Scene::open().await else { return };
    let shop = scene.namespace("shop", json!({})).await;
    scene.source("hub", &[("reg.example", ROBOT)]).await;
    put_account(&scene, &shop, "default", &["theirs"]).await;
    put_account(&scene, &shop, "builder", &["theirs"]).await;
    let early = make_pod(&scene, &shop, "early", json!({})).await;
    let naming = json!({"imagePullSecrets": [{"name": scene.secret}]});
    let template = make_pod(&scene, &shop, "naming", naming).await;
    let grant = scene.grant("g", &["hub"], attached(&[&shop], &["default"])).await;

    let pull = scene.secret.clone();
    let account = has_list(&scene, &shop, "default", &["theirs", &pull]).await;
    let secret = scene.has_login(&shop, IMAGE, ROBOT).await;
    assert!(version(&secret) < version(&account), "first the Secret, then the name");
    let status = scene.ready_in(&grant, &[&shop]).await;
    assert_eq!(status["serviceAccounts"], json!({"attached": 1, "names": ["default"]}));
    let object = scene.read_grant(&grant).await;
    assert_eq!(object.finalizers(), [keys::ACCOUNTS_FINALIZER]);

    // The admission copies the list when a pod is made, and only then.
    let late = make_pod(&scene, &shop, "late", json!({})).await;
    assert_eq!(pulls_with(&late), ["theirs", &pull]);
    assert_eq!(pulls_with(&early), ["theirs"]);
    let early = scene.pods(&shop).get(&early.name_any()).await.unwrap();
    assert_eq!(pulls_with(&early), ["theirs"], "a pod that was there before does not get it");
    assert_eq!(pulls_with(&template), [pull.as_str()], "one that names the Secret itself needs no account");
    has_list(&scene, &shop, "builder", &["theirs"]).await;

    // A rotation is none of an account's business.
    scene.source("hub", &[("reg.example", NEXT)]).await;
    scene.has_login(&shop, IMAGE, NEXT).await;
    let now = accounts(&scene.client, &shop).get("default").await.unwrap();
    assert_eq!(version(&now), version(&account));
}

#[tokio::test]
async fn accounts_that_come_later_are_served_at_once() {
    let Some(scene) = Scene::open().await else { return };
    let shop = scene.namespace("shop", json!({})).await;
    scene.source("hub", &[("reg.example", ROBOT)]).await;
    let grant = scene.grant("g", &["hub"], attached(&[&shop], &["ci-*"])).await;
    scene.ready_in(&grant, &[&shop]).await;
    let mut took = Vec::new();
    for word in ["ci-one", "ci-two", "ci-three"] {
        let start = Instant::now();
        put_account(&scene, &shop, word, &["theirs"]).await;
        has_list(&scene, &shop, word, &["theirs", &scene.secret]).await;
        took.push(start.elapsed());
    }
    assert_prompt("a new ServiceAccount is attached to", &took);
    put_account(&scene, &shop, "other", &["theirs"]).await;
    scene.status(&grant, "three are attached", |status| status["serviceAccounts"]["attached"] == 3).await;
    has_list(&scene, &shop, "other", &["theirs"]).await;
}

#[tokio::test]
async fn a_name_goes_before_its_secret_does() {
    let Some(scene) = Scene::open().await else { return };
    let tags = || json!({"labels": {"team": scene.id}});
    let shop = scene.namespace("shop", tags()).await;
    let yard = scene.namespace("yard", tags()).await;
    scene.source("hub", &[("reg.example", ROBOT)]).await;
    for namespace in [&shop, &yard] {
        put_account(&scene, namespace, "robot", &["a"]).await;
    }
    let mut target = attached(&[], &["robot"]);
    target["namespaces"] = json!({"labels": [{"matchLabels": {"team": scene.id}}]});
    let grant = scene.grant("g", &["hub"], target).await;
    let pull = scene.secret.clone();
    for namespace in [&shop, &yard] {
        has_list(&scene, namespace, "robot", &["a", &pull]).await;
        put_account(&scene, namespace, "robot", &["a", &pull, "b"]).await;
    }

    // De-selected.
    scene.tag_namespace(&shop, json!({"labels": {"team": null}})).await;
    scene.has_no_target(&shop).await;
    let account = accounts(&scene.client, &shop).get("robot").await.unwrap();
    assert_eq!(listed(&account), ["a", "b"], "when the Secret is gone, nothing names it any more");
    has_list(&scene, &yard, "robot", &["a", &pull, "b"]).await;

    // The feature is no longer wanted: the Secret stays.
    let before = scene.target(&yard).await.unwrap();
    scene.edit_grant(&grant, json!({"target": {"serviceAccounts": null}})).await;
    has_list(&scene, &yard, "robot", &["a", "b"]).await;
    let status = scene.ready_in(&grant, &[&yard]).await;
    eventually("the finalizer is gone, as nothing has to be let go of", async || {
        let object = scene.read_grant(&grant).await;
        if object.finalizers().is_empty() { Ok(()) } else { Err(format!("{:?}", object.finalizers())) }
    })
    .await;
    assert_eq!(scene.target(&yard).await.unwrap().uid(), before.uid());
    assert!(status["serviceAccounts"].is_null() || status["serviceAccounts"]["attached"] == 0, "{status:#}");

    // Wanted again, and then the whole object goes.
    scene.edit_grant(&grant, json!({"target": {"serviceAccounts": {"names": ["robot"]}}})).await;
    has_list(&scene, &yard, "robot", &["a", "b", &pull]).await;
    scene.delete_grant(&grant).await;
    has_list(&scene, &yard, "robot", &["a", "b"]).await;
    scene.has_no_target(&yard).await;
    gone(&scene, &grant).await;
}

/// Waits until an `ImagePullSecret` is gone.
async fn gone(scene: &Scene, grant: &str) {
    eventually(&format!("{grant} is gone"), async || match scene.grants().get_opt(grant).await.unwrap() {
        None => Ok(()),
        Some(object) => Err(format!("{:?}", object.metadata.finalizers)),
    })
    .await;
}

#[tokio::test]
async fn an_object_that_is_deleted_while_imps_is_away_is_detached_when_it_is_back() {
    let Some(mut solo) = Solo::open(&[]).await else { return };
    let scene = &solo.scene;
    let shop = scene.namespace("shop", json!({})).await;
    scene.source("hub", &[("reg.example", ROBOT)]).await;
    put_account(scene, &shop, "robot", &["theirs"]).await;
    let grant = scene.grant("g", &["hub"], attached(&[&shop], &["robot"])).await;
    has_list(scene, &shop, "robot", &["theirs", &scene.secret]).await;
    scene.ready_in(&grant, &[&shop]).await;
    solo.operator.kill();
    let scene = &solo.scene;
    scene.delete_grant(&grant).await;
    let object = scene.read_grant(&grant).await;
    assert!(object.metadata.deletion_timestamp.is_some(), "the finalizer holds it");
    solo.operator.begin().await.unwrap();
    let scene = &solo.scene;
    has_list(scene, &shop, "robot", &["theirs"]).await;
    scene.has_no_target(&shop).await;
    gone(scene, &grant).await;
}

#[tokio::test]
async fn a_restart_in_which_nothing_changed_writes_no_account() {
    let Some(mut solo) = Solo::open(&[]).await else { return };
    let scene = &solo.scene;
    let shop = scene.namespace("shop", json!({})).await;
    scene.source("hub", &[("reg.example", ROBOT)]).await;
    put_account(scene, &shop, "robot", &["theirs"]).await;
    let grant = scene.grant("g", &["hub"], attached(&[&shop], &["*"])).await;
    has_list(scene, &shop, "robot", &["theirs", &scene.secret]).await;
    scene.ready_in(&grant, &[&shop]).await;
    solo.crash_and_restart().await;
    let before = solo.writes().len();
    // Whatever it had to say, it says at once; then somebody else's edit shows that it is awake.
    put_account(&solo.scene, &shop, "late", &[]).await;
    has_list(&solo.scene, &shop, "late", &[&solo.scene.secret]).await;
    let writes = solo.writes()[before..].to_vec();
    let edits = writes.iter().filter(|write| write.contains("/serviceaccounts/")).collect::<Vec<_>>();
    assert_eq!(edits.len(), 1, "only the new one: {writes:#?}");
    assert!(!writes.iter().any(|write| write.contains("/secrets/")), "{writes:#?}");
}

#[tokio::test]
async fn imps_does_not_fight_whoever_takes_the_name_out_again_and_again() {
    let Some(scene) = Scene::open().await else { return };
    let shop = scene.namespace("shop", json!({})).await;
    let yard = scene.namespace("yard", json!({})).await;
    scene.source("hub", &[("reg.example", ROBOT)]).await;
    for namespace in [&shop, &yard] {
        put_account(&scene, namespace, "robot", &["theirs"]).await;
    }
    let grant = scene.grant("g", &["hub"], attached(&[&shop, &yard], &["robot"])).await;
    has_list(&scene, &yard, "robot", &["theirs", &scene.secret]).await;
    // A tool that owns the whole list, and writes it whenever it differs.
    let mut thefts = 0;
    let mut calm = Instant::now();
    while calm.elapsed() < Duration::from_secs(2) && thefts < 50 {
        let account = accounts(&scene.client, &shop).get("robot").await.unwrap();
        if listed(&account) == ["theirs"] {
            tokio::time::sleep(Duration::from_millis(20)).await;
        } else {
            put_account(&scene, &shop, "robot", &["theirs"]).await;
            thefts += 1;
            calm = Instant::now();
        }
    }
    say(&format!("imps put the name back {} times, and then no more", thefts - 1));
    assert!((3..10).contains(&thefts), "{thefts}");
    let status = scene.status(&grant, "one failed", |status| status["targets"]["failed"] == 1).await;
    let failure = &status["failures"][0];
    assert_eq!(
        (failure["reason"].as_str(), failure["namespace"].as_str()),
        (Some("ServiceAccountContended"), Some(shop.as_str()))
    );
    assert!(failure["message"].as_str().unwrap().contains("managedFields"), "{failure}");
    assert_eq!(condition(&status, "Stalled").unwrap()["reason"], "TargetsDegraded");
    scene.event(&grant, "ServiceAccountReconciliationError", "keeps taking").await;
    // The Secret itself is kept up all the same, here and everywhere.
    scene.source("hub", &[("reg.example", NEXT)]).await;
    scene.has_login(&shop, IMAGE, NEXT).await;
    scene.has_login(&yard, IMAGE, NEXT).await;
    has_list(&scene, &yard, "robot", &["theirs", &scene.secret]).await;
    // Whoever gives in ends it.
    put_account(&scene, &shop, "robot", &["theirs", &scene.secret]).await;
    scene.ready_in(&grant, &[&shop, &yard]).await;
}

#[tokio::test]
async fn two_writers_lose_nothing_of_each_other() {
    let Some(scene) = Scene::open().await else { return };
    let shop = scene.namespace("shop", json!({})).await;
    scene.source("hub", &[("reg.example", ROBOT)]).await;
    let names: Vec<String> = (0..SHARED_ACCOUNTS).map(|index| format!("ci-{index}")).collect();
    for name in &names {
        put_account(&scene, &shop, name, &[]).await;
    }
    let grant = scene.grant("g", &["hub"], attached(&[&shop], &[])).await;
    scene.permit_accounts(&["ci-*"]).await;
    let api = accounts(&scene.client, &shop);
    let (stop, mut stopped) = tokio::sync::watch::channel(false);
    let other = async {
        // As OpenShift's controllers and many scripts do: read, append a name of one's own, replace; again on a
        // conflict.
        let mut round = 0;
        let mut conflicts = 0;
        while !*stopped.borrow_and_update() || round < 3 {
            for name in &names {
                loop {
                    let mut account = api.get(name).await.unwrap();
                    let mine =
                        k8s_openapi::api::core::v1::LocalObjectReference { name: format!("theirs-{round}") };
                    account.image_pull_secrets.get_or_insert_default().push(mine);
                    match api.replace(name, &PostParams::default(), &account).await {
                        Ok(_) => break,
                        Err(kube::Error::Api(status)) if status.code == 409 => conflicts += 1,
                        Err(error) => panic!("{error}"),
                    }
                }
            }
            round += 1;
        }
        (round, conflicts)
    };
    let imps = async {
        // Meanwhile the Secret is attached to all of them, detached, and attached again.
        for names in [json!(["ci-*"]), json!([]), json!(["ci-*"])] {
            let wanted = if names.as_array().unwrap().is_empty() { 0 } else { SHARED_ACCOUNTS };
            let edit = json!({"spec": {"target": {"serviceAccounts": {"names": names}}}});
            let params = PatchParams::default();
            scene.grants().patch(&grant, &params, &Patch::Merge(edit)).await.unwrap();
            eventually(&format!("{wanted} accounts name the Secret"), async || {
                let all = api.list(&Default::default()).await.unwrap();
                let count = all.iter().filter(|account| listed(account).contains(&scene.secret)).count();
                if count == wanted { Ok(()) } else { Err(count.to_string()) }
            })
            .await;
        }
        stop.send(true).unwrap();
    };
    let ((rounds, conflicts), ()) = tokio::join!(other, imps);
    say(&format!(
        "{rounds} rounds of the other writer over {SHARED_ACCOUNTS} accounts, {conflicts} conflicts"
    ));
    let theirs: Vec<String> = (0..rounds).map(|round| format!("theirs-{round}")).collect();
    for name in &names {
        let list = listed(&api.get(name).await.unwrap());
        let (ours, others): (Vec<String>, Vec<String>) = list.into_iter().partition(|n| *n == scene.secret);
        assert_eq!(others, theirs, "{name}: every name of the other, in its order");
        assert_eq!(ours.len(), 1, "{name}: ours, once");
    }
    scene.ready_in(&grant, &[&shop]).await;
}

#[tokio::test]
async fn without_rights_on_accounts_the_secrets_are_kept_up_and_taken_away_all_the_same() {
    let Some(solo) = Solo::open(&[]).await else { return };
    let scene = &solo.scene;
    let tags = || json!({"labels": {"team": scene.id}});
    let shop = scene.namespace("shop", tags()).await;
    let yard = scene.namespace("yard", tags()).await;
    scene.source("hub", &[("reg.example", ROBOT)]).await;
    let robot = scene.name("robot");
    put_account(scene, &shop, &robot, &["theirs"]).await;
    let mut spec =
        scene.spec(&["hub"], json!({"namespaces": {"labels": [{"matchLabels": {"team": scene.id}}]}}));
    let grant = scene.grant("g", &["hub"], spec["target"].clone()).await;
    scene.ready_in(&grant, &[&shop, &yard]).await;
    // As whoever edits the object, and forgets the role.
    spec["target"]["serviceAccounts"] = json!({"names": [robot]});
    let patch = Patch::Merge(json!({ "spec": spec }));
    scene.grants().patch(&grant, &PatchParams::default(), &patch).await.unwrap();
    let status = scene
        .status(&grant, "a right is missing", |status| {
            condition(status, "Ready").is_some_and(|ready| ready["reason"] == "AccessDenied")
        })
        .await;
    let message = condition(&status, "Ready").unwrap()["message"].as_str().unwrap();
    assert!(message.contains("serviceaccounts") && message.contains("imps rbac"), "{message}");
    scene.source("hub", &[("reg.example", NEXT)]).await;
    scene.has_login(&shop, IMAGE, NEXT).await;
    scene.tag_namespace(&yard, json!({"labels": {"team": null}})).await;
    scene.has_no_target(&yard).await;
    has_list(scene, &shop, &robot, &["theirs"]).await;
    // Of another object, nobody minds.
    let other = json!({"namespaces": {"names": [&shop]}, "secret": {"name": scene.name("other")}});
    let other = scene.grant("other", &["hub"], other).await;
    scene.ready_in(&other, &[&shop]).await;
    scene.permit_accounts(&[&robot]).await;
    has_list(scene, &shop, &robot, &["theirs", &scene.secret]).await;
    scene.ready_in(&grant, &[&shop]).await;
}

#[tokio::test]
async fn an_account_that_may_not_be_edited_is_named_and_keeps_no_object_from_going() {
    let Some(solo) = Solo::open(&[]).await else { return };
    let scene = &solo.scene;
    let shop = scene.namespace("shop", json!({})).await;
    let yard = scene.namespace("yard", json!({})).await;
    scene.source("hub", &[("reg.example", ROBOT)]).await;
    for namespace in [&shop, &yard] {
        put_account(scene, namespace, "robot", &["theirs"]).await;
    }
    let grant = scene.grant("g", &["hub"], attached(&[&shop, &yard], &["robot"])).await;
    has_list(scene, &shop, "robot", &["theirs", &scene.secret]).await;
    has_list(scene, &yard, "robot", &["theirs", &scene.secret]).await;
    // A policy of the platform: nobody edits the accounts of this namespace any more.
    let policy = refuse_account_edits(scene, &shop).await;
    scene.delete_grant(&grant).await;
    has_list(scene, &yard, "robot", &["theirs"]).await;
    gone(scene, &grant).await;
    scene.has_no_target(&shop).await;
    has_list(scene, &shop, "robot", &["theirs", &scene.secret]).await;
    let log = solo.operator.log();
    assert!(log.contains("serviceaccount not edited") && log.contains("hands-off"), "{log}");
    manifest::delete(&scene.client, &policy).await.unwrap();
}

/// Makes the API server refuse every update of a ServiceAccount in a namespace, and waits until it does.
async fn refuse_account_edits(scene: &Scene, namespace: &str) -> [Value; 2] {
    let name = scene.name("hands-off");
    let documents = [
        json!({
            "apiVersion": "admissionregistration.k8s.io/v1", "kind": "ValidatingAdmissionPolicy",
            "metadata": {"name": name},
            "spec": {
                "failurePolicy": "Fail",
                "matchConstraints": {"resourceRules": [{
                    "apiGroups": [""], "apiVersions": ["v1"], "operations": ["UPDATE"],
                    "resources": ["serviceaccounts"],
                }]},
                "validations": [{"expression": "false", "message": "hands off"}],
            },
        }),
        json!({
            "apiVersion": "admissionregistration.k8s.io/v1", "kind": "ValidatingAdmissionPolicyBinding",
            "metadata": {"name": name},
            "spec": {
                "policyName": name, "validationActions": ["Deny"],
                "matchResources": {"namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": namespace}}},
            },
        }),
    ];
    manifest::apply(&scene.client, &documents).await.unwrap();
    let api = accounts(&scene.client, namespace);
    eventually("the policy is in force", async || {
        let stamp = json!({"metadata": {"annotations": {"stamp": fresh_name("s")}}});
        match api.patch("robot", &PatchParams::default(), &Patch::Merge(stamp)).await {
            Err(kube::Error::Api(status)) if status.message.contains("hands off") => Ok(()),
            other => Err(format!("{:?}", other.map(|account| account.name_any()))),
        }
    })
    .await;
    documents
}

#[tokio::test]
async fn nothing_is_attached_in_place_of_a_secret_of_somebody_else() {
    let Some(scene) = Scene::open().await else { return };
    let shop = scene.namespace("shop", json!({})).await;
    let yard = scene.namespace("yard", json!({})).await;
    scene.source("hub", &[("reg.example", ROBOT)]).await;
    scene.put_secret(&shop, &scene.secret, "Opaque", &[("key", b"value")], json!({})).await;
    // In the yard, which is not selected, somebody uses a Secret of that very name.
    put_account(&scene, &yard, "robot", &[&scene.secret]).await;
    put_account(&scene, &shop, "robot", &["theirs"]).await;
    let grant = scene.grant("g", &["hub"], attached(&[&shop], &["robot"])).await;
    scene.status(&grant, "a conflict", |status| status["targets"]["conflict"] == 1).await;
    always(Duration::from_millis(500), "both lists stay", async || {
        let at =
            async |namespace: &str| listed(&accounts(&scene.client, namespace).get("robot").await.unwrap());
        let seen = (at(&shop).await, at(&yard).await);
        if seen == (vec!["theirs".to_owned()], vec![scene.secret.clone()]) {
            Ok(())
        } else {
            Err(format!("{seen:?}"))
        }
    })
    .await;
    scene.delete_secret(&shop, &scene.secret).await;
    has_list(&scene, &shop, "robot", &["theirs", &scene.secret]).await;
    has_list(&scene, &yard, "robot", &[&scene.secret]).await;
}
