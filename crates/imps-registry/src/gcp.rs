//! Artifact Registry and Container Registry of Google. A token serves every registry that the identity may read.

mod dialogue;
mod key_file;

use imps_core::credential::Credential;
use imps_core::exchange::{ExchangeFault, ExchangeKey, Flaw, Issued, Keyless, Order};
use imps_core::keyring::Keyring;
use imps_core::name::SecretRef;
use imps_core::registry::RegistryKey;
use imps_core::source::{Document, Offer};
use imps_core::token::Token;

use crate::endpoint::Endpoint;
use crate::fields::{Fields, LIST_MAX, SERVICE_ACCOUNT_NAME, key};
use crate::{BoxFuture, DataKey, Outside, Provider, secret_type};
use key_file::KeyFile;

const NAME: &str = "gcp";

const HOSTS: &str = "hosts";
const KEY_JSON: &str = "key.json";
const LOGIN: &str = "login";
const WORKLOAD_IDENTITY_PROVIDER: &str = "workloadIdentityProvider";
const AUDIENCE: &str = "audience";
const IMPERSONATE: &str = "impersonate";
const TOKEN_ENDPOINT: &str = "tokenEndpoint";
const STS_ENDPOINT: &str = "stsEndpoint";
const IAM_ENDPOINT: &str = "iamEndpoint";
const METADATA_ENDPOINT: &str = "metadataEndpoint";

const DATA_KEYS: &[DataKey] = &[
    key(
        HOSTS,
        true,
        "hosts of registries, separated by commas: LOCATION-docker.pkg.dev, gcr.io and the like",
    ),
    key(KEY_JSON, false, "key of a Google service account, the JSON file"),
    key(
        LOGIN,
        false,
        "\"json-key\" uses that key itself as password; \"access-token\", which is the default, does not",
    ),
    key(
        WORKLOAD_IDENTITY_PROVIDER,
        false,
        "provider of a workload identity pool, //iam.googleapis.com/projects/…",
    ),
    key(SERVICE_ACCOUNT_NAME, false, "ServiceAccount beside the Secret whose token that provider accepts"),
    key(AUDIENCE, false, "audience of that token; the provider unless given"),
    key(IMPERSONATE, false, "email of a Google service account that the identity takes on"),
    key(TOKEN_ENDPOINT, false, "address that key.json is shown to, instead of the one in it"),
    key(STS_ENDPOINT, false, "address of the Security Token Service API"),
    key(IAM_ENDPOINT, false, "address of the IAM Service Account Credentials API"),
    key(METADATA_ENDPOINT, false, "address of the metadata server"),
];

/// User name that goes with an access token.
const ACCESS_TOKEN_USER: &str = "oauth2accesstoken";
/// User name that goes with a whole key.
const JSON_KEY_USER: &str = "_json_key";

/// See the module.
pub(crate) struct Gcp;

impl Provider for Gcp {
    fn name(&self) -> &'static str {
        NAME
    }

    fn secret_types(&self) -> &'static [&'static str] {
        &[secret_type::GCP]
    }

    fn data_keys(&self) -> &'static [DataKey] {
        DATA_KEYS
    }

    fn read(&self, at: &SecretRef, document: &Document) -> Option<Result<Offer, Flaw>> {
        let ours = document.secret_type == secret_type::GCP;
        ours.then(|| offer(at, document))
    }

    fn exchange<'a>(
        &'a self,
        outside: &'a Outside,
        at: &'a SecretRef,
        document: &'a Document,
    ) -> BoxFuture<'a, Result<Issued, ExchangeFault>> {
        Box::pin(dialogue::exchange(outside, at, document))
    }
}

fn offer(at: &SecretRef, document: &Document) -> Result<Offer, Flaw> {
    let fields = Fields::of(document, DATA_KEYS);
    let registries = fields.registries(HOSTS, |registry| {
        (!is_google(registry)).then_some(
            "names a host that is none of Google's registries; a token for it would be sent to a stranger",
        )
    })?;
    if registries.is_empty() {
        let problem = "is missing; name the hosts that the token is for, like europe-docker.pkg.dev";
        return Err(Flaw { key: HOSTS, problem });
    }
    if let Some(password) = whole_key(&fields)? {
        let credential = Credential { username: JSON_KEY_USER.to_owned(), password };
        let entries = registries.into_iter().map(|registry| (registry, credential.clone()));
        return Ok(Offer::Login(entries.collect::<Keyring>()));
    }
    let login = Login::read(at, &fields)?;
    Ok(Offer::Exchange(Order {
        provider: NAME,
        key: login.key(),
        registries,
        lane: login.lane(),
        keyless: login.keyless(),
    }))
}

/// Whether only Google answers there.
fn is_google(registry: &RegistryKey) -> bool {
    let host = registry.host();
    let location = host.strip_suffix("-docker.pkg.dev");
    registry.port().is_none()
        && (host == "gcr.io"
            || host.ends_with(".gcr.io")
            || host == "docker.s3nsregistry.fr"
            || location.is_some_and(|location| !location.is_empty() && !location.contains('.')))
}

