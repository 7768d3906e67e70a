//! `imps explain` from manifests: a file for each situation in `explain/`, with what to ask and the exit code in its
//! head, and the whole answer beside it.

#![allow(clippy::unwrap_used, reason = "a command that cannot be run has failed")]

mod situation;

use std::path::PathBuf;
use std::process::{Command, Output};

use serde_json::Value;

use situation::{DAY, arguments, files, head};

/// A file with what its head says.
struct Situation {
    path: PathBuf,
    arguments: Vec<String>,
    exit: i32,
}

fn situations() -> Vec<Situation> {
    let read = |path: PathBuf| Situation {
        arguments: arguments(&path),
        exit: head(&path, "exit").parse().unwrap(),
        path,
    };
    files("explain").into_iter().map(read).collect()
}

fn imps(arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_imps")).args(arguments).output().unwrap()
}

fn text(output: &Output) -> String {
    format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr))
}

impl Situation {
    fn explain(&self, more: &[&str]) -> Output {
        let own = self.arguments.iter().map(String::as_str);
        let file = ["-f", self.path.to_str().unwrap(), "--at", DAY];
        let arguments: Vec<&str> =
            ["explain"].into_iter().chain(own).chain(file).chain(more.iter().copied()).collect();
        imps(&arguments)
    }
}

fn answer(name: &str) -> Value {
    let all = situations();
    let situation = all.iter().find(|situation| situation.path.ends_with(name)).unwrap();
    let output = situation.explain(&["-o", "json"]);
    serde_json::from_slice(&output.stdout).unwrap_or_else(|_| panic!("{}", text(&output)))
}

/// `UPDATE_CASES=1` writes the answers anew, for the diff to be read.
#[test]
fn every_situation_has_the_answer_beside_it_and_the_exit_code_of_its_head() {
    let mut wrong = Vec::new();
    for situation in situations() {
        let output = situation.explain(&[]);
        let (actual, path) = (text(&output), situation.path.with_extension("txt"));
        if std::env::var_os("UPDATE_CASES").is_some() {
            std::fs::write(&path, &actual).unwrap();
        }
        let expected = std::fs::read_to_string(&path).unwrap_or_default();
        let codes = [output.status.code(), situation.explain(&["-o", "json"]).status.code()];
        if actual != expected || codes != [Some(situation.exit); 2] {
            wrong.push(format!("{}: {codes:?}, expected\n{expected}\nfound\n{actual}", path.display()));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn each_secret_of_a_namespace_stands_as_it_should() {
    let report = answer("every-stance.yaml");
    let stances: Vec<(&str, &str, &str)> = report["secrets"]
        .as_array()
        .unwrap()
        .iter()
        .map(|share| {
            let text = |key: &str| share[key].as_str().unwrap_or_default();
            (text("imagePullSecret"), text("secret"), text("state"))
        })
        .collect();
    let expected = [
        ("has", "has", "has"),
        ("by-pod", "by-pod", "has"),
        ("by-old-pod", "by-old-pod", "left out"),
        ("renamed", "renamed", "has"),
        ("renamed", "former", "loses"),
        ("unselected", "unselected", "loses"),
        ("kept", "kept", "loses"),
        ("excluded", "excluded", "left out"),
        ("nobody", "nobody", "left out"),
        ("elder", "elder", "has"),
        ("younger", "elder", "conflict"),
        ("foreign", "foreign", "conflict"),
        ("opaque", "opaque", "conflict"),
        ("adopting", "given-away", "lacks"),
        ("fresh", "fresh", "lacks"),
        ("refused", "refused", "lacks"),
        ("mended", "mended", "has"),
        ("resting", "resting", "lacks"),
        ("going", "going", "left out"),
        ("broken", "", "unknown"),
    ];
    assert_eq!(stances, expected);
    let source = &report["secrets"][0]["sources"][0];
    assert!(source["source"] == "access/hub" && source["registries"][1] == "docker.io", "{source:#}");
}

#[test]
fn the_first_credential_that_serves_is_named_with_its_place() {
    let report = answer("order.yaml");
    let tried: Vec<(&str, bool)> = report["tried"]
        .as_array()
        .unwrap()
        .iter()
        .map(|trial| (trial["secret"].as_str().unwrap(), trial["serves"] == true))
        .collect();
    assert_eq!(
        tried,
        [("narrow", false), ("empty-entry", false), ("wide", true), ("wide", true), ("corp", true)]
    );
    assert!(report["first"] == 3 && report["tried"][4]["writtenBy"] == "corp", "{report:#}");
    let passed = report["passedOver"].as_array().unwrap().iter();
    let passed: Vec<&str> = passed.map(|passed| passed["why"]["code"].as_str().unwrap()).collect();
    assert_eq!(passed, ["IMPS041", "IMPS046", "IMPS031", "IMPS036", "IMPS034", "IMPS032"]);
}

#[test]
fn no_credential_and_no_user_is_ever_printed() {
    for situation in situations() {
        for format in ["table", "json"] {
            let output = situation.explain(&["-o", format]);
            assert!(!text(&output).contains("canary"), "{}: {}", situation.path.display(), text(&output));
        }
    }
}

#[test]
fn a_call_that_makes_no_sense_is_told_so() {
    for (arguments, words) in [
        (&["explain", "registry.example/app:1"][..], "add -n NAMESPACE"),
        (&["explain", "https://registry.example/app", "-n", "shop"], "not the name of an image"),
        (&["explain"], "<NAMESPACE|IMAGE>"),
    ] {
        let output = imps(arguments);
        assert_eq!(output.status.code(), Some(2), "{}", text(&output));
        assert!(text(&output).contains(words), "{}", text(&output));
    }
}
