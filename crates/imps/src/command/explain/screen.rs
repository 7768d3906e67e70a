//! `imps explain` for people.

use imps_core::diagnosis::{Severity, Stance, span};

use super::report::{ImageReport, PassedReport, PlaceReport, ShareReport, SourceReport, Sum, TrialReport};
use crate::command::diagnose::report::FindingReport;
use crate::command::diagnose::screen::mark;

/// How many registries of a source are named; the JSON output has all of them.
const REGISTRIES_SHOWN_MAX: usize = 8;

/// What becomes of an image that nothing serves.
const NO_ANSWER: &str = "Answer   no credential serves it: the kubelet asks its node for one, and else pulls \
                         without,\n         which suffices for what everybody may pull";

/// A namespace: a paragraph for each Secret.
pub(super) fn place(report: &PlaceReport, now: i64, colour: bool) -> String {
    let mut text = format!("namespace {}\n", report.namespace);
    for share in &report.secrets {
        text.push('\n');
        text.push_str(&paragraph(share, now, colour));
    }
    for why in &report.unseen {
        text.push_str(&format!("\n{} {why}\n", mark(Severity::Unknown, colour)));
    }
    if report.secrets.is_empty() && report.unseen.is_empty() {
        text.push_str("\nno ImagePullSecret\n");
    }
    text
}

fn paragraph(share: &ShareReport, now: i64, colour: bool) -> String {
    let ShareReport { image_pull_secret, secret, state, rule, cause, remedy, .. } = share;
    let what = if secret.is_empty() { String::new() } else { format!("secret/{secret}, ") };
    let mark = mark(share.stance.severity(), colour);
    let mut text = format!("{mark} {state:<10}{what}imagepullsecret/{image_pull_secret}\n");
    let heading = match share.stance {
        Stance::LeftOut | Stance::Loses | Stance::Unknown => "rules",
        Stance::Has | Stance::Lacks | Stance::Conflict => "rule",
    };
    text.push_str(&line(heading, rule));
    text.push_str(&line(if share.stance == Stance::Has { "but" } else { "because" }, cause));
    text.push_str(&line("fix", remedy));
    for source in &share.sources {
        text.push_str(&line("source", &origin(source, now)));
    }
    text
}

/// A source in a line.
pub(in crate::command) fn origin(source: &SourceReport, now: i64) -> String {
    let shown: Vec<&str> = source.registries.iter().take(REGISTRIES_SHOWN_MAX).map(String::as_str).collect();
    let more = source.registries.len().saturating_sub(REGISTRIES_SHOWN_MAX);
    let mut text = source.source.clone();
    text.push_str(": ");
    text.push_str(&if shown.is_empty() { "no registry is known".to_owned() } else { shown.join(", ") });
    if more > 0 {
        text.push_str(&format!(" and {more} more"));
    }
    match source.expires.map(|end| end - now) {
        Some(left) if left > 0 => text.push_str(&format!("; ends in {}", span(left))),
        Some(left) => text.push_str(&format!("; ended {} ago", span(-left))),
        None => {}
    }
    if !source.trouble.is_empty() {
        text.push_str(&format!("; {}", source.trouble));
    }
    text
}

fn line(heading: &str, text: &str) -> String {
    if text.is_empty() { String::new() } else { format!("  {heading:<10}{text}\n") }
}

/// An image: what is tried in its order, what is not, and the sum.
pub(super) fn image(report: &ImageReport, colour: bool) -> String {
    let ImageReport { image, namespace, service_account, .. } = report;
    let mut text = format!("image {image}\nin {namespace}, for a pod of serviceaccount/{service_account}\n");
    if !report.tried.is_empty() {
        text.push_str("\nThe kubelet tries, in this order\n");
        for (index, trial) in report.tried.iter().enumerate() {
            text.push_str(&self::trial(index + 1, trial, colour));
        }
    }
    if !report.passed_over.is_empty() {
        text.push_str("\nNot for this image\n");
        report.passed_over.iter().for_each(|passed| text.push_str(&self::passed(passed, colour)));
    }
    if !report.remarks.is_empty() {
        text.push_str("\nAlso\n");
        report.remarks.iter().for_each(|remark| text.push_str(&self::remark(remark, colour)));
    }
    text.push_str(&format!("\n{}\n", answer(report)));
    text
}

fn answer(report: &ImageReport) -> String {
    let unread = report.passed_over.iter().any(|passed| passed.why.grade == Severity::Unknown);
    let first = report.first.and_then(|place| report.tried.get(place - 1));
    match (first, report.sum()) {
        (Some(trial), _) => {
            let TrialReport { secret, entry, .. } = trial;
            let caveat = if unread { "; what could not be read may be tried before it" } else { "" };
            let whose = writer(trial.written_by.as_deref());
            format!("Answer   the login for {entry} in secret/{secret}{whose}{caveat}")
        }
        (None, Sum::Open) => "Answer   could not be determined from what may be read".to_owned(),
        (None, _) => NO_ANSWER.to_owned(),
    }
}

fn trial(place: usize, trial: &TrialReport, colour: bool) -> String {
    let mark = mark(if trial.serves { Severity::Ok } else { Severity::Error }, colour);
    let TrialReport { secret, entry, written_by, remark, .. } = trial;
    let mut text =
        format!("{mark} {place}. secret/{secret}, entry {entry}{}\n", writer(written_by.as_deref()));
    if let Some(remark) = remark {
        text.push_str(&format!("     {}: {}; {}\n", remark.code, remark.evidence, remark.cause));
        if !trial.serves {
            text.push_str(&fix(remark));
        }
    }
    text
}

fn passed(passed: &PassedReport, colour: bool) -> String {
    let PassedReport { secret, written_by, why } = passed;
    let (mark, whose) = (mark(why.grade, colour), writer(written_by.as_deref()));
    format!("{mark} secret/{secret}{whose}\n     {}: {}\n{}", why.code, detail(why), fix(why))
}

fn remark(remark: &FindingReport, colour: bool) -> String {
    let mark = mark(remark.grade, colour);
    format!("{mark} {}\n     {}: {}\n{}", remark.subject, remark.code, detail(remark), fix(remark))
}

fn detail(finding: &FindingReport) -> String {
    let FindingReport { cause, evidence, .. } = finding;
    if evidence.is_empty() { cause.clone() } else { format!("{cause} ({evidence})") }
}

fn fix(finding: &FindingReport) -> String {
    if finding.remedy.is_empty() { String::new() } else { format!("     > {}\n", finding.remedy) }
}

fn writer(grant: Option<&str>) -> String {
    grant.map_or(String::new(), |grant| format!(", written by imagepullsecret/{grant}"))
}
