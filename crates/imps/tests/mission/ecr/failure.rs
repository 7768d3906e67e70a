//! An endpoint that fails, in every way in which one does: what works stays, it is said what is wrong, and it ends by
//! itself.

use std::time::{Duration, Instant};

use imps_testbed::aws::{Account, Trust};
use imps_testbed::wire::{Lie, Mode, Seen, Wire};
use serde_json::json;

use super::{
    ASK, ASSUME, Cloud, ECR, NEXT, ROBOT, STATIC, Witness, asked_times, host, metric, names, password,
    seconds_until, source_of, stands, team, team_namespace, touch,
};
use crate::mission::read::{registries, version};
use crate::mission::stage::{Scene, Solo};
use crate::mission::wait::{assert_prompt, eventually, say, within};

/// After some failures the pause may have grown to half a minute.
const RECOVERS_WITHIN: Duration = Duration::from_secs(60);
/// What may lie between the end of a pause and the request.
const LATE: Duration = Duration::from_millis(700);

/// A way to fail, and what is said of it.
struct Fault {
    word: &'static str,
    operation: &'static str,
    mode: Mode,
    reason: &'static str,
    words: &'static str,
}

fn fault(word: &'static str, mode: Mode, reason: &'static str, words: &'static str) -> Fault {
    Fault { word, operation: ASK, mode, reason, words }
}

/// All faults but the one that takes long.
fn faults(elsewhere: &Wire) -> Vec<Fault> {
    let (unreachable, throttled, nonsense) = ("ExchangeUnreachable", "ExchangeThrottled", "ExchangeNonsense");
    let lie = |word, lie| fault(word, Mode::Lie(lie), nonsense, "unreadable answer: the answer to ecr:");
    let redirect = Lie::Redirect { to: elsewhere.endpoint() };
    let sts =
        |word, mode, reason, words| Fault { operation: "AssumeRole", ..fault(word, mode, reason, words) };
    vec![
        fault("throttled", Mode::Throttle { retry_after: None }, throttled, "ThrottlingException: too many"),
        fault(
            "asks-later",
            Mode::Throttle { retry_after: Some(3) },
            throttled,
            "ThrottlingException: too many",
        ),
        fault("broken", Mode::ServerError(503), unreachable, "HTTP 503: ecr:GetAuthorizationToken fails"),
        fault(
            "refused",
            Mode::Refuse,
            unreachable,
            "no connection: ecr:GetAuthorizationToken cannot be reached",
        ),
        fault(
            "redirected",
            Mode::Lie(redirect),
            nonsense,
            "HTTP 307: ecr:GetAuthorizationToken is answered with",
        ),
        lie("no-json", Lie::NotJson),
        lie("nothing", Lie::EmptyList),
        lie("no-base64", Lie::TokenNotBase64),
        lie("no-colon", Lie::TokenWithoutColon),
        lie("endless", Lie::HugeBody),
        sts(
            "sts-throttled",
            Mode::Throttle { retry_after: None },
            throttled,
            "Throttling: too many requests for sts:",
        ),
        sts("sts-broken", Mode::ServerError(500), unreachable, "HTTP 500: sts:AssumeRole fails"),
        sts("sts-refused", Mode::Refuse, unreachable, "no connection: sts:AssumeRole cannot be reached"),
        sts(
            "sts-nonsense",
            Mode::Lie(Lie::NotJson),
            nonsense,
            "unreadable answer: the answer to sts:AssumeRole",
        ),
    ]
}

/// The pauses between the requests for an operation, from this one on.
fn pauses(seen: &[Seen], operation: &str, from: usize) -> Vec<Duration> {
    let times: Vec<_> = seen.iter().filter(|seen| seen.operation == operation).map(|seen| seen.at).collect();
    times[from..].windows(2).map(|pair| pair[1].duration_since(pair[0]).unwrap()).collect()
}

