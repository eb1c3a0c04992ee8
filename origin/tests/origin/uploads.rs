//! tus 1.0: core, creation, creation-with-upload, termination. The other extensions: `tus.rs`.

use std::time::Duration;

use outport_wire::rules::{Rules, TenantRules};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use crate::crash::copy;
use crate::draft::read_until;
use crate::support::{Caller, Running, bytes, file_of, pair, parts_in, until};

#[tokio::test]
async fn an_upload_in_pieces_becomes_a_file() {
    let origin = Running::start().await;
    let alice = origin.alice();
    let content = bytes(50_000);
    let metadata =
        [pair("filename", "a/b/grüße.bin"), pair("filetype", "image/png"), pair("k", "v")];
    let upload = alice.begin(content.len(), &metadata.join(",")).await;
    assert!(upload.starts_with("/uploads/"), "{upload}");

    let head = alice.tus("HEAD", &upload, &[], "").await.expect(200);
    assert_eq!(head.header("upload-length"), Some("50000"));
    assert_eq!(head.header("cache-control"), Some("no-store"));
    assert_eq!(head.header("upload-metadata"), Some(metadata.join(",").as_str()));
    assert_eq!(head.header("tus-resumable"), Some("1.0.0"));

    let mut offset = 0;
    for piece in [1, 4095, 9000, 0, 36_904] {
        let sent = content[offset..offset + piece].to_vec();
        let answer = alice.patch(&upload, offset, sent).await.expect(204);
        offset += piece;
        assert_eq!(answer.header("upload-offset"), Some(offset.to_string().as_str()));
        assert_eq!(alice.offset(&upload).await, offset);
        let progress = alice.get(&upload, &[]).await;
        if offset < content.len() {
            let document = progress.expect(200).json();
            assert_eq!(document["offset"], offset);
            assert_eq!(document["complete"], false);
            alice.get(&file_of(&upload), &[]).await.expect(404);
        } else {
            assert_eq!(progress.expect(303).header("location"), Some(file_of(&upload).as_str()));
        }
    }
    let file = alice.get(&file_of(&upload), &[]).await.expect(200);
    assert!(file.body == content);
    assert_eq!(file.header("content-type"), Some("image/png"));
    let listed = alice.get("/files", &[]).await.json();
    assert_eq!(listed["files"][0]["name"], "grüße.bin");
    assert_eq!(listed["files"][0]["metadata"], serde_json::json!({ "k": "v" }));
    // Nothing more fits, and nothing at all is no error.
    alice.patch(&upload, content.len(), "").await.expect(204);
    assert_eq!(alice.patch(&upload, content.len(), "x").await.problem().1, "body-too-long");
}

#[tokio::test]
async fn creation_takes_the_first_bytes() {
    let origin = Running::start().await;
    let alice = origin.alice();
    let fields = [("upload-length", "10"), ("content-type", "application/offset+octet-stream")];
    let answer = alice.tus("POST", "/uploads", &fields, "01234").await.expect(201);
    assert_eq!(answer.header("upload-offset"), Some("5"));
    let upload = answer.header("location").unwrap();
    alice.patch(upload, 5, "56789").await.expect(204);
    assert_eq!(alice.get(&file_of(upload), &[]).await.body, "0123456789");

    let whole = alice.tus("POST", "/uploads", &fields, "0123456789").await.expect(201);
    let file = file_of(whole.header("location").unwrap());
    assert_eq!(alice.get(&file, &[]).await.expect(200).body, "0123456789");

    let long = alice.tus("POST", "/uploads", &fields, "0123456789x").await;
    assert_eq!(long.problem(), (400, "body-too-long".into()));
    let fields = [("upload-length", "10"), ("content-type", "text/plain")];
    let wrong = alice.tus("POST", "/uploads", &fields, "01234").await;
    assert_eq!(wrong.problem(), (415, "unsupported-type".into()));
}

#[tokio::test]
async fn an_empty_upload_is_complete_at_once() {
    let origin = Running::start().await;
    let alice = origin.alice();
    let upload = alice.begin(0, &pair("filename", "empty")).await;
    let file = alice.get(&file_of(&upload), &[]).await.expect(200);
    assert_eq!((file.header("content-length"), &file.body[..]), (Some("0"), &b""[..]));
    assert_eq!(alice.get("/files", &[]).await.json()["files"][0]["name"], "empty");
}

