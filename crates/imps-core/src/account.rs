//! ServiceAccounts: the names of pull secrets that stand in one, and what imps puts into that list or takes out of it.
//!
//! The list is an atomic one, so there is no way to own a single entry of it in the API server (kubernetes/kubernetes:
//! pkg/apis/core/types.go `ServiceAccount.ImagePullSecrets`, `listType=atomic`). It is edited by position instead, and
//! only in the very version that was seen: the order and the entries of others stay, whoever else writes there.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use crate::holding::Version;
use crate::name::{AccountName, SecretName, Uid};
use crate::plan::Because;

/// How often a name is put back into a list before whoever takes it out is left alone. The first time counts too.
pub const ATTACHES_MAX: u32 = 5;
/// A name that stood for this long was not taken out by somebody who insists.
pub const ATTACHES_FORGOTTEN_AFTER: Duration = Duration::from_secs(3600);

/// A ServiceAccount as the API server shows it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Account {
    /// `metadata.uid`.
    pub uid: Uid,
    /// `metadata.resourceVersion`.
    pub version: Version,
    /// The names in `imagePullSecrets`, in their order, with every position kept.
    pub secrets: Vec<SecretName>,
}

/// What imps remembers of a ServiceAccount.
#[derive(Debug)]
pub struct Ledger {
    account: Account,
    /// How often this process has put each name in, and when it did so last.
    attached: BTreeMap<SecretName, (u32, Instant)>,
}

impl Ledger {
    pub(crate) fn new(account: Account) -> Self {
        Self { account, attached: BTreeMap::new() }
    }

    /// What stands there.
    pub fn account(&self) -> &Account {
        &self.account
    }

    /// Whether the name stands in the list.
    pub fn has(&self, secret: &SecretName) -> bool {
        self.account.secrets.contains(secret)
    }

    /// Whether somebody else has taken the name out again and again.
    pub fn is_contended(&self, secret: &SecretName) -> bool {
        !self.has(secret) && self.attached.get(secret).is_some_and(|(count, _)| *count >= ATTACHES_MAX)
    }

    /// Takes news in. Returns whether the list differs.
    pub(crate) fn learn(&mut self, account: Account) -> bool {
        if self.account.uid != account.uid {
            *self = Self::new(account);
            return true;
        }
        // News can be older than what our own edit has told us.
        if self.account.version > account.version {
            return false;
        }
        let differs = self.account.secrets != account.secrets;
        self.account = account;
        differs
    }

    /// An edit of ours was carried out and made this version.
    pub(crate) fn edited(&mut self, edit: &Edit, version: Version, now: Instant) {
        if self.account.uid != edit.uid {
            return;
        }
        for change in &edit.changes {
            if change.verb == Verb::Detach {
                self.attached.remove(&change.secret);
                continue;
            }
            let (count, last) = self.attached.entry(change.secret.clone()).or_insert((0, now));
            if now.saturating_duration_since(*last) > ATTACHES_FORGOTTEN_AFTER {
                *count = 0;
            }
            (*count, *last) = (*count + 1, now);
        }
        if self.account.version < version {
            self.account.version = version;
            self.account.secrets = edit.after();
        }
    }

    /// What was said about this name no longer counts: its `ImagePullSecret` was edited.
    pub(crate) fn forgive(&mut self, secret: &SecretName) {
        self.attached.remove(secret);
    }
}

/// Changes to the list of one ServiceAccount, all in one request. It holds only for the version that was seen.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Edit {
    /// The ServiceAccount.
    pub account: AccountName,
    uid: Uid,
    version: Version,
    before: Vec<SecretName>,
    /// What changes; never empty.
    pub changes: Vec<Change>,
}

/// One name that comes or goes.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Change {
    /// Which way.
    pub verb: Verb,
    /// The Secret's name.
    pub secret: SecretName,
    /// On whose behalf.
    pub grant: Uid,
    /// Why.
    pub because: Because,
}

/// What happens to a name.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Verb {
    /// It is put at the end of the list.
    Attach,
    /// It is taken out, at every place at which it stands.
    Detach,
}

impl Verb {
    /// `attach` or `detach`.
    pub fn as_str(self) -> &'static str {
        match self {
            Verb::Attach => "attach",
            Verb::Detach => "detach",
        }
    }
}

impl Edit {
    /// Changes to the list as it was seen; none when there is nothing to change.
    pub(crate) fn of(name: &AccountName, seen: &Account, changes: Vec<Change>) -> Option<Self> {
        let edit = Self {
            account: name.clone(),
            uid: seen.uid.clone(),
            version: seen.version,
            before: seen.secrets.clone(),
            changes,
        };
        (!edit.changes.is_empty()).then_some(edit)
    }

    /// Only those changes that `keep` lets through; none when no one is left.
    pub(crate) fn trim(mut self, keep: impl Fn(&Change) -> bool) -> Option<Self> {
        self.changes.retain(keep);
        (!self.changes.is_empty()).then_some(self)
    }

    /// `metadata.resourceVersion` of the ServiceAccount that was seen.
    pub fn version(&self) -> Version {
        self.version
    }

