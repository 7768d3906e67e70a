//! What a failure means, in words that are ours: of the server's answer only its status, its code and when it wants to
//! be asked again are used.

use std::error::Error;
use std::time::Duration;

use aws_sdk_ecr::error::{ProvideErrorMetadata, SdkError};
use aws_smithy_runtime_api::client::orchestrator::HttpResponse;
use imps_core::exchange::{ExchangeFault, ExchangeFaultClass};

use super::wire::Endless;
use crate::clock;
use crate::fault::unreachable_because;
use crate::outside::{Limits, in_words};

/// Longer ones are no codes.
const CODE_CHARS_MAX: usize = 100;
/// Where a code is looked for in a body.
const BODY_BYTES_READ: usize = 64 * 1024;

/// What was asked.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Call {
    /// A role, with signed keys.
    AssumeRole,
    /// A role, with an identity token.
    AssumeRoleWithWebIdentity,
    /// The token for private registries.
    Ecr,
    /// The token for the public gallery.
    EcrPublic,
}

impl Call {
    /// The right that it needs, which is also its name.
    fn right(self) -> &'static str {
        match self {
            Call::AssumeRole => "sts:AssumeRole",
            Call::AssumeRoleWithWebIdentity => "sts:AssumeRoleWithWebIdentity",
            Call::Ecr => "ecr:GetAuthorizationToken",
            Call::EcrPublic => "ecr-public:GetAuthorizationToken",
        }
    }

    fn endpoint_key(self) -> &'static str {
        match self {
            Call::AssumeRole | Call::AssumeRoleWithWebIdentity => "stsEndpoint",
            Call::Ecr | Call::EcrPublic => "endpoint",
        }
    }
}

/// The fault behind an error of the SDK.
pub(crate) fn fault<E>(call: Call, limits: Limits, error: &SdkError<E, HttpResponse>) -> ExchangeFault
where
    E: ProvideErrorMetadata + Error + 'static,
{
    match error {
        SdkError::ServiceError(service) => answered(call, service.raw(), service.err().meta().code()),
        SdkError::ResponseError(response) => answered(call, response.raw(), None),
        SdkError::TimeoutError(_) => silent(call, limits),
        SdkError::DispatchFailure(failure) => {
            let endless = failure.as_connector_error().is_some_and(|error| is_endless(error));
            match failure {
                _ if endless => nonsense(call),
                _ if failure.is_timeout() => silent(call, limits),
                _ => unreachable_because(
                    "no connection",
                    format!(
                        "{} cannot be reached: its name does not resolve, nothing answers there, or its certificate \
                         is not trusted; look at region, {} and the network policies of imps",
                        call.right(),
                        call.endpoint_key()
                    ),
                ),
            }
        }
        _ => ExchangeFault {
            class: ExchangeFaultClass::Denied,
            code: "no endpoint".into(),
            advice: format!(
                "there is no address for {} as it is asked for; look at region, fips, dualStack and {}",
                call.right(),
                call.endpoint_key()
            ),
            retry_after: None,
        },
    }
}

/// The server said yes and nothing that can be used.
pub(crate) fn nonsense(call: Call) -> ExchangeFault {
    ExchangeFault {
        class: ExchangeFaultClass::Nonsense,
        code: "unreadable answer".into(),
        advice: format!(
            "the answer to {} is not what the API promises; look whether something else answers there ({})",
            call.right(),
            call.endpoint_key()
        ),
        retry_after: None,
    }
}

fn silent(call: Call, limits: Limits) -> ExchangeFault {
    unreachable_because(
        format!("no answer within {}", in_words(limits.answer)),
        format!(
            "{} does not answer in time; when that lasts, look at {} and the network policies of imps",
            call.right(),
            call.endpoint_key()
        ),
    )
}

