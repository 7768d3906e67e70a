//! Azure Container Registry. Each registry gives tokens of its own, for an identity at Microsoft Entra.

mod dialogue;

use imps_core::exchange::{ExchangeFault, ExchangeKey, Flaw, Issued, Keyless, Order};
use imps_core::name::SecretRef;
use imps_core::registry::RegistryKey;
use imps_core::source::{Document, Offer};

use crate::endpoint::Endpoint;
use crate::fields::{Fields, SERVICE_ACCOUNT_NAME, key};
use crate::{BoxFuture, DataKey, Outside, Provider, secret_type};

const NAME: &str = "acr";

const REGISTRY: &str = "registry";
const TENANT_ID: &str = "tenantID";
const CLIENT_ID: &str = "clientID";
const CLIENT_SECRET: &str = "clientSecret";
const CLOUD: &str = "cloud";
const AUTHORITY_ENDPOINT: &str = "authorityEndpoint";
const REGISTRY_ENDPOINT: &str = "registryEndpoint";
const METADATA_ENDPOINT: &str = "metadataEndpoint";

const DATA_KEYS: &[DataKey] = &[
    key(REGISTRY, true, "host of the registry, NAME.azurecr.io"),
    key(TENANT_ID, false, "tenant of the application or identity"),
    key(CLIENT_ID, false, "client ID of the application, or of a user-assigned managed identity"),
    key(
        CLIENT_SECRET,
        false,
        "secret of the application; without it an identity of imps or of a ServiceAccount is used",
    ),
    key(
        SERVICE_ACCOUNT_NAME,
        false,
        "ServiceAccount beside the Secret that a federated credential of clientID names",
    ),
    key(CLOUD, false, "public, china or us-government; follows from the registry's host unless given"),
    key(AUTHORITY_ENDPOINT, false, "address of Microsoft Entra"),
    key(REGISTRY_ENDPOINT, false, "address that the registry is reached at, on loopback only"),
    key(METADATA_ENDPOINT, false, "address of the instance metadata service, on loopback only"),
];

/// A part of Azure with identities of its own.
struct Cloud {
    name: &'static str,
    /// What hosts of its registries end in.
    suffix: &'static str,
    authority: &'static str,
}

/// The first is what all that is not listed falls to.
static CLOUDS: [Cloud; 3] = [
    Cloud { name: "public", suffix: ".azurecr.io", authority: "https://login.microsoftonline.com" },
    Cloud { name: "china", suffix: ".azurecr.cn", authority: "https://login.chinacloudapi.cn" },
    Cloud { name: "us-government", suffix: ".azurecr.us", authority: "https://login.microsoftonline.us" },
];

/// Hosts of registries end in these (kubernetes-sigs/cloud-provider-azure:pkg/credentialprovider/azure_credentials.go).
const SUFFIXES: [&str; 4] = [".azurecr.io", ".azurecr.cn", ".azurecr.us", ".azurecr.de"];

/// Hosts where only Microsoft Entra answers.
const AUTHORITIES: [&str; 4] = [
    "login.microsoftonline.com",
    "login.chinacloudapi.cn",
    "login.partner.microsoftonline.cn",
    "login.microsoftonline.us",
];

/// See the module.
pub(crate) struct Acr;

