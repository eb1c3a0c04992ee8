//! What is fetched before anybody asks for it.

use std::path::Path;
use std::process::Command;
use std::sync::Arc;
use std::time::{Duration, Instant};

use outport_tests::api::Api;
use outport_tests::deployment::{Data, Running, program};
use outport_tests::suite::Check;
use outport_tests::{check, metrics};
use serde_json::json;
use tokio::task::JoinSet;

use crate::backend::{Answering, Backend, CACHED, Death, Framing};

/// How long what goes on behind everybody's back may take.
const PATIENCE: Duration = Duration::from_secs(20);
const PAUSE: Duration = Duration::from_millis(20);
/// How many clients keep the node busy.
const BUSY: usize = 8;

pub(crate) fn all() -> Vec<Check> {
    vec![
        check!(the_segments_of_a_playlist_are_there_before_they_are_asked_for),
        check!(what_is_popular_on_one_node_is_warm_on_another),
        check!(nothing_is_fetched_ahead_while_clients_wait),
    ]
}

fn giving(fields: &'static str, content: &str) -> Answering {
    Answering {
        fields,
        content: Arc::new(content.as_bytes().to_vec()),
        framing: Framing::Length,
        delay: Duration::ZERO,
        stops_after: None,
        death: Death::Reset,
    }
}

fn route(server: &Backend, name: &str) -> String {
    server.route().replace("/r/", &format!("/{name}/"))
}

fn edge(data: &Data, origin: &Running, config: &str) -> Running {
    let config = data.config(config);
    let config = config.to_str().expect("the path is text");
    Running::edge(data, origin.ready("origin"), &["--config", config])
}

/// How many were fetched ahead that ended with this.
async fn ahead(edge: &Running, outcome: &str) -> u64 {
    let label = format!("outcome=\"{outcome}\"");
    metrics::sum(edge.ready("edge_metrics"), "outport_edge_prefetches_total", &label).await
}

async fn until_ahead(edge: &Running, expected: u64) {
    let begun = Instant::now();
    while ahead(edge, "origin").await < expected {
        assert!(begun.elapsed() < PATIENCE, "{} of {expected}", ahead(edge, "origin").await);
        tokio::time::sleep(PAUSE).await;
    }
}

async fn the_segments_of_a_playlist_are_there_before_they_are_asked_for() {
    let playlist: String =
        (0..20).map(|number| format!("#EXTINF:4,\n/segment/{number}.ts\n")).collect();
    let fields = "content-type: application/vnd.apple.mpegurl\r\ncache-control: max-age=600\r\n";
    let list = format!("#EXTM3U\n{playlist}#EXT-X-ENDLIST\n");
    let lists = Backend::start(giving(fields, &list)).await;
    let segments = Backend::start(giving(CACHED, "segment")).await;
    let config =
        format!("{}prefetch = true\n{}", route(&lists, "list"), route(&segments, "segment"));
    let data = Data::new();
    let origin = Running::origin(&data, 0);
    let edge = edge(&data, &origin, &config);
    let api = Api::new(edge.ready("edge"));
    let answer = api.get("/list/film.m3u8").await;
    answer.expect_status(200);
    assert_eq!(answer.body, list);
    until_ahead(&edge, 8).await;
    for number in 0..8 {
        let segment = api.get(&format!("/segment/{number}.ts")).await;
        assert!(segment.field("cache-status").starts_with("outport; hit"), "{segment:?}");
    }
    assert_eq!(segments.requests(), 8);
}

async fn what_is_popular_on_one_node_is_warm_on_another() {
    let server = Backend::start(giving(CACHED, "something")).await;
    let (data, other) = (Data::new(), Data::new());
    let (origin, other_origin) = (Running::origin(&data, 0), Running::origin(&other, 0));
    let paris = edge(&data, &origin, &server.route());
    let rome = edge(&other, &other_origin, &server.route());
    let (in_paris, in_rome) = (Api::new(paris.ready("edge")), Api::new(rome.ready("edge")));
    for number in 0..5 {
        for _ in 0..=number {
            in_paris.get(&format!("/r/{number}")).await.expect_status(200);
        }
    }
    let popular = cache(&data, &in_paris, &["popular"]);
    // They are those of the host that was asked; here nodes differ in their ports.
    let popular = popular.replace(&in_paris.authority(), &in_rome.authority());
    let named: serde_json::Value = serde_json::from_str(&popular).expect("it is JSON");
    let url = |number: usize| in_rome.url(&format!("/r/{number}")).to_string();
    assert_eq!(named, json!({ "urls": [url(4), url(3), url(2), url(1)] }));
    let list = other.path().join("popular.json");
    std::fs::write(&list, popular).expect("the folder is there");
    let from = ["warm", "--from", list.to_str().expect("the path is text")];
    assert_eq!(cache(&other, &in_rome, &from), "4 queued\n");
    until_ahead(&rome, 4).await;
    let asked = server.requests();
    for number in [4, 3, 2, 1] {
        let answer = in_rome.get(&format!("/r/{number}")).await;
        assert!(answer.field("cache-status").starts_with("outport; hit"), "{answer:?}");
    }
    assert_eq!(server.requests(), asked);
}

/// What `outport cache` prints.
fn cache(data: &Data, api: &Api, args: &[&str]) -> String {
    let mut command = Command::new(program());
    command.arg("cache").args(args).args(["--server", api.url("/").as_str()]);
    command.env("OUTPORT_TOKEN", token(data.path()));
    let output = command.output().expect("the program starts");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).expect("it prints text")
}

fn token(data: &Path) -> String {
    outport_tests::deployment::token(data, "demo", "demo", "admin", "1h")
}

async fn nothing_is_fetched_ahead_while_clients_wait() {
    let silent = Backend::start(Answering { stops_after: Some(0), ..giving("", "") }).await;
    let server = Backend::start(giving(CACHED, "something")).await;
    let data = Data::new();
    let origin = Running::origin(&data, 0);
    let edge = edge(&data, &origin, &format!("{}{}", server.route(), route(&silent, "silent")));
    let api = Api::new(edge.ready("edge"));
    let mut clients = JoinSet::new();
    for number in 0..BUSY {
        let api = api.clone();
        clients.spawn(async move { api.get(&format!("/silent/{number}")).await });
        silent.has_stopped().await;
    }
    let admin = api.with_token(&token(data.path()));
    let warmed = admin.json(reqwest::Method::POST, "/warm", &json!({ "urls": ["/r/a"] })).await;
    warmed.expect_status(202);
    tokio::time::sleep(PAUSE * 20).await;
    assert_eq!(server.requests(), 0);
    silent.kill().await;
    while let Some(answer) = clients.join_next().await {
        answer.expect("it is answered").expect_problem(502, "origin-unreachable");
    }
    until_ahead(&edge, 1).await;
    assert_eq!(server.requests(), 1);
}
