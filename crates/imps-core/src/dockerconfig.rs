//! The room for docker configs: the one place where bytes of Secrets are parsed, and where those of targets
//! are made.
//!
//! The parsers of other people repeat in their errors what they could not read, and what they read here are
//! passwords. So no error of theirs leaves this room as text, only category, line and column; and of the
//! document itself only [`safe_label`] of a key does.
//!
//! A bad entry never spoils the others. That is more than the kubelet offers: one `auth` that it cannot
//! decode makes it refuse the whole Secret, and with it every image of every pod that refers to it
//! (`kubernetes/kubernetes:pkg/credentialprovider/secrets/secrets.go`). What is rendered here can be read by
//! all clients.

mod document;
mod fault;
mod render;
#[cfg(test)]
mod tests;

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
};

use base64::{
    Engine,
    alphabet::STANDARD,
    engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig},
};
use serde_json::{Map, Value};
use zeroize::Zeroizing;

pub(crate) use self::document::{Document, field, text_field};
pub use self::{
    fault::{DocumentFault, EntryFault, Kind, Rejected},
    render::{Payload, RENDER_MARGIN_BYTES, TooLarge, render},
};
use crate::{
    credential::Credential,
    keyring::Keyring,
    registry::{RegistryKey, safe_label},
    token::Token,
};

/// What the API server allows the values of one Secret to sum up to (`MaxSecretSize`, 1 MiB).
pub const MAX_SECRET_BYTES: usize = 1_048_576;

/// How many entries are read. It keeps the time for a hostile document short, and real ones do not come near
/// it: so many would fill a Secret at 128 bytes each, and a host with a login of any use is longer than that.
pub const ENTRIES_MAX: usize = 8192;

/// Settings of a docker config that have a meaning to somebody but not to the kubelet. Only these are named
/// when they are ignored; any other key could be a secret in the wrong place.
const KNOWN_SETTINGS: [&str; 20] = [
    "aliases",
    "auths",
    "cliPluginsExtraDirs",
    "configFormat",
    "credHelpers",
    "credsStore",
    "currentContext",
    "detachKeys",
    "experimental",
    "features",
    "HttpHeaders",
    "imagesFormat",
    "kubernetes",
    "nodesFormat",
    "plugins",
    "proxies",
    "psFormat",
    "pruneFilters",
    "stackOrchestrator",
    "statsFormat",
];

/// Fields of an entry that have a meaning to somebody. The first [`QUIET_FIELDS`] of them are read, or
/// dropped without a word because they are in every old config and do nothing.
const KNOWN_FIELDS: [&str; 7] =
    ["username", "password", "auth", "email", "serveraddress", "identitytoken", "registrytoken"];
const QUIET_FIELDS: usize = 5;

/// The two formats of docker configs that Kubernetes knows.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Format {
    /// The present one: `{"auths": {"<registry>": {..}}}`.
    DockerConfigJson,
    /// The legacy one: what is inside `auths`, bare.
    DockerCfg,
}

/// What a docker config holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Parsed {
    /// The usable entries. Empty only if the document has no entries at all: that is somebody's will, not a
    /// fault.
    pub keyring: Keyring,
    /// The entries that cannot be used, in the order of their keys as spelled.
    pub rejected: Vec<Rejected>,
    /// What is not passed on although it may have a meaning to other clients.
    pub ignored: Vec<Ignored>,
    /// The registries that the document has in several spellings, in the order of their keys.
    pub respelled: Vec<Respelled>,
}

/// Something in a docker config that the kubelet does not use either, and that is not passed on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Ignored {
    /// A setting beside `auths`, by its name from a closed list.
    Setting(&'static str),
    /// So many other keys beside `auths`.
    UnknownSettings(usize),
    /// A field of an entry, by its name from a closed list.
    Field {
        /// The entry that has it; it is used without.
        registry: RegistryKey,
        /// The name of the field.
        name: &'static str,
    },
    /// So many other fields in usable entries, over all of them.
    UnknownFields(usize),
}