/// The key as a password, when the Secret wants that.
fn whole_key(fields: &Fields<'_>) -> Result<Option<Token>, Flaw> {
    let flaw = |key, problem| Err(Flaw { key, problem });
    match fields.word(LOGIN, 32)? {
        None | Some("access-token") => return Ok(None),
        Some("json-key") => {}
        Some(_) => return flaw(LOGIN, "is neither \"access-token\" nor \"json-key\""),
    }
    for key in DATA_KEYS.iter().map(|key| key.name).filter(|key| ![HOSTS, KEY_JSON, LOGIN].contains(key)) {
        if fields.trimmed(key, LIST_MAX)?.is_some() {
            return flaw(
                key,
                "does not go with login \"json-key\", which asks nobody; remove one of the two",
            );
        }
    }
    let Some(text) = fields.trimmed(KEY_JSON, LIST_MAX)? else {
        return flaw(KEY_JSON, "is missing beside login \"json-key\"; add it");
    };
    KeyFile::read(KEY_JSON, text)?;
    Ok(Some(Token::new(text)))
}

/// Who asks.
enum Identity<'a> {
    /// The service account whose key is in the Secret.
    Key { text: &'a str, file: Box<KeyFile> },
    /// A ServiceAccount in the Secret's namespace, by way of a workload identity pool.
    Federation { provider: &'a str, audience: &'a str, namespace: &'a str, name: &'a str },
    /// Whatever the metadata server says imps is.
    Ambient,
}

/// What a Secret says about an exchange. It has no `Debug`, as it holds secrets.
struct Login<'a> {
    identity: Identity<'a>,
    impersonate: Option<&'a str>,
    token_endpoint: Option<Endpoint>,
    sts_endpoint: Option<Endpoint>,
    iam_endpoint: Option<Endpoint>,
    metadata_endpoint: Option<Endpoint>,
}

impl<'a> Login<'a> {
    fn read(at: &'a SecretRef, fields: &Fields<'a>) -> Result<Self, Flaw> {
        let login = Self {
            identity: identity(at, fields)?,
            impersonate: impersonated(fields)?,
            token_endpoint: fields.endpoint(TOKEN_ENDPOINT)?,
            sts_endpoint: fields.endpoint(STS_ENDPOINT)?,
            iam_endpoint: fields.endpoint(IAM_ENDPOINT)?,
            metadata_endpoint: fields.endpoint(METADATA_ENDPOINT)?,
        };
        login.check_endpoints()?;
        Ok(login)
    }

    fn check_endpoints(&self) -> Result<(), Flaw> {
        let (key, federation, ambient) = match self.identity {
            Identity::Key { .. } => (true, false, false),
            Identity::Federation { .. } => (false, true, false),
            Identity::Ambient => (false, false, true),
        };
        for (name, endpoint, used) in [
            (TOKEN_ENDPOINT, &self.token_endpoint, key),
            (STS_ENDPOINT, &self.sts_endpoint, federation),
            (IAM_ENDPOINT, &self.iam_endpoint, self.impersonate.is_some()),
            (METADATA_ENDPOINT, &self.metadata_endpoint, ambient),
        ] {
            if endpoint.is_some() && !used {
                return Err(Flaw {
                    key: name,
                    problem: "is not asked by an identity of this kind; remove it",
                });
            }
        }
        if key {
            return Ok(());
        }
        let problem = "is no address of that API; an identity that does not stand in the Secret is shown to Google \
                       alone: remove it, or give a key.json";
        let services =
            [(STS_ENDPOINT, &self.sts_endpoint, "sts"), (IAM_ENDPOINT, &self.iam_endpoint, "iamcredentials")];
        for (name, endpoint, service) in services {
            if endpoint.as_ref().is_some_and(|endpoint| !is_googles(endpoint, service)) {
                return Err(Flaw { key: name, problem });
            }
        }
        Ok(())
    }

    fn keyless(&self) -> Option<Keyless> {
        match self.identity {
            Identity::Key { .. } => None,
            Identity::Federation { name, .. } => Some(Keyless::ServiceAccount(name.to_owned())),
            Identity::Ambient => Some(Keyless::Ambient),
        }
    }

    /// All that decides what the token may do. Hosts are not part of it, as one token serves all.
    fn key(&self) -> ExchangeKey {
        let (kind, whose) = match &self.identity {
            Identity::Key { text, .. } => ("key", [*text, "", "", ""]),
            Identity::Federation { provider, audience, namespace, name } => {
                ("federation", [*provider, *audience, *namespace, *name])
            }
            Identity::Ambient => ("ambient", ["", "", "", ""]),
        };
        let endpoints =
            [&self.token_endpoint, &self.sts_endpoint, &self.iam_endpoint, &self.metadata_endpoint];
        let mut parts = vec![NAME, kind, self.impersonate.unwrap_or_default()];
        parts.extend(whose);
        parts
            .extend(endpoints.map(|endpoint| endpoint.as_ref().map_or("", |endpoint| endpoint.url.as_str())));
        ExchangeKey::of(parts.into_iter().map(str::as_bytes))
    }

