//! Every name that users see on objects: group, labels, annotations, field managers, reasons of ownership.

use imps_core::grant::OptOut;

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
/// Annotation on a Secret that imps did not make: the name of the `ImagePullSecret` that may take it over.
pub const ADOPT_ANNOTATION: &str = "images.banzaicloud.io/adopt";
/// Annotation on an `ImagePullSecret`: whenever its value is another one than `status.lastHandledRefreshAt`, all tokens
/// are asked for anew. What it says means nothing else; `imps refresh` writes the time.
pub const REFRESH_ANNOTATION: &str = "images.banzaicloud.io/refresh-requested-at";
/// How many characters it may have: as many as the schema gives its echo in the status.
pub const REFRESH_CHARS_MAX: usize = 64;
/// Finalizer on an `ImagePullSecret` that is attached to ServiceAccounts: it does not go before it is detached.
pub const ACCOUNTS_FINALIZER: &str = "images.banzaicloud.io/service-accounts";
/// Annotations by which a namespace keeps itself from getting anything: ours, and those of the tools that imps
/// replaces, as their code reads them. The last one stands in no code but in a guide that many have followed.
pub const OPT_OUTS: &[OptOut] = &[
    OptOut { key: "images.banzaicloud.io/ignore", values: &["true"], by: "imps" },
    // alexellis/registry-creds:controllers/secret_reconciler.go
    OptOut {
        key: "alexellis.io/registry-creds.ignore",
        values: &["1", "true"],
        by: "alexellis/registry-creds",
    },
    // titansoft-pte-ltd/imagepullsecret-patcher:main.go
    OptOut {
        key: "k8s.titansoft.com/imagepullsecret-patcher-exclude",
        values: &["true"],
        by: "titansoft-pte-ltd/imagepullsecret-patcher",
    },
    // tamcore/imagepullsecret-patcher:internal/config/config.go
    OptOut {
        key: "pborn.eu/imagepullsecret-patcher-exclude",
        values: &["true"],
        by: "tamcore/imagepullsecret-patcher",
    },
    OptOut {
        key: "registry-creds/ignore",
        values: &["1", "true"],
        by: "guides to upmc-enterprises/registry-creds",
    },
];
/// Group of `ClusterPullSecret`, whose controller is none that would write a Secret again
/// (alexellis/registry-creds:controllers/secret_reconciler.go only ever creates).
pub const REGISTRY_CREDS_GROUP: &str = "ops.alexellis.io";
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
/// Name of the Lease by which operators elect their leader: the original's, so that during an upgrade the two never
/// write at once (banzaicloud/imps:cmd/controller/main.go).
pub const LEASE: &str = "73de1ad9.banzaicloud.io";
