//! The roles of the chart are those that `imps rbac` prints for the same needs: none more, none less.

use std::collections::BTreeSet;
use std::process::Command;

use imps_testbed::manifest;
use serde_json::{Value, json};

use super::ground::binary;
use super::render::{find, helm, render};

const NAME: &str = "imps-imagepullsecrets-controller";

/// A right: where (empty for the whole cluster), group, resource, name of the object (`*` for any), verb.
type Right = [String; 5];

/// The rights of an account by the roles that are bound to it.
fn rights(objects: &[Value], namespace: &str, account: &str) -> BTreeSet<Right> {
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let texts = |value: &Value| value.as_array().into_iter().flatten().map(text).collect::<Vec<_>>();
    let mut rights = BTreeSet::new();
    for binding in objects.iter().filter(|object| text(&object["kind"]).ends_with("Binding")) {
        let subject = json!({"kind": "ServiceAccount", "name": account, "namespace": namespace});
        assert_eq!(binding["subjects"].as_array().unwrap().len(), 1, "{binding}");
        if binding["subjects"][0] != subject {
            continue;
        }
        let place = text(&binding["metadata"]["namespace"]);
        let role = objects.iter().find(|role| {
            role["kind"] == binding["roleRef"]["kind"]
                && role["metadata"]["name"] == binding["roleRef"]["name"]
                && text(&role["metadata"]["namespace"]) == place
        });
        for rule in role.unwrap_or_else(|| panic!("no role for {binding}"))["rules"].as_array().unwrap() {
            let names = match texts(&rule["resourceNames"]) {
                names if names.is_empty() => vec!["*".to_owned()],
                names => names,
            };
            for group in texts(&rule["apiGroups"]) {
                for resource in texts(&rule["resources"]) {
                    for name in &names {
                        for verb in texts(&rule["verbs"]) {
                            rights.insert([
                                place.clone(),
                                group.clone(),
                                resource.clone(),
                                name.clone(),
                                verb,
                            ]);
                        }
                    }
                }
            }
        }
    }
    rights
}

/// What `imps rbac` prints with these arguments, for the operator with the Lease in its namespace.
fn printed(arguments: &[&str], account: &str) -> BTreeSet<Right> {
    let account_argument = format!("imps-system/{account}");
    let mut command = Command::new(binary());
    command.args(["rbac", "--service-account", &account_argument]).args(arguments);
    if account == NAME {
        command.args(["--lease-namespace", "imps-system"]);
    }
    let output = command.output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    rights(&manifest::read(&String::from_utf8_lossy(&output.stdout)).unwrap(), "imps-system", account)
}

/// What the chart gives.
fn charted(values: &str, account: &str) -> BTreeSet<Right> {
    let Some(helm) = helm() else { return BTreeSet::new() };
    let objects = render(&helm, values, &[]).unwrap();
    rights(&objects, "imps-system", account)
}

fn manifest_file(folder: &tempfile::TempDir, objects: &[Value]) -> String {
    let path = folder.path().join("cr.yaml");
    let text = objects.iter().map(|object| format!("---\n{object}\n")).collect::<String>();
    std::fs::write(&path, text).unwrap();
    path.to_str().unwrap().to_owned()
}

fn grant(name: &str, secret: &str, sources: &[(&str, &str)], mut target: Value) -> Value {
    target["secret"] = json!({ "name": secret });
    let credentials: Vec<Value> =
        sources.iter().map(|(namespace, name)| json!({"namespace": namespace, "name": name})).collect();
    json!({
        "apiVersion": format!("{}/{}", imps_api::keys::GROUP, imps_api::keys::VERSION), "kind": imps_api::keys::KIND,
        "metadata": {"name": name},
        "spec": {"registry": {"credentials": credentials}, "target": target},
    })
}

