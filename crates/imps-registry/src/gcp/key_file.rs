//! The key of a Google service account, as its JSON file has it.

use imps_core::exchange::Flaw;
use serde::Deserialize;
use zeroize::Zeroizing;

use crate::endpoint::Endpoint;
use crate::signature::SigningKey;

/// Where keys are shown to unless they say otherwise.
const TOKEN_URI: &str = "https://oauth2.googleapis.com/token";

/// See the module. It has no `Debug`, as it holds a secret.
pub(super) struct KeyFile {
    /// Who it is.
    pub(super) email: String,
    /// By what it proves that.
    pub(super) key: SigningKey,
    /// Which of the account's keys it is.
    pub(super) key_id: Option<String>,
    /// Whom it is shown to.
    pub(super) token_uri: Endpoint,
}

/// As written.
#[derive(Deserialize)]
struct Written {
    r#type: Option<String>,
    client_email: Option<String>,
    private_key: Option<String>,
    private_key_id: Option<String>,
    token_uri: Option<String>,
}

impl KeyFile {
    /// Reads the value of this key of `data`.
    pub(super) fn read(at: &'static str, text: &str) -> Result<Self, Flaw> {
        let flaw = |problem| Err(Flaw { key: at, problem });
        // The parser's error would quote what it could not read.
        let Ok(written) = serde_json::from_str::<Written>(text) else {
            return flaw(
                "is no key file; put in the JSON that Google gave for the service account, as it is",
            );
        };
        let private_key = Zeroizing::new(written.private_key.unwrap_or_default());
        if written.r#type.as_deref() != Some("service_account") {
            return flaw("is no key of a service account; its \"type\" has to be \"service_account\"");
        }
        let Some(email) = written.client_email.filter(|email| email.contains('@')) else {
            return flaw("has no \"client_email\"; put in the whole file");
        };
        let Some(key) = SigningKey::from_pem(&private_key) else {
            return flaw(
                "has no \"private_key\" that can be used; put in the whole file, with its line breaks as \\n",
            );
        };
        let Ok(token_uri) = Endpoint::read(at, written.token_uri.as_deref().unwrap_or(TOKEN_URI)) else {
            return flaw(
                "has a \"token_uri\" that is no encrypted address; put in the file as Google gave it",
            );
        };
        Ok(Self { email, key, key_id: written.private_key_id, token_uri })
    }
}
