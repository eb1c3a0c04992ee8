//! What every driver does in the same way, free of I/O.

use outport_wire::problem::{Problem, ProblemType};

use crate::answer::Visit;
use crate::head::{FieldLines, Fields};
use crate::step::{Fetch, FetchError, Kept, Need, Outcome, Reply, Shared, Upstream, UpstreamHead};

/// The most steps of an exchange; more would be a loop. The core's longest asks an issuer twice for each
/// of two tokens, of nine steps each, and then takes from the limit of a rule, looks at a budget, of five,
/// and asks a route that varies and has dictionaries, of eight.
pub const STEPS_MAX: usize = 40;

/// The answer when there is no decision: the core failed, or its steps had no end.
pub fn broken() -> Reply {
    internal("The edge could not decide this request.")
}

/// The answer while a part of the platform is missing that the edge can't be without. Which one
/// is said in the log and not to the world.
pub fn unconfigured() -> Reply {
    internal("This edge is not configured: its log names what is missing, and where it is set.")
}

/// A [`Need::Document`] as a fetch of the server at a base URL, which comes with it: what the fetch says of
/// its upstream does not count. `None` where the URL is none of `http` or `https`.
pub fn document(url: &str, timeout_ms: u64) -> Option<(String, Fetch)> {
    let (scheme, rest) = url.split_once("://")?;
    let end = rest.find(['/', '?', '#']).unwrap_or(rest.len());
    let (authority, target) = rest.split_at_checked(end)?;
    let target = target.split('#').next().unwrap_or_default();
    let slash = if target.starts_with('/') { "" } else { "/" };
    let is_plain = |text: &str| text.bytes().all(|byte| byte.is_ascii_graphic());
    if !matches!(scheme, "http" | "https") || authority.is_empty() || !is_plain(rest) {
        return None;
    }
    let mut head = Fields::for_request("GET", &format!("{slash}{target}"));
    head.push("host", authority);
    head.push("accept", "application/json");
    head.push("user-agent", concat!("outport/", env!("CARGO_PKG_VERSION")));
    let (upstream, head) = (Upstream::Origin, head.into_bytes());
    let fetch = Fetch { upstream, head, with_body: false, timeout_ms };
    Some((format!("{scheme}://{authority}"), fetch))
}

/// An answer that is a document, as far as its head tells.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Document {
    announced: Option<u64>,
}

impl Document {
    /// Whether an answer is the document that was asked for. The error says what it is instead.
    pub fn of(head: &UpstreamHead) -> Result<Self, String> {
        let announced = FieldLines::new(&head.fields).get("content-length");
        match head.status {
            200 => Ok(Self { announced: announced.and_then(|length| length.parse().ok()) }),
            status => Err(format!("the answer to a document's request is {status}")),
        }
    }

    /// All of the document, if what was read is that.
    pub fn whole(self, read: Vec<u8>) -> Option<Vec<u8>> {
        self.announced.is_none_or(|length| length == read.len() as u64).then_some(read)
    }
}

/// What comes of a need that a driver does not meet, as it declares no ability for it: the core never
/// asks for that.
pub const fn unmet(need: &Need) -> Outcome {
    match need {
        Need::Claim { .. } => Outcome::Claimed(0),
        Need::Encode { .. } => Outcome::Encoded(false),
        Need::Dictionary { .. } => Outcome::Dictionary(None),
        Need::Popular { .. } => Outcome::Popular(Vec::new()),
        Need::Content { .. } => Outcome::Content(None),
        Need::Gather { .. } => Outcome::Gathered(None),
        Need::Document { .. } => Outcome::Document(None),
        Need::Share { .. } => Outcome::Shared(Shared::Counts),
        Need::Verify { .. } => Outcome::Verified(false),
        Need::Keep { .. } => Outcome::Kept(Kept::Declined),
        Need::ReadKept { .. } => Outcome::ReadKept(None),
        Need::HandOver { .. } => Outcome::HandedOver(true),
        // Every driver meets these.
        Need::Lookup { .. }
        | Need::Put { .. }
        | Need::Body { .. }
        | Need::Value { .. }
        | Need::Take { .. }
        | Need::Fetch(_) => Outcome::Fetched(Err(FetchError::Unreachable)),
    }
}

/// The answer where there is more to do than can be done, in the order of
/// [`priority`](crate::priority). Nothing was looked at but the head, and nothing was done.
pub fn overloaded(retry_after_s: u64) -> Reply {
    let detail = format!("Too much is asked of this edge. Wait {retry_after_s} s, and try again.");
    let problem = Problem::new(ProblemType::Overloaded, detail);
    let problem = problem.with("retry_after_s", retry_after_s);
    let mut reply = Visit::default().problem(&[], &problem);
    reply.fields.extend_from_slice(format!("retry-after: {retry_after_s}\r\n").as_bytes());
    reply
}

fn internal(detail: &'static str) -> Reply {
    Visit::default().problem(&[], &Problem::new(ProblemType::Internal, detail))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::step::Body;

    #[test]
    fn a_document_is_asked_for_where_it_is() {
        for (url, base, line) in [
            ("https://id.example/a/b?c=d#e", "https://id.example", "GET /a/b?c=d HTTP/1.1\r\n"),
            ("http://id.example:8080", "http://id.example:8080", "GET / HTTP/1.1\r\n"),
            ("https://[::1]:8443?a", "https://[::1]:8443", "GET /?a HTTP/1.1\r\n"),
        ] {
            let (found, fetch) = document(url, 5).unwrap();
            let host = format!("host: {}\r\n", base.split_once("://").unwrap().1);
            assert_eq!(found, base);
            assert!(fetch.head.starts_with(format!("{line}{host}").as_bytes()), "{url}");
        }
        for none in
            ["ftp://a/b", "https://", "https:///a", "/a", "", "https://a/\r\nb: c", "https://a b/"]
        {
            assert_eq!(document(none, 5), None, "{none}");
        }
    }

    #[test]
    fn an_overloaded_edge_says_when_to_come_back() {
        let reply = overloaded(3);
        let fields = FieldLines::new(&reply.fields);
        assert_eq!((reply.status, fields.get("retry-after")), (503, Some("3")));
        let Body::Bytes(body) = reply.body else { panic!("it has no body") };
        let document: serde_json::Value = serde_json::from_slice(&body).unwrap();
        assert_eq!(document["type"], "urn:outport:problem:overloaded");
        assert_eq!(document["retry_after_s"], 3);
    }

    #[test]
    fn both_are_problem_documents() {
        for reply in [broken(), unconfigured()] {
            let fields = FieldLines::new(&reply.fields);
            assert_eq!((reply.status, fields.get("cache-control")), (500, Some("no-store")));
            let Body::Bytes(body) = reply.body else { panic!("it has no body") };
            let document: serde_json::Value = serde_json::from_slice(&body).unwrap();
            assert_eq!(document["type"], "urn:outport:problem:internal");
        }
    }
}
