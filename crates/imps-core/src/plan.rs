//! The planner: for one namespace, what to write and why, and how each grant stands there.
//!
//! Pure and total: it reads the whole world and answers with the whole plan, so nothing depends on which event woke
//! it. A plan for a namespace in which all is as it should be has no steps. Each step stands for itself: whatever
//! happens after any of them, nothing that worked before works less.

use std::collections::BTreeSet;
use std::fmt;
use std::sync::Arc;

use crate::grant::{Grant, Rule, Verdict};
use crate::holding::{self, Claim, Holding, Owned};
use crate::name::{GrantName, NamespaceName, SecretName, SecretRef, Uid};
use crate::reason::Reason;
use crate::world::{Payload, Room, Sealed, Selection, Stream, TargetState, World};

/// What to do in one namespace.
#[must_use]
#[derive(Debug)]
pub struct Plan {
    /// The namespace.
    pub namespace: NamespaceName,
    /// What to write, in this order.
    pub steps: Vec<Step>,
    /// How each grant that was looked at stands here.
    pub opinions: Vec<Opinion>,
}

/// One write and its reason.
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
}

impl fmt::Display for Because {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Because::Selected(rule) => write!(f, "selected by {rule}"),
            Because::Changed => f.write_str("its credentials or labels changed"),
            Because::Drifted => f.write_str("somebody else changed or deleted it"),
            Because::Inherited => f.write_str("its former owner gave it up"),
            Because::LegacyCopy => f.write_str("an annotation held a copy of the credentials"),
            Because::Deselected => f.write_str("no rule selects the namespace"),
            Because::Excluded(rule) => write!(f, "excluded by {rule}"),
            Because::Renamed(name) => write!(f, "the ImagePullSecret now writes {name}"),
            Because::GrantDeleted => f.write_str("its ImagePullSecret is gone"),
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
    let mut draft = Draft { world, namespace: name, steps: Vec::new(), opinions: Vec::new() };
    let mut wishes: Vec<Wish<'_>> = Vec::new();
    let mut unsure: Vec<&Room> = Vec::new();
    let living = world.namespace(name).filter(|namespace| !namespace.terminating);
    for room in world.candidates(name).into_iter().filter_map(|uid| world.room(uid)) {
        match (living, room.grant()) {
            // Nothing may be written to a namespace that is going; all in it goes with it.
            (None, _) => draft.leave(room, None),
            (Some(_), None) => draft.keep(room, &mut unsure),
            (Some(_), Some(grant)) if grant.suspended => draft.keep(room, &mut unsure),
            (Some(namespace), Some(grant)) => match world.selection(grant, name, namespace) {
                Selection::Unknown => draft.keep(room, &mut unsure),
                Selection::Known(Verdict::Selected(rule)) => wishes.push(Wish { room, grant, rule }),
                Selection::Known(verdict) => draft.leave(room, Some(verdict)),
            },
        }
    }
    if living.is_some() {
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
    }
    // Give before taking: a grant that changes its Secret's name never leaves a namespace without one.
    draft.steps.sort_by_key(|step| matches!(step.action, Action::Delete(_)));
    Plan { namespace: name.clone(), steps: draft.steps, opinions: draft.opinions }
}

