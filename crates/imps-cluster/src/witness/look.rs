//! Looking at a cluster for a diagnosis: a handful of requests for one pod, and for all pods no more than pages of
//! lists.

use std::collections::{BTreeMap, BTreeSet};

use imps_api::keys;
use imps_core::dockerconfig::Format;
use imps_core::name::SecretRef;
use kube::Client;
use serde_json::Value;

use super::lowering::{self, EVENT_REASONS};
use super::{Asked, Gap, Testimony};
use crate::snapshot::{Kind, Unseen, Which, get, list, walk};

mod panorama;
mod surroundings;

pub use panorama::look_across;
pub use surroundings::look_around;

/// Up to so many objects are asked for one by one; beyond that a list is cheaper. The sum of all such requests, over
/// the kinds, stays below the 60 that a whole cluster may take.
const SINGLE_GETS_MAX: usize = 10;

/// How many namespaces are looked at one by one where the right to list a kind in all of them is missing.
const NAMESPACES_MAX: usize = 10;

/// Looks at all that the asked cases rest on. `progress` is told what is being looked at.
///
/// It fails where the pods cannot be read. Whatever else cannot be is a gap in the testimony.
pub async fn look(
    client: &Client,
    asked: &Asked,
    progress: &mut dyn FnMut(&str),
) -> Result<Testimony, Unseen> {
    let mut witness = Witness { client, testimony: Testimony::default(), progress };
    witness.pods(asked).await?;
    let needs = Needs::of(&witness.testimony, asked);
    witness.grants().await;
    if needs.places.is_empty() {
        return Ok(witness.testimony);
    }
    witness.events(&needs).await;
    witness.nodes(&needs).await;
    witness.namespaces(&needs).await;
    witness.accounts(&needs).await;
    let secrets = needs.secrets(&witness.testimony);
    witness.secrets(&needs, &secrets).await;
    Ok(witness.testimony)
}

/// What the pods make necessary to know.
#[derive(Default)]
struct Needs {
    /// The namespaces, with the names of the pods in each.
    places: BTreeMap<String, BTreeSet<String>>,
    /// The ServiceAccounts, `default` among them, as it is compared with others.
    accounts: BTreeSet<(String, String)>,
    /// The lists of the pods themselves.
    named: BTreeSet<SecretRef>,
    /// The nodes on which an image may be that is waited for.
    nodes: BTreeSet<String>,
}

impl Needs {
    fn of(testimony: &Testimony, asked: &Asked) -> Self {
        let mut needs = Self::default();
        let objects = testimony.objects.values().flatten();
        let templates: Vec<Value> =
            objects.filter_map(|object| Some(lowering::template(object)?.0)).collect();
        needs.pods(testimony.of("Pod").iter().chain(&templates));
        if let Asked::Image { namespace, account, .. } = asked {
            needs.add(namespace, account);
        }
        needs
    }

    /// Those of pods that wait for an image alone.
    fn of_waiting(testimony: &Testimony) -> Self {
        let mut needs = Self::default();
        needs.pods(testimony.of("Pod").iter().filter(|pod| lowering::waits_for_an_image(pod)));
        needs
    }

    fn pods<'v>(&mut self, pods: impl Iterator<Item = &'v Value>) {
        for pod in pods {
            let place = lowering::namespace(pod).to_owned();
            self.nodes.extend(lowering::expectant_node(pod).map(str::to_owned));
            let account =
                pod.pointer("/spec/serviceAccountName").and_then(Value::as_str).unwrap_or("default");
            self.add(&place, account);
            // A template has no name, and nothing has happened to it.
            let name = Some(lowering::name(pod).to_owned()).filter(|name| !name.is_empty());
            self.places.entry(place.clone()).or_default().extend(name);
            for name in lowering::pull_secrets(pod.pointer("/spec/imagePullSecrets")) {
                self.named.insert(SecretRef::new(place.as_str(), name));
            }
        }
    }

    fn add(&mut self, place: &str, account: &str) {
        self.places.entry(place.to_owned()).or_default();
        self.accounts.insert((place.to_owned(), account.to_owned()));
        self.accounts.insert((place.to_owned(), "default".to_owned()));
    }

    /// The Secrets that pods, their accounts and, in each namespace, `ImagePullSecret`s name.
    fn secrets(&self, testimony: &Testimony) -> BTreeSet<SecretRef> {
        let mut secrets = self.named.clone();
        for account in testimony.of("ServiceAccount") {
            let names = lowering::pull_secrets(account.get("imagePullSecrets"));
            secrets.extend(names.into_iter().map(|name| SecretRef::new(lowering::namespace(account), name)));
        }
        secrets
    }

    fn only_place(&self) -> Option<&str> {
        let mut places = self.places.keys();
        places.next().filter(|_| places.next().is_none()).map(String::as_str)
    }
}

