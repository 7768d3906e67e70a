//! The window into the loop: probes and metrics look through it and never touch the world itself.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use imps_cluster::remit::Remit;
use imps_core::controller::{Controller, Counters};
use imps_core::queue::Labour;
use imps_core::reason::FaultClass;
use imps_core::standing::{Life, Outline, Truth};
use imps_core::world::{Stream, Tally};
use tokio::sync::{mpsc, oneshot};

use super::crank::Seat;
use super::exchanger::Tallies;
use super::inspection::Finding;

/// A loop that has not turned for this long is stuck. It turns at least every [`HEARTBEAT`].
const STUCK_AFTER: Duration = Duration::from_secs(60);
/// How often the loop turns when nothing happens.
pub(crate) const HEARTBEAT: Duration = Duration::from_secs(5);
/// How long a scrape waits for the loop.
const LOOK_TIMEOUT: Duration = Duration::from_secs(5);

/// A request for a view.
pub(crate) type Look = oneshot::Sender<View>;

#[derive(Clone)]
pub(crate) struct Window {
    remit: Remit,
    pulse: Arc<Mutex<Pulse>>,
    looks: mpsc::Sender<Look>,
    definition: Finding,
}

struct Pulse {
    turned: Instant,
    missing: Option<String>,
}

/// What metrics are made from.
#[derive(Debug)]
pub(crate) struct View {
    /// The name of the Lease, and whether this process leads by it; none when it takes part in no election.
    pub(crate) leads: Option<(String, bool)>,
    /// Only the leader knows how they stand.
    pub(crate) grants: Vec<GrantView>,
    pub(crate) counters: Counters,
    /// How many namespaces wait for a plan, paused ones included.
    pub(crate) queue_depth: usize,
    /// How many of them wait for nothing but their turn.
    pub(crate) waiting: usize,
    /// For how long each plan that is being carried out has been that.
    pub(crate) flights: Vec<Duration>,
    pub(crate) labour: Labour,
    pub(crate) namespaces: usize,
    pub(crate) pods: usize,
    /// Streams that do not come, by resource and by whether a right is missing.
    pub(crate) broken: BTreeMap<(&'static str, &'static str), usize>,
    /// Identities that are exchanged for tokens.
    pub(crate) identities: usize,
    pub(crate) exchanges: Tallies,
    /// Whether the installed definition lacks something; none where that is not known.
    pub(crate) definition_outdated: Option<bool>,
}

#[derive(Debug)]
pub(crate) struct GrantView {
    pub(crate) name: String,
    pub(crate) ready: Truth,
    pub(crate) suspended: bool,
    pub(crate) tally: Tally,
    pub(crate) sources: Vec<SourceView>,
}

#[derive(Debug)]
pub(crate) struct SourceView {
    pub(crate) namespace: String,
    pub(crate) name: String,
    pub(crate) state: &'static str,
    /// The life of its token; none when it gives none.
    pub(crate) life: Option<Life>,
}

impl Window {
    pub(crate) fn new(remit: Remit) -> (Self, mpsc::Receiver<Look>) {
        let (looks, asked) = mpsc::channel(4);
        let pulse = Pulse { turned: Instant::now(), missing: Some("everything".to_owned()) };
        (Self { remit, pulse: Arc::new(Mutex::new(pulse)), looks, definition: Finding::default() }, asked)
    }

    /// The same window, which also shows what was found of the definition.
    pub(crate) fn with_definition(self, definition: Finding) -> Self {
        Self { definition, ..self }
    }

    /// The loop turned.
    pub(crate) fn turn(&self, controller: &Controller) {
        let mut pulse = self.pulse.lock().unwrap_or_else(PoisonError::into_inner);
        pulse.turned = Instant::now();
        // Once ready, a stream that starts later (a new ImagePullSecret) does not make the process unready.
        if pulse.missing.is_some() {
            let world = controller.world();
            let missing: Vec<String> = world
                .wanted_streams()
                .iter()
                .filter(|s| !world.is_heard(s))
                .map(|stream| self.remit.spell(stream))
                .collect();
            pulse.missing = (!missing.is_empty()).then(|| missing.join(", "));
        }
    }

    /// For how long the loop has been stuck, if it is.
    pub(crate) fn stuck(&self) -> Option<Duration> {
        let since = self.pulse.lock().unwrap_or_else(PoisonError::into_inner).turned.elapsed();
        (since > STUCK_AFTER).then_some(since)
    }

    /// What has not been read yet.
    pub(crate) fn missing(&self) -> Option<String> {
        self.pulse.lock().unwrap_or_else(PoisonError::into_inner).missing.clone()
    }

    /// Asks the loop for a view.
    pub(crate) async fn look(&self) -> Option<View> {
        let (answer, view) = oneshot::channel();
        let asked = async {
            self.looks.send(answer).await.ok()?;
            view.await.ok()
        };
        let view = tokio::time::timeout(LOOK_TIMEOUT, asked).await.ok().flatten()?;
        Some(View { definition_outdated: self.definition.outdated(), ..view })
    }
}

impl View {
    /// What it costs to make one does not grow with the number of namespaces, but for those of `--namespaces`, which
    /// have streams of their own.
    pub(crate) fn of(controller: &Controller, exchanges: Tallies, seat: Option<&Seat>) -> Self {
        let now = Instant::now();
        let world = controller.world();
        let leads = controller.leads();
        let grants = world.rooms().filter(|_| leads).map(|room| {
            let outline = Outline::of(world, room);
            let sources = outline.sources.iter().map(|source| SourceView {
                namespace: source.at.namespace.to_string(),
                name: source.at.name.to_string(),
                state: source.state(),
                life: Life::of(world, &source.at),
            });
            GrantView {
                name: room.identity().name.to_string(),
                ready: outline.ready,
                suspended: room.grant().is_some_and(|grant| grant.suspended),
                tally: room.tally(),
                sources: sources.collect(),
            }
        });
        let mut broken = BTreeMap::new();
        for (stream, fault) in world.broken_streams() {
            let resource = match stream {
                Stream::Grants => "imagepullsecrets",
                Stream::Namespaces => "namespaces",
                Stream::Pods { .. } => "pods",
                Stream::Source(_) | Stream::Targets(..) => "secrets",
                Stream::Accounts(..) => "serviceaccounts",
            };
            let reason = if fault.class == FaultClass::Forbidden { "AccessDenied" } else { "ApiUnavailable" };
            *broken.entry((resource, reason)).or_insert(0) += 1;
        }
        let queue = controller.queue();
        Self {
            leads: seat.map(|seat| (seat.lease.clone(), leads)),
            grants: grants.collect(),
            counters: controller.counters(),
            // Whatever a standby would look at waits for nobody.
            queue_depth: if leads { queue.depth() } else { 0 },
            waiting: if leads { queue.waiting() } else { 0 },
            flights: queue.flights().map(|since| now.saturating_duration_since(since)).collect(),
            labour: queue.labour().clone(),
            namespaces: world.namespaces().len(),
            pods: world.pods(),
            broken,
            identities: world.exchanges().len(),
            exchanges,
            definition_outdated: None,
        }
    }
}
