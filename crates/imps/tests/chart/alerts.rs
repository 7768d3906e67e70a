//! The alerts: whether each fires when it should and no sooner, by promtool, and what the chart makes of their file.

use std::path::{Path, PathBuf};

use imps_testbed::{manifest, promtool};
use serde_json::{Value, json};

use super::render::{chart, find, helm, render};

const NAME: &str = "imps-imagepullsecrets-controller";

/// Whether promtool is here; when not, the skip is recorded.
pub(crate) fn has_promtool() -> bool {
    promtool::find().inspect_err(|missing| missing.skip_or_fail()).is_ok()
}

/// Judges groups of rules, which are JSON and so YAML too.
pub(crate) fn judge(groups: &Value) {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("rules.yaml");
    std::fs::write(&file, json!({ "groups": groups }).to_string()).unwrap();
    promtool::run(&["check", "rules", "--lint=all", "--lint-fatal", file.to_str().unwrap()]).unwrap();
}

/// The files of a folder with this ending.
pub(crate) fn files(folder: &Path, ending: &str) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    let mut files: Vec<_> =
        entries.filter(|path| path.extension().is_some_and(|end| end == ending)).collect();
    files.sort();
    assert!(!files.is_empty(), "nothing in {}", folder.display());
    files
}

/// The alerts as they are in the chart's folder.
fn rules() -> Vec<Value> {
    let text = std::fs::read_to_string(PathBuf::from(chart()).join("rules/imps.yaml")).unwrap();
    manifest::read(&text).unwrap()[0]["groups"][0]["rules"].as_array().unwrap().clone()
}

/// The groups that the chart renders.
fn groups(values: &str) -> Option<Value> {
    let objects = render(&helm()?, values, &[]).unwrap();
    Some(find(&objects, "PrometheusRule", NAME)["spec"]["groups"].clone())
}

/// The alert of a name among the groups.
fn alert<'a>(groups: &'a Value, name: &str) -> Option<&'a Value> {
    let mut rules = groups.as_array().unwrap().iter().flat_map(|group| group["rules"].as_array().unwrap());
    rules.find(|rule| rule["alert"] == name)
}

#[test]
fn each_alert_fires_when_it_should_and_not_a_minute_before() {
    if !has_promtool() {
        return;
    }
    // Each file names the rules beside it.
    for file in files(&PathBuf::from(chart()).join("../alerts"), "yaml") {
        let name = file.to_str().unwrap();
        promtool::run(&["test", "rules", name]).unwrap_or_else(|error| panic!("{name}: {error:#}"));
    }
}

#[test]
fn each_alert_says_how_bad_it_is_what_it_is_and_where_more_is() {
    let rules = rules();
    assert!(rules.len() >= 12);
    for rule in &rules {
        let name = rule["alert"].as_str().unwrap();
        let severity = rule["labels"]["severity"].as_str().unwrap();
        assert!(["critical", "warning"].contains(&severity), "{name}: {severity}");
        let annotations = &rule["annotations"];
        assert_eq!(annotations["runbook_url"], format!("docs/runbooks/{name}.md"));
        for key in ["summary", "description"] {
            assert!(annotations[key].as_str().is_some_and(|text| text.len() > 10), "{name} has no {key}");
        }
    }
}

#[test]
fn rules_are_good_as_they_are_and_as_they_are_rendered() {
    if !has_promtool() {
        return;
    }
    let file = format!("{}/rules/imps.yaml", chart());
    promtool::run(&["check", "rules", "--lint=all", "--lint-fatal", &file]).unwrap();
    for values in [
        "{prometheusRule: {enabled: true}}",
        "{prometheusRule: {enabled: true, job: 'a\"b'}, podMonitor: {enabled: true}}",
        "{prometheusRule: {enabled: true, disabled: [ImpsDown, ImpsNotReady]}}",
    ] {
        let Some(groups) = groups(values) else { return };
        judge(&groups);
    }
}

