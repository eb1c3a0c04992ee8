//! Each condition, the order of rules, and what is counted.

use serde_json::{Value, json};

use super::*;
use crate::config::Route;
use crate::country::Country;
use crate::guard::guard;
use crate::memory::tests::config;
use crate::route::Target;

/// The rules, as they cross into a component.
fn firewall(rules: Value) -> Firewall {
    serde_json::from_value(json!({ "rules": rules })).unwrap()
}

fn deny(matches: Value) -> Value {
    json!({ "name": "no", "match": matches, "action": { "deny": null } })
}

const HEAD: &str = "host: x\r\nuser-agent: EvilBot/1.0\r\naccept: a\r\naccept: b/c\r\n";

fn judge(firewall: Firewall, line: &str, who: Who<'_>) -> Option<Verdict> {
    let mut config = config();
    config.routes.push(Route { path: "/{*rest}".into(), ..Route::default() });
    config.firewall = firewall;
    let head = format!("{line} HTTP/1.1\r\n{HEAD}");
    let request = guard(head.as_bytes()).unwrap();
    let routes = Routes::new(&config).unwrap();
    let route = match routes.find(&request, &config) {
        Target::Route(place) => Some(place),
        _ => None,
    };
    let client = "192.0.2.7".parse().unwrap();
    let is_proven = line.contains("proven");
    let asking =
        Asking { request: &request, client, country: Country::told(b"DE"), route, is_proven };
    Rules::new(&config).unwrap().judge(&asking, who, &routes)
}

/// Whether a rule with these conditions matches an anonymous request.
fn matches(conditions: Value, line: &str) -> bool {
    let verdict = judge(firewall(json!([deny(conditions)])), line, Who::Nobody).unwrap();
    verdict.refusal.is_some()
}

#[test]
fn networks() {
    for (network, expected) in [
        ("192.0.2.0/24", true),
        ("192.0.2.7", true),
        ("0.0.0.0/0", true),
        ("192.0.2.8", false),
        ("192.0.3.0/24", false),
        ("::/0", false),
    ] {
        assert_eq!(matches(json!({ "networks": [network] }), "GET /"), expected, "{network}");
    }
    assert!(matches(json!({ "networks": ["10.0.0.0/8", "192.0.2.7"] }), "GET /"));
}

#[test]
fn countries() {
    for (countries, expected) in [
        (vec!["DE"], true),
        (vec!["FR", "de"], true),
        (vec!["FR", "US"], false),
        (vec!["XX"], false),
    ] {
        assert_eq!(matches(json!({ "countries": countries }), "GET /"), expected, "{countries:?}");
    }
    assert!(!matches(json!({ "countries": ["DE"], "networks": ["10.0.0.0/8"] }), "GET /"));
    assert!(serde_json::from_value::<Conditions>(json!({ "countries": ["Germany"] })).is_err());
}

#[test]
fn methods_and_parameters() {
    let methods = json!({ "methods": ["PUT", "DELETE"] });
    assert!(matches(methods.clone(), "DELETE /a") && !matches(methods, "GET /a"));
    for (query, expected) in [
        ("?debug", true),
        ("?a=b&debug=1", true),
        ("?%64ebug=1", true),
        ("?debugs", false),
        ("?a=debug", false),
        ("", false),
    ] {
        let conditions = json!({ "query": ["debug", "trace me"] });
        assert_eq!(matches(conditions, &format!("GET /a{query}")), expected, "{query}");
    }
    assert!(matches(json!({ "query": ["trace me"] }), "GET /a?trace+me"));
}

#[test]
fn paths_are_compared_in_one_form() {
    let admin = |path: &str| matches(json!({ "paths": ["/admin/*"] }), &format!("GET {path}"));
    for path in [
        "/admin/users",
        "/admin",
        "/admin/",
        "/%61dmin/users",
        "/admin%2fusers",
        "/%2Fadmin%5Cusers",
        "//admin//users",
        "/admin;a=b/users",
        "/admin;",
        "/;/admin",
        "/admin/..a",
    ] {
        assert!(admin(path), "{path}");
    }
    for path in ["/administrator", "/Admin/", "/a/admin/b", "/%2561dmin"] {
        assert!(!admin(path), "{path}");
    }
    let paths = |pattern: &str, path: &str| {
        matches(json!({ "paths": ["/other", pattern] }), &format!("GET {path}"))
    };
    assert!(paths("/", "/") && !paths("/", "/a"));
    assert!(paths("*", "/") && paths("/*", "/") && paths("*", "/a/b"));
    assert!(
        paths("*.php", "/a/b.php") && paths("*.php", "/b.%70hp/") && !paths("*.php", "/b.phps")
    );
    assert!(paths("/a/b", "/a/b/") && !paths("/a/b", "/a/b/c"));
    assert!(paths("/grüße/*", "/gr%C3%BC%C3%9Fe/x"));
}

