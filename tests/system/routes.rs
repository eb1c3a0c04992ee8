//! Cached routes in front of a server that counts what it is asked: purged, compressed, validated
//! behind the client's back.

use std::process::Command;
use std::sync::Arc;
use std::time::Duration;

use outport_tests::api::{Answer, Api};
use outport_tests::check;
use outport_tests::deployment::{Data, Running, program};
use outport_tests::suite::Check;
use reqwest::Method;
use serde_json::json;

use crate::backend::{Answering, Backend, Death, Framing};

/// How long what goes on behind a client's back may take.
const PATIENCE: Duration = Duration::from_secs(20);
const PAUSE: Duration = Duration::from_millis(50);

pub(crate) fn all() -> Vec<Check> {
    vec![
        check!(a_purge_holds_from_when_it_is_answered),
        check!(what_is_stored_is_compressed_once_and_comes_back),
        check!(nobody_waits_while_what_is_stale_is_validated),
        check!(what_is_stored_is_explained),
    ]
}

struct Parts {
    data: Data,
    _edge: Running,
    _origin: Running,
    server: Backend,
    api: Api,
}

/// A node before a server that answers everything with these fields and this content.
async fn start(fields: &'static str, content: &[u8], delay: Duration) -> Parts {
    let content = Arc::new(content.to_vec());
    let (framing, death) = (Framing::Length, Death::Fin);
    let answering = Answering { fields, content, framing, delay, stops_after: None, death };
    let server = Backend::start(answering).await;
    let data = Data::new();
    let origin = Running::origin(&data, 0);
    let config = data.config(&format!("{}compress = true\n", server.route()));
    let config = config.to_str().expect("the path is text");
    let edge = Running::edge(&data, origin.ready("origin"), &["--config", config]);
    let token = data.token("demo", "demo", "admin", "1h");
    let api = Api::new(edge.ready("edge")).with_token(&token);
    Parts { data, _edge: edge, _origin: origin, server, api }
}

impl Parts {
    async fn purge(&self, what: serde_json::Value) -> Answer {
        self.api.json(Method::POST, "/purge", &what).await
    }

    /// How often the server was asked once this was fetched again.
    async fn asked_after_get(&self) -> usize {
        self.api.anonymous().get("/r/thing").await.expect_status(200);
        self.server.requests()
    }
}

async fn a_purge_holds_from_when_it_is_answered() {
    let fields = "cache-control: max-age=600\r\ncache-tag: shop, item-1\r\netag: \"a\"\r\n";
    let parts = start(fields, b"something", Duration::ZERO).await;
    let mut asked = parts.asked_after_get().await;
    assert_eq!(parts.asked_after_get().await, asked);
    let url = parts.api.url("/r/thing").to_string();
    for what in [
        json!({ "urls": ["/r/thing"] }),
        json!({ "urls": [url] }),
        json!({ "tags": ["item-1"] }),
        json!({ "tags": ["shop"], "soft": true }),
    ] {
        let purged = parts.purge(what.clone()).await;
        purged.expect_status(200);
        assert_eq!(purged.json()["purged"], 1);
        asked += 1;
        assert_eq!(parts.asked_after_get().await, asked, "{what}");
        assert_eq!(parts.asked_after_get().await, asked, "{what}");
    }
    parts.purge(json!({ "tags": ["another"] })).await.expect_status(200);
    assert_eq!(parts.asked_after_get().await, asked);
    parts.purge(json!({ "tag": "shop" })).await.expect_status(400);
}

