//! The planner: for one namespace, what to write and why, and how each grant stands there.
//!
//! Pure and total: it reads the whole world and answers with the whole plan, so nothing depends on which event woke
//! it. A plan for a namespace in which all is as it should be has no steps. Each step stands for itself: whatever
//! happens after any of them, nothing that worked before works less. Secrets are given before ServiceAccounts name
//! them, and taken when none does any more.

use std::collections::BTreeSet;
use std::fmt;
use std::sync::Arc;

use crate::account::{Change, Edit, Ledger, Verb};
use crate::grant::{Grant, Rule, Verdict};
use crate::holding::{self, Claim, Holding, Owned, Owner};
use crate::name::{AccountName, GrantName, NamespaceName, SecretName, SecretRef, Uid};
use crate::reason::{Fault, Reason};
use crate::selector::NamePattern;
use crate::source::Source;
use crate::world::{Extent, Namespace, Payload, Room, Sealed, Selection, Stream, TargetState, World};

/// What to do in one namespace.
#[must_use]
#[derive(Debug)]
pub struct Plan {
    /// The namespace.
    pub namespace: NamespaceName,
    /// Secrets to write, before all else.
    pub give: Vec<Step>,
    /// What to change in ServiceAccounts: names of Secrets that stand, and of Secrets that go.
    pub edits: Vec<Edit>,
    /// Secrets to delete, when nothing names them any more.
    pub take: Vec<Step>,
    /// How each grant that was looked at stands here.
    pub opinions: Vec<Opinion>,
}

impl Plan {
    /// The writes to Secrets, in their order.
    pub fn steps(&self) -> impl Iterator<Item = &Step> {
        self.give.iter().chain(&self.take)
    }

    /// Whether there is nothing to do.
    pub fn is_empty(&self) -> bool {
        self.give.is_empty() && self.edits.is_empty() && self.take.is_empty()
    }
}

/// One write of a Secret and its reason.
#[derive(Debug)]
pub struct Step {
    /// The write.
    pub action: Action,
    /// On whose behalf.
    pub grant: Uid,
    /// Why.
    pub because: Because,
    /// Only if no earlier step of the same grant in this plan has failed.
    pub depends: bool,
}

/// A write. Each one names the only object that it can hit.
#[derive(Debug)]
pub enum Action {
    /// Make the Secret where there is none. It must fail when there is one.
    Create(Arc<Sealed>),
    /// Bring a Secret of ours to this content. It must fail when that very object is gone.
    Update(Owned, Arc<Sealed>),
    /// Take the original's copy of the credentials out of the annotations of a Secret of ours.
    Scrub(Owned),
    /// Delete a Secret of ours, in the version that was seen.
    Delete(Owned),
}

/// Why a step is taken.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Because {
    /// A rule selects the namespace.
    Selected(Rule),
    /// The credentials or the template changed.
    Changed,
    /// Somebody else edited or deleted it.
    Drifted,
    /// It belonged to a grant that no longer claims it.
    Inherited,
    /// It was somebody else's, who let it be taken over, or the grant says so.
    Adopted,
    /// The original left a copy of the credentials in an annotation.
    LegacyCopy,
    /// No rule selects the namespace any more.
    Deselected,
    /// An exclusion forbids it.
    Excluded(Rule),
    /// The grant now uses another name.
    Renamed(SecretName),
    /// The grant is gone.
    GrantDeleted,
    /// The grant names the ServiceAccount, so.
    Named(NamePattern),
    /// The grant no longer names the ServiceAccount.
    Unnamed,
}

impl fmt::Display for Because {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Because::Selected(rule) => write!(f, "selected by {rule}"),
            Because::Changed => f.write_str("its credentials or labels changed"),
            Because::Drifted => f.write_str("somebody else changed or deleted it"),
            Because::Inherited => f.write_str("its former owner gave it up"),
            Because::Adopted => f.write_str("it was somebody else's and may be taken over"),
            Because::LegacyCopy => f.write_str("an annotation held a copy of the credentials"),
            Because::Deselected => f.write_str("no rule selects the namespace"),
            Because::Excluded(rule) => write!(f, "excluded by {rule}"),
            Because::Renamed(name) => write!(f, "the ImagePullSecret now writes {name}"),
            Because::GrantDeleted => f.write_str("its ImagePullSecret is gone"),
            Because::Named(pattern) => write!(f, "spec.target.serviceAccounts names {pattern}"),
            Because::Unnamed => f.write_str("spec.target.serviceAccounts no longer names it"),
        }
    }
}

