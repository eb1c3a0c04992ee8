use outport_wire::id::Home;

use super::*;
use crate::book::tests::TestClock;
use crate::meta::MemoryMeta;

const NOW_S: u64 = 1_800_000_000;
const NOTHING: Amount = Amount::NOTHING;

struct World {
    meta: Arc<MemoryMeta>,
    clock: Arc<TestClock>,
}

impl World {
    fn new() -> Self {
        Self { meta: Arc::default(), clock: TestClock::at(NOW_S) }
    }

    /// Another origin, or the same one after a restart.
    fn ledger(&self) -> Ledger {
        Ledger::new(self.meta.clone(), self.clock.clone())
    }

    async fn account(&self) -> Account {
        let entry = self.meta.get(key("demo")).await.unwrap();
        entry.map(|entry| serde_json::from_slice(&entry.value).unwrap()).unwrap_or_default()
    }
}

fn id(place: u64) -> FileId {
    FileId::new(Home::of(0, "demo", "alice"), NOW_S * 1000, place)
}

fn amount(bytes: u64, files: u64) -> Amount {
    Amount { bytes, files }
}

const fn bytes_quota(limit: u64) -> Quota {
    Quota { bytes: Some(limit), files: None }
}

fn refused<T: std::fmt::Debug>(outcome: Result<T, LedgerError>) -> OverQuota {
    match outcome {
        Err(BookError::Refused(over)) => over,
        other => panic!("not refused: {other:?}"),
    }
}

#[tokio::test]
async fn bytes_are_counted_to_the_last() {
    let world = World::new();
    let ledger = world.ledger();
    let quota = bytes_quota(100);
    let first = ledger.hold("demo", id(1), quota, NOTHING, amount(60, 1)).await.unwrap();
    let over = refused(ledger.hold("demo", id(2), quota, NOTHING, amount(41, 1)).await);
    assert_eq!(over, OverQuota::Bytes { limit: 100, used: 60, wanted: 41 });
    let second = ledger.hold("demo", id(2), quota, NOTHING, amount(40, 1)).await.unwrap();
    ledger.settle(first, amount(60, 1));
    ledger.settle(second, amount(40, 1));
    refused(ledger.check("demo", quota, amount(1, 0)).await);
    // Another tenant has a ledger of its own.
    ledger.check("other", quota, amount(100, 1)).await.unwrap();
    // What is removed makes room.
    let gone = ledger.hold("demo", id(1), quota, amount(60, 1), amount(60, 1)).await.unwrap();
    refused(ledger.check("demo", quota, amount(1, 0)).await);
    ledger.give_back(gone);
    ledger.check("demo", quota, amount(60, 1)).await.unwrap();
    refused(ledger.check("demo", quota, amount(61, 1)).await);
}

#[tokio::test]
async fn who_is_over_a_quota_that_became_smaller_may_remove() {
    let world = World::new();
    let ledger = world.ledger();
    let held = ledger.hold("demo", id(1), bytes_quota(100), NOTHING, amount(100, 1)).await;
    ledger.settle(held.unwrap(), amount(100, 1));
    let small = bytes_quota(10);
    ledger.hold("demo", id(1), small, amount(100, 1), amount(100, 1)).await.unwrap();
    refused(ledger.hold("demo", id(2), small, NOTHING, amount(1, 1)).await);
}

#[tokio::test]
async fn growing_counts_the_difference() {
    let world = World::new();
    let ledger = world.ledger();
    let quota = bytes_quota(100);
    let held = ledger.hold("demo", id(1), quota, NOTHING, amount(0, 1)).await.unwrap();
    ledger.settle(held, amount(0, 1));
    let (mut have, step) = (0, 30);
    while have + step <= 100 {
        let (from, to) = (amount(have, 1), amount(have + step, 1));
        let held = ledger.hold("demo", id(1), quota, from, to).await.unwrap();
        ledger.settle(held, to);
        have += step;
    }
    let over = refused(ledger.hold("demo", id(1), quota, amount(90, 1), amount(120, 1)).await);
    assert_eq!(over, OverQuota::Bytes { limit: 100, used: 90, wanted: 30 });
}

