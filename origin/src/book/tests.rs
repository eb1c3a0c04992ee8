//! Books by the example of ledgers, on a store that fails when it is told to.

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

use futures::future::{BoxFuture, FutureExt as _, join_all};
use outport_wire::id::Home;
use outport_wire::rules::Quota;

use super::*;
use crate::ledger::{Account, Amount, Counted, Ledger, OverQuota};
use crate::meta::MemoryMeta;

/// A clock that tests move.
#[derive(Default)]
pub(crate) struct TestClock {
    pub(crate) unix_ms: AtomicU64,
    drawn: AtomicU64,
}

impl TestClock {
    pub(crate) fn at(unix_s: u64) -> Arc<Self> {
        Arc::new(Self { unix_ms: (unix_s * 1000).into(), drawn: AtomicU64::new(0) })
    }

    pub(crate) fn advance(&self, seconds: u64) {
        self.unix_ms.fetch_add(seconds * 1000, Ordering::SeqCst);
    }
}

impl Environment for TestClock {
    fn unix_ms(&self) -> u64 {
        self.unix_ms.load(Ordering::SeqCst)
    }

    fn random(&self) -> u64 {
        self.drawn.fetch_add(1, Ordering::SeqCst).wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1
    }
}

/// What becomes of one write, counted from 0, and of everything after it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fault {
    /// It is not made, and the store is gone from then on.
    DiesBefore(usize),
    /// It is made, nobody hears of it, and the store is gone from then on.
    DiesAfter(usize),
    /// It is made, and whoever made it is told that this is not certain. All is well after that.
    Unsure(usize),
    /// It is not made. All is well after that.
    Refuses(usize),
    Never,
}

/// A store that counts writes, and fails at one of them.
pub(crate) struct FaultyMeta {
    pub(crate) inner: Arc<MemoryMeta>,
    pub(crate) writes: AtomicUsize,
    /// Every key that was ever put.
    pub(crate) keys: Mutex<BTreeSet<Key>>,
    fault: Fault,
}

impl FaultyMeta {
    pub(crate) fn new(inner: Arc<MemoryMeta>, fault: Fault) -> Arc<Self> {
        Arc::new(Self { inner, writes: AtomicUsize::new(0), keys: Mutex::default(), fault })
    }

    fn gone() -> MetaError {
        MetaError::Unavailable(Arc::new(std::io::Error::other("gone")))
    }

    fn is_gone(&self) -> bool {
        let writes = self.writes.load(Ordering::SeqCst);
        matches!(self.fault, Fault::DiesBefore(at) | Fault::DiesAfter(at) if writes > at)
    }

    /// `work` does nothing before it is polled.
    async fn write<T>(&self, work: BoxFuture<'_, Result<T, MetaError>>) -> Result<T, MetaError> {
        // Others get a word in, as with any real store.
        tokio::task::yield_now().await;
        let at = self.writes.fetch_add(1, Ordering::SeqCst);
        match self.fault {
            Fault::DiesBefore(fails) if at >= fails => Err(Self::gone()),
            Fault::DiesAfter(fails) if at > fails => Err(Self::gone()),
            Fault::DiesAfter(fails) if at == fails => work.await.and(Err(Self::gone())),
            Fault::Refuses(fails) if at == fails => Err(Self::gone()),
            Fault::Unsure(fails) if at == fails => {
                let unsure = std::io::Error::other("unsure");
                work.await.and(Err(MetaError::Uncertain(Arc::new(unsure))))
            }
            _ => work.await,
        }
    }
}

impl Meta for FaultyMeta {
    fn get(&self, key: Key) -> BoxFuture<'_, Result<Option<Entry>, MetaError>> {
        if self.is_gone() {
            return futures::future::ready(Err(Self::gone())).boxed();
        }
        self.inner.get(key)
    }

    fn put(
        &self,
        key: Key,
        value: bytes::Bytes,
        expected: Option<Version>,
    ) -> BoxFuture<'_, Result<Version, MetaError>> {
        lock(&self.keys).insert(key.clone());
        self.write(async move { self.inner.put(key, value, expected).await }.boxed()).boxed()
    }

    fn delete(&self, key: Key, expected: Version) -> BoxFuture<'_, Result<(), MetaError>> {
        self.write(async move { self.inner.delete(key, expected).await }.boxed()).boxed()
    }

    fn scan(
        &self,
        partition: bytes::Bytes,
        after: Option<bytes::Bytes>,
        limit: usize,
    ) -> BoxFuture<'_, Result<Vec<(bytes::Bytes, Entry)>, MetaError>> {
        self.inner.scan(partition, after, limit)
    }
}

