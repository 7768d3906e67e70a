//! What the chart renders, held to what the chart that it replaces had.

use std::collections::BTreeSet;
use std::path::PathBuf;

use imps_testbed::{Helm, fresh_name, manifest};
use serde_json::{Value, json};

use super::matrix::{MATRIX, ORIGINAL};

/// Where an image would be.
pub(crate) const IMAGE: &str = "image.repository=registry.example/imps";

/// Helm, or none when it is not built here; then the skip is recorded.
pub(crate) fn helm() -> Option<Helm> {
    Helm::find().inspect_err(|missing| missing.skip_or_fail()).ok()
}

/// The folder of the chart.
pub(crate) fn chart() -> String {
    concat!(env!("CARGO_MANIFEST_DIR"), "/../../chart/imagepullsecrets").to_owned()
}

/// A file with these values. It goes with the folder.
pub(crate) fn values_file(folder: &tempfile::TempDir, values: &str) -> String {
    let path = folder.path().join(fresh_name("values"));
    std::fs::write(&path, values).unwrap();
    path.to_str().unwrap().to_owned()
}

/// Renders the release `imps` in `imps-system`, or gives helm's complaint.
pub(crate) fn render(helm: &Helm, values: &str, more: &[&str]) -> Result<Vec<Value>, String> {
    let folder = tempfile::tempdir().unwrap();
    let file = values_file(&folder, values);
    let chart = chart();
    let base = ["template", "imps", &chart, "--namespace", "imps-system", "-f", &file];
    let image = if values.contains("repository:") { [].as_slice() } else { &["--set", IMAGE] };
    let text = helm.run(&[&base, image, more].concat()).unwrap().done()?;
    manifest::read(&text).map_err(|error| format!("{error:#}\n{text}"))
}

/// The one object of a kind and name.
pub(crate) fn find<'a>(objects: &'a [Value], kind: &str, name: &str) -> &'a Value {
    let mut found =
        objects.iter().filter(|object| object["kind"] == kind && object["metadata"]["name"] == name);
    let object = found.next().unwrap_or_else(|| panic!("no {kind} {name} in {:#?}", names(objects)));
    assert_eq!(found.next(), None, "two {kind} {name}");
    object
}

/// Kind, namespace and name of each object.
pub(crate) fn names(objects: &[Value]) -> Vec<(String, String, String)> {
    let text =
        |object: &Value, at: &str| object.pointer(at).and_then(Value::as_str).unwrap_or_default().to_owned();
    let name =
        |object| (text(object, "/kind"), text(object, "/metadata/namespace"), text(object, "/metadata/name"));
    objects.iter().map(name).collect()
}

const NAME: &str = "imps-imagepullsecrets-controller";

#[test]
fn every_set_of_values_renders_and_passes_the_lint_and_no_object_is_there_twice() {
    let Some(helm) = helm() else { return };
    for (set, values) in MATRIX {
        let objects =
            render(&helm, values, &["--include-crds"]).unwrap_or_else(|error| panic!("{set}: {error}"));
        let names = names(&objects);
        assert_eq!(names.iter().collect::<BTreeSet<_>>().len(), names.len(), "{set}: {names:#?}");
        for object in &objects {
            assert!(
                object["apiVersion"].is_string() && object["metadata"]["name"].is_string(),
                "{set}: {object}"
            );
        }
        let folder = tempfile::tempdir().unwrap();
        let file = values_file(&folder, values);
        let lint = ["lint", "--strict", &chart(), "-f", &file, "--set", IMAGE].map(str::to_owned);
        let said = helm.run(&lint).unwrap();
        assert!(said.succeeded, "{set}: {}{}", said.output, said.complaint);
    }
    assert!(MATRIX.len() >= 15);
}