#[test]
fn fields() {
    let header = |name: &str, test: Value| {
        matches(json!({ "headers": [{ "name": name, "test": test }] }), "GET /a")
    };
    assert!(header("User-Agent", json!({ "present": true })));
    assert!(!header("user-agent", json!({ "present": false })));
    assert!(header("x-other", json!({ "present": false })));
    assert!(header("user-agent", json!({ "contains": ["spider", "evilBOT"] })));
    assert!(!header("user-agent", json!({ "contains": ["spider"] })));
    assert!(header("accept", json!({ "equals": ["B/C"] })), "any of its lines");
    assert!(!header("accept", json!({ "equals": ["b"] })));
    assert!(header("accept", json!({ "glob": ["*/c"] })));
    assert!(!header("x-other", json!({ "glob": ["*"] })), "it is not there");
    let both = json!({ "headers": [
        { "name": "accept", "test": { "equals": ["a"] } },
        { "name": "user-agent", "test": { "contains": ["good"] } },
    ] });
    assert!(!matches(both, "GET /a"), "all of them hold");
}

#[test]
fn who_asks() {
    let alice = Identity::new("acme", "alice", Default::default()).unwrap();
    let held = |conditions: Value, who: Who<'_>| {
        let verdict = judge(firewall(json!([deny(conditions)])), "GET /a", who)?;
        Some(verdict.refusal.is_some())
    };
    for (conditions, as_nobody, as_alice) in [
        (json!({ "signed_in": true }), false, true),
        (json!({ "signed_in": false }), true, false),
        (json!({ "tenants": ["acme", "b"] }), false, true),
        (json!({ "tenants": ["b"] }), false, false),
        (json!({ "subjects": ["alice"] }), false, true),
        (json!({ "tenants": ["acme"], "subjects": ["bob"] }), false, false),
    ] {
        assert_eq!(held(conditions.clone(), Who::Unknown), None, "{conditions}");
        assert_eq!(held(conditions.clone(), Who::Nobody), Some(as_nobody), "{conditions}");
        assert_eq!(held(conditions.clone(), Who::Known(&alice)), Some(as_alice), "{conditions}");
        // What does not hold whoever asks is decided before that is known.
        let mut elsewhere = conditions;
        elsewhere["networks"] = json!(["10.0.0.0/8"]);
        assert_eq!(held(elsewhere, Who::Unknown), Some(false));
    }
}

#[test]
fn all_conditions_hold_and_what_is_excepted_does_not() {
    let rule = |unless: Value| {
        firewall(json!([{ "name": "no", "match": { "paths": ["/a*"], "methods": ["GET"] },
                          "unless": unless, "action": { "deny": null } }]))
    };
    let refused = |unless: Value, line: &str, who: Who<'_>| {
        judge(rule(unless), line, who).map(|verdict| verdict.refusal.is_some())
    };
    let office = || json!({ "networks": ["192.0.2.0/24"] });
    let elsewhere = || json!({ "networks": ["10.0.0.0/8"] });
    assert_eq!(refused(office(), "GET /a", Who::Unknown), Some(false));
    assert_eq!(refused(elsewhere(), "GET /a", Who::Unknown), Some(true));
    assert_eq!(refused(elsewhere(), "PUT /a", Who::Unknown), Some(false));
    assert_eq!(refused(elsewhere(), "GET /b", Who::Unknown), Some(false));
    let mut alice_at_office = office();
    alice_at_office["subjects"] = json!(["alice"]);
    assert_eq!(refused(alice_at_office.clone(), "GET /a", Who::Unknown), None);
    assert_eq!(refused(alice_at_office, "GET /a", Who::Nobody), Some(true), "both must hold");
}

