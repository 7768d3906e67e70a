//! What the emulation has seen and given out.

use std::time::SystemTime;

use serde::Deserialize;

use crate::cloud::time;

/// A call for keys or for a token.
#[derive(Clone, Debug, PartialEq, Deserialize)]
pub struct Call {
    /// When it came.
    #[serde(deserialize_with = "time")]
    pub at: SystemTime,
    /// `sts`, `ecr`, `ecr-public`, `pod-identity` or `instance-metadata`.
    pub service: String,
    /// `GetAuthorizationToken`, `AssumeRole` and so on; `GetCredentials` where pods and machines ask.
    pub operation: String,
    /// The key that signed it, verified or not; none if it is not signed.
    pub access_key_id: Option<String>,
    /// The region it was signed for.
    pub region: Option<String>,
    /// The code of the refusal; none for a call that was answered.
    pub error: Option<String>,
    /// `RoleArn` of a call to STS, or the role whose keys were found.
    #[serde(default)]
    pub role_arn: Option<String>,
    /// `RoleSessionName`.
    #[serde(default)]
    pub role_session_name: Option<String>,
    /// `ExternalId`.
    #[serde(default)]
    pub external_id: Option<String>,
    /// `Policy`, which narrows the session.
    #[serde(default)]
    pub policy: Option<String>,
    /// `DurationSeconds`.
    #[serde(default)]
    pub duration_seconds: Option<u64>,
}

/// A password of a registry. No two are the same.
#[derive(Clone, Debug, PartialEq, Deserialize)]
pub struct IssuedToken {
    /// `ecr` or `ecr-public`.
    pub service: String,
    /// Of the user `AWS`; short enough for [`Registry::set_users`](crate::Registry::set_users).
    pub password: String,
    /// When it was given out.
    #[serde(deserialize_with = "time")]
    pub at: SystemTime,
    /// Until when it is said to hold.
    #[serde(deserialize_with = "time")]
    pub expires: SystemTime,
    /// The ARN of the user or of the session that got it.
    pub principal: String,
    /// The account of the registry.
    pub account: String,
    /// The region of the registry.
    pub region: String,
}
