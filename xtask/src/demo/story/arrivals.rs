//! Logins, an ImagePullSecret, and namespaces that come: some get a Secret, some do not.

use anyhow::{Context, Result, ensure};

use super::{Expected, SILENCE, Story};
use crate::demo::stage::{SOURCES, TARGET};
use crate::demo::voice::short;

pub(super) async fn tell(story: &mut Story<'_>) -> Result<()> {
    story.voice.chapter("Two logins and one ImagePullSecret");
    setting(story).await?;
    story.voice.chapter("Namespaces come");
    by_annotation(story).await?;
    by_pod(story).await?;
    left_out(story).await
}

async fn setting(story: &mut Story<'_>) -> Result<()> {
    for login in ["dockerhub", "company"] {
        story.stage.enter("Secret", login).await?;
    }
    story.voice.say(SOURCES, "logins dockerhub and company are put here");
    let before = story.before();
    story.stage.enter(imps_api::keys::KIND, TARGET).await?;
    let done = before.done();
    story.voice.say(
        "",
        "an ImagePullSecret is created, for namespaces that ask for a sidecar or have a pod that does",
    );
    let (word, took) = story
        .status(&done, "that the ImagePullSecret was understood", |status| {
            status.observed_generation.filter(|generation| *generation > 0)?;
            Some(status.status.clone()).filter(|word| !word.is_empty())
        })
        .await?;
    story.voice.say("", &format!("its status says {word} after {}", short(took)));
    Ok(())
}

async fn by_annotation(story: &mut Story<'_>) -> Result<()> {
    let before = story.before();
    story.stage.enter("Namespace", "shop").await?;
    let done = before.done();
    story.voice.say("shop", "namespace created, with the annotation");
    let what = format!("has {TARGET}");
    let expected = Expected { namespace: "shop", what: &what, row: "namespace created" };
    story.see(&done, &expected, |sighting| sighting.stands).await?;
    if let Some(registries) = story.stage.plan.registries("shop") {
        story.voice.because(&format!("it holds: {registries}"));
    }
    Ok(())
}

async fn by_pod(story: &mut Story<'_>) -> Result<()> {
    story.stage.enter("Namespace", "payments").await?;
    story.voice.say("payments", "namespace created, without the annotation");
    story.stage.wait_for_account("payments").await?;
    let before = story.before();
    ensure!(story.stage.lookout.last("payments").is_none(), "payments has a Secret that no rule asks for");
    story.stage.enter("Pod", "checkout").await?;
    let done = before.done();
    story.voice.say("payments", "pod checkout created, with the annotation");
    let what = format!("has {TARGET}");
    let expected = Expected { namespace: "payments", what: &what, row: "pod created" };
    story.see(&done, &expected, |sighting| sighting.stands).await?;
    Ok(())
}

async fn left_out(story: &mut Story<'_>) -> Result<()> {
    story.stage.enter("Namespace", "batch").await?;
    story.stage.wait_for_account("batch").await?;
    story.stage.enter("Pod", "nightly").await?;
    story.voice.say("batch", "namespace and pod nightly created, without the annotation");
    story.stage.enter("Namespace", "sandbox").await?;
    story.voice.say("sandbox", "namespace created, with the annotation and with registry-access=none");
    tokio::time::sleep(SILENCE).await;
    for namespace in ["batch", "sandbox"] {
        let seen = story.stage.lookout.last(namespace);
        ensure!(seen.is_none(), "{namespace} got a Secret, although imps plan says that it gets none");
        let because = story.stage.plan.left_out(namespace).context("imps plan does not say why")?.to_owned();
        story.voice.say(namespace, &format!("has no Secret after {}", short(SILENCE)));
        story.voice.because(&because);
        story.row("nothing, as planned", namespace, "–", &because);
    }
    Ok(())
}
