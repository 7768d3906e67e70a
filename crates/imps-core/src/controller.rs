//! The controller: events in, effects out. It owns the world and the queue and has neither hands nor a clock.
//!
//! The loop around it feeds one event at a time and carries the effects out; what came of an effect returns as an
//! event. The same machine runs in the operator, in tests and behind `imps plan`.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use sha2::{Digest, Sha256};

use crate::account::{Change, Edit, Verb};
use crate::grant::Identity;
use crate::holding::{Holding, Owner, Version};
use crate::leadership::Title;
use crate::name::{AccountName, NamespaceName, SecretRef, Uid};
use crate::plan::{Action, Because, Plan, Step, plan};
use crate::queue::{Done, Priority, Queue};
use crate::reason::{Fault, FaultClass, Reason, Remedy};
use crate::standing::{Notice, Standing};
use crate::world::{Ask, Fact, Payload, Record, Room, Stream, TargetState, Terms, Wake, World};

/// The shortest time between two reports of one grant.
const REPORT_PAUSE: Duration = Duration::from_secs(1);
/// How long a report waits for work in progress to end, so that a fan-out is reported once and not a thousand times.
const REPORT_PATIENCE: Duration = Duration::from_secs(5);
/// The pause after a report or a recall that failed.
const RETRY_PAUSE: Duration = Duration::from_secs(5);
/// How many plans one event may cause, so that news is not kept waiting behind a large queue.
const PLANS_PER_EVENT_MAX: usize = 256;
/// How often a Secret is repaired at once; after that once per [`REPAIR_PAUSE`], and the target reads as contended.
const REPAIRS_AT_ONCE_MAX: u32 = 10;
/// See [`REPAIRS_AT_ONCE_MAX`].
const REPAIR_PAUSE: Duration = Duration::from_secs(30);
/// How long an answer about a finalizer is waited for before it is asked for again.
const HOLD_PAUSE: Duration = Duration::from_secs(30);
/// The pause after an object was changed before its finalizer could be, as by a status that was written just then.
const OUTRUN_PAUSE: Duration = Duration::from_millis(100);
/// How long a grant that is being deleted may make no headway before imps lets go of it all the same. What it leaves
/// behind works or dangles; an object that cannot be deleted stops whoever deletes it.
const PARTING_PATIENCE: Duration = Duration::from_secs(30);

/// What can wake the controller.
#[derive(Debug)]
pub enum Event {
    /// Something was seen.
    Fact(Fact),
    /// A plan was carried out.
    Outcome(Outcome),
    /// A report was written, or was not.
    Reported(Uid, bool),
    /// Our finalizer was put on a grant or taken off, or could not be.
    Held(Uid, Result<(), Fault>),
    /// Act from now on.
    Lead(Title),
    /// Somebody else acts from now on, or nobody does: go on learning, and ask for no more than that.
    Follow,
    /// Time passed.
    Tick,
}

/// What the hands have to do.
#[derive(Debug)]
pub enum Effect {
    /// Listen to a stream.
    Watch(Stream),
    /// Stop listening.
    Unwatch(Stream),
    /// Carry out a plan.
    Apply(Plan),
    /// Read one of our own targets for this grant.
    Recall(Uid, SecretRef),
    /// Exchange an identity for a token.
    Exchange(Ask),
    /// Write how a grant stands, and say what happened.
    Report(Box<Standing>, Vec<Notice>),
    /// Put our finalizer on a grant, or take it off.
    Hold(Hold),
}

/// Whether the object of a grant has to wait for imps before it goes.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Hold {
    /// The grant.
    pub identity: Identity,
    /// Put the finalizer on; otherwise take it off.
    pub on: bool,
    /// How many Secrets are left behind with whatever names them, as they could not be taken away in time. The garbage
    /// collector will take them.
    pub left: usize,
}