impl Provider for Acr {
    fn name(&self) -> &'static str {
        NAME
    }

    fn secret_types(&self) -> &'static [&'static str] {
        &[secret_type::ACR]
    }

    fn data_keys(&self) -> &'static [DataKey] {
        DATA_KEYS
    }

    fn read(&self, at: &SecretRef, document: &Document) -> Option<Result<Offer, Flaw>> {
        let ours = document.secret_type == secret_type::ACR;
        ours.then(|| order(at, document).map(Offer::Exchange))
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

fn order(at: &SecretRef, document: &Document) -> Result<Order, Flaw> {
    let login = Login::read(at, &Fields::of(document, DATA_KEYS))?;
    Ok(Order {
        provider: NAME,
        key: login.key(),
        lane: login.lane(),
        keyless: login.keyless(),
        registries: vec![login.registry],
    })
}

/// Who asks.
enum Identity<'a> {
    /// The application whose secret is in the Secret.
    Secret { tenant: &'a str, client: &'a str, secret: &'a str },
    /// A ServiceAccount in the Secret's namespace that an application or managed identity trusts.
    Federation { tenant: &'a str, client: &'a str, namespace: &'a str, name: &'a str },
    /// Whatever the surroundings of imps say it is, or which of several.
    Ambient { tenant: Option<&'a str>, client: Option<&'a str> },
}

/// What a Secret says about an exchange. It has no `Debug`, as it holds secrets.
struct Login<'a> {
    registry: RegistryKey,
    identity: Identity<'a>,
    cloud: &'static Cloud,
    authority_endpoint: Option<Endpoint>,
    registry_endpoint: Option<Endpoint>,
    metadata_endpoint: Option<Endpoint>,
}

impl<'a> Login<'a> {
    fn read(at: &'a SecretRef, fields: &Fields<'a>) -> Result<Self, Flaw> {
        let registry = registry(fields)?;
        let login = Self {
            cloud: cloud(fields, &registry)?,
            registry,
            identity: identity(at, fields)?,
            authority_endpoint: fields.endpoint(AUTHORITY_ENDPOINT)?,
            registry_endpoint: fields.endpoint(REGISTRY_ENDPOINT)?,
            metadata_endpoint: fields.endpoint(METADATA_ENDPOINT)?,
        };
        login.check_endpoints()?;
        Ok(login)
    }

    fn check_endpoints(&self) -> Result<(), Flaw> {
        let flaw = |key, problem| Err(Flaw { key, problem });
        let local = |endpoint: &Option<Endpoint>| endpoint.as_ref().is_none_or(Endpoint::is_loopback);
        if !local(&self.registry_endpoint) {
            let problem =
                "is not on loopback; what Microsoft Entra gives is shown to the registry alone: remove it";
            return flaw(REGISTRY_ENDPOINT, problem);
        }
        if !local(&self.metadata_endpoint) {
            return flaw(
                METADATA_ENDPOINT,
                "is not on loopback, and that service has but one address: remove it",
            );
        }
        if self.metadata_endpoint.is_some() && !matches!(self.identity, Identity::Ambient { .. }) {
            return flaw(METADATA_ENDPOINT, "is not asked by an identity of this kind; remove it");
        }
        let trusted = |endpoint: &Endpoint| endpoint.is_loopback() || AUTHORITIES.contains(&endpoint.host());
        let own = matches!(self.identity, Identity::Secret { .. });
        if !own && !self.authority_endpoint.as_ref().is_none_or(trusted) {
            let problem = "is no address of Microsoft Entra; an identity that does not stand in the Secret is shown to \
                           Microsoft alone: remove it, or give a clientSecret";
            return flaw(AUTHORITY_ENDPOINT, problem);
        }
        Ok(())
    }

    fn keyless(&self) -> Option<Keyless> {
        match self.identity {
            Identity::Secret { .. } => None,
            Identity::Federation { name, .. } => Some(Keyless::ServiceAccount(name.to_owned())),
            Identity::Ambient { .. } => Some(Keyless::Ambient),
        }
    }

    /// All that decides what the token may do; the registry is part of it, as each gives its own.
    fn key(&self) -> ExchangeKey {
        let (kind, whose) = match self.identity {
            Identity::Secret { tenant, client, secret } => ("secret", [tenant, client, secret, ""]),
            Identity::Federation { tenant, client, namespace, name } => {
                ("federation", [tenant, client, namespace, name])
            }
            Identity::Ambient { tenant, client } => {
                ("ambient", [tenant.unwrap_or_default(), client.unwrap_or_default(), "", ""])
            }
        };
        let endpoints = [&self.authority_endpoint, &self.registry_endpoint, &self.metadata_endpoint];
        let mut parts = vec![NAME, self.registry.as_str(), self.cloud.name, kind];
        parts.extend(whose);
        parts
            .extend(endpoints.map(|endpoint| endpoint.as_ref().map_or("", |endpoint| endpoint.url.as_str())));
        ExchangeKey::of(parts.into_iter().map(str::as_bytes))
    }

