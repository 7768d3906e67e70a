//! The loop: one event at a time into the machine, its effects out to the hands, what came of them back in.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use imps_api::ImagePullSecretStatus;
use imps_cluster::apply;
use imps_cluster::lease::{Election, Turn};
use imps_cluster::remit::Remit;
use imps_cluster::report::Herald;
use imps_cluster::watch::{News, listen};
use imps_core::controller::{Controller, Effect, Event, Hold};
use imps_core::exchange::KeylessAllowed;
use imps_core::name::{NamespaceName, Uid};
use imps_core::reason::Remedy;
use imps_core::world::{Fact, Stream, Terms};
use kube::Client;
use tokio::sync::mpsc;
use tokio::task::{JoinError, JoinHandle, JoinSet};
use tracing::Instrument;

use super::clock::Clock;
use super::exchanger::Exchanger;
use super::window::{HEARTBEAT, Look, View, Window};

/// How many pieces of news may wait: enough to keep the watches flowing, few enough to stay small.
const NEWS_MAX: usize = 1024;
/// How long requests in flight may take to end after the process was asked to stop. Kubernetes kills after 30 s, and
/// whoever waits for a rollout waits for this.
const DRAIN: Duration = Duration::from_secs(4);
/// How long giving the Lease back may take. A server that needs longer lets nobody else in either.
const RESIGN: Duration = Duration::from_secs(2);

/// How the operator behaves.
pub(crate) struct Settings {
    /// How long the credentials of a deleted source Secret stay in use.
    pub(crate) missing_source_grace: Duration,
    /// How often everything is looked at again.
    pub(crate) resync: Option<Duration>,
    /// Whose identity may be used for source Secrets that bring none.
    pub(crate) keyless: KeylessAllowed,
    /// The only namespaces that are served; none means all of them.
    pub(crate) served: Option<BTreeSet<NamespaceName>>,
}

/// A part in an election.
pub(crate) struct Seat {
    /// The name of its Lease.
    pub(crate) lease: String,
    pub(crate) election: Election,
}

/// Why the loop cannot go on. The process cannot know what was left undone, so it has to start anew.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Broken {
    #[error("a task of the operator panicked")]
    Task(#[from] JoinError),
    #[error("the election of a leader broke off")]
    Election,
}

/// See the module.
pub(crate) struct Crank {
    seat: Option<Seat>,
    client: Client,
    remit: Remit,
    herald: Herald,
    exchanger: Exchanger,
    clock: Clock,
    controller: Controller,
    window: Window,
    looks: mpsc::Receiver<Look>,
    news: mpsc::Receiver<News>,
    tell: mpsc::Sender<News>,
    listeners: BTreeMap<Stream, JoinHandle<()>>,
    hands: JoinSet<Event>,
    /// Exchanges: nothing is lost when one is given up, so nobody waits for them at the end.
    errands: JoinSet<Event>,
    statuses: BTreeMap<Uid, Option<ImagePullSecretStatus>>,
}

impl Crank {
    /// With a seat it acts only when it is elected.
    pub(crate) fn new(
        client: Client,
        remit: Remit,
        settings: Settings,
        seat: Option<Seat>,
    ) -> (Self, Window) {
        let exchanger = Exchanger::new(client.clone());
        let (window, looks) = Window::new(remit.clone());
        let (tell, news) = mpsc::channel(NEWS_MAX);
        let instance = std::env::var("POD_NAME").or_else(|_| std::env::var("HOSTNAME")).ok();
        let clock = Clock::now();
        let terms = Terms {
            missing_source_grace: settings.missing_source_grace,
            read_offer: imps_registry::read,
            keyless: settings.keyless,
            served: settings.served,
            wall_clock: clock.unix_seconds(),
        };
        let begin = if seat.is_some() { Controller::standby } else { Controller::new };
        let (controller, effects) = begin(terms, settings.resync, Instant::now());
        let mut crank = Self {
            seat,
            herald: Herald::new(client.clone(), &remit, instance),
            client,
            remit,
            exchanger,
            clock,
            controller,
            window: window.clone(),
            looks,
            news,
            tell,
            listeners: BTreeMap::new(),
            hands: JoinSet::new(),
            errands: JoinSet::new(),
            statuses: BTreeMap::new(),
        };
        crank.perform(effects);
        (crank, window)
    }

    /// Turns until it is asked to stop, then lets the requests in flight end, and its seat go.
    pub(crate) async fn turn(mut self, stop: impl Future<Output = ()>) -> Result<(), Broken> {
        let mut stop = std::pin::pin!(stop);
        loop {
            self.window.turn(&self.controller);
            if let Some(unix_seconds) = self.clock.jumped() {
                tracing::warn!("the wall clock was set or the machine slept; tokens are asked for anew");
                let effects = self.controller.on(Event::Fact(Fact::ClockSet(unix_seconds)), Instant::now());
                self.perform(effects);
            }
            let now = Instant::now();
            let due = self.controller.due(now).unwrap_or(now + HEARTBEAT).min(now + HEARTBEAT);
            let event = tokio::select! {
                // Outcomes before news: they free places for the next plans and carry what we know first.
                biased;
                () = &mut stop => break,
                turn = async { self.seat.as_mut().expect("looked at below").election.turn().await },
                    if self.seat.is_some() => match turn.ok_or(Broken::Election)? {
                        Turn::Lead(title) => Event::Lead(title),
                        Turn::Follow => Event::Follow,
                    },
                Some(done) = self.hands.join_next() => done?,
                Some(done) = self.errands.join_next() => done?,
                Some(look) = self.looks.recv() => {
                    // Whoever asked may have gone away.
                    let _ = look.send(View::of(&self.controller, self.exchanger.tallies(), self.seat.as_ref()));
                    continue;
                }
                Some(news) = self.news.recv() => match news {
                    News::Fact(fact) => {
                        if let Fact::GrantGone(uid) = &fact {
                            self.statuses.remove(uid);
                        }
                        Event::Fact(fact)
                    }
                    News::Status(uid, status) => {
                        self.statuses.insert(uid, *status);
                        continue;
                    }
                },
                () = tokio::time::sleep_until(due.into()) => Event::Tick,
            };
            let effects = self.controller.on(event, Instant::now());
            self.perform(effects);
        }
        self.drain().await;
        Ok(())
    }

