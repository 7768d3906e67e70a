//! Recall: after a restart, the entries that our own targets hold serve as the last good ones of a failing source.
//!
//! The targets say *what* was given, the status of the `ImagePullSecret` remembers *which source* gave it. What the
//! status ascribes to a source that is good now, or that the spec no longer names, is not taken up again: that source
//! has spoken since. One target is read, the one that most namespaces agree with and that nobody but imps has written,
//! so that a Secret edited by a tenant while imps was down does not spread.

use std::collections::{BTreeMap, BTreeSet};

use crate::dockerconfig::{self, Format};
use crate::grant::Grant;
use crate::holding::{Fingerprint, Holding, Owner, Version};
use crate::keyring::Keyring;
use crate::name::{NamespaceName, SecretName, SecretRef, Uid};
use crate::reason::{Fault, FaultClass};
use crate::registry::RegistryKey;
use crate::selector::NamePattern;
use crate::source::{Document, Gaps, Source};

/// What the status of an `ImagePullSecret` remembers of an earlier process.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Record {
    /// The registries that each source won, as far as the status could list them.
    pub registries: BTreeMap<SecretRef, BTreeSet<String>>,
    /// The life of the token that each exchanged source gave.
    pub lives: BTreeMap<SecretRef, Lived>,
    /// Names under which a Secret of this grant may stand, other than the present one.
    pub secret_names: BTreeSet<SecretName>,
    /// Names and patterns of ServiceAccounts that it may be attached to, other than the present ones.
    pub account_names: BTreeSet<NamePattern>,
    /// Reason and message of its Ready condition.
    pub ready: Option<(String, String)>,
    /// The demand that was met last, see [`super::GrantFact::demand`].
    pub met: Option<String>,
}

/// How long a token counts, and for which version of its source Secret it was got. Times are seconds since 1970.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Lived {
    /// When it stops working.
    pub expires: i64,
    /// When it was to be renewed.
    pub renew: Option<i64>,
    /// `metadata.uid` and `metadata.resourceVersion` of the source Secret.
    pub of: (Uid, Version),
}

/// What the cluster holds of ours.
pub(super) struct Memory<'a> {
    pub(super) holdings: &'a BTreeMap<SecretRef, Holding>,
    /// Whether all targets have been seen.
    pub(super) listed: bool,
}

/// How far the recall of one grant is.
#[derive(Clone, Default, Debug)]
pub enum Recall {
    /// No source needed it so far.
    #[default]
    Idle,
    /// The targets have not been seen yet.
    Unlisted,
    /// This target has to be read.
    Wanted(SecretRef),
    /// This is what it holds.
    Answered(Keyring),
    /// This is what each failing source is taken to have given; nothing when there was no target of ours. It is settled
    /// once, by what was known at that time: later the sources speak for themselves.
    Done(Remembered),
}

/// Entries by the source that they are ascribed to.
pub(super) type Remembered = BTreeMap<SecretRef, Keyring>;

impl Recall {
    pub(super) fn wanted(&self) -> Option<&SecretRef> {
        match self {
            Recall::Wanted(at) => Some(at),
            Recall::Idle | Recall::Unlisted | Recall::Answered(_) | Recall::Done(_) => None,
        }
    }

    /// What a source is taken to have given.
    pub(super) fn remembered(&self, at: &SecretRef) -> Option<&Keyring> {
        match self {
            Recall::Done(remembered) => remembered.get(at),
            Recall::Idle | Recall::Unlisted | Recall::Wanted(_) | Recall::Answered(_) => None,
        }
    }

    /// The keyrings of the sources, in their order, with the gaps of failing ones filled from what is remembered;
    /// `None` while that is still to be found out.
    pub(super) fn fill(&self, read: &[(&SecretRef, &Source)]) -> Option<Vec<(SecretRef, Keyring)>> {
        let nothing = Remembered::new();
        let remembered = match self {
            Recall::Idle => &nothing,
            Recall::Done(remembered) => remembered,
            Recall::Unlisted | Recall::Wanted(_) | Recall::Answered(_) => return None,
        };
        let ring = |(at, source): &(&SecretRef, &Source)| {
            let mut ring = source.entries().clone();
            for (registry, credential) in remembered.get(*at).into_iter().flatten() {
                if source.gaps().cover(registry) {
                    ring.insert(registry.clone(), credential.clone());
                }
            }
            ((*at).clone(), ring)
        };
        Some(read.iter().map(ring).collect())
    }

