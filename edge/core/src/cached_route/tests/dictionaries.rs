//! Dictionaries, and answers that are encoded against them (RFC 9842).

use base64::prelude::{BASE64_STANDARD, Engine as _};
use sha2::{Digest as _, Sha256};

use super::*;
use crate::config::Claim;

const ABILITIES: Abilities = Abilities {
    signatures: false,
    request_trailers: false,
    interim: false,
    durable: None,
    unannounced: true,
    encodes: true,
    purges: true,
    composes: true,
    slices: true,
    fragments: true,
    prefetches: true,
    documents: false,
    dictionaries: true,
    escalates: false,
    shares: false,
};

const OLD: &str = concat!(
    "The first of them was written in a hurry, by somebody who knew what was wanted and not why. ",
    "It says so in many words, and none of them is there twice in a row; so that a driver in memory, ",
    "whose coding knows runs alone, makes nothing of it that is any smaller than it was before. ",
    "The end of it is old.",
);
const NEW: &str = concat!(
    "The first of them was written in a hurry, by somebody who knew what was wanted and not why. ",
    "It says so in many words, and none of them is there twice in a row; so that a driver in memory, ",
    "whose coding knows runs alone, makes nothing of it that is any smaller than it was before. ",
    "The end of it is new, and longer.",
);
const OFFERED: &str = "cache-control: max-age=60|content-type: text/javascript|\
                       use-as-dictionary: match=\"/app/*\", id=\"one\"";
const NEWER: &str = "cache-control: max-age=60|content-type: text/javascript|etag: \"n\"";
/// What a browser is told that is new, and was encoded against what is old.
const AGAINST_OLD: &str = "dcz 296 gzip";

type Answered = Option<(u16, &'static str, &'static str)>;

const OLD_AND_NEW: [Answered; 2] = [Some((200, OFFERED, OLD)), Some((200, NEWER, NEW))];

fn open() -> Route {
    Route { compress: true, dictionaries: true, ..route() }
}

fn world(routes: Vec<Route>, abilities: Abilities, script: &[Answered]) -> World {
    let mut world = World::with(script, abilities);
    let mut config = config();
    config.trusted_proxies.push("192.0.2.1".into());
    config.routes.extend(routes);
    world.edge = Edge::new(config, abilities).unwrap();
    world
}

fn digest(dictionary: &str) -> String {
    format!(":{}:", BASE64_STANDARD.encode(Sha256::digest(dictionary)))
}

fn has(dictionary: &str) -> String {
    let digest = digest(dictionary);
    format!("accept-encoding: gzip, br, zstd, dcb, dcz\r\navailable-dictionary: {digest}\r\n")
}

const SECURE: &str = "x-forwarded-proto: https\r\n";

impl World {
    /// Asks from an encrypted page.
    fn securely(&mut self, target: &str, fields: &str) -> Sent {
        self.send(&format!("GET {target}"), &format!("{SECURE}{fields}"))
    }

    /// Asks for what is old, and then for what is new with the dictionary that this is.
    fn old_then_new(&mut self, fields: &str) -> Sent {
        self.securely("/app/1.js", fields);
        self.securely("/app/2.js", &format!("{fields}{}", has(OLD)))
    }

    /// The coding in which what is stored at a target is sent to who has this dictionary.
    fn coding(&mut self, target: &str, dictionary: &str) -> String {
        self.securely(target, &has(dictionary)).field("content-encoding").to_owned()
    }
}

