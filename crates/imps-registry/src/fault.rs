//! What the failure of a request means, in words that are ours: of a server's answer only its status, a code from a
//! closed list and when it wants to be asked again are used. A server that repeats what it was sent, as an error or as
//! a code, is not listened to.

use std::time::Duration;

use imps_core::exchange::{ExchangeFault, ExchangeFaultClass, Flaw};
use serde_json::Value;

use crate::outside::in_words;

/// Clocks that differ by more make servers refuse what we signed.
const SKEW_MAX: Duration = Duration::from_secs(60);

/// Codes that are shown, by their APIs: RFC 6749 section 5.2 and RFC 8693 section 2.2.2 with what Microsoft and Google
/// add; google.rpc.Code; distribution/distribution:docs/content/spec/api.md.
const CODES: &[&str] = &[
    "access_denied",
    "admin_policy_enforced",
    "consent_required",
    "deleted_client",
    "disabled_client",
    "insufficient_scope",
    "interaction_required",
    "invalid_client",
    "invalid_grant",
    "invalid_request",
    "invalid_resource",
    "invalid_scope",
    "invalid_target",
    "invalid_token",
    "server_error",
    "slow_down",
    "temporarily_unavailable",
    "unauthorized_client",
    "unsupported_grant_type",
    "ABORTED",
    "DEADLINE_EXCEEDED",
    "FAILED_PRECONDITION",
    "INTERNAL",
    "INVALID_ARGUMENT",
    "NOT_FOUND",
    "PERMISSION_DENIED",
    "RESOURCE_EXHAUSTED",
    "UNAUTHENTICATED",
    "UNAVAILABLE",
    "UNIMPLEMENTED",
    "DENIED",
    "NAME_UNKNOWN",
    "TOOMANYREQUESTS",
    "UNAUTHORIZED",
    "UNSUPPORTED",
];

/// In front of the numbers of Microsoft.
const AADSTS: &str = "AADSTS";

/// Somebody who is asked, for words about it.
#[derive(Debug)]
pub(crate) struct Partner {
    /// `the token endpoint of Google`.
    pub(crate) name: &'static str,
    /// What to do when nobody or somebody else answers there: `look at tokenEndpoint`.
    pub(crate) look: &'static str,
    /// What to do about a denial with this status and code.
    pub(crate) advise: fn(u16, &str) -> &'static str,
    /// Statuses besides the usual ones that pass by themselves.
    pub(crate) passing: &'static [u16],
    /// It judges what we signed by its clock.
    pub(crate) by_clock: bool,
}

/// What counts of an answer that is no success.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Refused<'a> {
    pub(crate) status: u16,
    pub(crate) body: &'a [u8],
    /// How far its clock is from ours, if it showed one.
    pub(crate) skew: Option<Duration>,
    pub(crate) retry_after: Option<Duration>,
    /// It said that no request is left for the time being.
    pub(crate) spent: bool,
}

impl Partner {
    /// The fault behind an answer that is no success.
    pub(crate) fn refused(&self, refused: Refused<'_>) -> ExchangeFault {
        let Refused { status, retry_after, .. } = refused;
        let name = self.name;
        let code = code(refused.body);
        let of_status = format!("HTTP {status}");
        let class = match (status, code.as_deref().unwrap_or_default()) {
            (429, _) => ExchangeFaultClass::Throttled,
            (403, _) if refused.spent => ExchangeFaultClass::Throttled,
            (400..500, code) if is_throttling(code) => ExchangeFaultClass::Throttled,
            (408, _) | (500..600, _) => ExchangeFaultClass::Unreachable,
            (400..500, code) if is_trouble_of_the_server(code) => ExchangeFaultClass::Unreachable,
            (status, _) if self.passing.contains(&status) => ExchangeFaultClass::Unreachable,
            (400..500, _) => ExchangeFaultClass::Denied,
            _ => ExchangeFaultClass::Nonsense,
        };
        let code = code.filter(|_| status < 500).unwrap_or(of_status);
        let advice = match class {
            ExchangeFaultClass::Nonsense if (300..400).contains(&status) => {
                format!("{name} answers with a redirect, which imps never follows; {}", self.look)
            }
            ExchangeFaultClass::Nonsense => return self.nonsense(),
            ExchangeFaultClass::Throttled => {
                format!("{name} has had too many requests; imps asks again by itself")
            }
            ExchangeFaultClass::Unreachable => {
                format!("{name} fails on the server's side; imps asks again by itself")
            }
            ExchangeFaultClass::Denied if self.by_clock && refused.skew.is_some_and(|skew| skew > SKEW_MAX) => {
                "the clock of the node that imps runs on differs from that of the server by more than a minute, so \
                 that what is signed here counts as expired or early there; set it right"
                    .to_owned()
            }
            ExchangeFaultClass::Denied => (self.advise)(status, &code).to_owned(),
        };
        ExchangeFault { class, code, advice, retry_after }
    }

