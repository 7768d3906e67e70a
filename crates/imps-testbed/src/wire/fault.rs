//! Answers of a server that is in trouble, in the words in which it was asked.

use super::message::Message;

/// The name space of what STS answers.
const STS: &str = "https://sts.amazonaws.com/doc/2011-06-15/";

/// How errors are worded.
enum Dialect {
    /// JSON, as ECR does.
    Json,
    /// XML, as STS does.
    Xml,
    /// Just the status.
    Plain,
}

/// Too many requests.
pub(super) fn throttled(request: &Message, retry_after: Option<u64>) -> Message {
    let dialect = dialect(request);
    // AWS throttles with 400; everybody else has a status for it.
    let status = if matches!(dialect, Dialect::Plain) { "429 Too Many Requests" } else { "400 Bad Request" };
    let code = if matches!(dialect, Dialect::Xml) { "Throttling" } else { "ThrottlingException" };
    let retry_after = retry_after.map(|seconds| seconds.to_string());
    error(&dialect, status, code, "Rate exceeded", retry_after.as_deref())
}

/// A failure of the server itself.
pub(super) fn broken(request: &Message, status: u16) -> Message {
    let dialect = dialect(request);
    let code = if matches!(dialect, Dialect::Xml) { "InternalFailure" } else { "ServerException" };
    error(&dialect, &format!("{status} Broken"), code, "Something went wrong", None)
}

/// Somebody else should be asked.
pub(super) fn redirect(to: &str) -> Message {
    Message::own("307 Temporary Redirect", &[("Location", to)], b"")
}

fn dialect(request: &Message) -> Dialect {
    let query = request.second_word().split_once('?').map_or("", |(_, query)| query);
    if request.header("x-amz-target").is_some() {
        Dialect::Json
    } else if request.action(query).is_some() {
        Dialect::Xml
    } else {
        Dialect::Plain
    }
}

fn error(dialect: &Dialect, status: &str, code: &str, message: &str, retry_after: Option<&str>) -> Message {
    let (kind, body) = match dialect {
        Dialect::Json => {
            ("application/x-amz-json-1.1", format!(r#"{{"__type":"{code}","message":"{message}"}}"#))
        }
        Dialect::Xml => {
            let error = format!("<Type>Sender</Type><Code>{code}</Code><Message>{message}</Message>");
            ("text/xml", format!("<ErrorResponse xmlns=\"{STS}\"><Error>{error}</Error></ErrorResponse>"))
        }
        Dialect::Plain => ("text/plain", message.to_owned()),
    };
    let mut headers = vec![("Content-Type", kind)];
    headers.extend(retry_after.map(|seconds| ("Retry-After", seconds)));
    Message::own(status, &headers, body.as_bytes())
}
