//! A cached route before an upstream that answers by script.

mod dictionaries;

use std::cell::RefCell;
use std::collections::VecDeque;
use std::rc::Rc;

use crate::config::{Auth, Route};
use crate::head::{FieldLines, RequestHead};
use crate::memory::tests::config;
use crate::memory::{MemoryDriver, Ticket, UpstreamAnswer};
use crate::step::{Abilities, Connection, Ended, FetchError, Reply, Request, Step, UpstreamHead};
use crate::{Edge, Exchange};

const START_MS: u64 = 1_795_521_600_000;

/// What the upstream says next: a status, its fields, a body; or nothing.
type Script = VecDeque<Option<(u16, &'static str, &'static str)>>;

struct World {
    edge: Edge,
    driver: MemoryDriver,
    script: Rc<RefCell<Script>>,
    seen: Rc<RefCell<Vec<String>>>,
    /// What the exchange replied that is still under way.
    sent_first: Option<Sent>,
}

struct Sent {
    status: u16,
    fields: String,
    body: String,
    ended: Ended,
}

impl Sent {
    fn of(reply: &Reply, body: Vec<u8>) -> Self {
        Self {
            status: reply.status,
            fields: String::from_utf8(reply.fields.clone()).unwrap(),
            body: String::from_utf8(body).unwrap(),
            ended: reply.ended,
        }
    }

    fn field(&self, name: &str) -> &str {
        FieldLines::new(self.fields.as_bytes()).get(name).unwrap_or_default()
    }
}

fn route() -> Route {
    Route {
        path: "/{*rest}".into(),
        proxy: Some("http://127.0.0.1:1".into()),
        auth: Auth::None,
        cache: true,
        limit: Some("none".into()),
        ..Route::default()
    }
}

impl World {
    fn new(script: &[Option<(u16, &'static str, &'static str)>]) -> Self {
        Self::with(script, Abilities { unannounced: true, ..Abilities::default() })
    }

    fn with(script: &[Option<(u16, &'static str, &'static str)>], abilities: Abilities) -> Self {
        let mut config = config();
        config.routes.push(route());
        let script = Rc::new(RefCell::new(script.iter().copied().collect::<Script>()));
        let seen = Rc::new(RefCell::new(Vec::new()));
        let (answers, heads) = (script.clone(), seen.clone());
        let upstream = move |fetch: &crate::step::Fetch, _: &[u8]| {
            heads.borrow_mut().push(String::from_utf8(fetch.head.clone()).unwrap());
            let next = answers.borrow_mut().pop_front().expect("the script is over");
            let (status, fields, body) = next.ok_or(FetchError::Unreachable)?;
            let fields = fields.replace('|', "\r\n") + "\r\n";
            let head = UpstreamHead { status, fields: fields.into_bytes() };
            Ok(UpstreamAnswer { head, body: body.as_bytes().to_vec() })
        };
        Self {
            edge: Edge::new(config, abilities).unwrap(),
            driver: MemoryDriver::new(START_MS, Box::new(upstream)),
            script,
            seen,
            sent_first: None,
        }
    }

    fn begin(&mut self, line: &str, fields: &str) -> (Ticket, Step) {
        let head = format!("{line} HTTP/1.1\r\nhost: x\r\n{fields}");
        let peer = "192.0.2.1".parse().unwrap();
        let request = Request { head: head.as_bytes(), connection: Connection::new(peer, false) };
        let ticket = self.driver.open();
        let moment = self.driver.moment();
        let step = self.edge.begin(&request, moment);
        (ticket, step)
    }

    /// Goes on until there is a reply, or nothing can be done.
    fn run(&mut self, ticket: Ticket, mut step: Step) -> Result<Reply, Box<Exchange>> {
        loop {
            let (exchange, needs) = match step {
                Step::Reply(reply) => return Ok(reply),
                Step::ReplyFirst(reply, exchange, needs) => {
                    let body = self.driver.reply_first(ticket, *reply.clone());
                    self.sent_first = Some(Sent::of(&reply, body));
                    (exchange, needs)
                }
                Step::Needs(exchange, needs) => (exchange, needs),
            };
            let exchange = Exchange::from_bytes(&exchange.to_bytes()).unwrap();
            for need in needs {
                self.driver.ask(ticket, need);
            }
            let Some(outcome) = self.driver.outcome(ticket) else { return Err(Box::new(exchange)) };
            let moment = self.driver.moment();
            step = self.edge.resume(exchange, vec![outcome], moment);
        }
    }

