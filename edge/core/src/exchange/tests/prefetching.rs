//! What is fetched ahead, and what is told to be popular.

use super::*;
use crate::config::{Auth, Route};

const PREFETCHING: Abilities = Abilities {
    composes: true,
    fragments: true,
    prefetches: true,
    unannounced: true,
    ..SIGNATURES
};

fn prefetching() -> World {
    World::with(PREFETCHING, |config| {
        config.stored_bytes_max = 10_000;
        let route = |path: &str| Route {
            path: path.into(),
            proxy: Some("http://127.0.0.1:1".into()),
            auth: Auth::Optional,
            cache: true,
            ..Route::default()
        };
        config.routes = vec![
            Route { prefetch: true, ..route("/film/{*rest}") },
            route("/shop/{*rest}"),
            Route { esi: true, ..route("/page/{*rest}") },
            Route { auth: Auth::Required, ..route("/own/{*rest}") },
        ];
    })
}

impl World {
    fn stored_page(&self, target: &str, fields: &str, body: &str) {
        let fields = format!("cache-control: max-age=60|content-length: {}|{fields}", body.len());
        self.page(target, 200, &fields, body);
    }

    fn post(&mut self, target: &str, body: &str) -> Sent {
        let admin = self.token("demo", "root", "admin");
        self.send_body(&format!("POST {target}"), &admin, body.as_bytes())
    }

    fn ahead(&mut self) -> Vec<String> {
        self.driver.prefetch();
        self.seen()
    }
}

const PLAYLIST: &str = "content-type: application/vnd.apple.mpegurl";

#[test]
fn what_a_player_wants_next_is_there_already() {
    let mut world = prefetching();
    let playlist = "#EXTM3U\n#EXTINF:4,\nseg0.ts\n#EXTINF:4,\nseg1.ts\n#EXT-X-ENDLIST\n";
    world.stored_page("/film/a.m3u8", PLAYLIST, playlist);
    world.stored_page("/film/seg0.ts", "", "zero");
    world.stored_page("/film/seg1.ts", "link: </film/seg2.ts>; rel=next", "one");
    let sent = world.get("/film/a.m3u8", "");
    assert_eq!((sent.status, &*sent.body), (200, playlist.as_bytes()));
    assert_eq!(sent.field("content-length"), Some(&*playlist.len().to_string()));
    assert_eq!(world.seen(), ["GET /film/a.m3u8"]);
    // What is fetched ahead fetches nothing ahead.
    assert_eq!(world.ahead(), ["GET /film/seg0.ts", "GET /film/seg1.ts"]);
    assert_eq!(world.ahead(), [""; 0]);
    assert_eq!(world.get("/film/seg0.ts", "").ended, Ended::Cache);
    // A hit says nothing new.
    world.get("/film/a.m3u8", "");
    assert_eq!(world.ahead(), [""; 0]);
}

#[test]
fn what_is_fetched_ahead_or_included_spends_no_limit() {
    let mut world = prefetching();
    world.put(ID, Visibility::Public, b"hello");
    world.stored_page("/film/a", "link: <b>; rel=next, <c>; rel=next", "a");
    let template = "<esi:include src='/film/b'/><esi:include src='/film/c'/>";
    world.stored_page("/page/a", "content-type: text/html", template);
    for part in ["/film/b", "/film/c"] {
        world.stored_page(part, "", "part");
    }
    let left = |world: &mut World| {
        let sent = world.get(&path(), "");
        let limit = sent.field("ratelimit").unwrap().strip_prefix("\"read\";r=").unwrap();
        limit.split(';').next().unwrap().parse::<u32>().unwrap()
    };
    let before = left(&mut world);
    assert_eq!(world.get("/page/a", "").body, b"partpart");
    world.get("/film/a", "");
    world.seen();
    assert_eq!(world.ahead(), [""; 0], "they are there already");
    assert_eq!(left(&mut world), before - 3);
}

