//! Every kind of damage that a test makes by hand is found, and named.

use std::collections::BTreeMap;

use bytes::Bytes;
use object_store::ObjectStoreExt as _;
use outport_wire::id::Home;

use super::*;
use crate::collector::scene::*;
use crate::environment::Environment as _;
use crate::fixtures::{alice, description};
use crate::meta::Meta as _;
use crate::record::{Opening, Record};
use crate::store::Held;

/// A file, an upload that goes on, and a file of two pieces.
async fn furnished() -> (Scene, Held, Held, Held, Held) {
    let scene = Scene::new();
    let file = scene.file(&[7; 10_000]).await;
    let open = scene.begin(Opening::of_length(10)).await;
    let open = scene.append(&open, b"01234").await.unwrap();
    let (one, two) = (scene.partial(b"01").await, scene.partial(b"234").await);
    let of = vec![one.id, two.id];
    let last = scene.store.concatenate(&alice(), description(), of, 100).await.unwrap();
    assert!(scene.fsck.run(false).await.unwrap().is_sound());
    (scene, file, open, one, last)
}

fn record_key(held: &Held) -> Key {
    Key::new(format!("file/{}", held.id), "record")
}

/// Stores another record in place of this one, or none.
async fn replace(scene: &Scene, key: Key, value: Option<Bytes>) {
    let entry = scene.meta.get(key.clone()).await.unwrap().unwrap();
    match value {
        Some(value) => drop(scene.meta.put(key, value, Some(entry.version)).await.unwrap()),
        None => scene.meta.delete(key, entry.version).await.unwrap(),
    }
}

async fn tamper(scene: &Scene, held: &Held, change: impl FnOnce(&mut Record)) {
    let mut record = held.record.clone();
    change(&mut record);
    replace(scene, record_key(held), Some(record.to_bytes().into())).await;
}

/// Exactly these kinds of disagreements are found.
async fn expect(scene: &Scene, kinds: &[(Kind, FileId)]) {
    let found = scene.fsck.run(false).await.unwrap();
    let told: Vec<_> = found.disagreements.iter().map(|told| (told.kind, told.id)).collect();
    assert_eq!(told, kinds, "{found:?}");
    assert_eq!(found.is_sound(), kinds.is_empty());
}

#[tokio::test]
async fn what_agrees_is_counted() {
    let (scene, file, ..) = furnished().await;
    scene.garbage(file.id).await;
    let found = scene.fsck.run(false).await.unwrap();
    assert!(found.is_sound() && found.index_compared);
    assert_eq!((found.files.count, found.files.bytes), (2, 10_005));
    assert_eq!((found.uploads.count, found.uploads.bytes), (3, 10));
    assert_eq!(
        (found.list_entries, found.unnamed_parts.count, found.unnamed_parts.bytes),
        (5, 1, 7)
    );
    assert_eq!(found.parts.bytes, 10_000 + 5 + 2 + 3 + 7);
}

#[tokio::test]
async fn a_part_that_is_gone() {
    let (scene, file, _, one, last) = furnished().await;
    let path = scene.path_of(&file, 1).await;
    scene.disk.delete(&path).await.unwrap();
    expect(&scene, &[(Kind::MissingPart, file.id)]).await;
    let path = scene.path_of(&one, 0).await;
    scene.disk.delete(&path).await.unwrap();
    let found = scene.fsck.run(false).await.unwrap();
    let ids: HashSet<_> = found.disagreements.iter().map(|told| told.id).collect();
    assert_eq!(ids, HashSet::from([file.id, one.id, last.id]), "the piece and its whole, too");
}

#[tokio::test]
async fn a_part_that_is_cut_off() {
    let (scene, file, ..) = furnished().await;
    let path = scene.path_of(&file, 0).await;
    scene.disk.put(&path, "short".into()).await.unwrap();
    expect(&scene, &[(Kind::WrongLength, file.id)]).await;
}

