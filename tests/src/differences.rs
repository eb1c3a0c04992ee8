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
    /// A field has, now and then, the second value in place of the first: whether it has depends on
    /// which of two things is done first.
    Sometimes(&'static str, &'static str, &'static str),
    /// The status is this one, and not that of our own host.
    Status(u16),
    /// The body.
    Body,
    /// Whatever is said, in a scenario that the platform's own HTTP server answers.
    Anything,
}

/// The list. An entry that explains nothing any more fails the comparison, unless it is one for
/// what is so only sometimes.
pub const DIFFERENCES: &[Difference] = &[
    Difference {
        platforms: &[Platform::Cloudflare, Platform::Fastly],
        scenario: None,
        what: What::Removed("ratelimit"),
        why: "the platform's limiter says yes or no, and not what is left",
    },
    Difference {
        platforms: &[Platform::Cloudflare, Platform::Fastly, Platform::Spin],
        scenario: None,
        what: What::Changed("tus-extension"),
        why: "nothing behind a request's body passes, and the edge lists no `checksum-trailer`",
    },
    Difference {
        platforms: &[Platform::Fastly],
        scenario: None,
        what: What::Removed("connection"),
        why: "the platform's HTTP server ends connections without announcing it",
    },
    Difference {
        platforms: &[Platform::Spin],
        scenario: Some("uploads::a_length_over_the_limit"),
        what: What::Sometimes("connection", "(none)", "close"),
        why: "whether a connection ends with a refusal depends on how much of its body is there",
    },
    Difference {
        platforms: &[Platform::Fastly, Platform::Spin],
        scenario: Some("malformed::request_lines_that_are_none"),
        what: What::Anything,
        why: "the platform's HTTP server refuses a target that is no path by itself",
    },
    Difference {
        platforms: &[Platform::Cloudflare, Platform::Spin],
        scenario: None,
        what: What::Sometimes(
            "cache-status",
            "outport; hit; ttl={number}",
            "outport; fwd=uri-miss; collapsed",
        ),
        why: "a body is there for others once it is stored whole: who asks in that moment waits for it",
    },
    Difference {
        platforms: &[Platform::Spin],
        scenario: Some("relations::a_file_is_shared_with_a_user"),
        what: What::Changed("cache-status"),
        why: "contents are stored by who leads alone, and nobody does for a fresh record that came without",
    },
    Difference {
        platforms: &[Platform::Cloudflare, Platform::Fastly, Platform::Spin],
        scenario: Some("delivery::a_large_file"),
        what: What::Changed("cache-status"),
        why: "nothing is cut into slices: large files pass",
    },
    Difference {
        platforms: &[Platform::Cloudflare],
        scenario: None,
        what: What::Removed("date"),
        why: "the local runtime leaves it to the platform's front",
    },
    Difference {
        platforms: &[Platform::Cloudflare],
        scenario: None,
        what: What::Changed("upload-limit"),
        why: "the platform bounds what one request may carry, and the edge says so",
    },
    Difference {
        platforms: &[Platform::Cloudflare],
        scenario: Some("uploads::a_length_over_the_limit"),
        what: What::Anything,
        why: "what is over the platform's bound is refused before the origin is asked",
    },
    Difference {
        platforms: &[Platform::Cloudflare],
        scenario: Some("firewall::who_is_not_signed_in_does_some_work"),
        what: What::Removed("content-length"),
        why: "the local runtime's proxy sends HTML in chunks, without its length",
    },
    Difference {
        platforms: &[Platform::Cloudflare],
        scenario: Some("firewall::who_is_not_signed_in_does_some_work"),
        what: What::Added("transfer-encoding"),
        why: "the local runtime's proxy sends HTML in chunks, without its length",
    },
    Difference {
        platforms: &[Platform::Cloudflare],
        scenario: Some("delivery::active_content_never_runs"),
        what: What::Removed("content-length"),
        why: "the local runtime's proxy sends HTML in chunks, without its length",
    },
    Difference {
        platforms: &[Platform::Cloudflare],
        scenario: Some("delivery::active_content_never_runs"),
        what: What::Added("transfer-encoding"),
        why: "the local runtime's proxy sends HTML in chunks, without its length",
    },
    Difference {
        platforms: &[Platform::Cloudflare],
        scenario: Some("page::parts_that_do_not_change"),
        what: What::Removed("content-length"),
        why: "the local runtime's proxy sends HTML in chunks, without its length",
    },
    Difference {
        platforms: &[Platform::Cloudflare],
        scenario: Some("page::parts_that_do_not_change"),
        what: What::Added("transfer-encoding"),
        why: "the local runtime's proxy sends HTML in chunks, without its length",
    },
    Difference {
        platforms: &[Platform::Cloudflare],
        scenario: Some("page::the_page_and_its_parts"),
        what: What::Removed("content-length"),
        why: "the local runtime's proxy sends HTML in chunks, without its length",
    },
    Difference {
        platforms: &[Platform::Cloudflare],
        scenario: Some("page::the_page_and_its_parts"),
        what: What::Added("transfer-encoding"),
        why: "the local runtime's proxy sends HTML in chunks, without its length",
    },
    Difference {
        platforms: &[Platform::Cloudflare],
        scenario: Some("page::parts_that_do_not_change"),
        what: What::Added("content-encoding"),
        why: "the local runtime's proxy names a coding where there is no body",
    },
    Difference {
        platforms: &[Platform::Cloudflare],
        scenario: Some("malformed::a_method_that_is_no_token"),
        what: What::Anything,
        why: "the platform's HTTP server refuses it by itself",
    },
    Difference {
        platforms: &[Platform::Cloudflare],
        scenario: Some("malformed::no_host"),
        what: What::Anything,
        why: "the platform's HTTP server refuses it by itself",
    },
    Difference {
        platforms: &[Platform::Cloudflare],
        scenario: Some("malformed::request_lines_that_are_none"),
        what: What::Anything,
        why: "the platform's HTTP server refuses it by itself",
    },
    Difference {
        platforms: &[Platform::Cloudflare],
        scenario: Some("malformed::too_many_fields"),
        what: What::Anything,
        why: "the platform's HTTP server refuses it by itself",
    },
    Difference {
        platforms: &[Platform::Cloudflare],
        scenario: Some("malformed::unknown_methods"),
        what: What::Anything,
        why: "the platform's HTTP server refuses it by itself",
    },
    Difference {
        platforms: &[Platform::Fastly],
        scenario: Some("malformed::a_length_and_chunks"),
        what: What::Anything,
        why: "the edge sees length and chunks, and refuses; elsewhere the HTTP server takes the chunks",
    },
    Difference {
        platforms: &[Platform::Fastly],
        scenario: Some("malformed::a_smuggled_request_is_not_answered"),
        what: What::Anything,
        why: "the edge sees length and chunks, and refuses; elsewhere the HTTP server takes the chunks",
    },
];
