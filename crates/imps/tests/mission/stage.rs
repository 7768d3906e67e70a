//! The stage: a control plane, the operator on it with its own account and rights, and the hands of a user.
//!
//! Nothing here knows what is promised; that is in the scenes.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::Mutex;
use std::time::Duration;

use imps_api::keys;
use imps_cluster::rules::{Needs, roles};
use imps_core::dockerconfig::Format;
use imps_core::name::{SecretRef, is_dns_subdomain};
use imps_core::selector::NamePattern;
use imps_testbed::binaries::Binaries;
use imps_testbed::{ControlPlane, Operator, Options, Plane, Run, fresh_name, manifest, skip_or_fail};
use k8s_openapi::ByteString;
use k8s_openapi::api::authorization::v1::SubjectAccessReview;
use k8s_openapi::api::core::v1::{Namespace, Pod, Secret};
use kube::api::{
    Api, ApiResource, DeleteParams, DynamicObject, GroupVersionKind, ListParams, Patch, PatchParams,
    PostParams,
};
use kube::{Client, ResourceExt};
use serde_json::{Value, json};
use tokio::sync::{MutexGuard, OnceCell};

use super::read::{docker_config, is_true, kubelet_uses, texts};
use super::wait::{eventually, say};

/// A label on all that a scene makes.
pub(crate) const SCENE: &str = "scene";

/// A user name and a password.
pub(crate) type Login<'a> = (&'a str, &'a str);

/// A registry with a login for it.
pub(crate) type Entry<'a> = (&'a str, Login<'a>);

/// The operator that shared scenes are played with.
static SHARED: OnceCell<Troupe> = OnceCell::const_new();
/// The control plane for scenes that want one to themselves, one at a time.
static SECOND: OnceCell<tokio::sync::Mutex<ControlPlane>> = OnceCell::const_new();

/// The operator as its account, on its plane.
struct Troupe {
    plane: Plane,
    operator: Operator,
    account: Account,
}

/// A ServiceAccount.
#[derive(Clone)]
struct Account {
    namespace: String,
    name: String,
}

/// A test's part of the stage. Its `ImagePullSecret`s go when it does.
pub(crate) struct Scene {
    /// The administrator.
    pub(crate) client: Client,
    /// Part of each name in this scene.
    pub(crate) id: String,
    /// The namespace of the sources.
    pub(crate) home: String,
    /// The name of the target Secret, unless a grant says otherwise.
    pub(crate) secret: String,
    plane: Plane,
    account: Account,
    grants: Mutex<Vec<String>>,
}

/// A control plane and an operator that no other scene uses now.
pub(crate) struct Solo {
    /// What the user sees.
    pub(crate) scene: Scene,
    /// The operator.
    pub(crate) operator: Operator,
    /// The control plane.
    pub(crate) control: MutexGuard<'static, ControlPlane>,
}

/// The program under test.
pub(crate) fn binary() -> &'static Path {
    Path::new(env!("CARGO_BIN_EXE_imps"))
}

/// Whether there is a control plane to play on; if not, the skip is recorded.
pub(crate) fn can_play() -> bool {
    match Binaries::find() {
        Ok(_) => true,
        Err(error) => {
            skip_or_fail(format!("{error:#}"));
            false
        }
    }
}

/// A scene on a control plane that no other uses now, before its operator.
pub(crate) struct Empty {
    /// What the user sees.
    pub(crate) scene: Scene,
    /// The control plane.
    pub(crate) control: MutexGuard<'static, ControlPlane>,
}

// === impl Scene ===

impl Scene {
    /// A scene on the shared control plane, or none when this machine has none.
    pub(crate) async fn open() -> Option<Self> {
        if !can_play() {
            return None;
        }
        let troupe = SHARED.get_or_try_init(|| async {
            let plane = Plane::of_this_run().await?;
            let client = plane.admin_client().await?;
            install(&client).await;
            sweep(&client).await;
            let account = Account { namespace: fresh_name("imps-system"), name: "imps".to_owned() };
            let troupe = Troupe { operator: account.start(&plane, &[]).await, plane, account };
            anyhow::Ok(troupe)
        });
        let troupe = troupe.await.unwrap();
        Some(Self::on(&troupe.plane, &troupe.account).await)
    }

