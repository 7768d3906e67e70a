//! A report as one page of HTML that asks for nothing else: no script, no picture, no font. What is put in is escaped
//! by `maud`; nothing but the style is put in as it is.

use imps_core::diagnosis::Severity;
use maud::{DOCTYPE, Markup, PreEscaped, html};

use super::page::{
    CauseRow, ConditionRow, CoverageRow, Few, GrantRow, Number, Page, PodRow, SourceRow, SpotRow,
};
use crate::command::diagnose::screen::mark;
use crate::command::survey::grouped;

/// How it looks, on screens and on paper.
const STYLE: &str = include_str!("style.css");

/// What a browser may do: nothing but apply that style.
const POLICY: &str = "default-src 'none'; style-src 'unsafe-inline'; base-uri 'none'; form-action 'none'";

/// The sections, with what they are called.
const SECTIONS: [(&str, &str); 5] = [
    ("summary", "Summary"),
    ("pods", "Pods that wait for an image"),
    ("secrets", "Secrets that need a look"),
    ("grants", "ImagePullSecrets"),
    ("gaps", "What could not be checked"),
];

/// What the marks mean.
const MARKS: [(Severity, &str); 5] = [
    (Severity::Ok, "as it should be"),
    (Severity::Info, "worth knowing"),
    (Severity::Unknown, "could not be checked"),
    (Severity::Warning, "may be a cause, or become one"),
    (Severity::Error, "needs to be mended"),
];

/// The page.
pub(super) fn render(page: &Page) -> String {
    let heading = format!("{}: report of {}", page.title, page.time.text);
    let markup = html! {
        (DOCTYPE)
        html lang="en" {
            head {
                meta charset="utf-8";
                meta http-equiv="Content-Security-Policy" content=(POLICY);
                meta name="viewport" content="width=device-width, initial-scale=1";
                meta name="color-scheme" content="light dark";
                meta name="referrer" content="no-referrer";
                meta name="generator" content="imps report";
                title { (heading) }
                style { (PreEscaped(STYLE)) }
            }
            body {
                a.skip href="#summary" { "To the summary" }
                header {
                    p.kicker { "imps report, " time datetime=(page.time.exact) { (page.time.text) } }
                    h1 { bdi { (page.title) } }
                    p class=(format!("headline {}", page.grade.as_str())) {
                        (sign(page.grade)) span { (page.headline) }
                    }
                    nav aria-label="Sections" {
                        ul { @for (id, name) in SECTIONS { li { a href=(format!("#{id}")) { (name) } } } }
                    }
                }
                main {
                    (section(0, html! { dl.numbers { @for one in &page.numbers { (number(one)) } } }))
                    (section(1, causes(page)))
                    (section(2, spots(&page.spots)))
                    (section(3, grants(&page.grants)))
                    (section(4, gaps(&page.gaps)))
                }
                footer {
                    h2 { "About this report" }
                    dl.facts {
                        @for (what, value) in &page.facts { dt { (what) } dd { bdi { (value) } } }
                        dt { "Marks" }
                        dd { ul.plain { @for (grade, meaning) in MARKS { li { (sign(grade)) (meaning) } } } }
                    }
                }
            }
        }
    };
    format!("{}\n", markup.into_string())
}

fn section(index: usize, content: Markup) -> Markup {
    let (id, name) = SECTIONS[index];
    let heading = format!("{id}-heading");
    html! { section id=(id) aria-labelledby=(heading) { h2 id=(heading) { (name) } (content) } }
}

/// The mark of a severity, which those who see no colours know by its form, and those who see nothing by its word.
fn sign(grade: Severity) -> Markup {
    let word = grade.as_str();
    html! { span class=(format!("mark {word}")) role="img" aria-label=(word) { (mark(grade, false)) } " " }
}

fn state(grade: Severity, words: &str) -> Markup {
    html! {
        span class=(format!("state {}", grade.as_str())) {
            span.mark aria-hidden="true" { (mark(grade, false)) } " " (words)
        }
    }
}

fn number(number: &Number) -> Markup {
    html! {
        div {
            dt { (number.what) }
            dd.count {
                @if number.grade > Severity::Ok { (sign(number.grade)) }
                (number.count)
            }
            @if !number.note.is_empty() { dd.note { (number.note) } }
        }
    }
}

fn causes(page: &Page) -> Markup {
    let causes = &page.causes;
    html! {
        @if causes.is_empty() { p { (page.no_pod()) } }
        @for one in &causes.shown { (cause(one)) }
        (more(causes.more, "causes"))
    }
}

fn cause(row: &CauseRow) -> Markup {
    let (first, rest) = row.pods.shown.split_at(row.pods.shown.len().min(3));
    html! {
        article.cause {
            div.head {
                h3 {
                    (sign(row.grade))
                    @if !row.code.is_empty() { code { (row.code) } " " }
                    (row.title)
                }
                span.soft { (row.count) }
            }
            p { bdi { (row.text) } }
            @if !row.fix.is_empty() { p.fix { strong { "Fix" } (remedy(&row.fix)) } }
            ul.plain { @for one in first { (pod(one)) } }
            @if !rest.is_empty() || row.pods.more > 0 {
                details {
                    summary { "More pods of this cause" }
                    ul.plain { @for one in rest { (pod(one)) } }
                    (more(row.pods.more, "pods"))
                }
            }
            @if !row.page.is_empty() { p.soft { "More about it in the documentation of imps: " code { (row.page) } } }
        }
    }
}

