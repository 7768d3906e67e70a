//! `cargo xtask tidy`: the house rules that no other tool knows, as fast checks over the files of the tree.
//!
//! A rule is a function from the files to findings. The rules about text are in [`text`], the ones about how
//! modules hang together in [`modules`], the walls between crates in [`walls`], the ones about what people on call
//! see in [`alerts`], the pages of findings in [`findings`], the ones about CI in [`workflows`].

use std::fmt;
use std::fs;
use std::process::Command;

use anyhow::{Context, Result, bail};
use clap::Args;

use crate::workspace::{output_of, root};

mod alerts;
mod findings;
mod modules;
mod text;
mod walls;
mod workflows;

/// Check the house rules: walls between crates, names, words, layout.
#[derive(Args)]
pub(crate) struct Tidy {}

impl Tidy {
    /// Carries the command out.
    pub(crate) fn run(&self) -> Result<()> {
        let tree = Tree::read()?;
        let mut findings = text::check(&tree);
        findings.extend(modules::check(&tree));
        findings.extend(findings::check(&tree));
        findings.extend(walls::check(&tree)?);
        findings.extend(alerts::check(&tree)?);
        findings.extend(workflows::check(&tree));
        findings.sort();
        if findings.is_empty() {
            return Ok(());
        }
        for finding in &findings {
            println!("{finding}");
        }
        bail!("{} findings", findings.len());
    }
}

/// One text file of the tree.
struct Source {
    path: String,
    text: String,
}

impl Source {
    /// The folder of the crate that the file belongs to; empty for a file outside of every crate.
    fn crate_folder(&self) -> &str {
        match self.path.split('/').collect::<Vec<_>>()[..] {
            ["crates", name, _, ..] => &self.path[.."crates/".len() + name.len()],
            ["xtask", _, ..] => "xtask",
            _ => "",
        }
    }

    fn is_rust(&self) -> bool {
        self.path.ends_with(".rs")
    }

    /// Whether the whole file is there for tests only.
    fn is_test(&self) -> bool {
        self.path.contains("/tests/") || self.path.ends_with("/tests.rs")
    }

    /// The lines of the product, with their numbers: what follows `#[cfg(test)]` is left out.
    fn product_lines(&self) -> impl Iterator<Item = (usize, &str)> {
        let lines = if self.is_test() { "" } else { &self.text };
        lines
            .lines()
            .zip(1..)
            .take_while(|(line, _)| !line.starts_with("#[cfg(test)]"))
            .map(|(line, n)| (n, line))
    }
}

/// Every text file that git knows or would know.
struct Tree {
    files: Vec<Source>,
}

impl Tree {
    fn read() -> Result<Self> {
        let mut git = Command::new("git");
        git.args(["ls-files", "-z", "--cached", "--others", "--exclude-standard"]).current_dir(root());
        let names = output_of(&mut git)?;
        let mut files = Vec::new();
        for path in names.split('\0').filter(|path| !path.is_empty()) {
            let file = root().join(path);
            // Deleted but not yet staged, or a link to a folder.
            if !file.is_file() {
                continue;
            }
            let bytes = fs::read(&file).with_context(|| format!("cannot read {path}"))?;
            if let Ok(text) = String::from_utf8(bytes) {
                files.push(Source { path: path.to_owned(), text });
            }
        }
        Ok(Self { files })
    }

    fn rust(&self) -> impl Iterator<Item = &Source> {
        self.files.iter().filter(|source| source.is_rust())
    }

    fn find(&self, path: &str) -> Option<&Source> {
        self.files.iter().find(|source| source.path == path)
    }
}

/// Something that is not as it should be.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Finding {
    path: String,
    line: usize,
    message: String,
}

impl Finding {
    fn new(source: &Source, line: usize, message: impl Into<String>) -> Self {
        Self { path: source.path.clone(), line, message: message.into() }
    }
}

impl fmt::Display for Finding {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}:{}: {}", self.path, self.line, self.message)
    }
}

/// What the tests of the rules share.
#[cfg(test)]
mod sample {
    use super::{Finding, Source, Tree};

    /// A tree of these files.
    pub(super) fn tree(files: &[(&str, &str)]) -> Tree {
        let source = |(path, text): &(&str, &str)| Source { path: (*path).into(), text: (*text).into() };
        Tree { files: files.iter().map(source).collect() }
    }

    /// Where the findings are.
    pub(super) fn places(findings: &[Finding]) -> Vec<(&str, usize)> {
        findings.iter().map(|finding| (finding.path.as_str(), finding.line)).collect()
    }
}
