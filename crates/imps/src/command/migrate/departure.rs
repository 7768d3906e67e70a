//! What there is to do to leave another tool: objects to apply, steps in their order, and what will not be as before.

use std::collections::BTreeMap;

use imps_api::image_pull_secret::{
    Exclude, ImagePullSecret, ImagePullSecretSpec, NamespaceSelector, NamespacedName, ObjectSelector,
    RegistryConfig, ServiceAccountSelector, TargetConfig, TargetSecretConfig,
};
use imps_core::name::SecretRef;
use imps_core::source::Document;
use serde_json::{Value, json};

use super::held::Held;

/// All there is to do.
#[derive(Default)]
pub(super) struct Departure {
    /// What was found of the other tool.
    pub(super) found: Vec<String>,
    /// Secrets that the new objects read.
    pub(super) sources: Vec<Source>,
    /// The new objects.
    pub(super) grants: Vec<ImagePullSecret>,
    /// What to do, to be put in order by [`Departure::steps`].
    steps: Vec<(Phase, Step)>,
    /// What cannot be taken over in place, or not at all.
    pub(super) left_behind: Vec<String>,
    /// What is not as before.
    pub(super) differences: Vec<String>,
    /// What is wrong with what was found, or could not be seen.
    pub(super) problems: Vec<String>,
}

/// When something is done; the order is that of the steps.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(super) enum Phase {
    /// imps comes to the cluster.
    Install,
    /// It gets the identity that it pulls with.
    Identity,
    /// Sources that are not among the objects are made.
    Sources,
    /// The other tool stops writing.
    Stop,
    /// The objects are applied.
    Apply,
    /// What cannot be changed in place makes room.
    Replace,
    /// All is checked.
    Check,
    /// The other tool goes.
    Remove,
}

/// Something to do.
#[derive(Clone, PartialEq, Eq, Debug, serde::Serialize)]
pub(super) struct Step {
    /// In words.
    pub(super) text: String,
    /// As shell commands.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(super) commands: Vec<String>,
}

/// A Secret to be made.
pub(super) struct Source {
    /// Its name.
    pub(super) at: SecretRef,
    /// Its type.
    pub(super) secret_type: String,
    /// Its content.
    pub(super) fields: Vec<Field>,
}

/// A key of a Secret to be made.
pub(super) struct Field {
    /// The key.
    pub(super) key: &'static str,
    /// Its value.
    pub(super) value: Content,
}

/// The value of a key.
pub(super) enum Content {
    /// Fit to be seen.
    Plain(String),
    /// A credential, or something that could not be looked at.
    Kept(Held),
}

impl Departure {
    /// Adds something to do.
    pub(super) fn step(&mut self, phase: Phase, text: impl Into<String>, commands: Vec<String>) {
        self.steps.push((phase, Step { text: text.into(), commands }));
    }

    /// All there is to do, in order.
    pub(super) fn steps(&self) -> Vec<Step> {
        let mut steps: Vec<&(Phase, Step)> = self.steps.iter().collect();
        steps.sort_by_key(|(phase, _)| *phase);
        steps.into_iter().map(|(_, step)| step.clone()).collect()
    }

    /// Adds an object, unless there is one of that name, which is then said.
    pub(super) fn grant(&mut self, duty: Duty<'_>) {
        let name = duty.name;
        if self.names().any(|known| known == name) {
            self.problems.push(format!(
                "more than one workload writes Secrets of the name {name}; only the first is carried over"
            ));
        } else {
            self.grants.push(duty.into());
        }
    }

    /// The name of a new object.
    pub(super) fn names(&self) -> impl Iterator<Item = &str> {
        self.grants.iter().filter_map(|grant| grant.metadata.name.as_deref())
    }
}

/// What an `ImagePullSecret` is to do that another tool did: it takes over the Secrets that stand, and attaches them.
pub(super) struct Duty<'a> {
    /// Its name.
    pub(super) name: &'a str,
    /// The name of the Secrets.
    pub(super) secret: &'a str,
    /// The Secret that it reads.
    pub(super) source: &'a SecretRef,
    /// Names of namespaces; all of them when empty.
    pub(super) namespaces: Vec<String>,
    /// Names of namespaces that are left out.
    pub(super) exclude: Vec<String>,
    /// The ServiceAccounts that it attaches to.
    pub(super) service_accounts: &'a str,
}

