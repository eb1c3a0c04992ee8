//! `cargo xtask cache-tests`: the public tests of HTTP caches, through Outport and through peers.
//!
//! The suite's own server is the origin, a contender stands before it, and the suite's own client
//! asks and judges; `tests/cache-tests/run.mjs` calls that, and adds tests of ours. What Outport
//! passes must be all but what [`exceptions`] lists.

mod contenders;
mod exceptions;
mod judged;
mod report;

use std::fs;
use std::io::{self, Write as _};
use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context as _, Result};

use crate::cache_tests::contenders::{Contender, Peer};
use crate::cache_tests::judged::Judged;
use crate::cache_tests::report::{Column, Tested};
use crate::local::{free_port, until_it_answers};
use crate::node;
use crate::platform::Platform;
use crate::process::{Run, say, timed};
use crate::runner::Outcome;
use crate::service::Service;
use crate::workspace::Workspace;

/// How long one contender may take: each test has deadlines, and they run fifty at a time.
const RUN_MAX: Duration = Duration::from_secs(900);

/// What is asked for.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Asked {
    /// What Outport's edge runs on, one after the other.
    pub(crate) platforms: Vec<Platform>,
    /// Whether the peers are put to the same tests.
    pub(crate) has_peers: bool,
    /// The one test to run, with its requests and answers shown.
    pub(crate) id: Option<String>,
    /// Parts of the names of the suites to run; empty: all of them.
    pub(crate) suites: Vec<String>,
}

impl Asked {
    /// All tests, through Outport alone.
    pub(crate) fn all(platforms: Vec<Platform>) -> Self {
        Self { platforms, has_peers: false, id: None, suites: Vec::new() }
    }

    fn is_all(&self) -> bool {
        self.id.is_none() && self.suites.is_empty()
    }
}

/// Installs what the tests are run with.
pub(crate) fn make_ready(workspace: &Workspace) -> Result<()> {
    node::packages(&suite(workspace), "tests of caches")
}

/// Runs the tests and prints what came of them; a failure exit code if that is not what the
/// exceptions say.
pub(crate) fn run(workspace: &Workspace, asked: &Asked) -> Result<ExitCode> {
    make_ready(workspace)?;
    if asked.has_peers {
        Peer::install()?;
    }
    for platform in &asked.platforms {
        contenders::make_ready(workspace, *platform)?;
    }
    let outport = asked.platforms.iter().map(|platform| outport(workspace, asked, *platform));
    let mut columns = outport.collect::<Result<Vec<_>>>()?;
    let peers: &[Peer] = if asked.has_peers { &Peer::ALL } else { &[] };
    for peer in peers {
        let (label, tests) = tested(workspace, asked, peer.name(), |folder, origin_port| {
            peer.start(&package(workspace), folder, origin_port)
        })?;
        columns.push(Column { label, tests, judged: None });
    }
    io::stdout().lock().write_all(report::text(&columns).as_bytes())?;
    let has_failed = columns.iter().filter_map(|column| column.judged.as_ref()).any(Judged::fails);
    Ok(if has_failed { ExitCode::FAILURE } else { ExitCode::SUCCESS })
}

/// The tests as a check of what is built.
pub(crate) fn check(workspace: &Workspace, platform: Platform) -> Result<Outcome> {
    let column = outport(workspace, &Asked::all(vec![platform]), platform)?;
    say(&report::text(std::slice::from_ref(&column)));
    column.judged.map(Judged::outcome).context("nothing was judged")
}

/// Puts the tests to Outport, and judges what comes of them.
fn outport(workspace: &Workspace, asked: &Asked, platform: Platform) -> Result<Column> {
    let name = format!("outport-{platform}");
    let (label, tests) = tested(workspace, asked, &name, |folder, origin_port| {
        contenders::outport(workspace, platform, folder, origin_port)
    })?;
    let judged = Judged::of(platform, &tests, asked.is_all());
    Ok(Column { label, tests, judged: Some(judged) })
}

/// Puts the tests to one contender. Returns its label, and what came of them.
fn tested(
    workspace: &Workspace,
    asked: &Asked,
    name: &str,
    start: impl FnOnce(&Path, u16) -> Result<Contender>,
) -> Result<(String, Vec<Tested>)> {
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
    Ok((contender.label, Tested::read(&fs::read_to_string(&results)?)?))
}

/// The suite's own server, and its port.
fn origin(workspace: &Workspace, folder: &Path) -> Result<(Service, u16)> {
    let port = free_port()?;
    // It is configured as npm configures a script: by variables.
    let run = Run::new("node")
        .folder(&package(workspace))
        .arg(suite(workspace).join("origin.mjs"))
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