    /// It said yes and nothing that can be used.
    pub(crate) fn nonsense(&self) -> ExchangeFault {
        ExchangeFault {
            class: ExchangeFaultClass::Nonsense,
            code: "unreadable answer".into(),
            advice: format!(
                "the answer of {} is not what its API promises; look whether something else answers there: {}",
                self.name, self.look
            ),
            retry_after: None,
        }
    }

    /// It did not answer in time.
    pub(crate) fn silent(&self, patience: Duration) -> ExchangeFault {
        unreachable_because(
            format!("no answer within {}", in_words(patience)),
            format!("{} does not answer in time; when that lasts, {}", self.name, self.look),
        )
    }

    /// There is no way to it.
    pub(crate) fn unconnected(&self) -> ExchangeFault {
        unreachable_because(
            "no connection",
            format!(
                "{} cannot be reached: its name does not resolve, nothing answers there, or its certificate is not \
                 trusted; {}",
                self.name, self.look
            ),
        )
    }
}

fn is_throttling(code: &str) -> bool {
    ["slow_down", "RESOURCE_EXHAUSTED", "TOOMANYREQUESTS", "AADSTS90055"].contains(&code)
}

/// Some come with a status that blames the client.
fn is_trouble_of_the_server(code: &str) -> bool {
    [
        "temporarily_unavailable",
        "server_error",
        "ABORTED",
        "DEADLINE_EXCEEDED",
        "INTERNAL",
        "UNAVAILABLE",
        "AADSTS90033",
    ]
    .contains(&code)
}

/// The code in the body of an error, wherever the API puts it, if it is one that is shown.
fn code(body: &[u8]) -> Option<String> {
    let body: Value = serde_json::from_slice(body).ok()?;
    let number =
        body.pointer("/error_codes/0").and_then(Value::as_u64).filter(|number| *number < 100_000_000);
    if let Some(number) = number {
        return Some(format!("{AADSTS}{number}"));
    }
    let places = ["/error", "/error/status", "/errors/0/code"];
    let code = places.into_iter().find_map(|place| body.pointer(place)?.as_str())?;
    CODES.iter().find(|known| **known == code).map(|code| (*code).to_owned())
}

/// An identity or a right that is missing before anybody was asked.
pub(crate) fn denied(code: &str, advice: impl Into<String>) -> ExchangeFault {
    ExchangeFault {
        class: ExchangeFaultClass::Denied,
        code: code.into(),
        advice: advice.into(),
        retry_after: None,
    }
}

/// Nobody there, or nobody well.
pub(crate) fn unreachable_because(code: impl Into<String>, advice: impl Into<String>) -> ExchangeFault {
    ExchangeFault {
        class: ExchangeFaultClass::Unreachable,
        code: code.into(),
        advice: advice.into(),
        retry_after: None,
    }
}

/// The Secret says its login itself.
pub(crate) fn nothing_to_exchange() -> ExchangeFault {
    denied("no exchange", "the Secret holds a login, which is used as it is")
}

