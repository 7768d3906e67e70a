//! A cluster small enough for a test: what stands in it, and the machine of imps that watches it.
//!
//! It keeps Secrets the way the API server does as far as imps can tell: an apply without force refuses what somebody
//! else wrote, an update or delete names a UID.

#![allow(dead_code, unreachable_pub, reason = "each test program uses a part of it")]
#![allow(clippy::disallowed_methods, reason = "a stage needs some moment to start from")]
#![allow(clippy::unwrap_used, reason = "a test that cannot set its stage has failed")]

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use imps_core::account::{Account, Edit, Verb};
use imps_core::census::{Pod, PodUid};
use imps_core::controller::{Controller, Effect, Event, Outcome, Written};
use imps_core::credential::Credential;
use imps_core::dockerconfig::{self, Format};
use imps_core::exchange::{ExchangeFault, ExchangeFaultClass, ExchangeKey, Flaw, Issued, Order};
use imps_core::grant::{Grant, Identity, PodTerm, Template};
use imps_core::holding::{Sighting, TARGET_TYPE, Version};
use imps_core::keyring::Keyring;
use imps_core::leadership::Title;
use imps_core::name::{AccountRef, NamespaceName, SecretName, SecretRef, Uid};
use imps_core::plan::{Action, Because, Plan, Step};
use imps_core::reason::{Fault, FaultClass};
use imps_core::registry::RegistryKey;
use imps_core::selector::{NamePattern, Selector, Tags};
use imps_core::source::{Document, Offer};
use imps_core::standing::{Outline, Standing};
use imps_core::token::Token;
use imps_core::world::{Ask, Extent, Fact, GrantFact, Lived, Namespace, Record, Stream, Tenure, Terms};
use sha2::{Digest, Sha256};
use zeroize::Zeroizing;

/// How long a missing source keeps its credentials in these tests.
pub const GRACE: Duration = Duration::from_secs(300);

/// A Secret at a target's name.
#[derive(Clone, PartialEq, Debug)]
pub struct Stored {
    pub uid: String,
    pub version: u64,
    pub secret_type: String,
    pub bytes: Vec<u8>,
    pub labels: Tags,
    pub annotations: Tags,
    pub owner: Option<Uid>,
    pub by_imps: bool,
    pub legacy_copy: bool,
    pub immutable: bool,
    /// The grant that may take it over, by an annotation.
    pub consent: Option<String>,
    pub controller: Option<String>,
}

/// What a source Secret says.
#[derive(Clone, Debug)]
pub enum SourceText {
    /// A type and the value of its key.
    Text(String, String),
    /// imps may not read it.
    Forbidden,
    /// An identity, in this version of the Secret, to be exchanged for a token for these registries.
    Identity { name: String, version: u64, registries: Vec<String> },
}

/// The type of a Secret with an identity.
pub const IDENTITY: &str = "test/identity";

/// The type of a Secret with logins that a provider reads, written like `REGISTRY=USER REGISTRY=USER`.
pub const LOGINS: &str = "test/logins";

/// How a token endpoint behaves.
#[derive(Clone, Copy, PartialEq, Debug)]
pub enum Endpoint {
    /// Tokens live for so long.
    Up(Duration),
    /// Tokens have no expiry.
    Vague,
    /// Nobody answers.
    Down,
    /// The identity is not accepted.
    Denying,
    /// Requests hang for ever.
    Hanging,
}

