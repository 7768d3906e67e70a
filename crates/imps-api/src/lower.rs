//! From the wire to the core: an `ImagePullSecret` becomes a grant, or a list of all that is wrong with it.

use std::collections::BTreeMap;

use imps_core::grant::{Grant, Identity, NamespaceTerms, PodTerm, Recipients, Template};
use imps_core::holding::Version;
use imps_core::name::{SecretName, SecretRef, Uid, is_dns_label, is_dns_subdomain};
use imps_core::selector::{NamePattern, Selector, SelectorFault, Tags};
use imps_core::world::{GrantFact, Lived, Record, Rejection, Tenure};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{LabelSelector, LabelSelectorRequirement, ObjectMeta};

use crate::image_pull_secret::{AnnotationSelector, ImagePullSecret, ImagePullSecretStatus};
use crate::keys::{
    ACCOUNTS_FINALIZER, LEGACY_COPY_ANNOTATION, OPT_OUTS, OWNER_UID_LABEL, REFRESH_ANNOTATION,
    REFRESH_CHARS_MAX, RESERVED_PREFIX,
};

/// Reads an object as the API server shows it. One without a UID (from a file) is known by its name.
pub fn lower(object: &ImagePullSecret) -> GrantFact {
    let name = object.metadata.name.clone().unwrap_or_default();
    let identity = Identity {
        uid: Uid::new(object.metadata.uid.as_deref().unwrap_or(&name)),
        name: name.into(),
        generation: object.metadata.generation.unwrap_or_default(),
        created_seconds: object.metadata.creation_timestamp.as_ref().map_or(0, |time| time.0.as_second()),
    };
    let mut reader = Reader::default();
    let grant = reader.grant(object, &identity);
    let demand = reader.demand(&object.metadata);
    let grant = if reader.rejections.is_empty() { Ok(grant) } else { Err(reader.rejections) };
    GrantFact {
        identity,
        grant,
        remarks: reader.remarks,
        record: object.status.as_ref().map(record).unwrap_or_default(),
        tenure: tenure(&object.metadata),
        demand,
    }
}

/// What the metadata of an object says about its end.
pub fn tenure(metadata: &ObjectMeta) -> Tenure {
    let held = metadata.finalizers.iter().flatten().any(|finalizer| finalizer == ACCOUNTS_FINALIZER);
    Tenure { held, deleting: metadata.deletion_timestamp.is_some() }
}

/// What the status remembers of an earlier process.
fn record(status: &ImagePullSecretStatus) -> Record {
    let registries = status
        .sources
        .iter()
        .map(|source| {
            let at = SecretRef::new(source.namespace.as_str(), source.name.as_str());
            (at, source.registries.iter().cloned().collect())
        })
        .collect();
    let lives = status.sources.iter().filter_map(|source| {
        let lived = Lived {
            expires: source.expires_at?.as_second(),
            renew: source.next_refresh.map(|at| at.as_second()),
            of: (source.uid.as_str().into(), Version::parse(&source.resource_version)),
        };
        Some((SecretRef::new(source.namespace.as_str(), source.name.as_str()), lived))
    });
    let account_names = status.service_accounts.iter().flat_map(|accounts| &accounts.names);
    let ready = status.conditions.iter().find(|condition| condition.kind == "Ready");
    Record {
        registries,
        lives: lives.collect(),
        secret_names: status.secret_names.iter().map(SecretName::new).collect(),
        account_names: account_names.map(NamePattern::new).collect(),
        ready: ready.map(|condition| (condition.reason.clone(), condition.message.clone())),
        met: Some(status.last_handled_refresh_at.clone()).filter(|met| !met.is_empty()),
    }
}

#[derive(Default)]
struct Reader {
    rejections: Vec<Rejection>,
    remarks: Vec<String>,
}

impl Reader {
    fn grant(&mut self, object: &ImagePullSecret, identity: &Identity) -> Grant {
        let spec = &object.spec;
        let target = &spec.target;
        let mut sources: Vec<SecretRef> = Vec::new();
        for (index, source) in spec.registry.credentials.iter().enumerate() {
            let path = format!("spec.registry.credentials[{index}]");
            if !is_dns_label(&source.namespace) {
                self.reject(format!("{path}.namespace"), "not the name of a namespace".to_owned());
            }
            if !is_dns_subdomain(&source.name) {
                self.reject(format!("{path}.name"), "not the name of a Secret".to_owned());
            }
            let at = SecretRef::new(source.namespace.as_str(), source.name.as_str());
            if sources.contains(&at) {
                self.remarks.push(format!("{path} is listed twice; the first place counts"));
            } else {
                sources.push(at);
            }
        }
        if !is_dns_subdomain(&target.secret.name) {
            let problem = "not the name of a Secret: lower-case letters, digits, - and . only".to_owned();
            self.reject("spec.target.secret.name".to_owned(), problem);
        }
        let mut labels = self.tags("spec.target.secret.labels", &target.secret.labels, is_label_value);
        labels.insert(OWNER_UID_LABEL.to_owned(), identity.uid.to_string());
        let annotations = self.tags("spec.target.secret.annotations", &target.secret.annotations, |_| true);
        let accounts = &target.service_accounts.names;
        for (index, name) in accounts.iter().enumerate() {
            // A letter in place of the stars: what then is a name is a name with stars in it.
            if !is_dns_subdomain(&name.replace('*', "x")) {
                self.reject(
                    format!("spec.target.serviceAccounts.names[{index}]"),
                    "not the name of a ServiceAccount, nor a pattern with *".to_owned(),
                );
            }
        }
        let excluded = target.exclude.clone().unwrap_or_default();
        let pods = &target.namespaces_with_pods;
        let pod_labels = self.labels("spec.target.namespacesWithPods.labels", &pods.labels);
        let pod_annotations =
            self.annotations("spec.target.namespacesWithPods.annotations", &pods.annotations);
        let namespaces = &target.namespaces;
        let recipients = Recipients {
            namespaces: NamespaceTerms {
                names: namespaces.names.iter().map(NamePattern::new).collect(),
                labels: self.labels("spec.target.namespaces.labels", &namespaces.labels),
                annotations: self.annotations("spec.target.namespaces.annotations", &namespaces.annotations),
            },
            pods: pod_labels
                .into_iter()
                .map(PodTerm::Label)
                .chain(pod_annotations.into_iter().map(PodTerm::Annotation))
                .collect(),
            exclude: NamespaceTerms {
                names: excluded.names.iter().map(NamePattern::new).collect(),
                labels: self.labels("spec.target.exclude.labels", &excluded.labels),
                annotations: self.annotations("spec.target.exclude.annotations", &excluded.annotations),
            },
            opt_outs: OPT_OUTS,
        };
        Grant {
            identity: identity.clone(),
            sources,
            template: Template {
                name: SecretName::new(&target.secret.name),
                labels,
                annotations,
                adopt: target.secret.adopt,
            },
            recipients,
            accounts: accounts.iter().map(NamePattern::new).collect(),
            suspended: spec.suspend,
        }
    }

