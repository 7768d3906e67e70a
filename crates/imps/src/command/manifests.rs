//! Manifests from files: YAML or JSON documents, lists unrolled, in the order in which they were given.

use std::io::Read;
use std::path::{Path, PathBuf};

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use imps_core::name::SecretRef;
use serde_json::{Value, json};

use super::Error;

/// Reads everything that was named. A folder gives its `.yaml`, `.yml` and `.json` files in the order of their names.
pub(super) fn read(paths: &[PathBuf]) -> Result<Vec<Value>, Error> {
    let mut objects = Vec::new();
    for path in paths {
        if path == Path::new("-") {
            let mut text = String::new();
            std::io::stdin()
                .read_to_string(&mut text)
                .map_err(|error| format!("cannot read standard input: {error}"))?;
            parse(&text, "standard input", &mut objects)?;
        } else if path.is_dir() {
            for file in files(path)? {
                parse_file(&file, &mut objects)?;
            }
        } else {
            parse_file(path, &mut objects)?;
        }
    }
    Ok(objects)
}

fn files(folder: &Path) -> Result<Vec<PathBuf>, Error> {
    let fail = |error| format!("cannot read the folder {}: {error}", folder.display());
    let mut files = Vec::new();
    for entry in std::fs::read_dir(folder).map_err(fail)? {
        let path = entry.map_err(fail)?.path();
        if path.extension().is_some_and(|e| ["yaml", "yml", "json"].iter().any(|known| e == *known)) {
            files.push(path);
        }
    }
    files.sort();
    if files.is_empty() {
        return Err(format!("the folder {} has no .yaml, .yml or .json file", folder.display()).into());
    }
    Ok(files)
}

fn parse_file(path: &Path, objects: &mut Vec<Value>) -> Result<(), Error> {
    let text =
        std::fs::read_to_string(path).map_err(|error| format!("cannot read {}: {error}", path.display()))?;
    parse(&text, &path.display().to_string(), objects)
}

fn parse(text: &str, origin: &str, objects: &mut Vec<Value>) -> Result<(), Error> {
    // The parser's own words may quote the document, and that may hold credentials: only the place is told.
    let documents: Vec<Value> =
        serde_saphyr::from_multiple_with_options(text, limits()).map_err(|error| {
            let place = error
                .location()
                .map_or_else(String::new, |at| format!(" at line {}, column {}", at.line(), at.column()));
            format!("{origin} is not valid YAML{place}")
        })?;
    for document in documents {
        unroll(document, objects);
    }
    Ok(())
}

/// The whole of a large cluster is more than the parser takes for a config, and comes from the user's own hands.
fn limits() -> serde_saphyr::Options {
    serde_saphyr::options! {
        budget: serde_saphyr::budget! {
            max_documents: 1_000_000,
            max_nodes: 100_000_000,
            max_events: 200_000_000,
            max_total_scalar_bytes: 4 << 30,
        },
    }
}

fn unroll(document: Value, objects: &mut Vec<Value>) {
    match document {
        Value::Object(mut object)
            if object.get("kind").and_then(Value::as_str).is_some_and(|kind| kind.ends_with("List")) =>
        {
            if let Some(Value::Array(items)) = object.remove("items") {
                items.into_iter().for_each(|item| unroll(item, objects));
            }
        }
        Value::Object(_) => objects.push(document),
        // Empty documents between separators.
        _ => {}
    }
}

/// `kind` of an object, with its group.
pub(super) fn kind(object: &Value) -> (&str, &str) {
    let text = |field: &str| object.get(field).and_then(Value::as_str).unwrap_or_default();
    (text("apiVersion").split_once('/').map_or("", |(group, _)| group), text("kind"))
}

/// A text in an object; empty where there is none.
pub(super) fn text<'v>(object: &'v Value, pointer: &str) -> &'v str {
    object.pointer(pointer).and_then(Value::as_str).unwrap_or_default()
}

/// `metadata.namespace`, or the one that `kubectl apply` would take.
pub(super) fn namespace_of(object: &Value) -> &str {
    match text(object, "/metadata/namespace") {
        "" => "default",
        namespace => namespace,
    }
}

/// Namespace and name of a Secret's manifest.
pub(super) fn place(object: &Value) -> SecretRef {
    SecretRef::new(namespace_of(object), text(object, "/metadata/name"))
}

/// Reads a Secret's manifest as the API server would show the object.
pub(super) fn secret<V: serde::de::DeserializeOwned>(manifest: &Value) -> Option<V> {
    serde_json::from_value(stored_secret(manifest.clone())).ok()
}

/// A manifest as the API server would store it.
pub(super) fn stored(object: Value) -> Value {
    match kind(&object) {
        ("", "Secret") => stored_secret(object),
        _ => object,
    }
}

/// A Secret's manifest as the API server would store it: `stringData` is merged into `data`, and no type is `Opaque`.
fn stored_secret(mut object: Value) -> Value {
    let plain = object.as_object_mut().and_then(|fields| fields.remove("stringData"));
    if let Some(Value::Object(plain)) = plain {
        if !object["data"].is_object() {
            object["data"] = json!({});
        }
        for (key, value) in plain {
            object["data"][key] = BASE64_STANDARD.encode(value.as_str().unwrap_or_default()).into();
        }
    }
    if text(&object, "/type").is_empty() && object.is_object() {
        object["type"] = "Opaque".into();
    }
    object
}
