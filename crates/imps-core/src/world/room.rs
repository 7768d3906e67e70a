//! One grant's room in the world: what it asks for, what it has to give, and how it stands in each namespace.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::recall::{Memory, Recall, Record};
use super::{GrantFact, Rejection, Stream, Tenure};
use crate::dockerconfig;
use crate::grant::{Grant, Identity};
use crate::holding::Fingerprint;
use crate::keyring::{self, Overlap};
use crate::name::{AccountName, NamespaceName, SecretName, SecretRef};
use crate::reason::{Fault, Reason};
use crate::registry::RegistryKey;
use crate::selector::NamePattern;
use crate::source::{Document, Source};

/// See the module.
#[derive(Debug)]
pub struct Room {
    identity: Identity,
    grant: Option<Arc<Grant>>,
    rejections: Vec<Rejection>,
    remarks: Vec<String>,
    record: Record,
    /// What the status said last, whoever wrote it.
    told: Record,
    tenure: Tenure,
    demand: Option<String>,
    /// How many requests for tokens had begun when the demand was taken up.
    demanded_after: Option<u64>,
    hold_fault: Option<Fault>,
    payload: Payload,
    recall: Recall,
    origin: BTreeMap<RegistryKey, SecretRef>,
    overlaps: Vec<Overlap<SecretRef>>,
    targets: BTreeMap<NamespaceName, TargetState>,
    tally: Tally,
}

/// What a grant has to give.
#[derive(Clone, Debug)]
pub enum Payload {
    /// Not known yet: a source has not been read, or an own target has to be.
    Waiting,
    /// This.
    Ready(Arc<Sealed>),
    /// More than a Secret can hold; the text says how much.
    TooLarge(String),
}

/// Everything that is written to a target, but for its namespace. The same bytes go to all of them.
#[derive(Debug)]
pub struct Sealed {
    /// The grant it belongs to, as it was when this was made.
    pub grant: Arc<Grant>,
    /// The docker config.
    pub payload: dockerconfig::Payload,
    /// How a target looks that holds just this.
    pub fingerprint: Fingerprint,
    /// How many registries it serves; none means that there is nothing to give.
    pub registries: usize,
}

/// How a grant stands in a namespace that it selects or has something in.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum TargetState {
    /// To be written.
    Pending,
    /// Written, or found as it should be, with this content.
    Synced(Fingerprint),
    /// Not written.
    Troubled {
        /// Why, in a word.
        reason: Reason,
        /// Why, and what to do.
        advice: String,
    },
    /// Selected, and not among the namespaces that are served: nothing is looked at or written there.
    LeftOut,
    /// No longer wanted, to be deleted.
    Leaving,
    /// No longer wanted, and the delete failed.
    LeavingTroubled {
        /// Why, and what to do.
        advice: String,
    },
}

/// How many namespaces stand how.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Tally {
    /// Selected namespaces.
    pub desired: usize,
    /// Those that have what they should.
    pub synced: usize,
    /// Those in which something failed.
    pub failed: usize,
    /// Those in which another owner's Secret stands at the name.
    pub conflict: usize,
    /// Those that are being worked on.
    pub pending: usize,
    /// De-selected namespaces that still have the Secret.
    pub leaving: usize,
    /// Those among them in which the delete failed.
    pub stuck: usize,
    /// Selected ones that are not served. They do not count as desired.
    pub left_out: usize,
}

impl Room {
    pub(super) fn new(identity: Identity) -> Self {
        Self {
            identity,
            grant: None,
            rejections: Vec::new(),
            remarks: Vec::new(),
            record: Record::default(),
            told: Record::default(),
            tenure: Tenure::default(),
            demand: None,
            demanded_after: None,
            hold_fault: None,
            payload: Payload::Waiting,
            recall: Recall::default(),
            origin: BTreeMap::new(),
            overlaps: Vec::new(),
            targets: BTreeMap::new(),
            tally: Tally::default(),
        }
    }

