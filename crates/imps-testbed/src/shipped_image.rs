//! The image that is shipped: the program `imps`, what of Debian it cannot run without, and nothing else.
//!
//! `cargo xtask image` builds it of the release, tests of pods of the program that is at hand; both build it here, by
//! buildah, which needs no service. Its digest follows from the recipe and from the files of the packages.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result};
use serde_json::{Value, json};

use crate::skip::Missing;
use crate::{archive, registry, tool};

mod debian;
mod root;

pub use debian::Package;

/// The program, and the Debian package that brings it.
const PROGRAMS: [(&str, &str); 1] = [("buildah", "buildah")];

/// How the root file system becomes an image.
const CONTAINERFILE: &str = include_str!("../../../tools/image/Containerfile");

/// Which images are to be trusted is the machine's business; this one is made here.
const POLICY: &str = r#"{"default": [{"type": "insecureAcceptAnything"}]}"#;

/// By which containerd names what it imports.
const IMPORT_NAME: &str = "io.containerd.image.name";

/// What goes into an image.
#[derive(Clone, Copy, Debug)]
pub struct Recipe<'a> {
    /// The program.
    pub program: &'a Path,
    /// The name that it gets where it is imported, as `registry.example/imps:1.0.0`.
    pub name: &'a str,
    /// The version of the program.
    pub version: &'a str,
    /// The commit that it was built from.
    pub revision: &'a str,
    /// The time of all that is in it, and of itself, in seconds since 1970.
    pub timestamp: i64,
}

/// An image that was built: an OCI layout on disk.
#[derive(Clone, Debug)]
pub struct Image {
    /// The folder of the layout.
    pub layout: PathBuf,
    /// The digest of its manifest, by which registries know it.
    pub digest: String,
    /// How many bytes are fetched to have it.
    pub size: u64,
    /// Where the files are from that are not ours.
    pub packages: Vec<Package>,
}

/// The Debian packages whose programs are missing on this machine.
#[must_use]
pub fn missing_packages() -> Vec<&'static str> {
    registry::packages_without(&PROGRAMS)
}

/// Whether this machine can build one.
pub fn available() -> Result<(), Missing> {
    let missing = missing_packages();
    if missing.is_empty() { Ok(()) } else { Err(Missing::packages(&missing)) }
}

/// Builds it as an OCI layout in this folder, which must not exist.
pub fn build(recipe: &Recipe<'_>, layout: &Path) -> Result<Image> {
    available()?;
    let scratch = tempfile::tempdir().context("cannot make a folder for an image")?;
    let context = scratch.path().join("context");
    let packages = root::fill(&context.join("root"), recipe.program)?;
    fs::write(context.join("Containerfile"), CONTAINERFILE).context("cannot write the Containerfile")?;
    let policy = scratch.path().join("policy.json");
    fs::write(&policy, POLICY).context("cannot write a policy")?;
    let timestamp = format!("--timestamp={}", recipe.timestamp);
    let mut build = buildah(scratch.path(), "bud", &policy);
    // Its own label would name its version. Nothing is run, so any isolation does.
    build.args(["--layers=false", "--identity-label=false", "--isolation=chroot", &timestamp]);
    for (name, value) in labels(recipe)? {
        build.arg("--label").arg(format!("org.opencontainers.image.{name}={value}"));
    }
    tool::run(build.args(["--tag", recipe.name]).arg(&context)).context("cannot build the image")?;
    let target = format!("oci:{}:{}", layout.display(), recipe.name);
    let mut push = buildah(scratch.path(), "push", &policy);
    tool::run(push.args(["--format=oci", recipe.name, &target])).context("cannot write the image")?;
    give_name(layout, recipe.name)?;
    Image::read(layout, packages)
}

/// buildah, which keeps all that it has to keep in this folder.
fn buildah(scratch: &Path, command: &str, policy: &Path) -> Command {
    let mut buildah = Command::new("buildah");
    // It copies files instead of mounting them, so that the kernel need not let it.
    buildah.args(["--storage-driver=vfs", "--root"]).arg(scratch.join("storage"));
    buildah.arg("--runroot").arg(scratch.join("run"));
    for (name, _) in std::env::vars_os() {
        let text = name.to_string_lossy();
        if text.starts_with("BUILDAH_") || text.starts_with("STORAGE_") {
            buildah.env_remove(&name);
        }
    }
    buildah.arg(command).arg("--signature-policy").arg(policy);
    buildah
}