/// What came of a plan, or has come so far: it also says which of the further steps may be taken.
#[derive(Debug)]
pub struct Outcome {
    /// The namespace.
    pub namespace: NamespaceName,
    /// Each step with its result.
    pub results: Vec<(Step, Result<Written, Fault>)>,
    /// Each edit of a ServiceAccount with the version that it made.
    pub edits: Vec<(Edit, Result<Version, Fault>)>,
}

impl Outcome {
    /// Nothing has come of it so far.
    pub fn new(namespace: NamespaceName) -> Self {
        Self { namespace, results: Vec::new(), edits: Vec::new() }
    }

    /// Whether a step may be taken after all that was. A Secret does not go while a ServiceAccount that changed
    /// meanwhile may still name it; one that may not be edited holds nothing up.
    pub fn allows(&self, step: &Step) -> bool {
        if step.depends && self.has_failed(&step.grant) {
            return false;
        }
        let Action::Delete(owned) = &step.action else { return true };
        let names = |edit: &Edit| {
            edit.changes.iter().any(|change| change.verb == Verb::Detach && change.secret == *owned.name())
        };
        let raced = |fault: &Fault| fault.remedy() == Remedy::Replan;
        !self.edits.iter().any(|(edit, result)| result.as_ref().is_err_and(raced) && names(edit))
    }

    /// What of an edit may be carried out: not what stands on a Secret that could not be written.
    pub fn trim(&self, edit: Edit) -> Option<Edit> {
        let failed = |grant: &Uid| {
            self.results.iter().any(|(before, result)| before.grant == *grant && result.is_err())
        };
        edit.trim(|change| !failed(&change.grant))
    }

    fn has_failed(&self, grant: &Uid) -> bool {
        let concerns = |edit: &Edit| edit.changes.iter().any(|change| change.grant == *grant);
        self.results.iter().any(|(before, result)| before.grant == *grant && result.is_err())
            || self.edits.iter().any(|(edit, result)| result.is_err() && concerns(edit))
    }
}

/// What the API server answered to a write.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Written {
    /// The Secret stands as asked for, as this object in this version.
    Stands(Uid, Version),
    /// It is gone.
    Gone,
}

#[derive(Default, Debug)]
struct Report {
    dirty_since: Option<Instant>,
    not_before: Option<Instant>,
    in_flight: bool,
    last: Option<Box<Standing>>,
}

#[derive(Debug)]
struct Patience {
    left: u32,
    since: Instant,
}

/// How far a grant that is being deleted is with letting go.
#[derive(Debug)]
struct Parting {
    /// How many Secrets it still had when it was looked at last; none while that was not known.
    left: Option<usize>,
    /// Since when that number has not changed.
    since: Instant,
}

/// See the module.
#[derive(Debug)]
pub struct Controller {
    world: World,
    queue: Queue,
    watched: BTreeSet<Stream>,
    reports: BTreeMap<Uid, Report>,
    dirty: BTreeSet<Uid>,
    recalls: BTreeMap<Uid, Instant>,
    patience: BTreeMap<SecretRef, Patience>,
    /// When a request about a finalizer may be made again.
    holds: BTreeMap<Uid, Instant>,
    partings: BTreeMap<Uid, Parting>,
    resync: Option<(Duration, Instant)>,
    counters: Counters,
    leads: bool,
}

/// What has happened since the start, for metrics.
#[derive(Clone, Copy, Default, Debug)]
pub struct Counters {
    /// Plans made.
    pub plans: u64,
    /// Secrets created.
    pub created: u64,
    /// Secrets updated.
    pub updated: u64,
    /// Secrets deleted.
    pub deleted: u64,
    /// Writes that somebody else was faster than.
    pub outrun: u64,
    /// Writes that failed.
    pub failed: u64,
    /// Repairs of what somebody else changed.
    pub repaired: u64,
    /// Names of Secrets put into ServiceAccounts.
    pub attached: u64,
    /// Names of Secrets taken out of ServiceAccounts.
    pub detached: u64,
    /// Jumps of the wall clock, or sleeps of the machine.
    pub clock_jumps: u64,
}