#[tokio::test]
async fn a_wrong_offset_changes_nothing() {
    let origin = Running::start().await;
    let alice = origin.alice();
    let upload = alice.begin(10, "").await;
    alice.patch(&upload, 0, "01234").await.expect(204);
    for offset in [0, 4, 6, 10, 11] {
        let answer = alice.patch(&upload, offset, "x").await;
        assert_eq!(answer.problem(), (409, "offset-mismatch".into()), "{offset}");
        assert_eq!(answer.header("upload-offset"), Some("5"));
        assert_eq!(answer.header("tus-resumable"), Some("1.0.0"));
    }
    assert_eq!(alice.offset(&upload).await, 5);
    alice.patch(&upload, 5, "56789").await.expect(204);
    assert_eq!(alice.get(&file_of(&upload), &[]).await.body, "0123456789");
}

#[tokio::test(flavor = "multi_thread")]
async fn of_many_appends_one_wins() {
    let origin = Running::start().await;
    let alice = origin.alice();
    let upload = alice.begin(1000, "").await;
    for round in 0..5 {
        let offset = round * 200;
        let racers = (0..16u8).map(|racer| {
            let (alice, upload) = (alice.clone(), upload.clone());
            async move { alice.patch(&upload, offset, vec![racer; 200]).await }
        });
        let answers = futures::future::join_all(racers).await;
        let won: Vec<_> =
            answers.iter().map(|answer| answer.status).filter(|s| *s == 204).collect();
        assert_eq!(won, [204], "{answers:?}");
        assert!(answers.iter().all(|answer| [204, 409].contains(&answer.status)), "{answers:?}");
        assert_eq!(alice.offset(&upload).await, offset + 200);
    }
    let file = alice.get(&file_of(&upload), &[]).await.expect(200).body;
    assert!(file.chunks(200).all(|round| round.iter().all(|byte| *byte == round[0])));
    assert_eq!(parts_in(origin.folder.path()), 5, "losers leave no parts");
}

#[tokio::test]
async fn termination_frees_everything() {
    let origin = Running::start().await;
    let alice = origin.alice();
    let upload = alice.begin(10_000, "").await;
    alice.patch(&upload, 0, bytes(9_000)).await.expect(204);
    assert!(parts_in(origin.folder.path()) > 0);
    let answer = alice.tus("DELETE", &upload, &[], "").await.expect(204);
    assert_eq!(answer.header("tus-resumable"), Some("1.0.0"));
    assert_eq!(parts_in(origin.folder.path()), 0);
    alice.tus("HEAD", &upload, &[], "").await.expect(404);
    alice.patch(&upload, 9_000, "x").await.expect(404);
    alice.tus("DELETE", &upload, &[], "").await.expect(404);
}

#[tokio::test]
async fn options_says_what_is_spoken() {
    let origin = Running::start().await;
    let answer = origin.nobody().send("OPTIONS", "/uploads", &[], "").await.expect(204);
    assert_eq!(answer.header("tus-version"), Some("1.0.0"));
    assert_eq!(
        answer.header("tus-extension"),
        Some(
            "creation,creation-with-upload,creation-defer-length,expiration,checksum,\
         checksum-trailer,termination,concatenation,concatenation-unfinished"
        )
    );
    let algorithms = answer.header("tus-checksum-algorithm");
    assert_eq!(algorithms, Some("sha1,sha256,crc32c,md5,blake3"));
    assert_eq!(answer.header("tus-max-size"), Some("1048576"));
}

/// Sends the head of a PATCH that announces `announced` bytes, and then `body`.
pub(crate) async fn open_patch(
    alice: &Caller,
    upload: &str,
    offset: usize,
    announced: &str,
    body: &[u8],
) -> TcpStream {
    let mut head = format!(
        "PATCH {upload} HTTP/1.1\r\nhost: o\r\ntus-resumable: 1.0.0\r\n\
         content-type: application/offset+octet-stream\r\nupload-offset: {offset}\r\n{announced}\r\n"
    );
    for (name, value) in alice.signed("PATCH", upload) {
        head += &format!("{name}: {value}\r\n");
    }
    let mut stream = TcpStream::connect(alice.address).await.unwrap();
    stream.write_all(format!("{head}\r\n").as_bytes()).await.unwrap();
    stream.write_all(body).await.unwrap();
    stream
}

