//! `POST /files`: a file in one request, raw or in a form.

use outport_tests::world::World;
use outport_tests::{random, raw, scenarios};
use reqwest::{Body, Method};
use serde_json::json;

scenarios![
    a_raw_body,
    a_body_of_unknown_length,
    a_form_with_a_file,
    a_form_with_several_files,
    a_form_with_a_visibility,
    a_form_without_a_file,
    forms_that_are_none,
    an_unknown_visibility,
    a_body_cut_short_leaves_nothing,
];

const BOUNDARY: &str = "----outport-boundary";

async fn a_raw_body(world: World) {
    let content = random::bytes(70_000);
    let owner = world.owner();
    let fields = [("content-type", "image/png")];
    let path = "/files?name=photo.png&visibility=link";
    let answer = owner.send(Method::POST, path, &fields, content.clone()).await;
    answer.expect_status(201);
    let document = answer.json();
    let id = document["id"].as_str().expect("it has an id");
    assert_eq!(answer.field("location"), format!("/files/{id}"));
    assert_eq!(id.len(), 26, "{id}");
    assert_eq!(document["name"], "photo.png");
    assert_eq!(document["type"], "image/png");
    assert_eq!(document["size"], 70_000);
    assert_eq!(document["visibility"], "link");
    assert_eq!(document["expires"], json!(null));
    assert_eq!(document["url"], format!("/files/{id}"));
    assert_eq!(document["metadata"], json!({}));
    let created = document["created"].as_str().expect("it says when it was made");
    assert!(created.ends_with('Z') && created.contains('T'), "{created}");
    let delivered = owner.get(&format!("/files/{id}")).await;
    assert_eq!(delivered.field("etag"), document["etag"]);
    assert_eq!(random::digest(&delivered.body), random::digest(&content));
}

async fn a_body_of_unknown_length(world: World) {
    let chunks = futures::stream::iter(["one ", "two ", "three"].map(Ok::<_, std::io::Error>));
    let file = world.owner().upload("", "text/plain", Body::wrap_stream(chunks)).await;
    assert_eq!(world.owner().get(&file.path()).await.body, "one two three");
}

async fn a_form_with_a_file(world: World) {
    let answer = post_form(&world, &part("file", "a.txt", "text/plain", "content")).await;
    answer.expect_status(201);
    let document = answer.json();
    assert_eq!((&document["name"], &document["type"]), (&json!("a.txt"), &json!("text/plain")));
    let path = answer.field("location");
    assert_eq!(world.owner().get(path).await.body, "content");
}

async fn a_form_with_several_files(world: World) {
    let form = part("file", "a.txt", "text/plain", "first")
        + &part("file", "b.txt", "text/plain", "second");
    let answer = post_form(&world, &form).await;
    answer.expect_status(201);
    let document = answer.json();
    let files = document["files"].as_array().expect("there are several").clone();
    assert_eq!(answer.field("location"), files[0]["url"]);
    for (file, content) in files.iter().zip(["first", "second"]) {
        let path = file["url"].as_str().expect("it has an address");
        assert_eq!(world.owner().get(path).await.body, content);
    }
}

async fn a_form_with_a_visibility(world: World) {
    let field = format!(
        "--{BOUNDARY}\r\ncontent-disposition: form-data; name=\"visibility\"\r\n\r\npublic\r\n"
    );
    let answer = post_form(&world, &(field + &part("file", "a.txt", "text/plain", "open"))).await;
    answer.expect_status(201);
    assert_eq!(answer.json()["visibility"], "public");
    assert_eq!(world.anonymous().get(answer.field("location")).await.body, "open");
}

async fn a_form_without_a_file(world: World) {
    let field = format!(
        "--{BOUNDARY}\r\ncontent-disposition: form-data; name=\"visibility\"\r\n\r\npublic\r\n"
    );
    for form in [String::new(), field] {
        post_form(&world, &form).await.expect_problem(400, "form-without-file");
    }
}

async fn forms_that_are_none(world: World) {
    for (kind, body) in [
        ("multipart/form-data", "--x\r\n"),
        ("multipart/form-data; boundary=", "--x\r\n"),
        ("multipart/form-data; boundary=x", "this is no form"),
        (
            "multipart/form-data; boundary=x",
            "--x\r\ncontent-disposition: form-data; name=\"file\"; filename=\"a\"\r\n\r\nno end",
        ),
    ] {
        let answer =
            world.owner().send(Method::POST, "/files", &[("content-type", kind)], body).await;
        assert_eq!(answer.status, 400, "{kind} {body}: {answer:?}");
    }
}

async fn an_unknown_visibility(world: World) {
    let fields = [("content-type", "text/plain")];
    let path = "/files?visibility=everyone";
    let answer = world.owner().send(Method::POST, path, &fields, "content").await;
    answer.expect_problem(400, "invalid-field");
}

async fn a_body_cut_short_leaves_nothing(world: World) {
    let owner = world.owner();
    let name = random::word();
    let head = format!(
        "POST /files?name={name} HTTP/1.1\r\nhost: {}\r\nauthorization: Bearer {}\r\n\
         content-length: 1000\r\n\r\nonly this",
        owner.authority(),
        owner.token(),
    );
    raw::send_and_cut(&owner.authority(), head.as_bytes()).await;
    let listed = owner.get(&format!("/files?prefix={name}")).await;
    listed.expect_status(200);
    assert_eq!(listed.json()["files"], json!([]));
}

fn part(field: &str, name: &str, kind: &str, content: &str) -> String {
    format!(
        "--{BOUNDARY}\r\ncontent-disposition: form-data; name=\"{field}\"; filename=\"{name}\"\r\n\
         content-type: {kind}\r\n\r\n{content}\r\n"
    )
}

async fn post_form(world: &World, parts: &str) -> outport_tests::api::Answer {
    let kind = format!("multipart/form-data; boundary={BOUNDARY}");
    let body = format!("{parts}--{BOUNDARY}--\r\n");
    world.owner().send(Method::POST, "/files", &[("content-type", &kind)], body).await
}
