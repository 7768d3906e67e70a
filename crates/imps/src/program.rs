//! Under which names the program answers. Deployments of the original call it by the name of one of its two programs
//! (banzaicloud/imps:Dockerfile, cmd/controller, cmd/refresher); a link of that name stands for a subcommand. A link
//! named `kubectl-imps` makes it a plugin of kubectl, which people call in two words.

use std::ffi::{OsStr, OsString};
use std::path::Path;

use clap::CommandFactory;

use crate::args::Args;

/// A name and the subcommand that it stands for.
const NAMES: [(&str, &str); 4] = [
    ("manager", "controller"),
    ("controller", "controller"),
    ("refresher", "refresher"),
    ("imps-refresher", "refresher"),
];

/// The subcommand that a program of the original stands for, whatever folder it is called from.
pub(crate) fn subcommand(program: &str) -> Option<&'static str> {
    let called = Path::new(program).file_name();
    let found = NAMES.iter().find(|(name, _)| called == Some(OsStr::new(name)));
    found.map(|(_, subcommand)| *subcommand)
}

/// The arguments as if `imps` had been called.
pub(crate) fn arguments(given: impl IntoIterator<Item = OsString>) -> Vec<OsString> {
    let mut given = given.into_iter();
    let name = given.next().unwrap_or_default();
    match name.to_str().and_then(subcommand) {
        Some(subcommand) => ["imps".into(), subcommand.into()].into_iter().chain(given).collect(),
        None => [name].into_iter().chain(given).collect(),
    }
}

/// The command line, with the name that people call it by in what it says of itself.
pub(crate) fn command(program: &str) -> clap::Command {
    let command = Args::command();
    match plugin(program) {
        Some(words) => respell(command.bin_name(&words), &words),
        None => command,
    }
}

/// How a plugin of kubectl is called that has this file: dashes stand between words, and an underscore for a dash in a
/// word (kubernetes/website: content/en/docs/tasks/extend-kubectl/kubectl-plugins.md).
fn plugin(program: &str) -> Option<String> {
    let name = Path::new(program).file_name()?.to_str()?.strip_prefix("kubectl-")?;
    Some(format!("kubectl {}", name.replace('-', " ").replace('_', "-")))
}

/// Writes the examples of all commands as they have to be typed.
fn respell(command: clap::Command, words: &str) -> clap::Command {
    let examples =
        command.get_after_help().map(|text| text.to_string().replace(" imps ", &format!(" {words} ")));
    let command = match examples {
        Some(examples) => command.after_help(examples),
        None => command,
    };
    command.mut_subcommands(|subcommand| respell(subcommand, words))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(given: &[&str]) -> Vec<String> {
        let arguments = arguments(given.iter().map(OsString::from));
        arguments.into_iter().map(|argument| argument.into_string().unwrap()).collect()
    }

    #[test]
    fn the_original_s_programs_are_subcommands() {
        assert_eq!(
            read(&["/manager", "--metrics-addr", ":80"]),
            ["imps", "controller", "--metrics-addr", ":80"]
        );
        assert_eq!(read(&["controller"]), ["imps", "controller"]);
        assert_eq!(read(&["/bin/refresher", "--help"]), ["imps", "refresher", "--help"]);
        assert_eq!(read(&["./imps-refresher"]), ["imps", "refresher"]);
    }

    #[test]
    fn a_plugin_of_kubectl_speaks_of_itself_in_two_words() {
        let help = |program: &str, arguments: &[&str]| {
            let given = [&[program], arguments].concat();
            command(program).try_get_matches_from(given).unwrap_err().to_string()
        };
        let text = help("/usr/local/bin/kubectl-imps", &["diagnose", "--help"]);
        assert!(text.contains("Usage: kubectl imps diagnose [OPTIONS]"), "{text}");
        assert!(text.contains("\n  kubectl imps diagnose --all"), "{text}");
        assert!(text.contains("| kubectl imps diagnose -f -"), "{text}");
        assert!(!text.contains("\n  imps "), "{text}");
        assert!(help("kubectl-imps", &["explain"]).contains("Usage: kubectl imps explain"));
        assert!(
            help("kubectl-pull_secrets-now", &["--help"])
                .contains("Usage: kubectl pull-secrets now <COMMAND>")
        );
        let text = help("imps", &["diagnose", "--help"]);
        assert!(text.contains("Usage: imps diagnose") && !text.contains("kubectl imps"), "{text}");
    }

    #[test]
    fn any_other_name_is_imps() {
        assert_eq!(read(&["/usr/bin/imps", "plan", "-f", "x"]), ["/usr/bin/imps", "plan", "-f", "x"]);
        // A folder or an argument of that name is not the program.
        assert_eq!(read(&["/manager/imps", "controller"]), ["/manager/imps", "controller"]);
        assert_eq!(read(&["imps-controller", "crd"]), ["imps-controller", "crd"]);
        assert_eq!(read(&[]), [""]);
    }
}
