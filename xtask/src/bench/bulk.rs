//! Every namespace at once: the first fill and a rotation, each between two runs of plain workers.

use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use imps_api::ImagePullSecret;
use imps_testbed::manifest;
use k8s_openapi::api::core::v1::Secret;
use kube::ResourceExt;
use kube::api::{Api, DeleteParams, Patch, PatchParams};
use serde_json::{Value, json};

use super::ledger::Account;
use super::page::{Finding, Others, Verdict};
use super::rig::{FLOORS, HOME, IDENTITIES, Rig, SOURCES, TARGET, docker_config, source};
use super::spread::milliseconds;
use super::token::Cloud;
use crate::console::{Console, spoken};
use crate::lookout::{Lookout, Sighting};

/// The part of the plain workers' rate that imps must reach.
const SHARE_MIN: f64 = 0.7;
/// Floors of one pass that differ by more than this show that something else used the machine.
const STEADY_MAX: f64 = 1.3;
/// Requests that end a moment after the last Secret was seen are still to be counted.
const AFTERMATH: Duration = Duration::from_secs(1);
/// How often a single object is looked at.
const LOOK_EVERY: Duration = Duration::from_millis(20);

/// Editions of plain workers' Secrets from here on are those of renewals.
const RENEWALS: usize = 100;

/// One pass over all namespaces.
pub(super) struct Pass {
    namespaces: usize,
    pub(super) took: Duration,
    /// Of that, until the first was seen: watches are opened and lists are read.
    first: Duration,
}

impl Pass {
    #[expect(clippy::cast_precision_loss, reason = "counts of namespaces are far below 2^52")]
    fn rate(&self) -> f64 {
        self.namespaces as f64 / self.took.as_secs_f64().max(f64::EPSILON)
    }
}

/// A pass of imps, the passes of plain workers before and after it, and what imps asked and used for its own.
struct Comparison {
    imps: Pass,
    floors: [Pass; 2],
    account: Account,
    cpu: Duration,
}

/// What imps is made to do between two floors.
#[derive(Clone, Copy)]
enum Task {
    /// One ImagePullSecret is created.
    Fill,
    /// A source gets the passwords of this edition; the fill wrote edition 0.
    Rotate(usize),
    /// A token is asked for anew, while plain workers write this edition.
    Renew(usize),
}

/// One ImagePullSecret is created: all namespaces get their Secret. Again from the start while the floors are far
/// apart, whatever the share was.
pub(super) async fn fill(rig: &mut Rig, console: &mut Console) -> Result<Vec<Finding>> {
    Ok(filled(rig, console).await?.findings("fill", rig.written(), Others::FILL))
}

/// The same where each Secret is attached to a ServiceAccount.
pub(super) async fn attach(rig: &mut Rig, console: &mut Console) -> Result<Vec<Finding>> {
    Ok(filled(rig, console).await?.findings("attaching", rig.written(), Others::ATTACHING))
}

async fn filled(rig: &mut Rig, console: &mut Console) -> Result<Comparison> {
    let mut rounds = FLOORS.iter();
    let mut floors = rounds.next().context("there are names for floors")?;
    let comparison = loop {
        let comparison = compare(rig, console, Task::Fill, floors).await?;
        let Some(others) = rounds.next().filter(|_| !comparison.is_steady()) else { break comparison };
        floors = others;
        console.line("  the floors are far apart, so something else used the machine: once more");
        withdraw(rig, console).await?;
    };
    same_size(rig).await?;
    Ok(comparison)
}

/// The credentials change: all Secrets are updated in place. Once more while the floors are far apart.
pub(super) async fn rotate(rig: &mut Rig, console: &mut Console) -> Result<Vec<Finding>> {
    let uids = rig.targets.uids();
    let mut edition = 1;
    let comparison = loop {
        let comparison = compare(rig, console, Task::Rotate(edition), &FLOORS[0]).await?;
        if comparison.is_steady() || edition == FLOORS.len() {
            break comparison;
        }
        edition += 1;
        console.line("  the floors are far apart, so something else used the machine: once more");
    };
    let kept = rig.targets.uids() == uids;
    let mut findings = comparison.findings("rotation", &["secrets"], Others::ROTATION);
    findings.push(Finding {
        key: "rotation_uids",
        what: "rotation: objects".into(),
        imps: if kept { "all UIDs kept".into() } else { "some were replaced".into() },
        bar: "same UIDs".into(),
        verdict: Verdict::of(kept),
        others: "",
        figures: json!({"uids_kept": kept}),
    });
    Ok(findings)
}

