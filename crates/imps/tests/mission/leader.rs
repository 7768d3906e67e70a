//! Several operators, one of which acts: deaths, freezes, farewells, wrong clocks and outages, judged by what the API
//! server has written down about who did what.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use imps_api::keys;
use imps_cluster::rules::{RULES, Scope};
use imps_testbed::{Operator, clock, operator, skip_or_fail};
use k8s_openapi::api::coordination::v1::Lease;
use k8s_openapi::api::events::v1::Event;
use k8s_openapi::jiff::Timestamp;
use kube::ResourceExt;
use kube::api::{Api, DeleteParams, ListParams, Patch, PatchParams};
use serde_json::{Value, json};

use super::permission::{Right, right, used};
use super::stage::{Login, Scene, Solo, binary};
use super::wait::{always, eventually, say, within};

const ROBOT: Login<'_> = ("robot", "first");
const NEXT: Login<'_> = ("robot", "second");
const LAST: Login<'_> = ("robot", "third");
const IMAGE: &str = "reg.example/app";
const ELECT: &str = "--enable-leader-election";
/// How soon somebody else acts after a leader died, with the terms that are the default.
const AFTER_DEATH: Duration = Duration::from_secs(20);
/// How soon after a leader was asked to end.
const AFTER_FAREWELL: Duration = Duration::from_secs(3);
/// How long a leader may act without having renewed.
const DEADLINE: f64 = 10.0;
/// Terms for scenes that prove something else than how long a failover takes.
const HASTY: [&str; 7] = [
    ELECT,
    "--leader-election-lease-duration",
    "9",
    "--leader-election-renew-deadline",
    "6",
    "--leader-election-retry-period",
    "1",
];
/// As [`DEADLINE`], with those terms.
const HASTY_DEADLINE: f64 = 6.0;
/// Longer than a lease by those terms.
const HASTY_LEASE: Duration = Duration::from_secs(11);

/// Operators under one account, each with a name.
struct Troupe {
    solo: Solo,
    others: Vec<Operator>,
    grant: String,
}

impl Troupe {
    /// So many, and a grant for all namespaces of the team.
    async fn open(count: usize, arguments: &[&str]) -> Option<Self> {
        let solo = Solo::open_in(arguments, &[("POD_NAME", "replica-0")]).await?;
        let mut troupe = Self { solo, others: Vec::new(), grant: String::new() };
        for index in 1..count {
            troupe.join(&format!("replica-{index}"), arguments, &[]).await;
        }
        let scene = &troupe.solo.scene;
        scene.source("hub", &[("reg.example", ROBOT)]).await;
        let by_label = json!({"namespaces": {"labels": [{"matchLabels": {"team": scene.id}}]}});
        troupe.grant = scene.grant("g", &["hub"], by_label).await;
        Some(troupe)
    }

    async fn join(&mut self, name: &str, arguments: &[&str], environment: &[(&str, &str)]) {
        let environment = [&[("POD_NAME", name)], environment].concat();
        let operator = self.solo.another(arguments, &environment).await;
        self.others.push(operator);
    }

    fn scene(&self) -> &Scene {
        &self.solo.scene
    }

    fn operators(&self) -> impl Iterator<Item = &Operator> {
        std::iter::once(&self.solo.operator).chain(&self.others)
    }

    fn operator(&mut self, index: usize) -> &mut Operator {
        if index == 0 { &mut self.solo.operator } else { &mut self.others[index - 1] }
    }

    fn leases(&self) -> Api<Lease> {
        Api::namespaced(self.scene().client.clone(), self.scene().account().0)
    }

    /// Who holds the Lease, and how often it has changed hands.
    async fn holder(&self) -> (Option<String>, i32) {
        let lease = self.leases().get_opt(keys::LEASE).await.unwrap();
        let spec = lease.and_then(|lease| lease.spec).unwrap_or_default();
        (spec.holder_identity.filter(|holder| !holder.is_empty()), spec.lease_transitions.unwrap_or_default())
    }

