//! What the origin says before its final answer, as clients of the node see it.

use std::net::SocketAddr;

use aws_lc_rs::signature::{Ed25519KeyPair, KeyPair as _};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use outport_edge_core::config::{Config, Issuer};
use outport_edge_core::key_set::Jwk;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::oneshot;

use crate::{Setup, core};

const NEWS: &str = "HTTP/1.1 104 x\r\nlocation: /uploads/x\r\nset-cookie: a=b\r\n\
    upload-limit: max-size=9\r\noutport-file: x\r\n\r\n";
const CREATED: &str = "HTTP/1.1 201 Created\r\nlocation: /uploads/x\r\ncontent-length: 0\r\n\r\n";

/// A node whose origin is a listener here, and a token that it takes.
async fn node(change: impl FnOnce(&mut Config)) -> (Setup, TcpListener, String) {
    let origin = TcpListener::bind(SocketAddr::from(([127, 0, 0, 1], 0))).await.unwrap();
    let mut config = core(format!("http://{}", origin.local_addr().unwrap()));
    let key = Ed25519KeyPair::from_seed_unchecked(&[9; 32]).unwrap();
    config.issuers.push(Issuer {
        name: "us".into(),
        audiences: vec!["us".into()],
        keys: vec![Jwk::ed25519("k", key.public_key().as_ref())],
        ..Issuer::default()
    });
    change(&mut config);
    (Setup::start(config, u64::MAX).await, origin, token(&key))
}

fn token(key: &Ed25519KeyPair) -> String {
    let header = URL_SAFE_NO_PAD.encode(br#"{"alg":"EdDSA","kid":"k"}"#);
    let claims = br#"{"iss":"us","aud":"us","sub":"a","tenant":"t","scope":"read write",
        "exp":4000000000}"#;
    let message = format!("{header}.{}", URL_SAFE_NO_PAD.encode(claims));
    let signature = URL_SAFE_NO_PAD.encode(key.sign(message.as_bytes()));
    format!("{message}.{signature}")
}

/// Reads until what was read ends like this.
async fn until(stream: &mut TcpStream, end: &str) -> String {
    let mut read = Vec::new();
    while !read.ends_with(end.as_bytes()) {
        let byte = stream.read_u8().await;
        let so_far = || String::from_utf8_lossy(&read).into_owned();
        read.push(byte.unwrap_or_else(|error| panic!("{error} after {:?}", so_far())));
    }
    String::from_utf8(read).unwrap()
}

async fn connect(setup: &Setup) -> TcpStream {
    TcpStream::connect(setup.edge.strip_prefix("http://").unwrap()).await.unwrap()
}

fn head(version: &str, token: &str, length: usize) -> String {
    format!(
        "POST /uploads {version}\r\nhost: x\r\nauthorization: Bearer {token}\r\n\
         tus-resumable: 1.0.0\r\nupload-length: {length}\r\ncontent-length: {length}\r\n\r\n"
    )
}

#[tokio::test(flavor = "multi_thread")]
async fn it_arrives_while_the_body_is_still_being_sent() {
    let (setup, origin, token) = node(|_| {}).await;
    let serving = tokio::spawn(async move {
        let (mut stream, _) = origin.accept().await.unwrap();
        for _ in 0..2 {
            let asked = until(&mut stream, "hello").await;
            assert!(asked.contains("outport-interim: ?1\r\n"), "{asked}");
            stream.write_all(b"HTTP/1.1 103 Early Hints\r\nlink: </a>\r\n\r\n").await.unwrap();
            stream.write_all(NEWS.as_bytes()).await.unwrap();
            until(&mut stream, "world").await;
            stream.write_all(b"HTTP/1.1 104 x\r\nupload-offset: 10\r\n\r\n").await.unwrap();
            stream.write_all(CREATED.as_bytes()).await.unwrap();
        }
        stream
    });
    let mut client = connect(&setup).await;
    for _ in 0..2 {
        client.write_all(head("HTTP/1.1", &token, 10).as_bytes()).await.unwrap();
        client.write_all(b"hello").await.unwrap();
        let news = until(&mut client, "\r\n\r\n").await;
        let expected = "HTTP/1.1 104 Upload Resumption Supported\r\nlocation: /uploads/x\r\n\
            upload-limit: max-size=9\r\n\r\n";
        assert_eq!(news, expected);
        client.write_all(b"world").await.unwrap();
        let news = until(&mut client, "\r\n\r\n").await;
        assert_eq!(news.split_once("\r\n").unwrap().1, "upload-offset: 10\r\n\r\n");
        let answer = until(&mut client, "\r\n\r\n").await;
        assert!(answer.starts_with("HTTP/1.1 201 Created\r\n"), "{answer}");
    }
    drop(serving.await.unwrap());
}

