//! `imps refresh`: all tokens of ImagePullSecrets are asked for anew, now.

use std::collections::BTreeMap;
use std::process::ExitCode;
use std::time::Duration;

use futures::StreamExt;
use imps_api::image_pull_secret::{Condition, ImagePullSecret};
use imps_api::keys;
use imps_cluster::demand;
use imps_cluster::snapshot::{Kind, Which, list};
use imps_cluster::vigil::vigil;
use imps_core::diagnosis::excerpt;
use imps_core::reason::Reason;
use jiff::Timestamp;
use kube::{Client, ResourceExt};
use serde_json::Value;

use super::cluster::at_cluster;
use super::manifests::text;
use super::status::page::{Entry, Source, entry};
use super::{Error, UNDETERMINED};
use crate::args::RefreshArgs;
use crate::runtime::output;

/// The exit code of what was not over in time, as `timeout` has it.
const OUT_OF_TIME: u8 = 124;

/// What is waited for, by name.
type Open = BTreeMap<String, Waiting>;

/// One that is waited for.
struct Waiting {
    /// Until when each source's token counted before.
    ends: Ends,
    /// An operator has asked for all tokens, and its namespaces are not done.
    handled: bool,
}

type Ends = BTreeMap<String, Timestamp>;

/// How far a demand is.
#[derive(PartialEq, Debug)]
enum Stage {
    /// No operator has asked for all tokens yet.
    Open,
    /// They were asked for, and namespaces are being written.
    Handled,
    /// All was done, and all of it is well or not.
    Done(bool),
    /// It will not be done before somebody has changed something; the text says what.
    Hindered(String),
}

pub(super) fn run(args: RefreshArgs) -> ExitCode {
    let access = args.access.clone();
    let ended = at_cluster(access, async |client| {
        let mut worst = 0;
        let mut open = make(&client, &args, &mut worst).await?;
        if args.wait && !open.is_empty() {
            worst = worst.max(wait_within(&client, args.timeout, &mut open).await?);
        }
        Ok(worst)
    });
    output::progress("");
    ExitCode::from(ended.unwrap_or_else(|error| {
        output::complain(&*error);
        UNDETERMINED
    }))
}

/// Demands it of all that are meant, says so, and returns what there is to wait for.
async fn make(client: &Client, args: &RefreshArgs, worst: &mut u8) -> Result<Open, Error> {
    let value = Timestamp::now().to_string();
    let mut open = Open::new();
    for name in names(client, args).await? {
        output::progress(&format!("asking for {name}"));
        let object = match demand::make(client, &name, &value).await {
            Ok(Some(object)) => object,
            answer => {
                let (code, error): (u8, Error) = match answer {
                    Err(unseen) => (UNDETERMINED, unseen.into()),
                    Ok(_) => (1, format!("there is no ImagePullSecret {name}").into()),
                };
                output::progress("");
                output::complain(&*error);
                *worst = code.max(*worst);
                continue;
            }
        };
        if let Stage::Hindered(why) = stage(&object) {
            *worst = hindered(&name, &why).max(*worst);
        } else if args.wait {
            open.insert(name, Waiting { ends: ends(&object), handled: false });
        } else {
            output::progress("");
            output::print(&format!(
                "{name}: its tokens are to be asked for anew; imps status {name} shows what comes of it\n"
            ))?;
        }
    }
    Ok(open)
}

async fn names(client: &Client, args: &RefreshArgs) -> Result<Vec<String>, Error> {
    if !args.all {
        return Ok(args.names.clone());
    }
    let objects = list(client, Kind::GRANT, Which::default()).await?;
    let objects =
        objects.ok_or("this cluster does not know ImagePullSecrets; imps crd apply installs them")?;
    Ok(objects.iter().map(|object| text(object, "/metadata/name").to_owned()).collect())
}

async fn wait_within(client: &Client, timeout: Duration, open: &mut Open) -> Result<u8, Error> {
    let mut worst = 0;
    if let Ok(waited) = tokio::time::timeout(timeout, wait(client, open, &mut worst)).await {
        return waited.map(|()| worst);
    }
    output::progress("");
    for (name, waiting) in open {
        output::complain(&*Error::from(overdue(name, waiting.handled, timeout)));
    }
    Ok(OUT_OF_TIME)
}

