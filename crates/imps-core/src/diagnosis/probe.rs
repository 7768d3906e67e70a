//! The registry's own word: with which logins it is to be asked about an image, in the order of the kubelet, and what
//! its answers mean. Whoever can reach out does the asking.

use super::case::{Case, PullSecret};
use super::code::Code;
use super::entries::span;
use super::excerpt::shown_image;
use super::finding::Finding;
use super::secrets::as_kubelet;
use crate::credential::Credential;
use crate::kubelet::{Offer, lookup, repository_of};
use crate::name::SecretName;

/// How many logins are tried for an image. Each that fails counts at registries that lock out who fails too often.
const TRIES_MAX: usize = 5;

/// What is to be known about every answer.
const FROM_HERE: &str = "asked from this machine, whose network may differ from the node's";

/// An image that its registry is to be asked about.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Trial {
    /// As it is written.
    pub image: String,
    /// With what, one after the other until one is let in. There is at least one.
    pub tries: Vec<Try>,
    /// How many more the kubelet would try.
    pub left_out: usize,
}

/// One way to ask.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Try {
    /// `secret/regcred reg.io`, or `anonymously`.
    pub label: String,
    /// As whom; as nobody when there is none.
    pub login: Option<Credential>,
}

/// Where the manifest of an image is.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Place {
    /// The host as images name it, with its port if it has one: `docker.io`.
    pub host: String,
    /// Its path there: `library/nginx`.
    pub path: String,
    /// The tag, or the digest where there is one.
    pub reference: String,
}

/// What came of a trial.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Probed {
    /// The image as it is written.
    pub image: String,
    /// What was answered, in the order of the tries. Those after the one that was let in are missing.
    pub tried: Vec<Tried>,
    /// Why not all was asked that was to be.
    pub gap: Option<&'static str>,
}

/// What came of one try.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Tried {
    /// That of the try.
    pub label: String,
    /// Whether a login was shown.
    pub with_login: bool,
    /// What was answered.
    pub answer: Answer,
}

/// What a registry answers.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Answer {
    /// The sum of it.
    pub word: Word,
    /// What the registry says about its limits.
    pub limit: Limit,
}

/// Words that answers come down to.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Word {
    /// The manifest is there and may be pulled.
    LetIn,
    /// The login is not accepted, or one is wanted and none was shown.
    Refused,
    /// The login is accepted, and may not pull this.
    NoRight,
    /// The token that its own token service gave for the login is not accepted.
    TokenRejected,
    /// There is no such repository or tag.
    NotFound,
    /// Too many requests.
    RateLimited,
    /// The certificate is not trusted here.
    Untrusted,
    /// The name does not resolve.
    Unresolved,
    /// Nobody takes the connection.
    Unconnected,
    /// There was no connection in time.
    Slow,
    /// There was a connection, and no answer in time.
    Hanging,
    /// It sends on to another address, which is not followed.
    SentOn,
    /// It is HTTP without TLS.
    Plain,
    /// What answers is no registry, or one that fails; and how that was seen.
    Alien(&'static str),
    /// The server fails, with this status.
    Failing(u16),
}

/// Numbers of the headers `ratelimit-limit`, `ratelimit-remaining` and `retry-after`.
#[derive(Clone, Copy, Default, PartialEq, Eq, Debug)]
pub struct Limit {
    /// How many there are.
    pub total: Option<u32>,
    /// How many are left.
    pub remaining: Option<u32>,
    /// In how many seconds.
    pub window: Option<u32>,
    /// In how many seconds to ask again.
    pub retry_after: Option<u32>,
}

impl Word {
    /// Whether another login may be answered otherwise.
    pub fn is_about_the_login(self) -> bool {
        matches!(self, Word::Refused | Word::NoRight | Word::NotFound | Word::RateLimited)
    }

    fn code(self) -> Code {
        match self {
            Word::LetIn => Code::ProbeLetIn,
            Word::Refused => Code::ProbeRefused,
            Word::NoRight => Code::ProbeNoRight,
            Word::NotFound => Code::ProbeNotFound,
            Word::RateLimited => Code::ProbeRateLimited,
            Word::Untrusted => Code::ProbeUntrusted,
            Word::Unresolved | Word::Unconnected => Code::ProbeNoConnection,
            Word::Slow | Word::Hanging => Code::ProbeTimeout,
            Word::Plain | Word::TokenRejected | Word::Alien(_) | Word::Failing(_) => Code::ProbeNoRegistry,
            Word::SentOn => Code::ProbeOpen,
        }
    }
}

