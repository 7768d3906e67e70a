//! Every namespace at once: the first fill and a rotation, each between two runs of plain workers.

use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use imps_testbed::manifest;
use k8s_openapi::api::core::v1::Secret;
use kube::ResourceExt;
use kube::api::{Api, Patch, PatchParams};
use serde_json::{Value, json};

use super::ledger::Account;
use super::page::{Finding, Others, Verdict};
use super::rig::{FLOORS, HOME, Rig, SOURCES, TARGET, docker_config, source};
use super::spread::milliseconds;
use crate::console::{Console, spoken};
use crate::lookout::Sighting;

/// The part of the plain workers' rate that imps must reach.
const SHARE_MIN: f64 = 0.7;
/// Floors of one pass that differ by more than this show that something else used the machine.
const STEADY_MAX: f64 = 1.3;
/// Requests that end a moment after the last Secret was seen are still to be counted.
const AFTERMATH: Duration = Duration::from_secs(1);

/// One pass over all namespaces.
struct Pass {
    namespaces: usize,
    took: Duration,
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

/// One ImagePullSecret is created: all namespaces get their Secret.
pub(super) async fn fill(rig: &mut Rig, console: &mut Console) -> Result<Vec<Finding>> {
    let comparison = compare(rig, console, 0, "one ImagePullSecret for all of them").await?;
    same_size(rig).await?;
    Ok(comparison.findings("fill", Others::FILL))
}

/// The credentials change: all Secrets are updated in place.
pub(super) async fn rotate(rig: &mut Rig, console: &mut Console) -> Result<Vec<Finding>> {
    let uids = rig.targets.uids();
    let comparison = compare(rig, console, 1, "other passwords in a source").await?;
    let kept = rig.targets.uids() == uids;
    let mut findings = comparison.findings("rotation", Others::ROTATION);
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

/// Plain workers, imps, plain workers. The edition says which passwords are written: 0 by the fill, 1 by the rotation.
async fn compare(rig: &mut Rig, console: &mut Console, edition: usize, what: &str) -> Result<Comparison> {
    let before = floor(rig, console, 0, edition).await?;
    console.begin(&format!("imps: {what}"));
    let usage = rig.usage()?;
    rig.ledger.skip()?;
    let imps = if edition == 0 { create_grant(rig).await? } else { change_source(rig, edition).await? };
    console.line(&format!("  {}", spoken(imps.took)));
    tokio::time::sleep(AFTERMATH).await;
    let cpu = rig.usage()?.cpu - usage.cpu;
    let account = rig.ledger.since()?;
    let after = floor(rig, console, 1, edition).await?;
    Ok(Comparison { imps, floors: [before, after], account, cpu })
}

async fn create_grant(rig: &Rig) -> Result<Pass> {
    manifest::apply(&rig.admin, &[Rig::grant()]).await?;
    pass(rig, rig.namespaces.len(), |sighting| sighting.stands).await
}

async fn change_source(rig: &Rig, edition: usize) -> Result<Pass> {
    // Namespaces that were added meanwhile have a Secret too.
    let count = rig.targets.uids().len();
    let sources = Api::<Secret>::namespaced(rig.admin.clone(), HOME);
    let change = Patch::Merge(json!({"stringData": source(0, edition)["stringData"]}));
    let changed = sources.patch_metadata(SOURCES[0], &PatchParams::default(), &change).await;
    let version = changed.context("cannot change a source")?.resource_version();
    let version: u64 = version.and_then(|text| text.parse().ok()).context("an answer has no version")?;
    pass(rig, count, move |sighting| sighting.stands && sighting.version > version).await
}

/// From now until as many Secrets were seen.
async fn pass(rig: &Rig, namespaces: usize, fits: impl Fn(&Sighting) -> bool) -> Result<Pass> {
    let begun = Instant::now();
    let (first, last) = rig.targets.wait_for(namespaces, rig.patience(), fits).await?;
    let since = |at: Instant| at.saturating_duration_since(begun);
    Ok(Pass { namespaces, took: since(last), first: since(first) })
}

async fn floor(rig: &Rig, console: &mut Console, which: usize, edition: usize) -> Result<Pass> {
    console.begin("the floor: plain workers write as many Secrets");
    let took = rig.workers.fill(FLOORS[which], &merged(edition), rig.patience()).await?;
    console.line(&format!("  {}", spoken(took)));
    Ok(Pass { namespaces: rig.namespaces.len(), took, first: Duration::ZERO })
}

/// What imps makes of the two sources, as far as size goes: both forms of each login.
fn merged(edition: usize) -> String {
    const AUTH: &str = "bWFkZS11cC1sb2dpbi1vZi10aGUtc2FtZS1sZW5ndGgtYXMtYS1yZWFs";
    let parse = |text: String| serde_json::from_str::<Value>(&text).unwrap_or_default();
    // Only the first source has editions.
    let (mut whole, rest) = (parse(docker_config(0, edition)), parse(docker_config(1, 0)));
    if let (Some(auths), Some(more)) = (whole["auths"].as_object_mut(), rest["auths"].as_object()) {
        auths.extend(more.clone());
        auths.values_mut().for_each(|entry| entry["auth"] = json!(AUTH));
    }
    whole.to_string()
}

/// The floor is only one if it writes as much.
async fn same_size(rig: &Rig) -> Result<()> {
    let secrets = Api::<Secret>::namespaced(rig.admin.clone(), &rig.namespaces[0]);
    let mut sizes = Vec::new();
    for name in [TARGET, FLOORS[0]] {
        let secret = secrets.get(name).await.with_context(|| format!("cannot read {name}"))?;
        sizes.push(secret.data.unwrap_or_default().values().map(|value| value.0.len()).sum::<usize>());
    }
    let near = sizes[0].abs_diff(sizes[1]) * 20 <= sizes[0];
    anyhow::ensure!(near, "imps writes {} bytes and plain workers {}: no comparison", sizes[0], sizes[1]);
    Ok(())
}

impl Comparison {
    fn findings(&self, what: &'static str, others: Others) -> Vec<Finding> {
        let floors = self.floors.each_ref().map(Pass::rate);
        let floor = f64::midpoint(floors[0], floors[1]);
        let (count, rate) = (self.imps.namespaces, self.imps.rate());
        let share = rate / floor;
        let (writes, most) = (self.account.secret_writes(), self.account.secret_writes_max());
        let requests = self.account.json();
        let steady = floors[0].max(floors[1]) <= floors[0].min(floors[1]) * STEADY_MAX;
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
            Finding {
                key: others.writes_key,
                what: format!("{what}: writes of Secrets"),
                imps: format!("{writes}, at most {most} in one namespace"),
                bar: format!("{count}, one in each"),
                verdict: Verdict::of(writes == count && most == 1),
                others: "",
                figures: json!({"writes": writes, "most_per_namespace": most}),
            },
        ]
    }
}
