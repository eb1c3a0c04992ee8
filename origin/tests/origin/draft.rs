//! Resumable Uploads for HTTP (draft-ietf-httpbis-resumable-upload), without an edge.

use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use sha2::{Digest as _, Sha256};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use crate::support::{Answer, Caller, Running, bytes};

const PARTIAL: (&str, &str) = ("content-type", "application/partial-upload");

fn sha256(content: &[u8]) -> String {
    format!("sha-256=:{}:", STANDARD.encode(Sha256::digest(content)))
}

/// Creates an upload by an empty request, and returns its path.
async fn create(alice: &Caller, fields: &[(&str, &str)]) -> String {
    let fields = [fields, &[("upload-complete", "?0")]].concat();
    let answer = alice.send("POST", "/uploads", &fields, "").await.expect(201);
    answer.header("location").unwrap().to_owned()
}

async fn append(
    alice: &Caller,
    upload: &str,
    offset: usize,
    complete: &str,
    body: &[u8],
) -> Answer {
    let offset = offset.to_string();
    let fields = [PARTIAL, ("upload-offset", &offset), ("upload-complete", complete)];
    alice.send("PATCH", upload, &fields, body.to_vec()).await
}

async fn state(alice: &Caller, upload: &str) -> (usize, String, Option<String>) {
    let answer = alice.send("HEAD", upload, &[], "").await.expect(204);
    assert_eq!(answer.header("cache-control"), Some("no-store"));
    assert!(answer.header("upload-limit").unwrap().starts_with("max-size=1048576"));
    (
        answer.header("upload-offset").unwrap().parse().unwrap(),
        answer.header("upload-complete").unwrap().to_owned(),
        answer.header("upload-length").map(str::to_owned),
    )
}

#[tokio::test]
async fn a_whole_file_in_one_request() {
    let origin = Running::start().await;
    let alice = origin.alice();
    let content = bytes(20_000);
    for path in ["/uploads", "/files"] {
        let fields = [
            ("upload-complete", "?1"),
            ("content-type", "image/png"),
            ("content-disposition", "inline; filename=\"a.png\""),
        ];
        let answer = alice.send("POST", path, &fields, content.clone()).await.expect(201);
        assert_eq!(answer.header("upload-complete"), Some("?1"));
        let file = answer.header("location").unwrap().to_owned();
        assert_eq!(answer.json()["url"], file);
        assert_eq!(
            (&answer.json()["name"], &answer.json()["type"]),
            (&"a.png".into(), &"image/png".into())
        );
        assert!(alice.get(&file, &[]).await.expect(200).body == content);
        let upload = file.replace("/files/", "/uploads/");
        let whole = (20_000, "?1".to_owned(), Some("20000".to_owned()));
        assert_eq!(state(&alice, &upload).await, whole);
    }
}

#[tokio::test]
async fn an_upload_of_unknown_length_in_pieces() {
    let origin = Running::start().await;
    let alice = origin.alice();
    let content = bytes(30_000);
    let upload = create(&alice, &[]).await;
    assert_eq!(state(&alice, &upload).await, (0, "?0".into(), None));
    for offset in [0, 10_000] {
        let piece = &content[offset..offset + 10_000];
        let answer = append(&alice, &upload, offset, "?0", piece).await.expect(204);
        assert_eq!(answer.header("upload-complete"), Some("?0"));
        assert_eq!(state(&alice, &upload).await, (offset + 10_000, "?0".into(), None));
    }
    alice.get(&upload.replace("/uploads/", "/files/"), &[]).await.expect(404);
    let answer = append(&alice, &upload, 20_000, "?1", &content[20_000..]).await.expect(201);
    assert_eq!(answer.header("upload-complete"), Some("?1"));
    let file = answer.header("location").unwrap().to_owned();
    assert!(alice.get(&file, &[]).await.expect(200).body == content);
    assert_eq!(state(&alice, &upload).await, (30_000, "?1".into(), Some("30000".into())));
}

#[tokio::test]
async fn an_upload_is_complete_when_it_is_said_to_be_and_not_before() {
    let origin = Running::start().await;
    let alice = origin.alice();
    let upload = create(&alice, &[("upload-length", "5")]).await;
    append(&alice, &upload, 0, "?0", b"01234").await.expect(204);
    assert_eq!(state(&alice, &upload).await, (5, "?0".into(), Some("5".into())));
    append(&alice, &upload, 5, "?1", b"").await.expect(201);
    assert_eq!(state(&alice, &upload).await, (5, "?1".into(), Some("5".into())));
    let empty = [("upload-complete", "?1")];
    let answer = alice.send("POST", "/uploads", &empty, "").await.expect(201);
    assert_eq!(answer.json()["size"], 0);
}

