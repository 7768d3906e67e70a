//! imps's own words: reasons from its log and from `imps plan`, and its log as a person reads it.

use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result};
use serde_json::Value;

use crate::workspace::output_of;

/// What `imps plan` says of the example.
pub(super) struct Plan(Value);

impl Plan {
    /// Asks for it; no cluster is involved.
    pub(super) fn ask(imps: &Path, example: &Path) -> Result<Self> {
        let answer = output_of(Command::new(imps).arg("plan").arg("-f").arg(example).args(["-o", "json"]))?;
        Ok(Self(serde_json::from_str(&answer).context("imps plan prints no JSON")?))
    }

    /// Why a namespace gets nothing.
    pub(super) fn left_out(&self, namespace: &str) -> Option<&str> {
        let rows = self.0["leftOut"].as_array()?;
        rows.iter().find(|row| row["namespace"] == namespace)?["because"].as_str()
    }

    /// Which registry's login comes from which source, as `REGISTRY from SOURCE`.
    pub(super) fn registries(&self, namespace: &str) -> Option<String> {
        let rows = self.0["targets"].as_array()?;
        let row = rows.iter().find(|row| row["namespace"] == namespace)?;
        let pairs = row["registries"].as_array()?.iter().filter_map(|pair| {
            Some(format!("{} from {}", pair["registry"].as_str()?, pair["source"].as_str()?))
        });
        Some(pairs.collect::<Vec<_>>().join(", "))
    }
}

/// Why imps last wrote in a namespace, by this part of its log.
pub(super) fn because(log: &str, namespace: &str) -> Option<String> {
    let lines = log.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
    let ours = lines.filter(|line| line["namespace"] == namespace);
    ours.filter_map(|line| line["because"].as_str().map(str::to_owned)).next_back()
}

/// The last lines of the log, each as `LEVEL message field=value …`.
pub(super) fn tail(log: &str, count: usize) -> Vec<String> {
    let lines: Vec<&str> = log.lines().collect();
    lines[lines.len().saturating_sub(count)..].iter().map(|line| readable(line)).collect()
}

fn readable(line: &str) -> String {
    let Ok(Value::Object(mut fields)) = serde_json::from_str::<Value>(line) else { return line.to_owned() };
    let mut take =
        |name: &str| fields.remove(name).and_then(|v| v.as_str().map(str::to_owned)).unwrap_or_default();
    let (time, level, message) = (take("timestamp"), take("level"), take("message"));
    let rest = fields.iter().map(|(name, value)| match value {
        Value::String(text) => format!("{name}={text:?}"),
        other => format!("{name}={other}"),
    });
    format!("{time} {level} {message} {}", rest.collect::<Vec<_>>().join(" "))
}

#[cfg(test)]
mod tests {
    use super::*;

    const LOG: &str = concat!(
        r#"{"timestamp":"T","level":"INFO","message":"secret written","namespace":"shop","because":"a"}"#,
        "\n",
        r#"{"timestamp":"T","level":"INFO","message":"secret written","namespace":"shop","because":"b"}"#,
        "\nnot JSON\n",
        r#"{"timestamp":"T","level":"INFO","message":"secret written","namespace":"batch","because":"c"}"#,
    );

    #[test]
    fn the_last_reason_for_a_namespace_is_found() {
        assert_eq!(because(LOG, "shop").as_deref(), Some("b"));
        assert_eq!(because(LOG, "payments"), None);
    }

    #[test]
    fn the_tail_of_the_log_is_readable() {
        let tail = tail(LOG, 2);
        assert_eq!(tail, ["not JSON", r#"T INFO secret written because="c" namespace="batch""#]);
    }
}
