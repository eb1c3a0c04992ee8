//! tus 1.0: the extensions creation-defer-length, expiration, checksum, checksum-trailer,
//! concatenation and concatenation-unfinished, and what can be wrong about each.

use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use crate::support::{Answer, Caller, Running, bytes, file_of, pair, parts_in};
use crate::uploads::open_patch;

const TYPE: (&str, &str) = ("content-type", "application/offset+octet-stream");
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
const OF_NOTHING: &str = "sha1 2jmj7l5rSw0yVb/vlWAYkK/YBwk=";
const MALFORMED: [&str; 5] = ["", "sha1", "sha1 ???", "sha1 AAAA", "sha3 AAAA"];

async fn create(alice: &Caller, fields: &[(&str, &str)], body: &'static str) -> Answer {
    alice.tus("POST", "/uploads", fields, body).await
}

/// Begins an upload; returns its target.
async fn begun(alice: &Caller, fields: &[(&str, &str)]) -> String {
    create(alice, fields, "").await.expect(201).header("location").unwrap().to_owned()
}

async fn head(alice: &Caller, upload: &str) -> Answer {
    alice.tus("HEAD", upload, &[], "").await
}

async fn patch(
    alice: &Caller,
    upload: &str,
    offset: usize,
    fields: &[(&str, &str)],
    body: impl Into<bytes::Bytes>,
) -> Answer {
    let offset = offset.to_string();
    let fields = [&[TYPE, ("upload-offset", offset.as_str())], fields].concat();
    alice.tus("PATCH", upload, &fields, body).await
}

fn is_invalid(answer: &Answer) {
    assert_eq!(answer.problem(), (400, "invalid-field".into()));
}

#[tokio::test]
async fn a_length_that_is_said_later_is_said_once() {
    let origin = Running::start().await;
    let alice = origin.alice();
    let upload = begun(&alice, &[DEFER]).await;
    let shown = head(&alice, &upload).await.expect(200);
    assert_eq!(shown.header("upload-defer-length"), Some("1"));
    assert_eq!((shown.header("upload-length"), shown.header("upload-offset")), (None, Some("0")));
    patch(&alice, &upload, 0, &[], "01234").await.expect(204);
    assert_eq!(head(&alice, &upload).await.header("upload-defer-length"), Some("1"));
    let progress = alice.get(&upload, &[]).await.expect(200).json();
    assert_eq!(progress["length"], serde_json::Value::Null);
    assert_eq!(progress["complete"], false);

    for (length, problem) in [
        ("4", (400, "inconsistent-upload-length")),
        ("ten", (400, "invalid-field")),
        ("1048577", (413, "too-large")),
    ] {
        let answer = patch(&alice, &upload, 5, &[("upload-length", length)], "").await;
        assert_eq!(answer.problem(), (problem.0, problem.1.to_owned()), "{length}");
    }
    assert_eq!(head(&alice, &upload).await.header("upload-defer-length"), Some("1"));
    patch(&alice, &upload, 5, &[("upload-length", "10")], "56").await.expect(204);
    let shown = head(&alice, &upload).await.expect(200);
    assert_eq!(shown.header("upload-defer-length"), None);
    assert_eq!(
        (shown.header("upload-length"), shown.header("upload-offset")),
        (Some("10"), Some("7"))
    );
    for length in ["9", "11"] {
        let answer = patch(&alice, &upload, 7, &[("upload-length", length)], "78").await;
        assert_eq!(answer.problem(), (400, "inconsistent-upload-length".into()), "{length}");
    }
    assert_eq!(alice.offset(&upload).await, 7, "nothing came of those");
    patch(&alice, &upload, 7, &[("upload-length", "10")], "789").await.expect(204);
    assert_eq!(alice.get(&file_of(&upload), &[]).await.expect(200).body, "0123456789");
}

#[tokio::test]
async fn a_length_can_be_said_when_all_is_there() {
    let origin = Running::start().await;
    let alice = origin.alice();
    let fields = [DEFER, TYPE];
    let answer = create(&alice, &fields, "0123").await.expect(201);
    assert_eq!(answer.header("upload-offset"), Some("4"));
    let upload = answer.header("location").unwrap();
    alice.get(&file_of(upload), &[]).await.expect(404);
    patch(&alice, upload, 4, &[("upload-length", "4")], "").await.expect(204);
    assert_eq!(alice.get(&file_of(upload), &[]).await.expect(200).body, "0123");
}

