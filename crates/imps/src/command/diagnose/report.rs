//! What `imps diagnose` answers, as data: the JSON output is just this.

use imps_api::keys;
use imps_core::diagnosis::{
    Case, Code, Container, Diagnosis, Finding, PullError, Severity, State, excerpt, is_obeyed, shown_image,
};
use serde::Serialize;

/// The version of this form.
pub(in crate::command) fn api_version() -> String {
    format!("cli.{}/v1", keys::GROUP)
}

/// The whole answer.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Report {
    api_version: String,
    kind: &'static str,
    pub(super) pods: Vec<PodReport>,
}

/// About one pod.
#[derive(Serialize)]
pub(super) struct PodReport {
    pub(super) namespace: String,
    pub(super) subject: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) node: Option<String>,
    /// Those that wait for their image, or may.
    pub(super) containers: Vec<ContainerReport>,
    pub(super) verdict: VerdictReport,
    pub(super) findings: Vec<FindingReport>,
}

#[derive(Serialize)]
pub(super) struct ContainerReport {
    pub(super) name: String,
    pub(super) image: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    pub(super) reason: String,
    /// `init container app`, for people.
    #[serde(skip)]
    pub(super) label: String,
}

#[derive(Serialize)]
pub(super) struct VerdictReport {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) code: Option<String>,
    /// What the code means.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) title: Option<&'static str>,
    pub(super) text: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    pub(super) remedy: String,
    /// Something that could not be read may hold the cause.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub(super) open: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) page: Option<String>,
}

#[derive(Serialize)]
pub(in crate::command) struct FindingReport {
    pub(in crate::command) code: String,
    pub(in crate::command) name: &'static str,
    pub(in crate::command) severity: &'static str,
    pub(in crate::command) subject: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    pub(in crate::command) evidence: String,
    pub(in crate::command) cause: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    pub(in crate::command) remedy: String,
    #[serde(skip)]
    pub(in crate::command) grade: Severity,
}

/// About one message.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct EventReport {
    api_version: String,
    kind: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) code: Option<String>,
    pub(super) meaning: &'static str,
    pub(super) message: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) page: Option<String>,
}

impl Report {
    pub(super) fn new(pods: Vec<PodReport>) -> Self {
        Self { api_version: api_version(), kind: "Diagnosis", pods }
    }

    /// The worst of all findings.
    pub(super) fn severity(&self) -> Severity {
        let findings = self.pods.iter().flat_map(|pod| &pod.findings);
        findings.map(|finding| finding.grade).max().unwrap_or(Severity::Ok)
    }

    /// Whether a cause may be in what could not be read.
    pub(super) fn is_open(&self) -> bool {
        self.pods.iter().any(|pod| pod.verdict.open)
    }
}

impl EventReport {
    pub(super) fn new(read: PullError, message: &str) -> Self {
        let (code, meaning) = match read {
            PullError::Finding(code) => (Some(code), code.title()),
            PullError::SecretMissing => (Some(Code::SecretMissing), Code::SecretMissing.title()),
            PullError::NotPulling => (Some(Code::NoPullProblem), "It is not about pulling an image"),
            PullError::BackOff => {
                (None, "The kubelet waits before it tries again; it does not say here why it failed")
            }
        };
        Self {
            api_version: api_version(),
            kind: "PullError",
            code: code.map(|code| code.to_string()),
            meaning,
            message: excerpt(message),
            page: code.map(Code::page),
        }
    }
}

/// What there is to say about a pod.
pub(super) fn pod(case: &Case, diagnosis: &Diagnosis) -> PodReport {
    let verdict = &diagnosis.verdict;
    PodReport {
        namespace: plain(case.pod.namespace.as_str()),
        subject: plain(&case.pod.subject),
        node: case.pod.node.as_deref().map(plain),
        containers: case.pod.containers.iter().filter(|one| one.is_sick()).map(container).collect(),
        verdict: VerdictReport {
            code: verdict.code.map(|code| code.to_string()),
            title: verdict.code.map(Code::title),
            text: plain(&verdict.text),
            remedy: plain(&verdict.remedy),
            open: verdict.open,
            page: verdict.code.map(Code::page),
        },
        findings: diagnosis.findings.iter().map(finding).collect(),
    }
}

fn container(container: &Container) -> ContainerReport {
    let reason = match &container.state {
        State::Waiting { reason, .. } => excerpt(reason),
        State::Started | State::Unsaid => String::new(),
    };
    ContainerReport {
        name: plain(&container.name),
        image: shown_image(&container.image),
        reason,
        label: plain(&container.label()),
    }
}

/// One finding.
pub(in crate::command) fn finding(finding: &Finding) -> FindingReport {
    FindingReport {
        code: finding.code.to_string(),
        name: finding.code.name(),
        severity: finding.severity().as_str(),
        subject: plain(&finding.subject),
        evidence: plain(&finding.evidence),
        cause: plain(&finding.cause),
        remedy: plain(&finding.remedy),
        grade: finding.severity(),
    }
}

/// Manifests may have anything for a name, and terminals obey control characters.
pub(in crate::command) fn plain(text: &str) -> String {
    text.chars().filter(|c| !is_obeyed(*c)).collect()
}
