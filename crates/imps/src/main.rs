//! imps puts the right registry credentials into the right namespaces, and explains itself.

mod args;
mod command;
mod controller;
mod runtime;

use std::process::ExitCode;

use clap::Parser;

fn main() -> ExitCode {
    let args = args::Args::parse();
    match command::run(args.command) {
        Ok(code) => code,
        Err(error) => {
            runtime::output::complain(&*error);
            ExitCode::FAILURE
        }
    }
}
