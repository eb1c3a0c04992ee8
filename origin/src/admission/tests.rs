//! The real store under rules, with crashes between any two of its writes.

use std::sync::atomic::Ordering;
use std::time::Duration;

use bytes::Bytes;
use futures::StreamExt as _;
use futures::stream;
use object_store::ObjectStore as _;
use object_store::memory::InMemory;
use outport_wire::identity::Scopes;
use outport_wire::problem::ProblemType;
use tokio::sync::watch;

use super::*;
use crate::book::tests::{Fault, FaultyMeta, TestClock};
use crate::fixtures::{self, alice, intake};
use crate::intake::{Cuts, Intake};
use crate::ledger::{Account, HOLD_S, PARTITION};
use crate::meta::{Key, MemoryMeta};
use crate::record::{Concat, Description, Opening};
use crate::store::{AppendError, Completes, Held, PartPolicy, Slot, Store};

const NOW_S: u64 = 1_800_000_000;
const PNG: &[u8] = b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR\0\0\0\x01";
const EXE: &[u8] = b"MZ\x90\0\x03\0\0\0\x04\0\0\0\xff\xff";

struct Scene {
    store: Store,
    meta: Arc<FaultyMeta>,
    blobs: Arc<InMemory>,
    clock: Arc<TestClock>,
}

impl Scene {
    fn new(rules: TenantRules) -> Self {
        Self::with(rules, Fault::Never)
    }

    fn with(rules: TenantRules, fault: Fault) -> Self {
        let meta = FaultyMeta::new(Arc::new(MemoryMeta::default()), fault);
        let (blobs, clock) = (Arc::new(InMemory::new()), TestClock::at(NOW_S));
        let store = store(meta.clone(), &blobs, &clock).with_rules(Arc::new(Rules::same(rules)));
        Self { store, meta, blobs, clock }
    }

    async fn begin(&self, opening: Opening) -> Result<Held, StoreError> {
        self.store.begin(&alice(), description("image/png"), opening).await
    }

    async fn append(&self, held: Held, body: &[u8]) -> Result<Held, AppendError> {
        let completes =
            if held.record.length.is_some() { Completes::AtLength } else { Completes::Not };
        self.store.append(held, &mut intake(body), completes).await
    }

    async fn whole(&self, body: &[u8]) -> Result<Held, AppendError> {
        let intake = &mut intake(body).with_length(Some(body.len() as u64));
        self.store.store_whole(&alice(), description("image/png"), intake).await
    }

    async fn remove(&self, held: &Held) {
        let _ = self.store.remove(held.id, |_| Ok::<_, ()>(())).await;
    }

    async fn used(&self) -> Amount {
        self.account().await.used()
    }

    async fn account(&self) -> Account {
        let entry = self.meta.inner.get(Key::new(PARTITION, "demo")).await.unwrap();
        entry.map(|entry| serde_json::from_slice(&entry.value).unwrap()).unwrap_or_default()
    }

    /// What all records that there are take up.
    async fn stored(&self) -> Amount {
        let keys = self.meta.keys.lock().unwrap().clone();
        let (mut bytes, mut files) = (0, 0);
        for key in keys.into_iter().filter(|key| key.partition.starts_with(b"file/")) {
            let Some(entry) = self.meta.inner.get(key.clone()).await.unwrap() else { continue };
            let slot = crate::store::stored_slot(&key, &entry).unwrap().1.unwrap();
            let Slot::Held(Held { record, .. }) = slot else { continue };
            assert_eq!(Amount::of(&record), Amount::due(&record), "{record:?}");
            bytes += Amount::of(&record).bytes;
            files += Amount::of(&record).files;
        }
        Amount { bytes, files }
    }

    async fn parts(&self) -> usize {
        self.blobs.list(None).count().await
    }
}

fn store(meta: Arc<dyn Meta>, blobs: &Arc<InMemory>, clock: &Arc<TestClock>) -> Store {
    let parts = PartPolicy {
        bytes_min: 1 << 10,
        bytes_max: 1 << 20,
        age_max: Duration::from_secs(60),
        content_bytes_max: 100,
    };
    Store::new(meta, blobs.clone(), 1 << 10, 0, parts, clock.clone())
}

fn description(media_type: &str) -> Description {
    Description { media_type: media_type.into(), ..fixtures::description() }
}

fn quota(bytes: Option<u64>, files: Option<u64>) -> TenantRules {
    TenantRules { quota: Quota { bytes, files }, ..TenantRules::sized(u64::MAX) }
}

fn images() -> TenantRules {
    let mut rules = quota(Some(1 << 20), None);
    rules.declared.types.allowed = vec!["image/*".parse().unwrap()];
    rules
}

