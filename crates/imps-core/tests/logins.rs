//! Sources whose logins a provider reads: they behave as docker configs do, and nobody is asked for them.

#![allow(clippy::unwrap_used, reason = "a history that cannot be played has failed")]

mod support;

use std::collections::BTreeMap;
use std::time::Duration;

use imps_core::name::{NamespaceName, SecretRef, Uid};
use imps_core::reason::Reason;
use imps_core::source::{Document, Source};
use imps_core::standing::{SourceStanding, Truth};
use imps_core::world::Namespace;
use support::{Endpoint, GRACE, LOGINS, SourceText, Stage, grant, pattern};

const DAY: Duration = Duration::from_secs(24 * 3600);
const NONSENSE: &str = "nonsense";

fn source() -> SecretRef {
    SecretRef::new("access", "login")
}

fn logins(text: &str) -> SourceText {
    SourceText::Text(LOGINS.to_owned(), text.to_owned())
}

/// One namespace that gets what this source gives.
fn stage(text: SourceText) -> Stage {
    let mut stage = Stage::default();
    let (identity, mut grant) = grant("main", 1);
    grant.sources = vec![source()];
    grant.template.name = "pull".into();
    grant.recipients.namespaces.names = vec![pattern("shop")];
    stage.grants.insert(identity.uid.clone(), (identity, grant, Default::default()));
    stage.namespaces.insert(NamespaceName::new("shop"), Namespace::default());
    stage.sources.insert(source(), text);
    stage.run();
    stage
}

impl Stage {
    fn becomes(&mut self, text: SourceText) {
        self.sources.insert(source(), text);
        self.run();
    }

    fn held(&self) -> BTreeMap<String, String> {
        self.logins("shop", "pull").unwrap_or_default()
    }

    fn told(&self) -> (Truth, SourceStanding) {
        let standing = &self.standings[&Uid::new("uid-main")];
        (standing.ready.truth, standing.sources[0].clone())
    }
}

fn of(entries: &[(&str, &str)]) -> BTreeMap<String, String> {
    entries.iter().map(|(registry, user)| ((*registry).to_owned(), (*user).to_owned())).collect()
}

#[test]
fn a_login_is_written_without_asking_anybody_and_has_no_end() {
    let mut stage = stage(logins("1.example=robot 2.example=robot"));
    let both = of(&[("1.example", "robot"), ("2.example", "robot")]);
    assert_eq!((stage.held(), stage.calls.len()), (both.clone(), 0));
    let (ready, told) = stage.told();
    assert_eq!((ready, told.state(), told.token), (Truth::True, "Ready", None));
    stage.pass(30 * DAY);
    assert_eq!((stage.held(), stage.history.len()), (both, 1), "one write, and then silence");
}

#[test]
fn what_a_login_no_longer_names_goes_at_once() {
    let mut stage = stage(logins("1.example=robot 2.example=robot"));
    stage.becomes(logins("1.example=other"));
    assert_eq!(stage.held(), of(&[("1.example", "other")]));
}

#[test]
fn a_login_with_a_flaw_keeps_what_it_last_gave_over_a_restart_too() {
    let mut stage = stage(logins("1.example=robot"));
    stage.becomes(logins(NONSENSE));
    let robot = of(&[("1.example", "robot")]);
    assert_eq!(stage.held(), robot);
    let (ready, told) = stage.told();
    assert_eq!((ready, told.reason), (Truth::False, Some(Reason::SourceMalformed)));
    assert!(told.message.ends_with("Its last good credentials stay in use"), "{}", told.message);
    stage.restart();
    stage.pass(30 * DAY);
    assert_eq!((stage.held(), stage.history.len()), (robot, 1));
    stage.becomes(logins("2.example=robot"));
    assert_eq!((stage.held(), stage.told().0), (of(&[("2.example", "robot")]), Truth::True));
}

#[test]
fn a_deleted_login_goes_after_the_grace() {
    let mut stage = stage(logins("1.example=robot"));
    stage.sources.remove(&source());
    stage.run();
    stage.pass(GRACE / 2);
    assert_eq!(stage.held().len(), 1);
    stage.pass(GRACE);
    assert_eq!(stage.held().len(), 0);
}

#[test]
fn an_identity_that_becomes_a_login_is_renewed_no_more_and_the_login_outlives_its_token() {
    let identity = |version| SourceText::Identity {
        name: "team".to_owned(),
        version,
        registries: vec!["1.example".to_owned()],
    };
    let mut stage = stage(identity(1));
    assert_eq!(stage.held(), of(&[("1.example", "team#1")]));
    stage.becomes(logins("1.example=robot"));
    stage.pass(2 * DAY);
    assert_eq!((stage.held(), stage.calls.len()), (of(&[("1.example", "robot")]), 1));
    assert_eq!(stage.told().1.token, None);
    // And back again: what works stays until there is a token.
    stage.endpoint = Endpoint::Down;
    stage.becomes(identity(2));
    stage.pass(2 * DAY);
    assert_eq!(stage.held(), of(&[("1.example", "robot")]));
    stage.endpoint = Endpoint::Up(DAY / 2);
    stage.pass(DAY / 24);
    assert_eq!(stage.held().keys().next().map(String::as_str), Some("1.example"));
    assert!(stage.held()["1.example"].starts_with("team#"), "{:?}", stage.held());
}

#[test]
fn a_secret_of_a_type_that_is_no_source_is_told_what_to_do() {
    let advice = |secret_type: &str, key: &str| {
        let data = BTreeMap::from([(key.to_owned(), b"canary".to_vec().into())]);
        let mut source = Source::default();
        source.read(&Document { secret_type: secret_type.to_owned(), data, ..Document::default() });
        let trouble = source.trouble().unwrap();
        assert_eq!(trouble.reason(), Reason::SourceTypeUnsupported);
        let advice = trouble.advice();
        assert!(
            advice.contains(&format!("{secret_type:?} is no source")) && !advice.contains("canary"),
            "{advice}"
        );
        advice
    };
    assert!(
        advice("Opaque", ".dockerconfigjson").contains("anew with the type kubernetes.io/dockerconfigjson")
    );
    assert!(advice("Opaque", ".dockercfg").contains("anew with the type kubernetes.io/dockercfg"));
    for secret_type in ["Opaque", "kubernetes.io/tls", "example.com/dockerconfigjson"] {
        assert!(advice(secret_type, "tls.key").contains("docs/sources.md"));
    }
}
