//! The bill of materials: the crates in the program and the packages in the image, as CycloneDX.
//!
//! Which crates are in the program, cargo itself says; their checksums are those that the lock file holds them to.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;

use anyhow::{Context, Result};
use imps_testbed::shipped_image::Package;
use serde::Serialize;

use crate::origin::VERSION;
use crate::workspace::{cargo, output_of, root};

/// The program that it is about.
const PROGRAM: &str = "imps";

/// The whole document.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Bom {
    bom_format: &'static str,
    spec_version: &'static str,
    version: u32,
    metadata: Metadata,
    components: Vec<Component>,
    dependencies: Vec<Dependencies>,
}

#[derive(Debug, Serialize)]
struct Metadata {
    timestamp: String,
    component: Component,
}

#[derive(Debug, Serialize)]
struct Component {
    #[serde(rename = "type")]
    kind: &'static str,
    #[serde(rename = "bom-ref")]
    reference: String,
    name: String,
    version: String,
    /// `excluded` for what helps to compile and is not in the program.
    scope: &'static str,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    hashes: Vec<Hash>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    licenses: Vec<Licence>,
    /// None for a crate of ours: one of the same name in a registry would be another.
    #[serde(skip_serializing_if = "Option::is_none")]
    purl: Option<String>,
}

#[derive(Debug, Serialize)]
struct Hash {
    alg: &'static str,
    content: String,
}

#[derive(Debug, Serialize)]
struct Licence {
    expression: String,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Dependencies {
    #[serde(rename = "ref")]
    reference: String,
    depends_on: BTreeSet<String>,
}

impl Bom {
    /// Of the program as it is built for this target, in an image with these packages.
    pub(crate) fn read(target: &str, packages: &[Package], time: &str) -> Result<Self> {
        let lock = fs::read_to_string(root().join("Cargo.lock")).context("cannot read Cargo.lock")?;
        let compiled = Crates::read(&tree(target, "normal")?)?;
        let linked = Crates::read(&tree(target, "normal,no-proc-macro")?)?;
        Self::assemble(&compiled, &linked, &checksums(&lock), packages, time)
    }

    fn assemble(
        compiled: &Crates,
        linked: &Crates,
        checksums: &BTreeMap<(String, String), String>,
        packages: &[Package],
        time: &str,
    ) -> Result<Self> {
        let mut crates: Vec<Component> = Vec::new();
        for (id, licence) in &compiled.licences {
            let checksum = checksums.get(&(id.name.clone(), id.version.clone()));
            let scope = if linked.licences.contains_key(id) { "required" } else { "excluded" };
            crates.push(id.component(scope, licence, checksum));
        }
        let at =
            crates.iter().position(|component| component.name == PROGRAM && component.version == VERSION);
        let mut program = crates.remove(at.with_context(|| format!("cargo knows no {PROGRAM} {VERSION}"))?);
        program.kind = "application";
        let packages = packages.iter().map(|package| Component {
            kind: "library",
            reference: package.url(),
            name: package.name.clone(),
            version: package.version.clone(),
            scope: "required",
            hashes: Vec::new(),
            licenses: Vec::new(),
            purl: Some(package.url()),
        });
        let packages: Vec<Component> = packages.collect();
        let mut dependencies: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
        for (from, to) in &compiled.edges {
            dependencies.entry(from.reference()).or_default().extend(to.iter().map(Id::reference));
        }
        let runs_with = packages.iter().map(|package| package.reference.clone());
        dependencies.entry(program.reference.clone()).or_default().extend(runs_with);
        Ok(Self {
            bom_format: "CycloneDX",
            spec_version: "1.5",
            version: 1,
            metadata: Metadata { timestamp: time.to_owned(), component: program },
            components: crates.into_iter().chain(packages).collect(),
            dependencies: dependencies
                .into_iter()
                .map(|(reference, depends_on)| Dependencies { reference, depends_on })
                .collect(),
        })
    }

    /// Writes it to a file.
    pub(crate) fn write(&self, file: &Path) -> Result<()> {
        let mut text = serde_json::to_string_pretty(self)?;
        text.push('\n');
        fs::write(file, text).with_context(|| format!("cannot write {}", file.display()))
    }
}

/// Which crate.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Id {
    name: String,
    version: String,
}

impl Id {
    fn reference(&self) -> String {
        format!("{}@{}", self.name, self.version)
    }

