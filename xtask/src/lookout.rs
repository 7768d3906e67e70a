//! Who sees objects of one name come, change and go, and notes when: the honest clock of the demo and the benchmark.
//!
//! It watches as any client would and stamps each event as it is read. Waiting looks at the stamps, so how often
//! it looks makes no figure longer.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use futures::StreamExt;
use futures::stream::BoxStream;
use k8s_openapi::api::core::v1::{Secret, ServiceAccount};
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
    /// Whether it stands: the Secret itself, or the Secret's name in the ServiceAccount.
    pub(crate) stands: bool,
}

/// What is looked out for, in all namespaces.
enum Subject {
    /// Secrets of this name.
    Secrets(Api<Secret>, String),
    /// The name of a Secret in ServiceAccounts of a name.
    Accounts(Api<ServiceAccount>, String, String),
}

/// What a watch says.
enum News {
    /// Something in this namespace.
    Seen(String, Sighting),
    /// All up to this version was said.
    Mark(String),
}

#[derive(Default)]
struct Book {
    what: String,
    sightings: BTreeMap<String, Vec<Sighting>>,
    failure: Option<String>,
}

/// A watch on the objects of one name in all namespaces. It ends when this is dropped.
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
    /// Begins to watch the Secrets of a name; what stands already is noted first.
    pub(crate) async fn over(client: Client, name: &str) -> Result<Self> {
        Self::begin(Subject::Secrets(Api::all(client), name.to_owned())).await
    }

    /// Begins to watch for the name of a Secret in the ServiceAccounts of a name.
    pub(crate) async fn over_accounts(client: Client, account: &str, secret: &str) -> Result<Self> {
        Self::begin(Subject::Accounts(Api::all(client), account.to_owned(), secret.to_owned())).await
    }

    async fn begin(subject: Subject) -> Result<Self> {
        let (seen, version) = subject.list().await.with_context(|| format!("cannot list the {subject}"))?;
        let mut book = Book { what: subject.to_string(), ..Book::default() };
        seen.into_iter().for_each(|(namespace, sighting)| book.note(namespace, sighting));
        let book = Arc::new(Mutex::new(book));
        let watch = tokio::spawn(follow(subject, version, book.clone()));
        Ok(Self { book, watch })
    }

    /// What was seen first in a namespace.
    pub(crate) fn earliest(&self, namespace: &str) -> Option<Sighting> {
        self.book().sightings.get(namespace)?.first().cloned()
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
                let what = self.book().what.clone();
                bail!("only {found} of {count} {what} were seen within {} s", within.as_secs());
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
    fn note(&mut self, namespace: String, sighting: Sighting) {
        self.sightings.entry(namespace).or_default().push(sighting);
    }

    /// A watch that failed has holes, so nothing may be concluded from it.
    fn intact(&self) -> Result<()> {
        let what = &self.what;
        self.failure.as_ref().map_or(Ok(()), |failure| bail!("the watch on {what} failed: {failure}"))
    }
}

impl std::fmt::Display for Subject {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Secrets(_, name) => write!(formatter, "Secrets named {name}"),
            Self::Accounts(_, name, _) => write!(formatter, "ServiceAccounts named {name}"),
        }
    }
}

impl Subject {
    fn fields(&self) -> String {
        let (Self::Secrets(_, name) | Self::Accounts(_, name, _)) = self;
        format!("metadata.name={name}")
    }

    /// What is there, and the version to watch from.
    async fn list(&self) -> Result<(Vec<(String, Sighting)>, String)> {
        let params = ListParams::default().fields(&self.fields());
        let (seen, metadata) = match self {
            Self::Secrets(secrets, _) => {
                let list = secrets.list_metadata(&params).await?;
                (list.items.iter().map(|object| sighting(object, true)).collect(), list.metadata)
            }
            Self::Accounts(accounts, _, secret) => {
                let list = accounts.list(&params).await?;
                let seen = list.items.iter().map(|object| sighting(object, names(object, secret)));
                (seen.collect(), list.metadata)
            }
        };
        Ok((seen, metadata.resource_version.unwrap_or_default()))
    }

    /// What happens from a version on, until the server ends the watch, which it does every few minutes.
    async fn watch(&self, version: &str) -> Result<BoxStream<'static, Result<News>>> {
        let params = WatchParams::default().fields(&self.fields()).timeout(WATCH_SECONDS);
        Ok(match self {
            Self::Secrets(secrets, _) => {
                let events = secrets.watch_metadata(&params, version).await?;
                events.map(|event| news(event?, |_| true)).boxed()
            }
            Self::Accounts(accounts, _, secret) => {
                let (events, secret) = (accounts.watch(&params, version).await?, secret.clone());
                events.map(move |event| news(event?, |account| names(account, &secret))).boxed()
            }
        })
    }
}

/// Whether a ServiceAccount names a Secret.
fn names(account: &ServiceAccount, secret: &str) -> bool {
    account.image_pull_secrets.iter().flatten().any(|reference| reference.name == secret)
}

fn sighting(object: &impl ResourceExt, stands: bool) -> (String, Sighting) {
    let sighting = Sighting {
        at: Instant::now(),
        uid: object.uid().unwrap_or_default(),
        version: object.resource_version().and_then(|text| text.parse().ok()).unwrap_or_default(),
        stands,
    };
    (object.namespace().unwrap_or_default(), sighting)
}

fn news<K: ResourceExt>(event: WatchEvent<K>, stands: impl Fn(&K) -> bool) -> Result<News> {
    let (namespace, sighting) = match event {
        WatchEvent::Added(object) | WatchEvent::Modified(object) => sighting(&object, stands(&object)),
        WatchEvent::Deleted(object) => sighting(&object, false),
        WatchEvent::Bookmark(mark) => return Ok(News::Mark(mark.metadata.resource_version)),
        WatchEvent::Error(status) => bail!("{}", status.message),
    };
    Ok(News::Seen(namespace, sighting))
}

async fn follow(subject: Subject, mut version: String, book: Arc<Mutex<Book>>) {
    loop {
        if let Err(error) = follow_once(&subject, &mut version, &book).await {
            book.lock().unwrap_or_else(PoisonError::into_inner).failure = Some(format!("{error:#}"));
            return;
        }
    }
}

async fn follow_once(subject: &Subject, version: &mut String, book: &Mutex<Book>) -> Result<()> {
    let mut events = subject.watch(version).await?;
    while let Some(event) = events.next().await {
        match event? {
            News::Seen(namespace, sighting) => {
                *version = sighting.version.to_string();
                book.lock().unwrap_or_else(PoisonError::into_inner).note(namespace, sighting);
            }
            News::Mark(mark) => *version = mark,
        }
    }
    Ok(())
}
