//! `POST /purge`: what is stored is gone, or stale, from when it is answered.

use outport_tests::api::Api;
use outport_tests::world::{Caller, World};
use outport_tests::{random, scenarios, scene, scripted};
use reqwest::Method;
use serde_json::{Value, json};

scenarios![
    a_purged_file_is_fetched_anew,
    a_softly_purged_file_is_validated,
    a_url_and_a_tag_of_a_route needs Route,
    purges_that_are_none needs Reader,
];

async fn a_purged_file_is_fetched_anew(world: World) {
    let owner = world.owner();
    let file = owner.upload("visibility=public", "text/plain", "stored").await;
    let other = owner.upload("visibility=public", "text/plain", "another").await;
    for file in [&file, &other] {
        stored(&world, &file.path()).await;
    }
    purge(&owner, &json!({ "files": [file.id()] })).await;
    assert_eq!(explained(&owner, &file.path()).await["stored"], false);
    assert_eq!(explained(&owner, &other.path()).await["stored"], true);
    let anew = world.anonymous().get(&file.path()).await;
    assert_eq!(anew.body, "stored");
    assert_eq!(anew.field("cache-status"), "outport; fwd=uri-miss; fwd-status=200; stored");
    stored(&world, &file.path()).await;
    assert_eq!(explained(&owner, &file.path()).await["stored"], true);
}

async fn a_softly_purged_file_is_validated(world: World) {
    let owner = world.owner();
    let file = owner.upload("visibility=public", "text/plain", "stored").await;
    stored(&world, &file.path()).await;
    purge(&owner, &json!({ "files": [file.id()], "soft": true })).await;
    assert_eq!(explained(&owner, &file.path()).await["because"], "It was purged softly.");
    let validated = world.anonymous().get(&file.path()).await;
    assert_eq!(validated.body, "stored");
    assert_eq!(validated.field("cache-status"), "outport; fwd=stale; fwd-status=304");
    stored(&world, &file.path()).await;
    purge(&owner, &json!({ "files": [file.id()] })).await;
    assert_eq!(explained(&owner, &file.path()).await["stored"], false);
}

async fn a_url_and_a_tag_of_a_route(world: World) {
    let owner = world.owner();
    let (tag, other) = (random::word(), random::word());
    let path = format!("{}/{}", world.route().expect("there is one"), random::word());
    let url = owner.url(&path).to_string();
    // What the server has to say now. What is stored is an answer that it gave before.
    let says = async |content: &str| {
        let fields = format!("cache-control: max-age=600\r\ncache-tag: shop, {tag}\r\n");
        let answer = scripted::answer(&fields, content);
        let answer = world.anonymous().get_with(&path, &[("x-script", &answer)]).await;
        answer.expect_status(200);
        answer.body
    };
    assert_eq!(says("0").await, "0");
    assert_eq!(says("not asked").await, "0");
    let purges = [
        json!({ "urls": [path] }),
        json!({ "urls": [url] }),
        json!({ "tags": [tag] }),
        json!({ "tags": [tag], "soft": true }),
        json!({ "tags": [other, tag] }),
    ];
    for (number, what) in (1..).zip(purges) {
        purge(&owner, &what).await;
        let content = number.to_string();
        assert_eq!(says(&content).await, content, "{what}");
        assert_eq!(says("not asked").await, content, "{what}");
    }
    purge(&owner, &json!({ "tags": [other] })).await;
    purge(&owner, &json!({ "urls": [format!("{path}/a")] })).await;
    assert_eq!(says("not asked").await, "5");
}

async fn purges_that_are_none(world: World) {
    let asked = json!({ "tags": ["a"] });
    for body in [json!({}), json!({ "tag": "a" }), json!({ "files": ["a"] })] {
        let refused = world.owner().json(Method::POST, "/purge", &body).await;
        refused.expect_problem(400, "invalid-field");
    }
    let refused = world.anonymous().json(Method::POST, "/purge", &asked).await;
    refused.expect_problem(401, "token-missing");
    let refused = world.api(Caller::Reader).json(Method::POST, "/purge", &asked).await;
    refused.expect_problem(403, "scope-missing");
}

/// Lets an edge store what is there, and sees that it has.
async fn stored(world: &World, path: &str) {
    // Where it is stored once the answer is sent, who comes at once may wait for that.
    for _ in 0..2 {
        world.owner().get(path).await.expect_status(200);
    }
    let hit = world.owner().get(path).await;
    assert!(hit.field("cache-status").starts_with("outport; hit"), "{hit:?}");
}

async fn purge(api: &Api, what: &Value) {
    let purged = api.json(Method::POST, "/purge", what).await;
    purged.expect_status(200);
    let named = ["urls", "files", "tags"].iter().filter_map(|kind| what[kind].as_array());
    assert_eq!(purged.json()["purged"], named.map(Vec::len).sum::<usize>());
    assert_eq!(purged.json()["noted"], true);
}

/// What an edge says about what it has stored.
async fn explained(api: &Api, path: &str) -> Value {
    let asked = format!("/explain?url={path}");
    let explained = scene::unrecorded("it tells of ages", api.get(&asked)).await;
    explained.expect_status(200);
    explained.json()
}
