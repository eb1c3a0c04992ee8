//! The embedded engine: fjall, a log-structured merge tree. docs/decisions/0001 says why.
//!
//! fjall takes no more writes after an I/O error, a full disk included, until it is opened anew. So
//! the handle is replaced after every error: readers hold it shared for the time of one read, and
//! opening waits for them.

use std::error::Error;
use std::path::{Path, PathBuf};
use std::sync::{PoisonError, RwLock};

use bytes::Bytes;
use fjall::{Database, Keyspace, KeyspaceCreateOptions, PersistMode};

use super::group::{Change, Engine, EngineError, Stored};

/// Where all entries are.
const KEYSPACE: &str = "meta";
/// What was written most recently is in memory up to this size, a few times over while it is
/// being written to tables.
const MEMTABLE_BYTES_MAX: u64 = 8 << 20;
/// All journals together, and so what is read again after a crash. The least that fjall takes.
const JOURNAL_BYTES_MAX: u64 = 64 << 20;
/// Threads that write tables and merge them.
const WORKERS: usize = 2;

/// A folder of fjall's.
pub struct FjallEngine {
    folder: PathBuf,
    cache_bytes: u64,
    /// `None` after an error, until the folder could be opened again.
    open: RwLock<Option<Handle>>,
}

struct Handle {
    database: Database,
    entries: Keyspace,
}

impl FjallEngine {
    /// Opens the folder, or creates it. Keeps up to `cache_bytes` of its tables in memory.
    pub fn open(folder: impl Into<PathBuf>, cache_bytes: usize) -> Result<Self, EngineError> {
        let (folder, cache_bytes) = (folder.into(), cache_bytes as u64);
        let handle = Handle::open(&folder, cache_bytes).map_err(classified)?;
        Ok(Self { folder, cache_bytes, open: RwLock::new(Some(handle)) })
    }

    /// Works with the open database, which it opens again first if need be.
    fn with<T>(&self, work: impl Fn(&Handle) -> fjall::Result<T>) -> Result<T, EngineError> {
        let outcome = match self.try_with(&work) {
            Some(outcome) => outcome,
            None => {
                self.reopen().map_err(classified)?;
                self.try_with(&work).unwrap_or(Err(fjall::Error::Poisoned))
            }
        };
        outcome.map_err(|error| {
            *self.open.write().unwrap_or_else(PoisonError::into_inner) = None;
            classified(error)
        })
    }

    fn try_with<T>(&self, work: impl Fn(&Handle) -> fjall::Result<T>) -> Option<fjall::Result<T>> {
        let open = self.open.read().unwrap_or_else(PoisonError::into_inner);
        open.as_ref().map(work)
    }

    fn reopen(&self) -> fjall::Result<()> {
        let mut open = self.open.write().unwrap_or_else(PoisonError::into_inner);
        if open.is_none() {
            *open = Some(Handle::open(&self.folder, self.cache_bytes)?);
        }
        Ok(())
    }
}

impl Handle {
    fn open(folder: &Path, cache_bytes: u64) -> fjall::Result<Self> {
        let database = Database::builder(folder)
            .cache_size(cache_bytes)
            .max_journaling_size(JOURNAL_BYTES_MAX)
            .worker_threads(WORKERS)
            .open()?;
        let options = || KeyspaceCreateOptions::default().max_memtable_size(MEMTABLE_BYTES_MAX);
        let entries = database.keyspace(KEYSPACE, options)?;
        Ok(Self { database, entries })
    }
}

impl Engine for FjallEngine {
    fn get(&self, key: &[u8]) -> Result<Option<Stored>, EngineError> {
        self.with(|handle| Ok(handle.entries.get(key)?.map(stored)))
    }

    fn scan(
        &self,
        from: &[u8],
        to: &[u8],
        limit: usize,
    ) -> Result<Vec<(Bytes, Stored)>, EngineError> {
        self.with(|handle| {
            let entries = handle.entries.range(from..to).take(limit).map(|entry| {
                let (key, value) = entry.into_inner()?;
                Ok((Bytes::copy_from_slice(&key), stored(value)))
            });
            entries.collect()
        })
    }

    fn commit(&self, changes: &[Change]) -> Result<(), EngineError> {
        self.with(|handle| {
            // One write to the journal and one fdatasync before this returns.
            let mut batch = handle.database.batch().durability(Some(PersistMode::SyncData));
            for (key, value) in changes {
                match value {
                    Some(value) => batch.insert(&handle.entries, &key[..], value.as_bytes()),
                    None => batch.remove(&handle.entries, &key[..]),
                }
            }
            batch.commit()
        })
    }
}

fn stored(value: fjall::UserValue) -> Stored {
    Stored::from_bytes(Bytes::copy_from_slice(&value))
}

