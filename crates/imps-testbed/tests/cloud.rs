//! The emulated clouds give tokens to who asks right and is allowed, and to nobody else. The judges are the official
//! clients of another language, so neither side of a test is ours.
#![allow(clippy::unwrap_used, reason = "the helpers of a test fail as the test does")]

mod cloud {
    pub(crate) mod aws;
    pub(crate) mod azure;
    pub(crate) mod github;
    pub(crate) mod google;
    pub(crate) mod judge;
    pub(crate) mod pull;
}
