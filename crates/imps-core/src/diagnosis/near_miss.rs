//! Why an entry does not match an image that it was meant for: each rule of the kubelet is relaxed in turn, and the
//! one without which the entry would match is the reason.

use super::code::Code;
use crate::kubelet::{name_matches, split_host_port};
use crate::registry::{RegistryKey, host_matches, read_url, stored_key};

/// Hosts that people write for Docker Hub.
const HUB_HOSTS: [&str; 8] = [
    "index.docker.io",
    "registry-1.docker.io",
    "registry.docker.io",
    "registry.hub.docker.com",
    "hub.docker.com",
    "auth.docker.io",
    "docker.com",
    "www.docker.com",
];

/// The rule that stands between an entry and an image.
pub(super) struct Miss {
    pub(super) code: Code,
    pub(super) cause: String,
    pub(super) remedy: String,
}

/// A host with its port, and a path with its slash.
struct Place {
    host: String,
    port: String,
    path: String,
}

impl Place {
    fn of(name: &str) -> Option<Self> {
        let (authority, path) = read_url(name)?;
        let (host, port) = split_host_port(authority);
        Some(Self { host: host.to_owned(), port: port.to_owned(), path })
    }

    fn authority(&self) -> String {
        if self.port.is_empty() { self.host.clone() } else { format!("{}:{}", self.host, self.port) }
    }

    fn is_hub(&self) -> bool {
        self.host == "docker.io" && self.port.is_empty()
    }

    fn is_hub_alias(&self) -> bool {
        HUB_HOSTS.contains(&self.host.as_str())
    }
}

/// The reason why a key does not match a repository, if it is a small one. The repository is in its normal form.
pub(super) fn near_miss(key: &str, repository: &str) -> Option<Miss> {
    let image = Place::of(repository)?;
    let stored = stored_key(key);
    // What a forgiving reader takes the key for.
    let meant = RegistryKey::parse(without_scheme(key)).ok();
    let entry = Place::of(stored.as_deref().or(meant.as_ref().map(RegistryKey::as_str))?)?;
    if let Some(miss) = hub(&entry, &image) {
        return Some(miss);
    }
    let repaired = meant.as_ref().and_then(|meant| stored_key(meant.as_str()));
    if let (Some(meant), Some(repaired)) = (&meant, repaired)
        && stored.as_deref() != Some(repaired.as_str())
        && name_matches(&repaired, repository)
    {
        return Some(spelling(key, meant));
    }
    let host = host_matches(&entry.host, &image.host);
    let path = image.path.starts_with(&entry.path);
    match (host, entry.port == image.port) {
        (true, false) => Some(port(&entry, &image)),
        (true, true) if !path => Some(wrong_path(&entry, &image)),
        (false, true) => ecr(&entry, &image).or_else(|| host_parts(&entry, &image)),
        _ => None,
    }
}

fn without_scheme(key: &str) -> &str {
    match key.split_once("://") {
        Some((scheme, rest))
            if !scheme.eq_ignore_ascii_case("http") && !scheme.eq_ignore_ascii_case("https") =>
        {
            rest
        }
        _ => key,
    }
}

fn spelling(key: &str, meant: &RegistryKey) -> Miss {
    let lower = key.to_ascii_lowercase();
    let scheme = lower.contains("://") && !lower.starts_with("http://") && !lower.starts_with("https://");
    let path = lower.trim_end_matches('/');
    let cause = if scheme {
        "the key begins with a scheme that is neither http nor https"
    } else if key.trim() != key {
        "the key has blanks around it"
    } else if path.ends_with("/v1") || path.ends_with("/v2") {
        "the kubelet takes /v1 and /v2 off a key only with a slash behind them"
    } else if lower != key {
        "the kubelet compares hosts letter by letter, and the key has capitals"
    } else {
        "a slash at the end of a key with a path matches only what is below it"
    };
    Miss {
        code: Code::MissSpelling,
        cause: cause.to_owned(),
        remedy: format!("write the key as {}", meant.as_str()),
    }
}

