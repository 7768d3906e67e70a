//! A real client of a real registry pulls with what imps writes, also while tokens come and go.
//!
//! The registry has the name of one of Amazon, and lets in who has a token that the endpoint has issued.

use std::path::Path;
use std::time::{Duration, Instant, SystemTime};

use futures::future::join_all;
use imps_testbed::aws::{Account, IssuedToken, Keys};
use imps_testbed::registry::Settings;
use imps_testbed::wire::Mode;
use imps_testbed::{Aws, Login, Pull, Registry};
use serde_json::json;
use tokio::sync::OnceCell;

use super::{ASK, Cloud, ECR, ROBOT, STATIC, Witness, has_token, host, names, password};
use crate::mission::read::content;
use crate::mission::stage::Scene;
use crate::mission::wait::{eventually, say};

/// What is pulled.
const IMAGE: &str = "shop/checkout:1.0";
/// Who may push. At Amazon that would be somebody with another token.
const PUSHER: Login<'_> = Login { user: "pusher", password: "made-up" };

/// The life of a token in the rotation.
const LIFE: Duration = Duration::from_secs(20);
/// How long a token is still let in after the next one was issued. Amazon lets it in until it expires.
const OVERLAP: Duration = Duration::from_secs(6);
/// How long an answer is on its way to imps; the registry has to know the token before imps does.
const DELAY: Duration = Duration::from_secs(1);
/// How often the registry learns what was issued.
const LEARN_EVERY: Duration = Duration::from_millis(50);
/// How long it is pulled.
const SPAN: Duration = Duration::from_secs(120);
/// The pause between two pulls of one namespace. Other scenes want the machine too.
const PAUSE: Duration = Duration::from_millis(250);
const ROTATIONS_MIN: usize = 8;
/// In each namespace.
const PULLS_MIN: usize = 50;

#[tokio::test]
async fn a_client_pulls_with_the_secret_and_not_with_that_of_wrong_keys() {
    let Some(registry) = ecr_registry().await else { return };
    let Some(cloud) = Cloud::open().await else { return };
    let Some(scene) = Scene::open().await else { return };
    let user = cloud.user(&[ECR]).await;
    let wrong = Keys { secret_key: "made-up".to_owned(), ..user.keys.clone() };
    let account = Account::OURS.number;
    cloud.fields_with(account, &user.keys).write(&scene, "right").await;
    cloud.fields_with(account, &wrong).write(&scene, "wrong").await;
    scene.source("static", &[(STATIC, ROBOT)]).await;
    let shop = scene.namespace("shop", json!({})).await;
    let stray = scene.namespace("stray", json!({})).await;
    scene.grant("right", &["right"], names(&[&shop])).await;
    scene.grant("wrong", &["wrong", "static"], names(&[&stray])).await;

    eventually("the token was issued", async || match cloud.issued_to(&user.arn).await.len() {
        1 => Ok(()),
        other => Err(format!("{other} tokens")),
    })
    .await;
    let token = cloud.issued_to(&user.arn).await.remove(0);
    registry.set_users(&[login(&token)]).unwrap();
    let folder = tempfile::tempdir().unwrap();
    let pull = async |namespace: &str| {
        let file = folder.path().join(namespace);
        read_secret(&scene, namespace, &file).await;
        registry.pull(&file, IMAGE).await.unwrap()
    };
    has_token(&scene, &shop, &host(account), &token).await;
    assert_eq!(pull(&shop).await, Pull::Pulled);

    scene.has_login(&stray, &format!("{STATIC}/app"), ROBOT).await;
    assert!(matches!(pull(&stray).await, Pull::Refused(_)));
    // The keys were all that was wrong: with the right ones it is the same exchange, whose token is held.
    cloud.fields_with(account, &user.keys).write(&scene, "wrong").await;
    has_token(&scene, &stray, &host(account), &token).await;
    assert_eq!(pull(&stray).await, Pull::Pulled);
}

