//! The program as a process: its flags, its logs, its probes and metrics, its quiet and its end.

use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use futures::StreamExt;
use serde_json::{Value, json};

use super::stage::{Login, Scene, Solo, binary, can_play};
use super::wait::{eventually, say};

const ROBOT: Login<'_> = ("robot", "first");

#[tokio::test]
async fn once_all_is_written_nothing_is_written_and_nothing_is_listed() {
    const QUIET: Duration = Duration::from_secs(5);
    // Looking at everything again each second makes no difference.
    let Some(solo) = Solo::open(&["--enable-leader-election", "--periodic-reconcile-interval", "1"]).await
    else {
        return;
    };
    let scene = &solo.scene;
    scene.source("hub", &[("reg.example", ROBOT)]).await;
    let by_label = json!({"namespaces": {"labels": [{"matchLabels": {"team": scene.id}}]}});
    let grant = scene.grant("g", &["hub"], by_label).await;
    let mut names = Vec::new();
    for n in 0..5 {
        names.push(scene.namespace(&format!("n{n}"), json!({"labels": {"team": scene.id}})).await);
    }
    scene.ready_in(&grant, &names.iter().map(String::as_str).collect::<Vec<_>>()).await;
    let plans = metric(&solo, "imps_plans_total").await;
    let others = || {
        let (leases, others): (Vec<Value>, Vec<Value>) =
            solo.requests().into_iter().partition(|request| request["objectRef"]["resource"] == "leases");
        (leases.len(), others)
    };
    let (renewals, looks) = eventually("the reports are over", async || {
        let before = others().1.len();
        tokio::time::sleep(Duration::from_millis(1500)).await;
        let (renewals, others) = others();
        if others.len() == before { Ok((renewals, before)) } else { Err("requests go on".to_owned()) }
    })
    .await;

    tokio::time::sleep(QUIET).await;
    let (now, mut since) = others();
    assert!(
        (1..=4).contains(&(now - renewals)),
        "the lease is renewed all two seconds, and nothing else happens"
    );
    let since: Vec<Value> = since.split_off(looks);
    assert!(since.is_empty(), "{since:#?}");
    let more = metric(&solo, "imps_plans_total").await - plans;
    assert!(more >= 4.0, "it did look: {more} plans");
    say(&format!("idle for {QUIET:?}: {more} plans, no request but those about the Lease"));
}

async fn metric(solo: &Solo, name: &str) -> f64 {
    let (_, page) = solo.operator.get("/metrics").await.unwrap();
    let line =
        page.lines().find(|line| line.starts_with(name)).unwrap_or_else(|| panic!("no {name} in {page}"));
    line.rsplit(' ').next().unwrap().parse().unwrap()
}

