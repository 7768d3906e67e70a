//! Registry logins out of source Secrets, by themselves or in exchange for an identity: one file per provider, each
//! with the hosts that it serves, the keys that it reads and its dialogue. Knows HTTP and no Kubernetes.
//!
//! [`read`] says without any IO what a source Secret offers, a login or an exchange; [`exchange`] reads the same Secret
//! the same way and carries that out. When to do so, and what becomes of the token, is decided in `imps-core`.
//! [`probe`] asks registries whether they let a pull in, for a diagnosis.

mod acr;
#[cfg(feature = "aws")]
mod aws;
mod clock;
mod docker_hub;
#[cfg(feature = "aws")]
mod ecr;
#[cfg(feature = "aws")]
mod ecr_public;
mod endpoint;
mod fault;
mod fields;
mod gcp;
mod github_app;
mod outside;
mod private;
mod probe;
mod secret_type;
mod signature;
mod wire;

use std::future::Future;
use std::pin::Pin;

use imps_core::exchange::{ExchangeFault, Flaw, Issued};
use imps_core::name::SecretRef;
use imps_core::source::{Document, Offer};
use tracing::instrument::WithSubscriber as _;
use tracing::subscriber::NoSubscriber;

pub use outside::{Limits, Outside, ServiceAccountTokens};
pub use probe::probe;

/// An answer that is waited for.
pub type BoxFuture<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

/// Somebody who knows the logins of a kind of registry.
pub trait Provider: Sync {
    /// The name in logs and metrics: `ecr`.
    fn name(&self) -> &'static str;

    /// The types of the Secrets that it reads. Providers may share one.
    fn secret_types(&self) -> &'static [&'static str];

    /// The keys of `data` that it reads, for documentation.
    fn data_keys(&self) -> &'static [DataKey];

    /// What the Secret offers, or what is wrong with it; none when it is not one of this provider's.
    fn read(&self, at: &SecretRef, document: &Document) -> Option<Result<Offer, Flaw>>;

    /// Carries out the exchange that [`Provider::read`] offers of the same document. Who only ever offers logins is
    /// never asked.
    fn exchange<'a>(
        &'a self,
        _outside: &'a Outside,
        _at: &'a SecretRef,
        _document: &'a Document,
    ) -> BoxFuture<'a, Result<Issued, ExchangeFault>> {
        Box::pin(std::future::ready(Err(fault::nothing_to_exchange())))
    }
}

/// A key of a source Secret's `data`.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct DataKey {
    /// As it is written: `accessKeyID`.
    pub name: &'static str,
    /// Whether it has to be there whatever else is.
    pub required: bool,
    /// What it says.
    pub meaning: &'static str,
}

/// Every provider of this build; the one list that a new one is added to.
pub fn providers() -> &'static [&'static dyn Provider] {
    &[
        #[cfg(feature = "aws")]
        &ecr::Ecr,
        #[cfg(feature = "aws")]
        &ecr_public::EcrPublic,
        &gcp::Gcp,
        &acr::Acr,
        &github_app::GithubApp,
        &docker_hub::DockerHub,
        &private::Private,
    ]
}

/// What a source Secret offers, as the first provider that knows it says; none when no provider does.
pub fn read(at: &SecretRef, document: &Document) -> Option<Result<Offer, Flaw>> {
    providers().iter().find_map(|provider| provider.read(at, document))
}

/// Asks for the token that [`read`] says the Secret is for. It ends within [`Limits::whole`].
///
/// It logs nothing, at no level: SDKs trace requests and answers whole, tokens included. What came of it is for the
/// caller to log.
pub async fn exchange(
    outside: &Outside,
    at: &SecretRef,
    document: &Document,
) -> Result<Issued, ExchangeFault> {
    let read = providers().iter().find_map(|provider| Some((provider, provider.read(at, document)?)));
    let provider = match read {
        None => {
            return Err(fault::denied("unsupported", "no provider of this build reads Secrets of this type"));
        }
        Some((_, Err(flaw))) => return Err(fault::flawed(flaw)),
        Some((_, Ok(Offer::Login(_)))) => return Err(fault::nothing_to_exchange()),
        Some((provider, Ok(Offer::Exchange(_)))) => provider,
    };
    let whole = outside.limits().whole;
    let dialogue = provider.exchange(outside, at, document).with_subscriber(NoSubscriber::default());
    match tokio::time::timeout(whole, dialogue).await {
        Ok(answer) => answer,
        Err(_) => Err(fault::unreachable_because(
            format!("no answer within {}", outside::in_words(whole)),
            "the exchange as a whole took too long; imps asks again by itself",
        )),
    }
}
