//! Rules of the firewall, in the way of a request.

use proptest::prelude::*;
use serde_json::{Value, json};

use super::*;
use crate::config::{Auth, Config, Route};
use crate::country::Country;
use crate::step::Allowance;

const COMPOSING: Abilities = Abilities {
    composes: true,
    fragments: true,
    prefetches: true,
    unannounced: true,
    ..SIGNATURES
};

fn guarded(rules: Value) -> World {
    guarded_with(rules, |_| {})
}

fn guarded_with(rules: Value, more: impl FnOnce(&mut Config)) -> World {
    World::with(COMPOSING, |config| {
        more(config);
        config.stored_bytes_max = 10_000;
        let once = Allowance { interval_us: 1_000_000, burst: 1 };
        config.limits.insert("rare".into(), once);
        let route = |path: &str| Route {
            path: path.into(),
            proxy: Some("http://127.0.0.1:1".into()),
            auth: Auth::Optional,
            cache: true,
            ..Route::default()
        };
        config.routes = vec![
            Route { esi: true, ..route("/page/{*rest}") },
            Route { prefetch: true, ..route("/part/{*rest}") },
        ];
        config.firewall = serde_json::from_value(json!({ "rules": rules })).unwrap();
    })
}

fn deny(matches: Value) -> Value {
    json!({ "name": "no", "match": matches, "action": { "deny": null } })
}

impl World {
    fn cached_page(&self, target: &str, fields: &str, body: &str) {
        let fields = format!("cache-control: max-age=60|content-length: {}|{fields}", body.len());
        self.page(target, 200, &fields, body);
    }
}

/// A page of one part.
const INCLUDING: &str = "<esi:include src='/part/a' onerror='continue'/>|";

fn refused(sent: &Sent) -> bool {
    sent.status == 403 && sent.problem() == "forbidden-by-rule"
}

#[test]
fn a_refusal_costs_nothing_and_is_told_as_a_problem() {
    let mut world = guarded(json!([deny(json!({ "networks": ["192.0.2.0/24"] }))]));
    world.put(ID, Visibility::Public, b"hello");
    let token = world.token("demo", "alice", "read");
    for (path, fields) in [(&*path(), &*token), (&path(), ""), ("/healthz", ""), ("/part/a", "")] {
        let head =
            format!("GET {path} HTTP/1.1\r\nhost: edge\r\norigin: https://a.example\r\n{fields}");
        let peer = "192.0.2.1".parse().unwrap();
        let request = Request { head: head.as_bytes(), connection: Connection::new(peer, true) };
        let step = world.edge.begin(&request, world.driver.moment());
        let Step::Reply(reply) = step else { panic!("{path}: {step:?}") };
        assert_eq!((reply.status, &*reply.matched.rules), (403, &[0][..]));
        let fields = String::from_utf8(reply.fields).unwrap();
        assert!(fields.contains("cache-control: no-store\r\n"), "{fields}");
        // A page may read why.
        let is_told = fields.contains("access-control-allow-origin: *\r\n");
        assert_eq!(is_told, !path.starts_with("/part"), "{path}: {fields}");
    }
    assert_eq!(world.seen(), [""; 0]);
}

#[test]
fn what_is_stored_is_given_to_nobody_whom_a_rule_refuses() {
    let rules = json!([
        deny(json!({ "headers": [{ "name": "x-evil", "test": { "present": true } }] })),
        deny(json!({ "tenants": ["evil"] }))
    ]);
    let mut world = guarded(rules);
    world.put(ID, Visibility::Public, b"hello");
    world.cached_page("/part/a", "", "part");
    let evil = world.token("evil", "mallory", "admin");
    for path in [&*path(), "/part/a"] {
        assert_eq!(world.get(path, "").status, 200);
        assert_eq!(world.get(path, "").ended, Ended::Cache);
        assert!(refused(&world.get(path, "x-evil: 1\r\n")), "{path}");
        assert!(refused(&world.get(path, &evil)), "{path}");
        // A token that is remembered is asked for again.
        assert!(refused(&world.get(path, &evil)), "{path}");
    }
}

#[test]
fn who_asks_is_known_by_a_good_token_alone() {
    let rules = json!([
        { "name": "acme", "match": { "tenants": ["acme"] }, "action": "allow" },
        deny(json!({ "paths": ["/files/*"] })),
    ]);
    let mut world = guarded(rules);
    world.put(ID, Visibility::Public, b"hello");
    let acme = world.token("acme", "bob", "read");
    assert_eq!(world.get(&path(), &acme).status, 200);
    let other = world.token("demo", "bob", "read");
    assert!(refused(&world.get(&path(), &other)));
    assert!(refused(&world.get(&path(), "")));
    let mut forged = acme.trim_end().to_owned();
    forged.truncate(forged.len() - 8);
    assert_eq!(world.get(&path(), &format!("{forged}AAAAAAAA\r\n")).status, 401);
    // An allow lets nobody do what the token does not.
    assert_eq!(world.send("POST /files", &acme).problem(), "scope-missing");
}

