//! `imps completion`: the scripts by which shells, and kubectl for its plugin, complete commands, flags and names. Each
//! calls the program, which answers ahead of everything else when [`VARIABLE`] is set.

use std::process::ExitCode;

use clap::CommandFactory;
use clap_complete::CompleteEnv;
use clap_complete::env::{Bash, Elvish, EnvCompleter, Fish, Powershell, Zsh};

use super::Error;
use crate::args::{Args, CompletionArgs, CompletionShell};
use crate::runtime::output;

/// Says for which shell the program is to complete what was typed, instead of doing it.
const VARIABLE: &str = "IMPS_COMPLETE";

/// What kubectl runs to complete a plugin: it hands over the words after `kubectl imps`, the unfinished one last, and
/// reads one completion a line, then a word for the shell, of which 0 means nothing special
/// (kubernetes/kubectl:pkg/cmd/plugin_completion.go).
const OF_KUBECTL: &str = "#!/bin/sh\n\
    # Completes `kubectl imps`: save it as kubectl_complete-imps in a folder of PATH, executable.\n\
    IMPS_COMPLETE=bash _CLAP_COMPLETE_INDEX=$# _CLAP_IFS='\n\
    ' kubectl-imps -- imps \"$@\" 2>/dev/null | grep .\n\
    echo :0\n";

pub(super) fn run(args: &CompletionArgs) -> Result<ExitCode, Error> {
    let script = match args.shell {
        CompletionShell::Bash => script(&Bash)?,
        CompletionShell::Zsh => script(&Zsh)?,
        CompletionShell::Fish => script(&Fish)?,
        CompletionShell::Powershell => script(&Powershell)?,
        CompletionShell::Elvish => script(&Elvish)?,
        CompletionShell::Kubectl => OF_KUBECTL.to_owned(),
    };
    output::print(&script)?;
    Ok(ExitCode::SUCCESS)
}

fn script(shell: &dyn EnvCompleter) -> Result<String, Error> {
    let mut script = Vec::new();
    shell.write_registration(VARIABLE, "imps", "imps", "imps", &mut script)?;
    Ok(String::from_utf8(script)?)
}

/// Completes what was typed and ends, if that is what the program was called for.
pub(crate) fn answer() {
    CompleteEnv::with_factory(Args::command).var(VARIABLE).complete();
}
