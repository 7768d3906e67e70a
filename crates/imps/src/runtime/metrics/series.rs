//! The table of all series: what is not in it cannot be shown, and what is in it is documented from it.
//!
//! Names, labels and meanings are a contract with whoever alerts on them.

/// What a series is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Kind {
    /// A number that goes up and down.
    Gauge,
    /// A number that only goes up, until the process ends.
    Counter,
    /// Durations by buckets.
    Histogram,
}

impl Kind {
    /// The word for it.
    pub(crate) fn word(self) -> &'static str {
        match self {
            Kind::Gauge => "gauge",
            Kind::Counter => "counter",
            Kind::Histogram => "histogram",
        }
    }
}

/// A row of the table.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Row {
    /// Its name as it is queried; a histogram's without `_bucket`, `_sum` and `_count`.
    pub(crate) name: &'static str,
    pub(crate) kind: Kind,
    pub(crate) labels: &'static [&'static str],
    /// What it tells.
    pub(crate) help: &'static str,
    /// When there is no sample of it; empty when there always is one.
    pub(crate) absent: &'static str,
}

impl Row {
    /// What it is measured in; none where it is a number of things.
    pub(crate) fn unit(&self) -> Option<&'static str> {
        let name = self.name.trim_end_matches("_total");
        ["seconds", "bytes"].into_iter().find(|unit| name.ends_with(&format!("_{unit}")))
    }

    /// Name and labels as one writes them in a query.
    pub(crate) fn spell(&self) -> String {
        if self.labels.is_empty() {
            return self.name.to_owned();
        }
        format!("{}{{{}}}", self.name, self.labels.join(","))
    }
}

/// A row that knows how many labels it has, so that a sample with another number of them does not compile.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Series<const LABELS: usize>(Row);

impl<const LABELS: usize> Series<LABELS> {
    const fn new(
        kind: Kind,
        name: &'static str,
        labels: &'static [&'static str; LABELS],
        help: &'static str,
        absent: &'static str,
    ) -> Self {
        Self(Row { name, kind, labels, help, absent })
    }

    pub(crate) const fn row(&self) -> Row {
        self.0
    }
}