/// The cluster and the machine that watches it.
pub struct Stage {
    pub controller: Controller,
    /// Another process, which is shown the same and must not act, with the streams that it listens to.
    pub standby: Option<(Controller, BTreeSet<Stream>)>,
    pub now: Instant,
    pub grants: BTreeMap<Uid, (Identity, Grant, Record)>,
    pub namespaces: BTreeMap<NamespaceName, Namespace>,
    pub pods: Vec<Pod>,
    pub sources: BTreeMap<SecretRef, SourceText>,
    pub secrets: BTreeMap<SecretRef, Stored>,
    pub accounts: BTreeMap<AccountRef, Account>,
    /// Which grants have our finalizer, and which are being deleted.
    pub tenures: BTreeMap<Uid, Tenure>,
    /// What users demand of grants.
    pub demands: BTreeMap<Uid, String>,
    /// ServiceAccounts that imps may not edit.
    pub locked: BTreeSet<AccountRef>,
    /// How often somebody else is faster than the next requests for a finalizer.
    pub outruns: usize,
    pub watched: BTreeSet<Stream>,
    /// Every step that was carried out, in order.
    pub history: Vec<String>,
    pub standings: BTreeMap<Uid, Standing>,
    pub notices: Vec<String>,
    /// Namespaces whose writes are refused.
    pub refusing: BTreeSet<NamespaceName>,
    /// Namespaces in which imps may watch nothing, where each has streams of its own.
    pub closed: BTreeSet<NamespaceName>,
    /// The only namespaces that are served.
    pub served: Option<BTreeSet<NamespaceName>>,
    /// After so many writes the process is dead: nothing it asks for is done any more.
    pub writes_left: Option<usize>,
    /// How the token endpoint behaves; it has an identity's name in the requests that it saw.
    pub endpoint: Endpoint,
    pub calls: Vec<(Instant, String)>,
    start: Instant,
    versions: u64,
}

/// What the wall clock says when a stage begins.
const WALL_CLOCK: f64 = 1_800_000_000.0;

fn terms(since_start: Duration, served: Option<BTreeSet<NamespaceName>>) -> Terms {
    Terms {
        served,
        missing_source_grace: GRACE,
        read_offer,
        wall_clock: WALL_CLOCK + since_start.as_secs_f64(),
        ..Terms::default()
    }
}

/// A provider as the core sees one.
fn read_offer(_: &SecretRef, document: &Document) -> Option<Result<Offer, Flaw>> {
    if document.secret_type == LOGINS {
        let text = std::str::from_utf8(&document.data[".dockerconfigjson"]).unwrap();
        let login = |word: &str| {
            let (registry, user) = word.split_once('=')?;
            let credential = Credential { username: user.to_owned(), password: Token::new("of a login") };
            Some((RegistryKey::parse(registry).unwrap(), credential))
        };
        let keyring = text.split(' ').map(login).collect::<Option<Keyring>>();
        return Some(
            keyring.map(Offer::Login).ok_or(Flaw { key: "login", problem: "is missing; put it in" }),
        );
    }
    if document.secret_type != IDENTITY {
        return None;
    }
    let text = |key: &str| document.data.get(key).map(|bytes| std::str::from_utf8(bytes).unwrap());
    let Some(name) = text("identity").filter(|name| !name.is_empty()) else {
        return Some(Err(Flaw { key: "identity", problem: "is missing; put it in" }));
    };
    let registries = text("registries").unwrap().split(',').map(|name| RegistryKey::parse(name).unwrap());
    Some(Ok(Offer::Exchange(Order {
        provider: "test",
        key: ExchangeKey::of([name.as_bytes()]),
        registries: registries.collect(),
        lane: "test".to_owned(),
        keyless: None,
    })))
}

impl Default for Stage {
    fn default() -> Self {
        let now = Instant::now();
        let (controller, effects) = Controller::new(terms(Duration::ZERO, None), None, now);
        let mut stage = Self {
            controller,
            standby: None,
            now,
            grants: BTreeMap::new(),
            namespaces: BTreeMap::new(),
            pods: Vec::new(),
            sources: BTreeMap::new(),
            secrets: BTreeMap::new(),
            accounts: BTreeMap::new(),
            tenures: BTreeMap::new(),
            demands: BTreeMap::new(),
            locked: BTreeSet::new(),
            outruns: 0,
            watched: BTreeSet::new(),
            history: Vec::new(),
            standings: BTreeMap::new(),
            notices: Vec::new(),
            refusing: BTreeSet::new(),
            closed: BTreeSet::new(),
            served: None,
            writes_left: None,
            endpoint: Endpoint::Up(Duration::from_secs(12 * 3600)),
            calls: Vec::new(),
            start: now,
            versions: 0,
        };
        stage.watched.extend(effects.into_iter().map(|effect| match effect {
            Effect::Watch(stream) => stream,
            other => panic!("{other:?}"),
        }));
        stage
    }
}

