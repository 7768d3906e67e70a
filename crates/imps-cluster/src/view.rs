//! How imps reads objects: only what it uses is decoded, and no value of a Secret is kept longer than it takes to
//! digest it.

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use imps_api::{ImagePullSecret, keys};
use imps_core::account::Account;
use imps_core::grant::Identity;
use imps_core::holding::{Sighting, Version};
use imps_core::name::{GrantName, Uid};
use imps_core::selector::Tags;
use imps_core::source::Document;
use imps_core::world::{GrantFact, Record, Rejection};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ManagedFieldsEntry, ObjectMeta};
use k8s_openapi::{ClusterResourceScope, NamespaceResourceScope};
use kube::Resource;
use serde::{Deserialize, Deserializer};
use serde_json::Value;
use sha2::{Digest, Sha256};
use zeroize::{Zeroize, Zeroizing};

use crate::remit::Remit;

macro_rules! resource {
    ($view:ty, $kind:expr, $group:expr, $version:expr, $plural:expr, $scope:ty, metadata_only: $lean:literal) => {
        impl Resource for $view {
            type DynamicType = ();
            type Scope = $scope;

            fn kind((): &()) -> Cow<'_, str> {
                $kind.into()
            }
            fn group((): &()) -> Cow<'_, str> {
                $group.into()
            }
            fn version((): &()) -> Cow<'_, str> {
                $version.into()
            }
            fn plural((): &()) -> Cow<'_, str> {
                $plural.into()
            }
            fn meta(&self) -> &ObjectMeta {
                &self.metadata
            }
            fn meta_mut(&mut self) -> &mut ObjectMeta {
                &mut self.metadata
            }
            fn metadata_api() -> bool {
                $lean
            }
        }

        impl fmt::Debug for $view {
            /// Annotations may hold copies of credentials, so nothing but the name is shown.
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "{}({:?})", $kind, self.metadata.name)
            }
        }
    };
}

/// A namespace, metadata only.
#[derive(Clone, Deserialize)]
pub struct NamespaceView {
    #[serde(default, deserialize_with = "lean")]
    metadata: ObjectMeta,
}

/// A pod, metadata only.
#[derive(Clone, Deserialize)]
pub struct PodView {
    #[serde(default, deserialize_with = "lean")]
    metadata: ObjectMeta,
}

/// An `ImagePullSecret` as JSON: what does not fit our types must reach the user as a message, not break the watch.
#[derive(Clone, Deserialize)]
pub struct GrantView {
    #[serde(default)]
    pub(crate) metadata: ObjectMeta,
    #[serde(default)]
    pub(crate) spec: Value,
    #[serde(default)]
    pub(crate) status: Value,
}

/// A Secret at a target's name; its values are digested while they are read.
#[derive(Clone, Deserialize)]
pub struct TargetView {
    #[serde(default)]
    metadata: ObjectMeta,
    #[serde(rename = "type", default)]
    secret_type: String,
    #[serde(default)]
    immutable: bool,
    #[serde(default, deserialize_with = "or_default")]
    data: BTreeMap<String, Digested>,
}

/// A ServiceAccount, and of its content only the names of its pull secrets.
#[derive(Clone, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct AccountView {
    #[serde(default, deserialize_with = "lean")]
    metadata: ObjectMeta,
    #[serde(default, deserialize_with = "or_default")]
    image_pull_secrets: Vec<PullSecret>,
}

/// An entry of that list. One without a name is legal and means nothing.
#[derive(Clone, Default, Deserialize)]
struct PullSecret {
    #[serde(default, deserialize_with = "or_default")]
    name: String,
}

/// A source Secret, with its values.
#[derive(Clone, Deserialize)]
pub struct SourceView {
    #[serde(default, deserialize_with = "lean")]
    metadata: ObjectMeta,
    #[serde(rename = "type", default)]
    secret_type: String,
    #[serde(default, deserialize_with = "or_default")]
    data: BTreeMap<String, Bytes>,
}

resource!(NamespaceView, "Namespace", "", "v1", "namespaces", ClusterResourceScope, metadata_only: true);
resource!(PodView, "Pod", "", "v1", "pods", NamespaceResourceScope, metadata_only: true);
resource!(
    GrantView, keys::KIND, keys::GROUP, keys::VERSION, keys::PLURAL, ClusterResourceScope, metadata_only: false
);
resource!(TargetView, "Secret", "", "v1", "secrets", NamespaceResourceScope, metadata_only: false);
resource!(
    AccountView, "ServiceAccount", "", "v1", "serviceaccounts", NamespaceResourceScope, metadata_only: false
);
resource!(SourceView, "Secret", "", "v1", "secrets", NamespaceResourceScope, metadata_only: false);