    /// Takes a reading of the object in. Returns whether it means something new.
    pub(super) fn update(&mut self, fact: GrantFact) -> bool {
        let fresh = self.grant.is_none() && self.rejections.is_empty();
        self.told = fact.record;
        if fresh {
            // Later readings show what this process wrote; only the first one remembers an earlier process.
            self.record = self.told.clone();
        }
        let (grant, rejections) = match fact.grant {
            Ok(grant) => (Some(Arc::new(grant)), Vec::new()),
            Err(rejections) => (None, rejections),
        };
        let same = !fresh
            && self.rejections == rejections
            && self.remarks == fact.remarks
            && self.grant == grant
            && self.identity == fact.identity
            && self.tenure == fact.tenure;
        // The Secrets of an earlier name are ours until they are gone, also across a restart, and also while nobody can
        // tell what the name is.
        self.record.secret_names.extend(self.grant.iter().map(|before| before.template.name.clone()));
        self.record
            .account_names
            .extend(self.grant.iter().flat_map(|before| before.accounts.iter().cloned()));
        if let Some(now) = &grant {
            self.record.secret_names.remove(&now.template.name);
            self.record.account_names.retain(|pattern| !now.accounts.contains(pattern));
        }
        if fact.tenure.held {
            self.hold_fault = None;
        }
        if self.demand != fact.demand {
            (self.demand, self.demanded_after) = (fact.demand, None);
        }
        self.tenure = fact.tenure;
        self.identity = fact.identity;
        self.remarks = fact.remarks;
        self.rejections = rejections;
        self.grant = grant;
        !same
    }

    /// Another process has acted until now: what its status says is remembered, and no target was looked at yet. Names
    /// that may still be ours stay so.
    pub(super) fn hand_over(&mut self) {
        let Record { secret_names, account_names, .. } =
            std::mem::replace(&mut self.record, self.told.clone());
        self.record.secret_names.extend(secret_names);
        self.record.account_names.extend(account_names);
        if let Some(now) = &self.grant {
            self.record.secret_names.remove(&now.template.name);
            self.record.account_names.retain(|pattern| !now.accounts.contains(pattern));
        }
        (self.recall, self.payload, self.hold_fault) = (Recall::default(), Payload::Waiting, None);
    }

    /// Which object this is.
    pub fn identity(&self) -> &Identity {
        &self.identity
    }

    /// What it asks for, if it can be understood.
    pub fn grant(&self) -> Option<&Arc<Grant>> {
        self.grant.as_ref()
    }

    /// What it asks for, if it asks for anything just now: it is neither suspended nor on its way out.
    pub fn wishing(&self) -> Option<&Arc<Grant>> {
        self.grant.as_ref().filter(|grant| !grant.suspended && !self.tenure.deleting)
    }

    /// Whether the object is being deleted.
    pub fn is_leaving(&self) -> bool {
        self.tenure.deleting
    }

    /// Whether the object cannot go before imps has let go of it.
    pub fn is_held(&self) -> bool {
        self.tenure.held
    }

    /// Whether it must not go before imps has let go of it: it may be attached somewhere, or will be. None while nobody
    /// can tell.
    pub(crate) fn wants_hold(&self) -> Option<bool> {
        let grant = self.grant.as_ref().filter(|_| !self.tenure.deleting)?;
        (!grant.suspended).then(|| !grant.accounts.is_empty() || !self.record.account_names.is_empty())
    }

    /// Whether our finalizer has to be put on or taken off, or has to go when nothing is left of a grant that leaves.
    pub(super) fn is_unsettled(&self) -> bool {
        match self.wants_hold() {
            Some(wanted) => wanted != self.is_held(),
            None => self.is_leaving() && self.is_held(),
        }
    }

    /// Why it cannot be held.
    pub fn hold_fault(&self) -> Option<&Fault> {
        self.hold_fault.as_ref()
    }

    /// Whether its user demands what has not been done yet.
    pub fn is_demanding(&self) -> bool {
        self.demand.is_some() && self.demand != self.record.met
    }

    /// Takes the demand up, unless that was done. Returns how many requests had begun then.
    pub(super) fn take_up_demand(&mut self, begun: u64) -> u64 {
        *self.demanded_after.get_or_insert(begun)
    }

    pub(super) fn meet_demand(&mut self) {
        self.record.met.clone_from(&self.demand);
    }

    pub(super) fn note_hold(&mut self, fault: Option<Fault>) -> bool {
        let differs = self.hold_fault != fault;
        self.hold_fault = fault;
        differs
    }

    /// The names and patterns of ServiceAccounts that it is or was attached to.
    pub fn account_patterns(&self) -> impl Iterator<Item = &NamePattern> {
        let present = self.grant.iter().flat_map(|grant| &grant.accounts);
        present.chain(&self.record.account_names)
    }

    /// Whether it is to be attached to a ServiceAccount of this name.
    pub fn attaches_to(&self, account: &AccountName) -> Option<&NamePattern> {
        let mut present = self.grant.iter().flat_map(|grant| &grant.accounts);
        present.find(|pattern| pattern.matches(account.as_str()))
    }

    /// Whether it may be attached to one by a pattern that it no longer has, and by none that it has.
    pub(super) fn was_attached_to(&self, account: &AccountName) -> bool {
        self.attaches_to(account).is_none() && self.may_be_attached_to(account)
    }

