//! Selectors over labels or annotations: which objects a user meant.
//!
//! The rules are those of Kubernetes' label selectors (kubernetes/apimachinery:pkg/labels/selector.go); the same
//! matcher serves annotations, whose values have no length or alphabet.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

/// What labels and annotations are on an object: keys with values.
pub type Tags = BTreeMap<String, String>;

/// All requirements must hold; a selector without any matches every object.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug, Default)]
pub struct Selector {
    requirements: Vec<Requirement>,
}

#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug)]
struct Requirement {
    key: String,
    test: Test,
}

#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug)]
enum Test {
    In(BTreeSet<String>),
    NotIn(BTreeSet<String>),
    Exists,
    DoesNotExist,
}

/// Why a selector means nothing. The text names the key and the remedy.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum SelectorFault {
    /// An operator that Kubernetes does not know.
    #[error("operator {operator:?} of key {key:?} is none of In, NotIn, Exists, DoesNotExist")]
    UnknownOperator {
        /// The key of the expression.
        key: String,
        /// What stands there.
        operator: String,
    },
    /// `In` and `NotIn` compare with something.
    #[error("operator {operator} of key {key:?} needs at least one value")]
    NoValues {
        /// The key of the expression.
        key: String,
        /// `In` or `NotIn`.
        operator: &'static str,
    },
    /// `Exists` and `DoesNotExist` compare with nothing.
    #[error("operator {operator} of key {key:?} takes no values; remove them, or use In or NotIn")]
    NeedlessValues {
        /// The key of the expression.
        key: String,
        /// `Exists` or `DoesNotExist`.
        operator: &'static str,
    },
    /// A requirement about no key.
    #[error("an expression has an empty key")]
    EmptyKey,
}

impl Selector {
    /// Every pair must be there exactly.
    pub fn exactly(pairs: impl IntoIterator<Item = (String, String)>) -> Self {
        let one = |(key, value)| Requirement { key, test: Test::In(BTreeSet::from([value])) };
        Self { requirements: pairs.into_iter().map(one).collect() }
    }

    /// Adds the expression `key operator values`, all of which must hold.
    pub fn and(mut self, key: &str, operator: &str, values: &[String]) -> Result<Self, SelectorFault> {
        if key.is_empty() {
            return Err(SelectorFault::EmptyKey);
        }
        let set: BTreeSet<String> = values.iter().cloned().collect();
        let key = key.to_owned();
        let test = match (operator, set.is_empty()) {
            ("In", false) => Test::In(set),
            ("NotIn", false) => Test::NotIn(set),
            ("Exists", true) => Test::Exists,
            ("DoesNotExist", true) => Test::DoesNotExist,
            ("In", true) => return Err(SelectorFault::NoValues { key, operator: "In" }),
            ("NotIn", true) => return Err(SelectorFault::NoValues { key, operator: "NotIn" }),
            ("Exists", false) => return Err(SelectorFault::NeedlessValues { key, operator: "Exists" }),
            ("DoesNotExist", false) => {
                return Err(SelectorFault::NeedlessValues { key, operator: "DoesNotExist" });
            }
            _ => return Err(SelectorFault::UnknownOperator { key, operator: operator.to_owned() }),
        };
        self.requirements.push(Requirement { key, test });
        Ok(self)
    }

    /// Whether an object with these labels (or annotations) is meant. As in Kubernetes, `NotIn` also matches an
    /// object that lacks the key.
    pub fn matches(&self, tags: &Tags) -> bool {
        self.requirements.iter().all(|requirement| {
            let value = tags.get(&requirement.key);
            match &requirement.test {
                Test::In(set) => value.is_some_and(|v| set.contains(v)),
                Test::NotIn(set) => value.is_none_or(|v| !set.contains(v)),
                Test::Exists => value.is_some(),
                Test::DoesNotExist => value.is_none(),
            }
        })
    }

    /// The first requirement that an object does not meet, and what it has instead: `team=payments (it is shop)`.
    pub fn complaint(&self, tags: &Tags) -> Option<String> {
        let alone = |requirement: &Requirement| Self { requirements: vec![requirement.clone()] };
        let failed = self.requirements.iter().find(|requirement| !alone(requirement).matches(tags))?;
        let found =
            tags.get(&failed.key).map_or("it is not set".to_owned(), |value| format!("it is {value:?}"));
        Some(format!("{} ({found})", alone(failed)))
    }

