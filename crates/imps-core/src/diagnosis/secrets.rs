//! The Secrets that a pod names: whether each is there, and whether the kubelet can read it.

use super::case::{Case, PullSecret, Sight};
use super::code::Code;
use super::finding::Finding;
use super::ownership;
use super::pull_error::{PullError, classify};
use crate::dockerconfig::{self, DocumentFault, Format};
use crate::kubelet::{self, SecretFault};
use crate::name::SecretName;

/// The third rung.
pub(super) fn examine(case: &Case) -> Vec<Finding> {
    case.references().iter().map(|name| examine_one(case, name)).collect()
}

fn examine_one(case: &Case, name: &SecretName) -> Finding {
    let namespace = &case.pod.namespace;
    let subject = format!("secret/{name}");
    let secret = match case.secrets.get(name) {
        Some(Sight::Seen(secret)) => secret,
        Some(Sight::Absent) => return missing(case, name, String::new()),
        Some(Sight::Unseen(why)) => return unseen(case, name, why),
        None => return unseen(case, name, "nobody looked"),
    };
    let Some(format) = Format::from_secret_type(&secret.secret_type) else {
        let right = Format::DockerConfigJson.secret_type();
        let shown = if secret.secret_type.is_empty() { "Opaque" } else { &secret.secret_type };
        return Finding::new(Code::SecretType, subject)
            .evidence(format!("type {}", super::excerpt(shown)))
            .cause(format!("the kubelet passes over every type but {right} and kubernetes.io/dockercfg"))
            .remedy(format!(
                "a type cannot be changed: kubectl -n {namespace} delete secret {name} && {}",
                create(case, name)
            ));
    };
    if secret.data.is_empty() {
        return Finding::new(Code::SecretKey, subject)
            .evidence(format!("keys: {}", keys(secret)))
            .cause(format!("a Secret of this type holds its docker config under {}", format.data_key()))
            .remedy(format!(
                "write the docker config under {}, or: {}",
                format.data_key(),
                create(case, name)
            ));
    }
    match kubelet::keys(&as_kubelet(secret)) {
        Err(fault) => undecodable(case, name, &fault),
        Ok(keys) if keys.is_empty() => empty(case, name, format, secret),
        Ok(keys) => Finding::new(Code::Secrets, subject)
            .evidence(match keys.len() {
                1 => format!("{}, one entry", format.secret_type()),
                count => format!("{}, {count} entries", format.secret_type()),
            })
            .cause("the kubelet can read it"),
    }
}

fn missing(case: &Case, name: &SecretName, evidence: String) -> Finding {
    let elsewhere: Vec<&str> = case
        .elsewhere
        .iter()
        .filter(|at| at.name == *name && at.namespace != case.pod.namespace)
        .map(|at| at.namespace.as_str())
        .collect();
    let namespace = &case.pod.namespace;
    if let Some(first) = elsewhere.first() {
        let more =
            if elsewhere.len() > 1 { format!(" and {} more", elsewhere.len() - 1) } else { String::new() };
        return Finding::new(Code::SecretElsewhere, format!("secret/{name}"))
            .evidence(format!("not in {namespace}, but in {first}{more}"))
            .cause("a pod can only use pull secrets of its own namespace")
            .remedy(format!(
                "let an ImagePullSecret copy {first}/{name} to {namespace}: registry.credentials names it, \
                 target.namespaces selects {namespace}"
            ));
    }
    Finding::new(Code::SecretMissing, format!("secret/{name}"))
        .evidence(evidence)
        .cause(format!(
            "{} names a Secret that is not in {namespace}; the kubelet goes on without",
            case.pod.subject
        ))
        .remedy(create(case, name))
}

/// Without the right to look, the kubelet's own event may still tell.
fn unseen(case: &Case, name: &SecretName, why: &str) -> Finding {
    let quoted = |text: &str| {
        text.split(|c: char| "(), ".contains(c)).any(|word| word == name.as_str())
            && classify(text) == PullError::SecretMissing
    };
    if let Some((_, text)) = case.events.iter().rev().find(|(_, text)| quoted(text)) {
        return missing(case, name, super::excerpt(text));
    }
    Finding::new(Code::SecretUnseen, format!("secret/{name}"))
        .evidence(why)
        .cause("whether the pull secret is there and what is in it could not be checked")
        .remedy(format!(
            "needs the right to get secrets in {}; of manifests, Secrets among them",
            case.pod.namespace
        ))
}

fn undecodable(case: &Case, name: &SecretName, fault: &SecretFault) -> Finding {
    Finding::new(Code::SecretUndecodable, format!("secret/{name}"))
        .evidence(fault.to_string())
        .cause(
            "one entry that cannot be decoded makes the kubelet use no pull secret of the pod, for any image",
        )
        .remedy(match ownership::writer(case, name) {
            Some(grant) => format!("imagepullsecret/{grant} writes it: look at its status"),
            None => format!("correct the entry, or: {}", create(case, name)),
        })
}

fn empty(case: &Case, name: &SecretName, format: Format, secret: &PullSecret) -> Finding {
    let helpers = matches!(dockerconfig::parse(format, &secret.data), Err(DocumentFault::OnlyHelpers))
        || dockerconfig::parse(format, &secret.data).is_ok_and(|parsed| {
            let helper = |setting: &&dockerconfig::Ignored| {
                matches!(setting, dockerconfig::Ignored::Setting("credHelpers" | "credsStore"))
            };
            parsed.ignored.iter().any(|setting| helper(&setting))
        });
    let (code, cause) = if helpers {
        (
            Code::SecretHelpers,
            "credsStore and credHelpers name programs on the machine where docker login ran; the kubelet calls none",
        )
    } else {
        (Code::SecretEmpty, "there is no credential in it")
    };
    Finding::new(code, format!("secret/{name}"))
        .evidence(if helpers {
            "auths has no entry, and a credential helper is named"
        } else {
            "auths has no entry"
        })
        .cause(cause)
        .remedy(create(case, name))
}

/// How the Secret is made by hand; with an `ImagePullSecret` that writes it, what to look at instead.
fn create(case: &Case, name: &SecretName) -> String {
    let namespace = &case.pod.namespace;
    match ownership::writer(case, name) {
        Some(grant) => format!("imagepullsecret/{grant} writes it: kubectl describe imps {grant}"),
        None => format!(
            "kubectl -n {namespace} create secret docker-registry {name} --docker-server=HOST --docker-username=USER \
             --docker-password=PASSWORD"
        ),
    }
}

/// The names of keys are no secret, but anybody can write anything there.
fn keys(secret: &PullSecret) -> String {
    if secret.keys.is_empty() {
        return "none".to_owned();
    }
    super::excerpt(&secret.keys.iter().take(5).map(String::as_str).collect::<Vec<_>>().join(", "))
}

/// The Secret as the kubelet takes it.
pub(super) fn as_kubelet(secret: &PullSecret) -> kubelet::PullSecret<'_> {
    kubelet::PullSecret { secret_type: &secret.secret_type, data: &secret.data }
}