    async fn on(plane: &Plane, account: &Account) -> Self {
        let id = fresh_name("s");
        let scene = Self {
            client: plane.admin_client().await.unwrap(),
            home: format!("home-{id}"),
            secret: format!("pull-{id}"),
            plane: plane.clone(),
            account: account.clone(),
            grants: Mutex::default(),
            id,
        };
        scene.namespace_named(&scene.home, json!({})).await;
        scene
    }

    /// A name of this scene.
    pub(crate) fn name(&self, word: &str) -> String {
        format!("{word}-{}", self.id)
    }

    /// Namespace and name of the operator's ServiceAccount.
    pub(crate) fn account(&self) -> (&str, &str) {
        (&self.account.namespace, &self.account.name)
    }

    /// The control plane.
    pub(crate) fn plane(&self) -> &Plane {
        &self.plane
    }

    /// A client that may do what the operator may do.
    pub(crate) async fn operator_client(&self) -> Client {
        let (namespace, name) = self.account();
        self.client_of(namespace, name).await
    }

    /// A client that may do what this ServiceAccount may do.
    pub(crate) async fn client_of(&self, namespace: &str, account: &str) -> Client {
        let token = self.plane.service_account_token(namespace, account).await.unwrap();
        self.plane.client_with_token(&token).await.unwrap()
    }

