//! Walls between crates: a wall stands where the permission changes, and manifests keep it.

use std::collections::{BTreeMap, BTreeSet};

use anyhow::{Context, Result};
use serde_json::Value;

use super::{Finding, Source, Tree};
use crate::workspace::{cargo, output_of};

/// What a crate may depend on.
struct Wall {
    package: &'static str,
    /// Our own crates that it may name.
    rooms: &'static [&'static str],
    /// Crates that it may not reach on any path; a trailing `*` stands for the rest of a name.
    never: &'static [&'static str],
    /// When not empty, the only crates of others that it may name.
    only: &'static [&'static str],
    reason: &'static str,
}

/// Whatever waits for the world: runtimes, sockets, TLS, HTTP, Kubernetes.
const WORLD: &[&str] = &[
    "tokio*",
    "futures*",
    "async-*",
    "mio",
    "socket2",
    "rustls*",
    "native-tls",
    "http",
    "hyper*",
    "tower*",
    "axum*",
    "reqwest",
    "ureq",
    "kube*",
    "k8s-openapi",
    "aws-*",
];

/// One row for each room; a room without a wall has no row.
const WALLS: &[Wall] = &[
    Wall {
        package: "imps-core",
        rooms: &[],
        never: WORLD,
        only: &[],
        reason: "it decides, and neither waits nor reaches out",
    },
    Wall {
        package: "imps-api",
        rooms: &["imps-core"],
        never: &[],
        only: &["jiff", "k8s-openapi", "kube", "schemars", "serde", "serde_json"],
        reason: "it says what is on the wire",
    },
    Wall {
        package: "imps-registry",
        rooms: &["imps-core"],
        never: &["kube*", "k8s-openapi"],
        only: &[],
        reason: "it talks to registries and does not know Kubernetes",
    },
    Wall {
        package: "imps-cluster",
        rooms: &["imps-core", "imps-api"],
        never: &[],
        only: &[],
        reason: "it is the hands and knows nothing of who moves them",
    },
    Wall {
        package: "imps",
        rooms: &["imps-core", "imps-api", "imps-registry", "imps-cluster"],
        never: &["rcgen", "tempfile"],
        only: &[],
        reason: "nothing of the test bed is shipped",
    },
];

/// Features of kube that would give a wire-types crate a client.
const CLIENT_FEATURES: [&str; 3] = ["client", "runtime", "config"];

/// Checks the manifests against the table, and that every crate takes the lints of the house.
pub(super) fn check(tree: &Tree) -> Result<Vec<Finding>> {
    let metadata = output_of(&mut cargo(&["metadata", "--locked", "--no-deps", "--format-version", "1"]))?;
    let packages = packages(&serde_json::from_str(&metadata).context("cargo metadata is not JSON")?);
    let lock = locked(&tree.find("Cargo.lock").context("there is no Cargo.lock")?.text);
    let mut findings = Vec::new();
    for package in &packages {
        let Some(manifest) = tree.find(&manifest_of(&package.name)) else { continue };
        if let Some(wall) = WALLS.iter().find(|wall| wall.package == package.name) {
            findings.extend(wall.check(package, &lock, manifest));
        }
        if !manifest.text.contains("[lints]\nworkspace = true") {
            findings.push(Finding::new(
                manifest,
                1,
                "takes the lints of the house: [lints] workspace = true",
            ));
        }
    }
    findings.extend(house_block(tree));
    Ok(findings)
}

/// A member of the workspace, as its manifest describes it.
struct Package {
    name: String,
    /// What the product needs, not what its tests need.
    dependencies: Vec<Dependency>,
}

struct Dependency {
    name: String,
    features: Vec<String>,
    default_features: bool,
}

impl Wall {
    fn check(
        &self,
        package: &Package,
        lock: &BTreeMap<String, Vec<String>>,
        manifest: &Source,
    ) -> Vec<Finding> {
        let mut findings = Vec::new();
        let mut blame = |name: &str, what: String| {
            let line =
                manifest.text.lines().position(|line| line.starts_with(name)).map_or(1, |index| index + 1);
            findings.push(Finding::new(
                manifest,
                line,
                format!("{what}: {} ({})", self.package, self.reason),
            ));
        };
        for dependency in &package.dependencies {
            let name = dependency.name.as_str();
            let ours = name.starts_with("imps");
            if ours && !self.rooms.contains(&name) {
                blame(name, format!("{name} is not a room that this crate may enter"));
            }
            if !ours && !self.only.is_empty() && !self.only.contains(&name) {
                blame(name, format!("{name} is not in the list of this crate's dependencies"));
            }
            if let Some((path, reached)) = reach(name, lock, self.never) {
                blame(name, format!("{reached} is reached by way of {path}"));
            }
            let client = dependency.default_features
                || dependency.features.iter().any(|feature| CLIENT_FEATURES.contains(&feature.as_str()));
            if self.package == "imps-api" && name == "kube" && client {
                blame(name, "kube with a client".to_owned());
            }
        }
        findings
    }
}

/// The first forbidden crate that a dependency leads to, and the way there.
fn reach(from: &str, lock: &BTreeMap<String, Vec<String>>, never: &[&str]) -> Option<(String, String)> {
    let mut seen = BTreeSet::from([from]);
    let mut waiting = vec![(from, from.to_owned())];
    while let Some((name, path)) = waiting.pop() {
        if never.iter().any(|pattern| matches(pattern, name)) {
            return Some((path, name.to_owned()));
        }
        // A room of ours is judged by its own row: the lock file also has what only its tests need.
        if name.starts_with("imps") {
            continue;
        }
        for next in lock.get(name).into_iter().flatten() {
            if seen.insert(next) {
                waiting.push((next, format!("{path} > {next}")));
            }
        }
    }
    None
}

