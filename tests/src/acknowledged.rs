//! Files that an edge has acknowledged, whoever was killed meanwhile: each is there just once.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use reqwest::Method;

use crate::api::Api;
use crate::random;

const FILE_BYTES_MAX: usize = 32 * 1024;
/// How long an acknowledgement is waited for.
const PATIENCE: Duration = Duration::from_secs(120);

/// A file that was acknowledged.
pub struct Sent {
    /// The name it was sent under; every attempt has its own.
    pub name: String,
    /// What it was acknowledged as.
    pub id: String,
    digest: String,
    /// The names of the attempts that failed.
    failed: Vec<String>,
}

/// Uploads one file. What is not acknowledged is sent again after a pause, under another name.
pub async fn upload(api: &Api, number: usize, pause: Duration) -> Sent {
    let length = usize::from(random::bytes(1)[0]) * FILE_BYTES_MAX / 256;
    let content = random::bytes(length);
    let mut failed = Vec::new();
    let sending = async {
        loop {
            let name = format!("kept-{number}-{}", failed.len());
            let target = format!("/files?name={name}");
            match api.try_send(Method::POST, &target, &[], content.clone()).await {
                Ok(answer) if answer.status == 201 => {
                    let id = answer.json()["id"].as_str().expect("it has an id").to_owned();
                    return (name, id);
                }
                _ => failed.push(name),
            }
            tokio::time::sleep(pause).await;
        }
    };
    let (name, id) = tokio::time::timeout(PATIENCE, sending).await.expect("the edge comes back");
    Sent { name, id, digest: random::digest(&content), failed }
}

/// All files of the caller.
pub async fn list(api: &Api) -> Vec<serde_json::Value> {
    let (mut files, mut target) = (Vec::new(), "/files?limit=100".to_owned());
    loop {
        let page = api.get(&target).await;
        page.expect_status(200);
        let page = page.json();
        files.extend(page["files"].as_array().expect("it is a list").iter().cloned());
        match page["cursor"].as_str() {
            Some(cursor) => target = format!("/files?limit=100&cursor={cursor}"),
            None => return files,
        }
    }
}

/// Each of these is there just once, as it was sent; and nothing else is that was not tried.
pub async fn expect_once(api: &Api, sent: &[Sent]) {
    let mut stored = BTreeMap::<String, Vec<String>>::new();
    for file in list(api).await {
        let member = |name: &str| file[name].as_str().expect("it is text").to_owned();
        stored.entry(member("name")).or_default().push(member("id"));
    }
    let mut tried = BTreeSet::new();
    for Sent { name, id, digest, failed } in sent {
        assert_eq!(stored.get(name), Some(&vec![id.clone()]), "{name} is there just once");
        let delivered = api.get(&format!("/files/{id}")).await;
        assert_eq!(&random::digest(&delivered.body), digest, "{name}");
        tried.insert(name.clone());
        tried.extend(failed.iter().cloned());
    }
    // What was not acknowledged may be there, but not twice.
    for (name, ids) in &stored {
        assert!(ids.len() == 1 && tried.contains(name), "{name}: {ids:?}");
    }
}
