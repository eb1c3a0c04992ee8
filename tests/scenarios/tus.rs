//! The extensions of tus 1.0 (tus.io/protocols/resumable-upload), and methods said in a field.
//! `uploads.rs` has the core protocol and the creation of uploads.

use outport_tests::api::{Answer, Api};
use outport_tests::platform::Platform;
use outport_tests::world::{Caller, World};
use outport_tests::{raw, scenarios, tus};
use reqwest::Method;

scenarios![
    every_extension_is_listed,
    a_length_that_is_said_later,
    lengths_that_are_said_wrongly,
    unfinished_uploads_tell_when_they_expire,
    a_body_is_held_against_its_checksum,
    checksums_that_are_none,
    a_checksum_behind_the_body,
    uploads_become_one_file,
    a_file_is_made_of_what_is_still_coming,
    what_can_not_be_joined needs Foreign,
    a_method_in_a_field,
    a_method_in_a_field_is_authorized_as_such needs Foreign,
    methods_that_may_not_be_said_in_a_field,
];

const TYPE: (&str, &str) = ("content-type", tus::PATCH_TYPE);
const DEFER: (&str, &str) = ("upload-defer-length", "1");
const PARTIAL: (&str, &str) = ("upload-concat", "partial");

/// Checksums of `hello world`.
const OF_HELLO: [&str; 5] = [
    "sha1 Kq5sNclPz7QV2+lfQIuc6R7oRu0=",
    "sha256 uU0nuZNNPgilLlLX2n2r+sSE7+N6U4DukIj3rOLvzek=",
    "md5 XrY7u+Ae7tCTyyK7j1rNww==",
    "crc32c yZRlqg==",
    "blake3 10mB76cKDIgLjYwZhdB128v2ebmaX5kU5ar5a4ManiQ=",
];

async fn create(api: &Api, fields: &[(&str, &str)], body: &'static str) -> Answer {
    let fields = [&[tus::VERSION], fields].concat();
    api.send(Method::POST, "/uploads", &fields, body).await
}

/// Begins an upload; returns its path.
async fn begun(api: &Api, fields: &[(&str, &str)]) -> String {
    let answer = create(api, fields, "").await;
    answer.expect_status(201);
    answer.field("location").to_owned()
}

async fn head(api: &Api, upload: &str) -> Answer {
    api.head(upload, &[tus::VERSION]).await
}

async fn patch(
    api: &Api,
    upload: &str,
    offset: &str,
    fields: &[(&str, &str)],
    body: &'static str,
) -> Answer {
    let fields = [&[tus::VERSION, TYPE, ("upload-offset", offset)], fields].concat();
    api.send(Method::PATCH, upload, &fields, body).await
}

fn file_of(upload: &str) -> String {
    upload.replace("/uploads/", "/files/")
}

async fn every_extension_is_listed(world: World) {
    let answer = world.anonymous().send(Method::OPTIONS, "/uploads", &[], "").await;
    let mut listed: Vec<_> = answer.field("tus-extension").split(',').collect();
    if Platform::under_test() == Platform::Wasmtime {
        assert!(listed.contains(&"checksum-trailer"), "{listed:?}");
    }
    listed.retain(|extension| *extension != "checksum-trailer");
    let expected = [
        "creation",
        "creation-with-upload",
        "creation-defer-length",
        "expiration",
        "checksum",
        "termination",
        "concatenation",
        "concatenation-unfinished",
    ];
    assert_eq!(listed, expected);
    assert_eq!(answer.field("tus-checksum-algorithm"), "sha1,sha256,crc32c,md5,blake3");
}

async fn a_length_that_is_said_later(world: World) {
    let owner = world.owner();
    let upload = begun(&owner, &[DEFER]).await;
    patch(&owner, &upload, "0", &[], "01234").await.expect_status(204);
    let shown = head(&owner, &upload).await;
    assert_eq!(shown.field("upload-defer-length"), "1");
    assert_eq!((shown.field_if_any("upload-length"), shown.number("upload-offset")), (None, 5));
    patch(&owner, &upload, "5", &[("upload-length", "10")], "56").await.expect_status(204);
    let shown = head(&owner, &upload).await;
    assert_eq!(shown.field_if_any("upload-defer-length"), None);
    assert_eq!((shown.number("upload-length"), shown.number("upload-offset")), (10, 7));
    let changed = patch(&owner, &upload, "7", &[("upload-length", "11")], "789x").await;
    changed.expect_status(400);
    patch(&owner, &upload, "7", &[], "789").await.expect_status(204);
    assert_eq!(owner.get(&file_of(&upload)).await.body, "0123456789");
}

async fn lengths_that_are_said_wrongly(world: World) {
    let owner = world.owner();
    for value in ["0", "2", "yes", ""] {
        create(&owner, &[("upload-defer-length", value)], "")
            .await
            .expect_problem(400, "invalid-field");
    }
    let both = create(&owner, &[DEFER, ("upload-length", "5")], "").await;
    both.expect_problem(400, "invalid-field");
}