impl Controller {
    /// Starts with no knowledge. All namespaces are planned for again every `resync`, from what is known; that
    /// writes nothing when nothing is amiss.
    pub fn new(terms: Terms, resync: Option<Duration>, now: Instant) -> (Self, Vec<Effect>) {
        let mut controller = Self {
            world: World::new(terms, now),
            queue: Queue::default(),
            watched: BTreeSet::new(),
            reports: BTreeMap::new(),
            dirty: BTreeSet::new(),
            recalls: BTreeMap::new(),
            patience: BTreeMap::new(),
            holds: BTreeMap::new(),
            partings: BTreeMap::new(),
            resync: resync.map(|every| (every, now + every)),
            counters: Counters::default(),
            leads: true,
        };
        let mut effects = Vec::new();
        controller.follow_streams(&mut effects);
        (controller, effects)
    }

    /// The same, but it only learns until it is told to lead.
    pub fn standby(terms: Terms, resync: Option<Duration>, now: Instant) -> (Self, Vec<Effect>) {
        let (mut controller, effects) = Self::new(terms, resync, now);
        controller.follow();
        (controller, effects)
    }

    /// Whether it acts, and does not only learn.
    pub fn leads(&self) -> bool {
        self.leads
    }

    /// What is known.
    pub fn world(&self) -> &World {
        &self.world
    }

    /// What waits.
    pub fn queue(&self) -> &Queue {
        &self.queue
    }

    /// What has happened.
    pub fn counters(&self) -> Counters {
        self.counters
    }

    /// When [`Event::Tick`] is due; `now` or earlier means at once.
    pub fn due(&self, now: Instant) -> Option<Instant> {
        if !self.leads {
            return self.world.due();
        }
        let report = |uid: &Uid| self.report_due(uid, now);
        let recalls = self.recalls.values().copied();
        [self.queue.due(now), self.world.due(), self.resync.map(|(_, at)| at)]
            .into_iter()
            .flatten()
            .chain(self.dirty.iter().filter_map(report))
            .chain(recalls)
            .chain(self.holds_due())
            .min()
    }

    /// Takes an event in and says what to do.
    pub fn on(&mut self, event: Event, now: Instant) -> Vec<Effect> {
        let mut effects = Vec::new();
        match event {
            Event::Fact(fact) => {
                if let Fact::Recalled(uid, Err(fault)) = &fact
                    && fault.class != FaultClass::Gone
                {
                    self.recalls.insert(uid.clone(), now + RETRY_PAUSE);
                } else if let Fact::Recalled(uid, _) = &fact {
                    self.recalls.remove(uid);
                }
                self.counters.clock_jumps += u64::from(matches!(fact, Fact::ClockSet(_)));
                let wake = self.world.learn(fact, now);
                self.wake(wake, now, &mut effects);
            }
            Event::Outcome(outcome) => self.settle(outcome, now, &mut effects),
            Event::Reported(uid, well) => self.reported_back(&uid, well, now),
            Event::Held(uid, answer) => self.held(&uid, answer, now, &mut effects),
            Event::Lead(title) => self.lead(title, now, &mut effects),
            Event::Follow => self.follow(),
            Event::Tick => {}
        }
        self.pass_time(now, &mut effects);
        if !self.leads {
            return effects;
        }
        self.world.meet_demands(now).into_iter().for_each(|uid| self.touch(uid, now));
        effects.extend(self.world.begin_exchanges(now).into_iter().map(Effect::Exchange));
        self.work(now, &mut effects);
        self.forget_former_accounts(now, &mut effects);
        self.hold_on(now, &mut effects);
        self.report(now, &mut effects);
        effects
    }

