//! Rules about what a line may say.

use super::{Finding, Source, Tree};

/// Wider than code, which rustfmt keeps at 110, so that a link or a message need not be broken.
const LINE_LENGTH_MAX: usize = 120;

/// The API group, in two pieces so that this file does not break its own rule.
const GROUP: &str = concat!("images.", "banzaicloud.io");

/// Where users' keys are written, and nowhere else.
const GROUP_FILES: [&str; 3] = [
    "crates/imps-api/src/keys.rs",
    "crates/imps-api/src/image_pull_secret.rs",
    // The types of source Secrets are named after it, and who reads those does not know the API.
    "crates/imps-registry/src/secret_type.rs",
];

/// Where a credential is turned into bytes. Each file here is one that an auditor reads.
const REVEALING_FILES: [&str; 6] = [
    "crates/imps-core/src/token.rs",
    "crates/imps-core/src/dockerconfig/render.rs",
    "crates/imps-registry/src/aws/session.rs",
    // Reads from a token when it ends, and keeps nothing else.
    "crates/imps-core/src/diagnosis/expiry.rs",
    // Sends tokens to those who exchange them for others.
    "crates/imps-registry/src/wire.rs",
    // Prints the credentials of a tool that is left, where the user asks for them.
    "crates/imps/src/command/migrate/held.rs",
];

/// Words that stand for work left undone, in pieces for the same reason.
const UNDONE: [&str; 6] = [
    concat!("TO", "DO"),
    concat!("FIX", "ME"),
    concat!("XX", "X"),
    concat!("to", "do!("),
    concat!("unimpl", "emented!("),
    concat!("#[ig", "nore"),
];

/// Ways to wait that a decision may not use.
const SLEEPS: [&str; 2] = [concat!("thread::sl", "eep"), concat!("time::sl", "eep")];

/// Folders of the machines that we happen to work on.
const MACHINE_PATHS: [&str; 3] = [concat!("/ro", "ot/"), concat!("/wo", "rk/"), concat!("/Us", "ers/")];

/// Written by other tools in their own style.
const FOREIGN: [&str; 3] = ["go.mod", "go.sum", "Cargo.lock"];

/// Checks every line of every file.
pub(super) fn check(tree: &Tree) -> Vec<Finding> {
    let mut findings = Vec::new();
    for source in tree.files.iter().filter(|source| !FOREIGN.iter().any(|name| source.path.ends_with(name))) {
        layout(source, &mut findings);
        places(source, &mut findings);
        if source.is_rust() {
            undone(source, &mut findings);
            sleeping(source, &mut findings);
            group(source, &mut findings);
            revealing(source, &mut findings);
        }
    }
    findings
}

fn layout(source: &Source, findings: &mut Vec<Finding>) {
    for (line, number) in source.text.lines().zip(1..) {
        if line.contains('\t') {
            findings.push(Finding::new(source, number, "a tab: use spaces"));
        }
        if line.ends_with([' ', '\r']) {
            findings.push(Finding::new(source, number, "white space at the end of the line"));
        }
        let length = line.chars().count();
        if source.is_rust() && length > LINE_LENGTH_MAX {
            let message = format!("{length} characters, {LINE_LENGTH_MAX} are allowed");
            findings.push(Finding::new(source, number, message));
        }
    }
    let last = source.text.lines().count();
    if !source.text.is_empty() && !source.text.ends_with('\n') {
        findings.push(Finding::new(source, last, "no line break at the end of the file"));
    }
    if source.text.ends_with("\n\n") {
        findings.push(Finding::new(source, last, "empty lines at the end of the file"));
    }
}

fn places(source: &Source, findings: &mut Vec<Finding>) {
    for (line, number) in source.text.lines().zip(1..) {
        // Not a path when something precedes it, as in a link or a folder of the tree.
        let found = MACHINE_PATHS.iter().find(|path| {
            line.match_indices(*path)
                .any(|(at, _)| !line[..at].ends_with(|c: char| c.is_alphanumeric() || c == '.'))
        });
        if let Some(path) = found {
            findings.push(Finding::new(source, number, format!("{path} is a folder of one machine")));
        }
    }
}

fn undone(source: &Source, findings: &mut Vec<Finding>) {
    for (line, number) in source.text.lines().zip(1..) {
        if let Some(word) = UNDONE.iter().find(|word| has_word(line, word)) {
            findings.push(Finding::new(source, number, format!("{word} stands for work left undone")));
        }
    }
}

fn sleeping(source: &Source, findings: &mut Vec<Finding>) {
    if source.crate_folder() != "crates/imps-core" {
        return;
    }
    for (number, line) in source.product_lines() {
        if let Some(call) = SLEEPS.iter().find(|call| line.contains(*call)) {
            findings.push(Finding::new(source, number, format!("{call}: the core never waits")));
        }
    }
}

