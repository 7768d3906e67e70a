//! The page against the table, and against a machine that knows many namespaces.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use imps_cluster::traffic::Kind;
use imps_core::census::{Pod, PodUid};
use imps_core::controller::{Controller, Counters, Effect, Event, Outcome, Written};
use imps_core::grant::{Grant, Identity, PodTerm, Recipients};
use imps_core::holding::Version;
use imps_core::name::{NamespaceName, SecretRef, Uid};
use imps_core::queue::Labour;
use imps_core::reason::{Fault, FaultClass};
use imps_core::selector::{NamePattern, Selector};
use imps_core::source::Document;
use imps_core::world::{Fact, GrantFact, Namespace, Record, Stream, Tally as Targets, Tenure, Terms};

use super::series::{self, COMPATIBLE, OWN, Row};
use super::*;
use crate::controller::window::{GrantView, SourceView};

fn metrics(compatible: bool) -> Metrics {
    Metrics::new(Traffic::default(), compatible)
}

fn source(name: &str, life: Option<Life>) -> SourceView {
    SourceView { namespace: "access".into(), name: name.into(), state: "Ready", life }
}

/// Everything that can be known is.
fn full_view() -> View {
    let life = Life {
        provider: Some("ecr"),
        issued: Some(1_800_000_000),
        expires: Some(1_800_043_200),
        renewal: Some(1_800_021_600),
        failed: Some(1_799_999_999),
    };
    let mut tally = Tally::default();
    (tally.success, tally.throttled) = (5, 1);
    tally.took.add(Duration::from_secs(3));
    let mut labour = Labour::default();
    (labour.settled, labour.unsettled, labour.failed) = (7, 2, 1);
    labour.worked.add(Duration::from_millis(20));
    View {
        leads: Some(("lease".into(), true)),
        grants: vec![GrantView {
            name: "main".into(),
            ready: Truth::True,
            suspended: false,
            tally: Targets { synced: 3, ..Targets::default() },
            sources: vec![source("ecr", Some(life)), source("static", None)],
        }],
        counters: Counters { created: 3, clock_jumps: 1, ..Counters::default() },
        queue_depth: 4,
        waiting: 1,
        flights: vec![Duration::from_secs(2), Duration::from_secs(3)],
        labour,
        namespaces: 9,
        pods: 8,
        broken: BTreeMap::from([(("secrets", "AccessDenied"), 1)]),
        identities: 1,
        exchanges: BTreeMap::from([("ecr", tally)]),
        definition_outdated: Some(true),
    }
}

/// Samples without their values, on a page that has none twice.
fn samples(page: &str) -> BTreeSet<&str> {
    let lines: Vec<&str> = page.lines().filter(|line| !line.starts_with('#')).collect();
    let samples: BTreeSet<&str> = lines.iter().map(|line| line.rsplit_once(' ').unwrap().0).collect();
    assert_eq!(samples.len(), lines.len(), "{page}");
    samples
}

fn is_shown(row: &Row, page: &str) -> bool {
    let name =
        if row.kind == series::Kind::Histogram { format!("{}_count", row.name) } else { row.name.to_owned() };
    let open =
        format!("{name}{{{}", row.labels.first().map(|label| format!("{label}=\"")).unwrap_or_default());
    samples(page)
        .iter()
        .any(|sample| if row.labels.is_empty() { *sample == name } else { sample.starts_with(&open) })
}

#[test]
#[cfg(target_os = "linux")]
fn every_series_of_the_table_is_shown_when_all_is_known_and_no_other() {
    let metrics = metrics(true);
    metrics.traffic.count(Kind { host: "api.example:443".into(), method: "GET", code: Some(200) });
    let page = metrics.render(&full_view());
    assert!(page.ends_with("# EOF\n"), "{page}");
    let rows = || OWN.iter().chain(COMPATIBLE);
    for row in rows() {
        assert!(is_shown(row, &page), "{} is in the table and not on the page: {page}", row.spell());
        let family = row.name.trim_end_matches("_total");
        let kind = format!("# TYPE {family} {}\n", row.kind.word());
        assert!(page.contains(&kind), "{kind} is not in {page}");
    }
    for line in page.lines().filter_map(|line| line.strip_prefix("# TYPE ")) {
        let family = line.split(' ').next().unwrap();
        assert!(
            rows().any(|row| row.name.trim_end_matches("_total") == family),
            "{family} is not in the table"
        );
    }
}

