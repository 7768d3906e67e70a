//! One namespace at a time: a new one, and one whose Secret was broken or is no longer wanted.

use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use imps_testbed::manifest;
use k8s_openapi::api::core::v1::{Namespace, Secret};
use kube::ResourceExt;
use kube::api::{Api, DeleteParams, Patch, PatchParams};
use serde_json::{Value, json};

use super::page::{Finding, Others, Verdict};
use super::rig::{LABEL, Rig, TARGET, recipient};
use super::spread::{Spread, milliseconds};
use crate::console::Console;
use crate::lookout::Sighting;

/// How long one of these may take before the run is given up.
const PATIENCE: Duration = Duration::from_secs(30);
/// What is demanded of a new namespace.
const NEW_MAX: Duration = Duration::from_millis(15);
/// What is demanded of a repair.
const REPAIR_MAX: Duration = Duration::from_millis(100);

/// Namespaces are made one after the other; each gets its Secret.
pub(super) async fn newcomers(rig: &mut Rig, count: usize, console: &mut Console) -> Result<Vec<Finding>> {
    console.begin(&format!("{count} more namespaces, one after the other"));
    let samples = add(rig, "bench-new", count).await?;
    Ok(vec![finding("new_namespace", "one more namespace", samples, NEW_MAX, Others::NEW)])
}

/// Makes namespaces of such names and returns how long each waited for its Secret.
pub(super) async fn add(rig: &mut Rig, prefix: &str, count: usize) -> Result<Vec<Duration>> {
    let mut samples = Vec::new();
    for index in 0..count {
        let name = format!("{prefix}-{index:03}");
        manifest::apply(&rig.admin, &[recipient(&name)]).await?;
        let created = Instant::now();
        let seen = rig.targets.wait(&name, PATIENCE, |sighting| sighting.stands).await?;
        // It may be there before the answer to whoever made the namespace.
        samples.push(seen.at.saturating_duration_since(created));
    }
    Ok(samples)
}

/// What somebody does to a target, or to its namespace.
#[derive(Clone, Copy)]
enum Harm {
    Delete,
    Edit,
    Deselect,
}

/// Targets are deleted, edited, and no longer wanted.
pub(super) async fn repairs(rig: &Rig, count: usize, console: &mut Console) -> Result<Vec<Finding>> {
    let kinds = [
        (Harm::Delete, "deleted_target", "deleted target back", Others::REPAIR),
        (Harm::Edit, "edited_target", "edited target as before", ""),
        (Harm::Deselect, "deselected", "deselected target gone", ""),
    ];
    let mut findings = Vec::new();
    for (harm, key, what, others) in kinds {
        console.begin(&format!("{count} times: {what}"));
        let mut samples = Vec::new();
        for index in 0..count {
            // Spread over all, so that none is touched twice in a row.
            let place = index * rig.namespaces.len() / count;
            samples.push(harm.done(rig, &rig.namespaces[place]).await?);
        }
        findings.push(finding(key, what, samples, REPAIR_MAX, others));
    }
    Ok(findings)
}

impl Harm {
    /// Does it and returns how long it took until all was well again.
    async fn done(self, rig: &Rig, namespace: &str) -> Result<Duration> {
        let before = rig.targets.last(namespace).context("every namespace has its Secret")?;
        let secrets = Api::<Secret>::namespaced(rig.admin.clone(), namespace);
        match self {
            Self::Delete => {
                secrets.delete(TARGET, &DeleteParams::default()).await.context("cannot delete a target")?;
                let back = |sighting: &Sighting| sighting.stands && sighting.uid != before.uid;
                until(rig, namespace, before.version, back).await
            }
            Self::Edit => {
                let edit = Patch::Merge(json!({"data": {".dockerconfigjson": "eyJhdXRocyI6e319"}}));
                let edited = secrets.patch_metadata(TARGET, &PatchParams::default(), &edit).await;
                let version = edited.context("cannot edit a target")?.resource_version();
                let version =
                    version.and_then(|text| text.parse().ok()).context("an answer has no version")?;
                until(rig, namespace, version, |sighting| sighting.stands).await
            }
            Self::Deselect => {
                relabel(rig, namespace, Value::Null).await?;
                let took = until(rig, namespace, before.version, |sighting| !sighting.stands).await?;
                relabel(rig, namespace, json!("yes")).await?;
                let last = rig.targets.last(namespace).map_or(before.version, |last| last.version);
                if rig.targets.last(namespace).is_some_and(|last| !last.stands) {
                    until(rig, namespace, last, |sighting| sighting.stands).await?;
                }
                Ok(took)
            }
        }
    }
}

/// From now until a later version of the target was seen that fits.
async fn until(rig: &Rig, namespace: &str, after: u64, fits: impl Fn(&Sighting) -> bool) -> Result<Duration> {
    let done = Instant::now();
    let later = |sighting: &Sighting| sighting.version > after && fits(sighting);
    Ok(rig.targets.wait(namespace, PATIENCE, later).await?.at.saturating_duration_since(done))
}

async fn relabel(rig: &Rig, namespace: &str, value: Value) -> Result<()> {
    let patch = Patch::Merge(json!({"metadata": {"labels": {LABEL: value}}}));
    let namespaces = Api::<Namespace>::all(rig.admin.clone());
    namespaces.patch_metadata(namespace, &PatchParams::default(), &patch).await.context("cannot label")?;
    Ok(())
}

fn finding(
    key: &'static str,
    what: &str,
    samples: Vec<Duration>,
    bar: Duration,
    others: &'static str,
) -> Finding {
    let spread = Spread::of(samples);
    let mut figures = spread.json();
    figures["p50_max_ms"] = json!(milliseconds(bar));
    Finding {
        key,
        what: format!("{what}, {} times", spread.count),
        imps: format!("{spread}"),
        bar: format!("p50 < {} ms", bar.as_millis()),
        verdict: Verdict::of(spread.p50 < bar),
        others,
        figures,
    }
}