#[test]
fn what_is_new_is_encoded_against_what_is_old() {
    let mut world = world(vec![open()], ABILITIES, &OLD_AND_NEW);
    let old = world.securely("/app/1.js", "accept-encoding: dcz\r\n");
    assert_eq!((old.field("content-encoding"), &*old.body), ("", OLD), "it has no dictionary");
    assert_eq!(old.field("vary"), "accept-encoding, available-dictionary");
    assert_eq!(old.field("use-as-dictionary"), "match=\"/app/*\", id=\"one\"");
    let has = has(OLD);
    let fields = format!("{has}dictionary-id: \"one\"\r\n");
    let first = world.securely("/app/2.js", &fields);
    for name in ["accept-encoding", "available-dictionary", "dictionary-id"] {
        assert_eq!(world.last_seen(name), None, "{name}");
    }
    let while_sent = |sent: &Sent| {
        assert_eq!((sent.status, sent.field("content-encoding")), (200, "dcz"));
        assert_eq!(sent.field("vary"), "accept-encoding, available-dictionary");
        assert_eq!(sent.field("etag"), "W/\"n-dcz\"");
        assert!(sent.body.starts_with(AGAINST_OLD), "{}", sent.body);
    };
    while_sent(&first);
    assert_eq!(first.field("cache-status"), "outport; fwd=uri-miss; fwd-status=200; stored");
    while_sent(&world.securely("/app/2.js", &has));
    let well = world.securely("/app/2.js", &has);
    while_sent(&well);
    assert_eq!(well.field("content-length"), well.body.len().to_string(), "it is a form");
    assert_eq!(world.seen(), 2);
}

#[test]
fn what_names_more_to_be_fetched_has_one_too() {
    let routes = vec![Route { prefetch: true, ..open() }];
    let mut world = world(routes, ABILITIES, &OLD_AND_NEW);
    assert_eq!(world.old_then_new("").field("content-encoding"), "dcz");
}

#[test]
fn ranges_and_conditions_are_of_the_plain_body() {
    let new: &'static str = format!("{NEWER}|content-length: {}", NEW.len()).leak();
    let script = [OLD_AND_NEW[0], Some((200, new, NEW))];
    let mut world = world(vec![open()], ABILITIES, &script);
    world.old_then_new("");
    for tag in ["\"n\"", "W/\"n-dcz\"", "W/\"n-br\""] {
        let fields = format!("{}if-none-match: {tag}\r\n", has(OLD));
        let known = world.securely("/app/2.js", &fields);
        assert_eq!((known.status, known.field("vary").contains("available")), (304, true), "{tag}");
    }
    let fields = format!("{}range: bytes=0-8\r\n", has(OLD));
    let part = world.securely("/app/2.js", &fields);
    assert_eq!((part.status, part.field("content-encoding"), &*part.body), (206, "", &NEW[..9]));
    let head = world.send("HEAD /app/2.js", &format!("{SECURE}{}", has(OLD)));
    assert_eq!((head.field("content-encoding"), &*head.body), ("dcz", ""));
}

#[test]
fn who_does_not_ask_for_it_gets_the_ordinary_codings() {
    let digest = digest(OLD);
    for (fields, coding) in [
        (format!("accept-encoding: br, dcb\r\navailable-dictionary: {digest}\r\n"), "br"),
        (format!("accept-encoding: *\r\navailable-dictionary: {digest}\r\n"), "zstd"),
        (format!("accept-encoding: br, dcz;q=0\r\navailable-dictionary: {digest}\r\n"), "br"),
        (format!("available-dictionary: {digest}\r\n"), ""),
        ("accept-encoding: br, dcz\r\n".to_owned(), "br"),
        ("accept-encoding: br, dcz\r\navailable-dictionary: :AAAA:\r\n".to_owned(), "br"),
        ("accept-encoding: br, dcz\r\navailable-dictionary: nonsense\r\n".to_owned(), "br"),
        (has("what nobody has stored"), "zstd"),
    ] {
        let mut world = world(vec![open()], ABILITIES, &OLD_AND_NEW);
        world.securely("/app/1.js", "");
        for _ in 0..2 {
            let sent = world.securely("/app/2.js", &fields);
            assert_eq!((sent.status, sent.field("content-encoding")), (200, coding), "{fields}");
        }
    }
}

