//! The situations of `tests/diagnose` on a real API server: each is made there as its file describes it, and is given
//! the answer that the file is given.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::process::{Command, Output};

use imps_api::keys;
use imps_testbed::manifest;
use kube::ResourceExt;
use kube::api::{Api, DeleteParams, DynamicObject, ListParams, Patch, PatchParams, PostParams};
use serde_json::{Value, json};

use super::diagnose::{account, everything};
use super::reader::{Reader, rule};
use super::stage::{Scene, Solo, binary};
use super::wait::{eventually, say};
use crate::situation::{DAY, arguments, files, head};

/// What a real API server does not let come into being: it checks the values of these types of Secrets, wherever they
/// are from.
const IMPOSSIBLE: [&str; 2] = ["not-json", "wrong-key"];

/// One file, made on the cluster in namespaces of its own.
struct Copy<'a> {
    scene: &'a Scene,
    objects: Vec<Value>,
    /// What stands behind the names of its namespaces.
    suffix: String,
}

impl<'a> Copy<'a> {
    async fn new(scene: &'a Scene, file: &Path, number: usize) -> Self {
        let mut objects = manifest::read(&std::fs::read_to_string(file).unwrap()).unwrap();
        let mut names: BTreeMap<String, Value> = BTreeMap::new();
        for object in &objects {
            if object["kind"] == "Namespace" {
                names.insert(text(&object["metadata"]["name"]), object["metadata"].clone());
            } else if let Some(name) = object["metadata"]["namespace"].as_str() {
                names.entry(name.to_owned()).or_insert_with(|| json!({}));
            }
        }
        for object in &mut objects {
            let renamed =
                |name: &str| names.contains_key(name).then(|| scene.name(&format!("{name}-{number}")));
            rename(object, &renamed);
        }
        for (name, metadata) in &names {
            let tags = json!({"labels": metadata["labels"], "annotations": metadata["annotations"]});
            scene.namespace(&format!("{name}-{number}"), tags).await;
        }
        Self { scene, objects, suffix: scene.name(&format!("-{number}")) }
    }

    fn of<'o>(&'o self, kind: &'static str) -> impl Iterator<Item = &'o Value> {
        self.objects.iter().filter(move |object| object["kind"] == kind)
    }

    /// What is in no namespace.
    fn shared(&self) -> impl Iterator<Item = &Value> {
        self.of(keys::KIND).chain(self.of("Node"))
    }

    fn api(&self, object: &Value) -> Api<DynamicObject> {
        manifest::api(&self.scene.client, object).unwrap()
    }

    /// Makes an object, with what the API server alone may write left out.
    async fn create(&self, object: &Value) -> Result<DynamicObject, kube::Error> {
        let mut object = object.clone();
        object["metadata"].as_object_mut().unwrap().remove("uid");
        let status = object.as_object_mut().unwrap().remove("status");
        let api = self.api(&object);
        let made = api.create(&PostParams::default(), &serde_json::from_value(object).unwrap()).await?;
        if let Some(status) = status {
            let patch = Patch::Merge(json!({ "status": status }));
            return api.patch_status(&made.name_any(), &PatchParams::default(), &patch).await;
        }
        Ok(made)
    }

    /// Makes all of it. What the API server refuses is told.
    async fn make(&self) -> Result<(), String> {
        let refused = |error: kube::Error| error.to_string();
        for object in self.shared() {
            self.create(object).await.map_err(refused)?;
        }
        // Accounts come without pull secrets first: a pod is given those that its account has when it is made.
        let accounts: BTreeSet<(String, String)> = self.accounts().collect();
        for (namespace, name) in &accounts {
            self.create(&account(namespace, name, &[])).await.map_err(refused)?;
        }
        let mut uids = BTreeMap::new();
        for pod in self.of("Pod") {
            uids.insert(text(&pod["metadata"]["uid"]), self.pod(pod).await);
        }
        for kind in ["Deployment", "Secret"] {
            for object in self.of(kind) {
                self.create(object).await.map_err(refused)?;
            }
        }
        for event in self.of("Event") {
            let mut event = event.clone();
            rename(&mut event, &|uid: &str| uids.get(uid).cloned());
            self.create(&event).await.map_err(refused)?;
        }
        for stated in self.of("ServiceAccount") {
            manifest::apply(&self.scene.client, std::slice::from_ref(stated)).await.unwrap();
        }
        let stated: BTreeSet<(String, String)> = self.of("ServiceAccount").map(place).collect();
        for (namespace, name) in accounts.difference(&stated).filter(|(_, name)| name != "default") {
            let gone = account(namespace, name, &[]);
            self.api(&gone).delete(name, &DeleteParams::default()).await.unwrap();
        }
        Ok(())
    }

