//! Laws that hold whatever happens: random histories on a small cluster, judged by an oracle that knows only the
//! promises.

#![allow(clippy::unwrap_used, reason = "a history that cannot be played has failed")]

mod support;

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use imps_core::account::ATTACHES_MAX;
use imps_core::grant::Grant;
use imps_core::name::{NamespaceName, SecretRef};
use imps_core::world::Namespace;
use proptest::prelude::*;
use support::{GRACE, SourceText, Stage, Stored, docker_config, grant, pattern, selector, tags};

const NAMESPACES: [&str; 4] = ["anchor", "bank", "crate", "dock"];
const SOURCES: [&str; 3] = ["one", "two", "three"];
const REGISTRIES: [&str; 3] = ["a.example", "b.example", "docker.io"];
/// The names that the target ever has.
const OURS: [&str; 2] = ["pull", "pull-second"];
const JSON: &str = "kubernetes.io/dockerconfigjson";

/// One thing that happens to the cluster.
#[derive(Clone, Debug)]
enum Happening {
    /// A namespace gains or loses the label that selects it. The anchor always has it.
    Label { namespace: usize, selected: bool },
    /// A source says something usable: these registries, as this generation of its user.
    Good { source: usize, registries: BTreeSet<usize>, generation: u8 },
    /// One entry of a source cannot be used, the others are as given.
    PartlyBroken { source: usize, registries: BTreeSet<usize>, broken: usize, generation: u8 },
    /// A source is an identity, which the token endpoint accepts or not.
    Identity { source: usize, registries: BTreeSet<usize>, generation: u8, accepted: bool },
    /// A source says nothing usable.
    Broken { source: usize, how: usize },
    /// A source Secret is deleted.
    Gone { source: usize },
    /// Somebody edits or deletes a target.
    Tampered { namespace: usize, deleted: bool },
    /// Somebody takes the target's name first.
    Squatted { namespace: usize },
    /// The squatter leaves.
    Vacated { namespace: usize },
    /// The target's name changes.
    Renamed { second: bool },
    /// The grant is attached to the ServiceAccount `default` of each recipient, or no longer.
    Attaching { on: bool },
    /// Somebody writes the list of a ServiceAccount whole: with a name of their own in front, or without ours.
    Rewritten { namespace: usize, without: bool },
    /// The process starts anew, and meanwhile somebody has edited a target that is not the anchor's.
    Restarted { edited: Option<usize> },
    /// The standby leads, and the leader stands by.
    TakenOver,
    /// Somebody demands that all tokens be asked for anew.
    Demanded,
    /// Nothing happens for longer than the grace.
    Waited,
}

fn happening() -> impl Strategy<Value = Happening> {
    let registries = prop::collection::btree_set(0..REGISTRIES.len(), 1..3);
    prop_oneof![
        3 => (1..4usize, any::<bool>()).prop_map(|(namespace, selected)| Happening::Label { namespace, selected }),
        4 => (0..3usize, registries.clone(), 0..3u8)
            .prop_map(|(source, registries, generation)| Happening::Good { source, registries, generation }),
        2 => (0..3usize, registries, 0..3usize, 0..3u8).prop_map(|(source, registries, broken, generation)| {
            Happening::PartlyBroken { source, registries, broken, generation }
        }),
        3 => (0..3usize, prop::collection::btree_set(0..REGISTRIES.len(), 1..3), 0..3u8, any::<bool>()).prop_map(
            |(source, registries, generation, accepted)| {
                Happening::Identity { source, registries, generation, accepted }
            }
        ),
        3 => (0..3usize, 0..4usize).prop_map(|(source, how)| Happening::Broken { source, how }),
        2 => (0..3usize).prop_map(|source| Happening::Gone { source }),
        2 => (0..4usize, any::<bool>()).prop_map(|(namespace, deleted)| Happening::Tampered { namespace, deleted }),
        1 => (1..4usize).prop_map(|namespace| Happening::Squatted { namespace }),
        1 => (1..4usize).prop_map(|namespace| Happening::Vacated { namespace }),
        1 => any::<bool>().prop_map(|second| Happening::Renamed { second }),
        2 => any::<bool>().prop_map(|on| Happening::Attaching { on }),
        2 => (0..4usize, any::<bool>())
            .prop_map(|(namespace, without)| Happening::Rewritten { namespace, without }),
        3 => prop::option::of(1..4usize).prop_map(|edited| Happening::Restarted { edited }),
        2 => Just(Happening::TakenOver),
        1 => Just(Happening::Demanded),
        1 => Just(Happening::Waited),
    ]
}

