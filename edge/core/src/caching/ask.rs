//! What a request wants of a cache: under which key, in which state, and how much of it.

use outport_wire::conditions::{Conditions, Delivery, Representation, matches_weakly};
use outport_wire::time::parse_http_date;
use serde::{Deserialize, Serialize};

use super::directives::{DELTA_S_MAX, Directives, SURROGATE_NAME};
use super::fields::{Lines, digest};
use super::freshness::Freshness;
use super::stored_response::{Asked, StoredResponse};
use crate::coding::{Accepted, Choice, compressible, without_coding};
use crate::composing::is_template;
use crate::dictionary::{Dictionaries, NEGOTIATED, is_for_all};
use crate::forward::{self, Proxied};
use crate::guard::Guarded;
use crate::head::{FieldLines, RequestHead};
use crate::purge;
use crate::step::{Coding, Fetch, Form, Need};

/// The fields of a condition and of a range: the cache answers them, or sends its own.
const CONDITIONS: &[&str] =
    &["if-match", "if-modified-since", "if-none-match", "if-range", "if-unmodified-since", "range"];

/// Fields by which some servers are told of another URI or method than the request's. They are in
/// no key, so that whoever sends them would decide what others get: a cached route passes none on.
const UNKEYED: &[&str] = &[
    "x-forwarded-port",
    "x-forwarded-prefix",
    "x-forwarded-scheme",
    "x-forwarded-server",
    "x-host",
    "x-http-method",
    "x-http-method-override",
    "x-method-override",
    "x-original-host",
    "x-original-url",
    "x-rewrite-url",
];

/// What is made of a route's answers here.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Forms {
    /// They are encoded.
    pub(crate) compresses: bool,
    /// Those that are templates are composed.
    pub(crate) composes: bool,
    /// They may be dictionaries, and encoded against them.
    pub(crate) dictionaries: bool,
}

/// Names what is stored of a route for one authority: all that goes upstream beside target and
/// fields.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Place {
    route: u16,
    secure: bool,
    host: String,
    forwarded_host: Option<String>,
    /// What the upstream is told of who asks: name and value.
    claimed: Vec<(String, String)>,
}

/// What a request wants.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Ask {
    /// The key of its URI.
    pub(crate) key: String,
    pub(crate) head_only: bool,
    pub(crate) asked: Asked,
    pub(crate) only_if_cached: bool,
    /// The tag of its URI, by which what it gives can be purged.
    pub(crate) tag: String,
    /// The codings that the client takes, where stored answers are encoded here.
    accepted: Option<Accepted>,
    /// What it has to do with dictionaries, where it has.
    pub(crate) dictionaries: Option<Dictionaries>,
    /// What it gives may be a template.
    pub(crate) composes: bool,
    no_cache: bool,
    max_age_s: Option<u64>,
    min_fresh_s: u64,
    max_stale_s: u64,
    /// The request for the whole of it, without conditions.
    fetch: Fetch,
    /// The lines of the client's conditions and range.
    conditions: Vec<u8>,
}

impl Place {
    /// Where this request goes.
    pub(crate) fn of(request: &Guarded<'_>, proxied: &Proxied<'_>) -> Self {
        Self {
            route: proxied.place,
            secure: proxied.client.secure,
            host: request.fields.get("host").unwrap_or_default().to_ascii_lowercase(),
            forwarded_host: proxied.client.host.map(str::to_ascii_lowercase),
            claimed: proxied
                .claimed()
                .map(|(claim, value)| (claim.name().to_owned(), value.to_owned()))
                .collect(),
        }
    }

    /// The host as clients name it.
    pub(crate) fn public_host(&self) -> &str {
        self.forwarded_host.as_deref().unwrap_or(&self.host)
    }

