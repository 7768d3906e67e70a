//! Rules about what people on call see: alerts, their cases and pages, and the series that alerts and dashboards name.

use std::collections::{BTreeMap, BTreeSet};

use anyhow::{Context, Result};
use imps_testbed::manifest;
use serde_json::Value;

use super::{Finding, Source, Tree};

/// Alerts, as a Prometheus reads them.
const RULES: &str = "chart/imagepullsecrets/rules/";
/// Their cases, as promtool reads them.
const CASES: &str = "chart/alerts/";
const DASHBOARDS: &str = "chart/imagepullsecrets/dashboards/";
/// A page for each alert, and the list of them.
const PAGES: &str = "docs/runbooks/";
const INDEX: &str = "docs/runbooks/README.md";
/// Names each series that imps has, in backticks.
const METRICS: &str = "docs/metrics.md";

/// What the names of those begin with.
const FAMILIES: [&str; 6] =
    ["imps_", "controller_runtime_", "workqueue_", "leader_election_", "rest_client_", "process_"];

/// What a histogram's series have behind its name.
const HISTOGRAM: [&str; 3] = ["_bucket", "_count", "_sum"];

/// Checks alerts, pages and dashboards against each other.
pub(super) fn check(tree: &Tree) -> Result<Vec<Finding>> {
    let mut findings = Vec::new();
    let mut alerts = BTreeMap::new();
    for source in files(tree, RULES, ".yaml") {
        alerts.extend(names(source)?.into_iter().map(|name| (name, source)));
    }
    pages(tree, &alerts, &mut findings);
    cases(tree, &alerts, &mut findings)?;
    series(tree, &mut findings);
    Ok(findings)
}

fn files<'a>(tree: &'a Tree, folder: &str, ending: &str) -> impl Iterator<Item = &'a Source> {
    tree.files.iter().filter(move |source| source.path.starts_with(folder) && source.path.ends_with(ending))
}

/// The documents of a YAML file.
fn documents(source: &Source) -> Result<Vec<Value>> {
    manifest::read(&source.text).with_context(|| format!("cannot read {}", source.path))
}

/// What is at a key, whose value is a list.
fn list<'a>(value: &'a Value, key: &str) -> &'a [Value] {
    value[key].as_array().map(Vec::as_slice).unwrap_or_default()
}

/// The names of the alerts in a file of rules.
fn names(source: &Source) -> Result<Vec<String>> {
    let documents = documents(source)?;
    let rules = documents.iter().flat_map(|rules| list(rules, "groups")).flat_map(|g| list(g, "rules"));
    Ok(rules.filter_map(|rule| rule["alert"].as_str().map(str::to_owned)).collect())
}

/// The line of an alert's name.
fn line(source: &Source, alert: &str) -> usize {
    source.text.lines().position(|line| line.trim() == format!("- alert: {alert}")).map_or(1, |at| at + 1)
}

/// Each alert has a page that the index links to, and each page an alert.
fn pages(tree: &Tree, alerts: &BTreeMap<String, &Source>, findings: &mut Vec<Finding>) {
    for (alert, source) in alerts {
        let page = format!("{PAGES}{alert}.md");
        let linked = tree.find(INDEX).is_some_and(|index| index.text.contains(&format!("]({alert}.md)")));
        if tree.find(&page).is_none() {
            findings.push(Finding::new(source, line(source, alert), format!("{alert} has no page {page}")));
        } else if !linked {
            findings.push(Finding::new(
                source,
                line(source, alert),
                format!("{INDEX} has no link to {alert}"),
            ));
        }
    }
    for page in files(tree, PAGES, ".md").filter(|page| page.path != INDEX) {
        let name = page.path.trim_start_matches(PAGES).trim_end_matches(".md");
        if !alerts.contains_key(name) {
            findings.push(Finding::new(page, 1, format!("there is no alert {name}")));
        }
        if !page.text.starts_with(&format!("# {name}\n")) {
            findings.push(Finding::new(
                page,
                1,
                format!("the page begins with the name of its alert, # {name}"),
            ));
        }
    }
}

/// Each alert has a case in which it fires and one in which it does not, and each case is about an alert.
fn cases(tree: &Tree, alerts: &BTreeMap<String, &Source>, findings: &mut Vec<Finding>) -> Result<()> {
    let (mut firing, mut silent) = (BTreeSet::new(), BTreeSet::new());
    for source in files(tree, CASES, ".yaml") {
        for file in documents(source)? {
            for case in list(&file, "tests").iter().flat_map(|test| list(test, "alert_rule_test")) {
                let alert = case["alertname"].as_str().unwrap_or_default().to_owned();
                if !alerts.contains_key(&alert) {
                    findings.push(Finding::new(
                        source,
                        1,
                        format!("a case is about {alert}, which is no alert"),
                    ));
                }
                let kind = if list(case, "exp_alerts").is_empty() { &mut silent } else { &mut firing };
                kind.insert(alert);
            }
        }
    }
    for (alert, source) in alerts {
        for (kind, what) in [(&firing, "fires"), (&silent, "does not fire")] {
            if !kind.contains(alert) {
                let message = format!("{alert} has no case in {CASES} in which it {what}");
                findings.push(Finding::new(source, line(source, alert), message));
            }
        }
    }
    Ok(())
}

