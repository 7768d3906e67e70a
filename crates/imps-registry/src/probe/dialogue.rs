//! The dialogue with a registry as decisions: what is asked next after an answer, and what the last one means.
//!
//! It is asked whether it is a registry, then for a token if it wants one, then for the head of the manifest, which
//! Docker Hub does not count as a pull. Whatever is answered, it ends after five requests.

use imps_core::diagnosis::probe::{Answer, Limit, Place, Word};

use super::challenge::{Challenge, TokenService, choose, rejects_token};
use crate::endpoint::Endpoint;

/// The name of Docker Hub in images, and where its registry is.
const HUB: (&str, &str) = ("docker.io", "registry-1.docker.io");

/// How it looks when one side speaks TLS and the other does not, among other things.
pub(super) const MISUNDERSTOOD: &str = "it does not understand HTTP, or what it says is none";

/// The same.
pub(super) const CLOSED: &str = "it ends the connection without an answer";

/// A request.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Question {
    pub(super) kind: Kind,
    pub(super) url: String,
    pub(super) show: Show,
}

/// Kinds of requests.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Kind {
    /// `GET /v2/`.
    Registry,
    /// `GET` of a token.
    Token,
    /// `HEAD` of a manifest.
    Manifest,
}

/// What a request shows to be let in.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Show {
    Nothing,
    Login,
    /// The token that was the answer before.
    Token,
}

/// What counts of an answer.
#[derive(Clone, Default, PartialEq, Eq, Debug)]
pub(super) struct Heard {
    pub(super) status: u16,
    pub(super) challenges: Vec<String>,
    /// Whether a token came, where one was asked for.
    pub(super) token: bool,
    /// Whether it says of what is asked for that it is a manifest.
    pub(super) manifest: bool,
    pub(super) limit: Limit,
}

/// What follows.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) enum Next {
    Ask(Question),
    End(Answer),
}

/// See the module.
pub(super) struct Dialogue<'a> {
    place: &'a Place,
    base: String,
    /// Whether the registry is on this machine.
    here: bool,
    with_login: bool,
    asked: Kind,
    shown: Show,
}

/// Where the registry of these images may be: encrypted, and on this machine without that too.
pub(super) fn bases(place: &Place) -> Vec<String> {
    let host = if place.host == HUB.0 { HUB.1 } else { &place.host };
    let (plain, encrypted) = (format!("http://{host}"), format!("https://{host}"));
    // Only for this machine is it an address that may be used.
    if Endpoint::read("host", &plain).is_ok() { vec![plain, encrypted] } else { vec![encrypted] }
}

impl<'a> Dialogue<'a> {
    /// Begins it, at one of the [`bases`].
    pub(super) fn begin(place: &'a Place, base: String, with_login: bool) -> (Self, Question) {
        let here = Endpoint::read("host", &base).is_ok_and(|endpoint| endpoint.is_loopback());
        let question = Question { kind: Kind::Registry, url: format!("{base}/v2/"), show: Show::Nothing };
        (Self { place, base, here, with_login, asked: Kind::Registry, shown: Show::Nothing }, question)
    }

    /// What follows from an answer.
    pub(super) fn next(&mut self, heard: &Heard) -> Next {
        let end = |word| Next::End(Answer { word, limit: heard.limit });
        match (self.asked, heard.status) {
            (_, 429) => end(Word::RateLimited),
            (_, status @ 500..) => end(Word::Failing(status)),
            (Kind::Registry, 200) => self.manifest(Show::Nothing),
            (Kind::Registry, 401) => self.answer_to(heard),
            (Kind::Registry, 400) => end(Word::Alien(MISUNDERSTOOD)),
            (Kind::Registry, 300..=399) => end(Word::Alien("/v2/ is a redirect, which is not followed")),
            (Kind::Registry, _) => end(Word::Alien("/v2/ is neither open nor asks for a login")),

            (Kind::Token, 200) if heard.token => self.manifest(Show::Token),
            (Kind::Token, 200) => end(Word::Alien("its token service answers with no token")),
            (Kind::Token, 401 | 403) => end(Word::Refused),
            (Kind::Token, 300..=399) => {
                end(Word::Alien("its token service is a redirect, which is not followed"))
            }
            (Kind::Token, _) => end(Word::Alien("its token service does not answer as one")),

            (Kind::Manifest, 200) if heard.manifest => end(Word::LetIn),
            // Portals say yes to everything.
            (Kind::Manifest, 200) => end(Word::Alien("what it has for a manifest is none")),
            (Kind::Manifest, 404) => end(Word::NotFound),
            // It was let in up to here without showing anything, so nothing was refused yet.
            (Kind::Manifest, 401) if self.shown == Show::Nothing => self.answer_to(heard),
            (Kind::Manifest, 401 | 403) if !self.with_login => end(Word::Refused),
            (Kind::Manifest, 401) if self.shown == Show::Login => end(Word::Refused),
            (Kind::Manifest, 401) if rejects_token(heard.challenges.iter().map(String::as_str)) => {
                end(Word::TokenRejected)
            }
            // A token that was given for this login does not open this repository.
            (Kind::Manifest, 401 | 403) => end(Word::NoRight),
            (Kind::Manifest, 300..=399) => end(Word::SentOn),
            (Kind::Manifest, _) => end(Word::Alien("a manifest is neither there nor missing nor denied")),
        }
    }

