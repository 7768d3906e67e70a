//! A workload of another tool: the settings of its container, and where each of them is kept.

use std::collections::BTreeMap;

use imps_cluster::view::SourceView;
use imps_core::name::{SecretRef, is_dns_label, is_dns_subdomain};
use imps_core::source::Document;
use imps_core::token::Token;
use serde_json::Value;

use super::super::manifests::{self, text};
use super::held::{Held, Whence};

/// Objects as they were read, with the namespace of those that name none.
#[derive(Clone, Copy)]
pub(super) struct Objects<'a> {
    /// All of them.
    pub(super) all: &'a [Value],
    /// Where an object is that does not say so.
    pub(super) namespace: &'a str,
    /// Whether an object that is not among them does not exist: so it is in a cluster, and not in files.
    pub(super) complete: bool,
}

/// Something that runs pods.
#[derive(Clone, Copy)]
pub(super) struct Workload<'a> {
    object: &'a Value,
    namespace: &'a str,
}

/// One of its containers.
#[derive(Clone, Copy)]
pub(super) struct Container<'a> {
    workload: Workload<'a>,
    spec: &'a Value,
}

/// What a container is told.
#[derive(Default)]
pub(super) struct Settings {
    variables: BTreeMap<String, Held>,
    flags: BTreeMap<String, Held>,
    /// What is wrong with the manifests, for people.
    pub(super) problems: Vec<String>,
}

// === impl Objects ===

impl<'a> Objects<'a> {
    /// Objects of a kind.
    pub(super) fn of(self, group: &'a str, kind: &'a str) -> impl Iterator<Item = &'a Value> {
        self.all.iter().filter(move |object| manifests::kind(object) == (group, kind))
    }

    /// The namespace of an object.
    pub(super) fn namespace_of(self, object: &'a Value) -> &'a str {
        match text(object, "/metadata/namespace") {
            "" => self.namespace,
            namespace => namespace,
        }
    }

    /// Namespace and name of an object.
    pub(super) fn place(self, object: &'a Value) -> SecretRef {
        SecretRef::new(self.namespace_of(object), text(object, "/metadata/name"))
    }

    /// A Secret, decoded.
    pub(super) fn secret(self, at: &SecretRef) -> Option<Document> {
        let object = self.of("", "Secret").find(|object| self.place(object) == *at)?;
        manifests::secret::<SourceView>(object).map(Document::from)
    }

    /// Secrets of this name, wherever they are.
    pub(super) fn secrets_named(self, name: &'a str) -> impl Iterator<Item = (SecretRef, &'a Value)> {
        let secrets = self.of("", "Secret").map(move |object| (self.place(object), object));
        secrets.filter(move |(at, _)| at.name.as_str() == name)
    }

    /// All workloads with a name that a cluster would take.
    pub(super) fn workloads(self) -> impl Iterator<Item = Workload<'a>> {
        let kinds = [("apps", "Deployment"), ("apps", "DaemonSet"), ("apps", "StatefulSet")];
        let found = move |object: &&Value| {
            let kind = manifests::kind(object);
            kinds.contains(&kind) || kind == ("", "ReplicationController")
        };
        let workloads = self.all.iter().filter(found);
        workloads
            .map(move |object| Workload { object, namespace: self.namespace_of(object) })
            .filter(|workload| is_dns_label(workload.namespace) && is_dns_subdomain(workload.name()))
    }

    /// The value at a key of a Secret or ConfigMap: `Err` when it certainly is not there.
    fn keyed(self, kind: &'static str, at: SecretRef, key: &str) -> Result<Held, Absent> {
        let (found, value) = match kind {
            "configmap" => {
                let object = self.of("", "ConfigMap").find(|object| self.place(object) == at);
                let value = object.and_then(|object| object["data"][key].as_str()).map(Token::new);
                (object.is_some(), value)
            }
            _ => {
                let document = self.secret(&at);
                let bytes = document.as_ref().and_then(|document| document.data.get(key));
                let value = bytes.map(|bytes| Token::new(String::from_utf8_lossy(bytes).into_owned()));
                (document.is_some(), value)
            }
        };
        match (found, &value) {
            (true, None) => Err(Absent::Key),
            (false, _) if self.complete => Err(Absent::Object),
            _ => Ok(Held { value, whence: Whence::Key { kind, at, key: key.to_owned() } }),
        }
    }
}

