//! What becomes of an upload when a disk is full, a store fails, or somebody else is faster.

mod properties;

use std::collections::{BTreeMap, VecDeque};
use std::fmt;
use std::io::ErrorKind;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

use async_trait::async_trait;
use digest::Digest as _;
use futures::future::{BoxFuture, FutureExt as _};
use futures::{StreamExt as _, TryStreamExt as _};
use object_store::memory::InMemory;
use object_store::path::Path;
use object_store::{
    CopyOptions, GetOptions, GetResult, ListResult, MultipartUpload, ObjectMeta, ObjectStore,
    PutMultipartOptions, PutOptions, PutPayload, PutResult, Result as BlobResult, UploadPart,
};
use outport_wire::identity::Scopes;

use super::*;
use crate::digest::{Digests, Expected, Mismatch, Running};
use crate::environment::System;
use crate::fixtures::{alice, description, intake};
use crate::intake::{Cuts, Intake};
use crate::meta::MemoryMeta;
use crate::record::Part;
use crate::store::concat::ConcatError;

mod fences;
mod races;
mod uncertain;

const CHUNK_BYTES: u64 = 1 << 10;
const PART_BYTES: usize = 4 << 10;
const IDLE: Duration = Duration::from_secs(60);

/// Nobody cuts a body.
fn never() -> Cuts {
    Cuts { shutdown: tokio::sync::watch::channel(false).1, superseded: None }
}

/// A store over a disk of limited size, and metadata that fails as it is told.
struct Scene {
    store: Store,
    disk: Arc<SmallDisk>,
    meta: Arc<FailingMeta>,
}

impl Scene {
    fn new() -> Self {
        let disk = Arc::new(SmallDisk::default());
        let meta = Arc::new(FailingMeta::default());
        let parts = PartPolicy {
            bytes_min: PART_BYTES as u64,
            bytes_max: 1 << 30,
            age_max: Duration::from_secs(60),
            content_bytes_max: 100,
        };
        let store = Store::new(meta.clone(), disk.clone(), CHUNK_BYTES, 0, parts, Arc::new(System));
        Self { store, disk, meta }
    }

    async fn begin(&self, length: usize) -> Held {
        self.store.begin(&alice(), description(), Opening::of_length(length as u64)).await.unwrap()
    }

    async fn append(&self, held: &Held, body: &[u8]) -> Result<Held, AppendError> {
        self.store.append(held.clone(), &mut intake(body), Completes::AtLength).await
    }

    async fn offset(&self, held: &Held) -> usize {
        self.store.load(held.id).await.unwrap().unwrap().record.offset() as usize
    }

    async fn content(&self, held: &Held) -> Vec<u8> {
        let held = self.store.load(held.id).await.unwrap().unwrap();
        let range = 0..held.record.offset();
        let chunks: Vec<_> = self.store.read(&held, range).try_collect().await.unwrap();
        chunks.concat()
    }

    async fn parts(&self) -> usize {
        self.disk.inner.list(None).count().await
    }
}

fn bytes(length: usize) -> Vec<u8> {
    (0..length).map(|place| (place * 31 + place / 251) as u8).collect()
}

#[tokio::test]
async fn what_an_edge_acknowledged_arrives_though_its_id_was_buried() {
    let scene = Scene::new();
    let id = FileId::new_at_edge(Home::of(0, "demo", "alice"), 1_790_000_000_000, 7);
    let give = async |body: &'static [u8]| {
        scene.store.store_given(id, &alice(), description(), &mut intake(body)).await.unwrap()
    };
    // An attempt ended half way, and whoever found its parts has buried the id.
    assert!(scene.store.bury(id).await.unwrap());
    assert!(matches!(give(b"hello").await, Given::Stored));
    assert!(matches!(give(b"hello").await, Given::Here(_)));
    assert!(!scene.store.bury(id).await.unwrap());
    // But not once it was removed, however long its tombstone stands.
    scene.store.remove(id, |_| Ok::<_, ()>(())).await.unwrap();
    assert!(matches!(give(b"hello").await, Given::Removed));
    assert!(scene.store.bury(id).await.unwrap());
    assert!(matches!(give(b"hello").await, Given::Removed));
    assert!(scene.store.load(id).await.unwrap().is_none());
}

