//! A departure as one document: YAML with the steps in comments, or JSON.

use serde_json::{Value, json};

use super::super::Error;
use super::departure::{Departure, Phase, Source, Step};

/// Width of comments.
const WIDTH: usize = 110;
/// The name that steps call the document by.
const FILE: &str = "migration.yaml";

/// Which Secrets are printed, and which are left to commands.
pub(super) fn complete(departure: &mut Departure, with_credentials: bool) {
    let mut commands = Vec::new();
    let mut unread = false;
    let mut by_hand = Vec::new();
    for source in departure.sources.iter().filter(|source| !source.is_printable(with_credentials)) {
        unread |= with_credentials;
        by_hand.extend(source.out_of_reach());
        commands.push(source.command());
    }
    let names: Vec<String> = departure.names().map(str::to_owned).collect();
    if names.is_empty() {
        return;
    }
    departure.step(
        Phase::Install,
        format!("Save this as {FILE}. Install imps with the rights for its objects, and start it"),
        vec![
            "imps crd | kubectl apply --server-side -f -".to_owned(),
            format!("imps rbac -f {FILE} --service-account imps-system/imps | kubectl apply -f -"),
        ],
    );
    if !commands.is_empty() {
        let why = if unread {
            "not all of their content could be read"
        } else {
            "--with-credentials prints them here instead, with their content"
        };
        let mut text = format!("Make the source Secrets out of what is in the cluster, in bash ({why})");
        if !by_hand.is_empty() {
            text.push_str(&format!("; before that, {}", by_hand.join(", ")));
        }
        departure.step(Phase::Sources, text, commands);
    }
    departure.step(
        Phase::Apply,
        "Apply this document. The Secrets that are there are taken over in place",
        vec![format!("kubectl apply -f {FILE}")],
    );
    let objects: Vec<String> = names.iter().map(|name| format!("imps/{name}")).collect();
    departure.step(
        Phase::Check,
        "Wait until all is as it should be; kubectl describe imps tells what is missing",
        vec![format!("kubectl wait --for=condition=Ready --timeout=2m {}", objects.join(" "))],
    );
}

/// The objects: sources that can be printed first, so that they are there when they are read.
fn items(departure: &Departure, with_credentials: bool) -> Result<Vec<Value>, serde_json::Error> {
    let printable = departure.sources.iter().filter(|source| source.is_printable(with_credentials));
    let sources = printable.map(|source| Ok(source.manifest()));
    sources.chain(departure.grants.iter().map(serde_json::to_value)).collect()
}

/// For `kubectl apply -f`, and for people.
pub(super) fn yaml(departure: &Departure, with_credentials: bool) -> Result<String, Error> {
    let mut text = String::new();
    wrapped(
        &mut text,
        "",
        "",
        "Made by imps migrate registry-creds, which changed nothing: read it, then do it.",
    );
    let mut printed = departure.sources.iter().filter(|source| source.is_printable(with_credentials));
    if printed.any(Source::is_confidential) {
        wrapped(
            &mut text,
            "",
            "",
            "It holds credentials: keep it out of version control, and delete it afterwards.",
        );
    }
    list(&mut text, "Found", &departure.found);
    list(&mut text, "Take note", &departure.problems);
    let steps = departure.steps();
    if !steps.is_empty() {
        text.push_str("#\n# Steps\n");
        for (number, Step { text: words, commands }) in steps.iter().enumerate() {
            wrapped(&mut text, &format!("{:>2}. ", number + 1), "    ", words);
            for line in commands.iter().flat_map(|command| command.split('\n')) {
                text.push_str(&format!("#         {}\n", on_one_line(line)));
            }
        }
    }
    list(&mut text, "Not carried over in place", &departure.left_behind);
    list(&mut text, "Not as before", &departure.differences);
    for item in items(departure, with_credentials)? {
        text.push_str(&format!("---\n{}", serde_saphyr::to_string(&item)?));
    }
    Ok(text)
}

/// For machines: `.list` is what `kubectl apply -f` takes.
pub(super) fn json(departure: &Departure, with_credentials: bool) -> Result<String, Error> {
    let page = json!({
        "found": departure.found,
        "problems": departure.problems,
        "steps": departure.steps(),
        "leftBehind": departure.left_behind,
        "differences": departure.differences,
        "list": {"apiVersion": "v1", "kind": "List", "items": items(departure, with_credentials)?},
    });
    Ok(format!("{}\n", serde_json::to_string_pretty(&page)?))
}

fn list(text: &mut String, title: &str, entries: &[String]) {
    if entries.is_empty() {
        return;
    }
    text.push_str(&format!("#\n# {title}\n"));
    for entry in entries {
        wrapped(text, "  - ", "    ", entry);
    }
}

/// Comment lines; words are never broken.
fn wrapped(text: &mut String, first: &str, other: &str, words: &str) {
    let mut line = format!("# {first}");
    let mut is_empty = true;
    for word in on_one_line(words).split(' ') {
        if !is_empty && line.chars().count() + 1 + word.chars().count() > WIDTH {
            text.push_str(&format!("{line}\n"));
            line = format!("# {other}");
            is_empty = true;
        }
        if !is_empty {
            line.push(' ');
        }
        line.push_str(word);
        is_empty = false;
    }
    text.push_str(&format!("{line}\n"));
}

/// What manifests say is repeated in comments, and must not end them: no character that a reader of YAML takes for the
/// end of a line gets through.
fn on_one_line(text: &str) -> String {
    let ends = |c: char| c.is_control() || ['\u{85}', '\u{2028}', '\u{2029}'].contains(&c);
    text.chars().map(|c| if ends(c) { ' ' } else { c }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_that_a_manifest_says_ends_a_comment() {
        let mut departure = Departure::default();
        departure.found.push("a\nkind: Secret\r\u{2028}---".to_owned());
        departure.step(Phase::Stop, "b\n---", vec!["kubectl\rdelete \\\n  everything".to_owned()]);
        let text = yaml(&departure, false).unwrap();
        assert!(text.lines().all(|line| line.starts_with('#')), "{text}");
        assert!(!text.contains(['\r', '\u{2028}']), "{text}");
        let read: Vec<Value> = serde_saphyr::from_multiple(&text).unwrap();
        assert!(read.iter().all(Value::is_null), "{read:?}");
    }

    #[test]
    fn long_words_are_wrapped_and_never_broken() {
        let mut text = String::new();
        wrapped(&mut text, "  - ", "    ", &["word"; 60].join(" "));
        assert!(text.lines().count() > 2 && text.lines().all(|line| line.len() <= WIDTH), "{text}");
        assert!(text.starts_with("#   - word") && text.lines().skip(1).all(|l| l.starts_with("#     word")));
        let long = "x".repeat(200);
        text.clear();
        wrapped(&mut text, "", "", &format!("see {long}"));
        assert_eq!(text, format!("# see\n# {long}\n"));
    }
}