/// Those of OCI's labels that are known wherever it is built.
fn labels(recipe: &Recipe<'_>) -> Result<[(&'static str, String); 6]> {
    let created = jiff::Timestamp::from_second(recipe.timestamp).context("not a time")?;
    Ok([
        ("title", "imps".to_owned()),
        ("description", "Puts registry credentials into namespaces and keeps them valid.".to_owned()),
        ("version", recipe.version.to_owned()),
        ("revision", recipe.revision.to_owned()),
        ("licenses", "Apache-2.0".to_owned()),
        ("created", created.to_string()),
    ])
}

/// Writes the name down for containerd as well; it is no part of the digest.
fn give_name(layout: &Path, name: &str) -> Result<()> {
    let path = layout.join("index.json");
    let mut index = parsed(&path)?;
    index["manifests"][0]["annotations"][IMPORT_NAME] = json!(name);
    fs::write(&path, index.to_string()).context("cannot write an image's index")
}

impl Image {
    fn read(layout: &Path, packages: Vec<Package>) -> Result<Self> {
        let index = parsed(&layout.join("index.json"))?;
        let descriptor = &index["manifests"][0];
        let digest = text_of(descriptor, "digest")?;
        let manifest = parsed(&blob(layout, &digest)?)?;
        let layers = manifest["layers"].as_array().context("an image without layers")?;
        let sizes = layers.iter().chain([&manifest["config"], descriptor]).map(|part| part["size"].as_u64());
        let size = sizes.sum::<Option<u64>>().context("a part of the image has no size")?;
        Ok(Self { layout: layout.to_owned(), digest, size, packages })
    }

    /// Its configuration: who runs what, labels, and times.
    pub fn configuration(&self) -> Result<Value> {
        let manifest = parsed(&blob(&self.layout, &self.digest)?)?;
        parsed(&blob(&self.layout, &text_of(&manifest["config"], "digest")?)?)
    }

    /// Unpacks its files into a folder that exists.
    pub fn unpack(&self, folder: &Path) -> Result<()> {
        let manifest = parsed(&blob(&self.layout, &self.digest)?)?;
        for layer in manifest["layers"].as_array().into_iter().flatten() {
            archive::unpack(&blob(&self.layout, &text_of(layer, "digest")?)?, folder)?;
        }
        Ok(())
    }

    /// Writes it as one file, which `skopeo`, `ctr images import` and `podman load` read.
    pub fn write_archive(&self, timestamp: i64, file: &Path) -> Result<()> {
        archive::pack(&self.layout, &["blobs", "index.json", "oci-layout"], timestamp, file)
    }
}

fn blob(layout: &Path, digest: &str) -> Result<PathBuf> {
    let hash = digest.strip_prefix("sha256:").context("a digest of an unknown kind")?;
    Ok(layout.join("blobs/sha256").join(hash))
}

fn text_of(value: &Value, key: &str) -> Result<String> {
    value[key].as_str().map(str::to_owned).with_context(|| format!("a part of the image has no {key}"))
}

fn parsed(path: &Path) -> Result<Value> {
    let text = fs::read(path).with_context(|| format!("cannot read {}", path.display()))?;
    serde_json::from_slice(&text).with_context(|| format!("{} is not JSON", path.display()))
}

/// Pushes an archive to a registry, with the logins of this file or those that skopeo has by itself, and returns the
/// digest by which the registry knows it. `plain` is for one without TLS.
pub fn push(archive: &Path, to: &str, authfile: Option<&Path>, plain: bool) -> Result<String> {
    let scratch = tempfile::tempdir().context("cannot make a folder")?;
    let digest = scratch.path().join("digest");
    let mut skopeo = Command::new("skopeo");
    // What was checked is what is pushed, byte for byte.
    skopeo.args(["--insecure-policy", "copy", "--preserve-digests"]).arg("--digestfile").arg(&digest);
    if let Some(file) = authfile {
        skopeo.arg("--authfile").arg(file);
    }
    skopeo.arg(format!("--dest-tls-verify={}", !plain));
    skopeo.arg(format!("oci-archive:{}", archive.display())).arg(format!("docker://{to}"));
    tool::run(&mut skopeo).with_context(|| format!("cannot push to {to}"))?;
    let digest = fs::read_to_string(&digest).context("skopeo told no digest")?;
    Ok(digest.trim().to_owned())
}
