//! Where things are.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use serde_json::Value;

use crate::process::Run;

/// The checkout this program works on, as cargo sees it.
pub(crate) struct Workspace {
    /// The folder of the workspace's Cargo.toml.
    pub(crate) root: PathBuf,
    /// Cargo's target folder, wherever `CARGO_TARGET_DIR` or a configuration puts it.
    pub(crate) target: PathBuf,
    /// What `cargo metadata --no-deps` says.
    pub(crate) metadata: Value,
}

impl Workspace {
    /// Asks cargo.
    pub(crate) fn find() -> Result<Self> {
        let args = ["metadata", "--no-deps", "--format-version", "1"];
        let text = Run::new("cargo").args(args).folder(&manifest_folder()).text()?;
        let metadata: Value = serde_json::from_str(&text).context("cannot read cargo metadata")?;
        let folder = |name: &str| {
            let path = metadata.get(name).and_then(Value::as_str);
            path.map(PathBuf::from).with_context(|| format!("cargo metadata has no {name}"))
        };
        Ok(Self { root: folder("workspace_root")?, target: folder("target_directory")?, metadata })
    }

    /// Where the results of the build are, stamps included.
    pub(crate) fn products(&self) -> PathBuf {
        self.target.join("outport")
    }

    /// The target folder of the component, apart so that host and wasm builds never wait for
    /// each other and the one can be thrown away without the other.
    pub(crate) fn wasm_target(&self) -> PathBuf {
        self.target.join("wasm")
    }

    /// A program built in the release profile.
    pub(crate) fn program(&self, name: &str) -> PathBuf {
        self.target.join("release").join(name)
    }

    /// The page's folder.
    pub(crate) fn web(&self) -> PathBuf {
        self.root.join("web")
    }

    /// A call of cargo in the root, with this machine's own toolchain.
    pub(crate) fn cargo(&self) -> Run {
        Run::new("cargo").folder(&self.root)
    }

    /// A call of npm in the page's folder.
    pub(crate) fn npm(&self) -> Run {
        Run::new("npm").folder(&self.web())
    }
}

// At run time, because a shared target folder may hold a program compiled in another checkout.
fn manifest_folder() -> PathBuf {
    let folder = std::env::var_os("CARGO_MANIFEST_DIR");
    folder.map_or_else(|| Path::new(env!("CARGO_MANIFEST_DIR")).to_owned(), PathBuf::from)
}
