//! What a node keeps for the origin: small values in a file of their own, each durable before
//! anybody is told of it.
//!
//! One thread writes. What comes while it commits goes into its next commit, so that one sync of
//! the disk serves many. What is kept, but not its contents, is known in memory.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};

use bytes::Bytes;
use redb::{Database, ReadableDatabase as _, ReadableTable as _, TableDefinition};
use tokio::sync::{mpsc, oneshot};

const KEPT: TableDefinition<'_, &str, &[u8]> = TableDefinition::new("kept");
/// What may be kept at once: bytes of values, and how many values.
const BYTES_MAX: u64 = 1 << 30;
const VALUES_MAX: usize = 100_000;
/// The most changes of one commit.
const COMMIT_CHANGES_MAX: usize = 1_024;

/// Why something was not kept, not read or not forgotten.
#[derive(Debug, thiserror::Error)]
#[error("what is kept for the origin can't be read or written: {0}")]
pub struct KeptError(String);

impl KeptError {
    fn of(error: impl Into<redb::Error>) -> Self {
        Self(error.into().to_string())
    }
}

/// The store.
#[derive(Clone)]
pub(crate) struct Kept(Arc<Inner>);

struct Inner {
    file: File,
    index: Mutex<Index>,
    changes: mpsc::Sender<Change>,
}

/// The file. It is opened anew after it failed: an engine that met a full disk trusts itself no
/// more.
struct File {
    path: PathBuf,
    database: RwLock<Option<Database>>,
}

/// What is kept, by key: the value's length.
#[derive(Default)]
struct Index {
    values: BTreeMap<String, u64>,
    bytes: u64,
    reserved_bytes: u64,
    reserved: usize,
}

/// Room for one value. It is given back where nothing comes of it.
pub(crate) struct Room {
    inner: Arc<Inner>,
    bytes: u64,
}

/// A change of one key: a value that is new, or none.
struct Change {
    key: String,
    value: Option<Vec<u8>>,
    done: oneshot::Sender<Result<(), KeptError>>,
}

impl Kept {
    /// Opens the store at this path, or makes it.
    pub(crate) fn open(path: &Path) -> Result<Self, KeptError> {
        let database = Database::create(path).map_err(KeptError::of)?;
        let index = Index::read(&database)?;
        let file = File { path: path.to_owned(), database: RwLock::new(Some(database)) };
        let (changes, coming) = mpsc::channel(COMMIT_CHANGES_MAX);
        let inner = Arc::new(Inner { file, index: Mutex::new(index), changes });
        let weak = Arc::downgrade(&inner);
        let write = move || write(coming, &weak);
        std::thread::Builder::new()
            .name("kept".into())
            .spawn(write)
            .map_err(|error| KeptError(error.to_string()))?;
        Ok(Self(inner))
    }

    /// Room for a value of so many bytes, if there is any.
    pub(crate) fn room(&self, bytes: u64) -> Option<Room> {
        let mut index = self.0.index();
        let full = index.bytes + index.reserved_bytes + bytes > BYTES_MAX
            || index.values.len() + index.reserved >= VALUES_MAX;
        if full {
            return None;
        }
        index.reserved_bytes += bytes;
        index.reserved += 1;
        Some(Room { inner: self.0.clone(), bytes })
    }

    /// Keeps a value. It is durable, and found, when this returns; it may be, even if the caller
    /// does not wait for that.
    pub(crate) async fn keep(
        &self,
        _room: Room,
        key: String,
        value: Vec<u8>,
    ) -> Result<(), KeptError> {
        self.change(key, Some(value)).await
    }

    /// Forgets a value.
    pub(crate) async fn forget(&self, key: String) -> Result<(), KeptError> {
        self.change(key, None).await
    }

    async fn change(&self, key: String, value: Option<Vec<u8>>) -> Result<(), KeptError> {
        let (done, outcome) = oneshot::channel();
        let gone = || KeptError("its thread is gone".to_owned());
        self.0.changes.send(Change { key, value, done }).await.map_err(|_| gone())?;
        outcome.await.map_err(|_| gone())?
    }

