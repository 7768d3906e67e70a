//! An exchange: an identity is given for a registry token that expires. What is asked for, what is answered, and how it
//! can fail. When to ask again is decided in [`crate::refresh`]; the dialogues are those of `imps-registry`.

use std::fmt;
use std::time::Duration;

use sha2::{Digest, Sha256};

use crate::credential::Credential;
use crate::reason::Reason;
use crate::registry::RegistryKey;

/// Which exchange: sources with equal keys are served by one token.
///
/// It is the SHA-256 of all that decides what the token may do: the provider, the region and endpoints, the identity
/// with its secret, and the roles that it takes on. Somebody who knows another's access key id but not the secret
/// has another key, and so never gets at the other's token. The key lives in memory only and is never shown.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct ExchangeKey([u8; 32]);

impl ExchangeKey {
    /// The key of these parts in this order.
    pub fn of<'a>(parts: impl IntoIterator<Item = &'a [u8]>) -> Self {
        let mut hash = Sha256::new();
        for part in parts {
            // The length in front keeps ("ab","c") and ("a","bc") apart.
            hash.update((part.len() as u64).to_be_bytes());
            hash.update(part);
        }
        Self(hash.finalize().into())
    }
}

impl fmt::Debug for ExchangeKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ExchangeKey(..)")
    }
}

/// What a source Secret asks for, as its provider reads it. It holds no secret.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Order {
    /// The provider's name, for logs and metrics: `ecr`.
    pub provider: &'static str,
    /// Which exchange.
    pub key: ExchangeKey,
    /// The registries that this source wants the token for; never empty.
    pub registries: Vec<RegistryKey>,
    /// Exchanges of one lane share a rate limit, as their endpoint does: `ecr/eu-west-1`.
    pub lane: String,
    /// Whose identity is used when the Secret brings none.
    pub keyless: Option<Keyless>,
}

/// An identity that does not stand in the source Secret.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Keyless {
    /// That of imps itself, as its surroundings give it.
    Ambient,
    /// That of this ServiceAccount, in the namespace of the source Secret.
    ServiceAccount(String),
}

/// Which identities beside those in source Secrets may be used. The default is none: whoever may write a source Secret
/// would borrow them.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct KeylessAllowed {
    /// [`Keyless::Ambient`].
    pub ambient: bool,
    /// [`Keyless::ServiceAccount`].
    pub service_accounts: bool,
}

impl KeylessAllowed {
    /// Whether an order may be carried out.
    pub fn covers(self, keyless: Option<&Keyless>) -> bool {
        match keyless {
            None => true,
            Some(Keyless::Ambient) => self.ambient,
            Some(Keyless::ServiceAccount(_)) => self.service_accounts,
        }
    }
}

/// What is wrong with a source Secret that a provider has to read. It quotes no value.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Flaw {
    /// The key of `data`.
    pub key: &'static str,
    /// What is wrong with it and what to do: `is missing; …`.
    pub problem: &'static str,
}

impl fmt::Display for Flaw {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "the key {:?} {}", self.key, self.problem)
    }
}

/// A token as it was issued.
#[derive(Clone, Debug)]
pub struct Issued {
    /// The login that it makes.
    pub credential: Credential,
    /// For how long it works from now on, by the clock of the server that issued it; none when the answer has no
    /// usable expiry.
    pub lifetime: Option<Duration>,
    /// For how long the session that fetched it goes on, when it is a temporary one. Whether a token outlives it is not
    /// documented (kubernetes/kubernetes#69141 has a report that it may not), so the token is renewed in time for both.
    pub session: Option<Duration>,
}

/// How an exchange failed. It holds only words that are safe to show.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ExchangeFault {
    /// The kind of failure.
    pub class: ExchangeFaultClass,
    /// The machine-readable code of the API, or `HTTP 502`, or `no answer`; never its free text.
    pub code: String,
    /// One sentence for the person on call: what happened and what to do.
    pub advice: String,
    /// When the server wants to be asked again at the earliest.
    pub retry_after: Option<Duration>,
}

/// Kinds of failure of an exchange.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum ExchangeFaultClass {
    /// The identity or its rights are not accepted: somebody has to change something.
    Denied,
    /// Too many requests.
    Throttled,
    /// No answer in time, no connection, or an error of the server's own.
    Unreachable,
    /// The answer is not what the API promises.
    Nonsense,
}

impl ExchangeFaultClass {
    /// The word for a metric's label.
    pub fn as_str(self) -> &'static str {
        match self {
            ExchangeFaultClass::Denied => "denied",
            ExchangeFaultClass::Throttled => "throttled",
            ExchangeFaultClass::Unreachable => "unreachable",
            ExchangeFaultClass::Nonsense => "nonsense",
        }
    }

    /// The reason to report for a source that met it.
    pub fn reason(self) -> Reason {
        match self {
            ExchangeFaultClass::Denied => Reason::ExchangeDenied,
            ExchangeFaultClass::Throttled => Reason::ExchangeThrottled,
            ExchangeFaultClass::Unreachable => Reason::ExchangeUnreachable,
            ExchangeFaultClass::Nonsense => Reason::ExchangeNonsense,
        }
    }
}

impl fmt::Display for ExchangeFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.code, self.advice)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_of_a_key_do_not_run_together() {
        let key = |parts: &[&str]| ExchangeKey::of(parts.iter().map(|part| part.as_bytes()));
        assert_ne!(key(&["ab", "c"]), key(&["a", "bc"]));
        assert_ne!(key(&["ab"]), key(&["ab", ""]));
        assert_eq!(key(&["ab", "c"]), key(&["ab", "c"]));
    }

    #[test]
    fn nothing_but_the_keys_in_the_secret_is_used_unless_it_is_allowed() {
        let tenant = Keyless::ServiceAccount("puller".into());
        let nothing = KeylessAllowed::default();
        assert!(nothing.covers(None));
        assert!(!nothing.covers(Some(&Keyless::Ambient)) && !nothing.covers(Some(&tenant)));
        let tenants = KeylessAllowed { service_accounts: true, ..nothing };
        assert!(tenants.covers(Some(&tenant)) && !tenants.covers(Some(&Keyless::Ambient)));
    }
}
