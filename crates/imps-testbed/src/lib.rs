//! Real servers for tests, the demo and benchmarks: a Kubernetes control plane, image registries, a node, and the
//! clouds that give out passwords of registries, on loopback.
//!
//! Development only, never shipped. This crate starts and stops processes, owns their folders and hands out
//! clients; it knows nothing of what imps does with them.
//!
//! # Which cluster a test talks to
//!
//! [`Plane::of_this_run`] decides, in this order:
//!
//! 1. `IMPS_TEST_CONTEXT=<name>`: an existing cluster, by the name of a context in the kubeconfig. Only this
//!    variable can point tests at a cluster that we did not start; that a `KUBECONFIG` exists never does. Such
//!    a cluster has no audit log and no failure hooks here.
//! 2. `IMPS_TEST_PLANE=<folder>`: the control plane that `cargo xtask test` started for all test programs.
//! 3. Otherwise one control plane is started for this process, and it ends with the process.

pub mod archive;
pub mod aws;
pub mod azure;
pub mod binaries;
mod certificates;
pub mod clock;
pub mod cloud;
pub mod collector;
pub mod control_plane;
mod daemon;
pub mod github;
pub mod google;
pub mod helm;
mod home;
mod image;
mod janitor;
pub mod lua;
pub mod manifest;
pub mod names;
pub mod node;
pub mod operator;
pub mod plane;
pub mod plane_build;
mod ports;
pub mod promtool;
pub mod registry;
pub mod shipped_image;
pub mod skip;
mod tool;
pub mod wire;

pub use aws::Aws;
pub use azure::Azure;
pub use control_plane::{ControlPlane, Options, Pids};
pub use github::Github;
pub use google::Google;
pub use helm::Helm;
pub use names::fresh_name;
pub use node::{Node, Unshared};
pub use operator::{Operator, Run};
pub use plane::{Plane, Profile, install_crypto_provider};
pub use registry::{Login, Pull, Registry};
pub use skip::{Missing, skip_or_fail};
pub use wire::Wire;
