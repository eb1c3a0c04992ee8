//! The tests that Outport does not pass, and why. `docs/cache-tests.md` is printed from here.

use crate::platform::Platform;

/// Tests that don't pass.
#[derive(Debug)]
pub(crate) struct Exception {
    /// Where.
    pub(crate) platforms: &'static [Platform],
    /// Their ids.
    pub(crate) tests: &'static [&'static str],
    /// Why they can't, or need not.
    pub(crate) why: &'static str,
}

/// The list. A required or optimal test that does not pass and is not in it fails the run; so does
/// one in it that passes.
pub(crate) const EXCEPTIONS: &[Exception] = &[
    Exception {
        platforms: &Platform::ALL,
        tests: &["age-parse-nonnumeric", "age-parse-negative", "age-parse-float"],
        why: "They want an `Age` that is no number to make the answer stale. RFC 9111, section \
              5.1: a cache should ignore it.",
    },
    Exception {
        platforms: &Platform::ALL,
        tests: &[
            "age-parse-prefix-twoline",
            "age-parse-dup-0",
            "age-parse-dup-0-twoline",
            "age-parse-dup-old",
        ],
        why: "They want an answer with several ages to be stale whose first age is fresh. RFC \
              9111, section 5.1: a cache should use the first. `age-parse-prefix` wants that, too.",
    },
    Exception {
        platforms: &Platform::ALL,
        tests: &[
            "stale-close-must-revalidate",
            "stale-close-proxy-revalidate",
            "stale-close-no-cache",
            "stale-close-s-maxage=2",
        ],
        why: "The origin hangs up, and they want an answer in which it has counted the request. \
              The cache's own error, which RFC 9111, section 5.2.2.2, asks for, has no such count. \
              `serve-stale-not-*` ask the same, and take it.",
    },
    Exception {
        platforms: &Platform::ALL,
        tests: &["conditional-lm-fresh-no-lm"],
        why: "It asks by a time before the answer's `Date`, and wants a 304. RFC 9111, section \
              4.3.2: where `Last-Modified` is missing, `Date` counts, and that is later.",
    },
    Exception {
        platforms: &Platform::ALL,
        tests: &["vary-normalise-lang-select"],
        why: "It wants the answer to `en, de` to be used for `fr;q=0.5, de` since it was German. \
              RFC 9111, section 4.1: fields match if they are known to mean the same, and these \
              don't.",
    },
    Exception {
        platforms: &Platform::ALL,
        tests: &["method-POST"],
        why: "Answers to POST are not stored. RFC 9110, section 9.3.3, allows it.",
    },
    Exception {
        platforms: &Platform::ALL,
        tests: &[
            "partial-store-partial-reuse-partial",
            "partial-store-partial-reuse-partial-byterange",
            "partial-store-partial-reuse-partial-absent",
            "partial-store-partial-reuse-partial-suffix",
            "partial-store-partial-complete",
        ],
        why: "Parts are not stored, and ranges answered from what is stored in full. RFC 9111, \
              section 3.3, allows it.",
    },
    Exception {
        platforms: &[Platform::Cloudflare],
        tests: &["headers-store-Transfer-Encoding"],
        why: "The origin names a transfer coding that there is not; the platform's HTTP client \
              takes no such answer.",
    },
    Exception {
        platforms: &[Platform::Cloudflare],
        tests: &["invalidate-M-SEARCH", "invalidate-M-SEARCH-cl", "invalidate-M-SEARCH-failed"],
        why: "The platform's HTTP server does not know the method: it says 501, and the edge sees \
              no request.",
    },
    Exception {
        platforms: &[Platform::Fastly, Platform::Spin],
        tests: &["headers-store-Transfer-Encoding"],
        why: "The answer has no length, and ends with its connection; there, what is stored must \
              say its length.",
    },
    Exception {
        platforms: &[Platform::Spin],
        tests: &["headers-omit-headers-listed-in-Connection"],
        why: "The platform takes the field `Connection` out of answers, but not the fields that it \
              lists, and the edge can't know of them.",
    },
];

/// Why a test does not pass there, if it is in the list.
pub(crate) fn why(platform: Platform, test: &str) -> Option<&'static str> {
    let mut there = EXCEPTIONS.iter().filter(|entry| entry.platforms.contains(&platform));
    there.find(|entry| entry.tests.contains(&test)).map(|entry| entry.why)
}

/// The ids in the list, of this platform.
pub(crate) fn of(platform: Platform) -> impl Iterator<Item = &'static str> {
    let there = EXCEPTIONS.iter().filter(move |entry| entry.platforms.contains(&platform));
    there.flat_map(|entry| entry.tests.iter().copied())
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;
    use std::fmt::Write as _;

    use super::*;
    use crate::documentation;

    /// Where what is printed begins, in the file that holds it.
    const MARK: &str = "<!-- From here on, as xtask/src/cache_tests/exceptions.rs says it. -->\n\n";

    /// The list, as Markdown.
    fn document() -> String {
        let mut document = String::from("| tests | where | why |\n|---|---|---|\n");
        for Exception { platforms, tests, why } in EXCEPTIONS {
            let tests: Vec<_> = tests.iter().map(|id| format!("`{id}`")).collect();
            let platforms = match *platforms == Platform::ALL {
                true => "everywhere".to_owned(),
                false => platforms.iter().map(|on| on.name()).collect::<Vec<_>>().join(", "),
            };
            let _ = writeln!(document, "| {} | {platforms} | {why} |", tests.join(", "));
        }
        document
    }

    #[test]
    fn the_documentation_holds_the_list() {
        documentation::holds("docs/cache-tests.md", MARK, &document(), "exceptions");
    }

    #[test]
    fn no_test_is_listed_twice_on_a_platform() {
        for platform in Platform::ALL {
            let mut ids = BTreeSet::new();
            let twice: Vec<_> = of(platform).filter(|id| !ids.insert(*id)).collect();
            assert_eq!(twice, [""; 0], "{platform}");
        }
    }

    #[test]
    fn an_entry_is_of_its_platforms_alone() {
        let id = "headers-omit-headers-listed-in-Connection";
        assert!(why(Platform::Spin, id).is_some());
        assert_eq!(why(Platform::Wasmtime, id), None);
        assert!(of(Platform::Spin).any(|listed| listed == id));
        assert!(of(Platform::Wasmtime).all(|listed| listed != id));
    }
}