    /// Everything is planned for anew, from what is known.
    fn lead(&mut self, title: Title, now: Instant, effects: &mut Vec<Effect>) {
        if self.leads {
            return;
        }
        self.leads = true;
        self.queue.resume(now);
        // What was to be told while nobody here told it is no older than this.
        self.reports.values_mut().for_each(|report| report.dirty_since = None);
        match title {
            Title::Resumption => self.world.resume(),
            Title::Succession => {
                self.patience.clear();
                self.reports.values_mut().for_each(|report| report.last = None);
                let wake = self.world.succeed(now);
                self.wake(wake, now, effects);
            }
        }
        self.queue_all(now);
        let uids: Vec<Uid> = self.world.rooms().map(|room| room.identity().uid.clone()).collect();
        for uid in uids {
            self.recall(&uid, now, effects);
            self.touch(uid, now);
        }
    }

    /// What is under way comes to its end, and what was asked for and not begun is asked for again when it is its turn.
    fn follow(&mut self) {
        self.leads = false;
        self.world.stand_by();
        self.recalls.clear();
        self.holds.clear();
        self.partings.clear();
    }

    fn queue_all(&mut self, now: Instant) {
        let names: Vec<NamespaceName> = self.world.namespaces().map(|(name, _)| name.clone()).collect();
        names.into_iter().for_each(|name| self.queue.push(name, Priority::Bulk, now));
    }

    fn wake(&mut self, wake: Wake, now: Instant, effects: &mut Vec<Effect>) {
        for namespace in &wake.gone {
            self.queue.forget(namespace);
        }
        for namespace in wake.live {
            self.queue.push(namespace, Priority::Live, now);
        }
        for namespace in wake.bulk {
            self.queue.push(namespace, Priority::Bulk, now);
        }
        for uid in wake.grants {
            self.recall(&uid, now, effects);
            self.touch(uid, now);
        }
        // While the grants are being listed for the first time, each would only add its own streams to the last one's.
        if wake.streams && self.world.is_listed(&Stream::Grants) {
            self.forget_former_names(now);
            self.follow_streams(effects);
        }
    }

    fn pass_time(&mut self, now: Instant, effects: &mut Vec<Effect>) {
        let wake = self.world.tick(now);
        self.wake(wake, now, effects);
        let due: Vec<Uid> =
            self.recalls.iter().filter(|(_, at)| **at <= now).map(|(uid, _)| uid.clone()).collect();
        for uid in due {
            self.recalls.remove(&uid);
            self.recall(&uid, now, effects);
        }
        if let Some((every, at)) = self.resync
            && at <= now
        {
            self.resync = Some((every, now + every));
            self.queue_all(now);
            self.patience.retain(|_, patience| patience.since + REPAIR_PAUSE * REPAIRS_AT_ONCE_MAX > now);
        }
    }

    fn follow_streams(&mut self, effects: &mut Vec<Effect>) {
        let wanted = self.world.wanted_streams();
        for stream in self.watched.difference(&wanted) {
            self.world.unwatch(stream);
            effects.push(Effect::Unwatch(stream.clone()));
        }
        for stream in wanted.difference(&self.watched) {
            self.world.watch(stream.clone());
            effects.push(Effect::Watch(stream.clone()));
        }
        self.watched = wanted;
    }

    /// Former names are kept until no Secret of ours stands under them any more.
    fn forget_former_names(&mut self, now: Instant) {
        for uid in self.world.forget_former_names() {
            self.touch(uid, now);
        }
    }

    fn recall(&mut self, uid: &Uid, now: Instant, effects: &mut Vec<Effect>) {
        if !self.leads {
            return;
        }
        let Some(at) = self.world.room(uid).and_then(|room| room.wants_recall()) else { return };
        if !self.recalls.contains_key(uid) {
            // An answer that never comes is asked for again.
            self.recalls.insert(uid.clone(), now + RETRY_PAUSE * 6);
            effects.push(Effect::Recall(uid.clone(), at.clone()));
        }
    }

    // === plans ===

    fn work(&mut self, now: Instant, effects: &mut Vec<Effect>) {
        for _ in 0..PLANS_PER_EVENT_MAX {
            let Some(namespace) = self.queue.pop(now) else { return };
            let mut plan = plan(&self.world, &namespace);
            self.counters.plans += 1;
            let contended = self.hold_back(&mut plan, now);
            self.note(&plan, now);
            if plan.is_empty() {
                let done = if contended { Done::Later(REPAIR_PAUSE) } else { Done::Settled };
                self.queue.done(&namespace, done, spread(&namespace), now);
            } else {
                effects.push(Effect::Apply(plan));
            }
        }
    }

