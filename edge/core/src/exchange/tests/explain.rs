//! What is said of what is stored.

use serde_json::{Value, json};

use super::*;
use crate::config::{Auth, Route};

/// A world with a cached route.
fn explaining() -> World {
    World::with(SIGNATURES, |config| {
        config.routes.push(Route {
            path: "/shop/{*rest}".into(),
            proxy: Some("http://127.0.0.1:1".into()),
            auth: Auth::None,
            cache: true,
            limit: Some("none".into()),
            ..Route::default()
        });
    })
}

impl World {
    fn gives(&self, target: &str, fields: &str) {
        self.page(target, 200, &format!("content-length: 4|{fields}"), "page");
    }

    fn explain(&mut self, url: &str, fields: &str) -> Value {
        let token = self.token("demo", "alice", "admin");
        let url = url.replace('?', "%3F").replace('=', "%3D");
        let sent = self.get(&format!("/explain?url={url}"), &format!("{token}{fields}"));
        assert_eq!((sent.status, sent.field("cache-control")), (200, Some("no-store")));
        serde_json::from_slice(&sent.body).unwrap()
    }
}

#[test]
fn a_route_that_is_stored() {
    let mut world = explaining();
    let fields = "cache-control: no-store|cdn-cache-control: max-age=60|cache-tag: a";
    world.gives("/shop/a?b=c", fields);
    let before = world.explain("/shop/a?b=c", "");
    assert_eq!((&before["stored"], &before["next"]), (&json!(false), &json!("miss")));
    assert_eq!(world.seen(), [] as [&str; 0], "nothing is fetched to explain it");
    world.get("/shop/a?b=c", "");
    world.driver.advance(5_000);
    let stored = world.explain("/shop/a?b=c", "");
    for (name, value) in [
        ("resource", json!("route /shop/{*rest}")),
        ("key", before["key"].clone()),
        ("stored", json!(true)),
        ("status", json!(200)),
        ("next", json!("hit")),
        ("age_s", json!(5)),
        ("lifetime_s", json!(60)),
        ("fresh_for_s", json!(55)),
        ("lifetime_from", json!("max-age=60 of cdn-cache-control")),
        ("tags", json!(["a"])),
    ] {
        assert_eq!(stored[name], value, "{name}: {stored}");
    }
    assert_eq!(world.explain("http://edge/shop/a?b=c", "")["stored"], json!(true));
    assert_eq!(world.explain("https://edge/shop/a?b=c", "")["stored"], json!(false));
    assert_eq!(world.explain("http://other/shop/a?b=c", "")["stored"], json!(false));
    let insisting = world.explain("/shop/a?b=c", "cache-control: no-cache\r\n");
    assert_eq!(insisting["next"], json!("validation"), "{insisting}");
    world.driver.advance(56_000);
    assert_eq!(world.explain("/shop/a?b=c", "")["because"], json!("It is stale."));
    assert_eq!(world.seen(), ["GET /shop/a?b=c"]);
}

#[test]
fn a_dictionary_tells_what_it_is_for() {
    let abilities = Abilities { encodes: true, dictionaries: true, ..SIGNATURES };
    let mut world = World::with(abilities, |config| {
        config.trusted_proxies.push("192.0.2.1".into());
        config.routes.push(Route {
            path: "/shop/{*rest}".into(),
            proxy: Some("http://127.0.0.1:1".into()),
            auth: Auth::None,
            cache: true,
            compress: true,
            dictionaries: true,
            limit: Some("none".into()),
            ..Route::default()
        });
    });
    for (target, of, told) in [
        ("/shop/a/b", "match=\"*.js?v=*\"", json!("/shop/a/*.js?v=*")),
        ("/shop/a/c", "match=\"https://other/*\"", Value::Null),
    ] {
        world.gives(target, &format!("cache-control: max-age=60|use-as-dictionary: {of}"));
        let url = format!("https://edge{target}");
        assert_eq!(world.explain(&url, "")["stored"], json!(false));
        world.get(target, "x-forwarded-proto: https\r\n");
        assert_eq!(world.explain(&url, "")["dictionary_for"], told);
    }
}

