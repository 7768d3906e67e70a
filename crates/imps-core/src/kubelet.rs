//! The room for the kubelet's question: which credentials does it try for an image, in which order, out of
//! the pull Secrets of a pod?
//!
//! This is a port of the rules of Kubernetes 1.36 (`kubernetes/kubernetes:pkg/credentialprovider/keyring.go`,
//! `config.go`, `secrets/secrets.go`), written from the rules. It repairs nothing and forgives nothing that
//! the kubelet does not: it serves to explain what is on a cluster and to prove that what we render is found.
//! What is left out: node config files and exec plugins, which come after the Secrets; names of fields that
//! only Unicode folding makes equal; documents nested deeper than 128, and texts with half a surrogate pair,
//! which Go reads and we do not.

use std::{collections::BTreeMap, fmt, net::Ipv6Addr};

use serde_json::Value;
use thiserror::Error;

use crate::{
    credential::Credential,
    dockerconfig::{
        Document, DocumentFault, EntryFault, Format, Kind, Rejected, entry_fields, field, login_of,
        text_field,
    },
    registry::{host_matches, read_url, safe_label, stored_key},
    token::Token,
};

/// The longest name of a repository, with its host, that the grammar of image names allows, in bytes.
const REPOSITORY_BYTES_MAX: usize = 255;

/// The name under which an entry for the whole of Docker Hub is filed when it is spelled as a URL.
const HUB_FALL_BACK: &str = "index.docker.io";

/// A Secret as a pod refers to it.
#[derive(Clone, Copy)]
pub struct PullSecret<'a> {
    /// The type of the Secret. Any other than those of [`Format`] is passed over without a word.
    pub secret_type: &'a str,
    /// The value under [`Format::data_key`]; empty if the Secret does not have that key.
    pub data: &'a [u8],
}

/// One credential that the kubelet tries.
#[derive(Clone, PartialEq, Eq)]
pub struct Attempt {
    /// Which of the Secrets it is from.
    pub secret_index: usize,
    /// What it hands to the container runtime.
    pub offer: Offer,
    key: String,
}

/// What an entry offers to the container runtime.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Offer {
    /// A user name, a password, or both.
    Login(Credential),
    /// Nothing: the entry is empty, or has only what the kubelet does not use. The pull is anonymous.
    Anonymous,
    /// Bytes that are not UTF-8, which cannot be sent to the container runtime: this attempt fails.
    NotText,
}

/// Why the kubelet does not get as far as trying something. It carries no text of a Secret but labels of
/// keys.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum LookupError {
    /// The name of the image breaks the grammar of names; the pod waits with `InvalidImageName`.
    #[error("the image name is not valid")]
    ImageName,
    /// One Secret cannot be decoded. No image of the pod is pulled, whatever registry it is from.
    #[error("pull secret number {} breaks every pull of the pod: {fault}", index + 1)]
    Secret {
        /// Which of the Secrets.
        index: usize,
        /// What is wrong with it.
        fault: SecretFault,
    },
}

/// Why the kubelet cannot decode a Secret.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum SecretFault {
    /// The document as a whole.
    #[error("{0}")]
    Document(DocumentFault),
    /// One of its entries.
    #[error("{0}")]
    Entry(Rejected),
    /// `HttpHeaders`, which must be an object of strings although nothing is done with it.
    #[error("HttpHeaders in the docker config is not an object of strings")]
    Headers,
}

// === lookup ===