#[test]
fn the_page_says_what_the_view_does() {
    let page = metrics(true).render(&full_view());
    let labels = r#"{name="main",source_namespace="access",source_name="ecr",provider="ecr"}"#;
    for line in [
        r#"imps_imagepullsecret_ready{name="main",status="True"} 1"#,
        r#"imps_imagepullsecret_ready{name="main",status="False"} 0"#,
        r#"imps_imagepullsecret_suspended{name="main"} 0"#,
        &format!("imps_credential_expiration_timestamp_seconds{labels} 1800043200"),
        &format!("imps_credential_renewal_timestamp_seconds{labels} 1800021600"),
        &format!("imps_credential_issued_timestamp_seconds{labels} 1800000000"),
        &format!("imps_credential_last_error_timestamp_seconds{labels} 1799999999"),
        r#"imps_credential_refresh_total{provider="ecr",result="success"} 5"#,
        r#"imps_credential_refresh_total{provider="ecr",result="error"} 0"#,
        r#"imps_credential_refresh_duration_seconds_sum{provider="ecr"} 3.0"#,
        r#"imps_credential_refresh_duration_seconds_bucket{le="2.5",provider="ecr"} 0"#,
        r#"imps_credential_refresh_duration_seconds_bucket{le="5.0",provider="ecr"} 1"#,
        r#"imps_credential_refresh_duration_seconds_bucket{le="+Inf",provider="ecr"} 1"#,
        r#"imps_target_writes_total{result="created"} 3"#,
        "imps_clock_jumps_total 1",
        "imps_queue_depth 4",
        r#"leader_election_master_status{name="lease"} 1"#,
        r#"controller_runtime_reconcile_total{controller="imagepullsecret",result="success"} 7"#,
        r#"controller_runtime_reconcile_total{controller="imagepullsecret",result="requeue_after"} 2"#,
        r#"controller_runtime_reconcile_errors_total{controller="imagepullsecret"} 1"#,
        r#"workqueue_depth{name="imagepullsecret",controller="imagepullsecret"} 1"#,
        r#"workqueue_unfinished_work_seconds{name="imagepullsecret",controller="imagepullsecret"} 5.0"#,
        r#"workqueue_longest_running_processor_seconds{name="imagepullsecret",controller="imagepullsecret"} 3.0"#,
    ] {
        assert!(page.lines().any(|found| found == line), "{line} is not in {page}");
    }
    // A static login has no life.
    assert!(
        !page.lines().any(|line| line.starts_with("imps_credential") && line.contains("static")),
        "{page}"
    );
}

