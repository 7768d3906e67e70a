//! A grant: what one `ImagePullSecret` gives, to whom, from which sources. It exists only when the object made sense.

use std::fmt;

use crate::name::{GrantName, NamespaceName, SecretName, SecretRef, Uid};
use crate::selector::{NamePattern, Selector, Tags};

/// Which `ImagePullSecret` is spoken of.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Identity {
    /// Its name.
    pub name: GrantName,
    /// Its UID: a recreated object of the same name is another grant.
    pub uid: Uid,
    /// `metadata.generation` that was read.
    pub generation: i64,
    /// Seconds since the epoch of its creation. Of two grants for one target the older wins.
    pub created_seconds: i64,
}

impl Identity {
    /// Who wins a contested target: the older grant, and of two of the same second the one with the smaller UID.
    pub fn seniority(&self) -> (i64, &Uid) {
        (self.created_seconds, &self.uid)
    }
}

/// What one `ImagePullSecret` asks for.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Grant {
    /// Which object this is.
    pub identity: Identity,
    /// Where the credentials come from; the written order is the precedence, first wins. No source is listed twice.
    pub sources: Vec<SecretRef>,
    /// What is written.
    pub template: Template,
    /// Who gets it.
    pub recipients: Recipients,
    /// The ServiceAccounts of a recipient that name the Secret, so that their pods pull with it.
    pub accounts: Vec<NamePattern>,
    /// Hold still: nothing is written and nothing is taken away.
    pub suspended: bool,
}

/// The Secret that every recipient gets, but for the credentials.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Template {
    /// Its name in each namespace.
    pub name: SecretName,
    /// Labels that the user wants on it; none of them is ours.
    pub labels: Tags,
    /// Annotations that the user wants on it; none of them is ours.
    pub annotations: Tags,
    /// A Secret that stands at the name already is taken over.
    pub adopt: bool,
}

/// An annotation by which whoever owns a namespace keeps it from getting anything.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct OptOut {
    /// The key of the annotation.
    pub key: &'static str,
    /// The values that mean it, in any case.
    pub values: &'static [&'static str],
    /// Whose annotation it is.
    pub by: &'static str,
}

impl OptOut {
    /// Whether the annotations of a namespace say so.
    pub fn is_set(&self, annotations: &Tags) -> bool {
        let means_it = |value: &String| self.values.iter().any(|known| known.eq_ignore_ascii_case(value));
        annotations.get(self.key).is_some_and(means_it)
    }
}

/// Which namespaces get the Secret: any rule selects, `exclude` wins over all of them.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Recipients {
    /// By what a namespace is.
    pub namespaces: NamespaceTerms,
    /// By a pod in the namespace.
    pub pods: Vec<PodTerm>,
    /// Who never gets it.
    pub exclude: NamespaceTerms,
    /// How a namespace says itself that it does not want it.
    pub opt_outs: &'static [OptOut],
}

/// Rules about namespaces; any of them suffices.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct NamespaceTerms {
    /// By name.
    pub names: Vec<NamePattern>,
    /// By label.
    pub labels: Vec<Selector>,
    /// By annotation.
    pub annotations: Vec<Selector>,
}

/// A question about a pod, which one pod in a namespace has to answer with yes.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum PodTerm {
    /// Its labels match.
    Label(Selector),
    /// Its annotations match.
    Annotation(Selector),
}

impl PodTerm {
    /// Whether a pod with these labels and annotations is meant.
    pub fn matches(&self, labels: &Tags, annotations: &Tags) -> bool {
        match self {
            PodTerm::Label(selector) => selector.matches(labels),
            PodTerm::Annotation(selector) => selector.matches(annotations),
        }
    }
}

/// The rule that decided, in words that are short enough for a table.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct Rule(String);

impl fmt::Display for Rule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0)
    }
}

/// What a grant means for a namespace.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Verdict {
    /// The namespace gets the Secret.
    Selected(Rule),
    /// A rule selects it, and an exclusion forbids it.
    Excluded {
        /// The rule that would have selected it.
        selected: Rule,
        /// The exclusion that won.
        excluded: Rule,
    },
    /// No rule selects it.
    Unselected,
}

impl Recipients {
    /// Decides for one namespace. `has_pod` says whether a living pod there answers a term with yes.
    pub fn decide(
        &self,
        name: &NamespaceName,
        labels: &Tags,
        annotations: &Tags,
        has_pod: impl Fn(&PodTerm) -> bool,
    ) -> Verdict {
        let by_namespace = self.namespaces.first_rule("namespace", name, labels, annotations);
        let selected = by_namespace.or_else(|| {
            self.pods.iter().find(|term| has_pod(term)).map(|term| match term {
                PodTerm::Label(selector) => Rule(format!("pod label {selector}")),
                PodTerm::Annotation(selector) => Rule(format!("pod annotation {selector}")),
            })
        });
        let Some(selected) = selected else { return Verdict::Unselected };
        let excluded = self.exclude.first_rule("exclude", name, labels, annotations);
        let excluded = excluded.or_else(|| {
            let opt_out = self.opt_outs.iter().find(|opt_out| opt_out.is_set(annotations))?;
            Some(Rule(format!("the namespace's annotation {}", opt_out.key)))
        });
        match excluded {
            Some(excluded) => Verdict::Excluded { selected, excluded },
            None => Verdict::Selected(selected),
        }
    }

