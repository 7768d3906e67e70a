//! Standard output and standard error of the commands.

use std::io::Write;

/// Writes to standard output. A reader that went away (`imps plan … | head`) is not an error.
pub(crate) fn print(text: &str) -> std::io::Result<()> {
    match std::io::stdout().lock().write_all(text.as_bytes()) {
        Err(error) if error.kind() == std::io::ErrorKind::BrokenPipe => Ok(()),
        result => result,
    }
}

/// Writes an error with its causes to standard error, each once.
pub(crate) fn complain(error: &(dyn std::error::Error + Send + Sync + 'static)) {
    let mut text = format!("imps: {error}");
    let mut cause = error.source();
    while let Some(next) = cause {
        text = format!("{text}: {next}");
        cause = next.source();
    }
    // There is nowhere left to report a failure of standard error to.
    let _ = writeln!(std::io::stderr(), "{text}");
}
