//! What goes to an upstream, and what comes back.

use std::borrow::Cow;

use outport_wire::edge_signature::{self, Signed};
use outport_wire::identity::{IDENTITY_HEADER, Identity, SESSION_HEADER};
use outport_wire::resumable::{INTERIM_HEADER, boolean_text};
use outport_wire::secret::Key;
use outport_wire::session::SessionId;

use crate::config::Claim;
use crate::forwarded::Client;
use crate::guard::Guarded;
use crate::head::{FieldLines, Fields, is_hop_by_hop, is_named_by_connection};
use crate::session::cookie;
use crate::step::{Fetch, Moment, Upstream};
use crate::token::SignedIn;
use crate::uploads;

/// What of a client's head reaches Outport's own origin. What is not listed can't confuse it.
const TO_ORIGIN: &[&str] = &[
    "accept",
    "content-digest",
    "content-disposition",
    "content-length",
    "content-type",
    "if-match",
    "if-modified-since",
    "if-none-match",
    "if-range",
    "range",
    "repr-digest",
    "tus-resumable",
    "upload-checksum",
    "upload-complete",
    "upload-concat",
    "upload-defer-length",
    "upload-draft-interop-version",
    "upload-length",
    "upload-metadata",
    "upload-offset",
    "want-repr-digest",
];

/// Fields whose name begins like this are between Outport's own parts. From outside they are
/// dropped.
const OURS: &str = "outport-";

/// What is said of a request's way here. What the client claims of it is not passed on as if it
/// were known.
const ON_THE_WAY: &[&str] =
    &["forwarded", "x-forwarded-for", "x-forwarded-host", "x-forwarded-proto"];

/// What a message that goes through says of it (RFC 9110, section 7.6.3).
pub(crate) const VIA: &str = "1.1 outport";

/// Whether a client's field of this name reaches the origin.
pub(crate) fn reaches_origin(name: &str) -> bool {
    TO_ORIGIN.contains(&name)
}

/// A request to the origin on behalf of a client.
pub(crate) fn to_origin(
    request: &Guarded<'_>,
    caller: Option<&SignedIn>,
    wants_interim: bool,
    key: &Key,
    moment: Moment,
    timeout_ms: u64,
) -> Fetch {
    let mut fields = Fields::for_request(request.method, request.target);
    if wants_interim {
        fields.push(INTERIM_HEADER, boolean_text(true));
    }
    for (name, value) in request.fields.iter() {
        if reaches_origin(name) {
            fields.push(name, value);
        }
    }
    // The one field that the origin looks for behind a body; where it would not come through, the
    // request has been refused.
    if uploads::announces_checksum(request) {
        fields.push("trailer", "upload-checksum");
    }
    if let Some(caller) = caller.filter(|_| !request.is_read()) {
        vouch(caller.session, request.fields.get("authorization"), &mut fields);
    }
    let identity = caller.map(|caller| caller.identity.encode());
    let signed = Signed {
        method: request.method,
        path: request.path,
        query: request.query,
        identity: identity.as_deref(),
        content_digest: request.fields.get("content-digest"),
    };
    sign(&signed, key, moment, &mut fields);
    let with_body = !matches!(request.method, "GET" | "HEAD" | "OPTIONS" | "DELETE");
    Fetch { upstream: Upstream::Origin, head: fields.into_bytes(), with_body, timeout_ms }
}

/// What the origin finds out by itself who asks with, where something is to change: the session, or
/// the token. The signature does not cover it, since it is worth nothing with another identity.
fn vouch(session: Option<SessionId>, token: Option<&str>, fields: &mut Fields) {
    match (session, token) {
        (Some(session), _) => fields.push(SESSION_HEADER, session.to_string()),
        (None, Some(token)) => fields.push("authorization", token),
        (None, None) => {}
    }
}

/// A request that the edge makes of the origin by itself. `extra` are further fields.
pub(crate) fn own_to_origin(
    method: &str,
    target: &str,
    extra: &[(&str, &str)],
    key: &Key,
    moment: Moment,
    timeout_ms: u64,
) -> Fetch {
    let mut fields = Fields::for_request(method, target);
    for (name, value) in extra {
        fields.push(name, value);
    }
    let (path, query) = match target.split_once('?') {
        Some((path, query)) => (path, Some(query)),
        None => (target, None),
    };
    let signed = Signed { method, path, query, identity: None, content_digest: None };
    sign(&signed, key, moment, &mut fields);
    Fetch { upstream: Upstream::Origin, head: fields.into_bytes(), with_body: false, timeout_ms }
}

