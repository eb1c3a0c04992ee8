//! Pages made of a template and of what it includes.

use super::*;
use crate::config::{Auth, Claim, Route};

const COMPOSING: Abilities =
    Abilities { composes: true, fragments: true, unannounced: true, purges: true, ..SIGNATURES };

/// `/page/…` may be templates; `/part/…` may not, `/mine/…` varies on the subject, and `/own/…` is
/// for who has a token.
fn composing() -> World {
    World::with(COMPOSING, |config| {
        config.stored_bytes_max = 10_000;
        let route = |path: &str| Route {
            path: path.into(),
            proxy: Some("http://127.0.0.1:1".into()),
            auth: Auth::Optional,
            cache: true,
            limit: Some("none".into()),
            ..Route::default()
        };
        config.routes = vec![
            Route { esi: true, ..route("/page/{*rest}") },
            route("/part/{*rest}"),
            Route { claims: vec![Claim::Subject], ..route("/mine/{*rest}") },
            Route { auth: Auth::Required, ..route("/own/{*rest}") },
        ];
    })
}

const HTML: &str = "content-type: text/html; charset=utf-8|cache-control: max-age=60|etag: \"a\"";

impl World {
    fn template(&self, body: &str) {
        self.page("/page/a", 200, HTML, body);
    }

    fn part(&self, target: &str, body: &str) {
        self.page(target, 200, "cache-control: max-age=60", body);
    }

    fn text(&mut self, fields: &str) -> String {
        let sent = self.get("/page/a", fields);
        assert_eq!(sent.status, 200, "{}", String::from_utf8_lossy(&sent.body));
        String::from_utf8(sent.body).unwrap()
    }
}

#[test]
fn a_page_is_made_of_its_template_and_what_that_includes() {
    let mut world = composing();
    world.template("<p><esi:include src=\"/part/b\"/>|<esi:include src='/part/c?d=e&amp;f'/></p>");
    world.part("/part/b", "B");
    world.part("/part/c?d=e&f", "C");
    let first = world.get("/page/a", "if-none-match: \"a\"\r\nrange: bytes=0-1\r\n");
    assert_eq!((first.status, &*first.body), (200, &b"<p>B|C</p>"[..]));
    assert_eq!(first.field("cache-status"), Some("outport; fwd=uri-miss; fwd-status=200; stored"));
    assert_eq!(first.field("cache-control"), Some("private, no-cache"));
    assert_eq!(first.field("content-type"), Some("text/html; charset=utf-8"));
    for gone in ["etag", "content-length", "age", "last-modified", "expires"] {
        assert_eq!(first.field(gone), None, "{gone}");
    }
    assert_eq!(world.seen(), ["GET /page/a", "GET /part/b", "GET /part/c?d=e&f"]);
    let second = world.get("/page/a", "");
    assert_eq!((&*second.body, second.ended), (&b"<p>B|C</p>"[..], Ended::Cache));
    assert_eq!(second.field("cache-status"), Some("outport; hit; ttl=60"));
    assert_eq!(world.seen(), [] as [&str; 0]);
    let head = world.send("HEAD /page/a", "");
    assert_eq!((head.status, &*head.body, head.field("etag")), (200, &b""[..], None));
    // Nobody gets the template itself.
    for fields in ["if-match: *\r\n", "content-length: 0\r\n", "if-unmodified-since: x\r\n"] {
        assert_eq!(world.get("/page/a", fields).body, b"<p>B|C</p>", "{fields}");
    }
}

#[test]
fn each_part_is_stored_by_its_own_rules() {
    let mut world = composing();
    world.template("<esi:include src='/part/b'/><esi:include src='/part/c'/>");
    world.page("/part/b", 200, "cache-control: no-store", "B");
    world.part("/part/c", "C");
    assert_eq!(world.text(""), "BC");
    assert_eq!(world.text(""), "BC");
    assert_eq!(world.seen(), ["GET /page/a", "GET /part/b", "GET /part/c", "GET /part/b"]);
    // A template that is not stored is composed as well.
    world.page(
        "/page/a",
        200,
        "content-type: text/html|cache-control: no-store",
        "<esi:include src='/part/c'/>!",
    );
    world.driver.advance(61_000);
    assert_eq!(world.text(""), "C!");
    assert_eq!(world.text(""), "C!");
    // One that is stale is sent, composed, and validated behind the client's back.
    let while_validated =
        "content-type: text/html|cache-control: max-age=1, stale-while-revalidate=60";
    world.page("/page/a", 200, while_validated, "<esi:include src='/part/c'/>?");
    world.driver.advance(11_000);
    assert_eq!(world.text(""), "C?");
    world.driver.advance(2_000);
    world.page("/page/a", 200, while_validated, "<esi:include src='/part/c'/>*");
    assert_eq!(world.text(""), "C?");
    assert_eq!(world.text(""), "C*");
}

