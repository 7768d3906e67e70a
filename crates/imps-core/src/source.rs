//! A source: a Secret with credentials, or with an identity to be exchanged for some; what it gives now, and the last
//! good thing it gave.
//!
//! A source that fails keeps what it last gave, as long as that works. Only the user's intent takes entries away: a key
//! that the source no longer has goes at once, a source Secret that is deleted goes after a grace (delete and recreate
//! is how many deployment tools replace a Secret).

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use zeroize::Zeroizing;

use crate::dockerconfig::{self, DocumentFault, Format, Ignored, Parsed, Rejected};
use crate::exchange::{ExchangeFault, Flaw, Keyless, Order};
use crate::holding::Version;
use crate::keyring::Keyring;
use crate::name::Uid;
use crate::reason::{Fault, FaultClass, Reason};
use crate::refresh::Refresh;
use crate::registry::RegistryKey;

/// How much of a Secret's type is shown; the API server sets no limit.
const TYPE_CHARS_MAX: usize = 64;

/// A source Secret as the API server shows it.
#[derive(Clone, Default)]
pub struct Document {
    /// `metadata.uid`.
    pub uid: Uid,
    /// `metadata.resourceVersion`.
    pub version: Version,
    /// `type` of the Secret.
    pub secret_type: String,
    /// `data`, decoded.
    pub data: BTreeMap<String, Zeroizing<Vec<u8>>>,
}

impl std::fmt::Debug for Document {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Document({})", self.secret_type)
    }
}

/// What a provider reads out of a source Secret.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Offer {
    /// Credentials as they stand in it, which work until somebody changes them; never empty.
    Login(Keyring),
    /// An identity, to be exchanged for a token.
    Exchange(Order),
}

/// What keeps a source from being good. No variant holds anything of the Secret's content.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Trouble {
    /// There is no such Secret.
    Missing,
    /// imps may not read it, or the API server does not answer.
    Unreadable(Fault),
    /// Its type is none that imps reads.
    UnsupportedType {
        /// The type, shortened to what is fit to print.
        found: String,
        /// The docker config that it holds all the same: only its type is wrong.
        holds: Option<Format>,
    },
    /// The key that its type requires is not there.
    NoKey(&'static str),
    /// The document cannot be used.
    Malformed(DocumentFault),
    /// It is a docker config without any entry. Tools that fail write that, so it takes nothing away.
    Empty,
    /// These entries cannot be used, the others are.
    Rejected(Vec<Rejected>),
    /// Its identity cannot be read.
    Flawed(Flaw),
    /// It needs an identity that imps was not started to use.
    KeylessForbidden(Keyless),
    /// There is no token for its identity, or no newer one.
    Exchange(ExchangeFault),
    /// Its token is past its expiry; why there is no newer one, if anything was answered.
    Expired(Option<ExchangeFault>),
}

/// What of a source nobody in this process has ever read well, though an earlier process may have.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Gaps {
    /// All is known.
    None,
    /// These registries.
    Some(BTreeSet<RegistryKey>),
    /// The whole source.
    All,
}

impl Gaps {
    /// Whether the registry is among them.
    pub fn cover(&self, registry: &RegistryKey) -> bool {
        match self {
            Gaps::None => false,
            Gaps::Some(registries) => registries.contains(registry),
            Gaps::All => true,
        }
    }
}

/// See the module.
#[derive(Default, Debug)]
pub struct Source {
    heard: bool,
    secret_type: Option<String>,
    trouble: Option<Trouble>,
    missing_since: Option<Instant>,
    entries: Keyring,
    ever_good: bool,
    blanks: BTreeSet<RegistryKey>,
    ignored: Vec<Ignored>,
    /// What it asks to be exchanged, when it does not say its credentials itself.
    order: Option<Order>,
    /// When its entries stop working.
    expires: Option<Instant>,
    /// The expiry is assumed.
    untold: bool,
    /// Its first token is on the way.
    awaited: bool,
    /// `metadata.uid` and `metadata.resourceVersion` of what was read last.
    version: (Uid, Version),
    /// The same of what its token was issued for.
    leased_for: (Uid, Version),
}

impl Source {
    /// The API server showed the Secret, which no provider reads: it is a docker config, or no source.
    pub fn read(&mut self, document: &Document) {
        self.note(document);
        self.order = None;
        self.awaited = false;
        match parse(document) {
            Ok(parsed) if parsed.keyring.is_empty() && parsed.rejected.is_empty() => {
                self.trouble = Some(Trouble::Empty)
            }
            Ok(Parsed { keyring, rejected, ignored, .. }) => self.take(keyring, rejected, ignored),
            Err(trouble) => self.trouble = Some(trouble),
        }
    }

