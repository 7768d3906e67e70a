//! The dashboards of Grafana: their models are whole, and Prometheus understands what they ask.

use std::collections::BTreeSet;
use std::path::PathBuf;

use serde_json::{Value, json};

use super::alerts::{files, has_promtool, judge};
use super::render::chart;

/// How many columns Grafana has.
const COLUMNS: u64 = 24;

fn dashboards() -> Vec<Value> {
    let files = files(&PathBuf::from(chart()).join("dashboards"), "json");
    files.iter().map(|file| serde_json::from_str(&std::fs::read_to_string(file).unwrap()).unwrap()).collect()
}

fn panels(dashboard: &Value) -> &[Value] {
    dashboard["panels"].as_array().unwrap()
}

/// What the panels of a dashboard ask, with a value in the place of Grafana's own variable.
fn questions(dashboard: &Value) -> Vec<String> {
    let targets = panels(dashboard).iter().filter_map(|panel| panel["targets"].as_array()).flatten();
    targets.map(|target| target["expr"].as_str().unwrap().replace("$__rate_interval", "5m")).collect()
}

#[test]
fn prometheus_understands_what_the_panels_ask() {
    if !has_promtool() {
        return;
    }
    for dashboard in dashboards() {
        let questions = questions(&dashboard);
        assert!(questions.len() >= 20);
        let rules =
            questions.iter().zip(0..).map(|(expr, n)| json!({"record": format!("panel:{n}"), "expr": expr}));
        judge(&json!([{"name": "panels", "rules": rules.collect::<Vec<_>>()}]));
    }
}

#[test]
fn each_question_is_about_the_chosen_release_and_source_of_data() {
    for dashboard in dashboards() {
        let variables = dashboard["templating"]["list"].as_array().unwrap();
        let names: Vec<_> = variables.iter().map(|variable| variable["name"].as_str().unwrap()).collect();
        assert_eq!(names, ["datasource", "namespace", "job"]);
        for question in questions(&dashboard) {
            assert!(question.contains(r#"namespace=~"$namespace", job=~"$job""#), "{question}");
        }
        for panel in panels(&dashboard).iter().filter(|panel| panel["type"] != "row") {
            assert_eq!(panel["datasource"]["uid"], "${datasource}", "{}", panel["title"]);
            for target in panel["targets"].as_array().unwrap() {
                assert_eq!(target["datasource"]["uid"], "${datasource}", "{}", panel["title"]);
            }
        }
    }
}

#[test]
fn panels_have_a_number_a_title_a_unit_and_a_place_of_their_own() {
    for dashboard in dashboards() {
        for key in ["uid", "title", "schemaVersion"] {
            assert!(!dashboard[key].is_null(), "no {key}");
        }
        let mut numbers = BTreeSet::new();
        let mut taken = BTreeSet::new();
        for panel in panels(&dashboard) {
            let title = panel["title"].as_str().unwrap();
            assert!(!title.is_empty() && numbers.insert(panel["id"].as_u64().unwrap()), "{title}");
            let at = |key: &str| panel["gridPos"][key].as_u64().unwrap();
            let (x, y, w, h) = (at("x"), at("y"), at("w"), at("h"));
            assert!(w > 0 && h > 0 && x + w <= COLUMNS, "{title} does not fit");
            for cell in (x..x + w).flat_map(|x| (y..y + h).map(move |y| (x, y))) {
                assert!(taken.insert(cell), "{title} lies over another panel");
            }
            if panel["type"] != "row" {
                assert!(panel["fieldConfig"]["defaults"]["unit"].is_string(), "{title} has no unit");
            }
        }
    }
}