fn group(source: &Source, findings: &mut Vec<Finding>) {
    if GROUP_FILES.contains(&source.path.as_str()) {
        return;
    }
    for (number, line) in source.product_lines().filter(|(_, line)| line.contains(GROUP)) {
        // Words about the group in a comment bind nobody.
        if !line.trim_start().starts_with("//") {
            let message = format!("the name of the group is written in {} only", GROUP_FILES.join(" and "));
            findings.push(Finding::new(source, number, message));
        }
    }
}

fn revealing(source: &Source, findings: &mut Vec<Finding>) {
    if REVEALING_FILES.contains(&source.path.as_str()) {
        return;
    }
    for (number, line) in source.product_lines() {
        let code = !line.trim_start().starts_with("//");
        if code
            && [".reveal()", "Token::reveal"].iter().any(|call| line.contains(call))
            && !is_this_rule(source)
        {
            let message = "reveals a credential, and is not in the list of files that may (tidy/text.rs)";
            findings.push(Finding::new(source, number, message));
        }
    }
}

/// This file names what it looks for.
fn is_this_rule(source: &Source) -> bool {
    source.crate_folder() == "xtask"
}

/// Whether a line has this word as a whole one.
fn has_word(line: &str, word: &str) -> bool {
    let part_of_a_word = |c: char| c.is_alphanumeric() || c == '_';
    let whole_end = !word.ends_with(char::is_alphanumeric);
    line.match_indices(word).any(|(at, _)| {
        !line[..at].ends_with(part_of_a_word)
            && (whole_end || !line[at + word.len()..].starts_with(part_of_a_word))
    })
}

#[cfg(test)]
mod tests {
    use super::super::sample::{places as found, tree};
    use super::*;

    fn check_one(path: &str, text: &str) -> Vec<(String, usize)> {
        let findings = check(&tree(&[(path, text)]));
        found(&findings).into_iter().map(|(path, line)| (path.to_owned(), line)).collect()
    }

    fn lines(path: &str, text: &str) -> Vec<usize> {
        check_one(path, text).into_iter().map(|(_, line)| line).collect()
    }

    #[test]
    fn a_clean_file_has_no_findings() {
        assert!(check_one("crates/imps-core/src/a.rs", "//! A.\n\nfn a() {}\n").is_empty());
    }

    #[test]
    fn tabs_trailing_space_long_lines_and_a_missing_line_break_are_found() {
        let long = "x".repeat(LINE_LENGTH_MAX + 1);
        assert_eq!(lines("a.rs", &format!("\tx\nx \n{long}\nx")), [1, 2, 3, 4]);
        assert_eq!(lines("tools/go.mod", "\tx"), [0; 0]);
    }

    #[test]
    fn undone_work_is_found_as_a_whole_word() {
        for word in UNDONE {
            assert_eq!(lines("a.rs", &format!("x\n// {word} y\n")), [2], "{word}");
        }
        assert!(lines("a.rs", &format!("let {}_LIST = 1;\n", UNDONE[0])).is_empty());
    }

    #[test]
    fn the_group_is_named_only_where_keys_are_kept() {
        let text = format!("const A: &str = \"{GROUP}/a\";\n#[cfg(test)]\nconst B: &str = \"{GROUP}\";\n");
        assert_eq!(lines("crates/imps/src/main.rs", &text), [1]);
        assert!(lines(GROUP_FILES[0], &text).is_empty());
        assert!(lines("crates/imps/tests/a.rs", &text).is_empty());
    }

    #[test]
    fn only_listed_files_reveal_credentials() {
        assert_eq!(lines("crates/imps-core/src/plan.rs", "x.token.reveal();\n"), [1]);
        assert!(lines(REVEALING_FILES[1], "x.token.reveal();\n").is_empty());
    }

    #[test]
    fn the_core_does_not_sleep_but_its_tests_may() {
        let text = format!("std::{}();\n", SLEEPS[0]);
        assert_eq!(lines("crates/imps-core/src/a.rs", &text), [1]);
        assert!(lines("crates/imps-core/tests/a.rs", &text).is_empty());
        assert!(lines("crates/imps-testbed/src/a.rs", &text).is_empty());
    }

    #[test]
    fn folders_of_one_machine_are_found() {
        assert_eq!(lines("README.md", &format!("see {}x\n", MACHINE_PATHS[1])), [1]);
        assert!(lines("README.md", &format!("see a.example{}x\n", MACHINE_PATHS[1])).is_empty());
    }
}
