//! Where Amazon's partitions keep their APIs and registries. The SDK knows the hosts of APIs; those of registries,
//! which end up in docker configs, are ours to know.

use crate::endpoint::Endpoint;

/// A part of the cloud with identities and names of its own.
pub(crate) struct Partition {
    /// As it stands in ARNs.
    pub(crate) id: &'static str,
    /// What its regions begin with; empty for the one that all others fall to.
    region_prefix: &'static str,
    /// Of its hosts.
    pub(crate) suffix: &'static str,
    /// Of its hosts of APIs that have IPv6 addresses too.
    pub(crate) dual_stack_api: &'static str,
    /// Of its registries that have IPv6 addresses too, where they are known to exist.
    dual_stack_registry: Option<&'static str>,
}

/// Hosts of registries as in awslabs/amazon-ecr-credential-helper:ecr-login/api/client.go, those of APIs as in the
/// endpoint rules of the SDK.
static PARTITIONS: [Partition; 8] = [
    Partition {
        id: "aws-cn",
        region_prefix: "cn-",
        suffix: "amazonaws.com.cn",
        dual_stack_api: "api.amazonwebservices.com.cn",
        dual_stack_registry: Some("on.amazonwebservices.com.cn"),
    },
    Partition {
        id: "aws-us-gov",
        region_prefix: "us-gov-",
        suffix: "amazonaws.com",
        dual_stack_api: "api.aws",
        dual_stack_registry: Some("on.aws"),
    },
    Partition {
        id: "aws-iso",
        region_prefix: "us-iso-",
        suffix: "c2s.ic.gov",
        dual_stack_api: "api.aws.ic.gov",
        dual_stack_registry: None,
    },
    Partition {
        id: "aws-iso-b",
        region_prefix: "us-isob-",
        suffix: "sc2s.sgov.gov",
        dual_stack_api: "api.aws.scloud",
        dual_stack_registry: None,
    },
    Partition {
        id: "aws-iso-e",
        region_prefix: "eu-isoe-",
        suffix: "cloud.adc-e.uk",
        dual_stack_api: "api.cloud-aws.adc-e.uk",
        dual_stack_registry: None,
    },
    Partition {
        id: "aws-iso-f",
        region_prefix: "us-isof-",
        suffix: "csp.hci.ic.gov",
        dual_stack_api: "api.aws.hci.ic.gov",
        dual_stack_registry: None,
    },
    Partition {
        id: "aws-eusc",
        region_prefix: "eusc-",
        suffix: "amazonaws.eu",
        dual_stack_api: "api.amazonwebservices.eu",
        dual_stack_registry: None,
    },
    Partition {
        id: "aws",
        region_prefix: "",
        suffix: "amazonaws.com",
        dual_stack_api: "api.aws",
        dual_stack_registry: Some("on.aws"),
    },
];

impl Partition {
    /// That of a region. New regions are of the first partition unless their name says otherwise.
    pub(crate) fn of(region: &str) -> &'static Partition {
        let found = PARTITIONS.iter().find(|partition| region.starts_with(partition.region_prefix));
        found.expect("the last prefix is empty")
    }

    /// Whether its registries are known to have hosts with IPv6 addresses.
    pub(crate) fn has_dual_stack_registries(&self) -> bool {
        self.dual_stack_registry.is_some()
    }
}

/// The hosts of an account's registry in a region: the usual one, and those that are asked for.
pub(crate) fn hosts(account: &str, region: &str, fips: bool, dual_stack: bool) -> Vec<String> {
    let partition = Partition::of(region);
    let mut hosts = Vec::new();
    let kinds: &[&str] = if fips { &["", "-fips"] } else { &[""] };
    for kind in kinds {
        hosts.push(format!("{account}.dkr.ecr{kind}.{region}.{}", partition.suffix));
        if let Some(suffix) = partition.dual_stack_registry.filter(|_| dual_stack) {
            hosts.push(format!("{account}.dkr-ecr{kind}.{region}.{suffix}"));
        }
    }
    hosts
}

