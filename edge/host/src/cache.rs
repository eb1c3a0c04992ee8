//! The cache of a node: stored responses in memory, shared by all threads, bounded by bytes.
//!
//! Eviction is quick_cache's variant of S3-FIFO: what was asked for once goes first. Heads are
//! the core's and opaque. Requests for one vacant key are collapsed: the first leads, the others
//! wait for what it stores. A body can be read while it is still arriving.

use std::collections::HashMap;
use std::collections::hash_map::RandomState;
use std::hash::BuildHasher as _;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use bytes::Bytes;
use futures::stream::{self, StreamExt as _};
use outport_edge_core::step::ByteRange;
use quick_cache::Weighter;
use quick_cache::sync::Cache as Entries;
use tokio::sync::watch;

use crate::body::{Cut, EdgeBody};

const SHARDS: usize = 64;
/// What an entry takes beyond its head and body: keys, pointers, counters.
const ENTRY_BYTES: usize = 256;
/// For how many entries the cache is laid out at first.
const ENTRIES_EXPECTED: usize = 100_000;

/// The cache.
pub(crate) struct Cache {
    entries: Entries<String, Arc<Entry>, Weight>,
    hasher: RandomState,
    /// Who is fetching what is not stored. Whatever changes an entry holds its key's shard.
    flights: Box<[Mutex<HashMap<String, Flight>>]>,
}

/// Somebody fetches this key. Dropped when that is over, which wakes all who wait.
struct Flight {
    number: u64,
    over: watch::Sender<()>,
}

/// A stored response.
pub(crate) struct Entry {
    head: Bytes,
    body: Option<Arc<StoredBody>>,
    fresh_until: Instant,
    led: AtomicBool,
}

impl Entry {
    /// The head, as it was stored.
    pub(crate) fn head(&self) -> &[u8] {
        &self.head
    }

    /// The body, if it is stored too.
    pub(crate) fn body(&self) -> Option<&Arc<StoredBody>> {
        self.body.as_ref()
    }
}

#[derive(Clone)]
struct Weight;

impl Weighter<String, Arc<Entry>> for Weight {
    fn weight(&self, key: &String, entry: &Arc<Entry>) -> u64 {
        let body = entry.body.as_ref().map_or(0, |body| body.length);
        body + (entry.head.len() + key.len() + ENTRY_BYTES) as u64
    }
}

/// What a lookup came to. An exchange holds it to its end; dropping it gives up what it leads.
pub(crate) struct Holding {
    cache: Arc<Cache>,
    key: String,
    held: Held,
    /// It waited for another exchange.
    pub(crate) collapsed: bool,
}

enum Held {
    /// It leads the fetching of a vacant key.
    Flight(u64),
    /// It was given this, and leads its renewal or does not.
    Entry { entry: Arc<Entry>, leads: bool },
}

/// The body that goes with a newly stored head.
pub(crate) enum NewBody {
    None,
    Keep,
    Arriving(Arc<StoredBody>),
}

impl Cache {
    /// A cache for this many bytes.
    pub(crate) fn new(bytes_max: u64) -> Arc<Self> {
        Arc::new(Self {
            entries: Entries::with_weighter(ENTRIES_EXPECTED, bytes_max, Weight),
            hasher: RandomState::new(),
            flights: (0..SHARDS).map(|_| Mutex::default()).collect(),
        })
    }

    /// Bytes and entries stored.
    pub(crate) fn size(&self) -> (u64, u64) {
        (self.entries.weight(), self.entries.len() as u64)
    }

    /// Looks a key up; waits while another exchange fetches it.
    pub(crate) async fn look(self: &Arc<Self>, key: String) -> Holding {
        let mut collapsed = false;
        loop {
            if let Some(entry) = self.entries.get(&key) {
                return self.found(key, entry, collapsed);
            }
            let mut over = {
                let mut flights = self.flights(&key);
                // It may have been stored since.
                if let Some(entry) = self.entries.get(&key) {
                    drop(flights);
                    return self.found(key, entry, collapsed);
                }
                match flights.get(&key) {
                    Some(flight) => flight.over.subscribe(),
                    None => {
                        let number = rand::random();
                        let over = watch::Sender::new(());
                        flights.insert(key.clone(), Flight { number, over });
                        let held = Held::Flight(number);
                        return Holding { cache: self.clone(), key, held, collapsed };
                    }
                }
            };
            collapsed = true;
            // Fails when the flight is dropped, which is what is waited for.
            let _ = over.changed().await;
        }
    }

    fn found(self: &Arc<Self>, key: String, entry: Arc<Entry>, collapsed: bool) -> Holding {
        let leads = entry.fresh_until <= Instant::now() && !entry.led.swap(true, Ordering::AcqRel);
        Holding { cache: self.clone(), key, held: Held::Entry { entry, leads }, collapsed }
    }

