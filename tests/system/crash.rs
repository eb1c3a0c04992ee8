//! The origin dies in the middle of uploads, and nothing that was acknowledged is lost.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use outport_tests::api::Api;
use outport_tests::deployment::{Data, Running};
use outport_tests::suite::Check;
use outport_tests::{check, random, tus};
use reqwest::Method;

const UPLOADS: usize = 100;
const FILE_BYTES: usize = 512 * 1024;
const APPEND_BYTES: usize = 32 * 1024;
/// Appends acknowledged before the kill: a third of all.
const KILL_AFTER: u64 = (UPLOADS * FILE_BYTES / APPEND_BYTES / 3) as u64;
/// How long an upload waits for the origin to come back.
const PATIENCE: Duration = Duration::from_secs(60);

pub(crate) fn all() -> Vec<Check> {
    vec![check!(an_origin_killed_in_the_middle_of_a_hundred_uploads)]
}

async fn an_origin_killed_in_the_middle_of_a_hundred_uploads() {
    let data = Data::new();
    let origin = Running::origin(&data, 0);
    let port = origin.ready("origin").rsplit(':').next().and_then(|port| port.parse().ok());
    let edge = Running::edge(&data, origin.ready("origin"), &[]);
    let token = data.token("demo", "demo", "read write", "1h");
    let api = Api::new(edge.ready("edge")).with_token(&token);

    let acknowledged = AtomicU64::new(0);
    let uploads = (0..UPLOADS).map(|number| upload(&api, number, &acknowledged));
    let restart = async {
        while acknowledged.load(Ordering::SeqCst) < KILL_AFTER {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        origin.kill();
        tokio::time::sleep(Duration::from_millis(300)).await;
        Running::origin(&data, port.expect("an address ends in a port"))
    };
    let (interrupted, _origin) = tokio::join!(futures::future::join_all(uploads), restart);
    assert!(interrupted.contains(&true), "the kill came too late to interrupt anything");
}

/// Uploads one file in small appends. After a failure it asks where it is, and holds the answer
/// against what was acknowledged and what was sent. Returns whether there was a failure.
async fn upload(api: &Api, number: usize, acknowledged: &AtomicU64) -> bool {
    let content = random::bytes(FILE_BYTES);
    let upload = create(api, number).await;
    let (mut offset, mut interrupted) = (0, false);
    while offset < FILE_BYTES {
        let end = (offset + APPEND_BYTES).min(FILE_BYTES);
        let fields = [
            tus::VERSION,
            ("upload-offset", &offset.to_string()),
            ("content-type", tus::PATCH_TYPE),
        ];
        let chunk = content[offset..end].to_vec();
        let answer = api.try_send(Method::PATCH, &upload, &fields, chunk).await;
        if answer.is_ok_and(|answer| answer.status == 204) {
            acknowledged.fetch_add(1, Ordering::SeqCst);
            offset = end;
            continue;
        }
        interrupted = true;
        let reported = reported_offset(api, &upload).await;
        assert!(reported >= offset, "{offset} bytes were acknowledged, {reported} are there");
        assert!(reported <= end, "{end} bytes were sent, {reported} are said to be there");
        offset = reported;
    }
    let file = api.get(&upload.replace("uploads", "files")).await;
    file.expect_status(200);
    assert_eq!(random::digest(&file.body), random::digest(&content));
    interrupted
}

/// Begins an upload; asks again until the origin answers.
async fn create(api: &Api, number: usize) -> String {
    let metadata = tus::metadata(&[("filename", &format!("crash-{number}.bin"))]);
    let length = FILE_BYTES.to_string();
    let fields =
        [tus::VERSION, ("upload-length", length.as_str()), ("upload-metadata", metadata.as_str())];
    let ask = async || {
        let answer = api.try_send(Method::POST, "/uploads", &fields, "").await.ok()?;
        (answer.status == 201).then(|| answer.field("location").to_owned())
    };
    until_some(ask).await
}

async fn reported_offset(api: &Api, upload: &str) -> usize {
    let ask = async || {
        let answer = api.try_send(Method::HEAD, upload, &[tus::VERSION], "").await.ok()?;
        (answer.status == 200).then(|| answer.number("upload-offset") as usize)
    };
    until_some(ask).await
}

async fn until_some<T>(ask: impl AsyncFn() -> Option<T>) -> T {
    let asking = async {
        loop {
            if let Some(answer) = ask().await {
                return answer;
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    tokio::time::timeout(PATIENCE, asking).await.expect("the origin comes back")
}