/// What of a reference is not there.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Absent {
    Object,
    Key,
}

// === impl Workload ===

impl<'a> Workload<'a> {
    /// `Deployment kube-system/registry-creds`.
    pub(super) fn title(self) -> String {
        format!("{} {}/{}", text(self.object, "/kind"), self.namespace, self.name())
    }

    /// `deployment/registry-creds`, as `kubectl` has it.
    pub(super) fn argument(self) -> String {
        format!("{}/{}", text(self.object, "/kind").to_ascii_lowercase(), self.name())
    }

    /// Its name.
    pub(super) fn name(self) -> &'a str {
        text(self.object, "/metadata/name")
    }

    /// Where it is.
    pub(super) fn namespace(self) -> &'a str {
        self.namespace
    }

    /// A label of it.
    pub(super) fn label(self, key: &str) -> &'a str {
        self.object["metadata"]["labels"][key].as_str().unwrap_or_default()
    }

    /// How many pods it wants.
    pub(super) fn replicas(self) -> u64 {
        self.object["spec"]["replicas"].as_u64().unwrap_or(1)
    }

    /// A text in the specification of its pods.
    pub(super) fn pod_text(self, key: &str) -> &'a str {
        self.pod()[key].as_str().unwrap_or_default()
    }

    fn pod(self) -> &'a Value {
        &self.object["spec"]["template"]["spec"]
    }

    /// Its containers.
    pub(super) fn containers(self) -> impl Iterator<Item = Container<'a>> {
        let containers = self.pod()["containers"].as_array().into_iter().flatten();
        containers.map(move |spec| Container { workload: self, spec })
    }
}

// === impl Container ===

