//! `imps metrics`: the table of all series, for people and for `docs/metrics.md`.

use std::fmt::Write as _;
use std::process::ExitCode;

use comfy_table::{ContentArrangement, Table, TableStyle};

use super::Error;
use crate::args::{MetricsArgs, MetricsFormat};
use crate::runtime::metrics::series::{COMPATIBLE, OWN, Row};
use crate::runtime::output;

/// The parts of the table, each with its heading.
const PARTS: [(&str, &[Row]); 2] =
    [("Series of imps", OWN), ("Series for dashboards of controller-runtime", COMPATIBLE)];

pub(super) fn run(args: MetricsArgs) -> Result<ExitCode, Error> {
    let parts = PARTS.map(|(title, rows)| match args.output {
        MetricsFormat::Table => format!("{title}\n{}\n", table(rows).trim_fmt()),
        MetricsFormat::Markdown => markdown(title, rows),
    });
    output::print(&parts.join("\n"))?;
    Ok(ExitCode::SUCCESS)
}

fn table(rows: &[Row]) -> Table {
    let mut table = Table::new();
    table
        .load_style(TableStyle::new())
        .set_content_arrangement(ContentArrangement::Dynamic)
        .set_header(["NAME", "TYPE", "UNIT", "TELLS", "ABSENT"]);
    for row in rows {
        let name = row.spell();
        table.add_row([name.as_str(), row.kind.word(), row.unit().unwrap_or_default(), row.help, row.absent]);
    }
    table
}

fn markdown(title: &str, rows: &[Row]) -> String {
    let mut text =
        format!("## {title}\n\n| series | type | unit | tells | absent |\n| --- | --- | --- | --- | --- |\n");
    for row in rows {
        let absent = if row.absent.is_empty() { "never" } else { row.absent };
        let (kind, unit) = (row.kind.word(), row.unit().unwrap_or_default());
        let _ = writeln!(text, "| `{}` | {kind} | {unit} | {} | {absent} |", row.spell(), row.help);
    }
    text
}