    /// What stands in the status afterwards has to fit there: anything else is no demand.
    fn demand(&mut self, metadata: &ObjectMeta) -> Option<String> {
        let value =
            metadata.annotations.as_ref()?.get(REFRESH_ANNOTATION).filter(|value| !value.is_empty())?;
        let printable = value.bytes().all(|byte| byte == b' ' || byte.is_ascii_graphic());
        if !printable || value.len() > REFRESH_CHARS_MAX {
            self.remarks.push(format!(
                "metadata.annotations: {REFRESH_ANNOTATION} is ignored, as it is not of at most \
                 {REFRESH_CHARS_MAX} printable ASCII characters"
            ));
            return None;
        }
        Some(value.clone())
    }

    fn reject(&mut self, path: String, problem: String) {
        self.rejections.push(Rejection { path, problem });
    }

    /// Labels or annotations of the template. What is ours is left out, what the API server would refuse is rejected
    /// here, where the message can name the field, and not in every namespace.
    fn tags(&mut self, path: &str, tags: &BTreeMap<String, String>, fits: fn(&str) -> bool) -> Tags {
        let mut taken = Tags::new();
        for (key, value) in tags {
            if key.starts_with(RESERVED_PREFIX) || key == LEGACY_COPY_ANNOTATION {
                self.remarks.push(format!("{path}: {key} belongs to imps and is left out"));
            } else if !is_qualified_name(key) {
                self.reject(
                    format!("{path}[{key:?}]"),
                    "not a valid key: [prefix/]name of at most 63 characters".to_owned(),
                );
            } else if !fits(value) {
                let problem = "not a valid label value: at most 63 letters, digits, -, _ and .".to_owned();
                self.reject(format!("{path}[{key:?}]"), problem);
            } else {
                taken.insert(key.clone(), value.clone());
            }
        }
        taken
    }

    fn labels(&mut self, path: &str, selectors: &[LabelSelector]) -> Vec<Selector> {
        let one = |selector: &LabelSelector| {
            let exact = selector.match_labels.clone().unwrap_or_default();
            and_all(Selector::exactly(exact), selector.match_expressions.as_deref().unwrap_or_default())
        };
        self.selectors(path, selectors.iter().map(one))
    }

    fn annotations(&mut self, path: &str, selectors: &[AnnotationSelector]) -> Vec<Selector> {
        let one = |selector: &AnnotationSelector| {
            and_all(Selector::exactly(selector.match_annotations.clone()), &selector.match_expressions)
        };
        self.selectors(path, selectors.iter().map(one))
    }

    fn selectors(
        &mut self,
        path: &str,
        parsed: impl Iterator<Item = Result<Selector, SelectorFault>>,
    ) -> Vec<Selector> {
        let mut good = Vec::new();
        for (index, selector) in parsed.enumerate() {
            match selector {
                Ok(selector) => good.push(selector),
                Err(fault) => self.reject(format!("{path}[{index}]"), fault.to_string()),
            }
        }
        good
    }
}

fn and_all(selector: Selector, expressions: &[LabelSelectorRequirement]) -> Result<Selector, SelectorFault> {
    expressions.iter().try_fold(selector, |selector, expression| {
        selector.and(&expression.key, &expression.operator, expression.values.as_deref().unwrap_or_default())
    })
}

/// Whether the API server would take the text as a label's value
/// (kubernetes/apimachinery:pkg/util/validation/validation.go `IsValidLabelValue`).
fn is_label_value(text: &str) -> bool {
    text.is_empty() || is_name_part(text)
}

/// Whether the API server would take the text as the key of a label or an annotation (`IsQualifiedName`).
fn is_qualified_name(text: &str) -> bool {
    match text.split_once('/') {
        Some((prefix, name)) => is_dns_subdomain(prefix) && is_name_part(name),
        None => is_name_part(text),
    }
}

fn is_name_part(text: &str) -> bool {
    let bytes = text.as_bytes();
    let edge = |byte: Option<&u8>| byte.is_some_and(u8::is_ascii_alphanumeric);
    text.len() <= 63
        && edge(bytes.first())
        && edge(bytes.last())
        && bytes.iter().all(|b| b.is_ascii_alphanumeric() || b"-_.".contains(b))
}
