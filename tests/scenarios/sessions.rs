//! Sessions of browsers, and revocation, over HTTP.

use std::time::Duration;

use outport_tests::api::{Answer, Api};
use outport_tests::issued::{Issued, Signer, now_s};
use outport_tests::scenarios;
use outport_tests::world::World;
use reqwest::Method;
use serde_json::{Value, json};

scenarios![
    a_session_begins_is_refreshed_and_ends needs Issuers,
    a_refresh_token_that_is_used_again_ends_its_session needs Issuers,
    all_sessions_of_a_subject_end needs Issuers,
    cookies_are_no_other_pages_to_use needs Issuers,
    forged_cookies needs Issuers,
    an_admin_revokes_a_subject_and_everything needs Issuers,
    revocations_that_are_none needs Issuers,
    who_may_revoke needs Issuers,
];

const SESSION: &str = "__Host-outport";
const REFRESH: &str = "__Host-outport-refresh";
/// How a browser says that a page of the same host asks.
const OWN: (&str, &str) = ("sec-fetch-site", "same-origin");
/// Longer than an edge remembers what it has looked at.
const REMEMBERED: Duration = Duration::from_millis(1_100);

/// A browser's cookies.
#[derive(Clone, Debug, Default)]
struct Browser {
    session: String,
    refresh: String,
}

impl Browser {
    fn take(&mut self, answer: &Answer) {
        for set in answer.headers.get_all("set-cookie") {
            let set = set.to_str().expect("a cookie is text");
            let (pair, attributes) = set.split_once(';').expect("a cookie has attributes");
            for attribute in ["Path=/", "Secure", "HttpOnly", "SameSite="] {
                assert!(attributes.contains(attribute), "{set}");
            }
            let (name, value) = pair.split_once('=').expect("a cookie has a value");
            match name {
                SESSION => self.session = value.to_owned(),
                REFRESH => self.refresh = value.to_owned(),
                other => panic!("{other} is no cookie of ours"),
            }
        }
    }

    fn field(&self) -> String {
        let Self { session, refresh } = self;
        format!("theme=dark; {SESSION}={session}; {REFRESH}={refresh}")
    }

    async fn send(
        &self,
        world: &World,
        method: Method,
        path: &str,
        more: &[(&str, &str)],
    ) -> Answer {
        let cookies = self.field();
        let fields = [&[("cookie", cookies.as_str())], more].concat();
        world.anonymous().send(method, path, &fields, "").await
    }

    /// What `GET /session` says.
    async fn who(&self, world: &World) -> Answer {
        self.send(world, Method::GET, "/session", &[]).await
    }

    async fn refresh(&mut self, world: &World) -> Answer {
        let answer = self.send(world, Method::POST, "/session", &[OWN]).await;
        self.take(&answer);
        answer
    }
}

/// Somebody of the tenant that these scenarios have for themselves.
fn of(subject: &str) -> Issued {
    let issued = Issued::by(Signer::Ed25519).claim("tenant", json!("sessions"));
    issued.claim("sub", json!(subject))
}

async fn signed_in(world: &World, subject: &str) -> Browser {
    let answer = world
        .anonymous()
        .with_token(&of(subject).token())
        .send(Method::POST, "/session", &[], "")
        .await;
    answer.expect_status(201);
    let mut browser = Browser::default();
    browser.take(&answer);
    browser
}

