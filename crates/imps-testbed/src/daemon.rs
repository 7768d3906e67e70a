//! One child process that runs in the background: its log, its pid file, its signals and its end.

use std::ffi::OsString;
use std::fs::{self, File, OpenOptions};
use std::io::{Read, Seek, SeekFrom, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::Mutex;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
pub(crate) use rustix::process::Signal;
use rustix::process::{Pid, WaitId, WaitIdOptions, kill_process, waitid};

/// How often a server that starts or ends is looked at. A look costs microseconds; a start takes seconds.
pub(crate) const LOOK_EVERY: Duration = Duration::from_millis(25);

/// A process freezes within milliseconds; on a busy machine within tenths of a second.
const PAUSED_WITHIN: Duration = Duration::from_secs(10);

/// How much of a log a failure shows: the reason is nearly always in the last screen.
const TAIL_LINES: usize = 30;

/// A program with its arguments, which can be started, killed and started again.
pub(crate) struct Daemon {
    name: &'static str,
    program: PathBuf,
    arguments: Vec<OsString>,
    folder: PathBuf,
    /// Whether its output is ours, instead of in a log.
    aloud: bool,
    environment: Vec<(OsString, OsString)>,
    child: Mutex<Option<Child>>,
}

impl Daemon {
    /// Describes the program; nothing runs yet. Its log and its pid file go to `folder`.
    pub(crate) fn new(name: &'static str, program: &Path, folder: &Path, arguments: Vec<OsString>) -> Self {
        let (environment, child) = (Vec::new(), Mutex::new(None));
        Self {
            name,
            program: program.into(),
            arguments,
            folder: folder.into(),
            aloud: false,
            environment,
            child,
        }
    }

    /// The same, but what it prints goes where our own output goes.
    pub(crate) fn aloud(mut self) -> Self {
        self.aloud = true;
        self
    }

    /// The same, with these variables beside those of this process.
    pub(crate) fn in_environment(mut self, environment: Vec<(OsString, OsString)>) -> Self {
        self.environment = environment;
        self
    }

    pub(crate) fn name(&self) -> &'static str {
        self.name
    }

    pub(crate) fn program(&self) -> &Path {
        &self.program
    }

    /// Starts the program unless it runs.
    pub(crate) fn start(&self) -> Result<()> {
        let mut slot = self.slot();
        if slot.is_some() {
            return Ok(());
        }
        let log = OpenOptions::new()
            .create(true)
            .append(true)
            .open(self.log())
            .context("cannot open a log file")?;
        let mut command = Command::new(&self.program);
        if !self.aloud {
            command.stdout(log.try_clone().context("cannot share a log file")?).stderr(log);
        }
        let child = command
            .args(&self.arguments)
            .current_dir(&self.folder)
            // Half a second less at start for about 100 MiB more: a good trade for a server that lives for minutes.
            .env("GOGC", "400")
            .envs(self.environment.iter().cloned())
            .stdin(Stdio::null())
            // Its own group, so that an interrupt at the terminal reaches us first and we end it in order.
            .process_group(0)
            .spawn()
            .with_context(|| format!("cannot start {} ({})", self.name, self.program.display()))?;
        fs::write(self.pid_file(), child.id().to_string()).context("cannot write a pid file")?;
        *slot = Some(child);
        Ok(())
    }

    /// The process number, if it was started and not ended by us.
    pub(crate) fn pid(&self) -> Option<u32> {
        self.slot().as_ref().map(Child::id)
    }

    /// How it ended, if it ended by itself.
    pub(crate) fn ended(&self) -> Result<Option<ExitStatus>> {
        let mut slot = self.slot();
        let Some(child) = slot.as_mut() else { return Ok(None) };
        let ended = child.try_wait().with_context(|| format!("cannot look at {}", self.name))?;
        if ended.is_some() {
            self.forget(&mut slot);
        }
        Ok(ended)
    }

    /// Freezes the process and returns when it is frozen: its threads run on for a moment after the signal was sent.
    pub(crate) fn pause(&self) -> Result<()> {
        self.signal(Signal::STOP)?;
        let pid = self.pid().and_then(process_number).context("a process that was signalled has a number")?;
        let begun = Instant::now();
        while begun.elapsed() < PAUSED_WITHIN {
            // Asks for stops only, so the end of the process stays for `ended` to see.
            let look = waitid(WaitId::Pid(pid), WaitIdOptions::STOPPED | WaitIdOptions::NOHANG);
            if look.with_context(|| format!("cannot look at {}", self.name))?.is_some() {
                return Ok(());
            }
            std::thread::sleep(Duration::from_millis(1));
        }
        bail!("{} does not freeze", self.name)
    }

    /// Lets a frozen process go on.
    pub(crate) fn resume(&self) -> Result<()> {
        self.signal(Signal::CONT)
    }

    /// Sends a signal to the process, which must run.
    pub(crate) fn signal(&self, signal: Signal) -> Result<()> {
        let pid = self.pid().with_context(|| format!("{} does not run", self.name))?;
        send(pid, signal).with_context(|| format!("cannot signal {}", self.name))
    }

    /// Ends the process at once; does nothing when it does not run.
    pub(crate) fn kill(&self) {
        let mut slot = self.slot();
        if let Some(child) = slot.as_mut() {
            // Both can only fail when it has ended already, which is what is wanted.
            let _ = child.kill();
            let _ = child.wait();
            self.forget(&mut slot);
        }
    }

    /// Asks the process to end, waits for at most `grace`, then kills it.
    pub(crate) async fn stop(&self, grace: Duration) {
        if self.pid().is_none() {
            return;
        }
        // A paused process cannot hear the request to end.
        let _ = self.signal(Signal::CONT);
        let _ = self.signal(Signal::TERM);
        let until = Instant::now() + grace;
        while Instant::now() < until {
            if self.pid().is_none() || self.ended().is_ok_and(|ended| ended.is_some()) {
                return;
            }
            tokio::time::sleep(LOOK_EVERY).await;
        }
        self.kill();
    }

    /// Looks again and again until it holds.
    ///
    /// # Errors
    ///
    /// When the process ends or time is up, with the end of the log.
    pub(crate) async fn wait_until<F: Future<Output = bool>>(
        &self,
        within: Duration,
        what: &str,
        mut holds: impl FnMut() -> F,
    ) -> Result<()> {
        let begun = Instant::now();
        while !holds().await {
            if let Some(status) = self.ended()? {
                bail!("{} ended with {status}. The end of its log:\n{}", self.name, self.log_tail());
            }
            if begun.elapsed() > within {
                let seconds = within.as_secs();
                bail!(
                    "{} did not {what} within {seconds} s. The end of its log:\n{}",
                    self.name,
                    self.log_tail()
                );
            }
            tokio::time::sleep(LOOK_EVERY).await;
        }
        Ok(())
    }

    /// Lets the process live on when this value is dropped.
    pub(crate) fn release(&self) {
        self.slot().take();
    }

    /// The file that gets everything the process prints.
    pub(crate) fn log(&self) -> PathBuf {
        self.folder.join(format!("{}.log", self.name))
    }

    /// The end of the log, for a person.
    pub(crate) fn log_tail(&self) -> String {
        tail(&self.log(), TAIL_LINES)
    }

    fn pid_file(&self) -> PathBuf {
        self.folder.join(format!("{}.pid", self.name))
    }

    fn forget(&self, slot: &mut Option<Child>) {
        *slot = None;
        // The janitor kills by pid file, so none may outlive its process.
        let _ = fs::remove_file(self.pid_file());
    }

    fn slot(&self) -> std::sync::MutexGuard<'_, Option<Child>> {
        self.child.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        self.kill();
    }
}