/// What the promises say that there is: the last good word of each source, and who is selected.
#[derive(Default)]
struct Oracle {
    last_good: Words,
    /// The same with what a restart forgets: a standby that was not restarted may still know it.
    ever_good: Words,
    /// The sources that are identities, or were before they said anything good: whether there was a token, the leader
    /// alone knows.
    identities: BTreeSet<usize>,
    /// The registries that each source can be read for just now.
    said: BTreeMap<usize, BTreeSet<String>>,
    gone: BTreeSet<usize>,
    selected: BTreeSet<usize>,
    squatted: BTreeMap<usize, Stored>,
    attaching: bool,
    /// What others have put into each ServiceAccount.
    theirs: BTreeMap<usize, Vec<String>>,
    /// How often somebody has taken our name out of it, since the spec was edited last.
    thefts: BTreeMap<usize, u32>,
    /// Where somebody has deleted a target: if nothing could be given again, no Secret tells any more that a name is
    /// ours.
    bereft: BTreeSet<usize>,
}

/// The logins of each source, by registry.
type Words = BTreeMap<usize, BTreeMap<String, String>>;

/// First wins, in the written order.
fn merged(words: &Words) -> BTreeMap<String, String> {
    let mut merged = BTreeMap::new();
    for entries in words.values() {
        for (registry, user) in entries {
            merged.entry(registry.clone()).or_insert_with(|| user.clone());
        }
    }
    merged
}

impl Oracle {
    /// A source speaks: what is known of it changes.
    fn hear(&mut self, source: usize, change: impl Fn(&mut BTreeMap<String, String>)) {
        for words in [&mut self.last_good, &mut self.ever_good] {
            change(words.entry(source).or_default());
        }
    }

    /// A new process knows what the sources say and what the targets hold. What a broken source had given and an
    /// earlier one overrode stands nowhere, so nobody loses it either.
    fn restart(&mut self) {
        self.forget_losers(|_| true);
    }

    /// A standby has read what the leader has, and only of tokens it knows no more than what stands somewhere.
    fn take_over(&mut self) {
        let identities = self.identities.clone();
        self.forget_losers(|source| identities.contains(&source));
    }

    fn forget_losers(&mut self, forgets: impl Fn(usize) -> bool) {
        let winner: BTreeMap<String, usize> = {
            let mut winner = BTreeMap::new();
            for (source, entries) in &self.last_good {
                for registry in entries.keys() {
                    winner.entry(registry.clone()).or_insert(*source);
                }
            }
            winner
        };
        for (source, entries) in self.last_good.iter_mut().filter(|(source, _)| forgets(**source)) {
            let said = self.said.get(source);
            entries.retain(|registry, _| {
                said.is_some_and(|said| said.contains(registry)) || winner[registry] == *source
            });
        }
    }
}

struct Play {
    stage: Stage,
    with_standby: bool,
    oracle: Oracle,
    name: &'static str,
}

impl Play {
    /// `apart` gives each namespace streams of its own, as when imps is told which ones to serve.
    fn new(apart: bool, with_standby: bool) -> Self {
        let mut stage = Stage::default();
        if apart {
            stage.served = Some(NAMESPACES.iter().map(|name| NamespaceName::new(*name)).collect());
            stage.restart();
        }
        let (identity, mut grant) = grant("main", 1);
        grant.sources = SOURCES.iter().map(|name| SecretRef::new("access", *name)).collect();
        grant.recipients.namespaces.labels = vec![selector("pull=yes")];
        stage.grants.insert(identity.uid.clone(), (identity, grant, Default::default()));
        let mut play = Self { stage, with_standby, oracle: Oracle::default(), name: "pull" };
        for (index, namespace) in NAMESPACES.iter().enumerate() {
            play.label(index, index == 0);
            play.stage.account(namespace, "default", &["theirs"]);
            play.oracle.theirs.insert(index, vec!["theirs".to_owned()]);
        }
        play.attaching(true);
        if with_standby {
            play.stage.add_standby();
        }
        // Every history begins with something to lose.
        play.happen(&Happening::Good { source: 0, registries: BTreeSet::from([0]), generation: 0 });
        play.stage.run();
        play
    }

    fn at(&self, namespace: usize) -> SecretRef {
        SecretRef::new(NAMESPACES[namespace], self.name)
    }

    fn label(&mut self, namespace: usize, selected: bool) {
        let labels = if selected { tags(&[("pull", "yes")]) } else { tags(&[]) };
        let name = NamespaceName::new(NAMESPACES[namespace]);
        self.stage.namespaces.insert(name, Namespace { labels, ..Namespace::default() });
        if selected {
            self.oracle.selected.insert(namespace);
        } else {
            self.oracle.selected.remove(&namespace);
        }
    }

