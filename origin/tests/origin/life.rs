//! The life of an upload: what expires, what is collected, and what never is.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use outport_origin::{AdminDoor, Collected, Collection, Config, Disagreeing, Fscked, Upkeep};

use crate::support::{Caller, Running, bytes, config, file_of, parts_in, until};

const PIECE_BYTES: usize = 3_000;

/// A collector that waits for nothing and nobody.
fn at_once(config: &mut Config) {
    let none = Duration::ZERO;
    config.collection = Collection { round: none, grace: none, expired_for: none };
}

async fn collect(origin: &Running, query: &str) -> Collected {
    let token = AdminDoor::find(origin.folder.path()).unwrap().unwrap().token();
    let fields = [("authorization", &*format!("Bearer {token}"))];
    let target = format!("/admin/collect{query}");
    let answer = origin.operator().send_unsigned("POST", &target, &fields, "").await.expect(200);
    serde_json::from_slice(&answer.body).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn an_upload_that_is_left_alone_is_collected() {
    let origin = Running::start_with(|config| {
        at_once(config);
        config.limits.upload_expire_after = Some(Duration::from_secs(1));
    })
    .await;
    let alice = origin.alice();
    let fields = [("upload-length", "10000"), ("content-type", "application/offset+octet-stream")];
    let begun = alice.tus("POST", "/uploads", &fields, bytes(5_000)).await.expect(201);
    let upload = begun.header("location").unwrap().to_owned();
    until(async || parts_in(origin.folder.path()) == 0).await;
    alice.tus("HEAD", &upload, &[], "").await.expect(404);
    until(async || {
        let metrics = origin.operator().send_unsigned("GET", "/metrics", &[], "").await;
        let metrics = String::from_utf8(metrics.body.to_vec()).unwrap();
        metrics.contains("outport_origin_collected_bytes_total 5000")
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_file_that_is_to_go_is_collected() {
    let origin = Running::start_with(at_once).await;
    let alice = origin.alice();
    let (file, other) =
        (alice.store("name=a", bytes(4_097)).await, alice.store("name=b", bytes(4_097)).await);
    let soon = outport_wire::time::rfc3339(now_s() + 2);
    let change = format!(r#"{{"expires":"{soon}"}}"#);
    alice.send("PATCH", &file, &[], change).await.expect(200);
    until(async || parts_in(origin.folder.path()) == 2).await; // The other file's.
    alice.get(&file, &[]).await.expect(404);
    alice.get(&other, &[]).await.expect(200);
}

fn now_s() -> u64 {
    std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_secs()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_dry_run_only_counts() {
    let origin = Running::start_with(|config| config.collection.grace = Duration::ZERO).await;
    let alice = origin.alice();
    let file = alice.store("name=a", bytes(5_000)).await;
    let id = file.strip_prefix("/files/").unwrap();
    let shelf = origin.folder.path().join("blobs").join(&id[id.len() - 2..]);
    std::fs::write(shelf.join(format!("{id}-0000000000000001")), "garbage").unwrap();
    std::fs::write(shelf.join(format!("{id}-0000000000000002#1")), "half").unwrap();
    let before = parts_in(origin.folder.path());
    let told = collect(&origin, "?dry_run=true").await;
    assert_eq!((told.parts.bytes, told.unfinished.bytes, told.bytes()), (7, 4, 11));
    assert_eq!(parts_in(origin.folder.path()), before);
    assert_eq!(collect(&origin, "").await, told);
    assert_eq!(parts_in(origin.folder.path()), before - 2);
    assert!(alice.get(&file, &[]).await.expect(200).body == bytes(5_000));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_being_written_is_left_alone_for_its_grace() {
    let origin = Running::start().await;
    let file = origin.alice().store("name=a", bytes(5_000)).await;
    let id = file.strip_prefix("/files/").unwrap();
    let shelf = origin.folder.path().join("blobs").join(&id[id.len() - 2..]);
    std::fs::write(shelf.join(format!("{id}-0000000000000001")), "part").unwrap();
    std::fs::write(shelf.join(format!("{id}-0000000000000002#1")), "half").unwrap();
    let before = parts_in(origin.folder.path());
    assert_eq!(collect(&origin, "").await.bytes(), 0);
    assert_eq!(parts_in(origin.folder.path()), before);
}

/// Uploads in small pieces, and goes on wherever the upload is.
async fn upload(caller: Caller, content: Vec<u8>) -> String {
    let upload = caller.begin(content.len(), "").await;
    let mut offset = 0;
    while offset < content.len() {
        let end = content.len().min(offset + PIECE_BYTES);
        let answer = caller.patch(&upload, offset, content[offset..end].to_vec()).await;
        offset = match answer.status {
            204 => end,
            // Its turn was taken, or its unfinished part.
            409 | 503 => caller.offset(&upload).await,
            _ => panic!("{answer:?}"),
        };
    }
    file_of(&upload)
}

/// Stores a file as a whole. A collector without grace may take an unfinished part away, or all of
/// it before its record is there: it is to be sent again then.
async fn store(caller: Caller, content: Vec<u8>) -> String {
    loop {
        let answer = caller.send("POST", "/files?name=a", &[], content.clone()).await;
        match answer.status {
            201 => return answer.header("location").unwrap().to_owned(),
            503 => {}
            _ => panic!("{answer:?}"),
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn running_uploads_lose_no_byte_to_a_collector_without_grace() {
    let origin = Arc::new(Running::start_with(at_once).await);
    let done = Arc::new(AtomicBool::new(false));
    let collecting = {
        let (origin, done) = (origin.clone(), done.clone());
        tokio::spawn(async move {
            let mut rounds = 0;
            while !done.load(Ordering::Relaxed) {
                collect(&origin, "").await;
                rounds += 1;
            }
            rounds
        })
    };
    let content = bytes(100_000);
    let mut working = Vec::new();
    for _ in 0..6 {
        working.push(tokio::spawn(upload(origin.alice(), content.clone())));
        working.push(tokio::spawn(store(origin.alice(), content.clone())));
    }
    let mut files = Vec::new();
    for file in working {
        files.push(file.await.unwrap());
    }
    done.store(true, Ordering::Relaxed);
    assert!(collecting.await.unwrap() > 0);
    for file in files {
        assert!(origin.alice().get(&file, &[]).await.expect(200).body == content, "{file}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_check_names_what_was_damaged() {
    let origin = Running::start().await;
    let alice = origin.alice();
    let file = alice.store("name=a", bytes(5_000)).await;
    let id = file.strip_prefix("/files/").unwrap();
    let check = async |origin: &Running| -> Fscked {
        let token = AdminDoor::find(origin.folder.path()).unwrap().unwrap().token();
        let fields = [("authorization", &*format!("Bearer {token}"))];
        let answer = origin.operator().send_unsigned("POST", "/admin/fsck", &fields, "").await;
        serde_json::from_slice(&answer.expect(200).body).unwrap()
    };
    let sound = check(&origin).await;
    assert!(sound.is_sound() && sound.files.bytes == 5_000, "{sound:?}");
    let shelf = origin.folder.path().join("blobs").join(&id[id.len() - 2..]);
    let part = std::fs::read_dir(shelf).unwrap().next().unwrap().unwrap();
    std::fs::remove_file(part.path()).unwrap();
    let folder = origin.stop().await;

    // With an origin or without one.
    let found = {
        let upkeep = Upkeep::open(&config(folder.path())).unwrap();
        upkeep.check(false).await.unwrap()
    };
    let again = check(&Running::start_in(folder, |_| {}).await).await;
    assert_eq!(found, again);
    let told = found.disagreements.first().unwrap();
    assert_eq!((told.kind, told.id.to_string()), (Disagreeing::MissingPart, id.to_owned()));
}
