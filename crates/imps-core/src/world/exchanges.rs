//! The exchanges that sources ask for: one for each identity, however many sources, grants and namespaces want its
//! token.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::exchange::{ExchangeFault, ExchangeKey, Issued, Order};
use crate::holding::Version;
use crate::name::{SecretRef, Uid};
use crate::refresh::{Lane, Lease, Refresh};
use crate::source::Document;

/// How long a first request waits for an own target to be recalled, whose token may make it needless.
const RECALL_PATIENCE: Duration = Duration::from_secs(2);
/// How long a grant's first write waits for the token of a source, so that it need not be written twice.
const FIRST_PATIENCE: Duration = Duration::from_secs(3);

/// A request that has to be made.
#[derive(Clone, Debug)]
pub struct Ask {
    /// Which exchange.
    pub key: ExchangeKey,
    /// The provider's name.
    pub provider: &'static str,
    /// The source Secret to exchange for: of several that are equal, one.
    pub at: SecretRef,
    /// What it says.
    pub document: Arc<Document>,
}

/// One exchange.
#[derive(Debug)]
pub struct Exchange {
    /// When to ask, and what is held.
    pub refresh: Refresh,
    provider: &'static str,
    lane: String,
    document: Arc<Document>,
    users: BTreeSet<SecretRef>,
    placed: Instant,
    impatient: bool,
}

impl Exchange {
    /// The provider's name.
    pub fn provider(&self) -> &'static str {
        self.provider
    }

    /// The sources that want its token.
    pub fn users(&self) -> &BTreeSet<SecretRef> {
        &self.users
    }

    /// Whether a first answer is still worth waiting for.
    pub fn is_awaited(&self) -> bool {
        !self.refresh.is_answered() && !self.impatient
    }
}

/// See the module.
#[derive(Default, Debug)]
pub struct Exchanges {
    exchanges: BTreeMap<ExchangeKey, Exchange>,
    /// What each source asks for, and in which version it does.
    placed: BTreeMap<SecretRef, (ExchangeKey, (Uid, Version))>,
    lanes: BTreeMap<String, Lane>,
    /// How many requests were begun.
    begun: u64,
}

impl Exchanges {
    /// The exchange that a source asks for.
    pub fn of(&self, at: &SecretRef) -> Option<&Exchange> {
        self.exchanges.get(&self.placed.get(at)?.0)
    }

    pub(super) fn of_mut(&mut self, at: &SecretRef) -> Option<&mut Exchange> {
        self.exchanges.get_mut(&self.placed.get(at)?.0)
    }

    /// A source asks for an exchange; it may have asked for another one before.
    pub(super) fn place(&mut self, at: &SecretRef, order: &Order, document: Document, now: Instant) {
        let version = (document.uid.clone(), document.version);
        let (former, former_version) = self.placed.insert(at.clone(), (order.key, version.clone())).unzip();
        if former.is_some_and(|former| former != order.key) {
            self.leave(at, former);
        }
        let exchange = self.exchanges.entry(order.key).or_insert_with(|| Exchange {
            refresh: Refresh::new(document.uid.as_str(), now),
            provider: order.provider,
            lane: order.lane.clone(),
            document: Arc::new(Document::default()),
            users: BTreeSet::new(),
            placed: now,
            impatient: false,
        });
        let is_new = exchange.users.insert(at.clone());
        if !is_new && former_version != Some(version) {
            exchange.refresh.rearm(now);
        }
        exchange.document = Arc::new(document);
    }

    /// A source asks for none any more.
    pub(super) fn withdraw(&mut self, at: &SecretRef) {
        let former = self.placed.remove(at);
        self.leave(at, former.map(|(key, _)| key));
    }

    fn leave(&mut self, at: &SecretRef, former: Option<ExchangeKey>) {
        let Some(key) = former else { return };
        if let Some(exchange) = self.exchanges.get_mut(&key) {
            exchange.users.remove(at);
            if exchange.users.is_empty() {
                self.exchanges.remove(&key);
            }
        }
    }

    /// Takes an answer in. Returns the sources that it is for.
    pub(super) fn answer(
        &mut self,
        key: &ExchangeKey,
        answer: Result<Issued, ExchangeFault>,
        now: Instant,
    ) -> BTreeSet<SecretRef> {
        // One that nobody waits for any more is dropped.
        let Some(exchange) = self.exchanges.get_mut(key) else { return BTreeSet::new() };
        match answer {
            Ok(issued) => {
                exchange.refresh.issued(issued, now);
            }
            Err(fault) => exchange.refresh.failed(fault, now),
        }
        exchange.users.clone()
    }

