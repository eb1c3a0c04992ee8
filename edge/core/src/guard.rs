//! The first stage: what is malformed or hostile ends here, before any work.

use std::borrow::Cow;

use outport_wire::problem::{Problem, ProblemType};
use outport_wire::syntax::is_token;

use crate::head::{FieldIndex, FieldLines, RequestHead, is_control};

/// The longest request target, in bytes.
pub(crate) const TARGET_BYTES_MAX: usize = 8 * 1024;
/// The largest head, in bytes.
pub(crate) const HEAD_BYTES_MAX: usize = 32 * 1024;
/// The most field lines of a head.
const FIELDS_MAX: usize = 128;

/// The bytes of CR and LF.
const LINE_END_BYTES: usize = 2;
/// Counts the places of [`singleton`].
const SINGLETONS: usize = 21;

/// The place of a field that may come once only. Two of it, and two parties may each believe
/// another one.
fn singleton(name: &str) -> Option<usize> {
    // A match is decided by length first; a search would compare them all.
    Some(match name {
        "authorization" => 0,
        "content-disposition" => 1,
        "content-length" => 2,
        "content-range" => 3,
        "content-type" => 4,
        "host" => 5,
        "if-modified-since" => 6,
        "if-range" => 7,
        "if-unmodified-since" => 8,
        "origin" => 9,
        "range" => 10,
        "transfer-encoding" => 11,
        "tus-resumable" => 12,
        "upload-checksum" => 13,
        "upload-concat" => 14,
        "upload-defer-length" => 15,
        "upload-length" => 16,
        "upload-metadata" => 17,
        "upload-offset" => 18,
        "upload-complete" => 19,
        "x-http-method-override" => 20,
        _ => return None,
    })
}

/// A request that may be looked at.
#[derive(Clone, Debug)]
pub(crate) struct Guarded<'a> {
    pub(crate) method: &'a str,
    /// Whether it was sent with another method, of which this one was said in a field.
    pub(crate) overridden: bool,
    pub(crate) target: &'a str,
    pub(crate) path: &'a str,
    pub(crate) query: Option<&'a str>,
    pub(crate) fields: FieldIndex<'a>,
    /// The same as they came, for who passes them on.
    pub(crate) lines: FieldLines<'a>,
}

impl Guarded<'_> {
    /// Whether the method reads only (RFC 9110, section 9.2.1).
    pub(crate) fn is_read(&self) -> bool {
        matches!(self.method, "GET" | "HEAD" | "OPTIONS")
    }

    /// Whether the query has this parameter, with or without a value.
    pub(crate) fn has_query(&self, name: &str) -> bool {
        let mut pairs = self.query.unwrap_or_default().split('&');
        pairs.any(|pair| pair.split('=').next() == Some(name))
    }
}

/// Takes a head apart, or says what is wrong with it.
pub(crate) fn guard(head: &[u8]) -> Result<Guarded<'_>, Problem> {
    if head.len() > HEAD_BYTES_MAX {
        let detail = format!("The header section may have {HEAD_BYTES_MAX} bytes.");
        return Err(Problem::new(ProblemType::HeadTooLarge, detail));
    }
    let controls = head.iter().filter(|byte| is_control(**byte)).count();
    let is_whole = head.ends_with(b"\r\n");
    let head = RequestHead::parse(head).ok_or_else(|| malformed("The head can't be read."))?;
    guard_method(head.method)?;
    guard_target(head.target)?;
    let fields = FieldIndex::new(head.fields);
    // Those of each line's end, and no other: who reads on would see other lines than we do.
    if !is_whole || controls != LINE_END_BYTES * (1 + fields.len()) {
        return Err(malformed(
            "The header section holds a control character, or what is no field.",
        ));
    }
    guard_fields(&fields)?;
    if fields.get("host").is_none() {
        // RFC 9112, section 3.2: whose request it is must be said.
        return Err(malformed("The field `host` is missing."));
    }
    let (path, query) = match head.target.split_once('?') {
        Some((path, query)) => (path, Some(query)),
        None => (head.target, None),
    };
    guard_path(path)?;
    let RequestHead { method, target, fields: lines } = head;
    Ok(Guarded { method, overridden: false, target, path, query, fields, lines })
}