/// A Secret with a flaw cannot be exchanged; that is known before anybody is asked.
pub(crate) fn flawed(flaw: Flaw) -> ExchangeFault {
    denied("flawed", format!("in the source Secret {flaw}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    static SOMEBODY: Partner = Partner {
        name: "somebody",
        look: "look there",
        advise: |status, code| match (status, code) {
            (404, _) => "find it",
            (_, "invalid_client") => "put in another secret",
            _ => "look at the rights",
        },
        passing: &[410],
        by_clock: true,
    };

    fn refused(status: u16, body: &str) -> ExchangeFault {
        let (skew, retry_after) = (None, Some(Duration::from_secs(7)));
        SOMEBODY.refused(Refused { status, body: body.as_bytes(), skew, retry_after, spent: false })
    }

    #[test]
    fn status_and_code_decide_what_happened() {
        use ExchangeFaultClass::*;
        let oauth = |code: &str| format!("{{\"error\":\"{code}\",\"error_description\":\"canary\"}}");
        #[rustfmt::skip]
        let cases = [
            (400, oauth("invalid_grant"), Denied, "invalid_grant"),
            (401, oauth("invalid_client"), Denied, "invalid_client"),
            (400, oauth("slow_down"), Throttled, "slow_down"),
            (400, oauth("temporarily_unavailable"), Unreachable, "temporarily_unavailable"),
            (401, r#"{"error":"invalid_client","error_codes":[7000215]}"#.into(), Denied, "AADSTS7000215"),
            (400, r#"{"error":"x","error_codes":[90055]}"#.into(), Throttled, "AADSTS90055"),
            (400, r#"{"error":"x","error_codes":[90033]}"#.into(), Unreachable, "AADSTS90033"),
            (403, r#"{"error":{"code":403,"message":"canary","status":"PERMISSION_DENIED"}}"#.into(), Denied,
                "PERMISSION_DENIED"),
            (403, r#"{"error":{"status":"RESOURCE_EXHAUSTED"}}"#.into(), Throttled, "RESOURCE_EXHAUSTED"),
            (401, r#"{"errors":[{"code":"UNAUTHORIZED","message":"canary"}]}"#.into(), Denied, "UNAUTHORIZED"),
            (404, r#"{"message":"Not Found canary"}"#.into(), Denied, "HTTP 404"),
            (410, String::new(), Unreachable, "HTTP 410"),
            (408, String::new(), Unreachable, "HTTP 408"),
            (429, oauth("invalid_client"), Throttled, "invalid_client"),
            (500, oauth("invalid_client"), Unreachable, "HTTP 500"),
            (503, "<html>canary".into(), Unreachable, "HTTP 503"),
            (302, String::new(), Nonsense, "HTTP 302"),
            (101, String::new(), Nonsense, "unreadable answer"),
        ];
        for (status, body, class, code) in cases {
            let fault = refused(status, &body);
            assert_eq!((fault.class, fault.code.as_str()), (class, code), "{status} {body}");
            assert!(!fault.to_string().contains("canary"), "{fault}");
        }
        assert_eq!(refused(404, "").advice, "find it");
        assert_eq!(refused(401, &oauth("invalid_client")).advice, "put in another secret");
        assert_eq!(refused(429, "").retry_after, Some(Duration::from_secs(7)));
    }

    #[test]
    fn a_code_that_is_not_known_is_never_shown_as_it_may_be_what_was_sent() {
        for body in [
            r#"{"error":"canary"}"#,
            r#"{"error":"invalid_client canary"}"#,
            r#"{"error":{"status":"canary"}}"#,
            r#"{"errors":[{"code":"canary"}]}"#,
            r#"{"error_codes":["canary"]}"#,
            r#"{"error_codes":[12345678901234567890]}"#,
            r#"{"error_codes":[-1]}"#,
            "canary",
            "",
            "[[[[[[[[",
        ] {
            assert_eq!(refused(403, body).code, "HTTP 403", "{body}");
        }
    }

    #[test]
    fn a_clock_that_is_wrong_is_named_when_something_signed_is_refused() {
        let with = |status, skew, by_clock| {
            let partner = Partner { by_clock, ..SOMEBODY };
            partner.refused(Refused { status, body: b"", skew, retry_after: None, spent: false }).advice
        };
        let far = Some(Duration::from_secs(61));
        assert!(with(401, far, true).contains("clock of the node"));
        for (status, skew, by_clock) in [
            (401, Some(Duration::from_secs(59)), true),
            (401, None, true),
            (401, far, false),
            (500, far, true),
        ] {
            assert!(!with(status, skew, by_clock).contains("clock of the node"), "{status} {skew:?}");
        }
    }

    #[test]
    fn an_api_that_says_no_request_is_left_throttles() {
        let spent = Refused { status: 403, body: b"", skew: None, retry_after: None, spent: true };
        assert_eq!(SOMEBODY.refused(spent).class, ExchangeFaultClass::Throttled);
    }
}
