use std::collections::BTreeMap;
use std::fs;
use std::path::PathBuf;

use bytes::Bytes;
use outport_edge_core::step::Coding;
use tempfile::TempDir;

use super::*;
use crate::purges::Purged;

const EDITION: &[u8] = b"edition";
const BYTES_MAX: u64 = 4 << 20;

/// A folder that nodes come and go with.
struct Place {
    folder: TempDir,
    purges: Arc<Purges>,
    bytes_max: u64,
}

impl Place {
    fn new(bytes_max: u64) -> Self {
        Self { folder: tempfile::tempdir().unwrap(), purges: Arc::default(), bytes_max }
    }

    fn path(&self) -> PathBuf {
        self.folder.path().join("cache")
    }

    /// Opens it as a new process does.
    fn open(&mut self) -> Disk {
        self.purges = Arc::default();
        Disk::open(&self.path(), self.bytes_max, EDITION, self.purges.clone()).unwrap()
    }

    /// What each file has.
    fn files(&self) -> BTreeMap<PathBuf, Vec<u8>> {
        let files = fs::read_dir(self.path()).unwrap().map(|entry| entry.unwrap().path());
        files.map(|path| (path.clone(), fs::read(path).unwrap())).collect()
    }

    /// The same, as it is now, for another process.
    fn copied(&self) -> Self {
        let copy = Self::new(self.bytes_max);
        fs::create_dir(copy.path()).unwrap();
        for (path, content) in self.files() {
            fs::write(copy.path().join(path.file_name().unwrap()), content).unwrap();
        }
        copy
    }

    fn restore(&self, files: &BTreeMap<PathBuf, Vec<u8>>) {
        fs::remove_dir_all(self.path()).unwrap();
        fs::create_dir(self.path()).unwrap();
        for (path, content) in files {
            fs::write(path, content).unwrap();
        }
    }
}

fn stored(head: &str, body: &[u8]) -> Stored {
    Stored {
        head: Bytes::copy_from_slice(head.as_bytes()),
        body: Some(vec![Bytes::copy_from_slice(body)]),
        forms: vec![],
        fresh_until: Instant::now() + Duration::from_secs(600),
        tags: vec!["tag".to_owned()].into(),
        dictionary: None,
        purges_then: 0,
    }
}

/// Head and body of what is found.
async fn found(disk: &Disk, key: &str) -> Option<(String, Vec<u8>)> {
    let stored = disk.read(key).await?;
    let head = String::from_utf8(stored.head.to_vec()).unwrap();
    Some((head, stored.body.unwrap().concat()))
}

fn is(head: &str, body: &[u8]) -> Option<(String, Vec<u8>)> {
    Some((head.to_owned(), body.to_vec()))
}

#[tokio::test]
async fn what_was_written_is_there_after_a_kill() {
    let mut place = Place::new(BYTES_MAX);
    let disk = place.open();
    let form = Some(Bytes::from_static(b"form"));
    let forms = vec![(Coding::Zstd, None), (Coding::Brotli, form)];
    disk.write("a".into(), Stored { forms: forms.clone(), ..stored("head a", b"body a") });
    disk.write("b".into(), Stored { body: None, ..stored("head b", b"") });
    disk.write("c".into(), stored("head c", b""));
    disk.settled().await;
    for _ in 0..3 {
        disk.kill();
        let disk = place.open();
        let a = disk.read("a").await.unwrap();
        assert_eq!((&a.head[..], &a.body.unwrap().concat()[..]), (&b"head a"[..], &b"body a"[..]));
        assert_eq!((a.forms, a.purges_then), (forms.clone(), 0));
        assert_eq!(a.tags[..], ["tag"]);
        let left = a.fresh_until.duration_since(Instant::now()).as_secs();
        assert!((590..=600).contains(&left), "{left}");
        assert!(disk.read("b").await.unwrap().body.is_none());
        assert_eq!(found(&disk, "c").await, is("head c", b""));
        assert!(!disk.has("d") && disk.read("d").await.is_none());
        let counted = disk.counted();
        assert_eq!((counted.responses, counted.hits, counted.failures), (3, 3, 0));
        disk.kill();
    }
}

