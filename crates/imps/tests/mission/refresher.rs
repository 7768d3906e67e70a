//! `imps refresher`: one Secret, kept without a custom resource and without a right on anything else.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::time::Duration;

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use imps_api::keys;
use imps_core::dockerconfig::Format;
use imps_testbed::{Operator, Run, fresh_name, manifest, operator};
use k8s_openapi::api::core::v1::Secret;
use kube::ResourceExt;
use kube::api::PostParams;
use serde_json::{Value, json};

use super::canary::{canary, find};
use super::read::{content, docker_config, kubelet_uses, registries, version};
use super::stage::{Login, Scene, Solo, binary, may, wait_for_right};
use super::wait::{always, assert_prompt, eventually, say};

const ROBOT: Login<'_> = ("robot", "first");
const NEXT: Login<'_> = ("robot", "second");
const IMAGE: &str = "reg.example/team/app:1";
/// How long something is watched that must not happen.
const QUIET: Duration = Duration::from_secs(1);

/// A refresher for the Secret of a scene in one namespace.
struct Refresher {
    operator: Operator,
    /// The namespace of the target.
    shop: String,
    /// Its user.
    user: String,
}

/// The arguments that name the Secrets, for `imps refresher` and `imps rbac` alike.
fn secrets(scene: &Scene, sources: &[&str], shop: &str) -> Vec<String> {
    let sources = sources.iter().map(|name| format!("--source-secret={}.{name}", scene.home));
    sources.chain([format!("--target-secret={shop}.{}", scene.secret)]).collect()
}

/// Starts `program` under an account of its own, which has the rights that `imps rbac` prints and no other.
async fn start(
    scene: &Scene,
    shop: &str,
    sources: &[&str],
    program: (&Path, Option<&str>),
    more: &[&str],
) -> Refresher {
    let account = fresh_name("refresher");
    let secrets = secrets(scene, sources, shop);
    let roles = operator::rights_of(binary(), &secrets, &account, &scene.home, &account).unwrap();
    manifest::apply(&scene.client, &roles).await.unwrap();
    let user = format!("system:serviceaccount:{}:{account}", scene.home);
    let known = |namespace: &str, name: &str| {
        let verb = "watch";
        json!({"resource": "secrets", "verb": verb, "name": name, "namespace": namespace})
    };
    for source in sources {
        wait_for_right(&scene.client, &user, known(&scene.home, source)).await;
    }
    wait_for_right(&scene.client, &user, known(shop, &scene.secret)).await;
    let arguments: Vec<&str> = secrets.iter().map(String::as_str).chain(more.iter().copied()).collect();
    let (binary, subcommand) = program;
    let run = Run { binary, subcommand, namespace: &scene.home, account: &account, arguments: &arguments };
    let operator = Operator::start(scene.plane(), &run).await.unwrap();
    operator.ready().await.unwrap();
    Refresher { operator, shop: shop.to_owned(), user }
}

/// As [`start`], as a subcommand, in a new namespace.
async fn start_in(scene: &Scene, word: &str, sources: &[&str], more: &[&str]) -> Refresher {
    let shop = scene.namespace(word, json!({})).await;
    start(scene, &shop, sources, (binary(), Some("refresher")), more).await
}

impl Refresher {
    /// Waits for a line of the log that has all these words.
    async fn says(&self, words: &[&str]) -> Value {
        eventually(&format!("the log says {words:?}"), async || {
            let log = self.operator.log();
            match log.lines().find(|line| words.iter().all(|word| line.contains(word))) {
                Some(line) => Ok(serde_json::from_str(line).unwrap()),
                None => Err(log),
            }
        })
        .await
    }

    async fn metric(&self, line: &str) {
        eventually(&format!("the metrics have {line}"), async || {
            let (_, page) = self.operator.get("/metrics").await.map_err(|error| error.to_string())?;
            if page.lines().any(|found| found == line) { Ok(()) } else { Err(page) }
        })
        .await;
    }

