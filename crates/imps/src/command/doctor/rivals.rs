//! Other tools that write pull secrets, as far as a cluster shows them.

use std::collections::BTreeMap;

use imps_api::keys;
use imps_cluster::snapshot::{Kind, Unseen, Which, list};
use imps_core::holding::TARGET_TYPE;
use kube::Client;
use serde_json::Value;

use super::super::manifests::text;
use super::report::{Area, Check};

/// Objects of alexellis/registry-creds.
const SEEDED: Kind = Kind::of(keys::REGISTRY_CREDS_GROUP, "v1", "ClusterPullSecret", "clusterpullsecrets");
/// Objects of the External Secrets Operator, in the versions that it serves or served.
const EXTERNAL: [Kind; 2] = [
    Kind::of("external-secrets.io", "v1", "ExternalSecret", "externalsecrets"),
    Kind::of("external-secrets.io", "v1beta1", "ExternalSecret", "externalsecrets"),
];

const MOVE: &str = "imps migrate registry-creds prints what takes its place";
const NOT_AT_A_TARGET: &str = "it copies Secrets that are annotated for it; let none of the copies have the name of a \
                               target, as imps leaves alone what another tool made";

/// The last part of an image's repository, the tool, and what to do about it.
const TOOLS: [(&str, &str, &str); 4] = [
    // upmc-enterprises/registry-creds:Makefile, alexellis/registry-creds:Makefile
    ("registry-creds", "registry-creds", MOVE),
    (
        "imagepullsecret-patcher",
        "imagepullsecret-patcher",
        "end it before an ImagePullSecret writes Secrets of the same name; imps migrate imps names those that clash",
    ),
    // emberstack/kubernetes-reflector, mittwald/kubernetes-replicator
    ("kubernetes-reflector", "reflector", NOT_AT_A_TARGET),
    ("kubernetes-replicator", "replicator", NOT_AT_A_TARGET),
];

/// What a cluster shows; a kind that it does not know has no objects.
pub(super) struct Seen {
    workloads: Vec<Result<Vec<Value>, Unseen>>,
    seeded: Result<Vec<Value>, Unseen>,
    external: Result<Vec<Value>, Unseen>,
}

pub(super) async fn look(client: &Client) -> Seen {
    let mut external = Ok(None);
    for kind in EXTERNAL {
        if matches!(external, Ok(None)) {
            external = list(client, kind, Which::default()).await;
        }
    }
    Seen {
        workloads: vec![all(client, Kind::DEPLOYMENT).await, all(client, Kind::REPLICATION_CONTROLLER).await],
        seeded: all(client, SEEDED).await,
        external: external.map(Option::unwrap_or_default),
    }
}

async fn all(client: &Client, kind: Kind) -> Result<Vec<Value>, Unseen> {
    Ok(list(client, kind, Which::default()).await?.unwrap_or_default())
}

/// Judges, knowing which `ImagePullSecret` writes Secrets of which name.
pub(super) fn judge(seen: &Seen, targets: &BTreeMap<&str, &str>) -> Vec<Check> {
    let mut checks = Vec::new();
    for workloads in &seen.workloads {
        match workloads {
            Ok(workloads) => checks.extend(workloads.iter().flat_map(programs)),
            Err(unseen) => checks.push(Check::unseen(Area::Rivals, "programs", unseen)),
        }
    }
    match &seen.seeded {
        Ok(objects) if objects.is_empty() => {}
        Ok(objects) => checks.push(Check::warning(
            Area::Rivals,
            "registry-creds",
            format!("{} of its objects of kind ClusterPullSecret are there", objects.len()),
            MOVE.to_owned(),
        )),
        Err(unseen) => checks.push(Check::unseen(Area::Rivals, "registry-creds", unseen)),
    }
    match &seen.external {
        Ok(objects) => checks.extend(objects.iter().filter_map(|object| external(object, targets))),
        Err(unseen) => checks.push(Check::unseen(Area::Rivals, "external-secrets", unseen)),
    }
    if checks.is_empty() {
        checks.push(Check::ok(Area::Rivals, "programs", "none is known that writes pull secrets".to_owned()));
    }
    checks
}

