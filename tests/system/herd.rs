//! What reaches the origin: of a herd of requests one, of hits none, unsigned requests not at all.

use std::sync::Arc;
use std::time::Duration;

use outport_tests::api::Api;
use outport_tests::deployment::{Data, Running};
use outport_tests::suite::Check;
use outport_tests::{check, metrics, process, random};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use crate::backend::{Answering, Backend, CACHED, Death, Framing};

const HERD: usize = 10_000;
/// Open files a process needs besides its connections.
const OTHER_FILES: u64 = 500;
const FILE_BYTES: usize = 4096;
/// How long the whole herd may take.
const PATIENCE: Duration = Duration::from_secs(120);
/// What says that a body comes in chunks.
const CHUNKED: &[u8] = b"transfer-encoding: chunked";
/// How long the server of a route thinks before it answers, so that the herd meets.
const DELAY: Duration = Duration::from_millis(500);

pub(crate) fn all() -> Vec<Check> {
    let enough = process::raise_open_files() >= HERD as u64 + OTHER_FILES;
    let reason = (!enough).then_some("this system does not allow 10,500 open files");
    vec![
        check!(ten_thousand_gets_of_a_new_file_ask_the_origin_once).unless(reason),
        check!(ten_thousand_gets_of_a_cached_route_ask_its_server_once).unless(reason),
        check!(ten_thousand_gets_of_an_answer_without_a_length_ask_once).unless(reason),
        check!(a_hit_does_not_reach_the_origin),
        check!(a_hit_stays_one_when_every_instance_was_replaced),
        check!(an_origin_believes_nobody_but_its_edges),
    ]
}

struct Parts {
    data: Data,
    edge: Running,
    origin: Running,
    api: Api,
}

/// All of a herd are served, however long that takes, and come from one network.
const NO_LIMITS: &str = "[limits.read]\nper_second = 1000000\nburst = 1000000\n\n\
                         [overload]\ndelay_ms_max = 0\nnetwork_connections_max = 20000\n";
/// Instances of the component are replaced after every other request.
const SHORT_LIVES: &str = "[edge]\ninstance_requests_max = 2\n";

fn start(config: &str) -> Parts {
    let data = Data::new();
    let origin = Running::origin(&data, 0);
    let config = data.config(config);
    let config = config.to_str().expect("the path is text");
    let edge = Running::edge(&data, origin.ready("origin"), &["--config", config]);
    let token = data.token("demo", "demo", "read write", "1h");
    let api = Api::new(edge.ready("edge")).with_token(&token);
    Parts { data, edge, origin, api }
}

impl Parts {
    async fn reached_origin(&self) -> u64 {
        metrics::sum(self.origin.ready("origin_metrics"), "outport_origin_requests_total", "").await
    }
}

async fn ten_thousand_gets_of_a_new_file_ask_the_origin_once() {
    let parts = start(NO_LIMITS);
    let content = random::bytes(FILE_BYTES);
    let kind = "application/octet-stream";
    let file = parts.api.upload("visibility=public", kind, content.clone()).await;
    let before = parts.reached_origin().await;
    for answer in ask_all(&parts.api.authority(), &file.path()).await {
        assert!(answer.starts_with(b"HTTP/1.1 200"), "{}", String::from_utf8_lossy(&answer));
        assert!(answer.ends_with(&content), "an answer holds something else");
    }
    assert_eq!(parts.reached_origin().await - before, 1);
}

async fn ten_thousand_gets_of_a_cached_route_ask_its_server_once() {
    ten_thousand_gets_ask_once(Framing::Length).await;
}

async fn ten_thousand_gets_of_an_answer_without_a_length_ask_once() {
    ten_thousand_gets_ask_once(Framing::Chunked).await;
}

async fn ten_thousand_gets_ask_once(framing: Framing) {
    let content = Arc::new(random::bytes(FILE_BYTES));
    let answering = Answering {
        fields: CACHED,
        content: content.clone(),
        framing,
        delay: DELAY,
        stops_after: None,
        death: Death::Fin,
    };
    let server = Backend::start(answering).await;
    let parts = start(&format!("{NO_LIMITS}\n{}", server.route()));
    for answer in ask_all(&parts.api.authority(), "/r/thing").await {
        assert!(answer.starts_with(b"HTTP/1.1 200"), "{}", String::from_utf8_lossy(&answer));
        // Who comes once it is stored whole is told its length.
        let is_chunked = answer.windows(CHUNKED.len()).any(|window| window == CHUNKED);
        let end = if is_chunked { &b"\r\n0\r\n\r\n"[..] } else { b"" };
        let whole = answer.strip_suffix(end).expect("it ends");
        assert!(whole.ends_with(&content), "an answer holds something else");
    }
    assert_eq!(server.requests(), 1);
}

