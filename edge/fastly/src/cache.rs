//! The cache of responses: transactions of the platform's core cache, which one point of presence
//! shares.
//!
//! A head is kept as an entry's metadata, behind a byte that says whether there is a body. Bodies
//! go from the upstream to the cache and from the cache to the client outside of this program.

use std::io::Read as _;
use std::time::Duration;

use fastly::Body;
use fastly::cache::core::{self, CacheError, CacheKey, Found, PendingTransaction, Transaction};
use fastly::http::purge::purge_surrogate_key;
use outport_edge_core::step::{ByteRange, Looked, Store, StoreBody};

/// How long a lookup waits for another exchange to store. After that it goes on alone, and what
/// it fetches is stored beside that exchange's.
const WAIT_MAX: Duration = Duration::from_secs(60);
/// How long what is stale is kept for those who may still use it. The core decides who.
const STALE_MAX: Duration = Duration::from_secs(7 * 24 * 3600);
/// How long it is remembered that a key was forgotten: longer than any exchange lasts that may
/// bring it back.
const FORGOTTEN_FOR: Duration = Duration::from_secs(3600);
/// How long a body is kept that is stored for one client alone.
const ALONE_FOR: Duration = Duration::from_secs(60);

/// A lookup under way.
pub(crate) struct Asked {
    key: String,
    pending: PendingTransaction,
    collapsed: bool,
}

impl Asked {
    /// Begins to look a key up.
    pub(crate) fn new(key: String) -> Result<Self, CacheError> {
        let pending = Transaction::lookup(entry(&key))
            .always_use_requested_range()
            .timeout(WAIT_MAX)
            .execute_async()?;
        let collapsed = pending.pending()?;
        Ok(Self { key, pending, collapsed })
    }

    /// Whether another exchange leads, and has not ended yet.
    #[cfg(feature = "conformance")]
    pub(crate) fn waits(&self) -> bool {
        self.pending.pending().unwrap_or(false)
    }

    /// Waits for what the cache holds, and for the turn to lead.
    pub(crate) fn place(self) -> Place {
        let Self { key, pending, collapsed } = self;
        let transaction = match pending.wait() {
            Ok(transaction) => transaction,
            Err(error) => return Place::alone(key, &error),
        };
        let found = transaction.found();
        let leading = transaction.must_insert_or_update().then_some(transaction);
        // Who does not lead has no reason to store, and is spared the lookup.
        let forgotten = leading.as_ref().and_then(|_| forgotten(&key));
        Place { key, leading, found, forgotten, collapsed, stored: None }
    }
}

/// An exchange's place at a key.
pub(crate) struct Place {
    key: String,
    /// Held by who leads.
    leading: Option<Transaction>,
    found: Option<Found>,
    /// When the key was last forgotten, as far as it was known at the lookup.
    forgotten: Option<Vec<u8>>,
    collapsed: bool,
    /// What was stored, until it is known whether it may stay: the length of its body.
    stored: Option<u64>,
}

impl Place {
    /// A place of who could not look, or waited too long.
    pub(crate) fn alone(key: String, error: &CacheError) -> Self {
        eprintln!("outport: the cache could not be asked for {key:?}: {error}");
        let forgotten = forgotten(&key);
        Self { key, leading: None, found: None, forgotten, collapsed: false, stored: None }
    }

    /// What was found.
    pub(crate) fn looked(&self) -> Looked {
        let metadata = self.found.as_ref().map(Found::user_metadata);
        match metadata.as_deref().and_then(<[u8]>::split_first) {
            None => Looked::Vacant,
            Some((has_body, head)) => Looked::Found {
                head: head.to_vec(),
                body: *has_body == 1,
                lead: self.leading.is_some(),
                collapsed: self.collapsed,
            },
        }
    }

    /// Stores what the core says, taking the upstream's body if that belongs to it. Where the key
    /// was forgotten since the lookup, or the cache fails, nothing is stored or taken.
    pub(crate) fn store(&mut self, store: &Store, upstream: &mut Option<Body>) {
        if forgotten(&self.key) != self.forgotten {
            return self.leave();
        }
        let put = match store.body {
            StoreBody::Keep if self.leading.is_some() => self.update(store),
            StoreBody::Keep => {
                let body = self.found.as_ref().and_then(|found| found.to_stream().ok());
                let has_body = self.has_body();
                self.insert(store, has_body, body, None)
            }
            StoreBody::None => self.insert(store, false, None, Some(0)),
            StoreBody::Upstream(length) => self.insert(store, true, upstream.take(), Some(length)),
        };
        match put {
            Ok(()) => self.stored = Some(body_bytes(store.body)),
            Err(error) => eprintln!("outport: {:?} could not be stored: {error}", self.key),
        }
    }

    fn has_body(&self) -> bool {
        matches!(self.looked(), Looked::Found { body: true, .. })
    }

    /// A new head for what is there.
    fn update(&mut self, store: &Store) -> Result<(), CacheError> {
        let metadata = metadata(self.has_body(), &store.head);
        let Some(transaction) = self.leading.take() else { return Ok(()) };
        transaction
            .update(Duration::from_millis(store.fresh_ms))
            .stale_while_revalidate(STALE_MAX)
            .surrogate_keys([surrogate(&self.key).as_str()])
            .user_metadata(metadata.into())
            .execute()
    }