#[tokio::test]
async fn a_full_disk_loses_nothing_that_was_acknowledged() {
    let scene = Scene::new();
    let content = bytes(30_000);
    let held = scene.begin(content.len()).await;
    for room in [PART_BYTES + 100, 100, 2 * PART_BYTES] {
        scene.disk.room.store(room, Ordering::Relaxed);
        let offset = scene.offset(&held).await;
        let now = scene.store.load(held.id).await.unwrap().unwrap();
        let full = scene.append(&now, &content[offset..]).await;
        assert!(matches!(full, Err(AppendError::Store(StoreError::Full))), "{full:?}");
        let grown = scene.offset(&held).await - offset;
        assert_eq!(grown, room / PART_BYTES * PART_BYTES, "whole parts are kept");
        assert!(scene.content(&held).await == content[..offset + grown]);
    }
    scene.disk.room.store(usize::MAX, Ordering::Relaxed);
    let now = scene.store.load(held.id).await.unwrap().unwrap();
    let offset = scene.offset(&held).await;
    scene.append(&now, &content[offset..]).await.unwrap();
    assert!(scene.content(&held).await == content);
}

#[tokio::test]
async fn a_whole_file_on_a_full_disk_leaves_nothing() {
    let scene = Scene::new();
    scene.disk.room.store(10_000, Ordering::Relaxed);
    let body = &mut intake(&bytes(30_000));
    let full = scene.store.store_whole(&alice(), description(), body).await;
    assert!(matches!(full, Err(AppendError::Store(StoreError::Full))), "{full:?}");
    assert_eq!(scene.parts().await, 0);
    let partition = list::list_partition("demo", "alice");
    assert_eq!(scene.meta.inner.scan(partition, None, 10).await.unwrap(), []);
}

#[tokio::test]
async fn a_small_file_has_no_part() {
    let scene = Scene::new();
    for length in [0, 1, 100, 101] {
        let content = bytes(length);
        let body = &mut intake(&content);
        let held = scene.store.store_whole(&alice(), description(), body).await.unwrap();
        assert!(held.record.is_file() && scene.content(&held).await == content);
        assert_eq!(scene.parts().await, usize::from(length > 100), "{length}");
        let part: Vec<_> = scene.store.read(&held, 0..1.min(length as u64)).collect().await;
        assert_eq!(part.len(), 1.min(length));
    }
    let refused = scene.store.store_whole(&alice(), description(), &mut checked(b"a", b"b")).await;
    assert!(matches!(refused, Err(AppendError::Digest(Mismatch::Content))), "{refused:?}");
    scene.meta.fail([Failing::Full]);
    let full = scene.store.store_whole(&alice(), description(), &mut intake(b"a")).await;
    assert!(matches!(full, Err(AppendError::Store(StoreError::Full))), "{full:?}");
    assert_eq!(scene.store.list(&alice(), "", 10, None).await.unwrap().files.len(), 4);
}

#[tokio::test]
async fn full_metadata_takes_no_part() {
    let scene = Scene::new();
    let held = scene.begin(10).await;
    scene.meta.fail([Failing::Full]);
    let full = scene.append(&held, b"01234").await;
    assert!(matches!(full, Err(AppendError::Store(StoreError::Full))), "{full:?}");
    assert_eq!((scene.offset(&held).await, scene.parts().await), (0, 0));
    scene.append(&held, b"0123456789").await.unwrap();
}

#[tokio::test]
async fn an_uncertain_commit_is_looked_after() {
    for happened in [Failing::UncertainDone, Failing::UncertainNotDone] {
        let scene = Scene::new();
        let held = scene.begin(10).await;
        scene.meta.fail([happened]);
        let held = scene.append(&held, b"01234").await.unwrap();
        scene.append(&held, b"56789").await.unwrap();
        assert_eq!(scene.content(&held).await, b"0123456789");
        assert_eq!(scene.parts().await, 2, "no part is there twice");
    }
}

#[tokio::test]
async fn an_append_survives_a_change_of_the_name() {
    let scene = Scene::new();
    let held = scene.begin(10).await;
    let renamed = scene.store.change(held.id, |record| {
        record.name = "b".into();
        Ok::<_, ()>(())
    });
    renamed.await.unwrap();
    let done = scene.append(&held, b"0123456789").await.unwrap();
    assert_eq!((done.record.name.as_str(), done.record.complete), ("b", true));
}

#[tokio::test]
async fn the_loser_of_a_race_leaves_nothing() {
    let scene = Scene::new();
    let held = scene.begin(10).await;
    scene.append(&held, b"01234").await.unwrap();
    let lost = scene.append(&held, b"xxxxxxxx").await;
    assert!(matches!(lost, Err(AppendError::OffsetMismatch { expected: 5 })), "{lost:?}");
    assert_eq!((scene.content(&held).await, scene.parts().await), (b"01234".to_vec(), 1));
}

