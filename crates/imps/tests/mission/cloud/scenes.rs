//! The scenes that every cloud plays.

use std::time::{Duration, SystemTime};

use imps_testbed::wire::{Lie, Mode};
use imps_testbed::{Pull, Registry};
use kube::ResourceExt;
use serde_json::json;

use super::{BRIEF_LIFE, Cloud, IMAGE};
use crate::mission::canary::{canary, find, places};
use crate::mission::exchanged::{
    Fields, ROBOT, STATIC, Witness, metric, names, seconds_until, source_of, stands, touch,
};
use crate::mission::read::{content, registries, version};
use crate::mission::stage::{Scene, Solo};
use crate::mission::wait::{always, eventually, say, within};

/// How far a time may be off in a busy minute.
const SLACK_SECONDS: i64 = 60;
/// After an outage of a few seconds the pause may have grown to more than that.
const RECOVERS_WITHIN: Duration = Duration::from_secs(60);

/// One request fills all namespaces with one write each, and it is told until when.
pub(crate) async fn one_request_fills_all_namespaces<C: Cloud>(cloud: &C, life: Duration) {
    let Some(scene) = Scene::open().await else { return };
    let identity = cloud.identity().await;
    let host = cloud.host(0).await;
    cloud.usual(&identity).await.write(&scene, "hub").await;
    scene.source("static", &[(STATIC, ROBOT)]).await;
    let namespaces = [
        scene.namespace("a", json!({})).await,
        scene.namespace("b", json!({})).await,
        scene.namespace("c", json!({})).await,
    ];
    let all = namespaces.each_ref().map(String::as_str);
    let witness = Witness::of(&scene.client, &scene.secret).await;
    let grant = scene.grant("g", &["hub", "static"], names(&all)).await;
    let status = scene.ready_in(&grant, &all).await;

    let issued = cloud.issued_to(&identity.principal).await;
    for namespace in &all {
        let secret = cloud.has_token(&scene, namespace, &host, &issued[0]).await;
        let found = registries(&secret);
        assert!(found.len() == 2 && found.contains(&host) && found.contains(STATIC), "{found:?}");
    }
    always(Duration::from_millis(500), "one request and one write each", async || {
        let seen = (cloud.issued_to(&identity.principal).await.len(), witness.count());
        if seen == (1, all.len()) { Ok(()) } else { Err(format!("{seen:?}")) }
    })
    .await;
    let life = i64::try_from(life.as_secs()).unwrap();
    let expiry = seconds_until(&source_of(&status, "hub")["expiresAt"]);
    assert!((life - SLACK_SECONDS..=life + 1).contains(&expiry), "expires in {expiry} s");
    let page = scene.metrics().await;
    let provider = C::PROVIDER;
    let start = format!(r#"imps_credential_refresh_total{{provider="{provider}",result="success"}}"#);
    assert!(metric(&page, &start).is_some_and(|value| value >= 1.0), "{page}");
}

/// A client pulls with what imps writes, and not with what it writes for a wrong identity.
pub(crate) async fn a_client_pulls<C: Cloud>(cloud: &C) {
    if let Err(missing) = Registry::available() {
        return missing.skip_or_fail();
    }
    let Some(scene) = Scene::open().await else { return };
    let host = cloud.host(0).await;
    let registry = cloud.start_registry(&host).await;
    let identity = cloud.identity().await;
    let (right, wrong) = (cloud.usual(&identity).await, cloud.usual(&identity.wrong()).await);
    right.write(&scene, "right").await;
    wrong.write(&scene, "wrong").await;
    scene.source("static", &[(STATIC, ROBOT)]).await;
    let shop = scene.namespace("shop", json!({})).await;
    let stray = scene.namespace("stray", json!({})).await;
    let good = scene.grant("right", &["right"], names(&[&shop])).await;
    let bad = scene.grant("wrong", &["wrong", "static"], names(&[&stray])).await;
    scene.ready_in(&good, &[&shop]).await;
    assert_eq!(pull(&scene, &registry, &shop).await, Pull::Pulled);

    scene.has_login(&stray, &format!("{STATIC}/app"), ROBOT).await;
    scene.status(&bad, "denied", |status| stands(status, "wrong", "Failing", "ExchangeDenied", "")).await;
    assert!(matches!(pull(&scene, &registry, &stray).await, Pull::Refused(_)));
    // The identity was all that was wrong.
    right.write(&scene, "wrong").await;
    scene.ready_in(&bad, &[&stray]).await;
    assert_eq!(pull(&scene, &registry, &stray).await, Pull::Pulled);

    // Who lets in is the cloud: once it ends the token, nothing that imps wrote is worth anything.
    let token = cloud.token(&scene.target(&shop).await.unwrap(), &host).unwrap();
    cloud.emulation().expire(&token).await.unwrap();
    assert!(matches!(pull(&scene, &registry, &shop).await, Pull::Refused(_)));
}

/// Pulls with what the target in the namespace holds now.
pub(crate) async fn pull(scene: &Scene, registry: &Registry, namespace: &str) -> Pull {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("config.json");
    let secret = scene.target(namespace).await.expect("the target is there");
    std::fs::write(&file, content(&secret)).unwrap();
    registry.pull(&file, IMAGE).await.unwrap()
}

/// Whatever fails, what works stays, and the fault is named and ends by itself.
pub(crate) async fn what_works_stays_whatever_fails<C: Cloud>(cloud: &C) {
    let Some(scene) = Scene::open().await else { return };
    let identity = cloud.identity().await;
    let (unreachable, throttled, nonsense) = ("ExchangeUnreachable", "ExchangeThrottled", "ExchangeNonsense");
    let elsewhere = cloud.another_wire().await;
    let redirect = Lie::Redirect { to: elsewhere.endpoint() };
    let faults = [
        ("redirected", Mode::Lie(redirect), nonsense),
        ("throttled", Mode::Throttle { retry_after: Some(2) }, throttled),
        ("broken", Mode::ServerError(503), unreachable),
        ("refused", Mode::Refuse, unreachable),
        ("no-json", Mode::Lie(Lie::NotJson), nonsense),
        ("nothing", Mode::Lie(Lie::EmptyList), nonsense),
        ("endless", Mode::Lie(Lie::HugeBody), nonsense),
        ("denied", Mode::Pass, "ExchangeDenied"),
    ];
    let (mut wires, mut hosts) = (Vec::new(), Vec::new());
    for (number, (word, ..)) in faults.iter().enumerate() {
        // Endpoints of their own, so that none waits for another's rate limit.
        let (wire, host) = (cloud.another_wire().await, cloud.host(number).await);
        cloud.fields(&identity, &host, &wire).write(&scene, word).await;
        wires.push(wire);
        hosts.push(host);
    }
    let shop = scene.namespace("shop", json!({})).await;
    let sources = faults.each_ref().map(|(word, ..)| *word);
    let grant = scene.grant("g", &sources, names(&[&shop])).await;
    scene.ready_in(&grant, &[&shop]).await;
    let good = scene.target(&shop).await.unwrap();
    assert!(registries(&good).iter().eq(&std::collections::BTreeSet::from_iter(hosts.clone())));
    let witness = Witness::of(&scene.client, &scene.secret).await;

    for ((word, mode, reason), (wire, host)) in faults.iter().zip(wires.iter().zip(&hosts)) {
        wire.set(mode.clone());
        if *reason == "ExchangeDenied" {
            cloud.fields(&identity.wrong(), host, wire).write(&scene, word).await;
        } else {
            touch(&scene, word).await;
        }
    }
    let held = "The token that is held stays in use until it expires";
    scene
        .status(&grant, "every fault", |status| {
            faults.iter().all(|(word, _, reason)| stands(status, word, "Failing", reason, held))
        })
        .await;
    assert_eq!((version(&scene.target(&shop).await.unwrap()), witness.count()), (version(&good), 0));
    assert_eq!(elsewhere.seen(), [], "a redirect is not followed");

    for ((word, ..), (wire, host)) in faults.iter().zip(wires.iter().zip(&hosts)) {
        wire.set(Mode::Pass);
        cloud.fields(&identity, host, wire).write(&scene, word).await;
    }
    within(RECOVERS_WITHIN, "all are well", async || {
        let status = scene.read_grant(&grant).await.data["status"].clone();
        let ready = sources.iter().filter(|word| stands(&status, word, "Ready", "", "")).count();
        if ready == sources.len() { Ok(()) } else { Err(format!("{ready} sources: {status:#}")) }
    })
    .await;
}

/// Tokens are renewed by themselves in time, with one write per namespace and token. The cloud gives them
/// [`BRIEF_LIFE`].
pub(crate) async fn tokens_are_renewed_in_place<C: Cloud>(cloud: &C) {
    const TOKENS: usize = 3;
    let Some(scene) = Scene::open().await else { return };
    let identity = cloud.identity().await;
    let host = cloud.host(0).await;
    cloud.usual(&identity).await.write(&scene, "hub").await;
    let (a, b) = (scene.namespace("a", json!({})).await, scene.namespace("b", json!({})).await);
    let witness = Witness::of(&scene.client, &scene.secret).await;
    let grant = scene.grant("g", &["hub"], names(&[&a, &b])).await;
    scene.ready_in(&grant, &[&a, &b]).await;
    let versions = eventually("renewed a few times", async || {
        let versions = witness.versions();
        let fewest = [&a, &b].map(|name| versions.get(name).map_or(0, Vec::len)).into_iter().min();
        if fewest >= Some(TOKENS) { Ok(versions) } else { Err(format!("{fewest:?} versions")) }
    })
    .await;
    let issued = cloud.issued_to(&identity.principal).await;
    for (namespace, versions) in &versions {
        let written: Vec<_> = versions.iter().map(|secret| cloud.token(secret, &host).unwrap()).collect();
        let tokens: Vec<_> = issued.iter().map(|token| token.token.clone()).take(written.len()).collect();
        assert_eq!(written, tokens, "each token is written once in {namespace}");
        assert!(versions.iter().all(|secret| secret.uid() == versions[0].uid()), "in place in {namespace}");
    }
    for pair in issued.windows(2) {
        let between = pair[1].at.duration_since(pair[0].at).unwrap();
        assert!(between > BRIEF_LIFE / 4 && pair[1].at < pair[0].expires, "renewed after {between:?}");
    }
}

/// In an outage the expired entry alone goes, not before it ends, and it comes back by itself. The cloud gives tokens
/// [`BRIEF_LIFE`].
pub(crate) async fn the_expired_entry_alone_goes<C: Cloud>(cloud: &C) {
    let Some(scene) = Scene::open().await else { return };
    let identity = cloud.identity().await;
    let host = cloud.host(0).await;
    cloud.usual(&identity).await.write(&scene, "hub").await;
    scene.source("static", &[(STATIC, ROBOT)]).await;
    let shop = scene.namespace("shop", json!({})).await;
    let grant = scene.grant("g", &["hub", "static"], names(&[&shop])).await;
    scene.ready_in(&grant, &[&shop]).await;
    cloud.wire().set(Mode::Refuse);
    let last = cloud.issued_to(&identity.principal).await.pop().unwrap();
    let held = cloud.has_token(&scene, &shop, &host, &last).await;

    let left = eventually("the token is taken out", async || {
        let secret = scene.target(&shop).await.expect("the target stays");
        assert!(registries(&secret).contains(STATIC), "what does not expire stays");
        if cloud.token(&secret, &host).is_none() { Ok(secret) } else { Err("it is there".to_owned()) }
    })
    .await;
    // What is told in whole seconds is up to one of them early.
    assert!(SystemTime::now() + Duration::from_secs(1) >= last.expires, "not before it ends");
    assert_eq!((left.uid(), registries(&left).len()), (held.uid(), 1));
    scene.has_login(&shop, &format!("{STATIC}/app"), ROBOT).await;
    let status = scene
        .status(&grant, "expired", |status| {
            stands(status, "hub", "Expired", "SourceExpired", "no connection")
        })
        .await;
    assert!(source_of(&status, "hub")["expiresAt"].is_null(), "{status:#}");
    assert!(stands(&status, "static", "Ready", "", ""), "{status:#}");

    cloud.wire().set(Mode::Pass);
    let back = within(RECOVERS_WITHIN, "it is back", async || {
        let secret = scene.target(&shop).await.expect("the target stays");
        if cloud.token(&secret, &host).is_some() { Ok(secret) } else { Err("it is not".to_owned()) }
    })
    .await;
    assert_eq!(back.uid(), held.uid());
}

/// Unless it is allowed, no identity but that in the Secret is used: nobody is asked, and the flag is named.
pub(crate) async fn keyless_is_refused<C: Cloud>(cloud: &C, ambient: Fields, account: Fields) {
    let Some(scene) = Scene::open().await else { return };
    ambient.write(&scene, "ambient").await;
    account.write(&scene, "account").await;
    scene.source("static", &[(STATIC, ROBOT)]).await;
    let shop = scene.namespace("shop", json!({})).await;
    let grant = scene.grant("g", &["ambient", "account", "static"], names(&[&shop])).await;
    scene
        .status(&grant, "both are refused", |status| {
            stands(status, "ambient", "Failing", "KeylessForbidden", "start imps with --keyless=ambient")
                && stands(status, "account", "Failing", "KeylessForbidden", "--keyless=service-account")
        })
        .await;
    scene.has_login(&shop, &format!("{STATIC}/app"), ROBOT).await;
    assert_eq!(cloud.wire().seen(), [], "nobody was asked");
}

/// The operator has a source without a secret of its own: a token arrives, given to this principal.
pub(crate) async fn keyless_is_used<C: Cloud>(cloud: &C, scene: &Scene, fields: &Fields, principal: &str) {
    fields.write(scene, "hub").await;
    let shop = scene.namespace("shop", json!({})).await;
    let grant = scene.grant("g", &["hub"], names(&[&shop])).await;
    scene.ready_in(&grant, &[&shop]).await;
    let issued = cloud.issued_to(principal).await;
    cloud.has_token(scene, &shop, &cloud.host(0).await, issued.last().unwrap()).await;
}

/// An expiry that makes no sense is taken for a short one, and said so.
pub(crate) async fn a_senseless_expiry_is_a_short_one<C: Cloud>(cloud: &C, lies: &[Lie]) {
    let Some(scene) = Scene::open().await else { return };
    let identity = cloud.identity().await;
    let words: Vec<String> = (0..lies.len()).map(|number| format!("lie{number}")).collect();
    let mut wires = Vec::new();
    for (number, (lie, word)) in lies.iter().zip(&words).enumerate() {
        let wire = cloud.another_wire().await;
        wire.set(Mode::Lie(lie.clone()));
        cloud.fields(&identity, &cloud.host(number).await, &wire).write(&scene, word).await;
        wires.push(wire);
    }
    let shop = scene.namespace("shop", json!({})).await;
    let sources: Vec<&str> = words.iter().map(String::as_str).collect();
    let grant = scene.grant("g", &sources, names(&[&shop])).await;
    let status = scene.ready_in(&grant, &[&shop]).await;
    for (lie, word) in lies.iter().zip(&words) {
        let (life, said) = if *lie == Lie::FarFuture {
            (24 * 3600, "")
        } else {
            (1200, "gave no usable expiry; 20 minutes are assumed")
        };
        let source = source_of(&status, word);
        assert!(stands(&status, word, "Ready", "", said), "{lie:?}: {source:#}");
        let expiry = seconds_until(&source["expiresAt"]);
        assert!((life - 20..=life + 1).contains(&expiry), "{lie:?} expires in {expiry} s");
    }
}

/// A restart in an outage loses nothing: the token that a target holds is taken up, without a request.
pub(crate) async fn a_restart_takes_the_token_up<C: Cloud>(cloud: &C) {
    let Some(mut solo) = Solo::open(&[]).await else { return };
    let scene = &solo.scene;
    let identity = cloud.identity().await;
    let host = cloud.host(0).await;
    cloud.usual(&identity).await.write(scene, "hub").await;
    let shop = scene.namespace("shop", json!({})).await;
    let late = scene.name("late");
    let grant = scene.grant("g", &["hub"], names(&[&shop, &late])).await;
    scene.ready_in(&grant, &[&shop]).await;
    let token = cloud.issued_to(&identity.principal).await.pop().unwrap();
    let before = version(&cloud.has_token(scene, &shop, &host, &token).await);
    let seen = cloud.wire().seen();

    cloud.wire().set(Mode::Refuse);
    solo.crash_and_restart().await;
    let scene = &solo.scene;
    scene.namespace("late", json!({})).await;
    cloud.has_token(scene, &late, &host, &token).await;
    scene.ready_in(&grant, &[&late, &shop]).await;
    assert_eq!(version(&scene.target(&shop).await.unwrap()), before);
    assert_eq!(cloud.wire().seen(), seen, "nobody was asked");
}

/// Tokens come and go, and no pull fails meanwhile: the registry lets each token in until it ends, and no longer. The
/// cloud gives tokens [`ROTATED_LIFE`].
pub(crate) async fn no_pull_fails_while_tokens_rotate<C: Cloud>(cloud: &C) {
    const ROTATIONS: usize = 4;
    if let Err(missing) = Registry::available() {
        return missing.skip_or_fail();
    }
    let Some(scene) = Scene::open().await else { return };
    let host = cloud.host(0).await;
    let registry = cloud.start_registry(&host).await;
    let identity = cloud.identity().await;
    cloud.usual(&identity).await.write(&scene, "hub").await;
    let shop = scene.namespace("shop", json!({})).await;
    let grant = scene.grant("g", &["hub"], names(&[&shop])).await;
    scene.ready_in(&grant, &[&shop]).await;
    let (mut pulls, mut issued) = (0, Vec::new());
    while issued.len() <= ROTATIONS {
        assert_eq!(pull(&scene, &registry, &shop).await, Pull::Pulled, "after {pulls} pulls");
        pulls += 1;
        issued = cloud.issued_to(&identity.principal).await;
    }
    assert!(issued[0].expires < SystemTime::now(), "the first token is not worth anything any more");
    say(&format!("{}: {pulls} pulls with {ROTATIONS} rotations", C::PROVIDER));
}

/// Nothing of an identity or a token is seen outside of sources and targets, at any log level: neither where all is
/// well, nor where it is refused, spoilt, renewed or recalled.
pub(crate) async fn nothing_leaks<C: Cloud>(cloud: &C) {
    let Some(mut solo) = Solo::open(&["--log.level", "trace"]).await else { return };
    let scene = &solo.scene;
    let (identity, lying) = (cloud.identity().await, cloud.another_wire().await);
    let flaw = canary("flaw");
    let flawed = {
        let fields = cloud.usual(&identity).await;
        let keys: Vec<_> = fields.values.keys().copied().collect();
        // No value of any key is shown, so each becomes one that makes no sense.
        keys.into_iter().fold(fields, |fields, key| fields.with(key, &flaw))
    };
    let sources = [
        ("right", cloud.usual(&identity).await, "Ready"),
        ("wrong", cloud.fields(&identity.wrong(), &cloud.host(1).await, cloud.wire()), "Failing"),
        ("lying", cloud.fields(&identity, &cloud.host(2).await, &lying), "Ready"),
        ("flawed", flawed, "Failing"),
    ];
    for (name, fields, _) in &sources {
        fields.write(scene, name).await;
    }
    let shop = scene.namespace("shop", json!({})).await;
    let grant = scene.grant("g", &sources.each_ref().map(|(name, ..)| *name), names(&[&shop])).await;
    scene
        .status(&grant, "all have answers", |status| {
            sources.iter().all(|(name, _, state)| source_of(status, name)["state"] == *state)
        })
        .await;
    for (mode, reason) in [
        (Mode::Throttle { retry_after: None }, "ExchangeThrottled"),
        (Mode::Lie(Lie::NotJson), "ExchangeNonsense"),
        (Mode::Lie(Lie::TokenNotBase64), ""),
    ] {
        let before = lying.seen().len();
        lying.set(mode);
        touch(scene, "lying").await;
        eventually("it is asked", async || {
            if lying.seen().len() > before { Ok(()) } else { Err(format!("{before} requests")) }
        })
        .await;
        if !reason.is_empty() {
            scene.status(&grant, reason, |status| stands(status, "lying", "Failing", reason, "")).await;
        }
    }
    solo.crash_and_restart().await;
    let scene = &solo.scene;
    let host = cloud.host(0).await;
    let held = async || cloud.token(&scene.target(&shop).await.unwrap(), &host);
    let before = held().await;
    touch(scene, "right").await;
    eventually("another token after the restart", async || match held().await {
        now if now == before => Err("still the one before".to_owned()),
        _ => Ok(()),
    })
    .await;

    let mut canaries = vec![flaw, tell_tale(&identity.secret), tell_tale(&identity.wrong_secret)];
    // Those on the way to a token too.
    canaries.extend(cloud.emulation().issued().await.unwrap().iter().map(|token| tell_tale(&token.token)));
    assert!(canaries.len() >= 6, "{canaries:?}");
    let mut places = places(&solo).await;
    assert_eq!(find(&canaries, &places), [""; 0]);
    // The search finds what is there.
    let target = String::from_utf8(content(&scene.target(&shop).await.unwrap())).unwrap();
    places.push(("the target".to_owned(), target));
    assert!(find(&canaries, &places).iter().any(|found| found.contains("the target")));
}

/// A part of a secret that is like no other: tokens begin alike, and files of keys begin and end alike.
fn tell_tale(secret: &str) -> String {
    let line = secret.replace("\\n", "\n");
    let line =
        line.lines().filter(|line| !line.contains("-----")).max_by_key(|line| line.len()).unwrap_or_default();
    let start = line.len().saturating_sub(40);
    line[start..].to_owned()
}
