//! A value of another tool's configuration and where it is kept, so that it can be fetched without being printed.

use imps_core::name::{SecretRef, is_dns_label, is_dns_subdomain};
use imps_core::token::Token;

/// What the add-on of Minikube writes for everything that is not configured
/// (kubernetes/minikube:cmd/minikube/cmd/config/configure.go), and the samples of the tool itself
/// (upmc-enterprises/registry-creds:k8s/secret.yaml, `Y2hhbmdlbWU=`).
const UNSET: &str = "changeme";

/// A value and where it is kept; no value when that could not be looked at.
#[derive(Clone)]
pub(super) struct Held {
    /// The value.
    pub(super) value: Option<Token>,
    /// Where it is kept.
    pub(super) whence: Whence,
}

/// Where a value is kept.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) enum Whence {
    /// In a Secret or ConfigMap.
    Key {
        /// `secret` or `configmap`, as `kubectl` has it.
        kind: &'static str,
        /// Which one.
        at: SecretRef,
        /// Under which key.
        key: String,
    },
    /// In the manifest of a workload, as a variable.
    Variable {
        /// `deployment/registry-creds`, as `kubectl` has it.
        workload: String,
        /// Its namespace.
        namespace: String,
        /// Name of the container.
        container: String,
        /// Name of the variable.
        name: String,
    },
    /// In the manifest of a workload, as this argument.
    Argument(String),
}

impl Held {
    /// Whether it could be looked at.
    pub(super) fn is_known(&self) -> bool {
        self.value.is_some()
    }

    /// Whether it says something, as far as is known.
    pub(super) fn is_set(&self) -> bool {
        self.value.as_ref().is_none_or(|value| {
            let text = value.reveal().trim();
            !text.is_empty() && text != UNSET
        })
    }

    /// The text of a setting that is no credential, though it may stand beside some: a host, an account, a region.
    pub(super) fn plain(&self) -> Option<&str> {
        self.value.as_ref().map(|value| value.reveal().trim())
    }

    /// The text of a credential, to be handed to the user who asked for it with `--with-credentials`.
    pub(super) fn credential(&self) -> Option<&str> {
        self.value.as_ref().map(Token::reveal)
    }

    /// `type` of a credential of Google that is a JSON document; which kind of login it is is no secret.
    pub(super) fn json_type(&self) -> Option<String> {
        let document: serde_json::Value = serde_json::from_str(self.credential()?).ok()?;
        document["type"].as_str().map(str::to_owned)
    }
}

impl Whence {
    /// For people: `key AWS_ACCESS_KEY_ID of the secret kube-system/registry-creds-ecr`.
    pub(super) fn in_words(&self) -> String {
        match self {
            Whence::Key { kind, at, key } => format!("key {key} of the {kind} {at}"),
            Whence::Variable { workload, namespace, name, .. } => {
                format!("variable {name} in the manifest of {workload} in {namespace}")
            }
            Whence::Argument(flag) => format!("argument --{flag}"),
        }
    }

    /// The shell command that prints the value, if one can. Names that the API server would not take make none, so that
    /// no manifest writes a command.
    pub(super) fn fetch(&self) -> Option<String> {
        match self {
            Whence::Key { at, key, .. } if !(is_named(at) && is_key(key)) => None,
            Whence::Variable { container, name, .. } if !(is_dns_label(container) && is_key(name)) => None,
            Whence::Key { kind, at, key } => {
                let SecretRef { namespace, name } = at;
                let path = key.replace('.', "\\.");
                let decode = if *kind == "secret" { " | base64 -d" } else { "" };
                Some(format!(
                    "kubectl get {kind} {name} -n {namespace} -o jsonpath='{{.data.{path}}}'{decode}"
                ))
            }
            Whence::Variable { workload, namespace, container, name } => Some(format!(
                "kubectl get {workload} -n {namespace} -o jsonpath='{{.spec.template.spec\
                 .containers[?(@.name==\"{container}\")].env[?(@.name==\"{name}\")].value}}'"
            )),
            Whence::Argument(_) => None,
        }
    }
}

fn is_named(at: &SecretRef) -> bool {
    is_dns_label(at.namespace.as_str()) && is_dns_subdomain(at.name.as_str())
}

/// A key of a Secret or ConfigMap, or the name of a variable
/// (kubernetes/apimachinery:pkg/util/validation/validation.go IsConfigMapKey).
fn is_key(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(kind: &'static str, key: &str) -> Whence {
        Whence::Key { kind, at: SecretRef::new("kube-system", "creds"), key: key.to_owned() }
    }

    fn held(text: &str) -> Held {
        Held { value: Some(Token::new(text)), whence: key("secret", "k") }
    }

    #[test]
    fn what_minikube_writes_for_nothing_is_nothing() {
        for unset in ["", " \n", "changeme", "changeme\n"] {
            assert!(!held(unset).is_set(), "{unset:?}");
        }
        assert!(held("us-east-1").is_set());
        // Nobody looked, so it may be.
        let unseen = Held { value: None, whence: key("secret", "k") };
        assert!(unseen.is_set() && !unseen.is_known() && unseen.plain().is_none());
    }

    #[test]
    fn each_place_has_a_command_that_reads_it() {
        let fetch = |whence: &Whence| whence.fetch().unwrap();
        assert_eq!(
            fetch(&key("secret", "a.json")),
            "kubectl get secret creds -n kube-system -o jsonpath='{.data.a\\.json}' | base64 -d"
        );
        assert_eq!(
            fetch(&key("configmap", "awsregion")),
            "kubectl get configmap creds -n kube-system -o jsonpath='{.data.awsregion}'"
        );
        let variable = Whence::Variable {
            workload: "deployment/creds".to_owned(),
            namespace: "kube-system".to_owned(),
            container: "c".to_owned(),
            name: "ACR_PASSWORD".to_owned(),
        };
        assert!(fetch(&variable).contains("env[?(@.name==\"ACR_PASSWORD\")].value"));
        assert_eq!(Whence::Argument("dpr-password".to_owned()).fetch(), None);
    }

    #[test]
    fn no_manifest_writes_a_command() {
        let evil = ["$(reboot)", "a'b", "a b", "a;b", "a\nb", ""];
        for text in evil {
            assert_eq!(key("secret", text).fetch(), None, "{text:?}");
            let elsewhere =
                Whence::Key { kind: "secret", at: SecretRef::new("a", text), key: "k".to_owned() };
            assert_eq!(elsewhere.fetch(), None, "{text:?}");
            let variable = |container: &str, name: &str| Whence::Variable {
                workload: "deployment/creds".to_owned(),
                namespace: "kube-system".to_owned(),
                container: container.to_owned(),
                name: name.to_owned(),
            };
            assert_eq!(variable(text, "A").fetch(), None, "{text:?}");
            assert_eq!(variable("c", text).fetch(), None, "{text:?}");
        }
    }

    #[test]
    fn a_key_of_google_says_what_kind_of_login_it_is_and_nothing_else() {
        assert_eq!(held(r#"{"type": "authorized_user"}"#).json_type().as_deref(), Some("authorized_user"));
        assert_eq!(held("no json").json_type(), None);
    }
}