    /// Takes out repairs of a Secret that somebody else changes again and again. Returns whether there were any.
    fn hold_back(&mut self, plan: &mut Plan, now: Instant) -> bool {
        let Plan { namespace, give, opinions, .. } = plan;
        let mut contended = false;
        give.retain(|step| {
            if step.because != Because::Drifted {
                return true;
            }
            let at = SecretRef { namespace: namespace.clone(), name: step.action.secret().clone() };
            if self.patience.entry(at).or_insert(Patience { left: REPAIRS_AT_ONCE_MAX, since: now }).spend(now) {
                self.counters.repaired += 1;
                return true;
            }
            contended = true;
            let advice = "somebody else keeps changing the Secret; find who by its managedFields, imps repairs it \
                          again once in a while";
            for opinion in opinions.iter_mut().filter(|o| o.grant == step.grant && o.state.is_some()) {
                opinion.state = Some(TargetState::troubled(Reason::TargetContended, advice));
            }
            false
        });
        contended
    }

    /// Writes down how the grants stand. Trouble stays written down until an outcome ends it.
    fn note(&mut self, plan: &Plan, now: Instant) {
        for opinion in &plan.opinions {
            let Some(room) = self.world.room(&opinion.grant) else { continue };
            let before = room.targets().get(&plan.namespace);
            let keep = matches!(
                (before, &opinion.state),
                (Some(TargetState::Troubled { .. }), Some(TargetState::Pending))
                    | (Some(TargetState::LeavingTroubled { .. }), Some(TargetState::Leaving))
            );
            if !keep && before != opinion.state.as_ref() {
                self.world.set_target(&opinion.grant, &plan.namespace, opinion.state.clone());
                self.touch(opinion.grant.clone(), now);
            }
        }
    }

    fn settle(&mut self, outcome: Outcome, now: Instant, effects: &mut Vec<Effect>) {
        let Outcome { namespace, results, edits } = outcome;
        let mut done = Done::Settled;
        let edited = !edits.is_empty();
        let mut last_one_gone = false;
        for (step, result) in results {
            self.count(&step, &result);
            let state = match &result {
                Ok(written) => self.believe(&namespace, &step, written),
                Err(fault) => {
                    done = worse(done, fault.remedy());
                    troubled(&step, fault)
                }
            };
            if let Some(state) = state {
                self.world.set_target(&step.grant, &namespace, state);
            }
            last_one_gone |=
                matches!(step.action, Action::Delete(_)) && !self.world.has_ours(step.action.secret());
            self.touch(step.grant, now);
        }
        for (edit, result) in edits {
            match result {
                Ok(version) => {
                    self.world.edited(&namespace, &edit, version, now);
                    self.counters.attached += edit.added().count() as u64;
                    self.counters.detached += edit.removed().len() as u64;
                    edit.changes.into_iter().for_each(|change| self.touch(change.grant, now));
                }
                Err(fault) => {
                    self.count_failure(&fault);
                    done = worse(done, fault.remedy());
                    for change in &edit.changes {
                        let before = self.world.room(&change.grant).and_then(|r| r.targets().get(&namespace));
                        if let Some(state) = unedited(&edit.account, change, &fault, before) {
                            self.world.set_target(&change.grant, &namespace, Some(state));
                        }
                        self.touch(change.grant.clone(), now);
                    }
                }
            }
        }
        if last_one_gone {
            self.forget_former_names(now);
            self.follow_streams(effects);
        }
        self.queue.done(&namespace, done, spread(&namespace), now);
        if edited && done == Done::Settled {
            // Whether all is as it should be now is for the planner to say.
            self.queue.push(namespace, Priority::Live, now);
        }
    }

