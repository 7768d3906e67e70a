//! A wrong wall clock for one process: libfaketime, which is loaded before anything else and answers in the kernel's
//! place. Clocks that only measure how much time passes stay right.

use std::path::PathBuf;

use anyhow::Result;

use crate::registry::packages_without;
use crate::skip::Missing;

/// The program that tells that the library is there, and its package.
const PROGRAMS: [(&str, &str); 1] = [("faketime", "faketime")];

/// Debian packages that are needed and not here.
pub fn missing_packages() -> Vec<&'static str> {
    packages_without(&PROGRAMS)
}

/// The variables with which a process believes that it is so many hours later.
pub fn shifted(hours: i32) -> Result<Vec<(String, String)>> {
    let missing = missing_packages();
    if !missing.is_empty() {
        return Err(Missing::packages(&missing).into());
    }
    let folders = std::fs::read_dir("/usr/lib")?.flatten().map(|entry| entry.path());
    let mut libraries = folders.map(|folder| folder.join("faketime/libfaketimeMT.so.1"));
    let library: PathBuf = libraries
        .find(|path| path.is_file())
        .ok_or_else(|| anyhow::anyhow!("the package faketime is here, but not libfaketimeMT.so.1"))?;
    let pair = |name: &str, value: String| (name.to_owned(), value);
    Ok(vec![
        pair("LD_PRELOAD", library.display().to_string()),
        pair("FAKETIME", format!("{hours:+}h")),
        pair("FAKETIME_DONT_FAKE_MONOTONIC", "1".to_owned()),
        pair("DONT_FAKE_MONOTONIC", "1".to_owned()),
    ])
}