#[test]
fn named_rights_are_those_that_imps_prints_for_the_same_needs() {
    if helm().is_none() {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let plain = [
        grant(
            "one",
            "pull",
            &[("home", "hub"), ("home", "company")],
            json!({"namespaces": {"names": ["a"]}}),
        ),
        grant("two", "another", &[("elsewhere", "hub")], json!({"namespaces": {"names": ["b"]}})),
    ];
    let values = "{rbac: {targetSecretNames: [pull, another], pods: false, sources: [{namespace: home, name: hub}, \
                  {namespace: home, name: company}, {namespace: elsewhere, name: hub}]}}";
    assert_eq!(charted(values, NAME), printed(&["-f", &manifest_file(&folder, &plain)], NAME));

    let pods = json!({"namespacesWithPods": {"labels": [{"matchLabels": {"a": "b"}}]}});
    let mut attached = grant("one", "pull", &[("home", "identity")], pods);
    attached["spec"]["target"]["serviceAccounts"] = json!({"names": ["default", "builder"]});
    let identity = json!({
        "apiVersion": "v1", "kind": "Secret", "metadata": {"name": "identity", "namespace": "home"},
        "type": "banzaicloud.io/aws-ecr-login-config",
        "stringData": {
            "region": "eu-west-1", "accountID": "123456789012", "serviceAccountName": "puller",
            "roleArn": "arn:aws:iam::123456789012:role/pull",
        },
    });
    let values = "{rbac: {targetSecretNames: [pull], sources: [{namespace: home, name: identity}], \
                  serviceAccounts: [default, builder], tokens: [{namespace: home, name: puller}]}}";
    assert_eq!(charted(values, NAME), printed(&["-f", &manifest_file(&folder, &[attached, identity])], NAME));

    let mut any = grant("one", "pull", &[("home", "hub")], json!({"namespaces": {"names": ["a"]}}));
    any["spec"]["target"]["serviceAccounts"] = json!({"names": ["team-*"]});
    let values = "{rbac: {targetSecretNames: [pull], pods: false, sources: [{namespace: home, name: hub}], \
                  serviceAccounts: [\"team-*\"]}}";
    assert_eq!(charted(values, NAME), printed(&["-f", &manifest_file(&folder, &[any])], NAME));
}

#[test]
fn rights_in_some_namespaces_and_in_the_whole_cluster_are_those_that_imps_prints_too() {
    if helm().is_none() {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let pods = json!({"namespacesWithPods": {"labels": [{"matchLabels": {"a": "b"}}]}});
    let mut object = grant("one", "pull", &[("home", "hub")], pods);
    object["spec"]["target"]["serviceAccounts"] = json!({"names": ["default"]});
    let file = manifest_file(&folder, &[object]);
    let needs =
        "targetSecretNames: [pull], sources: [{namespace: home, name: hub}], serviceAccounts: [default]";

    let values = format!("{{rbac: {{mode: namespaced, namespaces: [shop, team-a], {needs}}}}}");
    let arguments = ["--mode=namespaced", "--namespaces=shop,team-a", "-f", &file];
    assert_eq!(charted(&values, NAME), printed(&arguments, NAME));
    let values = format!("{{rbac: {{mode: cluster, {needs}}}}}");
    assert_eq!(charted(&values, NAME), printed(&["--mode=cluster", "-f", &file], NAME));
    // Without a name anywhere, as after an upgrade from the original.
    assert_eq!(charted("{}", NAME), printed(&["--mode=cluster", "--allow=pods"], NAME));
    let values = r#"{rbac: {pods: false, serviceAccounts: ["*"]}}"#;
    assert_eq!(charted(values, NAME), printed(&["--mode=cluster", "--allow=service-accounts"], NAME));
}

#[test]
fn an_operator_with_rights_in_some_namespaces_is_told_which() {
    let Some(helm) = helm() else { return };
    let arguments = |values: &str| {
        let objects = render(&helm, values, &[]).unwrap();
        find(&objects, "Deployment", NAME)["spec"]["template"]["spec"]["containers"][0]["args"].to_string()
    };
    let values = "{rbac: {mode: namespaced, namespaces: [shop, team-a], targetSecretNames: [pull]}}";
    assert!(arguments(values).contains("\"--namespaces=shop,team-a\""));
    assert!(!arguments("{rbac: {namespaces: [shop], targetSecretNames: [pull]}}").contains("--namespaces"));
}

#[test]
fn the_job_s_rights_are_those_that_imps_prints_for_applying_the_definition() {
    if helm().is_none() {
        return;
    }
    let account = "imps-imagepullsecrets-crds";
    assert_eq!(charted("{}", account), printed(&["--crd"], account));
}

#[test]
fn the_release_s_own_imagepullsecret_is_among_the_needs() {
    let Some(helm) = helm() else { return };
    let values = "{rbac: {mode: named, pods: false}, defaultSecret: {enabled: true, type: Opaque}, \
                  defaultConfig: {enabled: true, \
                  targetSecretName: pull, credentials: [{namespace: home, name: hub}], \
                  namespacesWithPods: {labels: [{matchLabels: {a: b}}]}}}";
    let folder = tempfile::tempdir().unwrap();
    let objects = render(&helm, values, &[]).unwrap();
    let own = find(&objects, "ImagePullSecret", &format!("{NAME}-default")).clone();
    assert_eq!(charted(values, NAME), printed(&["-f", &manifest_file(&folder, &[own])], NAME));
}

#[test]
fn the_refresher_s_rights_are_those_that_imps_prints_for_it() {
    if helm().is_none() {
        return;
    }
    let values = "{refresher: {enabled: true, target: {namespace: shop, name: pull}, \
                  sources: [{namespace: home, name: hub}, {namespace: shop, name: own}]}}";
    let account = "imps-imagepullsecrets-refresher";
    let arguments = ["--source-secret=home.hub", "--source-secret=shop.own", "--target-secret=shop.pull"];
    let printed = printed(&arguments, account);
    assert_eq!(charted(values, account), printed);
    assert!(!printed.is_empty());
}

#[test]
fn nothing_is_granted_that_was_not_asked_for() {
    if helm().is_none() {
        return;
    }
    let has = |values: &str, resource: &str| {
        charted(values, NAME).iter().any(|[_, _, found, ..]| found == resource)
    };
    assert!(has("{}", "secrets") && has("{}", "pods"));
    for values in ["{rbac: {pods: false}}", "{rbac: {pods: false, targetSecretNames: [a]}}"] {
        for resource in ["pods", "serviceaccounts", "serviceaccounts/token", "configmaps"] {
            assert!(!has(values, resource), "{values}: {resource}");
        }
    }
    let named = charted("{rbac: {targetSecretNames: [a]}}", NAME);
    assert!(named.iter().all(|[_, _, resource, name, _]| resource != "secrets" || name == "a"), "{named:#?}");
    assert!(charted("{rbac: {create: false}}", NAME).is_empty());
}

/// Kind, name and spec of each policy and binding.
fn policies(objects: &[Value]) -> Vec<[String; 3]> {
    let of_policies = objects
        .iter()
        .filter(|object| object["kind"].as_str().unwrap().starts_with("ValidatingAdmissionPolicy"));
    let mut policies: Vec<[String; 3]> = of_policies
        .map(|object| [&object["kind"], &object["metadata"]["name"], &object["spec"]].map(Value::to_string))
        .collect();
    policies.sort();
    policies
}

#[test]
fn the_policies_are_those_that_imps_prints_and_none_unless_asked_for() {
    let Some(helm) = helm() else { return };
    let rendered = |values: &str| policies(&render(&helm, values, &[]).unwrap());
    assert_eq!(rendered("{}"), Vec::<[String; 3]>::new());
    let adopting = |name: &str| {
        let target = json!({"namespaces": {"names": ["a"]}});
        let mut object = grant(name, name, &[("home", "hub")], target);
        object["spec"]["target"]["secret"]["adopt"] = json!(true);
        object
    };
    let folder = tempfile::tempdir().unwrap();
    let file = manifest_file(&folder, &[adopting("other"), adopting("pull")]);
    let account = format!("imps-system/{NAME}");
    let mut command = Command::new(binary());
    command.args(["rbac", "--policies", "--name", NAME, "--service-account", &account, "-f", &file]);
    let output = command.output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let printed = policies(&manifest::read(&String::from_utf8_lossy(&output.stdout)).unwrap());
    assert_eq!(printed.len(), 8);
    let all = "{admissionPolicies: {operator: true, authors: true, adoptable: [other, pull]}}";
    assert_eq!(rendered(all), printed);
    let of_authors = |policies: Vec<[String; 3]>| {
        policies.into_iter().filter(|[_, name, _]| name.contains("-authors")).collect::<Vec<_>>()
    };
    assert_eq!(rendered("{admissionPolicies: {authors: true}}"), of_authors(printed));
    assert_eq!(rendered("{admissionPolicies: {operator: true}}").len(), 6);
    let quote =
        render(&helm, "{admissionPolicies: {operator: true, adoptable: [\"a'b\"]}}", &[]).unwrap_err();
    assert!(quote.contains("adoptable"), "{quote}");
}
