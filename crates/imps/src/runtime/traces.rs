//! Traces: the spans of plans, exchanges and the requests inside, sent by OTLP over HTTP to where
//! `OTEL_EXPORTER_OTLP_ENDPOINT` says. Only our own spans go out, and they name objects; events, and what libraries
//! say, stay here.

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use bytes::Bytes;
use http::{Request, Response};
use http_body_util::{BodyExt, Full, Limited};
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use opentelemetry::KeyValue;
use opentelemetry::trace::TracerProvider;
use opentelemetry_http::{HttpClient, HttpError};
use opentelemetry_otlp::{Protocol, SpanExporter, WithExportConfig, WithHttpConfig};
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::trace::SdkTracerProvider;
use tokio::runtime::Runtime;
use tracing_subscriber::filter::{LevelFilter, filter_fn};
use tracing_subscriber::{Layer, Registry};

/// Where a collector is named (opentelemetry.io/docs/specs/otel/protocol/exporter).
const ENDPOINTS: [&str; 2] = ["OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "OTEL_EXPORTER_OTLP_ENDPOINT"];
/// How long a collector may take.
const TIMEOUT: Duration = Duration::from_secs(10);
/// How much of its answer is read; it says next to nothing.
const ANSWER_BYTES_MAX: usize = 64 * 1024;
/// How long the end of the process waits for the last spans to be taken.
const FLUSH: Duration = Duration::from_secs(2);

/// The spans on their way.
#[derive(Clone, Debug)]
pub(crate) struct Traces(SdkTracerProvider);

impl Traces {
    /// As the environment says; none when it names no collector.
    pub(crate) fn begin() -> Result<Option<Self>, String> {
        let is_set = |name: &str| std::env::var_os(name).is_some_and(|value| !value.is_empty());
        let Some(name) = ENDPOINTS.into_iter().find(|name| is_set(name)) else { return Ok(None) };
        // The address is not quoted: it can hold a login.
        let exporter =
            Courier::new().map_err(|error| format!("cannot send traces: {error}")).and_then(|courier| {
                let builder = SpanExporter::builder().with_http().with_http_client(courier);
                let exporter = builder.with_protocol(Protocol::HttpBinary).build();
                exporter.map_err(|_| {
                    format!("traces cannot be sent to what {name} says; it has to be an HTTP URL")
                })
            })?;
        let service = std::env::var("OTEL_SERVICE_NAME").unwrap_or_else(|_| "imps".to_owned());
        let resource = Resource::builder()
            .with_service_name(service)
            .with_attribute(KeyValue::new("service.version", env!("CARGO_PKG_VERSION")))
            .build();
        Ok(Some(Self(
            SdkTracerProvider::builder().with_resource(resource).with_batch_exporter(exporter).build(),
        )))
    }

    /// What makes spans of ours into those of OpenTelemetry.
    pub(crate) fn layer(&self) -> Box<dyn Layer<Registry> + Send + Sync> {
        let ours = filter_fn(|metadata| metadata.is_span() && metadata.target().starts_with("imps"));
        tracing_opentelemetry::layer()
            .with_tracer(self.0.tracer("imps"))
            .with_location(false)
            .with_threads(false)
            .with_tracked_inactivity(false)
            .with_filter(ours.with_max_level_hint(LevelFilter::DEBUG))
            .boxed()
    }

    /// Sends what is left.
    pub(crate) fn end(&self) {
        if self.0.shutdown_with_timeout(FLUSH).is_err() {
            tracing::warn!("the last traces were not sent");
        }
    }
}

/// Carries spans to the collector. The SDK calls it on a thread of its own, where no runtime runs: it brings one.
struct Courier {
    runtime: Runtime,
    /// Made when it is needed first, as TLS is not chosen yet when logging starts.
    client: OnceLock<Client<HttpsConnector<HttpConnector>, Full<Bytes>>>,
    failing: AtomicBool,
}

impl Courier {
    fn new() -> std::io::Result<Self> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        Ok(Self { runtime, client: OnceLock::new(), failing: AtomicBool::new(false) })
    }

    fn client(&self) -> std::io::Result<&Client<HttpsConnector<HttpConnector>, Full<Bytes>>> {
        if let Some(client) = self.client.get() {
            return Ok(client);
        }
        let connector =
            HttpsConnectorBuilder::new().with_native_roots()?.https_or_http().enable_http1().build();
        // Between two batches nobody looks after a connection.
        let client = Client::builder(TokioExecutor::new()).pool_max_idle_per_host(0).build(connector);
        Ok(self.client.get_or_init(|| client))
    }

    fn carry(&self, request: Request<Bytes>) -> Result<Response<Bytes>, HttpError> {
        let client = self.client()?;
        self.runtime.block_on(async {
            let answer = tokio::time::timeout(TIMEOUT, async {
                let (head, body) = client.request(request.map(Full::new)).await?.into_parts();
                let body = Limited::new(body, ANSWER_BYTES_MAX).collect().await?.to_bytes();
                Ok(Response::from_parts(head, body))
            });
            answer.await?
        })
    }

    /// Says once that spans are lost, and once that they are no longer.
    fn tell(&self, failing: bool) {
        match (self.failing.swap(failing, Ordering::Relaxed), failing) {
            (false, true) => tracing::warn!("traces are not taken by the collector, and get lost"),
            (true, false) => tracing::info!("traces are taken by the collector again"),
            _ => {}
        }
    }
}

impl fmt::Debug for Courier {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Courier")
    }
}

impl HttpClient for Courier {
    // What the macro `async_trait` makes of `async fn`.
    fn send_bytes<'life0, 'async_trait>(
        &'life0 self,
        request: Request<Bytes>,
    ) -> Pin<Box<dyn Future<Output = Result<Response<Bytes>, HttpError>> + Send + 'async_trait>>
    where
        'life0: 'async_trait,
        Self: 'async_trait,
    {
        Box::pin(async move {
            let answer = self.carry(request);
            self.tell(!answer.as_ref().is_ok_and(|answer| answer.status().is_success()));
            answer
        })
    }
}
