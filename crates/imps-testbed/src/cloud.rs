//! Clouds on loopback that verify what real ones verify: programs of `tools/cloud` in an environment of their own
//! ([`environment`]), judged by the official clients in `tests/cloud.rs`.
//!
//! Nothing of a client under test is in them, so that neither side of a test is ours twice. What they answer can be
//! spoilt on the way by a [`Wire`](crate::wire::Wire).

mod control;
pub mod environment;
mod images;
mod log;

use std::ffi::OsString;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result};
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

use crate::daemon::Daemon;
use crate::home::Home;
use crate::janitor::Janitor;

pub(crate) use log::time;
pub use log::{Call, IssuedToken};

/// It takes about a second, most of which Python needs to read its packages.
const READY_WITHIN: Duration = Duration::from_secs(60);

/// How Python is called: apart from the developer's settings of it, and without leaving files in the source tree.
pub const PYTHON_FLAGS: &str = "-EsB";

/// A running program of `tools/cloud`. It ends when this value is dropped or this process dies.
pub struct Emulation {
    // Fields are dropped in this order.
    _daemon: Daemon,
    name: &'static str,
    address: String,
    _janitor: Janitor,
    _home: Home,
}

impl Emulation {
    /// Starts the program of this name.
    pub(crate) async fn start(name: &'static str) -> Result<Self> {
        let python = environment::find()?;
        let home = Home::temporary(&format!("imps-{name}-"))?;
        let janitor = Janitor::watch(home.path())?;
        // It binds a port of the kernel's choice and tells which, so nobody can take the port from under it.
        let listens = home.path().join("address");
        let arguments = [OsString::from(PYTHON_FLAGS), script(name).into(), listens.as_os_str().to_owned()];
        let daemon = Daemon::new(name, &python, home.path(), arguments.into());
        daemon.start()?;
        daemon.wait_until(READY_WITHIN, "listen", async || listens.exists()).await?;
        let address =
            fs::read_to_string(&listens).with_context(|| format!("cannot read the address of {name}"))?;
        Ok(Self { _daemon: daemon, name, address, _janitor: janitor, _home: home })
    }

    /// The URL of every service of it.
    #[must_use]
    pub fn endpoint(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Host and port.
    #[must_use]
    pub fn address(&self) -> &str {
        &self.address
    }

    /// Makes the issuer of tokens of workloads known with its public keys, a JSON Web Key Set. Later calls replace
    /// them.
    pub async fn trust_issuer(&self, issuer: &str, keys: &Value) -> Result<()> {
        self.tell("issuers", json!({"issuer": issuer, "keys": keys})).await
    }

    /// Sets or asks something by a path that begins with `/-/`.
    pub(crate) async fn tell<T: DeserializeOwned>(&self, what: &str, body: Value) -> Result<T> {
        let name = self.name;
        let answer = control::post(&self.address, &format!("/-/{what}"), &body).await;
        let answer = answer.with_context(|| format!("the emulated cloud {name} does not take {what}"))?;
        serde_json::from_value(answer)
            .with_context(|| format!("the emulated cloud {name} answers {what} with other words"))
    }

    /// How long tokens of a kind live that are given out from now on.
    pub async fn set_life(&self, kind: &str, life: Duration) -> Result<()> {
        self.tell("life", json!({"of": kind, "seconds": life.as_secs_f64()})).await
    }

    /// Every call since the start, the refused ones too.
    pub async fn calls(&self) -> Result<Vec<Call>> {
        self.tell("calls", Value::Null).await
    }

    /// Every token that was given out, the newest last.
    pub async fn issued(&self) -> Result<Vec<IssuedToken>> {
        self.tell("issued", Value::Null).await
    }

    /// Ends the life of a token now.
    pub async fn expire(&self, token: &str) -> Result<()> {
        self.tell("expire", json!({"token": token})).await
    }
}

/// The program, or its judge.
#[must_use]
pub fn script(name: &str) -> PathBuf {
    folder().join(name).with_extension("py")
}

/// `tools/cloud` of the source tree that this crate was compiled from.
pub(crate) fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tools/cloud")
}
