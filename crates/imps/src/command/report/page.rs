//! What a report says, whatever it is written in: sections, rows and sentences, and of what there is too much only how
//! much more. Texts of the cluster are without what screens obey, and not escaped yet.

use imps_api::{ImagePullSecret, keys};
use imps_core::diagnosis::{Cause, Code, Coverage, Reach, Severity, Spot, Stance, Survey, excerpt, span};
use jiff::Timestamp;
use serde_json::Value;

use crate::command::diagnose::report::plain;
use crate::command::explain::report::source;
use crate::command::status::page::entry;
use crate::command::survey::{Surveyed, grouped};

/// Most of a kind that a page has, so that it stays one that a phone can open: of a cluster of 10,000 pods and 2,000
/// namespaces below a megabyte.
const CAUSES_MAX: usize = 100;
const PODS_MAX: usize = 50;
const SPOTS_MAX: usize = 400;
const GRANTS_MAX: usize = 100;
const SOURCES_MAX: usize = 50;
const REGISTRIES_MAX: usize = 20;
const COVERAGES_MAX: usize = 20;
const NAMESPACES_MAX: usize = 100;
const GAPS_MAX: usize = 50;

/// Longest text of a rule or a reason; names may be as long as Kubernetes lets them be.
const TEXT_CHARS_MAX: usize = 600;

/// Some things, and how many there are beyond them.
pub(super) struct Few<T> {
    pub(super) shown: Vec<T>,
    pub(super) more: usize,
}

/// The whole report.
pub(super) struct Page {
    pub(super) title: String,
    pub(super) time: Time,
    pub(super) grade: Severity,
    pub(super) headline: String,
    pub(super) numbers: Vec<Number>,
    pub(super) causes: Few<CauseRow>,
    /// Of how many namespaces pods could not be looked at.
    pub(super) blind: usize,
    pub(super) spots: Few<SpotRow>,
    pub(super) grants: Few<GrantRow>,
    pub(super) gaps: Few<String>,
    /// What was looked at, by which program, with which rights.
    pub(super) facts: Vec<(&'static str, String)>,
}

/// A moment.
pub(super) struct Time {
    /// For machines.
    pub(super) exact: String,
    /// For people.
    pub(super) text: String,
}

/// A number of the summary.
pub(super) struct Number {
    pub(super) what: &'static str,
    pub(super) count: String,
    /// What it is out of, or what of it needs a look.
    pub(super) note: String,
    pub(super) grade: Severity,
}

/// Pods that wait, by their cause.
pub(super) struct CauseRow {
    pub(super) grade: Severity,
    /// `IMPS041`; empty when nothing explains it.
    pub(super) code: String,
    pub(super) title: &'static str,
    /// About the first of the pods.
    pub(super) text: String,
    pub(super) fix: String,
    pub(super) page: String,
    pub(super) count: String,
    pub(super) pods: Few<PodRow>,
}

pub(super) struct PodRow {
    pub(super) namespace: String,
    pub(super) pod: String,
    pub(super) image: String,
}

/// A Secret that is not as it should be.
pub(super) struct SpotRow {
    pub(super) grade: Severity,
    pub(super) state: &'static str,
    pub(super) namespace: String,
    pub(super) secret: String,
    pub(super) grant: String,
    pub(super) rule: String,
    pub(super) why: String,
    pub(super) fix: String,
}

pub(super) struct GrantRow {
    pub(super) grade: Severity,
    pub(super) name: String,
    /// Its conditions; the first is whether it is ready.
    pub(super) conditions: Vec<ConditionRow>,
    /// What else is to be said about it.
    pub(super) remarks: Vec<String>,
    pub(super) sources: Few<SourceRow>,
    pub(super) coverages: Few<CoverageRow>,
    /// `3 has, 1 lacks, 1,988 left out`.
    pub(super) sum: String,
}

pub(super) struct ConditionRow {
    pub(super) grade: Severity,
    pub(super) kind: String,
    pub(super) status: String,
    pub(super) reason: String,
    pub(super) message: String,
}

pub(super) struct SourceRow {
    pub(super) grade: Severity,
    pub(super) source: String,
    pub(super) registries: Few<String>,
    /// When its token ends.
    pub(super) end: String,
    pub(super) trouble: String,
}

/// Namespaces that have a Secret by one rule.
pub(super) struct CoverageRow {
    pub(super) secret: String,
    pub(super) rule: String,
    /// `2 namespaces have`.
    pub(super) count: String,
    pub(super) namespaces: Few<String>,
    /// `8 pods there name it`.
    pub(super) pods: String,
}

impl<T> Few<T> {
    fn of(all: impl IntoIterator<Item = T>, max: usize) -> Self {
        let mut all = all.into_iter();
        let shown: Vec<T> = all.by_ref().take(max).collect();
        Self { shown, more: all.count() }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.shown.is_empty()
    }
}

impl Page {
    pub(super) fn new(surveyed: &Surveyed, title: &str, namespace: Option<&str>, at: Timestamp) -> Self {
        let survey = &surveyed.survey;
        let written = surveyed.testimony.grants();
        let now = at.as_second();
        let troubled = survey.reaches.iter().flat_map(|reach| {
            let spots =
                reach.spots.iter().filter(|spot| spot.stance != Stance::Has || !spot.cause.is_empty());
            spots.map(move |spot| (reach, spot))
        });
        let mut troubled: Vec<(&Reach, &Spot)> = troubled.collect();
        // In the order of what is worst, and for each namespace together.
        troubled.sort_by_key(|(_, spot)| (std::cmp::Reverse(spot.stance.severity()), &spot.namespace));
        let grant = |reach: &Reach| grant_row(reach, written, now);
        let mut reaches: Vec<&Reach> = survey.reaches.iter().collect();
        reaches.sort_by_key(|reach| std::cmp::Reverse(reach.severity()));
        Self {
            title: text(title),
            time: Time::new(at),
            grade: headline_grade(survey),
            headline: headline(survey),
            numbers: numbers(survey),
            causes: Few::of(survey.causes.iter().map(cause_row), CAUSES_MAX),
            blind: survey.tally.blind,
            spots: Few::of(troubled.into_iter().map(|(reach, spot)| spot_row(reach, spot)), SPOTS_MAX),
            grants: Few::of(reaches.into_iter().map(grant), GRANTS_MAX),
            gaps: Few::of(survey.gaps.iter().map(|gap| text(gap)), GAPS_MAX),
            facts: facts(surveyed, namespace, at),
        }
    }

