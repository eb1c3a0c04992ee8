//! What is shared with whoever has it: passes, as cookies and as `/passes/{pass}` gives them, and what is
//! said of links and passes that are not good.

use std::net::IpAddr;

use outport_wire::UnixSeconds;
use outport_wire::describe::Query;
use outport_wire::link::LinkRefusal;
use outport_wire::pass::Pass;
use outport_wire::problem::{Problem, ProblemType};
use outport_wire::secret::Secret;

use crate::answer::reply;
use crate::guard::{Guarded, canonical_path, has_dot_segment};
use crate::head::Fields;
use crate::session::cookie;
use crate::step::{Body, Reply};

/// The cookie of a pass. A browser shows it below its prefix alone, so that it may have several.
pub(crate) const COOKIE: &str = "outport-pass";
/// The field in which a program shows a pass.
const FIELD: &str = "outport-pass";
/// So many passes of one request are looked at: those for prefixes within each other.
const PASSES_MAX: usize = 4;

/// What somebody is told whose link or pass grants nothing.
pub(crate) fn problem(refusal: LinkRefusal) -> Problem {
    let (kind, detail) = match refusal {
        LinkRefusal::Expired => {
            (ProblemType::LinkExpired, "Ask whoever sent the link for a new one.")
        }
        LinkRefusal::Used => (
            ProblemType::LinkExpired,
            "The link was used as often as it may be. Ask whoever sent it for a new one.",
        ),
        LinkRefusal::Early => {
            (ProblemType::LinkNotHere, "The link's time has not begun. Try again later.")
        }
        LinkRefusal::Elsewhere => {
            (ProblemType::LinkNotHere, "The link is for clients of another network.")
        }
        LinkRefusal::Password => {
            (ProblemType::LinkPassword, "Send the password by Basic authentication (RFC 7617).")
        }
        LinkRefusal::Invalid => {
            (ProblemType::NotFound, "There is no such file, or it is not yours to see.")
        }
    };
    Problem::new(kind, detail)
}

/// The pass that a request shows for its path, if that is good now and here.
pub(crate) fn find(
    request: &Guarded<'_>,
    client: IpAddr,
    keys: &[Secret],
    now_s: UnixSeconds,
) -> Result<Option<Pass>, Problem> {
    let path = canonical_path(request.path);
    let by_field = request.fields.get(FIELD).into_iter();
    let cookies = request.fields.iter().filter(|(name, _)| *name == "cookie");
    let cookies = cookies.flat_map(|(_, line)| cookie::values(line, COOKIE));
    let shown = by_field.chain(cookies.filter_map(|value| std::str::from_utf8(value).ok()));
    let passes = shown.take(PASSES_MAX).filter_map(|text| Pass::open(text, keys));
    let mut refused = None;
    for pass in passes.filter(|pass| pass.is_for(&path)) {
        match pass.check(client, now_s) {
            Ok(()) => return Ok(Some(pass)),
            Err(refusal) => refused = Some(refusal),
        }
    }
    refused.map_or(Ok(None), |refusal| Err(problem(refusal)))
}

/// `/passes/{pass}`: gives a browser the pass as a cookie, and sends it on: to where `to` says, which must
/// be below the prefix, or to the prefix.
pub(crate) fn give(
    text: &str,
    request: &Guarded<'_>,
    client: IpAddr,
    keys: &[Secret],
    now_s: UnixSeconds,
    mut fields: Fields,
) -> Result<Reply, Problem> {
    let pass = Pass::open(text, keys);
    let pass = pass.ok_or_else(|| Problem::new(ProblemType::NotFound, "There is no such pass."))?;
    pass.check(client, now_s).map_err(problem)?;
    let query = Query::parse(request.query.unwrap_or_default());
    let to = query.get("to").unwrap_or(&pass.prefix);
    if !is_below(to, &pass) {
        return Err(Problem::field("to", "a path below the prefix of the pass"));
    }
    fields.push("location", to);
    let life_s = pass.expires_s.saturating_add(1).saturating_sub(now_s);
    let prefix = &pass.prefix;
    fields.push_args(
        "set-cookie",
        format_args!(
            "{COOKIE}={text}; Path={prefix}; Max-Age={life_s}; Secure; HttpOnly; SameSite=Lax"
        ),
    );
    fields.push("cache-control", "no-store");
    fields.push("referrer-policy", "no-referrer");
    fields.push_number("content-length", 0);
    Ok(reply(303, fields, Body::Empty))
}