#[tokio::test]
async fn whatever_fails_what_works_stays_and_the_fault_is_named_and_ends_by_itself() {
    let Some(cloud) = Cloud::open().await else { return };
    let Some(scene) = Scene::open().await else { return };
    let user = cloud.user(&[ECR, ASSUME]).await;
    let trust = Trust::Principal { arn: &user.arn, external_id: None };
    let role = cloud.role(Account::OURS, trust, &[ECR]).await;
    let elsewhere = cloud.another_wire().await;
    let faults = faults(&elsewhere);
    let mut wires = Vec::new();
    for (number, fault) in faults.iter().enumerate() {
        // Endpoints of their own, so that none waits for another's rate limit.
        let wire = cloud.another_wire().await;
        let fields = cloud.fields_with(&format!("{:012}", 700 + number), &user.keys).through(&wire);
        let fields = if fault.operation == ASK { fields } else { fields.with("roleArn", &role) };
        fields.write(&scene, fault.word).await;
        wires.push(wire);
    }
    let shop = scene.namespace("shop", json!({})).await;
    let sources: Vec<&str> = faults.iter().map(|fault| fault.word).collect();
    let grant = scene.grant("g", &sources, names(&[&shop])).await;
    scene.ready_in(&grant, &[&shop]).await;
    let good = scene.target(&shop).await.unwrap();
    assert_eq!(registries(&good).len(), faults.len());
    let witness = Witness::of(&scene.client, &scene.secret).await;

    for (fault, wire) in faults.iter().zip(&wires) {
        wire.set_for(fault.operation, fault.mode.clone());
        touch(&scene, fault.word).await;
    }
    let told = |status: &serde_json::Value, fault: &Fault| {
        stands(status, fault.word, "Failing", fault.reason, fault.words)
            && stands(
                status,
                fault.word,
                "Failing",
                fault.reason,
                "The token that is held stays in use until it expires",
            )
    };
    scene.status(&grant, "every fault", |status| faults.iter().all(|fault| told(status, fault))).await;
    // The first request was good; one that was touched and four that try again show the pauses.
    let broken = &wires[2];
    eventually("asked again a few times", async || {
        let count = broken.count(ASK);
        if count >= 5 { Ok(()) } else { Err(format!("{count} requests")) }
    })
    .await;
    assert_eq!((version(&scene.target(&shop).await.unwrap()), witness.count()), (version(&good), 0));
    assert_eq!(elsewhere.seen(), [], "a redirect is not followed");

    // It asks less and less often: each pause is at most twice as long as the one before could be, and none is short.
    let pauses_of_broken = pauses(&broken.seen(), ASK, 1);
    say(&format!("pauses while the server is in trouble: {pauses_of_broken:.1?}"));
    for (number, pause) in pauses_of_broken.iter().enumerate() {
        let longest = Duration::from_secs(1 << number) + LATE;
        assert!(*pause >= Duration::from_millis(480) && *pause <= longest, "{pauses_of_broken:?}");
    }
    let asks_later = pauses(&wires[1].seen(), ASK, 1);
    assert!(!asks_later.is_empty(), "it is asked again");
    assert!(
        asks_later.iter().all(|pause| *pause >= Duration::from_millis(2990)),
        "not before: {asks_later:?}"
    );

    wires.iter().for_each(|wire| wire.set(Mode::Pass));
    within(RECOVERS_WITHIN, "each has a new token", async || {
        let now = scene.target(&shop).await.unwrap();
        let same: Vec<String> = (0..faults.len())
            .map(|number| host(&format!("{:012}", 700 + number)))
            .filter(|host| password(&now, host) == password(&good, host))
            .collect();
        if same.is_empty() { Ok(()) } else { Err(format!("still the old one: {same:?}")) }
    })
    .await;
    scene.ready_in(&grant, &[&shop]).await;
}