    /// Exchanges whose first request goes to one address share a rate limit.
    fn lane(&self) -> String {
        let (usual, endpoint) = match self.identity {
            Identity::Ambient { .. } => ("metadata", &self.metadata_endpoint),
            _ => (self.cloud.name, &self.authority_endpoint),
        };
        match endpoint {
            Some(endpoint) => format!("{NAME}/{usual}/{}", endpoint.authority),
            None => format!("{NAME}/{usual}"),
        }
    }
}

fn registry(fields: &Fields<'_>) -> Result<RegistryKey, Flaw> {
    let flaw = |problem| Err(Flaw { key: REGISTRY, problem });
    let registries = fields.registries(REGISTRY, |registry| {
        (!is_azures(registry)).then_some(
            "is no registry of Azure, whose hosts are written like NAME.azurecr.io, without port and path; what \
             Microsoft Entra gives is shown to those alone",
        )
    })?;
    let mut registries = registries.into_iter();
    match (registries.next(), registries.next()) {
        (None, _) => flaw("is missing; name the host of the registry, like NAME.azurecr.io"),
        (Some(_), Some(_)) => {
            flaw("lists several registries, each of which gives its own token; make a Secret for each")
        }
        (Some(registry), None) => Ok(registry),
    }
}

/// Whether only Azure answers there, as one registry.
fn is_azures(registry: &RegistryKey) -> bool {
    let name = SUFFIXES.iter().find_map(|suffix| registry.host().strip_suffix(suffix));
    registry.port().is_none()
        && registry.path().is_empty()
        && name.is_some_and(|name| !name.is_empty() && !name.contains('.'))
}

fn cloud(fields: &Fields<'_>, registry: &RegistryKey) -> Result<&'static Cloud, Flaw> {
    match fields.word(CLOUD, 32)? {
        Some(name) => CLOUDS
            .iter()
            .find(|cloud| cloud.name == name)
            .ok_or(Flaw { key: CLOUD, problem: "is none of \"public\", \"china\" and \"us-government\"" }),
        None => {
            let own = CLOUDS.iter().find(|cloud| registry.host().ends_with(cloud.suffix));
            Ok(own.unwrap_or(&CLOUDS[0]))
        }
    }
}

fn identity<'a>(at: &'a SecretRef, fields: &Fields<'a>) -> Result<Identity<'a>, Flaw> {
    let flaw = |key, problem| Err(Flaw { key, problem });
    let tenant =
        fields.plain_word(TENANT_ID, 128, b".-", "is no tenant; give its ID, or one of its domain names")?;
    let client = fields.plain_word(CLIENT_ID, 64, b"-", "is no client ID; those are written like a UUID")?;
    let secret = fields.word(CLIENT_SECRET, 1024)?;
    let account = fields.service_account()?;
    // A key without a value is a failure of whoever filled the Secret, and no wish for another identity.
    if fields.has(CLIENT_SECRET) && secret.is_none() {
        return flaw(CLIENT_SECRET, "is empty; fill it in, or remove it to use another identity");
    }
    if secret.is_some() && account.is_some() {
        return flaw(SERVICE_ACCOUNT_NAME, "stands beside clientSecret; remove one of the two");
    }
    if secret.is_none() && account.is_none() {
        return Ok(Identity::Ambient { tenant, client });
    }
    let Some(tenant) = tenant else {
        return flaw(TENANT_ID, "is missing; give the ID of the tenant that the application is in");
    };
    let Some(client) = client else {
        return flaw(CLIENT_ID, "is missing; give the client ID of the application or managed identity");
    };
    match (secret, account) {
        (Some(secret), _) => Ok(Identity::Secret { tenant, client, secret }),
        (None, Some(name)) => {
            Ok(Identity::Federation { tenant, client, namespace: at.namespace.as_str(), name })
        }
        (None, None) => Ok(Identity::Ambient { tenant: Some(tenant), client: Some(client) }),
    }
}