/// Takes each out of `open` when it is over, and says what came of it.
async fn wait(client: &Client, open: &mut Open, worst: &mut u8) -> Result<(), Error> {
    let only = if open.len() == 1 { open.keys().next().cloned() } else { None };
    let mut news = std::pin::pin!(vigil(client, Kind::GRANT, only.as_deref()));
    while !open.is_empty() {
        let names: Vec<&str> = open.keys().map(String::as_str).collect();
        output::progress(&format!("waiting for {}", names.join(", ")));
        let Some(objects) = news.next().await else { return Err("the watch has ended".into()) };
        let objects = objects?;
        let mut over = Vec::new();
        for (name, waiting) in open.iter_mut() {
            let object = objects.iter().find(|object| text(object, "/metadata/name") == name);
            match object.map_or_else(|| Stage::Hindered("was deleted".to_owned()), stage) {
                Stage::Open => continue,
                Stage::Handled => {
                    waiting.handled = true;
                    continue;
                }
                Stage::Hindered(why) => *worst = hindered(name, &why).max(*worst),
                Stage::Done(well) => {
                    *worst = u8::from(!well).max(*worst);
                    output::progress("");
                    output::print(&told(
                        &entry(object.expect("only an object is done")),
                        well,
                        &waiting.ends,
                    ))?;
                }
            }
            over.push(name.clone());
        }
        over.iter().for_each(|name| drop(open.remove(name)));
    }
    Ok(())
}

/// Says what keeps it from being done. Returns the exit code.
fn hindered(name: &str, why: &str) -> u8 {
    output::progress("");
    output::complain(&*Error::from(format!("{name} {why}")));
    1
}

/// How far the demand on this object is, whoever made it last.
fn stage(object: &Value) -> Stage {
    let Ok(grant) = serde_json::from_value::<ImagePullSecret>(object.clone()) else {
        return Stage::Hindered(
            "does not fit the schema: imps crd apply brings the definition up to date".to_owned(),
        );
    };
    let name = grant.name_any();
    if grant.metadata.deletion_timestamp.is_some() {
        return Stage::Hindered("is being deleted".to_owned());
    }
    if grant.spec.suspend {
        return Stage::Hindered(format!(
            "is suspended: its tokens are asked for when imps resume {name} has ended that"
        ));
    }
    let status = grant.status.clone().unwrap_or_default();
    let condition = |kind: &str| status.conditions.iter().find(|condition| condition.kind == kind);
    let is_true = |condition: &Condition| condition.status == "True";
    let current = status.observed_generation == grant.metadata.generation;
    if let Some(ready) = condition("Ready")
        && current
        && ready.reason == Reason::InvalidSpec.as_str()
    {
        return Stage::Hindered(format!("is not looked after: {}", excerpt(&ready.message)));
    }
    let demanded = grant.annotations().get(keys::REFRESH_ANNOTATION);
    if demanded != Some(&status.last_handled_refresh_at) {
        return Stage::Open;
    }
    match (condition("SourcesReady"), condition("TargetsSynced")) {
        (Some(sources), Some(targets)) if current && targets.status != "Unknown" => {
            Stage::Done(is_true(sources) && is_true(targets))
        }
        _ => Stage::Handled,
    }
}

fn ends(object: &Value) -> Ends {
    entry(object).sources.into_iter().filter_map(|source| Some((source.source, source.expires_at?))).collect()
}

/// What came of it, for people.
fn told(entry: &Entry, well: bool, before: &Ends) -> String {
    let Entry { name, namespaces, sources, failures, .. } = entry;
    let places = match namespaces.synced {
        1 => "one namespace has".to_owned(),
        count => format!("{count} namespaces have"),
    };
    let mut told = if well {
        format!("{name}: all is done, and {places} what its sources give\n")
    } else {
        format!("{name}: not all is well; {places} what its sources give, or gave last\n")
    };
    for source in sources {
        told.push_str(&format!("  {}  {}\n", source.source, outcome(source, before.get(&source.source))));
    }
    for failure in failures {
        told.push_str(&format!(
            "  namespace {}  {}: {}\n",
            failure.namespace, failure.reason, failure.message
        ));
    }
    told
}

fn outcome(source: &Source, before: Option<&Timestamp>) -> String {
    if source.state != "Ready" {
        return format!("{}, {}: {}", source.state, source.reason, source.message);
    }
    match (source.expires_at, before) {
        (None, _) => "a login, which does not end".to_owned(),
        (Some(end), None) => format!("a token that works until {end}"),
        (Some(end), Some(before)) if end == *before => {
            format!("a token that works until {end}, as the one before did")
        }
        (Some(end), Some(before)) => {
            format!("a token that works until {end}; the one before, until {before}")
        }
    }
}

