//! The Secrets of grants in ServiceAccounts: when a name comes, when it goes, and what keeps a grant from going.

#![allow(clippy::unwrap_used, reason = "a stage that cannot be set has failed")]

mod support;

use std::time::Duration;

use imps_core::account::ATTACHES_MAX;
use imps_core::controller::{Effect, Event};
use imps_core::grant::Grant;
use imps_core::name::{AccountRef, SecretRef, Uid};
use imps_core::reason::Reason;
use imps_core::world::{Extent, Namespace, Stream};
use support::{SourceText, Stage, Stored, docker_config, grant, pattern};

const JSON: &str = "kubernetes.io/dockerconfigjson";

/// A grant that is attached to `default` in these namespaces, which have that account.
fn stage(namespaces: &[&str]) -> Stage {
    let mut stage = Stage::default();
    let login = docker_config(&[("docker.io", "alice")]);
    stage.sources.insert(SecretRef::new("access", "hub"), SourceText::Text(JSON.to_owned(), login));
    let (identity, mut grant) = grant("main", 1);
    grant.sources = vec![SecretRef::new("access", "hub")];
    grant.accounts = vec![pattern("default")];
    for namespace in namespaces {
        grant.recipients.namespaces.names.push(pattern(namespace));
        stage.namespaces.insert((*namespace).into(), Namespace::default());
        stage.account(namespace, "default", &["theirs"]);
    }
    stage.grants.insert(identity.uid.clone(), (identity, grant, Default::default()));
    stage.run();
    stage
}

fn uid() -> Uid {
    Uid::new("uid-main")
}

fn edit(stage: &mut Stage, change: impl FnOnce(&mut Grant)) {
    let (identity, grant, _) = stage.grants.get_mut(&uid()).unwrap();
    identity.generation += 1;
    grant.identity = identity.clone();
    change(grant);
    stage.run();
}

fn leave(stage: &mut Stage) {
    stage.tenures.get_mut(&uid()).unwrap().deleting = true;
    stage.run();
}

fn failures(stage: &Stage) -> Vec<Reason> {
    stage.standings[&uid()].failures.iter().map(|failure| failure.reason).collect()
}

#[test]
fn whoever_insists_on_taking_the_name_out_is_told_and_left_alone() {
    let mut stage = stage(&["shop", "bank"]);
    for round in 0..ATTACHES_MAX {
        assert_eq!(stage.attached("shop", "default"), ["theirs", "pull"], "round {round}");
        assert_eq!(failures(&stage), []);
        stage.account("shop", "default", &["theirs"]);
        stage.run();
    }
    assert_eq!(stage.attached("shop", "default"), ["theirs"], "imps has stopped");
    assert_eq!(failures(&stage), [Reason::ServiceAccountContended]);
    assert!(stage.standings[&uid()].stalled.is_some(), "a person has to do something");
    assert!(stage.notices.contains(&"ServiceAccountReconciliationError".to_owned()));
    let before = stage.history.len();
    stage.pass(Duration::from_secs(24 * 3600));
    assert_eq!(stage.history.len(), before, "and does not come back to it");
    assert_eq!(stage.attached("bank", "default"), ["theirs", "pull"], "nobody else minds");
    edit(&mut stage, |grant| grant.template.labels = support::tags(&[("edited", "yes")]));
    assert_eq!(stage.attached("shop", "default"), ["theirs", "pull"], "an edit is a new word");
    assert_eq!(failures(&stage), []);
}

#[test]
fn the_other_one_s_putting_it_back_ends_the_contention() {
    let mut stage = stage(&["shop"]);
    for _ in 0..ATTACHES_MAX {
        stage.account("shop", "default", &["theirs"]);
        stage.run();
    }
    assert_eq!(failures(&stage), [Reason::ServiceAccountContended]);
    stage.account("shop", "default", &["pull", "theirs"]);
    stage.run();
    assert_eq!(failures(&stage), []);
    assert!(stage.standings[&uid()].stalled.is_none());
}

#[test]
fn the_finalizer_comes_before_the_first_name_and_goes_after_the_last() {
    let mut stage = stage(&["shop"]);
    assert!(stage.tenures[&uid()].held);
    edit(&mut stage, |grant| grant.accounts.clear());
    assert_eq!(stage.attached("shop", "default"), ["theirs"]);
    assert!(!stage.tenures[&uid()].held, "nothing is left to let go of");
    assert!(stage.secrets.contains_key(&SecretRef::new("shop", "pull")), "the Secret stays");
    assert!(stage.standings[&uid()].account_names.is_empty());
}

#[test]
fn what_accounts_name_already_is_taken_over_once_the_finalizer_is_there() {
    let mut stage = stage(&[]);
    let at = SecretRef::new("shop", "pull");
    let content = docker_config(&[("old.example", "old")]).into_bytes();
    let foreign = Stored::foreign(stage.version(), JSON, content);
    stage.secrets.insert(at.clone(), foreign);
    stage.namespaces.insert("shop".into(), Namespace::default());
    stage.account("shop", "default", &["theirs", "pull"]);
    stage.tenures.get_mut(&uid()).unwrap().held = false;
    edit(&mut stage, |grant| {
        grant.template.adopt = true;
        grant.recipients.namespaces.names.push(pattern("shop"));
    });
    assert_eq!(stage.secrets[&at].owner, Some(uid()));
    leave(&mut stage);
    assert_eq!(stage.attached("shop", "default"), ["theirs"]);
    assert!(!stage.secrets.contains_key(&at));
}