/// How one grant stands in the namespace.
#[derive(Debug)]
pub struct Opinion {
    /// The grant.
    pub grant: Uid,
    /// Whether and why the namespace is selected; none when that is not known yet or does not matter.
    pub verdict: Option<Verdict>,
    /// What to write down; none when the grant neither wants nor has anything here.
    pub state: Option<TargetState>,
}

/// A grant that wants its Secret here.
struct Wish<'a> {
    room: &'a Room,
    grant: &'a Arc<Grant>,
    rule: Rule,
}

/// Plans for one namespace.
pub fn plan(world: &World, name: &NamespaceName) -> Plan {
    let mut draft = Draft {
        world,
        namespace: name,
        give: Vec::new(),
        edits: Vec::new(),
        take: Vec::new(),
        opinions: Vec::new(),
        given: Vec::new(),
        frozen: BTreeSet::new(),
    };
    let mut wishes: Vec<Wish<'_>> = Vec::new();
    let mut unsure: Vec<&Room> = Vec::new();
    let living = world.namespace(name).filter(|namespace| !namespace.terminating);
    for room in world.candidates(name).into_iter().filter_map(|uid| world.room(uid)) {
        if !world.serves(name) {
            draft.leave_out(room, living);
            continue;
        }
        match (living, room.grant()) {
            // Nothing may be written to a namespace that is going; all in it goes with it.
            (None, _) => draft.leave(room, None),
            (Some(_), _) if room.is_leaving() => draft.leave(room, None),
            (Some(_), None) => draft.keep(room, &mut unsure),
            (Some(_), Some(grant)) if grant.suspended => draft.keep(room, &mut unsure),
            (Some(namespace), Some(grant)) => match world.selection(grant, name, namespace) {
                Selection::Unknown => draft.keep(room, &mut unsure),
                Selection::Known(Verdict::Selected(rule)) => wishes.push(Wish { room, grant, rule }),
                Selection::Known(verdict) => draft.leave(room, Some(verdict)),
            },
        }
    }
    if living.is_some() && world.serves(name) {
        wishes.sort_by_key(|wish| wish.room.identity().seniority());
        let wished: BTreeSet<&SecretName> = wishes.iter().map(|wish| &wish.grant.template.name).collect();
        let others = world.holdings(name).map(|(name, _)| name).filter(|name| !wished.contains(name));
        // What is wanted first: whether a former Secret may go depends on how its successor stands.
        for secret in wished.iter().copied().chain(others) {
            let contenders: Vec<&Wish<'_>> =
                wishes.iter().filter(|w| w.grant.template.name == *secret).collect();
            let holding = world.holding(&SecretRef { namespace: name.clone(), name: secret.clone() });
            draft.settle(secret, holding, &contenders, &unsure);
        }
        for (account, ledger) in world.accounts(name) {
            draft.attach(account, ledger);
        }
        draft.miss_accounts();
    }
    let Draft { give, edits, take, opinions, .. } = draft;
    Plan { namespace: name.clone(), give, edits, take, opinions }
}

struct Draft<'a> {
    world: &'a World,
    namespace: &'a NamespaceName,
    give: Vec<Step>,
    edits: Vec<Edit>,
    take: Vec<Step>,
    opinions: Vec<Opinion>,
    /// The grants whose Secret stands when all that is given has been given.
    given: Vec<(&'a Room, &'a Arc<Grant>)>,
    /// Names about which too little is known.
    frozen: BTreeSet<SecretName>,
}

impl<'a> Draft<'a> {
    /// A grant of which too little is known, that is suspended or makes no sense: all stays as it is.
    fn keep(&mut self, room: &'a Room, unsure: &mut Vec<&'a Room>) {
        let state = room.targets().get(self.namespace).cloned();
        unsure.push(room);
        self.opinions.push(Opinion { grant: room.identity().uid.clone(), verdict: None, state });
    }

