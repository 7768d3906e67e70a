//! What somebody may do, as the API server's own judges say.

use std::fmt;

use futures::{StreamExt, TryStreamExt, stream};
use imps_core::reason::FaultClass;
use k8s_openapi::api::authorization::v1::{
    ResourceAttributes, SelfSubjectAccessReview, SelfSubjectAccessReviewSpec, SubjectAccessReview,
    SubjectAccessReviewSpec, SubjectAccessReviewStatus,
};
use kube::api::PostParams;
use kube::{Api, Client};

use crate::apply::within;
use crate::rules::{Charter, Right};

/// How many questions are asked at once.
const ASKED_AT_ONCE: usize = 8;

/// Who.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Whom {
    /// Whoever asks.
    Myself,
    /// A ServiceAccount.
    Account {
        /// Its namespace.
        namespace: String,
        /// Its name.
        name: String,
    },
}

/// Something that somebody may do, or may not.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug, Default)]
pub struct Deed {
    /// The verb.
    pub verb: String,
    /// API group; empty for the core.
    pub group: String,
    /// Resource or resource/subresource.
    pub resource: String,
    /// Where; in all namespaces, or with no namespace at all, when not said.
    pub namespace: Option<String>,
    /// With which object; with all when not said.
    pub name: Option<String>,
}

impl fmt::Display for Deed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} on {}", self.verb, self.resource)?;
        if !self.group.is_empty() {
            write!(f, ".{}", self.group)?;
        }
        if let Some(name) = &self.name {
            write!(f, " named {name}")?;
        }
        if let Some(namespace) = &self.namespace {
            write!(f, " in the namespace {namespace}")?;
        }
        Ok(())
    }
}

/// Why it could not be found out.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum Unjudged {
    /// Not everybody may ask about others.
    #[error("the right that is missing is create on {0}.authorization.k8s.io")]
    Forbidden(&'static str),
    /// The request failed.
    #[error("the API server does not answer: {0}")]
    Failed(String),
}

/// The deeds that somebody may not do, in their order.
pub async fn refused(client: &Client, whom: &Whom, deeds: Vec<Deed>) -> Result<Vec<Deed>, Unjudged> {
    let judged = stream::iter(deeds).map(|deed| async move {
        let allowed = is_allowed(client, whom, &deed).await?;
        Ok::<_, Unjudged>((!allowed).then_some(deed))
    });
    let refused: Vec<Option<Deed>> = judged.buffered(ASKED_AT_ONCE).try_collect().await?;
    Ok(refused.into_iter().flatten().collect())
}

async fn is_allowed(client: &Client, whom: &Whom, deed: &Deed) -> Result<bool, Unjudged> {
    let resource_attributes = Some(attributes(deed));
    let (kind, answer) = match whom {
        Whom::Myself => {
            let spec = SelfSubjectAccessReviewSpec { resource_attributes, ..Default::default() };
            let review = SelfSubjectAccessReview { spec, ..Default::default() };
            let api = Api::<SelfSubjectAccessReview>::all(client.clone());
            let answer = within(api.create(&PostParams::default(), &review)).await;
            ("selfsubjectaccessreviews", answer.map(|review| review.status))
        }
        Whom::Account { namespace, name } => {
            let spec = SubjectAccessReviewSpec {
                resource_attributes,
                user: Some(format!("system:serviceaccount:{namespace}:{name}")),
                groups: Some(groups(namespace)),
                ..Default::default()
            };
            let review = SubjectAccessReview { spec, ..Default::default() };
            let api = Api::<SubjectAccessReview>::all(client.clone());
            let answer = within(api.create(&PostParams::default(), &review)).await;
            ("subjectaccessreviews", answer.map(|review| review.status))
        }
    };
    match answer {
        Ok(status) => Ok(status.is_some_and(|status: SubjectAccessReviewStatus| status.allowed)),
        Err(fault) if fault.class == FaultClass::Forbidden => Err(Unjudged::Forbidden(kind)),
        Err(fault) => Err(Unjudged::Failed(fault.detail)),
    }
}

/// The groups that every ServiceAccount of a namespace is in, and that a role may be bound to
/// (kubernetes/apiserver:pkg/authentication/serviceaccount/util.go).
fn groups(namespace: &str) -> Vec<String> {
    vec![
        "system:serviceaccounts".to_owned(),
        format!("system:serviceaccounts:{namespace}"),
        "system:authenticated".to_owned(),
    ]
}

fn attributes(deed: &Deed) -> ResourceAttributes {
    let (resource, subresource) = match deed.resource.split_once('/') {
        Some((resource, part)) => (resource, Some(part.to_owned())),
        None => (deed.resource.as_str(), None),
    };
    ResourceAttributes {
        verb: Some(deed.verb.clone()),
        group: Some(deed.group.clone()),
        resource: Some(resource.to_owned()),
        subresource,
        namespace: deed.namespace.clone(),
        name: deed.name.clone(),
        ..ResourceAttributes::default()
    }
}

impl Charter {
    /// Everything that it grants, each deed with its reason.
    pub fn deeds(&self) -> Vec<(Deed, &'static str)> {
        let cluster = self.cluster.iter().flat_map(|right| deeds(None, right));
        let narrow = self.namespaces.iter().flat_map(|(namespace, rights)| {
            rights.iter().flat_map(move |right| deeds(Some(namespace.to_string()), right))
        });
        cluster.chain(narrow).collect()
    }
}

fn deeds(namespace: Option<String>, right: &Right) -> Vec<(Deed, &'static str)> {
    let all = |list: &Option<Vec<String>>| list.clone().unwrap_or_default();
    let names: Vec<Option<String>> = match &right.policy.resource_names {
        None => vec![None],
        Some(names) => names.iter().cloned().map(Some).collect(),
    };
    let mut deeds = Vec::new();
    for group in all(&right.policy.api_groups) {
        for resource in all(&right.policy.resources) {
            for name in &names {
                for verb in &right.policy.verbs {
                    let deed = Deed {
                        verb: verb.clone(),
                        group: group.clone(),
                        resource: resource.clone(),
                        namespace: namespace.clone(),
                        name: name.clone(),
                    };
                    deeds.push((deed, right.why));
                }
            }
        }
    }
    deeds
}

#[cfg(test)]
mod tests {
    use imps_core::name::SecretRef;

    use super::*;
    use crate::rules::Needs;

    #[test]
    fn a_charter_is_asked_for_verb_by_verb_and_name_by_name() {
        let mut needs = Needs::default();
        needs.targets.insert("pull".into());
        needs.sources.insert(SecretRef::new("home", "hub"));
        let deeds: Vec<String> =
            Charter::of(&needs).deeds().into_iter().map(|(deed, _)| deed.to_string()).collect();
        for deed in [
            "patch on imagepullsecrets/status.images.banzaicloud.io",
            "list on secrets named pull",
            "delete on secrets named pull",
            "watch on secrets named hub in the namespace home",
            "list on namespaces",
        ] {
            assert!(deeds.iter().any(|known| known == deed), "{deed}: {deeds:#?}");
        }
        assert!(!deeds.iter().any(|deed| deed.contains("pods") || deed.contains("leases")), "{deeds:#?}");
    }

    #[test]
    fn a_part_of_a_resource_is_asked_for_as_such() {
        let deed =
            Deed { verb: "patch".into(), resource: "imagepullsecrets/status".into(), ..Deed::default() };
        let asked = attributes(&deed);
        assert_eq!(
            (asked.resource.as_deref(), asked.subresource.as_deref()),
            (Some("imagepullsecrets"), Some("status"))
        );
    }
}