impl Probed {
    fn is_let_in(&self) -> bool {
        self.tried.iter().any(|tried| tried.answer.word == Word::LetIn)
    }
}

impl Limit {
    fn says(&self) -> String {
        let window = self.window.map(|window| format!(" in {}", span(window.into()))).unwrap_or_default();
        let left = match (self.remaining, self.total) {
            (Some(left), Some(total)) => Some(format!("{left} of {total} pulls left{window}")),
            (Some(left), None) => Some(format!("{left} pulls left{window}")),
            (None, Some(total)) => Some(format!("at most {total} pulls{window}")),
            (None, None) => None,
        };
        let again = self.retry_after.map(|seconds| format!("ask again in {}", span(seconds.into())));
        left.into_iter().chain(again).collect::<Vec<_>>().join("; ")
    }
}

/// Where to ask for the manifest of an image; none when its name is not valid.
pub fn place_of(image: &str) -> Option<Place> {
    let repository = repository_of(image).ok()?;
    let (host, path) = repository.split_once('/')?;
    let reference = match image.split_once('@') {
        Some((_, digest)) => digest,
        None => {
            let last = image.rsplit('/').next().unwrap_or_default();
            // A host has a slash after its port.
            last.split_once(':').map_or("latest", |(_, tag)| tag)
        }
    };
    Some(Place { host: host.to_owned(), path: path.to_owned(), reference: reference.to_owned() })
}

/// What there is to ask for the images that a pod waits for. Nothing for one whose name is not valid, or when the
/// kubelet would ask nobody as it cannot decode a Secret.
pub fn trials(case: &Case) -> Vec<Trial> {
    let mut trials: Vec<Trial> = Vec::new();
    for container in case.pod.containers.iter().filter(|container| container.is_sick()) {
        if !trials.iter().any(|trial| trial.image == container.image) {
            trials.extend(trial(case, &container.image));
        }
    }
    trials
}

fn trial(case: &Case, image: &str) -> Option<Trial> {
    let secrets: Vec<(&SecretName, &PullSecret)> =
        case.references().iter().filter_map(|name| Some((name, case.secrets.get(name)?.seen()?))).collect();
    let read: Vec<_> = secrets.iter().map(|(_, secret)| as_kubelet(secret)).collect();
    let mut tries: Vec<Try> = Vec::new();
    let attempts = lookup(&read, image).ok()?;
    if attempts.is_empty() {
        tries.push(Try { label: "anonymously".into(), login: None });
    }
    for attempt in attempts {
        let label = format!("secret/{} {}", secrets[attempt.secret_index].0, attempt.label());
        let login = match attempt.offer {
            Offer::Login(login) => Some(login),
            Offer::Anonymous => None,
            // It reaches no registry.
            Offer::NotText => continue,
        };
        // The kubelet asks again; the answer is the same.
        if !tries.iter().any(|earlier| earlier.login == login) {
            tries.push(Try { label, login });
        }
    }
    let left_out = tries.len().saturating_sub(TRIES_MAX);
    tries.truncate(TRIES_MAX);
    (!tries.is_empty()).then(|| Trial { image: image.to_owned(), tries, left_out })
}

/// What the registry's answers about an image mean.
pub(super) fn examine(case: &Case, image: &str) -> Vec<Finding> {
    let Some(probed) = case.probed.iter().find(|probed| probed.image == image) else { return Vec::new() };
    let host = place_of(image).map(|place| place.host).unwrap_or_default();
    let mut findings = Vec::new();
    for tried in &probed.tried {
        // What was refused before does not keep the kubelet from the next.
        if !probed.is_let_in() || tried.answer.word == Word::LetIn {
            let mut finding = told(&host, image, tried);
            // A pod that is not there is not tried again.
            if tried.answer.word == Word::LetIn && !case.pod.admitted {
                finding.remedy.clear();
            }
            findings.push(finding);
        }
    }
    if let (Some(gap), false) = (probed.gap, probed.is_let_in()) {
        findings.push(
            Finding::new(Code::ProbeOpen, shown_image(image))
                .cause(format!("{host} was not asked all there is to ask: {gap}"))
                .remedy(format!(
                    "imps diagnose --probe --image {} -n {}",
                    shown_image(image),
                    case.pod.namespace
                )),
        );
    }
    findings
}