    /// A grant that does not want anything here; what it still has is dealt with by name.
    fn leave(&mut self, room: &Room, verdict: Option<Verdict>) {
        self.opinions.push(Opinion { grant: room.identity().uid.clone(), verdict, state: None });
    }

    /// A grant in a namespace that is not served.
    fn leave_out(&mut self, room: &Room, living: Option<&Namespace>) {
        let selected = living.zip(room.wishing()).and_then(|(namespace, grant)| {
            match self.world.selection(grant, self.namespace, namespace) {
                Selection::Known(verdict @ Verdict::Selected(_)) => Some(verdict),
                _ => None,
            }
        });
        let state = selected.as_ref().map(|_| TargetState::LeftOut);
        self.opinions.push(Opinion { grant: room.identity().uid.clone(), verdict: selected, state });
    }

    /// Says of each grant whose Secret stands here that its ServiceAccounts cannot be seen, where that is so.
    fn miss_accounts(&mut self) {
        for (room, grant) in self.given.clone() {
            let mut streams =
                grant.accounts.iter().map(|pattern| self.world.accounts_stream(pattern, self.namespace));
            if let Some(state) = streams.find_map(|stream| self.unheard(&stream, Fault::account_reason)) {
                self.qualify(room, &state);
            }
        }
    }

    /// Decides about one name: who may write it, and what.
    fn settle(
        &mut self,
        name: &SecretName,
        holding: Option<&'a Holding>,
        wishes: &[&Wish<'a>],
        unsure: &[&Room],
    ) {
        let claim = holding::claim(self.namespace, name, holding, |uid| self.world.room(uid).is_some());
        let stream = self.world.targets_stream(name, self.namespace);
        let listed = self.world.is_listed(&stream) && self.world.is_listed(&Stream::Grants);
        // A grant that cannot be judged yet may be the rightful owner of the name.
        let contested = unsure.iter().any(|room| {
            room.grant().is_some_and(|grant| grant.template.name == *name)
                || matches!(&claim, Claim::Ours(owned, _) if *owned.grant() == room.identity().uid)
        });
        if !listed || contested {
            self.frozen.insert(name.clone());
            let state = self.unheard(&stream, Fault::target_reason).unwrap_or(TargetState::Pending);
            wishes.iter().for_each(|wish| self.note(wish, state.clone()));
            return;
        }
        self.judge(name, claim, wishes);
        if let Some(state) = self.unheard(&stream, Fault::target_reason) {
            wishes.iter().for_each(|wish| self.qualify(wish.room, &state));
        }
    }

    /// Why a stream that shows this namespace alone does not come. One that shows them all is told of the grant.
    fn unheard(&self, stream: &Stream, reason: fn(&Fault) -> Reason) -> Option<TargetState> {
        let (Stream::Targets(_, Extent::In(_)) | Stream::Accounts(_, Extent::In(_))) = stream else {
            return None;
        };
        let fault = self.world.stream_fault(stream)?;
        Some(TargetState::troubled(reason(fault), format!("cannot watch {stream}: {}", fault.advice())))
    }

    /// Decides whose the name is, and what becomes of it.
    fn judge(&mut self, name: &SecretName, claim: Claim<'_>, wishes: &[&Wish<'a>]) {
        let Some((winner, losers)) = wishes.split_first() else {
            if let Claim::Ours(owned, holding) = claim {
                self.revoke(owned, holding);
            }
            return;
        };
        match claim {
            Claim::Foreign(holding) => match self.adopt(name, holding, winner) {
                Some(owned) => self.give(winner, Some((owned, holding))),
                None => {
                    let advice = foreign_advice(self.namespace, name, holding, winner.grant);
                    wishes.iter().for_each(|wish| self.note(wish, conflict(advice.clone())));
                    return;
                }
            },
            Claim::Vacant => self.give(winner, None),
            Claim::Ours(owned, holding) => self.give(winner, Some((owned, holding))),
        }
        for loser in losers {
            let elder = &winner.room.identity().name;
            let advice = format!(
                "the older ImagePullSecret {elder} writes Secret {name} here; use another spec.target.secret.name, \
                 or exclude the namespace from one of the two"
            );
            self.note(loser, conflict(advice));
        }
    }