#[tokio::test]
async fn tokens_are_rotated_for_two_minutes_and_no_pull_fails() {
    static AWS: OnceCell<Aws> = OnceCell::const_new();
    let Some(registry) = ecr_registry().await else { return };
    let Some(cloud) = Cloud::on(&AWS, LIFE).await else { return };
    let Some(scene) = Scene::open().await else { return };
    cloud.wire.set(Mode::Delay(DELAY));
    let user = cloud.user(&[ECR]).await;
    cloud.fields_with(Account::OURS.number, &user.keys).write(&scene, "hub").await;
    let namespaces = [
        scene.namespace("a", json!({})).await,
        scene.namespace("b", json!({})).await,
        scene.namespace("c", json!({})).await,
    ];
    let all: Vec<&str> = namespaces.iter().map(String::as_str).collect();
    let witness = Witness::of(&scene.client, &scene.secret).await;
    let mut gatekeeper =
        Gatekeeper { registry: &registry, cloud: &cloud, user: &user.arn, known: Vec::new() };

    let grant = scene.grant("g", &["hub"], names(&all)).await;
    let pulls = async {
        scene.ready_in(&grant, &all).await;
        join_all(all.iter().map(|namespace| pull_on(&scene, &registry, namespace))).await
    };
    let diaries = tokio::select! {
        diaries = pulls => diaries,
        () = gatekeeper.work() => unreachable!("it works as long as it is let"),
    };

    // Once the last rotation has arrived, each token is written once in each namespace.
    let host = host(Account::OURS.number);
    let issued = eventually("each namespace has got each token once, in place", async || {
        let issued: Vec<_> =
            cloud.issued_to(&user.arn).await.into_iter().map(|token| token.password).collect();
        let versions = witness.versions();
        for namespace in &all {
            let written: Vec<_> = versions[*namespace].iter().filter_map(|v| password(v, &host)).collect();
            let kept =
                versions[*namespace].iter().all(|v| v.metadata.uid == versions[*namespace][0].metadata.uid);
            if written != issued || versions[*namespace].len() != issued.len() || !kept {
                return Err(format!("{} tokens, {} versions in {namespace}", issued.len(), written.len()));
            }
        }
        Ok(issued.len())
    })
    .await;
    let rotations = issued - 1;
    let count = diaries.iter().map(|diary| diary.pulls).sum::<usize>();
    let longest = diaries.iter().map(|diary| diary.longest).max().unwrap();
    let refusals: Vec<_> = diaries.iter().flat_map(|diary| &diary.refusals).collect();
    let late = gatekeeper.latest();
    say(&format!(
        "{count} pulls in {SPAN:?} with {rotations} rotations: {} refused; the longest took {longest:.0?}; the \
         registry knew each token after {late:.0?} at most",
        refusals.len()
    ));
    assert!(
        late < DELAY,
        "the registry learned a token {late:?} after it was issued, so this run shows nothing"
    );
    assert!(refusals.is_empty(), "the first of them: {:#?}", refusals.iter().take(5).collect::<Vec<_>>());
    assert!(diaries.iter().all(|diary| diary.pulls >= PULLS_MIN), "{diaries:?}");
    assert!(rotations >= ROTATIONS_MIN, "{rotations} rotations");
    assert_eq!(cloud.wire.count(ASK), rotations + 1, "no request but for a token that is written");
}

/// A registry with the name of ours at Amazon, and the image in it; none when this machine cannot run it.
async fn ecr_registry() -> Option<Registry> {
    if let Err(missing) = Registry::available() {
        missing.skip_or_fail();
        return None;
    }
    let host = host(Account::OURS.number);
    let settings = Settings { users: &[PUSHER], host: Some(&host), ..Settings::default() };
    let registry = Registry::start_with(&settings).await.unwrap();
    registry.push_image(IMAGE, PUSHER).await.unwrap();
    Some(registry)
}

/// The login that a token makes.
fn login(token: &IssuedToken) -> Login<'_> {
    Login { user: "AWS", password: &token.password }
}

/// Puts what the target Secret holds now into a file.
async fn read_secret(scene: &Scene, namespace: &str, file: &Path) {
    let secret = scene.target(namespace).await.expect("the target stays");
    std::fs::write(file, content(&secret)).unwrap();
}

/// What became of the pulls of one namespace.
#[derive(Default, Debug)]
struct Diary {
    pulls: usize,
    longest: Duration,
    refusals: Vec<String>,
}

/// Pulls again and again, each time with what the Secret holds right before.
async fn pull_on(scene: &Scene, registry: &Registry, namespace: &str) -> Diary {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("config.json");
    let mut diary = Diary::default();
    let begun = Instant::now();
    while begun.elapsed() < SPAN {
        let at = Instant::now();
        read_secret(scene, namespace, &file).await;
        match registry.pull(&file, IMAGE).await.unwrap() {
            Pull::Pulled => diary.pulls += 1,
            Pull::Refused(words) => {
                let (since, took) = (at - begun, at.elapsed());
                diary.refusals.push(format!("{namespace} after {since:.1?}, a pull of {took:.0?}: {words}"));
            }
        }
        diary.longest = diary.longest.max(at.elapsed());
        tokio::time::sleep(PAUSE).await;
    }
    diary
}

/// Sees to it that the registry lets in the newest token, and the one before it for [`OVERLAP`].
struct Gatekeeper<'a> {
    registry: &'a Registry,
    cloud: &'a Cloud,
    user: &'a str,
    /// Every token so far, and how long after its issue the registry knew it.
    known: Vec<(String, Duration)>,
}

impl Gatekeeper<'_> {
    async fn work(&mut self) {
        let mut let_in = Vec::new();
        loop {
            let issued = self.cloud.issued_to(self.user).await;
            let now = SystemTime::now();
            let successors = issued.iter().skip(1).map(|token| Some(token.at)).chain([None]);
            let valid = issued.iter().zip(successors).filter(|(token, successor)| {
                let replaced = successor.is_some_and(|at| at + OVERLAP <= now);
                !replaced && token.expires > now
            });
            let valid: Vec<&IssuedToken> = valid.map(|(token, _)| token).collect();
            let passwords: Vec<String> = valid.iter().map(|token| token.password.clone()).collect();
            if passwords != let_in {
                let logins: Vec<_> = valid.iter().map(|token| login(token)).collect();
                self.registry.set_users(&logins).unwrap();
                valid.iter().for_each(|token| self.note(token));
                let_in = passwords;
            }
            tokio::time::sleep(LEARN_EVERY).await;
        }
    }

    fn note(&mut self, token: &IssuedToken) {
        if !self.known.iter().any(|(password, _)| *password == token.password) {
            let after = SystemTime::now().duration_since(token.at).unwrap_or_default();
            self.known.push((token.password.clone(), after));
        }
    }

    /// The longest that the registry did not know a token.
    fn latest(&self) -> Duration {
        self.known.iter().map(|(_, after)| *after).max().unwrap_or_default()
    }
}
