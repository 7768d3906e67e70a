//! When a token ends, by what it says itself. It is taken apart and nothing of it is kept but that number.

use base64::Engine;
use base64::alphabet::{STANDARD, URL_SAFE};
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};
use serde_json::Value;
use zeroize::Zeroizing;

use crate::token::Token;

/// The end in seconds since the epoch, of a JSON Web Token (`exp`, RFC 7519) or of a token of Amazon ECR, which is a
/// JSON document in base64 with a field `expiration`. Anything else says nothing: tokens of Google and of GitHub are
/// opaque.
pub(super) fn of(token: &Token) -> Option<i64> {
    let text = token.reveal();
    let parts: Vec<&str> = text.split('.').collect();
    let (body, field, alphabet) = match parts[..] {
        [_, claims, _] => (claims, "exp", &URL_SAFE),
        [whole] if whole.len() > 100 => (whole, "expiration", &STANDARD),
        _ => return None,
    };
    let config = GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent);
    let decoded = GeneralPurpose::new(alphabet, config).decode(body).map(Zeroizing::new).ok()?;
    let document: Value = serde_json::from_slice(&decoded).ok()?;
    let end = document.get(field)?;
    // ECR has it as a number; a string would do as well.
    end.as_i64().or_else(|| end.as_str()?.parse().ok())
}

#[cfg(test)]
mod tests {
    use base64::prelude::{BASE64_STANDARD, BASE64_URL_SAFE_NO_PAD};

    use super::*;

    #[test]
    fn a_token_tells_its_end_or_nothing() {
        let claims = BASE64_URL_SAFE_NO_PAD.encode(r#"{"exp":1700000000,"sub":"x"}"#);
        assert_eq!(of(&Token::new(format!("e30.{claims}.sig"))), Some(1_700_000_000));
        let filling = "x".repeat(100);
        let ecr =
            format!(r#"{{"payload":"{filling}","version":"2","type":"DATA_KEY","expiration":1700000001}}"#);
        assert_eq!(of(&Token::new(BASE64_STANDARD.encode(ecr))), Some(1_700_000_001));
        for opaque in ["", "hunter2", "a.b.c", "ya29.abc", "ghs_abc", &"A".repeat(200), "e30.e30.x"] {
            assert_eq!(of(&Token::new(opaque)), None, "{opaque}");
        }
    }
}