#[test]
fn a_page_includes_nothing_that_its_reader_would_be_refused() {
    let rules = json!([
        deny(json!({ "paths": ["/part/secret"], "tenants": ["evil"] })),
        deny(json!({ "paths": ["/part/%closed".replace('%', "")] }))
    ]);
    let mut world = guarded(rules);
    let page = "<esi:include src='/part/%73ecret' onerror='continue'/>|\
                <esi:include src='/part/closed' onerror='continue'/>|\
                <esi:include src='/part/open'/>";
    world.cached_page("/page/a", "content-type: text/html", page);
    for part in ["secret", "%73ecret", "closed", "open"] {
        world.cached_page(&format!("/part/{part}"), "", part);
    }
    let read = |world: &mut World, fields: &str| {
        String::from_utf8(world.get("/page/a", fields).body).unwrap()
    };
    let (good, evil) = (world.token("demo", "a", "read"), world.token("evil", "a", "read"));
    // Stored or not.
    for _ in 0..2 {
        assert_eq!(read(&mut world, &good), "%73ecret||open");
        assert_eq!(read(&mut world, &evil), "||open");
        assert_eq!(read(&mut world, ""), "%73ecret||open");
    }
    assert!(!world.seen().contains(&"GET /part/closed".to_owned()));
}

#[test]
fn nothing_is_fetched_ahead_that_is_refused() {
    let mut world = guarded(json!([deny(json!({ "paths": ["/part/closed"] }))]));
    world.cached_page("/part/a", "link: <closed>; rel=next, <open>; rel=next", "a");
    world.cached_page("/part/open", "", "open");
    world.get("/part/a", "");
    world.driver.prefetch();
    assert_eq!(world.seen(), ["GET /part/a", "GET /part/open"]);
}

#[test]
fn where_a_client_is_is_known_to_the_end() {
    let rules = json!([
        { "name": "slow", "match": { "paths": ["/page/*"], "subjects": ["alice"] }, "action": { "limit": "slow" } },
        {
            "name": "here",
            "match": { "paths": ["/part/*"] },
            "unless": { "countries": ["DE"] },
            "action": { "deny": null },
        },
        deny(json!({ "countries": ["FR"], "subjects": ["alice"] })),
    ]);
    // Whether the platform tells, or a proxy.
    for proxied in [false, true] {
        let in_country = |country: &str| {
            let mut world = guarded_with(rules.clone(), |config| {
                let often = Allowance { interval_us: 1, burst: 100 };
                config.limits.insert("slow".into(), often);
                if proxied {
                    config.trusted_proxies = vec!["192.0.2.1".into()];
                    config.country_field = Some("x-country".into());
                }
            });
            let told = Country::told(country.as_bytes());
            // The country of a proxy says nothing of who asks by it.
            world.connection.country = if proxied { Country::told(b"DE") } else { told };
            world.cached_page("/page/a", "content-type: text/html", INCLUDING);
            world.cached_page("/part/a", "link: <next>; rel=next", "a");
            world.cached_page("/part/next", "", "next");
            let fields = if proxied { format!("x-country: {country}\r\n") } else { String::new() };
            (world, fields)
        };
        let (mut world, fields) = in_country("DE");
        let alice = world.token("demo", "alice", "read") + &fields;
        let admin = world.token("demo", "root", "admin") + &fields;
        assert_eq!(world.get("/page/a", &alice).body, b"a|");
        assert_eq!(world.get("/part/a", &fields).status, 200);
        world.driver.prefetch();
        let asked_for = ["GET /page/a", "GET /part/a", "GET /part/a", "GET /part/next"];
        assert_eq!(world.seen(), asked_for);
        let body = br#"{"urls": ["/part/next?warm"]}"#;
        assert_eq!(world.send_body("POST /warm", &admin, body).status, 202);
        world.driver.prefetch();
        assert_eq!(world.seen(), ["GET /part/next?warm"]);
        for elsewhere in ["FR", "US", "", "nonsense"] {
            let (mut world, fields) = in_country(elsewhere);
            let alice = world.token("demo", "alice", "read") + &fields;
            let admin = world.token("demo", "root", "admin") + &fields;
            let page = world.get("/page/a", &alice);
            assert_eq!(refused(&page), elsewhere == "FR", "{elsewhere}");
            assert_eq!(world.get("/page/a", &fields).body, b"|");
            assert!(refused(&world.get("/part/a", &fields)), "{elsewhere}");
            assert_eq!(world.send_body("POST /warm", &admin, body).status, 202);
            world.driver.prefetch();
            let seen = world.seen();
            assert!(seen.iter().all(|asked| asked == "GET /page/a"), "{elsewhere}: {seen:?}");
        }
    }
}