/// Why a host is refused.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum HostFlaw {
    /// It is no host of ECR.
    Foreign,
    /// A token serves one region, and this is another.
    Region,
}

/// Whether a token of the region may be sent to this host.
pub(crate) fn check_host(host: &str, region: &str) -> Result<(), HostFlaw> {
    let (account, rest) = host.split_once('.').ok_or(HostFlaw::Foreign)?;
    let rest = rest.strip_prefix("dkr.ecr").or_else(|| rest.strip_prefix("dkr-ecr"));
    let rest = rest.map(|rest| rest.strip_prefix("-fips").unwrap_or(rest));
    let rest = rest.and_then(|rest| rest.strip_prefix('.')).filter(|_| is_account(account));
    let (its_region, suffix) = rest.and_then(|rest| rest.split_once('.')).ok_or(HostFlaw::Foreign)?;
    if !is_region(its_region) {
        return Err(HostFlaw::Foreign);
    }
    let partition = Partition::of(its_region);
    if suffix != partition.suffix && Some(suffix) != partition.dual_stack_registry {
        return Err(HostFlaw::Foreign);
    }
    if its_region == region { Ok(()) } else { Err(HostFlaw::Region) }
}

/// Whether this is the number of an account.
pub(crate) fn is_account(text: &str) -> bool {
    text.len() == 12 && text.bytes().all(|b| b.is_ascii_digit())
}

/// Whether this is spelled like a region: letters, then at least one word of letters, then a number.
pub(crate) fn is_region(text: &str) -> bool {
    let letters = |word: &str| !word.is_empty() && word.bytes().all(|b| b.is_ascii_lowercase());
    let words: Vec<&str> = text.split('-').collect();
    let [first, middle @ .., last] = words.as_slice() else { return false };
    text.len() <= 32
        && first.len() >= 2
        && letters(first)
        && !middle.is_empty()
        && middle.iter().all(|word| letters(word))
        && (1..=2).contains(&last.len())
        && last.bytes().all(|b| b.is_ascii_digit())
}

