//! An interrupt ends work in order: what was started is dropped, and so ended, before this process is.

use anyhow::{Context, Result, bail};
use tokio::signal::unix::{SignalKind, signal};

/// Does the work, unless the user or the system asks to stop.
pub(crate) async fn or<T>(work: impl Future<Output = Result<T>>) -> Result<T> {
    let mut terminate = signal(SignalKind::terminate()).context("cannot listen to signals")?;
    let mut interrupt = signal(SignalKind::interrupt()).context("cannot listen to signals")?;
    let mut hangup = signal(SignalKind::hangup()).context("cannot listen to signals")?;
    tokio::select! {
        done = work => done,
        _ = terminate.recv() => bail!("asked to stop"),
        _ = hangup.recv() => bail!("the terminal is gone"),
        _ = interrupt.recv() => bail!("interrupted"),
    }
}
