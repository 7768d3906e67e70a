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
        if source.path.ends_with("/mod.rs") {
            findings.push(Finding::new(source, 1, "foo.rs and foo/, never mod.rs"));
        }
        let stem = source.path.rsplit('/').next().unwrap_or_default().trim_end_matches(".rs");
        if EMPTY_NAMES.contains(&stem) {
            findings.push(Finding::new(source, 1, format!("{stem} says nothing: find the noun")));
        }
        for (line, name) in modules(&source.text) {
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
        for (_, name) in modules(&source.text) {
            waiting.extend(tree.find(&format!("{}/{name}.rs", folder_of_children(source))));
            waiting.extend(tree.find(&format!("{}/{name}/mod.rs", folder_of_children(source))));
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

/// The modules that a file declares or contains, with their lines.
fn modules(text: &str) -> impl Iterator<Item = (usize, &str)> {
    text.lines().zip(1..).filter_map(|(line, number)| {
        let mut rest = line.trim_start();
        if let Some(public) = rest.strip_prefix("pub") {
            rest = match public.strip_prefix('(') {
                Some(scope) => scope.split_once(')')?.1,
                None => public,
            };
        }
        let name = rest.trim_start().strip_prefix("mod ")?.trim_end();
        let name = name.strip_suffix(';').or_else(|| name.strip_suffix('{'))?.trim();
        name.chars().all(|c| c.is_alphanumeric() || c == '_').then_some((number, name))
    })
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
    fn declarations_are_told_from_prose() {
        let text = "mod a;\npub(super) mod b {\n// mod c;\nlet mod_d = 1;\nmod e e;\n";
        assert_eq!(modules(text).map(|(_, name)| name).collect::<Vec<_>>(), ["a", "b"]);
    }
}
