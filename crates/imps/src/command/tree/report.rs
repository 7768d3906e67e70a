//! What `imps tree` answers, as data: the JSON output is just this.

use imps_core::diagnosis::{Code, Reach, Severity, Sight, Spot, Stance, Survey, Waiting};
use serde::Serialize;

use crate::command::diagnose::report::{api_version, plain};
use crate::command::explain::report::{SourceReport, source};

/// The whole answer.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Report {
    api_version: String,
    kind: &'static str,
    pub(super) image_pull_secret: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    pub(super) problem: String,
    pub(super) suspended: bool,
    pub(super) sources: Vec<SourceReport>,
    /// The gravest first.
    pub(super) namespaces: Vec<Place>,
    /// How many others it leaves out.
    pub(super) left_out: usize,
    /// What could not be looked at.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(super) unseen: Vec<String>,
    #[serde(skip)]
    pub(super) source_grades: Vec<Severity>,
}

/// One Secret in one namespace.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Place {
    pub(super) namespace: String,
    pub(super) secret: String,
    pub(super) state: &'static str,
    #[serde(skip_serializing_if = "String::is_empty")]
    pub(super) rule: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    pub(super) cause: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    pub(super) remedy: String,
    /// Those that name the Secret.
    pub(super) service_accounts: Known<Vec<String>>,
    /// How many name the Secret.
    pub(super) pods: Known<usize>,
    pub(super) waiting: Vec<Pod>,
    #[serde(skip)]
    pub(super) grade: Severity,
    #[serde(skip)]
    pub(super) listed: bool,
}

/// A thing, or why it is not known.
#[derive(Serialize)]
#[serde(untagged)]
pub(super) enum Known<T> {
    Seen(T),
    Unseen { unseen: String },
}

/// A pod that waits for an image.
#[derive(Serialize)]
pub(super) struct Pod {
    pub(super) pod: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) code: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) title: Option<&'static str>,
    #[serde(skip)]
    pub(super) grade: Severity,
}

impl Report {
    pub(super) fn new(reach: &Reach, survey: &Survey) -> Self {
        Self {
            api_version: api_version(),
            kind: "Tree",
            image_pull_secret: plain(reach.grant.as_str()),
            problem: plain(reach.problem.as_deref().unwrap_or_default()),
            suspended: reach.suspended,
            sources: reach.sources.iter().map(|(word, _)| source(word)).collect(),
            namespaces: reach.spots.iter().map(place).collect(),
            left_out: reach.left_out,
            unseen: survey.gaps.iter().map(|gap| plain(gap)).collect(),
            source_grades: reach.sources.iter().map(|(_, severity)| *severity).collect(),
        }
    }

    /// Whether something could not be checked.
    pub(super) fn is_open(&self) -> bool {
        !self.unseen.is_empty()
            || !self.problem.is_empty()
            || self.namespaces.iter().any(|place| place.grade == Severity::Unknown)
    }
}

fn place(spot: &Spot) -> Place {
    Place {
        namespace: plain(spot.namespace.as_str()),
        secret: plain(spot.secret.as_str()),
        state: spot.stance.as_str(),
        rule: plain(&spot.rule),
        cause: plain(&spot.cause),
        remedy: plain(&spot.remedy),
        service_accounts: known(
            spot.accounts.as_ref().map(|all| all.iter().map(|one| plain(one.as_str())).collect()),
        ),
        pods: known(spot.pods.clone()),
        waiting: spot.waiting.iter().map(pod).collect(),
        grade: spot.severity(),
        listed: matches!(spot.stance, Stance::Loses | Stance::Unknown),
    }
}

fn known<T: Default>(sight: Sight<T>) -> Known<T> {
    match sight {
        Sight::Seen(thing) => Known::Seen(thing),
        Sight::Absent => Known::Seen(T::default()),
        Sight::Unseen(why) => Known::Unseen { unseen: plain(&why) },
    }
}

fn pod(waiting: &Waiting) -> Pod {
    Pod {
        pod: plain(&waiting.subject),
        code: waiting.code.map(|code| code.to_string()),
        title: waiting.code.map(Code::title),
        grade: waiting.severity,
    }
}
