//! Who is measured: our edge with a public and a private file, nginx, and stock `wasmtime serve`.

use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use reqwest::header::CACHE_STATUS;
use reqwest::{Client, StatusCode};

use super::{CONTENT, peers, product};
use crate::nginx;
use crate::server::{self, Server};

/// A server with an address to be asked for the file.
pub(super) struct Contender {
    /// What the report calls it.
    pub(super) name: String,
    /// The file's address.
    pub(super) url: String,
    /// The bearer token to ask with.
    pub(super) token: Option<String>,
    /// The processes whose time is taken.
    pub(super) processes: Vec<u32>,
    /// Whether it says by a header that the answer is from its cache.
    pub(super) has_cache: bool,
}

/// Everything that runs, ours first.
pub(super) struct Lineup {
    pub(super) contenders: Vec<Contender>,
    _servers: Vec<Server>,
}

/// Starts everything, on free ports, with what it needs in `folder`.
pub(super) async fn start(folder: &Path) -> Result<Lineup> {
    let programs = Programs::find()?;
    let (ours, mut servers) = product::start(&programs.outport, folder).await?;
    let (nginx, server) = peers::nginx(&programs.nginx, folder).await?;
    servers.push(server);
    let (wasmtime, server) =
        peers::wasmtime(&programs.wasmtime, &programs.peer_component, folder).await?;
    servers.push(server);
    let contenders = ours.into_iter().chain([nginx, wasmtime]).collect();
    Ok(Lineup { contenders, _servers: servers })
}

impl Contender {
    /// Asks once; an error unless the answer is the file, from the cache where there is one.
    pub(super) async fn verify(&self) -> Result<()> {
        let mut request = Client::new().get(&self.url);
        if let Some(token) = &self.token {
            request = request.bearer_auth(token);
        }
        let answer = request.send().await?;
        let status = answer.status();
        let cache = answer.headers().get(CACHE_STATUS).cloned();
        let body = answer.bytes().await?;
        if status != StatusCode::OK || *body != CONTENT {
            bail!("{} answers {status} with {} bytes, not with the file", self.name, body.len());
        }
        let cache = cache.as_ref().and_then(|value| value.to_str().ok()).unwrap_or_default();
        if self.has_cache && !cache.contains("; hit") {
            bail!("{} did not answer from its cache: \"{cache}\"", self.name);
        }
        Ok(())
    }

    /// What its processes have used of all processors.
    pub(super) fn cpu_time(&self) -> Result<Duration> {
        server::cpu_time(&self.processes)
    }
}

/// What is run, by path.
struct Programs {
    outport: PathBuf,
    nginx: PathBuf,
    wasmtime: PathBuf,
    peer_component: PathBuf,
}

impl Programs {
    /// What `cargo xtask bench` has made ready: beside this program, and in the folder
    /// outport/bench of the same target folder.
    fn find() -> Result<Self> {
        let made = crate::product::made()?;
        Ok(Self {
            outport: crate::product::program()?,
            nginx: nginx::program()?,
            wasmtime: there(&made.join("bin/wasmtime"))?,
            peer_component: there(&made.join("peer.wasm"))?,
        })
    }
}

fn there(path: &Path) -> Result<PathBuf> {
    let missing = || format!("there is no {}; `cargo xtask bench edge` makes it", path.display());
    path.canonicalize().with_context(missing)
}
