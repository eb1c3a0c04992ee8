//! Resumable Uploads for HTTP (draft-ietf-httpbis-resumable-upload), through the edge.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use outport_tests::api::{Answer, Api};
use outport_tests::world::World;
use outport_tests::{random, scenarios, tus};
use reqwest::Method;
use sha2::{Digest as _, Sha256};

scenarios![
    options_say_that_it_is_spoken,
    a_plain_upload_becomes_one_that_can_be_resumed,
    a_file_of_unknown_length_in_pieces,
    a_wrong_offset_is_told_the_right_one,
    what_is_complete_takes_no_more,
    lengths_that_contradict_each_other,
    what_is_no_structured_field_counts_as_absent,
    a_body_with_another_digest_is_not_kept,
    a_cancelled_upload_is_gone,
    another_version_is_not_spoken,
    both_protocols_see_the_same_upload,
];

const PARTIAL: (&str, &str) = ("content-type", "application/partial-upload");

async fn create(owner: &Api, fields: &[(&str, &str)]) -> String {
    let fields = [fields, &[("upload-complete", "?0")]].concat();
    let answer = owner.send(Method::POST, "/uploads", &fields, "").await;
    answer.expect_status(201);
    assert_eq!(answer.field("upload-complete"), "?0");
    answer.field("location").to_owned()
}

async fn append(
    owner: &Api,
    upload: &str,
    offset: usize,
    complete: &str,
    body: impl Into<reqwest::Body>,
) -> Answer {
    let offset = offset.to_string();
    let fields = [PARTIAL, ("upload-offset", &offset), ("upload-complete", complete)];
    owner.send(Method::PATCH, upload, &fields, body).await
}

#[track_caller]
fn expect_registered(answer: &Answer, status: u16, slug: &str) {
    answer.expect_status(status);
    let kind = format!("https://iana.org/assignments/http-problem-types#{slug}");
    assert_eq!(answer.json()["type"], kind, "{answer:?}");
}

fn digest(content: &[u8]) -> String {
    format!("sha-256=:{}:", STANDARD.encode(Sha256::digest(content)))
}

async fn options_say_that_it_is_spoken(world: World) {
    for path in ["/uploads", "/files"] {
        let answer = world.anonymous().send(Method::OPTIONS, path, &[], "").await;
        assert!(answer.field("accept-patch").contains("application/partial-upload"), "{path}");
        assert!(answer.field("upload-limit").contains("max-size="), "{path}");
    }
}

async fn a_plain_upload_becomes_one_that_can_be_resumed(world: World) {
    let owner = world.owner();
    let content = random::bytes(200_000);
    let fields = [
        ("upload-complete", "?1"),
        ("content-type", "image/png"),
        ("content-disposition", "inline; filename=\"a.png\""),
    ];
    let answer = owner.send(Method::POST, "/files", &fields, content.clone()).await;
    answer.expect_status(201);
    assert_eq!(answer.field("upload-complete"), "?1");
    let path = answer.field("location").to_owned();
    let file = owner.get(&path).await;
    assert_eq!(random::digest(&file.body), random::digest(&content));
    assert_eq!(file.field("content-type"), "image/png");
    let head = owner.head(&path.replace("/files/", "/uploads/"), &[]).await;
    head.expect_status(204);
    assert_eq!((head.number("upload-offset"), head.field("upload-complete")), (200_000, "?1"));
}

async fn a_file_of_unknown_length_in_pieces(world: World) {
    let owner = world.owner();
    let content = random::bytes(300_000);
    let upload = create(&owner, &[]).await;
    for (begin, end) in [(0, 100_000), (100_000, 100_001), (100_001, 250_000)] {
        let answer = append(&owner, &upload, begin, "?0", content[begin..end].to_vec()).await;
        answer.expect_status(204);
        assert_eq!(answer.field("upload-complete"), "?0");
        let head = owner.head(&upload, &[]).await;
        head.expect_status(204);
        assert_eq!(head.number("upload-offset"), end as u64);
        assert_eq!(head.field_if_any("upload-length"), None);
        assert!(head.field("cache-control").contains("no-store"));
    }
    let last = append(&owner, &upload, 250_000, "?1", content[250_000..].to_vec()).await;
    last.expect_status(201);
    assert_eq!(last.field("upload-complete"), "?1");
    let file = owner.get(last.field("location")).await;
    assert_eq!(random::digest(&file.body), random::digest(&content));
}

async fn a_wrong_offset_is_told_the_right_one(world: World) {
    let owner = world.owner();
    let upload = create(&owner, &[]).await;
    append(&owner, &upload, 0, "?0", "01234").await.expect_status(204);
    for offset in [0, 4, 6] {
        let answer = append(&owner, &upload, offset, "?1", "x").await;
        expect_registered(&answer, 409, "mismatching-upload-offset");
        assert_eq!((answer.number("upload-offset"), answer.field("upload-complete")), (5, "?0"));
        assert_eq!(answer.json()["expected-offset"], 5);
        assert_eq!(answer.json()["provided-offset"], offset);
    }
    append(&owner, &upload, 5, "?1", "").await.expect_status(201);
}

