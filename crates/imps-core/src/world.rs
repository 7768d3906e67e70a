//! The world as imps knows it: facts come in, and each one says for which namespaces a plan may now differ.
//!
//! Nothing here asks or writes anything. Absence is believed only of a stream that has been listed whole, so a list
//! that is still being read never takes anything away.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use crate::account::{Account, Edit, Ledger};
use crate::census::{Pod, PodCensus, PodUid};
use crate::exchange::{ExchangeFault, ExchangeKey, Flaw, Issued, KeylessAllowed};
use crate::grant::{Grant, Identity, Verdict};
use crate::holding::{Holding, Owner, Sighting, Version};
use crate::name::{AccountName, AccountRef, NamespaceName, SecretName, SecretRef, Uid};
use crate::reason::Fault;
use crate::refresh::{LIFETIME_MAX, Lease};
use crate::selector::{NamePattern, Tags};
use crate::source::{Document, Offer, Source, Trouble};

pub mod calendar;
pub mod exchanges;
pub mod reach;
pub mod recall;
pub mod room;

use calendar::Calendar;
pub use exchanges::{Ask, Exchanges};
use reach::Reach;
pub use recall::{Lived, Record};
pub use room::{Payload, Room, Sealed, Tally, TargetState};

/// One stream of news that imps can listen to.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Stream {
    /// All `ImagePullSecret` objects.
    Grants,
    /// All namespaces, metadata only.
    Namespaces,
    /// All pods, metadata only. New questions about pods start another round, in which all are counted again.
    Pods {
        /// Grows with each change of the questions.
        round: u32,
    },
    /// One source Secret.
    Source(SecretRef),
    /// All Secrets of one name.
    Targets(SecretName, Extent),
    /// The ServiceAccounts of one name, or of any.
    Accounts(Option<AccountName>, Extent),
}

/// Where the objects of a stream are.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Extent {
    /// In any namespace.
    Everywhere,
    /// In this one.
    In(NamespaceName),
}

impl Extent {
    /// Whether a namespace belongs to it.
    pub fn covers(&self, namespace: &NamespaceName) -> bool {
        match self {
            Extent::Everywhere => true,
            Extent::In(only) => only == namespace,
        }
    }
}

impl std::fmt::Display for Extent {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Extent::Everywhere => f.write_str("all namespaces"),
            Extent::In(namespace) => write!(f, "namespace {namespace}"),
        }
    }
}

impl std::fmt::Display for Stream {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Stream::Grants => f.write_str("imagepullsecrets"),
            Stream::Namespaces => f.write_str("namespaces"),
            Stream::Pods { .. } => f.write_str("pods"),
            Stream::Source(at) => write!(f, "secret {at}"),
            Stream::Targets(name, extent) => write!(f, "secrets named {name} in {extent}"),
            Stream::Accounts(Some(name), extent) => write!(f, "serviceaccounts named {name} in {extent}"),
            Stream::Accounts(None, extent) => write!(f, "serviceaccounts in {extent}"),
        }
    }
}

/// Something that was seen in the cluster.
#[derive(Debug)]
pub enum Fact {
    /// An `ImagePullSecret` is there.
    Grant(Box<GrantFact>),
    /// It is gone.
    GrantGone(Uid),
    /// A namespace is there.
    Namespace(NamespaceName, Namespace),
    /// It is gone.
    NamespaceGone(NamespaceName),
    /// A pod is there.
    Pod(Pod),
    /// It is gone.
    PodGone(PodUid),
    /// A source Secret is there.
    Source(SecretRef, Document),
    /// It is gone, or never was there.
    SourceGone(SecretRef),
    /// A Secret of a target's name is there.
    Secret(SecretRef, Box<Sighting>),
    /// It is gone; the UID and version are those of its end.
    SecretGone(SecretRef, Uid, Version),
    /// A ServiceAccount is there.
    Account(AccountRef, Account),
    /// It is gone.
    AccountGone(AccountRef, Uid),
    /// A whole list of the stream begins.
    Relist(Stream),
    /// The list is complete.
    Listed(Stream),
    /// The stream does not come.
    Broken(Stream, Fault),
    /// What one of our own targets holds, asked for to fill the gaps of a failing source after a restart.
    Recalled(Uid, Result<Document, Fault>),
    /// What came of an exchange.
    Exchanged(ExchangeKey, Result<Issued, ExchangeFault>),
    /// The wall clock now says this, in seconds since 1970, and that is not what was to be expected: it was set, or the
    /// machine slept.
    ClockSet(f64),
}

impl Fact {
    /// The stream that a fact came by; pods carry none, as their round does not matter.
    fn stream(&self, world: &World) -> Option<Stream> {
        match self {
            Fact::Grant(_) | Fact::GrantGone(_) => Some(Stream::Grants),
            Fact::Namespace(..) | Fact::NamespaceGone(_) => Some(Stream::Namespaces),
            Fact::Source(at, _) | Fact::SourceGone(at) => Some(Stream::Source(at.clone())),
            Fact::Secret(at, _) | Fact::SecretGone(at, ..) => {
                Some(world.targets_stream(&at.name, &at.namespace))
            }
            Fact::Relist(stream) | Fact::Listed(stream) | Fact::Broken(stream, _) => Some(stream.clone()),
            // One of two, see `World::of_account`.
            Fact::Account(..) | Fact::AccountGone(..) => None,
            Fact::Pod(_)
            | Fact::PodGone(_)
            | Fact::Recalled(..)
            | Fact::Exchanged(..)
            | Fact::ClockSet(_) => None,
        }
    }
}

/// An `ImagePullSecret` as read.
#[derive(Debug)]
pub struct GrantFact {
    /// Which object.
    pub identity: Identity,
    /// What it asks for, or all that is wrong with it.
    pub grant: Result<Grant, Vec<Rejection>>,
    /// What was left out of account, to be told to the user.
    pub remarks: Vec<String>,
    /// What its status remembers of an earlier process.
    pub record: Record,
    /// How far the API server is with its deletion.
    pub tenure: Tenure,
    /// Its user's wish that all tokens be asked for anew: a text that means nothing but that it is another one than
    /// [`Record::met`].
    pub demand: Option<String>,
}

/// What keeps an `ImagePullSecret` from going, and whether it is to go.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Tenure {
    /// Whether our finalizer is among `metadata.finalizers`: the object does not go before its Secret is detached.
    pub held: bool,
    /// It has a deletion timestamp.
    pub deleting: bool,
}

