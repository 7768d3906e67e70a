//! What was found, for people and for machines.

use std::fmt;

use serde_json::{Map, Value, json};

use crate::sheet;

/// What others need on the same kind of machine; measured with the same control plane, not in this run.
pub(super) struct Others {
    pub(super) share: &'static str,
    pub(super) writes_key: &'static str,
}

impl Others {
    pub(super) const FILL: Self =
        Self { share: "share 0.10, tuned 0.24; original: 0.02", writes_key: "fill_writes" };
    pub(super) const ROTATION: Self = Self { share: "share 0.12", writes_key: "rotation_writes" };
    pub(super) const ATTACHING: Self = Self { share: "", writes_key: "attaching_writes" };
    pub(super) const RENEWAL: Self = Self { share: "", writes_key: "renewal_writes" };
    pub(super) const NEW: &'static str = "40 ms; original: 9–27 s";
    pub(super) const REPAIR: &'static str = "20 ms; original: 300 s";
    pub(super) const MEMORY: &'static str = "60 MiB";
}

/// How the table is to be read.
const NOTES: [&str; 4] = [
    "A floor is the rate of plain workers that make the same writes, just before and just after imps; the share is \
     that of imps in the mean of both. Unsteady: the two are far \
     apart, because something else used the machine, and nothing was shown.",
    "All was seen by one watch, and counted in the server's audit log. Three times in a row are the median, the 99th \
     percentile and the longest.",
    "Best of others is tamcore's patcher, on the same kind of machine and server in another run: compare shares \
     rather than seconds.",
    "The original is banzaicloud's imps: 13.7 s for 300 namespaces, then 9 to 27 s for one more, and a deleted target \
     stays away for 300 s.",
];

/// Whether a bar was met.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Verdict {
    Met(String),
    Missed(String),
    /// There is no bar.
    Told,
}

impl Verdict {
    pub(super) fn of(met: bool) -> Self {
        if met { Self::Met("met".into()) } else { Self::Missed("MISSED".into()) }
    }

    pub(super) fn share(share: f64, met: bool, steady: bool) -> Self {
        // A bar that could not be judged is not one that was met.
        match (met, steady) {
            (true, true) => Self::Met(format!("{share:.2}")),
            (false, true) => Self::Missed(format!("{share:.2} MISSED")),
            (_, false) => Self::Missed(format!("{share:.2} UNSTEADY")),
        }
    }
}

impl fmt::Display for Verdict {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            Self::Met(text) | Self::Missed(text) => text,
            Self::Told => "–",
        })
    }
}

/// One row.
pub(super) struct Finding {
    /// By which machines and the list of missed bars name it.
    pub(super) key: &'static str,
    pub(super) what: String,
    pub(super) imps: String,
    pub(super) bar: String,
    pub(super) verdict: Verdict,
    pub(super) others: &'static str,
    pub(super) figures: Value,
}

/// All of them.
pub(super) struct Page {
    namespaces: usize,
    findings: Vec<Finding>,
}

impl Page {
    pub(super) fn new(namespaces: usize) -> Self {
        Self { namespaces, findings: Vec::new() }
    }

    pub(super) fn add(&mut self, findings: Vec<Finding>) {
        self.findings.extend(findings);
    }

    /// The keys of the missed bars.
    pub(super) fn missed(&self) -> Vec<&'static str> {
        let missed = self.findings.iter().filter(|finding| matches!(finding.verdict, Verdict::Missed(_)));
        missed.map(|finding| finding.key).collect()
    }

    pub(super) fn table(&self) -> String {
        let rows = self.findings.iter().map(|finding| {
            let Finding { what, imps, bar, verdict, others, .. } = finding;
            [what.clone(), imps.clone(), bar.clone(), verdict.to_string(), (*others).to_owned()]
        });
        let header = ["what", "imps", "floor or bar", "verdict", "best of others"];
        let table = sheet::render(header, &rows.collect::<Vec<_>>());
        let notes = NOTES.iter().map(|note| sheet::wrap(note, sheet::WIDTH).join("\n"));
        format!("{table}\n{}\n", notes.collect::<Vec<_>>().join("\n"))
    }

    pub(super) fn json(&self) -> Value {
        let rows = self.findings.iter().map(|finding| {
            let met = match finding.verdict {
                Verdict::Met(_) => json!(true),
                Verdict::Missed(_) => json!(false),
                Verdict::Told => Value::Null,
            };
            (finding.key.to_owned(), json!({"met": met, "figures": finding.figures}))
        });
        let findings: Map<String, Value> = rows.collect();
        json!({"namespaces": self.namespaces, "missed": self.missed(), "findings": findings})
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn page() -> Page {
        let finding = |key, verdict| Finding {
            key,
            what: key.to_owned(),
            imps: "1 ms".into(),
            bar: "2 ms".into(),
            verdict,
            others: "",
            figures: json!({"ms": 1}),
        };
        let mut page = Page::new(5);
        page.add(vec![
            finding("fill", Verdict::share(0.52, false, true)),
            finding("idle", Verdict::of(true)),
        ]);
        page.add(vec![finding("resources", Verdict::Told)]);
        page
    }

    #[test]
    fn missed_bars_are_named_in_every_format() {
        assert_eq!(page().missed(), ["fill"]);
        assert!(page().table().contains("0.52 MISSED"));
        assert_eq!(page().json()["missed"], json!(["fill"]));
        assert_eq!(page().json()["findings"]["resources"], json!({"met": null, "figures": {"ms": 1}}));
    }

    #[test]
    fn no_line_of_the_table_is_wider_than_the_page() {
        assert!(page().table().lines().all(|line| line.chars().count() <= sheet::WIDTH));
    }
}
