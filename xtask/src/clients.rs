//! The clients of others that the tests upload with: tus-js-client for Node, tuspy for Python.

use std::fs;
use std::path::PathBuf;

use anyhow::{Context as _, Result};

use crate::process::{Run, timed};
use crate::stamp::{Key, Stamp};
use crate::workspace::Workspace;
use crate::{apt, node};

/// Installs them.
pub(crate) fn make_ready(workspace: &Workspace) -> Result<()> {
    node::packages(&workspace.root.join("tests/tus-js"), "tests of clients")?;
    tuspy(workspace)
}

/// The Python that tuspy is installed for, apart from whatever else Python has on the machine.
pub(crate) fn python(workspace: &Workspace) -> PathBuf {
    folder(workspace).join("bin/python")
}

fn folder(workspace: &Workspace) -> PathBuf {
    workspace.products().join("tools/tuspy")
}

fn tuspy(workspace: &Workspace) -> Result<()> {
    let folder = folder(workspace);
    let versions = workspace.root.join("tests/tuspy/requirements.txt");
    let stamp = Stamp::new(folder.join("tuspy.stamp"), &Key::default().file(&versions)?);
    if stamp.holds() {
        return Ok(());
    }
    timed("pip install tuspy", || {
        if folder.exists() {
            fs::remove_dir_all(&folder)?;
        }
        let environment = || Run::new("python3").args(["-m", "venv"]).arg(&folder).done();
        environment().or_else(|_| {
            apt::install(&["python3-venv"])?;
            environment()
        })?;
        Run::new(python(workspace))
            .args(["-m", "pip", "install", "--quiet", "--disable-pip-version-check"])
            .arg("--requirement")
            .arg(&versions)
            .done()
            .context("tuspy is not installed")?;
        stamp.set()
    })
}
