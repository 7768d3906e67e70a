//! The project's own tools, as `cargo xtask <command>`: nothing in CI that a laptop has not.
#![expect(clippy::print_stdout, clippy::print_stderr, reason = "a command line tool talks to its user")]

use std::process::ExitCode;

use clap::{Parser, Subcommand};

mod bench;
mod check;
mod cloud;
mod codegen;
mod console;
mod demo;
mod dist;
mod helm;
mod image;
mod interrupt;
mod lookout;
mod origin;
mod packages;
mod plane;
mod product;
mod publish;
mod sbom;
mod sheet;
mod test;
mod tidy;
mod workspace;

/// The tools of this project.
#[derive(Parser)]
#[command(name = "cargo xtask", bin_name = "cargo xtask", version, max_term_width = 110)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    Test(test::Test),
    #[command(subcommand)]
    Plane(plane::Plane),
    Demo(demo::Demo),
    Bench(bench::Bench),
    Helm(helm::Helm),
    Fmt(check::Format),
    Lint(check::Lint),
    Tidy(tidy::Tidy),
    Codegen(codegen::Codegen),
    Image(image::Image),
    Dist(dist::Dist),
    Publish(publish::Publish),
}

fn main() -> ExitCode {
    let done = match Arguments::parse().command {
        Command::Test(command) => return exit(command.run()),
        Command::Plane(command) => command.run(),
        Command::Demo(command) => return exit(command.run()),
        Command::Bench(command) => return exit(command.run()),
        Command::Helm(command) => return exit(command.run()),
        Command::Fmt(command) => command.run(),
        Command::Lint(command) => command.run(),
        Command::Tidy(command) => command.run(),
        Command::Codegen(command) => command.run(),
        Command::Image(command) => command.run(),
        Command::Dist(command) => command.run(),
        Command::Publish(command) => command.run(),
    };
    exit(done.map(|()| ExitCode::SUCCESS))
}

fn exit(done: anyhow::Result<ExitCode>) -> ExitCode {
    done.unwrap_or_else(|error| {
        eprintln!("error: {error:#}");
        ExitCode::FAILURE
    })
}