#[test]
fn what_is_not_known_has_no_sample_and_no_zero() {
    let unborn =
        Life { provider: None, issued: None, expires: None, renewal: Some(1_800_000_000), failed: None };
    let mut view = full_view();
    view.grants[0].sources = vec![source("ecr", Some(unborn))];
    (view.leads, view.definition_outdated) = (None, None);
    view.broken.clear();
    view.exchanges.clear();
    let page = metrics(true).render(&view);
    let present = OWN.iter().filter(|row| is_shown(row, &page)).map(|row| row.name).collect::<BTreeSet<_>>();
    for row in OWN {
        let gone = matches!(
            row.name,
            "imps_credential_expiration_timestamp_seconds"
                | "imps_credential_issued_timestamp_seconds"
                | "imps_credential_last_error_timestamp_seconds"
                | "imps_credential_refresh_total"
                | "imps_credential_refresh_duration_seconds"
                | "imps_watches_broken"
                | "imps_crd_outdated"
                | "leader_election_master_status"
        );
        assert_eq!(present.contains(row.name), !gone, "{}", row.name);
        assert!(!gone || !row.absent.is_empty(), "the table says nothing of {} being absent", row.name);
    }
    assert!(page.contains(r#"source_name="ecr",provider="unknown"} 1800000000"#), "{page}");
}

#[test]
fn without_compatibility_there_are_our_own_series_only() {
    let page = metrics(false).render(&full_view());
    for row in COMPATIBLE {
        assert!(!page.contains(row.name), "{}", row.name);
    }
    assert!(OWN.iter().all(|row| is_shown(row, &page)), "{page}");
}

#[test]
fn a_request_without_an_answer_is_told_as_client_go_does() {
    let metrics = metrics(true);
    metrics.traffic.count(Kind { host: "api.example:443".into(), method: "PATCH", code: None });
    let page = metrics.render(&full_view());
    let line = r#"rest_client_requests_total{code="<error>",method="PATCH",host="api.example:443"} 1"#;
    assert!(page.lines().any(|found| found == line), "{page}");
}

/// A machine that serves so many namespaces, with a pod in each: one in three cannot be written.
fn machine(namespaces: usize) -> Controller {
    let now = Instant::now();
    let terms = Terms { read_offer: imps_registry::read, ..Terms::default() };
    let (mut controller, mut pending) = Controller::new(terms, None, now);
    while !pending.is_empty() {
        let events: Vec<Event> = pending.drain(..).flat_map(|effect| answer(effect, namespaces)).collect();
        for event in events {
            pending.extend(controller.on(event, now));
        }
    }
    controller
}

fn answer(effect: Effect, namespaces: usize) -> Vec<Event> {
    match effect {
        Effect::Watch(stream) => {
            let mut facts = vec![Fact::Relist(stream.clone())];
            facts.extend(listed(&stream, namespaces));
            facts.push(Fact::Listed(stream));
            facts.into_iter().map(Event::Fact).collect()
        }
        Effect::Apply(plan) => {
            let mut outcome = Outcome::new(plan.namespace.clone());
            let refused = plan.namespace.as_str().ends_with(['0', '3', '6', '9']);
            let fault = Fault { class: FaultClass::Refused, detail: "no".into() };
            outcome.results.extend(plan.give.into_iter().map(|step| {
                let uid = Uid::new(format!("of-{}", plan.namespace));
                (step, if refused { Err(fault.clone()) } else { Ok(Written::Stands(uid, Version(1))) })
            }));
            vec![Event::Outcome(outcome)]
        }
        Effect::Report(standing, _) => vec![Event::Reported(standing.identity.uid.clone(), true)],
        Effect::Unwatch(_) | Effect::Recall(..) | Effect::Exchange(_) | Effect::Hold(_) => Vec::new(),
    }
}

fn listed(stream: &Stream, namespaces: usize) -> Vec<Fact> {
    let name = |n: usize| NamespaceName::new(format!("n{n}"));
    match stream {
        Stream::Grants => vec![Fact::Grant(Box::new(grant()))],
        Stream::Namespaces => {
            (0..namespaces).map(|n| Fact::Namespace(name(n), Namespace::default())).collect()
        }
        Stream::Pods { .. } => (0..namespaces)
            .map(|n| {
                Fact::Pod(Pod {
                    uid: PodUid::parse(&format!("pod {n}")),
                    namespace: name(n),
                    labels: BTreeMap::new(),
                    annotations: BTreeMap::new(),
                    deleting: false,
                })
            })
            .collect(),
        Stream::Source(at) => {
            let text = br#"{"auths":{"reg.example":{"username":"robot","password":"p"}}}"#.to_vec();
            let document = Document {
                uid: "source".into(),
                version: Version(1),
                secret_type: "kubernetes.io/dockerconfigjson".into(),
                data: BTreeMap::from([(".dockerconfigjson".to_owned(), text.into())]),
            };
            vec![Fact::Source(at.clone(), document)]
        }
        Stream::Targets(..) | Stream::Accounts(..) => Vec::new(),
    }
}

fn grant() -> GrantFact {
    let identity = Identity { name: "main".into(), uid: "uid".into(), generation: 1, created_seconds: 1 };
    let mut grant = Grant {
        identity: identity.clone(),
        sources: vec![SecretRef::new("access", "hub")],
        recipients: Recipients { pods: vec![PodTerm::Label(Selector::default())], ..Recipients::default() },
        ..Grant::default()
    };
    grant.template.name = "pull".into();
    grant.recipients.namespaces.names = vec![NamePattern::new("n*")];
    GrantFact {
        identity,
        grant: Ok(grant),
        remarks: Vec::new(),
        record: Record::default(),
        tenure: Tenure::default(),
        demand: None,
    }
}

#[test]
fn the_number_of_series_grows_neither_with_namespaces_nor_with_pods() {
    let metrics = metrics(true);
    let page = |namespaces: usize| {
        let controller = machine(namespaces);
        metrics.render(&View::of(&controller, BTreeMap::new(), None))
    };
    let (few, many) = (page(12), page(1000));
    // Both have seen all that they were shown, and some of it fails.
    for (page, known, failed) in [(&few, 12, 5), (&many, 1000, 400)] {
        for line in [
            format!("imps_namespaces {known}"),
            format!("imps_pods_remembered {known}"),
            format!(r#"imps_targets{{name="main",state="failed"}} {failed}"#),
        ] {
            assert!(page.lines().any(|found| found == line), "{line} is not in {page}");
        }
    }
    assert_eq!(samples(&few), samples(&many));
    assert!(!many.contains("n999"), "{many}");
}
