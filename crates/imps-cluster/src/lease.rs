//! The hands of an election: requests about one Lease, one at a time, on a client of their own, and the news for
//! whoever acts. Who leads is decided by `imps_core::leadership`.
//!
//! The client shares nothing with that of all other requests: neither connections nor anything that they wait for.

use std::time::{Duration, Instant};

use futures::FutureExt;
use futures::future::BoxFuture;
use imps_api::keys;
use imps_core::holding::Version;
use imps_core::leadership::{Answer, Bid, Candidate, Effect, Event, Loss, Seat, Terms, Title};
use imps_core::reason::{Fault, FaultClass};
use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::coordination::v1::Lease;
use k8s_openapi::api::core::v1::ObjectReference;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::MicroTime;
use kube::api::{Patch, PatchParams, PostParams};
use kube::runtime::events::{Event as Notice, EventType, Recorder, Reporter};
use kube::{Api, Client};
use serde_json::{Value, json};
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinHandle;

use crate::fault;
use crate::fence::Warrant;

/// How long an event about the Lease is waited for. It is worth no more.
const NOTICE_TIMEOUT: Duration = Duration::from_secs(5);

/// How long the end of the process waits for the last one.
const LAST_NOTICE_TIMEOUT: Duration = Duration::from_millis(500);

/// Where the Lease is.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Place {
    /// Its namespace.
    pub namespace: String,
    /// Its name.
    pub name: String,
}

/// What whoever acts has to know.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Turn {
    /// Act.
    Lead(Title),
    /// Do not.
    Follow,
}

/// An election in which this process is a candidate.
pub struct Election {
    turns: mpsc::UnboundedReceiver<Turn>,
    resign: oneshot::Sender<()>,
    task: JoinHandle<bool>,
}

struct Usher {
    client: Client,
    place: Place,
    candidate: Candidate,
    patience: Duration,
    life: Duration,
    warrant: Warrant,
    turns: mpsc::UnboundedSender<Turn>,
    request: Option<BoxFuture<'static, Result<Reply, Fault>>>,
    /// The time that was written last: the next one has to differ, or others would think that nothing moves.
    stamp: Option<Timestamp>,
    uid: Option<String>,
    /// The last event, while it is on its way.
    notice: Option<JoinHandle<()>>,
    /// What is said in the log already.
    holder: Option<String>,
    fault: Option<Fault>,
}

enum Reply {
    Read(Option<Lease>),
    Written(Lease),
}

impl Election {
    /// Begins. The warrant holds while this process leads.
    pub fn begin(client: Client, place: Place, name: String, terms: Terms, warrant: Warrant) -> Self {
        let (tell, turns) = mpsc::unbounded_channel();
        let (resign, resigned) = oneshot::channel();
        let usher = Usher {
            client,
            place,
            candidate: Candidate::new(name, terms, Instant::now()),
            patience: terms.patience(),
            life: terms.lease(),
            warrant,
            turns: tell,
            request: None,
            stamp: None,
            uid: None,
            notice: None,
            holder: None,
            fault: None,
        };
        Self { turns, resign, task: tokio::spawn(usher.run(resigned)) }
    }

    /// The next change; none when the election broke.
    pub async fn turn(&mut self) -> Option<Turn> {
        self.turns.recv().await
    }

    /// Gives the Lease back, so that a successor need not wait for its end. Only for one that does nothing in the name
    /// of the leader any more. Returns whether it is free of this process.
    pub async fn resign(self) -> bool {
        // A task that has ended by a panic has let nothing go.
        self.resign.send(()).is_ok() && self.task.await.unwrap_or(false)
    }
}

impl Drop for Usher {
    /// Whatever ends this, nobody acts in its name any more.
    fn drop(&mut self) {
        self.warrant.set(None);
    }
}

