//! The rights that the hands need, one row for each kind of request, and the roles made from them.
//!
//! Kubernetes authorises a list or watch with the field selector `metadata.name=X`, and an apply that creates, by the
//! name of the object (kubernetes/apiserver:pkg/endpoints/request/requestinfo.go), so that rules on Secrets can name
//! the only ones that imps may see.

use std::collections::{BTreeMap, BTreeSet};

use imps_api::keys;
use imps_core::name::{NamespaceName, SecretName, SecretRef};
use imps_core::selector::NamePattern;
use k8s_openapi::api::rbac::v1::{ClusterRole, PolicyRule, Role};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;

use crate::definition;
use crate::remit::Single;

/// What a right is about.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Scope {
    /// All objects of the resource.
    Cluster,
    /// The definition of the custom resource, for whoever reads it.
    Definition,
    /// The same, for `imps crd apply`.
    Installer,
    /// Secrets at the targets' names, where the [`Mode`] says.
    Targets,
    /// The one Secret that `imps refresher` keeps, in its namespace.
    Single,
    /// The source Secrets, each in its namespace.
    Sources,
    /// The ServiceAccounts that source Secrets name, each in the namespace of its Secret.
    ServiceAccounts,
    /// Only where a grant selects by pods.
    Pods,
    /// The `ImagePullSecret`s, where one is attached to ServiceAccounts.
    Attached,
    /// The Lease by which one process leads, in its namespace.
    Lease,
    /// All Leases of that namespace: a right to create cannot name the object.
    Leases,
    /// The ServiceAccounts that a Secret is attached to: those of the given names, or all with a pattern, where
    /// the [`Mode`] says.
    Accounts,
}

/// How far the rights on target Secrets, and on ServiceAccounts that name them, reach.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub enum Mode {
    /// To the names that are known, in every namespace.
    #[default]
    Named,
    /// To the names that are known, in these namespaces; the operator has to be told the same ones.
    Namespaced(BTreeSet<NamespaceName>),
    /// To every Secret of the cluster, as the names are not known.
    Cluster,
}

/// One right.
#[derive(Clone, Copy, Debug)]
pub struct Rule {
    /// API group; empty for the core.
    pub group: &'static str,
    /// Resource or resource/subresource.
    pub resource: &'static str,
    /// The verbs.
    pub verbs: &'static [&'static str],
    /// Which objects.
    pub scope: Scope,
    /// What imps does with it.
    pub why: &'static str,
}

/// Every right that imps uses: the controller all but those of [`Scope::Single`] and [`Scope::Installer`], the
/// refresher only the former and [`Scope::Sources`], `imps crd apply` only the latter. What is not here is never asked
/// for.
pub const RULES: &[Rule] = &[
    Rule {
        group: keys::GROUP,
        resource: keys::PLURAL,
        verbs: &["list", "watch"],
        scope: Scope::Cluster,
        why: "know what is wanted",
    },
    Rule {
        group: keys::GROUP,
        resource: "imagepullsecrets/status",
        verbs: &["patch"],
        scope: Scope::Cluster,
        why: "say how it stands",
    },
    Rule {
        group: "apiextensions.k8s.io",
        resource: "customresourcedefinitions",
        verbs: &["get"],
        scope: Scope::Definition,
        why: "see whether the installed definition knows all that imps writes; imps works without this right",
    },
    Rule {
        group: "apiextensions.k8s.io",
        resource: "customresourcedefinitions",
        verbs: &["create", "get", "patch"],
        scope: Scope::Installer,
        why: "install the definition of ImagePullSecrets, and wait until it is served",
    },
    Rule {
        group: "",
        resource: "namespaces",
        verbs: &["list", "watch"],
        scope: Scope::Cluster,
        why: "find the recipients",
    },
    Rule {
        group: keys::GROUP,
        resource: keys::PLURAL,
        verbs: &["get", "patch"],
        scope: Scope::Attached,
        why: "put a finalizer on what is attached to ServiceAccounts, so that it is detached before it goes",
    },
    Rule {
        group: "",
        resource: "serviceaccounts",
        verbs: &["list", "patch", "watch"],
        scope: Scope::Accounts,
        why: "attach the targets to ServiceAccounts",
    },
    Rule {
        group: "",
        resource: "pods",
        verbs: &["list", "watch"],
        scope: Scope::Pods,
        why: "find namespaces by their pods",
    },
    Rule {
        group: "",
        resource: "secrets",
        verbs: &["create", "delete", "get", "list", "patch", "watch"],
        scope: Scope::Targets,
        why: "write the targets, notice changes, recall after a restart what a failing source last gave",
    },
    Rule {
        group: "",
        resource: "secrets",
        verbs: &["create", "get", "list", "patch", "watch"],
        scope: Scope::Single,
        why: "write the target, notice changes, recall after a restart what a failing source last gave",
    },
    Rule {
        group: "",
        resource: "secrets",
        verbs: &["list", "watch"],
        scope: Scope::Sources,
        why: "read the sources",
    },
    Rule {
        group: "",
        resource: "serviceaccounts/token",
        verbs: &["create"],
        scope: Scope::ServiceAccounts,
        why: "take on the identity that a source names, when started with --keyless=service-account",
    },
    Rule {
        group: "coordination.k8s.io",
        resource: "leases",
        verbs: &["get", "patch"],
        scope: Scope::Lease,
        why: "elect a leader, when started with --enable-leader-election",
    },
    Rule {
        group: "coordination.k8s.io",
        resource: "leases",
        verbs: &["create"],
        scope: Scope::Leases,
        why: "make the Lease by which one is elected",
    },
    Rule {
        group: "events.k8s.io",
        resource: "events",
        verbs: &["create", "patch"],
        scope: Scope::Cluster,
        why: "tell what happened",
    },
];

