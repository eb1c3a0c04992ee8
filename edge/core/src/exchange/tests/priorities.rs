//! Whose requests may be preferred.

use super::*;

#[test]
fn who_bears_a_good_token_is_known() {
    for abilities in [SIGNATURES, Abilities::default()] {
        let mut world = World::new(abilities);
        world.put(ID, Visibility::Public, b"hello");
        let good = world.token("demo", "alice", "read");
        let forged = format!("{}x\r\n", good.trim_end());
        // Not yet fetched, and from the cache.
        for _ in 0..2 {
            assert!(world.get(&path(), &good).caller_known);
            assert!(!world.get(&path(), "").caller_known);
            assert!(!world.get(&path(), &forged).caller_known);
        }
        // Known, and refused all the same.
        let refused = world.send("DELETE /uploads/01000G0000000C000000000004", &good);
        assert!(refused.status == 403 && refused.caller_known);
        // No token is looked at, so it may be anything.
        assert!(!world.get("/healthz", &good).caller_known);
    }
}
