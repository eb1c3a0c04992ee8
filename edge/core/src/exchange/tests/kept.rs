//! Small files that the edge accepts by itself.

use serde_json::Value;

use super::*;
use crate::step::{Durable, Kept};

const KEEPING: Abilities = Abilities {
    signatures: false,
    request_trailers: false,
    interim: false,
    durable: Some(Durable { value_bytes_max: 1 << 20 }),
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

fn keeping() -> World {
    World::with(KEEPING, |config| config.small_upload_bytes_max = 100)
}

/// Uploads a file as alice.
fn upload(world: &mut World, target: &str, body: &[u8]) -> Sent {
    let token = world.token("demo", "alice", "read write share");
    let fields = format!("{token}content-type: text/plain\r\ncontent-length: {}\r\n", body.len());
    world.send_body(&format!("POST {target}"), &fields, body)
}

fn document(sent: &Sent) -> Value {
    serde_json::from_slice(&sent.body).unwrap()
}

/// The path of a file that was accepted.
fn accepted(world: &mut World, target: &str, body: &[u8]) -> String {
    let sent = upload(world, target, body);
    assert_eq!((sent.status, sent.ended), (201, Ended::Edge));
    document(&sent)["url"].as_str().unwrap().to_owned()
}

fn group(world: &World) -> String {
    let key = world.driver.kept_keys().first().unwrap().clone();
    key.split_inclusive('/').next().unwrap().to_owned()
}

fn copies(world: &World) -> usize {
    world.origin.files.borrow().len()
}

#[test]
fn a_small_upload_ends_here() {
    let mut world = keeping();
    let sent = upload(&mut world, "/files?name=a.txt", b"hello");
    assert_eq!(sent.status, 201);
    let document = document(&sent);
    let id = document["id"].as_str().unwrap();
    assert!(id.parse::<outport_wire::id::FileId>().unwrap().is_from_edge());
    assert_eq!(document["created"], "2027-01-15T08:00:00Z");
    assert_eq!((&document["name"], &document["size"]), (&"a.txt".into(), &5.into()));
    assert_eq!(sent.field("location"), document["url"].as_str());
    assert_eq!(sent.field("cache-control"), Some("no-store"));
    assert_eq!(sent.field("content-length"), Some(sent.body.len().to_string().as_str()));
    assert_eq!(sent.field("cache-status"), Some("outport; detail=kept"));
    assert_eq!(sent.field("ratelimit"), Some("\"write\";r=999;t=1"));
    assert!(world.seen().is_empty(), "the origin was not asked");
    assert_ne!(accepted(&mut world, "/files", b"hello"), document["url"].as_str().unwrap());
}

#[test]
fn what_does_not_qualify_goes_to_the_origin_with_its_body() {
    let mut world = keeping();
    let sent = upload(&mut world, "/files", &[7; 101]);
    assert_eq!((sent.status, sent.ended), (204, Ended::Origin));
    assert_eq!(upload(&mut world, "/files?visibility=nonsense", b"hello").ended, Ended::Origin);
    let token = world.token("demo", "alice", "read");
    assert_eq!(world.send("POST /files", &format!("{token}content-length: 5\r\n")).status, 403);
    assert_eq!(world.send("POST /files", "content-length: 5\r\n").status, 401);
    assert!(world.driver.kept_keys().is_empty());
}

#[test]
fn without_room_the_origin_gets_it() {
    let mut world = keeping();
    world.driver.keep_at_most(3);
    let sent = upload(&mut world, "/files", b"hello");
    assert_eq!((sent.status, sent.ended), (204, Ended::Origin));
    assert_eq!(world.seen(), ["POST /files"]);
}

#[test]
fn a_body_that_breaks_off_is_told() {
    let mut world = keeping();
    let token = world.token("demo", "alice", "write");
    let fields = format!("{token}content-length: 5\r\n");
    let sent = world.send_body("POST /files", &fields, b"hel");
    assert_eq!((sent.status, sent.problem().as_str()), (400, "body-too-short"));
    assert!(world.driver.kept_keys().is_empty() && world.seen().is_empty());
}

#[test]
fn what_may_be_kept_is_not_sent_on() {
    let mut world = keeping();
    let token = world.token("demo", "alice", "read write");
    let head = format!("POST /files HTTP/1.1\r\nhost: x\r\ncontent-length: 5\r\n{token}");
    let request = Request {
        head: head.as_bytes(),
        connection: Connection::new("192.0.2.1".parse().unwrap(), false),
    };
    let mut step = world.edge.begin(&request, world.driver.moment());
    let ticket = world.driver.open();
    let reply = loop {
        let (exchange, needs) = match step {
            Step::ReplyFirst(..) => panic!("nothing here goes on behind the client's back"),
            Step::Needs(exchange, needs) => (exchange, needs),
            Step::Reply(reply) => break reply,
        };
        let outcomes = needs.into_iter().map(|need| match need {
            Need::Keep { .. } => Outcome::Kept(Kept::Unknown),
            need => {
                world.driver.ask(ticket, need);
                world.driver.outcome(ticket).unwrap()
            }
        });
        let outcomes = outcomes.collect();
        step = world.edge.resume(exchange, outcomes, world.driver.moment());
    };
    assert_eq!(reply.status, 503);
    assert_eq!(FieldLines::new(&reply.fields).get("retry-after"), Some("5"));
    assert!(world.seen().is_empty(), "it could be there twice");
}

#[test]
fn limits_are_spent_before_anything_is_kept() {
    let mut world = World::with(KEEPING, |config| {
        config.small_upload_bytes_max = 100;
        let limit = crate::step::Allowance { interval_us: 2_500_000, burst: 1 };
        config.limits.insert("write".into(), limit);
    });
    accepted(&mut world, "/files", b"hello");
    assert_eq!(upload(&mut world, "/files", b"hello").status, 429);
    assert_eq!(world.driver.kept_keys().len(), 1);
}

#[test]
fn it_is_readable_here_at_once_and_after_the_handover() {
    let mut world = keeping();
    world.origin.down.set(Some(FetchError::Unreachable));
    let path = accepted(&mut world, "/files?name=a.txt&visibility=public", b"0123456789");
    let etag = format!("\"{}\"", path.rsplit('/').next().unwrap());
    let whole = world.get(&path, "");
    assert_eq!((whole.status, &whole.body[..]), (200, &b"0123456789"[..]));
    assert_eq!(whole.field("cache-status"), Some("outport; hit; detail=kept"));
    assert_eq!(whole.field("etag"), Some(etag.as_str()));
    assert_eq!(whole.field("last-modified"), Some("Fri, 15 Jan 2027 08:00:00 GMT"));
    assert_eq!(whole.field("content-disposition"), Some("inline; filename=\"a.txt\""));
    let part = world.get(&path, "range: bytes=2-4\r\n");
    assert_eq!((part.status, &part.body[..]), (206, &b"234"[..]));
    assert_eq!(part.field("content-range"), Some("bytes 2-4/10"));
    assert_eq!(world.get(&path, "range: bytes=10-\r\n").status, 416);
    assert_eq!(world.get(&path, &format!("if-none-match: {etag}\r\n")).status, 304);
    assert_eq!(world.get(&path, "if-match: \"other\"\r\n").status, 412);
    let head = world.send(&format!("HEAD {path}"), "");
    assert_eq!((head.status, head.field("content-length")), (200, Some("10")));
    assert!(world.seen().is_empty(), "the origin was not asked");

    world.origin.down.set(None);
    let group = group(&world);
    assert!(world.driver.hand_over(&group));
    assert!(world.driver.kept_keys().is_empty());
    let after = world.get(&path, "");
    assert_eq!((after.status, &after.body), (200, &whole.body));
    assert_eq!(after.field("etag"), whole.field("etag"));
    assert_eq!(after.ended, Ended::Origin);
}

#[test]
fn it_is_its_owners() {
    let mut world = keeping();
    let path = accepted(&mut world, "/files", b"hello");
    let unknown = world.get(&format!("/files/{OTHER_ID}"), "");
    for (tenant, subject, scope, status) in [
        ("demo", "alice", "read", 200),
        ("demo", "alice", "write", 404),
        ("demo", "bob", "read", 404),
        ("demo", "bob", "admin", 200),
        ("other", "alice", "admin", 404),
    ] {
        let token = world.token(tenant, subject, scope);
        let sent = world.get(&path, &token);
        assert_eq!(sent.status, status, "{tenant} {subject} {scope}");
        if status == 404 {
            assert_eq!(sent.body, unknown.body, "as if there were no such file");
        }
    }
    assert_eq!(world.get(&path, "").body, unknown.body);
}

#[test]
fn changes_wait_for_the_handover() {
    let mut world = keeping();
    let path = accepted(&mut world, "/files", b"hello");
    let token = world.token("demo", "alice", "read write share");
    world.origin.down.set(Some(FetchError::Unreachable));
    for line in [format!("DELETE {path}"), format!("PATCH {path}"), format!("POST {path}/links")] {
        let sent = world.send(&line, &token);
        assert_eq!((sent.status, sent.problem().as_str()), (503, "overloaded"), "{line}");
        assert_eq!(sent.field("retry-after"), Some("5"));
    }
    assert_eq!(world.driver.kept_keys().len(), 1, "nothing was lost");
    world.origin.down.set(None);
    world.seen();
    assert_eq!(world.send(&format!("DELETE {path}"), &token).status, 204);
    let seen = world.seen();
    assert!(seen[0].starts_with(&format!("PUT {path}?")), "{seen:?}");
    assert_eq!(seen[1..], [format!("DELETE {path}")]);
    assert!(world.driver.kept_keys().is_empty());
}

#[test]
fn a_list_waits_for_its_owners_files_and_for_nobody_elses() {
    let mut world = keeping();
    let path = accepted(&mut world, "/files", b"hello");
    let bob = world.token("demo", "bob", "read");
    world.get("/files", &bob);
    assert_eq!(world.seen(), ["GET /files"]);
    let alice = world.token("demo", "alice", "read");
    world.get("/files", &alice);
    let seen = world.seen();
    assert!(seen[0].starts_with(&format!("PUT {path}?")) && seen[1] == "GET /files", "{seen:?}");
    // What can't be handed over does not keep the list away.
    accepted(&mut world, "/files", b"hello");
    world.origin.down.set(Some(FetchError::Unreachable));
    assert_eq!(world.get("/files", &alice).status, 502);
}

#[test]
fn whatever_breaks_exactly_one_copy_arrives() {
    let mut world = keeping();
    let path = accepted(&mut world, "/files", b"hello");
    let group = group(&world);
    // The origin is away.
    world.origin.down.set(Some(FetchError::Unreachable));
    assert!(!world.driver.hand_over(&group));
    assert_eq!((copies(&world), world.driver.kept_keys().len()), (0, 1));
    // It stores the file, and the answer is lost, or the edge ends before it is read.
    world.origin.down.set(None);
    world.origin.answers_are_lost.set(true);
    assert!(!world.driver.hand_over(&group));
    assert_eq!((copies(&world), world.driver.kept_keys().len()), (1, 1));
    world.origin.answers_are_lost.set(false);
    assert!(world.driver.hand_over(&group));
    assert_eq!((copies(&world), world.driver.kept_keys().len()), (1, 0));
    let alice = world.token("demo", "alice", "read");
    assert_eq!(world.get(&path, &alice).body, b"hello");
}

#[test]
fn what_was_removed_meanwhile_does_not_come_back() {
    let mut world = keeping();
    let path = accepted(&mut world, "/files", b"hello");
    let group = group(&world);
    world.origin.answers_are_lost.set(true);
    world.driver.hand_over(&group);
    world.origin.answers_are_lost.set(false);
    // Through another edge, which knows nothing of what is kept here.
    let id = path.strip_prefix("/files/").unwrap().to_owned();
    world.origin.files.borrow_mut().remove(&id);
    world.origin.removed.borrow_mut().push(id);
    assert!(world.driver.hand_over(&group));
    assert_eq!((copies(&world), world.driver.kept_keys().len()), (0, 0));
}

#[test]
fn an_exchange_that_ends_after_it_was_kept_leaves_one_file() {
    let mut world = keeping();
    let token = world.token("demo", "alice", "write");
    let head = format!("POST /files HTTP/1.1\r\nhost: x\r\ncontent-length: 5\r\n{token}");
    let request = Request {
        head: head.as_bytes(),
        connection: Connection::new("192.0.2.1".parse().unwrap(), false),
    };
    let ticket = world.driver.open_sending(b"hello".to_vec());
    let mut step = world.edge.begin(&request, world.driver.moment());
    for _ in 0..2 {
        let Step::Needs(exchange, needs) = step else { panic!("it has needs") };
        let outcomes = needs.into_iter().map(|need| {
            world.driver.ask(ticket, need);
            world.driver.outcome(ticket).unwrap()
        });
        let outcomes = outcomes.collect();
        step = world.edge.resume(exchange, outcomes, world.driver.moment());
    }
    let Step::Reply(reply) = step else { panic!("it is over") };
    assert_eq!(reply.status, 201);
    // The edge ends before the reply is sent.
    world.driver.abandon(ticket);
    let group = group(&world);
    assert!(world.driver.hand_over(&group));
    assert_eq!((copies(&world), world.driver.kept_keys().len()), (1, 0));
}
