//! How a grant stands: everything that its status, its events and its metrics say, folded from the world.
//!
//! The size of a standing does not grow with the number of namespaces: lists are cut at the constants here, and what
//! was cut is counted.

use std::collections::BTreeSet;

use crate::dockerconfig::Ignored;
use crate::grant::Identity;
use crate::holding::Version;
use crate::name::{NamespaceName, SecretName, SecretRef, Uid};
use crate::reason::{FaultClass, Reason};
use crate::selector::NamePattern;
use crate::source::{Source, Trouble};
use crate::world::{Extent, Room, Stream, Tally, TargetState, World};

/// How many failing namespaces a status spells out.
pub const FAILURES_SHOWN_MAX: usize = 20;
/// How many namespaces a status lists by name.
pub const NAMESPACES_SHOWN_MAX: usize = 100;
/// How many of the namespaces that are not served a message names.
pub const LEFT_OUT_SHOWN_MAX: usize = 5;
/// How many registries a status lists for one source.
pub const REGISTRIES_SHOWN_MAX: usize = 64;
/// How many lost overlaps a status lists for one source.
pub const OVERRIDDEN_SHOWN_MAX: usize = 20;
/// Said of a token whose answer had no expiry that can be used.
const UNTOLD: &str = "the token endpoint gave no usable expiry; 20 minutes are assumed";
/// How many characters a message has at most: an event's note may have 1024.
pub const MESSAGE_CHARS_MAX: usize = 1000;

/// True, false or not known.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Truth {
    /// It is so.
    True,
    /// It is not so.
    False,
    /// It is not known yet.
    Unknown,
}

/// One condition.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Judgement {
    /// Whether it holds.
    pub truth: Truth,
    /// Why, in a word.
    pub reason: Reason,
    /// Why, and what to do.
    pub message: String,
}

/// See the module.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Standing {
    /// Which grant.
    pub identity: Identity,
    /// Sources are good and every selected namespace has just what it should.
    pub ready: Judgement,
    /// Work is under way or will be tried again; absent when not.
    pub reconciling: Option<Judgement>,
    /// A person has to do something; absent when not.
    pub stalled: Option<Judgement>,
    /// All sources are good.
    pub sources_ready: Judgement,
    /// All targets are as they should be.
    pub targets_synced: Judgement,
    /// Each source in its order.
    pub sources: Vec<SourceStanding>,
    /// How many namespaces stand how.
    pub tally: Tally,
    /// Namespaces in which something failed, at most [`FAILURES_SHOWN_MAX`].
    pub failures: Vec<TargetFailure>,
    /// Namespaces that have the Secret, at most [`NAMESPACES_SHOWN_MAX`].
    pub managed: Vec<NamespaceName>,
    /// How many more there are.
    pub managed_more: usize,
    /// The names under which a Secret of this grant may stand: the present one, and former ones until nothing is left
    /// there.
    pub secret_names: BTreeSet<SecretName>,
    /// The names and patterns of ServiceAccounts that it may be attached to: the present ones, and former ones until
    /// it is detached from all of those.
    pub account_names: BTreeSet<NamePattern>,
    /// To how many ServiceAccounts it is attached.
    pub attached: usize,
    /// Its user's demand that was met last, see [`crate::world::GrantFact::demand`].
    pub met: Option<String>,
}

/// How one source stands.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct SourceStanding {
    /// Where it is.
    pub at: SecretRef,
    /// The type of the Secret, when it was read.
    pub secret_type: Option<String>,
    /// The registries whose credential in the targets is this source's, at most [`REGISTRIES_SHOWN_MAX`].
    pub registries: Vec<String>,
    /// How many more there are.
    pub registries_more: usize,
    /// `registry (winner)` for each credential that an earlier source overrides.
    pub overridden: Vec<String>,
    /// What is wrong, in a word; none when all is well.
    pub reason: Option<Reason>,
    /// What is wrong and what to do, or what was left out.
    pub message: String,
    /// How long its token counts, when it gives one.
    pub token: Option<TokenStanding>,
}

/// The life of a token that a source gives. Times are seconds since 1970.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct TokenStanding {
    /// When the one that is given stops working; none when there is none.
    pub expires: Option<i64>,
    /// When the next one is asked for.
    pub next_refresh: Option<i64>,
    /// `metadata.uid` and `metadata.resourceVersion` of the source Secret that it was issued for.
    pub of: (Uid, Version),
}

