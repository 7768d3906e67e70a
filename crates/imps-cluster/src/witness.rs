//! What a diagnosis is told: objects, as a cluster shows them or as manifests have them, become the cases of pods, the
//! place that a namespace is, or the settlements of a whole cluster.
//!
//! Both ways end in one [`Testimony`], so that nothing is found offline that would not be found on a cluster. What
//! could not be looked at is part of it. Nothing here decides.

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};

use imps_api::keys;
use imps_core::diagnosis::{Case, Granted, Place, Settlement, Sight};
use imps_core::name::SecretRef;
use serde_json::{Value, json};

mod look;
mod lowering;

pub use look::{look, look_across, look_around};

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
    /// Which of a kind are in a namespace, by their numbers among them; of events, which are about a pod.
    here: BTreeMap<String, BTreeMap<String, Vec<usize>>>,
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
            let why = none_among_manifests(kind);
            testimony.gaps.push(Gap { kind, namespace: None, name: None, why });
        }
        testimony
    }

    /// The cases that are asked for, one after the other, as they may be many.
    pub fn cases(&self, asked: &Asked) -> Result<impl ExactSizeIterator<Item = Case> + use<'_>, Missing> {
        let pods: Vec<Candidate<'_>> = match asked {
            Asked::Object { kind: "Pod", namespace, name } => {
                let pod = self.find("Pod", namespace, name).ok_or_else(|| missing("pod", namespace, name))?;
                vec![(Cow::Borrowed(pod), format!("pod/{name}"))]
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
                vec![(Cow::Owned(pod), "a pod with this image".to_owned())]
            }
        };
        // What ImagePullSecrets mean for a namespace is the same for all of its pods.
        let readings = lowering::readings(self);
        let mut grants: BTreeMap<String, Sight<Vec<Granted>>> = BTreeMap::new();
        Ok(pods.into_iter().map(move |(pod, subject)| {
            let here = lowering::namespace(&pod);
            let known = grants.get(here).cloned().unwrap_or_else(|| {
                let granted = lowering::grants_in(self, &readings, here);
                grants.insert(here.to_owned(), granted.clone());
                granted
            });
            lowering::case(self, &pod, &subject, known)
        }))
    }

    /// What is known about a namespace.
    pub fn place(&self, namespace: &str) -> Result<Place, Missing> {
        let place = lowering::place(self, &lowering::readings(self), namespace);
        let there = !matches!(place.space, Sight::Absent);
        there.then_some(place).ok_or_else(|| Missing {
            kind: "namespace".to_owned(),
            namespace: if self.offline { "the manifests" } else { "the cluster" }.to_owned(),
            name: namespace.to_owned(),
        })
    }

    /// What the `ImagePullSecret`s ask for.
    pub fn granted(&self) -> Sight<Vec<Granted>> {
        lowering::grants_in(self, &lowering::readings(self), "")
    }

    /// The `ImagePullSecret`s as they are written, with their statuses.
    pub fn grants(&self) -> &[Value] {
        self.of(keys::KIND)
    }

    /// The namespaces with all that is known about them, one after the other, as they may be many: the one that is
    /// meant, or all. Where they could not be listed, those that anything else was seen of.
    pub fn settlements(&self, namespace: Option<&str>) -> impl Iterator<Item = Settlement> {
        let mut names: BTreeSet<String> =
            self.of("Namespace").iter().map(|object| lowering::name(object).to_owned()).collect();
        if self.unseen::<()>("Namespace", "", "") != Sight::Absent {
            names.extend(["Pod", "ServiceAccount", "Secret"].iter().flat_map(|kind| self.inhabited(kind)));
            names.extend(self.grants().iter().flat_map(lowering::reported_namespaces));
        }
        if let Some(namespace) = namespace {
            names = BTreeSet::from([namespace.to_owned()]);
        }
        let readings = lowering::readings(self);
        names.into_iter().map(move |name| lowering::settlement(self, &readings, &name))
    }

    /// What could not be looked at, in words that may be shown.
    pub fn gaps(&self) -> Vec<String> {
        let pods = self.offline && self.of("Pod").is_empty();
        let pods = pods.then(|| none_among_manifests("Pod"));
        self.gaps.iter().map(|gap| gap.why.clone()).chain(pods).collect()
    }

    /// How many objects of a kind were seen.
    pub fn count(&self, kind: &str) -> usize {
        self.of(kind).len()
    }

    fn inhabited(&self, kind: &str) -> impl Iterator<Item = String> {
        self.here.get(kind).into_iter().flat_map(|places| places.keys().cloned())
    }

    fn add(&mut self, object: Value) {
        let kind = object["kind"].as_str().unwrap_or_default().to_owned();
        let place = match kind.as_str() {
            "Event" => pod_of_event(&object),
            _ => lowering::namespace(&object).to_owned(),
        };
        let objects = self.objects.entry(kind.clone()).or_default();
        self.here.entry(kind).or_default().entry(place).or_default().push(objects.len());
        objects.push(object);
    }

    fn of(&self, kind: &str) -> &[Value] {
        self.objects.get(kind).map_or(&[], Vec::as_slice)
    }

    /// The events about a pod, or one that had its name before.
    fn events(&self, namespace: &str, pod: &str) -> impl Iterator<Item = &Value> {
        self.within("Event", &format!("{namespace}/{pod}"))
    }

    /// Those of a kind in a namespace.
    fn within(&self, kind: &str, namespace: &str) -> impl Iterator<Item = &Value> + use<'_> {
        let numbers = self.here.get(kind).and_then(|places| places.get(namespace));
        let objects = self.of(kind);
        numbers.into_iter().flatten().map(|number| &objects[*number])
    }

    fn find(&self, kind: &str, namespace: &str, name: &str) -> Option<&Value> {
        self.within(kind, namespace)
            .find(|object| object.pointer("/metadata/name").and_then(Value::as_str) == Some(name))
    }

    /// The pods that a workload selects, or the one that it would make.
    fn pods_of(&self, workload: &Value) -> Vec<Candidate<'_>> {
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
            let made = lowering::template(workload);
            return made.into_iter().map(|(pod, subject)| (Cow::Owned(pod), subject)).collect();
        }
        shown.into_iter().map(candidate).collect()
    }

    /// Pods that wait for an image; of manifests also what is yet to become a pod.
    fn failing(&self, namespace: Option<&str>) -> Vec<Candidate<'_>> {
        let here =
            |object: &&Value| namespace.is_none_or(|namespace| lowering::namespace(object) == namespace);
        let relevant =
            |pod: &&Value| lowering::waits_for_an_image(pod) || self.offline && !lowering::is_admitted(pod);
        let pods = self.of("Pod").iter().filter(here).filter(relevant);
        let mut found: Vec<Candidate<'_>> = pods.map(candidate).collect();
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

/// A pod, and what to call it.
type Candidate<'t> = (Cow<'t, Value>, String);

fn candidate(pod: &Value) -> Candidate<'_> {
    (Cow::Borrowed(pod), format!("pod/{}", lowering::name(pod)))
}

fn pod_of_event(event: &Value) -> String {
    let regarded = lowering::regarded(event);
    let namespace = regarded["namespace"].as_str().unwrap_or_else(|| lowering::namespace(event));
    format!("{namespace}/{}", regarded["name"].as_str().unwrap_or_default())
}

fn none_among_manifests(kind: &str) -> String {
    format!("no {kind} is among the manifests")
}

fn missing(kind: &str, namespace: &str, name: &str) -> Missing {
    Missing { kind: kind.to_owned(), namespace: namespace.to_owned(), name: name.to_owned() }
}
