//! The census of pods: which questions about pods are answered with yes in which namespace. No pod is stored.
//!
//! A pod is remembered by its UID and the set of terms that it answers, some 50 bytes, and only if it answers any.
//! A namespace is woken when the first pod that answers a term comes or the last one goes, so pods may come and go
//! by the thousand without a plan.

use std::collections::{BTreeMap, BTreeSet};

use crate::grant::PodTerm;
use crate::name::NamespaceName;
use crate::selector::Tags;

/// What is known of one pod for the moment of counting it.
#[derive(Clone, Debug)]
pub struct Pod {
    /// Its UID.
    pub uid: PodUid,
    /// Where it runs.
    pub namespace: NamespaceName,
    /// Its labels.
    pub labels: Tags,
    /// Its annotations.
    pub annotations: Tags,
    /// It has a deletion timestamp and no longer counts.
    pub deleting: bool,
}

/// A pod's UID in 16 bytes.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct PodUid(u128);

impl PodUid {
    /// Reads the UUID that the API server gave the pod; any other text (static pods have a hash there) is digested.
    pub fn parse(text: &str) -> Self {
        let hex: String = text.chars().filter(|c| *c != '-').collect();
        if hex.len() == 32
            && let Ok(number) = u128::from_str_radix(&hex, 16)
        {
            return Self(number);
        }
        use sha2::Digest;
        let digest = sha2::Sha256::digest(text.as_bytes());
        let half: [u8; 16] = digest[..16].try_into().expect("SHA-256 has 32 bytes");
        Self(u128::from_be_bytes(half))
    }
}

type TermId = u16;

#[derive(Debug)]
struct Entry {
    namespace: NamespaceName,
    terms: u32,
    epoch: u32,
}

/// Counts of pods by namespace and term.
#[derive(Default, Debug)]
pub struct PodCensus {
    terms: BTreeMap<PodTerm, TermId>,
    /// Sets of terms, each held once: the pods of one workload answer the same.
    sets: Vec<Box<[TermId]>>,
    set_ids: BTreeMap<Box<[TermId]>, u32>,
    pods: BTreeMap<PodUid, Entry>,
    counts: BTreeMap<NamespaceName, BTreeMap<TermId, u32>>,
    epoch: u32,
}

impl PodCensus {
    /// Asks these questions from now on. Returns whether they are new, in which case all pods have to be counted
    /// again (see [`PodCensus::begin`]): the old counts are void.
    pub fn ask(&mut self, terms: BTreeSet<PodTerm>) -> bool {
        if self.terms.keys().eq(terms.iter()) {
            return false;
        }
        let epoch = self.epoch;
        let numbered = terms.into_iter().zip(0..TermId::MAX);
        *self = Self { terms: numbered.collect(), epoch, ..Self::default() };
        true
    }

    /// Whether any question is asked at all.
    pub fn is_idle(&self) -> bool {
        self.terms.is_empty()
    }

    /// How many pods are remembered.
    pub fn len(&self) -> usize {
        self.pods.len()
    }

    /// Whether no pod is remembered.
    pub fn is_empty(&self) -> bool {
        self.pods.is_empty()
    }

    /// A fresh list of all pods begins.
    pub fn begin(&mut self) {
        self.epoch = self.epoch.wrapping_add(1);
    }

    /// The list is complete: pods that were not in it are gone. Returns the namespaces in which an answer changed.
    pub fn finish(&mut self) -> BTreeSet<NamespaceName> {
        let stale: Vec<PodUid> =
            self.pods.iter().filter(|(_, entry)| entry.epoch != self.epoch).map(|(uid, _)| *uid).collect();
        stale.into_iter().filter_map(|uid| self.leave(uid)).collect()
    }

    /// Counts a pod that appeared or changed. Returns its namespace if an answer changed there.
    pub fn count(&mut self, pod: &Pod) -> Option<NamespaceName> {
        let answers: Box<[TermId]> = if pod.deleting {
            Box::default()
        } else {
            let yes = self.terms.iter().filter(|(term, _)| term.matches(&pod.labels, &pod.annotations));
            yes.map(|(_, id)| *id).collect()
        };
        if answers.is_empty() {
            return self.leave(pod.uid);
        }
        let terms = self.set_id(answers);
        let epoch = self.epoch;
        let entry = Entry { namespace: pod.namespace.clone(), terms, epoch };
        match self.pods.insert(pod.uid, entry) {
            Some(before) if before.terms == terms && before.namespace == pod.namespace => None,
            Some(before) => {
                let came = self.change(&pod.namespace, terms, 1);
                let went = self.change(&before.namespace, before.terms, -1);
                (came | went).then(|| pod.namespace.clone())
            }
            None => self.change(&pod.namespace, terms, 1).then(|| pod.namespace.clone()),
        }
    }

    /// Forgets a pod that is gone. Returns its namespace if an answer changed there.
    pub fn leave(&mut self, uid: PodUid) -> Option<NamespaceName> {
        let entry = self.pods.remove(&uid)?;
        self.change(&entry.namespace, entry.terms, -1).then_some(entry.namespace)
    }

