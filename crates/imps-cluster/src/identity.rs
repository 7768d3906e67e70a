//! Tokens of ServiceAccounts, by the TokenRequest API: an identity that others can check and that soon ends.

use imps_core::reason::Fault;
use imps_core::token::Token;
use k8s_openapi::api::authentication::v1::{TokenRequest, TokenRequestSpec};
use k8s_openapi::api::core::v1::ServiceAccount;
use kube::api::PostParams;
use kube::{Api, Client};

use crate::apply::within;
use crate::fault;

/// The shortest life that the API server gives (kubernetes/kubernetes:pkg/apis/authentication/validation); it is used
/// at once.
const LIFE_SECONDS: i64 = 600;

/// A token of this ServiceAccount for one audience.
pub async fn token(client: Client, namespace: &str, name: &str, audience: &str) -> Result<Token, Fault> {
    let request = TokenRequest {
        spec: TokenRequestSpec {
            audiences: vec![audience.to_owned()],
            expiration_seconds: Some(LIFE_SECONDS),
            ..TokenRequestSpec::default()
        },
        ..TokenRequest::default()
    };
    let api = Api::<ServiceAccount>::namespaced(client, namespace);
    let params = PostParams::default();
    let answer = within(api.create_token_request(name, &params, &request)).await?;
    let token = answer.status.map(|status| status.token).filter(|token| !token.is_empty());
    token.map(Token::new).ok_or_else(|| fault::empty("token"))
}
