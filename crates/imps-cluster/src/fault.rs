//! What a failed request means: the error of the client becomes a fault that is safe to show.
//!
//! The server's free text is never passed on. It may quote the request, and ours hold credentials. What a person
//! needs from it (the webhook, the quota, the field) is picked out by shape.

use std::time::Duration;

use imps_core::reason::{Fault, FaultClass};
use kube::core::Status;

use crate::fence::NotLeading;

/// The answer took longer than imps waits.
pub fn timed_out(after: Duration) -> Fault {
    Fault { class: FaultClass::Unavailable, detail: format!("no answer within {} s", after.as_secs()) }
}

/// The server said yes and left out what was asked for.
pub fn empty(what: &str) -> Fault {
    unavailable(&format!("the answer holds no {what}"))
}

/// Reads the client's error.
pub fn fault(error: &kube::Error) -> Fault {
    match error {
        kube::Error::Api(status) => from_status(status),
        // The world has changed: what was planned is for somebody else to do.
        kube::Error::Service(error) if error.is::<NotLeading>() => {
            Fault { class: FaultClass::Changed, detail: NotLeading.to_string() }
        }
        kube::Error::Service(_) | kube::Error::HyperError(_) => unavailable("the connection failed"),
        kube::Error::Auth(_) => Fault {
            class: FaultClass::Forbidden,
            detail: "the credentials of imps itself cannot be read".to_owned(),
        },
        kube::Error::SerdeError(_) => unavailable("the answer is not what the API promises"),
        kube::Error::ReadEvents(_) => unavailable("the stream broke off"),
        _ => unavailable("the request could not be made"),
    }
}

fn unavailable(detail: &str) -> Fault {
    Fault { class: FaultClass::Unavailable, detail: detail.to_owned() }
}

/// Reads the server's own words about a failure.
pub fn from_status(status: &Status) -> Fault {
    let Status { code, reason, message, details, .. } = status;
    let causes = || details.iter().flat_map(|details| &details.causes);
    let of_namespace = details.as_ref().is_some_and(|details| details.kind == "namespaces");
    let terminating = causes().any(|cause| cause.reason == "NamespaceTerminating");
    let admission = names_admission(message) || message.contains("exceeded quota");
    let retry_after =
        details.as_ref().map(|details| details.retry_after_seconds).filter(|seconds| *seconds > 0);
    let class = match code {
        404 if of_namespace => FaultClass::NamespaceGone,
        403 if terminating => FaultClass::NamespaceGone,
        // "uid mismatch" and "field is immutable": another object stands at the name now.
        422 if causes().any(|cause| cause.field == "metadata.uid") => FaultClass::Changed,
        404 => FaultClass::Gone,
        409 | 410 => FaultClass::Changed,
        403 if admission => FaultClass::Refused,
        401 | 403 => FaultClass::Forbidden,
        429 => FaultClass::Throttled(retry_after.map(|seconds| Duration::from_secs(seconds.into()))),
        // A webhook that is down answers 500 in the server's name; trying again is right all the same.
        500..=599 => FaultClass::Unavailable,
        _ => FaultClass::Refused,
    };
    let mut detail = format!("HTTP {code} {}", word(reason));
    for part in [webhook(message), quota(message), right(message)].into_iter().flatten() {
        detail = format!("{detail}, {part}");
    }
    let fields: Vec<String> =
        causes().map(|cause| word(&cause.field)).filter(|field| !field.is_empty()).collect();
    if !fields.is_empty() {
        detail = format!("{detail}, about {}", fields.join(" and "));
    }
    Fault { class, detail }
}

/// At most 100 characters of a machine's word: letters, digits and the punctuation of paths.
fn word(text: &str) -> String {
    let fit = |c: &char| c.is_ascii_alphanumeric() || ".-_/[]:".contains(*c);
    text.chars().take_while(fit).take(100).collect()
}

