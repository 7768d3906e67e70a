//! All of a cluster at once: how the Secrets of each `ImagePullSecret` stand in its namespaces and who uses them, and
//! what pods that wait for images have in common. Which is told of first, and what the numbers are, is decided here.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet};

use super::case::{Case, Granted, Sight, SourceWord};
use super::code::{Code, Severity};
use super::entries::SOON_SECONDS;
use super::excerpt::{excerpt, shown_image};
use super::finding::{Diagnosis, Verdict};
use super::share::{Place, Stance, shares};
use crate::name::{AccountName, GrantName, NamespaceName, SecretName};

/// A namespace, with those who use pull secrets in it.
#[derive(Clone, Debug)]
pub struct Settlement {
    /// The namespace.
    pub place: Place,
    /// Its ServiceAccounts, with the pull secrets that each names.
    pub accounts: Sight<Vec<(AccountName, Vec<SecretName>)>>,
    /// Its pods that have not ended, by their subjects, with the pull secrets that each names.
    pub pods: Sight<Vec<(String, Vec<SecretName>)>>,
}

/// A pod that waits for an image, and what keeps it from that.
#[derive(Clone, Debug)]
pub struct Patient {
    /// Where it is.
    pub namespace: NamespaceName,
    /// What it is called: `pod/web-7c9f`.
    pub subject: String,
    /// The images that it waits for, as far as they can be shown.
    pub images: Vec<String>,
    /// What explains it.
    pub verdict: Verdict,
    /// The worst of what was found.
    pub severity: Severity,
}

/// Pods that one cause keeps from their images. The first one stands for them.
#[derive(Clone, Debug)]
pub struct Cause {
    /// The finding that explains them.
    pub code: Option<Code>,
    /// The worst of what was found about them.
    pub severity: Severity,
    /// Those who have it, at least one.
    pub patients: Vec<Patient>,
}

/// One `ImagePullSecret`, and how far it reaches.
#[derive(Clone, Debug)]
pub struct Reach {
    /// Its name.
    pub grant: GrantName,
    /// Why it makes no sense, if it makes none.
    pub problem: Option<String>,
    /// It says itself that nothing is to be done.
    pub suspended: bool,
    /// Its sources, in their order, and how good each is.
    pub sources: Vec<(SourceWord, Severity)>,
    /// Its Secrets wherever one is, was or should be: the gravest first.
    pub spots: Vec<Spot>,
    /// How many namespaces it leaves out.
    pub left_out: usize,
}

/// A Secret of an `ImagePullSecret` in one namespace, and who uses it.
#[derive(Clone, Debug)]
pub struct Spot {
    /// The namespace.
    pub namespace: NamespaceName,
    /// The Secret.
    pub secret: SecretName,
    /// How it stands.
    pub stance: Stance,
    /// By which rule.
    pub rule: String,
    /// What there is to say beyond that. May be empty.
    pub cause: String,
    /// What to do. May be empty.
    pub remedy: String,
    /// The ServiceAccounts that name it.
    pub accounts: Sight<Vec<AccountName>>,
    /// How many pods name it.
    pub pods: Sight<usize>,
    /// Those of them that wait for an image.
    pub waiting: Vec<Waiting>,
}

/// A pod that waits, in a word.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Waiting {
    /// What it is called.
    pub subject: String,
    /// The finding that explains it.
    pub code: Option<Code>,
    /// The worst of what was found.
    pub severity: Severity,
}

/// Namespaces that have a Secret by one rule.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Coverage<'s> {
    /// The Secret.
    pub secret: &'s SecretName,
    /// The rule.
    pub rule: &'s str,
    /// Where, in the order of names.
    pub namespaces: Vec<&'s NamespaceName>,
    /// How many pods there name it; none where that is not known of each.
    pub pods: Option<usize>,
}

/// The numbers.
#[derive(Clone, Copy, Default, PartialEq, Eq, Debug)]
pub struct Tally {
    /// Namespaces that were looked at.
    pub namespaces: usize,
    /// Those that have a Secret of an `ImagePullSecret`.
    pub covered: usize,
    /// Those whose pods could not be looked at.
    pub blind: usize,
    /// Sources of all `ImagePullSecret`s, each once.
    pub sources: usize,
    /// Those that fail, have ended, or end within minutes.
    pub troubled_sources: usize,
    /// Secrets that are where they should be.
    pub has: usize,
    /// Secrets that are missing, or wait to be taken away.
    pub astray: usize,
    /// Names that somebody else's Secret has.
    pub conflicts: usize,
    /// Secrets of which nothing could be determined.
    pub unknown: usize,
    /// Pods that wait for an image.
    pub waiting: usize,
}