#[test]
fn the_first_final_rule_decides() {
    let rule = |name: &str, action: Value| json!({ "name": name, "match": { "paths": ["*"] }, "action": action });
    let dry = |name: &str, action: Value| {
        let mut rule = rule(name, action);
        rule["dry_run"] = json!(true);
        rule
    };
    let come_to = |rules: Value| {
        let verdict = judge(firewall(rules), "GET /a", Who::Unknown).unwrap();
        (verdict.matched.rules, verdict.refusal.is_some(), verdict.limits)
    };
    let no = || json!({ "deny": null });
    let read = || json!({ "limit": "read" });
    assert_eq!(
        come_to(json!([rule("a", json!("allow")), rule("b", no())])),
        (vec![0], false, vec![])
    );
    assert_eq!(
        come_to(json!([rule("a", no()), rule("b", json!("allow"))])),
        (vec![0], true, vec![])
    );
    let logged = json!([rule("a", json!("log")), rule("b", read()), rule("c", no())]);
    assert_eq!(come_to(logged), (vec![0, 1, 2], true, vec!["read".to_owned()]));
    let dried = json!([dry("a", json!("allow")), dry("b", read()), dry("c", no())]);
    assert_eq!(come_to(dried), (vec![0, 1, 2], false, vec![]));
    let twice = json!([rule("a", read()), rule("b", read())]);
    assert_eq!(come_to(twice).2, ["read"], "one limit is spent once");
}

#[test]
fn a_rule_that_depends_on_who_asks_holds_up_only_what_is_behind_it() {
    let alice = Identity::new("acme", "alice", Default::default()).unwrap();
    let of_acme = |action: Value, dry_run: bool| {
        json!({ "name": "acme", "match": { "tenants": ["acme"] }, "action": action,
                "dry_run": dry_run })
    };
    let here = deny(json!({ "networks": ["192.0.2.0/24"] }));
    let refused = |rules: Value, who: Who<'_>| {
        judge(firewall(rules), "GET /a", who).map(|verdict| verdict.refusal.is_some())
    };
    let before = json!([of_acme(json!("allow"), false), here]);
    assert_eq!(refused(before.clone(), Who::Unknown), None);
    assert_eq!(refused(before.clone(), Who::Known(&alice)), Some(false));
    assert_eq!(refused(before, Who::Nobody), Some(true));
    for (action, dry_run) in [("log", false), ("allow", true)] {
        let before = json!([of_acme(json!(action), dry_run), here]);
        assert_eq!(refused(before, Who::Unknown), Some(true), "{action}");
        let alone = json!([of_acme(json!(action), dry_run)]);
        assert_eq!(refused(alone, Who::Unknown), None, "it is to be counted");
    }
    let behind = json!([here, of_acme(json!("allow"), false)]);
    assert_eq!(refused(behind, Who::Unknown), Some(true));
}

#[test]
fn the_core_set_comes_last_and_can_be_taken_out() {
    let come_to = |core: &str, rules: Value, target: &str| {
        let mut firewall = firewall(rules);
        firewall.core = serde_json::from_value(json!(core)).unwrap();
        let verdict = judge(firewall, &format!("GET {target}"), Who::Unknown).unwrap();
        (verdict.matched.rules, verdict.refusal.is_some())
    };
    let evil = "/x/%252e%252e/y";
    let allowed = json!([{ "name": "a", "match": { "paths": ["/x/*"] }, "action": "allow" }]);
    assert_eq!(come_to("deny", json!([]), evil), (vec![1], true));
    assert_eq!(come_to("log", json!([]), evil), (vec![1], false));
    assert_eq!(come_to("off", json!([]), evil), (vec![], false));
    assert_eq!(come_to("deny", allowed.clone(), evil), (vec![0], false));
    assert_eq!(come_to("deny", allowed, "/y/%252e%252e/y"), (vec![2], true));
}

#[test]
fn what_is_counted_has_the_places_that_are_told() {
    let counted = |core| {
        let mut firewall = firewall(json!([
            { "name": "a", "match": {}, "action": "log" },
            { "name": "b", "match": {}, "action": { "limit": "read" }, "dry_run": true },
        ]));
        firewall.core = core;
        let label =
            |Counted { rule, action, enforced }: Counted<'_>| format!("{rule} {action} {enforced}");
        firewall.counted().map(label).collect::<Vec<_>>()
    };
    let own = ["a log true", "b limit false"];
    assert_eq!(counted(CoreSet::Off), own);
    let core = ["core-route deny true", "core-traversal deny true", "core-nul deny true"];
    assert_eq!(counted(CoreSet::Deny), [&own[..], &core[..]].concat());
    assert!(counted(CoreSet::Log).contains(&"core-nul deny false".to_owned()));
}

