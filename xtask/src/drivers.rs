//! Building the edge for the platforms that it runs inside of.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};

use crate::platform::Platform;
use crate::process::{Run, timed};
use crate::workspace::Workspace;
use crate::{stamp, tools, wasm};

/// Which build of a driver.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Flavour {
    /// What is deployed.
    Product,
    /// With the suites of needs inside; never deployed.
    Conformance,
}

impl Flavour {
    fn folder(self, platform: Platform) -> String {
        match self {
            Self::Product => platform.to_string(),
            Self::Conformance => format!("{platform}-conformance"),
        }
    }

    fn features(self) -> &'static [&'static str] {
        match self {
            Self::Product => &[],
            Self::Conformance => &["--features", "conformance"],
        }
    }
}

/// The package of a platform's driver.
pub(crate) fn package(platform: Platform) -> String {
    format!("outport-edge-{platform}")
}

/// Where a driver's build is. The platforms' manifests in the root point at the product's.
pub(crate) fn folder(workspace: &Workspace, platform: Platform, flavour: Flavour) -> PathBuf {
    workspace.root.join("target/outport").join(flavour.folder(platform))
}

/// The wasm module or component in that folder.
pub(crate) fn module(workspace: &Workspace, platform: Platform, flavour: Flavour) -> PathBuf {
    let file = match platform {
        Platform::Cloudflare => "index_bg.wasm",
        Platform::Fastly | Platform::Spin | Platform::Wasmtime => "edge.wasm",
    };
    folder(workspace, platform, flavour).join(file)
}

/// Builds a platform's driver.
pub(crate) fn build(workspace: &Workspace, platform: Platform, flavour: Flavour) -> Result<()> {
    let folder = folder(workspace, platform, flavour);
    fs::create_dir_all(&folder)?;
    timed(&format!("edge for {}", flavour.folder(platform)), || match platform {
        Platform::Cloudflare => worker(workspace, flavour, &folder),
        Platform::Fastly | Platform::Spin | Platform::Wasmtime => {
            let built = cargo(workspace, platform, flavour)?;
            stamp::replace_if_changed(&built, &module(workspace, platform, flavour))
        }
    })
}

/// A call of the cargo that compiles for a platform, on the platform's driver.
pub(crate) fn cargo_for(workspace: &Workspace, platform: Platform, command: &str) -> Result<Run> {
    let cargo = toolchain(platform)?.cargo().folder(&workspace.root);
    Ok(cargo
        .args([command, "--package", &package(platform), "--profile", "component"])
        .args(["--target", tools::target(platform), "--target-dir"])
        .arg(workspace.wasm_target()))
}

fn cargo(workspace: &Workspace, platform: Platform, flavour: Flavour) -> Result<PathBuf> {
    cargo_for(workspace, platform, "build")?.args(flavour.features()).done()?;
    let folder = workspace.wasm_target().join(tools::target(platform)).join("component");
    // A program keeps its hyphens, a library does not.
    let name = package(platform);
    let built = [name.clone(), name.replace('-', "_")].map(|name| format!("{name}.wasm"));
    let built = built.iter().map(|name| folder.join(name)).find(|file| file.is_file());
    built.with_context(|| format!("{} has no module of {name}", folder.display()))
}

// The tool compiles, binds, optimizes and writes the JavaScript around the module. It looks for
// other tools in variables before it would download them.
fn worker(workspace: &Workspace, flavour: Flavour, folder: &Path) -> Result<()> {
    let run = Run::new(tools::program(workspace, "worker-build"))
        .folder(&workspace.root.join("edge/cloudflare"))
        .args(["--profile", "component", "--out-dir"])
        .arg(folder)
        .args(flavour.features())
        .env("CARGO_TARGET_DIR", workspace.wasm_target())
        .env("WASM_BINDGEN_BIN", tools::program(workspace, "wasm-bindgen"))
        .env("ESBUILD_BIN", tools::npm_program_path(workspace, "esbuild"))
        .env("WASM_OPT_BIN", tools::npm_program_path(workspace, "wasm-opt"));
    match toolchain(Platform::Cloudflare)?.name() {
        Some(name) => run.env("RUSTUP_TOOLCHAIN", name).done(),
        None => run.done(),
    }
}

fn toolchain(platform: Platform) -> Result<wasm::Toolchain> {
    let target = tools::target(platform);
    wasm::toolchain(&[target])?.with_context(|| {
        format!("no toolchain builds for {target}; run `cargo xtask setup --only {platform}`")
    })
}
