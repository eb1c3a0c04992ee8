//! What our edge is measured beside, each set up as its makers would for this file.

use std::ffi::{OsStr, OsString};
use std::fs;
use std::net::{Ipv4Addr, TcpListener};
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};

use super::CONTENT;
use super::contenders::Contender;
use crate::server::Server;

/// How long a server may take until it answers; `wasmtime serve` compiles first.
const START_MAX: Duration = Duration::from_secs(60);
const POLL: Duration = Duration::from_millis(50);

const NGINX_CONFIG: &str = include_str!("nginx.conf");

/// nginx, with the file on the disk.
pub(super) async fn nginx(program: &Path, folder: &Path) -> Result<(Contender, Server)> {
    let root = folder.join("nginx");
    fs::create_dir(&root)?;
    fs::write(root.join("small.bin"), CONTENT)?;
    let config = root.join("nginx.conf");
    let address = free_address()?;
    fs::write(&config, NGINX_CONFIG.replace("ADDRESS", &address))?;
    let args: [&OsStr; 6] = [
        "-p".as_ref(),
        root.as_ref(),
        "-c".as_ref(),
        config.as_ref(),
        "-e".as_ref(),
        "stderr".as_ref(),
    ];
    let server = Server::start(folder, "nginx", program, args)?;
    let version = Command::new(program).arg("-v").output()?.stderr;
    let name = format!("nginx {}", version_after(&version, "nginx/")?);
    answering(name, format!("http://{address}/small.bin"), server).await
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
    let version = Command::new(program).arg("--version").output()?.stdout;
    let name = format!("wasmtime serve {}", version_after(&version, "wasmtime ")?);
    answering(name, format!("http://{address}/"), server).await
}

/// The contender, once it answers.
async fn answering(name: String, url: String, mut server: Server) -> Result<(Contender, Server)> {
    let mut contender =
        Contender { name, url, token: None, processes: Vec::new(), has_cache: false };
    let begun = Instant::now();
    while let Err(error) = contender.verify().await {
        server.check()?;
        if begun.elapsed() > START_MAX {
            return Err(error);
        }
        tokio::time::sleep(POLL).await;
    }
    contender.processes = server.processes()?;
    Ok((contender, server))
}

/// An address that nobody listens on; for servers that can't say which free port they took.
fn free_address() -> Result<String> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
    Ok(listener.local_addr()?.to_string())
}

/// The word after `mark`.
fn version_after(output: &[u8], mark: &str) -> Result<String> {
    let text = String::from_utf8_lossy(output);
    let version = text.split_once(mark).and_then(|(_, rest)| rest.split_whitespace().next());
    Ok(version.with_context(|| format!("there is no version in: {text}"))?.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_are_found_in_what_programs_say() {
        let version = |text: &str, mark| version_after(text.as_bytes(), mark).ok();
        assert_eq!(version("nginx version: nginx/1.22.1\n", "nginx/").unwrap(), "1.22.1");
        assert_eq!(version("wasmtime 48.0.8 (abc)", "wasmtime ").unwrap(), "48.0.8");
        assert_eq!(version("other", "nginx/"), None);
    }
}
