//! How an identity at Google becomes a token: a signed claim, a federated token or the metadata server's word, and
//! then, where that is asked for, the token of the service account that it takes on.

use std::time::Duration;

use http::HeaderName;
use imps_core::credential::Credential;
use imps_core::exchange::{ExchangeFault, Issued};
use imps_core::name::SecretRef;
use imps_core::source::Document;
use imps_core::token::Token;
use serde::Deserialize;
use serde_json::{Value, json};

use super::key_file::KeyFile;
use super::{ACCESS_TOKEN_USER, DATA_KEYS, Identity, Login};
use crate::Outside;
use crate::clock::{our_time, rest, timestamp};
use crate::endpoint::Endpoint;
use crate::fault::{Partner, denied, flawed};
use crate::fields::Fields;
use crate::wire::{Answer, Form, Request};

const STS: &str = "https://sts.googleapis.com/v1/token";
const IAM: &str = "https://iamcredentials.googleapis.com";
const METADATA: &str = "http://metadata.google.internal";
const METADATA_PATH: &str = "/computeMetadata/v1/instance/service-accounts/default/token";
const METADATA_FLAVOR: HeaderName = HeaderName::from_static("metadata-flavor");

/// What the token of a registry may be used for. There is no narrower one that registries are known to accept.
const SCOPE: &str = "https://www.googleapis.com/auth/cloud-platform";
/// What a token may be used for that only takes on a service account.
const SCOPE_OF_STEP: &str = "https://www.googleapis.com/auth/iam";

/// How long a signed claim counts; the most that Google accepts.
const CLAIM_SECONDS: u64 = 3600;

static TOKEN_PARTNER: Partner = Partner {
    name: "the token endpoint of Google",
    look: "look at tokenEndpoint, at token_uri in key.json, and at the network policies of imps",
    advise: |_, code| match code {
        "invalid_grant" => {
            "Google does not accept the key: it was deleted, its service account was deleted or disabled, or the clock \
             of the node is wrong; put in a key that is active"
        }
        "invalid_client" | "unauthorized_client" | "access_denied" | "disabled_client" | "deleted_client" => {
            "Google does not know the service account of key.json any more; put in the key of one that is active"
        }
        _ => "Google does not accept key.json; put in the key of a service account that is active",
    },
    passing: &[],
    by_clock: true,
};

static STS_PARTNER: Partner = Partner {
    name: "the Security Token Service of Google",
    look: "look at stsEndpoint and the network policies of imps",
    advise: |_, code| match code {
        "invalid_target" => {
            "there is no such provider, or it is disabled; look at workloadIdentityProvider, with the number and not \
             the name of the project"
        }
        "invalid_grant" | "invalid_token" => {
            "the provider does not accept the ServiceAccount's token; let its issuer be that of the cluster, its \
             allowed audiences hold audience, and its key set be up to date"
        }
        "unauthorized_client" | "access_denied" | "PERMISSION_DENIED" => {
            "the provider's attribute condition does not let the ServiceAccount in; change it, or use another \
             ServiceAccount"
        }
        _ => "the provider refuses; look at workloadIdentityProvider, audience and serviceAccountName",
    },
    passing: &[],
    by_clock: false,
};

static IAM_PARTNER: Partner = Partner {
    name: "iam.serviceAccounts.getAccessToken",
    look: "look at iamEndpoint and the network policies of imps",
    advise: |_, code| match code {
        "NOT_FOUND" | "HTTP 404" => "there is no such service account; look at impersonate",
        _ => {
            "the identity may not take on the service account that impersonate names; grant it \
             roles/iam.serviceAccountTokenCreator on that, or roles/iam.workloadIdentityUser for a ServiceAccount, and \
             enable the IAM Service Account Credentials API"
        }
    },
    passing: &[],
    by_clock: false,
};

static METADATA_PARTNER: Partner = Partner {
    name: "the metadata server of Google",
    look: "imps has an identity at Google only in its cloud and where pods may reach that server; elsewhere add \
           key.json or workloadIdentityProvider",
    advise: |_, _| {
        "the node or pod of imps has no service account at Google; give it one (workload identity), or add key.json \
         or workloadIdentityProvider"
    },
    passing: &[],
    by_clock: false,
};

/// What OAuth endpoints and the metadata server answer.
#[derive(Deserialize)]
struct OfOauth {
    access_token: String,
    expires_in: Option<Value>,
}

/// What the IAM Service Account Credentials API answers.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct OfIam {
    access_token: String,
    expire_time: Option<String>,
}

/// A token, and for how long it works.
struct Access {
    token: Token,
    lifetime: Option<Duration>,
}

