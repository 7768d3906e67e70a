//! What an answer with a token is worth. AuthorizationData of the SDK prints its token, so it never comes this far.

use std::time::Duration;

use aws_sdk_ecr::primitives::DateTime;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use imps_core::credential::Credential;
use imps_core::exchange::Issued;
use imps_core::token::Token;
use zeroize::Zeroizing;

use crate::clock::rest;

/// Real ones have 2 to 4 KiB, and every namespace gets a copy.
const TOKEN_BYTES_MAX: usize = 64 * 1024;

/// The first usable token; the private API may answer several, which differ in nothing that matters.
pub(crate) fn issued(
    offers: impl Iterator<Item = (Option<String>, Option<DateTime>)>,
    now: Duration,
    session: Option<Duration>,
) -> Option<Issued> {
    offers.into_iter().find_map(|(token, expires_at)| {
        let credential = credential(Zeroizing::new(token?))?;
        Some(Issued { credential, lifetime: expires_at.and_then(|end| until(end, now)), session })
    })
}

/// How long it is until then; none when that is over.
pub(super) fn until(end: DateTime, now: Duration) -> Option<Duration> {
    rest(Duration::new(u64::try_from(end.secs()).ok()?, end.subsec_nanos()), now)
}

/// The login inside: `USER:PASSWORD` in base64.
fn credential(token: Zeroizing<String>) -> Option<Credential> {
    if token.len() > TOKEN_BYTES_MAX {
        return None;
    }
    let decoded = Zeroizing::new(STANDARD.decode(token.as_bytes()).ok()?);
    let (username, password) = str::from_utf8(&decoded).ok()?.split_once(':')?;
    let plain = |text: &str| !text.is_empty() && !text.contains(char::is_control);
    let usable = plain(username) && plain(password);
    usable.then(|| Credential { username: username.to_owned(), password: Token::new(password) })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn offer(text: &str) -> (Option<String>, Option<DateTime>) {
        (Some(STANDARD.encode(text)), Some(DateTime::from_secs_f64(1000.5)))
    }

    #[test]
    fn the_first_usable_token_is_taken() {
        let offers = [(None, None), offer("no colon"), offer("AWS:pass:word"), offer("AWS:other")];
        let issued = issued(offers.into_iter(), Duration::from_secs(900), None).unwrap();
        assert_eq!(
            (issued.credential.username.as_str(), issued.credential.password.reveal()),
            ("AWS", "pass:word")
        );
        assert_eq!(issued.lifetime, Some(Duration::from_millis(100_500)));
        assert!(!format!("{issued:?}").contains("word"));
    }

    #[test]
    fn what_is_no_login_is_no_token() {
        let long = format!("AWS:{}", "x".repeat(TOKEN_BYTES_MAX));
        for text in ["", ":", "AWS:", ":password", "AWS", "AWS:pass\nword", "A\u{7f}WS:password", &long] {
            assert!(issued(std::iter::once(offer(text)), Duration::ZERO, None).is_none(), "{text:.20}");
        }
        for raw in ["", "%%%", "QVdTOnA", "/////w=="] {
            assert!(
                issued(std::iter::once((Some(raw.into()), None)), Duration::ZERO, None).is_none(),
                "{raw}"
            );
        }
    }

    #[test]
    fn an_end_that_is_over_or_absurd_is_no_lifetime() {
        let now = Duration::from_secs(1000);
        for end in [i64::MIN, -1, 0, 999, 1000] {
            assert_eq!(until(DateTime::from_secs(end), now), None, "{end}");
        }
        assert_eq!(until(DateTime::from_secs(1001), now), Some(Duration::from_secs(1)));
        assert!(until(DateTime::from_secs(i64::MAX), now).is_some());
    }
}
