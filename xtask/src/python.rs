//! Programs of others that are written in Python: each in an environment of its own, apart from
//! whatever else Python has on the machine.

use std::fs;
use std::path::PathBuf;

use anyhow::{Context as _, Result};

use crate::apt;
use crate::process::{Run, timed};
use crate::stamp::{Key, Stamp};
use crate::workspace::Workspace;

/// The Python that has what `tests/NAME/requirements.txt` lists.
pub(crate) fn program(workspace: &Workspace, name: &str) -> PathBuf {
    folder(workspace, name).join("bin/python")
}

/// Installs it.
pub(crate) fn make_ready(workspace: &Workspace, name: &str) -> Result<()> {
    let folder = folder(workspace, name);
    let versions = workspace.root.join("tests").join(name).join("requirements.txt");
    let stamp = Stamp::new(folder.join(format!("{name}.stamp")), &Key::default().file(&versions)?);
    if stamp.holds() {
        return Ok(());
    }
    timed(&format!("pip install {name}"), || {
        if folder.exists() {
            fs::remove_dir_all(&folder)?;
        }
        let environment = || Run::new("python3").args(["-m", "venv"]).arg(&folder).done();
        environment().or_else(|_| {
            apt::install(&["python3-venv"])?;
            environment()
        })?;
        Run::new(program(workspace, name))
            .args(["-m", "pip", "install", "--quiet", "--disable-pip-version-check"])
            .arg("--requirement")
            .arg(&versions)
            .done()
            .with_context(|| format!("{name} is not installed"))?;
        stamp.set()
    })
}

fn folder(workspace: &Workspace, name: &str) -> PathBuf {
    workspace.products().join("tools").join(name)
}
