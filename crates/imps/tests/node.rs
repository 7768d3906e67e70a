//! The real operator and a real node: pods get their images with what imps has written.
//!
//! All of it runs in namespaces of its own: each test starts itself again in there.
#![allow(clippy::unwrap_used, reason = "a scene fails where its stage does")]

mod node {
    pub(crate) mod agreement;
    pub(crate) mod beyond;
    pub(crate) mod providers;
    pub(crate) mod release;
    pub(crate) mod rows;
    pub(crate) mod stage;
    pub(crate) mod waiting;
}
