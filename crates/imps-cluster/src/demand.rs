//! A demand on an `ImagePullSecret`: that all its tokens be asked for anew. It is an annotation, no part of the spec.

use imps_api::keys;
use imps_core::reason::FaultClass;
use kube::Client;
use kube::api::{Patch, PatchParams};
use serde_json::{Value, json};

use crate::apply::within;
use crate::snapshot::{Kind, Unseen, Which, api};

/// Field manager of the annotation: the object shows who set it.
pub const FIELD_MANAGER: &str = "imps-refresh";

/// Demands it with this value, and touches nothing else. Returns the object as it is then; none when there is none of
/// the name.
pub async fn make(client: &Client, name: &str, value: &str) -> Result<Option<Value>, Unseen> {
    let params = PatchParams { field_manager: Some(FIELD_MANAGER.to_owned()), ..PatchParams::default() };
    let patch = Patch::Merge(json!({"metadata": {"annotations": {keys::REFRESH_ANNOTATION: value}}}));
    match within(api(client, Kind::GRANT, None).patch(name, &params, &patch)).await {
        Ok(object) => Ok(Some(Kind::GRANT.name(&object))),
        Err(fault) if fault.class == FaultClass::Gone => Ok(None),
        Err(fault) => {
            let which = Which { name: Some(name), ..Which::default() };
            Err(Unseen::new("patch", Kind::GRANT, which, fault))
        }
    }
}
