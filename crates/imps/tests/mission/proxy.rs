//! A stand-in for the API server that passes requests on to the real one, or fails them as busy and broken servers do.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use axum::Router;
use axum::body::Body;
use axum::extract::{Request, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use futures::StreamExt;
use imps_testbed::plane::Record;
use imps_testbed::{ControlPlane, Plane, fresh_name};
use kube::Client;
use kube::config::{
    AuthInfo, Cluster, Config, Context, KubeConfigOptions, Kubeconfig, NamedAuthInfo, NamedCluster,
    NamedContext,
};
use serde_json::{Value, json};
use tokio::sync::watch;

/// What it does with a request.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Mode {
    /// The real answer.
    Pass,
    /// This status, with the wish to come again after so many seconds.
    Refuse(u16, Option<u32>),
    /// Watches end as soon as they are open; all else passes.
    EndWatches,
    /// Whatever version a watch wants to go on from, it is too old; lists pass.
    Forget,
}

/// The stand-in; it serves while the test's runtime runs.
#[derive(Clone)]
pub(crate) struct Proxy {
    upstream: Client,
    mode: Arc<Mutex<Mode>>,
    /// Open watches end when this changes.
    cut: Arc<watch::Sender<u32>>,
    requests: Arc<AtomicUsize>,
}

impl Proxy {
    /// Starts it, and gives a plane that leads through it.
    pub(crate) async fn start(control: &ControlPlane) -> (Self, Plane) {
        let proxy = Self {
            upstream: stranger(control).await,
            mode: Arc::new(Mutex::new(Mode::Pass)),
            cut: Arc::new(watch::channel(0).0),
            requests: Arc::default(),
        };
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let router = Router::new().fallback(answer).with_state(proxy.clone());
        tokio::spawn(async move { axum::serve(listener, router).await });
        (proxy, plane_at(control, &url))
    }

    /// Changes what becomes of requests from now on. Open watches end.
    pub(crate) fn set(&self, mode: Mode) {
        *self.mode.lock().unwrap() = mode;
        self.cut.send_modify(|count| *count += 1);
    }

    /// How many requests have come.
    pub(crate) fn requests(&self) -> usize {
        self.requests.load(Ordering::SeqCst)
    }

    async fn pass(&self, request: Request, cut: watch::Receiver<u32>) -> Response {
        let (parts, body) = request.into_parts();
        let path = parts.uri.path_and_query().map_or("/", |path| path.as_str());
        let mut onward = axum::http::Request::builder().method(parts.method.clone()).uri(path);
        for name in [header::AUTHORIZATION, header::ACCEPT, header::CONTENT_TYPE] {
            if let Some(value) = parts.headers.get(&name) {
                onward = onward.header(name, value);
            }
        }
        let bytes = axum::body::to_bytes(body, 8 << 20).await.unwrap();
        let onward = onward.body(kube::client::Body::from(bytes.to_vec())).unwrap();
        let answer = match self.upstream.send(onward).await {
            Ok(answer) => answer,
            Err(error) => return (StatusCode::BAD_GATEWAY, error.to_string()).into_response(),
        };
        let (head, body) = answer.into_parts();
        let mut headers = HeaderMap::new();
        if let Some(value) = head.headers.get(header::CONTENT_TYPE) {
            headers.insert(header::CONTENT_TYPE, value.clone());
        }
        let stream = Body::new(body).into_data_stream().take_until(Box::pin(changed(cut)));
        (head.status, headers, Body::from_stream(stream)).into_response()
    }
}

async fn answer(State(proxy): State<Proxy>, request: Request) -> Response {
    proxy.requests.fetch_add(1, Ordering::SeqCst);
    let cut = proxy.cut.subscribe();
    let mode = *proxy.mode.lock().unwrap();
    let (is_watch, from_the_start) = {
        let query = request.uri().query().unwrap_or_default();
        let asks = |wanted: &str| query.split('&').any(|pair| pair == wanted);
        (asks("watch=true"), asks("sendInitialEvents=true"))
    };
    match mode {
        Mode::Forget if is_watch && !from_the_start => {
            let event = json!({"type": "ERROR", "object": status(410, "Expired", None)});
            (StatusCode::OK, [(header::CONTENT_TYPE, "application/json")], format!("{event}\n"))
                .into_response()
        }
        Mode::Refuse(code, after) => refusal(code, after),
        Mode::EndWatches if is_watch => {
            (StatusCode::OK, [(header::CONTENT_TYPE, "application/json")], "").into_response()
        }
        Mode::Pass | Mode::EndWatches | Mode::Forget => proxy.pass(request, cut).await,
    }
}

fn status(code: u16, reason: &str, after: Option<u32>) -> Value {
    json!({
        "kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure", "code": code, "reason": reason,
        "message": "the proxy says so", "details": {"retryAfterSeconds": after.unwrap_or_default()},
    })
}

fn refusal(code: u16, after: Option<u32>) -> Response {
    let reason = match code {
        410 => "Expired",
        429 => "TooManyRequests",
        _ => "InternalError",
    };
    let status = status(code, reason, after);
    let mut headers = HeaderMap::new();
    headers.insert(header::CONTENT_TYPE, "application/json".parse().unwrap());
    if let Some(seconds) = after {
        headers.insert(header::RETRY_AFTER, seconds.into());
    }
    (StatusCode::from_u16(code).unwrap(), headers, status.to_string()).into_response()
}

async fn changed(mut cut: watch::Receiver<u32>) {
    // The sender lives as long as the proxy.
    let _ = cut.changed().await;
}

/// A client without an identity: each request brings its own.
async fn stranger(control: &ControlPlane) -> Client {
    use base64::Engine;
    let ca = base64::prelude::BASE64_STANDARD.encode(control.ca_pem().unwrap());
    let cluster = Cluster {
        server: Some(control.url().to_owned()),
        certificate_authority_data: Some(ca),
        ..Cluster::default()
    };
    let name = "proxy".to_owned();
    let context = Context { cluster: name.clone(), user: Some(name.clone()), ..Context::default() };
    let kubeconfig = Kubeconfig {
        clusters: vec![NamedCluster {
            name: name.clone(),
            cluster: Some(cluster),
            ..NamedCluster::default()
        }],
        auth_infos: vec![NamedAuthInfo {
            name: name.clone(),
            auth_info: Some(AuthInfo::default()),
            ..NamedAuthInfo::default()
        }],
        contexts: vec![NamedContext {
            name: name.clone(),
            context: Some(context),
            ..NamedContext::default()
        }],
        current_context: Some(name),
        ..Kubeconfig::default()
    };
    imps_testbed::install_crypto_provider();
    let mut config = Config::from_custom_kubeconfig(kubeconfig, &KubeConfigOptions::default()).await.unwrap();
    config.default_retry = false;
    Client::try_from(config).unwrap()
}

fn plane_at(control: &ControlPlane, url: &str) -> Plane {
    let folder = control.folder().join(fresh_name("proxy"));
    std::fs::create_dir(&folder).unwrap();
    let record = Record {
        url: url.to_owned(),
        ca: control.folder().join("ca.crt"),
        token: control.folder().join("token"),
        kubeconfig: control.admin_kubeconfig().unwrap(),
        profile: control.profile(),
        audit_log: None,
        processes: std::collections::BTreeMap::new(),
    };
    std::fs::write(folder.join("plane.json"), serde_json::to_string(&record).unwrap()).unwrap();
    Plane::attach(&folder).unwrap()
}
