//! `imps tree` from manifests: a file for each situation in `tree/`, with what to ask and the exit code in its head,
//! and the whole answer beside it.

#![allow(clippy::unwrap_used, reason = "a command that cannot be run has failed")]

mod situation;

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use serde_json::{Value, json};

use situation::{DAY, arguments, files, head};

fn tree(path: &Path, arguments: &[&str]) -> Output {
    let file = ["-f", path.to_str().unwrap(), "--at", DAY];
    let arguments = [&["tree"], arguments, &file].concat();
    Command::new(env!("CARGO_BIN_EXE_imps")).args(arguments).output().unwrap()
}

/// As the head of the file asks.
fn asked(path: &Path, more: &[&str]) -> Output {
    let own = arguments(path);
    tree(path, &[&own.iter().map(String::as_str).collect::<Vec<_>>()[..], more].concat())
}

fn text(output: &Output) -> String {
    format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr))
}

fn file(name: &str) -> PathBuf {
    files("tree").into_iter().find(|path| path.ends_with(name)).unwrap()
}

fn report(output: &Output) -> Value {
    serde_json::from_slice(&output.stdout).unwrap_or_else(|_| panic!("{}", text(output)))
}

/// `UPDATE_CASES=1` writes the answers anew, for the diff to be read.
#[test]
fn every_situation_has_the_tree_beside_it_and_the_exit_code_of_its_head() {
    let mut wrong = Vec::new();
    for path in files("tree") {
        let output = asked(&path, &[]);
        let (actual, beside) = (text(&output), path.with_extension("txt"));
        if std::env::var_os("UPDATE_CASES").is_some() {
            std::fs::write(&beside, &actual).unwrap();
        }
        let expected = std::fs::read_to_string(&beside).unwrap_or_default();
        let exit: i32 = head(&path, "exit").parse().unwrap();
        let codes = [output.status.code(), asked(&path, &["-o", "json"]).status.code()];
        if actual != expected || codes != [Some(exit); 2] {
            wrong.push(format!("{}: {codes:?}, expected\n{expected}\nfound\n{actual}", path.display()));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn each_namespace_is_told_with_its_accounts_and_pods_and_what_is_wrong_comes_first() {
    let report = report(&asked(&file("reach.yaml"), &["-o", "json"]));
    let places: Vec<Value> = report["namespaces"]
        .as_array()
        .unwrap()
        .iter()
        .map(|place| {
            let waiting: Vec<&Value> =
                place["waiting"].as_array().unwrap().iter().map(|pod| &pod["code"]).collect();
            json!([place["namespace"], place["state"], place["serviceAccounts"], place["pods"], waiting])
        })
        .collect();
    let expected = json!([
        ["bank", "lacks", ["default"], 1, ["IMPS033"]],
        ["mill", "conflict", ["default"], 0, []],
        ["shop", "has", ["default", "builder"], 3, ["IMPS041"]],
        ["yard", "has", [], 0, []],
    ]);
    assert_eq!((json!(places), &report["leftOut"]), (expected, &json!(2)), "{report:#}");
}

#[test]
fn the_limit_is_of_the_screen_alone() {
    let path = file("many.yaml");
    assert!(text(&asked(&path, &[])).contains("... and 3 more; --all shows them"));
    assert_eq!(report(&asked(&path, &["-o", "json"]))["namespaces"].as_array().unwrap().len(), 5);
    let all = text(&tree(&path, &["wood", "--all"]));
    assert!(all.matches(" has secret/wood").count() == 5 && !all.contains("more"), "{all}");
    assert!(text(&asked(&path, &[])).is_ascii());
}

#[test]
fn what_is_not_there_is_said() {
    let path = file("one.yaml");
    for (arguments, words) in [
        (&["nobody"][..], "no ImagePullSecret nobody was seen"),
        (&["corp", "-n", "nowhere"], "there is no namespace nowhere in the manifests"),
    ] {
        let output = tree(&path, arguments);
        assert_eq!(
            (output.status.code(), text(&output).contains(words)),
            (Some(3), true),
            "{}",
            text(&output)
        );
    }
    assert_eq!(tree(&path, &["Not_A_Name"]).status.code(), Some(2));
    let resting = tree(&file("senseless.yaml"), &["resting"]);
    assert!(text(&resting).contains("spec.suspend is true: nothing is written"), "{}", text(&resting));
}

#[test]
fn no_credential_and_no_user_is_ever_printed() {
    for path in files("tree") {
        for format in ["table", "json"] {
            let output = asked(&path, &["-o", format]);
            assert!(!text(&output).contains("canary"), "{}: {}", path.display(), text(&output));
        }
    }
}