/// What people's monitors, alerts, scripts and the API server hold on to (rendered from chart 0.3.13 by helm 4.2.3).
#[test]
fn names_labels_selector_and_port_are_those_of_the_original() {
    let Some(helm) = helm() else { return };
    let mut values = manifest::read(ORIGINAL).unwrap().remove(0);
    values["podDisruptionBudget"] = json!({"enabled": true});
    values["defaultSecret"] = json!({"enabled": true, "type": "Opaque"});
    values["defaultConfig"] = json!({"enabled": true, "credentials": []});
    let objects = render(&helm, &values.to_string(), &[]).unwrap();
    for kind in [
        "Deployment",
        "Service",
        "ServiceAccount",
        "ClusterRole",
        "ClusterRoleBinding",
        "Role",
        "RoleBinding",
        "PodDisruptionBudget",
    ] {
        let object = find(&objects, kind, NAME);
        let labels = &object["metadata"]["labels"];
        for (label, value) in [
            ("app", NAME),
            ("app.kubernetes.io/name", "imagepullsecrets-controller"),
            ("app.kubernetes.io/instance", "imps"),
            ("app.kubernetes.io/component", "imagepullsecret-controller"),
            ("app.kubernetes.io/part-of", "imagepullsecrets"),
            ("app.kubernetes.io/managed-by", "Helm"),
        ] {
            assert_eq!(labels[label], value, "{kind} {label}");
        }
    }
    for kind in ["ImagePullSecret", "Secret"] {
        find(&objects, kind, &format!("{NAME}-default"));
    }
    let deployment = find(&objects, "Deployment", NAME);
    let selector = json!({
        "app.kubernetes.io/name": "imagepullsecrets-controller", "app.kubernetes.io/instance": "imps",
    });
    assert_eq!(deployment["spec"]["selector"], json!({ "matchLabels": selector }), "it can never change");
    let container = &deployment["spec"]["template"]["spec"]["containers"][0];
    assert_eq!(
        (&container["name"], &container["ports"][0]["name"]),
        (&json!("controller"), &json!("metrics"))
    );
    let service = find(&objects, "Service", NAME);
    assert_eq!(service["spec"]["selector"], selector);
    let port = json!({"name": "http-metrics", "port": 8080, "targetPort": "metrics", "protocol": "TCP"});
    assert_eq!(service["spec"]["ports"], json!([port]));
    // A binding's role can never change either.
    for (binding, role) in [("ClusterRoleBinding", "ClusterRole"), ("RoleBinding", "Role")] {
        let found = find(&objects, binding, NAME);
        assert_eq!((&found["roleRef"]["kind"], &found["roleRef"]["name"]), (&json!(role), &json!(NAME)));
    }
    assert_eq!(find(&objects, "Role", NAME)["rules"][0]["resourceNames"], json!(["73de1ad9.banzaicloud.io"]));

    let other = render(&helm, "{nameOverride: creds, fullnameOverride: pulls}", &[]).unwrap();
    let selector = &find(&other, "Deployment", "pulls-controller")["spec"]["selector"]["matchLabels"];
    assert_eq!(selector["app.kubernetes.io/name"], "creds-controller");
}

#[test]
fn replicas_come_from_either_key_and_the_original_s_wins() {
    let Some(helm) = helm() else { return };
    for (values, expected) in [
        ("{}", 1),
        ("{replicaCount: 2}", 2),
        ("{replicas: 3}", 3),
        ("{replicas: 3, replicaCount: 2}", 3),
        ("{replicas: 0, replicaCount: 2}", 0),
    ] {
        let objects = render(&helm, values, &[]).unwrap();
        assert_eq!(find(&objects, "Deployment", NAME)["spec"]["replicas"], expected, "{values}");
    }
}

