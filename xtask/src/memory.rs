//! What an edge takes while a large file passes through it.

use anyhow::Result;

use crate::workspace::Workspace;

/// Measures each platform's edge.
pub(crate) fn run(_workspace: &Workspace) -> Result<()> {
    Ok(())
}
