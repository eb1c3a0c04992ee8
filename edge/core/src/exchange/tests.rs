//! A whole edge in memory: requests in, replies out, with an origin of a few lines.

use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::rc::Rc;

use outport_wire::describe::Query;
use outport_wire::file::{FILE_HEADER, FileRecord, Visibility};
use outport_wire::identity::{Identity, Scopes};
use outport_wire::link::Link;
use outport_wire::rules::TenantRules;
use outport_wire::session::SessionId;
use outport_wire::tus;

use super::*;
use crate::head::FieldLines;
use crate::memory::tests::config;
use crate::memory::{MemoryDriver, UpstreamAnswer};
use crate::relating::graph::Graph;
use crate::session::cookie::{Session, Short};
use crate::step::{Ended, FetchError, Share, UpstreamHead};
use crate::token::tests::{Mint, NOW};

mod budgets;
mod composing;
mod explain;
mod firewall;
mod issuers;
mod kept;
mod links;
mod parts;
mod passes;
mod prefetching;
mod priorities;
mod relations;
mod sessions;

const ID: &str = "01000G0000000C000000000004";
const OTHER_ID: &str = "01000G0000000C000000000005";

const SIGNATURES: Abilities = Abilities {
    signatures: true,
    request_trailers: false,
    interim: false,
    durable: None,
    unannounced: false,
    encodes: false,
    purges: false,
    composes: false,
    slices: false,
    fragments: false,
    prefetches: false,
    documents: false,
    dictionaries: false,
    escalates: false,
    shares: false,
};

struct World {
    edge: Edge,
    driver: MemoryDriver,
    mint: Mint,
    origin: Rc<Origin>,
    /// What every request comes by.
    connection: Connection,
}

#[derive(Default)]
struct Origin {
    down: Cell<Option<FetchError>>,
    files: RefCell<HashMap<String, (FileRecord, Vec<u8>)>>,
    relations: RefCell<Graph>,
    /// What was spent of budgets, by whose and which, and when the period ends.
    spent: RefCell<HashMap<(String, String), (u64, u64)>>,
    seen: RefCell<Vec<String>>,
    /// Nothing is left of the uses of any link.
    links_are_used: Cell<bool>,
    /// It does what it is asked, and its answer is lost on the way.
    answers_are_lost: Cell<bool>,
    removed: RefCell<Vec<String>>,
    /// What each target of the routes gives: status, fields and body. In that, `@subject` is who
    /// asks, as it is told.
    pages: RefCell<HashMap<String, (u16, String, String)>>,
    /// Bodies break off, of what is sent.
    breaks: Cell<bool>,
    /// Its parts break off after so many bytes.
    cut_after: Cell<Option<usize>>,
    /// What its parts say in place of something else.
    misquotes: Cell<Option<(&'static str, &'static str)>>,
    /// What they were asked for if it is still the same.
    if_match: RefCell<Option<String>>,
}

struct Sent {
    status: u16,
    fields: String,
    body: Vec<u8>,
    ended: Ended,
    matched: Matched,
    caller_known: bool,
}

impl Sent {
    fn of(reply: &Reply, body: Vec<u8>) -> Self {
        let fields = String::from_utf8(reply.fields.clone()).unwrap();
        let matched = reply.matched.clone();
        let Reply { status, ended, caller_known, .. } = *reply;
        Self { status, fields, body, ended, matched, caller_known }
    }

    fn field(&self, name: &str) -> Option<&str> {
        FieldLines::new(self.fields.as_bytes()).get(name)
    }

    #[track_caller]
    fn expect_problem(&self, status: u16, slug: &str) {
        assert_eq!((self.status, self.problem().as_str()), (status, slug));
    }

    fn problem(&self) -> String {
        let document: serde_json::Value = serde_json::from_slice(&self.body).unwrap();
        let kind = document["type"].as_str().unwrap();
        kind.rsplit(':').next().unwrap().to_owned()
    }
}

impl Origin {
    fn answer(&self, fetch: &Fetch, body: &[u8]) -> Result<UpstreamAnswer, FetchError> {
        let answer = self.decide(fetch, body);
        if self.answers_are_lost.get() { Err(FetchError::Timeout) } else { answer }
    }

    fn decide(&self, fetch: &Fetch, body: &[u8]) -> Result<UpstreamAnswer, FetchError> {
        let head = crate::head::RequestHead::parse(&fetch.head).unwrap();
        let range = head.fields.get("range").map(|range| format!(" {range}")).unwrap_or_default();
        let interim = head.fields.get("outport-interim").map(|_| " 1xx").unwrap_or_default();
        self.seen.borrow_mut().push(format!("{} {}{range}{interim}", head.method, head.target));
        if let Some(failure) = self.down.get() {
            return Err(failure);
        }
        let answer = |status, fields: &str, body: &[u8]| {
            let fields = fields.as_bytes().to_vec();
            Ok(UpstreamAnswer { head: UpstreamHead { status, fields }, body: body.to_vec() })
        };
        if let Some((status, fields, body)) = self.pages.borrow().get(head.target) {
            let subject = head.fields.get("outport-subject").unwrap_or_default();
            let body = body.replace("@subject", subject);
            let told = FieldLines::new(fields.as_bytes());
            let changed =
                head.fields.get("if-match").is_some_and(|tag| told.get("etag") != Some(tag));
            if changed {
                return answer(412, "", b"");
            }
            let asked = head.fields.get("range").filter(|_| told.get("accept-ranges").is_some());
            let Some(range) = asked else { return answer(*status, fields, body.as_bytes()) };
            let (first, last) = range.strip_prefix("bytes=").unwrap().split_once('-').unwrap();
            let (first, last): (usize, usize) = (first.parse().unwrap(), last.parse().unwrap());
            let content_range = format!("content-range: bytes {first}-{last}/{}\r\n", body.len());
            let length = |length| format!("content-length: {length}\r\n");
            let fields = fields.replace(&length(body.len()), &length(last - first + 1));
            return answer(206, &(fields + &content_range), &body.as_bytes()[first..=last]);
        }
        if head.target.contains("/uses?link=") {
            return answer(if self.links_are_used.get() { 404 } else { 204 }, "", b"");
        }
        if let Some(query) = head.target.strip_prefix("/spent?") {
            return answer(204, &self.spend(&Query::parse(query), &head), b"");
        }
        if head.target.starts_with("/relations?") {
            return answer(204, &self.relations.borrow().answer(head.target), b"");
        }
        let id = head.target.strip_prefix("/files/").unwrap_or_default();
        if head.method == "PUT" && !id.is_empty() {
            return answer(self.take(&head, body), "", b"");
        }
        let files = self.files.borrow();
        if !matches!(head.method, "GET" | "HEAD") {
            let tus =
                if head.target.starts_with("/uploads") { "tus-resumable: 1.0.0\r\n" } else { "" };
            let fields = format!("outport-file: inside\r\nlocation: /files/x\r\n{tus}");
            return answer(204, &fields, b"");
        }
        let Some((record, body)) = files.get(id) else { return answer(404, "", b"") };
        let fields = format!(
            "etag: \"{id}\"\r\ncontent-type: text/plain\r\ncontent-length: {}\r\n\
             last-modified: Tue, 24 Nov 2026 06:49:10 GMT\r\n{FILE_HEADER}: {}\r\n\
             cache-control: max-age=60, stale-while-revalidate=30, stale-if-error=86400\r\n",
            body.len(),
            record.encode(),
        );
        if head.fields.get("if-none-match").is_some() {
            return answer(304, &fields, b"");
        }
        if let Some(range) = head.fields.get("range") {
            let (first, last) = range.strip_prefix("bytes=").unwrap().split_once('-').unwrap();
            let (first, last): (usize, usize) = (first.parse().unwrap(), last.parse().unwrap());
            let fields = fields.replace(
                &format!("content-length: {}\r\n", body.len()),
                &format!(
                    "content-length: {}\r\ncontent-range: bytes {first}-{last}/{}\r\n",
                    last - first + 1,
                    body.len()
                ),
            );
            let (from, to) = self.misquotes.get().unwrap_or_default();
            let fields = if from.is_empty() { fields } else { fields.replace(from, to) };
            *self.if_match.borrow_mut() = head.fields.get("if-match").map(str::to_owned);
            let cut = self.cut_after.get().unwrap_or(usize::MAX);
            let part = &body[first..=last];
            return answer(206, &fields, &part[..part.len().min(cut)]);
        }
        answer(200, &fields, body)
    }
}