/// A token is renewed: one request, and all Secrets are updated in place. Once more while the floors are far apart.
pub(super) async fn renew(rig: &mut Rig, cloud: &Cloud, console: &mut Console) -> Result<Vec<Finding>> {
    let mut round = 0;
    loop {
        let requests = cloud.requests();
        let comparison = compare(rig, console, Task::Renew(RENEWALS + round), &FLOORS[0]).await?;
        let requests = cloud.requests() - requests;
        round += 1;
        if !comparison.is_steady() && requests == 1 && round < FLOORS.len() {
            console.line("  the floors are far apart, so something else used the machine: once more");
            continue;
        }
        same_size(rig).await?;
        let mut findings = comparison.findings("renewal", &["secrets"], Others::RENEWAL);
        findings.push(Finding {
            key: "renewal_requests",
            what: "renewal: requests for a token".into(),
            imps: requests.to_string(),
            bar: "1".into(),
            verdict: Verdict::of(requests == 1),
            others: "",
            figures: json!({"requests": requests}),
        });
        return Ok(findings);
    }
}

/// Plain workers, imps, plain workers.
async fn compare(rig: &mut Rig, console: &mut Console, task: Task, names: &[&str; 2]) -> Result<Comparison> {
    let before = floor(rig, console, names[0], task).await?;
    console.begin(match task {
        Task::Fill => "imps: one ImagePullSecret for all of them",
        Task::Rotate(_) => "imps: other passwords in a source",
        Task::Renew(_) => "imps: another token for a source",
    });
    let usage = rig.usage()?;
    rig.ledger.skip()?;
    let imps = match task {
        Task::Fill => create_grant(rig).await?,
        Task::Rotate(edition) => change_source(rig, edition).await?,
        Task::Renew(edition) => change_identity(rig, edition).await?,
    };
    console.line(&format!("  {}", spoken(imps.took)));
    tokio::time::sleep(AFTERMATH).await;
    let cpu = rig.usage()?.cpu - usage.cpu;
    let account = rig.ledger.since()?;
    let after = floor(rig, console, names[1], task).await?;
    Ok(Comparison { imps, floors: [before, after], account, cpu })
}

/// The ImagePullSecret is created, or edited so that it wants what is there no longer.
pub(super) async fn create_grant(rig: &Rig) -> Result<Pass> {
    let seen = rig.last_written();
    let newest = seen.newest();
    manifest::apply(&rig.admin, &[rig.grant()]).await?;
    pass(rig, seen, rig.namespaces.len(), move |sighting| sighting.stands && sighting.version > newest).await
}

/// Takes everything back, so that it can be filled again. Returns how long it took until the ImagePullSecret and all
/// that it gave was gone.
pub(super) async fn withdraw(rig: &Rig, console: &mut Console) -> Result<Duration> {
    let (begun, newest) = (Instant::now(), rig.targets.newest());
    let grants = Api::<ImagePullSecret>::all(rig.admin.clone());
    grants.delete(TARGET, &DeleteParams::default()).await.context("cannot delete the ImagePullSecret")?;
    let is_gone = move |sighting: &Sighting| !sighting.stands && sighting.version > newest;
    pass(rig, &rig.targets, rig.namespaces.len(), is_gone).await?;
    // One that is attached somewhere is held by a finalizer.
    while grants.get_metadata_opt(TARGET).await.context("cannot look for the ImagePullSecret")?.is_some() {
        anyhow::ensure!(begun.elapsed() < rig.patience(), "the ImagePullSecret is not let go");
        tokio::time::sleep(LOOK_EVERY).await;
    }
    let took = begun.elapsed();
    console.line(&format!("  imps takes them all away again in {}", spoken(took)));
    tokio::time::sleep(AFTERMATH).await;
    Ok(took)
}

async fn change_source(rig: &Rig, edition: usize) -> Result<Pass> {
    // Namespaces that were added meanwhile have a Secret too.
    let count = rig.targets.uids().len();
    let sources = Api::<Secret>::namespaced(rig.admin.clone(), HOME);
    let change = Patch::Merge(json!({"stringData": source(0, edition)["stringData"]}));
    let changed = sources.patch_metadata(SOURCES[0], &PatchParams::default(), &change).await;
    let version = changed.context("cannot change a source")?.resource_version();
    let version: u64 = version.and_then(|text| text.parse().ok()).context("an answer has no version")?;
    pass(rig, &rig.targets, count, move |sighting| sighting.stands && sighting.version > version).await
}

/// An edit of the Secret makes imps ask for a token at once.
async fn change_identity(rig: &Rig, edition: usize) -> Result<Pass> {
    let count = rig.targets.uids().len();
    let newest = rig.targets.newest();
    let sources = Api::<Secret>::namespaced(rig.admin.clone(), HOME);
    let edit = Patch::Merge(json!({"metadata": {"annotations": {"edition": edition.to_string()}}}));
    let edited = sources.patch_metadata(IDENTITIES[0], &PatchParams::default(), &edit).await;
    edited.context("cannot edit an identity")?;
    pass(rig, &rig.targets, count, move |sighting| sighting.stands && sighting.version > newest).await
}

/// From now until as many were seen.
pub(super) async fn pass(
    rig: &Rig,
    seen: &Lookout,
    namespaces: usize,
    fits: impl Fn(&Sighting) -> bool,
) -> Result<Pass> {
    let begun = Instant::now();
    let (first, last) = seen.wait_for(namespaces, rig.patience(), fits).await?;
    let since = |at: Instant| at.saturating_duration_since(begun);
    Ok(Pass { namespaces, took: since(last), first: since(first) })
}

