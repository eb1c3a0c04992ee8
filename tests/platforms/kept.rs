//! Small uploads that end at a platform's edge: what was acknowledged arrives at the origin exactly
//! once, whoever is killed meanwhile, and also where the store fails.
//!
//! `OUTPORT_RUNTIME` names a file that says how the platform's local runtime is started around the
//! driver, and with which origin and data folder.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use futures::StreamExt as _;
use outport_tests::acknowledged::{Sent, expect_once, list, upload};
use outport_tests::api::Api;
use outport_tests::deployment::{Data, Running};
use outport_tests::suite::Check;
use outport_tests::{check, random};
use reqwest::Method;
use rustix::process::{Pid, Signal, kill_process_group};
use serde::Deserialize;

const UPLOADS: usize = 120;
const AT_ONCE: usize = 8;
/// Processes that are killed while the uploads run.
const KILLS: usize = 6;
/// Between two attempts to upload.
const PAUSE: Duration = Duration::from_millis(100);
/// How long something is waited for that must happen.
const PATIENCE: Duration = Duration::from_secs(120);
/// Asked for, it makes the local runtime do what the platform does once a minute.
const STRIKE: &str = "/cdn-cgi/handler/scheduled";
/// Where the local runtime keeps the contents of what is in the bucket.
const CONTENTS: &str = "v3/r2/outport-kept/blobs";

pub(crate) fn all() -> Vec<Check> {
    vec![
        check!(an_edge_accepts_while_its_origin_is_away),
        check!(edge_and_origin_killed_in_the_middle_of_small_uploads),
        check!(a_store_that_fails_makes_no_second_copy),
    ]
}