    fn sent(&mut self, ticket: Ticket, reply: Reply) -> Sent {
        let (body, _) = self.driver.reply(ticket, reply.clone());
        let last = Sent::of(&reply, body);
        self.sent_first.take().unwrap_or(last)
    }

    fn send(&mut self, line: &str, fields: &str) -> Sent {
        let (ticket, step) = self.begin(line, fields);
        let reply = self.run(ticket, step).expect("nobody leads");
        self.sent(ticket, reply)
    }

    fn get(&mut self, fields: &str) -> Sent {
        self.send("GET /a", fields)
    }

    fn seen(&self) -> usize {
        self.seen.borrow().len()
    }

    fn last_seen(&self, name: &str) -> Option<String> {
        let seen = self.seen.borrow();
        let head = RequestHead::parse(seen.last()?.as_bytes())?;
        head.fields.get(name).map(str::to_owned)
    }
}

#[test]
fn what_is_fresh_is_fetched_once() {
    let mut world = World::new(&[Some((200, "cache-control: max-age=60|age: 5|a: 1", "one"))]);
    let miss = world.get("");
    assert_eq!((miss.status, miss.body.as_str(), miss.field("age")), (200, "one", "5"));
    assert_eq!(miss.field("cache-status"), "outport; fwd=uri-miss; fwd-status=200; stored");
    assert_eq!(miss.ended, Ended::Origin);
    world.driver.advance(10_000);
    let hit = world.get("");
    assert_eq!((hit.status, hit.body.as_str(), hit.field("age")), (200, "one", "15"));
    assert_eq!((hit.field("cache-status"), hit.field("a")), ("outport; hit; ttl=45", "1"));
    assert_eq!((hit.field("via"), hit.ended), ("1.1 outport", Ended::Cache));
    let head = world.send("HEAD /a", "");
    assert_eq!((head.status, head.body.as_str(), head.field("age")), (200, "", "15"));
    assert_eq!(world.seen(), 1);
    assert_eq!(world.last_seen("surrogate-capability").unwrap(), "outport=\"Surrogate/1.0\"");
}

#[test]
fn what_is_not_stored_is_fetched_each_time_and_nobody_waits() {
    let answer = Some((200, "cache-control: no-store", "one"));
    let mut world = World::new(&[answer, answer, answer]);
    let miss = world.get("");
    let status = "outport; fwd=uri-miss; fwd-status=200; detail=no-store";
    assert_eq!((miss.body.as_str(), miss.field("cache-status")), ("one", status));
    let (first, step) = world.begin("GET /a", "");
    let first_reply = world.run(first, step).unwrap();
    assert_eq!(world.get("").body, "one", "it does not wait for the first");
    assert_eq!(world.sent(first, first_reply).body, "one");
}

#[test]
fn who_comes_meanwhile_waits_for_the_first() {
    let mut world = World::new(&[Some((200, "cache-control: max-age=60", "one"))]);
    let (leader, step) = world.begin("GET /a", "");
    let reply = world.run(leader, step).unwrap();
    let (waiter, step) = world.begin("GET /a", "");
    let waiting = world.run(waiter, step).expect_err("somebody leads");
    assert_eq!(world.sent(leader, reply).body, "one");
    let outcome = world.driver.outcome(waiter).unwrap();
    let moment = world.driver.moment();
    let step = world.edge.resume(*waiting, vec![outcome], moment);
    let reply = world.run(waiter, step).unwrap();
    let collapsed = world.sent(waiter, reply);
    assert_eq!(collapsed.field("cache-status"), "outport; fwd=uri-miss; collapsed");
    assert_eq!((collapsed.body.as_str(), world.seen()), ("one", 1));
}

