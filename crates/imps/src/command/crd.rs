//! `imps crd`: the CustomResourceDefinition as YAML, or onto the API server.

use std::process::ExitCode;

use imps_cluster::client::connect;
use imps_cluster::definition::{self, Applied};
use imps_cluster::traffic::Traffic;

use super::Error;
use crate::args::{AccessArgs, CrdArgs, CrdCommand};
use crate::runtime::output;

/// How many differences are told one by one.
const DIFFERENCES_MAX: usize = 40;

pub(super) fn run(args: CrdArgs) -> Result<ExitCode, Error> {
    match args.command {
        None => output::print(&serde_saphyr::to_string(&imps_api::crd::crd())?)?,
        Some(CrdCommand::Apply(access)) => apply(access)?,
    }
    Ok(ExitCode::SUCCESS)
}

fn apply(access: AccessArgs) -> Result<(), Error> {
    super::controller::provide_tls()?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let applied = runtime.block_on(async {
        let client = connect(&access.into(), &Traffic::default()).await?;
        Ok::<_, Error>(definition::apply(client).await?)
    })?;
    output::print(&told(&applied))?;
    Ok(())
}

fn told(applied: &Applied) -> String {
    let name = definition::name();
    match applied {
        Applied::Created => format!("{name} created and served\n"),
        Applied::Changed(differences) if differences.is_empty() => format!("{name} unchanged and served\n"),
        Applied::Changed(differences) => {
            let shown = differences.iter().take(DIFFERENCES_MAX);
            let mut lines: Vec<String> = shown.map(|line| format!("  {line}\n")).collect();
            if differences.len() > DIFFERENCES_MAX {
                lines.push(format!("  and {} more\n", differences.len() - DIFFERENCES_MAX));
            }
            format!("{name} changed and served:\n{}", lines.concat())
        }
    }
}
