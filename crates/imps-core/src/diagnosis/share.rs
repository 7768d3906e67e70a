//! What each `ImagePullSecret` gives, gave or would give in one namespace, and by which rule.

use std::collections::BTreeMap;

use super::case::{Granted, Sight, SourceWord, Space};
use super::code::Severity;
use super::excerpt::excerpt;
use super::ownership::{resume, why_unselected};
use crate::grant::{Grant, PodTerm, Verdict};
use crate::holding::{self, Claim, Holding};
use crate::name::{GrantName, NamespaceName, SecretName, Uid};
use crate::selector::Tags;

/// What is known about a namespace.
#[derive(Clone, Debug)]
pub struct Place {
    /// Its name.
    pub namespace: NamespaceName,
    /// Its labels and annotations.
    pub space: Sight<Space>,
    /// Labels and annotations of its pods, but of those that are being deleted.
    pub pods: Sight<Vec<(Tags, Tags)>>,
    /// What stands at the names that `ImagePullSecret`s write, or wrote.
    pub holdings: BTreeMap<SecretName, Sight<Holding>>,
    /// The `ImagePullSecret`s. Absent when the cluster does not know the kind.
    pub grants: Sight<Vec<Granted>>,
}

/// How one Secret of a grant stands in a namespace.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Stance {
    /// It is given, and there.
    Has,
    /// It is to be given, and not there.
    Lacks,
    /// Something of somebody else stands at its name.
    Conflict,
    /// It is there, and no longer given.
    Loses,
    /// It is not given.
    LeftOut,
    /// It could not be determined.
    Unknown,
}

impl Stance {
    /// The words for it.
    pub fn as_str(self) -> &'static str {
        match self {
            Stance::Has => "has",
            Stance::Lacks => "lacks",
            Stance::Conflict => "conflict",
            Stance::Loses => "loses",
            Stance::LeftOut => "left out",
            Stance::Unknown => "unknown",
        }
    }

    /// How bad it is.
    pub fn severity(self) -> Severity {
        match self {
            Stance::Has => Severity::Ok,
            Stance::Lacks | Stance::Conflict => Severity::Error,
            Stance::Loses => Severity::Warning,
            Stance::LeftOut => Severity::Info,
            Stance::Unknown => Severity::Unknown,
        }
    }
}

/// One Secret of one grant in the namespace.
#[derive(Clone, Debug)]
pub struct Share {
    /// The grant.
    pub grant: GrantName,
    /// The Secret; empty where the grant makes no sense.
    pub secret: SecretName,
    /// How it stands.
    pub stance: Stance,
    /// The rule that selects or excludes, or why none speaks for the namespace.
    pub rule: String,
    /// What there is to say beyond that. May be empty.
    pub cause: String,
    /// What to do. May be empty.
    pub remedy: String,
    /// Where its registries come from.
    pub sources: Vec<SourceWord>,
}

/// The shares of all grants that were seen, in their order.
pub fn shares(place: &Place) -> Vec<Share> {
    place.grants.seen().into_iter().flatten().flat_map(|granted| of(place, granted)).collect()
}

fn of(place: &Place, granted: &Granted) -> Vec<Share> {
    let grant = match &granted.grant {
        Ok(grant) => grant,
        Err(problem) => {
            return vec![Share {
                grant: granted.name.clone(),
                secret: SecretName::default(),
                stance: Stance::Unknown,
                rule: String::new(),
                cause: format!(
                    "it makes no sense, and changes nothing until it is corrected: {}",
                    excerpt(problem)
                ),
                remedy: format!("kubectl edit imps {}", granted.name),
                sources: Vec::new(),
            }];
        }
    };
    let petition = Petition { place, granted, grant };
    let target = &grant.template.name;
    let former = granted.former.iter().filter(|name| *name != target);
    let mut shares = vec![petition.current()];
    shares.extend(former.filter(|name| petition.is_own(name)).map(|name| {
        let rule = format!("it now writes {target}");
        petition.share(name, Stance::Loses, rule).cause("imps takes it away when its successor stands")
    }));
    shares
}

