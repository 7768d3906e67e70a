//! Streams of news from the API server, each turned into facts by a task of its own with a back-off of its own.
//!
//! A stream that fails says so and goes on trying; it never takes another one down. The list at the start comes as a
//! stream too where the server can do that, which needs less memory on both sides.

use std::time::Duration;

use futures::StreamExt;
use imps_api::{ImagePullSecret, ImagePullSecretStatus};
use imps_core::census::{Pod, PodUid};
use imps_core::grant::Identity;
use imps_core::holding::Version;
use imps_core::name::{AccountName, AccountRef, NamespaceName, SecretRef, Uid};
use imps_core::reason::{Fault, FaultClass};
use imps_core::world::{Extent, Fact, GrantFact, Namespace, Record, Rejection, Stream};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::runtime::watcher::{self, Event, watcher};
use kube::{Api, Client, Resource};
use serde::de::DeserializeOwned;
use tokio::sync::mpsc;
use tokio::task::JoinHandle;

use crate::fault;
use crate::remit::Remit;
use crate::view::{AccountView, GrantView, NamespaceView, PodView, SourceView, TargetView};

/// The first pause after a failure; it doubles to [`PAUSE_MAX`]. Short, because until the stream is back nothing is
/// seen.
const PAUSE_MIN: Duration = Duration::from_millis(250);
/// The longest pause.
const PAUSE_MAX: Duration = Duration::from_secs(15);
/// Page size where the server cannot stream the list: small pages keep memory flat, and a list is rare.
const PAGE_SIZE: u32 = 100;
/// The server ends a watch after this long, and a connection that died unnoticed is found out soon after.
const WATCH_SECONDS: u32 = 240;

/// What a stream says.
#[derive(Debug)]
pub enum News {
    /// Something for the controller.
    Fact(Fact),
    /// The status that an `ImagePullSecret` has, for whoever writes the next one.
    Status(Uid, Box<Option<ImagePullSecretStatus>>),
}

/// Starts to listen to a stream. The task ends when it is aborted or nobody takes the news any more.
pub fn listen(client: Client, remit: Remit, stream: Stream, news: mpsc::Sender<News>) -> JoinHandle<()> {
    tokio::spawn(async move {
        if let Remit::Single(single) = &remit
            && let Some(facts) = single.told(&stream)
        {
            for fact in facts {
                if news.send(News::Fact(fact)).await.is_err() {
                    return;
                }
            }
            return;
        }
        let place = remit.spell(&stream);
        let line = Line { stream: stream.clone(), place, news };
        match stream {
            Stream::Grants => follow(line, Api::<GrantView>::all(client), None, grant).await,
            Stream::Namespaces => follow(line, Api::<NamespaceView>::all(client), None, namespace).await,
            Stream::Pods { .. } => follow(line, Api::<PodView>::all(client), None, pod).await,
            Stream::Source(SecretRef { namespace, name }) => {
                let api = Api::<SourceView>::namespaced(client, namespace.as_str());
                follow(line, api, Some(name.as_str()), source).await;
            }
            Stream::Accounts(name, extent) => {
                let name = name.as_ref().map(AccountName::as_str);
                let api = match &extent {
                    Extent::Everywhere => Api::<AccountView>::all(client),
                    Extent::In(namespace) => Api::namespaced(client, namespace.as_str()),
                };
                follow(line, api, name, account).await;
            }
            Stream::Targets(name, extent) => {
                let api = match (&remit, &extent) {
                    (Remit::Single(single), _) => {
                        Api::<TargetView>::namespaced(client, single.target().namespace.as_str())
                    }
                    (Remit::Cluster, Extent::Everywhere) => Api::all(client),
                    (Remit::Cluster, Extent::In(namespace)) => Api::namespaced(client, namespace.as_str()),
                };
                follow(line, api, Some(name.as_str()), |change| target(&remit, change)).await;
            }
        }
    })
}

/// What became of an object.
enum Change<K> {
    Stands(K),
    Gone(K),
}

/// The line from one stream to the controller.
struct Line {
    stream: Stream,
    /// What the stream is about, in words.
    place: String,
    news: mpsc::Sender<News>,
}