/// One thing that is wrong with an `ImagePullSecret`.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Rejection {
    /// Where: `spec.target.namespaces.labels[0]`.
    pub path: String,
    /// What is wrong and what to do.
    pub problem: String,
}

impl std::fmt::Display for Rejection {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}: {}", self.path, self.problem)
    }
}

/// What matters of a namespace.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Namespace {
    /// Its labels.
    pub labels: Tags,
    /// Its annotations.
    pub annotations: Tags,
    /// It is being deleted: nothing is written there any more.
    pub terminating: bool,
}

/// What a fact may have changed.
#[derive(Default, Debug)]
pub struct Wake {
    /// Namespaces in which something changed.
    pub live: BTreeSet<NamespaceName>,
    /// Namespaces that something may have changed for.
    pub bulk: BTreeSet<NamespaceName>,
    /// Grants whose report may differ.
    pub grants: BTreeSet<Uid>,
    /// Namespaces that are gone.
    pub gone: BTreeSet<NamespaceName>,
    /// Other streams may be wanted.
    pub streams: bool,
}

#[derive(Default, Debug)]
struct StreamState {
    listed: bool,
    /// What the list that is being read has shown so far.
    relist: Option<BTreeSet<String>>,
    fault: Option<Fault>,
}

/// Whether a grant wants its Secret in a namespace.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Selection {
    /// It does or does not, and why.
    Known(Verdict),
    /// Too little is known yet to say no.
    Unknown,
}

/// What a source Secret that some provider reads has to offer; none when no provider reads it. It is an argument, as
/// the core knows no provider.
pub type ReadOffer = fn(&SecretRef, &Document) -> Option<Result<Offer, Flaw>>;

/// What a world is made with.
#[derive(Clone, Debug)]
pub struct Terms {
    /// A source Secret that vanishes keeps its credentials for so long.
    pub missing_source_grace: Duration,
    /// See [`ReadOffer`].
    pub read_offer: ReadOffer,
    /// Whose identity may be used for Secrets that bring none.
    pub keyless: KeylessAllowed,
    /// The only namespaces in which anything is looked at and written; none means all there are.
    pub served: Option<BTreeSet<NamespaceName>>,
    /// The wall clock at the start, in seconds since 1970. Lives are counted on the monotonic clock; this one is for
    /// what is shown and what an earlier process has written down.
    pub wall_clock: f64,
}

impl Default for Terms {
    /// No grace, no provider, no borrowed identity.
    fn default() -> Self {
        Self {
            missing_source_grace: Duration::ZERO,
            read_offer: |_, _| None,
            keyless: KeylessAllowed::default(),
            served: None,
            wall_clock: 0.0,
        }
    }
}

/// See the module.
#[derive(Debug)]
pub struct World {
    terms: Terms,
    calendar: Calendar,
    exchanges: Exchanges,
    pub(crate) rooms: BTreeMap<Uid, Room>,
    namespaces: BTreeMap<NamespaceName, Namespace>,
    sources: BTreeMap<SecretRef, Source>,
    /// Flat, as most namespaces have one: a map in each would cost ten times the entry.
    holdings: BTreeMap<SecretRef, Holding>,
    /// How many Secrets of ours stand at each name: a name is watched until the last one is gone.
    ours: BTreeMap<SecretName, usize>,
    /// How many Secrets each grant has.
    owned: BTreeMap<Uid, usize>,
    accounts: BTreeMap<AccountRef, Ledger>,
    /// The grants whose finalizer has to be seen to: few at any time.
    unsettled: BTreeSet<Uid>,
    /// The grants whose user demands what has not been done yet: few at any time.
    demanding: BTreeSet<Uid>,
    /// The grants with former patterns of ServiceAccounts, and one that may still name the Secret because of those.
    former: BTreeMap<Uid, Option<AccountRef>>,
    census: PodCensus,
    pods_round: u32,
    streams: BTreeMap<Stream, StreamState>,
    reach: Reach,
    /// Which grants have written something down about a namespace.
    present: BTreeSet<(NamespaceName, Uid)>,
    /// Somebody else acts on what is known. It asks for tokens, and so nobody waits for any here.
    standby: bool,
}

impl World {
    /// A world of which nothing is known.
    pub fn new(terms: Terms, now: Instant) -> Self {
        Self {
            calendar: Calendar::new(now, terms.wall_clock),
            exchanges: Exchanges::default(),
            terms,
            rooms: BTreeMap::new(),
            namespaces: BTreeMap::new(),
            sources: BTreeMap::new(),
            holdings: BTreeMap::new(),
            ours: BTreeMap::new(),
            owned: BTreeMap::new(),
            accounts: BTreeMap::new(),
            unsettled: BTreeSet::new(),
            demanding: BTreeSet::new(),
            former: BTreeMap::new(),
            census: PodCensus::default(),
            pods_round: 0,
            streams: BTreeMap::new(),
            reach: Reach::default(),
            present: BTreeSet::new(),
            standby: false,
        }
    }

    // === what is known ===

    /// The grant with this UID.
    pub fn room(&self, uid: &Uid) -> Option<&Room> {
        self.rooms.get(uid)
    }

    /// All grants.
    pub fn rooms(&self) -> impl ExactSizeIterator<Item = &Room> {
        self.rooms.values()
    }

    /// The grants whose finalizer has to be put on or taken off, or will have to be.
    pub(crate) fn unsettled(&self) -> impl Iterator<Item = &Room> {
        self.unsettled.iter().filter_map(|uid| self.rooms.get(uid))
    }

    /// All namespaces.
    pub fn namespaces(&self) -> impl ExactSizeIterator<Item = (&NamespaceName, &Namespace)> {
        self.namespaces.iter()
    }

    /// A namespace.
    pub fn namespace(&self, name: &NamespaceName) -> Option<&Namespace> {
        self.namespaces.get(name)
    }

    /// A source.
    pub fn source(&self, at: &SecretRef) -> Option<&Source> {
        self.sources.get(at)
    }

    /// The exchanges that sources ask for.
    pub fn exchanges(&self) -> &Exchanges {
        &self.exchanges
    }

    /// An instant on the wall clock.
    pub fn calendar(&self) -> &Calendar {
        &self.calendar
    }

