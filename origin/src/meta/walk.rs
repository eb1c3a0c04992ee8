//! Going through everything, where a store can.

use bytes::Bytes;
use futures::future::{BoxFuture, FutureExt as _};

use super::group::{Damaged, Engine, storage_key, unavailable};
use super::{Entry, GroupCommit, Key, MetaError, SCAN_ENTRIES_MAX};

/// Behind every key of an engine's: they begin with the length of a partition's name.
const END: &[u8] = &[u8::MAX];

/// An ability that not every [`Meta`](super::Meta) needs to have: to go through all partitions.
/// Nothing that serves requests asks for it. An embedded engine has it for nothing, Cassandra by
/// ranges of tokens, DynamoDB by its `Scan`.
pub trait Walk: Send + Sync + 'static {
    /// Up to `limit` entries of all partitions, at most [`SCAN_ENTRIES_MAX`], that come behind
    /// `after` in an order which is the store's own and does not change. Fewer than `limit` means
    /// that there are no more. No snapshot, but no entry is missed that was there all the time.
    fn walk(
        &self,
        after: Option<Key>,
        limit: usize,
    ) -> BoxFuture<'_, Result<Vec<(Key, Entry)>, MetaError>>;
}

impl<E: Engine> Walk for GroupCommit<E> {
    fn walk(
        &self,
        after: Option<Key>,
        limit: usize,
    ) -> BoxFuture<'_, Result<Vec<(Key, Entry)>, MetaError>> {
        async move {
            let from = match after {
                Some(after) => [&storage_key(&after.partition, &after.key)[..], &[0]].concat(),
                None => Vec::new(),
            };
            let limit = limit.min(SCAN_ENTRIES_MAX);
            let found = self.read(move |engine| engine.scan(&from, END, limit)).await?;
            let entries = found.into_iter().map(|(key, stored)| {
                let key = split_key(&key).ok_or_else(|| unavailable(Damaged))?;
                Ok((key, stored.entry()?))
            });
            entries.collect()
        }
        .boxed()
    }
}

fn split_key(stored: &Bytes) -> Option<Key> {
    let (length, _) = stored.split_first_chunk::<2>()?;
    let end = length.len() + usize::from(u16::from_be_bytes(*length));
    (end <= stored.len()).then(|| Key::new(stored.slice(length.len()..end), stored.slice(end..)))
}
