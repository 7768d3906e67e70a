//! What the chart refuses, with a sentence that helps.

use super::matrix::ORIGINAL;
use super::render::{IMAGE, helm, render};

#[test]
fn the_image_of_the_original_is_refused_with_the_way_out() {
    let Some(helm) = helm() else { return };
    let image =
        "image: {repository: ghcr.io/banzaicloud/imagepullsecrets, tag: v0.3.13, pullPolicy: IfNotPresent}\n";
    let complaint = render(&helm, &format!("{ORIGINAL}{image}"), &[]).unwrap_err();
    for words in ["ghcr.io/banzaicloud/imagepullsecrets", "--reset-then-reuse-values", "image.tag"] {
        assert!(complaint.contains(words), "{words} is not in {complaint}");
    }
    // With ours in its place the rest is as it was.
    render(&helm, &format!("{ORIGINAL}{image}"), &["--set", IMAGE, "--set", "image.tag="]).unwrap();
}

#[test]
fn values_that_make_no_sense_are_refused_by_name() {
    let Some(helm) = helm() else { return };
    for (values, words) in [
        ("{replicaz: 2}", &["replicaz"][..]),
        ("{replicas: two}", &["/replicas", "integer"]),
        ("{replicas: -1}", &["/replicas", "minimum"]),
        ("{rbac: {mode: open}}", &["/rbac/mode", "named", "namespaced", "cluster"]),
        ("{rbac: {targetSecretName: [pull]}}", &["/rbac", "targetSecretName"]),
        ("{rbac: {targetSecretNames: [Pull_1]}}", &["/rbac/targetSecretNames/0"]),
        ("{rbac: {sources: [hub]}}", &["/rbac/sources/0", "object"]),
        ("{rbac: {sources: [{name: hub}]}}", &["/rbac/sources/0", "namespace"]),
        ("{keyless: [everything]}", &["/keyless/0", "ambient"]),
        ("{image: {pullPolicy: Sometimes}}", &["/image/pullPolicy", "IfNotPresent"]),
        ("{image: {digest: latest}}", &["/image/digest"]),
        ("{log: {level: loud}}", &["/log/level", "debug"]),
        ("{env: HTTPS_PROXY=x}", &["/env"]),
        ("{service: {port: 0}}", &["/service/port"]),
        ("{crds: {keep: true}}", &["/crds", "keep"]),
        ("{defaultConfig: {namespacesWithPods: [a]}}", &["/defaultConfig/namespacesWithPods"]),
        ("{defaultConfig: {credentials: [{name: hub}]}}", &["/defaultConfig/credentials/0", "namespace"]),
    ] {
        let complaint = render(&helm, values, &[]).unwrap_err();
        for words in words {
            assert!(complaint.contains(words), "{values}: {words} is not in {complaint}");
        }
        assert!(complaint.contains("schema"), "{complaint}");
    }
}

#[test]
fn values_that_cannot_work_together_are_refused_with_what_is_missing() {
    let Some(helm) = helm() else { return };
    for (values, words) in [
        ("{rbac: {mode: named}}", "rbac.targetSecretNames is empty"),
        ("{rbac: {mode: namespaced, targetSecretNames: [a]}}", "rbac.namespaces is empty"),
        ("{serviceMonitor: {enabled: true}, podMonitor: {enabled: true}}", "read twice"),
        ("{refresher: {enabled: true, sources: [{namespace: a, name: b}]}}", "refresher.target.namespace"),
        ("{defaultConfig: {enabled: true}}", "needs a source"),
    ] {
        let complaint = render(&helm, values, &[]).unwrap_err();
        assert!(complaint.contains(words), "{values}: {complaint}");
    }
    let complaint = render(&helm, "{image: {repository: ''}}", &[]).unwrap_err();
    assert!(complaint.contains("image.repository is empty"), "{complaint}");
}
