//! What the benchmarks run beside and with.

use std::ffi::OsString;
use std::fs;
use std::path::PathBuf;

use anyhow::{Context, Result};

use crate::process::timed;
use crate::stamp::{Key, Stamp};
use crate::workspace::Workspace;
use crate::{apt, node, wasm};

/// What is installed, and the packages that have it.
const NGINX: (&str, &str) = ("nginx", "nginx-light");
const BROTLI: (&str, &str) =
    ("/usr/lib/nginx/modules/ngx_http_brotli_filter_module.so", "libnginx-mod-http-brotli-filter");
const NJS: (&str, &str) = ("/usr/lib/nginx/modules/ngx_http_js_module.so", "libnginx-mod-http-js");
const WRK: (&str, &str) = ("wrk", "wrk");

/// The package whose documentation stands for pages in HTML. It has no dependencies.
const DOCUMENTED: &str = "bytes";

/// The `wasmtime serve` to compare with: as the host's own wasmtime in Cargo.toml.
const WASMTIME_VERSION: &str = "48.0.8";

/// What serving takes; without the rest it compiles in half of the time and serves alike.
const WASMTIME_FEATURES: &str =
    "serve,run,cranelift,component-model-async,pooling-allocator,parallel-compilation";

/// What a benchmark needs beside the product.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Needs {
    /// nginx, wasmtime with a component of ours, and a load generator.
    Peers,
    /// nginx with brotli, and a page to compress.
    Brotli,
    /// nginx with njs.
    Njs,
    /// A server of node's.
    TusServer,
    Nothing,
}

impl Needs {
    /// Of `cargo xtask bench ARGS…`.
    fn of(args: &[OsString]) -> Self {
        match args.first().and_then(|name| name.to_str()) {
            None if args.is_empty() => Self::Peers,
            Some("edge") => Self::Peers,
            Some("compression") => Self::Brotli,
            Some("tokens") => Self::Njs,
            Some("files") => Self::TusServer,
            _ => Self::Nothing,
        }
    }

    fn make_ready(self, workspace: &Workspace) -> Result<()> {
        match self {
            Self::Peers => {
                apt::programs("benchmark peers", &[NGINX, WRK])?;
                wasmtime(workspace)?;
                peer_component(workspace)
            }
            Self::Brotli => {
                apt::programs("nginx with brotli", &[NGINX, BROTLI])?;
                page(workspace)
            }
            Self::Njs => apt::programs("nginx with njs", &[NGINX, NJS]),
            Self::TusServer => node::packages(&workspace.root.join("bench/tus-server"), "peer"),
            Self::Nothing => Ok(()),
        }
    }
}

/// Installs what `cargo xtask bench ARGS…` needs, beside the product.
pub(crate) fn make_ready_for(workspace: &Workspace, args: &[OsString]) -> Result<()> {
    Needs::of(args).make_ready(workspace)
}

/// Installs the peers and load generators, and builds the component of the one peer.
pub(crate) fn make_ready(workspace: &Workspace) -> Result<()> {
    Needs::Peers.make_ready(workspace)?;
    Needs::Brotli.make_ready(workspace)
}

/// What rustdoc makes of a package; cargo knows whether it is there.
fn page(workspace: &Workspace) -> Result<()> {
    timed(&format!("page to compress: cargo doc --package {DOCUMENTED}"), || {
        workspace
            .cargo()
            .args(["doc", "--package", DOCUMENTED, "--no-deps", "--target-dir"])
            .arg(folder(workspace))
            .done()
    })
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
    fn peers_are_installed_for_the_benchmarks_that_have_them() {
        let needs = |args: &[&str]| {
            let args: Vec<_> = args.iter().map(OsString::from).collect();
            Needs::of(&args)
        };
        assert_eq!(needs(&[]), Needs::Peers);
        assert_eq!(needs(&["edge"]), Needs::Peers);
        assert_eq!(needs(&["compression"]), Needs::Brotli);
        assert_eq!(needs(&["files", "--files", "9"]), Needs::TusServer);
        assert_eq!(needs(&["meta", "edge"]), Needs::Nothing);
    }
}
