//! The room for the keys of docker configs: which registry, and which part of it, a credential is for.
//!
//! One registry can be spelled in many ways (`https://Reg.io/v2/`, `reg.io`). The kubelet normalises some of
//! them, other clients normalise others, and two spellings in one Secret are tried by the kubelet in random
//! order. So there is one type for a key and one spelling of it, which every client reads alike; the rules
//! are those of `kubernetes/kubernetes:pkg/credentialprovider/keyring.go` with the repairs named at
//! [`RegistryKey::parse`].
//!
//! Keys come from Secrets and may hold a password (`https://user:password@host`). Nothing here repeats the
//! text it was given, except through [`safe_label`].

use std::{fmt, net::Ipv6Addr};

use thiserror::Error;

/// What is written for the whole Docker Hub: the only spelling that the docker CLI reads, and one of the two
/// that the kubelet and `containers/image` read.
const DOCKER_HUB: &str = "https://index.docker.io/v1/";

/// The host in the names of all images of Docker Hub, once they are normalised.
const DOCKER_HUB_HOST: &str = "docker.io";

/// The host under which the kubelet looks again when nothing else matched an image of Docker Hub.
const DOCKER_HUB_INDEX: &str = "index.docker.io";

/// Longest key that is accepted, in bytes. A host name of 253, a port of 6 and a repository name of 255 make
/// 514; the rest is room for a scheme, a `/v1/` and a login in front of the host.
pub const KEY_BYTES_MAX: usize = 1024;

/// Longest label that [`safe_label`] makes, in characters.
pub const LABEL_CHARS_MAX: usize = 64;

/// A key of `auths`, `host[:port][/path]`, in its one canonical spelling.
///
/// `Display` is the spelling that is written into targets, and the order is that of the spellings. An
/// accepted key holds printable ASCII only and nothing that could be a login, so it may be shown; it can be
/// as long as [`KEY_BYTES_MAX`].
///
/// ```
/// # use imps_core::registry::RegistryKey;
/// let key = RegistryKey::parse("https://Reg.io:5000/v2/team/").unwrap();
/// assert_eq!(key.to_string(), "reg.io:5000/team");
/// assert_eq!((key.host(), key.port(), key.path()), ("reg.io", Some("5000"), "team"));
/// ```
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RegistryKey {
    /// The output spelling. Invariant: only [`RegistryKey::parse`] makes it, and parsing it again changes
    /// nothing.
    spelling: Box<str>,
}

/// Why a text is not a registry key. None of these carries any of the text.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum KeyFault {
    /// Nothing is left, or nothing in front of the port or path.
    #[error("the key names no host")]
    NoHost,
    /// Longer than [`KEY_BYTES_MAX`].
    #[error("the key is longer than {KEY_BYTES_MAX} bytes")]
    TooLong,
    /// Spaces inside, or control characters.
    #[error("the key has a space or a control character in it")]
    Blank,
    /// An `@` behind the host: a password with a slash in front of it, or a digest. Either way no image can
    /// match.
    #[error("the key has an @ behind the host")]
    AtSign,
    /// Something that no registry host and no wildcard has.
    #[error("the host in the key has a character that no host name has")]
    HostCharacter,
    /// Two dots in a row, or a dot at an end of the host.
    #[error("the host in the key has an empty part between its dots")]
    HostLabel,
    /// Square brackets that do not hold an IPv6 address.
    #[error("the key has square brackets that do not hold an IPv6 address")]
    Brackets,
    /// A port that is not a number from 1 to 65535.
    #[error("the port in the key is not a number from 1 to 65535")]
    Port,
    /// Something that no repository path has, or a broken percent escape.
    #[error("the path in the key has a character that no repository path has")]
    PathCharacter,
}

/// The two parts of a key that count, as `url.Parse` of Go would cut them.
struct Cut<'r> {
    userinfo: Option<&'r str>,
    host_and_port: &'r str,
    /// Empty or with a leading slash, not yet unescaped.
    path: &'r str,
    fragment: &'r str,
}

// === impl RegistryKey ===