#[test]
fn what_is_no_dictionary() {
    for fields in [
        "",
        "use-as-dictionary: match=\"/other/*\"",
        "use-as-dictionary: match=\"https://y/app/*\"",
        "use-as-dictionary: match=\"/app/(.*)\"",
        "use-as-dictionary: match=\"/app/*\", type=other",
        "use-as-dictionary: id=\"one\"",
        "use-as-dictionary: match=\"/app/*\"|content-encoding: identity",
        // What not everybody gets.
        "use-as-dictionary: match=\"/app/*\"|vary: cookie",
        "use-as-dictionary: match=\"/app/*\"|vary: accept-encoding, accept-language",
    ] {
        let fields = format!("cache-control: max-age=60|content-type: text/plain|{fields}");
        let old: &'static str = fields.leak();
        let mut world = world(vec![open()], ABILITIES, &[Some((200, old, OLD)), OLD_AND_NEW[1]]);
        let sent = world.old_then_new("");
        assert_eq!((sent.status, sent.field("content-encoding")), (200, "zstd"), "{old}");
    }
    let missing = Some((404, OFFERED, OLD));
    let mut world = world(vec![open()], ABILITIES, &[missing, OLD_AND_NEW[1]]);
    assert_eq!(world.old_then_new("").field("content-encoding"), "zstd");
}

#[test]
fn what_varies_on_the_coding_alone_is_a_dictionary_and_has_one() {
    let old = "cache-control: max-age=60|content-type: text/plain|vary: Accept-Encoding|\
               use-as-dictionary: match=\"/app/*\"";
    let new = "cache-control: max-age=60|content-type: text/plain|\
               vary: accept-encoding, available-dictionary";
    let mut world = world(vec![open()], ABILITIES, &[Some((200, old, OLD)), Some((200, new, NEW))]);
    assert_eq!(world.old_then_new("").field("content-encoding"), "dcz");
    assert_eq!(world.coding("/app/2.js", OLD), "dcz");
    assert_eq!((world.coding("/app/2.js", NEW).as_str(), world.seen()), ("zstd", 2));
}

#[test]
fn what_not_everybody_gets_is_encoded_against_nothing() {
    for fields in ["vary: cookie", "vary: accept-language"] {
        let fields = format!("cache-control: max-age=60|content-type: text/plain|{fields}");
        let new: &'static str = fields.leak();
        let script = [OLD_AND_NEW[0], Some((200, new, NEW))];
        let mut world = world(vec![open()], ABILITIES, &script);
        let sent = world.old_then_new("");
        assert_eq!(sent.field("content-encoding"), "zstd", "{new}");
        assert!(!sent.fields.contains("available-dictionary"), "{}", sent.fields);
        assert_eq!(world.coding("/app/2.js", OLD), "zstd");
    }
    let private = "cache-control: private, max-age=60|content-type: text/plain";
    let script = [OLD_AND_NEW[0], Some((200, private, NEW))];
    let mut world = world(vec![open()], ABILITIES, &script);
    let sent = world.old_then_new("");
    assert_eq!((sent.field("content-encoding"), &*sent.body), ("", NEW), "it only passes");
}

#[test]
fn who_says_who_they_are_has_no_part_in_it() {
    let public = "cache-control: public, max-age=60|content-type: text/plain|\
                  use-as-dictionary: match=\"/app/*\"";
    let script = [Some((200, public, OLD)), Some((200, public, NEW))];
    let token = "authorization: Bearer x\r\n";
    let mut world = world(vec![open()], ABILITIES, &script);
    assert_eq!(world.old_then_new(token).field("content-encoding"), "zstd");
    assert_eq!(world.coding("/app/2.js", OLD), "zstd", "what was stored for them is none");
}

#[test]
fn a_dictionary_is_of_its_own_scheme_and_authority() {
    let script = || [OLD_AND_NEW[0], OLD_AND_NEW[1], OLD_AND_NEW[1]];
    for other in ["x-forwarded-host: y\r\n", "x-forwarded-host: x:8443\r\n"] {
        let mut world = world(vec![open()], ABILITIES, &script());
        world.securely("/app/1.js", "");
        let sent = world.securely("/app/2.js", &format!("{other}{}", has(OLD)));
        assert_eq!((sent.status, sent.field("content-encoding")), (200, "zstd"), "{other}");
        assert_eq!(world.coding("/app/2.js", OLD), "dcz");
    }
    // Of this machine, both schemes may be used, and neither has the other's dictionaries.
    let mut world = world(vec![open()], ABILITIES, &script());
    let local = "x-forwarded-host: localhost:8080\r\n";
    world.securely("/app/1.js", local);
    let sent = world.send("GET /app/2.js", &format!("{local}{}", has(OLD)));
    assert_eq!(sent.field("content-encoding"), "zstd");
    let sent = world.securely("/app/2.js", &format!("{local}{}", has(OLD)));
    assert_eq!(sent.field("content-encoding"), "dcz");
}

