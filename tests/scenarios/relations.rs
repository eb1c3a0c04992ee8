//! Who may do what with files of others of their tenant, by relations, over HTTP.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use outport_tests::api::{Answer, Api, File};
use outport_tests::scenarios;
use outport_tests::world::{Caller, World};
use reqwest::Method;
use serde_json::{Value, json};

scenarios![
    a_file_is_shared_with_a_user needs Other,
    an_editor_is_no_owner needs Other,
    by_folders_and_groups needs Other,
    a_folder_is_whose_it_was_first needs Other,
    relations_are_none_of_others_business needs Issuers,
    they_end_at_the_tenant needs Issuers,
    relations_that_are_none,
];

/// The subject of a token.
fn subject(api: &Api) -> String {
    let claims = api.token().split('.').nth(1).expect("a token has claims");
    let claims = URL_SAFE_NO_PAD.decode(claims).expect("they are base64url");
    let claims: Value = serde_json::from_slice(&claims).expect("they are JSON");
    claims["sub"].as_str().expect("there is a subject").to_owned()
}

/// Writes and takes away, and gives the revision.
async fn relate(api: &Api, write: &[&str], delete: &[&str]) -> String {
    let answer = change(api, write, delete).await;
    answer.expect_status(200);
    answer.json()["revision"].as_u64().expect("there is a revision").to_string()
}

async fn change(api: &Api, write: &[&str], delete: &[&str]) -> Answer {
    let body = json!({ "write": write, "delete": delete });
    api.json(Method::POST, "/relations", &body).await
}

/// Fetches a file by what is related since a revision.
async fn get_since(api: &Api, file: &File, revision: &str) -> Answer {
    api.get_with(&file.path(), &[("outport-at-least", revision)]).await
}

async fn a_file_is_shared_with_a_user(world: World) {
    let (owner, other) = (world.owner(), world.api(Caller::Other));
    let file = owner.upload("name=a.txt", "text/plain", "shared").await;
    let viewer = &format!("file:{}#viewer@user:{}", file.id(), subject(&other));
    // Somebody of whom no other scenario has heard.
    let reader = format!("user:{}", file.id());
    let also = &format!("file:{}#viewer@{reader}", file.id());
    other.get(&file.path()).await.expect_problem(404, "not-found");
    let revision = relate(&owner, &[viewer, also], &[]).await;
    for _ in 0..2 {
        let got = get_since(&other, &file, &revision).await;
        got.expect_status(200);
        assert_eq!(got.body, "shared");
    }
    let part = [("outport-at-least", &*revision), ("range", "bytes=1-3")];
    assert_eq!(other.get_with(&file.path(), &part).await.body, "har");
    world.anonymous().get(&file.path()).await.expect_problem(404, "not-found");
    // Who can see this, and what can they see?
    let who = owner.get(&format!("/relations?who=file:{}", file.id())).await;
    who.expect_status(200);
    let seer = |subject: &str, through: &str| json!({ "subject": subject, "level": "viewer", "through": [through] });
    let seers = json!([seer(&reader, also), seer(&format!("user:{}", subject(&other)), viewer)]);
    let answer = who.json();
    assert_eq!((&answer["subjects"], &answer["complete"]), (&seers, &json!(true)));
    assert_eq!(answer["owner"], subject(&owner));
    let what = owner.get(&format!("/relations?what={reader}")).await;
    what.expect_status(200);
    let seen = json!([{ "id": file.id(), "level": "viewer" }]);
    assert_eq!(what.json()["files"], seen);
    let tuples = owner.get(&format!("/relations?object=file:{}", file.id())).await;
    assert_eq!(tuples.json()["tuples"], json!([also, viewer]));

    let revision = relate(&owner, &[], &[viewer]).await;
    get_since(&other, &file, &revision).await.expect_problem(404, "not-found");
}

async fn an_editor_is_no_owner(world: World) {
    let (owner, other) = (world.owner(), world.api(Caller::Other));
    let file = owner.upload("name=a.txt", "text/plain", "ours").await;
    let of = |relation: &str| format!("file:{}#{relation}@user:{}", file.id(), subject(&other));
    let rename = json!({ "name": "b.txt" });
    let publish = json!({ "visibility": "public" });
    relate(&owner, &[&of("viewer")], &[]).await;
    for body in [&rename, &publish] {
        let refused = other.json(Method::PATCH, &file.path(), body).await;
        refused.expect_problem(404, "not-found");
    }
    let revision = relate(&owner, &[&of("editor")], &[]).await;
    other.json(Method::PATCH, &file.path(), &rename).await.expect_status(200);
    let refused = other.json(Method::PATCH, &file.path(), &publish).await;
    refused.expect_problem(404, "not-found");
    let links = format!("{}/links", file.path());
    other.json(Method::POST, &links, &json!({})).await.expect_problem(404, "not-found");
    change(&other, &[&of("owner")], &[]).await.expect_problem(404, "not-found");
    let got = get_since(&other, &file, &revision).await;
    assert!(got.field("content-disposition").contains("b.txt"), "{got:?}");

    relate(&owner, &[&of("owner")], &[]).await;
    other.json(Method::POST, &links, &json!({})).await.expect_status(201);
    other.delete(&file.path()).await.expect_status(204);
    owner.get(&file.path()).await.expect_problem(404, "not-found");
}