struct Witness<'c> {
    client: &'c Client,
    testimony: Testimony,
    progress: &'c mut dyn FnMut(&str),
}

impl Witness<'_> {
    async fn pods(&mut self, asked: &Asked) -> Result<(), Unseen> {
        (self.progress)("pods");
        match asked {
            Asked::Object { kind: "Pod", namespace, name } => {
                let pod = get(self.client, Kind::WHOLE_POD, Some(namespace), name).await?;
                pod.into_iter().for_each(|pod| self.testimony.add(pod));
            }
            Asked::Object { kind, namespace, name } => {
                let workload = get(self.client, workload_kind(kind), Some(namespace), name).await?;
                let selector = workload.as_ref().map(selector_text).unwrap_or_default();
                workload.into_iter().for_each(|workload| self.testimony.add(workload));
                if !selector.is_empty() {
                    let which =
                        Which { namespace: Some(namespace), labels: Some(&selector), ..Which::default() };
                    let testimony = &mut self.testimony;
                    walk(self.client, Kind::WHOLE_POD, which, |pod| testimony.add(lean_pod(pod))).await?;
                }
            }
            Asked::Failing(namespace) => {
                let which = Which { namespace: namespace.as_deref(), ..Which::default() };
                let mut seen = 0;
                let Self { client, testimony, progress } = self;
                walk(client, Kind::WHOLE_POD, which, |pod| {
                    seen += 1;
                    if seen % 500 == 0 {
                        progress(&format!("pods: {seen}"));
                    }
                    if lowering::waits_for_an_image(&pod) {
                        testimony.add(lean_pod(pod));
                    }
                })
                .await?;
            }
            Asked::Image { .. } => {}
        }
        Ok(())
    }

    async fn grants(&mut self) {
        (self.progress)("imagepullsecrets");
        match list(self.client, Kind::GRANT, Which::default()).await {
            Ok(grants) => grants.into_iter().flatten().for_each(|grant| self.testimony.add(grant)),
            Err(fault) => self.gap(keys::KIND, None, None, &fault),
        }
    }

    /// The status mostly tells the last error; events tell it where it does not, and what became of pull secrets.
    async fn events(&mut self, needs: &Needs) {
        (self.progress)("events");
        let place = needs.only_place();
        let one = place.and_then(|place| {
            let mut names = needs.places[place].iter();
            names.next().filter(|_| names.next().is_none())
        });
        let fields: Vec<String> = match one {
            Some(name) => vec![format!("involvedObject.kind=Pod,involvedObject.name={name}")],
            None if needs.places.values().all(BTreeSet::is_empty) => return,
            // Two of the reasons stand in the status as well.
            None => EVENT_REASONS[..2]
                .iter()
                .map(|reason| format!("involvedObject.kind=Pod,reason={reason}"))
                .collect(),
        };
        for fields in fields {
            let which = Which { namespace: place, fields: Some(&fields), ..Which::default() };
            let testimony = &mut self.testimony;
            let walked = walk(self.client, Kind::EVENT, which, |event| {
                let regarded = lowering::regarded(&event);
                let of = |key: &str| regarded[key].as_str().unwrap_or_default();
                if needs.places.get(of("namespace")).is_some_and(|names| names.contains(of("name"))) {
                    testimony.add(event);
                }
            });
            if let Err(fault) = walked.await {
                self.gap("Event", place, None, &fault);
            }
        }
    }

    /// Who may read pods need not be able to read nodes: then nothing is known of their images, which is no gap.
    async fn nodes(&mut self, needs: &Needs) {
        (self.progress)("nodes");
        for node in needs.nodes.iter().take(SINGLE_GETS_MAX) {
            let Ok(node) = get(self.client, Kind::NODE, None, node).await else { return };
            node.into_iter().for_each(|node| self.testimony.add(node));
        }
    }

    async fn namespaces(&mut self, needs: &Needs) {
        (self.progress)("namespaces");
        if needs.places.len() <= SINGLE_GETS_MAX {
            for place in needs.places.keys() {
                match get(self.client, Kind::NAMESPACE, None, place).await {
                    Ok(namespace) => namespace.into_iter().for_each(|one| self.testimony.add(one)),
                    Err(fault) => self.gap("Namespace", Some(place), None, &fault),
                }
            }
            return;
        }
        let testimony = &mut self.testimony;
        let walked = walk(self.client, Kind::NAMESPACE, Which::default(), |namespace| {
            if needs.places.contains_key(lowering::name(&namespace)) {
                testimony.add(namespace);
            }
        });
        if let Err(fault) = walked.await {
            self.gap("Namespace", None, None, &fault);
        }
    }

    async fn accounts(&mut self, needs: &Needs) {
        (self.progress)("serviceaccounts");
        if needs.accounts.len() <= SINGLE_GETS_MAX {
            for (place, name) in &needs.accounts {
                match get(self.client, Kind::ACCOUNT, Some(place), name).await {
                    Ok(account) => account.into_iter().for_each(|one| self.testimony.add(one)),
                    Err(fault) => self.gap("ServiceAccount", Some(place), Some(name), &fault),
                }
            }
            return;
        }
        let keep = |account: &Value| {
            let at = (lowering::namespace(account).to_owned(), lowering::name(account).to_owned());
            needs.accounts.contains(&at)
        };
        self.everywhere("ServiceAccount", Kind::ACCOUNT, needs, None, &keep).await;
    }

    /// Secrets by their two types, which says what is there; those that are named and not among them one by one or,
    /// when they are many, by their names in all namespaces: they are missing, or of a type that no pull secret has.
    async fn secrets(&mut self, needs: &Needs, named: &BTreeSet<SecretRef>) {
        (self.progress)("secrets");
        let one_place = needs.only_place().is_some();
        let known = self.secrets_seen();
        let mut whole = true;
        for format in [Format::DockerConfigJson, Format::DockerCfg] {
            let fields = format!("type={}", format.secret_type());
            let targets = self.target_names();
            let keep = |secret: &Value| {
                let at = SecretRef::new(lowering::namespace(secret), lowering::name(secret));
                let needed = named.contains(&at) || targets.contains(at.name.as_str());
                !known.contains(&at)
                    && needs.places.contains_key(at.namespace.as_str())
                    && (one_place || needed)
            };
            whole &= self.everywhere("Secret", Kind::SECRET, needs, Some(&fields), &keep).await;
        }
        let found = self.secrets_seen();
        let rest: Vec<&SecretRef> = named.iter().filter(|at| !found.contains(at)).collect();
        if rest.len() <= SINGLE_GETS_MAX {
            for at in &rest {
                self.secret(at).await;
            }
        }
        let names: BTreeSet<&str> = rest.iter().map(|at| at.name.as_str()).collect();
        for name in names.iter().take(SINGLE_GETS_MAX) {
            self.namesakes(name, &rest, rest.len() > SINGLE_GETS_MAX).await;
        }
        self.leave_out(&rest);
        // What a list of a type does not hold is no pull secret, whatever stands at the name.
        if whole {
            let targets = self.target_names();
            let places = needs.places.keys();
            let at = places.flat_map(|place| {
                targets.iter().map(move |name| SecretRef::new(place.as_str(), name.as_str()))
            });
            let known = |at: &SecretRef| found.contains(at) || named.contains(at);
            self.testimony.absent.extend(at.filter(|at| !known(at)).collect::<Vec<_>>());
        }
    }

    fn secrets_seen(&self) -> BTreeSet<SecretRef> {
        let secrets = self.testimony.of("Secret").iter();
        secrets.map(|secret| SecretRef::new(lowering::namespace(secret), lowering::name(secret))).collect()
    }

    /// Of Secrets that nothing was learned about it is said that they were too many.
    fn leave_out(&mut self, rest: &[&SecretRef]) {
        let found =
            |at: &SecretRef| self.testimony.find("Secret", at.namespace.as_str(), at.name.as_str()).is_some();
        let unknown = rest.iter().filter(|at| !self.testimony.absent.contains(at) && !found(at));
        let gaps: Vec<Gap> = unknown
            .map(|at| Gap {
                kind: "Secret",
                namespace: Some(at.namespace.to_string()),
                name: Some(at.name.to_string()),
                why: "not looked at: too many names; ask about its namespace alone".to_owned(),
            })
            .collect();
        // Those that could not be read have a better reason already.
        self.testimony.gaps.extend(gaps);
    }

    async fn secret(&mut self, at: &SecretRef) {
        let (namespace, name) = (at.namespace.as_str(), at.name.as_str());
        match get(self.client, Kind::SECRET, Some(namespace), name).await {
            Ok(Some(secret)) => self.testimony.add(lean_secret(secret)),
            Ok(None) => drop(self.testimony.absent.insert(at.clone())),
            Err(fault) => self.gap("Secret", Some(namespace), Some(name), &fault),
        }
    }

    /// Secrets of one name in all namespaces: whether one that is missing here is there, and in a large scan what
    /// stands at the name here. Without the right to it nothing is known of other namespaces, which is no gap.
    async fn namesakes(&mut self, name: &str, rest: &[&SecretRef], needed: bool) {
        let missing = rest.iter().any(|at| at.name.as_str() == name && self.testimony.absent.contains(at));
        if !missing && !needed {
            return;
        }
        let kind = if needed { Kind::SECRET } else { Kind { metadata_only: true, ..Kind::SECRET } };
        let which = Which { name: Some(name), ..Which::default() };
        let Ok(found) = list(self.client, kind, which).await else { return };
        let found = found.unwrap_or_default();
        if needed {
            let there = |at: &SecretRef| {
                found.iter().any(|secret| lowering::namespace(secret) == at.namespace.as_str())
            };
            let gone = rest.iter().filter(|at| at.name.as_str() == name && !there(at));
            self.testimony.absent.extend(gone.map(|at| (*at).clone()));
        }
        found.into_iter().map(lean_secret).for_each(|secret| self.testimony.add(secret));
    }

    /// Lists a kind in the one namespace or in all, and where that is not allowed in each that matters. True when
    /// all of it was seen.
    async fn everywhere(
        &mut self,
        name: &'static str,
        kind: Kind,
        needs: &Needs,
        fields: Option<&str>,
        keep: &dyn Fn(&Value) -> bool,
    ) -> bool {
        let place = needs.only_place();
        let which = Which { namespace: place, fields, ..Which::default() };
        match self.walk_into(kind, which, keep).await {
            Ok(()) => return true,
            Err(fault) if place.is_some() || !fault.is_forbidden() => {
                self.gap(name, place, None, &fault);
                return false;
            }
            Err(_) => {}
        }
        let mut whole = true;
        for (index, place) in needs.places.keys().enumerate() {
            let which = Which { namespace: Some(place), fields, ..Which::default() };
            if index >= NAMESPACES_MAX {
                let why =
                    format!("not looked at: more than {NAMESPACES_MAX} namespaces, and no right to list all");
                let gap = Gap { kind: name, namespace: Some(place.clone()), name: None, why };
                self.testimony.gaps.push(gap);
                whole = false;
            } else if let Err(fault) = self.walk_into(kind, which, keep).await {
                self.gap(name, Some(place), None, &fault);
                whole = false;
            }
        }
        whole
    }

    async fn walk_into(
        &mut self,
        kind: Kind,
        which: Which<'_>,
        keep: &dyn Fn(&Value) -> bool,
    ) -> Result<(), Unseen> {
        let testimony = &mut self.testimony;
        walk(self.client, kind, which, |object| {
            if keep(&object) {
                testimony.add(if kind == Kind::SECRET { lean_secret(object) } else { object });
            }
        })
        .await
        .map(drop)
    }

    fn target_names(&self) -> BTreeSet<String> {
        let grants = self.testimony.of(keys::KIND).iter();
        let names =
            grants.filter_map(|grant| grant.pointer("/spec/target/secret/name").and_then(Value::as_str));
        names.map(str::to_owned).collect()
    }

    fn gap(&mut self, kind: &'static str, namespace: Option<&str>, name: Option<&str>, fault: &Unseen) {
        self.testimony.gaps.push(Gap {
            kind,
            namespace: namespace.map(str::to_owned),
            name: name.map(str::to_owned),
            why: fault.to_string(),
        });
    }
}