fn classified(error: fjall::Error) -> EngineError {
    let full = crate::full::is_full(&error);
    let error: Box<dyn Error + Send + Sync> = Box::new(error);
    if full { EngineError::Full(error) } else { EngineError::Failed(error) }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::meta::{GroupCommit, Key, Meta as _};

    const CACHE_BYTES: usize = 1 << 20;

    fn open(folder: &Path) -> GroupCommit<FjallEngine> {
        GroupCommit::new(FjallEngine::open(folder, CACHE_BYTES).unwrap()).unwrap()
    }

    fn copy(from: &Path, to: &Path) {
        std::fs::create_dir(to).unwrap();
        for entry in std::fs::read_dir(from).unwrap() {
            let (entry, target) = entry.map(|e| (e.path(), to.join(e.file_name()))).unwrap();
            if entry.is_dir() {
                copy(&entry, &target);
            } else {
                std::fs::copy(entry, target).unwrap();
            }
        }
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 4)]
    async fn keeps_the_contract() {
        let folder = tempfile::tempdir().unwrap();
        let meta = Arc::new(open(&folder.path().join("meta")));
        crate::meta::conformance::run(meta.clone()).await;
        crate::meta::conformance::walk(&*meta).await;
    }

    #[tokio::test]
    async fn is_there_after_a_crash() {
        let folder = tempfile::tempdir().unwrap();
        let (live, crashed) = (folder.path().join("live"), folder.path().join("crashed"));
        let meta = open(&live);
        let key = Key::new("p", "k");
        let version = meta.put(key.clone(), "one".into(), None).await.unwrap();
        // What is on the disk at this moment, all files still open: as after a crash.
        copy(&live, &crashed);
        meta.put(key.clone(), "two".into(), Some(version)).await.unwrap();
        drop(meta);

        let found = open(&crashed).get(key.clone()).await.unwrap().unwrap();
        assert_eq!((found.version, &found.value[..]), (version, &b"one"[..]));
        assert_eq!(open(&live).get(key).await.unwrap().unwrap().value, "two");
    }

    #[tokio::test]
    async fn a_torn_end_of_the_journal_is_dropped() {
        let folder = tempfile::tempdir().unwrap();
        let (live, torn) = (folder.path().join("live"), folder.path().join("torn"));
        let meta = open(&live);
        let (kept, lost) = (Key::new("p", "kept"), Key::new("p", "lost"));
        meta.put(kept.clone(), "one".into(), None).await.unwrap();
        let before = journal(&live);
        meta.put(lost.clone(), "x".repeat(1000).into(), None).await.unwrap();
        let after = journal(&live);
        copy(&live, &torn);
        drop(meta);
        // The last commit reached the disk by half.
        let same = before.1.iter().zip(&after.1).take_while(|(a, b)| a == b).count();
        let mut half = after.1[..same + 500].to_vec();
        half.resize(after.1.len(), 0);
        std::fs::write(torn.join(before.0.strip_prefix(&live).unwrap()), half).unwrap();

        let meta = open(&torn);
        assert_eq!(meta.get(kept).await.unwrap().unwrap().value, "one");
        assert_eq!(meta.get(lost).await.unwrap(), None);
    }

    /// The one journal of a young database, and what is in it.
    fn journal(folder: &Path) -> (PathBuf, Vec<u8>) {
        let files = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
        let mut journals = files.filter(|path| path.extension().is_some_and(|e| e == "jnl"));
        let path = journals.next().unwrap();
        assert_eq!(journals.next(), None);
        let bytes = std::fs::read(&path).unwrap();
        (path, bytes)
    }

    #[tokio::test]
    async fn works_again_after_an_error() {
        let folder = tempfile::tempdir().unwrap();
        let engine = FjallEngine::open(folder.path().join("meta"), CACHE_BYTES).unwrap();
        engine.commit(&[("a".into(), Some(Stored::from_bytes("one")))]).unwrap();
        let failed: Result<(), _> = engine.with(|_| Err(fjall::Error::Poisoned));
        assert!(matches!(failed, Err(EngineError::Failed(_))));
        assert_eq!(engine.get(b"a").unwrap(), Some(Stored::from_bytes("one")));
        engine.commit(&[("a".into(), None)]).unwrap();
        assert_eq!(engine.get(b"a").unwrap(), None);
    }

    #[test]
    fn a_full_disk_is_recognized() {
        let full = || std::io::Error::from(std::io::ErrorKind::StorageFull);
        assert!(matches!(classified(fjall::Error::Io(full())), EngineError::Full(_)));
        assert!(matches!(classified(fjall::Error::Poisoned), EngineError::Failed(_)));
    }
}
