//! What is there after the process was killed: the data folder as it lies on the disk at one
//! moment, opened again.

use std::path::Path;
use std::time::Duration;

use outport_origin::Config;

use crate::support::{Running, bytes, file_of, parts_in, until};

pub(crate) fn copy(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).unwrap();
    for entry in std::fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let target = to.join(entry.file_name());
        if entry.file_type().unwrap().is_dir() {
            copy(&entry.path(), &target);
        } else {
            std::fs::copy(entry.path(), target).unwrap();
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn acknowledged_bytes_are_there() {
    let origin = Running::start().await;
    let alice = origin.alice();
    let content = bytes(40_000);
    let file = alice.store("name=whole", content.clone()).await;
    let upload = alice.begin(content.len(), "").await;
    alice.patch(&upload, 0, content[..13_000].to_vec()).await.expect(204);

    let crashed = tempfile::tempdir().unwrap();
    copy(origin.folder.path(), crashed.path());
    // Later changes are not in the copy, and do not harm it.
    alice.patch(&upload, 13_000, content[13_000..].to_vec()).await.expect(204);

    let again = Running::start_in(crashed, |_| {}).await;
    let alice = again.alice();
    assert!(alice.get(&file, &[]).await.expect(200).body == content);
    assert_eq!(alice.offset(&upload).await, 13_000);
    alice.patch(&upload, 13_000, content[13_000..].to_vec()).await.expect(204);
    assert!(alice.get(&file_of(&upload), &[]).await.expect(200).body == content);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_restart_keeps_everything() {
    let origin = Running::start().await;
    let file = origin.alice().store("name=a", "x").await;
    let folder = origin.stop().await;
    let again = Running::start_in(folder, |_| {}).await;
    assert_eq!(again.alice().get(&file, &[]).await.expect(200).body, "x");
    assert_eq!(again.alice().get("/files", &[]).await.json()["files"][0]["name"], "a");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_nobody_names_is_collected() {
    let origin = Running::start().await;
    let alice = origin.alice();
    let file = alice.store("name=a", bytes(10_000)).await;
    let upload = alice.begin(10_000, "").await;
    alice.patch(&upload, 0, bytes(5_000)).await.expect(204);
    let folder = origin.stop().await;

    let named = parts_in(folder.path());
    let blobs = folder.path().join("blobs");
    let id = file.strip_prefix("/files/").unwrap();
    let put = |id: &str, rest: &str| {
        let shelf = blobs.join(&id[id.len() - 2..]);
        std::fs::create_dir_all(&shelf).unwrap();
        std::fs::write(shelf.join(format!("{id}{rest}")), "x").unwrap();
        shelf
    };
    put(id, "-0000000000000001");
    put(id, "-0000000000000002#1");
    put("0000000000000000000000000A", "-0000000000000001");
    let foreign = put(id, "-is-not-ours").join(format!("{id}-is-not-ours"));

    let at_once = |config: &mut Config| {
        (config.collection.round, config.collection.grace) = (Duration::ZERO, Duration::ZERO);
    };
    let again = Running::start_in(folder, at_once).await;
    until(async || parts_in(again.folder.path()) == named + 1).await;
    assert!(foreign.exists());
    let alice = again.alice();
    assert!(alice.get(&file, &[]).await.expect(200).body == bytes(10_000));
    assert_eq!(alice.offset(&upload).await, 5_000);
}