async fn what_is_stored_is_compressed_once_and_comes_back() {
    let fields = "cache-control: max-age=600\r\ncontent-type: text/html\r\netag: \"a\"\r\n";
    let text: String = (0..20_000).map(|line| format!("<p>line {line} of a text\n")).collect();
    let parts = start(fields, text.as_bytes(), Duration::ZERO).await;
    let api = parts.api.anonymous();
    for coding in ["zstd", "br", "gzip"] {
        // It is encoded quickly at first; the form with a length is made meanwhile.
        let quick = curl(&api, coding);
        assert!(quick == text.as_bytes(), "{coding}, {} bytes", quick.len());
        let begun = std::time::Instant::now();
        let form = loop {
            let answer = api.get_with("/r/thing", &[("accept-encoding", coding)]).await;
            assert_eq!(answer.field("content-encoding"), coding);
            if answer.headers.contains_key("content-length") {
                break answer;
            }
            assert!(begun.elapsed() < PATIENCE, "no form is stored");
            tokio::time::sleep(PAUSE).await;
        };
        assert!(form.body.len() < text.len() / 5, "{coding}, {} bytes", form.body.len());
        assert!(curl(&api, coding) == text.as_bytes(), "{coding}");
        let tag = form.field("etag").to_owned();
        let known = [("accept-encoding", coding), ("if-none-match", tag.as_str())];
        api.get_with("/r/thing", &known).await.expect_status(304);
    }
    assert_eq!(parts.server.requests(), 1);
}

/// What a client that decodes makes of it.
fn curl(api: &Api, coding: &str) -> Vec<u8> {
    let mut command = Command::new("curl");
    command.args(["--silent", "--show-error", "--compressed", "--header"]);
    command.arg(format!("accept-encoding: {coding}")).arg(api.url("/r/thing").as_str());
    let output = command.output().expect("curl runs");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    output.stdout
}

async fn what_is_stored_is_explained() {
    let fields = "cache-control: max-age=600\r\ncache-tag: shop\r\nvary: accept-language\r\n";
    let parts = start(fields, b"something", Duration::ZERO).await;
    let explain = |args: &[&str]| {
        let mut command = Command::new(program());
        command.args(["cache", "explain", "/r/thing", "--server", parts.api.url("/").as_str()]);
        command.args(args).env("OUTPORT_TOKEN", parts.data.token("demo", "demo", "admin", "1h"));
        let output = command.output().expect("the program starts");
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).expect("it prints text")
    };
    let german = ["-H", "accept-language: de", "--json"];
    let before: serde_json::Value = serde_json::from_str(&explain(&german)).expect("it is JSON");
    assert_eq!((&before["stored"], &before["next"]), (&json!(false), &json!("miss")));
    let sent = parts.api.anonymous().get_with("/r/thing", &[("accept-language", "de")]).await;
    sent.expect_status(200);
    let told: serde_json::Value = serde_json::from_str(&explain(&german)).expect("it is JSON");
    assert_eq!((&told["next"], &told["lifetime_s"]), (&json!("hit"), &json!(600)), "{told}");
    assert_eq!(
        (&told["tags"], &told["varies_on"]),
        (&json!(["shop"]), &json!(["accept-language"]))
    );
    let lines = explain(&["-H", "accept-language: fr"]);
    assert!(lines.lines().any(|line| line.split_whitespace().eq(["next", "miss"])), "{lines}");
    assert_eq!(parts.server.requests(), 1);
}

async fn nobody_waits_while_what_is_stale_is_validated() {
    // The time that the server thinks counts as age (RFC 9111, section 4.2.3).
    let fields = "cache-control: max-age=3, stale-while-revalidate=600\r\n";
    let delay = Duration::from_secs(1);
    let parts = start(fields, b"something", delay).await;
    assert_eq!(parts.asked_after_get().await, 1);
    tokio::time::sleep(Duration::from_millis(2_500)).await;
    let stale = parts.api.anonymous().get("/r/thing").await;
    // The server has not answered yet: it thinks for longer than that took, whatever it took.
    let status = stale.field("cache-status");
    assert!(status.starts_with("outport; hit; ttl=-"), "{status}");
    let begun = std::time::Instant::now();
    while parts.server.requests() < 2 {
        assert!(begun.elapsed() < PATIENCE, "nobody asks the server");
        tokio::time::sleep(PAUSE).await;
    }
    let begun = std::time::Instant::now();
    loop {
        let fresh = parts.api.anonymous().get("/r/thing").await;
        if !fresh.field("cache-status").contains("ttl=-") {
            break;
        }
        assert!(begun.elapsed() < PATIENCE, "it is never renewed");
        tokio::time::sleep(PAUSE).await;
    }
}
