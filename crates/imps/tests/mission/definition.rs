//! `imps crd apply` and the operator's look at the definition: installed, brought up to date, and said when it is not.

use std::process::Command;

use imps_api::keys;
use imps_testbed::{ControlPlane, fresh_name, manifest, operator};
use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::Client;
use kube::api::{Api, DeleteParams, ListParams, Patch, PatchParams};
use serde_json::{Value, json};

use super::stage::{Empty, Scene, Solo, binary, grant_resource};
use super::wait::eventually;

fn definition_name() -> String {
    format!("{}.{}", keys::PLURAL, keys::GROUP)
}

fn definitions(client: &Client) -> Api<CustomResourceDefinition> {
    Api::all(client.clone())
}

/// Somebody with just the rights that `imps rbac --crd` prints: their kubeconfig.
async fn installer(scene: &Scene, control: &ControlPlane) -> (std::path::PathBuf, String) {
    let name = scene.name("installer");
    let account = json!({
        "apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": name, "namespace": scene.home},
    });
    manifest::apply(&scene.client, &[account]).await.unwrap();
    let documents = operator::rights_of(binary(), &["--crd"], &name, &scene.home, &name).unwrap();
    manifest::apply(&scene.client, &documents).await.unwrap();
    let user = format!("system:serviceaccount:{}:{name}", scene.home);
    let right = json!({
        "group": "apiextensions.k8s.io", "resource": "customresourcedefinitions", "verb": "patch",
        "name": definition_name(),
    });
    super::stage::wait_for_right(&scene.client, &user, right).await;
    let token = control.service_account_token(&scene.home, &name).await.unwrap();
    (control.write_kubeconfig(&fresh_name("installer"), &token).unwrap(), user)
}

/// Runs `imps crd apply`: whether it went well, and what it said.
async fn apply(kubeconfig: &std::path::Path) -> (bool, String) {
    let mut command = Command::new(binary());
    command.args(["crd", "apply", "--kubeconfig"]).arg(kubeconfig);
    let output = tokio::task::spawn_blocking(move || command.output()).await.unwrap().unwrap();
    let text = [output.stdout, output.stderr].concat();
    (output.status.success(), String::from_utf8(text).unwrap())
}

/// A definition of an earlier version, as Helm would have left it.
pub(crate) async fn age(client: &Client) {
    let mut crd = imps_api::crd::crd();
    let fields = |crd: &mut Value, path: &str, gone: &str| {
        let path = format!("/spec/versions/0/schema/openAPIV3Schema/properties/{path}/properties");
        crd.pointer_mut(&path).unwrap().as_object_mut().unwrap().remove(gone).unwrap();
    };
    fields(&mut crd, "status", "targets");
    fields(&mut crd, "spec/properties/target", "serviceAccounts");
    crd["apiVersion"] = json!("apiextensions.k8s.io/v1");
    crd["kind"] = json!("CustomResourceDefinition");
    crd["metadata"]["annotations"] = json!({"meta.helm.sh/release-name": "imps"});
    let params = PatchParams::apply("helm").force();
    definitions(client).patch(&definition_name(), &params, &Patch::Apply(crd)).await.unwrap();
}

#[tokio::test]
async fn the_definition_is_installed_and_brought_up_to_date_with_just_its_rights() {
    let Some(Empty { scene, control }) = Solo::empty_on_pages().await else { return };
    let (kubeconfig, user) = installer(&scene, &control).await;
    let crds = definitions(&scene.client);
    crds.delete(&definition_name(), &DeleteParams::default()).await.unwrap();
    eventually("there is none", async || {
        let found = crds.get_opt(&definition_name()).await.unwrap();
        found.map_or(Ok(()), |_| Err("it is still there".to_owned()))
    })
    .await;
    let (well, said) = apply(&kubeconfig).await;
    assert!(well && said == format!("{} created and served\n", definition_name()), "{said}");
    let grants = Api::<kube::api::DynamicObject>::all_with(scene.client.clone(), &grant_resource());
    // Served for whoever asks, a moment later.
    eventually("it is served", async || {
        grants.list(&ListParams::default()).await.map(drop).map_err(|error| error.to_string())
    })
    .await;

    age(&scene.client).await;
    let before = crds.get(&definition_name()).await.unwrap();
    let (well, said) = apply(&kubeconfig).await;
    assert!(well && said.starts_with(&format!("{} changed and served:\n", definition_name())), "{said}");
    for line in ["  + spec.target.serviceAccounts\n", "  + status.targets\n"] {
        assert!(said.contains(line), "{said}");
    }
    let after = crds.get(&definition_name()).await.unwrap();
    assert_eq!(after.metadata.uid, before.metadata.uid);
    assert!(
        after.metadata.annotations.unwrap().contains_key("meta.helm.sh/release-name"),
        "it stays with its release"
    );
    let managers = after.metadata.managed_fields.unwrap();
    assert!(managers.iter().any(|entry| entry.manager.as_deref() == Some("imps-crds")));

    let (well, said) = apply(&kubeconfig).await;
    assert!(well && said == format!("{} unchanged and served\n", definition_name()), "{said}");

    // Just the rights that were printed.
    let log = std::fs::read_to_string(control.audit_log().unwrap()).unwrap();
    let requests = log.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
    let requests: Vec<Value> =
        requests.filter(|request| request["user"]["username"] == user.as_str()).collect();
    assert!(requests.iter().all(|request| request["responseStatus"]["code"].as_u64().unwrap() < 403
        || request["responseStatus"]["code"] == 404));
    let verbs: std::collections::BTreeSet<&str> =
        requests.iter().map(|request| request["verb"].as_str().unwrap()).collect();
    assert_eq!(verbs.into_iter().collect::<Vec<_>>(), ["get", "patch"]);
    assert!(
        requests.iter().any(|request| request["verb"] == "patch" && request["responseStatus"]["code"] == 201)
    );
}