fn is_endless(error: &(dyn Error + 'static)) -> bool {
    std::iter::successors(Some(error), |&error| error.source()).any(|error| error.is::<Endless>())
}

/// Judges an answer by its status and code.
fn answered(call: Call, raw: &HttpResponse, code: Option<&str>) -> ExchangeFault {
    let status = raw.status().as_u16();
    let body = raw.body().bytes().unwrap_or_default();
    let code = [raw.headers().get("x-amzn-errortype"), code, code_in_xml(body)];
    let code = code.into_iter().flatten().find_map(sanitised);
    let class = match (status, code.as_deref().unwrap_or_default()) {
        (200..400, _) => ExchangeFaultClass::Nonsense,
        (429, _) => ExchangeFaultClass::Throttled,
        (_, code) if is_throttling(code) => ExchangeFaultClass::Throttled,
        (408, _) | (500..600, _) => ExchangeFaultClass::Unreachable,
        (_, code) if is_trouble_of_the_server(code) => ExchangeFaultClass::Unreachable,
        (400..500, _) => ExchangeFaultClass::Denied,
        _ => ExchangeFaultClass::Nonsense,
    };
    let of_status = format!("HTTP {status}");
    match class {
        ExchangeFaultClass::Nonsense if (300..400).contains(&status) => ExchangeFault {
            code: of_status,
            advice: format!(
                "{} is answered with a redirect, which imps never follows; look at {}",
                call.right(),
                call.endpoint_key()
            ),
            ..nonsense(call)
        },
        ExchangeFaultClass::Nonsense => nonsense(call),
        ExchangeFaultClass::Throttled => ExchangeFault {
            class,
            code: code.unwrap_or(of_status),
            advice: format!(
                "too many requests for {} in this account and region; imps asks again by itself",
                call.right()
            ),
            retry_after: retry_after(raw),
        },
        ExchangeFaultClass::Unreachable => ExchangeFault {
            class,
            // What a proxy in between says is told by the number better than by a word.
            code: code.filter(|_| status < 500).unwrap_or(of_status),
            advice: format!("{} fails on the server's side; imps asks again by itself", call.right()),
            retry_after: retry_after(raw),
        },
        ExchangeFaultClass::Denied => {
            let code = code.unwrap_or(of_status);
            let advice = advice(call, &code);
            ExchangeFault { class, code, advice, retry_after: retry_after(raw) }
        }
    }
}

/// ECR and STS throttle with status 400.
fn is_throttling(code: &str) -> bool {
    code.starts_with("Throttl")
        || code.starts_with("TooManyRequests")
        || [
            "RequestLimitExceeded",
            "SlowDown",
            "RequestThrottled",
            "RequestThrottledException",
            "BandwidthLimitExceeded",
            "LimitExceededException",
            "PriorRequestNotComplete",
        ]
        .contains(&code)
}

/// Some come with a status that blames the client.
fn is_trouble_of_the_server(code: &str) -> bool {
    [
        "InternalFailure",
        "InternalError",
        "ServerException",
        "ServiceUnavailable",
        "ServiceUnavailableException",
        "RequestTimeout",
        "RequestTimeoutException",
        "IDPCommunicationError",
        "IDPCommunicationErrorException",
    ]
    .contains(&code)
}

/// Which key or right to look at.
fn advice(call: Call, code: &str) -> String {
    let right = call.right();
    match code {
        "SignatureDoesNotMatch" | "InvalidSignatureException" | "InvalidSignature" | "IncompleteSignature" => {
            "the secretKey does not belong to the accessKeyID; put in the two that were issued together".into()
        }
        "UnrecognizedClientException" | "InvalidClientTokenId" | "InvalidAccessKeyId" | "MissingAuthenticationToken"
        | "AuthFailure" => "the access key is not known: it was deleted, is inactive, belongs to another partition, \
                            or is a temporary one whose sessionToken is missing or wrong; put in one that is active"
            .into(),
        "ExpiredToken" | "ExpiredTokenException" if call == Call::AssumeRoleWithWebIdentity => {
            "the ServiceAccount's token had expired when it arrived; look at the clocks of the nodes".into()
        }
        "ExpiredToken" | "ExpiredTokenException" => {
            "the session of the access key has ended; put in fresh accessKeyID, secretKey and sessionToken, or keys \
             that do not expire"
                .into()
        }
        "RequestExpired" | "RequestTimeTooSkewed" => {
            "the clock of the node that imps runs on is wrong; set it right".into()
        }
        "AccessDenied" | "AccessDeniedException" | "UnauthorizedOperation" | "NotAuthorized" | "Forbidden" => {
            denied_right(call).into()
        }
        "InvalidIdentityToken" | "InvalidIdentityTokenException" | "IDPRejectedClaim" | "IDPRejectedClaimException" => {
            "STS does not accept the ServiceAccount's token; register the issuer of the cluster as an OIDC provider of \
             the account, with the audience sts.amazonaws.com"
                .into()
        }
        "MalformedPolicyDocument" | "MalformedPolicyDocumentException" | "PackedPolicyTooLarge"
        | "PackedPolicyTooLargeException" => {
            "STS does not accept the session policy of imps; report it, or lessen the tags of the session".into()
        }
        "RegionDisabledException" | "RegionDisabled" | "OptInRequired" | "SubscriptionRequiredException" => {
            "the region or service is not enabled for the account; enable it, or look at region".into()
        }
        "ValidationError" | "ValidationException" | "InvalidParameterException" | "InvalidParameterValue" => {
            format!(
                "{right} does not accept a value; look at roleArn, durationSeconds (at most what the role allows, and \
                 3600 for a role that is reached by way of another), externalID and region"
            )
        }
        _ => format!("{right} is refused; look at the keys, the role and the right {right}"),
    }
}

fn denied_right(call: Call) -> &'static str {
    match call {
        Call::AssumeRole => {
            "sts:AssumeRole is denied; allow it for the role in the policies of the identity, and let the trust policy \
             of the role name the identity and, when it has one, the externalID"
        }
        Call::AssumeRoleWithWebIdentity => {
            "sts:AssumeRoleWithWebIdentity is denied; let the trust policy of the role name the OIDC provider of the \
             cluster, the ServiceAccount as subject and the audience sts.amazonaws.com"
        }
        Call::Ecr => {
            "ecr:GetAuthorizationToken is denied; allow it for the resource * in the policies of the identity or role"
        }
        Call::EcrPublic => {
            "ecr-public:GetAuthorizationToken is denied; allow it and sts:GetServiceBearerToken for the resource * in \
             the policies of the identity or role"
        }
    }
}