    /// Learns from our own write, ahead of the watch. Returns the new state to write down, if there is one.
    fn believe(
        &mut self,
        namespace: &NamespaceName,
        step: &Step,
        written: &Written,
    ) -> Option<Option<TargetState>> {
        let at = SecretRef { namespace: namespace.clone(), name: step.action.secret().clone() };
        let known = self.world.holding(&at).cloned();
        match (&step.action, written) {
            (Action::Create(sealed) | Action::Update(_, sealed), Written::Stands(uid, version)) => {
                let newer = known.as_ref().is_some_and(|known| known.uid == *uid && known.version > *version);
                if !newer {
                    let legacy_copy = known.is_some_and(|known| known.uid == *uid && known.legacy_copy);
                    let holding = Holding {
                        uid: uid.clone(),
                        version: *version,
                        owner: Owner::Grant(sealed.grant.identity.uid.clone()),
                        fingerprint: sealed.fingerprint,
                        pristine: true,
                        legacy_copy,
                        immutable: false,
                        deleting: false,
                    };
                    self.world.hold(at, Some(holding));
                }
                let room = self.world.room(&step.grant)?;
                let current =
                    matches!(room.payload(), Payload::Ready(now) if now.fingerprint == sealed.fingerprint);
                current.then_some(Some(TargetState::Synced(sealed.fingerprint)))
            }
            (Action::Scrub(_), Written::Stands(uid, version)) => {
                if let Some(known) = known.filter(|known| known.uid == *uid && known.version <= *version) {
                    let holding = Holding { version: *version, legacy_copy: false, ..known };
                    self.world.hold(at, Some(holding));
                }
                None
            }
            (Action::Delete(owned), _) => {
                if known.is_some_and(|known| known.uid == *owned.uid()) {
                    self.world.hold(at, None);
                }
                let leaving = self.world.room(&step.grant)?.targets().get(namespace);
                let left =
                    matches!(leaving, Some(TargetState::Leaving | TargetState::LeavingTroubled { .. }));
                left.then_some(None)
            }
            (_, Written::Gone) => None,
        }
    }

    fn count(&mut self, step: &Step, result: &Result<Written, Fault>) {
        let counter = match (result, &step.action) {
            (Err(fault), _) => return self.count_failure(fault),
            (Ok(_), Action::Create(_)) => &mut self.counters.created,
            (Ok(_), Action::Update(..) | Action::Scrub(_)) => &mut self.counters.updated,
            (Ok(_), Action::Delete(_)) => &mut self.counters.deleted,
        };
        *counter += 1;
    }

    fn count_failure(&mut self, fault: &Fault) {
        let outrun = fault.remedy() == Remedy::Replan;
        *(if outrun { &mut self.counters.outrun } else { &mut self.counters.failed }) += 1;
    }

    // === finalizers ===

    /// Former names of ServiceAccounts are kept until the Secret is detached from all of them.
    fn forget_former_accounts(&mut self, now: Instant, effects: &mut Vec<Effect>) {
        if self.queue.is_idle() {
            let forgotten = self.world.forget_former_accounts();
            if !forgotten.is_empty() {
                forgotten.into_iter().for_each(|uid| self.touch(uid, now));
                self.follow_streams(effects);
            }
        }
    }

    /// Sees to it that a grant that is attached somewhere does not go before imps has let go of it, and that it goes
    /// then.
    fn hold_on(&mut self, now: Instant, effects: &mut Vec<Effect>) {
        let Self { world, queue, holds, partings, .. } = self;
        partings.retain(|uid, _| world.room(uid).is_some_and(Room::is_held));
        for room in world.unsettled() {
            let uid = &room.identity().uid;
            let hold = match room.wants_hold() {
                Some(wanted) => Some((wanted, 0)),
                None => {
                    let parting = partings.entry(uid.clone()).or_insert(Parting { left: None, since: now });
                    // What was under way when it was deleted may still make a Secret.
                    let settled = room.tally().pending == 0;
                    let waits = || room.namespaces().any(|namespace| queue.holds(namespace));
                    parting.is_over(now, world.leftovers(room), settled, waits).map(|left| (false, left))
                }
            };
            let Some((on, left)) = hold.filter(|_| holds.get(uid).is_none_or(|at| *at <= now)) else {
                continue;
            };
            holds.insert(uid.clone(), now + HOLD_PAUSE);
            effects.push(Effect::Hold(Hold { identity: room.identity().clone(), on, left }));
        }
        holds.retain(|uid, at| *at > now && world.room(uid).is_some());
    }

