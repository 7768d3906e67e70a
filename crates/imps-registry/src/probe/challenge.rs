//! What a registry asks for with `WWW-Authenticate` (RFC 9110 section 11.6.1), and where a token for it is to be had.

use std::collections::BTreeMap;

use crate::endpoint::Endpoint;

/// Real ones have a few hundred bytes.
const HEADER_BYTES_MAX: usize = 8 * 1024;

/// More than one is rare.
const CHALLENGES_MAX: usize = 16;

/// How to show who asks.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) enum Challenge {
    /// By user name and password, to the registry itself.
    Basic,
    /// By a token of this service.
    Bearer(TokenService),
}

/// Who gives out tokens.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct TokenService {
    realm: String,
    service: Option<String>,
}

/// What of all that a registry offers is taken up: a token where there is a choice, as container runtimes do. None when
/// nothing of it can be.
pub(super) fn choose<'a>(
    headers: impl Iterator<Item = &'a str>,
    registry_is_here: bool,
) -> Option<Challenge> {
    let offered = offered(headers);
    let bearer = offered.iter().filter(|one| one.scheme == "bearer");
    let basic = offered.iter().any(|one| one.scheme == "basic").then_some(Challenge::Basic);
    bearer.filter_map(|one| TokenService::read(one, registry_is_here)).map(Challenge::Bearer).next().or(basic)
}

/// Whether the token that was shown is said to be none (RFC 6750 section 3.1), which one without the right is not.
pub(super) fn rejects_token<'a>(headers: impl Iterator<Item = &'a str>) -> bool {
    let said = |one: &Offered| one.parameters.get("error").is_some_and(|error| error == "invalid_token");
    offered(headers).iter().any(|one| one.scheme == "bearer" && said(one))
}

fn offered<'a>(headers: impl Iterator<Item = &'a str>) -> Vec<Offered> {
    let headers = headers.filter(|header| header.len() <= HEADER_BYTES_MAX);
    headers.flat_map(read).take(CHALLENGES_MAX).collect()
}

impl TokenService {
    /// It may be at any host, as it is for Docker Hub. But a login goes nowhere unencrypted, and nothing from elsewhere
    /// makes us talk to this machine.
    fn read(offered: &Offered, registry_is_here: bool) -> Option<Self> {
        let realm = offered.parameters.get("realm")?;
        let (address, query) = realm.split_once('?').unwrap_or((realm, ""));
        let endpoint = Endpoint::read("realm", address).ok()?;
        let near = registry_is_here || !endpoint.is_loopback();
        let plain = query.bytes().all(|b| b.is_ascii_graphic() && !b"#\\\"<>".contains(&b));
        let service = offered.parameters.get("service").cloned();
        (near && plain).then(|| Self { realm: realm.clone(), service })
    }

    /// Where to ask for a token that pulls from this repository and does nothing else, whatever the registry suggests.
    pub(super) fn url(&self, repository: &str) -> String {
        let mut query = form_urlencoded::Serializer::new(String::new());
        if let Some(service) = &self.service {
            query.append_pair("service", service);
        }
        query.append_pair("scope", &format!("repository:{repository}:pull"));
        let joint = if self.realm.contains('?') { '&' } else { '?' };
        format!("{}{joint}{}", self.realm, query.finish())
    }
}

/// One challenge as it stands there.
struct Offered {
    /// In lower case.
    scheme: String,
    /// By names in lower case; of those that repeat, the first.
    parameters: BTreeMap<String, String>,
}

/// Reads as far as there is sense.
fn read(header: &str) -> Vec<Offered> {
    let mut rest = header;
    let mut offered: Vec<Offered> = Vec::new();
    loop {
        rest = rest.trim_start_matches([' ', '\t', ',']);
        let name = token(&mut rest).to_ascii_lowercase();
        if name.is_empty() {
            return offered;
        }
        let after = rest.trim_start_matches([' ', '\t']);
        match (after.strip_prefix('='), offered.last_mut()) {
            (Some(value), Some(last)) => {
                rest = value.trim_start_matches([' ', '\t']);
                let Some(value) = value_of(&mut rest) else { return offered };
                last.parameters.entry(name).or_insert(value);
            }
            (Some(_), None) => return offered,
            (None, _) => offered.push(Offered { scheme: name, parameters: BTreeMap::new() }),
        }
    }
}

/// What begins with a token; empty when it does not.
fn token<'a>(rest: &mut &'a str) -> &'a str {
    let in_token = |c: char| c.is_ascii_alphanumeric() || "!#$%&'*+-.^_`|~/:".contains(c);
    let end = rest.find(|c| !in_token(c)).unwrap_or(rest.len());
    let (found, after) = rest.split_at(end);
    *rest = after;
    found
}