#[tokio::test]
async fn an_append_to_what_was_removed_leaves_nothing() {
    let scene = Scene::new();
    let held = scene.begin(10).await;
    scene.store.remove(held.id, |_| Ok::<_, ()>(())).await.unwrap();
    let gone = scene.append(&held, b"01234").await;
    assert!(matches!(gone, Err(AppendError::Gone)), "{gone:?}");
    assert_eq!(scene.parts().await, 0);
}

/// A body with a digest of its content.
fn checked(body: &[u8], digest_of: &[u8]) -> Intake {
    use base64::Engine as _;
    let digest = base64::engine::general_purpose::STANDARD.encode(sha2::Sha256::digest(digest_of));
    let expected = Expected::of_tus(&format!("sha256 {digest}")).unwrap();
    intake(body).with_digests(Digests::default().content(expected))
}

#[tokio::test]
async fn what_fails_its_checksum_leaves_nothing() {
    let scene = Scene::new();
    let content = bytes(20_000);
    let held = scene.begin(content.len()).await;
    let held = scene.append(&held, &content[..5_000]).await.unwrap();
    let before = scene.parts().await;
    let damaged = &mut checked(&content[5_000..], &content[5_001..]);
    let refused = scene.store.append(held.clone(), damaged, Completes::AtLength).await;
    assert!(matches!(refused, Err(AppendError::Digest(Mismatch::Content))), "{refused:?}");
    assert_eq!((scene.offset(&held).await, scene.parts().await), (5_000, before));
    let right = &mut checked(&content[5_000..], &content[5_000..]);
    let done = scene.store.append(held, right, Completes::AtLength).await.unwrap();
    assert!(done.record.complete && scene.content(&done).await == content);
}

#[tokio::test]
async fn a_digest_of_the_whole_is_checked_over_several_requests() {
    for damaged in [false, true] {
        let scene = Scene::new();
        let content = bytes(20_000);
        let digest = {
            use base64::Engine as _;
            base64::engine::general_purpose::STANDARD.encode(sha2::Sha256::digest(&content))
        };
        let expected = Expected::of_field(&format!("sha-256=:{digest}:")).unwrap();
        let opening = Opening { digest: Some(Running::expecting(expected)), ..Opening::default() };
        let mut held = scene.store.begin(&alice(), description(), opening).await.unwrap();
        for piece in content[..18_000].chunks(6_000) {
            let appended = scene.store.append(held, &mut intake(piece), Completes::Not).await;
            held = appended.unwrap();
        }
        let last = if damaged { vec![0; 2_000] } else { content[18_000..].to_vec() };
        let body = &mut intake(&last);
        let ended = scene.store.append(held.clone(), body, Completes::WithBody).await;
        if damaged {
            assert!(matches!(ended, Err(AppendError::WholeDigest)), "{ended:?}");
            assert!(scene.store.load(held.id).await.unwrap().is_none());
            assert_eq!(scene.parts().await, 0);
        } else {
            assert!(ended.unwrap().record.is_file() && scene.content(&held).await == content);
        }
    }
}

#[tokio::test]
async fn who_was_interrupted_never_commits() {
    let scene = Scene::new();
    let held = scene.begin(10).await;
    // Another origin does not know who works here, so the epoch alone shuts it out.
    let other = Store { turns: Turns::default(), ..scene.store.clone() };
    let shown = other.interrupt(held.id).await.unwrap().unwrap();
    assert_eq!(shown.record.offset(), 0);
    let late = scene.append(&held, b"01234").await;
    assert!(matches!(late, Err(AppendError::Superseded { offset: 0 })), "{late:?}");
    assert_eq!((scene.offset(&held).await, scene.parts().await), (0, 0));
    scene.append(&shown, b"0123456789").await.unwrap();
}

