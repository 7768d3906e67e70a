//! What one identity asked of the API server, from the server's own audit log.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{BufRead, BufReader, Seek, SeekFrom};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use serde::Deserialize;
use serde_json::{Value, json};

/// Verbs that change something.
const WRITES: [&str; 5] = ["create", "update", "patch", "delete", "deletecollection"];

/// Reads the log from where it last stopped.
pub(super) struct Ledger {
    log: PathBuf,
    user: String,
    read: u64,
}

/// Requests by verb and resource.
#[derive(Default, Debug)]
pub(super) struct Account {
    counts: BTreeMap<(String, String), usize>,
    /// Writes of Secrets by namespace.
    secrets: BTreeMap<String, usize>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Line {
    stage: String,
    verb: String,
    user: User,
    object_ref: Option<Object>,
}

#[derive(Deserialize)]
struct User {
    username: String,
}

#[derive(Deserialize, Default)]
struct Object {
    #[serde(default)]
    resource: String,
    #[serde(default)]
    subresource: String,
    #[serde(default)]
    namespace: String,
}

impl Ledger {
    /// For one identity; begins at the end of the log.
    pub(super) fn of(log: &Path, user: String) -> Result<Self> {
        let mut ledger = Self { log: log.into(), user, read: 0 };
        ledger.skip()?;
        Ok(ledger)
    }

    /// Forgets what was asked so far.
    pub(super) fn skip(&mut self) -> Result<()> {
        self.read = std::fs::metadata(&self.log).context("cannot find the audit log")?.len();
        Ok(())
    }

    /// What was asked since the last call. Every answer that a client has seen is in the log.
    pub(super) fn since(&mut self) -> Result<Account> {
        let mut file = File::open(&self.log).context("cannot open the audit log")?;
        file.seek(SeekFrom::Start(self.read)).context("cannot read the audit log")?;
        let mut reader = BufReader::new(file);
        let mut account = Account::default();
        let mut text = String::new();
        loop {
            text.clear();
            let length = reader.read_line(&mut text).context("cannot read the audit log")?;
            // A line without its end is still being written, and belongs to the next call.
            if length == 0 || !text.ends_with('\n') {
                return Ok(account);
            }
            self.read += u64::try_from(length).unwrap_or_default();
            if text.contains(&self.user) {
                let line: Line = serde_json::from_str(&text).context("the audit log holds no JSON")?;
                account.enter(line, &self.user);
            }
        }
    }
}

impl Account {
    fn enter(&mut self, line: Line, user: &str) {
        // A watch is written down when it begins and when it ends.
        if line.user.username != user || (line.stage == "ResponseStarted") != (line.verb == "watch") {
            return;
        }
        let object = line.object_ref.unwrap_or_default();
        if object.resource == "secrets" && WRITES.contains(&line.verb.as_str()) {
            *self.secrets.entry(object.namespace).or_default() += 1;
        }
        let resource = match object.subresource.as_str() {
            "" => object.resource,
            part => format!("{}/{part}", object.resource),
        };
        *self.counts.entry((line.verb, resource)).or_default() += 1;
    }

    /// Writes of anything.
    pub(super) fn writes(&self) -> usize {
        self.sum(|verb| WRITES.contains(&verb))
    }

    /// Lists of anything.
    pub(super) fn lists(&self) -> usize {
        self.sum(|verb| verb == "list")
    }

    /// Writes of Secrets.
    pub(super) fn secret_writes(&self) -> usize {
        self.secrets.values().sum()
    }

    /// The most writes of Secrets in one namespace.
    pub(super) fn secret_writes_max(&self) -> usize {
        self.secrets.values().copied().max().unwrap_or_default()
    }

    fn sum(&self, of: impl Fn(&str) -> bool) -> usize {
        self.counts.iter().filter(|((verb, _), _)| of(verb)).map(|(_, count)| count).sum()
    }

    /// All of it.
    pub(super) fn json(&self) -> Value {
        let rows =
            self.counts.iter().map(|((verb, resource), count)| (format!("{verb} {resource}"), json!(count)));
        Value::Object(rows.collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_account_counts_the_answers_of_one_identity() {
        let mut account = Account::default();
        let mut enter = |stage: &str, verb: &str, user: &str, resource: &str| {
            let line = json!({"stage": stage, "verb": verb, "user": {"username": user},
                "objectRef": {"resource": resource, "namespace": "n"}});
            account.enter(serde_json::from_value(line).expect("a line"), "imps");
        };
        enter("ResponseComplete", "patch", "imps", "secrets");
        enter("ResponseComplete", "patch", "other", "secrets");
        enter("ResponseStarted", "watch", "imps", "pods");
        enter("ResponseComplete", "watch", "imps", "pods");
        enter("ResponseComplete", "list", "imps", "pods");
        assert_eq!((account.writes(), account.lists(), account.secret_writes()), (1, 1, 1));
        assert_eq!(account.json(), json!({"patch secrets": 1, "watch pods": 1, "list pods": 1}));
    }
}