    /// Which of them leads, by its own word.
    async fn leader(&self) -> usize {
        eventually("one of them leads", async || {
            let mut leaders = Vec::new();
            for (index, operator) in self.operators().enumerate() {
                if operator.pid().is_some() && leads(operator).await == Some(true) {
                    leaders.push(index);
                }
            }
            let (holder, _) = self.holder().await;
            match leaders[..] {
                [index] if holder.is_some() => Ok(index),
                _ => Err(format!("{leaders:?} lead, {holder:?} holds the Lease")),
            }
        })
        .await
    }

    /// How many lead, by their own word.
    async fn leading(&self) -> usize {
        let mut leading = 0;
        for operator in self.operators().filter(|operator| operator.pid().is_some()) {
            leading += usize::from(leads(operator).await == Some(true));
        }
        leading
    }

    /// A namespace of the team.
    async fn namespace(&self, word: &str) -> String {
        self.scene().namespace(word, json!({"labels": {"team": self.scene().id}})).await
    }

    /// A namespace that comes now, and how long it takes until it is served.
    async fn serve(&self, word: &str, limit: Duration) -> Duration {
        let begun = Instant::now();
        let name = self.namespace(word).await;
        within(limit * 2, &format!("{name} is served"), async || match self.scene().target(&name).await {
            Some(_) => Ok(()),
            None => Err(format!("{:?} holds the Lease", self.holder().await)),
        })
        .await;
        begun.elapsed()
    }

    /// Nobody wrote anything but the Lease unless it was the last to write that, not longer ago than the deadline; and
    /// no Secret was written more than once for each login it had.
    fn judge(&self, logins: usize, deadline: f64) {
        let mut reign: Option<(String, f64)> = None;
        let mut writes: BTreeMap<String, usize> = BTreeMap::new();
        let mut actors = BTreeSet::new();
        for request in self.solo.requests() {
            let verb = request["verb"].as_str().unwrap();
            let code = request["responseStatus"]["code"].as_i64().unwrap_or_default();
            if ["get", "list", "watch"].contains(&verb) {
                continue;
            }
            // Each process has a token of its own.
            let who = request["user"]["extra"]["authentication.kubernetes.io/credential-id"][0].as_str();
            let who = who.unwrap_or_else(|| panic!("no token in {request}")).to_owned();
            let (came, done) =
                (seconds(&request["requestReceivedTimestamp"]), seconds(&request["stageTimestamp"]));
            let resource = request["objectRef"]["resource"].as_str().unwrap();
            if resource == "leases" {
                // What was refused changes nothing.
                if code < 300 {
                    reign = Some((who, done));
                }
                continue;
            }
            // Events about the Lease are told by whoever stops.
            if resource == "events" {
                continue;
            }
            let (leader, renewed) = reign.as_ref().unwrap_or_else(|| panic!("before anybody led: {request}"));
            assert_eq!(*leader, who, "written by one that does not lead: {request}");
            let age = came - renewed;
            assert!(age < deadline, "{age:.1} s after the last renewal: {request}");
            actors.insert(who);
            if resource == "secrets" && code < 300 {
                let path = request["requestURI"].as_str().unwrap().split('?').next().unwrap_or_default();
                *writes.entry(path.to_owned()).or_default() += 1;
            }
        }
        let again: Vec<_> = writes.iter().filter(|(_, count)| **count > logins).collect();
        assert!(again.is_empty(), "written more than {logins} times: {again:?}");
        let most = writes.values().max().copied().unwrap_or_default();
        let (secrets, actors) = (writes.len(), actors.len());
        say(&format!("{secrets} Secrets written by {actors} processes, none more often than {most} times"));
    }
}

impl Drop for Troupe {
    fn drop(&mut self) {
        if std::thread::panicking() {
            for operator in &self.others {
                say(&format!("what another one says:\n{}", operator.log()));
            }
        }
    }
}

fn seconds(time: &Value) -> f64 {
    time.as_str().unwrap().parse::<Timestamp>().unwrap().as_microsecond() as f64 / 1e6
}