#[tokio::test]
async fn an_expiry_that_makes_no_sense_is_taken_for_a_short_one_and_said_so() {
    let Some(cloud) = Cloud::open().await else { return };
    let Some(scene) = Scene::open().await else { return };
    let user = cloud.user(&[ECR]).await;
    let assumed = "gave no usable expiry; 20 minutes are assumed";
    let cases = [
        ("none", Lie::NoExpiry, 1200, assumed),
        ("past", Lie::PastExpiry, 1200, assumed),
        ("far", Lie::FarFuture, 24 * 3600, ""),
    ];
    let mut wires = Vec::new();
    for (number, (word, lie, ..)) in cases.iter().enumerate() {
        let wire = cloud.another_wire().await;
        wire.set(Mode::Lie(lie.clone()));
        let account = format!("{:012}", 700 + number);
        cloud.fields_with(&account, &user.keys).through(&wire).write(&scene, word).await;
        wires.push(wire);
    }
    let shop = scene.namespace("shop", json!({})).await;
    let grant = scene.grant("g", &["none", "past", "far"], names(&[&shop])).await;
    let status = scene.ready_in(&grant, &[&shop]).await;
    assert_eq!(registries(&scene.target(&shop).await.unwrap()).len(), cases.len());
    for (word, _, life, words) in cases {
        let source = source_of(&status, word);
        assert!(stands(&status, word, "Ready", "", words), "{source:#}");
        assert_eq!(source["message"].as_str().unwrap_or_default().is_empty(), words.is_empty(), "{source:#}");
        let (expiry, next) = (seconds_until(&source["expiresAt"]), seconds_until(&source["nextRefresh"]));
        assert!((life - 20..=life + 1).contains(&expiry), "{word} expires in {expiry} s");
        assert!((life * 44 / 100 - 20..=life * 56 / 100).contains(&next), "{word} is renewed in {next} s");
    }
}

/// The most memory that the process ever had, in KiB.
fn peak_memory(solo: &Solo) -> u64 {
    let path = format!("/proc/{}/status", solo.operator.pid().unwrap());
    let text = std::fs::read_to_string(path).unwrap();
    let line = text.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap();
    line.trim().trim_end_matches(" kB").parse().unwrap()
}

#[tokio::test]
async fn an_answer_without_end_takes_no_memory() {
    /// The answer has 256 MiB.
    const GROWTH_MAX_KIB: u64 = 24 * 1024;
    let Some(cloud) = Cloud::open().await else { return };
    let Some(solo) = Solo::open(&[]).await else { return };
    let scene = &solo.scene;
    let user = cloud.user(&[ECR]).await;
    cloud.fields_with(Account::OURS.number, &user.keys).write(scene, "hub").await;
    let shop = scene.namespace("shop", json!({})).await;
    let grant = scene.grant("g", &["hub"], names(&[&shop])).await;
    scene.ready_in(&grant, &[&shop]).await;
    let before = peak_memory(&solo);
    cloud.wire.set(Mode::Lie(Lie::HugeBody));
    touch(scene, "hub").await;
    scene
        .status(&grant, "nonsense", |status| {
            stands(status, "hub", "Failing", "ExchangeNonsense", "unreadable answer")
        })
        .await;
    asked_times(&cloud, 4).await;
    let after = peak_memory(&solo);
    say(&format!("peak memory before and after answers of 256 MiB: {before} and {after} KiB"));
    assert!(after - before < GROWTH_MAX_KIB, "{before} KiB, then {after} KiB");
}

/// How long new namespaces wait for their Secret, sorted.
async fn measure(scene: &Scene, word: &str, host: &str, token: &str) -> Vec<Duration> {
    const NAMESPACES: usize = 30;
    let mut took = Vec::new();
    for n in 0..NAMESPACES {
        let start = Instant::now();
        let name = team_namespace(scene, &format!("{word}{n}")).await;
        scene.has_login(&name, &format!("{host}/app"), ("AWS", token)).await;
        took.push(start.elapsed());
    }
    took.sort_unstable();
    took
}

