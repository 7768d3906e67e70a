//! A survey of the cluster or of manifests, for the commands that show one.

use imps_cluster::server;
use imps_cluster::witness::{Asked, Testimony, look_across};
use imps_core::diagnosis::{Patient, Survey, diagnose, survey};
use jiff::Timestamp;

use super::Error;
use super::cluster::counted;
use super::diagnose::testimony;
use crate::args::EvidenceArgs;
use crate::runtime::output;

/// Where to look.
pub(super) struct Scope<'a> {
    /// At manifests, or at the cluster.
    pub(super) evidence: &'a EvidenceArgs,
    /// At one namespace alone.
    pub(super) namespace: Option<&'a str>,
    /// Now.
    pub(super) at: Timestamp,
}

/// What was seen, and what it comes to.
pub(super) struct Surveyed {
    pub(super) survey: Survey,
    pub(super) testimony: Testimony,
    /// None of manifests.
    pub(super) cluster: Option<Cluster>,
}

/// The cluster that was looked at.
pub(super) struct Cluster {
    /// Its version, or why it does not tell.
    pub(super) version: Result<String, String>,
    /// How many requests were made.
    pub(super) requests: u64,
}

impl Scope<'_> {
    /// Looks, and judges.
    pub(super) fn survey(&self) -> Result<Surveyed, Error> {
        let (testimony, cluster) = if self.evidence.filename.is_empty() {
            let ((seen, version), requests) = counted(self.evidence.access.clone(), async |client| {
                let mut looking = |what: &str| output::progress(&format!("looking at {what}"));
                let version = server::look(&client).await;
                let seen = look_across(&client, self.namespace, &mut looking).await;
                output::progress("");
                Ok((seen, version))
            })?;
            let version = version.map(|server| server.version).map_err(|fault| fault.detail);
            (seen, Some(Cluster { version, requests }))
        } else {
            (testimony(&self.evidence.filename)?, None)
        };
        if let Some(namespace) = self.namespace {
            testimony.place(namespace)?;
        }
        let now = self.at.as_second();
        let cases = testimony.cases(&Asked::Failing(self.namespace.map(str::to_owned)))?;
        let admitted = cases.filter(|case| case.pod.admitted);
        let patients = admitted.map(|case| Patient::new(&case, &diagnose(&case, now))).collect();
        let settlements = testimony.settlements(self.namespace);
        let survey = survey(&testimony.granted(), settlements, patients, testimony.gaps(), now);
        Ok(Surveyed { survey, testimony, cluster })
    }
}

/// A number as people read it: `1,988`.
pub(super) fn grouped(number: usize) -> String {
    let digits = number.to_string();
    let mut text = String::new();
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_grouped_by_thousands() {
        let texts = [0, 12, 999, 1_000, 1_988, 1_234_567].map(grouped);
        assert_eq!(texts, ["0", "12", "999", "1,000", "1,988", "1,234,567"]);
    }
}
