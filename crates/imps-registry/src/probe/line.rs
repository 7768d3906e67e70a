//! One request of a probe and what is heard: bytes on the outside, words and numbers on the inside.

use std::error::Error;
use std::io::ErrorKind;

use http::header::{ACCEPT, CONTENT_TYPE, HeaderName, RETRY_AFTER, WWW_AUTHENTICATE};
use http::{HeaderMap, Response};
use http_body_util::BodyExt as _;
use hyper::body::Incoming;
use imps_core::credential::Credential;
use imps_core::diagnosis::probe::{Limit, Word};
use imps_core::token::Token;
use serde::Deserialize;
use zeroize::Zeroizing;

use super::dialogue::{CLOSED, Heard, Kind, MISUNDERSTOOD, Question, Show};
use crate::outside::Limits;
use crate::wire::{ANSWER_BYTES_MAX, HttpClient, Request, client, usable};

/// Kinds of manifests that container runtimes take.
const MANIFESTS: &str = "application/vnd.oci.image.index.v1+json, application/vnd.oci.image.manifest.v1+json, \
                         application/vnd.docker.distribution.manifest.list.v2+json, \
                         application/vnd.docker.distribution.manifest.v2+json";

/// What their names begin with, those of older ones too.
const KINDS: [&str; 2] = ["application/vnd.oci.image.", "application/vnd.docker.distribution.manifest."];

/// What registries say of a manifest besides.
const DIGEST: HeaderName = HeaderName::from_static("docker-content-digest");

const LIMIT: HeaderName = HeaderName::from_static("ratelimit-limit");
const REMAINING: HeaderName = HeaderName::from_static("ratelimit-remaining");

/// The client of a run of probes.
#[derive(Clone)]
pub(super) struct Line {
    client: HttpClient,
    limits: Limits,
}

impl Line {
    /// With this patience.
    pub(super) fn new(limits: Limits) -> Self {
        Self { client: client(limits.connect), limits }
    }

    /// Asks. Of a body only a token is read.
    pub(super) async fn ask(
        &self,
        question: Question,
        login: Option<&Credential>,
        token: Option<&Token>,
    ) -> Result<(Heard, Option<Token>), Word> {
        let answer = self.answer_to(question, login, token);
        tokio::time::timeout(self.limits.answer, answer).await.unwrap_or(Err(Word::Hanging))
    }

    async fn answer_to(
        &self,
        question: Question,
        login: Option<&Credential>,
        token: Option<&Token>,
    ) -> Result<(Heard, Option<Token>), Word> {
        let for_token = question.kind == Kind::Token;
        let request = request(question, login, token).finish();
        let request = request.map_err(|_| Word::Alien("its token service has no usable address"))?;
        let answer = self.client.request(request).await.map_err(|error| word_of(&error))?;
        let mut heard = heard(&answer);
        let given = if for_token && heard.status == 200 { token_in(answer).await? } else { None };
        heard.token = given.is_some();
        Ok((heard, given))
    }
}

fn request(question: Question, login: Option<&Credential>, token: Option<&Token>) -> Request {
    let Question { kind, url, show } = question;
    let request = match kind {
        Kind::Registry | Kind::Token => Request::get(url),
        Kind::Manifest => Request::head(url).with(ACCEPT, MANIFESTS),
    };
    match (show, login, token) {
        (Show::Login, Some(login), _) => request.basic(login),
        (Show::Token, _, Some(token)) => request.bearer(token),
        _ => request,
    }
}

fn heard(answer: &Response<Incoming>) -> Heard {
    let challenges = answer.headers().get_all(WWW_AUTHENTICATE).iter();
    Heard {
        status: answer.status().as_u16(),
        challenges: challenges.filter_map(|value| value.to_str().ok().map(str::to_owned)).collect(),
        token: false,
        manifest: is_manifest(answer.headers()),
        limit: limit(answer.headers()),
    }
}