fn hub(entry: &Place, image: &Place) -> Option<Miss> {
    if entry.is_hub_alias() && image.is_hub() {
        let organisation = entry.path.trim_start_matches("/v1").trim_start_matches("/v2").trim_matches('/');
        let right = match organisation {
            "" => "https://index.docker.io/v1/".to_owned(),
            path => format!("docker.io/{path}"),
        };
        return Some(Miss {
            code: Code::MissHub,
            cause:
                "images of Docker Hub match docker.io, and else https://index.docker.io/v1/ with its slash"
                    .to_owned(),
            remedy: format!("write the key as {right}"),
        });
    }
    let for_hub = entry.is_hub() || entry.host == "index.docker.io";
    (for_hub && image.is_hub_alias()).then(|| Miss {
        code: Code::MissHub,
        cause: format!("the image is spelled with {}, which no entry for Docker Hub matches", image.host),
        remedy: format!("write the image as docker.io{}", image.path),
    })
}

fn port(entry: &Place, image: &Place) -> Miss {
    let said = |place: &Place| match place.port.as_str() {
        "" => "no port".to_owned(),
        port => format!("port {port}"),
    };
    Miss {
        code: Code::MissPort,
        cause: format!(
            "ports are compared as text: the entry has {}, the image has {}",
            said(entry),
            said(image)
        ),
        remedy: format!("write the key as {}", image.authority()),
    }
}

fn wrong_path(entry: &Place, image: &Place) -> Miss {
    let star = if entry.path.contains('*') { ", and a * in a path is just a letter" } else { "" };
    Miss {
        code: Code::MissPath,
        cause: format!("the entry serves what begins with {}{}{star}", image.authority(), shown(&entry.path)),
        remedy: format!(
            "add an entry for {} or for a path that {} begins with",
            image.authority(),
            image.path
        ),
    }
}

/// A path out of a key is shown only if it has nothing but what paths of images have.
fn shown(path: &str) -> &str {
    let plain = |b: u8| b.is_ascii_alphanumeric() || b"/-_.*".contains(&b);
    if path.len() <= 64 && path.bytes().all(plain) { path } else { "/..." }
}

/// Account, region and the rest of a host of ECR.
fn ecr_parts(host: &str) -> Option<(&str, &str)> {
    let (account, rest) = host.split_once(".dkr.ecr")?;
    let region = rest.trim_start_matches("-fips").strip_prefix('.')?.split('.').next()?;
    (account.bytes().all(|b| b.is_ascii_digit()) && rest.contains(".amazonaws.com"))
        .then_some((account, region))
}

fn ecr(entry: &Place, image: &Place) -> Option<Miss> {
    let (entry_account, entry_region) = ecr_parts(&entry.host)?;
    let (account, region) = ecr_parts(&image.host)?;
    let cause = match (entry_account == account, entry_region == region) {
        (false, true) => format!("the entry is for account {entry_account}, the image of {account}"),
        (true, false) => format!("the entry is for region {entry_region}, the image of {region}"),
        _ => {
            format!("the entry is for {entry_account} in {entry_region}, the image of {account} in {region}")
        }
    };
    Some(Miss {
        code: Code::MissEcr,
        cause,
        remedy: format!("add an entry for {}, with a token of that account and region", image.host),
    })
}

