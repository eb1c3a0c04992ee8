//! The audit log of a tenant, over HTTP, verified as its documentation says and by no code of ours.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use outport_tests::api::Api;
use outport_tests::scenarios;
use outport_tests::world::World;
use reqwest::Method;
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};

scenarios![
    what_was_done_is_in_the_log needs Issuers,
    who_is_forgotten_is_read_of_no_more needs Issuers,
    who_may_read_it needs Issuers,
];

/// The entries behind `after`, which follow each other.
async fn log(root: &Api, after: u64) -> Vec<Value> {
    let answer = root.get(&format!("/audit?after={after}")).await;
    answer.expect_status(200);
    assert_eq!(answer.field("content-type"), "application/x-ndjson");
    assert_eq!(answer.field("cache-control"), "no-store");
    let text = String::from_utf8(answer.body.to_vec()).expect("it is text");
    let entry = |line| serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {line}"));
    let entries: Vec<Value> = text.lines().map(entry).collect();
    entries.iter().for_each(expect_own_hash);
    for two in entries.windows(2) {
        assert_eq!(two[1]["previous"], two[0]["hash"]);
        assert_eq!(two[1]["seq"].as_u64(), two[0]["seq"].as_u64().map(|seq| seq + 1));
    }
    entries
}

/// The hash is that of the bytes before it, and those say what the line does.
fn expect_own_hash(entry: &Value) {
    let bytes = URL_SAFE_NO_PAD.decode(entry["bytes"].as_str().expect("it has bytes"));
    let bytes = bytes.expect("they are base64url");
    let (hashed, hash) = bytes.split_at(bytes.len() - 32);
    assert_eq!(<[u8; 32]>::from(Sha256::digest(hashed)), hash);
    let hex = |bytes: &[u8]| bytes.iter().map(|byte| format!("{byte:02x}")).collect::<String>();
    assert_eq!(entry["hash"], hex(hash));
    assert_eq!(entry["previous"], hex(&hashed[1..33]));
    let said: Value = serde_json::from_slice(&hashed[33..]).expect("it is JSON");
    assert_eq!((&said["seq"], &said["kind"]), (&entry["seq"], &entry["kind"]));
}

fn last(entries: &[Value]) -> u64 {
    entries.last().map_or(0, |entry| entry["seq"].as_u64().expect("it is a number"))
}

async fn what_was_done_is_in_the_log(world: World) {
    let (root, alice) = (
        world.of_tenant("audited", "root", "admin"),
        world.of_tenant("audited", "alice", "read write share"),
    );
    let bob = world.of_tenant("audited", "bob", "read write");
    let before = last(&log(&root, 0).await);
    let file = alice.upload("name=a.txt", "text/plain", "0123456789").await;
    let links = format!("{}/links", file.path());
    let changed = json!({"visibility": "link", "name": "b.txt"});
    alice.json(Method::PATCH, &file.path(), &changed).await.expect_status(200);
    // What it is already is no change.
    alice.json(Method::PATCH, &file.path(), &changed).await.expect_status(200);
    let wanted = json!({"expires_in": 60, "network": "192.0.2.0/24", "password": "open sesame"});
    alice.json(Method::POST, &links, &wanted).await.expect_status(201);
    alice.delete(&links).await.expect_status(204);
    bob.delete(&file.path()).await.expect_problem(404, "not-found");
    root.json(Method::POST, "/revocations", &json!({"subject": "bob"})).await.expect_status(200);
    alice.delete(&file.path()).await.expect_status(204);

    let entries = log(&root, before).await;
    let told: Vec<_> = entries
        .iter()
        .map(|entry| [&entry["kind"], &entry["outcome"], &entry["who"]["text"]].map(Value::as_str))
        .collect();
    let allowed = |kind, who| [Some(kind), Some("allowed"), Some(who)];
    assert_eq!(
        told,
        [
            allowed("visibility-changed", "alice"),
            allowed("link-made", "alice"),
            allowed("links-ended", "alice"),
            [Some("denied"), Some("denied"), Some("bob")],
            allowed("subject-revoked", "root"),
            allowed("file-removed", "alice"),
        ]
    );
    for entry in [0, 1, 2, 3, 5].map(|place| &entries[place]) {
        assert_eq!(entry["what"]["file"], file.id(), "{entry}");
    }
    let what = |place: usize, name: &str| entries[place]["what"][name].clone();
    assert_eq!((what(0, "before"), what(0, "after")), (json!("private"), json!("link")));
    assert_eq!((what(1, "password"), what(1, "download")), (json!(true), json!(false)));
    assert_eq!(what(1, "network")["text"], "192.0.2.0/24");
    assert_eq!(entries[3]["problem"], "not-found");
    assert_eq!(what(4, "subject")["text"], "bob");
    assert_eq!((&what(5, "name")["text"], what(5, "complete")), (&json!("b.txt"), json!(true)));
    assert_eq!(entries[0]["seq"], before + 1);
}

