//! How an App becomes the token of one of its installations, which may read packages and nothing else.

use http::HeaderName;
use http::header::ACCEPT;
use imps_core::credential::Credential;
use imps_core::exchange::{ExchangeFault, Issued};
use imps_core::source::Document;
use imps_core::token::Token;
use serde::Deserialize;
use serde_json::json;

use super::{DATA_KEYS, Installation, Login};
use crate::Outside;
use crate::clock::{our_time, rest, timestamp};
use crate::fault::{Partner, denied, flawed};
use crate::fields::Fields;
use crate::wire::{Answer, Request};

/// User name that goes with the token of an installation; GitHub takes any.
const USER: &str = "x-access-token";

/// A claim that seems to be from the future is refused, and clocks differ.
const CLAIM_AGE_SECONDS: u64 = 60;
/// GitHub refuses claims that end more than ten minutes from now.
const CLAIM_SECONDS: u64 = 540;

const VERSION_HEADER: HeaderName = HeaderName::from_static("x-github-api-version");

static PARTNER: Partner = Partner {
    name: "the API of GitHub",
    look: "look at apiURL (https://HOST/api/v3 for GitHub Enterprise Server) and the network policies of imps",
    advise: |status, _| match status {
        401 => {
            "GitHub does not accept the App's signature; look at appID and privateKey, which have to belong together, \
             and at apiURL"
        }
        403 => "GitHub does not let the App in; look whether its installation is suspended",
        404 => {
            "there is no such App, or it is not installed there; install it, and look at appID, installationID or \
             owner, and apiURL"
        }
        422 => {
            "the installation may not read packages; give the App the permission Packages: read-only, and accept \
             that in the installation"
        }
        _ => "GitHub refuses; look at the App and its installation",
    },
    passing: &[],
    by_clock: true,
};

/// An installation, as GitHub describes it.
#[derive(Deserialize)]
struct OfInstallation {
    id: u64,
}

/// A token, as GitHub gives it.
#[derive(Deserialize)]
struct OfToken {
    token: String,
    expires_at: Option<String>,
}

/// Carries the exchange out that the Secret asks for.
pub(super) async fn exchange(outside: &Outside, document: &Document) -> Result<Issued, ExchangeFault> {
    let login = Login::read(&Fields::of(document, DATA_KEYS)).map_err(flawed)?;
    let now = our_time().as_secs();
    let claims =
        json!({"iss": login.app, "iat": now.saturating_sub(CLAIM_AGE_SECONDS), "exp": now + CLAIM_SECONDS});
    let Some(claim) = login.key.sign(None, &claims) else {
        return Err(denied("unusable key", "the privateKey cannot sign; put in another key of the App"));
    };
    let id = match login.installation {
        Installation::Id(id) => id.to_owned(),
        Installation::Owner(owner) => installation_of(outside, &login, owner, &claim).await?.to_string(),
    };
    let url = login.api.join(&format!("/app/installations/{id}/access_tokens"));
    let answer =
        ask(outside, Request::json(url, &json!({"permissions": {"packages": "read"}})), &claim).await?;
    let said: OfToken = answer.read()?;
    let end = said.expires_at.as_deref().and_then(timestamp);
    let credential = Credential { username: USER.to_owned(), password: answer.token(said.token)? };
    Ok(Issued { credential, lifetime: end.and_then(|end| rest(end, answer.time())), session: None })
}

/// The installation for an organization, or else for a user.
async fn installation_of(
    outside: &Outside,
    login: &Login<'_>,
    owner: &str,
    claim: &Token,
) -> Result<u64, ExchangeFault> {
    let of = |kind: &str| Request::get(login.api.join(&format!("/{kind}/{owner}/installation")));
    let mut answer = ask(outside, of("orgs"), claim).await?;
    if answer.status() == 404 {
        answer = ask(outside, of("users"), claim).await?;
    }
    Ok(answer.read::<OfInstallation>()?.id)
}

async fn ask(outside: &Outside, request: Request, claim: &Token) -> Result<Answer, ExchangeFault> {
    let request =
        request.with(ACCEPT, "application/vnd.github+json").with(VERSION_HEADER, "2022-11-28").bearer(claim);
    outside.wire().ask(&PARTNER, request).await
}