/// Metadata without the parts that imps never reads; they are the larger half of most objects.
fn lean<'de, D: Deserializer<'de>>(deserializer: D) -> Result<ObjectMeta, D::Error> {
    #[derive(Default, Deserialize)]
    #[serde(rename_all = "camelCase", default)]
    struct Lean {
        name: Option<String>,
        namespace: Option<String>,
        uid: Option<String>,
        resource_version: Option<String>,
        deletion_timestamp: Option<k8s_openapi::apimachinery::pkg::apis::meta::v1::Time>,
        labels: Option<BTreeMap<String, String>>,
        annotations: Option<BTreeMap<String, String>>,
    }
    let Lean { name, namespace, uid, resource_version, deletion_timestamp, labels, annotations } =
        Lean::deserialize(deserializer)?;
    let metadata = ObjectMeta {
        name,
        namespace,
        uid,
        resource_version,
        deletion_timestamp,
        labels,
        annotations,
        ..ObjectMeta::default()
    };
    Ok(metadata)
}

fn or_default<'de, D: Deserializer<'de>, T: Default + Deserialize<'de>>(
    deserializer: D,
) -> Result<T, D::Error> {
    Ok(Option::<T>::deserialize(deserializer)?.unwrap_or_default())
}

/// SHA-256 of a value.
#[derive(Clone, Copy)]
struct Digested([u8; 32]);

impl<'de> Deserialize<'de> for Digested {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let bytes = Bytes::deserialize(deserializer)?;
        Ok(Self(Sha256::digest(&*bytes.0).into()))
    }
}

/// A value, wiped when dropped.
#[derive(Clone)]
struct Bytes(Zeroizing<Vec<u8>>);

impl<'de> Deserialize<'de> for Bytes {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let mut text = Cow::<'_, str>::deserialize(deserializer)?;
        // The API server sends base64 and nothing else. If it ever did not, the value would be unusable, not the watch.
        let bytes = BASE64_STANDARD.decode(text.as_bytes()).unwrap_or_default();
        if let Cow::Owned(text) = &mut text {
            text.zeroize();
        }
        Ok(Self(Zeroizing::new(bytes)))
    }
}

impl From<GrantView> for GrantFact {
    /// Also an object that a schema older or newer than ours has let through.
    fn from(view: GrantView) -> Self {
        let GrantView { metadata, spec, status } = view;
        match serde_json::from_value(spec) {
            Ok(spec) => {
                let status = serde_json::from_value(status).ok();
                imps_api::lower::lower(&ImagePullSecret { metadata, spec, status })
            }
            Err(error) => {
                // No credential stands in this object, so its own words may be quoted.
                let problem = format!(
                    "does not fit the schema of this version of imps: {error}; install its CRD with `imps crd`"
                );
                let tenure = imps_api::lower::tenure(&metadata);
                let identity = Identity {
                    name: metadata.name.unwrap_or_default().into(),
                    uid: metadata.uid.unwrap_or_default().into(),
                    generation: metadata.generation.unwrap_or_default(),
                    created_seconds: metadata.creation_timestamp.map_or(0, |time| time.0.as_second()),
                };
                let grant = Err(vec![Rejection { path: "spec".to_owned(), problem }]);
                let (remarks, record) = (Vec::new(), Record::default());
                GrantFact { identity, grant, remarks, record, tenure, demand: None }
            }
        }
    }
}

impl From<AccountView> for Account {
    fn from(view: AccountView) -> Self {
        Self {
            uid: Uid::new(view.metadata.uid.unwrap_or_default()),
            version: Version::parse(view.metadata.resource_version.as_deref().unwrap_or_default()),
            secrets: view.image_pull_secrets.into_iter().map(|entry| entry.name.into()).collect(),
        }
    }
}

impl From<SourceView> for Document {
    fn from(view: SourceView) -> Self {
        Self {
            uid: Uid::new(view.metadata.uid.unwrap_or_default()),
            version: Version::parse(view.metadata.resource_version.as_deref().unwrap_or_default()),
            secret_type: view.secret_type,
            data: view.data.into_iter().map(|(key, bytes)| (key, bytes.0)).collect(),
        }
    }
}