    /// The Secrets at targets' names in a namespace.
    pub fn holdings(&self, namespace: &NamespaceName) -> impl Iterator<Item = (&SecretName, &Holding)> {
        let first = SecretRef { namespace: namespace.clone(), name: SecretName::new("") };
        let rest = self.holdings.range(first..);
        rest.take_while(move |(at, _)| at.namespace == *namespace).map(|(at, holding)| (&at.name, holding))
    }

    /// The ServiceAccounts of a namespace that are listened to.
    pub fn accounts(&self, namespace: &NamespaceName) -> impl Iterator<Item = (&AccountName, &Ledger)> {
        let first = AccountRef { namespace: namespace.clone(), name: AccountName::new("") };
        let rest = self.accounts.range(first..);
        rest.take_while(move |(at, _)| at.namespace == *namespace).map(|(at, ledger)| (&at.name, ledger))
    }

    /// In how many ServiceAccounts the Secret of a grant stands because of it, in the namespaces that plans have looked
    /// at: those of other grants may be many.
    pub fn attachments(&self, room: &Room) -> usize {
        let Some(grant) = room.grant().filter(|grant| !grant.accounts.is_empty()) else { return 0 };
        let name = &grant.template.name;
        let owning = room.namespaces().filter(|namespace| self.owns(room, namespace, name));
        owning
            .flat_map(|namespace| self.accounts(namespace))
            .filter(|(account, ledger)| ledger.has(name) && room.attaches_to(account).is_some())
            .count()
    }

    /// Whether a Secret of this grant stands at a name.
    fn owns(&self, room: &Room, namespace: &NamespaceName, name: &SecretName) -> bool {
        let at = SecretRef { namespace: namespace.clone(), name: name.clone() };
        self.holdings.get(&at).is_some_and(|holding| holding.is_of(&room.identity().uid))
    }

    /// Whether all ServiceAccounts that a grant may be attached to have been seen. Those that imps may not see hold
    /// nothing up.
    pub(crate) fn knows_accounts(&self, room: &Room) -> bool {
        room.account_patterns()
            .flat_map(|pattern| self.accounts_streams(pattern))
            .all(|stream| self.is_listed(&stream) || self.stream_fault(&stream).is_some())
    }

    /// How many pods the census remembers.
    pub fn pods(&self) -> usize {
        self.census.len()
    }

    /// The grants that may want something in a namespace or have something there: what a plan has to look at.
    pub fn candidates<'a>(&'a self, name: &'a NamespaceName) -> BTreeSet<&'a Uid> {
        let mut candidates = self.reach.candidates(name, self.namespaces.get(name));
        let owners = self.holdings(name).filter_map(|(_, holding)| match &holding.owner {
            Owner::Grant(uid) | Owner::Stripped(uid) => self.rooms.get_key_value(uid).map(|(uid, _)| uid),
            Owner::Other { .. } => None,
        });
        candidates.extend(owners);
        candidates.extend(self.present_in(name));
        candidates
    }

    /// Whether a grant wants its Secret in a namespace.
    pub fn selection(&self, grant: &Grant, name: &NamespaceName, namespace: &Namespace) -> Selection {
        let Namespace { labels, annotations, .. } = namespace;
        let verdict =
            grant.recipients.decide(name, labels, annotations, |term| self.census.answers(name, term));
        let pods_matter = !grant.recipients.pods.is_empty();
        match verdict {
            Verdict::Unselected if pods_matter && !self.is_listed(&self.pods_stream()) => Selection::Unknown,
            verdict => Selection::Known(verdict),
        }
    }

    /// Whether all is known that an action of this grant stands on, but for its sources.
    fn is_settled(&self, room: &Room) -> bool {
        let Some(grant) = room.grant() else { return false };
        let mut streams = vec![Stream::Grants, Stream::Namespaces];
        streams.extend(self.targets_streams(&grant.template.name));
        streams.extend(grant.accounts.iter().flat_map(|pattern| self.accounts_streams(pattern)));
        streams.iter().all(|stream| self.is_heard(stream))
    }

    /// Whether a grant cannot say yet how it stands: something that it needs has not been read.
    pub fn is_waiting(&self, room: &Room) -> bool {
        room.grant().is_some() && (matches!(room.payload(), Payload::Waiting) || !self.is_settled(room))
    }

    /// Whether the stream has been read whole at least once.
    pub fn is_listed(&self, stream: &Stream) -> bool {
        self.streams.get(stream).is_some_and(|state| state.listed)
    }

    /// Whether nothing has to wait for the stream any more: it has been read, or it shows a single namespace and does
    /// not come, which holds up no other.
    pub fn is_heard(&self, stream: &Stream) -> bool {
        let narrow = matches!(stream, Stream::Targets(_, Extent::In(_)) | Stream::Accounts(_, Extent::In(_)));
        self.is_listed(stream) || (narrow && self.stream_fault(stream).is_some())
    }

    /// Whether anything may be looked at and written in a namespace.
    pub fn serves(&self, namespace: &NamespaceName) -> bool {
        self.terms.served.as_ref().is_none_or(|served| served.contains(namespace))
    }

    /// What has to be listened to for the whole of what is served. A namespace that is not there has nothing to say,
    /// and no right that was given in it.
    fn extents(&self) -> Vec<Extent> {
        match &self.terms.served {
            None => vec![Extent::Everywhere],
            Some(served) => {
                let present = served.iter().filter(|name| self.namespaces.contains_key(*name));
                present.cloned().map(Extent::In).collect()
            }
        }
    }

    /// Which of those shows a namespace.
    fn extent_of(&self, namespace: &NamespaceName) -> Extent {
        match self.terms.served {
            None => Extent::Everywhere,
            Some(_) => Extent::In(namespace.clone()),
        }
    }

    /// The stream that shows the Secret of a name in a namespace.
    pub fn targets_stream(&self, name: &SecretName, namespace: &NamespaceName) -> Stream {
        Stream::Targets(name.clone(), self.extent_of(namespace))
    }

    /// The streams that show all Secrets of a name.
    pub(crate) fn targets_streams(&self, name: &SecretName) -> impl Iterator<Item = Stream> + use<> {
        let name = name.clone();
        self.extents().into_iter().map(move |extent| Stream::Targets(name.clone(), extent))
    }

    /// The streams that show the ServiceAccounts of a name, or all of them for a pattern. A name has one of its own
    /// also when a pattern covers it, so that a right that only the pattern needs is missed by nobody else.
    pub(crate) fn accounts_streams(&self, pattern: &NamePattern) -> impl Iterator<Item = Stream> + use<> {
        let name = pattern.exact().map(AccountName::new);
        self.extents().into_iter().map(move |extent| Stream::Accounts(name.clone(), extent))
    }

