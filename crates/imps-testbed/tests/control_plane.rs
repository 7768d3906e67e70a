//! The control plane under test is a real one: it keeps what it is told, refuses what RBAC does not grant, logs
//! who asked for what, and survives what tests do to it.
#![expect(clippy::unwrap_used, reason = "the helpers of a test fail as the test does")]

use std::time::Duration;

use imps_testbed::binaries::Binaries;
use imps_testbed::{ControlPlane, Options, Plane, Profile, fresh_name, skip_or_fail};
use k8s_openapi::api::core::v1::{Namespace, Secret, ServiceAccount};
use kube::api::{Api, ListParams, ObjectMeta, PostParams};

/// False, with the skip recorded, when there is nothing to run.
fn binaries_are_here() -> bool {
    match Binaries::find() {
        Ok(_) => true,
        Err(error) => {
            skip_or_fail(format!("{error:#}"));
            false
        }
    }
}

fn named(name: &str) -> ObjectMeta {
    ObjectMeta { name: Some(name.to_owned()), ..ObjectMeta::default() }
}

async fn create_namespace(plane: &Plane, name: &str) {
    let namespaces = Api::<Namespace>::all(plane.admin_client().await.unwrap());
    let namespace = Namespace { metadata: named(name), ..Namespace::default() };
    namespaces.create(&PostParams::default(), &namespace).await.unwrap();
}

async fn create_account(plane: &Plane, namespace: &str, name: &str) {
    let accounts = Api::<ServiceAccount>::namespaced(plane.admin_client().await.unwrap(), namespace);
    let account = ServiceAccount { metadata: named(name), ..ServiceAccount::default() };
    accounts.create(&PostParams::default(), &account).await.unwrap();
}

fn audit_lines(plane: &Plane, uri: &str) -> Vec<serde_json::Value> {
    let text = std::fs::read_to_string(plane.audit_log().expect("an audit log")).unwrap();
    let lines = text.lines().map(|line| serde_json::from_str::<serde_json::Value>(line).unwrap());
    lines.filter(|line| line["requestURI"].as_str().is_some_and(|asked| asked.contains(uri))).collect()
}

#[tokio::test]
async fn a_namespace_that_was_created_is_listed() {
    if !binaries_are_here() {
        return;
    }
    let plane = Plane::of_this_run().await.unwrap();
    let name = fresh_name("shop");
    create_namespace(&plane, &name).await;
    let namespaces = Api::<Namespace>::all(plane.admin_client().await.unwrap());
    let listed = namespaces.list(&ListParams::default()).await.unwrap();
    assert!(listed.items.iter().any(|namespace| namespace.metadata.name.as_ref() == Some(&name)));
}

#[tokio::test]
async fn a_service_account_without_a_role_is_known_and_refused() {
    if !binaries_are_here() {
        return;
    }
    let plane = Plane::of_this_run().await.unwrap();
    let namespace = fresh_name("shop");
    create_namespace(&plane, &namespace).await;
    create_account(&plane, &namespace, "robot").await;
    let token = plane.service_account_token(&namespace, "robot").await.unwrap();

    let secrets = Api::<Secret>::namespaced(plane.client_with_token(&token).await.unwrap(), &namespace);
    let Err(kube::Error::Api(status)) = secrets.list(&ListParams::default()).await else {
        panic!("a role-less account may list secrets");
    };
    assert_eq!(status.code, 403);
    assert!(
        status.message.contains(&format!("system:serviceaccount:{namespace}:robot")),
        "{}",
        status.message
    );

    let kubeconfig = plane.write_kubeconfig("robot", &token).unwrap();
    assert!(std::fs::read_to_string(&kubeconfig).unwrap().contains(&token));
    let mode = std::os::unix::fs::PermissionsExt::mode(&kubeconfig.metadata().unwrap().permissions());
    assert_eq!(mode & 0o777, 0o600);
}

#[tokio::test]
async fn a_request_is_in_the_audit_log_when_its_answer_is_here() {
    if !binaries_are_here() {
        return;
    }
    let plane = Plane::of_this_run().await.unwrap();
    if plane.audit_log().is_none() {
        return skip_or_fail("the existing cluster of IMPS_TEST_CONTEXT has no audit log");
    }
    for _ in 0..20 {
        let name = fresh_name("audited");
        create_namespace(&plane, &name).await;
        let secrets = Api::<Secret>::namespaced(plane.admin_client().await.unwrap(), &name);
        secrets.list(&ListParams::default()).await.unwrap();
        let lines = audit_lines(&plane, &format!("/namespaces/{name}/secrets"));
        assert_eq!(lines.len(), 1, "{lines:?}");
        assert_eq!((&lines[0]["verb"], &lines[0]["user"]["username"]), (&"list".into(), &"admin".into()));
        assert_eq!(lines[0]["level"], "Metadata");
    }
}

