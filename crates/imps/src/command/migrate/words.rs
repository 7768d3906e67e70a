//! How counts and lists are told.

/// How many names are listed before the rest is counted.
const NAMES_SHOWN: usize = 10;

/// `1 Secret`, `3 Secrets`.
pub(super) fn counted(count: usize, one: &str, many: &str) -> String {
    if count == 1 { format!("1 {one}") } else { format!("{count} {many}") }
}

/// The names, and how many more there are.
pub(super) fn shortened(names: &[String]) -> String {
    let more = names.len().saturating_sub(NAMES_SHOWN);
    let shown = names[..names.len() - more].join(", ");
    if more == 0 { shown } else { format!("{shown} and {more} more") }
}