    const fn scheme(&self) -> &'static str {
        if self.secure { "https" } else { "http" }
    }

    /// Scheme and authority as clients name them.
    pub(crate) fn origin(&self) -> String {
        format!("{}://{}", self.scheme(), self.public_host())
    }

    /// Names scheme and authority, whatever the route.
    pub(crate) fn scope(&self) -> String {
        let host = [self.scheme(), &self.host, self.forwarded_host.as_deref().unwrap_or("\0")];
        format!("dictionaries {}", digest(host))
    }

    /// The key of this target.
    pub(crate) fn key(&self, target: &str) -> String {
        let forwarded = self.forwarded_host.as_deref().unwrap_or("\0");
        let host = [self.scheme(), &self.host, forwarded, target];
        let claimed = self.claimed.iter().flat_map(|(name, value)| [&**name, value]);
        format!("route {} {}", self.route, digest(host.into_iter().chain(claimed)))
    }

    /// The key of what a field like `Location` names, if it is of the same authority (RFC 9111,
    /// section 4.4).
    pub(crate) fn key_of_reference(&self, reference: &str, target: &str) -> Option<String> {
        let reference = reference.trim();
        let host = self.public_host();
        let schemeless = reference.split_once("://").map(|(_, rest)| rest);
        let resolved = match schemeless.or_else(|| reference.strip_prefix("//")) {
            Some(rest) => {
                let end = rest.find(['/', '?', '#']).unwrap_or(rest.len());
                let (authority, target) = rest.split_at_checked(end)?;
                if !authority.eq_ignore_ascii_case(host) {
                    return None;
                }
                if target.starts_with('/') { target.to_owned() } else { format!("/{target}") }
            }
            None if reference.starts_with('/') => reference.to_owned(),
            None if reference.is_empty() => target.to_owned(),
            None => {
                let path = target.split('?').next().unwrap_or_default();
                let folder = path.rsplit_once('/').map_or("", |(folder, _)| folder);
                format!("{folder}/{reference}")
            }
        };
        Some(self.key(resolved.split('#').next().unwrap_or_default()))
    }
}

impl Ask {
    /// Reads what is asked. `None` where the cache has no part in it: another method, a body, or a
    /// condition that only the upstream can decide. What may be a template is never sent as it is: of
    /// such a request, body and condition are passed over.
    pub(crate) fn read(request: &Guarded<'_>, proxied: &Proxied<'_>, forms: Forms) -> Option<Self> {
        let has = |name| request.fields.bytes(name).is_some();
        let apart = ["content-length", "transfer-encoding", "if-match", "if-unmodified-since"];
        let is_apart = !forms.composes && apart.into_iter().any(has);
        if !matches!(request.method, "GET" | "HEAD") || is_apart {
            return None;
        }
        let lines = Lines::new(request.lines);
        let directives = Directives::read(lines.all("cache-control"));
        // For clients of HTTP/1.0 (RFC 9111, section 5.4).
        let pragma = !has("cache-control") && lines.all("pragma").any(|value| value == b"no-cache");
        let place = Place::of(request, proxied);
        Some(Self {
            key: place.key(request.target),
            tag: purge::of_target(place.public_host(), request.target),
            head_only: request.method == "HEAD",
            asked: Asked { authorized: has("authorization"), no_store: directives.no_store },
            only_if_cached: directives.only_if_cached,
            composes: forms.composes,
            accepted: forms
                .compresses
                .then(|| Accepted::read(request.fields.get("accept-encoding"))),
            dictionaries: match forms.dictionaries {
                true => Dictionaries::read(request, &place),
                false => None,
            },
            no_cache: directives.no_cache.is_there() || pragma,
            max_age_s: directives.max_age_s,
            min_fresh_s: directives.min_fresh_s.unwrap_or_default(),
            max_stale_s: directives.max_stale_s.unwrap_or_default(),
            fetch: whole(request, proxied, forms),
            conditions: conditions(request),
        })
    }

    /// Whether only a part is wanted. Of what may be a template all is: what is made of it has no
    /// parts.
    pub(crate) fn wants_range(&self) -> bool {
        !self.composes && self.condition("range").is_some()
    }

    /// Whether what is stored may be used at once, for this request.
    pub(crate) fn takes(&self, freshness: &Freshness, now_ms: u64) -> bool {
        if self.no_cache || self.asked.no_store {
            return false;
        }
        let young = self.max_age_s.is_none_or(|most| freshness.age_ms(now_ms) < most * 1000);
        let fresh = freshness.is_fresh(now_ms)
            && freshness.left_ms(now_ms)
                >= i64::try_from(self.min_fresh_s * 1000).unwrap_or(i64::MAX);
        young && fresh
            || self.max_stale_s > 0 && freshness.may_be_stale(now_ms, self.max_stale_s * 1000)
    }

    /// Whether the request insists that the upstream is asked.
    pub(crate) fn insists(&self, freshness: &Freshness, now_ms: u64) -> bool {
        freshness.is_fresh(now_ms) && !self.takes(freshness, now_ms)
    }

    /// The request for all of it.
    pub(crate) fn whole(&self) -> Fetch {
        self.fetch.clone()
    }

    /// The request with what the client itself sent.
    pub(crate) fn as_sent(&self) -> Fetch {
        self.with(&self.conditions)
    }

    /// The request that validates a stored response (RFC 9111, section 4.3.1).
    pub(crate) fn validating(&self, stored: &StoredResponse<'_>) -> Fetch {
        let mut lines = Vec::new();
        for (field, condition) in
            [("etag", "if-none-match"), ("last-modified", "if-modified-since")]
        {
            let value = stored.fields().iter().find(|(name, _)| *name == field);
            if let Some((_, value)) = value {
                lines.extend_from_slice(condition.as_bytes());
                lines.extend_from_slice(&[b": ", value, b"\r\n"].concat());
            }
        }
        Self::by_get(self.with(&lines))
    }

