//! Node, and the packages that npm installs.

use std::path::Path;

use anyhow::{Context, Result, bail};

use crate::process::{Run, in_path, timed};
use crate::stamp::{Key, Stamp};

/// What the page's tools need at least.
const NODE_MAJOR_MIN: u64 = 20;

/// Installs the node packages of a folder, as its lock file says.
pub(crate) fn packages(folder: &Path, what: &str) -> Result<()> {
    let node = node_version()?;
    let lock = folder.join("package-lock.json");
    if !lock.is_file() {
        bail!("{} is missing; `npm install` beside it makes it", lock.display());
    }
    // Inside node_modules, so that it goes when they go.
    let stamp_path = folder.join("node_modules/.outport-stamp");
    let stamp = Stamp::new(stamp_path, &Key::default().text(&node).file(&lock)?);
    if stamp.holds() {
        return Ok(());
    }
    timed(&format!("node packages of the {what}: npm ci"), || {
        Run::new("npm")
            .folder(folder)
            .args(["ci", "--no-audit", "--no-fund"])
            // The test uses the system's Chromium.
            .env("PLAYWRIGHT_SKIP_BROWSER_DOWNLOAD", "1")
            .done()?;
        stamp.set()
    })
}

fn node_version() -> Result<String> {
    let advice = || format!("the page needs Node {NODE_MAJOR_MIN} or newer with npm: nodejs.org");
    let version = Run::new("node").arg("--version").text().with_context(advice)?;
    if in_path("npm").is_none() || node_major(&version).is_none_or(|major| major < NODE_MAJOR_MIN) {
        bail!("found Node {version}; {}", advice());
    }
    Ok(version)
}

// "v20.19.1"
fn node_major(version: &str) -> Option<u64> {
    Some(semver::Version::parse(version.strip_prefix('v')?).ok()?.major)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn node_versions_are_read() {
        assert_eq!(node_major("v20.19.1"), Some(20));
        assert_eq!(node_major("20.19.1"), None);
        assert_eq!(node_major("vx.1"), None);
    }
}