#[tokio::test]
async fn nothing_is_appended_to_what_is_complete() {
    let origin = Running::start().await;
    let alice = origin.alice();
    let upload = create(&alice, &[]).await;
    append(&alice, &upload, 0, "?1", b"01234").await.expect(201);
    for complete in ["?0", "?1"] {
        let more = append(&alice, &upload, 5, complete, b"5").await.expect(400);
        assert_eq!(
            more.json()["type"],
            "https://iana.org/assignments/http-problem-types#inconsistent-upload-length"
        );
        let nothing = append(&alice, &upload, 5, complete, b"").await.expect(400);
        assert_eq!(
            nothing.json()["type"],
            "https://iana.org/assignments/http-problem-types#completed-upload"
        );
    }
    assert_eq!(alice.get(&upload.replace("/uploads/", "/files/"), &[]).await.body, "01234");
}

#[tokio::test]
async fn a_wrong_offset_is_told_the_right_one() {
    let origin = Running::start().await;
    let alice = origin.alice();
    let upload = create(&alice, &[]).await;
    append(&alice, &upload, 0, "?0", b"01234").await.expect(204);
    for offset in [0, 4, 6] {
        let answer = append(&alice, &upload, offset, "?0", b"x").await.expect(409);
        assert_eq!(answer.header("upload-offset"), Some("5"));
        assert_eq!(answer.header("upload-complete"), Some("?0"));
        let problem = answer.json();
        assert_eq!(
            problem["type"],
            "https://iana.org/assignments/http-problem-types#mismatching-upload-offset"
        );
        assert_eq!(
            (&problem["expected-offset"], &problem["provided-offset"]),
            (&5.into(), &offset.into())
        );
    }
    assert_eq!(state(&alice, &upload).await.0, 5);
}

#[tokio::test]
async fn lengths_that_contradict_each_other() {
    let origin = Running::start().await;
    let alice = origin.alice();
    let inconsistent =
        |answer: Answer| assert_eq!(answer.problem(), (400, "inconsistent-upload-length".into()));
    let said = [("upload-complete", "?1"), ("upload-length", "6")];
    inconsistent(alice.send("POST", "/uploads", &said, "01234").await);
    let longer = [("upload-complete", "?0"), ("upload-length", "4")];
    inconsistent(alice.send("POST", "/uploads", &longer, "01234").await);
    let upload = create(&alice, &[("upload-length", "10")]).await;
    inconsistent(append(&alice, &upload, 0, "?1", b"01234").await);
    inconsistent(append(&alice, &upload, 0, "?0", b"0123456789a").await);
    let other =
        [PARTIAL, ("upload-offset", "0"), ("upload-complete", "?0"), ("upload-length", "11")];
    inconsistent(alice.send("PATCH", &upload, &other, "0").await);
    assert_eq!(state(&alice, &upload).await, (0, "?0".into(), Some("10".into())));
    // A length that is said later is kept from then on.
    let upload = create(&alice, &[]).await;
    let later =
        [PARTIAL, ("upload-offset", "0"), ("upload-complete", "?0"), ("upload-length", "6")];
    alice.send("PATCH", &upload, &later, "01234").await.expect(204);
    assert_eq!(state(&alice, &upload).await, (5, "?0".into(), Some("6".into())));
    inconsistent(append(&alice, &upload, 5, "?1", b"56").await);
    append(&alice, &upload, 5, "?1", b"5").await.expect(201);
}

#[tokio::test]
async fn fields_of_the_wrong_form_count_as_absent() {
    let origin = Running::start().await;
    let alice = origin.alice();
    for complete in ["1", "true", "?2", "?1, ?1"] {
        // Nothing of the draft, and nothing of tus: the resource that is spoken of is tus's.
        let fields = [("upload-complete", complete)];
        assert_eq!(alice.send("POST", "/uploads", &fields, "").await.status, 412, "{complete}");
        let file = alice.send("POST", "/files", &fields, "01234").await.expect(201);
        assert_eq!(file.header("upload-complete"), None, "a plain upload");
    }
    let upload = create(&alice, &[("upload-length", "ten")]).await;
    assert_eq!(state(&alice, &upload).await.2, None);
    let fields = [PARTIAL, ("upload-offset", "-0"), ("upload-complete", "?0")];
    assert_eq!(
        alice.send("PATCH", &upload, &fields, "x").await.problem(),
        (400, "invalid-field".into())
    );
    let untyped = [("upload-offset", "0"), ("upload-complete", "?0")];
    let answer = alice.send("PATCH", &upload, &untyped, "x").await.expect(415);
    assert_eq!(answer.header("accept-patch"), Some("application/partial-upload"));
    let other = [("upload-complete", "?1"), ("upload-draft-interop-version", "5")];
    let answer = alice.send("POST", "/uploads", &other, "x").await.expect(400);
    assert_eq!(answer.header("upload-draft-interop-version"), Some("8"));
}