#[tokio::test]
async fn whoever_may_not_apply_the_definition_is_told_what_is_missing() {
    let Some(Empty { scene, control }) = Solo::empty_on_pages().await else { return };
    let account = json!({
        "apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": "nobody", "namespace": scene.home},
    });
    manifest::apply(&scene.client, &[account]).await.unwrap();
    let token = control.service_account_token(&scene.home, "nobody").await.unwrap();
    let (well, said) = apply(&control.write_kubeconfig(&fresh_name("nobody"), &token).unwrap()).await;
    assert!(!well && said.contains("needs get on customresourcedefinitions"), "{said}");
}

#[tokio::test]
async fn an_outdated_definition_is_said_once_and_shown_until_it_is_not() {
    let Some(empty) = Solo::empty_on_pages().await else { return };
    age(&empty.scene.client).await;
    empty.scene.permit(&Default::default()).await;
    let solo = Solo::begin(empty, &[]).await;
    shows(&solo, Some("1")).await;
    let lines = || {
        let log = solo.operator.log();
        log.lines()
            .filter(|line| line.contains("older than this imps"))
            .map(str::to_owned)
            .collect::<Vec<_>>()
    };
    eventually("it is said", async || if lines().is_empty() { Err(solo.operator.log()) } else { Ok(()) })
        .await;

    let (kubeconfig, _) = installer(&solo.scene, &solo.control).await;
    assert!(apply(&kubeconfig).await.0);
    shows(&solo, Some("0")).await;
    let [line] = &lines()[..] else { panic!("{:?}", lines()) };
    let line: Value = serde_json::from_str(line).unwrap();
    assert_eq!(line["level"], "WARN");
    assert_eq!(line["missing"], "spec.target.serviceAccounts, status.targets");
    assert!(line["message"].as_str().unwrap().contains("imps crd apply"), "{line}");
}

#[tokio::test]
async fn without_the_right_to_see_the_definition_all_else_works() {
    let Some(empty) = Solo::empty_on_pages().await else { return };
    age(&empty.scene.client).await;
    let life = super::permission::Life::prepare(&empty.scene).await;
    let mut documents = life.rights(&empty.scene, &[]);
    let is_of_definitions = |rule: &Value| rule["apiGroups"][0] == "apiextensions.k8s.io";
    let rules = documents.iter_mut().filter_map(|role| role.get_mut("rules")?.as_array_mut());
    let removed: usize =
        rules.map(|rules| rules.extract_if(.., |rule| is_of_definitions(rule)).count()).sum();
    assert_eq!(removed, 1);
    empty.scene.give(&documents).await;
    let solo = Solo::begin(empty, &[]).await;
    let scene = &solo.scene;
    scene.grant_as_is("g", life.spec.clone()).await;
    scene.has_login(&life.shop, "reg.example/app", ("robot", "first")).await;
    eventually("it is said", async || {
        let log = solo.operator.log();
        if log.contains("is not checked") { Ok(()) } else { Err(log) }
    })
    .await;
    shows(&solo, None).await;
    let asked =
        solo.requests().iter().filter(|r| r["objectRef"]["apiGroup"] == "apiextensions.k8s.io").count();
    assert_eq!(asked, 1, "it is not asked for again");
}

/// Waits until the metric is as given, or absent.
async fn shows(solo: &Solo, wanted: Option<&str>) {
    eventually(&format!("the metrics show {wanted:?}"), async || {
        let (_, page) = solo.operator.get("/metrics").await.map_err(|error| error.to_string())?;
        let found = page.lines().find_map(|line| line.strip_prefix("imps_crd_outdated "));
        if found == wanted { Ok(()) } else { Err(format!("{found:?}")) }
    })
    .await;
}
