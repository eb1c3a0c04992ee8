//! Spin's key-value store: reads and writes, and changes that nobody gets in between.

use spin_sdk::experimental::wasi::keyvalue::atomics::{Cas, CasError, swap};
use spin_sdk::experimental::wasi::keyvalue::store::{Bucket, Error, open};
use spin_sdk::key_value;

/// The store's label in spin.toml.
const LABEL: &str = "default";
/// How often a change is tried while others change the same value.
const SWAPS_MAX: usize = 32;

/// The store.
pub(crate) struct Store {
    values: key_value::Store,
    /// The same store by `wasi:keyvalue`, whose calls keep the whole instance waiting, but which
    /// has the compare-and-swap that `spin:key-value` lacks.
    bucket: Bucket,
    /// Put before every key.
    prefix: String,
}

/// What to do with a value.
pub(crate) enum Change<T> {
    Leave(T),
    Put(Vec<u8>, T),
}

/// Why a value could not be changed.
pub(crate) enum Unchanged {
    /// Others changed it all the time.
    Contended,
    /// The store failed.
    Failed,
}

impl Store {
    /// Opens the store. The error says where it is named.
    pub(crate) async fn open(prefix: String) -> Result<Self, String> {
        let missing = |error: String| {
            format!(
                "the key-value store `{LABEL}` can't be opened ({error}): name it in spin.toml \
                 below [component.edge] in key_value_stores"
            )
        };
        let values =
            key_value::Store::open(LABEL).await.map_err(|error| missing(error.to_string()))?;
        let bucket = open(LABEL).map_err(|error| missing(format!("{error:?}")))?;
        Ok(Self { values, bucket, prefix })
    }

    /// The value at a key.
    pub(crate) async fn get(&self, key: &str) -> Option<Vec<u8>> {
        let read = self.values.get(self.key(key)).await;
        read.unwrap_or_else(|error| {
            crate::log(&format!("{key} can't be read: {error}"));
            None
        })
    }

    /// Puts a value at a key. False where the store failed.
    pub(crate) async fn set(&self, key: &str, value: &[u8]) -> bool {
        let written = self.values.set(self.key(key), value).await;
        written.inspect_err(|error| crate::log(&format!("{key} can't be written: {error}"))).is_ok()
    }

    /// Changes a value as `change` says, which is asked anew where another was faster. What it
    /// says must be another value each time, so that it can be recognized.
    ///
    /// Where the store can't compare and swap, or an instance has used up the handles for it that
    /// Spin allows (256, of which old versions give none back), the value is read and written,
    /// and another's change in between is lost.
    pub(crate) fn change<T>(
        &self,
        key: &str,
        mut change: impl FnMut(Option<Vec<u8>>) -> Change<T>,
    ) -> Result<T, Unchanged> {
        let key = self.key(key);
        let mut tried = None;
        for _ in 0..SWAPS_MAX {
            let Ok(cas) = Cas::new(&self.bucket, &key) else { return self.overwrite(&key, change) };
            // Spin's own store compares with what was read here, not with what was there before.
            let Ok(current) = cas.current() else { return self.overwrite(&key, change) };
            // Spin's Redis store says of some swaps that they failed, and has made them.
            if let Some((value, done)) = tried.take()
                && current.as_ref() == Some(&value)
            {
                return Ok(done);
            }
            let (value, done) = match change(current) {
                Change::Leave(done) => return Ok(done),
                Change::Put(value, done) => (value, done),
            };
            match swap(cas, &value) {
                Ok(()) => return Ok(done),
                Err(CasError::CasFailed(_)) => tried = Some((value, done)),
                Err(CasError::StoreError(_)) => return self.overwrite(&key, change),
            }
        }
        Err(Unchanged::Contended)
    }

    fn overwrite<T>(
        &self,
        key: &str,
        mut change: impl FnMut(Option<Vec<u8>>) -> Change<T>,
    ) -> Result<T, Unchanged> {
        let overwritten = self.bucket.get(key).and_then(|current| match change(current) {
            Change::Leave(done) => Ok(done),
            Change::Put(value, done) => self.bucket.set(key, &value).map(|()| done),
        });
        overwritten.map_err(|error: Error| {
            crate::log(&format!("{key} can't be changed: {error:?}"));
            Unchanged::Failed
        })
    }

    fn key(&self, key: &str) -> String {
        format!("{}{key}", self.prefix)
    }
}
