//! Logs: events with fields, JSON for machines, text for a terminal.

use std::io::IsTerminal;

use tracing_subscriber::EnvFilter;

use crate::args::LogFormat;

/// Targets that are held down whatever the level: kube's client prints whole answers when it cannot decode them, and an
/// answer may hold a Secret; its watcher quotes the server's words. What either has to say, `imps-cluster` says.
const MUZZLED: &str = "kube_client=off,kube_runtime=off,hyper=warn,hyper_util=warn,rustls=warn,tower=warn";

/// Starts logging to standard output. `level` is the original's vocabulary: panic, fatal, error, warn, warning, info,
/// debug, trace.
pub(crate) fn start(level: &str, format: LogFormat) -> Result<(), String> {
    let level = match level.to_ascii_lowercase().as_str() {
        "panic" | "fatal" | "error" => "error",
        "warn" | "warning" => "warn",
        "info" | "" => "info",
        "debug" => "debug",
        "trace" => "trace",
        _ => {
            return Err(format!(
                "log level {level:?} is none of panic, fatal, error, warn, info, debug, trace"
            ));
        }
    };
    let filter = EnvFilter::new(format!("{level},{MUZZLED}"));
    let text = match format {
        LogFormat::Auto => std::io::stdout().is_terminal(),
        LogFormat::Json => false,
        LogFormat::Text => true,
    };
    let builder = tracing_subscriber::fmt().with_env_filter(filter).with_target(false);
    if text {
        builder.with_ansi(std::io::stdout().is_terminal() && std::env::var_os("NO_COLOR").is_none()).init();
    } else {
        builder.json().flatten_event(true).with_current_span(false).with_span_list(false).init();
    }
    Ok(())
}