#[test]
fn an_answer_that_varies() {
    let mut world = explaining();
    world.gives("/shop/a", "cache-control: max-age=60|vary: accept-language");
    world.get("/shop/a", "accept-language: de\r\n");
    let german = world.explain("/shop/a", "accept-language: de\r\n");
    assert_eq!(
        (&german["next"], &german["varies_on"]),
        (&json!("hit"), &json!(["accept-language"]))
    );
    let french = world.explain("/shop/a", "accept-language: fr\r\n");
    assert_eq!((&french["next"], &french["stored"]), (&json!("miss"), &json!(false)));
    assert_ne!(german["key"], french["key"]);
}

#[test]
fn why_an_answer_is_not_stored() {
    let mut world = explaining();
    for (fields, why) in [
        ("cache-control: private", "private"),
        ("cache-control: no-store", "no-store"),
        ("vary: *|cache-control: max-age=5", "vary"),
        ("x: y", "no-freshness"),
    ] {
        let target = format!("/shop/{why}");
        world.gives(&target, fields);
        world.get(&target, "");
        let told = world.explain(&target, "");
        assert_eq!((&told["not_stored"], &told["next"]), (&json!(why), &json!("pass")), "{told}");
        assert!(told["would_help"].is_string());
    }
}

#[test]
fn a_file() {
    let mut world = explaining();
    world.put(ID, Visibility::Private, b"hello");
    assert_eq!(world.explain(&path(), "")["next"], json!("miss"));
    let owner = world.token("demo", "alice", "read");
    world.get(&path(), &owner);
    let told = world.explain(&path(), "");
    for (name, value) in [
        ("resource", json!(format!("file {ID}"))),
        ("contents", json!("whole")),
        ("size", json!(5)),
        ("visibility", json!("private")),
        ("next", json!("hit")),
        ("lifetime_s", json!(60)),
    ] {
        assert_eq!(told[name], value, "{name}: {told}");
    }
}

#[test]
fn what_no_cache_has_a_part_in() {
    let mut world = explaining();
    for url in ["/files", "/healthz", "/nowhere"] {
        assert_eq!(world.explain(url, "")["next"], json!("pass"), "{url}");
    }
}

#[test]
fn who_may_ask_and_how() {
    let mut world = explaining();
    let reader = world.token("demo", "alice", "read write share");
    assert_eq!(world.get("/explain?url=/shop/a", &reader).status, 403);
    assert_eq!(world.get("/explain?url=/shop/a", "").status, 401);
    let admin = world.token("demo", "alice", "admin");
    for query in ["", "?url=", "?url=shop", "?url=//x/y", "?url=ftp://x/", "?url=/a%0d%0ab:c"] {
        let refused = world.get(&format!("/explain{query}"), &admin);
        assert_eq!((refused.status, &*refused.problem()), (400, "invalid-field"), "{query}");
    }
}

#[test]
fn beside_an_answer() {
    let mut world = explaining();
    world.gives("/shop/a", "cache-control: max-age=60");
    world.gives("/shop/cart", "cache-control: private");
    world.put(ID, Visibility::Private, b"hello");
    let admin = world.token("demo", "alice", "admin").replace("authorization", "outport-explain");
    let owner = world.token("demo", "alice", "read");
    let mut beside = |target: &str, fields: &str| {
        let sent = world.get(target, &format!("{admin}{fields}"));
        let told: Value = serde_json::from_str(sent.field("outport-explain").unwrap()).unwrap();
        let plain = world.get(target, fields);
        assert_eq!((plain.field("outport-explain"), plain.status), (None, sent.status));
        told
    };
    for (target, stored, next) in [
        ("/shop/a", json!(true), "hit"),
        ("/shop/a", json!(true), "hit"),
        ("/shop/cart", json!(false), "pass"),
        ("/shop/cart", json!(false), "pass"),
        ("/files", json!(false), "pass"),
    ] {
        let told = beside(target, if target == "/files" { &owner } else { "" });
        assert_eq!((&told["stored"], &told["next"]), (&stored, &json!(next)), "{target}: {told}");
    }
    assert_eq!(beside("/shop/a", "")["lifetime_from"], json!("max-age=60 of cache-control"));
    assert!(beside("/shop/cart", "")["would_help"].is_string());
    assert_eq!(beside(&path(), &owner)["size"], json!(5));
    assert!(!world.seen().iter().any(|seen| seen.contains("explain")));
}