impl RegistryKey {
    /// Reads a key as it is spelled in a Secret and makes its spelling canonical.
    ///
    /// As the kubelet does: `http://` and `https://` do not count; a login in front of the host, a query and
    /// a fragment are dropped (so a `?` is never a wildcard: it begins a query); percent escapes in the path
    /// are resolved; a leading `/v1/` or `/v2/` of the path is removed, once; ports are compared as text, so
    /// `:443` is not the same as no port; wildcards (`*`) are allowed in the host and have no meaning in the
    /// path.
    ///
    /// Beyond the kubelet, repairs of spellings that it would never match: blanks around the key, upper case
    /// in scheme and host, `/v1` and `/v2` without the slash mean the whole registry. And for other clients
    /// (skopeo, podman and buildah find no key with a trailing slash): trailing slashes are removed, although
    /// the kubelet would keep `reg.io/team/` from serving `reg.io/teamwork`.
    ///
    /// `docker.io` and `index.docker.io` without port and path mean the whole Docker Hub and become
    /// `https://index.docker.io/v1/`; with a path both become `docker.io/<path>`. Hosts like
    /// `registry-1.docker.io` stay as they are, because the kubelet serves images spelled with that host from
    /// that key only.
    pub fn parse(raw: &str) -> Result<RegistryKey, KeyFault> {
        let trimmed = raw.trim_ascii();
        if trimmed.len() > KEY_BYTES_MAX {
            return Err(KeyFault::TooLong);
        }
        if trimmed.chars().any(|c| c.is_control() || c.is_whitespace()) {
            return Err(KeyFault::Blank);
        }
        let after_scheme = strip_scheme(trimmed);
        let authority_bytes = after_scheme.find(['/', '?', '#']).unwrap_or(after_scheme.len());
        if after_scheme[authority_bytes..].contains('@') {
            return Err(KeyFault::AtSign);
        }
        let cut = Cut::of(after_scheme);
        let (host, port) = split_port(cut.host_and_port)?;
        check_host(host)?;
        let mut host = host.to_ascii_lowercase();
        let path = canonical_path(cut.path)?;
        if port.is_none() && host == DOCKER_HUB_INDEX {
            host = DOCKER_HUB_HOST.into();
        }
        if port.is_none() && host == DOCKER_HUB_HOST && path.is_empty() {
            return Ok(RegistryKey { spelling: DOCKER_HUB.into() });
        }
        if let Some(port) = port {
            host.push(':');
            host.push_str(port);
        }
        // A path that itself begins with a version would lose it to the next reader, so it is given one to
        // lose.
        if version_prefix(&path) || path == "/v1" || path == "/v2" {
            host.push_str("/v2");
        }
        Ok(RegistryKey { spelling: (host + &path).into() })
    }

    /// The host, without port; in square brackets if it is an IPv6 address, `docker.io` for Docker Hub.
    pub fn host(&self) -> &str {
        match self.split().0 {
            bracketed if bracketed.starts_with('[') => {
                bracketed.find(']').map_or(bracketed, |end| &bracketed[..=end])
            }
            plain => plain.split(':').next().unwrap_or(plain),
        }
    }

    /// The port as it is spelled, if there is one.
    pub fn port(&self) -> Option<&str> {
        self.split().0[self.host().len()..].strip_prefix(':')
    }

    /// The path without its leading slash; empty if the key is for the whole registry.
    pub fn path(&self) -> &str {
        let path = self.split().1;
        path.strip_prefix("/v2/").or_else(|| path.strip_prefix('/')).unwrap_or(path)
    }

    /// Whether this key is for the whole of Docker Hub.
    pub fn is_docker_hub(&self) -> bool {
        &*self.spelling == DOCKER_HUB
    }

    /// The key as people know it: as written, except that Docker Hub is `docker.io`.
    pub fn display_name(&self) -> &str {
        if self.is_docker_hub() { DOCKER_HUB_HOST } else { &self.spelling }
    }

    /// The key as it is written into targets.
    pub fn as_str(&self) -> &str {
        &self.spelling
    }

    /// Whether the kubelet may match this key with an image of Docker Hub. If one does, the key
    /// `https://index.docker.io/v1/` is not looked at any more, because it is only a fall-back.
    pub(crate) fn may_match_docker_hub(&self) -> bool {
        !self.is_docker_hub() && self.port().is_none() && host_matches(self.host(), DOCKER_HUB_HOST)
    }

    /// How close a spelling of this key comes to what the kubelet would use: 0 is what it tries first for the
    /// images of this key, larger numbers come later, the largest never match.
    pub(crate) fn distance(&self, raw: &str) -> u8 {
        let stored = stored_key(raw);
        match stored.as_deref() {
            Some(DOCKER_HUB_HOST) if self.is_docker_hub() => 0,
            Some(DOCKER_HUB_INDEX) if self.is_docker_hub() => 1,
            Some(_) if stored == stored_key(&self.spelling) => 0,
            _ => 2,
        }
    }

    /// Host with port, and path with its leading slash.
    fn split(&self) -> (&str, &str) {
        if self.is_docker_hub() {
            return (DOCKER_HUB_HOST, "");
        }
        self.spelling.split_at(self.spelling.find('/').unwrap_or(self.spelling.len()))
    }
}

impl fmt::Display for RegistryKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.spelling)
    }
}

