//! The metadata as one process sees it: slow, failing, full, uncertain, and changed by others.

use std::fmt;
use std::io;
use std::sync::Arc;

use bytes::Bytes;
use futures::future::{BoxFuture, FutureExt as _};

use super::faults::Fault;
use super::scene::{Change, Scene};
use super::schedule::Domain;
use crate::meta::{Entry, Key, Meta, MetaError, SCAN_ENTRIES_MAX, VALUE_BYTES_MAX, Version, Walk};

/// How often in a row somebody else is first.
const TOUCHES_MAX: u64 = 20;

/// A process's way to the metadata.
pub(super) struct FaultyMeta {
    scene: Arc<Scene>,
    by: Domain,
    /// Somebody else is first for so many writes more.
    touches: std::sync::atomic::AtomicU64,
}

impl FaultyMeta {
    pub(super) fn new(scene: Arc<Scene>, by: Domain) -> Self {
        Self { scene, by, touches: Default::default() }
    }

    async fn read<T>(&self, what: &str, read: impl FnOnce() -> T + Send) -> Result<T, MetaError> {
        let place = Place { by: self.by, what: &what };
        self.begin(&place).await?;
        let found = read();
        self.scene.take_time(Fault::MetaSlow, &place).await;
        Ok(found)
    }

    async fn begin(&self, place: &Place<'_>) -> Result<(), MetaError> {
        self.scene.state().calls += 1;
        self.scene.take_time(Fault::MetaSlow, place).await;
        self.scene.catch_up();
        if self.scene.strikes(Fault::MetaRefused, place) {
            return Err(MetaError::Unavailable(told_to()));
        }
        Ok(())
    }

    async fn write(&self, change: Change) -> Result<Version, MetaError> {
        let shown = change.to_string();
        let place = Place { by: self.by, what: &shown };
        let mut sent = Sent { scene: &self.scene, by: self.by, change: Some(change) };
        if let Err(error) = self.begin(&place).await {
            sent.done();
            return Err(error);
        }
        let Some(change) = sent.done() else { return Err(MetaError::Conflict) };
        self.check(&change)?;
        if self.scene.strikes(Fault::MetaUncertainNotDone, &place) {
            return Err(MetaError::Uncertain(told_to()));
        }
        if self.scene.strikes(Fault::MetaUncertainLater, &place) {
            self.scene.make_later(self.by, change);
            return Err(MetaError::Uncertain(told_to()));
        }
        self.let_others_first(&change.key, &place);
        let made = self.scene.make(change);
        let outcome = if made.is_ok() { "done" } else { "conflict" };
        self.scene.note(format_args!("{place}: {outcome}"));
        self.scene.take_time(Fault::MetaSlow, &place).await;
        if self.scene.strikes(Fault::MetaUncertainDone, &place) {
            return Err(MetaError::Uncertain(told_to()));
        }
        made
    }

    fn check(&self, change: &Change) -> Result<(), MetaError> {
        let bytes = change.value.as_ref().map_or(0, Bytes::len);
        if bytes > VALUE_BYTES_MAX {
            return Err(MetaError::TooLarge("the value"));
        }
        if change.value.is_some() && self.scene.state().is_full {
            return Err(MetaError::Full(Arc::new(io::Error::from(io::ErrorKind::StorageFull))));
        }
        Ok(())
    }

    /// A storm of changes by others: the key is in another state whenever one looks.
    fn let_others_first(&self, key: &Key, place: &Place<'_>) {
        use std::sync::atomic::Ordering::Relaxed;
        let left = self.touches.load(Relaxed);
        if left > 0 && !self.scene.is_healed() {
            self.touches.store(left - 1, Relaxed);
            self.scene.state().touch(key);
        } else if self.scene.strikes(Fault::MetaConflict, place) {
            let more = if self.scene.dice.one_in(4) { TOUCHES_MAX } else { 2 };
            self.touches.store(self.scene.dice.below(more), Relaxed);
            self.scene.state().touch(key);
        }
    }
}

impl Meta for FaultyMeta {
    fn get(&self, key: Key) -> BoxFuture<'_, Result<Option<Entry>, MetaError>> {
        async move { self.read("get", || self.scene.state().get(&key)).await }.boxed()
    }

    fn put(
        &self,
        key: Key,
        value: Bytes,
        expected: Option<Version>,
    ) -> BoxFuture<'_, Result<Version, MetaError>> {
        self.write(Change { key, value: Some(value), expected }).boxed()
    }

    fn delete(&self, key: Key, expected: Version) -> BoxFuture<'_, Result<(), MetaError>> {
        let change = Change { key, value: None, expected: Some(expected) };
        async move { self.write(change).await.map(drop) }.boxed()
    }

    fn scan(
        &self,
        partition: Bytes,
        after: Option<Bytes>,
        limit: usize,
    ) -> BoxFuture<'_, Result<Vec<(Bytes, Entry)>, MetaError>> {
        let limit = limit.min(SCAN_ENTRIES_MAX);
        let scan = move || self.scene.state().scan(&partition, after.as_ref(), limit);
        async move { self.read("scan", scan).await }.boxed()
    }
}

impl Walk for FaultyMeta {
    fn walk(
        &self,
        after: Option<Key>,
        limit: usize,
    ) -> BoxFuture<'_, Result<Vec<(Key, Entry)>, MetaError>> {
        let limit = limit.min(SCAN_ENTRIES_MAX);
        let walk = move || self.scene.state().walk(after.as_ref(), limit);
        async move { self.read("walk", walk).await }.boxed()
    }
}

/// A change on its way. One whose maker is gone before it arrived may be made all the same.
struct Sent<'a> {
    scene: &'a Scene,
    by: Domain,
    change: Option<Change>,
}

impl Sent<'_> {
    fn done(&mut self) -> Option<Change> {
        self.change.take()
    }
}

impl Drop for Sent<'_> {
    fn drop(&mut self) {
        if let Some(change) = self.change.take()
            && self.scene.dice.one_in(2)
        {
            self.scene.make_later(self.by, change);
        }
    }
}

/// Who does what, for the trace.
struct Place<'a> {
    by: Domain,
    what: &'a (dyn fmt::Display + Sync),
}

impl fmt::Display for Place<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "origin {}: {}", self.by, self.what)
    }
}

fn told_to() -> Arc<dyn std::error::Error + Send + Sync> {
    Arc::new(io::Error::other("the simulation says so"))
}
