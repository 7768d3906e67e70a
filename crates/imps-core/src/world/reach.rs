//! Which grants could ever select a namespace: an index, so that news about one namespace costs as much as the
//! grants that could care, not as all there are.

use std::collections::{BTreeMap, BTreeSet};

use super::Namespace;
use crate::grant::{NamespaceTerms, Recipients};
use crate::name::{NamespaceName, Uid};

type Index = BTreeMap<String, BTreeSet<Uid>>;

/// See the module. A grant is found by the exact names that it lists and by one key that every namespace it selects
/// must have; grants that can select by anything else (patterns, `{}`, `NotIn`, pods) are looked at always.
#[derive(Default, Debug)]
pub struct Reach {
    names: Index,
    labels: Index,
    annotations: Index,
    anywhere: BTreeSet<Uid>,
}

impl Reach {
    /// Files a grant.
    pub fn learn(&mut self, uid: &Uid, recipients: &Recipients) {
        let Recipients { namespaces, pods, exclude: _, opt_outs: _ } = recipients;
        let NamespaceTerms { names, labels, annotations } = namespaces;
        let mut file = |index: fn(&mut Self) -> &mut Index, anchor: Option<&str>| match anchor {
            Some(anchor) => {
                index(self).entry(anchor.to_owned()).or_default().insert(uid.clone());
            }
            None => {
                self.anywhere.insert(uid.clone());
            }
        };
        names.iter().for_each(|pattern| file(|reach| &mut reach.names, pattern.exact()));
        labels.iter().for_each(|selector| file(|reach| &mut reach.labels, selector.anchor()));
        annotations.iter().for_each(|selector| file(|reach| &mut reach.annotations, selector.anchor()));
        if !pods.is_empty() {
            self.anywhere.insert(uid.clone());
        }
    }

    /// Takes a grant out.
    pub fn forget(&mut self, uid: &Uid) {
        for index in [&mut self.names, &mut self.labels, &mut self.annotations] {
            index.retain(|_, grants| {
                grants.remove(uid);
                !grants.is_empty()
            });
        }
        self.anywhere.remove(uid);
    }

    /// The grants that could select the namespace.
    pub fn candidates(&self, name: &NamespaceName, namespace: Option<&Namespace>) -> BTreeSet<&Uid> {
        let mut found: BTreeSet<&Uid> = self.anywhere.iter().collect();
        found.extend(self.names.get(name.as_str()).into_iter().flatten());
        if let Some(namespace) = namespace {
            for (index, tags) in
                [(&self.labels, &namespace.labels), (&self.annotations, &namespace.annotations)]
            {
                found.extend(tags.keys().filter_map(|key| index.get(key)).flatten());
            }
        }
        found
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::grant::Verdict;
    use crate::selector::{NamePattern, Selector, Tags};

    fn selector() -> impl Strategy<Value = Selector> {
        let expression = ("[ab]", 0usize..4);
        prop::collection::vec(expression, 0..3).prop_map(|list| {
            list.into_iter().fold(Selector::default(), |selector, (key, op)| {
                let operator = ["In", "NotIn", "Exists", "DoesNotExist"][op];
                let values = if op < 2 { vec!["1".to_owned()] } else { vec![] };
                selector.and(&key, operator, &values).unwrap()
            })
        })
    }

    proptest! {
        /// The index may name a grant in vain; it may never miss one.
        #[test]
        fn a_grant_that_selects_is_always_a_candidate(
            names in prop::collection::vec("(x|y|x\\*|\\*)", 0..2),
            labels in prop::collection::vec(selector(), 0..2),
            annotations in prop::collection::vec(selector(), 0..2),
            on_it in prop::collection::btree_map("[ab]", "[12]", 0..3),
        ) {
            let names = names.into_iter().map(NamePattern::new).collect();
            let namespaces = NamespaceTerms { names, labels, annotations };
            let recipients = Recipients { namespaces, ..Recipients::default() };
            let mut reach = Reach::default();
            reach.learn(&"g".into(), &recipients);
            let tags: Tags = on_it;
            let namespace = Namespace { labels: tags.clone(), annotations: tags.clone(), terminating: false };
            let name = NamespaceName::new("x");
            if let Verdict::Selected(_) = recipients.decide(&name, &tags, &tags, |_| false) {
                prop_assert!(reach.candidates(&name, Some(&namespace)).contains(&Uid::new("g")));
            }
            reach.forget(&"g".into());
            prop_assert!(reach.candidates(&name, Some(&namespace)).is_empty());
        }
    }
}