/// What of a standing metrics show. What it costs does not grow with the number of namespaces.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Outline {
    /// The same as [`Standing::ready`] says.
    pub ready: Truth,
    /// Each source in its order.
    pub sources: Vec<SourceStanding>,
}

/// The life of the credential that a source gives, for metrics. Times are seconds since 1970.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Life {
    /// The provider's name; none when imps holds a token of a source that it cannot read any more.
    pub provider: Option<&'static str>,
    /// When it was issued; none when an earlier process got it.
    pub issued: Option<i64>,
    /// When it stops working; none when there is none.
    pub expires: Option<i64>,
    /// When the next one is asked for.
    pub renewal: Option<i64>,
    /// When a request for one failed last, in this process.
    pub failed: Option<i64>,
}

impl SourceStanding {
    /// `Ready`, `Degraded` (some entries cannot be used), `Missing`, `Expired`, `Failing`, or `Unknown` (not read yet,
    /// or not answered).
    pub fn state(&self) -> &'static str {
        match self.reason {
            None => "Ready",
            Some(Reason::Progressing) => "Unknown",
            Some(Reason::EntriesRejected) => "Degraded",
            Some(Reason::SourceMissing) => "Missing",
            Some(Reason::SourceExpired) => "Expired",
            Some(_) => "Failing",
        }
    }
}

/// One namespace in which something failed.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct TargetFailure {
    /// The namespace.
    pub namespace: NamespaceName,
    /// Why, in a word.
    pub reason: Reason,
    /// Why, and what to do.
    pub message: String,
    /// A Secret could not be taken away.
    pub leaving: bool,
}

/// Something that happened to a grant, worth an event.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Notice {
    /// Whether somebody has to look.
    pub warning: bool,
    /// The reason: one of the original's, or `TargetConflict`.
    pub reason: &'static str,
    /// What happened and what to do.
    pub note: String,
}

impl Standing {
    /// Folds what the world knows of a grant.
    pub fn of(world: &World, room: &Room) -> Self {
        let sources = source_standings(world, room);
        let failures: Vec<TargetFailure> = failures(room).take(FAILURES_SHOWN_MAX).collect();
        let sources_ready = judge_sources(&sources);
        let targets_synced = judge_targets(room, &failures);
        let verdicts = Verdicts {
            world,
            room,
            sources: &sources,
            sources_ready: &sources_ready,
            targets_synced: &targets_synced,
        };
        let (ready, reconciling, stalled) = verdicts.summary();
        let has_secret = |state: &TargetState| matches!(state, TargetState::Synced(_));
        let managed: Vec<NamespaceName> = room
            .targets()
            .iter()
            .filter(|(_, state)| has_secret(state))
            .take(NAMESPACES_SHOWN_MAX)
            .map(|(name, _)| name.clone())
            .collect();
        let managed_more = room.tally().synced.saturating_sub(managed.len());
        Self {
            identity: room.identity().clone(),
            ready,
            reconciling,
            stalled,
            sources_ready,
            targets_synced,
            tally: room.tally(),
            failures,
            managed,
            managed_more,
            secret_names: room.secret_names().into_iter().cloned().collect(),
            account_names: room.account_patterns().cloned().collect(),
            attached: world.attachments(room),
            met: room.record().met.clone(),
            sources,
        }
    }

    /// What is new since `before`, as events. Nothing is said of what was said before.
    pub fn notices(&self, before: Option<&Standing>) -> Vec<Notice> {
        let mut notices = Vec::new();
        let mut say = |warning, reason, note: &str| {
            notices.push(Notice { warning, reason, note: clip(note.to_owned()) });
        };
        let unusable = matches!(self.ready.reason, Reason::InvalidSpec | Reason::AccessDenied);
        if unusable && before.is_none_or(|before| before.ready != self.ready) {
            say(true, "ReconciliationFailed", &self.ready.message);
        }
        let known = before.map(Standing::source_troubles).unwrap_or_default();
        if self.source_troubles().iter().any(|trouble| !known.contains(trouble)) {
            say(true, "SourceCredentialsError", &self.sources_ready.message);
        }
        for kind in
            [FailureKind::Conflict, FailureKind::Write, FailureKind::Delete, FailureKind::ServiceAccount]
        {
            let first = self.failures.iter().find(|failure| failure.kind() == kind);
            let news =
                before.is_none_or(|before| before.failures.iter().all(|failure| failure.kind() != kind));
            if let Some(failure) = first.filter(|_| news) {
                say(true, kind.event(), &format!("{}: {}", failure.namespace, failure.message));
            }
        }
        let was_ready = before.is_some_and(|before| before.ready.truth == Truth::True);
        if self.ready.truth == Truth::True && !was_ready {
            say(false, "Reconciled", &self.ready.message);
        }
        notices
    }

