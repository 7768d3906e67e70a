//! The custom resource itself, without any operator: objects of the original are taken as they are, nonsense is not.

use imps_api::keys;
use imps_testbed::fresh_name;
use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::Client;
use kube::api::{Api, DeleteParams, DynamicObject, Patch, PatchParams, PostParams};
use serde_json::{Value, json};

use super::stage::{Solo, grant_resource};
use super::status::{Kstatus, kstatus};

fn api(client: &Client) -> Api<DynamicObject> {
    Api::all_with(client.clone(), &grant_resource())
}

fn object(spec: &Value) -> DynamicObject {
    serde_json::from_value(json!({
        "apiVersion": format!("{}/{}", keys::GROUP, keys::VERSION), "kind": keys::KIND,
        "metadata": {"name": fresh_name("crd")},
        "spec": spec,
    }))
    .unwrap()
}

/// What the original requires, and nothing else.
fn minimal() -> Value {
    json!({
        "registry": {"credentials": [{"name": "ecr", "namespace": "registry-access"}]},
        "target": {"secret": {"name": "pull"}},
    })
}

#[tokio::test]
async fn objects_that_were_written_for_the_original_are_taken_and_read_back_as_they_are() {
    let Some(control) = Solo::control().await else { return };
    let api = api(&control.admin_client().await.unwrap());
    let documented = json!({
        "registry": {"credentials": [
            {"name": "ecr-login", "namespace": "registry-access"}, {"name": "hub.pull", "namespace": "default"},
        ]},
        "target": {
            "secret": {"name": "example-pull-secret", "labels": {"app": "x"}, "annotations": {"note": "y"}},
            "namespaces": {
                "labels": [{"matchLabels": {"kubernetes.io/metadata.name": "a"}},
                           {"matchExpressions": [{"key": "k", "operator": "In", "values": ["v", "w"]}]}],
                "annotations": [{"matchAnnotations": {"a": "b"},
                                 "matchExpressions": [{"key": "k", "operator": "Exists"}]}],
                "names": ["default", "prod"],
            },
            "namespacesWithPods": {
                "labels": [{"matchLabels": {"app": "web"}}],
                "annotations": [{"matchAnnotations": {"istio": "yes"}}],
            },
        },
    });
    let mut none = minimal();
    none["target"]["namespaces"] = json!({"labels": [], "annotations": [], "names": []});
    none["target"]["namespacesWithPods"] = json!({});
    let mut all = minimal();
    all["target"]["namespaces"] = json!({"labels": [{}]});
    all["registry"]["credentials"] = json!([]);
    for spec in [documented, minimal(), none, all] {
        let made = api.create(&PostParams::default(), &object(&spec)).await.unwrap();
        let read = api.get(made.metadata.name.as_ref().unwrap()).await.unwrap();
        assert_eq!(read.data["spec"], spec, "no default was added and nothing was pruned");
        assert_eq!(read.data["status"], json!({"observedGeneration": -1}));
        assert_eq!(kstatus(&read), Kstatus::InProgress, "nobody has seen it yet");
    }
}

#[tokio::test]
async fn a_status_of_the_original_is_kept_and_is_no_part_of_the_spec() {
    let Some(control) = Solo::control().await else { return };
    let api = api(&control.admin_client().await.unwrap());
    let made = api.create(&PostParams::default(), &object(&minimal())).await.unwrap();
    let name = made.metadata.name.unwrap();
    let status = json!({
        "status": "Ready", "reason": "",
        "lastSuccessfulReconciliation": "2022-11-04T12:00:00Z", "validitySeconds": 43200,
        "managedNamespaces": ["a", "b"], "sourceSecretStatus": {"registry-access.ecr": "Ok"},
    });
    let patch = Patch::Merge(json!({ "status": status }));
    let written = api.patch_status(&name, &PatchParams::default(), &patch).await.unwrap();
    assert_eq!(written.metadata.generation, made.metadata.generation, "a status is no new generation");
    let mut wanted = status.clone();
    wanted["observedGeneration"] = json!(-1);
    assert_eq!(api.get(&name).await.unwrap().data["status"], wanted);
    // Written through the object itself it is ignored.
    let patch = Patch::Merge(
        json!({"status": {"status": "Failed"}, "spec": {"target": {"secret": {"name": "other"}}}}),
    );
    let written = api.patch(&name, &PatchParams::default(), &patch).await.unwrap();
    assert_eq!(written.data["status"], wanted);
    assert_eq!(written.data["spec"]["target"]["secret"]["name"], "other");
}

