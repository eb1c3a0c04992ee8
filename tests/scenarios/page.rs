//! The page and the small things beside it.

use outport_tests::scenarios;
use outport_tests::world::World;
use reqwest::Method;

scenarios![
    the_page_and_its_parts,
    parts_that_do_not_change,
    the_page_again,
    health,
    a_key_set,
    every_answer_says_how_it_is_limited,
    what_is_left_of_the_limit,
];

async fn the_page_and_its_parts(world: World) {
    let page = world.anonymous().get("/").await;
    page.expect_status(200);
    assert!(page.field("content-type").starts_with("text/html"), "{page:?}");
    assert!(page.field("content-security-policy").contains("default-src 'none'"), "{page:?}");
    assert_eq!(page.field("x-content-type-options"), "nosniff");
    let parts = parts(&String::from_utf8_lossy(&page.body));
    assert!(parts.iter().any(|part| part.ends_with(".js")), "{parts:?}");
    for part in parts {
        world.anonymous().get(&part).await.expect_status(200);
    }
}

async fn parts_that_do_not_change(world: World) {
    let page = world.anonymous().get("/").await;
    for part in parts(&String::from_utf8_lossy(&page.body)) {
        let answer = world.anonymous().get_with(&part, &[("accept-encoding", "br")]).await;
        assert!(answer.field("cache-control").contains("immutable"), "{answer:?}");
        let tag = answer.field("etag").to_owned();
        let fields = [("accept-encoding", "br"), ("if-none-match", tag.as_str())];
        world.anonymous().get_with(&part, &fields).await.expect_status(304);
    }
}

async fn the_page_again(world: World) {
    let page = world.anonymous().get("/").await;
    let fields = [("if-none-match", page.field("etag"))];
    world.anonymous().get_with("/", &fields).await.expect_status(304);
    let head = world.anonymous().head("/", &[]).await;
    assert_eq!(head.field("content-length"), page.field("content-length"));
}

async fn health(world: World) {
    for path in ["/healthz", "/readyz"] {
        world.anonymous().get(path).await.expect_status(200);
        let answer = world.anonymous().send(Method::POST, path, &[], "").await;
        answer.expect_problem(405, "method-not-allowed");
    }
}

async fn a_key_set(world: World) {
    let answer = world.anonymous().get("/.well-known/jwks.json").await;
    answer.expect_status(200);
    let document = answer.json();
    let key = &document["keys"][0];
    assert_eq!((&key["kty"], &key["crv"]), (&"OKP".into(), &"Ed25519".into()), "{document}");
    assert!(key["d"].is_null(), "the private key is in {document}");
}

async fn every_answer_says_how_it_is_limited(world: World) {
    let answer = world.owner().get("/files?limit=1&prefix=no-such-name").await;
    let policy = answer.field("ratelimit-policy");
    assert!(policy.contains("\"read\"") && policy.contains(";q="), "{policy}");
}

async fn what_is_left_of_the_limit(world: World) {
    let answer = world.owner().get("/files?limit=1&prefix=no-such-name").await;
    let left = answer.field("ratelimit");
    assert!(left.contains("\"read\"") && left.contains(";r="), "{left}");
}

/// The addresses below /assets/ that the page names.
fn parts(page: &str) -> Vec<String> {
    let named = page.split('"').filter(|text| text.starts_with("/assets/"));
    named.map(str::to_owned).collect()
}
