//! `imps doctor` at a cluster: what it says to somebody who may do everything, and to somebody who may do little.

use std::process::{Command, Output};

use imps_api::keys;
use imps_testbed::fresh_name;
use serde_json::{Value, json};

use super::definition::age;
use super::reader::{Reader, rule, said};
use super::stage::{Login, Scene, Solo, binary};
use super::wait::eventually;

const ROBOT: Login<'_> = ("canary-user", "canary-password");

fn report(output: &Output) -> Value {
    serde_json::from_slice(&output.stdout).unwrap_or_else(|_| panic!("{}", said(output)))
}

/// The first check of this name.
fn check<'r>(report: &'r Value, name: &str) -> &'r Value {
    let mut checks = report["checks"].as_array().unwrap().iter();
    checks.find(|check| check["name"] == name).unwrap_or_else(|| panic!("{name}: {report:#}"))
}

fn message<'r>(report: &'r Value, name: &str) -> &'r str {
    check(report, name)["message"].as_str().unwrap()
}

fn as_admin(scene: &Scene, arguments: &[&str]) -> Output {
    let mut command = Command::new(binary());
    let kubeconfig = scene.plane().admin_kubeconfig().unwrap();
    command.arg("doctor").args(arguments).arg("--kubeconfig").arg(kubeconfig).output().unwrap()
}

#[tokio::test]
async fn an_installation_that_works_passes_and_what_breaks_it_is_named() {
    let Some(solo) = Solo::open(&["--enable-leader-election"]).await else { return };
    let scene = &solo.scene;
    let shop = scene.namespace("shop", json!({})).await;
    scene.source("hub", &[("reg.example", ROBOT)]).await;
    let grant = scene.grant("g", &["hub"], json!({"namespaces": {"names": [shop]}})).await;
    scene.ready_in(&grant, &[&shop]).await;
    let (namespace, account) = scene.account();
    let operator = format!("{namespace}/{account}");
    // Earlier scenes have left Leases elsewhere.
    let arguments = ["--as-operator", &operator, "--lease-namespace", namespace, "-o", "json"];
    eventually("all is well", async || {
        let output = as_admin(scene, &arguments);
        if output.status.success() { Ok(()) } else { Err(said(&output)) }
    })
    .await;
    let well = report(&as_admin(scene, &arguments));
    assert_eq!(
        (&well["kind"], &well["apiVersion"]),
        (&json!("Checkup"), &json!("cli.images.banzaicloud.io/v1"))
    );
    for name in [
        "imps",
        "kubernetes",
        "clock",
        "definition",
        "imagepullsecrets",
        "leader",
        "rights",
        "imps crd apply",
        "imps diagnose",
        "imps suspend",
    ] {
        assert_eq!(check(&well, name)["state"], "ok", "{name}: {well:#}");
    }
    assert!(message(&well, "kubernetes").starts_with("v1."), "{well:#}");
    assert!(message(&well, "leader").contains(&format!("in {namespace}, renewed")), "{well:#}");

    // An ImagePullSecret whose target the operator may not write.
    let mut spec = scene.spec(&["hub"], json!({"namespaces": {"names": [shop]}}));
    let beyond = fresh_name("beyond");
    spec["target"]["secret"]["name"] = json!(beyond);
    scene.grant_as_is("h", spec).await;
    let output = as_admin(scene, &arguments);
    assert_eq!(output.status.code(), Some(1), "{}", said(&output));
    let ill = report(&output);
    let rights = check(&ill, "rights");
    assert_eq!(rights["state"], "error", "{ill:#}");
    let missing = rights["message"].as_str().unwrap();
    assert!(missing.starts_with("6 of "), "{missing}");
    assert!(
        missing.contains(&format!("create on secrets named {beyond}, to write the targets")),
        "{missing}"
    );
    assert!(rights["remedy"].as_str().unwrap().contains("imps rbac"), "{rights:#}");

    // A definition of an earlier version.
    age(&scene.client).await;
    let text = said(&as_admin(scene, &["--lease-namespace", namespace]));
    assert!(text.contains("✖ definition"), "{text}");
    assert!(text.contains("spec.target.serviceAccounts") && text.contains("> imps crd apply"), "{text}");
    assert!(!text.contains("canary"), "{text}");
}

#[tokio::test]
async fn who_may_do_little_is_told_which_rights_are_missing() {
    let Some(scene) = Scene::open().await else { return };
    let rules = json!([rule(keys::GROUP, &[keys::PLURAL], &["list"])]);
    let reader = Reader::new(&scene, rules).await;
    let output = reader.run(&["doctor", "--as-operator", "imps-system/imps", "-o", "json"]);
    assert_eq!(output.status.code(), Some(3), "{}", said(&output));
    let report = report(&output);
    for (name, state, words) in [
        ("kubernetes", "ok", "v1."),
        ("definition", "unknown", "it takes the right to get it"),
        ("leader", "unknown", "the right that is missing is list on leases.coordination.k8s.io"),
        (
            "rights",
            "unknown",
            "the right that is missing is create on subjectaccessreviews.authorization.k8s.io",
        ),
        ("imps crd apply", "warning", "patch on customresourcedefinitions.apiextensions.k8s.io named"),
        ("imps diagnose", "warning", "list on pods; list on events; get on secrets"),
        ("imps suspend", "warning", "patch on imagepullsecrets.images.banzaicloud.io"),
        ("programs", "unknown", "the right that is missing is list on deployments.apps"),
    ] {
        assert_eq!(check(&report, name)["state"], state, "{name}: {report:#}");
        assert!(message(&report, name).contains(words), "{name}: {report:#}");
    }
    // What is granted is not said to be missing.
    assert!(!message(&report, "imps diagnose").contains("imagepullsecrets"), "{report:#}");
    let table = said(&reader.run(&["doctor"]));
    assert!(table.contains("nothing is known to be broken, and not all could be looked at"), "{table}");
}