pub(crate) async fn wait_for_offset(alice: &Caller, upload: &str, offset: usize) {
    // A HEAD would end the request that is under way.
    until(async || alice.get(upload, &[]).await.expect(200).json()["offset"] == offset).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_arrived_before_a_cut_is_kept() {
    let origin = Running::start().await;
    let alice = origin.alice();
    let content = bytes(20_000);
    let upload = alice.begin(content.len(), "").await;
    let mut offset = 0;
    for (announced, sent) in [
        ("content-length: 20000", 5),
        ("content-length: 19995", 9_000),
        ("content-length: 10995\r\nexpect: 100-continue", 0),
    ] {
        let part = &content[offset..offset + sent];
        let mut stream = open_patch(&alice, &upload, offset, announced, part).await;
        if sent == 0 {
            // What shows nowhere must have been taken before the next comes, or it is the newer one.
            read_until(&mut stream, "100 Continue\r\n").await;
        }
        drop(stream);
        offset += sent;
        wait_for_offset(&alice, &upload, offset).await;
    }
    // The same in chunks, cut within one.
    let mut chunk = b"2000\r\n".to_vec();
    chunk.extend_from_slice(&content[offset..offset + 100]);
    drop(open_patch(&alice, &upload, offset, "transfer-encoding: chunked", &chunk).await);
    offset += 100;
    wait_for_offset(&alice, &upload, offset).await;

    alice.patch(&upload, offset, content[offset..].to_vec()).await.expect(204);
    assert!(alice.get(&file_of(&upload), &[]).await.body == content);
}

#[tokio::test(flavor = "multi_thread")]
async fn who_begins_anew_at_the_same_offset_is_not_told_another() {
    let origin = Running::start().await;
    let alice = origin.alice();
    for _ in 0..10 {
        let upload = alice.begin(10, "").await;
        let hanging = open_patch(&alice, &upload, 0, "content-length: 10", b"01234").await;
        // The older request may have taken its bytes by now, or not.
        tokio::time::sleep(Duration::from_millis(20)).await;
        alice.patch(&upload, 0, "abcdefghij").await.expect(204);
        assert_eq!(alice.get(&file_of(&upload), &[]).await.body, "abcdefghij");
        drop(hanging);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_body_that_goes_on_too_long_is_not_taken() {
    let origin = Running::start().await;
    let alice = origin.alice();
    let upload = alice.begin(10, "").await;
    let body = b"f\r\n0123456789abcde\r\n0\r\n\r\n";
    let mut stream = open_patch(&alice, &upload, 0, "transfer-encoding: chunked", body).await;
    let mut answer = vec![0; 12];
    stream.read_exact(&mut answer).await.unwrap();
    assert_eq!(answer, b"HTTP/1.1 400");
    assert_eq!(alice.offset(&upload).await, 0);
    assert_eq!(parts_in(origin.folder.path()), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn progress_is_seen_while_a_body_comes() {
    let origin = Running::start_with(|config| {
        config.storage.part_age_max = Duration::from_millis(50);
    })
    .await;
    let alice = origin.alice();
    let upload = alice.begin(20_000, "").await;
    let announced = "content-length: 20000";
    // One full part and a bit, on an open connection: the part is committed by its size, the bit
    // by its age.
    let stream = open_patch(&alice, &upload, 0, announced, &bytes(4_196)).await;
    wait_for_offset(&alice, &upload, 4_196).await;
    drop(stream);
}

#[tokio::test(flavor = "multi_thread")]
async fn shutdown_keeps_what_arrived() {
    let origin = Running::start_with(|config| {
        config.shutdown_deadline = Duration::from_millis(200);
        config.storage.part_age_max = Duration::from_secs(3600); // Its age does not end the part.
    })
    .await;
    let alice = origin.alice();
    let upload = alice.begin(20_000, "").await;
    let stream = open_patch(&alice, &upload, 0, "content-length: 20000", &bytes(700)).await;
    until(async || {
        let metrics = origin.operator().send_unsigned("GET", "/metrics", &[], "").await.body;
        String::from_utf8_lossy(&metrics).contains("outport_origin_received_bytes_total 700\n")
    })
    .await;
    let folder = origin.stop().await;
    // All is there when it has stopped, though whoever sends is still connected.
    let stopped = tempfile::tempdir().unwrap();
    copy(folder.path(), stopped.path());
    let again = Running::start_in(stopped, |_| {}).await;
    assert_eq!(again.alice().offset(&upload).await, 700);
    drop(stream);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_refusal_reaches_who_sends_all_before_reading() {
    let origin =
        Running::start_with(|config| config.rules = Rules::same(TenantRules::sized(1 << 30))).await;
    let alice = origin.alice();
    let length = 8 << 20;
    let upload = alice.begin(length, "").await;
    for announced in [format!("content-length: {length}"), "transfer-encoding: chunked".into()] {
        let body = [format!("{length:x}\r\n").into_bytes(), vec![0; length]].concat();
        let body = if announced.starts_with("content") { &body[8..] } else { &body[..] };
        let mut stream = open_patch(&alice, &upload, 5, &announced, body).await;
        let mut answer = vec![0; 12];
        stream.read_exact(&mut answer).await.unwrap();
        assert_eq!(answer, b"HTTP/1.1 409");
    }
    assert_eq!(alice.offset(&upload).await, 0);
}
