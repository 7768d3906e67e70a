//! The entries of the pod's pull secrets: which match an image as the kubelet matches, which nearly do, and whether
//! they are fresh.

use super::case::{Case, Container, PullSecret, Sight};
use super::code::Code;
use super::excerpt::shown_image;
use super::expiry;
use super::finding::Finding;
use super::near_miss::near_miss;
use super::ownership;
use super::references::attach;
use super::secrets::as_kubelet;
use crate::kubelet::{self, Attempt, Offer, lookup, repository_of};
use crate::name::SecretName;
use crate::registry::safe_label;

/// How many entries are named in one sentence.
pub(super) const NAMED_MAX: usize = 5;

/// How many seconds before its end a credential is worth a warning: a pull of a large image takes minutes.
pub(super) const SOON_SECONDS: i64 = 900;

/// The fourth and the fifth rung, for one image.
pub(super) fn examine(case: &Case, container: &Container, now: i64) -> Vec<Finding> {
    let Ok(repository) = repository_of(&container.image) else { return Vec::new() };
    let secrets: Vec<(&SecretName, &PullSecret)> = case
        .references()
        .iter()
        .filter_map(|name| Some((name, case.secrets.get(name)?.seen()?)))
        // The kubelet would try none; what the others hold is worth knowing all the same.
        .filter(|(_, secret)| kubelet::keys(&as_kubelet(secret)).is_ok_and(|keys| !keys.is_empty()))
        .collect();
    let read: Vec<kubelet::PullSecret<'_>> = secrets.iter().map(|(_, secret)| as_kubelet(secret)).collect();
    let attempts = lookup(&read, &container.image).unwrap_or_default();
    let named = |attempt: &Attempt| format!("secret/{} {}", secrets[attempt.secret_index].0, attempt.label());
    let mut findings = Vec::new();
    if attempts.is_empty() {
        findings.extend(misses(case, container, &repository, &secrets));
    } else {
        let shown: Vec<String> = attempts.iter().take(NAMED_MAX).map(named).collect();
        findings.push(
            Finding::new(Code::Match, shown_image(&container.image))
                .evidence(shown.join(", then "))
                .cause("the kubelet tries these entries"),
        );
        if attempts.len() > 1 {
            findings.push(
                Finding::new(Code::SeveralMatch, shown_image(&container.image))
                    .evidence(format!("{} entries", attempts.len()))
                    .cause("each one that fails is a failed login at the registry, and adds its error to the message"),
            );
        }
    }
    findings.extend(tied(&attempts).map(|attempt| any_first(secrets[attempt.secret_index].0, attempt)));
    for attempt in &attempts {
        let name = secrets[attempt.secret_index].0;
        findings.extend(judge(case, attempt, name, now));
    }
    if !attempts.iter().any(|attempt| matches!(attempt.offer, Offer::Login(_))) {
        findings.extend(unreferenced(case, container));
    }
    findings
}

/// The first ones of those that might as well come in another order.
pub(super) fn tied(attempts: &[Attempt]) -> impl Iterator<Item = &Attempt> {
    attempts.chunk_by(Attempt::is_tied_with).filter(|tied| tied.len() > 1).map(|tied| &tied[0])
}

/// What is to be said of the order of such.
pub(super) fn any_first(name: &SecretName, attempt: &Attempt) -> Finding {
    Finding::new(Code::SeveralMatch, format!("secret/{name}"))
        .evidence(format!("{} is in it in more than one spelling", attempt.label()))
        .cause("to the kubelet they are one, and each time it takes any of them first")
        .remedy("keep one of them")
}

/// Whether the kubelet would find a login for the image in this Secret alone.
pub(super) fn has_login_for(secret: &PullSecret, image: &str) -> bool {
    lookup(&[as_kubelet(secret)], image)
        .is_ok_and(|attempts| attempts.iter().any(|attempt| matches!(attempt.offer, Offer::Login(_))))
}

