//! A control plane as its users see it: an address, identities, clients. Owns no process.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Once;

use anyhow::{Context, Result, bail};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use k8s_openapi::api::authentication::v1::{TokenRequest, TokenRequestSpec};
use k8s_openapi::api::core::v1::ServiceAccount;
use kube::Client;
use kube::api::{Api, PostParams};
use kube::config::{
    AuthInfo, Cluster, Config, Context as KubeContext, KubeConfigOptions, Kubeconfig, NamedAuthInfo,
    NamedCluster, NamedContext,
};
use serde::{Deserialize, Serialize};
use tokio::sync::OnceCell;

use crate::control_plane::{ControlPlane, Options};
use crate::daemon::write_private;
use crate::names::fresh_name;

/// The name of the only cluster, user and context in a kubeconfig that we write.
const NAME: &str = "imps-test";

/// The file that describes a running control plane to other processes.
const RECORD: &str = "plane.json";

/// How long a ServiceAccount's token is valid: longer than any test run.
const TOKEN_SECONDS: i64 = 3600;

/// Which programs a control plane runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Profile {
    /// etcd and kube-apiserver. No default ServiceAccounts, no garbage collection, namespaces are never gone.
    ApiServer,
    /// With kube-controller-manager.
    Full,
}

/// Where a control plane is and how to talk to it as its administrator.
#[derive(Clone, Debug)]
pub struct Plane {
    access: Kubeconfig,
    folder: PathBuf,
    profile: Profile,
    audit_log: Option<PathBuf>,
}

/// What `plane.json` says.
#[derive(Debug, Serialize, Deserialize)]
pub struct Record {
    /// Where the API server listens.
    pub url: String,
    /// The certificate authority, PEM.
    pub ca: PathBuf,
    /// The administrator's bearer token.
    pub token: PathBuf,
    /// A kubeconfig of the administrator.
    pub kubeconfig: PathBuf,
    /// Which programs run.
    pub profile: Profile,
    /// The audit log, if there is one.
    pub audit_log: Option<PathBuf>,
    /// The processes by name.
    pub processes: BTreeMap<String, ProcessRecord>,
}

/// A process of a control plane.
#[derive(Debug, Serialize, Deserialize)]
pub struct ProcessRecord {
    /// Its number.
    pub pid: u32,
    /// The program it runs, by which a reused number is told from ours.
    pub program: PathBuf,
}

impl Record {
    /// Reads the record in the folder of a control plane.
    pub fn read(folder: &Path) -> Result<Self> {
        let path = folder.join(RECORD);
        let text = fs::read(&path)
            .with_context(|| format!("there is no control plane: cannot read {}", path.display()))?;
        serde_json::from_slice(&text).with_context(|| format!("{} is not a plane's record", path.display()))
    }

    pub(crate) fn write(&self, folder: &Path) -> Result<()> {
        write_private(&folder.join(RECORD), &serde_json::to_string_pretty(self)?)
    }
}

impl Plane {
    /// The control plane that the tests of this run share; the crate's documentation says which one that is.
    ///
    /// Each call makes the value anew from the same facts; clients are made by the caller, because a client
    /// belongs to the async runtime it was made in and every test has its own.
    pub async fn of_this_run() -> Result<Self> {
        /// A static is never dropped, so the janitor ends the owner's processes with this process.
        struct Shared {
            plane: Plane,
            _owner: Option<ControlPlane>,
        }
        static SHARED: OnceCell<Shared> = OnceCell::const_new();
        let variable = |name| std::env::var(name).ok().filter(|value| !value.is_empty());
        let shared = SHARED.get_or_try_init(|| async {
            if let Some(context) = variable("IMPS_TEST_CONTEXT") {
                return anyhow::Ok(Shared { plane: Self::existing(&context)?, _owner: None });
            }
            if let Some(folder) = variable("IMPS_TEST_PLANE") {
                return Ok(Shared { plane: Self::attach(Path::new(&folder))?, _owner: None });
            }
            let options = Options { audit: true, ..Options::as_full_as_possible()? };
            let owner = ControlPlane::start(options).await?;
            Ok(Shared { plane: owner.plane().clone(), _owner: Some(owner) })
        });
        Ok(shared.await?.plane.clone())
    }