#[tokio::test]
async fn what_is_written_last_counts() {
    let mut place = Place::new(BYTES_MAX);
    let disk = place.open();
    for version in 0..50 {
        disk.write("a".into(), stored("head", format!("body {version}").as_bytes()));
    }
    disk.settled().await;
    assert_eq!(found(&disk, "a").await, is("head", b"body 49"));
    disk.supersede("a");
    assert!(!disk.has("a"));
    disk.write("a".into(), stored("head", b"new"));
    disk.settled().await;
    disk.kill();
    let disk = place.open();
    assert_eq!(found(&disk, "a").await, is("head", b"new"));
    disk.supersede("a");
    disk.write("b".into(), stored("head", b""));
    disk.settled().await;
    disk.kill();
    let disk = place.open();
    assert!(!disk.has("a") && disk.has("b"));
    disk.kill();
}

#[tokio::test]
async fn a_new_head_takes_the_place_of_the_old_one() {
    let mut place = Place::new(BYTES_MAX);
    let disk = place.open();
    let body = vec![7; 10_000];
    disk.write("a".into(), stored("head", &body));
    disk.settled().await;
    let bytes = disk.counted().bytes;
    for (head, grows) in [("new head".to_owned(), false), ("long ".repeat(100), true)] {
        disk.renew("a".into(), stored(&head, &body));
        disk.settled().await;
        assert_eq!(found(&disk, "a").await, is(&head, &body));
        assert_eq!(disk.counted().bytes > bytes, grows);
    }
    disk.kill();
    let disk = place.open();
    assert_eq!(found(&disk, "a").await, is(&"long ".repeat(100), &body));

    // What is not here is written; what is not wanted any more is not renewed.
    disk.renew("b".into(), stored("head", &body));
    disk.renew("b".into(), stored("newer", &body));
    disk.settled().await;
    assert_eq!(found(&disk, "b").await, is("newer", &body));
    disk.renew("b".into(), stored("newest", &body));
    disk.supersede("b");
    disk.settled().await;
    assert!(disk.read("b").await.is_none());
    disk.kill();
}

#[tokio::test]
async fn what_was_torn_anywhere_is_whole_or_nothing() {
    let mut place = Place::new(BYTES_MAX);
    let disk = place.open();
    let bodies: Vec<_> = (0..3u8).map(|number| vec![number; 20 * usize::from(number)]).collect();
    for (key, body) in bodies.iter().enumerate() {
        disk.write(key.to_string(), stored("head", body));
    }
    disk.settled().await;
    disk.kill();
    let files = place.files();
    let torn = files.iter().filter(|(path, _)| path.extension().is_some());
    let (mut cuts, mut whole) = (0, 0);
    for (path, content) in torn {
        for bytes in 0..content.len() {
            place.restore(&files);
            fs::write(path, &content[..bytes]).unwrap();
            let disk = place.open();
            for (key, body) in bodies.iter().enumerate() {
                let found = found(&disk, &key.to_string()).await;
                whole += usize::from(found.is_some());
                assert!(found.is_none() || found == is("head", body), "{path:?} {bytes} {key}");
            }
            assert_eq!(disk.counted().failures, 0);
            cuts += 1;
            if cuts % 8 > 0 {
                disk.kill();
                continue;
            }
            // It goes on from there.
            disk.write("new".into(), stored("head", b"new"));
            disk.settled().await;
            disk.kill();
            let disk = place.open();
            assert_eq!(found(&disk, "new").await, is("head", b"new"), "{path:?} {bytes}");
            disk.kill();
        }
    }
    assert!(cuts > 500 && whole > cuts, "{cuts} {whole}");
}

