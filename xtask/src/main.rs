//! `cargo xtask`: one command each for setting up, building, serving, testing and measuring.
//!
//! Everything here is a plain call of a tool that a person could type; what this program adds is
//! the order, the finding of what is missing, and not doing again what is done. Progress goes to
//! standard error, so that standard output carries only what the command is asked for.

mod apt;
mod args;
mod bench;
mod budgets;
mod build;
mod cache_tests;
mod check;
mod clients;
mod counts;
mod directions;
#[cfg(test)]
mod documentation;
mod drivers;
mod fuzz;
mod local;
mod memory;
mod node;
mod platform;
mod platforms;
mod policy;
mod process;
mod python;
mod requirements;
mod runner;
mod scratch;
mod service;
mod setup;
mod simulate;
mod stamp;
mod tls;
mod tools;
mod up;
mod wasm;
mod workspace;

use std::io::Write as _;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::Result;

use crate::args::Task;
use crate::build::Product;
use crate::platform::Platform;
use crate::process::say;
use crate::setup::Part;
use crate::workspace::Workspace;

/// How long `cargo xtask outport` builds before it shows that it does.
const BUILD_UNSEEN: Duration = Duration::from_secs(2);

fn main() -> ExitCode {
    match args::parse(std::env::args_os()).and_then(run) {
        Ok(code) => code,
        Err(error) => {
            say(&format!("error: {error:#}"));
            ExitCode::FAILURE
        }
    }
}

fn run(task: Task) -> Result<ExitCode> {
    if matches!(task, Task::Help) {
        say(args::USAGE);
        return Ok(ExitCode::SUCCESS);
    }
    let workspace = Workspace::find()?;
    match task {
        Task::Help => {}
        Task::Setup { parts } => setup::run(&workspace, &parts)?,
        Task::Build { on: None | Some(Platform::Wasmtime) } => {
            product(&workspace)?;
        }
        Task::Build { on: Some(platform) } => up::make_ready(&workspace, platform)?,
        Task::Up(asked) if asked.platform == Platform::Wasmtime => {
            let program = product(&workspace)?.program;
            let serve = process::Run::new(program).arg("serve").args(up::serve_args(&asked));
            return Err(serve.exec());
        }
        Task::Up(asked) => up::run(&workspace, &asked)?,
        Task::Outport { args } => {
            build_unseen(&workspace)?;
            let program = Product::of(&workspace).program;
            return Err(process::Run::new(program).args(args).exec());
        }
        Task::Bench { args } => {
            bench::make_ready_for(&workspace, &args)?;
            let product = product(&workspace)?;
            let program = build::bench(&workspace, &product)?;
            return Err(process::Run::new(program).envs(product.env()).args(args).exec());
        }
        Task::CacheTests(asked) => return cache_tests::run(&workspace, &asked),
        Task::Protocols => {
            std::io::stdout().lock().write_all(requirements::document().as_bytes())?
        }
        Task::Fuzz(asked) => fuzz::run(&workspace, &asked)?,
        Task::Tls => return Err(tls::exec(&workspace, &product(&workspace)?)?),
        Task::Simulate { args } => return Err(simulate::exec(&workspace, args)?),
        Task::Test(tests) => return check::run(&workspace, tests),
        Task::Budgets { memory } => {
            budgets::run(&workspace)?;
            if memory {
                memory::run(&workspace)?;
            }
        }
    }
    Ok(ExitCode::SUCCESS)
}

// A build with nothing to do leaves the screen to the program that was asked for.
fn build_unseen(workspace: &Workspace) -> Result<()> {
    let build = process::Run::new(std::env::current_exe()?).arg("build");
    build.env("CARGO_MANIFEST_DIR", workspace.root.join("xtask")).done_unseen(BUILD_UNSEEN)
}

fn product(workspace: &Workspace) -> Result<Product> {
    setup::run(workspace, &[Part::Wasm, Part::Page])?;
    build::product(workspace)
}
