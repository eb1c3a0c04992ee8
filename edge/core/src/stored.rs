//! What is stored with a key of the cache: opaque to drivers, read back here.
//!
//! A stored file is its record and the fields of its representation. The contents never change
//! under an id, so they are good for ever; what is renewed is the record.

use outport_wire::file::{FILE_HEADER, FileRecord, Visibility};
use outport_wire::id::FileId;
use outport_wire::identity::{Identity, Scope};
use serde::{Deserialize, Serialize};

use crate::caching::directives::Directives;
use crate::head::FieldLines;

/// How long it is believed that there is no file of an id, in milliseconds.
const MISSING_MS: u64 = 2_000;
/// For how long a slice is good, in milliseconds: for ever, as no clock counts further.
const SLICE_MS: u64 = 365 * 86_400_000;
/// How long everybody is told of a failure that one has met, in milliseconds.
const FAILED_MS: u64 = 1_000;
/// How long nobody asks again after a renewal failed, in milliseconds.
pub(crate) const RETRY_MS: u64 = 1_000;

/// The cache key of a file.
pub(crate) fn file_key(id: FileId) -> String {
    format!("file {id}")
}

/// What a head of the cache says.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Stored<'a> {
    /// A file.
    #[serde(borrow)]
    File(StoredFile<'a>),
    /// There is no file of this id.
    Missing { since_ms: u64 },
    /// Asking failed with this status.
    Failed { since_ms: u64, status: u16 },
    /// A slice of a file.
    Slice,
}

/// A file, as a cache keeps it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct StoredFile<'a> {
    /// As its owner gave it; [`crate::file`] decides what is sent.
    pub(crate) content_type: &'a str,
    /// Strong.
    pub(crate) etag: &'a str,
    pub(crate) last_modified: &'a str,
    /// Bytes.
    pub(crate) length: u64,
    pub(crate) tenant: &'a str,
    pub(crate) owner: &'a str,
    pub(crate) name: &'a str,
    pub(crate) visibility: Visibility,
    pub(crate) expires_s: Option<u64>,
    pub(crate) links_after_ms: Option<u64>,
    pub(crate) freshness: Freshness,
}

/// For how long a stored record may be believed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Freshness {
    /// When the origin last said so.
    pub(crate) since_ms: u64,
    /// `max-age` (RFC 9111, section 5.2.2.1).
    pub(crate) lifetime_ms: u64,
    /// `stale-while-revalidate` (RFC 5861, section 3).
    pub(crate) while_revalidate_ms: u64,
    /// `stale-if-error` (RFC 5861, section 4).
    pub(crate) if_error_ms: u64,
    /// When renewing it failed, if that was the last that was tried.
    pub(crate) failed_ms: Option<u64>,
}

impl Freshness {
    /// Of what is known at this moment, and not to be stored.
    pub(crate) const fn none(now_ms: u64) -> Self {
        Self {
            since_ms: now_ms,
            lifetime_ms: 0,
            while_revalidate_ms: 0,
            if_error_ms: 0,
            failed_ms: None,
        }
    }

    /// Milliseconds until it is stale; below zero once it is.
    pub(crate) fn left_ms(&self, now_ms: u64) -> i64 {
        let until = self.since_ms.saturating_add(self.lifetime_ms);
        i64::try_from(until).unwrap_or(i64::MAX) - i64::try_from(now_ms).unwrap_or(i64::MAX)
    }

    /// The same, stale from this moment at the latest.
    pub(crate) fn made_stale(self, now_ms: u64) -> Self {
        Self { lifetime_ms: self.lifetime_ms.min(now_ms.saturating_sub(self.since_ms)), ..self }
    }

    /// Whether it may be used while another exchange renews it.
    pub(crate) fn while_revalidating(&self, now_ms: u64) -> bool {
        self.left_ms(now_ms).saturating_add_unsigned(self.while_revalidate_ms) > 0
    }

    /// Whether it may be used since renewing it failed.
    pub(crate) fn if_error(&self, now_ms: u64) -> bool {
        self.left_ms(now_ms).saturating_add_unsigned(self.if_error_ms) > 0
    }

    /// Whether renewing failed so short a time ago that it is not tried again.
    pub(crate) fn rests(&self, now_ms: u64) -> bool {
        self.failed_ms.is_some_and(|failed| now_ms < failed.saturating_add(RETRY_MS))
            && self.if_error(now_ms)
    }

    /// Reads `Cache-Control` of an answer that has just come.
    fn read(cache_control: &str, now_ms: u64) -> Self {
        let directives = Directives::read(std::iter::once(cache_control.as_bytes()));
        let milliseconds = |seconds: Option<u64>| seconds.unwrap_or_default() * 1000;
        Self {
            since_ms: now_ms,
            lifetime_ms: milliseconds(directives.max_age_s),
            while_revalidate_ms: milliseconds(directives.stale_while_revalidate_s),
            if_error_ms: milliseconds(directives.stale_if_error_s),
            failed_ms: None,
        }
    }
}

impl<'a> Stored<'a> {
    /// Reads a head of the cache. What can't be read was written by another version: `None`.
    pub(crate) fn decode(head: &'a [u8]) -> Option<Self> {
        postcard::from_bytes(head).ok()
    }

    /// The head, for the cache.
    pub(crate) fn encode(&self) -> Vec<u8> {
        postcard::to_stdvec(self).unwrap_or_default()
    }

