//! How an identity at Microsoft Entra becomes the token of a registry: first an access token for registries as such,
//! then the registry's own refresh token for that (Azure/acr:docs/AAD-OAuth.md), which is the password.

use std::env;
use std::time::Duration;

use http::HeaderName;
use imps_core::credential::Credential;
use imps_core::exchange::{ExchangeFault, Issued};
use imps_core::name::SecretRef;
use imps_core::source::Document;
use imps_core::token::Token;
use serde::Deserialize;

use super::{DATA_KEYS, Identity, Login};
use crate::Outside;
use crate::clock::rest;
use crate::endpoint::Endpoint;
use crate::fault::{Partner, denied, flawed};
use crate::fields::Fields;
use crate::signature;
use crate::wire::{Form, Request};

/// User name that goes with a refresh token.
const USER: &str = "00000000-0000-0000-0000-000000000000";

/// What access tokens are for (kubernetes-sigs/cloud-provider-azure:pkg/credentialprovider/azure_credentials.go); the
/// older one of the resource manager is refused where a policy of the registry says so.
const SCOPE: &str = "https://containerregistry.azure.net/.default";
/// The same, encoded for a query, as the metadata service knows it.
const RESOURCE: &str = "https%3A%2F%2Fcontainerregistry.azure.net";

/// Whom tokens of ServiceAccounts are for.
const AUDIENCE: &str = "api://AzureADTokenExchange";
const ASSERTION_TYPE: &str = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer";

const METADATA: &str = "http://169.254.169.254";
const METADATA_PATH: &str = "/metadata/identity/oauth2/token?api-version=2018-02-01&resource=";
const METADATA_HEADER: HeaderName = HeaderName::from_static("metadata");

static AUTHORITY_PARTNER: Partner = Partner {
    name: "Microsoft Entra",
    look: "look at cloud, authorityEndpoint and the network policies of imps",
    // learn.microsoft.com/entra/identity-platform/reference-error-codes
    advise: |_, code| match code {
        "AADSTS7000215" => "the clientSecret is wrong; put in the value of the secret, not its ID",
        "AADSTS7000222" => "the clientSecret has expired; make a new one and put it in",
        "AADSTS700016" => "the tenant has no such application; look at clientID and tenantID",
        "AADSTS90002" | "AADSTS900023" => "there is no such tenant; look at tenantID and cloud",
        "AADSTS7000112" => "the application is disabled; enable it, or use another clientID",
        "AADSTS70021" | "AADSTS700211" | "AADSTS700212" | "AADSTS700213" => {
            "no federated credential of clientID fits the ServiceAccount's token; add one with the issuer of the \
             cluster, the subject system:serviceaccount:NAMESPACE:NAME and the audience api://AzureADTokenExchange"
        }
        "AADSTS700024" => {
            "the ServiceAccount's token had expired when it arrived; look at the clocks of the nodes"
        }
        "AADSTS53003" => {
            "a conditional access policy blocks the application; let it through from where imps runs"
        }
        _ => {
            "Microsoft Entra refuses; look at tenantID, clientID and clientSecret, or the federated credential"
        }
    },
    passing: &[],
    by_clock: false,
};

static METADATA_PARTNER: Partner = Partner {
    name: "the instance metadata service of Azure",
    look: "imps has an identity at Azure only on nodes with a managed identity, where pods may reach that service; \
           elsewhere add clientSecret or serviceAccountName",
    advise: |_, _| {
        "the nodes of imps have no such managed identity; assign one to them, name one of several by clientID, or add \
         clientSecret or serviceAccountName"
    },
    // It is being updated (learn.microsoft.com/entra/identity/managed-identities-azure-resources/how-to-use-vm-token).
    passing: &[404, 410],
    by_clock: false,
};

static REGISTRY_PARTNER: Partner = Partner {
    name: "the registry",
    look: "look at registry, its firewall and private endpoints, and the network policies of imps",
    advise: |status, _| match status {
        401 | 403 => {
            "the registry does not let the identity in; grant it the role AcrPull on the registry (Container Registry \
             Repository Reader where that uses repository permissions), in the registry's own tenant"
        }
        404 => "there is no such registry; look at registry",
        _ => "the registry does not accept the exchange; look at registry and tenantID",
    },
    passing: &[],
    by_clock: false,
};

/// What Microsoft Entra and the metadata service answer.
#[derive(Deserialize)]
struct OfAuthority {
    access_token: String,
}

/// What the registry answers.
#[derive(Deserialize)]
struct OfRegistry {
    refresh_token: String,
}

/// Carries the exchange out that the Secret asks for.
pub(super) async fn exchange(
    outside: &Outside,
    at: &SecretRef,
    document: &Document,
) -> Result<Issued, ExchangeFault> {
    let login = Login::read(at, &Fields::of(document, DATA_KEYS)).map_err(flawed)?;
    let tenant;
    let access = match login.identity {
        Identity::Secret { tenant: of, client, secret } => {
            tenant = Some(of.to_owned());
            let form = client_form(client).with("client_secret", secret);
            of_authority(outside, authority(&login), of, form).await?
        }
        Identity::Federation { tenant: of, client, namespace, name } => {
            tenant = Some(of.to_owned());
            let assertion = outside.tokens().token(namespace, name, AUDIENCE).await?;
            of_authority(outside, authority(&login), of, asserted(client, &assertion)).await?
        }
        Identity::Ambient { tenant: of, client } => match Surroundings::found(of, client).await? {
            Some(around) => {
                let url = match (&login.authority_endpoint, &around.authority) {
                    (None, Some(host)) => &host.url,
                    _ => authority(&login),
                };
                let form = asserted(&around.client, &around.assertion);
                let access = of_authority(outside, url, &around.tenant, form).await?;
                tenant = Some(around.tenant);
                access
            }
            None => {
                tenant = of.map(str::to_owned);
                of_metadata(outside, login.metadata_endpoint.as_ref(), client).await?
            }
        },
    };
    of_registry(outside, &login, tenant.as_deref(), &access).await
}

