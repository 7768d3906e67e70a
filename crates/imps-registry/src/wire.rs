//! HTTP as the dialogues of this crate need it: one TLS stack for all, no proxy, no redirect, no answer without end or
//! after the limit. This is where credentials become bytes that leave the process.

use std::error::Error as _;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use bytes::Bytes;
use http::header::{ACCEPT, AUTHORIZATION, CONTENT_TYPE, DATE, HeaderName, RETRY_AFTER, USER_AGENT};
use http::{HeaderMap, HeaderValue, Method};
use http_body_util::{BodyExt as _, Full};
use hyper_rustls::{ConfigBuilderExt as _, HttpsConnector, HttpsConnectorBuilder};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use imps_core::credential::Credential;
use imps_core::exchange::ExchangeFault;
use imps_core::token::Token;
use rustls::{ClientConfig, RootCertStore};
use serde::Serialize;
use serde::de::DeserializeOwned;
use zeroize::Zeroizing;

use crate::clock::{self, our_time};
use crate::fault::{Partner, Refused};
use crate::outside::Limits;

/// Real answers have a few KiB.
pub(crate) const ANSWER_BYTES_MAX: usize = 1024 * 1024;
/// Real tokens have 1 to 4 KiB, and every namespace gets a copy.
const TOKEN_BYTES_MAX: usize = 64 * 1024;

/// GitHub answers nobody without a name.
const NAME: &str = concat!("imps/", env!("CARGO_PKG_VERSION"));
/// How many requests are left, as GitHub says it.
const REMAINING: HeaderName = HeaderName::from_static("x-ratelimit-remaining");

/// A client on the one TLS stack.
pub(crate) type HttpClient = Client<HttpsConnector<HttpConnector>, Full<Bytes>>;

/// The client that all exchanges share. Certificates are read when the first request is made.
#[derive(Clone)]
pub(crate) struct Wire {
    client: Arc<OnceLock<HttpClient>>,
    limits: Limits,
}

impl Wire {
    /// With this patience.
    pub(crate) fn new(limits: Limits) -> Self {
        Self { client: Arc::default(), limits }
    }

    /// Asks, and answers whatever came back.
    pub(crate) async fn ask(
        &self,
        partner: &'static Partner,
        request: Request,
    ) -> Result<Answer, ExchangeFault> {
        match tokio::time::timeout(self.limits.answer, self.dialogue(partner, request)).await {
            Ok(answer) => answer,
            Err(_) => Err(partner.silent(self.limits.answer)),
        }
    }

    async fn dialogue(&self, partner: &'static Partner, request: Request) -> Result<Answer, ExchangeFault> {
        let Ok(request) = request.finish() else { return Err(partner.unconnected()) };
        let client = self.client.get_or_init(|| client(self.limits.connect));
        // What is no HTTP is nonsense; a connection that ends early is as good as none.
        let lost = |error: Option<&hyper::Error>| match error {
            Some(error) if error.is_parse() => partner.nonsense(),
            _ => partner.unconnected(),
        };
        let answer = client.request(request).await;
        let mut answer = answer
            .map_err(|error| lost(error.source().and_then(|source| source.downcast_ref::<hyper::Error>())))?;
        let mut body = Zeroizing::new(Vec::new());
        while let Some(frame) = answer.body_mut().frame().await {
            let frame = frame.map_err(|error| lost(Some(&error)))?;
            let Ok(piece) = frame.into_data() else { continue };
            if body.len() + piece.len() > ANSWER_BYTES_MAX {
                return Err(partner.nonsense());
            }
            body.extend_from_slice(&piece);
        }
        let text = |name: HeaderName| answer.headers().get(name).and_then(|value| value.to_str().ok());
        Ok(Answer {
            partner,
            status: answer.status().as_u16(),
            time: text(DATE).and_then(clock::http_date),
            retry_after: clock::retry_after(text(RETRY_AFTER), text(DATE)),
            spent: text(REMAINING) == Some("0"),
            body,
        })
    }
}

/// A client that waits so long for a connection.
pub(crate) fn client(connect: Duration) -> HttpClient {
    let mut http = HttpConnector::new();
    http.enforce_http(false);
    http.set_connect_timeout(Some(connect));
    // Unencrypted addresses are for this machine and metadata servers only; who reads them from a Secret sees to that.
    let https = HttpsConnectorBuilder::new()
        .with_tls_config(tls())
        .https_or_http()
        .enable_http1()
        .wrap_connector(http);
    // An exchange happens every few hours: no connection is worth keeping.
    Client::builder(TokioExecutor::new())
        .pool_max_idle_per_host(0)
        .retry_canceled_requests(false)
        .build(https)
}

fn tls() -> ClientConfig {
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let builder = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .expect("the provider has the default versions");
    match builder.clone().with_native_roots() {
        Ok(builder) => builder.with_no_client_auth(),
        // A machine that trusts nobody reaches nobody, and is told so then.
        Err(_) => builder.with_root_certificates(RootCertStore::empty()).with_no_client_auth(),
    }
}

/// What is asked.
pub(crate) struct Request {
    method: Method,
    url: String,
    headers: HeaderMap,
    body: Bytes,
}

