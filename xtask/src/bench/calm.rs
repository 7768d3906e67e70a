//! When nothing changes: what imps asks of the server while idle and after a restart, and what it holds.

use std::time::{Duration, Instant};

use anyhow::Result;
use serde_json::json;

use super::page::{Finding, Others, Verdict};
use super::process::Usage;
use super::rig::Rig;
use super::spread::milliseconds;
use crate::console::{Console, spoken};

/// The last status is written within this time after the last change.
pub(super) const SETTLE: Duration = Duration::from_secs(3);
/// A restart that writes does so as soon as it has read everything.
const AFTER_RESTART: Duration = Duration::from_secs(5);

/// How much of a core it may use while nothing happens, in hundredths.
const IDLE_PERCENT: f64 = 0.1;
/// How much memory it may hold, in MiB, with so many namespaces.
fn memory_bar(namespaces: usize) -> u64 {
    if namespaces <= 2_000 { 25 } else { 40 }
}

/// Nothing happens, and nothing is to be asked: of a leader, that renews its Lease.
pub(super) async fn silence(rig: &mut Rig, span: Duration, console: &mut Console) -> Result<Vec<Finding>> {
    console.begin(&format!("nothing happens for {}", spoken(span)));
    tokio::time::sleep(SETTLE).await;
    rig.ledger.skip()?;
    let before = rig.usage()?;
    tokio::time::sleep(span).await;
    let usage = rig.usage()?;
    let account = rig.ledger.since()?;
    let cpu = usage.cpu - before.cpu;
    let percent = cpu.as_secs_f64() / span.as_secs_f64() * 100.0;
    let idle = Finding {
        key: "idle",
        what: format!("idle for {}: writes but the Lease, lists; a core", spoken(span)),
        imps: format!("{}, {}; {percent:.2} %", account.writes(), account.lists()),
        bar: format!("0, 0; {IDLE_PERCENT} %"),
        verdict: Verdict::of(account.writes() == 0 && account.lists() == 0 && percent < IDLE_PERCENT),
        others: "",
        figures: json!({"seconds": span.as_secs_f64(), "cpu_percent": percent, "requests": account.json()}),
    };
    let bar = memory_bar(rig.namespaces.len());
    let memory = Finding {
        bar: format!("{bar} MiB now"),
        verdict: Verdict::of(usage.resident_kib < bar * 1024),
        ..resources(&usage, "resources", "memory now, at most; processor so far")
    };
    Ok(vec![idle, memory])
}

/// What it took in all so far.
pub(super) fn resources(usage: &Usage, key: &'static str, what: &str) -> Finding {
    let mib = |kib: u64| kib / 1024;
    Finding {
        key,
        what: what.into(),
        imps: format!("{}, {} MiB; {}", mib(usage.resident_kib), mib(usage.peak_kib), spoken(usage.cpu)),
        bar: "–".into(),
        verdict: Verdict::Told,
        others: if key == "resources" { Others::MEMORY } else { "" },
        figures: json!({
            "resident_kib": usage.resident_kib, "peak_kib": usage.peak_kib,
            "cpu_seconds": usage.cpu.as_secs_f64(),
        }),
    }
}

/// The operator starts anew on the filled cluster, and finds everything as it should be.
pub(super) async fn restart(
    rig: &mut Rig,
    key: &'static str,
    what: &str,
    console: &mut Console,
) -> Result<Vec<Finding>> {
    console.begin("imps is restarted");
    rig.imps.terminate().await?;
    rig.ledger.skip()?;
    let begun = Instant::now();
    rig.imps.begin().await?;
    rig.imps.ready().await?;
    let took = begun.elapsed();
    tokio::time::sleep(AFTER_RESTART).await;
    let usage = rig.usage()?;
    let account = rig.ledger.since()?;
    let mib = usage.resident_kib / 1024;
    Ok(vec![Finding {
        key,
        what: format!("{what}: until ready; writes"),
        imps: format!("{:.0} ms; {}; {mib} MiB", milliseconds(took), account.writes()),
        bar: "0 writes".into(),
        verdict: Verdict::of(account.writes() == 0),
        others: "",
        figures: json!({
            "ready_ms": milliseconds(took), "writes": account.writes(), "requests": account.json(),
            "resident_kib": usage.resident_kib, "peak_kib": usage.peak_kib,
            "cpu_seconds": usage.cpu.as_secs_f64(),
        }),
    }])
}