impl Origin {
    /// A file is handed over: the status.
    fn take(&self, head: &crate::head::RequestHead<'_>, body: &[u8]) -> u16 {
        let (path, query) = head.target.split_once('?').unwrap();
        let id = path.strip_prefix("/files/").unwrap().to_owned();
        let told = outport_wire::handover::Handover::read(&Query::parse(query)).unwrap();
        let owner = Identity::decode(head.fields.get("outport-identity").unwrap()).unwrap();
        if self.removed.borrow().contains(&id) {
            return 204;
        }
        let record = FileRecord {
            tenant: owner.tenant,
            owner: owner.subject,
            visibility: told.visibility,
            name: told.name,
            expires_s: None,
            links_after_ms: None,
        };
        match self.files.borrow_mut().insert(id, (record, body.to_vec())) {
            None => 201,
            Some(_) => 204,
        }
    }
}

impl World {
    fn new(abilities: Abilities) -> Self {
        Self::with(abilities, |_| ())
    }

    fn with(abilities: Abilities, change: impl FnOnce(&mut Config)) -> Self {
        Self::beside(Rc::new(Origin::default()), abilities, change)
    }

    /// Before an origin that others are before, too.
    fn beside(origin: Rc<Origin>, abilities: Abilities, change: impl FnOnce(&mut Config)) -> Self {
        let mint = Mint::new();
        let mut config = config();
        config.issuers.push(mint.issuer());
        config.stored_bytes_max = 100;
        change(&mut config);
        let upstream = origin.clone();
        let upstreams = Box::new(move |fetch: &Fetch, body: &[u8]| upstream.answer(fetch, body));
        let mut driver = MemoryDriver::new(NOW * 1000, upstreams);
        let handing = Edge::new(config.clone(), abilities).unwrap();
        driver.hand_over_by(Box::new(move |head, sha256, moment| {
            handing.hand_over(head, sha256, moment)
        }));
        driver.continue_by(Edge::new(config.clone(), abilities).unwrap());
        let connection = Connection::new([192, 0, 2, 1].into(), false);
        Self { edge: Edge::new(config, abilities).unwrap(), driver, mint, origin, connection }
    }

    fn put(&self, id: &str, visibility: Visibility, body: &[u8]) {
        let record = FileRecord {
            tenant: "demo".into(),
            owner: "alice".into(),
            visibility,
            name: "a.txt".into(),
            expires_s: None,
            links_after_ms: None,
        };
        self.origin.files.borrow_mut().insert(id.to_owned(), (record, body.to_vec()));
    }

    /// A route gives this; `|` is between fields.
    fn page(&self, target: &str, status: u16, fields: &str, body: &str) {
        let fields = format!("{}\r\n", fields.replace('|', "\r\n"));
        let answer = (status, fields, body.to_owned());
        self.origin.pages.borrow_mut().insert(target.to_owned(), answer);
    }

    fn token(&self, tenant: &str, subject: &str, scope: &str) -> String {
        format!("authorization: Bearer {}\r\n", self.mint.token(tenant, subject, scope))
    }

    fn send(&mut self, line: &str, fields: &str) -> Sent {
        self.send_body(line, fields, b"")
    }

    fn send_body(&mut self, line: &str, fields: &str, body: &[u8]) -> Sent {
        let head = format!("{line} HTTP/1.1\r\nhost: edge\r\n{fields}");
        let request = Request { head: head.as_bytes(), connection: self.connection };
        let ticket = self.driver.open_sending(body.to_vec());
        let mut step = self.edge.begin(&request, self.driver.moment());
        let mut first = None;
        loop {
            let (exchange, needs) = match step {
                Step::Reply(reply) => {
                    let last = self.sent(ticket, reply);
                    return first.unwrap_or(last);
                }
                Step::ReplyFirst(reply, exchange, needs) => {
                    let body = self.driver.reply_first(ticket, *reply.clone());
                    first = Some(Sent::of(&reply, body));
                    (exchange, needs)
                }
                Step::Needs(exchange, needs) => (exchange, needs),
            };
            let exchange = Exchange::from_bytes(&exchange.to_bytes()).unwrap();
            let outcomes = needs
                .into_iter()
                .map(|need| {
                    self.driver.ask(ticket, need);
                    self.driver.outcome(ticket).unwrap()
                })
                .collect();
            step = self.edge.resume(exchange, outcomes, self.driver.moment());
        }
    }

    fn sent(&mut self, ticket: crate::memory::Ticket, reply: Reply) -> Sent {
        let (body, whole) = self.driver.reply(ticket, reply.clone());
        let breaks = self.origin.cut_after.get().is_some() || self.origin.breaks.get();
        assert_eq!(whole, !breaks);
        Sent::of(&reply, body)
    }

    fn get(&mut self, path: &str, fields: &str) -> Sent {
        self.send(&format!("GET {path}"), fields)
    }

    fn seen(&self) -> Vec<String> {
        self.origin.seen.take()
    }
}

fn path() -> String {
    format!("/files/{ID}")
}

#[test]
fn a_public_file_is_fetched_once() {
    let mut world = World::new(Abilities::default());
    world.put(ID, Visibility::Public, b"hello");
    let first = world.get(&path(), "");
    assert_eq!((first.status, &first.body[..]), (200, &b"hello"[..]));
    assert_eq!(first.ended, Ended::Origin);
    assert_eq!(first.field("cache-status"), Some("outport; fwd=uri-miss; fwd-status=200; stored"));
    world.driver.advance(10_000);
    let second = world.get(&path(), "");
    assert_eq!((second.status, &second.body[..]), (200, &b"hello"[..]));
    assert_eq!(second.field("cache-status"), Some("outport; hit; ttl=50"));
    assert_eq!(second.field("age"), Some("10"));
    assert_eq!(second.ended, Ended::Cache);
    assert_eq!(world.seen(), [format!("GET /files/{ID}")]);
}