impl From<Duty<'_>> for ImagePullSecret {
    fn from(duty: Duty<'_>) -> Self {
        let mut namespaces = NamespaceSelector { names: duty.namespaces, ..NamespaceSelector::default() };
        if namespaces.names.is_empty() {
            // An empty selector matches all namespaces.
            namespaces.labels.push(Default::default());
        }
        let credentials = vec![NamespacedName {
            name: duty.source.name.to_string(),
            namespace: duty.source.namespace.to_string(),
        }];
        let exclude = Exclude { names: duty.exclude, ..Exclude::default() };
        let target = TargetConfig {
            secret: TargetSecretConfig {
                name: duty.secret.to_owned(),
                adopt: true,
                labels: BTreeMap::new(),
                annotations: BTreeMap::new(),
            },
            namespaces,
            namespaces_with_pods: ObjectSelector::default(),
            exclude: (!exclude.names.is_empty()).then_some(exclude),
            service_accounts: ServiceAccountSelector { names: vec![duty.service_accounts.to_owned()] },
        };
        let registry = RegistryConfig { credentials };
        Self::new(duty.name, ImagePullSecretSpec { registry, target, suspend: false })
    }
}

impl Source {
    /// Whether it can be printed: nothing in it is a credential, or the user wants to see them and all are known.
    pub(super) fn is_printable(&self, with_credentials: bool) -> bool {
        self.fields.iter().all(|field| match &field.value {
            Content::Plain(_) => true,
            Content::Kept(held) => with_credentials && held.is_known(),
        })
    }

    /// The Secret as imps would read it, if all of it is known.
    pub(super) fn document(&self) -> Option<Document> {
        let mut document = Document { secret_type: self.secret_type.clone(), ..Document::default() };
        for field in &self.fields {
            let text = match &field.value {
                Content::Plain(text) => text,
                Content::Kept(held) => held.credential()?,
            };
            document.data.insert(field.key.to_owned(), text.as_bytes().to_vec().into());
        }
        Some(document)
    }

    /// The Secret as a manifest.
    pub(super) fn manifest(&self) -> Value {
        let data: serde_json::Map<String, Value> = self
            .fields
            .iter()
            .map(|field| {
                let text = match &field.value {
                    Content::Plain(text) => text,
                    Content::Kept(held) => held.credential().unwrap_or_default(),
                };
                (field.key.to_owned(), text.into())
            })
            .collect();
        json!({
            "apiVersion": "v1",
            "kind": "Secret",
            "metadata": {"name": self.at.name.as_str(), "namespace": self.at.namespace.as_str()},
            "type": self.secret_type,
            "stringData": data,
        })
    }

    /// The values that no command can fetch, by key and place.
    pub(super) fn out_of_reach(&self) -> impl Iterator<Item = String> {
        self.fields.iter().filter_map(|Field { key, value }| match value {
            Content::Kept(held) if held.whence.fetch().is_none() => {
                Some(format!("put into a file {key} what the {} is", held.whence.in_words()))
            }
            _ => None,
        })
    }

    /// Whether it would be printed with credentials in it.
    pub(super) fn is_confidential(&self) -> bool {
        self.fields.iter().any(|field| matches!(field.value, Content::Kept(_)))
    }

    /// The command that makes it out of what is in the cluster, for bash: no credential passes through arguments.
    pub(super) fn command(&self) -> String {
        let SecretRef { namespace, name } = &self.at;
        let mut command =
            format!("kubectl create secret generic {name} -n {namespace} --type={}", self.secret_type);
        for Field { key, value } in &self.fields {
            let argument = match value {
                Content::Plain(text) => format!("--from-literal={key}={}", quoted(text)),
                Content::Kept(held) => match held.whence.fetch() {
                    Some(fetch) => format!("--from-file={key}=<({fetch})"),
                    None => format!("--from-file={key}={key}"),
                },
            };
            command.push_str(&format!(" \\\n  {argument}"));
        }
        command
    }
}

/// A word for the shell, on one line.
fn quoted(text: &str) -> String {
    let text: String = text.chars().map(|c| if c.is_control() { ' ' } else { c }).collect();
    let plain = |c: char| c.is_ascii_alphanumeric() || "-_./:,@".contains(c);
    if !text.is_empty() && text.chars().all(plain) {
        text
    } else {
        format!("'{}'", text.replace('\'', r"'\''"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_word_for_the_shell_is_one_word_whatever_it_holds() {
        for (text, word) in [
            ("us-east-1", "us-east-1"),
            ("arn:aws:iam::1:role/a", "arn:aws:iam::1:role/a"),
            ("", "''"),
            ("a b", "'a b'"),
            ("$(reboot)", "'$(reboot)'"),
            ("it's", r"'it'\''s'"),
            ("a\n# b", "'a # b'"),
        ] {
            assert_eq!(quoted(text), word, "{text:?}");
        }
    }

    #[test]
    fn two_objects_never_have_one_name() {
        let mut departure = Departure::default();
        let at = SecretRef::new("a", "b");
        let duty = |secret: &'static str| Duty {
            name: "pull",
            secret,
            source: &at,
            namespaces: Vec::new(),
            exclude: Vec::new(),
            service_accounts: "default",
        };
        departure.grant(duty("pull"));
        departure.grant(duty("other"));
        assert_eq!(departure.names().collect::<Vec<_>>(), ["pull"]);
        assert_eq!(departure.problems.len(), 1);
    }
}