/// Sends a signal to a process by its number.
pub(crate) fn send(pid: u32, signal: Signal) -> Result<()> {
    let pid = process_number(pid).context("not a process number")?;
    Ok(kill_process(pid, signal)?)
}

fn process_number(pid: u32) -> Option<Pid> {
    i32::try_from(pid).ok().and_then(Pid::from_raw)
}

/// Whether this process exists and runs this program: a number alone may have been given to another since.
pub(crate) fn runs(pid: u32, program: &Path) -> bool {
    if let Ok(running) = fs::read_link(format!("/proc/{pid}/exe")) {
        // The kernel adds this when the file was replaced while the program ran.
        let running = running.to_string_lossy();
        return Path::new(running.trim_end_matches(" (deleted)")) == program;
    }
    if Path::new("/proc/self/exe").exists() {
        return false;
    }
    let output = Command::new("ps").args(["-o", "comm=", "-p", &pid.to_string()]).output();
    let running = output.map(|output| String::from_utf8_lossy(&output.stdout).trim().to_owned());
    running.is_ok_and(|running| !running.is_empty() && Path::new(&running).file_name() == program.file_name())
}

/// Writes a file that only its owner can read.
pub(crate) fn write_private(path: &Path, text: &str) -> Result<()> {
    let mut options = OpenOptions::new();
    let file = options.write(true).create(true).truncate(true).mode(0o600).open(path);
    file.and_then(|mut file| file.write_all(text.as_bytes()))
        .with_context(|| format!("cannot write {}", path.display()))
}