    /// The one of those that shows a namespace.
    pub(crate) fn accounts_stream(&self, pattern: &NamePattern, namespace: &NamespaceName) -> Stream {
        Stream::Accounts(pattern.exact().map(AccountName::new), self.extent_of(namespace))
    }

    /// The streams that can show a ServiceAccount.
    fn of_account(&self, at: &AccountRef) -> [Stream; 2] {
        let extent = self.extent_of(&at.namespace);
        [Stream::Accounts(Some(at.name.clone()), extent.clone()), Stream::Accounts(None, extent)]
    }

    /// Why the stream does not come, if it does not.
    pub fn stream_fault(&self, stream: &Stream) -> Option<&Fault> {
        self.streams.get(stream).and_then(|state| state.fault.as_ref())
    }

    /// All streams that do not come, with the reason.
    pub fn broken_streams(&self) -> impl Iterator<Item = (&Stream, &Fault)> {
        self.streams.iter().filter_map(|(stream, state)| state.fault.as_ref().map(|fault| (stream, fault)))
    }

    /// The streams that imps has to listen to.
    pub fn wanted_streams(&self) -> BTreeSet<Stream> {
        let mut wanted = BTreeSet::from([Stream::Grants, Stream::Namespaces]);
        if !self.census.is_idle() {
            wanted.insert(self.pods_stream());
        }
        let mut names: BTreeSet<&SecretName> = self.ours.keys().collect();
        let mut patterns: BTreeSet<&NamePattern> = BTreeSet::new();
        for room in self.rooms.values() {
            names.extend(&room.record().secret_names);
            patterns.extend(room.account_patterns());
            if let Some(grant) = room.grant() {
                wanted.extend(grant.sources.iter().cloned().map(Stream::Source));
                names.insert(&grant.template.name);
            }
        }
        wanted.extend(names.into_iter().flat_map(|name| self.targets_streams(name)));
        wanted.extend(patterns.into_iter().flat_map(|pattern| self.accounts_streams(pattern)));
        wanted
    }

    /// The stream of pods of the current round.
    pub fn pods_stream(&self) -> Stream {
        Stream::Pods { round: self.pods_round }
    }

    /// When time alone changes something.
    pub fn due(&self) -> Option<Instant> {
        let grace = self.terms.missing_source_grace;
        let sources = self.sources.values().filter_map(|source| source.due(grace));
        sources.chain(self.exchanges.due().filter(|_| !self.standby)).min()
    }

    // === learning ===

    /// Starts to listen to a stream.
    pub fn watch(&mut self, stream: Stream) {
        self.streams.entry(stream).or_default();
    }

    /// Takes a fact in. One of a stream that is not (or no longer) listened to is ignored: nobody would ever say that
    /// it stopped being true.
    pub fn learn(&mut self, fact: Fact, now: Instant) -> Wake {
        let mut wake = Wake::default();
        if fact.stream(self).is_some_and(|stream| !self.streams.contains_key(&stream)) {
            return wake;
        }
        match fact {
            Fact::Grant(fact) => self.learn_grant(*fact, &mut wake),
            Fact::GrantGone(uid) => self.forget_grant(&uid, &mut wake),
            Fact::Namespace(name, namespace) => self.learn_namespace(name, namespace, &mut wake),
            Fact::NamespaceGone(name) => self.forget_namespace(&name, &mut wake),
            Fact::Pod(pod) => wake.live.extend(self.census.count(&pod)),
            Fact::PodGone(uid) => wake.live.extend(self.census.leave(uid)),
            Fact::Source(at, document) => {
                self.see(&Stream::Source(at.clone()), at.to_string());
                self.learn_source(&at, document, now, &mut wake);
            }
            Fact::SourceGone(at) => self.with_source(&at, &mut wake, |source| source.vanish(now)),
            Fact::Secret(at, sighting) => self.learn_secret(at, (*sighting).into(), &mut wake),
            Fact::SecretGone(at, uid, version) => self.forget_secret(&at, &uid, version, &mut wake),
            Fact::Account(at, account) => self.learn_account(at, account, &mut wake),
            Fact::AccountGone(at, uid) => self.forget_account(&at, &uid, &mut wake),
            Fact::Relist(stream) => self.begin(stream),
            Fact::Listed(stream) => self.finish(stream, now, &mut wake),
            Fact::Broken(stream, fault) => self.learn_broken(stream, fault, &mut wake),
            Fact::Recalled(uid, answer) => self.learn_recalled(&uid, answer, now, &mut wake),
            Fact::Exchanged(key, answer) => {
                let users = self.exchanges.answer(&key, answer, now);
                self.follow_exchange(users, now, &mut wake);
            }
            Fact::ClockSet(wall_clock) => {
                self.calendar = Calendar::new(now, wall_clock);
                self.exchanges.doubt(now);
            }
        }
        wake
    }

    /// The exchanges to make now. First requests wait a moment for grants that are still recalling: what an earlier
    /// process got may be good for hours.
    pub fn begin_exchanges(&mut self, now: Instant) -> Vec<Ask> {
        if self.standby {
            return Vec::new();
        }
        let recalling = |users: &BTreeSet<SecretRef>| {
            self.rooms.values().any(|room| users.iter().any(|at| room.uses(at)) && room.may_recall())
        };
        self.exchanges.begin_due(now, recalling)
    }

    /// Sees to what users demand: each token of the grant's sources becomes due. Returns the grants for which that is
    /// over, as a request that began since has been answered for each of them, well or not.
    pub(crate) fn meet_demands(&mut self, now: Instant) -> Vec<Uid> {
        let mut met = Vec::new();
        for uid in &self.demanding {
            let Some(room) = self.rooms.get_mut(uid) else { continue };
            let Some(grant) = room.wishing().cloned() else { continue };
            let since = room.take_up_demand(self.exchanges.begun());
            let mut over = true;
            for at in &grant.sources {
                over &= self.exchanges.demand(at, since, now);
                // What it asks for is not known before it was read.
                over &= self.sources.get(at).is_some_and(Source::is_heard);
            }
            if over {
                room.meet_demand();
                met.push(uid.clone());
            }
        }
        met.iter().for_each(|uid| self.sort(uid));
        met
    }