impl fmt::Debug for RegistryKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "RegistryKey({})", self.spelling)
    }
}

// === impl KeyFault ===

impl KeyFault {
    /// What a person can do about it.
    pub fn remedy(self) -> &'static str {
        match self {
            KeyFault::NoHost => "write the host of the registry as the key, for example registry.example.com",
            KeyFault::TooLong => "write only host, port and repository path as the key",
            KeyFault::Blank => "remove the spaces and line breaks from the key",
            KeyFault::AtSign => "take the login out of the key: user name and password belong into the entry",
            KeyFault::HostCharacter => {
                "write the host with letters, digits, dots and hyphens; * is the wildcard"
            }
            KeyFault::HostLabel => "remove the superfluous dot from the host",
            KeyFault::Brackets => {
                "use square brackets only around an IPv6 address, for example [2001:db8::1]:5000"
            }
            KeyFault::Port => {
                "write the port as a number from 1 to 65535, or leave it out; it cannot be a wildcard"
            }
            KeyFault::PathCharacter => {
                "write the path as the image has it, for example registry.example.com/team"
            }
        }
    }
}

// === impl Cut ===

impl<'r> Cut<'r> {
    /// Cuts what stands behind the scheme. Fragment and query end everything in front of them, the path
    /// begins at the first slash, and the login ends at the last `@` before it.
    fn of(after_scheme: &'r str) -> Cut<'r> {
        let (rest, fragment) = after_scheme.split_once('#').unwrap_or((after_scheme, ""));
        let rest = rest.split_once('?').map_or(rest, |(before_query, _)| before_query);
        let (authority, path) = rest.split_at(rest.find('/').unwrap_or(rest.len()));
        let (userinfo, host_and_port) = match authority.rsplit_once('@') {
            Some((userinfo, host_and_port)) => (Some(userinfo), host_and_port),
            None => (None, authority),
        };
        Cut { userinfo, host_and_port, path, fragment }
    }
}

// === the canonical spelling ===

/// Removes `http://` or `https://` in any case.
fn strip_scheme(key: &str) -> &str {
    ["https://", "http://"]
        .iter()
        .find_map(|scheme| {
            let head = key.get(..scheme.len())?;
            head.eq_ignore_ascii_case(scheme).then(|| &key[scheme.len()..])
        })
        .unwrap_or(key)
}

fn split_port(host_and_port: &str) -> Result<(&str, Option<&str>), KeyFault> {
    let host_bytes = match host_and_port.rfind(']') {
        Some(bracket) => bracket + 1,
        None if host_and_port.contains('[') => return Err(KeyFault::Brackets),
        None => host_and_port.find(':').unwrap_or(host_and_port.len()),
    };
    let (host, port) = host_and_port.split_at(host_bytes);
    if port.is_empty() {
        return Ok((host, None));
    }
    let port = port.strip_prefix(':').ok_or(KeyFault::Brackets)?;
    let digits = (1..=5).contains(&port.len()) && port.bytes().all(|b| b.is_ascii_digit());
    match port.parse::<u16>() {
        Ok(1..) if digits => Ok((host, Some(port))),
        _ => Err(KeyFault::Port),
    }
}

fn check_host(host: &str) -> Result<(), KeyFault> {
    if host.is_empty() {
        return Err(KeyFault::NoHost);
    }
    if host.contains(['[', ']']) {
        return if is_ip_literal(host) { Ok(()) } else { Err(KeyFault::Brackets) };
    }
    if !host.bytes().all(|b| b.is_ascii_alphanumeric() || b"-_.*".contains(&b)) {
        return Err(KeyFault::HostCharacter);
    }
    if host.split('.').any(str::is_empty) { Err(KeyFault::HostLabel) } else { Ok(()) }
}

/// Whether this is an IPv6 address in square brackets. A zone (`%eth0`) is not accepted: no image name can
/// have one.
fn is_ip_literal(host: &str) -> bool {
    host.strip_prefix('[')
        .and_then(|rest| rest.strip_suffix(']'))
        .is_some_and(|inner| inner.parse::<Ipv6Addr>().is_ok())
}

/// The path that the key is for: empty, or with a leading slash and without a trailing one.
fn canonical_path(escaped: &str) -> Result<String, KeyFault> {
    let path = unescape(escaped).ok_or(KeyFault::PathCharacter)?;
    if !path.iter().copied().all(is_path_byte) {
        return Err(KeyFault::PathCharacter);
    }
    let path = String::from_utf8(path).map_err(|_| KeyFault::PathCharacter)?;
    let path = match path.as_str() {
        "/v1" | "/v2" => "",
        versioned if version_prefix(versioned) => &versioned[3..],
        plain => plain,
    };
    Ok(path.trim_end_matches('/').to_owned())
}

/// What the paths of images can have, and what people hope to be a wildcard. Anything else could not match an
/// image, would have to be escaped again, or could be a secret in the wrong place (`reg.io/user:password`).
fn is_path_byte(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"/-_.*".contains(&byte)
}

fn version_prefix(path: &str) -> bool {
    path.starts_with("/v1/") || path.starts_with("/v2/")
}

/// Resolves percent escapes; `None` if one is broken.
fn unescape(escaped: &str) -> Option<Vec<u8>> {
    let mut bytes = escaped.bytes();
    let mut resolved = Vec::with_capacity(escaped.len());
    while let Some(byte) = bytes.next() {
        if byte == b'%' {
            let mut digit = || char::from(bytes.next()?).to_digit(16);
            let value = digit()? * 16 + digit()?;
            resolved.push(u8::try_from(value).ok()?);
        } else {
            resolved.push(byte);
        }
    }
    Some(resolved)
}

// === the kubelet's reading ===

/// The name under which the kubelet files an entry with this key, or `None` if it skips the entry because the
/// key is no URL (`keyring.go`, `Add`). It repairs nothing: what [`RegistryKey::parse`] calls a repair is
/// filed here under a name that no image matches.
pub(crate) fn stored_key(raw: &str) -> Option<String> {
    let after_scheme = raw.strip_prefix("https://").or_else(|| raw.strip_prefix("http://")).unwrap_or(raw);
    let (host, path) = read_url(after_scheme)?;
    let path = if version_prefix(&path) { &path[3..] } else { &path };
    Some(if path == "/" { host.to_owned() } else { [host, path].concat() })
}

/// Host with port, and unescaped path, of what stands behind a scheme, as far as `url.Parse` of Go 1.26
/// accepts it.
///
/// Bytes above 127 are let through as Go does; escapes of them in the host are not resolved and unescaped
/// paths that are not UTF-8 are patched, because neither can occur in the name of an image.
pub(crate) fn read_url(after_scheme: &str) -> Option<(&str, String)> {
    if after_scheme.bytes().any(|b| b.is_ascii_control()) {
        return None;
    }
    let cut = Cut::of(after_scheme);
    let userinfo_ok = |b: u8| b.is_ascii_alphanumeric() || b"-._:~!$&'()*+,;=%@".contains(&b);
    if !cut.userinfo.unwrap_or_default().bytes().all(userinfo_ok) {
        return None;
    }
    unescape(cut.userinfo.unwrap_or_default())?;
    unescape(cut.fragment)?;
    let host_bytes = match cut.host_and_port.rfind(']') {
        Some(bracket) => bracket + 1,
        None => cut.host_and_port.find(':').unwrap_or(cut.host_and_port.len()),
    };
    let (host, port) = cut.host_and_port.split_at(host_bytes);
    if host.contains(['[', ']']) && !is_ip_literal(host) {
        return None;
    }
    let host_ok = |b: u8| !b.is_ascii() || b.is_ascii_alphanumeric() || b"-._~!$&'()*+,;=<>\"".contains(&b);
    if !host.starts_with('[') && !host.bytes().all(host_ok) {
        return None;
    }
    let digits = |port: &str| port.bytes().all(|b| b.is_ascii_digit());
    if !port.is_empty() && !port.strip_prefix(':').is_some_and(digits) {
        return None;
    }
    let path = unescape(cut.path)?;
    Some((cut.host_and_port, String::from_utf8_lossy(&path).into_owned()))
}

/// Whether a host with wildcards matches a host: as many labels, and each of them matches (`keyring.go`,
/// `URLsMatch`).
pub(crate) fn host_matches(pattern: &str, host: &str) -> bool {
    pattern.split('.').count() == host.split('.').count()
        && pattern.split('.').zip(host.split('.')).all(|(pattern, label)| label_matches(pattern, label))
}

/// What `filepath.Match` says about one label. Only `*` is a wildcard here: a `?` begins the query of a key,
/// Go does not accept a backslash in a host, and brackets only occur around an IPv6 address, which as a class
/// of characters stands for a single one and so never matches an address.
fn label_matches(pattern: &str, label: &str) -> bool {
    let Some((first, rest)) = pattern.split_once('*') else {
        return pattern == label && !pattern.contains(['[', ']']);
    };
    let Some(mut open) = label.strip_prefix(first) else { return false };
    let (middle, last) = rest.rsplit_once('*').unwrap_or(("", rest));
    // The leftmost place for each piece leaves the most for the pieces behind it.
    for piece in middle.split('*') {
        let Some(at) = open.find(piece) else { return false };
        open = &open[at + piece.len()..];
    }
    open.ends_with(last)
}

// === labels ===

/// A text by which a person recognises a key, whatever the key holds: host, port and path of it, cut to
/// [`LABEL_CHARS_MAX`] characters of printable ASCII.
///
/// Everything up to the last `@` is left out, and so are a query and a fragment. Where it is unclear what
/// belongs to a login (an `@` behind the first slash, escapes in front of it, a port that is no number) that
/// is not shown: a label that says too little is a nuisance, one that says too much is a leak.
pub fn safe_label(raw: &str) -> String {
    const HIDDEN: &str = "(hidden)";
    let after_scheme = strip_scheme(raw.trim());
    let authority_bytes = after_scheme.find(['/', '?', '#']).unwrap_or(after_scheme.len());
    let (authority, rest) = after_scheme.split_at(authority_bytes);
    if rest.contains('@') || rest.contains("%40") || authority.contains('%') {
        return HIDDEN.into();
    }
    let host_and_port = authority.rsplit_once('@').map_or(authority, |(_, host_and_port)| host_and_port);
    let host_bytes = match host_and_port.find(']') {
        Some(bracket) if host_and_port.starts_with('[') => bracket + 1,
        _ => host_and_port.find(':').unwrap_or(host_and_port.len()),
    };
    let (host, port) = host_and_port.split_at(host_bytes);
    let shown = |c: char| if c.is_ascii_alphanumeric() || "-_.*[]:".contains(c) { c } else { '?' };
    let mut label: String = host.chars().take(LABEL_CHARS_MAX + 1).map(shown).collect();
    let port_ok = |port: &str| port.len() <= 5 && port.bytes().all(|b| b.is_ascii_digit());
    if port.strip_prefix(':').is_some_and(port_ok) {
        label.push_str(port);
    } else if !port.is_empty() {
        label.push_str(":...");
    }
    let path = rest.split(['?', '#']).next().unwrap_or_default();
    if path.bytes().all(is_path_byte) {
        label.push_str(path.get(..LABEL_CHARS_MAX).unwrap_or(path));
    } else {
        label.push_str("/...");
    }
    if label.is_empty() {
        return "(empty)".into();
    }
    if label.len() > LABEL_CHARS_MAX {
        label.truncate(LABEL_CHARS_MAX - 3);
        label.push_str("...");
    }
    label
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn canonical(raw: &str) -> String {
        RegistryKey::parse(raw).unwrap_or_else(|fault| panic!("{raw}: {fault}")).to_string()
    }

    #[test]
    fn every_spelling_of_a_registry_becomes_one() {
        for (raw, expected) in [
            ("reg.io", "reg.io"),
            (" reg.io\n", "reg.io"),
            ("https://reg.io", "reg.io"),
            ("HTTP://Reg.IO/", "reg.io"),
            ("https://reg.io/v1/", "reg.io"),
            ("https://reg.io/v2/", "reg.io"),
            ("https://reg.io/v2", "reg.io"),
            ("reg.io/v1", "reg.io"),
            ("http://reg.io/v1/foo", "reg.io/foo"),
            ("reg.io/team/", "reg.io/team"),
            ("reg.io/team//", "reg.io/team"),
            ("reg.io/Team", "reg.io/Team"),
            ("reg.io:443", "reg.io:443"),
            ("reg.io:5000/team", "reg.io:5000/team"),
            ("https://user:password@reg.io/team", "reg.io/team"),
            ("https://user:p@ss@reg.io", "reg.io"),
            ("reg.io?service=x", "reg.io"),
            ("reg.io/team?x#y", "reg.io/team"),
            ("reg.io#x", "reg.io"),
            ("reg.io/te%61m", "reg.io/team"),
            ("[::1]:5000", "[::1]:5000"),
            ("[2001:DB8::1]/team", "[2001:db8::1]/team"),
            ("localhost:5000", "localhost:5000"),
            ("*.dkr.ecr.*.amazonaws.com", "*.dkr.ecr.*.amazonaws.com"),
            ("12*.dkr.ecr.eu-west-1.amazonaws.com", "12*.dkr.ecr.eu-west-1.amazonaws.com"),
            ("reg.io/*", "reg.io/*"),
            ("my_reg.io", "my_reg.io"),
        ] {
            assert_eq!(canonical(raw), expected, "{raw}");
        }
    }

    #[test]
    fn a_path_that_begins_with_a_version_keeps_it() {
        for (raw, expected, path) in [
            ("reg.io/v2/v2/foo", "reg.io/v2/v2/foo", "v2/foo"),
            ("reg.io/v1/v2/foo", "reg.io/v2/v2/foo", "v2/foo"),
            ("reg.io/v1/v1", "reg.io/v2/v1", "v1"),
            ("reg.io/v2/v2/", "reg.io/v2/v2", "v2"),
            ("reg.io/v22/foo", "reg.io/v22/foo", "v22/foo"),
            ("docker.io/v2/v2/x", "docker.io/v2/v2/x", "v2/x"),
        ] {
            assert_eq!(canonical(raw), expected, "{raw}");
            assert_eq!(RegistryKey::parse(raw).unwrap().path(), path, "{raw}");
        }
    }

    #[test]
    fn docker_hub_has_one_spelling_for_all_of_it_and_another_for_a_part() {
        for raw in [
            "docker.io",
            "https://docker.io",
            "Docker.IO/",
            "docker.io/v2/",
            "index.docker.io",
            "index.docker.io/v1/",
            "https://index.docker.io/v1/",
            "https://index.docker.io/v1",
            "http://index.docker.io/v2/",
        ] {
            assert_eq!(canonical(raw), "https://index.docker.io/v1/", "{raw}");
            let key = RegistryKey::parse(raw).unwrap();
            assert!(key.is_docker_hub());
            assert_eq!(
                (key.display_name(), key.host(), key.port(), key.path()),
                ("docker.io", "docker.io", None, "")
            );
        }
        for (raw, expected) in [
            ("docker.io/org", "docker.io/org"),
            ("https://index.docker.io/v1/org/", "docker.io/org"),
            ("docker.io:443", "docker.io:443"),
            ("index.docker.io:443", "index.docker.io:443"),
            ("registry-1.docker.io", "registry-1.docker.io"),
            ("https://registry.hub.docker.com/v2/", "registry.hub.docker.com"),
        ] {
            assert_eq!(canonical(raw), expected, "{raw}");
            assert!(!RegistryKey::parse(raw).unwrap().is_docker_hub());
        }
    }

    #[test]
    fn what_is_no_registry_is_refused_with_its_reason() {
        let long = format!("{}.io", "a".repeat(KEY_BYTES_MAX));
        for (raw, expected) in [
            ("", KeyFault::NoHost),
            ("  ", KeyFault::NoHost),
            ("https://", KeyFault::NoHost),
            ("https:///team", KeyFault::NoHost),
            (":5000", KeyFault::NoHost),
            ("user@", KeyFault::NoHost),
            (long.as_str(), KeyFault::TooLong),
            ("re g.io", KeyFault::Blank),
            ("reg.io/te\tam", KeyFault::Blank),
            ("reg.io\u{a0}", KeyFault::Blank),
            ("reg\u{7f}.io", KeyFault::Blank),
            ("https://us/er:pa@reg.io", KeyFault::AtSign),
            ("https://us?er:pa@reg.io", KeyFault::AtSign),
            ("reg.io/app@sha256", KeyFault::AtSign),
            ("r%65g.io", KeyFault::HostCharacter),
            ("rég.io", KeyFault::HostCharacter),
            ("reg\\io", KeyFault::HostCharacter),
            ("reg..io", KeyFault::HostLabel),
            ("reg.io.", KeyFault::HostLabel),
            ("r[ab]g.io", KeyFault::Brackets),
            ("[ab]:5000", KeyFault::Brackets),
            ("[::1", KeyFault::Brackets),
            ("[::1]x", KeyFault::Brackets),
            ("[fe80::1%25eth0]", KeyFault::Brackets),
            ("reg.io:", KeyFault::Port),
            ("reg.io:*", KeyFault::Port),
            ("reg.io:port", KeyFault::Port),
            ("reg.io:0", KeyFault::Port),
            ("reg.io:65536", KeyFault::Port),
            ("reg.io:000080", KeyFault::Port),
            ("reg.io:+80", KeyFault::Port),
            ("reg.io:5000:1", KeyFault::Port),
            ("::1", KeyFault::Port),
            ("https://https://reg.io", KeyFault::Port),
            ("reg.io/%zz", KeyFault::PathCharacter),
            ("reg.io/%2", KeyFault::PathCharacter),
            ("reg.io/%2541", KeyFault::PathCharacter),
            ("reg.io/a%20b", KeyFault::PathCharacter),
            ("reg.io/a%3Fb", KeyFault::PathCharacter),
            ("reg.io/a%40b", KeyFault::PathCharacter),
            ("reg.io/é", KeyFault::PathCharacter),
            ("reg.io/app:1.0", KeyFault::PathCharacter),
        ] {
            assert_eq!(RegistryKey::parse(raw), Err(expected), "{raw}");
        }
    }

    #[test]
    fn the_parts_of_a_key_can_be_asked_for() {
        for (raw, host, port, path) in [
            ("reg.io", "reg.io", None, ""),
            ("reg.io:5000/a/b", "reg.io", Some("5000"), "a/b"),
            ("[::1]:5000/a", "[::1]", Some("5000"), "a"),
            ("[::1]", "[::1]", None, ""),
            ("docker.io/org", "docker.io", None, "org"),
        ] {
            let key = RegistryKey::parse(raw).unwrap();
            assert_eq!((key.host(), key.port(), key.path()), (host, port, path), "{raw}");
        }
    }

    #[test]
    fn wildcards_stand_for_any_part_of_one_label() {
        for (pattern, host, expected) in [
            ("*", "reg", true),
            ("*", "reg.io", false),
            ("*.io", "reg.io", true),
            ("r*.io", "reg.io", true),
            ("*g.io", "reg.io", true),
            ("r*g.io", "reg.io", true),
            ("r*g.io", "rg.io", true),
            ("r*g.io", "r.io", false),
            ("ab*ba.io", "aba.io", false),
            ("*a*b*.io", "xaxxbx.io", true),
            ("*a*b*.io", "xbxxax.io", false),
            ("**.io", "reg.io", true),
            ("a*a*a.io", "aa.io", false),
            ("reg.io", "reg.io", true),
            ("Reg.io", "reg.io", false),
            ("[::1]", "[::1]", false),
        ] {
            assert_eq!(host_matches(pattern, host), expected, "{pattern} {host}");
        }
    }

    #[test]
    fn the_spelling_that_the_kubelet_uses_is_the_closest() {
        let distances = |key: &str, spellings: &[&str]| -> Vec<u8> {
            let key = RegistryKey::parse(key).unwrap();
            spellings.iter().map(|raw| key.distance(raw)).collect()
        };
        assert_eq!(
            distances("reg.io", &["https://reg.io/v2/", "reg.io/", "https://reg.io/v2", "Reg.io"]),
            [0, 0, 2, 2]
        );
        assert_eq!(
            distances("docker.io", &["docker.io", "https://index.docker.io/v1/", "Docker.io"]),
            [0, 1, 2]
        );
        assert_eq!(distances("docker.io/org", &["docker.io/org", "index.docker.io/org"]), [0, 2]);
    }

    #[test]
    fn a_label_names_the_registry_and_leaves_the_login_out() {
        for (raw, expected) in [
            ("reg.io", "reg.io"),
            ("https://reg.io:5000/v2/team", "reg.io:5000/v2/team"),
            ("https://user:hunter2@reg.io/team", "reg.io/team"),
            ("user:hunter2@ho st", "ho?st"),
            ("https://a:b@c@d", "d"),
            ("https://user:hun/ter2@reg.io", "(hidden)"),
            ("https://user:hun?ter2@reg.io", "(hidden)"),
            ("https://user:hun#ter2@reg.io", "(hidden)"),
            ("user%3Ahunter2%40reg.io", "(hidden)"),
            ("user:hunter2", "user:..."),
            ("reg.io:5000", "reg.io:5000"),
            ("reg.io?token=hunter2", "reg.io"),
            ("reg.io/user:hunter2", "reg.io/..."),
            ("reg.io/a%40b", "(hidden)"),
            ("reg.io/a%2Fb", "reg.io/..."),
            ("[::1]:5000/x", "[::1]:5000/x"),
            ("re\ng\u{1b}[31m.io", "re?g?[31m.io"),
            ("rég.io", "r?g.io"),
            ("", "(empty)"),
            ("https://", "(empty)"),
        ] {
            assert_eq!(safe_label(raw), expected, "{raw}");
        }
        let long = safe_label(&format!("{}.io/team", "a".repeat(100)));
        assert_eq!((long.len(), long.ends_with("a...")), (LABEL_CHARS_MAX, true));
    }

    /// Keys as people and tools spell them, odd ones included.
    fn any_spelling() -> impl Strategy<Value = String> {
        let scheme = prop::sample::select(vec!["", "", "https://", "http://", "HTTPS://"]);
        let login = prop::sample::select(vec!["", "", "u:p@", "u@v@", "%41@"]);
        let host = prop_oneof![
            "[a-zA-Z0-9*_-]{1,6}(\\.[a-z*]{1,4}){0,2}",
            prop::sample::select(vec!["docker.io", "index.docker.io", "[::1]", "[2001:DB8::a]"])
                .prop_map(str::to_owned),
        ];
        let port = prop_oneof![Just(String::new()), Just(String::new()), "(:[0-9]{1,5})"];
        let path = "(/|/v1|/v2|/team|/a%2Fb|/\\*|/x_y|/%76%32){0,4}";
        let tail = prop::sample::select(vec!["", "", "?q=1", "#f", "?"]);
        (scheme, login, host, port, path, tail).prop_map(|(scheme, login, host, port, path, tail)| {
            [scheme, login, &host, &port, &path, tail].concat()
        })
    }

    proptest! {
        #[test]
        fn a_canonical_spelling_stays_as_it_is(raw in prop_oneof![any_spelling(), any::<String>()]) {
            if let Ok(key) = RegistryKey::parse(&raw) {
                prop_assert_eq!(RegistryKey::parse(key.as_str()), Ok(key.clone()));
                prop_assert!(key.as_str().bytes().all(|b| b.is_ascii_graphic() && b != b'@'));
                prop_assert_eq!(RegistryKey::parse(key.display_name()), Ok(key));
            }
        }

        #[test]
        fn most_odd_spellings_are_understood(raw in any_spelling()) {
            let fault = RegistryKey::parse(&raw).err();
            prop_assert!(matches!(fault, None | Some(KeyFault::Port)), "{} {:?}", raw, fault);
        }

        #[test]
        fn two_hosts_never_become_one_key(a in any_spelling(), b in any_spelling()) {
            let parts = |raw: &str| {
                let after_scheme = strip_scheme(raw);
                let cut = Cut::of(after_scheme);
                let host = cut.host_and_port.to_ascii_lowercase();
                if host == "index.docker.io" { "docker.io".to_owned() } else { host }
            };
            if let (Ok(key_a), Ok(key_b)) = (RegistryKey::parse(&a), RegistryKey::parse(&b)) {
                let port = key_a.port().map(|port| format!(":{port}")).unwrap_or_default();
                prop_assert_eq!(format!("{}{port}", key_a.host()), parts(&a));
                if key_a == key_b {
                    prop_assert_eq!(parts(&a), parts(&b));
                }
            }
        }

        #[test]
        fn the_kubelet_files_the_canonical_spelling_where_it_filed_the_original(raw in any_spelling()) {
            let repaired = |stored: &str| {
                let (host, path) = stored.split_at(stored.find('/').unwrap_or(stored.len()));
                host.bytes().any(|b| b.is_ascii_uppercase())
                    || raw.starts_with("HTTPS")
                    || path.ends_with('/')
                    || path == "/v1"
                    || path == "/v2"
            };
            if let (Ok(key), Some(stored)) = (RegistryKey::parse(&raw), stored_key(&raw)) {
                let hub = stored.starts_with("index.docker.io") || stored == "docker.io";
                let version_alone = key.as_str().contains("/v2/v") && stored.ends_with("/v2");
                let same_registry = hub && key.host() == "docker.io";
                if !(repaired(&stored) || same_registry || version_alone) {
                    prop_assert_eq!(stored_key(key.as_str()), Some(stored), "{}", raw);
                }
            }
        }

        #[test]
        fn a_label_never_shows_what_stands_in_front_of_an_at_sign(
            scheme in prop::sample::select(vec!["", "https://", "HTTP://", "ftp://", " https://"]),
            before in "[:/@?#%\\[\\] \n\\\\.a]{0,4}",
            after in "[:/@?#%\\[\\] \n\\\\.a]{0,4}",
            at in prop::sample::select(vec!["@", "%40"]),
            host in "[a-z./?# :@]{0,80}",
        ) {
            let raw = [scheme, &before, "canary", &after, at, &host].concat();
            let label = safe_label(&raw);
            prop_assert!(!label.contains("canary"), "{} {}", raw, label);
            // Escaped, the sign is not one, and the canary can be the host or path itself.
            if let (Ok(key), "@") = (RegistryKey::parse(&raw), at) {
                prop_assert!(!key.as_str().contains("canary"), "{} {}", raw, key);
            }
        }

        #[test]
        fn a_label_is_short_and_printable(raw in any::<String>()) {
            let label = safe_label(&raw);
            prop_assert!((1..=LABEL_CHARS_MAX).contains(&label.len()));
            prop_assert!(label.bytes().all(|b| b.is_ascii_graphic()));
        }

        #[test]
        fn a_label_matches_a_pattern_if_the_stars_can_be_filled_in(
            pattern in "[ab*]{0,6}", label in "[ab]{0,6}",
        ) {
            fn fills(pattern: &[u8], label: &[u8]) -> bool {
                match (pattern, label) {
                    ([], []) => true,
                    ([b'*', rest @ ..], _) => (0..=label.len()).any(|taken| fills(rest, &label[taken..])),
                    ([a, rest @ ..], [b, label @ ..]) => a == b && fills(rest, label),
                    _ => false,
                }
            }
            prop_assert_eq!(label_matches(&pattern, &label), fills(pattern.as_bytes(), label.as_bytes()));
        }
    }
}
