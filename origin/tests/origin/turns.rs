//! The newest request for an upload wins, at one origin and at several on one store, and whatever it
//! ends has changed nothing that it was not told of.

use std::time::Duration;

use bytes::Bytes;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::time::timeout;

use crate::support::{Answer, Caller, Running, bytes, file_of, parts_in};
use crate::uploads::{open_patch, wait_for_offset};

/// Shorter than a body may stand still: who answers after that has waited for the body.
const PATIENCE: Duration = Duration::from_secs(30);

/// A PATCH from byte 0 that announces everything, sends `sent` and stays open.
async fn hanging(alice: &Caller, upload: &str, length: usize, sent: &[u8]) -> TcpStream {
    open_patch(alice, upload, 0, &format!("content-length: {length}"), sent).await
}

async fn soon<T>(answering: impl Future<Output = T>) -> T {
    timeout(PATIENCE, answering).await.unwrap()
}

/// The status that somebody was answered with after all.
async fn status(stream: &mut TcpStream) -> String {
    let mut answer = [0; 12];
    soon(stream.read_exact(&mut answer)).await.unwrap();
    String::from_utf8_lossy(&answer[9..]).into_owned()
}

/// Finishes an upload, from wherever it is. A request that hangs may reach the origin late, and end
/// this one; then it begins anew, once.
async fn finish(alice: &Caller, upload: &str, content: &[u8]) {
    for _ in 0..2 {
        let offset = soon(alice.offset(upload)).await;
        let answer = soon(alice.patch(upload, offset, content[offset..].to_vec())).await;
        if answer.status == 204 {
            return;
        }
        assert_eq!(answer.status, 409, "{answer:?}");
    }
    panic!("it is ended again and again");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_head_ends_a_patch_that_hangs() {
    let origin = Running::start().await;
    let alice = origin.alice();
    let content = bytes(20_000);
    for sent in [0, 1, 9_000, 19_999] {
        let upload = alice.begin(content.len(), "").await;
        let mut hung = hanging(&alice, &upload, content.len(), &content[..sent]).await;
        finish(&alice, &upload, &content).await;
        assert_eq!(status(&mut hung).await, "409");
        assert!(alice.get(&file_of(&upload), &[]).await.expect(200).body == content);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_head_alone_ends_it_and_says_what_is_kept() {
    let origin = Running::start().await;
    let alice = origin.alice();
    let content = bytes(20_000);
    let upload = alice.begin(content.len(), "").await;
    let mut hung = hanging(&alice, &upload, content.len(), &content[..9_000]).await;
    wait_for_offset(&alice, &upload, 8_192).await;
    let offset = soon(alice.offset(&upload)).await;
    assert!((8_192..=9_000).contains(&offset), "{offset}");
    assert_eq!(status(&mut hung).await, "409");
    assert_eq!(alice.offset(&upload).await, offset);
    alice.patch(&upload, offset, content[offset..].to_vec()).await.expect(204);
    assert!(alice.get(&file_of(&upload), &[]).await.expect(200).body == content);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_patch_ends_a_patch_that_hangs() {
    let origin = Running::start().await;
    let alice = origin.alice();
    let content = bytes(20_000);
    let upload = alice.begin(content.len(), "").await;
    let mut hung = hanging(&alice, &upload, content.len(), &content[..9_000]).await;
    wait_for_offset(&alice, &upload, 8_192).await;
    // What was durable of the other stays, and the refusal says how much that is.
    let refused = soon(alice.patch(&upload, 0, content.clone())).await;
    assert_eq!(refused.problem(), (409, "offset-mismatch".into()));
    assert_eq!(status(&mut hung).await, "409");
    let offset = refused.header("upload-offset").unwrap().parse().unwrap();
    alice.patch(&upload, offset, content[offset..].to_vec()).await.expect(204);
    assert!(alice.get(&file_of(&upload), &[]).await.expect(200).body == content);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_delete_ends_a_patch_that_hangs() {
    // Otherwise a part that has its age would find that the upload is gone.
    let hour = Duration::from_secs(3600);
    let origin = Running::start_with(|config| config.storage.part_age_max = hour).await;
    let alice = origin.alice();
    let upload = alice.begin(20_000, "").await;
    let mut hung = hanging(&alice, &upload, 20_000, &bytes(9_000)).await;
    wait_for_offset(&alice, &upload, 8_192).await;
    soon(alice.tus("DELETE", &upload, &[], "")).await.expect(204);
    let status = status(&mut hung).await;
    assert!(matches!(status.as_str(), "404" | "409"), "{status}");
    alice.tus("HEAD", &upload, &[], "").await.expect(404);
    assert_eq!(parts_in(origin.folder.path()), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn who_hangs_before_a_checked_body_leaves_nothing() {
    let origin = Running::start().await;
    let alice = origin.alice();
    let upload = alice.begin(11, "").await;
    let announced = "content-length: 11\r\nupload-checksum: sha1 Kq5sNclPz7QV2+lfQIuc6R7oRu0=";
    let mut hung = open_patch(&alice, &upload, 0, announced, b"hello ").await;
    assert_eq!(soon(alice.offset(&upload)).await, 0, "it was not checked");
    finish(&alice, &upload, b"hello world").await;
    assert_eq!(status(&mut hung).await, "409");
    assert_eq!(alice.get(&file_of(&upload), &[]).await.expect(200).body, "hello world");
}

/// Whether an append has brought the upload to `end`. One that a newer one took over from when all
/// of its bytes were there, and not yet their end, is told so by the offset.
fn has_won(answer: &Answer, end: &str) -> bool {
    let at_end = answer.header("upload-offset") == Some(end);
    at_end && (answer.status == 204 || answer.problem() == (409, "superseded".into()))
}

#[tokio::test(flavor = "multi_thread")]
async fn of_a_thousand_at_two_origins_one_wins_each_round() {
    const ROUNDS: usize = 125;
    const RACERS: usize = 8;
    const BYTES: usize = 64;
    let origin = Running::start().await;
    let other = origin.beside().await;
    let callers = [origin.alice(), other.alice()];
    let upload = callers[0].begin(ROUNDS * BYTES, "").await;
    let mut content = Vec::new();
    for round in 0..ROUNDS {
        let body = |racer: usize| -> Bytes { format!("{round:>32}{racer:>32}").into() };
        let race = (0..RACERS).map(|racer| {
            let (caller, upload) = (callers[racer % 2].clone(), upload.clone());
            async move { caller.patch(&upload, round * BYTES, body(racer)).await }
        });
        let answers = futures::future::join_all(race).await;
        let end = ((round + 1) * BYTES).to_string();
        let won: Vec<_> = (0..RACERS).filter(|racer| has_won(&answers[*racer], &end)).collect();
        assert_eq!(won.len(), 1, "round {round}: {answers:?}");
        assert!(answers.iter().all(|answer| [204, 409].contains(&answer.status)), "{answers:?}");
        content.extend_from_slice(&body(won[0]));
    }
    for caller in &callers {
        let file = caller.get(&file_of(&upload), &[]).await.expect(200).body;
        assert!(file == content, "none is lost, and none is there twice");
    }
    assert_eq!(parts_in(origin.folder.path()), ROUNDS, "losers leave no parts");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_origin_that_wakes_up_late_changes_nothing() {
    let origin = Running::start().await;
    let other = origin.beside().await;
    let (alice, elsewhere) = (origin.alice(), other.alice());
    let content = bytes(20_000);
    // One has the begin of a body in hand when another takes the upload over; it hears of it when
    // it wants to store what came, and not before.
    for (sent, committed, finished) in
        [(17_000, 16_384, true), (17_000, 16_384, false), (5_000, 4_096, true)]
    {
        let upload = alice.begin(content.len(), "").await;
        let mut late = hanging(&alice, &upload, content.len(), &vec![b'x'; sent]).await;
        wait_for_offset(&alice, &upload, committed).await;
        let offset = soon(elsewhere.offset(&upload)).await;
        assert_eq!(offset, committed);
        let finish = || elsewhere.patch(&upload, offset, content[offset..].to_vec());
        if finished {
            finish().await.expect(204);
        }
        late.write_all(&vec![b'x'; content.len() - sent]).await.unwrap();
        assert_eq!(status(&mut late).await, "409");
        let expected = if finished { content.len() } else { offset };
        assert_eq!(soon(elsewhere.offset(&upload)).await, expected);
        if !finished {
            finish().await.expect(204);
        }
        for caller in [&alice, &elsewhere] {
            let file = caller.get(&file_of(&upload), &[]).await.expect(200).body;
            assert!(file[..offset] == vec![b'x'; offset] && file[offset..] == content[offset..]);
        }
    }
}
