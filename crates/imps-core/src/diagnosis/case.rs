//! What is known about one pod and what it depends on, as values.

use std::collections::BTreeMap;

use zeroize::Zeroizing;

use super::probe::Probed;
use crate::grant::Grant;
use crate::name::{AccountName, GrantName, NamespaceName, SecretName, SecretRef, Uid};
use crate::reason::Reason;
use crate::selector::Tags;

/// What became of looking for something.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Sight<T> {
    /// It is there.
    Seen(T),
    /// It is not there.
    Absent,
    /// It could not be looked at, and why.
    Unseen(String),
}

/// A pod with what it depends on.
#[derive(Clone, Debug)]
pub struct Case {
    /// The pod.
    pub pod: Pod,
    /// Its namespace.
    pub space: Sight<Space>,
    /// Its ServiceAccount.
    pub account: Sight<Account>,
    /// The ServiceAccount `default` of the namespace.
    pub default_account: Sight<Account>,
    /// Secrets of the namespace: those that the pod or its account name, and others as far as they are known.
    pub secrets: BTreeMap<SecretName, Sight<PullSecret>>,
    /// Secrets of other namespaces that have the name of one that is missing here.
    pub elsewhere: Vec<SecretRef>,
    /// What events say, with the container that each is about, if it is about one. The last one counts.
    pub events: Vec<(Option<String>, String)>,
    /// The `ImagePullSecret`s. Absent when the cluster does not know the kind.
    pub grants: Sight<Vec<Granted>>,
    /// What registries said about its images; empty when they were not asked.
    pub probed: Vec<Probed>,
}

/// The pod itself.
#[derive(Clone, Debug, Default)]
pub struct Pod {
    /// Where it is.
    pub namespace: NamespaceName,
    /// What it is called: `pod/web-7c9f`, `deployment/web`, `an image`.
    pub subject: String,
    /// The name to delete it by, if it exists.
    pub name: Option<String>,
    /// Its labels and annotations, by which its namespace may be selected.
    pub tags: (Tags, Tags),
    /// The node that it was given.
    pub node: Option<String>,
    /// Its ServiceAccount.
    pub account: AccountName,
    /// Its own list. That of the ServiceAccount is copied into it when the pod is admitted.
    pub pull_secrets: Vec<SecretName>,
    /// Whether it went through admission: it exists, and is not just a description.
    pub admitted: bool,
    /// All its containers.
    pub containers: Vec<Container>,
}

/// One container of it.
#[derive(Clone, Debug, Default)]
pub struct Container {
    /// Its name.
    pub name: String,
    /// Which kind of container.
    pub kind: ContainerKind,
    /// The image as it is written.
    pub image: String,
    /// `Always`, `IfNotPresent`, `Never`, or empty for what Kubernetes would take.
    pub pull_policy: String,
    /// Whether the node says that it has the image. Of those that it has it names the largest only.
    pub on_node: bool,
    /// What the kubelet says about it.
    pub state: State,
}

/// Kinds of containers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ContainerKind {
    /// Runs before the others.
    Init,
    /// What the pod is for.
    #[default]
    Main,
    /// Put into a running pod to look around.
    Ephemeral,
}

/// States of containers, as far as they matter here.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum State {
    /// Waits, with a reason in a word and a message.
    Waiting {
        /// `ImagePullBackOff`.
        reason: String,
        /// What the kubelet adds.
        message: String,
    },
    /// Its image was pulled.
    Started,
    /// Nothing is said.
    #[default]
    Unsaid,
}

/// A namespace.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Space {
    /// Its labels.
    pub labels: Tags,
    /// Its annotations.
    pub annotations: Tags,
    /// It is being deleted.
    pub terminating: bool,
}

/// A ServiceAccount.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Account {
    /// Its pull secrets, in its order.
    pub pull_secrets: Vec<SecretName>,
}

