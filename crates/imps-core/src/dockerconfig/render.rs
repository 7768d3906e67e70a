//! The room for what is written into targets: a keyring in, the same bytes out every time.

use std::fmt;

use base64::{Engine, prelude::BASE64_STANDARD};
use sha2::{Digest, Sha256};
use thiserror::Error;
use zeroize::Zeroizing;

use super::MAX_SECRET_BYTES;
use crate::{credential::Credential, keyring::Keyring, registry::RegistryKey};

/// What [`render`] leaves free of [`MAX_SECRET_BYTES`]. Tokens differ in length from one refresh to the next;
/// an ECR token of 3 KiB is written as password and again, a third longer, as `auth`, about 7 KiB. Room for
/// two such entries means that a target that could be written today can be refreshed tomorrow.
pub const RENDER_MARGIN_BYTES: usize = 16 * 1024;

/// A rendered docker config. The bytes are wiped when it is dropped; nothing of it is printed.
#[derive(Clone, PartialEq, Eq)]
pub struct Payload {
    bytes: Zeroizing<Vec<u8>>,
    digest: [u8; 32],
}

/// A docker config that would not fit into a Secret.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[error(
    "the {entries} merged entries make {bytes} bytes, more than the {} allowed",
    MAX_SECRET_BYTES - RENDER_MARGIN_BYTES
)]
pub struct TooLarge {
    /// The size it would have.
    pub bytes: usize,
    /// How many entries make that size.
    pub entries: usize,
}

/// Writes a keyring as `.dockerconfigjson`: the same keyring gives the same bytes.
///
/// Each entry has `username`, `password` and `auth`: the kubelet and docker would do with two of them, but
/// podman, skopeo and CRI-O read `auth` alone. Docker Hub is written a second time, as `docker.io`, if
/// another key of the keyring matches images of the hub: the kubelet asks for `https://index.docker.io/v1/`
/// only if nothing else matched, so without it a login for `docker.io/org` would take the one for the hub
/// away from `docker.io/organic`.
pub fn render(keyring: &Keyring) -> Result<Payload, TooLarge> {
    let hub_twice = keyring.registries().any(RegistryKey::may_match_docker_hub);
    let mut entries: Vec<(&str, &Credential)> = Vec::with_capacity(keyring.len() + 1);
    for (registry, credential) in keyring {
        entries.push((registry.as_str(), credential));
        if hub_twice && registry.is_docker_hub() {
            entries.push((registry.display_name(), credential));
        }
    }
    entries.sort_by_key(|(key, _)| *key);
    // The buffer is large enough from the start, because a buffer that grows leaves unwiped copies behind.
    let bytes_max = 16 + entries.iter().map(|entry| entry_bytes_max(*entry)).sum::<usize>();
    let mut bytes = Zeroizing::new(Vec::with_capacity(bytes_max));
    bytes.extend_from_slice(b"{\"auths\":{");
    for (index, (key, credential)) in entries.iter().enumerate() {
        if index > 0 {
            bytes.push(b',');
        }
        write_entry(&mut bytes, key, credential);
    }
    bytes.extend_from_slice(b"}}");
    debug_assert!(bytes.len() <= bytes_max, "the buffer had to grow");
    if bytes.len() > MAX_SECRET_BYTES - RENDER_MARGIN_BYTES {
        return Err(TooLarge { bytes: bytes.len(), entries: entries.len() });
    }
    let digest = Sha256::digest(&*bytes).into();
    Ok(Payload { bytes, digest })
}

/// More than [`write_entry`] writes: JSON makes six bytes of one at worst, base64 four of three, and the
/// names and quotes around them are less than 64.
fn entry_bytes_max((key, credential): (&str, &Credential)) -> usize {
    6 * key.len() + 8 * (credential.username.len() + credential.password.reveal().len()) + 64
}

fn write_entry(out: &mut Vec<u8>, key: &str, credential: &Credential) {
    let password = credential.password.reveal();
    let mut login = Zeroizing::new(Vec::with_capacity(credential.username.len() + password.len() + 1));
    login.extend_from_slice(credential.username.as_bytes());
    login.push(b':');
    login.extend_from_slice(password.as_bytes());
    let auth = Zeroizing::new(BASE64_STANDARD.encode(&login));
    write_text(out, key);
    out.extend_from_slice(b":{\"username\":");
    write_text(out, &credential.username);
    out.extend_from_slice(b",\"password\":");
    write_text(out, password);
    out.extend_from_slice(b",\"auth\":");
    write_text(out, &auth);
    out.push(b'}');
}

fn write_text(out: &mut Vec<u8>, text: &str) {
    serde_json::to_writer(out, text).expect("a string always serialises and a Vec takes every byte");
}

impl Payload {
    /// The bytes for the data key `.dockerconfigjson`. They are as secret as what is in them.
    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// The SHA-256 of the bytes. It is derived from credentials, so it stays in memory: never in metadata or
    /// logs.
    pub fn digest(&self) -> [u8; 32] {
        self.digest
    }
}

impl fmt::Debug for Payload {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Payload(..)")
    }
}

impl TooLarge {
    /// What a person can do about it.
    pub fn remedy(self) -> &'static str {
        "merge fewer registries into one Secret: spread them over several ImagePullSecrets"
    }
}
