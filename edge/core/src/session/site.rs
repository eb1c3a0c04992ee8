//! Whether a request with cookies is one of our own pages': cookies come along whoever makes a browser
//! ask (cross-site request forgery).
//!
//! By Fetch Metadata (`Sec-Fetch-Site`), or `Origin` where that is missing. Pages of other hosts of
//! the same site are others, too: they may hold what users have uploaded.

use outport_wire::problem::{Problem, ProblemType};

use crate::guard::Guarded;

/// Who has made a browser ask.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Asker {
    /// A page of this host.
    Own,
    /// The user, by typing or a bookmark; or nobody knows.
    Unknown,
    /// A page of somewhere else.
    Other,
}

fn asker(request: &Guarded<'_>, host: &str) -> Asker {
    if let Some(site) = request.fields.get("sec-fetch-site") {
        return match site {
            "same-origin" => Asker::Own,
            "none" => Asker::Unknown,
            _ => Asker::Other,
        };
    }
    match request.fields.get("origin") {
        Some(origin) if authority(origin) == Some(host) => Asker::Own,
        Some(_) => Asker::Other,
        None => Asker::Unknown,
    }
}

/// The host and port of an `Origin`.
pub(super) fn authority(origin: &str) -> Option<&str> {
    origin.split_once("://").map(|(_, authority)| authority)
}

/// Whether the cookies of a request that only reads count. Those do not that come along with what a
/// page of somewhere else embeds; where somebody follows its link, they do.
pub(crate) fn may_read(request: &Guarded<'_>, host: &str) -> bool {
    let is = |name, value| request.fields.get(name) == Some(value);
    match asker(request, host) {
        Asker::Own | Asker::Unknown => true,
        Asker::Other => is("sec-fetch-mode", "navigate") && is("sec-fetch-dest", "document"),
    }
}

/// Refuses a request that changes something with cookies, unless it is certainly an own page's.
pub(crate) fn check(request: &Guarded<'_>, host: &str) -> Result<(), Problem> {
    if asker(request, host) == Asker::Own {
        return Ok(());
    }
    let detail = "Cookies change something only where the request says that a page of this host has \
                  sent it (`Sec-Fetch-Site: same-origin`, or `Origin`). Programs send a token.";
    Err(Problem::new(ProblemType::CrossSite, detail))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::guard::guard;

    /// Whether it may change something, and whether it may read.
    fn may(fields: &str) -> (bool, bool) {
        let head = format!("POST / HTTP/1.1\r\nhost: files.example\r\n{fields}");
        let request = guard(head.as_bytes()).unwrap();
        let host = "files.example";
        (check(&request, host).is_ok(), may_read(&request, host))
    }

    #[test]
    fn who_may_use_cookies() {
        for (fields, expected) in [
            ("sec-fetch-site: same-origin\r\n", (true, true)),
            ("origin: https://files.example\r\n", (true, true)),
            ("", (false, true)),
            ("sec-fetch-site: none\r\n", (false, true)),
            ("sec-fetch-site: same-site\r\n", (false, false)),
            ("sec-fetch-site: cross-site\r\n", (false, false)),
            ("sec-fetch-site: cross-site\r\norigin: https://files.example\r\n", (false, false)),
            ("origin: https://evil.example\r\n", (false, false)),
            ("origin: https://files.example.evil.example\r\n", (false, false)),
            ("origin: null\r\n", (false, false)),
            (
                "sec-fetch-site: cross-site\r\nsec-fetch-mode: navigate\r\nsec-fetch-dest: document\r\n",
                (false, true),
            ),
            (
                "sec-fetch-site: cross-site\r\nsec-fetch-mode: navigate\r\nsec-fetch-dest: iframe\r\n",
                (false, false),
            ),
            (
                "sec-fetch-site: cross-site\r\nsec-fetch-mode: no-cors\r\nsec-fetch-dest: image\r\n",
                (false, false),
            ),
        ] {
            assert_eq!(may(fields), expected, "{fields}");
        }
    }
}
