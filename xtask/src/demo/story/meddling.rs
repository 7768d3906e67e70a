//! Somebody else deletes, edits, or got there first.

use anyhow::{Context, Result, ensure};
use kube::ResourceExt;
use kube::api::{DeleteParams, Patch, PatchParams};
use serde_json::json;

use super::{Expected, Story};
use crate::demo::stage::TARGET;
use crate::demo::voice::short;
use crate::lookout::Sighting;

/// A namespace that has a Secret of that name already.
const LEGACY: &str = "legacy";

pub(super) async fn tell(story: &mut Story<'_>) -> Result<()> {
    story.voice.chapter("Somebody meddles");
    deleted(story).await?;
    edited(story).await?;
    story.voice.chapter("Somebody got there first");
    foreign(story).await
}

async fn deleted(story: &mut Story<'_>) -> Result<()> {
    let before = story.before();
    let last = story.stage.lookout.last("shop").context("shop has its Secret")?;
    let secrets = story.stage.secrets("shop");
    secrets.delete(TARGET, &DeleteParams::default()).await.context("cannot delete a Secret")?;
    let done = before.done();
    let expected = Expected { namespace: "shop", what: "has it back", row: "target deleted" };
    story.voice.say("shop", &format!("somebody deletes {TARGET}"));
    story.see(&done, &expected, |sighting| sighting.stands && sighting.uid != last.uid).await?;
    Ok(())
}

async fn edited(story: &mut Story<'_>) -> Result<()> {
    let before = story.before();
    let secrets = story.stage.secrets("shop");
    let spoilt = json!({"stringData": {".dockerconfigjson": json!({"auths": {}}).to_string()}});
    let edit = secrets.patch_metadata(TARGET, &PatchParams::default(), &Patch::Merge(spoilt)).await;
    let done = before.done();
    let version: u64 = edit
        .context("cannot edit a Secret")?
        .resource_version()
        .and_then(|text| text.parse().ok())
        .context("an answer has no version")?;
    let expected = Expected { namespace: "shop", what: "is as it was", row: "target edited" };
    story.voice.say("shop", &format!("somebody takes every login out of {TARGET}"));
    story.see(&done, &expected, |sighting: &Sighting| sighting.stands && sighting.version > version).await?;
    Ok(())
}

async fn foreign(story: &mut Story<'_>) -> Result<()> {
    let namespace = json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": LEGACY}});
    let secret = json!({
        "apiVersion": "v1", "kind": "Secret", "metadata": {"name": TARGET, "namespace": LEGACY},
        "type": "Opaque", "stringData": {"note": "made by hand"},
    });
    story.stage.apply(&namespace).await?;
    story.stage.apply(&secret).await?;
    story.voice.say(LEGACY, &format!("namespace created, with a Secret {TARGET} that is not imps's"));
    let secrets = story.stage.secrets(LEGACY);
    let version = secrets.get_metadata(TARGET).await.context("the Secret stands")?.resource_version();
    let ask = json!({"metadata": {"annotations": {"sidecar.istio.io/inject": "true"}}});
    let namespaces = story.stage.namespaces();
    let before = story.before();
    namespaces.patch_metadata(LEGACY, &PatchParams::default(), &Patch::Merge(ask)).await?;
    let done = before.done();
    story.voice.say(LEGACY, "the annotation is added");
    let (failure, took) = story
        .status(&done, "that legacy has a conflict", |status| {
            status.failures.iter().find(|failure| failure.namespace == LEGACY).cloned()
        })
        .await?;
    story.voice.say(LEGACY, &format!("reported in the status after {}: {}", short(took), failure.reason));
    story.voice.because(&failure.message);
    let untouched =
        secrets.get_metadata(TARGET).await.context("the Secret stands")?.resource_version() == version;
    ensure!(untouched, "this did not happen: a Secret of somebody else is left alone");
    story.voice.say(LEGACY, "the Secret is untouched, to its resourceVersion");
    story.row(
        "foreign Secret left alone",
        LEGACY,
        &short(took),
        &format!("{}: {}", failure.reason, failure.message),
    );
    let before = story.before();
    secrets.delete(TARGET, &DeleteParams::default()).await.context("cannot delete a Secret")?;
    let done = before.done();
    let what = format!("has imps's {TARGET}");
    let expected = Expected { namespace: LEGACY, what: &what, row: "foreign Secret removed" };
    let last = story.stage.lookout.last(LEGACY).map(|last| last.uid).unwrap_or_default();
    story.voice.say(LEGACY, "its owner deletes it");
    story.see(&done, &expected, |sighting| sighting.stands && sighting.uid != last).await?;
    Ok(())
}