#[test]
fn the_release_that_may_be_gone_is_named_as_its_monitor_names_it() {
    let refresher =
        "refresher: {enabled: true, sources: [{namespace: a, name: b}], target: {namespace: a, name: c}}";
    let two = format!("podMonitor: {{enabled: true}}, {refresher}");
    let at = |job: &str| format!(r#"absent(imps_build_info{{namespace="imps-system", job="{job}"}})"#);
    let both = format!(
        "{} or {}",
        at(&format!("imps-system/{NAME}")),
        at("imps-system/imps-imagepullsecrets-refresher")
    );
    for (values, expected) in [
        ("serviceMonitor: {enabled: true}", at(NAME)),
        ("podMonitor: {enabled: true}", at(&format!("imps-system/{NAME}"))),
        (two.as_str(), both),
        // Nothing of ours scrapes the refresher then.
        (refresher, at(NAME)),
    ] {
        let Some(groups) = groups(&format!("{{prometheusRule: {{enabled: true}}, {values}}}")) else {
            return;
        };
        assert_eq!(alert(&groups, "ImpsDown").unwrap()["expr"], expected, "{values}");
    }
    let Some(groups) = groups("{prometheusRule: {enabled: true, job: pods}}") else { return };
    assert_eq!(alert(&groups, "ImpsDown").unwrap()["expr"], at("pods"));
}

#[test]
fn a_release_that_is_gone_is_missed_although_another_one_answers() {
    let Some(groups) = groups("{prometheusRule: {enabled: true}, serviceMonitor: {enabled: true}}") else {
        return;
    };
    if !has_promtool() {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("rules.yaml"), json!({ "groups": groups }).to_string()).unwrap();
    let series = |namespace: &str, values: &str| {
        let name = format!(r#"imps_build_info{{namespace="{namespace}", job="{NAME}"}}"#);
        json!({"series": name, "values": values})
    };
    let annotations = json!({
        "summary": format!("No imps answers as {NAME}"),
        "description": alert(&groups, "ImpsDown").unwrap()["annotations"]["description"],
        "runbook_url": "docs/runbooks/ImpsDown.md",
    });
    let labels = json!({"severity": "critical", "namespace": "imps-system", "job": NAME});
    let test = json!({
        "rule_files": ["rules.yaml"],
        "evaluation_interval": "1m",
        "tests": [{
            "interval": "1m",
            "input_series": [series("imps-system", "1+0x5 stale"), series("other", "1+0x30")],
            "alert_rule_test": [
                {"alertname": "ImpsDown", "eval_time": "15m", "exp_alerts": []},
                {"alertname": "ImpsDown", "eval_time": "16m",
                 "exp_alerts": [{"exp_labels": labels, "exp_annotations": annotations}]},
            ],
        }],
    });
    let file = folder.path().join("test.yaml");
    std::fs::write(&file, test.to_string()).unwrap();
    promtool::run(&["test", "rules", file.to_str().unwrap()]).unwrap();
}

#[test]
fn alerts_can_be_left_out_and_their_pages_may_lie_elsewhere() {
    let values = "{prometheusRule: {enabled: true, disabled: [ImpsSuspendedForLong, ImpsTwoLeaders], \
                  runbookUrl: 'https://wiki.example/imps/'}}";
    let Some(groups) = groups(values) else { return };
    assert_eq!(groups[0]["rules"].as_array().unwrap().len(), rules().len() - 2);
    assert_eq!(alert(&groups, "ImpsTwoLeaders"), None);
    let page = &alert(&groups, "ImpsNoLeader").unwrap()["annotations"]["runbook_url"];
    assert_eq!(page, "https://wiki.example/imps/ImpsNoLeader.md");
    let every = rules().iter().map(|rule| rule["alert"].as_str().unwrap().to_owned()).collect::<Vec<_>>();
    let none = json!({"prometheusRule": {"enabled": true, "disabled": every}}).to_string();
    assert_eq!(self::groups(&none).unwrap(), json!([]), "no group without rules is left");
}

#[test]
fn a_name_that_is_no_alert_is_refused() {
    let Some(helm) = helm() else { return };
    let values = "{prometheusRule: {enabled: true, disabled: [ImpsSuspended]}}";
    let complaint = render(&helm, values, &[]).unwrap_err();
    for words in ["ImpsSuspended, which is no alert", "ImpsSuspendedForLong"] {
        assert!(complaint.contains(words), "{words} is not in {complaint}");
    }
}