    /// The sources that have been read and are not good, with the reason.
    fn source_troubles(&self) -> Vec<(&SecretRef, Reason)> {
        let trouble =
            |source: &'_ SourceStanding| source.reason.filter(|reason| *reason != Reason::Progressing);
        self.sources.iter().filter_map(|source| Some((&source.at, trouble(source)?))).collect()
    }
}

impl Outline {
    /// Folds what the world knows of a grant.
    pub fn of(world: &World, room: &Room) -> Self {
        let sources = source_standings(world, room);
        let sources_ready = judge_sources(&sources);
        // Only whether the targets are as they should be decides whether the grant is ready, and the tally knows that.
        let truth = targets_truth(room.tally());
        let targets_synced = Judgement { truth, reason: Reason::TargetsDegraded, message: String::new() };
        let verdicts = Verdicts {
            world,
            room,
            sources: &sources,
            sources_ready: &sources_ready,
            targets_synced: &targets_synced,
        };
        let (ready, ..) = verdicts.summary();
        Self { ready: ready.truth, sources }
    }
}

impl Life {
    /// The life of what a source gives; none when it gives nothing that ends.
    pub fn of(world: &World, at: &SecretRef) -> Option<Self> {
        let source = world.source(at)?;
        let exchange = world.exchanges().of(at);
        let expires = source.expires().filter(|_| !source.entries().is_empty());
        if expires.is_none() && exchange.is_none() {
            return None;
        }
        let unix = |at| world.calendar().unix(at);
        let refresh = exchange.map(|exchange| &exchange.refresh);
        // Of a token that this source does not hold (any more) it would say nothing.
        let lease =
            refresh.and_then(|refresh| refresh.lease()).filter(|lease| Some(lease.expires) == expires);
        Some(Self {
            provider: exchange
                .map(|exchange| exchange.provider())
                .or(source.order().map(|order| order.provider)),
            issued: lease.and_then(|lease| lease.issued).map(unix),
            expires: expires.map(unix),
            renewal: refresh.map(|refresh| unix(refresh.scheduled())),
            failed: refresh.and_then(|refresh| refresh.failed_at()).map(unix),
        })
    }
}

/// What kind of thing failed in a namespace; each has an event of its own.
#[derive(Clone, Copy, PartialEq, Eq)]
enum FailureKind {
    Conflict,
    Write,
    Delete,
    ServiceAccount,
}

impl FailureKind {
    fn event(self) -> &'static str {
        match self {
            FailureKind::Conflict => "TargetConflict",
            FailureKind::Write => "SecretReconciliationError",
            FailureKind::Delete => "SecretDeletionError",
            FailureKind::ServiceAccount => "ServiceAccountReconciliationError",
        }
    }
}

impl TargetFailure {
    fn kind(&self) -> FailureKind {
        match (self.leaving, self.reason) {
            (true, _) => FailureKind::Delete,
            (false, Reason::TargetConflict) => FailureKind::Conflict,
            (
                false,
                Reason::ServiceAccountForbidden
                | Reason::ServiceAccountRefused
                | Reason::ServiceAccountContended,
            ) => FailureKind::ServiceAccount,
            (false, _) => FailureKind::Write,
        }
    }
}

fn source_standings(world: &World, room: &Room) -> Vec<SourceStanding> {
    let sources = room.grant().map(|grant| grant.sources.iter());
    sources.into_iter().flatten().map(|at| source_standing(world, room, at)).collect()
}

