//! Archives whose bytes follow from what is in them and from nothing else, by GNU tar.

use std::path::Path;
use std::process::Command;

use anyhow::Result;

use crate::tool;

/// Packs these entries of a folder, folders with all that is in them. Everything in the archive has this time, in
/// seconds since 1970, and belongs to root. It is compressed when its name ends with `gz`.
pub fn pack(folder: &Path, entries: &[&str], timestamp: i64, file: &Path) -> Result<()> {
    let mut tar = Command::new("tar");
    tar.args(["--create", "--format=gnu", "--sort=name", "--owner=0", "--group=0", "--numeric-owner"]);
    // As if the umask were the usual one.
    tar.args(["--mode=u=rwX,go=rX", &format!("--mtime=@{timestamp}")]).env("LC_ALL", "C");
    if file.extension().is_some_and(|extension| extension == "gz" || extension == "tgz") {
        // Without the name and the time that gzip would write down.
        tar.arg("--use-compress-program=gzip --no-name --best");
    }
    tool::run(tar.arg("--file").arg(file).arg("--directory").arg(folder).arg("--").args(entries))
}

/// Unpacks an archive, compressed or not, into a folder that exists.
pub fn unpack(file: &Path, folder: &Path) -> Result<()> {
    tool::run(Command::new("tar").arg("--extract").arg("--file").arg(file).arg("--directory").arg(folder))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;
    use std::os::unix::fs::PermissionsExt;

    #[test]
    fn the_same_content_is_the_same_archive_whenever_and_however_it_was_written() {
        let packed = ["first", "second"].map(|place| {
            let folder = tempfile::tempdir().expect("a folder");
            let inside = folder.path().join("it");
            fs::create_dir(&inside).expect("made");
            let names = if place == "first" { ["a", "b"] } else { ["b", "a"] };
            for name in names {
                fs::write(inside.join(name), name).expect("written");
            }
            let mode = if place == "first" { 0o600 } else { 0o664 };
            fs::set_permissions(inside.join("a"), fs::Permissions::from_mode(mode)).expect("set");
            let time = if place == "first" { "1999-01-01" } else { "2022-02-02" };
            tool::run(Command::new("touch").args(["--date", time]).arg(inside.join("a"))).expect("touched");
            let file = folder.path().join("it.tar.gz");
            pack(folder.path(), &["it"], 1_700_000_000, &file).expect("packed");
            fs::read(file).expect("read")
        });
        assert!(!packed[0].is_empty());
        assert_eq!(packed[0], packed[1]);
    }
}
