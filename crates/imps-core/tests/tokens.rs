//! Sources that expire, in virtual time: outages, restarts, edits, and how often the endpoint is asked.

#![allow(clippy::unwrap_used, reason = "a history that cannot be played has failed")]

mod support;

use std::time::Duration;

use imps_core::exchange::{ExchangeFault, ExchangeFaultClass, ExchangeKey};
use imps_core::name::{NamespaceName, SecretRef, Uid};
use imps_core::reason::Reason;
use imps_core::standing::{Life, SourceStanding, Truth};
use imps_core::world::{Fact, Namespace, Stream};
use support::{Endpoint, GRACE, SourceText, Stage, docker_config, grant, selector, tags};

const HOUR: Duration = Duration::from_secs(3600);
const MINUTE: Duration = Duration::from_secs(60);
const TOKEN: &str = "1.example";
const STATIC: &str = "kubernetes.io/dockerconfigjson";

fn identity(name: &str, version: u64) -> SourceText {
    SourceText::Identity { name: name.to_owned(), version, registries: vec![TOKEN.to_owned()] }
}

fn source(name: &str) -> SecretRef {
    SecretRef::new("access", name)
}

/// Namespaces `n0`, `n1`, … that one grant selects, with these sources.
fn stage(namespaces: usize, sources: &[(&str, SourceText)]) -> Stage {
    let mut stage = Stage::default();
    add_grant(&mut stage, "main", &sources.iter().map(|(name, _)| *name).collect::<Vec<_>>());
    for (name, text) in sources {
        stage.sources.insert(source(name), text.clone());
    }
    for index in 0..namespaces {
        let namespace = Namespace { labels: tags(&[("pull", "yes")]), ..Namespace::default() };
        stage.namespaces.insert(NamespaceName::new(format!("n{index}")), namespace);
    }
    stage
}

fn add_grant(stage: &mut Stage, name: &str, sources: &[&str]) {
    let (identity, mut grant) = grant(name, 1);
    grant.sources = sources.iter().map(|name| source(name)).collect();
    grant.template.name = format!("pull-{name}").as_str().into();
    grant.recipients.namespaces.labels = vec![selector("pull=yes")];
    stage.grants.insert(identity.uid.clone(), (identity, grant, Default::default()));
}

/// The user name under a registry in a target: which token it is.
fn held(stage: &Stage, namespace: &str, registry: &str) -> Option<String> {
    stage.logins(namespace, "pull-main")?.get(registry).cloned()
}

fn standing(stage: &Stage, name: &str) -> SourceStanding {
    let standing = &stage.standings[&Uid::new("uid-main")];
    standing.sources.iter().find(|source| source.at.name.as_str() == name).unwrap().clone()
}

fn life(stage: &Stage, name: &str) -> Option<Life> {
    Life::of(stage.controller.world(), &source(name))
}

/// Somebody demands that all tokens of the grant be asked for anew, with this value of the annotation.
fn demand(stage: &mut Stage, name: &str, value: &str) {
    stage.demands.insert(Uid::new(format!("uid-{name}")), value.to_owned());
    let effects = stage.relist(&Stream::Grants);
    stage.perform_all(effects);
}

/// The demand that is told to be met.
fn met(stage: &Stage, name: &str) -> Option<String> {
    stage.standings[&Uid::new(format!("uid-{name}"))].met.clone()
}

fn ready(stage: &Stage) -> Truth {
    stage.standings[&Uid::new("uid-main")].ready.truth
}

#[test]
fn one_identity_is_exchanged_once_however_many_want_its_token() {
    let mut stage = stage(50, &[("ecr", identity("team", 1))]);
    for index in 0..20 {
        add_grant(&mut stage, &format!("other-{index}"), &["ecr", "copy"]);
    }
    stage.sources.insert(source("copy"), identity("team", 7));
    stage.run();
    assert_eq!(stage.calls.len(), 1);
    assert_eq!(stage.history.len(), 50 * 21, "one write per namespace and grant");
    assert_eq!((ready(&stage), held(&stage, "n49", TOKEN).as_deref()), (Truth::True, Some("team#1")));
    for name in ["ecr", "copy", "ecr"] {
        let effects = stage.relist(&Stream::Source(source(name)));
        stage.perform_all(effects);
    }
    stage.pass(HOUR);
    assert_eq!(stage.calls.len(), 1, "what is said again is no news");
    let writes = stage.history.len();
    stage.pass(7 * HOUR);
    assert_eq!(stage.calls.len(), 2, "renewed once, at half of its life");
    assert_eq!(stage.history.len() - writes, 50 * 21, "one write per namespace and rotation");
    assert_eq!(held(&stage, "n0", TOKEN).as_deref(), Some("team#2"));
}

