//! Explicit addresses of APIs, such as VPC endpoints, and who may be sent what there.

use std::net::IpAddr;

use http::Uri;
use imps_core::exchange::Flaw;

use super::partition::Partition;

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

    /// Whether it never leaves this machine.
    fn is_loopback(&self) -> bool {
        let address = self.host.trim_start_matches('[').trim_end_matches(']');
        self.host == "localhost" || address.parse().is_ok_and(|ip: IpAddr| ip.is_loopback())
    }

    /// Whether only Amazon can answer there for one of these services, so that an identity that is not the Secret's
    /// own may be shown to it. The end of the name alone would not do: `*.execute-api.REGION.amazonaws.com` is
    /// anybody's.
    pub(crate) fn is_trusted(&self, services: &[&str], region: &str) -> bool {
        let partition = Partition::of(region);
        let service = [partition.suffix, partition.dual_stack_api].into_iter().find_map(|suffix| {
            let rest = self.host.strip_suffix(suffix)?.strip_suffix('.')?;
            let rest = rest.strip_suffix(".vpce").unwrap_or(rest);
            let rest = rest.strip_suffix(region)?.strip_suffix('.')?;
            Some(rest.rsplit_once('.').map_or(rest, |(_, last)| last))
        });
        self.is_loopback() || service.is_some_and(|service| services.contains(&service))
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

    #[test]
    fn a_borrowed_identity_is_shown_to_amazon_and_this_machine_alone() {
        for (text, region) in [
            ("https://sts.eu-west-1.amazonaws.com", "eu-west-1"),
            ("https://sts.eu-west-1.api.aws", "eu-west-1"),
            ("https://sts-fips.us-east-1.amazonaws.com", "us-east-1"),
            ("https://vpce-0abc-1.sts.eu-west-1.vpce.amazonaws.com", "eu-west-1"),
            ("https://sts.cn-north-1.amazonaws.com.cn", "cn-north-1"),
            ("http://127.0.0.1:1", "eu-west-1"),
        ] {
            assert!(read(text).unwrap().is_trusted(&["sts", "sts-fips"], region), "{text}");
        }
        for text in [
            "https://evil.example",
            "https://sts.eu-west-1.amazonaws.com.evil.example",
            "https://evilsts.eu-west-1.amazonaws.com",
            "https://stseu-west-1.amazonaws.com",
            "https://sts.eu-west-1.evilamazonaws.com",
            "https://abc.execute-api.eu-west-1.amazonaws.com",
            "https://sts.execute-api.eu-west-1.amazonaws.com",
            "https://bucket.s3.eu-west-1.amazonaws.com",
            "https://sts.s3.amazonaws.com",
            "https://vpce-0.vpce-svc-1.eu-west-1.vpce.amazonaws.com",
            "https://api.ecr.eu-west-1.amazonaws.com",
            "https://sts.eu-west-2.amazonaws.com",
            "https://sts.eu-west-1.amazonaws.com.cn",
        ] {
            assert!(!read(text).unwrap().is_trusted(&["sts", "sts-fips"], "eu-west-1"), "{text}");
        }
    }
}