fn pod(row: &PodRow) -> Markup {
    html! {
        li {
            code { (row.pod) } span.soft { " in " } code { (row.namespace) }
            span.soft { " waits for " } code { (row.image) }
        }
    }
}

fn remedy(text: &str) -> Markup {
    // A command is one to be copied; anything else is a sentence.
    if text.starts_with("kubectl ") {
        html! { code { (text) } }
    } else {
        html! { bdi { (text) } }
    }
}

/// A table that falls apart into cards where the screen is narrow. Its roles are said, as some readers forget what a
/// table is that is not laid out as one.
fn table(caption: &str, columns: &[&str], rows: Markup) -> Markup {
    html! {
        table role="table" class=(format!("of-{}", columns.len())) {
            caption { (caption) }
            thead role="rowgroup" {
                tr role="row" { @for column in columns { th scope="col" role="columnheader" { (column) } } }
            }
            tbody role="rowgroup" { (rows) }
        }
    }
}

fn cell(label: &str, content: Markup) -> Markup {
    html! { td role="cell" data-label=(label) { (content) } }
}

fn head(content: Markup) -> Markup {
    html! { th scope="row" role="rowheader" { (content) } }
}

fn spots(spots: &Few<SpotRow>) -> Markup {
    if spots.is_empty() {
        return html! { p { "Every Secret that was looked at is where it should be." } };
    }
    let columns = ["Namespace", "Secret", "State", "Rule", "Why", "What to do"];
    let rows = html! {
        @for row in &spots.shown {
            tr role="row" {
                (head(html! { code { (row.namespace) } }))
                (cell("Secret", html! {
                    code { (row.secret) } span.soft { " of " } code { (row.grant) }
                }))
                (cell("State", state(row.grade, row.state)))
                (cell("Rule", html! { bdi { (row.rule) } }))
                (cell("Why", html! { @if !row.why.is_empty() { bdi { (row.why) } } }))
                (cell("What to do", html! { @if !row.fix.is_empty() { (remedy(&row.fix)) } }))
            }
        }
    };
    let caption = "Missing, in conflict with somebody else's Secret, left over, or not to be determined";
    html! { (table(caption, &columns, rows)) (more(spots.more, "Secrets")) }
}

fn grants(grants: &Few<GrantRow>) -> Markup {
    html! {
        @if grants.is_empty() { p { "No ImagePullSecret was seen." } }
        @for one in &grants.shown { (grant(one)) }
        (more(grants.more, "ImagePullSecrets"))
    }
}

fn grant(row: &GrantRow) -> Markup {
    html! {
        article {
            div.head { h3 { (sign(row.grade)) code { (row.name) } } span.soft { (row.sum) } }
            ul.plain { @for remark in &row.remarks { li { (sign(Severity::Warning)) bdi { (remark) } } } }
            ul.plain { @for one in &row.conditions { (condition(one)) } }
            @if row.sources.is_empty() { p.soft { "It has no source." } } @else { (sources(&row.sources)) }
            @if !row.coverages.is_empty() {
                h4 { "Namespaces covered" }
                @for one in &row.coverages.shown { (coverage(one)) }
                (more(row.coverages.more, "rules"))
            }
        }
    }
}

fn condition(row: &ConditionRow) -> Markup {
    html! {
        li {
            (state(row.grade, &format!("{}: {}", row.kind, row.status)))
            @if !row.reason.is_empty() { " " code { (row.reason) } }
            @if !row.message.is_empty() { span.soft { " " bdi { (row.message) } } }
        }
    }
}

fn sources(sources: &Few<SourceRow>) -> Markup {
    let rows = html! {
        @for row in &sources.shown {
            tr role="row" {
                (head(html! { (sign(row.grade)) code { (row.source) } }))
                (cell("Registries", html! {
                    @for (index, registry) in row.registries.shown.iter().enumerate() {
                        @if index > 0 { ", " } code { (registry) }
                    }
                    @if row.registries.is_empty() { span.soft { "none is known" } }
                    @if row.registries.more > 0 { " and " (grouped(row.registries.more)) " more" }
                }))
                (cell("Token ends", html! { (row.end) }))
                (cell("Trouble", html! { @if !row.trouble.is_empty() { bdi { (row.trouble) } } }))
            }
        }
    };
    html! {
        (table("Sources: where its logins are from", &["Source", "Registries", "Token ends", "Trouble"], rows))
        (more(sources.more, "sources"))
    }
}

fn coverage(row: &CoverageRow) -> Markup {
    html! {
        details {
            summary {
                (row.count) " " code { (row.secret) } " by " bdi { (row.rule) } "; " (row.pods)
            }
            ul.plain.names { @for name in &row.namespaces.shown { li { code { (name) } } } }
            (more(row.namespaces.more, "namespaces"))
        }
    }
}

fn gaps(gaps: &Few<String>) -> Markup {
    html! {
        @if gaps.is_empty() {
            p { "All that a report rests on could be looked at." }
        } @else {
            p { "What is here may be the reason of what was found, or hide more." }
            ul.plain { @for gap in &gaps.shown { li { (sign(Severity::Unknown)) bdi { (gap) } } } }
        }
        (more(gaps.more, "things"))
    }
}

/// How much was left out of the page.
fn more(count: usize, what: &str) -> Markup {
    html! { @if count > 0 { p.soft { "… and " (grouped(count)) " more " (what) ", left out of this page" } } }
}
