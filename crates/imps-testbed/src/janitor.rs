//! A small process that outlives us for a moment: it ends our children and removes their folder when we die.
//!
//! A test run can be killed hard, and values in statics are never dropped, so `Drop` is not enough. The janitor
//! reads from a pipe of which only we hold the other end; when we end, however we end, the kernel closes it.
//! The kernel's own "signal me when my parent dies" is no help here: it fires when the *thread* ends that started
//! the child, and each test has its own thread.

use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Child, Command, Stdio};

use anyhow::{Context, Result};

/// The file whose presence makes the janitor leave the folder in place.
pub(crate) const KEEP: &str = "keep";

/// The file that names a cgroup to be removed, in each hierarchy that has it.
pub(crate) const CGROUP: &str = "cgroup";

/// A pid in a pid file is ours: as long as we live we hold the unreaped child, and we remove the file when we reap
/// it, so a number can only be reused in the instant between our death and this script. A cgroup can be removed when
/// the last process in it is gone, which is a moment after it was killed.
const SCRIPT: &str = r#"
read -r _
for file in "$1"/*.pid; do
    [ -f "$file" ] && kill -KILL "$(cat "$file")"
done
if [ -s "$1/cgroup" ]; then
    name=$(cat "$1/cgroup")
    tries=0
    for hierarchy in /sys/fs/cgroup /sys/fs/cgroup/*; do
        while [ -d "$hierarchy/$name" ] && [ "$tries" -lt 200 ]; do
            find "$hierarchy/$name" -depth -type d -exec rmdir {} \;
            if [ -d "$hierarchy/$name" ]; then sleep 0.05; fi
            tries=$((tries + 1))
        done
    done
fi
[ -e "$1/keep" ] || rm -rf "$1"
"#;

/// Watches over one folder until dropped.
pub(crate) struct Janitor {
    process: Child,
}

impl Janitor {
    /// Starts to watch over the processes whose pid files are in `folder`.
    pub(crate) fn watch(folder: &Path) -> Result<Self> {
        let process = Command::new("sh")
            .args(["-c", SCRIPT, "imps-janitor"])
            .arg(folder)
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            // An interrupt at the terminal must not reach it.
            .process_group(0)
            .spawn()
            .context("cannot start a shell that cleans up after this process")?;
        Ok(Self { process })
    }
}

impl Janitor {
    /// Sends it away without doing its work.
    pub(crate) fn dismiss(mut self) {
        // It can only have ended already, which is what is wanted.
        let _ = self.process.kill();
    }
}

impl Drop for Janitor {
    fn drop(&mut self) {
        drop(self.process.stdin.take());
        // It does its work and ends; waiting for it leaves no zombie and no folder behind.
        let _ = self.process.wait();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    #[test]
    fn it_ends_what_the_pid_files_name_and_removes_the_folder() {
        let folder = tempfile::tempdir().expect("a folder").keep();
        let mut sleeper = Command::new("sleep").arg("20").spawn().expect("starts");
        fs::write(folder.join("sleeper.pid"), sleeper.id().to_string()).expect("written");
        drop(Janitor::watch(&folder).expect("starts"));
        assert!(!sleeper.wait().expect("ended").success());
        assert!(!folder.exists());
    }

    #[test]
    fn a_dismissed_one_does_nothing() {
        let folder = tempfile::tempdir().expect("a folder");
        Janitor::watch(folder.path()).expect("starts").dismiss();
        assert!(folder.path().exists());
    }

    #[test]
    fn it_leaves_a_folder_that_is_to_be_kept() {
        let folder = tempfile::tempdir().expect("a folder");
        fs::write(folder.path().join(KEEP), "").expect("written");
        drop(Janitor::watch(folder.path()).expect("starts"));
        assert!(folder.path().exists());
    }
}
