//! What a diagnosis is told: objects, as a cluster shows them or as manifests have them, become the cases of pods, or
//! the place that a namespace is.
//!
//! Both ways end in one [`Testimony`], so that nothing is found offline that would not be found on a cluster. What
//! could not be looked at is part of it. Nothing here decides.

use std::collections::{BTreeMap, BTreeSet};

use imps_core::diagnosis::{Case, Granted, Place, Sight};
use imps_core::name::SecretRef;
use serde_json::{Value, json};

mod look;
mod lowering;

pub use look::{look, look_around};

/// What a diagnosis is to be about.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Asked {
    /// A pod, or what makes pods.
    Object {
        /// `Pod`, `Deployment`, `StatefulSet`, `DaemonSet`, `ReplicaSet` or `Job`.
        kind: &'static str,
        /// Its namespace.
        namespace: String,
        /// Its name.
        name: String,
    },
    /// Every pod that waits for an image, of one namespace or of all.
    Failing(Option<String>),
    /// A pod with this image, if there were one.
    Image {
        /// Its namespace.
        namespace: String,
        /// The image.
        image: String,
        /// The ServiceAccount that it would run as.
        account: String,
    },
}

/// Objects, and what could not be seen of them.
#[derive(Clone, Debug, Default)]
pub struct Testimony {
    /// The objects by their kinds, Secrets with their values.
    objects: BTreeMap<String, Vec<Value>>,
    /// Secrets that were looked for and are not there.
    absent: BTreeSet<SecretRef>,
    /// What could not be looked at.
    gaps: Vec<Gap>,
    /// From manifests: what is not among them may be on a cluster all the same.
    offline: bool,
}

/// Something that could not be looked at.
#[derive(Clone, PartialEq, Eq, Debug)]
struct Gap {
    /// The kind of object.
    kind: &'static str,
    /// Of this namespace; of all when not said.
    namespace: Option<String>,
    /// Of this name; all when not said.
    name: Option<String>,
    /// Why, in words that may be shown.
    why: String,
}

/// There is no such object.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[error("there is no {kind} {name} in {namespace}")]
pub struct Missing {
    kind: String,
    namespace: String,
    name: String,
}

/// The kinds that a pod's case rests on, beside the pod.
const SUPPORTING: [&str; 3] = ["Secret", "ServiceAccount", "Namespace"];

impl Testimony {
    /// Takes manifests for what they are: a kind of which there is none at all was left out, and not looked for.
    pub fn of_manifests(objects: Vec<Value>) -> Self {
        let mut testimony = Self { offline: true, ..Self::default() };
        objects.into_iter().for_each(|object| testimony.add(object));
        for kind in SUPPORTING.into_iter().filter(|kind| testimony.of(kind).is_empty()).collect::<Vec<_>>() {
            let why = format!("no {kind} is among the manifests");
            testimony.gaps.push(Gap { kind, namespace: None, name: None, why });
        }
        testimony
    }

    /// The cases that are asked for.
    pub fn cases(&self, asked: &Asked) -> Result<Vec<Case>, Missing> {
        let pods: Vec<(Value, String)> = match asked {
            Asked::Object { kind: "Pod", namespace, name } => {
                let pod = self.find("Pod", namespace, name).ok_or_else(|| missing("pod", namespace, name))?;
                vec![(pod.clone(), format!("pod/{name}"))]
            }
            Asked::Object { kind, namespace, name } => {
                let workload = self
                    .find(kind, namespace, name)
                    .ok_or_else(|| missing(&kind.to_lowercase(), namespace, name))?;
                self.pods_of(workload)
            }
            Asked::Failing(namespace) => self.failing(namespace.as_deref()),
            Asked::Image { namespace, image, account } => {
                let pod = json!({
                    "kind": "Pod", "metadata": {"namespace": namespace},
                    "spec": {"serviceAccountName": account, "containers": [{"name": "app", "image": image}]},
                });
                vec![(pod, "a pod with this image".to_owned())]
            }
        };
        // What ImagePullSecrets mean for a namespace is the same for all of its pods.
        let mut grants: BTreeMap<&str, Sight<Vec<Granted>>> = BTreeMap::new();
        for (pod, _) in &pods {
            let here = lowering::namespace(pod);
            grants.entry(here).or_insert_with(|| lowering::grants(self, here));
        }
        let case = |(pod, subject): &(Value, String)| {
            lowering::case(self, pod, subject, grants[lowering::namespace(pod)].clone())
        };
        Ok(pods.iter().map(case).collect())
    }

