//! What the tests with a server stand on: a control plane, definitions of kinds that are not ours, and patience.

use std::path::Path;
use std::time::{Duration, Instant};

use imps_api::keys;
use imps_testbed::binaries::Binaries;
use imps_testbed::{manifest, skip_or_fail};
use kube::Client;
use kube::api::{Api, ApiResource, DynamicObject, GroupVersionKind, ListParams};
use serde_json::{Value, json};

/// Far more than anything takes here.
const WITHIN: Duration = Duration::from_secs(60);

/// The program under test.
pub(crate) fn binary() -> &'static Path {
    Path::new(env!("CARGO_BIN_EXE_imps"))
}

/// Whether there are programs for a control plane; if not, the skip is recorded.
pub(crate) fn can_run() -> bool {
    Binaries::find().inspect_err(|error| skip_or_fail(format!("{error:#}"))).is_ok()
}

/// Looks again and again until it holds; what was seen last is in the failure.
pub(crate) async fn eventually<T>(what: &str, mut look: impl AsyncFnMut() -> Result<T, String>) -> T {
    let start = Instant::now();
    loop {
        match look().await {
            Ok(value) => return value,
            Err(state) if start.elapsed() > WITHIN => {
                panic!("not within {WITHIN:?}: {what}\nlast seen: {state}")
            }
            Err(_) => tokio::time::sleep(Duration::from_millis(50)).await,
        }
    }
}

/// A namespace, with labels.
pub(crate) fn namespace(name: &str, labels: Value) -> Value {
    json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name, "labels": labels}})
}

/// Pods that are not restricted are refused in it.
pub(crate) fn restricted() -> Value {
    json!({"pod-security.kubernetes.io/enforce": "restricted"})
}

/// The custom resource, of all names.
pub(crate) fn grants(client: &Client) -> Api<DynamicObject> {
    let kind = GroupVersionKind::gvk(keys::GROUP, keys::VERSION, keys::KIND);
    Api::all_with(client.clone(), &ApiResource::from_gvk_with_plural(&kind, keys::PLURAL))
}

/// Installs our definition, and those of the Prometheus operator with no more in them than that they exist.
pub(crate) async fn install_definitions(client: &Client) {
    let mut ours = imps_api::crd::crd();
    ours["apiVersion"] = json!("apiextensions.k8s.io/v1");
    ours["kind"] = json!("CustomResourceDefinition");
    let kinds = [
        ("ServiceMonitor", "servicemonitors"),
        ("PodMonitor", "podmonitors"),
        ("PrometheusRule", "prometheusrules"),
    ];
    let definition = |(kind, plural): (&str, &str)| {
        json!({
            "apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition",
            "metadata": {"name": format!("{plural}.monitoring.coreos.com")},
            "spec": {
                "group": "monitoring.coreos.com", "scope": "Namespaced",
                "names": {
                    "kind": kind, "plural": plural, "singular": kind.to_lowercase(), "listKind": format!("{kind}List"),
                },
                "versions": [{
                    "name": "v1", "served": true, "storage": true,
                    "schema": {"openAPIV3Schema": {
                        "type": "object", "x-kubernetes-preserve-unknown-fields": true,
                    }},
                }],
            },
        })
    };
    let mut all = vec![ours];
    all.extend(kinds.map(definition));
    manifest::apply(client, &all).await.unwrap();
    for (kind, plural) in kinds {
        let kind = GroupVersionKind::gvk("monitoring.coreos.com", "v1", kind);
        let api = Api::all_with(client.clone(), &ApiResource::from_gvk_with_plural(&kind, plural));
        served(&api).await;
    }
    served(&grants(client)).await;
}

/// Waits until a kind is served.
pub(crate) async fn served(api: &Api<DynamicObject>) {
    eventually("the kind is served", async || {
        api.list(&ListParams::default()).await.map(drop).map_err(|error| error.to_string())
    })
    .await;
}
