//! Files that an edge accepted by itself and hands over.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use outport_wire::id::{FileId, Home};
use sha2::{Digest as _, Sha256};
use tokio::io::AsyncWriteExt as _;
use tokio::net::TcpStream;

use crate::draft::read_until;
use crate::support::{Answer, Caller, Running, bytes};

const QUERY: &str = "name=a.txt&type=text%2Fplain&visibility=public";

/// An id that an edge made for alice an hour ago.
fn new_id() -> FileId {
    let now = SystemTime::now() - Duration::from_secs(3600);
    let unix_ms = now.duration_since(UNIX_EPOCH).unwrap().as_millis() as u64;
    FileId::new_at_edge(Home::of(0, "demo", "alice"), unix_ms, rand::random())
}

fn digest(content: &[u8]) -> String {
    format!("sha-256=:{}:", STANDARD.encode(Sha256::digest(content)))
}

async fn hand_over(caller: &Caller, id: FileId, content: &[u8]) -> Answer {
    let target = format!("/files/{id}?{QUERY}");
    let digest = digest(content);
    caller.send("PUT", &target, &[("content-digest", digest.as_str())], content.to_vec()).await
}

async fn listed(caller: &Caller) -> usize {
    caller.get("/files", &[]).await.json()["files"].as_array().unwrap().len()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_file_arrives_once_however_often_it_is_sent() {
    let origin = Running::start().await;
    let alice = origin.alice();
    let (id, content) = (new_id(), bytes(10_000));
    hand_over(&alice, id, &content).await.expect(201);
    hand_over(&alice, id, &content).await.expect(204);
    let again = futures::future::join_all((0..8).map(|_| hand_over(&alice, id, &content)));
    assert!(again.await.iter().all(|answer| answer.status == 204));
    let delivered = alice.get(&format!("/files/{id}"), &[]).await.expect(200);
    assert!(delivered.body == content);
    assert_eq!(delivered.header("etag"), Some(format!("\"{id}\"").as_str()));
    let listed = alice.get("/files", &[]).await.json();
    let [file] = &listed["files"].as_array().unwrap()[..] else { panic!("{listed}") };
    assert_eq!((&file["name"], &file["visibility"]), (&"a.txt".into(), &"public".into()));
    let created = outport_wire::time::rfc3339(id.unix_ms() / 1000);
    assert_eq!(file["created"], created, "it counts from when the edge accepted it");
}

#[tokio::test(flavor = "multi_thread")]
async fn of_many_at_once_one_is_stored() {
    let origin = Running::start().await;
    let alice = origin.alice();
    for _ in 0..10 {
        let (id, content) = (new_id(), bytes(5_000));
        let answers = futures::future::join_all((0..8).map(|_| hand_over(&alice, id, &content)));
        let statuses: Vec<_> = answers.await.iter().map(|answer| answer.status).collect();
        assert_eq!(statuses.iter().filter(|status| **status == 201).count(), 1, "{statuses:?}");
        // A 409 is one that came between the writing of the record and its being there.
        assert!(statuses.iter().all(|status| [201, 204, 409].contains(status)), "{statuses:?}");
        hand_over(&alice, id, &content).await.expect(204);
        let delivered = alice.get(&format!("/files/{id}"), &[]).await.expect(200);
        assert!(delivered.body == content);
    }
    assert_eq!(listed(&alice).await, 10);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_removed_does_not_come_back() {
    let origin = Running::start().await;
    let alice = origin.alice();
    let id = new_id();
    hand_over(&alice, id, b"hello").await.expect(201);
    alice.send("DELETE", &format!("/files/{id}"), &[], "").await.expect(204);
    hand_over(&alice, id, b"hello").await.expect(204);
    alice.get(&format!("/files/{id}"), &[]).await.expect(404);
    assert_eq!(listed(&alice).await, 0);
    let folder = origin.stop().await;
    let origin = Running::start_in(folder, |_| {}).await;
    hand_over(&origin.alice(), id, b"hello").await.expect(204);
    origin.alice().get(&format!("/files/{id}"), &[]).await.expect(404);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_changed_meanwhile_stays_changed() {
    let origin = Running::start().await;
    let alice = origin.alice();
    let id = new_id();
    hand_over(&alice, id, b"hello").await.expect(201);
    let change = r#"{"name":"b.txt"}"#;
    alice.send("PATCH", &format!("/files/{id}"), &[], change).await.expect(200);
    hand_over(&alice, id, b"hello").await.expect(204);
    assert_eq!(alice.get("/files", &[]).await.json()["files"][0]["name"], "b.txt");
}

#[tokio::test(flavor = "multi_thread")]
async fn only_what_an_edge_may_hand_over() {
    let origin = Running::start().await;
    let alice = origin.alice();
    let target = |id: FileId| format!("/files/{id}?{QUERY}");
    let digest = digest(b"hello");
    let fields = [("content-digest", digest.as_str())];
    // The id is another owner's, or none of an edge's.
    let bob = origin.caller("demo", "bob", "write");
    hand_over(&bob, new_id(), b"hello").await.expect(404);
    let ours = FileId::new(Home::of(0, "demo", "alice"), 1_790_000_000_000, 7);
    hand_over(&alice, ours, b"hello").await.expect(404);
    // Other contents than were kept, or nothing that says which.
    let broken = alice.send("PUT", &target(new_id()), &fields, "hellO").await;
    assert_eq!(broken.problem(), (400, "digest-mismatched-values".into()));
    alice.send("PUT", &target(new_id()), &[], "hello").await.expect(400);
    origin
        .caller("demo", "alice", "read")
        .send("PUT", &target(new_id()), &fields, "hello")
        .await
        .expect(403);
    origin.nobody().send("PUT", &target(new_id()), &fields, "hello").await.expect(401);
    // Another file under an id that is taken.
    let id = new_id();
    hand_over(&alice, id, b"hello").await.expect(201);
    hand_over(&alice, id, b"hello world").await.expect(400);
    assert_eq!(listed(&alice).await, 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_larger_than_any_edge_keeps_is_refused_before_its_body() {
    let origin = Running::start().await;
    let alice = origin.alice();
    let (target, digest) = (format!("/files/{}?{QUERY}", new_id()), digest(b"hello"));
    let mut head = format!("PUT {target} HTTP/1.1\r\nhost: o\r\ncontent-digest: {digest}\r\n");
    for (name, value) in alice.signed_with("PUT", &target, Some(&digest)) {
        head += &format!("{name}: {value}\r\n");
    }
    head += &format!("content-length: {}\r\n\r\n", (16 << 20) + 1);
    let mut stream = TcpStream::connect(alice.address).await.unwrap();
    stream.write_all(head.as_bytes()).await.unwrap();
    // Nothing of the body is sent.
    let answer = read_until(&mut stream, "\r\n\r\n").await;
    assert!(answer.starts_with("HTTP/1.1 413 "), "{answer}");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_attempt_that_ended_half_way_harms_no_later_one() {
    let origin = Running::start().await;
    let alice = origin.alice();
    let (id, digest) = (new_id(), digest(b"hello"));
    let target = format!("/files/{id}?{QUERY}");
    let fields = [("content-digest", digest.as_str())];
    alice.send("PUT", &target, &fields, "hellO").await.expect(400);
    assert_eq!(crate::support::parts_in(origin.folder.path()), 0);
    hand_over(&alice, id, b"hello").await.expect(201);
    assert_eq!(alice.get(&format!("/files/{id}"), &[]).await.expect(200).body, "hello");
    assert_eq!(listed(&alice).await, 1);
}

#[tokio::test]
async fn an_origin_may_take_nothing_that_edges_have_accepted() {
    let origin = Running::start_with(|config| config.takes_handovers = false).await;
    let (alice, id) = (origin.alice(), new_id());
    let refused = hand_over(&alice, id, b"content").await;
    assert_eq!(refused.problem(), (401, "edge-signature".into()), "the edge keeps it");
    assert_eq!(listed(&alice).await, 0);
}
