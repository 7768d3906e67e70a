//! What the kernel tells of this process. What a system does not tell is left out.

use std::time::{SystemTime, UNIX_EPOCH};

use rustix::process::{Resource, getrlimit};
use rustix::time::{ClockId, clock_gettime};

use super::page::Page;
use super::series;

/// When the process started, in seconds since 1970. Taken by the program itself: the kernel counts from the boot, and
/// when that was depends on the wall clock of now.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Birth(f64);

impl Birth {
    /// It is now.
    pub(crate) fn now() -> Self {
        Self(SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs_f64())
    }
}

/// Shows the series of a process.
pub(crate) fn show(page: &mut Page, birth: Birth) {
    let time = clock_gettime(ClockId::ProcessCPUTime);
    page.say(series::CPU, time.tv_sec as f64 + time.tv_nsec as f64 / 1e9);
    page.say(series::START, birth.0);
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    page.say_if_known(series::RESIDENT, memory(&status, "VmRSS:"));
    page.say_if_known(series::VIRTUAL, memory(&status, "VmSize:"));
    // The folder is open itself while it is read.
    let open = std::fs::read_dir("/proc/self/fd").ok().map(|folder| folder.count().saturating_sub(1));
    page.say_if_known(series::OPEN_FDS, open);
    page.say_if_known(series::MAX_FDS, getrlimit(Resource::Nofile).current);
}

/// A line of `/proc/self/status` (man 5 proc): a number of kibibytes.
fn memory(status: &str, field: &str) -> Option<u64> {
    let line = status.lines().find_map(|line| line.strip_prefix(field))?;
    let kibibytes: u64 = line.trim().strip_suffix(" kB")?.parse().ok()?;
    Some(kibibytes * 1024)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memory_is_read_in_bytes_and_nothing_is_made_up() {
        let status = "Name:\timps\nVmSize:\t  123456 kB\nVmRSS:\t    2048 kB\nThreads:\t3\n";
        assert_eq!(
            (memory(status, "VmRSS:"), memory(status, "VmSize:")),
            (Some(2_097_152), Some(126_418_944))
        );
        assert_eq!((memory(status, "Threads:"), memory("", "VmRSS:")), (None, None));
    }
}
