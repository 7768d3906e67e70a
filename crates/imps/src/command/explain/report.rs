//! What `imps explain` answers, as data: the JSON output is just this.

use imps_core::diagnosis::{
    Answer, Case, Passed, Place, Prospect, Share, Sight, SourceWord, Stance, Trial, excerpt, shown_image,
};
use imps_core::name::GrantName;
use imps_core::registry::safe_label;
use jiff::Timestamp;
use serde::Serialize;

use crate::command::diagnose::report::{FindingReport, api_version, finding, plain};

/// What an answer comes to.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Sum {
    /// All is there, or the image is served.
    Good,
    /// Something is missing, or nothing serves the image.
    Bad,
    /// It could not be determined.
    Open,
}

/// About a namespace.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct PlaceReport {
    api_version: String,
    kind: &'static str,
    pub(super) namespace: String,
    pub(super) secrets: Vec<ShareReport>,
    /// What could not be looked at.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(super) unseen: Vec<String>,
    #[serde(skip)]
    sum: Sum,
}

/// About one Secret that an `ImagePullSecret` gives, gave or would give.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct ShareReport {
    pub(super) image_pull_secret: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    pub(super) secret: String,
    pub(super) state: &'static str,
    #[serde(skip_serializing_if = "String::is_empty")]
    pub(super) rule: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    pub(super) cause: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    pub(super) remedy: String,
    pub(super) sources: Vec<SourceReport>,
    #[serde(skip)]
    pub(super) stance: Stance,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub(in crate::command) struct SourceReport {
    pub(in crate::command) source: String,
    pub(in crate::command) registries: Vec<String>,
    #[serde(skip_serializing_if = "String::is_empty")]
    pub(in crate::command) trouble: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    expires_at: Option<Timestamp>,
    #[serde(skip)]
    pub(in crate::command) expires: Option<i64>,
}

/// About an image.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct ImageReport {
    api_version: String,
    kind: &'static str,
    pub(super) image: String,
    pub(super) namespace: String,
    pub(super) service_account: String,
    /// `served`, `unserved` or `unknown`.
    answer: &'static str,
    /// The place of the first one that serves, counted from 1.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) first: Option<usize>,
    /// In the order in which the kubelet tries them.
    pub(super) tried: Vec<TrialReport>,
    pub(super) passed_over: Vec<PassedReport>,
    pub(super) remarks: Vec<FindingReport>,
    #[serde(skip)]
    sum: Sum,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct TrialReport {
    pub(super) secret: String,
    pub(super) entry: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) written_by: Option<String>,
    pub(super) serves: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) remark: Option<FindingReport>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct PassedReport {
    pub(super) secret: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) written_by: Option<String>,
    pub(super) why: FindingReport,
}

impl PlaceReport {
    pub(super) fn new(place: &Place, shares: &[Share]) -> Self {
        let unseen: Vec<String> = match &place.grants {
            Sight::Unseen(why) => vec![plain(why)],
            Sight::Seen(_) | Sight::Absent => Vec::new(),
        };
        let any = |wanted: &[Stance]| shares.iter().any(|share| wanted.contains(&share.stance));
        let sum = if any(&[Stance::Lacks, Stance::Conflict]) {
            Sum::Bad
        } else if any(&[Stance::Unknown]) || !unseen.is_empty() {
            Sum::Open
        } else {
            Sum::Good
        };
        Self {
            api_version: api_version(),
            kind: "NamespaceExplanation",
            namespace: plain(place.namespace.as_str()),
            secrets: shares.iter().map(share).collect(),
            unseen,
            sum,
        }
    }

    pub(super) fn sum(&self) -> Sum {
        self.sum
    }
}

fn share(share: &Share) -> ShareReport {
    ShareReport {
        image_pull_secret: plain(share.grant.as_str()),
        secret: plain(share.secret.as_str()),
        state: share.stance.as_str(),
        rule: plain(&share.rule),
        cause: plain(&share.cause),
        remedy: plain(&share.remedy),
        sources: share.sources.iter().map(source).collect(),
        stance: share.stance,
    }
}

/// One source.
pub(in crate::command) fn source(word: &SourceWord) -> SourceReport {
    let trouble = word.trouble.as_ref().map(|(reason, message)| excerpt(&format!("{reason}: {message}")));
    SourceReport {
        source: plain(&word.at.to_string()),
        registries: word.registries.iter().map(|registry| safe_label(registry)).collect(),
        trouble: trouble.unwrap_or_default(),
        expires_at: word.expires.and_then(|end| Timestamp::from_second(end).ok()),
        expires: word.expires,
    }
}

impl ImageReport {
    pub(super) fn new(case: &Case, found: &Prospect) -> Self {
        let (answer, sum, first) = match found.answer {
            Answer::Served(first) => ("served", Sum::Good, Some(first + 1)),
            Answer::Unserved => ("unserved", Sum::Bad, None),
            Answer::Open => ("unknown", Sum::Open, None),
        };
        let image = case.pod.containers.first().map(|container| shown_image(&container.image));
        Self {
            api_version: api_version(),
            kind: "ImageExplanation",
            image: image.unwrap_or_default(),
            namespace: plain(case.pod.namespace.as_str()),
            service_account: plain(case.pod.account.as_str()),
            answer,
            first,
            tried: found.tried.iter().map(trial).collect(),
            passed_over: found.passed.iter().map(passed).collect(),
            remarks: found.remarks.iter().map(finding).collect(),
            sum,
        }
    }

    pub(super) fn sum(&self) -> Sum {
        self.sum
    }
}

fn trial(trial: &Trial) -> TrialReport {
    TrialReport {
        secret: plain(trial.secret.as_str()),
        entry: plain(&trial.entry),
        written_by: trial.writer.as_ref().map(writer),
        serves: trial.serves(),
        remark: trial.remark.as_ref().map(finding),
    }
}

fn passed(passed: &Passed) -> PassedReport {
    PassedReport {
        secret: plain(passed.secret.as_str()),
        written_by: passed.writer.as_ref().map(writer),
        why: finding(&passed.why),
    }
}

fn writer(grant: &GrantName) -> String {
    plain(grant.as_str())
}
