//! Issuers that are asked for their keys.

use serde_json::json;

use super::*;
use crate::config::Issuer;
use crate::key_set::Jwk;
use crate::token::tests::Mint;

const ISSUER: &str = "https://id.example";
const DISCOVERY: &str = "GET https://id.example/.well-known/openid-configuration";
const KEYS: &str = "GET https://keys.example/set";
const ASKING: Abilities = Abilities { documents: true, ..SIGNATURES };
const MINUTE_MS: u64 = 60_000;

/// A world whose tokens are by an issuer that publishes its keys.
fn asking() -> World {
    let world = World::with(ASKING, |config| {
        config.issuers = vec![Issuer {
            name: ISSUER.into(),
            audiences: vec!["outport".into()],
            publishes: true,
            outage_s: 3600,
            ..Issuer::default()
        }];
    });
    world.discovers(ISSUER, "https://keys.example/set");
    world.page("/files", 200, "content-length: 0", "");
    world
}

impl World {
    fn discovers(&self, issuer: &str, keys: &str) {
        let document = json!({"issuer": issuer, "jwks_uri": keys}).to_string();
        self.page("https://id.example/.well-known/openid-configuration", 200, "", &document);
    }

    fn publishes(&self, keys: &[(&str, &Mint)]) {
        let keys: Vec<Jwk> = keys
            .iter()
            .map(|(name, mint)| Jwk { kid: Some((*name).into()), ..mint.jwk() })
            .collect();
        let set = json!({"keys": keys}).to_string();
        self.page("https://keys.example/set", 200, "", &set);
    }

    /// How often its keys were asked for since this was asked last.
    fn asked_for_keys(&self) -> usize {
        self.seen().iter().filter(|seen| *seen == KEYS).count()
    }

    fn with_token(&mut self, mint: &Mint, kid: &str) -> (u16, String) {
        let token = mint.token_of(ISSUER, kid);
        let sent = self.get("/files", &format!("authorization: Bearer {token}\r\n"));
        (sent.status, if sent.status == 200 { String::new() } else { sent.problem() })
    }
}

#[test]
fn its_keys_are_asked_for_once() {
    let mut world = asking();
    let mint = Mint::new();
    world.publishes(&[("k1", &mint)]);
    for _ in 0..3 {
        assert_eq!(world.with_token(&mint, "k1").0, 200);
    }
    assert_eq!(world.seen(), [DISCOVERY, KEYS, "GET /files", "GET /files", "GET /files"]);
    // Ten minutes later they are asked for again, once.
    world.driver.advance(11 * MINUTE_MS);
    for _ in 0..3 {
        assert_eq!(world.with_token(&mint, "k1").0, 200);
    }
    assert_eq!(world.asked_for_keys(), 1);
}

#[test]
fn a_key_that_it_has_just_begun_to_use() {
    let mut world = asking();
    let (old, new) = (Mint::new(), Mint::new());
    world.publishes(&[("k1", &old)]);
    assert_eq!(world.with_token(&old, "k1").0, 200);
    world.driver.advance(MINUTE_MS);
    world.publishes(&[("k1", &old), ("k2", &new)]);
    assert_eq!(world.with_token(&new, "k2").0, 200);
    assert_eq!(world.with_token(&old, "k1").0, 200);
    // Both are known from then on.
    assert_eq!(world.with_token(&new, "k2").0, 200);
    assert_eq!(world.asked_for_keys(), 2);
}

#[test]
fn names_of_keys_that_are_none_cost_the_issuer_nothing() {
    let mut world = asking();
    let (mint, stranger) = (Mint::new(), Mint::new());
    world.publishes(&[("k1", &mint)]);
    assert_eq!(world.with_token(&mint, "k1").0, 200);
    world.driver.advance(MINUTE_MS);
    for number in 0..100 {
        let refused = world.with_token(&stranger, &format!("forged-{number}"));
        assert_eq!(refused, (401, "token-untrusted".into()));
    }
    assert_eq!(world.asked_for_keys(), 2);
    world.driver.advance(MINUTE_MS);
    world.with_token(&stranger, "forged");
    assert_eq!(world.asked_for_keys(), 1);
    assert_eq!(world.with_token(&stranger, "k1"), (401, "token-untrusted".into()));
}

#[test]
fn tokens_that_are_wrong_anyway_ask_nobody() {
    let mut world = asking();
    for token in ["x", "a.b.c", &Mint::new().token("demo", "alice", "read")] {
        let sent = world.get("/files", &format!("authorization: Bearer {token}\r\n"));
        assert_eq!(sent.status, 401);
    }
    assert_eq!(world.seen(), [] as [&str; 0]);
}

#[test]
fn an_outage_of_the_issuer_is_survived_for_as_long_as_is_configured() {
    let mut world = asking();
    let mint = Mint::new();
    world.publishes(&[("k1", &mint)]);
    assert_eq!(world.with_token(&mint, "k1").0, 200);
    world.page("https://keys.example/set", 503, "", "");
    for _ in 0..6 {
        world.driver.advance(11 * MINUTE_MS);
        assert_eq!(world.with_token(&mint, "k1").0, 200);
    }
    world.driver.advance(11 * MINUTE_MS);
    assert_eq!(world.with_token(&mint, "k1"), (503, "issuer-unreachable".into()));
    // All are told so for a moment, and then it is asked again.
    world.seen();
    assert_eq!(world.with_token(&mint, "k1").0, 503);
    assert_eq!(world.seen(), [] as [&str; 0]);
    world.publishes(&[("k1", &mint)]);
    world.driver.advance(6_000);
    assert_eq!(world.with_token(&mint, "k1").0, 200);
}

#[test]
fn what_an_issuer_says_of_another_is_not_believed() {
    let mint = Mint::new();
    for (issuer, keys) in [
        ("https://other.example", "https://keys.example/set"),
        (ISSUER, "http://keys.example/set"),
        (ISSUER, "file:///etc/passwd"),
    ] {
        let mut world = asking();
        world.publishes(&[("k1", &mint)]);
        world.discovers(issuer, keys);
        assert_eq!(world.with_token(&mint, "k1"), (503, "issuer-unreachable".into()), "{keys}");
    }
    for set in ["", "{}", "{\"keys\":[{\"kty\":\"oct\",\"k\":\"AAAA\"}]}", "[1]"] {
        let mut world = asking();
        world.page("https://keys.example/set", 200, "", set);
        assert_eq!(world.with_token(&mint, "k1"), (503, "issuer-unreachable".into()), "{set}");
    }
}

#[test]
fn who_is_told_beside_may_be_of_such_an_issuer_too() {
    let mut world = asking();
    let mint = Mint::new();
    world.publishes(&[("k1", &mint)]);
    let token = mint.token_of(ISSUER, "k1");
    let sent = world.get("/files/x", &format!("outport-explain: Bearer {token}\r\n"));
    assert_eq!((sent.status, &*sent.problem()), (403, "scope-missing"));
}
