//! `imps diagnose --probe` at registries that are real: one with a password file, one with a token service, and what a
//! wire does to them.

#![allow(clippy::unwrap_used, reason = "a command that cannot be run has failed")]

use std::path::{Path, PathBuf};
use std::process::Output;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use imps_testbed::registry::{Clerk, Settings};
use imps_testbed::wire::Mode;
use imps_testbed::{Login, Registry, Wire, skip_or_fail};
use serde_json::{Value, json};

const OWNER: Login<'_> = Login { user: "canary-owner", password: "canary-right" };
const WRONG: Login<'_> = Login { user: "canary-owner", password: "canary-wrong" };
const OTHER: Login<'_> = Login { user: "canary-other", password: "canary-other-right" };

/// A machine that can run registries.
fn able() -> bool {
    match Registry::available() {
        Ok(()) => true,
        Err(missing) => {
            skip_or_fail(missing);
            false
        }
    }
}

/// What is asked: an image, and the logins that its pod has for its registry.
struct Question<'a> {
    registry: &'a str,
    image: &'a str,
    logins: &'a [Login<'a>],
}

impl Question<'_> {
    /// The pod's Secrets, each with one of the logins, as manifests.
    fn manifests(&self, folder: &tempfile::TempDir) -> PathBuf {
        let secret = |(number, login): (usize, &Login<'_>)| {
            let config =
                json!({"auths": {self.registry: {"username": login.user, "password": login.password}}});
            json!({
                "apiVersion": "v1", "kind": "Secret", "type": "kubernetes.io/dockerconfigjson",
                "metadata": {"name": format!("pull-{number}"), "namespace": "shop"},
                "stringData": {".dockerconfigjson": config.to_string()},
            })
        };
        let named = |number| json!({"name": format!("pull-{number}")});
        let account = json!({
            "apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": "default", "namespace": "shop"},
            "imagePullSecrets": (0..self.logins.len()).map(named).collect::<Vec<_>>(),
        });
        let space = json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "shop"}});
        let secrets = self.logins.iter().enumerate().map(secret);
        let items: Vec<Value> = [space, account].into_iter().chain(secrets).collect();
        let file = folder.path().join("objects.json");
        std::fs::write(&file, json!({"apiVersion": "v1", "kind": "List", "items": items}).to_string())
            .unwrap();
        file
    }

    async fn ask(&self, format: &str, more: &[&str]) -> Output {
        self.ask_by(tokio::process::Command::new(env!("CARGO_BIN_EXE_imps")), format, more).await
    }

    /// By a command that trusts this authority.
    async fn trusting(&self, authority: &Path) -> Output {
        let mut command = tokio::process::Command::new(env!("CARGO_BIN_EXE_imps"));
        command.env("SSL_CERT_FILE", authority);
        self.ask_by(command, "json", &["--probe", "--probe-timeout", "60"]).await
    }

    async fn ask_by(&self, mut command: tokio::process::Command, format: &str, more: &[&str]) -> Output {
        let folder = tempfile::tempdir().unwrap();
        let file = self.manifests(&folder);
        let image = format!("{}/{}", self.registry, self.image);
        command.args(["diagnose", "--image", &image, "-n", "shop", "-o", format, "-f"]).arg(file).args(more);
        let output = command.output().await.unwrap();
        assert!(!said(&output).contains("canary"), "{}", said(&output));
        output
    }

    /// The code of the verdict, and the codes of the findings of the rung.
    async fn answer(&self) -> (String, Vec<String>) {
        // Time enough for a machine that is busy.
        let output = self.ask("json", &["--probe", "--probe-timeout", "60"]).await;
        let report: Value =
            serde_json::from_slice(&output.stdout).unwrap_or_else(|_| panic!("{}", said(&output)));
        let pod = &report["pods"][0];
        let findings = pod["findings"].as_array().unwrap().iter();
        let codes = findings.map(|finding| finding["code"].as_str().unwrap().to_owned());
        let verdict = pod["verdict"]["code"].as_str().unwrap_or("none").to_owned();
        (verdict, codes.filter(|code| code.starts_with("IMPS07")).collect())
    }
}

