//! Where a build comes from: the version, the commit and its time, and a copy of the tree to build a second time.

use std::fs;
use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result};

use crate::workspace::{output_of, root};

/// All crates have the version of the workspace.
pub(crate) const VERSION: &str = env!("CARGO_PKG_VERSION");

/// The commit that is built.
#[derive(Clone, Debug)]
pub(crate) struct Origin {
    /// Its hash; with `-dirty` when the tree is not as it is there.
    pub(crate) revision: String,
    /// Its time, in seconds since 1970; `SOURCE_DATE_EPOCH` wins.
    pub(crate) timestamp: i64,
}

impl Origin {
    /// Asks git.
    pub(crate) fn read() -> Result<Self> {
        let mut revision = git(&["rev-parse", "HEAD"])?.trim().to_owned();
        if !git(&["status", "--porcelain"])?.trim().is_empty() {
            revision.push_str("-dirty");
        }
        let timestamp = match std::env::var("SOURCE_DATE_EPOCH") {
            Ok(seconds) => seconds,
            Err(_) => git(&["log", "-1", "--format=%ct"])?,
        };
        let timestamp = timestamp.trim().parse().context("SOURCE_DATE_EPOCH is no number of seconds")?;
        Ok(Self { revision, timestamp })
    }

    /// Its time as documents write it.
    pub(crate) fn time(&self) -> Result<String> {
        Ok(jiff::Timestamp::from_second(self.timestamp).context("not a time")?.to_string())
    }
}

/// Copies every file that git knows or would know to a folder.
pub(crate) fn copy_tree(to: &Path) -> Result<()> {
    let names = git(&["ls-files", "-z", "--cached", "--others", "--exclude-standard"])?;
    for name in names.split('\0').filter(|name| !name.is_empty()) {
        let (from, to) = (root().join(name), to.join(name));
        // Deleted but not yet staged, or a link to a folder.
        if !from.is_file() {
            continue;
        }
        let folder = to.parent().context("a file is in a folder")?;
        fs::create_dir_all(folder)
            .and_then(|()| fs::copy(&from, &to))
            .with_context(|| format!("cannot copy {name} to {}", to.display()))?;
    }
    Ok(())
}

fn git(arguments: &[&str]) -> Result<String> {
    output_of(Command::new("git").args(arguments).current_dir(root()))
}