impl Stage {
    /// A new process on the same cluster: it knows nothing but what the statuses remember.
    pub fn restart(&mut self) {
        let (controller, effects) =
            Controller::new(terms(self.now - self.start, self.served.clone()), None, self.now);
        for (uid, (_, _, record)) in &mut self.grants {
            if let Some(standing) = self.standings.get(uid) {
                *record = remembered(standing);
            }
        }
        self.controller = controller;
        self.watched.clear();
        self.standings.clear();
        self.perform_all(effects);
        self.run();
    }

    /// A second process begins, which does not lead.
    pub fn add_standby(&mut self) {
        let (controller, effects) =
            Controller::standby(terms(self.now - self.start, self.served.clone()), None, self.now);
        self.standby = Some((controller, BTreeSet::new()));
        self.follow(effects);
    }

    /// The standby leads from now on, and the leader stands by.
    pub fn take_over(&mut self) {
        self.show_standby();
        let (standby, streams) = self.standby.take().unwrap();
        let mut former = std::mem::replace(&mut self.controller, standby);
        former.on(Event::Follow, self.now);
        self.standby = Some((former, std::mem::replace(&mut self.watched, streams)));
        let effects = self.controller.on(Event::Lead(Title::Succession), self.now);
        self.perform_all(effects);
        self.run();
    }

    /// Shows the standby all that it listens to, and lets it know what time it is.
    fn show_standby(&mut self) {
        let Some((standby, streams)) = &mut self.standby else { return };
        let streams = streams.clone();
        let effects = standby.on(Event::Tick, self.now);
        self.follow(effects);
        streams.iter().for_each(|stream| self.show(stream));
    }

    fn show(&mut self, stream: &Stream) {
        for fact in self.facts(stream) {
            let Some((standby, _)) = &mut self.standby else { return };
            let effects = standby.on(Event::Fact(fact), self.now);
            assert!(standby.due(self.now).is_none_or(|due| due > self.now), "a standby waits for nothing");
            self.follow(effects);
        }
    }

    /// What a standby asks for: to listen, and nothing else.
    fn follow(&mut self, effects: Vec<Effect>) {
        for effect in effects {
            let (_, streams) = self.standby.as_mut().unwrap();
            match effect {
                Effect::Watch(stream) => {
                    streams.insert(stream.clone());
                    self.show(&stream);
                }
                Effect::Unwatch(stream) => {
                    streams.remove(&stream);
                }
                other => panic!("a standby would act: {other:?}"),
            }
        }
    }

    /// Tells the machine everything that stands, for each stream that it watches, as a fresh list does.
    pub fn relist(&mut self, stream: &Stream) -> Vec<Effect> {
        let facts = self.facts(stream);
        facts.into_iter().flat_map(|fact| self.tell(fact)).collect()
    }