async fn by_folders_and_groups(world: World) {
    let (owner, other) = (world.owner(), world.api(Caller::Other));
    let file = owner.upload("name=a.txt", "text/plain", "ours").await;
    let own = file.id();
    let in_it = &format!("file:{own}#parent@folder:in-{own}");
    let member = &format!("group:{own}#member@user:{}", subject(&other));
    let write = [
        in_it.as_str(),
        &format!("folder:in-{own}#parent@folder:{own}"),
        &format!("folder:{own}#viewer@group:{own}"),
    ];
    let revision = relate(&owner, &write, &[]).await;
    get_since(&other, &file, &revision).await.expect_problem(404, "not-found");
    let also = &format!("group:{own}#member@user:{own}");
    let revision = relate(&owner, &[member, also], &[]).await;
    get_since(&other, &file, &revision).await.expect_status(200);
    let what = owner.get(&format!("/relations?what=user:{own}")).await;
    assert_eq!(what.json()["files"], json!([{ "id": own, "level": "viewer" }]));
    // Taken out of the folder, it is none of the group's.
    let revision = relate(&owner, &[], &[in_it]).await;
    get_since(&other, &file, &revision).await.expect_problem(404, "not-found");
    relate(&owner, &[], &[member, also]).await;
}

async fn a_folder_is_whose_it_was_first(world: World) {
    let (owner, other) = (world.owner(), world.api(Caller::Other));
    let theirs = other.upload("name=a.txt", "text/plain", "theirs").await;
    let name = theirs.id();
    let put = &format!("file:{name}#parent@folder:{name}");
    change(&other, &[put], &[]).await.expect_problem(404, "not-found");
    let begin = &format!("folder:{name}#owner@user:{}", subject(&other));
    relate(&other, &[put, begin], &[]).await;
    // It is there now, and nobody else's to have; and groups are the admins'.
    let viewer = &format!("folder:{name}#viewer@user:x");
    relate(&other, &[viewer], &[]).await;
    let member = &format!("group:{name}#member@user:x");
    change(&other, &[member], &[]).await.expect_problem(403, "scope-missing");
    let place = format!("/relations?object=folder:{name}");
    let tuples = other.get(&place).await.json();
    assert_eq!(tuples["tuples"], json!([begin, viewer]));
    owner.get(&place).await.expect_status(200);
    relate(&other, &[], &[viewer, put, begin]).await;
    other.get(&place).await.expect_problem(404, "not-found");
}

async fn relations_are_none_of_others_business(world: World) {
    // What everybody of a tenant sees is among what each of them sees: so it is not the one of others.
    let owner = world.of_tenant("of-everybody", "owner", "read write share admin");
    let other = world.of_tenant("of-everybody", "other", "read write share");
    let file = owner.upload("name=a.txt", "text/plain", "mine").await;
    let own = file.id();
    is_nothing_to(&other, &file).await;
    for question in ["subject", "what"] {
        let asked = other.get(&format!("/relations?{question}=user:{}", subject(&owner))).await;
        asked.expect_problem(403, "scope-missing");
    }
    let everybody = &format!("file:{own}#viewer@tenant");
    let revision = relate(&owner, &[everybody], &[]).await;
    get_since(&other, &file, &revision).await.expect_status(200);
}

async fn is_nothing_to(stranger: &Api, file: &File) {
    let viewer = &format!("file:{}#viewer@user:{}", file.id(), subject(stranger));
    change(stranger, &[viewer], &[]).await.expect_problem(404, "not-found");
    for question in ["object", "who"] {
        let asked = stranger.get(&format!("/relations?{question}=file:{}", file.id())).await;
        asked.expect_problem(404, "not-found");
    }
    stranger.get(&file.path()).await.expect_problem(404, "not-found");
}

async fn they_end_at_the_tenant(world: World) {
    let owner = world.of_tenant("here", "owner", "read write share admin");
    let foreign = world.of_tenant("elsewhere", "owner", "read write share admin");
    let file = owner.upload("name=a.txt", "text/plain", "mine").await;
    is_nothing_to(&foreign, &file).await;
    let of = [
        &format!("file:{}#viewer@user:{}", file.id(), subject(&foreign)),
        &format!("file:{}#viewer@tenant", file.id()),
    ];
    let revision = relate(&owner, &[of[0], of[1]], &[]).await;
    get_since(&foreign, &file, &revision).await.expect_problem(404, "not-found");
    is_nothing_to(&foreign, &file).await;
    // Whoever has all of their own tenant has nothing of another.
    let all = &["tenant#owner@tenant"];
    relate(&foreign, all, &[]).await;
    is_nothing_to(&foreign, &file).await;
    let rename = json!({ "name": "b.txt" });
    let refused = foreign.json(Method::PATCH, &file.path(), &rename).await;
    refused.expect_problem(404, "not-found");
    relate(&foreign, &[], all).await;
}

async fn relations_that_are_none(world: World) {
    let owner = world.owner();
    for body in [
        json!({}),
        json!({ "write": ["folder:a#admires@user:b"] }),
        json!({ "write": ["folder:a#viewer@folder:b"] }),
        json!({ "write": ["folder:a#parent@folder:a"] }),
        json!({ "write": ["nonsense"] }),
        json!({ "write": ["folder:a#viewer@user:b"], "delete": ["folder:a#viewer@user:b"] }),
        json!({ "write": vec!["folder:a#viewer@user:b"; 65] }),
        json!({ "grant": [] }),
    ] {
        let refused = owner.json(Method::POST, "/relations", &body).await;
        refused.expect_problem(400, "invalid-field");
    }
    for query in ["", "?who=file:x", "?who=folder:a&what=user:b", "?what=group:a", "?subject=x"] {
        let refused = owner.get(&format!("/relations{query}")).await;
        refused.expect_problem(400, "invalid-field");
    }
    let unknown = "file:01000G0000000C000000000004#viewer@user:b";
    change(&owner, &[unknown], &[]).await.expect_problem(404, "not-found");
    world.anonymous().get("/relations?what=user:b").await.expect_problem(401, "token-missing");
}
