//! Judges: programs of `tools/cloud` around official clients, which take steps one by one.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Lines, Write};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::sync::{Arc, Mutex, PoisonError};

use imps_testbed::cloud::{PYTHON_FLAGS, environment, script};
use imps_testbed::fresh_name;
use serde_json::{Value, json};

/// Whose identities judges make.
pub(crate) const SUBJECT: &str = "system:serviceaccount:a:b";

/// The judge of one cloud.
#[derive(Clone)]
pub(crate) struct Judge {
    bench: Arc<Mutex<Bench>>,
    /// Of the identities that it makes, whose keys no other judge has.
    pub(crate) issuer: String,
}

/// A process of a judge. It ends when its input does, at the latest with this process.
struct Bench {
    steps: ChildStdin,
    results: Lines<BufReader<ChildStdout>>,
    _process: Child,
}

// === impl Judge ===

impl Judge {
    /// One of two for each cloud, because a judge needs longer to be ready than for all cases of a test.
    pub(crate) fn of(cloud: &'static str) -> Self {
        static BENCHES: Mutex<BTreeMap<&'static str, Vec<Judge>>> = Mutex::new(BTreeMap::new());
        let mut benches = BENCHES.lock().unwrap_or_else(PoisonError::into_inner);
        let benches = benches.entry(cloud).or_default();
        if benches.len() < 2 {
            let issuer = format!("https://{}.example/id", fresh_name("oidc"));
            benches.push(Self { bench: Arc::new(Mutex::new(Bench::start(cloud))), issuer });
        } else {
            benches.rotate_left(1);
        }
        benches.last().unwrap().clone()
    }

    pub(crate) async fn take(&mut self, step: &Value) -> Value {
        let (bench, step) = (Arc::clone(&self.bench), step.to_string());
        // Wires and gates need this thread while the judge waits for them.
        let result = tokio::task::spawn_blocking(move || {
            let mut bench = bench.lock().unwrap_or_else(PoisonError::into_inner);
            writeln!(bench.steps, "{step}").unwrap();
            bench.results.next().unwrap().unwrap()
        });
        serde_json::from_str(&result.await.unwrap()).unwrap()
    }

    /// A step that must succeed; what came of it.
    pub(crate) async fn ok(&mut self, step: &Value) -> Value {
        self.observed(step).await.0
    }

    /// A step that must succeed; what came of it, and the requests that the client sent for it.
    pub(crate) async fn observed(&mut self, step: &Value) -> (Value, Vec<Value>) {
        let mut result = self.take(step).await;
        assert!(result.get("ok").is_some(), "{step} came out as {result}");
        let sent = result["sent"].as_array().cloned().unwrap_or_default();
        (result["ok"].take(), sent)
    }

    /// A call to AWS that must be refused; returns with which code.
    pub(crate) async fn refused(&mut self, step: &Value) -> String {
        let result = self.take(step).await;
        result["error"].as_str().unwrap_or_else(|| panic!("{step} came out as {result}")).to_owned()
    }

    /// A call of an official client that must fail; in which words.
    pub(crate) async fn fails(&mut self, step: &Value) -> String {
        let result = self.take(step).await;
        result["text"].as_str().unwrap_or_else(|| panic!("{step} came out as {result}")).to_owned()
    }

    /// Sends a request again that an official client sent, with something changed; status and body of the answer.
    pub(crate) async fn again(&mut self, request: &Value, change: Value) -> (u64, Value) {
        let mut answer = self.take(&json!({"send": request, "change": change})).await;
        (answer["status"].as_u64().unwrap(), answer["body"].take())
    }

    /// An identity of a workload, with the keys of its issuer.
    pub(crate) async fn identity(&mut self, audience: &str, changes: Value) -> Value {
        let asked = json!({"issuer": self.issuer, "subject": SUBJECT, "audience": audience, "lives": 600});
        self.take(&json!({"mint": with(&asked, changes)})).await
    }
}

impl Bench {
    fn start(cloud: &str) -> Self {
        let mut command = Command::new(environment::find().unwrap());
        command.arg(PYTHON_FLAGS).arg(script(&format!("judge_{cloud}")));
        let mut process = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
        let results = BufReader::new(process.stdout.take().unwrap()).lines();
        Self { steps: process.stdin.take().unwrap(), results, _process: process }
    }
}

/// The object with other fields put into it.
pub(crate) fn with(object: &Value, changes: Value) -> Value {
    let mut object = object.clone();
    object.as_object_mut().unwrap().extend(changes.as_object().unwrap().clone());
    object
}
