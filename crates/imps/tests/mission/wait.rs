//! Waiting for what is to happen, and watching that something does not.

use std::time::{Duration, Instant};

/// How long a thing may take that is to happen. Far more than it takes: two cores are shared with everything else.
const WITHIN: Duration = Duration::from_secs(20);
/// How often it is looked at.
const LOOK_EVERY: Duration = Duration::from_millis(10);
/// How soon an effect has to be seen that is promised to be prompt.
const PROMPT: Duration = Duration::from_secs(1);

/// Looks again and again until it holds; what was seen last is in the failure.
pub(crate) async fn eventually<T>(what: &str, look: impl AsyncFnMut() -> Result<T, String>) -> T {
    within(WITHIN, what, look).await
}

/// As [`eventually`], with another limit.
pub(crate) async fn within<T>(
    limit: Duration,
    what: &str,
    mut look: impl AsyncFnMut() -> Result<T, String>,
) -> T {
    let start = Instant::now();
    loop {
        match look().await {
            Ok(value) => return value,
            Err(state) if start.elapsed() > limit => {
                panic!("not within {limit:?}: {what}\nlast seen: {state}");
            }
            Err(_) => tokio::time::sleep(LOOK_EVERY).await,
        }
    }
}

/// Watches for a while that something holds all the time: absence has no event to wait for.
pub(crate) async fn always(during: Duration, what: &str, mut look: impl AsyncFnMut() -> Result<(), String>) {
    let start = Instant::now();
    while start.elapsed() < during {
        if let Err(state) = look().await {
            panic!("did not hold for {during:?}: {what}\nseen: {state}");
        }
        tokio::time::sleep(LOOK_EVERY * 5).await;
    }
}

/// Prints how long something took and holds it to the promise. The best of a few: a busy machine may delay one.
pub(crate) fn assert_prompt(what: &str, took: &[Duration]) {
    let best = took.iter().min().copied().unwrap_or_default();
    say(&format!("{what}: {took:.0?}"));
    assert!(best < PROMPT, "{what} took {took:?}");
}

/// A line for the person who reads the output of the tests.
#[expect(clippy::print_stdout, reason = "the one place where scenes tell what they measured")]
pub(crate) fn say(line: &str) {
    println!("{line}");
}
