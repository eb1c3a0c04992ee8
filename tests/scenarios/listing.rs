//! `GET /files`: the caller's files, newest first.

use outport_tests::api::{Answer, Api};
use outport_tests::world::{Caller, World};
use outport_tests::{random, scenarios};
use serde_json::Value;

scenarios![
    newest_first,
    page_by_page,
    by_prefix,
    files_of_others_are_not_listed needs Foreign,
    files_of_other_subjects_are_not_listed needs Other,
    removed_files_are_not_listed,
    unfinished_uploads_are_not_listed,
    queries_that_are_none,
];

async fn newest_first(world: World) {
    let owner = world.owner();
    let prefix = random::word();
    let names = upload_named(&owner, &prefix, 3).await;
    let answer = owner.get(&format!("/files?prefix={prefix}")).await;
    let newest_first: Vec<_> = names.into_iter().rev().collect();
    assert_eq!(listed(&answer), newest_first);
    assert_eq!(answer.json()["cursor"], Value::Null);
    assert!(answer.field("cache-control").contains("no-store"), "{answer:?}");
}

async fn page_by_page(world: World) {
    let owner = world.owner();
    let prefix = random::word();
    let mut expected = upload_named(&owner, &prefix, 7).await;
    expected.reverse();
    let (mut found, mut cursor) = (Vec::new(), String::new());
    for _ in 0..10 {
        let answer = owner.get(&format!("/files?prefix={prefix}&limit=3{cursor}")).await;
        answer.expect_status(200);
        assert!(listed(&answer).len() <= 3, "{answer:?}");
        found.extend(listed(&answer));
        match &answer.json()["cursor"] {
            Value::String(next) => cursor = format!("&cursor={next}"),
            _ => break,
        }
    }
    assert_eq!(found, expected);
}

async fn by_prefix(world: World) {
    let owner = world.owner();
    let prefix = random::word();
    upload_named(&owner, &format!("x{prefix}"), 1).await;
    let names = upload_named(&owner, &prefix, 1).await;
    assert_eq!(listed(&owner.get(&format!("/files?prefix={prefix}")).await), names);
    assert_eq!(listed(&owner.get(&format!("/files?prefix={prefix}zzz")).await), [""; 0]);
}

async fn files_of_others_are_not_listed(world: World) {
    not_listed_for(&world, Caller::Foreign).await;
}

async fn files_of_other_subjects_are_not_listed(world: World) {
    not_listed_for(&world, Caller::Other).await;
}

async fn removed_files_are_not_listed(world: World) {
    let owner = world.owner();
    let name = random::word();
    let file = owner.upload(&format!("name={name}"), "text/plain", "x").await;
    assert_eq!(listed(&owner.get(&format!("/files?prefix={name}")).await), [name.as_str()]);
    owner.delete(&file.path()).await.expect_status(204);
    assert_eq!(listed(&owner.get(&format!("/files?prefix={name}")).await), [""; 0]);
}

async fn unfinished_uploads_are_not_listed(world: World) {
    let owner = world.owner();
    let name = random::word();
    let upload = outport_tests::tus::create(&owner, 5, &name, "private").await;
    upload.patch(0, "012").await.expect_status(204);
    assert_eq!(listed(&owner.get(&format!("/files?prefix={name}")).await), [""; 0]);
    upload.patch(3, "34").await.expect_status(204);
    assert_eq!(listed(&owner.get(&format!("/files?prefix={name}")).await), [name.as_str()]);
}

async fn queries_that_are_none(world: World) {
    for query in [
        "limit=-1",
        "limit=x",
        "limit=99999999999999999999",
        "limit=0",
        "cursor=%00",
        "cursor=nonsense!",
    ] {
        let answer = world.owner().get(&format!("/files?{query}")).await;
        assert_eq!(answer.status, 400, "{query}: {answer:?}");
        answer.expect_problem(400, "invalid-field");
    }
}

async fn not_listed_for(world: &World, caller: Caller) {
    let name = random::word();
    world.owner().upload(&format!("name={name}&visibility=public"), "text/plain", "x").await;
    let answer = world.api(caller).get(&format!("/files?prefix={name}")).await;
    assert_eq!(listed(&answer), [""; 0]);
}

async fn upload_named(owner: &Api, prefix: &str, count: usize) -> Vec<String> {
    let mut names = Vec::new();
    for number in 0..count {
        let name = format!("{prefix}-{number}.txt");
        owner.upload(&format!("name={name}"), "text/plain", "x").await;
        // Ids order by the millisecond.
        tokio::time::sleep(std::time::Duration::from_millis(2)).await;
        names.push(name);
    }
    names
}

#[track_caller]
fn listed(answer: &Answer) -> Vec<String> {
    answer.expect_status(200);
    let document = answer.json();
    let files = document["files"].as_array().expect("there is a list");
    files.iter().map(|file| file["name"].as_str().expect("a file has a name").to_owned()).collect()
}