    fn insert(
        &mut self,
        store: &Store,
        has_body: bool,
        body: Option<Body>,
        length: Option<u64>,
    ) -> Result<(), CacheError> {
        let fresh = Duration::from_millis(store.fresh_ms);
        let surrogate = surrogate(&self.key);
        // Two builders of the platform, with the same methods and nothing in common.
        macro_rules! describe {
            ($builder:expr) => {{
                let builder = $builder
                    .stale_while_revalidate(STALE_MAX)
                    .surrogate_keys([surrogate.as_str()])
                    .user_metadata(metadata(has_body, &store.head).into());
                match length {
                    Some(length) => builder.known_length(length),
                    None => builder,
                }
            }};
        }
        let (mut writer, found) = match self.leading.take() {
            Some(transaction) => {
                let (writer, found) =
                    describe!(transaction.insert(fresh)).execute_and_stream_back()?;
                (writer, Some(found))
            }
            None => (describe!(core::insert(entry(&self.key), fresh)).execute()?, None),
        };
        if let Some(body) = body {
            writer.append(body);
        }
        finish(writer)?;
        self.found = match found {
            None => find(entry(&self.key))?,
            found => found,
        };
        Ok(())
    }

    /// Lets one of those who wait lead.
    pub(crate) fn leave(&mut self) {
        if let Some(transaction) = self.leading.take()
            && let Err(error) = transaction.cancel_insert_or_update()
        {
            eprintln!("outport: the lead of {:?} could not be given up: {error}", self.key);
        }
    }

    /// The stored body, or a range of it.
    pub(crate) fn read(&self, range: Option<ByteRange>) -> Option<Body> {
        let found = self.found.as_ref().filter(|_| self.has_body())?;
        read(found, range).inspect_err(|error| eprintln!("outport: {error}")).ok()
    }

    /// Once the response is on its way: takes back what was stored while the key was being
    /// forgotten, and what did not arrive whole. The end is waited for through the last byte; the
    /// others don't pass here.
    pub(crate) fn settle(&mut self) {
        let Some(length) = self.stored.take() else { return };
        if forgotten(&self.key) != self.forgotten || !has_arrived(&self.key, length) {
            purge(&self.key);
        }
    }
}

/// Forgets a key: lookups that begin later never see what was stored, and exchanges under way
/// that were to store it see that it was forgotten. The mark comes first: who does not see it has
/// stored already, and the purge takes that.
pub(crate) fn forget(key: &str, mark: u64) {
    let marked = core::insert(mark_of(key), FORGOTTEN_FOR)
        .user_metadata(mark.to_le_bytes().to_vec().into())
        .known_length(0)
        .execute()
        .and_then(finish);
    if let Err(error) = marked {
        eprintln!("outport: it could not be noted that {key:?} is forgotten: {error}");
    }
    purge(key);
}

/// Puts a body where nobody else finds it, to have a range of it.
pub(crate) fn range_of(body: Body, range: ByteRange, random: u64) -> Result<Body, CacheError> {
    let key = CacheKey::from(format!("alone {random:016x}"));
    let mut writer = core::insert(key.clone(), ALONE_FOR).execute()?;
    writer.append(body);
    finish(writer)?;
    read(&find(key)?.ok_or(CacheError::InvalidOperation)?, Some(range))
}

fn find(key: CacheKey) -> Result<Option<Found>, CacheError> {
    core::lookup(key).always_use_requested_range().execute()
}

fn read(found: &Found, range: Option<ByteRange>) -> Result<Body, CacheError> {
    match range {
        None => found.to_stream(),
        Some(range) => found.to_stream_from_range(Some(range.first), Some(range.last)),
    }
}

fn has_arrived(key: &str, length: u64) -> bool {
    let Some(last) = length.checked_sub(1) else { return true };
    match find(entry(key)) {
        Ok(Some(found)) => {
            let end = read(&found, Some(ByteRange { first: last, last }));
            end.is_ok_and(|mut end| end.read_exact(&mut [0]).is_ok())
        }
        // Nothing is there that would have to go.
        Ok(None) | Err(_) => true,
    }
}

/// When a key was last forgotten.
fn forgotten(key: &str) -> Option<Vec<u8>> {
    let found = core::lookup(mark_of(key)).execute().ok()??;
    Some(found.user_metadata().to_vec())
}

fn purge(key: &str) {
    if let Err(error) = purge_surrogate_key(&surrogate(key)) {
        eprintln!("outport: {key:?} could not be purged: {error}");
    }
}

fn finish(writer: fastly::http::body::StreamingBody) -> Result<(), CacheError> {
    writer.finish().map_err(|_| CacheError::InvalidOperation)
}

fn body_bytes(body: StoreBody) -> u64 {
    match body {
        StoreBody::Upstream(length) => length,
        StoreBody::None | StoreBody::Keep => 0,
    }
}

fn metadata(has_body: bool, head: &[u8]) -> Vec<u8> {
    [&[u8::from(has_body)], head].concat()
}

fn entry(key: &str) -> CacheKey {
    CacheKey::from(format!("entry {key}"))
}

fn mark_of(key: &str) -> CacheKey {
    CacheKey::from(format!("forgotten {key}"))
}

/// The key's surrogate key, of visible ASCII characters: at most 1,024, which is the platform's
/// bound, for a key of at most 512 bytes.
fn surrogate(key: &str) -> String {
    key.bytes().map(|byte| format!("{byte:02x}")).collect()
}