#[tokio::test]
async fn a_length_is_declared_where_the_upload_still_is() {
    let scene = Scene::new();
    let opening = Opening::default();
    let held = scene.store.begin(&alice(), description(), opening).await.unwrap();
    let declare = |held: &Held, length| scene.store.declare_length(held.clone(), length);
    // Another origin brings the upload further meanwhile: what was to be appended has no place.
    let further = scene.append(&held, b"01234").await.unwrap();
    let late = declare(&held, 10).await;
    assert!(matches!(late, Err(AppendError::OffsetMismatch { expected: 5 })), "{late:?}");
    let short = declare(&further, 4).await;
    assert!(matches!(short, Err(AppendError::LengthMismatch { offset: 5, .. })), "{short:?}");
    // Or tells a client to go on from where it is.
    let other = Store { turns: Turns::default(), ..scene.store.clone() };
    let shown = other.interrupt(held.id).await.unwrap().unwrap();
    let late = declare(&further, 10).await;
    assert!(matches!(late, Err(AppendError::Superseded { offset: 5 })), "{late:?}");
    let declared = declare(&shown, 10).await.unwrap();
    assert_eq!(declare(&declared, 10).await.unwrap().record.length, Some(10));
    let again = declare(&declared, 11).await;
    assert!(matches!(again, Err(AppendError::LengthMismatch { length: 10, .. })), "{again:?}");
}

#[tokio::test]
async fn an_upload_of_unknown_length_is_complete_when_it_is_said_to_be() {
    let scene = Scene::new();
    let held = scene.store.begin(&alice(), description(), Opening::default()).await.unwrap();
    let held = scene.store.append(held, &mut intake(b"01234"), Completes::Not).await.unwrap();
    assert!(!held.record.complete && held.record.length.is_none());
    let held = scene.store.append(held, &mut intake(b""), Completes::WithBody).await.unwrap();
    assert!(held.record.is_file() && held.record.length == Some(5));
    let held = scene.store.append(held, &mut intake(b""), Completes::Not).await.unwrap();
    let more = scene.store.append(held, &mut intake(b"5"), Completes::Not).await;
    assert!(matches!(more, Err(AppendError::Complete)), "{more:?}");
}

#[tokio::test]
async fn what_ends_elsewhere_than_announced_is_not_complete() {
    let scene = Scene::new();
    let held = scene.begin(10).await;
    let short = scene.store.append(held.clone(), &mut intake(b"01234"), Completes::WithBody).await;
    let expected = AppendError::LengthMismatch { offset: 5, length: 10 };
    assert_eq!(short.map(drop).unwrap_err().to_string(), expected.to_string());
    let now = scene.store.load(held.id).await.unwrap().unwrap();
    assert_eq!((now.record.complete, now.record.offset()), (false, 5));
}

async fn partial(scene: &Scene, length: usize) -> Held {
    let concat = Some(Concat::Partial { claimed_by: None });
    let opening = Opening { concat, ..Opening::of_length(length as u64) };
    scene.store.begin(&alice(), description(), opening).await.unwrap()
}

#[tokio::test]
async fn a_final_upload_is_its_partial_ones() {
    let scene = Scene::new();
    let content = bytes(30_000);
    let (one, two) = (partial(&scene, 10_000).await, partial(&scene, 20_000).await);
    scene.append(&one, &content[..10_000]).await.unwrap();
    let two = scene.append(&two, &content[10_000..15_000]).await.unwrap_or(two);
    let of = vec![one.id, two.id];
    let last = scene.store.concatenate(&alice(), description(), of.clone(), 1 << 20).await.unwrap();
    assert!(!last.record.complete, "one of them is not complete");
    let claimed = scene.store.remove(one.id, |_| Ok::<_, ()>(())).await;
    assert!(matches!(claimed, Err(ChangeError::Claimed(id)) if id == last.id), "{claimed:?}");
    let again = scene.store.concatenate(&alice(), description(), of, 1 << 20).await;
    assert!(matches!(again, Err(ConcatError::Claimed(id)) if id == one.id), "{again:?}");
    let now = scene.store.load(two.id).await.unwrap().unwrap();
    scene.append(&now, &content[15_000..]).await.unwrap();
    let last = scene.store.load(last.id).await.unwrap().unwrap();
    assert!(last.record.is_file() && scene.content(&last).await == content);
    scene.store.remove(last.id, |_| Ok::<_, ()>(())).await.unwrap();
    assert_eq!(scene.parts().await, 0);
    assert!(scene.store.load(one.id).await.unwrap().is_none(), "they go with it");
}

