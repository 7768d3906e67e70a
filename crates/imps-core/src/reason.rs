//! Why something is as it is: the closed list of reasons that conditions, events, metrics and logs share, and what
//! each failure asks for.

use std::fmt;
use std::time::Duration;

/// A CamelCase word from a closed list, fit for a condition's `reason` and for a metric's label.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Reason {
    /// All is as asked for.
    Succeeded,
    /// Work is under way.
    Progressing,
    /// `spec.suspend` is set.
    Suspended,
    /// The object cannot be understood.
    InvalidSpec,
    /// imps lacks a right that it needs.
    AccessDenied,
    /// The API server does not answer, or answers with an error of its own.
    ApiUnavailable,
    /// A source Secret does not exist.
    SourceMissing,
    /// A source Secret may not be read.
    SourceForbidden,
    /// A source Secret is of a type that is no source.
    SourceTypeUnsupported,
    /// A source Secret cannot be read as credentials.
    SourceMalformed,
    /// A source Secret has no entry.
    SourceEmpty,
    /// Some entries of a source Secret cannot be used.
    EntriesRejected,
    /// The token that a source gave is past its expiry, and there is no newer one.
    SourceExpired,
    /// A source needs an identity that imps was not started to use.
    KeylessForbidden,
    /// The token endpoint does not accept the identity of a source, or its rights.
    ExchangeDenied,
    /// The token endpoint has had too many requests.
    ExchangeThrottled,
    /// The token endpoint does not answer, or with an error of its own.
    ExchangeUnreachable,
    /// The token endpoint answers what its API does not promise.
    ExchangeNonsense,
    /// At least one source has a problem.
    SourcesDegraded,
    /// No source has a credential to give.
    NoCredentials,
    /// Another owner's Secret stands at the target's name.
    TargetConflict,
    /// The API server forbids the write.
    TargetForbidden,
    /// Admission, quota or validation refuses the write.
    TargetRefused,
    /// Somebody made our Secret immutable.
    TargetImmutable,
    /// The merged credentials are larger than a Secret may be.
    TargetTooLarge,
    /// Our Secret is being deleted and something holds it back.
    TargetTerminating,
    /// Somebody changes our Secret again and again.
    TargetContended,
    /// The API server forbids to attach the Secret to a ServiceAccount.
    ServiceAccountForbidden,
    /// Admission refuses to attach the Secret to a ServiceAccount.
    ServiceAccountRefused,
    /// Somebody takes our Secret's name out of a ServiceAccount again and again.
    ServiceAccountContended,
    /// At least one target has a problem.
    TargetsDegraded,
}

impl Reason {
    /// The word.
    pub fn as_str(self) -> &'static str {
        match self {
            Reason::Succeeded => "Succeeded",
            Reason::Progressing => "Progressing",
            Reason::Suspended => "Suspended",
            Reason::InvalidSpec => "InvalidSpec",
            Reason::AccessDenied => "AccessDenied",
            Reason::ApiUnavailable => "ApiUnavailable",
            Reason::SourceMissing => "SourceMissing",
            Reason::SourceForbidden => "SourceForbidden",
            Reason::SourceTypeUnsupported => "SourceTypeUnsupported",
            Reason::SourceMalformed => "SourceMalformed",
            Reason::SourceEmpty => "SourceEmpty",
            Reason::EntriesRejected => "EntriesRejected",
            Reason::SourceExpired => "SourceExpired",
            Reason::KeylessForbidden => "KeylessForbidden",
            Reason::ExchangeDenied => "ExchangeDenied",
            Reason::ExchangeThrottled => "ExchangeThrottled",
            Reason::ExchangeUnreachable => "ExchangeUnreachable",
            Reason::ExchangeNonsense => "ExchangeNonsense",
            Reason::SourcesDegraded => "SourcesDegraded",
            Reason::NoCredentials => "NoCredentials",
            Reason::TargetConflict => "TargetConflict",
            Reason::TargetForbidden => "TargetForbidden",
            Reason::TargetRefused => "TargetRefused",
            Reason::TargetImmutable => "TargetImmutable",
            Reason::TargetTooLarge => "TargetTooLarge",
            Reason::TargetTerminating => "TargetTerminating",
            Reason::TargetContended => "TargetContended",
            Reason::ServiceAccountForbidden => "ServiceAccountForbidden",
            Reason::ServiceAccountRefused => "ServiceAccountRefused",
            Reason::ServiceAccountContended => "ServiceAccountContended",
            Reason::TargetsDegraded => "TargetsDegraded",
        }
    }
}

