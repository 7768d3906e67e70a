//! `imps status`: how the ImagePullSecrets stand, by what their statuses say. No Secret is read.

use std::process::ExitCode;

use futures::StreamExt;
use imps_cluster::snapshot::{Kind, Which, list};
use imps_cluster::vigil::vigil;
use jiff::Timestamp;
use kube::Client;
use serde_json::Value;

use super::Error;
use super::UNDETERMINED;
use super::answer::print;
use super::cluster::at_cluster;
use crate::args::{OutputFormat, StatusArgs};
use crate::runtime::output;

pub(super) mod page;
mod screen;
#[cfg(test)]
mod tests;

use page::{Leadership, Page};

/// As with a diagnosis, exit code 1 says that something was found, not that something went wrong.
pub(super) fn run(args: StatusArgs) -> ExitCode {
    let access = args.access.clone();
    let answer =
        at_cluster(
            access,
            async |client| {
                if args.watch { watch(&client, &args).await } else { once(&client, &args).await }
            },
        );
    answer.unwrap_or_else(|error| {
        output::progress("");
        output::complain(&*error);
        ExitCode::from(UNDETERMINED)
    })
}

async fn once(client: &Client, args: &StatusArgs) -> Result<ExitCode, Error> {
    output::progress("looking at imagepullsecrets");
    let which = Which { name: args.name.as_deref(), ..Which::default() };
    let Some(grants) = list(client, Kind::GRANT, which).await? else {
        return Err("the cluster does not know ImagePullSecrets; imps crd apply makes them known".into());
    };
    if let (Some(name), true) = (&args.name, grants.is_empty()) {
        return Err(format!("there is no ImagePullSecret {name}").into());
    }
    let page = page(client, args, &grants).await;
    output::progress("");
    print(args.output, &page, || screen::render(&page))?;
    Ok(if page.is_ready() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// Prints when something changed, until nobody reads any more.
async fn watch(client: &Client, args: &StatusArgs) -> Result<ExitCode, Error> {
    let mut news = std::pin::pin!(vigil(client, Kind::GRANT, args.name.as_deref()));
    let mut shown: Option<Page> = None;
    while let Some(grants) = news.next().await {
        let page = page(client, args, &grants?).await;
        if shown.as_ref().is_some_and(|shown| shown.says_the_same(&page)) {
            continue;
        }
        let text = match args.output {
            OutputFormat::Table | OutputFormat::Wide => {
                screen::again(&page, shown.is_some(), output::is_watched())
            }
            OutputFormat::Json => format!("{}\n", serde_json::to_string(&page)?),
            OutputFormat::Yaml => format!("---\n{}", serde_saphyr::to_string(&page)?),
        };
        if !output::show(&text)? {
            break;
        }
        shown = Some(page);
    }
    Ok(ExitCode::SUCCESS)
}

async fn page(client: &Client, args: &StatusArgs, grants: &[Value]) -> Page {
    let place = args.lease_namespace.as_deref();
    let which = Which { namespace: place, name: Some(&args.lease_name), ..Which::default() };
    let leases = list(client, Kind::LEASE, which).await;
    let now = Timestamp::now();
    let leadership = match leases {
        Ok(leases) => Leadership::of(&leases.unwrap_or_default(), now),
        Err(unseen) => Leadership::unseen(&unseen.to_string()),
    };
    Page::new(grants, leadership, now)
}
