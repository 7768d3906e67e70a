//! Carries exchanges out: a source Secret goes in, a token or the reason why there is none comes back as a fact.

use std::sync::Arc;
use std::time::Instant;

use imps_cluster::identity;
use imps_core::controller::Event;
use imps_core::exchange::{ExchangeFault, ExchangeFaultClass};
use imps_core::reason::{Fault, FaultClass};
use imps_core::token::Token;
use imps_core::world::{Ask, Fact};
use imps_registry::{BoxFuture, Outside, ServiceAccountTokens};
use kube::Client;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::histogram::Histogram;

/// Upper ends of the buckets of durations, in seconds. An exchange is over after 30.
const SECONDS: [f64; 8] = [0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0];

/// What has happened so far, for metrics. Clones share it.
#[derive(Clone, Debug)]
pub(crate) struct Tallies {
    /// Exchanges by provider and result.
    pub(crate) results: Family<Vec<(&'static str, &'static str)>, Counter>,
    /// How long they took, by provider.
    pub(crate) durations: Family<Vec<(&'static str, &'static str)>, Histogram>,
}

/// See the module.
#[derive(Clone)]
pub(crate) struct Exchanger {
    outside: Outside,
    tallies: Tallies,
}

impl Exchanger {
    pub(crate) fn new(client: Client) -> Self {
        let tallies = Tallies {
            results: Family::default(),
            durations: Family::new_with_constructor(|| Histogram::new(SECONDS)),
        };
        Self { outside: Outside::new(Arc::new(Accounts(client))), tallies }
    }

    pub(crate) fn tallies(&self) -> Tallies {
        self.tallies.clone()
    }

    /// Ends after half a minute at the latest.
    pub(crate) async fn exchange(self, ask: Ask) -> Event {
        let Ask { key, provider, at, document } = ask;
        let begun = Instant::now();
        let answer = imps_registry::exchange(&self.outside, &at, &document).await;
        let took = begun.elapsed().as_secs_f64();
        let result = match &answer {
            Ok(issued) => {
                let lifetime_s = issued.lifetime.map(|life| life.as_secs());
                tracing::info!(source = %at, provider, lifetime_s, took_s = took, "token issued");
                "success"
            }
            Err(fault) => {
                tracing::warn!(source = %at, provider, class = fault.class.as_str(), %fault, took_s = took, "no token");
                fault.class.as_str()
            }
        };
        self.tallies.results.get_or_create(&vec![("provider", provider), ("result", result)]).inc();
        self.tallies.durations.get_or_create(&vec![("provider", provider)]).observe(took);
        Event::Fact(Fact::Exchanged(key, answer))
    }
}

/// The API server, as far as it gives tokens of ServiceAccounts.
struct Accounts(Client);

impl ServiceAccountTokens for Accounts {
    fn token<'a>(
        &'a self,
        namespace: &'a str,
        name: &'a str,
        audience: &'a str,
    ) -> BoxFuture<'a, Result<Token, ExchangeFault>> {
        Box::pin(async move {
            let token = identity::token(self.0.clone(), namespace, name, audience).await;
            token.map_err(|fault| refusal(namespace, name, &fault))
        })
    }
}

fn refusal(namespace: &str, name: &str, fault: &Fault) -> ExchangeFault {
    let account = format!("ServiceAccount {namespace}/{name}");
    let (class, advice) = match fault.class {
        FaultClass::Forbidden => (
            ExchangeFaultClass::Denied,
            format!(
                "imps may not ask for tokens of {account}; grant it create on serviceaccounts/token, see `imps rbac`"
            ),
        ),
        FaultClass::Gone | FaultClass::NamespaceGone => (
            ExchangeFaultClass::Denied,
            format!("there is no {account}; create it, or correct serviceAccountName"),
        ),
        FaultClass::Refused => (
            ExchangeFaultClass::Denied,
            format!("the API server gives no token of {account}; see its policies"),
        ),
        FaultClass::Throttled(_) => (
            ExchangeFaultClass::Throttled,
            format!("the API server is busy; imps asks again for a token of {account}"),
        ),
        FaultClass::Changed | FaultClass::Unavailable => (
            ExchangeFaultClass::Unreachable,
            format!("the API server gave no token of {account}; imps asks again"),
        ),
    };
    let retry_after = match fault.class {
        FaultClass::Throttled(after) => after,
        _ => None,
    };
    ExchangeFault { class, code: fault.detail.clone(), advice, retry_after }
}
