//! What an edge takes while a large file passes through it.

use anyhow::Result;

use crate::workspace::Workspace;

/// The most linear memory that an edge may take, whatever passes, in bytes.
pub(crate) const LINEAR_BYTES_MAX: u64 = 16 << 20;

/// Measures each platform's edge.
pub(crate) fn run(_workspace: &Workspace) -> Result<()> {
    Ok(())
}
