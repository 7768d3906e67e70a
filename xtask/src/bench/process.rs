//! What a process has used, as the kernel counts it.

use std::fs;
use std::time::Duration;

use anyhow::{Context, Result};

/// The kernel counts in hundredths of a second on every platform that has `/proc`.
const TICK: Duration = Duration::from_millis(10);

/// What one process has used so far.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Usage {
    /// User and system time.
    pub(super) cpu: Duration,
    /// Memory in use now, in KiB.
    pub(super) resident_kib: u64,
    /// The most memory that was ever in use, in KiB.
    pub(super) peak_kib: u64,
}

impl Usage {
    /// Of a running process.
    pub(super) fn of(pid: u32) -> Result<Self> {
        let read = |file: &str| {
            fs::read_to_string(format!("/proc/{pid}/{file}")).with_context(|| format!("cannot look at {pid}"))
        };
        let (stat, status) = (read("stat")?, read("status")?);
        let cpu = ticks(&stat).context("the kernel's account of a process is not as expected")?;
        let kib = |name: &str| kib(&status, name).unwrap_or_default();
        Ok(Self { cpu: TICK * cpu, resident_kib: kib("VmRSS:"), peak_kib: kib("VmHWM:") })
    }
}

/// Fields 14 and 15; the name in field 2 may hold spaces, so counting begins behind it.
fn ticks(stat: &str) -> Option<u32> {
    let mut fields = stat.rsplit_once(')')?.1.split_whitespace().skip(11);
    let user: u32 = fields.next()?.parse().ok()?;
    let system: u32 = fields.next()?.parse().ok()?;
    Some(user + system)
}

fn kib(status: &str, name: &str) -> Option<u64> {
    let line = status.lines().find_map(|line| line.strip_prefix(name))?;
    line.split_whitespace().next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_kernel_s_accounts_are_read() {
        assert_eq!(ticks("7 (a b) S 1 2 3 4 5 6 7 8 9 10 30 12 0 0"), Some(42));
        assert_eq!(kib("VmHWM:\t  10 kB\nVmRSS:\t  2100 kB\n", "VmRSS:"), Some(2100));
    }
}