/// Whether a process leads, as its metrics say; none when they say nothing about it.
async fn leads(operator: &Operator) -> Option<bool> {
    let (_, page) = operator.get("/metrics").await.unwrap();
    let name = format!("leader_election_master_status{{name=\"{}\"}} ", keys::LEASE);
    page.lines().find_map(|line| Some(line.strip_prefix(&name)? == "1"))
}

/// How often its log has a line with this message.
fn said(operator: &Operator, message: &str) -> usize {
    let log = operator.log();
    let lines = log.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
    lines.filter(|line| line["message"] == message).count()
}

#[tokio::test]
async fn of_two_one_acts_and_the_other_one_takes_over_after_a_death_and_after_a_farewell() {
    let Some(mut troupe) = Troupe::open(2, &[ELECT]).await else { return };
    let first = troupe.leader().await;
    let shop = troupe.namespace("shop").await;
    troupe.scene().has_login(&shop, IMAGE, ROBOT).await;
    let before = troupe.scene().target(&shop).await.unwrap();
    for operator in troupe.operators() {
        assert_eq!(operator.get("/readyz").await.unwrap().0, 200, "a standby is ready too");
        assert_eq!(operator.get("/livez").await.unwrap().0, 200);
    }
    let (_, page) = troupe.operator(1 - first).get("/metrics").await.unwrap();
    let told = page.lines().any(|line| line.starts_with("imps_targets{"));
    assert!(!told, "a standby says nothing of what it does not do: {page}");
    let grant = troupe.grant.clone();
    troupe.scene().ready_in(&grant, &[&shop]).await;

    troupe.operator(first).kill();
    let took = troupe.serve("orphan", AFTER_DEATH).await;
    say(&format!("served {took:.1?} after the leader was killed"));
    assert!(took < AFTER_DEATH, "{took:?}");
    let second = troupe.leader().await;
    assert_ne!(first, second);

    troupe.operator(first).begin().await.unwrap();
    troupe.operator(first).ready().await.unwrap();
    let farewell = Instant::now();
    let (status, _) = troupe.operator(second).terminate().await.unwrap();
    assert!(status.success(), "{status}");
    troupe.serve("heir", AFTER_FAREWELL).await;
    let took = farewell.elapsed();
    say(&format!("served {took:.1?} after the leader was asked to end"));
    assert!(took < AFTER_FAREWELL, "{took:?}");
    assert_eq!(troupe.leader().await, first);
    assert_eq!(troupe.scene().target(&shop).await.unwrap(), before, "nothing is written anew");
    let events = Api::<Event>::namespaced(troupe.scene().client.clone(), troupe.scene().account().0);
    eventually("the Lease has events", async || {
        let events = events.list(&ListParams::default()).await.map_err(|error| error.to_string())?.items;
        let notes: Vec<String> = events
            .into_iter()
            .filter(|event| event.reason.as_deref() == Some("LeaderElection"))
            .filter_map(|event| event.note)
            .collect();
        let told =
            |words: &str| notes.iter().any(|note| note.starts_with("replica-") && note.ends_with(words));
        if told("became leader") && told("stopped leading") { Ok(()) } else { Err(format!("{notes:?}")) }
    })
    .await;
    troupe.judge(1, DEADLINE);
}