/// A token or a quoted text; none when it is neither.
fn value_of(rest: &mut &str) -> Option<String> {
    let Some(quoted) = rest.strip_prefix('"') else {
        let value = token(rest);
        return (!value.is_empty()).then(|| value.to_owned());
    };
    let mut value = String::new();
    let mut characters = quoted.char_indices();
    while let Some((at, c)) = characters.next() {
        match c {
            '"' => {
                *rest = &quoted[at + 1..];
                return Some(value);
            }
            '\\' => value.push(characters.next()?.1),
            c => value.push(c),
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn chosen(headers: &[&str]) -> Option<Challenge> {
        choose(headers.iter().copied(), false)
    }

    fn url(header: &str, registry_is_here: bool) -> Option<String> {
        match choose(std::iter::once(header), registry_is_here) {
            Some(Challenge::Bearer(service)) => Some(service.url("team/app")),
            _ => None,
        }
    }

    #[test]
    fn real_registries_are_understood() {
        const SCOPE: &str = "scope=repository%3Ateam%2Fapp%3Apull";
        for (header, expected) in [
            (
                r#"Bearer realm="https://auth.docker.io/token",service="registry.docker.io""#,
                format!("https://auth.docker.io/token?service=registry.docker.io&{SCOPE}"),
            ),
            (
                r#"Bearer realm="https://ghcr.io/token",service="ghcr.io",scope="repository:user/image:pull""#,
                format!("https://ghcr.io/token?service=ghcr.io&{SCOPE}"),
            ),
            (
                r#"bearer Realm = "https://x.azurecr.io/oauth2/token" , service=x.azurecr.io, error="invalid_token""#,
                format!("https://x.azurecr.io/oauth2/token?service=x.azurecr.io&{SCOPE}"),
            ),
            (
                r#"Bearer realm="https://git.example/jwt/auth?a=b",service="container, \"registry\"&x""#,
                format!("https://git.example/jwt/auth?a=b&service=container%2C+%22registry%22%26x&{SCOPE}"),
            ),
            (r#"Bearer realm="https://x.example/t""#, format!("https://x.example/t?{SCOPE}")),
        ] {
            assert_eq!(url(header, false), Some(expected), "{header}");
        }
        assert_eq!(chosen(&[r#"Basic realm="Registry Realm""#]), Some(Challenge::Basic));
        assert_eq!(chosen(&["BASIC"]), Some(Challenge::Basic));
    }

    #[test]
    fn of_several_a_token_is_preferred() {
        let bearer = r#"Bearer realm="https://x.example/t""#;
        for headers in [
            &["Basic realm=\"a\"", bearer][..],
            &[bearer, "Basic realm=\"a\""],
            &["Negotiate, Basic realm=\"a, b\", Bearer realm=\"https://x.example/t\""],
            &["Negotiate abc==, x", bearer],
        ] {
            assert!(matches!(chosen(headers), Some(Challenge::Bearer(_))), "{headers:?}");
        }
        let useless = ["Bearer realm=\"http://x.example/t\", Basic realm=\"a\""];
        assert_eq!(chosen(&useless), Some(Challenge::Basic));
    }

    #[test]
    fn a_login_goes_nowhere_unencrypted_and_nobody_elsewhere_sends_us_to_this_machine() {
        for (realm, from_here, from_elsewhere) in [
            ("https://x.example/t", true, true),
            ("https://10.0.0.1:8443/t", true, true),
            ("http://127.0.0.1:1/t", true, false),
            ("http://localhost:1/t", true, false),
            ("https://127.0.0.1:1/t", true, false),
            ("http://x.example/t", false, false),
            ("http://127.0.0.1.example/t", false, false),
            ("http://169.254.169.254/t", false, false),
            ("https://user:password@x.example/t", false, false),
            ("https://x.example/t#x", false, false),
            ("https://x.example/t?a=b#x", false, false),
            ("https://x.example/t?a=b c", false, false),
            ("file:///etc/passwd", false, false),
            ("//x.example/t", false, false),
            ("x.example", false, false),
            ("", false, false),
        ] {
            let header = format!("Bearer realm=\"{realm}\"");
            let found = (url(&header, true).is_some(), url(&header, false).is_some());
            assert_eq!(found, (from_here, from_elsewhere), "{realm}");
        }
    }

    #[test]
    fn nonsense_is_no_challenge() {
        let long = format!("Bearer realm=\"https://x.example/{}\"", "a".repeat(HEADER_BYTES_MAX));
        let many = "Digest, ".repeat(900);
        for header in [
            "",
            "=",
            ",,,",
            "\"",
            "Bearer",
            "Bearer realm",
            "Bearer realm=",
            "Bearer realm=\"https://x.example/t",
            "Bearer realm=\"https://x.example/t\\",
            "realm=\"https://x.example/t\"",
            "Bearer service=\"x\"",
            "Digest realm=\"https://x.example/t\"",
            &long,
            &many,
        ] {
            assert_eq!(chosen(&[header]), None, "{header:.80}");
        }
        assert_eq!(chosen(&[]), None);
    }

    proptest! {
        #[test]
        fn nothing_that_a_server_sends_makes_it_stumble(
            header in "\\PC{0,80}",
            pieces in "(Bearer|Basic|realm|[=,\" \\\\]){0,20}",
        ) {
            let _ = chosen(&[&header, &pieces]);
        }
    }
}
