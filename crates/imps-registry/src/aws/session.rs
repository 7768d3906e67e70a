//! How an identity becomes the session that may ask for a token: roles are taken on one after the other, each with a
//! session policy that leaves it only what the next step needs.

use std::time::{Duration, Instant};

use aws_config::identity::IdentityCache;
use aws_config::retry::RetryConfig;
use aws_config::timeout::TimeoutConfig;
use aws_config::{BehaviorVersion, Region, SdkConfig};
use aws_sdk_ecr::config::{Credentials, SharedCredentialsProvider, StalledStreamProtectionConfig};
use imps_core::exchange::ExchangeFault;
use imps_core::token::Token;

use super::ambient;
use super::answer::until;
use super::fault::{Call, fault, nonsense};
use super::login::{Identity, Login, Service};
use super::policy;
use super::wire::Wire;
use crate::Outside;
use crate::endpoint::Endpoint;

/// Whom the ServiceAccount's token is for.
const AUDIENCE: &str = "sts.amazonaws.com";

/// Names the keys that a session was made of, for the SDK's own use.
const SOURCE_NAME: &str = "imps";

/// Keys that may ask, and how long they work.
pub(crate) struct Session {
    credentials: Credentials,
    ends: Option<Instant>,
}

impl Session {
    /// Keys without an end that is known.
    pub(super) fn lasting(id: &str, secret: &str, token: Option<&str>) -> Self {
        let credentials = Credentials::new(id, secret, token.map(str::to_owned), None, SOURCE_NAME);
        Self { credentials, ends: None }
    }

    /// Keys that work for so long from now on, if that is known.
    pub(super) fn temporary(credentials: Credentials, remaining: Option<Duration>) -> Self {
        Self { credentials, ends: remaining.and_then(|remaining| Instant::now().checked_add(remaining)) }
    }

    /// How much longer it works; none when it does not end or that is not known.
    pub(crate) fn remaining(&self) -> Option<Duration> {
        self.ends.map(|end| end.saturating_duration_since(Instant::now()))
    }
}

/// A role with what is said when it is taken on.
#[derive(Clone, Copy)]
pub(super) struct Step<'a> {
    pub(super) role: &'a str,
    pub(super) session_name: &'a str,
    policy: &'static str,
    external_id: Option<&'a str>,
    duration: Option<i32>,
}

/// One exchange as the SDK carries it out.
pub(crate) struct Dialogue<'a> {
    outside: &'a Outside,
    login: &'a Login<'a>,
    wire: Wire,
}

impl<'a> Dialogue<'a> {
    /// What the login asks for, by way of this outside.
    pub(crate) fn new(outside: &'a Outside, login: &'a Login<'a>) -> Self {
        Self { outside, login, wire: Wire::new(outside.http()) }
    }

    /// The session that the login describes.
    pub(crate) async fn session(&self) -> Result<Session, ExchangeFault> {
        let (mut session, taken) = match self.login.identity {
            Identity::Keys { id, secret, session_token } => (Session::lasting(id, secret, session_token), 0),
            Identity::Ambient => (ambient::session(self).await?, 0),
            Identity::ServiceAccount { namespace, name } => {
                let token = self.outside.tokens().token(namespace, name, AUDIENCE).await?;
                (self.take_on_by_token(self.step(0), token).await?, 1)
            }
        };
        for number in taken..self.login.roles.len() {
            session = self.take_on(self.step(number), &session).await?;
        }
        Ok(session)
    }