/// Whether somebody who is sent there stays below the prefix.
fn is_below(to: &str, pass: &Pass) -> bool {
    let is_plain = to.bytes().all(|byte| byte.is_ascii_graphic() && !b"\\\"#".contains(&byte));
    let path = to.split('?').next().unwrap_or_default();
    let canonical = canonical_path(path);
    is_plain
        && pass.is_for(path.as_bytes())
        && pass.is_for(&canonical)
        && !has_dot_segment(&canonical)
}

#[cfg(test)]
mod tests {
    use outport_wire::identity::{Identity, Scopes};

    use super::*;
    use crate::guard::guard;

    const NOW: UnixSeconds = 1_000;

    fn keys() -> Vec<Secret> {
        vec![Secret::new(vec![1; 32]).unwrap()]
    }

    fn pass(prefix: &str, expires_s: UnixSeconds) -> String {
        let identity = Identity::new("demo", "alice", Scopes::default()).unwrap();
        let prefix = prefix.to_owned();
        let pass = Pass { identity, prefix, issued_s: 1, begins_s: None, expires_s, network: None };
        pass.seal(&keys()[0])
    }

    fn find_in(path: &str, fields: &str) -> Result<Option<String>, ProblemType> {
        let head = format!("GET {path} HTTP/1.1\r\nhost: x\r\n{fields}");
        let request = guard(head.as_bytes()).unwrap();
        find(&request, "192.0.2.1".parse().unwrap(), &keys(), NOW)
            .map(|pass| pass.map(|pass| pass.prefix))
            .map_err(|problem| problem.kind)
    }

    #[test]
    fn the_pass_for_the_path_is_found_among_several() {
        let (film, all) = (pass("/film/7/", NOW), pass("/film/", NOW - 1));
        let cookies = format!("cookie: outport-pass={film}; a=b; outport-pass={all}\r\n");
        assert_eq!(find_in("/film/7/a.ts", &cookies), Ok(Some("/film/7/".into())));
        assert_eq!(find_in("/film/%37//b/a.ts", &cookies), Ok(Some("/film/7/".into())));
        assert_eq!(find_in("/film/8/a.ts", &cookies), Err(ProblemType::LinkExpired));
        assert_eq!(find_in("/other", &cookies), Ok(None));
        assert_eq!(
            find_in("/film/7/a", &format!("outport-pass: {film}\r\n")),
            Ok(Some("/film/7/".into()))
        );
        assert_eq!(find_in("/film/7/a", "cookie: outport-pass=a.b\r\n"), Ok(None));
        // More of them than a browser would show are not looked through.
        let many = "outport-pass=a.b; ".repeat(PASSES_MAX);
        assert_eq!(
            find_in("/film/7/a", &format!("cookie: {many}outport-pass={film}\r\n")),
            Ok(None)
        );
    }

    #[test]
    fn nobody_is_sent_elsewhere() {
        let text = pass("/film/7/", NOW + 59);
        let give = |query: &str| {
            let head = format!("GET /passes/{text}{query} HTTP/1.1\r\nhost: x\r\n");
            let request = guard(head.as_bytes()).unwrap();
            let client = "192.0.2.1".parse().unwrap();
            give(&text, &request, client, &keys(), NOW, Fields::new())
        };
        let fields = |query| String::from_utf8(give(query).unwrap().fields).unwrap();
        assert!(fields("").starts_with("location: /film/7/\r\n"), "{}", fields(""));
        let cookie = "; Path=/film/7/; Max-Age=60; Secure; HttpOnly; SameSite=Lax\r\n";
        assert!(fields("").contains(&format!("set-cookie: outport-pass={text}{cookie}")));
        assert!(fields("?to=/film/7/a%3Fb%3D1").starts_with("location: /film/7/a?b=1\r\n"));
        for to in [
            "/film/8/",
            "/film/7",
            "//evil.example/film/7/",
            "https://evil.example/film/7/",
            "/film/7/../8/",
            "/film/7/%252e%252e/8/",
            "/film/7/%5C..%5C8",
            "/film/7/%0d%0aset-cookie:%20a=b",
            "/film/7/%20",
            "",
        ] {
            let problem = give(&format!("?to={to}")).err();
            assert_eq!(
                problem.map(|problem| problem.kind),
                Some(ProblemType::InvalidField),
                "{to}"
            );
        }
    }
}
