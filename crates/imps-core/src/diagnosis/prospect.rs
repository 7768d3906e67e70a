//! What the kubelet would try for an image that nobody may have pulled yet: which credentials, in which order, from
//! which Secrets, and why the others would not be tried.

use super::case::{Case, PullSecret};
use super::code::{Code, Severity};
use super::entries::{NAMED_MAX, any_first, judge, missed_by_little, tied, unreferenced};
use super::finding::Finding;
use super::secrets::as_kubelet;
use super::{ownership, references, secrets};
use crate::kubelet::{self, lookup, repository_of};
use crate::name::{GrantName, SecretName};
use crate::registry::safe_label;

/// A credential that would be tried.
#[derive(Clone, Debug)]
pub struct Trial {
    /// The Secret that it is from.
    pub secret: SecretName,
    /// Its entry, as far as it can be shown.
    pub entry: String,
    /// The `ImagePullSecret` that writes the Secret.
    pub writer: Option<GrantName>,
    /// What is to be said about it: why it does not serve, or when it ends.
    pub remark: Option<Finding>,
}

/// A Secret that is named and gives nothing for the image.
#[derive(Clone, Debug)]
pub struct Passed {
    /// The Secret.
    pub secret: SecretName,
    /// The `ImagePullSecret` that writes it.
    pub writer: Option<GrantName>,
    /// Why.
    pub why: Finding,
}

/// Whether the image would be pulled with a login.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Answer {
    /// With this trial.
    Served(usize),
    /// With none.
    Unserved,
    /// What could not be read may serve it.
    Open,
}

/// See the module.
#[derive(Clone, Debug)]
pub struct Prospect {
    /// What is tried, in this order.
    pub tried: Vec<Trial>,
    /// The other Secrets that the pod would name.
    pub passed: Vec<Passed>,
    /// What else there is to know: about the pod's list, and who should have supplied it.
    pub remarks: Vec<Finding>,
    /// The sum.
    pub answer: Answer,
}

impl Trial {
    /// Whether the registry gets a login that, as far as it says itself, is good.
    pub fn serves(&self) -> bool {
        !self.remark.as_ref().is_some_and(|remark| matches!(remark.code, Code::NoLogin | Code::Expired))
    }
}

/// The prospect of the first container of a pod. None when its image has no name that could be pulled.
pub fn prospect(case: &Case, now: i64) -> Option<Prospect> {
    let container = case.pod.containers.first()?;
    let repository = repository_of(&container.image).ok()?;
    let named: Vec<(&SecretName, Finding)> = case.references().iter().zip(secrets::examine(case)).collect();
    let spoiler = named.iter().find(|(_, finding)| finding.code == Code::SecretUndecodable);
    let readable: Vec<(&SecretName, &PullSecret)> = named
        .iter()
        .filter(|(_, finding)| finding.code == Code::Secrets && spoiler.is_none())
        .filter_map(|(name, _)| Some((*name, case.secrets.get(*name)?.seen()?)))
        .collect();
    let read: Vec<kubelet::PullSecret<'_>> = readable.iter().map(|(_, secret)| as_kubelet(secret)).collect();
    let attempts = lookup(&read, &container.image).unwrap_or_default();
    let writer = |secret: &SecretName| ownership::writer(case, secret).cloned();
    let tried: Vec<Trial> = attempts
        .iter()
        .map(|attempt| {
            let secret = readable[attempt.secret_index].0;
            let remark = judge(case, attempt, secret, now);
            Trial { secret: secret.clone(), entry: attempt.label(), writer: writer(secret), remark }
        })
        .collect();
    let passed: Vec<Passed> = named
        .iter()
        .filter(|(name, _)| !tried.iter().any(|trial| trial.secret == **name))
        .map(|(name, finding)| {
            let why = match spoiler {
                _ if finding.code != Code::Secrets => finding.clone(),
                Some((spoiler, _)) => spoilt(name, spoiler),
                None => missed(case, name, &repository),
            };
            Passed { secret: (*name).clone(), writer: writer(name), why }
        })
        .collect();
    let mut remarks = references::examine(case);
    let blind = remarks.iter().any(|remark| remark.code == Code::AccountUnseen);
    let answer = match tried.iter().position(Trial::serves) {
        Some(first) => Answer::Served(first),
        None if passed.iter().any(|passed| passed.why.code == Code::SecretUnseen) => Answer::Open,
        None if blind => Answer::Open,
        None => Answer::Unserved,
    };
    if !matches!(answer, Answer::Served(_)) {
        // Of a list that was not seen it cannot be said what it lacks.
        if blind {
            remarks.retain(|remark| remark.code != Code::NoReferences);
        } else {
            remarks.extend(unreferenced(case, container));
        }
        remarks.extend(ownership::examine(case, container, now));
    }
    remarks.retain(|remark| remark.severity() > Severity::Info);
    remarks.extend(tied(&attempts).map(|attempt| any_first(readable[attempt.secret_index].0, attempt)));
    Some(Prospect { tried, passed, remarks, answer })
}

fn spoilt(name: &SecretName, spoiler: &SecretName) -> Finding {
    Finding::new(Code::SecretUndecodable, format!("secret/{name}"))
        .cause(format!("the kubelet tries none, as it cannot decode {spoiler}"))
        .remedy(format!("repair {spoiler}"))
}

/// Why none of a Secret's entries is for the image: the first one that nearly is tells most.
fn missed(case: &Case, name: &SecretName, repository: &str) -> Finding {
    let secret = case.secrets.get(name).and_then(|sight| sight.seen());
    let keys = secret.and_then(|secret| kubelet::keys(&as_kubelet(secret)).ok()).unwrap_or_default();
    if let Some(finding) = keys.iter().find_map(|key| missed_by_little(case, name, key, repository)) {
        return finding;
    }
    let shown: Vec<String> = keys.iter().take(NAMED_MAX).map(|key| safe_label(key)).collect();
    let host = repository.split('/').next().unwrap_or_default();
    Finding::new(Code::NoMatch, format!("secret/{name}"))
        .evidence(format!("entries for {}", shown.join(", ")))
        .cause(format!("it has no entry for {host}"))
}
