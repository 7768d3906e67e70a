//! Which `ImagePullSecret` should have supplied a pod, and why it did not.

use super::case::{Case, Container, Granted, Sight, SourceWord, Space};
use super::code::Code;
use super::entries::span;
use super::excerpt::shown_image;
use super::finding::Finding;
use super::references::attach;
use crate::grant::{Grant, Verdict};
use crate::kubelet::{name_serves, repository_of};
use crate::name::{GrantName, SecretName};
use crate::registry::stored_key;

/// The last rung of the ladder, for one image.
pub(super) fn examine(case: &Case, container: &Container, now: i64) -> Vec<Finding> {
    let Ok(repository) = repository_of(&container.image) else { return Vec::new() };
    let grants = match &case.grants {
        Sight::Seen(grants) if !grants.is_empty() => grants,
        Sight::Unseen(why) => {
            return vec![
                Finding::new(Code::GrantsUnseen, "imagepullsecrets")
                    .evidence(why)
                    .cause("whether an ImagePullSecret should have supplied the pod could not be checked")
                    .remedy("needs the right to list imagepullsecrets"),
            ];
        }
        Sight::Seen(_) | Sight::Absent => {
            return vec![
                Finding::new(Code::NotInstalled, "imagepullsecrets")
                    .cause("nothing but whoever made the pull secrets keeps them"),
            ];
        }
    };
    grants.iter().flat_map(|granted| judge(case, container, granted, &repository, now)).collect()
}

/// The `ImagePullSecret` that writes the Secret of this name in the pod's namespace.
pub(super) fn writer<'c>(case: &'c Case, secret: &SecretName) -> Option<&'c GrantName> {
    let grants = case.grants.seen()?;
    let owners = case.secrets.get(secret).and_then(|sight| sight.seen()).map_or(&[][..], |held| &held.owners);
    let owns =
        |granted: &&Granted| granted.grant.as_ref().is_ok_and(|grant| owners.contains(&grant.identity.uid));
    let writes = |granted: &&Granted| {
        granted.grant.as_ref().is_ok_and(|grant| {
            grant.template.name == *secret
                && matches!(verdict(case, grant), Some(Verdict::Selected(_)))
                && !granted.conflicts()
        })
    };
    // An owner reference says it also where a pod that is not seen selects the namespace.
    grants.iter().find(owns).or_else(|| grants.iter().find(writes)).map(|granted| &granted.name)
}

/// What a grant means for the namespace, as far as the namespace and the pod tell: of other pods in it nothing is
/// known.
fn verdict(case: &Case, grant: &Grant) -> Option<Verdict> {
    let space = case.space.seen()?;
    let (labels, annotations) = &case.pod.tags;
    let has_pod = |term: &crate::grant::PodTerm| term.matches(labels, annotations);
    Some(grant.recipients.decide(&case.pod.namespace, &space.labels, &space.annotations, has_pod))
}

fn judge(case: &Case, container: &Container, granted: &Granted, repository: &str, now: i64) -> Vec<Finding> {
    let subject = format!("imagepullsecret/{}", granted.name);
    let serving: Vec<&SourceWord> =
        granted.sources.iter().filter(|source| serves(source, repository)).collect();
    let grant = match &granted.grant {
        Ok(grant) => grant,
        Err(problem) if !serving.is_empty() => {
            return vec![
                Finding::new(Code::GrantFailing, subject)
                    .evidence(problem)
                    .cause("imps cannot make sense of it, and changes nothing until it is corrected")
                    .remedy(format!("kubectl edit imps {}", granted.name)),
            ];
        }
        Err(_) => return Vec::new(),
    };
    let named = case.references().contains(&grant.template.name);
    // One that has nothing to do with this image says nothing about this pod, unless it writes what the pod uses.
    if serving.is_empty() && !(named && writer(case, &grant.template.name) == Some(&granted.name)) {
        let failing = granted.sources.iter().any(|source| source.trouble.is_some());
        return if named && failing {
            trouble(granted, &granted.sources.iter().collect::<Vec<_>>())
        } else {
            Vec::new()
        };
    }
    let mut findings = standing(case, container, granted, grant);
    if findings.iter().all(|finding| finding.code != Code::NotSelected && finding.code != Code::Excluded) {
        let concerned: Vec<&SourceWord> =
            if serving.is_empty() { granted.sources.iter().collect() } else { serving };
        findings.extend(trouble(granted, &concerned));
        findings.extend(concerned.iter().filter_map(|source| expired(granted, source, now)));
    }
    findings
}

