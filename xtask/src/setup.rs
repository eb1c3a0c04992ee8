//! Finding what is missing on this machine, and installing it.

use std::str::FromStr;

use anyhow::{Result, bail};

use crate::platform::Platform;
use crate::process::{in_path, say, timed};
use crate::workspace::Workspace;
use crate::{apt, bench, cache_tests, clients, node, tools, wasm};

/// The names that a Chromium answers to.
const CHROMIUMS: &[&str] =
    &["chromium", "chromium-browser", "google-chrome-stable", "google-chrome"];

/// The version of cargo-deny that deny.toml is written for, where none is installed.
const CARGO_DENY_VERSION: &str = "0.20.2";

/// The proxy that tests put in front of an edge, and its package.
const PROXY: &[(&str, &str)] = &[("nginx", "nginx-light")];

/// The names that [`Part`] answers to.
const PARTS: &str =
    "wasm, page, browser, proxy, deny, clients, cache-tests, bench, cloudflare, fastly and spin";

/// Something that can be made ready.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Part {
    /// The target that the component is compiled for.
    Wasm,
    /// The node packages of the page.
    Page,
    /// A Chromium for the page's test.
    Browser,
    /// nginx, for the tests behind a proxy.
    Proxy,
    /// cargo-deny, for licences and advisories.
    Deny,
    /// The clients of others that the tests upload with.
    Clients,
    /// The node packages of the tests of caches.
    CacheTests,
    /// The peers and load generators of the benchmarks.
    Bench,
    /// What building for a platform, and serving on it here, takes.
    Platform(Platform),
}

impl Part {
    /// What `cargo xtask test` needs.
    pub(crate) const FOR_TEST: &[Self] = &[
        Self::Wasm,
        Self::Page,
        Self::Browser,
        Self::Proxy,
        Self::Deny,
        Self::Clients,
        Self::CacheTests,
        Self::Platform(Platform::Cloudflare),
        Self::Platform(Platform::Fastly),
        Self::Platform(Platform::Spin),
    ];
}

impl FromStr for Part {
    type Err = anyhow::Error;

    fn from_str(name: &str) -> Result<Self> {
        match name {
            "wasm" => Ok(Self::Wasm),
            "page" => Ok(Self::Page),
            "browser" => Ok(Self::Browser),
            "proxy" => Ok(Self::Proxy),
            "deny" => Ok(Self::Deny),
            "clients" => Ok(Self::Clients),
            "cache-tests" => Ok(Self::CacheTests),
            "bench" => Ok(Self::Bench),
            _ => match name.parse() {
                Ok(platform) => Ok(Self::Platform(platform)),
                Err(_) => bail!("no part {name}; the parts are {PARTS}"),
            },
        }
    }
}

/// Makes these parts ready. What is ready costs milliseconds.
pub(crate) fn run(workspace: &Workspace, parts: &[Part]) -> Result<()> {
    for part in parts {
        match part {
            Part::Wasm => wasm::make_ready(workspace, wasm::COMPONENT_TARGETS)?,
            Part::Page => node::packages(&workspace.web(), "page")?,
            Part::Browser => browser()?,
            Part::Proxy => apt::programs("proxy", PROXY)?,
            Part::Deny => cargo_deny(workspace)?,
            Part::Clients => clients::make_ready(workspace)?,
            Part::CacheTests => cache_tests::make_ready(workspace)?,
            Part::Bench => bench::make_ready(workspace)?,
            Part::Platform(platform) => tools::make_ready(workspace, *platform)?,
        }
    }
    Ok(())
}

/// The Chromium to test the page with.
pub(crate) fn chromium() -> Option<std::path::PathBuf> {
    CHROMIUMS.iter().find_map(|name| in_path(name))
}

fn browser() -> Result<()> {
    if chromium().is_some() {
        return Ok(());
    }
    timed("browser: apt-get install chromium", || apt::install(&["chromium"]))?;
    match chromium() {
        Some(path) => say(&format!("found {}", path.display())),
        None => bail!("no Chromium in PATH, though its package is installed"),
    }
    Ok(())
}

fn cargo_deny(workspace: &Workspace) -> Result<()> {
    if workspace.cargo().args(["deny", "--version"]).text().is_ok() {
        return Ok(());
    }
    // Unoptimized it compiles in a third of the time, and a run still takes seconds.
    timed(&format!("cargo install cargo-deny {CARGO_DENY_VERSION}"), || {
        let folder = workspace.products().join("cargo-deny");
        workspace
            .cargo()
            .args(["install", "cargo-deny", "--version", CARGO_DENY_VERSION, "--locked", "--debug"])
            .arg("--target-dir")
            .arg(&folder)
            .env("CARGO_PROFILE_DEV_DEBUG", "0")
            .done()?;
        Ok(std::fs::remove_dir_all(folder)?)
    })
}
