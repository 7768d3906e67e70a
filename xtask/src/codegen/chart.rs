//! The files of the Helm chart that come from its `values.yaml`: the schema, the table in the README, and the defaults
//! that templates fill in.
//!
//! A comment above a key is its description. A line `@schema {…}` in it adds to what the default says about the type;
//! on a map it also says that the map is for the user to fill. `##` begins a section.

use std::fmt::Write as _;
use std::fs;

use anyhow::{Context, Result, ensure};
use imps_testbed::manifest;
use serde_json::{Map, Value, json};

use crate::workspace::root;

/// Where the chart is.
const CHART: &str = "chart/imagepullsecrets";

/// What a line of a README says before the part that is generated.
const BELOW: &str = "<!-- Written by `cargo xtask codegen` from values.yaml, down to the end. -->";

/// The generated files with their text.
pub(super) fn files() -> Result<Vec<(String, String)>> {
    let read = |name: &str| {
        let path = format!("{CHART}/{name}");
        fs::read_to_string(root().join(&path)).with_context(|| format!("cannot read {path}"))
    };
    let values = Values::read(&read("values.yaml")?)?;
    let readme = read("README.md")?;
    let (above, _) =
        readme.split_once(BELOW).with_context(|| format!("{CHART}/README.md lacks the line {BELOW}"))?;
    Ok(vec![
        (format!("{CHART}/values.schema.json"), values.schema()? + "\n"),
        (format!("{CHART}/templates/_defaults.tpl"), values.defaults()?),
        (format!("{CHART}/README.md"), format!("{above}{BELOW}\n\n{}", values.table())),
    ])
}

/// A described `values.yaml`.
struct Values {
    keys: Vec<Key>,
}

/// One key of it, in the order of the file.
struct Key {
    section: String,
    path: Vec<String>,
    description: String,
    schema: Map<String, Value>,
    default: Value,
    /// A map whose keys are described themselves.
    is_inner: bool,
}

impl Values {
    fn read(text: &str) -> Result<Self> {
        let documents = manifest::read(text)?;
        let [tree] = &documents[..] else { anyhow::bail!("values.yaml is not one map") };
        let mut keys = Vec::new();
        let mut section = String::new();
        let mut comment: Vec<&str> = Vec::new();
        // The maps around a line, with their indentation.
        let mut around: Vec<(usize, String)> = Vec::new();
        // Deeper than this is the value of a key, not a key.
        let mut leaf: Option<usize> = None;
        for (line, number) in text.lines().zip(1..) {
            let indentation = line.len() - line.trim_start().len();
            let line = line.trim();
            if leaf.is_some_and(|at| !line.is_empty() && indentation > at) {
                continue;
            }
            leaf = None;
            if let Some(title) = line.strip_prefix("## ") {
                title.clone_into(&mut section);
                comment.clear();
            } else if let Some(words) = line.strip_prefix('#') {
                comment.push(words.trim());
            } else if line.is_empty() {
                comment.clear();
            } else {
                let (name, _) =
                    line.split_once(':').with_context(|| format!("line {number}: no key: {line}"))?;
                around.retain(|(at, _)| *at < indentation);
                let mut path: Vec<String> = around.iter().map(|(_, name)| name.clone()).collect();
                path.push(name.to_owned());
                let default = tree.pointer(&format!("/{}", path.join("/"))).cloned();
                let default =
                    default.with_context(|| format!("line {number}: {} has no value", path.join(".")))?;
                let (schema, words) = parted(&comment).with_context(|| format!("above line {number}"))?;
                let is_inner = schema.is_empty() && default.as_object().is_some_and(|map| !map.is_empty());
                ensure!(
                    is_inner || !words.is_empty(),
                    "line {number}: {} has no description",
                    path.join(".")
                );
                if is_inner {
                    around.push((indentation, name.to_owned()));
                } else {
                    leaf = Some(indentation);
                }
                keys.push(Key {
                    section: section.clone(),
                    path,
                    description: words,
                    schema,
                    default,
                    is_inner,
                });
                comment.clear();
            }
        }
        Ok(Self { keys })
    }

    /// The JSON schema: no key but those that are described, each of its type.
    fn schema(&self) -> Result<String> {
        let mut schema = closed("Values of the chart imagepullsecrets");
        schema["$schema"] = json!("https://json-schema.org/draft/2020-12/schema");
        schema["$defs"] = json!({
            "objectName": {"type": "string", "pattern": "^[a-z0-9]([-a-z0-9.]*[a-z0-9])?$", "maxLength": 253},
            "reference": {
                "type": "object",
                "required": ["namespace", "name"],
                "additionalProperties": false,
                "properties": {
                    "namespace": {"$ref": "#/$defs/objectName"},
                    "name": {"$ref": "#/$defs/objectName"},
                },
            },
        });
        // What Helm puts into the values of a chart and of its parts.
        schema["properties"]["global"] = json!({"type": "object"});
        for key in &self.keys {
            let mut at = &mut schema;
            let (name, outer) = key.path.split_last().context("a key has a name")?;
            for outer in outer {
                at = &mut at["properties"][outer];
            }
            at["properties"][name] = key.schema();
        }
        schema["properties"]["crds"]["properties"]["global"] = json!({"type": "object"});
        Ok(serde_json::to_string_pretty(&schema)?)
    }

