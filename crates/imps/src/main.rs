//! imps puts the right registry credentials into the right namespaces, and explains itself.

mod args;
mod command;
mod controller;
mod program;
mod runtime;

use std::process::ExitCode;

use clap::Parser;

fn main() -> ExitCode {
    let args = args::Args::parse_from(program::arguments(std::env::args_os()));
    match command::run(args.command) {
        Ok(code) => code,
        Err(error) => {
            runtime::output::complain(&*error);
            ExitCode::FAILURE
        }
    }
}
