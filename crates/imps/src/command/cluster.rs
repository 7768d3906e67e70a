//! A look at the cluster by a command that runs once.

use imps_cluster::client::connect;
use imps_cluster::traffic::Traffic;
use kube::Client;

use super::Error;
use super::controller::provide_tls;
use crate::args::AccessArgs;

/// Connects, and does something with the connection.
pub(super) fn at_cluster<T>(
    access: AccessArgs,
    look: impl AsyncFnOnce(Client) -> Result<T, Error>,
) -> Result<T, Error> {
    counted(access, look).map(|(seen, _)| seen)
}

/// The same, and how many requests it took.
pub(super) fn counted<T>(
    access: AccessArgs,
    look: impl AsyncFnOnce(Client) -> Result<T, Error>,
) -> Result<(T, u64), Error> {
    provide_tls()?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let traffic = Traffic::default();
    let seen = runtime.block_on(async { look(connect(&access.into(), &traffic).await?).await })?;
    Ok((seen, traffic.counts().values().sum()))
}
