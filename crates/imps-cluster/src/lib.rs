//! The hands: watches become facts, plans become requests, standings become statuses and events. Nothing here decides.

pub mod apply;
pub mod client;
pub mod definition;
pub mod demand;
pub mod fault;
pub mod fence;
pub mod identity;
pub mod lease;
pub mod pace;
pub mod permission;
pub mod policy;
pub mod remit;
pub mod report;
pub mod rules;
pub mod server;
pub mod snapshot;
pub mod suspension;
pub mod traffic;
pub mod view;
pub mod vigil;
pub mod watch;
pub mod witness;
