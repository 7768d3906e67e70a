//! What imps decides, and nothing of how it is done: no IO, no clock, no environment, no randomness.
//!
//! In reading order: names and values ([`name`], [`token`], [`credential`], [`registry`]), what is in a Secret
//! ([`dockerconfig`], [`keyring`], [`kubelet`]), who gets what ([`selector`], [`grant`], [`census`], [`source`],
//! [`holding`], [`account`]), what is known ([`world`]), what to do ([`plan()`]), when ([`queue`], [`controller`]) and
//! what to say about it ([`reason`], [`standing`], [`durations`]); and why a pod cannot pull ([`diagnosis`]).

pub mod account;
pub mod census;
pub mod controller;
pub mod credential;
pub mod diagnosis;
pub mod difference;
pub mod dockerconfig;
pub mod durations;
pub mod exchange;
pub mod grant;
pub mod holding;
pub mod keyring;
pub mod kubelet;
pub mod leadership;
pub mod name;
pub mod plan;
pub mod queue;
pub mod reason;
pub mod refresh;
pub mod registry;
pub mod selector;
pub mod source;
pub mod standing;
pub mod token;
pub mod world;

pub use plan::plan;
