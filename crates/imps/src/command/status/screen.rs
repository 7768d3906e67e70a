//! `imps status` for people.

use comfy_table::{ContentArrangement, Table, TableStyle};
use imps_core::diagnosis::span;
use jiff::Timestamp;

use super::page::{Entry, Leadership, Page};

/// Puts the cursor on the top left of an empty screen (ECMA-48, CUP and ED).
const ANEW: &str = "\x1b[H\x1b[2J";

/// One screen.
pub(super) fn render(page: &Page) -> String {
    let mut text = format!("{}\n", operator(&page.leadership, page.time));
    if page.image_pull_secrets.is_empty() {
        text.push_str("\nno ImagePullSecret\n");
        return text;
    }
    text.push_str(&section("ImagePullSecrets", grants(page)));
    text.push_str(&section("Sources", sources(page)));
    text.push_str(&section("Namespaces that fail", failures(page)));
    let mut remarks: Vec<String> = Vec::new();
    for Entry { name, message, sources, .. } in &page.image_pull_secrets {
        if !message.is_empty() {
            remarks.push(format!("{name}: {message}"));
        }
        let sick = sources.iter().filter(|source| !source.message.is_empty());
        remarks.extend(sick.map(|source| format!("source {} of {name}: {}", source.source, source.message)));
    }
    if !remarks.is_empty() {
        text.push_str(&format!("\n{}\n", remarks.join("\n")));
    }
    text
}

/// The screen after the one before: in its place, or below it where it cannot be taken away.
pub(super) fn again(page: &Page, shown: bool, watched: bool) -> String {
    let before = match (watched, shown) {
        (true, _) => ANEW,
        (false, true) => "\n",
        (false, false) => "",
    };
    format!("{before}{}", render(page))
}

fn operator(leadership: &Leadership, now: Timestamp) -> String {
    let Leadership { state, holder, lease, renewed, message } = leadership;
    let ago = renewed.map_or_else(|| "never".to_owned(), |at| format!("{} ago", left(now, at)));
    match *state {
        "held" => format!("Operator  {holder} leads (lease {lease}, renewed {ago})"),
        "lapsed" => format!("Operator  none leads: {holder} renewed the lease {lease} {ago}"),
        "free" => format!("Operator  none leads: the lease {lease} was given back"),
        "none" => {
            "Operator  there is no lease: none runs, or one without --enable-leader-election".to_owned()
        }
        _ => format!("Operator  not known: {message}"),
    }
}

/// How long it is until the later of two moments.
fn left(later: Timestamp, earlier: Timestamp) -> String {
    span((later.as_second() - earlier.as_second()).max(0))
}

fn section(title: &str, table: Option<Table>) -> String {
    table.map_or(String::new(), |table| format!("\n{title}\n{}\n", table.trim_fmt()))
}

fn table<const N: usize>(header: [&str; N]) -> Table {
    let mut table = Table::new();
    table
        .load_style(TableStyle::new())
        .set_content_arrangement(ContentArrangement::Disabled)
        .set_header(header);
    table
}

fn grants(page: &Page) -> Option<Table> {
    let mut table =
        table(["NAME", "READY", "REASON", "NAMESPACES", "SYNCED", "FAILED", "CONFLICT", "NOT SERVED"]);
    for entry in &page.image_pull_secrets {
        let counts = &entry.namespaces;
        let numbers = [counts.desired, counts.synced, counts.failed, counts.conflict, counts.left_out];
        let texts = [entry.name.clone(), entry.ready.clone(), entry.reason.clone()];
        table.add_row(texts.into_iter().chain(numbers.map(|number| number.to_string())));
    }
    Some(table)
}

fn sources(page: &Page) -> Option<Table> {
    let mut table =
        table(["IMAGEPULLSECRET", "SOURCE", "TYPE", "STATE", "REASON", "TIME LEFT", "NEXT REFRESH"]);
    for entry in &page.image_pull_secrets {
        for source in &entry.sources {
            let now = page.time;
            let end = source
                .expires_at
                .map(|end| if end > now { left(end, now) } else { format!("ended {} ago", left(now, end)) });
            let next = source.next_refresh.map(|next| {
                if next > now {
                    format!("in {}", left(next, now))
                } else {
                    format!("due for {}", left(now, next))
                }
            });
            table.add_row([
                entry.name.clone(),
                source.source.clone(),
                source.secret_type.clone(),
                source.state.clone(),
                dashed(&source.reason),
                end.unwrap_or_else(|| "-".to_owned()),
                next.unwrap_or_else(|| "-".to_owned()),
            ]);
        }
    }
    (!table.is_empty()).then_some(table)
}

fn failures(page: &Page) -> Option<Table> {
    let mut table = table(["IMAGEPULLSECRET", "NAMESPACE", "REASON", "MESSAGE"]);
    for entry in &page.image_pull_secrets {
        for failure in &entry.failures {
            table.add_row([&entry.name, &failure.namespace, &failure.reason, &failure.message]);
        }
    }
    (!table.is_empty()).then_some(table)
}

fn dashed(text: &str) -> String {
    if text.is_empty() { "-".to_owned() } else { text.to_owned() }
}
