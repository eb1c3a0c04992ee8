//! `cargo xtask fuzz`: parsers are given what a fuzzer makes up, guided by what it reaches.
//!
//! The tests give each parser a few thousand mutations of its examples; this looks further. What the
//! fuzzer begins with are the same examples.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, bail};

use crate::process::{Run, say, timed};
use crate::tools;
use crate::workspace::Workspace;

const CARGO_FUZZ: (&str, &str) = ("cargo-fuzz", "0.13.1");
/// What takes apart what comes from outside, before anybody is known.
const TARGETS: [&str; 11] = [
    "head",
    "request",
    "token",
    "cookie",
    "link",
    "pass",
    "rules",
    "edge_signature",
    "revocations",
    "tuple",
    "relations",
];
/// For how long each is fuzzed, if nothing is said.
const SECONDS: u64 = 600;
/// The crates whose tests write their examples as seeds.
const CRATES: [&str; 2] = ["outport-wire", "outport-edge-core"];
/// How long one input may take, in seconds, before it counts as a hang.
const HANG_SECONDS: u64 = 5;
/// The longest input, in bytes: heads may be as long.
const BYTES_MAX: usize = 40_000;

/// What is to be fuzzed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Asked {
    pub(crate) seconds: Option<u64>,
    /// None: those that take apart what comes from outside.
    pub(crate) targets: Vec<String>,
}

/// Fuzzes one target after the other, up to the first that fails.
pub(crate) fn run(workspace: &Workspace, asked: &Asked) -> Result<()> {
    let (package, version) = CARGO_FUZZ;
    tools::from_cargo(workspace, package, version)?;
    let corpus = workspace.products().join("fuzz/corpus");
    timed("seeds", || seeds(workspace, &corpus))?;
    let own: Vec<_> = TARGETS.iter().map(|target| (*target).to_owned()).collect();
    let targets = if asked.targets.is_empty() { &own } else { &asked.targets };
    let seconds = asked.seconds.unwrap_or(SECONDS);
    for target in targets {
        build(workspace, target)?;
        let told = fuzz(workspace, target, &corpus.join(target), seconds)?;
        say(&format!("{target}: {told}"));
    }
    Ok(())
}

fn seeds(workspace: &Workspace, corpus: &Path) -> Result<()> {
    let packages = CRATES.into_iter().flat_map(|package| ["-p", package]);
    Run::new("cargo")
        .args(["test", "--quiet", "fuzzing"])
        .args(packages)
        .env("OUTPORT_FUZZ_CORPUS", corpus)
        .folder(&workspace.root)
        .done()
}

fn build(workspace: &Workspace, target: &str) -> Result<()> {
    timed(&format!("fuzz target {target}"), || cargo_fuzz(workspace, "build").arg(target).done())
}

/// Runs a target, and gives how much it did.
fn fuzz(workspace: &Workspace, target: &str, corpus: &Path, seconds: u64) -> Result<String> {
    fs::create_dir_all(corpus)?;
    let found = workspace.products().join("fuzz/found").join(target);
    fs::create_dir_all(&found)?;
    // The fuzzer says what it does on standard error.
    let output = cargo_fuzz(workspace, "run")
        .arg(target)
        .arg(corpus)
        .args(["--", "-print_final_stats=1", &format!("-max_total_time={seconds}")])
        .args([format!("-timeout={HANG_SECONDS}"), format!("-max_len={BYTES_MAX}")])
        .arg(format!("-artifact_prefix={}/", found.display()))
        .into_command()
        .output()
        .with_context(|| format!("{target} can't be run"))?;
    let said = String::from_utf8_lossy(&output.stderr);
    if !output.status.success() {
        let end: Vec<_> = said.lines().rev().take(40).collect();
        let end: Vec<_> = end.into_iter().rev().collect();
        bail!("{target} was seen to fail; the input is in {}\n{}", found.display(), end.join("\n"));
    }
    let stat = |name: &str| {
        let line = said.lines().find_map(|line| line.strip_prefix("stat::")?.strip_prefix(name));
        line.map_or("?", |rest| rest.trim_start_matches(':').trim()).to_owned()
    };
    let reached =
        said.lines().rev().find_map(|line| line.split_once(" ft: ")?.0.rsplit(' ').next());
    Ok(format!(
        "{} inputs in {seconds} s, {} edges reached, the slowest took {} s, peak memory {} MB",
        stat("number_of_executed_units"),
        reached.unwrap_or("?"),
        stat("slowest_unit_time_sec"),
        stat("peak_rss_mb"),
    ))
}

fn cargo_fuzz(workspace: &Workspace, command: &str) -> Run {
    let target_folder: PathBuf = workspace.products().join("fuzz/target");
    Run::new(tools::program(workspace, CARGO_FUZZ.0))
        .arg(command)
        .arg("--target-dir")
        .arg(target_folder)
        // The sanitizer takes switches that the stable compiler has only so.
        .env("RUSTC_BOOTSTRAP", "1")
        .folder(&workspace.root)
}
