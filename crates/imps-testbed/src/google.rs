//! A Google Cloud on loopback: keys of service accounts, workload identity federation, impersonation, the metadata
//! server, and registries that take the tokens of all of them.
//!
//! It is `tools/cloud/google_cloud.py`, an [`Emulation`].

use std::ops::Deref;

use anyhow::{Context, Result};
use serde_json::{Value, json};

use crate::cloud::{Emulation, environment};
use crate::names::fresh_name;
use crate::registry::{Login, Registry};
use crate::skip::Missing;

/// The scope of a token that may do whatever its owner may.
pub const PLATFORM: &str = "https://www.googleapis.com/auth/cloud-platform";

/// The kind of tokens of service accounts, as [`Emulation::set_life`] knows it.
pub const ACCESS: &str = "access";
/// The kind of tokens that workloads get in exchange for their own.
pub const FEDERATED: &str = "federated";

/// A running Google Cloud. It ends when this value is dropped or this process dies.
///
/// Tests may share it: accounts and providers have names of their own. The lives of tokens are the same for all.
pub struct Google(Emulation);

/// A provider of a workload identity pool to be made.
#[derive(Clone, Copy, Debug)]
pub struct Provider<'a> {
    /// Whose tokens it takes; [`Emulation::trust_issuer`] has made it known.
    pub issuer: &'a str,
    /// Whom they must be for; its own name if there are none.
    pub audiences: &'a [&'a str],
    /// The only subject, if not all are meant.
    pub subject: Option<&'a str>,
}

impl Google {
    /// Whether this machine can run one.
    pub fn available() -> Result<(), Missing> {
        environment::find().map(drop)
    }

    /// Starts one without accounts.
    pub async fn start() -> Result<Self> {
        Emulation::start("google_cloud").await.map(Self)
    }

    /// A new service account; its email.
    pub async fn make_account(&self) -> Result<String> {
        let made: Value = self.tell("accounts", json!({"name": fresh_name("puller")})).await?;
        Ok(made["email"].as_str().context("an account without an email")?.to_owned())
    }

    /// A new key of an account: the `key.json` that its owner downloads.
    pub async fn make_key(&self, email: &str) -> Result<Value> {
        self.tell("keys", json!({"email": email})).await
    }

    /// Takes a key away.
    pub async fn delete_key(&self, key: &Value) -> Result<()> {
        self.tell("delete-key", json!({"email": key["client_email"], "key": key["private_key_id"]})).await
    }

    /// A new pool with one provider; the whole name of that, which is the audience of an exchange.
    pub async fn make_provider(&self, provider: &Provider<'_>) -> Result<String> {
        let pools = "//iam.googleapis.com/projects/1234567890/locations/global/workloadIdentityPools";
        let name = format!("{pools}/{}/providers/cluster", fresh_name("pool"));
        let Provider { issuer, audiences, subject } = provider;
        let asked = json!({"name": name, "issuer": issuer, "audiences": audiences, "subject": subject});
        self.tell::<()>("providers", asked).await?;
        Ok(name)
    }

    /// Who a workload is to Google that comes by a provider.
    #[must_use]
    pub fn principal(provider: &str, subject: &str) -> String {
        let pool = provider.split("/providers/").next().unwrap_or_default();
        format!("principal:{pool}/subject/{subject}")
    }

    /// Lets these principals, and no others, get tokens of an account.
    pub async fn let_impersonate(&self, email: &str, principals: &[&str]) -> Result<()> {
        self.tell("impersonators", json!({"email": email, "principals": principals})).await
    }

    /// Makes an account that of the machine, or none, with the scopes that the machine was made with.
    pub async fn set_machine(&self, email: Option<&str>, scopes: &[&str]) -> Result<()> {
        self.tell("machine", json!({"email": email, "scopes": scopes})).await
    }

    /// A registry of this host, which lets these principals pull, or everybody whom Google knows.
    pub async fn start_registry(
        &self,
        host: &str,
        users: &[Login<'_>],
        readers: Option<&[&str]>,
    ) -> Result<Registry> {
        self.0.start_registry(host, &["/v2/token"], users, &[], json!({"readers": readers})).await
    }
}

impl Deref for Google {
    type Target = Emulation;

    fn deref(&self) -> &Emulation {
        &self.0
    }
}
