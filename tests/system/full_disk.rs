//! The origin's disk fills up: that is said, nothing acknowledged is lost, and it goes on when
//! there is space again. The edge's does: its cache goes on in memory.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::time::{Duration, Instant};

use outport_tests::api::Api;
use outport_tests::deployment::{Data, Running};
use outport_tests::suite::Check;
use outport_tests::{check, metrics, process, random, tus};
use reqwest::Method;
use serde_json::json;

use crate::backend::{Answering, Backend, CACHED, Death, Framing};

const DISK: &str = "size=160m";
const LARGER_DISK: &str = "remount,size=400m";
const FILE_BYTES: usize = 200 * 1024 * 1024;
const APPEND_BYTES: usize = 4 * 1024 * 1024;
/// The edge's disk, and pages that it has no room for.
const EDGE_DISK: &str = "size=48m";
const PAGES: usize = 100;
const PAGE_BYTES: usize = 1_000_000;
const CACHE: &str = "[cache]\nmemory_bytes = 8388608\nobject_bytes_max = 1048576\n\
                     disk_bytes = 1073741824\n";
/// How long what is written behind a client's back may take.
const PATIENCE: Duration = Duration::from_secs(20);

pub(crate) fn all() -> Vec<Check> {
    let reason = (!process::is_root()).then_some("a small disk takes root to mount");
    vec![check!(a_full_disk).unless(reason), check!(a_full_disk_below_the_cache).unless(reason)]
}

async fn a_full_disk() {
    let data = Data::new();
    let disk = Disk::mount(data.path().join("origin"), DISK);
    let origin = Running::origin(&data, 0);
    let edge = Running::edge(&data, origin.ready("origin"), &[]);
    let token = data.token("demo", "demo", "read write", "1h");
    let api = Api::new(edge.ready("edge")).with_token(&token);
    let small = api.upload("name=small.txt", "text/plain", "kept").await;

    let content = random::bytes(FILE_BYTES);
    let upload = tus::create(&api, FILE_BYTES as u64, "large.bin", "private").await;
    let acknowledged = fill(&upload, &content).await;
    let reported = upload.offset().await as usize;
    assert!(reported >= acknowledged, "{acknowledged} were acknowledged, {reported} are there");
    assert!(reported <= acknowledged + APPEND_BYTES, "more is reported than was sent");
    let whole = api.send(Method::POST, "/files", &[], content[..APPEND_BYTES].to_vec()).await;
    whole.expect_problem(507, "storage-full");
    assert_eq!(api.get(&small.path()).await.body, "kept");

    disk.enlarge();
    let offset = upload.offset().await;
    assert_eq!(offset as usize, reported);
    upload.patch(offset, content[reported..].to_vec()).await.expect_status(204);
    let file = api.get(&upload.file_path()).await;
    assert_eq!(random::digest(&file.body), random::digest(&content));
}

async fn a_full_disk_below_the_cache() {
    let data = Data::new();
    let _disk = Disk::mount(data.path().join("edge"), EDGE_DISK);
    let content = Arc::new(random::bytes(PAGE_BYTES));
    let (framing, death) = (Framing::Length, Death::Fin);
    let (fields, delay, stops_after) = (CACHED, Duration::ZERO, None);
    let answering =
        Answering { fields, content: content.clone(), framing, delay, stops_after, death };
    let server = Backend::start(answering).await;
    let origin = Running::origin(&data, 0);
    let config = data.config(&format!("{CACHE}{}", server.route()));
    let config = config.to_str().expect("the path is text");
    let edge = Running::edge(&data, origin.ready("origin"), &["--config", config]);
    let token = data.token("demo", "demo", "admin", "1h");
    let api = Api::new(edge.ready("edge")).with_token(&token);
    let public = api.anonymous();
    for page in 0..PAGES {
        let answer = public.get(&format!("/r/{page}")).await;
        assert!(answer.status == 200 && answer.body == content.as_slice(), "{page}");
    }
    let counted = async |what: &str| {
        let name = format!("outport_edge_cache_disk_{what}");
        metrics::sum(edge.ready("edge_metrics"), &name, "").await
    };
    let begun = Instant::now();
    while counted("failures_total").await == 0 {
        assert!(begun.elapsed() < PATIENCE, "the disk is never full");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    // It is empty, and there is no trouble any more.
    assert!(!data.path().join("edge/cache").exists());
    let last = format!("/r/{}", PAGES - 1);
    let answer = public.get(&last).await;
    assert!(answer.field("cache-status").contains("hit"), "{answer:?}");
    api.json(Method::POST, "/purge", &json!({ "urls": [last] })).await.expect_status(200);
    let answer = public.get(&last).await;
    assert!(answer.field("cache-status").contains("fwd=uri-miss"), "{answer:?}");
    assert_eq!((counted("failures_total").await, counted("bytes").await), (1, 0));
}

/// Appends until the disk is full. Returns what was acknowledged.
async fn fill(upload: &tus::Upload, content: &[u8]) -> usize {
    let mut offset = 0;
    while offset < content.len() {
        let end = (offset + APPEND_BYTES).min(content.len());
        let answer = upload.patch(offset as u64, content[offset..end].to_vec()).await;
        if answer.status != 204 {
            answer.expect_problem(507, "storage-full");
            return offset;
        }
        offset = end;
    }
    panic!("the disk took more than it has");
}

/// A small disk in memory.
struct Disk(PathBuf);

impl Disk {
    fn mount(path: PathBuf, size: &str) -> Self {
        std::fs::create_dir_all(&path).expect("the folder can be made");
        run("mount", &["-t", "tmpfs", "-o", size, "tmpfs"], &path);
        Self(path)
    }

    fn enlarge(&self) {
        run("mount", &["-o", LARGER_DISK], &self.0);
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        // The processes that use it may still be ending.
        let _ = Command::new("umount").arg("--lazy").arg(&self.0).status();
    }
}

fn run(program: &str, args: &[&str], path: &Path) {
    let status = Command::new(program).args(args).arg(path).status().expect("it can be run");
    assert!(status.success(), "{program} {args:?} {}: {status}", path.display());
}