    /// What is said where there is no pod to tell of.
    pub(super) fn no_pod(&self) -> String {
        match self.blind {
            0 => "No pod was seen that waits for an image.".to_owned(),
            blind => format!(
                "Whether pods wait is not known: those of {} namespaces could not be looked at.",
                grouped(blind)
            ),
        }
    }
}

impl Time {
    fn new(at: Timestamp) -> Self {
        let whole = Timestamp::from_second(at.as_second()).unwrap_or(at);
        Self { exact: whole.to_string(), text: at.strftime("%Y-%m-%d %H:%M UTC").to_string() }
    }
}

fn headline_grade(survey: &Survey) -> Severity {
    match survey.severity() {
        grade @ (Severity::Error | Severity::Warning) => grade,
        _ if survey.is_open() => Severity::Unknown,
        _ => Severity::Ok,
    }
}

fn headline(survey: &Survey) -> String {
    let tally = &survey.tally;
    let mut parts: Vec<String> = Vec::new();
    let mut part = |count: usize, one: &str, several: &str| {
        if count > 0 {
            parts.push(format!("{} {}", grouped(count), if count == 1 { one } else { several }));
        }
    };
    part(tally.waiting, "pod waits for an image", "pods wait for images");
    part(tally.conflicts, "Secret is somebody else's", "Secrets are somebody else's");
    part(tally.astray, "Secret is missing or left over", "Secrets are missing or left over");
    part(tally.troubled_sources, "source needs a look", "sources need a look");
    let unsure = if survey.is_open() { "; not all could be checked" } else { "" };
    match (&parts[..], headline_grade(survey)) {
        ([], Severity::Ok | Severity::Unknown) => format!("Nothing wrong was found{unsure}"),
        ([], _) => format!("An ImagePullSecret needs a look{unsure}"),
        _ => format!("{}{unsure}", parts.join(", ")),
    }
}

fn numbers(survey: &Survey) -> Vec<Number> {
    let tally = &survey.tally;
    let bad = |count: usize, grade: Severity| if count > 0 { grade } else { Severity::Ok };
    let number =
        |what, count: usize, note: String, grade| Number { what, count: grouped(count), note, grade };
    let causes = survey.causes.len();
    let causes = if causes == 1 { "one cause".to_owned() } else { format!("{} causes", grouped(causes)) };
    let worst = survey.causes.iter().map(|cause| cause.severity).max().unwrap_or(Severity::Ok);
    let note = |count: usize, what: &str| {
        if count == 0 { String::new() } else { format!("{} {what}", grouped(count)) }
    };
    // That no pod waits can only be said where all of them were seen.
    let unseen = tally.blind > 0 && tally.waiting == 0;
    let (causes, worst) = match tally.blind {
        0 => (if tally.waiting > 0 { causes } else { String::new() }, worst),
        blind => (format!("not seen in {} namespaces", grouped(blind)), worst.max(Severity::Unknown)),
    };
    let waiting = number("Pods that wait", tally.waiting, causes, worst);
    let amiss = tally.astray + tally.conflicts;
    let odd = survey.reaches.iter().filter(|reach| reach.severity() >= Severity::Warning).count();
    vec![
        Number { count: if unseen { "?".to_owned() } else { grouped(tally.waiting) }, ..waiting },
        number("Secrets amiss", amiss, note(tally.conflicts, "somebody else's"), bad(amiss, Severity::Error)),
        number("Secrets in place", tally.has, note(tally.unknown, "could not be checked"), Severity::Ok),
        number(
            "Namespaces covered",
            tally.covered,
            format!("of {} looked at", grouped(tally.namespaces)),
            Severity::Ok,
        ),
        number(
            "ImagePullSecrets",
            survey.reaches.len(),
            note(odd, "to look at"),
            bad(odd, Severity::Warning),
        ),
        number(
            "Sources",
            tally.sources,
            note(tally.troubled_sources, "to look at"),
            bad(tally.troubled_sources, Severity::Warning),
        ),
    ]
}

fn cause_row(cause: &Cause) -> CauseRow {
    let rows = cause.patients.iter().map(|patient| PodRow {
        namespace: text(patient.namespace.as_str()),
        pod: text(&patient.subject),
        image: patient.images.first().cloned().unwrap_or_default(),
    });
    let pods = Few::of(rows, PODS_MAX);
    let first = cause.patients.first().map(|patient| &patient.verdict);
    let count = cause.patients.len();
    CauseRow {
        grade: cause.severity,
        code: cause.code.map(|code| code.to_string()).unwrap_or_default(),
        title: cause.code.map_or("Nothing explains it", Code::title),
        text: first.map(|verdict| text(&verdict.text)).unwrap_or_default(),
        fix: first.map(|verdict| text(&verdict.remedy)).unwrap_or_default(),
        page: cause.code.map(Code::page).unwrap_or_default(),
        count: if count == 1 { "1 pod".to_owned() } else { format!("{} pods", grouped(count)) },
        pods,
    }
}

fn spot_row(reach: &Reach, spot: &Spot) -> SpotRow {
    SpotRow {
        grade: spot.stance.severity().max(if spot.cause.is_empty() { Severity::Ok } else { Severity::Info }),
        state: spot.stance.as_str(),
        namespace: text(spot.namespace.as_str()),
        secret: text(spot.secret.as_str()),
        grant: text(reach.grant.as_str()),
        rule: text(&spot.rule),
        why: text(&spot.cause),
        fix: text(&spot.remedy),
    }
}

fn grant_row(reach: &Reach, written: &[Value], now: i64) -> GrantRow {
    let name = reach.grant.as_str();
    let object = written.iter().find(|object| object["metadata"]["name"] == name);
    let mut remarks = Vec::new();
    if let Some(problem) = &reach.problem {
        remarks
            .push(format!("It makes no sense, and changes nothing until it is corrected: {}", text(problem)));
    }
    if reach.suspended {
        remarks.push("spec.suspend is true: nothing is written and nothing taken away".to_owned());
    }
    let mut sum: Vec<String> = Vec::new();
    for stance in [Stance::Has, Stance::Lacks, Stance::Conflict, Stance::Loses, Stance::Unknown] {
        let count = reach.count(stance);
        if count > 0 {
            sum.push(format!("{} {}", grouped(count), stance.as_str()));
        }
    }
    sum.push(format!("{} left out", grouped(reach.left_out)));
    GrantRow {
        grade: reach.severity(),
        name: text(name),
        conditions: object.map(conditions).unwrap_or_default(),
        remarks,
        sources: Few::of(
            reach.sources.iter().map(|(word, grade)| {
                let report = source(word);
                SourceRow {
                    grade: *grade,
                    source: report.source,
                    registries: Few::of(report.registries, REGISTRIES_MAX),
                    end: word.expires.map_or("no end is known".to_owned(), |end| ends(end, now)),
                    trouble: report.trouble,
                }
            }),
            SOURCES_MAX,
        ),
        coverages: Few::of(reach.coverage().iter().map(coverage_row), COVERAGES_MAX),
        sum: sum.join(", "),
    }
}

fn coverage_row(coverage: &Coverage<'_>) -> CoverageRow {
    let names = coverage.namespaces.iter().map(|name| text(name.as_str()));
    CoverageRow {
        secret: text(coverage.secret.as_str()),
        rule: text(coverage.rule),
        count: match coverage.namespaces.len() {
            1 => "1 namespace has".to_owned(),
            count => format!("{} namespaces have", grouped(count)),
        },
        namespaces: Few::of(names, NAMESPACES_MAX),
        pods: match coverage.pods {
            None => "how many pods name it could not be counted".to_owned(),
            Some(0) => "no pod there names it".to_owned(),
            Some(1) => "1 pod there names it".to_owned(),
            Some(count) => format!("{} pods there name it", grouped(count)),
        },
    }
}

fn ends(end: i64, now: i64) -> String {
    let moment = Timestamp::from_second(end).map(|end| Time::new(end).text).unwrap_or_default();
    let left = end - now;
    if left > 0 { format!("{moment}, in {}", span(left)) } else { format!("{moment}, {} ago", span(-left)) }
}

/// Whether it is ready by what was reported since its last change, then the other conditions.
fn conditions(object: &Value) -> Vec<ConditionRow> {
    let entry = entry(object);
    let grade = |kind: &str, status: &str| match (kind, status) {
        (_, "Unknown") => Severity::Unknown,
        ("Stalled", "True") => Severity::Error,
        ("Reconciling", "True") => Severity::Info,
        (_, "False") => Severity::Error,
        _ => Severity::Ok,
    };
    let mut rows = vec![ConditionRow {
        grade: grade("Ready", &entry.ready),
        kind: "Ready".to_owned(),
        status: entry.ready,
        reason: text(&entry.reason),
        message: text(&entry.message),
    }];
    let read = serde_json::from_value::<ImagePullSecret>(object.clone()).ok();
    let others = read.and_then(|read| read.status).map(|status| status.conditions).unwrap_or_default();
    let others = others.iter().filter(|condition| condition.kind != "Ready");
    rows.extend(others.map(|condition| ConditionRow {
        grade: grade(&condition.kind, &condition.status),
        kind: text(&condition.kind),
        status: text(&condition.status),
        reason: text(&condition.reason),
        message: excerpt(&condition.message),
    }));
    rows
}

/// Where all of this is from.
fn facts(surveyed: &Surveyed, namespace: Option<&str>, at: Timestamp) -> Vec<(&'static str, String)> {
    let testimony = &surveyed.testimony;
    let mut facts =
        vec![("Made by", format!("imps {}", env!("CARGO_PKG_VERSION"))), ("At", Time::new(at).text)];
    match &surveyed.cluster {
        Some(cluster) => {
            let version = match &cluster.version {
                Ok(version) => text(version),
                Err(why) => format!("not known: {}", text(why)),
            };
            facts.push(("Kubernetes", version));
            facts.push((
                "Read",
                format!("with the rights of whoever ran it, in {} requests", cluster.requests),
            ));
        }
        None => facts.push(("Read", "from manifests, not from a cluster".to_owned())),
    }
    let scope = namespace.map_or("all namespaces".to_owned(), |name| format!("the namespace {}", text(name)));
    facts.push(("Scope", scope));
    let kinds = [
        (keys::KIND, "ImagePullSecrets"),
        ("Namespace", "namespaces"),
        ("Pod", "pods"),
        ("ServiceAccount", "ServiceAccounts that matter"),
        ("Secret", "Secrets that matter"),
    ];
    let seen = kinds.map(|(kind, words)| format!("{words}: {}", grouped(testimony.count(kind))));
    facts.push(("Seen", seen.join("; ")));
    facts
}

/// A text of the cluster, as far as it is shown.
fn text(text: &str) -> String {
    let plain = plain(text);
    if plain.chars().count() <= TEXT_CHARS_MAX {
        return plain;
    }
    let head: String = plain.chars().take(TEXT_CHARS_MAX).collect();
    format!("{head} …")
}
