//! Sessions of browsers, and what is revoked.

use outport_wire::revocation::{Revocations, target};
use outport_wire::secret::Secret;
use outport_wire::session::SessionId;

use super::*;

const OWN: &str = "sec-fetch-site: same-origin\r\n";

fn world() -> World {
    World::with(SIGNATURES, |config| {
        config.session_keys = vec![Secret::new(vec![9; 32]).unwrap()];
        config.issuers[0].begins_sessions = true;
        config.revoked_within_s = 15;
    })
}

/// The cookies that an answer gives.
#[derive(Clone)]
struct Cookies {
    short: String,
    refresh: String,
}

impl Cookies {
    fn of(sent: &Sent) -> Self {
        let value = |name: &str| {
            let begin = format!("{name}=");
            let mut lines = FieldLines::new(sent.fields.as_bytes()).iter();
            let set = lines.find_map(|(field, value)| {
                let value = std::str::from_utf8(value).unwrap();
                (field == "set-cookie").then(|| value.strip_prefix(&begin)).flatten()
            });
            set.unwrap().split(';').next().unwrap().to_owned()
        };
        Self { short: value("__Host-outport"), refresh: value("__Host-outport-refresh") }
    }

    fn short(&self) -> String {
        format!("cookie: a=b; __Host-outport={}\r\n", self.short)
    }

    fn both(&self) -> String {
        let Self { short, refresh } = self;
        format!("cookie: __Host-outport={short}; __Host-outport-refresh={refresh}\r\n")
    }

    fn are_gone(sent: &Sent) -> bool {
        let Self { short, refresh } = Self::of(sent);
        short.is_empty() && refresh.is_empty() && sent.fields.matches("Max-Age=0").count() == 2
    }
}

impl World {
    fn sign_in(&mut self, subject: &str) -> Cookies {
        let token = self.token("demo", subject, "read write");
        let sent = self.send("POST /session", &token);
        assert_eq!(sent.status, 201, "{}", sent.fields);
        Cookies::of(&sent)
    }

    fn refresh(&mut self, cookies: &Cookies) -> Sent {
        self.send("POST /session", &(cookies.both() + OWN))
    }

    fn revokes(&self, revocations: &Revocations) {
        let told = format!("outport-revocations: {}", revocations.encode());
        self.page(&target("demo"), 204, &told, "");
    }

    /// How often the origin was asked what is revoked since this was asked last.
    fn asked_for_revocations(&self) -> usize {
        self.seen().iter().filter(|seen| seen.contains("/revocations")).count()
    }
}

#[test]
fn a_session_from_its_beginning_to_its_end() {
    let mut world = world();
    let token = world.token("demo", "alice", "read write");
    let begun = world.send("POST /session", &token);
    assert_eq!(begun.status, 201);
    let told: serde_json::Value = serde_json::from_slice(&begun.body).unwrap();
    assert_eq!(
        told,
        serde_json::json!({
            "tenant": "demo", "subject": "alice", "scope": "read write", "expires": NOW + 900
        })
    );
    assert_eq!(begun.field("cache-control"), Some("no-store"));
    let seen = world.seen();
    assert!(seen[1].starts_with("PUT /sessions/") && seen[1].ends_with("?until=1802592000"));
    let cookies = Cookies::of(&begun);
    world.put(ID, Visibility::Private, b"hello");
    assert_eq!(world.get(&path(), &cookies.short()).status, 200);
    assert_eq!(world.get(&path(), "cookie: a=b\r\n").status, 404);
    assert_eq!(world.get("/session", &cookies.short()).body, begun.body);

    world.driver.advance(901_000);
    let expired = world.get(&path(), &cookies.short());
    assert_eq!((expired.status, expired.problem().as_str()), (401, "token-expired"));
    world.seen();
    let refreshed = world.refresh(&cookies);
    assert_eq!(refreshed.status, 200);
    assert!(world.seen()[0].ends_with("?generation=0"));
    let cookies = Cookies::of(&refreshed);
    assert_eq!(world.get(&path(), &cookies.short()).status, 200);

    let ended = world.send("DELETE /session", &(cookies.both() + OWN));
    assert_eq!(ended.status, 204);
    assert!(Cookies::are_gone(&ended));
    // Nothing is left to end.
    assert_eq!(world.send("DELETE /session", OWN).status, 204);
    assert_eq!(world.get("/session", "").problem(), "token-missing");
}