/// See the module.
#[derive(Clone, Debug, Default)]
pub struct Survey {
    /// The `ImagePullSecret`s, by their names.
    pub reaches: Vec<Reach>,
    /// What keeps pods from their images: the gravest first, and of these what keeps most.
    pub causes: Vec<Cause>,
    /// What could not be looked at, each once.
    pub gaps: BTreeSet<String>,
    /// The numbers.
    pub tally: Tally,
}

/// Surveys what was seen. `now` is the time, in seconds since the epoch.
pub fn survey(
    grants: &Sight<Vec<Granted>>,
    settlements: impl IntoIterator<Item = Settlement>,
    patients: Vec<Patient>,
    gaps: impl IntoIterator<Item = String>,
    now: i64,
) -> Survey {
    let mut reaches: BTreeMap<GrantName, Reach> = BTreeMap::new();
    for granted in grants.seen().into_iter().flatten() {
        reaches.insert(granted.name.clone(), Reach::new(granted, now));
    }
    let mut sick: BTreeMap<(NamespaceName, String), Waiting> = BTreeMap::new();
    for patient in &patients {
        sick.insert((patient.namespace.clone(), patient.subject.clone()), patient.in_a_word());
    }
    let mut tally = Tally { waiting: patients.len(), ..Tally::default() };
    for settlement in settlements {
        tally.namespaces += 1;
        tally.blind += usize::from(matches!(settlement.pods, Sight::Unseen(_)));
        let mut covered = false;
        for share in shares(&settlement.place) {
            let Some(reach) = reaches.get_mut(&share.grant).filter(|reach| reach.problem.is_none()) else {
                continue;
            };
            if share.stance == Stance::LeftOut {
                reach.left_out += 1;
                continue;
            }
            covered |= share.stance == Stance::Has;
            tally.count(share.stance);
            let (accounts, pods) = (settlement.accounts_of(&share.secret), settlement.pods_of(&share.secret));
            let namespace = settlement.place.namespace.clone();
            let waiting = pods.seen().into_iter().flatten();
            let waiting = waiting
                .filter_map(|pod| sick.get(&(namespace.clone(), (*pod).to_owned())).cloned())
                .collect();
            reach.spots.push(Spot {
                accounts,
                pods: pods.map(|pods| pods.len()),
                waiting,
                namespace,
                secret: share.secret,
                stance: share.stance,
                rule: share.rule,
                cause: share.cause,
                remedy: share.remedy,
            });
        }
        tally.covered += usize::from(covered);
    }
    let mut reaches: Vec<Reach> = reaches.into_values().collect();
    let mut sources: BTreeMap<_, Severity> = BTreeMap::new();
    for reach in &mut reaches {
        reach.spots.sort_by(|a, b| a.order().cmp(&b.order()));
        for (source, severity) in &reach.sources {
            let worst = sources.entry(source.at.clone()).or_insert(*severity);
            *worst = (*worst).max(*severity);
        }
    }
    tally.sources = sources.len();
    tally.troubled_sources = sources.values().filter(|severity| **severity >= Severity::Warning).count();
    let unseen = match grants {
        Sight::Unseen(why) => Some(why.clone()),
        Sight::Seen(_) | Sight::Absent => None,
    };
    Survey { reaches, causes: causes(patients), gaps: gaps.into_iter().chain(unseen).collect(), tally }
}

/// Pods by what keeps them from their images.
fn causes(patients: Vec<Patient>) -> Vec<Cause> {
    let mut found: BTreeMap<(Option<Code>, String), Cause> = BTreeMap::new();
    for patient in patients {
        let Patient { verdict, subject, namespace, severity, .. } = &patient;
        let key = (verdict.code, nameless(&verdict.text, subject, namespace.as_str()));
        let (code, severity) = (verdict.code, *severity);
        let cause = found.entry(key).or_insert(Cause { code, severity, patients: Vec::new() });
        cause.severity = cause.severity.max(severity);
        cause.patients.push(patient);
    }
    let mut causes: Vec<Cause> = found.into_values().collect();
    causes.sort_by_key(|cause| (Reverse(cause.severity), Reverse(cause.patients.len())));
    causes
}

/// A verdict without the pod and the namespace that it is about: who it is about is no part of a cause.
pub fn nameless(verdict: &str, subject: &str, namespace: &str) -> String {
    verdict.replace(subject, "").replace(namespace, "")
}

