//! The values of a source Secret. They are checked where they are read, so that nothing else has to doubt them;
//! complaints name the key and the remedy, and quote nothing.

use imps_core::credential::Credential;
use imps_core::exchange::Flaw;
use imps_core::name::is_dns_subdomain;
use imps_core::registry::RegistryKey;
use imps_core::source::Document;
use imps_core::token::Token;

use crate::DataKey;
use crate::endpoint::Endpoint;

/// Name of a login's user.
pub(crate) const USERNAME: &str = "username";
/// What goes with it.
pub(crate) const PASSWORD: &str = "password";
/// A ServiceAccount beside the Secret.
pub(crate) const SERVICE_ACCOUNT_NAME: &str = "serviceAccountName";

/// Bytes of a value that lists things, and of one that is a file.
pub(crate) const LIST_MAX: usize = 16 * 1024;
/// Bytes of a password; some are tokens of several KiB.
const PASSWORD_MAX: usize = 64 * 1024;
/// More do not fit into a Secret when each takes a token of several KiB.
const REGISTRIES_MAX: usize = 200;

const TOO_LONG: &str = "is longer than such a value can be";

/// One row of a table of keys.
pub(crate) const fn key(name: &'static str, required: bool, meaning: &'static str) -> DataKey {
    DataKey { name, required, meaning }
}

/// See the module.
pub(crate) struct Fields<'a> {
    document: &'a Document,
    known: &'static [DataKey],
}

impl<'a> Fields<'a> {
    /// Those of this one, of which these keys are documented.
    pub(crate) fn of(document: &'a Document, known: &'static [DataKey]) -> Self {
        Self { document, known }
    }

    /// Whether the key is there at all, empty or not.
    pub(crate) fn has(&self, key: &str) -> bool {
        self.document.data.contains_key(key)
    }

