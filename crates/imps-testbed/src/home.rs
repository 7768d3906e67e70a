//! The folder of something that runs: on memory where there is room, gone at the end unless it is to be kept.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use tempfile::TempDir;

use crate::janitor::KEEP;

/// etcd's database stays below 200 MiB in tests and half a GiB in benchmarks; less room than this is for others.
const SHARED_MEMORY_FREE_MIN: u64 = 2 << 30;

/// Where the files are and what becomes of them.
pub(crate) enum Home {
    /// Removed when dropped, unless marked.
    Temporary(TempDir),
    /// Of the caller's choice, and the caller's to remove.
    Fixed(PathBuf),
}

impl Home {
    /// A new folder whose name starts with `prefix`.
    pub(crate) fn temporary(prefix: &str) -> Result<Self> {
        let mut builder = tempfile::Builder::new();
        builder.prefix(prefix);
        let shared_memory = Path::new("/dev/shm");
        let folder = if free_bytes(shared_memory) > SHARED_MEMORY_FREE_MIN {
            builder.tempdir_in(shared_memory)
        } else {
            builder.tempdir()
        };
        Ok(Self::Temporary(folder.context("cannot make a folder for what is started")?))
    }

    pub(crate) fn path(&self) -> &Path {
        match self {
            Self::Temporary(folder) => folder.path(),
            Self::Fixed(folder) => folder,
        }
    }

    /// Marks the folder, so that neither we nor the janitor remove it.
    pub(crate) fn keep(&self) -> Result<()> {
        fs::write(self.path().join(KEEP), "").context("cannot mark a folder to be kept")
    }
}

impl Drop for Home {
    fn drop(&mut self) {
        if let Self::Temporary(folder) = self {
            folder.disable_cleanup(folder.path().join(KEEP).exists());
        }
    }
}

/// Free room of a file system; none if it is not there.
fn free_bytes(folder: &Path) -> u64 {
    rustix::fs::statvfs(folder).map_or(0, |room| room.f_bavail.saturating_mul(room.f_frsize))
}
