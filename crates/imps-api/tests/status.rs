//! The status is a function of the standing: nothing new is written when nothing is new.

#![allow(clippy::unwrap_used, reason = "a status that cannot be made has failed")]

use imps_api::{ImagePullSecretStatus, status};
use imps_core::grant::Identity;
use imps_core::reason::Reason;
use imps_core::standing::{Judgement, Standing, Truth};
use imps_core::world::Tally;
use jiff::Timestamp;

fn judgement(truth: Truth, reason: Reason) -> Judgement {
    Judgement { truth, reason, message: reason.to_string() }
}

fn standing(truth: Truth) -> Standing {
    let reason = if truth == Truth::True { Reason::Succeeded } else { Reason::TargetsDegraded };
    Standing {
        identity: Identity { name: "main".into(), uid: "u".into(), generation: 2, created_seconds: 0 },
        ready: judgement(truth, reason),
        reconciling: None,
        stalled: None,
        sources_ready: judgement(Truth::True, Reason::Succeeded),
        targets_synced: judgement(truth, reason),
        sources: Vec::new(),
        tally: Tally { desired: 3, synced: 3, ..Tally::default() },
        failures: Vec::new(),
        managed: vec!["shop".into()],
        managed_more: 2,
        secret_names: Default::default(),
        account_names: Default::default(),
        attached: 0,
        met: None,
    }
}

fn at(second: i64) -> Timestamp {
    Timestamp::from_second(second).unwrap()
}

fn ready(status: &ImagePullSecretStatus) -> &imps_api::image_pull_secret::Condition {
    status.conditions.iter().find(|condition| condition.kind == "Ready").unwrap()
}

#[test]
fn the_same_standing_renders_to_the_same_status_whatever_the_time() {
    let first = status::render(&standing(Truth::True), None, at(100));
    let second = status::render(&standing(Truth::True), Some(&first), at(200));
    assert_eq!(first, second);
    assert_eq!(first.last_successful_reconciliation, Some(at(100)));
}

#[test]
fn a_transition_has_its_time_and_a_failure_keeps_the_last_success() {
    let good = status::render(&standing(Truth::True), None, at(100));
    let bad = status::render(&standing(Truth::False), Some(&good), at(200));
    assert_eq!(
        (ready(&bad).last_transition_time, bad.last_successful_reconciliation),
        (at(200), Some(at(100)))
    );
    assert_eq!((bad.status.as_str(), bad.reason.as_str()), ("Failed", "TargetsDegraded"));
    let again = status::render(&standing(Truth::True), Some(&bad), at(300));
    assert_eq!(
        (ready(&again).last_transition_time, again.last_successful_reconciliation),
        (at(300), Some(at(300)))
    );
    assert_eq!((again.status.as_str(), again.reason.as_str()), ("Ready", ""));
}

#[test]
fn a_list_that_is_cut_says_so() {
    let status = status::render(&standing(Truth::True), None, at(1));
    assert_eq!(status.managed_namespaces, ["shop", "(and 2 more, see status.targets)"]);
}

#[test]
fn times_have_whole_seconds_as_kubernetes_writes_them() {
    let now = Timestamp::new(100, 500_000_000).unwrap();
    let status = status::render(&standing(Truth::True), None, now);
    let text = serde_json::to_string(&status).unwrap();
    assert!(text.contains("\"1970-01-01T00:01:40Z\"") && !text.contains("40.5"), "{text}");
}

#[test]
fn the_demand_that_was_met_is_repeated_and_one_that_never_was_is_absent() {
    let silent = status::render(&standing(Truth::True), None, at(1));
    assert!(!serde_json::to_string(&silent).unwrap().contains("lastHandledRefreshAt"));
    let met = Standing { met: Some("now".to_owned()), ..standing(Truth::False) };
    assert_eq!(status::render(&met, Some(&silent), at(2)).last_handled_refresh_at, "now");
}
