//! Where a pod's list of pull secrets comes from, and what is missing in it.

use super::case::{Case, Sight};
use super::code::Code;
use super::entries::has_login_for;
use super::finding::Finding;
use crate::name::SecretName;

/// The second rung.
pub(super) fn examine(case: &Case) -> Vec<Finding> {
    let mut findings = Vec::new();
    let (pod, references) = (&case.pod, case.references());
    let account = format!("serviceaccount/{}", pod.account);
    match &case.account {
        Sight::Absent => findings.push(
            Finding::new(Code::AccountMissing, &account)
                .cause(format!("{} runs as a ServiceAccount that is not there", pod.subject))
                .remedy(format!("kubectl -n {} create serviceaccount {}", pod.namespace, pod.account)),
        ),
        Sight::Unseen(why) => findings.push(
            Finding::new(Code::AccountUnseen, &account)
                .evidence(why)
                .cause("whether the ServiceAccount has pull secrets could not be checked")
                .remedy(format!(
                    "needs the right to get serviceaccounts in {}; of manifests, ServiceAccounts among them",
                    pod.namespace
                )),
        ),
        Sight::Seen(_) => {}
    }
    if references.is_empty() {
        findings.push(
            Finding::new(Code::NoReferences, &pod.subject)
                .cause(if pod.admitted {
                    format!(
                        "neither {} nor, when it was made, its ServiceAccount {} names one",
                        pod.subject, pod.account
                    )
                } else {
                    format!("neither {} nor its ServiceAccount {} names one", pod.subject, pod.account)
                })
                .remedy(attach(case, "NAME")),
        );
    } else {
        let from = if pod.pull_secrets.is_empty() { account.as_str() } else { "its own list" };
        let listed = join(references);
        findings.push(
            Finding::new(Code::References, &pod.subject)
                .evidence(format!("{listed}, from {from}"))
                .cause("the kubelet asks for these Secrets, in this order"),
        );
    }
    findings.extend(left_behind(case));
    findings.extend(other_account(case));
    findings
}

/// Secrets of the account that the pod does not have, because it is older than they are or has a list of its own.
fn left_behind(case: &Case) -> Option<Finding> {
    let pod = &case.pod;
    let account = case.account.seen()?;
    let extra: Vec<SecretName> =
        account.pull_secrets.iter().filter(|name| !case.references().contains(name)).cloned().collect();
    // Of those it matters which would help; unless nothing is known about them.
    let helps = |name: &SecretName| match case.secrets.get(name) {
        Some(Sight::Seen(secret)) => {
            pod.containers.iter().any(|container| has_login_for(secret, &container.image))
        }
        Some(Sight::Absent) => false,
        Some(Sight::Unseen(_)) | None => true,
    };
    let useful: Vec<SecretName> = extra.iter().filter(|name| helps(name)).cloned().collect();
    let named = match (useful.is_empty(), pod.pull_secrets.is_empty()) {
        (false, _) => useful,
        (true, true) if !extra.is_empty() => extra,
        _ => return None,
    };
    let evidence = format!("serviceaccount/{} has {}, {} has not", pod.account, join(&named), pod.subject);
    let copied = pod.pull_secrets.iter().all(|name| account.pull_secrets.contains(name));
    Some(if copied && pod.admitted {
        Finding::new(Code::AccountNewer, &pod.subject)
            .evidence(evidence)
            .cause("a pod gets the list of its ServiceAccount when it is made, and keeps it")
            .remedy(format!(
                "kubectl -n {} delete pod {}   # its controller makes it again; without one, apply it again",
                pod.namespace,
                pod.name.as_deref().unwrap_or_default()
            ))
    } else {
        Finding::new(Code::OwnList, &pod.subject)
            .evidence(evidence)
            .cause("with imagePullSecrets of its own a pod gets none from its ServiceAccount")
            .remedy(format!(
                "add {} to imagePullSecrets in what makes {}, or take that list out",
                join(&named),
                pod.subject
            ))
    })
}

/// A pod that runs as somebody else than whom the pull secret was given to.
fn other_account(case: &Case) -> Option<Finding> {
    let pod = &case.pod;
    if !case.references().is_empty() || pod.account.as_str() == "default" {
        return None;
    }
    if case.account.seen().is_some_and(|account| !account.pull_secrets.is_empty()) {
        return None;
    }
    let default = case.default_account.seen().filter(|account| !account.pull_secrets.is_empty())?;
    let finding = Finding::new(Code::OtherAccount, format!("serviceaccount/{}", pod.account))
        .evidence(format!("serviceaccount/default has {}", join(&default.pull_secrets)))
        .cause(format!("{} runs as {}, which has none", pod.subject, pod.account));
    let name = default.pull_secrets.first().map(SecretName::as_str).unwrap_or_default();
    Some(finding.remedy(attach(case, name)))
}

/// The command that gives the pod's account a pull secret.
pub(super) fn attach(case: &Case, secret: &str) -> String {
    let patch = format!(r#"[{{"op":"add","path":"/imagePullSecrets/-","value":{{"name":"{secret}"}}}}]"#);
    let none = case.account.seen().is_none_or(|account| account.pull_secrets.is_empty());
    let patch = if none { format!(r#"{{"imagePullSecrets":[{{"name":"{secret}"}}]}}"#) } else { patch };
    let kind = if none { "" } else { " --type json" };
    let again = case
        .pod
        .name
        .as_deref()
        .map_or(String::new(), |name| format!(" && kubectl -n {} delete pod {name}", case.pod.namespace));
    format!(
        "kubectl -n {} patch serviceaccount {}{kind} -p '{patch}'{again}",
        case.pod.namespace, case.pod.account
    )
}

fn join(names: &[SecretName]) -> String {
    names.iter().map(SecretName::as_str).collect::<Vec<_>>().join(", ")
}
