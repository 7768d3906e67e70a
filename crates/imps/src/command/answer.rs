//! How a command answers: people get a text, machines all of it as data.

use serde::Serialize;

use super::Error;
use crate::args::OutputFormat;
use crate::runtime::output;

/// Writes an answer to standard output. `screen` makes the text for people.
pub(super) fn print(
    format: OutputFormat,
    answer: &impl Serialize,
    screen: impl FnOnce() -> String,
) -> Result<(), Error> {
    match format {
        OutputFormat::Table | OutputFormat::Wide => output::print(&screen())?,
        OutputFormat::Json => output::print_json(answer)?,
        OutputFormat::Yaml => output::print(&serde_saphyr::to_string(answer)?)?,
    }
    Ok(())
}