impl TargetView {
    /// What stands there, and whose it is by this remit: the Secrets of `ImagePullSecret`s are foreign to whoever keeps
    /// a single one, and that one is foreign to those.
    pub fn sighting(self, remit: &Remit) -> Sighting {
        let (seen, managed) = self.digest();
        // A label that somebody else wrote proves nothing, also on a Secret to which imps applied other things.
        let of_a_grant = managed.labels.contains(keys::OWNER_UID_LABEL);
        let Remit::Single(single) = remit else { return Sighting { applied: of_a_grant, ..seen } };
        // The original's refresher put its annotation on what it wrote, and nothing else
        // (banzaicloud/imps:controllers/refresher_controller.go).
        let of_the_original = seen.legacy_copy && seen.owner_label.is_none();
        let ours = seen.owners.is_empty() && !of_a_grant && (seen.applied || of_the_original);
        let owners = if ours { vec![single.uid().clone()] } else { Vec::new() };
        let applied_owners = if seen.applied { owners.clone() } else { Vec::new() };
        Sighting { owners, applied_owners, owner_label: None, ..seen }
    }

    fn digest(self) -> (Sighting, Managed) {
        let Self { metadata, secret_type, immutable, data } = self;
        let managed = Managed::read(metadata.managed_fields.as_deref().unwrap_or_default());
        let labels = metadata.labels.unwrap_or_default();
        let annotations = metadata.annotations.unwrap_or_default();
        let is_ours = |api_version: &str, kind: &str| {
            kind == keys::KIND && api_version.split_once('/').is_some_and(|(group, _)| group == keys::GROUP)
        };
        let references = metadata.owner_references.unwrap_or_default();
        let controller = references.iter().find(|owner| {
            let group = owner.api_version.split_once('/').map_or("", |(group, _)| group);
            owner.controller == Some(true) && group != keys::GROUP && group != keys::REGISTRY_CREDS_GROUP
        });
        let controller = controller.map(|owner| format!("{} {}", owner.kind, owner.name));
        let owners: Vec<Uid> = references
            .into_iter()
            .filter(|owner| is_ours(&owner.api_version, &owner.kind))
            .map(|owner| Uid::new(owner.uid))
            .collect();
        let applied_owners =
            owners.iter().filter(|uid| managed.owners.contains(uid.as_str())).cloned().collect();
        let pick = |tags: &Tags, keys: &BTreeSet<String>| -> Tags {
            tags.iter().filter(|(key, _)| keys.contains(*key)).map(|(k, v)| (k.clone(), v.clone())).collect()
        };
        let seen = Sighting {
            uid: Uid::new(metadata.uid.unwrap_or_default()),
            version: Version::parse(metadata.resource_version.as_deref().unwrap_or_default()),
            secret_type,
            payload: data.get(DATA_KEY).map_or([0; 32], |digested| digested.0),
            labels: pick(&labels, &managed.labels),
            annotations: pick(&annotations, &managed.annotations),
            owners,
            applied_owners,
            owner_label: labels.get(keys::OWNER_UID_LABEL).map(Uid::new),
            applied: managed.anything,
            pristine: managed.data && !managed.data_by_others,
            legacy_copy: annotations.contains_key(keys::LEGACY_COPY_ANNOTATION),
            immutable,
            deleting: metadata.deletion_timestamp.is_some(),
            consent: annotations.get(keys::ADOPT_ANNOTATION).map(GrantName::new),
            controller,
        };
        (seen, managed)
    }
}

impl From<TargetView> for Sighting {
    /// As the controller of a cluster sees it.
    fn from(view: TargetView) -> Self {
        view.sighting(&Remit::Cluster)
    }
}

/// Where the docker config stands in a target.
pub(crate) const DATA_KEY: &str = ".dockerconfigjson";

/// What `metadata.managedFields` says that our applies own
/// (kubernetes-sigs/structured-merge-diff:fieldpath/serialize.go describes the form).
#[derive(Default)]
struct Managed {
    anything: bool,
    labels: BTreeSet<String>,
    annotations: BTreeSet<String>,
    owners: BTreeSet<String>,
    data: bool,
    data_by_others: bool,
}