/// What is held of the metadata of a pod.
const POD_METADATA: [&str; 6] = ["name", "namespace", "uid", "labels", "annotations", "deletionTimestamp"];

/// What a case needs of a pod; of a large cluster thousands are held at once.
fn lean_pod(mut pod: Value) -> Value {
    keep(&mut pod["metadata"], &POD_METADATA);
    keep(
        &mut pod["spec"],
        &[
            "nodeName",
            "serviceAccountName",
            "imagePullSecrets",
            "containers",
            "initContainers",
            "ephemeralContainers",
        ],
    );
    for list in ["containers", "initContainers", "ephemeralContainers"] {
        for container in pod["spec"][list].as_array_mut().into_iter().flatten() {
            keep(container, &["name", "image", "imagePullPolicy"]);
        }
    }
    let statuses = ["containerStatuses", "initContainerStatuses", "ephemeralContainerStatuses"];
    keep(&mut pod["status"], &[&["phase"], &statuses[..]].concat());
    for list in statuses {
        for status in pod["status"][list].as_array_mut().into_iter().flatten() {
            keep(status, &["name", "state"]);
        }
    }
    pod
}

/// Leaves these fields, in memory of their own: those that go would leave theirs half empty.
fn keep(value: &mut Value, fields: &[&str]) {
    let Some(object) = value.as_object_mut() else { return };
    let kept = fields.iter().filter_map(|field| object.remove_entry(*field));
    *object = kept.collect();
}