    fn facts(&self, stream: &Stream) -> Vec<Fact> {
        let mut facts = vec![Fact::Relist(stream.clone())];
        match stream {
            Stream::Grants => facts.extend(self.grants.iter().map(|(uid, (identity, grant, record))| {
                Fact::Grant(Box::new(GrantFact {
                    identity: identity.clone(),
                    grant: Ok(grant.clone()),
                    remarks: Vec::new(),
                    record: self.standings.get(uid).map_or_else(|| record.clone(), remembered),
                    tenure: self.tenures.get(uid).cloned().unwrap_or_default(),
                    demand: self.demands.get(uid).cloned(),
                }))
            })),
            Stream::Namespaces => {
                facts.extend(
                    self.namespaces.iter().map(|(name, ns)| Fact::Namespace(name.clone(), ns.clone())),
                );
            }
            Stream::Pods { .. } => facts.extend(self.pods.iter().cloned().map(Fact::Pod)),
            Stream::Source(at) => match self.sources.get(at) {
                Some(SourceText::Text(secret_type, text)) => {
                    facts.push(Fact::Source(at.clone(), document(secret_type, text)));
                }
                Some(SourceText::Identity { name, version, registries }) => {
                    let data = [("identity", name.clone()), ("registries", registries.join(","))];
                    let data = data.map(|(key, text)| (key.to_owned(), Zeroizing::new(text.into_bytes())));
                    let document = Document {
                        uid: Uid::new(at.to_string()),
                        version: Version(*version),
                        secret_type: IDENTITY.to_owned(),
                        data: data.into(),
                    };
                    facts.push(Fact::Source(at.clone(), document));
                }
                Some(SourceText::Forbidden) => {
                    let fault = Fault { class: FaultClass::Forbidden, detail: "HTTP 403".to_owned() };
                    return vec![Fact::Broken(stream.clone(), fault)];
                }
                None => {}
            },
            Stream::Targets(_, Extent::In(place)) | Stream::Accounts(_, Extent::In(place))
                if self.closed.contains(place) =>
            {
                let fault = Fault { class: FaultClass::Forbidden, detail: "HTTP 403".to_owned() };
                return vec![Fact::Broken(stream.clone(), fault)];
            }
            Stream::Targets(name, extent) => facts.extend(
                self.secrets
                    .iter()
                    .filter(|(at, _)| at.name == *name && extent.covers(&at.namespace))
                    .map(|(at, stored)| Fact::Secret(at.clone(), Box::new(stored.sighting()))),
            ),
            Stream::Accounts(which, extent) => facts.extend(
                self.accounts
                    .iter()
                    .filter(|(at, _)| extent.covers(&at.namespace))
                    .filter(|(at, _)| which.as_ref().is_none_or(|name| at.name == *name))
                    .map(|(at, account)| Fact::Account(at.clone(), account.clone())),
            ),
        }
        facts.push(Fact::Listed(stream.clone()));
        facts
    }

    /// Brings the machine up to date with the cluster by lists, and carries out all that it asks for, until it asks for
    /// nothing more. Time jumps to whatever the machine waits for, a few times.
    pub fn run(&mut self) {
        self.show_standby();
        self.run_leader();
        self.show_standby();
    }

    fn run_leader(&mut self) {
        for stream in self.watched.clone() {
            let effects = self.relist(&stream);
            self.perform_all(effects);
        }
        for _ in 0..200 {
            let Some(due) =
                self.controller.due(self.now).filter(|due| *due <= self.now + Duration::from_secs(8))
            else {
                return;
            };
            self.now = self.now.max(due);
            let effects = self.controller.on(Event::Tick, self.now);
            self.perform_all(effects);
        }
    }

    /// Lets time pass.
    pub fn wait(&mut self, time: Duration) {
        self.now += time;
        let effects = self.controller.on(Event::Tick, self.now);
        self.perform_all(effects);
        self.run();
    }

    /// Lets time pass from one thing that is due to the next.
    pub fn pass(&mut self, time: Duration) {
        let end = self.now + time;
        while let Some(due) = self.controller.due(self.now).filter(|due| *due <= end) {
            self.now = self.now.max(due);
            let effects = self.controller.on(Event::Tick, self.now);
            self.perform_all(effects);
        }
        self.now = end;
        let effects = self.controller.on(Event::Tick, self.now);
        self.perform_all(effects);
    }

