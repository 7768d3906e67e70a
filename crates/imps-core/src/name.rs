//! Names of Kubernetes objects as types, so that a Secret's name can never stand where a namespace's belongs.
//!
//! A name here has been accepted by the API server or checked by [`is_dns_subdomain`]; cloning one is cheap.

use std::borrow::Borrow;
use std::fmt;
use std::sync::Arc;

macro_rules! name {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, PartialEq, Eq, PartialOrd, Ord)]
        pub struct $name(Arc<str>);

        impl $name {
            /// Takes the text as it is; whoever reads user input checks it first.
            pub fn new(text: impl AsRef<str>) -> Self {
                Self(Arc::from(text.as_ref()))
            }

            /// The name as text.
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.pad(&self.0)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Debug::fmt(&self.0, f)
            }
        }

        impl Default for $name {
            /// The empty name, of no object.
            fn default() -> Self {
                Self::new("")
            }
        }

        impl From<&str> for $name {
            fn from(text: &str) -> Self {
                Self::new(text)
            }
        }

        impl From<String> for $name {
            fn from(text: String) -> Self {
                Self::new(text)
            }
        }

        impl Borrow<str> for $name {
            fn borrow(&self) -> &str {
                &self.0
            }
        }
    };
}

name! {
    /// Name of a namespace.
    NamespaceName
}
name! {
    /// Name of a Secret inside its namespace.
    SecretName
}
name! {
    /// Name of an `ImagePullSecret`, which is cluster-scoped.
    GrantName
}
name! {
    /// Name of a ServiceAccount inside its namespace.
    AccountName
}
name! {
    /// `metadata.uid` of an object: the same name with another UID is another object.
    Uid
}

/// A Secret somewhere in the cluster, written `namespace/name`.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct SecretRef {
    /// The namespace it lives in.
    pub namespace: NamespaceName,
    /// Its name there.
    pub name: SecretName,
}

impl SecretRef {
    /// `SecretRef::new("registry-access", "dockerhub")`.
    pub fn new(namespace: impl Into<NamespaceName>, name: impl Into<SecretName>) -> Self {
        Self { namespace: namespace.into(), name: name.into() }
    }
}

/// A ServiceAccount somewhere in the cluster, written `namespace/name`.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct AccountRef {
    /// The namespace it lives in.
    pub namespace: NamespaceName,
    /// Its name there.
    pub name: AccountName,
}

impl fmt::Display for AccountRef {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.namespace, self.name)
    }
}

impl fmt::Display for SecretRef {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.namespace, self.name)
    }
}

/// Whether the API server would take `text` as the name of a Secret (RFC 1123 subdomain, at most 253
/// characters; kubernetes/apimachinery:pkg/util/validation/validation.go `IsDNS1123Subdomain`).
pub fn is_dns_subdomain(text: &str) -> bool {
    text.len() <= 253 && text.split('.').all(is_dns_label_unbounded)
}

/// Whether the API server would take `text` as the name of a namespace (RFC 1123 label, at most 63 characters).
pub fn is_dns_label(text: &str) -> bool {
    text.len() <= 63 && is_dns_label_unbounded(text)
}

fn is_dns_label_unbounded(text: &str) -> bool {
    let edge = |b: &u8| b.is_ascii_lowercase() || b.is_ascii_digit();
    let bytes = text.as_bytes();
    matches!((bytes.first(), bytes.last()), (Some(first), Some(last)) if edge(first) && edge(last))
        && bytes.iter().all(|b| edge(b) || *b == b'-')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_accepted_as_the_api_server_accepts_them() {
        for good in ["a", "pull", "my-secret.v2", "0", &"a".repeat(253)] {
            assert!(is_dns_subdomain(good), "{good}");
        }
        for bad in ["", "-a", "a-", "A", "a_b", "a..b", ".a", "a.", "a/b", "ü", &"a".repeat(254)] {
            assert!(!is_dns_subdomain(bad), "{bad}");
        }
        assert!(is_dns_label(&"a".repeat(63)) && !is_dns_label(&"a".repeat(64)) && !is_dns_label("a.b"));
    }
}
