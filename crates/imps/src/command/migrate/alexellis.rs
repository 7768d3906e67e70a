//! registry-creds of Alex Ellis: each `ClusterPullSecret` becomes an `ImagePullSecret` that reads the same seed.
//!
//! Kind and fields: `alexellis/registry-creds:api/v1/clusterpullsecret_types.go`; what it writes, where, and which
//! namespaces it leaves out: `controllers/secret_reconciler.go`; how it is set up: `GUIDE.md`, `manifest.yaml`.

use imps_cluster::snapshot::Kind;
use imps_core::name::{SecretRef, is_dns_subdomain};
use imps_core::token::Token;
use serde_json::Value;

use super::super::manifests::text;
use super::departure::{Content, Departure, Duty, Field, Phase, Source};
use super::held::{Held, Whence};
use super::words::counted;
use super::workload::{Container, Objects};

/// Its custom resource.
pub(super) const SEEDED: Kind = Kind::of("ops.alexellis.io", "v1", "ClusterPullSecret", "clusterpullsecrets");

/// Behind the names of the Secrets that versions before December 2021 wrote (alexellis/registry-creds issue 35).
const OLD_SUFFIX: &str = "-registrycreds";
const DOCKER_CONFIG: &str = "kubernetes.io/dockerconfigjson";
const DOCKER_CONFIG_KEY: &str = ".dockerconfigjson";

/// Whether a container is the tool (`manifest.yaml`): by its image, or by name, program and label where that was
/// copied elsewhere.
pub(super) fn is_it(container: Container<'_>) -> bool {
    let theirs = container.repository().ends_with("alexellis/registry-creds");
    let label = container.workload().label("control-plane");
    theirs
        || container.image_name() == "registry-creds"
            && (container.program() == "/controller" || label == "registry-creds-controller")
}

/// The names that its Secrets may have for an object of this name.
pub(super) fn secret_names(name: &str) -> [String; 2] {
    [name.to_owned(), format!("{name}{OLD_SUFFIX}")]
}

/// The seed that an object names, if it names one as the tool wants it.
pub(super) fn seed(object: &Value) -> Option<SecretRef> {
    let (namespace, name) = (text(object, "/spec/secretRef/namespace"), text(object, "/spec/secretRef/name"));
    (is_dns_subdomain(namespace) && is_dns_subdomain(name)).then(|| SecretRef::new(namespace, name))
}

/// Reads all of its objects, and the workload that serves them, if that is among what was read.
pub(super) fn leave(objects: Objects<'_>, departure: &mut Departure) {
    let mut carried = Vec::new();
    for object in objects.of(SEEDED.group, SEEDED.kind) {
        if let Some(name) = one(objects, object, departure) {
            carried.push(name);
        }
    }
    let containers = objects.workloads().flat_map(|workload| workload.containers());
    let workloads: Vec<_> =
        containers.filter(|container| is_it(*container)).map(Container::workload).collect();
    for workload in &workloads {
        departure.found.push(format!("{}, alexellis/registry-creds", workload.title()));
    }
    if carried.is_empty() {
        return;
    }
    let stop = match workloads.as_slice() {
        // The names in its manifest.yaml.
        [] => vec![
            "kubectl scale deployment/registry-creds-registry-creds-controller -n registry-creds-system --replicas=0"
                .to_owned(),
        ],
        found => found
            .iter()
            .map(|w| format!("kubectl scale {} -n {} --replicas=0", w.argument(), w.namespace()))
            .collect(),
    };
    departure.step(
        Phase::Stop,
        "Stop the controller of the ClusterPullSecrets. Their Secrets stay. Do not delete a ClusterPullSecret yet: \
         the garbage collector would take its Secrets along",
        stop,
    );
    departure.step(
        Phase::Remove,
        "When the ImagePullSecrets are ready, and not before, delete the ClusterPullSecrets, their definition and \
         their controller: the Secrets have a second owner then and stay. The seeds stay too, imps reads them",
        vec![
            format!("kubectl delete {} {}", SEEDED.plural, carried.join(" ")),
            format!("kubectl delete crd {}.{}", SEEDED.plural, SEEDED.group),
            match workloads.as_slice() {
                [found, ..] => format!("kubectl delete {} -n {}", found.argument(), found.namespace()),
                [] => "kubectl delete namespace registry-creds-system".to_owned(),
            },
        ],
    );
    departure.differences.push(
        "a seed that changes is written to all namespaces at once; the tool wrote each Secret once and never again"
            .to_owned(),
    );
    departure.differences.push(
        "namespaces with the annotation alexellis.io/registry-creds.ignore stay left out, and their ServiceAccounts \
         are not given a name of a Secret that is not there; the tool gave it to them"
            .to_owned(),
    );
    departure.differences.push(
        "when an ImagePullSecret goes, its name is taken off the ServiceAccounts; the tool left it there"
            .to_owned(),
    );
}

