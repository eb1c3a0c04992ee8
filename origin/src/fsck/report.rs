//! What a check found.

use std::collections::BTreeMap;

use outport_wire::id::FileId;
use serde::{Deserialize, Serialize};

use crate::collector::Tally;

/// How many disagreements are told one by one. All are counted.
const TOLD_MAX: usize = 1000;

/// What does not agree.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum Kind {
    /// A record can't be understood.
    UnreadableRecord,
    /// A part that a record names is not there.
    MissingPart,
    /// A part has another length than its record says.
    WrongLength,
    /// The parts of a complete file are not as long as the file.
    WrongSum,
    /// A record names a part twice, or one of another's that it has no claim to.
    ForeignPart,
    /// A partial upload has been claimed by a final one that is not there, or does not name it.
    Orphan,
    /// A record is not in its owner's list.
    NotListed,
    /// A record is in the list of another.
    ListedElsewhere,
    /// An entry of a list has no record.
    ListedWithoutRecord,
    /// A record is to expire, and the collector does not know.
    NotDue,
}

impl Kind {
    /// What it means for whoever has the file.
    pub const fn meaning(self) -> &'static str {
        match self {
            Self::UnreadableRecord => {
                "the record can't be understood; nobody can fetch the file, and its parts stay"
            }
            Self::MissingPart => "a part is not there; the file can't be read from there on",
            Self::WrongLength => "a part is shorter or longer than when it was written",
            Self::WrongSum => "the parts together are not as long as the file",
            Self::ForeignPart => "it names a part that belongs to another, or one part twice",
            Self::Orphan => "its final upload is gone; nobody can use it any more",
            Self::NotListed => "its owner does not see it in the list, and can fetch it",
            Self::ListedElsewhere => "somebody else's list names it; they can't fetch it",
            Self::ListedWithoutRecord => "a list names what is not there; lists pass over it",
            Self::NotDue => "it is to expire, and nobody would notice",
        }
    }

    /// Whether bytes of somebody's may be lost.
    pub const fn is_damage(self) -> bool {
        matches!(
            self,
            Self::UnreadableRecord
                | Self::MissingPart
                | Self::WrongLength
                | Self::WrongSum
                | Self::ForeignPart
        )
    }
}

/// One thing that does not agree.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Disagreement {
    /// What.
    pub kind: Kind,
    /// Of which upload or file.
    pub id: FileId,
    /// More about it.
    pub detail: String,
    /// Whether it has been repaired.
    pub repaired: bool,
}

/// Everything that was looked at, and what does not agree.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Fscked {
    /// Complete files.
    pub files: Tally,
    /// Uploads that go on, and pieces of files.
    pub uploads: Tally,
    /// Ids that never come back.
    pub tombstones: u64,
    /// Entries of lists.
    pub list_entries: u64,
    /// Entries without a record, too young to be wrong.
    pub entries_without_record: u64,
    /// Entries of the index of what is due.
    pub due_entries: u64,
    /// Whether all of that index was compared: there is a bound.
    pub index_compared: bool,
    /// Other metadata, that is not checked.
    pub others: u64,
    /// Parts that are stored.
    pub parts: Tally,
    /// Parts among them that no record names. They are being written, or the collector removes
    /// them.
    pub unnamed_parts: Tally,
    /// How many things do not agree, by kind.
    pub counts: BTreeMap<Kind, u64>,
    /// How many of them were repaired.
    pub repaired: u64,
    /// The first of them.
    pub disagreements: Vec<Disagreement>,
}

impl Default for Fscked {
    fn default() -> Self {
        Self {
            files: Tally::default(),
            uploads: Tally::default(),
            tombstones: 0,
            list_entries: 0,
            entries_without_record: 0,
            due_entries: 0,
            index_compared: true,
            others: 0,
            parts: Tally::default(),
            unnamed_parts: Tally::default(),
            counts: BTreeMap::new(),
            repaired: 0,
            disagreements: Vec::new(),
        }
    }
}

impl Fscked {
    /// Whether everything agrees.
    pub fn is_sound(&self) -> bool {
        self.counts.is_empty()
    }

    /// How many things still do not agree.
    pub fn unrepaired(&self) -> u64 {
        self.counts.values().sum::<u64>() - self.repaired
    }

    pub(super) fn tell(&mut self, kind: Kind, id: FileId, detail: String, repaired: bool) {
        tracing::warn!(%id, ?kind, detail, repaired, "{}", kind.meaning());
        *self.counts.entry(kind).or_default() += 1;
        self.repaired += u64::from(repaired);
        if self.disagreements.len() < TOLD_MAX {
            self.disagreements.push(Disagreement { kind, id, detail, repaired });
        }
    }
}