/// One registry that the document spells in several ways, each with a usable login.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Respelled {
    /// The registry.
    pub registry: RegistryKey,
    /// The [`safe_label`] of the spelling that is used.
    pub used: String,
    /// The labels of the others. They can look like the used one if they differ in what a label leaves out.
    pub unused: Vec<String>,
    /// Whether they all have the same login, so that nothing is lost.
    pub identical: bool,
}

// === parse ===

/// Reads a docker config.
///
/// An entry counts if its key is a registry ([`RegistryKey::parse`]) and it has a user name and a password,
/// either in `auth` or, when that is absent or empty, in `username` and `password`. Names of fields may be in
/// any case, as for the kubelet; the exact one is preferred. `auth` is standard base64, with or without
/// padding, with or without line breaks. All else is dropped and listed.
///
/// Of several spellings of one registry the one that the kubelet would try first is used, and among equals
/// the first in byte order. Of a key that the JSON text has twice the last one counts, for Go and for us.
///
/// An error means that there is nothing to use: the source is malformed. A document with no entries at all,
/// such as `{"auths":{}}`, is none: it says that there are no credentials, and that is taken at its word.
pub fn parse(format: Format, bytes: &[u8]) -> Result<Parsed, DocumentFault> {
    let document = Document::read(bytes)?;
    let top = document.top()?;
    let (entries, mut ignored) = match format {
        Format::DockerCfg => (top, Vec::new()),
        Format::DockerConfigJson => (auths_of(top)?, ignored_settings(top)),
    };
    if entries.len() > ENTRIES_MAX {
        return Err(DocumentFault::TooManyEntries { entries: entries.len() });
    }
    let mut found = Findings::default();
    for (raw, entry) in entries {
        found.read_entry(raw, entry);
    }
    let Findings { mut rejected, logins, ignored: ignored_fields, unknown_fields } = found;
    rejected.sort_by(|a, b| a.0.cmp(b.0));
    let rejected: Vec<Rejected> = rejected.into_iter().map(|(_, rejected)| rejected).collect();
    if logins.is_empty() && !rejected.is_empty() {
        let nested = format == Format::DockerCfg && field(top, "auths").is_some_and(Value::is_object);
        return Err(if nested {
            DocumentFault::NestedAuths
        } else {
            DocumentFault::NothingUsable { rejected }
        });
    }
    ignored.extend(ignored_fields.into_iter().map(|(registry, name)| Ignored::Field { registry, name }));
    if unknown_fields > 0 {
        ignored.push(Ignored::UnknownFields(unknown_fields));
    }
    let (keyring, respelled) = one_spelling_each(logins);
    Ok(Parsed { keyring, rejected, ignored, respelled })
}

fn auths_of(top: &Map<String, Value>) -> Result<&Map<String, Value>, DocumentFault> {
    match top.get("auths").or_else(|| field(top, "auths")) {
        Some(Value::Object(auths)) => Ok(auths),
        Some(other) => Err(DocumentFault::AuthsNotAnObject(Kind::of(other))),
        None if field(top, "credsStore").is_some() || field(top, "credHelpers").is_some() => {
            Err(DocumentFault::OnlyHelpers)
        }
        None if top.values().any(looks_like_entry) => Err(DocumentFault::BareEntries),
        None => Err(DocumentFault::NoAuths),
    }
}

fn looks_like_entry(value: &Value) -> bool {
    let has = |name| value.as_object().is_some_and(|fields| field(fields, name).is_some());
    has("auth") || has("username") && has("password")
}

fn ignored_settings(top: &Map<String, Value>) -> Vec<Ignored> {
    let (known, unknown) = sort_names(top.keys(), &KNOWN_SETTINGS);
    let known = known.into_iter().filter(|name| *name != "auths").map(Ignored::Setting);
    known.chain((unknown > 0).then_some(Ignored::UnknownSettings(unknown))).collect()
}