#[tokio::test]
async fn what_defers_a_length_is_1_and_stands_alone() {
    let origin = Running::start().await;
    let alice = origin.alice();
    for value in ["0", "2", "true", "", "1, 1"] {
        is_invalid(&create(&alice, &[("upload-defer-length", value)], "").await);
    }
    is_invalid(&create(&alice, &[DEFER, DEFER], "").await);
    is_invalid(&create(&alice, &[DEFER, ("upload-length", "5")], "").await);
    is_invalid(&create(&alice, &[], "").await);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_upload_without_a_length_is_bounded_too() {
    let origin =
        Running::start_with(|config| config.rules.default.declared.size_max_bytes = 9_000).await;
    let alice = origin.alice();
    let upload = begun(&alice, &[DEFER]).await;
    patch(&alice, &upload, 0, &[], bytes(8_999)).await.expect(204);
    let answer = patch(&alice, &upload, 8_999, &[], "xx").await;
    assert_eq!(answer.problem(), (413, "too-large".into()));
    let chunked = b"2\r\nxx\r\n0\r\n\r\n";
    let announced = "transfer-encoding: chunked";
    let mut stream = open_patch(&alice, &upload, 8_999, announced, chunked).await;
    let mut answer = vec![0; 12];
    stream.read_exact(&mut answer).await.unwrap();
    assert_eq!(answer, b"HTTP/1.1 413");
}

#[tokio::test]
async fn unfinished_uploads_tell_when_they_expire() {
    let origin = Running::start().await;
    let alice = origin.alice();
    let created = create(&alice, &[("upload-length", "5")], "").await.expect(201);
    let upload = created.header("location").unwrap();
    let shown = head(&alice, upload).await;
    let appended = patch(&alice, upload, 0, &[], "0123").await.expect(204);
    for answer in [&created, &shown, &appended] {
        let expires = answer.header("upload-expires").unwrap();
        assert!(expires.ends_with(" GMT"), "{expires}");
        let left = DateTime::parse_from_rfc2822(expires).unwrap().to_utc() - Utc::now();
        assert!(left > TimeDelta::days(6), "{left:?}");
    }
    let last = patch(&alice, upload, 4, &[], "4").await.expect(204);
    assert_eq!(last.header("upload-expires"), None);
    assert_eq!(head(&alice, upload).await.header("upload-expires"), None);
}

#[tokio::test]
async fn an_expired_upload_is_gone() {
    let origin =
        Running::start_with(|config| config.limits.upload_expire_after = Some(Duration::ZERO))
            .await;
    let alice = origin.alice();
    let upload = begun(&alice, &[("upload-length", "5")]).await;
    let shown = head(&alice, &upload).await.expect(410);
    assert_eq!(shown.header("upload-offset"), None);
    assert_eq!(patch(&alice, &upload, 0, &[], "0").await.problem(), (410, "gone".into()));
    assert_eq!(alice.get(&upload, &[]).await.problem(), (410, "gone".into()));
    let bob = origin.caller("demo", "bob", "read write");
    head(&bob, &upload).await.expect(404);
}

#[tokio::test]
async fn a_body_is_held_against_its_checksum() {
    let origin = Running::start().await;
    let alice = origin.alice();
    for checksum in OF_HELLO {
        let upload = begun(&alice, &[("upload-length", "22")]).await;
        let fields = [("upload-checksum", checksum)];
        patch(&alice, &upload, 0, &fields, "hello world").await.expect(204);
        let parts = parts_in(origin.folder.path());
        let wrong = patch(&alice, &upload, 11, &fields, "hello worle").await;
        assert_eq!(wrong.problem(), (460, "digest-mismatch".into()), "{checksum}");
        assert_eq!(alice.offset(&upload).await, 11, "{checksum}");
        assert_eq!(parts_in(origin.folder.path()), parts, "nothing is left of it");
        patch(&alice, &upload, 11, &fields, "hello world").await.expect(204);
        let file = alice.get(&file_of(&upload), &[]).await.expect(200);
        assert_eq!(file.body, "hello worldhello world");
    }
}

#[tokio::test]
async fn what_comes_with_a_creation_is_held_against_its_checksum() {
    let origin = Running::start().await;
    let alice = origin.alice();
    let fields = |checksum| [("upload-length", "11"), TYPE, ("upload-checksum", checksum)];
    for checksum in OF_HELLO {
        let answer = create(&alice, &fields(checksum), "hello world").await.expect(201);
        let file = file_of(answer.header("location").unwrap());
        assert_eq!(alice.get(&file, &[]).await.expect(200).body, "hello world");
    }
    let wrong = create(&alice, &fields(OF_NOTHING), "hello world").await;
    assert_eq!(wrong.problem(), (460, "digest-mismatch".into()));
    assert_eq!(parts_in(origin.folder.path()), OF_HELLO.len());
    // A checksum is one of the body, and there may be none.
    create(&alice, &fields(OF_NOTHING), "").await.expect(201);
    let wrong = create(&alice, &fields(OF_HELLO[0]), "").await;
    assert_eq!(wrong.problem(), (460, "digest-mismatch".into()));
}

#[tokio::test]
async fn a_checksum_that_is_none_is_refused() {
    let origin = Running::start().await;
    let alice = origin.alice();
    let upload = begun(&alice, &[("upload-length", "11")]).await;
    for checksum in MALFORMED {
        let field = ("upload-checksum", checksum);
        is_invalid(&patch(&alice, &upload, 0, &[field], "hello world").await);
        is_invalid(&create(&alice, &[("upload-length", "11"), TYPE, field], "hello world").await);
    }
    let field = ("upload-checksum", OF_HELLO[0]);
    is_invalid(&patch(&alice, &upload, 0, &[field, field], "hello world").await);
    assert_eq!(alice.offset(&upload).await, 0);
}

/// A PATCH in chunks with what is behind its body; returns the status.
async fn with_trailer(alice: &Caller, upload: &str, announced: &str, trailer: &str) -> u16 {
    let announced = format!("transfer-encoding: chunked{announced}");
    let body = format!("6\r\nhello \r\n5\r\nworld\r\n0\r\n{trailer}\r\n");
    let mut stream = open_patch(alice, upload, 0, &announced, body.as_bytes()).await;
    stream.flush().await.unwrap();
    let mut answer = [0; 12];
    stream.read_exact(&mut answer).await.unwrap();
    std::str::from_utf8(&answer[9..]).unwrap().parse().unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_checksum_may_come_behind_the_body() {
    let origin = Running::start().await;
    let alice = origin.alice();
    let announced = "\r\nTrailer: Upload-Checksum";
    for (checksum, status) in OF_HELLO
        .map(|checksum| (format!("Upload-Checksum: {checksum}\r\n"), 204))
        .into_iter()
        .chain(MALFORMED.map(|checksum| (format!("Upload-Checksum: {checksum}\r\n"), 460)))
        .chain([(format!("upload-checksum: {OF_NOTHING}\r\n"), 460), (String::new(), 460)])
    {
        let upload = begun(&alice, &[("upload-length", "11")]).await;
        let seen = with_trailer(&alice, &upload, announced, &checksum).await;
        assert_eq!(seen, status, "{checksum}");
        let offset = if status == 204 { 11 } else { 0 };
        assert_eq!(alice.offset(&upload).await, offset, "{checksum}");
    }
    // One that was not announced is not looked for, as RFC 9110 allows.
    let upload = begun(&alice, &[("upload-length", "11")]).await;
    let stray = format!("upload-checksum: {OF_NOTHING}\r\n");
    assert_eq!(with_trailer(&alice, &upload, "", &stray).await, 204);
    // Both are held against the body.
    let before = format!("\r\nupload-checksum: {OF_NOTHING}{announced}");
    let right = format!("upload-checksum: {}\r\n", OF_HELLO[0]);
    let upload = begun(&alice, &[("upload-length", "11")]).await;
    assert_eq!(with_trailer(&alice, &upload, &before, &right).await, 460);
}

/// Partial uploads of these contents.
async fn partials(alice: &Caller, contents: &[&'static str]) -> Vec<String> {
    let mut uploads = Vec::new();
    for content in contents {
        let length = content.len().to_string();
        let fields = [PARTIAL, ("upload-length", length.as_str()), TYPE];
        let answer = create(alice, &fields, content).await.expect(201);
        uploads.push(answer.header("location").unwrap().to_owned());
    }
    uploads
}

#[tokio::test]
async fn uploads_become_one_file() {
    let origin = Running::start().await;
    let alice = origin.alice();
    let parts = partials(&alice, &["hello ", "world"]).await;
    for (part, length) in parts.iter().zip(["6", "5"]) {
        let shown = head(&alice, part).await.expect(200);
        assert_eq!(shown.header("upload-concat"), Some("partial"));
        assert_eq!(
            (shown.header("upload-offset"), shown.header("upload-length")),
            (Some(length), Some(length))
        );
        assert!(shown.header("upload-expires").is_some(), "it is no file yet");
        alice.get(&file_of(part), &[]).await.expect(404);
        assert_eq!(alice.get(part, &[]).await.expect(200).json()["complete"], true);
    }
    // As clients send it: the addresses that they know, by whatever name the edge goes.
    let concat = format!("final;http://edge.example:8080{} {}", parts[0], parts[1]);
    let metadata = pair("filename", "both.txt");
    let fields = [("upload-concat", concat.as_str()), ("upload-metadata", metadata.as_str())];
    let whole = begun(&alice, &fields).await;
    let shown = head(&alice, &whole).await.expect(200);
    assert_eq!(shown.header("upload-concat"), Some(concat.as_str()));
    assert_eq!(
        (shown.header("upload-offset"), shown.header("upload-length")),
        (Some("11"), Some("11"))
    );
    assert_eq!(shown.header("upload-metadata"), Some(metadata.as_str()));
    assert_eq!(shown.header("upload-expires"), None);
    let file = alice.get(&file_of(&whole), &[]).await.expect(200);
    assert_eq!(file.body, "hello world");
    let files = alice.get("/files", &[]).await.json();
    let names: Vec<_> =
        files["files"].as_array().unwrap().iter().map(|file| &file["name"]).collect();
    assert_eq!(names, ["both.txt"], "the pieces are no files");

    let refused = patch(&alice, &whole, 11, &[], "!").await;
    assert_eq!(refused.problem(), (403, "final-upload".into()));
    for part in &parts {
        let refused = alice.tus("DELETE", part, &[], "").await;
        assert_eq!(refused.problem(), (409, "conflict".into()), "it goes with the whole");
    }
    assert_eq!(alice.get(&file_of(&whole), &[]).await.expect(200).body, "hello world");
    alice.tus("DELETE", &whole, &[], "").await.expect(204);
    assert_eq!(parts_in(origin.folder.path()), 0);
    for gone in parts.iter().chain([&whole]) {
        head(&alice, gone).await.expect(404);
    }
}

#[tokio::test]
async fn metadata_of_pieces_is_not_the_wholes() {
    let origin = Running::start().await;
    let alice = origin.alice();
    let metadata = pair("filename", "piece.txt");
    let fields = [PARTIAL, ("upload-length", "2"), TYPE, ("upload-metadata", metadata.as_str())];
    let piece = create(&alice, &fields, "ab").await.expect(201);
    let concat = format!("final;{}", piece.header("location").unwrap());
    let answer = create(&alice, &[("upload-concat", &concat)], "").await.expect(201);
    assert_eq!(answer.header("upload-offset"), Some("2"));
    let whole = answer.header("location").unwrap();
    assert_eq!(head(&alice, whole).await.header("upload-metadata"), None);
    assert_eq!(alice.get("/files", &[]).await.json()["files"][0]["name"], "untitled");
}

#[tokio::test]
async fn a_file_may_be_made_of_what_is_still_coming() {
    let origin = Running::start().await;
    let alice = origin.alice();
    let a = begun(&alice, &[PARTIAL, ("upload-length", "6")]).await;
    let b = begun(&alice, &[PARTIAL, ("upload-length", "5")]).await;
    patch(&alice, &b, 0, &[], "wor").await.expect(204);
    let concat = format!("final;{a} {b}");
    let answer = create(&alice, &[("upload-concat", &concat)], "").await.expect(201);
    assert_eq!(answer.header("upload-offset"), None);
    let whole = answer.header("location").unwrap();
    for (upload, offset, body, done) in [(&b, 3, "ld", 5), (&a, 0, "hello ", 11)] {
        let shown = head(&alice, whole).await.expect(200);
        assert_eq!(shown.header("upload-offset"), None);
        assert_eq!(shown.header("upload-length"), Some("11"));
        assert_eq!(shown.header("upload-concat"), Some(concat.as_str()));
        assert_eq!(shown.header("cache-control"), Some("no-store"));
        let refused = patch(&alice, whole, 0, &[], "x").await;
        assert_eq!(refused.problem(), (403, "final-upload".into()));
        alice.get(&file_of(whole), &[]).await.expect(404);
        patch(&alice, upload, offset, &[], body).await.expect(204);
        let progress = alice.get(whole, &[]).await;
        if done < 11 {
            let document = progress.expect(200).json();
            assert_eq!((&document["offset"], &document["length"]), (&done.into(), &11.into()));
            assert_eq!(document["complete"], false);
        } else {
            assert_eq!(progress.expect(303).header("location"), Some(file_of(whole).as_str()));
        }
    }
    let shown = head(&alice, whole).await.expect(200);
    assert_eq!(
        (shown.header("upload-offset"), shown.header("upload-length")),
        (Some("11"), Some("11"))
    );
    assert_eq!(alice.get(&file_of(whole), &[]).await.expect(200).body, "hello world");
}

#[tokio::test]
async fn an_unfinished_whole_goes_with_its_pieces() {
    let origin = Running::start().await;
    let alice = origin.alice();
    let a = begun(&alice, &[PARTIAL, ("upload-length", "6")]).await;
    patch(&alice, &a, 0, &[], "hel").await.expect(204);
    let whole = begun(&alice, &[("upload-concat", &format!("final;{a}"))]).await;
    let refused = alice.tus("DELETE", &a, &[], "").await;
    assert_eq!(refused.problem(), (409, "conflict".into()));
    alice.tus("DELETE", &whole, &[], "").await.expect(204);
    head(&alice, &a).await.expect(404);
    assert_eq!(parts_in(origin.folder.path()), 0);
}

#[tokio::test]
async fn what_can_not_be_joined_is_refused() {
    let origin =
        Running::start_with(|config| config.rules.default.declared.size_max_bytes = 20).await;
    let alice = origin.alice();
    let parts = partials(&alice, &["hello ", "world", "!"]).await;
    let [a, b, c] = [&parts[0], &parts[1], &parts[2]];
    let bob = origin.caller("demo", "bob", "read write");
    let of_bob = &partials(&bob, &["x"]).await[0];
    let ordinary = &begun(&alice, &[("upload-length", "5")]).await;
    let deferred = &begun(&alice, &[PARTIAL, DEFER]).await;
    let long = &begun(&alice, &[PARTIAL, ("upload-length", "15")]).await;
    let whole = &begun(&alice, &[("upload-concat", &format!("final;{c}"))]).await;
    let join = |of: String| {
        let alice = &alice;
        async move { create(alice, &[("upload-concat", of.as_str())], "").await.problem() }
    };
    let invalid = (400, "invalid-field".to_owned());
    assert_eq!(join(format!("final;{a} {of_bob}")).await, invalid, "another's");
    assert_eq!(join("final;/uploads/01000G0000000C000000000004".into()).await, invalid, "unknown");
    assert_eq!(join(format!("final;{a} {ordinary}")).await, invalid, "no piece");
    assert_eq!(join(format!("final;{whole}")).await, invalid, "final itself");
    assert_eq!(join(format!("final;{deferred}")).await, invalid, "of no length yet");
    assert_eq!(join("final;".into()).await, invalid, "nothing");
    assert_eq!(join(format!("final;{a} {a}")).await, (409, "conflict".into()), "twice");
    assert_eq!(join(format!("final;{c}")).await, (409, "conflict".into()), "claimed");
    assert_eq!(join(format!("final;{a} {long}")).await, (413, "too-large".into()));
    for of in ["", "partial;", "final", "whole", "final;/etc/passwd", "final;/uploads/../x"] {
        assert_eq!(join(of.to_owned()).await, invalid, "{of}");
    }
    // None of that has claimed anything.
    let concat = format!("final;{a} {b}");
    let concat = ("upload-concat", concat.as_str());
    is_invalid(&create(&alice, &[concat, ("upload-length", "11")], "").await);
    is_invalid(&create(&alice, &[concat, DEFER], "").await);
    is_invalid(&create(&alice, &[concat, concat], "").await);
    is_invalid(&create(&alice, &[concat, TYPE], "more").await);
    let whole = begun(&alice, &[concat]).await;
    assert_eq!(alice.get(&file_of(&whole), &[]).await.expect(200).body, "hello world");
}
