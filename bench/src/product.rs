//! Our own edge before its origin.

use std::ffi::OsString;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result, bail};
use serde_json::Value;

use crate::server::{Server, cpus};

/// The highest limits that can be said: what is to be measured is the work, not the refusal. And
/// nothing ends at the edge that is to be handed over later.
const SETTINGS: &str = "[edge]\nsmall_upload_bytes_max = 0\n\n[limits.read]\nper_second = 1_000_000\nburst = 100_000_000\n\n\
                        [limits.write]\nper_second = 1_000_000\nburst = 100_000_000\n";

/// The program: what OUTPORT_BIN says, or what was built beside this one.
pub(crate) fn program() -> Result<PathBuf> {
    let beside = || Some(std::env::current_exe().ok()?.with_file_name("outport"));
    let program = std::env::var_os("OUTPORT_BIN").map(PathBuf::from).or_else(beside);
    let program = program.filter(|program| program.is_file());
    program.context("there is no program to measure; `cargo xtask bench` builds it")
}

/// The folder of what `cargo xtask bench` makes for the benchmarks.
pub(crate) fn made() -> Result<PathBuf> {
    let own = std::env::current_exe()?;
    let release = own.parent().context("this program is in no folder")?;
    Ok(release.join("../outport/bench"))
}

/// Starts origin and edge in a folder, with these settings beside those of all benchmarks. Returns the edge's address, a token, and both processes:
/// the edge's first.
pub(crate) fn serve(
    program: &Path,
    folder: &Path,
    settings: &str,
) -> Result<(String, String, [Server; 2])> {
    let cpus = cpus()?;
    serve_on([&cpus, &cpus], program, folder, settings)
}

/// The same, the edge on the first of these sets of processors, and the origin on the second.
pub(crate) fn serve_on(
    [edge_cpus, origin_cpus]: [&str; 2],
    program: &Path,
    folder: &Path,
    settings: &str,
) -> Result<(String, String, [Server; 2])> {
    let settings = format!("{SETTINGS}\n{settings}");
    let (origin_url, origin) = origin(origin_cpus, program, folder, &settings)?;
    let (edge_url, edge) = edge(edge_cpus, program, folder, "data", &origin_url)?;
    Ok((edge_url, token(program, folder, &[])?, [edge, origin]))
}

/// Starts an origin alone, with all the settings that it and its edges have.
pub(crate) fn origin(
    cpus: &str,
    program: &Path,
    folder: &Path,
    settings: &str,
) -> Result<(String, Server)> {
    fs::write(folder.join("outport.toml"), settings)?;
    let args = args(folder, "data", &["origin", "--origin-port", "0"]);
    let mut origin = Server::start_on(cpus, folder, "origin", program, args)?;
    Ok((member(&origin.ready()?, "origin")?, origin))
}

/// Starts an edge of that origin, which keeps what it keeps in `data`, in the same folder.
pub(crate) fn edge(
    cpus: &str,
    program: &Path,
    folder: &Path,
    data: &str,
    origin_url: &str,
) -> Result<(String, Server)> {
    let keys = |data| folder.join(data).join("keys.json");
    if !keys(data).exists() {
        fs::create_dir_all(folder.join(data))?;
        fs::copy(keys("data"), keys(data))?;
    }
    let edge = ["edge", "--edge-port", "0", "--beside-origin", "--origin", origin_url];
    let args = args(folder, data, &edge);
    let mut edge = Server::start_on(cpus, folder, data, program, args)?;
    Ok((member(&edge.ready()?, "edge")?, edge))
}

fn args(folder: &Path, data: &str, command: &[&str]) -> Vec<OsString> {
    let mut args: Vec<_> = command.iter().map(OsString::from).collect();
    args.extend(["--data".into(), folder.join(data).into()]);
    args.extend(["--config".into(), folder.join("outport.toml").into()]);
    args
}

fn member(ready: &Value, name: &str) -> Result<String> {
    let value = ready.get(name).and_then(Value::as_str);
    Ok(value.with_context(|| format!("the ready line has no {name}"))?.to_owned())
}

/// A token of the demo tenant, or what `args` of `outport token` say.
pub(crate) fn token(program: &Path, folder: &Path, args: &[&str]) -> Result<String> {
    let mut command = Command::new(program);
    let data = folder.join("data");
    let output = command.arg("token").args(args).arg("--data").arg(data).output()?;
    if !output.status.success() {
        bail!("there is no token: {}", String::from_utf8_lossy(&output.stderr));
    }
    Ok(String::from_utf8(output.stdout)?.trim().to_owned())
}
