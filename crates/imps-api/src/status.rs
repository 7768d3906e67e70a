//! From the core to the wire: how a grant stands becomes the status of its `ImagePullSecret`.

use imps_core::reason::Reason;
use imps_core::standing::{Judgement, SourceStanding, Standing, Truth};
use jiff::Timestamp;

use crate::image_pull_secret::{
    Condition, ImagePullSecretStatus, ServiceAccountStatus, SourceStatus, TargetCounts, TargetFailure,
};

/// Renders a status. Times are taken over from `before` where nothing changed, so that the same standing renders to the
/// same status and needs no write.
pub fn render(
    standing: &Standing,
    before: Option<&ImagePullSecretStatus>,
    now: Timestamp,
) -> ImagePullSecretStatus {
    // Kubernetes' times have whole seconds.
    let now = Timestamp::from_second(now.as_second()).unwrap_or(now);
    let generation = standing.identity.generation;
    let mut conditions = Vec::new();
    let mut say = |kind: &str, judgement: &Judgement| {
        let known =
            before.and_then(|status| status.conditions.iter().find(|condition| condition.kind == kind));
        conditions.push(condition(kind, judgement, generation, known, now));
    };
    say("Ready", &standing.ready);
    standing.reconciling.iter().for_each(|judgement| say("Reconciling", judgement));
    standing.stalled.iter().for_each(|judgement| say("Stalled", judgement));
    say("SourcesReady", &standing.sources_ready);
    say("TargetsSynced", &standing.targets_synced);
    let ready = standing.ready.truth == Truth::True;
    let mut status = ImagePullSecretStatus {
        observed_generation: Some(generation),
        last_handled_refresh_at: standing.met.clone().unwrap_or_default(),
        conditions,
        status: legacy_status(standing).to_owned(),
        reason: if standing.ready.truth == Truth::False {
            standing.ready.message.clone()
        } else {
            String::new()
        },
        last_successful_reconciliation: before.and_then(|status| status.last_successful_reconciliation),
        validity_seconds: 0,
        managed_namespaces: managed(standing),
        source_secret_status: standing.sources.iter().map(legacy_source).collect(),
        sources: standing.sources.iter().map(source).collect(),
        targets: Some(counts(standing)),
        failures: standing.failures.iter().map(failure).collect(),
        secret_names: standing.secret_names.iter().map(ToString::to_string).collect(),
        service_accounts: accounts(standing),
    };
    status.validity_seconds = validity(standing, status.last_successful_reconciliation);
    if ready && before != Some(&status) {
        status.last_successful_reconciliation = Some(now);
        status.validity_seconds = validity(standing, status.last_successful_reconciliation);
    }
    status
}

/// Seconds from the last success to the first expiry, as in the original, which counted them with each status.
fn validity(standing: &Standing, since: Option<Timestamp>) -> i32 {
    let tokens = standing.sources.iter().filter_map(|source| source.token.as_ref());
    let first = tokens.filter_map(|token| token.expires).min();
    let seconds = first.zip(since).map_or(0, |(first, since)| first - since.as_second());
    i32::try_from(seconds.max(0)).unwrap_or(i32::MAX)
}

fn condition(
    kind: &str,
    judgement: &Judgement,
    generation: i64,
    before: Option<&Condition>,
    now: Timestamp,
) -> Condition {
    let status = match judgement.truth {
        Truth::True => "True",
        Truth::False => "False",
        Truth::Unknown => "Unknown",
    };
    let since =
        before.filter(|condition| condition.status == status).map(|condition| condition.last_transition_time);
    Condition {
        kind: kind.to_owned(),
        status: status.to_owned(),
        observed_generation: Some(generation),
        last_transition_time: since.unwrap_or(now),
        reason: judgement.reason.as_str().to_owned(),
        message: judgement.message.clone(),
    }
}

/// The original knew two words; work in progress is neither.
fn legacy_status(standing: &Standing) -> &'static str {
    match standing.ready.truth {
        Truth::True => "Ready",
        Truth::False => "Failed",
        Truth::Unknown => "",
    }
}

fn managed(standing: &Standing) -> Vec<String> {
    let mut names: Vec<String> = standing.managed.iter().map(ToString::to_string).collect();
    if standing.managed_more > 0 {
        // No namespace has such a name, so nothing that reads the list takes it for one.
        names.push(format!("(and {} more, see status.targets)", standing.managed_more));
    }
    names
}

fn legacy_source(source: &SourceStanding) -> (String, String) {
    let key = format!("{}.{}", source.at.namespace, source.at.name);
    (key, if source.reason.is_none() { "Ok".to_owned() } else { source.message.clone() })
}

fn source(source: &SourceStanding) -> SourceStatus {
    let token = source.token.as_ref();
    // Before the first token there is nothing that it could be for.
    let of = token.map(|token| &token.of).filter(|(uid, _)| !uid.as_str().is_empty());
    SourceStatus {
        namespace: source.at.namespace.to_string(),
        name: source.at.name.to_string(),
        secret_type: source.secret_type.clone().unwrap_or_default(),
        state: source.state().to_owned(),
        reason: source.reason.map(Reason::as_str).unwrap_or_default().to_owned(),
        message: source.message.clone(),
        registries: source.registries.clone(),
        more_registries: count(source.registries_more),
        overridden: source.overridden.clone(),
        expires_at: token.and_then(|token| time(token.expires?)),
        next_refresh: token.and_then(|token| time(token.next_refresh?)),
        uid: of.map(|(uid, _)| uid.to_string()).unwrap_or_default(),
        resource_version: of.map(|(_, version)| version.0.to_string()).unwrap_or_default(),
    }
}

fn time(unix_seconds: i64) -> Option<Timestamp> {
    Timestamp::from_second(unix_seconds).ok()
}

fn failure(failure: &imps_core::standing::TargetFailure) -> TargetFailure {
    TargetFailure {
        namespace: failure.namespace.to_string(),
        reason: failure.reason.as_str().to_owned(),
        message: failure.message.clone(),
    }
}

fn accounts(standing: &Standing) -> Option<ServiceAccountStatus> {
    let names: Vec<String> = standing.account_names.iter().map(ToString::to_string).collect();
    (!names.is_empty()).then(|| ServiceAccountStatus { attached: count(standing.attached), names })
}

fn counts(standing: &Standing) -> TargetCounts {
    let tally = standing.tally;
    TargetCounts {
        desired: count(tally.desired),
        synced: count(tally.synced),
        failed: count(tally.failed),
        conflict: count(tally.conflict),
        left_out: Some(count(tally.left_out)).filter(|left_out| *left_out > 0),
    }
}

fn count(number: usize) -> i32 {
    i32::try_from(number).unwrap_or(i32::MAX)
}
