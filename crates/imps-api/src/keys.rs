//! Every name that users see on objects: group, labels, annotations, field managers, reasons of ownership.

/// API group of the custom resource, kept from the original.
pub const GROUP: &str = "images.banzaicloud.io";
/// Its version.
pub const VERSION: &str = "v1alpha1";
/// Its kind.
pub const KIND: &str = "ImagePullSecret";
/// Its plural, as in URLs and RBAC rules.
pub const PLURAL: &str = "imagepullsecrets";
/// Label on every target Secret: the UID of the `ImagePullSecret` that it was made for.
pub const OWNER_UID_LABEL: &str = "images.banzaicloud.io/owner-uid";
/// Labels and annotations with this prefix belong to imps; a template cannot set them.
pub const RESERVED_PREFIX: &str = "images.banzaicloud.io/";
/// Annotation in which the original kept a zipped copy of each Secret that it wrote, credentials included
/// (cisco-open/k8s-objectmatcher:patch/annotation.go). imps takes it off what it takes over.
pub const LEGACY_COPY_ANNOTATION: &str = "banzaicloud.com/last-applied";
/// Label on the target of `imps refresher`, which has no owner: by it something of ours stays on the Secret, whatever
/// somebody else does to the credentials (kubernetes/website: content/en/docs/concepts/overview/working-with-objects/
/// common-labels.md).
pub const MANAGED_BY_LABEL: &str = "app.kubernetes.io/managed-by";
/// Its value.
pub const MANAGED_BY: &str = "imps";
/// Field manager of everything that imps applies.
pub const FIELD_MANAGER: &str = "imps";
/// Component that events are reported by, as with the original.
pub const REPORTING_CONTROLLER: &str = "imagepullsecrets-controller";