/// What the roles are made for.
#[derive(Clone, Default, Debug)]
pub struct Needs {
    /// How far the rights on targets reach.
    pub mode: Mode,
    /// Names of target Secrets.
    pub targets: BTreeSet<SecretName>,
    /// Source Secrets.
    pub sources: BTreeSet<SecretRef>,
    /// Namespaces and names of the ServiceAccounts that sources name.
    pub service_accounts: BTreeSet<(NamespaceName, String)>,
    /// Some grant selects by pods.
    pub pods: bool,
    /// Names and patterns of the ServiceAccounts that targets are attached to.
    pub accounts: BTreeSet<NamePattern>,
    /// Namespace and name of the Lease by which a leader is elected.
    pub lease: Option<(NamespaceName, String)>,
}

impl Needs {
    /// The names of the ServiceAccounts that targets are attached to; none when a pattern may mean any.
    fn account_names(&self) -> Option<Vec<String>> {
        self.accounts.iter().map(|pattern| pattern.exact().map(str::to_owned)).collect()
    }

    fn target_names(&self) -> Option<Vec<String>> {
        Some(self.targets.iter().map(ToString::to_string).collect())
    }

    /// Where a right of this scope is needed, and for which names there; a right that nobody needs is needed nowhere.
    fn places(&self, scope: Scope) -> Vec<Place<'_>> {
        let whole = |needed: bool, names| if needed { vec![(None, names)] } else { Vec::new() };
        let within = |needed: bool, names: Option<Vec<String>>| match &self.mode {
            _ if !needed => Vec::new(),
            Mode::Namespaced(namespaces) => {
                namespaces.iter().map(|namespace| (Some(namespace), names.clone())).collect()
            }
            Mode::Named | Mode::Cluster => vec![(None, names)],
        };
        let attached = !self.accounts.is_empty();
        match scope {
            Scope::Cluster => whole(true, None),
            Scope::Definition => whole(true, Some(vec![definition::name()])),
            Scope::Pods => whole(self.pods, None),
            Scope::Attached => whole(attached, None),
            Scope::Targets if self.mode == Mode::Cluster => whole(true, None),
            Scope::Targets => within(!self.targets.is_empty(), self.target_names()),
            Scope::Accounts => within(attached, self.account_names()),
            // Whoever may read every Secret needs no role for some.
            Scope::Sources if self.mode == Mode::Cluster => Vec::new(),
            Scope::Sources => by_namespace(self.sources.iter().map(|at| (&at.namespace, at.name.as_str()))),
            Scope::ServiceAccounts => {
                by_namespace(self.service_accounts.iter().map(|(namespace, name)| (namespace, name.as_str())))
            }
            Scope::Lease => {
                by_namespace(self.lease.iter().map(|(namespace, name)| (namespace, name.as_str())))
            }
            Scope::Leases => self.lease.iter().map(|(namespace, _)| (Some(namespace), None)).collect(),
            Scope::Single | Scope::Installer => Vec::new(),
        }
    }
}