#[tokio::test]
async fn what_is_wrong_anywhere_is_never_found() {
    let mut place = Place::new(BYTES_MAX);
    let disk = place.open();
    let bodies = [vec![1; 100], vec![2; 50]];
    for (key, body) in bodies.iter().enumerate() {
        disk.write(key.to_string(), stored("head", body));
    }
    disk.settled().await;
    disk.kill();
    let files = place.files();
    let mut missed = 0;
    for (path, content) in &files {
        for at in 0..content.len() {
            place.restore(&files);
            let mut wrong = content.clone();
            wrong[at] ^= 0x10;
            fs::write(path, wrong).unwrap();
            let disk = place.open();
            for (key, body) in bodies.iter().enumerate() {
                let found = found(&disk, &key.to_string()).await;
                missed += usize::from(found.is_none());
                assert!(found.is_none() || found == is("head", body), "{path:?} {at} {key}");
            }
            let failures = disk.counted().failures;
            disk.kill();
            if failures > 0 {
                // It is not even looked at again.
                let disk = place.open();
                assert_eq!(disk.counted().responses, 1);
                disk.kill();
            }
        }
    }
    assert!(missed > 300, "{missed}");
}

#[tokio::test]
async fn what_is_forgotten_stays_so_through_a_kill() {
    let mut place = Place::new(BYTES_MAX);
    let disk = place.open();
    for key in ["a", "b", "c"] {
        disk.write(key.into(), stored("head", b"body"));
    }
    disk.settled().await;
    let grave = disk.forget("a").unwrap();
    assert!(disk.read("a").await.is_none(), "at once");
    disk.fill(vec![grave], vec![]).await;
    assert!(disk.forget("a").is_none() && disk.forget("unknown").is_none());
    disk.kill();
    let disk = place.open();
    assert!(!disk.has("a") && disk.has("b") && disk.has("c"));
    // It may be stored again.
    disk.write("a".into(), stored("head", b"new"));
    disk.settled().await;
    disk.kill();
    assert_eq!(found(&place.open(), "a").await, is("head", b"new"));
}

#[tokio::test]
async fn what_is_forgotten_while_it_is_written_stays_so() {
    // So much that no segment goes while it is copied.
    let mut place = Place::new(1 << 30);
    let disk = place.open();
    for round in 0..300u32 {
        let keys: Vec<_> = (0..8).map(|key| format!("{key}")).collect();
        for key in &keys {
            disk.write(key.clone(), stored("head", &[0; 3_000]));
        }
        if round % 3 == 0 {
            disk.renew("3".into(), stored("new head", &[0; 3_000]));
        }
        std::thread::sleep(Duration::from_micros(u64::from(round % 10) * 20));
        let graves = keys.iter().take(4).filter_map(|key| disk.forget(key)).collect();
        disk.fill(graves, vec![]).await;
        if round % 10 == 0 {
            // As it is now, whatever the thread is at.
            let mut copy = place.copied();
            let killed = copy.open();
            for key in keys.iter().take(4) {
                assert!(!killed.has(key), "{round} {key}");
            }
            killed.kill();
        }
    }
    disk.kill();
}

#[tokio::test]
async fn what_is_purged_stays_so_through_a_kill() {
    let mut place = Place::new(BYTES_MAX);
    let disk = place.open();
    disk.write("a".into(), stored("head", b"body"));
    disk.settled().await;
    disk.fill(vec![], vec![("tag".into(), true)]).await;
    let since =
        |place: &Place, stored: &Stored| place.purges.since(stored.purges_then, &stored.tags);
    for (soft, is) in [(true, Purged::Softly), (false, Purged::Gone)] {
        disk.fill(vec![], vec![("tag".into(), soft)]).await;
        let mut killed = place.copied();
        let after = killed.open();
        let a = after.read("a").await.unwrap();
        assert_eq!(since(&killed, &a), is);
        assert_eq!(since(&place, &a), is, "at once");
        let later = Stored { purges_then: killed.purges.last(), ..a };
        assert_eq!(since(&killed, &later), Purged::No);
        after.kill();
    }
    disk.kill();
}

