//! The origin is away: what is cached is still served, the rest is a clear problem.

use std::sync::Arc;
use std::time::{Duration, Instant};

use outport_tests::api::{Answer, Api};
use outport_tests::deployment::{Data, Running};
use outport_tests::suite::Check;
use outport_tests::{check, random};
use reqwest::Method;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};

use crate::backend::{Answering, Backend, CACHED, Death, Framing};

/// The longest a client may be left without an answer when the origin is away.
const ANSWER_MAX: Duration = Duration::from_secs(10);
/// How long the edge may still think that the origin is away.
const RECOVERY_MAX: Duration = Duration::from_secs(3);
/// How many wait for what a server does not live to say, how much that is, and where it dies, in
/// bytes.
const WAITING: usize = 200;
const CONTENT_BYTES: usize = 400_000;
const DEATH_BYTES: usize = 150_000;
/// How long those who wait are given to read what there is.
const READING: Duration = Duration::from_millis(500);

pub(crate) fn all() -> Vec<Check> {
    vec![
        check!(an_origin_that_is_down),
        check!(an_origin_that_does_not_answer),
        check!(an_origin_that_comes_back),
        check!(a_server_killed_before_it_answers),
        check!(a_server_killed_in_the_midst_of_a_body),
        check!(a_server_killed_in_the_midst_of_chunks),
        check!(a_server_killed_in_the_midst_of_what_its_connection_ends),
    ]
}

async fn an_origin_that_is_down() {
    let (data, mut origin) = (Data::new(), None);
    let (edge, api) = start(&data, &mut origin);
    let cached = api.upload("name=cached.txt", "text/plain", "cached").await;
    let not_cached = api.upload("name=not.txt", "text/plain", "not cached").await;
    api.get(&cached.path()).await.expect_status(200);
    origin.take().expect("it runs").kill();

    for _ in 0..3 {
        let answer = api.get(&cached.path()).await;
        answer.expect_status(200);
        assert_eq!(answer.body, "cached");
        let part = api.get_with(&cached.path(), &[("range", "bytes=1-2")]).await;
        assert_eq!((part.status, &part.body[..]), (206, &b"ac"[..]));
    }
    expect_away(&api.get(&not_cached.path()).await);
    expect_away(&api.get("/files").await);
    expect_away(&api.send(Method::POST, "/files", &[], "content").await);
    expect_away(&outport_tests::tus::ask(&api, "10", "").await);
    api.anonymous().get(&cached.path()).await.expect_problem(404, "not-found");
    api.anonymous().get("/healthz").await.expect_status(200);
    drop(edge);
}

async fn an_origin_that_does_not_answer() {
    let data = Data::new();
    // It takes connections and says nothing.
    let silent = TcpListener::bind("127.0.0.1:0").await.expect("a port is free");
    let address = format!("http://{}", silent.local_addr().expect("it has an address"));
    let config = data.config("[edge]\nupstream_timeout_ms = 2000\n");
    let config = config.to_str().expect("the path is text");
    let edge = Running::edge(&data, &address, &["--config", config]);
    let token = data.token("demo", "demo", "read write", "1h");
    let api = Api::new(edge.ready("edge")).with_token(&token);
    let begun = Instant::now();
    let answer = api.get("/files").await;
    assert!(begun.elapsed() < ANSWER_MAX, "{:?}", begun.elapsed());
    answer.expect_problem(504, "origin-timeout");
}

async fn an_origin_that_comes_back() {
    let (data, mut origin) = (Data::new(), None);
    let (edge, api) = start(&data, &mut origin);
    let file = api.upload("name=a.txt", "text/plain", "kept").await;
    let old = origin.take().expect("it runs");
    let port = old.ready("origin").rsplit(':').next().and_then(|port| port.parse().ok());
    old.kill();
    expect_away(&api.get(&file.path()).await);
    let _origin = Running::origin(&data, port.expect("an address ends in a port"));
    // A failure is remembered for a moment, so that a herd does not fall upon a weak origin.
    let begun = Instant::now();
    let mut answer = api.get(&file.path()).await;
    while answer.status != 200 && begun.elapsed() < RECOVERY_MAX {
        tokio::time::sleep(Duration::from_millis(100)).await;
        answer = api.get(&file.path()).await;
    }
    assert_eq!(answer.body, "kept");
    drop(edge);
}

async fn a_server_killed_before_it_answers() {
    for death in [Death::Fin, Death::Reset] {
        for answer in killed(Framing::Length, 0, death).await {
            assert!(answer.is_refusal(), "{death:?}: {}", answer.beginning());
        }
    }
}

async fn a_server_killed_in_the_midst_of_a_body() {
    for death in [Death::Fin, Death::Reset] {
        killed_in_the_midst(Framing::Length, death).await;
    }
}

async fn a_server_killed_in_the_midst_of_chunks() {
    for death in [Death::Fin, Death::Reset] {
        killed_in_the_midst(Framing::Chunked, death).await;
    }
}

/// Where the end of the connection is the end of the body, nobody can tell a server that was killed
/// from one that has said all, unless its connections break.
async fn a_server_killed_in_the_midst_of_what_its_connection_ends() {
    killed_in_the_midst(Framing::Close, Death::Reset).await;
}

/// Everybody has a part, and knows that it is one.
async fn killed_in_the_midst(framing: Framing, death: Death) {
    let answers = killed(framing, DEATH_BYTES, death).await;
    let parts = answers.iter().filter(|answer| answer.is_part()).count();
    for answer in &answers {
        let is_clean = answer.is_part() || answer.is_refusal();
        assert!(is_clean, "{framing:?} {death:?}: {}", answer.beginning());
    }
    assert!(parts > 0, "{framing:?} {death:?}: nobody had begun to read");
}