    fn perform(&mut self, effects: Vec<Effect>) {
        for effect in effects {
            match effect {
                Effect::Watch(stream) => {
                    tracing::debug!(stream = self.remit.spell(&stream), "watching");
                    let (client, remit) = (self.client.clone(), self.remit.clone());
                    let listener = listen(client, remit, stream.clone(), self.tell.clone());
                    self.listeners.insert(stream, listener);
                }
                Effect::Unwatch(stream) => {
                    tracing::debug!(stream = self.remit.spell(&stream), "watching no longer");
                    if let Some(listener) = self.listeners.remove(&stream) {
                        listener.abort();
                    }
                }
                Effect::Apply(plan) => {
                    for step in plan.steps() {
                        let (verb, secret) = (step.action.verb(), step.action.secret());
                        tracing::debug!(namespace = %plan.namespace, %secret, verb, because = %step.because, "planned");
                    }
                    let (client, remit) = (self.client.clone(), self.remit.clone());
                    let span = tracing::debug_span!("plan", namespace = %plan.namespace);
                    let work = async move { Event::Outcome(apply::apply(client, &remit, plan).await) };
                    self.hands.spawn(work.instrument(span));
                }
                Effect::Recall(uid, at) => {
                    let client = self.client.clone();
                    self.hands.spawn(async move {
                        let answer = apply::recall(client, &at).await;
                        let ok = answer.is_ok();
                        tracing::info!(secret = %at, ok, "read an own target to recall what a failing source gave");
                        Event::Fact(Fact::Recalled(uid, answer))
                    });
                }
                Effect::Exchange(ask) => {
                    tracing::debug!(source = %ask.at, provider = ask.provider, "asking for a token");
                    self.errands.spawn(self.exchanger.clone().exchange(ask));
                }
                Effect::Hold(hold) => {
                    let herald = self.herald.clone();
                    self.hands.spawn(async move { settle(&herald, hold).await });
                }
                Effect::Report(standing, notices) => {
                    let (name, reason) = (&standing.identity.name, standing.ready.reason);
                    tracing::debug!(imagepullsecret = %name, %reason, notices = notices.len(), "reporting");
                    let herald = self.herald.clone();
                    let before = self.statuses.get(&standing.identity.uid).cloned().flatten();
                    self.hands.spawn(async move {
                        let result = herald.report(&standing, &notices, before.as_ref()).await;
                        match &result {
                            Err(fault) if fault.remedy() == Remedy::Replan => {
                                let imagepullsecret = &standing.identity.name;
                                tracing::debug!(%imagepullsecret, %fault, "status not written");
                            }
                            Err(fault) => {
                                tracing::warn!(imagepullsecret = %standing.identity.name, %fault, "status not written");
                            }
                            Ok(()) => {}
                        }
                        Event::Reported(standing.identity.uid.clone(), result.is_ok())
                    });
                }
            }
        }
    }

    async fn drain(mut self) {
        self.listeners.values().for_each(JoinHandle::abort);
        let in_flight = self.hands.len();
        let all = async { while self.hands.join_next().await.is_some() {} };
        let ended = tokio::time::timeout(DRAIN, all).await.is_ok();
        if !ended {
            tracing::warn!(in_flight, "requests in flight did not end in time");
        }
        let Some(Seat { election, .. }) = self.seat else { return };
        // A successor must not begin while something of this process may still be on its way.
        let free = ended && tokio::time::timeout(RESIGN, election.resign()).await.unwrap_or(false);
        if !free {
            tracing::warn!("the lease was not given back; another replica leads when it has run out");
        }
    }
}

/// Puts our finalizer on an `ImagePullSecret` or takes it off, and says so.
async fn settle(herald: &Herald, hold: Hold) -> Event {
    let name = &hold.identity.name;
    if hold.left > 0 {
        let left = hold.left;
        tracing::warn!(
            imagepullsecret = %name, left,
            "gives up on Secrets that will not go; Kubernetes deletes them, ServiceAccounts may still name them"
        );
    }
    let result = herald.hold(&hold).await;
    match &result {
        Ok(()) => tracing::info!(imagepullsecret = %name, held = hold.on, "finalizer settled"),
        Err(fault) if fault.remedy() == Remedy::Replan => {
            tracing::debug!(imagepullsecret = %name, held = hold.on, %fault, "object changed meanwhile");
        }
        Err(fault) => {
            tracing::warn!(imagepullsecret = %name, held = hold.on, %fault, "finalizer not settled")
        }
    }
    Event::Held(hold.identity.uid, result)
}