#[test]
fn a_day_costs_as_many_requests_as_its_half_lives() {
    let mut stage = stage(2, &[("ecr", identity("team", 1))]);
    stage.run();
    stage.pass(10 * 24 * HOUR);
    let hours = 10 * 24;
    // Half of twelve hours, give or take a tenth.
    assert!((hours / 7..=hours / 5).contains(&stage.calls.len()), "{}", stage.calls.len());
    assert_eq!(ready(&stage), Truth::True);
}

#[test]
fn an_outage_of_five_hours_costs_nobody_anything() {
    let mut stage = stage(3, &[("ecr", identity("team", 1))]);
    stage.run();
    stage.pass(5 * HOUR);
    stage.endpoint = Endpoint::Down;
    let calls = stage.calls.len();
    stage.pass(5 * HOUR);
    assert_eq!(held(&stage, "n0", TOKEN).as_deref(), Some("team#1"), "what works stays");
    let asked = stage.calls.len() - calls;
    assert!((20..=250).contains(&asked), "{asked} requests in the outage");
    let told = standing(&stage, "ecr");
    assert_eq!((told.state(), told.reason), ("Failing", Some(Reason::ExchangeUnreachable)));
    assert!(
        told.message.contains("no connection") && told.message.contains("stays in use"),
        "{}",
        told.message
    );
    stage.endpoint = Endpoint::Up(12 * HOUR);
    stage.pass(6 * MINUTE);
    assert_eq!((ready(&stage), standing(&stage, "ecr").state()), (Truth::True, "Ready"), "by itself");
}

#[test]
fn an_outage_of_thirteen_hours_takes_the_expired_entry_alone_and_ends_by_itself() {
    let login = SourceText::Text(STATIC.to_owned(), docker_config(&[("2.example", "robot")]));
    let mut stage = stage(3, &[("ecr", identity("team", 1)), ("static", login)]);
    stage.run();
    stage.endpoint = Endpoint::Down;
    stage.pass(12 * HOUR - MINUTE);
    assert!(held(&stage, "n0", TOKEN).is_some(), "up to its expiry");
    stage.pass(2 * MINUTE);
    for namespace in ["n0", "n1", "n2"] {
        assert_eq!(held(&stage, namespace, TOKEN), None, "an expired entry is worse than none");
        assert_eq!(
            held(&stage, namespace, "2.example").as_deref(),
            Some("robot"),
            "the others are not touched"
        );
    }
    let told = standing(&stage, "ecr");
    assert_eq!((told.state(), told.reason), ("Expired", Some(Reason::SourceExpired)));
    assert_eq!(told.token.unwrap().expires, None, "no expiry where there is no token");
    stage.pass(HOUR);
    stage.endpoint = Endpoint::Up(12 * HOUR);
    stage.pass(6 * MINUTE);
    assert!(held(&stage, "n2", TOKEN).is_some() && ready(&stage) == Truth::True);
    // Some 150 by five minutes, two hours and more by the minute.
    assert!(stage.calls.len() < 800, "{}", stage.calls.len());
}

#[test]
fn a_restart_costs_neither_a_request_nor_a_write() {
    let mut stage = stage(5, &[("ecr", identity("team", 1))]);
    stage.run();
    stage.pass(HOUR);
    let (calls, writes) = (stage.calls.len(), stage.history.len());
    let before = standing(&stage, "ecr");
    for _ in 0..5 {
        stage.restart();
    }
    assert_eq!((stage.calls.len(), stage.history.len()), (calls, writes));
    let after = standing(&stage, "ecr");
    assert_eq!((ready(&stage), after.state()), (Truth::True, "Ready"));
    let (before, after) = (before.token.unwrap(), after.token.unwrap());
    assert!((before.expires.unwrap() - after.expires.unwrap()).abs() <= 5);
    stage.pass(6 * HOUR);
    assert_eq!(stage.calls.len(), calls + 1, "renewed when the former process would have");
}