fn names_admission(message: &str) -> bool {
    ["admission webhook", "ValidatingAdmissionPolicy", "denied request", "violates PodSecurity"]
        .iter()
        .any(|sign| message.contains(sign))
}

fn webhook(message: &str) -> Option<String> {
    let named = quoted_after(message, "webhook \"").map(|name| format!("webhook {name}"));
    named
        .or_else(|| quoted_after(message, "ValidatingAdmissionPolicy '").map(|name| format!("policy {name}")))
}

fn quota(message: &str) -> Option<String> {
    let name = message.split_once("exceeded quota: ")?.1;
    Some(format!("quota {}", word(name.split([',', ' ']).next()?)))
}

/// `cannot patch resource "secrets"`: the verb and the resource that a role lacks.
fn right(message: &str) -> Option<String> {
    let rest = message.split_once(" cannot ")?.1;
    let (verb, rest) = rest.split_once(" resource \"")?;
    let resource = rest.split('"').next()?;
    Some(format!("needs {} on {}", word(verb), word(resource)))
}

fn quoted_after(message: &str, sign: &str) -> Option<String> {
    let rest = message.split_once(sign)?.1;
    let name = word(rest.split(['"', '\'']).next()?);
    (!name.is_empty()).then_some(name)
}

#[cfg(test)]
mod tests {
    use kube::core::response::{StatusCause, StatusDetails};

    use super::*;

    fn status(code: u16, message: &str, causes: &[(&str, &str)]) -> Status {
        let causes = causes.iter().map(|(reason, field)| StatusCause {
            reason: (*reason).to_owned(),
            field: (*field).to_owned(),
            message: "hunter2".to_owned(),
        });
        let details = StatusDetails { causes: causes.collect(), ..serde_json::from_str("{}").unwrap() };
        Status { code, details: Some(details), ..Status::failure(message, "Reason") }
    }

    #[test]
    fn each_answer_asks_for_what_helps() {
        let cases = [
            (
                status(403, "forbidden: User \"x\" cannot patch resource \"secrets\" in", &[]),
                FaultClass::Forbidden,
            ),
            (
                status(403, "admission webhook \"w.example\" denied the request: hunter2", &[]),
                FaultClass::Refused,
            ),
            (status(403, "exceeded quota: q, requested: secrets=1", &[]), FaultClass::Refused),
            (status(403, "being terminated", &[("NamespaceTerminating", "")]), FaultClass::NamespaceGone),
            (status(404, "", &[]), FaultClass::Gone),
            (status(409, "", &[]), FaultClass::Changed),
            (status(422, "", &[("FieldValueInvalid", "metadata.uid")]), FaultClass::Changed),
            (status(422, "", &[("FieldValueInvalid", "metadata.labels")]), FaultClass::Refused),
            (status(429, "", &[]), FaultClass::Throttled(None)),
            (status(503, "", &[]), FaultClass::Unavailable),
        ];
        for (status, class) in cases {
            assert_eq!(from_status(&status).class, class, "{status:?}");
        }
    }

    #[test]
    fn what_a_person_needs_is_named_and_the_server_s_text_is_not_quoted() {
        let told = |message: &str, causes: &[(&str, &str)]| from_status(&status(403, message, causes)).detail;
        assert_eq!(
            told("admission webhook \"w.example\" denied the request: hunter2", &[]),
            "HTTP 403 Reason, webhook w.example"
        );
        assert_eq!(told("exceeded quota: q1, requested: hunter2", &[]), "HTTP 403 Reason, quota q1");
        assert_eq!(
            told(
                "secrets \"hunter2\" is forbidden: User \"u\" cannot patch resource \"secrets\" in API group",
                &[]
            ),
            "HTTP 403 Reason, needs patch on secrets"
        );
        assert_eq!(told("hunter2", &[("x", "metadata.labels")]), "HTTP 403 Reason, about metadata.labels");
    }
}