    fn held(&mut self, uid: &Uid, answer: Result<(), Fault>, now: Instant, effects: &mut Vec<Effect>) {
        let outrun = answer.as_ref().is_err_and(|fault| fault.remedy() == Remedy::Replan);
        // What came of it otherwise shows when the watch brings the object.
        self.holds.insert(uid.clone(), now + if outrun { OUTRUN_PAUSE } else { RETRY_PAUSE });
        let fault = answer.err().filter(|_| !outrun);
        let mut wake = Wake::default();
        self.world.note_hold(uid, fault, &mut wake);
        self.wake(wake, now, effects);
    }

    /// When a finalizer has to be seen to again.
    fn holds_due(&self) -> impl Iterator<Item = Instant> {
        let again = self.world.unsettled().filter_map(|room| self.holds.get(&room.identity().uid)).copied();
        // When a request was made, it is waited for instead.
        let parting = self.partings.iter().filter(|(uid, _)| !self.holds.contains_key(*uid));
        again.chain(parting.map(|(_, parting)| parting.since + PARTING_PATIENCE))
    }

    // === reports ===

    fn touch(&mut self, uid: Uid, now: Instant) {
        self.reports.entry(uid.clone()).or_default().dirty_since.get_or_insert(now);
        self.dirty.insert(uid);
    }

    /// When a dirty grant is to be reported.
    fn report_due(&self, uid: &Uid, now: Instant) -> Option<Instant> {
        let report = self.reports.get(uid)?;
        // While the API server is away there is nobody to tell; its return wakes every grant.
        if self
            .world
            .stream_fault(&Stream::Grants)
            .is_some_and(|fault| fault.class == FaultClass::Unavailable)
        {
            return None;
        }
        let since = report.dirty_since.filter(|_| !report.in_flight)?;
        let room = self.world.room(uid)?;
        let tally = room.tally();
        let busy = tally.pending + tally.leaving > 0 || self.world.is_waiting(room);
        let patient = if busy { since + REPORT_PATIENCE } else { now };
        Some(report.not_before.map_or(patient, |at| at.max(patient)))
    }

    fn report(&mut self, now: Instant, effects: &mut Vec<Effect>) {
        let due: Vec<Uid> = self
            .dirty
            .iter()
            .filter(|uid| self.report_due(uid, now).is_some_and(|at| at <= now))
            .cloned()
            .collect();
        for uid in due {
            self.dirty.remove(&uid);
            let (Some(room), Some(report)) = (self.world.room(&uid), self.reports.get_mut(&uid)) else {
                continue;
            };
            report.dirty_since = None;
            let standing = Box::new(Standing::of(&self.world, room));
            if report.last.as_ref() == Some(&standing) {
                continue;
            }
            let notices = match &report.last {
                Some(before) => standing.notices(Some(before)),
                // What an earlier process has said is not said again.
                None if room.record().says(&standing) => Vec::new(),
                None => standing.notices(None),
            };
            report.in_flight = true;
            report.last = Some(standing.clone());
            effects.push(Effect::Report(standing, notices));
        }
        let Self { world, reports, dirty, .. } = self;
        dirty.retain(|uid| world.room(uid).is_some());
        if reports.len() > 2 * world.rooms().len() + 16 {
            reports.retain(|uid, _| world.room(uid).is_some());
        }
    }

