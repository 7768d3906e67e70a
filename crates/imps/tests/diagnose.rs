//! `imps diagnose` from manifests: situations that keep pods from pulling, one file each in `diagnose/`, with the
//! verdict that a person expects in its head and the whole answer beside it.

#![allow(clippy::unwrap_used, reason = "a command that cannot be run has failed")]

mod situation;

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use serde_json::Value;

use situation::{DAY, arguments, files, head};

/// A file with what its head says.
struct Situation {
    path: PathBuf,
    arguments: Vec<String>,
    verdict: String,
}

fn situations() -> Vec<Situation> {
    let read =
        |path: PathBuf| Situation { arguments: arguments(&path), verdict: head(&path, "verdict"), path };
    files("diagnose").into_iter().map(read).collect()
}

fn imps(arguments: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_imps"));
    command.env("COLUMNS", "200").args(arguments).output().unwrap()
}

impl Situation {
    fn diagnose(&self, more: &[&str]) -> Output {
        let file = self.path.to_str().unwrap();
        let own = self.arguments.iter().map(String::as_str);
        let arguments: Vec<&str> = ["diagnose", "-f", file, "--at", DAY]
            .into_iter()
            .chain(own)
            .chain(more.iter().copied())
            .collect();
        imps(&arguments)
    }

    fn report(&self) -> Value {
        let output = self.diagnose(&["-o", "json"]);
        serde_json::from_slice(&output.stdout).unwrap_or_else(|_| panic!("{}", text(&output)))
    }
}

fn text(output: &Output) -> String {
    format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr))
}

/// `UPDATE_CASES=1` writes the answers anew, for the diff to be read.
#[test]
fn every_situation_has_the_answer_beside_it() {
    let all = situations();
    assert!(all.len() >= 60, "{}", all.len());
    let mut wrong = Vec::new();
    for situation in all {
        let output = situation.diagnose(&["-o", "wide"]);
        let actual = format!("{}\nexit code {}\n", text(&output), output.status.code().unwrap());
        let path = situation.path.with_extension("txt");
        if std::env::var_os("UPDATE_CASES").is_some() {
            std::fs::write(&path, &actual).unwrap();
        }
        let expected = std::fs::read_to_string(&path).unwrap_or_default();
        if actual != expected {
            wrong.push(format!("{}: expected\n{expected}\nfound\n{actual}", path.display()));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn every_situation_has_the_verdict_that_its_head_says() {
    let mut wrong = Vec::new();
    for situation in situations().iter().filter(|situation| situation.verdict != "many") {
        let report = situation.report();
        let verdict = &report["pods"][0]["verdict"];
        let found = match verdict["code"].as_str() {
            Some(_) if verdict["open"] == true => "open",
            Some(code) => code,
            None => "none",
        };
        if found != situation.verdict {
            wrong.push(format!("{}: {}, found {verdict}", situation.path.display(), situation.verdict));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn no_credential_and_no_user_is_ever_printed() {
    for situation in situations() {
        for format in ["table", "wide", "json", "yaml"] {
            let output = situation.diagnose(&["-o", format]);
            assert!(!text(&output).contains("canary"), "{}: {}", situation.path.display(), text(&output));
        }
    }
}

#[test]
fn pods_of_one_cause_are_told_of_together() {
    let all = situations();
    let table = |name: &str| {
        let situation = all.iter().find(|situation| situation.path.ends_with(name)).unwrap();
        text(&situation.diagnose(&[]))
    };
    let many = table("many.yaml");
    for words in
        ["3 pods, 2 causes\n", "✖ pod/web-1 in shop, pod/web-2 in shop\n  Verdict  IMPS022  ", "pod/api-1"]
    {
        assert!(many.contains(words), "{words}: {many}");
    }
    assert!(table("network.yaml").starts_with("10 pods, 10 causes\n"), "{}", table("network.yaml"));
}

#[test]
fn one_message_is_explained_without_anything_else() {
    let message = "failed to authorize: failed to fetch anonymous token: unexpected status: 401 Unauthorized";
    let output = imps(&["diagnose", "--event", message]);
    assert_eq!(output.status.code(), Some(1));
    assert!(text(&output).starts_with("IMPS010  No credential was offered"), "{}", text(&output));

    let mut child = Command::new(env!("CARGO_BIN_EXE_imps"))
        .args(["diagnose", "--event", "-", "-o", "json"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    child.stdin.take().unwrap().write_all(b"denied: Your authorization token has expired.").unwrap();
    let report: Value = serde_json::from_slice(&child.wait_with_output().unwrap().stdout).unwrap();
    assert_eq!((&report["code"], &report["kind"]), (&"IMPS013".into(), &"PullError".into()));

    assert_eq!(imps(&["diagnose", "--event", "Back-off pulling image \"x\""]).status.code(), Some(3));
    assert_eq!(imps(&["diagnose", "--event", "Readiness probe failed"]).status.code(), Some(0));
}

#[test]
fn exit_codes_tell_findings_from_mistakes_and_from_not_knowing() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/diagnose");
    let file = |name: &str| folder.join(name).to_str().unwrap().to_owned();
    let code = |name: &str, arguments: &[&str]| {
        imps(&[&["diagnose", "-f", &file(name)], arguments].concat()).status.code()
    };
    assert_eq!(code("port.yaml", &["pod/web", "-n", "shop"]), Some(1));
    assert_eq!(code("port.yaml", &["pod/web", "-n", "shop", "--fail-level", "never"]), Some(0));
    assert_eq!(code("hypothetical.yaml", &["--image", "registry.example/a", "-n", "shop"]), Some(0));
    let image = ["--image", "registry.example/a", "-n", "shop", "--fail-level", "warning"];
    assert_eq!(code("hypothetical.yaml", &image), Some(1));
    assert_eq!(code("port.yaml", &["pod/nobody", "-n", "shop"]), Some(3), "there is no such pod");
    assert_eq!(code("no-such-file.yaml", &["-A"]), Some(3));
    assert_eq!(code("port.yaml", &["svc/web"]), Some(2));
    assert_eq!(imps(&["diagnose"]).status.code(), Some(2));
}

#[test]
fn a_terminal_obeys_nothing_that_stands_in_a_manifest() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("pod.yaml");
    let pod = "kind: Pod\napiVersion: v1\nmetadata: {name: \"a\\e[2Jb\", namespace: shop}\n\
               spec: {nodeName: \"n\\a\", containers: [{name: \"c\\e\", image: \"reg.example/\\e[31m\"}]}\n";
    std::fs::write(&file, pod).unwrap();
    for format in ["table", "wide", "json", "yaml"] {
        let output = imps(&["diagnose", "-A", "-f", file.to_str().unwrap(), "-o", format]);
        let said = text(&output);
        assert!(said.contains("IMPS003"), "{said}");
        assert!(!said.chars().any(|c| c.is_control() && c != '\n'), "{said:?}");
    }
}

#[test]
fn the_list_of_findings_is_the_reference() {
    let printed = text(&imps(&["findings", "-o", "markdown"]));
    assert!(printed.contains("| [IMPS031](IMPS031.md) | `secret-type` | error |"), "{printed}");
    let list: Value = serde_json::from_slice(&imps(&["findings", "-o", "json"]).stdout).unwrap();
    assert!(list.as_array().unwrap().iter().any(|finding| finding["page"] == "docs/findings/IMPS031.md"));
}
