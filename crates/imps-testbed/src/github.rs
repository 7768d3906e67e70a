//! The GitHub that Apps see, on loopback: their keys, their installations with the tokens of these, and its registry.
//!
//! It is `tools/cloud/github_cloud.py`, an [`Emulation`].

use std::ops::Deref;

use anyhow::{Context, Result};
use serde::Deserialize;
use serde_json::{Value, json};

use crate::cloud::{Emulation, environment};
use crate::registry::{Login, Registry};
use crate::skip::Missing;

/// The kind of its tokens, as [`Emulation::set_life`] knows it.
pub const INSTALLATION: &str = "installation";

/// A running GitHub. It ends when this value is dropped or this process dies.
///
/// Tests may share it: Apps and installations have ids of their own. The lives of tokens are the same for all.
pub struct Github(Emulation);

/// An App.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub struct App {
    /// Its number.
    pub id: String,
    /// Its client id, which may stand for the number.
    pub client: String,
}

/// Whose installation it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Owner<'a> {
    /// An organization, by name.
    Organization(&'a str),
    /// A person, by name.
    User(&'a str),
}

impl Github {
    /// Whether this machine can run one.
    pub fn available() -> Result<(), Missing> {
        environment::find().map(drop)
    }

    /// Starts one without Apps.
    pub async fn start() -> Result<Self> {
        Emulation::start("github_cloud").await.map(Self)
    }

    /// A new App.
    pub async fn make_app(&self) -> Result<App> {
        self.tell("apps", Value::Null).await
    }

    /// A new private key of an App, as PEM.
    pub async fn make_key(&self, app: &App) -> Result<String> {
        let made: Value = self.tell("keys", json!({"app": app.id})).await?;
        Ok(made["pem"].as_str().context("a key without text")?.to_owned())
    }

    /// Takes all keys of an App away.
    pub async fn delete_keys(&self, app: &App) -> Result<()> {
        self.tell("delete-keys", json!({"app": app.id})).await
    }

    /// Installs an App with these permissions, such as `{"packages": "read"}`; the number of the installation.
    pub async fn install(&self, app: &App, owner: Owner<'_>, permissions: &Value) -> Result<u64> {
        let (account, kind) = match owner {
            Owner::Organization(name) => (name, "Organization"),
            Owner::User(name) => (name, "User"),
        };
        let asked = json!({"app": app.id, "account": account, "kind": kind, "permissions": permissions});
        let made: Value = self.tell("installations", asked).await?;
        made["id"].as_u64().context("an installation without a number")
    }

    /// Suspends an installation, or ends that.
    pub async fn suspend(&self, installation: u64, suspended: bool) -> Result<()> {
        self.tell("suspended", json!({"installation": installation, "suspended": suspended})).await
    }

    /// A registry of this host, which lets these owners of installations pull, or all.
    pub async fn start_registry(
        &self,
        host: &str,
        users: &[Login<'_>],
        readers: Option<&[&str]>,
    ) -> Result<Registry> {
        self.0.start_registry(host, &["/token"], users, &[], json!({"readers": readers})).await
    }
}

impl Deref for Github {
    type Target = Emulation;

    fn deref(&self) -> &Emulation {
        &self.0
    }
}