/// How good a source is.
fn grade(source: &SourceWord, now: i64) -> Severity {
    match source.expires.map(|end| end - now) {
        Some(left) if left <= 0 => Code::Expired.severity(),
        _ if source.trouble.is_some() => Code::GrantFailing.severity(),
        Some(left) if left < SOON_SECONDS => Code::ExpiresSoon.severity(),
        // Nobody has said yet what it gives.
        None if source.registries.is_empty() => Severity::Info,
        Some(_) | None => Severity::Ok,
    }
}

impl Settlement {
    fn accounts_of(&self, secret: &SecretName) -> Sight<Vec<AccountName>> {
        let naming = |accounts: &Vec<(AccountName, Vec<SecretName>)>| {
            let naming = accounts.iter().filter(|(_, named)| named.contains(secret));
            naming.map(|(account, _)| account.clone()).collect()
        };
        self.accounts.as_ref().map(naming)
    }

    fn pods_of(&self, secret: &SecretName) -> Sight<Vec<&str>> {
        self.pods.as_ref().map(|pods| {
            let naming = pods.iter().filter(|(_, named)| named.contains(secret));
            naming.map(|(pod, _)| pod.as_str()).collect()
        })
    }
}

impl Patient {
    /// The pod of a case with what was found about it.
    pub fn new(case: &Case, diagnosis: &Diagnosis) -> Self {
        let sick = case.pod.containers.iter().filter(|container| container.is_sick());
        let mut images: Vec<String> = sick.map(|container| shown_image(&container.image)).collect();
        images.dedup();
        Self {
            namespace: case.pod.namespace.clone(),
            subject: case.pod.subject.clone(),
            images,
            verdict: diagnosis.verdict.clone(),
            severity: diagnosis.severity(),
        }
    }

    fn in_a_word(&self) -> Waiting {
        Waiting { subject: self.subject.clone(), code: self.verdict.code, severity: self.severity }
    }
}

impl Reach {
    fn new(granted: &Granted, now: i64) -> Self {
        Self {
            grant: granted.name.clone(),
            problem: granted.grant.as_ref().err().map(|problem| excerpt(problem)),
            suspended: granted.grant.as_ref().is_ok_and(|grant| grant.suspended),
            sources: granted.sources.iter().map(|source| (source.clone(), grade(source, now))).collect(),
            spots: Vec::new(),
            left_out: 0,
        }
    }

    /// How many of its Secrets stand so.
    pub fn count(&self, stance: Stance) -> usize {
        self.spots.iter().filter(|spot| spot.stance == stance).count()
    }

    /// The namespaces that have its Secrets, by what they have and by which rule: what most have first.
    pub fn coverage(&self) -> Vec<Coverage<'_>> {
        let mut found: BTreeMap<(&SecretName, &str), Coverage<'_>> = BTreeMap::new();
        for spot in self.spots.iter().filter(|spot| spot.stance == Stance::Has) {
            let (secret, rule) = (&spot.secret, spot.rule.as_str());
            let empty = Coverage { secret, rule, namespaces: Vec::new(), pods: Some(0) };
            let coverage = found.entry((secret, rule)).or_insert(empty);
            coverage.namespaces.push(&spot.namespace);
            let pods = spot.pods.seen().copied();
            coverage.pods = coverage.pods.zip(pods).map(|(sum, pods)| sum + pods);
        }
        let mut found: Vec<Coverage<'_>> = found.into_values().collect();
        found.sort_by_key(|coverage| Reverse(coverage.namespaces.len()));
        found
    }

    /// The worst about it, pods that wait left out: what keeps them may have nothing to do with it.
    pub fn severity(&self) -> Severity {
        let sources = self.sources.iter().map(|(_, severity)| *severity);
        let spots = self.spots.iter().map(|spot| spot.stance.severity());
        let own = if self.problem.is_some() { Code::GrantFailing.severity() } else { Severity::Ok };
        sources.chain(spots).fold(own, Severity::max)
    }

    /// The worst about it and the pods that use it.
    pub fn severity_with_pods(&self) -> Severity {
        self.spots.iter().map(Spot::severity).fold(self.severity(), Severity::max)
    }
}

impl Spot {
    /// How bad it is, pods that wait included.
    pub fn severity(&self) -> Severity {
        let waiting = self.waiting.iter().map(|waiting| waiting.severity);
        waiting.fold(self.stance.severity(), Severity::max)
    }

    fn order(&self) -> (Reverse<Severity>, &NamespaceName, &SecretName) {
        (Reverse(self.severity()), &self.namespace, &self.secret)
    }
}

