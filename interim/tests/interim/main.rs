//! Interim responses between what hyper writes, as a client sees them on the wire.
#![allow(clippy::expect_used, clippy::indexing_slicing, clippy::unwrap_used, missing_docs)]

mod client;
mod server;
mod stress;

use std::time::Duration;

use outport_interim::Sent;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use client::{Message, Reader};
use server::{Plan, connect};

/// How long a test waits for what must come.
const PATIENCE: Duration = Duration::from_secs(20);

fn interims(messages: &[Message]) -> Vec<u16> {
    messages.iter().map(|message| message.status).collect()
}

#[tokio::test]
async fn it_arrives_while_the_body_is_still_being_sent() {
    let (mut client, _seen) = connect(1 << 16, Plan { at_start: 1, per_chunk: 1, ..Plan::NONE });
    client
        .write_all(b"POST /1 HTTP/1.1\r\nhost: x\r\ncontent-length: 10\r\n\r\nhello")
        .await
        .unwrap();
    let (read, mut write) = tokio::io::split(client);
    let mut reader = Reader::new(read);
    for _ in 0..2 {
        let message = reader.message().await.unwrap();
        assert_eq!((message.status, message.field("id")), (104, Some("1")));
    }
    write.write_all(b"world").await.unwrap();
    assert_eq!(reader.message().await.unwrap().status, 104);
    let answer = reader.message().await.unwrap();
    assert_eq!((answer.status, answer.body.as_slice()), (200, &b"10"[..]));

    // And the connection goes on.
    write.write_all(b"GET /2 HTTP/1.1\r\nhost: x\r\n\r\n").await.unwrap();
    assert_eq!(reader.message().await.unwrap().field("id"), Some("2"));
    let answer = reader.message().await.unwrap();
    assert_eq!((answer.status, answer.field("id")), (200, Some("2")));
}

/// The connection's task sleeps until the news wakes it: the client waits, too.
#[tokio::test]
async fn it_arrives_while_nothing_else_moves() {
    let plan = Plan { at_start: 1, apart: true, hesitates: true, ..Plan::NONE };
    let (mut client, _seen) = connect(1 << 16, plan);
    let head = b"POST /1 HTTP/1.1\r\nhost: x\r\ncontent-length: 10\r\n\r\n";
    client.write_all(head).await.unwrap();
    let mut reader = Reader::new(client);
    let message = tokio::time::timeout(PATIENCE, reader.message()).await;
    assert_eq!(message.expect("it does not arrive").unwrap().status, 104);
}

#[tokio::test]
async fn it_goes_with_100_continue() {
    let (client, _seen) = connect(1 << 16, Plan { at_start: 1, ..Plan::NONE });
    let (read, mut write) = tokio::io::split(client);
    let mut reader = Reader::new(read);
    let head = b"POST /1 HTTP/1.1\r\nhost: x\r\ncontent-length: 5\r\nexpect: 100-continue\r\n\r\n";
    write.write_all(head).await.unwrap();
    let mut first = vec![reader.message().await.unwrap(), reader.message().await.unwrap()];
    first.sort_by_key(|message| message.status);
    assert_eq!(interims(&first), [100, 104]);
    write.write_all(b"hello").await.unwrap();
    let answer = reader.message().await.unwrap();
    assert_eq!((answer.status, answer.body.as_slice()), (200, &b"5"[..]));
}

#[tokio::test]
async fn pipelined_requests_get_their_own() {
    let (client, _seen) = connect(1 << 16, Plan { at_start: 2, ..Plan::NONE });
    let (read, mut write) = tokio::io::split(client);
    let mut reader = Reader::new(read);
    let requests: String = (1..=3)
        .map(|id| format!("POST /{id} HTTP/1.1\r\nhost: x\r\ncontent-length: 1\r\n\r\nx"))
        .collect();
    write.write_all(requests.as_bytes()).await.unwrap();
    for id in ["1", "2", "3"] {
        for status in [104, 104, 200] {
            let message = reader.message().await.unwrap();
            assert_eq!((message.status, message.field("id")), (status, Some(id)));
        }
    }
}

#[tokio::test]
async fn http_1_0_gets_none() {
    let (mut client, seen) = connect(1 << 16, Plan { at_start: 1, ..Plan::NONE });
    client.write_all(b"POST /1 HTTP/1.0\r\ncontent-length: 1\r\n\r\nx").await.unwrap();
    let mut all = Vec::new();
    client.read_to_end(&mut all).await.unwrap();
    assert!(all.starts_with(b"HTTP/1.0 200"), "{}", String::from_utf8_lossy(&all));
    assert_eq!(seen.outcomes("1"), [Sent::Impossible]);
}

#[tokio::test]
async fn http_2_gets_none() {
    let (client, seen) = connect(1 << 16, Plan { at_start: 1, ..Plan::NONE });
    let io = hyper_util::rt::TokioIo::new(client);
    let executor = hyper_util::rt::TokioExecutor::new();
    let (mut sender, connection) =
        hyper::client::conn::http2::handshake(executor, io).await.unwrap();
    tokio::spawn(connection);
    let body = http_body_util::Full::new(bytes::Bytes::from_static(b"hello"));
    let request = http::Request::post("http://x/1").body(body).unwrap();
    assert_eq!(sender.send_request(request).await.unwrap().status(), 200);
    assert_eq!(seen.outcomes("1"), [Sent::Impossible]);
}

#[tokio::test]
async fn there_is_none_after_the_final_response_began() {
    let plan = Plan { late: true, ..Plan::NONE };
    let (client, seen) = connect(1 << 16, plan);
    let (read, mut write) = tokio::io::split(client);
    let mut reader = Reader::new(read);
    write.write_all(b"GET /1 HTTP/1.1\r\nhost: x\r\n\r\n").await.unwrap();
    let answer = reader.message().await.unwrap();
    assert_eq!((answer.status, answer.body.as_slice()), (200, &b"0"[..]));
    assert_eq!(seen.outcomes("1"), [Sent::Late]);
}

#[tokio::test]
async fn only_interim_responses_are_sent() {
    for status in [101, 200, 404] {
        let (client, seen) = connect(1 << 16, Plan { at_start: 1, status, ..Plan::NONE });
        let (read, mut write) = tokio::io::split(client);
        write.write_all(b"GET /1 HTTP/1.1\r\nhost: x\r\n\r\n").await.unwrap();
        assert_eq!(Reader::new(read).message().await.unwrap().status, 200);
        assert_eq!(seen.outcomes("1"), [Sent::Impossible]);
    }
}

/// A client that sends on and reads nothing: what does not fit is refused, what was accepted
/// arrives, and whole.
#[tokio::test]
async fn a_client_that_does_not_read_loses_news_and_nothing_else() {
    let (client, seen) = connect(64, Plan { at_start: 1_000, ..Plan::NONE });
    let (read, mut write) = tokio::io::split(client);
    write.write_all(b"GET /1 HTTP/1.1\r\nhost: x\r\n\r\n").await.unwrap();
    let outcomes = seen.all("1", 1_000).await;
    let sent = outcomes.iter().filter(|sent| **sent == Sent::Sent).count();
    let busy = outcomes.iter().filter(|sent| **sent == Sent::Busy).count();
    assert_eq!(sent + busy, 1_000);
    assert!(sent > 0 && busy > 0, "{sent} {busy}");
    let mut reader = Reader::new(read);
    for _ in 0..sent {
        let message = reader.message().await.unwrap();
        assert_eq!((message.status, message.field("id")), (104, Some("1")));
    }
    assert_eq!(reader.message().await.unwrap().status, 200);
}