#[tokio::test]
async fn of_five_none_acts_beside_one_that_froze_in_the_middle_of_its_work() {
    const NAMESPACES: usize = 150;
    let Some(mut troupe) = Troupe::open(5, &[ELECT]).await else { return };
    let first = troupe.leader().await;
    let scene = troupe.scene();
    let all = futures::future::join_all((0..NAMESPACES).map(|n| {
        let word = format!("n{n}");
        async move { scene.namespace(&word, json!({"labels": {"team": scene.id}})).await }
    }))
    .await;
    eventually("all are served", async || match scene.holders(&scene.secret).await.len() {
        NAMESPACES => Ok(()),
        done => Err(format!("{done}")),
    })
    .await;
    let mut uids = BTreeMap::new();
    for name in &all {
        uids.insert(name.clone(), scene.target(name).await.unwrap().uid());
    }
    // It is frozen while a rotation is on its way to all of them.
    scene.source("hub", &[("reg.example", NEXT)]).await;
    let rotated = async |troupe: &Troupe| {
        let scene = troupe.scene();
        let requests = troupe.solo.requests();
        let target = format!("/secrets/{}", scene.secret);
        let is_write =
            |r: &&Value| r["verb"] == "patch" && r["requestURI"].as_str().unwrap().contains(&target);
        requests.iter().filter(is_write).count().saturating_sub(NAMESPACES)
    };
    eventually("the rotation has begun", async || match rotated(&troupe).await {
        0 => Err("not yet".to_owned()),
        _ => Ok(()),
    })
    .await;
    let stops = said(troupe.operator(first), "stopped leading; goes on as a standby");
    troupe.operator(first).pause().unwrap();
    let done = rotated(&troupe).await;
    say(&format!("frozen when {done} of {NAMESPACES} were written"));
    let frozen = Instant::now();
    // Whatever it had done by then, there is more to do for whoever follows.
    troupe.scene().source("hub", &[("reg.example", LAST)]).await;
    eventually("somebody else finishes", async || match rotated(&troupe).await {
        count if count >= done + NAMESPACES => Ok(()),
        count => Err(format!("{count}")),
    })
    .await;
    say(&format!("finished by a successor {:.1?} later", frozen.elapsed()));
    troupe.operator(first).resume().unwrap();
    let second = troupe.leader().await;
    assert_ne!(first, second);
    eventually("it knows that it does not lead", async || {
        let operator = troupe.operators().nth(first).unwrap();
        if said(operator, "stopped leading; goes on as a standby") > stops {
            Ok(())
        } else {
            Err(operator.log())
        }
    })
    .await;
    always(Duration::from_secs(3), "nobody else leads", async || match troupe.leading().await {
        count if count <= 1 => Ok(()),
        count => Err(format!("{count} lead")),
    })
    .await;
    for (name, uid) in &uids {
        assert_eq!(troupe.scene().has_login(name, IMAGE, LAST).await.uid(), *uid, "{name}");
    }
    // Each was written at first, and once for each rotation; one request may have been on its way to each of those that
    // were being written when it froze, and its successor could not know.
    troupe.judge(4, DEADLINE);
    // And the zombie can lead again.
    for index in (0..5).filter(|index| *index != first) {
        troupe.operator(index).kill();
    }
    troupe.serve("last", AFTER_DEATH).await;
    assert_eq!(troupe.leader().await, first);
    troupe.judge(4, DEADLINE);
}

#[tokio::test]
async fn no_wrong_wall_clock_changes_who_leads() {
    let (past, future) = match (clock::shifted(-30), clock::shifted(30)) {
        (Ok(past), Ok(future)) => (past, future),
        (Err(error), _) | (_, Err(error)) => return skip_or_fail(error),
    };
    let pairs = |variables: &'_ [(String, String)]| -> Vec<(String, String)> { variables.to_vec() };
    let (past, future) = (pairs(&past), pairs(&future));
    let borrowed = |variables: &'static [(String, String)]| -> Vec<(&'static str, &'static str)> {
        variables.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect()
    };
    let (past, future) = (borrowed(Vec::leak(past)), borrowed(Vec::leak(future)));
    let Some(mut troupe) = Troupe::open(1, &HASTY).await else { return };
    troupe.join("late", &HASTY, &future).await;
    troupe.join("early", &HASTY, &past).await;
    for (operator, hours) in troupe.operators().zip([0, 30, -30]) {
        let log = operator.log();
        let line: Value = serde_json::from_str(log.lines().next().unwrap()).unwrap();
        let shift = (seconds(&line["timestamp"]) - Timestamp::now().as_second() as f64) / 3600.0;
        assert!((shift - f64::from(hours)).abs() < 0.2, "its clock is {shift} h off, and not {hours}");
    }
    let mut order = Vec::new();
    for round in 0..3 {
        let leader = troupe.leader().await;
        let (holder, terms) = troupe.holder().await;
        always(HASTY_LEASE, "it stays so for longer than the lease", async || {
            let now = troupe.holder().await;
            if now == (holder.clone(), terms) { Ok(()) } else { Err(format!("{now:?} after {holder:?}")) }
        })
        .await;
        let took = troupe.serve(&format!("round{round}"), AFTER_DEATH).await;
        say(&format!("served in {took:.1?} by {holder:?}"));
        order.push(leader);
        troupe.operator(leader).kill();
    }
    assert_eq!(order.iter().collect::<BTreeSet<_>>().len(), 3, "each of them led: {order:?}");
    troupe.judge(1, HASTY_DEADLINE);
}