#[test]
fn a_former_pattern_is_remembered_over_a_restart_until_nothing_is_left() {
    let mut stage = stage(&["shop"]);
    let at = AccountRef { namespace: "shop".into(), name: "default".into() };
    stage.locked.insert(at.clone());
    edit(&mut stage, |grant| grant.accounts = vec![pattern("builder")]);
    assert_eq!(stage.attached("shop", "default"), ["theirs", "pull"], "it may not be edited");
    assert_eq!(failures(&stage), [Reason::ServiceAccountForbidden]);
    stage.restart();
    assert!(stage.standings[&uid()].account_names.contains(&pattern("default")));
    stage.locked.clear();
    stage.pass(Duration::from_secs(600));
    assert_eq!(stage.attached("shop", "default"), ["theirs"]);
    stage.pass(Duration::from_secs(60));
    assert!(!stage.standings[&uid()].account_names.contains(&pattern("default")));
}

#[test]
fn a_restart_in_which_nothing_changed_edits_nothing() {
    let mut stage = stage(&["shop", "bank"]);
    let before = stage.history.len();
    stage.restart();
    assert_eq!(stage.history[before..], [] as [String; 0]);
    assert_eq!(stage.standings[&uid()].attached, 2);
}

#[test]
fn a_deleted_grant_goes_when_all_is_detached_and_taken_away() {
    let mut stage = stage(&["shop", "bank"]);
    leave(&mut stage);
    assert!(stage.grants.is_empty() && stage.secrets.is_empty());
    assert_eq!(stage.attached("shop", "default"), ["theirs"]);
    assert_eq!(stage.attached("bank", "default"), ["theirs"]);
}

/// What is reported when the last Secret is gone is written at the same moment.
#[test]
fn a_finalizer_that_was_outrun_is_tried_again_at_once() {
    let mut stage = stage(&["shop"]);
    // What was put on before is long settled.
    stage.pass(Duration::from_secs(60));
    stage.outruns = 2;
    stage.tenures.get_mut(&uid()).unwrap().deleting = true;
    let effects = stage.relist(&Stream::Grants);
    stage.perform_all(effects);
    stage.pass(Duration::from_secs(1));
    assert!(stage.grants.is_empty() && stage.outruns == 0);
}

#[test]
fn a_grant_that_was_deleted_while_imps_was_away_goes_too() {
    let mut stage = stage(&["shop"]);
    stage.tenures.get_mut(&uid()).unwrap().deleting = true;
    stage.restart();
    assert!(stage.grants.is_empty() && stage.secrets.is_empty());
    assert_eq!(stage.attached("shop", "default"), ["theirs"]);
}

#[test]
fn a_deleted_grant_goes_also_when_it_is_suspended() {
    let mut stage = stage(&["shop"]);
    edit(&mut stage, |grant| grant.suspended = true);
    assert!(stage.tenures[&uid()].held, "it may still be attached");
    leave(&mut stage);
    assert!(stage.grants.is_empty());
    assert_eq!(stage.attached("shop", "default"), ["theirs"]);
}

#[test]
fn a_grant_that_is_deleted_while_a_secret_is_being_made_outlives_it() {
    let mut stage = stage(&["shop"]);
    edit(&mut stage, |grant| grant.recipients.namespaces.names.push(pattern("late")));
    stage.account("late", "default", &["theirs"]);
    let effects = stage.relist(&Stream::Accounts(Some("default".into()), Extent::Everywhere));
    stage.perform_all(effects);
    stage.pass(Duration::from_secs(60));
    stage.namespaces.insert("late".into(), Namespace::default());
    let under_way = stage.relist(&Stream::Namespaces);
    assert_eq!(under_way.len(), 1, "{under_way:?}");
    stage.tenures.get_mut(&uid()).unwrap().deleting = true;
    let effects = stage.relist(&Stream::Grants);
    stage.perform_all(effects);
    assert!(stage.secrets.is_empty() && !stage.grants.is_empty(), "one is still on its way");
    stage.perform_all(under_way);
    stage.run();
    assert!(stage.secrets.is_empty() && stage.grants.is_empty());
    assert_eq!(stage.attached("late", "default"), ["theirs"]);
}

#[test]
fn a_grant_that_was_not_come_to_yet_is_not_given_up() {
    let names: Vec<String> = (0..50).map(|index| format!("team-{index}")).collect();
    let mut stage = stage(&names.iter().map(String::as_str).collect::<Vec<_>>());
    stage.tenures.get_mut(&uid()).unwrap().deleting = true;
    let slow = stage.relist(&Stream::Grants);
    for _ in 0..5 {
        stage.now += Duration::from_secs(20);
        let effects = stage.controller.on(Event::Tick, stage.now);
        assert!(!effects.iter().any(|effect| matches!(effect, Effect::Hold(_))), "{effects:?}");
    }
    stage.perform_all(slow);
    stage.run();
    assert!(stage.secrets.is_empty() && stage.grants.is_empty());
    assert!(names.iter().all(|name| stage.attached(name, "default") == ["theirs"]));
}

#[test]
fn nothing_keeps_a_deleted_grant_for_long() {
    let mut stage = stage(&["shop", "bank"]);
    stage.refusing.insert("shop".into());
    stage.locked.insert(AccountRef { namespace: "shop".into(), name: "default".into() });
    stage.tenures.get_mut(&uid()).unwrap().deleting = true;
    let effects = stage.relist(&Stream::Grants);
    stage.perform_all(effects);
    stage.pass(Duration::from_secs(10));
    assert!(!stage.grants.is_empty(), "what may still be taken away is waited for");
    assert_eq!(stage.attached("bank", "default"), ["theirs"], "the others are served at once");
    stage.pass(Duration::from_secs(60));
    assert!(stage.grants.is_empty(), "and not for ever");
}
