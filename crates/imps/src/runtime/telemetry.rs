//! Logs: events with fields, JSON for machines, text for a terminal; and how much is said, also while the program runs.

use std::io::IsTerminal;
use std::sync::{Arc, Mutex, PoisonError};

use tokio::signal::unix::{SignalKind, signal};
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;
use tracing_subscriber::{EnvFilter, Layer, Registry, reload};

use crate::args::LogFormat;

/// Targets that are held down whatever the level: kube's client prints whole answers when it cannot decode them, and an
/// answer may hold a Secret; its watcher quotes the server's words. What either has to say, `imps-cluster` says.
const MUZZLED: &str = "kube_client=off,kube_runtime=off,hyper=warn,hyper_util=warn,rustls=warn,tower=warn";

/// From what always matters to everything.
const LEVELS: [&str; 5] = ["error", "warn", "info", "debug", "trace"];

/// The log while it is written.
#[derive(Clone, Debug)]
pub(crate) struct Telemetry {
    filter: reload::Handle<EnvFilter, Registry>,
    /// Places in [`LEVELS`]: at the start, and now.
    initial: usize,
    present: Arc<Mutex<usize>>,
    #[cfg(feature = "otel")]
    traces: Option<super::traces::Traces>,
}

/// What is done with spans and events.
type Outlet = Box<dyn Layer<Registry> + Send + Sync>;

/// Starts logging to standard output. `level` is the original's vocabulary: panic, fatal, error, warn, warning, info,
/// debug, trace.
pub(crate) fn start(level: &str, format: LogFormat) -> Result<Telemetry, String> {
    let level = place(level)?;
    let text = match format {
        LogFormat::Auto => std::io::stdout().is_terminal(),
        LogFormat::Json => false,
        LogFormat::Text => true,
    };
    let layer = tracing_subscriber::fmt::layer().with_target(false);
    let layer = if text {
        layer.with_ansi(std::io::stdout().is_terminal() && std::env::var_os("NO_COLOR").is_none()).boxed()
    } else {
        layer.json().flatten_event(true).with_current_span(false).with_span_list(false).boxed()
    };
    let (telemetry, log) = Telemetry::over(layer, level);
    #[cfg(feature = "otel")]
    let (telemetry, traces) = telemetry.with_traces(super::traces::Traces::begin()?);
    #[cfg(not(feature = "otel"))]
    let traces: Option<Outlet> = None;
    let outlets: Vec<Outlet> = std::iter::once(log).chain(traces).collect();
    tracing_subscriber::registry().with(outlets).init();
    Ok(telemetry)
}

impl Telemetry {
    /// Lets a layer say what this level allows.
    fn over(layer: Outlet, level: usize) -> (Self, Outlet) {
        let (filter, handle) = reload::Layer::new(filter(level));
        let telemetry = Self {
            filter: handle,
            initial: level,
            present: Arc::new(Mutex::new(level)),
            #[cfg(feature = "otel")]
            traces: None,
        };
        (telemetry, layer.with_filter(filter).boxed())
    }

    #[cfg(feature = "otel")]
    fn with_traces(self, traces: Option<super::traces::Traces>) -> (Self, Option<Outlet>) {
        let outlet = traces.as_ref().map(super::traces::Traces::layer);
        (Self { traces, ..self }, outlet)
    }

    /// Sends what is still to be sent.
    pub(crate) fn end(&self) {
        #[cfg(feature = "otel")]
        self.traces.iter().for_each(super::traces::Traces::end);
    }

    /// Says more from now on, one step.
    fn raise(&self) {
        self.change(|present| (present + 1).min(LEVELS.len() - 1));
    }

    /// Says as much as at the start.
    fn reset(&self) {
        self.change(|_| self.initial);
    }

    fn change(&self, next: impl FnOnce(usize) -> usize) {
        let mut present = self.present.lock().unwrap_or_else(PoisonError::into_inner);
        *present = next(*present);
        // It fails when nothing is logged any more, and then there is nobody to tell.
        let _ = self.filter.reload(filter(*present));
        tracing::warn!(log_level = LEVELS[*present], "log level changed by a signal");
    }

