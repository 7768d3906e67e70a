//! The smallest image that a container runtime takes: one layer with one file, as an OCI layout on disk.

use std::fs;
use std::path::Path;

use anyhow::{Context, Result};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

const LAYER: &str = "application/vnd.oci.image.layer.v1.tar";
const CONFIG: &str = "application/vnd.oci.image.config.v1+json";
const MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";

/// By which containerd names what it imports.
const NAME: &str = "io.containerd.image.name";

/// What the one file of an image is.
#[derive(Clone, Copy)]
pub(crate) enum Content<'a> {
    /// Some text, so that images can be told apart. Nothing can be run.
    Text(&'a str),
    /// A static program, which is what a container of the image runs.
    Program(&'a [u8]),
}

/// Writes the image to an existing empty folder. `name` is for runtimes that import it.
pub(crate) fn write_layout(folder: &Path, name: &str, content: Content<'_>) -> Result<()> {
    let blobs = folder.join("blobs/sha256");
    fs::create_dir_all(&blobs).context("cannot make a folder for an image")?;
    let (layer, run) = match content {
        Content::Text(text) => (archive("content", MODE_FILE, text.as_bytes()), json!({})),
        Content::Program(program) => {
            (archive("program", MODE_PROGRAM, program), json!({"Entrypoint": ["/program"]}))
        }
    };
    let layer_digest = hex(&layer);
    let config = json!({
        "architecture": architecture(),
        "os": "linux",
        "config": run,
        "rootfs": {"type": "layers", "diff_ids": [format!("sha256:{layer_digest}")]},
    });
    let layer = blob(&blobs, LAYER, &layer)?;
    let config = blob(&blobs, CONFIG, config.to_string().as_bytes())?;
    let manifest = json!({"schemaVersion": 2, "mediaType": MANIFEST, "config": config, "layers": [layer]});
    let mut manifest = blob(&blobs, MANIFEST, manifest.to_string().as_bytes())?;
    manifest["annotations"] = json!({ NAME: name });
    let index = json!({"schemaVersion": 2, "manifests": [manifest]});
    fs::write(folder.join("index.json"), index.to_string()).context("cannot write an image's index")?;
    let version = json!({"imageLayoutVersion": "1.0.0"});
    fs::write(folder.join("oci-layout"), version.to_string()).context("cannot write an image's layout")
}

/// Stores a blob under its digest and returns its descriptor.
fn blob(folder: &Path, media_type: &str, bytes: &[u8]) -> Result<Value> {
    let digest = hex(bytes);
    fs::write(folder.join(&digest), bytes).context("cannot write a blob")?;
    Ok(json!({"mediaType": media_type, "digest": format!("sha256:{digest}"), "size": bytes.len()}))
}

fn hex(bytes: &[u8]) -> String {
    Sha256::digest(bytes).iter().map(|byte| format!("{byte:02x}")).collect()
}

/// This machine's, as images name it.
fn architecture() -> &'static str {
    match std::env::consts::ARCH {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        other => other,
    }
}

const MODE_FILE: &str = "0000644\0";
const MODE_PROGRAM: &str = "0000755\0";

/// A tar archive (ustar) with one file in it.
fn archive(name: &str, mode: &str, content: &[u8]) -> Vec<u8> {
    const BLOCK: usize = 512;
    let mut header = [0; BLOCK];
    let mut put = |at: usize, text: &str| header[at..at + text.len()].copy_from_slice(text.as_bytes());
    put(0, name);
    put(100, mode);
    put(108, "0000000\0");
    put(116, "0000000\0");
    put(124, &format!("{:011o}\0", content.len()));
    put(136, "00000000000\0");
    // The sum is taken with blanks in its own place.
    put(148, "        ");
    put(156, "0");
    put(257, "ustar\x0000");
    let sum: u32 = header.iter().map(|byte| u32::from(*byte)).sum();
    header[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
    let mut archive = header.to_vec();
    archive.extend_from_slice(content);
    archive.resize(archive.len().next_multiple_of(BLOCK), 0);
    // Two empty blocks end an archive.
    archive.resize(archive.len() + 2 * BLOCK, 0);
    archive
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;
    use std::process::{Command, Stdio};

    #[test]
    fn tar_reads_the_archive() {
        let tar =
            Command::new("tar").args(["-xOf", "-"]).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn();
        let mut tar = tar.expect("tar is here");
        tar.stdin
            .take()
            .expect("a pipe")
            .write_all(&archive("content", MODE_FILE, b"hello"))
            .expect("written");
        let output = tar.wait_with_output().expect("ended");
        assert!(output.status.success());
        assert_eq!(output.stdout, b"hello");
    }

    #[test]
    fn images_of_different_content_differ() {
        assert_ne!(hex(&archive("content", MODE_FILE, b"a")), hex(&archive("content", MODE_FILE, b"b")));
    }
}