    /// Makes the operator's ServiceAccount, before it has an operator.
    pub(crate) async fn make_account(&self) {
        let (namespace, name) = self.account();
        let account = json!({
            "apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": name, "namespace": namespace},
        });
        let namespace = json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": namespace}});
        manifest::apply(&self.client, &[namespace, account]).await.unwrap();
    }

    /// The user name of the operator.
    pub(crate) fn user(&self) -> String {
        format!("system:serviceaccount:{}:{}", self.account.namespace, self.account.name)
    }

    // === what the user makes ===

    /// Makes a namespace; `metadata` may have labels and annotations.
    pub(crate) async fn namespace(&self, word: &str, metadata: Value) -> String {
        let name = self.name(word);
        self.namespace_named(&name, metadata).await;
        name
    }

    async fn namespace_named(&self, name: &str, mut metadata: Value) {
        metadata["name"] = json!(name);
        metadata["labels"][SCENE] = json!(self.id);
        let namespace = serde_json::from_value(json!({ "metadata": metadata })).unwrap();
        self.namespaces().create(&PostParams::default(), &namespace).await.unwrap();
    }

    /// Changes labels or annotations of a namespace, by a merge patch of its metadata.
    pub(crate) async fn tag_namespace(&self, name: &str, metadata: Value) {
        let patch = Patch::Merge(json!({ "metadata": metadata }));
        self.namespaces().patch(name, &PatchParams::default(), &patch).await.unwrap();
    }

    /// Makes a pod that never runs; there is no kubelet.
    pub(crate) async fn pod(&self, namespace: &str, word: &str, mut metadata: Value) -> String {
        let name = self.name(word);
        metadata["name"] = json!(name);
        let spec = json!({
            "automountServiceAccountToken": false,
            "containers": [{"name": "c", "image": "reg.example/app"}],
        });
        let pod: Pod = serde_json::from_value(json!({"metadata": metadata, "spec": spec})).unwrap();
        let pods = self.pods(namespace);
        // The default ServiceAccount comes a moment after its namespace.
        eventually("the pod is admitted", async || match pods.create(&PostParams::default(), &pod).await {
            Err(kube::Error::Api(status)) if status.code == 403 => Err(status.message.clone()),
            answer => {
                answer.unwrap();
                Ok(())
            }
        })
        .await;
        name
    }

    /// Writes a Secret of type `kubernetes.io/dockerconfigjson` with these logins among the sources.
    pub(crate) async fn source(&self, name: &str, entries: &[Entry<'_>]) {
        self.source_of(name, Format::DockerConfigJson, docker_config(entries).as_bytes()).await;
    }

    /// Writes a source of a type that is one, with any content.
    pub(crate) async fn source_of(&self, name: &str, format: Format, content: &[u8]) {
        self.put_secret(&self.home, name, format.secret_type(), &[(format.data_key(), content)], json!({}))
            .await;
    }

    /// Writes any Secret, as somebody who is not imps.
    pub(crate) async fn put_secret(
        &self,
        namespace: &str,
        name: &str,
        secret_type: &str,
        data: &[(&str, &[u8])],
        mut metadata: Value,
    ) {
        metadata["name"] = json!(name);
        let data: BTreeMap<&str, ByteString> =
            data.iter().map(|(key, bytes)| (*key, ByteString(bytes.to_vec()))).collect();
        let secret = json!({
            "apiVersion": "v1", "kind": "Secret", "metadata": metadata, "type": secret_type, "data": data,
        });
        let params = PatchParams::apply("somebody").force();
        self.secrets(namespace).patch(name, &params, &Patch::Apply(secret)).await.unwrap();
    }

    /// Makes an `ImagePullSecret` that writes [`Scene::secret`], after the operator was given the rights it needs.
    pub(crate) async fn grant(&self, word: &str, sources: &[&str], target: Value) -> String {
        let spec = self.spec(sources, target);
        self.permit(&needs(&spec)).await;
        self.grant_as_is(word, spec).await
    }

    /// Makes an `ImagePullSecret` without giving any right.
    pub(crate) async fn grant_as_is(&self, word: &str, spec: Value) -> String {
        let name = self.name(word);
        let object: DynamicObject = serde_json::from_value(json!({
            "apiVersion": format!("{}/{}", keys::GROUP, keys::VERSION), "kind": keys::KIND,
            "metadata": {"name": name, "labels": {SCENE: self.id}},
            "spec": spec,
        }))
        .unwrap();
        self.grants.lock().unwrap().push(name.clone());
        self.grants().create(&PostParams::default(), &object).await.unwrap();
        name
    }

    /// A spec with sources from [`Scene::home`]; `target` without a secret gets that of the scene.
    pub(crate) fn spec(&self, sources: &[&str], mut target: Value) -> Value {
        if target["secret"]["name"].is_null() {
            target["secret"]["name"] = json!(self.secret);
        }
        let credentials: Vec<Value> =
            sources.iter().map(|name| json!({"name": name, "namespace": self.home})).collect();
        json!({"registry": {"credentials": credentials}, "target": target})
    }

    /// Changes the spec of an `ImagePullSecret`, by a merge patch.
    pub(crate) async fn edit_grant(&self, name: &str, spec: Value) {
        self.permit(&needs(&spec)).await;
        let patch = Patch::Merge(json!({ "spec": spec }));
        self.grants().patch(name, &PatchParams::default(), &patch).await.unwrap();
    }

    /// Deletes an `ImagePullSecret`.
    pub(crate) async fn delete_grant(&self, name: &str) {
        self.grants().delete(name, &DeleteParams::default()).await.unwrap();
    }

    /// An `ImagePullSecret` as it is now.
    pub(crate) async fn read_grant(&self, name: &str) -> DynamicObject {
        self.grants().get(name).await.unwrap()
    }

    /// Changes a Secret as somebody who is not imps, by a merge patch.
    pub(crate) async fn edit_secret(&self, namespace: &str, name: &str, patch: Value) -> Secret {
        let params = PatchParams { field_manager: Some("kubectl-edit".to_owned()), ..PatchParams::default() };
        self.secrets(namespace).patch(name, &params, &Patch::Merge(patch)).await.unwrap()
    }

    /// Deletes a Secret.
    pub(crate) async fn delete_secret(&self, namespace: &str, name: &str) {
        self.secrets(namespace).delete(name, &DeleteParams::default()).await.unwrap();
    }

    /// Gives the operator the rights that `imps rbac` would print, and waits until the API server knows.
    pub(crate) async fn permit(&self, needs: &Needs) {
        self.account.permit(&self.client, needs).await;
    }

    /// Gives what these documents say, and waits until the API server knows. Each rule is asked for on its own.
    pub(crate) async fn give(&self, documents: &[Value]) {
        manifest::apply(&self.client, documents).await.unwrap();
        for role in documents.iter().filter(|document| document["rules"].is_array()) {
            for rule in role["rules"].as_array().unwrap() {
                let text = |key: &str| rule[key][0].as_str().unwrap_or_default();
                let (resource, part) = text("resources").split_once('/').unwrap_or((text("resources"), ""));
                let right = json!({
                    "group": text("apiGroups"), "resource": resource, "subresource": part, "verb": text("verbs"),
                    "name": rule["resourceNames"][0], "namespace": role["metadata"]["namespace"],
                });
                self.account.wait_for_right(&self.client, right).await;
            }
        }
    }

    /// As [`Scene::permit`], for ServiceAccounts of these names and patterns.
    pub(crate) async fn permit_accounts(&self, names: &[&str]) {
        let accounts = names.iter().map(|name| NamePattern::new(*name)).collect();
        self.permit(&Needs { accounts, ..Needs::default() }).await;
    }

    // === what the user sees ===

    /// All `ImagePullSecret`s.
    pub(crate) fn grants(&self) -> Api<DynamicObject> {
        Api::all_with(self.client.clone(), &grant_resource())
    }

    /// The Secrets of a namespace.
    pub(crate) fn secrets(&self, namespace: &str) -> Api<Secret> {
        Api::namespaced(self.client.clone(), namespace)
    }

    /// The pods of a namespace.
    pub(crate) fn pods(&self, namespace: &str) -> Api<Pod> {
        Api::namespaced(self.client.clone(), namespace)
    }

    /// All namespaces.
    pub(crate) fn namespaces(&self) -> Api<Namespace> {
        Api::all(self.client.clone())
    }

    /// The target Secret in a namespace.
    pub(crate) async fn target(&self, namespace: &str) -> Option<Secret> {
        self.secrets(namespace).get_opt(&self.secret).await.unwrap()
    }

    /// The namespaces that have a Secret of this name.
    pub(crate) async fn holders(&self, secret: &str) -> BTreeSet<String> {
        let params = ListParams::default().fields(&format!("metadata.name={secret}"));
        let secrets = Api::<Secret>::all(self.client.clone()).list_metadata(&params).await.unwrap();
        secrets.items.into_iter().filter_map(|secret| secret.metadata.namespace).collect()
    }

    /// Waits until the kubelet would use this login for the image, with the target Secret of the namespace alone.
    pub(crate) async fn has_login(&self, namespace: &str, image: &str, login: Login<'_>) -> Secret {
        eventually(&format!("{namespace} has the login {} for {image}", login.0), async || {
            let secret = self.target(namespace).await.ok_or("there is no Secret")?;
            match kubelet_uses(&secret, image)?.first() {
                Some((user, password)) if (user.as_str(), password.as_str()) == login => Ok(secret),
                other => Err(format!("the kubelet would use {other:?}")),
            }
        })
        .await
    }

    /// Waits until there is no target Secret in the namespace.
    pub(crate) async fn has_no_target(&self, namespace: &str) {
        eventually(&format!("{namespace} has no Secret {}", self.secret), async || {
            match self.target(namespace).await {
                None => Ok(()),
                Some(secret) => {
                    Err(format!("it is there, version {}", secret.resource_version().unwrap_or_default()))
                }
            }
        })
        .await;
    }

    /// What the shared operator has logged about this scene, one line each.
    pub(crate) fn log(&self) -> String {
        let log = SHARED.get().map(|troupe| troupe.operator.log()).unwrap_or_default();
        log.lines().filter(|line| line.contains(&self.id)).collect::<Vec<_>>().join("\n")
    }

    /// The `ImagePullSecret`s that the scene has made.
    pub(crate) fn own_grants(&self) -> Vec<String> {
        self.grants.lock().unwrap().clone()
    }

    /// What the shared operator shows at `/metrics`.
    pub(crate) async fn metrics(&self) -> String {
        SHARED.get().unwrap().operator.get("/metrics").await.unwrap().1
    }

    /// Waits until the status speaks of the present spec and passes the test; the status.
    pub(crate) async fn status(&self, grant: &str, what: &str, passes: impl Fn(&Value) -> bool) -> Value {
        eventually(&format!("the status of {grant} says: {what}"), async || {
            let object = self.grants().get(grant).await.map_err(|error| error.to_string())?;
            let status = object.data["status"].clone();
            let observed = status["observedGeneration"].as_i64() == object.metadata.generation;
            if observed && passes(&status) { Ok(status) } else { Err(format!("{status:#}")) }
        })
        .await
    }

    /// Waits until all is well, and says in which namespaces.
    pub(crate) async fn ready_in(&self, grant: &str, namespaces: &[&str]) -> Value {
        let wanted: BTreeSet<&str> = namespaces.iter().copied().collect();
        self.status(grant, &format!("ready in {wanted:?}"), |status| {
            let managed: BTreeSet<&str> = texts(&status["managedNamespaces"]).collect();
            is_true(status, "Ready") && managed == wanted
        })
        .await
    }

    /// The events about an `ImagePullSecret`: reason, note and how often.
    pub(crate) async fn events(&self, grant: &str) -> Vec<(String, String, i32)> {
        let api = Api::<k8s_openapi::api::events::v1::Event>::all(self.client.clone());
        let params = ListParams::default().fields(&format!("regarding.name={grant}"));
        let events = match api.list(&params).await {
            Ok(events) => events.items,
            Err(error) => panic!("cannot list events: {error}"),
        };
        let row = |event: k8s_openapi::api::events::v1::Event| {
            let count = event.series.map_or(1, |series| series.count);
            (event.reason.unwrap_or_default(), event.note.unwrap_or_default(), count)
        };
        events.into_iter().map(row).collect()
    }

    /// Waits for an event with this reason whose note has these words.
    pub(crate) async fn event(&self, grant: &str, reason: &str, words: &str) {
        eventually(&format!("an event {reason} about {grant} with {words:?}"), async || {
            let events = self.events(grant).await;
            let found = events.iter().any(|(found, note, _)| found == reason && note.contains(words));
            if found { Ok(()) } else { Err(format!("{events:#?}")) }
        })
        .await;
    }
}

