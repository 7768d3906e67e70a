//! Rules about modules: every file is compiled, opens with what it is for, and has a noun for a name.

use std::collections::BTreeSet;

use super::{Finding, Source, Tree};

/// Names that say nothing: what is in such a module has no room yet.
const EMPTY_NAMES: [&str; 7] = ["util", "utils", "common", "helper", "helpers", "misc", "types"];

/// Files that tests hand to the compiler themselves.
const COMPILED_BY_TESTS: &str = "/tests/ui/";

/// Checks every Rust file.
pub(super) fn check(tree: &Tree) -> Vec<Finding> {
    let reached = reached(tree);
    let mut findings = Vec::new();
    for source in tree.rust().filter(|source| !source.path.contains(COMPILED_BY_TESTS)) {
        if !reached.contains(source.path.as_str()) {
            findings.push(Finding::new(source, 1, "no `mod` declares this file, so it is never compiled"));
        }
        if !source.text.starts_with("//!") {
            findings.push(Finding::new(source, 1, "a module opens with `//!`: what it is for"));
        }
        // Below tests/ there is no other way: tests/foo.rs would be a test program of its own.
        if source.path.ends_with("/mod.rs") && !source.is_test() {
            findings.push(Finding::new(source, 1, "foo.rs and foo/, never mod.rs"));
        }
        let stem = source.path.rsplit('/').next().unwrap_or_default().trim_end_matches(".rs");
        if EMPTY_NAMES.contains(&stem) {
            findings.push(Finding::new(source, 1, format!("{stem} says nothing: find the noun")));
        }
        for (line, path) in modules(&source.text) {
            let name = path.rsplit('/').next().unwrap_or_default();
            if EMPTY_NAMES.contains(&name) {
                findings.push(Finding::new(
                    source,
                    line,
                    format!("module {name} says nothing: find the noun"),
                ));
            }
        }
    }
    findings
}

/// The files that the compiler sees: roots, and what they declare.
fn reached(tree: &Tree) -> BTreeSet<&str> {
    let mut reached = BTreeSet::new();
    let mut waiting: Vec<&Source> = tree.rust().filter(|source| is_root(source)).collect();
    while let Some(source) = waiting.pop() {
        if !reached.insert(source.path.as_str()) {
            continue;
        }
        for (_, path) in modules(&source.text) {
            waiting.extend(tree.find(&format!("{}/{path}.rs", folder_of_children(source))));
            waiting.extend(tree.find(&format!("{}/{path}/mod.rs", folder_of_children(source))));
        }
    }
    reached
}

/// Whether cargo itself finds the file.
fn is_root(source: &Source) -> bool {
    let within = source.path.strip_prefix(source.crate_folder()).unwrap_or_default().trim_start_matches('/');
    match within.split('/').collect::<Vec<_>>()[..] {
        ["build.rs"] | ["src", "lib.rs" | "main.rs"] => !source.crate_folder().is_empty(),
        ["src", "bin", _] | ["tests" | "benches" | "examples", _] => !source.crate_folder().is_empty(),
        ["src", "bin", _, "main.rs"] | ["tests" | "benches" | "examples", _, "main.rs"] => true,
        _ => false,
    }
}

/// Where the modules live that a file declares.
fn folder_of_children(source: &Source) -> &str {
    let (folder, file) = source.path.rsplit_once('/').unwrap_or(("", &source.path));
    if is_root(source) || file == "mod.rs" { folder } else { source.path.trim_end_matches(".rs") }
}

/// The modules that a file declares or contains, with their lines and their paths below the file (`outer/inner`).
///
/// Goes by the indentation that rustfmt makes: a module in braces ends with the brace below its first letter.
fn modules(text: &str) -> Vec<(usize, String)> {
    let mut found = Vec::new();
    let mut open: Vec<(usize, &str)> = Vec::new();
    for (line, number) in text.lines().zip(1..) {
        let indentation = line.len() - line.trim_start().len();
        if line.trim_start() == "}" && open.last().is_some_and(|(at, _)| *at == indentation) {
            open.pop();
        }
        let Some((name, in_braces)) = declaration(line) else { continue };
        let path: Vec<&str> = open.iter().map(|(_, name)| *name).chain([name]).collect();
        found.push((number, path.join("/")));
        if in_braces {
            open.push((indentation, name));
        }
    }
    found
}

/// The name of the module that a line declares, and whether its text follows in braces.
fn declaration(line: &str) -> Option<(&str, bool)> {
    let mut rest = line.trim_start();
    if let Some(public) = rest.strip_prefix("pub") {
        rest = match public.strip_prefix('(') {
            Some(scope) => scope.split_once(')')?.1,
            None => public,
        };
    }
    let rest = rest.trim_start().strip_prefix("mod ")?.trim_end();
    let (name, in_braces) = match rest.strip_suffix(';') {
        Some(name) => (name, false),
        None => (rest.strip_suffix('{')?.trim_end(), true),
    };
    name.chars().all(|c| c.is_alphanumeric() || c == '_').then_some((name, in_braces))
}

#[cfg(test)]
mod tests {
    use super::super::sample::{places, tree};
    use super::*;

    #[test]
    fn a_file_that_no_module_declares_is_found() {
        let tree = tree(&[
            ("crates/a/src/lib.rs", "//! A.\npub mod b;\n"),
            ("crates/a/src/b.rs", "//! B.\n#[cfg(test)]\nmod c;\n"),
            ("crates/a/src/b/c.rs", "//! C.\n"),
            ("crates/a/src/d.rs", "//! D.\n"),
            ("crates/a/tests/e.rs", "//! E.\n"),
            ("crates/a/tests/ui/f.rs", "fn main() {}\n"),
        ]);
        assert_eq!(places(&check(&tree)), [("crates/a/src/d.rs", 1)]);
    }

    #[test]
    fn a_module_without_a_purpose_or_a_noun_is_found() {
        let tree = tree(&[
            ("crates/a/src/lib.rs", "//! A.\nmod utils;\npub(crate) mod b;\n"),
            ("crates/a/src/utils.rs", "//! U.\n"),
            ("crates/a/src/b/mod.rs", "struct B;\n"),
        ]);
        let findings = check(&tree);
        let expected = [
            ("crates/a/src/lib.rs", 2),
            ("crates/a/src/utils.rs", 1),
            ("crates/a/src/b/mod.rs", 1),
            ("crates/a/src/b/mod.rs", 1),
        ];
        assert_eq!(places(&findings), expected);
    }

    #[test]
    fn modules_within_modules_and_shared_ones_of_tests_are_reached() {
        let tree = tree(&[
            ("crates/a/tests/b.rs", "//! B.\nmod support;\nmod b {\n    mod c;\n}\nmod d;\n"),
            ("crates/a/tests/b/c.rs", "//! C.\n"),
            ("crates/a/tests/b/d.rs", "//! Not this one.\n"),
            ("crates/a/tests/support/mod.rs", "//! S.\n"),
        ]);
        assert_eq!(places(&check(&tree)), [("crates/a/tests/b/d.rs", 1)]);
    }

    #[test]
    fn declarations_are_told_from_prose() {
        let text =
            "mod a;\npub(super) mod b {\n    // mod c;\n    let mod_d = 1;\n    mod e e;\n}\npub mod f;\n";
        let names: Vec<String> = modules(text).into_iter().map(|(_, path)| path).collect();
        assert_eq!(names, ["a", "b", "f"]);
    }
}
