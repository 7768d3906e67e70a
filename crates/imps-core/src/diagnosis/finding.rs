//! What is said about a pod.

use super::code::{Code, Severity};

/// One observation with its reason.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    /// Which.
    pub code: Code,
    /// The object, container or image that it is about.
    pub subject: String,
    /// What was seen.
    pub evidence: String,
    /// What that means, in one sentence.
    pub cause: String,
    /// What to do: a command, or a sentence. Empty when there is nothing to do.
    pub remedy: String,
}

/// The sum of the findings.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Verdict {
    /// The finding that explains the most; none when there is nothing to explain, or no explanation.
    pub code: Option<Code>,
    /// One sentence.
    pub text: String,
    /// What to do.
    pub remedy: String,
    /// Whether something that could not be read may hold the cause.
    pub open: bool,
}

/// All that is found about a pod.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Diagnosis {
    /// The findings, by their codes.
    pub findings: Vec<Finding>,
    /// Their sum.
    pub verdict: Verdict,
}

impl Finding {
    pub(super) fn new(code: Code, subject: impl Into<String>) -> Self {
        Self {
            code,
            subject: subject.into(),
            evidence: String::new(),
            cause: String::new(),
            remedy: String::new(),
        }
    }

    pub(super) fn evidence(self, evidence: impl Into<String>) -> Self {
        Self { evidence: evidence.into(), ..self }
    }

    pub(super) fn cause(self, cause: impl Into<String>) -> Self {
        Self { cause: cause.into(), ..self }
    }

    pub(super) fn remedy(self, remedy: impl Into<String>) -> Self {
        Self { remedy: remedy.into(), ..self }
    }

    /// How bad it is.
    pub fn severity(&self) -> Severity {
        self.code.severity()
    }
}

impl Diagnosis {
    /// The worst that was found; what is as it should be when nothing was.
    pub fn severity(&self) -> Severity {
        self.findings.iter().map(Finding::severity).max().unwrap_or(Severity::Ok)
    }
}
