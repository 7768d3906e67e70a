//! What a plan needs to know of a cluster, brought stream by stream as the operator's machine asks for it; and over it
//! manifests, as if they had been applied.

use std::collections::BTreeSet;

use imps_api::keys;
use imps_cluster::snapshot::{self, Kind, Unseen, Which};
use imps_core::name::SecretRef;
use imps_core::reason::Fault;
use imps_core::world::Stream;
use kube::Client;
use serde_json::Value;

use super::super::Error;
use super::super::manifests::{self, namespace_of, text};
use super::objects::{self, Objects};
use super::page::Page;
use crate::runtime::output;

/// See the module.
pub(super) struct Live {
    client: Client,
    manifests: Vec<Value>,
    unseen: Vec<String>,
    /// Sources that may not be read from here. The operator may.
    unseen_sources: BTreeSet<SecretRef>,
    without_definition: bool,
}

impl Live {
    /// With manifests that stand for what would be applied.
    pub(super) fn new(client: Client, manifests: Vec<Value>) -> Result<Self, Error> {
        let mut grants =
            manifests.iter().filter(|object| manifests::kind(object) == (keys::GROUP, keys::KIND));
        grants.try_for_each(objects::fits)?;
        let unseen = Vec::new();
        Ok(Self { client, manifests, unseen, unseen_sources: BTreeSet::new(), without_definition: false })
    }

    /// Brings what a stream would show.
    pub(super) async fn bring(&mut self, stream: &Stream, objects: &mut Objects) -> Result<(), Fault> {
        let mut found = self.look(stream).await.map_err(|unseen| {
            self.unseen.push(unseen.to_string());
            if let Stream::Source(at) = stream {
                self.unseen_sources.insert(at.clone());
            }
            unseen.fault().clone()
        })?;
        for manifest in self.manifests.iter().filter(|object| shows(stream, object)) {
            apply(&mut found, manifest);
        }
        for object in found {
            // What the API server has accepted can be read; a manifest of a ServiceAccount may not be one.
            if let Err(problem) = objects.add(object) {
                self.unseen.push(problem.to_string());
            }
        }
        Ok(())
    }

    async fn look(&mut self, stream: &Stream) -> Result<Vec<Value>, Unseen> {
        output::progress(&format!("looking at {stream}"));
        let (kind, which) = match stream {
            Stream::Grants => (Kind::GRANT, Which::default()),
            Stream::Namespaces => (Kind::NAMESPACE, Which::default()),
            Stream::Pods { .. } => (Kind::POD, Which::default()),
            Stream::Targets(name, _) => {
                (Kind::SECRET, Which { name: Some(name.as_str()), ..Which::default() })
            }
            Stream::Accounts(name, _) => {
                let name = name.as_ref().map(|name| name.as_str());
                (Kind::ACCOUNT, Which { name, ..Which::default() })
            }
            Stream::Source(SecretRef { namespace, name }) => {
                let found =
                    snapshot::get(&self.client, Kind::SECRET, Some(namespace.as_str()), name.as_str());
                return Ok(found.await?.into_iter().collect());
            }
        };
        let found = snapshot::list(&self.client, kind, which).await?;
        self.without_definition |= found.is_none();
        Ok(found.unwrap_or_default())
    }

    /// The answer, with what could not be looked at; none when it would say nothing.
    pub(super) fn finish(self, mut page: Page) -> Result<Page, Error> {
        if self.without_definition && self.manifests.is_empty() {
            let problem = "the cluster has no definition of ImagePullSecrets; install it with `imps crd apply`, \
                           or plan for manifests with -f and --live";
            return Err(problem.into());
        }
        for source in &mut page.sources {
            if self.unseen_sources.iter().any(|at| at.to_string() == source.source) {
                source.state = "Unseen";
                source.reason = None;
                source.message =
                    "you may not read it, so what it gave last is taken to be what it gives".to_owned();
            }
        }
        page.unseen = self.unseen;
        Ok(page)
    }
}

/// Whether a stream would show the object.
fn shows(stream: &Stream, object: &Value) -> bool {
    let name = text(object, "/metadata/name");
    match (manifests::kind(object), stream) {
        ((keys::GROUP, keys::KIND), Stream::Grants)
        | (("", "Namespace"), Stream::Namespaces)
        | (("", "Pod"), Stream::Pods { .. }) => true,
        (("", "Secret"), Stream::Source(at)) => manifests::place(object) == *at,
        (("", "Secret"), Stream::Targets(target, _)) => name == target.as_str(),
        (("", "ServiceAccount"), Stream::Accounts(account, _)) => {
            account.as_ref().is_none_or(|account| account.as_str() == name)
        }
        _ => false,
    }
}

/// Puts a manifest over the object of its name, as `kubectl apply` would: what the manifest does not speak of stays.
fn apply(found: &mut Vec<Value>, manifest: &Value) {
    let place = |object: &Value| {
        let namespaced = !text(object, "/metadata/namespace").is_empty();
        (namespaced.then(|| namespace_of(object).to_owned()), text(object, "/metadata/name").to_owned())
    };
    let mut manifest = manifests::stored(manifest.clone());
    let Some(object) = found.iter_mut().find(|object| place(object) == place(&manifest)) else {
        return found.push(manifest);
    };
    let Some(fields) = manifest.as_object_mut() else { return };
    let metadata = fields.remove("metadata").unwrap_or_default();
    fields.remove("status");
    for (field, value) in std::mem::take(fields) {
        if object[&field] != value {
            // It would be another version of the object.
            object["metadata"]["resourceVersion"] = Value::Null;
        }
        object[field] = value;
    }
    for field in ["labels", "annotations"] {
        for (key, value) in metadata[field].as_object().into_iter().flatten() {
            object["metadata"][field][key] = value.clone();
        }
    }
}
