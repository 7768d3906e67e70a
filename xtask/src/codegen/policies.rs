//! The chart's template of admission policies: what `imps rbac --policies` prints, with the words of a release.

use std::fmt::Write as _;

use anyhow::{Result, ensure};

use crate::workspace::{cargo, output_of};

/// Where the template is.
const PATH: &str = "chart/imagepullsecrets/templates/admission-policies.yaml";

/// What stands for the words of a release while the policies are printed.
const NAME: &str = "NAME-OF-THE-RELEASE";
const NAMESPACE: &str = "NAMESPACE-OF-THE-RELEASE";
const ACCOUNT: &str = "ACCOUNT-OF-THE-RELEASE";
/// What the policies say where no target may be taken over.
const NONE_ADOPTABLE: &str = "oldObject.metadata.name in []";

/// Which value of the chart puts a policy and its binding in.
const SWITCHES: [(&str, &[&str]); 2] =
    [("operator", &["secrets", "service-accounts", "imagepullsecrets"]), ("authors", &["authors"])];

const BEGIN: &str = r#"{{- /* Written by `cargo xtask codegen` of what `imps rbac --policies` prints, do not edit. */}}
{{- include "imagepullsecrets.begin" . }}
{{- $name := include "imagepullsecrets.controller" . }}
{{- $who := printf "%s:%s" (include "imagepullsecrets.namespace" .) (include "imagepullsecrets.serviceAccount" .) }}
{{- $adoptable := list }}
{{- range .Values.admissionPolicies.adoptable }}{{- $adoptable = append $adoptable (printf "'%s'" .) }}{{- end }}
"#;

/// The file with its text.
pub(super) fn template() -> Result<(String, String)> {
    let account = format!("{NAMESPACE}/{ACCOUNT}");
    let arguments = ["rbac", "--policies", "--name", NAME, "--service-account", &account];
    let mut imps = cargo(&["run", "--quiet", "--locked", "--package", "imps", "--"]);
    let printed = output_of(imps.args(arguments))?;
    ensure!(!printed.contains("{{"), "the policies have braces that helm would take for its own");
    ensure!(printed.matches(NONE_ADOPTABLE).count() == 1, "`{NONE_ADOPTABLE}` does not stand there once");
    let documents: Vec<&str> = printed.split("---\n").filter(|text| !text.trim().is_empty()).collect();
    let mut text = BEGIN.to_owned();
    let mut taken = 0;
    for (switch, policies) in SWITCHES {
        writeln!(text, "{{{{- if .Values.admissionPolicies.{switch} }}}}")?;
        for policy in policies {
            let heading = format!("metadata:\n  name: {NAME}-{policy}\n");
            let of_policy = documents.iter().filter(|document| document.contains(&heading));
            for document in of_policy {
                let metadata = format!(
                    "metadata:\n  {{{{- include \"imagepullsecrets.metadata\" (dict \"root\" $ \"part\" \"controller\" \
                     \"name\" (printf \"%s-{policy}\" $name) \"namespace\" \"\") | nindent 2 }}}}\n"
                );
                let document = document
                    .replace(&heading, &metadata)
                    .replace(&format!("{NAMESPACE}:{ACCOUNT}"), "{{ $who }}")
                    .replace(NONE_ADOPTABLE, "oldObject.metadata.name in [{{ join \", \" $adoptable }}]")
                    .replace(NAME, "{{ $name }}");
                write!(text, "---\n{}\n", document.trim_end())?;
                taken += 1;
            }
        }
        text.push_str("{{- end }}\n");
    }
    ensure!(taken == documents.len(), "{} documents are printed, and {taken} are known", documents.len());
    for word in [NAME, NAMESPACE, ACCOUNT] {
        ensure!(!text.contains(word), "{word} is left");
    }
    Ok((PATH.to_owned(), text))
}
