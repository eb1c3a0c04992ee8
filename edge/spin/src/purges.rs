//! What was purged: marks in the key-value store, which all instances that share it see at once.
//!
//! A tag's marks are at one of [`PLACES`] places, so that the store is bounded however many tags
//! are purged. Where two tags share a place, what has either is purged.

use outport_edge_core::marks::{self, Marks, Purged, Tagged};
use outport_edge_core::step::Purge;

use crate::node::unix_us;
use crate::store::{Change, Store, Unchanged};

/// Where the latest purge's generation is.
const LATEST: &str = "outport/purged/latest";
/// How many places there are. A value has up to 20 bytes.
const PLACES: u64 = 1 << 16;
/// How often a purge is tried while others purge.
const TRIES_MAX: usize = 32;

/// Purges. The marks come first, and the latest only rises: who has looked before and saw none of
/// them remembers less than their generation.
pub(crate) fn purge(store: &Store, purges: &[Purge]) -> Result<(), Unchanged> {
    if purges.is_empty() {
        return Ok(());
    }
    for _ in 0..TRIES_MAX {
        let latest = store.change(LATEST, |value| Change::Leave(read_latest(value)))?;
        let generation = marks::next(latest, unix_us() / 1000);
        for Purge { tag, soft } in purges {
            store.change(&key(marks::place(tag)), |value| {
                let mut marks = read_marks(value);
                marks.note(*soft, generation);
                match postcard::to_stdvec(&marks) {
                    Ok(value) => Change::Put(value, ()),
                    Err(_) => Change::Leave(()),
                }
            })?;
        }
        let is_latest = store.change(LATEST, |value| match read_latest(value) {
            latest if latest < generation => Change::Put(generation.to_be_bytes().into(), true),
            _ => Change::Leave(false),
        })?;
        if is_latest {
            return Ok(());
        }
    }
    Err(Unchanged::Contended)
}

/// The latest purge's generation.
pub(crate) async fn latest(store: &Store) -> u64 {
    read_latest(store.get(LATEST).await)
}

/// What was purged of something that is stored, where this is the latest purge.
pub(crate) async fn since(store: &Store, stored: &Tagged, latest: u64) -> Purged {
    let mut purged = Purged::No;
    for place in stored.suspects(latest) {
        let marks = read_marks(store.get(&key(*place)).await);
        purged = purged.max(stored.purged(marks));
    }
    purged
}

fn read_latest(value: Option<Vec<u8>>) -> u64 {
    value.and_then(|value| value.try_into().ok()).map_or(0, u64::from_be_bytes)
}

fn read_marks(value: Option<Vec<u8>>) -> Marks {
    value.and_then(|value| postcard::from_bytes(&value).ok()).unwrap_or_default()
}

fn key(place: u64) -> String {
    format!("outport/purged/{}", place % PLACES)
}
