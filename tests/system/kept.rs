//! Small uploads that end at the edge: what was acknowledged arrives at the origin exactly once,
//! whoever is killed meanwhile.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use outport_tests::acknowledged::{Sent, expect_once, upload};
use outport_tests::api::Api;
use outport_tests::deployment::{Data, Running};
use outport_tests::suite::Check;
use outport_tests::{check, metrics, random};

const UPLOADS: usize = 200;
const AT_ONCE: usize = 16;
/// Processes that are killed while the uploads run.
const KILLS: u64 = 8;
/// Between two attempts to upload.
const PAUSE: Duration = Duration::from_millis(20);
/// How long something is waited for that must happen.
const PATIENCE: Duration = Duration::from_secs(120);

pub(crate) fn all() -> Vec<Check> {
    vec![
        check!(an_edge_accepts_while_its_origin_is_away),
        check!(edge_and_origin_killed_in_the_middle_of_small_uploads),
    ]
}

async fn an_edge_accepts_while_its_origin_is_away() {
    let data = Data::new();
    let (edge_port, origin_port) = (free_port(), free_port());
    let origin = format!("http://127.0.0.1:{origin_port}");
    let edge = Running::edge_apart(&data, edge_port, &origin);
    let token = data.token("demo", "demo", "read write share", "1h");
    let api = Api::new(edge.ready("edge")).with_token(&token);
    let file = api.upload("name=a.txt", "text/plain", "0123456789").await;
    let path = file.path();
    let whole = api.get(&path).await;
    assert_eq!((whole.status, &whole.body[..]), (200, &b"0123456789"[..]));
    assert_eq!(whole.field("cache-status"), "outport; hit; detail=kept");
    let part = api.get_with(&path, &[("range", "bytes=2-4")]).await;
    assert_eq!((part.status, &part.body[..]), (206, &b"234"[..]));
    api.anonymous().get(&path).await.expect_problem(404, "not-found");
    let removed = api.delete(&path).await;
    removed.expect_problem(503, "overloaded");
    assert!(removed.number("retry-after") > 0);

    edge.kill();
    let edge = Running::edge_apart(&data, edge_port, &origin);
    assert_eq!(api.get(&path).await.body, "0123456789", "it outlived the edge");
    assert_eq!(kept(&edge).await, 1);

    let _origin = Running::origin(&data, origin_port);
    until_handed_over(&edge).await;
    let listed = api.get("/files").await.json();
    assert_eq!(listed["files"][0], file.0, "the origin says what the edge has said");
    let after = api.get(&path).await;
    assert_eq!((after.status, &after.body), (200, &whole.body));
    for field in ["etag", "last-modified", "content-type", "content-disposition"] {
        assert_eq!(after.field(field), whole.field(field), "{field}");
    }
    api.delete(&path).await.expect_status(204);
    api.get(&path).await.expect_status(404);

    // Where the origin is there, its list shows at once what was accepted here.
    for number in 0..20 {
        let file = api.upload(&format!("name=b{number}"), "text/plain", "x").await;
        assert_eq!(api.get("/files").await.json()["files"][0]["id"], file.0["id"]);
    }
}

async fn edge_and_origin_killed_in_the_middle_of_small_uploads() {
    let data = Data::new();
    let (edge_port, origin_port) = (free_port(), free_port());
    let start_origin = || Running::origin(&data, origin_port);
    let start_edge =
        || Running::edge_apart(&data, edge_port, &format!("http://127.0.0.1:{origin_port}"));
    let (mut origin, mut edge) = (start_origin(), start_edge());
    let token = data.token("demo", "demo", "read write", "1h");
    let api = Api::new(edge.ready("edge")).with_token(&token);

    let acknowledged = AtomicU64::new(0);
    let uploading = futures::stream::StreamExt::buffer_unordered(
        futures::stream::iter((0..UPLOADS).map(|number| acknowledge(&api, number, &acknowledged))),
        AT_ONCE,
    );
    let uploading = futures::stream::StreamExt::collect::<Vec<_>>(uploading);
    let killing = async {
        for kill in 1..=KILLS {
            // Somewhere within this share of the uploads.
            let begun = (kill - 1) * UPLOADS as u64 / KILLS;
            let share = u64::from(random::bytes(1)[0]) % (UPLOADS as u64 / KILLS);
            while acknowledged.load(Ordering::SeqCst) < begun + share {
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
            if random::bytes(1)[0].is_multiple_of(2) {
                edge.kill();
                edge = start_edge();
            } else {
                origin.kill();
                origin = start_origin();
            }
        }
        (edge, origin)
    };
    let (sent, (edge, _origin)) = tokio::join!(uploading, killing);
    until_handed_over(&edge).await;

    expect_once(&api, &sent).await;
    assert_eq!(sent.len(), UPLOADS);
}

/// Uploads one file, and counts it.
async fn acknowledge(api: &Api, number: usize, acknowledged: &AtomicU64) -> Sent {
    let sent = upload(api, number, PAUSE).await;
    acknowledged.fetch_add(1, Ordering::SeqCst);
    sent
}

/// How many files the edge keeps.
async fn kept(edge: &Running) -> u64 {
    metrics::sum(edge.ready("edge_metrics"), "outport_edge_kept_files", "").await
}

async fn until_handed_over(edge: &Running) {
    let handing = async {
        while kept(edge).await > 0 {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    tokio::time::timeout(PATIENCE, handing).await.expect("all is handed over");
}

/// A port that nobody listens on, for a process that is to come back where it was.
fn free_port() -> u16 {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a port is free");
    listener.local_addr().expect("it has an address").port()
}