fn said(output: &Output) -> String {
    format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr))
}

async fn expect(registry: &str, cases: &[(&str, &[Login<'_>], &str, &[&str])]) {
    for (image, logins, verdict, findings) in cases {
        let answer = Question { registry, image, logins }.answer().await;
        let findings: Vec<String> = findings.iter().map(|code| (*code).to_owned()).collect();
        assert_eq!(answer, ((*verdict).to_owned(), findings), "{image} {logins:?}");
    }
}

#[tokio::test]
async fn a_registry_with_a_password_file_tells_right_from_wrong() {
    if !able() {
        return;
    }
    let registry = Registry::start(&[OWNER]).await.unwrap();
    registry.push_image("team/app:1", OWNER).await.unwrap();
    expect(
        registry.address(),
        &[
            ("team/app:1", &[OWNER], "IMPS070", &["IMPS070"]),
            ("team/app:1", &[WRONG], "IMPS071", &["IMPS071"]),
            ("team/app:1", &[WRONG, OWNER], "IMPS070", &["IMPS070"]),
            // Why there is none to show says more than that one is wanted.
            ("team/app:1", &[], "IMPS021", &["IMPS071"]),
            ("team/app:2", &[OWNER], "IMPS073", &["IMPS073"]),
            ("team/none:1", &[OWNER], "IMPS073", &["IMPS073"]),
            ("team/none:1", &[WRONG, OWNER], "IMPS073", &["IMPS071", "IMPS073"]),
        ],
    )
    .await;

    let question = Question { registry: registry.address(), image: "team/app:1", logins: &[WRONG, OWNER] };
    let unasked = question.ask("wide", &[]).await;
    assert!(!said(&unasked).contains("IMPS07"), "{}", said(&unasked));
    let asked = said(&question.ask("wide", &["--probe"]).await);
    for words in ["lets the pull in; asked from this machine, whose network may differ", "secret/pull-1"] {
        assert!(asked.contains(words), "{words}: {asked}");
    }
}

#[tokio::test]
async fn a_registry_with_a_token_service_tells_no_right_from_no_login() {
    if !able() {
        return;
    }
    let clerk = Clerk::start(&[(OWNER, "team/app"), (OTHER, "team/other")]).await.unwrap();
    let settings = Settings { tokens: Some(clerk.service()), ..Settings::default() };
    let registry = Registry::start_with(&settings).await.unwrap();
    registry.push_image("team/app:1", OWNER).await.unwrap();
    let pushed = clerk.scopes().len();
    expect(
        registry.address(),
        &[
            ("team/app:1", &[OWNER], "IMPS070", &["IMPS070"]),
            ("team/app:1", &[WRONG], "IMPS071", &["IMPS071"]),
            ("team/app:1", &[OTHER], "IMPS072", &["IMPS072"]),
            ("team/app:1", &[WRONG, OTHER], "IMPS072", &["IMPS071", "IMPS072"]),
            ("team/app:1", &[OTHER, OWNER], "IMPS070", &["IMPS070"]),
            ("team/app:1", &[], "IMPS021", &["IMPS071"]),
            ("team/app:2", &[OWNER], "IMPS073", &["IMPS073"]),
            ("team/none:1", &[OWNER], "IMPS072", &["IMPS072"]),
        ],
    )
    .await;
    let asked = clerk.scopes().split_off(pushed);
    assert!(asked.len() >= 8 && asked.iter().all(|scope| scope.ends_with(":pull")), "{asked:?}");
}

#[tokio::test]
async fn a_token_that_has_ended_is_no_missing_right() {
    if !able() {
        return;
    }
    let clerk = Clerk::start(&[(OWNER, "team/app")]).await.unwrap();
    let settings = Settings { tokens: Some(clerk.service()), ..Settings::default() };
    let registry = Registry::start_with(&settings).await.unwrap();
    registry.push_image("team/app:1", OWNER).await.unwrap();
    clerk.be_late();
    let one = [OWNER];
    let question = Question { registry: registry.address(), image: "team/app:1", logins: &one };
    assert_eq!(question.answer().await, ("IMPS078".to_owned(), vec!["IMPS078".to_owned()]));
    let late = said(&question.ask("wide", &["--probe"]).await);
    assert!(late.contains("the token that its own token service gave"), "{late}");
}

#[tokio::test]
async fn a_login_that_is_a_token_and_has_ended_is_refused_for_that() {
    if !able() {
        return;
    }
    let registry = Registry::start(&[OWNER]).await.unwrap();
    registry.push_image("team/app:1", OWNER).await.unwrap();
    let part = |claims: Value| URL_SAFE_NO_PAD.encode(claims.to_string());
    let token =
        [json!({"alg": "ES256"}), json!({"exp": 1_700_000_000, "sub": "canary"}), json!("canary")].map(part);
    let token = token.join(".");
    let ended = Login { user: OWNER.user, password: &token };
    let cases: [(&str, &[Login<'_>], &str, &[&str]); 2] = [
        ("team/app:1", &[ended], "IMPS051", &["IMPS071"]),
        ("team/app:1", &[ended, OWNER], "IMPS070", &["IMPS070"]),
    ];
    expect(registry.address(), &cases).await;
}

#[tokio::test]
async fn a_registry_is_shown_a_login_when_its_authority_is_trusted() {
    if !able() {
        return;
    }
    let settings = Settings { users: &[OWNER, OTHER], encrypted: true, ..Settings::default() };
    let registry = Registry::start_with(&settings).await.unwrap();
    registry.push_image("team/app:1", OTHER).await.unwrap();
    let one = [OWNER];
    let question = Question { registry: registry.address(), image: "team/app:1", logins: &one };
    assert_eq!(question.answer().await, ("IMPS075".to_owned(), vec!["IMPS075".to_owned()]));
    assert_eq!(registry.visitors("team/app").unwrap(), [OTHER.user], "who is not trusted is shown nothing");
    let trusting = question.trusting(registry.authority().unwrap()).await;
    assert!(said(&trusting).contains("IMPS070"), "{}", said(&trusting));
    assert_eq!(registry.visitors("team/app").unwrap(), [OTHER.user, OWNER.user]);
}

#[tokio::test]
async fn what_a_wire_does_is_told_as_it_is() {
    if !able() {
        return;
    }
    let registry = Registry::start(&[OWNER]).await.unwrap();
    registry.push_image("team/app:1", OWNER).await.unwrap();
    let wire = Wire::to(registry.address()).await.unwrap();
    let at = wire.address();
    let one = [OWNER];
    let question = Question { registry: &at, image: "team/app:1", logins: &one };
    assert_eq!(question.answer().await.0, "IMPS070");

    wire.set(Mode::Throttle { retry_after: Some(30) });
    assert_eq!(question.answer().await.0, "IMPS074");
    let throttled = said(&question.ask("wide", &["--probe"]).await);
    assert!(throttled.contains("ask again in 30 s"), "{throttled}");

    wire.set(Mode::ServerError(503));
    assert_eq!(question.answer().await.0, "IMPS078");

    wire.set(Mode::Hang);
    let hanging = said(&question.ask("json", &["--probe", "--probe-timeout", "1"]).await);
    assert!(hanging.contains("IMPS077") && hanging.contains("does not answer in time"), "{hanging}");

    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let nowhere = listener.local_addr().unwrap().to_string();
    drop(listener);
    assert_eq!(Question { registry: &nowhere, ..question }.answer().await.0, "IMPS076");
}
