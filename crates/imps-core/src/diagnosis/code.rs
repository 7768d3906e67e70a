//! The closed list of findings: number, name, severity, title. The reference in `docs/findings` is made from it.

use std::fmt;

/// How bad a finding is, from harmless to grave.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Severity {
    /// As it should be.
    Ok,
    /// Worth knowing.
    Info,
    /// Could not be checked.
    Unknown,
    /// May be the cause, or become one.
    Warning,
    /// A cause, or what a cause looks like from outside.
    Error,
}

impl Severity {
    /// The word for it.
    pub fn as_str(self) -> &'static str {
        match self {
            Severity::Ok => "ok",
            Severity::Info => "info",
            Severity::Unknown => "unknown",
            Severity::Warning => "warning",
            Severity::Error => "error",
        }
    }
}

impl fmt::Display for Severity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

/// The questions of the ladder, by the digit in front of the last one.
const RUNGS: [(u8, &str); 10] = [
    (0, "Is it a pull problem?"),
    (1, "What did the registry say?"),
    (2, "Where do the pod's pull secrets come from?"),
    (3, "Do they exist, and can the kubelet read them?"),
    (4, "Which entries match the image?"),
    (5, "Is the credential fresh?"),
    (6, "What only the node knows"),
    (7, "Does the registry let it in? (`--probe`)"),
    (8, "Which ImagePullSecret should have supplied it?"),
    (9, "What is not about credentials"),
];

macro_rules! codes {
    ($($code:ident = $number:literal $severity:ident $name:literal $title:literal;)*) => {
        /// A finding by its number, which never changes its meaning.
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
        pub enum Code {
            $(#[doc = $title] $code,)*
        }

        impl Code {
            /// All of them, by their numbers.
            pub const ALL: &'static [Code] = &[$(Code::$code),*];

            /// The number in its name.
            pub fn number(self) -> u8 {
                match self { $(Code::$code => $number,)* }
            }

            /// How bad it is.
            pub fn severity(self) -> Severity {
                match self { $(Code::$code => Severity::$severity,)* }
            }

            /// Two or three words, for tables.
            pub fn name(self) -> &'static str {
                match self { $(Code::$code => $name,)* }
            }

            /// One line that says what it means.
            pub fn title(self) -> &'static str {
                match self { $(Code::$code => $title,)* }
            }
        }
    };
}