/// A Secret with the value of a docker config only. Of any other type it matters what it is called and which keys it
/// has.
fn lean_secret(mut secret: Value) -> Value {
    if let Some(metadata) = secret["metadata"].as_object_mut() {
        metadata.remove("managedFields");
        metadata.remove("annotations");
    }
    with_pull_secret_alone(secret)
}

/// Without any value but that of a docker config.
fn with_pull_secret_alone(mut secret: Value) -> Value {
    let format = secret["type"].as_str().and_then(Format::from_secret_type);
    for (key, value) in secret["data"].as_object_mut().into_iter().flatten() {
        if format.is_none_or(|format| key != format.data_key()) {
            *value = Value::Null;
        }
    }
    secret
}

fn workload_kind(kind: &str) -> Kind {
    match kind {
        "Job" => Kind::of("batch", "v1", "Job", "jobs"),
        "StatefulSet" => Kind::of("apps", "v1", "StatefulSet", "statefulsets"),
        "DaemonSet" => Kind::of("apps", "v1", "DaemonSet", "daemonsets"),
        "ReplicaSet" => Kind::of("apps", "v1", "ReplicaSet", "replicasets"),
        _ => Kind::DEPLOYMENT,
    }
}

/// The selector of a workload as a request has it.
fn selector_text(workload: &Value) -> String {
    lowering::selector(workload).map(|selector| selector.to_string()).unwrap_or_default()
}