    /// What is known about a namespace.
    pub fn place(&self, namespace: &str) -> Result<Place, Missing> {
        let place = lowering::place(self, namespace);
        let there = !matches!(place.space, Sight::Absent);
        there.then_some(place).ok_or_else(|| Missing {
            kind: "namespace".to_owned(),
            namespace: if self.offline { "the manifests" } else { "the cluster" }.to_owned(),
            name: namespace.to_owned(),
        })
    }

    fn add(&mut self, object: Value) {
        let kind = object["kind"].as_str().unwrap_or_default().to_owned();
        self.objects.entry(kind).or_default().push(object);
    }

    fn of(&self, kind: &str) -> &[Value] {
        self.objects.get(kind).map_or(&[], Vec::as_slice)
    }

    fn find(&self, kind: &str, namespace: &str, name: &str) -> Option<&Value> {
        self.of(kind).iter().find(|object| {
            lowering::namespace(object) == namespace && object.pointer("/metadata/name") == Some(&json!(name))
        })
    }

    /// The pods that a workload selects, or the one that it would make.
    fn pods_of(&self, workload: &Value) -> Vec<(Value, String)> {
        let selector = lowering::selector(workload);
        let here = |pod: &&Value| lowering::namespace(pod) == lowering::namespace(workload);
        let selected = |pod: &&Value| {
            selector.as_ref().is_some_and(|selector| selector.matches(&lowering::tags(pod, "labels")))
        };
        let pods: Vec<&Value> = self.of("Pod").iter().filter(here).filter(selected).collect();
        let sick: Vec<&Value> =
            pods.iter().copied().filter(|pod| lowering::waits_for_an_image(pod)).collect();
        let shown = if sick.is_empty() { pods } else { sick };
        if shown.is_empty() {
            return lowering::template(workload).into_iter().collect();
        }
        shown.into_iter().map(|pod| (pod.clone(), format!("pod/{}", lowering::name(pod)))).collect()
    }

    /// Pods that wait for an image; of manifests also what is yet to become a pod.
    fn failing(&self, namespace: Option<&str>) -> Vec<(Value, String)> {
        let here =
            |object: &&Value| namespace.is_none_or(|namespace| lowering::namespace(object) == namespace);
        let relevant =
            |pod: &&Value| lowering::waits_for_an_image(pod) || self.offline && !lowering::is_admitted(pod);
        let pods = self.of("Pod").iter().filter(here).filter(relevant);
        let mut found: Vec<(Value, String)> =
            pods.map(|pod| (pod.clone(), format!("pod/{}", lowering::name(pod)))).collect();
        if self.offline {
            let workloads =
                self.objects.values().flatten().filter(here).filter(|object| lowering::makes_pods(object));
            let unmade = workloads.flat_map(|workload| {
                let made = self.pods_of(workload).into_iter();
                made.filter(|(pod, _)| !lowering::is_admitted(pod) && lowering::name(pod).is_empty())
            });
            found.extend(unmade);
        }
        found
    }

    /// What is known of an object that is not among the others.
    fn unseen<T>(&self, kind: &str, namespace: &str, name: &str) -> Sight<T> {
        if kind == "Secret" && self.absent.contains(&SecretRef::new(namespace, name)) {
            return Sight::Absent;
        }
        let fits = |wanted: &Option<String>, is: &str| wanted.as_ref().is_none_or(|wanted| wanted == is);
        let gap = self
            .gaps
            .iter()
            .find(|gap| gap.kind == kind && fits(&gap.namespace, namespace) && fits(&gap.name, name));
        gap.map_or(Sight::Absent, |gap| Sight::Unseen(gap.why.clone()))
    }
}

fn missing(kind: &str, namespace: &str, name: &str) -> Missing {
    Missing { kind: kind.to_owned(), namespace: namespace.to_owned(), name: name.to_owned() }
}
