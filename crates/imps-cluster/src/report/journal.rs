//! How a single Secret stands, told in the log: each thing once, when it begins to be so.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, PoisonError};

use imps_core::reason::Reason;
use imps_core::standing::{Standing, Truth};

use crate::remit::Single;

/// What a user of `ImagePullSecret`s and a user of the command line call the same thing. The core explains itself to
/// the former.
const WORDS: [(&str, &str); 6] = [
    ("spec.registry.credentials", "--source-secret"),
    ("spec.target.secret.name", "--target-secret"),
    ("status.sources", "what is said of the sources"),
    ("split the ImagePullSecret in two", "run a second refresher with another --target-secret"),
    (", let it be taken over with spec.target.secret.adopt", ""),
    ("that imps did not make", "that this refresher did not make"),
];

/// See the module.
pub struct Journal {
    single: Arc<Single>,
    said: Mutex<BTreeSet<Entry>>,
}

/// One thing that is so.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug)]
struct Entry {
    /// The Secret that it is about.
    secret: String,
    /// In a word; `Succeeded` when all is well.
    reason: Reason,
    text: String,
}

impl Journal {
    pub(super) fn new(single: Arc<Single>) -> Self {
        Self { single, said: Mutex::default() }
    }

    /// Says what was not so the last time.
    pub(super) fn tell(&self, standing: &Standing) {
        let entries = self.entries(standing);
        let mut said = self.said.lock().unwrap_or_else(PoisonError::into_inner);
        for Entry { secret, reason, text } in entries.difference(&said) {
            match reason {
                Reason::Succeeded => tracing::info!(secret, "{text}"),
                _ => tracing::warn!(secret, %reason, "{text}"),
            }
        }
        *said = entries;
    }

    fn entries(&self, standing: &Standing) -> BTreeSet<Entry> {
        let target = self.single.target();
        let mut entries = BTreeSet::new();
        for source in &standing.sources {
            if let Some(reason) = source.reason.filter(|reason| *reason != Reason::Progressing) {
                entries.insert(Entry { secret: source.at.to_string(), reason, text: words(&source.message) });
            }
        }
        for failure in &standing.failures {
            let text = words(&failure.message);
            entries.insert(Entry { secret: target.to_string(), reason: failure.reason, text });
        }
        if standing.targets_synced.truth == Truth::True {
            let registries: usize =
                standing.sources.iter().map(|source| source.registries.len() + source.registries_more).sum();
            let text = format!("the target is as it should be, registries: {registries}");
            entries.insert(Entry { secret: target.to_string(), reason: Reason::Succeeded, text });
        }
        entries
    }
}