/// The credentials that the kubelet tries for an image, in order, or the error that keeps it from trying any.
///
/// `secrets` are those that exist, in the order of the pod's `imagePullSecrets`. With an empty answer it
/// pulls once without credentials. Entries of one Secret that are filed under one name (`reg.io` and
/// `https://reg.io`) are tried in an order that is random in the kubelet; here they come in the order of
/// their spelled keys.
pub fn lookup(secrets: &[PullSecret<'_>], image: &str) -> Result<Vec<Attempt>, LookupError> {
    Ok(Index::of(secrets)?.matching(&repository_of(image)?))
}

/// All entries of all Secrets by the name under which they are filed. Specificity beats the order of the
/// Secrets, because there is one index for all of them.
struct Index(BTreeMap<String, Vec<Attempt>>);

impl Index {
    fn of(secrets: &[PullSecret<'_>]) -> Result<Index, LookupError> {
        let mut filed: BTreeMap<String, Vec<Attempt>> = BTreeMap::new();
        for (secret_index, secret) in secrets.iter().enumerate() {
            let entries =
                decode(secret).map_err(|fault| LookupError::Secret { index: secret_index, fault })?;
            for (key, offer) in entries {
                let Some(name) = stored_key(&key) else { continue };
                filed.entry(name).or_default().push(Attempt { secret_index, offer, key });
            }
        }
        Ok(Index(filed))
    }

    /// The entries that match a repository, in reverse byte order of their names: longer paths first, and
    /// letters before wildcards.
    fn matching(&self, repository: &str) -> Vec<Attempt> {
        let names = self.0.iter().rev().filter(|(name, _)| name_matches(name, repository));
        let matching: Vec<Attempt> = names.flat_map(|(_, attempts)| attempts.iter().cloned()).collect();
        if matching.is_empty() && falls_back_to_hub(repository) {
            return self.0.get(HUB_FALL_BACK).cloned().unwrap_or_default();
        }
        matching
    }
}

/// The path of the key is a plain prefix of the repository's, not one of whole segments: `reg.io/team` serves
/// `reg.io/teamwork`. Ports are compared as text.
pub(crate) fn name_matches(name: &str, repository: &str) -> bool {
    let (Some((pattern, prefix)), Some((target, path))) = (read_url(name), read_url(repository)) else {
        return false;
    };
    let (pattern_host, pattern_port) = split_host_port(pattern);
    let (target_host, target_port) = split_host_port(target);
    pattern_port == target_port && path.starts_with(&prefix) && host_matches(pattern_host, target_host)
}

/// As `net.SplitHostPort` of Go: what it cannot split is all host. An IPv6 address loses its brackets only if
/// a port follows, and as a pattern with brackets it matches nothing: the kubelet cannot serve such a
/// registry.
pub(crate) fn split_host_port(authority: &str) -> (&str, &str) {
    match authority.rsplit_once(':') {
        Some((host, port)) if !host.contains([':', '[', ']']) => (host, port),
        Some((host, port)) => {
            let inner = host.strip_prefix('[').and_then(|rest| rest.strip_suffix(']'));
            inner.map_or((authority, ""), |inner| (inner, port))
        }
        None => (authority, ""),
    }
}

/// Whether an entry that is filed under this name would be tried for a repository if there were no other.
pub(crate) fn name_serves(name: &str, repository: &str) -> bool {
    name_matches(name, repository) || name == HUB_FALL_BACK && falls_back_to_hub(repository)
}

/// Docker Hub, and any host that has neither dot nor port (of those that a name can have that is
/// `localhost`).
fn falls_back_to_hub(repository: &str) -> bool {
    let host = repository.split('/').next().unwrap_or(repository);
    host == "docker.io" || !host.contains(['.', ':'])
}

// === decoding ===

/// The keys of the entries of one Secret as they are spelled, in their order.
pub(crate) fn keys(secret: &PullSecret<'_>) -> Result<Vec<String>, SecretFault> {
    Ok(decode(secret)?.into_iter().map(|(key, _)| key).collect())
}

/// The entries of one Secret in the order of their keys.
fn decode(secret: &PullSecret<'_>) -> Result<Vec<(String, Offer)>, SecretFault> {
    let Some(format) = Format::from_secret_type(secret.secret_type).filter(|_| !secret.data.is_empty())
    else {
        return Ok(Vec::new());
    };
    // Go replaces what is not UTF-8 and reads on.
    let document =
        Document::read(String::from_utf8_lossy(secret.data).as_bytes()).map_err(SecretFault::Document)?;
    let mut entries = Vec::new();
    if document.is_null() {
        return Ok(entries);
    }
    let top = document.top().map_err(SecretFault::Document)?;
    let auths = match format {
        Format::DockerCfg => Some(top),
        Format::DockerConfigJson => {
            check_headers(field(top, "HttpHeaders"))?;
            let wrong = |kind| SecretFault::Document(DocumentFault::AuthsNotAnObject(kind));
            let auths = field(top, "auths");
            auths.map(|auths| auths.as_object().ok_or_else(|| wrong(Kind::of(auths)))).transpose()?
        }
    };
    for (key, entry) in auths.into_iter().flatten() {
        let rejected = |fault| SecretFault::Entry(Rejected::of(key, fault));
        entries.push((key.clone(), offer_of(entry).map_err(rejected)?));
    }
    entries.sort_by(|a, b| a.0.cmp(&b.0));
    Ok(entries)
}

fn check_headers(headers: Option<&Value>) -> Result<(), SecretFault> {
    let text = |value: &Value| value.is_string() || value.is_null();
    match headers {
        None => Ok(()),
        Some(Value::Object(headers)) if headers.values().all(text) => Ok(()),
        Some(_) => Err(SecretFault::Headers),
    }
}

fn offer_of(entry: &Value) -> Result<Offer, EntryFault> {
    if entry.is_null() {
        return Ok(Offer::Anonymous);
    }
    let fields = entry_fields(entry)?;
    text_field(fields, "email")?;
    let login = login_of(fields)?;
    if login.username.is_empty() && login.password.is_empty() {
        return Ok(Offer::Anonymous);
    }
    Ok(match (std::str::from_utf8(&login.username), std::str::from_utf8(&login.password)) {
        (Ok(username), Ok(password)) => {
            Offer::Login(Credential { username: username.to_owned(), password: Token::new(password) })
        }
        _ => Offer::NotText,
    })
}

// === impl Attempt ===

impl Attempt {
    /// The key of the entry, as far as it can be shown.
    pub fn label(&self) -> String {
        safe_label(&self.key)
    }

    /// Whether the kubelet takes any of the two first: they are of one Secret, and filed under one name.
    pub fn is_tied_with(&self, other: &Attempt) -> bool {
        self.secret_index == other.secret_index && stored_key(&self.key) == stored_key(&other.key)
    }
}

impl fmt::Debug for Attempt {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Attempt")
            .field("secret_index", &self.secret_index)
            .field("key", &self.label())
            .field("offer", &self.offer)
            .finish()
    }
}

impl fmt::Debug for PullSecret<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PullSecret").field("secret_type", &self.secret_type).finish_non_exhaustive()
    }
}