    /// Exchanges whose first request goes to one address share a rate limit.
    fn lane(&self) -> String {
        let (usual, endpoint) = match &self.identity {
            Identity::Key { file, .. } => {
                ("token", Some(self.token_endpoint.as_ref().unwrap_or(&file.token_uri)))
            }
            Identity::Federation { .. } => ("sts", self.sts_endpoint.as_ref()),
            Identity::Ambient => ("metadata", self.metadata_endpoint.as_ref()),
        };
        match endpoint {
            Some(endpoint) => format!("{NAME}/{usual}/{}", endpoint.authority),
            None => format!("{NAME}/{usual}"),
        }
    }
}

/// Whether only Google can answer there for this API. Other names below `googleapis.com` may be a customer's, as those
/// of buckets are.
fn is_googles(endpoint: &Endpoint, service: &str) -> bool {
    let names = ["googleapis.com", "s3nsapis.fr"];
    endpoint.is_loopback() || names.iter().any(|domain| endpoint.host() == format!("{service}.{domain}"))
}

fn identity<'a>(at: &'a SecretRef, fields: &Fields<'a>) -> Result<Identity<'a>, Flaw> {
    let flaw = |key, problem| Err(Flaw { key, problem });
    let text = fields.trimmed(KEY_JSON, LIST_MAX)?;
    let provider = fields.word(WORKLOAD_IDENTITY_PROVIDER, 512)?;
    let account = fields.service_account()?;
    let audience = fields.word(AUDIENCE, 512)?;
    if audience.is_some_and(|audience| audience.contains("kubernetes.default")) {
        return flaw(
            AUDIENCE,
            "is that of an API server, and such a token must not leave the cluster; give the provider's",
        );
    }
    // A key without a value is a failure of whoever filled the Secret, and no wish for another identity.
    if fields.has(KEY_JSON) && text.is_none() {
        return flaw(KEY_JSON, "is empty; fill it in, or remove it to use another identity");
    }
    let Some(provider) = provider else {
        for (key, value) in [(SERVICE_ACCOUNT_NAME, account), (AUDIENCE, audience)] {
            if value.is_some() {
                return flaw(key, "goes with workloadIdentityProvider; add that, or remove this");
            }
        }
        let Some(text) = text else { return Ok(Identity::Ambient) };
        return Ok(Identity::Key { text, file: Box::new(KeyFile::read(KEY_JSON, text)?) });
    };
    if text.is_some() {
        return flaw(WORKLOAD_IDENTITY_PROVIDER, "stands beside key.json; remove one of the two");
    }
    let Some(usual_audience) = audience_of(provider) else {
        return flaw(
            WORKLOAD_IDENTITY_PROVIDER,
            "is no provider; write it like //iam.googleapis.com/projects/NUMBER/locations/global/\
             workloadIdentityPools/POOL/providers/PROVIDER",
        );
    };
    let Some(name) = account else {
        return flaw(
            SERVICE_ACCOUNT_NAME,
            "is missing; name the ServiceAccount whose token the provider accepts",
        );
    };
    let (namespace, audience) = (at.namespace.as_str(), audience.unwrap_or(usual_audience));
    Ok(Identity::Federation { provider, audience, namespace, name })
}

/// What a token for a provider has to name as its audience, unless the provider was told otherwise: its own name, or on
/// GKE, where it is written `identitynamespace:POOL:ISSUER`, the pool.
fn audience_of(provider: &str) -> Option<&str> {
    if let Some(rest) = provider.strip_prefix("identitynamespace:") {
        let (pool, issuer) = rest.split_once(':')?;
        return Some(pool).filter(|pool| !pool.is_empty() && issuer.starts_with("https://"));
    }
    let parts: Vec<&str> = provider.strip_prefix("//iam.googleapis.com/")?.split('/').collect();
    let whole = match parts.as_slice() {
        ["projects", project, "locations", location, "workloadIdentityPools", pool, "providers", name] => {
            [project, location, pool, name].iter().all(|part| !part.is_empty())
        }
        _ => false,
    };
    whole.then_some(provider)
}

fn impersonated<'a>(fields: &Fields<'a>) -> Result<Option<&'a str>, Flaw> {
    let problem = "is no email of a service account; write it like NAME@PROJECT.iam.gserviceaccount.com";
    let email = fields.plain_word(IMPERSONATE, 256, b"@.-", problem)?;
    let good = |email: &str| {
        email
            .split_once('@')
            .is_some_and(|(name, domain)| !name.is_empty() && domain.contains('.') && !domain.contains('@'))
    };
    match email {
        Some(email) if !good(email) => Err(Flaw { key: IMPERSONATE, problem }),
        email => Ok(email),
    }
}
