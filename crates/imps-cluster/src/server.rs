//! What an API server says of itself: its version, and what time it is there.

use http::{Request, StatusCode, header};
use imps_core::reason::{Fault, FaultClass};
use jiff::Timestamp;
use jiff::fmt::rfc2822::DateTimeParser;
use kube::Client;
use kube::client::Body;
use serde_json::Value;

use crate::apply::within;
use crate::fault;

/// What was said.
#[derive(Clone, PartialEq, Debug)]
pub struct Server {
    /// `v1.36.2`.
    pub version: String,
    /// How many seconds its clock is ahead of the one here; none when it does not tell the time. The answer tells
    /// whole seconds.
    pub ahead_seconds: Option<f64>,
}

impl Server {
    /// Major and minor number of the version: what the API depends on.
    pub fn release(&self) -> Option<(u32, u32)> {
        let mut parts = self.version.strip_prefix('v')?.split('.');
        Some((parts.next()?.parse().ok()?, parts.next()?.parse().ok()?))
    }
}

/// Asks.
pub async fn look(client: &Client) -> Result<Server, Fault> {
    within(ask(client)).await?
}

async fn ask(client: &Client) -> Result<Result<Server, Fault>, kube::Error> {
    let request = Request::get("/version").body(Body::empty()).map_err(kube::Error::HttpError)?;
    let sent = Timestamp::now();
    let answer = client.send(request).await?;
    let received = Timestamp::now();
    let status = answer.status();
    let date = answer.headers().get(header::DATE).and_then(|date| date.to_str().ok()).map(str::to_owned);
    let body = answer.into_body().collect_bytes().await?;
    if !status.is_success() {
        let class = match status {
            StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => FaultClass::Forbidden,
            _ => FaultClass::Unavailable,
        };
        return Ok(Err(Fault { class, detail: format!("HTTP {}", status.as_u16()) }));
    }
    let told: Value = serde_json::from_slice(&body).unwrap_or_default();
    let Some(version) = told["gitVersion"].as_str() else { return Ok(Err(fault::empty("version"))) };
    let here = f64::midpoint(seconds(sent), seconds(received));
    let ahead_seconds = date.and_then(|date| ahead(&date, here));
    Ok(Ok(Server { version: version.to_owned(), ahead_seconds }))
}

fn seconds(time: Timestamp) -> f64 {
    time.as_duration().as_secs_f64()
}

/// How far a `Date` header is ahead. It was cut to whole seconds, so on average it is half a second late.
fn ahead(date: &str, here: f64) -> Option<f64> {
    let there = DateTimeParser::new().parse_timestamp(date).ok()?;
    Some(seconds(there) + 0.5 - here)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_release_is_what_the_api_depends_on() {
        let release = |version: &str| Server { version: version.to_owned(), ahead_seconds: None }.release();
        assert_eq!(release("v1.36.2"), Some((1, 36)));
        assert_eq!(release("v1.29.15-gke.1080000"), Some((1, 29)));
        assert_eq!(release("v1.30.0+k3s1"), Some((1, 30)));
        assert_eq!(release("unknown"), None);
    }

    #[test]
    fn a_clock_is_compared_as_a_date_header_tells_it() {
        // As in RFC 9110, section 5.6.7.
        let date = "Sun, 06 Nov 1994 08:49:37 GMT";
        assert_eq!(ahead(date, 784_111_777.5), Some(0.0));
        assert_eq!(ahead(date, 784_111_677.5), Some(100.0));
        assert_eq!(ahead("yesterday", 0.0), None);
    }
}