    /// Reads a value. That there is none is known without looking.
    pub(crate) async fn read(&self, key: &str) -> Result<Option<Bytes>, KeptError> {
        if !self.0.index().values.contains_key(key) {
            return Ok(None);
        }
        let (inner, key) = (self.0.clone(), key.to_owned());
        let read = tokio::task::spawn_blocking(move || inner.file.read(&key)).await;
        read.map_err(|error| KeptError(error.to_string()))?
    }

    /// The first key that begins with `prefix` and comes after `after`.
    pub(crate) fn next(&self, prefix: &str, after: Option<&str>) -> Option<String> {
        use std::ops::Bound::{Excluded, Included, Unbounded};
        let from = after.map_or(Included(prefix), Excluded);
        let index = self.0.index();
        let (key, _) = index.values.range::<str, _>((from, Unbounded)).next()?;
        key.starts_with(prefix).then(|| key.clone())
    }

    /// How much is kept: values, and their bytes.
    pub(crate) fn size(&self) -> (u64, u64) {
        let index = self.0.index();
        (index.values.len() as u64, index.bytes)
    }
}

impl Inner {
    fn index(&self) -> MutexGuard<'_, Index> {
        self.index.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Room {
    fn drop(&mut self) {
        let mut index = self.inner.index();
        index.reserved_bytes -= self.bytes;
        index.reserved -= 1;
    }
}

impl Index {
    fn read(database: &Database) -> Result<Self, KeptError> {
        let read = database.begin_read().map_err(KeptError::of)?;
        let table = match read.open_table(KEPT) {
            Ok(table) => table,
            Err(redb::TableError::TableDoesNotExist(_)) => return Ok(Self::default()),
            Err(error) => return Err(KeptError::of(error)),
        };
        let mut index = Self::default();
        for entry in table.iter().map_err(KeptError::of)? {
            let (key, value) = entry.map_err(KeptError::of)?;
            index.put(key.value().to_owned(), Some(value.value().len() as u64));
        }
        Ok(index)
    }

    fn put(&mut self, key: String, bytes: Option<u64>) {
        let before = match bytes {
            Some(bytes) => self.values.insert(key, bytes),
            None => self.values.remove(&key),
        };
        self.bytes = self.bytes + bytes.unwrap_or_default() - before.unwrap_or_default();
    }
}

impl File {
    fn read(&self, key: &str) -> Result<Option<Bytes>, KeptError> {
        let database = self.database.read().unwrap_or_else(PoisonError::into_inner);
        let read = database.as_ref().ok_or_else(closed)?.begin_read().map_err(KeptError::of)?;
        let table = match read.open_table(KEPT) {
            Ok(table) => table,
            Err(redb::TableError::TableDoesNotExist(_)) => return Ok(None),
            Err(error) => return Err(KeptError::of(error)),
        };
        let value = table.get(key).map_err(KeptError::of)?;
        Ok(value.map(|value| Bytes::copy_from_slice(value.value())))
    }

    /// Makes all of these changes, durably, or none of them.
    fn commit(&self, changes: &[Change]) -> Result<(), KeptError> {
        let database = self.database.read().unwrap_or_else(PoisonError::into_inner);
        let write = database.as_ref().ok_or_else(closed)?.begin_write().map_err(KeptError::of)?;
        {
            let mut table = write.open_table(KEPT).map_err(KeptError::of)?;
            for Change { key, value, .. } in changes {
                let key = key.as_str();
                let changed = match value {
                    Some(value) => table.insert(key, value.as_slice()).map(drop),
                    None => table.remove(key).map(drop),
                };
                changed.map_err(KeptError::of)?;
            }
        }
        // Synced to the disk: redb's durability is immediate unless another is chosen.
        write.commit().map_err(KeptError::of)
    }

