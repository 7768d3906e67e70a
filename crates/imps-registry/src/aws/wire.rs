//! The HTTP client under the SDK: one TLS stack for all, no proxy, no redirect, no answer without end. It also notes
//! what time the server has, which the SDK keeps to itself.

use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use aws_smithy_http_client::tls::{self, rustls_provider::CryptoMode};
use aws_smithy_runtime_api::client::http::{
    HttpClient, HttpConnector, HttpConnectorFuture, HttpConnectorSettings, SharedHttpClient,
    SharedHttpConnector,
};
use aws_smithy_runtime_api::client::orchestrator::HttpRequest;
use aws_smithy_runtime_api::client::result::ConnectorError;
use aws_smithy_runtime_api::client::runtime_components::RuntimeComponents;
use aws_smithy_types::body::SdkBody;
use aws_smithy_types::byte_stream::ByteStream;

use crate::clock::{http_date, our_time};
use crate::wire::ANSWER_BYTES_MAX;

/// The client that all exchanges share. Certificates are read when the first connection is made.
pub(crate) fn http_client() -> SharedHttpClient {
    aws_smithy_http_client::Builder::new()
        .tls_provider(tls::Provider::Rustls(CryptoMode::AwsLc))
        .build_https()
}

/// The shared client as one exchange sees it.
#[derive(Clone, Debug)]
pub(super) struct Wire {
    client: SharedHttpClient,
    clock: ServerClock,
}

impl Wire {
    pub(super) fn new(client: SharedHttpClient) -> Self {
        Self { client, clock: ServerClock::default() }
    }

    /// What time the server of the last answer had when it sent it; ours when it did not say.
    pub(super) fn server_time(&self) -> Duration {
        self.clock.last().unwrap_or_else(our_time)
    }
}

#[derive(Clone, Default, Debug)]
struct ServerClock(Arc<Mutex<Option<Duration>>>);

impl ServerClock {
    fn note(&self, date: Option<&str>) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = date.and_then(http_date);
    }

    fn last(&self) -> Option<Duration> {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl HttpClient for Wire {
    fn http_connector(
        &self,
        settings: &HttpConnectorSettings,
        components: &RuntimeComponents,
    ) -> SharedHttpConnector {
        let connector = self.client.http_connector(settings, components);
        SharedHttpConnector::new(Connector { connector, clock: self.clock.clone() })
    }
}

#[derive(Debug)]
struct Connector {
    connector: SharedHttpConnector,
    clock: ServerClock,
}

impl HttpConnector for Connector {
    fn call(&self, request: HttpRequest) -> HttpConnectorFuture {
        let answer = self.connector.call(request);
        let clock = self.clock.clone();
        clock.note(None);
        HttpConnectorFuture::new(async move {
            let mut answer = answer.await?;
            clock.note(answer.headers().get("date"));
            let mut rest = ByteStream::new(answer.take_body());
            let mut body = Vec::new();
            while let Some(piece) = rest.next().await {
                let piece = piece.map_err(|error| ConnectorError::io(error.into()))?;
                if body.len() + piece.len() > ANSWER_BYTES_MAX {
                    return Err(ConnectorError::other(Endless.into(), None));
                }
                body.extend_from_slice(&piece);
            }
            *answer.body_mut() = SdkBody::from(body);
            Ok(answer)
        })
    }
}

/// The answer is longer than any real one.
#[derive(Debug)]
pub(super) struct Endless;

impl fmt::Display for Endless {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the answer is too long")
    }
}

impl std::error::Error for Endless {}