#[test]
fn a_takeover_costs_neither_a_request_nor_a_write_nor_a_word() {
    let mut stage = stage(5, &[("ecr", identity("team", 1))]);
    stage.add_standby();
    stage.run();
    stage.pass(7 * HOUR);
    let (calls, writes, notices) = (stage.calls.len(), stage.history.len(), stage.notices.len());
    assert_eq!(calls, 2, "only the leader asks");
    let before = standing(&stage, "ecr");
    stage.take_over();
    stage.pass(MINUTE);
    assert_eq!((stage.calls.len(), stage.history.len()), (calls, writes));
    assert_eq!(stage.notices[notices..], [] as [String; 0], "{:?}", stage.notices);
    let after = standing(&stage, "ecr");
    assert_eq!((ready(&stage), after.state()), (Truth::True, "Ready"));
    let (before, after) = (before.token.unwrap(), after.token.unwrap());
    assert!((before.expires.unwrap() - after.expires.unwrap()).abs() <= 5);
    stage.pass(6 * HOUR);
    assert_eq!(stage.calls.len(), calls + 1, "renewed when the former leader would have");
}

#[test]
fn who_leads_again_brings_no_old_token_back_and_takes_no_new_one_away() {
    let mut stage = stage(2, &[("ecr", identity("team", 1))]);
    stage.add_standby();
    stage.run();
    stage.take_over();
    // The first one still holds the token that it got, which the second one renews.
    stage.pass(7 * HOUR);
    stage.run();
    assert_eq!(held(&stage, "n0", TOKEN).as_deref(), Some("team#2"));
    let writes = stage.history.len();
    stage.take_over();
    assert_eq!(held(&stage, "n0", TOKEN).as_deref(), Some("team#2"), "not a step back");
    stage.take_over();
    // When it leads again after that, its own has ended, and nobody gives another one.
    stage.endpoint = Endpoint::Down;
    stage.pass(6 * HOUR);
    stage.run();
    stage.take_over();
    stage.pass(MINUTE);
    assert_eq!(held(&stage, "n1", TOKEN).as_deref(), Some("team#2"), "what works stays");
    assert_eq!(stage.history.len(), writes);
}

#[test]
fn a_restart_in_an_outage_loses_nothing_until_the_token_ends() {
    let mut stage = stage(3, &[("ecr", identity("team", 1))]);
    stage.run();
    stage.endpoint = Endpoint::Down;
    stage.pass(8 * HOUR);
    stage.restart();
    stage.pass(MINUTE);
    assert_eq!(held(&stage, "n1", TOKEN).as_deref(), Some("team#1"));
    let namespace = Namespace { labels: tags(&[("pull", "yes")]), ..Namespace::default() };
    stage.namespaces.insert("late".into(), namespace);
    stage.run();
    assert_eq!(held(&stage, "late", TOKEN).as_deref(), Some("team#1"), "new namespaces get it too");
    stage.pass(5 * HOUR);
    assert_eq!(held(&stage, "n1", TOKEN), None, "the end is remembered over the restart");
}

#[test]
fn a_source_that_was_edited_while_imps_was_down_is_exchanged_at_once() {
    let mut stage = stage(2, &[("ecr", identity("team", 1))]);
    stage.run();
    stage.sources.insert(source("ecr"), identity("other-team", 2));
    stage.restart();
    stage.run();
    assert_eq!(stage.calls.last().unwrap().1, "other-team");
    assert_eq!(held(&stage, "n0", TOKEN).as_deref(), Some("other-team#2"));
}

#[test]
fn new_keys_that_are_not_accepted_leave_what_works() {
    let mut stage = stage(2, &[("ecr", identity("team", 1))]);
    stage.run();
    stage.endpoint = Endpoint::Denying;
    stage.sources.insert(source("ecr"), identity("mistyped", 2));
    stage.run();
    assert_eq!(held(&stage, "n0", TOKEN).as_deref(), Some("team#1"));
    let told = standing(&stage, "ecr");
    assert_eq!((told.state(), told.reason), ("Failing", Some(Reason::ExchangeDenied)));
    assert!(told.message.contains("AccessDeniedException"), "{}", told.message);
    let stalled = &stage.standings[&Uid::new("uid-main")].stalled;
    assert!(stalled.is_some(), "somebody has to change something");
    stage.pass(13 * HOUR);
    assert_eq!(held(&stage, "n0", TOKEN), None, "the old token ends when it ends");
    let before = stage.calls.len();
    stage.endpoint = Endpoint::Up(12 * HOUR);
    stage.sources.insert(source("ecr"), identity("mistyped", 3));
    stage.run();
    assert_eq!(stage.calls.len(), before + 1, "an edit asks at once, whatever the pause was");
    assert_eq!(ready(&stage), Truth::True);
}

