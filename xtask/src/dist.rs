//! `cargo xtask dist`: everything that a release consists of, in one folder.

use std::ffi::OsStr;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, ensure};
use clap::Args;
use imps_testbed::{Helm, archive};

use crate::origin::{Origin, VERSION};
use crate::workspace::{output_of, root};
use crate::{image, plane, product};

/// Where it goes.
pub(crate) const FOLDER: &str = "dist";

/// The checksums of all else that is in there, for `sha256sum --check`.
pub(crate) const CHECKSUMS: &str = "SHA256SUMS";

/// What comes with the program.
const BESIDE: [&str; 2] = ["LICENSE", "README.md"];

/// Make what a release consists of in dist/: program, image, chart, definition, bill of materials, checksums.
///
/// The same commit, toolchain and packages make the same files.
#[derive(Args)]
pub(crate) struct Dist {}

impl Dist {
    /// Carries the command out.
    pub(crate) fn run(&self) -> Result<()> {
        plane::provide_helm()?;
        let origin = Origin::read()?;
        let shipped =
            image::build(&format!("localhost/imps:{VERSION}"), &root().join("target/image"), &origin)?;
        let dist = root().join(FOLDER);
        if dist.exists() {
            fs::remove_dir_all(&dist).context("cannot remove the dist/ of before")?;
        }
        fs::create_dir(&dist).context("cannot make dist/")?;
        let target = product::target()?;
        pack_program(&shipped.program, &target, &origin, &dist)?;
        copy(&shipped.archive, &dist.join(image_file()))?;
        copy(&shipped.bom, &dist.join(format!("imps-{VERSION}-{target}.cdx.json")))?;
        let definition = output_of(Command::new(&shipped.program).arg("crd"))?;
        fs::write(dist.join("imagepullsecrets-crd.yaml"), definition)
            .context("cannot write the definition")?;
        pack_chart(&Helm::find()?, &origin, &dist)?;
        let sums = write_checksums(&dist)?;
        print!("{} of {} in {FOLDER}/:\n{sums}", VERSION, origin.revision);
        Ok(())
    }
}

/// The name of the image's file.
pub(crate) fn image_file() -> String {
    let architecture = match std::env::consts::ARCH {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        other => other,
    };
    format!("imps-{VERSION}-linux-{architecture}.oci.tar")
}

/// The program with its licence, in a folder of its own.
fn pack_program(program: &Path, target: &str, origin: &Origin, dist: &Path) -> Result<()> {
    let scratch = tempfile::tempdir().context("cannot make a folder")?;
    let name = format!("imps-{VERSION}-{target}");
    let folder = scratch.path().join(&name);
    fs::create_dir(&folder).context("cannot make a folder")?;
    copy(program, &folder.join("imps"))?;
    for file in BESIDE {
        copy(&root().join(file), &folder.join(file))?;
    }
    archive::pack(scratch.path(), &[&name], origin.timestamp, &dist.join(format!("{name}.tar.gz")))
}

/// The chart as helm packs it, but for the times: those that helm writes down are of no file.
fn pack_chart(helm: &Helm, origin: &Origin, dist: &Path) -> Result<PathBuf> {
    let scratch = tempfile::tempdir().context("cannot make a folder")?;
    let (packed, unpacked) = (scratch.path().join("packed"), scratch.path().join("unpacked"));
    fs::create_dir(&packed).and_then(|()| fs::create_dir(&unpacked)).context("cannot make a folder")?;
    let chart = root().join("chart/imagepullsecrets");
    let said =
        helm.run(&[OsStr::new("package"), chart.as_ref(), "--destination".as_ref(), packed.as_ref()])?;
    ensure!(said.succeeded, "helm cannot pack the chart: {}", said.complaint);
    let mut files = fs::read_dir(&packed).context("helm packed nothing")?;
    let file = files.next().context("helm packed nothing")?.context("helm packed nothing")?;
    archive::unpack(&file.path(), &unpacked)?;
    let target = dist.join(file.file_name());
    archive::pack(&unpacked, &["imagepullsecrets"], origin.timestamp, &target)?;
    Ok(target)
}

/// The checksums of what is in the folder, and the file that they are in.
fn write_checksums(dist: &Path) -> Result<String> {
    let mut names = Vec::new();
    for entry in fs::read_dir(dist).context("cannot read dist/")? {
        names.push(entry.context("cannot read dist/")?.file_name());
    }
    names.sort();
    let sums = output_of(Command::new("sha256sum").args(&names).current_dir(dist))?;
    fs::write(dist.join(CHECKSUMS), &sums).context("cannot write the checksums")?;
    Ok(sums)
}

fn copy(from: &Path, to: &Path) -> Result<()> {
    fs::copy(from, to)
        .map(drop)
        .with_context(|| format!("cannot copy {} to {}", from.display(), to.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    const ORIGIN: i64 = 1_700_000_000;

    fn origin() -> Origin {
        Origin { revision: "abc".into(), timestamp: ORIGIN }
    }

    #[test]
    fn the_chart_is_packed_the_same_each_time_and_helm_takes_it() {
        let helm = match Helm::find() {
            Ok(helm) => helm,
            Err(missing) => return missing.skip_or_fail(),
        };
        let folders = [(); 2].map(|()| tempfile::tempdir().expect("a folder"));
        let [first, second] =
            folders.each_ref().map(|folder| pack_chart(&helm, &origin(), folder.path()).expect("packed"));
        assert_eq!(fs::read(&first).expect("read"), fs::read(&second).expect("read"));
        let rendered = |chart: &Path| {
            let image = "image.repository=registry.example/imps";
            let chart = chart.to_str().expect("a path in letters");
            helm.run(&["template", "imps", chart, "--set", image]).expect("run").done().expect("rendered")
        };
        let (packed, here) = (rendered(&first), rendered(&root().join("chart/imagepullsecrets")));
        let kinds = |text: &str| text.lines().filter(|line| line.starts_with("kind: ")).count();
        assert_eq!(kinds(&packed), kinds(&here));
        assert!(packed.contains(&format!("registry.example/imps:{VERSION}")), "the image of this version");
    }

    #[test]
    fn the_program_comes_with_its_licence_and_checksums_hold() {
        let dist = tempfile::tempdir().expect("a folder");
        pack_program(Path::new("/bin/true"), "x-y", &origin(), dist.path()).expect("packed");
        let name = format!("imps-{VERSION}-x-y");
        let mut tar = Command::new("tar");
        let list = output_of(tar.arg("-tf").arg(dist.path().join(format!("{name}.tar.gz")))).expect("listed");
        let expected = ["/", "/LICENSE", "/README.md", "/imps"].map(|path| format!("{name}{path}"));
        assert_eq!(list.lines().collect::<Vec<_>>(), expected);
        write_checksums(dist.path()).expect("written");
        let check = || {
            let mut sums = Command::new("sha256sum");
            output_of(sums.args(["--check", "--strict", CHECKSUMS]).current_dir(dist.path()))
        };
        assert!(check().is_ok());
        fs::write(dist.path().join(format!("{name}.tar.gz")), "other").expect("written");
        assert!(check().is_err());
    }
}