#[test]
fn what_is_stale_is_validated() {
    let mut world = World::new(&[
        Some((200, "cache-control: max-age=5|etag: \"a\"|b: 1|content-length: 3", "one")),
        Some((304, "cache-control: max-age=9|etag: \"a\"|b: 2", "")),
        Some((200, "cache-control: max-age=5|etag: \"b\"", "two")),
    ]);
    world.get("");
    world.driver.advance(5_000);
    let validated = world.get("if-none-match: \"z\"\r\n");
    assert_eq!(world.last_seen("if-none-match").unwrap(), "\"a\"");
    assert_eq!((validated.status, validated.body.as_str()), (200, "one"));
    assert_eq!((validated.field("b"), validated.field("age")), ("2", "0"));
    let status = "outport; fwd=stale; fwd-status=304; stored";
    assert_eq!(validated.field("cache-status"), status);
    world.driver.advance(8_999);
    assert_eq!(world.get("").field("cache-status"), "outport; hit; ttl=0");
    world.driver.advance(1);
    assert_eq!(world.get("").body, "two");
    assert_eq!(world.get("").body, "two");
    assert_eq!(world.seen(), 3);
}

#[test]
fn an_upstream_that_fails_is_not_noticed_for_a_while() {
    let mut world = World::new(&[
        Some((200, "cache-control: max-age=5, stale-if-error=60|etag: \"a\"", "one")),
        None,
        Some((503, "", "busy")),
        None,
    ]);
    world.get("");
    world.driver.advance(5_000);
    let stale = world.get("");
    assert_eq!((stale.status, stale.body.as_str()), (200, "one"));
    assert_eq!(stale.field("cache-status"), "outport; fwd=stale; detail=validation-failed");
    assert!(stale.field("warning").starts_with("111 "));
    assert_eq!((world.get("").status, world.seen()), (200, 2), "it is not asked at once again");
    world.driver.advance(1_000);
    assert_eq!((world.get("").body.as_str(), world.seen()), ("one", 3));
    world.driver.advance(60_000);
    assert_eq!((world.get("").status, world.seen()), (502, 4), "that was long enough");
    assert_eq!((world.get("").status, world.seen()), (502, 4), "all are told for a moment");
}

#[test]
fn what_must_be_validated_is_never_stale() {
    let first = Some((200, "cache-control: max-age=5, must-revalidate|etag: \"a\"", "one"));
    let mut world = World::new(&[first, None]);
    world.get("");
    world.driver.advance(5_000);
    assert_eq!(world.get("").status, 502);
}

#[test]
fn what_a_validation_makes_private_is_given_to_nobody_else() {
    let mut world = World::new(&[
        Some((200, "cache-control: max-age=5|etag: \"a\"", "one")),
        Some((304, "cache-control: private, max-age=60|etag: \"a\"|user: alice", "")),
        Some((304, "cache-control: max-age=60|etag: \"a\"", "")),
    ]);
    world.get("");
    world.driver.advance(5_000);
    let alice = world.get("");
    assert_eq!((alice.body.as_str(), alice.field("user")), ("one", "alice"));
    assert_eq!(alice.field("cache-status"), "outport; fwd=stale; fwd-status=304; detail=private");
    let other = world.get("cache-control: max-stale\r\n");
    assert_eq!((other.body.as_str(), other.field("user"), world.seen()), ("one", "", 3));
    assert_eq!(other.field("cache-status"), "outport; fwd=stale; fwd-status=304; stored");
}

#[test]
fn what_varies_since_a_validation_is_given_to_nobody_else() {
    for (before, after) in [("", "lang"), ("|vary: lang", "other"), ("|vary: lang", "lang, other")]
    {
        let first = format!("cache-control: max-age=5|etag: \"a\"{before}").leak();
        let varies = format!("cache-control: max-age=60|etag: \"a\"|vary: {after}|user: en").leak();
        let then = Some((304, "cache-control: max-age=60|etag: \"a\"", ""));
        let mut world = World::new(&[Some((200, first, "one")), Some((304, varies, "")), then]);
        world.get("lang: en\r\n");
        world.driver.advance(5_000);
        let validated = world.get("lang: en\r\n");
        assert_eq!((validated.body.as_str(), validated.field("user")), ("one", "en"));
        let status = "outport; fwd=stale; fwd-status=304; detail=vary";
        assert_eq!(validated.field("cache-status"), status);
        let other = world.get("lang: en\r\nother: 1\r\n");
        assert_eq!((other.field("user"), world.seen()), ("", 3), "{before} {after}");
    }
}

