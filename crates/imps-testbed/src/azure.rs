//! An Azure on loopback: applications of Entra ID with secrets or with workloads that they trust, managed identities,
//! and Azure Container Registry with its exchange of tokens.
//!
//! It is `tools/cloud/azure_cloud.py`, an [`Emulation`].

use std::ops::Deref;

use anyhow::Result;
use serde::Deserialize;
use serde_json::{Value, json};

use crate::cloud::{Emulation, environment};
use crate::registry::{Login, Registry};
use crate::skip::Missing;

/// The tenant of whoever runs the cluster.
pub const TENANT: &str = "11111111-aaaa-4bbb-8ccc-222222222222";
/// The tenant of somebody else.
pub const OTHER_TENANT: &str = "33333333-dddd-4eee-8fff-444444444444";
/// Where official clients ask for tokens of Entra ID, which is reached by the gate of every registry.
pub const AUTHORITY: &str = "login.microsoftonline.com";
/// The user of a refresh token.
pub const NOBODY: &str = "00000000-0000-0000-0000-000000000000";

/// The kind of tokens of Entra ID, as [`Emulation::set_life`] knows it.
pub const ENTRA: &str = "entra";
/// The kind of tokens that are passwords of a registry.
pub const REFRESH: &str = "refresh";

/// A running Azure. It ends when this value is dropped or this process dies.
///
/// Tests may share it: applications have ids of their own. The lives of tokens, and the machine, are the same for all.
pub struct Azure(Emulation);

/// An application of a tenant.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub struct Application {
    /// The id of the tenant.
    pub tenant: String,
    /// Its own id.
    pub client: String,
    /// Its first secret.
    pub secret: String,
}

/// What a registry takes.
#[derive(Clone, Copy, Debug)]
pub struct Policy<'a> {
    /// The tenant whose applications it knows.
    pub tenant: &'a str,
    /// The ids of those that may pull; all of the tenant if there are none.
    pub readers: Option<&'a [&'a str]>,
    /// Whether it takes tokens that are for the management of Azure.
    pub management: bool,
}

impl Policy<'_> {
    /// As registries are unless somebody changes it.
    pub const OURS: Self = Self { tenant: TENANT, readers: None, management: true };
}

impl Azure {
    /// Whether this machine can run one.
    pub fn available() -> Result<(), Missing> {
        environment::find().map(drop)
    }

    /// Starts one without applications.
    pub async fn start() -> Result<Self> {
        Emulation::start("azure_cloud").await.map(Self)
    }

    /// A new application of a tenant, which is made with it.
    pub async fn make_application(&self, tenant: &str) -> Result<Application> {
        self.tell("applications", json!({"tenant": tenant})).await
    }

    /// Replaces the secrets of an application.
    pub async fn set_secrets(&self, application: &Application, secrets: &[&str]) -> Result<()> {
        let Application { tenant, client, .. } = application;
        self.tell("secrets", json!({"tenant": tenant, "client": client, "secrets": secrets})).await
    }

    /// Makes an application trust a workload: a federated credential, whose issuer [`Emulation::trust_issuer`] has made
    /// known.
    pub async fn trust(&self, application: &Application, issuer: &str, subject: &str) -> Result<()> {
        let Application { tenant, client, .. } = application;
        let asked = json!({"tenant": tenant, "client": client, "issuer": issuer, "subject": subject});
        self.tell("trusted", asked).await
    }

    /// Gives the machine these identities, of one tenant; the first is the one it has when it does not say.
    pub async fn set_machine(&self, identities: &[&Application]) -> Result<()> {
        let clients: Vec<&str> = identities.iter().map(|identity| identity.client.as_str()).collect();
        let tenant = identities.first().map_or(TENANT, |identity| &identity.tenant);
        self.tell("machine", json!({"tenant": tenant, "clients": clients, "default": clients.first()})).await
    }

    /// Makes the exchange of tokens know a registry without starting one.
    pub async fn make_registry(&self, host: &str, policy: &Policy<'_>) -> Result<()> {
        let mut asked = policy.document();
        asked["host"] = json!(host);
        asked["users"] = json!([]);
        self.tell::<Value>("registries", asked).await.map(drop)
    }

    /// A registry of this host.
    pub async fn start_registry(
        &self,
        host: &str,
        users: &[Login<'_>],
        policy: &Policy<'_>,
    ) -> Result<Registry> {
        let paths = &["/oauth2/token", "/oauth2/exchange"];
        self.0.start_registry(host, paths, users, &[AUTHORITY], policy.document()).await
    }
}

impl Policy<'_> {
    fn document(&self) -> Value {
        json!({"tenant": self.tenant, "readers": self.readers, "management": self.management})
    }
}

impl Deref for Azure {
    type Target = Emulation;

    fn deref(&self) -> &Emulation {
        &self.0
    }
}
