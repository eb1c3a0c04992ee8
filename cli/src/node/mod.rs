//! The commands that serve: `edge` and `origin`, and `serve`, which runs one of each.

mod callers;
pub(crate) mod edge;
pub(crate) mod embedded;
mod keys_followed;
pub(crate) mod origin;
mod process;
mod ready;
pub(crate) mod serve;
mod stop;

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::path::{Path, PathBuf};

use serde::Serialize;
use tracing_subscriber::EnvFilter;

use crate::failure::Failure;
use crate::settings::{self, Settings};

/// What is logged unless OUTPORT_LOG says otherwise.
const LOG_DEFAULT: &str = "warn,outport=info,outport_edge_host=info,outport_origin=info";

/// What edge and origin have in common.
#[derive(clap::Args, Clone)]
pub(crate) struct NodeArgs {
    /// The folder that everything is kept in
    #[arg(long, value_name = "DIR", default_value = "data")]
    data: PathBuf,
    /// The configuration [default: outport.toml here, if there is one]
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// The address to listen on
    #[arg(long, value_name = "ADDR", default_value = "127.0.0.1")]
    bind: IpAddr,
}

impl NodeArgs {
    fn settings(&self) -> Result<Settings, Failure> {
        Ok(settings::load(settings::locate(self.config.as_deref()).as_deref())?)
    }
}

/// Where an origin keeps its own, within the data folder.
pub(crate) fn origin_folder(data: &Path) -> PathBuf {
    data.join("origin")
}

/// What the address of a node begins with.
fn scheme(tls: bool) -> &'static str {
    if tls { "https" } else { "http" }
}

/// Says on standard output that the process serves.
fn say(ready: &impl Serialize) -> Result<(), Failure> {
    ready::print(ready)
        .map_err(|source| Failure::io("write to", Path::new("standard output"), source))
}

/// An address that was bound.
fn address(bound: io::Result<SocketAddr>) -> Result<SocketAddr, Failure> {
    bound.map_err(|source| Failure::Io { what: "can't tell the address".into(), source })
}

/// Runs a node on all cores, with its log on standard error.
pub(crate) fn block_on(node: impl Future<Output = Result<(), Failure>>) -> Result<(), Failure> {
    let filter = EnvFilter::try_from_env("OUTPORT_LOG").unwrap_or_else(|_| LOG_DEFAULT.into());
    tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr).init();
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build();
    let runtime = runtime.map_err(|source| Failure::Io { what: "can't begin".into(), source })?;
    runtime.block_on(node)
}
