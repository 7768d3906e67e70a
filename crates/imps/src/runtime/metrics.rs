//! Metrics, made from a view at each scrape: what is gone leaves no stale series.
//!
//! The number of series grows with ImagePullSecrets and their sources, never with namespaces or pods; and so does what
//! a scrape costs.

mod controller_runtime;
mod page;
mod process;
pub(crate) mod series;

use imps_cluster::traffic::Traffic;
use imps_core::standing::{Life, Truth};

use self::page::Page;
use self::process::Birth;
use crate::controller::exchanger::Tally;
use crate::controller::window::View;

/// What the provider is called of a token whose source cannot be read any more.
const NO_PROVIDER: &str = "unknown";

/// Where metrics come from, beside the view.
#[derive(Clone, Debug)]
pub(crate) struct Metrics {
    birth: Birth,
    traffic: Traffic,
    compatible: bool,
}

impl Metrics {
    /// Of a process that starts now. `compatible` adds the series of programs that use controller-runtime.
    pub(crate) fn new(traffic: Traffic, compatible: bool) -> Self {
        Self { birth: Birth::now(), traffic, compatible }
    }

    /// The text that a scrape gets.
    pub(crate) fn render(&self, view: &View) -> String {
        let mut page = Page::default();
        process_itself(&mut page, view);
        grants(&mut page, view);
        credentials(&mut page, view);
        exchanges(&mut page, view);
        work(&mut page, view);
        if self.compatible {
            controller_runtime::show(&mut page, view);
            controller_runtime::show_requests(&mut page, &self.traffic);
            process::show(&mut page, self.birth);
        }
        page.render()
    }
}

fn process_itself(page: &mut Page, view: &View) {
    let build =
        [env!("CARGO_PKG_VERSION"), option_env!("IMPS_COMMIT").unwrap_or("unknown"), env!("IMPS_RUSTC")];
    page.show(series::BUILD_INFO, [(build, 1_u64)]);
    page.show(series::LEADS, view.leads.iter().map(|(lease, leads)| ([lease.as_str()], *leads)));
    page.say_if_known(series::CRD_OUTDATED, view.definition_outdated);
    page.say(series::CLOCK_JUMPS, view.counters.clock_jumps);
    let broken = view.broken.iter();
    page.show(
        series::WATCHES_BROKEN,
        broken.map(|((resource, reason), count)| ([*resource, *reason], *count)),
    );
}

fn grants(page: &mut Page, view: &View) {
    let grants = || view.grants.iter().map(|grant| (grant, grant.name.as_str()));
    let ready = grants().flat_map(|(grant, name)| {
        let words = [("True", Truth::True), ("False", Truth::False), ("Unknown", Truth::Unknown)];
        words.map(|(word, truth)| ([name, word], grant.ready == truth))
    });
    page.show(series::READY, ready);
    page.show(series::SUSPENDED, grants().map(|(grant, name)| ([name], grant.suspended)));
    let targets = grants().flat_map(|(grant, name)| {
        let tally = grant.tally;
        let states = [
            ("synced", tally.synced),
            ("failed", tally.failed),
            ("conflict", tally.conflict),
            ("pending", tally.pending),
            ("leaving", tally.leaving),
            ("left-out", tally.left_out),
        ];
        states.map(|(state, count)| ([name, state], count))
    });
    page.show(series::TARGETS, targets);
    let sources = grants().flat_map(|(grant, name)| grant.sources.iter().map(move |source| (name, source)));
    let states = sources
        .map(|(name, source)| ([name, source.namespace.as_str(), source.name.as_str(), source.state], true));
    page.show(series::SOURCE_STATE, states);
}

fn credentials(page: &mut Page, view: &View) {
    let mut show = |series, time: fn(&Life) -> Option<i64>| {
        let of_grants =
            view.grants.iter().flat_map(|grant| grant.sources.iter().map(move |source| (grant, source)));
        let samples = of_grants.filter_map(|(grant, source)| {
            let life = source.life.as_ref()?;
            // No sample where it is not known: a zero would read as long ago.
            let seconds = time(life).and_then(|seconds| u64::try_from(seconds).ok())?;
            let provider = life.provider.unwrap_or(NO_PROVIDER);
            Some(([grant.name.as_str(), source.namespace.as_str(), source.name.as_str(), provider], seconds))
        });
        page.show(series, samples);
    };
    show(series::EXPIRATION, |life| life.expires);
    show(series::RENEWAL, |life| life.renewal);
    show(series::ISSUED, |life| life.issued);
    show(series::LAST_ERROR, |life| life.failed);
}

fn exchanges(page: &mut Page, view: &View) {
    page.say(series::IDENTITIES, view.identities);
    // All results of a provider are there from its first request on, so that a first error shows as an increase.
    let results = view.exchanges.iter().flat_map(|(provider, tally)| {
        let Tally { success, error, throttled, .. } = tally;
        let results = [("success", *success), ("error", *error), ("throttled", *throttled)];
        results.map(|(result, count)| ([*provider, result], count))
    });
    page.show(series::REFRESHES, results);
    let durations = view.exchanges.iter().map(|(provider, tally)| ([*provider], &tally.took));
    page.show(series::REFRESH_DURATION, durations);
}

fn work(page: &mut Page, view: &View) {
    let counters = view.counters;
    let writes = [
        ("created", counters.created),
        ("updated", counters.updated),
        ("deleted", counters.deleted),
        ("conflict", counters.outrun),
        ("error", counters.failed),
    ];
    page.show(series::WRITES, writes.map(|(result, count)| ([result], count)));
    page.say(series::REPAIRS, counters.repaired);
    let edits = [("attached", counters.attached), ("detached", counters.detached)];
    page.show(series::ACCOUNT_EDITS, edits.map(|(edit, count)| ([edit], count)));
    page.say(series::PLANS, counters.plans);
    page.say(series::QUEUE_DEPTH, view.queue_depth);
    page.say(series::IN_FLIGHT, view.flights.len());
    page.say(series::NAMESPACES, view.namespaces);
    page.say(series::PODS, view.pods);
}

#[cfg(test)]
mod tests;