/// Carries the exchange out that the Secret asks for.
pub(super) async fn exchange(
    outside: &Outside,
    at: &SecretRef,
    document: &Document,
) -> Result<Issued, ExchangeFault> {
    let login = Login::read(at, &Fields::of(document, DATA_KEYS)).map_err(flawed)?;
    let scope = if login.impersonate.is_some() { SCOPE_OF_STEP } else { SCOPE };
    let mut access = match &login.identity {
        Identity::Key { file, .. } => by_key(outside, file, login.token_endpoint.as_ref(), scope).await?,
        Identity::Federation { provider, audience, namespace, name } => {
            let subject = outside.tokens().token(namespace, name, audience).await?;
            by_federation(outside, &login, provider, &subject, scope).await?
        }
        Identity::Ambient => by_metadata(outside, &login).await?,
    };
    if let Some(email) = login.impersonate {
        access = taken_on(outside, &login, email, &access).await?;
    }
    let credential = Credential { username: ACCESS_TOKEN_USER.to_owned(), password: access.token };
    Ok(Issued { credential, lifetime: access.lifetime, session: None })
}

/// A claim signed with the key (RFC 7523).
async fn by_key(
    outside: &Outside,
    file: &KeyFile,
    endpoint: Option<&Endpoint>,
    scope: &str,
) -> Result<Access, ExchangeFault> {
    let now = our_time().as_secs();
    let claims = json!({
        "iss": file.email,
        "scope": scope,
        "aud": file.token_uri.url,
        "iat": now,
        "exp": now + CLAIM_SECONDS,
    });
    let Some(claim) = file.key.sign(file.key_id.as_deref(), &claims) else {
        return Err(denied("unusable key", "the private key in key.json cannot sign; put in another key"));
    };
    let form = Form::default()
        .with("grant_type", "urn:ietf:params:oauth:grant-type:jwt-bearer")
        .with_token("assertion", &claim);
    let url = endpoint.unwrap_or(&file.token_uri).url.clone();
    of_oauth(&outside.wire().ask(&TOKEN_PARTNER, Request::form(url, form)).await?)
}

/// The token of a ServiceAccount, exchanged (RFC 8693).
async fn by_federation(
    outside: &Outside,
    login: &Login<'_>,
    provider: &str,
    subject: &Token,
    scope: &str,
) -> Result<Access, ExchangeFault> {
    let form = Form::default()
        .with("grant_type", "urn:ietf:params:oauth:grant-type:token-exchange")
        .with("audience", provider)
        .with("scope", scope)
        .with("requested_token_type", "urn:ietf:params:oauth:token-type:access_token")
        .with_token("subject_token", subject)
        .with("subject_token_type", "urn:ietf:params:oauth:token-type:jwt");
    let url = login.sts_endpoint.as_ref().map_or_else(|| STS.to_owned(), |endpoint| endpoint.url.clone());
    of_oauth(&outside.wire().ask(&STS_PARTNER, Request::form(url, form)).await?)
}

async fn by_metadata(outside: &Outside, login: &Login<'_>) -> Result<Access, ExchangeFault> {
    let url = join(login.metadata_endpoint.as_ref(), METADATA, METADATA_PATH);
    let request = Request::get(url).with(METADATA_FLAVOR, "Google");
    of_oauth(&outside.wire().ask(&METADATA_PARTNER, request).await?)
}

/// The token of the service account that the identity takes on.
async fn taken_on(
    outside: &Outside,
    login: &Login<'_>,
    email: &str,
    access: &Access,
) -> Result<Access, ExchangeFault> {
    let path = format!("/v1/projects/-/serviceAccounts/{email}:generateAccessToken");
    let url = join(login.iam_endpoint.as_ref(), IAM, &path);
    let body = json!({"scope": [SCOPE], "lifetime": "3600s"});
    let request = Request::json(url, &body).bearer(&access.token);
    let answer = outside.wire().ask(&IAM_PARTNER, request).await?;
    let said: OfIam = answer.read()?;
    let end = said.expire_time.as_deref().and_then(timestamp);
    Ok(Access {
        token: answer.token(said.access_token)?,
        lifetime: end.and_then(|end| rest(end, answer.time())),
    })
}

fn of_oauth(answer: &Answer) -> Result<Access, ExchangeFault> {
    let said: OfOauth = answer.read()?;
    Ok(Access { token: answer.token(said.access_token)?, lifetime: seconds(said.expires_in.as_ref()) })
}

/// A time that is told in seconds, as a number or, by some, as text.
pub(crate) fn seconds(value: Option<&Value>) -> Option<Duration> {
    let value = value?;
    let seconds = value.as_u64().or_else(|| value.as_str()?.parse().ok())?;
    Some(Duration::from_secs(seconds)).filter(|seconds| !seconds.is_zero())
}

fn join(endpoint: Option<&Endpoint>, usual: &str, path: &str) -> String {
    endpoint.map_or_else(|| format!("{usual}{path}"), |endpoint| endpoint.join(path))
}