#[test]
fn each_refresh_is_of_the_next_generation_and_none_outlives_its_session() {
    let mut world = world();
    let mut cookies = world.sign_in("alice");
    for generation in 0..5 {
        world.driver.advance(6 * 86_400_000);
        world.seen();
        let sent = world.refresh(&cookies);
        if generation == 4 {
            // Thirty days are over.
            assert_eq!((sent.status, sent.problem().as_str()), (401, "session-ended"));
            return;
        }
        assert_eq!(sent.status, 200, "{generation}");
        assert!(world.seen()[0].ends_with(&format!("?generation={generation}")));
        cookies = Cookies::of(&sent);
    }
}

#[test]
fn one_that_is_not_used_ends() {
    let mut world = world();
    let cookies = world.sign_in("alice");
    world.driver.advance(7 * 86_400_000);
    assert_eq!(world.refresh(&cookies).problem(), "session-ended");
}

#[test]
fn the_origin_has_the_last_word() {
    let mut world = world();
    let cookies = world.sign_in("alice");
    let seen = world.seen();
    let path = seen[1].strip_prefix("PUT ").unwrap().split('?').next().unwrap().to_owned();
    world.page(&format!("{path}?generation=0"), 404, "", "");
    let sent = world.refresh(&cookies);
    assert_eq!((sent.status, sent.problem().as_str()), (401, "session-ended"));
    assert!(Cookies::are_gone(&sent));
    world.page(&format!("{path}?generation=0"), 503, "", "");
    let sent = world.refresh(&cookies);
    assert_eq!((sent.status, sent.problem().as_str()), (502, "origin-unreachable"));
    assert!(!sent.fields.contains("set-cookie"), "it can be tried again");
}

#[test]
fn whom_the_origin_does_not_believe_begins_no_session_and_is_told_why() {
    let begun = {
        let mut world = world();
        world.sign_in("alice");
        world.seen()[1].strip_prefix("PUT ").unwrap().to_owned()
    };
    // The same again.
    let mut world = world();
    let refusal = r#"{"type":"urn:outport:problem:token-revoked"}"#;
    world.page(
        &begun,
        401,
        "outport-caller-refused: 1|content-type: application/problem+json",
        refusal,
    );
    let token = world.token("demo", "alice", "read write");
    let sent = world.send("POST /session", &token);
    assert_eq!((sent.status, sent.problem().as_str()), (401, "token-revoked"));
    assert!(!sent.fields.contains("set-cookie") && !sent.fields.contains("outport-caller"));
}

#[test]
fn other_pages_do_nothing_with_its_cookies() {
    let mut world = world();
    world.put(ID, Visibility::Private, b"hello");
    let cookies = world.sign_in("alice");
    for (line, by) in [
        ("POST /uploads", ""),
        ("POST /uploads", "origin: https://evil.example\r\n"),
        ("POST /files", "sec-fetch-site: same-site\r\n"),
        ("POST /session", "sec-fetch-site: cross-site\r\n"),
        ("DELETE /session", "sec-fetch-site: cross-site\r\n"),
        ("DELETE /session?everywhere", "sec-fetch-site: none\r\n"),
    ] {
        let sent = world.send(line, &(cookies.both() + by));
        assert_eq!((sent.status, sent.problem().as_str()), (403, "cross-site"), "{line} {by}");
    }
    assert_eq!(world.send("POST /uploads", &(cookies.both() + OWN)).status, 204);
    let by = "origin: http://edge\r\n";
    assert_eq!(world.send("POST /uploads", &(cookies.both() + by)).status, 204);
    // What another page embeds comes as if there were no cookie; a link that is followed works.
    let embedded = "sec-fetch-site: cross-site\r\nsec-fetch-mode: no-cors\r\n";
    assert_eq!(world.get(&path(), &(cookies.short() + embedded)).status, 404);
    let followed =
        "sec-fetch-site: cross-site\r\nsec-fetch-mode: navigate\r\nsec-fetch-dest: document\r\n";
    assert_eq!(world.get(&path(), &(cookies.short() + followed)).status, 200);
}