#[test]
fn a_source_that_makes_no_sense_keeps_its_token_until_the_end() {
    let mut stage = stage(1, &[("ecr", identity("team", 1))]);
    stage.run();
    stage.sources.insert(source("ecr"), identity("", 2));
    stage.run();
    assert_eq!(held(&stage, "n0", TOKEN).as_deref(), Some("team#1"));
    assert_eq!(standing(&stage, "ecr").reason, Some(Reason::SourceMalformed));
    stage.pass(13 * HOUR);
    assert_eq!(held(&stage, "n0", TOKEN), None);
    assert_eq!(stage.calls.len(), 1, "there is nothing to exchange");
    assert_eq!(standing(&stage, "ecr").reason, Some(Reason::SourceMalformed), "still the thing to mend");
}

#[test]
fn a_deleted_source_goes_after_the_grace_and_is_asked_for_no_more() {
    let mut stage = stage(1, &[("ecr", identity("team", 1))]);
    stage.run();
    stage.sources.remove(&source("ecr"));
    stage.run();
    assert!(held(&stage, "n0", TOKEN).is_some());
    stage.sources.insert(source("ecr"), identity("team", 1));
    stage.run();
    assert_eq!(stage.calls.len(), 1, "deleted and made anew within the grace, nothing happens");
    stage.sources.remove(&source("ecr"));
    stage.run();
    stage.pass(GRACE + MINUTE);
    assert_eq!(held(&stage, "n0", TOKEN), None);
    stage.pass(24 * HOUR);
    assert_eq!(stage.calls.len(), 1);
}

#[test]
fn a_hanging_endpoint_holds_up_the_first_write_for_seconds_and_nothing_else() {
    let login = SourceText::Text(STATIC.to_owned(), docker_config(&[("2.example", "robot")]));
    let mut stage = stage(2, &[("ecr", identity("team", 1)), ("static", login)]);
    stage.endpoint = Endpoint::Hanging;
    stage.run();
    stage.pass(Duration::from_secs(4));
    assert_eq!(held(&stage, "n0", "2.example").as_deref(), Some("robot"));
    assert_eq!(ready(&stage), Truth::Unknown);
    let writes = stage.history.len();
    let namespace = Namespace { labels: tags(&[("pull", "yes")]), ..Namespace::default() };
    stage.namespaces.insert("late".into(), namespace);
    for stream in stage.watched.clone() {
        let effects = stage.relist(&stream);
        stage.perform_all(effects);
    }
    assert_eq!(stage.history.len(), writes + 1, "at once");
    assert_eq!(stage.calls.len(), 1, "and the hanging request is the only one");
}

#[test]
fn a_source_that_turns_into_nonsense_while_its_token_is_awaited_holds_nobody_up() {
    let login = SourceText::Text(STATIC.to_owned(), docker_config(&[("2.example", "robot")]));
    let mut stage = stage(2, &[("ecr", identity("team", 1)), ("static", login)]);
    stage.endpoint = Endpoint::Hanging;
    for stream in stage.watched.clone() {
        let effects = stage.relist(&stream);
        stage.perform_all(effects);
    }
    assert_eq!(held(&stage, "n0", "2.example"), None, "it waits");
    stage.sources.insert(source("ecr"), SourceText::Text(STATIC.to_owned(), "not json".to_owned()));
    stage.run();
    assert_eq!(held(&stage, "n0", "2.example").as_deref(), Some("robot"));
}

#[test]
fn a_new_source_waits_for_its_token_so_that_each_namespace_is_written_once() {
    let login = SourceText::Text(STATIC.to_owned(), docker_config(&[("2.example", "robot")]));
    // Read in this order, so that all is known but the token.
    let mut stage = stage(10, &[("a-login", login), ("ecr", identity("team", 1))]);
    stage.run();
    assert_eq!(stage.history.len(), 10);
    assert_eq!(stage.logins("n0", "pull-main").unwrap().len(), 2);
}