    /// Forgets a key: neither what is stored nor what is now being fetched is found from here on.
    pub(crate) fn forget(&self, key: &str) {
        let mut flights = self.flights(key);
        flights.remove(key);
        self.entries.remove(key);
    }

    /// Takes back a response whose body was cut.
    pub(crate) fn take_back(&self, key: &str, entry: &Arc<Entry>) {
        let _flights = self.flights(key);
        if self.entries.peek(key).is_some_and(|current| Arc::ptr_eq(&current, entry)) {
            self.entries.remove(key);
        }
    }

    fn flights(&self, key: &str) -> MutexGuard<'_, HashMap<String, Flight>> {
        let place = self.hasher.hash_one(key) as usize % SHARDS;
        #[allow(clippy::expect_used)] // The place is a remainder, and there is always a shard.
        let shard = self.flights.get(place).expect("a remainder of the shards' number");
        shard.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Holding {
    /// What was found, and whether this exchange leads; nothing where the key is vacant.
    pub(crate) fn entry(&self) -> Option<(&Arc<Entry>, bool)> {
        match &self.held {
            Held::Flight(_) => None,
            Held::Entry { entry, leads } => Some((entry, *leads)),
        }
    }

    /// Stores a head, unless the key was forgotten or stored anew since it was looked up.
    pub(crate) fn store(
        &self,
        head: Vec<u8>,
        body: NewBody,
        fresh: Duration,
    ) -> Option<Arc<Entry>> {
        let kept = match &self.held {
            Held::Entry { entry, .. } => entry.body.clone(),
            Held::Flight(_) => None,
        };
        let body = match body {
            NewBody::None => None,
            NewBody::Keep => kept,
            NewBody::Arriving(body) => Some(body),
        };
        let entry = Arc::new(Entry {
            head: Bytes::from(head),
            body,
            fresh_until: Instant::now() + fresh,
            led: AtomicBool::new(false),
        });
        let mut flights = self.cache.flights(&self.key);
        let current = match &self.held {
            Held::Flight(number) => {
                flights.get(&self.key).is_some_and(|flight| flight.number == *number)
            }
            Held::Entry { entry, .. } => self
                .cache
                .entries
                .peek(&self.key)
                .is_some_and(|current| Arc::ptr_eq(&current, entry)),
        };
        if !current {
            return None;
        }
        self.cache.entries.insert(self.key.clone(), entry.clone());
        flights.remove(&self.key);
        Some(entry)
    }

    /// The cache and the key, for who goes on after the exchange.
    pub(crate) fn place(&self) -> (Arc<Cache>, String) {
        (self.cache.clone(), self.key.clone())
    }
}

impl Drop for Holding {
    fn drop(&mut self) {
        match &self.held {
            Held::Flight(number) => {
                let mut flights = self.cache.flights(&self.key);
                if flights.get(&self.key).is_some_and(|flight| flight.number == *number) {
                    flights.remove(&self.key);
                }
            }
            Held::Entry { entry, leads: true } => entry.led.store(false, Ordering::Release),
            Held::Entry { leads: false, .. } => {}
        }
    }
}

/// A stored body, whole or still arriving.
pub(crate) struct StoredBody {
    length: u64,
    arriving: watch::Sender<Arriving>,
}

#[derive(Default)]
struct Arriving {
    chunks: Vec<Bytes>,
    bytes: u64,
    cut: bool,
}

impl StoredBody {
    /// A body of this length, of which nothing has arrived.
    pub(crate) fn new(length: u64) -> Arc<Self> {
        Arc::new(Self { length, arriving: watch::Sender::new(Arriving::default()) })
    }

    /// Adds what has arrived. The error: it is more than there should be.
    pub(crate) fn push(&self, chunk: Bytes) -> Result<(), Cut> {
        let mut fits = true;
        self.arriving.send_modify(|arriving| {
            fits = arriving.bytes + chunk.len() as u64 <= self.length;
            if fits && !chunk.is_empty() {
                arriving.bytes += chunk.len() as u64;
                arriving.chunks.push(chunk);
            }
        });
        if fits { Ok(()) } else { Err(Cut) }
    }

    /// Nothing more arrives. The error: it should have.
    pub(crate) fn end(&self) -> Result<(), Cut> {
        if self.arriving.borrow().bytes == self.length { Ok(()) } else { Err(Cut) }
    }

    /// Nothing more arrives, and who reads it must know.
    pub(crate) fn cut(&self) {
        self.arriving.send_modify(|arriving| arriving.cut = true);
    }