#[test]
fn the_whole_reply_is_stable() {
    let mut world = World::new(Abilities::default());
    world.put(ID, Visibility::Public, b"hello");
    world.get(&path(), "");
    let sent = world.get(&format!("/files/{ID}/any.txt?download"), "origin: https://a.example\r\n");
    assert_eq!(
        sent.fields,
        "x-content-type-options: nosniff\r\n\
         access-control-allow-origin: *\r\n\
         access-control-expose-headers: accept-patch, accept-ranges, cache-status, \
         content-disposition, content-length, content-range, etag, location, ratelimit, \
         ratelimit-policy, repr-digest, retry-after, tus-checksum-algorithm, tus-extension, \
         tus-max-size, tus-resumable, tus-version, upload-complete, upload-concat, \
         upload-defer-length, upload-draft-interop-version, upload-expires, upload-length, upload-limit, \
         upload-metadata, upload-offset\r\n\
         ratelimit-policy: \"read\";q=1000;w=1\r\n\
         ratelimit: \"read\";r=998;t=1\r\n\
         etag: \"01000G0000000C000000000004\"\r\n\
         last-modified: Tue, 24 Nov 2026 06:49:10 GMT\r\n\
         cache-control: public, max-age=300, immutable\r\n\
         age: 0\r\n\
         accept-ranges: bytes\r\n\
         content-length: 5\r\n\
         content-type: text/plain\r\n\
         content-disposition: attachment; filename=\"a.txt\"\r\n\
         content-security-policy: default-src 'none'; img-src 'self' data:; media-src 'self'; \
         style-src 'unsafe-inline'; sandbox\r\n\
         cross-origin-resource-policy: cross-origin\r\n\
         referrer-policy: no-referrer\r\n\
         cross-origin-opener-policy: same-origin\r\n\
         permissions-policy: camera=(), display-capture=(), geolocation=(), microphone=(), \
         payment=(), usb=()\r\n\
         cache-status: outport; hit; ttl=60\r\n"
    );
}

#[test]
fn a_private_file_is_its_owners() {
    for abilities in [Abilities::default(), SIGNATURES] {
        let mut world = World::new(abilities);
        world.put(ID, Visibility::Private, b"hello");
        let unknown = world.get(&format!("/files/{OTHER_ID}"), "");
        for (tenant, subject, scope, status) in [
            ("demo", "alice", "read", 200),
            ("demo", "alice", "write", 404),
            ("demo", "bob", "read", 404),
            ("demo", "bob", "admin", 200),
            ("other", "alice", "admin", 404),
        ] {
            let token = world.token(tenant, subject, scope);
            let sent = world.get(&path(), &token);
            assert_eq!(sent.status, status, "{tenant} {subject} {scope}");
            if status == 404 {
                assert_eq!(sent.body, unknown.body, "as if there were no such file");
            }
        }
        let nobody = world.get(&path(), "");
        assert_eq!((nobody.status, nobody.body), (404, unknown.body));
        let token = world.token("demo", "alice", "read");
        let sent = world.get(&path(), &token);
        assert_eq!(sent.field("cache-control"), Some("private, no-cache"));
    }
}

#[test]
fn a_signed_link_may_begin_later_and_be_for_a_network() {
    let mut world = World::new(Abilities::default());
    world.put(ID, Visibility::Private, b"hello");
    let begins_s = Some(NOW + 30);
    let ask = |world: &mut World, network: &str| {
        let network = Some(network.parse().unwrap());
        let link = Link { begins_s, network, ..Link::until(ID.parse().unwrap(), NOW + 60) };
        let query = link.query(world.edge.config.link_keys.first().unwrap());
        world.get(&format!("/files/{ID}?{query}"), "")
    };
    let early = ask(&mut world, "192.0.2.0/24");
    assert_eq!((early.status, &*early.problem()), (403, "link-not-here"));
    world.driver.advance(30_000);
    assert_eq!(ask(&mut world, "192.0.2.0/24").body, b"hello");
    let elsewhere = ask(&mut world, "198.51.100.0/24");
    assert_eq!((elsewhere.status, &*elsewhere.problem()), (403, "link-not-here"));
    world.driver.advance(31_000);
    assert_eq!(ask(&mut world, "198.51.100.0/24").problem(), "link-expired");
}

#[test]
fn a_password_may_go_with_a_link() {
    let mut world = World::new(SIGNATURES);
    world.put(ID, Visibility::Private, b"hello");
    let password = Some(outport_wire::link::password_digest("open sesame"));
    let link = Link { password, ..Link::until(ID.parse().unwrap(), NOW + 60) };
    let query = link.query(world.edge.config.link_keys.first().unwrap());
    let target = format!("/files/{ID}?{query}");
    let unknown = format!("/files/{OTHER_ID}?{query}");
    // `:open sesame`, `x:open sesame` and `x:sesame`.
    let basic = |credentials: &str| format!("authorization: Basic {credentials}\r\n");
    assert_eq!(world.get(&target, &basic("Om9wZW4gc2VzYW1l")).body, b"hello");
    assert_eq!(world.get(&target, &basic("eDpvcGVuIHNlc2FtZQ==")).body, b"hello");
    for wrong in ["", &basic("eDpzZXNhbWU="), &basic("?"), &basic("b3BlbiBzZXNhbWU=")] {
        for target in [&target, &unknown] {
            let sent = world.get(target, wrong);
            assert_eq!((sent.status, sent.problem().as_str()), (401, "link-password"), "{wrong}");
            assert!(sent.field("www-authenticate").unwrap().starts_with("Basic "));
        }
    }
    let owner = world.token("demo", "alice", "read");
    assert_eq!(world.get(&target, &owner).status, 200);
    // Elsewhere it is no way to say who asks.
    for line in ["GET /files", &format!("DELETE /files/{ID}?{query}"), &format!("GET /files/{ID}")]
    {
        let sent = world.send(line, &basic("Om9wZW4gc2VzYW1l"));
        assert_eq!(sent.problem(), "token-malformed", "{line}");
    }
}