#[tokio::test]
async fn what_is_too_large_is_refused_with_the_limit() {
    let origin = Running::start().await;
    let alice = origin.alice();
    let fields = [("upload-complete", "?0"), ("upload-length", "1048577")];
    let answer = alice.send("POST", "/uploads", &fields, "").await.expect(413);
    assert_eq!(answer.header("upload-limit"), Some("max-size=1048576"));
    let whole = [("upload-complete", "?1")];
    let answer = alice.send("POST", "/files", &whole, vec![0; 1_048_577]).await.expect(413);
    assert_eq!(answer.header("upload-limit"), Some("max-size=1048576"));
    let upload = create(&alice, &[]).await;
    let answer = append(&alice, &upload, 0, "?0", &vec![0; 1_048_577]).await.expect(413);
    assert!(answer.header("upload-limit").unwrap().starts_with("max-size=1048576, max-age="));
}

#[tokio::test]
async fn digests_of_the_content_and_of_the_whole() {
    let origin = Running::start().await;
    let alice = origin.alice();
    let content = bytes(20_000);
    let whole = sha256(&content);
    let upload = create(&alice, &[("repr-digest", &whole)]).await;
    let digest = sha256(&content[..10_000]);
    let wrong = sha256(b"wrong");
    for (digest, status, offset) in [(&wrong, 400, 0), (&digest, 204, 10_000)] {
        let fields = [
            PARTIAL,
            ("upload-offset", "0"),
            ("upload-complete", "?0"),
            ("content-digest", digest),
        ];
        let answer = alice.send("PATCH", &upload, &fields, content[..10_000].to_vec()).await;
        assert_eq!((answer.status, answer.header("upload-complete")), (status, Some("?0")));
        assert_eq!(state(&alice, &upload).await.0, offset);
    }
    let answer = append(&alice, &upload, 10_000, "?1", &content[10_000..]).await.expect(201);
    assert_eq!(answer.header("repr-digest"), Some(whole.as_str()));
    // A whole that is not what it was to be is gone.
    let upload = create(&alice, &[("repr-digest", &wrong)]).await;
    let answer = append(&alice, &upload, 0, "?1", &content).await;
    assert_eq!(answer.problem(), (400, "digest-mismatched-values".into()));
    assert_eq!(answer.header("upload-complete"), Some("?1"));
    alice.send("HEAD", &upload, &[], "").await.expect(404);
    // One that is only wanted is told.
    let upload = create(&alice, &[("want-repr-digest", "sha-256=5")]).await;
    let answer = append(&alice, &upload, 0, "?1", &content).await.expect(201);
    assert_eq!(answer.header("repr-digest"), Some(whole.as_str()));
    for field in ["content-digest", "repr-digest"] {
        let plain = alice.send("POST", "/files", &[(field, &wrong)], content.clone()).await;
        assert_eq!(plain.problem(), (400, "digest-mismatched-values".into()));
        alice.send("POST", "/files", &[(field, &whole)], content.clone()).await.expect(201);
        let unknown = alice.send("POST", "/files", &[(field, "md5=:AAAA:")], "x").await;
        assert_eq!(unknown.problem(), (400, "invalid-field".into()));
    }
}

#[tokio::test]
async fn cancellation() {
    let origin = Running::start().await;
    let alice = origin.alice();
    let upload = create(&alice, &[]).await;
    append(&alice, &upload, 0, "?0", b"01234").await.expect(204);
    alice.send("DELETE", &upload, &[], "").await.expect(204);
    alice.send("HEAD", &upload, &[], "").await.expect(404);
    append(&alice, &upload, 5, "?1", b"").await.expect(404);
}

#[tokio::test]
async fn only_its_owner_sees_an_upload() {
    let origin = Running::start().await;
    let upload = create(&origin.alice(), &[]).await;
    let bob = origin.caller("demo", "bob", "read write");
    bob.send("HEAD", &upload, &[], "").await.expect(404);
    append(&bob, &upload, 0, "?1", b"x").await.expect(404);
    bob.send("DELETE", &upload, &[], "").await.expect(404);
    assert_eq!(state(&origin.alice(), &upload).await.0, 0);
}

