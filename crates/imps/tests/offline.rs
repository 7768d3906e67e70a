//! The commands that need no cluster, as a person runs them: what they print, and how they end.

#![allow(clippy::unwrap_used, reason = "a command that cannot be run has failed")]

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use serde_json::Value;

fn imps(arguments: &[&str]) -> Output {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    Command::new(env!("CARGO_BIN_EXE_imps"))
        .current_dir(root)
        .env("COLUMNS", "200")
        .args(arguments)
        .output()
        .unwrap()
}

fn text(output: &Output) -> String {
    format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr))
}

/// Compares with a file; `UPDATE_CASES=1` writes it anew, for the diff to be read.
fn golden(name: &str, actual: &str) {
    let path: PathBuf = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/plan").join(name);
    if std::env::var_os("UPDATE_CASES").is_some() {
        std::fs::write(&path, actual).unwrap();
    }
    assert_eq!(actual, std::fs::read_to_string(&path).unwrap(), "{name}");
}

#[test]
fn the_example_is_planned_as_its_readme_says() {
    let output = imps(&["plan", "-f", "examples/sidecar-injection"]);
    assert!(output.status.success());
    golden("example.txt", &text(&output));
}

/// Without asking anybody: offline, an identity is taken to be accepted.
#[test]
#[cfg(feature = "aws")]
fn an_identity_is_planned_with_the_registries_that_its_token_would_serve() {
    let output = imps(&["plan", "-f", "examples/ecr"]);
    assert!(output.status.success());
    golden("ecr.txt", &text(&output));
}

#[test]
fn a_login_is_planned_as_it_stands_and_an_identity_as_exchanged() {
    let output = imps(&["plan", "-f", "crates/imps/tests/plan/logins.yaml"]);
    assert_eq!(output.status.code(), Some(1), "two sources are mistakes");
    golden("logins.txt", &text(&output));
    assert!(!text(&output).contains("canary"));
    let roles = imps(&["rbac", "-f", "crates/imps/tests/plan/logins.yaml"]);
    let tokens = "  resourceNames:\n  - puller\n  resources:\n  - serviceaccounts/token\n";
    assert!(text(&roles).contains(tokens), "{}", text(&roles));
}

#[test]
fn every_kind_of_trouble_is_explained_and_sets_the_exit_code() {
    let output = imps(&["plan", "-f", "crates/imps/tests/plan/everything.yaml"]);
    assert_eq!(output.status.code(), Some(1));
    golden("everything.txt", &text(&output));
}

#[test]
fn machines_get_the_same_as_json() {
    let output = imps(&["plan", "-f", "crates/imps/tests/plan/everything.yaml", "-o", "json"]);
    assert_eq!(output.status.code(), Some(1));
    golden("everything.json", &text(&output));
    let page: Value = serde_json::from_slice(&output.stdout).unwrap();
    let target =
        page["targets"].as_array().unwrap().iter().find(|target| target["namespace"] == "shop").unwrap();
    assert_eq!(target["registries"][0]["source"], "access/good");
    assert_eq!(target["rule"], "namespace label team=a");
}

#[test]
fn no_credential_is_ever_printed() {
    for format in ["table", "json"] {
        let output = imps(&["plan", "-f", "crates/imps/tests/plan/everything.yaml", "-o", format]);
        assert!(!text(&output).contains("canary"), "{}", text(&output));
    }
}

#[test]
fn what_cannot_be_read_is_named_by_its_place_and_never_quoted() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("broken.yaml");
    std::fs::write(&file, "apiVersion: v1\nkind: Secret\nstringData: {a: [canary\n").unwrap();
    let output = imps(&["plan", "-f", file.to_str().unwrap()]);
    let said = text(&output);
    assert!(!output.status.success() && said.contains("broken.yaml is not valid YAML at line"), "{said}");
    assert!(!said.contains("canary"), "{said}");
    let output = imps(&["plan", "-f", "no-such-file.yaml"]);
    assert!(!output.status.success() && text(&output).contains("cannot read no-such-file.yaml"));
    let output = imps(&["plan", "-f", "examples/sidecar-injection/10-namespaces.yaml"]);
    assert!(text(&output).contains("no ImagePullSecret among the manifests"));
}