fn host_parts(entry: &Place, image: &Place) -> Option<Miss> {
    let fixed = entry.host.trim_start_matches("*.");
    let below = |long: &str, short: &str| long.strip_suffix(short).is_some_and(|rest| rest.ends_with('.'));
    let related = below(&image.host, fixed) || image.host == fixed || below(fixed, &image.host);
    let count = |host: &str| host.split('.').count();
    let differs = count(&entry.host) != count(&image.host);
    // A host of one part is related to too many, unless somebody means all of them.
    let telling = fixed.contains('.') || entry.host.starts_with("*.");
    (related && differs && telling).then(|| Miss {
        code: Code::MissHostParts,
        cause: format!(
            "hosts are compared part by part: the entry's has {}, the image's {}",
            count(&entry.host),
            count(&image.host)
        ),
        remedy: format!("add an entry for {}", image.authority()),
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::kubelet::name_serves;

    #[test]
    fn each_near_miss_has_its_reason() {
        for (key, repository, expected) in [
            ("reg.io", "reg.io:5000/a/b", Some(Code::MissPort)),
            ("reg.io:443", "reg.io/a/b", Some(Code::MissPort)),
            ("https://index.docker.io/v1", "docker.io/library/nginx", Some(Code::MissHub)),
            ("index.docker.io/org", "docker.io/org/x", Some(Code::MissHub)),
            ("registry-1.docker.io", "docker.io/org/x", Some(Code::MissHub)),
            ("docker.io", "registry-1.docker.io/org/x", Some(Code::MissHub)),
            ("docker.io/org", "docker.io/other/x", Some(Code::MissPath)),
            ("reg.io/team", "reg.io/other/x", Some(Code::MissPath)),
            ("reg.io/*", "reg.io/other/x", Some(Code::MissPath)),
            ("reg.io/team/x/", "reg.io/team/x", Some(Code::MissSpelling)),
            ("Reg.IO", "reg.io/x", Some(Code::MissSpelling)),
            ("https://reg.io/v2", "reg.io/x", Some(Code::MissSpelling)),
            ("docker://reg.io", "reg.io/x", Some(Code::MissSpelling)),
            (" reg.io", "reg.io/x", Some(Code::MissSpelling)),
            ("*.reg.io", "a.b.reg.io/x", Some(Code::MissHostParts)),
            ("*.reg.io", "reg.io/x", Some(Code::MissHostParts)),
            ("*.io", "a.reg.io/x", Some(Code::MissHostParts)),
            ("reg.io", "eu.reg.io/x", Some(Code::MissHostParts)),
            ("*.amazonaws.com", "1.dkr.ecr.eu-west-1.amazonaws.com/x", Some(Code::MissHostParts)),
            ("1.dkr.ecr.eu-west-1.amazonaws.com", "2.dkr.ecr.eu-west-1.amazonaws.com/x", Some(Code::MissEcr)),
            ("1.dkr.ecr.eu-west-1.amazonaws.com", "1.dkr.ecr.us-east-1.amazonaws.com/x", Some(Code::MissEcr)),
            ("other.example", "reg.io/x", None),
            ("io", "reg.io/x", None),
        ] {
            let miss = near_miss(key, repository);
            assert_eq!(miss.as_ref().map(|miss| miss.code), expected, "{key} for {repository}");
            let Some(miss) = miss else { continue };
            // What a person is told to write is what the kubelet finds.
            let advice = ["write the key as ", "add an entry for "].iter().find_map(|verb| {
                let advised = miss.remedy.strip_prefix(verb)?;
                advised.split([' ', ',']).next()
            });
            let advised = advice.and_then(stored_key);
            let image = miss.remedy.strip_prefix("write the image as ");
            let works = match (&advised, image) {
                (Some(name), _) => name_serves(name, repository),
                (None, Some(image)) => stored_key(key).is_some_and(|name| name_serves(&name, image)),
                (None, None) => false,
            };
            assert!(works, "{key} for {repository}: {}", miss.remedy);
        }
    }

    proptest! {
        /// Whatever stands in a Secret; and who is told of a near miss was missed.
        #[test]
        fn any_key_is_judged_and_no_match_is_called_a_miss(
            key in "(https?://|oci://)?[aA]?[.:*]?[a-b]{1,3}(\\.[a-b*]{1,2}){0,2}(:[0-9]{0,3})?(/[a-b*]{0,2}){0,3}",
            repository in "[a-b]{1,2}\\.[a-b]{1,2}(:[0-9]{1,3})?/[a-b]{1,3}(/[a-b]{1,2})?",
        ) {
            if near_miss(&key, &repository).is_some() {
                prop_assert!(!stored_key(&key).is_some_and(|name| name_matches(&name, &repository)));
            }
        }

        #[test]
        fn nothing_in_a_key_makes_it_stumble(key in ".{0,40}", repository in "[a-z.]{1,9}(:[0-9]{1,3})?/[a-z/]{1,9}") {
            let _ = near_miss(&key, &repository);
        }
    }
}