/// Sends the head of a request and a first piece of its body, and reads what comes at once.
pub(crate) async fn begin(
    alice: &Caller,
    head: &str,
    method: &str,
    path: &str,
    piece: &[u8],
) -> TcpStream {
    let mut text = format!("{method} {path} HTTP/1.1\r\nhost: o\r\n{head}\r\n");
    for (name, value) in alice.signed(method, path) {
        text += &format!("{name}: {value}\r\n");
    }
    let mut stream = TcpStream::connect(alice.address).await.unwrap();
    stream.write_all(format!("{text}\r\n").as_bytes()).await.unwrap();
    stream.write_all(piece).await.unwrap();
    stream
}

pub(crate) async fn read_until(stream: &mut TcpStream, end: &str) -> String {
    let mut text = String::new();
    while !text.contains(end) {
        let mut piece = [0; 4096];
        let reading = tokio::time::timeout(Duration::from_secs(20), stream.read(&mut piece));
        let bytes = reading.await.unwrap().unwrap();
        assert!(bytes > 0, "the connection ended behind {text:?}");
        text += std::str::from_utf8(&piece[..bytes]).unwrap();
    }
    text
}

#[tokio::test(flavor = "multi_thread")]
async fn interim_responses_say_where_and_how_far() {
    let origin = Running::start().await;
    let alice = origin.alice();
    let content = bytes(20_000);
    let head = "upload-complete: ?1\r\ncontent-length: 20000\r\noutport-interim: ?1";
    let mut stream = begin(&alice, head, "POST", "/files", b"").await;
    let first = read_until(&mut stream, "\r\n\r\n").await;
    assert!(first.starts_with("HTTP/1.1 104 Upload Resumption Supported\r\n"), "{first}");
    assert!(first.contains("upload-limit: max-size=1048576"), "{first}");
    let location = first.lines().find_map(|line| line.strip_prefix("location: ")).unwrap();
    let upload = location.trim().to_owned();
    stream.write_all(&content[..10_000]).await.unwrap();
    let progress = read_until(&mut stream, "upload-offset: 8192\r\n").await;
    assert!(progress.contains("HTTP/1.1 104 "), "{progress}");
    assert!(!progress.contains("location"), "{progress}");
    // What the interim response said is enough to go on elsewhere.
    let (offset, complete, length) = state(&alice, &upload).await;
    assert_eq!((complete.as_str(), length.as_deref()), ("?0", Some("20000")));
    assert_eq!(offset, 10_000, "all that arrived is kept");
    append(&alice, &upload, offset, "?1", &content[offset..]).await.expect(201);
    let file = upload.replace("/uploads/", "/files/");
    assert!(alice.get(&file, &[]).await.expect(200).body == content);
}

#[tokio::test(flavor = "multi_thread")]
async fn who_did_not_ask_for_interim_responses_gets_none() {
    let origin = Running::start().await;
    let head = "upload-complete: ?1\r\ncontent-length: 10";
    let mut stream = begin(&origin.alice(), head, "POST", "/files", b"0123456789").await;
    let answer = read_until(&mut stream, "\r\n\r\n").await;
    assert!(answer.starts_with("HTTP/1.1 201 "), "{answer}");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_upload_that_is_overrun_is_of_no_use_any_more() {
    let origin = Running::start().await;
    let alice = origin.alice();
    let upload = create(&alice, &[("upload-length", "4")]).await;
    let head = "content-type: application/partial-upload\r\nupload-offset: 0\r\n\
                upload-complete: ?0\r\ntransfer-encoding: chunked";
    let body = b"5\r\n01234\r\n0\r\n\r\n";
    let mut stream = begin(&alice, head, "PATCH", &upload, body).await;
    let answer = read_until(&mut stream, "\r\n\r\n").await;
    assert!(answer.starts_with("HTTP/1.1 400 "), "{answer}");
    alice.send("HEAD", &upload, &[], "").await.expect(404);
}

#[tokio::test]
async fn what_tus_is_to_concatenate_goes_on_by_tus() {
    let origin = Running::start().await;
    let alice = origin.alice();
    let fields = [("upload-concat", "partial"), ("upload-length", "5")];
    let begun = alice.tus("POST", "/uploads", &fields, "").await.expect(201);
    let upload = begun.header("location").unwrap();
    let answer = append(&alice, upload, 0, "?1", b"hello").await;
    assert_eq!(answer.problem(), (409, "conflict".into()));
    assert_eq!(alice.offset(upload).await, 0);
}