    /// A control plane that another process started, by the folder that holds its record.
    pub fn attach(folder: &Path) -> Result<Self> {
        let record = Record::read(folder)?;
        let ca = fs::read_to_string(&record.ca).context("cannot read the authority of the control plane")?;
        let token =
            fs::read_to_string(&record.token).context("cannot read the token of the control plane")?;
        Ok(Self::new(&record.url, &ca, &token, folder, record.profile, record.audit_log))
    }

    /// An existing cluster, named on purpose by a context of the kubeconfig.
    fn existing(context: &str) -> Result<Self> {
        let kubeconfig =
            Kubeconfig::read().context("IMPS_TEST_CONTEXT is set, but there is no kubeconfig")?;
        let access = only(&kubeconfig, context)?;
        let folder =
            tempfile::Builder::new().prefix("imps-cluster-").tempdir().context("cannot make a folder")?;
        Ok(Self { access, folder: folder.keep(), profile: Profile::Full, audit_log: None })
    }

    pub(crate) fn new(
        url: &str,
        ca_pem: &str,
        token: &str,
        folder: &Path,
        profile: Profile,
        audit_log: Option<PathBuf>,
    ) -> Self {
        let cluster = Cluster {
            server: Some(url.to_owned()),
            certificate_authority_data: Some(STANDARD.encode(ca_pem)),
            ..Cluster::default()
        };
        Self { access: kubeconfig_of(cluster, bearer(token)), folder: folder.into(), profile, audit_log }
    }

    /// Where the API server listens.
    #[must_use]
    pub fn url(&self) -> &str {
        let named = self.access.clusters.first();
        named.and_then(|named| named.cluster.as_ref()?.server.as_deref()).unwrap_or_default()
    }

    /// The certificate authority of the API server. Empty for an existing cluster that uses the system's.
    pub fn ca_pem(&self) -> Result<String> {
        let cluster = self.cluster();
        if let Some(data) = &cluster.certificate_authority_data {
            let bytes = STANDARD.decode(data).context("the authority in the kubeconfig is not base64")?;
            return String::from_utf8(bytes).context("the authority in the kubeconfig is not PEM");
        }
        let file = cluster.certificate_authority.as_deref();
        Ok(file
            .map(fs::read_to_string)
            .transpose()
            .context("cannot read the authority's file")?
            .unwrap_or_default())
    }

    /// Which programs run behind it.
    #[must_use]
    pub fn profile(&self) -> Profile {
        self.profile
    }

    /// One JSON line for each request that was answered; absent for an existing cluster or when not asked for.
    #[must_use]
    pub fn audit_log(&self) -> Option<&Path> {
        self.audit_log.as_deref()
    }

    /// Where its files are, and where files about it may be put.
    #[must_use]
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// A client of the administrator, for the async runtime of the caller.
    pub async fn admin_client(&self) -> Result<Client> {
        client_of(self.access.clone()).await
    }

    /// A client that presents this bearer token and nothing else.
    pub async fn client_with_token(&self, token: &str) -> Result<Client> {
        client_of(kubeconfig_of(self.cluster(), bearer(token))).await
    }

    /// A kubeconfig of the administrator, always the same file.
    pub fn admin_kubeconfig(&self) -> Result<PathBuf> {
        let path = self.folder.join("kubeconfig").join("admin");
        if !path.exists() {
            // By a rename, so that another process never sees half of it.
            fs::rename(self.write(&self.access, "admin")?, &path)
                .context("cannot put a kubeconfig in place")?;
        }
        Ok(path)
    }

    /// A kubeconfig of another identity, readable by its owner only. `name` is part of the file's name.
    pub fn write_kubeconfig(&self, name: &str, token: &str) -> Result<PathBuf> {
        self.write(&kubeconfig_of(self.cluster(), bearer(token)), name)
    }

    /// A token of a ServiceAccount, as a pod would get it, valid for an hour.
    pub async fn service_account_token(&self, namespace: &str, name: &str) -> Result<String> {
        let accounts = Api::<ServiceAccount>::namespaced(self.admin_client().await?, namespace);
        let spec =
            TokenRequestSpec { expiration_seconds: Some(TOKEN_SECONDS), ..TokenRequestSpec::default() };
        let request = TokenRequest { spec, ..TokenRequest::default() };
        let answer = accounts.create_token_request(name, &PostParams::default(), &request).await;
        let answer = answer.with_context(|| format!("no token for ServiceAccount {namespace}/{name}"))?;
        Ok(answer.status.context("the answer to a token request has no status")?.token)
    }

