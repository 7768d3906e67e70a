//! An AWS on loopback that gives out registry tokens: STS, ECR, ECR Public, and the places where pods and machines
//! find their keys.
//!
//! It is `tools/cloud/aws.py`, an [`Emulation`]. moto verifies every signature in it, so
//! it judges a client without sharing a line with it. What it answers can be spoilt on the way by a
//! [`Wire`](crate::wire::Wire).

mod identity;
mod log;

use std::time::Duration;

use anyhow::{Context, Result};
use serde_json::{Value, json};

use crate::cloud::{Emulation, environment};
use crate::names::fresh_name;
use crate::skip::Missing;

pub use identity::{Account, Keys, Role, Trust, User};
pub use log::{Call, IssuedToken};

/// A running AWS. It ends when this value is dropped or this process dies.
///
/// Tests of one file may share it: users and roles have names of their own, and [`calls`](Self::calls) tell by the key
/// who called. The lives of what it gives out are the same for all.
pub struct Aws(Emulation);

impl Aws {
    /// Whether this machine can run one.
    pub fn available() -> Result<(), Missing> {
        environment::find().map(drop)
    }

    /// Starts one without users and roles.
    pub async fn start() -> Result<Self> {
        Emulation::start("aws").await.map(Self)
    }

    /// The URL of every service of it: STS, ECR, ECR Public, and the instance metadata service.
    #[must_use]
    pub fn endpoint(&self) -> String {
        self.0.endpoint()
    }

    /// Where a pod finds its keys, for `AWS_CONTAINER_CREDENTIALS_FULL_URI`.
    #[must_use]
    pub fn pod_credentials_url(&self) -> String {
        format!("{}/v1/credentials", self.endpoint())
    }

    /// A new user who is allowed these actions, such as `ecr:GetAuthorizationToken`.
    pub async fn make_user(&self, account: Account, allowed: &[&str]) -> Result<User> {
        let user = json!({
            "account": account.number, "partition": account.partition, "name": fresh_name("user"), "allowed": allowed,
        });
        self.0.tell("users", user).await
    }

    /// A new role; returns its ARN.
    pub async fn make_role(&self, role: &Role<'_>) -> Result<String> {
        let made: Value = self.0.tell("roles", role.document()).await?;
        Ok(made["arn"].as_str().context("a role without an ARN")?.to_owned())
    }

    /// Makes the issuer of web identities known with its public keys, a JSON Web Key Set. Later calls replace them.
    pub async fn trust_issuer(&self, issuer: &str, keys: &Value) -> Result<()> {
        self.0.trust_issuer(issuer, keys).await
    }

    /// Gives this role to the pod that sends `authorization`, the content of its token file.
    ///
    /// The role needs [`Trust::Pods`].
    pub async fn associate_pod(&self, authorization: &str, role: &str) -> Result<()> {
        self.0.tell("pods", json!({"authorization": authorization, "role": role})).await
    }

    /// Gives this role to the machine, or none. The role needs [`Trust::Machines`].
    pub async fn set_machine_role(&self, role: Option<&str>) -> Result<()> {
        self.0.tell("machine", json!({"role": role})).await
    }

    /// How long the passwords of registries live that are given out from now on; twelve hours at the start.
    pub async fn set_ttl(&self, life: Duration) -> Result<()> {
        self.0.tell("password-life", json!({"seconds": life.as_secs_f64()})).await
    }

    /// How long sessions live that begin from now on; as long as the request says at the start.
    pub async fn set_session_ttl(&self, life: Option<Duration>) -> Result<()> {
        self.0.tell("session-life", json!({"seconds": life.map(|life| life.as_secs_f64())})).await
    }

    /// Ends the session with this key, as if its time had run out.
    pub async fn expire_session(&self, access_key_id: &str) -> Result<()> {
        self.0.tell("expire", json!({"access_key_id": access_key_id})).await
    }

    /// Takes a user's key away.
    pub async fn revoke(&self, keys: &Keys) -> Result<()> {
        self.0.tell("revoke", json!({"access_key_id": keys.access_key_id})).await
    }

    /// Every call for keys or tokens since the start, the refused ones too.
    pub async fn calls(&self) -> Result<Vec<Call>> {
        self.0.tell("calls", Value::Null).await
    }

    /// Every password of a registry that was given out, the newest last.
    pub async fn issued(&self) -> Result<Vec<IssuedToken>> {
        self.0.tell("issued", Value::Null).await
    }
}