#[tokio::test]
async fn what_can_not_be_concatenated_changes_nothing() {
    let scene = Scene::new();
    let (one, whole) = (partial(&scene, 10).await, scene.begin(10).await);
    let bob = Identity::new("demo", "bob", Scopes::parse("write")).unwrap();
    let try_it = async |owner: &Identity, of: &[FileId], bytes_max| {
        let tried = scene.store.concatenate(owner, description(), of.to_vec(), bytes_max).await;
        tried.map(drop).unwrap_err().to_string()
    };
    let id = one.id;
    assert_eq!(try_it(&bob, &[id], 100).await, format!("there is no upload {id}"));
    assert!(try_it(&alice(), &[], 100).await.starts_with("a final upload has from 1"));
    assert!(try_it(&alice(), &[id, id], 100).await.ends_with("is part of a final one already"));
    assert!(try_it(&alice(), &[id, whole.id], 100).await.ends_with("is no partial one"));
    assert_eq!(try_it(&alice(), &[id], 9).await, "together they have more than 9 bytes");
    let last = scene.store.concatenate(&alice(), description(), vec![id], 10).await.unwrap();
    assert!(!last.record.complete);
}

#[tokio::test]
async fn parts_grow_with_the_upload() {
    let scene = Scene::new();
    let bytes_max = |offset| scene.store.part_limits(offset, 0).bytes_max;
    assert_eq!(bytes_max(0), PART_BYTES as u64);
    assert_eq!(bytes_max(64 << 20), 1 << 20);
    assert_eq!(bytes_max(1 << 50), 1 << 30);
    let age_s = |parts| scene.store.part_limits(0, parts).age_max.as_secs();
    assert_eq!((age_s(0), age_s(511), age_s(512), age_s(5120)), (60, 60, 120, 660));
    assert_eq!(age_s(usize::MAX), 24 * 3600);
}

#[tokio::test]
async fn the_largest_record_fits_the_metadata() {
    let scene = Scene::new();
    let held = scene.begin(usize::MAX).await;
    let full = scene.store.change(held.id, |record| {
        record.parts = vec![Part { bytes: 1 << 30, nonce: u64::MAX, source: 1000 }; PARTS_MAX];
        record.metadata = BTreeMap::from([("k".into(), "\u{1}".repeat(8 << 10))]);
        record.tus_metadata = Some("x".repeat(11 << 10));
        Ok::<_, ()>(())
    });
    let held = full.await.unwrap();
    let refused = scene.append(&held, b"x").await;
    assert!(matches!(refused, Err(AppendError::TooManyParts)), "{refused:?}");
}

/// What becomes of a write.
#[derive(Clone, Copy)]
enum Failing {
    /// It is made.
    Not,
    Full,
    UncertainDone,
    UncertainNotDone,
    /// It was done, and somebody else has appended behind it.
    UncertainOvertaken,
    /// It was not done, and will not be: somebody else has given the file another name.
    UncertainRenamed,
}

/// How much somebody else appends.
const OVERTAKEN_BYTES: u64 = 5;

struct FailingMeta {
    inner: MemoryMeta,
    next: Mutex<VecDeque<Failing>>,
    /// How many keys can be removed before none can.
    deletes_left: AtomicUsize,
}

impl Default for FailingMeta {
    fn default() -> Self {
        let deletes_left = AtomicUsize::new(usize::MAX);
        Self { inner: MemoryMeta::default(), next: Mutex::default(), deletes_left }
    }
}

impl FailingMeta {
    fn fail(&self, next: impl Into<VecDeque<Failing>>) {
        *self.next.lock().unwrap() = next.into();
    }

    /// Somebody else changes a record.
    async fn meanwhile(&self, key: Key, change: impl Fn(&mut Record) + Send) {
        let entry = self.inner.get(key.clone()).await.unwrap().unwrap();
        let mut record = Record::from_bytes(&entry.value).unwrap();
        change(&mut record);
        self.inner.put(key, record.to_bytes().into(), Some(entry.version)).await.unwrap();
    }
}

fn told_to() -> Arc<dyn std::error::Error + Send + Sync> {
    Arc::new(std::io::Error::other("told to"))
}