    /// Somebody else's Secret, if it may be taken over. One that is read as a source never is: what is written there
    /// would be read again.
    fn adopt(&self, name: &SecretName, holding: &Holding, winner: &Wish<'_>) -> Option<Owned> {
        let at = SecretRef { namespace: self.namespace.clone(), name: name.clone() };
        let owned = holding::adopt(self.namespace, name, holding, winner.grant)?;
        self.world.source(&at).is_none().then_some(owned)
    }

    /// The winner's Secret is brought to what it should be.
    fn give(&mut self, wish: &Wish<'a>, held: Option<(Owned, &Holding)>) {
        let room = wish.room;
        let adopting = held.as_ref().is_some_and(|(owned, holding)| !holding.is_of(owned.grant()));
        // What is not ours yet is named by no ServiceAccount before it is.
        if !adopting && held.as_ref().is_some_and(|(_, holding)| !holding.deleting) {
            self.given.push((room, wish.grant));
        }
        let sealed = match room.payload() {
            Payload::Waiting => return self.note(wish, TargetState::Pending),
            Payload::TooLarge(problem) => {
                let advice =
                    format!("{problem}; remove entries from the sources or split the ImagePullSecret in two");
                return self.note(wish, TargetState::troubled(Reason::TargetTooLarge, advice));
            }
            Payload::Ready(sealed) => sealed,
        };
        // Accounts may name it already. Whose grant goes before it is held leaves the name behind.
        let unheld = !room.is_held() && room.hold_fault().is_none();
        if adopting && !wish.grant.accounts.is_empty() && unheld {
            return self.note(wish, TargetState::Pending);
        }
        let whole = |at: &SecretRef| self.world.source(at).is_some_and(Source::is_whole);
        if adopting && !wish.grant.sources.iter().all(whole) {
            let advice = "the Secret that stands there is taken over when every source gives what it should, so that \
                          no login is lost; see status.sources";
            return self.note(wish, TargetState::troubled(Reason::NoCredentials, advice));
        }
        if held.is_none() && sealed.registries == 0 {
            let advice = "no source has a usable credential; see status.sources";
            return self.note(wish, TargetState::troubled(Reason::NoCredentials, advice));
        }
        // Whether it stood here as it should: then whatever is amiss now is somebody else's doing.
        let synced = match room.targets().get(self.namespace) {
            Some(TargetState::Synced(fingerprint)) => *fingerprint == sealed.fingerprint,
            Some(TargetState::Troubled { reason, .. }) => reason.spares_the_secret(),
            _ => false,
        };
        let Some((owned, holding)) = held else {
            let because = if synced { Because::Drifted } else { Because::Selected(wish.rule.clone()) };
            self.given.push((room, wish.grant));
            self.step(Action::Create(sealed.clone()), wish, because);
            return self.note(wish, TargetState::Pending);
        };
        if holding.deleting {
            let advice = "the Secret is being deleted and a finalizer holds it back; remove the finalizer, imps then \
                          makes it anew";
            return self.note(wish, TargetState::troubled(Reason::TargetTerminating, advice));
        }
        let matches = holding.fingerprint == sealed.fingerprint;
        if !matches && holding.immutable {
            let advice = "somebody made the Secret immutable; delete it, imps then makes it anew";
            return self.note(wish, TargetState::troubled(Reason::TargetImmutable, advice));
        }
        if !matches {
            let inherited = *owned.grant() != room.identity().uid;
            let because = match (inherited, synced) {
                _ if adopting => Because::Adopted,
                (true, _) => Because::Inherited,
                (false, true) => Because::Drifted,
                (false, false) => Because::Changed,
            };
            if adopting {
                self.given.push((room, wish.grant));
            }
            self.step(Action::Update(owned.clone(), sealed.clone()), wish, because);
        }
        if holding.legacy_copy && !holding.immutable {
            self.step(Action::Scrub(owned), wish, Because::LegacyCopy);
        }
        let done = matches && !holding.legacy_copy;
        self.note(wish, if done { TargetState::Synced(sealed.fingerprint) } else { TargetState::Pending });
    }