    /// A template with the default of each key that is no map of described keys.
    fn defaults(&self) -> Result<String> {
        let leaves = self.keys.iter().filter(|key| !key.is_inner);
        let defaults: Map<String, Value> =
            leaves.map(|key| (key.path.join("."), key.default.clone())).collect();
        let defaults = serde_json::to_string_pretty(&defaults)?;
        Ok(format!(
            "{{{{/* Written by `cargo xtask codegen` from values.yaml, do not edit. */}}}}\n\
             {{{{- define \"imagepullsecrets.defaults\" -}}}}\n{defaults}\n{{{{- end -}}}}\n"
        ))
    }

    /// What people read.
    fn table(&self) -> String {
        let mut text = String::new();
        let mut section = "";
        for key in self.keys.iter().filter(|key| !key.is_inner) {
            if key.section != section {
                section = &key.section;
                let gap = if text.is_empty() { "" } else { "\n" };
                let _ = writeln!(text, "{gap}### {section}\n\n| key | default | |\n| --- | --- | --- |");
            }
            let description = key.description.replace('|', "\\|");
            let _ = writeln!(text, "| `{}` | `{}` | {description} |", key.path.join("."), key.default);
        }
        text
    }
}

impl Key {
    fn schema(&self) -> Value {
        let mut schema = if self.is_inner {
            closed(&self.description)
        } else {
            let kind = match &self.default {
                Value::Null => "null",
                Value::Bool(_) => "boolean",
                Value::Number(_) => "integer",
                Value::String(_) => "string",
                Value::Array(_) => "array",
                Value::Object(_) => "object",
            };
            json!({"type": kind, "description": self.description, "default": self.default})
        };
        for (name, value) in &self.schema {
            schema[name] = value.clone();
        }
        // A list of allowed words says more than that they are words.
        if schema["enum"].is_array()
            && let Some(schema) = schema.as_object_mut()
        {
            schema.remove("type");
        }
        schema
    }
}

/// A map with no keys but those that will be put into its `properties`.
fn closed(description: &str) -> Value {
    let mut schema = json!({"type": "object", "additionalProperties": false, "properties": {}});
    if !description.is_empty() {
        schema["description"] = json!(description);
    }
    schema
}

/// A comment as what it adds to the schema and what it says.
fn parted(comment: &[&str]) -> Result<(Map<String, Value>, String)> {
    let mut schema = Map::new();
    let mut words = Vec::new();
    for line in comment {
        match line.strip_prefix("@schema ") {
            None => words.push(*line),
            Some(json) => {
                schema = serde_json::from_str(json).with_context(|| format!("not a JSON object: {json}"))?;
            }
        }
    }
    Ok((schema, words.join(" ")))
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = "# About the file.\n\n## First\n\n# How many.\n# @schema {\"minimum\": 1}\ncount: 2\nouter:\n  \
                        # A word,\n  # or a | none.\n  word: \"\"\n  # Rules.\n  list:\n    - port: 1\n\n## Second\n\n\
                        # Free.\n# @schema {\"type\": \"object\"}\nfree: {a: {b: c}}\n";

    fn values() -> Values {
        Values::read(TEXT).unwrap()
    }

    #[test]
    fn a_key_has_the_type_of_its_default_and_no_other_key_is_allowed() {
        let schema: Value = serde_json::from_str(&values().schema().unwrap()).unwrap();
        let at = |pointer: &str| schema.pointer(pointer).cloned().unwrap_or_default();
        assert_eq!(at("/additionalProperties"), false);
        assert_eq!(
            at("/properties/count"),
            json!({"type": "integer", "minimum": 1, "description": "How many.", "default": 2})
        );
        assert_eq!(at("/properties/outer/additionalProperties"), false);
        assert_eq!(at("/properties/outer/properties/list/type"), "array");
        assert_eq!(at("/properties/free/additionalProperties"), Value::Null, "the user's own keys");
    }

    #[test]
    fn templates_fill_in_leaves_and_never_what_is_the_user_s_to_fill() {
        let text = values().defaults().unwrap();
        let json = text.lines().skip(2).take_while(|line| !line.starts_with("{{")).collect::<String>();
        let expected =
            json!({"count": 2, "outer.word": "", "outer.list": [{"port": 1}], "free": {"a": {"b": "c"}}});
        assert_eq!(serde_json::from_str::<Value>(&json).unwrap(), expected);
    }

    #[test]
    fn the_table_has_a_row_for_each_leaf_below_its_section() {
        let head = "| key | default | |\n| --- | --- | --- |";
        let expected = format!(
            "### First\n\n{head}\n| `count` | `2` | How many. |\n| `outer.word` | `\"\"` | A word, or a \\| none. |\n\
             | `outer.list` | `[{{\"port\":1}}]` | Rules. |\n\n### Second\n\n{head}\n\
             | `free` | `{{\"a\":{{\"b\":\"c\"}}}}` | Free. |\n"
        );
        assert_eq!(values().table(), expected);
    }

    #[test]
    fn a_key_without_a_description_is_refused() {
        let error = Values::read("a: 1\n").map(drop).unwrap_err().to_string();
        assert_eq!(error, "line 1: a has no description");
        assert!(Values::read("# x\n# @schema {nonsense\na: 1\n").is_err());
    }
}
