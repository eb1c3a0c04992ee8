//! Tombstones: what stands at a record's key so that no record comes there, or comes back.
//!
//! A whole file has parts before it has a record. Who finds such parts can't know whether the
//! record is still to come: its writer may be asleep. So a tombstone is put where the record would
//! be, which a record that comes late can't replace, and only then do the parts go. The ids that
//! edges make are buried when they are removed, because an edge may deliver its file again. Where
//! nothing was removed, whoever has seen the tombstone may still put a record in its place, with
//! parts that are newer than it: a file that an edge acknowledged arrives however late.

use std::io;
use std::sync::Arc;

use outport_wire::UnixSeconds;
use outport_wire::id::FileId;
use serde::{Deserialize, Serialize};

use super::due::note_due;
use super::{CHANGE_ATTEMPTS_MAX, Held, Store, StoreError, record_key};
use crate::admission::Ended;
use crate::meta::{Entry, Meta, MetaError, Version};
use crate::record::{Record, is_zero};

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
    grave: Grave,
    version: Version,
}

/// What a tombstone says of what was there.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
struct Grave {
    /// A record was here and was removed; it never comes back.
    #[serde(default, skip_serializing_if = "is_zero")]
    removed: bool,
    /// The tag of that change in the tenant's ledger; 0 is none.
    #[serde(default, skip_serializing_if = "is_zero")]
    by: u64,
}

/// As it is stored. No record has such a form.
#[derive(Serialize, Deserialize)]
struct Tombstone {
    buried_until_s: UnixSeconds,
    #[serde(flatten)]
    grave: Grave,
}

/// What is left of a record, for whoever has written something of it elsewhere.
#[derive(Clone, Debug)]
pub(crate) enum Trace {
    Here(Box<Record>),
    /// It was removed, by the change in its tenant's ledger that has this tag.
    Removed {
        by: u64,
    },
    /// It was not made yet, or nothing remembers it any more.
    Nothing,
}

impl Slot {
    /// What it tells of the record.
    pub(crate) fn trace(self) -> Trace {
        match self {
            Self::Held(held) => Trace::Here(Box::new(held.record)),
            Self::Buried(Buried { grave: Grave { removed: true, by }, .. }) => {
                Trace::Removed { by }
            }
            Self::Buried(_) | Self::Empty => Trace::Nothing,
        }
    }
}

impl Buried {
    /// A file was here and was removed; it never comes back.
    pub(super) fn removed(&self) -> bool {
        self.grave.removed
    }

    pub(super) fn version(&self) -> Version {
        self.version
    }
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
            let (expected, grave) = match self.slot(id).await? {
                Slot::Held(_) => return Ok(false),
                Slot::Buried(buried) if buried.until_s > self.now_s() + RELIED_ON_S => {
                    return Ok(true);
                }
                Slot::Buried(buried) => (Some(buried.version), buried.grave),
                Slot::Empty => (None, Grave::default()),
            };
            match self.put_tombstone(id, expected, grave).await {
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

    /// Takes a record away. An id that an edge made never comes back, and what was counted leaves
    /// behind who has removed it, for the ledger.
    pub(super) async fn vacate(&self, held: &Held) -> Result<(), MetaError> {
        let place = self.admission.leave(held.id, &held.record).await?;
        let by = place.tag();
        let vacated = if held.id.is_from_edge() || by.is_some() {
            let grave = Grave { removed: true, by: by.unwrap_or_default() };
            self.put_tombstone(held.id, Some(held.version), grave).await
        } else {
            self.meta.delete(record_key(held.id), held.version).await
        };
        let ended = vacated.as_ref().map_or_else(Ended::failed, |()| Ended::Removed);
        self.admission.ended(place, ended);
        vacated
    }

    async fn put_tombstone(
        &self,
        id: FileId,
        expected: Option<Version>,
        grave: Grave,
    ) -> Result<(), MetaError> {
        put_tombstone(&*self.meta, self.now_s(), id, expected, grave).await
    }
}

/// Shuts out whoever has looked at a record before, or has found none, and is yet to change it or
/// to make it: that fails from here on. Gives what there is for all who look from now on.
///
/// So what somebody wrote down before a change can be struck out when it is old, whatever clock it
/// is old by: the change is made already, and shows, or it never will be.
pub(crate) async fn shut_out(
    meta: &dyn Meta,
    now_s: UnixSeconds,
    id: FileId,
) -> Result<Trace, MetaError> {
    for _ in 0..CHANGE_ATTEMPTS_MAX {
        let entry = meta.get(record_key(id)).await?;
        let slot = entry.as_ref().map_or(Ok(Slot::Empty), |entry| read(id, entry));
        let slot =
            slot.map_err(|reason| MetaError::Unavailable(Arc::new(io::Error::other(reason))))?;
        let shut_out = match (&slot, entry) {
            // Nothing comes in its place.
            (Slot::Buried(buried), _) if buried.removed() => return Ok(slot.trace()),
            (Slot::Held(_), Some(Entry { version, value })) => {
                meta.put(record_key(id), value, Some(version)).await.map(drop)
            }
            (_, entry) => {
                let expected = entry.map(|entry| entry.version);
                put_tombstone(meta, now_s, id, expected, Grave::default()).await
            }
        };
        match shut_out {
            Ok(()) => return Ok(slot.trace()),
            Err(MetaError::Conflict | MetaError::Uncertain(_)) => {}
            Err(error) => return Err(error),
        }
    }
    Err(MetaError::Conflict)
}

/// The reason to take it away again comes first: nothing else remembers it.
async fn put_tombstone(
    meta: &dyn Meta,
    now_s: UnixSeconds,
    id: FileId,
    expected: Option<Version>,
    grave: Grave,
) -> Result<(), MetaError> {
    let buried_until_s = now_s + BURIED_S;
    note_due(meta, id, None, buried_until_s).await?;
    let tombstone = serde_json::to_vec(&Tombstone { buried_until_s, grave }).unwrap_or_default();
    meta.put(record_key(id), tombstone.into(), expected).await.map(drop)
}

/// What a stored value says, or why it can't be understood.
pub(crate) fn read(id: FileId, entry: &Entry) -> Result<Slot, String> {
    let version = entry.version;
    match Record::from_bytes(&entry.value) {
        Ok(record) => Ok(Slot::Held(Held { id, record, version })),
        Err(error) => match serde_json::from_slice(&entry.value) {
            Ok(Tombstone { buried_until_s, grave }) => {
                Ok(Slot::Buried(Buried { until_s: buried_until_s, grave, version }))
            }
            Err(_) => Err(error.to_string()),
        },
    }
}