    fn say(&mut self, source: usize, secret_type: &str, text: String) {
        self.put(source, SourceText::Text(secret_type.to_owned(), text));
    }

    fn put(&mut self, source: usize, text: SourceText) {
        let at = SecretRef::new("access", SOURCES[source]);
        self.stage.sources.insert(at, text);
        self.oracle.gone.remove(&source);
        self.oracle.said.remove(&source);
    }

    fn happen(&mut self, what: &Happening) {
        match what {
            Happening::Label { namespace, selected } => self.label(*namespace, *selected),
            Happening::Good { source, registries, generation } => {
                let logins = logins(*source, registries, *generation);
                self.say(*source, JSON, config(&logins, None));
                self.oracle.said.insert(*source, logins.keys().cloned().collect());
                self.oracle.identities.remove(source);
                self.oracle.hear(*source, |known| known.clone_from(&logins));
            }
            Happening::PartlyBroken { source, registries, broken, generation } => {
                let mut usable = registries.clone();
                usable.remove(broken);
                let logins = logins(*source, &usable, *generation);
                self.say(*source, JSON, config(&logins, Some(REGISTRIES[*broken])));
                self.oracle.said.insert(*source, logins.keys().cloned().collect());
                if !logins.is_empty() {
                    // The broken entry keeps what it last said; the source has spoken about all others.
                    self.oracle.hear(*source, |known| {
                        known.retain(|registry, _| registry == REGISTRIES[*broken]);
                        known.extend(logins.clone());
                    });
                }
            }
            Happening::Identity { source, registries, generation, accepted } => {
                let identity =
                    format!("{}{}-{generation}", if *accepted { "" } else { "bad-" }, SOURCES[*source]);
                let names: BTreeSet<String> = registries.iter().map(|i| REGISTRIES[*i].to_owned()).collect();
                let version = self.stage.version();
                let registries = names.iter().cloned().collect();
                self.put(*source, SourceText::Identity { name: identity.clone(), version, registries });
                self.oracle.hear(*source, |known| {
                    // What it no longer asks for goes at once; what it asks for stays until there is something better.
                    known.retain(|registry, _| names.contains(registry));
                    if *accepted {
                        known.extend(names.iter().map(|name| (name.clone(), identity.clone())));
                    }
                });
                self.oracle.identities.insert(*source);
                if *accepted {
                    self.oracle.said.insert(*source, names);
                }
            }
            Happening::Broken { source, how } => {
                let (secret_type, text) = [
                    (JSON, "not json"),
                    (JSON, "{\"auths\":[]}"),
                    (JSON, "{\"auths\":{}}"),
                    ("Opaque", "{}"),
                ][*how];
                self.say(*source, secret_type, text.to_owned());
            }
            Happening::Gone { source } => {
                self.stage.sources.remove(&SecretRef::new("access", SOURCES[*source]));
                self.oracle.gone.insert(*source);
                self.oracle.said.remove(source);
            }
            Happening::Tampered { namespace, deleted } => self.tamper(*namespace, *deleted),
            Happening::Squatted { namespace } => self.squat(*namespace),
            Happening::Vacated { namespace } => {
                if self.oracle.squatted.remove(namespace).is_some() {
                    self.stage.secrets.remove(&self.at(*namespace));
                }
            }
            Happening::Renamed { second } => self.rename(*second),
            Happening::Attaching { on } => self.attaching(*on),
            Happening::Rewritten { namespace, without } => self.rewrite(*namespace, *without),
            Happening::Restarted { edited } => {
                edited.iter().for_each(|namespace| self.tamper(*namespace, false));
                self.stage.restart();
                self.oracle.restart();
            }
            Happening::TakenOver => {
                self.stage.take_over();
                self.oracle.take_over();
            }
            Happening::Demanded => {
                let value = self.stage.version().to_string();
                let uid = self.stage.grants.keys().next().unwrap().clone();
                self.stage.demands.insert(uid.clone(), value.clone());
                self.stage.run();
                // Each token was asked for a few times at most since the last demand, so nothing has to rest for long.
                let is_met = |play: &Self| play.stage.standings[&uid].met.as_ref() == Some(&value);
                (0..12).for_each(|_| {
                    if !is_met(self) {
                        self.stage.pass(Duration::from_secs(1));
                    }
                });
                assert!(is_met(self), "every demand is met, whatever comes of it");
            }
            Happening::Waited => {
                self.stage.run();
                self.stage.wait(GRACE + Duration::from_secs(1));
                for source in std::mem::take(&mut self.oracle.gone) {
                    self.oracle.last_good.remove(&source);
                    self.oracle.ever_good.remove(&source);
                }
            }
        }
    }