#[test]
fn a_terminal_obeys_nothing_that_stands_in_what_is_planned() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("grant.yaml");
    let grant = "apiVersion: images.banzaicloud.io/v1alpha1\nkind: ImagePullSecret\nmetadata: {name: \"a\\e[2Jb\"}\n\
                 spec:\n  registry: {credentials: [{name: hub, namespace: access}]}\n  \
                 target: {secret: {name: pull}, namespaces: {names: [shop], labels: [{matchExpressions: \
                 [{key: k, operator: \"In\\e[31m\\u202e\", values: [v]}]}]}}\n";
    std::fs::write(&file, grant).unwrap();
    let said = text(&imps(&["plan", "-f", file.to_str().unwrap()]));
    assert!(said.contains("cannot be used") && said.contains("[31m"), "{said}");
    assert!(!said.chars().any(|c| c != '\n' && (c.is_control() || c == '\u{202e}')), "{said:?}");
}

#[test]
fn each_command_that_reports_knows_the_formats_of_kubectl() {
    let file = "crates/imps/tests/diagnose/port.yaml";
    for command in [
        &["diagnose", "pod/web", "-n", "shop", "-f", file][..],
        &["explain", "shop", "-f", file],
        &["plan", "-f", "examples/sidecar-injection"],
    ] {
        let told = |format: &str| text(&imps(&[command, &["-o", format]].concat()));
        let json: serde_json::Value = serde_json::from_str(&told("json")).unwrap();
        let yaml: serde_json::Value = serde_saphyr::from_str(&told("yaml")).unwrap();
        assert_eq!(yaml, json, "{command:?}");
        assert!(told("wide").lines().count() >= told("table").lines().count(), "{command:?}");
    }
}

#[test]
fn the_roles_name_the_only_secrets_that_may_be_touched() {
    let output = imps(&["rbac", "-f", "examples/sidecar-injection", "--service-account", "imps-system/imps"]);
    assert!(output.status.success());
    golden("rbac.yaml", &text(&output));
}

#[test]
fn each_mode_of_rights_has_its_reach_and_the_widest_one_says_how_dangerous_it_is() {
    let example = ["rbac", "-f", "examples/sidecar-injection", "--service-account", "imps-system/imps"];
    let namespaced =
        imps(&[&example[..], &["--mode", "namespaced", "--namespaces", "istio-system,shop"]].concat());
    assert!(namespaced.status.success(), "{}", text(&namespaced));
    golden("rbac-namespaced.yaml", &text(&namespaced));
    let cluster = imps(&["rbac", "--mode", "cluster", "--allow", "pods,service-accounts"]);
    golden("rbac-cluster.yaml", &text(&cluster));
    for (arguments, words) in [
        (&["rbac", "--mode", "named"][..], "-f names the manifests"),
        (
            &[&example[..], &["--mode", "named", "--allow", "pods"]].concat(),
            "--allow goes with --mode cluster",
        ),
        (&[&example[..], &["--namespaces", "shop"]].concat(), "--namespaces goes with --mode namespaced"),
    ] {
        let output = imps(arguments);
        assert!(
            !output.status.success() && text(&output).contains(words),
            "{arguments:?}: {}",
            text(&output)
        );
    }
}

#[test]
fn the_rights_to_apply_the_definition_are_on_that_definition_alone() {
    let output = imps(&["rbac", "--crd", "--service-account", "imps-system/imps-crds"]);
    golden("rbac-crd.yaml", &text(&output));
}

#[test]
fn the_policies_are_printed_as_the_page_about_rights_shows_them() {
    let output = imps(&["rbac", "--policies", "--service-account", "imps-system/imps"]);
    assert!(output.status.success(), "{}", text(&output));
    let printed = text(&output);
    golden("policies.yaml", &printed);
    let page = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/rights.md");
    let page = std::fs::read_to_string(page).unwrap();
    let shown: Vec<&str> = page.split("```").filter_map(|block| block.strip_prefix("yaml\n")).collect();
    assert!(
        !shown.is_empty() && shown.iter().all(|block| printed.contains(block)),
        "docs/rights.md is another"
    );
}

#[test]
fn the_roles_of_a_refresher_are_in_the_namespaces_of_its_secrets_and_nowhere_else() {
    let arguments = [
        "rbac",
        "--source-secret=registry-access.dockerhub",
        "--source-secret=shop.own.login",
        "--target-secret=shop.pull-secret",
        "--service-account=shop/refresher",
    ];
    let output = imps(&arguments);
    assert!(output.status.success(), "{}", text(&output));
    golden("rbac-refresher.yaml", &text(&output));
}