#[test]
fn links_are_followed_where_a_route_says_so() {
    let mut world = prefetching();
    for path in ["/film/a", "/shop/a"] {
        world.stored_page(
            path,
            "link: <b>; rel=prefetch, </shop/c>; rel=\"preload\"; as=style",
            "a",
        );
    }
    world.stored_page("/film/b", "", "b");
    world.stored_page("/shop/c", "", "c");
    world.get("/shop/a", "");
    world.seen();
    assert_eq!(world.ahead(), [""; 0]);
    world.get("/film/a", "");
    world.seen();
    assert_eq!(world.ahead(), ["GET /film/b", "GET /shop/c"]);
    // What is not stored is not followed.
    world.page("/film/d", 200, "cache-control: no-store|link: <b>; rel=next", "d");
    world.get("/film/d", "");
    world.seen();
    assert_eq!(world.ahead(), [""; 0]);
}

#[test]
fn who_may_purge_may_warm() {
    let mut world = prefetching();
    world.put(ID, Visibility::Private, b"hello");
    world.stored_page("/shop/a?b", "", "a");
    world.stored_page("/own/c", "cache-control: public", "c");
    let body =
        format!("{{\"urls\": [\"/shop/a?b\", \"http://edge/own/c\"], \"files\": [\"{ID}\"]}}");
    let sent = world.post("/warm", &body);
    assert_eq!((sent.status, &*sent.body), (202, &b"{\"queued\":3}"[..]));
    assert_eq!(
        world.ahead(),
        ["GET /shop/a?b".to_owned(), "GET /own/c".to_owned(), format!("GET /files/{ID}")]
    );
    let alice = world.token("demo", "alice", "read");
    assert_eq!(world.get("/shop/a?b", "").ended, Ended::Cache);
    assert_eq!(world.get(&path(), &alice).ended, Ended::Cache);
    for (body, what) in [
        ("", "EOF"),
        ("{}", "It names 0 things"),
        ("{\"urls\": [\"a\"]}", "is no URL that can be looked up"),
        ("{\"files\": [\"a\"]}", "is no file's id"),
        ("{\"url\": [\"/a\"]}", "unknown field"),
    ] {
        let refused = world.post("/warm", body);
        assert_eq!(refused.status, 400, "{body}");
        assert!(String::from_utf8_lossy(&refused.body).contains(what), "{body}");
    }
    let reader = world.token("demo", "alice", "read");
    assert_eq!(world.send_body("POST /warm", &reader, b"{\"urls\": [\"/a\"]}").status, 403);
    assert_eq!(world.ahead(), ["POST /audit/denials?method=POST&resource=warm"]);
}

#[test]
fn what_is_popular_on_one_node_warms_another() {
    let (mut world, mut other) = (prefetching(), prefetching());
    for world in [&world, &other] {
        world.put(ID, Visibility::Public, b"hello");
        for name in ["a", "b", "c"] {
            let fields = if name == "b" { "vary: accept-language" } else { "" };
            world.stored_page(&format!("/shop/{name}"), fields, name);
        }
    }
    for (target, times) in [("/shop/a", 2), ("/shop/b", 4), ("/shop/c", 1), (&*path(), 6)] {
        for _ in 0..times {
            world.get(target, "");
        }
    }
    let admin = world.token("demo", "root", "admin");
    let popular = world.get("/popular", &admin);
    let text = String::from_utf8(popular.body).unwrap();
    let urls =
        format!("{{\"urls\":[\"/files/{ID}\",\"http://edge/shop/b\",\"http://edge/shop/a\"]}}");
    assert_eq!((popular.status, &*text), (200, &*urls));
    assert_eq!(other.post("/warm", &text).status, 202);
    assert_eq!(
        other.ahead(),
        [format!("GET /files/{ID}"), "GET /shop/b".to_owned(), "GET /shop/a".to_owned()]
    );
    assert_eq!(world.get("/popular", "").status, 401);
    // Of other tenants' files nobody is told.
    let foreign = world.token("other", "root", "admin");
    let text = String::from_utf8(world.get("/popular", &foreign).body).unwrap();
    assert_eq!(text, "{\"urls\":[\"http://edge/shop/b\",\"http://edge/shop/a\"]}");
}

#[test]
fn nothing_is_fetched_ahead_where_the_driver_can_t() {
    let mut world = World::new(SIGNATURES);
    assert_eq!(world.post("/warm", "{\"urls\": [\"/a\"]}").status, 501);
    let admin = world.token("demo", "root", "admin");
    assert_eq!(world.get("/popular", &admin).status, 501);
}