    fn component(&self, scope: &'static str, licence: &str, checksum: Option<&String>) -> Component {
        // The old way to say «or» is no expression.
        let expression = licence.replace(" / ", " OR ").replace('/', " OR ");
        let version = self.version.replace('+', "%2B");
        Component {
            kind: "library",
            reference: self.reference(),
            name: self.name.clone(),
            version: self.version.clone(),
            scope,
            hashes: checksum
                .map(|content| Hash { alg: "SHA-256", content: content.clone() })
                .into_iter()
                .collect(),
            licenses: if expression.is_empty() { Vec::new() } else { vec![Licence { expression }] },
            purl: checksum.map(|_| format!("pkg:cargo/{}@{version}", self.name)),
        }
    }
}

/// A tree of crates.
#[derive(Debug, Default)]
struct Crates {
    licences: BTreeMap<Id, String>,
    edges: BTreeMap<Id, BTreeSet<Id>>,
}

impl Crates {
    /// Reads what [`tree`] got: on each line a depth, a crate, and its licence.
    fn read(tree: &str) -> Result<Self> {
        let mut crates = Self::default();
        let mut above: Vec<Id> = Vec::new();
        for line in tree.lines().filter(|line| !line.is_empty()) {
            // The mark of a crate whose branches have been shown before.
            let line = line.trim_end_matches(" (*)");
            let read = || {
                let digits = line.find(|c: char| !c.is_ascii_digit())?;
                let (depth, rest) = line.split_at(digits);
                let (package, licence) = rest.split_once('|')?;
                let mut words = package.split(' ');
                let name = words.next()?.to_owned();
                let version = words.next()?.strip_prefix('v')?.to_owned();
                Some((depth.parse::<usize>().ok()?, Id { name, version }, licence.to_owned()))
            };
            let (depth, id, licence) = read().with_context(|| format!("cargo tree says {line:?}"))?;
            above.truncate(depth);
            if let Some(parent) = above.last() {
                crates.edges.entry(parent.clone()).or_default().insert(id.clone());
            }
            crates.edges.entry(id.clone()).or_default();
            crates.licences.insert(id.clone(), licence);
            above.push(id);
        }
        Ok(crates)
    }
}

/// What cargo builds the program of, with these kinds of edges.
fn tree(target: &str, edges: &str) -> Result<String> {
    let arguments = ["tree", "--locked", "--package", PROGRAM, "--target", target, "--edges", edges];
    output_of(cargo(&arguments).args(["--prefix", "depth", "--format", "{p}|{l}"]))
}