    /// Time has passed: graces and tokens end.
    pub fn tick(&mut self, now: Instant) -> Wake {
        let mut wake = Wake::default();
        if !self.standby {
            let without = self.exchanges.lose_patience(now);
            self.follow_exchange(without, now, &mut wake);
        }
        let grace = self.terms.missing_source_grace;
        let over: Vec<SecretRef> = self
            .sources
            .iter()
            .filter(|(_, source)| source.due(grace).is_some_and(|due| due <= now))
            .map(|(at, _)| at.clone())
            .collect();
        for at in over {
            let mut given_up = false;
            self.with_source(&at, &mut wake, |source| given_up = source.expire(now, grace));
            if given_up {
                self.exchanges.withdraw(&at);
            }
        }
        wake
    }

    /// Somebody else acts from now on, or nobody does.
    pub(crate) fn stand_by(&mut self) {
        self.standby = true;
    }

    /// This process acts from now on, and nobody has since it did.
    pub(crate) fn resume(&mut self) {
        self.standby = false;
    }

    /// This process acts from now on, and somebody else has until now. What that one gave stands in the targets, and
    /// which source it was from in the statuses: as after a restart, both count for more than what this process
    /// remembers of failing sources and of tokens. All else is known already.
    pub(crate) fn succeed(&mut self, now: Instant) -> Wake {
        self.standby = false;
        let mut wake = Wake { streams: true, ..Wake::default() };
        self.sources.values_mut().for_each(Source::hand_over);
        self.rooms.values_mut().for_each(Room::hand_over);
        let exchanged = self.exchanges.hand_over(now);
        self.follow_exchange(exchanged, now, &mut wake);
        let uids: Vec<Uid> = self.rooms.keys().cloned().collect();
        for uid in uids {
            self.refresh(&uid);
            self.wake_grant(&uid, &mut wake);
            self.sort(&uid);
            wake.grants.insert(uid);
        }
        wake
    }

    /// Forgets a stream that is no longer listened to, with all that only it could keep true.
    pub fn unwatch(&mut self, stream: &Stream) {
        self.streams.remove(stream);
        match stream {
            Stream::Source(at) => {
                self.sources.remove(at);
                self.exchanges.withdraw(at);
            }
            Stream::Targets(name, extent) => {
                let shown = |at: &&SecretRef| at.name == *name && extent.covers(&at.namespace);
                let lost: Vec<SecretRef> = self.holdings.keys().filter(shown).cloned().collect();
                lost.into_iter().for_each(|at| self.hold(at, None));
            }
            Stream::Accounts(..) => {
                let unseen = |at: &&AccountRef| {
                    !self.of_account(at).iter().any(|stream| self.streams.contains_key(stream))
                };
                let lost: Vec<AccountRef> = self.accounts.keys().filter(unseen).cloned().collect();
                lost.iter().for_each(|at| drop(self.accounts.remove(at)));
            }
            Stream::Grants | Stream::Namespaces | Stream::Pods { .. } => {}
        }
    }

    fn learn_grant(&mut self, fact: GrantFact, wake: &mut Wake) {
        let uid = fact.identity.uid.clone();
        self.see(&Stream::Grants, uid.to_string());
        let room = self.rooms.entry(uid.clone()).or_insert_with(|| Room::new(fact.identity.clone()));
        let says_something_new = room.update(fact);
        self.sort(&uid);
        if !says_something_new {
            // Our own report comes back this way: the object is as it was.
            return;
        }
        wake.grants.insert(uid.clone());
        wake.streams = true;
        self.reach.forget(&uid);
        if let Some(grant) = self.rooms[&uid].grant().cloned() {
            self.reach.learn(&uid, &grant.recipients);
            if !grant.accounts.is_empty() {
                self.forgive(&grant.template.name);
            }
        }
        self.ask_census();
        self.refresh(&uid);
        self.wake_grant(&uid, wake);
    }

    fn forget_grant(&mut self, uid: &Uid, wake: &mut Wake) {
        self.wake_grant(uid, wake);
        if let Some(room) = self.rooms.remove(uid) {
            for namespace in room.namespaces() {
                self.present.remove(&(namespace.clone(), uid.clone()));
            }
            wake.streams = true;
            self.sort(uid);
            self.reach.forget(uid);
            self.ask_census();
        }
    }

    /// Notes whether a grant has to be looked at for its finalizer, its demand and its former patterns.
    fn sort(&mut self, uid: &Uid) {
        let room = self.rooms.get(uid);
        if room.is_some_and(Room::is_unsettled) {
            self.unsettled.insert(uid.clone());
        } else {
            self.unsettled.remove(uid);
        }
        if room.is_some_and(Room::is_demanding) {
            self.demanding.insert(uid.clone());
        } else {
            self.demanding.remove(uid);
        }
        if room.is_some_and(|room| !room.record().account_names.is_empty()) {
            self.former.entry(uid.clone()).or_default();
        } else {
            self.former.remove(uid);
        }
    }

    /// Wakes the namespaces that a grant selects now, selected before, or has a Secret in. Those that will have to be
    /// written count as pending from now on, so that no report in between calls them done.
    fn wake_grant(&mut self, uid: &Uid, wake: &mut Wake) {
        if !self.is_listed(&Stream::Grants) {
            return;
        }
        let held = self.holdings.iter().filter(|(_, holding)| holding.is_of(uid));
        wake.bulk.extend(held.map(|(at, _)| at.namespace.clone()));
        let Some(room) = self.rooms.get(uid) else { return };
        let mut stale: Vec<NamespaceName> = room.stale().cloned().collect();
        if let Some(grant) = room.wishing() {
            let fresh = self.namespaces.iter().filter(|(name, namespace)| {
                !namespace.terminating
                    && !room.targets().contains_key(*name)
                    && matches!(
                        self.selection(grant, name, namespace),
                        Selection::Known(Verdict::Selected(_))
                    )
            });
            stale.extend(fresh.map(|(name, _)| name.clone()));
        }
        wake.bulk.extend(room.namespaces().cloned());
        wake.bulk.extend(stale.iter().cloned());
        for name in stale {
            self.set_target(uid, &name, Some(TargetState::Pending));
        }
    }

    /// Lets the census ask what the grants want to know. Not before all of them are known: each new question means that
    /// all pods are counted again.
    fn ask_census(&mut self) {
        if !self.is_listed(&Stream::Grants) {
            return;
        }
        let grants = self.rooms.values().filter_map(Room::grant);
        let terms = grants.flat_map(|grant| grant.recipients.pods.iter().cloned()).collect();
        if self.census.ask(terms) {
            self.pods_round += 1;
        }
    }

