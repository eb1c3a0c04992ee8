//! The cache of responses: transactions of the platform's core cache, which one point of presence
//! shares.
//!
//! A head is kept as an entry's metadata, behind a byte that says whether there is a body. Bodies
//! go from the upstream to the cache and from the cache to the client outside of this program.

use std::io::Read as _;
use std::time::{Duration, SystemTime};

use fastly::Body;
use fastly::cache::core::{self, CacheError, CacheKey, Found, PendingTransaction, Transaction};
use fastly::http::purge::{purge_surrogate_key, soft_purge_surrogate_key};
use outport_edge_core::step::{ByteRange, Looked, Purge, Store, StoreBody};

use crate::{logged, random};

/// How long a lookup waits for another exchange to store. After that it goes on alone, and what
/// it fetches replaces what that exchange may store.
const WAIT_MAX: Duration = Duration::from_secs(60);
/// How long what is stale is kept for those who may still use it. The core decides who.
const STALE_MAX: Duration = Duration::from_secs(7 * 24 * 3600);
/// How long it is remembered that a key was forgotten: longer than any exchange lasts that may
/// bring it back.
const FORGOTTEN_FOR: Duration = Duration::from_secs(3600);

/// How far apart the clocks of one point of presence may be. What was purged so shortly before a
/// lookup is purged once more.
const CLOCKS_APART: Duration = Duration::from_secs(2);
/// How many purges the mark of the last ones names, each by so many bytes.
const LAST_PURGES: usize = 64;
const ID_BYTES: usize = size_of::<u64>();

/// A lookup under way.
pub(crate) struct Asked {
    key: String,
    pending: Option<PendingTransaction>,
    at: SystemTime,
}

impl Asked {
    /// Begins to look a key up.
    pub(crate) fn new(key: String) -> Self {
        let at = SystemTime::now();
        let lookup = Transaction::lookup(entry(&key)).always_use_requested_range();
        let pending = logged("a lookup failed", lookup.timeout(WAIT_MAX).execute_async());
        Self { key, pending, at }
    }

    /// Whether another exchange leads, and has not ended yet.
    #[cfg(feature = "conformance")]
    pub(crate) fn waits(&self) -> bool {
        self.pending.as_ref().is_some_and(|pending| pending.pending().unwrap_or(false))
    }

    /// Waits for what the cache holds, and for the turn to lead.
    pub(crate) fn place(self) -> Place {
        let Self { key, pending, at } = self;
        let waited = pending.map(PendingTransaction::wait);
        let transaction = waited.and_then(|waited| logged("a lookup did not end", waited));
        let found = transaction.as_ref().and_then(Transaction::found);
        let leading = transaction.filter(Transaction::must_insert_or_update);
        // Who was given something and need not renew it is spared a second lookup.
        let may_store = leading.is_some() || found.is_none();
        let marked = |name: &str| if may_store { mark(name) } else { None };
        let (mark, purges) = (marked(&mark_of(&key)), marked(PURGES));
        // It has waited, if what it found was stored since.
        let stored_since = |found: &Found| at.elapsed().is_ok_and(|elapsed| found.age() < elapsed);
        let collapsed = found.as_ref().is_some_and(stored_since);
        Place { key, leading, found, mark, asked: at, purges, collapsed, stored: None }
    }
}

/// An exchange's place at a key.
pub(crate) struct Place {
    key: String,
    /// Held by who leads.
    leading: Option<Transaction>,
    found: Option<Found>,
    /// The mark of when the key was forgotten last, as it was at the lookup.
    mark: Option<Vec<u8>>,
    /// When it was looked up, and the mark of the last purges, as it was then.
    asked: SystemTime,
    purges: Option<Vec<u8>>,
    collapsed: bool,
    /// Until it is known whether what was stored may stay.
    stored: Option<Stored>,
}

/// What was stored a moment ago.
struct Stored {
    /// Of the body, in bytes.
    length: u64,
    tags: Vec<String>,
}

impl Place {
    /// What was found.
    pub(crate) fn looked(&self) -> Looked {
        let metadata = self.found.as_ref().map(Found::user_metadata);
        match metadata.as_deref().and_then(<[u8]>::split_first) {
            None => Looked::Vacant,
            Some((has_body, head)) => Looked::Found {
                head: head.to_vec(),
                body: *has_body == 1,
                forms: Vec::new(),
                purged: self.found.as_ref().is_some_and(was_purged),
                lead: self.leading.is_some(),
                collapsed: self.collapsed,
            },
        }
    }