    fn exchange(&mut self, ask: Ask) -> Vec<Effect> {
        let name = String::from_utf8(ask.document.data["identity"].to_vec()).unwrap();
        self.calls.push((self.now, name));
        let identity = self.calls.last().unwrap().1.clone();
        let token = || Issued {
            // The user name tells whose token it is, and one from the next.
            credential: Credential {
                username: format!("{identity}#{}", self.calls.len()),
                password: Token::new("issued"),
            },
            lifetime: None,
            session: None,
        };
        let fault = |class, code: &str| ExchangeFault {
            class,
            code: code.to_owned(),
            advice: "do something about it".to_owned(),
            retry_after: None,
        };
        let endpoint = if identity.starts_with("bad") { Endpoint::Denying } else { self.endpoint };
        let answer = match endpoint {
            Endpoint::Up(life) => Ok(Issued { lifetime: Some(life), ..token() }),
            Endpoint::Vague => Ok(token()),
            Endpoint::Down => Err(fault(ExchangeFaultClass::Unreachable, "no connection")),
            Endpoint::Denying => Err(fault(ExchangeFaultClass::Denied, "AccessDeniedException")),
            Endpoint::Hanging => return Vec::new(),
        };
        self.tell(Fact::Exchanged(ask.key, answer))
    }

    /// Feeds one fact.
    pub fn tell(&mut self, fact: Fact) -> Vec<Effect> {
        self.controller.on(Event::Fact(fact), self.now)
    }

    /// Carries effects out, and those that follow from them. Returns how many writes there were.
    pub fn perform_all(&mut self, effects: Vec<Effect>) -> usize {
        let mut writes = 0;
        let mut pending: std::collections::VecDeque<Effect> = effects.into();
        while let Some(effect) = pending.pop_front() {
            if self.writes_left == Some(0) {
                return writes;
            }
            let more = match effect {
                Effect::Watch(stream) => {
                    self.watched.insert(stream.clone());
                    self.relist(&stream)
                }
                Effect::Unwatch(stream) => {
                    self.watched.remove(&stream);
                    Vec::new()
                }
                Effect::Apply(plan) => {
                    writes += plan.steps().count() + plan.edits.len();
                    let outcome = self.apply(plan);
                    self.controller.on(Event::Outcome(outcome), self.now)
                }
                Effect::Recall(uid, at) => {
                    let answer = match self.secrets.get(&at) {
                        Some(stored) => {
                            Ok(document(TARGET_TYPE, std::str::from_utf8(&stored.bytes).unwrap()))
                        }
                        None => Err(Fault { class: FaultClass::Gone, detail: "HTTP 404".to_owned() }),
                    };
                    self.tell(Fact::Recalled(uid, answer))
                }
                Effect::Exchange(ask) => self.exchange(ask),
                Effect::Hold(hold) if self.outruns > 0 => {
                    self.outruns -= 1;
                    let fault = Fault { class: FaultClass::Changed, detail: String::new() };
                    self.controller.on(Event::Held(hold.identity.uid, Err(fault)), self.now)
                }
                Effect::Hold(hold) => {
                    let uid = hold.identity.uid;
                    let tenure = self.tenures.entry(uid.clone()).or_default();
                    tenure.held = hold.on;
                    if !hold.on && tenure.deleting {
                        // The object goes, and the garbage collector takes what is left.
                        self.grants.remove(&uid);
                        self.secrets.retain(|_, stored| stored.owner.as_ref() != Some(&uid));
                    }
                    let mut more = self.controller.on(Event::Held(uid, Ok(())), self.now);
                    more.extend(self.relist(&Stream::Grants));
                    more
                }
                Effect::Report(standing, notices) => {
                    self.check_outlines();
                    let uid = standing.identity.uid.clone();
                    self.standings.insert(uid.clone(), *standing);
                    self.notices.extend(notices.iter().map(|notice| notice.reason.to_owned()));
                    self.controller.on(Event::Reported(uid, true), self.now)
                }
            };
            pending.extend(more);
        }
        writes
    }

    /// What metrics show is what the status says, although it is found by another way.
    fn check_outlines(&self) {
        let world = self.controller.world();
        for room in world.rooms() {
            let (outline, standing) = (Outline::of(world, room), Standing::of(world, room));
            assert_eq!((outline.ready, outline.sources), (standing.ready.truth, standing.sources), "{room}");
        }
    }