/// Which names of a closed list occur, each once and in the order of the list, and how many others do.
fn sort_names<'n>(
    names: impl Iterator<Item = &'n String>,
    known: &[&'static str],
) -> (Vec<&'static str>, usize) {
    let mut seen = vec![false; known.len()];
    let mut unknown = 0;
    for name in names {
        match known.iter().position(|known| known.eq_ignore_ascii_case(name)) {
            Some(index) => seen[index] = true,
            None => unknown += 1,
        }
    }
    (known.iter().zip(seen).filter(|(_, seen)| *seen).map(|(name, _)| *name).collect(), unknown)
}

/// What the entries of a document turned out to be, before the spellings of one registry are brought
/// together.
#[derive(Default)]
struct Findings<'d> {
    rejected: Vec<(&'d str, Rejected)>,
    logins: BTreeMap<RegistryKey, Vec<(&'d str, Credential)>>,
    ignored: BTreeSet<(RegistryKey, &'static str)>,
    unknown_fields: usize,
}

impl<'d> Findings<'d> {
    fn read_entry(&mut self, raw: &'d str, entry: &Value) {
        let read = RegistryKey::parse(raw)
            .map_err(EntryFault::Key)
            .and_then(|registry| Ok((registry, entry_fields(entry)?)))
            .and_then(|(registry, fields)| Ok((registry, fields, credential_of(fields)?)));
        match read {
            Ok((registry, fields, credential)) => {
                let (known, unknown) = sort_names(fields.keys(), &KNOWN_FIELDS);
                self.unknown_fields += unknown;
                let loud = known.into_iter().filter(|name| KNOWN_FIELDS[QUIET_FIELDS..].contains(name));
                self.ignored.extend(loud.map(|name| (registry.clone(), name)));
                self.logins.entry(registry).or_default().push((raw, credential));
            }
            Err(fault) => self.rejected.push((raw, Rejected::of(raw, fault))),
        }
    }
}

fn one_spelling_each(logins: BTreeMap<RegistryKey, Vec<(&str, Credential)>>) -> (Keyring, Vec<Respelled>) {
    let mut keyring = Keyring::new();
    let mut respelled = Vec::new();
    for (registry, mut spellings) in logins {
        spellings.sort_by_cached_key(|(raw, _)| (registry.distance(raw), *raw));
        let mut spellings = spellings.into_iter();
        let Some((used, credential)) = spellings.next() else { continue };
        let (unused, others): (Vec<_>, Vec<_>) =
            spellings.map(|(raw, login)| (safe_label(raw), login)).unzip();
        if !unused.is_empty() {
            let identical = others.iter().all(|other| *other == credential);
            respelled.push(Respelled {
                registry: registry.clone(),
                used: safe_label(used),
                unused,
                identical,
            });
        }
        keyring.insert(registry, credential);
    }
    (keyring, respelled)
}

// === one entry ===

/// The login of an entry as bytes, before anything is asked of it. Wiped when dropped.
pub(crate) struct Login {
    pub(crate) username: Zeroizing<Vec<u8>>,
    pub(crate) password: Zeroizing<Vec<u8>>,
}

/// The fields of an entry.
pub(crate) fn entry_fields(entry: &Value) -> Result<&Map<String, Value>, EntryFault> {
    entry.as_object().ok_or(EntryFault::NotAnObject(Kind::of(entry)))
}

/// The login in the fields of an entry by the rules of the kubelet (`config.go`): a non-empty `auth`
/// overrides user name and password, what is absent or `null` is empty.
pub(crate) fn login_of(fields: &Map<String, Value>) -> Result<Login, EntryFault> {
    let username = text_field(fields, "username")?;
    let password = text_field(fields, "password")?;
    match text_field(fields, "auth")? {
        "" => Ok(Login {
            username: Zeroizing::new(username.as_bytes().to_vec()),
            password: Zeroizing::new(password.as_bytes().to_vec()),
        }),
        auth => decode_auth(auth),
    }
}

fn credential_of(fields: &Map<String, Value>) -> Result<Credential, EntryFault> {
    let login = login_of(fields)?;
    let text =
        |bytes: &[u8]| std::str::from_utf8(bytes).map(str::to_owned).map_err(|_| EntryFault::AuthNotText);
    let username = text(&login.username)?;
    let password = Token::new(text(&login.password)?);
    let has_token = |name| field(fields, name).is_some_and(|token| token.as_str() != Some(""));
    match (username.is_empty(), password.reveal().is_empty()) {
        (_, true) if has_token("identitytoken") || has_token("registrytoken") => {
            Err(EntryFault::IdentityTokenOnly)
        }
        (true, true) => Err(EntryFault::NoLogin),
        (true, false) => Err(EntryFault::NoUsername),
        (false, true) => Err(EntryFault::NoPassword),
        (false, false) if username.contains(':') => Err(EntryFault::UsernameColon),
        (false, false) => Ok(Credential { username, password }),
    }
}

/// Decodes the `auth` field as Go does in `config.go`: line breaks do not count, a text that ends in `=` must
/// be padded right, any other must not be padded at all, and bits behind the last byte are not looked at.
fn decode_auth(auth: &str) -> Result<Login, EntryFault> {
    let padding = match auth.trim().ends_with('=') {
        true => DecodePaddingMode::RequireCanonical,
        false => DecodePaddingMode::RequireNone,
    };
    let config =
        GeneralPurposeConfig::new().with_decode_allow_trailing_bits(true).with_decode_padding_mode(padding);
    let without_breaks: Zeroizing<Vec<u8>> =
        Zeroizing::new(auth.bytes().filter(|b| !matches!(b, b'\r' | b'\n')).collect());
    let decoded = GeneralPurpose::new(&STANDARD, config).decode(&without_breaks).map(Zeroizing::new);
    let decoded = decoded.map_err(|_| {
        let url_safe = |b: &u8| b.is_ascii_alphanumeric() || b"-_=".contains(b);
        if without_breaks.iter().all(url_safe) && without_breaks.iter().any(|b| b"-_".contains(b)) {
            EntryFault::AuthUrlSafe
        } else {
            EntryFault::AuthNotBase64
        }
    })?;
    let colon = decoded.iter().position(|b| *b == b':').ok_or(EntryFault::AuthWithoutColon)?;
    Ok(Login {
        username: Zeroizing::new(decoded[..colon].to_vec()),
        password: Zeroizing::new(decoded[colon + 1..].to_vec()),
    })
}

// === impl Format ===

impl Format {
    /// The format that a Secret type says, if it is one of docker configs.
    pub fn from_secret_type(secret_type: &str) -> Option<Format> {
        [Format::DockerConfigJson, Format::DockerCfg]
            .into_iter()
            .find(|format| format.secret_type() == secret_type)
    }

    /// The type of Secrets in this format.
    pub fn secret_type(self) -> &'static str {
        match self {
            Format::DockerConfigJson => "kubernetes.io/dockerconfigjson",
            Format::DockerCfg => "kubernetes.io/dockercfg",
        }
    }

    /// The key of a Secret's data under which the document is.
    pub fn data_key(self) -> &'static str {
        match self {
            Format::DockerConfigJson => ".dockerconfigjson",
            Format::DockerCfg => ".dockercfg",
        }
    }
}

// === words ===

impl fmt::Display for Ignored {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Ignored::Setting(name) => write!(f, "{name} is ignored: the kubelet does not use it"),
            Ignored::UnknownSettings(count) => write!(f, "{count} unknown keys beside auths are ignored"),
            Ignored::Field { registry, name } => {
                write!(
                    f,
                    "registry {}: {name} is ignored, the password is used",
                    safe_label(registry.display_name())
                )
            }
            Ignored::UnknownFields(count) => write!(f, "{count} unknown fields of entries are ignored"),
        }
    }
}

impl fmt::Display for Respelled {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let registry = safe_label(self.registry.display_name());
        let same = if self.identical { "with the same login" } else { "with different logins" };
        write!(
            f,
            "registry {registry} is spelled in {} ways {same}; {} is used",
            self.unused.len() + 1,
            self.used
        )
    }
}
