//! A store with a collector and a check, for tests, with a clock that they move. Parts have the time
//! of this machine, so the clock begins there.

use std::sync::atomic::{AtomicU64, Ordering};

use futures::TryStreamExt as _;
use futures::stream::StreamExt as _;
use object_store::memory::InMemory;
use object_store::path::Path;
use object_store::{ObjectStore as _, ObjectStoreExt as _};

use super::*;
use crate::environment::{Environment, System};
use crate::fixtures::{alice, description, intake};
use crate::fsck::Fsck;
use crate::meta::{MemoryMeta, Meta as _};
use crate::record::{Concat, Opening};
use crate::store::{AppendError, Completes, Held, PartPolicy, day_of};

pub(crate) const HOUR: u64 = 3600;
pub(crate) const DAY: u64 = 24 * HOUR;
pub(crate) const WEEK: u64 = 7 * DAY;

/// Real time, moved on.
#[derive(Default)]
pub(crate) struct Moved(pub(crate) AtomicU64);

impl Environment for Moved {
    fn unix_ms(&self) -> u64 {
        System.unix_ms() + self.0.load(Ordering::Relaxed)
    }

    fn random(&self) -> u64 {
        System.random() & !(1 << 61) // Ids of the origin's own.
    }
}

pub(crate) struct Scene {
    pub(crate) collector: Collector,
    pub(crate) fsck: Fsck,
    pub(crate) store: Store,
    pub(crate) meta: Arc<MemoryMeta>,
    pub(crate) disk: Arc<InMemory>,
    pub(crate) clock: Arc<Moved>,
}

impl Scene {
    pub(crate) fn new() -> Self {
        let (meta, disk) = (Arc::new(MemoryMeta::default()), Arc::new(InMemory::new()));
        let clock = Arc::new(Moved::default());
        let parts = PartPolicy {
            bytes_min: 4 << 10,
            bytes_max: 1 << 30,
            age_max: Duration::from_secs(60),
            content_bytes_max: 0,
        };
        let store = Store::new(meta.clone(), disk.clone(), 1 << 10, 0, parts, clock.clone());
        let store = store.with_expiry(Some(Duration::from_secs(WEEK)));
        let metrics = Arc::new(Metrics::new(Arc::default()));
        let collector = Collector::new(store.clone(), Collection::default(), None, metrics);
        let fsck = Fsck::new(store.clone(), meta.clone(), collector.clone());
        Self { collector, fsck, store, meta, disk, clock }
    }

    /// Another origin on the same store. It does not know who works at the first.
    pub(crate) fn elsewhere(&self) -> Collector {
        let store = self.store.elsewhere();
        Collector { store, ..self.collector.clone() }
    }

    pub(crate) fn pass(&self, seconds: u64) {
        self.clock.0.fetch_add(seconds * 1000, Ordering::Relaxed);
    }

    pub(crate) async fn begin(&self, opening: Opening) -> Held {
        self.store.begin(&alice(), description(), opening).await.unwrap()
    }

    pub(crate) async fn append(&self, held: &Held, bytes: &[u8]) -> Result<Held, AppendError> {
        self.store.append(held.clone(), &mut intake(bytes), Completes::AtLength).await
    }

    pub(crate) async fn file(&self, bytes: &[u8]) -> Held {
        self.store.store_whole(&alice(), description(), &mut intake(bytes)).await.unwrap()
    }

    pub(crate) async fn partial(&self, bytes: &[u8]) -> Held {
        let concat = Some(Concat::Partial { claimed_by: None });
        let length = Some(bytes.len() as u64);
        let held = self.begin(Opening { concat, length, ..Opening::default() }).await;
        self.append(&held, bytes).await.unwrap()
    }

    pub(crate) async fn expire(&self, file: &Held, after_s: u64) {
        let expires_s = self.store.now_s() + after_s;
        self.store.expect_expiry(file, expires_s).await.unwrap();
        let changed = self.store.change(file.id, |record| {
            record.expires_s = Some(expires_s);
            Ok::<_, ()>(())
        });
        changed.await.unwrap();
    }

    pub(crate) async fn content(&self, held: &Held) -> Vec<u8> {
        let held = self.store.load(held.id).await.unwrap().unwrap();
        let read = self.store.read(&held, 0..held.record.offset());
        let chunks: Vec<_> = read.try_collect().await.unwrap();
        chunks.concat()
    }

    pub(crate) async fn is_there(&self, held: &Held) -> bool {
        matches!(self.store.slot(held.id).await.unwrap(), Slot::Held(_))
    }

    pub(crate) async fn round(&self) -> Collected {
        self.collector.round(Mode::Remove).await.unwrap()
    }

    pub(crate) async fn parts(&self) -> usize {
        self.disk.list(None).count().await
    }

    /// How many entries of the index of what is due there are, within the next months.
    pub(crate) async fn due(&self) -> usize {
        let today = day_of(self.store.now_s());
        let mut count = 0;
        for day in today - 60..today + 60 {
            count += self.store.due(day, None, 1000).await.unwrap().len();
        }
        count
    }

    pub(crate) async fn listed(&self) -> usize {
        self.meta.scan("list/demo\0alice".into(), None, 1000).await.unwrap().len()
    }

    /// Everything that is stored.
    pub(crate) async fn everything(&self) -> Vec<String> {
        let mut all = vec![format!("{:?}", self.meta)];
        let mut objects: Vec<_> =
            self.disk.list(None).map_ok(|o| o.location.to_string()).try_collect().await.unwrap();
        objects.sort();
        all.extend(objects);
        all
    }

    /// Where one of a file's parts is.
    pub(crate) async fn path_of(&self, held: &Held, place: usize) -> Path {
        let name = held.record.part_names(held.id)[place];
        let id = name.writer.to_string();
        Path::from(format!("{}/{id}-{:016x}", &id[id.len() - 2..], name.nonce))
    }

    /// A part of `writer` that no record names.
    pub(crate) async fn garbage(&self, writer: FileId) {
        let id = writer.to_string();
        let path = Path::from(format!("{}/{id}-00000000000000aa", &id[id.len() - 2..]));
        self.disk.put(&path, "garbage".into()).await.unwrap();
    }
}
