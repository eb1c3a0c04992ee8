//! Passes: everything below a prefix of a route, for whoever has one.

use std::time::Duration;

use outport_tests::api::{Answer, Api};
use outport_tests::world::{Caller, World};
use outport_tests::{random, scenarios, scripted};
use reqwest::Method;
use serde_json::{Value, json};

scenarios![
    a_pass_opens_what_is_below_its_prefix needs Route,
    a_pass_ends_with_its_maker needs Issuers,
    passes_that_are_none needs Reader,
];

/// For so long an instance of the edge remembers what was revoked before, and a little.
const REMEMBERED: Duration = Duration::from_millis(1_100);

/// Makes a pass, and gives what is told of it.
async fn make(api: &Api, wanted: &Value) -> Value {
    let made = api.json(Method::POST, "/passes", wanted).await;
    made.expect_status(201);
    assert_eq!(made.field("cache-control"), "no-store");
    made.json()
}

/// Asks the route's server, which says who it was told asks.
async fn ask(api: &Api, path: &str, fields: &[(&str, &str)]) -> Answer {
    let script = scripted::answer("cache-control: no-store\r\n", "a piece");
    api.get_with(path, &[&[("x-script", script.as_str())], fields].concat()).await
}

async fn a_pass_opens_what_is_below_its_prefix(world: World) {
    let route = format!("{}/{}", world.members_route().expect("there is one"), random::word());
    let (owner, anonymous) = (world.owner(), world.anonymous());
    let prefix = format!("{route}/a/");
    let made = make(&owner, &json!({ "prefix": prefix, "expires_in": 60 })).await;
    assert_eq!(made["prefix"], prefix);
    let pass = made["pass"].as_str().expect("it is text");
    // As a browser takes it: by an address that sends it on, with a cookie for there.
    let url = made["url"].as_str().expect("it is text");
    let to = format!("{prefix}b?c=d");
    let sent_on = anonymous.get(&format!("{url}?to={}", to.replace('?', "%3F"))).await;
    sent_on.expect_status(303);
    assert_eq!(sent_on.field("location"), to);
    let cookie = sent_on.field("set-cookie");
    let expected = format!("outport-pass={pass}; Path={prefix}; Max-Age=6");
    assert!(cookie.starts_with(&expected), "{cookie}");
    assert!(cookie.ends_with("; Secure; HttpOnly; SameSite=Lax"), "{cookie}");

    let cookie = format!("outport-pass={pass}");
    for shown in [("cookie", cookie.as_str()), ("outport-pass", pass)] {
        for path in [&to, &prefix, &format!("{route}/%61/b/c.ts")] {
            let got = ask(&anonymous, path, &[shown]).await;
            got.expect_status(200);
            assert_eq!(got.body, "a piece");
        }
        for path in [format!("{route}/ab/c"), format!("{route}/A/c"), route.clone()] {
            ask(&anonymous, &path, &[shown]).await.expect_problem(401, "token-missing");
        }
        let files = anonymous.get_with("/files", &[shown]).await;
        files.expect_problem(401, "token-missing");
        let posted = anonymous.send(Method::POST, &to, &[shown], "x").await;
        posted.expect_problem(401, "token-missing");
    }
    ask(&anonymous, &to, &[]).await.expect_problem(401, "token-missing");
    ask(&anonymous, &to, &[("outport-pass", "a.b")]).await.expect_problem(401, "token-missing");
    let elsewhere = json!({ "prefix": prefix, "network": "192.0.2.0/24" });
    let elsewhere = make(&owner, &elsewhere).await;
    let shown = ("outport-pass", elsewhere["pass"].as_str().expect("it is text"));
    ask(&anonymous, &to, &[shown]).await.expect_problem(403, "link-not-here");
    for to in ["/", "//evil.example/", "https://evil.example/", "/%5C..%5C"] {
        let refused = anonymous.get(&format!("{url}?to={to}")).await;
        refused.expect_problem(400, "invalid-field");
    }
    anonymous.get("/passes/a.b").await.expect_problem(404, "not-found");
}

async fn a_pass_ends_with_its_maker(world: World) {
    let route = format!("{}/{}/", world.members_route().expect("there is one"), random::word());
    let maker = world.of_tenant("passing", "maker", "read share");
    let made = make(&maker, &json!({ "prefix": route })).await;
    let shown = [("outport-pass", made["pass"].as_str().expect("it is text"))];
    let (path, anonymous) = (format!("{route}a"), world.anonymous());
    ask(&anonymous, &path, &shown).await.expect_status(200);
    let root = world.of_tenant("passing", "root", "admin");
    let revoked = root.json(Method::POST, "/revocations", &json!({ "subject": "maker" })).await;
    revoked.expect_status(200);
    tokio::time::sleep(REMEMBERED).await;
    ask(&anonymous, &path, &shown).await.expect_problem(401, "token-revoked");
}

async fn passes_that_are_none(world: World) {
    let owner = world.owner();
    for wanted in [
        json!({}),
        json!({ "prefix": "a/" }),
        json!({ "prefix": "/a" }),
        json!({ "prefix": "/a/../" }),
        json!({ "prefix": "/%61/" }),
        json!({ "prefix": format!("/{}/", "a".repeat(200)) }),
        json!({ "prefix": "/a/", "expires_in": 0 }),
        json!({ "prefix": "/a/", "expires_in": 60, "starts_in": 60 }),
        json!({ "prefix": "/a/", "network": "here" }),
        json!({ "prefix": "/a/", "password": "open sesame" }),
    ] {
        let refused = owner.json(Method::POST, "/passes", &wanted).await;
        refused.expect_problem(400, "invalid-field");
    }
    let wanted = json!({ "prefix": "/a/" });
    let reader = world.api(Caller::Reader).json(Method::POST, "/passes", &wanted).await;
    reader.expect_problem(403, "scope-missing");
    let nobody = world.anonymous().json(Method::POST, "/passes", &wanted).await;
    nobody.expect_problem(401, "token-missing");
    owner.get("/passes").await.expect_problem(405, "method-not-allowed");
}