async fn what_is_complete_takes_no_more(world: World) {
    let owner = world.owner();
    let upload = create(&owner, &[]).await;
    append(&owner, &upload, 0, "?1", "01234").await.expect_status(201);
    let more = append(&owner, &upload, 5, "?1", "x").await;
    expect_registered(&more, 400, "inconsistent-upload-length");
    let nothing = append(&owner, &upload, 5, "?1", "").await;
    expect_registered(&nothing, 400, "completed-upload");
    let file = owner.get(&upload.replace("/uploads/", "/files/")).await;
    assert_eq!(file.body, "01234");
}

async fn lengths_that_contradict_each_other(world: World) {
    let owner = world.owner();
    let fields = [("upload-complete", "?1"), ("upload-length", "6")];
    let answer = owner.send(Method::POST, "/uploads", &fields, "01234").await;
    expect_registered(&answer, 400, "inconsistent-upload-length");
    let upload = create(&owner, &[("upload-length", "10")]).await;
    for (complete, body) in [("?1", "01234"), ("?0", "0123456789a")] {
        let answer = append(&owner, &upload, 0, complete, body).await;
        expect_registered(&answer, 400, "inconsistent-upload-length");
    }
    append(&owner, &upload, 0, "?1", "0123456789").await.expect_status(201);
}

async fn what_is_no_structured_field_counts_as_absent(world: World) {
    let owner = world.owner();
    for complete in ["1", "true", "?2"] {
        let fields = [("upload-complete", complete)];
        let answer = owner.send(Method::POST, "/files", &fields, "01234").await;
        answer.expect_status(201);
        assert_eq!(answer.field_if_any("upload-complete"), None, "{complete}");
    }
    let upload = create(&owner, &[("upload-length", "ten")]).await;
    let head = owner.head(&upload, &[]).await;
    assert_eq!(head.field_if_any("upload-length"), None);
    let fields = [PARTIAL, ("upload-offset", "zero"), ("upload-complete", "?1")];
    let answer = owner.send(Method::PATCH, &upload, &fields, "x").await;
    answer.expect_problem(400, "invalid-field");
    let untyped = [("upload-offset", "0"), ("upload-complete", "?1")];
    let answer = owner.send(Method::PATCH, &upload, &untyped, "x").await;
    answer.expect_problem(415, "unsupported-type");
    assert_eq!(answer.field("accept-patch"), "application/partial-upload");
}

async fn a_body_with_another_digest_is_not_kept(world: World) {
    let owner = world.owner();
    let (right, wrong) = (digest(b"01234"), digest(b"wrong"));
    let upload = create(&owner, &[("repr-digest", &right)]).await;
    for (digest, status) in [(&wrong, 400), (&right, 201)] {
        let fields = [
            PARTIAL,
            ("upload-offset", "0"),
            ("upload-complete", "?1"),
            ("content-digest", digest),
        ];
        owner.send(Method::PATCH, &upload, &fields, "01234").await.expect_status(status);
    }
    for field in ["content-digest", "repr-digest"] {
        let answer = owner.send(Method::POST, "/files", &[(field, &wrong)], "01234").await;
        answer.expect_problem(400, "digest-mismatched-values");
        owner.send(Method::POST, "/files", &[(field, &right)], "01234").await.expect_status(201);
    }
}

async fn a_cancelled_upload_is_gone(world: World) {
    let owner = world.owner();
    let upload = create(&owner, &[]).await;
    append(&owner, &upload, 0, "?0", "01234").await.expect_status(204);
    owner.delete(&upload).await.expect_status(204);
    owner.head(&upload, &[]).await.expect_status(404);
    append(&owner, &upload, 5, "?1", "").await.expect_problem(404, "not-found");
}

async fn another_version_is_not_spoken(world: World) {
    let fields = [("upload-complete", "?1"), ("upload-draft-interop-version", "5")];
    let answer = world.owner().send(Method::POST, "/uploads", &fields, "x").await;
    answer.expect_problem(400, "invalid-field");
    assert_eq!(answer.field("upload-draft-interop-version"), "8");
}

async fn both_protocols_see_the_same_upload(world: World) {
    let owner = world.owner();
    let upload = tus::create(&owner, 10, "both.bin", "private").await;
    upload.patch(0, "01234").await.expect_status(204);
    let head = owner.head(&upload.path, &[]).await;
    head.expect_status(204);
    assert_eq!((head.number("upload-offset"), head.number("upload-length")), (5, 10));
    append(&owner, &upload.path, 5, "?1", "56789").await.expect_status(201);
    assert_eq!(upload.offset().await, 10);
    assert_eq!(owner.get(&upload.file_path()).await.body, "0123456789");
}