#[test]
fn registries_that_a_source_no_longer_asks_for_go_at_once() {
    let both = |name: &str, registries: &[&str], version| SourceText::Identity {
        name: name.to_owned(),
        version,
        registries: registries.iter().map(|name| (*name).to_owned()).collect(),
    };
    let mut stage = stage(1, &[("ecr", both("team", &[TOKEN, "2.example"], 1))]);
    stage.run();
    assert_eq!(stage.logins("n0", "pull-main").unwrap().len(), 2);
    stage.endpoint = Endpoint::Down;
    stage.sources.insert(source("ecr"), both("other-team", &[TOKEN], 2));
    stage.run();
    assert_eq!(stage.logins("n0", "pull-main").unwrap().len(), 1);
    assert_eq!(held(&stage, "n0", TOKEN).as_deref(), Some("team#1"));
}

#[test]
fn a_vague_answer_counts_for_twenty_minutes_and_says_so() {
    let mut stage = stage(1, &[("ecr", identity("team", 1))]);
    stage.endpoint = Endpoint::Vague;
    stage.run();
    assert!(standing(&stage, "ecr").message.contains("20 minutes"));
    stage.pass(HOUR);
    assert!((4..=8).contains(&stage.calls.len()), "{}", stage.calls.len());
}

#[test]
fn many_identities_of_one_endpoint_are_exchanged_one_after_the_other() {
    let sources: Vec<(String, SourceText)> =
        (0..40).map(|index| (format!("s{index}"), identity(&format!("team-{index}"), 1))).collect();
    let sources: Vec<(&str, SourceText)> =
        sources.iter().map(|(name, text)| (name.as_str(), text.clone())).collect();
    let mut stage = stage(1, &sources);
    stage.run();
    stage.pass(MINUTE);
    assert_eq!(stage.calls.len(), 40);
    let first = stage.calls[0].0;
    let within =
        |seconds| stage.calls.iter().filter(|(at, _)| *at < first + Duration::from_secs(seconds)).count();
    assert!(within(1) <= 5 && within(10) <= 15, "{} {}", within(1), within(10));
}

#[test]
fn the_life_of_a_token_is_told_and_what_is_not_known_is_not() {
    let login = SourceText::Text(STATIC.to_owned(), docker_config(&[("2.example", "robot")]));
    let mut stage = stage(1, &[("ecr", identity("team", 1)), ("static", login)]);
    stage.endpoint = Endpoint::Down;
    stage.run();
    let before = life(&stage, "ecr").unwrap();
    assert_eq!((before.issued, before.expires), (None, None), "there is no token yet");
    assert!(before.provider.is_some() && before.renewal.is_some() && before.failed.is_some());
    assert_eq!(life(&stage, "static"), None, "what does not end has no life");
    stage.endpoint = Endpoint::Up(12 * HOUR);
    stage.pass(6 * MINUTE);
    let held = life(&stage, "ecr").unwrap();
    let (issued, expires) = (held.issued.unwrap(), held.expires.unwrap());
    assert!((expires - issued - 12 * 3600).abs() <= 1, "{held:?}");
    assert!((issued..expires).contains(&held.renewal.unwrap()), "{held:?}");
    let failed = held.failed.unwrap();
    assert!(failed < issued, "what failed last is still told: {held:?}");
    stage.endpoint = Endpoint::Down;
    stage.pass(9 * HOUR);
    let outage = life(&stage, "ecr").unwrap();
    assert_eq!((outage.issued, outage.expires), (held.issued, held.expires));
    assert!(outage.failed.unwrap() > failed);
    // The next process knows when the token ends, and not when it began.
    stage.restart();
    let after = life(&stage, "ecr").unwrap();
    assert!((after.expires.unwrap() - expires).abs() <= 5, "{after:?}");
    assert_eq!(after.issued, None);
    stage.pass(4 * HOUR);
    let ended = life(&stage, "ecr").unwrap();
    assert_eq!((ended.issued, ended.expires), (None, None), "no end where there is no token");
    assert!(ended.renewal.is_some());
}