    /// How long lookups may be left without a leader.
    pub(crate) fn fresh_ms(&self) -> u64 {
        match self {
            Self::File(file) if file.freshness.failed_ms.is_some() => RETRY_MS,
            Self::File(file) => file.freshness.lifetime_ms,
            Self::Missing { .. } => MISSING_MS,
            Self::Failed { .. } => FAILED_MS,
            Self::Slice => SLICE_MS,
        }
    }

    /// Whether a stored refusal still counts.
    pub(crate) fn refusal_counts(&self, now_ms: u64) -> bool {
        match self {
            Self::File(_) | Self::Slice => false,
            Self::Missing { since_ms } => now_ms < since_ms.saturating_add(MISSING_MS),
            Self::Failed { since_ms, .. } => now_ms < since_ms.saturating_add(FAILED_MS),
        }
    }
}

impl<'a> StoredFile<'a> {
    /// Reads the origin's answer to a GET or HEAD of a file. `record` is [`read_record`]'s.
    pub(crate) fn read(
        fields: FieldLines<'a>,
        record: &'a FileRecord,
        now_ms: u64,
    ) -> Option<Self> {
        Some(Self {
            content_type: fields.get("content-type").unwrap_or("application/octet-stream"),
            etag: fields.get("etag").filter(|etag| etag.starts_with('"'))?,
            last_modified: fields.get("last-modified").unwrap_or_default(),
            length: fields.get("content-length")?.parse().ok()?,
            tenant: &record.tenant,
            owner: &record.owner,
            name: &record.name,
            visibility: record.visibility,
            expires_s: record.expires_s,
            links_after_ms: record.links_after_ms,
            freshness: Freshness::read(fields.get("cache-control").unwrap_or_default(), now_ms),
        })
    }

    /// The same contents under a record that the origin has just confirmed with a 304
    /// (RFC 9111, section 4.3.4).
    pub(crate) fn renewed(
        &self,
        fields: FieldLines<'_>,
        record: &'a FileRecord,
        now_ms: u64,
    ) -> Self {
        Self {
            tenant: &record.tenant,
            owner: &record.owner,
            name: &record.name,
            visibility: record.visibility,
            expires_s: record.expires_s,
            links_after_ms: record.links_after_ms,
            freshness: Freshness::read(fields.get("cache-control").unwrap_or_default(), now_ms),
            ..self.clone()
        }
    }

    /// Whether this caller may fetch the file, who may have come with a link that was made then.
    pub(crate) fn is_open_to(&self, identity: Option<&Identity>, link_ms: Option<u64>) -> bool {
        let by_link = link_ms.is_some_and(|made| !self.has_ended(made));
        let owned = identity.is_some_and(|identity| {
            identity.scopes.allow(Scope::Read) && identity.owns(self.tenant, self.owner)
        });
        owned || by_link || self.visibility == Visibility::Public
    }

    /// Whether the links are good no more that were made then.
    pub(crate) fn has_ended(&self, link_ms: u64) -> bool {
        self.links_after_ms.is_some_and(|after| link_ms <= after)
    }

    /// Whether the file is gone.
    pub(crate) fn is_expired(&self, now_s: u64) -> bool {
        self.expires_s.is_some_and(|expires| expires <= now_s)
    }
}

/// The record that comes with an origin's answer about a file.
pub(crate) fn read_record(fields: FieldLines<'_>) -> Option<FileRecord> {
    FileRecord::decode(fields.get(FILE_HEADER)?.as_bytes()).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn freshness() {
        let freshness = Freshness::read(
            "max-age=60, stale-while-revalidate=30, stale-if-error=86400",
            1_000_000,
        );
        assert_eq!(freshness.left_ms(1_000_000), 60_000);
        assert_eq!(freshness.left_ms(1_070_000), -10_000);
        assert!(
            freshness.while_revalidating(1_089_999) && !freshness.while_revalidating(1_090_000)
        );
        assert!(freshness.if_error(87_459_999) && !freshness.if_error(87_460_000));
        assert!(!freshness.rests(1_070_000));
        let failed = Freshness { failed_ms: Some(1_070_000), ..freshness };
        assert!(failed.rests(1_070_999) && !failed.rests(1_071_000));
    }

    #[test]
    fn what_is_not_said_is_not_fresh() {
        for cache_control in ["", "no-store", "max-age=x", "max-age=-1"] {
            assert_eq!(Freshness::read(cache_control, 5).lifetime_ms, 0, "{cache_control}");
        }
    }

    #[test]
    fn comes_back_from_the_cache() {
        let record = FileRecord {
            tenant: "demo".into(),
            owner: "alice".into(),
            visibility: Visibility::Link,
            name: "a.txt".into(),
            expires_s: Some(9),
            links_after_ms: None,
        };
        let fields = b"etag: \"x\"\r\ncontent-length: 5\r\ncache-control: max-age=60\r\n";
        let file = StoredFile::read(FieldLines::new(fields), &record, 7).unwrap();
        let stored = Stored::File(file);
        let head = stored.encode();
        assert_eq!(Stored::decode(&head), Some(stored));
        assert_eq!(Stored::decode(&head[..head.len() - 1]), None);
    }

    #[test]
    fn an_answer_without_what_is_needed_is_no_file() {
        let record = FileRecord {
            tenant: String::new(),
            owner: String::new(),
            visibility: Visibility::Private,
            name: String::new(),
            expires_s: None,
            links_after_ms: None,
        };
        for fields in [
            &b"content-length: 5\r\n"[..],
            b"etag: W/\"x\"\r\ncontent-length: 5\r\n",
            b"etag: \"x\"\r\n",
            b"etag: \"x\"\r\ncontent-length: -5\r\n",
        ] {
            assert!(StoredFile::read(FieldLines::new(fields), &record, 0).is_none());
        }
    }
}
