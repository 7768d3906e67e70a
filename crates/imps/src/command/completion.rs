//! `imps completion`: the scripts by which shells, and kubectl for its plugin, complete commands and flags.

use std::process::ExitCode;

use clap::CommandFactory;
use clap_complete::aot::{Shell, generate};

use super::Error;
use crate::args::{Args, CompletionArgs, CompletionShell};
use crate::runtime::output;

/// What kubectl runs to complete a plugin: it hands over the words after `kubectl imps`, the unfinished one last, and
/// reads one completion a line, then a word for the shell, of which 0 means nothing special
/// (kubernetes/kubectl:pkg/cmd/plugin_completion.go).
const HEAD: &str = "#!/usr/bin/env bash\n\
                    # Completes `kubectl imps`: save it as kubectl_complete-imps in a folder of PATH, executable.\n\n";
const TAIL: &str = "\nCOMP_WORDS=(imps \"$@\")\nCOMP_CWORD=$#\n\
                    # What the function asks of an interactive shell fails here, and does not matter.\n\
                    _imps imps \"${COMP_WORDS[COMP_CWORD]}\" \"${COMP_WORDS[COMP_CWORD - 1]}\" 2>/dev/null\n\
                    [[ ${#COMPREPLY[@]} -eq 0 ]] || printf '%s\\n' \"${COMPREPLY[@]}\"\necho :0\n";

pub(super) fn run(args: &CompletionArgs) -> Result<ExitCode, Error> {
    let script = match args.shell {
        CompletionShell::Bash => script(Shell::Bash)?,
        CompletionShell::Zsh => script(Shell::Zsh)?,
        CompletionShell::Fish => script(Shell::Fish)?,
        CompletionShell::Powershell => script(Shell::PowerShell)?,
        CompletionShell::Elvish => script(Shell::Elvish)?,
        CompletionShell::Kubectl => format!("{HEAD}{}{TAIL}", script(Shell::Bash)?),
    };
    output::print(&script)?;
    Ok(ExitCode::SUCCESS)
}

fn script(shell: Shell) -> Result<String, Error> {
    let mut script = Vec::new();
    generate(shell, &mut Args::command(), "imps", &mut script);
    Ok(String::from_utf8(script)?)
}
