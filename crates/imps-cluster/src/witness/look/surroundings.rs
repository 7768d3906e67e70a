//! Looking around in one namespace: what `ImagePullSecret`s mean for it. No credential is kept, and where they write
//! few names, a right on just these suffices.

use std::collections::BTreeSet;

use imps_api::keys;
use kube::Client;
use serde_json::Value;

use super::{Needs, SINGLE_GETS_MAX, Witness};
use crate::snapshot::{Kind, Which, get, walk};
use crate::witness::{Testimony, lowering};

/// Looks at the namespace, the `ImagePullSecret`s, pods where one of these asks about pods, and the Secrets at their
/// names. Whatever cannot be read is a gap in the testimony. `progress` is told what is being looked at.
pub async fn look_around(client: &Client, namespace: &str, progress: &mut dyn FnMut(&str)) -> Testimony {
    let mut witness = Witness { client, testimony: Testimony::default(), progress };
    witness.grants().await;
    let mut needs = Needs::default();
    needs.places.entry(namespace.to_owned()).or_default();
    witness.namespaces(&needs).await;
    witness.pods_around(namespace).await;
    witness.targets(namespace).await;
    witness.testimony
}

impl Witness<'_> {
    /// Labels and annotations of pods, by which a namespace may be selected.
    async fn pods_around(&mut self, namespace: &str) {
        let asked = |grant: &Value| {
            let pods = grant.pointer("/spec/target/namespacesWithPods").and_then(Value::as_object);
            let terms = pods.into_iter().flat_map(|pods| pods.values());
            terms.filter_map(Value::as_array).any(|terms| !terms.is_empty())
        };
        if !self.testimony.of(keys::KIND).iter().any(asked) {
            return;
        }
        (self.progress)("pods");
        let which = Which { namespace: Some(namespace), ..Which::default() };
        let testimony = &mut self.testimony;
        if let Err(fault) = walk(self.client, Kind::POD, which, |pod| testimony.add(pod)).await {
            self.gap("Pod", Some(namespace), None, &fault);
        }
    }

    /// What stands at the names that `ImagePullSecret`s write, or wrote.
    async fn targets(&mut self, namespace: &str) {
        (self.progress)("secrets");
        let grants = self.testimony.of(keys::KIND).iter();
        let names: BTreeSet<String> = grants.flat_map(lowering::written_names).collect();
        if names.len() > SINGLE_GETS_MAX {
            let which = Which { namespace: Some(namespace), ..Which::default() };
            let testimony = &mut self.testimony;
            let walked = walk(self.client, Kind::SECRET, which, |secret| {
                if names.contains(lowering::name(&secret)) {
                    testimony.add(without_data(secret));
                }
            });
            if let Err(fault) = walked.await {
                self.gap("Secret", Some(namespace), None, &fault);
            }
            return;
        }
        for name in &names {
            match get(self.client, Kind::SECRET, Some(namespace), name).await {
                Ok(secret) => secret.into_iter().for_each(|one| self.testimony.add(without_data(one))),
                Err(fault) => self.gap("Secret", Some(namespace), Some(name), &fault),
            }
        }
    }
}

fn without_data(mut secret: Value) -> Value {
    if let Some(fields) = secret.as_object_mut() {
        fields.remove("data");
    }
    secret
}