#[track_caller]
fn is_refused<T: std::fmt::Debug>(outcome: Result<T, StoreError>) -> ProblemType {
    match outcome {
        Err(StoreError::Refused(refusal)) => refusal.problem().kind,
        other => panic!("not refused: {other:?}"),
    }
}

/// Something of every way in, and out again.
async fn live(scene: &Scene) {
    let small = scene.whole(b"small").await;
    let large = scene.whole(&[1; 3000]).await;
    let open = scene.begin(Opening::of_length(2000)).await;
    if let Ok(open) = open {
        let _ = scene.append(open, &[2; 2000]).await;
    }
    let deferred = scene.begin(Opening::default()).await;
    if let Ok(mut held) = deferred {
        for piece in [500, 1500] {
            match scene.append(held.clone(), &vec![3; piece]).await {
                Ok(appended) => held = appended,
                Err(_) => break,
            }
        }
    }
    for held in [small, large].into_iter().flatten() {
        scene.remove(&held).await;
    }
    let _ = scene.whole(&[4; 200]).await;
}

/// What is in the ledger is what there is, whatever became of any one write.
#[tokio::test]
async fn a_crash_between_any_two_writes_leaves_nothing_reserved() {
    let well = Scene::new(quota(Some(1 << 20), Some(100)));
    live(&well).await;
    let writes = well.meta.writes.load(Ordering::SeqCst);
    assert_eq!(well.stored().await, Amount { bytes: 2000 + 2000 + 200, files: 3 });
    assert!(writes > 20, "{writes}");
    let kinds = [Fault::DiesBefore, Fault::DiesAfter, Fault::Unsure, Fault::Refuses];
    for fault in (0..writes).flat_map(|at| kinds.map(|kind| kind(at))) {
        let scene = Scene::with(quota(Some(1 << 20), Some(100)), fault);
        live(&scene).await;
        // Another process, when what was under way is over for certain.
        scene.clock.advance(HOLD_S + 1);
        let after = store(scene.meta.inner.clone(), &scene.blobs, &scene.clock);
        after.reconcile_ledgers(None).await.unwrap();
        assert_eq!(scene.used().await, scene.stored().await, "{fault:?}");
    }
}

#[tokio::test]
async fn who_has_no_quota_pays_nothing() {
    let scene = Scene::new(TenantRules::sized(u64::MAX));
    live(&scene).await;
    let keys = scene.meta.keys.lock().unwrap();
    let paid = keys.iter().filter(|key| !key.partition.starts_with(b"file/"));
    let paid: Vec<_> = paid.filter(|key| !key.partition.starts_with(b"list/")).collect();
    assert!(paid.is_empty(), "{paid:?}");
}

#[tokio::test]
async fn what_was_there_before_a_quota_is_not_given_back() {
    let scene = Scene::new(TenantRules::sized(u64::MAX));
    let before = scene.whole(&[1; 500]).await.unwrap();
    let rules = Arc::new(Rules::same(quota(Some(1000), None)));
    let scene = Scene { store: scene.store.clone().with_rules(rules), ..scene };
    scene.whole(&[1; 600]).await.unwrap();
    scene.remove(&before).await;
    assert_eq!(scene.used().await, Amount { bytes: 600, files: 1 });
}

/// A body that nobody may read.
#[tokio::test]
async fn what_is_over_the_quota_is_refused_before_its_body_is_read() {
    let scene = Scene::new(quota(Some(1000), Some(2)));
    let unread = || {
        let stream = stream::once(async { panic!("the body is read") }).boxed();
        let cuts = Cuts { shutdown: watch::channel(false).1, superseded: None };
        Intake::new(stream, u64::MAX, Duration::from_secs(60), cuts)
    };
    let whole = async |length| {
        let intake = &mut unread().with_length(Some(length));
        match scene.store.store_whole(&alice(), description("a/b"), intake).await {
            Err(AppendError::Store(error)) => is_refused(Err::<(), _>(error)),
            other => panic!("{other:?}"),
        }
    };
    assert_eq!(whole(1001).await, ProblemType::QuotaExceeded);
    let deferred = scene.begin(Opening::default()).await.unwrap();
    let deferred = scene.append(deferred, &[1; 400]).await.unwrap();
    let intake = &mut unread().with_length(Some(601));
    let over = scene.store.append(deferred.clone(), intake, Completes::Not).await;
    assert!(matches!(over, Err(AppendError::Store(StoreError::Refused(_)))), "{over:?}");
    let over = scene.append(deferred.clone(), &[1; 700]).await;
    assert!(matches!(over, Err(AppendError::Store(StoreError::Refused(_)))), "{over:?}");
    assert_eq!(is_refused(scene.begin(Opening::of_length(601)).await), ProblemType::QuotaExceeded);
    let last = scene.begin(Opening::of_length(600)).await.unwrap();
    assert_eq!(is_refused(scene.begin(Opening::of_length(0)).await), ProblemType::QuotaExceeded);
    scene.remove(&last).await;
    scene.append(deferred, &[1; 600]).await.unwrap();
}