fn told(host: &str, image: &str, tried: &Tried) -> Finding {
    let Tried { label, with_login, answer } = tried;
    let shown = shown_image(image);
    let hidden = if *with_login { "" } else { ", or shows it to nobody without a login" };
    let (cause, remedy) = match answer.word {
        Word::LetIn => (
            format!("{host} lets the pull in"),
            "wait until the kubelet tries again; when that fails, the node's network, mirrors or clock differ".into(),
        ),
        Word::Refused if !with_login => (
            format!("{host} wants a login, and there is none to show"),
            format!("give the pod a pull secret with a login for {host}"),
        ),
        Word::Refused => (
            format!("{host} does not accept the login"),
            "put a login that works into the Secret, or into the source if imps writes it".into(),
        ),
        Word::NoRight => (
            format!("{host} accepts the login, and denies it the pull or has no such repository"),
            format!("give the identity the right to pull {shown}, and check its spelling"),
        ),
        Word::TokenRejected => (
            format!(
                "{host} does not accept the token that its own token service gave for the login, as when their clocks \
                 or keys differ"
            ),
            "ask whoever runs the registry".into(),
        ),
        Word::NotFound => (
            format!("{host} has no {shown}{hidden}"),
            "correct repository or tag, or push the image".into(),
        ),
        Word::RateLimited => (
            format!("{host} allows no more requests for now"),
            "wait, or pull with a login that has a limit of its own".into(),
        ),
        Word::Untrusted => (
            format!("the certificate of {host} is not trusted here"),
            format!("see whether the nodes trust it: on one, curl -v https://{host}/v2/"),
        ),
        Word::Unresolved => (format!("the name {host} does not resolve here"), look(host)),
        Word::Unconnected => (format!("{host} takes no connection, and imps uses no proxy"), look(host)),
        Word::Slow => (format!("there is no connection to {host} in time, and imps uses no proxy"), look(host)),
        Word::Hanging => (format!("{host} takes the connection and does not answer in time"), look(host)),
        Word::SentOn => (
            format!("{host} sends on to another address, which is not followed"),
            format!("docker pull {shown} on any machine follows it"),
        ),
        Word::Plain => (
            format!("{host} speaks HTTP without TLS, to which no login is sent"),
            format!("serve {host} by HTTPS"),
        ),
        Word::Alien(sign) => {
            (format!("what answers for {host} is no registry: {sign}"), format!("{}; look for a proxy", look(host)))
        }
        Word::Failing(status) => {
            (format!("{host} fails with status {status}"), "ask whoever runs the registry".into())
        }
    };
    let limit = answer.limit.says();
    let limit = if limit.is_empty() { limit } else { format!("; {limit}") };
    Finding::new(answer.word.code(), shown)
        .evidence(format!("{label}{limit}"))
        .cause(format!("{cause}; {FROM_HERE}"))
        .remedy(remedy)
}

fn look(host: &str) -> String {
    format!("see whether it is so for the nodes: on one, curl -v https://{host}/v2/")
}

