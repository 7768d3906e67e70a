//! `imps migrate imps` for people.

use comfy_table::{ContentArrangement, Table, TableStyle};

use super::{Finding, Report};

/// Renders the answer: what needs attention first.
pub(in crate::command::migrate) fn render(report: &Report) -> String {
    let mut text = String::from("Found\n");
    for found in &report.found {
        text.push_str(&format!(" {found}\n"));
    }
    text.push('\n');
    section(&mut text, "Needs attention", &["OBJECT", "WHAT", "TO DO"], &report.attention);
    section(&mut text, "Changes", &["OBJECT", "WHAT"], &report.changes);
    section(&mut text, "Stays", &["OBJECT", "WHAT"], &report.same);
    for unseen in &report.unseen {
        text.push_str(&format!("not checked: {unseen}\n"));
    }
    text.push_str(match (report.attention.len(), report.unseen.len()) {
        (0, 0) => "Nothing needs attention.\n",
        (0, _) => "Nothing that could be looked at needs attention.\n",
        _ => "See to what needs attention before the image is changed.\n",
    });
    text
}

fn section(text: &mut String, title: &str, header: &[&str], findings: &[Finding]) {
    if findings.is_empty() {
        return;
    }
    let mut table = Table::new();
    table
        .load_style(TableStyle::new())
        .set_content_arrangement(ContentArrangement::Dynamic)
        .set_header(header.to_vec());
    for Finding { object, what, to_do } in findings {
        table.add_row([object, what, to_do].into_iter().take(header.len()));
    }
    text.push_str(&format!("{title}\n{}\n\n", table.trim_fmt()));
}