impl Drop for Scene {
    /// The shared operator shall not carry the scenes that are over.
    fn drop(&mut self) {
        if std::thread::panicking() {
            say(&format!("what the shared operator says of this scene:\n{}", self.log()));
        }
        let (plane, grants) = (self.plane.clone(), std::mem::take(&mut *self.grants.lock().unwrap()));
        // A test's runtime cannot be blocked from within.
        let sweeping = std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            let sweep = async {
                let Ok(client) = plane.admin_client().await else { return };
                let api = Api::<DynamicObject>::all_with(client, &grant_resource());
                for name in grants {
                    // It may be gone already.
                    let _ = api.delete(&name, &DeleteParams::default()).await;
                }
            };
            let _ = runtime.block_on(async { tokio::time::timeout(Duration::from_secs(2), sweep).await });
        });
        let _ = sweeping.join();
    }
}

// === impl Solo ===

impl Solo {
    /// A scene with a control plane and an operator of its own, which gets these arguments.
    pub(crate) async fn open(arguments: &[&str]) -> Option<Self> {
        Self::open_in(arguments, &[]).await
    }

    /// As [`Solo::open`], with these variables in the environment of the operator.
    pub(crate) async fn open_in(arguments: &[&str], environment: &[(&str, &str)]) -> Option<Self> {
        let (control, account) = Self::plane().await?;
        let operator = account.start_in(control.plane(), arguments, environment).await;
        Some(Self::with(control, account, operator).await)
    }