/// One object; gives its name when it could be carried over.
fn one(objects: Objects<'_>, object: &Value, departure: &mut Departure) -> Option<String> {
    let name = text(object, "/metadata/name").to_owned();
    if !is_dns_subdomain(&name) {
        departure
            .problems
            .push("a ClusterPullSecret without a name that a cluster would take is left out".to_owned());
        return None;
    }
    departure.found.push(format!("ClusterPullSecret {name}, alexellis/registry-creds"));
    let Some(at) = seed(object) else {
        let older = if object.pointer("/spec/secret").is_some() {
            "it has spec.secret, as the first versions had; make a Secret of that, and name it in spec.secretRef"
        } else {
            "it needs spec.secretRef with the name and the namespace of a Secret"
        };
        departure
            .problems
            .push(format!("ClusterPullSecret {name} is left out, as the tool leaves it out: {older}"));
        return None;
    };
    let source = source(objects, &name, &at, departure)?;
    let secret = target_name(objects, &name, departure);
    let mut exclude = Vec::new();
    if secret == at.name.as_str() {
        // Taking it over would make the source its own target.
        exclude.push(at.namespace.to_string());
        departure.differences.push(format!(
            "the namespace {} is left out of {name}: the Secret of that name there is the seed itself, which pods \
             there go on using",
            at.namespace
        ));
    }
    // It attaches to all (`controllers/secret_reconciler.go` appendSecretToSA, `serviceaccount_watcher.go`).
    departure.grant(Duty {
        name: &name,
        secret: &secret,
        source: &source,
        namespaces: Vec::new(),
        exclude,
        service_accounts: "*",
    });
    Some(name)
}

/// The Secret that the new object reads: the seed, or a new one where the seed is of a type that is no source. The
/// tool looks at the seed's data only.
fn source(objects: Objects<'_>, name: &str, at: &SecretRef, departure: &mut Departure) -> Option<SecretRef> {
    let Some(document) = objects.secret(at) else {
        let state = if objects.complete { "does not exist" } else { "is not among the manifests" };
        departure.problems.push(format!(
            "the seed {at} of ClusterPullSecret {name} {state}: it has to be a Secret of type {DOCKER_CONFIG}"
        ));
        return Some(at.clone());
    };
    if document.secret_type == DOCKER_CONFIG {
        return Some(at.clone());
    }
    let Some(bytes) = document.data.get(DOCKER_CONFIG_KEY) else {
        departure.problems.push(format!(
            "ClusterPullSecret {name} is left out: its seed {at} has no key {DOCKER_CONFIG_KEY}, so that the Secrets \
             cannot be made by the tool either"
        ));
        return None;
    };
    let value = Some(Token::new(String::from_utf8_lossy(bytes).into_owned()));
    let whence = Whence::Key { kind: "secret", at: at.clone(), key: DOCKER_CONFIG_KEY.to_owned() };
    let copy = SecretRef::new(at.namespace.as_str(), format!("{}-source", at.name).as_str());
    departure.left_behind.push(format!(
        "the seed {at} is of type {}, which is no source; a Secret {copy} with the same content takes its place",
        document.secret_type
    ));
    departure.sources.push(Source {
        at: copy.clone(),
        secret_type: DOCKER_CONFIG.to_owned(),
        fields: vec![Field { key: DOCKER_CONFIG_KEY, value: Content::Kept(Held { value, whence }) }],
    });
    Some(copy)
}

/// The name that pods use: that of Secrets which the object owns, where some were read; otherwise the object's own.
fn target_name(objects: Objects<'_>, name: &str, departure: &mut Departure) -> String {
    let [current, old] = secret_names(name);
    let owned = |secret: &str| {
        let is_owner = |owner: &Value| owner["kind"] == SEEDED.kind && owner["name"] == name;
        let secrets = objects.of("", "Secret").filter(|object| text(object, "/metadata/name") == secret);
        secrets
            .filter(|object| {
                object["metadata"]["ownerReferences"]
                    .as_array()
                    .is_some_and(|owners| owners.iter().any(is_owner))
            })
            .count()
    };
    let (with_current, with_old) = (owned(&current), owned(&old));
    let (target, count) =
        if with_old > with_current { (old, with_old) } else { (current.clone(), with_current) };
    if count > 0 {
        departure.differences.push(format!(
            "{} named {target} will be taken over in place, with its UID",
            counted(count, "Secret", "Secrets")
        ));
    } else {
        departure.differences.push(format!(
            "pods are taken to name the Secret {target}; versions before December 2021 called it \
             {current}{OLD_SUFFIX}: change spec.target.secret.name if yours do"
        ));
    }
    target
}
