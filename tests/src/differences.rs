//! What may differ between platforms, and why. Everything else must be equal, byte for byte.

use crate::platform::Platform;

/// One difference to be expected.
#[derive(Debug)]
pub struct Difference {
    /// Where.
    pub platforms: &'static [Platform],
    /// In which scenario; none means in all of them.
    pub scenario: Option<&'static str>,
    /// In what.
    pub what: What,
    /// Why it must be so.
    pub why: &'static str,
}

/// What of an answer differs from our own host's.
#[derive(Debug, PartialEq, Eq)]
pub enum What {
    /// There is a field more.
    Added(&'static str),
    /// A field is missing.
    Removed(&'static str),
    /// A field has another value.
    Changed(&'static str),
    /// The status is this one, and not that of our own host.
    Status(u16),
    /// The body.
    Body,
    /// Whatever is said, in a scenario that the platform's own HTTP server answers.
    Anything,
}

/// The list. An entry that explains nothing any more fails the comparison.
pub const DIFFERENCES: &[Difference] = &[
    Difference {
        platforms: &[Platform::Cloudflare, Platform::Fastly],
        scenario: None,
        what: What::Removed("ratelimit"),
        why: "the platform's limiter says yes or no, and not what is left",
    },
    Difference {
        platforms: &[Platform::Fastly],
        scenario: None,
        what: What::Removed("connection"),
        why: "the platform's HTTP server ends connections without announcing it",
    },
    Difference {
        platforms: &[Platform::Fastly, Platform::Spin],
        scenario: Some("malformed::request_lines_that_are_none"),
        what: What::Anything,
        why: "the platform's HTTP server refuses a target that is no path by itself",
    },
];