    fn apply(&mut self, plan: Plan) -> Outcome {
        let Plan { namespace, give, edits, take, .. } = plan;
        let mut outcome = Outcome::new(namespace);
        self.take_steps(give, &mut outcome);
        for edit in edits.into_iter().filter_map(|edit| outcome.trim(edit)).collect::<Vec<_>>() {
            if self.spend() {
                let result = self.edit(&outcome.namespace, &edit);
                outcome.edits.push((edit, result));
            }
        }
        self.take_steps(take, &mut outcome);
        outcome
    }

    fn take_steps(&mut self, steps: Vec<Step>, outcome: &mut Outcome) {
        for step in steps {
            if outcome.allows(&step) && self.spend() {
                let result = self.carry_out(&outcome.namespace, &step);
                outcome.results.push((step, result));
            }
        }
    }

    /// Whether the process lives to make another write.
    fn spend(&mut self) -> bool {
        let lives = self.writes_left != Some(0);
        self.writes_left = self.writes_left.map(|left| left.saturating_sub(1));
        lives
    }

    /// Edits a ServiceAccount as the API server does: in the version that was seen, and at these positions.
    fn edit(&mut self, namespace: &NamespaceName, edit: &Edit) -> Result<Version, Fault> {
        let at = AccountRef { namespace: namespace.clone(), name: edit.account.clone() };
        for change in &edit.changes {
            let (verb, secret) = (change.verb.as_str(), &change.secret);
            self.history.push(format!("{verb} {secret} {at} because {}", change.because));
            let stands =
                self.secrets.contains_key(&SecretRef { namespace: namespace.clone(), name: secret.clone() });
            assert!(stands || change.verb == Verb::Detach, "{at} would name {secret}, which is not there");
            assert!(
                self.tenures.get(&change.grant).is_some_and(|tenure| tenure.held)
                    || change.verb == Verb::Detach,
                "nothing would make sure that {at} lets go of {secret}"
            );
        }
        if self.locked.contains(&at) {
            return Err(Fault { class: FaultClass::Forbidden, detail: "HTTP 403".to_owned() });
        }
        self.versions += 1;
        let changed = || Fault { class: FaultClass::Changed, detail: "HTTP 409".to_owned() };
        let account = self.accounts.get_mut(&at).filter(|account| account.version == edit.version());
        let account = account.ok_or_else(changed)?;
        for place in edit.removed().into_iter().rev() {
            account.secrets.remove(place);
        }
        account.secrets.extend(edit.added().cloned());
        account.version = Version(self.versions);
        Ok(account.version)
    }

    /// Puts a ServiceAccount down, or edits it as somebody else does.
    pub fn account(&mut self, namespace: &str, name: &str, secrets: &[&str]) {
        let at = AccountRef { namespace: namespace.into(), name: name.into() };
        let version = Version(self.version());
        let secrets = secrets.iter().map(SecretName::new).collect();
        let uid = Uid::new(format!("account-{at}"));
        self.accounts.insert(at, Account { uid, version, secrets });
    }

    /// The names that stand in a ServiceAccount.
    pub fn attached(&self, namespace: &str, name: &str) -> Vec<String> {
        let at = AccountRef { namespace: namespace.into(), name: name.into() };
        self.accounts[&at].secrets.iter().map(ToString::to_string).collect()
    }

