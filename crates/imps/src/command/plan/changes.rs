//! `imps plan` of a cluster for people: what would change there, and no word more of what would not.

use comfy_table::Table;

use super::page::{Difference, Page, Target, UNCHANGED};
use super::table::{notes, section, sources, table};

/// How many changes are listed; the JSON output has all of them.
const SHOWN_MAX: usize = 200;

/// One line of the table.
struct Change {
    namespace: String,
    action: String,
    object: String,
    what: String,
    because: String,
}

/// Renders the answer: the changes, the sources that they come from, and what is wrong.
pub(super) fn render(page: &Page) -> String {
    let mut text = String::new();
    let changes = changes(page);
    section(&mut text, "What would change", listing(&changes));
    section(&mut text, "Sources", sources(page));
    text.push_str(&notes(page));
    for gap in &page.unseen {
        text.push_str(&format!("could not check: {gap}\n"));
    }
    text.push_str(&summary(page, &changes));
    text
}

fn changes(page: &Page) -> Vec<Change> {
    let written = page.targets.iter().filter(|target| target.action != UNCHANGED || target.reason.is_some());
    let mut changes: Vec<Change> = written.map(of_target).collect();
    changes.extend(page.removals.iter().map(|removal| Change {
        namespace: removal.namespace.clone(),
        action: "delete".to_owned(),
        object: format!("secret/{}", removal.secret),
        what: marked('-', &removal.registries).join("\n"),
        because: removal.because.clone(),
    }));
    for (action, sign, namings) in [("attach", '+', &page.attached), ("detach", '-', &page.detached)] {
        changes.extend(namings.iter().map(|naming| Change {
            namespace: naming.namespace.clone(),
            action: action.to_owned(),
            object: format!("serviceaccount/{}", naming.service_account),
            what: format!("{sign} {}", naming.secret),
            because: naming.because.clone(),
        }));
    }
    // Within a namespace in the order in which it would be done.
    changes.sort_by(|a, b| a.namespace.cmp(&b.namespace));
    changes
}

fn of_target(target: &Target) -> Change {
    Change {
        namespace: target.namespace.clone(),
        action: target.reason.unwrap_or(target.action).to_owned(),
        object: format!("secret/{}", target.secret),
        what: told(&target.difference, target.action),
        because: if target.because.is_empty() { target.rule.clone() } else { target.because.clone() },
    }
}

/// One line for each thing that changes.
fn told(difference: &Difference, action: &str) -> String {
    let mut lines = marked('+', &difference.added);
    lines.extend(
        marked('~', &difference.replaced).into_iter().map(|line| format!("{line} (another credential)")),
    );
    lines.extend(marked('-', &difference.removed));
    let rest = [
        (difference.rewritten, "~ the same credentials, written in another way"),
        (difference.metadata, "~ labels, annotations or owner"),
        (action == "scrub", "- a copy of the credentials in an annotation"),
    ];
    lines.extend(rest.iter().filter(|(holds, _)| *holds).map(|(_, line)| (*line).to_owned()));
    lines.join("\n")
}

fn marked(sign: char, names: &[String]) -> Vec<String> {
    names.iter().map(|name| format!("{sign} {name}")).collect()
}

fn listing(changes: &[Change]) -> Option<Table> {
    let mut table = table(&["NAMESPACE", "ACTION", "OBJECT", "CHANGES", "BECAUSE"]);
    for change in changes.iter().take(SHOWN_MAX) {
        table.add_row([&change.namespace, &change.action, &change.object, &change.what, &change.because]);
    }
    if changes.len() > SHOWN_MAX {
        let more = format!("and {} more", changes.len() - SHOWN_MAX);
        table.add_row([&more, "", "", "", "see -o json"]);
    }
    (!changes.is_empty()).then_some(table)
}

fn summary(page: &Page, changes: &[Change]) -> String {
    let count = |action: &str| changes.iter().filter(|change| change.action == action).count();
    let counts: Vec<String> = ["create", "update", "scrub", "delete", "attach", "detach"]
        .into_iter()
        .map(|action| (count(action), action))
        .filter(|(number, _)| *number > 0)
        .map(|(number, action)| format!("{number} to {action}"))
        .collect();
    let settled = page.targets.iter().filter(|target| target.action == UNCHANGED && target.reason.is_none());
    let failing = page.targets.iter().filter(|target| target.reason.is_some()).count();
    let mut text = match counts.is_empty() {
        true => "Nothing would change".to_owned(),
        false => format!("Would change: {}", counts.join(", ")),
    };
    text.push_str(&format!("; {} as they should be", plural(settled.count(), "Secret")));
    if failing > 0 {
        text.push_str(&format!(", {} that cannot be given", plural(failing, "Secret")));
    }
    text.push_str(".\n");
    text
}

fn plural(number: usize, noun: &str) -> String {
    if number == 1 { format!("1 {noun}") } else { format!("{number} {noun}s") }
}
