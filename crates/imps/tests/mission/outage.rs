//! An API server that crashes, hangs, refuses, throttles and forgets: imps lives on and catches up.

use std::time::{Duration, Instant};

use k8s_openapi::api::rbac::v1::ClusterRoleBinding;
use kube::api::{Api, DeleteParams, PostParams};
use serde_json::{Value, json};

use super::proxy::{Mode, Proxy};
use super::read::{condition, is_true};
use super::stage::{Login, Scene, Solo};
use super::wait::{eventually, say};

const ROBOT: Login<'_> = ("robot", "first");
const NEXT: Login<'_> = ("robot", "second");
const IMAGE: &str = "reg.example/app";

/// Selects the namespaces with the label `team`.
fn by_label(scene: &Scene) -> Value {
    json!({"namespaces": {"labels": [{"matchLabels": {"team": scene.id}}]}})
}

/// One namespace that is served.
async fn serve_one(scene: &Scene) -> (String, String) {
    scene.source("hub", &[("reg.example", ROBOT)]).await;
    let shop = team_namespace(scene, "shop").await;
    let grant = scene.grant("g", &["hub"], by_label(scene)).await;
    scene.ready_in(&grant, &[&shop]).await;
    (shop, grant)
}

async fn team_namespace(scene: &Scene, word: &str) -> String {
    scene.namespace(word, json!({"labels": {"team": scene.id}})).await
}

async fn is_alive(solo: &Solo, pid: Option<u32>) {
    assert_eq!(solo.operator.get("/livez").await.unwrap().0, 200);
    assert_eq!(
        solo.operator.get("/readyz").await.unwrap().0,
        200,
        "it stays ready: what it knows is still true"
    );
    assert_eq!(solo.operator.pid(), pid);
}

#[tokio::test]
async fn a_crash_of_the_api_server_is_survived_and_caught_up_with() {
    let Some(solo) = Solo::open(&[]).await else { return };
    let scene = &solo.scene;
    let (shop, grant) = serve_one(scene).await;
    let before = scene.target(&shop).await.unwrap();
    let pid = solo.operator.pid();
    // News that most watches never see, so that the versions they know are old when the server is back.
    for n in 0..20 {
        scene.put_secret(&scene.home, &format!("noise{n}"), "Opaque", &[], json!({})).await;
    }
    for round in ["one", "two"] {
        solo.control.kill_apiserver();
        super::wait::always(Duration::from_secs(1), "alive while the server is away", async || {
            is_alive(&solo, pid).await;
            Ok(())
        })
        .await;
        solo.control.start_apiserver().await.unwrap();
        let back = Instant::now();
        let late = team_namespace(scene, round).await;
        scene.has_login(&late, IMAGE, ROBOT).await;
        say(&format!("served {:.1?} after the API server was back", back.elapsed()));
        is_alive(&solo, pid).await;
    }
    let all = [scene.name("one"), scene.name("two"), shop.clone()];
    scene.ready_in(&grant, &[&all[0], &all[1], &all[2]]).await;
    assert_eq!(scene.target(&shop).await.unwrap(), before, "nothing was written anew");
    let log = solo.operator.log();
    let expired = log.lines().filter(|line| line.contains("HTTP 410")).count();
    let failed = log.lines().filter(|line| line.contains("cannot watch")).count();
    say(&format!("{failed} watch failures, {expired} of them because the version was too old"));
    assert!(failed < 80, "tries are spaced: {failed}");
}

#[tokio::test]
async fn an_api_server_that_hangs_is_survived_and_caught_up_with() {
    const HANGS: Duration = Duration::from_secs(10);
    let Some(solo) = Solo::open(&[]).await else { return };
    let scene = &solo.scene;
    let (shop, grant) = serve_one(scene).await;
    let pid = solo.operator.pid();
    // A change is under way when it stops.
    scene.source("hub", &[("reg.example", NEXT)]).await;
    solo.control.pause_apiserver().unwrap();
    super::wait::always(HANGS, "alive while the server hangs", async || {
        is_alive(&solo, pid).await;
        Ok(())
    })
    .await;
    solo.control.resume_apiserver().unwrap();
    let back = Instant::now();
    scene.has_login(&shop, IMAGE, NEXT).await;
    let late = team_namespace(scene, "late").await;
    scene.has_login(&late, IMAGE, NEXT).await;
    say(&format!("all served {:.1?} after the API server went on", back.elapsed()));
    scene.ready_in(&grant, &[&shop, &late]).await;
    is_alive(&solo, pid).await;
}