#[test]
fn a_refresher_that_would_read_what_it_writes_does_not_start() {
    let secrets = ["--source-secret=a.b", "--source-secret=shop.pull", "--target-secret=shop.pull"];
    for command in ["refresher", "rbac"] {
        let output = imps(&[&[command], &secrets[..]].concat());
        let said = text(&output);
        assert!(!output.status.success() && said.contains("shop/pull is a source and the target"), "{said}");
    }
}

#[test]
fn a_program_of_the_original_explains_itself_as_a_subcommand() {
    let folder = tempfile::tempdir().unwrap();
    for (name, usage) in [
        ("manager", "Usage: imps controller [OPTIONS]"),
        ("refresher", "Usage: imps refresher [OPTIONS] --source-secret"),
        ("imps", "Usage: imps <COMMAND>"),
    ] {
        let link = folder.path().join(name);
        std::os::unix::fs::symlink(env!("CARGO_BIN_EXE_imps"), &link).unwrap();
        let output = Command::new(&link).arg("--help").output().unwrap();
        assert!(output.status.success() && text(&output).contains(usage), "{name}: {}", text(&output));
    }
    let output = imps(&["refresher", "--help"]);
    assert!(text(&output).contains("imps refresher --source-secret registry-access.dockerhub"));
}

#[test]
fn the_definition_is_the_file_in_the_repository() {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("../imps-api/crd.yaml");
    let file = std::fs::read_to_string(file).unwrap();
    let (_, definition) = file.split_once('\n').unwrap();
    assert!(text(&imps(&["crd"])) == definition, "run `cargo xtask codegen`");
}

#[test]
fn a_reader_that_goes_away_is_no_error() {
    let command = format!("{} crd | head -1", env!("CARGO_BIN_EXE_imps"));
    let output = Command::new("sh").args(["-c", &command]).output().unwrap();
    assert!(output.status.success() && output.stderr.is_empty(), "{}", text(&output));
}

#[test]
fn the_version_is_one_line() {
    assert_eq!(text(&imps(&["version"])), format!("imps {}\n", env!("CARGO_PKG_VERSION")));
}

#[test]
fn the_series_of_metrics_are_listed_for_people_and_as_the_document_has_them() {
    let table = imps(&["metrics"]);
    assert!(table.status.success());
    for words in ["imps_credential_expiration_timestamp_seconds", "workqueue_depth", "ABSENT"] {
        assert!(text(&table).contains(words), "{words} is not in {}", text(&table));
    }
    let markdown = text(&imps(&["metrics", "-o", "markdown"]));
    let document = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/metrics.md");
    let document = std::fs::read_to_string(document).unwrap();
    assert!(
        document.ends_with(&format!("\n\n{markdown}")),
        "`cargo xtask codegen` writes docs/metrics.md anew"
    );
}

/// A folder for PATH with the program in it, under both of its names.
fn folder_of_path() -> (tempfile::TempDir, String) {
    let folder = tempfile::tempdir().unwrap();
    for name in ["imps", "kubectl-imps"] {
        std::os::unix::fs::symlink(env!("CARGO_BIN_EXE_imps"), folder.path().join(name)).unwrap();
    }
    let path = format!("{}:{}", folder.path().display(), std::env::var("PATH").unwrap());
    (folder, path)
}

#[test]
fn every_shell_gets_a_script_and_those_of_bash_and_kubectl_answer() {
    for shell in ["bash", "zsh", "fish", "powershell", "elvish"] {
        let script = text(&imps(&["completion", shell]));
        assert!(script.contains("IMPS_COMPLETE"), "{shell}: {script}");
    }
    let (folder, path) = folder_of_path();
    let script = folder.path().join("kubectl_complete-imps");
    std::fs::write(&script, imps(&["completion", "kubectl"]).stdout).unwrap();
    let of_kubectl = |words: &[&str]| {
        let output = Command::new("sh").arg(&script).args(words).env("PATH", &path).output().unwrap();
        text(&output).lines().map(str::to_owned).collect::<Vec<_>>()
    };
    assert_eq!(of_kubectl(&["dia"]), ["diagnose", ":0"]);
    assert_eq!(of_kubectl(&["crd", "a"]), ["apply", ":0"]);
    assert_eq!(of_kubectl(&["diagnose", "--fail-l"]), ["--fail-level", ":0"]);
    assert_eq!(of_kubectl(&["diagnose", "--fail-level", "w"]), ["warning", ":0"]);
    assert_eq!(of_kubectl(&["no-such-command-x"]), [":0"]);
    let of_bash = |words: &str| {
        let script = format!(
            "source <(imps completion bash); COMP_WORDS=({words}); COMP_CWORD=$((${{#COMP_WORDS[@]}} - 1))\n\
             _clap_complete_imps imps \"${{COMP_WORDS[COMP_CWORD]}}\"; echo \"${{COMPREPLY[*]}}\""
        );
        let output = Command::new("bash").args(["-c", &script]).env("PATH", &path).output().unwrap();
        String::from_utf8(output.stdout).unwrap().trim().to_owned()
    };
    assert_eq!(of_bash("imps dia"), "diagnose");
    assert_eq!(of_bash("imps diagnose --fail-level w"), "warning");
}

