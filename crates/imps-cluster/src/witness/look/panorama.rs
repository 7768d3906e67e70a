//! Looking at all namespaces at once, or at all that is in one of them: by lists, so that the number of requests does
//! not grow with theirs.

use std::collections::BTreeSet;

use imps_api::keys;
use imps_core::name::SecretRef;
use kube::Client;
use serde_json::Value;

use super::{Needs, POD_METADATA, SINGLE_GETS_MAX, Witness, keep, lean_pod, with_pull_secret_alone};
use crate::snapshot::{Kind, Which, get, walk};
use crate::witness::{Testimony, lowering};

/// Looks at `ImagePullSecret`s, namespaces, pods, ServiceAccounts and the Secrets that `ImagePullSecret`s write, of one
/// namespace or of all; of pods that wait for images also at what a diagnosis rests on. Whatever cannot be read is a
/// gap in the testimony. `progress` is told what is being looked at.
///
/// It takes eight lists in pages of 500, one more for each name that `ImagePullSecret`s write, if they are few, and
/// where pods wait at most 20 gets or lists for Secrets that they name and that are none of these.
pub async fn look_across(
    client: &Client,
    namespace: Option<&str>,
    progress: &mut dyn FnMut(&str),
) -> Testimony {
    let mut witness = Witness { client, testimony: Testimony::default(), progress };
    witness.grants().await;
    witness.namespaces_across(namespace).await;
    witness.pods_across(namespace).await;
    let needs = Needs::of_waiting(&witness.testimony);
    witness.accounts_across(namespace, &needs).await;
    witness.targets_across(namespace).await;
    if !needs.places.is_empty() {
        witness.events(&needs).await;
        let named = needs.secrets(&witness.testimony);
        let named = named.into_iter().filter(|at| needs.places.contains_key(at.namespace.as_str())).collect();
        witness.secrets(&needs, &named).await;
    }
    witness.testimony
}

impl Witness<'_> {
    async fn namespaces_across(&mut self, namespace: Option<&str>) {
        (self.progress)("namespaces");
        let testimony = &mut self.testimony;
        let walked = match namespace {
            Some(name) => get(self.client, Kind::NAMESPACE, None, name)
                .await
                .map(|found| found.into_iter().for_each(|one| testimony.add(one))),
            None => {
                walk(self.client, Kind::NAMESPACE, Which::default(), |one| testimony.add(one)).await.map(drop)
            }
        };
        if let Err(fault) = walked {
            self.gap("Namespace", namespace, None, &fault);
        }
    }

    async fn pods_across(&mut self, namespace: Option<&str>) {
        (self.progress)("pods");
        let which = Which { namespace, ..Which::default() };
        let mut seen = 0;
        let Self { client, testimony, progress } = self;
        let walked = walk(client, Kind::WHOLE_POD, which, |pod| {
            seen += 1;
            if seen % 500 == 0 {
                progress(&format!("pods: {seen}"));
            }
            let waits = lowering::waits_for_an_image(&pod);
            testimony.add(if waits { lean_pod(pod) } else { faint_pod(pod) });
        });
        if let Err(fault) = walked.await {
            self.gap("Pod", namespace, None, &fault);
        }
    }

    /// Those that name a pull secret, and those that pods rest on which wait.
    async fn accounts_across(&mut self, namespace: Option<&str>, needs: &Needs) {
        (self.progress)("serviceaccounts");
        let keep = |account: &Value| {
            let at = (lowering::namespace(account).to_owned(), lowering::name(account).to_owned());
            !lowering::pull_secrets(account.get("imagePullSecrets")).is_empty()
                || needs.accounts.contains(&at)
        };
        let which = Which { namespace, ..Which::default() };
        if let Err(fault) = self.walk_into(Kind::ACCOUNT, which, &keep).await {
            self.gap("ServiceAccount", namespace, None, &fault);
        }
    }

    /// What stands at the names that `ImagePullSecret`s write, or wrote: name by name, for which a right on these names
    /// suffices (in one namespace that to get them), or where they are many among all Secrets.
    async fn targets_across(&mut self, namespace: Option<&str>) {
        (self.progress)("secrets");
        let grants = self.testimony.of(keys::KIND).iter();
        let names: BTreeSet<String> = grants.flat_map(lowering::written_names).collect();
        let mut seen: BTreeSet<&str> = BTreeSet::new();
        if names.len() > SINGLE_GETS_MAX {
            let which = Which { namespace, ..Which::default() };
            if self.targets_into(which, None, &names).await {
                seen.extend(names.iter().map(String::as_str));
            }
        } else {
            for name in &names {
                let looked = match namespace {
                    Some(place) => self.target_in(place, name).await,
                    None => {
                        let which = Which { name: Some(name), ..Which::default() };
                        self.targets_into(which, Some(name), &names).await
                    }
                };
                if looked {
                    seen.insert(name);
                }
            }
        }
        // A list of all that comes later and is not allowed takes nothing of this back.
        let places: BTreeSet<String> = match namespace {
            Some(namespace) => BTreeSet::from([namespace.to_owned()]),
            None => self.testimony.of("Namespace").iter().map(|one| lowering::name(one).to_owned()).collect(),
        };
        let at = places
            .iter()
            .flat_map(|place| seen.iter().map(move |name| SecretRef::new(place.as_str(), *name)));
        let found = self.secrets_seen();
        self.testimony.absent.extend(at.filter(|at| !found.contains(at)).collect::<Vec<_>>());
    }

    async fn target_in(&mut self, place: &str, name: &str) -> bool {
        match get(self.client, Kind::SECRET, Some(place), name).await {
            Ok(secret) => {
                secret.into_iter().for_each(|one| self.testimony.add(with_pull_secret_alone(one)));
                true
            }
            Err(fault) => {
                self.gap("Secret", Some(place), Some(name), &fault);
                false
            }
        }
    }

    async fn targets_into(&mut self, which: Which<'_>, name: Option<&str>, names: &BTreeSet<String>) -> bool {
        let testimony = &mut self.testimony;
        let walked = walk(self.client, Kind::SECRET, which, |secret| {
            if names.contains(lowering::name(&secret)) {
                testimony.add(with_pull_secret_alone(secret));
            }
        });
        match walked.await {
            Ok(_) => true,
            Err(fault) => {
                self.gap("Secret", which.namespace, name, &fault);
                false
            }
        }
    }
}

/// Of a pod that waits for nothing: by what its namespace may be selected, and which pull secrets it names.
fn faint_pod(mut pod: Value) -> Value {
    keep(&mut pod["metadata"], &POD_METADATA);
    keep(&mut pod["spec"], &["imagePullSecrets", "serviceAccountName"]);
    keep(&mut pod["status"], &["phase"]);
    pod
}
