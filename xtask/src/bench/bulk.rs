//! Every namespace at once: the first fill and a rotation, each between two runs of plain workers.

use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use imps_testbed::manifest;
use k8s_openapi::api::core::v1::Secret;
use kube::ResourceExt;
use kube::api::{Api, Patch, PatchParams};
use serde_json::json;

use super::ledger::Account;
use super::page::{Finding, Others, Verdict};
use super::process::Usage;
use super::rig::{FLOORS, Rig, TARGET, docker_config, source};
use crate::console::{Console, spoken};

/// The part of the plain workers' rate that imps must reach.
const SHARE_MIN: f64 = 0.7;
/// Requests that end a moment after the last Secret was seen are still to be counted.
const AFTERMATH: Duration = Duration::from_secs(1);

/// One pass of imps over all namespaces.
struct Pass {
    took: Duration,
    /// Until the first was seen: watches are opened, lists are read.
    first: Duration,
    count: usize,
    /// Of the plain workers, who never saw the namespaces that were added later.
    floor_count: usize,
    floors: [Duration; 2],
    account: Account,
    cpu: Duration,
}

/// One ImagePullSecret is created: all namespaces get their Secret.
pub(super) async fn fill(rig: &mut Rig, console: &mut Console) -> Result<Vec<Finding>> {
    let before = floor(rig, console, 0, 0).await?;
    console.begin("imps: one ImagePullSecret for all of them");
    let usage = rig.usage()?;
    rig.ledger.skip()?;
    manifest::apply(&rig.admin, &[Rig::grant()]).await?;
    let created = Instant::now();
    let count = rig.namespaces.len();
    let seen = rig.targets.wait_for(count, rig.patience(), |sighting| sighting.stands).await?;
    let took = Took::between(created, &seen);
    let pass = end(rig, console, took, count, usage, before, 0).await?;
    same_size(rig).await?;
    Ok(pass.findings("fill", Others::FILL))
}

/// The credentials change: all Secrets are updated in place.
pub(super) async fn rotate(rig: &mut Rig, console: &mut Console) -> Result<Vec<Finding>> {
    let before = floor(rig, console, 0, 1).await?;
    console.begin("imps: other passwords in a source");
    let usage = rig.usage()?;
    let uids = rig.targets.uids();
    rig.ledger.skip()?;
    let sources = Api::<Secret>::namespaced(rig.admin.clone(), "imps-bench");
    let change = Patch::Merge(json!({"stringData": source(0, 1)["stringData"]}));
    let changed = sources.patch_metadata("hub", &PatchParams::default(), &change).await;
    let version = version_of(&changed.context("cannot change a source")?)?;
    let created = Instant::now();
    // Namespaces that were added meanwhile have a Secret too.
    let count = uids.len();
    let newer = |sighting: &crate::lookout::Sighting| sighting.stands && sighting.version > version;
    let seen = rig.targets.wait_for(count, rig.patience(), newer).await?;
    let kept = rig.targets.uids() == uids;
    let pass = end(rig, console, seen.saturating_duration_since(created), usage, before, 1).await?;
    let mut findings = pass.findings(count, "rotation", Others::ROTATION);
    findings.push(Finding {
        key: "rotation_uids",
        what: "rotation: objects".into(),
        imps: if kept { "all UIDs kept".into() } else { "some were replaced".into() },
        bar: "same UIDs".into(),
        verdict: Verdict::of(kept),
        others: String::new(),
        figures: json!({"uids_kept": kept}),
    });
    Ok(findings)
}

/// Lets the pass end, and runs the second floor.
async fn end(
    rig: &mut Rig,
    console: &mut Console,
    took: Duration,
    usage: Usage,
    before: Duration,
    edition: usize,
) -> Result<Pass> {
    console.line(&format!("  {}", spoken(took)));
    tokio::time::sleep(AFTERMATH).await;
    let cpu = rig.usage()?.cpu - usage.cpu;
    let account = rig.ledger.since()?;
    let after = floor(rig, console, 1, edition).await?;
    Ok(Pass { took, floors: [before, after], account, cpu })
}

async fn floor(rig: &Rig, console: &mut Console, which: usize, edition: usize) -> Result<Duration> {
    console.begin("the floor: plain workers write as many Secrets");
    // Both sources make one Secret, as imps merges them; only the first has editions.
    let config = merged(edition);
    let took = rig.workers.fill(FLOORS[which], &config, rig.patience()).await?;
    console.line(&format!("  {}", spoken(took)));
    Ok(took)
}

fn merged(edition: usize) -> String {
    let parse = |text: String| serde_json::from_str::<serde_json::Value>(&text).unwrap_or_default();
    let mut whole = parse(docker_config(0, edition));
    let rest = parse(docker_config(1, 0));
    if let (Some(auths), Some(more)) = (whole["auths"].as_object_mut(), rest["auths"].as_object()) {
        auths.extend(more.clone());
        for entry in auths.values_mut() {
            // imps writes both forms of a login.
            entry["auth"] = json!("bWFkZS11cC1sb2dpbi1vZi10aGUtc2FtZS1sZW5ndGgtYXMtYS1yZWFsLW9uZQ==");
        }
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
    let near = sizes[0].abs_diff(sizes[1]) * 10 <= sizes[0];
    anyhow::ensure!(near, "imps writes {} bytes and the plain workers {}: no comparison", sizes[0], sizes[1]);
    Ok(())
}

fn version_of(object: &impl ResourceExt) -> Result<u64> {
    let version = object.resource_version().and_then(|text| text.parse().ok());
    version.context("an answer has no version")
}

impl Pass {
    #[expect(clippy::cast_precision_loss, reason = "counts of namespaces are far below 2^52")]
    fn findings(&self, count: usize, what: &'static str, others: Others) -> Vec<Finding> {
        let rate = |took: Duration| count as f64 / took.as_secs_f64().max(f64::EPSILON);
        let floors = self.floors.map(rate);
        let floor = f64::midpoint(floors[0], floors[1]);
        let imps = rate(self.took);
        let share = imps / floor;
        let (writes, most) = (self.account.secret_writes(), self.account.secret_writes_max());
        let cpu_ms = self.cpu.as_secs_f64() * 1000.0 / count as f64;
        let once = writes == count && most == 1;
        vec![
            Finding {
                key: what,
                what: format!("{what} of {count} namespaces"),
                imps: format!("{} = {imps:.0}/s", spoken(self.took)),
                bar: format!("{floor:.0}/s plain ({:.0}, {:.0}); ≥ {SHARE_MIN}", floors[0], floors[1]),
                verdict: Verdict::share(share, share >= SHARE_MIN),
                others: others.rate.into(),
                figures: json!({
                    "namespaces": count, "seconds": self.took.as_secs_f64(), "per_second": imps,
                    "floors_per_second": floors, "share": share, "share_min": SHARE_MIN,
                    "imps_cpu_ms_per_namespace": cpu_ms, "requests": self.account.json(),
                }),
            },
            Finding {
                key: others.writes_key,
                what: format!("{what}: writes of Secrets"),
                imps: format!("{writes}, at most {most} per namespace"),
                bar: format!("{count}, one each"),
                verdict: Verdict::of(once),
                others: String::new(),
                figures: json!({"writes": writes, "most_per_namespace": most}),
            },
        ]
    }
}
