//! `imps findings`: the list of what a diagnosis can find, from which the reference is made.

use std::process::ExitCode;

use comfy_table::{Table, TableStyle};
use imps_core::diagnosis::Code;
use serde_json::{Value, json};

use super::Error;
use crate::args::{FindingsArgs, FindingsFormat};
use crate::runtime::output;

/// What the reference begins with.
const HEAD: &str = "# Findings of `imps diagnose`\n\nA number never changes its meaning. The questions are asked in \
                    this order, and one that cannot be answered\ndoes not keep the others from it.\n";

pub(super) fn run(args: &FindingsArgs) -> Result<ExitCode, Error> {
    let text = match args.output {
        FindingsFormat::Table => table(),
        FindingsFormat::Json => format!("{}\n", serde_json::to_string_pretty(&list())?),
        FindingsFormat::Markdown => markdown(),
    };
    output::print(&text)?;
    Ok(ExitCode::SUCCESS)
}

fn table() -> String {
    let mut table = Table::new();
    table.load_style(TableStyle::new()).set_header(["CODE", "NAME", "SEVERITY", "MEANING"]);
    for code in Code::ALL {
        table.add_row([&code.to_string(), code.name(), code.severity().as_str(), code.title()]);
    }
    format!("{}\n", table.trim_fmt())
}

fn list() -> Vec<Value> {
    let entry = |code: &Code| {
        json!({
            "code": code.to_string(), "name": code.name(), "severity": code.severity().as_str(),
            "title": code.title(), "question": code.question(), "page": code.page(),
        })
    };
    Code::ALL.iter().map(entry).collect()
}

fn markdown() -> String {
    let mut text = HEAD.to_owned();
    let mut rung = None;
    for code in Code::ALL {
        if rung != Some(code.rung()) {
            rung = Some(code.rung());
            text.push_str(&format!(
                "\n## {}\n\n| code | name | severity | meaning |\n| --- | --- | --- | --- |\n",
                code.question()
            ));
        }
        let (name, severity, title) = (code.name(), code.severity(), code.title());
        text.push_str(&format!("| [{code}]({code}.md) | `{name}` | {severity} | {title} |\n"));
    }
    text
}