#[tokio::test]
async fn bytes_are_bounded() {
    let mut place = Place::new(BYTES_MAX);
    let disk = place.open();
    let size =
        |place: &Place| -> u64 { place.files().values().map(|content| content.len() as u64).sum() };
    for key in 0..2_000u32 {
        let length = if key % 10 == 0 { 100_000 } else { 3_000 };
        disk.write(key.to_string(), stored("head", &vec![0; length]));
        if key % 50 == 0 {
            disk.settled().await;
            assert!(size(&place) <= BYTES_MAX, "{key} {}", size(&place));
        }
    }
    disk.settled().await;
    assert!(disk.counted().bytes > BYTES_MAX / 2, "{:?}", disk.counted());
    assert!(disk.counted().bytes <= BYTES_MAX);
    assert!(disk.inner().state().segments.len() < 40, "their files are closed");
    assert!(found(&disk, "1999").await.is_some());
    assert!(!disk.has("0"));
    // What is too large for it is not stored, and takes nothing's place.
    let responses = disk.counted().responses;
    disk.write("large".into(), stored("head", &vec![0; 1 << 20]));
    disk.settled().await;
    assert!(!disk.has("large") && disk.counted().responses == responses);
    disk.kill();
    // A bound that was lowered holds for what is there.
    place.bytes_max = 1 << 20;
    let disk = place.open();
    disk.write("new".into(), stored("head", b""));
    disk.settled().await;
    assert!(size(&place) <= 1 << 20, "{}", size(&place));
    assert!(disk.has("new"));
    disk.kill();
}

#[tokio::test]
async fn how_many_there_are_is_bounded() {
    let mut place = Place::new(BYTES_MAX);
    let disk = place.open();
    for key in 0..4_000u32 {
        disk.write(key.to_string(), stored("", b""));
        if key % 500 == 0 {
            disk.settled().await;
        }
    }
    disk.settled().await;
    assert!(disk.counted().responses <= 1_026, "{:?}", disk.counted());
    disk.kill();
}

#[tokio::test]
async fn large_ones_leave_the_small_ones_their_half() {
    let mut place = Place::new(64 << 20);
    let disk = place.open();
    let small = (0..2_500u32).map(|key| format!("small {key}"));
    for key in small.clone() {
        disk.write(key, stored("head", &[0; 10_000]));
        if disk.inner().state().jobs_bytes > QUEUE_BYTES_MAX / 2 {
            disk.settled().await;
        }
    }
    for key in 0..200u32 {
        disk.write(format!("large {key}"), stored("head", &vec![0; 1 << 20]));
        disk.settled().await;
    }
    for key in small {
        assert!(disk.has(&key), "{key} was driven out");
    }
    assert!(disk.has("large 199") && !disk.has("large 0"));
    // They take what is free.
    assert!(disk.counted().bytes > 50 << 20, "{:?}", disk.counted());
    disk.kill();
}

#[tokio::test]
async fn what_is_used_goes_along() {
    let mut place = Place::new(BYTES_MAX);
    let disk = place.open();
    disk.keeps(|key| key == "in memory");
    for key in ["in memory", "read", "neither"] {
        disk.write(key.into(), stored("head", key.as_bytes()));
    }
    disk.settled().await;
    let first = place.folder.path().join("the first index");
    fs::hard_link(place.path().join("small-0000000001.index"), &first).unwrap();
    for key in 0..3_000u32 {
        disk.write(key.to_string(), stored("head", &[0; 3_000]));
        if key % 20 == 0 {
            disk.settled().await;
            assert_eq!(found(&disk, "read").await, is("head", b"read"), "{key}");
        }
    }
    disk.settled().await;
    assert!(!disk.has("neither"));
    disk.kill();
    // A kill before the old files were removed would have left one of each.
    let lines = fs::read(first).unwrap();
    let is_there = lines.chunks(64).map(|line| line.iter().any(|byte| *byte != 0));
    assert_eq!(is_there.take(3).collect::<Vec<_>>(), [false, false, true]);
    let disk = place.open();
    assert_eq!(found(&disk, "in memory").await, is("head", b"in memory"));
    assert_eq!(found(&disk, "read").await, is("head", b"read"));
    // It is in one place alone.
    let grave = disk.forget("read").unwrap();
    disk.fill(vec![grave], vec![]).await;
    disk.kill();
    let disk = place.open();
    assert!(!disk.has("read"));
    disk.kill();
}

