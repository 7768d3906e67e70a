//! Secrets that are attached to a ServiceAccount in each namespace: filled, found again, detached, and let go.

use anyhow::Result;
use imps_testbed::manifest;
use serde_json::json;

use super::page::{Finding, Verdict};
use super::rig::Rig;
use super::{bulk, calm};
use crate::console::{Console, spoken};
use crate::lookout::Sighting;

/// What imps writes in each namespace when it takes a Secret away.
const BOTH: [&str; 2] = ["secrets", "serviceaccounts"];

/// On a rig of its own: the accounts would double what the plain measurements write.
pub(super) async fn measure(rig: &mut Rig, console: &mut Console) -> Result<Vec<Finding>> {
    let mut findings = bulk::attach(rig, console).await?;
    tokio::time::sleep(calm::SETTLE).await;
    let what = "the same attached: memory now, at most";
    findings.push(calm::resources(&rig.usage()?, "attached_resources", what));
    let before = uids(rig);
    findings.extend(calm::restart(rig, "attached_restart", "restart with attached Secrets", console).await?);
    findings.push(detached(rig, console).await?);
    let took = bulk::create_grant(rig).await?.took;
    console.line(&format!("  attached to them again in {}", spoken(took)));
    tokio::time::sleep(calm::SETTLE).await;
    findings.push(kept(before == uids(rig)));
    findings.extend(let_go(rig, console).await?);
    Ok(findings)
}

/// The UIDs of the Secrets, and of the ServiceAccounts that name them.
fn uids(rig: &Rig) -> [Vec<(String, String)>; 2] {
    [&rig.targets, &rig.accounts].map(|seen| seen.uids().into_iter().collect())
}

fn kept(kept: bool) -> Finding {
    Finding {
        key: "attached_uids",
        what: "restart, detaching, attaching: objects".into(),
        imps: if kept { "all UIDs kept".into() } else { "some were replaced".into() },
        bar: "same UIDs".into(),
        verdict: Verdict::of(kept),
        others: "",
        figures: json!({"uids_kept": kept}),
    }
}

/// The ImagePullSecret no longer names a ServiceAccount: the Secrets stay, and nothing names them.
async fn detached(rig: &mut Rig, console: &mut Console) -> Result<Finding> {
    console.begin("imps: the Secret is detached from every ServiceAccount");
    let count = rig.namespaces.len();
    let newest = rig.accounts.newest();
    rig.ledger.skip()?;
    manifest::apply(&rig.admin, &[Rig::grant_unattached()]).await?;
    let is_out = move |sighting: &Sighting| !sighting.stands && sighting.version > newest;
    let pass = bulk::pass(rig, &rig.accounts, count, is_out).await?;
    console.line(&format!("  {}", spoken(pass.took)));
    tokio::time::sleep(calm::SETTLE).await;
    let account = rig.ledger.since()?;
    let mut finding = bulk::writes("detaching_writes", "detaching", &account, &["serviceaccounts"], count);
    let (secrets, _) = account.writes_of("secrets");
    if secrets > 0 {
        finding.imps = format!("{}; {secrets} of Secrets", finding.imps);
        finding.verdict = Verdict::of(false);
    }
    finding.imps = format!("{}; {}", finding.imps, spoken(pass.took));
    finding.figures["seconds"] = json!(pass.took.as_secs_f64());
    Ok(finding)
}

/// The ImagePullSecret is deleted. It has a finalizer of imps, which goes when nothing is left.
async fn let_go(rig: &mut Rig, console: &mut Console) -> Result<Vec<Finding>> {
    console.begin("imps: the ImagePullSecret is deleted");
    let count = rig.namespaces.len();
    rig.ledger.skip()?;
    let took = bulk::withdraw(rig, console).await?;
    let account = rig.ledger.since()?;
    let left = [&rig.targets, &rig.accounts].map(|seen| seen.uids().len());
    let gone = Finding {
        key: "let_go",
        what: format!("deletion: {count} Secrets and names taken away; until it is gone"),
        imps: format!("{}; {} and {} left", spoken(took), left[0], left[1]),
        bar: "0 and 0 left".into(),
        verdict: Verdict::of(left == [0, 0]),
        others: "",
        figures: json!({"seconds": took.as_secs_f64(), "secrets_left": left[0], "names_left": left[1]}),
    };
    Ok(vec![gone, bulk::writes("let_go_writes", "deletion", &account, &BOTH, count)])
}