    /// Why a grant does not want the Secret that it has at a name, or want it attached.
    fn reason_to_leave(&self, owned: &Owned) -> Because {
        let owner = self.world.room(owned.grant()).filter(|room| !room.is_leaving());
        let Some(grant) = owner.and_then(Room::grant) else { return Because::GrantDeleted };
        let opinion = self.opinions.iter().find(|opinion| opinion.grant == *owned.grant());
        match opinion.and_then(|opinion| opinion.verdict.clone()) {
            _ if grant.template.name != *owned.name() => Because::Renamed(grant.template.name.clone()),
            Some(Verdict::Excluded { excluded, .. }) => Because::Excluded(excluded),
            Some(Verdict::Selected(_)) => Because::Unnamed,
            Some(Verdict::Unselected) | None => Because::Deselected,
        }
    }

    /// Nobody wants the Secret of ours that stands here.
    fn revoke(&mut self, owned: Owned, holding: &Holding) {
        let because = self.reason_to_leave(&owned);
        let grant = owned.grant().clone();
        let renamed = matches!(because, Because::Renamed(_));
        if renamed && self.waits(&grant) {
            return;
        }
        if let Some(opinion) =
            self.opinions.iter_mut().find(|opinion| opinion.grant == grant && opinion.state.is_none())
        {
            opinion.state = Some(TargetState::Leaving);
        }
        // What may name it has to be seen first.
        let known = self.world.room(&grant).is_none_or(|room| self.world.knows_accounts(room));
        if !holding.deleting && known {
            self.take.push(Step { action: Action::Delete(owned), grant, because, depends: renamed });
        }
    }

    /// Brings one ServiceAccount's list to what it should be: only names of our own Secrets come or go.
    fn attach(&mut self, account: &AccountName, ledger: &Ledger) {
        let mut changes = Vec::new();
        let mut wanted: BTreeSet<&SecretName> = BTreeSet::new();
        for (room, grant) in self.given.clone() {
            let Some(pattern) = room.attaches_to(account) else { continue };
            let secret = &grant.template.name;
            wanted.insert(secret);
            if ledger.has(secret) {
                continue;
            }
            if ledger.is_contended(secret) {
                let advice = format!(
                    "somebody keeps taking {secret} out of the imagePullSecrets of ServiceAccount {account}; imps has \
                     stopped putting it there. Find who by its managedFields and let it keep the name, then edit the \
                     ImagePullSecret; or name the Secret in the pods"
                );
                self.qualify(room, &TargetState::troubled(Reason::ServiceAccountContended, advice));
            } else if room.is_held() {
                let because = Because::Named(pattern.clone());
                let grant = room.identity().uid.clone();
                changes.push(Change { verb: Verb::Attach, secret: secret.clone(), grant, because });
                self.qualify(room, &TargetState::Pending);
            } else if let Some(fault) = room.hold_fault() {
                let advice = format!(
                    "the Secret is attached to no ServiceAccount before a finalizer on the ImagePullSecret makes sure \
                     that it will be detached: {}",
                    fault.advice()
                );
                self.qualify(room, &TargetState::troubled(fault.account_reason(), advice));
            } else {
                self.qualify(room, &TargetState::Pending);
            }
        }
        let named: BTreeSet<&SecretName> = ledger.account().secrets.iter().collect();
        for secret in named.difference(&wanted) {
            changes.extend(self.detach(account, secret));
        }
        self.edits.extend(Edit::of(account, ledger.account(), changes));
    }

