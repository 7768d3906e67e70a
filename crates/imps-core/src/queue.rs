//! The queue of namespaces to plan for: each at most once, live changes before bulk work, back-off by namespace.
//!
//! Time is an argument. A namespace in flight is not handed out again; news about it waits until it is done.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::{Duration, Instant};

use crate::durations::Durations;
use crate::name::NamespaceName;

/// How many namespaces bulk work may have in flight. Sixteen workers reach the write rate of an API server; more only
/// buy latency.
pub const BULK_IN_FLIGHT_MAX: usize = 16;

/// How many namespaces may be in flight in all, so that a live change always finds a free place.
pub const IN_FLIGHT_MAX: usize = BULK_IN_FLIGHT_MAX + 4;

/// The first pause after a failure; it doubles with each further one.
const BACKOFF_MIN: Duration = Duration::from_secs(1);
/// The longest pause.
const BACKOFF_MAX: Duration = Duration::from_secs(300);
/// The pause before a namespace is planned again because somebody was faster: the watch needs a moment to tell.
const REPLAN_PAUSE: Duration = Duration::from_millis(100);
/// The buckets of [`Labour`], in seconds: from what nobody notices to more than a fan-out to thousands takes.
const LABOUR_SECONDS: [f64; 15] =
    [0.001, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 300.0];

/// Which line a namespace waits in.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Priority {
    /// Something changed in this namespace.
    Live,
    /// Something changed for many namespaces, or imps just started.
    Bulk,
}

/// What came of a namespace's plan, as far as the queue needs to know.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Done {
    /// Nothing is left to do.
    Settled,
    /// The world had changed meanwhile.
    Replan,
    /// Nothing failed, and something is left to do after this pause.
    Later(Duration),
    /// Something failed: again after a pause, which is at least this long.
    Failed(Option<Duration>),
}

/// What the queue has seen since the start, for metrics.
#[derive(Clone, Debug)]
pub struct Labour {
    /// How often a namespace began to wait for its turn.
    pub added: u64,
    /// How long they waited, pauses after failures aside.
    pub waited: Durations,
    /// How long they were in flight.
    pub worked: Durations,
    /// Plans that left nothing to do.
    pub settled: u64,
    /// Plans that left something to do although nothing failed.
    pub unsettled: u64,
    /// Plans of which something failed.
    pub failed: u64,
}

impl Default for Labour {
    fn default() -> Self {
        let none = Durations::new(&LABOUR_SECONDS);
        Self { added: 0, waited: none.clone(), worked: none, settled: 0, unsettled: 0, failed: 0 }
    }
}

#[derive(Debug)]
struct Place {
    priority: Priority,
    since: Instant,
}

#[derive(Debug)]
struct Flight {
    bulk: bool,
    since: Instant,
    /// News arrived meanwhile.
    again: Option<Priority>,
}

#[derive(Debug)]
struct Pause {
    until: Instant,
    failures: u32,
}

/// See the module.
#[derive(Default, Debug)]
pub struct Queue {
    live: VecDeque<NamespaceName>,
    bulk: VecDeque<NamespaceName>,
    queued: BTreeMap<NamespaceName, Place>,
    flights: BTreeMap<NamespaceName, Flight>,
    bulk_flights: usize,
    pauses: BTreeMap<NamespaceName, Pause>,
    alarms: BTreeSet<(Instant, NamespaceName)>,
    labour: Labour,
}

impl Queue {
    /// Asks for a plan. A live change ends a pause, as it may be the cure; bulk work does not.
    pub fn push(&mut self, namespace: NamespaceName, priority: Priority, now: Instant) {
        if let Some(flight) = self.flights.get_mut(&namespace) {
            flight.again = Some(flight.again.map_or(priority, |before| before.min(priority)));
            return;
        }
        if priority == Priority::Bulk
            && self.pauses.get(&namespace).is_some_and(|pause| self.is_armed(&namespace, pause))
        {
            return;
        }
        match self.queued.get_mut(&namespace) {
            Some(place) if place.priority <= priority => return,
            // Moved to the front line; the old place is skipped when it comes up.
            Some(place) => place.priority = priority,
            None => {
                self.queued.insert(namespace.clone(), Place { priority, since: now });
                self.labour.added += 1;
            }
        }
        match priority {
            Priority::Live => self.live.push_back(namespace),
            Priority::Bulk => self.bulk.push_back(namespace),
        }
    }