    /// Whether a living pod in the namespace answers the term with yes.
    pub fn answers(&self, namespace: &NamespaceName, term: &PodTerm) -> bool {
        let Some(id) = self.terms.get(term) else { return false };
        self.counts.get(namespace).is_some_and(|counts| counts.contains_key(id))
    }

    fn set_id(&mut self, terms: Box<[TermId]>) -> u32 {
        if let Some(id) = self.set_ids.get(&terms) {
            return *id;
        }
        let id = u32::try_from(self.sets.len())
            .expect("there are fewer sets than pods, and fewer pods than u32 holds");
        self.sets.push(terms.clone());
        self.set_ids.insert(terms, id);
        id
    }

    /// Adds `by` to every count of the set; true if a count left or reached zero.
    fn change(&mut self, namespace: &NamespaceName, terms: u32, by: i32) -> bool {
        let mut edge = false;
        let counts = self.counts.entry(namespace.clone()).or_default();
        for term in &self.sets[terms as usize] {
            let count = counts.entry(*term).or_insert(0);
            edge |= *count == 0;
            *count = count.saturating_add_signed(by);
            if *count == 0 {
                counts.remove(term);
                edge = true;
            }
        }
        if counts.is_empty() {
            self.counts.remove(namespace);
        }
        edge
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::selector::Selector;

    fn term(key: &str) -> PodTerm {
        PodTerm::Label(Selector::exactly([(key.to_owned(), "1".to_owned())]))
    }

    fn pod(uid: u128, namespace: &str, label: Option<&str>) -> Pod {
        let labels = label.map(|key| (key.to_owned(), "1".to_owned())).into_iter().collect();
        Pod {
            uid: PodUid(uid),
            namespace: namespace.into(),
            labels,
            annotations: Tags::new(),
            deleting: false,
        }
    }

    fn census() -> PodCensus {
        let mut census = PodCensus::default();
        assert!(census.ask(BTreeSet::from([term("a"), term("b")])));
        census.begin();
        census
    }

    #[test]
    fn only_the_first_and_the_last_pod_wake_a_namespace() {
        let mut census = census();
        assert_eq!(census.count(&pod(1, "shop", Some("a"))), Some("shop".into()));
        assert_eq!(census.count(&pod(2, "shop", Some("a"))), None);
        assert_eq!(census.count(&pod(3, "shop", None)), None);
        assert_eq!(census.leave(PodUid(1)), None);
        assert!(census.answers(&"shop".into(), &term("a")));
        assert_eq!(census.leave(PodUid(2)), Some("shop".into()));
        assert!(!census.answers(&"shop".into(), &term("a")));
        assert_eq!(census.len(), 0);
    }

    #[test]
    fn a_pod_that_is_being_deleted_does_not_count() {
        let mut census = census();
        census.count(&pod(1, "shop", Some("a")));
        assert_eq!(census.count(&Pod { deleting: true, ..pod(1, "shop", Some("a")) }), Some("shop".into()));
        assert!(!census.answers(&"shop".into(), &term("a")));
    }

    #[test]
    fn a_relabelled_pod_answers_anew() {
        let mut census = census();
        census.count(&pod(1, "shop", Some("a")));
        assert_eq!(census.count(&pod(1, "shop", Some("b"))), Some("shop".into()));
        assert!(!census.answers(&"shop".into(), &term("a")) && census.answers(&"shop".into(), &term("b")));
    }

    #[test]
    fn a_pod_that_a_new_list_lacks_is_gone() {
        let mut census = census();
        census.count(&pod(1, "shop", Some("a")));
        census.count(&pod(2, "bank", Some("a")));
        census.begin();
        census.count(&pod(2, "bank", Some("a")));
        assert_eq!(census.finish(), BTreeSet::from(["shop".into()]));
        assert!(census.answers(&"bank".into(), &term("a")));
    }

    #[test]
    fn uids_that_are_no_uuid_differ_too() {
        assert_ne!(PodUid::parse("a"), PodUid::parse("b"));
        assert_eq!(PodUid::parse("00000000-0000-0000-0000-00000000000a"), PodUid(10));
    }

    proptest! {
        /// Whatever came and went in whatever order, the answers are those of the pods that are left.
        #[test]
        fn answers_are_those_of_the_pods_that_are_left(
            steps in prop::collection::vec((0u128..6, 0usize..3, 0usize..4), 0..60)
        ) {
            let mut census = census();
            let mut left = BTreeMap::new();
            for (uid, namespace, what) in steps {
                let namespace = ["x", "y", "z"][namespace];
                if what == 3 {
                    census.leave(PodUid(uid));
                    left.remove(&uid);
                } else {
                    let label = [Some("a"), Some("b"), None][what];
                    census.count(&pod(uid, namespace, label));
                    left.insert(uid, (namespace, label));
                }
            }
            for namespace in ["x", "y", "z"] {
                for key in ["a", "b"] {
                    let expected = left.values().any(|(n, l)| *n == namespace && *l == Some(key));
                    prop_assert_eq!(census.answers(&namespace.into(), &term(key)), expected);
                }
            }
        }
    }
}
