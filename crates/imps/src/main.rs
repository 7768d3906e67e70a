//! imps puts the right registry credentials into the right namespaces, and explains itself.

mod args;
mod command;
mod controller;
mod program;
mod runtime;

use std::process::ExitCode;

use clap::FromArgMatches;

fn main() -> ExitCode {
    command::completion::answer();
    let given = program::arguments(std::env::args_os());
    let name = given.first().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
    let matches = program::command(&name).get_matches_from(given);
    let args = args::Args::from_arg_matches(&matches).unwrap_or_else(|error| error.exit());
    match command::run(args.command) {
        Ok(code) => code,
        Err(error) => {
            runtime::output::complain(&*error);
            ExitCode::FAILURE
        }
    }
}
