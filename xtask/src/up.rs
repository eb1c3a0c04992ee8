//! `cargo xtask up`: an edge on the platform that is asked for, and its origin.

use std::ffi::OsString;
use std::fs;
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};
use serde_json::{Value, json};

use crate::build::{self, Product};
use crate::drivers::{self, Flavour};
use crate::local::{Local, Spot};
use crate::platform::Platform;
use crate::process::{Run, say};
use crate::service::{self, Service};
use crate::setup::{self, Part};
use crate::workspace::Workspace;

/// What the line on standard output begins with that says where everything is.
const READY: &str = "ready ";
/// The scopes of the demo tenant's token, and how long it is good for.
const DEMO_SCOPES: &str = "read write share admin";
const DEMO_TTL: &str = "30d";

/// What is asked for.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Asked {
    /// What the edge runs on.
    pub(crate) platform: Platform,
    /// The edge's port; 0 takes any free one.
    pub(crate) edge_port: u16,
    /// The origin's port; 0 takes any free one.
    pub(crate) origin_port: u16,
    /// The data folder.
    pub(crate) data: PathBuf,
    /// The configuration, if one is named.
    pub(crate) config: Option<PathBuf>,
}

/// An edge on a platform's local runtime, and its origin. Ends with it.
pub(crate) struct Deployment {
    pub(crate) edge: Local,
    origin: Service,
    ready: Value,
}

impl Deployment {
    /// Starts both. What they need is built.
    pub(crate) fn start(workspace: &Workspace, asked: &Asked, flavour: Flavour) -> Result<Self> {
        fs::create_dir_all(&asked.data)?;
        let data = fs::canonicalize(&asked.data)?;
        let config = asked.config.as_deref().map(fs::canonicalize).transpose()?;
        let mut origin = Run::new(Product::of(workspace).program)
            .folder(&workspace.root)
            .args(["origin", "--origin-port", &asked.origin_port.to_string(), "--data"])
            .arg(&data);
        if let Some(config) = &config {
            origin = origin.arg("--config").arg(config);
        }
        let log = data.join("origin.log");
        let (origin, at) = Service::start_until("origin", origin, &log, READY)?;
        let at: Value = serde_json::from_str(&at).context("the origin's ready line is no JSON")?;
        let member = |name: &str| at.get(name).and_then(Value::as_str).unwrap_or_default();
        let spot = Spot {
            edge_port: asked.edge_port,
            origin: member("origin"),
            data: &data,
            config: config.as_deref(),
            configured: true,
        };
        let edge = Local::start(workspace, asked.platform, flavour, &spot)?;
        let ready = json!({
            "edge": edge.url,
            "origin": member("origin"),
            "token": demo_token(workspace, &data)?,
            "origin_metrics": member("origin_metrics"),
        });
        Ok(Self { edge, origin, ready })
    }

    /// A token with every scope of the demo tenant.
    pub(crate) fn token(&self) -> &str {
        self.ready.get("token").and_then(Value::as_str).unwrap_or_default()
    }
}

/// Builds and serves until told to end.
pub(crate) fn run(workspace: &Workspace, asked: &Asked) -> Result<()> {
    make_ready(workspace, asked.platform)?;
    let mut deployment = Deployment::start(workspace, asked, Flavour::Product)?;
    let Deployment { edge, origin, ready } = &mut deployment;
    say(&format!("\n  Outport is ready on {}. Its log: {}\n", asked.platform, edge.log.display()));
    writeln!(io::stdout().lock(), "{READY}{ready}")?;
    service::wait_for_signal(&mut [&mut edge.service, origin])
}

/// Installs and builds what serving on a platform takes.
pub(crate) fn make_ready(workspace: &Workspace, platform: Platform) -> Result<()> {
    setup::run(workspace, &[Part::Wasm, Part::Page, Part::Platform(platform)])?;
    drivers::build(workspace, platform, Flavour::Product)?;
    build::product(workspace)?;
    if platform == Platform::Spin {
        build::program(workspace, "outport-spin-runner")?;
    }
    Ok(())
}

/// The arguments with which `outport serve` does the same on wasmtime.
pub(crate) fn serve_args(asked: &Asked) -> Vec<OsString> {
    let mut args: Vec<OsString> = vec!["--data".into(), asked.data.clone().into()];
    for (name, port) in [("--edge-port", asked.edge_port), ("--origin-port", asked.origin_port)] {
        args.extend([name.into(), port.to_string().into()]);
    }
    if let Some(config) = &asked.config {
        args.extend(["--config".into(), config.into()]);
    }
    args
}

fn demo_token(workspace: &Workspace, data: &Path) -> Result<String> {
    Run::new(Product::of(workspace).program)
        .args(["token", "--tenant", "demo", "--subject", "demo", "--ttl", DEMO_TTL])
        .args(["--scope", DEMO_SCOPES, "--data"])
        .arg(data)
        .text()
}