    fn learn_namespace(&mut self, name: NamespaceName, namespace: Namespace, wake: &mut Wake) {
        self.see(&Stream::Namespaces, name.to_string());
        let before = self.namespaces.insert(name.clone(), namespace);
        // Where each namespace has streams of its own, they begin and end with it.
        wake.streams |= before.is_none() && self.has_streams(&name);
        if before.as_ref() != self.namespaces.get(&name) {
            wake.live.insert(name);
        }
    }

    /// Whether there are streams that show just this namespace.
    fn has_streams(&self, namespace: &NamespaceName) -> bool {
        self.terms.served.as_ref().is_some_and(|served| served.contains(namespace))
    }

    fn forget_namespace(&mut self, name: &NamespaceName, wake: &mut Wake) {
        self.namespaces.remove(name);
        wake.streams |= self.has_streams(name);
        wake.gone.insert(name.clone());
        let concerned: Vec<Uid> = self.present_in(name).cloned().collect();
        for uid in concerned {
            self.set_target(&uid, name, None);
            wake.grants.insert(uid);
        }
    }

    /// Writes down how a grant stands in a namespace; `None` when it wants and has nothing there.
    pub(crate) fn set_target(&mut self, uid: &Uid, namespace: &NamespaceName, state: Option<TargetState>) {
        let Some(room) = self.rooms.get_mut(uid) else { return };
        let entry = (namespace.clone(), uid.clone());
        if state.is_some() {
            self.present.insert(entry)
        } else {
            self.present.remove(&entry)
        };
        room.set_target(namespace, state);
    }

    fn present_in<'a>(&'a self, name: &'a NamespaceName) -> impl Iterator<Item = &'a Uid> {
        let rest = self.present.range((name.clone(), Uid::new(""))..);
        rest.take_while(move |(namespace, _)| namespace == name).map(|(_, uid)| uid)
    }

    /// Every Secret that is decoded brings its own copies of names that are known already; these are kept once.
    fn intern(&self, at: &mut SecretRef, holding: &mut Holding) {
        if let Some((known, _)) = self.namespaces.get_key_value(&at.namespace) {
            at.namespace = known.clone();
        }
        if let Some((known, _)) = self.ours.get_key_value(&at.name) {
            at.name = known.clone();
        }
        if let Owner::Grant(uid) = &mut holding.owner
            && let Some((known, _)) = self.rooms.get_key_value(uid)
        {
            *uid = known.clone();
        }
    }

    fn learn_account(&mut self, mut at: AccountRef, account: Account, wake: &mut Wake) {
        // It may have come by either.
        let streams = self.of_account(&at);
        if !streams.iter().any(|stream| self.streams.contains_key(stream)) {
            return;
        }
        streams.iter().for_each(|stream| self.see(stream, at.to_string()));
        if let Some(ledger) = self.accounts.get_mut(&at) {
            if ledger.learn(account) {
                wake.live.insert(at.namespace);
            }
            return;
        }
        if let Some((known, _)) = self.namespaces.get_key_value(&at.namespace) {
            at.namespace = known.clone();
        }
        wake.live.insert(at.namespace.clone());
        self.accounts.insert(at, Ledger::new(account));
    }

    fn forget_account(&mut self, at: &AccountRef, uid: &Uid, wake: &mut Wake) {
        if self.accounts.get(at).is_some_and(|ledger| ledger.account().uid == *uid) {
            self.accounts.remove(at);
            wake.live.insert(at.namespace.clone());
        }
    }

    /// An edit of ours was carried out.
    pub(crate) fn edited(&mut self, namespace: &NamespaceName, edit: &Edit, version: Version, now: Instant) {
        let at = AccountRef { namespace: namespace.clone(), name: edit.account.clone() };
        if let Some(ledger) = self.accounts.get_mut(&at) {
            ledger.edited(edit, version, now);
        }
    }

    /// A grant was edited: whoever took its Secret's name out of a ServiceAccount may be meant to keep it now.
    fn forgive(&mut self, secret: &SecretName) {
        self.accounts.values_mut().for_each(|ledger| ledger.forgive(secret));
    }

    /// Forgets former patterns of ServiceAccounts when nothing is attached by them any more. Returns the grants that
    /// had such a pattern.
    pub(crate) fn forget_former_accounts(&mut self) -> Vec<Uid> {
        let mut done = Vec::new();
        let mut former = std::mem::take(&mut self.former);
        for (uid, witness) in &mut former {
            let Some(room) = self.rooms.get(uid).filter(|room| self.knows_accounts(room)) else { continue };
            // The one that was found last is most likely still there.
            if witness.as_ref().is_some_and(|at| self.is_former_attachment(room, at)) {
                continue;
            }
            *witness = self.accounts.keys().find(|at| self.is_former_attachment(room, at)).cloned();
            if witness.is_none() {
                done.push(uid.clone());
            }
        }
        self.former = former;
        for uid in &done {
            self.rooms.get_mut(uid).expect("it was there a line ago").forget_former_accounts();
            self.sort(uid);
        }
        done
    }

    /// Whether a ServiceAccount still names a Secret of a grant because of a former pattern.
    fn is_former_attachment(&self, room: &Room, at: &AccountRef) -> bool {
        let Some(ledger) = self.accounts.get(at).filter(|_| room.was_attached_to(&at.name)) else {
            return false;
        };
        let names = room.secret_names();
        names.into_iter().any(|name| ledger.has(name) && self.owns(room, &at.namespace, name))
    }

    /// How many Secrets of a grant stand anywhere; none while that is not known for sure.
    pub(crate) fn leftovers(&self, room: &Room) -> Option<usize> {
        let mut names = room.secret_names().into_iter();
        if !names.all(|name| self.targets_streams(name).all(|stream| self.is_heard(&stream))) {
            return None;
        }
        Some(self.owned.get(&room.identity().uid).copied().unwrap_or_default())
    }

    /// Why our finalizer could not be put on a grant, or that it could.
    pub(crate) fn note_hold(&mut self, uid: &Uid, fault: Option<Fault>, wake: &mut Wake) {
        let Some(room) = self.rooms.get_mut(uid) else { return };
        if room.note_hold(fault) {
            wake.grants.insert(uid.clone());
            self.wake_grant(uid, wake);
        }
    }