#[tokio::test]
async fn a_record_that_is_damaged() {
    let (scene, file, ..) = furnished().await;
    replace(&scene, record_key(&file), Some("{\"v\":2,".into())).await;
    expect(&scene, &[(Kind::UnreadableRecord, file.id)]).await;
    scene.pass(3 * DAY);
    let before = scene.parts().await;
    assert_eq!(scene.round().await.parts.count, 0, "the parts of what can't be read stay");
    assert_eq!(scene.parts().await, before);
}

#[tokio::test]
async fn a_file_that_lost_a_part_of_its_manifest() {
    let (scene, file, ..) = furnished().await;
    tamper(&scene, &file, |record| record.parts.truncate(record.parts.len() - 1)).await;
    expect(&scene, &[(Kind::WrongSum, file.id)]).await;
}

#[tokio::test]
async fn a_part_that_two_files_name() {
    let (scene, file, open, ..) = furnished().await;
    tamper(&scene, &file, |record| {
        record.sources = vec![open.id];
        record.parts = open
            .record
            .parts
            .iter()
            .map(|part| crate::record::Part { source: 1, ..*part })
            .collect();
        record.length = Some(5);
    })
    .await;
    expect(&scene, &[(Kind::ForeignPart, file.id)]).await;
}

#[tokio::test]
async fn a_part_that_is_named_twice() {
    let (scene, file, ..) = furnished().await;
    tamper(&scene, &file, |record| {
        let part = record.parts[0];
        record.length = Some(record.offset() + part.bytes);
        record.parts.push(part);
    })
    .await;
    expect(&scene, &[(Kind::ForeignPart, file.id)]).await;
}

#[tokio::test]
async fn lists_and_records_that_do_not_agree() {
    let (scene, file, open, ..) = furnished().await;
    scene.store.unlist(&alice(), file.id).await;
    expect(&scene, &[(Kind::NotListed, file.id)]).await;
    assert!(scene.fsck.run(true).await.unwrap().disagreements[0].repaired);
    expect(&scene, &[]).await;
    replace(&scene, record_key(&open), None).await;
    expect(&scene, &[]).await; // It may be on its way.
    scene.pass(2 * DAY);
    expect(&scene, &[(Kind::ListedWithoutRecord, open.id)]).await;
    scene.fsck.run(true).await.unwrap();
    expect(&scene, &[]).await;
}

#[tokio::test]
async fn a_piece_whose_whole_is_gone() {
    let (scene, _, _, one, last) = furnished().await;
    replace(&scene, record_key(&last), None).await;
    let found = scene.fsck.run(false).await.unwrap();
    assert_eq!(found.counts, BTreeMap::from([(Kind::Orphan, 2)]), "{found:?}");
    scene.fsck.run(true).await.unwrap();
    assert!(!scene.is_there(&one).await);
    expect(&scene, &[]).await;
}

#[tokio::test]
async fn an_upload_that_would_never_expire() {
    let (scene, _, open, ..) = furnished().await;
    let day = day_of(open.record.upload_expires_s.unwrap());
    for due in scene.store.due(day, None, 100).await.unwrap() {
        if due.id == open.id {
            scene.store.settle_due(&due).await.unwrap();
        }
    }
    expect(&scene, &[(Kind::NotDue, open.id)]).await;
    scene.fsck.run(true).await.unwrap();
    expect(&scene, &[]).await;
    scene.pass(WEEK + 2 * HOUR);
    assert_eq!(scene.round().await.uploads.count, 1);
}

#[tokio::test]
async fn what_is_buried_is_no_disagreement() {
    let (scene, ..) = furnished().await;
    let id = FileId::new(Home::of(0, "demo", "alice"), scene.clock.unix_ms(), 7);
    assert!(scene.store.bury(id).await.unwrap());
    assert_eq!(scene.fsck.run(false).await.unwrap().tombstones, 1);
    expect(&scene, &[]).await;
}