#[tokio::test]
async fn an_api_server_that_restarts_leaves_one_leader_and_no_process_ends() {
    let Some(mut troupe) = Troupe::open(2, &[ELECT]).await else { return };
    let first = troupe.leader().await;
    let shop = troupe.namespace("shop").await;
    troupe.scene().has_login(&shop, IMAGE, ROBOT).await;
    let pids: Vec<_> = troupe.operators().map(Operator::pid).collect();

    // Shorter than the deadline: nobody notices.
    let (holder, terms) = troupe.holder().await;
    troupe.solo.control.pause_apiserver().unwrap();
    always(Duration::from_secs(3), "they live", async || {
        let (code, page) = troupe.solo.operator.get("/livez").await.map_err(|error| error.to_string())?;
        if code == 200 { Ok(()) } else { Err(page) }
    })
    .await;
    troupe.solo.control.resume_apiserver().unwrap();
    let took = troupe.serve("soon", AFTER_DEATH).await;
    say(&format!("served {took:.1?} after the server had hung for a moment"));
    assert_eq!(troupe.holder().await, (holder, terms), "the same one leads, in the same term");
    assert_eq!(said(troupe.operator(first), "became the leader"), 1);

    // A crash, and longer than the deadline: who cannot renew stops, and none of them ends.
    troupe.solo.control.kill_apiserver();
    eventually("it has stopped", async || match troupe.leading().await {
        0 => Ok(()),
        count => Err(format!("{count} lead")),
    })
    .await;
    for operator in troupe.operators() {
        assert_eq!(leads(operator).await, Some(false));
        assert_eq!(operator.get("/livez").await.unwrap().0, 200, "an absent server is no reason to restart");
        assert_eq!(operator.get("/readyz").await.unwrap().0, 200);
    }
    troupe.solo.control.start_apiserver().await.unwrap();
    let took = troupe.serve("late", AFTER_DEATH).await;
    say(&format!("served {took:.1?} after an outage"));
    assert!(took < AFTER_DEATH, "{took:?}");
    troupe.leader().await;
    // What is on its way to a server that hangs is read when it goes on, and looks late in its log.
    let grant = troupe.scene().own_grants().pop().unwrap();
    let told = |status: &Value| status["targets"]["synced"] == 3;
    troupe.scene().status(&grant, "all three are reported", told).await;

    // One that hangs is as good as none.
    troupe.solo.control.pause_apiserver().unwrap();
    eventually("nobody leads", async || match troupe.leading().await {
        0 => Ok(()),
        count => Err(format!("{count} lead")),
    })
    .await;
    troupe.solo.control.resume_apiserver().unwrap();
    let took = troupe.serve("thawed", AFTER_DEATH).await;
    say(&format!("served {took:.1?} after the server had hung"));
    assert_eq!(troupe.operators().map(Operator::pid).collect::<Vec<_>>(), pids, "no process ended");
    troupe.judge(1, DEADLINE);
}

