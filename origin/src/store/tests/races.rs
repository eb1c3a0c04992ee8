//! Histories that the simulation found, as small as they get.

use std::sync::atomic::AtomicU64;

use super::*;
use crate::environment::Environment;

/// A clock that is set.
struct Clock(AtomicU64);

impl Environment for Clock {
    fn unix_ms(&self) -> u64 {
        self.0.load(Ordering::Relaxed) * 1000
    }

    fn random(&self) -> u64 {
        System.random()
    }
}

#[tokio::test]
async fn an_append_does_not_go_on_behind_the_bytes_of_another() {
    let scene = Scene::new();
    let held = scene.begin(20_000).await;
    scene.meta.fail([Failing::UncertainOvertaken]);
    let overtaken = scene.append(&held, &bytes(20_000)).await;
    let offset = PART_BYTES as u64 + OVERTAKEN_BYTES;
    assert!(
        matches!(overtaken, Err(AppendError::Superseded { offset: at }) if at == offset),
        "{overtaken:?}"
    );
    assert_eq!(scene.offset(&held).await as u64, offset);
}

#[tokio::test]
async fn a_commit_that_may_still_come_keeps_its_part_when_the_upload_expires() {
    let scene = Scene::new();
    let clock = Arc::new(Clock(AtomicU64::new(1000)));
    let store = Store { environment: clock.clone(), ..scene.store.clone() };
    let opening = Opening { upload_expires_s: Some(2000), ..Opening::of_length(10) };
    let held = store.begin(&alice(), description(), opening).await.unwrap();
    clock.0.store(3000, Ordering::Relaxed);
    scene.meta.fail([Failing::UncertainNotDone]);
    let body = &mut intake(b"0123456789");
    let gone = store.append(held, body, Completes::AtLength).await;
    assert!(matches!(gone, Err(AppendError::Gone)), "{gone:?}");
    assert_eq!(scene.parts().await, 1);
}

#[tokio::test]
async fn a_partial_upload_keeps_its_parts_for_as_long_as_its_record() {
    let scene = Scene::new();
    let partial = partial(&scene, 10).await;
    let partial = scene.append(&partial, b"0123456789").await.unwrap();
    let whole = scene.store.concatenate(&alice(), description(), vec![partial.id], 100).await;
    let whole = whole.unwrap();
    // The record of the whole and its entry in the list go; the partial's stays.
    scene.meta.deletes_left.store(2, Ordering::Relaxed);
    scene.store.remove(whole.id, |_| Ok::<_, ()>(())).await.unwrap();
    assert!(scene.store.load(whole.id).await.unwrap().is_none());
    assert_eq!(scene.content(&partial).await, b"0123456789");
}
