//! nginx, as Debian has it.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};

use crate::server::{Server, free_address, version};

const CONFIG: &str = include_str!("nginx.conf");

/// A running nginx.
pub(crate) struct Nginx {
    /// "nginx" and its version.
    pub(crate) name: String,
    /// Its address.
    pub(crate) url: String,
    pub(crate) server: Server,
}

/// What one nginx does and others don't.
pub(crate) struct Config<'a> {
    /// Directives of the outermost context.
    pub(crate) main: &'a str,
    /// Directives within `http`; `ADDRESS` is where it is to listen.
    pub(crate) http: &'a str,
}

/// The program.
pub(crate) fn program() -> Result<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    // Debian puts it where not everybody looks.
    let folders = std::env::split_paths(&path).chain(["/usr/sbin".into()]);
    let found = folders.map(|folder| folder.join("nginx")).find(|file| file.is_file());
    found.context("there is no nginx; `cargo xtask setup --only bench` installs it")
}

/// Starts it in the folder `root`, to which its paths are relative.
pub(crate) fn start(program: &Path, root: &Path, config: &Config<'_>) -> Result<Nginx> {
    let address = free_address()?;
    let text = CONFIG.replace("MAIN", config.main).replace("HTTP", config.http);
    let file = root.join("nginx.conf");
    fs::write(&file, text.replace("ADDRESS", &address))?;
    let args = ["-p".as_ref(), root.as_os_str(), "-c".as_ref(), file.as_os_str()];
    let server = Server::start(
        root,
        "nginx",
        program,
        args.into_iter().chain(["-e".as_ref(), "stderr".as_ref()]),
    )?;
    let name = format!("nginx {}", version(program, "-v", "nginx/")?);
    Ok(Nginx { name, url: format!("http://{address}"), server })
}