async fn an_edge_accepts_while_its_origin_is_away() {
    let setting = Setting::read();
    let edge = setting.edge().await;
    let api = setting.api();
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
    let _edge = setting.edge().await;
    assert_eq!(api.get(&path).await.body, "0123456789", "it outlived the edge");
    strike(&api).await;
    assert!(is_kept(&api, &path).await, "the origin is not there");

    let _origin = setting.origin();
    assert!(is_kept(&api, &path).await, "nobody has handed it over");
    strike(&api).await;
    assert!(!is_kept(&api, &path).await, "once a minute it is tried again");
    let listed = api.get("/files").await.json();
    assert_eq!(listed["files"], serde_json::json!([file.0]), "the origin says what the edge said");
    let after = api.get(&path).await;
    assert_eq!((after.status, &after.body), (200, &whole.body));
    for field in ["etag", "last-modified", "content-type", "content-disposition"] {
        assert_eq!(after.field(field), whole.field(field), "{field}");
    }
    api.delete(&path).await.expect_status(204);
    api.get(&path).await.expect_status(404);

    // Where the origin is there, a list shows at once what was accepted, and nobody need ask.
    for number in 0..10 {
        let file = api.upload(&format!("name=b{number}"), "text/plain", "x").await;
        assert_eq!(api.get("/files").await.json()["files"][0]["id"], file.0["id"]);
    }
    let alone = api.upload("name=c", "text/plain", "x").await;
    let handed = async {
        while is_kept(&api, &alone.path()).await {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    tokio::time::timeout(PATIENCE, handed).await.expect("it is handed over at once");
}

async fn edge_and_origin_killed_in_the_middle_of_small_uploads() {
    let setting = Setting::read();
    let (mut edge, mut origin) = (setting.edge().await, setting.origin());
    let api = setting.api();
    let uploading = futures::stream::iter((0..UPLOADS).map(|number| upload(&api, number, PAUSE)));
    let mut uploading = uploading.buffer_unordered(AT_ONCE);
    let mut sent = Vec::new();
    for kill in 0..KILLS {
        // Somewhere within this share of the uploads.
        let share = usize::from(random::bytes(1)[0]) % (UPLOADS / KILLS);
        while sent.len() < kill * UPLOADS / KILLS + share {
            sent.extend(uploading.next().await);
        }
        let mut killing = std::pin::pin!(kill_one(&setting, edge, origin));
        // The uploads go on meanwhile.
        (edge, origin) = loop {
            tokio::select! {
                running = &mut killing => break running,
                Some(one) = uploading.next() => sent.push(one),
            }
        };
    }
    sent.extend(uploading.collect::<Vec<_>>().await);
    until_handed_over(&api, &sent).await;

    expect_once(&api, &sent).await;
    assert_eq!(sent.len(), UPLOADS);
    drop((edge, origin));
}

/// Kills one of the two, and starts it again.
async fn kill_one(setting: &Setting, edge: Edge, origin: Running) -> (Edge, Running) {
    if random::bytes(1)[0].is_multiple_of(2) {
        edge.kill();
        (setting.edge().await, origin)
    } else {
        origin.kill();
        tokio::time::sleep(Duration::from_millis(300)).await;
        (edge, setting.origin())
    }
}

async fn a_store_that_fails_makes_no_second_copy() {
    let setting = Setting::read();
    let _edge = setting.edge().await;
    let origin = setting.origin();
    let api = setting.api();
    api.upload("name=a", "text/plain", "x").await;
    let broken = Broken::now(&setting.state.join(CONTENTS));
    // The origin gets it under the same id as it would have been kept under.
    let file = api.upload("name=b", "text/plain", "0123456789").await;
    assert!(!is_kept(&api, &file.path()).await);
    assert_eq!(api.get(&file.path()).await.body, "0123456789");
    origin.kill();
    let refused = api.send(Method::POST, "/files?name=c", &[], "x").await;
    refused.expect_problem(503, "overloaded");
    assert!(refused.number("retry-after") > 0);
    drop(broken);
    api.upload("name=d", "text/plain", "x").await;
    let _origin = setting.origin();
    strike(&api).await;
    let files = list(&api).await;
    let names: Vec<_> = files.iter().map(|file| file["name"].as_str().expect("text")).collect();
    assert_eq!(names, ["d", "b", "a"]);
}

/// What is said of the platform's runtime.
#[derive(Deserialize)]
struct Setting {
    /// The command line, and where and in which environment it runs.
    command: Vec<String>,
    folder: PathBuf,
    env: BTreeMap<String, String>,
    /// Where the edge is then, and where it expects its origin.
    edge: String,
    origin_port: u16,
    /// The data folder that both share, and what the runtime's stores are in.
    data: PathBuf,
    state: PathBuf,
}

impl Setting {
    fn read() -> Self {
        let file = std::env::var_os("OUTPORT_RUNTIME").expect("it is set");
        let text = fs::read(file).expect("the file can be read");
        serde_json::from_slice(&text).expect("it says how the runtime is started")
    }

    /// Starts the edge, and waits until it answers.
    async fn edge(&self) -> Edge {
        let log = self.data.join(format!("runtime-{}.log", random::word()));
        let output = File::create(&log).expect("the folder can be written to");
        let child = Command::new(&self.command[0])
            .args(&self.command[1..])
            .current_dir(&self.folder)
            .envs(&self.env)
            .stdin(Stdio::null())
            .stdout(output.try_clone().expect("a file can be written by two"))
            .stderr(output)
            .process_group(0)
            .spawn()
            .expect("the runtime starts");
        let edge = Edge(child);
        let (begun, api) = (Instant::now(), Api::new(&self.edge));
        while !api.try_send(Method::GET, "/healthz", &[], "").await.is_ok_and(|a| a.status == 200) {
            assert!(begun.elapsed() < PATIENCE, "see {}", log.display());
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        edge
    }

    fn origin(&self) -> Running {
        Running::origin(&Data::at(&self.data), self.origin_port)
    }

    /// The edge as seen by somebody who has nothing there yet.
    fn api(&self) -> Api {
        let subject = random::word();
        let token = Data::at(&self.data).token("demo", &subject, "read write share", "1h");
        Api::new(&self.edge).with_token(&token)
    }
}

/// A running edge: the runtime and all that it has started.
struct Edge(Child);

impl Edge {
    /// Ends it as a power cut does.
    fn kill(self) {
        drop(self);
    }
}

impl Drop for Edge {
    fn drop(&mut self) {
        let _ = kill_process_group(Pid::from_child(&self.0), Signal::KILL); // It may be gone.
        let _ = self.0.wait();
    }
}

/// A folder that nothing can be written into, until this is dropped.
struct Broken {
    folder: PathBuf,
    aside: PathBuf,
}

impl Broken {
    fn now(folder: &Path) -> Self {
        let (folder, aside) = (folder.to_owned(), folder.with_extension("aside"));
        fs::rename(&folder, &aside).expect("the folder is there");
        fs::write(&folder, "").expect("a file can take its place");
        Self { folder, aside }
    }
}

impl Drop for Broken {
    fn drop(&mut self) {
        fs::remove_file(&self.folder).expect("the file is there");
        fs::rename(&self.aside, &self.folder).expect("the folder is there");
    }
}

/// Has the edge do what it does once a minute.
async fn strike(api: &Api) {
    api.anonymous().get(STRIKE).await.expect_status(200);
}

/// Whether the file is delivered from what the edge keeps.
async fn is_kept(api: &Api, path: &str) -> bool {
    let file = api.get(path).await;
    file.expect_status(200);
    file.field("cache-status").contains("detail=kept")
}

async fn until_handed_over(api: &Api, sent: &[Sent]) {
    let handing = async {
        for Sent { id, .. } in sent {
            while is_kept(api, &format!("/files/{id}")).await {
                strike(api).await;
            }
        }
    };
    tokio::time::timeout(PATIENCE, handing).await.expect("all is handed over");
}