    fn targets(&self, scene: &Scene, state: &str, count: usize) -> String {
        format!(r#"imps_targets{{name="{}/{}",state="{state}"}} {count}"#, self.shop, scene.secret)
    }
}

impl Drop for Refresher {
    fn drop(&mut self) {
        if std::thread::panicking() {
            say(&format!("what the refresher says:\n{}", self.operator.log()));
        }
    }
}

/// What the original's refresher wrote: a PUT with a copy of all in an annotation, and neither label nor owner.
async fn write_as_the_original(scene: &Scene, namespace: &str, metadata: Value) -> Secret {
    let old = docker_config(&[("reg.example", ("robot", "stale")), ("gone.example", ("old", "old"))]);
    let mut secret = json!({
        "metadata": metadata,
        "type": Format::DockerConfigJson.secret_type(),
        "data": {".dockerconfigjson": BASE64_STANDARD.encode(old)},
    });
    secret["metadata"]["name"] = json!(scene.secret);
    let params = PostParams { field_manager: Some("refresher".to_owned()), ..PostParams::default() };
    scene.secrets(namespace).create(&params, &serde_json::from_value(secret).unwrap()).await.unwrap()
}

#[tokio::test]
async fn it_makes_one_secret_of_all_its_sources_and_the_first_one_wins() {
    let Some(scene) = Scene::open().await else { return };
    scene.source("hub", &[("reg.example", ROBOT), ("one.example", ("one", "1"))]).await;
    scene.source("dotted.name", &[("reg.example", ("loser", "x")), ("two.example", ("two", "2"))]).await;
    let refresher = start_in(&scene, "shop", &["hub", "dotted.name"], &[]).await;
    let shop = &refresher.shop;
    let secret = scene.has_login(shop, IMAGE, ROBOT).await;
    assert_eq!(registries(&secret), ["one.example", "reg.example", "two.example"].map(str::to_owned).into());
    assert_eq!(kubelet_uses(&secret, "two.example/app").unwrap(), [("two".to_owned(), "2".to_owned())]);
    assert_eq!(secret.type_.as_deref(), Some(Format::DockerConfigJson.secret_type()));
    assert_eq!(
        serde_json::to_value(secret.labels()).unwrap(),
        json!({"app.kubernetes.io/managed-by": "imps"})
    );
    assert!(secret.annotations().is_empty() && secret.owner_references().is_empty(), "{:?}", secret.metadata);

    let line = refresher.says(&["the target is as it should be"]).await;
    assert_eq!(
        (&line["level"], &line["secret"]),
        (&json!("INFO"), &json!(format!("{shop}/{}", scene.secret)))
    );
    refresher.metric(&refresher.targets(&scene, "synced", 1)).await;
    for path in ["/livez", "/readyz"] {
        assert_eq!(refresher.operator.get(path).await.unwrap(), (200, "ok\n".to_owned()), "{path}");
    }
    // Another name in the namespace, and the name in another namespace, are not its business.
    assert_eq!(scene.holders(&scene.secret).await, BTreeSet::from([shop.clone()]));
}

#[tokio::test]
async fn a_rotation_and_every_repair_keep_the_secret_s_uid() {
    let Some(scene) = Scene::open().await else { return };
    scene.source("hub", &[("reg.example", ROBOT)]).await;
    let refresher = start_in(&scene, "shop", &["hub"], &[]).await;
    let shop = &refresher.shop;
    let first = scene.has_login(shop, IMAGE, ROBOT).await;
    scene.source("hub", &[("reg.example", NEXT)]).await;
    let rotated = scene.has_login(shop, IMAGE, NEXT).await;
    assert_eq!(rotated.uid(), first.uid());

    let evil = BASE64_STANDARD.encode(docker_config(&[("reg.example", ("eve", "evil"))]));
    let label = keys::MANAGED_BY_LABEL;
    let edits = [
        ("data edited", json!({"data": {".dockerconfigjson": evil}})),
        ("label taken", json!({"metadata": {"labels": {label: "helm"}}})),
        ("both", json!({"metadata": {"labels": {label: null}}, "data": {".dockerconfigjson": evil}})),
        (
            "given to an ImagePullSecret",
            json!({"metadata": {"labels": {keys::OWNER_UID_LABEL: "g"}}, "data": {".dockerconfigjson": evil}}),
        ),
    ];
    for (what, edit) in edits {
        let start = std::time::Instant::now();
        scene.edit_secret(shop, &scene.secret, edit).await;
        eventually(&format!("{what}: repaired"), async || {
            let now = scene.target(shop).await.ok_or("it is gone")?;
            assert_eq!(now.uid(), first.uid(), "{what}: in place");
            let whole = content(&now) == content(&rotated) && now.labels()[label] == "imps";
            if whole { Ok(()) } else { Err(format!("{:?}", now.metadata)) }
        })
        .await;
        assert_prompt(what, &[start.elapsed()]);
    }
    scene.delete_secret(shop, &scene.secret).await;
    scene.has_login(shop, IMAGE, NEXT).await;
}

#[tokio::test]
async fn a_secret_that_it_did_not_make_is_left_alone_until_it_is_gone() {
    let Some(scene) = Scene::open().await else { return };
    scene.source("hub", &[("reg.example", ROBOT)]).await;
    let shop = scene.namespace("shop", json!({})).await;
    let data = docker_config(&[("reg.example", ("tenant", "own"))]);
    let data: &[(&str, &[u8])] = &[(".dockerconfigjson", data.as_bytes())];
    // The label alone proves nothing.
    let forged = json!({"labels": {keys::MANAGED_BY_LABEL: "imps"}});
    scene.put_secret(&shop, &scene.secret, Format::DockerConfigJson.secret_type(), data, forged).await;
    let before = version(&scene.target(&shop).await.unwrap());
    let refresher = start(&scene, &shop, &["hub"], (binary(), Some("refresher")), &[]).await;
    let line = refresher.says(&["TargetConflict"]).await;
    assert_eq!(
        (&line["level"], &line["secret"]),
        (&json!("WARN"), &json!(format!("{shop}/{}", scene.secret)))
    );
    let message = line["message"].as_str().unwrap();
    assert!(message.contains("left alone; rename or delete it, or use another --target-secret"), "{message}");
    refresher.metric(&refresher.targets(&scene, "conflict", 1)).await;
    scene.source("hub", &[("reg.example", NEXT)]).await;
    always(QUIET, "the foreign Secret is untouched", async || {
        let now = version(&scene.target(&shop).await.ok_or("it is gone")?);
        if now == before { Ok(()) } else { Err(format!("{now:?}, was {before:?}")) }
    })
    .await;
    // Ready means that all was read.
    assert_eq!(refresher.operator.get("/readyz").await.unwrap().0, 200);
    scene.delete_secret(&shop, &scene.secret).await;
    scene.has_login(&shop, IMAGE, NEXT).await;
    refresher.metric(&refresher.targets(&scene, "conflict", 0)).await;
}

#[tokio::test]
async fn refresher_and_controller_leave_each_other_s_secrets_alone() {
    let Some(scene) = Scene::open().await else { return };
    scene.source("hub", &[("reg.example", ROBOT)]).await;
    scene.source("other", &[("reg.example", NEXT)]).await;
    let yard = scene.namespace("yard", json!({})).await;
    let grant =
        scene.grant("g", &["hub"], json!({"namespaces": {"names": [&yard, scene.name("shop")]}})).await;
    let made = scene.has_login(&yard, IMAGE, ROBOT).await;
    scene.ready_in(&grant, &[&yard]).await;
    // The controller was first.
    let refresher = start(&scene, &yard, &["other"], (binary(), Some("refresher")), &[]).await;
    refresher.says(&["TargetConflict", "that this refresher did not make"]).await;
    always(QUIET, "the controller's Secret is untouched", async || {
        let now = scene.target(&yard).await.ok_or("it is gone")?;
        if version(&now) == version(&made) { Ok(()) } else { Err(format!("{:?}", now.metadata)) }
    })
    .await;
    scene.delete_grant(&grant).await;
    scene.has_login(&yard, IMAGE, NEXT).await;

    // The refresher was first.
    scene.grant("late", &["hub"], json!({"namespaces": {"names": [&yard]}})).await;
    let kept = scene.target(&yard).await.unwrap();
    let late = scene.name("late");
    scene.status(&late, "a conflict", |status| status["targets"]["conflict"] == 1).await;
    // Not even when somebody writes the controller's label on it.
    let uid = scene.read_grant(&late).await.uid().unwrap();
    scene
        .edit_secret(&yard, &scene.secret, json!({"metadata": {"labels": {keys::OWNER_UID_LABEL: uid}}}))
        .await;
    scene.delete_grant(&late).await;
    always(QUIET, "the refresher's Secret stays", async || {
        let now = scene.target(&yard).await.ok_or("it is gone")?;
        if now.uid() == kept.uid() && content(&now) == content(&kept) {
            Ok(())
        } else {
            Err("changed".to_owned())
        }
    })
    .await;
}

#[tokio::test]
async fn what_the_original_s_refresher_wrote_is_taken_over_in_place_and_its_copy_is_scrubbed() {
    let Some(scene) = Scene::open().await else { return };
    scene.source("hub", &[("reg.example", ROBOT)]).await;
    let shop = scene.namespace("shop", json!({})).await;
    let copy =
        json!({"annotations": {keys::LEGACY_COPY_ANNOTATION: "UEsDBBQACAgIAAAAAAA", "note": "theirs"}});
    let original = write_as_the_original(&scene, &shop, copy).await;
    let refresher = start(&scene, &shop, &["hub"], (binary(), Some("refresher")), &[]).await;
    let taken = scene.has_login(&shop, IMAGE, ROBOT).await;
    assert_eq!(taken.uid(), original.uid());
    assert_eq!(registries(&taken), BTreeSet::from(["reg.example".to_owned()]));
    eventually("the copy is gone", async || {
        let annotations = scene.target(&shop).await.ok_or("it is gone")?.annotations().clone();
        let rest: Vec<&str> = annotations.keys().map(String::as_str).collect();
        if rest == ["note"] { Ok(()) } else { Err(format!("{rest:?}")) }
    })
    .await;
    refresher.metric(&refresher.targets(&scene, "synced", 1)).await;

    // One without that annotation is anybody's.
    let yard = scene.namespace("yard", json!({})).await;
    let foreign = write_as_the_original(&scene, &yard, json!({})).await;
    let other = start(&scene, &yard, &["hub"], (binary(), Some("refresher")), &[]).await;
    other.says(&["TargetConflict"]).await;
    assert_eq!(version(&scene.target(&yard).await.unwrap()), version(&foreign));
}

#[tokio::test]
async fn a_deleted_source_empties_the_secret_after_the_grace_and_never_deletes_it() {
    let Some(scene) = Scene::open().await else { return };
    scene.source("hub", &[("reg.example", ROBOT)]).await;
    let refresher = start_in(&scene, "shop", &["hub"], &["--missing-source-grace", "3"]).await;
    let shop = &refresher.shop;
    let first = scene.has_login(shop, IMAGE, ROBOT).await;
    scene.delete_secret(&scene.home, "hub").await;
    let line = refresher.says(&["SourceMissing"]).await;
    assert_eq!((&line["level"], &line["secret"]), (&json!("WARN"), &json!(format!("{}/hub", scene.home))));
    let message = line["message"].as_str().unwrap();
    assert!(message.contains("create it, or remove it from --source-secret"), "{message}");
    let during = version(&scene.target(shop).await.unwrap());
    assert_eq!(during, version(&first), "the credentials stay for the grace");
    let emptied = eventually("the Secret is empty", async || {
        let now = scene.target(shop).await.expect("it is never deleted");
        if registries(&now).is_empty() { Ok(now) } else { Err(format!("{:?}", registries(&now))) }
    })
    .await;
    assert_eq!(emptied.uid(), first.uid());
    scene.source("hub", &[("reg.example", NEXT)]).await;
    assert_eq!(scene.has_login(shop, IMAGE, NEXT).await.uid(), first.uid());
}

#[tokio::test]
async fn a_namespace_that_is_not_there_is_tried_again_and_named() {
    let Some(scene) = Scene::open().await else { return };
    scene.source("hub", &[("reg.example", ROBOT)]).await;
    // A role in a namespace that is not there cannot be, so the account is given this right everywhere.
    let account = fresh_name("refresher");
    let rule = json!({
        "apiGroups": [""], "resources": ["secrets"], "resourceNames": ["hub", scene.secret],
        "verbs": ["create", "get", "list", "patch", "watch"],
    });
    let role = json!({
        "apiVersion": "rbac.authorization.k8s.io/v1", "kind": "ClusterRole",
        "metadata": {"name": account}, "rules": [rule],
    });
    let binding = json!({
        "apiVersion": "rbac.authorization.k8s.io/v1", "kind": "ClusterRoleBinding", "metadata": {"name": account},
        "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": account},
        "subjects": [{"kind": "ServiceAccount", "namespace": scene.home, "name": account}],
    });
    manifest::apply(&scene.client, &[role, binding]).await.unwrap();
    let user = format!("system:serviceaccount:{}:{account}", scene.home);
    wait_for_right(&scene.client, &user, json!({"resource": "secrets", "verb": "watch", "name": "hub"}))
        .await;
    let shop = scene.name("shop");
    let mut arguments = secrets(&scene, &["hub"], &shop);
    // Nothing but the back-off makes it try again.
    arguments.extend(["--periodic-reconcile-interval".to_owned(), "0".to_owned()]);
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let run = Run {
        binary: binary(),
        subcommand: Some("refresher"),
        namespace: &scene.home,
        account: &account,
        arguments: &arguments,
    };
    let operator = Operator::start(scene.plane(), &run).await.unwrap();
    let refresher = Refresher { operator, shop: shop.clone(), user };
    refresher.says(&["WARN", &format!("there is no namespace {shop}, create it")]).await;
    scene.namespace("shop", json!({})).await;
    scene.has_login(&shop, IMAGE, ROBOT).await;
    refresher.says(&["the target is as it should be"]).await;
}