/// A namespace, or all of them, and the names that a right is limited to there.
type Place<'a> = (Option<&'a NamespaceName>, Option<Vec<String>>);

fn by_namespace<'a>(objects: impl Iterator<Item = (&'a NamespaceName, &'a str)>) -> Vec<Place<'a>> {
    let mut places: BTreeMap<&NamespaceName, Vec<String>> = BTreeMap::new();
    for (namespace, name) in objects {
        places.entry(namespace).or_default().push(name.to_owned());
    }
    places.into_iter().map(|(namespace, names)| (Some(namespace), Some(names))).collect()
}

/// The rights of one identity, each with its reason.
#[derive(Clone, PartialEq, Debug, Default)]
pub struct Charter {
    /// Those for the whole cluster.
    pub cluster: Vec<Right>,
    /// Those in single namespaces.
    pub namespaces: BTreeMap<NamespaceName, Vec<Right>>,
}

/// A right, as a role holds it.
#[derive(Clone, PartialEq, Debug)]
pub struct Right {
    /// For the role.
    pub policy: PolicyRule,
    /// What imps does with it.
    pub why: &'static str,
}

impl Charter {
    /// Of the operator.
    pub fn of(needs: &Needs) -> Self {
        Self::over(|scope| needs.places(scope))
    }

    /// Of `imps refresher`.
    pub fn of_single(single: &Single) -> Self {
        let sources: BTreeSet<&SecretRef> = single.sources().iter().collect();
        Self::over(|scope| match scope {
            Scope::Sources => by_namespace(sources.iter().map(|at| (&at.namespace, at.name.as_str()))),
            Scope::Single => {
                let SecretRef { namespace, name } = single.target();
                vec![(Some(namespace), Some(vec![name.to_string()]))]
            }
            _ => Vec::new(),
        })
    }

    /// Of `imps crd apply`.
    pub fn of_installer() -> Self {
        Self::over(|scope| match scope {
            Scope::Installer => vec![(None, Some(vec![definition::name()]))],
            _ => Vec::new(),
        })
    }

    fn over<'a>(places: impl Fn(Scope) -> Vec<Place<'a>>) -> Self {
        let mut charter = Self::default();
        for rule in RULES {
            for (namespace, names) in places(rule.scope) {
                let right = Right { policy: policy(rule, names), why: rule.why };
                match namespace {
                    None => charter.cluster.push(right),
                    Some(namespace) => charter.namespaces.entry(namespace.clone()).or_default().push(right),
                }
            }
        }
        charter
    }
}

/// The role for the cluster, and one in each namespace that needs one. `name` is that of all of them.
pub fn roles(name: &str, needs: &Needs) -> (ClusterRole, Vec<Role>) {
    let Charter { cluster, namespaces } = Charter::of(needs);
    let rules = |rights: Vec<Right>| Some(rights.into_iter().map(|right| right.policy).collect());
    let metadata = |namespace: Option<String>| ObjectMeta {
        name: Some(name.to_owned()),
        namespace,
        ..ObjectMeta::default()
    };
    let cluster = ClusterRole { metadata: metadata(None), rules: rules(cluster), ..ClusterRole::default() };
    let role = |(namespace, rights): (NamespaceName, Vec<Right>)| Role {
        metadata: metadata(Some(namespace.to_string())),
        rules: rules(rights),
    };
    (cluster, namespaces.into_iter().map(role).collect())
}

fn policy(rule: &Rule, names: Option<Vec<String>>) -> PolicyRule {
    PolicyRule {
        api_groups: Some(vec![rule.group.to_owned()]),
        resources: Some(vec![rule.resource.to_owned()]),
        resource_names: names,
        verbs: rule.verbs.iter().map(|verb| (*verb).to_owned()).collect(),
        ..PolicyRule::default()
    }
}