    /// Of a namespace that no rule speaks for: each rule, and what the namespace has instead. Rules about pods are
    /// named only, as it takes all pods of the namespace to tell.
    pub fn refusals(&self, labels: &Tags, annotations: &Tags) -> Vec<String> {
        let names = self.namespaces.names.iter().map(|pattern| format!("namespace name {pattern}"));
        let tagged = |kind: &'static str, selectors: &[Selector], tags: &Tags| -> Vec<String> {
            let complaints = selectors.iter().filter_map(|selector| selector.complaint(tags));
            complaints.map(|complaint| format!("namespace {kind} {complaint}")).collect()
        };
        let pods = self.pods.iter().map(|term| match term {
            PodTerm::Label(selector) => format!("pod label {selector}"),
            PodTerm::Annotation(selector) => format!("pod annotation {selector}"),
        });
        names
            .chain(tagged("label", &self.namespaces.labels, labels))
            .chain(tagged("annotation", &self.namespaces.annotations, annotations))
            .chain(pods)
            .collect()
    }

    /// Whether nobody can ever be selected, which is legal and worth saying.
    pub fn is_empty(&self) -> bool {
        self.namespaces == NamespaceTerms::default() && self.pods.is_empty()
    }
}

impl NamespaceTerms {
    /// The first rule that speaks about the namespace, in the order names, labels, annotations.
    fn first_rule(
        &self,
        kind: &str,
        name: &NamespaceName,
        labels: &Tags,
        annotations: &Tags,
    ) -> Option<Rule> {
        if let Some(pattern) = self.names.iter().find(|pattern| pattern.matches(name.as_str())) {
            return Some(Rule(format!("{kind} name {pattern}")));
        }
        if let Some(selector) = self.labels.iter().find(|selector| selector.matches(labels)) {
            return Some(Rule(format!("{kind} label {selector}")));
        }
        let annotated = self.annotations.iter().find(|selector| selector.matches(annotations));
        annotated.map(|selector| Rule(format!("{kind} annotation {selector}")))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tag(key: &str, value: &str) -> Tags {
        Tags::from([(key.to_owned(), value.to_owned())])
    }

    fn label(key: &str, value: &str) -> Selector {
        Selector::exactly([(key.to_owned(), value.to_owned())])
    }

    fn decide(recipients: &Recipients, name: &str, labels: &Tags, annotations: &Tags) -> Verdict {
        recipients.decide(&name.into(), labels, annotations, |_| false)
    }

    #[test]
    fn an_empty_target_selects_nothing() {
        let none = Tags::new();
        assert_eq!(decide(&Recipients::default(), "shop", &none, &none), Verdict::Unselected);
        assert!(Recipients::default().is_empty());
    }

    #[test]
    fn any_rule_selects_and_says_which() {
        let namespaces = NamespaceTerms {
            names: vec![NamePattern::new("team-*")],
            labels: vec![label("tier", "web")],
            annotations: vec![label("inject", "true")],
        };
        let pods = vec![PodTerm::Label(label("app", "x"))];
        let recipients = Recipients { namespaces, pods, ..Recipients::default() };
        let none = Tags::new();
        let rule = |verdict| match verdict {
            Verdict::Selected(rule) => rule.to_string(),
            other => panic!("{other:?}"),
        };
        assert_eq!(rule(decide(&recipients, "team-a", &none, &none)), "namespace name team-*");
        assert_eq!(rule(decide(&recipients, "shop", &tag("tier", "web"), &none)), "namespace label tier=web");
        assert_eq!(
            rule(decide(&recipients, "shop", &none, &tag("inject", "true"))),
            "namespace annotation inject=true"
        );
        assert_eq!(rule(recipients.decide(&"shop".into(), &none, &none, |_| true)), "pod label app=x");
        assert_eq!(decide(&recipients, "shop", &none, &none), Verdict::Unselected);
    }

    #[test]
    fn exclude_wins_over_every_rule() {
        let everything = Recipients {
            namespaces: NamespaceTerms {
                names: vec![NamePattern::new("*")],
                labels: vec![Selector::default()],
                annotations: vec![Selector::default()],
            },
            pods: vec![PodTerm::Label(Selector::default())],
            exclude: NamespaceTerms {
                names: vec![NamePattern::new("kube-*")],
                labels: vec![label("pull", "no")],
                annotations: vec![label("pull", "never")],
            },
            opt_outs: &[OptOut { key: "tool/ignore", values: &["true", "1"], by: "tool" }],
        };
        let none = Tags::new();
        let excluded = |verdict| matches!(verdict, Verdict::Excluded { .. });
        assert!(excluded(everything.decide(&"kube-system".into(), &none, &none, |_| true)));
        assert!(excluded(everything.decide(&"shop".into(), &tag("pull", "no"), &none, |_| true)));
        assert!(excluded(everything.decide(&"shop".into(), &none, &tag("pull", "never"), |_| true)));
        assert!(!excluded(everything.decide(&"shop".into(), &tag("pull", "never"), &none, |_| true)));
        for (value, ignored) in [("true", true), ("TRUE", true), ("1", true), ("false", false), ("", false)] {
            let verdict = everything.decide(&"shop".into(), &none, &tag("tool/ignore", value), |_| true);
            assert_eq!(excluded(verdict), ignored, "{value:?}");
        }
    }
}