macro_rules! table {
    ($(#[$doc:meta])* $table:ident; $($id:ident = $kind:ident $name:literal [$($label:literal),*]
       $help:literal, absent: $absent:literal;)*) => {
        $(pub(crate) const $id: Series<{ <[&str]>::len(&[$($label),*]) }> =
            Series::new(Kind::$kind, $name, &[$($label),*], $help, $absent);)*
        $(#[$doc])*
        pub(crate) const $table: &[Row] = &[$($id.row()),*];
    };
}

table! {
    /// Our own.
    OWN;
    BUILD_INFO = Gauge "imps_build_info" ["version", "commit", "rustc"]
        "Always 1; which imps this is. The commit is `unknown` where the build was not told it",
        absent: "";
    READY = Gauge "imps_imagepullsecret_ready" ["name", "status"]
        "1 for the status (`True`, `False`, `Unknown`) that the Ready condition has, 0 for the others",
        absent: "at a standby";
    SUSPENDED = Gauge "imps_imagepullsecret_suspended" ["name"]
        "Whether `spec.suspend` is set",
        absent: "at a standby";
    EXPIRATION = Gauge "imps_credential_expiration_timestamp_seconds"
        ["name", "source_namespace", "source_name", "provider"]
        "When the token that a source gives stops working, in seconds since 1970",
        absent: "for logins that do not expire, before the first token, after the last one ended, at a standby";
    RENEWAL = Gauge "imps_credential_renewal_timestamp_seconds"
        ["name", "source_namespace", "source_name", "provider"]
        "When the next token is asked for, in seconds since 1970",
        absent: "for logins that do not expire, at a standby";
    ISSUED = Gauge "imps_credential_issued_timestamp_seconds"
        ["name", "source_namespace", "source_name", "provider"]
        "When the token that a source gives was issued, in seconds since 1970",
        absent: "where there is no expiration, and for a token that an earlier process got, until it is renewed";
    LAST_ERROR = Gauge "imps_credential_last_error_timestamp_seconds"
        ["name", "source_namespace", "source_name", "provider"]
        "When a request for a token failed last, in seconds since 1970, also if one succeeded since",
        absent: "while none failed since this process leads";
    REFRESHES = Counter "imps_credential_refresh_total" ["provider", "result"]
        "Requests for a token by what came of them: `success`, `throttled`, `error`",
        absent: "before the first request to this provider";
    REFRESH_DURATION = Histogram "imps_credential_refresh_duration_seconds" ["provider"]
        "How long requests for a token took, whatever came of them",
        absent: "before the first request to this provider";
    SOURCE_STATE = Gauge "imps_source_state" ["name", "source_namespace", "source_name", "state"]
        "1 for the state that a source is in: `Ready`, `Degraded`, `Missing`, `Expired`, `Failing`, `Unknown`",
        absent: "for the states that it is not in, at a standby";
    TARGETS = Gauge "imps_targets" ["name", "state"]
        "Namespaces by how they stand: `synced`, `failed`, `conflict`, `pending`, `leaving`, `left-out`",
        absent: "at a standby";
    WRITES = Counter "imps_target_writes_total" ["result"]
        "Writes by what came of them: `created`, `updated`, `deleted`, `conflict` (somebody was faster), `error`",
        absent: "";
    REPAIRS = Counter "imps_target_repairs_total" []
        "Target Secrets that somebody else had changed and that were put right",
        absent: "";
    ACCOUNT_EDITS = Counter "imps_serviceaccount_edits_total" ["edit"]
        "Names of target Secrets put into ServiceAccounts (`attached`) and taken out (`detached`)",
        absent: "";
    IDENTITIES = Gauge "imps_exchanged_identities" []
        "Identities that are exchanged for tokens, each once however many want its token",
        absent: "";
    PLANS = Counter "imps_plans_total" []
        "Plans made for a namespace, most of them without a write",
        absent: "";
    QUEUE_DEPTH = Gauge "imps_queue_depth" []
        "Namespaces that wait for a plan, those that pause after a failure among them",
        absent: "";
    IN_FLIGHT = Gauge "imps_plans_in_flight" []
        "Plans that are being carried out",
        absent: "";
    NAMESPACES = Gauge "imps_namespaces" []
        "Namespaces known",
        absent: "";
    PODS = Gauge "imps_pods_remembered" []
        "Pods that answer a selector of an ImagePullSecret",
        absent: "";
    WATCHES_BROKEN = Gauge "imps_watches_broken" ["resource", "reason"]
        "Watches that do not come, by why: `AccessDenied` or `ApiUnavailable`",
        absent: "while all of them come";
    CRD_OUTDATED = Gauge "imps_crd_outdated" []
        "Whether the installed CustomResourceDefinition lacks fields that this imps writes",
        absent: "while that is not known, and from `imps refresher`";
    CLOCK_JUMPS = Counter "imps_clock_jumps_total" []
        "How often the wall clock was set or the machine slept; each time all tokens are asked for anew",
        absent: "";
    LEADS = Gauge "leader_election_master_status" ["name"]
        "Whether this process leads by the Lease of this name",
        absent: "without `--enable-leader-election`";
}

table! {
    /// Those that dashboards for programs of controller-runtime query.
    COMPATIBLE;
    RECONCILES = Counter "controller_runtime_reconcile_total" ["controller", "result"]
        "Plans carried out: `success`, `error`, `requeue_after` (somebody was faster, or keeps changing a Secret); \
         `requeue` does not occur",
        absent: "";
    RECONCILE_ERRORS = Counter "controller_runtime_reconcile_errors_total" ["controller"]
        "Plans of which something failed",
        absent: "";
    RECONCILE_TIME = Histogram "controller_runtime_reconcile_time_seconds" ["controller"]
        "How long plans took to be carried out; one without a write counts as no time",
        absent: "";
    ACTIVE_WORKERS = Gauge "controller_runtime_active_workers" ["controller"]
        "Plans that are being carried out",
        absent: "";
    MAX_CONCURRENT = Gauge "controller_runtime_max_concurrent_reconciles" ["controller"]
        "How many plans may be carried out at once",
        absent: "";
    WORKQUEUE_DEPTH = Gauge "workqueue_depth" ["name", "controller"]
        "Namespaces that wait for a plan, without those that pause",
        absent: "";
    WORKQUEUE_ADDS = Counter "workqueue_adds_total" ["name", "controller"]
        "How often a namespace began to wait for a plan; at a standby, how often it would have",
        absent: "";
    WORKQUEUE_WAITED = Histogram "workqueue_queue_duration_seconds" ["name", "controller"]
        "How long namespaces waited for their plan",
        absent: "";
    WORKQUEUE_WORKED = Histogram "workqueue_work_duration_seconds" ["name", "controller"]
        "The same as controller_runtime_reconcile_time_seconds",
        absent: "";
    WORKQUEUE_UNFINISHED = Gauge "workqueue_unfinished_work_seconds" ["name", "controller"]
        "For how long the plans that are being carried out have been that, all added up",
        absent: "";
    WORKQUEUE_LONGEST = Gauge "workqueue_longest_running_processor_seconds" ["name", "controller"]
        "The longest of these",
        absent: "";
    WORKQUEUE_RETRIES = Counter "workqueue_retries_total" ["name", "controller"]
        "How often a namespace came to pause after a failure",
        absent: "";
    REQUESTS = Counter "rest_client_requests_total" ["code", "method", "host"]
        "Requests to the API server by HTTP status; `<error>` when no answer came. A watch counts when it is opened",
        absent: "before the first request of this kind";
    CPU = Counter "process_cpu_seconds_total" []
        "Time on a CPU",
        absent: "";
    START = Gauge "process_start_time_seconds" []
        "When the process started, in seconds since 1970",
        absent: "";
    RESIDENT = Gauge "process_resident_memory_bytes" []
        "Memory in use",
        absent: "where there is no /proc";
    VIRTUAL = Gauge "process_virtual_memory_bytes" []
        "Addresses in use",
        absent: "where there is no /proc";
    OPEN_FDS = Gauge "process_open_fds" []
        "File descriptors in use",
        absent: "where there is no /proc";
    MAX_FDS = Gauge "process_max_fds" []
        "How many file descriptors may be in use",
        absent: "where there is no limit";
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    fn rows() -> impl Iterator<Item = &'static Row> {
        OWN.iter().chain(COMPATIBLE)
    }

    #[test]
    fn names_are_what_prometheus_expects_and_occur_once() {
        let mut seen = BTreeSet::new();
        for row in rows() {
            let name = row.name;
            assert!(seen.insert(name), "{name} twice");
            assert!(name.bytes().all(|byte| byte.is_ascii_lowercase() || byte == b'_'), "{name}");
            assert_eq!(name.ends_with("_total"), row.kind == Kind::Counter, "{name}");
            assert!(row.kind != Kind::Histogram || row.unit() == Some("seconds"), "{name}");
            let labels: BTreeSet<_> = row.labels.iter().collect();
            assert_eq!(labels.len(), row.labels.len(), "{name}");
        }
        assert!(
            OWN.iter().all(|row| row.name.starts_with("imps_") || row.name.starts_with("leader_election_"))
        );
        assert!(COMPATIBLE.iter().all(|row| !row.name.starts_with("imps_")));
    }

    #[test]
    fn every_row_says_in_a_phrase_what_it_tells() {
        for Row { name, help, absent, .. } in rows() {
            for text in [help, absent] {
                assert!(
                    !text.contains("  ") && !text.ends_with('.') && text.trim() == *text,
                    "{name}: {text:?}"
                );
                // It is a cell of a table.
                assert!(!text.contains(['|', '\n']), "{name}: {text:?}");
            }
            assert!(help.len() > 10, "{name}");
        }
    }

    /// Labels whose values somebody in the cluster chooses. Each belongs to an object that the cluster's administrators
    /// write; none is a namespace that is served, or a pod.
    #[test]
    fn no_label_grows_with_the_cluster() {
        let known = [
            "version",
            "commit",
            "rustc",
            "name",
            "status",
            "source_namespace",
            "source_name",
            "provider",
            "result",
            "state",
            "edit",
            "resource",
            "reason",
            "controller",
            "code",
            "method",
            "host",
        ];
        for row in rows() {
            assert!(row.labels.iter().all(|label| known.contains(label)), "{}", row.spell());
        }
    }
}
