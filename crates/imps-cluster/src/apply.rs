//! Carries plans out: exactly the steps, each with the precondition that its kind of step has. Nothing is decided here.
//!
//! What the API server does with each of these was tried on a real one: an apply without force never changes a Secret
//! that somebody else wrote, and an apply that names a UID never creates one.

use std::future::Future;
use std::time::Duration;

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use imps_api::keys;
use imps_core::account::{Change, Edit};
use imps_core::controller::{Outcome, Written};
use imps_core::grant::Identity;
use imps_core::holding::{Owned, TARGET_TYPE, Version};
use imps_core::name::{NamespaceName, SecretRef, Uid};
use imps_core::plan::{Action, Plan, Step};
use imps_core::reason::{Fault, FaultClass, Remedy};
use imps_core::source::Document;
use imps_core::world::Sealed;
use json_patch::jsonptr::PointerBuf;
use json_patch::{AddOperation, PatchOperation, RemoveOperation, ReplaceOperation};
use kube::api::{DeleteParams, Patch, PatchParams, Preconditions};
use kube::{Api, Client};
use serde_json::{Value, json};

use crate::fault;
use crate::remit::Remit;
use crate::view::{AccountView, DATA_KEY, SourceView, TargetView};

/// How long one request may take. The server's own limit is 60 s; a slower answer is of no use to a queue.
pub const REQUEST_TIMEOUT: Duration = Duration::from_secs(20);

/// Carries a plan out, step by step. A step that fails keeps only those from being tried that depend on it.
pub async fn apply(client: Client, remit: &Remit, plan: Plan) -> Outcome {
    let Plan { namespace, give, edits, take, opinions: _ } = plan;
    let secrets = Api::<TargetView>::namespaced(client.clone(), namespace.as_str());
    let accounts = Api::<AccountView>::namespaced(client, namespace.as_str());
    let mut outcome = Outcome::new(namespace);
    write(&secrets, remit, give, &mut outcome).await;
    for edit in edits {
        let Some(edit) = outcome.trim(edit) else { continue };
        let result = change(&accounts, &edit).await;
        log_edit(&outcome.namespace, &edit, &result);
        outcome.edits.push((edit, result));
    }
    write(&secrets, remit, take, &mut outcome).await;
    outcome
}

async fn write(api: &Api<TargetView>, remit: &Remit, steps: Vec<Step>, outcome: &mut Outcome) {
    for step in steps.into_iter() {
        if !outcome.allows(&step) {
            continue;
        }
        let result = carry_out(api, remit, &outcome.namespace, &step.action).await;
        let result = result.map_err(|fault| remit.judge(&outcome.namespace, fault));
        log(&outcome.namespace, &step, &result);
        outcome.results.push((step, result));
    }
}

/// Changes the list of a ServiceAccount in one request, in the version that was seen: whoever wrote it meanwhile makes
/// the request fail, and nothing of theirs is lost.
async fn change(api: &Api<AccountView>, edit: &Edit) -> Result<Version, Fault> {
    let params =
        PatchParams { field_manager: Some(keys::FIELD_MANAGER.to_owned()), ..PatchParams::default() };
    let patch = Patch::Json::<()>(list_patch(edit));
    let answer = within(api.patch_metadata(edit.account.as_str(), &params, &patch)).await?;
    Ok(Version::parse(answer.metadata.resource_version.as_deref().unwrap_or_default()))
}

fn list_patch(edit: &Edit) -> json_patch::Patch {
    let list =
        |rest: &[&str]| PointerBuf::from_tokens(["imagePullSecrets"].into_iter().chain(rest.iter().copied()));
    // Writing the version makes the API server compare it: 409 when it is another one by now.
    let mut operations = vec![PatchOperation::Replace(ReplaceOperation {
        path: PointerBuf::from_tokens(["metadata", "resourceVersion"]),
        value: json!(edit.version().0.to_string()),
    })];
    // From the end, so that no position moves before it is used.
    operations.extend(
        edit.removed()
            .into_iter()
            .rev()
            .map(|place| PatchOperation::Remove(RemoveOperation { path: list(&[&place.to_string()]) })),
    );
    let mut added = edit.added().map(|name| json!({"name": name.as_str()}));
    if edit.is_empty_before_adding() {
        let names: Vec<Value> = added.collect();
        if !names.is_empty() {
            operations.push(PatchOperation::Add(AddOperation { path: list(&[]), value: json!(names) }));
        }
    } else {
        let append = |value| PatchOperation::Add(AddOperation { path: list(&["-"]), value });
        operations.extend(added.by_ref().map(append));
    }
    json_patch::Patch(operations)
}

fn log_edit(namespace: &NamespaceName, edit: &Edit, result: &Result<Version, Fault>) {
    let account = format!("{namespace}/{}", edit.account);
    for Change { verb, secret, because, .. } in &edit.changes {
        let verb = verb.as_str();
        match result {
            Ok(_) => tracing::info!(account, %secret, verb, %because, "serviceaccount edited"),
            Err(fault) if fault.remedy() == Remedy::Replan => {
                tracing::debug!(account, %secret, verb, %because, %fault, "serviceaccount changed meanwhile");
            }
            Err(fault) => {
                tracing::warn!(account, %secret, verb, %because, %fault, "serviceaccount not edited");
            }
        }
    }
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
