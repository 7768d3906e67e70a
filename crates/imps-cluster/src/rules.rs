//! The rights that the hands need, one row for each kind of request, and the roles made from them.
//!
//! Kubernetes authorises a list or watch with the field selector `metadata.name=X`, and an apply that creates, by the
//! name of the object (kubernetes/apiserver:pkg/endpoints/request/requestinfo.go), so that rules on Secrets can name
//! the only ones that imps may see.

use std::collections::{BTreeMap, BTreeSet};

use imps_api::keys;
use imps_core::name::{NamespaceName, SecretName, SecretRef};
use k8s_openapi::api::rbac::v1::{ClusterRole, PolicyRule, Role};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;

/// What a right is about.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Scope {
    /// All objects of the resource.
    Cluster,
    /// Secrets at the targets' names, in every namespace.
    Targets,
    /// The source Secrets, each in its namespace.
    Sources,
    /// Only where a grant selects by pods.
    Pods,
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

/// Every right of the controller. What is not here is never asked for.
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
        verbs: &["list", "watch"],
        scope: Scope::Sources,
        why: "read the sources",
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
    /// Some grant selects by pods.
    pub pods: bool,
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
            Scope::Pods | Scope::Targets | Scope::Sources => {}
        }
    }
    let mut by_namespace: BTreeMap<&NamespaceName, Vec<String>> = BTreeMap::new();
    for source in &needs.sources {
        by_namespace.entry(&source.namespace).or_default().push(source.name.to_string());
    }
    let of_sources = || RULES.iter().filter(|rule| rule.scope == Scope::Sources);
    let roles = by_namespace.into_iter().map(|(namespace, names)| Role {
        metadata: ObjectMeta { namespace: Some(namespace.to_string()), ..metadata.clone() },
        rules: Some(of_sources().map(|rule| policy(rule, Some(names.clone()))).collect()),
    });
    let roles = roles.collect();
    (ClusterRole { metadata, rules: Some(rules), ..ClusterRole::default() }, roles)
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
