//! What `imps plan` answers, as data: the JSON output is just this.

use std::collections::BTreeMap;

use imps_core::account::{Change, Edit, Verb};
use imps_core::difference;
use imps_core::grant::{Rule, Verdict};
use imps_core::name::NamespaceName;
use imps_core::plan::{Plan, Step};
use imps_core::reason::Reason;
use imps_core::standing::SourceStanding;
use imps_core::world::{Room, World};
use serde::Serialize;

/// What becomes of a Secret that stands as it should, or cannot be written.
pub(super) const UNCHANGED: &str = "none";

/// The whole answer.
#[derive(Serialize, Default)]
#[serde(rename_all = "camelCase")]
pub(in crate::command) struct Page {
    /// Namespaces that get a Secret, or would.
    pub(in crate::command) targets: Vec<Target>,
    /// Secrets that would be deleted.
    pub(in crate::command) removals: Vec<Removal>,
    /// ServiceAccounts that would name a Secret and do not yet.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(in crate::command) attached: Vec<Naming>,
    /// ServiceAccounts that would no longer name a Secret.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(in crate::command) detached: Vec<Naming>,
    /// Namespaces that get nothing, by ImagePullSecret.
    pub(in crate::command) left_out: Vec<LeftOut>,
    /// The sources and what they give.
    pub(in crate::command) sources: Vec<Source>,
    /// ImagePullSecrets that cannot be understood.
    pub(in crate::command) rejected: Vec<Remark>,
    /// What was left out of account.
    pub(in crate::command) remarks: Vec<Remark>,
    /// Namespaces that no manifest describes, taken to exist without labels.
    pub(in crate::command) assumed: Vec<String>,
    /// What may not be looked at on the cluster, or could not be.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(in crate::command) unseen: Vec<String>,
    /// Kinds that have no part in this, with their number.
    pub(in crate::command) ignored: BTreeMap<String, usize>,
    #[serde(skip)]
    pub(in crate::command) payloads_ready: bool,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub(in crate::command) struct Target {
    pub(in crate::command) namespace: String,
    pub(in crate::command) secret: String,
    pub(in crate::command) image_pull_secret: String,
    /// create, update, or none when it stands as it should or cannot be written.
    pub(in crate::command) action: &'static str,
    pub(in crate::command) rule: String,
    /// Why it is written.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub(in crate::command) because: String,
    pub(in crate::command) registries: Vec<Registry>,
    /// What that changes.
    #[serde(skip_serializing_if = "Difference::is_empty")]
    pub(in crate::command) difference: Difference,
    /// ServiceAccounts that name it then.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(in crate::command) service_accounts: Vec<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(in crate::command) reason: Option<&'static str>,
    #[serde(skip_serializing_if = "String::is_empty")]
    pub(in crate::command) message: String,
}

#[derive(Serialize, Clone)]
pub(in crate::command) struct Registry {
    pub(in crate::command) registry: String,
    pub(in crate::command) source: String,
}

/// What differs between a Secret that is there and what it should be.
#[derive(Serialize, Default)]
#[serde(rename_all = "camelCase")]
pub(in crate::command) struct Difference {
    /// Registries that come.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(in crate::command) added: Vec<String>,
    /// Registries that get another credential.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(in crate::command) replaced: Vec<String>,
    /// Registries that go.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(in crate::command) removed: Vec<String>,
    /// The same credentials are written in another way.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub(in crate::command) rewritten: bool,
    /// Labels, annotations or the owner reference change.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub(in crate::command) metadata: bool,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub(in crate::command) struct Removal {
    pub(in crate::command) namespace: String,
    pub(in crate::command) secret: String,
    /// Registries that go with it.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(in crate::command) registries: Vec<String>,
    pub(in crate::command) because: String,
}

/// A ServiceAccount that would name a Secret, or would no longer.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub(in crate::command) struct Naming {
    pub(in crate::command) namespace: String,
    pub(in crate::command) service_account: String,
    pub(in crate::command) secret: String,
    pub(in crate::command) because: String,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub(in crate::command) struct LeftOut {
    pub(in crate::command) namespace: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(in crate::command) image_pull_secret: Option<String>,
    pub(in crate::command) because: String,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub(in crate::command) struct Source {
    pub(in crate::command) source: String,
    pub(in crate::command) image_pull_secret: String,
    pub(in crate::command) state: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(in crate::command) reason: Option<&'static str>,
    #[serde(skip_serializing_if = "String::is_empty")]
    pub(in crate::command) message: String,
    pub(in crate::command) registries: Vec<String>,
    /// Registries for which an earlier source wins.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(in crate::command) overridden: Vec<String>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub(in crate::command) struct Remark {
    #[serde(rename = "imagePullSecret")]
    pub(in crate::command) grant: String,
    pub(in crate::command) text: String,
}

impl Page {
    /// Whether nothing would fail or conflict.
    pub(in crate::command) fn is_clean(&self) -> bool {
        let sources = self.sources.iter().all(|source| source.reason.is_none());
        let targets = self.targets.iter().all(|target| target.reason.is_none());
        sources && targets && self.rejected.is_empty() && self.payloads_ready
    }

    /// Whether anything would be written.
    pub(in crate::command) fn changes_anything(&self) -> bool {
        let written = self.targets.iter().any(|target| target.action != UNCHANGED);
        let named = !self.attached.is_empty() || !self.detached.is_empty();
        written || named || !self.removals.is_empty()
    }
}

impl Target {
    pub(in crate::command) fn new(
        namespace: &NamespaceName,
        room: &Room,
        rule: &Rule,
        step: Option<&Step>,
        trouble: Option<(Reason, String)>,
    ) -> Self {
        let registries = room.origin().iter().map(|(registry, source)| Registry {
            registry: registry.display_name().to_owned(),
            source: source.to_string(),
        });
        let (reason, message) = trouble.unzip();
        Self {
            namespace: namespace.to_string(),
            secret: room.grant().map(|grant| grant.template.name.to_string()).unwrap_or_default(),
            image_pull_secret: room.identity().name.to_string(),
            action: step.map_or(UNCHANGED, |step| step.action.verb()),
            rule: rule.to_string(),
            because: step.map(|step| step.because.to_string()).unwrap_or_default(),
            registries: registries.collect(),
            difference: Difference::default(),
            service_accounts: Vec::new(),
            reason: reason.map(Reason::as_str),
            message: message.unwrap_or_default(),
        }
    }
}

impl LeftOut {
    pub(in crate::command) fn of(namespace: &NamespaceName, room: &Room, verdict: &Verdict) -> Self {
        let because = match verdict {
            Verdict::Excluded { selected, excluded } => format!("{excluded} wins over {selected}"),
            Verdict::Unselected | Verdict::Selected(_) => "no rule selects it".to_owned(),
        };
        let grant = Some(room.identity().name.to_string());
        Self { namespace: namespace.to_string(), image_pull_secret: grant, because }
    }

    pub(in crate::command) fn terminating(namespace: &NamespaceName) -> Self {
        let because = "the namespace is being deleted".to_owned();
        Self { namespace: namespace.to_string(), image_pull_secret: None, because }
    }
}

impl Source {
    pub(in crate::command) fn of(room: &Room, source: &SourceStanding) -> Self {
        // Offline nobody can say whether the identity is accepted.
        let exchanged = source.token.is_some() && source.reason.is_none();
        Self {
            source: source.at.to_string(),
            image_pull_secret: room.identity().name.to_string(),
            state: if exchanged { "Exchanged" } else { source.state() },
            reason: source.reason.map(Reason::as_str),
            message: source.message.clone(),
            registries: source.registries.clone(),
            overridden: source.overridden.clone(),
        }
    }
}

impl Difference {
    fn is_empty(&self) -> bool {
        let told = [&self.added, &self.replaced, &self.removed].iter().any(|names| !names.is_empty());
        !told && !self.rewritten && !self.metadata
    }
}

impl From<difference::Difference> for Difference {
    fn from(seen: difference::Difference) -> Self {
        let difference::Difference { added, replaced, removed, rewritten, metadata } = seen;
        Self { added, replaced, removed, rewritten, metadata }
    }
}

impl Removal {
    /// A Secret that a step of a plan deletes.
    pub(in crate::command) fn new(world: &World, plan: &Plan, step: &Step) -> Self {
        Self {
            namespace: plan.namespace.to_string(),
            secret: step.action.secret().to_string(),
            registries: Vec::new(),
            because: format!("{} (ImagePullSecret {})", step.because, world.grant_name(&step.grant)),
        }
    }
}

/// The ServiceAccounts that a plan would put a name into, or take one out of.
pub(in crate::command) fn namings(world: &World, plan: &Plan, verb: Verb) -> Vec<Naming> {
    let changes = plan.edits.iter().flat_map(|edit| edit.changes.iter().map(move |change| (edit, change)));
    let meant = changes.filter(|(_, change)| change.verb == verb);
    let naming = |(edit, change): (&Edit, &Change)| Naming {
        namespace: plan.namespace.to_string(),
        service_account: edit.account.to_string(),
        secret: change.secret.to_string(),
        because: format!("{} (ImagePullSecret {})", change.because, world.grant_name(&change.grant)),
    };
    meant.map(naming).collect()
}
