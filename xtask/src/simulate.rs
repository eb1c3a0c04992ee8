//! `cargo xtask simulate`: histories of faults against the upload code, and what CI makes of them.

use std::ffi::OsString;
use std::path::PathBuf;

use anyhow::{Result, bail};

use crate::build::{Product, cargo_release};
use crate::counts::Counts;
use crate::process::{Run, say, timed};
use crate::runner::Outcome;
use crate::workspace::Workspace;

const PROGRAM: &str = "outport-simulate";
/// How many histories CI runs.
const SEEDS: &str = "5000";
/// What can be taken away, so that the simulation must fail.
const GUARDS: [&str; 3] = ["compare-and-swap", "sync", "intents"];

/// Builds the simulation and becomes it.
pub(crate) fn exec(workspace: &Workspace, args: Vec<OsString>) -> Result<anyhow::Error> {
    Ok(Run::new(build(workspace)?).args(args).exec())
}

/// Everything holds as it is, and without each of the guards something does not.
pub(crate) fn check(workspace: &Workspace) -> Result<Outcome> {
    let program = build(workspace)?;
    let mut counts = Counts::default();
    counts.add(judged(simulate(&program, &["--seeds", SEEDS])?.is_none()));
    for guard in GUARDS {
        let args = ["--seeds", SEEDS, "--without", guard];
        let replay = simulate(&program, &args)?;
        say(&format!("without {guard}: {}", replay.as_deref().unwrap_or("nothing was found")));
        counts.add(judged(replay.is_some()));
    }
    Ok(Outcome::Counted(counts))
}

/// Runs histories. Gives the command that replays the one that failed, if one did.
fn simulate(program: &PathBuf, args: &[&str]) -> Result<Option<String>> {
    let mut replay = None;
    let status = Run::new(program).args(args).watched(|line| {
        replay = line.strip_prefix("replay: ").map(str::to_owned).or(replay.take());
    })?;
    if status.success() != replay.is_none() {
        bail!("{PROGRAM} ended with {status}, and says {replay:?}");
    }
    Ok(replay)
}

const fn judged(is_right: bool) -> Counts {
    if is_right { Counts::PASSED } else { Counts::FAILED }
}

fn build(workspace: &Workspace) -> Result<PathBuf> {
    timed("simulation", || {
        let cargo = cargo_release(workspace, &Product::of(workspace), "build");
        cargo.args(["--features", "outport-origin/simulation", "--bin", PROGRAM]).done()
    })?;
    Ok(workspace.program(PROGRAM))
}