/// A grant, as it comes before the namespace.
struct Petition<'p> {
    place: &'p Place,
    granted: &'p Granted,
    grant: &'p Grant,
}

impl<'p> Petition<'p> {
    fn share(&self, secret: &SecretName, stance: Stance, rule: impl Into<String>) -> Share {
        Share {
            grant: self.granted.name.clone(),
            secret: secret.clone(),
            stance,
            rule: rule.into(),
            cause: String::new(),
            remedy: String::new(),
            sources: self.granted.sources.clone(),
        }
    }

    /// The Secret that it writes now.
    fn current(&self) -> Share {
        let (target, namespace) = (&self.grant.template.name, &self.place.namespace);
        let Some(space) = self.place.space.seen() else {
            return self
                .share(target, Stance::Unknown, "")
                .cause(format!("the labels of {namespace} could not be read"))
                .remedy("needs the right to get namespaces; of manifests, Namespaces among them");
        };
        let share = match verdict(self.place, self.grant, space) {
            Some(Verdict::Selected(rule)) => self.selected(space, rule.to_string()),
            Some(Verdict::Excluded { selected, excluded }) => {
                self.unwanted(format!("{selected}, but {excluded}"))
            }
            Some(Verdict::Unselected) => self.unwanted(why_unselected(self.grant, space)),
            None => self
                .share(target, Stance::Unknown, why_unselected(self.grant, space))
                .cause("a pod may select the namespace, and pods could not be read")
                .remedy(format!(
                    "needs the right to list pods in {namespace}; of manifests, Pods among them"
                )),
        };
        if self.grant.suspended && share.stance == Stance::Has && share.cause.is_empty() {
            return share.cause("spec.suspend is true: nothing is written and nothing taken away");
        }
        share
    }

    fn selected(&self, space: &Space, rule: String) -> Share {
        let (target, namespace) = (&self.grant.template.name, &self.place.namespace);
        if self.granted.leaving || space.terminating {
            let share = self.unwanted(rule);
            let who = if space.terminating { "the namespace" } else { "the ImagePullSecret" };
            return share.cause(format!("{who} is being deleted"));
        }
        let told =
            self.granted.failure.as_ref().map(|(reason, message)| excerpt(&format!("{reason}: {message}")));
        let describe = format!("kubectl describe imps {}", self.granted.name);
        let start = if self.grant.suspended { resume(&self.granted.name) } else { describe.clone() };
        match self.sight(target) {
            Sight::Unseen(why) => match told {
                _ if self.granted.conflicts() => self
                    .share(target, Stance::Conflict, rule)
                    .cause(told.unwrap_or_default())
                    .remedy(describe),
                Some(told) => self.share(target, Stance::Lacks, rule).cause(told).remedy(describe),
                None if self.granted.managed => {
                    self.share(target, Stance::Has, rule).cause("by the status; the Secret could not be read")
                }
                None => self.share(target, Stance::Unknown, rule).cause(why).remedy(format!(
                    "needs the right to get secrets in {namespace}; of manifests, Secrets among them"
                )),
            },
            Sight::Absent => {
                let cause = told.unwrap_or_else(|| self.unwritten());
                self.share(target, Stance::Lacks, rule).cause(cause).remedy(start)
            }
            Sight::Seen(held) => self.held(&held, rule, told),
        }
    }

