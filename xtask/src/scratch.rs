//! Folders for what a check leaves behind.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::Result;

use crate::platform::Platform;
use crate::workspace::Workspace;

/// A data folder of one check, which stays for a look at it until the check is run again.
pub(crate) struct Scratch(pub(crate) PathBuf);

impl Scratch {
    pub(crate) fn new(workspace: &Workspace, what: &str, platform: Platform) -> Result<Self> {
        let folder = workspace.products().join("check").join(format!("{what}-{platform}"));
        remove(&folder)?;
        fs::create_dir_all(&folder)?;
        Ok(Self(folder))
    }
}

fn remove(folder: &Path) -> Result<()> {
    if folder.exists() { Ok(fs::remove_dir_all(folder)?) } else { Ok(()) }
}