#[test]
fn what_is_not_encrypted_has_none_but_on_this_machine() {
    for (host, coding) in [("x", "zstd"), ("localhost", "dcz"), ("127.0.0.1:8080", "dcz")] {
        let mut world = world(vec![open()], ABILITIES, &OLD_AND_NEW);
        let host = format!("x-forwarded-host: {host}\r\n");
        world.send("GET /app/1.js", &host);
        let sent = world.send("GET /app/2.js", &format!("{host}{}", has(OLD)));
        assert_eq!(sent.field("content-encoding"), coding, "{host}");
        assert_eq!(sent.field("vary").contains("available"), coding == "dcz", "{host}");
    }
}

#[test]
fn routes_that_are_not_for_everybody_have_none() {
    let others = [
        Route { dictionaries: false, ..open() },
        Route { compress: false, ..open() },
        Route { auth: Auth::Optional, ..open() },
        Route { auth: Auth::Optional, claims: vec![Claim::Tenant], ..open() },
        Route { esi: true, ..open() },
    ];
    for other in others {
        let mut world = world(vec![other.clone()], ABILITIES, &OLD_AND_NEW);
        let sent = world.old_then_new("");
        assert_ne!(sent.field("content-encoding"), "dcz", "{other:?}");
        assert!(!sent.fields.contains("available-dictionary"), "{other:?}");
        // Nor is what they store a dictionary for a route that has them.
        let paths = |path: &str, route: Route| Route { path: path.into(), ..route };
        let routes = vec![paths("/app/1.js", other.clone()), paths("/app/2.js", open())];
        let mut world = self::world(routes, ABILITIES, &OLD_AND_NEW);
        assert_eq!(world.old_then_new("").field("content-encoding"), "zstd", "{other:?}");
    }
    let without = Abilities { dictionaries: false, ..ABILITIES };
    let mut world = world(vec![open()], without, &OLD_AND_NEW);
    let sent = world.old_then_new("");
    assert_eq!((sent.field("content-encoding"), sent.field("vary")), ("zstd", "accept-encoding"));
    assert!(world.last_seen("available-dictionary").is_some(), "it is the upstream's to know");
}

#[test]
fn a_dictionary_goes_where_its_response_goes() {
    let anew = "cache-control: max-age=60|content-type: text/plain";
    let script = [OLD_AND_NEW[0], OLD_AND_NEW[1], Some((200, anew, NEW))];
    let mut world = world(vec![open()], ABILITIES, &script);
    assert_eq!(world.old_then_new("").field("content-encoding"), "dcz");
    world.driver.advance(59_000);
    assert_eq!(world.coding("/app/2.js", OLD), "dcz");
    world.securely("/app/1.js", "cache-control: no-cache\r\n");
    assert_eq!(world.coding("/app/2.js", OLD), "zstd");
    assert_eq!(world.seen(), 3);
}

#[test]
fn a_dictionary_that_is_confirmed_stays_one_if_it_may() {
    let old = "cache-control: max-age=60|content-type: text/plain|etag: \"o\"|\
               use-as-dictionary: match=\"/app/*\"";
    for (confirmed, coding) in [
        ("cache-control: max-age=60", "dcz"),
        ("cache-control: max-age=60|use-as-dictionary: match=\"/other\"", "zstd"),
        ("cache-control: private", "zstd"),
        ("cache-control: no-store", "zstd"),
    ] {
        let script = [Some((200, old, OLD)), OLD_AND_NEW[1], Some((304, confirmed, ""))];
        let mut world = world(vec![open()], ABILITIES, &script);
        assert_eq!(world.old_then_new("").field("content-encoding"), "dcz");
        world.securely("/app/1.js", "cache-control: no-cache\r\n");
        assert_eq!(world.coding("/app/2.js", OLD), coding, "{confirmed}");
        assert_eq!(world.seen(), 3);
    }
}
