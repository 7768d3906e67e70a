//! The Helm chart: what it renders, whether a real API server takes it, what it refuses, and that it upgrades a release
//! of the chart that it replaces.
#![allow(clippy::unwrap_used, reason = "a test fails where its ground does")]

mod chart {
    pub(crate) mod alerts;
    pub(crate) mod cluster;
    pub(crate) mod dashboard;
    pub(crate) mod dry_run;
    pub(crate) mod gitops;
    pub(crate) mod ground;
    pub(crate) mod kubelet;
    pub(crate) mod matrix;
    pub(crate) mod refusal;
    pub(crate) mod render;
    pub(crate) mod rights;
    pub(crate) mod upgrade;
    pub(crate) mod verdict;
}