async fn unfinished_uploads_tell_when_they_expire(world: World) {
    let owner = world.owner();
    let created = create(&owner, &[("upload-length", "5")], "").await;
    let upload = created.field("location");
    let answers = [
        head(&owner, upload).await,
        patch(&owner, upload, "0", &[], "0123").await,
        created.clone(),
    ];
    for answer in answers {
        let expires = answer.field("upload-expires");
        assert!(expires.ends_with(" GMT"), "{expires}");
    }
    let last = patch(&owner, upload, "4", &[], "4").await;
    assert_eq!((last.status, last.field_if_any("upload-expires")), (204, None));
}

async fn a_body_is_held_against_its_checksum(world: World) {
    let owner = world.owner();
    for checksum in OF_HELLO {
        let checksum = ("upload-checksum", checksum);
        let created =
            create(&owner, &[("upload-length", "22"), TYPE, checksum], "hello world").await;
        created.expect_status(201);
        assert_eq!(created.number("upload-offset"), 11);
        let upload = created.field("location");
        let wrong = patch(&owner, upload, "11", &[checksum], "hello worle").await;
        wrong.expect_problem(460, "digest-mismatch");
        assert_eq!(head(&owner, upload).await.number("upload-offset"), 11);
        patch(&owner, upload, "11", &[checksum], "hello world").await.expect_status(204);
        assert_eq!(owner.get(&file_of(upload)).await.body, "hello worldhello world");
    }
}

async fn checksums_that_are_none(world: World) {
    let owner = world.owner();
    let upload = begun(&owner, &[("upload-length", "11")]).await;
    for checksum in
        ["sha1", "sha1 ???", "sha1 AAAA", "sha3 AAAA", "SHA1 Kq5sNclPz7QV2+lfQIuc6R7oRu0="]
    {
        let answer =
            patch(&owner, &upload, "0", &[("upload-checksum", checksum)], "hello world").await;
        answer.expect_problem(400, "invalid-field");
    }
    assert_eq!(head(&owner, &upload).await.number("upload-offset"), 0);
}

async fn a_checksum_behind_the_body(world: World) {
    let owner = world.owner();
    for (checksum, status) in
        OF_HELLO.map(|checksum| (checksum, 204)).into_iter().chain([("sha1 AAAA", 460), ("", 460)])
    {
        let upload = begun(&owner, &[("upload-length", "11")]).await;
        let request = format!(
            "PATCH {upload} HTTP/1.1\r\nhost: {}\r\nauthorization: Bearer {}\r\n\
             tus-resumable: 1.0.0\r\nupload-offset: 0\r\ncontent-type: {}\r\n\
             transfer-encoding: chunked\r\ntrailer: Upload-Checksum\r\n\r\n\
             6\r\nhello \r\n5\r\nworld\r\n0\r\nUpload-Checksum: {checksum}\r\n\r\n",
            owner.authority(),
            owner.token(),
            tus::PATCH_TYPE,
        );
        let answer = raw::exchange(&owner.authority(), request.as_bytes()).await;
        assert_eq!(answer.status(), Some(status), "{checksum}: {answer:?}");
        let offset = if status == 204 { 11 } else { 0 };
        assert_eq!(head(&owner, &upload).await.number("upload-offset"), offset, "{checksum}");
    }
}

/// A partial upload of this content.
async fn partial(api: &Api, content: &'static str) -> String {
    let length = content.len().to_string();
    let answer = create(api, &[PARTIAL, ("upload-length", &length), TYPE], content).await;
    answer.expect_status(201);
    answer.field("location").to_owned()
}

async fn uploads_become_one_file(world: World) {
    let owner = world.owner();
    let (a, b) = (partial(&owner, "hello ").await, partial(&owner, "world").await);
    assert_eq!(head(&owner, &a).await.field("upload-concat"), "partial");
    owner.get(&file_of(&a)).await.expect_status(404);
    // As clients have it: one address whole, and one by its path.
    let concat = format!("final;{} {b}", owner.url(&a));
    let metadata = tus::metadata(&[("filename", "both.txt"), ("filetype", "text/plain")]);
    let fields = [("upload-concat", concat.as_str()), ("upload-metadata", metadata.as_str())];
    let whole = begun(&owner, &fields).await;
    let shown = head(&owner, &whole).await;
    assert_eq!((shown.number("upload-offset"), shown.number("upload-length")), (11, 11));
    assert_eq!(shown.field("upload-concat"), concat);
    let file = owner.get(&file_of(&whole)).await;
    assert_eq!((file.field("content-type"), &file.body[..]), ("text/plain", &b"hello world"[..]));
    patch(&owner, &whole, "11", &[], "!").await.expect_problem(403, "final-upload");
    owner.send(Method::DELETE, &whole, &[tus::VERSION], "").await.expect_status(204);
    for gone in [&a, &b, &whole] {
        head(&owner, gone).await.expect_status(404);
    }
}

