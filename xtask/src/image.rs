//! `cargo xtask image`: the image that is shipped, and the proof that another build makes the same.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail, ensure};
use clap::Args;
use imps_testbed::shipped_image::{self, Recipe};

use crate::origin::{Origin, VERSION, copy_tree};
use crate::sbom::Bom;
use crate::workspace::root;
use crate::{packages, product};

/// What a node fetches at most, in bytes.
const SIZE_MAX: u64 = 30 << 20;

/// Build the image that is shipped, with buildah: the release, and what of Debian it cannot run without.
///
/// No shell, user 65532. The same commit, toolchain and packages make the same digest, wherever the tree is. No service
/// is needed, and nothing is kept outside of the folder.
#[derive(Args)]
pub(crate) struct Image {
    /// The name that it gets where it is imported; localhost/imps:VERSION when not given.
    #[arg(long, value_name = "NAME")]
    tag: Option<String>,
    /// For the image as imps.oci.tar and as an OCI layout in layout/, and for its bill of materials imps.cdx.json.
    #[arg(long, value_name = "FOLDER", default_value = "target/image")]
    output: PathBuf,
    /// Build everything once more, from nothing and in another folder, and fail where the digest is another.
    #[arg(long)]
    check_reproducible: bool,
}

/// What was built.
pub(crate) struct Shipped {
    /// The release.
    pub(crate) program: PathBuf,
    /// The image as a folder.
    pub(crate) image: shipped_image::Image,
    /// The image as a file.
    pub(crate) archive: PathBuf,
    /// The bill of materials.
    pub(crate) bom: PathBuf,
}

impl Image {
    /// Carries the command out.
    pub(crate) fn run(&self) -> Result<()> {
        let origin = Origin::read()?;
        let output = root().join(&self.output);
        let tag = self.tag.clone().unwrap_or_else(|| format!("localhost/imps:{VERSION}"));
        let shipped = build(&tag, &output, &origin)?;
        println!("{tag} of {}: {}", origin.revision, shipped.image.digest);
        println!("{}, {}", shipped.archive.display(), in_mebibytes(shipped.image.size));
        println!("{}", shipped.bom.display());
        if self.check_reproducible {
            repeat(&tag, &shipped.image, &origin)?;
            println!("a second build, in another folder and from nothing, has the same digest");
        }
        Ok(())
    }
}

/// Builds release, image and bill of materials into a folder.
pub(crate) fn build(tag: &str, output: &Path, origin: &Origin) -> Result<Shipped> {
    packages::provide_for_image()?;
    let program = product::build_shipped(&root(), &root().join("target/image/cargo"))?;
    fs::create_dir_all(output).with_context(|| format!("cannot make {}", output.display()))?;
    let layout = output.join("layout");
    if layout.exists() {
        fs::remove_dir_all(&layout).context("cannot remove the image of before")?;
    }
    let image = shipped_image::build(&recipe(&program, tag, origin), &layout)?;
    judge(image.size)?;
    let (archive, bom) = (output.join("imps.oci.tar"), output.join("imps.cdx.json"));
    image.write_archive(origin.timestamp, &archive)?;
    Bom::read(&product::target()?, &image.packages, &origin.time()?)?.write(&bom)?;
    Ok(Shipped { program, image, archive, bom })
}

fn recipe<'a>(program: &'a Path, name: &'a str, origin: &'a Origin) -> Recipe<'a> {
    Recipe { program, name, version: VERSION, revision: &origin.revision, timestamp: origin.timestamp }
}

/// Fails when it has grown too large.
fn judge(size: u64) -> Result<()> {
    let (has, may) = (in_mebibytes(size), in_mebibytes(SIZE_MAX));
    ensure!(size <= SIZE_MAX, "the image has {has} to fetch, of which {may} are allowed: what has grown?");
    Ok(())
}

fn in_mebibytes(size: u64) -> String {
    format!("{:.1} MiB", size as f64 / f64::from(1 << 20))
}

/// Builds it a second time and compares.
fn repeat(tag: &str, first: &shipped_image::Image, origin: &Origin) -> Result<()> {
    let elsewhere = tempfile::tempdir().context("cannot make a folder for another build")?;
    let tree = elsewhere.path().join("some/other/tree");
    copy_tree(&tree)?;
    let program = product::build_shipped(&tree, &elsewhere.path().join("target"))?;
    let second = shipped_image::build(&recipe(&program, tag, origin), &elsewhere.path().join("layout"))?;
    compare(first, &second)
}

/// Fails where they differ, and names the files.
fn compare(first: &shipped_image::Image, second: &shipped_image::Image) -> Result<()> {
    if first.digest == second.digest {
        return Ok(());
    }
    let folder = tempfile::tempdir().context("cannot make a folder to compare in")?;
    let roots = ["first", "second"].map(|name| folder.path().join(name));
    for (image, root) in [first, second].into_iter().zip(&roots) {
        fs::create_dir(root).context("cannot make a folder to compare in")?;
        image.unpack(root)?;
    }
    let mut diff = Command::new("diff");
    diff.args(["--recursive", "--brief", "--no-dereference", "first", "second"]).current_dir(folder.path());
    let output = diff.output().context("cannot run diff")?;
    let differences = match String::from_utf8_lossy(&output.stdout).trim_end() {
        "" => "not in their files but in their configuration".to_owned(),
        lines => lines.to_owned(),
    };
    bail!("two builds differ: {} and {}\n{differences}", first.digest, second.digest)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_image_that_has_grown_too_large_is_refused_with_its_size() {
        assert!(judge(SIZE_MAX).is_ok());
        let error = judge(SIZE_MAX + (1 << 20)).expect_err("refused").to_string();
        assert!(error.contains("31.0 MiB") && error.contains("30.0 MiB"), "{error}");
    }

    #[test]
    fn builds_that_differ_are_told_apart_by_file() {
        if let Err(missing) = shipped_image::available() {
            return missing.skip_or_fail();
        }
        let folder = tempfile::tempdir().expect("a folder");
        let origin = Origin { revision: "abc".into(), timestamp: 1_700_000_000 };
        let image = |place: &str, program: &str, origin: &Origin| {
            let recipe = recipe(Path::new(program), "localhost/imps:1", origin);
            shipped_image::build(&recipe, &folder.path().join(place)).expect("built")
        };
        let first = image("first", "/bin/true", &origin);
        assert!(compare(&first, &image("same", "/bin/true", &origin)).is_ok());
        let error = compare(&first, &image("other", "/bin/false", &origin)).expect_err("refused").to_string();
        assert!(error.contains("first/usr/bin/imps and second/usr/bin/imps differ"), "{error}");
        let later = Origin { timestamp: 1_700_000_001, ..origin };
        let error = compare(&first, &image("later", "/bin/true", &later)).expect_err("refused").to_string();
        assert!(error.contains("in their configuration"), "{error}");
    }
}
