//! The room for what can be wrong with a docker config, and what a person can do about it. Nothing here can
//! carry text of the document except the label of a key: every other field is a number, or from a closed
//! list.

use std::fmt;

use serde_json::Value;
use thiserror::Error;

use super::{ENTRIES_MAX, MAX_SECRET_BYTES};
use crate::registry::{KeyFault, RegistryKey, safe_label};

/// Why a document cannot be used at all. None of these carries text of the document.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum DocumentFault {
    /// No bytes.
    #[error("the docker config is empty")]
    Empty,
    /// More than a Secret can hold.
    #[error("the docker config has {bytes} bytes, more than the {MAX_SECRET_BYTES} that a Secret can hold")]
    TooLarge {
        /// The size that was found.
        bytes: usize,
    },
    /// Bytes that are no text.
    #[error("the docker config is not UTF-8 text from byte {offset} on")]
    NotText {
        /// How many bytes in front are text.
        offset: usize,
    },
    /// Text that is not JSON.
    #[error("the docker config is not JSON: {problem} at line {line}, column {column}")]
    NotJson {
        /// What kind of problem, in words that do not depend on the document.
        problem: &'static str,
        /// The line of the first error, from 1.
        line: usize,
        /// The column in that line.
        column: usize,
    },
    /// JSON, but not an object.
    #[error("the docker config is {0}, not an object")]
    NotAnObject(Kind),
    /// An object without `auths`.
    #[error("the docker config has no auths")]
    NoAuths,
    /// No `auths`, but a credential helper is named, which only a docker client on a machine can call.
    #[error(
        "the docker config has no auths, only a reference to a credential helper (credsStore or credHelpers)"
    )]
    OnlyHelpers,
    /// No `auths`, but entries at the top: the legacy format in a Secret of the present type.
    #[error(
        "the docker config has its entries at the top instead of in auths, as the format .dockercfg has them"
    )]
    BareEntries,
    /// `auths` in a Secret of the legacy type, whose format has the entries at the top.
    #[error("the docker config has auths, which the legacy format .dockercfg does not have")]
    NestedAuths,
    /// `auths` is something else than an object.
    #[error("auths in the docker config is {0}, not an object")]
    AuthsNotAnObject(Kind),
    /// More entries than [`ENTRIES_MAX`].
    #[error("the docker config has {entries} entries, more than the {ENTRIES_MAX} that are read")]
    TooManyEntries {
        /// How many there are.
        entries: usize,
    },
    /// There are entries, and every one of them is bad.
    #[error(
        "none of the {} entries of the docker config can be used; the first: {}",
        rejected.len(),
        First(rejected)
    )]
    NothingUsable {
        /// All of them, in the order of their keys as spelled.
        rejected: Vec<Rejected>,
    },
}

/// One entry that cannot be used, and why.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error("registry {label}: {fault}")]
pub struct Rejected {
    /// The [`safe_label`] of the key.
    pub label: String,
    /// The registry that the key stands for, if it stands for one.
    pub registry: Option<RegistryKey>,
    /// What is wrong.
    pub fault: EntryFault,
}

/// Why one entry cannot be used. None of these carries text of the document.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum EntryFault {
    /// The key is not a registry.
    #[error("{0}")]
    Key(KeyFault),
    /// Something else than `{..}`.
    #[error("the entry is {0}, not an object")]
    NotAnObject(Kind),
    /// A field that must be text and is not.
    #[error("{field} is {kind}, not a string")]
    WrongType {
        /// The name of the field, from a closed list.
        field: &'static str,
        /// What it is.
        kind: Kind,
    },
    /// `auth` in the URL-safe alphabet, which no client of docker configs reads.
    #[error("auth is base64 of the URL-safe alphabet, not of the standard one")]
    AuthUrlSafe,
    /// `auth` in no alphabet.
    #[error("auth is not base64")]
    AuthNotBase64,
    /// `auth` decodes to something that is no text.
    #[error("auth does not decode to UTF-8 text")]
    AuthNotText,
    /// `auth` decodes to a text that cannot be split.
    #[error("auth does not decode to user:password, the colon is missing")]
    AuthWithoutColon,
    /// A token that the kubelet does not hand to the container runtime, and no password.
    #[error("the entry has only an identity or registry token, which the kubelet does not use")]
    IdentityTokenOnly,
    /// Neither user name nor password.
    #[error("the entry has neither user name nor password")]
    NoLogin,
    /// A password alone.
    #[error("the entry has a password but no user name")]
    NoUsername,
    /// A user name alone.
    #[error("the entry has a user name but no password")]
    NoPassword,
    /// A colon in `username`; behind the first colon HTTP basic authentication has the password.
    #[error("the user name has a colon in it")]
    UsernameColon,
}

