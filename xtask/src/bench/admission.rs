//! A pod that comes soon after its namespace: whether the ServiceAccount names the Secret by then.
//!
//! The pod is admitted and never runs. It gets the names that its ServiceAccount has at that moment, and keeps them.

use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use k8s_openapi::api::core::v1::{Namespace, Pod};
use kube::api::{Api, PostParams};
use serde_json::json;

use super::bulk;
use super::page::{Finding, Verdict};
use super::rig::{Rig, TARGET, recipient};
use super::spread::Spread;
use crate::console::Console;

/// How long after its namespace a pod comes.
const HEAD_START: Duration = Duration::from_millis(500);
/// How many of a hundred pods have to name the Secret.
const PERCENT_MIN: usize = 99;
/// How long an account may take before the run is given up.
const PATIENCE: Duration = Duration::from_secs(30);

/// How a pod fared.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Admitted {
    /// It names the Secret.
    Named,
    /// It does not.
    Unnamed,
    /// It was refused: kube-controller-manager had not made the account yet.
    Refused,
}

/// One namespace and its pod.
struct Try {
    admitted: Admitted,
    /// From the namespace to its account.
    made: Duration,
    /// From the namespace to the name in the account.
    named: Duration,
}

/// Namespaces one after the other, each with a pod half a second later.
pub(super) async fn measure(rig: &mut Rig, count: usize, console: &mut Console) -> Result<Vec<Finding>> {
    console.begin("imps: one ImagePullSecret for all of them");
    bulk::create_grant(rig).await?;
    console.begin(&format!("{count} more namespaces, each with a pod {} ms later", HEAD_START.as_millis()));
    let mut tries = Vec::new();
    for index in 0..count {
        tries.push(attempt(rig, &format!("bench-pod-{index:03}")).await?);
    }
    Ok(vec![admitted(&tries), carried(&tries)])
}

async fn attempt(rig: &Rig, name: &str) -> Result<Try> {
    let namespace: Namespace = serde_json::from_value(recipient(name)).context("a namespace is not one")?;
    let namespaces = Api::<Namespace>::all(rig.admin.clone());
    namespaces.create(&PostParams::default(), &namespace).await.context("cannot make a namespace")?;
    let begun = Instant::now();
    tokio::time::sleep_until((begun + HEAD_START).into()).await;
    let admitted = admit(rig, name).await?;
    let named = rig.accounts.wait(name, PATIENCE, |sighting| sighting.stands).await?;
    let made = rig.accounts.earliest(name).context("the account was seen")?;
    // Both may come before the answer to whoever made the namespace.
    let since = |at: Instant| at.saturating_duration_since(begun);
    Ok(Try { admitted, made: since(made.at), named: since(named.at) })
}

/// A pod that names no Secret itself.
async fn admit(rig: &Rig, namespace: &str) -> Result<Admitted> {
    let pod = json!({
        "metadata": {"name": "early"},
        "spec": {"containers": [{"name": "main", "image": "mirror-0-0.registry.example.com/app:1"}]},
    });
    let pod: Pod = serde_json::from_value(pod).context("a pod is not one")?;
    match Api::<Pod>::namespaced(rig.admin.clone(), namespace).create(&PostParams::default(), &pod).await {
        Ok(pod) => {
            let secrets = pod.spec.and_then(|spec| spec.image_pull_secrets).unwrap_or_default();
            let is_named = secrets.iter().any(|reference| reference.name == TARGET);
            Ok(if is_named { Admitted::Named } else { Admitted::Unnamed })
        }
        // The plugin that gives pods their account refuses those whose account is not there.
        Err(kube::Error::Api(status)) if status.code == 403 => Ok(Admitted::Refused),
        Err(error) => Err(error).context("cannot make a pod"),
    }
}

fn admitted(tries: &[Try]) -> Finding {
    let count = |what| tries.iter().filter(|attempt| attempt.admitted == what).count();
    let [named, unnamed, refused] = [Admitted::Named, Admitted::Unnamed, Admitted::Refused].map(count);
    Finding {
        key: "early_pod",
        what: format!("a pod {} ms after its namespace names the Secret", HEAD_START.as_millis()),
        imps: format!("{named} of {}; {unnamed} without, {refused} had no account yet", tries.len()),
        bar: format!("≥ {PERCENT_MIN} of 100"),
        verdict: Verdict::of(named * 100 >= tries.len() * PERCENT_MIN),
        others: "",
        figures: json!({"tries": tries.len(), "named": named, "unnamed": unnamed, "refused": refused}),
    }
}

fn carried(tries: &[Try]) -> Finding {
    let spread = |of: fn(&Try) -> Duration| Spread::of(tries.iter().map(of).collect());
    let (named, made) = (spread(|attempt| attempt.named), spread(|attempt| attempt.made));
    let own = spread(|attempt| attempt.named.saturating_sub(attempt.made));
    Finding {
        key: "new_account",
        what: format!("one more namespace: its account names the Secret, {} times", tries.len()),
        imps: named.to_string(),
        bar: format!("the account is made after {made}, and names the Secret {own} later"),
        verdict: Verdict::Told,
        others: "",
        figures: json!({"named": named.json(), "account_made": made.json(), "from_made_to_named": own.json()}),
    }
}