impl Reason {
    /// Whether a target that is troubled by this stood as it should when imps last wrote it.
    pub fn spares_the_secret(self) -> bool {
        matches!(
            self,
            Reason::TargetContended
                | Reason::ServiceAccountForbidden
                | Reason::ServiceAccountRefused
                | Reason::ServiceAccountContended
        )
    }
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

/// What a failed request asks for next.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Remedy {
    /// Try again, later each time; the server may have said when at the earliest.
    Retry(Option<Duration>),
    /// The world is not as the plan believed: plan again when the watch has told the news.
    Replan,
    /// Nothing to do until the namespace changes.
    Wait,
}

/// How a request to the API server failed. It holds only words that are safe to show.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Fault {
    /// The kind of failure.
    pub class: FaultClass,
    /// What a person should know beyond the class: HTTP status and machine-readable reason, the name of a webhook or
    /// quota. Never the server's free text, which can quote the request.
    pub detail: String,
}

/// Kinds of failure of a request to the API server.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum FaultClass {
    /// 401 or 403 by authorisation.
    Forbidden,
    /// 403 by quota or admission, 400, 413 and 422: this very write is not wanted.
    Refused,
    /// 404 of the namespace, or it is being terminated.
    NamespaceGone,
    /// 404 of the object: it is not there any more.
    Gone,
    /// 409, or another object stands at the name: somebody was faster.
    Changed,
    /// 429, with the server's wish when to come again.
    Throttled(Option<Duration>),
    /// No answer, or an error of the server's own.
    Unavailable,
}

impl Fault {
    /// What to do about it.
    pub fn remedy(&self) -> Remedy {
        match self.class {
            FaultClass::Gone | FaultClass::Changed => Remedy::Replan,
            FaultClass::NamespaceGone => Remedy::Wait,
            FaultClass::Throttled(after) => Remedy::Retry(after),
            FaultClass::Forbidden | FaultClass::Refused | FaultClass::Unavailable => Remedy::Retry(None),
        }
    }

    /// The reason to report for a target that met this fault.
    pub fn target_reason(&self) -> Reason {
        match self.class {
            FaultClass::Forbidden => Reason::TargetForbidden,
            FaultClass::Refused => Reason::TargetRefused,
            FaultClass::NamespaceGone | FaultClass::Gone | FaultClass::Changed => Reason::Progressing,
            FaultClass::Throttled(_) | FaultClass::Unavailable => Reason::ApiUnavailable,
        }
    }

    /// The reason to report for a ServiceAccount that met this fault.
    pub fn account_reason(&self) -> Reason {
        match self.class {
            FaultClass::Forbidden => Reason::ServiceAccountForbidden,
            FaultClass::Refused => Reason::ServiceAccountRefused,
            _ => self.target_reason(),
        }
    }

    /// One sentence for the person on call: what happened and what to do.
    pub fn advice(&self) -> String {
        let detail = &self.detail;
        match self.class {
            FaultClass::Forbidden => {
                format!("imps lacks the right ({detail}); compare its role with `imps rbac`")
            }
            FaultClass::Refused => {
                format!("the API server refuses the write ({detail}); see the named policy, quota or field")
            }
            FaultClass::NamespaceGone => format!("the namespace is going away ({detail}); nothing to do"),
            FaultClass::Gone => format!("the object is gone ({detail}); imps looks again"),
            FaultClass::Changed => format!("the object changed meanwhile ({detail}); imps looks again"),
            FaultClass::Throttled(_) => format!("the API server is busy ({detail}); imps tries again"),
            FaultClass::Unavailable => format!("the API server did not do it ({detail}); imps tries again"),
        }
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.advice())
    }
}
