//! `ImagePullSecret` on the wire: the original's fields, and ours, all of them optional.

#![expect(unreachable_pub, reason = "the derive of KubeSchema repeats the types inside a function")]

use std::collections::BTreeMap;

use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{LabelSelector, LabelSelectorRequirement};
use kube::{CustomResource, KubeSchema};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// ImagePullSecretSpec defines the desired state of ImagePullSecret: which credentials go into which namespaces.
#[derive(CustomResource, KubeSchema, Serialize, Deserialize, Clone, Debug, PartialEq)]
#[kube(
    group = "images.banzaicloud.io",
    version = "v1alpha1",
    kind = "ImagePullSecret",
    plural = "imagepullsecrets",
    singular = "imagepullsecret",
    shortname = "imps",
    status = "ImagePullSecretStatus",
    derive = "PartialEq",
    doc = "ImagePullSecret writes registry credentials into namespaces as a pull secret and keeps it valid."
)]
pub struct ImagePullSecretSpec {
    /// Registry says where the credentials come from.
    pub registry: RegistryConfig,
    /// Target says which Secret is written, and into which namespaces.
    pub target: TargetConfig,
    /// Suspend holds imps still: nothing is written and nothing is taken away while it is true.
    #[serde(default, skip_serializing_if = "is_false")]
    pub suspend: bool,
}

/// Where the credentials come from.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Debug, PartialEq)]
pub struct RegistryConfig {
    /// Credentials lists Secrets with docker logins, of type kubernetes.io/dockerconfigjson or kubernetes.io/dockercfg.
    /// Where two of them have a login for one registry, the one that is listed first wins.
    pub credentials: Vec<NamespacedName>,
}

/// A Secret somewhere in the cluster.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Debug, PartialEq)]
pub struct NamespacedName {
    /// Name of the Secret.
    pub name: String,
    /// Namespace of the Secret.
    pub namespace: String,
}

/// The Secret to write and the namespaces that get it. A namespace is selected if any of the rules speaks for it.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Debug, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct TargetConfig {
    /// Secret describes the Secret that is written into each selected namespace.
    pub secret: TargetSecretConfig,
    /// Namespaces selects by what namespaces are.
    #[serde(default, skip_serializing_if = "NamespaceSelector::is_empty")]
    pub namespaces: NamespaceSelector,
    /// NamespacesWithPods selects namespaces that have at least one matching pod.
    #[serde(default, skip_serializing_if = "ObjectSelector::is_empty")]
    pub namespaces_with_pods: ObjectSelector,
    /// Exclude names namespaces that never get the Secret, whatever else selects them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub exclude: Option<Exclude>,
    /// ServiceAccounts of the selected namespaces that the Secret is attached to: their imagePullSecrets get its name,
    /// so that pods which are created afterwards pull with it. None unless given.
    #[serde(default, skip_serializing_if = "ServiceAccountSelector::is_empty")]
    pub service_accounts: ServiceAccountSelector,
}

/// Selects ServiceAccounts by name; the others are left as they are.
#[derive(Serialize, Deserialize, KubeSchema, Clone, Debug, Default, PartialEq)]
pub struct ServiceAccountSelector {
    /// Names of ServiceAccounts; a * stands for any characters. The usual ones are "default" and "*".
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 100), inner(length(min = 1, max = 253)))]
    #[x_kube(
        validation = Rule::new("self.all(name, name.matches('^[-.a-z0-9*]+$'))")
            .message("a ServiceAccount's name has lower-case letters, digits, - and ., and * stands for any characters")
    )]
    pub names: Vec<String>,
}

/// The Secret that is written into each selected namespace.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Debug, PartialEq)]
pub struct TargetSecretConfig {
    /// Name of the Secret.
    pub name: String,
    /// Labels are put on the Secret. Those that begin with images.banzaicloud.io/ belong to imps and are left out.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub labels: BTreeMap<String, String>,
    /// Annotations are put on the Secret. Those that begin with images.banzaicloud.io/ belong to imps and are left out.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub annotations: BTreeMap<String, String>,
    /// Adopt takes over Secrets that stand at this name already, in place: what is in them is replaced, and they go
    /// with this object. Only Secrets of type kubernetes.io/dockerconfigjson that no other controller keeps and that
    /// are no source.
    #[serde(default, skip_serializing_if = "is_false")]
    pub adopt: bool,
}

