//! This program once more, in network, mount and process namespaces of its own.
//!
//! Whatever is started in there ends with it, however it ends: the kernel kills a process namespace when its first
//! process dies, and that one dies with the `unshare` that we hold.

use std::ffi::OsString;
use std::fs;
use std::path::Path;
use std::process::{Command, ExitStatus, Stdio};

use anyhow::{Context, Result, ensure};

use crate::daemon::{Daemon, LOOK_EVERY};
use crate::home::Home;
use crate::janitor::{CGROUP, Janitor};
use crate::names::fresh_name;

/// Set inside, to the name of the cgroup for what runs there.
const VARIABLE: &str = "IMPS_NODE_CGROUP";

/// The address inside that is not 127.0.0.1; reachable from inside only.
pub(super) const ADDRESS: &str = "10.99.0.1";

/// The new namespaces. /proc is mounted anew, so that it shows what runs inside.
const UNSHARE: [&str; 7] = ["--net", "--mount", "--pid", "--fork", "--kill-child", "--mount-proc", "--"];

/// What is tried to see whether the kernel lets us.
const PROBE: &str = "mount -t tmpfs tmpfs /run";

/// Runs as the first process inside: makes the place ready and then runs the rest of its arguments. It stays, to bury
/// what is orphaned.
///
/// Folders that these programs write to, however they are configured, are hidden by empty ones in memory. The settings
/// of the kernel that the kubelet insists on are shown to it as they should be; the real ones stay as they are.
const ENTER: &str = r#"
set -eu
cd "$1"
export IMPS_NODE_CGROUP="$2" TMPDIR=/dev/shm
address=$3
shift 3
ip link set lo up
ip address add "$address/32" dev lo
for folder in /dev/shm /run /var/lib /var/log; do
    mount -t tmpfs -o mode=0755 tmpfs "$folder"
done
mkdir /run/kernel-settings
for setting in vm/overcommit_memory=1 vm/panic_on_oom=0 kernel/panic=10 kernel/panic_on_oops=1 \
    kernel/keys/root_maxkeys=1000000 kernel/keys/root_maxbytes=25000000
do
    name=${setting%=*}
    [ -e "/proc/sys/$name" ] || continue
    shown=/run/kernel-settings/$(echo "$name" | tr / .)
    echo "${setting#*=}" > "$shown"
    mount --bind "$shown" "/proc/sys/$name"
done
for hierarchy in /sys/fs/cgroup /sys/fs/cgroup/*; do
    if [ -e "$hierarchy/cgroup.procs" ]; then mkdir -p "$hierarchy/$IMPS_NODE_CGROUP"; fi
done
"$@"
exit $?
"#;

/// Where the output of what runs inside goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Output {
    /// Where ours goes.
    Ours,
    /// To a log, for [`Unshared::log`].
    Log,
}

/// This program as it runs inside. It ends when this is dropped and when this process dies, and all that it started
/// with it; then its cgroup is removed.
pub struct Unshared {
    // Fields are dropped in this order.
    daemon: Daemon,
    _janitor: Janitor,
    _home: Home,
}

impl Unshared {
    /// Whether this process is the one inside.
    #[must_use]
    pub fn is_inside() -> bool {
        cgroup().is_some()
    }

    /// Runs this program inside, with these arguments.
    pub fn start(arguments: &[OsString], output: Output) -> Result<Self> {
        Self::start_in(arguments, output, &[])
    }

    /// As [`start`](Self::start), with these variables in its environment.
    pub fn start_in(
        arguments: &[OsString],
        output: Output,
        environment: &[(OsString, OsString)],
    ) -> Result<Self> {
        ensure!(!Self::is_inside(), "this process is inside already");
        let program = std::env::current_exe().context("this program has no path")?;
        let folder = std::env::current_dir().context("there is no current folder")?;
        let cgroup = fresh_name("imps-node");
        let home = Home::temporary("imps-unshared-")?;
        fs::write(home.path().join(CGROUP), &cgroup).context("cannot write down the cgroup")?;
        let mut all: Vec<OsString> = UNSHARE.map(OsString::from).to_vec();
        all.extend(["sh", "-c", ENTER, "imps-unshared"].map(OsString::from));
        all.extend([folder.into(), cgroup.into(), ADDRESS.into(), program.into()]);
        all.extend_from_slice(arguments);
        let daemon = Daemon::new("unshare", Path::new("unshare"), home.path(), all);
        let daemon = daemon.in_environment(environment.to_vec());
        let daemon = if output == Output::Ours { daemon.aloud() } else { daemon };
        let unshared = Self { _janitor: Janitor::watch(home.path())?, daemon, _home: home };
        unshared.daemon.start()?;
        Ok(unshared)
    }

    /// Waits for its end.
    pub async fn end(&self) -> Result<ExitStatus> {
        loop {
            if let Some(status) = self.daemon.ended()? {
                return Ok(status);
            }
            tokio::time::sleep(LOOK_EVERY).await;
        }
    }

    /// All that it has printed to its log.
    #[must_use]
    pub fn log(&self) -> String {
        fs::read_to_string(self.daemon.log()).unwrap_or_default()
    }
}

/// The name of the cgroup, inside.
pub(super) fn cgroup() -> Option<String> {
    std::env::var(VARIABLE).ok().filter(|name| !name.is_empty())
}

/// Whether the kernel lets us in.
pub(super) fn probe() -> Result<()> {
    let output = Command::new("unshare")
        .args(UNSHARE)
        .args(["sh", "-c", PROBE])
        .stdin(Stdio::null())
        .output()
        .context("cannot run unshare")?;
    ensure!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr).trim());
    Ok(())
}
