//! Who sees Secrets of one name come, change and go, and notes when: the honest clock of the demo and the benchmark.
//!
//! It watches as any client would and stamps each event as it is read. Waiting looks at the stamps, so how often
//! it looks makes no figure longer.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use futures::StreamExt;
use k8s_openapi::api::core::v1::Secret;
use kube::api::{Api, ListParams, WatchEvent, WatchParams};
use kube::{Client, ResourceExt};
use tokio::task::JoinHandle;

/// How often one namespace is looked at: an event costs more than that to arrive.
const LOOK_EVERY: Duration = Duration::from_millis(1);
/// How often thousands of namespaces are looked at.
const COUNT_EVERY: Duration = Duration::from_millis(50);
/// The longest that a watch may ask for.
const WATCH_SECONDS: u32 = 290;

/// One event.
#[derive(Clone, Debug)]
pub(crate) struct Sighting {
    /// When it was read off the watch.
    pub(crate) at: Instant,
    /// Of the object.
    pub(crate) uid: String,
    /// Of the object, as a number; versions of one server grow.
    pub(crate) version: u64,
    /// Whether the object stands, or is gone.
    pub(crate) stands: bool,
}

#[derive(Default)]
struct Book {
    sightings: BTreeMap<String, Vec<Sighting>>,
    failure: Option<String>,
}

/// A watch on the Secrets of one name in all namespaces. It ends when this is dropped.
pub(crate) struct Lookout {
    book: Arc<Mutex<Book>>,
    watch: JoinHandle<()>,
}

impl Drop for Lookout {
    fn drop(&mut self) {
        self.watch.abort();
    }
}

impl Lookout {
    /// Begins to watch; what stands already is noted first.
    pub(crate) async fn over(client: Client, name: &str) -> Result<Self> {
        let secrets = Api::<Secret>::all(client);
        let fields = format!("metadata.name={name}");
        let list = secrets.list_metadata(&ListParams::default().fields(&fields)).await;
        let list = list.with_context(|| format!("cannot list the Secrets named {name}"))?;
        let mut book = Book::default();
        for object in &list.items {
            book.note(object, true);
        }
        let version = list.metadata.resource_version.unwrap_or_default();
        let book = Arc::new(Mutex::new(book));
        let watch = tokio::spawn(follow(secrets, fields, version, book.clone()));
        Ok(Self { book, watch })
    }

    /// What was seen last in a namespace.
    pub(crate) fn last(&self, namespace: &str) -> Option<Sighting> {
        self.book().sightings.get(namespace)?.last().cloned()
    }

    /// The latest version that was seen anywhere.
    pub(crate) fn newest(&self) -> u64 {
        let book = self.book();
        let seen = book.sightings.values().filter_map(|seen| seen.last());
        seen.map(|sighting| sighting.version).max().unwrap_or_default()
    }

    /// The UIDs of all that stand, by namespace.
    pub(crate) fn uids(&self) -> BTreeMap<String, String> {
        let book = self.book();
        let last = book.sightings.iter().filter_map(|(namespace, seen)| Some((namespace, seen.last()?)));
        let standing = last.filter(|(_, last)| last.stands);
        standing.map(|(namespace, last)| (namespace.clone(), last.uid.clone())).collect()
    }

    /// Waits until a sighting fits and returns the first that does.
    pub(crate) async fn wait(
        &self,
        namespace: &str,
        within: Duration,
        fits: impl Fn(&Sighting) -> bool,
    ) -> Result<Sighting> {
        let begun = Instant::now();
        loop {
            if let Some(found) = self.first(namespace, &fits)? {
                return Ok(found);
            }
            if begun.elapsed() > within {
                bail!("nothing was seen in namespace {namespace} within {} s", within.as_secs());
            }
            tokio::time::sleep(LOOK_EVERY).await;
        }
    }

    /// Waits until as many namespaces have a sighting that fits; returns when the first and the last were read.
    pub(crate) async fn wait_for(
        &self,
        count: usize,
        within: Duration,
        fits: impl Fn(&Sighting) -> bool,
    ) -> Result<(Instant, Instant)> {
        let begun = Instant::now();
        loop {
            let (found, ends) = self.tally(&fits)?;
            if found >= count
                && let Some(ends) = ends
            {
                return Ok(ends);
            }
            if begun.elapsed() > within {
                bail!("only {found} of {count} Secrets were seen within {} s", within.as_secs());
            }
            tokio::time::sleep(COUNT_EVERY).await;
        }
    }

    fn first(&self, namespace: &str, fits: impl Fn(&Sighting) -> bool) -> Result<Option<Sighting>> {
        let book = self.book();
        book.intact()?;
        let mut seen = book.sightings.get(namespace).into_iter().flatten();
        Ok(seen.find(|sighting| fits(sighting)).cloned())
    }

    /// How many namespaces have a sighting that fits, and when the first and the last of those were read.
    fn tally(&self, fits: impl Fn(&Sighting) -> bool) -> Result<(usize, Option<(Instant, Instant)>)> {
        let book = self.book();
        book.intact()?;
        let fitting = book.sightings.values().filter_map(|seen| seen.iter().find(|sighting| fits(sighting)));
        let at = fitting.map(|sighting| sighting.at);
        Ok(at.fold((0, None), |(count, ends), at| {
            let (first, last) = ends.unwrap_or((at, at));
            (count + 1, Some((at.min(first), at.max(last))))
        }))
    }

    fn book(&self) -> MutexGuard<'_, Book> {
        self.book.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Book {
    fn note(&mut self, object: &impl ResourceExt, stands: bool) {
        let sighting = Sighting {
            at: Instant::now(),
            uid: object.uid().unwrap_or_default(),
            version: object.resource_version().and_then(|text| text.parse().ok()).unwrap_or_default(),
            stands,
        };
        self.sightings.entry(object.namespace().unwrap_or_default()).or_default().push(sighting);
    }

    /// A watch that failed has holes, so nothing may be concluded from it.
    fn intact(&self) -> Result<()> {
        self.failure.as_ref().map_or(Ok(()), |failure| bail!("the watch on Secrets failed: {failure}"))
    }
}

async fn follow(secrets: Api<Secret>, fields: String, mut version: String, book: Arc<Mutex<Book>>) {
    let params = WatchParams::default().fields(&fields).timeout(WATCH_SECONDS);
    loop {
        if let Err(error) = follow_once(&secrets, &params, &mut version, &book).await {
            book.lock().unwrap_or_else(PoisonError::into_inner).failure = Some(format!("{error:#}"));
            return;
        }
    }
}

/// Until the server ends the watch, which it does every few minutes.
async fn follow_once(
    secrets: &Api<Secret>,
    params: &WatchParams,
    version: &mut String,
    book: &Mutex<Book>,
) -> Result<()> {
    let mut events = std::pin::pin!(secrets.watch_metadata(params, version).await?);
    while let Some(event) = events.next().await {
        let (object, stands) = match event? {
            WatchEvent::Added(object) | WatchEvent::Modified(object) => (object, true),
            WatchEvent::Deleted(object) => (object, false),
            WatchEvent::Bookmark(mark) => {
                *version = mark.metadata.resource_version;
                continue;
            }
            WatchEvent::Error(status) => bail!("{}", status.message),
        };
        *version = object.resource_version().unwrap_or_default();
        book.lock().unwrap_or_else(PoisonError::into_inner).note(&object, stands);
    }
    Ok(())
}