/// The tools that a workload runs.
fn programs(workload: &Value) -> Vec<Check> {
    let containers = workload.pointer("/spec/template/spec/containers").and_then(Value::as_array);
    let mut checks = Vec::new();
    for container in containers.into_iter().flatten() {
        let image = text(container, "/image");
        let Some((_, tool, remedy)) = TOOLS.iter().find(|(name, ..)| *name == image_name(image)) else {
            continue;
        };
        let (kind, namespace) = (text(workload, "/kind"), text(workload, "/metadata/namespace"));
        let message =
            format!("{kind} {namespace}/{} runs it, image {image}", text(workload, "/metadata/name"));
        checks.push(Check::warning(Area::Rivals, tool, message, (*remedy).to_owned()));
    }
    checks
}

/// The last part of an image's repository: `host:5000/a/b:tag@sha256:…` is `b`.
fn image_name(image: &str) -> &str {
    let tagged = image.split('@').next().unwrap_or_default();
    let last = tagged.rsplit('/').next().unwrap_or_default();
    last.split(':').next().unwrap_or_default()
}

/// An `ExternalSecret` that makes a pull secret of a name that an `ImagePullSecret` writes, too.
fn external(object: &Value, targets: &BTreeMap<&str, &str>) -> Option<Check> {
    if text(object, "/spec/target/template/type") != TARGET_TYPE {
        return None;
    }
    let name = text(object, "/metadata/name");
    let secret = match text(object, "/spec/target/name") {
        "" => name,
        secret => secret,
    };
    let grant = targets.get(secret)?;
    let namespace = text(object, "/metadata/namespace");
    Some(Check::warning(
        Area::Rivals,
        "external-secrets",
        format!(
            "ExternalSecret {namespace}/{name} writes a Secret named {secret}, as the ImagePullSecret {grant} does; \
             whoever comes second is refused"
        ),
        format!("give one of them another name, or exclude {namespace} in spec.target.exclude of {grant}"),
    ))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::super::report::State;
    use super::*;

    fn seen(workloads: &[Value], external: &[Value]) -> Seen {
        Seen {
            workloads: vec![Ok(workloads.to_vec())],
            seeded: Ok(Vec::new()),
            external: Ok(external.to_vec()),
        }
    }

    fn deployment(image: &str) -> Value {
        json!({
            "kind": "Deployment", "metadata": {"namespace": "tools", "name": "it"},
            "spec": {"template": {"spec": {"containers": [{"image": "proxy"}, {"image": image}]}}},
        })
    }

    #[test]
    fn tools_are_known_by_their_images_wherever_those_were_copied_to() {
        let targets = BTreeMap::new();
        for (image, tool) in [
            ("upmcenterprises/registry-creds:1.10", "registry-creds"),
            ("mirror.example:5000/a/registry-creds@sha256:00", "registry-creds"),
            ("quay.io/titansoft/imagepullsecret-patcher:v0.14", "imagepullsecret-patcher"),
            ("emberstack/kubernetes-reflector", "reflector"),
            ("quay.io/mittwald/kubernetes-replicator:v2", "replicator"),
        ] {
            let checks = judge(&seen(&[deployment(image)], &[]), &targets);
            assert_eq!(checks.iter().map(|check| check.name).collect::<Vec<_>>(), [tool], "{image}");
            assert!(checks[0].message.contains("Deployment tools/it"), "{}", checks[0].message);
        }
        let none = judge(&seen(&[deployment("reg.example/registry-creds-ui:1")], &[]), &targets);
        assert_eq!((none.len(), none[0].state), (1, State::Ok));
    }

    #[test]
    fn an_external_secret_matters_when_it_writes_a_pull_secret_of_a_targets_name() {
        let targets = BTreeMap::from([("pull", "corp")]);
        let metadata = json!({"namespace": "shop", "name": "pull"});
        let object = |target: Value| json!({"metadata": metadata, "spec": {"target": target}});
        let template = json!({"type": "kubernetes.io/dockerconfigjson"});
        let found = |target| judge(&seen(&[], &[object(target)]), &targets).remove(0);
        let clash = found(json!({"template": template}));
        assert_eq!((clash.name, clash.state), ("external-secrets", State::Warning));
        assert!(clash.message.contains("ExternalSecret shop/pull") && clash.message.contains("corp"));
        assert_eq!(found(json!({"name": "other", "template": template})).state, State::Ok);
        assert_eq!(found(json!({})).state, State::Ok);
    }
}