    /// Takes a token over that an earlier process got for this source. Returns the sources that it is for.
    pub(super) fn adopt(&mut self, at: &SecretRef, lease: Lease, renew: Instant) -> BTreeSet<SecretRef> {
        let Some(exchange) = self.of_mut(at) else { return BTreeSet::new() };
        if exchange.refresh.lease().is_none() {
            exchange.refresh.adopt(lease, renew);
        }
        exchange.users.clone()
    }

    /// The requests to make now. Those whose sources `may_be_recalled` wait a moment for that.
    pub(super) fn begin_due(
        &mut self,
        now: Instant,
        may_be_recalled: impl Fn(&BTreeSet<SecretRef>) -> bool,
    ) -> Vec<Ask> {
        let mut due: Vec<(Instant, ExchangeKey)> = self
            .exchanges
            .iter()
            .filter_map(|(key, exchange)| Some((exchange.refresh.next().filter(|at| *at <= now)?, *key)))
            .collect();
        due.sort_unstable();
        let mut asks = Vec::new();
        for (_, key) in due {
            let Some(exchange) = self.exchanges.get_mut(&key) else { continue };
            let first = !exchange.refresh.is_answered();
            if first && now < exchange.placed + RECALL_PATIENCE && may_be_recalled(&exchange.users) {
                continue;
            }
            let Some(at) = exchange.users.first() else { continue };
            if !self.lanes.entry(exchange.lane.clone()).or_default().enter(now) {
                continue;
            }
            self.begun += 1;
            exchange.refresh.begin(self.begun, now);
            let (provider, document) = (exchange.provider, exchange.document.clone());
            asks.push(Ask { key, provider, at: at.clone(), document });
        }
        self.lanes.retain(|_, lane| !lane.is_idle(now));
        asks
    }

    /// How many requests were begun so far: those that come have greater numbers.
    pub(super) fn begun(&self) -> u64 {
        self.begun
    }

    /// Whether all that this source asks for was tried after the request number `since`; if not, it is due.
    pub(super) fn demand(&mut self, at: &SecretRef, since: u64, now: Instant) -> bool {
        self.of_mut(at).is_none_or(|exchange| exchange.refresh.demand(since, now))
    }

    /// Those that have been waited for long enough. Returns the sources that go on without.
    pub(super) fn lose_patience(&mut self, now: Instant) -> BTreeSet<SecretRef> {
        let mut without = BTreeSet::new();
        for exchange in self.exchanges.values_mut() {
            if exchange.is_awaited() && exchange.placed + FIRST_PATIENCE <= now {
                exchange.impatient = true;
                without.extend(exchange.users.iter().cloned());
            }
        }
        without
    }

    /// Another process has exchanged until now: the tokens that count are its. Returns all sources with an exchange.
    pub(super) fn hand_over(&mut self, now: Instant) -> BTreeSet<SecretRef> {
        for exchange in self.exchanges.values_mut() {
            exchange.refresh = Refresh::new(exchange.document.uid.as_str(), now);
            (exchange.placed, exchange.impatient) = (now, false);
        }
        self.placed.keys().cloned().collect()
    }

    /// The wall clock was set, or the machine slept.
    pub(super) fn doubt(&mut self, now: Instant) {
        self.exchanges.values_mut().for_each(|exchange| exchange.refresh.doubt(now));
    }

    /// When time alone changes something.
    pub(super) fn due(&self) -> Option<Instant> {
        self.exchanges.values().filter_map(|exchange| self.due_of(exchange)).min()
    }

    fn due_of(&self, exchange: &Exchange) -> Option<Instant> {
        let opens = self.lanes.get(&exchange.lane).and_then(Lane::opens);
        // What a first request waits for comes as news; only the end of the patience has to be waited for.
        let held = (!exchange.refresh.is_answered()).then_some(exchange.placed + RECALL_PATIENCE);
        let next = exchange.refresh.next().into_iter().chain(opens).chain(held).max();
        let next = next.filter(|_| exchange.refresh.next().is_some());
        let awaited = exchange.is_awaited().then_some(exchange.placed + FIRST_PATIENCE);
        next.into_iter().chain(awaited).min()
    }

    /// How many identities are exchanged.
    pub fn len(&self) -> usize {
        self.exchanges.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.exchanges.is_empty()
    }
}
