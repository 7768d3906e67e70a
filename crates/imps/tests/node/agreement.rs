//! What a kubelet makes of pull secrets and what `imps` says of it, side by side: a pod for each of the
//! [`rows`](super::rows), the registry's word on who came, and the answers of `imps explain` and `imps diagnose`.

use std::collections::BTreeMap;
use std::fmt::Debug;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use futures::stream::{self, StreamExt};
use imps_core::diagnosis::{Code, PullError, classify};
use imps_core::kubelet::repository_of;
use imps_core::registry::safe_label;
use imps_testbed::binaries::NodeBinaries;
use imps_testbed::node::pod::{self, State};
use imps_testbed::registry::{Clerk, Settings};
use imps_testbed::{ControlPlane, Login, Node, Options, Registry, manifest};
use k8s_openapi::api::core::v1::Pod;
use kube::Client;
use kube::api::Api;
use serde_json::{Value, json};

use super::rows::{ANN, BOB, COMPANY, List, Outcome, Row, rows};
use super::stage::{ask, on_a_node, say};

/// The kubelet waits 10 to 15 seconds before it tries again; a busy machine gets more.
const WITHIN: Duration = Duration::from_secs(90);
const LOOK_EVERY: Duration = Duration::from_millis(200);
/// How many things are done at once.
const HANDS: usize = 6;

/// As whom the pods run.
const ACCOUNT: &str = "runner";
/// Who pushes the images.
const PUSHER: Login<'static> = Login { user: "pusher", password: "made-up" };

#[tokio::test]
async fn the_kubelet_tries_what_imps_explains_and_fails_where_imps_says_why() {
    on_a_node(play()).await;
}

async fn play() {
    let begun = Instant::now();
    let scene = Scene::open().await;
    say(&format!("all is up after {:.1?}", begun.elapsed()));
    let rows = &scene.rows;
    let made = stream::iter(rows).map(|row| scene.make(row)).buffer_unordered(HANDS);
    made.collect::<()>().await;
    say(&format!("{} pods are made after {:.1?}", rows.len(), begun.elapsed()));
    let patience = Instant::now() + WITHIN;
    let checked = stream::iter(rows).map(|row| scene.check(row, patience));
    let found: Vec<String> = checked.buffer_unordered(HANDS).collect::<Vec<_>>().await.concat();
    say(&format!("all is settled after {:.1?}", begun.elapsed()));
    assert!(rows.len() >= 25 && found.is_empty(), "\n{}", found.join("\n"));
}

struct Scene {
    client: Client,
    /// With which `imps` is asked.
    kubeconfig: PathBuf,
    rows: Vec<Row>,
    /// By the hosts of images.
    registries: BTreeMap<String, Registry>,
    /// Who is asked at one of the registries.
    tokens: String,
    clerk: Clerk,
    // Dropped in this order.
    _node: Node,
    _control: ControlPlane,
}

