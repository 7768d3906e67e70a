//! `imps diagnose` for people.

use std::collections::BTreeMap;

use imps_core::diagnosis::{Severity, nameless};

use super::report::{EventReport, FindingReport, PodReport, Report};

/// How many pods of one cause are named.
const NAMED_MAX: usize = 5;

/// How much of a message is shown, unless all is asked for.
const EVIDENCE_CHARS_MAX: usize = 150;

/// Renders the answer: a pod with its findings, or many pods by their causes.
pub(super) fn render(report: &Report, wide: bool, colour: bool) -> String {
    match &report.pods[..] {
        [] => "no pod waits for an image\n".to_owned(),
        [pod] => one(pod, wide, colour),
        pods if wide => pods.iter().map(|pod| one(pod, wide, colour)).collect::<Vec<_>>().join("\n"),
        pods => by_cause(pods, colour),
    }
}

/// One message.
pub(super) fn event(report: &EventReport) -> String {
    let code = report.code.as_deref().unwrap_or("-");
    let page = report.page.as_ref().map_or(String::new(), |page| format!("see {page}\n"));
    format!("{code}  {}\n{page}", report.meaning)
}

fn one(pod: &PodReport, wide: bool, colour: bool) -> String {
    let mut text = format!("{} in {}", pod.subject, pod.namespace);
    if let Some(node) = &pod.node {
        text.push_str(&format!("   node {node}"));
    }
    text.push('\n');
    for container in &pod.containers {
        text.push_str(&format!("{}   {}   {}", container.label, container.image, container.reason));
        text.truncate(text.trim_end().len());
        text.push('\n');
    }
    text.push('\n');
    let shown = pod.findings.iter().filter(|finding| wide || finding.grade != Severity::Info);
    for finding in shown {
        text.push_str(&line(finding, wide, colour));
    }
    text.push_str(&conclusion(pod, ""));
    text
}

fn line(finding: &FindingReport, wide: bool, colour: bool) -> String {
    let mark = mark(finding.grade, colour);
    let FindingReport { code, name, subject, evidence, cause, remedy, .. } = finding;
    let mut text = format!("{mark} {code} {name:<20} {subject}: {cause}\n");
    if !evidence.is_empty() {
        text.push_str(&format!("{:31}{}\n", "", if wide { evidence.clone() } else { ending(evidence) }));
    }
    if wide && !remedy.is_empty() {
        text.push_str(&format!("{:31}> {remedy}\n", ""));
    }
    text
}

/// The end of a long message, which says most.
fn ending(text: &str) -> String {
    let length = text.chars().count();
    if length <= EVIDENCE_CHARS_MAX {
        return text.to_owned();
    }
    let end: String = text.chars().skip(length - EVIDENCE_CHARS_MAX).collect();
    format!("... {}", end.split_once(' ').map_or(end.as_str(), |(_, whole_words)| whole_words))
}

fn conclusion(pod: &PodReport, indent: &str) -> String {
    let verdict = &pod.verdict;
    let mut text = match (&verdict.code, verdict.title) {
        (Some(code), Some(title)) => {
            format!("\n{indent}Verdict  {code}  {title}\n{indent}{:9}{}\n", "", verdict.text)
        }
        _ => format!("\n{indent}Verdict  {}\n", verdict.text),
    };
    if !verdict.remedy.is_empty() {
        text.push_str(&format!("{indent}Fix      {}\n", verdict.remedy));
    }
    if let Some(page) = &verdict.page {
        text.push_str(&format!("{indent}More     {page}\n"));
    }
    text
}

/// Pods that have the same verdict are told of together; the first one stands for them.
fn by_cause(pods: &[PodReport], colour: bool) -> String {
    let mut causes: BTreeMap<(Option<&str>, String), Vec<&PodReport>> = BTreeMap::new();
    for pod in pods {
        let text = nameless(&pod.verdict.text, &pod.subject, &pod.namespace);
        causes.entry((pod.verdict.code.as_deref(), text)).or_default().push(pod);
    }
    let mut text = format!("{} pods, {}\n", pods.len(), counted(causes.len(), "cause"));
    for pods in causes.values() {
        let first = pods[0];
        let worst = first.findings.iter().map(|finding| finding.grade).max().unwrap_or(Severity::Ok);
        let name = |pod: &&PodReport| format!("{} in {}", pod.subject, pod.namespace);
        let names: Vec<String> = pods.iter().take(NAMED_MAX).map(name).collect();
        let more = pods.len().saturating_sub(NAMED_MAX);
        let more = if more > 0 { format!(" and {more} more") } else { String::new() };
        text.push_str(&format!("\n{} {}{more}", mark(worst, colour), names.join(", ")));
        text.push_str(&conclusion(first, "  "));
    }
    text
}

fn counted(count: usize, what: &str) -> String {
    if count == 1 { format!("one {what}") } else { format!("{count} {what}s") }
}

/// The mark of a severity, as the legend of all screens has it.
pub(in crate::command) fn mark(severity: Severity, colour: bool) -> String {
    let (mark, paint) = match severity {
        Severity::Ok => ("✔", "32"),
        Severity::Info => ("–", "0"),
        Severity::Unknown => ("?", "36"),
        Severity::Warning => ("▲", "33"),
        Severity::Error => ("✖", "31"),
    };
    if colour { format!("\x1b[{paint}m{mark}\x1b[0m") } else { mark.to_owned() }
}
