//! Tells how grants stand: the status of each `ImagePullSecret`, and events when something changed. A single Secret has
//! no object to write that on; the log has to do.

use std::sync::Arc;

use imps_api::{ImagePullSecret, ImagePullSecretStatus, keys, status};
use imps_core::controller::Hold;
use imps_core::grant::Identity;
use imps_core::reason::Fault;
use imps_core::standing::{Notice, Standing};
use jiff::Timestamp;
use json_patch::jsonptr::PointerBuf;
use json_patch::{AddOperation, PatchOperation, RemoveOperation, ReplaceOperation, TestOperation};
use k8s_openapi::api::core::v1::ObjectReference;
use kube::api::{Patch, PatchParams};
use kube::runtime::events::{Event, EventType, Recorder, Reporter};
use kube::{Api, Client};
use serde_json::json;

use crate::apply::within;
use crate::remit::Remit;
use crate::view::GrantView;

mod journal;

use journal::Journal;

/// Writes statuses and events, or the log.
#[derive(Clone)]
pub enum Herald {
    /// The API server takes what there is to say.
    Cluster(Arc<Clerk>),
    /// The log does.
    Single(Arc<Journal>),
}

/// Writes statuses and events.
pub struct Clerk {
    client: Client,
    recorder: Recorder,
}

impl Herald {
    /// Reports in the name of the original's controller, so that rules and dashboards about its events go on working.
    pub fn new(client: Client, remit: &Remit, instance: Option<String>) -> Self {
        if let Remit::Single(single) = remit {
            return Self::Single(Arc::new(Journal::new(single.clone())));
        }
        let reporter = Reporter { controller: keys::REPORTING_CONTROLLER.to_owned(), instance };
        let recorder = Recorder::new(client.clone(), reporter);
        Self::Cluster(Arc::new(Clerk { client, recorder }))
    }

    /// Writes the status if it differs from the one that the object has, and publishes the notices. An event that
    /// cannot be published is logged and lost: the status says the same and stays.
    pub async fn report(
        &self,
        standing: &Standing,
        notices: &[Notice],
        before: Option<&ImagePullSecretStatus>,
    ) -> Result<(), Fault> {
        match self {
            Herald::Cluster(clerk) => clerk.report(standing, notices, before).await,
            Herald::Single(journal) => {
                journal.tell(standing);
                Ok(())
            }
        }
    }
}

impl Herald {
    /// Puts our finalizer on an `ImagePullSecret`, or takes it off. Other finalizers stay.
    pub async fn hold(&self, hold: &Hold) -> Result<(), Fault> {
        match self {
            Herald::Cluster(clerk) => clerk.hold(hold).await,
            // What it keeps is attached to nothing.
            Herald::Single(_) => Ok(()),
        }
    }
}

impl Clerk {
    async fn hold(&self, hold: &Hold) -> Result<(), Fault> {
        let name = hold.identity.name.as_str();
        let api = Api::<GrantView>::all(self.client.clone());
        let seen = within(api.get_metadata(name)).await?.metadata;
        let finalizers = seen.finalizers.unwrap_or_default();
        let place = finalizers.iter().position(|finalizer| finalizer == keys::ACCOUNTS_FINALIZER);
        let path = |rest: &str| PointerBuf::from_tokens(["metadata", "finalizers", rest]);
        let change = match (hold.on, place) {
            (true, None) if finalizers.is_empty() => PatchOperation::Add(AddOperation {
                path: PointerBuf::from_tokens(["metadata", "finalizers"]),
                value: json!([keys::ACCOUNTS_FINALIZER]),
            }),
            (true, None) => {
                PatchOperation::Add(AddOperation { path: path("-"), value: json!(keys::ACCOUNTS_FINALIZER) })
            }
            (false, Some(place)) => {
                PatchOperation::Remove(RemoveOperation { path: path(&place.to_string()) })
            }
            _ => return Ok(()),
        };
        // This object in this version: another one of the name is none of ours, and no other finalizer gets lost.
        let patch = json_patch::Patch(vec![
            same_object(&hold.identity),
            PatchOperation::Replace(ReplaceOperation {
                path: PointerBuf::from_tokens(["metadata", "resourceVersion"]),
                value: json!(seen.resource_version),
            }),
            change,
        ]);
        let params =
            PatchParams { field_manager: Some(keys::FIELD_MANAGER.to_owned()), ..PatchParams::default() };
        within(api.patch_metadata(name, &params, &Patch::Json::<()>(patch))).await.map(drop)
    }

    async fn report(
        &self,
        standing: &Standing,
        notices: &[Notice],
        before: Option<&ImagePullSecretStatus>,
    ) -> Result<(), Fault> {
        let name = standing.identity.name.as_str();
        let status = status::render(standing, before, Timestamp::now());
        if before != Some(&status) {
            let api = Api::<ImagePullSecret>::all(self.client.clone());
            let params =
                PatchParams { field_manager: Some(keys::FIELD_MANAGER.to_owned()), ..PatchParams::default() };
            let patch = Patch::Json::<()>(replace(standing, &status));
            within(api.patch_status(name, &params, &patch)).await?;
        }
        for notice in notices {
            self.publish(standing, notice).await;
        }
        Ok(())
    }

    async fn publish(&self, standing: &Standing, notice: &Notice) {
        let identity = &standing.identity;
        let regarding = ObjectReference {
            api_version: Some(format!("{}/{}", keys::GROUP, keys::VERSION)),
            kind: Some(keys::KIND.to_owned()),
            name: Some(identity.name.to_string()),
            uid: Some(identity.uid.to_string()),
            ..ObjectReference::default()
        };
        let event = Event {
            type_: if notice.warning { EventType::Warning } else { EventType::Normal },
            reason: notice.reason.to_owned(),
            note: Some(notice.note.clone()),
            action: "Reconcile".to_owned(),
            secondary: None,
        };
        if let Err(fault) = within(self.recorder.publish(&event, &regarding)).await {
            tracing::warn!(imagepullsecret = %identity.name, reason = notice.reason, %fault, "event not published");
        }
    }
}

/// Replaces the whole status of just this object: fields that no longer apply go, and an object that was deleted and
/// made anew under the same name is not touched.
fn replace(standing: &Standing, status: &ImagePullSecretStatus) -> json_patch::Patch {
    json_patch::Patch(vec![
        same_object(&standing.identity),
        PatchOperation::Add(AddOperation { path: PointerBuf::from_tokens(["status"]), value: json!(status) }),
    ])
}

/// Fails on an object that was made anew under the same name.
fn same_object(identity: &Identity) -> PatchOperation {
    PatchOperation::Test(TestOperation {
        path: PointerBuf::from_tokens(["metadata", "uid"]),
        value: json!(identity.uid.as_str()),
    })
}
