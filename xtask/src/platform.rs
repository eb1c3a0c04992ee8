//! What the edge can run on.

use std::fmt;
use std::str::FromStr;

use anyhow::{Result, bail};

/// A platform of the edge.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Platform {
    /// Our own node.
    Wasmtime,
    /// Cloudflare Workers; here workerd, by wrangler.
    Cloudflare,
    /// Fastly Compute; here Viceroy.
    Fastly,
    /// Spin; here its program, or a runner of ours that serves its interfaces.
    Spin,
}

impl Platform {
    /// All of them, our own node first.
    pub(crate) const ALL: [Self; 4] = [Self::Wasmtime, Self::Cloudflare, Self::Fastly, Self::Spin];
    /// Those whose edge is a driver inside the platform's own wasm module.
    pub(crate) const DRIVEN: [Self; 3] = [Self::Cloudflare, Self::Fastly, Self::Spin];

    /// Its name on command lines.
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Wasmtime => "wasmtime",
            Self::Cloudflare => "cloudflare",
            Self::Fastly => "fastly",
            Self::Spin => "spin",
        }
    }
}

impl fmt::Display for Platform {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for Platform {
    type Err = anyhow::Error;

    fn from_str(name: &str) -> Result<Self> {
        match Self::ALL.into_iter().find(|platform| platform.name() == name) {
            Some(platform) => Ok(platform),
            None => bail!("no platform {name}; there are wasmtime, cloudflare, fastly and spin"),
        }
    }
}
