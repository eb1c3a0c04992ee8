//! Compression Dictionary Transport (RFC 9842): which stored response is a dictionary, of which
//! URLs, and which answers are encoded against it.
//!
//! A dictionary and what is encoded against it tell of each other by their sizes (section 9.2). So
//! both are answers that everybody may have, of one scheme and authority, and neither varies on who
//! asks.

use std::convert::Infallible;

use serde::{Deserialize, Serialize};
use sfv::visitor::{
    DictionaryVisitor, EntryVisitor, Ignored, InnerListVisitor, ItemVisitor, ParameterVisitor,
};
use sfv::{BareItemFromInput, KeyRef, Parser};

use crate::caching::ask::Place;
use crate::caching::directives::{Directives, Scope};
use crate::caching::fields::Lines;
use crate::caching::stored_response::{Entry, StoredResponse};
use crate::caching::vary::Vary;
use crate::coding::is_named;
use crate::glob::Glob;
use crate::guard::Guarded;
use crate::step::{DICTIONARY_BYTES_MAX, Need};

/// The longest pattern that is matched, in bytes: each is matched against every URL that asks for it.
const PATTERN_BYTES_MAX: usize = 256;
/// The longest `id` (RFC 9842, section 2.1.3), in characters. It is the client's to send and says
/// nothing here: the digest alone names a dictionary.
const ID_CHARS_MAX: usize = 1024;
/// The fields by which client and edge agree on a coding. They don't reach the upstream of a route
/// with dictionaries, so that nothing it says differs by them.
pub(crate) const NEGOTIATED: &[&str] =
    &["accept-encoding", "available-dictionary", "dictionary-id"];

/// What a request has to do with dictionaries.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Dictionaries {
    /// Names scheme and authority for the driver: no dictionary is found beyond them.
    scope: String,
    /// Scheme and authority.
    origin: String,
    /// Path and query.
    target: String,
    /// The SHA-256 of the dictionary that the client has, where it takes `dcz`.
    available: Option<[u8; 32]>,
}

impl Dictionaries {
    /// Reads what a request says. `None` where dictionaries have no part in it: where the
    /// connection may not be used for them (RFC 9842, section 8), and where it says who asks.
    pub(crate) fn read(request: &Guarded<'_>, place: &Place) -> Option<Self> {
        let (origin, host) = (place.origin(), place.public_host());
        let is_private = request.fields.bytes("authorization").is_some();
        if is_private || !(origin.starts_with("https:") || is_loopback(host)) {
            return None;
        }
        let takes = is_named(request.fields.get("accept-encoding").unwrap_or_default(), "dcz");
        let available = available(&Lines::new(request.lines)).filter(|_| takes);
        let (scope, target) = (place.scope(), request.target.to_owned());
        Some(Self { scope, origin, target, available })
    }

    /// Looks the client's dictionary up, if it has one.
    pub(crate) fn need(&self) -> Option<Need> {
        let sha256 = self.available?;
        Some(Need::Dictionary { scope: self.scope.clone(), sha256 })
    }

    /// The dictionary that was looked up, if what is stored so is one for this request.
    pub(crate) fn found(&self, head: &[u8]) -> Option<[u8; 32]> {
        let Some(Entry::Response(stored)) = Entry::decode(head) else { return None };
        let url = Entry::source(head)?;
        let of = url.strip_prefix(&self.origin).filter(|of| of.starts_with('/'))?;
        let pattern = pattern(&stored, &self.origin, of)?;
        self.available.filter(|_| pattern.matches(&self.target))
    }

    /// Where a response to this request is found as a dictionary, if it is one.
    pub(crate) fn offered(&self, stored: &StoredResponse<'_>) -> Option<String> {
        self.pattern(stored).map(|_| self.scope.clone())
    }

    /// The URLs that a response to this request is a dictionary for.
    pub(crate) fn pattern(&self, stored: &StoredResponse<'_>) -> Option<Pattern> {
        pattern(stored, &self.origin, &self.target)
    }
}

/// The URLs of this origin that a stored response is a dictionary for, given its own target.
fn pattern(stored: &StoredResponse<'_>, origin: &str, target: &str) -> Option<Pattern> {
    let lines = Lines::new(stored.fields());
    let is_plain = lines.all("content-encoding").next().is_none();
    let fits = stored.length().is_none_or(|length| length <= DICTIONARY_BYTES_MAX);
    if stored.status != 200 || !is_plain || !fits || !is_for_all(stored) {
        return None;
    }
    let said = lines.all("use-as-dictionary").collect::<Vec<_>>().join(&b", "[..]);
    Pattern::said(&said, origin, target)
}