    /// Stores what the core says. Where the key was forgotten since the lookup, a body goes where
    /// nobody else finds it, for this exchange to have a range of it, and all else nowhere.
    pub(crate) fn store(&mut self, store: &Store, upstream: &mut Option<Body>) {
        let gone = self.is_forgotten() || self.purged_since(&store.tags) == Some(false);
        if gone {
            self.leave();
            let StoreBody::Upstream(_) = store.body else { return };
            (self.key, self.mark) = (format!("alone {:016x}", random()), None);
        }
        let length = logged("something could not be stored", self.put(store, upstream));
        self.stored = length.map(|length| Stored { length, tags: store.tags.clone() });
    }

    fn is_forgotten(&self) -> bool {
        mark(&mark_of(&self.key)) != self.mark
    }

    /// Whether something of these tags was purged since the lookup, and if so whether all of it
    /// softly.
    fn purged_since(&self, tags: &[String]) -> Option<bool> {
        if mark(PURGES) == self.purges {
            return None;
        }
        let since = self.asked.checked_sub(CLOCKS_APART)?;
        let before = self.purges.as_deref().unwrap_or_default();
        let is_before = |purge: &TagPurge| before.chunks_exact(ID_BYTES).any(|id| id == purge.id);
        let purges = tags.iter().filter_map(|tag| TagPurge::find(tag));
        let purges = purges.filter(|purge| purge.at >= since && !is_before(purge));
        purges.map(|purge| purge.soft).reduce(|one, other| one && other)
    }

    /// Returns the length of the body that is on its way into the cache.
    fn put(&mut self, store: &Store, upstream: &mut Option<Body>) -> Result<u64, CacheError> {
        let fresh = Duration::from_millis(store.fresh_ms);
        let tags = store.tags.iter().map(|tag| surrogate_of_tag(tag));
        let surrogates: Vec<_> = tags.chain([surrogate(&self.key)]).collect();
        let keep = store.body == StoreBody::Keep;
        let has_body = if keep { self.has_body() } else { store.body != StoreBody::None };
        let metadata = [&[u8::from(has_body)], store.head.as_slice()].concat();
        // Three builders of the platform, with the same methods and no trait.
        macro_rules! describe {
            ($builder:expr) => {
                $builder
                    .stale_while_revalidate(STALE_MAX)
                    .surrogate_keys(surrogates.iter().map(String::as_str))
                    .user_metadata(metadata.into())
            };
        }
        let leading = match self.leading.take() {
            Some(transaction) if keep => {
                return describe!(transaction.update(fresh)).execute().map(|()| 0);
            }
            leading => leading,
        };
        let (body, length) = match (store.body, &self.found) {
            (StoreBody::None, _) => (None, Some(0)),
            // One of no known length is never asked for: the driver declares no ability to store it.
            (StoreBody::Upstream(extent), _) => (upstream.take(), extent.exact()),
            (StoreBody::Keep, Some(found)) => (Some(found.to_stream()?), found.known_length()),
            (StoreBody::Keep, None) | (StoreBody::Slices { .. }, _) => (None, None),
        };
        let length = length.ok_or(CacheError::InvalidOperation)?;
        let (mut writer, found) = match leading {
            Some(transaction) => {
                let insert = describe!(transaction.insert(fresh)).known_length(length);
                insert.execute_and_stream_back().map(|(writer, found)| (writer, Some(found)))?
            }
            None => {
                let insert = describe!(core::insert(entry(&self.key), fresh)).known_length(length);
                (insert.execute()?, None)
            }
        };
        if let Some(body) = body {
            writer.append(body);
        }
        writer.finish().map_err(|_| CacheError::InvalidOperation)?;
        self.found = found.map_or_else(|| find(&self.key), |found| Ok(Some(found)))?;
        Ok(length)
    }

    fn has_body(&self) -> bool {
        matches!(self.looked(), Looked::Found { body: true, .. })
    }

    /// Lets one of those who wait lead.
    pub(crate) fn leave(&mut self) {
        if let Some(transaction) = self.leading.take() {
            logged("a lead could not be given up", transaction.cancel_insert_or_update());
        }
    }

    /// The stored body, or a range of it.
    pub(crate) fn read(&self, range: Option<ByteRange>) -> Option<Body> {
        let found = self.found.as_ref().filter(|_| self.has_body())?;
        let (first, last) = (range.map(|range| range.first), range.map(|range| range.last));
        logged("a body could not be read", found.to_stream_from_range(first, last))
    }