#[test]
fn what_is_too_large_or_of_no_known_length_passes() {
    let large = "cache-control: max-age=60|content-length: 1000000000000";
    let mut world = World::new(&[Some((200, large, "one"))]);
    let passed = world.get("");
    assert_eq!(passed.field("cache-status"), "outport; fwd=uri-miss; fwd-status=200; detail=size");
    let unsaid = Some((200, "cache-control: max-age=60", "one"));
    let mut world = World::with(&[unsaid], Abilities::default());
    let passed = world.get("");
    assert_eq!(passed.body, "one");
    assert_eq!(
        passed.field("cache-status"),
        "outport; fwd=uri-miss; fwd-status=200; detail=length"
    );
}

#[test]
fn what_only_the_upstream_can_decide_is_its_own() {
    let answer = Some((200, "cache-control: max-age=60", "one"));
    let mut world = World::new(&[answer, answer, answer, answer]);
    world.get("");
    for fields in [
        "if-match: \"a\"\r\n",
        "if-unmodified-since: Tue, 24 Nov 2026 10:00:00 GMT\r\n",
        "content-length: 3\r\n",
    ] {
        let passed = world.get(fields);
        assert_eq!(passed.field("cache-status"), "outport; fwd=bypass; fwd-status=200", "{fields}");
    }
    assert_eq!((world.get("").field("cache-status"), world.seen()), ("outport; hit; ttl=60", 4));
}

#[test]
fn each_variant_is_stored() {
    let vary = "cache-control: max-age=60|vary: Lang";
    let mut world = World::new(&[
        Some((200, vary, "en")),
        Some((200, vary, "de")),
        Some((200, "cache-control: max-age=60|vary: lang, other", "en 2")),
    ]);
    assert_eq!(world.get("lang: en\r\n").body, "en");
    let miss = world.get("lang: de\r\n");
    assert_eq!(miss.field("cache-status"), "outport; fwd=vary-miss; fwd-status=200; stored");
    assert_eq!(world.get("lang: en\r\nother: 1\r\n").body, "en");
    assert_eq!(world.get("lang: de\r\n").body, "de");
    assert_eq!(world.seen(), 2);
    // It varies on more from now on.
    assert_eq!(world.get("").body, "en 2");
    assert_eq!((world.get("").body.as_str(), world.seen()), ("en 2", 3));
    world.script.borrow_mut().push_back(Some((200, "cache-control: max-age=60", "all")));
    assert_eq!(world.get("other: 1\r\n").body, "all");
    assert_eq!(world.get("lang: de\r\n").body, "all", "it varies no more");
}

#[test]
fn conditions_and_ranges_are_answered_from_what_is_stored() {
    let fields = "cache-control: max-age=60|etag: W/\"a\"|content-length: 5|content-type: text/plain|\
                  last-modified: Tue, 24 Nov 2026 10:00:00 GMT";
    let mut world = World::new(&[Some((200, fields, "01234"))]);
    world.get("");
    let known = world.get("if-none-match: \"x\", W/\"a\"\r\n");
    assert_eq!((known.status, known.body.as_str(), known.field("etag")), (304, "", "W/\"a\""));
    assert_eq!((known.field("content-type"), known.field("content-length")), ("", ""));
    let since = world.get("if-modified-since: Tue, 24 Nov 2026 10:00:00 GMT\r\n");
    assert_eq!(since.status, 304);
    let both = "if-none-match: \"x\"\r\nif-modified-since: Tue, 24 Nov 2026 10:00:00 GMT\r\n";
    assert_eq!(world.get(both).status, 200, "a tag goes before a date");
    let part = world.get("range: bytes=1-2\r\n");
    assert_eq!((part.status, part.body.as_str()), (206, "12"));
    assert_eq!((part.field("content-range"), part.field("content-length")), ("bytes 1-2/5", "2"));
    let weak = world.get("range: bytes=1-2\r\nif-range: W/\"a\"\r\n");
    assert_eq!((weak.status, weak.body.as_str()), (200, "01234"));
    let beyond = world.get("range: bytes=9-\r\n");
    assert_eq!((beyond.status, beyond.field("content-range")), (416, "bytes */5"));
    assert_eq!(world.seen(), 1);
}

