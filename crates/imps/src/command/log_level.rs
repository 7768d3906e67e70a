//! `imps log-level`: a signal to a running imps.

use std::path::Path;
use std::process::ExitCode;

use rustix::process::{Pid, Signal, kill_process};

use super::Error;
use crate::args::{LevelChange, LogLevelArgs};

pub(super) fn run(args: LogLevelArgs) -> Result<ExitCode, Error> {
    let LogLevelArgs { change, pid } = args;
    let process = Pid::from_raw(pid).ok_or("0 is no process")?;
    // The signal would end most other programs.
    let program = std::fs::read_link(Path::new("/proc").join(pid.to_string()).join("exe"));
    let own = std::env::current_exe()?;
    if program.ok().as_deref() != Some(own.as_path()) {
        return Err(format!(
            "process {pid} does not run {}; name the one that does with --pid",
            own.display()
        )
        .into());
    }
    let signal = match change {
        LevelChange::Raise => Signal::USR1,
        LevelChange::Reset => Signal::USR2,
    };
    kill_process(process, signal)?;
    Ok(ExitCode::SUCCESS)
}