// === names of images ===

/// The repository of an image with its host: tag and digest dropped, `nginx` completed to
/// `docker.io/library/nginx` (`distribution/reference`, `ParseNormalizedNamed`).
///
/// The first part is a host if it has a dot, a colon or an upper-case letter or is `localhost`.
/// `index.docker.io` becomes `docker.io`, so the kubelet never looks for an image of the host
/// `index.docker.io`.
pub fn repository_of(image: &str) -> Result<String, LookupError> {
    let (name, digest) = match image.split_once('@') {
        Some((name, digest)) => (name, Some(digest)),
        None => (image, None),
    };
    let is_host = |part: &str| {
        part.contains(['.', ':']) || part == "localhost" || part.bytes().any(|b| b.is_ascii_uppercase())
    };
    let (host, rest) = match name.split_once('/') {
        Some((host, rest)) if is_host(host) => (host, rest),
        _ => ("docker.io", name),
    };
    let (path, tag) = match rest.split_once(':') {
        Some((path, tag)) => (path, Some(tag)),
        None => (rest, None),
    };
    let host = if host == HUB_FALL_BACK { "docker.io" } else { host };
    let library = if host == "docker.io" && !path.contains('/') { "library/" } else { "" };
    let repository = format!("{host}/{library}{path}");
    let valid = is_valid_host(host)
        && path.split('/').all(is_valid_component)
        && tag.is_none_or(is_valid_tag)
        && digest.is_none_or(is_valid_digest)
        && repository.len() <= REPOSITORY_BYTES_MAX
        && !is_image_id(image);
    if valid { Ok(repository) } else { Err(LookupError::ImageName) }
}

