//! A fence around the client of everything but the election: no write starts when this process does not lead.
//!
//! It is asked right before a request goes out, and it compares times itself: a process that was frozen need not have
//! been told that its time is over.

use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};
use std::time::Instant;

use http::{Method, Request, Response};
use tower::{BoxError, Layer, Service};

/// Until when this process may write. Clones share it.
#[derive(Clone, Debug)]
pub struct Warrant(Arc<Mutex<Option<Instant>>>);

/// The layer of a client's stack.
#[derive(Clone, Debug)]
pub struct Fence(pub Warrant);

/// The service that the layer makes.
#[derive(Clone, Debug)]
pub struct Fenced<S> {
    inner: S,
    warrant: Warrant,
}

/// Why a request was not made.
#[derive(Debug, thiserror::Error)]
#[error("this process does not lead any more")]
pub struct NotLeading;

impl Warrant {
    /// One that does not hold yet.
    pub fn none() -> Self {
        Self(Arc::default())
    }

    /// Whether this process may write now.
    pub fn holds(&self) -> bool {
        self.holds_at(Instant::now())
    }

    fn holds_at(&self, now: Instant) -> bool {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).is_some_and(|until| now < until)
    }

    pub(crate) fn set(&self, until: Option<Instant>) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = until;
    }
}

impl<S> Layer<S> for Fence {
    type Service = Fenced<S>;

    fn layer(&self, inner: S) -> Self::Service {
        Fenced { inner, warrant: self.0.clone() }
    }
}

impl<S, B, C> Service<Request<B>> for Fenced<S>
where
    S: Service<Request<B>, Response = Response<C>, Error = BoxError>,
    S::Future: Send + 'static,
{
    type Response = S::Response;
    type Error = BoxError;
    type Future = Pin<Box<dyn Future<Output = Result<S::Response, BoxError>> + Send>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, request: Request<B>) -> Self::Future {
        let reads = [Method::GET, Method::HEAD].contains(request.method());
        if reads || self.warrant.holds() {
            Box::pin(self.inner.call(request))
        } else {
            Box::pin(async { Err(NotLeading.into()) })
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    /// Lets everything through.
    #[derive(Clone)]
    struct Open;

    impl Service<Request<()>> for Open {
        type Response = Response<()>;
        type Error = BoxError;
        type Future = std::future::Ready<Result<Response<()>, BoxError>>;

        fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
            Poll::Ready(Ok(()))
        }

        fn call(&mut self, _: Request<()>) -> Self::Future {
            std::future::ready(Ok(Response::new(())))
        }
    }

    async fn passes(warrant: &Warrant, method: Method) -> bool {
        let request = Request::builder().method(method).body(()).unwrap();
        match Fence(warrant.clone()).layer(Open).call(request).await {
            Ok(_) => true,
            Err(error) => {
                assert!(error.is::<NotLeading>(), "{error}");
                false
            }
        }
    }

    #[tokio::test]
    async fn writes_pass_only_while_the_warrant_holds_and_reads_always() {
        const WRITES: [Method; 4] = [Method::POST, Method::PUT, Method::PATCH, Method::DELETE];
        let warrant = Warrant::none();
        let moment = Instant::now();
        for (until, may_write) in
            [(None, false), (Some(moment + Duration::from_secs(60)), true), (Some(moment), false)]
        {
            warrant.set(until);
            for method in WRITES {
                assert_eq!(passes(&warrant, method).await, may_write, "{until:?}");
            }
            assert!(passes(&warrant, Method::GET).await);
        }
    }

    #[test]
    fn it_ends_by_itself_although_nobody_says_so() {
        let warrant = Warrant::none();
        let end = Instant::now() + Duration::from_secs(3);
        warrant.set(Some(end));
        assert!(warrant.holds_at(end - Duration::from_millis(1)) && !warrant.holds_at(end));
    }
}
