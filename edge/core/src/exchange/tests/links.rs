//! Links whose uses are counted: when the origin is asked, and what becomes of its answer.

use outport_wire::link::Link;

use super::*;

/// The address of the file with a link that may be used three times.
fn counted() -> String {
    let until = Link::until(ID.parse().unwrap(), NOW + 60);
    let link = Link { uses: Some(3), issued_ms: Some(NOW * 1000), ..until };
    format!("{}?{}", path(), link.query(&config().link_keys[0]))
}

#[test]
fn each_use_is_told_before_anything_is_given() {
    let mut world = World::new(Abilities::default());
    world.put(ID, Visibility::Private, b"hello");
    let link = counted();
    let mark = outport_wire::link::mark(&link).unwrap();
    let told = format!("POST /files/{ID}/uses?link={mark}");
    assert_eq!(world.get(&link, "").body, b"hello");
    assert_eq!(world.seen(), [told.as_str(), &format!("GET /files/{ID}")]);
    // What is stored is given at once, and each part is a use.
    assert_eq!(world.get(&link, "range: bytes=1-2\r\n").body, b"el");
    assert_eq!(world.seen(), [told.as_str()]);
    // Whoever asks for the head alone uses nothing, and neither does who has no good link.
    assert_eq!(world.send(&format!("HEAD {link}"), "").status, 200);
    world.get(&link.replace("uses=3", "uses=4"), "").expect_problem(404, "not-found");
    assert_eq!(world.seen(), [""; 0]);
    world.origin.links_are_used.set(true);
    let used = world.get(&link, "");
    used.expect_problem(403, "link-expired");
    assert_eq!(world.seen(), [told.as_str()]);
    // Whoever may have it by themselves has it, whatever became of the link.
    let owner = world.token("demo", "alice", "read");
    assert_eq!(world.get(&link, &owner).body, b"hello");
    world.origin.links_are_used.set(false);
    world.origin.down.set(Some(FetchError::Timeout));
    world.get(&link, "").expect_problem(504, "origin-timeout");
    world.driver.advance(61_000);
    world.get(&link, "").expect_problem(403, "link-expired");
}