/// What is said of one that was not done in time.
fn overdue(name: &str, handled: bool, timeout: Duration) -> String {
    let seconds = timeout.as_secs();
    if handled {
        return format!(
            "{name}: all tokens were asked for, and after {seconds} seconds not all namespaces are done; imps status \
             {name} --watch shows how far that is"
        );
    }
    format!(
        "{name}: no operator has asked for all its tokens within {seconds} seconds. See whether one runs, and knows \
         this demand: imps doctor. If so, a token endpoint takes that long, or wants to be left alone for a while: \
         imps status {name}. It stays demanded"
    )
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    /// An object whose operator has handled the demand of the time `handled`.
    fn object(handled: &str, synced: &str, sources: &str) -> Value {
        let condition = |kind: &str, status: &str| {
            json!({
                "type": kind, "status": status, "reason": "R", "message": "",
                "lastTransitionTime": "2026-01-31T12:00:00Z",
            })
        };
        json!({
            "apiVersion": "images.banzaicloud.io/v1alpha1", "kind": "ImagePullSecret",
            "metadata": {"name": "corp", "generation": 2, "annotations": {keys::REFRESH_ANNOTATION: "now"}},
            "spec": {"registry": {"credentials": []}, "target": {"secret": {"name": "pull"}}},
            "status": {
                "observedGeneration": 2, "lastHandledRefreshAt": handled, "targets": {
                    "desired": 2, "synced": 2, "failed": 0, "conflict": 0,
                },
                "conditions": [condition("SourcesReady", sources), condition("TargetsSynced", synced)],
            },
        })
    }

    fn with(mut object: Value, pointer: &str, value: Value) -> Value {
        let (parent, key) = pointer.rsplit_once('/').unwrap();
        object.pointer_mut(parent).unwrap()[key] = value;
        object
    }

    #[test]
    fn it_is_over_when_the_status_has_the_value_and_speaks_of_this_spec_and_all_targets() {
        let well = object("now", "True", "True");
        assert_eq!(stage(&well), Stage::Done(true));
        assert_eq!(stage(&object("", "True", "True")), Stage::Open);
        assert_eq!(stage(&object("before", "True", "True")), Stage::Open);
        assert_eq!(stage(&object("now", "Unknown", "True")), Stage::Handled);
        assert_eq!(stage(&with(well.clone(), "/metadata/generation", json!(3))), Stage::Handled);
        assert_eq!(stage(&object("now", "False", "True")), Stage::Done(false));
        assert_eq!(stage(&object("now", "True", "False")), Stage::Done(false));
        assert_eq!(stage(&with(well.clone(), "/metadata/annotations", json!({}))), Stage::Open);
        assert_eq!(stage(&with(well, "/status", json!({"observedGeneration": -1}))), Stage::Open);
    }

    #[test]
    fn what_keeps_it_from_being_done_is_named() {
        let hindered = |object: Value, words: &str| match stage(&object) {
            Stage::Hindered(why) => assert!(why.contains(words), "{why}"),
            other => panic!("{other:?}"),
        };
        let open = object("", "True", "True");
        hindered(with(open.clone(), "/spec/suspend", json!(true)), "imps resume corp");
        hindered(
            with(open.clone(), "/metadata/deletionTimestamp", json!("2026-01-31T12:00:00Z")),
            "being deleted",
        );
        hindered(with(open.clone(), "/spec/target", json!("pull")), "imps crd apply");
        let ready = json!([{
            "type": "Ready", "status": "False", "reason": "InvalidSpec", "message": "spec.x: no",
            "lastTransitionTime": "2026-01-31T12:00:00Z",
        }]);
        hindered(with(open, "/status/conditions", ready), "spec.x: no");
    }

    #[test]
    fn each_source_is_told_with_the_end_of_its_token_before_and_now() {
        let source = |name: &str, state: &str, end: Option<&str>| {
            let mut source = json!({
                "namespace": "access", "name": name, "state": state, "reason": "ExchangeDenied", "message": "no\u{7}",
            });
            if let Some(end) = end {
                source["expiresAt"] = json!(end);
            }
            source
        };
        let (old, new) = ("2026-01-31T12:00:00Z", "2026-01-31T18:00:00Z");
        let sources = json!([
            source("hub", "Ready", None),
            source("ecr", "Ready", Some(old)),
            source("bad", "Ready", None)
        ]);
        let before = ends(&with(object("", "True", "True"), "/status/sources", sources));
        let sources = json!([
            source("hub", "Ready", None),
            source("ecr", "Ready", Some(new)),
            source("bad", "Failing", None),
        ]);
        let now = with(object("now", "True", "False"), "/status/sources", sources);
        assert_eq!(
            told(&entry(&now), false, &before),
            format!(
                "corp: not all is well; 2 namespaces have what its sources give, or gave last\n  \
                 access/hub  a login, which does not end\n  \
                 access/ecr  a token that works until {new}; the one before, until {old}\n  \
                 access/bad  Failing, ExchangeDenied: no\n"
            )
        );
        assert!(told(&entry(&now), true, &before).starts_with("corp: all is done, and 2 namespaces have"));
    }

    #[test]
    fn what_was_not_over_in_time_says_where_to_look() {
        assert!(overdue("corp", false, Duration::from_secs(9)).contains("imps doctor"));
        assert!(overdue("corp", true, Duration::from_secs(9)).contains("imps status corp --watch"));
    }
}
