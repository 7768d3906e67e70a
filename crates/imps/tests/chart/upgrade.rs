//! A release of the chart that ours replaces, in production: upgraded in place, rolled back, upgraded again.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use futures::StreamExt;
use imps_api::keys;
use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::core::v1::Secret;
use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::ResourceExt;
use kube::api::{Api, PostParams};
use kube::runtime::watcher;
use serde_json::json;

use super::cluster::{Cluster, HOME, docker_config, is_whole};
use super::ground::{can_run, eventually, grants, served};
use super::render::{IMAGE, chart, helm, values_file};

const NAME: &str = "imps-imagepullsecrets-controller";
/// The flags that our documentation tells people to use.
const DOCUMENTED: [&str; 5] = ["--reset-then-reuse-values", "--set", IMAGE, "--set", "image.tag="];
/// The ImagePullSecrets: name, target Secret, namespace that it is written into.
const GRANTS: [(&str, &str, &str); 2] =
    [("imps-imagepullsecrets-controller-default", "pull", "shop"), ("team", "team-pull", "team-a")];
/// What somebody has set for the original's chart.
const VALUES: &str = r#"
podDisruptionBudget: {enabled: true}
log: {level: debug}
defaultConfig:
  enabled: true
  targetSecretName: pull
  namespaces: {names: [shop]}
  credentials: [{name: hub, namespace: sources}]
"#;

impl Cluster {
    async fn deployment(&self) -> Deployment {
        Api::namespaced(self.client.clone(), HOME).get(NAME).await.unwrap()
    }

    async fn image(&self) -> String {
        let spec = serde_json::to_value(self.deployment().await.spec).unwrap();
        spec["template"]["spec"]["containers"][0]["image"].as_str().unwrap().to_owned()
    }

    /// UIDs of the ImagePullSecrets and of their targets, by name.
    async fn uids(&self) -> BTreeMap<String, String> {
        let mut uids = BTreeMap::new();
        for (grant, secret, place) in GRANTS {
            uids.insert(grant.to_owned(), grants(&self.client).get(grant).await.unwrap().uid().unwrap());
            uids.insert(secret.to_owned(), self.target(secret, place).await.uid().unwrap());
        }
        uids
    }

    /// Whether the definition in the cluster knows what the original's did not.
    async fn definition_is_ours(&self) -> bool {
        let api = Api::<CustomResourceDefinition>::all(self.client.clone());
        let definition = api.get("imagepullsecrets.images.banzaicloud.io").await.unwrap();
        let version = serde_json::to_value(&definition.spec.versions[0]).unwrap();
        version.pointer("/schema/openAPIV3Schema/properties/status/properties/conditions").is_some()
    }

    /// Makes what the original has written for its ImagePullSecrets: content, label, owner, a copy in an annotation.
    async fn write_targets_as_the_original(&self) {
        for (grant, secret, place) in GRANTS {
            let uid = grants(&self.client).get(grant).await.unwrap().uid().unwrap();
            let target: Secret = serde_json::from_value(json!({
                "metadata": {
                    "name": secret,
                    "labels": {keys::OWNER_UID_LABEL: uid},
                    "annotations": {keys::LEGACY_COPY_ANNOTATION: "UEsDBBQACAAIAAAAb3JpZ2luYWw="},
                    "ownerReferences": [{
                        "apiVersion": format!("{}/{}", keys::GROUP, keys::VERSION), "kind": keys::KIND,
                        "name": grant, "uid": uid, "controller": false,
                    }],
                },
                "type": "kubernetes.io/dockerconfigjson", "data": docker_config(),
            }))
            .unwrap();
            let params = PostParams { field_manager: Some("controller".to_owned()), ..PostParams::default() };
            Api::namespaced(self.client.clone(), place).create(&params, &target).await.unwrap();
        }
    }

    /// Watches the targets in all that follows.
    fn watch_targets(&self) -> Watch {
        let faults = Arc::<Mutex<Vec<String>>>::default();
        let tasks = GRANTS.map(|(_, secret, place)| {
            let api = Api::<Secret>::namespaced(self.client.clone(), place);
            let only = watcher::Config::default().fields(&format!("metadata.name={secret}"));
            let faults = Arc::clone(&faults);
            tokio::spawn(async move {
                let mut events = watcher(api, only).boxed();
                while let Some(event) = events.next().await {
                    let fault = match event {
                        Ok(watcher::Event::Delete(_)) => Some("deleted".to_owned()),
                        Ok(watcher::Event::Apply(secret) | watcher::Event::InitApply(secret))
                            if !is_whole(&secret) =>
                        {
                            Some(format!(
                                "version {} has no login",
                                secret.resource_version().unwrap_or_default()
                            ))
                        }
                        _ => None,
                    };
                    faults.lock().unwrap().extend(fault.map(|fault| format!("{place}/{secret}: {fault}")));
                }
            })
        });
        Watch { tasks: tasks.into(), faults }
    }
}

/// What was wrong with the targets at any moment.
struct Watch {
    tasks: Vec<tokio::task::JoinHandle<()>>,
    faults: Arc<Mutex<Vec<String>>>,
}

impl Watch {
    fn faults(&self) -> Vec<String> {
        assert!(self.tasks.iter().all(|task| !task.is_finished()), "the watch has ended");
        self.faults.lock().unwrap().clone()
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        self.tasks.iter().for_each(tokio::task::JoinHandle::abort);
    }
}