#[test]
fn a_token_has_the_last_word_over_cookies() {
    let mut world = world();
    world.put(ID, Visibility::Private, b"hello");
    let cookies = world.sign_in("alice");
    let bob = world.token("demo", "bob", "read");
    assert_eq!(world.get(&path(), &(cookies.short() + &bob)).status, 404);
    let wrong = "authorization: Bearer x\r\n";
    assert_eq!(world.get(&path(), &(cookies.short() + wrong)).problem(), "token-malformed");
    let forged = "cookie: __Host-outport=AAAA.AAAA\r\n";
    assert_eq!(world.get(&path(), forged).problem(), "session-ended");
}

#[test]
fn not_every_issuers_tokens_begin_sessions() {
    let mut world = World::with(SIGNATURES, |config| {
        config.session_keys = vec![Secret::new(vec![9; 32]).unwrap()];
    });
    let token = world.token("demo", "alice", "read");
    let sent = world.send("POST /session", &token);
    assert_eq!((sent.status, sent.problem().as_str()), (403, "scope-missing"));
    assert_eq!(world.send("POST /session", "").status, 404, "there are no guests either");
}

#[test]
fn upstreams_see_no_cookie_of_ours() {
    let mut world = World::with(SIGNATURES, |config| {
        config.session_keys = vec![Secret::new(vec![9; 32]).unwrap()];
        config.issuers[0].begins_sessions = true;
        config.routes.push(Route {
            path: "/app/{*rest}".into(),
            proxy: Some("http://127.0.0.1:1".into()),
            cache: true,
            claims: vec![crate::config::Claim::Subject],
            ..Route::default()
        });
    });
    let fields = "cache-control: max-age=60|vary: cookie|content-length: 5";
    world.page("/app/me", 200, fields, "@subject");
    let alice = world.sign_in("alice");
    let (first, second) = (world.get("/app/me", &alice.short()), world.refresh(&alice));
    assert_eq!(first.body, b"alice");
    // Another cookie of the same session is another request to nobody else.
    let again = world.get("/app/me", &Cookies::of(&second).short());
    assert!(again.field("cache-status").unwrap().contains("hit"), "{}", again.fields);
}

#[test]
fn what_is_revoked_is_known_within_its_time() {
    let mut world = world();
    world.put(ID, Visibility::Private, b"hello");
    world.revokes(&Revocations::default());
    let token = world.token("demo", "alice", "read");
    assert_eq!(world.get(&path(), &token).status, 200);
    assert_eq!(world.asked_for_revocations(), 1);
    world.revokes(&Revocations::new(0, [("alice", NOW + 5)], []));
    world.driver.advance(14_000);
    assert_eq!(world.get(&path(), &token).status, 200);
    assert_eq!(world.asked_for_revocations(), 0);
    world.driver.advance(2_000);
    let sent = world.get(&path(), &token);
    assert_eq!((sent.status, sent.problem().as_str()), (401, "token-revoked"));
    let bob = world.token("demo", "bob", "admin");
    assert_eq!(world.get(&path(), &bob).status, 200, "it is not his");
    let elsewhere = world.token("other", "alice", "read");
    assert_eq!(world.get(&path(), &elsewhere).status, 404);
    assert_eq!(world.asked_for_revocations(), 2, "each tenant once");
}

#[test]
fn a_session_that_has_ended_is_over_at_once_where_it_ended() {
    let mut world = world();
    world.put(ID, Visibility::Private, b"hello");
    world.revokes(&Revocations::default());
    let cookies = world.sign_in("alice");
    assert_eq!(world.get(&path(), &cookies.short()).status, 200);
    let seen = world.seen();
    let put = seen.iter().find(|seen| seen.starts_with("PUT /sessions/")).unwrap();
    let id: SessionId = put["PUT /sessions/".len()..].split('?').next().unwrap().parse().unwrap();
    world.revokes(&Revocations::new(0, [], [id]));
    assert_eq!(world.send("DELETE /session", &(cookies.both() + OWN)).status, 204);
    // What the instance itself remembers is for a second.
    world.driver.advance(1_000);
    assert_eq!(world.get(&path(), &cookies.short()).problem(), "token-revoked");
    let token = world.token("demo", "alice", "read");
    assert_eq!(world.get(&path(), &token).status, 200);
    assert_eq!(world.send("DELETE /session", &token).problem(), "invalid-field");
    world.seen();
    assert_eq!(world.send("DELETE /session?everywhere", &token).status, 204);
    assert_eq!(world.seen(), ["DELETE /sessions?"]);
}