    /// Whether a name goes: it is that of a Secret of ours, and its grant has put it there and wants it there no
    /// longer. Without a Secret of ours nothing tells that the name is ours, so it stays.
    fn detach(&mut self, account: &AccountName, secret: &SecretName) -> Option<Change> {
        if self.frozen.contains(secret) {
            return None;
        }
        let at = SecretRef { namespace: self.namespace.clone(), name: secret.clone() };
        let lives = |uid: &Uid| self.world.room(uid).is_some();
        let Claim::Ours(owned, _) = holding::claim(&at.namespace, secret, self.world.holding(&at), lives)
        else {
            return None;
        };
        let room = self.world.room(owned.grant()).filter(|room| room.may_be_attached_to(account))?;
        let because = self.reason_to_leave(&owned);
        // While a successor cannot be given yet, the former Secret serves on, and so does its name.
        let goes = self.take.iter().any(|step| step.action.secret() == secret);
        if matches!(because, Because::Renamed(_)) && !goes {
            return None;
        }
        self.qualify(room, &TargetState::Pending);
        Some(Change { verb: Verb::Detach, secret: secret.clone(), grant: owned.grant().clone(), because })
    }

    /// A grant's Secret stands here as it should, and something else does not yet.
    fn qualify(&mut self, room: &Room, state: &TargetState) {
        let uid = &room.identity().uid;
        let good = |opinion: &&mut Opinion| {
            opinion.grant == *uid && matches!(opinion.state, Some(TargetState::Synced(_)))
        };
        if let Some(opinion) = self.opinions.iter_mut().find(good) {
            opinion.state = Some(state.clone());
        }
    }

    /// Whether a grant wants something here that cannot be written yet, so that a former Secret has to serve on.
    fn waits(&self, grant: &Uid) -> bool {
        let pending =
            |opinion: &Opinion| opinion.grant == *grant && opinion.state == Some(TargetState::Pending);
        self.opinions.iter().any(pending) && !self.give.iter().any(|step| step.grant == *grant)
    }

    fn step(&mut self, action: Action, wish: &Wish<'a>, because: Because) {
        let depends = matches!(action, Action::Scrub(_));
        self.give.push(Step { action, grant: wish.room.identity().uid.clone(), because, depends });
    }

    fn note(&mut self, wish: &Wish<'a>, state: TargetState) {
        let verdict = Some(Verdict::Selected(wish.rule.clone()));
        self.opinions.push(Opinion { grant: wish.room.identity().uid.clone(), verdict, state: Some(state) });
    }
}

fn conflict(advice: String) -> TargetState {
    TargetState::troubled(Reason::TargetConflict, advice)
}

fn foreign_advice(namespace: &NamespaceName, name: &SecretName, holding: &Holding, grant: &Grant) -> String {
    let plain = |text: &str| -> String { text.chars().filter(|c| !c.is_control()).take(64).collect() };
    let (what, remedy) = match &holding.owner {
        Owner::Other { secret_type, .. } if secret_type != holding::TARGET_TYPE => {
            let remedy = "its type cannot be changed, so rename or delete it";
            (format!("a Secret of type {} that imps did not make", plain(secret_type)), remedy)
        }
        Owner::Other { controller: Some(controller), .. } => {
            let remedy = "end that, let this one Secret be taken over by an annotation on it";
            (format!("a Secret that {} controls", plain(controller)), remedy)
        }
        _ if grant.template.adopt => ("a Secret that is also a source".to_owned(), "give it up as a source"),
        _ => {
            let remedy = "rename or delete it, let it be taken over with spec.target.secret.adopt";
            ("a Secret that imps did not make".to_owned(), remedy)
        }
    };
    format!(
        "{what} stands at {namespace}/{name} and is left alone; {remedy}, or use another spec.target.secret.name"
    )
}

impl Action {
    /// `create`, `update`, `scrub` or `delete`.
    pub fn verb(&self) -> &'static str {
        match self {
            Action::Create(_) => "create",
            Action::Update(..) => "update",
            Action::Scrub(_) => "scrub",
            Action::Delete(_) => "delete",
        }
    }

    /// The Secret's name.
    pub fn secret(&self) -> &SecretName {
        match self {
            Action::Create(sealed) => &sealed.grant.template.name,
            Action::Update(owned, _) | Action::Scrub(owned) | Action::Delete(owned) => owned.name(),
        }
    }
}

impl World {
    /// The name of a grant, for logs; its UID when it is gone.
    pub fn grant_name(&self, uid: &Uid) -> GrantName {
        self.room(uid).map_or_else(|| GrantName::new(uid.as_str()), |room| room.identity().name.clone())
    }
}