#[test]
fn a_limit_of_a_rule_is_spent_beside_the_usual_one() {
    let limit = json!({ "limit": "rare" });
    let rules = json!([
        { "name": "rare", "match": { "paths": ["/part/*", "/session", "/healthz"] }, "action": limit },
        { "name": "dry", "match": { "paths": ["/files/*"] }, "action": limit, "dry_run": true },
    ]);
    let mut world = guarded(rules);
    world.cached_page("/part/a", "", "part");
    world.cached_page("/page/a", "content-type: text/html", "<esi:include src='/part/a'/>");
    world.put(ID, Visibility::Public, b"hello");
    assert_eq!(world.get("/part/a", "").status, 200);
    let second = world.get("/part/a", "");
    assert_eq!((second.status, second.problem()), (429, "rate-limited".to_owned()));
    assert!(second.field("ratelimit").unwrap().starts_with("\"rare\";r=0"), "{}", second.fields);
    assert_eq!(second.field("retry-after"), Some("1"));
    // Who has a token has an allowance of their own.
    let alice = world.token("demo", "alice", "read");
    assert_eq!(world.get("/part/a", &alice).status, 200);
    assert_eq!(world.get("/part/a", &alice).status, 429);
    // What spends nothing otherwise is limited, too.
    world.driver.advance(1_000);
    assert_eq!(world.get("/healthz", "").status, 200);
    assert_eq!(world.get("/healthz", "").status, 429);
    // An include comes with its page, and a dry run takes nothing.
    for left in ["r=998", "r=996"] {
        assert_eq!(world.get("/page/a", "").body, b"part");
        let file = world.get(&path(), "");
        assert_eq!(file.status, 200);
        assert!(file.field("ratelimit").unwrap().contains(left), "{}", file.fields);
    }
}

#[test]
fn replies_say_which_rules_matched_however_many_steps_they_took() {
    let rules = json!([
        { "name": "all", "match": { "paths": ["*"] }, "action": "log" },
        { "name": "alice", "match": { "subjects": ["alice"] }, "action": { "limit": "rare" } },
    ]);
    let mut world = guarded(rules);
    world.put(ID, Visibility::Public, b"hello");
    let alice = world.token("demo", "alice", "read");
    let matched = |world: &mut World, fields: &str| {
        let sent = world.get(&path(), fields);
        (sent.status, sent.matched.rules)
    };
    assert_eq!(matched(&mut world, &alice), (200, vec![0, 1]));
    assert_eq!(matched(&mut world, &alice), (429, vec![0, 1]));
    assert_eq!(matched(&mut world, ""), (200, vec![0]));
    let sent = world.get(&path(), "");
    assert_eq!(sent.matched.note, Some(format!("192.0.2.1 GET {}: all (log)", path())));
}

proptest! {
    /// A rule that only logs, or is not enforced, changes no answer, wherever it stands.
    #[test]
    fn what_is_not_enforced_changes_nothing(
        rules in proptest::collection::vec((0..CONDITIONS.len(), 0..4_usize), 0..4),
        idle in (0..CONDITIONS.len(), 0..4_usize, any::<bool>()),
        place in 0..4_usize,
        asked in proptest::collection::vec((0..TARGETS.len(), 0..3_usize), 1..4),
    ) {
        let rule = |condition: usize, action: usize| {
            let matches: Value = serde_json::from_str(CONDITIONS[condition]).unwrap();
            let actions =
                [json!("allow"), json!({ "deny": null }), json!({ "limit": "rare" }), json!("log")];
            json!({ "name": "a", "match": matches, "action": actions[action] })
        };
        let rules: Vec<Value> = rules.into_iter().map(|(on, action)| rule(on, action)).collect();
        let (on, action, dry_run) = idle;
        let mut idle = rule(on, if dry_run { action } else { 3 });
        idle["dry_run"] = json!(dry_run);
        let mut more = rules.clone();
        more.insert(place.min(rules.len()), idle);
        let (mut with, mut without) = (guarded(json!(more)), guarded(json!(rules)));
        for (target, who) in asked {
            let answer = |world: &mut World| {
                world.cached_page("/part/a", "", "part");
                world.cached_page("/page/a", "content-type: text/html", "<esi:include src='/part/a' onerror='continue'/>");
                world.put(ID, Visibility::Private, b"hello");
                let fields = match who {
                    0 => String::new(),
                    1 => world.token("demo", "alice", "read"),
                    _ => world.token("evil", "mallory", "admin"),
                };
                let sent = world.get(TARGETS[target], &fields);
                (sent.status, sent.fields, sent.body, world.seen())
            };
            prop_assert_eq!(answer(&mut with), answer(&mut without));
        }
    }
}

const TARGETS: [&str; 5] =
    ["/files/01000G0000000C000000000004", "/part/a", "/page/a", "/part/%252e%252e/a", "/nothing"];
const CONDITIONS: [&str; 6] = [
    r#"{ "paths": ["*"] }"#,
    r#"{ "paths": ["/part/*"] }"#,
    r#"{ "tenants": ["evil"] }"#,
    r#"{ "signed_in": true }"#,
    r#"{ "signed_in": false, "paths": ["/files/*"] }"#,
    r#"{ "networks": ["10.0.0.0/8"] }"#,
];
