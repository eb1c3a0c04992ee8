//! The cache on the disk: an edge that was killed has what it had, and not what was taken from it.

use std::sync::Arc;
use std::time::{Duration, Instant};

use outport_tests::api::{Answer, Api, File};
use outport_tests::deployment::{Data, Running};
use outport_tests::suite::Check;
use outport_tests::{check, metrics, process, random};
use reqwest::Method;
use serde_json::json;

use crate::backend::{Answering, Backend, Death, Framing};

/// More than memory has room for.
const PAGES: usize = 200;
const PAGE_BYTES: usize = 50_000;
const CACHE: &str = "[cache]\nmemory_bytes = 4194304\nobject_bytes_max = 1048576\n\
                     disk_bytes = 67108864\n";
const FIELDS: &str = "cache-control: max-age=600\r\ncache-tag: all\r\netag: \"a\"\r\n";
/// How long what is written behind a client's back may take.
const PATIENCE: Duration = Duration::from_secs(20);
const PAUSE: Duration = Duration::from_millis(20);
/// Where nobody listens.
const NOBODY: &str = "http://127.0.0.1:9";

pub(crate) fn all() -> Vec<Check> {
    vec![
        check!(a_killed_edge_has_what_it_had_and_not_what_was_taken_from_it),
        check!(what_is_purged_by_tag_stays_so_through_a_kill),
        check!(garbage_on_the_disk_is_neither_served_nor_in_the_way),
    ]
}

/// What a deployment had cached, and the configuration that it had.
struct Filled {
    data: Data,
    config: String,
    /// Where its edge was, which is in the keys.
    port: String,
    content: Vec<u8>,
    files: Vec<File>,
    token: String,
}

impl Filled {
    /// Caches pages of a server and files, takes some away by `take`, and kills all of it as soon as
    /// that is answered.
    async fn new(take: impl AsyncFn(&Api, &[File])) -> Self {
        let content = Arc::new(random::bytes(PAGE_BYTES));
        let (framing, death) = (Framing::Length, Death::Fin);
        let (delay, stops_after) = (Duration::ZERO, None);
        let fields = FIELDS;
        let answering =
            Answering { fields, content: content.clone(), framing, delay, stops_after, death };
        let server = Backend::start(answering).await;
        let data = Data::new();
        let config = data.config(&format!("{CACHE}{}", server.route()));
        let config = config.to_str().expect("the path is text").to_owned();
        let running = Running::serve(&data, &["--config", &config]);
        let token = running.ready("token").to_owned();
        let api = Api::new(running.ready("edge")).with_token(&token);
        let port = running.ready("edge").rsplit(':').next().expect("it has a port").to_owned();

        let mut files = Vec::new();
        for number in 0..3 {
            let name = format!("name={number}.txt");
            files.push(api.upload(&name, "text/plain", format!("file {number}")).await);
        }
        for file in &files {
            api.get(&file.path()).await.expect_status(200);
        }
        for page in 0..PAGES {
            get(&api, page).await.expect_status(200);
        }
        until_written(&running, PAGES + files.len()).await;
        take(&api, &files).await;
        let nodes = process::children(running.id());
        nodes.iter().for_each(|node| process::kill(*node));
        running.kill();
        // They hold their folders until the last of them is gone.
        let begun = Instant::now();
        while nodes.iter().any(|node| process::is_alive(*node)) {
            assert!(begun.elapsed() < PATIENCE, "what was killed lives");
            tokio::time::sleep(PAUSE).await;
        }
        server.kill().await;
        let content = content.to_vec();
        Self { data, config, port, content, files, token }
    }

    /// An edge with what is there, and nobody behind it.
    fn edge(&self) -> (Running, Api) {
        let args = ["edge", "--edge-port", &self.port, "--origin", NOBODY, "--beside-origin"];
        let config = ["--config", &self.config];
        let edge = Running::start(&self.data, &[&args[..], &config].concat());
        let api = Api::new(edge.ready("edge")).with_token(&self.token);
        (edge, api)
    }