/// Whatever alerts, dashboards and pages name is a series that imps has.
fn series(tree: &Tree, findings: &mut Vec<Finding>) {
    let known: BTreeSet<&str> = tree.find(METRICS).into_iter().flat_map(|page| quoted(&page.text)).collect();
    let sources = files(tree, RULES, ".yaml").chain(files(tree, DASHBOARDS, ".json"));
    for source in sources.chain(files(tree, PAGES, ".md")) {
        for (text, number) in source.text.lines().zip(1..) {
            for name in named(text).filter(|name| !is_known(name, &known)) {
                let message = format!("{name} is no series that {METRICS} names");
                findings.push(Finding::new(source, number, message));
            }
        }
    }
}

fn is_known(name: &str, known: &BTreeSet<&str>) -> bool {
    let of_histogram = |ending: &str| name.strip_suffix(ending).is_some_and(|base| known.contains(base));
    known.contains(name) || HISTOGRAM.into_iter().any(of_histogram)
}

/// The names of series that stand in backticks, without their labels.
fn quoted(text: &str) -> impl Iterator<Item = &str> {
    let quoted = text.lines().flat_map(|line| line.split('`').skip(1).step_by(2));
    quoted.flat_map(|words| named(words).take(1))
}

/// The names of series in a text; one that ends in `_` stands for many.
fn named(text: &str) -> impl Iterator<Item = &str> {
    let words = text.split(|c: char| !c.is_ascii_alphanumeric() && c != '_' && c != ':');
    words.filter(|word| FAMILIES.iter().any(|family| word.starts_with(family)) && !word.ends_with('_'))
}

#[cfg(test)]
mod tests {
    use super::super::sample::{places, tree};
    use super::*;

    const RULE: &str = "groups:\n  - rules:\n      - alert: Down\n        expr: imps_a_bucket == 0\n";
    const BOTH: &str = "tests:\n  - alert_rule_test:\n      - {alertname: Down, exp_alerts: []}\n      \
                        - {alertname: Down, exp_alerts: [{exp_labels: {}}]}\n";
    const WHOLE: [(&str, &str); 5] = [
        ("chart/imagepullsecrets/rules/a.yaml", RULE),
        ("chart/alerts/a.yaml", BOTH),
        ("docs/runbooks/README.md", "[Down](Down.md)\n"),
        ("docs/runbooks/Down.md", "# Down\n\n`imps_a` is zero.\n"),
        ("docs/metrics.md", "| `imps_a{name}` | x |\n| `process_b` | y |\n"),
    ];

    /// What is found when a file has another text.
    fn found(path: &str, text: &str) -> Vec<String> {
        let files = WHOLE.map(|(at, before)| (at, if at == path { text } else { before }));
        messages(&check(&tree(&files)).unwrap())
    }

    fn messages(findings: &[Finding]) -> Vec<String> {
        findings.iter().map(|finding| finding.message.clone()).collect()
    }

    #[test]
    fn what_fits_together_has_no_findings() {
        assert!(check(&tree(&WHOLE)).unwrap().is_empty());
    }

    #[test]
    fn an_alert_without_a_page_or_a_link_and_a_page_without_an_alert_are_found() {
        let without: Vec<_> =
            WHOLE.into_iter().filter(|(path, _)| *path != "docs/runbooks/Down.md").collect();
        assert_eq!(places(&check(&tree(&without)).unwrap()), [("chart/imagepullsecrets/rules/a.yaml", 3)]);
        assert_eq!(found("docs/runbooks/README.md", "\n"), ["docs/runbooks/README.md has no link to Down"]);
        let more = [&WHOLE[..], &[("docs/runbooks/Up.md", "# Up\n")]].concat();
        assert_eq!(messages(&check(&tree(&more)).unwrap()), ["there is no alert Up"]);
        assert_eq!(found("docs/runbooks/Down.md", "# Up\n").len(), 1);
    }

    #[test]
    fn an_alert_needs_a_case_of_each_kind() {
        let firing = BOTH.replace("exp_alerts: []", "exp_alerts: [{exp_labels: {}}]");
        assert_eq!(
            found("chart/alerts/a.yaml", &firing),
            ["Down has no case in chart/alerts/ in which it does not fire"]
        );
        let silent = BOTH.replace("[{exp_labels: {}}]", "[]");
        assert_eq!(
            found("chart/alerts/a.yaml", &silent),
            ["Down has no case in chart/alerts/ in which it fires"]
        );
        assert_eq!(found("chart/alerts/a.yaml", &BOTH.replace("Down", "Up")).len(), 4);
    }

    #[test]
    fn a_series_that_nobody_has_is_found_wherever_it_is_named() {
        assert_eq!(
            found("docs/metrics.md", "| `imps_b` |\n"),
            [
                "imps_a_bucket is no series that docs/metrics.md names",
                "imps_a is no series that docs/metrics.md names"
            ]
        );
        let panel = r#"{"expr": "rate(process_b[5m]) / controller_runtime_x_total"}"#;
        let more = [&WHOLE[..], &[("chart/imagepullsecrets/dashboards/a.json", panel)]].concat();
        assert_eq!(
            messages(&check(&tree(&more)).unwrap()),
            ["controller_runtime_x_total is no series that docs/metrics.md names"]
        );
        assert_eq!(named("`imps_*` and _imps_x, imps-system, ximps_y").count(), 0);
    }
}