#[test]
fn links_that_were_made_before_may_be_ended() {
    let mut world = World::new(SIGNATURES);
    world.put(ID, Visibility::Private, b"hello");
    let key = world.edge.config.link_keys.first().unwrap().clone();
    let query = |issued_ms| {
        let link = Link { issued_ms, ..Link::until(ID.parse().unwrap(), NOW + 600) };
        format!("/files/{ID}?{}", link.query(&key))
    };
    let (oldest, old, new) = (query(None), query(Some(NOW * 1000)), query(Some(NOW * 1000 + 1)));
    for target in [&oldest, &old, &new] {
        assert_eq!(world.get(target, "").body, b"hello");
    }
    for (record, _) in world.origin.files.borrow_mut().values_mut() {
        record.links_after_ms = Some(NOW * 1000);
    }
    let sharer = world.token("demo", "alice", "share");
    assert_eq!(world.send(&format!("DELETE /files/{ID}/links"), &sharer).status, 204);
    for target in [&oldest, &old] {
        assert_eq!(world.get(target, "").problem(), "link-expired");
    }
    assert_eq!(world.get(&new, "").body, b"hello");
    let owner = world.token("demo", "alice", "read");
    assert_eq!(world.get(&old, &owner).body, b"hello");
}

#[test]
fn a_signed_link_opens_one_file_for_a_while() {
    let mut world = World::new(Abilities::default());
    world.put(ID, Visibility::Private, b"hello");
    world.put(OTHER_ID, Visibility::Private, b"other");
    let link = Link { download: true, ..Link::until(ID.parse().unwrap(), NOW + 60) };
    let query = link.query(world.edge.config.link_keys.first().unwrap());
    let sent = world.get(&format!("/files/{ID}?{query}"), "");
    assert_eq!((sent.status, &sent.body[..]), (200, &b"hello"[..]));
    assert!(sent.field("content-disposition").unwrap().starts_with("attachment"));
    assert_eq!(world.get(&format!("/files/{OTHER_ID}?{query}"), "").status, 404);
    world.driver.advance(61_000);
    let late = world.get(&format!("/files/{ID}?{query}"), "");
    assert_eq!((late.status, late.problem().as_str()), (403, "link-expired"));
    let token = world.token("demo", "alice", "read");
    assert_eq!(world.get(&format!("/files/{ID}?{query}"), &token).status, 200);
}

#[test]
fn tokens_that_are_no_good() {
    let mut world = World::new(SIGNATURES);
    let theirs = format!("authorization: Bearer {}\r\n", Mint::new().token("demo", "a", "read"));
    for (fields, status, problem) in [
        ("", 401, "token-missing"),
        ("authorization: Basic YTpi\r\n", 401, "token-malformed"),
        ("authorization: Bearer x\r\n", 401, "token-malformed"),
        (theirs.as_str(), 401, "token-untrusted"),
    ] {
        let sent = world.get("/files", fields);
        assert_eq!((sent.status, sent.problem().as_str()), (status, problem), "{fields}");
        assert!(sent.field("www-authenticate").unwrap().starts_with("Bearer"));
    }
    assert!(world.seen().is_empty(), "none of it reached the origin");
    let token = world.token("demo", "alice", "read");
    let sent = world.send("POST /uploads", &token);
    assert_eq!((sent.status, sent.problem().as_str()), (403, "scope-missing"));
    assert_eq!(world.seen(), ["POST /audit/denials?method=POST&resource=uploads"]);
    // Good now; and over later, though it is remembered.
    assert_ne!(world.get("/files", &token).status, 401);
    world.driver.advance(3_700_000);
    let late = world.get("/files", &token);
    assert_eq!((late.status, late.problem().as_str()), (401, "token-expired"));
}

#[test]
fn a_record_is_renewed_and_the_contents_stay() {
    let mut world = World::new(Abilities::default());
    world.put(ID, Visibility::Public, b"hello");
    world.get(&path(), "");
    world.driver.advance(61_000);
    world.seen();
    world.put(ID, Visibility::Private, b"hello");
    let sent = world.get(&path(), "");
    assert_eq!(sent.status, 404, "it was made private meanwhile");
    let token = world.token("demo", "alice", "read");
    let sent = world.get(&path(), &token);
    assert_eq!((sent.status, &sent.body[..]), (200, &b"hello"[..]));
    assert_eq!(sent.field("cache-status"), Some("outport; hit; ttl=60"));
    assert_eq!(world.seen(), [format!("GET /files/{ID}")]);
}

#[test]
fn an_origin_that_is_down_is_not_noticed_where_something_is_stored() {
    let mut world = World::new(Abilities::default());
    world.put(ID, Visibility::Public, b"hello");
    world.get(&path(), "");
    for (failure, detail) in [
        (FetchError::Unreachable, "outport; fwd=stale; detail=origin-unreachable"),
        (FetchError::Timeout, "outport; fwd=stale; detail=origin-timeout"),
    ] {
        world.origin.down.set(Some(failure));
        world.driver.advance(61_000);
        let sent = world.get(&path(), "");
        assert_eq!((sent.status, &sent.body[..]), (200, &b"hello"[..]));
        assert_eq!(sent.field("cache-status"), Some(detail));
        world.seen();
        assert_eq!(world.get(&path(), "").status, 200);
        assert!(world.seen().is_empty(), "nobody asks again so soon");
    }
    world.driver.advance(90_000_000);
    let sent = world.get(&path(), "");
    assert_eq!((sent.status, sent.problem().as_str()), (504, "origin-timeout"));
}

#[test]
fn a_failure_is_told_to_all_and_soon_forgotten() {
    let mut world = World::new(Abilities::default());
    world.put(ID, Visibility::Public, b"hello");
    world.origin.down.set(Some(FetchError::Unreachable));
    for _ in 0..3 {
        let sent = world.get(&path(), "");
        assert_eq!((sent.status, sent.problem().as_str()), (502, "origin-unreachable"));
    }
    assert_eq!(world.seen().len(), 1);
    world.origin.down.set(None);
    world.driver.advance(1_001);
    assert_eq!(world.get(&path(), "").status, 200);
}

#[test]
fn a_file_that_appears_is_found() {
    let mut world = World::new(Abilities::default());
    assert_eq!(world.get(&path(), "").status, 404);
    world.put(ID, Visibility::Public, b"hello");
    assert_eq!(world.get(&path(), "").status, 404, "for a moment it is believed missing");
    let token = world.token("demo", "alice", "write");
    world.send(&format!("PATCH /uploads/{ID}"), &token);
    assert_eq!(world.get(&path(), "").status, 200, "but not after its upload went through here");
}

#[test]
fn a_change_through_this_edge_is_seen_at_once() {
    let mut world = World::new(Abilities::default());
    world.put(ID, Visibility::Public, b"hello");
    assert_eq!(world.get(&path(), "").status, 200);
    world.origin.files.borrow_mut().remove(ID);
    let token = world.token("demo", "alice", "write");
    assert_eq!(world.send(&format!("DELETE /files/{ID}"), &token).status, 204);
    assert_eq!(world.get(&path(), "").status, 404);
}