    /// The positions in the seen list that go, in rising order.
    pub fn removed(&self) -> Vec<usize> {
        let goes = |name: &SecretName| self.names(Verb::Detach).any(|gone| gone == name);
        let places = self.before.iter().enumerate().filter(|(_, name)| goes(name));
        places.map(|(place, _)| place).collect()
    }

    /// The names that come, in the order in which they are put at the end.
    pub fn added(&self) -> impl Iterator<Item = &SecretName> {
        self.names(Verb::Attach)
    }

    /// How many entries stand in the list before the first name comes.
    pub fn is_empty_before_adding(&self) -> bool {
        self.removed().len() == self.before.len()
    }

    /// The list that results.
    pub fn after(&self) -> Vec<SecretName> {
        let removed = self.removed();
        let kept = self.before.iter().enumerate().filter(|(place, _)| !removed.contains(place));
        kept.map(|(_, name)| name).chain(self.added()).cloned().collect()
    }

    fn names(&self, verb: Verb) -> impl Iterator<Item = &SecretName> {
        self.changes.iter().filter(move |change| change.verb == verb).map(|change| &change.secret)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn account(secrets: &[&str], version: u64) -> Account {
        Account {
            uid: "a".into(),
            version: Version(version),
            secrets: secrets.iter().map(SecretName::new).collect(),
        }
    }

    fn change(verb: Verb, secret: &str) -> Change {
        Change { verb, secret: secret.into(), grant: "g".into(), because: Because::Unnamed }
    }

    fn edit(seen: &Account, changes: &[(Verb, &str)]) -> Edit {
        let changes = changes.iter().map(|(verb, secret)| change(*verb, secret)).collect();
        Edit::of(&"default".into(), seen, changes).unwrap()
    }

    #[expect(clippy::disallowed_methods, reason = "a test needs some moment to start from")]
    fn now() -> Instant {
        Instant::now()
    }

    #[test]
    fn a_name_that_is_taken_out_again_and_again_is_contended_until_something_changes() {
        let now = now();
        let mut ledger = Ledger::new(account(&["theirs"], 1));
        let mut version = 1;
        for round in 0..ATTACHES_MAX {
            assert!(!ledger.is_contended(&"pull".into()), "after {round} rounds");
            let edit = edit(ledger.account(), &[(Verb::Attach, "pull")]);
            ledger.edited(&edit, Version(version + 1), now);
            assert!(ledger.has(&"pull".into()));
            version += 2;
            assert!(ledger.learn(account(&["theirs"], version)));
        }
        assert!(ledger.is_contended(&"pull".into()));
        ledger.forgive(&"pull".into());
        assert!(!ledger.is_contended(&"pull".into()));
    }

    #[test]
    fn a_name_that_goes_once_in_a_long_while_is_not_contended() {
        let mut now = now();
        let mut ledger = Ledger::new(account(&[], 1));
        for round in 0..ATTACHES_MAX * 3 {
            let version = ledger.account().version.0;
            ledger.edited(&edit(ledger.account(), &[(Verb::Attach, "pull")]), Version(version + 1), now);
            ledger.learn(account(&[], version + 2));
            assert!(!ledger.is_contended(&"pull".into()), "after {round} rounds");
            now += ATTACHES_FORGOTTEN_AFTER + Duration::from_secs(1);
        }
    }

    #[test]
    fn news_that_are_older_than_our_own_edit_say_nothing() {
        let mut ledger = Ledger::new(account(&[], 1));
        ledger.edited(&edit(ledger.account(), &[(Verb::Attach, "pull")]), Version(5), now());
        assert!(!ledger.learn(account(&[], 3)));
        assert!(ledger.has(&"pull".into()));
        assert!(ledger.learn(Account { uid: "other".into(), ..account(&[], 3) }), "another object is news");
    }

    proptest! {
        /// The entries of others stay, in their order and number.
        #[test]
        fn an_edit_touches_no_name_but_its_own(
            before in prop::collection::vec("[a-e]", 0..8),
            attach in prop::collection::btree_set("[x-z]", 0..3),
            detach in prop::collection::btree_set("[a-c]", 1..3),
        ) {
            let seen = account(&before.iter().map(String::as_str).collect::<Vec<_>>(), 1);
            let changes: Vec<(Verb, &str)> = attach.iter().map(|name| (Verb::Attach, name.as_str()))
                .chain(detach.iter().map(|name| (Verb::Detach, name.as_str()))).collect();
            let edit = edit(&seen, &changes);
            let after: Vec<String> = edit.after().iter().map(ToString::to_string).collect();
            let theirs = |list: &[String]| -> Vec<String> {
                list.iter().filter(|name| !attach.contains(*name) && !detach.contains(*name)).cloned().collect()
            };
            prop_assert_eq!(theirs(&before), theirs(&after));
            prop_assert!(attach.iter().all(|name| after.contains(name)));
            prop_assert!(detach.iter().all(|name| !after.contains(name)));
            prop_assert_eq!(edit.is_empty_before_adding(), theirs(&before).is_empty());
        }
    }
}
