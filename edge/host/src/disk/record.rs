//! A stored response as bytes: what is known of it, then its body and the body's forms.

use std::borrow::Cow;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use bytes::Bytes;
use outport_edge_core::step::Coding;
use serde::{Deserialize, Serialize};

/// What a record's first part is rounded up to, in bytes, and has left at least: a renewed head goes
/// where the old one was.
const META_STEP_BYTES: usize = 128;
const META_SPARE_BYTES: usize = 64;

/// A stored response whose body, if it has one, is whole.
#[derive(Clone, Debug)]
pub(crate) struct Stored {
    pub(crate) head: Bytes,
    pub(crate) body: Option<Vec<Bytes>>,
    /// Those that are not worth it have no bytes.
    pub(crate) forms: Vec<(Coding, Option<Bytes>)>,
    pub(crate) fresh_until: Instant,
    pub(crate) tags: Arc<[String]>,
    /// The scope in which it is a dictionary.
    pub(crate) dictionary: Option<Arc<str>>,
    /// The last purge when it was looked up, to be stored.
    pub(crate) purges_then: u64,
}

/// What time it is, by both clocks: a process's own does not outlive it.
#[derive(Clone, Copy)]
pub(super) struct Now {
    instant: Instant,
    unix_ms: u64,
}

impl Now {
    pub(super) fn new() -> Self {
        let unix = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let unix_ms = u64::try_from(unix.as_millis()).unwrap_or(u64::MAX);
        Self { instant: Instant::now(), unix_ms }
    }
}

/// What a record begins with.
#[derive(Serialize, Deserialize)]
struct Meta<'a> {
    #[serde(borrow)]
    key: &'a str,
    #[serde(borrow)]
    head: &'a [u8],
    #[serde(borrow)]
    tags: Cow<'a, [String]>,
    dictionary: Option<Cow<'a, str>>,
    purges_then: u64,
    /// When this was written, in milliseconds since 1970.
    written_ms: u64,
    /// How long it was fresh from then on, in milliseconds.
    fresh_ms: u64,
    body_bytes: Option<u64>,
    forms: Vec<(Coding, Option<u64>)>,
}

impl Stored {
    /// What the body and its forms have, in bytes.
    pub(super) fn body_bytes(&self) -> u64 {
        self.chunks().map(|chunk| chunk.len() as u64).sum()
    }

    /// The body and its forms, one after the other.
    pub(super) fn chunks(&self) -> impl Iterator<Item = &Bytes> {
        let forms = self.forms.iter().filter_map(|(_, form)| form.as_ref());
        self.body.iter().flatten().chain(forms)
    }

    /// The checksum of body and forms.
    pub(super) fn body_crc(&self) -> u32 {
        self.chunks().fold(0, |crc, chunk| crc32c::crc32c_append(crc, chunk))
    }

    /// The first part of its record.
    pub(super) fn meta(&self, key: &str, now: Now) -> Vec<u8> {
        let fresh = self.fresh_until.saturating_duration_since(now.instant);
        let bytes = |chunks: &Vec<Bytes>| chunks.iter().map(|chunk| chunk.len() as u64).sum();
        let form = |(coding, form): &(Coding, Option<Bytes>)| {
            (*coding, form.as_ref().map(|form| form.len() as u64))
        };
        let meta = Meta {
            key,
            head: &self.head,
            tags: Cow::Borrowed(&self.tags),
            dictionary: self.dictionary.as_deref().map(Cow::Borrowed),
            purges_then: self.purges_then,
            written_ms: now.unix_ms,
            fresh_ms: u64::try_from(fresh.as_millis()).unwrap_or(u64::MAX),
            body_bytes: self.body.as_ref().map(bytes),
            forms: self.forms.iter().map(form).collect(),
        };
        // Into memory; a record without its first part is never read back.
        postcard::to_stdvec(&meta).unwrap_or_default()
    }