impl Tally {
    fn count(&mut self, stance: Stance) {
        match stance {
            Stance::Has => self.has += 1,
            Stance::Lacks | Stance::Loses => self.astray += 1,
            Stance::Conflict => self.conflicts += 1,
            Stance::Unknown => self.unknown += 1,
            Stance::LeftOut => {}
        }
    }
}

impl Survey {
    /// Of one `ImagePullSecret`.
    pub fn reach(&self, grant: &str) -> Option<&Reach> {
        self.reaches.iter().find(|reach| reach.grant.as_str() == grant)
    }

    /// The worst that there is.
    pub fn severity(&self) -> Severity {
        let reaches = self.reaches.iter().map(Reach::severity);
        reaches.chain(self.causes.iter().map(|cause| cause.severity)).max().unwrap_or(Severity::Ok)
    }

    /// Whether there may be more than was found.
    pub fn is_open(&self) -> bool {
        let open = |cause: &Cause| cause.patients.iter().any(|patient| patient.verdict.open);
        !self.gaps.is_empty() || self.tally.unknown > 0 || self.causes.iter().any(open)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn patient(namespace: &str, pod: &str, code: Code, text: &str) -> Patient {
        Patient {
            namespace: namespace.into(),
            subject: format!("pod/{pod}"),
            images: Vec::new(),
            verdict: Verdict {
                code: Some(code),
                text: text.to_owned(),
                remedy: String::new(),
                open: code == Code::Unauthorized,
            },
            severity: code.severity(),
        }
    }

    fn of(patients: Vec<Patient>, gaps: &[&str]) -> Survey {
        survey(&Sight::Absent, [], patients, gaps.iter().map(|gap| (*gap).to_owned()), 0)
    }

    #[test]
    fn the_gravest_cause_comes_first_and_of_these_what_keeps_most() {
        let survey = of(
            vec![
                patient("shop", "a", Code::NotSelected, "why"),
                patient("shop", "b", Code::Dns, "pod/b of shop: no such host"),
                patient("shop", "c", Code::MissPort, "secret/x: the port"),
                // Who it is about is no part of the cause, another Secret is.
                patient("yard", "d", Code::Dns, "pod/d of yard: no such host"),
                patient("yard", "e", Code::MissPort, "secret/y: the port"),
                patient("yard", "f", Code::NotSelected, "why"),
                patient("yard", "g", Code::NotSelected, "why"),
            ],
            &[],
        );
        let found: Vec<(Option<Code>, usize)> =
            survey.causes.iter().map(|cause| (cause.code, cause.patients.len())).collect();
        let expected = [(Code::Dns, 2), (Code::MissPort, 1), (Code::MissPort, 1), (Code::NotSelected, 3)];
        assert_eq!(found, expected.map(|(code, count)| (Some(code), count)));
        assert_eq!((survey.tally.waiting, survey.severity()), (7, Severity::Error));
        assert!(!survey.is_open());
    }

    #[test]
    fn there_may_be_more_where_something_was_not_seen_or_a_verdict_is_not_sure() {
        let gap = of(Vec::new(), &["cannot list pods", "cannot list pods"]);
        assert_eq!((gap.gaps.len(), gap.is_open(), gap.severity()), (1, true, Severity::Ok));
        assert!(of(vec![patient("shop", "a", Code::Unauthorized, "why")], &[]).is_open());
        let unseen = survey(&Sight::Unseen("cannot list".to_owned()), [], Vec::new(), [], 0);
        assert_eq!(unseen.gaps.iter().map(String::as_str).collect::<Vec<_>>(), ["cannot list"]);
    }

    #[test]
    fn a_source_is_as_good_as_its_token_and_what_is_said_of_it() {
        let source = |registries: &[&str], trouble: bool, expires: Option<i64>| SourceWord {
            at: crate::name::SecretRef::new("access", "hub"),
            trouble: trouble.then(|| ("Failing".to_owned(), String::new())),
            registries: registries.iter().map(|registry| (*registry).to_owned()).collect(),
            expires,
        };
        let now = 1_000_000;
        for (source, severity) in [
            (source(&["a.example"], false, None), Severity::Ok),
            (source(&["a.example"], false, Some(now + SOON_SECONDS)), Severity::Ok),
            (source(&["a.example"], false, Some(now + SOON_SECONDS - 1)), Severity::Warning),
            (source(&["a.example"], true, Some(now + SOON_SECONDS)), Severity::Warning),
            (source(&["a.example"], true, Some(now)), Severity::Error),
            (source(&[], false, None), Severity::Info),
        ] {
            assert_eq!(grade(&source, now), severity, "{source:?}");
        }
    }
}
