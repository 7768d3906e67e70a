//! `imps tree` for people.

use imps_core::diagnosis::Severity;
use termtree::{GlyphPalette, Tree};

use super::report::{Known, Place, Pod, Report};
use crate::command::diagnose::screen::mark;
use crate::command::explain::screen::origin;
use crate::command::survey::grouped;

/// How many names of ServiceAccounts stand in a line; the JSON output has all of them.
const ACCOUNTS_SHOWN_MAX: usize = 8;

/// Branches of ASCII characters.
const ASCII: GlyphPalette = GlyphPalette {
    middle_item: "|",
    last_item: "`",
    item_indent: "-- ",
    middle_skip: "|",
    last_skip: " ",
    skip_indent: "   ",
};

/// How it is to look.
#[derive(Clone, Copy)]
pub(super) struct Style {
    /// How many of a kind are shown.
    pub(super) shown: usize,
    pub(super) ascii: bool,
    pub(super) colour: bool,
}

/// The whole tree.
pub(super) fn render(report: &Report, now: i64, style: Style) -> String {
    let mut root = style.branch(format!("imagepullsecret/{}", report.image_pull_secret));
    if !report.problem.is_empty() {
        root.push(style.marked(Severity::Unknown, &format!("it makes no sense: {}", report.problem)));
    }
    if report.suspended {
        let words = "spec.suspend is true: nothing is written and nothing taken away";
        root.push(style.marked(Severity::Warning, words));
    }
    let mut sources = style.branch(format!("sources ({})", report.sources.len()));
    for (source, grade) in report.sources.iter().zip(&report.source_grades) {
        sources.push(style.marked(*grade, &origin(source, now)));
    }
    root.push(sources);
    root.push(namespaces(report, style));
    if !report.unseen.is_empty() {
        let mut unseen = style.branch("could not check".to_owned());
        unseen.extend(report.unseen.iter().map(|why| style.marked(Severity::Unknown, why)));
        root.push(unseen);
    }
    format!("{root}")
}

fn namespaces(report: &Report, style: Style) -> Tree<String> {
    let mut parts: Vec<String> = Vec::new();
    for state in ["has", "lacks", "conflict", "loses", "unknown"] {
        let count = report.namespaces.iter().filter(|place| place.state == state).count();
        if count > 0 {
            parts.push(format!("{} {state}", grouped(count)));
        }
    }
    parts.push(format!("{} left out", grouped(report.left_out)));
    let mut all = style.branch(format!("namespaces ({})", parts.join(", ")));
    all.extend(report.namespaces.iter().take(style.shown).map(|one| place(one, style)));
    style.more(&mut all, report.namespaces.len());
    all
}

fn place(place: &Place, style: Style) -> Tree<String> {
    let Place { namespace, secret, state, rule, cause, remedy, .. } = place;
    let by = if place.listed || rule.is_empty() { String::new() } else { format!(", by {rule}") };
    let mut branch = style.marked(place.grade, &format!("{namespace}  {state} secret/{secret}{by}"));
    let mut line = |heading: &str, text: &str| {
        if !text.is_empty() {
            branch.push(style.branch(format!("{heading:<17}{text}")));
        }
    };
    if place.listed {
        line("rules", rule);
    }
    line(if *state == "has" { "but" } else { "because" }, cause);
    line("fix", remedy);
    line("serviceaccounts", &accounts(&place.service_accounts));
    let count = match &place.pods {
        Known::Seen(0) => "none names it".to_owned(),
        Known::Seen(count) => format!("{} name it", grouped(*count)).replace("1 name ", "1 names "),
        Known::Unseen { unseen } => could_not(unseen),
    };
    let waiting = match place.waiting.len() {
        0 => String::new(),
        count => format!(", {} waiting for an image", grouped(count)),
    };
    let mut pods = style.branch(format!("{:<17}{count}{waiting}", "pods"));
    for Pod { pod, code, title, grade } in place.waiting.iter().take(style.shown) {
        let why = match (code, title) {
            (Some(code), Some(title)) => format!("{pod}  {code}  {title}"),
            _ => format!("{pod}  nothing explains it"),
        };
        pods.push(style.marked(*grade, &why));
    }
    style.more(&mut pods, place.waiting.len());
    branch.push(pods);
    branch
}

fn accounts(accounts: &Known<Vec<String>>) -> String {
    match accounts {
        Known::Seen(names) if names.is_empty() => "none names it".to_owned(),
        Known::Seen(names) => {
            let more = names.len().saturating_sub(ACCOUNTS_SHOWN_MAX);
            let more = if more > 0 { format!(" and {} more", grouped(more)) } else { String::new() };
            let shown: Vec<&str> = names.iter().take(ACCOUNTS_SHOWN_MAX).map(String::as_str).collect();
            format!("{}{more}", shown.join(", "))
        }
        Known::Unseen { unseen } => could_not(unseen),
    }
}

fn could_not(why: &str) -> String {
    format!("could not check: {why}")
}

impl Style {
    fn branch(self, text: String) -> Tree<String> {
        let tree = Tree::new(text);
        if self.ascii { tree.with_glyphs(ASCII) } else { tree }
    }

    fn marked(self, grade: Severity, text: &str) -> Tree<String> {
        let mark = if self.ascii { grade.as_str().to_owned() } else { mark(grade, self.colour) };
        self.branch(format!("{mark} {text}"))
    }

    /// How many were not shown.
    fn more(self, tree: &mut Tree<String>, count: usize) {
        let more = count.saturating_sub(self.shown);
        if more > 0 {
            let dots = if self.ascii { "..." } else { "…" };
            tree.push(self.branch(format!("{dots} and {} more; --all shows them", grouped(more))));
        }
    }
}