impl Scene {
    async fn open() -> Self {
        let at_port = Registry::start(&[PUSHER, ANN]).await.unwrap();
        // A token service has to be told of the repositories, whose names do not depend on where it is.
        let names = rows("at-port.example:1", "tokens.example:1");
        let places = names.iter().map(Row::place).filter(|(host, _)| host.starts_with("tokens"));
        let theirs: Vec<String> = places.map(|(_, repository)| repository).collect();
        let mut users: Vec<(Login<'_>, &str)> = Vec::new();
        for repository in &theirs {
            users.extend([(PUSHER, repository.as_str()), (ANN, repository.as_str())]);
        }
        users.push((BOB, "another/app"));
        let clerk = Clerk::start(&users).await.unwrap();
        let with_tokens = Settings { tokens: Some(clerk.service()), ..Settings::default() };
        let with_tokens = Registry::start_with(&with_tokens).await.unwrap();
        let rows = rows(at_port.address(), with_tokens.address());
        let tokens = with_tokens.address().to_owned();
        let mut registries = BTreeMap::new();
        for registry in [at_port, with_tokens] {
            registries.insert(registry.address().to_owned(), registry);
        }
        // By the second name clients reach what is written as the first.
        for (name, host) in [(COMPANY, COMPANY), ("docker.io", "registry-1.docker.io")] {
            let settings = Settings { users: &[PUSHER, ANN], host: Some(host), ..Settings::default() };
            registries.insert(name.to_owned(), Registry::start_with(&settings).await.unwrap());
        }
        let control = ControlPlane::start(Options::full()).await.unwrap();
        let client = control.admin_client().await.unwrap();
        let named: Vec<&Registry> = [COMPANY, "docker.io"].map(|host| &registries[host]).to_vec();
        let node = Node::start_for(&control, &named).await.unwrap();
        let kubeconfig = control.admin_kubeconfig().unwrap();
        Self { client, kubeconfig, rows, registries, tokens, clerk, _node: node, _control: control }
    }

    /// Pushes the image of a row and makes its namespace, and in there the pod with all that it is given.
    async fn make(&self, row: &Row) {
        let (host, repository) = row.place();
        let program = NodeBinaries::find().unwrap().idle;
        self.registries[&host].push_program(&format!("{repository}:1"), &program, PUSHER).await.unwrap();
        let (account, own) = row.lists();
        let account = row.account(account);
        let mut pod = pod::manifest(row.name, row.name, &row.image, None);
        pod["spec"]["serviceAccountName"] = ACCOUNT.into();
        pod["spec"]["imagePullSecrets"] = own.into();
        let mut objects =
            vec![json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": row.name}})];
        objects.extend((0..row.secrets.len()).filter_map(|number| row.secret(number)));
        objects.extend(match row.list {
            List::Late => [row.account(Vec::new()), pod, account].to_vec(),
            List::Account | List::Own => [account, pod].to_vec(),
        });
        manifest::apply(&self.client, &objects).await.unwrap();
    }

    /// Waits until all are of one mind; where they are not in the end. A kubelet that did not get at a Secret in time
    /// tries again.
    async fn check(&self, row: &Row, patience: Instant) -> Vec<String> {
        let pods = Api::<Pod>::namespaced(self.client.clone(), row.name);
        loop {
            let pod = pods.get(row.name).await.unwrap();
            let is_told = match pod::state(&pod) {
                State::Waiting { reason, .. } => reason != "ContainerCreating",
                state => state == State::Running,
            };
            let found = if is_told {
                self.disagreements(row, &pod).await
            } else {
                vec![format!("{}: nothing is said of it", row.name)]
            };
            if found.is_empty() || Instant::now() > patience {
                return found;
            }
            tokio::time::sleep(LOOK_EVERY).await;
        }
    }

    /// Where the row, the kubelet, the registry and imps are not of one mind.
    async fn disagreements(&self, row: &Row, pod: &Pod) -> Vec<String> {
        let events = pod::events(&self.client, pod).await.unwrap();
        let events: Vec<&str> = events.iter().filter_map(|event| event.message.as_deref()).collect();
        let mut wrong = Vec::new();
        let mut expect = |what: &str, expected: &dyn Debug, seen: &dyn Debug| {
            let (expected, seen) = (format!("{expected:?}"), format!("{seen:?}"));
            if expected != seen {
                wrong.push(format!("{}: {what}: {seen}, not {expected}", row.name));
            }
        };
        heard(row, &pod::state(pod), &events, &mut expect);
        self.came(row, &mut expect);
        self.answered(row, &mut expect).await;
        wrong
    }

    /// Who came to the registry. One who is not let in comes again and again.
    fn came(&self, row: &Row, expect: &mut dyn FnMut(&str, &dyn Debug, &dyn Debug)) {
        let (tries, mut visitors) = (self.names(row, &row.tries), self.visitors(row));
        if row.in_any_order {
            visitors.sort();
            visitors.dedup();
        }
        let agreed = match row.outcome {
            Outcome::Pulled => {
                tries.starts_with(&visitors) && visitors.last() == self.names(row, &[ANN]).last()
            }
            Outcome::Failed(..) => {
                tries.iter().cycle().take(visitors.len()).eq(&visitors) && visitors.len() >= tries.len()
            }
        };
        if !agreed {
            expect("who came to the registry", &tries, &visitors);
        }
    }

    async fn answered(&self, row: &Row, expect: &mut dyn FnMut(&str, &dyn Debug, &dyn Debug)) {
        // It is about pods that are yet to be made, and have no list of their own.
        if row.list == List::Account {
            let arguments = ["explain", &row.image, "-n", row.name, "--service-account", ACCOUNT];
            let (_, report) = ask(&self.kubeconfig, &arguments).await;
            let remarks = report["remarks"].as_array().unwrap();
            let any_first = remarks.iter().any(|remark| remark["code"] == Code::SeveralMatch.to_string());
            expect("whether any is first, as imps explains it", &row.in_any_order, &any_first);
            let mut explained = self.names(row, &explained(row, &report));
            if row.in_any_order {
                explained.sort();
            }
            expect("whose logins are tried, as imps explains it", &self.names(row, &row.tries), &explained);
        }
        let subject = format!("pod/{}", row.name);
        let (code, report) = ask(&self.kubeconfig, &["diagnose", &subject, "-n", row.name]).await;
        let (verdict, error) = match row.outcome {
            Outcome::Pulled => (Value::Null, false),
            Outcome::Failed(_, verdict) => (verdict.to_string().into(), true),
        };
        expect("the verdict", &verdict, &report["pods"][0]["verdict"]["code"]);
        expect("whether imps finds an error", &error, &(code == Some(1)));
    }

    /// As their registry knows them, without repetitions.
    fn names(&self, row: &Row, logins: &[Login<'_>]) -> Vec<String> {
        let registry = &self.registries[&row.place().0];
        let mut names: Vec<String> = logins.iter().map(|login| registry.name_of(*login)).collect();
        names.dedup();
        names
    }

    fn visitors(&self, row: &Row) -> Vec<String> {
        let (host, repository) = row.place();
        let registry = &self.registries[&host];
        let by_itself = || registry.visitors(&repository).unwrap();
        let visitors = if host == self.tokens { self.clerk.visitors(&repository) } else { by_itself() };
        let pusher = self.names(row, &[PUSHER]);
        visitors.into_iter().filter(|visitor| !pusher.contains(visitor)).collect()
    }
}

/// What the kubelet says in the status of a pod and in events.
fn heard(row: &Row, state: &State, events: &[&str], expect: &mut dyn FnMut(&str, &dyn Debug, &dyn Debug)) {
    let told = |said: &dyn Fn(&str) -> bool| events.iter().any(|message| said(message));
    match (row.outcome, state) {
        (Outcome::Pulled, State::Running) => {
            let pulled = format!("Successfully pulled image \"{}\"", row.image);
            expect("whether an event tells it", &true, &told(&|message| message.starts_with(&pulled)));
        }
        (Outcome::Failed(code, _), State::Waiting { reason, message }) => {
            let meaning = PullError::Finding(code);
            let status = format!("{reason}: {message}");
            // Other events follow each failure in a word.
            let failures = events.iter().copied().filter(|message| message.starts_with("Failed to pull"));
            for said in failures.chain([status.as_str()]) {
                expect(&format!("the meaning of {said}"), &meaning, &classify(said));
            }
            expect("whether an event tells it", &true, &told(&|message| classify(message) == meaning));
        }
        (_, state) => expect("the end", &row.outcome, state),
    }
    if row.secrets.iter().any(|pull| pull.secret_type.is_empty()) {
        let lacks = told(&|message| classify(message) == PullError::SecretMissing);
        expect("whether an event says that a Secret is missing", &true, &lacks);
    }
}

/// The logins of the entries that are listed, of which some give none.
fn explained(row: &Row, report: &Value) -> Vec<Login<'static>> {
    let tried = report["tried"].as_array().unwrap().iter();
    let with_login = tried.filter(|trial| trial["remark"]["code"] != Code::NoLogin.to_string());
    let login = |trial: &Value| {
        let number = (0..row.secrets.len()).find(|number| trial["secret"] == row.name_of(*number)).unwrap();
        let mut logins = row.secrets[number].logins.iter();
        logins.find(|(key, _)| trial["entry"] == safe_label(key)).map(|(_, login)| *login).unwrap()
    };
    with_login.map(login).collect()
}

impl Row {
    /// The host as it is meant, and the repository there.
    fn place(&self) -> (String, String) {
        let repository = repository_of(&self.image).unwrap();
        let (host, path) = repository.split_once('/').unwrap();
        (host.to_owned(), path.to_owned())
    }

    /// Nothing else has it, as a Secret that is missing may be elsewhere.
    fn name_of(&self, number: usize) -> String {
        format!("{}-{number}", self.name)
    }

    /// What the ServiceAccount names, and what the pod does.
    fn lists(&self) -> (Vec<Value>, Vec<Value>) {
        let mut names: Vec<Value> =
            (0..self.secrets.len()).map(|number| json!({"name": self.name_of(number)})).collect();
        let own = names.split_off(if self.list == List::Own { names.len() - 1 } else { names.len() });
        (names, own)
    }

    fn account(&self, names: Vec<Value>) -> Value {
        json!({
            "apiVersion": "v1", "kind": "ServiceAccount",
            "metadata": {"name": ACCOUNT, "namespace": self.name}, "imagePullSecrets": names,
        })
    }

    /// One of its Secrets, unless that is missing.
    fn secret(&self, number: usize) -> Option<Value> {
        let pull = &self.secrets[number];
        let manifest = json!({
            "apiVersion": "v1", "kind": "Secret", "type": pull.secret_type, "stringData": pull.says,
            "metadata": {"name": self.name_of(number), "namespace": self.name},
        });
        (!pull.secret_type.is_empty()).then_some(manifest)
    }
}