/// Selects namespaces; any rule suffices.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Debug, Default, PartialEq)]
pub struct NamespaceSelector {
    /// Labels: any of these selectors on the namespace's labels. An empty selector {} matches every namespace.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub labels: Vec<LabelSelector>,
    /// Annotations: any of these selectors on the namespace's annotations.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub annotations: Vec<AnnotationSelector>,
    /// Names of namespaces; a * stands for any characters.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub names: Vec<String>,
}

/// Selects pods; any rule suffices. A pod that is being deleted does not count.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Debug, Default, PartialEq)]
pub struct ObjectSelector {
    /// Labels: any of these selectors on the pod's labels. An empty selector {} matches every pod.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub labels: Vec<LabelSelector>,
    /// Annotations: any of these selectors on the pod's annotations.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub annotations: Vec<AnnotationSelector>,
}

/// A selector over annotations; all its requirements must hold.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Debug, Default, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct AnnotationSelector {
    /// MatchAnnotations: each of these annotations with just this value.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub match_annotations: BTreeMap<String, String>,
    /// MatchExpressions: each of these requirements, with the operators In, NotIn, Exists and DoesNotExist.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub match_expressions: Vec<LabelSelectorRequirement>,
}

/// Namespaces that never get the Secret; any rule suffices.
#[derive(Serialize, Deserialize, KubeSchema, Clone, Debug, Default, PartialEq)]
#[x_kube(
    validation = Rule::new("has(self.names) || has(self.labels) || has(self.annotations)")
        .message("exclude needs names, labels or annotations; remove it to exclude nothing")
)]
pub struct Exclude {
    /// Names of namespaces; a * stands for any characters.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 1000), inner(length(min = 1, max = 253)))]
    #[x_kube(
        validation = Rule::new("self.all(name, name.matches('^[-a-z0-9*]+$'))")
            .message("a namespace name has lower-case letters, digits and -, and * stands for any characters")
    )]
    pub names: Vec<String>,
    /// Labels: any of these selectors on the namespace's labels.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub labels: Vec<LabelSelector>,
    /// Annotations: any of these selectors on the namespace's annotations.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub annotations: Vec<AnnotationSelector>,
}

/// ImagePullSecretStatus defines the observed state of ImagePullSecret. Its size does not grow with the cluster: long
/// lists are cut and say so.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Debug, Default, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct ImagePullSecretStatus {
    /// ObservedGeneration is the generation of the spec that this status speaks of; -1 until imps has seen the object.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "integer64")]
    pub observed_generation: Option<i64>,
    /// LastHandledRefreshAt is the value of the annotation images.banzaicloud.io/refresh-requested-at for which all
    /// tokens have been asked for anew; how that went is told by sources.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    #[schemars(length(max = 64))]
    pub last_handled_refresh_at: String,
    /// Conditions: Ready always; Reconciling and Stalled only while true; SourcesReady and TargetsSynced in detail.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub conditions: Vec<Condition>,
    /// Status is Ready or Failed.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub status: String,
    /// Reason says what failed.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub reason: String,
    /// LastSuccessfulReconciliation is when all was last as it should be after something had changed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "date_time")]
    pub last_successful_reconciliation: Option<Timestamp>,
    /// ValiditySeconds is how long the credentials are valid from LastSuccessfulReconciliation on; absent for logins
    /// that do not expire.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub validity_seconds: i32,
    /// ManagedNamespaces are the namespaces that have the Secret; a long list ends with how many more there are.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub managed_namespaces: Vec<String>,
    /// SourceSecretStatus says Ok, or what is wrong, for each namespace.name of a source.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub source_secret_status: BTreeMap<String, String>,
    /// Sources, in the order of spec.registry.credentials.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub sources: Vec<SourceStatus>,
    /// Targets counts namespaces.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "target_counts")]
    pub targets: Option<TargetCounts>,
    /// Failures spells out some of the namespaces in which something failed.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub failures: Vec<TargetFailure>,
    /// SecretNames are the names under which a Secret of this object may stand: spec.target.secret.name, and earlier
    /// values of it until nothing is left there.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub secret_names: Vec<String>,
    /// ServiceAccounts that the Secret is or may be attached to; absent when it never was.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "service_accounts")]
    pub service_accounts: Option<ServiceAccountStatus>,
}