    fn tamper(&mut self, namespace: usize, deleted: bool) {
        let at = self.at(namespace);
        let version = self.stage.version();
        if self.oracle.squatted.contains_key(&namespace) {
            return;
        }
        if deleted {
            self.stage.secrets.remove(&at);
            self.oracle.bereft.insert(namespace);
        } else if let Some(stored) = self.stage.secrets.get_mut(&at) {
            stored.bytes = docker_config(&[("evil.example", "mallory")]).into_bytes();
            (stored.by_imps, stored.version) = (false, version);
        }
    }

    fn squat(&mut self, namespace: usize) {
        let at = self.at(namespace);
        let version = self.stage.version();
        if self.stage.secrets.contains_key(&at) {
            return;
        }
        let stored = Stored::foreign(version, "Opaque", b"foreign".to_vec());
        self.stage.secrets.insert(at, stored.clone());
        self.oracle.squatted.insert(namespace, stored);
    }

    fn rename(&mut self, second: bool) {
        let name = if second { "pull-second" } else { "pull" };
        if name == self.name || !self.oracle.squatted.is_empty() {
            return;
        }
        self.name = name;
        self.edit(|grant| grant.template.name = name.into());
    }

    fn attaching(&mut self, on: bool) {
        self.oracle.attaching = on;
        self.edit(|grant| grant.accounts = if on { vec![pattern("default")] } else { Vec::new() });
    }

    fn edit(&mut self, change: impl Fn(&mut Grant)) {
        for (identity, grant, _) in self.stage.grants.values_mut() {
            identity.generation += 1;
            grant.identity = identity.clone();
            change(grant);
        }
        self.oracle.thefts.clear();
    }

    fn rewrite(&mut self, namespace: usize, without: bool) {
        let mut list = self.stage.attached(NAMESPACES[namespace], "default");
        if without {
            let ours = list.len();
            list.retain(|name| !OURS.contains(&name.as_str()));
            *self.oracle.thefts.entry(namespace).or_default() += u32::from(list.len() < ours);
        } else {
            let name = format!("theirs-{}", list.len());
            list.insert(0, name.clone());
            self.oracle.theirs.get_mut(&namespace).unwrap().insert(0, name);
        }
        let list: Vec<&str> = list.iter().map(String::as_str).collect();
        self.stage.account(NAMESPACES[namespace], "default", &list);
    }

    /// Of a ServiceAccount: what others put there stands, and our name when it should.
    fn check_account(&self, index: usize) {
        let list = self.stage.attached(NAMESPACES[index], "default");
        let (ours, theirs): (Vec<_>, Vec<_>) =
            list.into_iter().partition(|name| OURS.contains(&name.as_str()));
        assert_eq!(theirs, self.oracle.theirs[&index], "the names of others stay, in their order");
        let selected = self.oracle.selected.contains(&index) && self.oracle.attaching;
        let squatted = self.oracle.squatted.contains_key(&index);
        let stands = self.stage.secrets.contains_key(&self.at(index)) && !squatted;
        if selected && stands && self.oracle.thefts.get(&index).is_none_or(|count| *count < ATTACHES_MAX) {
            // A former name of a Secret that somebody has deleted is nobody's, and stays.
            let bereft = self.oracle.bereft.contains(&index);
            let named: Vec<_> = ours.iter().filter(|name| !bereft || *name == self.name).collect();
            assert_eq!(named, [self.name], "{} names the Secret", NAMESPACES[index]);
        }
        if !selected && !self.oracle.bereft.contains(&index) {
            assert_eq!(ours, [] as [String; 0], "{} names no Secret of ours", NAMESPACES[index]);
        }
    }

