//! Files of others of the same tenant, by relations.

use super::*;

const VIEWER: &str = "file:01000G0000000C000000000004#viewer@user:bob";

fn relate(world: &World, tuple: &str, is_there: bool) -> u64 {
    world.origin.relations.borrow_mut().change(tuple, is_there)
}

fn world() -> World {
    let world = World::new(SIGNATURES);
    world.put(ID, Visibility::Private, b"hello");
    world
}

#[test]
fn relations_open_a_file_to_who_may_read() {
    let mut world = world();
    relate(&world, VIEWER, true);
    for (tenant, subject, scope, status) in [
        ("demo", "bob", "read", 200),
        ("demo", "bob", "write share", 404),
        ("demo", "eve", "read", 404),
        ("other", "bob", "read", 404),
        ("other", "bob", "admin", 404),
        ("demo", "alice", "read", 200),
    ] {
        let token = world.token(tenant, subject, scope);
        let sent = world.get(&path(), &token);
        assert_eq!(sent.status, status, "{tenant} {subject} {scope}");
    }
    assert_eq!(world.get(&path(), "").status, 404);
    let bob = world.token("demo", "bob", "read");
    assert_eq!(world.get(&path(), &bob).body, b"hello");
    assert_eq!(world.get(&path(), &format!("{bob}range: bytes=1-2\r\n")).body, b"el");
    assert_eq!(world.send(&format!("HEAD {}", path()), &bob).status, 200);
}

#[test]
fn it_is_fetched_once_more_at_most_and_then_stored_for_all() {
    let mut world = world();
    relate(&world, VIEWER, true);
    let eve = world.token("demo", "eve", "read");
    let bob = world.token("demo", "bob", "read");
    assert_eq!(world.get(&path(), &eve).status, 404);
    world.seen();
    assert_eq!(world.get(&path(), &eve).status, 404);
    assert_eq!(world.seen(), Vec::<String>::new(), "who may not have it asks nobody");
    assert_eq!(world.get(&path(), &bob).status, 200);
    let files = |seen: Vec<String>| seen.iter().filter(|seen| seen.contains("/files")).count();
    assert_eq!(files(world.seen()), 1);
    let alice = world.token("demo", "alice", "read");
    for token in [&bob, &alice] {
        assert_eq!(world.get(&path(), token).body, b"hello");
    }
    assert_eq!(world.seen(), Vec::<String>::new());
}

#[test]
fn what_is_taken_away_counts_at_once_for_who_knows_its_revision() {
    let mut world = world();
    relate(&world, VIEWER, true);
    let bob = world.token("demo", "bob", "read");
    assert_eq!(world.get(&path(), &bob).status, 200);
    let revision = relate(&world, VIEWER, false);
    assert_eq!(world.get(&path(), &bob).status, 200, "it is kept");
    let aware = format!("{bob}outport-at-least: {revision}\r\n");
    assert_eq!(world.get(&path(), &aware).status, 404);
    world.driver.advance(15_000);
    assert_eq!(world.get(&path(), &bob).status, 404);
}

#[test]
fn while_the_origin_is_away_what_was_known_counts() {
    let mut world = world();
    relate(&world, VIEWER, true);
    let bob = world.token("demo", "bob", "read");
    let eve = world.token("demo", "eve", "read");
    assert_eq!(world.get(&path(), &bob).status, 200);
    world.driver.advance(20_000);
    world.origin.down.set(Some(FetchError::Unreachable));
    assert_eq!(world.get(&path(), &bob).status, 200);
    // As of an id that nobody knows.
    let unknown = world.get(&format!("/files/{OTHER_ID}"), &eve);
    let foreign = world.get(&path(), &eve);
    assert_eq!((foreign.status, foreign.body), (unknown.status, unknown.body));
}