#[tokio::test]
async fn an_endpoint_that_hangs_delays_nobody_but_who_has_nothing_yet() {
    /// Two requests of ten seconds, and the pause between them.
    const TOLD_WITHIN: Duration = Duration::from_secs(40);
    let Some(cloud) = Cloud::open().await else { return };
    let Some(scene) = Scene::open().await else { return };
    let user = cloud.user(&[ECR]).await;
    let account = Account::OURS.number;
    let never = cloud.another_wire().await;
    never.set(Mode::Hang);
    cloud.fields_with(account, &user.keys).write(&scene, "hub").await;
    cloud.fields_with(account, &user.keys).through(&never).write(&scene, "never").await;
    let broken = cloud.another_wire().await;
    broken.set(Mode::ServerError(503));
    cloud.fields_with("999900000001", &user.keys).through(&broken).write(&scene, "broken").await;
    scene.source("static", &[(STATIC, ROBOT)]).await;
    let shop = team_namespace(&scene, "shop").await;
    let grant = scene.grant("g", &["hub", "static"], team(&scene)).await;
    scene.ready_in(&grant, &[&shop]).await;
    let token = cloud.issued_to(&user.arn).await.pop().unwrap();
    let without = measure(&scene, "a", &host(account), &token.password).await;

    cloud.wire.set(Mode::Hang);
    touch(&scene, "hub").await;
    asked_times(&cloud, 2).await;
    let asked = Instant::now();
    let with = measure(&scene, "b", &host(account), &token.password).await;
    let start = Instant::now();
    scene.source("static", &[(STATIC, NEXT)]).await;
    scene.has_login(&shop, &format!("{STATIC}/app"), NEXT).await;
    assert_prompt("beside a source that hangs, another one's change arrives after", &[start.elapsed()]);
    let hung = asked.elapsed() < Duration::from_secs(9);
    let at = with.len() - 2;
    say(&format!(
        "new namespaces wait {:.0?} (median) and {:.0?} (29th of 30); while a request hangs {:.0?} and {:.0?}",
        without[15], without[at], with[15], with[at]
    ));
    assert!(with[at] < without[at] * 3 + Duration::from_millis(500), "{with:?}, before {without:?}");
    assert!(hung, "the machine is too slow for this measurement: {:?}", asked.elapsed());

    // Who has no token yet is waited for, but not for long.
    let yard = scene.namespace("yard", json!({})).await;
    let mut target = names(&[&yard]);
    target["secret"] = json!({"name": scene.name("late")});
    let late = scene.grant("late", &["never", "broken", "static"], target).await;
    let start = Instant::now();
    eventually("the static entry is there", async || {
        let secret = scene.secrets(&yard).get_opt(&scene.name("late")).await.unwrap().ok_or("no Secret")?;
        if registries(&secret).iter().eq([STATIC]) {
            Ok(())
        } else {
            Err(format!("{:?}", registries(&secret)))
        }
    })
    .await;
    assert!(start.elapsed() < Duration::from_secs(6), "{:?}", start.elapsed());
    let sample = |grant: &str| {
        format!(
            r#"imps_credential_expiration_timestamp_seconds{{name="{grant}",source_namespace="{}""#,
            scene.home
        )
    };
    let page = scene.metrics().await;
    assert_eq!(metric(&page, &sample(&late)), None, "no expiry before the first token");
    assert!(metric(&page, &sample(&grant)).is_some());

    // Both are told, and end by themselves.
    let silent = "no answer within 10 s: ecr:GetAuthorizationToken does not answer in time";
    for (grant, source) in [(&late, "never"), (&grant, "hub")] {
        within(TOLD_WITHIN, "it is told", async || {
            let status = scene.read_grant(grant).await.data["status"].clone();
            let told = stands(&status, source, "Failing", "ExchangeUnreachable", silent);
            if told { Ok(()) } else { Err(format!("{:#}", source_of(&status, source))) }
        })
        .await;
    }
    // Meanwhile the third one was asked less and less often. Without that, there would be more than twenty.
    let asked = broken.count(ASK);
    let pauses = pauses(&broken.seen(), ASK, 0);
    say(&format!("pauses while the server is in trouble: {pauses:.1?}"));
    assert!((4..=10).contains(&asked), "asked {asked} times: {pauses:?}");

    cloud.wire.set(Mode::Pass);
    never.set(Mode::Pass);
    within(RECOVERS_WITHIN, "both have new tokens", async || {
        let issued = cloud.issued_to(&user.arn).await;
        if issued.len() >= 3 { Ok(()) } else { Err(format!("{} tokens", issued.len())) }
    })
    .await;
    let issued = cloud.issued_to(&user.arn).await;
    assert_eq!(issued.len(), 3);
    for (namespace, secret) in [(&shop, scene.secret.clone()), (&yard, scene.name("late"))] {
        eventually("a new token", async || {
            let secret = scene.secrets(namespace).get(&secret).await.unwrap();
            let password = password(&secret, &host(account));
            let new = issued[1..].iter().any(|token| Some(&token.password) == password.as_ref());
            if new { Ok(()) } else { Err("the old one, or none".to_owned()) }
        })
        .await;
    }
}