#[test]
fn a_part_of_what_is_not_stored_passes_as_it_is() {
    let fields = "cache-control: max-age=60|content-range: bytes 1-2/5|content-length: 2";
    let whole = Some((200, "cache-control: max-age=60", "01234"));
    let mut world = World::new(&[Some((206, fields, "12")), whole]);
    let part = world.get("range: bytes=1-2\r\n");
    assert_eq!((part.status, part.body.as_str()), (206, "12"));
    assert_eq!(world.last_seen("range").unwrap(), "bytes=1-2");
    assert_eq!((world.get("").body.as_str(), world.last_seen("range")), ("01234", None));
}

#[test]
fn what_the_request_says_of_caches_is_heard() {
    let answer = |body| Some((200, "cache-control: max-age=60", body));
    let mut world = World::new(&[answer("1"), answer("2"), answer("3"), answer("4")]);
    assert_eq!(world.get("cache-control: only-if-cached\r\n").status, 504);
    assert_eq!(world.get("").body, "1");
    let insisting = world.get("cache-control: no-cache\r\n");
    assert_eq!(insisting.body, "2");
    assert_eq!(insisting.field("cache-status"), "outport; fwd=request; fwd-status=200; stored");
    assert_eq!(world.get("pragma: no-cache\r\n").body, "3");
    world.driver.advance(30_000);
    assert_eq!(world.get("cache-control: max-age=31, min-fresh=30\r\n").body, "3");
    assert_eq!(world.get("cache-control: min-fresh=31\r\n").body, "4");
    world.driver.advance(70_000);
    assert_eq!(world.get("cache-control: max-stale=11\r\n").body, "4");
    assert_eq!(world.get("cache-control: only-if-cached\r\n").status, 504);
}

#[test]
fn a_change_makes_what_is_stored_wrong() {
    let answer = |body| Some((200, "cache-control: max-age=60", body));
    let mut world = World::new(&[
        answer("1"),
        answer("other"),
        Some((404, "", "")),
        Some((201, "location: /b|content-location: http://X/a?c", "")),
        answer("2"),
    ]);
    world.get("");
    world.send("GET /b", "");
    world.send("POST /a", "content-length: 0\r\n");
    assert_eq!(world.get("").body, "1", "an error changes nothing");
    world.send("POST /a", "content-length: 0\r\n");
    assert_eq!(world.get("").body, "2");
    world.script.borrow_mut().push_back(answer("other 2"));
    assert_eq!(world.send("GET /b", "").body, "other 2");
}

#[test]
fn nobody_is_given_what_others_asked_for() {
    let answer = |body| Some((200, "cache-control: max-age=60", body));
    let mut world = World::new(&[answer("1"), answer("2"), answer("3"), answer("4"), answer("5")]);
    assert_eq!(world.get("x-original-url: /admin\r\n").body, "1");
    assert_eq!(world.last_seen("x-original-url"), None);
    let peer = "192.0.2.1".parse().unwrap();
    let other_host = b"GET /a HTTP/1.1\r\nhost: y\r\n";
    let request = Request { head: other_host, connection: Connection::new(peer, false) };
    let ticket = world.driver.open();
    let moment = world.driver.moment();
    let step = world.edge.begin(&request, moment);
    let reply = world.run(ticket, step).unwrap();
    assert_eq!(world.sent(ticket, reply).body, "2");
    assert_eq!(world.send("GET /a?x", "").body, "3");
    assert_eq!(world.send("GET /b", "authorization: Bearer x\r\n").body, "4");
    assert_eq!(world.send("GET /b", "").body, "5");
}

