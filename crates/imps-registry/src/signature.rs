//! Signed claims (JWT with RS256, RFC 7515 and 7518), by which the holder of a private key says who it is; and what the
//! claims of others say.

use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::rsa::KeyPair;
use aws_lc_rs::signature::RSA_PKCS1_SHA256;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use imps_core::token::Token;
use rustls::pki_types::PrivateKeyDer;
use rustls::pki_types::pem::PemObject as _;
use serde::Serialize;
use serde_json::Value;
use zeroize::{Zeroize as _, Zeroizing};

/// A private RSA key. It has no `Debug`.
pub(crate) struct SigningKey(KeyPair);

#[derive(Serialize)]
struct Header<'a> {
    alg: &'static str,
    typ: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    kid: Option<&'a str>,
}

impl SigningKey {
    /// Reads a PEM of either kind: `PRIVATE KEY` (PKCS #8) and `RSA PRIVATE KEY` (PKCS #1). What is wrong with another
    /// is not told, as it would be told with parts of it.
    pub(crate) fn from_pem(pem: &str) -> Option<Self> {
        let mut der = PrivateKeyDer::from_pem_slice(pem.as_bytes()).ok()?;
        let key = match &der {
            PrivateKeyDer::Pkcs8(der) => KeyPair::from_pkcs8(der.secret_pkcs8_der()).ok(),
            PrivateKeyDer::Pkcs1(der) => KeyPair::from_der(der.secret_pkcs1_der()).ok(),
            _ => None,
        };
        der.zeroize();
        key.map(Self)
    }

    /// The claims with a signature; none when the key cannot sign.
    pub(crate) fn sign(&self, key_id: Option<&str>, claims: &Value) -> Option<Token> {
        let header = Header { alg: "RS256", typ: "JWT", kid: key_id };
        let encode = |json: Vec<u8>| URL_SAFE_NO_PAD.encode(json);
        let signed =
            format!("{}.{}", encode(serde_json::to_vec(&header).ok()?), encode(claims.to_string().into()));
        let mut signature = vec![0; self.0.public_modulus_len()];
        self.0.sign(&RSA_PKCS1_SHA256, &SystemRandom::new(), signed.as_bytes(), &mut signature).ok()?;
        Some(Token::new(format!("{signed}.{}", URL_SAFE_NO_PAD.encode(signature))))
    }
}

/// When claims of somebody else end, in seconds since the epoch. Nothing is verified: whoever sent them says so.
pub(crate) fn expiry(token: &str) -> Option<u64> {
    let claims = Zeroizing::new(URL_SAFE_NO_PAD.decode(token.split('.').nth(1)?).ok()?);
    let claims: Value = serde_json::from_slice(&claims).ok()?;
    let expiry = claims.get("exp")?;
    expiry.as_u64().or_else(|| Some(expiry.as_f64().filter(|end| *end > 0.0)? as u64))
}
