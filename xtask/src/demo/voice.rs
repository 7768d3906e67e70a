//! How the story is printed: headings, lines with their time, a table; coloured on a terminal, plain in a pipe.

use std::io::{IsTerminal, Write};
use std::time::{Duration, Instant};

use super::words;
use crate::sheet::{self, WIDTH};

/// Before the text of a line: the time since the beginning and the namespace.
const MARGIN: usize = 28;
/// How much of the log a failure shows.
const LOG_LINES: usize = 15;

/// What stands in the table at the end.
pub(super) type Row = [String; 4];

/// The colours of a terminal, of which three are used.
#[derive(Clone, Copy)]
enum Tone {
    Bold,
    Faint,
    Red,
}

/// Speaks on standard output.
pub(super) struct Voice {
    coloured: bool,
    begun: Instant,
}

impl Voice {
    pub(super) fn new() -> Self {
        let wanted = std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty());
        Self { coloured: wanted && std::io::stdout().is_terminal(), begun: Instant::now() }
    }

    /// The clock of the story starts.
    pub(super) fn begin(&mut self) {
        self.begun = Instant::now();
    }

    /// A new chapter.
    pub(super) fn chapter(&self, title: &str) {
        println!("\n{}", self.toned(title, Tone::Bold));
    }

    /// What somebody did, or what happened.
    pub(super) fn say(&self, place: &str, text: &str) {
        let time = format!("{:7.2} s", self.begun.elapsed().as_secs_f64());
        let head = format!("{time}  {place:width$} ", width = MARGIN - time.len() - 3);
        self.lines(&head, text, None);
    }

    /// The reason for the line before.
    pub(super) fn because(&self, text: &str) {
        self.lines("", text, Some(Tone::Faint));
    }

    /// Prints text without a time.
    pub(super) fn plain(&self, text: &str) {
        println!("{text}");
    }

    /// The end of the story.
    pub(super) fn table(&self, rows: &[Row]) {
        self.chapter("What happened");
        print!("{}", sheet::render(["what happened", "where", "how long", "why"], rows));
        println!("\nEach step happened. Times run from the answer to whoever made the change to the moment");
        println!("at which a watch on Secrets saw the result.");
    }

    /// A story that broke off.
    pub(super) fn failure(&self, error: &anyhow::Error, log: &str) {
        println!();
        for line in sheet::wrap(&format!("failed: {error:#}"), WIDTH) {
            println!("{}", self.toned(&line, Tone::Red));
        }
        println!("\nThe end of imps's log:");
        for entry in words::tail(log, LOG_LINES) {
            for (index, line) in sheet::wrap(&entry, WIDTH - 4).into_iter().enumerate() {
                println!("  {}{line}", if index == 0 { "" } else { "  " });
            }
        }
    }

    fn lines(&self, head: &str, text: &str, tone: Option<Tone>) {
        for (index, line) in sheet::wrap(text, WIDTH - MARGIN).into_iter().enumerate() {
            let head = if index == 0 { head } else { "" };
            let line = tone.map_or(line.clone(), |tone| self.toned(&line, tone));
            println!("{head:MARGIN$}{line}");
        }
        // Somebody watches: each line counts when it is spoken, in a pipe too.
        let _ = std::io::stdout().flush();
    }

    fn toned(&self, text: &str, tone: Tone) -> String {
        let code = match tone {
            Tone::Bold => "1",
            Tone::Faint => "2",
            Tone::Red => "31",
        };
        if self.coloured { format!("\x1b[{code}m{text}\x1b[0m") } else { text.to_owned() }
    }
}

/// `5.2 ms`, `120 ms`, `1.4 s`; what was seen before the answer took less than could be measured.
pub(super) fn short(took: Duration) -> String {
    let milliseconds = took.as_secs_f64() * 1000.0;
    match milliseconds {
        ..0.1 => "< 0.1 ms".to_owned(),
        ..10.0 => format!("{milliseconds:.1} ms"),
        ..1000.0 => format!("{milliseconds:.0} ms"),
        _ => format!("{:.1} s", took.as_secs_f64()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn short_times_are_told_in_the_unit_that_fits() {
        let told = [0, 5_240, 120_400, 1_400_000].map(|micros| short(Duration::from_micros(micros)));
        assert_eq!(told, ["< 0.1 ms", "5.2 ms", "120 ms", "1.4 s"]);
    }
}
