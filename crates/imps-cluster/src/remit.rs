//! What one process of imps is for: every `ImagePullSecret` of a cluster, or one Secret that its arguments name.
//!
//! What is decided is the same for both, as the core knows no difference. Only the requests differ: for one Secret
//! nothing is asked of the API server but that Secret and its sources.

use std::sync::Arc;

use imps_api::keys;
use imps_core::grant::{Grant, Identity, NamespaceTerms, Recipients, Template};
use imps_core::name::{NamespaceName, SecretRef, Uid};
use imps_core::reason::{Fault, FaultClass};
use imps_core::selector::NamePattern;
use imps_core::world::{Fact, GrantFact, Namespace, Record, Stream, Tenure};

/// See the module.
#[derive(Clone, Debug)]
pub enum Remit {
    /// Every namespace, as the `ImagePullSecret`s say.
    Cluster,
    /// One Secret.
    Single(Arc<Single>),
}

/// One target Secret and its sources. To the core they are a grant; no API server knows of it.
#[derive(Debug)]
pub struct Single {
    target: SecretRef,
    grant: Grant,
}

/// The target is among its own sources, so that what is written would be read again.
#[derive(Debug, thiserror::Error)]
#[error("{0} is a source and the target: what is written there would be read again; name another target")]
pub struct Loop(SecretRef);

impl Single {
    /// The first of the sources wins. One that is listed twice counts at its first place.
    pub fn new(listed: &[SecretRef], target: SecretRef) -> Result<Self, Loop> {
        if listed.contains(&target) {
            return Err(Loop(target));
        }
        let mut sources: Vec<SecretRef> = Vec::new();
        for source in listed {
            if !sources.contains(source) {
                sources.push(source.clone());
            }
        }
        let identity = Identity {
            name: target.to_string().into(),
            // No UID of an API server has a slash in it.
            uid: Uid::new(format!("refresher/{target}")),
            generation: 0,
            created_seconds: 0,
        };
        let names = vec![NamePattern::new(target.namespace.as_str())];
        let grant = Grant {
            identity,
            sources,
            template: Template {
                name: target.name.clone(),
                labels: [(keys::MANAGED_BY_LABEL.to_owned(), keys::MANAGED_BY.to_owned())].into(),
                ..Template::default()
            },
            recipients: Recipients {
                namespaces: NamespaceTerms { names, ..NamespaceTerms::default() },
                ..Recipients::default()
            },
            ..Grant::default()
        };
        Ok(Self { target, grant })
    }

    /// The Secret that is written.
    pub fn target(&self) -> &SecretRef {
        &self.target
    }

    /// The Secrets that are read, in the order of their precedence.
    pub fn sources(&self) -> &[SecretRef] {
        &self.grant.sources
    }

    /// Who owns the target, as far as the core is concerned.
    pub(crate) fn uid(&self) -> &Uid {
        &self.grant.identity.uid
    }

    /// What a stream would say that is not asked for: the one grant, and the one namespace. Whether the namespace is
    /// there shows when something is written to it.
    pub(crate) fn told(&self, stream: &Stream) -> Option<Vec<Fact>> {
        let fact = match stream {
            Stream::Grants => Fact::Grant(Box::new(GrantFact {
                identity: self.grant.identity.clone(),
                grant: Ok(self.grant.clone()),
                remarks: Vec::new(),
                record: Record::default(),
                tenure: Tenure::default(),
                demand: None,
            })),
            Stream::Namespaces => Fact::Namespace(self.target.namespace.clone(), Namespace::default()),
            Stream::Pods { .. } | Stream::Source(_) | Stream::Targets(..) | Stream::Accounts(..) => {
                return None;
            }
        };
        Some(vec![Fact::Relist(stream.clone()), fact, Fact::Listed(stream.clone())])
    }
}

impl Remit {
    /// What a stream is about, in words.
    pub fn spell(&self, stream: &Stream) -> String {
        match (self, stream) {
            (Remit::Single(single), Stream::Targets(..)) => format!("secret {}", single.target),
            _ => stream.to_string(),
        }
    }

    /// What a failed write means. A namespace that is not there wakes the controller when it comes; where namespaces
    /// are not watched, nothing does, so the write has to be tried again.
    pub(crate) fn judge(&self, namespace: &NamespaceName, fault: Fault) -> Fault {
        match self {
            Remit::Single(_) if fault.class == FaultClass::NamespaceGone => Fault {
                class: FaultClass::Unavailable,
                detail: format!("{}: there is no namespace {namespace}, create it", fault.detail),
            },
            Remit::Single(_) | Remit::Cluster => fault,
        }
    }
}

#[cfg(test)]
mod tests {
    use imps_core::reason::Remedy;
    use imps_core::world::Extent;

    use super::*;

    fn at(name: &str) -> SecretRef {
        SecretRef::new("shop", name)
    }

    #[test]
    fn the_order_of_sources_stands_and_a_second_mention_does_not_count() {
        let single = Single::new(&[at("b"), at("a"), at("b")], at("pull")).unwrap();
        assert_eq!(single.sources(), [at("b"), at("a")]);
    }

    #[test]
    fn a_target_that_feeds_itself_is_refused() {
        let error = Single::new(&[at("a"), at("pull")], at("pull")).unwrap_err();
        assert!(error.to_string().contains("shop/pull is a source and the target"), "{error}");
        // Of the same name in another namespace, it is another Secret.
        assert!(Single::new(&[SecretRef::new("home", "pull")], at("pull")).is_ok());
    }

    #[test]
    fn a_missing_namespace_is_tried_again_and_says_what_to_do() {
        let gone = Fault { class: FaultClass::NamespaceGone, detail: "HTTP 404 NotFound".to_owned() };
        let single = Remit::Single(Arc::new(Single::new(&[at("a")], at("pull")).unwrap()));
        let judged = single.judge(&"shop".into(), gone.clone());
        assert_eq!(judged.remedy(), Remedy::Retry(None));
        assert!(judged.advice().contains("there is no namespace shop, create it"), "{}", judged.advice());
        assert_eq!(Remit::Cluster.judge(&"shop".into(), gone.clone()), gone);
    }

    #[test]
    fn streams_are_spelled_as_they_are_asked_for() {
        let single = Remit::Single(Arc::new(Single::new(&[at("a")], at("pull")).unwrap()));
        let targets = Stream::Targets("pull".into(), Extent::Everywhere);
        assert_eq!(single.spell(&targets), "secret shop/pull");
        assert_eq!(Remit::Cluster.spell(&targets), "secrets named pull in all namespaces");
    }
}
