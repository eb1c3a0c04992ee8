//! The clients of others that the tests upload with: tus-js-client for Node, tuspy for Python.

use std::path::PathBuf;

use anyhow::Result;

use crate::workspace::Workspace;
use crate::{node, python};

/// Where tuspy's versions are, below `tests/`.
const TUSPY: &str = "tuspy";

/// Installs them.
pub(crate) fn make_ready(workspace: &Workspace) -> Result<()> {
    node::packages(&workspace.root.join("tests/tus-js"), "tests of clients")?;
    python::make_ready(workspace, TUSPY)
}

/// The Python that tuspy is installed for.
pub(crate) fn python(workspace: &Workspace) -> PathBuf {
    python::program(workspace, TUSPY)
}