/// What is to be said about an entry that matches: why it gives no login, or how long that lasts.
pub(super) fn judge(case: &Case, attempt: &Attempt, name: &SecretName, now: i64) -> Option<Finding> {
    let subject = format!("secret/{name}");
    let evidence = |what: &str| format!("entry {}: {what}", attempt.label());
    let login = match &attempt.offer {
        Offer::Login(login) => login,
        Offer::Anonymous => {
            return Some(
                Finding::new(Code::NoLogin, subject)
                    .evidence(evidence("neither user name nor password"))
                    .cause("the kubelet uses only these two; identitytoken and registrytoken are dropped")
                    .remedy(mend(case, name, "write user name and password, or auth, into the entry")),
            );
        }
        Offer::NotText => {
            return Some(
                Finding::new(Code::NoLogin, subject)
                    .evidence(evidence("not UTF-8"))
                    .cause("bytes that are no text cannot be handed to the container runtime")
                    .remedy(mend(case, name, "encode user:password as UTF-8 in auth")),
            );
        }
    };
    let expires = expiry::of(&login.password)?;
    let left = expires - now;
    let finding = |code| Finding::new(code, subject.clone());
    Some(if left <= 0 {
        finding(Code::Expired)
            .evidence(evidence(&format!("a token that ended {} ago", span(-left))))
            .cause("the registry takes the token no longer")
            .remedy(mend(case, name, "renew it; imps does so for a source that holds the identity instead"))
    } else if left < SOON_SECONDS {
        finding(Code::ExpiresSoon)
            .evidence(evidence(&format!("a token that ends in {}", span(left))))
            .cause("pulls fail from then on unless something renews it")
            .remedy(mend(case, name, "see that what renews it runs"))
    } else {
        finding(Code::Fresh)
            .evidence(evidence(&format!("a token that ends in {}", span(left))))
            .cause("the token says that it is still good")
    })
}

fn misses(
    case: &Case,
    container: &Container,
    repository: &str,
    secrets: &[(&SecretName, &PullSecret)],
) -> Vec<Finding> {
    let mut findings = Vec::new();
    let mut labels = Vec::new();
    for (name, secret) in secrets {
        for key in kubelet::keys(&as_kubelet(secret)).unwrap_or_default() {
            labels.push(safe_label(&key));
            findings.extend(missed_by_little(case, name, &key, repository));
        }
    }
    if findings.is_empty() && !secrets.is_empty() {
        let host = repository.split('/').next().unwrap_or_default();
        let shown: Vec<&str> = labels.iter().take(NAMED_MAX).map(String::as_str).collect();
        let more = labels.len().saturating_sub(NAMED_MAX);
        let more = if more > 0 { format!(" and {more} more") } else { String::new() };
        findings.push(
            Finding::new(Code::NoMatch, shown_image(&container.image))
                .evidence(format!("entries for {}{more}", shown.join(", ")))
                .cause(format!("none of the pod's pull secrets has an entry for {host}"))
                .remedy(format!("add a login for {host} to {}", secrets[0].0)),
        );
    }
    findings.truncate(NAMED_MAX);
    findings
}

/// Why an entry of a Secret does not match the image, if it nearly does.
pub(super) fn missed_by_little(
    case: &Case,
    name: &SecretName,
    key: &str,
    repository: &str,
) -> Option<Finding> {
    let miss = near_miss(key, repository)?;
    let finding = Finding::new(miss.code, format!("secret/{name}"))
        .evidence(format!("entry {}, image {repository}", safe_label(key)))
        .cause(miss.cause)
        .remedy(mend(case, name, &miss.remedy));
    Some(finding)
}

/// Where the entry is to be corrected: in a Secret that imps writes, an edit would be undone.
fn mend(case: &Case, name: &SecretName, what: &str) -> String {
    match ownership::writer(case, name) {
        Some(grant) => format!(
            "imagepullsecret/{grant} writes {name}, so change its source and not the Secret: {what} (kubectl describe \
             imps {grant})"
        ),
        None => format!("in {}/{name}: {what}", case.pod.namespace),
    }
}

/// Secrets that nobody names and that would do.
pub(super) fn unreferenced(case: &Case, container: &Container) -> Vec<Finding> {
    let account: &[SecretName] = case.account.seen().map_or(&[], |account| &account.pull_secrets);
    let unnamed = |name: &SecretName| !case.references().contains(name) && !account.contains(name);
    let found = case.secrets.iter().filter_map(|(name, sight)| match sight {
        Sight::Seen(secret) if unnamed(name) && has_login_for(secret, &container.image) => Some(name),
        _ => None,
    });
    let foreign = found.filter(|name| ownership::writer(case, name).is_none());
    foreign
        .take(NAMED_MAX)
        .map(|name| {
            Finding::new(Code::Unreferenced, format!("secret/{name}"))
                .evidence(format!("it has a login for {}", shown_image(&container.image)))
                .cause(format!("neither {} nor its ServiceAccount names it", case.pod.subject))
                .remedy(attach(case, name.as_str()))
        })
        .collect()
}

/// A span of time in its largest unit.
pub fn span(seconds: i64) -> String {
    match seconds {
        ..120 => format!("{seconds} s"),
        120..7200 => format!("{} min", seconds / 60),
        7200..172_800 => format!("{} h", seconds / 3600),
        _ => format!("{} days", seconds / 86_400),
    }
}