    fn answer_to(&mut self, heard: &Heard) -> Next {
        let end = |word| Next::End(Answer { word, limit: heard.limit });
        match choose(heard.challenges.iter().map(String::as_str), self.here) {
            None => end(Word::Alien("it asks for a login in no way that can be answered safely")),
            Some(Challenge::Basic) if self.with_login => self.manifest(Show::Login),
            Some(Challenge::Basic) => end(Word::Refused),
            Some(Challenge::Bearer(service)) => self.token(&service),
        }
    }

    fn token(&mut self, service: &TokenService) -> Next {
        let show = if self.with_login { Show::Login } else { Show::Nothing };
        self.ask(Kind::Token, service.url(&self.place.path), show)
    }

    fn manifest(&mut self, show: Show) -> Next {
        let Place { path, reference, .. } = self.place;
        self.ask(Kind::Manifest, format!("{}/v2/{path}/manifests/{reference}", self.base), show)
    }

    fn ask(&mut self, kind: Kind, url: String, show: Show) -> Next {
        (self.asked, self.shown) = (kind, show);
        Next::Ask(Question { kind, url, show })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const BEARER: &str = r#"Bearer realm="https://auth.example/token",service="reg""#;

    fn place(host: &str) -> Place {
        Place { host: host.into(), path: "team/app".into(), reference: "1".into() }
    }

    fn heard(status: u16) -> Heard {
        Heard { status, ..Heard::default() }
    }

    fn asks(status: u16, challenge: &str) -> Heard {
        Heard { challenges: vec![challenge.into()], ..heard(status) }
    }

    fn token() -> Heard {
        Heard { token: true, ..heard(200) }
    }

    fn manifest() -> Heard {
        Heard { manifest: true, ..heard(200) }
    }

    /// What is asked, in a line each, and the word that it ends with.
    fn played(with_login: bool, answers: &[Heard]) -> (Vec<String>, Word) {
        let place = place("reg.example");
        let (mut dialogue, mut question) = Dialogue::begin(&place, "https://reg.example".into(), with_login);
        let mut asked = Vec::new();
        for answer in answers {
            asked.push(format!("{:?} {:?}", question.kind, question.show));
            match dialogue.next(answer) {
                Next::Ask(next) => question = next,
                Next::End(answer) => return (asked, answer.word),
            }
        }
        panic!("it asks on: {question:?}")
    }

    #[test]
    fn answers_lead_to_words() {
        let (basic, bearer) = (asks(401, "Basic realm=\"x\""), asks(401, BEARER));
        let with = |answers: &[Heard]| played(true, answers).1;
        let without = |answers: &[Heard]| played(false, answers).1;
        assert_eq!(with(&[basic.clone(), manifest()]), Word::LetIn);
        assert_eq!(with(&[basic.clone(), basic.clone()]), Word::Refused);
        assert_eq!(with(&[basic.clone(), heard(403)]), Word::NoRight);
        assert_eq!(with(&[basic.clone(), heard(404)]), Word::NotFound);
        assert_eq!(without(std::slice::from_ref(&basic)), Word::Refused);
        assert_eq!(with(&[bearer.clone(), token(), manifest()]), Word::LetIn);
        assert_eq!(with(&[bearer.clone(), heard(401)]), Word::Refused);
        assert_eq!(with(&[bearer.clone(), heard(403)]), Word::Refused);
        assert_eq!(with(&[bearer.clone(), token(), bearer.clone()]), Word::NoRight);
        assert_eq!(without(&[bearer.clone(), token(), bearer.clone()]), Word::Refused);
        let said = |error: &str| asks(401, &format!("{BEARER},error=\"{error}\""));
        assert_eq!(with(&[bearer.clone(), token(), said("insufficient_scope")]), Word::NoRight);
        assert_eq!(with(&[bearer.clone(), token(), said("invalid_token")]), Word::TokenRejected);
        assert_eq!(without(&[bearer.clone(), token(), said("invalid_token")]), Word::Refused);
        assert_eq!(with(&[said("invalid_token"), heard(401)]), Word::Refused);
        assert_eq!(without(&[bearer.clone(), token(), heard(403)]), Word::Refused);
        assert_eq!(with(&[bearer.clone(), token(), heard(404)]), Word::NotFound);
        assert_eq!(with(&[heard(200), manifest()]), Word::LetIn);
        assert_eq!(with(&[heard(200), bearer.clone(), token(), manifest()]), Word::LetIn);
        assert_eq!(with(&[bearer.clone(), token(), heard(307)]), Word::SentOn);
        for at in 0..3 {
            for (status, word) in [(429, Word::RateLimited), (503, Word::Failing(503))] {
                let mut answers = vec![bearer.clone(), token()];
                answers.truncate(at);
                answers.push(heard(status));
                assert_eq!(with(&answers), word);
            }
        }
    }

    #[test]
    fn who_is_no_registry_is_shown_no_login() {
        for first in [
            heard(302),
            heard(403),
            heard(404),
            heard(101),
            heard(0),
            heard(401),
            asks(401, "Bearer realm=\"http://auth.example/token\""),
            asks(401, "Bearer realm=\"https://127.0.0.1/token\""),
            asks(401, "Negotiate"),
        ] {
            let (asked, word) = played(true, std::slice::from_ref(&first));
            assert!(matches!(word, Word::Alien(_)), "{first:?}");
            assert_eq!(asked, ["Registry Nothing"]);
        }
        assert!(matches!(played(true, &[heard(200), heard(200)]).1, Word::Alien(_)));
        for second in [heard(200), heard(302), heard(404), heard(400)] {
            assert!(matches!(played(true, &[asks(401, BEARER), second]).1, Word::Alien(_)));
        }
    }

    #[test]
    fn a_login_is_shown_only_to_who_asks_for_it_and_a_challenge_without_end_ends() {
        let again = Heard { token: true, ..asks(401, BEARER) };
        assert_eq!(
            played(true, &[again.clone(), token(), again.clone()]).0,
            ["Registry Nothing", "Token Login", "Manifest Token"]
        );
        let loops = vec![heard(200), again.clone(), token(), again.clone(), again];
        let (asked, word) = played(true, &loops);
        assert_eq!((asked.len(), word), (4, Word::NoRight));
    }

    #[test]
    fn whatever_is_answered_it_ends_after_five_requests() {
        let answers =
            [heard(200), token(), manifest(), asks(401, BEARER), asks(401, "Basic"), heard(404), heard(302)];
        let count = answers.len();
        for number in 0..count.pow(5) {
            let chosen: Vec<Heard> =
                (0..5).map(|at| answers[number / count.pow(at) % count].clone()).collect();
            // It panics when it asks on.
            played(number % 2 == 0, &chosen);
        }
    }

    #[test]
    fn only_this_machine_is_asked_unencrypted() {
        assert_eq!(bases(&place("reg.example:5000")), ["https://reg.example:5000"]);
        assert_eq!(bases(&place("10.0.0.1")), ["https://10.0.0.1"]);
        assert_eq!(bases(&place("docker.io")), ["https://registry-1.docker.io"]);
        assert_eq!(bases(&place("127.0.0.1:5000")), ["http://127.0.0.1:5000", "https://127.0.0.1:5000"]);
        assert_eq!(bases(&place("localhost")), ["http://localhost", "https://localhost"]);
    }

    #[test]
    fn addresses_are_those_of_the_registry_and_its_service() {
        let place = place("reg.example");
        let (mut dialogue, question) = Dialogue::begin(&place, "https://reg.example".into(), true);
        assert_eq!(question.url, "https://reg.example/v2/");
        let Next::Ask(question) = dialogue.next(&asks(401, BEARER)) else { panic!() };
        assert_eq!(
            question.url,
            "https://auth.example/token?service=reg&scope=repository%3Ateam%2Fapp%3Apull"
        );
        let Next::Ask(question) = dialogue.next(&token()) else { panic!() };
        assert_eq!(question.url, "https://reg.example/v2/team/app/manifests/1");
    }
}
