//! What is sent to the API server, counted by method and answer, and a span in the trace of what it is sent for.
//!
//! It is the innermost layer: what the fence holds back was not sent. A watch counts when it is opened or refused.

use std::collections::BTreeMap;
use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};

use http::{Method, Request, Response, Uri};
use tower::{Layer, Service};
use tracing::field::Empty;
use tracing::{Instrument, Span};

/// Counts of requests. Clones share them.
#[derive(Clone, Default, Debug)]
pub struct Traffic(Arc<Mutex<BTreeMap<Kind, u64>>>);

/// What requests have in common that are counted together.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct Kind {
    /// Host and port of the API server.
    pub host: Arc<str>,
    /// The HTTP method.
    pub method: &'static str,
    /// The HTTP status; none when no answer came, or nobody waited for it any longer.
    pub code: Option<u16>,
}

/// The layer of a client's stack.
#[derive(Clone, Debug)]
pub struct Counting {
    traffic: Traffic,
    host: Arc<str>,
}

/// The service that the layer makes.
#[derive(Clone, Debug)]
pub struct Counted<S> {
    inner: S,
    counting: Counting,
}

impl Traffic {
    /// How many requests of each kind there were.
    pub fn counts(&self) -> BTreeMap<Kind, u64> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// A layer for the client of this server. Its host is named without what a URL may say before it: a login.
    pub(crate) fn with(&self, server: &Uri) -> Counting {
        let port = server.port().map(|port| format!(":{port}")).unwrap_or_default();
        let host = format!("{}{port}", server.host().unwrap_or_default());
        Counting { traffic: self.clone(), host: host.into() }
    }

    /// Counts a request that was made.
    pub fn count(&self, kind: Kind) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner).entry(kind).or_insert(0) += 1;
    }
}

/// A request on its way; it is counted when this is dropped, answered or not.
struct Sent {
    traffic: Traffic,
    kind: Kind,
}

impl Drop for Sent {
    fn drop(&mut self) {
        self.traffic.count(self.kind.clone());
    }
}

impl<S> Layer<S> for Counting {
    type Service = Counted<S>;

    fn layer(&self, inner: S) -> Self::Service {
        Counted { inner, counting: self.clone() }
    }
}

impl<S, B, C> Service<Request<B>> for Counted<S>
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
        let Counting { traffic, host } = self.counting.clone();
        let method = word(request.method());
        // Paths name objects. A query can hold a whole selector, and nobody needs it.
        // On its own a request tells nobody anything: a renewal of the Lease every other second, say.
        let span = if Span::current().is_none() {
            Span::none()
        } else {
            tracing::debug_span!(
                "api request",
                otel.kind = "client",
                http.request.method = method,
                url.path = request.uri().path(),
                http.response.status_code = Empty,
            )
        };
        let sent = Sent { traffic, kind: Kind { host, method, code: None } };
        let answer = self.inner.call(request);
        let counted = async move {
            let mut sent = sent;
            let answer = answer.await;
            if let Ok(response) = &answer {
                let code = response.status().as_u16();
                Span::current().record("http.response.status_code", code);
                sent.kind.code = Some(code);
            }
            answer
        };
        Box::pin(counted.instrument(span))
    }
}

fn word(method: &Method) -> &'static str {
    match *method {
        Method::GET => "GET",
        Method::POST => "POST",
        Method::PUT => "PUT",
        Method::PATCH => "PATCH",
        Method::DELETE => "DELETE",
        _ => "OTHER",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Answers with this status, fails, or never answers.
    #[derive(Clone)]
    enum Server {
        Answers(u16),
        Fails,
        Hangs,
    }

    impl Service<Request<()>> for Server {
        type Response = Response<()>;
        type Error = &'static str;
        type Future = Pin<Box<dyn Future<Output = Result<Response<()>, &'static str>> + Send>>;

        fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), &'static str>> {
            Poll::Ready(Ok(()))
        }

        fn call(&mut self, _: Request<()>) -> Self::Future {
            let server = self.clone();
            Box::pin(async move {
                match server {
                    Server::Answers(code) => Ok(Response::builder().status(code).body(()).unwrap()),
                    Server::Fails => Err("no connection"),
                    Server::Hangs => std::future::pending().await,
                }
            })
        }
    }

    #[tokio::test]
    async fn each_request_is_counted_once_by_its_answer_or_by_the_lack_of_one() {
        let traffic = Traffic::default();
        let layer = traffic.with(&Uri::from_static("https://robot:canary@api.example:6443/prefix"));
        let ask = |server: Server, method: Method| {
            layer.layer(server).call(Request::builder().method(method).uri("/api").body(()).unwrap())
        };
        for _ in 0..2 {
            ask(Server::Answers(200), Method::GET).await.unwrap();
        }
        ask(Server::Answers(409), Method::PATCH).await.unwrap();
        ask(Server::Fails, Method::GET).await.unwrap_err();
        // Whoever gave up did send it.
        drop(ask(Server::Hangs, Method::GET));
        let counts = traffic.counts();
        let seen: Vec<_> = counts.iter().map(|(kind, count)| (kind.method, kind.code, *count)).collect();
        assert_eq!(seen, [("GET", None, 2), ("GET", Some(200), 2), ("PATCH", Some(409), 1)]);
        assert!(counts.keys().all(|kind| &*kind.host == "api.example:6443"), "{counts:?}");
    }
}