    /// Whether it may be attached to a ServiceAccount of this name.
    pub fn may_be_attached_to(&self, account: &AccountName) -> bool {
        self.account_patterns().any(|pattern| pattern.matches(account.as_str()))
    }

    pub(super) fn forget_former_accounts(&mut self) {
        self.record.account_names.clear();
    }

    /// What is wrong with it.
    pub fn rejections(&self) -> &[Rejection] {
        &self.rejections
    }

    /// What was left out of account.
    pub fn remarks(&self) -> &[String] {
        &self.remarks
    }

    /// What is remembered across restarts.
    pub fn record(&self) -> &Record {
        &self.record
    }

    /// What it has to give.
    pub fn payload(&self) -> &Payload {
        &self.payload
    }

    /// Which source each registry's credential comes from.
    pub fn origin(&self) -> &BTreeMap<RegistryKey, SecretRef> {
        &self.origin
    }

    /// Registries that more than one source serves.
    pub fn overlaps(&self) -> &[Overlap<SecretRef>] {
        &self.overlaps
    }

    /// The namespaces in which it wants or has something, as far as plans have said.
    pub fn namespaces(&self) -> impl Iterator<Item = &NamespaceName> {
        self.targets.keys()
    }

    /// The namespaces that were written, with other content than it has to give now.
    pub(super) fn stale(&self) -> impl Iterator<Item = &NamespaceName> {
        let current = match &self.payload {
            Payload::Ready(sealed) => Some(sealed.fingerprint),
            Payload::Waiting | Payload::TooLarge(_) => None,
        };
        let is_stale =
            move |state: &TargetState| matches!(state, TargetState::Synced(held) if Some(*held) != current);
        self.targets.iter().filter(move |(_, state)| is_stale(state)).map(|(name, _)| name)
    }

    /// The namespaces in which something failed.
    pub(super) fn troubled(&self) -> impl Iterator<Item = &NamespaceName> {
        let is_troubled = |state: &TargetState| {
            matches!(state, TargetState::Troubled { .. } | TargetState::LeavingTroubled { .. })
        };
        self.targets.iter().filter(move |(_, state)| is_troubled(state)).map(|(name, _)| name)
    }

    /// How it stands in each of them.
    pub fn targets(&self) -> &BTreeMap<NamespaceName, TargetState> {
        &self.targets
    }

    /// How many stand how.
    pub fn tally(&self) -> Tally {
        self.tally
    }

    /// Whether this source is one of its own.
    pub fn uses(&self, at: &SecretRef) -> bool {
        self.grant.as_ref().is_some_and(|grant| grant.sources.contains(at))
    }

    /// Whether anything it does stands on this stream.
    pub(super) fn needs(&self, stream: &Stream) -> bool {
        let Some(grant) = &self.grant else { return matches!(stream, Stream::Grants) };
        match stream {
            Stream::Grants | Stream::Namespaces => true,
            Stream::Pods { .. } => !grant.recipients.pods.is_empty(),
            Stream::Source(at) => grant.sources.contains(at),
            Stream::Targets(name, _) => {
                grant.template.name == *name || self.record.secret_names.contains(name)
            }
            Stream::Accounts(name, _) => self
                .account_patterns()
                .any(|pattern| pattern.exact() == name.as_ref().map(AccountName::as_str)),
        }
    }

    /// Which of its own targets has to be read before anything is written, if one has.
    pub fn wants_recall(&self) -> Option<&SecretRef> {
        self.recall.wanted()
    }

    /// What was asked for has come, or has not.
    pub(super) fn recalled(&mut self, answer: Result<Document, crate::reason::Fault>) {
        self.recall.answer(answer);
    }

    /// Whether one of its own targets may still be read to learn what its sources gave.
    pub(super) fn may_recall(&self) -> bool {
        match self.recall {
            Recall::Unlisted | Recall::Wanted(_) | Recall::Answered(_) => true,
            // Nothing was looked at so far.
            Recall::Idle => matches!(self.payload, Payload::Waiting),
            Recall::Done(_) => false,
        }
    }

    /// What a source is taken to have given before this process began.
    pub(super) fn remembered(&self, at: &SecretRef) -> Option<&keyring::Keyring> {
        self.recall.remembered(at)
    }