async fn follow<K>(line: Line, api: Api<K>, name: Option<&str>, read: impl Fn(Change<K>) -> Vec<News>)
where
    K: Resource<DynamicType = ()> + Clone + DeserializeOwned + std::fmt::Debug + Send + 'static,
{
    let Line { stream, place, news } = line;
    let mut streaming = true;
    let mut pause = PAUSE_MIN;
    loop {
        let mut config = watcher::Config::default().timeout(WATCH_SECONDS).page_size(PAGE_SIZE);
        if let Some(name) = name {
            config = config.fields(&format!("metadata.name={name}"));
        }
        if streaming {
            config = config.streaming_lists();
        }
        let mut events = std::pin::pin!(watcher(api.clone(), config));
        while let Some(event) = events.next().await {
            let error = match event {
                Ok(event) => {
                    // `Init` comes before the server has answered anything.
                    if !matches!(event, Event::Init) {
                        pause = PAUSE_MIN;
                    }
                    for message in translate(event, &stream, &read) {
                        if news.send(message).await.is_err() {
                            return;
                        }
                    }
                    continue;
                }
                Err(error) => error,
            };
            let Trouble { fault, begun, no_streaming, expired } = trouble(&error, streaming);
            if no_streaming {
                tracing::info!(stream = place, "the API server does not stream lists, using pages");
                streaming = false;
                break;
            }
            if begun {
                // Watches end now and then; only one that does not start again is trouble.
                tracing::debug!(stream = place, %fault, "watch ended, going on");
                if expired {
                    break;
                }
                continue;
            }
            tracing::warn!(stream = place, %fault, pause_ms = pause.as_millis(), "cannot watch, trying again");
            if news.send(News::Fact(Fact::Broken(stream.clone(), fault))).await.is_err() {
                return;
            }
            tokio::time::sleep(pause).await;
            pause = (pause * 2).min(PAUSE_MAX);
            // Begun anew with a list, whose end says that all is well again.
            break;
        }
    }
}

fn translate<K>(event: Event<K>, stream: &Stream, read: &impl Fn(Change<K>) -> Vec<News>) -> Vec<News> {
    match event {
        Event::Init => vec![News::Fact(Fact::Relist(stream.clone()))],
        Event::InitApply(object) | Event::Apply(object) => read(Change::Stands(object)),
        Event::Delete(object) => read(Change::Gone(object)),
        Event::InitDone => vec![News::Fact(Fact::Listed(stream.clone()))],
    }
}

/// What is wrong with a watch.
pub(crate) struct Trouble {
    pub(crate) fault: Fault,
    /// The server had begun to answer.
    begun: bool,
    /// The server refuses to stream a list.
    no_streaming: bool,
    /// The version to go on from is gone.
    expired: bool,
}

/// Reads the error of a watch. `streaming` says whether it began with a stream instead of a list.
pub(crate) fn trouble(error: &watcher::Error, streaming: bool) -> Trouble {
    let (fault, code, at_start) = match error {
        watcher::Error::InitialListFailed(error) | watcher::Error::WatchStartFailed(error) => {
            let code = if let kube::Error::Api(status) = error { status.code } else { 0 };
            (fault::fault(error), code, true)
        }
        watcher::Error::WatchFailed(error) => (fault::fault(error), 0, false),
        watcher::Error::WatchError(status) => (fault::from_status(status), status.code, false),
        watcher::Error::NoResourceVersion => {
            let detail = "the server sent a list without a version".to_owned();
            (Fault { class: FaultClass::Unavailable, detail }, 0, true)
        }
    };
    // 400 and 422 are how servers without the feature answer `sendInitialEvents`.
    let no_streaming = streaming && at_start && matches!(code, 400 | 422);
    Trouble { fault, begun: !at_start, no_streaming, expired: code == 410 }
}

fn name_of(metadata: &mut ObjectMeta) -> NamespaceName {
    NamespaceName::new(metadata.name.take().unwrap_or_default())
}

fn at(metadata: &ObjectMeta) -> SecretRef {
    SecretRef::new(
        metadata.namespace.as_deref().unwrap_or_default(),
        metadata.name.as_deref().unwrap_or_default(),
    )
}

fn namespace(change: Change<NamespaceView>) -> Vec<News> {
    let fact = match change {
        Change::Stands(mut view) => {
            let metadata = view.meta_mut();
            let name = name_of(metadata);
            let namespace = Namespace {
                labels: metadata.labels.take().unwrap_or_default(),
                annotations: metadata.annotations.take().unwrap_or_default(),
                terminating: metadata.deletion_timestamp.is_some(),
            };
            Fact::Namespace(name, namespace)
        }
        Change::Gone(mut view) => Fact::NamespaceGone(name_of(view.meta_mut())),
    };
    vec![News::Fact(fact)]
}