#[tokio::test]
async fn a_lease_that_somebody_deletes_or_empties_is_taken_again_and_by_one() {
    let Some(troupe) = Troupe::open(2, &HASTY).await else { return };
    troupe.leader().await;
    troupe.leases().delete(keys::LEASE, &DeleteParams::default()).await.unwrap();
    troupe.leader().await;
    let (_, terms) = troupe.holder().await;
    let empty = Patch::Merge(json!({"spec": {"holderIdentity": ""}}));
    troupe.leases().patch(keys::LEASE, &PatchParams::default(), &empty).await.unwrap();
    eventually("it is taken again", async || match troupe.holder().await {
        (Some(_), now) if now > terms => Ok(()),
        other => Err(format!("{other:?}")),
    })
    .await;
    troupe.leader().await;
    // A label of somebody else's is kept, and disturbs nobody.
    let (holder, terms) = troupe.holder().await;
    let label = Patch::Merge(json!({"metadata": {"labels": {"theirs": "yes"}}}));
    troupe.leases().patch(keys::LEASE, &PatchParams::default(), &label).await.unwrap();
    always(HASTY_LEASE, "the same one leads", async || {
        let now = troupe.holder().await;
        if now == (holder.clone(), terms) { Ok(()) } else { Err(format!("{now:?}")) }
    })
    .await;
    assert_eq!(troupe.leases().get(keys::LEASE).await.unwrap().labels()["theirs"], "yes");
    troupe.serve("shop", AFTER_FAREWELL).await;
}

#[tokio::test]
async fn the_rights_to_elect_are_just_those_that_are_used_and_imps_rbac_prints_them() {
    let Some(troupe) = Troupe::open(2, &HASTY).await else { return };
    troupe.leader().await;
    let rules = RULES.iter().filter(|rule| matches!(rule.scope, Scope::Lease | Scope::Leases));
    let declared: BTreeSet<Right> =
        rules.flat_map(|rule| rule.verbs.iter().map(|verb| right(verb, rule.group, rule.resource))).collect();
    // The first renewal comes a retry period after the Lease was taken.
    let requests = eventually("each right was used, and no other one", async || {
        let requests = troupe.solo.requests();
        let leases = requests.iter().filter(|request| request["objectRef"]["resource"] == "leases");
        let seen: BTreeSet<Right> = leases.flat_map(used).collect();
        if seen == declared { Ok(requests) } else { Err(format!("{seen:?}, and not {declared:?}")) }
    })
    .await;
    let forbidden: Vec<&Value> = requests.iter().filter(|r| r["responseStatus"]["code"] == 403).collect();
    assert!(forbidden.is_empty(), "{forbidden:#?}");

    let (namespace, account) = troupe.scene().account();
    let grant = troupe.scene().read_grant(&troupe.grant).await;
    let file = std::env::temp_dir().join(format!("{}.yaml", troupe.grant));
    std::fs::write(&file, serde_json::to_string(&grant).unwrap()).unwrap();
    let arguments = ["-f", file.to_str().unwrap(), "--lease-namespace", namespace];
    let printed = operator::rights_of(binary(), &arguments, "imps", namespace, account).unwrap();
    std::fs::remove_file(&file).unwrap();
    let role = printed
        .iter()
        .find(|document| document["kind"] == "Role" && document["metadata"]["namespace"] == namespace);
    let expected = json!([
        {"apiGroups": ["coordination.k8s.io"], "resources": ["leases"], "resourceNames": [keys::LEASE],
         "verbs": ["get", "patch"]},
        {"apiGroups": ["coordination.k8s.io"], "resources": ["leases"], "verbs": ["create"]},
    ]);
    assert_eq!(role.unwrap()["rules"], expected);
}

#[test]
fn an_election_that_cannot_be_held_is_refused_at_the_start() {
    let run = |arguments: &[&str]| {
        let output = std::process::Command::new(binary())
            .args(["controller", ELECT, "--kubeconfig", "/dev/null"])
            .args(arguments)
            .output()
            .unwrap();
        assert!(!output.status.success());
        String::from_utf8_lossy(&output.stderr).into_owned()
    };
    let complaint = run(&[]);
    assert!(complaint.contains("--config-namespace"), "{complaint}");
    let complaint = run(&["--config-namespace", "x", "--leader-election-lease-duration", "9"]);
    assert!(complaint.contains("the lease duration (9 s) has to be longer"), "{complaint}");
}
