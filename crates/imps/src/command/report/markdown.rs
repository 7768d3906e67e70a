//! A report in Markdown, as GitHub and GitLab read it. Names stand as code, in which nothing has a meaning; sentences
//! are escaped, and no link is made of either.

use imps_core::diagnosis::Severity;

use super::page::{CauseRow, CoverageRow, Few, GrantRow, Page, SourceRow, SpotRow};
use crate::command::diagnose::screen::mark;
use crate::command::survey::grouped;

/// The page.
pub(super) fn render(page: &Page) -> String {
    let mut out = String::new();
    let mut line = |text: &str| {
        out.push_str(text);
        out.push('\n');
    };
    line(&format!("# {}\n", escape(&page.title)));
    line(&format!("{} **{}**\n", mark(page.grade, false), escape(&page.headline)));
    line("| | | |\n| --- | ---: | --- |");
    for number in &page.numbers {
        line(&format!("| {} | {} | {} |", number.what, number.count, number.note));
    }
    line("\n## Pods that wait for an image\n");
    if page.causes.is_empty() {
        line(&format!("{}\n", page.no_pod()));
    }
    page.causes.shown.iter().for_each(|row| line(&cause(row)));
    line(&more(page.causes.more, "causes"));
    line("## Secrets that need a look\n");
    line(&spots(&page.spots));
    line("## ImagePullSecrets\n");
    if page.grants.is_empty() {
        line("No ImagePullSecret was seen.\n");
    }
    page.grants.shown.iter().for_each(|row| line(&grant(row)));
    line(&more(page.grants.more, "ImagePullSecrets"));
    line("## What could not be checked\n");
    if page.gaps.is_empty() {
        line("All that a report rests on could be looked at.\n");
    }
    page.gaps.shown.iter().for_each(|gap| line(&format!("- {}", escape(gap))));
    line(&more(page.gaps.more, "things"));
    line("## About this report\n");
    page.facts.iter().for_each(|(what, value)| line(&format!("- {what}: {}", escape(value))));
    // Empty places of what was not to be said.
    while out.contains("\n\n\n") {
        out = out.replace("\n\n\n", "\n\n");
    }
    out
}

fn cause(row: &CauseRow) -> String {
    let CauseRow { code, title, text, fix, count, .. } = row;
    let code = if code.is_empty() { String::new() } else { format!("{code} ") };
    let mut out = format!("### {} {code}{}\n\n", mark(row.grade, false), escape(title));
    out.push_str(&format!("{count}: {}\n\n", escape(text)));
    if !fix.is_empty() {
        out.push_str(&format!("**Fix:** {}\n\n", remedy(fix)));
    }
    for pod in &row.pods.shown {
        let (namespace, name, image) =
            (self::code(&pod.namespace), self::code(&pod.pod), self::code(&pod.image));
        out.push_str(&format!("- {name} in {namespace} waits for {image}\n"));
    }
    out.push('\n');
    out.push_str(&more(row.pods.more, "pods"));
    if !row.page.is_empty() {
        out.push_str(&format!("More about it in the documentation of imps: {}\n", self::code(&row.page)));
    }
    out
}

fn spots(spots: &Few<SpotRow>) -> String {
    if spots.is_empty() {
        return "Every Secret that was looked at is where it should be.\n".to_owned();
    }
    let mut out =
        "| Namespace | Secret | State | Rule | Why | What to do |\n| --- | --- | --- | --- | --- | --- |\n"
            .to_owned();
    for row in &spots.shown {
        let secret = format!("{} of {}", code(&row.secret), code(&row.grant));
        let state = format!("{} {}", mark(row.grade, false), row.state);
        let cells =
            [code(&row.namespace), secret, state, escape(&row.rule), escape(&row.why), remedy(&row.fix)];
        out.push_str(&format!("| {} |\n", cells.join(" | ")));
    }
    format!("{out}\n{}", more(spots.more, "Secrets"))
}

