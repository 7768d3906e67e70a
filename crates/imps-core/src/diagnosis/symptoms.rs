//! What is seen of the pod itself: whether it waits for images, what the kubelet and the registry said, and what only
//! its node knows.

use super::case::{Case, Container, State};
use super::code::Code;
use super::excerpt::{excerpt, shown_image};
use super::finding::Finding;
use super::pull_error::{PullError, classify};
use crate::kubelet::repository_of;

/// The first two rungs.
pub(super) fn examine(case: &Case) -> Vec<Finding> {
    let pod = &case.pod;
    let mut findings: Vec<Finding> =
        pod.containers.iter().filter_map(|container| symptom(case, container)).collect();
    if !pod.containers.iter().any(Container::is_sick) {
        let cause = "each image is on the node, or was not asked for yet";
        let evidence = pod.containers.iter().find_map(|container| match &container.state {
            State::Waiting { reason, .. } => {
                Some(format!("{} waits: {}", container.label(), excerpt(reason)))
            }
            State::Started | State::Unsaid => None,
        });
        let finding = Finding::new(Code::NoPullProblem, &pod.subject).cause(cause);
        findings.push(finding.evidence(evidence.unwrap_or_default()));
    } else if pod.admitted && pod.node.is_none() {
        findings.push(
            Finding::new(Code::NotScheduled, &pod.subject)
                .cause("no node was found for the pod; what follows is what a node would meet")
                .remedy(format!("kubectl -n {} describe pod {}", pod.namespace, name(case))),
        );
    }
    findings
}

/// What the node may have besides. It is the last place that the kubelet looks in, and nobody can see it from here.
pub(super) fn beyond_sight(case: &Case) -> Option<Finding> {
    let node = case.pod.node.as_deref().unwrap_or("the node");
    // With another policy an image that is there used to be enough (KEP-2535).
    let rechecks = case.pod.containers.iter().any(|one| one.is_sick() && one.pull_policy == "IfNotPresent");
    Some(
        Finding::new(Code::NodeUnseen, node)
            .evidence("credential providers, config files and mirrors of a node are not in the API")
            .cause(if rechecks {
                "after the pod's Secrets the kubelet asks those of its node; since Kubernetes 1.35 also for images \
                 that are there already"
            } else {
                "after the pod's Secrets the kubelet asks those of its node"
            })
            .remedy(
                "on the node: --image-credential-provider-config of the kubelet, and the registries of its runtime",
            ),
    )
}

/// An image that is there, and that the kubelet wants to pull all the same (KEP-2535).
pub(super) fn withheld(case: &Case, container: &Container) -> Option<Finding> {
    let pulls = container.pull_policy == "IfNotPresent" && matches!(container.state, State::Waiting { .. });
    if !(container.on_node && pulls) {
        return None;
    }
    let node = case.pod.node.as_deref().unwrap_or("the node");
    Some(
        Finding::new(Code::Withheld, container.label())
            .evidence(format!("{} is among the images of {node}", shown_image(&container.image)))
            .cause(format!(
                "since Kubernetes 1.35 {node} gives it only to pods that have a pull secret or login by which it was \
                 pulled there; this pod has none, so the kubelet pulls anew"
            ))
            .remedy(
                "give the pod a login that the registry lets in; who wants the former way back sets \
                 imagePullCredentialsVerificationPolicy of the kubelet",
            ),
    )
}

fn symptom(case: &Case, container: &Container) -> Option<Finding> {
    let State::Waiting { reason, message } = &container.state else {
        let unheard = container.state == State::Unsaid && repository_of(&container.image).is_err();
        return unheard.then(|| image_name(case, container, String::new()));
    };
    if !container.is_sick() {
        return None;
    }
    let said = if reason == message { reason.clone() } else { format!("{reason}: {message}") };
    let events = case.events.iter().rev();
    let about = events.filter(|(name, _)| name.as_deref().is_none_or(|name| name == container.name));
    let mut unknown = None;
    for text in std::iter::once(&said).chain(about.map(|(_, text)| text)) {
        match classify(text) {
            PullError::Finding(Code::Unclassified) if unknown.is_none() => unknown = Some(text),
            PullError::Finding(Code::Unclassified) => {}
            PullError::Finding(Code::ImageName) => return Some(image_name(case, container, excerpt(text))),
            PullError::Finding(code) => return Some(told(case, container, code, excerpt(text))),
            PullError::BackOff | PullError::SecretMissing | PullError::NotPulling => {}
        }
    }
    Some(untold(case, container, unknown.map_or_else(|| excerpt(&said), |text| excerpt(text))))
}

fn untold(case: &Case, container: &Container, evidence: String) -> Finding {
    Finding::new(Code::Unclassified, container.label())
        .evidence(evidence)
        .cause(format!(
            "why {} is not pulled is not told in words that imps knows",
            shown_image(&container.image)
        ))
        .remedy(format!("kubectl -n {} describe pod {}", case.pod.namespace, name(case)))
}

fn image_name(case: &Case, container: &Container, evidence: String) -> Finding {
    let scheme = container.image.contains("://");
    let hint = if scheme { "; it begins with a scheme, which names of images do not have" } else { "" };
    Finding::new(Code::ImageName, container.label())
        .evidence(evidence)
        .cause(format!("{} is not the name of an image{hint}", shown_image(&container.image)))
        .remedy(format!("correct the image of {} in what makes {}", container.label(), case.pod.subject))
}