/// What a JSON value is, for messages.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// `null`.
    Null,
    /// `true` or `false`.
    Bool,
    /// A number.
    Number,
    /// A string.
    Text,
    /// A list.
    List,
    /// An object.
    Object,
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Kind::Null => "null",
            Kind::Bool => "true or false",
            Kind::Number => "a number",
            Kind::Text => "a string",
            Kind::List => "a list",
            Kind::Object => "an object",
        })
    }
}

impl Kind {
    pub(crate) fn of(value: &Value) -> Kind {
        match value {
            Value::Null => Kind::Null,
            Value::Bool(_) => Kind::Bool,
            Value::Number(_) => Kind::Number,
            Value::String(_) => Kind::Text,
            Value::Array(_) => Kind::List,
            Value::Object(_) => Kind::Object,
        }
    }
}

/// The first of the rejected entries, for a message.
struct First<'r>(&'r [Rejected]);

impl fmt::Display for First<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.first().map_or(Ok(()), |rejected| rejected.fmt(f))
    }
}

// === remedies ===

impl DocumentFault {
    /// What a person can do about it.
    pub fn remedy(&self) -> &'static str {
        match self {
            DocumentFault::Empty | DocumentFault::NoAuths => {
                "make the Secret with: kubectl create secret docker-registry NAME --docker-server=.. \
                 --docker-username=.. --docker-password=.."
            }
            DocumentFault::TooLarge { .. } | DocumentFault::TooManyEntries { .. } => {
                "remove from the Secret what is not a registry login"
            }
            DocumentFault::NotText { .. } | DocumentFault::NotJson { .. } | DocumentFault::NotAnObject(_) => {
                "write a docker config as JSON into the Secret; if it was put under data, encode it once only"
            }
            DocumentFault::OnlyHelpers => {
                "log in without a credential helper, so that the config has the login itself"
            }
            DocumentFault::BareEntries => {
                "put the entries into {\"auths\": ..}, or make the Secret of the type kubernetes.io/dockercfg"
            }
            DocumentFault::NestedAuths => "make the Secret of the type kubernetes.io/dockerconfigjson",
            DocumentFault::AuthsNotAnObject(_) => {
                "write auths as an object with one entry for each registry: {\"registry.example.com\": ..}"
            }
            DocumentFault::NothingUsable { rejected } => {
                rejected.first().map_or("add an entry for each registry", |rejected| rejected.fault.remedy())
            }
        }
    }
}

impl Rejected {
    /// Names the entry under this key.
    pub(crate) fn of(raw: &str, fault: EntryFault) -> Rejected {
        Rejected { label: safe_label(raw), registry: RegistryKey::parse(raw).ok(), fault }
    }
}

impl EntryFault {
    /// What a person can do about it.
    pub fn remedy(self) -> &'static str {
        match self {
            EntryFault::Key(fault) => fault.remedy(),
            EntryFault::NotAnObject(_) => {
                "write the entry as an object: {\"username\": .., \"password\": ..}"
            }
            EntryFault::WrongType { .. } => "put the value into double quotes",
            EntryFault::AuthUrlSafe | EntryFault::AuthNotBase64 => {
                "encode it with the standard alphabet: printf '%s' \"$USER:$PASS\" | base64 -w0"
            }
            EntryFault::AuthNotText | EntryFault::AuthWithoutColon => {
                "encode user and password together: printf '%s' \"$USER:$PASS\" | base64 -w0"
            }
            EntryFault::IdentityTokenOnly => {
                "log in with a user name and a password or access token that the registry takes as one"
            }
            EntryFault::NoLogin => "add username and password, or remove the entry",
            EntryFault::NoUsername => {
                "add the user name; registries that look at the token only want one too, see their manual"
            }
            EntryFault::NoPassword => "add the password",
            EntryFault::UsernameColon => "use a user name without a colon",
        }
    }
}