    /// All promises at once.
    fn check(&mut self) {
        let expected = merged(&self.oracle.last_good);
        let possible = if self.with_standby { merged(&self.oracle.ever_good) } else { expected.clone() };
        for (index, namespace) in NAMESPACES.iter().enumerate() {
            self.check_account(index);
            if let Some(stored) = self.oracle.squatted.get(&index) {
                assert_eq!(
                    self.stage.secrets.get(&self.at(index)),
                    Some(stored),
                    "a foreign Secret is never touched"
                );
                continue;
            }
            let held = self.stage.logins(namespace, self.name);
            // Which token it is does not matter, but whose.
            let whose = |user: String| user.split('#').next().unwrap_or_default().to_owned();
            let held: Option<BTreeMap<String, String>> =
                held.map(|held| held.into_iter().map(|(registry, user)| (registry, whose(user))).collect());
            if !self.oracle.selected.contains(&index) {
                assert_eq!(held, None, "{namespace} is not selected");
            } else if possible.is_empty() {
                assert!(held.is_none_or(|held| held.is_empty()), "nothing is left to give");
            } else {
                // What a standby alone remembers is as good as what the leader does, and need not be there.
                let mut told = held.unwrap_or_default();
                for (registry, user) in &expected {
                    if told.get(registry).is_some_and(|told| possible.get(registry) == Some(told)) {
                        told.insert(registry.clone(), user.clone());
                    }
                }
                told.retain(|registry, user| {
                    expected.contains_key(registry) || possible.get(registry) != Some(user)
                });
                assert_eq!(
                    told, expected,
                    "{namespace} has just what the last good word of each source says"
                );
            }
        }
        let others = self.stage.secrets.keys().filter(|at| at.name.as_str() != self.name);
        assert_eq!(others.count(), 0, "nothing is left under a former name");
        let before = self.stage.history.len();
        self.stage.run();
        assert_eq!(
            self.stage.history[before..],
            [] as [String; 0],
            "all is done, so nothing more is written"
        );
    }
}

fn logins(source: usize, registries: &BTreeSet<usize>, generation: u8) -> BTreeMap<String, String> {
    let user = format!("{}-{generation}", SOURCES[source]);
    registries.iter().map(|index| (REGISTRIES[*index].to_owned(), user.clone())).collect()
}

fn config(logins: &BTreeMap<String, String>, broken: Option<&str>) -> String {
    let pairs: Vec<(&str, &str)> =
        logins.iter().map(|(registry, user)| (registry.as_str(), user.as_str())).collect();
    let text = docker_config(&pairs);
    match broken {
        None => text,
        Some(registry) => {
            let comma = if logins.is_empty() { "" } else { "," };
            text.replace("}}}", &format!("}}{comma}\"{registry}\":\"a string\"}}}}"))
                .replace("{\"auths\":{}}", &format!("{{\"auths\":{{\"{registry}\":\"a string\"}}}}"))
        }
    }
}

/// What the source said as an identity before its next word is the leader's alone to know.
#[test]
fn a_standby_takes_up_the_token_of_what_is_no_identity_any_longer() {
    for apart in [false, true] {
        let mut play = Play::new(apart, true);
        for what in [
            Happening::Identity { source: 0, registries: BTreeSet::from([2]), generation: 0, accepted: true },
            Happening::PartlyBroken { source: 0, registries: BTreeSet::from([0]), broken: 2, generation: 0 },
            Happening::TakenOver,
        ] {
            play.happen(&what);
            play.stage.run();
            play.check();
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 128, failure_persistence: None, ..ProptestConfig::default() })]

    /// Never worse, only ours, nothing forgotten: after each thing that happens, restarts included, every selected
    /// namespace holds just the last good word of each source, and nobody else's Secret is touched.
    #[test]
    fn whatever_happens_the_promises_hold(
        history in prop::collection::vec(happening(), 1..14),
        apart in any::<bool>(),
    ) {
        let with_standby = history.iter().any(|what| matches!(what, Happening::TakenOver));
        let mut play = Play::new(apart, with_standby);
        play.check();
        for what in &history {
            play.happen(what);
            play.stage.run();
            play.check();
        }
    }

    /// Whenever the process dies, no namespace has less than before, and the next process finishes the work.
    #[test]
    fn every_prefix_of_the_work_is_safe(
        deaths in prop::collection::vec(0..4usize, 1..6),
        second in any::<bool>(),
        apart in any::<bool>(),
    ) {
        let mut play = Play::new(apart, false);
        play.happen(&Happening::Label { namespace: 1, selected: true });
        play.stage.run();
        play.rename(second);
        play.happen(&Happening::Good { source: 1, registries: BTreeSet::from([1]), generation: 1 });
        play.happen(&Happening::Label { namespace: 2, selected: true });
        for writes in deaths {
            play.stage.writes_left = Some(writes);
            play.stage.run();
            for namespace in [0, 1] {
                let any = ["pull", "pull-second"].iter().any(|name| {
                    play.stage.logins(NAMESPACES[namespace], name).is_some_and(|held| held.contains_key(REGISTRIES[0]))
                });
                prop_assert!(any, "{} lost its login", NAMESPACES[namespace]);
            }
            play.stage.writes_left = None;
            play.stage.restart();
        }
        play.check();
    }
}