impl Usher {
    async fn run(mut self, mut resigned: oneshot::Receiver<()>) -> bool {
        let mut leaving = false;
        let mut event = Event::Tick;
        loop {
            let effects = self.candidate.on(event, Instant::now());
            // Before anybody hears of it.
            self.warrant.set(self.candidate.until());
            for effect in effects {
                match effect {
                    Effect::Read => self.request = Some(self.read()),
                    Effect::Write(bid) => self.request = Some(self.write(&bid)),
                    Effect::Lead(title) => self.lead(title),
                    Effect::Follow(loss) => self.follow(&loss),
                    Effect::Resigned { vacated } => {
                        if let Some(notice) = self.notice.take() {
                            // It is worth no more than that, and the Lease is free already.
                            let _ = tokio::time::timeout(LAST_NOTICE_TIMEOUT, notice).await;
                        }
                        return vacated;
                    }
                }
            }
            self.tell_holder();
            let due = self.candidate.due().unwrap_or_else(|| Instant::now() + self.life);
            event = tokio::select! {
                biased;
                // Whoever would resign may have gone, which is the end of the process.
                _ = &mut resigned, if !leaving => {
                    leaving = true;
                    Event::Resign
                }
                reply = async { self.request.as_mut().expect("looked at below").await }, if self.request.is_some() => {
                    self.request = None;
                    Event::Answer(self.hear(reply))
                }
                () = tokio::time::sleep_until(due.into()) => Event::Tick,
            };
        }
    }

    // === requests ===

    fn api(&self) -> Api<Lease> {
        Api::namespaced(self.client.clone(), &self.place.namespace)
    }