/// Many ask for one thing, whose server dies before it has said so many bytes of it. Returns what
/// they got, once it is shown that nothing of it was stored, and that the whole is, later.
async fn killed(framing: Framing, after_bytes: usize, death: Death) -> Vec<Read> {
    let content = Arc::new(random::bytes(CONTENT_BYTES));
    let delay = Duration::ZERO;
    let answering = Answering {
        fields: CACHED,
        content: content.clone(),
        framing,
        delay,
        stops_after: Some(after_bytes),
        death,
    };
    let server = Backend::start(answering.clone()).await;
    let address = server.address;
    let data = Data::new();
    let config = data.config(&server.route());
    let config = config.to_str().expect("the path is text");
    let edge = Running::edge(&data, &format!("http://{address}"), &["--config", config]);
    let api = Api::new(edge.ready("edge"));

    let authority = api.authority();
    let clients: Vec<_> = (0..WAITING).map(|_| tokio::spawn(read(authority.clone()))).collect();
    server.has_stopped().await;
    tokio::time::sleep(READING).await;
    assert_eq!(server.requests(), 1, "they wait for one");
    server.kill().await;
    let mut answers = Vec::new();
    for client in clients {
        let answer = tokio::time::timeout(ANSWER_MAX, client).await;
        answers.push(answer.expect("nobody waits for ever").expect("it does not panic"));
    }
    for answer in answers.iter().filter(|answer| answer.is_part()) {
        assert!(answer.holds_beginning_of(&content), "{framing:?} {death:?}: other bytes");
    }

    // Nothing of it is there.
    expect_away(&api.get("/r/thing").await);
    let whole = Answering { stops_after: None, death: Death::Fin, ..answering };
    let server = Backend::start_at(address, whole).await;
    let begun = Instant::now();
    let mut answer = api.get("/r/thing").await;
    while answer.status != 200 && begun.elapsed() < RECOVERY_MAX {
        tokio::time::sleep(Duration::from_millis(100)).await;
        answer = api.get("/r/thing").await;
    }
    for expected in ["stored", "hit"] {
        assert!(answer.status == 200 && answer.body == content.as_slice(), "{answer:?}");
        assert!(answer.field("cache-status").contains(expected), "{answer:?}");
        answer = api.get("/r/thing").await;
    }
    assert_eq!(server.requests(), 1);
    answers
}

/// What a client has read when its connection was over.
struct Read(Vec<u8>);

async fn read(authority: String) -> Read {
    let mut stream = TcpStream::connect(&authority).await.expect("the edge takes connections");
    let request =
        format!("GET /r/thing HTTP/1.1\r\nhost: {authority}\r\nconnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).await.expect("the edge reads");
    let mut read = Vec::new();
    // A connection that breaks is over, too.
    while matches!(stream.read_buf(&mut read).await, Ok(1..)) {}
    Read(read)
}

impl Read {
    /// Head and body.
    fn split(&self) -> (String, &[u8]) {
        let end = self.0.windows(4).position(|window| window == b"\r\n\r\n");
        let (head, body) = self.0.split_at(end.map_or(self.0.len(), |end| end + 4));
        (String::from_utf8_lossy(head).to_ascii_lowercase(), body)
    }

    fn length(&self) -> Option<usize> {
        let (head, _) = self.split();
        let (_, rest) = head.split_once("\r\ncontent-length: ")?;
        rest.split("\r\n").next()?.parse().ok()
    }

    /// Whether it is an answer of which a client can tell that it was cut short.
    fn is_part(&self) -> bool {
        let (head, body) = self.split();
        let is_cut = match self.length() {
            Some(length) => body.len() < length,
            None => head.contains("transfer-encoding: chunked") && !body.ends_with(b"0\r\n\r\n"),
        };
        head.starts_with("http/1.1 200") && is_cut
    }

    /// Whether it says, in full, that the server is away.
    fn is_refusal(&self) -> bool {
        let (head, body) = self.split();
        let away = ["http/1.1 502", "http/1.1 504"].iter().any(|line| head.starts_with(line));
        away && head.contains("application/problem+json") && self.length() == Some(body.len())
    }

    fn holds_beginning_of(&self, content: &[u8]) -> bool {
        let (head, body) = self.split();
        if !head.contains("transfer-encoding: chunked") {
            return content.starts_with(body);
        }
        let (mut rest, mut at) = (body, 0);
        while let Some(end) = rest.windows(2).position(|window| window == b"\r\n") {
            let size = String::from_utf8_lossy(&rest[..end]).into_owned();
            let size = usize::from_str_radix(&size, 16).expect("a chunk begins with its size");
            let chunk = &rest[end + 2..];
            let chunk = &chunk[..size.min(chunk.len())];
            if !content[at..].starts_with(chunk) {
                return false;
            }
            at += chunk.len();
            rest = rest.get(end + 2 + size + 2..).unwrap_or_default();
        }
        true
    }

    fn beginning(&self) -> String {
        let (head, body) = self.split();
        format!("{head}{} bytes", body.len())
    }
}

fn start(data: &Data, origin: &mut Option<Running>) -> (Running, Api) {
    let running = Running::origin(data, 0);
    let edge = Running::edge(data, running.ready("origin"), &[]);
    *origin = Some(running);
    let token = data.token("demo", "demo", "read write", "1h");
    let api = Api::new(edge.ready("edge")).with_token(&token);
    (edge, api)
}

#[track_caller]
fn expect_away(answer: &Answer) {
    match answer.status {
        504 => answer.expect_problem(504, "origin-timeout"),
        _ => answer.expect_problem(502, "origin-unreachable"),
    }
}
