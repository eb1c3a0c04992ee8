//! What is kept of one upload and, once it is complete, of the file it made: one record, replaced
//! as a whole by compare-and-swap. Plain values and decisions; no I/O.

use std::collections::BTreeMap;
use std::ops::Range;

use bytes::Bytes;
use outport_wire::UnixSeconds;
use outport_wire::file::{FileRecord, Visibility};
use outport_wire::id::FileId;
use outport_wire::identity::Identity;
use serde::{Deserialize, Serialize};

use crate::digest::Running;

/// The form in which records are stored, written into each of them.
const FORMAT: u8 = 2;
/// The form before, which is still read: a length that was always known, and nothing that says
/// whether an upload is complete beside its length.
const FORMAT_1: u8 = 1;

/// An immutable object in the blob store that holds a stretch of a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(from = "StoredPart", into = "StoredPart")]
pub(crate) struct Part {
    /// Its length in bytes, never 0.
    pub(crate) bytes: u64,
    /// What tells it from every other part of its writer, those of lost races included.
    pub(crate) nonce: u64,
    /// The upload that wrote it: 0 is this one, any other is one above its place in
    /// [`Record::sources`].
    pub(crate) source: u16,
}

/// A part as it is stored: two numbers, or three.
#[derive(Serialize, Deserialize)]
#[serde(untagged)]
enum StoredPart {
    Own(u64, u64),
    Foreign(u64, u64, u16),
}

impl From<StoredPart> for Part {
    fn from(stored: StoredPart) -> Self {
        match stored {
            StoredPart::Own(bytes, nonce) => Self { bytes, nonce, source: 0 },
            StoredPart::Foreign(bytes, nonce, source) => Self { bytes, nonce, source },
        }
    }
}

impl From<Part> for StoredPart {
    fn from(Part { bytes, nonce, source }: Part) -> Self {
        match source {
            0 => Self::Own(bytes, nonce),
            source => Self::Foreign(bytes, nonce, source),
        }
    }
}

/// What a part is called in the blob store.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct PartName {
    /// The upload that wrote it.
    pub(crate) writer: FileId,
    pub(crate) nonce: u64,
}

/// An upload's place in a concatenation (tus 1.0, "Concatenation").
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Concat {
    /// It is a piece of a file, and never one by itself.
    Partial {
        /// The final upload that its parts belong to. Once claimed, it is never another's.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        claimed_by: Option<FileId>,
    },
    /// It is made of these, in their order.
    Final { of: Vec<FileId> },
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
    /// When the file ceases to exist.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) expires_s: Option<UnixSeconds>,
    /// Signed links to it are good that were made later than this, in milliseconds since 1970.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) links_after_ms: Option<u64>,
    /// What is left of the uses of links to it that are counted.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(crate) link_uses: Vec<LinkUses>,
    /// When the upload ceases to exist, unless it is complete by then.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) upload_expires_s: Option<UnixSeconds>,
    /// What its owner wants to remember of it.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub(crate) metadata: BTreeMap<String, String>,
    /// `Upload-Metadata` as the client sent it; a HEAD repeats it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) tus_metadata: Option<String>,
    /// How long the whole is, once that is known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) length: Option<u64>,
    /// Whether it is a file by now, or a whole piece of one. Nothing is appended after that.
    #[serde(default)]
    pub(crate) complete: bool,
    /// Raised to shut out whoever appends to a state that was read before.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub(crate) epoch: u32,
    /// Its place in a concatenation, if it has one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) concat: Option<Concat>,
    /// `Upload-Concat` of a final upload as the client sent it; a HEAD repeats it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) tus_concat: Option<String>,
    /// The digest that the whole must have, or its client wants to know, over the parts so far.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) digest: Option<Running>,
    /// How many bytes of it are in its tenant's ledger, where it is in it at all.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) counted: Option<u64>,
    /// Which change of the ledger that was; 0 is none.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub(crate) counted_by: u64,
    /// The other uploads that wrote some of the parts.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(crate) sources: Vec<FileId>,
    /// The parts that are durable, in order.
    pub(crate) parts: Vec<Part>,
    /// The whole content, where it is so small that it is kept beside all this and not in parts.
    /// As it is stored, it follows behind a line break, which JSON on one line has none of.
    #[serde(skip)]
    pub(crate) content: Bytes,
}

/// The most links to one file whose uses are counted at the same time.
pub(crate) const COUNTED_LINKS_MAX: usize = 64;