    /// As [`Solo::open`], and the operator talks to another server, which stands in for the real one.
    pub(crate) async fn open_through(server: &Plane, control: MutexGuard<'static, ControlPlane>) -> Self {
        let account = Account::fresh();
        let operator = account.start(server, &[]).await;
        Self::with(control, account, operator).await
    }

    /// A scene on a control plane that does not stream lists: so the first watch is refused and lists come in pages,
    /// which older servers need. All else is the same. The operator begins when it has been given its rights.
    pub(crate) async fn empty_on_pages() -> Option<Empty> {
        /// A guard needs a mutex that outlives it; a control plane that is not dropped ends with this process.
        static THIRD: OnceCell<tokio::sync::Mutex<ControlPlane>> = OnceCell::const_new();
        if !can_play() {
            return None;
        }
        let control = THIRD.get_or_init(|| async {
            let flags = vec!["--feature-gates=WatchList=false".to_owned()];
            let options = Options { audit: true, apiserver_flags: flags, ..Options::api_server() };
            tokio::sync::Mutex::new(ControlPlane::start(options).await.unwrap())
        });
        let control = control.await.lock().await;
        clear(&control).await;
        let scene = Scene::on(control.plane(), &Account::fresh()).await;
        Some(Empty { scene, control })
    }

    /// As [`Solo::open`], on such a control plane.
    pub(crate) async fn open_on_pages() -> Option<Self> {
        let empty = Self::empty_on_pages().await?;
        empty.scene.permit(&Needs::default()).await;
        Some(Self::begin(empty, &[]).await)
    }

