//! Metrics in the text format of OpenMetrics, made from a view at each scrape: what is gone leaves no stale series.
//!
//! The number of series grows with ImagePullSecrets and their sources, never with namespaces or pods.

use imps_core::standing::Truth;
use prometheus_client::encoding::text::encode;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;

use crate::controller::exchanger::Tallies;
use crate::controller::window::View;

type Labels = Vec<(&'static str, String)>;

/// Renders all metrics.
pub(crate) fn render(view: &View) -> String {
    let mut registry = Registry::default();
    let mut page = Page { registry: &mut registry };
    page.gauge(
        "imps_build_info",
        "Version of imps",
        [(vec![("version", env!("CARGO_PKG_VERSION").to_owned())], 1)],
    );
    // The name that all Kubernetes controllers use (kubernetes-sigs/controller-runtime:pkg/metrics/leaderelection.go).
    let leads = view.leads.iter().map(|(lease, leads)| (vec![("name", lease.clone())], usize::from(*leads)));
    page.gauge(
        "leader_election_master_status",
        "Whether this process leads by the Lease of this name; absent when it was not told to elect a leader",
        leads,
    );
    let outdated = view.definition_outdated.map(|outdated| (vec![], usize::from(outdated)));
    page.gauge(
        "imps_crd_outdated",
        "Whether the installed CustomResourceDefinition lacks fields that this imps writes; absent when unknown",
        outdated,
    );
    page.grants(view);
    page.work(view);
    page.exchanges(view);
    let broken = view.broken.iter().map(|((resource, reason), count)| {
        (vec![("resource", (*resource).to_owned()), ("reason", (*reason).to_owned())], *count)
    });
    page.gauge("imps_watches_broken", "Watches that do not come, by the resource and by why", broken);
    let mut text = String::new();
    // Writing to a String does not fail.
    encode(&mut text, &registry).unwrap_or_default();
    text
}

struct Page<'a> {
    registry: &'a mut Registry,
}

impl Page<'_> {
    fn gauge(&mut self, name: &str, help: &str, samples: impl IntoIterator<Item = (Labels, usize)>) {
        let family = Family::<Labels, Gauge>::default();
        for (labels, value) in samples {
            family.get_or_create(&labels).set(i64::try_from(value).unwrap_or(i64::MAX));
        }
        self.registry.register(name, help, family);
    }

    /// The encoder appends `_total` to a counter's name.
    fn counter(&mut self, name: &str, help: &str, samples: impl IntoIterator<Item = (Labels, u64)>) {
        let family = Family::<Labels, Counter>::default();
        for (labels, value) in samples {
            family.get_or_create(&labels).inc_by(value);
        }
        self.registry.register(name, help, family);
    }

    fn grants(&mut self, view: &View) {
        let mut ready = Vec::new();
        let mut targets = Vec::new();
        let mut sources = Vec::new();
        let mut expiries = Vec::new();
        for grant in &view.grants {
            let name = ("name", grant.name.clone());
            for (word, truth) in [("True", Truth::True), ("False", Truth::False), ("Unknown", Truth::Unknown)]
            {
                ready.push((
                    vec![name.clone(), ("status", word.to_owned())],
                    usize::from(grant.ready == truth),
                ));
            }
            let tally = grant.tally;
            for (state, count) in [
                ("synced", tally.synced),
                ("failed", tally.failed),
                ("conflict", tally.conflict),
                ("pending", tally.pending),
                ("leaving", tally.leaving),
                ("left-out", tally.left_out),
            ] {
                targets.push((vec![name.clone(), ("state", state.to_owned())], count));
            }
            for source in &grant.sources {
                let mut labels = vec![
                    name.clone(),
                    ("source_namespace", source.namespace.clone()),
                    ("source_name", source.name.clone()),
                ];
                let seconds = source.expires.and_then(|seconds| usize::try_from(seconds).ok());
                // None where it is not known: a zero would read as long ago.
                expiries.extend(seconds.map(|seconds| (labels.clone(), seconds)));
                labels.push(("state", source.state.to_owned()));
                sources.push((labels, 1));
            }
        }
        self.gauge("imps_imagepullsecret_ready", "Status of the Ready condition", ready);
        self.gauge("imps_targets", "Namespaces by how they stand", targets);
        self.gauge("imps_source_state", "State of each source of credentials", sources);
        self.gauge(
            "imps_source_expiry_timestamp_seconds",
            "When the token that a source gives stops working; absent for logins that do not expire",
            expiries,
        );
    }

    fn exchanges(&mut self, view: &View) {
        let Tallies { results, durations } = view.exchanges.clone();
        self.gauge(
            "imps_exchanged_identities",
            "Identities that are exchanged for registry tokens",
            [(vec![], view.identities)],
        );
        self.registry.register(
            "imps_source_refreshes",
            "Exchanges of an identity for a token, by what came of them",
            results,
        );
        self.registry.register("imps_source_refresh_duration_seconds", "How long exchanges took", durations);
    }

    fn work(&mut self, view: &View) {
        let counters = view.counters;
        let result = |word: &str| vec![("result", word.to_owned())];
        let writes = [
            (result("created"), counters.created),
            (result("updated"), counters.updated),
            (result("deleted"), counters.deleted),
            (result("conflict"), counters.outrun),
            (result("error"), counters.failed),
        ];
        self.counter("imps_target_writes", "Writes of target Secrets by what came of them", writes);
        self.counter(
            "imps_target_repairs",
            "Target Secrets that somebody else had changed",
            [(vec![], counters.repaired)],
        );
        let edit = |word: &str| vec![("edit", word.to_owned())];
        self.counter(
            "imps_serviceaccount_edits",
            "Names of target Secrets put into ServiceAccounts and taken out",
            [(edit("attached"), counters.attached), (edit("detached"), counters.detached)],
        );
        self.counter("imps_plans", "Plans made, most of them without a write", [(vec![], counters.plans)]);
        self.gauge("imps_queue_depth", "Namespaces that wait for a plan", [(vec![], view.queue_depth)]);
        self.gauge("imps_plans_in_flight", "Plans that are being carried out", [(vec![], view.in_flight)]);
        self.gauge("imps_namespaces", "Namespaces known", [(vec![], view.namespaces)]);
        self.gauge("imps_pods_remembered", "Pods that answer a selector", [(vec![], view.pods)]);
    }
}
