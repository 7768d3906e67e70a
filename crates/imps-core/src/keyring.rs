//! The room for what is known about registries: one credential for each key, and the one rule by which
//! several sources become one keyring: they are ordered, and the first that has a key wins it.

use std::collections::{BTreeMap, btree_map};

use crate::{credential::Credential, registry::RegistryKey};

/// One credential for each registry key, in the order in which the keys are written.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Keyring(BTreeMap<RegistryKey, Credential>);

/// What came of a merge: the keyring, who provided each of its entries, and who lost.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Merged<S> {
    /// The entries of all sources, first wins.
    pub keyring: Keyring,
    /// For every key of the keyring the source it came from.
    pub origin: BTreeMap<RegistryKey, S>,
    /// The keys that more than one source has, in the order of the keys.
    pub overlaps: Vec<Overlap<S>>,
}

/// One registry key that several sources have.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Overlap<S> {
    /// The contested key.
    pub registry: RegistryKey,
    /// The source whose credential is used.
    pub winner: S,
    /// The sources whose credential is not used, in their order.
    pub losers: Vec<S>,
    /// Whether all losers have the very credential of the winner, so that nobody loses anything.
    pub identical: bool,
}

// === impl Keyring ===

impl Keyring {
    /// A keyring without entries.
    pub fn new() -> Keyring {
        Keyring::default()
    }

    /// Puts a credential under a key and returns the one that was there before.
    pub fn insert(&mut self, registry: RegistryKey, credential: Credential) -> Option<Credential> {
        self.0.insert(registry, credential)
    }

    /// The credential under exactly this key. Which keys serve an image is another question: see
    /// [`crate::kubelet`].
    pub fn get(&self, registry: &RegistryKey) -> Option<&Credential> {
        self.0.get(registry)
    }

    /// Keeps only the entries whose key is wanted.
    pub fn retain(&mut self, wanted: impl Fn(&RegistryKey) -> bool) {
        self.0.retain(|registry, _| wanted(registry));
    }

    /// The entries in the order of their keys.
    pub fn iter(&self) -> btree_map::Iter<'_, RegistryKey, Credential> {
        self.0.iter()
    }

    /// The keys in their order.
    pub fn registries(&self) -> impl Iterator<Item = &RegistryKey> {
        self.0.keys()
    }

    /// How many entries there are.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether there is no entry.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl FromIterator<(RegistryKey, Credential)> for Keyring {
    /// Collects entries; of several under one key the last stays, as with a map.
    fn from_iter<I: IntoIterator<Item = (RegistryKey, Credential)>>(entries: I) -> Keyring {
        Keyring(entries.into_iter().collect())
    }
}

impl<'k> IntoIterator for &'k Keyring {
    type Item = (&'k RegistryKey, &'k Credential);
    type IntoIter = btree_map::Iter<'k, RegistryKey, Credential>;

    fn into_iter(self) -> Self::IntoIter {
        self.iter()
    }
}

// === merge ===

