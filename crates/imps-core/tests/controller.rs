//! What the machine does over time, told as short stories.

#![allow(clippy::unwrap_used, reason = "a story that cannot be told has failed")]

mod support;

use std::time::Duration;

use imps_core::controller::{Effect, Event};
use imps_core::leadership::Title;
use imps_core::name::{NamespaceName, SecretRef, Uid};
use imps_core::reason::{Fault, FaultClass, Reason};
use imps_core::standing::{Standing, Truth};
use imps_core::world::{Extent, Fact, Namespace, Stream};
use support::{GRACE, SourceText, Stage, docker_config, grant, selector, tags};

const JSON: &str = "kubernetes.io/dockerconfigjson";

/// One grant for all namespaces with a label, one source with one login, and these namespaces.
fn stage(namespaces: &[&str]) -> Stage {
    let mut stage = Stage::default();
    let (identity, mut grant) = grant("main", 1);
    grant.sources = vec![SecretRef::new("access", "hub")];
    grant.recipients.namespaces.labels = vec![selector("pull=yes")];
    stage.grants.insert(identity.uid.clone(), (identity, grant, Default::default()));
    let text = docker_config(&[("docker.io", "alice")]);
    stage.sources.insert(SecretRef::new("access", "hub"), SourceText::Text(JSON.to_owned(), text));
    for name in namespaces {
        let namespace = Namespace { labels: tags(&[("pull", "yes")]), ..Namespace::default() };
        stage.namespaces.insert(NamespaceName::new(*name), namespace);
    }
    stage.run();
    stage
}

fn standing(stage: &Stage) -> &Standing {
    &stage.standings[&Uid::new("uid-main")]
}

fn tamper(stage: &mut Stage, namespace: &str) {
    let version = stage.version();
    let stored = stage.secrets.get_mut(&SecretRef::new(namespace, "pull")).unwrap();
    (stored.bytes, stored.by_imps, stored.version) = (b"{}".to_vec(), false, version);
}

fn fault(class: FaultClass) -> Fault {
    Fault { class, detail: "HTTP 503".to_owned() }
}

#[test]
fn an_outage_that_is_over_leaves_the_status() {
    for stream in [Stream::Grants, Stream::Namespaces, Stream::Targets("pull".into(), Extent::Everywhere)] {
        let mut stage = stage(&["shop"]);
        assert_eq!(standing(&stage).ready.truth, Truth::True);
        let effects = stage.tell(Fact::Broken(stream.clone(), fault(FaultClass::Unavailable)));
        stage.perform_all(effects);
        let effects = stage.relist(&stream);
        stage.perform_all(effects);
        stage.wait(Duration::from_secs(2));
        assert_eq!(standing(&stage).ready.truth, Truth::True, "{stream}");
    }
}

#[test]
fn a_lost_right_is_told_and_its_return_too() {
    let mut stage = stage(&["shop"]);
    let stream = Stream::Targets("pull".into(), Extent::Everywhere);
    let effects = stage.tell(Fact::Broken(stream.clone(), fault(FaultClass::Forbidden)));
    stage.perform_all(effects);
    stage.now += Duration::from_secs(6);
    let effects = stage.controller.on(Event::Tick, stage.now);
    stage.perform_all(effects);
    let told = standing(&stage);
    assert_eq!((told.ready.truth, told.ready.reason), (Truth::False, Reason::AccessDenied));
    assert!(
        told.stalled.is_some() && told.ready.message.contains("secrets named pull"),
        "{}",
        told.ready.message
    );
    stage.run();
    stage.wait(Duration::from_secs(2));
    assert_eq!(standing(&stage).ready.truth, Truth::True);
}

#[test]
fn nobody_is_told_while_the_api_server_is_away() {
    let mut stage = stage(&["shop"]);
    for stream in stage.watched.clone() {
        let effects = stage.tell(Fact::Broken(stream, fault(FaultClass::Unavailable)));
        assert!(!effects.iter().any(|effect| matches!(effect, Effect::Report(..))));
    }
    stage.now += Duration::from_secs(60);
    let effects = stage.controller.on(Event::Tick, stage.now);
    assert!(effects.is_empty(), "{effects:?}");
    assert_ne!(stage.controller.due(stage.now), Some(stage.now), "and the loop does not spin");
}

#[test]
fn whoever_keeps_changing_a_secret_is_named_and_not_fought() {
    let mut stage = stage(&["shop", "bank"]);
    for round in 0..25 {
        tamper(&mut stage, "shop");
        let effects = stage.relist(&Stream::Targets("pull".into(), Extent::Everywhere));
        stage.perform_all(effects);
        let repairs = stage.history.iter().filter(|step| step.starts_with("update shop/pull")).count();
        assert!(repairs <= 10, "round {round}: {repairs} repairs");
    }
    stage.wait(Duration::from_secs(2));
    let failure = &standing(&stage).failures[0];
    assert_eq!((failure.namespace.as_str(), failure.reason), ("shop", Reason::TargetContended));
    // Once it is left in peace it is put right.
    stage.wait(Duration::from_secs(120));
    assert_eq!(stage.logins("shop", "pull").unwrap()["docker.io"], "alice");
    assert_eq!(standing(&stage).ready.truth, Truth::True);
}