/// The ServiceAccounts that the Secret is or may be attached to.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Debug, Default, PartialEq)]
pub struct ServiceAccountStatus {
    /// Attached is the number of ServiceAccounts that name the Secret because of this object.
    pub attached: i32,
    /// Names under which it may be attached: spec.target.serviceAccounts.names, and earlier values until nothing is
    /// left.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub names: Vec<String>,
}

/// One source of credentials.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Debug, Default, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct SourceStatus {
    /// Namespace of the source Secret.
    pub namespace: String,
    /// Name of the source Secret.
    pub name: String,
    /// Type of the source Secret.
    #[serde(rename = "type", default, skip_serializing_if = "String::is_empty")]
    pub secret_type: String,
    /// State is Ready, Degraded (some entries cannot be used), Missing, Expired, Failing or Unknown.
    pub state: String,
    /// Reason is a word for what is wrong.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub reason: String,
    /// Message says what is wrong and what to do.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub message: String,
    /// Registries whose login in the target Secrets is from this source; a long list is cut, see moreRegistries.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub registries: Vec<String>,
    /// MoreRegistries is how many more there are than registries lists.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub more_registries: i32,
    /// Overridden registries: this source has a login for them too, and an earlier source, named in brackets, wins.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub overridden: Vec<String>,
    /// ExpiresAt is when the token that this source gave stops working; absent for logins that do not expire.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "date_time")]
    pub expires_at: Option<Timestamp>,
    /// NextRefresh is when the next token is asked for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "date_time")]
    pub next_refresh: Option<Timestamp>,
    /// UID of the source Secret that the token is for.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub uid: String,
    /// ResourceVersion of the source Secret that the token is for: one that was edited since is exchanged anew.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub resource_version: String,
}

/// Counts of namespaces.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Copy, Debug, Default, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct TargetCounts {
    /// Desired namespaces are those that are selected.
    pub desired: i32,
    /// Synced ones have just what they should.
    pub synced: i32,
    /// Failed ones could not be written.
    pub failed: i32,
    /// Conflict ones have a Secret of another owner at the target's name, which is left alone.
    pub conflict: i32,
    /// LeftOut ones are selected, and not among the namespaces that this imps serves. They do not count as desired.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub left_out: Option<i32>,
}

/// One namespace in which something failed.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Debug, Default, PartialEq)]
pub struct TargetFailure {
    /// Namespace in which it failed.
    pub namespace: String,
    /// Reason is a word for it.
    pub reason: String,
    /// Message says what happened and what to do.
    pub message: String,
}

/// One aspect of the state, in the usual form of Kubernetes conditions.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Debug, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct Condition {
    /// Type of the condition.
    #[serde(rename = "type")]
    pub kind: String,
    /// Status is True, False or Unknown.
    pub status: String,
    /// ObservedGeneration is the generation of the spec that the condition speaks of.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "integer64")]
    pub observed_generation: Option<i64>,
    /// LastTransitionTime is when status changed last.
    #[schemars(schema_with = "date_time")]
    pub last_transition_time: Timestamp,
    /// Reason is a word for the status.
    pub reason: String,
    /// Message says why, and what to do.
    pub message: String,
}

impl NamespaceSelector {
    fn is_empty(&self) -> bool {
        *self == Self::default()
    }
}

impl ServiceAccountSelector {
    fn is_empty(&self) -> bool {
        *self == Self::default()
    }
}

impl ObjectSelector {
    fn is_empty(&self) -> bool {
        *self == Self::default()
    }
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde hands a reference")]
fn is_false(value: &bool) -> bool {
    !*value
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde hands a reference")]
fn is_zero(value: &i32) -> bool {
    *value == 0
}

// Fields that are absent rather than null: schemars would make an Option nullable, which the original was not.

fn integer64(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
    schemars::json_schema!({"type": "integer", "format": "int64"})
}

fn date_time(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
    schemars::json_schema!({"type": "string", "format": "date-time"})
}

fn service_accounts(generator: &mut schemars::SchemaGenerator) -> schemars::Schema {
    ServiceAccountStatus::json_schema(generator)
}

fn target_counts(generator: &mut schemars::SchemaGenerator) -> schemars::Schema {
    TargetCounts::json_schema(generator)
}