fn predecessor() -> String {
    concat!(env!("CARGO_MANIFEST_DIR"), "/tests/chart/predecessor").to_owned()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_release_that_helm_3_made_is_upgraded_in_place_and_rolled_back() {
    // Helm 3 applied on the client's side, and helm 4 goes on so with what it made.
    there_and_back("--server-side=false").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_release_that_helm_4_made_is_upgraded_in_place_and_rolled_back() {
    there_and_back("--server-side=true").await;
}

async fn there_and_back(side: &str) {
    let Some(helm) = helm() else { return };
    if !can_run() {
        return;
    }
    let cluster = Cluster::start(helm).await;
    let values = values_file(&cluster.folder, VALUES);
    cluster
        .must(&["install", "imps", &predecessor(), side, "-f", &values, "--wait", "--timeout", "60s"])
        .await;
    served(&grants(&cluster.client)).await;
    let spec = json!({
        "registry": {"credentials": [{"name": "hub", "namespace": "sources"}]},
        "target": {"secret": {"name": "team-pull"}, "namespaces": {"names": ["team-a"]}},
    });
    let team = serde_json::from_value(json!({
        "apiVersion": format!("{}/{}", keys::GROUP, keys::VERSION), "kind": keys::KIND,
        "metadata": {"name": "team"}, "spec": spec,
    }));
    grants(&cluster.client).create(&PostParams::default(), &team.unwrap()).await.unwrap();
    cluster.write_targets_as_the_original().await;
    let watch = cluster.watch_targets();
    let (before, deployment) = (cluster.uids().await, cluster.deployment().await);
    assert!(!cluster.definition_is_ours().await);

    // The flag that would bring the old image is refused, and nothing has happened.
    let refused = cluster.helm(&["upgrade", "imps", &chart(), "--reuse-values"]).await.unwrap_err();
    assert!(refused.contains("--reset-then-reuse-values"), "{refused}");
    assert!(!cluster.definition_is_ours().await && cluster.image().await.contains("v0.3.13"));
    // With our image it works: what the old values do not have is filled in.
    let reused = [
        "upgrade",
        "imps",
        &chart(),
        "--reuse-values",
        "--set",
        IMAGE,
        "--set",
        "image.tag=",
        "--dry-run=server",
    ];
    cluster.must(&reused).await;

    upgrade(&cluster, &before, &deployment).await;
    assert_eq!(watch.faults(), [] as [&str; 0]);

    cluster.must(&["rollback", "imps", "1", "--wait", "--timeout", "60s"]).await;
    assert!(cluster.image().await.starts_with("ghcr.io/banzaicloud/"));
    assert_eq!(cluster.uids().await, before);
    assert!(cluster.definition_is_ours().await, "it stays: it has all that the original needs");
    assert_eq!(cluster.deployment().await.uid(), deployment.uid());

    upgrade(&cluster, &before, &deployment).await;
    // What the user made himself outlives the release, that of the release goes with it.
    cluster.must(&["uninstall", "imps", "--wait", "--timeout", "60s"]).await;
    assert!(cluster.definition_is_ours().await);
    assert!(grants(&cluster.client).get_opt(GRANTS[0].0).await.unwrap().is_none());
    assert_eq!(cluster.target("team-pull", "team-a").await.uid().as_ref(), before.get("team-pull"));
    let shop = Api::<Secret>::namespaced(cluster.client.clone(), "shop");
    eventually("its Secret is collected", async || match shop.get_opt("pull").await.unwrap() {
        None => Ok(()),
        Some(_) => Err("it is there".to_owned()),
    })
    .await;
    let faults = watch.faults();
    assert_eq!(faults, ["shop/pull: deleted"], "and never before");
}

/// Upgrades with the documented flags and looks at what a user has.
async fn upgrade(cluster: &Cluster, before: &BTreeMap<String, String>, deployment: &Deployment) {
    let jobs = cluster.kubelet.seen().ran.len();
    let chart = chart();
    let flags = [&["upgrade", "imps", &chart, "--wait", "--timeout", "120s"], &DOCUMENTED[..]].concat();
    cluster.must(&flags).await;

    let seen = cluster.kubelet.seen();
    let ran = &seen.ran[jobs..];
    assert_eq!(ran.len(), 1, "{ran:#?}");
    assert!(ran[0].succeeded && ran[0].account == "imps-imagepullsecrets-crds", "{ran:#?}");
    assert_eq!(ran[0].arguments, ["crd", "apply"], "{}", ran[0].output);
    assert!(cluster.definition_is_ours().await, "{ran:#?}");
    assert!(cluster.image().await.starts_with("registry.example/imps:"));
    let after = cluster.deployment().await;
    assert_eq!(after.uid(), deployment.uid(), "the same Deployment");
    assert_eq!(&cluster.uids().await, before);
    for (grant, secret, place) in GRANTS {
        eventually(&format!("{grant} is ready"), async || {
            let status = grants(&cluster.client).get(grant).await.unwrap().data["status"].clone();
            let conditions = status["conditions"].as_array().cloned().unwrap_or_default();
            let ready = conditions
                .iter()
                .any(|condition| condition["type"] == "Ready" && condition["status"] == "True");
            if ready { Ok(()) } else { Err(format!("{status:#}\n{:#?}", cluster.kubelet.seen())) }
        })
        .await;
        let target = cluster.target(secret, place).await;
        assert!(is_whole(&target));
        assert!(
            !target.annotations().contains_key(keys::LEGACY_COPY_ANNOTATION),
            "the copy is gone: {secret}"
        );
    }
    // What the user had set is still set.
    let spec = serde_json::to_value(after.spec).unwrap();
    let variables = &spec["template"]["spec"]["containers"][0]["env"];
    assert!(
        variables.as_array().unwrap().contains(&json!({"name": "LOG_LEVEL", "value": "debug"})),
        "{variables}"
    );
}
