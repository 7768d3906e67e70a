//! `imps migrate` without a cluster: what it makes of manifests of other tools, and what it never prints.

#![allow(clippy::unwrap_used, reason = "a command that cannot be run has failed")]

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use serde_json::Value;

/// All that the fixtures call a credential has this in it.
const CANARY: &str = "canary";

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/migrate")
}

fn command(arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_imps"));
    command.current_dir(folder()).env("COLUMNS", "160").args(arguments);
    command
}

fn imps(arguments: &[&str]) -> Output {
    command(arguments).output().unwrap()
}

fn text(output: &Output) -> String {
    format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr))
}

fn registry_creds(arguments: &[&str]) -> String {
    let output = imps(&[&["migrate", "registry-creds"], arguments].concat());
    let said = text(&output);
    assert!(output.status.success(), "{said}");
    said
}

/// Compares with a file; `UPDATE_CASES=1` writes it anew, for the diff to be read.
fn golden(name: &str, actual: &str) {
    let path = folder().join(name);
    if std::env::var_os("UPDATE_CASES").is_some() {
        std::fs::write(&path, actual).unwrap();
    }
    assert_eq!(actual, std::fs::read_to_string(&path).unwrap(), "{name}");
}

/// Runs a command with this at its standard input.
fn fed(arguments: &[&str], input: &str) -> Output {
    let mut command = command(arguments);
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().unwrap();
    child.stdin.take().unwrap().write_all(input.as_bytes()).unwrap();
    child.wait_with_output().unwrap()
}

/// What an operator would do with the objects that were printed.
fn plan(printed: &str) -> Value {
    let output = fed(&["plan", "-f", "-", "-o", "json"], printed);
    assert!(!output.stdout.is_empty(), "{}", text(&output));
    serde_json::from_slice(&output.stdout).unwrap()
}

fn list<'v>(value: &'v Value, key: &str) -> &'v [Value] {
    value[key].as_array().unwrap()
}

/// The printed objects of a kind and name.
fn object<'v>(items: &'v [Value], kind: &str, name: &str) -> &'v Value {
    let found = items.iter().find(|item| item["kind"] == kind && item["metadata"]["name"] == name);
    found.unwrap_or_else(|| panic!("no {kind} {name} in {items:#?}"))
}

fn json(arguments: &[&str]) -> Value {
    serde_json::from_str(&registry_creds(&[arguments, &["-o", "json"]].concat())).unwrap()
}

#[test]
fn a_deployment_of_upmc_becomes_objects_and_steps() {
    golden("upmc.out.yaml", &registry_creds(&["-f", "upmc.yaml"]));
}

#[test]
fn the_add_on_of_minikube_is_read_without_what_it_only_says_for_show() {
    golden("minikube.out.yaml", &registry_creds(&["-f", "minikube.yaml"]));
}

#[test]
fn a_deployment_without_keys_becomes_a_source_without_keys_and_says_what_that_takes() {
    golden("keyless.out.yaml", &registry_creds(&["-f", "keyless.yaml", "-n", "tools"]));
}

#[test]
fn what_an_article_had_users_set_becomes_what_they_meant() {
    golden("article.out.yaml", &registry_creds(&["-f", "article.yaml", "-n", "registry-creds"]));
}

#[test]
fn cluster_pull_secrets_become_objects_that_read_the_same_seeds() {
    golden("alexellis.out.yaml", &registry_creds(&["-f", "alexellis.yaml"]));
}

#[test]
fn what_is_broken_is_named_and_the_rest_goes_on() {
    golden("hostile.out.yaml", &registry_creds(&["-f", "hostile.yaml"]));
}

#[test]
fn machines_get_the_objects_and_the_steps_apart() {
    let page = json(&["-f", "alexellis.yaml"]);
    assert_eq!(page["list"]["kind"], "List");
    let items = list(&page["list"], "items");
    assert_eq!(
        object(items, "ImagePullSecret", "dockerhub")["spec"]["target"]["secret"]["name"],
        "dockerhub"
    );
    let steps: Vec<&str> = list(&page, "steps").iter().map(|step| step["text"].as_str().unwrap()).collect();
    let at =
        |word: &str| steps.iter().position(|step| step.contains(word)).unwrap_or_else(|| panic!("{word}"));
    assert!(at("Stop the controller") < at("Apply this document"), "{steps:?}");
    assert!(at("Wait until all") < at("delete the ClusterPullSecrets"), "{steps:?}");
}

