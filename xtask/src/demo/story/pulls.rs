//! A pod whose image is in a private registry, told by the kubelet: it waits for its pull secret, and then it runs.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use imps_testbed::node::pod::{self, State};
use imps_testbed::{Login, Registry};
use k8s_openapi::api::core::v1::{Event, Pod};
use kube::ResourceExt;
use serde_json::json;

use super::{Expected, Story};
use crate::demo::stage::{SOURCES, TARGET};
use crate::demo::voice::short;

/// Where the pod is.
const NAMESPACE: &str = "shop";
/// The pod.
const POD: &str = "checkout";
/// The kubelet tries again after 10 to 15 seconds; a busy machine gets more.
const PULLED_WITHIN: Duration = Duration::from_secs(90);
/// How often the pod is looked at: twenty times for each second that the kubelet waits.
const LOOK_EVERY: Duration = Duration::from_millis(50);

/// What the pod needs and nobody has given to it.
pub(in crate::demo) struct Pulls<'s> {
    /// Where the image is.
    pub(in crate::demo) registry: &'s Registry,
    /// As `repository:tag`.
    pub(in crate::demo) image: &'s str,
    /// The only one that the registry lets in.
    pub(in crate::demo) login: Login<'s>,
}

pub(super) async fn tell(story: &mut Story<'_>, pulls: &Pulls<'_>) -> Result<()> {
    story.voice.chapter("A pod that may not pull its image");
    let mut watcher = arrival(story, pulls).await?;
    watcher.follow(story, "it cannot be pulled", State::is_pull_failure).await?;
    story.voice.chapter("imps is asked for the pull secret");
    let written = secret(story, pulls).await?;
    story.voice.chapter("The kubelet tries again");
    let pod = watcher.follow(story, "it runs", |state| *state == State::Running).await?;
    let waited = short(written.elapsed());
    watcher.event(story, &pod, "Successfully pulled image").await?;
    let kept = pod.uid().unwrap_or_default() == watcher.uid;
    ensure!(kept, "this did not happen: the pod that waited is the pod that runs");
    story.voice.say(NAMESPACE, &format!("{POD} runs, {waited} after its pull secret was written"));
    story
        .voice
        .because("it is the same pod (UID kept): nobody touched it; the kubelet waited out its back-off");
    Ok(())
}

/// Follows one pod.
struct Watcher {
    uid: String,
    told: BTreeSet<(String, Option<i32>)>,
    state: State,
}

async fn arrival<'s>(story: &mut Story<'_>, pulls: &Pulls<'s>) -> Result<Watcher> {
    let Pulls { registry, image, login } = pulls;
    let text = format!("a registry at {} holds {image} and lets in only {}", registry.address(), login.user);
    story.voice.say("", &text);
    story.stage.enter("Namespace", NAMESPACE).await?;
    story.stage.wait_for_account(NAMESPACE).await?;
    let reference = format!("{}/{image}", registry.address());
    story.stage.apply(&pod::manifest(NAMESPACE, POD, &reference, Some(TARGET))).await?;
    let text = format!("namespace and pod {POD} created; the pod names the pull secret {TARGET}");
    story.voice.say(NAMESPACE, &text);
    let pod = read(story).await?;
    Ok(Watcher { uid: pod.uid().unwrap_or_default(), told: BTreeSet::new(), state: State::Pending })
}

/// Makes the source and the ImagePullSecret; returns when the Secret was seen.
async fn secret(story: &mut Story<'_>, pulls: &Pulls<'_>) -> Result<Instant> {
    story.stage.enter("Secret", "dockerhub").await?;
    let config = pulls.registry.docker_config(pulls.login);
    let source = json!({
        "apiVersion": "v1", "kind": "Secret", "type": "kubernetes.io/dockerconfigjson",
        "metadata": {"name": "company", "namespace": SOURCES},
        "stringData": {".dockerconfigjson": config},
    });
    story.stage.apply(&source).await?;
    let text = format!("logins dockerhub and company are put here, company for {}", pulls.registry.address());
    story.voice.say(SOURCES, &text);
    let before = story.before();
    story.stage.enter(imps_api::keys::KIND, TARGET).await?;
    let done = before.done();
    story.voice.say("", "an ImagePullSecret is created, for namespaces that ask for a sidecar");
    let what = format!("has {TARGET}");
    let expected = Expected { namespace: NAMESPACE, what: &what, row: "secret written" };
    Ok(story.see(&done, &expected, |sighting| sighting.stands).await?.at)
}

impl Watcher {
    /// Tells what the kubelet says until the pod stands as it should.
    async fn follow(
        &mut self,
        story: &mut Story<'_>,
        what: &str,
        stands: impl Fn(&State) -> bool,
    ) -> Result<Pod> {
        let begun = Instant::now();
        loop {
            let pod = read(story).await?;
            self.tell(story, &pod).await?;
            if stands(&self.state) {
                return Ok(pod);
            }
            let missing = || format!("this did not happen: pod {POD}: {what}; it is {}", self.state);
            ensure!(begun.elapsed() < PULLED_WITHIN, missing());
            tokio::time::sleep(LOOK_EVERY).await;
        }
    }

    /// Waits for an event that begins like this: it is written a moment after the pod's status.
    async fn event(&mut self, story: &mut Story<'_>, pod: &Pod, text: &str) -> Result<()> {
        let begun = Instant::now();
        loop {
            self.tell(story, pod).await?;
            let events = pod::events(&story.stage.admin, pod).await?;
            if events.iter().any(|event| message(event).starts_with(text)) {
                return Ok(());
            }
            ensure!(begun.elapsed() < super::BOUND, "this did not happen: the kubelet says {text:?}");
            tokio::time::sleep(LOOK_EVERY).await;
        }
    }

    /// Tells each event once, and each state that differs from the one before. A state in which the pod waits began
    /// before the events of the next try.
    async fn tell(&mut self, story: &mut Story<'_>, pod: &Pod) -> Result<()> {
        let state = pod::state(pod);
        let changed = (state.to_string() != self.state.to_string()).then(|| format!("pod {POD} is {state}"));
        let waits = matches!(state, State::Waiting { .. });
        self.state = state;
        if let (true, Some(text)) = (waits, &changed) {
            story.voice.say(NAMESPACE, text);
        }
        for event in pod::events(&story.stage.admin, pod).await? {
            if self.told.insert((event.name_any(), event.count)) {
                story.voice.say(NAMESPACE, &format!("kubelet: {}", message(&event)));
            }
        }
        if let (false, Some(text)) = (waits, &changed) {
            story.voice.say(NAMESPACE, text);
        }
        Ok(())
    }
}

fn message(event: &Event) -> &str {
    event.message.as_deref().unwrap_or_default()
}

async fn read(story: &Story<'_>) -> Result<Pod> {
    story.stage.pods(NAMESPACE).get(POD).await.context("cannot read the pod")
}