#[tokio::test]
async fn the_api_server_comes_back_with_its_objects_after_a_crash_and_ends_with_its_owner() {
    if !binaries_are_here() {
        return;
    }
    let owner = ControlPlane::start(Options::api_server()).await.unwrap();
    let name = fresh_name("shop");
    create_namespace(&owner, &name).await;
    let namespaces = Api::<Namespace>::all(owner.admin_client().await.unwrap());
    let pids = owner.pids();

    owner.kill_apiserver();
    assert_eq!(owner.pids().kube_apiserver, None);
    assert!(namespaces.get(&name).await.is_err(), "nothing may answer");
    owner.start_apiserver().await.unwrap();
    assert_eq!(namespaces.get(&name).await.unwrap().metadata.name, Some(name.clone()));
    assert_ne!(owner.pids().kube_apiserver, pids.kube_apiserver);

    owner.pause_apiserver().unwrap();
    let frozen = tokio::time::timeout(Duration::from_millis(300), namespaces.get(&name)).await;
    assert!(frozen.is_err(), "a frozen server may not answer");
    owner.resume_apiserver().unwrap();
    namespaces.get(&name).await.unwrap();

    let folder = owner.folder().to_owned();
    owner.stop().await;
    assert!(!folder.exists(), "the folder is gone");
    let etcd = std::path::PathBuf::from(format!("/proc/{}/exe", pids.etcd.unwrap()));
    assert!(!etcd.exists(), "etcd has ended");
}

#[tokio::test]
async fn a_failed_start_shows_the_log_and_keeps_it() {
    if !binaries_are_here() {
        return;
    }
    let apiserver_flags = vec!["--no-such-flag".to_owned()];
    let options = Options { apiserver_flags, ..Options::api_server() };
    let error = format!("{:#}", ControlPlane::start(options).await.unwrap_err());
    assert!(error.contains("unknown flag: --no-such-flag"), "{error}");
    let kept =
        error.split("its logs are in ").nth(1).and_then(|rest| rest.split(": ").next()).expect("a folder");
    assert!(std::path::Path::new(kept).join("kube-apiserver.log").exists());
    std::fs::remove_dir_all(kept).unwrap();
}

#[tokio::test]
async fn the_full_profile_makes_default_accounts_and_can_be_attached_to() {
    if !binaries_are_here() {
        return;
    }
    let plane = Plane::of_this_run().await.unwrap();
    if plane.profile() != Profile::Full {
        return skip_or_fail("there is no kube-controller-manager: cargo xtask plane build");
    }
    let accounts = Api::<ServiceAccount>::namespaced(plane.admin_client().await.unwrap(), "default");
    accounts.get("default").await.unwrap();

    let owner = ControlPlane::start(Options::api_server()).await.unwrap();
    owner.write_record().unwrap();
    let attached = Plane::attach(owner.folder()).unwrap();
    assert_eq!((attached.url(), attached.profile()), (owner.url(), Profile::ApiServer));
    attached.admin_client().await.unwrap().apiserver_version().await.unwrap();
    drop(owner);
    assert!(attached.admin_client().await.unwrap().apiserver_version().await.is_err());
}

/// Not a test of its own: the process that [`nothing_outlives_a_process_that_was_killed`] starts and kills.
#[tokio::test]
async fn hold_a_control_plane_for_another_test() {
    if std::env::var_os("IMPS_TEST_HOLD").is_none() {
        return;
    }
    let owner = ControlPlane::start(Options::api_server()).await.unwrap();
    owner.write_record().unwrap();
    std::fs::write(std::env::var_os("IMPS_TEST_HOLD").unwrap(), owner.folder().to_str().unwrap()).unwrap();
    tokio::time::sleep(Duration::from_secs(60)).await;
}

#[tokio::test]
async fn nothing_outlives_a_process_that_was_killed() {
    if !binaries_are_here() {
        return;
    }
    let said = tempfile::NamedTempFile::new().unwrap();
    let mut holder = std::process::Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "hold_a_control_plane_for_another_test"])
        .env("IMPS_TEST_HOLD", said.path())
        .stdout(std::process::Stdio::null())
        .spawn()
        .unwrap();
    let folder =
        eventually(|| std::fs::read_to_string(said.path()).ok().filter(|text| !text.is_empty())).await;
    let folder = std::path::PathBuf::from(folder);
    let record = imps_testbed::plane::Record::read(&folder).unwrap();
    assert_eq!(record.processes.len(), 2);

    holder.kill().unwrap();
    holder.wait().unwrap();
    eventually(|| (!folder.exists()).then_some(())).await;
    for (name, process) in record.processes {
        let program = format!("/proc/{}/exe", process.pid);
        eventually(|| std::fs::read_link(&program).is_err().then_some(())).await;
        assert!(!std::path::Path::new(&program).exists(), "{name} still runs");
    }
}

/// Asks again until there is an answer; gives up after a minute.
async fn eventually<T>(mut ask: impl FnMut() -> Option<T>) -> T {
    for _ in 0..2400 {
        if let Some(answer) = ask() {
            return answer;
        }
        tokio::time::sleep(Duration::from_millis(25)).await;
    }
    panic!("not within a minute");
}