    /// The API server showed the Secret, and its provider reads these credentials in it.
    pub fn accept(&mut self, document: &Document, keyring: Keyring) {
        self.note(document);
        self.order = None;
        self.take(keyring, Vec::new(), Vec::new());
    }

    /// The API server showed the Secret, and its provider can make nothing of it. What it gave stays.
    pub fn refuse(&mut self, document: &Document, trouble: Trouble) {
        self.note(document);
        self.order = None;
        self.awaited = false;
        self.trouble = Some(trouble);
    }

    /// The API server showed the Secret, and what it asks for is an exchange. What it no longer asks for goes at once.
    pub fn place(&mut self, document: &Document, order: Order) {
        self.note(document);
        self.entries.retain(|registry| order.registries.contains(registry));
        // It has said all that it will ever be good for, and of these an earlier process may know something.
        let unknown = |registry: &&RegistryKey| {
            self.entries.get(registry).is_none() && (!self.ever_good || self.blanks.contains(*registry))
        };
        self.blanks = order.registries.iter().filter(unknown).cloned().collect();
        self.ever_good = true;
        self.ignored.clear();
        self.order = Some(order);
        self.trouble = None;
    }

    /// Brings it up to date with its exchange. A token that came before this one stays until the new one is there.
    pub fn follow(&mut self, refresh: &Refresh, awaited: bool, now: Instant) {
        let Some(order) = &self.order else { return };
        if let Some(lease) = refresh.lease().filter(|lease| lease.expires > now) {
            let entry = |registry: &RegistryKey| (registry.clone(), lease.credential.clone());
            self.entries = order.registries.iter().map(entry).collect();
            (self.expires, self.untold) = (Some(lease.expires), lease.untold);
            self.leased_for = self.version.clone();
            self.blanks.clear();
        }
        self.awaited = awaited && self.entries.is_empty();
        if matches!(self.trouble, Some(Trouble::Missing | Trouble::Unreadable(_))) {
            return;
        }
        let fault = refresh.fault(now).cloned();
        self.trouble = match (self.expires.filter(|expires| *expires <= now), fault) {
            (Some(_), fault) => Some(Trouble::Expired(fault)),
            (None, fault) => fault.map(Trouble::Exchange),
        };
    }

    /// Takes over what an earlier process got for this version of it, until that expires.
    pub fn adopt(&mut self, entries: Keyring, expires: Instant, leased_for: (Uid, Version)) {
        if self.entries.is_empty() {
            self.entries = entries;
            self.expires = Some(expires);
            self.leased_for = leased_for;
            self.blanks.clear();
            self.ever_good = true;
        }
    }

    /// Another process has acted on this source until now. A token of ours may be older than that one's, and what a
    /// source that cannot be read last gave may have been seen by that one alone: both are to be recalled. What the
    /// source says now, it says to everybody.
    pub fn hand_over(&mut self) {
        if let Some(order) = &self.order {
            self.blanks = order.registries.iter().cloned().collect();
            self.ever_good = true;
            if matches!(self.trouble, Some(Trouble::Exchange(_) | Trouble::Expired(_))) {
                self.trouble = None;
            }
        } else if matches!(self.trouble, None | Some(Trouble::Rejected(_))) {
            return;
        } else {
            // Also when nothing is held here: it may have had a token, which that other process alone was given.
            self.ever_good = false;
        }
        if self.order.is_some() || self.expires.is_some() {
            self.entries = Keyring::default();
            (self.expires, self.untold) = (None, false);
        }
    }

    fn note(&mut self, document: &Document) {
        self.heard = true;
        self.missing_since = None;
        self.secret_type = Some(shown(&document.secret_type));
        self.version = (document.uid.clone(), document.version);
    }

    /// What it asks to be exchanged.
    pub fn order(&self) -> Option<&Order> {
        self.order.as_ref()
    }

    /// Whether its first token is on the way, and worth waiting for.
    pub fn is_awaited(&self) -> bool {
        self.awaited
    }

    /// When its entries stop working.
    pub fn expires(&self) -> Option<Instant> {
        self.expires
    }

    /// Whether the expiry is assumed, as the answer had none that can be used.
    pub fn is_untold(&self) -> bool {
        self.untold
    }

    /// `metadata.uid` and `metadata.resourceVersion` of what was read last.
    pub fn version(&self) -> &(Uid, Version) {
        &self.version
    }