fn source_standing(world: &World, room: &Room, at: &SecretRef) -> SourceStanding {
    let mut registries: Vec<String> = room
        .origin()
        .iter()
        .filter(|(_, from)| *from == at)
        .map(|(registry, _)| registry.to_string())
        .collect();
    let registries_more = registries.len().saturating_sub(REGISTRIES_SHOWN_MAX);
    registries.truncate(REGISTRIES_SHOWN_MAX);
    let lost = room.overlaps().iter().filter(|overlap| overlap.losers.contains(at));
    let overridden = lost
        .take(OVERRIDDEN_SHOWN_MAX)
        .map(|o| {
            format!(
                "{} ({}{})",
                o.registry.display_name(),
                o.winner,
                if o.identical { ", same login" } else { "" }
            )
        })
        .collect();
    let source = world.source(at);
    let (reason, message) = match source {
        None => (Some(Reason::Progressing), "not read yet".to_owned()),
        Some(source) => match source.trouble() {
            Some(trouble) => (Some(trouble.reason()), in_use(source, trouble)),
            None if !source.is_heard() => (Some(Reason::Progressing), "not read yet".to_owned()),
            None if source.order().is_some() && source.entries().is_empty() => {
                (Some(Reason::Progressing), "waiting for its first token".to_owned())
            }
            None if source.is_untold() => (None, UNTOLD.to_owned()),
            None => (None, ignored_text(source.ignored())),
        },
    };
    SourceStanding {
        at: at.clone(),
        secret_type: source.and_then(Source::secret_type).map(str::to_owned),
        registries,
        registries_more,
        overridden,
        reason,
        message: clip(message),
        token: source.and_then(|source| token_standing(world, source, at)),
    }
}

fn token_standing(world: &World, source: &Source, at: &SecretRef) -> Option<TokenStanding> {
    let exchange = world.exchanges().of(at);
    let next = exchange.map(|exchange| exchange.refresh.scheduled());
    if source.expires().is_none() && exchange.is_none() {
        return None;
    }
    Some(TokenStanding {
        expires: source
            .expires()
            .filter(|_| !source.entries().is_empty())
            .map(|at| world.calendar().unix(at)),
        next_refresh: next.map(|at| world.calendar().unix(at)),
        of: source.leased_for().clone(),
    })
}

/// The trouble, and whether something works all the same.
fn in_use(source: &Source, trouble: &Trouble) -> String {
    let advice = trouble.advice();
    match (trouble, source.entries().is_empty()) {
        (Trouble::Rejected(_), _) | (_, true) => advice,
        (Trouble::Exchange(_), false) => {
            format!("{advice}. The token that is held stays in use until it expires")
        }
        (Trouble::Missing, false) => {
            format!("{advice}. Its last credentials stay in use for the grace period")
        }
        (_, false) => format!("{advice}. Its last good credentials stay in use"),
    }
}

fn ignored_text(ignored: &[Ignored]) -> String {
    if ignored.is_empty() {
        return String::new();
    }
    let parts: Vec<String> = ignored.iter().take(OVERRIDDEN_SHOWN_MAX).map(ToString::to_string).collect();
    format!("not passed on: {}", parts.join(", "))
}

/// The namespaces in which something failed. Most of the time there are none, and then none is looked at.
fn failures(room: &Room) -> impl Iterator<Item = TargetFailure> {
    let looked_at = if targets_truth(room.tally()) == Truth::False { room.targets().len() } else { 0 };
    room.targets().iter().take(looked_at).filter_map(|(namespace, state)| {
        let (reason, advice, leaving) = match state {
            TargetState::Troubled { reason, advice } => (*reason, advice, false),
            TargetState::LeavingTroubled { advice } => (Reason::TargetsDegraded, advice, true),
            TargetState::Pending | TargetState::Synced(_) | TargetState::LeftOut | TargetState::Leaving => {
                return None;
            }
        };
        Some(TargetFailure { namespace: namespace.clone(), reason, message: clip(advice.clone()), leaving })
    })
}

fn judge_sources(sources: &[SourceStanding]) -> Judgement {
    let bad: Vec<&SourceStanding> = sources.iter().filter(|source| source.reason.is_some()).collect();
    let Some(first) = bad.first() else {
        let message = match sources.len() {
            0 => "spec.registry.credentials is empty; list the Secrets that hold the logins".to_owned(),
            count => format!("{} can be used", plural(count, "source")),
        };
        let truth = if sources.is_empty() { Truth::False } else { Truth::True };
        let reason = if sources.is_empty() { Reason::NoCredentials } else { Reason::Succeeded };
        return Judgement { truth, reason, message };
    };
    let reason = first.reason.expect("only sources with a reason are in the list");
    let truth =
        if bad.iter().all(|s| s.reason == Some(Reason::Progressing)) { Truth::Unknown } else { Truth::False };
    let texts: Vec<String> = bad.iter().map(|source| format!("{}: {}", source.at, source.message)).collect();
    Judgement { truth, reason, message: clip(texts.join("; ")) }
}

