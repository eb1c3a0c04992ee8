use outport_wire::id::Home;

use super::*;
use crate::book::tests::TestClock;
use crate::meta::MemoryMeta;

const NOW_S: u64 = 1_800_000_000;
const NOTHING: Counted = Counted::NOTHING;

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

/// What a record says that the holder has changed.
fn counted(hold: &Hold, amount: Amount) -> Counted {
    Counted { amount, by: hold.tag }
}

fn settled(settled: Amount) -> Account {
    Account { settled, unsettled: BTreeMap::new() }
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
    let first = ledger.hold("demo", id(1), quota, NOTHING, Some(amount(60, 1))).await.unwrap();
    let before = counted(&first, amount(60, 1));
    let over = refused(ledger.hold("demo", id(2), quota, NOTHING, Some(amount(41, 1))).await);
    assert_eq!(over, OverQuota::Bytes { limit: 100, used: 60, wanted: 41 });
    let second = ledger.hold("demo", id(2), quota, NOTHING, Some(amount(40, 1))).await.unwrap();
    ledger.settle(first, amount(60, 1));
    ledger.settle(second, amount(40, 1));
    refused(ledger.check("demo", quota, amount(1, 0)).await);
    // Another tenant has a ledger of its own.
    ledger.check("other", quota, amount(100, 1)).await.unwrap();
    // What is removed makes room.
    let gone = ledger.hold("demo", id(1), quota, before, None).await.unwrap();
    refused(ledger.check("demo", quota, amount(1, 0)).await);
    ledger.give_back(gone);
    ledger.check("demo", quota, amount(60, 1)).await.unwrap();
    refused(ledger.check("demo", quota, amount(61, 1)).await);
}

#[tokio::test]
async fn who_is_over_a_quota_that_became_smaller_may_remove() {
    let world = World::new();
    let ledger = world.ledger();
    let held = ledger.hold("demo", id(1), bytes_quota(100), NOTHING, Some(amount(100, 1))).await;
    let held = held.unwrap();
    let before = counted(&held, amount(100, 1));
    ledger.settle(held, amount(100, 1));
    let small = bytes_quota(10);
    ledger.hold("demo", id(1), small, before, None).await.unwrap();
    refused(ledger.hold("demo", id(2), small, NOTHING, Some(amount(1, 1))).await);
}

#[tokio::test]
async fn growing_counts_the_difference() {
    let world = World::new();
    let ledger = world.ledger();
    let quota = bytes_quota(100);
    let held = ledger.hold("demo", id(1), quota, NOTHING, Some(amount(0, 1))).await.unwrap();
    let mut before = counted(&held, amount(0, 1));
    ledger.settle(held, before.amount);
    let step = 30;
    while before.amount.bytes + step <= 100 {
        let to = amount(before.amount.bytes + step, 1);
        let held = ledger.hold("demo", id(1), quota, before, Some(to)).await.unwrap();
        before = counted(&held, to);
        ledger.settle(held, to);
    }
    let over = refused(ledger.hold("demo", id(1), quota, before, Some(amount(120, 1))).await);
    assert_eq!(over, OverQuota::Bytes { limit: 100, used: 90, wanted: 30 });
}

/// Two appends to one upload: the larger counts until one has won, and the other never does.
#[tokio::test]
async fn of_two_holders_one_settles() {
    let world = World::new();
    let (one, two) = (world.ledger(), world.ledger());
    let quota = bytes_quota(1000);
    let winner = one.hold("demo", id(1), quota, NOTHING, Some(amount(8, 1))).await.unwrap();
    let loser = two.hold("demo", id(1), quota, NOTHING, Some(amount(10, 1))).await.unwrap();
    assert_eq!(world.account().await.used(), amount(10, 1), "the larger amount counts");
    one.settle(winner, amount(8, 1));
    one.check("demo", quota, Amount::NOTHING).await.unwrap();
    two.settle(loser, amount(10, 1));
    two.check("demo", quota, Amount::NOTHING).await.unwrap();
    assert_eq!(world.account().await, settled(amount(8, 1)));
}