fn is_valid_host(host_and_port: &str) -> bool {
    let host_bytes = match host_and_port.rfind(']') {
        Some(bracket) => bracket + 1,
        None => host_and_port.find(':').unwrap_or(host_and_port.len()),
    };
    let (host, port) = host_and_port.split_at(host_bytes);
    let digits = |port: &str| !port.is_empty() && port.bytes().all(|b| b.is_ascii_digit());
    let label_ok = |label: &str| {
        let hyphen_outside = label.starts_with('-') || label.ends_with('-');
        !label.is_empty() && !hyphen_outside && label.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-')
    };
    let address = host.strip_prefix('[').and_then(|rest| rest.strip_suffix(']'));
    let host_ok = match address {
        Some(address) => address.parse::<Ipv6Addr>().is_ok(),
        None => host.split('.').all(label_ok),
    };
    host_ok && (port.is_empty() || port.strip_prefix(':').is_some_and(digits))
}

/// Lower-case letters and digits, between them one dot, one or two underscores, or hyphens.
fn is_valid_component(component: &str) -> bool {
    let word = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit();
    let separator = |run: &str| matches!(run, "." | "_" | "__") || run.bytes().all(|b| b == b'-');
    component.starts_with(word)
        && component.ends_with(word)
        && component.split(word).filter(|run| !run.is_empty()).all(separator)
}

fn is_valid_tag(tag: &str) -> bool {
    let word = |b: u8| b.is_ascii_alphanumeric() || b == b'_';
    (1..=128).contains(&tag.len())
        && tag.bytes().all(|b| word(b) || b == b'-' || b == b'.')
        && tag.bytes().next().is_some_and(word)
}

fn is_valid_digest(digest: &str) -> bool {
    digest.split_once(':').is_some_and(|(algorithm, hex)| {
        algorithm.starts_with(|c: char| c.is_ascii_alphabetic())
            && algorithm.bytes().all(|b| b.is_ascii_alphanumeric() || b"+._-".contains(&b))
            && hex.len() >= 32
            && hex.bytes().all(|b| b.is_ascii_hexdigit())
    })
}

/// 64 hexadecimal digits are the id of an image, not the name of one on Docker Hub.
fn is_image_id(image: &str) -> bool {
    image.len() == 64 && image.bytes().all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b))
}

#[cfg(test)]
mod tests {
    use base64::prelude::{BASE64_STANDARD, BASE64_STANDARD_NO_PAD, BASE64_URL_SAFE, Engine};
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;
    use crate::{
        dockerconfig::render,
        keyring::Keyring,
        registry::{KeyFault, RegistryKey},
    };

    const CONFIG: &str = "kubernetes.io/dockerconfigjson";

