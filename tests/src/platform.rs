//! The platforms that an edge runs on, and the scenarios that one of them never lets it see.

use std::fmt;

use clap::ValueEnum as _;
use serde::{Deserialize, Serialize};

/// What the edge runs on.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, clap::ValueEnum,
)]
#[serde(rename_all = "lowercase")]
pub enum Platform {
    /// Our own host.
    Wasmtime,
    /// Cloudflare Workers.
    Cloudflare,
    /// Fastly Compute.
    Fastly,
    /// Spin.
    Spin,
}

/// A scenario that a platform's own HTTP server decides before the edge sees the request, or that
/// asks for what the platform does not have.
pub struct LeftOut {
    /// Where.
    pub platforms: &'static [Platform],
    /// The scenario's name.
    pub scenario: &'static str,
    /// What the platform does, or lacks.
    pub why: &'static str,
}

/// Every scenario that is left out somewhere.
pub const LEFT_OUT: &[LeftOut] = &[
    LeftOut {
        platforms: &[Platform::Cloudflare, Platform::Fastly],
        scenario: "page::what_is_left_of_the_limit",
        why: "the platform's limiter says yes or no, and not what is left",
    },
    LeftOut {
        platforms: &[Platform::Fastly, Platform::Spin],
        scenario: "malformed::no_host",
        why: "the platform's HTTP server closes the connection without an answer",
    },
    LeftOut {
        platforms: &[Platform::Spin],
        scenario: "malformed::two_hosts",
        why: "the platform's HTTP server takes the first of the two, and the edge sees no other",
    },
    LeftOut {
        platforms: &[Platform::Fastly],
        scenario: "uploads::a_length_over_the_limit",
        why: "the local runtime waits for all of a body before the edge sees the request",
    },
    LeftOut {
        platforms: &[Platform::Cloudflare, Platform::Fastly, Platform::Spin],
        scenario: "tus::a_checksum_behind_the_body",
        why: "nothing behind a request's body passes, and the edge lists no `checksum-trailer`",
    },
    LeftOut {
        platforms: &[Platform::Wasmtime, Platform::Spin],
        scenario: "firewall::where_a_client_is",
        why: "the platform does not tell where clients are, and no proxy stands before it",
    },
    LeftOut {
        platforms: &[Platform::Cloudflare],
        scenario: "delivery::by_http_2",
        why: "the local runtime speaks HTTP/1.1 alone",
    },
    LeftOut {
        platforms: &[Platform::Cloudflare],
        scenario: "malformed::two_lengths",
        why: "the platform's HTTP server refuses it by itself, with a 500 that is no problem document",
    },
    LeftOut {
        platforms: &[Platform::Cloudflare],
        scenario: "malformed::lengths_that_are_no_numbers",
        why: "the platform's HTTP server refuses it by itself, with a 500 that is no problem document",
    },
    LeftOut {
        platforms: &[Platform::Cloudflare],
        scenario: "malformed::two_hosts",
        why: "the platform's HTTP server refuses it by itself, with a 500 that is no problem document",
    },
    LeftOut {
        platforms: &[Platform::Cloudflare],
        scenario: "malformed::connect",
        why: "the platform's HTTP server refuses it by itself, with a 500 that is no problem document",
    },
    LeftOut {
        platforms: &[Platform::Cloudflare],
        scenario: "malformed::chunks_that_are_none",
        why: "the platform's HTTP server refuses it by itself, with a 500 that is no problem document",
    },
    LeftOut {
        platforms: &[Platform::Cloudflare],
        scenario: "malformed::a_length_and_chunks",
        why: "the platform's HTTP server goes by the chunks and keeps the connection",
    },
    LeftOut {
        platforms: &[Platform::Cloudflare],
        scenario: "malformed::a_smuggled_request_is_not_answered",
        why: "the platform's HTTP server goes by the chunks and keeps the connection, so that what follows is a request of its own",
    },
    LeftOut {
        platforms: &[Platform::Cloudflare],
        scenario: "malformed::duplicate_fields",
        why: "the platform makes one field of the two before the edge sees them",
    },
    LeftOut {
        platforms: &[Platform::Cloudflare],
        scenario: "malformed::two_tokens",
        why: "the platform makes one field of the two before the edge sees them",
    },
    LeftOut {
        platforms: &[Platform::Cloudflare],
        scenario: "malformed::fields_with_control_characters",
        why: "the platform's HTTP server takes it, and the edge sees nothing amiss",
    },
    LeftOut {
        platforms: &[Platform::Cloudflare],
        scenario: "malformed::names_of_fields_that_are_none",
        why: "the platform's HTTP server takes it, and the edge sees nothing amiss",
    },
    LeftOut {
        platforms: &[Platform::Cloudflare],
        scenario: "malformed::dot_segments_in_the_path",
        why: "the platform resolves the path, as browsers do, before the edge sees it",
    },
    LeftOut {
        platforms: &[Platform::Cloudflare],
        scenario: "malformed::encoded_dot_segments_in_the_path",
        why: "the platform resolves the path, as browsers do, before the edge sees it",
    },
    LeftOut {
        platforms: &[Platform::Cloudflare],
        scenario: "malformed::a_backslash_in_the_path",
        why: "the platform resolves the path, as browsers do, before the edge sees it",
    },
    LeftOut {
        platforms: &[Platform::Cloudflare],
        scenario: "page::the_page_again",
        why: "the local runtime's proxy sends HTML in chunks, without its length",
    },
];