#[tokio::test]
async fn what_another_wrote_is_not_believed() {
    let mut place = Place::new(BYTES_MAX);
    let write = async |place: &mut Place| {
        let disk = place.open();
        disk.write("a".into(), stored("head", b"body"));
        disk.settled().await;
        disk.kill();
    };
    write(&mut place).await;
    let files = place.files();
    let begins_empty = async |place: &mut Place, what: &str| {
        let disk = place.open();
        assert!(!disk.has("a"), "{what}");
        disk.write("b".into(), stored("head", b"body"));
        disk.settled().await;
        assert!(disk.read("b").await.is_some(), "{what}");
        disk.kill();
    };
    let purges = Arc::default();
    let disk = Disk::open(&place.path(), BYTES_MAX, b"another edition", purges).unwrap();
    assert!(!disk.has("a"));
    disk.kill();
    begins_empty(&mut place, "an edition").await;
    for name in ["state", "purges", "small-0000000001.data"] {
        place.restore(&files);
        fs::remove_file(place.path().join(name)).unwrap();
        begins_empty(&mut place, name).await;
    }
    for (path, _) in files.iter().filter(|(path, _)| !path.ends_with("purges")) {
        place.restore(&files);
        fs::write(path, "garbage").unwrap();
        begins_empty(&mut place, &path.display().to_string()).await;
    }
    fs::remove_dir_all(place.path()).unwrap();
    fs::write(place.path(), "a file").unwrap();
    begins_empty(&mut place, "a file").await;
}

#[tokio::test]
async fn after_a_stop_of_the_machine_what_was_closed_is_there() {
    let mut place = Place::new(BYTES_MAX);
    let in_run = |place: &Place, run| {
        let folder = Folder::of_run(&place.path(), EDITION, Some(run));
        Disk::open_folder(folder, BYTES_MAX, place.purges.clone()).unwrap()
    };
    let disk = in_run(&place, "1");
    for key in 0..100 {
        disk.write(key.to_string(), stored("head", b"body"));
    }
    disk.close().await;
    let disk = in_run(&place, "2");
    assert_eq!(disk.counted().responses, 100, "all that waited was written");
    disk.kill();
    let disk = in_run(&place, "2");
    assert_eq!(disk.counted().responses, 100);
    disk.kill();
    let disk = in_run(&place, "3");
    assert_eq!(disk.counted().responses, 0);
    disk.kill();
    place.purges = Arc::default();
}

#[tokio::test]
async fn a_disk_that_fails_is_given_up() {
    let mut place = Place::new(BYTES_MAX);
    let disk = place.open();
    disk.write("a".into(), stored("head", b"body"));
    disk.settled().await;
    // Where its next file should be.
    fs::create_dir(place.path().join("small-0000000002.data")).unwrap();
    for key in 0..200 {
        disk.write(key.to_string(), stored("head", &[0; 3_000]));
    }
    while disk.counted().failures == 0 {
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    let counted = disk.counted();
    assert_eq!((counted.bytes, counted.responses, counted.failures), (0, 0, 1));
    assert!(!disk.has("a") && disk.read("a").await.is_none() && disk.forget("a").is_none());
    disk.write("a".into(), stored("head", b"body"));
    disk.renew("a".into(), stored("head", b"body"));
    disk.supersede("a");
    disk.fill(vec![], vec![("tag".into(), false)]).await;
    assert_eq!(place.purges.last(), 1);
    disk.close().await;
    assert!(!place.path().exists() && disk.counted().failures == 1);
}

#[tokio::test]
async fn what_finds_no_room_in_the_queue_is_not_written() {
    let mut place = Place::new(4 << 30);
    let disk = place.open();
    let body = vec![0; 1 << 20];
    // Nothing is written while the marks are held.
    let marks = disk.inner().marks();
    for key in 0..100u32 {
        disk.write(key.to_string(), stored("head", &body));
        assert!(disk.inner().state().jobs_bytes <= QUEUE_BYTES_MAX + (1 << 20));
    }
    let counted = disk.counted();
    assert!(counted.dropped >= 60 && counted.responses + counted.dropped == 100, "{counted:?}");
    drop(marks);
    disk.settled().await;
    assert_eq!(disk.counted().written, counted.responses);
    disk.kill();
}