/// How the grant stands in the namespace.
fn standing(case: &Case, container: &Container, granted: &Granted, grant: &Grant) -> Vec<Finding> {
    let subject = format!("imagepullsecret/{}", granted.name);
    let (namespace, target) = (&case.pod.namespace, &grant.template.name);
    let Some(space) = case.space.seen() else {
        return vec![
            Finding::new(Code::GrantsUnseen, subject)
                .evidence(format!("the labels of {namespace} could not be read"))
                .cause("whether it selects the namespace could not be checked")
                .remedy("needs the right to get namespaces"),
        ];
    };
    let rule = match verdict(case, grant) {
        Some(Verdict::Selected(rule)) => rule,
        Some(Verdict::Excluded { selected, excluded }) => {
            return vec![
                Finding::new(Code::Excluded, subject)
                    .evidence(format!("selected by {selected}, excluded by {excluded}"))
                    .cause(format!("it has a login for the image, and {namespace} is kept from it"))
                    .remedy(format!("take back {excluded}, if {namespace} is to have it")),
            ];
        }
        Some(Verdict::Unselected) | None => return vec![unselected(case, granted, grant, space)],
    };
    let mut findings = Vec::new();
    if grant.suspended {
        findings.push(
            Finding::new(Code::Suspended, &subject)
                .cause("nothing is written and nothing renewed while spec.suspend is true")
                .remedy(resume(&granted.name)),
        );
    }
    let here = case.secrets.get(target);
    match (&granted.failure, here) {
        (Some((_, message)), _) if granted.conflicts() => findings.push(
            Finding::new(Code::TargetConflict, &subject)
                .evidence(super::excerpt(message))
                .cause(format!("imps leaves {namespace}/{target} alone, as it did not make it"))
                .remedy(format!(
                    "delete {namespace}/{target}, or let it be taken over: spec.target.secret.adopt, or the annotation \
                     adopt on the Secret"
                )),
        ),
        (Some((reason, message)), _) => findings.push(
            Finding::new(Code::NotWritten, &subject)
                .evidence(super::excerpt(&format!("{reason}: {message}")))
                .cause(format!("imps could not write {namespace}/{target}"))
                .remedy(format!("kubectl describe imps {}", granted.name)),
        ),
        (None, Some(Sight::Absent)) => findings.push(not_written(case, granted, grant)),
        (None, Some(Sight::Seen(_))) if !case.references().contains(target) => findings.push(
            Finding::new(Code::NotAttached, &subject)
                .evidence(format!("secret/{target} is in {namespace}"))
                .cause(format!("neither {} nor its ServiceAccount names it", case.pod.subject))
                .remedy(format!(
                    "let it be attached: spec.target.serviceAccounts.names: [{}], then make the pod again; or {}",
                    case.pod.account,
                    attach(case, target.as_str())
                )),
        ),
        (None, _) => findings.push(
            Finding::new(Code::Managed, &subject)
                .evidence(format!("writes secret/{target}, because of {rule}"))
                .cause(format!("a change for {} belongs into its sources", shown_image(&container.image))),
        ),
    }
    findings
}

fn not_written(case: &Case, granted: &Granted, grant: &Grant) -> Finding {
    let (namespace, target) = (&case.pod.namespace, &grant.template.name);
    let finding = Finding::new(Code::NotWritten, format!("imagepullsecret/{}", granted.name))
        .cause(format!("it selects {namespace}, and there is no Secret {target}"));
    if granted.reported {
        finding
            .evidence("its status says nothing of a failure here")
            .remedy(format!("kubectl describe imps {}, and see whether imps runs", granted.name))
    } else {
        finding
            .evidence("it has no status")
            .remedy("imps does not run, or has not seen it yet: kubectl get pods -A | grep imps")
    }
}

fn unselected(case: &Case, granted: &Granted, grant: &Grant, space: &Space) -> Finding {
    let namespace = &case.pod.namespace;
    Finding::new(Code::NotSelected, format!("imagepullsecret/{}", granted.name))
        .evidence(why_unselected(grant, space))
        .cause(format!("it has a login for the image, and none of its rules speaks for {namespace}"))
        .remedy(format!(
            "add {namespace} to spec.target.namespaces.names of {}, or give {namespace} what a rule asks for",
            granted.name
        ))
}

/// The command that ends a suspension.
pub(super) fn resume(grant: &GrantName) -> String {
    format!("kubectl patch imps {grant} --type merge -p '{{\"spec\":{{\"suspend\":false}}}}'")
}

/// Each rule that does not speak for the namespace, and what the namespace has instead.
pub(super) fn why_unselected(grant: &Grant, space: &Space) -> String {
    let refusals = grant.recipients.refusals(&space.labels, &space.annotations);
    if refusals.is_empty() { "it has no rule".to_owned() } else { refusals.join("; ") }
}

fn trouble(granted: &Granted, sources: &[&SourceWord]) -> Vec<Finding> {
    let failing = sources.iter().filter_map(|source| Some((source, source.trouble.as_ref()?)));
    failing
        .map(|(source, (reason, message))| {
            Finding::new(Code::GrantFailing, format!("imagepullsecret/{}", granted.name))
                .evidence(super::excerpt(&format!("source {}: {reason}: {message}", source.at)))
                .cause("a source that fails keeps giving what it last gave, until that ends")
                .remedy(format!("kubectl -n {} describe secret {}", source.at.namespace, source.at.name))
        })
        .collect()
}

fn expired(granted: &Granted, source: &SourceWord, now: i64) -> Option<Finding> {
    let over = now - source.expires?;
    (over >= 0).then(|| {
        Finding::new(Code::Expired, format!("imagepullsecret/{}", granted.name))
            .evidence(format!("the token of source {} ended {} ago", source.at, span(over)))
            .cause("it was not renewed in time")
            .remedy(format!("kubectl describe imps {}, and see whether imps runs", granted.name))
    })
}

fn serves(source: &SourceWord, repository: &str) -> bool {
    source.registries.iter().any(|key| stored_key(key).is_some_and(|name| name_serves(&name, repository)))
}
