//! The story in chapters. Each step names itself first, so that a step that does not happen can be named.

use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use imps_api::ImagePullSecretStatus;

use super::stage::{Stage, TARGET};
use super::voice::{Row, Voice, short};
use super::words;
use crate::lookout::Sighting;

mod arrivals;
mod credentials;
mod departures;
mod meddling;
mod pulls;

pub(super) use pulls::Pulls;

/// How long a step may take. imps needs milliseconds; a machine that is busy with a build needs more.
const BOUND: Duration = Duration::from_secs(5);
/// How long nothing has to happen before it is said that nothing happens.
const SILENCE: Duration = Duration::from_millis(500);
/// How often the status and the log are looked at.
const LOOK_EVERY: Duration = Duration::from_millis(5);

/// The teller.
pub(super) struct Story<'s> {
    stage: &'s Stage,
    voice: &'s mut Voice,
    rows: Vec<Row>,
}

/// Before somebody does something.
struct Before {
    /// How much imps had logged by then.
    logged: usize,
}

/// Somebody has done something, and has the server's answer.
struct Done {
    before: Before,
    at: Instant,
}

impl Before {
    /// To be called as soon as the answer is there: the clock runs from here.
    fn done(self) -> Done {
        Done { before: self, at: Instant::now() }
    }
}

/// What is expected to follow.
struct Expected<'t> {
    namespace: &'t str,
    /// As it is said when it happens.
    what: &'t str,
    /// As it stands in the table.
    row: &'t str,
}

impl<'s> Story<'s> {
    pub(super) fn new(stage: &'s Stage, voice: &'s mut Voice) -> Self {
        Self { stage, voice, rows: Vec::new() }
    }

    /// Tells all of it.
    pub(super) async fn tell(&mut self) -> Result<()> {
        self.voice.begin();
        arrivals::tell(self).await?;
        credentials::tell(self).await?;
        meddling::tell(self).await?;
        departures::tell(self).await
    }

    /// Tells the story of a pod on a node instead.
    pub(super) async fn tell_on_node(&mut self, pulls: &Pulls<'_>) -> Result<()> {
        self.voice.begin();
        pulls::tell(self, pulls).await
    }

    pub(super) fn into_rows(self) -> Vec<Row> {
        self.rows
    }

    fn before(&self) -> Before {
        Before { logged: self.stage.imps.log().len() }
    }

    /// Waits for what is expected; says how long after the deed it happened and, in imps's words, why.
    async fn see(
        &mut self,
        done: &Done,
        expected: &Expected<'_>,
        fits: impl Fn(&Sighting) -> bool,
    ) -> Result<Sighting> {
        let Expected { namespace, what, row } = expected;
        let seen = self.stage.lookout.wait(namespace, BOUND, fits).await;
        let seen = seen.with_context(|| format!("this did not happen: {namespace}: {what}"))?;
        // It may have been seen before the answer to whoever changed something was.
        let took = short(seen.at.saturating_duration_since(done.at));
        self.voice.say(namespace, &format!("{what} after {took}"));
        let because = self.because(&done.before, namespace).await?;
        self.voice.because(&because);
        self.row(row, namespace, &took, &because);
        Ok(seen)
    }

    /// imps writes the line when its request was answered, which may be a moment after others saw the result.
    async fn because(&self, before: &Before, namespace: &str) -> Result<String> {
        let begun = Instant::now();
        loop {
            let log = self.stage.imps.log();
            if let Some(because) = words::because(log.get(before.logged..).unwrap_or_default(), namespace) {
                return Ok(because);
            }
            let missing = || format!("this did not happen: imps logs why it wrote in {namespace}");
            anyhow::ensure!(begun.elapsed() < BOUND, missing());
            tokio::time::sleep(LOOK_EVERY).await;
        }
    }

    /// Waits until the status of the ImagePullSecret says something; returns it and how long after the deed it did.
    async fn status<T>(
        &self,
        done: &Done,
        what: &str,
        says: impl Fn(&ImagePullSecretStatus) -> Option<T>,
    ) -> Result<(T, Duration)> {
        let begun = Instant::now();
        loop {
            let grant = self.stage.grants().get(TARGET).await.context("cannot read the ImagePullSecret")?;
            if let Some(said) = grant.status.as_ref().and_then(&says) {
                return Ok((said, done.at.elapsed()));
            }
            anyhow::ensure!(begun.elapsed() < BOUND, "this did not happen: the status says {what}");
            tokio::time::sleep(LOOK_EVERY).await;
        }
    }

    fn row(&mut self, what: &str, place: &str, took: &str, why: &str) {
        self.rows.push([what, place, took, why].map(str::to_owned));
    }
}