async fn a_hit_does_not_reach_the_origin() {
    let parts = start(NO_LIMITS);
    let file = parts.api.upload("name=a.txt", "text/plain", "cached").await;
    parts.api.get(&file.path()).await.expect_status(200);
    let before = parts.reached_origin().await;
    let served = |outcome: &'static str| {
        let label = format!("outcome=\"{outcome}\"");
        let url = parts.edge.ready("edge_metrics").to_owned();
        async move { metrics::sum(&url, "outport_edge_requests_total", &label).await }
    };
    let hits = served("cache").await;
    for fields in [&[][..], &[("range", "bytes=1-3")], &[("if-none-match", file.text("etag"))]] {
        for _ in 0..20 {
            let answer = parts.api.get_with(&file.path(), fields).await;
            assert!(answer.field("cache-status").contains("hit"), "{answer:?}");
        }
    }
    assert_eq!(parts.reached_origin().await, before);
    assert_eq!(served("cache").await - hits, 60);
}

async fn a_hit_stays_one_when_every_instance_was_replaced() {
    let parts = start(SHORT_LIVES);
    let file = parts.api.upload("name=a.txt", "text/plain", "cached").await;
    parts.api.get(&file.path()).await.expect_status(200);
    let before = parts.reached_origin().await;
    for _ in 0..200 {
        let answer = parts.api.get(&file.path()).await;
        assert!(answer.field("cache-status").contains("hit"), "{answer:?}");
    }
    assert_eq!(parts.reached_origin().await, before);
    let instances =
        metrics::sum(parts.edge.ready("edge_metrics"), "outport_edge_instances_total", "");
    assert!(instances.await >= 100, "the instances were not replaced");
}

async fn an_origin_believes_nobody_but_its_edges() {
    let parts = start(NO_LIMITS);
    let file = parts.api.upload("visibility=public", "text/plain", "open").await;
    let direct = Api::new(parts.origin.ready("origin"));
    for path in [file.path(), "/files".to_owned(), "/uploads".to_owned()] {
        direct.get(&path).await.expect_problem(401, "edge-signature");
        let forged = [("outport-identity", "demo;demo;read write share admin")];
        direct.get_with(&path, &forged).await.expect_problem(401, "edge-signature");
        let signed = [
            ("outport-identity", "demo;demo;read write share admin"),
            ("signature-input", "edge=(\"@method\" \"@path\");created=1;keyid=\"edge-1\""),
            ("signature", "edge=:AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=:"),
        ];
        direct.get_with(&path, &signed).await.expect_problem(401, "edge-signature");
    }
    let with_token = direct.with_token(&parts.data.token("demo", "demo", "admin", "1h"));
    with_token.get(&file.path()).await.expect_problem(401, "edge-signature");
    direct.get("/healthz").await.expect_status(200);
}

/// What each of the herd is answered.
async fn ask_all(authority: &str, path: &str) -> Vec<Vec<u8>> {
    let request = format!("GET {path} HTTP/1.1\r\nhost: {authority}\r\nconnection: close\r\n\r\n");
    let mut herd = connect(authority).await;
    let asks = herd.iter_mut().map(|stream| ask(stream, request.as_bytes()));
    let all = tokio::time::timeout(PATIENCE, futures::future::join_all(asks)).await;
    let answers = all.expect("everybody is answered");
    assert_eq!(answers.len(), HERD);
    answers
}

async fn connect(authority: &str) -> Vec<TcpStream> {
    let mut herd = Vec::with_capacity(HERD);
    for _ in 0..HERD {
        herd.push(TcpStream::connect(authority).await.expect("the edge takes connections"));
    }
    herd
}

async fn ask(stream: &mut TcpStream, request: &[u8]) -> Vec<u8> {
    stream.write_all(request).await.expect("the edge reads");
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).await.expect("the edge answers");
    answer
}
