//! Metadata: a partitioned, versioned key-value store.
//!
//! [`Meta`] asks for no more than an embedded engine, Cassandra and DynamoDB can all promise
//! without a lock service: single-key compare-and-swap and an ordered scan within one partition.
//! Nothing spans two keys. Whoever writes two of them chooses an order in which a crash in
//! between does no harm.
//!
//! On Cassandra the partition is the partition key, the key a clustering column, the version a
//! column compared by `IF version = ?`, and reads are serial. On DynamoDB they are the partition
//! and the sort key and a `ConditionExpression`, and reads are strongly consistent.

#[cfg(test)]
mod conformance;
mod fjall;
mod group;
mod memory;
mod walk;

use std::sync::Arc;

use bytes::Bytes;
use futures::future::BoxFuture;

pub use self::fjall::FjallEngine;
pub use self::group::{Change, Engine, EngineError, GroupCommit, GroupStats, Stored};
pub use self::memory::MemoryMeta;
pub use self::walk::Walk;

/// The longest partition name, in bytes.
pub const PARTITION_BYTES_MAX: usize = 1024;
/// The longest key within a partition, in bytes.
pub const KEY_BYTES_MAX: usize = 1024;
/// The largest value, in bytes. DynamoDB takes items of 400 KiB, names and version included.
pub const VALUE_BYTES_MAX: usize = 384 * 1024;
/// The most entries that one scan returns.
pub const SCAN_ENTRIES_MAX: usize = 1000;

/// Where a value is kept.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Key {
    /// What is kept, and scanned, together.
    pub partition: Bytes,
    /// The place within the partition; scans are in the order of its bytes.
    pub key: Bytes,
}

impl Key {
    /// The place `key` in `partition`.
    pub fn new(partition: impl Into<Bytes>, key: impl Into<Bytes>) -> Self {
        Self { partition: partition.into(), key: key.into() }
    }
}

/// Names one state of one key. A key never has the same version twice, even after it was deleted
/// and made again. Versions have no order.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Version(u64);

impl Version {
    /// A version that was never used before: 64 random bits, so that no store has to count.
    pub fn fresh() -> Self {
        Self(rand::random())
    }

    /// As it is stored.
    pub fn to_bytes(self) -> [u8; 8] {
        self.0.to_be_bytes()
    }

    /// As it was stored.
    pub fn from_bytes(bytes: [u8; 8]) -> Self {
        Self(u64::from_be_bytes(bytes))
    }
}

/// A value and the state it was read in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// The state, to be named when the value is replaced.
    pub version: Version,
    /// The value.
    pub value: Bytes,
}

/// Why an operation did not do what was asked, by what its caller does next.
#[derive(Clone, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum MetaError {
    /// The key is not in the expected state. Nothing changed. Read it and decide again.
    #[error("the key is not in the expected state")]
    Conflict,
    /// There is no room. Nothing changed. A retry helps once there is.
    #[error("the metadata store is full")]
    Full(#[source] Arc<dyn std::error::Error + Send + Sync>),
    /// The store can't be reached or failed. Nothing changed. Retry with backoff.
    #[error("the metadata store is unavailable")]
    Unavailable(#[source] Arc<dyn std::error::Error + Send + Sync>),
    /// The store failed while it wrote, and can't say whether the change was made. Read the key
    /// to find out; undo nothing before that.
    #[error("the metadata store can't tell whether the change was made")]
    Uncertain(#[source] Arc<dyn std::error::Error + Send + Sync>),
    /// A partition, key or value is larger than is allowed. Nothing changed; a retry can't help.
    #[error("{0} is larger than the metadata store takes")]
    TooLarge(&'static str),
}

/// The metadata store.
///
/// Consistency: linearizable per key. A read that begins after a write was acknowledged sees it,
/// or a later one, from every caller. A write is acknowledged only when it is durable: it
/// survives a crash of the process and a loss of power.
///
/// A future that is dropped before it is ready may have had its effect, or not.
pub trait Meta: Send + Sync + 'static {
    /// The current value of a key, or `None` where there is none.
    fn get(&self, key: Key) -> BoxFuture<'_, Result<Option<Entry>, MetaError>>;

    /// Stores `value` if the key is in the `expected` state: that version, or absent for `None`.
    /// Atomic: of concurrent calls that expect the same state, at most one succeeds, and the
    /// others get [`MetaError::Conflict`]. Not idempotent: repeated after a success, it is a
    /// conflict. Returns the new version.
    fn put(
        &self,
        key: Key,
        value: Bytes,
        expected: Option<Version>,
    ) -> BoxFuture<'_, Result<Version, MetaError>>;

    /// Removes the key if it is in the `expected` state. Atomic, as [`put`](Self::put). A key that
    /// is absent is a [`MetaError::Conflict`].
    fn delete(&self, key: Key, expected: Version) -> BoxFuture<'_, Result<(), MetaError>>;

    /// Up to `limit` entries of one partition in the order of their keys, beginning after
    /// `after`. At most [`SCAN_ENTRIES_MAX`]; fewer than `limit` means that there are no more.
    /// Each entry is a state the key was in during the call; the scan is no snapshot of the
    /// partition, but no entry is missed that was there all the time.
    fn scan(
        &self,
        partition: Bytes,
        after: Option<Bytes>,
        limit: usize,
    ) -> BoxFuture<'_, Result<Vec<(Bytes, Entry)>, MetaError>>;
}

/// Refuses what is larger than every store takes.
fn check_sizes(key: &Key, value: &[u8]) -> Result<(), MetaError> {
    if key.partition.len() > PARTITION_BYTES_MAX {
        return Err(MetaError::TooLarge("the partition's name"));
    }
    if key.key.len() > KEY_BYTES_MAX {
        return Err(MetaError::TooLarge("the key"));
    }
    if value.len() > VALUE_BYTES_MAX {
        return Err(MetaError::TooLarge("the value"));
    }
    Ok(())
}