/// A link to a file whose uses are counted.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct LinkUses {
    /// What it is known by ([`outport_wire::link::mark`]).
    link: String,
    left: u32,
    /// The last second in which it is good.
    until_s: UnixSeconds,
}

impl Record {
    /// Counts the uses of a link from now on. False where there are as many such links as there may be.
    pub(crate) fn count_link(
        &mut self,
        link: &str,
        uses: u32,
        until_s: UnixSeconds,
        now_s: UnixSeconds,
    ) -> bool {
        self.link_uses.retain(|counted| counted.until_s >= now_s);
        let has_room = self.link_uses.len() < COUNTED_LINKS_MAX;
        if has_room {
            self.link_uses.push(LinkUses { link: link.to_owned(), left: uses, until_s });
        }
        has_room
    }

    /// Uses a link once. False where nothing is left of it.
    pub(crate) fn use_link(&mut self, link: &str) -> bool {
        let mut uses = self.link_uses.iter_mut();
        let Some(counted) = uses.find(|counted| counted.link == link && counted.left > 0) else {
            return false;
        };
        counted.left -= 1;
        true
    }
}

/// Whether a number need not be stored.
pub(crate) fn is_zero<T: Default + PartialEq>(number: &T) -> bool {
    *number == T::default()
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

/// An upload that is to begin.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Opening {
    /// How long it will be, where that is known.
    pub(crate) length: Option<u64>,
    /// When it ceases to exist, unless it is complete by then.
    pub(crate) upload_expires_s: Option<UnixSeconds>,
    /// Its place in a concatenation.
    pub(crate) concat: Option<Concat>,
    /// How the client said it, for a final upload.
    pub(crate) tus_concat: Option<String>,
    /// The digest that the whole must have.
    pub(crate) digest: Option<Running>,
}

impl Opening {
    /// One of `length` bytes, and nothing else.
    #[cfg(test)]
    pub(crate) fn of_length(length: u64) -> Self {
        Self { length: Some(length), ..Self::default() }
    }
}

/// Where one stretch of a file is found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Stretch {
    pub(crate) part: PartName,
    /// Bytes within the part.
    pub(crate) range: Range<u64>,
}

/// The stored bytes are no record that this version can read.
#[derive(Debug, thiserror::Error)]
#[error("a stored record can't be read: {0}")]
pub(crate) struct Unreadable(String);

