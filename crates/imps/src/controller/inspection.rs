//! Whether the definition of the custom resource on the API server is as new as this program: an older one drops what
//! it does not know, so that users set fields without effect and statuses lose words.

use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};
use std::time::Duration;

use imps_cluster::definition;
use imps_core::reason::FaultClass;
use kube::Client;
use tokio::task::JoinHandle;

/// How long until the definition is looked at again while it is outdated or cannot be read.
const LOOK_AGAIN: Duration = Duration::from_secs(10);
/// How many missing fields the log names.
const FIELDS_SHOWN_MAX: usize = 10;

/// What was found so far.
#[derive(Clone, Default)]
pub(crate) struct Finding(Arc<AtomicU8>);

/// Nothing was found out yet, or may not be.
const UNKNOWN: u8 = 0;
const CURRENT: u8 = 1;
const OUTDATED: u8 = 2;

impl Finding {
    /// Whether the definition lacks something; none while that is not known.
    pub(crate) fn outdated(&self) -> Option<bool> {
        match self.0.load(Ordering::Relaxed) {
            UNKNOWN => None,
            found => Some(found == OUTDATED),
        }
    }
}

/// The look at the definition; it ends with this, or when there is nothing more to find out.
pub(crate) struct Inspection {
    finding: Finding,
    task: JoinHandle<()>,
}

impl Inspection {
    /// Begins to look.
    pub(crate) fn begin(client: Client) -> Self {
        let finding = Finding::default();
        let task = tokio::spawn(inspect(client, finding.clone()));
        Self { finding, task }
    }

    pub(crate) fn finding(&self) -> Finding {
        self.finding.clone()
    }
}

impl Drop for Inspection {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// Looks until the definition is as it should be. Each state is told once.
async fn inspect(client: Client, finding: Finding) {
    let mut told = false;
    loop {
        match definition::missing_fields(client.clone()).await {
            Ok(missing) if missing.is_empty() => {
                if told {
                    tracing::info!("the CustomResourceDefinition is up to date now");
                }
                return finding.0.store(CURRENT, Ordering::Relaxed);
            }
            Ok(missing) => {
                finding.0.store(OUTDATED, Ordering::Relaxed);
                if !std::mem::replace(&mut told, true) {
                    let missing = missing.get(..FIELDS_SHOWN_MAX).unwrap_or(&missing).join(", ");
                    tracing::warn!(
                        missing,
                        "the CustomResourceDefinition is older than this imps, and the API server drops what it does \
                         not know; run `imps crd apply`"
                    );
                }
            }
            Err(fault) if fault.class == FaultClass::Forbidden => {
                return tracing::info!(
                    %fault,
                    "whether the CustomResourceDefinition is up to date is not checked; all else works"
                );
            }
            Err(fault) => {
                tracing::debug!(%fault, "the CustomResourceDefinition cannot be read, trying again")
            }
        }
        tokio::time::sleep(LOOK_AGAIN).await;
    }
}