fn is_manifest(headers: &HeaderMap) -> bool {
    let kind = headers.get(CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
    headers.contains_key(DIGEST) || KINDS.iter().any(|family| kind.starts_with(family))
}

/// `ratelimit-remaining: 76;w=21600`. Numbers are all that is taken of it.
fn limit(headers: &HeaderMap) -> Limit {
    let text = |name| headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let number = |text: &str| text.trim().parse().ok();
    let count = |text: &str| number(text.split(';').next().unwrap_or_default());
    let (total, remaining) = (text(LIMIT), text(REMAINING));
    let mut windows = [remaining, total].into_iter().flat_map(|text| text.split(';').skip(1));
    Limit {
        total: count(total),
        remaining: count(remaining),
        window: windows.find_map(|field| number(field.trim().strip_prefix("w=")?)),
        retry_after: number(text(RETRY_AFTER)),
    }
}

/// The token in the answer of a token service, which has one of two names.
async fn token_in(mut answer: Response<Incoming>) -> Result<Option<Token>, Word> {
    #[derive(Deserialize)]
    struct Given {
        token: Option<String>,
        access_token: Option<String>,
    }
    let mut body = Zeroizing::new(Vec::new());
    while let Some(frame) = answer.body_mut().frame().await {
        let frame = frame.map_err(|error| word_of(&error))?;
        let Ok(piece) = frame.into_data() else { continue };
        if body.len() + piece.len() > ANSWER_BYTES_MAX {
            return Err(Word::Alien("its token service answers without end"));
        }
        body.extend_from_slice(&piece);
    }
    let given: Option<Given> = serde_json::from_slice(&body).ok();
    let tokens = given.into_iter().flat_map(|given| [given.token, given.access_token]);
    Ok(tokens.flatten().map(Token::new).find_map(usable))
}

/// What a failure comes down to, by the first of its causes that says so.
fn word_of(error: &(dyn Error + 'static)) -> Word {
    let mut cause = Some(error);
    while let Some(error) = cause {
        if let Some(word) = sign(error) {
            return word;
        }
        cause = error.source();
    }
    Word::Alien(CLOSED)
}

fn sign(error: &(dyn Error + 'static)) -> Option<Word> {
    if let Some(error) = error.downcast_ref::<rustls::Error>() {
        return Some(match error {
            rustls::Error::InvalidCertificate(_) => Word::Untrusted,
            rustls::Error::InvalidMessage(_) => Word::Plain,
            _ => Word::Alien("it and imps find no common way to encrypt"),
        });
    }
    if let Some(error) = error.downcast_ref::<std::io::Error>() {
        // What is wrapped is no source of it.
        let wrapped = error.get_ref().and_then(|inner| sign(inner));
        return wrapped.or(match error.kind() {
            ErrorKind::ConnectionRefused | ErrorKind::HostUnreachable | ErrorKind::NetworkUnreachable => {
                Some(Word::Unconnected)
            }
            ErrorKind::TimedOut => Some(Word::Slow),
            _ => None,
        });
    }
    match error.downcast_ref::<hyper::Error>() {
        Some(error) => error.is_parse().then_some(Word::Alien(MISUNDERSTOOD)),
        // The connector has no type for it.
        None => error.to_string().starts_with("dns error").then_some(Word::Unresolved),
    }
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    #[test]
    fn limits_are_numbers_or_nothing() {
        let read = |pairs: &[(HeaderName, &'static str)]| {
            let entry =
                |(name, value): &(HeaderName, &'static str)| (name.clone(), HeaderValue::from_static(value));
            let Limit { total, remaining, window, retry_after } = limit(&pairs.iter().map(entry).collect());
            (total, remaining, window, retry_after)
        };
        assert_eq!(
            read(&[(LIMIT, "100;w=21600"), (REMAINING, "76;w=21600")]),
            (Some(100), Some(76), Some(21600), None)
        );
        assert_eq!(read(&[(REMAINING, "0"), (RETRY_AFTER, "30")]), (None, Some(0), None, Some(30)));
        for nonsense in ["", "canary", "-1", "1e9;w=canary", "99999999999", ";w=", ";;;"] {
            assert_eq!(
                read(&[(LIMIT, nonsense), (RETRY_AFTER, nonsense)]),
                (None, None, None, None),
                "{nonsense}"
            );
        }
        assert_eq!(read(&[]), (None, None, None, None));
    }
}
