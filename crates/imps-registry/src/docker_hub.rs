//! Docker Hub, with a password, a personal access token, or the access token of an organization, whose name is then
//! the user's.

use imps_core::exchange::Flaw;
use imps_core::keyring::Keyring;
use imps_core::name::SecretRef;
use imps_core::registry::RegistryKey;
use imps_core::source::{Document, Offer};

use crate::fields::{Fields, PASSWORD, USERNAME, key};
use crate::{DataKey, Provider, secret_type};

const DATA_KEYS: &[DataKey] = &[
    key(USERNAME, true, "user, or organization when the password is an organization access token"),
    key(PASSWORD, true, "access token, or password"),
];

/// See the module.
pub(crate) struct DockerHub;

impl Provider for DockerHub {
    fn name(&self) -> &'static str {
        "docker-hub"
    }

    fn secret_types(&self) -> &'static [&'static str] {
        &[secret_type::DOCKER_HUB]
    }

    fn data_keys(&self) -> &'static [DataKey] {
        DATA_KEYS
    }

    fn read(&self, _: &SecretRef, document: &Document) -> Option<Result<Offer, Flaw>> {
        let ours = document.secret_type == secret_type::DOCKER_HUB;
        ours.then(|| login(document))
    }
}

fn login(document: &Document) -> Result<Offer, Flaw> {
    let credential = Fields::of(document, DATA_KEYS).credential()?;
    let hub = RegistryKey::parse("docker.io").expect("it is a registry");
    Ok(Offer::Login(Keyring::from_iter([(hub, credential)])))
}
