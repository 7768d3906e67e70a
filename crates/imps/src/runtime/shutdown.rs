//! The end: SIGTERM and SIGINT become one future.

use tokio::signal::unix::{SignalKind, signal as listen};

/// Listens from now on; the future is ready when the process is asked to end.
pub(crate) fn signal() -> std::io::Result<impl Future<Output = ()>> {
    let mut terminate = listen(SignalKind::terminate())?;
    let mut interrupt = listen(SignalKind::interrupt())?;
    Ok(async move {
        tokio::select! {
            _ = terminate.recv() => tracing::info!(signal = "SIGTERM", "asked to stop"),
            _ = interrupt.recv() => tracing::info!(signal = "SIGINT", "asked to stop"),
        }
    })
}
