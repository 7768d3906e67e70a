//! What a shell completes arguments with: names that stand on the cluster or in the kubeconfig. Whatever fails or takes
//! long, there are none, and nothing is said.

use std::ffi::{OsStr, OsString};
use std::path::PathBuf;
use std::sync::mpsc::channel;
use std::thread;
use std::time::Duration;

use clap_complete::engine::CompletionCandidate;
use imps_cluster::client::contexts;
use imps_cluster::snapshot::{Kind, Which, list};
use serde_json::Value;

use super::cluster::at_cluster;
use super::manifests::text;
use crate::args::AccessArgs;

/// How long somebody who has pressed a key waits.
const PATIENCE: Duration = Duration::from_secs(2);

/// How a Deployment is typed that a diagnosis is about.
const DEPLOYMENT: &str = "deploy/";

/// ImagePullSecrets.
pub(crate) fn grants() -> Vec<CompletionCandidate> {
    look(Kind::GRANT, None)
}

/// Namespaces.
pub(crate) fn namespaces() -> Vec<CompletionCandidate> {
    look(Kind::NAMESPACE, None)
}

/// Contexts of the kubeconfig.
pub(crate) fn of_kubeconfig() -> Vec<CompletionCandidate> {
    let file = Line::typed().value("--kubeconfig", None).map(PathBuf::from);
    contexts(file.as_deref()).into_iter().map(CompletionCandidate::new).collect()
}

/// Pods of the namespace that was given, and what makes pods once that is asked for.
pub(crate) fn targets(current: &OsStr) -> Vec<CompletionCandidate> {
    let begun = current.to_str().unwrap_or_default();
    let candidates = if begun.starts_with(DEPLOYMENT) {
        let all = look(Kind::DEPLOYMENT, Some(Line::typed()));
        all.into_iter().map(|candidate| candidate.add_prefix(DEPLOYMENT)).collect()
    } else {
        look(Kind::POD, Some(Line::typed()))
    };
    let fits = |candidate: &CompletionCandidate| candidate.get_value().to_string_lossy().starts_with(begun);
    candidates.into_iter().filter(fits).collect()
}

/// All names of a kind; `within` says where its namespace was typed.
fn look(kind: Kind, within: Option<Line>) -> Vec<CompletionCandidate> {
    let line = Line::typed();
    let access = AccessArgs {
        kubeconfig: line.value("--kubeconfig", None).map(PathBuf::from),
        context: line.value("--context", None),
    };
    let (tell, hear) = channel();
    // Not only a limit on requests: a program that the kubeconfig calls for a login may hang too.
    thread::spawn(move || {
        let found = at_cluster(access, async |client| {
            let namespace = within.map(|line| {
                line.value("--namespace", Some("-n")).unwrap_or_else(|| client.default_namespace().to_owned())
            });
            let which = Which { namespace: namespace.as_deref(), ..Which::default() };
            Ok(list(&client, kind, which).await?.unwrap_or_default())
        });
        tell.send(found.unwrap_or_default())
    });
    let found: Vec<Value> = hear.recv_timeout(PATIENCE).unwrap_or_default();
    found.iter().map(|object| CompletionCandidate::new(text(object, "/metadata/name"))).collect()
}

/// The words that were typed so far.
struct Line(Vec<String>);

impl Line {
    fn typed() -> Self {
        Self::of(std::env::args_os())
    }

    /// Those after `--`, as shells hand them over.
    fn of(given: impl Iterator<Item = OsString>) -> Self {
        let words = given.skip_while(|word| word != "--").skip(1);
        Self(words.map(|word| word.to_string_lossy().into_owned()).collect())
    }

    /// The value of a flag. Some shells hand `--flag=value` over as one word and some as three.
    fn value(&self, long: &str, short: Option<&str>) -> Option<String> {
        let mut words = self.0.iter();
        while let Some(word) = words.next() {
            if word == long || Some(word.as_str()) == short {
                return words.find(|word| *word != "=").cloned();
            }
            if let Some(value) = word.strip_prefix(long).and_then(|rest| rest.strip_prefix('=')) {
                return Some(value.to_owned());
            }
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_flag_is_found_however_the_shell_splits_it() {
        let line = |text: &str| Line::of(text.split(' ').map(OsString::from));
        for text in [
            "imps -- imps diagnose -n shop --context=stage x",
            "imps -- imps diagnose --namespace shop --context stage x",
            "imps -- imps diagnose --namespace = shop --context = stage x",
        ] {
            let line = line(text);
            assert_eq!(line.value("--namespace", Some("-n")).as_deref(), Some("shop"), "{text}");
            assert_eq!(line.value("--context", None).as_deref(), Some("stage"), "{text}");
            assert_eq!(line.value("--kubeconfig", None), None, "{text}");
        }
        assert_eq!(line("imps -n shop").value("--namespace", Some("-n")), None, "nothing was typed");
    }
}