    fn cluster(&self) -> Cluster {
        self.access.clusters.first().and_then(|named| named.cluster.clone()).unwrap_or_default()
    }

    fn write(&self, kubeconfig: &Kubeconfig, name: &str) -> Result<PathBuf> {
        let folder = self.folder.join("kubeconfig");
        fs::create_dir_all(&folder).context("cannot make a folder for kubeconfigs")?;
        let path = folder.join(fresh_name(name));
        // JSON is YAML, so kubectl reads it.
        write_private(&path, &serde_json::to_string_pretty(kubeconfig)?)?;
        Ok(path)
    }
}

/// Installs the process-wide TLS provider, once. Every client needs it; the clients made here have done it.
pub fn install_crypto_provider() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        // An error means that one is installed already, which serves as well.
        let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
    });
}

async fn client_of(kubeconfig: Kubeconfig) -> Result<Client> {
    install_crypto_provider();
    let config = Config::from_custom_kubeconfig(kubeconfig, &KubeConfigOptions::default()).await;
    Client::try_from(config.context("the kubeconfig cannot be used")?).context("cannot make a client")
}

fn bearer(token: &str) -> AuthInfo {
    AuthInfo { token: Some(token.to_owned().into()), ..AuthInfo::default() }
}

fn kubeconfig_of(cluster: Cluster, user: AuthInfo) -> Kubeconfig {
    let context = KubeContext { cluster: NAME.into(), user: Some(NAME.into()), ..KubeContext::default() };
    Kubeconfig {
        api_version: Some("v1".into()),
        kind: Some("Config".into()),
        clusters: vec![NamedCluster { name: NAME.into(), cluster: Some(cluster), ..NamedCluster::default() }],
        auth_infos: vec![NamedAuthInfo {
            name: NAME.into(),
            auth_info: Some(user),
            ..NamedAuthInfo::default()
        }],
        contexts: vec![NamedContext { name: NAME.into(), context: Some(context), ..NamedContext::default() }],
        current_context: Some(NAME.into()),
        ..Kubeconfig::default()
    }
}

/// The one context, with its cluster and user and no other.
fn only(kubeconfig: &Kubeconfig, context: &str) -> Result<Kubeconfig> {
    let known: Vec<&str> = kubeconfig.contexts.iter().map(|named| named.name.as_str()).collect();
    let Some(named) = kubeconfig.contexts.iter().find(|named| named.name == context) else {
        bail!("IMPS_TEST_CONTEXT={context} is no context of the kubeconfig; it has: {}", known.join(", "));
    };
    let wanted = named.context.clone().unwrap_or_default();
    let cluster = kubeconfig.clusters.iter().find(|named| named.name == wanted.cluster);
    let cluster = cluster.and_then(|named| named.cluster.clone());
    let user = kubeconfig.auth_infos.iter().find(|named| Some(&named.name) == wanted.user.as_ref());
    let user = user.and_then(|named| named.auth_info.clone());
    let cluster = cluster.with_context(|| format!("context {context} names a cluster that is not there"))?;
    Ok(kubeconfig_of(cluster, user.unwrap_or_default()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn plane() -> Plane {
        Plane::new("https://127.0.0.1:1", "PEM", "secret", Path::new("f"), Profile::Full, None)
    }

    #[test]
    fn a_context_that_does_not_exist_is_refused_by_name() {
        let error = only(&plane().access, "production").expect_err("not there").to_string();
        assert!(error.contains("production") && error.contains(NAME), "{error}");
    }

    #[test]
    fn a_context_is_taken_alone() {
        let mut kubeconfig = plane().access;
        kubeconfig.contexts.push(NamedContext { name: "other".into(), ..NamedContext::default() });
        let taken = only(&kubeconfig, NAME).expect("there");
        assert_eq!(taken.contexts.len(), 1);
        assert_eq!(
            taken.clusters[0].cluster.as_ref().and_then(|c| c.server.as_deref()),
            Some("https://127.0.0.1:1")
        );
    }

    #[test]
    fn the_description_of_a_plane_does_not_show_its_token() {
        assert!(!format!("{:?}", plane()).contains("secret"));
    }
}