    /// The same of what its token was issued for: an edited identity may not be accepted yet.
    pub fn leased_for(&self) -> &(Uid, Version) {
        &self.leased_for
    }

    /// The API server says that there is no such Secret.
    pub fn vanish(&mut self, now: Instant) {
        self.heard = true;
        self.trouble = Some(Trouble::Missing);
        self.missing_since.get_or_insert(now);
    }

    /// The Secret cannot be read. News of the server's own trouble count only while nothing is known: what was read
    /// stays true until the server says otherwise.
    pub fn fail(&mut self, fault: Fault) {
        if fault.class == FaultClass::Forbidden || !self.heard {
            self.heard |= fault.class == FaultClass::Forbidden;
            self.trouble = Some(Trouble::Unreadable(fault));
        }
    }

    /// Whether the API server has said anything about the Secret that a decision can stand on.
    pub fn is_heard(&self) -> bool {
        self.heard
    }

    /// The type of the Secret that was read last, shortened to what is fit to print.
    pub fn secret_type(&self) -> Option<&str> {
        self.secret_type.as_deref()
    }

    /// What keeps it from being good.
    pub fn trouble(&self) -> Option<&Trouble> {
        self.trouble.as_ref()
    }

    /// What was in it and is no credential.
    pub fn ignored(&self) -> &[Ignored] {
        &self.ignored
    }

    /// The credentials that it gives, in trouble the last good ones.
    pub fn entries(&self) -> &Keyring {
        &self.entries
    }

    /// What only an earlier process may know. A source that is missing for longer than the grace has none.
    pub fn gaps(&self) -> Gaps {
        match &self.trouble {
            None if self.order.is_some() && !self.blanks.is_empty() => Gaps::Some(self.blanks.clone()),
            None => Gaps::None,
            Some(_) if !self.ever_good => Gaps::All,
            Some(_) if self.blanks.is_empty() => Gaps::None,
            Some(_) => Gaps::Some(self.blanks.clone()),
        }
    }

    /// Whether it gives all that it is known to have, and something at all.
    pub fn is_whole(&self) -> bool {
        !self.entries.is_empty() && self.gaps() == Gaps::None
    }

    /// When time alone takes something away: the grace of a missing source ends, or its token does.
    pub fn due(&self, grace: Duration) -> Option<Instant> {
        let expiry = self.expires.filter(|_| !self.entries.is_empty());
        [self.grace_end(grace), expiry].into_iter().flatten().min()
    }

    fn grace_end(&self, grace: Duration) -> Option<Instant> {
        let pending = !self.ever_good || !self.entries.is_empty() || self.order.is_some();
        self.missing_since.filter(|_| pending).map(|since| since + grace)
    }

    /// Lets go of what a missing source gave once the grace is over, and of a token past its expiry. Returns whether
    /// nothing more is to be expected of the source.
    pub fn expire(&mut self, now: Instant, grace: Duration) -> bool {
        let given_up = self.grace_end(grace).is_some_and(|end| end <= now);
        let expired = self.expires.is_some_and(|expires| expires <= now);
        if given_up || expired {
            self.entries = Keyring::default();
            self.blanks.clear();
            // Nothing of it is wanted any longer, so there is nothing to recall either.
            self.ever_good = true;
        }
        if given_up {
            self.order = None;
            self.awaited = false;
        }
        if expired {
            self.trouble = match self.trouble.take() {
                None => Some(Trouble::Expired(None)),
                Some(Trouble::Exchange(fault)) => Some(Trouble::Expired(Some(fault))),
                other => other,
            };
        }
        given_up
    }

    fn take(&mut self, mut fresh: Keyring, rejected: Vec<Rejected>, ignored: Vec<Ignored>) {
        let mut blanks = BTreeSet::new();
        for registry in rejected.iter().filter_map(|rejected| rejected.registry.as_ref()) {
            if fresh.get(registry).is_some() {
                continue;
            }
            match self.entries.get(registry) {
                // A broken entry is a failure, no intent: what it last said stays.
                Some(last_good) => {
                    fresh.insert(registry.clone(), last_good.clone());
                }
                None if self.ever_good && !self.blanks.contains(registry) => {}
                None => {
                    blanks.insert(registry.clone());
                }
            }
        }
        self.entries = fresh;
        (self.expires, self.untold, self.awaited) = (None, false, false);
        self.blanks = blanks;
        self.ignored = ignored;
        self.ever_good = true;
        self.trouble = (!rejected.is_empty()).then_some(Trouble::Rejected(rejected));
    }
}

