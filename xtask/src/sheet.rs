//! Tables for people: columns as wide as they need to be, wrapped by words where the page is too narrow.

/// What fits on every terminal and in a mail.
pub(crate) const WIDTH: usize = 100;
/// Between two columns.
const GAP: &str = "  ";

/// Renders a table of at most 100 columns, header and line included.
pub(crate) fn render<const N: usize>(header: [&str; N], rows: &[[String; N]]) -> String {
    let header = header.map(str::to_owned);
    let mut natural = [0; N];
    for row in rows.iter().chain([&header]) {
        for (width, cell) in natural.iter_mut().zip(row) {
            *width = cell.chars().count().max(*width);
        }
    }
    let widths = fitted(natural);
    let mut text = line(&header, &widths);
    text.push_str(&line(&widths.map(|width| "─".repeat(width)), &widths));
    for row in rows {
        text.push_str(&line(row, &widths));
    }
    text
}

/// The widest columns give way to the others, down to a common width.
fn fitted<const N: usize>(natural: [usize; N]) -> [usize; N] {
    let room = WIDTH - GAP.len() * N.saturating_sub(1);
    let capped = |cap: usize| natural.map(|width| width.min(cap));
    let fits = |cap: &usize| capped(*cap).iter().sum::<usize>() <= room;
    capped((1..=WIDTH).rev().find(fits).unwrap_or(1))
}

/// One row, which may take several lines.
fn line<const N: usize>(cells: &[String; N], widths: &[usize; N]) -> String {
    let wrapped: Vec<Vec<String>> =
        cells.iter().zip(widths).map(|(cell, width)| wrap(cell, *width)).collect();
    let height = wrapped.iter().map(Vec::len).max().unwrap_or_default();
    let mut text = String::new();
    for index in 0..height {
        let parts = wrapped.iter().zip(widths).map(|(lines, width)| {
            let part = lines.get(index).map_or("", String::as_str);
            format!("{part:width$}")
        });
        text.push_str(parts.collect::<Vec<_>>().join(GAP).trim_end());
        text.push('\n');
    }
    text
}

/// Lines of at most this width; a longer word is cut.
pub(crate) fn wrap(text: &str, width: usize) -> Vec<String> {
    let mut lines = vec![String::new()];
    for word in text.split_whitespace() {
        let mut word: Vec<char> = word.chars().collect();
        while !word.is_empty() {
            let last = lines.last().map_or(0, |line| line.chars().count());
            let gap = usize::from(last > 0);
            if last + gap + word.len() > width && last > 0 {
                lines.push(String::new());
                continue;
            }
            let part: String = word.drain(..word.len().min(width.max(1))).collect();
            if let Some(line) = lines.last_mut() {
                line.push_str(if gap > 0 { " " } else { "" });
                line.push_str(&part);
            }
        }
    }
    lines
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_narrow_table_is_as_wide_as_its_cells() {
        let table = render(["what", "ms"], &[["a new namespace".into(), "9".into()]]);
        assert_eq!(table, "what             ms\n───────────────  ──\na new namespace  9\n");
    }

    #[test]
    fn no_line_is_wider_than_the_page() {
        let long = "word ".repeat(60);
        let table = render(["a", "b", "c"], &[[long.clone(), "x".repeat(150), "short".into()]]);
        assert!(table.lines().all(|line| line.chars().count() <= WIDTH), "{table}");
        assert!(table.contains("short"));
    }

    #[test]
    fn words_are_kept_whole_where_they_fit() {
        assert_eq!(wrap("one two three", 7), ["one two", "three"]);
        assert_eq!(wrap("abcdefgh", 3), ["abc", "def", "gh"]);
        assert_eq!(wrap("", 3), [""]);
    }
}