/// Whether everybody who asks for it is given the same.
pub(crate) fn is_for_all(stored: &StoredResponse<'_>) -> bool {
    let lines = Lines::new(stored.fields());
    let (directives, _) = Directives::of_response(|name| lines.all(name));
    let is_public = directives.private != Scope::All && !directives.no_store;
    is_public
        && match Vary::read(&lines) {
            Vary::Nothing => true,
            Vary::On(names) => names.iter().all(|name| NEGOTIATED.contains(&name.as_str())),
            Vary::Unknown => false,
        }
}

/// Whether browsers take a host for as good as an encrypted connection (Secure Contexts, section
/// 3.1).
fn is_loopback(host: &str) -> bool {
    let name = match host.rsplit_once(':') {
        Some((name, port)) if port.bytes().all(|byte| byte.is_ascii_digit()) => name,
        _ => host,
    };
    let address = name.trim_start_matches('[').trim_end_matches(']').parse::<std::net::IpAddr>();
    address.map_or_else(
        |_| name == "localhost" || name.ends_with(".localhost"),
        |address| address.is_loopback(),
    )
}

/// Reads `Available-Dictionary`. What is malformed, or there twice, is passed over.
fn available(lines: &Lines<'_>) -> Option<[u8; 32]> {
    let mut all = lines.all("available-dictionary");
    let (line, None) = (all.next()?, all.next()) else { return None };
    let mut digest = None;
    Parser::new(line).parse_item_with_visitor(Available(&mut digest)).ok()?;
    digest
}

/// The URLs of one origin that a dictionary is for: the part of URL Pattern that has `*` alone.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Pattern {
    path: String,
    /// Any, where it says nothing of it.
    query: Option<String>,
}

impl Pattern {
    /// Reads `Use-As-Dictionary` of what was sent for `target` of this origin. `None` where that makes
    /// it no dictionary.
    pub(crate) fn said(field: &[u8], origin: &str, target: &str) -> Option<Self> {
        let said = Parser::new(field).parse_dictionary_with_visitor(Said::default()).ok()?;
        Self::read(&said.pattern()?, origin, target)
    }

    /// Reads a pattern of a dictionary that was sent for `target` of this origin. `None` where it is
    /// malformed, of another origin, or has what this does not know: groups, names, escapes and
    /// fragments.
    fn read(text: &str, origin: &str, target: &str) -> Option<Self> {
        let is_known = |byte: u8| byte.is_ascii_graphic() && !b"(){}+\\#\"".contains(&byte);
        let path = target.split('?').next().unwrap_or_default();
        // What stands for itself in a URL would mean more in a pattern.
        let own = || Some(path).filter(|path| !path.contains(['*', ':', '(', ')', '{', '}', '+']));
        let text = match text.split_once("://") {
            Some((scheme, rest)) => {
                let (authority, target) = rest.split_at_checked(rest.find('/')?)?;
                let named = format!("{scheme}://{authority}").to_ascii_lowercase();
                if without_port(&named) != without_port(origin) {
                    return None;
                }
                target.to_owned()
            }
            None if text.is_empty() => return None,
            None if text.starts_with('/') => text.to_owned(),
            None if text.starts_with('?') => format!("{}{text}", own()?),
            None => {
                let folder = own()?.rsplit_once('/').map_or("", |(folder, _)| folder);
                format!("{folder}/{text}")
            }
        };
        if text.len() > PATTERN_BYTES_MAX || !text.bytes().all(is_known) || text.starts_with("//") {
            return None;
        }
        // A question mark behind a star would make that optional, and a colon begins a name.
        if text.contains("*?") || text.contains("**") || text.contains(':') {
            return None;
        }
        let (path, query) = match text.split_once('?') {
            Some((_, query)) if query.contains('?') => return None,
            Some((path, query)) => (path, Some(query.to_owned())),
            None => (&*text, None),
        };
        let has_dots = path.split('/').any(|segment| matches!(segment, "." | ".."));
        (!has_dots).then(|| Self { path: path.to_owned(), query })
    }

    /// Whether it is for this path and query.
    pub(crate) fn matches(&self, target: &str) -> bool {
        let (path, query) = target.split_once('?').unwrap_or((target, ""));
        let is_all = |pattern: &str, text: &str| Glob::new(pattern).matches(text.as_bytes());
        is_all(&self.path, path) && self.query.as_ref().is_none_or(|own| is_all(own, query))
    }

    /// As it is told: path and query.
    pub(crate) fn text(&self) -> String {
        let query = self.query.as_ref().map_or(String::new(), |query| format!("?{query}"));
        format!("{}{query}", self.path)
    }
}

/// An origin without the port that its scheme has anyway.
fn without_port(origin: &str) -> &str {
    let port = if origin.starts_with("https:") { ":443" } else { ":80" };
    origin.strip_suffix(port).unwrap_or(origin)
}

