//! Argo CD's view: the health script of the chart, run by a real Lua with the test data beside it.

use std::path::PathBuf;

use imps_testbed::{lua, manifest};
use serde_json::Value;

fn folder() -> PathBuf {
    PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/../../chart/argocd"))
}

fn read(name: &str) -> Value {
    let text = std::fs::read_to_string(folder().join(name)).unwrap();
    manifest::read(&text).unwrap().remove(0)
}

#[test]
fn argo_cd_s_health_script_judges_as_kstatus_does() {
    if let Err(missing) = lua::find() {
        return missing.skip_or_fail();
    }
    let script = std::fs::read_to_string(folder().join("health.lua")).unwrap();
    let cases = read("health_test.yaml")["tests"].as_array().unwrap().clone();
    let mut files = 0;
    for case in &cases {
        let input = case["inputPath"].as_str().unwrap();
        let health = lua::evaluate(&script, "obj", &read(input), &["status", "message"]).unwrap();
        let expected =
            ["status", "message"].map(|key| case["healthStatus"][key].as_str().unwrap().to_owned());
        assert_eq!(health, expected, "{input}");
        files += 1;
    }
    assert_eq!(files, std::fs::read_dir(folder().join("testdata")).unwrap().count(), "each file has a case");
}

#[test]
fn the_guide_has_the_script_as_it_is() {
    let guide = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/gitops.md");
    let guide = std::fs::read_to_string(guide).unwrap();
    let script = std::fs::read_to_string(folder().join("health.lua")).unwrap();
    let indented: Vec<String> = script.lines().map(|line| format!("    {line}")).collect();
    assert!(
        guide.contains(&indented.join("\n")),
        "docs/gitops.md shows another script than chart/argocd/health.lua"
    );
}