/// A request that the edge makes of the origin for somebody, of its own making.
pub(crate) struct AsCaller<'a> {
    pub(crate) method: &'a str,
    pub(crate) path: &'a str,
    pub(crate) query: &'a str,
    pub(crate) identity: &'a str,
    /// The session by which it is that somebody's, or the token.
    pub(crate) session: Option<SessionId>,
    pub(crate) token: Option<&'a str>,
}

/// That request. A body goes with it if it has a digest.
pub(crate) fn as_caller(
    request: &AsCaller<'_>,
    content_digest: Option<&str>,
    key: &Key,
    moment: Moment,
    timeout_ms: u64,
) -> Fetch {
    let AsCaller { method, path, query, identity, session, token } = *request;
    let mut fields = Fields::for_request(method, &format!("{path}?{query}"));
    vouch(session, token, &mut fields);
    if let Some(digest) = content_digest {
        fields.push("content-digest", digest);
    }
    let identity = Some(identity);
    let signed = Signed { method, path, query: Some(query), identity, content_digest };
    sign(&signed, key, moment, &mut fields);
    let with_body = content_digest.is_some();
    Fetch { upstream: Upstream::Origin, head: fields.into_bytes(), with_body, timeout_ms }
}

fn sign(signed: &Signed<'_>, key: &Key, moment: Moment, fields: &mut Fields) {
    if let Some(identity) = signed.identity {
        fields.push(IDENTITY_HEADER, identity);
    }
    let signature = edge_signature::sign(key, signed, moment.unix_s(), moment.random);
    fields.push("signature-input", signature.input);
    fields.push("signature", signature.signature);
}

/// What is known of a request to a proxied route beside its head.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Proxied<'a> {
    /// The route's place.
    pub(crate) place: u16,
    /// Who asks.
    pub(crate) client: Client<'a>,
    /// What it is told of who asks.
    pub(crate) claims: &'a [Claim],
    pub(crate) identity: Option<&'a Identity>,
    /// How long the upstream may take to answer.
    pub(crate) timeout_ms: u64,
}

impl<'a> Proxied<'a> {
    /// The claims that it is told, those that are not known left out.
    pub(crate) fn claimed(&self) -> impl Iterator<Item = (Claim, &'a str)> + use<'a> {
        let known = self.identity.map(|identity| (identity, self.claims));
        known.into_iter().flat_map(|(identity, claims)| {
            claims.iter().map(move |claim| (*claim, claim.of(identity)))
        })
    }
}

/// A request to what a route proxies: every method, body and end-to-end field that `passes`.
pub(crate) fn to_route(
    request: &Guarded<'_>,
    proxied: &Proxied<'_>,
    passes: impl Fn(&str) -> bool,
) -> Fetch {
    let Proxied { place, client, timeout_ms, .. } = *proxied;
    let mut fields = Fields::for_request(request.method, request.target);
    for (name, value) in end_to_end(request.lines) {
        if ON_THE_WAY.contains(&name) || !passes(name) {
            continue;
        }
        if name != "cookie" {
            fields.push(name, value);
        } else if let Some(others) = cookie::without_ours(value) {
            fields.push(name, others);
        }
    }
    fields.push("x-forwarded-for", client.address.to_string());
    fields.push("x-forwarded-proto", if client.secure { "https" } else { "http" });
    if let Some(host) = client.host.or(request.fields.get("host")) {
        fields.push("x-forwarded-host", host);
    }
    for (claim, value) in proxied.claimed() {
        fields.push(claim.field(), value);
    }
    fields.push("via", VIA);
    Fetch {
        upstream: Upstream::Route(place),
        head: fields.into_bytes(),
        with_body: true,
        timeout_ms,
    }
}

/// The fields of an origin's answer that the client gets.
pub(crate) fn from_origin(
    status: u16,
    answer: FieldLines<'_>,
    base: Option<&str>,
    fields: &mut Fields,
) {
    let mut cacheable = false;
    for (name, value) in end_to_end(answer) {
        cacheable |= name == "cache-control";
        match name {
            // Ours to say; the origin's would come twice.
            "x-content-type-options" | "date" | "server" => {}
            // An answer of this status has none (RFC 9110, section 8.6), whoever says so.
            "content-length" if status == 204 => {}
            "upload-limit" => remaining_life(value, fields),
            "location" => fields.push(name, location(value, base)),
            _ => fields.push(name, value),
        }
    }
    if !cacheable {
        fields.push("cache-control", "no-store");
    }
}

/// Where something is, as clients are told: relative to the edge that they reached, or absolute if
/// the edge knows how it is reached from outside.
pub(crate) fn location<'a>(value: &'a [u8], base: Option<&str>) -> Cow<'a, [u8]> {
    match base {
        Some(base) if value.starts_with(b"/") => [base.as_bytes(), value].concat().into(),
        _ => value.into(),
    }
}