#[test]
fn variables_are_the_same_as_a_list_and_as_a_map() {
    let Some(helm) = helm() else { return };
    let variables = |values| {
        let objects = render(&helm, values, &[]).unwrap();
        find(&objects, "Deployment", NAME)["spec"]["template"]["spec"]["containers"][0]["env"].clone()
    };
    assert_eq!(
        variables(r#"{env: {A: "1", B: 2}}"#),
        variables(r#"{env: [{name: A, value: "1"}, {name: B, value: "2"}]}"#)
    );
}

#[test]
fn the_definition_is_in_a_part_that_can_be_left_out_and_its_job_may_touch_no_other() {
    let Some(helm) = helm() else { return };
    let kinds = |objects: &[Value]| {
        objects.iter().map(|object| object["kind"].as_str().unwrap().to_owned()).collect::<Vec<_>>()
    };
    let all = render(&helm, "{}", &["--include-crds"]).unwrap();
    let definition = find(&all, "CustomResourceDefinition", "imagepullsecrets.images.banzaicloud.io");
    assert_eq!(definition["spec"], imps_api::crd::crd()["spec"], "it is that of this version");
    let job = find(&all, "Job", "imps-imagepullsecrets-crds");
    assert_eq!(job["metadata"]["annotations"]["helm.sh/hook"], "pre-install,pre-upgrade");
    assert_eq!(job["spec"]["template"]["spec"]["containers"][0]["args"], json!(["crd", "apply"]));
    let role = find(&all, "ClusterRole", "imps-imagepullsecrets-crds");
    assert_eq!(role["rules"].as_array().unwrap().len(), 1);
    assert_eq!(role["rules"][0]["resourceNames"], json!(["imagepullsecrets.images.banzaicloud.io"]));
    let without = render(&helm, "{crds: {enabled: false}}", &["--include-crds"]).unwrap();
    assert!(!kinds(&without).iter().any(|kind| kind == "CustomResourceDefinition" || kind == "Job"));
    let manual = render(&helm, "{crds: {upgradeJob: {enabled: false}}}", &["--include-crds"]).unwrap();
    assert!(
        kinds(&manual).contains(&"CustomResourceDefinition".to_owned())
            && !kinds(&manual).contains(&"Job".to_owned())
    );
}

#[test]
fn the_version_of_the_application_is_that_of_the_program() {
    let chart = std::fs::read_to_string(PathBuf::from(chart()).join("Chart.yaml")).unwrap();
    let line = format!("appVersion: {}", env!("CARGO_PKG_VERSION"));
    assert!(chart.lines().any(|found| found == line), "no line {line}");
}

#[test]
fn alerts_and_dashboards_come_from_their_files_untouched() {
    let Some(helm) = helm() else { return };
    let folder = PathBuf::from(chart());
    let rules = manifest::read(&std::fs::read_to_string(folder.join("rules/imps.yaml")).unwrap()).unwrap();
    let values = "{prometheusRule: {enabled: true, additionalGroups: [{name: ours, rules: []}]}, \
                  grafanaDashboard: {enabled: true}}";
    let objects = render(&helm, values, &[]).unwrap();
    let groups = find(&objects, "PrometheusRule", NAME)["spec"]["groups"].as_array().unwrap();
    for rule in rules[0]["groups"][0]["rules"].as_array().unwrap() {
        // But for the release that this one names.
        let rule = match rule["alert"].as_str() {
            Some("ImpsDown") => {
                &json!({"alert": "ImpsDown", "expr": groups[0]["rules"][0]["expr"], "for": rule["for"],
                "labels": rule["labels"], "annotations": rule["annotations"]})
            }
            _ => rule,
        };
        assert!(groups[0]["rules"].as_array().unwrap().contains(rule), "{rule} is not in {groups:#?}");
    }
    assert_eq!(groups.last().unwrap()["name"], "ours");
    for file in super::alerts::files(&folder.join("dashboards"), "json") {
        let map = find(&objects, "ConfigMap", &format!("{NAME}-dashboards"));
        let name = file.file_name().unwrap().to_str().unwrap();
        assert_eq!(map["data"][name], std::fs::read_to_string(&file).unwrap());
        assert_eq!(map["metadata"]["labels"]["grafana_dashboard"], "1");
    }
}

/// Helm shows this to whoever installs; the text is in no manifest, so it is asked for by a dry run.
pub(crate) fn notes(helm: &Helm, values: &str) -> String {
    let folder = tempfile::tempdir().unwrap();
    let file = values_file(&folder, values);
    let install = [
        "install",
        "imps",
        &chart(),
        "--dry-run=client",
        "--namespace",
        "imps-system",
        "--set",
        IMAGE,
        "-f",
        &file,
    ];
    let said = helm.run(&install).unwrap().done().unwrap();
    said.split_once("NOTES:")
        .map(|(_, notes)| notes.to_owned())
        .unwrap_or_else(|| panic!("no notes in {said}"))
}

#[test]
fn whoever_installs_is_warned_of_what_will_hurt() {
    let Some(helm) = helm() else { return };
    let safe = "{replicas: 2, podDisruptionBudget: {enabled: true}, rbac: {targetSecretNames: [pull]}}";
    let text = notes(&helm, safe);
    assert!(!text.contains("WARNING") && !text.contains("NOTE:"), "{text}");
    for (values, words) in [
        ("{}", "one replica"),
        ("{replicas: 0}", "replicas is 0"),
        ("{replicas: 2}", "no PodDisruptionBudget"),
        ("{replicas: 2, leaderElection: {enabled: false}}", "without leader election"),
        ("{crds: {enabled: false}}", "crds.enabled is false"),
        ("{crds: {upgradeJob: {enabled: false}}}", "Helm never upgrades"),
        (
            "{defaultConfig: {enabled: true, credentials: [{name: a, namespace: b}]}}",
            "`helm uninstall` deletes",
        ),
        ("{defaultSecret: {enabled: true}}", "stored in the release"),
        ("{rbac: {create: false}}", "imps rbac"),
        ("{rbac: {mode: cluster}}", "every Secret of the cluster"),
        ("{serviceMonitor: {tlsConfig: {ca: x}}}", "has no effect"),
    ] {
        let text = notes(&helm, values);
        assert!(text.contains(words), "{values}: {text}");
    }
}