async fn who_is_forgotten_is_read_of_no_more(world: World) {
    let (root, alice) = (
        world.of_tenant("forgetting", "root", "admin"),
        world.of_tenant("forgetting", "alice", "write"),
    );
    let before = last(&log(&root, 0).await);
    let file = alice.upload("name=diagnosis.txt", "text/plain", "0123456789").await;
    alice.delete(&file.path()).await.expect_status(204);
    let told = log(&root, before).await;
    assert_eq!(told[0]["what"]["name"]["text"], "diagnosis.txt");

    let forget = json!({"subject": "alice"});
    root.json(Method::POST, "/audit/forgotten", &forget).await.expect_status(204);
    let after = log(&root, before).await;
    assert_eq!((&after[0]["bytes"], &after[0]["hash"]), (&told[0]["bytes"], &told[0]["hash"]));
    for sealed in [&after[0]["who"], &after[0]["what"]["name"]] {
        assert_eq!((&sealed["text"], &sealed["forgotten"]), (&Value::Null, &json!(true)));
        assert_eq!(sealed["id"], told[0]["who"]["id"]);
    }
    assert_eq!(after[1]["kind"], "person-forgotten");
    assert_eq!(
        (&after[1]["who"]["text"], &after[1]["what"]["person"]),
        (&json!("root"), &told[0]["who"]["id"])
    );
    root.json(Method::POST, "/audit/forgotten", &forget).await.expect_problem(404, "not-found");
}

async fn who_may_read_it(world: World) {
    let root = world.of_tenant("read-by-its-own", "root", "admin");
    let alice = world.of_tenant("read-by-its-own", "alice", "read write share");
    root.json(Method::POST, "/revocations", &json!({"subject": "carol"})).await.expect_status(200);
    assert!(!log(&root, 0).await.is_empty());
    // Of others there is nothing, and nobody to be forgotten.
    let stranger = world.of_tenant("read-by-nobody", "root", "admin");
    assert_eq!(log(&stranger, 0).await, Vec::<Value>::new());
    let carol = json!({"subject": "carol"});
    stranger.json(Method::POST, "/audit/forgotten", &carol).await.expect_problem(404, "not-found");
    for wrong in [json!({}), json!({"subject": 1}), json!({"subject": "a", "all": true})] {
        root.json(Method::POST, "/audit/forgotten", &wrong)
            .await
            .expect_problem(400, "invalid-field");
    }
    for query in ["limit=0", "after=x"] {
        root.get(&format!("/audit?{query}")).await.expect_problem(400, "invalid-field");
    }
    root.delete("/audit").await.expect_problem(405, "method-not-allowed");
    root.head("/audit", &[]).await.expect_status(200);
    // At last, for the first of these are noted, at some moment.
    let forget = json!({"subject": "root"});
    for (caller, status, slug) in
        [(&alice, 403, "scope-missing"), (&world.anonymous(), 401, "token-missing")]
    {
        caller.get("/audit").await.expect_problem(status, slug);
        caller.json(Method::POST, "/audit/forgotten", &forget).await.expect_problem(status, slug);
    }
}
