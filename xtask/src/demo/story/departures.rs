//! What is no longer wanted goes.

use anyhow::{Context, Result};
use kube::api::{DeleteParams, Patch, PatchParams};
use serde_json::json;

use super::{Expected, Story};
use crate::lookout::Sighting;

pub(super) async fn tell(story: &mut Story<'_>) -> Result<()> {
    story.voice.chapter("Wishes end");
    let (before, last) = (story.before(), version(story, "shop")?);
    let drop = json!({"metadata": {"annotations": {"sidecar.istio.io/inject": null}}});
    let namespaces = story.stage.namespaces();
    namespaces.patch_metadata("shop", &PatchParams::default(), &Patch::Merge(drop)).await?;
    let done = before.done();
    story.voice.say("shop", "the annotation is removed");
    let expected = Expected { namespace: "shop", what: "its Secret is gone", row: "annotation removed" };
    story.see(&done, &expected, |sighting| gone_since(sighting, last)).await?;

    let (before, last) = (story.before(), version(story, "payments")?);
    let pods = story.stage.pods("payments");
    pods.delete("checkout", &DeleteParams::default()).await.context("cannot delete a pod")?;
    let done = before.done();
    story.voice.say("payments", "pod checkout is deleted");
    let expected = Expected { namespace: "payments", what: "its Secret is gone", row: "pod deleted" };
    story.see(&done, &expected, |sighting| gone_since(sighting, last)).await?;
    Ok(())
}

fn version(story: &Story<'_>, namespace: &str) -> Result<u64> {
    let last = story.stage.lookout.last(namespace);
    last.map(|last| last.version).with_context(|| format!("{namespace} has its Secret"))
}

fn gone_since(sighting: &Sighting, version: u64) -> bool {
    !sighting.stands && sighting.version > version
}
