//! Rules about the findings of a diagnosis: each has a page, and each page is of one.
//!
//! The reference is written from the code, which `codegen --check` sees to, so it stands for the code here.

use std::collections::BTreeMap;

use super::{Finding, Source, Tree};

/// Where the pages are.
const FOLDER: &str = "docs/findings/";

/// The list of them, made by codegen.
const REFERENCE: &str = "docs/findings/README.md";

/// What a page tells, in this order.
const HEADINGS: [&str; 3] = ["## What it means", "## See it by hand", "## Fix"];

/// Compares the list with the pages.
pub(super) fn check(tree: &Tree) -> Vec<Finding> {
    let Some(reference) = tree.find(REFERENCE) else { return Vec::new() };
    let listed: BTreeMap<&str, (usize, &str)> = reference.text.lines().zip(1..).filter_map(row).collect();
    let mut findings = Vec::new();
    for (code, (line, title)) in &listed {
        match tree.find(&format!("{FOLDER}{code}.md")) {
            Some(page) => findings.extend(page_faults(page, code, title)),
            None => findings.push(Finding::new(reference, *line, format!("{code} has no page"))),
        }
    }
    for page in tree.files.iter().filter(|source| source.path.starts_with(FOLDER)) {
        let stem = page.path[FOLDER.len()..].trim_end_matches(".md");
        if page.path != REFERENCE && !listed.contains_key(stem) {
            findings.push(Finding::new(page, 1, "no finding has this code"));
        }
    }
    findings
}

/// Code, line and title of a row of the reference.
fn row((line, number): (&str, usize)) -> Option<(&str, (usize, &str))> {
    let cells: Vec<&str> = line.strip_prefix("| [")?.split(" | ").collect();
    let code = cells[0].split(']').next()?;
    Some((code, (number, cells.last()?.trim_end_matches(" |"))))
}

fn page_faults(page: &Source, code: &str, title: &str) -> Vec<Finding> {
    let mut faults = Vec::new();
    let wanted = format!("# {code}: {title}");
    if page.text.lines().next() != Some(&wanted) {
        faults.push(Finding::new(page, 1, format!("should begin with `{wanted}`")));
    }
    let headings: Vec<&str> = page.text.lines().filter(|line| line.starts_with("## ")).collect();
    if headings != HEADINGS {
        faults.push(Finding::new(page, 1, format!("has not just the parts {}", HEADINGS.join(", "))));
    }
    faults
}

#[cfg(test)]
mod tests {
    use super::super::sample::{places, tree};
    use super::*;

    const LIST: &str = "| code | name |\n| [IMPS001](IMPS001.md) | `a` | info | Nothing |\n";
    const PAGE: &str = "# IMPS001: Nothing\n\n## What it means\n\n## See it by hand\n\n## Fix\n";

    #[test]
    fn pages_and_codes_match() {
        let page = format!("{FOLDER}IMPS001.md");
        assert!(check(&tree(&[(REFERENCE, LIST), (&page, PAGE)])).is_empty());
        assert_eq!(places(&check(&tree(&[(REFERENCE, LIST)]))), [(REFERENCE, 2)]);
        let other = format!("{FOLDER}IMPS002.md");
        let found = check(&tree(&[(REFERENCE, LIST), (&page, PAGE), (&other, PAGE)]));
        assert_eq!(places(&found), [(other.as_str(), 1)]);
        let renamed = PAGE.replace("Nothing", "Something");
        assert_eq!(places(&check(&tree(&[(REFERENCE, LIST), (&page, &renamed)]))), [(page.as_str(), 1)]);
        let short = PAGE.replace("## Fix\n", "");
        assert_eq!(places(&check(&tree(&[(REFERENCE, LIST), (&page, &short)]))), [(page.as_str(), 1)]);
    }
}
