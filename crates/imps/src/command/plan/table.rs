//! `imps plan` for people.

use comfy_table::{ContentArrangement, Table, TableStyle};

use super::page::{Page, Target};

/// How many namespaces that get nothing are listed by name for each reason; the JSON output has all of them.
const LEFT_OUT_SHOWN_MAX: usize = 20;

/// Renders the answer as tables, one for each question.
pub(super) fn render(page: &Page) -> String {
    let mut text = String::new();
    section(&mut text, "Namespaces that get a Secret", targets(page));
    section(&mut text, "ServiceAccounts that name them", accounts(page));
    section(&mut text, "ServiceAccounts that no longer name them", detached(page));
    section(&mut text, "Secrets to be removed", removals(page));
    section(&mut text, "Sources", sources(page));
    section(&mut text, "Left out", left_out(page));
    text.push_str(&notes(page));
    text.truncate(text.trim_end().len());
    text.push('\n');
    text
}

/// What does not fit into tables, a line each.
pub(super) fn notes(page: &Page) -> String {
    let mut text = String::new();
    for remark in &page.rejected {
        text.push_str(&format!("ImagePullSecret {} cannot be used: {}\n", remark.grant, remark.text));
    }
    for remark in &page.remarks {
        text.push_str(&format!("note: ImagePullSecret {}: {}\n", remark.grant, remark.text));
    }
    for target in page.targets.iter().filter(|target| target.reason.is_some()) {
        text.push_str(&format!("{}/{}: {}\n", target.namespace, target.secret, target.message));
    }
    if !page.assumed.is_empty() {
        text.push_str(&format!(
            "note: no manifest describes these namespaces, taken to exist without labels: {}\n",
            page.assumed.join(", ")
        ));
    }
    if !page.ignored.is_empty() {
        let kinds: Vec<String> = page.ignored.iter().map(|(kind, count)| format!("{count} {kind}")).collect();
        text.push_str(&format!("note: no part in this: {}\n", kinds.join(", ")));
    }
    text
}

pub(super) fn section(text: &mut String, title: &str, table: Option<Table>) {
    if let Some(table) = table {
        text.push_str(&format!("{title}\n{}\n\n", table.trim_fmt()));
    }
}

pub(super) fn table(header: &[&str]) -> Table {
    let mut table = Table::new();
    table
        .load_style(TableStyle::new())
        .set_content_arrangement(ContentArrangement::Dynamic)
        .set_header(header.to_vec());
    table
}

fn targets(page: &Page) -> Option<Table> {
    let mut table = table(&["NAMESPACE", "SECRET", "ACTION", "REGISTRIES", "FROM", "BECAUSE"]);
    for target in &page.targets {
        let action = target.reason.unwrap_or(target.action);
        let (registries, sources) = registries(target);
        table.add_row([&target.namespace, &target.secret, action, &registries, &sources, &target.rule]);
    }
    (!page.targets.is_empty()).then_some(table)
}

/// One line for each registry, and beside it the source of its credential.
fn registries(target: &Target) -> (String, String) {
    let pick = |field: fn(&super::page::Registry) -> &str| {
        target.registries.iter().map(field).collect::<Vec<_>>().join("\n")
    };
    (pick(|r| &r.registry), pick(|r| &r.source))
}

fn accounts(page: &Page) -> Option<Table> {
    let mut table = table(&["NAMESPACE", "SECRET", "SERVICEACCOUNTS"]);
    let attached = page.targets.iter().filter(|target| !target.service_accounts.is_empty());
    for target in attached {
        table.add_row([&target.namespace, &target.secret, &target.service_accounts.join("\n")]);
    }
    (!table.is_empty()).then_some(table)
}

fn detached(page: &Page) -> Option<Table> {
    let mut table = table(&["NAMESPACE", "SERVICEACCOUNT", "SECRET", "BECAUSE"]);
    for gone in &page.detached {
        table.add_row([&gone.namespace, &gone.service_account, &gone.secret, &gone.because]);
    }
    (!page.detached.is_empty()).then_some(table)
}

fn removals(page: &Page) -> Option<Table> {
    let mut table = table(&["NAMESPACE", "SECRET", "BECAUSE"]);
    for removal in &page.removals {
        table.add_row([&removal.namespace, &removal.secret, &removal.because]);
    }
    (!page.removals.is_empty()).then_some(table)
}

pub(super) fn sources(page: &Page) -> Option<Table> {
    let mut table = table(&["SOURCE", "IMAGEPULLSECRET", "STATE", "GIVES", "DROPPED, AND WHY"]);
    for source in &page.sources {
        let state = source.reason.unwrap_or(source.state);
        let mut dropped: Vec<String> =
            source.overridden.iter().map(|lost| format!("{lost} wins over this one")).collect();
        dropped.extend((!source.message.is_empty()).then(|| source.message.clone()));
        table.add_row([
            &source.source,
            &source.image_pull_secret,
            state,
            &source.registries.join("\n"),
            &dropped.join("\n"),
        ]);
    }
    (!page.sources.is_empty()).then_some(table)
}

fn left_out(page: &Page) -> Option<Table> {
    let mut table = table(&["NAMESPACE", "IMAGEPULLSECRET", "BECAUSE"]);
    for left in page.left_out.iter().take(LEFT_OUT_SHOWN_MAX) {
        table.add_row([&left.namespace, left.image_pull_secret.as_deref().unwrap_or("-"), &left.because]);
    }
    if page.left_out.len() > LEFT_OUT_SHOWN_MAX {
        table.add_row([&format!("and {} more", page.left_out.len() - LEFT_OUT_SHOWN_MAX), "", "see -o json"]);
    }
    (!page.left_out.is_empty()).then_some(table)
}
