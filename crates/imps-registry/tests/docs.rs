//! The documentation of source Secrets: it names every type and key that is read, and what it shows can be used.

#![allow(clippy::unwrap_used, reason = "documentation that cannot be read has failed")]

mod support;

use std::path::Path;

use imps_core::source::Document;
use imps_registry::{Provider, providers, read};
use support::{at, rsa, typed};

fn page(name: &str) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs").join(name);
    std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// What is said about one provider: its section, or the whole page that it has.
fn section(provider: &dyn Provider, sources: &str) -> String {
    match provider.name() {
        "ecr" | "ecr-public" => page("ecr.md"),
        name => {
            let start =
                sources.find(&format!("\n## {name}\n")).unwrap_or_else(|| panic!("no section on {name}"));
            let rest = &sources[start + 4..];
            rest[..rest.find("\n## ").unwrap_or(rest.len())].to_owned()
        }
    }
}

#[test]
fn every_type_and_key_that_is_read_is_documented() {
    let sources = page("sources.md");
    for provider in providers() {
        let section = section(*provider, &sources);
        for secret_type in provider.secret_types() {
            let quoted = format!("`{secret_type}`");
            assert!(sources.contains(&quoted), "docs/sources.md does not list {quoted}");
        }
        assert!(sources.contains(provider.name()), "{}", provider.name());
        for key in provider.data_keys() {
            let row = section
                .lines()
                .find(|line| line.starts_with('|') && line.contains(&format!("`{}`", key.name)));
            let row = row.unwrap_or_else(|| panic!("no row on {} of {}", key.name, provider.name()));
            assert_eq!(row.contains("| required |"), key.required, "{} of {}", key.name, provider.name());
        }
    }
}

/// The Secrets among the examples of a page, with what is left out of them filled in.
fn examples(page: &str) -> Vec<Document> {
    let key =
        serde_json::json!({"type": "service_account", "client_email": "a@b.c", "private_key": rsa().pkcs8});
    let mut documents = Vec::new();
    for block in page.split("```yaml\n").skip(1).map(|rest| rest.split("```").next().unwrap()) {
        let secret_type = block.lines().find_map(|line| line.strip_prefix("type: ")).expect("it has a type");
        let (_, data) = block.split_once("stringData:\n").expect("it has data");
        let values: Vec<(String, String)> = data
            .lines()
            .map(|line| {
                let (name, value) = line.trim().split_once(": ").unwrap();
                let value = match name {
                    "key.json" => key.to_string(),
                    "privateKey" => rsa().pkcs1.clone(),
                    _ => value.trim_matches('"').replace('…', "x"),
                };
                (name.to_owned(), value)
            })
            .collect();
        documents.push(typed(secret_type, &values));
    }
    documents
}

#[test]
fn every_example_can_be_used() {
    let examples = examples(&page("sources.md"));
    assert!(examples.len() >= 6, "{}", examples.len());
    for document in &examples {
        let read = read(&at(), document).unwrap_or_else(|| panic!("nobody reads {document:?}"));
        read.unwrap_or_else(|flaw| panic!("{document:?}: {flaw}"));
    }
    for provider in providers().iter().filter(|provider| !provider.name().starts_with("ecr")) {
        let shown = |secret_type: &&str| examples.iter().any(|document| document.secret_type == *secret_type);
        assert!(provider.secret_types().iter().any(shown), "no example of {}", provider.name());
    }
}
