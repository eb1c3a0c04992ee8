//! What stands between a request that has lost, or asks for too much, and a record.

use super::*;

/// A clock that is set.
#[derive(Default)]
struct Clock(AtomicUsize);

impl crate::environment::Environment for Clock {
    fn unix_ms(&self) -> u64 {
        self.0.load(Ordering::Relaxed) as u64 * 1000
    }

    fn random(&self) -> u64 {
        System.random()
    }
}

/// The record has so many parts from now on.
async fn with_parts(scene: &Scene, held: &Held, parts: usize, complete: bool) -> Held {
    let changed = scene.store.change(held.id, |record| {
        record.parts = vec![Part { bytes: 1, nonce: 7, source: 0 }; parts];
        if complete {
            record.complete();
        }
        Ok::<_, ()>(())
    });
    changed.await.unwrap()
}

#[tokio::test]
async fn what_was_completed_meanwhile_is_not_appended_to() {
    let scene = Scene::new();
    let held = scene.store.begin(&alice(), description(), Opening::default()).await.unwrap();
    let held = scene.store.append(held, &mut intake(b"01234"), Completes::Not).await.unwrap();
    // It has no byte more, and so it is where a late append expects it.
    scene.store.append(held.clone(), &mut intake(b""), Completes::WithBody).await.unwrap();
    let late = scene.store.append(held.clone(), &mut intake(b"56"), Completes::Not).await;
    assert!(matches!(late, Err(AppendError::Complete)), "{late:?}");
    assert_eq!((scene.content(&held).await, scene.parts().await), (b"01234".to_vec(), 1));
}

#[tokio::test]
async fn what_is_complete_takes_no_byte_that_fits() {
    let scene = Scene::new();
    let done = scene.append(&scene.begin(5).await, b"01234").await.unwrap();
    let body = futures::stream::iter([Ok(Bytes::from_static(b"5"))]).boxed();
    let mut intake = Intake::new(body, 1, IDLE, never());
    let more = scene.store.append(done, &mut intake, Completes::Not).await;
    assert!(matches!(more, Err(AppendError::Complete)), "{more:?}");
}

#[tokio::test]
async fn nothing_is_written_for_a_body_of_nothing() {
    let scene = Scene::new();
    let held = scene.begin(5).await;
    scene.meta.fail([Failing::Full]);
    let same = scene.append(&held, b"").await.unwrap();
    assert!(same.is_same(&held));
}

#[tokio::test]
async fn what_can_not_be_committed_any_more_goes_though_a_write_was_uncertain() {
    let scene = Scene::new();
    let held = scene.begin(10).await;
    // The uncertain write expected a state that somebody else has changed since.
    scene.meta.fail([Failing::UncertainRenamed, Failing::Full]);
    let full = scene.append(&held, b"01234").await;
    assert!(matches!(full, Err(AppendError::Store(StoreError::Full))), "{full:?}");
    assert_eq!(scene.parts().await, 0);
}

#[tokio::test]
async fn a_whole_file_has_no_more_parts_than_a_record_can_hold() {
    let mut scene = Scene::new();
    (scene.store.parts.bytes_min, scene.store.parts.bytes_max) = (1, 1);
    let store = async |bytes| {
        let body = &mut intake(&vec![b'a'; bytes]);
        scene.store.store_whole(&alice(), description(), body).await
    };
    let refused = store(PARTS_MAX + 1).await;
    assert!(matches!(refused, Err(AppendError::TooManyParts)), "{refused:?}");
    assert_eq!(scene.parts().await, 0);
    assert_eq!(store(PARTS_MAX - 1).await.unwrap().record.parts.len(), PARTS_MAX - 1);
}

#[tokio::test]
async fn a_checked_body_has_no_more_parts_than_a_record_can_hold() {
    let scene = Scene::new();
    let held = scene.begin(usize::MAX).await;
    let full = with_parts(&scene, &held, PARTS_MAX, false).await;
    let store = Store { merge_at_parts: usize::MAX, ..scene.store.clone() };
    let refused = store.append(full, &mut checked(b"x", b"x"), Completes::AtLength).await;
    assert!(matches!(refused, Err(AppendError::TooManyParts)), "{refused:?}");
    assert_eq!(scene.parts().await, 0);
}

#[tokio::test]
async fn a_final_upload_has_no_more_parts_than_a_record_can_hold() {
    let scene = Scene::new();
    let (one, two) = (partial(&scene, 10).await, partial(&scene, 10).await);
    let concatenate = async || {
        let of = vec![one.id, two.id];
        scene.store.concatenate(&alice(), description(), of, u64::MAX).await
    };
    for piece in [&one, &two] {
        with_parts(&scene, piece, PARTS_MAX / 2 + 1, false).await;
    }
    let refused = concatenate().await;
    assert!(matches!(refused, Err(ConcatError::Number)), "{refused:?}");
    // They may also grow to so many once they are claimed.
    for piece in [&one, &two] {
        with_parts(&scene, piece, 1, false).await;
    }
    let last = concatenate().await.unwrap();
    for piece in [&one, &two] {
        with_parts(&scene, piece, PARTS_MAX / 2 + 1, true).await;
    }
    let refused = scene.store.join(last.id).await;
    assert!(matches!(refused, Err(ConcatError::Number)), "{refused:?}");
    assert!(!scene.store.load(last.id).await.unwrap().unwrap().record.complete);
}

