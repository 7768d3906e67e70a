//! What a dialogue needs of the outside: the HTTP clients that all share, the patience, and tokens of ServiceAccounts,
//! which the caller fetches as this crate knows no Kubernetes.

use std::sync::Arc;
use std::time::Duration;

use imps_core::exchange::ExchangeFault;
use imps_core::token::Token;

use crate::BoxFuture;
use crate::wire::Wire;

/// How long is waited for what.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Limits {
    /// For a connection.
    pub connect: Duration,
    /// For the whole answer to one request, its connection included.
    pub answer: Duration,
    /// For all requests of one exchange.
    pub whole: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            connect: Duration::from_secs(5),
            answer: Duration::from_secs(10),
            whole: Duration::from_secs(30),
        }
    }
}

/// Gives identity tokens of ServiceAccounts (TokenRequest API).
pub trait ServiceAccountTokens: Send + Sync {
    /// A fresh token of this ServiceAccount for this audience alone. A failure reaches the caller of the exchange as
    /// it is.
    fn token<'a>(
        &'a self,
        namespace: &'a str,
        name: &'a str,
        audience: &'a str,
    ) -> BoxFuture<'a, Result<Token, ExchangeFault>>;
}

/// See the module. Made once and shared by all exchanges.
#[derive(Clone)]
pub struct Outside {
    tokens: Arc<dyn ServiceAccountTokens>,
    limits: Limits,
    wire: Wire,
    #[cfg(feature = "aws")]
    http: aws_smithy_runtime_api::client::http::SharedHttpClient,
}

impl Outside {
    /// With clients on the one TLS stack, which follow no redirect and know no proxy.
    pub fn new(tokens: Arc<dyn ServiceAccountTokens>) -> Self {
        Self {
            tokens,
            limits: Limits::default(),
            wire: Wire::new(Limits::default()),
            #[cfg(feature = "aws")]
            http: crate::aws::http_client(),
        }
    }

    /// With another patience.
    pub fn with_limits(self, limits: Limits) -> Self {
        Self { limits, wire: Wire::new(limits), ..self }
    }

    /// How long is waited for what.
    pub fn limits(&self) -> Limits {
        self.limits
    }

    /// Whom to ask for tokens of ServiceAccounts.
    pub fn tokens(&self) -> &dyn ServiceAccountTokens {
        self.tokens.as_ref()
    }

    /// Whom to ask everything else by.
    pub(crate) fn wire(&self) -> &Wire {
        &self.wire
    }

    #[cfg(feature = "aws")]
    pub(crate) fn http(&self) -> aws_smithy_runtime_api::client::http::SharedHttpClient {
        self.http.clone()
    }

    #[cfg(all(test, feature = "aws"))]
    pub(crate) fn with_http(self, http: aws_smithy_runtime_api::client::http::SharedHttpClient) -> Self {
        Self { http, ..self }
    }
}

/// `10 s`, `300 ms`.
pub(crate) fn in_words(duration: Duration) -> String {
    match duration.subsec_millis() {
        0 => format!("{} s", duration.as_secs()),
        _ => format!("{} ms", duration.as_millis()),
    }
}