#[tokio::test]
async fn what_the_original_requires_is_required_and_nonsense_is_refused_with_a_reason() {
    let Some(control) = Solo::control().await else { return };
    let api = api(&control.admin_client().await.unwrap());
    let without = |pointer: &str, key: &str| {
        let mut spec = minimal();
        spec.pointer_mut(pointer).unwrap().as_object_mut().unwrap().remove(key);
        spec
    };
    let with_exclude = |exclude: Value| {
        let mut spec = minimal();
        spec["target"]["exclude"] = exclude;
        spec
    };
    let refused = [
        (without("", "registry"), "spec.registry: Required"),
        (without("", "target"), "spec.target: Required"),
        (without("/registry", "credentials"), "spec.registry.credentials: Required"),
        (without("/registry/credentials/0", "name"), "spec.registry.credentials[0].name: Required"),
        (without("/registry/credentials/0", "namespace"), "spec.registry.credentials[0].namespace: Required"),
        (without("/target", "secret"), "spec.target.secret: Required"),
        (without("/target/secret", "name"), "spec.target.secret.name: Required"),
        (with_exclude(json!({})), "exclude needs names, labels or annotations; remove it to exclude nothing"),
        (with_exclude(json!({"names": ["Prod"]})), "a namespace name has lower-case letters, digits and -"),
        (with_exclude(json!({"names": [""]})), "spec.target.exclude.names[0]"),
        (with_exclude(json!({"names": "prod"})), "must be of type array"),
    ];
    for (spec, words) in refused {
        match api.create(&PostParams::default(), &object(&spec)).await {
            Err(kube::Error::Api(status)) => {
                assert_eq!(status.code, 422, "{words}: {status:?}");
                assert!(status.message.contains(words), "{words:?} is not in {:?}", status.message);
            }
            other => panic!("{words}: {other:?}"),
        }
    }
    for exclude in [
        json!({"names": ["kube-*", "*"]}),
        json!({"labels": [{}]}),
        json!({"annotations": [{}], "names": []}),
    ] {
        let spec = with_exclude(exclude.clone());
        let made = api.create(&PostParams::default(), &object(&spec)).await.unwrap();
        assert_eq!(made.data["spec"]["target"]["exclude"], exclude);
        api.delete(&made.metadata.name.unwrap(), &DeleteParams::default()).await.unwrap();
    }
}

#[tokio::test]
async fn names_scope_and_columns_are_those_of_the_original() {
    let Some(control) = Solo::control().await else { return };
    let client = control.admin_client().await.unwrap();
    let name = format!("{}.{}", keys::PLURAL, keys::GROUP);
    let crd = Api::<CustomResourceDefinition>::all(client.clone()).get(&name).await.unwrap();
    assert_eq!(crd.spec.scope, "Cluster");
    assert_eq!(crd.spec.names.short_names, Some(vec!["imps".to_owned()]));
    assert_eq!(
        (crd.spec.names.plural.as_str(), crd.spec.names.singular.as_deref()),
        (keys::PLURAL, Some("imagepullsecret"))
    );
    assert_eq!(crd.spec.versions.len(), 1);
    assert!(crd.spec.versions[0].storage && crd.spec.versions[0].served);

    let api = api(&client);
    let made = api.create(&PostParams::default(), &object(&minimal())).await.unwrap();
    let name = made.metadata.name.unwrap();
    let status = json!({"status": "Ready", "validitySeconds": 60, "managedNamespaces": ["a", "b"]});
    let patch = Patch::Merge(json!({ "status": status }));
    api.patch_status(&name, &PatchParams::default(), &patch).await.unwrap();
    let url = format!("/apis/{}/{}/{}/{name}", keys::GROUP, keys::VERSION, keys::PLURAL);
    let request = axum::http::Request::get(url)
        .header("Accept", "application/json;as=Table;v=v1;g=meta.k8s.io")
        .body(Vec::new())
        .unwrap();
    let table: Value = client.request(request).await.unwrap();
    let columns = table["columnDefinitions"].as_array().unwrap();
    let of = |key: &str| {
        columns
            .iter()
            .filter(|column| column["priority"] == 0)
            .map(|c| c[key].as_str().unwrap())
            .collect::<Vec<_>>()
    };
    assert_eq!(of("name"), ["Name", "State", "Reconciled", "Validity seconds", "Secret Name", "Namespaces"]);
    assert_eq!(of("type"), ["string", "string", "date", "integer", "string", "string"]);
    let cells = table["rows"][0]["cells"].as_array().unwrap();
    assert_eq!(cells[1], "Ready");
    assert_eq!(cells[3], 60);
    assert_eq!(cells[4], "pull");
    assert!(cells[5].as_str().unwrap().contains("\"a\",\"b\""), "{cells:?}");
}