    /// Once the response is on its way: takes back what was stored while the key was being
    /// forgotten, and what did not arrive whole.
    pub(crate) fn settle(&mut self) {
        let Some(Stored { length, tags }) = self.stored.take() else { return };
        let purged = self.purged_since(&tags);
        if self.is_forgotten() || purged == Some(false) || !has_arrived(&self.key, length) {
            remove(&self.key);
        } else if purged == Some(true) {
            let soft = soft_purge_surrogate_key(&surrogate(&self.key));
            logged("a key could not be purged softly", soft);
        }
    }
}

/// That a tag was purged.
struct TagPurge {
    soft: bool,
    at: SystemTime,
    id: Vec<u8>,
}

impl TagPurge {
    fn find(tag: &str) -> Option<Self> {
        let mark = mark(&mark_of_tag(tag))?;
        let (soft, rest) = mark.split_first()?;
        let (at, id) = rest.split_first_chunk()?;
        let at = SystemTime::UNIX_EPOCH + Duration::from_millis(u64::from_le_bytes(*at));
        Some(Self { soft: *soft == 1, at, id: id.to_vec() })
    }
}

/// Forgets a key: lookups that begin later never see what was stored, and exchanges under way
/// that were to store it see a new mark. The mark comes first: who does not see it has stored
/// already, and the purge takes that.
pub(crate) fn forget(key: &str) {
    set_mark(&mark_of(key), random().to_le_bytes().to_vec());
    remove(key);
}

/// Purges what is stored under a tag. The marks come first, as with what is forgotten. That of the
/// last purges names this one once the tag's mark is there: who has seen it there came after.
pub(crate) fn purge(Purge { tag, soft }: &Purge) {
    let (at, id) = (crate::moment().unix_ms.to_le_bytes(), random().to_le_bytes());
    set_mark(&mark_of_tag(tag), [&[u8::from(*soft)], &at[..], &id].concat());
    let mut last = mark(PURGES).unwrap_or_default();
    last.extend_from_slice(&id);
    let passed = last.len().saturating_sub(LAST_PURGES * ID_BYTES);
    set_mark(PURGES, last.split_off(passed));
    let surrogate = surrogate_of_tag(tag);
    let purged = match soft {
        true => soft_purge_surrogate_key(&surrogate),
        false => purge_surrogate_key(&surrogate),
    };
    logged("a tag could not be purged", purged);
}

fn set_mark(name: &str, mark: Vec<u8>) {
    let marking = core::insert(CacheKey::from(name.to_owned()), FORGOTTEN_FOR);
    let marking = marking.user_metadata(mark.into()).known_length(0).execute();
    if let Some(writer) = logged("a mark could not be set", marking) {
        logged("a mark could not be set", writer.finish());
    }
}

/// Whether it was purged softly: it is stale before its time.
fn was_purged(found: &Found) -> bool {
    found.is_stale() && found.age() < found.max_age()
}

/// Waits for a body's end, through its last byte. The others don't pass here.
fn has_arrived(key: &str, length: u64) -> bool {
    let Some(last) = length.checked_sub(1) else { return true };
    // Where nothing is, nothing has to go.
    let Ok(Some(found)) = find(key) else { return true };
    let Ok(end) = found.to_stream_from_range(Some(last), None) else { return false };
    end.take(2).read_to_end(&mut Vec::new()).is_ok_and(|bytes| bytes == 1)
}

fn find(key: &str) -> Result<Option<Found>, CacheError> {
    core::lookup(entry(key)).always_use_requested_range().execute()
}

fn mark(name: &str) -> Option<Vec<u8>> {
    let found = core::lookup(CacheKey::from(name.to_owned())).execute().ok()??;
    Some(found.user_metadata().to_vec())
}

fn remove(key: &str) {
    logged("a key could not be purged", purge_surrogate_key(&surrogate(key)));
}

fn entry(key: &str) -> CacheKey {
    CacheKey::from(format!("entry {key}"))
}

/// The name of the mark of the last purges of all.
const PURGES: &str = "purged";

fn mark_of(key: &str) -> String {
    format!("forgotten {key}")
}

fn mark_of_tag(tag: &str) -> String {
    format!("purged {tag}")
}

/// The surrogate key of a tag, which is longer than that of a key is.
fn surrogate_of_tag(tag: &str) -> String {
    surrogate(&format!("tag {tag}"))
}

/// The key's surrogate key, of visible ASCII characters: at most 1,024, which is the platform's
/// bound, for a key of at most 512 bytes.
fn surrogate(key: &str) -> String {
    key.bytes().map(|byte| format!("{byte:02x}")).collect()
}