/// Whether only Amazon can answer there for one of these services, so that an identity that is not the Secret's own may
/// be shown to it. The end of the name alone would not do: `*.execute-api.REGION.amazonaws.com` is anybody's.
pub(super) fn is_amazons(endpoint: &Endpoint, services: &[&str], region: &str) -> bool {
    let partition = Partition::of(region);
    let service = [partition.suffix, partition.dual_stack_api].into_iter().find_map(|suffix| {
        let rest = endpoint.host().strip_suffix(suffix)?.strip_suffix('.')?;
        let rest = rest.strip_suffix(".vpce").unwrap_or(rest);
        let rest = rest.strip_suffix(region)?.strip_suffix('.')?;
        Some(rest.rsplit_once('.').map_or(rest, |(_, last)| last))
    });
    endpoint.is_loopback() || service.is_some_and(|service| services.contains(&service))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_partition_has_its_own_hosts() {
        for (region, fips, dual_stack, expected) in [
            ("eu-west-1", false, false, &["dkr.ecr.eu-west-1.amazonaws.com"][..]),
            ("mx-central-1", false, false, &["dkr.ecr.mx-central-1.amazonaws.com"]),
            (
                "us-east-1",
                true,
                true,
                &[
                    "dkr.ecr.us-east-1.amazonaws.com",
                    "dkr-ecr.us-east-1.on.aws",
                    "dkr.ecr-fips.us-east-1.amazonaws.com",
                    "dkr-ecr-fips.us-east-1.on.aws",
                ],
            ),
            (
                "us-gov-west-1",
                true,
                false,
                &["dkr.ecr.us-gov-west-1.amazonaws.com", "dkr.ecr-fips.us-gov-west-1.amazonaws.com"],
            ),
            (
                "cn-north-1",
                false,
                true,
                &["dkr.ecr.cn-north-1.amazonaws.com.cn", "dkr-ecr.cn-north-1.on.amazonwebservices.com.cn"],
            ),
            ("us-iso-east-1", false, false, &["dkr.ecr.us-iso-east-1.c2s.ic.gov"]),
            ("us-isob-east-1", false, false, &["dkr.ecr.us-isob-east-1.sc2s.sgov.gov"]),
            ("eu-isoe-west-1", false, false, &["dkr.ecr.eu-isoe-west-1.cloud.adc-e.uk"]),
            ("us-isof-south-1", false, false, &["dkr.ecr.us-isof-south-1.csp.hci.ic.gov"]),
            ("eusc-de-east-1", false, false, &["dkr.ecr.eusc-de-east-1.amazonaws.eu"]),
        ] {
            let expected: Vec<String> = expected.iter().map(|host| format!("123456789012.{host}")).collect();
            let actual = hosts("123456789012", region, fips, dual_stack);
            assert_eq!(actual, expected, "{region}");
            for host in actual {
                assert_eq!(check_host(&host, region), Ok(()), "{host}");
            }
        }
    }

    #[test]
    fn a_host_that_is_not_of_the_region_or_not_of_ecr_is_refused() {
        for (host, expected) in [
            ("123456789012.dkr.ecr.eu-west-2.amazonaws.com", HostFlaw::Region),
            ("123456789012.dkr.ecr.cn-north-1.amazonaws.com.cn", HostFlaw::Region),
            ("12345678901.dkr.ecr.eu-west-1.amazonaws.com", HostFlaw::Foreign),
            ("*.dkr.ecr.eu-west-1.amazonaws.com", HostFlaw::Foreign),
            ("123456789012.dkr.ecr.eu-west-1.amazonaws.com.cn", HostFlaw::Foreign),
            ("123456789012.dkr.ecr.eu-west-1.amazonaws.com.evil.example", HostFlaw::Foreign),
            ("123456789012.dkr.ecr.eu-west-1.amazonaws.com:443", HostFlaw::Foreign),
            ("123456789012.dkr.ecr.eu-west-1.amazonaws.com/team", HostFlaw::Foreign),
            ("https://123456789012.dkr.ecr.eu-west-1.amazonaws.com", HostFlaw::Foreign),
            ("123456789012.dkr_ecr.eu-west-1.amazonaws.com", HostFlaw::Foreign),
            ("123456789012.dkr.ecrpublic.eu-west-1.amazonaws.com", HostFlaw::Foreign),
            ("123456789012.dkr.ecr.evil.example", HostFlaw::Foreign),
            ("registry.example.com", HostFlaw::Foreign),
            ("", HostFlaw::Foreign),
        ] {
            assert_eq!(check_host(host, "eu-west-1"), Err(expected), "{host}");
        }
    }

    #[test]
    fn regions_are_told_from_other_words() {
        for good in ["eu-west-1", "us-gov-west-1", "us-isob-east-1", "eusc-de-east-1", "ap-southeast-12"] {
            assert!(is_region(good), "{good}");
        }
        for bad in [
            "",
            "eu",
            "eu-1",
            "eu-west",
            "eu-west-",
            "e-west-1",
            "EU-west-1",
            "eu-w3st-1",
            "eu-west-1.x",
            "eu--1",
        ] {
            assert!(!is_region(bad), "{bad}");
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
            let endpoint = Endpoint::read("stsEndpoint", text).unwrap();
            assert!(is_amazons(&endpoint, &["sts", "sts-fips"], region), "{text}");
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
            let endpoint = Endpoint::read("stsEndpoint", text).unwrap();
            assert!(!is_amazons(&endpoint, &["sts", "sts-fips"], "eu-west-1"), "{text}");
        }
    }
}