async fn a_session_begins_is_refreshed_and_ends(world: World) {
    let mut browser = signed_in(&world, "whole").await;
    let who = browser.who(&world).await;
    who.expect_status(200);
    assert_eq!(who.field("cache-control"), "no-store");
    let told = who.json();
    assert_eq!(
        (&told["tenant"], &told["subject"], &told["scope"]),
        (&json!("sessions"), &json!("whole"), &json!("read write"))
    );
    let left_s = told["expires"].as_u64().expect("a time").saturating_sub(now_s());
    assert!((800..=900).contains(&left_s), "{told}");
    browser.send(&world, Method::GET, "/files", &[]).await.expect_status(200);

    let before = browser.session.clone();
    let refreshed = browser.refresh(&world).await;
    refreshed.expect_status(200);
    assert!(refreshed.json()["expires"].as_u64() >= told["expires"].as_u64());
    assert_ne!(browser.refresh, before);
    browser.who(&world).await.expect_status(200);

    let ended = browser.send(&world, Method::DELETE, "/session", &[OWN]).await;
    ended.expect_status(204);
    let mut gone = browser.clone();
    gone.take(&ended);
    assert_eq!((gone.session.as_str(), gone.refresh.as_str()), ("", ""));
    // Whoever has kept a copy has nothing.
    tokio::time::sleep(REMEMBERED).await;
    browser.who(&world).await.expect_problem(401, "token-revoked");
    browser.clone().refresh(&world).await.expect_problem(401, "session-ended");
}

async fn a_refresh_token_that_is_used_again_ends_its_session(world: World) {
    let first = signed_in(&world, "stolen").await;
    let mut owner = first.clone();
    owner.refresh(&world).await.expect_status(200);
    owner.refresh(&world).await.expect_status(200);
    // A thief comes with the one before the last.
    first.clone().refresh(&world).await.expect_problem(401, "session-ended");
    owner.clone().refresh(&world).await.expect_problem(401, "session-ended");
    tokio::time::sleep(REMEMBERED).await;
    owner.who(&world).await.expect_problem(401, "token-revoked");
}

async fn all_sessions_of_a_subject_end(world: World) {
    let (one, other) =
        (signed_in(&world, "everywhere").await, signed_in(&world, "everywhere").await);
    let bystander = signed_in(&world, "bystander").await;
    let token = of("everywhere").token();
    let ended = one.send(&world, Method::DELETE, "/session?everywhere", &[OWN]).await;
    ended.expect_status(204);
    tokio::time::sleep(REMEMBERED).await;
    for mut browser in [one, other] {
        browser.who(&world).await.expect_problem(401, "token-revoked");
        browser.refresh(&world).await.expect_problem(401, "session-ended");
    }
    let tokens = world.anonymous().with_token(&token);
    tokens.get("/files").await.expect_problem(401, "token-revoked");
    bystander.who(&world).await.expect_status(200);
    // What is issued later is good.
    let later = of("everywhere").claim("iat", json!(now_s() + 1)).token();
    world.anonymous().with_token(&later).get("/files").await.expect_status(200);
}

async fn cookies_are_no_other_pages_to_use(world: World) {
    let browser = signed_in(&world, "forgery").await;
    let sites: [&[(&str, &str)]; 4] = [
        &[("sec-fetch-site", "cross-site")],
        &[("sec-fetch-site", "same-site")],
        &[("origin", "https://elsewhere.example")],
        &[],
    ];
    for site in sites {
        for (method, path) in [
            (Method::POST, "/files?name=a"),
            (Method::POST, "/uploads"),
            (Method::POST, "/session"),
            (Method::DELETE, "/session"),
            (Method::DELETE, "/session?everywhere"),
        ] {
            let answer = browser.send(&world, method, path, site).await;
            answer.expect_problem(403, "cross-site");
        }
    }
    let embeds = [("sec-fetch-site", "cross-site"), ("sec-fetch-mode", "no-cors")];
    let embedded = browser.send(&world, Method::GET, "/files", &embeds).await;
    embedded.expect_problem(401, "token-missing");
    let own = browser.send(&world, Method::POST, "/files?name=a", &[OWN]).await;
    own.expect_status(201);
}

