//! The identity of imps itself, from what surrounds it: keys in the environment, a ServiceAccount with a role (IRSA),
//! EKS Pod Identity or another container endpoint, the role of the instance. Profiles with credentials and logins of
//! people have no place in a cluster and are not looked at.
//!
//! Nothing is cached: an exchange happens every few hours, and the session of each is to last as long as it can.

use std::env;
use std::time::Duration;

use aws_config::Region;
use aws_config::ecs::EcsCredentialsProvider;
use aws_config::environment::EnvironmentVariableCredentialsProvider;
use aws_config::imds;
use aws_config::imds::credentials::ImdsCredentialsProvider;
use aws_config::provider_config::ProviderConfig;
use aws_credential_types::provider::error::CredentialsError;
use aws_sdk_ecr::config::{Credentials, ProvideCredentials};
use imps_core::exchange::ExchangeFault;
use imps_core::token::Token;

use super::session::{Dialogue, Session};
use crate::clock::our_time;
use crate::fault::{denied, unreachable_because};

/// Where there is no instance to ask, nobody answers, and that has to be found out soon.
const INSTANCE_PATIENCE: Duration = Duration::from_secs(4);

/// The session of imps, from the first of the surroundings that has one.
pub(super) async fn session(dialogue: &Dialogue<'_>) -> Result<Session, ExchangeFault> {
    if let Some(session) = found(EnvironmentVariableCredentialsProvider::new()).await? {
        return Ok(session);
    }
    if let (Some(file), Some(role)) = (variable("AWS_WEB_IDENTITY_TOKEN_FILE"), variable("AWS_ROLE_ARN")) {
        let token = read_token(&file).await?;
        let name = variable("AWS_ROLE_SESSION_NAME").unwrap_or_else(|| "imps".to_owned());
        return dialogue.take_on_by_token(dialogue.first_step(&role, &name), token).await;
    }
    let config = ProviderConfig::without_region()
        .with_region(Some(Region::new(dialogue.sts_region().to_owned())))
        .with_http_client(dialogue.wire());
    if let Some(session) = found(EcsCredentialsProvider::builder().configure(&config).build()).await? {
        return Ok(session);
    }
    let client = imds::Client::builder()
        .configure(&config)
        .max_attempts(2)
        .operation_timeout(INSTANCE_PATIENCE)
        .build();
    let instance = ImdsCredentialsProvider::builder().configure(&config).imds_client(client).build();
    found(instance).await?.ok_or_else(|| {
        denied(
            "no identity",
            "imps has no identity at Amazon; give its ServiceAccount a role (IRSA or EKS Pod Identity), let pods reach \
             the instance profile, or put accessKeyID and secretKey into the Secret",
        )
    })
}

fn variable(name: &str) -> Option<String> {
    env::var(name).ok().filter(|value| !value.trim().is_empty())
}

/// Asks one of the surroundings. That it is not there is no failure.
async fn found(provider: impl ProvideCredentials) -> Result<Option<Session>, ExchangeFault> {
    match provider.provide_credentials().await {
        Ok(credentials) => Ok(Some(session_of(credentials))),
        Err(CredentialsError::CredentialsNotLoaded(_)) => Ok(None),
        Err(CredentialsError::InvalidConfiguration(_)) => Err(denied(
            "unusable identity",
            "the environment of imps describes an identity at Amazon that cannot be used; look at its variables that \
             begin with AWS_",
        )),
        Err(_) => Err(unreachable_because(
            "no identity",
            "the endpoint that gives imps its identity at Amazon does not answer as it should; look at EKS Pod \
             Identity or the instance metadata service (its hop limit must be 2 for pods)",
        )),
    }
}

fn session_of(credentials: Credentials) -> Session {
    let end = credentials.expiry().and_then(|end| end.duration_since(std::time::UNIX_EPOCH).ok());
    let remaining = end.map(|end| end.saturating_sub(our_time()));
    Session::temporary(credentials, remaining)
}

async fn read_token(file: &str) -> Result<Token, ExchangeFault> {
    match tokio::fs::read_to_string(file).await {
        Ok(text) if !text.trim().is_empty() => Ok(Token::new(text.trim())),
        _ => Err(denied(
            "unusable identity",
            "the file that AWS_WEB_IDENTITY_TOKEN_FILE names cannot be read; look at the volumes of imps",
        )),
    }
}