    fn with(&self, lines: &[u8]) -> Fetch {
        Fetch { head: [&self.fetch.head, lines].concat(), ..self.fetch.clone() }
    }

    /// The same by GET: for a HEAD request, too, what is stored may be validated.
    fn by_get(fetch: Fetch) -> Fetch {
        let Some(rest) = fetch.head.strip_prefix(b"HEAD ") else { return fetch };
        Fetch { head: [b"GET ", rest].concat(), ..fetch }
    }

    /// The URL that is asked for, as clients name it.
    pub(crate) fn source(&self) -> String {
        let Some(head) = RequestHead::parse(&self.fetch.head) else { return String::new() };
        let field = |name| head.fields.get(name).unwrap_or_default();
        format!("{}://{}{}", field("x-forwarded-proto"), field("x-forwarded-host"), head.target)
    }

    /// The fields of the request by which variants are told apart.
    pub(crate) fn selecting(&self) -> Lines<'_> {
        let fields = RequestHead::parse(&self.fetch.head).map(|head| head.fields);
        Lines::new(fields.unwrap_or(FieldLines::new(b"")))
    }

    /// Looks up the dictionary that the client has.
    pub(crate) fn dictionary_need(&self) -> Option<Need> {
        self.dictionaries.as_ref()?.need()
    }

    /// Goes by the dictionary that was looked up.
    pub(crate) fn with_dictionary(self, head: Option<&[u8]>) -> Self {
        let found = self.dictionaries.as_ref().zip(head).and_then(|(own, head)| own.found(head));
        let accepted = self.accepted.map(|accepted| accepted.with_dictionary(found));
        Self { accepted, ..self }
    }

    /// Where a response to this is found as a dictionary, if it is one.
    pub(crate) fn offers(&self, stored: &StoredResponse<'_>) -> Option<String> {
        self.dictionaries.as_ref()?.offered(stored)
    }

    /// What the form of a response differs by, as `Vary` says it.
    pub(crate) fn negotiated(&self, stored: &StoredResponse<'_>) -> &'static str {
        match self.dictionaries {
            Some(_) if is_for_all(stored) => "accept-encoding, available-dictionary",
            _ => "accept-encoding",
        }
    }

    /// The codings that the client takes of a response.
    fn accepted_of(&self, stored: &StoredResponse<'_>) -> Option<Accepted> {
        let accepted = self.accepted?;
        Some(if is_for_all(stored) { accepted } else { accepted.with_dictionary(None) })
    }

    /// Chooses the form of a response that is stored or arriving, of whose body there are these.
    pub(crate) fn choose(&self, stored: &StoredResponse<'_>, forms: &[Form]) -> Choice {
        match self.accepted_of(stored) {
            Some(accepted) if is_compressible(stored) && !self.is_template(stored.fields()) => {
                match self.wants_range() {
                    true => Choice::Identity,
                    false => accepted.choose(forms),
                }
            }
            _ => Choice::Plain,
        }
    }

    /// The coding of a form that is to be made for clients like this one.
    pub(crate) fn wants_form(&self, stored: &StoredResponse<'_>, forms: &[Form]) -> Option<Coding> {
        self.accepted_of(stored)?.wants_form(forms)
    }

    /// Decides what is delivered of a response with these fields and, where it is known, this
    /// length; of several ranges at once, where that is possible.
    pub(crate) fn delivery(
        &self,
        status: u16,
        fields: FieldLines<'_>,
        length: Option<u64>,
        several: bool,
    ) -> Delivery {
        if status != 200 || self.is_template(fields) {
            return Delivery::Whole;
        }
        let etag = fields.get("etag").unwrap_or_default();
        if self.knows(etag, fields) {
            return Delivery::NotModified;
        }
        let (Some(range), Some(length), false) = (self.condition("range"), length, self.head_only)
        else {
            return Delivery::Whole;
        };
        let strong = if etag.starts_with('"') { etag } else { "" };
        let last_modified = fields.get("last-modified").unwrap_or_default();
        let if_range = self.condition("if-range");
        let conditions =
            Conditions { range: Some(range), if_range, several, ..Conditions::default() };
        Delivery::decide(&conditions, Representation { etag: strong, last_modified, length })
    }

    fn is_template(&self, fields: FieldLines<'_>) -> bool {
        self.composes && is_template(fields)
    }

    /// Whether the client has it already (RFC 9110, sections 13.1.2 and 13.1.3).
    fn knows(&self, etag: &str, fields: FieldLines<'_>) -> bool {
        if let Some(tags) = self.condition("if-none-match") {
            let plain = self.accepted.map(|_| without_coding(tags));
            let tags = plain.as_deref().unwrap_or(tags);
            let opaque = etag.strip_prefix("W/").unwrap_or(etag);
            return !opaque.is_empty() && matches_weakly(tags, opaque) || tags.trim() == "*";
        }
        // Without `Last-Modified`, when it was made is the latest that it can have changed
        // (RFC 9111, section 4.3.2).
        let modified = fields.get("last-modified").or(fields.get("date")).and_then(parse_http_date);
        let since = self.condition("if-modified-since").and_then(parse_http_date);
        modified.zip(since).is_some_and(|(modified, since)| modified <= since)
    }

    fn condition(&self, name: &str) -> Option<&str> {
        FieldLines::new(&self.conditions).get(name)
    }
}