    fn read(&self) -> BoxFuture<'static, Result<Reply, Fault>> {
        let (api, name, patience) = (self.api(), self.place.name.clone(), self.patience);
        async move { within(patience, api.get_opt(&name)).await.map(Reply::Read) }.boxed()
    }

    /// Each write holds only for the version that was seen, or for none.
    fn write(&mut self, bid: &Bid) -> BoxFuture<'static, Result<Reply, Fault>> {
        let (api, name, patience) = (self.api(), self.place.name.clone(), self.patience);
        let now = self.next_stamp(bid);
        let seconds = i32::try_from(self.life.as_secs()).unwrap_or(i32::MAX);
        let mut spec = json!({"leaseDurationSeconds": seconds, "renewTime": MicroTime(now)});
        let version = match bid {
            Bid::Found => {
                take(&mut spec, self.candidate.name(), now, 0);
                let lease = json!({"metadata": {"name": name}, "spec": spec});
                return async move {
                    let lease: Lease =
                        serde_json::from_value(lease).map_err(|_| fault::empty("shape of a Lease"))?;
                    within(patience, api.create(&params(), &lease)).await.map(Reply::Written)
                }
                .boxed();
            }
            Bid::Take { version, term } => {
                take(&mut spec, self.candidate.name(), now, *term);
                version
            }
            Bid::Renew { version } => version,
            Bid::Vacate { version } => {
                spec["holderIdentity"] = json!("");
                version
            }
        };
        // A merge leaves alone what others keep on the object. With the version in it, it fails for any other one.
        let patch = json!({"metadata": {"resourceVersion": version.0.to_string()}, "spec": spec});
        let params =
            PatchParams { field_manager: Some(keys::FIELD_MANAGER.to_owned()), ..PatchParams::default() };
        async move {
            within(patience, api.patch(&name, &params, &Patch::Merge(patch))).await.map(Reply::Written)
        }
        .boxed()
    }

    /// A time for people, and for candidates that look whether it changes: also on a clock that stands or was set back,
    /// each is later than the one before.
    fn next_stamp(&mut self, bid: &Bid) -> Timestamp {
        let before = self.stamp.filter(|_| !matches!(bid, Bid::Found | Bid::Take { .. }));
        let least = before.and_then(|before| before.checked_add(SignedDuration::from_micros(1)).ok());
        let now = least.map_or(Timestamp::now(), |least| least.max(Timestamp::now()));
        self.stamp = Some(now);
        now
    }

    fn hear(&mut self, reply: Result<Reply, Fault>) -> Answer {
        let (answer, fault) = match reply {
            Ok(Reply::Read(lease)) => (Answer::Read(lease.map(|lease| self.seat(lease))), None),
            Ok(Reply::Written(lease)) => (Answer::Written(self.seat(lease)), None),
            Err(fault) if matches!(fault.class, FaultClass::Changed | FaultClass::Gone) => {
                (Answer::Outrun, None)
            }
            Err(fault) => (Answer::Failed, Some(fault)),
        };
        let lease = format!("{}/{}", self.place.namespace, self.place.name);
        match &fault {
            Some(fault) if self.fault.as_ref() != Some(fault) => {
                tracing::warn!(lease, %fault, "the lease cannot be read or written");
            }
            None if self.fault.is_some() => tracing::info!(lease, "the lease can be read and written again"),
            _ => {}
        }
        self.fault = fault;
        answer
    }

    fn seat(&mut self, lease: Lease) -> Seat {
        self.uid = lease.metadata.uid;
        let spec = lease.spec.unwrap_or_default();
        let time = |time: Option<MicroTime>| time.map(|time| time.0.to_string()).unwrap_or_default();
        Seat {
            version: Version::parse(lease.metadata.resource_version.as_deref().unwrap_or_default()),
            holder: spec.holder_identity.filter(|holder| !holder.is_empty()),
            life: spec
                .lease_duration_seconds
                .and_then(|seconds| u64::try_from(seconds).ok())
                .map(Duration::from_secs),
            term: spec.lease_transitions.and_then(|term| u32::try_from(term).ok()).unwrap_or_default(),
            stamp: format!("{} {}", time(spec.acquire_time), time(spec.renew_time)),
        }
    }

    // === news ===

    fn lead(&mut self, title: Title) {
        let (lease, identity) = (&self.place.name, self.candidate.name().to_owned());
        tracing::info!(lease, identity, resumed = title == Title::Resumption, "became the leader");
        self.publish(format!("{identity} became leader"));
        // Nobody listens any more only at the end of the process.
        let _ = self.turns.send(Turn::Lead(title));
    }

    fn follow(&mut self, loss: &Loss) {
        let (lease, identity) = (&self.place.name, self.candidate.name().to_owned());
        match loss {
            Loss::Resigned => tracing::info!(lease, identity, reason = %loss, "stopped leading"),
            Loss::Expired | Loss::Taken(_) => {
                tracing::warn!(lease, identity, reason = %loss, "stopped leading; goes on as a standby");
            }
        }
        self.publish(format!("{identity} stopped leading"));
        let _ = self.turns.send(Turn::Follow);
    }

    fn tell_holder(&mut self) {
        let holder = self.candidate.holder();
        if self.holder.as_deref() == holder {
            return;
        }
        if let Some(leader) = holder.filter(|holder| *holder != self.candidate.name()) {
            tracing::info!(lease = self.place.name, leader, "another process leads, this one stands by");
        }
        self.holder = holder.map(str::to_owned);
    }

    /// An event about the Lease, in the words of all Kubernetes controllers
    /// (kubernetes/client-go:tools/leaderelection/leaderelection.go). It is lost when it cannot be published: the log
    /// says the same.
    fn publish(&mut self, note: String) {
        let reporter = Reporter {
            controller: keys::REPORTING_CONTROLLER.to_owned(),
            instance: Some(self.candidate.name().to_owned()),
        };
        let recorder = Recorder::new(self.client.clone(), reporter);
        let regarding = ObjectReference {
            api_version: Some("coordination.k8s.io/v1".to_owned()),
            kind: Some("Lease".to_owned()),
            name: Some(self.place.name.clone()),
            namespace: Some(self.place.namespace.clone()),
            uid: self.uid.clone(),
            ..ObjectReference::default()
        };
        let event = Notice {
            type_: EventType::Normal,
            reason: "LeaderElection".to_owned(),
            note: Some(note),
            action: "Election".to_owned(),
            secondary: None,
        };
        self.notice = Some(tokio::spawn(async move {
            if let Err(fault) = within(NOTICE_TIMEOUT, recorder.publish(&event, &regarding)).await {
                tracing::debug!(%fault, "event about the lease not published");
            }
        }));
    }
}

fn take(spec: &mut Value, name: &str, now: Timestamp, term: u32) {
    spec["holderIdentity"] = json!(name);
    spec["acquireTime"] = json!(MicroTime(now));
    spec["leaseTransitions"] = json!(i32::try_from(term).unwrap_or(i32::MAX));
}

fn params() -> PostParams {
    PostParams { field_manager: Some(keys::FIELD_MANAGER.to_owned()), ..PostParams::default() }
}

async fn within<T>(
    patience: Duration,
    request: impl Future<Output = Result<T, kube::Error>>,
) -> Result<T, Fault> {
    match tokio::time::timeout(patience, request).await {
        Ok(answer) => answer.map_err(|error| fault::fault(&error)),
        Err(_) => Err(fault::timed_out(patience)),
    }
}
