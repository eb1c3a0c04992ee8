//! The embedded engine: redb, a copy-on-write B-tree in one file. docs/decisions/0001 says why.
//!
//! redb refuses all further work after an I/O error, a full disk included, until the file is
//! opened anew. So the handle is replaced after every error: readers hold it shared for the time
//! of one read, and opening waits for them.

use std::error::Error;
use std::path::{Path, PathBuf};
use std::sync::{PoisonError, RwLock};

use bytes::Bytes;
use redb::{Builder, Database, ReadableDatabase as _, TableDefinition};

use super::group::{Change, Engine, EngineError, Stored};

/// Where all entries are.
const TABLE: TableDefinition<'_, &[u8], &[u8]> = TableDefinition::new("meta");

/// A redb file.
#[derive(Debug)]
pub struct RedbEngine {
    path: PathBuf,
    cache_bytes: usize,
    /// `None` after an error, until the file could be opened again.
    database: RwLock<Option<Database>>,
}

impl RedbEngine {
    /// Opens the file, or creates it. Keeps up to `cache_bytes` of it in memory.
    pub fn open(path: impl Into<PathBuf>, cache_bytes: usize) -> Result<Self, EngineError> {
        let path = path.into();
        let database = open(&path, cache_bytes)?;
        Ok(Self { path, cache_bytes, database: RwLock::new(Some(database)) })
    }

    /// Works with the open file, which it opens again first if need be.
    fn with<T>(
        &self,
        work: impl Fn(&Database) -> Result<T, redb::Error>,
    ) -> Result<T, EngineError> {
        let outcome = self.try_with(&work);
        let outcome = match outcome {
            Some(outcome) => outcome,
            None => {
                self.reopen()?;
                self.try_with(&work).unwrap_or(Err(redb::Error::DatabaseClosed))
            }
        };
        outcome.map_err(|error| {
            *self.database.write().unwrap_or_else(PoisonError::into_inner) = None;
            classified(error)
        })
    }

    fn try_with<T>(
        &self,
        work: impl Fn(&Database) -> Result<T, redb::Error>,
    ) -> Option<Result<T, redb::Error>> {
        let database = self.database.read().unwrap_or_else(PoisonError::into_inner);
        database.as_ref().map(work)
    }

    fn reopen(&self) -> Result<(), EngineError> {
        let mut database = self.database.write().unwrap_or_else(PoisonError::into_inner);
        if database.is_none() {
            *database = Some(open(&self.path, self.cache_bytes)?);
        }
        Ok(())
    }
}

impl Engine for RedbEngine {
    fn get(&self, key: &[u8]) -> Result<Option<Stored>, EngineError> {
        self.with(|database| {
            let table = database.begin_read()?.open_table(TABLE)?;
            Ok(table.get(key)?.map(|value| stored(value.value())))
        })
    }

    fn scan(
        &self,
        from: &[u8],
        to: &[u8],
        limit: usize,
    ) -> Result<Vec<(Bytes, Stored)>, EngineError> {
        self.with(|database| {
            let table = database.begin_read()?.open_table(TABLE)?;
            let entries = table.range(from..to)?.take(limit).map(|entry| {
                let (key, value) = entry?;
                Ok((Bytes::copy_from_slice(key.value()), stored(value.value())))
            });
            entries.collect()
        })
    }

    fn commit(&self, changes: &[Change]) -> Result<(), EngineError> {
        self.with(|database| {
            let transaction = database.begin_write()?;
            {
                let mut table = transaction.open_table(TABLE)?;
                for (key, value) in changes {
                    match value {
                        Some(value) => table.insert(key.as_ref(), value.as_bytes())?,
                        None => table.remove(key.as_ref())?,
                    };
                }
            }
            // redb's default durability is one fsync before this returns.
            Ok(transaction.commit()?)
        })
    }
}

fn open(path: &Path, cache_bytes: usize) -> Result<Database, EngineError> {
    let create = || -> Result<Database, redb::Error> {
        let database = Builder::new().set_cache_size(cache_bytes).create(path)?;
        let transaction = database.begin_write()?;
        transaction.open_table(TABLE)?;
        transaction.commit()?;
        Ok(database)
    };
    create().map_err(classified)
}

fn stored(value: &[u8]) -> Stored {
    Stored::from_bytes(Bytes::copy_from_slice(value))
}

fn classified(error: redb::Error) -> EngineError {
    // redb names no source, so its I/O error is taken out by hand.
    let full = matches!(&error, redb::Error::Io(source) if crate::full::is_full(source));
    let error: Box<dyn Error + Send + Sync> = Box::new(error);
    if full { EngineError::Full(error) } else { EngineError::Failed(error) }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::meta::{GroupCommit, Key, Meta as _};

    const CACHE_BYTES: usize = 1 << 20;

    fn open(path: &Path) -> GroupCommit<RedbEngine> {
        GroupCommit::new(RedbEngine::open(path, CACHE_BYTES).unwrap()).unwrap()
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 4)]
    async fn keeps_the_contract() {
        let folder = tempfile::tempdir().unwrap();
        crate::meta::conformance::run(Arc::new(open(&folder.path().join("meta")))).await;
    }

    #[tokio::test]
    async fn is_there_after_a_crash() {
        let folder = tempfile::tempdir().unwrap();
        let (live, copy) = (folder.path().join("live"), folder.path().join("copy"));
        let meta = open(&live);
        let key = Key::new("p", "k");
        let version = meta.put(key.clone(), "one".into(), None).await.unwrap();
        // What is on the disk at this moment, the file still open: as after a crash.
        std::fs::copy(&live, &copy).unwrap();
        meta.put(key.clone(), "two".into(), Some(version)).await.unwrap();
        drop(meta);

        let crashed = open(&copy).get(key.clone()).await.unwrap().unwrap();
        assert_eq!((crashed.version, &crashed.value[..]), (version, &b"one"[..]));
        assert_eq!(open(&live).get(key).await.unwrap().unwrap().value, "two");
    }

    #[tokio::test]
    async fn works_again_after_an_error() {
        let folder = tempfile::tempdir().unwrap();
        let engine = RedbEngine::open(folder.path().join("meta"), CACHE_BYTES).unwrap();
        engine.commit(&[("a".into(), Some(Stored::from_bytes("one")))]).unwrap();
        let failed: Result<(), _> = engine.with(|_| Err(redb::Error::PreviousIo));
        assert!(matches!(failed, Err(EngineError::Failed(_))));
        assert_eq!(engine.get(b"a").unwrap(), Some(Stored::from_bytes("one")));
        engine.commit(&[("a".into(), None)]).unwrap();
        assert_eq!(engine.get(b"a").unwrap(), None);
    }
}