    /// The next namespace to plan for, which is in flight from now on; none when all places are taken.
    pub fn pop(&mut self, now: Instant) -> Option<NamespaceName> {
        self.wake(now);
        if self.flights.len() >= IN_FLIGHT_MAX {
            return None;
        }
        if let Some(namespace) = self.take(Priority::Live, now) {
            self.flights.insert(namespace.clone(), Flight { bulk: false, since: now, again: None });
            return Some(namespace);
        }
        if self.bulk_flights >= BULK_IN_FLIGHT_MAX {
            return None;
        }
        let namespace = self.take(Priority::Bulk, now)?;
        self.bulk_flights += 1;
        self.flights.insert(namespace.clone(), Flight { bulk: true, since: now, again: None });
        Some(namespace)
    }

    /// A namespace is no longer in flight. `spread` is any number that differs between namespaces; it keeps those
    /// that failed together from trying again together.
    pub fn done(&mut self, namespace: &NamespaceName, what: Done, spread: u32, now: Instant) {
        let Some(flight) = self.flights.remove(namespace) else { return };
        self.bulk_flights -= usize::from(flight.bulk);
        self.labour.worked.add(now.saturating_duration_since(flight.since));
        *match what {
            Done::Settled => &mut self.labour.settled,
            Done::Replan | Done::Later(_) => &mut self.labour.unsettled,
            Done::Failed(_) => &mut self.labour.failed,
        } += 1;
        let failures = self.pauses.get(namespace).map_or(0, |pause| pause.failures);
        match what {
            Done::Settled => self.forget_pause(namespace),
            Done::Replan => self.pause(namespace, REPLAN_PAUSE, failures, now),
            Done::Later(pause) => self.pause(namespace, pause, failures, now),
            Done::Failed(at_least) => {
                let pause = backoff(failures, spread).max(at_least.unwrap_or_default());
                self.pause(namespace, pause, failures.saturating_add(1), now);
            }
        }
        if let Some(priority) = flight.again {
            self.push(namespace.clone(), priority, now);
        }
    }

    /// Begins anew after somebody else has worked: whoever made namespaces fail may have been seen to, and nobody has
    /// waited for this queue until now.
    pub fn resume(&mut self, now: Instant) {
        for (_, namespace) in std::mem::take(&mut self.alarms) {
            self.push(namespace, Priority::Bulk, now);
        }
        self.pauses.clear();
        self.queued.values_mut().for_each(|place| place.since = now);
    }

    /// Forgets a namespace that is gone.
    pub fn forget(&mut self, namespace: &NamespaceName) {
        self.queued.remove(namespace);
        self.forget_pause(namespace);
    }

    /// When [`Queue::pop`] may next have something that it has not now; `now` or earlier means at once.
    pub fn due(&self, now: Instant) -> Option<Instant> {
        let room = self.flights.len() < IN_FLIGHT_MAX;
        // A line may hold places that were given up; `pop` clears those away, so this is never true for long.
        let ready =
            !self.live.is_empty() || (!self.bulk.is_empty() && self.bulk_flights < BULK_IN_FLIGHT_MAX);
        if room && ready {
            return Some(now);
        }
        self.alarms.first().map(|(at, _)| *at)
    }

    /// Whether nothing waits, nothing pauses and nothing is in flight.
    pub fn is_idle(&self) -> bool {
        self.depth() == 0 && self.in_flight() == 0
    }

    /// Whether a namespace waits for its turn or is in flight; one that pauses does not count.
    pub(crate) fn holds(&self, namespace: &NamespaceName) -> bool {
        self.queued.contains_key(namespace) || self.flights.contains_key(namespace)
    }

    /// How many namespaces wait, paused ones included.
    pub fn depth(&self) -> usize {
        self.queued.len() + self.alarms.len()
    }

    /// How many namespaces wait for their turn and for nothing else.
    pub fn waiting(&self) -> usize {
        self.queued.len()
    }

