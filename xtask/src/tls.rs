//! `cargo xtask tls`: what the program negotiates, as a scanner of others sees it.

use anyhow::Result;

use crate::build::{self, Product};
use crate::process::Run;
use crate::python;
use crate::workspace::Workspace;

/// Where the scanner's versions are, below `tests/`.
const SCANNER: &str = "sslyze";
const PROGRAM: &str = "tls-check";

/// Installs the scanner, builds what runs it, and becomes that.
pub(crate) fn exec(workspace: &Workspace, product: &Product) -> Result<anyhow::Error> {
    python::make_ready(workspace, SCANNER)?;
    build::program(workspace, PROGRAM)?;
    let scanner = python::program(workspace, SCANNER);
    Ok(Run::new(workspace.program(PROGRAM)).envs(product.env()).arg("--python").arg(scanner).exec())
}
