//! A brake for watches: one that the server ends as soon as it is opened is not opened again at once.
//!
//! kube's watcher reopens a watch that ended cleanly without telling its consumer, so no back-off outside sees a
//! server or proxy that closes each watch immediately; without the brake that is thousands of requests a second.

use std::collections::BTreeMap;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;

use http::{Request, Response};
use tokio::time::Instant;
use tower::{Layer, Service};

/// A watch that lived this long was a healthy one.
const HEALTHY: Duration = Duration::from_secs(10);
/// The first pause; each further one doubles.
const PAUSE_MIN: Duration = Duration::from_millis(500);
/// The longest pause.
const PAUSE_MAX: Duration = Duration::from_secs(16);

/// The layer of a client's stack.
#[derive(Clone, Default, Debug)]
pub struct Pace {
    starts: Arc<Mutex<BTreeMap<String, Start>>>,
}

#[derive(Clone, Copy, Debug)]
struct Start {
    at: Instant,
    pause: Duration,
}

/// The service that the layer makes.
#[derive(Clone, Debug)]
pub struct Paced<S> {
    inner: S,
    pace: Pace,
}

impl Pace {
    /// How long this start has to wait. Only a watch that the server had opened counts: one that it refused or never
    /// heard of is paused over by whoever asked for it.
    fn pause(&self, key: &str, now: Instant) -> Duration {
        match self.starts().get(key) {
            None => Duration::ZERO,
            Some(before) if now.saturating_duration_since(before.at) > HEALTHY => Duration::ZERO,
            Some(before) => (before.pause * 2).clamp(PAUSE_MIN, PAUSE_MAX),
        }
    }

    /// The server opened the watch, after this pause.
    fn opened(&self, key: String, pause: Duration, now: Instant) {
        self.starts().insert(key, Start { at: now, pause });
    }

    fn starts(&self) -> std::sync::MutexGuard<'_, BTreeMap<String, Start>> {
        self.starts.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<S> Layer<S> for Pace {
    type Service = Paced<S>;

    fn layer(&self, inner: S) -> Self::Service {
        Paced { inner, pace: self.clone() }
    }
}

impl<S, B, C> Service<Request<B>> for Paced<S>
where
    S: Service<Request<B>, Response = Response<C>>,
    S::Future: Send + 'static,
{
    type Response = S::Response;
    type Error = S::Error;
    type Future = Pin<Box<dyn Future<Output = Result<S::Response, S::Error>> + Send>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, request: Request<B>) -> Self::Future {
        let Some(key) = watch_key(request.uri()) else { return Box::pin(self.inner.call(request)) };
        let pause = self.pace.pause(&key, Instant::now());
        // A request of hyper does nothing until it is polled, so the pause may come between.
        let answer = self.inner.call(request);
        let pace = self.pace.clone();
        Box::pin(async move {
            if !pause.is_zero() {
                tracing::warn!(
                    watch = key,
                    pause_ms = pause.as_millis(),
                    "watch ended early, reopening after a pause"
                );
                tokio::time::sleep(pause).await;
            }
            let answer = answer.await?;
            if answer.status().is_success() {
                pace.opened(key, pause, Instant::now());
            }
            Ok(answer)
        })
    }
}

/// Which watch a request opens, if it opens one: the path and the field selector.
fn watch_key(uri: &http::Uri) -> Option<String> {
    let query = uri.query()?;
    let mut pairs = query.split('&');
    pairs.clone().any(|pair| pair == "watch=true").then(|| {
        let selector = pairs.find(|pair| pair.starts_with("fieldSelector=")).unwrap_or_default();
        format!("{}?{selector}", uri.path())
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_watch_is_paced() {
        let key = |text: &str| watch_key(&text.parse().unwrap());
        assert_eq!(key("/api/v1/pods?limit=5"), None);
        assert_eq!(key("/api/v1/pods"), None);
        assert_eq!(key("/api/v1/pods?&watch=true&timeoutSeconds=290"), Some("/api/v1/pods?".to_owned()));
        assert_ne!(
            key("/api/v1/secrets?watch=true&fieldSelector=a"),
            key("/api/v1/secrets?watch=true&fieldSelector=b")
        );
    }

    #[test]
    fn a_watch_that_ends_at_once_is_reopened_ever_more_slowly() {
        let pace = Pace::default();
        let mut now = Instant::now();
        let mut pauses = Vec::new();
        for _ in 0..8 {
            let pause = pace.pause("w", now);
            pauses.push(pause.as_millis());
            now += pause;
            pace.opened("w".to_owned(), pause, now);
        }
        assert_eq!(pauses, [0, 500, 1000, 2000, 4000, 8000, 16000, 16000]);
        assert_eq!(pace.pause("w", now + HEALTHY * 2), Duration::ZERO, "a healthy life resets the pause");
    }

    #[test]
    fn a_watch_that_was_refused_is_not_held_against_the_next() {
        let pace = Pace::default();
        let now = Instant::now();
        pace.opened("w".to_owned(), Duration::ZERO, now);
        let later = now + HEALTHY * 2;
        assert_eq!(pace.pause("w", later), Duration::ZERO);
        assert_eq!(pace.pause("w", later), Duration::ZERO, "however often it is tried");
    }
}