fn authority<'a>(login: &'a Login<'_>) -> &'a str {
    login.authority_endpoint.as_ref().map_or(login.cloud.authority, |endpoint| endpoint.url.as_str())
}

fn client_form(client: &str) -> Form {
    Form::default().with("grant_type", "client_credentials").with("scope", SCOPE).with("client_id", client)
}

fn asserted(client: &str, assertion: &Token) -> Form {
    client_form(client)
        .with("client_assertion_type", ASSERTION_TYPE)
        .with_token("client_assertion", assertion)
}

async fn of_authority(
    outside: &Outside,
    authority: &str,
    tenant: &str,
    form: Form,
) -> Result<Token, ExchangeFault> {
    let url = format!("{}/{tenant}/oauth2/v2.0/token", authority.trim_end_matches('/'));
    let answer = outside.wire().ask(&AUTHORITY_PARTNER, Request::form(url, form)).await?;
    let said: OfAuthority = answer.read()?;
    answer.token(said.access_token)
}

async fn of_metadata(
    outside: &Outside,
    endpoint: Option<&Endpoint>,
    client: Option<&str>,
) -> Result<Token, ExchangeFault> {
    let base = endpoint.map_or(METADATA, |endpoint| endpoint.url.trim_end_matches('/'));
    let which = client.map(|client| format!("&client_id={client}")).unwrap_or_default();
    let request =
        Request::get(format!("{base}{METADATA_PATH}{RESOURCE}{which}")).with(METADATA_HEADER, "true");
    let answer = outside.wire().ask(&METADATA_PARTNER, request).await?;
    let said: OfAuthority = answer.read()?;
    answer.token(said.access_token)
}

/// The registry's own token. It is the registry's host that is named as the service, wherever it is reached.
async fn of_registry(
    outside: &Outside,
    login: &Login<'_>,
    tenant: Option<&str>,
    access: &Token,
) -> Result<Issued, ExchangeFault> {
    let host = login.registry.as_str();
    let mut form = Form::default().with("grant_type", "access_token").with("service", host);
    if let Some(tenant) = tenant {
        form = form.with("tenant", tenant);
    }
    let form = form.with_token("access_token", access);
    let url = match &login.registry_endpoint {
        Some(endpoint) => endpoint.join("/oauth2/exchange"),
        None => format!("https://{host}/oauth2/exchange"),
    };
    let answer = outside.wire().ask(&REGISTRY_PARTNER, Request::form(url, form)).await?;
    let said: OfRegistry = answer.read()?;
    let end = signature::expiry(&said.refresh_token).map(Duration::from_secs);
    let password = answer.token(said.refresh_token)?;
    let credential = Credential { username: USER.to_owned(), password };
    Ok(Issued { credential, lifetime: end.and_then(|end| rest(end, answer.time())), session: None })
}

/// An identity that the webhook of Azure's workload identity put into the environment of imps.
struct Surroundings {
    tenant: String,
    client: String,
    assertion: Token,
    authority: Option<Endpoint>,
}

impl Surroundings {
    /// What is there; none when nothing is. What the Secret says about tenant and client goes first.
    async fn found(tenant: Option<&str>, client: Option<&str>) -> Result<Option<Self>, ExchangeFault> {
        let Some(file) = variable("AZURE_FEDERATED_TOKEN_FILE") else { return Ok(None) };
        let unusable = |advice| denied("unusable identity", advice);
        let tenant = tenant.map(str::to_owned).or_else(|| variable("AZURE_TENANT_ID"));
        let client = client.map(str::to_owned).or_else(|| variable("AZURE_CLIENT_ID"));
        let plain = |text: &String| text.bytes().all(|b| b.is_ascii_alphanumeric() || b".-".contains(&b));
        let (Some(tenant), Some(client)) = (tenant.filter(plain), client.filter(plain)) else {
            return Err(unusable(
                "the environment of imps has a federated token and no usable AZURE_TENANT_ID and AZURE_CLIENT_ID; \
                 annotate its ServiceAccount, or add tenantID and clientID to the Secret",
            ));
        };
        let authority = match variable("AZURE_AUTHORITY_HOST") {
            None => None,
            Some(url) => Some(Endpoint::read("AZURE_AUTHORITY_HOST", &url).map_err(|_| {
                unusable(
                    "AZURE_AUTHORITY_HOST in the environment of imps is no encrypted address; set it right",
                )
            })?),
        };
        let assertion = match tokio::fs::read_to_string(file).await {
            Ok(text) if !text.trim().is_empty() => Token::new(text.trim()),
            _ => {
                return Err(unusable(
                    "the file that AZURE_FEDERATED_TOKEN_FILE names cannot be read; look at the volumes of imps",
                ));
            }
        };
        Ok(Some(Self { tenant, client, assertion, authority }))
    }
}

fn variable(name: &str) -> Option<String> {
    env::var(name).ok().filter(|value| !value.trim().is_empty())
}
