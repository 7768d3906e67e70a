//! Plays the cases in `tests/plan/`: the world above the line, what imps does and says below it.
//!
//! ```text
//! namespace NAME [key=value …] [annotation key=value] [terminating]
//! pod NAMESPACE [key=value …] [deleting]
//! source NAMESPACE/NAME REGISTRY=USER …      or: malformed | forbidden | opaque
//! grant NAME [age N] from SOURCE,… as SECRET to (name|label|annotation|pod) RULE … \
//!       [exclude (name|label) RULE …] [attach PATTERN] [formerly PATTERN] [was SECRET] [adopt] \
//!       [suspended] [leaving]
//! refuses NAMESPACE
//! serves NAMESPACE …
//! closed NAMESPACE
//! account NAMESPACE/NAME [SECRET …] [locked]
//! secret NAMESPACE/NAME of GRANT [edited|legacy|immutable]      or: foreign [TYPE] [consents GRANT] [controlled]
//! ---
//! VERB NAMESPACE/NAME because REASON
//! (attach|detach) SECRET NAMESPACE/NAME because REASON
//! holds NAMESPACE/NAME REGISTRY=USER …
//! account NAMESPACE/NAME SECRET …
//! GRANT Ready|NotReady|Unknown REASON desired=N synced=N failed=N conflict=N [left-out=N]
//! GRANT failure NAMESPACE REASON
//! ```
//!
//! With `UPDATE_CASES=1` in the environment the part below the line is written anew, for the diff to be read.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a case that cannot be played has failed")]
#![expect(clippy::disallowed_methods, reason = "the cases are files")]

mod support;

use std::fmt::Write;
use std::path::Path;

use imps_core::grant::OptOut;
use imps_core::name::{AccountRef, NamespaceName, SecretRef, Uid};
use imps_core::standing::Truth;
use imps_core::world::{Namespace, Record, Tenure};
use support::{SourceText, Stage, Stored, docker_config, grant, pattern, pod, selector};

#[test]
fn every_case_is_planned_as_written() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/plan");
    let mut files: Vec<_> = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.sort();
    assert!(files.len() >= 20, "the cases are there");
    let mut wrong = String::new();
    for file in files {
        let text = std::fs::read_to_string(&file).unwrap();
        let (world, expected) =
            text.split_once("---\n").unwrap_or_else(|| panic!("{} has no line", file.display()));
        let actual = play(world);
        if std::env::var_os("UPDATE_CASES").is_some() {
            std::fs::write(&file, format!("{world}---\n{actual}")).unwrap();
        } else if actual != expected {
            let name = file.file_name().unwrap().to_string_lossy();
            write!(wrong, "\n{name}: expected\n{expected}but got\n{actual}").unwrap();
        }
    }
    assert!(wrong.is_empty(), "{wrong}");
}

fn play(world: &str) -> String {
    let mut stage = Stage::default();
    let mut late = Vec::new();
    for line in world.lines().filter(|line| !line.is_empty() && !line.starts_with('#')) {
        let words: Vec<&str> = line.split_whitespace().collect();
        match words[0] {
            "namespace" => namespace(&mut stage, &words[1..]),
            "pod" => {
                let index = stage.pods.len();
                let labels = pairs(&words[2..]);
                let mut pod = pod(index, words[1], labels);
                pod.deleting = words.contains(&"deleting");
                stage.pods.push(pod);
            }
            "refuses" => {
                stage.refusing.insert(NamespaceName::new(words[1]));
            }
            "serves" => {
                stage.served = Some(words[1..].iter().map(|name| NamespaceName::new(*name)).collect())
            }
            "closed" => {
                stage.closed.insert(NamespaceName::new(words[1]));
            }
            "account" => {
                let at = reference(words[1]);
                let secrets: Vec<&str> =
                    words[2..].iter().copied().filter(|word| *word != "locked").collect();
                stage.account(at.namespace.as_str(), at.name.as_str(), &secrets);
                if words.contains(&"locked") {
                    let name = at.name.as_str().into();
                    stage.locked.insert(AccountRef { namespace: at.namespace, name });
                }
            }
            "source" => source(&mut stage, &words[1..]),
            "grant" => read_grant(&mut stage, &words[1..]),
            "secret" => late.push(words.iter().map(|word| (*word).to_owned()).collect::<Vec<_>>()),
            other => panic!("no such word: {other}"),
        }
    }
    for words in late {
        secret(&mut stage, &words);
    }
    if stage.served.is_some() {
        // Which namespaces are served is said to a process at its start.
        stage.restart();
    }
    judge(stage)
}