#[test]
fn no_credential_is_printed_unless_it_is_asked_for() {
    for file in
        ["upmc.yaml", "minikube.yaml", "keyless.yaml", "article.yaml", "alexellis.yaml", "hostile.yaml"]
    {
        for format in ["yaml", "json"] {
            let said = registry_creds(&["-f", file, "-o", format]).to_lowercase();
            assert!(!said.contains(CANARY), "{file} {format}: {said}");
        }
    }
    for file in ["installed.yaml", "trouble.yaml"] {
        for format in ["table", "json"] {
            let said = text(&imps(&["migrate", "imps", "-f", file, "-o", format])).to_lowercase();
            assert!(!said.contains(CANARY), "{file} {format}: {said}");
        }
    }
}

#[test]
fn with_credentials_everything_that_could_be_read_is_in_one_file() {
    let page = json(&["-f", "upmc.yaml", "--with-credentials"]);
    let items = list(&page["list"], "items");
    let ecr = object(items, "Secret", "awsecr-cred-source");
    assert_eq!(ecr["type"], "banzaicloud.io/aws-ecr-login-config");
    assert_eq!(
        ecr["stringData"],
        serde_json::json!({
            "region": "eu-west-1", "accountID": "123456789012", "accountIDs": "210987654321",
            "accessKeyID": "AKIACANARY0000000000", "secretKey": "canary-secret-key-of-forty-characters-00",
            "roleArn": "arn:aws:iam::123456789012:role/puller",
        })
    );
    let private = object(items, "Secret", "dpr-secret-source");
    assert_eq!(private["stringData"]["registry"], "registry.example:5000");
    assert_eq!(private["stringData"]["password"], "canary-password");
    assert_eq!(object(items, "Secret", "acr-secret-source")["stringData"]["username"], "canary-client");
    // What could not is left to a command.
    assert!(!items.iter().any(|item| item["metadata"]["name"] == "gcr-secret-source"), "{items:#?}");
    let commands: Vec<String> =
        list(&page, "steps").iter().map(|step| step["commands"].to_string()).collect();
    assert!(commands.iter().any(|command| command.contains("secret registry-creds-gcr")), "{commands:#?}");
    assert!(!commands.iter().any(|command| command.contains("secret registry-creds-dpr -n kube-system -o")));
}

#[test]
fn every_printed_object_is_one_that_imps_takes() {
    for file in ["upmc.yaml", "minikube.yaml", "keyless.yaml", "article.yaml", "alexellis.yaml"] {
        let page = plan(&registry_creds(&["-f", file, "--with-credentials"]));
        assert!(list(&page, "rejected").is_empty(), "{file}: {page:#}");
        assert!(list(&page, "remarks").is_empty(), "{file}: {page:#}");
        assert!(!list(&page, "sources").is_empty(), "{file}: {page:#}");
    }
}

#[test]
fn the_secrets_that_stand_are_taken_over_and_stay_attached() {
    let target = |page: &Value, namespace: &str, secret: &str| {
        let found =
            list(page, "targets").iter().find(|t| t["namespace"] == namespace && t["secret"] == secret);
        found.unwrap_or_else(|| panic!("{namespace}/{secret} in {page:#}")).clone()
    };
    let with_what_stands = |file: &str| {
        let printed = registry_creds(&["-f", file, "--with-credentials"]);
        plan(&format!("{printed}---\n{}", std::fs::read_to_string(folder().join(file)).unwrap()))
    };
    let page = with_what_stands("alexellis.yaml");
    let taken = target(&page, "shop", "company-registrycreds");
    assert_eq!((&taken["action"], &taken["reason"]), (&"update".into(), &Value::Null), "{taken:#}");
    assert_eq!(taken["serviceAccounts"], serde_json::json!(["builder", "default"]));
    // Its seed stands there.
    let left_out = list(&page, "leftOut").iter();
    let own = left_out.filter(|left| left["imagePullSecret"] == "registry-creds");
    assert_eq!(own.map(|left| left["namespace"].as_str().unwrap()).collect::<Vec<_>>(), ["kube-system"]);
    if cfg!(feature = "aws") {
        let page = with_what_stands("upmc.yaml");
        let taken = target(&page, "shop", "awsecr-cred");
        assert_eq!((&taken["action"], &taken["reason"]), (&"update".into(), &Value::Null), "{taken:#}");
        assert_eq!(taken["serviceAccounts"], serde_json::json!(["default"]));
        assert_eq!(target(&page, "shop", "gcr-secret")["reason"], "TargetConflict");
        let quiet = list(&page, "leftOut").iter().find(|left| left["namespace"] == "quiet");
        assert!(
            quiet.is_some_and(|left| left["because"].as_str().unwrap().contains("registry-creds/ignore"))
        );
    }
}

