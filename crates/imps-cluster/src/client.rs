//! The connection to the API server.

use std::time::Duration;

use kube::client::ClientBuilder;
use kube::config::{KubeConfigOptions, Kubeconfig};
use kube::{Client, Config};

use crate::fence::{Fence, Warrant};
use crate::pace::Pace;
use crate::traffic::Traffic;

/// How long a connection may take to be made.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);

/// Where every pod with a service account finds its namespace
/// (kubernetes/website: content/en/docs/tasks/run-application/access-api-from-pod.md).
const NAMESPACE_FILE: &str = "/var/run/secrets/kubernetes.io/serviceaccount/namespace";

/// Which cluster, and as whom.
#[derive(Clone, Default, Debug)]
pub struct Access {
    /// A kubeconfig file; without one the usual places are searched: the pod's own service account, `KUBECONFIG`, the
    /// home folder.
    pub kubeconfig: Option<std::path::PathBuf>,
    /// A context in it.
    pub context: Option<String>,
}

/// Why there is no connection.
#[derive(Debug, thiserror::Error)]
pub enum ConnectError {
    /// The named kubeconfig cannot be used.
    #[error("cannot use the kubeconfig {path}")]
    Kubeconfig {
        /// The file.
        path: String,
        /// What is wrong with it.
        #[source]
        source: kube::config::KubeconfigError,
    },
    /// No place has a configuration.
    #[error(
        "no cluster is configured: run in a pod with a service account, set KUBECONFIG, or pass --kubeconfig"
    )]
    NoConfig(#[source] Box<dyn std::error::Error + Send + Sync>),
    /// The configuration does not make a client.
    #[error("cannot make a client for the API server")]
    Client(#[source] kube::Error),
}

/// Connects, and counts what is sent. Nothing is yet.
pub async fn connect(access: &Access, traffic: &Traffic) -> Result<Client, ConnectError> {
    let config = configure(access).await?;
    let counting = traffic.with(&config.cluster_url);
    let builder = ClientBuilder::try_from(config).map_err(ConnectError::Client)?;
    Ok(builder.with_layer(&counting).with_layer(&Pace::default()).build())
}

/// As [`connect`], but writes go out only while the warrant holds.
pub async fn connect_fenced(
    access: &Access,
    traffic: &Traffic,
    warrant: Warrant,
) -> Result<Client, ConnectError> {
    let config = configure(access).await?;
    let counting = traffic.with(&config.cluster_url);
    let builder = ClientBuilder::try_from(config).map_err(ConnectError::Client)?;
    Ok(builder.with_layer(&counting).with_layer(&Pace::default()).with_layer(&Fence(warrant)).build())
}

/// The names of the contexts in a kubeconfig, or in those of the usual places; none where nothing can be read.
pub fn contexts(kubeconfig: Option<&std::path::Path>) -> Vec<String> {
    let read = kubeconfig.map_or_else(Kubeconfig::read, Kubeconfig::read_from);
    let contexts = read.map(|kubeconfig| kubeconfig.contexts).unwrap_or_default();
    contexts.into_iter().map(|context| context.name).collect()
}

/// The namespace of the pod that this process runs in, if it does.
pub fn own_namespace() -> Option<String> {
    let text = std::fs::read_to_string(NAMESPACE_FILE).ok()?;
    Some(text.trim().to_owned()).filter(|name| !name.is_empty())
}

async fn configure(access: &Access) -> Result<Config, ConnectError> {
    let options = KubeConfigOptions { context: access.context.clone(), ..KubeConfigOptions::default() };
    let in_pod = std::env::var_os("KUBERNETES_SERVICE_HOST").is_some();
    let mut config = match &access.kubeconfig {
        Some(path) => {
            let fail = |source| ConnectError::Kubeconfig { path: path.display().to_string(), source };
            let kubeconfig = Kubeconfig::read_from(path).map_err(fail)?;
            Config::from_custom_kubeconfig(kubeconfig, &options).await.map_err(fail)?
        }
        // Not `Config::infer`: it lets environment variables meant for debugging change the identity.
        None if in_pod && access.context.is_none() => {
            Config::incluster().map_err(|error| ConnectError::NoConfig(error.into()))?
        }
        None => {
            Config::from_kubeconfig(&options).await.map_err(|error| ConnectError::NoConfig(error.into()))?
        }
    };
    config.connect_timeout = Some(CONNECT_TIMEOUT);
    // The queue tries again with a back-off of its own; the client's hidden repeats would hold a place in it for
    // minutes.
    config.default_retry = false;
    Ok(config)
}
