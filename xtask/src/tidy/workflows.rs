//! Rules about workflows: what runs there is a command of ours, so that it runs here too; what is not ours is pinned.

use clap::Parser;
use imps_testbed::manifest;
use serde_json::Value;

use super::{Finding, Source, Tree};
use crate::Arguments;

const FOLDER: &str = ".github/workflows/";

/// How every line begins.
const XTASK: &str = "cargo xtask ";

/// The letters of a commit's hash.
const HASH_LENGTH: usize = 40;

/// Checks every workflow.
pub(super) fn check(tree: &Tree) -> Vec<Finding> {
    let workflows = tree.files.iter().filter(|source| source.path.starts_with(FOLDER));
    workflows.flat_map(check_one).collect()
}

fn check_one(source: &Source) -> Vec<Finding> {
    let documents = match manifest::read(&source.text) {
        Ok(documents) => documents,
        Err(error) => return vec![Finding::new(source, 1, format!("{error:#}"))],
    };
    let mut findings = Vec::new();
    for document in &documents {
        if document.get("permissions").is_none() {
            findings.push(Finding::new(source, 1, "says what it may: `permissions`"));
        }
        walk(document, &mut |key, text| {
            let complaint = match key {
                "run" => text.lines().find_map(|line| Some((line.to_owned(), stranger(line)?))),
                "uses" => unpinned(text).map(|complaint| (text.to_owned(), complaint)),
                _ => None,
            };
            let Some((line, complaint)) = complaint else { return };
            let at = source.text.lines().position(|found| found.contains(line.trim()));
            findings.push(Finding::new(source, at.map_or(1, |index| index + 1), complaint));
        });
    }
    findings
}

/// Visits every text that has a key.
fn walk(value: &Value, visit: &mut impl FnMut(&str, &str)) {
    match value {
        Value::Object(map) => {
            for (key, value) in map {
                if let Value::String(text) = value {
                    visit(key, text);
                }
                walk(value, visit);
            }
        }
        Value::Array(list) => list.iter().for_each(|value| walk(value, visit)),
        _ => {}
    }
}

/// Why a line of a step is none of ours.
fn stranger(line: &str) -> Option<String> {
    let Some(rest) = line.trim().strip_prefix(XTASK) else {
        return Some(format!("a step runs `{}…` and nothing else", XTASK.trim()));
    };
    let words = without_expressions(rest);
    let words = words.split_whitespace();
    let parsed = Arguments::try_parse_from(std::iter::once(XTASK.trim()).chain(words));
    parsed.err().map(|error| error.to_string().lines().next().unwrap_or_default().to_owned())
}

/// A line with a word in the place of each `${{ expression }}`.
fn without_expressions(line: &str) -> String {
    let mut text = String::new();
    let mut rest = line;
    while let Some((before, after)) = rest.split_once("${{") {
        text.push_str(before);
        text.push_str("expression");
        rest = after.split_once("}}").map_or("", |(_, after)| after);
    }
    text + rest
}

/// Why a step of somebody else is not always the same.
fn unpinned(uses: &str) -> Option<String> {
    let hash = uses.split_once('@').map_or("", |(_, version)| version);
    let pinned = hash.len() == HASH_LENGTH && hash.chars().all(|c| c.is_ascii_hexdigit());
    (!pinned).then(|| format!("{uses} may be another tomorrow: name its commit"))
}

#[cfg(test)]
mod tests {
    use super::super::sample::{places, tree};
    use super::*;

    fn lines(text: &str) -> Vec<usize> {
        let tree = tree(&[(".github/workflows/a.yaml", text)]);
        places(&check(&tree)).into_iter().map(|(_, line)| line).collect()
    }

    fn step(step: &str) -> String {
        format!("permissions: {{}}\njobs:\n  it:\n    steps:\n      - {step}\n")
    }

    #[test]
    fn a_step_is_a_command_of_ours_that_exists() {
        assert!(lines(&step("run: cargo xtask test --quick")).is_empty());
        assert!(lines(&step("run: cargo xtask publish ghcr.io/${{ github.repository }} --push")).is_empty());
        assert_eq!(lines(&step("run: cargo xtask tests")), [5]);
        assert_eq!(lines(&step("run: cargo xtask test --quickly")), [5]);
        assert_eq!(lines(&step("run: curl example.org")), [5]);
        assert_eq!(lines(&step("run: |\n          cargo xtask tidy\n          make")), [7]);
    }

    #[test]
    fn a_step_of_somebody_else_is_pinned() {
        let hash = "0123456789abcdef0123456789abcdef01234567";
        assert!(lines(&step(&format!("uses: actions/checkout@{hash}"))).is_empty());
        for version in ["v4", "main", &hash[1..]] {
            assert_eq!(lines(&step(&format!("uses: actions/checkout@{version}"))), [5], "{version}");
        }
        assert_eq!(lines(&step("uses: actions/checkout")), [5]);
    }

    #[test]
    fn a_workflow_says_what_it_may() {
        assert_eq!(lines("jobs: {}\n"), [1]);
        assert_eq!(lines("jobs: [\n"), [1]);
    }
}
