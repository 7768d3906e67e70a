//! Objects by kind, from manifests or from a cluster, told to the operator's machine as its watches would.

use std::collections::{BTreeMap, BTreeSet};

use imps_api::keys;
use imps_cluster::view::{AccountView, GrantView, SourceView, TargetView};
use imps_core::account::Account;
use imps_core::census::{Pod, PodUid};
use imps_core::holding::Version;
use imps_core::name::{AccountRef, NamespaceName, SecretRef, Uid};
use imps_core::source::Document;
use imps_core::world::{Fact, GrantFact, Namespace, Stream};
use serde::Deserialize;
use serde_json::Value;

use super::super::Error;
use super::super::manifests::{self, namespace_of, text};

/// See the module.
#[derive(Default)]
pub(super) struct Objects {
    grants: Vec<Value>,
    pub(super) namespaces: BTreeMap<NamespaceName, Namespace>,
    pods: Vec<Pod>,
    secrets: BTreeMap<SecretRef, Value>,
    pub(super) accounts: BTreeMap<AccountRef, Account>,
    /// Namespaces that no manifest describes and others name.
    pub(super) assumed: BTreeSet<NamespaceName>,
    /// Kinds that have no part in this, with their number.
    pub(super) ignored: BTreeMap<String, usize>,
}

impl Objects {
    /// Reads manifests, which are all there is: what they leave unsaid is assumed.
    pub(super) fn from_manifests(manifests: &[Value]) -> Result<Self, Error> {
        let mut objects = Self::default();
        for object in manifests {
            if manifests::kind(object) == (keys::GROUP, keys::KIND) {
                fits(object)?;
            }
            objects.add(object.clone())?;
        }
        if objects.grants.is_empty() {
            return Err("no ImagePullSecret among the manifests: nothing to plan for".into());
        }
        objects.assume();
        Ok(objects)
    }

    /// Takes an object in, in place of an earlier one of that name.
    pub(super) fn add(&mut self, object: Value) -> Result<(), Error> {
        match manifests::kind(&object) {
            (keys::GROUP, keys::KIND) => self.grants.push(object),
            ("", "Namespace") => {
                let namespace = Namespace {
                    labels: tags(&object, "/metadata/labels"),
                    annotations: tags(&object, "/metadata/annotations"),
                    terminating: object.pointer("/metadata/deletionTimestamp").is_some(),
                };
                self.namespaces.insert(text(&object, "/metadata/name").into(), namespace);
            }
            ("", "Pod") => self.pods.push(pod(&object, self.pods.len())),
            ("", "ServiceAccount") => {
                let at = AccountRef {
                    namespace: namespace_of(&object).into(),
                    name: text(&object, "/metadata/name").into(),
                };
                let view = serde_json::from_value::<AccountView>(object)
                    .map_err(|_| format!("ServiceAccount {at} is not one that the API server would take"))?;
                self.accounts.insert(at, view.into());
            }
            ("", "Secret") => drop(self.secrets.insert(manifests::place(&object), object)),
            (_, kind) => *self.ignored.entry(kind.to_owned()).or_insert(0) += 1,
        }
        Ok(())
    }

    /// A namespace that a pod or a list of names speaks of is taken to exist; a list of namespaces is rarely complete.
    fn assume(&mut self) {
        let lists = self.grants.iter().filter_map(|grant| grant.pointer("/spec/target/namespaces/names"));
        let named = lists.filter_map(Value::as_array).flatten().filter_map(Value::as_str);
        let exact = named.filter(|name| !name.contains('*')).map(NamespaceName::new);
        let all: BTreeSet<NamespaceName> =
            exact.chain(self.pods.iter().map(|pod| pod.namespace.clone())).collect();
        for name in all {
            if let std::collections::btree_map::Entry::Vacant(place) = self.namespaces.entry(name.clone()) {
                place.insert(Namespace::default());
                self.assumed.insert(name);
            }
        }
        // Kubernetes makes this one in every namespace.
        for namespace in self.namespaces.keys() {
            let at = AccountRef { namespace: namespace.clone(), name: "default".into() };
            let fresh = Account { uid: Uid::default(), version: Version::default(), secrets: Vec::new() };
            self.accounts.entry(at).or_insert(fresh);
        }
    }

    /// What a watch would say first.
    pub(super) fn listen(&self, stream: &Stream) -> Vec<Fact> {
        let mut facts = vec![Fact::Relist(stream.clone())];
        match stream {
            Stream::Grants => {
                let views = self
                    .grants
                    .iter()
                    .filter_map(|grant| GrantView::deserialize(grant).ok())
                    .map(GrantFact::from);
                facts.extend(views.map(|mut fact| {
                    // The operator would have put its finalizer on before it attaches anything.
                    fact.tenure.held = true;
                    Fact::Grant(Box::new(fact))
                }));
            }
            Stream::Namespaces => {
                facts.extend(
                    self.namespaces.iter().map(|(name, ns)| Fact::Namespace(name.clone(), ns.clone())),
                );
            }
            Stream::Pods { .. } => facts.extend(self.pods.iter().cloned().map(Fact::Pod)),
            Stream::Source(at) => {
                facts.extend(self.document(at).map(|document| Fact::Source(at.clone(), document)));
            }
            // Without a cluster there are no rights to divide: all namespaces are served.
            Stream::Accounts(name, _) => {
                let named = self.accounts.iter();
                let named = named.filter(|(at, _)| name.as_ref().is_none_or(|name| at.name == *name));
                facts.extend(named.map(|(at, account)| Fact::Account(at.clone(), account.clone())));
            }
            Stream::Targets(name, _) => {
                let named = self.secrets.iter().filter(|(at, _)| at.name == *name);
                facts.extend(named.filter_map(|(at, object)| {
                    let view = manifests::secret::<TargetView>(object)?;
                    Some(Fact::Secret(at.clone(), Box::new(view.into())))
                }));
            }
        }
        facts.push(Fact::Listed(stream.clone()));
        facts
    }

    /// What one of our own targets holds, as the operator would read it for a failing source.
    pub(super) fn recall(&self, uid: Uid, at: &SecretRef) -> Option<Fact> {
        Some(Fact::Recalled(uid, Ok(self.document(at)?)))
    }

    /// A Secret with its content.
    pub(super) fn document(&self, at: &SecretRef) -> Option<Document> {
        manifests::secret::<SourceView>(self.secrets.get(at)?).map(Document::from)
    }
}

/// Whether an ImagePullSecret that somebody wrote is one.
pub(super) fn fits(object: &Value) -> Result<(), Error> {
    let name = text(object, "/metadata/name");
    let read = imps_api::ImagePullSecret::deserialize(object);
    read.map(drop).map_err(|error| format!("ImagePullSecret {name} does not fit the schema: {error}").into())
}

fn tags(object: &Value, pointer: &str) -> BTreeMap<String, String> {
    object.pointer(pointer).cloned().and_then(|tags| serde_json::from_value(tags).ok()).unwrap_or_default()
}

fn pod(object: &Value, index: usize) -> Pod {
    Pod {
        uid: match text(object, "/metadata/uid") {
            // A manifest has no UID; its place among the manifests is as good.
            "" => PodUid::parse(&format!("manifest {index}")),
            uid => PodUid::parse(uid),
        },
        namespace: namespace_of(object).into(),
        labels: tags(object, "/metadata/labels"),
        annotations: tags(object, "/metadata/annotations"),
        deleting: object.pointer("/metadata/deletionTimestamp").is_some(),
    }
}
