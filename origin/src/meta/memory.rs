//! Metadata in memory, for tests: the contract of [`Meta`] in its plainest form, durability aside.

use std::collections::BTreeMap;
use std::ops::Bound;
use std::sync::{Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use futures::future::{BoxFuture, FutureExt as _, ready};

use super::{Entry, Key, Meta, MetaError, SCAN_ENTRIES_MAX, Version, Walk, check_sizes};

/// Metadata that ends with the process.
#[derive(Debug, Default)]
pub struct MemoryMeta {
    entries: Mutex<BTreeMap<Key, Entry>>,
}

impl MemoryMeta {
    /// No change is made in steps, so what a panicking thread leaves behind is whole.
    fn entries(&self) -> MutexGuard<'_, BTreeMap<Key, Entry>> {
        self.entries.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn put_now(
        &self,
        key: Key,
        value: Bytes,
        expected: Option<Version>,
    ) -> Result<Version, MetaError> {
        check_sizes(&key, &value)?;
        let mut entries = self.entries();
        if entries.get(&key).map(|entry| entry.version) != expected {
            return Err(MetaError::Conflict);
        }
        let version = Version::fresh();
        entries.insert(key, Entry { version, value });
        Ok(version)
    }

    fn delete_now(&self, key: &Key, expected: Version) -> Result<(), MetaError> {
        let mut entries = self.entries();
        if entries.get(key).map(|entry| entry.version) != Some(expected) {
            return Err(MetaError::Conflict);
        }
        entries.remove(key);
        Ok(())
    }

    fn scan_now(
        &self,
        partition: &Bytes,
        after: Option<Bytes>,
        limit: usize,
    ) -> Vec<(Bytes, Entry)> {
        let begin = match after {
            Some(after) => Bound::Excluded(Key::new(partition.clone(), after)),
            None => Bound::Included(Key::new(partition.clone(), Bytes::new())),
        };
        self.entries()
            .range((begin, Bound::Unbounded))
            .take_while(|(key, _)| key.partition == *partition)
            .take(limit.min(SCAN_ENTRIES_MAX))
            .map(|(key, entry)| (key.key.clone(), entry.clone()))
            .collect()
    }
}

impl Meta for MemoryMeta {
    fn get(&self, key: Key) -> BoxFuture<'_, Result<Option<Entry>, MetaError>> {
        ready(Ok(self.entries().get(&key).cloned())).boxed()
    }

    fn put(
        &self,
        key: Key,
        value: Bytes,
        expected: Option<Version>,
    ) -> BoxFuture<'_, Result<Version, MetaError>> {
        ready(self.put_now(key, value, expected)).boxed()
    }

    fn delete(&self, key: Key, expected: Version) -> BoxFuture<'_, Result<(), MetaError>> {
        ready(self.delete_now(&key, expected)).boxed()
    }

    fn scan(
        &self,
        partition: Bytes,
        after: Option<Bytes>,
        limit: usize,
    ) -> BoxFuture<'_, Result<Vec<(Bytes, Entry)>, MetaError>> {
        ready(Ok(self.scan_now(&partition, after, limit))).boxed()
    }
}

impl Walk for MemoryMeta {
    fn walk(
        &self,
        after: Option<Key>,
        limit: usize,
    ) -> BoxFuture<'_, Result<Vec<(Key, Entry)>, MetaError>> {
        let begin = after.map_or(Bound::Unbounded, Bound::Excluded);
        let entries = self.entries();
        let behind = entries.range((begin, Bound::Unbounded)).take(limit.min(SCAN_ENTRIES_MAX));
        let found = behind.map(|(key, entry)| (key.clone(), entry.clone())).collect();
        ready(Ok(found)).boxed()
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;

    #[tokio::test(flavor = "multi_thread", worker_threads = 4)]
    async fn keeps_the_contract() {
        let meta = Arc::new(MemoryMeta::default());
        crate::meta::conformance::run(meta.clone()).await;
        crate::meta::conformance::walk(&*meta).await;
    }
}
