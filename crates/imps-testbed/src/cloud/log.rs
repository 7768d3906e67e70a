//! What the emulations other than AWS have seen and given out.

use std::collections::BTreeMap;
use std::time::{Duration, SystemTime};

use serde::{Deserialize, Deserializer};
use serde_json::Value;

/// A call.
#[derive(Clone, Debug, PartialEq, Deserialize)]
pub struct Call {
    /// When it came.
    #[serde(deserialize_with = "time")]
    pub at: SystemTime,
    /// What was asked for, such as `jwt-bearer`, `exchange` or `access-token`.
    pub operation: String,
    /// Who asked, as far as the call was verified.
    pub principal: Option<String>,
    /// The code of the refusal; none for a call that was answered.
    pub error: Option<String>,
    /// What else is worth knowing of a call of this kind.
    #[serde(flatten)]
    pub about: BTreeMap<String, Value>,
}

/// A token. No two are the same.
#[derive(Clone, Debug, PartialEq, Deserialize)]
pub struct IssuedToken {
    /// `access` and `federated` of Google, `entra` and `refresh` of Azure, `installation` of GitHub.
    pub kind: String,
    /// What was given out.
    pub token: String,
    /// When.
    #[serde(deserialize_with = "time")]
    pub at: SystemTime,
    /// Until when it holds.
    #[serde(deserialize_with = "time")]
    pub expires: SystemTime,
    /// Whose it is.
    pub principal: String,
    /// What else is worth knowing of a token of this kind.
    #[serde(flatten)]
    pub about: BTreeMap<String, Value>,
}

/// Seconds since the epoch, with a fraction.
pub(crate) fn time<'de, D: Deserializer<'de>>(deserializer: D) -> Result<SystemTime, D::Error> {
    let seconds = Duration::try_from_secs_f64(f64::deserialize(deserializer)?);
    seconds.map(|seconds| SystemTime::UNIX_EPOCH + seconds).map_err(serde::de::Error::custom)
}