    fn carry_out(&mut self, namespace: &NamespaceName, step: &Step) -> Result<Written, Fault> {
        let at = SecretRef { namespace: namespace.clone(), name: step.action.secret().clone() };
        self.history.push(format!("{} {at} because {}", step.action.verb(), step.because));
        if matches!(step.action, Action::Delete(_)) && step.because != Because::GrantDeleted {
            let names = |(at, account): (&AccountRef, &Account)| {
                at.namespace == *namespace
                    && account.secrets.contains(step.action.secret())
                    && !self.locked.contains(at)
                    && self.was_attached(&step.grant, at)
            };
            assert!(!self.accounts.iter().any(names), "a ServiceAccount still names what is deleted: {at}");
        }
        if step.because == Because::Adopted {
            let unheld = self.tenures.get(&step.grant).is_none_or(|tenure| !tenure.held);
            let attaches =
                self.grants.get(&step.grant).is_some_and(|(_, grant, _)| !grant.accounts.is_empty());
            assert!(!(unheld && attaches), "nothing would make sure that accounts let go of {at}");
        }
        if self.refusing.contains(namespace) {
            return Err(Fault { class: FaultClass::Refused, detail: "HTTP 403, quota q".to_owned() });
        }
        self.versions += 1;
        let version = self.versions;
        let changed = || Fault { class: FaultClass::Changed, detail: "HTTP 409".to_owned() };
        let standing = self.secrets.get(&at).map(|stored| stored.uid.clone());
        match &step.action {
            Action::Create(sealed) => {
                if standing.is_some() {
                    return Err(changed());
                }
                let uid = format!("secret-{version}");
                self.secrets.insert(at, Stored::written(sealed, &uid, version, false));
                Ok(Written::Stands(Uid::new(uid), Version(version)))
            }
            Action::Update(owned, sealed) => {
                if standing.as_deref() != Some(owned.uid().as_str()) {
                    return Err(changed());
                }
                let legacy_copy = self.secrets[&at].legacy_copy;
                self.secrets.insert(at, Stored::written(sealed, owned.uid().as_str(), version, legacy_copy));
                Ok(Written::Stands(owned.uid().clone(), Version(version)))
            }
            Action::Scrub(owned) => {
                let stored = self.secrets.get_mut(&at).filter(|stored| stored.uid == owned.uid().as_str());
                let stored = stored.ok_or_else(changed)?;
                (stored.legacy_copy, stored.version) = (false, version);
                Ok(Written::Stands(owned.uid().clone(), Version(version)))
            }
            Action::Delete(owned) => {
                let seen = self.secrets.get(&at).map(|stored| (stored.uid.as_str(), stored.version));
                if seen != Some((owned.uid().as_str(), owned.version().0)) {
                    return Err(changed());
                }
                self.secrets.remove(&at);
                Ok(Written::Gone)
            }
        }
    }

    fn was_attached(&self, grant: &Uid, at: &AccountRef) -> bool {
        let room = self.controller.world().room(grant);
        room.is_some_and(|room| room.may_be_attached_to(&at.name))
    }

    /// The next version of anything.
    pub fn version(&mut self) -> u64 {
        self.versions += 1;
        self.versions
    }

    /// The registries with their user names that a target holds.
    pub fn logins(&self, namespace: &str, name: &str) -> Option<BTreeMap<String, String>> {
        let stored = self.secrets.get(&SecretRef::new(namespace, name))?;
        let parsed = dockerconfig::parse(Format::DockerConfigJson, &stored.bytes).ok()?;
        let login = |(registry, credential): (
            &imps_core::registry::RegistryKey,
            &imps_core::credential::Credential,
        )| { (registry.display_name().to_owned(), credential.username.clone()) };
        Some(parsed.keyring.iter().map(login).collect())
    }
}

impl Stored {
    /// One that somebody else made.
    pub fn foreign(version: u64, secret_type: &str, bytes: Vec<u8>) -> Self {
        Self {
            uid: format!("foreign-{version}"),
            version,
            secret_type: secret_type.to_owned(),
            bytes,
            labels: Default::default(),
            annotations: Default::default(),
            owner: None,
            by_imps: false,
            legacy_copy: false,
            immutable: false,
            consent: None,
            controller: None,
        }
    }

    fn written(sealed: &imps_core::world::Sealed, uid: &str, version: u64, legacy_copy: bool) -> Self {
        let template = &sealed.grant.template;
        Self {
            uid: uid.to_owned(),
            version,
            secret_type: TARGET_TYPE.to_owned(),
            bytes: sealed.payload.bytes().to_vec(),
            labels: template.labels.clone(),
            annotations: template.annotations.clone(),
            owner: Some(sealed.grant.identity.uid.clone()),
            by_imps: true,
            legacy_copy,
            immutable: false,
            consent: None,
            controller: None,
        }
    }