fn id(place: u64) -> FileId {
    FileId::new(Home::of(0, "demo", "alice"), 1_800_000_000_000, place)
}

const FILE: Amount = Amount { bytes: 10, files: 1 };
const NOTHING: Counted = Counted::NOTHING;
const TEN_FILES: Quota = Quota { bytes: None, files: Some(10) };

async fn hold_one(ledger: &Ledger, place: u64) -> Answer<Account> {
    ledger.hold("demo", id(place), TEN_FILES, NOTHING, Some(FILE)).await.map(drop)
}

#[tokio::test]
async fn what_comes_at_once_is_written_at_once() {
    let meta = FaultyMeta::new(Arc::default(), Fault::Never);
    let ledger = Ledger::new(meta.clone(), TestClock::at(1_800_000_000));
    let outcomes = join_all((0..10).map(|place| hold_one(&ledger, place))).await;
    assert!(outcomes.iter().all(Result::is_ok), "{outcomes:?}");
    let writes = meta.writes.load(Ordering::SeqCst);
    assert!(writes <= 2, "{writes} writes for ten changes");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn of_fifty_that_come_at_once_to_two_origins_ten_fit() {
    for _ in 0..20 {
        let meta = Arc::new(MemoryMeta::default());
        let origin = || Ledger::new(meta.clone(), TestClock::at(1_800_000_000));
        let ledgers = [origin(), origin()];
        let tries = (0..50).map(|place| {
            let ledger = ledgers[place as usize % 2].clone();
            tokio::spawn(async move { hold_one(&ledger, place).await })
        });
        let outcomes: Vec<_> = join_all(tries).await.into_iter().map(Result::unwrap).collect();
        let held = outcomes.iter().filter(|outcome| outcome.is_ok()).count();
        assert_eq!(held, 10, "{outcomes:?}");
        for outcome in outcomes.into_iter().filter_map(Result::err) {
            let full = OverQuota::Files { limit: 10, used: 10 };
            assert!(matches!(outcome, BookError::Refused(over) if over == full), "{outcome:?}");
        }
    }
}

#[tokio::test]
async fn what_is_not_certain_is_made_once() {
    for at in 0..3 {
        let meta = FaultyMeta::new(Arc::default(), Fault::Unsure(at));
        let ledger = Ledger::new(meta.clone(), TestClock::at(1_800_000_000));
        for place in 0..10 {
            let held =
                ledger.hold("demo", id(place), TEN_FILES, NOTHING, Some(FILE)).await.unwrap();
            ledger.settle(held, FILE);
        }
        let outcome = hold_one(&ledger, 10).await;
        assert!(matches!(outcome, Err(BookError::Refused(_))), "at {at}: {outcome:?}");
    }
}

#[tokio::test]
async fn a_store_that_fails_is_an_answer() {
    let meta = FaultyMeta::new(Arc::default(), Fault::Refuses(0));
    let ledger = Ledger::new(meta, TestClock::at(1_800_000_000));
    assert!(matches!(hold_one(&ledger, 0).await, Err(BookError::Meta(_))));
    assert!(hold_one(&ledger, 0).await.is_ok(), "the next one finds it well");
}

#[tokio::test]
async fn too_many_who_wait_are_turned_away() {
    let ledger = Ledger::new(Arc::new(MemoryMeta::default()), TestClock::at(1_800_000_000));
    let all = join_all((0..WAITING_MAX as u64 + 100).map(|place| hold_one(&ledger, place))).await;
    let busy = all.iter().filter(|outcome| matches!(outcome, Err(BookError::Busy))).count();
    assert_eq!(busy, 100);
}