    /// Namespace and name of all accounts that there are, or that pods run as.
    fn accounts(&self) -> impl Iterator<Item = (String, String)> {
        let runs_as = |pod: &Value| {
            let account = pod["spec"]["serviceAccountName"].as_str().unwrap_or("default").to_owned();
            (text(&pod["metadata"]["namespace"]), account)
        };
        let spaces = self.objects.iter().filter_map(|object| object["metadata"]["namespace"].as_str());
        let usual = spaces.map(|namespace| (namespace.to_owned(), "default".to_owned()));
        usual.chain(self.of("Pod").map(runs_as)).chain(self.of("ServiceAccount").map(place))
    }

    /// A pod in the state that the file says; its UID.
    async fn pod(&self, pod: &Value) -> String {
        let mut pod = pod.clone();
        pod["spec"]["automountServiceAccountToken"] = json!(false);
        let later = pod["spec"].as_object_mut().unwrap().remove("ephemeralContainers");
        if !pod["spec"]["containers"].is_array() {
            pod["spec"]["containers"] = json!([{"name": "main", "image": "else.example/main"}]);
        }
        let status = pod.as_object_mut().unwrap().remove("status").unwrap_or_default();
        let made = eventually("the pod is admitted", async || {
            self.create(&pod).await.map_err(|error| error.to_string())
        })
        .await;
        let (api, name, params) = (self.api(&pod), made.name_any(), PatchParams::default());
        if let Some(containers) = later {
            let patch = Patch::Strategic(json!({"spec": {"ephemeralContainers": containers}}));
            api.patch_subresource("ephemeralcontainers", &name, &params, &patch).await.unwrap();
        }
        let mut status = status;
        for list in ["initContainerStatuses", "containerStatuses", "ephemeralContainerStatuses"] {
            for container in status[list].as_array_mut().into_iter().flatten() {
                let usual = json!({"image": "", "imageID": "", "ready": false, "restartCount": 0});
                for (field, value) in usual.as_object().unwrap() {
                    container[field] = value.clone();
                }
            }
        }
        status.as_object_mut().unwrap().retain(|_, value| !value.is_null());
        let patch = Patch::Merge(json!({ "status": status }));
        api.patch_status(&name, &params, &patch).await.unwrap();
        made.uid().unwrap()
    }

    /// Takes away what another file would be told of.
    async fn clean(&self) {
        let spaces: BTreeSet<String> = self.accounts().map(|(namespace, _)| namespace).collect();
        for namespace in spaces {
            let (all, at_once) = (ListParams::default(), DeleteParams::default().grace_period(0));
            self.scene.secrets(&namespace).delete_collection(&at_once, &all).await.unwrap();
            self.scene.pods(&namespace).delete_collection(&at_once, &all).await.unwrap();
        }
        for object in self.shared() {
            let name = text(&object["metadata"]["name"]);
            // One that was refused is not there.
            let _ = self.api(object).delete(&name, &DeleteParams::default()).await;
        }
    }

    /// The answer with the names of the file.
    fn answer(&self, output: &Output) -> Value {
        let text = String::from_utf8_lossy(&output.stdout).replace(&self.suffix, "");
        serde_json::from_str(&text)
            .unwrap_or_else(|_| panic!("{text}{}", String::from_utf8_lossy(&output.stderr)))
    }

    /// The arguments of the file, about its copy.
    fn arguments(&self, file: &Path) -> Vec<String> {
        let own = arguments(file).into_iter();
        let mut renamed: Vec<String> =
            own.map(|word| if word == "shop" { format!("shop{}", self.suffix) } else { word }).collect();
        if renamed == ["-A"] {
            renamed = vec!["-n".to_owned(), format!("shop{}", self.suffix)];
        }
        renamed
    }
}