/// Of the limits of an upload, the edge says all but how long it will be there: a dictionary may
/// come in several lines (RFC 9651, section 4.2).
fn remaining_life(limits: &[u8], fields: &mut Fields) {
    let mut members = limits.split(|byte| *byte == b',').map(<[u8]>::trim_ascii);
    if let Some(life) = members.find(|member| member.starts_with(b"max-age=")) {
        fields.push("upload-limit", life);
    }
}

/// The fields of a proxied answer that the client gets: all but the connection's.
pub(crate) fn from_route(answer: FieldLines<'_>, fields: &mut Fields) {
    for (name, value) in end_to_end(answer) {
        fields.push(name, value);
    }
    fields.push("via", VIA);
}

/// The fields that pass on: neither the connection's (RFC 9110, section 7.6.1) nor ours.
pub(crate) fn end_to_end(fields: FieldLines<'_>) -> impl Iterator<Item = (&str, &[u8])> {
    fields.iter().filter(move |(name, _)| {
        !is_hop_by_hop(name) && !name.starts_with(OURS) && !is_named_by_connection(fields, name)
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::country::Country;
    use crate::guard::guard;
    use crate::head::RequestHead;
    use crate::memory::tests::config;

    const MOMENT: Moment = Moment { unix_ms: 1_800_000_000_000, random: 7 };

    fn names(head: &[u8]) -> Vec<String> {
        let head = RequestHead::parse(head).unwrap();
        head.fields.iter().map(|(name, _)| name.to_owned()).collect()
    }

    #[test]
    fn nobody_can_name_themselves_to_the_origin() {
        let head = b"POST /uploads HTTP/1.1\r\nhost: x\r\noutport-identity: a;b;admin\r\n\
            authorization: Bearer t\r\nsignature: edge=:x:\r\nupload-length: 5\r\n";
        let fetch = to_origin(&guard(head).unwrap(), None, false, &config().edge_key, MOMENT, 1);
        assert_eq!(names(&fetch.head), ["upload-length", "signature-input", "signature"]);
        assert!(fetch.with_body);
    }

    #[test]
    fn the_origin_believes_what_was_signed() {
        let head = b"PATCH /uploads/x?a=b HTTP/1.1\r\nhost: x\r\n";
        let alice = Identity::new("demo", "alice", Default::default()).unwrap();
        let key = config().edge_key;
        let alice = SignedIn::before(alice);
        let fetch = to_origin(&guard(head).unwrap(), Some(&alice), false, &key, MOMENT, 1);
        let sent = RequestHead::parse(&fetch.head).unwrap();
        let signed = Signed {
            method: "PATCH",
            path: "/uploads/x",
            query: Some("a=b"),
            identity: sent.fields.get(IDENTITY_HEADER),
            content_digest: None,
        };
        assert_eq!(signed.identity, Some("demo;alice;"));
        let (input, signature) =
            (sent.fields.get("signature-input").unwrap(), sent.fields.get("signature").unwrap());
        let verified = edge_signature::verify(&[key], &signed, input, signature, MOMENT.unix_s());
        assert_eq!(verified, Ok(MOMENT.random));
    }

    #[test]
    fn the_origin_is_shown_by_what_somebody_is_known() {
        let head = b"PATCH /uploads/x HTTP/1.1\r\nhost: x\r\nauthorization: Bearer t\r\n\
            outport-session: 0000000000000009\r\n";
        let alice = Identity::new("demo", "alice", Default::default()).unwrap();
        let by_token = SignedIn::before(alice);
        let by_session = SignedIn { session: Some(SessionId::new(7)), ..by_token.clone() };
        let shown = |head: &[u8], caller: &SignedIn| {
            let key = config().edge_key;
            let fetch = to_origin(&guard(head).unwrap(), Some(caller), false, &key, MOMENT, 1);
            let sent = RequestHead::parse(&fetch.head).unwrap();
            ["authorization", SESSION_HEADER].map(|name| sent.fields.get(name).map(str::to_owned))
        };
        assert_eq!(shown(head, &by_token), [Some("Bearer t".to_owned()), None]);
        assert_eq!(shown(head, &by_session), [None, Some("0000000000000007".to_owned())]);
        // For what changes nothing, the token stays here.
        let get = b"GET /uploads/x HTTP/1.1\r\nhost: x\r\nauthorization: Bearer t\r\n";
        assert_eq!(shown(get, &by_token), [None, None]);
    }

    #[test]
    fn a_route_gets_all_but_the_connections_fields() {
        let head = b"PROPFIND /a HTTP/1.1\r\nhost: x\r\nauthorization: t\r\nconnection: x-hop\r\n\
            outport-subject: bob\r\nx-hop: 1\r\nte: trailers\r\ndepth: 1\r\nx-forwarded-for: 8.8.8.8\r\n\
            forwarded: for=8.8.8.8\r\n";
        let address = "192.0.2.1".parse().unwrap();
        let country = Country::UNKNOWN;
        let client = Client { address, secure: false, host: None, proxied: false, country };
        let alice = Identity::new("demo", "alice", Default::default()).unwrap();
        let proxied = Proxied {
            place: 3,
            client,
            claims: &[Claim::Subject],
            identity: Some(&alice),
            timeout_ms: 1,
        };
        let fetch = to_route(&guard(head).unwrap(), &proxied, |_| true);
        assert_eq!(fetch.upstream, Upstream::Route(3));
        assert_eq!(
            names(&fetch.head),
            [
                "host",
                "authorization",
                "depth",
                "x-forwarded-for",
                "x-forwarded-proto",
                "x-forwarded-host",
                "outport-subject",
                "via"
            ]
        );
        let sent = RequestHead::parse(&fetch.head).unwrap();
        assert_eq!(sent.fields.get("x-forwarded-for"), Some("192.0.2.1"));
        assert_eq!(sent.fields.get("x-forwarded-host"), Some("x"));
        assert_eq!(sent.fields.get("outport-subject"), Some("alice"));

        let known = Client { secure: true, host: Some("files.example"), ..client };
        let proxied = Proxied { client: known, ..proxied };
        let fetch = to_route(&guard(head).unwrap(), &proxied, |name| name != "depth");
        assert!(!names(&fetch.head).contains(&"depth".to_owned()));
        let sent = RequestHead::parse(&fetch.head).unwrap();
        assert_eq!(sent.fields.get("x-forwarded-proto"), Some("https"));
        assert_eq!(sent.fields.get("x-forwarded-host"), Some("files.example"));
    }

    #[test]
    fn of_an_uploads_limits_its_life_is_the_origins_to_say() {
        let lines = |limits: &str| {
            let answer = format!("upload-limit: {limits}\r\ncache-control: no-store\r\n");
            let mut fields = Fields::new();
            from_origin(200, FieldLines::new(answer.as_bytes()), None, &mut fields);
            String::from_utf8(fields.into_bytes()).unwrap()
        };
        let life = "upload-limit: max-age=9\r\ncache-control: no-store\r\n";
        assert_eq!(lines("max-size=1, max-age=9"), life);
        assert_eq!(lines("max-size=1"), "cache-control: no-store\r\n");
    }

    #[test]
    fn what_has_no_content_has_no_length() {
        let answer = b"content-length: 0\r\ncache-control: no-store\r\n";
        for (status, length) in [(200, "content-length: 0\r\n"), (204, "")] {
            let mut fields = Fields::new();
            from_origin(status, FieldLines::new(answer), None, &mut fields);
            let expected = format!("{length}cache-control: no-store\r\n");
            assert_eq!(String::from_utf8(fields.into_bytes()).unwrap(), expected, "{status}");
        }
    }

    #[test]
    fn records_stay_inside() {
        let answer =
            b"outport-file: secret\r\nlocation: /files/x\r\ntransfer-encoding: chunked\r\n";
        let mut fields = Fields::new();
        let base = Some("https://files.example");
        from_origin(200, FieldLines::new(answer), base, &mut fields);
        assert_eq!(
            String::from_utf8(fields.into_bytes()).unwrap(),
            "location: https://files.example/files/x\r\ncache-control: no-store\r\n"
        );
    }
}