    /// The body, or a range of it.
    pub(crate) fn read(self: &Arc<Self>, range: Option<ByteRange>) -> EdgeBody {
        let (from, until) = match range {
            Some(range) => (range.first, range.last + 1),
            None => (0, self.length),
        };
        if let Some(bytes) = self.whole_chunk(from, until) {
            return EdgeBody::full(bytes);
        }
        let reader =
            Reader { _body: self.clone(), updates: self.arriving.subscribe(), from, until };
        EdgeBody::Stored(stream::unfold(reader, Reader::next).boxed(), until - from)
    }

    /// The range, where it lies within the first chunk and has arrived: the case of small files.
    fn whole_chunk(&self, from: u64, until: u64) -> Option<Bytes> {
        let arriving = self.arriving.borrow();
        let chunk = arriving.chunks.first()?;
        let range = usize::try_from(from).ok()?..usize::try_from(until).ok()?;
        (range.end <= chunk.len()).then(|| chunk.slice(range))
    }
}

/// Reads a body from one place to another, waiting for what has not arrived.
struct Reader {
    /// Keeps the sender of `updates`.
    _body: Arc<StoredBody>,
    updates: watch::Receiver<Arriving>,
    from: u64,
    until: u64,
}

impl Reader {
    async fn next(mut self) -> Option<(Result<Bytes, Cut>, Self)> {
        if self.from >= self.until {
            return None;
        }
        let from = self.from;
        let chunk = {
            // The sender is kept, so it is never gone.
            let arriving = self.updates.wait_for(|now| now.bytes > from || now.cut).await.ok()?;
            chunk_at(&arriving, self.from, self.until)
        };
        let Some(chunk) = chunk else {
            self.from = self.until;
            return Some((Err(Cut), self));
        };
        self.from += chunk.len() as u64;
        Some((Ok(chunk), self))
    }
}

/// What has arrived from `from` on, within one chunk and before `until`.
fn chunk_at(arriving: &Arriving, from: u64, until: u64) -> Option<Bytes> {
    let mut begins = 0;
    for chunk in &arriving.chunks {
        let ends = begins + chunk.len() as u64;
        if from < ends {
            let first = usize::try_from(from - begins).ok()?;
            let last = usize::try_from(until.min(ends) - begins).ok()?;
            return Some(chunk.slice(first..last));
        }
        begins = ends;
    }
    None
}

#[cfg(test)]
mod tests {
    use http_body_util::BodyExt as _;

    use super::*;

    async fn put(cache: &Arc<Cache>, key: &str, length: usize) {
        let holding = cache.look(key.to_owned()).await;
        let body = StoredBody::new(length as u64);
        body.push(Bytes::from(vec![0; length])).unwrap();
        holding.store(vec![], NewBody::Arriving(body), Duration::from_secs(60));
    }

    #[tokio::test]
    async fn bytes_are_bounded() {
        let cache = Cache::new(1 << 20);
        for key in 0..1000 {
            put(&cache, &key.to_string(), 10_000).await;
            assert!(cache.size().0 <= 1 << 20);
        }
        assert!(cache.size().1 > 50);
    }

    #[tokio::test]
    async fn a_body_is_read_while_it_arrives() {
        let body = StoredBody::new(10);
        let reader = body.read(Some(ByteRange { first: 2, last: 8 }));
        let reading = tokio::spawn(async move { reader.collect().await.unwrap().to_bytes() });
        for chunk in ["0", "123", "", "4567", "89"] {
            tokio::task::yield_now().await;
            body.push(Bytes::from_static(chunk.as_bytes())).unwrap();
        }
        body.end().unwrap();
        assert_eq!(reading.await.unwrap(), "2345678");
    }

    #[tokio::test]
    async fn a_cut_body_does_not_end() {
        let body = StoredBody::new(10);
        body.push(Bytes::from_static(b"0123")).unwrap();
        let reader = body.read(None);
        assert!(body.end().is_err());
        body.cut();
        assert!(reader.collect().await.is_err());
    }

    #[test]
    fn more_than_announced_is_cut_off() {
        let body = StoredBody::new(3);
        assert!(body.push(Bytes::from_static(b"0123")).is_err());
        assert!(body.push(Bytes::from_static(b"012")).is_ok());
        assert!(body.end().is_ok());
    }

    #[tokio::test]
    async fn ten_thousand_wait_for_one() {
        let cache = Cache::new(1 << 20);
        let leader = cache.look("a".into()).await;
        assert!(leader.entry().is_none());
        let waiting: Vec<_> = (0..10_000)
            .map(|_| {
                let cache = cache.clone();
                tokio::spawn(async move { cache.look("a".into()).await.entry().is_some() })
            })
            .collect();
        tokio::task::yield_now().await;
        leader.store(vec![1], NewBody::None, Duration::from_secs(60));
        for waiter in waiting {
            assert!(waiter.await.unwrap());
        }
    }
}