    /// What a record holds: its first part, and body and forms. `None` where it is of another key, or
    /// does not fit together.
    pub(super) fn read(key: &str, meta: &[u8], mut rest: Bytes, now: Now) -> Option<Self> {
        let meta: Meta<'_> = postcard::from_bytes(meta).ok()?;
        if meta.key != key {
            return None;
        }
        let mut take = |bytes: u64| {
            let bytes = usize::try_from(bytes).ok().filter(|bytes| *bytes <= rest.len())?;
            Some(rest.split_to(bytes))
        };
        let body = match meta.body_bytes {
            Some(bytes) => Some(vec![take(bytes)?]),
            None => None,
        };
        let mut forms = Vec::with_capacity(meta.forms.len());
        for (coding, bytes) in meta.forms {
            let form = match bytes {
                Some(bytes) => Some(take(bytes)?),
                None => None,
            };
            forms.push((coding, form));
        }
        rest.is_empty().then(|| Self {
            head: Bytes::copy_from_slice(meta.head),
            body,
            forms,
            fresh_until: now.instant + left(meta.written_ms, meta.fresh_ms, now.unix_ms),
            tags: meta.tags.into_owned().into(),
            dictionary: meta.dictionary.map(Arc::from),
            purges_then: meta.purges_then,
        })
    }
}

/// The key that a record's first part is of.
pub(super) fn key(meta: &[u8]) -> Option<&str> {
    postcard::from_bytes::<Meta<'_>>(meta).ok().map(|meta| meta.key)
}

/// How many bytes are set aside for a first part.
pub(super) const fn meta_capacity(meta_bytes: usize) -> usize {
    (meta_bytes + META_SPARE_BYTES).next_multiple_of(META_STEP_BYTES)
}

/// How long something is fresh still. Where the clock was set back, nobody knows.
fn left(written_ms: u64, fresh_ms: u64, unix_ms: u64) -> Duration {
    let passed = unix_ms.checked_sub(written_ms);
    Duration::from_millis(passed.map_or(0, |passed| fresh_ms.saturating_sub(passed)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stored(now: Now) -> Stored {
        Stored {
            head: Bytes::from_static(b"head"),
            body: Some(vec![Bytes::from_static(b"some "), Bytes::from_static(b"body")]),
            forms: vec![(Coding::Gzip, None), (Coding::Brotli, Some(Bytes::from_static(b"br")))],
            fresh_until: now.instant + Duration::from_secs(60),
            tags: vec!["a".to_owned(), "b".to_owned()].into(),
            dictionary: Some("scope".into()),
            purges_then: 7,
        }
    }

    #[test]
    fn it_comes_back_as_it_was_as_much_older_as_it_is() {
        let now = Now::new();
        let stored = stored(now);
        let meta = stored.meta("key", now);
        assert_eq!(key(&meta), Some("key"));
        let rest = Bytes::from_static(b"some bodybr");
        assert_eq!(stored.body_bytes(), rest.len() as u64);
        assert_eq!(stored.body_crc(), crc32c::crc32c(&rest));
        for (passed_ms, left) in [(0, 60), (20_000, 40), (60_000, 0), (1 << 60, 0)] {
            let later = Now { unix_ms: now.unix_ms + passed_ms, ..now };
            let read = Stored::read("key", &meta, rest.clone(), later).unwrap();
            assert_eq!(read.fresh_until, now.instant + Duration::from_secs(left));
            assert_eq!(
                (&read.head, read.body.unwrap()[0].as_ref()),
                (&stored.head, &b"some body"[..])
            );
            assert_eq!((read.forms, read.tags), (stored.forms.clone(), stored.tags.clone()));
            assert_eq!((read.purges_then, read.dictionary.as_deref()), (7, Some("scope")));
        }
        let set_back = Now { unix_ms: now.unix_ms - 1, ..now };
        let read = Stored::read("key", &meta, rest, set_back).unwrap();
        assert_eq!(read.fresh_until, now.instant);
    }

    #[test]
    fn what_does_not_fit_together_is_nothing() {
        let now = Now::new();
        let meta = stored(now).meta("key", now);
        let read = |key, meta: &[u8], rest| Stored::read(key, meta, Bytes::from_static(rest), now);
        assert!(read("key", &meta, b"some bodybr").is_some());
        assert!(read("other", &meta, b"some bodybr").is_none());
        assert!(read("key", &meta, b"some bodyb").is_none());
        assert!(read("key", &meta, b"some bodybr2").is_none());
        assert!(read("key", &meta[..meta.len() - 1], b"some bodybr").is_none());
        assert!(read("key", &[], b"").is_none());
    }
}