    /// Since when each namespace in flight has been that.
    pub fn flights(&self) -> impl Iterator<Item = Instant> {
        self.flights.values().map(|flight| flight.since)
    }

    /// What it has seen.
    pub fn labour(&self) -> &Labour {
        &self.labour
    }

    /// How many namespaces are in flight.
    pub fn in_flight(&self) -> usize {
        self.flights.len()
    }

    fn take(&mut self, priority: Priority, now: Instant) -> Option<NamespaceName> {
        let line = match priority {
            Priority::Live => &mut self.live,
            Priority::Bulk => &mut self.bulk,
        };
        while let Some(namespace) = line.pop_front() {
            if self.queued.get(&namespace).is_some_and(|place| place.priority == priority) {
                if let Some(place) = self.queued.remove(&namespace) {
                    self.labour.waited.add(now.saturating_duration_since(place.since));
                }
                self.disarm(&namespace);
                return Some(namespace);
            }
        }
        None
    }

    fn wake(&mut self, now: Instant) {
        while let Some((at, _)) = self.alarms.first()
            && *at <= now
        {
            let (_, namespace) = self.alarms.pop_first().expect("it was there a line ago");
            self.push(namespace, Priority::Bulk, now);
        }
    }

    fn pause(&mut self, namespace: &NamespaceName, pause: Duration, failures: u32, now: Instant) {
        self.disarm(namespace);
        let until = now + pause;
        self.pauses.insert(namespace.clone(), Pause { until, failures });
        self.alarms.insert((until, namespace.clone()));
    }

    fn is_armed(&self, namespace: &NamespaceName, pause: &Pause) -> bool {
        self.alarms.contains(&(pause.until, namespace.clone()))
    }

    /// The alarm goes, the count of failures stays: only success ends it.
    fn disarm(&mut self, namespace: &NamespaceName) {
        if let Some(pause) = self.pauses.get(namespace) {
            self.alarms.remove(&(pause.until, namespace.clone()));
        }
    }

    fn forget_pause(&mut self, namespace: &NamespaceName) {
        self.disarm(namespace);
        self.pauses.remove(namespace);
    }
}