#[test]
fn a_demand_asks_for_every_token_once_and_means_nothing_a_second_time() {
    let login = SourceText::Text(STATIC.to_owned(), docker_config(&[("2.example", "robot")]));
    let mut stage =
        stage(3, &[("ecr", identity("team", 1)), ("more", identity("other", 1)), ("static", login)]);
    stage.run();
    stage.pass(HOUR);
    assert_eq!((stage.calls.len(), met(&stage, "main")), (2, None));
    let writes = stage.history.len();
    demand(&mut stage, "main", "now");
    stage.run();
    assert_eq!((stage.calls.len(), met(&stage, "main").as_deref()), (4, Some("now")));
    assert_ne!(held(&stage, "n2", TOKEN).as_deref(), Some("team#1"));
    assert_eq!(stage.history.len(), writes + 3, "one write per namespace");
    demand(&mut stage, "main", "now");
    stage.run();
    stage.demands.clear();
    stage.pass(HOUR);
    stage.run();
    assert_eq!(
        (stage.calls.len(), met(&stage, "main").as_deref()),
        (4, Some("now")),
        "what was met stays met"
    );
}

#[test]
fn a_demand_is_met_at_once_where_nothing_can_be_asked() {
    let login = SourceText::Text(STATIC.to_owned(), docker_config(&[("2.example", "robot")]));
    let mut stage =
        stage(1, &[("static", login), ("broken", identity("", 1)), ("forbidden", SourceText::Forbidden)]);
    demand(&mut stage, "main", "now");
    stage.run();
    assert_eq!((stage.calls.len(), met(&stage, "main").as_deref()), (0, Some("now")));
    assert_eq!(standing(&stage, "broken").state(), "Failing");
}

#[test]
fn grants_that_share_an_identity_share_the_request_that_they_demand() {
    let mut stage = stage(1, &[("ecr", identity("team", 1))]);
    for index in 0..5 {
        add_grant(&mut stage, &format!("other-{index}"), &["ecr"]);
    }
    stage.run();
    stage.pass(HOUR);
    for index in 0..5 {
        demand(&mut stage, &format!("other-{index}"), "now");
    }
    stage.run();
    assert_eq!(stage.calls.len(), 2);
    assert!((0..5).all(|index| met(&stage, &format!("other-{index}")).is_some()));
    assert_eq!(met(&stage, "main"), None, "nobody demanded that of it");
    assert_eq!(held(&stage, "n0", TOKEN).as_deref(), Some("team#2"), "and it gets the token all the same");
}

#[test]
fn a_demand_that_fails_takes_nothing_away_and_is_met_and_told() {
    let mut stage = stage(2, &[("ecr", identity("team", 1))]);
    stage.run();
    stage.pass(HOUR);
    let writes = stage.history.len();
    stage.endpoint = Endpoint::Down;
    demand(&mut stage, "main", "now");
    stage.pass(Duration::from_millis(900));
    assert_eq!((stage.calls.len(), met(&stage, "main").as_deref()), (2, Some("now")));
    let told = standing(&stage, "ecr");
    assert_eq!(
        (told.state(), told.reason),
        ("Failing", Some(Reason::ExchangeUnreachable)),
        "after one failure"
    );
    assert_eq!((held(&stage, "n0", TOKEN).as_deref(), stage.history.len()), (Some("team#1"), writes));
    stage.endpoint = Endpoint::Up(12 * HOUR);
    stage.pass(MINUTE);
    assert_eq!(
        (ready(&stage), held(&stage, "n0", TOKEN).as_deref()),
        (Truth::True, Some("team#3")),
        "by itself"
    );
}

#[test]
fn a_demand_ends_the_pause_of_a_failing_exchange() {
    let mut stage = stage(1, &[("ecr", identity("team", 1))]);
    stage.run();
    stage.endpoint = Endpoint::Down;
    let until_next = |stage: &Stage| {
        life(stage, "ecr").unwrap().renewal.unwrap() - stage.controller.world().calendar().unix(stage.now)
    };
    stage.pass(6 * HOUR);
    while until_next(&stage) < 60 {
        stage.pass(MINUTE);
    }
    stage.endpoint = Endpoint::Up(12 * HOUR);
    demand(&mut stage, "main", "now");
    stage.pass(Duration::from_secs(11));
    assert_eq!((met(&stage, "main").as_deref(), ready(&stage)), (Some("now"), Truth::True));
}

