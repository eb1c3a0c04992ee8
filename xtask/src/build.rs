//! Building page, component and program, each from the one before.
//!
//! Every call of cargo for this machine selects the whole workspace and narrows it to a target by
//! name. The features of a dependency are united over what is selected, so each is compiled once
//! for the build, the checks and the tests alike.

use std::fs;
use std::path::PathBuf;

use anyhow::{Context, Result};

use crate::drivers::package;
use crate::platform::Platform;
use crate::process::{Run, timed};
use crate::stamp::{self, Key, Stamp};
use crate::wasm;
use crate::workspace::Workspace;

/// The folders of web/ that hold no source.
const WEB_RESULTS: &[&str] =
    &["node_modules", "dist", "test-results", "playwright-report", "screenshots"];

/// What was built, by absolute path.
pub(crate) struct Product {
    /// The page's files.
    pub(crate) page: PathBuf,
    /// The component as the platform-neutral file.
    pub(crate) component: PathBuf,
    /// The component compiled ahead of time for this machine.
    pub(crate) compiled_component: PathBuf,
    /// The program.
    pub(crate) program: PathBuf,
}

impl Product {
    /// Where the product's build script and the tests find the parts. Every call of cargo gets
    /// these, because one with and one without would compile the program twice.
    pub(crate) fn env(&self) -> [(&'static str, PathBuf); 4] {
        [
            ("OUTPORT_PAGE", self.page.clone()),
            ("OUTPORT_COMPONENT_WASM", self.component.clone()),
            ("OUTPORT_COMPONENT", self.compiled_component.clone()),
            ("OUTPORT_BIN", self.program.clone()),
        ]
    }

    /// Where everything will be once it is built.
    pub(crate) fn of(workspace: &Workspace) -> Self {
        Self {
            page: workspace.web().join("dist"),
            component: workspace.products().join("edge.wasm"),
            compiled_component: workspace.products().join("edge.cwasm"),
            program: workspace.program("outport"),
        }
    }
}

/// Builds everything that is out of date.
pub(crate) fn product(workspace: &Workspace) -> Result<Product> {
    fs::create_dir_all(workspace.products())?;
    let product = Product::of(workspace);
    page(workspace, &product)?;
    component(workspace, &product)?;
    compile_component(workspace, &product)?;
    timed("program", || release_program(workspace, &product, "outport"))?;
    Ok(product)
}

/// Builds the benchmark program.
pub(crate) fn bench(workspace: &Workspace, product: &Product) -> Result<PathBuf> {
    timed("benchmarks", || release_program(workspace, product, "outport-bench"))?;
    Ok(workspace.program("outport-bench"))
}

/// A call of cargo on the whole workspace, as every check and build makes it.
pub(crate) fn cargo_release(workspace: &Workspace, product: &Product, command: &str) -> Run {
    let cargo = workspace.cargo().args([command, "--release", "--workspace"]).envs(product.env());
    // Drivers inside of platforms compile for their own targets alone.
    let elsewhere = Platform::DRIVEN.map(|platform| format!("--exclude={}", package(platform)));
    let cargo = cargo.args(elsewhere);
    // A lock file that its manifests have left behind is found where it counts.
    if std::env::var_os("CI").is_some() { cargo.arg("--locked") } else { cargo }
}

/// Builds another program of the workspace.
pub(crate) fn program(workspace: &Workspace, name: &str) -> Result<()> {
    timed(name, || release_program(workspace, &Product::of(workspace), name))
}

fn release_program(workspace: &Workspace, product: &Product, name: &str) -> Result<()> {
    cargo_release(workspace, product, "build").args(["--bin", name]).done()
}

fn page(workspace: &Workspace, product: &Product) -> Result<()> {
    let web = workspace.web();
    let key = Key::default().text(&web.to_string_lossy()).tree(&web, WEB_RESULTS)?;
    let stamp = Stamp::new(workspace.products().join("page.stamp"), &key);
    if stamp.holds() && product.page.join("index.html").is_file() {
        return Ok(());
    }
    timed("page: npm run build", || {
        workspace.npm().args(["run", "build"]).done()?;
        stamp.set()
    })
}

fn component(workspace: &Workspace, product: &Product) -> Result<()> {
    let toolchain = wasm::toolchain(wasm::COMPONENT_TARGETS)?
        .context("no toolchain builds for wasm; run `cargo xtask setup --only wasm`")?;
    timed(&format!("component: {toolchain}"), || {
        toolchain
            .cargo()
            .folder(&workspace.root)
            .args(["build", "--package", "outport-edge-component", "--profile", "component"])
            .args(["--target", wasm::COMPONENT_TARGET, "--target-dir"])
            .arg(workspace.wasm_target())
            .done()
    })?;
    let folder = workspace.wasm_target().join(wasm::COMPONENT_TARGET).join("component");
    stamp::replace_if_changed(&folder.join("outport_edge_component.wasm"), &product.component)
}

fn compile_component(workspace: &Workspace, product: &Product) -> Result<()> {
    timed("compiler of the component", || {
        release_program(workspace, product, "outport-precompile")
    })?;
    let compiler = workspace.program("outport-precompile");
    let key = Key::default().file(&product.component)?.file_time(&compiler)?;
    let stamp = Stamp::new(workspace.products().join("edge.cwasm.stamp"), &key);
    if stamp.holds() && product.compiled_component.is_file() {
        return Ok(());
    }
    timed("component, compiled ahead of time", || {
        let fresh = workspace.products().join("edge.cwasm.new");
        Run::new(&compiler).arg(&product.component).arg(&fresh).done()?;
        stamp::replace_if_changed(&fresh, &product.compiled_component)?;
        fs::remove_file(&fresh)?;
        stamp.set()
    })
}