/// Whether the registry lets the pull of each image in that the pod waits for.
pub(super) fn lets_all_in(case: &Case) -> bool {
    let let_in = |image: &str| case.probed.iter().any(|probed| probed.image == image && probed.is_let_in());
    let mut sick = case.pod.containers.iter().filter(|container| container.is_sick()).peekable();
    sick.peek().is_some() && sick.all(|container| let_in(&container.image))
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::super::{Container, Pod, Sight, State, diagnose};
    use super::*;

    const IMAGE: &str = "reg.io/team/app:1";
    const REFUSAL: &str =
        "failed to authorize: failed to fetch oauth token: unexpected status: 401 Unauthorized";

    /// A pod whose pull was refused, with these entries in its Secret.
    fn case(entries: &[&str]) -> Case {
        let entry = |(key, number): (&&str, usize)| {
            format!("{key:?}:{{\"username\":\"u\",\"password\":\"p{number}\"}}")
        };
        let entries: Vec<String> = entries.iter().zip(0..).map(entry).collect();
        let secret = PullSecret {
            secret_type: "kubernetes.io/dockerconfigjson".into(),
            data: format!("{{\"auths\":{{{}}}}}", entries.join(",")).into_bytes().into(),
            keys: vec![".dockerconfigjson".into()],
            owners: Vec::new(),
        };
        let state = State::Waiting { reason: "ErrImagePull".into(), message: REFUSAL.into() };
        Case {
            pod: Pod {
                namespace: "shop".into(),
                subject: "pod/web".into(),
                name: Some("web".into()),
                node: Some("n1".into()),
                pull_secrets: vec!["pull".into()],
                admitted: true,
                containers: vec![Container {
                    name: "web".into(),
                    image: IMAGE.into(),
                    state,
                    ..Container::default()
                }],
                ..Pod::default()
            },
            space: Sight::Absent,
            account: Sight::Absent,
            default_account: Sight::Absent,
            secrets: BTreeMap::from([("pull".into(), Sight::Seen(secret))]),
            elsewhere: Vec::new(),
            events: Vec::new(),
            grants: Sight::Absent,
            probed: Vec::new(),
        }
    }

    fn probed(words: &[Word]) -> Vec<Probed> {
        let tried = |word: &Word| Tried {
            label: "secret/pull reg.io".into(),
            with_login: true,
            answer: Answer { word: *word, limit: Limit::default() },
        };
        vec![Probed { image: IMAGE.into(), tried: words.iter().map(tried).collect(), gap: None }]
    }

    fn verdict(words: &[Word]) -> Option<Code> {
        diagnose(&Case { probed: probed(words), ..case(&["reg.io"]) }, 0).verdict.code
    }

    #[test]
    fn a_place_has_the_hub_and_its_library_spelled_out() {
        for (image, host, path, reference) in [
            ("nginx", "docker.io", "library/nginx", "latest"),
            ("docker.io/me/x:2", "docker.io", "me/x", "2"),
            ("index.docker.io/nginx", "docker.io", "library/nginx", "latest"),
            ("reg.io:5000/a/b", "reg.io:5000", "a/b", "latest"),
            ("reg.io:5000/a/b:c", "reg.io:5000", "a/b", "c"),
            ("localhost/a:b", "localhost", "a", "b"),
        ] {
            let place = place_of(image).unwrap();
            assert_eq!((&*place.host, &*place.path, &*place.reference), (host, path, reference), "{image}");
        }
        let digest = format!("sha256:{}", "0".repeat(64));
        assert_eq!(place_of(&format!("reg.io/a:b@{digest}")).unwrap().reference, digest);
        assert!(place_of("reg.io/A").is_none() && place_of("").is_none());
    }

    #[test]
    fn logins_are_tried_in_the_order_of_the_kubelet_each_once_and_nobody_is_asked_in_vain() {
        let labels = |entries: &[&str]| -> Vec<String> {
            let trials = trials(&case(entries));
            trials.into_iter().flat_map(|trial| trial.tries).map(|one| one.label).collect()
        };
        assert_eq!(
            labels(&["reg.io", "reg.io/team", "other.io"]),
            ["secret/pull reg.io/team", "secret/pull reg.io"]
        );
        assert_eq!(labels(&["other.io"]), ["anonymously"]);
        let many = trials(&case(&[
            "reg.io",
            "reg.io/",
            "reg.io/v1/",
            "http://reg.io",
            "https://reg.io",
            "*.io",
            "reg.io/t",
        ]));
        assert_eq!((many[0].tries.len(), many[0].left_out), (5, 2));
        assert!(!format!("{many:?}").contains("p1"));

        let mut twice = case(&["reg.io"]);
        let secret = twice.secrets[&SecretName::from("pull")].clone();
        twice.secrets.insert("again".into(), secret);
        twice.pod.pull_secrets.push("again".into());
        assert_eq!(trials(&twice)[0].tries.len(), 1);

        let mut broken = case(&["reg.io"]);
        let secret = PullSecret {
            secret_type: "kubernetes.io/dockercfg".into(),
            data: b"{".to_vec().into(),
            keys: vec![],
            owners: Vec::new(),
        };
        broken.secrets.insert("pull".into(), Sight::Seen(secret));
        assert!(trials(&broken).is_empty());
        let mut well = case(&["reg.io"]);
        well.pod.containers[0].state = State::Started;
        assert!(trials(&well).is_empty());
    }

    #[test]
    fn the_registrys_own_word_is_later_than_what_the_kubelet_said() {
        for (words, code) in [
            (&[][..], Code::CredentialRefused),
            (&[Word::LetIn], Code::ProbeLetIn),
            (&[Word::Refused, Word::LetIn], Code::ProbeLetIn),
            (&[Word::Refused], Code::ProbeRefused),
            (&[Word::NoRight], Code::ProbeNoRight),
            (&[Word::NotFound], Code::ProbeNotFound),
            // What is only so from here does not outdo what the node was told.
            (&[Word::RateLimited], Code::CredentialRefused),
            (&[Word::Untrusted], Code::CredentialRefused),
            (&[Word::Unresolved], Code::CredentialRefused),
            (&[Word::Hanging], Code::CredentialRefused),
            (&[Word::Alien("x")], Code::CredentialRefused),
        ] {
            assert_eq!(verdict(words), Some(code), "{words:?}");
        }
    }

    #[test]
    fn what_answers_nothing_is_named_where_nothing_else_is_known() {
        for (word, code) in [
            (Word::RateLimited, Code::ProbeRateLimited),
            (Word::Untrusted, Code::ProbeUntrusted),
            (Word::Unconnected, Code::ProbeNoConnection),
            (Word::Slow, Code::ProbeTimeout),
            (Word::Plain, Code::ProbeNoRegistry),
            (Word::TokenRejected, Code::ProbeNoRegistry),
            (Word::Failing(500), Code::ProbeNoRegistry),
        ] {
            let mut case = Case { probed: probed(&[word]), ..case(&["reg.io"]) };
            case.pod.containers[0].state = State::Unsaid;
            let verdict = diagnose(&case, 0).verdict;
            assert_eq!(verdict.code, Some(code), "{word:?}");
            assert!(verdict.text.contains("asked from this machine"), "{}", verdict.text);
        }
    }

    #[test]
    fn one_image_that_is_let_in_does_not_excuse_another() {
        let mut case = Case { probed: probed(&[Word::LetIn]), ..case(&["reg.io"]) };
        let other = Container { image: "reg.io/team/other:1".into(), ..case.pod.containers[0].clone() };
        case.pod.containers.push(other);
        assert_eq!(diagnose(&case, 0).verdict.code, Some(Code::CredentialRefused));
    }

    #[test]
    fn a_refusal_before_the_one_that_is_let_in_is_no_finding() {
        let case = Case { probed: probed(&[Word::Refused, Word::LetIn]), ..case(&["reg.io"]) };
        let findings = diagnose(&case, 0).findings;
        assert!(!findings.iter().any(|finding| finding.code == Code::ProbeRefused));
    }

    #[test]
    fn what_was_not_asked_stays_open() {
        let probed = Probed { image: IMAGE.into(), tried: Vec::new(), gap: Some("time ran out") };
        let case = Case { probed: vec![probed], ..case(&["reg.io"]) };
        let diagnosis = diagnose(&case, 0);
        assert!(diagnosis.findings.iter().any(|finding| finding.code == Code::ProbeOpen));
        assert!(diagnosis.verdict.open);
    }

    #[test]
    fn limits_are_told_in_numbers() {
        let says =
            |total, remaining, window, retry_after| Limit { total, remaining, window, retry_after }.says();
        assert_eq!(says(Some(100), Some(76), Some(21600), None), "76 of 100 pulls left in 6 h");
        assert_eq!(says(Some(100), Some(0), None, Some(30)), "0 of 100 pulls left; ask again in 30 s");
        assert_eq!(says(None, None, Some(1), Some(60)), "ask again in 60 s");
        assert_eq!(says(None, None, None, None), "");
    }
}
