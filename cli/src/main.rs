//! The `outport` program: a whole deployment in one file, and its clients.

mod check;
mod client;
mod collect;
mod core_config;
mod duration;
mod failure;
mod fsck;
mod hooks_config;
mod issuers_config;
mod keys;
mod keys_command;
mod node;
mod output;
mod platforms;
mod render;
mod settings;
mod target;
mod token;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

use failure::Failure;

/// Takes uploads and delivers files from the edge.
#[derive(Parser)]
#[command(version, after_help = failure::EXIT_CODES)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    Serve(node::serve::Args),
    Edge(node::edge::Args),
    Origin(node::origin::Args),
    Put(client::put::Args),
    Get(client::get::Args),
    Ls(client::ls::Args),
    Rm(client::rm::Args),
    Share(client::share::Args),
    Revoke(client::revoke::Args),
    Audit(client::audit::Args),
    Cache(client::cache::Args),
    Hooks(client::hooks::Args),
    Collect(collect::Args),
    Fsck(fsck::Args),
    Token(token::Args),
    Keys(keys_command::Args),
    Check(check::Args),
    Render(render::Args),
    Platforms(platforms::Args),
}

fn main() -> ExitCode {
    match run(Cli::parse().command) {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            match &failure {
                Failure::Configuration(files) => eprintln!("{}", failure::configuration(files)),
                other => eprintln!("outport: {other}"),
            }
            ExitCode::from(failure.exit_code())
        }
    }
}

fn run(command: Command) -> Result<(), Failure> {
    match command {
        Command::Serve(args) => node::block_on(node::serve::run(args)),
        Command::Edge(args) => node::block_on(node::edge::run(args)),
        Command::Origin(args) => node::block_on(node::origin::run(args)),
        Command::Collect(args) => block_on(collect::run(args)),
        Command::Fsck(args) => block_on(fsck::run(args)),
        Command::Token(args) => token::run(&args),
        Command::Keys(args) => keys_command::run(&args),
        Command::Check(args) => check::run(&args),
        Command::Render(args) => render::run(&args),
        Command::Platforms(args) => platforms::run(&args),
        Command::Put(args) => block_on(client::put::run(args)),
        Command::Get(args) => block_on(client::get::run(args)),
        Command::Ls(args) => block_on(client::ls::run(args)),
        Command::Rm(args) => block_on(client::rm::run(args)),
        Command::Share(args) => block_on(client::share::run(args)),
        Command::Revoke(args) => block_on(client::revoke::run(args)),
        Command::Audit(args) => block_on(client::audit::run(args)),
        Command::Cache(args) => block_on(client::cache::run(args)),
        Command::Hooks(args) => block_on(client::hooks::run(args)),
    }
}

/// Runs a client's command; one thread is enough for it.
fn block_on(command: impl Future<Output = Result<(), Failure>>) -> Result<(), Failure> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = runtime.map_err(|source| Failure::Io { what: "can't begin".into(), source })?;
    runtime.block_on(command)
}
