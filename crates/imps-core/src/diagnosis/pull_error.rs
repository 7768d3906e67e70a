//! What a message of the kubelet or of a container runtime means: text in, one class out.
//!
//! Registries and runtimes have no common words, so this is a table of phrases, of which the first that occurs
//! decides. Phrases that say more come first: a message may hold the errors of several attempts, and a refused
//! credential says more than the anonymous attempt after it.

use super::code::Code;

/// What a message is about.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum PullError {
    /// Something else than an image.
    NotPulling,
    /// The kubelet waits before it tries again, and does not say why.
    BackOff,
    /// The kubelet did not find a Secret that the pod names.
    SecretMissing,
    /// Any of the classes that a finding stands for.
    Finding(Code),
}

/// Phrases in lower case, of which each may leave things out where it has a star.
const PHRASES: &[(PullError, &[&str])] = &[
    (
        PullError::NotPulling,
        &[
            "back-off restarting failed container",
            "crashloopbackoff",
            "oomkilled",
            "probe failed",
            "nodes are available",
            "unable to attach or mount volumes",
            "mountvolume.setup failed",
            "successfully pulled image",
            "already present on machine",
        ],
    ),
    (
        PullError::SecretMissing,
        &["unable to retrieve some image pull secrets", "unable to retrieve pull secret"],
    ),
    (
        PullError::Finding(Code::SecretUndecodable),
        &[
            "unable to parse auth field",
            "illegal base64 data",
            "error occurred while trying to unmarshal json",
            "json: cannot unmarshal*dockerconfig",
        ],
    ),
    (
        PullError::Finding(Code::ProviderFailed),
        &["credential provider plugin", "external registry credential provider"],
    ),
    (PullError::Finding(Code::PullRecords), &["image pull intent"]),
    (PullError::Finding(Code::NeverPull), &["is not present with pull policy of never", "errimageneverpull"]),
    (
        PullError::Finding(Code::ImageName),
        &[
            "failed to apply default image tag",
            "couldn't parse image",
            "invalid reference format",
            "invalidimagename",
        ],
    ),
    (PullError::Finding(Code::SignaturePolicy), &["signaturevalidationfailed", "source image rejected"]),
    (
        PullError::Finding(Code::NodeStorage),
        &[
            "no space left on device",
            "failed to extract layer",
            "failed to register layer",
            "read-only file system",
        ],
    ),
    (
        PullError::Finding(Code::Platform),
        &[
            "no match for platform",
            "no matching manifest for",
            "no image found in manifest list for architecture",
            "no image found in image index for architecture",
        ],
    ),
    (
        PullError::Finding(Code::RateLimited),
        &["toomanyrequests", "too many requests", "pull rate limit", "pull qps exceeded"],
    ),
    (
        PullError::Finding(Code::TokenExpired),
        &["authorization token has expired", "token has expired", "token is expired", "expiredtoken"],
    ),
    (
        PullError::Finding(Code::UntrustedCertificate),
        &["x509:", "failed to verify certificate", "remote error: tls", "certificate signed by unknown"],
    ),
    (
        PullError::Finding(Code::PlainHttp),
        &["server gave http response to https client", "does not look like a tls handshake"],
    ),
    (PullError::Finding(Code::Proxy), &["proxyconnect", "proxy authentication required"]),
    (
        PullError::Finding(Code::Dns),
        &["no such host", "dial tcp: lookup", "server misbehaving", "failure in name resolution"],
    ),
    (
        PullError::Finding(Code::NoConnection),
        &["connection refused", "no route to host", "network is unreachable", "connection reset by peer"],
    ),
    (
        PullError::Finding(Code::Timeout),
        &[
            "i/o timeout",
            "context deadline exceeded",
            "tls handshake timeout",
            "client.timeout exceeded",
            "timeout awaiting response",
            "context canceled",
        ],
    ),
    (
        PullError::Finding(Code::AnonymousRefused),
        &["unauthenticated requests do not have permission", "anonymous caller does not have"],
    ),
    (
        PullError::Finding(Code::NoPullRight),
        &[
            "is not authorized to perform: ecr:",
            "artifactregistry.repositories.downloadartifacts*denied",
            "storage.objects.get access",
            "does not have permission for manifest",
            "unauthorized to access repository*action: pull",
        ],
    ),
    (
        PullError::Finding(Code::CredentialRefused),
        &[
            "failed to fetch oauth token",
            "incorrect username or password",
            "invalid username/password",
            "invalid username or password",
        ],
    ),
    (
        PullError::Finding(Code::AnonymousRefused),
        &["failed to fetch anonymous token", "no basic auth credentials", "no user/password was provided"],
    ),
    (
        PullError::Finding(Code::NotFoundOrDenied),
        &[
            "insufficient_scope",
            "pull access denied",
            "requested access to the resource is denied",
            "access to the requested resource is not authorized",
            "does not exist or no pull access",
            "denied: denied",
        ],
    ),
    (
        PullError::Finding(Code::NotFound),
        &[
            "manifest unknown",
            "name unknown",
            "name_unknown",
            ": not found",
            "404 not found",
            "project not found",
        ],
    ),
    (
        PullError::Finding(Code::Unauthorized),
        &["401 unauthorized", "authentication required", "status code from registry 401", "unauthorized:"],
    ),
    (
        PullError::Finding(Code::NoPullRight),
        &["403 forbidden", "status code from registry 403", "denied:", ": forbidden"],
    ),
    (
        PullError::Finding(Code::RegistryFailing),
        &[
            "500 internal server error",
            "502 bad gateway",
            "502 (bad gateway)",
            "503 service unavailable",
            "504 gateway",
            "status code from registry 5",
            "registry is unavailable",
            "registryunavailable",
        ],
    ),
    // Of what stands beside it, what a registry answered says more.
    (
        PullError::Finding(Code::NoLogin),
        &["grpc: error while marshaling: string field contains invalid utf-8"],
    ),
    (PullError::BackOff, &["back-off pulling image", "imagepullbackoff"]),
];

/// Reads a message. One that holds none of the known phrases is [`Code::Unclassified`].
///
/// ```
/// # use imps_core::diagnosis::{Code, PullError, classify};
/// let message = "failed to authorize: failed to fetch anonymous token: unexpected status: 401 Unauthorized";
/// assert_eq!(classify(message), PullError::Finding(Code::AnonymousRefused));
/// ```
pub fn classify(message: &str) -> PullError {
    let message = message.to_lowercase();
    let found = PHRASES.iter().find(|(_, phrases)| phrases.iter().any(|phrase| occurs(phrase, &message)));
    found.map_or(PullError::Finding(Code::Unclassified), |(class, _)| *class)
}

/// Whether the parts of a phrase occur one after the other.
fn occurs(phrase: &str, message: &str) -> bool {
    let mut rest = message;
    phrase.split('*').all(|part| {
        rest.find(part).is_some_and(|at| {
            rest = &rest[at + part.len()..];
            true
        })
    })
}

/// Reasons of waiting containers that are about images (kubernetes/kubernetes:pkg/kubelet/images/types.go; the last
/// two are of `k8s.io/cri-api/pkg/errors`). What keeps the kubelet from trying at all has no such word: the text of
/// the error is the reason then.
pub fn is_pull_reason(reason: &str) -> bool {
    matches!(
        reason,
        "ErrImagePull"
            | "ImagePullBackOff"
            | "InvalidImageName"
            | "ErrImageNeverPull"
            | "ImageInspectError"
            | "RegistryUnavailable"
            | "SignatureValidationFailed"
    ) || matches!(classify(reason), PullError::Finding(Code::SecretUndecodable | Code::PullRecords))
}
