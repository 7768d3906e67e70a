//! Any registry that takes a user name and a password. A login goes to the registries that its Secret names and never
//! to one by default, as a password in the wrong hands is one that has to be changed.

use imps_core::exchange::Flaw;
use imps_core::keyring::Keyring;
use imps_core::name::SecretRef;
use imps_core::source::{Document, Offer};

use crate::fields::{Fields, PASSWORD, USERNAME, key};
use crate::{DataKey, Provider, secret_type};

const REGISTRY: &str = "registry";

const DATA_KEYS: &[DataKey] = &[
    key(
        REGISTRY,
        true,
        "HOST, HOST:PORT or HOST/PATH, several separated by commas; docker.io for Docker Hub",
    ),
    key(USERNAME, true, "user name that the registry expects"),
    key(PASSWORD, true, "password or access token"),
];

/// See the module.
pub(crate) struct Private;

impl Provider for Private {
    fn name(&self) -> &'static str {
        "private"
    }

    fn secret_types(&self) -> &'static [&'static str] {
        &[secret_type::PRIVATE, secret_type::BASIC_AUTH, secret_type::OPAQUE]
    }

    fn data_keys(&self) -> &'static [DataKey] {
        DATA_KEYS
    }

    fn read(&self, _: &SecretRef, document: &Document) -> Option<Result<Offer, Flaw>> {
        let fields = Fields::of(document, DATA_KEYS);
        let ours = match document.secret_type.as_str() {
            secret_type::PRIVATE | secret_type::BASIC_AUTH => true,
            // A Secret of this type may be anything, so it has to look like a login.
            secret_type::OPAQUE => DATA_KEYS.iter().any(|key| fields.has(key.name)),
            _ => false,
        };
        ours.then(|| login(&fields))
    }
}

fn login(fields: &Fields<'_>) -> Result<Offer, Flaw> {
    let registries = fields.registries(REGISTRY, |_| None)?;
    if registries.is_empty() {
        let problem = "is missing; add it with the host of the registry that the login is for, or docker.io for \
                       Docker Hub";
        return Err(Flaw { key: REGISTRY, problem });
    }
    let credential = fields.credential()?;
    let entries = registries.into_iter().map(|registry| (registry, credential.clone()));
    Ok(Offer::Login(entries.collect::<Keyring>()))
}