#[test]
fn a_key_that_is_told_beside_an_answer_is_the_one_that_explains_it() {
    let mut world = explaining();
    world.gives("/shop/a", "cache-control: max-age=60|vary: accept-language");
    let admin = world.token("demo", "alice", "admin").replace("authorization", "outport-explain");
    for _ in 0..2 {
        let sent = world.get("/shop/a", &format!("{admin}accept-language: de\r\n"));
        let told: Value = serde_json::from_str(sent.field("outport-explain").unwrap()).unwrap();
        let explained = world.explain("/shop/a", "accept-language: de\r\n");
        assert_eq!((&told["key"], &told["next"]), (&explained["key"], &explained["next"]));
    }
}

#[test]
fn admins_are_told_of_their_own_tenants_files() {
    let mut world = explaining();
    world.put(ID, Visibility::Public, b"hello");
    world.get(&path(), "");
    let stranger = world.token("other", "eve", "admin");
    let explained = world.get(&format!("/explain?url={}", path()), &stranger);
    let explained: Value = serde_json::from_slice(&explained.body).unwrap();
    let beside = stranger.replace("authorization", "outport-explain");
    let told = world.get(&path(), &beside);
    let told: Value = serde_json::from_str(told.field("outport-explain").unwrap()).unwrap();
    for told in [explained, told] {
        assert_eq!((&told["stored"], &told["size"]), (&json!(false), &Value::Null), "{told}");
    }
}

#[test]
fn who_may_be_told_beside_an_answer() {
    let mut world = explaining();
    world.gives("/shop/a", "cache-control: max-age=60");
    let beside = |token: &str| token.replace("authorization", "outport-explain");
    let reader = beside(&world.token("demo", "alice", "read"));
    let refused = world.get("/shop/a", &reader);
    assert_eq!((refused.status, &*refused.problem()), (403, "scope-missing"));
    for (field, problem) in [("Bearer x", "token-malformed"), ("x", "token-malformed")] {
        let refused = world.get("/shop/a", &format!("outport-explain: {field}\r\n"));
        assert_eq!((refused.status, &*refused.problem()), (401, problem));
    }
    let forged = Mint::new().token("demo", "alice", "admin");
    let forged = format!("outport-explain: Bearer {forged}\r\n");
    let refused = world.get("/shop/a", &forged);
    assert_eq!((refused.status, &*refused.problem()), (401, "token-untrusted"));
    assert_eq!(world.seen(), [] as [&str; 0]);
}

#[test]
fn where_operators_are_named_the_admins_of_other_tenants_are_none() {
    let mut world = World::with(SIGNATURES, |config| config.operators = vec!["ops".into()]);
    let theirs = world.token("demo", "alice", "admin");
    let ours = world.token("ops", "olga", "admin");
    for line in ["GET /explain?url=/files", "POST /purge", "POST /warm", "GET /popular"] {
        let refused = world.send(line, &theirs);
        assert_eq!((refused.status, &*refused.problem()), (403, "scope-missing"), "{line}");
        assert_ne!(world.send(line, &ours).status, 403, "{line}");
    }
    let beside = |token: &str| token.replace("authorization", "outport-explain");
    assert_eq!(world.get("/healthz", &beside(&theirs)).status, 403);
    assert_eq!(world.get("/healthz", &beside(&ours)).status, 200);
}