    /// A key that every matching object has, if there is one: what an index can look the selector up by.
    pub fn anchor(&self) -> Option<&str> {
        let present = |r: &&Requirement| matches!(r.test, Test::In(_) | Test::Exists);
        self.requirements.iter().find(present).map(|r| r.key.as_str())
    }
}

impl fmt::Display for Selector {
    /// As kubectl writes selectors: `team=payments,tier in (a,b),!legacy`; `everything` when nothing is required.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.requirements.is_empty() {
            return f.write_str("everything");
        }
        for (index, Requirement { key, test }) in self.requirements.iter().enumerate() {
            if index > 0 {
                f.write_str(",")?;
            }
            match test {
                Test::In(set) if set.len() == 1 => write!(f, "{key}={}", list(set))?,
                Test::In(set) => write!(f, "{key} in ({})", list(set))?,
                Test::NotIn(set) => write!(f, "{key} notin ({})", list(set))?,
                Test::Exists => write!(f, "{key}")?,
                Test::DoesNotExist => write!(f, "!{key}")?,
            }
        }
        Ok(())
    }
}

fn list(set: &BTreeSet<String>) -> String {
    set.iter().map(String::as_str).collect::<Vec<_>>().join(",")
}

/// A namespace name, or a pattern in which `*` stands for any characters (`team-*`). A namespace name holds no `*`,
/// so every name that the original accepted means the same here.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct NamePattern(String);

impl NamePattern {
    /// Takes the text as it is.
    pub fn new(text: impl Into<String>) -> Self {
        Self(text.into())
    }

    /// The exact name, when there is no `*` in it.
    pub fn exact(&self) -> Option<&str> {
        (!self.0.contains('*')).then_some(self.0.as_str())
    }

    /// Whether the name is meant.
    pub fn matches(&self, name: &str) -> bool {
        let Some((prefix, rest)) = self.0.split_once('*') else { return self.0 == name };
        let Some(mut left) = name.strip_prefix(prefix) else { return false };
        let mut parts: Vec<&str> = rest.split('*').collect();
        let last = parts.pop().unwrap_or_default();
        for part in parts {
            // The leftmost place is the best one: whatever fits behind a later place fits behind it too.
            match left.find(part) {
                Some(at) => left = &left[at + part.len()..],
                None => return false,
            }
        }
        left.ends_with(last)
    }
}