/// A code as it may be shown: `ns#Code:http://…` is `Code`, and what does not look like one is none.
fn sanitised(raw: &str) -> Option<String> {
    let code = raw.split(':').next().unwrap_or_default();
    let code = code.rsplit('#').next().unwrap_or_default().trim();
    let plain = |b: u8| b.is_ascii_alphanumeric() || b"._-".contains(&b);
    let shown = !code.is_empty() && code.len() <= CODE_CHARS_MAX && code.bytes().all(plain);
    shown.then(|| code.to_owned())
}

/// Gateways in front of JSON services may answer in XML.
fn code_in_xml(body: &[u8]) -> Option<&str> {
    let body = &body[..body.len().min(BODY_BYTES_READ)];
    let find = |from: usize, what: &[u8]| {
        body[from..].windows(what.len()).position(|window| window == what).map(|at| from + at)
    };
    let begin = find(0, b"<Code>")? + b"<Code>".len();
    let end = find(begin, b"</Code>")?;
    str::from_utf8(&body[begin..end]).ok()
}

/// When the server wants to be asked again.
fn retry_after(raw: &HttpResponse) -> Option<Duration> {
    clock::retry_after(raw.headers().get("retry-after"), raw.headers().get("date"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answer(status: u16, headers: &[(&'static str, &'static str)], body: &'static str) -> HttpResponse {
        let mut raw = HttpResponse::new(status.try_into().unwrap(), body.into());
        for (name, value) in headers {
            raw.headers_mut().insert(*name, *value);
        }
        raw
    }

    #[test]
    fn status_and_code_decide_what_happened() {
        use ExchangeFaultClass::*;
        for (status, code, class, shown) in [
            (400, Some("ThrottlingException"), Throttled, "ThrottlingException"),
            (400, Some("Throttling"), Throttled, "Throttling"),
            (400, Some("RequestLimitExceeded"), Throttled, "RequestLimitExceeded"),
            (400, Some("TooManyRequestsException"), Throttled, "TooManyRequestsException"),
            (503, Some("SlowDown"), Throttled, "SlowDown"),
            (429, None, Throttled, "HTTP 429"),
            (403, Some("AccessDeniedException"), Denied, "AccessDeniedException"),
            (
                400,
                Some("com.amazon.coral.service#UnrecognizedClientException"),
                Denied,
                "UnrecognizedClientException",
            ),
            (400, Some("ns#ValidationError:http://x/"), Denied, "ValidationError"),
            (404, None, Denied, "HTTP 404"),
            (403, Some("free text of a server"), Denied, "HTTP 403"),
            (403, Some("<script>"), Denied, "HTTP 403"),
            (500, Some("InternalFailure"), Unreachable, "HTTP 500"),
            (503, None, Unreachable, "HTTP 503"),
            (400, Some("IDPCommunicationError"), Unreachable, "IDPCommunicationError"),
            (408, None, Unreachable, "HTTP 408"),
            (302, None, Nonsense, "HTTP 302"),
            (200, None, Nonsense, "unreadable answer"),
            (101, None, Nonsense, "unreadable answer"),
        ] {
            let fault = answered(Call::Ecr, &answer(status, &[], ""), code);
            assert_eq!((fault.class, fault.code.as_str()), (class, shown), "{status} {code:?}");
        }
    }

    #[test]
    fn codes_are_found_wherever_they_stand_and_only_when_they_look_like_one() {
        let xml = "<ErrorResponse><Error><Code>SignatureDoesNotMatch</Code><Message>no</Message></Error>";
        assert_eq!(answered(Call::Ecr, &answer(403, &[], xml), None).code, "SignatureDoesNotMatch");
        let header = answer(403, &[("x-amzn-errortype", "AccessDenied:http://x/")], xml);
        assert_eq!(answered(Call::Ecr, &header, Some("Other")).code, "AccessDenied");
        for body in ["<Code>", "<Code></Code>", "<Code>a b</Code>", "</Code><Code>x", "{\"__type\":1}"] {
            assert_eq!(answered(Call::Ecr, &answer(403, &[], body), None).code, "HTTP 403", "{body}");
        }
        assert_eq!(sanitised(&"x".repeat(100)).map(|code| code.len()), Some(100));
        assert_eq!(sanitised(&"x".repeat(101)), None);
    }

    #[test]
    fn a_server_says_when_to_come_back_by_seconds_or_date() {
        for (value, expected) in [
            ("7", Some(7)),
            (" 7 ", Some(7)),
            ("0", None),
            ("-1", None),
            ("soon", None),
            ("999999999", Some(3600)),
            ("Sat, 01 Jan 2028 00:00:30 GMT", Some(30)),
            ("Fri, 31 Dec 2027 23:59:30 GMT", None),
        ] {
            let raw = answer(400, &[("date", "Sat, 01 Jan 2028 00:00:00 GMT"), ("retry-after", value)], "");
            let fault = answered(Call::AssumeRole, &raw, Some("Throttling"));
            assert_eq!(fault.retry_after, expected.map(Duration::from_secs), "{value}");
        }
    }

    #[test]
    fn advice_says_what_to_look_at() {
        for (call, code, words) in [
            (Call::Ecr, "SignatureDoesNotMatch", "secretKey"),
            (Call::Ecr, "UnrecognizedClientException", "accessKey"),
            (Call::Ecr, "ExpiredTokenException", "sessionToken"),
            (Call::AssumeRoleWithWebIdentity, "ExpiredTokenException", "clocks"),
            (Call::Ecr, "RequestExpired", "clock"),
            (Call::AssumeRole, "AccessDenied", "trust policy"),
            (Call::AssumeRoleWithWebIdentity, "AccessDenied", "OIDC"),
            (Call::Ecr, "AccessDeniedException", "ecr:GetAuthorizationToken"),
            (Call::EcrPublic, "AccessDeniedException", "sts:GetServiceBearerToken"),
            (Call::AssumeRoleWithWebIdentity, "InvalidIdentityToken", "OIDC"),
            (Call::AssumeRole, "ValidationError", "durationSeconds"),
            (Call::AssumeRole, "SomethingNew", "sts:AssumeRole"),
        ] {
            let advice = advice(call, code).replace("access key", "accessKey");
            assert!(advice.contains(words), "{code}: {advice}");
        }
    }
}
