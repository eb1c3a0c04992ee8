//! What bounds a request, and what is refused before any of its body has come.

use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use outport_origin::AdminDoor;
use outport_wire::id::{FileId, Home};
use serde_json::json;
use sha2::{Digest as _, Sha256};
use tokio::io::AsyncWriteExt as _;
use tokio::net::TcpStream;

use crate::draft::{begin, read_until};
use crate::support::{Caller, Running, parts_in};

const TUS: &str = "tus-resumable: 1.0.0\r\ncontent-type: application/offset+octet-stream";

/// The head of the answer to a request of which nothing but its head is sent.
async fn answered(caller: &Caller, method: &str, path: &str, head: &str) -> String {
    let mut stream = begin(caller, head, method, path, b"").await;
    read_until(&mut stream, "\r\n\r\n").await
}

#[tokio::test(flavor = "multi_thread")]
async fn what_can_not_fit_is_refused_before_it_comes() {
    let origin = Running::start().await;
    let alice = origin.alice();
    let large = (1 << 20) + 1;
    for (path, head, status) in [
        ("/files", format!("content-length: {large}"), 413),
        ("/uploads", format!("{TUS}\r\nupload-length: 4\r\ncontent-length: 5"), 400),
        ("/uploads", format!("{TUS}\r\nupload-defer-length: 1\r\ncontent-length: {large}"), 413),
        ("/uploads", "upload-complete: ?0\r\nupload-length: 4\r\ncontent-length: 5".into(), 400),
        ("/uploads", "upload-complete: ?1\r\nupload-length: 9\r\ncontent-length: 5".into(), 400),
    ] {
        let answer = answered(&alice, "POST", path, &head).await;
        assert!(answer.starts_with(&format!("HTTP/1.1 {status} ")), "{head}: {answer}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_body_that_stands_still_is_not_waited_for() {
    let origin = Running::start_with(|config| {
        config.limits.body_idle_max = Duration::from_millis(200);
    })
    .await;
    let alice = origin.alice();
    let file = alice.store("name=a", "x").await;
    let answer = answered(&alice, "PATCH", &file, "content-length: 10").await;
    assert!(answer.starts_with("HTTP/1.1 408 "), "{answer}");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_an_edge_hands_over_may_break_off_and_come_again() {
    let origin = Running::start_with(|config| {
        config.limits.body_idle_max = Duration::from_millis(200);
    })
    .await;
    let alice = origin.alice();
    let id = FileId::new_at_edge(Home::of(0, "demo", "alice"), 1_790_000_000_000, 7);
    let target = format!("/files/{id}?name=a&type=text%2Fplain&visibility=private");
    let digest = format!("sha-256=:{}:", STANDARD.encode(Sha256::digest("hello")));
    let mut head = format!("PUT {target} HTTP/1.1\r\nhost: o\r\ncontent-digest: {digest}\r\n");
    for (name, value) in alice.signed_with("PUT", &target, Some(&digest)) {
        head += &format!("{name}: {value}\r\n");
    }
    let mut stream = TcpStream::connect(alice.address).await.unwrap();
    stream.write_all(format!("{head}content-length: 5\r\n\r\nhel").as_bytes()).await.unwrap();
    // Another answer of this class would end the handover, and the file.
    let answer = read_until(&mut stream, "\r\n\r\n").await;
    assert!(answer.starts_with("HTTP/1.1 408 "), "{answer}");
    let fields = [("content-digest", digest.as_str())];
    alice.send("PUT", &target, &fields, "hello").await.expect(201);
}

#[tokio::test]
async fn whose_id_looks_like_anothers_is_told_nothing_of_it() {
    let origin = Running::start().await;
    let home = Home::of(0, "demo", "alice");
    let mut others = (0..).map(|number| format!("eve{number}"));
    let eve = others.find(|eve| Home::of(0, "demo", eve) == home).unwrap();
    let eve = origin.caller("demo", &eve, "write");
    let id = FileId::new_at_edge(home, 1_790_000_000_000, 7);
    let target = format!("/files/{id}?name=a&type=text%2Fplain&visibility=private");
    let digest = format!("sha-256=:{}:", STANDARD.encode(Sha256::digest("hello")));
    let fields = [("content-digest", digest.as_str())];
    origin.alice().send("PUT", &target, &fields, "hello").await.expect(201);
    eve.send("PUT", &target, &fields, "hello").await.expect(404);
}

#[tokio::test]
async fn a_form_has_so_many_files() {
    let origin = Running::start_with(|config| config.limits.form_files_max = 2).await;
    let alice = origin.alice();
    let file =
        "--b\r\nContent-Disposition: form-data; name=f; filename=a\r\n\r\n".to_owned() + "x\r\n";
    let fields = [("content-type", "multipart/form-data; boundary=b")];
    let form = |files| file.repeat(files) + "--b--\r\n";
    let answer = alice.send("POST", "/files", &fields, form(3)).await;
    assert_eq!(answer.problem(), (400, "invalid-field".into()));
    assert_eq!(alice.get("/files", &[]).await.json()["files"], json!([]));
    alice.send("POST", "/files", &fields, form(2)).await.expect(201);
    assert_eq!(parts_in(origin.folder.path()), 0);
}

#[tokio::test]
async fn a_page_has_so_many_files() {
    let origin = Running::start_with(|config| config.limits.list_files_max = 2).await;
    let alice = origin.alice();
    for _ in 0..3 {
        alice.store("name=a", "x").await;
    }
    let page = alice.get("/files?limit=1000", &[]).await.expect(200).json();
    assert_eq!(page["files"].as_array().unwrap().len(), 2);
}

#[tokio::test]
async fn a_file_is_given_so_much_metadata() {
    let origin = Running::start().await;
    let alice = origin.alice();
    let file = alice.store("name=a", "x").await;
    let many: serde_json::Map<_, _> = (0..33).map(|key| (format!("k{key}"), "v".into())).collect();
    for metadata in [json!(many), json!({ "k": "v".repeat(10_000) })] {
        let change = json!({ "metadata": metadata }).to_string();
        let answer = alice.send("PATCH", &file, &[], change).await;
        assert_eq!(answer.problem(), (400, "invalid-field".into()));
    }
}

#[tokio::test]
async fn an_upload_is_no_file_yet() {
    let origin = Running::start().await;
    let alice = origin.alice();
    let upload = alice.begin(10, "").await;
    let file = crate::support::file_of(&upload);
    alice.send("PATCH", &file, &[], r#"{"name":"b"}"#).await.expect(404);
    alice.send("POST", &format!("{file}/links"), &[], "{}").await.expect(404);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_creation_that_its_client_can_not_go_on_with_leaves_nothing_open() {
    let origin = Running::start().await;
    let alice = origin.alice();
    let sha1_of_nothing = "sha1 2jmj7l5rSw0yVb/vlWAYkK/YBwk=";
    let fields = [
        ("upload-length", "5"),
        ("content-type", "application/offset+octet-stream"),
        ("upload-checksum", sha1_of_nothing),
    ];
    alice.tus("POST", "/uploads", &fields, "hello").await.expect(460);
    let digest = format!("sha-256=:{}:", STANDARD.encode(Sha256::digest("")));
    let fields = [("upload-complete", "?0"), ("content-digest", digest.as_str())];
    alice.send("POST", "/uploads", &fields, "hello").await.expect(400);
    let head = "upload-complete: ?0\r\nupload-length: 4\r\ntransfer-encoding: chunked";
    let mut overrun = begin(&alice, head, "POST", "/uploads", b"5\r\nhello\r\n0\r\n\r\n").await;
    let answer = read_until(&mut overrun, "\r\n\r\n").await;
    assert!(answer.starts_with("HTTP/1.1 400 "), "{answer}");
    let token = AdminDoor::find(origin.folder.path()).unwrap().unwrap().token();
    let fields = [("authorization", &*format!("Bearer {token}"))];
    let found = origin.operator().send_unsigned("POST", "/admin/fsck", &fields, "").await;
    assert_eq!(found.expect(200).json()["uploads"]["count"], 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn so_many_connections_are_served_at_once() {
    let origin = Running::start_with(|config| config.limits.connections_max = 1).await;
    let ask = async |stream: &mut TcpStream| {
        stream.write_all(b"GET /healthz HTTP/1.1\r\nhost: o\r\n\r\n").await.unwrap();
    };
    let mut first = TcpStream::connect(origin.address).await.unwrap();
    ask(&mut first).await;
    read_until(&mut first, "ok\n").await;
    let mut second = TcpStream::connect(origin.address).await.unwrap();
    ask(&mut second).await;
    for _ in 0..20 {
        ask(&mut first).await;
        read_until(&mut first, "ok\n").await;
    }
    let nothing = second.try_read(&mut [0]).unwrap_err();
    assert_eq!(nothing.kind(), std::io::ErrorKind::WouldBlock);
    drop(first);
    read_until(&mut second, "ok\n").await;
}