/// Merges keyrings in the order of precedence: the first source that has a key provides its credential.
///
/// `S` names a source in the result. Different keys never compete, even if one is a prefix of the other: the
/// kubelet tries both, the longer one first. The keyring of the result depends on nothing but the order and
/// the contents, and merging in groups gives the same keyring as merging all at once.
pub fn merge<'k, S: Clone>(ordered: impl IntoIterator<Item = (S, &'k Keyring)>) -> Merged<S> {
    let mut keyring = Keyring::new();
    let mut origin = BTreeMap::new();
    let mut contested: BTreeMap<&RegistryKey, Overlap<S>> = BTreeMap::new();
    for (source, held) in ordered {
        for (registry, credential) in held {
            match (keyring.get(registry), origin.get(registry)) {
                (Some(used), Some(winner)) => {
                    let overlap = contested.entry(registry).or_insert_with(|| Overlap {
                        registry: registry.clone(),
                        winner: S::clone(winner),
                        losers: Vec::new(),
                        identical: true,
                    });
                    overlap.losers.push(source.clone());
                    overlap.identical &= used == credential;
                }
                _ => {
                    keyring.insert(registry.clone(), credential.clone());
                    origin.insert(registry.clone(), source.clone());
                }
            }
        }
    }
    Merged { keyring, origin, overlaps: contested.into_values().collect() }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::token::Token;

    fn key(spelling: &str) -> RegistryKey {
        RegistryKey::parse(spelling).unwrap()
    }

    fn login(password: &str) -> Credential {
        Credential { username: "u".into(), password: Token::new(password) }
    }

    fn keyring(entries: &[(&str, &str)]) -> Keyring {
        entries.iter().map(|(registry, password)| (key(registry), login(password))).collect()
    }

    /// Few keys and few passwords, so that sources meet often and sometimes agree.
    fn any_keyring() -> impl Strategy<Value = Keyring> {
        let registries =
            prop::sample::select(vec!["a.io", "a.io/team", "b.io:5000", "docker.io", "docker.io/org"]);
        let passwords = prop::sample::select(vec!["1", "2", "3"]);
        prop::collection::vec((registries, passwords), 0..5).prop_map(|entries| keyring(&entries))
    }

    fn merge_all(sources: &[Keyring]) -> Merged<usize> {
        merge(sources.iter().enumerate())
    }

    #[test]
    fn losers_are_reported_with_the_winner_in_the_order_of_the_registries() {
        let sources = [
            keyring(&[("b.io", "1"), ("a.io", "1")]),
            keyring(&[("c.io", "1"), ("a.io", "1")]),
            keyring(&[("b.io", "2"), ("a.io", "1")]),
            keyring(&[("b.io", "1")]),
        ];
        let merged = merge_all(&sources);
        assert_eq!(merged.keyring, keyring(&[("a.io", "1"), ("b.io", "1"), ("c.io", "1")]));
        assert_eq!(merged.origin, BTreeMap::from([(key("a.io"), 0), (key("b.io"), 0), (key("c.io"), 1)]));
        assert_eq!(
            merged.overlaps,
            [
                Overlap { registry: key("a.io"), winner: 0, losers: vec![1, 2], identical: true },
                Overlap { registry: key("b.io"), winner: 0, losers: vec![2, 3], identical: false },
            ]
        );
    }

    #[test]
    fn a_host_and_a_path_below_it_do_not_compete() {
        let merged = merge_all(&[keyring(&[("a.io", "1")]), keyring(&[("a.io/team", "2")])]);
        assert_eq!((merged.keyring.len(), merged.overlaps.len()), (2, 0));
    }

    proptest! {
        #[test]
        fn the_first_source_that_has_a_key_provides_it(
            sources in prop::collection::vec(any_keyring(), 0..5),
        ) {
            let merged = merge_all(&sources);
            for (registry, credential) in &merged.keyring {
                let first = sources.iter().position(|source| source.get(registry).is_some());
                prop_assert_eq!(first, merged.origin.get(registry).copied());
                prop_assert_eq!(first.and_then(|index| sources[index].get(registry)), Some(credential));
            }
            prop_assert_eq!(merged.origin.len(), merged.keyring.len());
        }

        #[test]
        fn every_key_of_every_source_is_in_the_result_and_every_loser_is_named_once(
            sources in prop::collection::vec(any_keyring(), 0..5),
        ) {
            let merged = merge_all(&sources);
            let losers: usize = merged.overlaps.iter().map(|overlap| overlap.losers.len()).sum();
            prop_assert_eq!(merged.keyring.len() + losers, sources.iter().map(Keyring::len).sum::<usize>());
            for registry in sources.iter().flat_map(Keyring::registries) {
                prop_assert!(merged.keyring.get(registry).is_some());
            }
        }

        #[test]
        fn merging_in_groups_gives_the_same_keyring(
            a in any_keyring(), b in any_keyring(), c in any_keyring(),
        ) {
            let left = merge_all(&[merge_all(&[a.clone(), b.clone()]).keyring, c.clone()]).keyring;
            let right = merge_all(&[a.clone(), merge_all(&[b.clone(), c.clone()]).keyring]).keyring;
            prop_assert_eq!(&left, &right);
            prop_assert_eq!(left, merge_all(&[a, b, c]).keyring);
        }

        #[test]
        fn sources_without_a_common_key_can_change_places(a in any_keyring(), b in any_keyring()) {
            let only_b = b.iter().filter(|(registry, _)| a.get(registry).is_none());
            let b: Keyring = only_b.map(|(registry, login)| (registry.clone(), login.clone())).collect();
            prop_assert_eq!(merge_all(&[a.clone(), b.clone()]).keyring, merge_all(&[b, a]).keyring);
        }

        #[test]
        fn the_same_sources_give_the_same_answer(sources in prop::collection::vec(any_keyring(), 0..5)) {
            prop_assert_eq!(merge_all(&sources), merge_all(&sources.clone()));
        }
    }
}
