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
    /// Where the Lease is that this identity competes for.
    home: String,
    read: u64,
}

/// Requests by verb and resource.
#[derive(Default, Debug)]
pub(super) struct Account {
    counts: BTreeMap<(String, String), usize>,
    /// Writes by resource and namespace.
    places: BTreeMap<String, BTreeMap<String, usize>>,
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
    pub(super) fn of(log: &Path, user: String, home: &str) -> Result<Self> {
        let mut ledger = Self { log: log.into(), user, home: home.to_owned(), read: 0 };
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
                account.enter(line, &self.user, &self.home);
            }
        }
    }
}

impl Account {
    fn enter(&mut self, line: Line, user: &str, home: &str) {
        // A watch is written down when it begins and when it ends.
        if line.user.username != user || (line.stage == "ResponseStarted") != (line.verb == "watch") {
            return;
        }
        let object = line.object_ref.unwrap_or_default();
        let resource = match object.subresource.as_str() {
            "" => object.resource,
            part => format!("{}/{part}", object.resource),
        };
        // The Lease, and the word about who holds it, are the one thing that is written although nothing happens.
        let is_election = ["leases", "events"].contains(&resource.as_str()) && object.namespace == home;
        if WRITES.contains(&line.verb.as_str()) && !is_election {
            *self.places.entry(resource.clone()).or_default().entry(object.namespace).or_default() += 1;
        }
        *self.counts.entry((line.verb, resource)).or_default() += 1;
    }

    /// Writes of anything but the election.
    pub(super) fn writes(&self) -> usize {
        self.places.values().flat_map(BTreeMap::values).sum()
    }

    /// Requests of any kind.
    pub(super) fn requests(&self) -> usize {
        self.counts.values().sum()
    }

    /// Lists of anything.
    pub(super) fn lists(&self) -> usize {
        self.counts.iter().filter(|((verb, _), _)| verb == "list").map(|(_, count)| count).sum()
    }

    /// Writes of one resource: in all, and the most in one namespace.
    pub(super) fn writes_of(&self, resource: &str) -> (usize, usize) {
        let places = self.places.get(resource).into_iter().flat_map(BTreeMap::values);
        places.fold((0, 0), |(sum, most), count| (sum + count, most.max(*count)))
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
        let mut enter_in = |namespace: &str, stage: &str, verb: &str, user: &str, resource: &str| {
            let line = json!({"stage": stage, "verb": verb, "user": {"username": user},
                "objectRef": {"resource": resource, "namespace": namespace}});
            account.enter(serde_json::from_value(line).expect("a line"), "imps", "home");
        };
        enter_in("m", "ResponseComplete", "patch", "imps", "serviceaccounts");
        enter_in("m", "ResponseComplete", "patch", "imps", "serviceaccounts");
        enter_in("home", "ResponseComplete", "patch", "imps", "leases");
        enter_in("default", "ResponseComplete", "create", "imps", "events");
        let mut enter = |stage: &str, verb: &str, user: &str, resource: &str| {
            enter_in("n", stage, verb, user, resource);
        };
        enter("ResponseComplete", "patch", "imps", "serviceaccounts");
        enter("ResponseComplete", "patch", "imps", "secrets");
        enter("ResponseComplete", "patch", "other", "secrets");
        enter("ResponseStarted", "watch", "imps", "pods");
        enter("ResponseComplete", "watch", "imps", "pods");
        enter("ResponseComplete", "list", "imps", "pods");
        assert_eq!((account.writes(), account.lists(), account.requests()), (5, 1, 8));
        assert_eq!([account.writes_of("secrets"), account.writes_of("serviceaccounts")], [(1, 1), (3, 2)]);
        assert_eq!(
            account.json(),
            json!({
                "patch secrets": 1, "patch serviceaccounts": 3, "watch pods": 1, "list pods": 1,
                "patch leases": 1, "create events": 1,
            })
        );
    }
}