#[test]
fn what_is_no_template_is_sent_as_it_is() {
    let mut world = composing();
    world.page(
        "/page/a",
        200,
        "content-type: text/css|content-length: 28|cache-control: max-age=60|etag: \"a\"",
        "<esi:include src='/part/b'/>",
    );
    assert_eq!(world.text(""), "<esi:include src='/part/b'/>");
    assert_eq!(world.get("/page/a", "range: bytes=0-3\r\n").status, 206);
    assert_eq!(world.get("/page/a", "if-none-match: \"a\"\r\n").status, 304);
    world.page("/part/d", 200, HTML, "<esi:include src='/part/b'/>");
    assert_eq!(world.get("/part/d", "").body, b"<esi:include src='/part/b'/>");
}

#[test]
fn what_can_t_be_had_is_replaced_left_out_or_breaks_the_page_off() {
    let mut world = composing();
    world.part("/part/b", "B");
    world.page("/part/gone", 404, "cache-control: no-store", "not this");
    world.page("/part/coded", 200, "content-encoding: gzip", "nor this");
    world.page("/part/half", 206, "content-range: bytes 0-3/9", "half");
    world.page("/part/moved", 302, "location: /part/b", "nor this");
    for (template, page) in [
        ("a<esi:include src='/part/gone' alt='/part/b'/>c", "aBc"),
        ("a<esi:include src='/part/gone' onerror='continue'/>c", "ac"),
        ("a<esi:include src='/part/coded' onerror='continue'/>c", "ac"),
        ("a<esi:include src='/part/half' onerror='continue'/>c", "ac"),
        ("a<esi:include src='/part/moved' onerror='continue'/>c", "ac"),
        ("a<esi:include src='/part/gone' alt='/part/gone' onerror='continue'/>c", "ac"),
        ("a<esi:include src='/files/x' onerror='continue'/>c", "ac"),
        ("a<esi:include src='/own/x' onerror='continue'/>c", "ac"),
        ("a<esi:include src='/part/../own/x' onerror='continue'/>c", "ac"),
        (
            "<esi:try><esi:attempt>a<esi:include src='/part/b'/><esi:include src='/part/gone'/></esi:attempt>\
             <esi:except>x<esi:include src='/part/b'/></esi:except></esi:try>c",
            "xBc",
        ),
        (
            "<esi:try><esi:attempt>a<esi:include src='/part/b'/>-</esi:attempt>\
             <esi:except>x</esi:except></esi:try>c",
            "aB-c",
        ),
    ] {
        world.driver.advance(61_000);
        world.template(template);
        assert_eq!(world.text(""), page, "{template}");
    }
    world.driver.advance(61_000);
    world.template("a<esi:include src='/part/gone'/>c");
    world.origin.breaks.set(true);
    assert_eq!(world.text(""), "a");
}

#[test]
fn who_gives_a_part_less_time_does_not_decide_for_others() {
    let mut world = composing();
    world.template("<esi:include src='/part/b' maxwait='5' onerror='continue'/>");
    world.page("/part/b", 200, "cache-control: max-age=1, must-revalidate", "B");
    assert_eq!(world.text(""), "B");
    world.driver.advance(2_000);
    world.origin.down.set(Some(FetchError::Timeout));
    assert_eq!(world.text(""), "");
    world.origin.down.set(None);
    world.part("/part/b", "B");
    assert_eq!(world.text(""), "B");
}

#[test]
fn a_part_is_for_who_asks_for_the_page() {
    let mut world = composing();
    world.template(
        "<esi:vars>Hello $(CLAIM{subject}|you)</esi:vars>: <esi:include src='/mine/b'/>,\
         <esi:include src='/mine/c?for=$(CLAIM{subject})'/>,<esi:include src='/own/d' onerror='continue'/>",
    );
    let stored = "cache-control: s-maxage=60";
    world.page("/mine/b", 200, stored, "[@subject]");
    world.page("/own/d", 200, stored, "own");
    for name in ["alice", "o%27neil", ""] {
        world.page(&format!("/mine/c?for={name}"), 200, stored, &format!("({name})"));
    }
    let (alice, oneil) =
        (world.token("demo", "alice", "read"), world.token("demo", "o'neil", "read"));
    for _ in 0..2 {
        assert_eq!(world.text(&alice), "Hello alice: [alice],(alice),own");
        assert_eq!(world.text(&oneil), "Hello o&#39;neil: [o'neil],(o%27neil),own");
        assert_eq!(world.text(""), "Hello you: [],(),");
    }
    let mut seen = world.seen();
    seen.sort_unstable();
    let mine: Vec<_> = seen.iter().filter(|line| line.contains("/mine/")).collect();
    assert_eq!(mine.len(), 6, "each has its own, and once: {seen:?}");
    // A reference with a claim that the route does not vary on is not asked for.
    world.driver.advance(61_000);
    world.template("a<esi:include src='/part/c?for=$(CLAIM{subject})' onerror='continue'/>c");
    world.page("/part/c?for=alice", 200, stored, "not this");
    assert_eq!(world.text(&alice), "ac");
}

