//! What is kept of one upload and, once it is complete, of the file it made: one record, replaced
//! as a whole by compare-and-swap. Plain values and decisions; no I/O.

use std::collections::BTreeMap;
use std::ops::Range;

use outport_wire::UnixSeconds;
use outport_wire::file::{FileRecord, Visibility};
use outport_wire::identity::Identity;
use serde::{Deserialize, Serialize};

/// The form in which records are stored, written into each of them.
const FORMAT: u8 = 1;

/// An immutable object in the blob store that holds a stretch of a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(from = "(u64, u64)", into = "(u64, u64)")]
pub(crate) struct Part {
    /// Its length in bytes, never 0.
    pub(crate) bytes: u64,
    /// What tells it from every other part of the file, those of lost races included.
    pub(crate) nonce: u64,
}

impl From<(u64, u64)> for Part {
    fn from((bytes, nonce): (u64, u64)) -> Self {
        Self { bytes, nonce }
    }
}

impl From<Part> for (u64, u64) {
    fn from(part: Part) -> Self {
        (part.bytes, part.nonce)
    }
}

/// An upload or a file.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Record {
    #[serde(rename = "v")]
    format: u8,
    /// Whom it belongs to.
    pub(crate) tenant: String,
    /// Who owns it.
    pub(crate) owner: String,
    /// The name it is delivered under.
    pub(crate) name: String,
    /// Its media type.
    #[serde(rename = "type")]
    pub(crate) media_type: String,
    /// Who may fetch it.
    pub(crate) visibility: Visibility,
    /// When the upload was begun.
    pub(crate) created_s: UnixSeconds,
    /// When it ceases to exist.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) expires_s: Option<UnixSeconds>,
    /// What its owner wants to remember of it.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub(crate) metadata: BTreeMap<String, String>,
    /// `Upload-Metadata` as the client sent it; a HEAD repeats it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) tus_metadata: Option<String>,
    /// How long the whole is.
    pub(crate) length: u64,
    /// The parts that are durable, in order.
    pub(crate) parts: Vec<Part>,
}

/// What the client says of a new upload.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Description {
    pub(crate) name: String,
    pub(crate) media_type: String,
    pub(crate) visibility: Visibility,
    pub(crate) metadata: BTreeMap<String, String>,
    pub(crate) tus_metadata: Option<String>,
}

/// Where one stretch of a file is found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Stretch {
    pub(crate) part: Part,
    /// Bytes within the part.
    pub(crate) range: Range<u64>,
}

/// The stored bytes are no record that this version can read.
#[derive(Debug, thiserror::Error)]
#[error("a stored record can't be read: {0}")]
pub(crate) struct Unreadable(String);

impl Record {
    /// The record of an upload of `length` bytes that has just begun.
    pub(crate) fn begin(
        owner: &Identity,
        description: Description,
        length: u64,
        now: UnixSeconds,
    ) -> Self {
        Self {
            format: FORMAT,
            tenant: owner.tenant.clone(),
            owner: owner.subject.clone(),
            name: description.name,
            media_type: description.media_type,
            visibility: description.visibility,
            created_s: now,
            expires_s: None,
            metadata: description.metadata,
            tus_metadata: description.tus_metadata,
            length,
            parts: Vec::new(),
        }
    }

    /// As it is stored.
    pub(crate) fn to_bytes(&self) -> Vec<u8> {
        serde_json::to_vec(self).unwrap_or_default() // Maps have text keys, so JSON takes it all.
    }

    /// As it was stored.
    pub(crate) fn from_bytes(bytes: &[u8]) -> Result<Self, Unreadable> {
        let record: Self =
            serde_json::from_slice(bytes).map_err(|error| Unreadable(error.to_string()))?;
        if record.format != FORMAT {
            return Err(Unreadable(format!("its format is {}", record.format)));
        }
        Ok(record)
    }

    /// How many bytes are durable.
    pub(crate) fn offset(&self) -> u64 {
        self.parts.iter().map(|part| part.bytes).sum()
    }

    /// Whether it is a file by now.
    pub(crate) fn is_complete(&self) -> bool {
        self.offset() == self.length
    }

    /// What an edge must know of it.
    pub(crate) fn file_record(&self) -> FileRecord {
        FileRecord {
            tenant: self.tenant.clone(),
            owner: self.owner.clone(),
            visibility: self.visibility,
            name: self.name.clone(),
            expires_s: self.expires_s,
        }
    }

    /// Where the bytes of `range` are, in order. `range` lies within the file.
    pub(crate) fn stretches(&self, range: Range<u64>) -> Vec<Stretch> {
        let mut begin = 0;
        let mut stretches = Vec::new();
        for part in &self.parts {
            let end = begin + part.bytes;
            let (from, to) = (range.start.max(begin), range.end.min(end));
            if from < to {
                stretches.push(Stretch { part: *part, range: from - begin..to - begin });
            }
            begin = end;
        }
        stretches
    }
}

#[cfg(test)]
mod tests {
    use outport_wire::identity::Scopes;

    use super::*;

    fn record(parts: &[u64]) -> Record {
        let owner = Identity::new("demo", "alice", Scopes::all()).unwrap();
        let description = Description {
            name: "a.txt".into(),
            media_type: "text/plain".into(),
            visibility: Visibility::Private,
            metadata: BTreeMap::from([("k".into(), "v".into())]),
            tus_metadata: None,
        };
        let mut record = Record::begin(&owner, description, 60, 1_800_000_000);
        record.parts =
            parts.iter().map(|bytes| Part { bytes: *bytes, nonce: *bytes + 1 }).collect();
        record
    }

    #[test]
    fn the_stored_form_is_stable() {
        let stored = r#"{"v":1,"tenant":"demo","owner":"alice","name":"a.txt","type":"text/plain","visibility":"private","created_s":1800000000,"metadata":{"k":"v"},"length":60,"parts":[[10,11],[20,21]]}"#;
        assert_eq!(String::from_utf8(record(&[10, 20]).to_bytes()).unwrap(), stored);
        assert_eq!(Record::from_bytes(stored.as_bytes()).unwrap(), record(&[10, 20]));
        assert!(Record::from_bytes(stored.replace("\"v\":1", "\"v\":2").as_bytes()).is_err());
        assert!(Record::from_bytes(b"{}").is_err());
    }

    #[test]
    fn is_complete_when_all_is_there() {
        assert_eq!((record(&[]).offset(), record(&[]).is_complete()), (0, false));
        assert_eq!((record(&[10, 20]).offset(), record(&[10, 20]).is_complete()), (30, false));
        assert!(record(&[10, 20, 30]).is_complete());
    }

    #[test]
    fn ranges_cross_parts() {
        let record = record(&[10, 20, 30]);
        let ranges = |range: Range<u64>| -> Vec<(u64, Range<u64>)> {
            record.stretches(range).into_iter().map(|s| (s.part.bytes, s.range)).collect()
        };
        assert_eq!(ranges(0..60), [(10, 0..10), (20, 0..20), (30, 0..30)]);
        assert_eq!(ranges(9..11), [(10, 9..10), (20, 0..1)]);
        assert_eq!(ranges(10..30), [(20, 0..20)]);
        assert_eq!(ranges(59..60), [(30, 29..30)]);
        assert_eq!(ranges(5..5), []);
    }
}