/// Verb, namespace and name.
type Right = (String, String, String);

#[tokio::test]
async fn the_rights_that_are_printed_for_it_are_just_those_that_it_uses() {
    let Some(solo) = Solo::open_on_pages().await else { return };
    let scene = &solo.scene;
    scene.source("hub", &[("reg.example", ROBOT)]).await;
    scene.source("second", &[("two.example", ROBOT)]).await;
    let mut refresher = start_in(scene, "shop", &["hub", "second"], &[]).await;
    let shop = refresher.shop.clone();
    scene.has_login(&shop, IMAGE, ROBOT).await;
    scene.source("hub", &[("reg.example", NEXT)]).await;
    scene.has_login(&shop, IMAGE, NEXT).await;
    // After a restart, what a failing source last gave is read from the target.
    scene.source_of("hub", Format::DockerConfigJson, br#"{"auths": []}"#).await;
    refresher.says(&["SourceMalformed", "stay in use"]).await;
    refresher.operator.kill();
    refresher.operator.begin().await.unwrap();
    refresher.operator.ready().await.unwrap();
    refresher.says(&["recall"]).await;
    scene.source("second", &[("two.example", NEXT)]).await;
    scene.has_login(&shop, "two.example/app", NEXT).await;
    scene.has_login(&shop, IMAGE, NEXT).await;

    let requests = solo.requests_of(&refresher.user);
    let text = |request: &Value, key: &str| request["objectRef"][key].as_str().unwrap_or_default().to_owned();
    let mut seen: BTreeSet<Right> = BTreeSet::new();
    for request in &requests {
        assert!(request["responseStatus"]["code"] != 403, "{request:#}");
        let kind = [text(request, "apiGroup"), text(request, "resource"), text(request, "subresource")];
        assert_eq!(kind, ["", "secrets", ""], "{request:#}");
        let verb = request["verb"].as_str().unwrap().to_owned();
        seen.insert((verb, text(request, "namespace"), text(request, "name")));
    }
    let granted = granted(scene, &["hub", "second"], &shop);
    // An apply that makes the object is one PATCH, authorised twice: as patch and as create. The proof is below.
    let create = ("create".to_owned(), shop.clone(), scene.secret.clone());
    assert!(!seen.contains(&create), "it never posts a Secret");
    seen.insert(create);
    assert_eq!(granted, seen);
    say(&format!("{} requests, {} different rights", requests.len(), seen.len()));

    // Without it, the Secret cannot be made.
    let roles = kube::Api::<k8s_openapi::api::rbac::v1::Role>::namespaced(scene.client.clone(), &shop);
    let mut role = roles.list(&kube::api::ListParams::default()).await.unwrap().items.remove(0);
    role.rules.as_mut().unwrap()[0].verbs.retain(|verb| verb != "create");
    roles.replace(&role.name_any(), &PostParams::default(), &role).await.unwrap();
    let create = json!({
        "resource": "secrets", "verb": "create", "name": scene.secret, "namespace": shop,
    });
    eventually("the server knows", async || {
        if may(&scene.client, &refresher.user, &create).await? { Err("allowed".to_owned()) } else { Ok(()) }
    })
    .await;
    scene.delete_secret(&shop, &scene.secret).await;
    refresher.says(&["secret not written", "needs create on secrets"]).await;
    assert!(scene.target(&shop).await.is_none());
}

/// What the printed roles allow.
fn granted(scene: &Scene, sources: &[&str], shop: &str) -> BTreeSet<Right> {
    let documents =
        operator::rights_of(binary(), &secrets(scene, sources, shop), "r", &scene.home, "a").unwrap();
    let mut granted = BTreeSet::new();
    for document in documents {
        let kind = document["kind"].as_str().unwrap();
        assert!(["Role", "RoleBinding"].contains(&kind), "nothing for the whole cluster: {kind}");
        let namespace = document["metadata"]["namespace"].as_str().unwrap();
        for rule in document["rules"].as_array().into_iter().flatten() {
            assert_eq!((&rule["apiGroups"], &rule["resources"]), (&json!([""]), &json!(["secrets"])));
            let texts = |key: &str| -> Vec<String> { serde_json::from_value(rule[key].clone()).unwrap() };
            for name in texts("resourceNames") {
                granted.extend(texts("verbs").into_iter().map(|v| (v, namespace.to_owned(), name.clone())));
            }
        }
    }
    granted
}

#[tokio::test]
async fn under_the_original_s_names_it_starts_says_no_credential_and_ends_well_on_sigterm() {
    let Some(scene) = Scene::open().await else { return };
    let folder = tempfile::tempdir().unwrap();
    let link = |name: &str| -> PathBuf {
        let link = folder.path().join(name);
        std::os::unix::fs::symlink(binary(), &link).unwrap();
        link
    };
    let shop = scene.namespace("shop", json!({})).await;
    let canaries: Vec<String> = ["good", "next", "rejected", "foreign", "lost"].map(canary).into();
    scene.source("hub", &[("reg.example", ("robot", &canaries[0]))]).await;
    scene.source("loser", &[("reg.example", ("robot", &canaries[4]))]).await;
    let bad = json!({"auths": {"a.example": {"auth": canaries[2]}, "b.example": canaries[2]}}).to_string();
    scene.source_of("bad", Format::DockerConfigJson, bad.as_bytes()).await;
    let foreign = docker_config(&[("reg.example", ("tenant", &canaries[3]))]);
    let data: &[(&str, &[u8])] = &[(".dockerconfigjson", foreign.as_bytes())];
    scene.put_secret(&shop, &scene.secret, Format::DockerConfigJson.secret_type(), data, json!({})).await;
    let program = link("refresher");
    let sources = ["hub", "loser", "bad", "missing"];
    let mut refresher = start(&scene, &shop, &sources, (&program, None), &["--log.level", "trace"]).await;
    assert!(refresher.operator.log().contains("imps refresher started"));
    refresher.says(&["TargetConflict"]).await;
    scene.delete_secret(&shop, &scene.secret).await;
    scene.has_login(&shop, IMAGE, ("robot", &canaries[0])).await;
    scene.source("hub", &[("reg.example", ("robot", &canaries[1]))]).await;
    let target = scene.has_login(&shop, IMAGE, ("robot", &canaries[1])).await;
    let metrics = refresher.operator.get("/metrics").await.unwrap().1;
    let (status, took) = refresher.operator.terminate().await.unwrap();
    assert!(status.success() && took < Duration::from_secs(5), "{status} after {took:?}");
    let log = refresher.operator.log();
    assert!(log.contains("imps refresher stopped"));
    let metadata = serde_json::to_string(&target.metadata).unwrap();
    let mut places: Vec<(String, String)> =
        [("log", log), ("metrics", metrics), ("metadata", metadata)].map(|(p, t)| (p.to_owned(), t)).into();
    assert_eq!(find(&canaries, &places), [""; 0]);
    // The search finds what is there.
    places.push(("target".to_owned(), String::from_utf8(content(&target)).unwrap()));
    assert!(!find(&canaries, &places).is_empty());

    // The other program of the original.
    let (program, account) = (link("manager"), fresh_name("manager"));
    let run =
        Run { binary: &program, subcommand: None, namespace: &scene.home, account: &account, arguments: &[] };
    let mut manager = Operator::start(scene.plane(), &run).await.unwrap();
    assert!(manager.log().contains("imps controller started"));
    assert!(manager.terminate().await.unwrap().0.success());
}