#[tokio::test(flavor = "multi_thread")]
async fn its_location_is_as_absolute_as_the_final_one() {
    let base = "https://files.example";
    let (setup, origin, token) = node(|core| core.public_base_url = Some(base.into())).await;
    let serving = tokio::spawn(async move {
        let (mut stream, _) = origin.accept().await.unwrap();
        until(&mut stream, "hello").await;
        stream.write_all(NEWS.as_bytes()).await.unwrap();
        stream.write_all(CREATED.as_bytes()).await.unwrap();
        stream
    });
    let mut client = connect(&setup).await;
    client.write_all((head("HTTP/1.1", &token, 5) + "hello").as_bytes()).await.unwrap();
    let location = "location: https://files.example/uploads/x\r\n";
    for status in ["104", "201"] {
        let answer = until(&mut client, "\r\n\r\n").await;
        assert!(answer.contains(status) && answer.contains(location), "{answer}");
    }
    drop(serving.await.unwrap());
}

#[tokio::test(flavor = "multi_thread")]
async fn http_1_0_gets_none() {
    let (setup, origin, token) = node(|_| {}).await;
    let serving = tokio::spawn(async move {
        let (mut stream, _) = origin.accept().await.unwrap();
        until(&mut stream, "hello").await;
        stream.write_all(NEWS.as_bytes()).await.unwrap();
        stream.write_all(CREATED.as_bytes()).await.unwrap();
        stream
    });
    let mut client = connect(&setup).await;
    client.write_all((head("HTTP/1.0", &token, 5) + "hello").as_bytes()).await.unwrap();
    let answer = until(&mut client, "\r\n\r\n").await;
    assert!(answer.starts_with("HTTP/1.0 201 "), "{answer}");
    drop(serving.await.unwrap());
}

/// The edge has given up on the origin and said so. What the origin says then is nobody's.
#[tokio::test(flavor = "multi_thread")]
async fn there_is_none_after_the_final_answer() {
    let (setup, origin, token) = node(|core| core.upstream_timeout_ms = 100).await;
    let (answered, late) = oneshot::channel::<()>();
    let serving = tokio::spawn(async move {
        let (mut stream, _) = origin.accept().await.unwrap();
        until(&mut stream, "hello").await;
        late.await.unwrap();
        // The edge may have closed by now.
        let _ = stream.write_all(NEWS.as_bytes()).await;
        stream
    });
    let mut client = connect(&setup).await;
    client.write_all((head("HTTP/1.1", &token, 5) + "hello").as_bytes()).await.unwrap();
    let answer = until(&mut client, "\"}").await;
    assert!(answer.starts_with("HTTP/1.1 504 "), "{answer}");
    answered.send(()).unwrap();
    drop(serving.await.unwrap());
    client.write_all(b"GET /healthz HTTP/1.1\r\nhost: x\r\n\r\n").await.unwrap();
    let next = until(&mut client, "}").await;
    assert!(next.starts_with("HTTP/1.1 200 OK\r\n"), "{next}");
}