#[test]
fn what_varies_on_claims_is_gone_for_all_after_a_change() {
    let mut world = composing();
    world.page("/mine/b", 200, "cache-control: s-maxage=60", "[@subject]");
    let (alice, bob) = (world.token("demo", "alice", "read"), world.token("demo", "bob", "read"));
    let get = |world: &mut World, who: &str| world.get("/mine/b", who).ended;
    get(&mut world, &alice);
    get(&mut world, &bob);
    assert_eq!((get(&mut world, &alice), get(&mut world, &bob)), (Ended::Cache, Ended::Cache));
    assert_eq!(world.send("POST /mine/b", &alice).status, 200);
    assert_eq!((get(&mut world, &alice), get(&mut world, &bob)), (Ended::Origin, Ended::Origin));
}

#[test]
fn parts_may_be_pages_but_not_without_end() {
    let mut world = composing();
    world.template("a<esi:include src='b' onerror='continue'/>");
    world.page("/page/b", 200, HTML, "b<esi:include src='/page/a' onerror='continue'/>");
    // The page itself, and two below it; what would be the third has includes again.
    assert_eq!(world.text(""), "aba");
    let many = "<esi:include src='/part/b'/>".repeat(65);
    world.driver.advance(61_000);
    world.template(&many);
    let refused = world.get("/page/a", "");
    assert_eq!((refused.status, &*refused.problem()), (502, "not-composable"));
}

#[test]
fn a_template_that_is_wrong_is_told() {
    let mut world = composing();
    world.template("ab<esi:choose>");
    for _ in 0..2 {
        let sent = world.get("/page/a", "");
        assert_eq!((sent.status, &*sent.problem()), (502, "not-composable"));
        let document: serde_json::Value = serde_json::from_slice(&sent.body).unwrap();
        assert_eq!(document["at"], 2);
    }
    world.page("/page/a", 200, "content-type: text/html|content-length: 1048577", "a");
    world.driver.advance(61_000);
    assert_eq!(&*world.get("/page/a", "").problem(), "not-composable");
    world.page("/page/a", 200, "content-type: text/html|content-encoding: gzip", "a");
    world.driver.advance(11_000);
    assert_eq!(&*world.get("/page/a", "").problem(), "not-composable");
    // Of an unknown length, it shows when it is read; nobody asks for a moment then.
    world.seen();
    world.driver.advance(11_000);
    world.page("/page/a", 200, HTML, &"a".repeat((1 << 20) + 1));
    assert_eq!(&*world.get("/page/a", "").problem(), "not-composable");
    assert_eq!(world.get("/page/a", "").status, 502);
    assert_eq!(world.seen().len(), 1);
    world.driver.advance(1_001);
    world.template("whole");
    assert_eq!(world.text(""), "whole");
}

#[test]
fn nothing_is_composed_where_the_driver_can_t() {
    let abilities = Abilities { fragments: false, ..COMPOSING };
    let mut world = World::with(abilities, |config| {
        config.routes.push(Route {
            path: "/page/{*rest}".into(),
            proxy: Some("http://127.0.0.1:1".into()),
            auth: Auth::None,
            cache: true,
            esi: true,
            ..Route::default()
        });
    });
    world.template("<esi:include src='/part/b'/>");
    assert_eq!(world.text(""), "<esi:include src='/part/b'/>");
}

#[test]
fn a_page_is_encoded_while_it_is_sent() {
    let abilities = Abilities { encodes: true, ..COMPOSING };
    let mut world = World::with(abilities, |config| {
        config.routes.push(Route {
            path: "/page/{*rest}".into(),
            proxy: Some("http://127.0.0.1:1".into()),
            auth: Auth::None,
            cache: true,
            compress: true,
            esi: true,
            ..Route::default()
        });
    });
    world.template("<esi:include src='b'/>!");
    world.page("/page/b", 200, HTML, "B");
    for _ in 0..2 {
        let sent = world.get("/page/a", "accept-encoding: gzip, br\r\n");
        assert_eq!((sent.status, sent.field("content-encoding")), (200, Some("br")));
        assert_eq!(sent.field("vary"), Some("accept-encoding"));
        assert_eq!(sent.body, b"brB\x01!\x01");
        let plain = world.get("/page/a", "");
        assert_eq!((&*plain.body, plain.field("content-encoding")), (&b"B!"[..], None));
        assert_eq!(plain.field("vary"), Some("accept-encoding"));
    }
    let head = world.send("HEAD /page/a", "accept-encoding: br\r\n");
    assert_eq!(head.field("content-encoding"), Some("br"));
}