#[test]
fn what_an_admin_revokes_counts_at_once() {
    let mut world = world();
    world.revokes(&Revocations::default());
    world.put(ID, Visibility::Private, b"hello");
    let alice = world.token("demo", "alice", "read write");
    assert_eq!(world.get(&path(), &alice).status, 200);
    assert_eq!(world.send("POST /revocations", &alice).problem(), "scope-missing");
    let admin = world.token("demo", "root", "admin");
    world.revokes(&Revocations::new(0, [("alice", NOW + 5)], []));
    assert_eq!(world.send("POST /revocations", &admin).status, 204);
    world.driver.advance(1_000);
    assert_eq!(world.get(&path(), &alice).problem(), "token-revoked");
}

#[test]
fn the_audit_log_is_for_admins() {
    let mut world = world();
    let alice = world.token("demo", "alice", "read write share");
    let admin = world.token("demo", "root", "admin");
    for line in ["GET /audit?after=5", "POST /audit/forgotten"] {
        assert_eq!(world.send(line, "").problem(), "token-missing");
        assert_eq!(world.send(line, &alice).problem(), "scope-missing");
        let asked = world.seen().into_iter().filter(|asked| !asked.contains("/audit/denials?"));
        assert!(
            asked.into_iter().all(|asked| !asked.contains("/audit")),
            "the origin is not asked"
        );
        world.send(line, &admin);
        assert_eq!(world.seen().last().map(String::as_str), Some(line));
    }
    assert_eq!(world.send("DELETE /audit", &admin).problem(), "method-not-allowed");
    assert_eq!(world.send("GET /audit/forgotten", &admin).problem(), "method-not-allowed");
}

#[test]
fn without_the_origin_what_was_revoked_stays_so() {
    let mut world = world();
    world.put(ID, Visibility::Private, b"hello");
    world.revokes(&Revocations::new(0, [("alice", NOW + 5)], []));
    let (alice, bob) = (world.token("demo", "alice", "read"), world.token("demo", "bob", "admin"));
    assert_eq!(world.get(&path(), &bob).status, 200);
    assert_eq!(world.get(&path(), &alice).problem(), "token-revoked");
    world.origin.down.set(Some(FetchError::Unreachable));
    for _ in 0..5 {
        world.driver.advance(20_000);
        assert_eq!(world.get(&path(), &alice).problem(), "token-revoked");
        assert_eq!(world.get(&path(), &bob).status, 200);
    }
    // Nobody asks again for a moment.
    world.seen();
    assert_eq!(world.get(&path(), &bob).status, 200);
    assert_eq!(world.asked_for_revocations(), 0);
    // An edge that has never heard of a tenant takes its tokens.
    let other = world.token("other", "carol", "read");
    assert_eq!(world.get("/session", &other).status, 200);
}

#[test]
fn operators_sign_in_anew() {
    let mut world = World::with(Abilities { purges: true, ..SIGNATURES }, |config| {
        config.step_up_s = 600;
    });
    let admin = world.token("demo", "root", "admin");
    let purge = |world: &mut World| world.send_body("POST /purge", &admin, b"{\"tags\": [\"a\"]}");
    assert_eq!(purge(&mut world).status, 200);
    world.driver.advance(599_000);
    assert_eq!(purge(&mut world).status, 200);
    world.driver.advance(2_000);
    let sent = purge(&mut world);
    assert_eq!((sent.status, sent.problem().as_str()), (401, "sign-in-too-old"));
    let challenge = sent.field("www-authenticate").unwrap();
    assert!(challenge.contains("insufficient_user_authentication"), "{challenge}");
    assert_eq!(world.get("/files", &admin).status, 404, "all else goes on");
}
