//! A vigil over one kind of objects, for a command: all of them as they are, and again whenever one changes.

use std::collections::BTreeMap;
use std::time::Duration;

use futures::{Stream, StreamExt, stream};
use kube::core::DynamicObject;
use kube::runtime::watcher::{Config, Error, Event, watcher};
use kube::{Client, ResourceExt};
use serde_json::Value;

use crate::snapshot::{Kind, Unseen, Which, api};
use crate::watch::trouble;

/// How long it waits after a watch that failed.
const PAUSE: Duration = Duration::from_secs(1);

/// How many changes are taken in before anybody is told: what comes at once is told once.
const AT_ONCE_MAX: usize = 1000;

/// All objects of the kind, or the one of this name, in the order of their names. It ends with what cannot be watched;
/// a server that is away for a moment is waited for.
pub fn vigil(
    client: &Client,
    kind: Kind,
    name: Option<&str>,
) -> impl Stream<Item = Result<Vec<Value>, Unseen>> + use<> {
    let which = name.map(|name| format!("metadata.name={name}"));
    let config = Config { field_selector: which, ..Config::default() };
    let named = name.map(str::to_owned);
    let events = watcher(api(client, kind, None), config).ready_chunks(AT_ONCE_MAX);
    let state = (Box::pin(events), Register::default(), false);
    stream::unfold(state, move |(mut events, mut register, over)| {
        let named = named.clone();
        async move {
            if over {
                return None;
            }
            loop {
                let mut fault = None;
                for event in events.next().await? {
                    match event {
                        Ok(event) => register.take(event, kind),
                        Err(error) => fault = Some(error),
                    }
                }
                match fault {
                    Some(fault) if is_final(&fault) => {
                        let which = Which { name: named.as_deref(), ..Which::default() };
                        let at_list = matches!(fault, Error::InitialListFailed(_));
                        let verb = if at_list { "list" } else { "watch" };
                        let unseen = Unseen::new(verb, kind, which, trouble(&fault, false).fault);
                        return Some((Err(unseen), (events, register, true)));
                    }
                    Some(_) => tokio::time::sleep(PAUSE).await,
                    None if register.whole => {
                        let seen = register.objects.values().cloned().collect();
                        return Some((Ok(seen), (events, register, false)));
                    }
                    None => {}
                }
            }
        }
    })
}

/// Whether waiting does not help: a right is missing, or the cluster does not know the kind.
fn is_final(error: &Error) -> bool {
    let code = match error {
        Error::InitialListFailed(kube::Error::Api(status))
        | Error::WatchStartFailed(kube::Error::Api(status)) => status.code,
        Error::WatchError(status) => status.code,
        _ => return false,
    };
    matches!(code, 401 | 403 | 404)
}

/// What is known of the objects.
#[derive(Default)]
struct Register {
    objects: BTreeMap<String, Value>,
    /// Those of a list that has not ended yet.
    fresh: BTreeMap<String, Value>,
    /// A list was seen to its end.
    whole: bool,
}

impl Register {
    fn take(&mut self, event: Event<DynamicObject>, kind: Kind) {
        match event {
            Event::Init => self.fresh.clear(),
            Event::InitApply(object) => drop(self.fresh.insert(object.name_any(), kind.name(&object))),
            Event::InitDone => {
                self.objects = std::mem::take(&mut self.fresh);
                self.whole = true;
            }
            Event::Apply(object) => drop(self.objects.insert(object.name_any(), kind.name(&object))),
            Event::Delete(object) => drop(self.objects.remove(&object.name_any())),
        }
    }
}