impl Managed {
    fn read(entries: &[ManagedFieldsEntry]) -> Self {
        let mut managed = Self::default();
        for entry in entries {
            let Some(fields) = entry.fields_v1.as_ref().map(|fields| &fields.0) else { continue };
            let ours = entry.manager.as_deref() == Some(keys::FIELD_MANAGER)
                && entry.operation.as_deref() == Some("Apply")
                && entry.subresource.as_deref().unwrap_or_default().is_empty();
            let data =
                fields.pointer("/f:data").is_some_and(|data| data.get(format!("f:{DATA_KEY}")).is_some());
            if !ours {
                managed.data_by_others |= data;
                continue;
            }
            managed.anything = true;
            managed.data |= data;
            managed.labels.extend(field_names(fields.pointer("/f:metadata/f:labels")));
            managed.annotations.extend(field_names(fields.pointer("/f:metadata/f:annotations")));
            managed.owners.extend(owner_uids(fields.pointer("/f:metadata/f:ownerReferences")));
        }
        managed
    }
}

fn field_names(fields: Option<&Value>) -> impl Iterator<Item = String> {
    let keys = fields.and_then(Value::as_object).into_iter().flat_map(|fields| fields.keys());
    keys.filter_map(|key| key.strip_prefix("f:").map(str::to_owned))
}