fn words(message: &str) -> String {
    WORDS.iter().fold(message.to_owned(), |text, (of_the_object, of_the_line)| {
        text.replace(of_the_object, of_the_line)
    })
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, Instant};

    use base64::Engine;
    use base64::prelude::BASE64_STANDARD;
    use imps_core::controller::{Controller, Effect, Event, Outcome, Written};
    use imps_core::holding::Version;
    use imps_core::name::SecretRef;
    use imps_core::world::{Fact, Stream, Terms};
    use serde_json::{Value, json};

    use super::*;
    use crate::remit::Remit;
    use crate::view::{SourceView, TargetView};

    fn secret(name: &str, secret_type: &str, content: &Value) -> Value {
        let data = BASE64_STANDARD.encode(content.to_string());
        json!({
            "metadata": {"name": name, "namespace": "shop", "uid": name, "resourceVersion": "1"},
            "type": secret_type, "data": {".dockerconfigjson": data},
        })
    }

    fn docker_config(name: &str, auths: Value) -> Value {
        secret(name, "kubernetes.io/dockerconfigjson", &json!({ "auths": auths }))
    }

    /// Lets the whole machine look at a cluster with this source and this Secret at the target's name; what the journal
    /// has to say of it, as `reason: text`.
    fn told(source: Option<Value>, target: Option<Value>) -> Vec<String> {
        let at = SecretRef::new("shop", "hub");
        let single = Arc::new(Single::new(&[at], SecretRef::new("shop", "pull")).unwrap());
        let journal = Journal::new(single.clone());
        let remit = Remit::Single(single.clone());
        let facts = |stream: &Stream| {
            let fact = match stream {
                Stream::Source(at) => source.clone().map(|object| {
                    Fact::Source(at.clone(), serde_json::from_value::<SourceView>(object).unwrap().into())
                }),
                _ => target.clone().map(|object| {
                    let view: TargetView = serde_json::from_value(object).unwrap();
                    Fact::Secret(SecretRef::new("shop", "pull"), Box::new(view.sighting(&remit)))
                }),
            };
            let (begin, end) = (Fact::Relist(stream.clone()), Fact::Listed(stream.clone()));
            [begin].into_iter().chain(fact).chain([end]).collect::<Vec<_>>()
        };
        let now = Instant::now();
        let (mut controller, mut effects) = Controller::new(Terms::default(), None, now);
        let mut last = BTreeSet::new();
        for step in 0..100 {
            let mut events = vec![Event::Tick];
            for effect in effects.drain(..) {
                match effect {
                    Effect::Watch(stream) => {
                        let facts = single.told(&stream).unwrap_or_else(|| facts(&stream));
                        events.extend(facts.into_iter().map(Event::Fact));
                    }
                    Effect::Report(standing, _) => {
                        last = journal.entries(&standing);
                        events.push(Event::Reported(standing.identity.uid.clone(), true));
                    }
                    Effect::Apply(plan) => {
                        let done = |step| (step, Ok(Written::Stands("made".into(), Version(2))));
                        let results = plan.give.into_iter().map(done).collect();
                        events.push(Event::Outcome(Outcome { results, ..Outcome::new(plan.namespace) }));
                    }
                    _ => {}
                }
            }
            for event in events {
                effects.extend(controller.on(event, now + Duration::from_secs(step)));
            }
        }
        last.into_iter().map(|entry| format!("{} {}: {}", entry.secret, entry.reason, entry.text)).collect()
    }

    #[test]
    fn each_trouble_is_told_in_the_words_of_the_command_line() {
        let good = || docker_config("hub", json!({"reg.example": {"username": "u", "password": "p"}}));
        // Rendered, each entry is twice as long.
        let auth = BASE64_STANDARD.encode(format!("robot:{}", "x".repeat(60)));
        let large: serde_json::Map<String, Value> =
            (0..8_000).map(|n| (format!("r{n}.example"), json!({ "auth": auth }))).collect();
        let cases = [
            (told(None, None), vec!["SourceMissing", "remove it from --source-secret"]),
            (told(None, None), vec!["shop/pull NoCredentials", "see what is said of the sources"]),
            (
                told(Some(good()), Some(secret("pull", "Opaque", &json!({})))),
                vec![
                    "shop/pull TargetConflict",
                    "that this refresher did not make",
                    "use another --target-secret",
                ],
            ),
            (
                told(Some(docker_config("hub", Value::Object(large))), None),
                vec!["shop/pull TargetTooLarge", "run a second refresher with another --target-secret"],
            ),
        ];
        for (entries, words) in cases {
            assert!(entries.iter().any(|entry| words.iter().all(|word| entry.contains(word))), "{entries:?}");
            // What these call a thing, nobody has who runs a refresher.
            for word in ["ImagePullSecret", "spec.", "status."] {
                assert!(entries.iter().all(|entry| !entry.contains(word)), "{word} in {entries:?}");
            }
        }
    }

    #[test]
    fn a_target_that_is_as_it_should_be_is_told_with_its_size() {
        let source = docker_config("hub", json!({"reg.example": {"username": "u", "password": "p"}}));
        let entries = told(Some(source), None);
        assert_eq!(entries, ["shop/pull Succeeded: the target is as it should be, registries: 1"]);
    }
}