impl Request {
    fn new(method: Method, url: String, body: Bytes) -> Self {
        let headers = HeaderMap::from_iter([
            (USER_AGENT, HeaderValue::from_static(NAME)),
            (ACCEPT, HeaderValue::from_static("application/json")),
        ]);
        Self { method, url, headers, body }
    }

    /// Asks for what is there.
    pub(crate) fn get(url: String) -> Self {
        Self::new(Method::GET, url, Bytes::new())
    }

    /// Asks whether something is there.
    pub(crate) fn head(url: String) -> Self {
        Self::new(Method::HEAD, url, Bytes::new())
    }

    /// Sends a form.
    pub(crate) fn form(url: String, form: Form) -> Self {
        Self::new(Method::POST, url, Bytes::from_owner(form.0))
            .with(CONTENT_TYPE, "application/x-www-form-urlencoded")
    }

    /// Sends JSON that is no secret.
    pub(crate) fn json(url: String, body: &impl Serialize) -> Self {
        let body = serde_json::to_vec(body).unwrap_or_default();
        Self::new(Method::POST, url, body.into()).with(CONTENT_TYPE, "application/json")
    }

    /// With a header that is no secret.
    pub(crate) fn with(mut self, name: HeaderName, value: &'static str) -> Self {
        self.headers.insert(name, HeaderValue::from_static(value));
        self
    }

    /// Who holds this token asks.
    pub(crate) fn bearer(self, token: &Token) -> Self {
        self.authorized(Zeroizing::new(format!("Bearer {}", token.reveal()).into_bytes()))
    }

    /// Who has this login asks.
    pub(crate) fn basic(self, login: &Credential) -> Self {
        let pair = Zeroizing::new(format!("{}:{}", login.username, login.password.reveal()));
        // Room for all of it at once, as what is moved out of a text that grows is not wiped.
        let mut text = Zeroizing::new(String::with_capacity("Basic ".len() + pair.len().div_ceil(3) * 4));
        text.push_str("Basic ");
        BASE64_STANDARD.encode_string(pair.as_bytes(), &mut text);
        self.authorized(Zeroizing::new(std::mem::take(&mut *text).into_bytes()))
    }

    fn authorized(mut self, text: Zeroizing<Vec<u8>>) -> Self {
        if let Ok(mut value) = HeaderValue::from_maybe_shared(Bytes::from_owner(text)) {
            value.set_sensitive(true);
            self.headers.insert(AUTHORIZATION, value);
        }
        self
    }

    /// As the client takes it.
    pub(crate) fn finish(self) -> Result<http::Request<Full<Bytes>>, http::Error> {
        let mut request =
            http::Request::builder().method(self.method).uri(self.url).body(Full::new(self.body))?;
        *request.headers_mut() = self.headers;
        Ok(request)
    }
}

/// Fields of a form, as they are sent.
#[derive(Default)]
pub(crate) struct Form(Zeroizing<String>);

impl Form {
    /// With this field.
    pub(crate) fn with(mut self, name: &'static str, value: &str) -> Self {
        // Room for all of it at once, as what is moved out of a text that grows is not wiped.
        let mut text = Zeroizing::new(String::with_capacity(self.0.len() + name.len() + 2 + 3 * value.len()));
        text.push_str(&self.0);
        if !text.is_empty() {
            text.push('&');
        }
        text.push_str(name);
        text.push('=');
        text.extend(form_urlencoded::byte_serialize(value.as_bytes()));
        self.0 = text;
        self
    }

    /// With this secret.
    pub(crate) fn with_token(self, name: &'static str, token: &Token) -> Self {
        self.with(name, token.reveal())
    }
}

/// What came back.
pub(crate) struct Answer {
    partner: &'static Partner,
    status: u16,
    time: Option<Duration>,
    retry_after: Option<Duration>,
    spent: bool,
    body: Zeroizing<Vec<u8>>,
}

impl Answer {
    /// Its status.
    pub(crate) fn status(&self) -> u16 {
        self.status
    }

    /// What time the server had when it sent it; ours when it did not say.
    pub(crate) fn time(&self) -> Duration {
        self.time.unwrap_or_else(our_time)
    }

    /// What it says, when it is a success.
    pub(crate) fn read<T: DeserializeOwned>(&self) -> Result<T, ExchangeFault> {
        if !(200..300).contains(&self.status) {
            return Err(self.partner.refused(Refused {
                status: self.status,
                body: &self.body,
                skew: self.time.map(|time| time.abs_diff(our_time())),
                retry_after: self.retry_after,
                spent: self.spent,
            }));
        }
        // An error of the parser would quote what it could not read.
        serde_json::from_slice(&self.body).map_err(|_| self.nonsense())
    }

    /// A token in it.
    pub(crate) fn token(&self, text: String) -> Result<Token, ExchangeFault> {
        usable(Token::new(text)).ok_or_else(|| self.nonsense())
    }

    /// It is not what its API promises.
    pub(crate) fn nonsense(&self) -> ExchangeFault {
        self.partner.nonsense()
    }
}

/// The token, if it can go into a header and is no burden.
pub(crate) fn usable(token: Token) -> Option<Token> {
    let text = token.reveal();
    let usable = (1..=TOKEN_BYTES_MAX).contains(&text.len()) && text.bytes().all(|b| b.is_ascii_graphic());
    usable.then_some(token)
}
