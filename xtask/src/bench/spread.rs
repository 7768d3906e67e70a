//! How samples spread.

use std::time::Duration;

use serde_json::{Value, json};

/// Percentiles of some samples.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Spread {
    pub(super) count: usize,
    pub(super) p50: Duration,
    pub(super) p99: Duration,
    pub(super) max: Duration,
}

impl Spread {
    pub(super) fn of(mut samples: Vec<Duration>) -> Self {
        samples.sort_unstable();
        // The nearest rank: a value that was really measured.
        let rank = |percent: usize| {
            let place = (samples.len() * percent).div_ceil(100).max(1);
            samples.get(place - 1).copied().unwrap_or_default()
        };
        Self { count: samples.len(), p50: rank(50), p99: rank(99), max: rank(100) }
    }

    pub(super) fn json(&self) -> Value {
        json!({
            "samples": self.count,
            "p50_ms": milliseconds(self.p50),
            "p99_ms": milliseconds(self.p99),
            "max_ms": milliseconds(self.max),
        })
    }
}

impl std::fmt::Display for Spread {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let [p50, p99, max] = [self.p50, self.p99, self.max].map(milliseconds);
        write!(formatter, "{p50:.1} / {p99:.1} / {max:.1} ms")
    }
}

/// With a fraction.
pub(super) fn milliseconds(duration: Duration) -> f64 {
    (duration.as_secs_f64() * 100_000.0).round() / 100.0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_are_samples() {
        let spread = Spread::of((1..=100).rev().map(Duration::from_millis).collect());
        assert_eq!(spread.to_string(), "50.0 / 99.0 / 100.0 ms");
        assert_eq!(Spread::of(vec![Duration::from_millis(3)]).to_string(), "3.0 / 3.0 / 3.0 ms");
    }
}
