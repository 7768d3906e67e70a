//! The custom resource on the wire: its types, its schema, what it means to the core, and the keys on objects.
//! No decisions are made here.

pub mod crd;
pub mod image_pull_secret;
pub mod keys;
pub mod lower;
pub mod status;

pub use image_pull_secret::{ImagePullSecret, ImagePullSecretSpec, ImagePullSecretStatus};