impl Record {
    /// The record of an upload that has just begun.
    pub(crate) fn begin(
        owner: &Identity,
        description: Description,
        opening: Opening,
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
            links_after_ms: None,
            link_uses: Vec::new(),
            upload_expires_s: opening.upload_expires_s,
            metadata: description.metadata,
            tus_metadata: description.tus_metadata,
            length: opening.length,
            complete: false,
            epoch: 0,
            concat: opening.concat,
            tus_concat: opening.tus_concat,
            digest: opening.digest,
            counted: None,
            counted_by: 0,
            sources: Vec::new(),
            parts: Vec::new(),
            content: Bytes::new(),
        }
    }

    /// As it is stored.
    pub(crate) fn to_bytes(&self) -> Vec<u8> {
        let mut bytes = serde_json::to_vec(self).unwrap_or_default(); // Maps have text keys.
        if !self.content.is_empty() {
            bytes.push(b'\n');
            bytes.extend_from_slice(&self.content);
        }
        bytes
    }

    /// As it was stored.
    pub(crate) fn from_bytes(bytes: &Bytes) -> Result<Self, Unreadable> {
        let end = bytes.iter().position(|byte| *byte == b'\n').unwrap_or(bytes.len());
        let json = bytes.slice(..end);
        let mut record: Self =
            serde_json::from_slice(&json).map_err(|error| Unreadable(error.to_string()))?;
        record.content = bytes.slice((end + 1).min(bytes.len())..);
        record.check_parts()?;
        match record.format {
            FORMAT => {}
            FORMAT_1 => {
                record.complete = record.length == Some(record.offset());
                record.format = FORMAT;
            }
            other => return Err(Unreadable(format!("its format is {other}"))),
        }
        Ok(record)
    }

    /// Damage that parses all the same must not lead to other bytes than were stored.
    fn check_parts(&self) -> Result<(), Unreadable> {
        if !self.parts.is_empty() && !self.content.is_empty() {
            return Err(Unreadable("its content is in two places".to_owned()));
        }
        let mut sum = 0_u64;
        for part in &self.parts {
            let added = sum.checked_add(part.bytes).filter(|_| part.bytes > 0);
            sum = added.ok_or_else(|| Unreadable("its parts have no length".to_owned()))?;
            if usize::from(part.source) > self.sources.len() {
                return Err(Unreadable("a part is by nobody that it names".to_owned()));
            }
        }
        Ok(())
    }

    /// How many bytes are durable.
    pub(crate) fn offset(&self) -> u64 {
        let in_parts: u64 = self.parts.iter().map(|part| part.bytes).sum();
        in_parts + self.content.len() as u64
    }

    /// Whether it is a file by now, to be listed and delivered.
    pub(crate) fn is_file(&self) -> bool {
        self.complete && !matches!(self.concat, Some(Concat::Partial { .. }))
    }

    /// Whether it is gone at `now`: the file, or the upload that was never completed.
    pub(crate) fn is_expired(&self, now: UnixSeconds) -> bool {
        self.expiry_s().is_some_and(|expires| expires <= now)
    }

    /// When it goes, as things are.
    pub(crate) fn expiry_s(&self) -> Option<UnixSeconds> {
        match self.concat {
            Some(Concat::Final { .. }) if !self.complete => None, // It goes with its partial ones.
            _ if !self.complete => self.upload_expires_s,
            Some(Concat::Partial { claimed_by: None }) => self.upload_expires_s,
            // What is claimed is no file, has no expiry, and goes with its final upload.
            _ => self.expires_s,
        }
    }

    /// Nothing is missing any more.
    pub(crate) fn complete(&mut self) {
        self.complete = true;
        self.length = Some(self.offset());
        if self.is_file() {
            self.upload_expires_s = None;
        }
    }

    /// What is appended to lives on until `expires_s`. What never expires still does not.
    pub(crate) fn live_until(&mut self, expires_s: UnixSeconds) {
        self.upload_expires_s = self.upload_expires_s.map(|old| old.max(expires_s));
    }

    /// The final upload that has claimed this one.
    pub(crate) fn claimed_by(&self) -> Option<FileId> {
        match self.concat {
            Some(Concat::Partial { claimed_by }) => claimed_by,
            _ => None,
        }
    }

    /// What a part of the file `id` is called.
    pub(crate) fn part_name(&self, id: FileId, part: Part) -> PartName {
        let source = usize::from(part.source).checked_sub(1);
        let writer = source.and_then(|place| self.sources.get(place)).copied().unwrap_or(id);
        PartName { writer, nonce: part.nonce }
    }

    /// What all parts of the file `id` are called, in order.
    pub(crate) fn part_names(&self, id: FileId) -> Vec<PartName> {
        self.parts.iter().map(|part| self.part_name(id, *part)).collect()
    }

    /// What the parts of the file `id` are called that it has written itself.
    pub(crate) fn own_part_names(&self, id: FileId) -> Vec<PartName> {
        let own = self.parts.iter().filter(|part| part.source == 0);
        own.map(|part| PartName { writer: id, nonce: part.nonce }).collect()
    }

    /// What an edge must know of it.
    pub(crate) fn file_record(&self) -> FileRecord {
        FileRecord {
            tenant: self.tenant.clone(),
            owner: self.owner.clone(),
            visibility: self.visibility,
            name: self.name.clone(),
            expires_s: self.expires_s,
            links_after_ms: self.links_after_ms,
        }
    }

    /// Where the bytes of `range` of the file `id` are, in order. `range` lies within the file.
    pub(crate) fn stretches(&self, id: FileId, range: Range<u64>) -> Vec<Stretch> {
        let mut begin = 0;
        let mut stretches = Vec::new();
        for part in &self.parts {
            let end = begin + part.bytes;
            let (from, to) = (range.start.max(begin), range.end.min(end));
            if from < to {
                let part = self.part_name(id, *part);
                stretches.push(Stretch { part, range: from - begin..to - begin });
            }
            begin = end;
        }
        stretches
    }
}

#[cfg(test)]
mod tests {
    use outport_wire::id::Home;
    use outport_wire::identity::Scopes;
    use proptest::prelude::*;

    use super::*;
    use crate::digest::Expected;

    fn id() -> FileId {
        FileId::new(Home::of(0, "demo", "alice"), 1, 2)
    }

    fn from_bytes(text: &str) -> Result<Record, Unreadable> {
        Record::from_bytes(&Bytes::copy_from_slice(text.as_bytes()))
    }

    fn part(bytes: u64) -> Part {
        Part { bytes, nonce: bytes + 1, source: 0 }
    }

