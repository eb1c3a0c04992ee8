//! The platforms that an edge is deployed to by their own command lines, as ours names them.

use outport_edge_core::platform::{self, Platform};

/// A platform besides our own node.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Target {
    Cloudflare,
    Fastly,
    Spin,
}

impl Target {
    /// What the platform can do, and what it bounds.
    pub(crate) fn platform(self) -> &'static Platform {
        match self {
            Self::Cloudflare => &platform::CLOUDFLARE,
            Self::Fastly => &platform::FASTLY,
            Self::Spin => &platform::SPIN,
        }
    }

    /// The name of the manifest that the platform's command line reads.
    pub(crate) fn manifest(self) -> &'static str {
        match self {
            Self::Cloudflare => "wrangler.toml",
            Self::Fastly => "fastly.toml",
            Self::Spin => "spin.toml",
        }
    }
}

#[cfg(test)]
mod tests {
    use clap::ValueEnum as _;

    use super::*;

    #[test]
    fn the_command_line_and_the_data_agree_on_names() {
        for target in Target::value_variants() {
            let name = target.to_possible_value().unwrap();
            assert_eq!(name.get_name(), target.platform().key);
        }
    }
}
