//! Packages of GitHub (ghcr.io, and the registries of GitHub Enterprise) by way of a GitHub App.

mod dialogue;

use imps_core::exchange::{ExchangeFault, ExchangeKey, Flaw, Issued, Order};
use imps_core::name::SecretRef;
use imps_core::registry::RegistryKey;
use imps_core::source::{Document, Offer};

use crate::endpoint::Endpoint;
use crate::fields::{Fields, LIST_MAX, key};
use crate::signature::SigningKey;
use crate::{BoxFuture, DataKey, Outside, Provider, secret_type};

const NAME: &str = "github-app";

const APP_ID: &str = "appID";
const INSTALLATION_ID: &str = "installationID";
const OWNER: &str = "owner";
const PRIVATE_KEY: &str = "privateKey";
const API_URL: &str = "apiURL";
const HOSTS: &str = "hosts";

const DATA_KEYS: &[DataKey] = &[
    key(APP_ID, true, "ID or client ID of the App"),
    key(PRIVATE_KEY, true, "private key of the App, the PEM file"),
    key(INSTALLATION_ID, false, "ID of the installation that the token is for"),
    key(OWNER, false, "organization or user that the App is installed for, instead of installationID"),
    key(API_URL, false, "address of the API; https://api.github.com unless given"),
    key(HOSTS, false, "registries that the token is for; ghcr.io unless given, required beside apiURL"),
];

/// Where github.com has its API, and the registry that it gives tokens for.
const API: &str = "https://api.github.com";
const API_HOST: &str = "api.github.com";
const REGISTRY: &str = "ghcr.io";

/// See the module.
pub(crate) struct GithubApp;

impl Provider for GithubApp {
    fn name(&self) -> &'static str {
        NAME
    }

    fn secret_types(&self) -> &'static [&'static str] {
        &[secret_type::GITHUB_APP]
    }

    fn data_keys(&self) -> &'static [DataKey] {
        DATA_KEYS
    }

    fn read(&self, _: &SecretRef, document: &Document) -> Option<Result<Offer, Flaw>> {
        let ours = document.secret_type == secret_type::GITHUB_APP;
        ours.then(|| order(document).map(Offer::Exchange))
    }

    fn exchange<'a>(
        &'a self,
        outside: &'a Outside,
        _: &'a SecretRef,
        document: &'a Document,
    ) -> BoxFuture<'a, Result<Issued, ExchangeFault>> {
        Box::pin(dialogue::exchange(outside, document))
    }
}

fn order(document: &Document) -> Result<Order, Flaw> {
    let fields = Fields::of(document, DATA_KEYS);
    let login = Login::read(&fields)?;
    Ok(Order {
        provider: NAME,
        key: login.key(),
        registries: registries(&login, &fields)?,
        lane: format!("{NAME}/{}", login.api.authority),
        keyless: None,
    })
}

fn registries(login: &Login<'_>, fields: &Fields<'_>) -> Result<Vec<RegistryKey>, Flaw> {
    let elsewhere = login.api.host() != API_HOST;
    let registries = fields.registries(HOSTS, |registry| {
        let ours = elsewhere || registry.host() == REGISTRY && registry.port().is_none();
        (!ours).then_some(
            "names a host that tokens of github.com are not for, whose registry is ghcr.io; give apiURL for another \
             GitHub",
        )
    })?;
    if registries.is_empty() && elsewhere {
        let problem =
            "is missing beside apiURL; name the registry of that GitHub, like containers.github.example.com";
        return Err(Flaw { key: HOSTS, problem });
    }
    if registries.is_empty() {
        return Ok(vec![RegistryKey::parse(REGISTRY).expect("it is a registry")]);
    }
    Ok(registries)
}

/// Where the App is installed.
enum Installation<'a> {
    Id(&'a str),
    Owner(&'a str),
}

/// What a Secret says about an exchange. It has no `Debug`, as it holds a secret.
struct Login<'a> {
    app: &'a str,
    installation: Installation<'a>,
    pem: &'a str,
    key: SigningKey,
    api: Endpoint,
}

impl<'a> Login<'a> {
    fn read(fields: &Fields<'a>) -> Result<Self, Flaw> {
        let flaw = |key, problem| Err(Flaw { key, problem });
        let problem = "is neither the ID nor the client ID of an App";
        let Some(app) = fields.plain_word(APP_ID, 64, b"._-", problem)? else {
            return flaw(APP_ID, "is missing; give the ID or client ID of the App");
        };
        let id = fields.word(INSTALLATION_ID, 20)?;
        if id.is_some_and(|id| !id.bytes().all(|b| b.is_ascii_digit())) {
            return flaw(INSTALLATION_ID, "is no ID of an installation; those have digits only");
        }
        let owner = fields.plain_word(
            OWNER,
            64,
            b"_-",
            "is no name of an organization or user; give the name alone",
        )?;
        let installation = match (id, owner) {
            (Some(_), Some(_)) => return flaw(OWNER, "stands beside installationID; remove one of the two"),
            (None, None) => {
                return flaw(OWNER, "is missing; say whose packages are pulled, or give installationID");
            }
            (Some(id), None) => Installation::Id(id),
            (None, Some(owner)) => Installation::Owner(owner),
        };
        let Some(pem) = fields.trimmed(PRIVATE_KEY, LIST_MAX)? else {
            return flaw(PRIVATE_KEY, "is missing; put in the PEM file that GitHub gave for the App");
        };
        let Some(key) = SigningKey::from_pem(pem) else {
            return flaw(
                PRIVATE_KEY,
                "is no private RSA key in PEM; put in the file that GitHub gave, as it is",
            );
        };
        let api = match fields.endpoint(API_URL)? {
            Some(api) => api,
            None => Endpoint::read(API_URL, API)?,
        };
        Ok(Self { app, installation, pem, key, api })
    }

    /// All that decides what the token may do. Hosts are not part of it, as one token serves all.
    fn key(&self) -> ExchangeKey {
        let (kind, whose) = match self.installation {
            Installation::Id(id) => ("installation", id),
            Installation::Owner(owner) => ("owner", owner),
        };
        let parts = [NAME, &self.api.url, self.app, kind, whose, self.pem];
        ExchangeKey::of(parts.into_iter().map(str::as_bytes))
    }
}