    fn record(parts: &[u64]) -> Record {
        let owner = Identity::new("demo", "alice", Scopes::all()).unwrap();
        let description = Description {
            name: "a.txt".into(),
            media_type: "text/plain".into(),
            visibility: Visibility::Private,
            metadata: BTreeMap::from([("k".into(), "v".into())]),
            tus_metadata: None,
        };
        let mut record = Record::begin(&owner, description, Opening::of_length(60), 1_800_000_000);
        record.parts = parts.iter().copied().map(part).collect();
        record
    }

    #[test]
    fn the_stored_form_is_stable() {
        let stored = r#"{"v":2,"tenant":"demo","owner":"alice","name":"a.txt","type":"text/plain","visibility":"private","created_s":1800000000,"metadata":{"k":"v"},"length":60,"complete":false,"parts":[[10,11],[20,21]]}"#;
        assert_eq!(String::from_utf8(record(&[10, 20]).to_bytes()).unwrap(), stored);
        assert_eq!(from_bytes(stored).unwrap(), record(&[10, 20]));
        assert!(from_bytes(&stored.replace("\"v\":2", "\"v\":3")).is_err());
        assert!(from_bytes("{}").is_err());
    }

    #[test]
    fn all_that_a_record_can_hold_comes_back() {
        let field = "sha-256=:uU0nuZNNPgilLlLX2n2r+sSE7+N6U4DukIj3rOLvzek=:";
        let other = FileId::new(Home::of(0, "demo", "alice"), 3, 4);
        let mut full = record(&[10]);
        full.length = None;
        full.upload_expires_s = Some(1_800_000_100);
        full.epoch = 7;
        full.concat = Some(Concat::Final { of: vec![other] });
        full.digest = Some(Running::expecting(Expected::of_field(field).unwrap()));
        full.tus_concat = Some("final;/uploads/x".into());
        full.counted = Some(15);
        full.counted_by = 7;
        assert!(full.count_link("AAAA", 3, 1_800_000_200, 1_800_000_000));
        full.sources = vec![other];
        full.parts.push(Part { bytes: 5, nonce: 6, source: 1 });
        let stored = &String::from_utf8(full.to_bytes()).unwrap();
        assert!(stored.contains(r#""parts":[[10,11],[5,6,1]]"#), "{stored}");
        assert_eq!(from_bytes(stored).unwrap(), full);
    }

    #[test]
    fn uses_of_links_end_with_their_links() {
        let mut record = record(&[]);
        assert!(record.count_link("a", 2, 100, 50) && record.count_link("b", 1, 60, 50));
        assert!(record.use_link("a") && record.use_link("a") && !record.use_link("a"));
        assert!(!record.use_link("c"));
        for place in 2..COUNTED_LINKS_MAX {
            assert!(record.count_link(&place.to_string(), 1, 100, 50));
        }
        assert!(!record.count_link("c", 1, 100, 60), "there is room for no more");
        assert!(record.use_link("b"));
        assert!(record.count_link("c", 1, 100, 61), "one has expired");
        assert!(!record.use_link("b") && record.use_link("c"));
    }

    #[test]
    fn small_content_is_stored_beside_it() {
        let mut small = record(&[]);
        small.content = Bytes::from_static(b"a\nb\n\0");
        small.complete();
        assert_eq!((small.offset(), small.length), (5, Some(5)));
        let stored = small.to_bytes();
        assert!(stored.ends_with(b"}\na\nb\n\0"));
        assert_eq!(Record::from_bytes(&stored.into()).unwrap(), small);
    }

    #[test]
    fn records_of_format_1_are_read() {
        let stored = r#"{"v":1,"tenant":"demo","owner":"alice","name":"a.txt","type":"text/plain","visibility":"private","created_s":1800000000,"metadata":{"k":"v"},"length":60,"parts":[[10,11],[20,21]]}"#;
        assert_eq!(from_bytes(stored).unwrap(), record(&[10, 20]));
        let complete = stored.replace("60", "30");
        let complete = from_bytes(&complete).unwrap();
        assert!(complete.is_file() && complete.length == Some(30));
    }

    #[test]
    fn damaged_parts_are_noticed() {
        let stored = String::from_utf8(record(&[10, 20]).to_bytes()).unwrap();
        assert!(from_bytes(&format!("{stored}\nand content")).is_err());
        for damaged in ["[18446744073709551615,11]", "[0,11]", "[10,11,1]"] {
            let stored = stored.replace("[10,11]", damaged);
            assert!(from_bytes(&stored).is_err(), "{damaged}");
        }
    }

    #[test]
    fn what_is_a_file_and_what_has_expired() {
        let mut record = record(&[10]);
        (record.expires_s, record.upload_expires_s) = (Some(200), Some(100));
        assert!(!record.is_file() && !record.is_expired(99) && record.is_expired(100));
        record.complete();
        assert_eq!((record.length, record.is_file()), (Some(10), true));
        assert!(!record.is_expired(199) && record.is_expired(200));
    }

    #[test]
    fn progress_moves_an_expiry_on_and_makes_none() {
        let mut record = record(&[10]);
        record.live_until(100);
        assert_eq!(record.upload_expires_s, None);
        record.upload_expires_s = Some(200);
        for (until_s, expires_s) in [(100, 200), (300, 300)] {
            record.live_until(until_s);
            assert_eq!(record.upload_expires_s, Some(expires_s));
        }
    }

    #[test]
    fn a_piece_of_a_file_expires_until_it_is_claimed() {
        let mut record = record(&[10]);
        record.upload_expires_s = Some(100);
        record.concat = Some(Concat::Partial { claimed_by: None });
        record.complete();
        assert!(!record.is_file() && record.is_expired(100));
        record.concat = Some(Concat::Partial { claimed_by: Some(id()) });
        assert!(!record.is_expired(100));
    }

    #[test]
    fn ranges_cross_parts() {
        let record = record(&[10, 20, 30]);
        let ranges = |range: Range<u64>| -> Vec<(u64, Range<u64>)> {
            let stretches = record.stretches(id(), range);
            stretches.into_iter().map(|s| (s.part.nonce - 1, s.range)).collect()
        };
        assert_eq!(ranges(0..60), [(10, 0..10), (20, 0..20), (30, 0..30)]);
        assert_eq!(ranges(9..11), [(10, 9..10), (20, 0..1)]);
        assert_eq!(ranges(10..30), [(20, 0..20)]);
        assert_eq!(ranges(59..60), [(30, 29..30)]);
        assert_eq!(ranges(5..5), []);
    }

    #[test]
    fn parts_are_called_by_their_writer() {
        let other = FileId::new(Home::of(0, "demo", "alice"), 3, 4);
        let mut record = record(&[10]);
        record.sources = vec![other];
        record.parts.push(Part { bytes: 5, nonce: 6, source: 1 });
        let names = record.part_names(id());
        assert_eq!(
            names,
            [PartName { writer: id(), nonce: 11 }, PartName { writer: other, nonce: 6 },]
        );
    }

    /// Records of up to thirty parts, some of them another upload's.
    fn any_record() -> impl Strategy<Value = Record> {
        let part = (1..1_000_000_u64, any::<u64>(), 0..3_u16)
            .prop_map(|(bytes, nonce, source)| Part { bytes, nonce, source });
        let rest = (any::<Option<u64>>(), any::<bool>(), any::<u32>(), any::<Option<u64>>());
        (prop::collection::vec(part, 0..30), rest).prop_map(|(parts, rest)| {
            let mut record = record(&[]);
            (record.length, record.complete, record.epoch, record.upload_expires_s) = rest;
            record.sources = [5, 6].map(|n| FileId::new(Home::of(0, "demo", "alice"), n, n)).into();
            record.parts = parts;
            record
        })
    }

    proptest! {
        #[test]
        fn any_record_comes_back(record in any_record()) {
            let stored = Bytes::from(record.to_bytes());
            prop_assert_eq!(Record::from_bytes(&stored).unwrap(), record);
        }

        /// The stretches of a range are the range: each byte of it once, in order, where the parts
        /// before it say that it is.
        #[test]
        fn stretches_are_the_range(record in any_record(), ends in any::<[u64; 2]>()) {
            let [a, b] = ends.map(|end| end % (record.offset() + 1));
            let (start, end) = (a.min(b), a.max(b));
            let mut expected = start;
            let mut parts = record.parts.iter().scan(0, |begin, part| {
                let place = *begin;
                *begin += part.bytes;
                Some((record.part_name(id(), *part), place, part.bytes))
            });
            for stretch in record.stretches(id(), start..end) {
                let of_it = |place: u64| stretch.range.start + place == expected;
                let found = parts.find(|(name, place, _)| *name == stretch.part && of_it(*place));
                let (_, _, bytes) = found.expect("a part that has this byte, behind the last one");
                prop_assert!(stretch.range.start < stretch.range.end && stretch.range.end <= bytes);
                expected += stretch.range.end - stretch.range.start;
            }
            prop_assert_eq!(expected, end);
        }
    }
}