/// Lets the machine work until nothing is left to do, and says what it did and how all ends.
fn judge(mut stage: Stage) -> String {
    stage.run();
    let mut steps = std::mem::take(&mut stage.history);
    steps.sort_unstable();
    let mut text: String = steps.iter().map(|step| format!("{step}\n")).collect();
    for at in stage.secrets.keys().cloned().collect::<Vec<_>>() {
        if let Some(logins) = stage.logins(at.namespace.as_str(), at.name.as_str()) {
            let logins: Vec<String> =
                logins.iter().map(|(registry, user)| format!("{registry}={user}")).collect();
            writeln!(text, "holds {at} {}", logins.join(" ")).unwrap();
        }
    }
    for (at, account) in &stage.accounts {
        let names: Vec<&str> = account.secrets.iter().map(|name| name.as_str()).collect();
        writeln!(text, "{}", format!("account {at} {}", names.join(" ")).trim_end()).unwrap();
    }
    for standing in stage.standings.values() {
        let ready = match standing.ready.truth {
            Truth::True => "Ready",
            Truth::False => "NotReady",
            Truth::Unknown => "Unknown",
        };
        let tally = standing.tally;
        let left_out = match tally.left_out {
            0 => String::new(),
            count => format!(" left-out={count}"),
        };
        writeln!(
            text,
            "{} {ready} {} desired={} synced={} failed={} conflict={}{left_out}",
            standing.identity.name,
            standing.ready.reason,
            tally.desired,
            tally.synced,
            tally.failed,
            tally.conflict
        )
        .unwrap();
        for failure in &standing.failures {
            writeln!(text, "{} failure {} {}", standing.identity.name, failure.namespace, failure.reason)
                .unwrap();
        }
    }
    text
}

fn pairs(words: &[&str]) -> imps_core::selector::Tags {
    words
        .iter()
        .take_while(|word| **word != "annotation")
        .filter_map(|word| word.split_once('='))
        .map(|(key, value)| (key.to_owned(), value.to_owned()))
        .collect()
}

fn namespace(stage: &mut Stage, words: &[&str]) {
    let annotations =
        words.iter().position(|word| *word == "annotation").map_or(Vec::new(), |at| words[at + 1..].to_vec());
    let namespace = Namespace {
        labels: pairs(&words[1..]),
        annotations: pairs(&annotations),
        terminating: words.contains(&"terminating"),
    };
    stage.namespaces.insert(NamespaceName::new(words[0]), namespace);
}

fn reference(text: &str) -> SecretRef {
    let (namespace, name) = text.split_once('/').unwrap();
    SecretRef::new(namespace, name)
}

fn source(stage: &mut Stage, words: &[&str]) {
    let docker = |text: &str| SourceText::Text("kubernetes.io/dockerconfigjson".to_owned(), text.to_owned());
    let text = match words[1] {
        "malformed" => docker("{\"auths\": [1]}"),
        "forbidden" => SourceText::Forbidden,
        "opaque" => SourceText::Text("Opaque".to_owned(), "{}".to_owned()),
        _ => {
            let logins: Vec<(&str, &str)> =
                words[1..].iter().map(|word| word.split_once('=').unwrap()).collect();
            docker(&docker_config(&logins))
        }
    };
    stage.sources.insert(reference(words[0]), text);
}

fn read_grant(stage: &mut Stage, words: &[&str]) {
    let (mut identity, mut grant) = grant(words[0], 100);
    let mut words = words[1..].iter().peekable();
    let mut excluding = false;
    grant.recipients.opt_outs = &[OptOut { key: "tool/ignore", values: &["true"], by: "tool" }];
    let mut record = Record::default();
    let mut tenure = Tenure::default();
    while let Some(word) = words.next() {
        let mut next = || *words.next().unwrap();
        match *word {
            "age" => identity.created_seconds = -next().parse::<i64>().unwrap(),
            "from" => grant.sources = next().split(',').map(reference).collect(),
            "as" => grant.template.name = next().into(),
            "to" => excluding = false,
            "exclude" => excluding = true,
            "suspended" => grant.suspended = true,
            "adopt" => grant.template.adopt = true,
            "attach" => grant.accounts.push(pattern(next())),
            "formerly" => drop(record.account_names.insert(pattern(next()))),
            "was" => drop(record.secret_names.insert(next().into())),
            "leaving" => tenure.deleting = true,
            "name" if excluding => grant.recipients.exclude.names.push(pattern(next())),
            "name" => grant.recipients.namespaces.names.push(pattern(next())),
            "label" if excluding => grant.recipients.exclude.labels.push(selector(next())),
            "label" => grant.recipients.namespaces.labels.push(selector(next())),
            "annotation" => grant.recipients.namespaces.annotations.push(selector(next())),
            "pod" => grant.recipients.pods.push(support::pod_term(next())),
            other => panic!("no such word in a grant: {other}"),
        }
    }
    grant.identity = identity.clone();
    tenure.held = tenure.deleting;
    stage.tenures.insert(identity.uid.clone(), tenure);
    stage.grants.insert(identity.uid.clone(), (identity, grant, record));
}

fn secret(stage: &mut Stage, words: &[String]) {
    let at = reference(&words[1]);
    let has = |word: &str| words.iter().any(|w| w == word);
    let version = stage.version();
    let foreign = has("foreign");
    let owner = if foreign { None } else { Some(Uid::new(format!("uid-{}", words[3]))) };
    let after = |word: &str| words.iter().position(|w| w == word).and_then(|at| words.get(at + 1)).cloned();
    let secret_type = after("foreign")
        .filter(|word| word == "Opaque" || word.contains('/'))
        .unwrap_or_else(|| "kubernetes.io/dockerconfigjson".to_owned());
    let stored = Stored {
        uid: format!("old-{}", at.namespace),
        version,
        secret_type,
        bytes: docker_config(&[("old.example", "old")]).into_bytes(),
        labels: Default::default(),
        annotations: Default::default(),
        owner,
        by_imps: !foreign && !has("legacy") && !has("edited"),
        legacy_copy: has("legacy"),
        immutable: has("immutable"),
        consent: after("consents"),
        controller: has("controlled").then(|| "ExternalSecret hub".to_owned()),
    };
    stage.secrets.insert(at, stored);
}