async fn floor(rig: &Rig, console: &mut Console, name: &str, task: Task) -> Result<Pass> {
    let edition = match task {
        Task::Fill => 0,
        Task::Rotate(edition) | Task::Renew(edition) => edition,
    };
    console.begin("the floor: plain workers write as many Secrets");
    let took = rig.workers.fill(name, &merged(edition), rig.patience()).await?;
    console.line(&format!("  {}", spoken(took)));
    Ok(Pass { namespaces: rig.namespaces.len(), took, first: Duration::ZERO })
}

/// What imps makes of the two sources, and of a token where that is renewed, as far as size goes: both forms of each
/// login.
fn merged(edition: usize) -> String {
    const AUTH: &str = "bWFkZS11cC1sb2dpbi1vZi10aGUtc2FtZS1sZW5ndGgtYXMtYS1yZWFs";
    let parse = |text: String| serde_json::from_str::<Value>(&text).unwrap_or_default();
    // Only the first source has editions.
    let (mut whole, rest) = (parse(docker_config(0, edition)), parse(docker_config(1, 0)));
    if let (Some(auths), Some(more)) = (whole["auths"].as_object_mut(), rest["auths"].as_object()) {
        auths.extend(more.clone());
        if edition >= RENEWALS {
            let token = json!({"username": "AWS", "password": format!("made-up-token-{edition:029}")});
            auths.insert("111122223333.dkr.ecr.eu-west-1.amazonaws.com".into(), token);
        }
        auths.values_mut().for_each(|entry| entry["auth"] = json!(AUTH));
    }
    whole.to_string()
}

/// The floor is only one if it writes as much.
async fn same_size(rig: &Rig) -> Result<()> {
    let secrets = Api::<Secret>::namespaced(rig.admin.clone(), &rig.namespaces[0]);
    let mut sizes = Vec::new();
    for name in [TARGET, FLOORS[0][0]] {
        let secret = secrets.get(name).await.with_context(|| format!("cannot read {name}"))?;
        sizes.push(secret.data.unwrap_or_default().values().map(|value| value.0.len()).sum::<usize>());
    }
    let near = sizes[0].abs_diff(sizes[1]) * 20 <= sizes[0];
    anyhow::ensure!(near, "imps writes {} bytes and plain workers {}: no comparison", sizes[0], sizes[1]);
    Ok(())
}

impl Comparison {
    fn is_steady(&self) -> bool {
        let [before, after] = self.floors.each_ref().map(Pass::rate);
        before.max(after) <= before.min(after) * STEADY_MAX
    }

    fn findings(&self, what: &'static str, written: &[&'static str], others: Others) -> Vec<Finding> {
        let floors = self.floors.each_ref().map(Pass::rate);
        let floor = f64::midpoint(floors[0], floors[1]);
        let (count, rate) = (self.imps.namespaces, self.imps.rate());
        let share = rate / floor;
        let requests = self.account.json();
        let steady = self.is_steady();
        vec![
            Finding {
                key: what,
                what: format!("{what} of {count} namespaces"),
                imps: format!("{rate:.0}/s in {}", spoken(self.imps.took)),
                bar: format!("{floor:.0}/s ({:.0}, {:.0}); share ≥ {SHARE_MIN}", floors[0], floors[1]),
                verdict: Verdict::share(share, share >= SHARE_MIN, steady),
                others: others.share,
                figures: json!({
                    "namespaces": count, "seconds": self.imps.took.as_secs_f64(), "per_second": rate,
                    "first_ms": milliseconds(self.imps.first), "floors_per_second": floors, "share": share,
                    "share_min": SHARE_MIN, "steady": steady, "requests": requests,
                    "imps_cpu_seconds": self.cpu.as_secs_f64(),
                }),
            },
            writes(others.writes_key, what, &self.account, written, count),
        ]
    }
}

/// What was written in each namespace: one of each of these resources, and no more.
pub(super) fn writes(
    key: &'static str,
    what: &str,
    account: &Account,
    written: &[&'static str],
    count: usize,
) -> Finding {
    let counted = written.iter().map(|resource| (*resource, account.writes_of(resource)));
    let told =
        counted.clone().map(|(_, (writes, most))| format!("{writes}, at most {most} in one namespace"));
    let figures = counted.clone().map(|(name, (writes, most))| {
        (name.to_owned(), json!({"writes": writes, "most_per_namespace": most}))
    });
    Finding {
        key,
        what: format!("{what}: writes of {}", written.join("; ")),
        imps: told.collect::<Vec<_>>().join("; "),
        bar: format!("{count}, one in each"),
        verdict: Verdict::of(counted.clone().all(|(_, found)| found == (count, 1))),
        others: "",
        figures: json!({"written": figures.collect::<serde_json::Map<_, _>>(), "requests": account.json()}),
    }
}