/// Sentences for what the registry or the node said.
fn told(case: &Case, container: &Container, code: Code, evidence: String) -> Finding {
    let image = shown_image(&container.image);
    let host = repository_of(&container.image).unwrap_or_default();
    let host = host.split('/').next().unwrap_or_default();
    let node = case.pod.node.as_deref().unwrap_or("its node");
    let (cause, remedy) = match code {
        Code::AnonymousRefused => (
            format!("the node offered no credential to {host}, which does not serve {image} to everybody"),
            "see why none of the pod's pull secrets was used: IMPS02x to IMPS04x".to_owned(),
        ),
        Code::CredentialRefused => (
            format!("{host} does not accept the credential that it was offered"),
            format!("put a credential that works into the source: docker login {host} tells whether it does"),
        ),
        Code::NoPullRight => (
            format!("{host} denies the pull of {image} to whoever asked, or its token has run out"),
            "give the identity the right to pull this repository".to_owned(),
        ),
        Code::TokenExpired => (
            format!("the token that was offered to {host} has expired"),
            "renew the token in the pull secret; imps does so for a source that holds the identity"
                .to_owned(),
        ),
        Code::NotFoundOrDenied => (
            format!("{host} says the same of a repository that is not there and of one that may not be seen"),
            format!(
                "check the spelling of {image}, then that a pull secret has a login for {host} that may pull it"
            ),
        ),
        Code::NotFound => {
            (format!("{host} has no {image}"), "correct repository or tag, or push the image".to_owned())
        }
        Code::RateLimited => (
            format!("{host}, or the node itself, allows no more pulls for now"),
            "pull with a login, which has a limit of its own, or from a mirror".to_owned(),
        ),
        Code::Unauthorized => (
            format!("{host} wants a login; none was offered, or the one that was is wrong"),
            "see whether an entry matches: IMPS04x".to_owned(),
        ),
        Code::NeverPull if container.on_node => (
            format!(
                "{image} is on {node}, which gives it only to pods that have a pull secret or login by which it was \
                 pulled there; this pod has none, and imagePullPolicy Never forbids to pull anew"
            ),
            "give the pod a pull secret with a login by which the image was pulled, or set imagePullPolicy to \
             IfNotPresent and give it any that the registry lets in"
                .to_owned(),
        ),
        Code::NeverPull => (
            format!(
                "imagePullPolicy is Never, and {image} is not on {node}, or came there by a pull secret that this pod \
                 does not have"
            ),
            "set imagePullPolicy to IfNotPresent and give the pod a pull secret".to_owned(),
        ),
        Code::SecretUndecodable => (
            "the kubelet could not decode one of the pod's pull secrets, and then tries none".to_owned(),
            "see which Secret it is: IMPS035".to_owned(),
        ),
        Code::NoLogin => (
            "a login in one of the pod's pull secrets is no text, and the kubelet cannot hand it on"
                .to_owned(),
            "see which Secret it is: IMPS048".to_owned(),
        ),
        Code::UntrustedCertificate => (
            format!("{node} does not trust the certificate of {host}"),
            format!(
                "give the nodes' container runtime the authority that signed it (certs.d/{host} of containerd)"
            ),
        ),
        Code::PlainHttp => (
            format!("{host} speaks HTTP, and the runtime HTTPS"),
            format!(
                "serve {host} by HTTPS, or set it up as an HTTP registry in the nodes' container runtime"
            ),
        ),
        Code::Dns => (
            format!("{node} cannot resolve {host} or where it refers to"),
            format!("on the node: nslookup {host}; nodes do not use the cluster's DNS"),
        ),
        Code::NoConnection => (
            format!("nothing takes the connection of {node} at {host} or where it refers to"),
            format!("on the node: curl -v https://{host}/v2/"),
        ),
        Code::Timeout => (
            format!("{host}, or where it refers to, did not answer {node} in time"),
            format!("on the node: curl -v https://{host}/v2/; look for firewalls and proxies"),
        ),
        Code::Proxy => (
            format!("the proxy that {node} is set up with did not let the request to {host} through"),
            "check HTTPS_PROXY and NO_PROXY of the nodes' container runtime".to_owned(),
        ),
        Code::Platform => (
            format!("{image} is not built for the platform of {node}"),
            "build the image for it, or choose the node by kubernetes.io/arch".to_owned(),
        ),
        Code::NodeStorage => (
            format!("{node} could not store or unpack {image}"),
            format!("kubectl describe node {node}: look for DiskPressure"),
        ),
        Code::RegistryFailing => {
            (format!("{host} answers with an error of its own"), "ask whoever runs the registry".to_owned())
        }
        Code::ProviderFailed => (
            format!("the credential provider of the kubelet on {node} did not answer as it should"),
            "on the node: journalctl -u kubelet, and --image-credential-provider-config".to_owned(),
        ),
        Code::PullRecords => (
            format!("the kubelet on {node} cannot write who pulled an image, and so pulls none"),
            "on the node: rights and space of image_manager in the kubelet's folder".to_owned(),
        ),
        Code::SignaturePolicy => (
            format!("a policy of {node} rejects the signature of {image}, or that it has none"),
            "sign the image as the policy of the nodes' container runtime wants it".to_owned(),
        ),
        _ => (String::new(), String::new()),
    };
    Finding::new(code, container.label()).evidence(evidence).cause(cause).remedy(remedy)
}

fn name(case: &Case) -> &str {
    case.pod.name.as_deref().unwrap_or_default()
}
