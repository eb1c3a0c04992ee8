//! The cache of a node: stored responses in memory, shared by all threads, bounded by bytes.
//!
//! Eviction is quick_cache's variant of S3-FIFO: what was asked for once goes first. Heads are
//! the core's and opaque. Requests for one vacant key are collapsed: the first leads, the others
//! wait for what it stores.

use std::collections::HashMap;
use std::collections::hash_map::RandomState;
use std::hash::BuildHasher as _;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use bytes::Bytes;
use quick_cache::Weighter;
use quick_cache::sync::Cache as Entries;
use tokio::sync::watch;

use crate::stored_body::StoredBody;

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
    /// What the body was counted as. The same from the entry's beginning to its end.
    body_bytes: u64,
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
        entry.body_bytes + (entry.head.len() + key.len() + ENTRY_BYTES) as u64
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

    /// Counts a response anew, whose body has ended: nobody knew its length before.
    pub(crate) fn weigh(&self, key: &str, entry: &Arc<Entry>) {
        let _flights = self.flights(key);
        if self.entries.peek(key).is_some_and(|current| Arc::ptr_eq(&current, entry)) {
            let counted = Entry {
                head: entry.head.clone(),
                body: entry.body.clone(),
                body_bytes: bytes_of(entry.body.as_ref()),
                fresh_until: entry.fresh_until,
                led: AtomicBool::new(entry.led.load(Ordering::Acquire)),
            };
            self.entries.insert(key.to_owned(), Arc::new(counted));
        }
    }

    /// Takes back a response whose body was cut, or is too long.
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
            body_bytes: bytes_of(body.as_ref()),
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

fn bytes_of(body: Option<&Arc<StoredBody>>) -> u64 {
    body.map_or(0, |body| body.bytes())
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

#[cfg(test)]
mod tests {
    use outport_edge_core::step::Extent;

    use super::*;

    async fn put(cache: &Arc<Cache>, key: &str, length: usize) {
        let holding = cache.look(key.to_owned()).await;
        let body = StoredBody::new(Extent::Exactly(length as u64));
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
    async fn a_body_of_unknown_length_is_counted_once_it_has_ended() {
        let cache = Cache::new(1 << 20);
        let holding = cache.look("a".into()).await;
        let body = StoredBody::new(Extent::AtMost(5_000));
        let stored = NewBody::Arriving(body.clone());
        let entry = holding.store(vec![], stored, Duration::from_secs(60)).unwrap();
        let before = cache.size().0;
        body.push(Bytes::from(vec![0; 5_000])).unwrap();
        body.end().unwrap();
        cache.weigh("a", &entry);
        assert_eq!(cache.size(), (before + 5_000, 1));
        cache.forget("a");
        assert_eq!(cache.size(), (0, 0));
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
