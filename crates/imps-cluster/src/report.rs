//! Tells how grants stand: the status of each `ImagePullSecret`, and events when something changed. A single Secret has
//! no object to write that on; the log has to do.

use std::sync::Arc;

use imps_api::{ImagePullSecret, ImagePullSecretStatus, keys, status};
use imps_core::reason::Fault;
use imps_core::standing::{Notice, Standing};
use jiff::Timestamp;
use json_patch::jsonptr::PointerBuf;
use json_patch::{AddOperation, PatchOperation, TestOperation};
use k8s_openapi::api::core::v1::ObjectReference;
use kube::api::{Patch, PatchParams};
use kube::runtime::events::{Event, EventType, Recorder, Reporter};
use kube::{Api, Client};
use serde_json::json;

use crate::apply::within;
use crate::remit::Remit;

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

impl Clerk {
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
    let path = |parts: &[&'static str]| PointerBuf::from_tokens(parts.iter().copied());
    json_patch::Patch(vec![
        PatchOperation::Test(TestOperation {
            path: path(&["metadata", "uid"]),
            value: json!(standing.identity.uid.as_str()),
        }),
        PatchOperation::Add(AddOperation { path: path(&["status"]), value: json!(status) }),
    ])
}
