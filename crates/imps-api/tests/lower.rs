//! What an `ImagePullSecret` means, and what is said about one that means nothing.

#![allow(clippy::unwrap_used, reason = "a manifest that cannot be read has failed")]

use imps_api::{ImagePullSecret, keys, lower};
use imps_core::grant::{Grant, Verdict};
use imps_core::name::SecretRef;
use imps_core::selector::Tags;
use imps_core::world::GrantFact;

fn read(spec: &str) -> GrantFact {
    let yaml = format!(
        "apiVersion: images.banzaicloud.io/v1alpha1\nkind: ImagePullSecret\n\
         metadata: {{name: main, uid: u-1, generation: 3}}\nspec: {spec}\n"
    );
    let object: ImagePullSecret = serde_saphyr::from_str(&yaml).unwrap();
    lower::lower(&object)
}

fn grant(spec: &str) -> Grant {
    read(spec).grant.unwrap()
}

fn problems(spec: &str) -> Vec<String> {
    read(spec).grant.unwrap_err().iter().map(ToString::to_string).collect()
}

#[test]
fn the_smallest_object_of_the_original_is_understood() {
    let grant = grant("{registry: {credentials: []}, target: {secret: {name: pull}}}");
    assert_eq!((grant.identity.uid.as_str(), grant.identity.generation), ("u-1", 3));
    assert!(grant.sources.is_empty() && grant.recipients.is_empty() && !grant.suspended);
    assert_eq!(grant.template.labels["images.banzaicloud.io/owner-uid"], "u-1");
}

#[test]
fn nothing_is_attached_or_adopted_unless_it_is_asked_for() {
    let silent = grant("{registry: {credentials: []}, target: {secret: {name: pull}}}");
    assert!(silent.accounts.is_empty() && !silent.template.adopt);
    let asking = grant(
        "{registry: {credentials: []}, target: {secret: {name: pull, adopt: true}, \
         serviceAccounts: {names: [default, ci-*, '*', robot.v2]}}}",
    );
    let names: Vec<String> = asking.accounts.iter().map(ToString::to_string).collect();
    assert_eq!(names, ["default", "ci-*", "*", "robot.v2"]);
    assert!(asking.template.adopt);
    let problems = problems(
        "{registry: {credentials: []}, target: {secret: {name: pull}, serviceAccounts: {names: [default, a_b, '']}}}",
    );
    assert_eq!(problems.len(), 2, "{problems:?}");
    assert!(problems[0].starts_with("spec.target.serviceAccounts.names[1]: not the name of"), "{problems:?}");
}

#[test]
fn a_namespace_opts_out_by_our_annotation_and_by_those_of_the_tools_that_imps_replaces() {
    let grant =
        grant("{registry: {credentials: []}, target: {secret: {name: pull}, namespaces: {labels: [{}]}}}");
    let decide = |key: &str, value: &str| {
        let annotations = [(key.to_owned(), value.to_owned())].into();
        grant.recipients.decide(&"shop".into(), &Tags::new(), &annotations, |_| false)
    };
    // key, whether "1" counts too: as the code of each tool reads it
    for (key, number) in [
        ("images.banzaicloud.io/ignore", false),
        ("alexellis.io/registry-creds.ignore", true),
        ("k8s.titansoft.com/imagepullsecret-patcher-exclude", false),
        ("pborn.eu/imagepullsecret-patcher-exclude", false),
        ("registry-creds/ignore", true),
    ] {
        assert!(matches!(decide(key, "true"), Verdict::Excluded { .. }), "{key}");
        assert_eq!(matches!(decide(key, "1"), Verdict::Excluded { .. }), number, "{key}");
        for value in ["false", "0", ""] {
            assert!(matches!(decide(key, value), Verdict::Selected(_)), "{key}={value}");
        }
    }
}

#[test]
fn the_finalizer_and_the_end_of_an_object_are_read() {
    let object = |metadata: &str| -> GrantFact {
        let yaml = format!(
            "apiVersion: images.banzaicloud.io/v1alpha1\nkind: ImagePullSecret\nmetadata: {metadata}\n\
             spec: {{registry: {{credentials: []}}, target: {{secret: {{name: pull}}}}}}\n"
        );
        lower::lower(&serde_saphyr::from_str::<ImagePullSecret>(&yaml).unwrap())
    };
    let tenure = object("{name: a, finalizers: [other/one]}").tenure;
    assert!(!tenure.held && !tenure.deleting);
    let tenure = object(
        "{name: a, finalizers: [other/one, images.banzaicloud.io/service-accounts], \
         deletionTimestamp: '2026-01-01T00:00:00Z'}",
    )
    .tenure;
    assert!(tenure.held && tenure.deleting);
}

