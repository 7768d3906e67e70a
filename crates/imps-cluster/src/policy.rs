//! Admission policies that hold what imps promises also against imps itself, and against who writes its custom
//! resources: texts for `kubectl apply`, filled in.
//!
//! imps does not depend on them. They are for whoever would rather not take its word.

use std::collections::BTreeSet;

use imps_api::keys;
use imps_core::holding::TARGET_TYPE;
use imps_core::name::SecretName;

/// How many rights one policy checks. A check costs 350,000 of the 10,000,000 that a policy may spend on one request
/// (kubernetes/apiserver:pkg/cel/library/cost.go, pkg/apis/cel/config.go).
pub const CHECKS_MAX: usize = 24;

/// The policies, by what they are about.
const TEMPLATES: [(&str, &str); 4] = [
    ("secrets", include_str!("policy/secrets.yaml")),
    ("service-accounts", include_str!("policy/service-accounts.yaml")),
    ("imagepullsecrets", include_str!("policy/imagepullsecrets.yaml")),
    ("authors", include_str!("policy/authors.yaml")),
];
const BINDING: &str = include_str!("policy/binding.yaml");

/// One more name that comes or goes in a ServiceAccount.
const CHECK_OF_NAME: &str = "  - expression: >-
      size(variables.changed) <= @INDEX@
      || variables.secrets.name(variables.changed[@INDEX@]).check('delete').allowed()
    messageExpression: >-
      'imps puts in and takes out only names of its own Secrets, and not ' + variables.changed[@INDEX@]
";

/// One more source of an `ImagePullSecret`.
const CHECK_OF_SOURCE: &str = "  - expression: >-
      size(variables.sources) <= @INDEX@ || authorizer.group('').resource('secrets')
      .namespace(variables.sources[@INDEX@].namespace).name(variables.sources[@INDEX@].name).check('get').allowed()
    messageExpression: >-
      'spec.registry.credentials[@INDEX@]: you may not get the Secret ' + variables.sources[@INDEX@].namespace + '/'
      + variables.sources[@INDEX@].name + ', so that you may not hand it on'
    reason: Forbidden
";

/// Whom the policies bind.
#[derive(Clone, Debug)]
pub struct Bound<'a> {
    /// The first part of the names of all that is printed.
    pub name: &'a str,
    /// Namespace and name of the ServiceAccount that the operator runs as.
    pub account: (&'a str, &'a str),
    /// Names of targets whose `ImagePullSecret` takes over what others made.
    pub adoptable: &'a BTreeSet<SecretName>,
}

/// The policies and their bindings, as YAML documents.
pub fn documents(bound: &Bound<'_>) -> Vec<String> {
    let (namespace, account) = bound.account;
    let adoptable: Vec<String> = bound.adoptable.iter().map(|name| format!("'{name}'")).collect();
    let words = [
        ("@NAME@", bound.name.to_owned()),
        ("@USER@", format!("system:serviceaccount:{namespace}:{account}")),
        ("@ADOPTABLE@", format!("[{}]", adoptable.join(", "))),
        ("@GROUP@", keys::GROUP.to_owned()),
        ("@KIND@", keys::KIND.to_owned()),
        ("@PLURAL@", keys::PLURAL.to_owned()),
        ("@TYPE@", TARGET_TYPE.to_owned()),
        ("@OWNER_LABEL@", keys::OWNER_UID_LABEL.to_owned()),
        ("@ADOPT@", keys::ADOPT_ANNOTATION.to_owned()),
        ("@FINALIZER@", keys::ACCOUNTS_FINALIZER.to_owned()),
        ("@MANAGER@", keys::FIELD_MANAGER.to_owned()),
        ("@MAX@", CHECKS_MAX.to_string()),
    ];
    let mut documents = Vec::new();
    for (what, template) in TEMPLATES {
        let check = if what == "authors" { CHECK_OF_SOURCE } else { CHECK_OF_NAME };
        let checks: String = (0..CHECKS_MAX).map(|n| check.replace("@INDEX@", &n.to_string())).collect();
        let policy = template.replace("@CHECKS@\n", &checks);
        let binding = BINDING.replace("@WHAT@", what);
        for text in [policy, binding] {
            documents.push(words.iter().fold(text, |text, (word, meaning)| text.replace(word, meaning)));
        }
    }
    documents
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_word_is_filled_in() {
        let adoptable = BTreeSet::from(["pull".into(), "other".into()]);
        let bound = Bound { name: "imps", account: ("imps-system", "imps"), adoptable: &adoptable };
        let documents = documents(&bound);
        assert_eq!(documents.len(), 2 * TEMPLATES.len());
        for document in &documents {
            let left: Vec<&str> = document.split('@').collect();
            assert_eq!(left.len(), 1, "a word is left in {document}");
        }
        assert!(documents[0].contains("in ['other', 'pull']") && documents[0].contains(":imps-system:imps'"));
    }
}
