//! A look at the cluster, once, for the command line: objects as the API server shows them. It reads and never writes.

use kube::Client;
use kube::api::{Api, ListParams};
use kube::core::{ApiResource, DynamicObject, ObjectList};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value;

use imps_api::keys;
use imps_core::reason::{Fault, FaultClass};

use crate::apply::within;

/// How many objects one answer brings.
const PAGE: u32 = 500;

/// A kind of object that can be looked at.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Kind {
    /// API group; empty for the core.
    pub group: &'static str,
    /// Its version.
    pub version: &'static str,
    /// As in manifests.
    pub kind: &'static str,
    /// As in URLs and roles.
    pub plural: &'static str,
    /// Whether nothing but metadata is asked for.
    pub metadata_only: bool,
}

impl Kind {
    /// Namespaces, metadata only.
    pub const NAMESPACE: Self = Self::core("Namespace", "namespaces").lean();
    /// Pods, metadata only.
    pub const POD: Self = Self::core("Pod", "pods").lean();
    /// Secrets, with their values.
    pub const SECRET: Self = Self::core("Secret", "secrets");
    /// Config maps.
    pub const CONFIG_MAP: Self = Self::core("ConfigMap", "configmaps");
    /// The older kind of workload.
    pub const REPLICATION_CONTROLLER: Self = Self::core("ReplicationController", "replicationcontrollers");
    /// Workloads.
    pub const DEPLOYMENT: Self = Self::of("apps", "v1", "Deployment", "deployments");
    /// Definitions of custom resources.
    pub const DEFINITION: Self =
        Self::of("apiextensions.k8s.io", "v1", "CustomResourceDefinition", "customresourcedefinitions");
    /// Leases, by which replicas elect a leader.
    pub const LEASE: Self = Self::of("coordination.k8s.io", "v1", "Lease", "leases");
    /// Our own.
    pub const GRANT: Self = Self::of(keys::GROUP, keys::VERSION, keys::KIND, keys::PLURAL);

    /// Any other kind.
    pub const fn of(
        group: &'static str,
        version: &'static str,
        kind: &'static str,
        plural: &'static str,
    ) -> Self {
        Self { group, version, kind, plural, metadata_only: false }
    }

    /// ServiceAccounts.
    pub const ACCOUNT: Self = Self::core("ServiceAccount", "serviceaccounts");
    /// Nodes, with their status.
    pub const NODE: Self = Self::core("Node", "nodes");
    /// Events.
    pub const EVENT: Self = Self::core("Event", "events");
    /// Pods, with spec and status.
    pub const WHOLE_POD: Self = Self::core("Pod", "pods");

    const fn core(kind: &'static str, plural: &'static str) -> Self {
        Self::of("", "v1", kind, plural)
    }

    const fn lean(self) -> Self {
        Self { metadata_only: true, ..self }
    }

    fn api_version(self) -> String {
        if self.group.is_empty() {
            self.version.to_owned()
        } else {
            format!("{}/{}", self.group, self.version)
        }
    }

    /// `deployments.apps`, as in `kubectl auth can-i`.
    fn in_roles(self) -> String {
        if self.group.is_empty() { self.plural.to_owned() } else { format!("{}.{}", self.plural, self.group) }
    }

    fn resource(self) -> ApiResource {
        ApiResource {
            group: self.group.to_owned(),
            version: self.version.to_owned(),
            api_version: self.api_version(),
            kind: self.kind.to_owned(),
            plural: self.plural.to_owned(),
        }
    }

    /// An object with its kind: lists leave that to the list, and an answer of metadata only has a kind of its own.
    pub(crate) fn name(self, object: &impl Serialize) -> Value {
        let mut object = serde_json::to_value(object).unwrap_or_default();
        object["apiVersion"] = self.api_version().into();
        object["kind"] = self.kind.into();
        object
    }
}

/// Which objects of a kind.
#[derive(Clone, Copy, Default, Debug)]
pub struct Which<'a> {
    /// Those of one namespace.
    pub namespace: Option<&'a str>,
    /// Those of one name. For Secrets a role that names them suffices.
    pub name: Option<&'a str>,
    /// Those whose labels match, as kubectl writes it.
    pub labels: Option<&'a str>,
    /// Those whose fields match, where the API server knows the field. Not together with a name.
    pub fields: Option<&'a str>,
}

/// Why something could not be seen, or a request for it not be made.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Unseen {
    /// `cannot list deployments.apps in the namespace kube-system`.
    what: String,
    /// `list on deployments.apps`.
    right: String,
    fault: Fault,
}

impl Unseen {
    pub(crate) fn new(verb: &str, kind: Kind, which: Which<'_>, fault: Fault) -> Self {
        let resource = kind.in_roles();
        let named = which.name.map(|name| format!(" named {name}")).unwrap_or_default();
        let place = match which.namespace {
            Some(namespace) => format!(" in the namespace {namespace}"),
            None => String::new(),
        };
        Self {
            what: format!("cannot {verb} {resource}{named}{place}"),
            right: format!("{verb} on {resource}{place}"),
            fault,
        }
    }

    /// What went wrong.
    pub fn fault(&self) -> &Fault {
        &self.fault
    }

