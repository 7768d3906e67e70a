//! The room for a login: the pair of user name and password that every registry credential ends in.
//!
//! The kubelet hands nothing but these two to the container runtime
//! (`kubernetes/kubernetes:pkg/credentialprovider/config.go`), so nothing else is kept.

use std::fmt;

use crate::token::Token;

/// A user name and its password.
///
/// The user name is treated as sensitive too (access key ids and the names of robots are such): `Debug`
/// prints a fixed text. A user name that is to survive a docker config must not be empty and must not hold a
/// colon, because the text of the `auth` field is split at the first one; [`crate::dockerconfig::parse`]
/// never makes another.
#[derive(Clone, PartialEq, Eq)]
pub struct Credential {
    /// The user name, as the registry expects it.
    pub username: String,
    /// The password or access token.
    pub password: Token,
}

impl fmt::Debug for Credential {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Credential(..)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_credential_prints_neither_the_user_nor_the_password() {
        let credential = Credential { username: "robot".into(), password: Token::new("hunter2") };
        assert_eq!(format!("{credential:?} {credential:#?}"), "Credential(..) Credential(..)");
    }
}