#[tokio::test]
async fn a_right_that_is_lost_is_named_and_healed_once_it_is_back() {
    let Some(mut solo) = Solo::open(&[]).await else { return };
    let (shop, grant) = serve_one(&solo.scene).await;
    let scene = &solo.scene;
    let lost = take_target_rights(scene).await;
    let late = team_namespace(scene, "late").await;
    let status = scene.status(&grant, "one failed", |status| status["targets"]["failed"] == 1).await;
    assert_eq!(status["failures"][0]["reason"], "TargetForbidden");
    assert_eq!(status["failures"][0]["namespace"], late.as_str());
    let message = status["failures"][0]["message"].as_str().unwrap();
    assert!(message.contains("needs patch on secrets") && message.contains("imps rbac"), "{message}");
    scene.event(&grant, "SecretReconciliationError", "imps rbac").await;
    assert!(scene.target(&shop).await.is_some());

    // After a restart not even the watch comes.
    solo.operator.kill();
    solo.operator.begin().await.unwrap();
    let scene = &solo.scene;
    let denied = |status: &Value| condition(status, "Stalled").is_some_and(|c| c["reason"] == "AccessDenied");
    let status = scene.status(&grant, "a right is missing", denied).await;
    assert!(!is_true(&status, "Ready"));
    let message = condition(&status, "Stalled").unwrap()["message"].as_str().unwrap();
    assert!(message.contains(&scene.secret) && message.contains("imps rbac"), "{message}");
    scene.event(&grant, "ReconciliationFailed", "imps rbac").await;
    let broken = r#"imps_watches_broken{resource="secrets",reason="AccessDenied"} 1"#;
    let (_, page) = solo.operator.get("/metrics").await.unwrap();
    assert!(page.lines().any(|line| line == broken), "{page}");
    assert_eq!(solo.operator.get("/livez").await.unwrap().0, 200);

    give_back(scene, lost).await;
    let back = Instant::now();
    scene.has_login(&late, IMAGE, ROBOT).await;
    say(&format!("healed {:.1?} after the right was back", back.elapsed()));
    scene.ready_in(&grant, &[&shop, &late]).await;
    let (_, page) = solo.operator.get("/metrics").await.unwrap();
    assert!(!page.lines().any(|line| line.starts_with("imps_watches_broken{")), "{page}");
}

/// Deletes the binding that gives the right on this scene's targets, and waits until the server refuses.
async fn take_target_rights(scene: &Scene) -> ClusterRoleBinding {
    let bindings = Api::<ClusterRoleBinding>::all(scene.client.clone());
    let roles = Api::<k8s_openapi::api::rbac::v1::ClusterRole>::all(scene.client.clone());
    let all = roles.list(&Default::default()).await.unwrap().items;
    let names_target = |role: &k8s_openapi::api::rbac::v1::ClusterRole| {
        let mut rules = role.rules.iter().flatten();
        rules.any(|rule| rule.resource_names.iter().flatten().any(|name| *name == scene.secret))
    };
    let role =
        all.iter().find(|role| names_target(role)).and_then(|role| role.metadata.name.clone()).unwrap();
    let binding = bindings.get(&role).await.unwrap();
    bindings.delete(&role, &DeleteParams::default()).await.unwrap();
    let secrets = kube::Api::<k8s_openapi::api::core::v1::Secret>::namespaced(
        scene.operator_client().await,
        &scene.home,
    );
    eventually("the right is gone", async || match secrets.get_opt(&scene.secret).await {
        Err(_) => Ok(()),
        Ok(_) => Err("still allowed".to_owned()),
    })
    .await;
    binding
}

async fn give_back(scene: &Scene, mut binding: ClusterRoleBinding) {
    binding.metadata.resource_version = None;
    binding.metadata.uid = None;
    let bindings = Api::<ClusterRoleBinding>::all(scene.client.clone());
    bindings.create(&PostParams::default(), &binding).await.unwrap();
}

/// How long a trouble lasts, and how many requests it may meet: four streams with a back-off from a quarter of a second
/// on, and what is tried of writes.
const TROUBLE_LASTS: Duration = Duration::from_secs(3);
const TROUBLE_REQUESTS_MAX: usize = 40;

#[tokio::test]
async fn a_server_that_throttles_is_asked_patiently_and_caught_up_with() {
    in_trouble("throttled", Mode::Refuse(429, Some(1))).await;
}

#[tokio::test]
async fn a_server_that_fails_is_asked_patiently_and_caught_up_with() {
    in_trouble("failing", Mode::Refuse(500, None)).await;
}

#[tokio::test]
async fn a_server_that_is_unavailable_is_asked_patiently_and_caught_up_with() {
    in_trouble("unavailable", Mode::Refuse(503, None)).await;
}

#[tokio::test]
async fn a_server_that_ends_each_watch_at_once_is_asked_patiently_and_caught_up_with() {
    in_trouble("ending", Mode::EndWatches).await;
}

#[tokio::test]
async fn a_server_that_has_forgotten_each_version_is_asked_patiently_and_caught_up_with() {
    in_trouble("forgetting", Mode::Forget).await;
}

#[tokio::test]
async fn a_server_that_says_gone_to_everything_is_asked_patiently_and_caught_up_with() {
    in_trouble("gone", Mode::Refuse(410, None)).await;
}

async fn in_trouble(what: &str, trouble: Mode) {
    let Some(control) = Solo::control().await else { return };
    let (proxy, server) = Proxy::start(&control).await;
    let solo = Solo::open_through(&server, control).await;
    let scene = &solo.scene;
    let (shop, grant) = serve_one(scene).await;
    let pid = solo.operator.pid();
    proxy.set(trouble);
    let before = proxy.requests();
    let late = team_namespace(scene, "late").await;
    super::wait::always(TROUBLE_LASTS, what, async || {
        is_alive(&solo, pid).await;
        Ok(())
    })
    .await;
    let met = proxy.requests() - before;
    proxy.set(Mode::Pass);
    let back = Instant::now();
    scene.has_login(&late, IMAGE, ROBOT).await;
    say(&format!("{what}: {met} requests in {TROUBLE_LASTS:?}, served {:.1?} after", back.elapsed()));
    assert!((2..=TROUBLE_REQUESTS_MAX).contains(&met), "{what}: {met} requests");
    scene.ready_in(&grant, &[&shop, &late]).await;
    is_alive(&solo, pid).await;
}