/// What is offered for the last of these words.
fn completed(words: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_imps"))
        .args(["--", "imps"])
        .args(words)
        .env("IMPS_COMPLETE", "bash")
        .env("_CLAP_COMPLETE_INDEX", words.len().to_string())
        .output()
        .unwrap()
}

#[test]
fn contexts_are_completed_and_of_a_cluster_that_does_not_answer_nothing_is_said() {
    // Somebody takes the call, and says nothing.
    let silent = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("config");
    let kubeconfig = serde_json::json!({
        "apiVersion": "v1", "kind": "Config", "current-context": "stage",
        "clusters": [{"name": "c", "cluster": {"server": format!("http://{}", silent.local_addr().unwrap())}}],
        "users": [{"name": "u", "user": {}}],
        "contexts": [
            {"name": "stage", "context": {"cluster": "c", "user": "u"}},
            {"name": "production", "context": {"cluster": "c", "user": "u"}},
        ],
    });
    std::fs::write(&file, kubeconfig.to_string()).unwrap();
    let file = file.to_str().unwrap();
    let contexts = completed(&["status", "--kubeconfig", file, "--context", ""]);
    let mut names: Vec<String> = text(&contexts).lines().map(str::to_owned).collect();
    names.sort();
    assert_eq!(names, ["production", "stage"]);
    assert_eq!(text(&completed(&["status", "--kubeconfig", file, "--context", "st"])), "stage");
    assert_eq!(text(&completed(&["status", "--kubeconfig", "/dev/null/none", "--context", "st"])), "");

    for words in [&["suspend"][..], &["explain", "x", "-n"], &["diagnose"]] {
        let begun = std::time::Instant::now();
        let output = completed(&[&words[..1], &["--kubeconfig", file], &words[1..], &["x"]].concat());
        assert!(output.status.success() && text(&output).is_empty(), "{words:?}: {}", text(&output));
        // Requests alone may take much longer, and a person has long given up.
        assert!(begun.elapsed().as_secs() < 9, "{words:?}: {:?}", begun.elapsed());
    }
}

#[test]
fn each_command_has_a_manual_page() {
    let page = text(&imps(&["man"]));
    assert!(page.contains(".TH imps 1") && page.contains("imps\\-diagnose(1)"), "{page}");
    let folder = tempfile::tempdir().unwrap();
    let pages = folder.path().join("man1");
    assert!(imps(&["man", "--dir", pages.to_str().unwrap()]).status.success());
    for name in ["imps.1", "imps-diagnose.1", "imps-crd-apply.1", "imps-suspend.1"] {
        assert!(std::fs::read_to_string(pages.join(name)).unwrap().contains(".SH SYNOPSIS"), "{name}");
    }
    let output = imps(&["man", "--dir", "/dev/null/man1"]);
    assert_eq!(output.status.code(), Some(1));
    assert!(text(&output).contains("cannot write pages into /dev/null/man1"), "{}", text(&output));
}

#[test]
fn a_link_of_a_plugins_name_is_a_plugin_of_kubectl() {
    let folder = tempfile::tempdir().unwrap();
    let link = folder.path().join("kubectl-imps");
    std::os::unix::fs::symlink(env!("CARGO_BIN_EXE_imps"), &link).unwrap();
    let run = |arguments: &[&str]| text(&Command::new(&link).args(arguments).output().unwrap());
    assert!(
        run(&["crd", "--help"]).contains("Usage: kubectl imps crd [COMMAND]"),
        "{}",
        run(&["crd", "--help"])
    );
    let usage = run(&["explain"]);
    assert!(usage.contains("Usage: kubectl imps explain <NAMESPACE|IMAGE>"), "{usage}");
    assert!(run(&["version"]).starts_with("imps "));
}