    async fn expect_page(&self, api: &Api, page: usize) {
        let answer = get(api, page).await;
        answer.expect_status(200);
        assert!(answer.body == self.content.as_slice(), "{page}: other bytes");
        let status = answer.field("cache-status");
        assert!(status.starts_with("outport; hit"), "{page}: {status}");
    }
}

async fn a_killed_edge_has_what_it_had_and_not_what_was_taken_from_it() {
    let filled = Filled::new(async |api, files| {
        get(api, 7).await.expect_status(200);
        api.json(Method::POST, "/purge", &json!({ "urls": ["/r/7"] })).await.expect_status(200);
        api.delete(&files[1].path()).await.expect_status(204);
    })
    .await;
    // It is so however often it is killed.
    for _ in 0..2 {
        let (edge, api) = filled.edge();
        for page in (0..PAGES).filter(|page| *page != 7) {
            filled.expect_page(&api, page).await;
        }
        assert!(get(&api, 7).await.status >= 500, "it was purged");
        for (number, file) in filled.files.iter().enumerate() {
            let answer = api.get(&file.path()).await;
            if number == 1 {
                assert_ne!(answer.status, 200, "it was removed");
                continue;
            }
            assert_eq!(answer.body, format!("file {number}"));
            // After a minute its record is stale, and nobody is there to renew it.
            let status = answer.field("cache-status");
            let from_cache = ["outport; hit", "outport; fwd=stale"];
            assert!(from_cache.iter().any(|from| status.starts_with(from)), "{status}");
            // Whoever may not have it, may not have it now.
            api.anonymous().get(&file.path()).await.expect_problem(404, "not-found");
        }
        assert!(counted(&edge, "hits_total").await >= (PAGES + 1) as u64);
        assert_eq!(counted(&edge, "failures_total").await, 0);
        edge.kill();
    }
}

async fn what_is_purged_by_tag_stays_so_through_a_kill() {
    for soft in [false, true] {
        let filled = Filled::new(async |api, _| {
            let purge = json!({ "tags": ["all"], "soft": soft });
            api.json(Method::POST, "/purge", &purge).await.expect_status(200);
        })
        .await;
        let (edge, api) = filled.edge();
        for page in [0, 7, PAGES - 1] {
            let answer = get(&api, page).await;
            // What is purged softly is stale, and may be used while its server is away.
            assert_eq!(answer.status == 200, soft, "{answer:?}");
            if soft {
                let status = answer.field("cache-status");
                assert!(status.contains("fwd=stale"), "{status}");
            }
        }
        drop(edge);
    }
}

async fn garbage_on_the_disk_is_neither_served_nor_in_the_way() {
    let filled = Filled::new(async |_, _| {}).await;
    let folder = filled.data.path().join("edge/cache");
    let mut garbled = 0;
    for entry in std::fs::read_dir(&folder).expect("the folder is there") {
        let path = entry.expect("it can be read").path();
        if path.extension().is_some_and(|kind| kind == "data") {
            let bytes = std::fs::metadata(&path).expect("it is there").len();
            std::fs::write(&path, random::bytes(bytes as usize)).expect("it can be written");
            garbled += 1;
        }
    }
    assert!(garbled > 0);
    let (edge, api) = filled.edge();
    for page in 0..10 {
        assert!(get(&api, page).await.status >= 500, "{page}");
    }
    assert_eq!(counted(&edge, "failures_total").await, 10);
    edge.kill();
    std::fs::write(folder.join("state"), "garbage").expect("it can be written");
    let (edge, api) = filled.edge();
    assert!(get(&api, 0).await.status >= 500);
    assert_eq!(counted(&edge, "responses").await, 0);
    drop(edge);
}

/// A page, for whoever asks: what is for one alone is not cached.
async fn get(api: &Api, page: usize) -> Answer {
    api.anonymous().get(&format!("/r/{page}")).await
}

async fn until_written(running: &Running, count: usize) {
    let begun = Instant::now();
    while counted(running, "written_total").await < count as u64 {
        assert!(begun.elapsed() < PATIENCE, "it is not written");
        tokio::time::sleep(PAUSE).await;
    }
}

async fn counted(running: &Running, what: &str) -> u64 {
    let name = format!("outport_edge_cache_disk_{what}");
    metrics::sum(running.ready("edge_metrics"), &name, "").await
}