    fn reported_back(&mut self, uid: &Uid, well: bool, now: Instant) {
        let Some(report) = self.reports.get_mut(uid) else { return };
        report.in_flight = false;
        report.not_before = Some(now + if well { REPORT_PAUSE } else { RETRY_PAUSE });
        if !well {
            report.last = None;
            report.dirty_since.get_or_insert(now);
            self.dirty.insert(uid.clone());
        }
    }
}

impl Parting {
    /// Whether the grant may go, and how many Secrets it leaves behind.
    fn is_over(
        &mut self,
        now: Instant,
        left: Option<usize>,
        settled: bool,
        waits: impl Fn() -> bool,
    ) -> Option<usize> {
        if left != self.left {
            (self.left, self.since) = (left, now);
        }
        let mut tired = now >= self.since + PARTING_PATIENCE;
        if tired && waits() {
            // Nothing was tried yet: other work came first.
            (self.since, tired) = (now, false);
        }
        (left == Some(0) && settled || tired).then(|| left.unwrap_or_default())
    }
}

impl Patience {
    /// Takes one repair, if there is one left.
    fn spend(&mut self, now: Instant) -> bool {
        let refills = now.saturating_duration_since(self.since).as_secs() / REPAIR_PAUSE.as_secs();
        if refills > 0 {
            let refills = u32::try_from(refills).unwrap_or(REPAIRS_AT_ONCE_MAX);
            self.left = self.left.saturating_add(refills).min(REPAIRS_AT_ONCE_MAX);
            self.since = now;
        }
        let allowed = self.left > 0;
        self.left = self.left.saturating_sub(1);
        allowed
    }
}

impl Record {
    /// Whether the status that an earlier process wrote says the same.
    fn says(&self, standing: &Standing) -> bool {
        let ready = &standing.ready;
        self.ready
            .as_ref()
            .is_some_and(|(reason, message)| reason == ready.reason.as_str() && *message == ready.message)
    }
}

fn worse(done: Done, remedy: Remedy) -> Done {
    match (done, remedy) {
        (Done::Failed(before), Remedy::Retry(after)) => Done::Failed(before.max(after)),
        (Done::Failed(_), _) | (_, Remedy::Wait) => done,
        (_, Remedy::Retry(after)) => Done::Failed(after),
        (_, Remedy::Replan) => Done::Replan,
    }
}

/// How a target stands after a step failed.
fn troubled(step: &Step, fault: &Fault) -> Option<Option<TargetState>> {
    let advice = fault.advice();
    match (&step.action, fault.remedy()) {
        (_, Remedy::Wait) => Some(None),
        (_, Remedy::Replan) => None,
        (Action::Delete(_), Remedy::Retry(_)) => Some(Some(TargetState::LeavingTroubled { advice })),
        (_, Remedy::Retry(_)) => Some(Some(TargetState::troubled(fault.target_reason(), advice))),
    }
}

/// How a target stands after its name could not be put into a ServiceAccount, or taken out.
fn unedited(
    account: &AccountName,
    change: &Change,
    fault: &Fault,
    before: Option<&TargetState>,
) -> Option<TargetState> {
    if !matches!(fault.remedy(), Remedy::Retry(_)) {
        return None;
    }
    let done = match change.verb {
        Verb::Attach => "attached to",
        Verb::Detach => "detached from",
    };
    let advice = format!("{} is not {done} ServiceAccount {account}: {}", change.secret, fault.advice());
    match (change.verb, before) {
        // The Secret itself is gone; what dangles is nobody's trouble any more.
        (Verb::Detach, None) => None,
        (Verb::Detach, Some(TargetState::Leaving | TargetState::LeavingTroubled { .. })) => {
            Some(TargetState::LeavingTroubled { advice })
        }
        _ => Some(TargetState::troubled(fault.account_reason(), advice)),
    }
}

/// A number that differs between namespaces and is always the same for one.
fn spread(namespace: &NamespaceName) -> u32 {
    let digest = Sha256::digest(namespace.as_str());
    u32::from_be_bytes([digest[0], digest[1], digest[2], digest[3]])
}