    fn sighting(&self) -> Sighting {
        let (labels, annotations, applied_owners) = if self.by_imps {
            (self.labels.clone(), self.annotations.clone(), self.owner.iter().cloned().collect())
        } else {
            Default::default()
        };
        Sighting {
            uid: Uid::new(&self.uid),
            version: Version(self.version),
            secret_type: self.secret_type.clone(),
            payload: Sha256::digest(&self.bytes).into(),
            labels,
            annotations,
            owners: self.owner.iter().cloned().collect(),
            applied_owners,
            owner_label: self.owner.clone(),
            applied: self.by_imps,
            pristine: self.by_imps,
            legacy_copy: self.legacy_copy,
            immutable: self.immutable,
            deleting: false,
            consent: self.consent.as_ref().map(|name| name.as_str().into()),
            controller: self.controller.clone(),
        }
    }
}

/// What a status keeps of a standing.
pub fn remembered(standing: &Standing) -> Record {
    Record {
        registries: standing
            .sources
            .iter()
            .map(|source| (source.at.clone(), source.registries.iter().cloned().collect()))
            .collect(),
        lives: standing
            .sources
            .iter()
            .filter_map(|source| {
                let token = source.token.as_ref()?;
                let lived =
                    Lived { expires: token.expires?, renew: token.next_refresh, of: token.of.clone() };
                Some((source.at.clone(), lived))
            })
            .collect(),
        secret_names: standing.secret_names.clone(),
        account_names: standing.account_names.clone(),
        ready: Some((standing.ready.reason.as_str().to_owned(), standing.ready.message.clone())),
        met: standing.met.clone(),
    }
}

pub fn document(secret_type: &str, text: &str) -> Document {
    let key = if secret_type == "kubernetes.io/dockercfg" { ".dockercfg" } else { ".dockerconfigjson" };
    let data = BTreeMap::from([(key.to_owned(), Zeroizing::new(text.as_bytes().to_vec()))]);
    Document { secret_type: secret_type.to_owned(), data, ..Document::default() }
}

/// `{"auths": …}` with a login for each `registry=user`; the password says who it belongs to.
pub fn docker_config(logins: &[(&str, &str)]) -> String {
    let entries: Vec<String> = logins
        .iter()
        .map(|(registry, user)| {
            format!(r#""{registry}":{{"username":"{user}","password":"password-of-{user}"}}"#)
        })
        .collect();
    format!(r#"{{"auths":{{{}}}}}"#, entries.join(","))
}

pub fn tags(pairs: &[(&str, &str)]) -> Tags {
    pairs.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect()
}

pub fn selector(pair: &str) -> Selector {
    match pair.split_once('=') {
        Some((key, value)) => Selector::exactly([(key.to_owned(), value.to_owned())]),
        None if pair == "everything" => Selector::default(),
        None => Selector::default().and(pair, "Exists", &[]).unwrap(),
    }
}

/// A grant with nothing but a name; `created` decides who is older.
pub fn grant(name: &str, created_seconds: i64) -> (Identity, Grant) {
    let identity =
        Identity { name: name.into(), uid: Uid::new(format!("uid-{name}")), generation: 1, created_seconds };
    let grant = Grant {
        identity: identity.clone(),
        sources: Vec::new(),
        template: Template { name: SecretName::new("pull"), ..Template::default() },
        ..Grant::default()
    };
    (identity, grant)
}

pub fn pattern(text: &str) -> NamePattern {
    NamePattern::new(text)
}

pub fn pod_term(pair: &str) -> PodTerm {
    PodTerm::Label(selector(pair))
}

pub fn pod(index: usize, namespace: &str, labels: Tags) -> Pod {
    Pod {
        uid: PodUid::parse(&format!("pod-{index}")),
        namespace: namespace.into(),
        labels,
        annotations: Tags::new(),
        deleting: false,
    }
}
