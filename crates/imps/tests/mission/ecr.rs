//! Sources that say an identity instead of a login: imps exchanges it for a token of a registry, and renews that.
//!
//! The token endpoint is an emulation that verifies every signature. Each scene has a wire of its own to it, so that it
//! sees who asks how often, and can fail without the others.

mod canary;
mod exchange;
mod failure;
mod identity;
mod keyless;
mod refresh;
mod renewal;
mod restart;
mod rotation;
#[cfg(feature = "otel")]
mod traces;

use std::time::Duration;

use imps_testbed::Aws;
use imps_testbed::aws::{Account, IssuedToken, Keys, Role, Trust, User};
use imps_testbed::fresh_name;
use imps_testbed::wire::Wire;
use k8s_openapi::api::core::v1::Secret;
use tokio::sync::OnceCell;

use super::exchanged::{
    Fields, NEXT, ROBOT, STATIC, Witness, metric, names, seconds_until, source_of, stands, team,
    team_namespace, touch,
};
use super::read::kubelet_uses;
use super::stage::Scene;
use super::wait::eventually;

/// The type of the source Secrets.
const SECRET_TYPE: &str = "banzaicloud.io/aws-ecr-login-config";
/// Where all registries of the scenes are.
const REGION: &str = "eu-west-1";
/// The one request that gives a token.
const ASK: &str = "GetAuthorizationToken";
/// The right to it.
const ECR: &str = "ecr:GetAuthorizationToken";
/// The right to take on roles.
const ASSUME: &str = "sts:AssumeRole";
/// The life of a token unless a scene wants short ones, as Amazon has it.
const LIFE: Duration = Duration::from_secs(12 * 3600);
/// The life of a short one.
const BRIEF_LIFE: Duration = Duration::from_secs(6);

/// The token endpoint with a wire of the scene's own.
struct Cloud {
    aws: &'static Aws,
    wire: Wire,
}

impl Cloud {
    /// One whose tokens live for [`LIFE`]; none when this machine cannot run it.
    async fn open() -> Option<Self> {
        static AWS: OnceCell<Aws> = OnceCell::const_new();
        Self::on(&AWS, LIFE).await
    }

    /// One whose tokens live for [`BRIEF_LIFE`].
    async fn brief() -> Option<Self> {
        static AWS: OnceCell<Aws> = OnceCell::const_new();
        Self::on(&AWS, BRIEF_LIFE).await
    }

    async fn on(aws: &'static OnceCell<Aws>, life: Duration) -> Option<Self> {
        if let Err(missing) = Aws::available() {
            missing.skip_or_fail();
            return None;
        }
        let aws = aws.get_or_try_init(|| async {
            let aws = Aws::start().await?;
            aws.set_ttl(life).await?;
            anyhow::Ok(aws)
        });
        let aws = aws.await.unwrap();
        Some(Self { aws, wire: Wire::to(&aws.endpoint()).await.unwrap() })
    }

    /// Another wire to the same endpoint.
    async fn another_wire(&self) -> Wire {
        Wire::to(&self.aws.endpoint()).await.unwrap()
    }

    /// A user of ours who may do this.
    async fn user(&self, allowed: &[&str]) -> User {
        self.aws.make_user(Account::OURS, allowed).await.unwrap()
    }

    /// A role that may do this; its ARN.
    async fn role(&self, account: Account, trust: Trust<'_>, allowed: &[&str]) -> String {
        self.aws.make_role(&Role { account, name: &fresh_name("role"), trust, allowed }).await.unwrap()
    }

    /// What a source Secret says, without an identity.
    fn fields(&self, account: &str) -> Fields {
        Fields::of(SECRET_TYPE).with("region", REGION).with("accountID", account).through(&self.wire)
    }

    /// What a source Secret says that brings keys.
    fn fields_with(&self, account: &str, keys: &Keys) -> Fields {
        self.fields(account).with("accessKeyID", &keys.access_key_id).with("secretKey", &keys.secret_key)
    }

    /// How often a token was asked for.
    fn asked(&self) -> usize {
        self.wire.count(ASK)
    }

    /// The tokens that whoever has this in its ARN was given, the newest last.
    async fn issued_to(&self, principal: &str) -> Vec<IssuedToken> {
        let issued = self.aws.issued().await.unwrap();
        issued.into_iter().filter(|token| token.principal.contains(principal)).collect()
    }
}

impl Fields {
    /// The same, asking through this wire.
    fn through(self, wire: &Wire) -> Self {
        self.with("endpoint", &wire.endpoint()).with("stsEndpoint", &wire.endpoint())
    }
}

/// The host of an account's registry.
fn host(account: &str) -> String {
    format!("{account}.dkr.ecr.{REGION}.amazonaws.com")
}

/// The password that the kubelet would use for an image at this host.
fn password(secret: &Secret, host: &str) -> Option<String> {
    let uses = kubelet_uses(secret, &format!("{host}/app")).ok()?;
    uses.into_iter().find(|(user, _)| user == "AWS").map(|(_, password)| password)
}

/// Waits until the target in the namespace has this token.
async fn has_token(scene: &Scene, namespace: &str, host: &str, token: &IssuedToken) -> Secret {
    scene.has_login(namespace, &format!("{host}/app"), ("AWS", &token.password)).await
}

/// Waits until the endpoint was asked for so many tokens.
async fn asked_times(cloud: &Cloud, times: usize) {
    eventually(&format!("asked {times} times"), async || {
        if cloud.asked() >= times { Ok(()) } else { Err(format!("asked {} times", cloud.asked())) }
    })
    .await;
}
