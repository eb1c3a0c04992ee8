//! The origin's disk fills up: that is said, nothing acknowledged is lost, and it goes on when
//! there is space again.

use std::path::{Path, PathBuf};
use std::process::Command;

use outport_tests::api::Api;
use outport_tests::deployment::{Data, Running};
use outport_tests::suite::Check;
use outport_tests::{check, process, random, tus};
use reqwest::Method;

const DISK: &str = "size=160m";
const LARGER_DISK: &str = "remount,size=400m";
const FILE_BYTES: usize = 200 * 1024 * 1024;
const APPEND_BYTES: usize = 4 * 1024 * 1024;

pub(crate) fn all() -> Vec<Check> {
    let reason = (!process::is_root()).then_some("a small disk takes root to mount");
    vec![check!(a_full_disk).unless(reason)]
}

async fn a_full_disk() {
    let data = Data::new();
    let disk = Disk::mount(data.path().join("origin"));
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
    fn mount(path: PathBuf) -> Self {
        std::fs::create_dir_all(&path).expect("the folder can be made");
        run("mount", &["-t", "tmpfs", "-o", DISK, "tmpfs"], &path);
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