#[test]
fn nobody_waits_for_a_validation_while_what_is_stale_may_be_used() {
    let lifetime = "cache-control: max-age=60, stale-while-revalidate=30|etag: \"a\"";
    let mut world = World::new(&[
        Some((200, lifetime, "one")),
        Some((304, lifetime, "")),
        Some((200, "cache-control: max-age=60|etag: \"b\"", "two")),
    ]);
    world.get("");
    world.driver.advance(61_000);
    let stale = world.get("if-none-match: \"b\"\r\n");
    assert_eq!((stale.status, &*stale.body, stale.ended), (200, "one", Ended::Cache));
    assert_eq!(stale.field("cache-status"), "outport; hit; ttl=-1");
    assert_eq!(world.last_seen("if-none-match").as_deref(), Some("\"a\""));
    assert_eq!((world.seen(), world.get("").field("cache-status")), (2, "outport; hit; ttl=60"));
    world.driver.advance(61_000);
    let part = world.send("HEAD /a", "range: bytes=0-0\r\n");
    assert_eq!((part.status, &*part.body), (200, ""));
    assert!(world.seen.borrow()[2].starts_with("GET /a "));
    assert_eq!(world.get("").body, "two", "a new answer is stored as well");
    world.driver.advance(91_000);
    world.script.borrow_mut().push_back(Some((200, lifetime, "three")));
    assert_eq!(world.get("").body, "three", "beyond that time, it is waited for");
}

#[test]
fn a_validation_behind_the_client_s_back_may_fail() {
    let lifetime = "cache-control: max-age=60, stale-while-revalidate=300|etag: \"a\"";
    let mut world = World::new(&[Some((200, lifetime, "one")), None, Some((304, lifetime, ""))]);
    world.get("");
    world.driver.advance(61_000);
    assert_eq!(world.get("").field("cache-status"), "outport; hit; ttl=-1");
    assert_eq!((&*world.get("").body, world.seen()), ("one", 2), "it is not tried at once again");
    world.driver.advance(2_000);
    world.get("");
    assert_eq!((world.seen(), world.get("").field("cache-status")), (3, "outport; hit; ttl=60"));
}

/// A world whose route encodes what it stores.
fn encoding(script: &[Option<(u16, &'static str, &'static str)>]) -> World {
    let abilities = Abilities { unannounced: true, encodes: true, ..Abilities::default() };
    let mut world = World::with(script, abilities);
    let mut config = config();
    config.routes.push(Route { compress: true, ..route() });
    world.edge = Edge::new(config, abilities).unwrap();
    world
}

const TEXT: &str =
    "cache-control: max-age=60|content-type: text/plain|etag: \"a\"|accept-ranges: bytes";
/// What a driver in memory makes much smaller.
const LONG: &str = concat!(
    "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa",
    "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa",
    "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa",
);

#[test]
fn what_is_stored_is_encoded_quickly_at_first_and_well_once() {
    let mut world = encoding(&[Some((200, TEXT, LONG))]);
    let accepts = "accept-encoding: gzip, br, zstd\r\n";
    let miss = world.get(accepts);
    assert_eq!(world.last_seen("accept-encoding"), None, "it is asked for plain");
    assert_eq!(miss.field("content-encoding"), "zstd");
    assert_eq!((miss.field("etag"), miss.field("vary")), ("W/\"a-zstd\"", "accept-encoding"));
    assert_eq!((miss.field("content-length"), miss.field("accept-ranges")), ("", ""));
    assert!(miss.body.starts_with("zstd") && miss.body.len() < LONG.len());
    assert_eq!(world.get(accepts).field("content-encoding"), "zstd", "meanwhile it is made");
    let well = world.get(accepts);
    assert_eq!((well.field("content-encoding"), well.field("etag")), ("br", "W/\"a-br\""));
    assert_eq!(well.field("content-length"), well.body.len().to_string());
    let plain = world.get("");
    assert_eq!((plain.field("content-encoding"), plain.field("etag")), ("", "\"a\""));
    assert_eq!((plain.field("vary"), &*plain.body), ("accept-encoding", LONG));
    assert_eq!(world.seen(), 1);
}

