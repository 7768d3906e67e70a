//! Probes and metrics over HTTP.

use std::net::SocketAddr;

use axum::Router;
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::IntoResponse;
use axum::routing::get;
use tokio::net::TcpListener;
use tokio::task::JoinHandle;

use super::metrics::Metrics;
use crate::controller::window::Window;

/// The server while it runs.
pub(crate) struct Admin {
    address: SocketAddr,
    task: JoinHandle<()>,
}

/// Why the server does not start.
#[derive(Debug, thiserror::Error)]
#[error("cannot listen on --metrics-addr {address}")]
pub(crate) struct ListenError {
    address: String,
    #[source]
    source: std::io::Error,
}

/// Starts to serve `/livez`, `/readyz` and `/metrics`. An address without a host means all of them, as in Go.
pub(crate) async fn serve(address: &str, window: Window, metrics: Metrics) -> Result<Admin, ListenError> {
    let fail = |source| ListenError { address: address.to_owned(), source };
    let listener = match address.strip_prefix(':') {
        // A machine without IPv6 has no [::].
        Some(port) => match TcpListener::bind(format!("[::]:{port}")).await {
            Ok(listener) => Ok(listener),
            Err(_) => TcpListener::bind(format!("0.0.0.0:{port}")).await,
        },
        None => TcpListener::bind(address).await,
    }
    .map_err(fail)?;
    let address = listener.local_addr().map_err(fail)?;
    let routes = Router::new()
        .route("/livez", get(live))
        .route("/healthz", get(live))
        .route("/readyz", get(ready))
        .with_state(window.clone())
        .route("/metrics", get(scrape))
        .with_state((window, metrics));
    let task = tokio::spawn(async move {
        if let Err(error) = axum::serve(listener, routes).await {
            tracing::error!(%error, "probes and metrics are no longer served");
        }
    });
    Ok(Admin { address, task })
}

impl Admin {
    /// Where it listens.
    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }

    /// Ends it.
    pub(crate) async fn stop(self) {
        self.task.abort();
        // An aborted task ends with the news that it was aborted.
        let _ = self.task.await;
    }
}

/// Alive while the loop turns; an API server that is away is no reason to restart.
async fn live(State(window): State<Window>) -> impl IntoResponse {
    match window.stuck() {
        None => (StatusCode::OK, "ok\n".to_owned()),
        Some(for_how_long) => (
            StatusCode::INTERNAL_SERVER_ERROR,
            format!("the loop has not turned for {} s\n", for_how_long.as_secs()),
        ),
    }
}

/// Ready when everything that is wanted has been read once.
async fn ready(State(window): State<Window>) -> impl IntoResponse {
    match window.missing() {
        None => (StatusCode::OK, "ok\n".to_owned()),
        Some(missing) => (StatusCode::SERVICE_UNAVAILABLE, format!("not read yet: {missing}\n")),
    }
}

async fn scrape(State((window, metrics)): State<(Window, Metrics)>) -> impl IntoResponse {
    let kind = [(header::CONTENT_TYPE, "application/openmetrics-text; version=1.0.0; charset=utf-8")];
    match window.look().await {
        Some(view) => (StatusCode::OK, kind, metrics.render(&view)),
        None => (StatusCode::SERVICE_UNAVAILABLE, kind, String::new()),
    }
}