fn guard_method(method: &str) -> Result<(), Problem> {
    if !is_token(method) || method.len() > 32 || matches!(method, "CONNECT" | "TRACE") {
        let detail = "CONNECT, TRACE and what is no method are not served.";
        return Err(Problem::new(ProblemType::NotImplemented, detail));
    }
    Ok(())
}

fn guard_target(target: &str) -> Result<(), Problem> {
    if target.len() > TARGET_BYTES_MAX {
        let detail = format!("The request target may have {TARGET_BYTES_MAX} bytes.");
        return Err(Problem::new(ProblemType::TargetTooLong, detail));
    }
    if !target.starts_with('/') && target != "*" {
        return Err(malformed("The request target must begin with a slash."));
    }
    if !target.bytes().all(|byte| byte.is_ascii_graphic()) {
        return Err(malformed(
            "The request target must be visible ASCII; percent-encode the rest.",
        ));
    }
    Ok(())
}

fn guard_fields(fields: &FieldIndex<'_>) -> Result<(), Problem> {
    let mut seen = [false; SINGLETONS];
    for (name, _) in fields.iter() {
        if !is_token(name) {
            return Err(malformed("The name of a field holds what no name may hold."));
        }
        let Some(place) = singleton(name) else { continue };
        if let Some(seen) = seen.get_mut(place)
            && std::mem::replace(seen, true)
        {
            return Err(malformed(format!("The field `{name}` may come once only.")));
        }
    }
    if fields.get("content-length").is_some() && fields.get("transfer-encoding").is_some() {
        // RFC 9112, section 6.3: two ways to tell where the body ends, and perhaps two requests.
        let detail = "`Content-Length` and `Transfer-Encoding` may not both be there.";
        return Err(malformed(detail));
    }
    if fields.len() > FIELDS_MAX {
        let detail = format!("The header section may have {FIELDS_MAX} fields.");
        return Err(Problem::new(ProblemType::HeadTooLarge, detail));
    }
    Ok(())
}

/// One path means one thing to us, to caches and to upstreams: what they could read differently
/// is refused.
fn guard_path(path: &str) -> Result<(), Problem> {
    if path.contains('\\') {
        return Err(malformed("The path holds a backslash; use slashes."));
    }
    for segment in path.split('/') {
        guard_segment(segment)?;
    }
    Ok(())
}

fn guard_segment(segment: &str) -> Result<(), Problem> {
    if !segment.contains('%') && !segment.starts_with('.') {
        return Ok(());
    }
    let decoded =
        decode(segment).ok_or_else(|| malformed("The path is not well percent-encoded."))?;
    if decoded.iter().any(u8::is_ascii_control) {
        return Err(malformed("The path holds a control character."));
    }
    if has_dot_segment(&decoded) {
        return Err(malformed("The path holds a dot segment; send the path that it stands for."));
    }
    Ok(())
}

/// Whether a decoded path has a dot segment for somebody who counts a backslash as a slash, or
/// takes what follows a `;` from each segment before looking at it.
pub(crate) fn has_dot_segment(decoded: &[u8]) -> bool {
    segments(decoded).any(|segment| matches!(segment, b"." | b".."))
}

/// The segments of a decoded path, as in [`canonical_path`].
fn segments(decoded: &[u8]) -> impl Iterator<Item = &[u8]> {
    let segments = decoded.split(|byte| matches!(byte, b'/' | b'\\'));
    segments.map(|segment| segment.split(|byte| *byte == b';').next().unwrap_or_default())
}

