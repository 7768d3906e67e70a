//! Carries exchanges out: a source Secret goes in, a token or the reason why there is none comes back as a fact.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use imps_cluster::identity;
use imps_core::controller::Event;
use imps_core::durations::Durations;
use imps_core::exchange::{ExchangeFault, ExchangeFaultClass};
use imps_core::reason::{Fault, FaultClass};
use imps_core::token::Token;
use imps_core::world::{Ask, Fact};
use imps_registry::{BoxFuture, Outside, ServiceAccountTokens};
use kube::Client;
use tracing::Instrument;

/// Upper ends of the buckets of durations, in seconds. An exchange is over after 30.
const SECONDS: [f64; 8] = [0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0];

/// Exchanges with one provider so far, for metrics.
#[derive(Clone, Debug)]
pub(crate) struct Tally {
    pub(crate) success: u64,
    pub(crate) throttled: u64,
    pub(crate) error: u64,
    /// How long they took, whatever came of them.
    pub(crate) took: Durations,
}

/// Exchanges by provider.
pub(crate) type Tallies = BTreeMap<&'static str, Tally>;

/// See the module.
#[derive(Clone)]
pub(crate) struct Exchanger {
    outside: Outside,
    tallies: Arc<Mutex<Tallies>>,
}

impl Default for Tally {
    fn default() -> Self {
        Self { success: 0, throttled: 0, error: 0, took: Durations::new(&SECONDS) }
    }
}

impl Tally {
    fn count<T>(&mut self, answer: &Result<T, ExchangeFault>, took: Duration) {
        self.took.add(took);
        *match answer {
            Ok(_) => &mut self.success,
            Err(fault) if fault.class == ExchangeFaultClass::Throttled => &mut self.throttled,
            Err(_) => &mut self.error,
        } += 1;
    }
}

impl Exchanger {
    pub(crate) fn new(client: Client) -> Self {
        Self { outside: Outside::new(Arc::new(Accounts(client))), tallies: Arc::default() }
    }

    pub(crate) fn tallies(&self) -> Tallies {
        self.tallies.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Ends after half a minute at the latest.
    pub(crate) async fn exchange(self, ask: Ask) -> Event {
        let Ask { key, provider, at, document } = ask;
        let begun = Instant::now();
        let span = tracing::debug_span!("exchange", source = %at, provider);
        let answer = imps_registry::exchange(&self.outside, &at, &document).instrument(span).await;
        let took = begun.elapsed();
        self.tallies
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .entry(provider)
            .or_default()
            .count(&answer, took);
        let took = took.as_secs_f64();
        match &answer {
            Ok(issued) => {
                let lifetime_s = issued.lifetime.map(|life| life.as_secs());
                tracing::info!(source = %at, provider, lifetime_s, took_s = took, "token issued");
            }
            Err(fault) => {
                tracing::warn!(source = %at, provider, class = fault.class.as_str(), %fault, took_s = took, "no token");
            }
        }
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_counts_as_what_it_is_and_every_one_takes_its_time() {
        let mut tally = Tally::default();
        let fault =
            |class| ExchangeFault { class, code: "X".into(), advice: String::new(), retry_after: None };
        let faults = [
            ExchangeFaultClass::Denied,
            ExchangeFaultClass::Throttled,
            ExchangeFaultClass::Unreachable,
            ExchangeFaultClass::Nonsense,
        ];
        let answers = faults.map(|class| Err(fault(class))).into_iter().chain([Ok(()), Ok(())]);
        answers.for_each(|answer| tally.count(&answer, Duration::from_secs(2)));
        assert_eq!((tally.success, tally.throttled, tally.error), (2, 1, 3));
        assert_eq!((tally.took.count(), tally.took.seconds()), (6, 12.0));
    }
}
