//! Why a pod cannot pull its images: facts about one pod in, findings and one verdict out.
//!
//! The facts ([`Case`]) are what anybody can read with kubectl. They are examined rung by rung, as a person would who
//! knows how the kubelet decides: is it a pull problem at all, what did the registry say, where do the pod's pull
//! secrets come from, can the kubelet read them, which entries match the image, are they fresh, and who should have
//! supplied them. What could not be read turns its rung into a finding that says so; the others are examined all the
//! same. Where the registry was asked ([`probe`]), its word is examined too. A finding never holds a credential or
//! the name of a user.
//!
//! Out of the same facts come what a kubelet would try for an image ([`prospect()`]), and what each `ImagePullSecret`
//! means for a namespace ([`shares`]), and of all namespaces together a [`survey()`].

mod case;
mod code;
mod entries;
mod excerpt;
mod expiry;
mod finding;
mod near_miss;
mod ownership;
pub mod probe;
mod prospect;
mod pull_error;
mod references;
mod secrets;
mod share;
mod survey;
mod symptoms;
mod verdict;

pub use self::{
    case::{
        Account, Case, Container, ContainerKind, Granted, Pod, PullSecret, Sight, SourceWord, Space, State,
    },
    code::{Code, Severity},
    entries::span,
    excerpt::{excerpt, is_obeyed, shown_image},
    finding::{Diagnosis, Finding, Verdict},
    prospect::{Answer, Passed, Prospect, Trial, prospect},
    pull_error::{PullError, classify, is_pull_reason},
    share::{Place, Share, Stance, shares},
    survey::{Cause, Coverage, Patient, Reach, Settlement, Spot, Survey, Tally, Waiting, nameless, survey},
};

/// Examines a pod. `now` is the time, in seconds since the epoch.
pub fn diagnose(case: &Case, now: i64) -> Diagnosis {
    let mut findings = symptoms::examine(case);
    let sick: Vec<&Container> = case.pod.containers.iter().filter(|container| container.is_sick()).collect();
    if !sick.is_empty() && !findings.iter().any(|finding| finding.code == Code::ImageName) {
        findings.extend(references::examine(case));
        findings.extend(secrets::examine(case));
        let mut images: Vec<&str> = Vec::new();
        for container in &sick {
            if !images.contains(&container.image.as_str()) {
                images.push(&container.image);
                findings.extend(entries::examine(case, container, now));
                findings.extend(probe::examine(case, &container.image));
                findings.extend(ownership::examine(case, container, now));
            }
        }
        findings.extend(sick.iter().filter_map(|container| symptoms::withheld(case, container)));
        findings.extend(symptoms::beyond_sight(case));
    }
    findings.sort_by_key(|finding| finding.code);
    let verdict = verdict::conclude(case, &findings);
    Diagnosis { findings, verdict }
}
