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

use crate::remit::Single;

/// What a right is about.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Scope {
    /// All objects of the resource.
    Cluster,
    /// Secrets at the targets' names, in every namespace.
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
    /// The ServiceAccounts that a Secret is attached to: those of the given names, or all when there is a pattern.
    Accounts,
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

/// Every right that imps uses: the controller all but those of [`Scope::Single`], the refresher only those and
/// [`Scope::Sources`]. What is not here is never asked for.
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
        why: "a finalizer on what is attached to ServiceAccounts, so that it is detached before it goes",
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
}

/// The role for the cluster, and one in each namespace that has sources. `name` is that of all of them.
pub fn roles(name: &str, needs: &Needs) -> (ClusterRole, Vec<Role>) {
    let metadata = ObjectMeta { name: Some(name.to_owned()), ..ObjectMeta::default() };
    let mut rules = Vec::new();
    for rule in RULES {
        match rule.scope {
            Scope::Cluster => rules.push(policy(rule, None)),
            Scope::Pods if needs.pods => rules.push(policy(rule, None)),
            Scope::Targets if !needs.targets.is_empty() => {
                rules.push(policy(rule, Some(needs.targets.iter().map(ToString::to_string).collect())));
            }
            Scope::Attached if !needs.accounts.is_empty() => rules.push(policy(rule, None)),
            Scope::Accounts if !needs.accounts.is_empty() => rules.push(policy(rule, needs.account_names())),
            Scope::Attached | Scope::Accounts | Scope::Lease | Scope::Leases => {}
            Scope::Pods | Scope::Targets | Scope::Single | Scope::Sources | Scope::ServiceAccounts => {}
        }
    }
    let accounts = needs.service_accounts.iter();
    let accounts = accounts.map(|(namespace, account)| (Scope::ServiceAccounts, namespace, account.as_str()));
    let leases = needs.lease.iter().flat_map(|(namespace, lease)| {
        [Scope::Lease, Scope::Leases].map(|scope| (scope, namespace, lease.as_str()))
    });
    let sources = needs.sources.iter().map(|at| secret(Scope::Sources, at));
    let roles = local(name, sources.chain(accounts).chain(leases));
    (ClusterRole { metadata, rules: Some(rules), ..ClusterRole::default() }, roles)
}

/// The roles of `imps refresher`: one in each namespace of a source, and in that of the target.
pub fn single_roles(name: &str, single: &Single) -> Vec<Role> {
    let sources: BTreeSet<&SecretRef> = single.sources().iter().collect();
    let sources = sources.into_iter().map(|at| secret(Scope::Sources, at));
    local(name, sources.chain([secret(Scope::Single, single.target())]))
}

fn secret(scope: Scope, at: &SecretRef) -> (Scope, &NamespaceName, &str) {
    (scope, &at.namespace, at.name.as_str())
}

/// A role in each namespace, for the objects there by their names.
fn local<'a>(name: &str, objects: impl Iterator<Item = (Scope, &'a NamespaceName, &'a str)>) -> Vec<Role> {
    let mut by_namespace: BTreeMap<&NamespaceName, Vec<(Scope, &str)>> = BTreeMap::new();
    for (scope, namespace, name) in objects {
        by_namespace.entry(namespace).or_default().push((scope, name));
    }
    let role = |(namespace, objects): (&NamespaceName, Vec<(Scope, &str)>)| {
        let policies = RULES.iter().filter_map(|rule| {
            let named = objects.iter().filter(|(scope, _)| *scope == rule.scope);
            let names: Vec<String> = named.map(|(_, name)| (*name).to_owned()).collect();
            (!names.is_empty()).then(|| policy(rule, Some(names).filter(|_| rule.scope != Scope::Leases)))
        });
        Role {
            metadata: ObjectMeta {
                name: Some(name.to_owned()),
                namespace: Some(namespace.to_string()),
                ..ObjectMeta::default()
            },
            rules: Some(policies.collect()),
        }
    };
    by_namespace.into_iter().map(role).collect()
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