fn text(value: &Value) -> String {
    value.as_str().unwrap_or_default().to_owned()
}

fn place(object: &Value) -> (String, String) {
    (text(&object["metadata"]["namespace"]), text(&object["metadata"]["name"]))
}

/// Replaces texts that are as a whole a name of something else now.
fn rename(value: &mut Value, renamed: &impl Fn(&str) -> Option<String>) {
    match value {
        Value::String(text) => {
            if let Some(name) = renamed(text) {
                *text = name;
            }
        }
        Value::Array(items) => items.iter_mut().for_each(|item| rename(item, renamed)),
        Value::Object(fields) => fields.values_mut().for_each(|field| rename(field, renamed)),
        _ => {}
    }
}

/// What is told of the file alone, and of the cluster alone.
fn differences(file: &BTreeMap<String, Value>, cluster: &BTreeMap<String, Value>) -> Vec<String> {
    let lines = |told: &BTreeMap<String, Value>| -> BTreeSet<String> {
        let pods = told.iter().flat_map(|(pod, report)| {
            let findings = report["findings"].as_array().into_iter().flatten();
            findings
                .chain([&report["verdict"], &report["containers"]])
                .map(move |part| format!("{pod} {part}"))
        });
        pods.collect()
    };
    let (file, cluster) = (lines(file), lines(cluster));
    let file_alone = file.difference(&cluster).map(|line| format!("- {line}"));
    file_alone.chain(cluster.difference(&file).map(|line| format!("+ {line}"))).collect()
}

/// Verdict and findings of each pod, by its name.
fn told(report: &Value) -> BTreeMap<String, Value> {
    let pods = report["pods"].as_array().unwrap().iter();
    let one = |pod: &Value| (format!("{}/{}", pod["namespace"], pod["subject"]), pod.clone());
    pods.map(one).collect()
}

#[tokio::test]
async fn each_situation_is_answered_on_a_real_api_server_as_its_file_is() {
    let Some(mut solo) = Solo::open(&[]).await else { return };
    solo.operator.kill();
    let scene = &solo.scene;
    let reader = Reader::new(scene, everything()).await;
    let careful = Reader::new(scene, json!([rule("", &["pods"], &["get", "list"])])).await;
    let (mut refused, mut wrong, mut same) = (BTreeSet::new(), Vec::new(), 0);
    for (number, file) in files("diagnose").into_iter().enumerate() {
        let name = file.file_stem().unwrap().to_str().unwrap().to_owned();
        let copy = Copy::new(scene, &file, number).await;
        if let Err(why) = copy.make().await {
            say(&format!("{name} cannot be: {why}"));
            refused.insert(name);
            copy.clean().await;
            continue;
        }
        let arguments = copy.arguments(&file);
        let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
        // A file that has nothing but a pod is that of somebody who may read nothing else.
        let asks = if copy.of("Namespace").next().is_some() { &reader } else { &careful };
        let live = asks.run(&[&["diagnose", "--at", DAY, "-o", "json"], &arguments[..]].concat());
        let live = told(&copy.answer(&live));
        copy.clean().await;

        let mut offline = Command::new(binary());
        offline
            .args(["diagnose", "--at", DAY, "-o", "json", "-f"])
            .arg(&file)
            .args(crate::situation::arguments(&file));
        let offline = told(&serde_json::from_slice(&offline.output().unwrap().stdout).unwrap());
        if head(&file, "verdict") == "open" {
            // Why something is not known is told in other words of a file.
            assert!(live.values().all(|pod| pod["verdict"]["open"] == true), "{live:#?}");
            same += 1;
        } else if live == offline {
            same += 1;
        } else {
            wrong.push(format!("{name}: {}", differences(&offline, &live).join("\n  ")));
        }
    }
    say(&format!("{same} situations as their files, {} that cannot be", refused.len()));
    assert!(wrong.is_empty(), "{}", wrong.join("\n\n"));
    assert_eq!(refused, IMPOSSIBLE.map(str::to_owned).into());
    assert!(same >= 60, "{same}");
}
