//! `imps migrate`: what it takes to move over from a tool that did this before. It reads and changes nothing.

use std::process::ExitCode;

use super::answer::print;
use super::cluster::at_cluster;
use super::{Error, manifests};
use crate::args::{ManifestFormat, MigrateCommand, MigrateImpsArgs, RegistryCredsArgs};
use crate::runtime::output;

mod alexellis;
mod departure;
mod held;
mod look;
mod original;
mod script;
mod upmc;
mod words;
mod workload;

use departure::Departure;
use workload::Objects;

pub(super) fn run(command: MigrateCommand) -> Result<ExitCode, Error> {
    match command {
        MigrateCommand::RegistryCreds(args) => registry_creds(args),
        MigrateCommand::Imps(args) => imps(args),
    }
}

fn registry_creds(args: RegistryCredsArgs) -> Result<ExitCode, Error> {
    let RegistryCredsArgs { filename, namespace, with_credentials, output, access } = args;
    let complete = filename.is_empty();
    let (all, unseen) = if complete {
        at_cluster(access, async |client| Ok(look::registry_creds(&client, &namespace).await?))?
    } else {
        (manifests::read(&filename)?, Vec::new())
    };
    let mut departure = leave(Objects { all: &all, namespace: &namespace, complete })?;
    departure.problems.extend(unseen);
    script::complete(&mut departure, with_credentials);
    let text = match output {
        ManifestFormat::Yaml => script::yaml(&departure, with_credentials)?,
        ManifestFormat::Json => script::json(&departure, with_credentials)?,
    };
    output::print(&text)?;
    Ok(ExitCode::SUCCESS)
}

/// Reads both tools of that name. A cluster may have either, and one of them several times.
fn leave(objects: Objects<'_>) -> Result<Departure, Error> {
    let mut departure = Departure::default();
    for container in objects.workloads().flat_map(workload::Workload::containers) {
        if upmc::is_it(container) {
            upmc::leave(objects, container, &mut departure);
        }
    }
    alexellis::leave(objects, &mut departure);
    if departure.found.is_empty() {
        let place = if objects.complete {
            format!("in the namespace {}, which -n changes", objects.namespace)
        } else {
            "among the manifests".to_owned()
        };
        return Err(format!(
            "nothing of registry-creds: neither a Deployment or ReplicationController with its image {place}, nor a \
             ClusterPullSecret"
        )
        .into());
    }
    Ok(departure)
}

fn imps(args: MigrateImpsArgs) -> Result<ExitCode, Error> {
    let MigrateImpsArgs { filename, namespace, output, access } = args;
    let complete = filename.is_empty();
    let (all, unseen) = if complete {
        at_cluster(access, async |client| Ok(look::original(&client, namespace.as_deref()).await?))?
    } else {
        (manifests::read(&filename)?, Vec::new())
    };
    let namespace = namespace.as_deref().unwrap_or("default");
    let mut report = original::report(Objects { all: &all, namespace, complete })?;
    report.unseen = unseen;
    print(output, &report, || original::table(&report))?;
    Ok(if report.is_clean() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}
