//! `cargo xtask cache-tests`: the public tests of HTTP caches, through Outport and through peers.
//!
//! The suite's own server is the origin, a contender stands before it, and the suite's own client
//! asks and judges; `tests/cache-tests/run.mjs` calls that, and adds tests of ours.

mod contenders;
mod report;

use std::fs;
use std::io::{self, Write as _};
use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context as _, Result};

use crate::cache_tests::contenders::{Contender, Peer};
use crate::cache_tests::report::{Column, Tested};
use crate::local::{free_port, until_it_answers};
use crate::node;
use crate::platform::Platform;
use crate::process::{Run, say, timed};
use crate::service::Service;
use crate::workspace::Workspace;

/// How long one contender may take: each test has deadlines, and they run a hundred at a time.
const RUN_MAX: Duration = Duration::from_secs(900);

/// What is asked for.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Asked {
    /// What Outport's edge runs on.
    pub(crate) platform: Platform,
    /// Whether the peers are put to the same tests.
    pub(crate) has_peers: bool,
    /// The one test to run, with its requests and answers shown.
    pub(crate) id: Option<String>,
    /// Parts of the names of the suites to run; empty: all of them.
    pub(crate) suites: Vec<String>,
}

/// Runs the tests and prints what came of them; a failure exit code if Outport does not pass a test
/// that is required of every cache.
pub(crate) fn run(workspace: &Workspace, asked: &Asked) -> Result<ExitCode> {
    node::packages(&suite(workspace), "tests of caches")?;
    if asked.has_peers {
        Peer::install()?;
    }
    contenders::make_ready(workspace, asked.platform)?;
    let name = format!("outport-{}", asked.platform);
    let mut columns = vec![column(workspace, asked, &name, |folder, origin_port| {
        contenders::outport(workspace, asked.platform, folder, origin_port)
    })?];
    let peers: &[Peer] = if asked.has_peers { &Peer::ALL } else { &[] };
    for peer in peers {
        columns.push(column(workspace, asked, peer.name(), |folder, origin_port| {
            peer.start(&package(workspace), folder, origin_port)
        })?);
    }
    io::stdout().lock().write_all(report::text(&columns).as_bytes())?;
    let has_passed = columns.first().is_some_and(|outport| !outport.misses_required());
    Ok(if has_passed { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// Puts the tests to one contender.
fn column(
    workspace: &Workspace,
    asked: &Asked,
    name: &str,
    start: impl FnOnce(&Path, u16) -> Result<Contender>,
) -> Result<Column> {
    let folder = workspace.products().join("cache-tests").join(name);
    if folder.exists() {
        fs::remove_dir_all(&folder)?;
    }
    fs::create_dir_all(&folder)?;
    let (origin, origin_port) = origin(workspace, &folder)?;
    let contender = start(&folder, origin_port)?;
    let results = folder.join("results.json");
    timed(&format!("tests of caches: {}", contender.label), || {
        let mut tests = Run::new("node")
            .folder(&suite(workspace))
            .args(["--no-warnings", "run.mjs", "--base", &contender.url, "--out"])
            .arg(&results);
        for part in &asked.suites {
            tests = tests.args(["--suite", part]);
        }
        if let Some(id) = &asked.id {
            tests = tests.args(["--id", id]);
        }
        tests.done_within(RUN_MAX).with_context(|| contender.log_end())
    })?;
    if asked.id.is_some() {
        say(&format!("the origin says:\n{}", origin.log_end()));
    }
    let tests = Tested::read(&fs::read_to_string(&results)?)?;
    Ok(Column { label: contender.label, tests })
}

/// The suite's own server, and its port.
fn origin(workspace: &Workspace, folder: &Path) -> Result<(Service, u16)> {
    let port = free_port()?;
    // It is configured as npm configures a script: by variables.
    let run = Run::new("node")
        .folder(&package(workspace))
        .arg("server/server.mjs")
        .env("npm_config_protocol", "http")
        .env("npm_config_port", port.to_string())
        .env("npm_config_pidfile", folder.join("origin.pid"));
    let mut service = Service::start("the suite's server", run, &folder.join("origin.log"))?;
    let address = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
    until_it_answers(&mut service, address, contenders::ANSWERS)?;
    Ok((service, port))
}

fn suite(workspace: &Workspace) -> PathBuf {
    workspace.root.join("tests/cache-tests")
}

fn package(workspace: &Workspace) -> PathBuf {
    suite(workspace).join("node_modules/http-cache-tests")
}
