//! The floor: plain workers that make the writes that imps makes, and decide nothing.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use imps_api::keys;
use k8s_openapi::api::core::v1::Secret;
use kube::Client;
use kube::api::{Api, Patch, PatchParams};
use serde_json::{Value, json};
use tokio::task::JoinSet;

use crate::lookout::Lookout;

/// Where an API server's rate no longer grows; imps has as many.
pub(super) const WORKERS: usize = 16;

/// Plain workers, with one client as imps has; it opens a connection for each of them.
pub(super) struct Workers {
    client: Client,
    namespaces: Vec<String>,
}

impl Workers {
    pub(super) fn new(client: Client, namespaces: Vec<String>) -> Self {
        Self { client, namespaces }
    }

    /// Writes one Secret into each namespace by server-side apply, as imps does: a create without force, an update
    /// with the UID and force; answers as metadata. Returns how long it took until a watch had seen the last one.
    pub(super) async fn fill(&self, name: &str, config: &str, patience: Duration) -> Result<Duration> {
        let lookout = Lookout::over(self.client.clone(), name).await?;
        let uids = Arc::new(lookout.uids());
        let newest = lookout.newest();
        let data = Arc::new(encoded(config));
        let begun = Instant::now();
        spread_over(&self.namespaces, |namespace| {
            let secrets = Api::<Secret>::namespaced(self.client.clone(), &namespace);
            let (uids, data, name) = (uids.clone(), data.clone(), name.to_owned());
            async move { write(&secrets, &namespace, &name, &data, &uids).await }
        })
        .await?;
        let count = self.namespaces.len();
        let (_, last) = lookout.wait_for(count, patience, |sighting| sighting.version > newest).await?;
        Ok(last - begun)
    }
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