#[test]
fn notes_say_who_asked_for_what_and_nothing_secret() {
    let rules = json!([
        { "name": "watch", "match": { "methods": ["GET"] }, "action": "log" },
        { "name": "quiet", "match": {}, "action": { "limit": "read" } },
        { "name": "try", "match": {}, "action": { "deny": null }, "dry_run": true },
    ]);
    let note = |line: &str| {
        judge(firewall(rules.clone()), line, Who::Nobody).unwrap().matched.note.unwrap()
    };
    assert_eq!(
        note("GET /files/a?signature=secret"),
        "192.0.2.7 GET /files/a: watch (log), try (deny, dry run)"
    );
    let long = note(&format!("GET /{}", "a".repeat(5_000)));
    assert!(long.len() < 400 && long.contains("…"), "{long}");
    let quiet = firewall(json!([deny(json!({ "methods": ["GET"] }))]));
    assert_eq!(judge(quiet, "GET /", Who::Nobody).unwrap().matched.note, None);
}

#[test]
fn a_client_is_told_the_reason_and_never_the_rule() {
    let told = |reason: Value| {
        let rule = json!([{ "name": "secret-rule", "match": {}, "action": { "deny": reason } }]);
        match judge(firewall(rule), "GET /", Who::Nobody).unwrap().refusal {
            Some(Refused::Denied(problem)) => problem,
            other => panic!("{other:?}"),
        }
    };
    assert_eq!(told(json!("Not from here.")).detail(), "Not from here.");
    let document = String::from_utf8(told(json!(null)).to_json()).unwrap();
    assert!(document.contains("forbidden-by-rule") && !document.contains("secret-rule"));
}

#[test]
fn what_is_wrong_is_named() {
    let wrong = |rules: Value| {
        let config = Config { firewall: firewall(rules), ..config() };
        Rules::new(&config).err().unwrap()
    };
    assert_eq!(wrong(json!([deny(json!({ "networks": ["x"] }))])), "rule no: x can't be read");
    assert_eq!(wrong(json!([deny(json!({ "paths": ["a"] }))])), "rule no: a can't be read");
    let limit = json!([{ "name": "a", "match": {}, "action": { "limit": "none" } }]);
    assert_eq!(wrong(limit), "rule a: there is no limit named none");
    let rules = vec![deny(json!({})); RULES_MAX + 1];
    assert!(wrong(json!(rules)).starts_with("there may be 64 rules"));
    let values = vec!["/a"; VALUES_MAX + 1];
    assert!(wrong(json!([deny(json!({ "paths": values }))])).starts_with("there may be"));
}

#[test]
fn patterns() {
    for (pattern, wrong) in [
        ("a", PatternError::Relative),
        ("", PatternError::Relative),
        ("/a%20b", PatternError::NotCanonical),
        ("/a?b", PatternError::NotCanonical),
        ("/a;b", PatternError::NotCanonical),
        ("/a\\b", PatternError::NotCanonical),
        ("/a//b", PatternError::NotCanonical),
        ("/a/../b", PatternError::NotCanonical),
        ("/a/", PatternError::Slash),
    ] {
        assert_eq!(check_path(pattern), Err(wrong), "{pattern}");
    }
    for pattern in ["/", "*", "/*", "/a/*", "*.php", "/a b"] {
        assert_eq!(check_path(pattern), Ok(()), "{pattern}");
    }
}

#[test]
fn a_challenge_is_for_who_is_not_signed_in() {
    let rules = || {
        let challenge = json!({
            "name": "work", "match": { "paths": ["/a*"] }, "action": "challenge",
        });
        firewall(json!([challenge, deny(json!({ "paths": ["/ab", "/a-proven"] }))]))
    };
    let alice = Identity::new("demo", "alice", Default::default()).unwrap();
    let refusal = |line: &str, who| judge(rules(), line, who).map(|verdict| verdict.refusal);
    assert_eq!(refusal("GET /a", Who::Unknown), None, "that depends on who asks");
    assert_eq!(refusal("GET /a", Who::Nobody), Some(Some(Refused::Challenged)));
    assert_eq!(refusal("GET /a", Who::Known(&alice)), Some(None));
    assert_eq!(refusal("GET /b", Who::Unknown), Some(None));
    // Whoever has done the work is let pass by this rule, and no further.
    assert_eq!(refusal("GET /a?proven", Who::Unknown), Some(None));
    assert!(matches!(refusal("GET /ab", Who::Known(&alice)), Some(Some(Refused::Denied(_)))));
    assert!(matches!(refusal("GET /a-proven", Who::Unknown), Some(Some(Refused::Denied(_)))));
    let verdict = judge(rules(), "GET /a", Who::Nobody).unwrap();
    assert_eq!(verdict.matched.rules, [0]);
}