    /// As [`Solo::open`], on a control plane whose controllers run too: they make the ServiceAccount `default` of each
    /// namespace, and nobody else's namespaces are there to be selected.
    pub(crate) async fn open_with_controllers(arguments: &[&str]) -> Option<Self> {
        static FOURTH: OnceCell<tokio::sync::Mutex<ControlPlane>> = OnceCell::const_new();
        if !can_play() {
            return None;
        }
        let control = FOURTH.get_or_init(|| async {
            let options = Options::as_full_as_possible().unwrap();
            tokio::sync::Mutex::new(ControlPlane::start(options).await.unwrap())
        });
        let control = control.await.lock().await;
        clear(&control).await;
        let account = Account::fresh();
        let operator = account.start(control.plane(), arguments).await;
        Some(Self::with(control, account, operator).await)
    }

    /// Takes the second control plane, with nothing on it that an operator would look at.
    pub(crate) async fn control() -> Option<MutexGuard<'static, ControlPlane>> {
        Some(Self::plane().await?.0)
    }

    async fn plane() -> Option<(MutexGuard<'static, ControlPlane>, Account)> {
        if !can_play() {
            return None;
        }
        let control = SECOND.get_or_init(|| async {
            let options = Options { audit: true, ..Options::api_server() };
            tokio::sync::Mutex::new(ControlPlane::start(options).await.unwrap())
        });
        let control = control.await.lock().await;
        clear(&control).await;
        Some((control, Account::fresh()))
    }

    async fn with(control: MutexGuard<'static, ControlPlane>, account: Account, operator: Operator) -> Self {
        let scene = Scene::on(control.plane(), &account).await;
        Self { scene, operator, control }
    }

    /// An operator with no right but those that it was given.
    pub(crate) async fn begin(empty: Empty, arguments: &[&str]) -> Self {
        let Empty { scene, control } = empty;
        let operator = scene.account.launch(control.plane(), arguments, &[]).await;
        operator.ready().await.unwrap();
        Self { scene, operator, control }
    }

    /// Ends the operator as a crash would, and starts it again.
    pub(crate) async fn crash_and_restart(&mut self) {
        self.operator.kill();
        self.operator.begin().await.unwrap();
        self.operator.ready().await.unwrap();
    }

    /// Ends the operator, and starts another one under the same account with these arguments and variables.
    pub(crate) async fn replace(&mut self, arguments: &[&str], environment: &[(&str, &str)]) {
        self.operator.kill();
        let account = self.scene.account.clone();
        self.operator = account.start_in(self.control.plane(), arguments, environment).await;
    }

    /// Starts one more operator under the same account.
    pub(crate) async fn another(&self, arguments: &[&str], environment: &[(&str, &str)]) -> Operator {
        self.scene.account.start_in(self.control.plane(), arguments, environment).await
    }

    /// What the audit log says of the operator's requests, from the first on.
    pub(crate) fn requests(&self) -> Vec<Value> {
        self.requests_of(&self.scene.user())
    }

    /// As [`Solo::requests`], of another user.
    pub(crate) fn requests_of(&self, user: &str) -> Vec<Value> {
        let log = std::fs::read_to_string(self.control.audit_log().unwrap()).unwrap();
        // The server may be in the middle of the last line.
        let whole = log.rfind('\n').map_or("", |end| &log[..end]);
        let lines = whole.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
        lines.filter(|line| line["user"]["username"] == user).collect()
    }

    /// Those requests that are no reads, without a part of the API that nobody counts.
    pub(crate) fn writes(&self) -> Vec<String> {
        let requests = self.requests();
        let writes =
            requests.iter().filter(|r| !["get", "list", "watch"].contains(&r["verb"].as_str().unwrap()));
        writes
            .map(|r| format!("{} {}", r["verb"].as_str().unwrap(), r["requestURI"].as_str().unwrap()))
            .collect()
    }
}

impl Drop for Solo {
    fn drop(&mut self) {
        if std::thread::panicking() {
            say(&format!("what the operator says:\n{}", self.operator.log()));
        }
    }
}

// === impl Account ===

impl Account {
    fn fresh() -> Self {
        Self { namespace: fresh_name("imps-system"), name: "imps".to_owned() }
    }