/// The last lines of a text file; an unreadable one says so.
pub(crate) fn tail(path: &Path, lines: usize) -> String {
    // Far more than 30 lines of log, and little enough to read at once.
    const WINDOW: u64 = 64 * 1024;
    let read = || -> std::io::Result<String> {
        let mut file = File::open(path)?;
        let length = file.metadata()?.len();
        file.seek(SeekFrom::Start(length.saturating_sub(WINDOW)))?;
        let mut bytes = Vec::new();
        file.read_to_end(&mut bytes)?;
        Ok(String::from_utf8_lossy(&bytes).into_owned())
    };
    match read() {
        Ok(text) => last_lines(&text, lines),
        Err(error) => format!("({} cannot be read: {error})", path.display()),
    }
}

/// The last lines of a text.
pub(crate) fn last_lines(text: &str, lines: usize) -> String {
    let all: Vec<&str> = text.lines().collect();
    all[all.len().saturating_sub(lines)..].join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_tail_is_the_end_of_the_text() {
        assert_eq!(last_lines("a\nb\nc\n", 2), "b\nc");
        assert_eq!(last_lines("a", 2), "a");
    }

    #[test]
    fn a_paused_process_stands_still_until_it_is_resumed() {
        let folder = tempfile::tempdir().expect("a folder");
        let script = "while :; do echo >> beat; done";
        let arguments = vec!["-c".into(), script.into()];
        let daemon = Daemon::new("sh", Path::new("sh"), folder.path(), arguments);
        let beats = || fs::metadata(folder.path().join("beat")).map_or(0, |file| file.len());
        let moves = |since: u64| (0..10_000).any(|_| beats() > since);
        daemon.start().expect("starts");
        while beats() == 0 {}
        daemon.pause().expect("pauses");
        let paused = beats();
        assert!(!moves(paused));
        daemon.resume().expect("resumes");
        while !moves(paused) {}
        daemon.pause().expect("pauses again");
        daemon.kill();
    }

    #[test]
    fn a_process_is_known_by_its_number_and_its_program() {
        let own = std::env::current_exe().and_then(fs::canonicalize).expect("a program");
        assert!(runs(std::process::id(), &own));
        assert!(!runs(std::process::id(), Path::new("/usr/bin/etcd")));
        assert!(!runs(u32::MAX, &own));
    }

    #[test]
    fn a_process_that_ends_by_itself_is_noticed_and_leaves_no_pid_file() {
        let folder = tempfile::tempdir().expect("a folder");
        let daemon = Daemon::new("true", Path::new("true"), folder.path(), vec![]);
        daemon.start().expect("starts");
        assert!(folder.path().join("true.pid").exists());
        let ended = (0..400).find_map(|_| {
            std::thread::sleep(LOOK_EVERY);
            daemon.ended().expect("can be looked at")
        });
        assert!(ended.expect("ends").success());
        assert!(!folder.path().join("true.pid").exists());
        assert_eq!(daemon.pid(), None);
    }
}