codes! {
    NoPullProblem = 1 Info "no-pull-problem" "No container waits for its image";
    NotScheduled = 2 Info "not-scheduled" "The pod has no node yet, so nothing was pulled";
    ImageName = 3 Error "image-name" "The name of the image is not valid";
    NeverPull = 4 Error "never-pull" "The image may not be pulled, and is not on the node for this pod";

    AnonymousRefused = 10 Error "anonymous-refused" "No credential was offered, and the registry wants one";
    CredentialRefused = 11 Error "credential-refused" "A credential was offered and refused";
    NoPullRight = 12 Error "no-pull-right" "The registry knows who asks and denies the pull";
    TokenExpired = 13 Error "token-expired" "The registry says that the token has expired";
    NotFoundOrDenied = 14 Error "not-found-or-denied" "The repository is not there, or not for this credential";
    NotFound = 15 Error "not-found" "The registry has no such repository or tag";
    RateLimited = 16 Error "rate-limited" "Too many pulls";
    Unauthorized = 17 Error "unauthorized" "The registry wants a login, and does not say whether one was offered";

    References = 20 Ok "references" "The pull secrets that the pod names";
    NoReferences = 21 Warning "no-references" "The pod has no pull secret";
    AccountNewer = 22 Error "account-newer" "The ServiceAccount has a pull secret that the pod was made without";
    OwnList = 23 Warning "own-list" "The pod has a list of its own, so that of its ServiceAccount does not count";
    AccountMissing = 24 Warning "account-missing" "The pod's ServiceAccount does not exist";
    OtherAccount = 25 Warning "other-account" "Another ServiceAccount has the pull secret, the pod's has none";
    Unreferenced = 26 Warning "unreferenced" "A Secret of the namespace would match, and nothing names it";
    AccountUnseen = 29 Unknown "account-unseen" "The ServiceAccount could not be read";

    Secrets = 30 Ok "secrets" "The kubelet can read the pull secret";
    SecretType = 31 Error "secret-type" "The Secret is of a type that the kubelet passes over";
    SecretMissing = 32 Error "secret-missing" "The pull secret does not exist";
    SecretElsewhere = 33 Error "secret-elsewhere" "The pull secret is in another namespace";
    SecretKey = 34 Error "secret-key" "The Secret lacks the key that goes with its type";
    SecretUndecodable = 35 Error "secret-undecodable" "The kubelet cannot decode the Secret, which spoils every pull";
    SecretEmpty = 36 Error "secret-empty" "The Secret has no entry";
    SecretHelpers = 37 Error "secret-helpers" "The Secret has only credential helpers, which the kubelet does not call";
    SecretUnseen = 39 Unknown "secret-unseen" "A pull secret could not be read";

    Match = 40 Ok "match" "The entries that the kubelet tries, in its order";
    MissPort = 41 Error "port" "The entry's port differs from the image's";
    MissHub = 42 Error "docker-hub-spelling" "The entry spells Docker Hub in a way that the kubelet does not match";
    MissPath = 43 Error "path" "The entry's path is not a prefix of the image's";
    MissHostParts = 44 Error "host-parts" "The entry's host has another number of parts; a * stands within one";
    MissEcr = 45 Error "other-ecr" "The entry is for another ECR account or region";
    NoMatch = 46 Error "no-match" "No entry is for the registry of the image";
    MissSpelling = 47 Error "key-spelling" "The entry's key is spelled in a way that the kubelet does not match";
    NoLogin = 48 Error "no-login" "The entry that matches has no login, so the pull is anonymous";
    SeveralMatch = 49 Info "several-match" "Several entries match and are tried one after the other";

    Fresh = 50 Ok "fresh" "The credential has not expired";
    Expired = 51 Error "expired" "The credential has expired";
    ExpiresSoon = 52 Warning "expires-soon" "The credential expires within minutes";

    NodeUnseen = 60 Info "node-unseen" "What credentials the node has cannot be seen from here";
    PullRecords = 61 Error "pull-records" "The kubelet cannot keep its records of who may use an image";
    SignaturePolicy = 62 Error "signature-policy" "The node's policy rejects the image's signature";
    ProviderFailed = 63 Error "provider-failed" "The kubelet's credential provider failed";
    Withheld = 64 Warning "withheld" "The node has the image, and not for a pod without a verified credential";

    ProbeLetIn = 70 Ok "probe-let-in" "The registry, asked from here, lets the pull in";
    ProbeRefused = 71 Error "probe-refused" "The registry, asked from here, does not accept the login or wants one";
    ProbeNoRight = 72 Error "probe-no-right" "The registry, asked from here, denies the login the pull";
    ProbeNotFound = 73 Error "probe-not-found" "The registry, asked from here, has no such repository or tag";
    ProbeRateLimited = 74 Warning "probe-rate-limited" "The registry, asked from here, has had too many requests";
    ProbeUntrusted = 75 Warning "probe-untrusted" "The registry's certificate is not trusted on this machine";
    ProbeNoConnection = 76 Warning "probe-no-connection" "The registry takes no connection from this machine";
    ProbeTimeout = 77 Warning "probe-timeout" "The registry did not answer this machine in time";
    ProbeNoRegistry = 78 Warning "probe-no-registry" "What answers this machine is no registry, or fails";
    ProbeOpen = 79 Unknown "probe-open" "The registry was not asked all there is to ask";

    Managed = 80 Ok "managed" "An ImagePullSecret writes the pull secret";
    NotSelected = 81 Warning "not-selected" "An ImagePullSecret has the registry, and does not select the namespace";
    Excluded = 82 Warning "excluded" "An ImagePullSecret has the registry, and the namespace is excluded";
    NotAttached = 83 Warning "not-attached" "The Secret of an ImagePullSecret is there, and the pod does not name it";
    TargetConflict = 84 Error "target-conflict" "Somebody else's Secret stands where an ImagePullSecret would write";
    Suspended = 85 Warning "suspended" "The ImagePullSecret is suspended";
    GrantFailing = 86 Warning "failing" "The ImagePullSecret or a source of it fails";
    NotInstalled = 87 Info "not-installed" "There is no ImagePullSecret";
    NotWritten = 88 Error "not-written" "The ImagePullSecret selects the namespace, and its Secret is not there";
    GrantsUnseen = 89 Unknown "grants-unseen" "ImagePullSecrets could not be read";

    UntrustedCertificate = 90 Error "untrusted-certificate" "The node does not trust the registry's certificate";
    PlainHttp = 91 Error "plain-http" "The registry speaks HTTP, and HTTPS was spoken to it";
    Dns = 92 Error "dns" "The node cannot resolve the registry's name";
    NoConnection = 93 Error "no-connection" "The registry does not take the connection";
    Timeout = 94 Error "timeout" "The registry did not answer in time";
    Proxy = 95 Error "proxy" "The node's proxy failed";
    Platform = 96 Error "platform" "The image is not built for the node's platform";
    NodeStorage = 97 Error "node-storage" "The node could not store or unpack the image";
    RegistryFailing = 98 Error "registry-failing" "The registry failed";
    Unclassified = 99 Warning "unclassified" "The message is none that imps knows";
}

impl Code {
    /// The question of the ladder that it answers.
    pub fn question(self) -> &'static str {
        RUNGS.iter().find(|(rung, _)| *rung == self.rung()).map_or("", |(_, question)| question)
    }

    /// The rung of the ladder.
    pub fn rung(self) -> u8 {
        self.number() / 10
    }

    /// Where its page is, from the root of the repository.
    pub fn page(self) -> String {
        format!("docs/findings/{self}.md")
    }
}

impl fmt::Display for Code {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&format!("IMPS{:03}", self.number()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_rise_and_each_has_a_question() {
        assert!(Code::ALL.windows(2).all(|pair| pair[0].number() < pair[1].number()));
        for code in Code::ALL {
            assert!(!code.question().is_empty(), "{code}");
            assert!(code.name().bytes().all(|b| b.is_ascii_lowercase() || b == b'-'), "{code}");
        }
        assert_eq!(Code::ImageName.to_string(), "IMPS003");
    }

    #[test]
    fn names_and_titles_are_each_given_once() {
        for text in [Code::name, Code::title] {
            let mut texts: Vec<&str> = Code::ALL.iter().map(|code| text(*code)).collect();
            texts.sort_unstable();
            texts.dedup();
            assert_eq!(texts.len(), Code::ALL.len());
        }
    }
}