struct Draft<'a> {
    world: &'a World,
    namespace: &'a NamespaceName,
    steps: Vec<Step>,
    opinions: Vec<Opinion>,
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

    /// Decides about one name: who may write it, and what.
    fn settle(
        &mut self,
        name: &SecretName,
        holding: Option<&'a Holding>,
        wishes: &[&Wish<'a>],
        unsure: &[&Room],
    ) {
        let claim = holding::claim(self.namespace, name, holding, |uid| self.world.room(uid).is_some());
        let listed =
            self.world.is_listed(&Stream::Targets(name.clone())) && self.world.is_listed(&Stream::Grants);
        // A grant that cannot be judged yet may be the rightful owner of the name.
        let contested = unsure.iter().any(|room| {
            room.grant().is_some_and(|grant| grant.template.name == *name)
                || matches!(&claim, Claim::Ours(owned, _) if *owned.grant() == room.identity().uid)
        });
        if !listed || contested {
            wishes.iter().for_each(|wish| self.note(wish, TargetState::Pending));
            return;
        }
        let Some((winner, losers)) = wishes.split_first() else {
            if let Claim::Ours(owned, holding) = claim {
                self.revoke(owned, holding);
            }
            return;
        };
        match claim {
            Claim::Foreign(holding) => {
                let advice = foreign_advice(self.namespace, name, holding);
                wishes.iter().for_each(|wish| self.note(wish, conflict(advice.clone())));
                return;
            }
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

    /// The winner's Secret is brought to what it should be.
    fn give(&mut self, wish: &Wish<'a>, held: Option<(Owned, &Holding)>) {
        let room = wish.room;
        let sealed = match room.payload() {
            Payload::Waiting => return self.note(wish, TargetState::Pending),
            Payload::TooLarge(problem) => {
                let advice =
                    format!("{problem}; remove entries from the sources or split the ImagePullSecret in two");
                return self.note(wish, TargetState::troubled(Reason::TargetTooLarge, advice));
            }
            Payload::Ready(sealed) => sealed,
        };
        // Whether it stood here as it should: then whatever is amiss now is somebody else's doing.
        let synced = match room.targets().get(self.namespace) {
            Some(TargetState::Synced(fingerprint)) => *fingerprint == sealed.fingerprint,
            Some(TargetState::Troubled { reason, .. }) => *reason == Reason::TargetContended,
            _ => false,
        };
        let Some((owned, holding)) = held else {
            if sealed.registries == 0 {
                let advice = "no source has a usable credential; see status.sources";
                return self.note(wish, TargetState::troubled(Reason::NoCredentials, advice));
            }
            let because = if synced { Because::Drifted } else { Because::Selected(wish.rule.clone()) };
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
                (true, _) => Because::Inherited,
                (false, true) => Because::Drifted,
                (false, false) => Because::Changed,
            };
            self.step(Action::Update(owned.clone(), sealed.clone()), wish, because);
        }
        if holding.legacy_copy && !holding.immutable {
            self.step(Action::Scrub(owned), wish, Because::LegacyCopy);
        }
        let done = matches && !holding.legacy_copy;
        self.note(wish, if done { TargetState::Synced(sealed.fingerprint) } else { TargetState::Pending });
    }

    /// Nobody wants the Secret of ours that stands here.
    fn revoke(&mut self, owned: Owned, holding: &Holding) {
        let owner = self.world.room(owned.grant());
        let verdict = owner.and_then(|room| {
            let opinion = self.opinions.iter().find(|opinion| opinion.grant == room.identity().uid);
            opinion.and_then(|opinion| opinion.verdict.clone())
        });
        let because = match (owner.and_then(Room::grant), verdict) {
            (None, _) => Because::GrantDeleted,
            (Some(grant), _) if grant.template.name != *owned.name() => {
                Because::Renamed(grant.template.name.clone())
            }
            (Some(_), Some(Verdict::Excluded { excluded, .. })) => Because::Excluded(excluded),
            (Some(_), _) => Because::Deselected,
        };
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
        if !holding.deleting {
            self.steps.push(Step { action: Action::Delete(owned), grant, because, depends: renamed });
        }
    }

    /// Whether a grant wants something here that cannot be written yet, so that a former Secret has to serve on.
    fn waits(&self, grant: &Uid) -> bool {
        let pending =
            |opinion: &Opinion| opinion.grant == *grant && opinion.state == Some(TargetState::Pending);
        self.opinions.iter().any(pending) && !self.steps.iter().any(|step| step.grant == *grant)
    }

    fn step(&mut self, action: Action, wish: &Wish<'a>, because: Because) {
        let depends = matches!(action, Action::Scrub(_));
        self.steps.push(Step { action, grant: wish.room.identity().uid.clone(), because, depends });
    }

    fn note(&mut self, wish: &Wish<'a>, state: TargetState) {
        let verdict = Some(Verdict::Selected(wish.rule.clone()));
        self.opinions.push(Opinion { grant: wish.room.identity().uid.clone(), verdict, state: Some(state) });
    }
}

fn conflict(advice: String) -> TargetState {
    TargetState::troubled(Reason::TargetConflict, advice)
}

fn foreign_advice(namespace: &NamespaceName, name: &SecretName, holding: &Holding) -> String {
    let what = match &holding.owner {
        holding::Owner::Other { secret_type } if secret_type != holding::TARGET_TYPE => {
            let shown: String = secret_type.chars().filter(|c| !c.is_control()).take(64).collect();
            format!("a Secret of type {shown}")
        }
        _ => "a Secret".to_owned(),
    };
    format!(
        "{what} that imps did not make stands at {namespace}/{name} and is left alone; rename or delete it, or use \
         another spec.target.secret.name"
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