impl<'a> Container<'a> {
    /// What runs it.
    pub(super) fn workload(self) -> Workload<'a> {
        self.workload
    }

    /// The image without tag and digest: `ghcr.io/alexellis/registry-creds`.
    pub(super) fn repository(self) -> &'a str {
        let image = text(self.spec, "/image");
        let image = image.split_once('@').map_or(image, |(image, _)| image);
        // A colon before the last slash is a port.
        match image.rsplit_once(':') {
            Some((repository, tag)) if !tag.contains('/') => repository,
            _ => image,
        }
    }

    /// The last part of the image's name: `registry-creds`.
    pub(super) fn image_name(self) -> &'a str {
        self.repository().rsplit('/').next().unwrap_or_default()
    }

    /// The whole image.
    pub(super) fn image(self) -> &'a str {
        text(self.spec, "/image")
    }

    /// The program, when the manifest names one.
    pub(super) fn program(self) -> &'a str {
        self.spec["command"][0].as_str().unwrap_or_default()
    }

    /// Whether the manifest sets a variable of this name, to whatever.
    pub(super) fn mentions(self, name: &str) -> bool {
        self.entries("env").any(|entry| entry["name"] == name)
    }

    /// All words behind the program's name.
    pub(super) fn words(self) -> Vec<&'a str> {
        let words = |key: &str| {
            self.spec[key].as_array().map(Vec::as_slice).unwrap_or_default().iter().filter_map(Value::as_str)
        };
        words("command").skip(1).chain(words("args")).collect()
    }

    fn entries(self, key: &str) -> impl Iterator<Item = &'a Value> {
        self.spec[key].as_array().map(Vec::as_slice).unwrap_or_default().iter()
    }

    /// Everything it is told, by variables and by the flags among its words.
    pub(super) fn settings(self, objects: Objects<'a>) -> Settings {
        let mut settings = Settings::default();
        self.take_whole(objects, &mut settings);
        for entry in self.entries("env") {
            self.take(objects, entry, &mut settings);
        }
        let mut words = self.words().into_iter().peekable();
        while let Some(word) = words.next() {
            let Some(flag) = word.strip_prefix("--").or_else(|| word.strip_prefix('-')) else { continue };
            let (name, value) = match flag.split_once('=') {
                Some((name, value)) => (name, value),
                None if words.peek().is_some_and(|next| !next.starts_with('-')) => {
                    (flag, words.next().unwrap_or_default())
                }
                None => (flag, "true"),
            };
            let held = settings.expand(name, value);
            settings.flags.insert(name.to_owned(), held);
        }
        settings
    }

    /// `envFrom`: all keys of Secrets and ConfigMaps become variables.
    fn take_whole(self, objects: Objects<'a>, settings: &mut Settings) {
        for entry in self.entries("envFrom") {
            let prefix = entry["prefix"].as_str().unwrap_or_default();
            for (reference, kind) in [("secretRef", "secret"), ("configMapRef", "configmap")] {
                let Some(name) = entry[reference]["name"].as_str() else { continue };
                let at = SecretRef::new(self.workload.namespace, name);
                let keys: Option<Vec<String>> = match kind {
                    "secret" => objects.secret(&at).map(|document| document.data.keys().cloned().collect()),
                    _ => {
                        let mut maps = objects.of("", "ConfigMap");
                        let map = maps.find(|object| objects.place(object) == at);
                        map.map(|map| {
                            map["data"]
                                .as_object()
                                .into_iter()
                                .flat_map(|data| data.keys().cloned())
                                .collect()
                        })
                    }
                };
                let Some(keys) = keys else {
                    settings.problems.push(format!(
                        "{} takes all its variables from the {kind} {at}, which could not be read: what is \
                         set there is not considered",
                        self.workload.title()
                    ));
                    continue;
                };
                for key in keys {
                    if let Ok(held) = objects.keyed(kind, at.clone(), &key) {
                        settings.variables.insert(format!("{prefix}{key}"), held);
                    }
                }
            }
        }
    }

    /// One variable. The last of a name wins, as in the kubelet.
    fn take(self, objects: Objects<'a>, entry: &'a Value, settings: &mut Settings) {
        let name = text(entry, "/name").to_owned();
        let workload = self.workload;
        let references = [("secretKeyRef", "secret"), ("configMapKeyRef", "configmap")];
        let reference = references.into_iter().find_map(|(field, kind)| {
            let reference = &entry["valueFrom"][field];
            reference.is_object().then_some((reference, kind))
        });
        let Some((reference, kind)) = reference else {
            // A variable without a value is the empty one; those of fields of the pod are no settings.
            if entry["valueFrom"].is_null() {
                let whence = Whence::Variable {
                    workload: workload.argument(),
                    namespace: workload.namespace.to_owned(),
                    container: text(self.spec, "/name").to_owned(),
                    name: name.clone(),
                };
                let value = Some(Token::new(text(entry, "/value")));
                settings.variables.insert(name, Held { value, whence });
            }
            return;
        };
        let (object, key) = (text(reference, "/name"), text(reference, "/key"));
        let at = SecretRef::new(workload.namespace, object);
        match objects.keyed(kind, at.clone(), key) {
            Ok(held) => {
                settings.variables.insert(name, held);
            }
            Err(absent) => {
                settings.variables.remove(&name);
                if reference["optional"] != true {
                    let lacks = match absent {
                        Absent::Object => format!("the {kind} {at} does not exist"),
                        Absent::Key => format!("the {kind} {at} has no key {key}"),
                    };
                    settings.problems.push(format!(
                        "{} cannot start as it is: {name} is required, and {lacks}; it is taken as not set",
                        workload.title()
                    ));
                }
            }
        }
    }

    /// The Secrets and ConfigMaps that its variables and files are from.
    pub(super) fn references(self) -> impl Iterator<Item = (&'static str, SecretRef)> {
        let variables = self.entries("env").map(|entry| &entry["valueFrom"]);
        let from = variables.chain(self.entries("envFrom")).flat_map(|entry| {
            let kinds = [
                ("secretKeyRef", "secret"),
                ("secretRef", "secret"),
                ("configMapKeyRef", "configmap"),
                ("configMapRef", "configmap"),
            ];
            kinds.into_iter().filter_map(|(field, kind)| Some((kind, entry[field]["name"].as_str()?)))
        });
        let volumes = self.workload.pod()["volumes"].as_array().into_iter().flatten();
        let files = volumes.filter_map(|volume| Some(("secret", volume["secret"]["secretName"].as_str()?)));
        let named = from.chain(files).filter(|(_, name)| is_dns_subdomain(name));
        named.map(move |(kind, name)| (kind, SecretRef::new(self.workload.namespace, name)))
    }

    /// The file that the container sees at this path, if it is from a Secret.
    pub(super) fn file(self, objects: Objects<'a>, folder: &str, file: &str) -> Option<Held> {
        let mount = self.entries("volumeMounts").find(|mount| {
            let path = text(mount, "/mountPath").trim_end_matches('/');
            path == folder || path.ends_with(&format!("/{folder}"))
        })?;
        let volumes = self.workload.pod()["volumes"].as_array()?;
        let volume = volumes.iter().find(|volume| volume["name"] == mount["name"])?;
        let secret = volume["secret"]["secretName"].as_str()?;
        let at = SecretRef::new(self.workload.namespace, secret);
        let items = volume["secret"]["items"].as_array();
        let key = match items {
            Some(items) => text(items.iter().find(|item| item["path"] == file)?, "/key"),
            None => file,
        };
        objects.keyed("secret", at, key).ok()
    }
}