/// A removal that goes by what a record was before an append, which is settled by then. It fails,
/// and is tried again.
#[tokio::test]
async fn who_goes_by_an_old_state_leaves_nothing_in_the_ledger() {
    let world = World::new();
    let ledger = world.ledger();
    let quota = bytes_quota(100);
    let held = ledger.hold("demo", id(1), quota, NOTHING, Some(amount(0, 1))).await.unwrap();
    let begun = counted(&held, amount(0, 1));
    ledger.settle(held, begun.amount);
    let held = ledger.hold("demo", id(1), quota, begun, Some(amount(15, 1))).await.unwrap();
    let appended = counted(&held, amount(15, 1));
    ledger.settle(held, appended.amount);
    ledger.check("demo", quota, Amount::NOTHING).await.unwrap();
    let late = ledger.hold("demo", id(1), quota, begun, None).await.unwrap();
    let again = ledger.hold("demo", id(1), quota, appended, None).await.unwrap();
    ledger.release(late);
    ledger.give_back(again);
    ledger.check("demo", quota, Amount::NOTHING).await.unwrap();
    assert_eq!(world.account().await, Account::default());
}

/// Whoever made a change is gone before it is settled: the next one tells, or the record.
#[tokio::test]
async fn a_change_is_settled_by_who_comes_after_it() {
    let world = World::new();
    let quota = bytes_quota(100);
    let held = world.ledger().hold("demo", id(1), quota, NOTHING, Some(amount(20, 1))).await;
    let before = counted(&held.unwrap(), amount(20, 1));
    let ledger = world.ledger();
    let next = ledger.hold("demo", id(1), quota, before, Some(amount(30, 1))).await.unwrap();
    assert_eq!(world.account().await.settled, amount(20, 1));
    ledger.release(next);
    ledger.check("demo", quota, Amount::NOTHING).await.unwrap();
    assert_eq!(world.account().await, settled(amount(20, 1)));
}

#[tokio::test]
async fn what_is_left_behind_heals_when_it_is_in_the_way() {
    let world = World::new();
    let quota = bytes_quota(100);
    let held =
        world.ledger().hold("demo", id(1), quota, NOTHING, Some(amount(100, 1))).await.unwrap();
    drop(held); // The process ended before there was a record.
    let ledger = world.ledger();
    refused(ledger.check("demo", quota, amount(1, 0)).await);
    world.clock.advance(HOLD_S + 1);
    let held = ledger.hold("demo", id(2), quota, NOTHING, Some(amount(100, 1))).await.unwrap();
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
        drop(
            ledger.hold(tenant, id(1), bytes_quota(9), NOTHING, Some(amount(9, 1))).await.unwrap(),
        );
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
    let mut held = slow.hold("demo", id(1), quota, NOTHING, Some(amount(60, 1))).await.unwrap();
    slow.confirm(&mut held, quota, amount(70, 1)).await.unwrap();
    assert_eq!(world.account().await.used(), amount(70, 1));
    // It stood still, and another origin took its place for abandoned.
    world.clock.advance(HOLD_S + 1);
    let taken = other.hold("demo", id(2), quota, NOTHING, Some(amount(100, 1))).await.unwrap();
    refused(slow.confirm(&mut held, quota, amount(70, 1)).await);
    other.release(taken);
    other.check("demo", quota, Amount::NOTHING).await.unwrap();
    slow.confirm(&mut held, quota, amount(70, 1)).await.unwrap();
    assert_eq!(world.account().await.used(), amount(70, 1));
}

#[tokio::test(start_paused = true)]
async fn who_takes_long_keeps_its_hold() {
    let world = World::new();
    let (slow, other) = (world.ledger(), world.ledger());
    let quota = bytes_quota(100);
    let mut held = slow.hold("demo", id(1), quota, NOTHING, Some(amount(60, 1))).await.unwrap();
    let clock = world.clock.clone();
    let work = async {
        for _ in 0..10 {
            tokio::time::sleep(Duration::from_secs(HOLD_S / 2)).await;
            clock.advance(HOLD_S / 2);
        }
    };
    slow.keep(&mut held, work).await;
    refused(other.hold("demo", id(2), quota, NOTHING, Some(amount(60, 1))).await);
}

#[tokio::test]
async fn no_more_is_unsettled_than_fits() {
    let world = World::new();
    let ledger = world.ledger();
    let quota = Quota { bytes: Some(u64::MAX), files: None };
    let holds = (0..UNSETTLED_MAX as u64).map(|place| {
        ledger.hold("demo", id(place), quota, NOTHING, Some(amount(u64::MAX / 5000, 1)))
    });
    let holds = futures::future::try_join_all(holds).await.unwrap();
    let one_more = ledger.hold("demo", id(9_999), quota, NOTHING, Some(amount(1, 1))).await;
    assert_eq!(refused(one_more), OverQuota::Crowded);
    let bytes = world.meta.get(key("demo")).await.unwrap().unwrap().value.len();
    assert!(bytes < crate::meta::VALUE_BYTES_MAX * 2 / 3, "{bytes}");
    drop(holds);
}