/// Doubles from one second to five minutes, and takes between half and all of it.
fn backoff(failures: u32, spread: u32) -> Duration {
    let whole = BACKOFF_MIN.saturating_mul(1 << failures.min(16)).min(BACKOFF_MAX);
    let part = f64::from(spread) / f64::from(u32::MAX);
    whole.mul_f64(0.5 + part / 2.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[expect(clippy::disallowed_methods, reason = "a test needs some moment to start from")]
    fn now() -> Instant {
        Instant::now()
    }

    fn name(index: usize) -> NamespaceName {
        NamespaceName::new(format!("n{index}"))
    }

    #[test]
    fn a_namespace_is_queued_once_however_often_it_is_pushed() {
        let (mut queue, now) = (Queue::default(), now());
        for _ in 0..3 {
            queue.push(name(1), Priority::Bulk, now);
            queue.push(name(1), Priority::Live, now);
        }
        assert_eq!(queue.pop(now), Some(name(1)));
        assert_eq!(queue.pop(now), None);
    }

    #[test]
    fn live_changes_go_before_bulk_work_and_find_a_place() {
        let (mut queue, now) = (Queue::default(), now());
        for index in 0..100 {
            queue.push(name(index), Priority::Bulk, now);
        }
        while queue.pop(now).is_some() {}
        assert_eq!(queue.in_flight(), BULK_IN_FLIGHT_MAX);
        queue.push(name(1000), Priority::Live, now);
        assert_eq!(queue.pop(now), Some(name(1000)));
    }

    #[test]
    fn news_about_a_namespace_in_flight_waits_until_it_is_done() {
        let (mut queue, now) = (Queue::default(), now());
        queue.push(name(1), Priority::Live, now);
        queue.pop(now);
        queue.push(name(1), Priority::Live, now);
        assert_eq!(queue.pop(now), None);
        queue.done(&name(1), Done::Settled, 0, now);
        assert_eq!(queue.pop(now), Some(name(1)));
        queue.done(&name(1), Done::Settled, 0, now);
        assert_eq!(queue.pop(now), None);
    }

    #[test]
    fn failures_pause_longer_each_time_and_success_ends_it() {
        let (mut queue, start) = (Queue::default(), now());
        let mut at = start;
        let mut pauses = Vec::new();
        queue.push(name(1), Priority::Live, at);
        for _ in 0..12 {
            assert_eq!(queue.pop(at), Some(name(1)));
            queue.done(&name(1), Done::Failed(None), u32::MAX, at);
            assert_eq!(queue.pop(at), None, "it pauses");
            let due = queue.due(at).unwrap();
            pauses.push(due - at);
            at = due;
        }
        assert!(pauses.windows(2).all(|pair| pair[0] <= pair[1]), "{pauses:?}");
        assert_eq!((pauses[0], pauses[11]), (BACKOFF_MIN, BACKOFF_MAX));
        assert_eq!(queue.pop(at), Some(name(1)));
        queue.done(&name(1), Done::Settled, 0, at);
        assert_eq!((queue.due(at), queue.depth()), (None, 0));
    }

    #[test]
    fn the_server_s_wish_when_to_come_again_is_kept() {
        let (mut queue, now) = (Queue::default(), now());
        queue.push(name(1), Priority::Live, now);
        queue.pop(now);
        queue.done(&name(1), Done::Failed(Some(Duration::from_secs(40))), 0, now);
        assert_eq!(queue.due(now), Some(now + Duration::from_secs(40)));
    }

    #[test]
    fn bulk_work_does_not_cut_a_pause_short_and_a_live_change_does() {
        let (mut queue, now) = (Queue::default(), now());
        queue.push(name(1), Priority::Live, now);
        queue.pop(now);
        queue.done(&name(1), Done::Failed(None), 0, now);
        queue.push(name(1), Priority::Bulk, now);
        assert_eq!(queue.pop(now), None);
        queue.push(name(1), Priority::Live, now);
        assert_eq!(queue.pop(now), Some(name(1)));
        assert_eq!(queue.due(now), None, "its alarm went with it");
    }

    #[test]
    fn a_namespace_that_is_gone_is_not_planned_for() {
        let (mut queue, now) = (Queue::default(), now());
        queue.push(name(1), Priority::Live, now);
        queue.forget(&name(1));
        assert_eq!(queue.pop(now), None);
    }

    #[test]
    fn a_wait_ends_with_the_turn_and_the_work_when_it_is_done_and_a_pause_is_neither() {
        const SECOND: Duration = Duration::from_secs(1);
        let (mut queue, start) = (Queue::default(), now());
        queue.push(name(1), Priority::Bulk, start);
        // Moved to the other line it has waited since it came.
        queue.push(name(1), Priority::Live, start + SECOND);
        queue.pop(start + 2 * SECOND);
        assert_eq!(queue.flights().collect::<Vec<_>>(), [start + 2 * SECOND]);
        queue.done(&name(1), Done::Failed(Some(60 * SECOND)), 0, start + 5 * SECOND);
        assert_eq!((queue.waiting(), queue.depth()), (0, 1));
        queue.pop(start + 65 * SECOND);
        queue.done(&name(1), Done::Replan, 0, start + 66 * SECOND);
        queue.push(name(1), Priority::Live, start + 66 * SECOND);
        queue.pop(start + 67 * SECOND);
        queue.done(&name(1), Done::Settled, 0, start + 67 * SECOND);
        let Labour { added, waited, worked, settled, unsettled, failed } = queue.labour();
        assert_eq!((*added, *settled, *unsettled, *failed), (3, 1, 1, 1));
        assert_eq!((waited.count(), waited.seconds()), (3, 3.0));
        assert_eq!((worked.count(), worked.seconds()), (3, 4.0));
    }

    #[test]
    fn what_waited_while_somebody_else_worked_has_waited_since_the_takeover() {
        let (mut queue, start) = (Queue::default(), now());
        queue.push(name(1), Priority::Bulk, start);
        let takeover = start + Duration::from_secs(3600);
        queue.resume(takeover);
        queue.pop(takeover + Duration::from_secs(1));
        assert_eq!(queue.labour().waited.seconds(), 1.0);
    }
}
