//! A pod that cannot pull its image runs as soon as imps has written the pull secret.

use std::time::Instant;

use imps_testbed::binaries::NodeBinaries;
use imps_testbed::{ControlPlane, Login, Node, Options, Registry};
use kube::ResourceExt;
use serde_json::{Value, json};

use super::stage::{Stage, TARGET, grant, on_a_node, operator, say, source};

/// The source.
const SOURCE: &str = "company";
const IMAGE: &str = "team/hello:1";
const LOGIN: Login<'static> = Login { user: "robot", password: "first-made-up" };
const NEXT: Login<'static> = Login { user: "robot", password: "second-made-up" };

#[tokio::test]
async fn a_waiting_pod_runs_once_its_pull_secret_is_written_and_rotation_reaches_the_next_pod() {
    on_a_node(play()).await;
}

async fn play() {
    let begun = Instant::now();
    let control = ControlPlane::start(Options::full()).await.unwrap();
    let client = control.admin_client().await.unwrap();
    let registry = Registry::start(&[LOGIN]).await.unwrap();
    registry.push_program(IMAGE, &NodeBinaries::find().unwrap().idle, LOGIN).await.unwrap();
    let image = format!("{}/{IMAGE}", registry.address());
    let operator = operator(&control, &client, &give()).await;
    let node = Node::start(&control).await.unwrap();
    say(&format!("all is up after {:.1?}", begun.elapsed()));
    let stage = Stage { client, node, operator };

    let waiting = stage.pod("waiting", &image, Some(TARGET)).await;
    let uid = waiting.uid().unwrap();
    let message = stage.refused("waiting").await;
    assert!(message.contains("401"), "the registry asks for a login: {message}");
    say(&format!("refused after {:.1?}: {message}", begun.elapsed()));
    assert!(stage.target().await.is_none(), "the pull secret is not there before it is asked for");

    stage.apply(login(&registry, LOGIN)).await;
    stage.apply(give()).await;
    let running = stage.running("waiting").await;
    say(&format!("running after {:.1?}", begun.elapsed()));
    assert_eq!(running.uid().unwrap(), uid, "it is the pod that waited");
    stage.pulled(&running, &image).await;
    let written = stage.target().await.unwrap();

    registry.set_users(&[NEXT]).unwrap();
    stage.apply(login(&registry, NEXT)).await;
    let rotated = stage.until("the target holds the new login", async || {
        let target = stage.target().await.ok_or("it is gone")?;
        if target.data == written.data { Err("the old login".to_owned()) } else { Ok(target) }
    });
    assert_eq!(rotated.await.uid(), written.uid(), "the Secret is updated, not replaced");
    stage.pod("later", &image, Some(TARGET)).await;
    let later = stage.running("later").await;
    say(&format!("the next pod runs after {:.1?}", begun.elapsed()));
    stage.pulled(&later, &image).await;
    assert_eq!(stage.target().await.unwrap().uid(), written.uid());
    for (name, pid) in ["kubelet", "containerd"].iter().zip(stage.node.pids()) {
        say(&format!("{name}: {}", memory(pid.unwrap())));
    }
}

fn give() -> Value {
    grant(&[SOURCE], json!({}))
}

fn login(registry: &Registry, login: Login<'_>) -> Value {
    let says = json!({".dockerconfigjson": registry.docker_config(login)});
    source(SOURCE, "kubernetes.io/dockerconfigjson", says)
}

/// What a process holds, in the kernel's words.
fn memory(pid: u32) -> String {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    status.lines().filter(|line| line.starts_with("VmHWM") || line.starts_with("VmRSS")).collect()
}