/// The list is keyed by UID: `k:{"uid":"…"}`.
fn owner_uids(fields: Option<&Value>) -> impl Iterator<Item = String> {
    let keys = fields.and_then(Value::as_object).into_iter().flat_map(|fields| fields.keys());
    keys.filter_map(|key| {
        let key: Value = serde_json::from_str(key.strip_prefix("k:")?).ok()?;
        Some(key.get("uid")?.as_str()?.to_owned())
    })
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use imps_core::holding::{Holding, Owner, TARGET_TYPE};
    use imps_core::name::SecretRef;
    use serde_json::json;

    use crate::remit::Single;

    use super::*;

    fn target(managed_fields: Value) -> Sighting {
        let view: TargetView = serde_json::from_value(json!({
            "metadata": {
                "name": "pull", "namespace": "shop", "uid": "s-1", "resourceVersion": "42",
                "labels": {"images.banzaicloud.io/owner-uid": "g-1", "team": "a", "foreign": "x"},
                "annotations": {"note": "n"},
                "ownerReferences": [
                    {"apiVersion": "images.banzaicloud.io/v1", "kind": "ImagePullSecret", "name": "g", "uid": "g-1"},
                    {"apiVersion": "v1", "kind": "ConfigMap", "name": "c", "uid": "c-1"}
                ],
                "managedFields": managed_fields
            },
            "type": "kubernetes.io/dockerconfigjson",
            "data": {".dockerconfigjson": "e30="}
        }))
        .unwrap();
        view.into()
    }

    fn applied() -> Value {
        json!({
            "manager": "imps", "operation": "Apply", "apiVersion": "v1", "fieldsType": "FieldsV1",
            "fieldsV1": {
                "f:metadata": {
                    "f:labels": {"f:images.banzaicloud.io/owner-uid": {}, "f:team": {}},
                    "f:ownerReferences": {"k:{\"uid\":\"g-1\"}": {}}
                },
                "f:data": {"f:.dockerconfigjson": {}}, "f:type": {}
            }
        })
    }

    #[test]
    fn only_what_imps_applied_counts_as_its_own() {
        let seen = target(json!([applied()]));
        assert_eq!(seen.labels.keys().collect::<Vec<_>>(), ["images.banzaicloud.io/owner-uid", "team"]);
        assert!(seen.annotations.is_empty() && seen.pristine && seen.applied);
        assert_eq!((seen.owners.len(), seen.applied_owners.len(), seen.version), (1, 1, Version(42)));
        assert_eq!(seen.payload, <[u8; 32]>::from(Sha256::digest(b"{}")));
        assert_eq!(Holding::from(seen).owner, Owner::Grant("g-1".into()));
    }

    #[test]
    fn another_writer_of_the_credentials_is_noticed() {
        let fields = json!({"f:data": {"f:.dockerconfigjson": {}}});
        let other = json!({"manager": "kubectl-edit", "operation": "Update", "fieldsV1": fields});
        assert!(!target(json!([applied(), other])).pristine);
    }

    #[test]
    fn what_the_original_wrote_is_read_as_its_work() {
        let seen = target(
            json!([{"manager": "manager", "operation": "Update", "fieldsV1": {"f:data": {"f:.dockerconfigjson": {}}}}]),
        );
        assert!(!seen.applied && !seen.pristine && seen.labels.is_empty());
        assert_eq!(Holding::from(seen).owner, Owner::Grant("g-1".into()));
    }

    /// How the Secret at `shop/pull` is seen: who a refresher takes for its owner, and who the controller does.
    fn owners(metadata: Value) -> (Owner, Owner) {
        let source = SecretRef::new("home", "hub");
        let single = Single::new(&[source], SecretRef::new("shop", "pull")).unwrap();
        let view = || -> TargetView {
            let secret = json!({
                "metadata": metadata, "type": TARGET_TYPE, "data": {".dockerconfigjson": "e30="},
            });
            serde_json::from_value(secret).unwrap()
        };
        let single = view().sighting(&Remit::Single(Arc::new(single)));
        (Holding::from(single).owner, Holding::from(Sighting::from(view())).owner)
    }

    #[test]
    fn a_refresher_and_the_controller_never_take_each_other_s_secrets() {
        let secret_type = TARGET_TYPE.to_owned();
        let foreign = || Owner::Other { secret_type: secret_type.clone(), consent: None, controller: None };
        let refresher = Owner::Grant("refresher/shop/pull".into());
        let entry = |labels: Value| {
            json!({
                "manager": "imps", "operation": "Apply",
                "fieldsV1": {"f:metadata": {"f:labels": labels}, "f:type": {}}
            })
        };
        let own = entry(json!({"f:app.kubernetes.io/managed-by": {}}));
        let own_label = json!({keys::MANAGED_BY_LABEL: "imps"});
        assert_eq!(
            owners(json!({"labels": own_label, "managedFields": [own]})),
            (refresher.clone(), foreign()),
            "what the refresher applied"
        );
        assert_eq!(
            owners(json!({"managedFields": [entry(json!({}))]})).0,
            refresher,
            "the type alone is enough, when somebody took the rest"
        );
        let forged = json!({keys::MANAGED_BY_LABEL: "imps", keys::OWNER_UID_LABEL: "g-1"});
        assert_eq!(
            owners(json!({"labels": forged, "managedFields": [own]})),
            (refresher, foreign()),
            "the label of the controller, written by somebody else"
        );

        let applied = entry(json!({"f:images.banzaicloud.io/owner-uid": {}}));
        let labels = json!({keys::OWNER_UID_LABEL: "g-1"});
        let reference = json!([{
            "apiVersion": "images.banzaicloud.io/v1alpha1", "kind": "ImagePullSecret", "name": "g", "uid": "g-1",
        }]);
        assert_eq!(
            owners(json!({"labels": labels, "ownerReferences": reference, "managedFields": [applied]})),
            (foreign(), Owner::Grant("g-1".into())),
            "what the controller applied"
        );
        assert_eq!(
            owners(json!({"labels": labels, "managedFields": [applied]})),
            (foreign(), Owner::Stripped("g-1".into())),
            "the same without its owner"
        );
        assert_eq!(
            owners(json!({"labels": own_label})),
            (foreign(), foreign()),
            "a label that anybody can write"
        );
    }

    #[test]
    fn a_refresher_takes_over_what_that_of_the_original_wrote_and_no_more() {
        let ours = |metadata: Value| matches!(owners(metadata).0, Owner::Grant(_));
        let copy = json!({keys::LEGACY_COPY_ANNOTATION: "UEsDBBQ="});
        assert!(ours(json!({"annotations": copy})));
        // Those of the original's controller have the same annotation.
        let owner = json!([{
            "apiVersion": "images.banzaicloud.io/v1alpha1", "kind": "ImagePullSecret", "name": "g", "uid": "g-1",
        }]);
        assert!(!ours(json!({"annotations": copy, "ownerReferences": owner})));
        assert!(!ours(json!({"annotations": copy, "labels": {keys::OWNER_UID_LABEL: "g-1"}})));
    }

    #[test]
    fn no_view_prints_what_it_holds() {
        let view: SourceView = serde_json::from_value(json!({
            "metadata": {"name": "n", "annotations": {"kubectl.kubernetes.io/last-applied-configuration": "hunter2"}},
            "data": {"k": BASE64_STANDARD.encode("hunter2")}
        }))
        .unwrap();
        assert!(!format!("{view:?}").contains("hunter2"));
        assert_eq!(&**Document::from(view).data["k"], b"hunter2");
    }

    #[test]
    fn absent_or_null_data_is_no_data() {
        for text in
            [r#"{"metadata":{}}"#, r#"{"metadata":{},"data":null}"#, r#"{"data":{"a":"not base64!"}}"#]
        {
            serde_json::from_str::<SourceView>(text).unwrap();
            serde_json::from_str::<TargetView>(text).unwrap();
        }
    }
}