impl Meta for FailingMeta {
    fn get(&self, key: Key) -> BoxFuture<'_, Result<Option<Entry>, MetaError>> {
        self.inner.get(key)
    }

    fn put(
        &self,
        key: Key,
        value: Bytes,
        expected: Option<Version>,
    ) -> BoxFuture<'_, Result<Version, MetaError>> {
        let failing = self.next.lock().unwrap().pop_front();
        async move {
            match failing {
                None | Some(Failing::Not) => self.inner.put(key, value, expected).await,
                Some(Failing::Full) => Err(MetaError::Full(told_to())),
                Some(Failing::UncertainNotDone) => Err(MetaError::Uncertain(told_to())),
                Some(Failing::UncertainDone) => {
                    self.inner.put(key, value, expected).await?;
                    Err(MetaError::Uncertain(told_to()))
                }
                Some(Failing::UncertainOvertaken) => {
                    self.inner.put(key.clone(), value, expected).await?;
                    let append = |record: &mut Record| {
                        record.epoch += 1;
                        record.parts.push(Part { bytes: OVERTAKEN_BYTES, nonce: 0, source: 0 });
                    };
                    self.meanwhile(key, append).await;
                    Err(MetaError::Uncertain(told_to()))
                }
                Some(Failing::UncertainRenamed) => {
                    self.meanwhile(key, |record| record.name = "b".into()).await;
                    Err(MetaError::Uncertain(told_to()))
                }
            }
        }
        .boxed()
    }

    fn delete(&self, key: Key, expected: Version) -> BoxFuture<'_, Result<(), MetaError>> {
        let left = |left: usize| left.checked_sub(1);
        match self.deletes_left.fetch_update(Ordering::Relaxed, Ordering::Relaxed, left) {
            Ok(_) => self.inner.delete(key, expected),
            Err(_) => async { Err(MetaError::Unavailable(told_to())) }.boxed(),
        }
    }

    fn scan(
        &self,
        partition: Bytes,
        after: Option<Bytes>,
        limit: usize,
    ) -> BoxFuture<'_, Result<Vec<(Bytes, Entry)>, MetaError>> {
        self.inner.scan(partition, after, limit)
    }
}

/// A blob store that is full after `room` bytes more.
#[derive(Debug)]
struct SmallDisk {
    inner: InMemory,
    room: Arc<AtomicUsize>,
}

impl Default for SmallDisk {
    fn default() -> Self {
        Self { inner: InMemory::new(), room: Arc::new(AtomicUsize::new(usize::MAX)) }
    }
}

impl fmt::Display for SmallDisk {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a small disk")
    }
}

fn take_room(room: &AtomicUsize, bytes: usize) -> BlobResult<()> {
    let taken =
        room.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |room| room.checked_sub(bytes));
    taken.map(drop).map_err(|_| object_store::Error::Generic {
        store: "small disk",
        source: Box::new(std::io::Error::from(ErrorKind::StorageFull)),
    })
}

#[async_trait]
impl ObjectStore for SmallDisk {
    async fn put_opts(
        &self,
        location: &Path,
        payload: PutPayload,
        opts: PutOptions,
    ) -> BlobResult<PutResult> {
        take_room(&self.room, payload.content_length())?;
        self.inner.put_opts(location, payload, opts).await
    }

    async fn put_multipart_opts(
        &self,
        location: &Path,
        opts: PutMultipartOptions,
    ) -> BlobResult<Box<dyn MultipartUpload>> {
        let inner = self.inner.put_multipart_opts(location, opts).await?;
        Ok(Box::new(SmallUpload { inner, room: self.room.clone(), taken: 0 }))
    }

    async fn get_opts(&self, location: &Path, options: GetOptions) -> BlobResult<GetResult> {
        self.inner.get_opts(location, options).await
    }

    fn delete_stream(
        &self,
        locations: BoxStream<'static, BlobResult<Path>>,
    ) -> BoxStream<'static, BlobResult<Path>> {
        self.inner.delete_stream(locations)
    }

    fn list(&self, prefix: Option<&Path>) -> BoxStream<'static, BlobResult<ObjectMeta>> {
        self.inner.list(prefix)
    }

    async fn list_with_delimiter(&self, prefix: Option<&Path>) -> BlobResult<ListResult> {
        self.inner.list_with_delimiter(prefix).await
    }

    async fn copy_opts(&self, from: &Path, to: &Path, options: CopyOptions) -> BlobResult<()> {
        self.inner.copy_opts(from, to, options).await
    }
}

#[derive(Debug)]
struct SmallUpload {
    inner: Box<dyn MultipartUpload>,
    room: Arc<AtomicUsize>,
    taken: usize,
}

#[async_trait]
impl MultipartUpload for SmallUpload {
    fn put_part(&mut self, data: PutPayload) -> UploadPart {
        let bytes = data.content_length();
        if let Err(error) = take_room(&self.room, bytes) {
            return async move { Err(error) }.boxed();
        }
        self.taken += bytes;
        self.inner.put_part(data)
    }

    async fn complete(&mut self) -> BlobResult<PutResult> {
        self.inner.complete().await
    }

    async fn abort(&mut self) -> BlobResult<()> {
        self.room.fetch_add(self.taken, Ordering::Relaxed);
        self.inner.abort().await
    }
}