/// The one form of all paths that a server may take for the same, for who compares them:
/// percent-encoding is undone, once; a backslash is a slash; slashes beside each other are one; and
/// no segment has parameters, which begin with `;` (RFC 3986, section 3.3). It may hold any bytes
/// but control characters, and has no dot segments: [`guard`] refuses both.
pub(crate) fn canonical_path(path: &str) -> Cow<'_, [u8]> {
    if !path.contains(['%', ';']) && !path.contains("//") {
        return Cow::Borrowed(path.as_bytes());
    }
    let decoded = decode(path).unwrap_or_else(|| path.as_bytes().to_vec());
    let mut canonical = Vec::with_capacity(decoded.len());
    for segment in segments(&decoded) {
        let is_next_to_slash = canonical.last() == Some(&b'/');
        if !segment.is_empty() || !is_next_to_slash {
            canonical.extend_from_slice(segment);
            canonical.push(b'/');
        }
    }
    // Each segment has added the slash behind it.
    if !ends_with_slash(&decoded) {
        canonical.pop();
    }
    Cow::Owned(canonical)
}

/// Whether nothing is in the last segment.
fn ends_with_slash(decoded: &[u8]) -> bool {
    segments(decoded).last().is_some_and(<[u8]>::is_empty)
}

/// Undoes percent-encoding (RFC 3986, section 2.1). `None` where it is malformed.
pub(crate) fn decode(text: &str) -> Option<Vec<u8>> {
    let mut decoded = Vec::with_capacity(text.len());
    let mut bytes = text.bytes();
    while let Some(byte) = bytes.next() {
        if byte != b'%' {
            decoded.push(byte);
            continue;
        }
        let mut digit = || char::from(bytes.next()?).to_digit(16);
        decoded.push((digit()? * 16 + digit()?) as u8);
    }
    Some(decoded)
}

