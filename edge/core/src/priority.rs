//! Which requests go first where there is more to do than can be done.
//!
//! Decided by the head alone, before anything is paid for. What a request claims to bear is only
//! claimed here: who goes by this has to know from somewhere else that it is good, as from
//! [`Reply::caller_known`](crate::step::Reply::caller_known).

use crate::head::{FieldLines, RequestHead};
use crate::session::cookie::{self, SESSION};

/// How soon a request is refused where there is too much to do: the last of these first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Priority {
    /// Whether the node lives; never refused for load.
    Health,
    /// It bears a token. What belongs to an upload does, too, so that what was begun is finished.
    Caller,
    /// The same, and it asks for a list: no cache answers it, so it costs the origin most.
    List,
    /// Everybody else.
    Anonymous,
}

impl Priority {
    /// Every priority there is, in the order above.
    pub const ALL: [Self; 4] = [Self::Health, Self::Caller, Self::List, Self::Anonymous];

    /// Its name in metrics.
    pub const fn label(self) -> &'static str {
        match self {
            Self::Health => "health",
            Self::Caller => "caller",
            Self::List => "list",
            Self::Anonymous => "anonymous",
        }
    }
}

/// What a head claims.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Claim<'a> {
    /// The priority, if the credential is good.
    pub priority: Priority,
    /// What it bears, if anything: [`Priority::Anonymous`] without.
    pub credential: Option<&'a [u8]>,
}

/// What a head claims, as a driver hands it over. What can't be read claims nothing.
pub fn claim(head: &[u8]) -> Claim<'_> {
    let nothing = Claim { priority: Priority::Anonymous, credential: None };
    let Some(RequestHead { method, target, fields }) = RequestHead::parse(head) else {
        return nothing;
    };
    let is_read = matches!(method, "GET" | "HEAD");
    let path = target.split('?').next().unwrap_or_default();
    if is_read && matches!(path, "/healthz" | "/readyz") {
        return Claim { priority: Priority::Health, ..nothing };
    }
    let credential = credential(fields);
    let priority = match (credential, path) {
        (None, _) => Priority::Anonymous,
        (Some(_), "/audit" | "/files" | "/popular") if is_read => Priority::List,
        (Some(_), _) => Priority::Caller,
    };
    Claim { priority, credential }
}

/// The first credential among the fields.
fn credential(fields: FieldLines<'_>) -> Option<&[u8]> {
    fields.iter().find_map(|(name, value)| match name {
        "authorization" => Some(value),
        "cookie" => cookie::values(value, SESSION).next(),
        _ => None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn claimed(head: &str) -> (Priority, Option<&str>) {
        let Claim { priority, credential } = claim(head.as_bytes());
        (priority, credential.map(|bytes| std::str::from_utf8(bytes).unwrap()))
    }

    #[test]
    fn what_heads_claim() {
        let token = "host: x\r\nauthorization: Bearer abc\r\n";
        for (line, fields, claim) in [
            ("GET /healthz", "host: x\r\n", (Priority::Health, None)),
            ("HEAD /readyz?x", token, (Priority::Health, None)),
            ("POST /healthz", "host: x\r\n", (Priority::Anonymous, None)),
            ("GET /healthz/x", "host: x\r\n", (Priority::Anonymous, None)),
            ("GET /files/a", "host: x\r\n", (Priority::Anonymous, None)),
            ("GET /files", "host: x\r\n", (Priority::Anonymous, None)),
            ("GET /files/a", token, (Priority::Caller, Some("Bearer abc"))),
            ("PATCH /uploads/a", token, (Priority::Caller, Some("Bearer abc"))),
            ("POST /files", token, (Priority::Caller, Some("Bearer abc"))),
            ("GET /files?limit=5", token, (Priority::List, Some("Bearer abc"))),
            ("GET /audit?after=5", token, (Priority::List, Some("Bearer abc"))),
            ("GET /popular", token, (Priority::List, Some("Bearer abc"))),
            (
                "GET /files/a",
                "cookie: a=b;  __Host-outport=xyz; c=d\r\n",
                (Priority::Caller, Some("xyz")),
            ),
            // Others' cookies, however they are called.
            ("GET /files/a", "cookie: __Host-outport2=x\r\n", (Priority::Anonymous, None)),
            ("GET /files/a", "cookie: a=__Host-outport=x\r\n", (Priority::Anonymous, None)),
        ] {
            assert_eq!(claimed(&format!("{line} HTTP/1.1\r\n{fields}")), claim, "{line} {fields}");
        }
        assert_eq!(claimed("nonsense"), (Priority::Anonymous, None));
    }

    #[test]
    fn the_last_goes_first() {
        assert!(Priority::ALL.is_sorted());
    }
}