    fn bytes(&self, key: &'static str, max: usize) -> Result<Option<&'a [u8]>, Flaw> {
        debug_assert!(self.known.iter().any(|known| known.name == key), "{key} is not documented");
        let Some(bytes) = self.document.data.get(key) else { return Ok(None) };
        // So much white space around it is forgiven.
        if bytes.len() > max + 64 {
            return Err(Flaw { key, problem: TOO_LONG });
        }
        Ok(Some(bytes))
    }

    /// The value without the white space around it. Nothing but white space is as good as no key, which templates
    /// leave behind.
    pub(crate) fn trimmed(&self, key: &'static str, max: usize) -> Result<Option<&'a str>, Flaw> {
        let Some(bytes) = self.bytes(key, max)? else { return Ok(None) };
        let plain = |byte: &u8| byte.is_ascii_graphic() || byte.is_ascii_whitespace();
        match str::from_utf8(bytes) {
            Ok(text) if bytes.iter().all(plain) => {
                Ok(Some(text.trim_ascii()).filter(|text| !text.is_empty()))
            }
            _ => Err(Flaw {
                key,
                problem: "holds characters that such a value cannot have; look for a second base64 or a file format",
            }),
        }
    }

    /// A value that is one word.
    pub(crate) fn word(&self, key: &'static str, max: usize) -> Result<Option<&'a str>, Flaw> {
        match self.trimmed(key, max)? {
            Some(text) if text.len() > max => Err(Flaw { key, problem: TOO_LONG }),
            Some(text) if text.contains(|c: char| c.is_ascii_whitespace()) => {
                Err(Flaw { key, problem: "has white space inside; give one value" })
            }
            word => Ok(word),
        }
    }

    /// A word of letters, digits and these characters, or a complaint of what it is instead.
    pub(crate) fn plain_word(
        &self,
        key: &'static str,
        max: usize,
        besides: &[u8],
        problem: &'static str,
    ) -> Result<Option<&'a str>, Flaw> {
        let plain = |byte: u8| byte.is_ascii_alphanumeric() || besides.contains(&byte);
        match self.word(key, max)? {
            Some(word) if !word.bytes().all(plain) => Err(Flaw { key, problem }),
            word => Ok(word),
        }
    }

    /// A value that lists words, separated by commas and white space.
    pub(crate) fn list(&self, key: &'static str) -> Result<Vec<&'a str>, Flaw> {
        let text = self.trimmed(key, LIST_MAX)?.unwrap_or_default();
        let separator = |c: char| c == ',' || c.is_ascii_whitespace();
        Ok(text.split(separator).filter(|word| !word.is_empty()).collect())
    }

    /// `true` or `false`, the latter when it is not there.
    #[cfg(feature = "aws")]
    pub(crate) fn switch(&self, key: &'static str) -> Result<bool, Flaw> {
        match self.word(key, 8)? {
            None => Ok(false),
            Some(word) if word.eq_ignore_ascii_case("false") => Ok(false),
            Some(word) if word.eq_ignore_ascii_case("true") => Ok(true),
            Some(_) => Err(Flaw { key, problem: "is neither \"true\" nor \"false\"" }),
        }
    }

    /// An address.
    pub(crate) fn endpoint(&self, key: &'static str) -> Result<Option<Endpoint>, Flaw> {
        self.word(key, 512)?.map(|text| Endpoint::read(key, text)).transpose()
    }

    /// A ServiceAccount's name.
    pub(crate) fn service_account(&self) -> Result<Option<&'a str>, Flaw> {
        match self.word(SERVICE_ACCOUNT_NAME, 253)? {
            Some(name) if !is_dns_subdomain(name) => {
                Err(Flaw { key: SERVICE_ACCOUNT_NAME, problem: "is no name of a ServiceAccount" })
            }
            name => Ok(name),
        }
    }

    /// Registries that a login or token is given to, each once. Only what is named gets it: no wildcards.
    pub(crate) fn registries(
        &self,
        key: &'static str,
        complaint: impl Fn(&RegistryKey) -> Option<&'static str>,
    ) -> Result<Vec<RegistryKey>, Flaw> {
        let flaw = |problem| Err(Flaw { key, problem });
        let mut registries = Vec::new();
        for word in self.list(key)? {
            if word.contains('*') {
                return flaw("has a wildcard, which would match registries that nobody named; name each");
            }
            let Some(registry) =
                RegistryKey::parse(word).ok().filter(|_| !word.contains(['@', '?', '#', '%', '\\']))
            else {
                return flaw("lists something that is no registry; write HOST, HOST:PORT or HOST/PATH");
            };
            if let Some(problem) = complaint(&registry) {
                return flaw(problem);
            }
            if !registries.contains(&registry) {
                registries.push(registry);
            }
        }
        if registries.len() > REGISTRIES_MAX {
            return flaw("lists more registries than a Secret has room for; split it into several");
        }
        Ok(registries)
    }

    /// The login that stands in the Secret.
    pub(crate) fn credential(&self) -> Result<Credential, Flaw> {
        let flaw = |key, problem| Err(Flaw { key, problem });
        let text = |key| match self.bytes(key, PASSWORD_MAX)?.map(str::from_utf8) {
            None => Ok(""),
            // Files end with a line break, and no login does.
            Some(Ok(text)) => Ok(text.trim_end_matches(['\r', '\n'])),
            Some(Err(_)) => {
                Err(Flaw { key, problem: "is no text; look for a second base64 or a file format" })
            }
        };
        let (username, password) = (text(USERNAME)?.trim(), text(PASSWORD)?);
        for (key, value) in [(USERNAME, username), (PASSWORD, password)] {
            if value.is_empty() {
                return flaw(key, "is missing or empty; add it");
            }
            if value.contains(char::is_control) {
                return flaw(key, "has a line break or another control character inside; remove it");
            }
        }
        if username.contains(':') {
            return flaw(USERNAME, "has a colon in it, which ends a user name; give the name alone");
        }
        Ok(Credential { username: username.to_owned(), password: Token::new(password) })
    }
}
