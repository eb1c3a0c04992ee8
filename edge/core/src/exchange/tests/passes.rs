//! Passes: what they open, for whom, and as whom.

use outport_wire::pass::Pass;

use super::*;
use crate::config::{Claim, READ_LIMIT};
use crate::session::cookie;
use crate::step::Allowance;

/// A pass by alice for `/film/7/`, as a cookie.
fn pass(expires_s: u64) -> String {
    let identity = Identity::new("demo", "alice", Default::default()).unwrap();
    let prefix = "/film/7/".to_owned();
    let pass = Pass { identity, prefix, issued_s: NOW, begins_s: None, expires_s, network: None };
    format!("cookie: outport-pass={}\r\n", pass.seal(&config().link_keys[0]))
}

/// A route for who has a token, which tells its server who asks.
fn film(config: &mut Config) {
    config.routes.push(Route {
        path: "/film/{*rest}".into(),
        proxy: Some("http://film.example".into()),
        claims: vec![Claim::Subject],
        ..Route::default()
    });
}

#[test]
fn a_pass_reads_what_is_below_its_prefix_for_who_made_it() {
    let mut world = World::with(Abilities::default(), film);
    for target in ["/film/7/a", "/film/8/a", "/film/7"] {
        world.page(target, 200, "cache-control: no-store", "@subject");
    }
    world.get("/film/7/a", "").expect_problem(401, "token-missing");
    let shown = pass(NOW + 60);
    let film = world.get("/film/7/a", &shown);
    assert_eq!((film.status, &film.body[..]), (200, &b"alice"[..]));
    for target in ["/film/8/a", "/film/7", "/films/7/a", &path(), "/files", "/session"] {
        let sent = world.get(target, &shown);
        assert!(matches!(sent.status, 401 | 404), "{target}: {}", sent.status);
    }
    for method in ["POST", "PUT", "DELETE"] {
        let sent = world.send(&format!("{method} /film/7/a"), &shown);
        sent.expect_problem(401, "token-missing");
    }
    // A session that has ended shuts nobody out whom a pass lets in, and counts where there is none.
    let ended = format!("cookie: {}=ended\r\n", cookie::SESSION);
    assert_eq!(world.get("/film/7/a", &format!("{ended}{shown}")).body, b"alice");
    world.get("/film/7/a", &ended).expect_problem(401, "session-ended");
    world.get("/film/8/a", &format!("{ended}{shown}")).expect_problem(401, "session-ended");
    // Whoever is signed in is themselves; a token that is none is not made good.
    let bob = world.token("demo", "bob", "read");
    assert_eq!(world.get("/film/7/a", &format!("{bob}{shown}")).body, b"bob");
    let bad = format!("authorization: Bearer a.b.c\r\n{shown}");
    world.get("/film/7/a", &bad).expect_problem(401, "token-malformed");
    world.get("/film/7/a", &pass(NOW - 1)).expect_problem(403, "link-expired");
    world.driver.advance(61_000);
    world.get("/film/7/a", &shown).expect_problem(403, "link-expired");
}

#[test]
fn who_comes_with_a_pass_is_nobody_to_limits_and_rules() {
    let mut world = World::with(Abilities::default(), |config| {
        film(config);
        let one = Allowance { interval_us: 60_000_000, burst: 1 };
        config.limits.insert(READ_LIMIT.into(), one);
        let rule = serde_json::json!({
            "name": "a", "match": { "paths": ["/film/7/b"], "signed_in": false },
            "action": { "deny": null },
        });
        config.firewall.rules.push(serde_json::from_value(rule).unwrap());
    });
    world.page("/film/7/a", 200, "cache-control: no-store", "@subject");
    let alice = world.token("demo", "alice", "read");
    assert_eq!(world.get("/film/7/a", &alice).status, 200);
    // Whoever made it has spent what they have; the network has not.
    assert_eq!(world.get("/film/7/a", &pass(NOW + 60)).status, 200);
    world.get("/film/7/a", &pass(NOW + 60)).expect_problem(429, "rate-limited");
    world.get("/film/7/b", &pass(NOW + 60)).expect_problem(403, "forbidden-by-rule");
}