fn grant(row: &GrantRow) -> String {
    let mut out = format!("### {} {}\n\n{}\n\n", mark(row.grade, false), code(&row.name), row.sum);
    for remark in &row.remarks {
        out.push_str(&format!("- {} {}\n", mark(Severity::Warning, false), escape(remark)));
    }
    for condition in &row.conditions {
        let words = [&condition.reason, &condition.message].map(|text| escape(text));
        let [kind, status] = [&condition.kind, &condition.status].map(|text| escape(text));
        let head = format!("{} {kind}: {status}", mark(condition.grade, false));
        out.push_str(format!("- {head} {}", words.join(" ")).trim_end());
        out.push('\n');
    }
    out.push('\n');
    if !row.sources.is_empty() {
        out.push_str("| Source | Registries | Token ends | Trouble |\n| --- | --- | --- | --- |\n");
        row.sources.shown.iter().for_each(|source| out.push_str(&self::source(source)));
        out.push_str(&format!("\n{}", more(row.sources.more, "sources")));
    }
    row.coverages.shown.iter().for_each(|one| out.push_str(&coverage(one)));
    out.push('\n');
    out.push_str(&more(row.coverages.more, "rules"));
    out
}

fn source(row: &SourceRow) -> String {
    let mut registries = list(&row.registries);
    if registries.is_empty() {
        registries = "none is known".to_owned();
    }
    let source = format!("{} {}", mark(row.grade, false), code(&row.source));
    format!("| {source} | {registries} | {} | {} |\n", row.end, escape(&row.trouble))
}

fn coverage(row: &CoverageRow) -> String {
    let (secret, rule) = (code(&row.secret), escape(&row.rule));
    format!("- {} {secret} by {rule}; {}: {}\n", row.count, row.pods, list(&row.namespaces))
}

fn list(names: &Few<String>) -> String {
    let shown: Vec<String> = names.shown.iter().map(|name| code(name)).collect();
    let more = if names.more > 0 { format!(" and {} more", grouped(names.more)) } else { String::new() };
    format!("{}{more}", shown.join(", "))
}

fn more(count: usize, what: &str) -> String {
    if count == 0 {
        String::new()
    } else {
        format!("\n… and {} more {what}, left out of this page\n", grouped(count))
    }
}

fn remedy(text: &str) -> String {
    // A command is one to be copied, also in a sentence.
    if text.contains("kubectl ") { code(text) } else { escape(text) }
}

/// A text in which nothing has a meaning: in backticks, more of them than there are in a row in it. A bar would end the
/// cell of a table even there (GitHub Flavored Markdown, 4.10).
fn code(text: &str) -> String {
    if text.trim().is_empty() {
        return String::new();
    }
    let longest = text.split(|c| c != '`').map(str::len).max().unwrap_or_default();
    let fence = "`".repeat(longest + 1);
    let space = if longest > 0 { " " } else { "" };
    format!("{fence}{space}{}{space}{fence}", text.replace('|', "\\|"))
}

/// A sentence that says what it says. Addresses would become links by themselves, so they are taken apart.
fn escape(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '&' => out.push_str("&amp;"),
            // Of people and of issues links are made even where this is escaped, but not in code.
            '@' | '#' => out.push_str(&format!("`{c}`")),
            '\\' | '`' | '*' | '_' | '[' | ']' | '|' | '~' | '!' | '$' | '{' | '}' | '^' => {
                out.push('\\');
                out.push(c);
            }
            _ => out.push(c),
        }
    }
    out.replace("://", ":\\//").replace("www.", "www\\.")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn code_ends_where_it_is_meant_to() {
        assert_eq!(code("shop"), "`shop`");
        assert_eq!(code("a`b``c"), "``` a`b``c ```");
        assert_eq!(code("a|b"), "`a\\|b`");
        assert_eq!(code("`"), "`` ` ``");
        assert_eq!(code(" "), "");
    }

    #[test]
    fn a_sentence_makes_no_markup() {
        assert_eq!(escape("[a](https://x) <b> *c* | d"), "\\[a\\](https:\\//x) &lt;b&gt; \\*c\\* \\| d");
        assert_eq!(escape("www.x me@x"), "www\\.x me`@`x");
    }
}