fn malformed(detail: impl Into<Cow<'static, str>>) -> Problem {
    Problem::new(ProblemType::MalformedRequest, detail)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn kind(head: &str) -> Option<ProblemType> {
        let head = format!("{head}host: x\r\n");
        guard(head.as_bytes()).err().map(|problem| problem.kind)
    }

    #[test]
    fn whose_request_it_is() {
        let missing = guard(b"GET / HTTP/1.1\r\naccept: */*\r\n").err();
        assert_eq!(missing.map(|problem| problem.kind), Some(ProblemType::MalformedRequest));
        assert_eq!(kind("GET / HTTP/1.1\r\nhost: y\r\n"), Some(ProblemType::MalformedRequest));
        assert_eq!(kind("GET files HTTP/1.1\r\n"), Some(ProblemType::MalformedRequest));
    }

    #[test]
    fn ordinary_requests_pass() {
        let head = b"GET /files/a/.well-known%20x?b=c&download HTTP/1.1\r\nhost: x\r\n";
        let request = guard(head).unwrap();
        assert_eq!(request.path, "/files/a/.well-known%20x");
        assert_eq!(request.query, Some("b=c&download"));
        assert!(request.has_query("download") && request.has_query("b"));
        assert!(!request.has_query("c"));
    }

    #[test]
    fn paths_that_mean_two_things() {
        for path in [
            "/a/../b",
            "/./a",
            "/a/%2e%2E/b",
            "/a%00",
            "/a%0d%0ab",
            "/a\\b",
            "/%zz",
            "/%4",
            // Dot segments for who takes an encoded slash for a slash, or parameters out.
            "/a/..%2fb",
            "/a%2F..",
            "/a/..%5Cb",
            "/a%2f%2e%2e%2fb",
            "/a/..;/b",
            "/..;x=1/b",
            "/.%3b/a",
        ] {
            let head = format!("GET {path} HTTP/1.1\r\n");
            assert_eq!(kind(&head), Some(ProblemType::MalformedRequest), "{path}");
        }
    }

    #[test]
    fn one_form_of_paths() {
        for (path, canonical) in [
            ("/", "/"),
            ("*", "*"),
            ("/a/b.c", "/a/b.c"),
            ("/a/", "/a/"),
            ("/%61dm%69n", "/admin"),
            ("/a%2Fb%5cc", "/a/b/c"),
            ("//a///b//", "/a/b/"),
            ("/a;v=1/b;/c%3bd", "/a/b/c"),
            ("/;x/a", "/a"),
            ("/a/;x", "/a/"),
            ("/a%2f", "/a/"),
            ("/%2fa", "/a"),
            // Once, so that what is encoded twice is what it says.
            ("/%2561", "/%61"),
            ("/gr%C3%BC%C3%9Fe", "/gr\u{fc}\u{df}e"),
        ] {
            assert_eq!(canonical_path(path), canonical.as_bytes(), "{path}");
        }
        assert_eq!(*canonical_path("/%ff"), b"/\xff"[..]);
    }

    #[test]
    fn fields_that_come_twice() {
        for name in ["authorization", "content-length", "range", "upload-metadata", "upload-offset"]
        {
            let head = format!("GET / HTTP/1.1\r\n{name}: 1\r\n{name}: 1\r\n");
            assert_eq!(kind(&head), Some(ProblemType::MalformedRequest), "{name}");
        }
        assert_eq!(kind("GET / HTTP/1.1\r\naccept: a\r\naccept: b\r\n"), None);
    }

    #[test]
    fn lines_that_others_read_differently() {
        for line in [
            "a: b\nc: d\r\n",
            "a: b\rc: d\r\n",
            "a: b\0\r\n",
            "a: \u{7f}\r\n",
            "a: b\r\n c\r\n",
            "a b: c\r\n",
            "a : c\r\n",
            "a\t: c\r\n",
            ": c\r\n",
            "\u{fc}: c\r\n",
            "a\r\n",
            "a: b\n",
            "a: b",
            "\r\n",
        ] {
            let head = format!("GET / HTTP/1.1\r\nhost: x\r\n{line}");
            let refused = guard(head.as_bytes()).err().map(|problem| problem.kind);
            assert_eq!(refused, Some(ProblemType::MalformedRequest), "{line:?}");
        }
        for line in ["a: b\tc\r\n", "a:\r\n", "a: \u{fc}\r\n", "!#$%&'*+-.^_`|~: c\r\n"] {
            let head = format!("GET / HTTP/1.1\r\nhost: x\r\n{line}");
            assert!(guard(head.as_bytes()).is_ok(), "{line:?}");
        }
        assert!(guard(b"GET / HTTP/1.1\r\nhost: x\r\na: \xff\r\n").is_ok());
    }

    #[test]
    fn bodies_that_end_in_two_places() {
        let head = "POST / HTTP/1.1\r\ncontent-length: 5\r\ntransfer-encoding: chunked\r\n";
        assert_eq!(kind(head), Some(ProblemType::MalformedRequest));
    }

    #[test]
    fn sizes() {
        let long = format!("GET /{} HTTP/1.1\r\n", "a".repeat(TARGET_BYTES_MAX));
        assert_eq!(kind(&long), Some(ProblemType::TargetTooLong));
        let big = format!("GET / HTTP/1.1\r\na: {}\r\n", "a".repeat(HEAD_BYTES_MAX));
        assert_eq!(kind(&big), Some(ProblemType::HeadTooLarge));
        let many = format!("GET / HTTP/1.1\r\n{}", "a: b\r\n".repeat(FIELDS_MAX + 1));
        assert_eq!(kind(&many), Some(ProblemType::HeadTooLarge));
    }

    #[test]
    fn methods() {
        assert_eq!(kind("TRACE / HTTP/1.1\r\n"), Some(ProblemType::NotImplemented));
        assert_eq!(kind("PROPFIND / HTTP/1.1\r\n"), None);
    }
}