    async fn start(&self, plane: &Plane, arguments: &[&str]) -> Operator {
        self.start_in(plane, arguments, &[]).await
    }

    /// One that elects does so in the namespace of its account.
    async fn start_in(&self, plane: &Plane, arguments: &[&str], environment: &[(&str, &str)]) -> Operator {
        let elects = arguments.contains(&"--enable-leader-election");
        let client = plane.admin_client().await.unwrap();
        let lease = elects.then(|| (self.namespace.as_str().into(), keys::LEASE.to_owned()));
        if elects {
            let namespace =
                json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": self.namespace}});
            manifest::apply(&client, &[namespace]).await.unwrap();
        }
        self.permit(&client, &Needs { lease, ..Needs::default() }).await;
        let place = ["--config-namespace", &self.namespace].into_iter().filter(|_| elects);
        let arguments: Vec<&str> = arguments.iter().copied().chain(place).collect();
        let operator = self.launch(plane, &arguments, environment).await;
        operator.ready().await.unwrap();
        operator
    }

    /// Starts the operator, and gives it no right.
    async fn launch(&self, plane: &Plane, arguments: &[&str], environment: &[(&str, &str)]) -> Operator {
        let run = Run {
            binary: binary(),
            subcommand: Some("controller"),
            namespace: &self.namespace,
            account: &self.name,
            arguments,
        };
        Operator::start_in(plane, &run, environment).await.unwrap()
    }

    async fn permit(&self, client: &Client, needs: &Needs) {
        let name = fresh_name("imps");
        let (cluster_role, source_roles) = roles(&name, needs);
        let mut documents =
            vec![document("ClusterRole", &cluster_role), self.binding("ClusterRole", &name, None)];
        for role in &source_roles {
            documents.push(document("Role", role));
            documents.push(self.binding("Role", &name, role.metadata.namespace.as_deref()));
        }
        manifest::apply(client, &documents).await.unwrap();
        let grants = json!({"group": keys::GROUP, "resource": keys::PLURAL, "verb": "watch"});
        self.wait_for_right(client, grants).await;
        for name in &needs.targets {
            self.wait_for_right(client, secret_watch(name.as_str(), None)).await;
        }
        for SecretRef { namespace, name } in &needs.sources {
            self.wait_for_right(client, secret_watch(name.as_str(), Some(namespace.as_str()))).await;
        }
        for pattern in &needs.accounts {
            let right = json!({"resource": "serviceaccounts", "verb": "patch", "name": pattern.exact()});
            self.wait_for_right(client, right).await;
        }
        if let Some((namespace, name)) = &needs.lease {
            let right = json!({
                "group": "coordination.k8s.io", "resource": "leases", "verb": "patch",
                "namespace": namespace.as_str(), "name": name,
            });
            self.wait_for_right(client, right).await;
        }
        for (namespace, account) in &needs.service_accounts {
            self.wait_for_right(client, token_of(namespace.as_str(), account)).await;
        }
    }

    fn binding(&self, kind: &str, name: &str, namespace: Option<&str>) -> Value {
        let mut metadata = json!({ "name": name });
        if let Some(namespace) = namespace {
            metadata["namespace"] = json!(namespace);
        }
        json!({
            "apiVersion": "rbac.authorization.k8s.io/v1", "kind": format!("{kind}Binding"), "metadata": metadata,
            "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": kind, "name": name},
            "subjects": [{"kind": "ServiceAccount", "namespace": self.namespace, "name": self.name}],
        })
    }

    async fn wait_for_right(&self, client: &Client, attributes: Value) {
        let user = format!("system:serviceaccount:{}:{}", self.namespace, self.name);
        wait_for_right(client, &user, attributes).await;
    }
}

/// The authoriser learns of a role by a watch of its own, a moment after the role was written.
pub(crate) async fn wait_for_right(client: &Client, user: &str, attributes: Value) {
    eventually(&format!("{user} has the right {attributes}"), async || {
        if may(client, user, &attributes).await? { Ok(()) } else { Err("denied".to_owned()) }
    })
    .await;
}

