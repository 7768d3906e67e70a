//! How long work looks on a terminal: a live line there, a line now and then everywhere else.

use std::io::{IsTerminal, Write};
use std::time::{Duration, Instant};

use imps_testbed::plane_build::Progress;

/// How often a log gets a sign of life: often enough to see that it goes on, seldom enough to read.
const LOG_EVERY: Duration = Duration::from_secs(20);

/// Shows the progress of one piece of work on standard error.
pub(crate) struct Console {
    live: bool,
    /// Whether the live line is on the screen and must be cleared before anything else is printed.
    dirty: bool,
    told: Instant,
}

impl Console {
    /// For the standard error of this process.
    pub(crate) fn new() -> Self {
        Self { live: std::io::stderr().is_terminal(), dirty: false, told: Instant::now() }
    }

    /// Shows one piece of news of a build.
    pub(crate) fn show(&mut self, news: &Progress<'_>) {
        match news {
            Progress::Note(text) => self.line(&format!("  {text}")),
            Progress::Step { number, of, what } => self.begin(&format!("[{number}/{of}] {what}")),
            Progress::Still { elapsed, detail } => self.still(*elapsed, detail),
            Progress::Done { elapsed } => self.line(&format!("  done in {}", spoken(*elapsed))),
        }
    }

    /// Prints a line that begins a step.
    pub(crate) fn begin(&mut self, text: &str) {
        self.told = Instant::now();
        self.line(text);
    }

    /// Says that the step goes on, if it is time to.
    pub(crate) fn still(&mut self, elapsed: Duration, detail: &str) {
        let text = format!("  {} {detail}", spoken(elapsed));
        if self.live {
            // Cut, because a line that wraps cannot be overwritten.
            let text: String = text.chars().take(100).collect();
            eprint!("\r\x1b[K{text}");
            let _ = std::io::stderr().flush();
            self.dirty = true;
        } else if self.told.elapsed() >= LOG_EVERY {
            self.told = Instant::now();
            eprintln!("{text}");
        }
    }

    /// Prints a line of its own.
    pub(crate) fn line(&mut self, text: &str) {
        if std::mem::take(&mut self.dirty) {
            eprint!("\r\x1b[K");
        }
        eprintln!("{text}");
    }
}

/// A duration for a person: `0.4 s`, `12 s`, `4 min 16 s`.
pub(crate) fn spoken(duration: Duration) -> String {
    let seconds = duration.as_secs();
    match seconds {
        0..10 => format!("{:.1} s", duration.as_secs_f32()),
        10..60 => format!("{seconds} s"),
        _ => format!("{} min {:02} s", seconds / 60, seconds % 60),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_spoken_in_the_unit_that_fits() {
        assert_eq!(spoken(Duration::from_millis(412)), "0.4 s");
        assert_eq!(spoken(Duration::from_secs(12)), "12 s");
        assert_eq!(spoken(Duration::from_secs(256)), "4 min 16 s");
    }
}
