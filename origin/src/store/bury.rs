//! Tombstones: what stands at a record's key so that no record comes there, or comes back.
//!
//! A whole file has parts before it has a record. Who finds such parts can't know whether the
//! record is still to come: its writer may be asleep. So a tombstone is put where the record would
//! be, which a record that comes late can't replace, and only then do the parts go. The ids that
//! edges make are buried when they are removed, because an edge may deliver its file again. Where
//! nothing was removed, whoever has seen the tombstone may still put a record in its place, with
//! parts that are newer than it: a file that an edge acknowledged arrives however late.

use outport_wire::UnixSeconds;
use outport_wire::id::FileId;
use serde::{Deserialize, Serialize};

use super::{CHANGE_ATTEMPTS_MAX, Held, Store, StoreError, record_key};
use crate::admission::Ended;
use crate::meta::{Entry, MetaError, Version};
use crate::record::Record;

/// How long a tombstone stands. Whoever sleeps for longer between writing a part and naming it,
/// and then goes on as if nothing had been, is not expected: a store's client has given up by then.
const BURIED_S: u64 = 30 * 24 * 3600;
/// A tombstone that ends sooner than this is put up anew, before it is relied upon.
const RELIED_ON_S: u64 = BURIED_S / 2;

/// What is at a record's key.
#[derive(Debug)]
#[allow(clippy::large_enum_variant)] // It is made for one look and taken apart at once.
pub(crate) enum Slot {
    Held(Held),
    Buried(Buried),
    Empty,
}

/// A tombstone, in the state it was read in.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Buried {
    pub(crate) until_s: UnixSeconds,
    /// A file was here and was removed; it never comes back.
    pub(super) removed: bool,
    pub(super) version: Version,
}

/// As it is stored. No record has such a form.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Tombstone {
    buried_until_s: UnixSeconds,
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    removed: bool,
}

impl Store {
    /// What is at the key of the record with this id.
    pub(crate) async fn slot(&self, id: FileId) -> Result<Slot, StoreError> {
        let Some(entry) = self.meta.get(record_key(id)).await? else { return Ok(Slot::Empty) };
        read(id, &entry).map_err(StoreError::Fault)
    }

    /// Makes sure that no record with this id is ever made. `false` where there is one.
    pub(crate) async fn bury(&self, id: FileId) -> Result<bool, StoreError> {
        for _ in 0..CHANGE_ATTEMPTS_MAX {
            let (expected, removed) = match self.slot(id).await? {
                Slot::Held(_) => return Ok(false),
                Slot::Buried(buried) if buried.until_s > self.now_s() + RELIED_ON_S => {
                    return Ok(true);
                }
                Slot::Buried(buried) => (Some(buried.version), buried.removed),
                Slot::Empty => (None, false),
            };
            match self.put_tombstone(id, expected, removed).await {
                Ok(()) => return Ok(true),
                Err(MetaError::Conflict | MetaError::Uncertain(_)) => {}
                Err(error) => return Err(error.into()),
            }
        }
        Err(StoreError::Contended)
    }

    /// Takes a tombstone away whose time is over.
    pub(crate) async fn unbury(&self, id: FileId, buried: Buried) -> Result<(), StoreError> {
        match self.meta.delete(record_key(id), buried.version).await {
            Ok(()) | Err(MetaError::Conflict) => Ok(()), // It was put up anew.
            Err(error) => Err(error.into()),
        }
    }

    /// Takes a record away. An id that an edge made never comes back.
    pub(super) async fn vacate(&self, held: &Held) -> Result<(), MetaError> {
        let place = self.admission.leave(held.id, &held.record).await?;
        if held.id.is_from_edge() {
            self.put_tombstone(held.id, Some(held.version), true).await?;
        } else {
            self.meta.delete(record_key(held.id), held.version).await?;
        }
        self.admission.ended(place, Ended::Nothing);
        Ok(())
    }

    /// The reason to take it away again comes first: nothing else remembers it.
    async fn put_tombstone(
        &self,
        id: FileId,
        expected: Option<Version>,
        removed: bool,
    ) -> Result<(), MetaError> {
        let buried_until_s = self.now_s() + BURIED_S;
        self.note_due(id, None, buried_until_s).await?;
        let tombstone =
            serde_json::to_vec(&Tombstone { buried_until_s, removed }).unwrap_or_default();
        self.meta.put(record_key(id), tombstone.into(), expected).await.map(drop)
    }
}

/// What a stored value says, or why it can't be understood.
pub(crate) fn read(id: FileId, entry: &Entry) -> Result<Slot, String> {
    let version = entry.version;
    match Record::from_bytes(&entry.value) {
        Ok(record) => Ok(Slot::Held(Held { id, record, version })),
        Err(error) => match serde_json::from_slice(&entry.value) {
            Ok(Tombstone { buried_until_s, removed }) => {
                Ok(Slot::Buried(Buried { until_s: buried_until_s, removed, version }))
            }
            Err(_) => Err(error.to_string()),
        },
    }
}