    /// Something stands at the name.
    fn held(&self, holding: &Holding, rule: String, told: Option<String>) -> Share {
        let (target, namespace) = (&self.grant.template.name, &self.place.namespace);
        let own = &self.grant.identity.uid;
        let describe = format!("kubectl describe imps {}", self.granted.name);
        match holding::claim(namespace, target, Some(holding), |uid| self.grant_of(uid).is_some()) {
            Claim::Ours(..) if holding.deleting => {
                let cause = "the Secret is being deleted, and something holds it back";
                self.share(target, Stance::Lacks, rule).cause(cause).remedy(describe)
            }
            Claim::Ours(owned, _) if owned.grant() == own => {
                let share = self.share(target, Stance::Has, rule).cause(told.clone().unwrap_or_default());
                if told.is_some() { share.remedy(describe) } else { share }
            }
            Claim::Ours(owned, _) => match self.grant_of(owned.grant()).filter(|other| self.wants(other)) {
                Some(other) => self
                    .share(target, Stance::Conflict, rule)
                    .cause(format!("imagepullsecret/{} writes this Secret here", other.identity.name))
                    .remedy(
                        "use another spec.target.secret.name, or exclude the namespace from one of the two",
                    ),
                None => self
                    .share(target, Stance::Lacks, rule)
                    .cause("its former ImagePullSecret gave it up, and imps has not taken it over yet")
                    .remedy(describe),
            },
            Claim::Vacant | Claim::Foreign(_) => {
                if holding::adopt(namespace, target, holding, self.grant).is_some() {
                    let cause =
                        "somebody else's Secret stands there, may be taken over, and has not been yet";
                    return self.share(target, Stance::Lacks, rule).cause(cause).remedy(describe);
                }
                self.share(target, Stance::Conflict, rule)
                    .cause("imps leaves the Secret alone, as it did not make it")
                    .remedy(format!(
                        "delete {namespace}/{target}, or let it be taken over: spec.target.secret.adopt, or the \
                         annotation adopt on the Secret"
                    ))
            }
        }
    }

    /// The namespace is not to have it.
    fn unwanted(&self, rule: String) -> Share {
        let target = &self.grant.template.name;
        match self.sight(target) {
            _ if self.is_own(target) => {
                self.share(target, Stance::Loses, rule).cause(if self.grant.suspended {
                    "the Secret stays as long as spec.suspend is true"
                } else {
                    "imps takes the Secret away"
                })
            }
            Sight::Unseen(_) if self.granted.managed => self
                .share(target, Stance::Loses, rule)
                .cause("by the status the Secret is still there; it could not be read"),
            _ => self.share(target, Stance::LeftOut, rule),
        }
    }

    fn unwritten(&self) -> String {
        if self.grant.suspended {
            "nothing is written while spec.suspend is true".to_owned()
        } else if self.granted.reported {
            "there is no such Secret, and the status says nothing of a failure here; see whether imps runs"
                .to_owned()
        } else {
            "there is no such Secret and no status: imps does not run, or has not seen it yet".to_owned()
        }
    }

    fn sight(&self, secret: &SecretName) -> Sight<Holding> {
        let unseen = || Sight::Unseen("nobody looked".to_owned());
        self.place.holdings.get(secret).cloned().unwrap_or_else(unseen)
    }

    /// Whether the Secret of this name is there and of this grant.
    fn is_own(&self, secret: &SecretName) -> bool {
        let Sight::Seen(holding) = self.sight(secret) else { return false };
        holding.is_of(&self.grant.identity.uid)
    }

    fn grant_of(&self, uid: &Uid) -> Option<&'p Grant> {
        let mut grants = self.place.grants.seen()?.iter().filter_map(|granted| granted.grant.as_ref().ok());
        grants.find(|grant| grant.identity.uid == *uid)
    }

    /// Whether another grant gives the same Secret here.
    fn wants(&self, other: &Grant) -> bool {
        let selects = self.place.space.seen().and_then(|space| verdict(self.place, other, space));
        other.template.name == self.grant.template.name && matches!(selects, Some(Verdict::Selected(_)))
    }
}

/// What a grant means for the namespace; none when it hangs on pods that were not seen.
fn verdict(place: &Place, grant: &Grant, space: &Space) -> Option<Verdict> {
    let pods = place.pods.seen();
    let has_pod = |term: &PodTerm| {
        pods.is_some_and(|pods| pods.iter().any(|(labels, annotations)| term.matches(labels, annotations)))
    };
    let verdict = grant.recipients.decide(&place.namespace, &space.labels, &space.annotations, has_pod);
    let open = pods.is_none() && verdict == Verdict::Unselected && !grant.recipients.pods.is_empty();
    (!open).then_some(verdict)
}

impl Share {
    fn cause(self, cause: impl Into<String>) -> Self {
        Self { cause: cause.into(), ..self }
    }

    fn remedy(self, remedy: impl Into<String>) -> Self {
        Self { remedy: remedy.into(), ..self }
    }
}
