//! The root file system of the image, file by file.

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Component, Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail, ensure};

use super::debian::Package;
use crate::tool;

/// Where the program is.
const PROGRAM: &str = "usr/bin/imps";

/// Names by which Deployments of the original, and of its refresher, call the program.
const LINKS: [&str; 2] = ["manager", "refresher"];

/// The libraries that the program may want, besides their loader. Whether another one is shipped is to be decided.
const LIBRARIES: [&str; 3] = ["libc.so.6", "libgcc_s.so.1", "libm.so.6"];

/// The package of the authorities that TLS trusts. Not the machine's own bundle, to which others may have been added.
const AUTHORITIES: &str = "ca-certificates";

/// Where that package has them. Elsewhere it has an example of one, which nobody should trust.
const AUTHORITIES_FOLDER: &str = "/usr/share/ca-certificates";

/// Where TLS looks for them.
const BUNDLE: &str = "etc/ssl/certs/ca-certificates.crt";

/// Files that are written here.
const WRITTEN: [(&str, &str); 3] = [
    // So that a pod's /etc/hosts wins over DNS.
    ("etc/nsswitch.conf", "hosts: files dns\n"),
    // The kubelet names the image's user to containerd, but not its group: that is looked up here, else it is root's.
    ("etc/passwd", "imps:x:65532:65532:imps:/:/sbin/nologin\n"),
    ("etc/group", "imps:x:65532:\n"),
];

/// Our own licence.
const LICENCE: &str = include_str!("../../../../LICENSE");

/// Makes it in this folder, and says where what is not ours is from.
pub(super) fn fill(root: &Path, program: &Path) -> Result<Vec<Package>> {
    make_folder(root)?;
    let read = |path: &Path| fs::read(path).with_context(|| format!("cannot read {}", path.display()));
    put(root, Path::new(PROGRAM), &read(program)?, 0o755)?;
    for link in LINKS {
        symlink(PROGRAM, root.join(link)).context("cannot make a link")?;
    }
    let mut packages = BTreeSet::new();
    let libraries = libraries(program)?;
    for library in &libraries {
        packages.insert(Package::of_file(library)?);
        // The loader is a program, too.
        put(root, library, &read(library)?, 0o755)?;
    }
    let authorities = Package::named(AUTHORITIES)?;
    let mut certificates = authorities.files()?;
    certificates.retain(|path| path.starts_with(AUTHORITIES_FOLDER));
    certificates.sort();
    ensure!(!certificates.is_empty(), "the package {AUTHORITIES} has no certificates");
    let bundle = certificates.iter().map(|path| read(path)).collect::<Result<Vec<_>>>()?.concat();
    put(root, Path::new(BUNDLE), &bundle, 0o644)?;
    packages.insert(authorities);
    for package in &packages {
        package.verify(&[libraries.as_slice(), &certificates].concat())?;
        let name = &package.name;
        put(root, &Path::new("licenses").join(name), &read(&package.licence())?, 0o644)?;
        let status = Path::new("var/lib/dpkg/status.d").join(name);
        put(root, &status, package.status()?.as_bytes(), 0o644)?;
    }
    put(root, Path::new("licenses/imps"), LICENCE.as_bytes(), 0o644)?;
    put(root, Path::new("etc/os-release"), &read(Path::new("/etc/os-release"))?, 0o644)?;
    for (path, text) in WRITTEN {
        put(root, Path::new(path), text.as_bytes(), 0o644)?;
    }
    Ok(packages.into_iter().collect())
}

/// The libraries of the program and their loader, by the paths at which they are looked for.
fn libraries(program: &Path) -> Result<Vec<PathBuf>> {
    let answer = tool::output_of(Command::new("ldd").arg(program).env("LC_ALL", "C"))?;
    // `name => path (address)`, or the path alone for the loader; the kernel's own library has none.
    let words = |line: &str| line.split_whitespace().find(|word| word.starts_with('/')).map(PathBuf::from);
    let mut found = Vec::new();
    for line in answer.lines() {
        ensure!(!line.contains("not found"), "{} cannot run here: {}", program.display(), line.trim());
        let Some(path) = words(line) else { continue };
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        if !LIBRARIES.contains(&&*name) && !name.starts_with("ld-linux") {
            bail!(
                "{} wants {name}, which the image does not have: do without it, or add it to LIBRARIES in \
                 shipped_image/root.rs",
                program.display()
            );
        }
        found.push(path);
    }
    Ok(found)
}

/// Writes a file below the root with this mode, whatever the umask.
fn put(root: &Path, path: &Path, content: &[u8], mode: u32) -> Result<()> {
    let mut folder = root.to_owned();
    let parent = path.parent().unwrap_or(path);
    for part in parent.components().filter(|part| matches!(part, Component::Normal(_))) {
        folder.push(part);
        make_folder(&folder)?;
    }
    let file = folder.join(path.file_name().context("a file without a name")?);
    fs::write(&file, content)
        .and_then(|()| fs::set_permissions(&file, fs::Permissions::from_mode(mode)))
        .with_context(|| format!("cannot write {}", file.display()))
}

fn make_folder(folder: &Path) -> Result<()> {
    fs::create_dir_all(folder)
        .and_then(|()| fs::set_permissions(folder, fs::Permissions::from_mode(0o755)))
        .with_context(|| format!("cannot make {}", folder.display()))
}