    /// Raises the level at each SIGUSR1 and resets it at SIGUSR2, as long as the runtime runs. Until it is called
    /// either signal ends the process.
    pub(crate) fn obey_signals(&self) -> std::io::Result<()> {
        let telemetry = self.clone();
        let mut raise = signal(SignalKind::user_defined1())?;
        let mut reset = signal(SignalKind::user_defined2())?;
        tokio::spawn(async move {
            loop {
                tokio::select! {
                    Some(()) = raise.recv() => telemetry.raise(),
                    Some(()) = reset.recv() => telemetry.reset(),
                    else => return,
                }
            }
        });
        Ok(())
    }
}

/// The place of a word in [`LEVELS`].
fn place(level: &str) -> Result<usize, String> {
    let word = match level.to_ascii_lowercase().as_str() {
        "panic" | "fatal" => "error",
        "warning" => "warn",
        "" => "info",
        word => LEVELS.into_iter().find(|level| *level == word).ok_or_else(|| {
            format!("log level {level:?} is none of panic, fatal, error, warn, info, debug, trace")
        })?,
    };
    Ok(LEVELS.into_iter().position(|level| level == word).expect("each of these words is a level"))
}

fn filter(level: usize) -> EnvFilter {
    EnvFilter::new(format!("{},{MUZZLED}", LEVELS[level]))
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;

    #[test]
    fn the_original_s_words_are_understood_and_others_are_not() {
        let levels = ["panic", "fatal", "error", "WARN", "warning", "", "info", "debug", "Trace"].map(place);
        assert_eq!(levels.map(Result::unwrap), [0, 0, 0, 1, 1, 2, 2, 3, 4]);
        assert!(place("loud").unwrap_err().contains("\"loud\""));
    }

    #[derive(Clone, Default)]
    struct Paper(Arc<Mutex<Vec<u8>>>);

    impl Write for Paper {
        fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
            self.0.lock().unwrap().write(bytes)
        }

        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }

    impl Paper {
        fn take(&self) -> String {
            String::from_utf8(std::mem::take(&mut self.0.lock().unwrap())).unwrap()
        }
    }

    /// Each of ours says its level; those that are held down say what nobody may read.
    fn chat() {
        tracing::error!("ours at 0");
        tracing::warn!("ours at 1");
        tracing::info!("ours at 2");
        tracing::debug!("ours at 3");
        tracing::trace!("ours at 4");
        tracing::error!(target: "kube_client::client", "canary of an answer");
        tracing::trace!(target: "kube_client::client", "canary of an answer");
        tracing::error!(target: "kube_runtime::watcher", "canary of the server's words");
        tracing::debug!(target: "kube_runtime::watcher", "canary of the server's words");
        tracing::info!(target: "hyper", "canary of a header");
        tracing::debug!(target: "hyper_util::client", "canary of a header");
        tracing::trace!(target: "rustls::conn", "canary of a key");
        tracing::trace!(target: "tower::buffer", "canary of a request");
    }

    #[test]
    fn the_level_rises_step_by_step_and_falls_back_and_what_is_held_down_stays_down() {
        let paper = Paper::default();
        let writer = paper.clone();
        let layer = tracing_subscriber::fmt::layer().with_ansi(false).with_writer(move || writer.clone());
        let (telemetry, layer) = Telemetry::over(layer.boxed(), 0);
        tracing::subscriber::with_default(tracing_subscriber::registry().with(layer), || {
            let heard = || {
                chat();
                let text = paper.take();
                assert!(!text.contains("canary"), "{text}");
                (0..LEVELS.len()).take_while(|level| text.contains(&format!("ours at {level}"))).count()
            };
            assert_eq!(heard(), 1);
            // Louder than everything there is not.
            for expected in [2, 3, 4, 5, 5] {
                telemetry.raise();
                assert_eq!(heard(), expected);
            }
            telemetry.reset();
            assert_eq!(heard(), 1);
            telemetry.raise();
            assert_eq!(heard(), 2, "from the start again");
        });
    }
}