#[test]
fn what_is_too_large_to_store_passes_through_and_its_record_stays() {
    let mut world = World::new(Abilities::default());
    world.put(ID, Visibility::Public, &[7; 101]);
    let first = world.get(&path(), "");
    assert_eq!((first.status, first.body.len()), (200, 101));
    assert_eq!(first.field("cache-status"), Some("outport; fwd=uri-miss; fwd-status=200"));
    let part = world.get(&path(), "range: bytes=0-3\r\n");
    assert_eq!((part.status, &part.body[..]), (206, &[7; 4][..]));
    assert_eq!(part.field("content-range"), Some("bytes 0-3/101"));
    let known = world.get(&path(), &format!("if-none-match: \"{ID}\"\r\n"));
    assert_eq!((known.status, known.ended), (304, Ended::Cache));
    let head = world.send(&format!("HEAD {}", path()), "");
    assert_eq!(head.field("content-length"), Some("101"));
    assert_eq!(world.seen(), [format!("GET /files/{ID}"), format!("GET /files/{ID} bytes=0-3")]);
}

#[test]
fn a_range_of_what_is_not_stored() {
    let mut world = World::new(Abilities::default());
    world.put(ID, Visibility::Public, b"0123456789");
    let part = world.get(&path(), "range: bytes=2-4\r\n");
    assert_eq!((part.status, &part.body[..]), (206, &b"234"[..]));
    assert_eq!(world.seen(), [format!("HEAD /files/{ID}"), format!("GET /files/{ID}")]);
    world.put(OTHER_ID, Visibility::Public, &[7; 101]);
    let part = world.get(&format!("/files/{OTHER_ID}"), "range: bytes=98-\r\n");
    assert_eq!((part.status, &part.body[..]), (206, &[7; 3][..]));
    assert_eq!(
        world.seen(),
        [format!("HEAD /files/{OTHER_ID}"), format!("GET /files/{OTHER_ID} bytes=98-100")]
    );
}

#[test]
fn too_many_requests() {
    let mut world = World::with(Abilities::default(), |config| {
        let limit = crate::step::Allowance { interval_us: 2_500_000, burst: 2 };
        config.limits.insert("read".into(), limit);
    });
    world.put(ID, Visibility::Public, b"hello");
    assert_eq!(world.get(&path(), "").status, 200);
    assert_eq!(world.get(&path(), "").status, 200);
    let refused = world.get(&path(), "");
    assert_eq!((refused.status, refused.problem().as_str()), (429, "rate-limited"));
    assert_eq!(refused.field("retry-after"), Some("3"));
    assert_eq!(refused.field("ratelimit"), Some("\"read\";r=0;t=5"));
    let token = world.token("demo", "alice", "read");
    assert_eq!(world.get(&path(), &token).status, 200, "an identity has its own allowance");
    world.driver.advance(2_500);
    assert_eq!(world.get(&path(), "").status, 200);
}

#[test]
fn what_is_asked_before_anything_else() {
    let mut world = World::new(Abilities::default());
    let tus = world.send("OPTIONS /uploads", "");
    assert_eq!(tus.status, 204);
    assert_eq!(tus.field("tus-version"), Some("1.0.0"));
    assert_eq!(tus.field("tus-max-size"), Some("1099511627776"));
    let preflight = world.send(
        "OPTIONS /uploads",
        "origin: https://a.example\r\naccess-control-request-method: POST\r\n",
    );
    assert_eq!(preflight.field("access-control-allow-origin"), Some("*"));
    assert!(preflight.field("access-control-allow-headers").unwrap().contains("upload-metadata"));
    let refused = world.send("PUT /files", "");
    assert_eq!((refused.status, refused.problem().as_str()), (405, "method-not-allowed"));
    assert_eq!(refused.field("allow"), Some("GET, HEAD, POST, OPTIONS"));
}

#[test]
fn another_origin_may_send_and_read_all_of_tus() {
    let mut world = World::new(Abilities::default());
    let origin = "origin: https://a.example\r\naccess-control-request-method: PATCH\r\n";
    let preflight = world.send("OPTIONS /uploads", origin);
    let lists = |name: &str, wanted: &str| {
        let listed: Vec<_> = preflight.field(name).unwrap().split(", ").collect();
        for field in wanted.split(' ') {
            assert!(listed.contains(&field), "{field} is not in {listed:?}");
        }
    };
    lists("access-control-allow-methods", "HEAD POST PATCH DELETE OPTIONS");
    lists(
        "access-control-allow-headers",
        "authorization content-type tus-resumable upload-checksum upload-concat \
         upload-defer-length upload-length upload-metadata upload-offset x-http-method-override",
    );
    lists(
        "access-control-expose-headers",
        "location tus-checksum-algorithm tus-extension tus-max-size tus-resumable tus-version \
         upload-concat upload-defer-length upload-expires upload-length upload-metadata \
         upload-offset",
    );
}

#[test]
fn who_speaks_tus_is_answered_in_tus_whoever_refuses() {
    let mut world = World::new(Abilities::default());
    let token = world.token("demo", "alice", "write");
    let fields = format!("{token}tus-resumable: 1.0.0\r\n");
    for (line, fields, status) in [
        ("PATCH /uploads/nonsense", fields.as_str(), 404),
        ("PATCH /uploads/", &fields, 404),
        ("PUT /uploads", &fields, 405),
        ("POST /uploads", "tus-resumable: 1.0.0\r\n", 401),
        ("POST /uploads", &format!("{fields}upload-length: 99999999999999\r\n"), 413),
    ] {
        let refused = world.send(line, fields);
        assert_eq!(
            (refused.status, refused.field("tus-resumable")),
            (status, Some("1.0.0")),
            "{line}"
        );
    }
    assert_eq!(world.send("POST /uploads", "").field("tus-resumable"), None);
    world.origin.down.set(Some(FetchError::Timeout));
    let refused = world.send("POST /uploads", &fields);
    assert_eq!((refused.status, refused.field("tus-resumable")), (504, Some("1.0.0")));
}

#[test]
fn a_method_said_in_a_field_is_the_method() {
    let mut world = World::new(Abilities::default());
    let token = world.token("demo", "alice", "write");
    let said = |method: &str| format!("{token}x-http-method-override: {method}\r\n");
    let upload = format!("/uploads/{ID}");
    for method in ["PATCH", "DELETE", "HEAD"] {
        world.send(&format!("POST {upload}"), &said(method));
        assert_eq!(world.seen(), [format!("{method} {upload}")]);
    }
    let only_read = world.token("demo", "alice", "read");
    let refused = world.send(
        &format!("POST {}", path()),
        &format!("{only_read}x-http-method-override: DELETE\r\n"),
    );
    assert_eq!((refused.status, refused.problem().as_str()), (403, "scope-missing"));
    let refused = world.send("POST /files", &said("PATCH"));
    assert_eq!((refused.status, refused.problem().as_str()), (405, "method-not-allowed"));
    let refused = world.send("POST /uploads", &said("PURGE"));
    assert_eq!((refused.status, refused.problem().as_str()), (400, "invalid-field"));
    assert_eq!(world.seen(), ["POST /audit/denials?method=DELETE&resource=files"]);
}

