//! The index of what is due: an entry for each upload and file that is to expire, where the
//! collector finds it without looking at all others.
//!
//! A partition holds what is due on one day, in the order of time. An entry is written before the
//! record it speaks of says that it expires, and stays until it is due, whatever becomes of the
//! record: progress moves an upload's expiry in the commit that it makes anyway, and writes nothing
//! here. So an entry is a reason to look, and no more. One that finds its record to be due later
//! moves on, and one that finds nothing to expire goes.

use bytes::Bytes;
use outport_wire::UnixSeconds;
use outport_wire::id::FileId;
use outport_wire::identity::Identity;

use super::{Held, Store, StoreError};
use crate::meta::{Key, Meta, MetaError, Version};

const DAY_S: u64 = 24 * 3600;

/// A reason to look at an upload or file.
#[derive(Clone, Debug)]
pub(crate) struct Due {
    pub(crate) id: FileId,
    /// When to look.
    pub(crate) due_s: UnixSeconds,
    /// Whose list the id is in. `None` for what is in nobody's.
    pub(crate) owner: Option<Identity>,
    key: Key,
    version: Version,
}

impl Due {
    /// Where a scan goes on behind it.
    pub(crate) fn cursor(&self) -> Bytes {
        self.key.key.clone()
    }
}

/// The day that a time is on, counted from 1970.
pub(crate) fn day_of(time_s: UnixSeconds) -> u64 {
    time_s / DAY_S
}

impl Store {
    /// Says that `id` is to be looked at when `due_s` has come. Idempotent.
    pub(crate) async fn note_due(
        &self,
        id: FileId,
        owner: Option<&Identity>,
        due_s: UnixSeconds,
    ) -> Result<(), MetaError> {
        note_due(&*self.meta, id, owner, due_s).await
    }

    /// To be called before a file's record says that it expires.
    pub(crate) async fn expect_expiry(
        &self,
        held: &Held,
        expires_s: UnixSeconds,
    ) -> Result<(), StoreError> {
        Ok(self.note_due(held.id, held.owner().as_ref(), expires_s).await?)
    }

    /// Up to `limit` entries of a day in the order of time, behind `after`.
    pub(crate) async fn due(
        &self,
        day: u64,
        after: Option<Bytes>,
        limit: usize,
    ) -> Result<Vec<Due>, StoreError> {
        let entries = self.meta.scan(partition(day), after, limit).await?;
        let due = entries.into_iter().filter_map(|(key, entry)| {
            let (due_s, id) = parsed(&key)?;
            let key = Key::new(partition(day), key);
            Some(Due { id, due_s, owner: owner(&entry.value), key, version: entry.version })
        });
        Ok(due.collect())
    }

    /// Takes an entry away that was looked at.
    pub(crate) async fn settle_due(&self, due: &Due) -> Result<(), StoreError> {
        match self.meta.delete(due.key.clone(), due.version).await {
            Ok(()) | Err(MetaError::Conflict) => Ok(()), // Somebody else was faster.
            Err(error) => Err(error.into()),
        }
    }
}

/// See [`Store::note_due`].
pub(super) async fn note_due(
    meta: &dyn Meta,
    id: FileId,
    owner: Option<&Identity>,
    due_s: UnixSeconds,
) -> Result<(), MetaError> {
    let owner = owner.map(|owner| format!("{}\0{}", owner.tenant, owner.subject));
    match meta.put(key(id, due_s), owner.unwrap_or_default().into(), None).await {
        Ok(_) | Err(MetaError::Conflict) => Ok(()), // The same entry is there.
        Err(error) => Err(error),
    }
}

fn partition(day: u64) -> Bytes {
    format!("open/{day}").into()
}

fn key(id: FileId, due_s: UnixSeconds) -> Key {
    let place = [due_s.to_be_bytes().as_slice(), id.to_string().as_bytes()].concat();
    Key::new(partition(day_of(due_s)), place)
}

/// When what is looked at because of this entry is due. `None` for what is no such entry.
pub(crate) fn due_entry(key: &Key) -> Option<(UnixSeconds, FileId)> {
    key.partition.starts_with(b"open/").then(|| parsed(&key.key)).flatten()
}

fn parsed(key: &[u8]) -> Option<(UnixSeconds, FileId)> {
    let (due_s, id) = key.split_first_chunk::<8>()?;
    Some((u64::from_be_bytes(*due_s), std::str::from_utf8(id).ok()?.parse().ok()?))
}

fn owner(value: &[u8]) -> Option<Identity> {
    let (tenant, subject) = std::str::from_utf8(value).ok()?.split_once('\0')?;
    Identity::new(tenant, subject, Default::default()).ok()
}