/// A Secret.
#[derive(Clone, Default)]
pub struct PullSecret {
    /// Its type.
    pub secret_type: String,
    /// The value under the key that goes with its type; empty when it has none. Wiped when dropped.
    pub data: Zeroizing<Vec<u8>>,
    /// The keys of its data.
    pub keys: Vec<String>,
    /// The `ImagePullSecret`s that its owner references name.
    pub owners: Vec<Uid>,
}

/// An `ImagePullSecret`, and what its status says.
#[derive(Clone, Debug)]
pub struct Granted {
    /// Its name.
    pub name: GrantName,
    /// What it asks for, or what is wrong with it.
    pub grant: Result<Grant, String>,
    /// Its sources, in their order.
    pub sources: Vec<SourceWord>,
    /// What failed in this namespace: the word and the message.
    pub failure: Option<(String, String)>,
    /// Whether it was reported on at all.
    pub reported: bool,
    /// Names of Secrets that it may have written, by its status.
    pub former: Vec<SecretName>,
    /// Whether the status counts this namespace among those that have the Secret.
    pub managed: bool,
    /// It is being deleted.
    pub leaving: bool,
}

/// A source, as the status of its grant tells.
#[derive(Clone, Debug)]
pub struct SourceWord {
    /// Which Secret.
    pub at: SecretRef,
    /// The word for what is wrong, and the message; nothing when it is well.
    pub trouble: Option<(String, String)>,
    /// The registries that it gives a login for, as keys of a docker config.
    pub registries: Vec<String>,
    /// When its token ends, in seconds since the epoch.
    pub expires: Option<i64>,
}

impl<T> Sight<T> {
    /// What is there, if it was seen.
    pub fn seen(&self) -> Option<&T> {
        match self {
            Sight::Seen(thing) => Some(thing),
            Sight::Absent | Sight::Unseen(_) => None,
        }
    }

    /// As it is, of a reference to what is there.
    pub fn as_ref(&self) -> Sight<&T> {
        match self {
            Sight::Seen(thing) => Sight::Seen(thing),
            Sight::Absent => Sight::Absent,
            Sight::Unseen(why) => Sight::Unseen(why.clone()),
        }
    }

    /// Something made of what is there.
    pub fn map<U>(self, make: impl FnOnce(T) -> U) -> Sight<U> {
        match self {
            Sight::Seen(thing) => Sight::Seen(make(thing)),
            Sight::Absent => Sight::Absent,
            Sight::Unseen(why) => Sight::Unseen(why),
        }
    }
}

impl Case {
    /// The Secrets that the kubelet would ask for, in its order: the pod's own list, or for a pod that is not admitted
    /// yet the list that it would be given.
    pub fn references(&self) -> &[SecretName] {
        if !self.pod.admitted && self.pod.pull_secrets.is_empty() {
            return self.account.seen().map_or(&[], |account| &account.pull_secrets);
        }
        &self.pod.pull_secrets
    }
}

impl Granted {
    /// Whether the status of a target says that the Secret at its name is somebody else's.
    pub(crate) fn conflicts(&self) -> bool {
        self.failure.as_ref().is_some_and(|(reason, _)| reason == Reason::TargetConflict.as_str())
    }
}

impl Container {
    /// Whether it waits for its image, or may: one that says nothing is looked at too.
    pub fn is_sick(&self) -> bool {
        match &self.state {
            State::Waiting { reason, .. } => super::is_pull_reason(reason),
            State::Started => false,
            State::Unsaid => true,
        }
    }

    /// `init container migrate`, for messages.
    pub fn label(&self) -> String {
        let kind = match self.kind {
            ContainerKind::Init => "init container",
            ContainerKind::Main => "container",
            ContainerKind::Ephemeral => "ephemeral container",
        };
        format!("{kind} {}", self.name)
    }
}

impl std::fmt::Debug for PullSecret {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("PullSecret").field("secret_type", &self.secret_type).finish_non_exhaustive()
    }
}