async fn forged_cookies(world: World) {
    let browser = signed_in(&world, "forged").await;
    let Browser { session, refresh } = browser.clone();
    let (said, signature) = session.split_once('.').expect("it is signed");
    let changed = format!("A{}.{signature}", &said[1..]);
    let swapped = Browser { session: refresh.clone(), refresh: session.clone() };
    swapped.who(&world).await.expect_problem(401, "session-ended");
    let long = "a".repeat(4_000);
    for value in [changed.as_str(), said, "..", "x", long.as_str()] {
        let forged = Browser { session: value.to_owned(), refresh: value.to_owned() };
        forged.who(&world).await.expect_problem(401, "session-ended");
        forged.send(&world, Method::DELETE, "/session?everywhere", &[OWN]).await.expect_status(401);
    }
    browser.who(&world).await.expect_status(200);
}

/// A tenant that everything is revoked of.
fn revoking(subject: &str, scope: &str) -> Issued {
    let issued = Issued::by(Signer::P256).claim("tenant", json!("revoking"));
    issued.claim("sub", json!(subject)).claim("scope", json!(scope))
}

async fn revoke(admin: &Api, what: Value) -> Answer {
    admin.json(Method::POST, "/revocations", &what).await
}

async fn an_admin_revokes_a_subject_and_everything(world: World) {
    let nobody = world.anonymous();
    let caller = |issued: Issued| nobody.with_token(&issued.token());
    let (alice, bob) = (caller(revoking("alice", "read")), caller(revoking("bob", "read")));
    // Made anew whenever it is needed: what is revoked is what was issued before.
    let admin = || caller(revoking("root", "admin").claim("iat", json!(now_s() + 5)));
    for api in [&alice, &bob] {
        api.get("/files").await.expect_status(200);
    }
    let told = revoke(&admin(), json!({"subject": "alice"})).await;
    told.expect_status(200);
    assert_eq!(told.json()["subjects"][0]["subject"], "alice");
    tokio::time::sleep(REMEMBERED).await;
    alice.get("/files").await.expect_problem(401, "token-revoked");
    bob.get("/files").await.expect_status(200);

    let told = revoke(&admin(), json!({"everything": true})).await;
    told.expect_status(200);
    assert!(told.json()["before"].is_string(), "{told:?}");
    tokio::time::sleep(REMEMBERED).await;
    bob.get("/files").await.expect_problem(401, "token-revoked");
    let told = admin().get("/revocations").await;
    told.expect_status(200);
    assert_eq!(told.json()["subjects"], json!([]), "all of it is said by the time alone");
    // Tenants have nothing to do with each other.
    let elsewhere = Issued::by(Signer::P256).claim("sub", json!("bob"));
    caller(elsewhere).get("/files").await.expect_status(200);
}

async fn revocations_that_are_none(world: World) {
    for wrong in [
        json!({}),
        json!({"everything": false}),
        json!({"subject": ""}),
        json!({"subject": "a", "everything": true}),
        json!({"session": "0123456789abcdef"}),
        json!({"subject": "a", "session": "x"}),
        json!({"subjects": ["a"]}),
        json!([]),
    ] {
        let admin = revoking("root", "admin").claim("iat", json!(now_s() + 5));
        let admin = world.anonymous().with_token(&admin.token());
        let answer = revoke(&admin, wrong.clone()).await;
        assert_eq!(answer.status, 400, "{wrong}: {answer:?}");
        answer.expect_problem(400, "invalid-field");
    }
}

async fn who_may_revoke(world: World) {
    let nobody = world.anonymous();
    nobody.get("/revocations").await.expect_problem(401, "token-missing");
    let reader = nobody.with_token(&of("reader").token());
    reader.get("/revocations").await.expect_problem(403, "scope-missing");
    let answer = revoke(&reader, json!({"everything": true})).await;
    answer.expect_problem(403, "scope-missing");
    // Of sessions, the origin is asked by edges alone.
    for (method, path) in [
        (Method::PUT, "/sessions/0123456789abcdef?until=9999999999"),
        (Method::DELETE, "/sessions"),
    ] {
        reader.send(method, path, &[], "").await.expect_status(404);
    }
}
