//! Every object of every set of values, put before a real API server with all its admission, in a namespace that lets
//! only restricted pods in. Nothing is stored.

use std::collections::BTreeSet;

use imps_testbed::{Plane, fresh_name, manifest};
use kube::Client;
use kube::api::{Api, Patch, PatchParams, PostParams, ValidationDirective};
use serde_json::{Value, json};

use super::ground::{can_run, eventually, install_definitions, namespace, restricted};
use super::matrix::{MATRIX, NAMESPACES};
use super::render::{helm, render};

/// Where the pods would run.
const HOME: &str = "imps-system";

#[tokio::test]
async fn a_real_server_takes_every_object_and_a_restricted_namespace_every_pod() {
    let Some(helm) = helm() else { return };
    if !can_run() {
        return;
    }
    let client = Plane::of_this_run().await.unwrap().admin_client().await.unwrap();
    install_definitions(&client).await;
    let mut namespaces = vec![namespace(HOME, restricted())];
    namespaces.extend(NAMESPACES.map(|name| namespace(name, json!({}))));
    manifest::apply(&client, &namespaces).await.unwrap();
    let mut kinds = BTreeSet::new();
    for (set, values) in MATRIX {
        let objects = render(&helm, values, &["--include-crds"]).unwrap();
        for object in &objects {
            kinds.insert(object["kind"].as_str().unwrap().to_owned());
            dry_run(&client, object).await.unwrap_or_else(|error| panic!("{set}: {error}\n{object:#}"));
            if let Some(template) = object.pointer("/spec/template") {
                admit(&client, template).await.unwrap_or_else(|error| panic!("{set}: {error}\n{template:#}"));
            }
        }
    }
    for kind in
        ["Deployment", "Job", "ServiceMonitor", "PrometheusRule", "NetworkPolicy", "ImagePullSecret", "Role"]
    {
        assert!(kinds.contains(kind), "no {kind} in any set: {kinds:?}");
    }
}

/// Applies it as helm would, without effect; a field that the server does not know is an error.
async fn dry_run(client: &Client, object: &Value) -> Result<(), String> {
    let params = PatchParams {
        field_validation: Some(ValidationDirective::Strict),
        ..PatchParams::apply("helm").force().dry_run()
    };
    let name = object["metadata"]["name"].as_str().unwrap_or_default();
    let api = manifest::api(client, object).map_err(|error| error.to_string())?;
    api.patch(name, &params, &Patch::Apply(object)).await.map(drop).map_err(|error| error.to_string())
}

/// Makes a pod of a template, without effect. A Deployment is not judged by its pods, so they are asked for.
async fn admit(client: &Client, template: &Value) -> Result<(), String> {
    let mut pod = template.clone();
    pod["metadata"]["name"] = json!(fresh_name("probe"));
    // Whether its account exists is no matter of the pod; every namespace has this one.
    pod["spec"]["serviceAccountName"] = json!("default");
    let pod: k8s_openapi::api::core::v1::Pod =
        serde_json::from_value(pod).map_err(|error| error.to_string())?;
    let params = PostParams { dry_run: true, ..PostParams::default() };
    let pods = Api::namespaced(client.clone(), HOME);
    pods.create(&params, &pod).await.map(drop).map_err(|error| error.to_string())
}

#[tokio::test]
async fn the_restricted_namespace_does_refuse_a_pod_that_is_not() {
    if !can_run() {
        return;
    }
    let client = Plane::of_this_run().await.unwrap().admin_client().await.unwrap();
    manifest::apply(&client, &[namespace(HOME, restricted())]).await.unwrap();
    let template = json!({"metadata": {}, "spec": {"containers": [{"name": "c", "image": "i"}]}});
    // The default account comes a moment after its namespace, and until then every pod is refused.
    eventually("it is refused for what it is", async || match admit(&client, &template).await {
        Err(complaint) if complaint.contains("PodSecurity") => Ok(()),
        other => Err(format!("{other:?}")),
    })
    .await;
}