    /// What it has to give now, and how far the recall is; `None` while a source has not been read.
    pub(super) fn render(
        &self,
        sources: &BTreeMap<SecretRef, Source>,
        memory: &Memory<'_>,
    ) -> Option<(Rendered, Recall)> {
        let grant = self.grant.as_ref()?;
        let read: Vec<(&SecretRef, &Source)> = grant
            .sources
            .iter()
            .map(|at| sources.get(at).filter(|source| source.is_heard()).map(|source| (at, source)))
            .collect::<Option<_>>()?;
        let recall = self.recall.advance(grant, &self.record, &read, memory);
        if read.iter().any(|(_, source)| source.is_awaited()) {
            return Some((Rendered::Waiting, recall));
        }
        let Some(rings) = recall.fill(&read) else { return Some((Rendered::Waiting, recall)) };
        let merged = keyring::merge(rings.iter().map(|(at, ring)| (at.clone(), ring)));
        Some((Rendered::Merged(merged), recall))
    }

    /// Takes over what [`Room::render`] made. Returns whether the targets have to be looked at.
    pub(super) fn take(&mut self, rendered: Rendered, recall: Recall) -> bool {
        self.recall = recall;
        let (Rendered::Merged(merged), Some(grant)) = (rendered, &self.grant) else {
            let was_ready = matches!(self.payload, Payload::Ready(_));
            self.payload = Payload::Waiting;
            return was_ready;
        };
        self.origin = merged.origin;
        // What the status will remember of this process, should a source of it have to be recalled.
        self.record.registries = attribution(&self.origin);
        self.overlaps = merged.overlaps;
        let payload = match dockerconfig::render(&merged.keyring) {
            Ok(payload) => payload,
            Err(too_large) => {
                let changed = !matches!(self.payload, Payload::TooLarge(_));
                self.payload = Payload::TooLarge(too_large.to_string());
                return changed;
            }
        };
        let template = &grant.template;
        let owner = std::slice::from_ref(&self.identity.uid);
        let fingerprint = Fingerprint::of(&payload.digest(), &template.labels, &template.annotations, owner);
        let unchanged = matches!(&self.payload, Payload::Ready(before)
            if before.fingerprint == fingerprint && before.grant.template.name == template.name);
        let registries = merged.keyring.len();
        self.payload =
            Payload::Ready(Arc::new(Sealed { grant: grant.clone(), payload, fingerprint, registries }));
        !unchanged
    }

    pub(super) fn set_target(&mut self, namespace: &NamespaceName, state: Option<TargetState>) {
        if let Some(state) = &state {
            self.tally.count(state, 1);
        }
        let before = match state {
            Some(state) => self.targets.insert(namespace.clone(), state),
            None => self.targets.remove(namespace),
        };
        if let Some(before) = before {
            self.tally.count(&before, -1);
        }
    }

    /// The names of Secrets that may still be its own: the present one, and former ones until all of those are gone.
    pub fn secret_names(&self) -> BTreeSet<&SecretName> {
        let present = self.grant.iter().map(|grant| &grant.template.name);
        present.chain(&self.record.secret_names).collect()
    }

    /// A former name has no Secret of this grant any more.
    pub(crate) fn forget_former_name(&mut self, name: &SecretName) -> bool {
        self.record.secret_names.remove(name)
    }
}

/// The registries of each source.
fn attribution(origin: &BTreeMap<RegistryKey, SecretRef>) -> BTreeMap<SecretRef, BTreeSet<String>> {
    let mut registries: BTreeMap<SecretRef, BTreeSet<String>> = BTreeMap::new();
    for (registry, source) in origin {
        registries.entry(source.clone()).or_default().insert(registry.to_string());
    }
    registries
}

/// What [`Room::render`] found.
#[derive(Debug)]
pub(super) enum Rendered {
    /// An own target has to be read first.
    Waiting,
    /// The merged credentials.
    Merged(keyring::Merged<SecretRef>),
}

impl Tally {
    fn count(&mut self, state: &TargetState, by: isize) {
        let add = |field: &mut usize| *field = field.saturating_add_signed(by);
        match state {
            TargetState::Leaving => return add(&mut self.leaving),
            TargetState::LeavingTroubled { .. } => {
                add(&mut self.stuck);
                return add(&mut self.leaving);
            }
            TargetState::LeftOut => return add(&mut self.left_out),
            TargetState::Pending => add(&mut self.pending),
            TargetState::Synced(_) => add(&mut self.synced),
            TargetState::Troubled { reason: Reason::TargetConflict, .. } => add(&mut self.conflict),
            TargetState::Troubled { .. } => add(&mut self.failed),
        }
        add(&mut self.desired);
    }
}

impl TargetState {
    /// Trouble in a word and a sentence.
    pub fn troubled(reason: Reason, advice: impl Into<String>) -> Self {
        TargetState::Troubled { reason, advice: advice.into() }
    }
}

/// The owner of a room, for messages.
impl std::fmt::Display for Room {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "ImagePullSecret {}", self.identity.name)
    }
}
