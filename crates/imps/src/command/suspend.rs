//! `imps suspend` and `imps resume`: whether the operator looks after an ImagePullSecret.

use std::process::ExitCode;

use imps_cluster::snapshot::{Kind, Unseen, Which, get, list};
use imps_cluster::suspension;
use kube::Client;
use serde_json::Value;

use super::cluster::at_cluster;
use super::manifests::text;
use super::{Error, UNDETERMINED};
use crate::args::SuspendArgs;
use crate::runtime::output;

/// An object by its name, as far as it could be seen.
type Found = (String, Result<Option<Value>, Unseen>);

pub(super) fn run(args: SuspendArgs, suspended: bool) -> ExitCode {
    let access = args.access.clone();
    let ended = at_cluster(access, async |client| {
        let mut worst = 0;
        for found in find(&client, &args).await? {
            worst = worst.max(turn(&client, found, suspended, args.dry_run).await?);
        }
        Ok(worst)
    });
    ExitCode::from(ended.unwrap_or_else(|error| {
        output::complain(&*error);
        UNDETERMINED
    }))
}

async fn find(client: &Client, args: &SuspendArgs) -> Result<Vec<Found>, Error> {
    if args.all {
        let objects = list(client, Kind::GRANT, Which::default()).await?;
        let objects =
            objects.ok_or("this cluster does not know ImagePullSecrets; imps crd apply installs them")?;
        let named = |object: Value| (text(&object, "/metadata/name").to_owned(), Ok(Some(object)));
        return Ok(objects.into_iter().map(named).collect());
    }
    let mut found = Vec::new();
    for name in &args.names {
        found.push((name.clone(), get(client, Kind::GRANT, None, name).await));
    }
    Ok(found)
}

/// Changes one object, if it is not as wanted already, and says what that means. Returns the exit code.
async fn turn(client: &Client, (name, object): Found, suspended: bool, dry_run: bool) -> Result<u8, Error> {
    let object = match object {
        Ok(Some(object)) => object,
        Ok(None) => {
            output::complain(&*Error::from(format!("there is no ImagePullSecret {name}")));
            return Ok(1);
        }
        Err(unseen) => {
            output::complain(&unseen);
            return Ok(UNDETERMINED);
        }
    };
    let is_suspended = object["spec"]["suspend"] == true;
    if is_suspended != suspended
        && let Err(unseen) = suspension::set(client, &name, suspended, dry_run).await
    {
        output::complain(&unseen);
        return Ok(UNDETERMINED);
    }
    output::print(&told(&name, &object, suspended, dry_run))?;
    Ok(0)
}

/// What came of it, for people.
fn told(name: &str, object: &Value, suspended: bool, dry_run: bool) -> String {
    let would = if dry_run { "would be" } else { "is" };
    match (object["spec"]["suspend"] == true, suspended) {
        (true, true) => format!("{name} is suspended already; nothing changed\n"),
        (false, false) => format!("{name} is not suspended; nothing changed\n"),
        (true, false) => {
            format!("{name} {would} resumed: what has changed meanwhile is made up for at once\n")
        }
        (false, true) => {
            let mut told = format!(
                "{name} {would} suspended: until imps resume {name}, its Secrets stay as they are{}: none is written, \
                 repaired, renewed or taken away\n",
                places(object)
            );
            if let Some(end) = first_end(object) {
                told.push_str(&format!("  a token in them works until {end} and not longer\n"));
            }
            told
        }
    }
}

/// In how many namespaces there is a Secret, as the status says.
fn places(object: &Value) -> String {
    match object["status"]["targets"]["synced"].as_u64() {
        None => String::new(),
        Some(1) => " in one namespace".to_owned(),
        Some(count) => format!(" in {count} namespaces"),
    }
}

/// When the first of the tokens ends.
fn first_end(object: &Value) -> Option<&str> {
    // All are written in UTC and whole seconds, so that they sort as text.
    object["status"]["sources"].as_array()?.iter().filter_map(|source| source["expiresAt"].as_str()).min()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn what_suspending_means_is_said_with_the_end_of_the_first_token() {
        let sources = [
            json!({"name": "hub"}),
            json!({"name": "late", "expiresAt": "2026-01-31T18:00:00Z"}),
            json!({"name": "early", "expiresAt": "2026-01-31T12:00:00Z"}),
        ];
        let object = json!({"spec": {}, "status": {"targets": {"synced": 2}, "sources": sources}});
        let text = told("corp", &object, true, false);
        for words in
            ["corp is suspended", "imps resume corp", "in 2 namespaces", "until 2026-01-31T12:00:00Z and"]
        {
            assert!(text.contains(words), "{words}: {text}");
        }
        assert!(told("corp", &object, true, true).starts_with("corp would be suspended"));
        assert!(told("corp", &object, false, false).contains("is not suspended; nothing changed"));
        let suspended = json!({"spec": {"suspend": true}});
        assert!(told("corp", &suspended, true, false).contains("already; nothing changed"));
        assert!(told("corp", &suspended, false, false).starts_with("corp is resumed"));
    }
}
