//! A kubelet of paper: no container runs here, so it does what the pods of a chart would do and reports it.
//!
//! The container of a Job is run as a process, with its arguments and a token of the pod's own ServiceAccount. A pod of
//! our operator is the operator as a process in the same way, until the pod goes. Any other pod is said to run and to
//! be ready. All else is real: the Job and Deployment controllers, admission, helm's waiting.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use imps_testbed::{Operator, Plane, Run, fresh_name};
use k8s_openapi::api::core::v1::Pod;
use kube::ResourceExt;
use kube::api::{Api, ListParams, Patch, PatchParams};
use serde_json::{Value, json};

use super::ground::binary;

/// How often pods are looked at.
const LOOK_EVERY: Duration = Duration::from_millis(50);

/// It ends when this is dropped, and with it the operators.
pub(crate) struct Kubelet {
    task: tokio::task::JoinHandle<()>,
    seen: Arc<Mutex<Seen>>,
}

/// What became of the pods.
#[derive(Clone, Debug, Default)]
pub(crate) struct Seen {
    /// The containers of Jobs.
    pub(crate) ran: Vec<Ran>,
    /// What each operator has logged, by its pod.
    pub(crate) logs: BTreeMap<String, String>,
}

/// A container of a Job that was run.
#[derive(Clone, Debug)]
pub(crate) struct Ran {
    /// The ServiceAccount.
    pub(crate) account: String,
    /// The arguments.
    pub(crate) arguments: Vec<String>,
    /// Whether it succeeded.
    pub(crate) succeeded: bool,
    /// What it printed.
    pub(crate) output: String,
}

impl Kubelet {
    /// Serves the pods of a namespace.
    pub(crate) async fn serve(plane: &Plane, namespace: &str) -> Self {
        let pods = Api::<Pod>::namespaced(plane.admin_client().await.unwrap(), namespace);
        let seen = Arc::<Mutex<Seen>>::default();
        let node = Node { plane: plane.clone(), namespace: namespace.to_owned(), seen: Arc::clone(&seen) };
        Self { task: tokio::spawn(node.turn(pods)), seen }
    }

    /// What became of the pods so far.
    pub(crate) fn seen(&self) -> Seen {
        self.seen.lock().unwrap().clone()
    }
}

impl Drop for Kubelet {
    fn drop(&mut self) {
        self.task.abort();
    }
}

fn is_new(pod: &Pod) -> bool {
    let phase = pod.status.as_ref().and_then(|status| status.phase.as_deref());
    phase == Some("Pending") && pod.metadata.deletion_timestamp.is_none()
}

fn is_of_job(pod: &Pod) -> bool {
    pod.owner_references().iter().any(|owner| owner.kind == "Job")
}

/// The task behind a [`Kubelet`].
struct Node {
    plane: Plane,
    namespace: String,
    seen: Arc<Mutex<Seen>>,
}

impl Node {
    async fn turn(self, pods: Api<Pod>) {
        let mut operators: BTreeMap<String, Operator> = BTreeMap::new();
        loop {
            // The control plane may be ending.
            let found = pods.list(&ListParams::default()).await.map(|list| list.items).unwrap_or_default();
            let gone: Vec<String> = operators
                .keys()
                .filter(|name| !found.iter().any(|pod| pod.name_any() == **name))
                .cloned()
                .collect();
            for name in gone {
                if let Some(mut operator) = operators.remove(&name) {
                    operator.terminate().await.unwrap();
                }
            }
            for pod in found.iter().filter(|pod| is_new(pod)) {
                let (spec, name) = (serde_json::to_value(pod.spec.as_ref()).unwrap(), pod.name_any());
                let status = if is_of_job(pod) {
                    let ran = self.run(&spec).await;
                    let phase = if ran.succeeded { "Succeeded" } else { "Failed" };
                    self.seen.lock().unwrap().ran.push(ran);
                    json!({ "phase": phase })
                } else {
                    if spec["containers"][0]["args"][0] == "controller" {
                        operators.insert(name.clone(), self.operator(&spec).await);
                    }
                    let ready = json!({"type": "Ready", "status": "True"});
                    json!({"phase": "Running", "conditions": [ready]})
                };
                let patch = Patch::Merge(json!({ "status": status }));
                let _ = pods.patch_status(&name, &PatchParams::default(), &patch).await;
            }
            for (name, operator) in &operators {
                self.seen.lock().unwrap().logs.insert(name.clone(), operator.log());
            }
            tokio::time::sleep(LOOK_EVERY).await;
        }
    }

    /// Runs the program under test as the pod of a Job would.
    async fn run(&self, spec: &Value) -> Ran {
        let (account, arguments) = process(spec);
        let token = self.plane.service_account_token(&self.namespace, &account).await.unwrap();
        let kubeconfig = self.plane.write_kubeconfig(&fresh_name("hook"), &token).unwrap();
        let mut command = tokio::process::Command::new(binary());
        command.args(&arguments).env("KUBECONFIG", &kubeconfig).kill_on_drop(true);
        let output = command.output().await.unwrap();
        let text = [output.stdout, output.stderr].concat();
        let (succeeded, output) = (output.status.success(), String::from_utf8_lossy(&text).into_owned());
        Ran { account, arguments, succeeded, output }
    }

    /// Starts the operator as its pod would, and waits until it is ready.
    async fn operator(&self, spec: &Value) -> Operator {
        let (account, arguments) = process(spec);
        // The port is its own: processes share the one address of this machine.
        let arguments: Vec<&str> = arguments
            .iter()
            .skip(1)
            .map(String::as_str)
            .filter(|argument| !argument.starts_with("--metrics-addr"))
            .collect();
        let run = Run {
            binary: binary(),
            subcommand: Some("controller"),
            namespace: &self.namespace,
            account: &account,
            arguments: &arguments,
        };
        let operator = Operator::start(&self.plane, &run).await.unwrap();
        operator.ready().await.unwrap();
        operator
    }
}

/// ServiceAccount and arguments.
fn process(spec: &Value) -> (String, Vec<String>) {
    let account = spec["serviceAccountName"].as_str().unwrap_or("default").to_owned();
    (account, serde_json::from_value(spec["containers"][0]["args"].clone()).unwrap_or_default())
}