    fn open_anew(&self) {
        let mut database = self.database.write().unwrap_or_else(PoisonError::into_inner);
        *database = None;
        match Database::open(&self.path) {
            Ok(opened) => *database = Some(opened),
            Err(error) => tracing::error!("{}", KeptError::of(error)),
        }
    }
}

fn closed() -> KeptError {
    KeptError("it could not be opened again".to_owned())
}

/// Writes what is to be changed until nobody is left to change anything.
fn write(mut coming: mpsc::Receiver<Change>, store: &std::sync::Weak<Inner>) {
    while let Some(first) = coming.blocking_recv() {
        let mut changes = vec![first];
        while changes.len() < COMMIT_CHANGES_MAX
            && let Ok(change) = coming.try_recv()
        {
            changes.push(change);
        }
        let Some(store) = store.upgrade() else { return };
        let committed = store.file.commit(&changes);
        if let Err(error) = &committed {
            tracing::error!("{error}");
            store.file.open_anew();
        }
        let mut told = Vec::with_capacity(changes.len());
        for Change { key, value, done } in changes {
            if committed.is_ok() {
                store.index().put(key, value.map(|value| value.len() as u64));
            }
            told.push(done);
        }
        // Whoever is told may close the store and open it again.
        drop(store);
        for done in told {
            let outcome = committed.as_ref().copied();
            let outcome = outcome.map_err(|KeptError(error)| KeptError(error.clone()));
            let _ = done.send(outcome); // Who asked may be gone; the change is made all the same.
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn put(kept: &Kept, key: &str, value: &[u8]) {
        let room = kept.room(value.len() as u64).unwrap();
        kept.keep(room, key.to_owned(), value.to_vec()).await.unwrap();
    }

    #[tokio::test]
    async fn values_outlive_the_store() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("kept");
        let kept = Kept::open(&path).unwrap();
        put(&kept, "a/1", b"one").await;
        put(&kept, "a/2", b"two").await;
        put(&kept, "b/1", b"three").await;
        kept.forget("a/1".into()).await.unwrap();
        assert_eq!(kept.size(), (2, 8));
        drop(kept);
        let kept = Kept::open(&path).unwrap();
        assert_eq!(kept.size(), (2, 8));
        assert_eq!(kept.read("a/2").await.unwrap().unwrap(), "two");
        assert_eq!(kept.read("a/1").await.unwrap(), None);
        kept.forget("a/1".into()).await.unwrap();
    }

    #[tokio::test]
    async fn keys_come_in_their_order() {
        let folder = tempfile::tempdir().unwrap();
        let kept = Kept::open(&folder.path().join("kept")).unwrap();
        for key in ["b/1", "a/2", "a/1"] {
            put(&kept, key, b"").await;
        }
        assert_eq!(kept.next("a/", None).as_deref(), Some("a/1"));
        assert_eq!(kept.next("a/", Some("a/1")).as_deref(), Some("a/2"));
        assert_eq!(kept.next("a/", Some("a/2")), None);
        assert_eq!(kept.next("a/2", None).as_deref(), Some("a/2"));
        assert_eq!(kept.next("", Some("a/2")).as_deref(), Some("b/1"));
    }

    #[tokio::test]
    async fn there_is_no_more_room_than_that() {
        let folder = tempfile::tempdir().unwrap();
        let kept = Kept::open(&folder.path().join("kept")).unwrap();
        put(&kept, "a/1", b"one").await;
        assert!(kept.room(BYTES_MAX - 2).is_none());
        let room = kept.room(BYTES_MAX - 3).unwrap();
        assert!(kept.room(1).is_none());
        drop(room);
        assert!(kept.room(1).is_some());
        let many: Vec<_> = (1..VALUES_MAX).map(|_| kept.room(0).unwrap()).collect();
        assert!(kept.room(0).is_none());
        drop(many);
        assert!(kept.room(0).is_some());
    }

    #[tokio::test]
    async fn many_at_once_share_commits() {
        let folder = tempfile::tempdir().unwrap();
        let kept = Kept::open(&folder.path().join("kept")).unwrap();
        let keys: Vec<_> = (0..300).map(|number| format!("a/{number}")).collect();
        futures::future::join_all(keys.iter().map(|key| put(&kept, key, b"1"))).await;
        assert_eq!(kept.size(), (300, 300));
    }

    #[tokio::test]
    async fn a_store_that_failed_is_opened_anew() {
        let folder = tempfile::tempdir().unwrap();
        let kept = Kept::open(&folder.path().join("kept")).unwrap();
        put(&kept, "a/1", b"one").await;
        *kept.0.file.database.write().unwrap() = None;
        let refused = kept.keep(kept.room(1).unwrap(), "a/2".into(), b"2".to_vec()).await;
        assert!(refused.is_err());
        put(&kept, "a/3", b"three").await;
        assert_eq!(kept.read("a/1").await.unwrap().unwrap(), "one");
        assert_eq!(kept.size(), (2, 8));
    }
}