// === impl Settings ===

impl Settings {
    /// A variable.
    pub(super) fn variable(&self, name: &str) -> Option<&Held> {
        self.variables.get(name)
    }

    /// A flag, given as `--name=value`, `--name value` or `--name`.
    pub(super) fn flag(&self, name: &str) -> Option<&Held> {
        self.flags.get(name)
    }

    /// The value of a flag. Kubernetes puts variables in place of `$(NAME)`; a value that is nothing but one is kept
    /// where the variable is.
    fn expand(&self, flag: &str, value: &str) -> Held {
        let whole = value.strip_prefix("$(").and_then(|rest| rest.strip_suffix(')'));
        match whole.and_then(|name| self.variables.get(name)) {
            Some(held) => held.clone(),
            None => Held { value: Some(Token::new(value)), whence: Whence::Argument(flag.to_owned()) },
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn deployment(container: Value) -> Value {
        json!({
            "apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "creds"},
            "spec": {"template": {"spec": {"containers": [container], "volumes": [
                {"name": "whole", "secret": {"secretName": "files"}},
                {"name": "picked", "secret": {"secretName": "files", "items": [{"key": "b", "path": "a"}]}},
                {"name": "none", "emptyDir": {}},
            ]}}},
        })
    }

    fn secret(name: &str, data: Value) -> Value {
        json!({
            "apiVersion": "v1", "kind": "Secret", "metadata": {"name": name, "namespace": "tools"},
            "stringData": data,
        })
    }

    /// What a container with these objects around it is told.
    fn told(container: Value, others: &[Value], complete: bool) -> Settings {
        let all = [&[deployment(container)], others].concat();
        let objects = Objects { all: &all, namespace: "tools", complete };
        let container = objects.workloads().flat_map(Workload::containers).next().unwrap();
        container.settings(objects)
    }

    fn plain(held: Option<&Held>) -> Option<&str> {
        held.and_then(Held::plain)
    }

    #[test]
    fn a_flag_may_be_written_in_any_of_the_usual_ways() {
        let settings = told(
            json!({
                "command": ["/creds", "--a=1", "--b", "2"], "args": ["-c=3", "--d", "--e", "-f"],
                "env": [{"name": "X", "value": "x"}],
            }),
            &[],
            true,
        );
        for (flag, value) in [("a", "1"), ("b", "2"), ("c", "3"), ("d", "true"), ("e", "true"), ("f", "true")]
        {
            assert_eq!(plain(settings.flag(flag)), Some(value), "{flag}");
        }
        assert_eq!(plain(settings.flag("g")), None);
        let settings =
            told(json!({"args": ["--a=$(X)", "--b=$(Y)"], "env": [{"name": "X", "value": "x"}]}), &[], true);
        assert_eq!((plain(settings.flag("a")), plain(settings.flag("b"))), (Some("x"), Some("$(Y)")));
        assert!(matches!(settings.flag("a").unwrap().whence, Whence::Variable { .. }), "where it is kept");
    }

    #[test]
    fn the_last_variable_of_a_name_wins_and_its_own_before_those_of_a_whole_secret() {
        let reference =
            |key: &str| json!({"name": "A", "valueFrom": {"secretKeyRef": {"name": "one", "key": key}}});
        let one = secret("one", json!({"A": "from all", "B": "also", "k": "first", "l": "last"}));
        let settings = told(
            json!({"env": [reference("k"), reference("l")], "envFrom": [{"prefix": "P_", "secretRef": {"name": "one"}},
                {"secretRef": {"name": "one"}}]}),
            &[one],
            true,
        );
        assert_eq!(plain(settings.variable("A")), Some("last"));
        assert_eq!(plain(settings.variable("B")), Some("also"));
        assert_eq!(plain(settings.variable("P_k")), Some("first"));
        assert_eq!(settings.problems, [""; 0]);
    }

    #[test]
    fn what_files_do_not_hold_may_exist_and_what_a_cluster_does_not_hold_does_not() {
        let container = |optional: bool| {
            let reference = json!({"name": "gone", "key": "k", "optional": optional});
            json!({"env": [{"name": "A", "valueFrom": {"secretKeyRef": reference}}]})
        };
        let in_files = told(container(false), &[], false);
        let unread = in_files.variable("A").unwrap();
        assert!(!unread.is_known() && unread.is_set() && in_files.problems.is_empty());
        let in_cluster = told(container(false), &[], true);
        assert!(in_cluster.variable("A").is_none());
        assert!(in_cluster.problems[0].contains("A is required, and the secret tools/gone does not exist"));
        let optional = told(container(true), &[], true);
        assert!(optional.variable("A").is_none() && optional.problems.is_empty());
    }

    #[test]
    fn a_file_is_found_through_its_mount_its_volume_and_its_items() {
        let files = secret("files", json!({"a": "whole", "b": "picked"}));
        let file = |volume: &str, path: &str| {
            let mounts = json!([{"name": volume, "mountPath": path}]);
            let all = [deployment(json!({ "volumeMounts": mounts })), files.clone()];
            let objects = Objects { all: &all, namespace: "tools", complete: true };
            let container = objects.workloads().flat_map(Workload::containers).next().unwrap();
            let held = container.file(objects, ".config/gcloud", "a");
            held.and_then(|held| held.plain().map(str::to_owned))
        };
        assert_eq!(file("whole", "/home/x/.config/gcloud/").as_deref(), Some("whole"));
        assert_eq!(file("picked", "/.config/gcloud").as_deref(), Some("picked"));
        assert_eq!(file("none", "/.config/gcloud"), None);
        assert_eq!(file("whole", "/elsewhere/my.config/gcloud"), None);
        assert_eq!(file("missing", "/.config/gcloud"), None);
    }

    #[test]
    fn an_image_is_known_without_its_tag_its_digest_and_its_registry() {
        for (image, repository) in [
            ("upmcenterprises/registry-creds:1.10", "upmcenterprises/registry-creds"),
            ("reg.example:5000/a/registry-creds", "reg.example:5000/a/registry-creds"),
            ("reg.example:5000/registry-creds:1@sha256:0", "reg.example:5000/registry-creds"),
            ("registry-creds", "registry-creds"),
        ] {
            let all = [deployment(json!({ "image": image }))];
            let objects = Objects { all: &all, namespace: "tools", complete: true };
            let container = objects.workloads().flat_map(Workload::containers).next().unwrap();
            assert_eq!((container.repository(), container.image_name()), (repository, "registry-creds"));
        }
    }
}
