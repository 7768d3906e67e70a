//! The floor: plain workers that make the writes that imps makes, and decide nothing.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use imps_api::keys;
use k8s_openapi::api::core::v1::{Secret, ServiceAccount};
use kube::Client;
use kube::api::{Api, Patch, PatchParams};
use serde_json::{Value, json};
use tokio::task::JoinSet;

use crate::lookout::{Lookout, Sighting};

/// Where an API server's rate no longer grows; imps has as many.
pub(super) const WORKERS: usize = 16;

/// Plain workers, with one client as imps has; it opens a connection for each of them.
pub(super) struct Workers {
    client: Client,
    namespaces: Vec<String>,
    /// The ServiceAccount to which each Secret is attached, if it is.
    account: Option<&'static str>,
}

impl Workers {
    pub(super) fn new(client: Client, namespaces: Vec<String>, account: Option<&'static str>) -> Self {
        Self { client, namespaces, account }
    }

    /// Writes one Secret into each namespace by server-side apply, as imps does: a create without force, an update
    /// with the UID and force; answers as metadata. Where they are to be attached, a patch of the ServiceAccount in
    /// the version that was seen follows. Returns how long it took until a watch had seen the last one.
    pub(super) async fn fill(&self, name: &str, config: &str, patience: Duration) -> Result<Duration> {
        let secrets = Lookout::over(self.client.clone(), name).await?;
        let accounts = match self.account {
            Some(account) => Some(Lookout::over_accounts(self.client.clone(), account, name).await?),
            None => None,
        };
        let uids = Arc::new(secrets.uids());
        let last_written = accounts.as_ref().unwrap_or(&secrets);
        let newest = last_written.newest();
        let data = Arc::new(encoded(config));
        let begun = Instant::now();
        spread_over(&self.namespaces, |namespace| {
            let client = self.client.clone();
            let (uids, data, name) = (uids.clone(), data.clone(), name.to_owned());
            let seen = accounts.as_ref().and_then(|accounts| accounts.last(&namespace));
            let account = self.account.zip(seen.map(|seen| seen.version));
            async move {
                let secrets = Api::<Secret>::namespaced(client.clone(), &namespace);
                write(&secrets, &namespace, &name, &data, &uids).await?;
                match account {
                    Some((account, version)) => attach(client, &namespace, account, version, &name).await,
                    None => Ok(()),
                }
            }
        })
        .await?;
        let fits = |sighting: &Sighting| sighting.stands && sighting.version > newest;
        let (_, last) = last_written.wait_for(self.namespaces.len(), patience, fits).await?;
        Ok(last - begun)
    }
}

/// Lets a ServiceAccount name this Secret and no other.
async fn attach(client: Client, namespace: &str, account: &str, version: u64, name: &str) -> Result<()> {
    let accounts = Api::<ServiceAccount>::namespaced(client, namespace);
    let patch = json!([
        {"op": "replace", "path": "/metadata/resourceVersion", "value": version.to_string()},
        {"op": "add", "path": "/imagePullSecrets", "value": [{"name": name}]},
    ]);
    let patch = serde_json::from_value(patch).context("a patch is not one")?;
    let params =
        PatchParams { field_manager: Some(keys::FIELD_MANAGER.to_owned()), ..PatchParams::default() };
    let patched = accounts.patch_metadata(account, &params, &Patch::Json::<()>(patch)).await;
    patched.context("a plain worker cannot attach")?;
    Ok(())
}

async fn write(
    secrets: &Api<Secret>,
    namespace: &str,
    name: &str,
    data: &str,
    uids: &BTreeMap<String, String>,
) -> Result<()> {
    let uid = uids.get(namespace);
    let params = PatchParams::apply(keys::FIELD_MANAGER);
    let params = if uid.is_some() { params.force() } else { params };
    let body = Patch::Apply(secret(namespace, name, data, uid));
    secrets.patch_metadata(name, &params, &body).await.context("a plain worker cannot write")?;
    Ok(())
}

/// The same fields as imps writes. The owner is made up, which nobody notices without a garbage collector.
fn secret(namespace: &str, name: &str, data: &str, uid: Option<&String>) -> Value {
    const OWNER: &str = "5d1b2c3d-0000-4000-8000-000000000000";
    let mut object = json!({
        "apiVersion": "v1", "kind": "Secret", "type": "kubernetes.io/dockerconfigjson",
        "metadata": {
            "name": name, "namespace": namespace,
            "labels": {keys::OWNER_UID_LABEL: OWNER},
            "annotations": {},
            "ownerReferences": [{
                "apiVersion": format!("{}/{}", keys::GROUP, keys::VERSION), "kind": keys::KIND,
                "name": name, "uid": OWNER, "controller": false,
            }],
        },
        "data": {".dockerconfigjson": data},
    });
    if let Some(uid) = uid {
        object["metadata"]["uid"] = json!(uid);
    }
    object
}

fn encoded(config: &str) -> String {
    use base64::Engine as _;
    base64::engine::general_purpose::STANDARD.encode(config)
}

/// Does something for each name, as many at a time as there are workers; the first failure ends it.
pub(super) async fn spread_over<F, W>(names: &[String], work: W) -> Result<()>
where
    W: Fn(String) -> F,
    F: Future<Output = Result<()>> + Send + 'static,
{
    let names = names.iter().cloned().map(work);
    let mut running = JoinSet::new();
    for job in names {
        if running.len() >= WORKERS
            && let Some(done) = running.join_next().await
        {
            done.context("a worker failed")??;
        }
        running.spawn(job);
    }
    while let Some(done) = running.join_next().await {
        done.context("a worker failed")??;
    }
    Ok(())
}