#[test]
#[cfg(feature = "aws")]
fn a_role_of_a_node_becomes_a_source_that_needs_the_identity_of_imps() {
    let page = plan(&registry_creds(&["-f", "keyless.yaml", "-n", "tools"]));
    let source = &list(&page, "sources")[0];
    assert_eq!(source["state"], "Exchanged", "{page:#}");
    assert_eq!(source["registries"][0], "123456789012.dkr.ecr.us-gov-west-1.amazonaws.com");
}

#[test]
#[cfg(feature = "aws")]
fn a_source_that_imps_would_not_take_is_told_before_it_is_made() {
    let deployment = "{apiVersion: apps/v1, kind: Deployment, metadata: {name: creds}, spec: {template: {spec: \
                      {containers: [{image: registry-creds, env: [{name: awsaccount, value: '12345'}]}]}}}}";
    let output = fed(&["migrate", "registry-creds", "-f", "-"], deployment);
    let said = text(&output);
    assert!(output.status.success() && said.contains("imps will not take the source"), "{said}");
    assert!(said.contains("kube-system/awsecr-cred-source") && said.contains("twelve digits"), "{said}");
}

#[test]
fn what_cannot_be_read_is_named_by_its_place_and_never_quoted() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("broken.yaml");
    std::fs::write(&file, "kind: Secret\nstringData: {a: [canary\n").unwrap();
    for command in ["registry-creds", "imps"] {
        let output = imps(&["migrate", command, "-f", file.to_str().unwrap()]);
        let said = text(&output);
        assert!(!output.status.success() && said.contains("broken.yaml is not valid YAML at line"), "{said}");
        assert!(!said.contains(CANARY), "{said}");
    }
    let output = imps(&["migrate", "registry-creds", "-f", "installed.yaml"]);
    assert!(
        !output.status.success() && text(&output).contains("nothing of registry-creds"),
        "{}",
        text(&output)
    );
    let output = imps(&["migrate", "imps", "-f", "minikube.yaml"]);
    assert!(!output.status.success() && text(&output).contains("nothing of banzaicloud/imps"));
    let output = imps(&["migrate", "registry-creds", "-f", "upmc.yaml", "--context", "prod"]);
    assert!(!output.status.success() && text(&output).contains("cannot be used with"), "{}", text(&output));
}

#[test]
fn an_installation_of_the_original_without_trouble_ends_with_0() {
    let output = imps(&["migrate", "imps", "-f", "installed.yaml"]);
    golden("installed.txt", &text(&output));
    assert_eq!(output.status.code(), Some(0));
}

#[test]
fn all_that_is_in_the_way_is_told_with_what_to_do_and_ends_with_1() {
    let output = imps(&["migrate", "imps", "-f", "trouble.yaml"]);
    golden("trouble.txt", &text(&output));
    assert_eq!(output.status.code(), Some(1));
    let output = imps(&["migrate", "imps", "-f", "trouble.yaml", "-o", "json"]);
    let report: Value = serde_json::from_slice(&output.stdout).unwrap();
    for finding in list(&report, "attention") {
        for key in ["object", "what", "toDo"] {
            assert!(finding[key].as_str().is_some_and(|text| !text.is_empty()), "{finding:#}");
        }
    }
}