impl Platform {
    /// The platform under test, by `OUTPORT_PLATFORM`; without it our own host.
    pub fn under_test() -> Self {
        let Ok(name) = std::env::var("OUTPORT_PLATFORM") else { return Self::Wasmtime };
        let named = Self::from_str(&name, false);
        let platform = named.unwrap_or_else(|error| panic!("OUTPORT_PLATFORM: {error}"));
        // The suite starts nothing but our own host.
        let is_served = platform == Self::Wasmtime || std::env::var_os("OUTPORT_EDGE").is_some();
        assert!(is_served, "OUTPORT_PLATFORM is {platform}: set OUTPORT_EDGE to where it serves");
        platform
    }

    /// Why the scenario is left out here, if it is.
    pub fn leaves_out(self, scenario: &str) -> Option<&'static str> {
        self.leaves_out_by(LEFT_OUT, scenario)
    }

    fn leaves_out_by(self, list: &[LeftOut], scenario: &str) -> Option<&'static str> {
        let is_meant =
            |left: &&LeftOut| left.scenario == scenario && left.platforms.contains(&self);
        list.iter().find(is_meant).map(|left| left.why)
    }
}

impl fmt::Display for Platform {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // As in the transcripts.
        self.serialize(f)
    }
}

/// Ends the run where something is left out that is no scenario, so that the list stays true.
pub fn expect_scenarios(names: &[String]) {
    expect_scenarios_of(LEFT_OUT, names);
}

fn expect_scenarios_of(list: &[LeftOut], names: &[String]) {
    for LeftOut { scenario, .. } in list {
        assert!(names.iter().any(|name| name == scenario), "{scenario} is no scenario");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIST: &[LeftOut] =
        &[LeftOut { platforms: &[Platform::Spin], scenario: "a::b", why: "it has none" }];

    #[test]
    fn a_scenario_is_left_out_where_the_list_says_so_alone() {
        assert_eq!(Platform::Spin.leaves_out_by(LIST, "a::b"), Some("it has none"));
        assert_eq!(Platform::Spin.leaves_out_by(LIST, "a::c"), None);
        assert_eq!(Platform::Fastly.leaves_out_by(LIST, "a::b"), None);
    }

    #[test]
    #[should_panic(expected = "a::b is no scenario")]
    fn what_is_left_out_is_a_scenario() {
        expect_scenarios_of(LIST, &["a::c".to_owned()]);
    }
}
