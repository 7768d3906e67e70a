//! Sources that expire: what a renewal costs, and that an endpoint which hangs delays nobody.

use std::time::Duration;

use anyhow::{Context, Result};
use imps_testbed::aws::{Account, Aws, Keys};
use imps_testbed::manifest;
use imps_testbed::wire::{Mode, Wire};
use serde_json::{Value, json};

use super::page::{Finding, Verdict};
use super::rig::{HOME, IDENTITIES, Rig};
use super::spread::{Spread, milliseconds};
use super::{bulk, single};
use crate::console::{Console, spoken};

/// What is asked for.
const OPERATION: &str = "GetAuthorizationToken";
/// A first write waits this long for a first token and no longer, see `world::exchanges` of the core.
const FIRST_PATIENCE: Duration = Duration::from_secs(5);
/// Two series of single namespaces differ by so much on a machine at rest.
const NOISE: f64 = 2.0;
/// And by so much time, whatever the factor.
const NOISE_FLOOR: Duration = Duration::from_millis(15);

/// An AWS, with wires to it.
pub(super) struct Cloud {
    _aws: Aws,
    keys: Keys,
    wire: Wire,
    hanging: Wire,
}

impl Cloud {
    async fn start() -> Result<Self> {
        let aws = Aws::start().await?;
        let user = aws.make_user(Account::OURS, &["ecr:GetAuthorizationToken"]).await?;
        let (wire, hanging) = (Wire::to(&aws.endpoint()).await?, Wire::to(&aws.endpoint()).await?);
        hanging.set(Mode::Hang);
        Ok(Self { _aws: aws, keys: user.keys, wire, hanging })
    }

    /// How many tokens were asked for.
    pub(super) fn requests(&self) -> usize {
        self.wire.count(OPERATION)
    }

    /// A source Secret with the one identity.
    fn source(&self, name: &str, region: &str, wire: &Wire) -> Value {
        json!({
            "apiVersion": "v1", "kind": "Secret", "type": "banzaicloud.io/aws-ecr-login-config",
            "metadata": {"name": name, "namespace": HOME},
            "stringData": {
                "accessKeyID": self.keys.access_key_id, "secretKey": self.keys.secret_key,
                "region": region, "accountID": Account::OURS.number, "endpoint": wire.endpoint(),
            },
        })
    }
}

/// One source that is renewed, then a second one that hangs.
pub(super) async fn measure(rig: &mut Rig, newcomers: usize, console: &mut Console) -> Result<Vec<Finding>> {
    let cloud = Cloud::start().await.context("`cargo xtask test` makes the Python environment")?;
    let mut findings = vec![first_token(rig, &cloud, console).await?];
    findings.extend(bulk::renew(rig, &cloud, console).await?);
    findings.push(hang(rig, &cloud, newcomers, console).await?);
    Ok(findings)
}

/// An identity is added to the ImagePullSecret.
async fn first_token(rig: &Rig, cloud: &Cloud, console: &mut Console) -> Result<Finding> {
    console.begin("an identity of the emulated AWS is added to the sources");
    let (count, newest) = (rig.targets.uids().len(), rig.targets.newest());
    let source = cloud.source(IDENTITIES[0], "eu-west-1", &cloud.wire);
    manifest::apply(&rig.admin, &[source, rig.grant_with(&IDENTITIES[..1])]).await?;
    let pass =
        bulk::pass(rig, &rig.targets, count, move |sighting| sighting.stands && sighting.version > newest)
            .await?;
    console.line(&format!("  {}", spoken(pass.took)));
    let requests = cloud.requests();
    Ok(Finding {
        key: "first_token",
        what: format!("a first token for {count} namespaces: requests"),
        imps: requests.to_string(),
        bar: "1".into(),
        verdict: Verdict::of(requests == 1),
        others: "",
        figures: json!({"namespaces": count, "requests": requests, "seconds": pass.took.as_secs_f64()}),
    })
}

/// New namespaces without a source that hangs, and with one.
async fn hang(rig: &mut Rig, cloud: &Cloud, count: usize, console: &mut Console) -> Result<Finding> {
    console.begin(&format!("{count} more namespaces, one after the other, and as many while a source hangs"));
    let without = Spread::of(single::add(rig, "bench-calm", count).await?);
    let source = cloud.source(IDENTITIES[1], "us-east-1", &cloud.hanging);
    manifest::apply(&rig.admin, &[source, rig.grant_with(&IDENTITIES)]).await?;
    tokio::time::sleep(FIRST_PATIENCE).await;
    let with = Spread::of(single::add(rig, "bench-hang", count).await?);
    anyhow::ensure!(cloud.hanging.count(OPERATION) > 0, "nobody asked the endpoint that hangs");
    let most = without.p99.mul_f64(NOISE).max(without.p99 + NOISE_FLOOR);
    Ok(Finding {
        key: "hanging_source",
        what: format!("one more namespace while a source hangs, {count} times"),
        imps: with.to_string(),
        bar: format!("{without} without; p99 < {:.0} ms", milliseconds(most)),
        verdict: Verdict::of(with.p99 < most),
        others: "",
        figures: json!({"with": with.json(), "without": without.json(), "p99_max_ms": milliseconds(most)}),
    })
}