/// Two appends to one upload: the one that lost settles nothing, whenever it comes.
#[tokio::test]
async fn of_two_holders_the_later_one_settles() {
    let world = World::new();
    let (one, two) = (world.ledger(), world.ledger());
    let quota = bytes_quota(1000);
    let early = one.hold("demo", id(1), quota, NOTHING, amount(10, 1)).await.unwrap();
    let late = two.hold("demo", id(1), quota, NOTHING, amount(8, 1)).await.unwrap();
    one.settle(early, amount(10, 1));
    one.check("demo", quota, NOTHING).await.unwrap();
    assert_eq!(world.account().await.unsettled.len(), 1, "it is not the early one's to settle");
    assert_eq!(world.account().await.used(), amount(10, 1), "the larger amount counts");
    two.settle(late, amount(8, 1));
    two.check("demo", quota, NOTHING).await.unwrap();
    assert_eq!(
        world.account().await,
        Account { settled: amount(8, 1), unsettled: BTreeMap::new() }
    );
}

#[tokio::test]
async fn what_is_left_behind_heals_when_it_is_in_the_way() {
    let world = World::new();
    let quota = bytes_quota(100);
    let held = world.ledger().hold("demo", id(1), quota, NOTHING, amount(100, 1)).await.unwrap();
    drop(held); // The process ended before there was a record.
    let ledger = world.ledger();
    refused(ledger.check("demo", quota, amount(1, 0)).await);
    world.clock.advance(HOLD_S + 1);
    let held = ledger.hold("demo", id(2), quota, NOTHING, amount(100, 1)).await.unwrap();
    // Whoever is at work here is not left behind, whatever the clock says.
    world.clock.advance(10 * HOLD_S);
    refused(ledger.check("demo", quota, amount(1, 0)).await);
    drop(held);
    ledger.check("demo", quota, amount(1, 0)).await.unwrap();
}

#[tokio::test]
async fn reconciling_settles_all_ledgers() {
    let world = World::new();
    let ledger = world.ledger();
    for tenant in ["demo", "acme"] {
        drop(ledger.hold(tenant, id(1), bytes_quota(9), NOTHING, amount(9, 1)).await.unwrap());
    }
    assert_eq!(ledger.reconcile(None).await.unwrap(), None);
    assert_eq!(world.account().await.used(), amount(9, 1), "it is too early");
    world.clock.advance(HOLD_S + 1);
    assert_eq!(ledger.reconcile(None).await.unwrap(), None);
    assert_eq!(world.account().await, Account::default());
}

#[tokio::test]
async fn a_hold_that_lapsed_is_taken_again_or_refused() {
    let world = World::new();
    let (slow, other) = (world.ledger(), world.ledger());
    let quota = bytes_quota(100);
    let mut held = slow.hold("demo", id(1), quota, NOTHING, amount(60, 1)).await.unwrap();
    slow.confirm(&mut held, quota, amount(70, 1)).await.unwrap();
    assert_eq!(world.account().await.used(), amount(70, 1));
    // It stood still, and another origin took its place for abandoned.
    world.clock.advance(HOLD_S + 1);
    let taken = other.hold("demo", id(2), quota, NOTHING, amount(100, 1)).await.unwrap();
    refused(slow.confirm(&mut held, quota, amount(70, 1)).await);
    other.give_back(taken);
    other.check("demo", quota, NOTHING).await.unwrap();
    slow.confirm(&mut held, quota, amount(70, 1)).await.unwrap();
    assert_eq!(world.account().await.used(), amount(70, 1));
}

#[tokio::test(start_paused = true)]
async fn who_takes_long_keeps_its_hold() {
    let world = World::new();
    let (slow, other) = (world.ledger(), world.ledger());
    let quota = bytes_quota(100);
    let mut held = slow.hold("demo", id(1), quota, NOTHING, amount(60, 1)).await.unwrap();
    let clock = world.clock.clone();
    let work = async {
        for _ in 0..10 {
            tokio::time::sleep(Duration::from_secs(HOLD_S / 2)).await;
            clock.advance(HOLD_S / 2);
        }
    };
    slow.keep(&mut held, work).await;
    refused(other.hold("demo", id(2), quota, NOTHING, amount(60, 1)).await);
}

#[tokio::test]
async fn no_more_is_unsettled_than_fits() {
    let world = World::new();
    let ledger = world.ledger();
    let quota = Quota { bytes: Some(u64::MAX), files: None };
    let holds = (0..UNSETTLED_MAX as u64)
        .map(|place| ledger.hold("demo", id(place), quota, NOTHING, amount(u64::MAX / 5000, 1)));
    let holds = futures::future::try_join_all(holds).await.unwrap();
    let one_more = ledger.hold("demo", id(9_999), quota, NOTHING, amount(1, 1)).await;
    assert_eq!(refused(one_more), OverQuota::Crowded);
    let bytes = world.meta.get(key("demo")).await.unwrap().unwrap().value.len();
    assert!(bytes < crate::meta::VALUE_BYTES_MAX * 2 / 3, "{bytes}");
    drop(holds);
}