#[tokio::test]
async fn a_final_upload_has_so_many_partial_ones() {
    let scene = Scene::new();
    let of = vec![partial(&scene, 1).await.id; concat::PARTIALS_MAX + 1];
    let refused = scene.store.concatenate(&alice(), description(), of, 1 << 20).await;
    assert!(matches!(refused, Err(ConcatError::Number)), "{refused:?}");
}

#[tokio::test]
async fn a_partial_upload_is_never_anothers_once_it_is_claimed() {
    let scene = Scene::new();
    let piece = partial(&scene, 1).await;
    // Two final uploads were begun for it at once, and one has claimed it.
    let of = vec![piece.id];
    let begin = async || {
        let opening =
            Opening { concat: Some(Concat::Final { of: of.clone() }), ..Opening::default() };
        scene.store.begin(&alice(), description(), opening).await.unwrap()
    };
    let (first, second) = (begin().await, begin().await);
    assert!(!scene.store.join(first.id).await.unwrap().unwrap().record.complete);
    let lost = scene.store.join(second.id).await;
    assert!(matches!(lost, Err(ConcatError::Claimed(id)) if id == piece.id), "{lost:?}");
    // Who has lost gives back nothing that is the other's, and takes nothing of it along.
    let claimed = async || {
        let piece = scene.store.load(piece.id).await.unwrap().unwrap();
        assert_eq!(piece.record.claimed_by(), Some(first.id));
    };
    scene.store.give_up_final(second.id).await;
    claimed().await;
    let third = begin().await;
    scene.store.remove(third.id, |_| Ok::<_, ()>(())).await.unwrap();
    claimed().await;
}

#[tokio::test]
async fn a_file_that_was_removed_stays_removed_when_its_tombstone_is_renewed() {
    let scene = Scene::new();
    let clock = Arc::new(Clock::default());
    let store = Store { environment: clock.clone(), ..scene.store.clone() };
    let id = FileId::new_at_edge(Home::of(0, "demo", "alice"), 1, 7);
    let give = async || {
        store.store_given(id, &alice(), description(), &mut intake(b"hello")).await.unwrap()
    };
    assert!(matches!(give().await, Given::Stored));
    store.remove(id, |_| Ok::<_, ()>(())).await.unwrap();
    clock.0.store(20 * 24 * 3600, Ordering::Relaxed);
    assert!(store.bury(id).await.unwrap());
    assert!(matches!(give().await, Given::Removed));
}

#[tokio::test(start_paused = true)]
async fn a_whole_file_comes_within_the_time_that_its_parts_are_left_alone() {
    let scene = Scene::new();
    let hour = Duration::from_secs(3600);
    let slow = |hours: u8| {
        let body = futures::stream::iter(0..hours).then(move |place| async move {
            tokio::time::sleep(hour).await;
            Ok(Bytes::from(vec![place; 200]))
        });
        Intake::new(body.boxed(), u64::MAX, 2 * hour, never())
    };
    let cut = scene.store.store_whole(&alice(), description(), &mut slow(30)).await;
    assert!(matches!(cut, Err(AppendError::Cut { offset: 0 })), "{cut:?}");
    assert_eq!(scene.parts().await, 0);
    scene.store.store_whole(&alice(), description(), &mut slow(20)).await.unwrap();
}

#[tokio::test]
async fn a_list_goes_on_behind_very_many_that_are_no_files() {
    let scene = Scene::new();
    let file = scene.store.store_whole(&alice(), description(), &mut intake(b"a")).await.unwrap();
    tokio::time::sleep(Duration::from_millis(2)).await; // The newest comes first.
    for _ in 0..1000 {
        scene.begin(10).await;
    }
    let first = scene.store.list(&alice(), "", 10, None).await.unwrap();
    assert!(first.files.is_empty());
    let second = scene.store.list(&alice(), "", 10, first.next).await.unwrap();
    assert_eq!(second.files.len(), 1);
    assert_eq!(second.files[0].0, file.id);
}

#[tokio::test]
async fn what_a_body_has_beyond_the_length_leaves_no_part() {
    let scene = Scene::new();
    let content = bytes(10_001);
    let held = scene.begin(10_000).await;
    let pieces: Vec<_> =
        content.chunks(700).map(|piece| Ok(Bytes::copy_from_slice(piece))).collect();
    let mut longer = Intake::new(futures::stream::iter(pieces).boxed(), 10_000, IDLE, never());
    let refused = scene.store.append(held.clone(), &mut longer, Completes::AtLength).await;
    let kept = 2 * PART_BYTES as u64; // The last part was in several chunks.
    assert!(
        matches!(refused, Err(AppendError::TooLong { offset }) if offset == kept),
        "{refused:?}"
    );
    assert!(scene.content(&held).await == content[..2 * PART_BYTES]);
    assert_eq!(scene.parts().await, 2);
}
