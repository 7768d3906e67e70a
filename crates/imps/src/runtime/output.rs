//! Standard output and standard error of the commands.

use std::io::{IsTerminal, Write};

/// Writes to standard output. A reader that went away (`imps plan … | head`) is not an error.
pub(crate) fn print(text: &str) -> std::io::Result<()> {
    show(text).map(drop)
}

/// Writes JSON, piece by piece, as it may be large. A reader that went away is no error either.
pub(crate) fn print_json(value: &impl serde::Serialize) -> std::io::Result<()> {
    let mut output = std::io::BufWriter::new(std::io::stdout().lock());
    let written = serde_json::to_writer_pretty(&mut output, value).map_err(std::io::Error::from);
    match written.and_then(|()| writeln!(output)).and_then(|()| output.flush()) {
        Err(error) if error.kind() == std::io::ErrorKind::BrokenPipe => Ok(()),
        result => result,
    }
}

/// As [`print`], and says whether anybody is left to read.
pub(crate) fn show(text: &str) -> std::io::Result<bool> {
    let mut output = std::io::stdout().lock();
    match output.write_all(text.as_bytes()).and_then(|()| output.flush()) {
        Ok(()) => Ok(true),
        Err(error) if error.kind() == std::io::ErrorKind::BrokenPipe => Ok(false),
        Err(error) => Err(error),
    }
}

/// Whether standard output is a terminal.
pub(crate) fn is_watched() -> bool {
    std::io::stdout().is_terminal()
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

/// Shows on the terminal what is being done, over what was shown before; nothing where nobody watches.
pub(crate) fn progress(text: &str) {
    let mut error = std::io::stderr();
    if error.is_terminal() {
        // As above.
        let _ = write!(error, "\r\x1b[K{text}");
        let _ = error.flush();
    }
}

/// Whether standard output is a terminal that may be written to in colours (no-color.org).
pub(crate) fn in_colour() -> bool {
    std::io::stdout().is_terminal() && std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty())
}