    fn learn_secret(&mut self, mut at: SecretRef, mut holding: Holding, wake: &mut Wake) {
        self.see(&self.targets_stream(&at.name, &at.namespace), at.namespace.to_string());
        let known = self.holdings.get(&at);
        // News about the same object can be older than what our own write has told us.
        if known.is_some_and(|known| known.uid == holding.uid && known.version > holding.version) {
            return;
        }
        if known != Some(&holding) {
            self.intern(&mut at, &mut holding);
            wake.live.insert(at.namespace.clone());
            self.hold(at, Some(holding));
        }
    }

    fn forget_secret(&mut self, at: &SecretRef, uid: &Uid, version: Version, wake: &mut Wake) {
        let known = self.holdings.get(at);
        if known.is_some_and(|known| known.uid == *uid || known.version < version) {
            self.hold(at.clone(), None);
            wake.live.insert(at.namespace.clone());
            wake.streams |= !self.ours.contains_key(&at.name);
        }
    }

    /// Writes down what stands at a name, and how many of ours do.
    pub(crate) fn hold(&mut self, at: SecretRef, holding: Option<Holding>) {
        let counts = |holding: &Holding| usize::from(!matches!(holding.owner, Owner::Other { .. }));
        let came = holding.as_ref().map_or(0, counts);
        let name = at.name.clone();
        if let Some(uid) = holding.as_ref().and_then(Holding::grant) {
            *self.owned.entry(uid.clone()).or_insert(0) += 1;
        }
        let before = match holding {
            Some(holding) => self.holdings.insert(at, holding),
            None => self.holdings.remove(&at),
        };
        let went = before.as_ref().map_or(0, counts);
        if let Some(uid) = before.as_ref().and_then(Holding::grant)
            && let Some(left) = self.owned.get_mut(uid)
        {
            *left -= 1;
            if *left == 0 {
                self.owned.remove(uid);
            }
        }
        let count = self.ours.entry(name.clone()).or_insert(0);
        *count = (*count + came).saturating_sub(went);
        if *count == 0 {
            self.ours.remove(&name);
        }
    }

    /// What stands at a name.
    pub(crate) fn holding(&self, at: &SecretRef) -> Option<&Holding> {
        self.holdings.get(at)
    }

    /// Whether a Secret of ours stands under the name anywhere.
    pub(crate) fn has_ours(&self, name: &SecretName) -> bool {
        self.ours.contains_key(name)
    }

    /// Forgets former names under which nothing of ours stands any more. Returns the grants that had such a name.
    pub(crate) fn forget_former_names(&mut self) -> Vec<Uid> {
        let is_over = |name: &&SecretName| {
            !self.ours.contains_key(*name)
                && self.is_listed(&Stream::Namespaces)
                && self.targets_streams(name).all(|stream| self.is_listed(&stream))
        };
        let former = self.rooms.values().flat_map(|room| &room.record().secret_names);
        let over: BTreeSet<SecretName> = former.filter(is_over).cloned().collect();
        let mut touched = Vec::new();
        for (uid, room) in &mut self.rooms {
            for name in &over {
                if room.forget_former_name(name) {
                    touched.push(uid.clone());
                }
            }
        }
        touched
    }

    /// A source Secret was shown: it says its credentials itself, or asks for an exchange.
    fn learn_source(&mut self, at: &SecretRef, document: Document, now: Instant, wake: &mut Wake) {
        // Who acts has a token for it and keeps that through what the source says next; here it has to be recalled.
        let exchanged = |source: &&mut Source| source.order().is_some();
        if self.standby
            && let Some(source) = self.sources.get_mut(at).filter(exchanged)
        {
            source.hand_over();
        }
        let order = match (self.terms.read_offer)(at, &document) {
            Some(Ok(Offer::Exchange(order))) if self.terms.keyless.covers(order.keyless.as_ref()) => order,
            other => {
                self.exchanges.withdraw(at);
                let trouble = match other {
                    None => return self.with_source(at, wake, |source| source.read(&document)),
                    Some(Ok(Offer::Login(keyring))) => {
                        return self.with_source(at, wake, |source| source.accept(&document, keyring));
                    }
                    Some(Err(flaw)) => Trouble::Flawed(flaw),
                    Some(Ok(Offer::Exchange(order))) => {
                        Trouble::KeylessForbidden(order.keyless.expect("what needs no leave is covered"))
                    }
                };
                return self.with_source(at, wake, |source| source.refuse(&document, trouble));
            }
        };
        self.sources.entry(at.clone()).or_default().place(&document, order.clone());
        self.exchanges.place(at, &order, document, now);
        self.follow_exchange(BTreeSet::from([at.clone()]), now, wake);
    }

    /// Brings sources up to date with their exchange.
    fn follow_exchange(&mut self, users: BTreeSet<SecretRef>, now: Instant, wake: &mut Wake) {
        for at in users {
            let Some(exchange) = self.exchanges.of(&at) else { continue };
            if let Some(source) = self.sources.get_mut(&at) {
                source.follow(&exchange.refresh, exchange.is_awaited(), now);
            }
            self.with_source(&at, wake, |_| ());
        }
    }

    /// A recall is done: what an earlier process got for its sources, with the end that it wrote down, is theirs again.
    fn adopt_remembered(&mut self, uid: &Uid, now: Instant, wake: &mut Wake) {
        let Some(room) = self.rooms.get(uid) else { return };
        let mut adopted = BTreeSet::new();
        for (at, lived) in &room.record().lives {
            let (Some(expires), Some(ring)) = (self.calendar.instant(lived.expires), room.remembered(at))
            else {
                continue;
            };
            let (Some(source), Some((_, credential))) = (self.sources.get_mut(at), ring.iter().next()) else {
                continue;
            };
            if expires <= now {
                continue;
            }
            let expires = expires.min(now + LIFETIME_MAX);
            source.adopt(ring.clone(), expires, lived.of.clone());
            // A token that was issued for another identity is kept, but says nothing about this one.
            if *source.version() == lived.of {
                let renew = lived.renew.and_then(|at| self.calendar.instant(at)).unwrap_or(now).min(expires);
                let lease = Lease {
                    credential: credential.clone(),
                    expires,
                    lifetime: expires - now,
                    issued: None,
                    untold: false,
                };
                adopted.extend(self.exchanges.adopt(at, lease, renew));
            }
            adopted.insert(at.clone());
        }
        self.follow_exchange(adopted, now, wake);
    }