    /// Takes an answer of the API server in.
    pub(super) fn answer(&mut self, answer: Result<Document, Fault>) {
        // Nobody waits for it any more: the sources were good again in the meantime.
        if !matches!(self, Recall::Wanted(_)) {
            return;
        }
        *self = match answer {
            Ok(document) => Recall::Answered(entries(&document)),
            // The target went away: another one is chosen when the grant is looked at again.
            Err(fault) if fault.class == FaultClass::Gone => Recall::Idle,
            Err(_) => return,
        };
    }

    /// The next state, given what the sources say now.
    pub(super) fn advance(
        &self,
        grant: &Grant,
        record: &Record,
        read: &[(&SecretRef, &Source)],
        memory: &Memory<'_>,
    ) -> Self {
        let uid = &grant.identity.uid;
        if read.iter().all(|(_, source)| source.gaps() == Gaps::None) {
            return Recall::Idle;
        }
        match self {
            Recall::Done(_) => self.clone(),
            Recall::Answered(held) => Recall::Done(record.ascribe(held, read)),
            Recall::Wanted(at) if is_held(memory, at, uid) => self.clone(),
            _ if !memory.listed => Recall::Unlisted,
            _ => match elect(uid, &grant.template.name, memory) {
                Some(namespace) => Recall::Wanted(SecretRef { namespace, name: grant.template.name.clone() }),
                None => Recall::Done(Remembered::new()),
            },
        }
    }
}

fn entries(document: &Document) -> Keyring {
    let bytes = document.data.get(Format::DockerConfigJson.data_key());
    let parsed = bytes.and_then(|bytes| dockerconfig::parse(Format::DockerConfigJson, bytes).ok());
    parsed.map(|parsed| parsed.keyring).unwrap_or_default()
}

fn is_ours(holding: &Holding, uid: &Uid) -> bool {
    matches!(&holding.owner, Owner::Grant(owner) if owner == uid)
}

fn is_held(memory: &Memory<'_>, at: &SecretRef, uid: &Uid) -> bool {
    memory.holdings.get(at).is_some_and(|holding| is_ours(holding, uid))
}

/// The namespace whose target speaks for all: pristine ones before edited ones, then the content that most agree on,
/// then the first by name.
fn elect(uid: &Uid, name: &SecretName, memory: &Memory<'_>) -> Option<NamespaceName> {
    let mut votes: BTreeMap<(bool, Fingerprint), (usize, &NamespaceName)> = BTreeMap::new();
    for (at, holding) in
        memory.holdings.iter().filter(|(at, holding)| at.name == *name && is_ours(holding, uid))
    {
        votes.entry((holding.pristine, holding.fingerprint)).or_insert((0, &at.namespace)).0 += 1;
    }
    let best = votes
        .into_iter()
        .max_by_key(|((pristine, _), (count, namespace))| (*pristine, *count, std::cmp::Reverse(*namespace)));
    best.map(|(_, (_, namespace))| namespace.clone())
}

impl Record {
    /// Which source each entry of a target is from, as far as only a failing one can be it. What is remembered as
    /// another source's is left out: that source has spoken since, or is no longer listed.
    fn ascribe(&self, held: &Keyring, read: &[(&SecretRef, &Source)]) -> Remembered {
        let mut remembered = Remembered::new();
        for (registry, credential) in held {
            let owner = self.owner(registry);
            let given = read.iter().any(|(_, source)| source.entries().get(registry).is_some());
            // What no source is remembered for may be any failing one's: kept rather than lost.
            let fits = |at: &SecretRef| owner.map_or(!given, |owner| owner == at);
            let source = read.iter().find(|(at, source)| fits(at) && source.gaps().cover(registry));
            if let Some((at, _)) = source {
                remembered.entry((*at).clone()).or_default().insert(registry.clone(), credential.clone());
            }
        }
        remembered
    }

    fn owner(&self, registry: &RegistryKey) -> Option<&SecretRef> {
        let name = registry.to_string();
        self.registries.iter().find(|(_, registries)| registries.contains(&name)).map(|(at, _)| at)
    }
}