fn whole(request: &Guarded<'_>, proxied: &Proxied<'_>, forms: Forms) -> Fetch {
    let Forms { compresses, composes, dictionaries } = forms;
    let passes = |name: &str| {
        let is_plain = compresses || composes;
        let answered_here = CONDITIONS.contains(&name)
            || is_plain && name == "accept-encoding"
            || dictionaries && NEGOTIATED.contains(&name);
        !answered_here && !UNKEYED.contains(&name)
    };
    let mut fetch = forward::to_route(request, proxied, passes);
    // What this cache understands (Edge Architecture Specification 1.0).
    let esi = if composes { " ESI/1.0" } else { "" };
    let capability = format!("surrogate-capability: {SURROGATE_NAME}=\"Surrogate/1.0{esi}\"\r\n");
    fetch.head.extend_from_slice(capability.as_bytes());
    Fetch { with_body: false, ..fetch }
}

fn conditions(request: &Guarded<'_>) -> Vec<u8> {
    let mut lines = Vec::new();
    for (name, value) in request.fields.iter().filter(|(name, _)| CONDITIONS.contains(name)) {
        lines.extend_from_slice(&[name.as_bytes(), b": ", value, b"\r\n"].concat());
    }
    lines
}

/// Whether it may be encoded here, and is worth it (RFC 9110, section 7.7).
fn is_compressible(stored: &StoredResponse<'_>) -> bool {
    let fields = stored.fields();
    let kind = fields.get("content-type").unwrap_or_default();
    stored.status == 200
        && Lines::new(fields).all("content-encoding").next().is_none()
        && compressible(kind, stored.length())
        && !Directives::read(Lines::new(fields).all("cache-control")).no_transform
}

const _: () = assert!(DELTA_S_MAX < u64::MAX / 1000, "times fit in milliseconds");

#[cfg(test)]
mod tests {
    use super::*;

    fn place() -> Place {
        Place {
            route: 1,
            secure: false,
            host: "x".into(),
            forwarded_host: None,
            claimed: Vec::new(),
        }
    }

    #[test]
    fn all_that_goes_upstream_is_in_the_key() {
        let key = place().key("/a?b");
        for other in [
            Place { route: 2, ..place() }.key("/a?b"),
            Place { secure: true, ..place() }.key("/a?b"),
            Place { host: "y".into(), ..place() }.key("/a?b"),
            Place { forwarded_host: Some("x".into()), ..place() }.key("/a?b"),
            place().key("/a?c"),
            place().key("/A?b"),
            Place { claimed: vec![("subject".into(), "a".into())], ..place() }.key("/a?b"),
            Place { claimed: vec![("tenant".into(), "a".into())], ..place() }.key("/a?b"),
            Place { claimed: vec![("subject".into(), "b".into())], ..place() }.key("/a?b"),
        ] {
            assert_ne!(other, key);
        }
    }

    #[test]
    fn scheme_and_authority_are_the_scope_of_dictionaries() {
        let scope = place().scope();
        assert_eq!(Place { route: 2, ..place() }.scope(), scope);
        for other in [
            Place { secure: true, ..place() },
            Place { host: "y".into(), ..place() },
            Place { forwarded_host: Some("x".into()), ..place() },
        ] {
            assert_ne!(other.scope(), scope);
        }
    }

    #[test]
    fn what_an_answer_names_of_the_same_authority() {
        let of = |reference| place().key_of_reference(reference, "/a/b?c");
        for (reference, target) in [
            ("/d", "/d"),
            ("d", "/a/d"),
            ("", "/a/b?c"),
            ("/d#e", "/d"),
            ("http://X/d", "/d"),
            ("//x/d", "/d"),
            ("https://x", "/"),
            ("http://x?d", "/?d"),
        ] {
            assert_eq!(of(reference), Some(place().key(target)), "{reference}");
        }
        for reference in ["http://y/d", "//y/d", "http://x.y/d"] {
            assert_eq!(of(reference), None, "{reference}");
        }
    }
}
