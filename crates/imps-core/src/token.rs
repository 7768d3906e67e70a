//! The room for one secret string. A token can be moved, cloned and compared; it cannot be printed or
//! serialised.
//!
//! There is one way to the text, [`Token::reveal`], so that a search for that word finds everybody who reads
//! secrets.

use std::fmt;

use zeroize::Zeroizing;

/// A secret string, such as the password of a registry login.
///
/// The memory is wiped when the token is dropped. There is no `Display` and no serialisation, and `Debug`
/// prints a fixed text, so that no log line, event or panic message can carry the value. Equality takes the
/// time it takes: tokens are compared with each other in our own memory, never with the input of a stranger.
///
/// The buffer that [`Token::new`] is given is kept, not copied; copies made before that are the caller's to
/// wipe.
#[derive(Clone, PartialEq, Eq)]
pub struct Token(Zeroizing<String>);

impl Token {
    /// Takes the text in.
    pub fn new(text: impl Into<String>) -> Token {
        Token(Zeroizing::new(text.into()))
    }

    /// Gives the secret text. Every caller is a place where it could get out: the list of them is kept short.
    pub fn reveal(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Token(..)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_prints_as_the_same_text_whatever_it_holds() {
        for text in ["", "hunter2", "a\nb", "Token"] {
            assert_eq!(format!("{:?} {:#?}", Token::new(text), Token::new(text)), "Token(..) Token(..)");
        }
    }

    #[test]
    fn a_token_gives_back_what_it_was_given() {
        assert_eq!(Token::new("p:ä\n").reveal(), "p:ä\n");
        assert_eq!(Token::new("a"), Token::new(String::from("a")).clone());
        assert_ne!(Token::new("a"), Token::new("b"));
    }
}