    /// A role of the login. What the Secret says about the role goes with the last.
    fn step(&self, number: usize) -> Step<'a> {
        let last = number + 1 == self.login.roles.len();
        Step {
            role: self.login.roles[number],
            session_name: self.login.session_name,
            policy: self.policy(last),
            external_id: self.login.external_id.filter(|_| last),
            duration: self.login.duration.filter(|_| last),
        }
    }

    /// A role that the surroundings of imps name, on the way to those of the login.
    pub(super) fn first_step<'b>(&self, role: &'b str, session_name: &'b str) -> Step<'b> {
        let policy = self.policy(self.login.roles.is_empty());
        Step { role, session_name, policy, external_id: None, duration: None }
    }

    fn policy(&self, last: bool) -> &'static str {
        match self.login.service {
            _ if !last => policy::STEP,
            Service::Ecr => policy::PULL,
            Service::EcrPublic => policy::PULL_PUBLIC,
        }
    }

    async fn take_on(&self, step: Step<'_>, session: &Session) -> Result<Session, ExchangeFault> {
        let call = Call::AssumeRole;
        let config = self.config(self.login.sts_region, self.login.sts_endpoint.as_ref(), Some(session));
        let request = aws_sdk_sts::Client::new(&config)
            .assume_role()
            .role_arn(step.role)
            .role_session_name(step.session_name)
            .policy(step.policy)
            .set_external_id(step.external_id.map(str::to_owned))
            .set_duration_seconds(step.duration);
        let answer = request.send().await.map_err(|error| fault(call, self.outside.limits(), &error))?;
        self.session_of(answer.credentials).ok_or_else(|| nonsense(call))
    }

    /// Takes on a role with a token as the only proof; the request is not signed.
    pub(super) async fn take_on_by_token(
        &self,
        step: Step<'_>,
        token: Token,
    ) -> Result<Session, ExchangeFault> {
        let call = Call::AssumeRoleWithWebIdentity;
        let config = self.config(self.login.sts_region, self.login.sts_endpoint.as_ref(), None);
        let request = aws_sdk_sts::Client::new(&config)
            .assume_role_with_web_identity()
            .role_arn(step.role)
            .role_session_name(step.session_name)
            .policy(step.policy)
            .web_identity_token(token.reveal())
            .set_duration_seconds(step.duration);
        let answer = request.send().await.map_err(|error| fault(call, self.outside.limits(), &error))?;
        self.session_of(answer.credentials).ok_or_else(|| nonsense(call))
    }

    fn session_of(&self, answer: Option<aws_sdk_sts::types::Credentials>) -> Option<Session> {
        let answer = answer?;
        if [&answer.access_key_id, &answer.secret_access_key, &answer.session_token]
            .iter()
            .any(|key| key.is_empty())
        {
            return None;
        }
        let remaining = until(answer.expiration, self.server_time());
        let (id, secret, token) = (answer.access_key_id, answer.secret_access_key, answer.session_token);
        let credentials = Credentials::new(id, secret, Some(token), None, SOURCE_NAME);
        Some(Session::temporary(credentials, remaining))
    }

    /// What time the server of the last answer had.
    pub(crate) fn server_time(&self) -> Duration {
        self.wire.server_time()
    }

    /// For the API that gives the token.
    pub(crate) fn config_of_service(&self, session: &Session) -> SdkConfig {
        self.config(self.login.region, self.login.endpoint.as_ref(), Some(session))
    }

    fn config(&self, region: &str, endpoint: Option<&Endpoint>, session: Option<&Session>) -> SdkConfig {
        let provider = session.map(|session| SharedCredentialsProvider::new(session.credentials.clone()));
        let mut config = SdkConfig::builder()
            .behavior_version(BehaviorVersion::latest())
            .region(Region::new(region.to_owned()))
            .http_client(self.wire())
            // Whoever asks for an exchange backs off; two that do so multiply.
            .retry_config(RetryConfig::disabled())
            .timeout_config(self.timeouts())
            // The answer as a whole has a limit already.
            .stalled_stream_protection(StalledStreamProtectionConfig::disabled())
            .identity_cache(IdentityCache::no_cache())
            // An address that is given is taken as it is.
            .use_fips(self.login.fips && endpoint.is_none())
            .use_dual_stack(self.login.dual_stack && endpoint.is_none());
        config.set_credentials_provider(provider);
        config.set_endpoint_url(endpoint.map(|endpoint| endpoint.url.clone()));
        config.build()
    }

    pub(super) fn wire(&self) -> Wire {
        self.wire.clone()
    }

    pub(super) fn sts_region(&self) -> &'a str {
        self.login.sts_region
    }

    fn timeouts(&self) -> TimeoutConfig {
        let limits = self.outside.limits();
        TimeoutConfig::builder().connect_timeout(limits.connect).operation_timeout(limits.answer).build()
    }
}