/// Who is denied something waits for nothing, and has the origin note no more than they may ask.
#[test]
fn what_is_denied_is_noted_within_the_limit() {
    let mut world = World::with(SIGNATURES, |config| {
        let two = crate::step::Allowance { interval_us: 1_000_000, burst: 2 };
        config.limits.insert(crate::config::WRITE_LIMIT.to_owned(), two);
    });
    let alice = world.token("demo", "alice", "read");
    for answered in [Some(FetchError::Unreachable), None] {
        world.origin.down.set(answered);
        let denied = world.send("DELETE /files/01000G0000000C000000000004/a%26b?c=d", &alice);
        denied.expect_problem(403, "scope-missing");
        assert!(denied.field("ratelimit").unwrap().starts_with("\"write\""));
        assert_eq!(world.seen(), ["POST /audit/denials?method=DELETE&resource=files"]);
    }
    world
        .send("DELETE /files/01000G0000000C000000000004", &alice)
        .expect_problem(429, "rate-limited");
    // Nobody is named by what no token was found good for.
    world.send("DELETE /files/01000G0000000C000000000004", "").expect_problem(401, "token-missing");
    assert_eq!(world.seen(), [""; 0]);
}

#[test]
fn who_asks_for_a_head_by_post_waits_for_no_body() {
    let mut world = World::new(Abilities::default());
    world.put(ID, Visibility::Public, b"hello");
    let token = world.token("demo", "alice", "write");
    let overridden = format!("{token}x-http-method-override: HEAD\r\n");
    // This origin answers for what it does not know with the file without a name.
    let file = world.origin.files.borrow_mut().remove(ID).unwrap();
    world.origin.files.borrow_mut().insert(String::new(), file);
    let sent = world.send(&format!("POST /uploads/{ID}"), &overridden);
    assert_eq!((sent.status, sent.field("content-length")), (200, None));
    assert!(world.send(&format!("HEAD /uploads/{ID}"), &token).field("content-length").is_some());
}

#[test]
fn a_checksum_behind_the_body_passes_or_is_refused() {
    for request_trailers in [true, false] {
        let mut world = World::new(Abilities { request_trailers, ..Abilities::default() });
        let token = world.token("demo", "alice", "write");
        let fields = format!("{token}trailer: Upload-Checksum\r\n");
        let sent = world.send(&format!("PATCH /uploads/{ID}"), &fields);
        let options = world.send("OPTIONS /uploads", "");
        assert_eq!(options.field("tus-extension"), Some(tus::extensions(request_trailers)));
        assert_eq!(options.field("tus-checksum-algorithm"), Some(tus::CHECKSUM_ALGORITHMS));
        if request_trailers {
            assert_eq!(sent.status, 204);
        } else {
            assert_eq!((sent.status, sent.problem().as_str()), (400, "invalid-field"));
            assert_eq!(world.seen(), [""; 0]);
        }
    }
}

#[test]
fn what_the_origin_says_stays_inside_where_it_must() {
    let mut world = World::with(Abilities::default(), |config| {
        config.public_base_url = Some("https://files.example".into());
    });
    let token = world.token("demo", "alice", "write");
    let sent = world.send("POST /uploads", &token);
    assert_eq!(sent.field("outport-file"), None);
    assert_eq!(sent.field("location"), Some("https://files.example/files/x"));
    assert_eq!(sent.field("cache-control"), Some("no-store"));
    assert_eq!(sent.field("cache-status"), Some("outport; fwd=method; fwd-status=204"));
}

#[test]
fn a_host_for_files_gives_them_and_nothing_else() {
    let mut world = World::with(Abilities::default(), |config| {
        config.content_base_url = Some("https://EDGE".into());
    });
    world.put(ID, Visibility::Private, b"hello");
    let token = world.token("demo", "alice", "read write admin");
    let shown = world.get(&path(), &token);
    assert_eq!((shown.status, &shown.body[..]), (200, &b"hello"[..]));
    assert_eq!(shown.field("content-disposition"), Some("inline; filename=\"a.txt\""));
    assert_eq!(world.get("/healthz", "").status, 200);
    assert_eq!(world.send(&format!("OPTIONS {}", path()), "").status, 204);
    world.seen();
    for line in [
        "GET /",
        "GET /session",
        "POST /session",
        "GET /files",
        "POST /uploads",
        "POST /purge",
        "GET /.well-known/jwks.json",
        &format!("DELETE {}", path()),
        &format!("POST {}/links", path()),
    ] {
        let sent = world.send(line, &token);
        assert_eq!((sent.status, sent.problem().as_str()), (404, "not-found"), "{line}");
    }
    assert_eq!(world.seen(), [""; 0]);
}

#[test]
fn whom_the_origin_refuses_is_told_so_and_of_the_edge_they_are_not() {
    let mut world = World::new(Abilities::default());
    let token = world.token("demo", "alice", "write");
    let refusal = "{\"type\":\"urn:outport:problem:token-revoked\"}";
    world.page("/uploads", 401, "outport-caller-refused: 1|www-authenticate: Bearer", refusal);
    let sent = world.send("POST /uploads", &token);
    sent.expect_problem(401, "token-revoked");
    assert_eq!(sent.field("www-authenticate"), Some("Bearer"));
    assert_eq!(sent.field("outport-caller-refused"), None);
    world.page("/uploads", 401, "www-authenticate: Bearer", "{}");
    let sent = world.send("POST /uploads", &token);
    assert_eq!((sent.status, sent.field("www-authenticate")), (502, None));
}

#[test]
fn no_session_counts_on_the_host_for_files() {
    for (base, status) in [(None, 200), (Some("https://other"), 200), (Some("https://edge"), 404)] {
        let mut world = World::with(Abilities::default(), |config| {
            config.session_keys = config.link_keys.clone();
            config.content_base_url = base.map(str::to_owned);
        });
        world.put(ID, Visibility::Private, b"hello");
        let identity = Identity::new("demo", "alice", Scopes::all()).unwrap();
        let (id, until_s) = (SessionId::new(1), NOW + 60);
        let session = Session { id, identity, signed_in_s: NOW, until_s };
        let short = Short { session, issued_s: NOW, expires_s: until_s };
        let value = short.seal(&config().link_keys).unwrap();
        let cookie = format!("cookie: __Host-outport={value}\r\n");
        assert_eq!(world.get(&path(), &cookie).status, status, "{base:?}");
    }
}

#[test]
fn who_has_too_much_under_way_is_refused() {
    for (at_once, status) in [(0, 429), (1, 200)] {
        let abilities = Abilities { shares: true, ..Abilities::default() };
        let mut world = World::with(abilities, |config| {
            let share = Share { at_once: Some(at_once), ..Default::default() };
            config.shares.insert("read".into(), share);
        });
        world.put(ID, Visibility::Public, b"hello");
        let sent = world.get(&path(), "");
        assert_eq!(sent.status, status);
        if status == 429 {
            sent.expect_problem(429, "too-many-at-once");
            assert_eq!(world.seen(), [""; 0]);
        }
        // Writing is another limit, and has no such bound.
        let token = world.token("demo", "alice", "write");
        assert_eq!(world.send("POST /uploads", &token).status, 204);
    }
}

