//! What the benchmarks run beside and with.

use std::ffi::OsString;
use std::fs;
use std::path::PathBuf;

use anyhow::{Context, Result};

use crate::process::timed;
use crate::stamp::{Key, Stamp};
use crate::workspace::Workspace;
use crate::{apt, node, wasm};

/// Programs, and the packages that have them.
const TOOLS: &[(&str, &str)] = &[("nginx", "nginx-light"), ("wrk", "wrk")];

/// The `wasmtime serve` to compare with: as the host's own wasmtime in Cargo.toml.
const WASMTIME_VERSION: &str = "48.0.8";

/// What serving takes; without the rest it compiles in half of the time and serves alike.
const WASMTIME_FEATURES: &str =
    "serve,run,cranelift,component-model-async,pooling-allocator,parallel-compilation";

/// The benchmark that needs peers.
const WITH_PEERS: &str = "edge";

/// Whether `cargo xtask bench ARGS…` needs what [`make_ready`] installs.
fn needs_peers(args: &[OsString]) -> bool {
    args.first().is_none_or(|name| name == WITH_PEERS)
}

/// The benchmark that needs a server of node's.
const WITH_TUS_SERVER: &str = "files";

/// Installs what `cargo xtask bench ARGS…` needs, beside the product.
pub(crate) fn make_ready_for(workspace: &Workspace, args: &[OsString]) -> Result<()> {
    if needs_peers(args) {
        make_ready(workspace)?;
    }
    if args.first().is_some_and(|name| name == WITH_TUS_SERVER) {
        node::packages(&workspace.root.join("bench/tus-server"), "peer")?;
    }
    Ok(())
}

/// Installs the peers and load generators, and builds the component of the one peer.
pub(crate) fn make_ready(workspace: &Workspace) -> Result<()> {
    apt::programs("benchmark peers", TOOLS)?;
    wasmtime(workspace)?;
    peer_component(workspace)
}

fn wasmtime(workspace: &Workspace) -> Result<()> {
    let folder = folder(workspace);
    let key = Key::default().text(WASMTIME_VERSION).text(WASMTIME_FEATURES);
    let stamp = Stamp::new(folder.join("wasmtime.stamp"), &key);
    if stamp.holds() && folder.join("bin/wasmtime").is_file() {
        return Ok(());
    }
    timed(&format!("cargo install wasmtime-cli {WASMTIME_VERSION}, a few minutes"), || {
        let scratch = folder.join("wasmtime-target");
        workspace
            .cargo()
            .args(["install", "wasmtime-cli", "--version", WASMTIME_VERSION, "--locked", "--force"])
            .args(["--no-default-features", "--features", WASMTIME_FEATURES, "--root"])
            .arg(&folder)
            .arg("--target-dir")
            .arg(&scratch)
            .done()?;
        fs::remove_dir_all(scratch)?;
        stamp.set()
    })
}

// Not a package of the workspace: it brings dependencies that nothing else has.
fn peer_component(workspace: &Workspace) -> Result<()> {
    wasm::make_ready(workspace, wasm::COMPONENT_TARGETS)?;
    let source = workspace.root.join("bench/peer-component");
    let component = folder(workspace).join("peer.wasm");
    let key = Key::default().tree(&source, &["target"])?;
    let stamp = Stamp::new(folder(workspace).join("peer.stamp"), &key);
    if stamp.holds() && component.is_file() {
        return Ok(());
    }
    let toolchain =
        wasm::toolchain(wasm::COMPONENT_TARGETS)?.context("no toolchain builds for wasm")?;
    timed(&format!("component of the peer: {toolchain}"), || {
        let target = workspace.wasm_target().join("peer");
        toolchain
            .cargo()
            .folder(&source)
            .args(["build", "--release", "--locked", "--target", wasm::COMPONENT_TARGET])
            .arg("--target-dir")
            .arg(&target)
            .done()?;
        let built = target.join(wasm::COMPONENT_TARGET).join("release/peer_component.wasm");
        fs::copy(built, component)?;
        stamp.set()
    })
}

/// Where `outport-bench` looks for what is made here.
fn folder(workspace: &Workspace) -> PathBuf {
    workspace.products().join("bench")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn peers_are_installed_for_the_one_benchmark_that_has_them() {
        let needs = |args: &[&str]| {
            let args: Vec<_> = args.iter().map(OsString::from).collect();
            needs_peers(&args)
        };
        assert!(needs(&[]));
        assert!(needs(&["edge"]));
        assert!(!needs(&["meta", "edge"]));
    }
}
