//! The origin is away: what is cached is still served, the rest is a clear problem.

use std::time::{Duration, Instant};

use outport_tests::api::{Answer, Api};
use outport_tests::check;
use outport_tests::deployment::{Data, Running};
use outport_tests::suite::Check;
use reqwest::Method;
use tokio::net::TcpListener;

/// The longest a client may be left without an answer when the origin is away.
const ANSWER_MAX: Duration = Duration::from_secs(10);
/// How long the edge may still think that the origin is away.
const RECOVERY_MAX: Duration = Duration::from_secs(3);

pub(crate) fn all() -> Vec<Check> {
    vec![
        check!(an_origin_that_is_down),
        check!(an_origin_that_does_not_answer),
        check!(an_origin_that_comes_back),
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