/// `Use-As-Dictionary` while it is read (RFC 9842, section 2.1).
#[derive(Default)]
struct Said {
    pattern: Option<String>,
    /// The type is another than `raw`, or an entry is of the wrong type or too long.
    is_other: bool,
}

struct Entered<'v, 'a> {
    into: &'v mut Said,
    key: &'a str,
}

struct Available<'v>(&'v mut Option<[u8; 32]>);

impl Said {
    /// The pattern, if this is a dictionary that is known.
    fn pattern(self) -> Option<String> {
        self.pattern.filter(|_| !self.is_other)
    }

    /// A later entry of one name takes the place of an earlier (RFC 9651, section 4.2.2).
    fn enter(&mut self, key: &str, item: &BareItemFromInput<'_>) {
        match (key, item) {
            ("match", BareItemFromInput::String(text)) => {
                self.pattern = Some(text.as_str().to_owned());
            }
            ("match", _) => self.pattern = None,
            ("type", BareItemFromInput::Token(name)) => self.is_other |= name.as_str() != "raw",
            ("id", BareItemFromInput::String(id)) => {
                self.is_other |= id.as_str().len() > ID_CHARS_MAX;
            }
            ("type" | "id", _) => self.is_other = true,
            _ => {}
        }
    }

    /// Of the entries that are known here, none is a list.
    fn enter_list(&mut self, key: &str) {
        match key {
            "match" => self.pattern = None,
            "type" | "id" => self.is_other = true,
            _ => {}
        }
    }
}

impl<'a> DictionaryVisitor<'a> for Said {
    type Out = Self;
    type Error = Infallible;

    fn entry(&mut self, key: &'a KeyRef) -> Result<impl EntryVisitor<'a>, Infallible> {
        Ok(Entered { into: self, key: key.as_str() })
    }

    fn finish(self) -> Result<Self, Infallible> {
        Ok(self)
    }
}

impl<'a> ItemVisitor<'a> for Entered<'_, 'a> {
    type Out = ();
    type Error = Infallible;

    fn bare_item(
        self,
        item: BareItemFromInput<'a>,
    ) -> Result<impl ParameterVisitor<'a, Out = ()>, Infallible> {
        self.into.enter(self.key, &item);
        Ok(Ignored)
    }
}

impl<'a> EntryVisitor<'a> for Entered<'_, 'a> {
    type Error = Infallible;

    fn item(self) -> Result<impl ItemVisitor<'a>, Infallible> {
        Ok(self)
    }

    fn inner_list(self) -> Result<impl InnerListVisitor<'a>, Infallible> {
        self.into.enter_list(self.key);
        Ok(Ignored)
    }
}

