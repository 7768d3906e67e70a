//! What every long-running command needs: logs, probes and metrics, a clean end. And the one place that prints.

pub(crate) mod admin;
pub(crate) mod metrics;
pub(crate) mod output;
pub(crate) mod shutdown;
pub(crate) mod telemetry;
#[cfg(feature = "otel")]
pub(crate) mod traces;