async fn a_file_is_made_of_what_is_still_coming(world: World) {
    let owner = world.owner();
    let a = begun(&owner, &[PARTIAL, ("upload-length", "6")]).await;
    let b = begun(&owner, &[PARTIAL, ("upload-length", "5")]).await;
    let whole = begun(&owner, &[("upload-concat", &format!("final;{a} {b}"))]).await;
    patch(&owner, &b, "0", &[], "world").await.expect_status(204);
    let shown = head(&owner, &whole).await;
    assert_eq!((shown.field_if_any("upload-offset"), shown.number("upload-length")), (None, 11));
    assert_eq!(owner.get(&whole).await.json()["offset"], 5);
    patch(&owner, &whole, "0", &[], "x").await.expect_problem(403, "final-upload");
    patch(&owner, &a, "0", &[], "hello ").await.expect_status(204);
    assert_eq!(head(&owner, &whole).await.number("upload-offset"), 11);
    assert_eq!(owner.get(&file_of(&whole)).await.body, "hello world");
}

async fn what_can_not_be_joined(world: World) {
    let owner = world.owner();
    let a = partial(&owner, "a").await;
    let ordinary = begun(&owner, &[("upload-length", "5")]).await;
    let of_stranger = partial(&world.api(Caller::Foreign), "s").await;
    for of in [
        format!("final;{a} {of_stranger}"),
        format!("final;{a} {ordinary}"),
        format!("final;{a}/../{a}"),
        "final;/uploads/01000G0000000C000000000004".to_owned(),
        "final;/etc/passwd".to_owned(),
        "final;".to_owned(),
        "whole".to_owned(),
    ] {
        let answer = create(&owner, &[("upload-concat", &of)], "").await;
        answer.expect_problem(400, "invalid-field");
    }
    let twice = create(&owner, &[("upload-concat", &format!("final;{a} {a}"))], "").await;
    twice.expect_problem(409, "conflict");
    let concat = format!("final;{a}");
    let with_length = [("upload-concat", concat.as_str()), ("upload-length", "1")];
    create(&owner, &with_length, "").await.expect_problem(400, "invalid-field");
    let whole = begun(&owner, &[("upload-concat", concat.as_str())]).await;
    let again = create(&owner, &[("upload-concat", concat.as_str())], "").await;
    again.expect_problem(409, "conflict");
    let nested = create(&owner, &[("upload-concat", &format!("final;{whole}"))], "").await;
    nested.expect_problem(400, "invalid-field");
}

async fn post_as(
    api: &Api,
    path: &str,
    method: &str,
    fields: &[(&str, &str)],
    body: &'static str,
) -> Answer {
    let fields = [&[tus::VERSION, ("x-http-method-override", method)], fields].concat();
    api.send(Method::POST, path, &fields, body).await
}

async fn a_method_in_a_field(world: World) {
    let owner = world.owner();
    let upload = begun(&owner, &[("upload-length", "5")]).await;
    let fields = [TYPE, ("upload-offset", "0")];
    let appended = post_as(&owner, &upload, "PATCH", &fields, "012").await;
    appended.expect_status(204);
    assert_eq!(appended.number("upload-offset"), 3);
    let shown = post_as(&owner, &upload, "HEAD", &[], "").await;
    shown.expect_status(200);
    assert_eq!((shown.number("upload-offset"), shown.number("upload-length")), (3, 5));
    post_as(&owner, &upload, "DELETE", &[], "").await.expect_status(204);
    head(&owner, &upload).await.expect_status(404);
    let file = owner.upload("name=a.txt", "text/plain", "a").await;
    post_as(&owner, &file.path(), "DELETE", &[], "").await.expect_status(204);
    owner.get(&file.path()).await.expect_status(404);
}

async fn a_method_in_a_field_is_authorized_as_such(world: World) {
    let file = world.owner().upload("name=a.txt", "text/plain", "a").await;
    let path = file.path();
    post_as(&world.anonymous(), &path, "DELETE", &[], "")
        .await
        .expect_problem(401, "token-missing");
    post_as(&world.api(Caller::Foreign), &path, "DELETE", &[], "")
        .await
        .expect_problem(404, "not-found");
    assert_eq!(world.owner().get(&path).await.body, "a");
}

async fn methods_that_may_not_be_said_in_a_field(world: World) {
    let owner = world.owner();
    for method in ["PUT", "GET", "patch", "TRACE"] {
        let answer = post_as(&owner, "/uploads", method, &[("upload-length", "5")], "").await;
        answer.expect_problem(400, "invalid-field");
    }
    let fields = [("x-http-method-override", "DELETE")];
    let file = owner.upload("name=a.txt", "text/plain", "a").await;
    assert_eq!(owner.get_with(&file.path(), &fields).await.body, "a", "a GET stays a GET");
    owner.get(&file.path()).await.expect_status(200);
}