/// The checksums of crates from a registry.
fn checksums(lock: &str) -> BTreeMap<(String, String), String> {
    let value = |line: &str, key: &str| {
        Some(line.strip_prefix(key)?.strip_prefix(" = \"")?.strip_suffix('"')?.to_owned())
    };
    let entries = lock.split("[[package]]").filter_map(|entry| {
        let find = |key: &str| entry.lines().find_map(|line| value(line, key));
        Some(((find("name")?, find("version")?), find("checksum")?))
    });
    entries.collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::Value;

    const TREE: &str = "\
0imps v0.1.0 (/some/where/crates/imps)|Apache-2.0
1serde v1.0.2|MIT OR Apache-2.0
2serde_derive v1.0.2 (proc-macro)|MIT/Apache-2.0
1big v2.0.0+7|
2serde v1.0.2|MIT OR Apache-2.0 (*)
";

    fn packages() -> Vec<Package> {
        let distribution = ("debian".to_owned(), "12".to_owned());
        let (name, version, architecture) = ("libc6".into(), "2.36".into(), "amd64".into());
        vec![Package { name, version, architecture, distribution }]
    }

    #[test]
    fn crates_are_read_with_what_they_need() {
        let crates = Crates::read(TREE).expect("read");
        let names = |ids: &BTreeSet<Id>| ids.iter().map(Id::reference).collect::<Vec<_>>();
        let edges: Vec<_> = crates.edges.iter().map(|(from, to)| (from.reference(), names(to))).collect();
        let expected = [
            ("big@2.0.0+7", vec!["serde@1.0.2"]),
            ("imps@0.1.0", vec!["big@2.0.0+7", "serde@1.0.2"]),
            ("serde@1.0.2", vec!["serde_derive@1.0.2"]),
            ("serde_derive@1.0.2", vec![]),
        ];
        let expected =
            expected.map(|(from, to)| (from.to_owned(), to.into_iter().map(str::to_owned).collect()));
        assert_eq!(edges, expected);
        assert!(Crates::read("nonsense").is_err());
    }

    /// The document of this workspace, as its readers get it.
    fn document() -> Value {
        let target = crate::product::target().expect("a target");
        let bom = Bom::read(&target, &packages(), "2026-01-01T00:00:00Z").expect("read");
        serde_json::to_value(bom).expect("JSON")
    }

    fn list<'a>(value: &'a Value, key: &str) -> &'a [Value] {
        value[key].as_array().map_or(&[], Vec::as_slice)
    }

    fn text<'a>(value: &'a Value, key: &str) -> &'a str {
        value[key].as_str().unwrap_or_default()
    }

    #[test]
    fn all_crates_that_are_compiled_into_the_program_are_in_it_and_no_others() {
        let document = document();
        let all = list(&document, "components").iter().chain([&document["metadata"]["component"]]);
        let ours = |component: &&Value| !text(component, "purl").starts_with("pkg:deb/");
        let found: BTreeSet<(String, String)> = all
            .filter(ours)
            .map(|component| (text(component, "name").to_owned(), text(component, "version").to_owned()))
            .collect();

        let target = crate::product::target().expect("a target");
        let arguments = ["tree", "--locked", "--edges", "normal", "--target", &target, "--package", "imps"];
        let tree = output_of(cargo(&arguments).args(["--prefix", "none"])).expect("a tree");
        let expected: BTreeSet<(String, String)> = tree
            .lines()
            .filter_map(|line| {
                let (name, rest) = line.split_once(" v")?;
                Some((name.to_owned(), rest.split(' ').next()?.to_owned()))
            })
            .collect();
        assert!(expected.len() > 100, "{} crates", expected.len());
        assert_eq!(found, expected);

        let manifest = fs::read_to_string(root().join("Cargo.toml")).expect("read");
        let development = manifest.split_once("# Development only.").expect("a section").1;
        let (development, _) = development.split_once("\n[").expect("an end");
        let mut names: Vec<_> =
            development.lines().filter_map(|line| Some(line.split_once(" = ")?.0)).collect();
        assert!(names.contains(&"proptest"), "{names:?}");
        names.extend(["imps-testbed", "xtask"]);
        // They are used for other things by the program itself.
        names.retain(|name| !["anyhow", "rustix", "tokio-rustls"].contains(name));
        for name in names {
            assert!(!found.iter().any(|(found, _)| found == name), "{name} is for development only");
        }
    }

    #[test]
    fn it_has_what_its_format_asks_for_and_names_nothing_twice() {
        let document = document();
        assert_eq!(document["bomFormat"], "CycloneDX");
        let program = &document["metadata"]["component"];
        assert_eq!((text(program, "name"), text(program, "type")), ("imps", "application"));
        let components = list(&document, "components");
        let mut references = BTreeSet::from([text(program, "bom-ref")]);
        for component in components {
            for key in ["type", "name", "version", "bom-ref"] {
                assert!(!text(component, key).is_empty(), "{component} has no {key}");
            }
            assert!(["required", "excluded"].contains(&text(component, "scope")), "{component}");
            let ours = text(component, "name").starts_with("imps-");
            assert_eq!(component["purl"].is_null(), ours, "{component}: ours has no place in a registry");
            let of_a_registry = text(component, "purl").starts_with("pkg:cargo/");
            assert_eq!(list(component, "hashes").len(), usize::from(of_a_registry), "{component}");
            assert!(references.insert(text(component, "bom-ref")), "{component} is there twice");
        }
        for dependency in list(&document, "dependencies") {
            assert!(references.contains(text(dependency, "ref")), "{dependency}");
            let known = |reference: &Value| reference.as_str().is_some_and(|text| references.contains(text));
            assert!(list(dependency, "dependsOn").iter().all(known), "{dependency}");
        }
        let derive = components.iter().find(|component| component["name"] == "serde_derive").expect("there");
        assert_eq!(derive["scope"], "excluded", "it is not in the program");
        let whole = document.to_string();
        assert!(whole.contains("pkg:deb/debian/libc6@2.36"));
        assert!(!whole.contains(&*root().to_string_lossy()), "no folder of this machine");
    }
}