#[test]
fn sources_keep_their_order_and_count_once() {
    let fact = read(
        "{registry: {credentials: [{name: b, namespace: x}, {name: a, namespace: x}, {name: b, namespace: x}]}, \
         target: {secret: {name: pull}}}",
    );
    let sources = fact.grant.unwrap().sources;
    assert_eq!(sources, [SecretRef::new("x", "b"), SecretRef::new("x", "a")]);
    assert_eq!(fact.remarks, ["spec.registry.credentials[2] is listed twice; the first place counts"]);
}

#[test]
fn what_belongs_to_imps_cannot_be_set_and_the_rest_of_the_object_counts() {
    let fact = read(
        "{registry: {credentials: []}, target: {secret: {name: pull, \
         labels: {images.banzaicloud.io/owner-uid: forged, team: a}, \
         annotations: {banzaicloud.com/last-applied: x, note: n}}}}",
    );
    let template = fact.grant.unwrap().template;
    assert_eq!(template.labels["images.banzaicloud.io/owner-uid"], "u-1");
    assert_eq!(template.labels["team"], "a");
    assert_eq!(template.annotations.keys().collect::<Vec<_>>(), ["note"]);
    assert_eq!(fact.remarks.len(), 2);
}

#[test]
fn what_the_api_server_would_refuse_in_every_namespace_is_said_once_with_its_path() {
    let table = [
        ("{registry: {credentials: []}, target: {secret: {name: Pull_Me}}}", "spec.target.secret.name"),
        (
            "{registry: {credentials: [{name: a, namespace: 'b/c'}]}, target: {secret: {name: p}}}",
            "spec.registry.credentials[0].namespace",
        ),
        (
            "{registry: {credentials: []}, target: {secret: {name: p, labels: {team: 'not valid!'}}}}",
            "spec.target.secret.labels[\"team\"]",
        ),
        (
            "{registry: {credentials: []}, target: {secret: {name: p, annotations: {'a b': x}}}}",
            "spec.target.secret.annotations[\"a b\"]",
        ),
        (
            "{registry: {credentials: []}, target: {secret: {name: p}, namespaces: {labels: [{}, \
             {matchExpressions: [{key: a, operator: Equals}]}]}}}",
            "spec.target.namespaces.labels[1]",
        ),
        (
            "{registry: {credentials: []}, target: {secret: {name: p}, namespacesWithPods: {annotations: \
             [{matchExpressions: [{key: a, operator: In}]}]}}}",
            "spec.target.namespacesWithPods.annotations[0]",
        ),
    ];
    for (spec, path) in table {
        let problems = problems(spec);
        assert!(problems.len() == 1 && problems[0].starts_with(&format!("{path}: ")), "{path}: {problems:?}");
    }
}

#[test]
fn all_that_is_wrong_is_said_at_once() {
    let problems = problems(
        "{registry: {credentials: [{name: A, namespace: B}]}, target: {secret: {name: C}, \
         namespaces: {labels: [{matchExpressions: [{key: a, operator: Exists, values: [x]}]}]}}}",
    );
    assert_eq!(problems.len(), 4, "{problems:?}");
}

#[test]
fn a_demand_is_any_short_text_and_what_is_none_is_said() {
    let read = |value: &str| {
        let mut object: ImagePullSecret = serde_saphyr::from_str(
            "apiVersion: images.banzaicloud.io/v1alpha1\nkind: ImagePullSecret\nmetadata: {name: main}\n\
             spec: {registry: {credentials: []}, target: {secret: {name: pull}}}\n\
             status: {lastHandledRefreshAt: before}\n",
        )
        .unwrap();
        let annotations = [(keys::REFRESH_ANNOTATION.to_owned(), value.to_owned())];
        object.metadata.annotations = Some(annotations.into());
        lower::lower(&object)
    };
    let longest = "x".repeat(keys::REFRESH_CHARS_MAX);
    for value in ["2026-01-31T12:00:00.5Z", "again, please", &longest] {
        let fact = read(value);
        assert_eq!((fact.demand.as_deref(), fact.record.met.as_deref()), (Some(value), Some("before")));
        assert!(fact.remarks.is_empty());
    }
    for value in [&format!("{longest}x"), "a\nb", "\u{1b}[2J", "jetzt \u{fc}"] {
        let fact = read(value);
        assert_eq!(fact.demand, None, "{value:?}");
        assert!(fact.remarks[0].contains("refresh-requested-at is ignored"), "{:?}", fact.remarks);
    }
    let fact = read("");
    assert!(fact.demand.is_none() && fact.remarks.is_empty());
}
