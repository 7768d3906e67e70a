//! Somebody who may read a few things, and runs commands as that.

use std::path::PathBuf;
use std::process::{Command, Output};

use imps_testbed::{fresh_name, manifest};
use serde_json::{Value, json};

use super::stage::{Scene, binary, wait_for_right};

/// Somebody who may read a few things.
pub(crate) struct Reader {
    /// The name by which the API server knows it.
    pub(crate) user: String,
    kubeconfig: PathBuf,
}

impl Reader {
    /// An account with these rules and no other.
    pub(crate) async fn new(scene: &Scene, rules: Value) -> Self {
        let name = fresh_name("reader");
        let role = json!({"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": name});
        let subject = json!({"kind": "ServiceAccount", "namespace": scene.home, "name": name});
        let metadata = json!({ "name": name });
        let version = "rbac.authorization.k8s.io/v1";
        manifest::apply(
            &scene.client,
            &[
                json!({
                    "apiVersion": "v1", "kind": "ServiceAccount",
                    "metadata": {"name": name, "namespace": scene.home},
                }),
                json!({"apiVersion": version, "kind": "ClusterRole", "metadata": metadata, "rules": rules}),
                json!({
                    "apiVersion": version, "kind": "ClusterRoleBinding", "metadata": metadata,
                    "roleRef": role, "subjects": [subject],
                }),
            ],
        )
        .await
        .unwrap();
        let user = format!("system:serviceaccount:{}:{name}", scene.home);
        for rule in rules.as_array().unwrap() {
            let right = json!({
                "group": rule["apiGroups"][0], "resource": rule["resources"][0], "verb": rule["verbs"][0],
                "name": rule["resourceNames"][0],
            });
            wait_for_right(&scene.client, &user, right).await;
        }
        let token = scene.plane().service_account_token(&scene.home, &name).await.unwrap();
        Self { user, kubeconfig: scene.plane().write_kubeconfig(&name, &token).unwrap() }
    }

    /// Runs imps with these arguments.
    pub(crate) fn run(&self, arguments: &[&str]) -> Output {
        self.command(arguments).output().unwrap()
    }

    /// Imps with these arguments, to be run.
    pub(crate) fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(binary());
        command.args(arguments).arg("--kubeconfig").arg(&self.kubeconfig).env("COLUMNS", "200");
        command
    }
}

/// A rule of a role.
pub(crate) fn rule(group: &str, resources: &[&str], verbs: &[&str]) -> Value {
    json!({"apiGroups": [group], "resources": resources, "verbs": verbs})
}

/// All that a command has printed.
pub(crate) fn said(output: &Output) -> String {
    format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr))
}