/// Whether a user has a right, as the API server says.
pub(crate) async fn may(client: &Client, user: &str, attributes: &Value) -> Result<bool, String> {
    let review: SubjectAccessReview =
        serde_json::from_value(json!({"spec": {"user": user, "resourceAttributes": attributes}})).unwrap();
    let api = Api::<SubjectAccessReview>::all(client.clone());
    let answer = api.create(&PostParams::default(), &review).await.map_err(|error| error.to_string())?;
    Ok(answer.status.is_some_and(|status| status.allowed))
}

// === setting ===

/// The custom resource.
pub(crate) fn grant_resource() -> ApiResource {
    let kind = GroupVersionKind::gvk(keys::GROUP, keys::VERSION, keys::KIND);
    ApiResource::from_gvk_with_plural(&kind, keys::PLURAL)
}

/// Brings a control plane back to what scenes begin with: a scene that failed may have left it dead or frozen, and with
/// objects that an operator would look at.
async fn clear(control: &ControlPlane) {
    // Whether it was frozen or not.
    let _ = control.resume_apiserver();
    control.start_apiserver().await.unwrap();
    let client = control.plane().admin_client().await.unwrap();
    install(&client).await;
    let api = Api::<DynamicObject>::all_with(client, &grant_resource());
    api.delete_collection(&DeleteParams::default(), &ListParams::default()).await.unwrap();
    // The operator that would let go of them is gone with its scene.
    for object in api.list(&ListParams::default()).await.unwrap() {
        let free = Patch::Merge(json!({"metadata": {"finalizers": null}}));
        // Some go in the meantime.
        let _ = api.patch(&object.name_any(), &PatchParams::default(), &free).await;
    }
}

/// Installs the definition of the custom resource and waits until it is served.
async fn install(client: &Client) {
    let mut crd = imps_api::crd::crd();
    crd["apiVersion"] = json!("apiextensions.k8s.io/v1");
    crd["kind"] = json!("CustomResourceDefinition");
    manifest::apply(client, &[crd]).await.unwrap();
    let api = Api::<DynamicObject>::all_with(client.clone(), &grant_resource());
    eventually("the custom resource is served", async || {
        api.list(&ListParams::default()).await.map(drop).map_err(|error| error.to_string())
    })
    .await;
}

/// Removes what earlier runs left on a control plane that outlives them: their operator is gone, and their rights are
/// not ours.
async fn sweep(client: &Client) {
    /// No run takes longer.
    const RUN_MAX_SECONDS: i64 = 15 * 60;
    let api = Api::<DynamicObject>::all_with(client.clone(), &grant_resource());
    let now = k8s_openapi::jiff::Timestamp::now().as_second();
    for object in api.list(&ListParams::default().labels(SCENE)).await.unwrap() {
        let age = object.creation_timestamp().map_or(0, |time| now - time.0.as_second());
        if age > RUN_MAX_SECONDS {
            // Another run may be doing the same.
            let _ = api.delete(&object.name_any(), &DeleteParams::default()).await;
        }
    }
}

fn needs(spec: &Value) -> Needs {
    let mut needs = Needs::default();
    if let Some(name) = spec["target"]["secret"]["name"].as_str().filter(|name| is_dns_subdomain(name)) {
        needs.targets.insert(name.into());
    }
    for source in spec["registry"]["credentials"].as_array().into_iter().flatten() {
        let text = |key: &str| source[key].as_str().unwrap_or_default();
        // No role can name what is no name.
        if is_dns_subdomain(text("name")) {
            needs.sources.insert(SecretRef::new(text("namespace"), text("name")));
        }
    }
    needs.accounts = texts(&spec["target"]["serviceAccounts"]["names"]).map(NamePattern::new).collect();
    needs.pods = spec["target"]["namespacesWithPods"].is_object();
    needs
}

fn secret_watch(name: &str, namespace: Option<&str>) -> Value {
    json!({"resource": "secrets", "verb": "watch", "name": name, "namespace": namespace})
}

/// The right to tokens of a ServiceAccount.
pub(crate) fn token_of(namespace: &str, account: &str) -> Value {
    json!({
        "resource": "serviceaccounts", "subresource": "token", "verb": "create",
        "namespace": namespace, "name": account,
    })
}

fn document(kind: &str, role: &impl serde::Serialize) -> Value {
    let mut document = serde_json::to_value(role).unwrap();
    document["apiVersion"] = json!("rbac.authorization.k8s.io/v1");
    document["kind"] = json!(kind);
    document
}