#[test]
fn a_request_that_began_before_the_demand_does_not_meet_it() {
    let mut stage = stage(1, &[("ecr", identity("team", 1))]);
    stage.run();
    stage.endpoint = Endpoint::Hanging;
    stage.pass(7 * HOUR);
    assert_eq!(stage.calls.len(), 2);
    demand(&mut stage, "main", "now");
    stage.pass(MINUTE);
    assert_eq!((stage.calls.len(), met(&stage, "main")), (2, None), "one at a time");
    stage.endpoint = Endpoint::Up(12 * HOUR);
    let fault = ExchangeFault {
        class: ExchangeFaultClass::Denied,
        code: "late".to_owned(),
        advice: "do something about it".to_owned(),
        retry_after: None,
    };
    let effects = stage.tell(Fact::Exchanged(ExchangeKey::of([&b"team"[..]]), Err(fault)));
    assert_eq!(met(&stage, "main"), None);
    stage.perform_all(effects);
    stage.pass(Duration::from_secs(1));
    assert_eq!((stage.calls.len(), met(&stage, "main").as_deref()), (3, Some("now")));
    assert_eq!(held(&stage, "n0", TOKEN).as_deref(), Some("team#3"));
}

#[test]
fn whoever_demands_again_and_again_is_no_burden_to_the_endpoint() {
    for endpoint in [Endpoint::Up(12 * HOUR), Endpoint::Down] {
        let mut stage = stage(1, &[("ecr", identity("team", 1))]);
        stage.run();
        // The pauses of a failing exchange are longer than those between demands by then.
        stage.endpoint = endpoint;
        stage.pass(12 * HOUR);
        let before = stage.calls.len();
        for index in 0..600 {
            demand(&mut stage, "main", &index.to_string());
            stage.pass(MINUTE / 600);
        }
        stage.pass(Duration::from_secs(11));
        let asked = stage.calls.len() - before;
        assert!((6..=9).contains(&asked), "{endpoint:?}: {asked} requests in 71 seconds");
        assert_eq!(met(&stage, "main").as_deref(), Some("599"));
    }
}

#[test]
fn a_suspended_grant_meets_no_demand_before_it_is_resumed() {
    let mut stage = stage(1, &[("ecr", identity("team", 1))]);
    stage.run();
    stage.pass(HOUR);
    let suspend = |stage: &mut Stage, suspended: bool| {
        let (identity, grant, _) = stage.grants.get_mut(&Uid::new("uid-main")).unwrap();
        identity.generation += 1;
        (grant.identity, grant.suspended) = (identity.clone(), suspended);
    };
    suspend(&mut stage, true);
    demand(&mut stage, "main", "now");
    stage.pass(HOUR);
    stage.restart();
    assert_eq!((stage.calls.len(), met(&stage, "main")), (1, None));
    suspend(&mut stage, false);
    stage.run();
    assert_eq!((stage.calls.len(), met(&stage, "main").as_deref()), (2, Some("now")));
}

#[test]
fn a_demand_survives_a_restart_and_is_not_met_twice() {
    let mut stage = stage(2, &[("ecr", identity("team", 1))]);
    stage.run();
    stage.pass(HOUR);
    // Nobody has seen it before the process ended.
    stage.demands.insert(Uid::new("uid-main"), "now".to_owned());
    stage.restart();
    assert_eq!((stage.calls.len(), met(&stage, "main").as_deref()), (2, Some("now")));
    assert_eq!(held(&stage, "n0", TOKEN).as_deref(), Some("team#2"));
    let writes = stage.history.len();
    for _ in 0..3 {
        stage.restart();
    }
    stage.pass(HOUR);
    assert_eq!((stage.calls.len(), stage.history.len()), (2, writes));
    assert_eq!(met(&stage, "main").as_deref(), Some("now"), "it is remembered");
}

#[test]
fn a_takeover_meets_what_the_leader_had_begun_and_repeats_nothing() {
    let mut stage = stage(2, &[("ecr", identity("team", 1))]);
    stage.add_standby();
    stage.run();
    stage.pass(HOUR);
    demand(&mut stage, "main", "first");
    stage.run();
    let calls = stage.calls.len();
    assert_eq!(met(&stage, "main").as_deref(), Some("first"));
    stage.take_over();
    stage.pass(MINUTE);
    assert_eq!((stage.calls.len(), met(&stage, "main").as_deref()), (calls, Some("first")));
    stage.endpoint = Endpoint::Hanging;
    demand(&mut stage, "main", "second");
    stage.run();
    assert_eq!((stage.calls.len(), met(&stage, "main").as_deref()), (calls + 1, Some("first")));
    stage.endpoint = Endpoint::Up(12 * HOUR);
    stage.take_over();
    stage.pass(MINUTE);
    assert_eq!((stage.calls.len(), met(&stage, "main").as_deref()), (calls + 2, Some("second")));
}