/// A type as it may be printed.
fn shown(secret_type: &str) -> String {
    secret_type.chars().filter(|c| !c.is_control()).take(TYPE_CHARS_MAX).collect()
}

fn parse(document: &Document) -> Result<Parsed, Trouble> {
    let Some(format) = Format::from_secret_type(&document.secret_type) else {
        let found = shown(&document.secret_type);
        let mut formats = [Format::DockerConfigJson, Format::DockerCfg].into_iter();
        let holds = formats.find(|format| document.data.contains_key(format.data_key()));
        return Err(Trouble::UnsupportedType { found, holds });
    };
    let bytes = document.data.get(format.data_key()).ok_or(Trouble::NoKey(format.data_key()))?;
    dockerconfig::parse(format, bytes).map_err(Trouble::Malformed)
}

impl Trouble {
    /// The word for conditions and metrics.
    pub fn reason(&self) -> Reason {
        match self {
            Trouble::Missing => Reason::SourceMissing,
            Trouble::Unreadable(fault) if fault.class == FaultClass::Forbidden => Reason::SourceForbidden,
            Trouble::Unreadable(_) => Reason::ApiUnavailable,
            Trouble::UnsupportedType { .. } => Reason::SourceTypeUnsupported,
            Trouble::NoKey(_) | Trouble::Malformed(_) => Reason::SourceMalformed,
            Trouble::Empty => Reason::SourceEmpty,
            Trouble::Rejected(_) => Reason::EntriesRejected,
            Trouble::Flawed(_) => Reason::SourceMalformed,
            Trouble::KeylessForbidden(_) => Reason::KeylessForbidden,
            Trouble::Exchange(fault) => fault.class.reason(),
            Trouble::Expired(_) => Reason::SourceExpired,
        }
    }

    /// What is wrong and what to do about it, for the person on call.
    pub fn advice(&self) -> String {
        /// How many broken entries are spelled out; a source has a handful, and a status stays small.
        const REJECTED_SHOWN_MAX: usize = 5;
        match self {
            Trouble::Missing => {
                "the Secret does not exist; create it, or remove it from spec.registry.credentials".to_owned()
            }
            Trouble::Unreadable(fault) if fault.class == FaultClass::Forbidden => {
                let detail = &fault.detail;
                format!(
                    "imps may not list and watch the Secret ({detail}); grant that in its namespace, see `imps rbac`"
                )
            }
            Trouble::Unreadable(fault) => fault.advice(),
            Trouble::UnsupportedType { found, holds: Some(format) } => format!(
                "a Secret of type {found:?} is no source, though it holds {:?}; make it anew with the type {}, as the \
                 type of a Secret cannot be changed",
                format.data_key(),
                format.secret_type()
            ),
            Trouble::UnsupportedType { found, holds: None } => {
                format!("a Secret of type {found:?} is no source; docs/sources.md lists the types that are")
            }
            Trouble::NoKey(key) => {
                format!("the Secret has no key {key:?}; put the docker config under that key")
            }
            Trouble::Malformed(fault) => format!("{fault}; {}", fault.remedy()),
            Trouble::Empty => "the docker config has no entry; put one in, or remove the source from \
                               spec.registry.credentials to take its credentials away"
                .to_owned(),
            Trouble::Flawed(flaw) => flaw.to_string(),
            Trouble::KeylessForbidden(Keyless::Ambient) => {
                "the Secret has no keys of its own, and imps may not use its own identity for it; add the keys, or \
                 start imps with --keyless=ambient"
                    .to_owned()
            }
            Trouble::KeylessForbidden(Keyless::ServiceAccount(name)) => format!(
                "imps may not ask for tokens of ServiceAccount {name:?}; start it with --keyless=service-account"
            ),
            Trouble::Exchange(fault) => fault.to_string(),
            Trouble::Expired(Some(fault)) => format!("its token has expired, and there is no newer one: {fault}"),
            Trouble::Expired(None) => "its token has expired, and there is no newer one yet".to_owned(),
            Trouble::Rejected(rejected) => {
                let mut parts: Vec<String> = rejected
                    .iter()
                    .take(REJECTED_SHOWN_MAX)
                    .map(|r| format!("{r}; {}", r.fault.remedy()))
                    .collect();
                if rejected.len() > REJECTED_SHOWN_MAX {
                    parts.push(format!("and {} more", rejected.len() - REJECTED_SHOWN_MAX));
                }
                parts.join(". ")
            }
        }
    }
}