fn pod(change: Change<PodView>) -> Vec<News> {
    let uid = |metadata: &ObjectMeta| PodUid::parse(metadata.uid.as_deref().unwrap_or_default());
    let fact = match change {
        Change::Stands(mut view) => {
            let metadata = view.meta_mut();
            Fact::Pod(Pod {
                uid: uid(metadata),
                namespace: NamespaceName::new(metadata.namespace.as_deref().unwrap_or_default()),
                labels: metadata.labels.take().unwrap_or_default(),
                annotations: metadata.annotations.take().unwrap_or_default(),
                deleting: metadata.deletion_timestamp.is_some(),
            })
        }
        Change::Gone(view) => Fact::PodGone(uid(view.meta())),
    };
    vec![News::Fact(fact)]
}

fn source(change: Change<SourceView>) -> Vec<News> {
    let fact = match change {
        Change::Stands(view) => Fact::Source(at(view.meta()), view.into()),
        Change::Gone(view) => Fact::SourceGone(at(view.meta())),
    };
    vec![News::Fact(fact)]
}

fn account(change: Change<AccountView>) -> Vec<News> {
    let place = |metadata: &ObjectMeta| AccountRef {
        namespace: metadata.namespace.as_deref().unwrap_or_default().into(),
        name: metadata.name.as_deref().unwrap_or_default().into(),
    };
    let fact = match change {
        Change::Stands(view) => Fact::Account(place(view.meta()), view.into()),
        Change::Gone(view) => {
            let uid = Uid::new(view.meta().uid.as_deref().unwrap_or_default());
            Fact::AccountGone(place(view.meta()), uid)
        }
    };
    vec![News::Fact(fact)]
}

fn target(remit: &Remit, change: Change<TargetView>) -> Vec<News> {
    let fact = match change {
        Change::Stands(view) => Fact::Secret(at(view.meta()), Box::new(view.sighting(remit))),
        Change::Gone(view) => {
            let metadata = view.meta();
            let uid = Uid::new(metadata.uid.as_deref().unwrap_or_default());
            let version = Version::parse(metadata.resource_version.as_deref().unwrap_or_default());
            Fact::SecretGone(at(metadata), uid, version)
        }
    };
    vec![News::Fact(fact)]
}

fn grant(change: Change<GrantView>) -> Vec<News> {
    match change {
        Change::Stands(view) => {
            let status = serde_json::from_value(view.status.clone()).ok();
            let fact = read_grant(view);
            let uid = fact.identity.uid.clone();
            // The status first: whoever reports on the fact compares with it.
            vec![News::Status(uid, Box::new(status)), News::Fact(Fact::Grant(Box::new(fact)))]
        }
        Change::Gone(view) => {
            let uid = Uid::new(view.metadata.uid.as_deref().unwrap_or_default());
            vec![News::Fact(Fact::GrantGone(uid))]
        }
    }
}

/// Reads an object that a schema older or newer than ours may have let through.
fn read_grant(view: GrantView) -> GrantFact {
    let GrantView { metadata, spec, status } = view;
    match serde_json::from_value(spec) {
        Ok(spec) => {
            let status = serde_json::from_value(status).ok();
            imps_api::lower::lower(&ImagePullSecret { metadata, spec, status })
        }
        Err(error) => {
            // No credential stands in this object, so its own words may be quoted.
            let problem = format!(
                "does not fit the schema of this version of imps: {error}; install its CRD with `imps crd`"
            );
            let tenure = imps_api::lower::tenure(&metadata);
            let identity = Identity {
                name: metadata.name.unwrap_or_default().into(),
                uid: metadata.uid.unwrap_or_default().into(),
                generation: metadata.generation.unwrap_or_default(),
                created_seconds: metadata.creation_timestamp.map_or(0, |time| time.0.as_second()),
            };
            let grant = Err(vec![Rejection { path: "spec".to_owned(), problem }]);
            let (remarks, record) = (Vec::new(), Record::default());
            GrantFact { identity, grant, remarks, record, tenure, demand: None }
        }
    }
}
