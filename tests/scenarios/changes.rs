//! `PATCH` and `DELETE` of files.

use outport_tests::api::{Answer, Api, File};
use outport_tests::scenarios;
use outport_tests::world::World;
use reqwest::Method;
use serde_json::{Value, json};

scenarios![
    a_new_name,
    a_new_visibility_counts_at_once,
    an_expiry,
    metadata,
    changes_that_are_none,
    names_that_are_none,
    a_removed_file_is_gone_at_once,
    removing_twice,
];

async fn a_new_name(world: World) {
    let owner = world.owner();
    let file = cached(&owner, "private").await;
    let answer = change(&owner, &file, &json!({ "name": "new.txt" })).await;
    answer.expect_status(200);
    assert_eq!(answer.json()["name"], "new.txt");
    let delivered = owner.get(&file.path()).await;
    assert!(delivered.field("content-disposition").contains("new.txt"), "{delivered:?}");
    assert_eq!(delivered.body, "content");
}

async fn a_new_visibility_counts_at_once(world: World) {
    let (owner, nobody) = (world.owner(), world.anonymous());
    let file = cached(&owner, "private").await;
    for (visibility, status) in [("public", 200), ("private", 404), ("public", 200), ("link", 404)]
    {
        let answer = change(&owner, &file, &json!({ "visibility": visibility })).await;
        answer.expect_status(200);
        assert_eq!(answer.json()["visibility"], visibility);
        assert_eq!(nobody.get(&file.path()).await.status, status, "{visibility}");
        assert_eq!(owner.get(&file.path()).await.body, "content");
    }
}

async fn an_expiry(world: World) {
    let owner = world.owner();
    let file = cached(&owner, "private").await;
    let answer = change(&owner, &file, &json!({ "expires": "2100-01-01T00:00:00Z" })).await;
    answer.expect_status(200);
    let expires = answer.json()["expires"].as_str().expect("it expires").to_owned();
    assert!(expires.starts_with("2100-01-01T00:00:00"), "{expires}");
    owner.get(&file.path()).await.expect_status(200);
    let answer = change(&owner, &file, &json!({ "expires": null })).await;
    assert_eq!(answer.json()["expires"], Value::Null);
}

async fn metadata(world: World) {
    let owner = world.owner();
    let file = cached(&owner, "private").await;
    let answer = change(&owner, &file, &json!({ "metadata": { "album": "día" } })).await;
    answer.expect_status(200);
    assert_eq!(answer.json()["metadata"], json!({ "album": "día" }));
    let large = "x".repeat(10_000);
    let answer = change(&owner, &file, &json!({ "metadata": { "album": large } })).await;
    assert!((400..500).contains(&answer.status), "{answer:?}");
}

async fn changes_that_are_none(world: World) {
    let owner = world.owner();
    let file = cached(&owner, "private").await;
    for body in [
        "{",
        "[]",
        "5",
        r#"{"visibility":"everyone"}"#,
        r#"{"visibility":5}"#,
        r#"{"expires":"tomorrow"}"#,
        r#"{"metadata":{"a":1}}"#,
        r#"{"size":1}"#,
    ] {
        let fields = [("content-type", "application/json")];
        let answer = owner.send(Method::PATCH, &file.path(), &fields, body).await;
        assert_eq!(answer.status, 400, "{body}: {answer:?}");
    }
    assert_eq!(owner.get(&file.path()).await.body, "content");
}

async fn names_that_are_none(world: World) {
    let owner = world.owner();
    let file = cached(&owner, "private").await;
    for name in ["..", "a\0b", "a\u{202e}b", "a\nb"] {
        change(&owner, &file, &json!({ "name": name })).await.expect_problem(400, "invalid-name");
    }
}

async fn a_removed_file_is_gone_at_once(world: World) {
    let owner = world.owner();
    let file = cached(&owner, "public").await;
    world.anonymous().get(&file.path()).await.expect_status(200);
    owner.delete(&file.path()).await.expect_status(204);
    for api in [owner, world.anonymous()] {
        for path in [file.path(), format!("{}/a.txt", file.path())] {
            api.get(&path).await.expect_problem(404, "not-found");
        }
    }
}

async fn removing_twice(world: World) {
    let owner = world.owner();
    let file = cached(&owner, "private").await;
    owner.delete(&file.path()).await.expect_status(204);
    owner.delete(&file.path()).await.expect_problem(404, "not-found");
}

async fn cached(owner: &Api, visibility: &str) -> File {
    let query = format!("name=a.txt&visibility={visibility}");
    let file = owner.upload(&query, "text/plain", "content").await;
    owner.get(&file.path()).await.expect_status(200);
    file
}

async fn change(owner: &Api, file: &File, change: &Value) -> Answer {
    owner.json(Method::PATCH, &file.path(), change).await
}
