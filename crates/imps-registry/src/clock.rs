//! What time it is, for us and for a server, and what servers say about times. Lives are counted by the clock of the
//! server that issued the token, so that ours may be wrong.

use std::time::{Duration, SystemTime};

/// Nobody has to wait longer for a server, whatever it says.
const RETRY_AFTER_MAX: Duration = Duration::from_secs(3600);

/// Time since the epoch by the clock of this machine.
pub(crate) fn our_time() -> Duration {
    SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default()
}

/// A `Date` header, since the epoch.
pub(crate) fn http_date(text: &str) -> Option<Duration> {
    httpdate::parse_http_date(text.trim()).ok()?.duration_since(SystemTime::UNIX_EPOCH).ok()
}

/// An instant like `2028-01-01T01:00:00Z`, since the epoch.
pub(crate) fn timestamp(text: &str) -> Option<Duration> {
    text.parse::<jiff::Timestamp>().ok()?.duration_since(jiff::Timestamp::UNIX_EPOCH).try_into().ok()
}

/// How long it is until then; none when that is over.
pub(crate) fn rest(end: Duration, now: Duration) -> Option<Duration> {
    end.checked_sub(now).filter(|rest| !rest.is_zero())
}

/// When the server wants to be asked again: seconds, or a date by its own clock.
pub(crate) fn retry_after(text: Option<&str>, date: Option<&str>) -> Option<Duration> {
    let text = text?.trim();
    let wait = match text.parse() {
        Ok(seconds) => Duration::from_secs(seconds),
        Err(_) => rest(http_date(text)?, date.and_then(http_date).unwrap_or_else(our_time))?,
    };
    Some(wait.min(RETRY_AFTER_MAX)).filter(|wait| !wait.is_zero())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_read_as_servers_write_them() {
        let day = Some(Duration::from_secs(1_830_297_600));
        assert_eq!(http_date("Sat, 01 Jan 2028 00:00:00 GMT"), day);
        assert_eq!(timestamp("2028-01-01T00:00:00Z"), day);
        assert_eq!(timestamp("2028-01-01T01:00:00+01:00"), day);
        assert_eq!(timestamp("2028-01-01T00:00:00.5Z"), day.map(|day| day + Duration::from_millis(500)));
        for text in ["", "tomorrow", "1969-12-31T23:59:59Z", "2028-01-01", "99999-01-01T00:00:00Z"] {
            assert_eq!((timestamp(text), http_date(text)), (None, None), "{text}");
        }
    }

    #[test]
    fn a_server_says_when_to_come_back_by_seconds_or_date() {
        let date = Some("Sat, 01 Jan 2028 00:00:00 GMT");
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
            assert_eq!(retry_after(Some(value), date), expected.map(Duration::from_secs), "{value}");
        }
        assert_eq!(retry_after(None, date), None);
    }
}