#[test]
fn a_deleted_source_serves_for_the_grace_and_no_longer() {
    let mut stage = stage(&["shop"]);
    stage.sources.clear();
    stage.run();
    stage.wait(GRACE - Duration::from_secs(30));
    assert_eq!(stage.logins("shop", "pull").unwrap().len(), 1);
    assert_eq!(standing(&stage).sources[0].state(), "Missing");
    stage.wait(Duration::from_secs(60));
    // The Secret stays, empty: its UID matters to nodes, and pods may name it.
    assert!(stage.logins("shop", "pull").unwrap().is_empty());
}

#[test]
fn a_fan_out_is_reported_a_few_times_and_not_for_each_namespace() {
    let names: Vec<String> = (0..200).map(|index| format!("n{index}")).collect();
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    let stage = stage(&names);
    assert_eq!(standing(&stage).tally.synced, 200);
    assert_eq!(stage.history.len(), 200, "one write for each namespace");
    assert_eq!(standing(&stage).managed.len() + standing(&stage).managed_more, 200);
    assert_eq!(stage.notices, ["Reconciled"], "and one event");
}

#[test]
fn nothing_is_said_twice_over_a_restart() {
    let mut stage = stage(&["shop"]);
    stage.notices.clear();
    stage.history.clear();
    stage.restart();
    assert!(stage.notices.is_empty() && stage.history.is_empty(), "{:?} {:?}", stage.notices, stage.history);
}

#[test]
fn a_namespace_that_refuses_is_tried_again_and_told_meanwhile() {
    let mut stage = stage(&["shop"]);
    let bank = NamespaceName::new("bank");
    stage.refusing.insert(bank.clone());
    stage.namespaces.insert(bank.clone(), stage.namespaces[&NamespaceName::new("shop")].clone());
    stage.run();
    assert_eq!(standing(&stage).failures[0].reason, Reason::TargetRefused);
    assert!(standing(&stage).ready.message.contains("quota q"), "{}", standing(&stage).ready.message);
    assert!(stage.notices.contains(&"SecretReconciliationError".to_owned()));
    stage.refusing.clear();
    stage.wait(Duration::from_secs(301));
    assert_eq!(standing(&stage).ready.truth, Truth::True);
}

#[test]
fn a_standby_only_learns_and_acts_on_it_when_it_is_told_to() {
    let mut stage = stage(&["shop"]);
    stage.add_standby();
    stage.run();
    let late = Namespace { labels: tags(&[("pull", "yes")]), ..Namespace::default() };
    stage.namespaces.insert("late".into(), late);
    // The leader is dead: what happens now, only the standby is shown.
    let (mut standby, streams) = stage.standby.take().unwrap();
    for stream in &streams {
        std::mem::swap(&mut standby, &mut stage.controller);
        let effects = stage.relist(stream);
        std::mem::swap(&mut standby, &mut stage.controller);
        assert!(effects.is_empty(), "{effects:?}");
    }
    let effects = standby.on(Event::Lead(Title::Succession), stage.now);
    let applied: Vec<&NamespaceName> = effects
        .iter()
        .filter_map(|effect| match effect {
            Effect::Apply(plan) => Some(&plan.namespace),
            Effect::Watch(stream) => panic!("{stream} was listened to all the time"),
            _ => None,
        })
        .collect();
    assert_eq!(applied, [&NamespaceName::new("late")], "at once, and only what is to be done");
    // One that is told twice is not confused.
    assert!(!standby.on(Event::Follow, stage.now).iter().any(|effect| matches!(effect, Effect::Apply(_))));
    assert!(standby.on(Event::Follow, stage.now).is_empty() && !standby.leads());
}

#[test]
fn who_leads_again_and_nobody_has_since_looks_at_everything_and_says_nothing_twice() {
    let mut stage = stage(&["shop"]);
    let (writes, notices) = (stage.history.len(), stage.notices.len());
    let effects = stage.controller.on(Event::Follow, stage.now);
    assert!(effects.is_empty());
    stage.secrets.clear();
    for stream in stage.watched.clone() {
        let effects = stage.relist(&stream);
        assert_eq!(stage.perform_all(effects), 0, "it sees that the Secret is gone");
    }
    let effects = stage.controller.on(Event::Lead(Title::Resumption), stage.now);
    stage.perform_all(effects);
    stage.run();
    assert_eq!((stage.history.len(), stage.notices.len()), (writes + 1, notices));
    assert_eq!(standing(&stage).ready.truth, Truth::True);
}
