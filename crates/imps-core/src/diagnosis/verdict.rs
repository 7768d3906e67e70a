//! The sum: of all findings the one that explains the others.

use super::case::{Case, Container};
use super::code::{Code, Severity};
use super::finding::{Finding, Verdict};
use super::probe;

/// What ends the search: it has nothing to do with credentials, or comes before them.
const OUTRIGHT: &[Code] = &[
    Code::ImageName,
    Code::NeverPull,
    Code::NotFound,
    Code::RateLimited,
    Code::Platform,
    Code::NodeStorage,
    Code::SignaturePolicy,
    Code::PullRecords,
    Code::UntrustedCertificate,
    Code::PlainHttp,
    Code::Proxy,
    Code::Dns,
    Code::NoConnection,
    Code::Timeout,
    Code::RegistryFailing,
];

/// Why no credential reached the registry, the most telling first.
const WITHHELD: &[Code] = &[
    Code::AccountNewer,
    Code::SecretElsewhere,
    Code::TargetConflict,
    Code::NotWritten,
    Code::SecretMissing,
    Code::SecretType,
    Code::SecretKey,
    Code::SecretHelpers,
    Code::SecretEmpty,
    Code::MissSpelling,
    Code::MissPort,
    Code::MissHub,
    Code::MissEcr,
    Code::MissPath,
    Code::MissHostParts,
    Code::NoLogin,
    Code::OwnList,
    Code::NotAttached,
    Code::OtherAccount,
    Code::Unreferenced,
    Code::Excluded,
    Code::NotSelected,
    Code::ProviderFailed,
    // A name that is mistyped looks like one that a credential is missing for.
    Code::NotFoundOrDenied,
    Code::NoMatch,
    Code::NoReferences,
];

/// Why a credential that reached the registry does not help, the most telling first.
const REFUSED: &[Code] = &[
    Code::ProbeNotFound,
    Code::Expired,
    Code::TokenExpired,
    Code::GrantFailing,
    // The registry's own word is later than what the kubelet heard.
    Code::ProbeNoRight,
    Code::ProbeRefused,
    Code::CredentialRefused,
    Code::NoPullRight,
    Code::NotFoundOrDenied,
    Code::Unauthorized,
    Code::AnonymousRefused,
    // What may be so only from this machine.
    Code::ProbeRateLimited,
    Code::ProbeUntrusted,
    Code::ProbeNoConnection,
    Code::ProbeTimeout,
    Code::ProbeNoRegistry,
    Code::Unclassified,
];

pub(super) fn conclude(case: &Case, findings: &[Finding]) -> Verdict {
    let has = |code: &Code| {
        let mut found = findings.iter().filter(|finding| finding.code == *code);
        // Of these the last one names the Secret, the first may only be what the kubelet said.
        if matches!(code, Code::SecretUndecodable | Code::NoLogin) { found.next_back() } else { found.next() }
    };
    // A login that the kubelet finds makes what is wrong with other Secrets a matter of its own.
    let offered = has(&Code::Match).is_some() && has(&Code::NoLogin).is_none();
    let undecodable = has(&Code::SecretUndecodable);
    // Nobody renews what is suspended.
    let held = has(&Code::Suspended).filter(|_| has(&Code::Expired).is_some());
    let withheld = if offered { None } else { WITHHELD.iter().find_map(has) };
    // A pull that the registry lets in lacks no login, whatever was heard or found before.
    let let_in = has(&Code::ProbeLetIn).filter(|_| probe::lets_all_in(case));
    let mut outright = OUTRIGHT.iter().filter(|code| let_in.is_none() || **code != Code::NotFound);
    let explained = outright
        .find_map(has)
        .or(undecodable)
        .or(let_in)
        .or(withheld)
        .or(held)
        .or_else(|| REFUSED.iter().find_map(has));
    let open = findings.iter().any(|finding| finding.severity() == Severity::Unknown);
    match explained {
        Some(finding) => {
            let weak = open && REFUSED.contains(&finding.code) && finding.code != Code::Expired;
            let gap = if weak { "; what could not be checked may be the reason" } else { "" };
            Verdict {
                code: Some(finding.code),
                text: format!("{}: {}{gap}", finding.subject, finding.cause),
                remedy: if weak { needs(findings) } else { finding.remedy.clone() },
                open: weak,
            }
        }
        None => unexplained(case, findings, open, offered),
    }
}

fn unexplained(case: &Case, findings: &[Finding], open: bool, offered: bool) -> Verdict {
    let sick = case.pod.containers.iter().any(Container::is_sick);
    let (text, remedy) = match (sick, open, offered) {
        (false, ..) => ("no container waits for its image".to_owned(), String::new()),
        (true, true, _) => ("could not be determined from what may be read".to_owned(), needs(findings)),
        (true, false, true) => ("the kubelet finds a login for each image".to_owned(), String::new()),
        (true, false, false) => ("nothing is known against it".to_owned(), String::new()),
    };
    Verdict { code: None, text, remedy, open: sick && open }
}

/// What it takes to see what could not be seen.
fn needs(findings: &[Finding]) -> String {
    let unknown = findings.iter().find(|finding| finding.severity() == Severity::Unknown);
    unknown.map(|finding| finding.remedy.clone()).unwrap_or_default()
}