    fn secret(document: &str) -> PullSecret<'_> {
        PullSecret { secret_type: CONFIG, data: document.as_bytes() }
    }

    fn login(username: &str, password: &str) -> Offer {
        Offer::Login(Credential { username: username.into(), password: Token::new(password) })
    }

    /// A document with these keys, each with a login of its own.
    fn document(keys: &[&str]) -> String {
        let entry = |key: &&str| (key.to_string(), json!({"username": "u", "password": key}));
        json!({"auths": keys.iter().map(entry).collect::<serde_json::Map<_, _>>()}).to_string()
    }

    /// The keys that are tried, as spelled; each must offer the login of its own entry.
    fn keys_of(attempts: Vec<Attempt>) -> Vec<String> {
        for attempt in &attempts {
            assert_eq!(attempt.offer, login("u", &attempt.key));
        }
        attempts.into_iter().map(|attempt| attempt.key).collect()
    }

    fn tried(keys: &[&str], image: &str) -> Vec<String> {
        keys_of(lookup(&[secret(&document(keys))], image).unwrap())
    }

    const HUB: &str = "https://index.docker.io/v1/";
    const PATHS: &[&str] = &["reg.io", "reg.io/team", "reg.io/team/"];
    const PORTS: &[&str] = &["reg.io", "reg.io:443", "reg.io:5000"];
    const ECR: &[&str] = &[
        "123456789012.dkr.ecr.eu-west-1.amazonaws.com",
        "12*.dkr.ecr.eu-west-1.amazonaws.com",
        "*.dkr.ecr.eu-west-1.amazonaws.com",
        "*.dkr.ecr.*.amazonaws.com",
        "*.amazonaws.com",
    ];

    #[test]
    fn the_keys_that_the_kubelet_was_seen_to_try_are_tried_in_its_order() {
        let vectors: &[(&[&str], &str, &[&str])] = &[
            (&[HUB], "docker.io/library/nginx", &[HUB]),
            (&[HUB], "nginx", &[HUB]),
            (&[HUB], "me/x:1", &[HUB]),
            (&[HUB], "registry-1.docker.io/me/x", &[]),
            (&["https://index.docker.io/v1"], "docker.io/library/nginx", &[]),
            (&["https://index.docker.io/v2/"], "docker.io/library/nginx", &["https://index.docker.io/v2/"]),
            (&["docker.io/org", HUB], "docker.io/organic/x", &["docker.io/org"]),
            (&["docker.io/org", HUB], "docker.io/other/x", &[HUB]),
            (&["docker.io", HUB], "docker.io/other/x", &["docker.io"]),
            (&["index.docker.io/org"], "docker.io/org/x", &[]),
            (&["registry-1.docker.io"], "docker.io/org/x", &[]),
            (&["registry-1.docker.io"], "registry-1.docker.io/org/x", &["registry-1.docker.io"]),
            (PATHS, "reg.io/team/x", &["reg.io/team/", "reg.io/team", "reg.io"]),
            (PATHS, "reg.io/teamwork/x", &["reg.io/team", "reg.io"]),
            (PORTS, "reg.io/x", &["reg.io"]),
            (PORTS, "reg.io:443/x", &["reg.io:443"]),
            (PORTS, "reg.io:5001/x", &[]),
            (&["Reg.IO", "reg.io"], "reg.io/x", &["reg.io"]),
            (ECR, "123456789012.dkr.ecr.eu-west-1.amazonaws.com/a/b", &ECR[..4]),
            (ECR, "123456789012.dkr.ecr.cn-north-1.amazonaws.com.cn/a", &[]),
            (&["reg.io/*"], "reg.io/x", &[]),
            (&["reg.io:*", "reg.io"], "reg.io/x", &["reg.io"]),
            (&["reg.io:*"], "reg.io:5000/x", &[]),
            (
                &["https://reg.io/v2/", "http://reg.io/v1/foo", "reg.io/"],
                "reg.io/foo/x",
                &["http://reg.io/v1/foo", "https://reg.io/v2/", "reg.io/"],
            ),
            (&["https://reg.io/v2"], "reg.io/foo", &[]),
            (&["[::1]:5000"], "[::1]:5000/x", &["[::1]:5000"]),
            (&["[::1]"], "[::1]/x", &[]),
            (&["reg.io:port", "re g.io", "reg.io/%zz", "reg.io"], "reg.io/x", &["reg.io"]),
            (&["user:password@reg.io", "reg.io?x"], "reg.io/x", &["reg.io?x", "user:password@reg.io"]),
            (&["us er@reg.io", "reg.io:", " reg.io", "r%65g.io", "[ab]:1"], "reg.io/x", &["reg.io:"]),
            (&[HUB], "localhost/x", &[HUB]),
            (&["localhost", HUB], "localhost/x", &["localhost"]),
        ];
        for (keys, image, expected) in vectors {
            assert_eq!(tried(keys, image), *expected, "{keys:?} {image}");
        }
    }

    #[test]
    fn the_matcher_alone_does_not_know_the_old_host_of_docker_hub_but_no_image_reaches_it() {
        let index = Index::of(&[secret(&document(&["docker.io"]))]).unwrap_or_else(|error| panic!("{error}"));
        assert!(index.matching("index.docker.io/me/x").is_empty());
        assert_eq!(tried(&["docker.io"], "index.docker.io/me/x"), ["docker.io"]);
    }

    #[test]
    fn secrets_with_one_key_are_tried_in_the_order_of_the_pod() {
        let (first, second) = (document(&["reg.io"]), document(&["https://reg.io", "reg.io/team"]));
        let order = |secrets: &[PullSecret<'_>]| -> Vec<(usize, String)> {
            let attempts = lookup(secrets, "reg.io/team/x").unwrap();
            attempts.into_iter().map(|attempt| (attempt.secret_index, attempt.key)).collect()
        };
        let (a, b, b_team) = ("reg.io".to_owned(), "https://reg.io".to_owned(), "reg.io/team".to_owned());
        assert_eq!(
            order(&[secret(&first), secret(&second)]),
            [(1, b_team.clone()), (0, a.clone()), (1, b.clone())]
        );
        assert_eq!(order(&[secret(&second), secret(&first)]), [(0, b_team), (0, b), (1, a)]);
        assert_eq!(tried(&["reg.io", "https://reg.io"], "reg.io/x"), ["https://reg.io", "reg.io"]);
        let tied = |secrets: &[PullSecret<'_>]| -> Vec<bool> {
            let attempts = lookup(secrets, "reg.io/team/x").unwrap();
            attempts.windows(2).map(|pair| pair[0].is_tied_with(&pair[1])).collect()
        };
        assert_eq!(
            tied(&[secret(&first), secret(&second), secret(&second)]),
            [false; 4],
            "of several Secrets"
        );
        assert_eq!(tied(&[secret(&document(&["reg.io", "https://reg.io", "reg.io/team"]))]), [false, true]);
    }

    #[test]
    fn other_types_and_empty_secrets_are_passed_over() {
        let good = document(&["reg.io"]);
        let legacy = json!({"https://reg.io/v1/": {"auth": BASE64_STANDARD.encode("u:old")}}).to_string();
        let typed = |secret_type, data| PullSecret { secret_type, data };
        let attempts = lookup(
            &[
                typed("Opaque", b"nonsense"),
                typed(CONFIG, b""),
                typed("kubernetes.io/dockercfg", legacy.as_bytes()),
                typed(CONFIG, b"null"),
                typed(CONFIG, b"{}"),
                typed(CONFIG, b"{\"auths\":null}"),
                typed(CONFIG, good.as_bytes()),
            ],
            "reg.io/x",
        )
        .unwrap();
        let offers: Vec<_> = attempts.iter().map(|attempt| (attempt.secret_index, &attempt.offer)).collect();
        assert_eq!(offers, [(2, &login("u", "old")), (6, &login("u", "reg.io"))]);
    }

    #[test]
    fn an_entry_offers_what_the_kubelet_would_send() {
        let b64 = |text: &str| BASE64_STANDARD.encode(text);
        for (entry, offer) in [
            (json!({"username": "u", "password": "p"}), login("u", "p")),
            (json!({"auth": b64("U:P"), "username": "u"}), login("U", "P")),
            (json!({"AUTH": b64("U:P")}), login("U", "P")),
            (json!({"auth": BASE64_STANDARD_NO_PAD.encode("u:p2")}), login("u", "p2")),
            (json!({"auth": format!("{}\n", b64("u:p2"))}), login("u", "p2")),
            (json!({"auth": b64("u:p:q")}), login("u", "p:q")),
            (json!({"username": "u"}), login("u", "")),
            (json!({"auth": b64(":p")}), login("", "p")),
            (json!({"username": "a:b", "password": "p"}), login("a:b", "p")),
            (json!({"identitytoken": "t"}), Offer::Anonymous),
            (json!({"auth": b64(":")}), Offer::Anonymous),
            (json!({"username": null}), Offer::Anonymous),
            (json!({}), Offer::Anonymous),
            (json!(null), Offer::Anonymous),
            (json!({"auth": BASE64_STANDARD.encode(b"u:\xff")}), Offer::NotText),
        ] {
            let text = json!({"auths": {"reg.io": entry}}).to_string();
            let offers: Vec<Offer> = lookup(&[secret(&text)], "reg.io/x")
                .unwrap()
                .into_iter()
                .map(|attempt| attempt.offer)
                .collect();
            assert_eq!(offers, [offer], "{text}");
        }
        let bytes = b"{\"auths\":{\"reg.io\":{\"username\":\"u\",\"password\":\"\xff\"}}}";
        let attempts = lookup(&[PullSecret { secret_type: CONFIG, data: bytes }], "reg.io/x").unwrap();
        assert_eq!(attempts[0].offer, login("u", "\u{fffd}"));
    }

    #[test]
    fn a_secret_that_cannot_be_decoded_breaks_every_pull_of_the_pod() {
        let entry = |key: &str, fault| SecretFault::Entry(Rejected::of(key, fault));
        let wrong = |field, kind| EntryFault::WrongType { field, kind };
        let url_safe = BASE64_URL_SAFE.encode("u:\u{ff}\u{3fff}???>>>");
        for (document, fault) in [
            (json!({"auths": {"a.io": {"auth": "?"}}}), entry("a.io", EntryFault::AuthNotBase64)),
            (json!({"auths": {"a.io": {"auth": "dXA="}}}), entry("a.io", EntryFault::AuthWithoutColon)),
            (json!({"auths": {"a.io": {"auth": url_safe}}}), entry("a.io", EntryFault::AuthUrlSafe)),
            (json!({"auths": {"re g.io": "dTpw"}}), entry("re g.io", EntryFault::NotAnObject(Kind::Text))),
            (json!({"auths": {"a.io": {"email": 7}}}), entry("a.io", wrong("email", Kind::Number))),
            (json!({"auths": {"a.io": {"password": []}}}), entry("a.io", wrong("password", Kind::List))),
            (json!({"auths": []}), SecretFault::Document(DocumentFault::AuthsNotAnObject(Kind::List))),
            (json!([]), SecretFault::Document(DocumentFault::NotAnObject(Kind::List))),
            (json!({"HttpHeaders": {"a": 1}}), SecretFault::Headers),
            (json!({"httpheaders": "a"}), SecretFault::Headers),
        ] {
            let (bad, good) = (document.to_string(), self::document(&["reg.io"]));
            let error = lookup(&[secret(&good), secret(&bad)], "reg.io/x").unwrap_err();
            assert_eq!(error, LookupError::Secret { index: 1, fault }, "{bad}");
        }
        let error = lookup(&[secret("{")], "reg.io/x").unwrap_err();
        assert_eq!(
            error.to_string(),
            "pull secret number 1 breaks every pull of the pod: the docker config is not JSON: \
             unexpected end at line 1, column 1"
        );
        assert!(lookup(&[secret(r#"{"HttpHeaders":{"a":"b"}}"#)], "reg.io/x").is_ok());
    }

    #[test]
    fn images_are_completed_to_their_repository() {
        let digest = format!("sha256:{}", "0123456789abcdef".repeat(4));
        for (image, expected) in [
            ("nginx", "docker.io/library/nginx"),
            ("nginx:1.27", "docker.io/library/nginx"),
            ("me/x", "docker.io/me/x"),
            ("docker.io/nginx", "docker.io/library/nginx"),
            ("index.docker.io/me/x", "docker.io/me/x"),
            ("index.docker.io/nginx", "docker.io/library/nginx"),
            ("reg:5000", "docker.io/library/reg"),
            ("reg/x", "docker.io/reg/x"),
            ("reg:5000/x:1", "reg:5000/x"),
            ("reg.io/a/b:v1.2-x_y", "reg.io/a/b"),
            ("localhost/x", "localhost/x"),
            ("Reg/x", "Reg/x"),
            ("Reg.IO/x", "Reg.IO/x"),
            ("[::1]:5000/x:1", "[::1]:5000/x"),
            ("a/b.c-d--e__f", "docker.io/a/b.c-d--e__f"),
            (&format!("reg.io/x@{digest}"), "reg.io/x"),
            (&format!("reg.io:5000/x:1@{digest}"), "reg.io:5000/x"),
        ] {
            assert_eq!(repository_of(image), Ok(expected.to_owned()), "{image}");
        }
        let (id, long) = ("ab".repeat(32), format!("reg.io/{}", "a".repeat(300)));
        for image in [
            "",
            "/",
            "reg.io/",
            "reg.io//x",
            "reg.io/X",
            "Nginx",
            "a..b",
            "a___b",
            "-a",
            "a-",
            "x:",
            "x:-a",
            "x@",
            "x@abc",
            "reg io/x",
            "https://reg.io/x",
            "user@reg.io/x",
            "reg.io:/x",
            "-reg.io/x",
            "reg..io/x",
            "[zz]:1/x",
            &id,
            &long,
        ] {
            assert_eq!(repository_of(image), Err(LookupError::ImageName), "{image}");
        }
    }

    #[test]
    fn nothing_that_is_printed_shows_a_login() {
        let text =
            json!({"auths": {"https://canary:canary@reg.io": {"username": "canary", "password": "canary"}}});
        let text = text.to_string();
        let secrets = [secret(&text)];
        let attempts = lookup(&secrets, "reg.io/x").unwrap();
        let printed = format!("{secrets:?} {attempts:?} {attempts:#?} {}", attempts[0].label());
        assert!(attempts[0].key.contains("canary") && printed.contains("reg.io"));
        assert!(!printed.contains("canary"), "{printed}");
        let error = lookup(&[secret(r#"{"auths":{"canary@reg.io":"canary"}}"#)], "reg.io/x").unwrap_err();
        assert!(!format!("{error:?} {error}").contains("canary"));
    }

    /// An image at the registry of a key, with a host in which no wildcard is left.
    fn image_of(registry: &RegistryKey, tail: &str) -> String {
        let host = registry.host().replace('*', "w");
        let port = registry.port().map(|port| format!(":{port}")).unwrap_or_default();
        match registry.path() {
            "" => format!("{host}{port}/{tail}"),
            path => format!("{host}{port}/{path}/{tail}"),
        }
    }

    fn any_keyring() -> impl Strategy<Value = Keyring> {
        let registry = prop_oneof![
            4 => "[a-c*]{1,2}\\.(io|\\*)(:[1-9][0-9]?)?(/(v1|v2|a|b)){0,3}",
            1 => prop::sample::select(vec!["localhost:5000", "[::1]:5000", "*.*"]).prop_map(str::to_owned),
            2 => prop::sample::select(vec!["docker.io", "docker.io/a", "docker.*", "*.io/a"])
                .prop_map(str::to_owned),
        ];
        prop::collection::vec((registry, "[^:]{1,4}", ".{1,9}"), 0..7).prop_map(|entries| {
            let entry = |(registry, username, password): (String, String, String)| {
                (
                    RegistryKey::parse(&registry).unwrap(),
                    Credential { username, password: Token::new(password) },
                )
            };
            entries.into_iter().map(entry).collect()
        })
    }

    proptest! {
        #[test]
        fn what_we_render_the_kubelet_finds(keyring in any_keyring(), tail in "[ab]{1,3}(/[ab]{1,2})?") {
            let payload = render(&keyring).unwrap();
            let secrets = [PullSecret { secret_type: CONFIG, data: payload.bytes() }];
            for (registry, credential) in &keyring {
                let image = image_of(registry, &tail);
                let attempts = lookup(&secrets, &image).unwrap_or_else(|error| panic!("{image}: {error}"));
                let found = attempts.iter().any(|attempt| {
                    RegistryKey::parse(&attempt.key).as_ref() == Ok(registry)
                        && attempt.offer == Offer::Login(credential.clone())
                });
                prop_assert!(found, "{} {} {:?}", registry, image, attempts);
            }
        }

        #[test]
        fn any_bytes_and_any_image_are_answered(
            data in prop::collection::vec(any::<u8>(), 0..100), image: String,
        ) {
            let _ = lookup(&[PullSecret { secret_type: CONFIG, data: &data }], &image);
            prop_assert!(repository_of(&image).is_err() || image.is_ascii());
        }

        #[test]
        fn what_the_kubelet_skips_is_no_registry_for_us_either(raw in "[a-c.:/@%*\\[\\]1?# ]{0,12}") {
            // Blanks around the key are the one repair of ours that makes a URL out of something that is
            // none.
            if stored_key(&raw).is_none() && raw.trim() == raw {
                let fault = RegistryKey::parse(&raw).err();
                let user_or_fragment = raw.contains('@') || raw.contains('#');
                let refused = fault.is_some_and(|fault| fault != KeyFault::TooLong);
                prop_assert!(refused || user_or_fragment, "{}", raw);
            }
        }
    }
}
