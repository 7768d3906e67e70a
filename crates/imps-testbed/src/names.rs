//! Names that no other test of this run has.

use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{SystemTime, UNIX_EPOCH};

/// A name that starts with `prefix` and is unique for this process and call.
///
/// Tests share a control plane and never wait on deletion, so each takes fresh names. The result is a valid
/// Kubernetes name when `prefix` is one of at most 45 characters.
///
/// ```
/// let name = imps_testbed::fresh_name("shop");
/// assert!(name.starts_with("shop-"));
/// assert_ne!(name, imps_testbed::fresh_name("shop"));
/// ```
#[must_use]
pub fn fresh_name(prefix: &str) -> String {
    static CALLS: AtomicU32 = AtomicU32::new(0);
    let call = CALLS.fetch_add(1, Ordering::Relaxed);
    // A process number alone comes back after a while, and a shared control plane may outlive it.
    let seconds = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs());
    format!("{prefix}-{:x}-{:x}-{call:x}", seconds & 0xff_ffff, std::process::id())
}
