//! What our edge is measured beside, each set up as its makers would for this file.

use std::ffi::OsString;
use std::fs;
use std::path::Path;

use anyhow::Result;

use super::CONTENT;
use super::contenders::Contender;
use crate::nginx::{self, Config, Nginx};
use crate::server::{Server, free_address, version};

const NGINX_CONFIG: &str = include_str!("nginx.conf");

/// nginx, with the file on the disk.
pub(super) async fn nginx(program: &Path, folder: &Path) -> Result<(Contender, Server)> {
    let root = folder.join("nginx");
    fs::create_dir(&root)?;
    fs::write(root.join("small.bin"), CONTENT)?;
    let config = Config { main: "", http: NGINX_CONFIG };
    let Nginx { name, url, server } = nginx::start(program, &root, &config)?;
    answering(name, format!("{url}/small.bin"), server).await
}

/// `wasmtime serve`, with a component that has the file in its memory.
pub(super) async fn wasmtime(
    program: &Path,
    component: &Path,
    folder: &Path,
) -> Result<(Contender, Server)> {
    let address = free_address()?;
    // `-Scli` provides what Rust's standard library imports.
    let mut args = ["serve", "-Scli", "--addr", &address].map(OsString::from).to_vec();
    args.push(component.into());
    let server = Server::start(folder, "wasmtime", program, args)?;
    let name = format!("wasmtime serve {}", version(program, "--version", "wasmtime ")?);
    answering(name, format!("http://{address}/"), server).await
}

/// The contender, once it answers.
async fn answering(name: String, url: String, mut server: Server) -> Result<(Contender, Server)> {
    let mut contender =
        Contender { name, url, token: None, processes: Vec::new(), has_cache: false };
    server.answering(async || contender.verify().await).await?;
    contender.processes = server.processes()?;
    Ok((contender, server))
}