#[tokio::test]
async fn a_file_in_pieces_counts_once() {
    let scene = Scene::new(quota(Some(2000), Some(1)));
    let mut pieces = Vec::new();
    for _ in 0..2 {
        let concat = Some(Concat::Partial { claimed_by: None });
        let piece = scene.begin(Opening { concat, ..Opening::of_length(1000) }).await.unwrap();
        pieces.push(scene.append(piece, &[1; 1000]).await.unwrap().id);
    }
    let whole = scene.store.concatenate(&alice(), description("a/b"), pieces, u64::MAX).await;
    let whole = whole.unwrap();
    assert!(whole.record.is_file());
    assert_eq!(scene.used().await, Amount { bytes: 2000, files: 1 });
    let renamed = scene.store.change(whole.id, |record| {
        record.name = "b".into();
        Ok::<_, ()>(())
    });
    renamed.await.unwrap();
    assert_eq!(scene.used().await, Amount { bytes: 2000, files: 1 });
    is_refused(scene.begin(Opening::of_length(0)).await);
    scene.remove(&whole).await;
    let again = scene.begin(Opening::of_length(2000)).await.unwrap();
    scene.append(again, &[1; 2000]).await.unwrap();
    assert_eq!(scene.used().await, scene.stored().await);
}

#[tokio::test]
async fn so_many_uploads_may_be_open() {
    let rules = TenantRules { open_max: Some(3), ..TenantRules::sized(u64::MAX) };
    let scene = Scene::new(rules.clone());
    let mut open = Vec::new();
    for _ in 0..3 {
        open.push(scene.begin(Opening::of_length(1)).await.unwrap());
    }
    assert_eq!(is_refused(scene.begin(Opening::of_length(1)).await), ProblemType::TooManyUploads);
    // Of another identity, and whole files, there may be more.
    let bob = Identity::new("demo", "bob", Scopes::all()).unwrap();
    scene.store.begin(&bob, description("a/b"), Opening::of_length(1)).await.unwrap();
    scene.whole(b"whole").await.unwrap();
    scene.append(open.pop().unwrap(), b"a").await.unwrap();
    open.push(scene.begin(Opening::of_length(1)).await.unwrap());
    is_refused(scene.begin(Opening::of_length(1)).await);
    scene.clock.advance(60); // So that what is gone was not begun just now.
    scene.remove(&open.pop().unwrap()).await;
    scene.begin(Opening::of_length(1)).await.unwrap();
    is_refused(scene.begin(Opening::of_length(1)).await);
}

#[tokio::test]
async fn an_upload_that_a_crash_left_open_heals() {
    for at in 0..3 {
        let rules = TenantRules { open_max: Some(1), ..TenantRules::sized(u64::MAX) };
        let scene = Scene::with(rules.clone(), Fault::DiesAfter(at));
        let begun = scene.begin(Opening::of_length(1)).await;
        let after = store(scene.meta.inner.clone(), &scene.blobs, &scene.clock);
        let after = after.with_rules(Arc::new(Rules::same(rules)));
        scene.clock.advance(60);
        let again = after.begin(&alice(), description("a/b"), Opening::of_length(1)).await;
        // The last of its writes is the record; with that, it is open.
        assert_eq!(again.is_ok(), at < 2, "{at} {begun:?}");
    }
}

#[tokio::test]
async fn contents_of_another_type_leave_nothing() {
    let scene = Scene::new(images());
    scene.whole(&[PNG, &[1; 9000]].concat()).await.unwrap();
    let parts = scene.parts().await;
    let used = scene.used().await;
    for length in [EXE.len(), 9000] {
        let mut body = EXE.to_vec();
        body.resize(length, 0);
        let refused = scene.whole(&body).await;
        assert!(matches!(refused, Err(AppendError::TypeRefused(_))), "{refused:?}");
        let held = scene.begin(Opening::of_length(length as u64)).await.unwrap();
        let refused = scene.append(held.clone(), &body).await;
        assert!(matches!(refused, Err(AppendError::TypeRefused(_))), "{refused:?}");
        assert!(scene.store.load(held.id).await.unwrap().is_none());
    }
    assert_eq!(scene.parts().await, parts);
    scene.store.reconcile_ledgers(None).await.unwrap();
    scene.whole(PNG).await.unwrap();
    let png = Amount { bytes: PNG.len() as u64, files: 1 };
    assert_eq!(scene.used().await, Amount { bytes: used.bytes + png.bytes, files: 2 });
}

