//! Explicit addresses of APIs, such as private endpoints: encrypted, or on this machine. Who may be sent what there is
//! for each provider to say.

use std::net::IpAddr;

use http::Uri;
use imps_core::exchange::Flaw;

/// An address that the Secret gives.
pub(crate) struct Endpoint {
    /// As it stands in the Secret.
    pub(crate) url: String,
    /// Its host, with the port where there is one.
    pub(crate) authority: String,
    host: String,
}

impl Endpoint {
    /// Reads the value of a key.
    pub(crate) fn read(key: &'static str, text: &str) -> Result<Self, Flaw> {
        let flaw = |problem| Err(Flaw { key, problem });
        if text.contains(['@', '?', '#', '\\', '%']) {
            return flaw(
                "holds more than an address; give https://HOST[:PORT] without login, query or fragment",
            );
        }
        let parsed = text.parse::<Uri>().ok().and_then(|uri| {
            let authority = uri.authority()?;
            Some((
                uri.scheme_str()?.to_owned(),
                authority.as_str().to_ascii_lowercase(),
                authority.host().to_owned(),
            ))
        });
        let Some((scheme, authority, host)) = parsed.filter(|(.., host)| !host.is_empty()) else {
            return flaw("is no address; give https://HOST[:PORT]");
        };
        let endpoint = Self { url: text.to_owned(), authority, host: host.to_ascii_lowercase() };
        match scheme.as_str() {
            "https" => Ok(endpoint),
            "http" if endpoint.is_loopback() => Ok(endpoint),
            "http" => flaw("is not encrypted; give an address with https"),
            _ => flaw("is no address; give https://HOST[:PORT]"),
        }
    }

    /// Its host, in lower case and without port.
    pub(crate) fn host(&self) -> &str {
        &self.host
    }

    /// The address of something below it.
    pub(crate) fn join(&self, path: &str) -> String {
        format!("{}{path}", self.url.trim_end_matches('/'))
    }

    /// Whether it never leaves this machine.
    pub(crate) fn is_loopback(&self) -> bool {
        let address = self.host.trim_start_matches('[').trim_end_matches(']');
        self.host == "localhost" || address.parse().is_ok_and(|ip: IpAddr| ip.is_loopback())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Result<Endpoint, Flaw> {
        Endpoint::read("endpoint", text)
    }

    #[test]
    fn only_encrypted_addresses_and_this_machine_are_taken() {
        for (text, authority) in [
            ("https://ecr.example.com", "ecr.example.com"),
            ("https://ECR.example.com:8443/", "ecr.example.com:8443"),
            ("https://10.0.0.1", "10.0.0.1"),
            ("http://127.0.0.1:5000", "127.0.0.1:5000"),
            ("http://127.9.9.9", "127.9.9.9"),
            ("http://[::1]:5000/x", "[::1]:5000"),
            ("http://localhost", "localhost"),
        ] {
            assert_eq!(read(text).map(|endpoint| endpoint.authority).as_deref(), Ok(authority), "{text}");
        }
        for text in [
            "http://ecr.example.com",
            "http://localhost.example.com",
            "http://10.0.0.1",
            "http://[::ffff:127.0.0.1]",
            "http://0.0.0.0",
            "ftp://ecr.example.com",
            "ecr.example.com",
            "//ecr.example.com",
            "/x",
            "https://",
            "https://user:pass@ecr.example.com",
            "https://user@ecr.example.com",
            "https://ecr.example.com?x=y",
            "https://ecr.example.com/#x",
            "https://ecr.example.com\\@evil.example",
            "https://ecr%2eexample.com",
            "",
        ] {
            assert!(read(text).is_err(), "{text}");
        }
    }
}
