//! What the providers of Amazon share: how their Secret is read, where the APIs are, how an identity becomes a session,
//! and what the failures mean.

mod ambient;
mod answer;
mod fault;
mod login;
mod partition;
mod policy;
mod session;
#[cfg(test)]
mod tests;
mod wire;

pub(crate) use answer::issued;
pub(crate) use fault::{Call, fault, nonsense};
pub(crate) use login::{ACCOUNT_ID, DATA_KEYS, Login, Service, is_for};
pub(crate) use partition::{HostFlaw, check_host, hosts, is_account};
pub(crate) use session::Dialogue;
pub(crate) use wire::http_client;

/// The one Secret type of both; the account says which is meant.
pub(crate) const SECRET_TYPE: &str = "banzaicloud.io/aws-ecr-login-config";