#[test]
fn ranges_and_conditions_of_what_is_encoded() {
    let fields =
        "cache-control: max-age=60|content-type: text/plain|etag: \"a\"|content-length: 300";
    let mut world = encoding(&[Some((200, fields, LONG))]);
    let accepts = "accept-encoding: br\r\n";
    world.get(accepts);
    let part = world.get(&format!("{accepts}range: bytes=0-9\r\n"));
    assert_eq!((part.status, part.field("content-encoding"), &*part.body), (206, "", &LONG[..10]));
    assert_eq!(part.field("etag"), "\"a\"");
    let weak = "if-range: W/\"a-br\"\r\nrange: bytes=0-9\r\n";
    assert_eq!(world.get(&format!("{accepts}{weak}")).status, 200, "what is weak matches no range");
    for tag in ["\"a\"", "W/\"a-br\"", "W/\"a-gzip\""] {
        let known = world.get(&format!("{accepts}if-none-match: {tag}\r\n"));
        assert_eq!((known.status, known.field("etag")), (304, "W/\"a-br\""), "{tag}");
        assert_eq!(known.field("content-encoding"), "");
    }
    assert_eq!(world.get(&format!("{accepts}if-none-match: \"b\"\r\n")).status, 200);
}

#[test]
fn what_is_never_encoded() {
    for fields in [
        "cache-control: max-age=60|content-type: image/png",
        "cache-control: max-age=60, no-transform|content-type: text/plain",
        "cache-control: max-age=60|content-type: text/plain|content-encoding: x",
        "cache-control: no-store|content-type: text/plain",
    ] {
        let mut world = encoding(&[Some((200, fields, LONG))]);
        let sent = world.get("accept-encoding: br\r\n");
        assert_eq!((&*sent.body, sent.field("vary")), (LONG, ""), "{fields}");
    }
    let mut short = encoding(&[Some((200, "content-length: 3|content-type: text/css", "abc"))]);
    assert_eq!(short.get("accept-encoding: br\r\n").body, "abc");
}

impl World {
    fn purge(&mut self, tag: &str, soft: bool) {
        let ticket = self.driver.open();
        let purge = vec![crate::step::Purge { tag: tag.to_owned(), soft }];
        let reply = Reply { purge, ..crate::cached::nobody_is_told() };
        self.driver.reply(ticket, reply);
    }
}

#[test]
fn what_is_purged_is_fetched_again() {
    let fields = "cache-control: max-age=60|vary: foo|cache-tag: shop, item-1|surrogate-key: blue";
    let uri = crate::purge::of_target("x", "/a");
    for tag in ["tag shop", "tag item-1", "tag blue", &uri] {
        let mut world = World::new(&[Some((200, fields, "one")), Some((200, fields, "two"))]);
        let first = world.get("");
        assert_eq!((first.field("cache-tag"), first.field("surrogate-key")), ("", ""));
        world.purge("tag other", false);
        assert_eq!(world.get("").body, "one", "{tag}");
        world.purge(tag, false);
        assert_eq!(world.get("").body, "two", "{tag}");
        assert_eq!((&*world.get("").body, world.seen()), ("two", 2), "{tag}");
    }
}

#[test]
fn what_is_purged_softly_is_validated() {
    let fields = "cache-control: max-age=60|etag: \"a\"|cache-tag: a";
    let mut world = World::new(&[Some((200, fields, "one")), Some((304, fields, "")), None]);
    world.get("");
    world.purge("tag a", true);
    let validated = world.get("");
    assert_eq!(validated.field("cache-status"), "outport; fwd=stale; fwd-status=304; stored");
    assert_eq!(world.get("").field("cache-status"), "outport; hit; ttl=60");
    world.purge("tag a", true);
    let stale = world.get("");
    assert_eq!((stale.status, &*stale.body), (200, "one"), "it may be used where the origin fails");
    assert_eq!(world.seen(), 3);
}

#[test]
fn a_purge_while_it_is_fetched_counts() {
    let fields = "cache-control: max-age=60|cache-tag: a";
    let mut world = World::new(&[Some((200, fields, "old")), Some((200, fields, "new"))]);
    let (ticket, step) = world.begin("GET /a", "");
    let reply = world.run(ticket, step).unwrap();
    world.purge("tag a", false);
    assert_eq!(world.sent(ticket, reply).body, "old");
    assert_eq!(world.get("").body, "new");
}