/// However few bytes come at a time, all of the first are looked at together.
#[tokio::test]
async fn contents_of_another_type_that_come_bit_by_bit() {
    let scene = Scene::new(images());
    for size in [1, 2, 3] {
        let mut held = scene.begin(Opening::of_length(9000)).await.unwrap();
        let mut outcome = Ok(());
        for piece in EXE.chunks(size) {
            match scene.append(held.clone(), piece).await {
                Ok(appended) => held = appended,
                Err(error) => {
                    outcome = Err(error);
                    break;
                }
            }
        }
        assert!(matches!(outcome, Err(AppendError::TypeRefused(_))), "{outcome:?}");
        assert!(scene.store.load(held.id).await.unwrap().is_none());
    }
    let mut held = scene.begin(Opening::of_length(PNG.len() as u64)).await.unwrap();
    for byte in PNG {
        held = scene.append(held, &[*byte]).await.unwrap();
    }
    assert!(held.record.is_file());
}

/// A body that pauses within its first bytes makes progress, and is looked at in full all the same.
#[tokio::test(start_paused = true)]
async fn a_slow_body_is_looked_at_as_it_comes() {
    let scene = Scene::new(images());
    let held = scene.begin(Opening::of_length(20_000)).await.unwrap();
    let slow = |first: &'static [u8], rest: &'static [u8]| {
        let rest = stream::once(async move {
            tokio::time::sleep(Duration::from_secs(70)).await;
            Ok(Bytes::from_static(rest))
        });
        let stream = stream::iter([Ok(Bytes::from_static(first))]).chain(rest).boxed();
        let cuts = Cuts { shutdown: watch::channel(false).1, superseded: None };
        Intake::new(stream, u64::MAX, Duration::from_secs(600), cuts)
    };
    let refused = scene.store.append(held, &mut slow(&EXE[..1], &EXE[1..]), Completes::Not).await;
    assert!(matches!(refused, Err(AppendError::TypeRefused(_))), "{refused:?}");
    let held = scene.begin(Opening::of_length(20_000)).await.unwrap();
    let body = &mut slow(&PNG[..9], &[0; 10_000]);
    let held = scene.store.append(held, body, Completes::Not).await.unwrap();
    let parts: Vec<_> = held.record.parts.iter().map(|part| part.bytes).collect();
    assert_eq!((held.record.offset(), parts[0]), (10_009, 9), "{parts:?}");
}

#[tokio::test]
async fn a_file_in_pieces_is_looked_at_as_a_whole() {
    let scene = Scene::new(images());
    let pieces = async |bodies: [&[u8]; 2]| {
        let mut pieces = Vec::new();
        for body in bodies {
            let concat = Some(Concat::Partial { claimed_by: None });
            let opening = Opening { concat, ..Opening::of_length(body.len() as u64) };
            let piece = scene.begin(opening).await.unwrap();
            pieces.push(scene.append(piece, body).await.unwrap().id);
        }
        pieces
    };
    let join = async |pieces| {
        scene.store.concatenate(&alice(), description("image/png"), pieces, u64::MAX).await
    };
    let program = pieces([&EXE[..3], &EXE[3..]]).await;
    let refused = join(program.clone()).await;
    assert!(refused.is_err(), "{refused:?}");
    let piece = scene.store.load(program[0]).await.unwrap().unwrap();
    let free = Some(Concat::Partial { claimed_by: None });
    assert_eq!(piece.record.concat, free, "the pieces are there, and free");
    // Refused when the last of them is complete, the whole goes and the pieces are free.
    let open = Opening { concat: free.clone(), ..Opening::of_length(EXE.len() as u64) };
    let open = scene.begin(open).await.unwrap();
    let last = join(vec![open.id]).await.unwrap();
    let claimed = scene.store.load(open.id).await.unwrap().unwrap();
    scene.append(claimed, EXE).await.unwrap();
    assert!(scene.store.load(last.id).await.unwrap().is_none());
    let piece = scene.store.load(open.id).await.unwrap().unwrap();
    assert_eq!((piece.record.complete, piece.record.concat), (true, free.clone()));
    // That the pieces are of no type by themselves is no reason to refuse them.
    let image = pieces([PNG, EXE]).await;
    assert!(join(image).await.unwrap().record.is_file());
}
