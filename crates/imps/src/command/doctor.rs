//! `imps doctor`: whether imps can work on a cluster. It asks and reads, and changes nothing; the modules below judge.

use std::collections::BTreeMap;
use std::process::ExitCode;

use imps_api::{ImagePullSecret, keys, lower};
use imps_cluster::definition;
use imps_cluster::permission::{Deed, Unjudged, Whom, refused};
use imps_cluster::rules::{Charter, Mode, Needs};
use imps_cluster::server;
use imps_cluster::snapshot::{Kind, Unseen, Which, list};
use imps_core::reason::{Fault, FaultClass};
use jiff::Timestamp;
use kube::Client;
use serde_json::Value;

use super::answer::print;
use super::cluster::at_cluster;
use super::manifests::text;
use super::{Error, UNDETERMINED};
use crate::args::DoctorArgs;
use crate::runtime::output;

mod lease;
mod report;
mod rivals;
mod versions;

use report::{Area, Check, Report};

/// How many things of a kind are named.
const NAMED_MAX: usize = 5;

/// Verb, group and resource.
type Duty = (&'static str, &'static str, &'static str);

/// What people do with imps, and what that takes.
const TASKS: [(&str, &[Duty]); 2] = [
    (
        "imps diagnose",
        &[
            ("list", "", "pods"),
            ("list", "", "events"),
            ("get", "", "secrets"),
            ("get", "", "serviceaccounts"),
            ("get", "", "namespaces"),
            ("list", keys::GROUP, keys::PLURAL),
        ],
    ),
    ("imps suspend", &[("get", keys::GROUP, keys::PLURAL), ("patch", keys::GROUP, keys::PLURAL)]),
];

/// The `ImagePullSecret`s, or why they could not be seen; none when the cluster does not know the kind.
type Grants = Result<Option<Vec<Value>>, Unseen>;

pub(super) fn run(args: DoctorArgs) -> ExitCode {
    let access = args.access.clone();
    let answer = at_cluster(access, async |client| {
        let report = examine(&client, &args).await;
        output::progress("");
        report
    });
    let ended = answer.and_then(|report| {
        print(args.output, &report, || report.render(output::in_colour()))?;
        Ok(report.exit())
    });
    ended.unwrap_or_else(|error| {
        output::complain(&*error);
        ExitCode::from(UNDETERMINED)
    })
}

async fn examine(client: &Client, args: &DoctorArgs) -> Result<Report, Error> {
    let mut report = Report::default();
    output::progress("looking at the API server");
    report.add(versions::own());
    let ahead = match server::look(client).await {
        Ok(server) => {
            report.add(versions::server(&server));
            report.add(versions::clock(server.ahead_seconds));
            server.ahead_seconds
        }
        Err(fault) if fault.class == FaultClass::Forbidden => {
            report.add(Check::unknown(
                Area::Versions,
                "kubernetes",
                format!("it does not tell: {}", fault.detail),
            ));
            None
        }
        Err(fault) => return Err(format!("cannot reach the API server: {}", fault.detail).into()),
    };
    output::progress("looking at the definition and the ImagePullSecrets");
    report.add(judge_definition(definition::missing_fields(client.clone()).await));
    let grants = list(client, Kind::GRANT, Which::default()).await;
    report.add(judge_observed(&grants));
    let now = Timestamp::now().as_duration().as_secs_f64() + ahead.unwrap_or_default();
    let leases = leases(client, args).await;
    match &leases {
        Ok(found) => {
            lease::judge(found, &args.lease_name, now).into_iter().for_each(|check| report.add(check))
        }
        Err(unseen) => report.add(Check::unseen(Area::Operator, "leader", unseen)),
    }
    output::progress("asking about rights");
    if let Some((namespace, name)) = &args.as_operator {
        let led = leases
            .as_deref()
            .unwrap_or_default()
            .iter()
            .any(|lease| text(lease, "/metadata/namespace") == namespace);
        let lease = led.then(|| (namespace.as_str().into(), args.lease_name.clone()));
        let needs = needs(&grants, args, lease);
        let whom = Whom::Account { namespace: namespace.clone(), name: name.clone() };
        report.add(operator_rights(client, &whom, &Charter::of(&needs), grants.is_ok()).await);
    }
    for check in own_rights(client).await {
        report.add(check);
    }
    output::progress("looking for other tools");
    rivals::judge(&rivals::look(client).await, &targets(&grants))
        .into_iter()
        .for_each(|check| report.add(check));
    Ok(report)
}

async fn leases(client: &Client, args: &DoctorArgs) -> Result<Vec<Value>, Unseen> {
    let namespace = args.lease_namespace.as_deref();
    let which = Which { namespace, name: Some(&args.lease_name), ..Which::default() };
    Ok(list(client, Kind::LEASE, which).await?.unwrap_or_default())
}

// === the custom resource ===

fn judge_definition(missing: Result<Vec<String>, Fault>) -> Check {
    const NAME: &str = "definition";
    let of = definition::name();
    match missing {
        Ok(missing) if missing.is_empty() => {
            Check::ok(Area::Operator, NAME, format!("{of} knows all that this imps does"))
        }
        Ok(missing) => {
            let message =
                format!("{of} is older than this imps; what it does not know is lost: {}", some(&missing));
            Check::error(Area::Operator, NAME, message, "imps crd apply".to_owned())
        }
        Err(fault) if fault.class == FaultClass::Gone => {
            let remedy = "imps crd apply, or helm install, which brings it".to_owned();
            Check::error(Area::Operator, NAME, format!("{of} is not there"), remedy)
        }
        Err(fault) => {
            let message = format!("{of} cannot be read ({}): it takes the right to get it", fault.detail);
            Check::unknown(Area::Operator, NAME, message)
        }
    }
}

/// Whether somebody looks at the `ImagePullSecret`s.
fn judge_observed(grants: &Grants) -> Check {
    let objects = match grants {
        Ok(objects) => objects.as_deref().unwrap_or_default(),
        Err(unseen) => return Check::unseen(Area::Operator, "imagepullsecrets", unseen),
    };
    let is_overlooked = |object: &&Value| {
        object["status"]["observedGeneration"].as_i64() != object["metadata"]["generation"].as_i64()
    };
    let name = |object: &Value| text(object, "/metadata/name").to_owned();
    let overlooked: Vec<String> = objects.iter().filter(is_overlooked).map(name).collect();
    let suspended: Vec<String> =
        objects.iter().filter(|object| object["spec"]["suspend"] == true).map(name).collect();
    if !overlooked.is_empty() {
        return Check::warning(
            Area::Operator,
            "imagepullsecrets",
            format!(
                "{} of {} not looked at by an operator since the last change: {}",
                overlooked.len(),
                objects.len(),
                some(&overlooked)
            ),
            "see whether one runs; right after a change this is nothing".to_owned(),
        );
    }
    let mut message = format!("{} there, all looked at by an operator", objects.len());
    if !suspended.is_empty() {
        message.push_str(&format!("; suspended: {}", some(&suspended)));
    }
    Check::ok(Area::Operator, "imagepullsecrets", message)
}

/// Which `ImagePullSecret` writes Secrets of which name.
fn targets(grants: &Grants) -> BTreeMap<&str, &str> {
    let objects = grants.as_ref().ok().and_then(Option::as_deref).unwrap_or_default();
    objects
        .iter()
        .map(|object| (text(object, "/spec/target/secret/name"), text(object, "/metadata/name")))
        .collect()
}

// === rights ===

/// What the operator needs for the `ImagePullSecret`s that there are.
fn needs(
    grants: &Grants,
    args: &DoctorArgs,
    lease: Option<(imps_core::name::NamespaceName, String)>,
) -> Needs {
    let mode = if args.namespaces.is_empty() {
        Mode::Named
    } else {
        Mode::Namespaced(args.namespaces.iter().cloned().collect())
    };
    let mut needs = Needs { mode, lease, ..Needs::default() };
    for object in grants.as_ref().ok().and_then(Option::as_deref).unwrap_or_default() {
        let read = serde_json::from_value::<ImagePullSecret>(object.clone());
        // One that makes no sense is given nothing, and its status says why.
        let Some(grant) = read.ok().and_then(|object| lower::lower(&object).grant.ok()) else { continue };
        needs.targets.insert(grant.template.name);
        needs.sources.extend(grant.sources);
        needs.pods |= !grant.recipients.pods.is_empty();
        needs.accounts.extend(grant.accounts);
    }
    needs
}

async fn operator_rights(client: &Client, whom: &Whom, charter: &Charter, complete: bool) -> Check {
    const NAME: &str = "rights";
    let reasons: BTreeMap<Deed, &str> = charter.deeds().into_iter().collect();
    let deeds: Vec<Deed> = reasons.keys().cloned().collect();
    let count = deeds.len();
    match refused(client, whom, deeds).await {
        Err(unjudged) => cannot_judge(Area::Operator, NAME, &unjudged),
        Ok(refused) if !refused.is_empty() => {
            let told: Vec<String> =
                refused.iter().map(|deed| format!("{deed}, to {}", reasons[deed])).collect();
            let message = format!("{} of {count} are missing: {}", refused.len(), some(&told));
            let remedy = "imps rbac prints the roles for the ImagePullSecrets that there are".to_owned();
            if refused.iter().all(is_dispensable) {
                Check::warning(Area::Operator, NAME, message, remedy)
            } else {
                Check::error(Area::Operator, NAME, message, remedy)
            }
        }
        Ok(_) if !complete => Check::unknown(
            Area::Operator,
            NAME,
            "it may do what every operator has to; what the ImagePullSecrets need is not known, as they cannot be \
             listed"
                .to_owned(),
        ),
        Ok(_) => Check::ok(
            Area::Operator,
            NAME,
            format!("it may do all {count} things that the ImagePullSecrets that there are need"),
        ),
    }
}

/// Only the operator's own look at the definition takes this right.
fn is_dispensable(deed: &Deed) -> bool {
    deed.name.as_ref() == Some(&definition::name())
}

/// What the person may do who asks.
async fn own_rights(client: &Client) -> Vec<Check> {
    let installer = Charter::of_installer().deeds().into_iter().map(|(deed, _)| deed).collect();
    let mut tasks: Vec<(&str, Vec<Deed>)> = vec![("imps crd apply", installer)];
    for (task, deeds) in TASKS {
        let deed = |(verb, group, resource): &Duty| Deed {
            verb: (*verb).to_owned(),
            group: (*group).to_owned(),
            resource: (*resource).to_owned(),
            ..Deed::default()
        };
        tasks.push((task, deeds.iter().map(deed).collect()));
    }
    let mut checks = Vec::new();
    for (task, deeds) in tasks {
        checks.push(match refused(client, &Whom::Myself, deeds).await {
            Err(unjudged) => cannot_judge(Area::You, task, &unjudged),
            Ok(refused) if refused.is_empty() => Check::ok(Area::You, task, "you may".to_owned()),
            Ok(refused) => {
                let refused: Vec<String> = refused.iter().map(ToString::to_string).collect();
                Check::warning(
                    Area::You,
                    task,
                    format!("the whole of it takes rights that you do not have: {}", refused.join("; ")),
                    "needed only by whoever is to do this".to_owned(),
                )
            }
        });
    }
    checks
}

fn cannot_judge(area: Area, name: &'static str, unjudged: &Unjudged) -> Check {
    Check::unknown(area, name, format!("cannot be found out: {unjudged}"))
}

/// The first few, and how many more there are.
fn some(all: &[impl AsRef<str>]) -> String {
    let shown: Vec<&str> = all.iter().take(NAMED_MAX).map(AsRef::as_ref).collect();
    let more = all.len() - shown.len();
    let more = if more > 0 { format!("; and {more} more") } else { String::new() };
    format!("{}{more}", shown.join("; "))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::report::State;
    use super::*;

    fn grant(name: &str, observed: i64) -> Value {
        json!({"metadata": {"name": name, "generation": 2}, "status": {"observedGeneration": observed}})
    }

    #[test]
    fn an_imagepullsecret_that_nobody_looks_at_is_named() {
        let check = judge_observed(&Ok(Some(vec![grant("seen", 2), grant("new", -1), grant("edited", 1)])));
        assert_eq!(check.state, State::Warning);
        assert!(
            check.message.contains("2 of 3") && check.message.ends_with("new; edited"),
            "{}",
            check.message
        );
        assert_eq!(judge_observed(&Ok(Some(vec![grant("seen", 2)]))).state, State::Ok);
    }

    #[test]
    fn a_definition_is_there_up_to_date_or_not_to_be_read() {
        let fault = |class| Fault { class, detail: "HTTP 4xx".to_owned() };
        assert_eq!(judge_definition(Ok(vec![])).state, State::Ok);
        let old = judge_definition(Ok((0..7).map(|n| format!("spec.f{n}")).collect()));
        assert_eq!(old.state, State::Error);
        assert!(old.message.ends_with("spec.f4; and 2 more"), "{}", old.message);
        let gone = judge_definition(Err(fault(FaultClass::Gone)));
        assert_eq!((gone.state, gone.remedy.contains("imps crd apply")), (State::Error, true));
        assert_eq!(judge_definition(Err(fault(FaultClass::Forbidden))).state, State::Unknown);
    }
}
