//! What `imps migrate` reads of a cluster: no more than it needs, and nothing is written.

use std::collections::BTreeSet;

use imps_cluster::snapshot::{Kind, Unseen, Which, get, list};
use imps_core::name::SecretRef;
use kube::Client;
use serde_json::Value;

use super::super::manifests;
use super::workload::{Objects, Workload};
use super::{alexellis, original, upmc};

/// Objects, and what of a cluster could not be looked at.
pub(super) type Seen = (Vec<Value>, Vec<String>);

/// Everything of registry-creds: its workloads in a namespace, the objects that these name, the ClusterPullSecrets
/// with their seeds, and what stands at the names of the Secrets that it writes.
pub(super) async fn registry_creds(client: &Client, namespace: &str) -> Result<Seen, Unseen> {
    let here = Which { namespace: Some(namespace), ..Which::default() };
    let mut seen = Gathered::default();
    for kind in [Kind::DEPLOYMENT, Kind::REPLICATION_CONTROLLER] {
        seen.take(list(client, kind, here).await?);
    }
    seen.take(list(client, alexellis::SEEDED, Which::default()).await?);
    let (wanted, targets) = references(Objects { all: &seen.all, namespace, complete: false });
    for (kind, at) in wanted {
        let kind = if kind == "secret" { Kind::SECRET } else { Kind::CONFIG_MAP };
        seen.take(
            get(client, kind, Some(at.namespace.as_str()), at.name.as_str()).await?.map(|one| vec![one]),
        );
    }
    for name in &targets {
        let mut found = list(client, Kind::SECRET, Which { name: Some(name), ..Which::default() }).await;
        // What is in them does not matter, and is not kept.
        for object in found.iter_mut().flatten().flatten() {
            object["data"] = Value::Null;
        }
        seen.take_if_allowed(found)?;
    }
    seen.take_if_allowed(list(client, Kind::NAMESPACE, Which::default()).await)?;
    Ok((seen.all, seen.unseen))
}

/// The Secrets and ConfigMaps that hold the settings, and the names of the Secrets that are written.
fn references(objects: Objects<'_>) -> (BTreeSet<(&'static str, SecretRef)>, BTreeSet<String>) {
    let mut wanted = BTreeSet::new();
    let mut targets = BTreeSet::new();
    for object in objects.of(alexellis::SEEDED.group, alexellis::SEEDED.kind) {
        wanted.extend(alexellis::seed(object).map(|at| ("secret", at)));
        targets.extend(alexellis::secret_names(manifests::text(object, "/metadata/name")));
    }
    for container in objects.workloads().flat_map(Workload::containers).filter(|c| upmc::is_it(*c)) {
        wanted.extend(container.references());
        targets.extend(upmc::secret_names(container, objects));
    }
    (wanted, targets)
}

/// Everything of banzaicloud/imps: Deployments, the definition, the ImagePullSecrets, and what an operator would read
/// for them. Of `images.cisco.com`, the name of the group in version 0.4.0, too.
pub(super) async fn original(client: &Client, namespace: Option<&str>) -> Result<Seen, Unseen> {
    let mut seen = Gathered::default();
    seen.take(list(client, Kind::DEPLOYMENT, Which { namespace, ..Which::default() }).await?);
    for kind in [Kind::GRANT, original::LATER_GRANT] {
        let name = format!("{}.{}", kind.plural, kind.group);
        let definition = get(client, Kind::DEFINITION, None, &name).await;
        seen.take_if_allowed(definition.map(|found| found.map(|one| vec![one])))?;
    }
    seen.take(list(client, Kind::GRANT, Which::default()).await?);
    seen.take_if_allowed(list(client, original::LATER_GRANT, Which::default()).await)?;
    seen.take(list(client, Kind::NAMESPACE, Which::default()).await?);
    let needs = original::needs(Objects { all: &seen.all, namespace: "default", complete: false });
    if needs.pods {
        seen.take(list(client, Kind::POD, Which::default()).await?);
    }
    for at in &needs.secrets {
        let secret = get(client, Kind::SECRET, Some(at.namespace.as_str()), at.name.as_str()).await?;
        seen.take(secret.map(|one| vec![one]));
    }
    for name in &needs.targets {
        seen.take(list(client, Kind::SECRET, Which { name: Some(name), ..Which::default() }).await?);
    }
    Ok((seen.all, seen.unseen))
}

/// Objects, each once, and what could not be seen.
#[derive(Default)]
struct Gathered {
    all: Vec<Value>,
    places: BTreeSet<(String, SecretRef)>,
    unseen: Vec<String>,
}

impl Gathered {
    /// Takes objects in that are needed.
    fn take(&mut self, objects: Option<Vec<Value>>) {
        for object in objects.unwrap_or_default() {
            let (_, kind) = manifests::kind(&object);
            // A Secret may have been read for another reason already.
            if self.places.insert((kind.to_owned(), manifests::place(&object))) {
                self.all.push(object);
            }
        }
    }

    /// Takes objects in that it is good to know of; without the right to see them the rest is still worth something.
    fn take_if_allowed(&mut self, answer: Result<Option<Vec<Value>>, Unseen>) -> Result<(), Unseen> {
        match answer {
            Ok(objects) => self.take(objects),
            Err(fault) if fault.is_forbidden() => {
                self.unseen.push(format!("{fault}; what stands there is not considered"));
            }
            Err(fault) => return Err(fault),
        }
        Ok(())
    }
}