fn matches(pattern: &str, name: &str) -> bool {
    match pattern.strip_suffix('*') {
        Some(start) => name.starts_with(start),
        None => name == pattern,
    }
}

/// The members and what they need at run time or build time.
fn packages(metadata: &Value) -> Vec<Package> {
    let list = |value: &Value| value.as_array().cloned().unwrap_or_default();
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let dependency = |value: &Value| Dependency {
        name: text(&value["name"]),
        features: list(&value["features"]).iter().map(text).collect(),
        default_features: value["uses_default_features"].as_bool().unwrap_or(true),
    };
    let package = |value: &Value| Package {
        name: text(&value["name"]),
        dependencies: list(&value["dependencies"])
            .iter()
            .filter(|value| value["kind"].as_str() != Some("dev"))
            .map(dependency)
            .collect(),
    };
    list(&metadata["packages"]).iter().map(package).collect()
}

/// The lock file: each crate and what it needs. Versions are left out, a wall holds for all of them.
fn locked(text: &str) -> BTreeMap<String, Vec<String>> {
    let mut crates: BTreeMap<String, Vec<String>> = BTreeMap::new();
    let mut name = String::new();
    for line in text.lines() {
        if let Some(quoted) = line.strip_prefix("name = ") {
            name = quoted.trim_matches('"').to_owned();
            crates.entry(name.clone()).or_default();
        } else if let Some(quoted) = line.strip_prefix(" \"") {
            let needed = quoted.trim_end_matches(['"', ',']).split(' ').next().unwrap_or_default();
            crates.entry(name.clone()).or_default().push(needed.to_owned());
        }
    }
    crates
}

fn manifest_of(package: &str) -> String {
    if package == "xtask" { "xtask/Cargo.toml".into() } else { format!("crates/{package}/Cargo.toml") }
}

/// A crate's own clippy.toml replaces the one at the root, so it must repeat what that says.
fn house_block(tree: &Tree) -> Vec<Finding> {
    let house = tree.find("clippy.toml").map_or("", |source| &source.text);
    let own = tree.files.iter().filter(|source| source.path.ends_with("/clippy.toml"));
    own.flat_map(|source| {
        let rules = house.lines().filter(|line| !line.starts_with('#') && !line.trim().is_empty());
        let missing = rules.filter(|rule| !source.text.lines().any(|line| line == *rule));
        missing.map(|rule| Finding::new(source, 1, format!("does not repeat `{rule}` of the root's file")))
    })
    .collect()
}

#[cfg(test)]
mod tests {
    use super::super::sample::{places, tree};
    use super::*;

    const LOCK: &str = "[[package]]\nname = \"jiff\"\n\n[[package]]\nname = \"sly\"\ndependencies = [\n \"jiff\",\n \
                        \"tokio 1.0.0\",\n]\n\n[[package]]\nname = \"tokio\"\n";

    fn check_core(dependencies: &[(&str, &[&str])], wall: &str) -> Vec<String> {
        let dependency = |(name, features): &(&str, &[&str])| Dependency {
            name: (*name).into(),
            features: features.iter().map(|feature| (*feature).into()).collect(),
            default_features: false,
        };
        let package =
            Package { name: wall.into(), dependencies: dependencies.iter().map(dependency).collect() };
        let manifest =
            Source { path: "Cargo.toml".into(), text: "[dependencies]\njiff = 1\nsly = 1\n".into() };
        let wall = WALLS.iter().find(|row| row.package == wall).expect("a row");
        wall.check(&package, &locked(LOCK), &manifest).iter().map(ToString::to_string).collect()
    }

    #[test]
    fn a_forbidden_crate_is_found_behind_an_innocent_one() {
        assert!(check_core(&[("jiff", &[])], "imps-core").is_empty());
        let found = check_core(&[("jiff", &[]), ("sly", &[])], "imps-core");
        assert_eq!(found.len(), 1);
        assert!(found[0].starts_with("Cargo.toml:3: tokio is reached by way of sly > tokio"), "{found:?}");
    }

    #[test]
    fn rooms_are_entered_in_one_direction() {
        assert_eq!(check_core(&[("imps-api", &[])], "imps-core").len(), 1);
        assert!(check_core(&[("imps-core", &[])], "imps-api").is_empty());
        assert_eq!(check_core(&[("imps-testbed", &[])], "imps").len(), 1);
    }

    #[test]
    fn wire_types_have_no_client() {
        assert!(check_core(&[("kube", &["derive"])], "imps-api").is_empty());
        assert_eq!(check_core(&[("kube", &["derive", "client"])], "imps-api").len(), 1);
        assert_eq!(check_core(&[("tokio", &[])], "imps-api").len(), 1);
    }

    #[test]
    fn a_clippy_file_of_its_own_repeats_the_house_block() {
        let tree = tree(&[
            ("clippy.toml", "# why\nallow = true\n"),
            ("crates/a/clippy.toml", "allow = true\n"),
            ("crates/b/clippy.toml", "deny = true\n"),
        ]);
        assert_eq!(places(&house_block(&tree)), [("crates/b/clippy.toml", 1)]);
    }
}
