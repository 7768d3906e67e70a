//! The suspension of an `ImagePullSecret`: the one field of its spec that the command line writes.

use kube::Client;
use kube::api::{Patch, PatchParams};
use serde_json::{Value, json};

use crate::apply::within;
use crate::snapshot::{Kind, Unseen, Which, api};

/// Field manager of `spec.suspend`: the object shows who set it.
pub const FIELD_MANAGER: &str = "imps-suspend";

/// Suspends an object or ends that, and touches nothing else of it. With `dry_run` the API server only says whether it
/// would.
pub async fn set(client: &Client, name: &str, suspended: bool, dry_run: bool) -> Result<(), Unseen> {
    // Taken off rather than set to false: a field of ours would stand in the way of a later server-side apply.
    let value = if suspended { json!(true) } else { Value::Null };
    let params =
        PatchParams { dry_run, field_manager: Some(FIELD_MANAGER.to_owned()), ..PatchParams::default() };
    let patch = Patch::Merge(json!({"spec": {"suspend": value}}));
    let answer = within(api(client, Kind::GRANT, None).patch(name, &params, &patch)).await;
    let which = Which { name: Some(name), ..Which::default() };
    answer.map(drop).map_err(|fault| Unseen::new("patch", Kind::GRANT, which, fault))
}