#[test]
fn who_owes_for_what_bodies_had_is_told_until_when() {
    let abilities = Abilities { shares: true, ..Abilities::default() };
    let mut world = World::with(abilities, |config| {
        // Four units, and one in ten seconds.
        let bytes = crate::step::Allowance { interval_us: 10_000_000, burst: 4 };
        config.shares.insert("read".into(), Share { bytes: Some(bytes), ..Default::default() });
    });
    world.put(ID, Visibility::Public, b"hello");
    assert_eq!(world.get(&path(), "").status, 200);
    world.driver.pay(
        "read n 192.0.2.1",
        crate::step::Allowance { interval_us: 10_000_000, burst: 4 },
        6,
    );
    let refused = world.get(&path(), "");
    refused.expect_problem(429, "rate-limited");
    assert_eq!(refused.field("retry-after"), Some("30"));
    world.driver.advance(29_999);
    assert_eq!(world.get(&path(), "").field("retry-after"), Some("1"));
    world.driver.advance(1);
    assert_eq!(world.get(&path(), "").status, 200);
}

#[test]
fn a_preflight_shows_no_proof_and_needs_none() {
    let mut world = World::with(Abilities::default(), |config| {
        config.cors_origins = vec!["*".into()];
        let rule = serde_json::json!({ "name": "a", "match": {}, "action": "challenge" });
        config.firewall.rules.push(serde_json::from_value(rule).unwrap());
    });
    let asks = "origin: https://a.example\r\naccess-control-request-method: GET\r\n";
    assert_eq!(world.send(&format!("OPTIONS {}", path()), asks).status, 204);
    world.get(&path(), "").expect_problem(403, "proof-needed");
}

#[test]
fn elsewhere_than_on_their_host_files_are_saved_and_not_shown() {
    let mut world = World::with(Abilities::default(), |config| {
        config.content_base_url = Some("https://content.example".into());
    });
    world.put(ID, Visibility::Public, b"hello");
    let saved = world.get(&path(), "");
    assert_eq!(saved.field("content-disposition"), Some("attachment; filename=\"a.txt\""));
    let token = world.token("demo", "alice", "write");
    assert_eq!(world.send("POST /uploads", &token).status, 204);
}

#[test]
fn a_driver_that_confuses_its_outcomes_gets_no_file() {
    let mut world = World::new(Abilities::default());
    let head = format!("GET {} HTTP/1.1\r\nhost: edge\r\n", path());
    let peer = "192.0.2.1".parse().unwrap();
    let request = Request { head: head.as_bytes(), connection: Connection::new(peer, false) };
    let Step::Needs(exchange, _) = world.edge.begin(&request, world.driver.moment()) else {
        panic!("it has needs")
    };
    let step = world.edge.resume(exchange, vec![Outcome::Verified(true)], world.driver.moment());
    let Step::Reply(reply) = step else { panic!("it is over") };
    assert_eq!(reply.status, 500);
}

#[test]
fn a_body_over_the_platform_s_bound_is_refused_with_the_bound() {
    let mut world =
        World::with(Abilities::default(), |config| config.request_bytes_max = Some(1_000));
    let token = world.token("demo", "alice", "read write");
    let fields =
        |length: u64| format!("{token}tus-resumable: 1.0.0\r\ncontent-length: {length}\r\n");
    let refused = world.send("POST /uploads", &fields(1_001));
    assert_eq!((refused.status, refused.problem().as_str()), (413, "too-large"));
    assert!(String::from_utf8_lossy(&refused.body).contains("1000 bytes"));
    let taken = world.send("POST /uploads", &fields(1_000));
    let limit = Some("max-size=1099511627776, max-append-size=1000");
    assert_eq!((taken.status, taken.field("upload-limit")), (204, limit));
    let options = world.send("OPTIONS /uploads", "");
    assert_eq!(options.field("upload-limit"), limit);
}

#[test]
fn what_a_tenant_may_not_upload_ends_at_the_edge() {
    let mut world = World::with(Abilities::default(), |config| {
        let mut rules = TenantRules::sized(100).for_edge();
        rules.declared.types.allowed = vec!["image/*".parse().unwrap()];
        config.uploads.tenants.insert("acme".into(), rules);
    });
    let acme = world.token("acme", "alice", "read write");
    let demo = world.token("demo", "alice", "read write");
    let tus = |token: &str, fields: &str| format!("{token}tus-resumable: 1.0.0\r\n{fields}");
    let image = "upload-metadata: filetype aW1hZ2UvcG5n\r\n";

    let refused =
        world.send("POST /uploads", &tus(&acme, &format!("upload-length: 101\r\n{image}")));
    assert_eq!((refused.status, refused.problem().as_str()), (413, "too-large"));
    assert_eq!(refused.field("upload-limit"), Some("max-size=100"));
    let refused = world
        .send("POST /files", &format!("{acme}content-type: text/html\r\ncontent-length: 5\r\n"));
    assert_eq!((refused.status, refused.problem().as_str()), (415, "media-type-refused"));
    assert_eq!(refused.field("upload-limit"), Some("max-size=100"));
    assert_eq!(refused.ended, Ended::Edge);
    assert!(world.seen().is_empty(), "the origin is not asked");

    let taken = world.send("POST /uploads", &tus(&acme, &format!("upload-length: 100\r\n{image}")));
    assert_eq!((taken.status, taken.field("upload-limit")), (204, Some("max-size=100")));
    let others = world.send("POST /uploads", &tus(&demo, "upload-length: 101\r\n"));
    assert_eq!(others.field("upload-limit"), Some("max-size=1099511627776"));
    assert_eq!(others.status, 204, "another tenant is not bound by it");
    let read = world.send("HEAD /files", &acme);
    assert_eq!(read.field("upload-limit"), None);
}

/// A world whose one reader a second is told by the network, behind a proxy.
fn behind_a_proxy(abilities: Abilities, trusted: &[&str]) -> World {
    let world = World::with(abilities, |config| {
        config.trusted_proxies = trusted.iter().map(ToString::to_string).collect();
        let one = crate::step::Allowance { interval_us: 1_000_000, burst: 1 };
        config.limits.insert(crate::config::READ_LIMIT.to_owned(), one);
    });
    world.put(ID, Visibility::Public, b"hello");
    world
}

#[test]
fn behind_a_proxy_that_is_trusted_each_client_has_its_own_limit() {
    let mut world = behind_a_proxy(Abilities::default(), &["192.0.2.0/24"]);
    let mut ask = |fields: &str| world.get(&path(), fields).status;
    assert_eq!(ask("x-forwarded-for: 8.8.8.8\r\n"), 200);
    assert_eq!(ask("forwarded: for=8.8.8.8\r\n"), 429);
    assert_eq!(ask("x-forwarded-for: 9.9.9.9, 8.8.8.8\r\n"), 429);
    assert_eq!(ask("x-forwarded-for: 9.9.9.9\r\n"), 200);
    assert_eq!(ask(""), 200);
}

