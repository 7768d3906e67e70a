//! Carries plans out: exactly the steps, each with the precondition that its kind of step has. Nothing is decided here.
//!
//! What the API server does with each of these was tried on a real one: an apply without force never changes a Secret
//! that somebody else wrote, and an apply that names a UID never creates one.

use std::future::Future;
use std::time::Duration;

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use imps_api::keys;
use imps_core::controller::{Outcome, Written};
use imps_core::grant::Identity;
use imps_core::holding::{Owned, TARGET_TYPE, Version};
use imps_core::name::{NamespaceName, SecretRef, Uid};
use imps_core::plan::{Action, Plan, Step};
use imps_core::reason::{Fault, FaultClass, Remedy};
use imps_core::source::Document;
use imps_core::world::Sealed;
use kube::api::{DeleteParams, Patch, PatchParams, Preconditions};
use kube::{Api, Client};
use serde_json::{Value, json};

use crate::fault;
use crate::remit::Remit;
use crate::view::{DATA_KEY, SourceView, TargetView};

/// How long one request may take. The server's own limit is 60 s; a slower answer is of no use to a queue.
pub const REQUEST_TIMEOUT: Duration = Duration::from_secs(20);

/// Carries a plan out, step by step. A step that fails keeps only those from being tried that depend on it.
pub async fn apply(client: Client, remit: &Remit, plan: Plan) -> Outcome {
    let Plan { namespace, steps, opinions: _ } = plan;
    let api = Api::<TargetView>::namespaced(client, namespace.as_str());
    let mut results: Vec<(Step, Result<Written, Fault>)> = Vec::with_capacity(steps.len());
    for step in steps {
        if step.depends
            && results.iter().any(|(before, result)| before.grant == step.grant && result.is_err())
        {
            continue;
        }
        let result = carry_out(&api, remit, &namespace, &step.action).await;
        let result = result.map_err(|fault| remit.judge(&namespace, fault));
        log(&namespace, &step, &result);
        results.push((step, result));
    }
    Outcome { namespace, results }
}

async fn carry_out(
    api: &Api<TargetView>,
    remit: &Remit,
    namespace: &NamespaceName,
    action: &Action,
) -> Result<Written, Fault> {
    match action {
        Action::Create(sealed) => {
            let params = PatchParams::apply(keys::FIELD_MANAGER);
            let name = sealed.grant.template.name.as_str();
            let body = Patch::Apply(secret(remit, namespace, sealed, None));
            stands(within(api.patch_metadata(name, &params, &body)).await)
        }
        Action::Update(owned, sealed) => {
            let params = PatchParams::apply(keys::FIELD_MANAGER).force();
            let body = Patch::Apply(secret(remit, namespace, sealed, Some(owned.uid())));
            stands(within(api.patch_metadata(owned.name().as_str(), &params, &body)).await)
        }
        Action::Scrub(owned) => {
            let params =
                PatchParams { field_manager: Some(keys::FIELD_MANAGER.to_owned()), ..PatchParams::default() };
            let body = Patch::Merge(json!({
                "metadata": {"uid": owned.uid().as_str(), "annotations": {keys::LEGACY_COPY_ANNOTATION: null}}
            }));
            stands(within(api.patch_metadata(owned.name().as_str(), &params, &body)).await)
        }
        Action::Delete(owned) => match within(api.delete(owned.name().as_str(), &exactly(owned))).await {
            Ok(_) => Ok(Written::Gone),
            Err(fault) if fault.class == FaultClass::Gone => Ok(Written::Gone),
            Err(fault) => Err(fault),
        },
    }
}

/// This object in this version, and no other.
fn exactly(owned: &Owned) -> DeleteParams {
    let version = Some(owned.version()).filter(|version| *version != Version::default());
    let preconditions = Preconditions {
        uid: Some(owned.uid().to_string()),
        resource_version: version.map(|version| version.0.to_string()),
    };
    DeleteParams { preconditions: Some(preconditions), ..DeleteParams::default() }
}

/// The whole Secret as imps wants it. What is left out here and was applied before is thereby taken off.
fn secret(remit: &Remit, namespace: &NamespaceName, sealed: &Sealed, uid: Option<&Uid>) -> Value {
    let template = &sealed.grant.template;
    let mut metadata = json!({
        "name": template.name.as_str(),
        "namespace": namespace.as_str(),
        "labels": template.labels,
        "annotations": template.annotations,
    });
    if let Remit::Cluster = remit {
        metadata["ownerReferences"] = json!([owner(&sealed.grant.identity)]);
    }
    if let Some(uid) = uid {
        metadata["uid"] = json!(uid.as_str());
    }
    json!({
        "apiVersion": "v1",
        "kind": "Secret",
        "metadata": metadata,
        "type": TARGET_TYPE,
        "data": {DATA_KEY: BASE64_STANDARD.encode(sealed.payload.bytes())},
    })
}

fn owner(identity: &Identity) -> Value {
    json!({
        "apiVersion": format!("{}/{}", keys::GROUP, keys::VERSION),
        "kind": keys::KIND,
        "name": identity.name.as_str(),
        "uid": identity.uid.as_str(),
        "controller": false,
    })
}

fn stands<K>(answer: Result<kube::core::PartialObjectMeta<K>, Fault>) -> Result<Written, Fault> {
    answer.map(|answer| {
        let metadata = answer.metadata;
        let version = Version::parse(metadata.resource_version.as_deref().unwrap_or_default());
        Written::Stands(Uid::new(metadata.uid.unwrap_or_default()), version)
    })
}

/// Reads one of our own targets whole, to fill the gaps of a failing source.
pub async fn recall(client: Client, at: &SecretRef) -> Result<Document, Fault> {
    let api = Api::<SourceView>::namespaced(client, at.namespace.as_str());
    within(api.get(at.name.as_str())).await.map(Document::from)
}

/// Bounds a request in time and reads its error.
pub(crate) async fn within<T>(request: impl Future<Output = Result<T, kube::Error>>) -> Result<T, Fault> {
    match tokio::time::timeout(REQUEST_TIMEOUT, request).await {
        Ok(answer) => answer.map_err(|error| fault::fault(&error)),
        Err(_) => Err(fault::timed_out(REQUEST_TIMEOUT)),
    }
}

fn log(namespace: &NamespaceName, step: &Step, result: &Result<Written, Fault>) {
    let (verb, secret, because) = (step.action.verb(), step.action.secret(), &step.because);
    match result {
        Ok(_) => tracing::info!(%namespace, %secret, verb, %because, "secret written"),
        Err(fault) if fault.remedy() == Remedy::Replan => {
            tracing::debug!(%namespace, %secret, verb, %because, %fault, "secret changed meanwhile");
        }
        Err(fault) => tracing::warn!(%namespace, %secret, verb, %because, %fault, "secret not written"),
    }
}
