//! The origin is away for an hour of moved clock: all that may be used without it still is, just so
//! long, and nothing else.
//!
//! It was seen to fail where HEAD was passed on though something stale was stored, where
//! `must-revalidate` did not count for stale answers, and with 500 s in place of the ten minutes.

use std::cell::Cell;
use std::rc::Rc;

use outport_wire::file::{FILE_HEADER, FileRecord, Visibility};

use crate::config::{Auth, Route};
use crate::head::{FieldLines, RequestHead};
use crate::memory::tests::config;
use crate::memory::{MemoryDriver, UpstreamAnswer};
use crate::step::{
    Abilities, Connection, Fetch, FetchError, Request, Step, Upstream, UpstreamHead,
};
use crate::{Edge, Exchange};

/// For how long the origin is away, and how often it is asked for all there is meanwhile, in
/// seconds; not in time with any lifetime below.
const AWAY_S: u64 = 3_600;
const PAUSE_S: u64 = 47;
/// How many there are of each kind.
const OF_EACH: usize = 10;
/// How long something is used past its time where nobody says a word of it, in seconds
/// (docs/caching.md).
const UNSAID_S: u64 = 600;

/// What is said of a thing, and for how long it is used without the origin, in seconds.
type Kind = (&'static str, u64);

const FILES: &[Kind] = &[
    ("max-age=60, stale-while-revalidate=30, stale-if-error=86400", 86_460),
    ("max-age=60, stale-if-error=3600", 3_660),
    ("max-age=60, stale-if-error=1800", 1_860),
    ("max-age=5000", 5_000),
];

const ROUTES: &[Kind] = &[
    ("max-age=60, stale-if-error=3600", 3_660),
    ("public, max-age=10, stale-if-error=86400", 86_410),
    ("max-age=60, stale-if-error=1200", 1_260),
    ("max-age=5000", 5_000),
    // Nothing is said of errors.
    ("max-age=60", 60 + UNSAID_S),
    ("max-age=1000", 1_000 + UNSAID_S),
    ("max-age=60, stale-while-revalidate=30", 60 + UNSAID_S),
    // It is forbidden.
    ("max-age=60, stale-if-error=0", 60),
    ("max-age=60, must-revalidate", 60),
    ("max-age=60, must-revalidate, stale-if-error=86400", 60),
    ("max-age=300, proxy-revalidate, stale-if-error=86400", 300),
    ("s-maxage=300, stale-if-error=86400", 300),
    ("no-cache, stale-if-error=86400", 0),
];

/// How the origin is away.
#[derive(Clone, Copy, Debug)]
enum Away {
    Unreachable,
    Silent,
    /// Something stands before it and says so.
    Unavailable,
}

struct World {
    edge: Edge,
    driver: MemoryDriver,
    away: Rc<Cell<Option<Away>>>,
}

fn answer(fetch: &Fetch, away: Option<Away>) -> Result<UpstreamAnswer, FetchError> {
    let head = RequestHead::parse(&fetch.head).unwrap();
    match away {
        None => {}
        Some(Away::Unreachable) => return Err(FetchError::Unreachable),
        Some(Away::Silent) => return Err(FetchError::Timeout),
        Some(Away::Unavailable) => {
            let fields = b"content-length: 4\r\n".to_vec();
            let body = b"busy".to_vec();
            return Ok(UpstreamAnswer { head: UpstreamHead { status: 503, fields }, body });
        }
    }
    let (kinds, number) = match fetch.upstream {
        Upstream::Origin => (FILES, head.target.split_at(head.target.len() - 4).1),
        Upstream::Route(_) => (ROUTES, head.target.rsplit('/').next().unwrap()),
    };
    let number: usize = number.parse().unwrap();
    let (said, _) = kinds[number % kinds.len()];
    let record = FileRecord {
        tenant: "demo".into(),
        owner: "alice".into(),
        visibility: Visibility::Public,
        name: "a".into(),
        expires_s: None,
        links_after_ms: None,
    };
    let body = content(head.target);
    let fields = format!(
        "cache-control: {said}\r\netag: \"{number}\"\r\ncontent-length: {}\r\n\
         {FILE_HEADER}: {}\r\n",
        body.len(),
        record.encode()
    );
    let head = UpstreamHead { status: 200, fields: fields.into_bytes() };
    Ok(UpstreamAnswer { head, body: body.into_bytes() })
}

fn content(target: &str) -> String {
    format!("all of {target}")
}

impl World {
    fn new() -> Self {
        let mut config = config();
        config.routes.push(Route {
            path: "/r/{*rest}".into(),
            proxy: Some("http://127.0.0.1:1".into()),
            auth: Auth::None,
            cache: true,
            limit: Some("none".into()),
            ..Route::default()
        });
        let away = Rc::new(Cell::new(None));
        let told = away.clone();
        let upstreams = Box::new(move |fetch: &Fetch, _: &[u8]| answer(fetch, told.get()));
        let driver = MemoryDriver::new(1_800_000_000_000, upstreams);
        Self { edge: Edge::new(config, Abilities::default()).unwrap(), driver, away }
    }

    /// Status, fields and body.
    fn send(&mut self, method: &str, target: &str, fields: &str) -> (u16, String, String) {
        let head = format!("{method} {target} HTTP/1.1\r\nhost: x\r\n{fields}");
        let peer = "192.0.2.1".parse().unwrap();
        let request = Request { head: head.as_bytes(), connection: Connection::new(peer, false) };
        let ticket = self.driver.open();
        let mut step = self.edge.begin(&request, self.driver.moment());
        let mut sent = None;
        let last = loop {
            let (exchange, needs) = match step {
                Step::Reply(reply) => break reply,
                Step::Needs(exchange, needs) => (exchange, needs),
                Step::ReplyFirst(reply, exchange, needs) => {
                    let (status, fields) = (reply.status, reply.fields.clone());
                    sent = Some((status, fields, self.driver.reply_first(ticket, *reply)));
                    (exchange, needs)
                }
            };
            let exchange = Exchange::from_bytes(&exchange.to_bytes()).unwrap();
            let mut outcomes = Vec::new();
            for need in needs {
                self.driver.ask(ticket, need);
                outcomes.push(self.driver.outcome(ticket).unwrap());
            }
            step = self.edge.resume(exchange, outcomes, self.driver.moment());
        };
        let (status, fields) = (last.status, last.fields.clone());
        let (body, _) = self.driver.reply(ticket, last);
        let (status, fields, body) = sent.unwrap_or((status, fields, body));
        (status, String::from_utf8(fields).unwrap(), String::from_utf8(body).unwrap())
    }

    /// Asks for a thing in one of the ways in which one asks, and expects it, or to be told that
    /// the origin is away.
    fn expect(&mut self, target: &str, way: usize, is_there: bool, when: &str) {
        let whole = content(target);
        let (method, fields, expected) = match way % 4 {
            0 => ("GET", String::new(), (200, whole.as_str())),
            1 => ("HEAD", String::new(), (200, "")),
            2 => ("GET", "range: bytes=4-\r\n".to_owned(), (206, &whole[4..])),
            _ => ("GET", "if-none-match: *\r\n".to_owned(), (304, "")),
        };
        let (status, sent, body) = self.send(method, target, &fields);
        let what = format!("{method} {target} {fields:?} {when}: {status} {sent}");
        if is_there {
            assert_eq!((status, body.as_str()), expected, "{what}");
            let said = FieldLines::new(sent.as_bytes()).get("etag").unwrap_or_default();
            assert!(said.starts_with('"'), "{what}");
        } else {
            assert!(matches!(status, 502..=504), "{what}");
        }
    }
}

/// All things: the target, and for how long each is used without the origin.
fn things() -> Vec<(String, u64)> {
    let files = (0..FILES.len() * OF_EACH)
        .map(|n| (format!("/files/01000G0000000C0000000{n:05}"), FILES[n % FILES.len()].1));
    let routes =
        (0..ROUTES.len() * OF_EACH).map(|n| (format!("/r/{n}"), ROUTES[n % ROUTES.len()].1));
    files.chain(routes).collect()
}

fn an_hour(away: impl Fn(u64) -> Away) {
    let mut world = World::new();
    let things = things();
    for (target, _) in &things {
        world.expect(target, 0, true, "at first");
    }
    let mut passed_s = 0;
    while passed_s < AWAY_S {
        world.away.set(Some(away(passed_s)));
        for (at, (target, used_s)) in things.iter().enumerate() {
            let way = at / FILES.len().max(ROUTES.len()) + usize::try_from(passed_s).unwrap();
            world.expect(target, way, passed_s < *used_s, &format!("after {passed_s} s"));
        }
        passed_s += PAUSE_S;
        world.driver.advance(PAUSE_S * 1000);
    }
    world.away.set(None);
    world.driver.advance(2_000);
    for (target, _) in &things {
        world.expect(target, 0, true, "once the origin is back");
    }
}

#[test]
fn an_hour_without_a_connection() {
    an_hour(|_| Away::Unreachable);
}

#[test]
fn an_hour_of_all_that_goes_wrong() {
    an_hour(|passed_s| match passed_s % 3 {
        0 => Away::Unreachable,
        1 => Away::Silent,
        _ => Away::Unavailable,
    });
}