impl fmt::Display for NamePattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn tags(pairs: &[(&str, &str)]) -> Tags {
        pairs.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect()
    }

    fn values(list: &[&str]) -> Vec<String> {
        list.iter().map(|v| (*v).to_owned()).collect()
    }

    #[test]
    fn an_empty_selector_matches_every_object() {
        assert!(Selector::default().matches(&tags(&[])));
        assert!(Selector::default().matches(&tags(&[("a", "b")])));
    }

    #[test]
    fn the_four_operators_mean_what_they_mean_in_kubernetes() {
        // operator, values, matches a=1, matches a=2, matches an object without the key
        let table: [(&str, &[&str], bool, bool, bool); 4] = [
            ("In", &["1"], true, false, false),
            ("NotIn", &["1"], false, true, true),
            ("Exists", &[], true, true, false),
            ("DoesNotExist", &[], false, false, true),
        ];
        for (operator, list, one, two, none) in table {
            let selector = Selector::default().and("a", operator, &values(list)).unwrap();
            assert_eq!(selector.matches(&tags(&[("a", "1")])), one, "{operator}");
            assert_eq!(selector.matches(&tags(&[("a", "2")])), two, "{operator}");
            assert_eq!(selector.matches(&tags(&[("b", "1")])), none, "{operator}");
        }
    }

    #[test]
    fn requirements_are_anded() {
        let selector = Selector::exactly([("a".into(), "1".into())]).and("b", "Exists", &[]).unwrap();
        assert!(selector.matches(&tags(&[("a", "1"), ("b", "")])));
        assert!(!selector.matches(&tags(&[("a", "1")])));
        assert!(!selector.matches(&tags(&[("b", "1")])));
    }

    #[test]
    fn a_selector_that_means_nothing_is_refused_with_its_key() {
        let bad = [
            ("Equals", &["1"][..]),
            ("In", &[]),
            ("NotIn", &[]),
            ("Exists", &["1"]),
            ("DoesNotExist", &["1"]),
        ];
        for (operator, list) in bad {
            let fault = Selector::default().and("team", operator, &values(list)).unwrap_err();
            assert!(fault.to_string().contains("team"), "{fault}");
        }
        assert_eq!(Selector::default().and("", "Exists", &[]), Err(SelectorFault::EmptyKey));
    }

    #[test]
    fn a_selector_reads_as_kubectl_writes_it() {
        let selector = Selector::exactly([("team".into(), "payments".into())])
            .and("tier", "In", &values(&["b", "a"]))
            .and_then(|s| s.and("env", "NotIn", &values(&["dev"])))
            .and_then(|s| s.and("x", "Exists", &[]))
            .and_then(|s| s.and("legacy", "DoesNotExist", &[]))
            .unwrap();
        assert_eq!(selector.to_string(), "team=payments,tier in (a,b),env notin (dev),x,!legacy");
    }

    #[test]
    fn what_an_object_lacks_is_said_with_what_it_has() {
        let selector =
            Selector::exactly([("team".into(), "payments".into())]).and("x", "Exists", &[]).unwrap();
        let complaint = |pairs: &[(&str, &str)]| selector.complaint(&tags(pairs)).unwrap_or_default();
        assert_eq!(complaint(&[("team", "shop")]), "team=payments (it is \"shop\")");
        assert_eq!(complaint(&[("team", "payments")]), "x (it is not set)");
        assert_eq!(complaint(&[("team", "payments"), ("x", "")]), "");
    }

    #[test]
    fn a_star_stands_for_any_characters() {
        for (pattern, name, matches) in [
            ("team-*", "team-a", true),
            ("team-*", "team-", true),
            ("team-*", "my-team-a", false),
            ("*", "anything", true),
            ("*-prod", "a-prod", true),
            ("*-prod", "a-prod-1", false),
            ("a*b*c", "a-b-c", true),
            ("a*b*c", "a-c-b", false),
            ("a*a", "a", false),
            ("**", "x", true),
            ("shop", "shop", true),
            ("shop", "shop2", false),
        ] {
            assert_eq!(NamePattern::new(pattern).matches(name), matches, "{pattern} against {name}");
        }
    }

    proptest! {
        #[test]
        fn in_and_notin_are_opposites(
            list in prop::collection::vec("[a-c]", 1..3),
            value in prop::option::of("[a-c]"),
        ) {
            let tags: Tags = value.into_iter().map(|v| ("k".to_owned(), v)).collect();
            let is_in = Selector::default().and("k", "In", &list).unwrap();
            let not_in = Selector::default().and("k", "NotIn", &list).unwrap();
            prop_assert_ne!(is_in.matches(&tags), not_in.matches(&tags));
        }

        #[test]
        fn a_pattern_finds_every_text_it_was_cut_from(
            parts in prop::collection::vec("[ab]{0,3}", 1..4),
            fill in "[abc]{0,4}",
        ) {
            let pattern = NamePattern::new(parts.join("*"));
            prop_assert!(pattern.matches(&parts.join(&fill)) || parts.len() == 1);
        }

        #[test]
        fn an_anchor_is_on_every_object_that_matches(key in "[ab]", op in 0usize..4, present in prop::bool::ANY) {
            let operator = ["In", "NotIn", "Exists", "DoesNotExist"][op];
            let list = if op < 2 { vec!["v".to_owned()] } else { vec![] };
            let selector = Selector::default().and(&key, operator, &list).unwrap();
            let tags: Tags = present.then(|| (key.clone(), "v".to_owned())).into_iter().collect();
            if let Some(anchor) = selector.anchor() && selector.matches(&tags) {
                prop_assert!(tags.contains_key(anchor));
            }
        }
    }
}