    fn with_source(&mut self, at: &SecretRef, wake: &mut Wake, change: impl FnOnce(&mut Source)) {
        change(self.sources.entry(at.clone()).or_default());
        let users: Vec<Uid> =
            self.rooms.iter().filter(|(_, room)| room.uses(at)).map(|(uid, _)| uid.clone()).collect();
        for uid in users {
            wake.grants.insert(uid.clone());
            if self.refresh(&uid) {
                self.wake_grant(&uid, wake);
            }
        }
    }

    fn learn_broken(&mut self, stream: Stream, fault: Fault, wake: &mut Wake) {
        if let Stream::Source(at) = &stream {
            let fault = fault.clone();
            self.with_source(&at.clone(), wake, |source| source.fail(fault));
        }
        wake.grants
            .extend(self.rooms.iter().filter(|(_, room)| room.needs(&stream)).map(|(uid, _)| uid.clone()));
        let (Stream::Targets(_, extent) | Stream::Accounts(_, extent)) = &stream else {
            self.streams.entry(stream).or_default().fault = Some(fault);
            return;
        };
        let narrow = if let Extent::In(namespace) = extent { Some(namespace.clone()) } else { None };
        let waited = narrow.is_some() && !self.is_heard(&stream);
        self.streams.entry(stream.clone()).or_default().fault = Some(fault);
        wake.live.extend(narrow);
        if waited {
            self.wake_waiting(&stream, wake);
        }
    }

    fn begin(&mut self, stream: Stream) {
        if matches!(stream, Stream::Pods { .. }) {
            self.census.begin();
        }
        self.streams.entry(stream).or_default().relist = Some(BTreeSet::new());
    }

    /// Remembers what a list that is being read has shown.
    fn see(&mut self, stream: &Stream, key: String) {
        if let Some(seen) = self.streams.get_mut(stream).and_then(|state| state.relist.as_mut()) {
            seen.insert(key);
        }
    }

    /// A list is complete: what it did not show is gone, and what waited for it may go on.
    fn finish(&mut self, stream: Stream, now: Instant, wake: &mut Wake) {
        let state = self.streams.entry(stream.clone()).or_default();
        let seen = state.relist.take().unwrap_or_default();
        let first = !std::mem::replace(&mut state.listed, true);
        let healed = state.fault.take().is_some();
        match &stream {
            Stream::Grants => {
                let gone: Vec<Uid> =
                    self.rooms.keys().filter(|uid| !seen.contains(uid.as_str())).cloned().collect();
                gone.iter().for_each(|uid| self.forget_grant(uid, wake));
                self.ask_census();
            }
            Stream::Namespaces => {
                let gone: Vec<_> =
                    self.namespaces.keys().filter(|n| !seen.contains(n.as_str())).cloned().collect();
                gone.iter().for_each(|name| self.forget_namespace(name, wake));
            }
            Stream::Pods { .. } => wake.live.extend(self.census.finish()),
            Stream::Source(at) => {
                if seen.is_empty() {
                    self.with_source(at, wake, |source| source.vanish(now));
                }
            }
            Stream::Targets(name, extent) => {
                let listed = |at: &SecretRef| {
                    at.name != *name || !extent.covers(&at.namespace) || seen.contains(at.namespace.as_str())
                };
                let gone: Vec<SecretRef> = self.holdings.keys().filter(|at| !listed(at)).cloned().collect();
                for at in gone {
                    wake.live.insert(at.namespace.clone());
                    self.hold(at, None);
                }
                wake.streams |= !self.ours.contains_key(name);
            }
            Stream::Accounts(which, extent) => {
                let covered = |at: &AccountRef| {
                    which.as_ref().is_none_or(|name| at.name == *name) && extent.covers(&at.namespace)
                };
                let is_gone = |at: &AccountRef| covered(at) && !seen.contains(&at.to_string());
                let gone: Vec<AccountRef> = self.accounts.keys().filter(|at| is_gone(at)).cloned().collect();
                for at in gone {
                    self.accounts.remove(&at);
                    wake.live.insert(at.namespace);
                }
            }
        }
        if first || healed {
            self.wake_waiting(&stream, wake);
        }
        if healed {
            // What failed meanwhile need not wait for the end of its pause.
            let troubled = self.rooms.values().flat_map(Room::troubled).cloned();
            wake.live.extend(troubled);
        }
    }

    /// A stream came for the first time, or came back: whoever waited for it is looked at again.
    fn wake_waiting(&mut self, stream: &Stream, wake: &mut Wake) {
        wake.streams = true;
        let waiting: Vec<Uid> =
            self.rooms.iter().filter(|(_, r)| r.needs(stream)).map(|(uid, _)| uid.clone()).collect();
        for uid in waiting {
            self.refresh(&uid);
            self.wake_grant(&uid, wake);
            wake.grants.insert(uid);
        }
        // Now it is known which owners do not exist.
        match stream {
            Stream::Grants => wake.bulk.extend(self.holdings.keys().map(|at| at.namespace.clone())),
            Stream::Targets(name, extent) => {
                let shown = |at: &&SecretRef| at.name == *name && extent.covers(&at.namespace);
                let held = self.holdings.keys().filter(shown);
                wake.bulk.extend(held.map(|at| at.namespace.clone()));
            }
            Stream::Namespaces | Stream::Pods { .. } | Stream::Source(_) | Stream::Accounts(..) => {}
        }
    }

    /// Makes a grant's payload anew from its sources; whether that changed anything for its targets.
    fn refresh(&mut self, uid: &Uid) -> bool {
        let Some(room) = self.rooms.get(uid) else { return false };
        let Some(grant) = room.grant() else { return false };
        let targets_listed = self.is_listed(&Stream::Namespaces)
            && self.targets_streams(&grant.template.name).all(|stream| self.is_heard(&stream));
        let memory = recall::Memory { holdings: &self.holdings, listed: targets_listed };
        let Some((payload, recall)) = room.render(&self.sources, &memory) else { return false };
        let room = self.rooms.get_mut(uid).expect("it was there a line ago");
        room.take(payload, recall)
    }

    fn learn_recalled(&mut self, uid: &Uid, answer: Result<Document, Fault>, now: Instant, wake: &mut Wake) {
        let Some(room) = self.rooms.get_mut(uid) else { return };
        room.recalled(answer);
        wake.grants.insert(uid.clone());
        if self.refresh(uid) {
            self.wake_grant(uid, wake);
        }
        self.adopt_remembered(uid, now, wake);
    }
}
