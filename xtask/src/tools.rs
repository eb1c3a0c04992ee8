//! The programs of the platforms: their command lines, local runtimes and build tools.
//!
//! Each is installed below the target folder, at a version of ours, and touches nothing else on
//! the machine.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};

use crate::node;
use crate::platform::Platform;
use crate::process::{Run, say, timed};
use crate::stamp::{Key, Stamp};
use crate::wasm;
use crate::workspace::Workspace;

/// What makes a Worker of a wasm module.
const WORKER_BUILD_VERSION: &str = "0.8.7";
/// Fastly's command line. Some registries lack its builds for some machines, and a lock file would
/// have to name them all, so it is installed by itself.
const FASTLY_CLI: &str = "@fastly/cli";
const FASTLY_CLI_VERSION: &str = "16.1.0";
/// Fastly's local runtime. Older ones lack calls that the SDK makes.
const VICEROY_VERSION: &str = "0.22.0";

/// Makes ready what building and serving on a platform takes.
pub(crate) fn make_ready(workspace: &Workspace, platform: Platform) -> Result<()> {
    wasm::make_ready(workspace, &[target(platform)])?;
    match platform {
        Platform::Wasmtime | Platform::Spin => Ok(()),
        Platform::Cloudflare => {
            from_npm(workspace)?;
            let bindgen = locked_version(workspace, "wasm-bindgen")?;
            from_cargo(workspace, "wasm-bindgen-cli", &bindgen)?;
            from_cargo(workspace, "worker-build", WORKER_BUILD_VERSION)
        }
        Platform::Fastly => {
            fastly_cli(workspace)?;
            from_cargo(workspace, "viceroy", VICEROY_VERSION)
        }
    }
}

/// The target that a platform's driver is compiled for.
pub(crate) const fn target(platform: Platform) -> &'static str {
    match platform {
        Platform::Cloudflare => "wasm32-unknown-unknown",
        Platform::Fastly => "wasm32-wasip1",
        Platform::Wasmtime | Platform::Spin => wasm::COMPONENT_TARGET,
    }
}

/// A program that cargo installed.
pub(crate) fn program(workspace: &Workspace, name: &str) -> PathBuf {
    folder(workspace).join("bin").join(name)
}

/// A call of Cloudflare's command line.
pub(crate) fn wrangler(workspace: &Workspace) -> Run {
    Run::new(npm_program_path(workspace, "wrangler"))
        .folder(&workspace.root)
        .env("WRANGLER_SEND_METRICS", "false")
        .env("CI", "true")
}

/// Puts what was rendered for Workers KV into a local one.
pub(crate) fn put_values(
    workspace: &Workspace,
    manifest: &Path,
    state: &Path,
    values: &Path,
) -> Result<()> {
    Run::new("node")
        .arg(workspace.root.join("tools/put-values.mjs"))
        .args([manifest, state, values])
        .env("WRANGLER_SEND_METRICS", "false")
        .text()
        .map(drop)
}

/// The first Spin that understands the component, which speaks WASI 0.3.0.
const SPIN_VERSION_MIN: (u32, u32) = (4, 1);

/// Whether Spin's own program is installed, and new enough.
pub(crate) fn has_spin() -> bool {
    let Ok(version) = Run::new("spin").arg("--version").text() else { return false };
    let is_new_enough = spin_version(&version).is_some_and(|version| version >= SPIN_VERSION_MIN);
    if !is_new_enough {
        say(&format!("{version} is too old for the component; a runner of ours serves it"));
    }
    is_new_enough
}

// "spin 4.1.0 (abc1234 2026-06-01)"
fn spin_version(text: &str) -> Option<(u32, u32)> {
    let mut parts = text.strip_prefix("spin ")?.split('.');
    Some((parts.next()?.parse().ok()?, parts.next()?.parse().ok()?))
}

/// A call of Fastly's command line.
pub(crate) fn fastly(workspace: &Workspace) -> Run {
    Run::new(folder(workspace).join("node_modules/.bin/fastly")).folder(&workspace.root)
}

/// Where npm put a program.
pub(crate) fn npm_program_path(workspace: &Workspace, name: &str) -> PathBuf {
    workspace.root.join("tools/node_modules/.bin").join(name)
}

fn folder(workspace: &Workspace) -> PathBuf {
    workspace.products().join("tools")
}

fn from_npm(workspace: &Workspace) -> Result<()> {
    node::packages(&workspace.root.join("tools"), "platform tools")
}

fn fastly_cli(workspace: &Workspace) -> Result<()> {
    let folder = folder(workspace);
    let stamp =
        Stamp::new(folder.join("fastly-cli.stamp"), &Key::default().text(FASTLY_CLI_VERSION));
    if stamp.holds() {
        return Ok(());
    }
    fs::create_dir_all(&folder)?;
    timed(&format!("npm install {FASTLY_CLI} {FASTLY_CLI_VERSION}"), || {
        Run::new("npm")
            .args(["install", "--no-save", "--ignore-scripts", "--no-audit", "--no-fund"])
            .arg("--prefix")
            .arg(&folder)
            .arg(format!("{FASTLY_CLI}@{FASTLY_CLI_VERSION}"))
            .done()?;
        stamp.set()
    })
}

// What a developer waits for is its compiler; what it runs takes moments. So it is compiled with
// little optimization, and into a folder that goes when it is done.
pub(crate) fn from_cargo(workspace: &Workspace, package: &str, version: &str) -> Result<()> {
    let folder = folder(workspace);
    let key = Key::default().text(version);
    let stamp = Stamp::new(folder.join(format!("{package}.stamp")), &key);
    if stamp.holds() {
        return Ok(());
    }
    let scratch = folder.join("build");
    let install = |locked: &[&str]| {
        Run::new("cargo")
            .args(["install", &format!("{package}@{version}"), "--force"])
            .args(locked)
            .arg("--root")
            .arg(&folder)
            .arg("--target-dir")
            .arg(&scratch)
            .env("CARGO_PROFILE_RELEASE_OPT_LEVEL", "1")
            .env("CARGO_PROFILE_RELEASE_DEBUG", "0")
            .env("CARGO_PROFILE_RELEASE_LTO", "off")
            .env("CARGO_PROFILE_RELEASE_CODEGEN_UNITS", "16")
            .folder(&std::env::temp_dir())
            .done()
    };
    timed(&format!("cargo install {package} {version}"), || {
        install(&["--locked"]).or_else(|error| {
            // A mirror may lack a version that the package's own lock file names.
            say(&format!("{error:#}\n    trying without its lock file"));
            install(&[])
        })?;
        fs::remove_dir_all(&scratch)?;
        stamp.set()
    })
}

// "name = \"wasm-bindgen\"\nversion = \"0.2.130\""
fn locked_version(workspace: &Workspace, package: &str) -> Result<String> {
    let lock = fs::read_to_string(workspace.root.join("Cargo.lock"))?;
    let name = format!("name = \"{package}\"\nversion = \"");
    let version = lock.split_once(&name).and_then(|(_, rest)| rest.split_once('"'));
    let (version, _) = version.with_context(|| format!("Cargo.lock has no {package}"))?;
    Ok(version.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spin_tells_its_version() {
        assert_eq!(spin_version("spin 4.1.0 (abc1234 2026-06-01)"), Some((4, 1)));
        assert!(spin_version("spin 4.0.2 (abc1234 2026-01-01)") < Some(SPIN_VERSION_MIN));
        assert_eq!(spin_version("spun 4.1.0"), None);
    }
}
