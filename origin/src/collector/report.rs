//! What a round did, or would do.

use outport_wire::id::FileId;
use serde::{Deserialize, Serialize};

use crate::store::StoreError;

/// How many, and how large.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Tally {
    /// How many there are.
    pub count: u64,
    /// How many bytes they have together.
    pub bytes: u64,
}

impl Tally {
    pub(crate) fn add(&mut self, bytes: u64) {
        self.count += 1;
        self.bytes += bytes;
    }
}

/// What was removed, or what would be.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Collected {
    /// Uploads that had expired, partial ones with their final one included.
    pub uploads: Tally,
    /// Files that had expired.
    pub files: Tally,
    /// Partial uploads whose final one was gone.
    pub orphans: Tally,
    /// Parts that no record named.
    pub parts: Tally,
    /// Parts that were never finished.
    pub unfinished: Tally,
    /// Entries of lists without a record.
    pub list_entries: u64,
    /// Parts that were looked at.
    pub parts_seen: u64,
    /// Uploads and files that could not be looked at; the log says why.
    pub failures: u64,
}

impl Collected {
    /// Whether there is nothing to tell.
    pub(super) fn is_empty(&self) -> bool {
        Self { parts_seen: 0, ..self.clone() } == Self::default()
    }

    /// All bytes that were freed.
    pub fn bytes(&self) -> u64 {
        let kinds = [self.uploads, self.files, self.orphans, self.parts, self.unfinished];
        kinds.iter().map(|kind| kind.bytes).sum()
    }

    /// One of many could not be looked at. The others are looked at all the same.
    pub(super) fn failed(&mut self, id: FileId, error: &StoreError) {
        tracing::warn!(%id, %error, "could not be collected");
        self.failures += 1;
    }
}