    /// Whether a right is missing.
    pub fn is_forbidden(&self) -> bool {
        self.fault.class == FaultClass::Forbidden
    }
}

impl std::fmt::Display for Unseen {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { what, right, fault } = self;
        write!(f, "{what} ({})", fault.detail)?;
        if self.is_forbidden() { write!(f, ": the right that is missing is {right}") } else { Ok(()) }
    }
}

impl std::error::Error for Unseen {}

/// All objects of a kind, or those that are meant. None when the cluster does not know the kind.
pub async fn list(client: &Client, kind: Kind, which: Which<'_>) -> Result<Option<Vec<Value>>, Unseen> {
    let mut objects = Vec::new();
    Ok(walk(client, kind, which, |object| objects.push(object)).await?.then_some(objects))
}

/// As [`list`], object by object, so that no more is held than is kept. False when the cluster does not know the kind.
pub async fn walk(
    client: &Client,
    kind: Kind,
    which: Which<'_>,
    each: impl FnMut(Value),
) -> Result<bool, Unseen> {
    let walked = if kind.metadata_only {
        pages(client, kind, which, each, async |api: &Api<DynamicObject>, params: &ListParams| {
            api.list_metadata(params).await
        })
        .await
    } else {
        pages(client, kind, which, each, async |api: &Api<DynamicObject>, params: &ListParams| {
            api.list(params).await
        })
        .await
    };
    match walked {
        Ok(()) => Ok(true),
        Err(fault) if fault.class == FaultClass::Gone => Ok(false),
        Err(fault) => Err(Unseen::new("list", kind, which, fault)),
    }
}

/// One object, or none when it is not there.
pub async fn get(
    client: &Client,
    kind: Kind,
    namespace: Option<&str>,
    name: &str,
) -> Result<Option<Value>, Unseen> {
    let which = Which { namespace, name: Some(name), ..Which::default() };
    match within(api(client, kind, namespace).get(name)).await {
        Ok(object) => Ok(Some(kind.name(&object))),
        Err(fault) if matches!(fault.class, FaultClass::Gone | FaultClass::NamespaceGone) => Ok(None),
        Err(fault) => Err(Unseen::new("get", kind, which, fault)),
    }
}

pub(crate) fn api(client: &Client, kind: Kind, namespace: Option<&str>) -> Api<DynamicObject> {
    let resource = kind.resource();
    match namespace {
        Some(namespace) => Api::namespaced_with(client.clone(), namespace, &resource),
        None => Api::all_with(client.clone(), &resource),
    }
}

async fn pages<K: Clone + DeserializeOwned + Serialize>(
    client: &Client,
    kind: Kind,
    which: Which<'_>,
    mut each: impl FnMut(Value),
    page: impl AsyncFn(&Api<DynamicObject>, &ListParams) -> Result<ObjectList<K>, kube::Error>,
) -> Result<(), Fault> {
    let api = api(client, kind, which.namespace);
    let mut params = ListParams::default().limit(PAGE);
    if let Some(name) = which.name {
        params = params.fields(&format!("metadata.name={name}"));
    }
    if let Some(fields) = which.fields {
        params = params.fields(fields);
    }
    if let Some(labels) = which.labels {
        params = params.labels(labels);
    }
    loop {
        let answer = within(page(&api, &params)).await?;
        answer.items.iter().for_each(|object| each(kind.name(object)));
        match answer.metadata.continue_.filter(|token| !token.is_empty()) {
            Some(token) => params = params.continue_token(&token),
            None => return Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn forbidden() -> Fault {
        Fault { class: FaultClass::Forbidden, detail: "HTTP 403 Forbidden".to_owned() }
    }

    #[test]
    fn a_missing_right_is_named_as_a_role_would_give_it() {
        let here = Which { namespace: Some("kube-system"), ..Which::default() };
        assert_eq!(
            Unseen::new("list", Kind::DEPLOYMENT, here, forbidden()).to_string(),
            "cannot list deployments.apps in the namespace kube-system (HTTP 403 Forbidden): the right that is \
             missing is list on deployments.apps in the namespace kube-system"
        );
        let named = Which { name: Some("awsecr-cred"), ..Which::default() };
        assert_eq!(
            Unseen::new("list", Kind::SECRET, named, forbidden()).to_string(),
            "cannot list secrets named awsecr-cred (HTTP 403 Forbidden): the right that is missing is list on secrets"
        );
        let away = Fault { class: FaultClass::Unavailable, detail: "the connection failed".to_owned() };
        assert_eq!(
            Unseen::new("list", Kind::NAMESPACE, Which::default(), away).to_string(),
            "cannot list namespaces (the connection failed)"
        );
    }

    #[test]
    fn an_object_of_a_list_gets_its_kind_back() {
        let bare = serde_json::json!({"kind": "PartialObjectMetadata", "metadata": {"name": "shop"}});
        let named = Kind::NAMESPACE.name(&bare);
        assert_eq!((&named["apiVersion"], &named["kind"]), (&"v1".into(), &"Namespace".into()));
        assert_eq!(Kind::DEPLOYMENT.name(&bare)["apiVersion"], "apps/v1");
    }
}
