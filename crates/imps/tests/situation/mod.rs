//! Situations of a cluster, a file of manifests each, that say in their heads what a test has to know of them.

use std::path::{Path, PathBuf};

/// The day of the situations.
pub(crate) const DAY: &str = "2026-01-31T12:00:00Z";

/// The files of a folder of tests, in the order of their names.
pub(crate) fn files(folder: &str) -> Vec<PathBuf> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests").join(folder);
    let mut files: Vec<PathBuf> =
        std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.retain(|path| path.extension().is_some_and(|extension| extension == "yaml"));
    files.sort();
    files
}

/// What the head of a file says behind a word.
pub(crate) fn head(path: &Path, word: &str) -> String {
    let text = std::fs::read_to_string(path).unwrap();
    let line = text.lines().find_map(|line| line.strip_prefix(&format!("# {word}: ")));
    line.unwrap_or_else(|| panic!("{} does not say its {word}", path.display())).to_owned()
}

/// The arguments that it asks for.
pub(crate) fn arguments(path: &Path) -> Vec<String> {
    head(path, "arguments").split(' ').map(str::to_owned).collect()
}
