//! Image registries that let in whom a cloud lets in.

use anyhow::Result;
use serde::Deserialize;
use serde_json::{Value, json};

use super::Emulation;
use crate::registry::{Login, Registry, Settings, TokenService};

impl Emulation {
    /// Starts an empty registry that is reached by the name of a host, and believes the tokens of this cloud.
    ///
    /// The token service of the host answers at `paths`, the first of which the registry names. `users` may push, and
    /// `about` says who else may pull. `neighbours` are hosts of this cloud that are reached by the same gate.
    pub(crate) async fn start_registry(
        &self,
        host: &str,
        paths: &'static [&'static str],
        users: &[Login<'_>],
        neighbours: &[&str],
        about: Value,
    ) -> Result<Registry> {
        #[derive(Deserialize)]
        struct Made {
            issuer: String,
            certificate: String,
        }
        let users: Vec<Value> =
            users.iter().map(|login| json!({"user": login.user, "password": login.password})).collect();
        let mut asked = json!({"host": host, "users": users});
        for (name, value) in about.as_object().into_iter().flatten() {
            asked[name] = value.clone();
        }
        let Made { issuer, certificate } = self.tell("registries", asked).await?;
        let tokens = TokenService { address: self.address().to_owned(), paths, issuer, certificate };
        let neighbours: Vec<_> = neighbours.iter().map(|host| (*host, self.address())).collect();
        Registry::start_with(&Settings {
            host: Some(host),
            tokens: Some(&tokens),
            neighbours: &neighbours,
            ..Settings::default()
        })
        .await
    }
}