/// Whether all targets are as they should be; not known while some are being worked on.
fn targets_truth(tally: Tally) -> Truth {
    let Tally { failed, conflict, stuck, pending, leaving, .. } = tally;
    match (failed + conflict + stuck, pending + leaving) {
        (0, 0) => Truth::True,
        (0, _) => Truth::Unknown,
        _ => Truth::False,
    }
}

fn judge_targets(room: &Room, failures: &[TargetFailure]) -> Judgement {
    let truth = targets_truth(room.tally());
    let Tally { desired, synced, failed, conflict, stuck, leaving, left_out, .. } = room.tally();
    if let Some(first) = failures.first() {
        let wrong = failed + conflict + stuck;
        let message = format!(
            "{} not as it should be; {}: {}",
            plural(wrong, "namespace"),
            first.namespace,
            first.message
        );
        return Judgement { truth, reason: first.reason, message: clip(message) };
    }
    let secret = room.grant().map_or("the Secret", |grant| grant.template.name.as_str());
    if truth == Truth::Unknown {
        let message =
            format!("{synced} of {} done, {leaving} to be taken away", plural(desired, "namespace"));
        return Judgement { truth, reason: Reason::Progressing, message };
    }
    let message = match room.grant() {
        Some(grant) if grant.recipients.is_empty() => "spec.target selects no namespace at all".to_owned(),
        Some(grant) if !grant.accounts.is_empty() => {
            format!("{} with Secret {secret} attached", plural(synced, "namespace"))
        }
        _ => format!("{} with Secret {secret}", plural(synced, "namespace")),
    };
    let message = match left_out {
        0 => message,
        _ => format!("{message}; {}", left_out_text(room, left_out)),
    };
    Judgement { truth, reason: Reason::Succeeded, message }
}

fn left_out_text(room: &Room, count: usize) -> String {
    let is_left_out = |(_, state): &(&NamespaceName, &TargetState)| **state == TargetState::LeftOut;
    let some = room.targets().iter().filter(is_left_out).take(LEFT_OUT_SHOWN_MAX);
    let some: Vec<&str> = some.map(|(name, _)| name.as_str()).collect();
    let more = if count > some.len() { format!(" and {} more", count - some.len()) } else { String::new() };
    let (verb, pronoun) = if count == 1 { ("is", "it") } else { ("are", "them") };
    format!(
        "{} more {verb} selected and left out, as this imps does not serve {pronoun} (--namespaces): {}{more}",
        count,
        some.join(", ")
    )
}

/// What the summary is made from.
struct Verdicts<'a> {
    world: &'a World,
    room: &'a Room,
    sources: &'a [SourceStanding],
    sources_ready: &'a Judgement,
    targets_synced: &'a Judgement,
}