#[test]
fn what_a_stranger_says_of_others_changes_nothing() {
    let mut world = behind_a_proxy(Abilities::default(), &["192.0.3.0/24"]);
    assert_eq!(world.get(&path(), "x-forwarded-for: 8.8.8.8\r\n").status, 200);
    let again = world.get(&path(), "x-forwarded-for: 9.9.9.9\r\nx-forwarded-proto: https\r\n");
    assert_eq!((again.status, again.field("strict-transport-security")), (429, None));
}

#[test]
fn a_client_of_a_trusted_proxy_is_told_to_stay_encrypted() {
    for abilities in [Abilities::default(), SIGNATURES] {
        let mut world = behind_a_proxy(abilities, &["192.0.2.1"]);
        let token = world.token("demo", "alice", "read");
        for (proto, expected) in [("https", Some("max-age=31536000")), ("http", None)] {
            world.driver.advance(1_000);
            let sent = world.get(&path(), &format!("{token}x-forwarded-proto: {proto}\r\n"));
            let said = sent.field("strict-transport-security");
            assert_eq!((sent.status, said), (200, expected), "{proto}");
        }
    }
}

#[test]
fn a_trusted_proxy_that_can_t_be_read_is_refused() {
    let mut config = config();
    config.trusted_proxies.push("10.0.0.0/33".to_owned());
    let refused = Edge::new(config, Abilities::default()).err().unwrap();
    assert_eq!(refused, "the trusted proxy 10.0.0.0/33 is neither network nor address");
}

#[test]
fn the_origin_is_asked_for_interim_responses_where_they_arrive() {
    for (interim, proxy, expected) in [
        (true, "", "POST /uploads 1xx"),
        (true, "x-forwarded-for: 8.8.8.8\r\n", "POST /uploads"),
        (false, "", "POST /uploads"),
    ] {
        let mut world = World::new(Abilities { interim, ..Abilities::default() });
        let token = world.token("demo", "alice", "write");
        world.send("POST /uploads", &format!("{token}{proxy}tus-resumable: 1.0.0\r\n"));
        assert_eq!(world.seen(), [expected]);
    }
}

#[test]
fn a_file_is_encoded_for_who_takes_it() {
    let abilities = Abilities { encodes: true, ..Abilities::default() };
    let mut world = World::with(abilities, |config| config.stored_bytes_max = 1_000);
    let text = vec![b'a'; 1_000];
    world.put(ID, Visibility::Public, &text);
    let accepts = "accept-encoding: br, gzip\r\n";
    let miss = world.get(&path(), accepts);
    assert_eq!(miss.field("content-encoding"), Some("br"));
    assert_eq!((miss.field("content-length"), miss.field("accept-ranges")), (None, None));
    world.get(&path(), accepts);
    let well = world.get(&path(), accepts);
    assert_eq!(well.field("content-length"), Some(&*well.body.len().to_string()));
    assert!(well.body.starts_with(b"br") && well.field("etag").unwrap().starts_with("W/"));
    let plain = world.get(&path(), "");
    assert_eq!((&plain.body, plain.field("vary")), (&text, Some("accept-encoding")));
    let part = world.get(&path(), &format!("{accepts}range: bytes=0-1\r\n"));
    assert_eq!(
        (part.status, part.field("content-encoding"), &part.body[..]),
        (206, None, &b"aa"[..])
    );
    let tag = well.field("etag").unwrap();
    assert_eq!(world.get(&path(), &format!("{accepts}if-none-match: {tag}\r\n")).status, 304);
    let head = world.send(&format!("HEAD {}", path()), accepts);
    assert_eq!((head.field("content-encoding"), head.body.len()), (Some("br"), 0));
    assert_eq!(head.field("content-length"), well.field("content-length"));
}

/// A driver that purges.
const PURGES: Abilities = Abilities { purges: true, ..SIGNATURES };

#[test]
fn a_purge_is_an_administrator_s() {
    let mut world = World::new(PURGES);
    world.put(ID, Visibility::Public, b"hello");
    world.get(&path(), "");
    world.seen();
    let body = format!("{{\"files\": [\"{ID}\"]}}");
    let length = format!("content-length: {}\r\n", body.len());
    let purge = |world: &mut World, scope: &str| {
        let token = world.token("demo", "alice", scope);
        world.send_body("POST /purge", &format!("{length}{token}"), body.as_bytes())
    };
    let refused = purge(&mut world, "read write");
    assert_eq!((refused.status, &*refused.problem()), (403, "scope-missing"));
    world.get(&path(), "");
    assert_eq!(world.seen(), ["POST /audit/denials?method=POST&resource=purge"]);
    let purged = purge(&mut world, "admin");
    assert_eq!((purged.status, &purged.body[..]), (200, &b"{\"noted\":true,\"purged\":1}"[..]));
    assert_eq!(world.seen(), ["POST /audit/purges?urls=0&files=1&tags=0&soft=false"]);
    assert_eq!(
        world.get(&path(), "").field("cache-status"),
        Some("outport; fwd=uri-miss; fwd-status=200; stored")
    );
    let token = world.token("demo", "alice", "admin");
    let wrong = world.send_body("POST /purge", &format!("content-length: 2\r\n{token}"), b"{}");
    assert_eq!((wrong.status, &*wrong.problem()), (400, "invalid-field"));
    let got = world.get("/purge", &token);
    assert_eq!((got.status, got.field("allow")), (405, Some("POST")));
}

/// What must go goes while the origin is away, too.
#[test]
fn a_purge_is_noted_unless_the_origin_is_away() {
    let mut world = World::new(PURGES);
    world.put(ID, Visibility::Public, b"hello");
    let body = format!("{{\"files\": [\"{ID}\"], \"urls\": [\"/a\"], \"soft\": true}}");
    let length = format!("content-length: {}\r\n", body.len());
    let purge = |world: &mut World| {
        let token = world.token("demo", "alice", "admin");
        world.get(&path(), "");
        world.seen();
        let sent = world.send_body("POST /purge", &format!("{length}{token}"), body.as_bytes());
        let is_stored =
            world.get(&path(), "").field("cache-status") == Some("outport; hit; ttl=60");
        (sent.status, String::from_utf8(sent.body).unwrap(), is_stored)
    };
    world.get(&path(), "");
    world.origin.down.set(Some(FetchError::Timeout));
    let (status, said, is_stored) = purge(&mut world);
    assert_eq!((status, &*said, is_stored), (200, "{\"noted\":false,\"purged\":2}", false));
    world.origin.down.set(None);
    // Whom the origin does not let do it has done nothing.
    let note = "/audit/purges?urls=1&files=1&tags=0&soft=true";
    world.page(note, 401, "outport-caller-refused: 1", "");
    let (status, _, is_stored) = purge(&mut world);
    assert_eq!((status, is_stored), (401, true));
}

#[test]
fn a_platform_that_can_t_purge_says_so() {
    let mut world = World::new(SIGNATURES);
    let token = world.token("demo", "alice", "admin");
    let refused = world.send_body("POST /purge", &format!("content-length: 2\r\n{token}"), b"{}");
    assert_eq!((refused.status, &*refused.problem()), (501, "not-implemented"));
}