impl<'a> ItemVisitor<'a> for Available<'_> {
    type Out = ();
    type Error = Infallible;

    fn bare_item(
        self,
        item: BareItemFromInput<'a>,
    ) -> Result<impl ParameterVisitor<'a, Out = ()>, Infallible> {
        if let BareItemFromInput::ByteSequence(bytes) = item {
            *self.0 = bytes.try_into().ok();
        }
        Ok(Ignored)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::caching::freshness::Times;
    use crate::caching::stored_response::{Asked, Storable};
    use crate::head::FieldLines;

    const ORIGIN: &str = "https://x";

    #[test]
    fn what_a_pattern_matches() {
        for (pattern, target, matches) in [
            ("/app/*.js", "/app/main.js", true),
            ("/app/*.js", "/app/v1/main.js", true),
            ("/app/*.js", "/app/main.js?v=2", true),
            ("/app/*.js", "/app/main.css", false),
            ("/app/*.js", "/App/main.js", false),
            ("/app/*/main.js", "/app/v2/main.js", true),
            ("/app/*/main.js", "/app/main.js", false),
            ("/app/*", "/app/", true),
            ("/app/*", "/app", false),
            ("/a*b*c", "/a-b-b-c", true),
            ("/a*b*c", "/a-b-b", false),
            ("/*", "/", true),
            ("main.js", "/old/main.js", true),
            ("*", "/old/a/b", true),
            ("*", "/new/a", false),
            ("?v=*", "/old/first.js?v=2", true),
            ("?v=*", "/old/first.js", false),
            ("/a?v=1", "/a?v=1", true),
            ("/a?v=1", "/a?v=2", false),
            ("https://x/app/*", "/app/a", true),
            ("HTTPS://X:443/app/*", "/app/a", true),
        ] {
            let read = Pattern::read(pattern, ORIGIN, "/old/first.js?v=1").unwrap();
            assert_eq!(read.matches(target), matches, "{pattern} {target}");
        }
    }

    #[test]
    fn what_is_no_pattern() {
        for pattern in [
            "",
            "http://x/*",
            "https://y/*",
            "https://x:8443/*",
            "https://*/*",
            "https://x",
            "//x/a",
            "/a/:name",
            "/a/(.*)",
            "/a/{b}?",
            "/a/*?",
            "/a/**",
            "/a\\*",
            "/a+",
            "/a#b",
            "/a b",
            "https://x//a",
            "/a?b?c",
            "/a/../b",
            "./b",
            &format!("/{}", "a".repeat(PATTERN_BYTES_MAX)),
        ] {
            assert_eq!(Pattern::read(pattern, ORIGIN, "/a/b"), None, "{pattern}");
        }
        for own in ["/a*/b", "/a:b/c", "/(a)/b"] {
            assert_eq!(Pattern::read("c", ORIGIN, own), None, "{own}");
            assert!(Pattern::read("/c", ORIGIN, own).is_some(), "{own}");
        }
    }

    #[test]
    fn what_is_said_of_a_dictionary() {
        for (said, pattern) in [
            ("match=\"/a\"", Some("/a")),
            ("match=\"/a\", id=\"1\", type=raw, match-dest=(\"script\"), other=1.5", Some("/a")),
            ("id=\"1\", match=\"/a\";b=c", Some("/a")),
            ("match=\"/b\", match=\"/a\"", Some("/a")),
            ("match=\"/a\", type=other", None),
            ("match=\"/a\", type=\"raw\"", None),
            ("match=\"/a\", id=1", None),
            ("match=/a", None),
            ("match=(\"/a\")", None),
            ("match", None),
            ("match=\"/a\", =", None),
            ("", None),
        ] {
            let read = Parser::new(said).parse_dictionary_with_visitor(Said::default());
            assert_eq!(read.ok().and_then(Said::pattern).as_deref(), pattern, "{said}");
        }
        let id = "i".repeat(ID_CHARS_MAX + 1);
        let long = format!("match=\"/a\", id=\"{id}\"");
        let read = Parser::new(&long).parse_dictionary_with_visitor(Said::default()).unwrap();
        assert_eq!(read.pattern(), None);
    }

    #[test]
    fn what_a_client_has() {
        let of = |fields: &str| available(&Lines::new(FieldLines::new(fields.as_bytes())));
        let digest = ":AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=:";
        let line = format!("available-dictionary: {digest}\r\n");
        assert_eq!(of(&line), Some([0; 32]));
        assert_eq!(of(&format!("available-dictionary: {digest};a=b\r\n")), Some([0; 32]));
        assert_eq!(of(&format!("{line}{line}")), None);
        for value in ["", "AAAA", ":AAAA:", ":AAAA", "\"a\"", "1", &digest.repeat(2)] {
            assert_eq!(of(&format!("available-dictionary: {value}\r\n")), None, "{value}");
        }
        assert_eq!(of(""), None);
    }

    #[test]
    fn what_is_found_is_of_the_same_origin() {
        let own = Dictionaries {
            scope: String::new(),
            origin: ORIGIN.into(),
            target: "/app/2.js".into(),
            available: Some([7; 32]),
        };
        let fields = b"cache-control: max-age=60\r\nuse-as-dictionary: match=\"/app/*\"\r\n";
        let times = Times { requested_ms: 0, received_ms: 0 };
        let storable =
            Storable::read(200, FieldLines::new(fields), Asked::default(), times).unwrap();
        let found = |url| own.found(&Entry::Response(storable.stored()).encode_from(url));
        assert_eq!(found("https://x/app/1.js"), Some([7; 32]));
        for url in
            ["http://x/app/1.js", "https://y/app/1.js", "https://x.y/app/1.js", "https://x", ""]
        {
            assert_eq!(found(url), None, "{url}");
        }
        assert_eq!(own.found(b"another version's"), None);
    }

    #[test]
    fn what_is_too_large_is_none() {
        for (bytes, is_one) in [(DICTIONARY_BYTES_MAX, true), (DICTIONARY_BYTES_MAX + 1, false)] {
            let fields = format!(
                "etag: \"a\"\r\ncontent-length: {bytes}\r\nuse-as-dictionary: match=\"/a\"\r\n"
            );
            let times = Times { requested_ms: 0, received_ms: 0 };
            let fields = FieldLines::new(fields.as_bytes());
            let storable = Storable::read(200, fields, Asked::default(), times).unwrap();
            assert_eq!(pattern(&storable.stored(), ORIGIN, "/").is_some(), is_one, "{bytes}");
        }
    }

    #[test]
    fn hosts_that_are_this_machine() {
        for host in ["localhost", "localhost:80", "a.localhost", "127.0.0.2:1", "[::1]:80", "[::1]"]
        {
            assert!(is_loopback(host), "{host}");
        }
        for host in ["x", "localhost.x", "192.0.2.1", "10.0.0.1:80", "[::2]", "127.0.0.1.x", ""] {
            assert!(!is_loopback(host), "{host}");
        }
    }
}