impl Verdicts<'_> {
    /// Ready, Reconciling and Stalled. The last two never hold together: work that goes on hides what only a person can
    /// mend until it is done.
    fn summary(&self) -> (Judgement, Option<Judgement>, Option<Judgement>) {
        let judge =
            |truth, reason, message: &str| Judgement { truth, reason, message: clip(message.to_owned()) };
        if !self.room.rejections().is_empty() {
            let texts: Vec<String> = self.room.rejections().iter().map(ToString::to_string).collect();
            let message = format!("{}. What was there before is left as it is", texts.join("; "));
            let (ready, stalled) = (
                judge(Truth::False, Reason::InvalidSpec, &message),
                judge(Truth::True, Reason::InvalidSpec, &message),
            );
            return (ready, None, Some(stalled));
        }
        if self.room.is_leaving() {
            let Tally { leaving, .. } = self.room.tally();
            let message =
                format!("it is being deleted; {} left to take the Secret from", plural(leaving, "namespace"));
            let (ready, reconciling) = (
                judge(Truth::False, Reason::Progressing, &message),
                judge(Truth::True, Reason::Progressing, &message),
            );
            return (ready, Some(reconciling), None);
        }
        if self.room.grant().is_some_and(|grant| grant.suspended) {
            let message = "spec.suspend is true: nothing is written and nothing is taken away";
            return (judge(Truth::Unknown, Reason::Suspended, message), None, None);
        }
        if let Some((denied, message)) = self.broken_stream() {
            let reason = if denied { Reason::AccessDenied } else { Reason::ApiUnavailable };
            let open = judge(Truth::True, reason, &message);
            let (reconciling, stalled) = if denied { (None, Some(open)) } else { (Some(open), None) };
            return (judge(Truth::False, reason, &message), reconciling, stalled);
        }
        let Tally { pending, leaving, .. } = self.room.tally();
        let waiting = self.world.is_waiting(self.room);
        let ready = self.ready(waiting);
        let open = |j: &Judgement| Some(judge(Truth::True, j.reason, &j.message));
        if waiting || pending + leaving > 0 {
            let message = format!("{}; {}", self.sources_ready.message, self.targets_synced.message);
            return (ready, Some(judge(Truth::True, Reason::Progressing, &message)), None);
        }
        if ready.truth == Truth::True {
            return (ready, None, None);
        }
        let (reconciling, stalled) =
            if self.needs_a_person() { (None, open(&ready)) } else { (open(&ready), None) };
        (ready, reconciling, stalled)
    }

    fn ready(&self, waiting: bool) -> Judgement {
        let (sources, targets) = (self.sources_ready, self.targets_synced);
        let (truth, reason, message) = match (sources.truth, targets.truth) {
            (Truth::False, Truth::False) => {
                (Truth::False, Reason::SourcesDegraded, format!("{}; {}", sources.message, targets.message))
            }
            (Truth::False, _) => (Truth::False, Reason::SourcesDegraded, sources.message.clone()),
            (_, Truth::False) => (Truth::False, Reason::TargetsDegraded, targets.message.clone()),
            (Truth::True, Truth::True) if !waiting => {
                let registries = self.room.origin().len();
                let remarks = self.room.remarks();
                let mut message = format!(
                    "{}: {} from {}",
                    targets.message,
                    plural_y(registries, "registr"),
                    plural(self.sources.len(), "source")
                );
                if !remarks.is_empty() {
                    message = format!("{message}; {}", remarks.join("; "));
                }
                (Truth::True, Reason::Succeeded, message)
            }
            _ => (Truth::Unknown, Reason::Progressing, targets.message.clone()),
        };
        Judgement { truth, reason, message: clip(message) }
    }

    /// A stream that the grant stands on and that does not come: whether by lack of a right, and what to say.
    fn broken_stream(&self) -> Option<(bool, String)> {
        let grant = self.room.grant()?;
        let mut streams = vec![Stream::Grants, Stream::Namespaces];
        let names = self.room.secret_names();
        streams.extend(names.into_iter().flat_map(|name| self.world.targets_streams(name)));
        if !grant.recipients.pods.is_empty() {
            streams.push(self.world.pods_stream());
        }
        streams.extend(grant.accounts.iter().flat_map(|pattern| self.world.accounts_streams(pattern)));
        // What concerns one namespace is told of that namespace.
        streams.retain(|stream| {
            !matches!(stream, Stream::Targets(_, Extent::In(_)) | Stream::Accounts(_, Extent::In(_)))
        });
        let broken =
            streams.iter().find_map(|stream| self.world.stream_fault(stream).map(|fault| (stream, fault)))?;
        let (stream, fault) = broken;
        Some((fault.class == FaultClass::Forbidden, format!("cannot watch {stream}: {}", fault.advice())))
    }

    /// Whether trying again changes nothing: somebody has to edit an object or grant a right.
    fn needs_a_person(&self) -> bool {
        let retried = |reason: Reason| {
            matches!(
                reason,
                Reason::SourceMissing
                    | Reason::ApiUnavailable
                    | Reason::Progressing
                    | Reason::SourceExpired
                    | Reason::ExchangeThrottled
                    | Reason::ExchangeUnreachable
                    | Reason::TargetTerminating
            )
        };
        let source = self.sources.iter().filter_map(|source| source.reason).any(|reason| !retried(reason));
        let target = self.targets_synced.truth == Truth::False && !retried(self.targets_synced.reason);
        source || target || self.sources.is_empty()
    }
}

fn plural(count: usize, noun: &str) -> String {
    format!("{count} {noun}{}", if count == 1 { "" } else { "s" })
}

fn plural_y(count: usize, stem: &str) -> String {
    format!("{count} {stem}{}", if count == 1 { "y" } else { "ies" })
}

/// Keeps a message within its limit.
fn clip(message: String) -> String {
    match message.char_indices().nth(MESSAGE_CHARS_MAX - 1) {
        None => message,
        Some((at, _)) => format!("{}…", &message[..at]),
    }
}
