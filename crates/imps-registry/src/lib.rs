//! Registry tokens for identities: one file per provider, each with the hosts that it serves, the keys that it reads
//! and its dialogue. Knows HTTP and no Kubernetes.
//!
//! [`read`] says without any IO what a source Secret offers, a login or an exchange; [`exchange`] reads the same Secret
//! the same way and carries that out. When to do so, and what becomes of the token, is decided in `imps-core`.

#[cfg(feature = "aws")]
mod aws;
#[cfg(feature = "aws")]
mod ecr;
#[cfg(feature = "aws")]
mod ecr_public;
mod outside;

use std::future::Future;
use std::pin::Pin;

use imps_core::exchange::{ExchangeFault, ExchangeFaultClass, Flaw, Issued};
use imps_core::name::SecretRef;
use imps_core::source::{Document, Offer};
use tracing::instrument::WithSubscriber as _;
use tracing::subscriber::NoSubscriber;

pub use outside::{Limits, Outside, ServiceAccountTokens};

/// An answer that is waited for.
pub type BoxFuture<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

/// Somebody who gives registry tokens for identities.
pub trait Provider: Sync {
    /// The name in logs and metrics: `ecr`.
    fn name(&self) -> &'static str;

    /// The type of the Secrets that it reads. Providers may share one.
    fn secret_type(&self) -> &'static str;

    /// The keys of `data` that it reads, for documentation.
    fn data_keys(&self) -> &'static [DataKey];

    /// What the Secret offers, or what is wrong with it; none when it is not one of this provider's.
    fn read(&self, at: &SecretRef, document: &Document) -> Option<Result<Offer, Flaw>>;

    /// Carries out what [`Provider::read`] says of the same document.
    fn exchange<'a>(
        &'a self,
        outside: &'a Outside,
        at: &'a SecretRef,
        document: &'a Document,
    ) -> BoxFuture<'a, Result<Issued, ExchangeFault>>;
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
    let provider = providers().iter().find(|provider| provider.read(at, document).is_some());
    let Some(provider) = provider else {
        return Err(ExchangeFault {
            class: ExchangeFaultClass::Denied,
            code: "unsupported".into(),
            advice: "no provider of this build reads Secrets of this type".into(),
            retry_after: None,
        });
    };
    let whole = outside.limits().whole;
    let dialogue = provider.exchange(outside, at, document).with_subscriber(NoSubscriber::default());
    match tokio::time::timeout(whole, dialogue).await {
        Ok(answer) => answer,
        Err(_) => Err(ExchangeFault {
            class: ExchangeFaultClass::Unreachable,
            code: format!("no answer within {}", outside::in_words(whole)),
            advice: "the exchange as a whole took too long; imps asks again by itself".into(),
            retry_after: None,
        }),
    }
}

/// A Secret with a flaw cannot be exchanged; that is known before anybody is asked.
#[cfg(feature = "aws")]
fn flawed(flaw: Flaw) -> ExchangeFault {
    ExchangeFault {
        class: ExchangeFaultClass::Denied,
        code: "flawed".into(),
        advice: format!("in the source Secret {flaw}"),
        retry_after: None,
    }
}