#[tokio::test]
async fn probes_metrics_and_logs_are_what_machines_expect() {
    let Some(solo) = Solo::open(&["--enable-leader-election=false", "--config-namespace", "anywhere"]).await
    else {
        return;
    };
    let scene = &solo.scene;
    scene.source("hub", &[("reg.example", ROBOT)]).await;
    let shop = scene.namespace("shop", json!({})).await;
    let grant = scene.grant("g", &["hub"], json!({"namespaces": {"names": [&shop]}})).await;
    scene.ready_in(&grant, &[&shop]).await;
    for path in ["/livez", "/healthz", "/readyz"] {
        assert_eq!(solo.operator.get(path).await.unwrap(), (200, "ok\n".to_owned()), "{path}");
    }
    assert_eq!(solo.operator.get("/nothing").await.unwrap().0, 404);
    let (code, page) = solo.operator.get("/metrics").await.unwrap();
    assert_eq!(code, 200);
    assert!(page.ends_with("# EOF\n"), "{page}");
    for line in [
        format!(r#"imps_imagepullsecret_ready{{name="{grant}",status="True"}} 1"#),
        format!(r#"imps_targets{{name="{grant}",state="synced"}} 1"#),
        r#"imps_target_writes_total{result="created"} 1"#.to_owned(),
    ] {
        assert!(page.lines().any(|found| found == line), "{line} is not in {page}");
    }
    assert!(!page.contains(&shop), "no series for a namespace");
    for (start, least) in [
        ("imps_build_info{version=\"", 1.0),
        (r#"controller_runtime_reconcile_total{controller="imagepullsecret",result="success"}"#, 1.0),
        (r#"controller_runtime_reconcile_time_seconds_count{controller="imagepullsecret"}"#, 1.0),
        (r#"controller_runtime_max_concurrent_reconciles{controller="imagepullsecret"}"#, 1.0),
        (r#"workqueue_adds_total{name="imagepullsecret",controller="imagepullsecret"}"#, 1.0),
        (
            r#"workqueue_queue_duration_seconds_count{name="imagepullsecret",controller="imagepullsecret"}"#,
            1.0,
        ),
        (r#"rest_client_requests_total{code="200",method="GET",host="127.0.0.1:"#, 3.0),
        (r#"rest_client_requests_total{code="201",method="PATCH",host="127.0.0.1:"#, 1.0),
        ("process_cpu_seconds_total ", 0.001),
        ("process_resident_memory_bytes ", 1e6),
        ("process_open_fds ", 5.0),
        ("process_start_time_seconds ", 1.7e9),
    ] {
        let value = metric(&solo, start).await;
        assert!(value >= least, "{start} is {value}");
    }
    // As many plans were done as were begun, and as many turns ended as waits.
    let one = |name: &str| format!(r#"{name}{{name="imagepullsecret",controller="imagepullsecret"}}"#);
    assert_eq!(metric(&solo, &one("workqueue_depth")).await, 0.0);
    assert_eq!(metric(&solo, &one("workqueue_unfinished_work_seconds")).await, 0.0);

    let log = solo.operator.log();
    let lines: Vec<Value> = log.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    for line in &lines {
        assert!(["timestamp", "level", "message"].iter().all(|key| line[key].is_string()), "{line}");
    }
    let written = lines.iter().find(|line| line["message"] == "secret written").unwrap();
    assert_eq!((&written["namespace"], &written["verb"]), (&json!(shop), &json!("create")));
    assert!(written["because"].as_str().unwrap().contains("namespace name"), "{written}");
}

#[tokio::test]
async fn the_log_level_is_taken_from_the_environment_and_nonsense_is_refused() {
    let refused = Command::new(binary()).arg("controller").env("LOG_LEVEL", "loud").output().unwrap();
    let complaint = String::from_utf8_lossy(&refused.stderr).into_owned();
    assert!(!refused.status.success());
    assert!(complaint.contains("\"loud\"") && complaint.contains("debug"), "{complaint}");

    if !can_play() {
        return;
    }
    let Some(control) = Solo::control().await else { return };
    let kubeconfig = control.admin_kubeconfig().unwrap();
    for (level, silent) in [("error", true), ("info", false), ("warning", true), ("panic", true)] {
        let mut command = Command::new(binary());
        command.args(["controller", "--metrics-addr", "127.0.0.1:0", "--log.format", "json", "--kubeconfig"]);
        let child = command.arg(&kubeconfig).env("LOG_LEVEL", level).stdout(Stdio::piped()).spawn().unwrap();
        // It says that it started before it does anything else.
        tokio::time::sleep(Duration::from_millis(500)).await;
        let pid = child.id().to_string();
        assert!(Command::new("kill").args(["-TERM", &pid]).status().unwrap().success());
        let output = tokio::task::spawn_blocking(move || child.wait_with_output()).await.unwrap().unwrap();
        assert!(output.status.success(), "{level}: {}", output.status);
        assert_eq!(output.stdout.is_empty(), silent, "{level}: {}", String::from_utf8_lossy(&output.stdout));
    }
}

#[tokio::test]
async fn series_of_controller_runtime_are_left_out_where_nobody_wants_them() {
    let Some(solo) = Solo::open(&["--metrics-controller-runtime-compat=false"]).await else { return };
    let (_, page) = solo.operator.get("/metrics").await.unwrap();
    let foreign = |line: &&str| {
        ["controller_runtime_", "workqueue_", "rest_client_", "process_"]
            .iter()
            .any(|name| line.contains(name))
    };
    assert_eq!(page.lines().find(foreign), None);
    assert!(page.contains("imps_build_info{"), "{page}");
}

#[tokio::test]
async fn the_log_level_rises_by_a_command_and_falls_back_and_no_credential_is_heard_meanwhile() {
    let Some(solo) = Solo::open(&[]).await else { return };
    let scene = &solo.scene;
    let pid = solo.operator.pid().unwrap().to_string();
    let change = |what: &str, level: &str| {
        let (what, level, pid) = (what.to_owned(), format!("\"log_level\":\"{level}\""), pid.clone());
        let operator = &solo.operator;
        async move {
            let before = operator.log().len();
            let output = Command::new(binary()).args(["log-level", &what, "--pid", &pid]).output().unwrap();
            assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
            eventually(&format!("{what} is obeyed"), async || {
                let since = operator.log()[before..].to_owned();
                if since.contains(&level) { Ok(()) } else { Err(since) }
            })
            .await;
            operator.log().len()
        }
    };
    change("raise", "debug").await;
    let loud = change("raise", "trace").await;
    let canary = super::canary::canary("loud");
    scene.source("hub", &[("reg.example", ("robot", canary.as_str()))]).await;
    let shop = scene.namespace("shop", json!({})).await;
    let grant = scene.grant("g", &["hub"], json!({"namespaces": {"names": [&shop]}})).await;
    scene.ready_in(&grant, &[&shop]).await;
    // What cannot be decoded is what kube's client would print whole.
    let data: &[(&str, &[u8])] = &[("key", canary.as_bytes())];
    scene.put_secret(&scene.home, "opaque", "Opaque", data, json!({})).await;
    scene
        .edit_grant(
            &grant,
            json!({"registry": {"credentials": [{"name": "opaque", "namespace": scene.home}]}}),
        )
        .await;
    scene.status(&grant, "not a source", |status| status["sources"][0]["state"] == "Failing").await;
    let said = solo.operator.log()[loud..].to_owned();
    assert!(said.contains("\"level\":\"DEBUG\""), "{said}");
    let places = [("the log".to_owned(), said)];
    assert_eq!(super::canary::find(&[canary], &places), [] as [String; 0]);

    // At its start the level was info, at which the change is told, and after that no detail is.
    let quiet = change("reset", "info").await;
    scene.namespace("late", json!({})).await;
    scene
        .edit_grant(&grant, json!({"registry": {"credentials": [{"name": "hub", "namespace": scene.home}]}}))
        .await;
    scene.ready_in(&grant, &[&shop]).await;
    let said = solo.operator.log()[quiet..].to_owned();
    assert!(said.contains("\"level\":\"INFO\"") && !said.contains("\"level\":\"DEBUG\""), "{said}");

    // It would end a program that does not expect it.
    let own = std::process::id().to_string();
    let refused = Command::new(binary()).args(["log-level", "raise", "--pid", &own]).output().unwrap();
    let complaint = String::from_utf8_lossy(&refused.stderr).into_owned();
    assert!(!refused.status.success() && complaint.contains("--pid"), "{complaint}");
}

#[tokio::test]
async fn sigterm_ends_it_within_five_seconds_also_in_the_middle_of_a_fan_out() {
    const NAMESPACES: usize = 300;
    let Some(mut solo) = Solo::open(&[]).await else { return };
    let scene = &solo.scene;
    scene.source("hub", &[("reg.example", ROBOT)]).await;
    crowd(scene, NAMESPACES).await;
    let by_label = json!({"namespaces": {"labels": [{"matchLabels": {"team": scene.id}}]}});
    let start = Instant::now();
    let grant = scene.grant("g", &["hub"], by_label).await;
    eventually("the fan-out has begun", async || {
        let done = scene.holders(&scene.secret).await.len();
        if done > 0 { Ok(()) } else { Err("none".to_owned()) }
    })
    .await;
    let (status, took) = solo.operator.terminate().await.unwrap();
    let done = solo.scene.holders(&solo.scene.secret).await.len();
    say(&format!("SIGTERM after {done} of {NAMESPACES} namespaces: ended with {status} in {took:.0?}"));
    assert!(status.success(), "{status}");
    assert!(took < Duration::from_secs(5), "{took:?}");
    assert!(done < NAMESPACES, "it was in the middle");
    assert!(solo.operator.log().contains("imps controller stopped"));

    // What was left undone is done by the next process, and nothing twice.
    solo.operator.begin().await.unwrap();
    let scene = &solo.scene;
    eventually("all are served", async || match scene.holders(&scene.secret).await.len() {
        NAMESPACES => Ok(()),
        done => Err(format!("{done}")),
    })
    .await;
    say(&format!("{NAMESPACES} namespaces with a restart in between: {:.0?}", start.elapsed()));
    let status = scene.status(&grant, "ready", |status| super::read::is_true(status, "Ready")).await;
    assert_eq!(status["targets"]["synced"], NAMESPACES);
    let managed: Vec<&str> = super::read::texts(&status["managedNamespaces"]).collect();
    assert_eq!(managed.len(), 101, "a hundred and a note");
    assert_eq!(managed[100], "(and 200 more, see status.targets)");
    let patches =
        solo.writes().iter().filter(|write| write.contains(&format!("/secrets/{}", scene.secret))).count();
    assert_eq!(patches, NAMESPACES, "one write for each namespace");
    assert!(solo.operator.get("/livez").await.unwrap().0 == 200);
}

/// Many namespaces with the label `team`, some at a time.
async fn crowd(scene: &Scene, count: usize) {
    let one = |n: usize| async move {
        scene.namespace(&format!("n{n}"), json!({"labels": {"team": scene.id}})).await;
    };
    futures::stream::iter(0..count).for_each_concurrent(16, one).await;
}
