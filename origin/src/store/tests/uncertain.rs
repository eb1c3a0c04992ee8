//! What may be there and may not, and what an attempt that ended half way leaves.

use super::*;

const OF_MANY: usize = 16;

fn edge_id() -> FileId {
    FileId::new_at_edge(Home::of(0, "demo", "alice"), 1_790_000_000_000, 7)
}

async fn give(scene: &Scene, intake: &mut Intake) -> Result<Given, AppendError> {
    scene.store.store_given(edge_id(), &alice(), description(), intake).await
}

/// The one file that is listed.
async fn listed(scene: &Scene) -> Held {
    let page = scene.store.list(&alice(), "", 10, None).await.unwrap();
    let [(id, _)] = &page.files[..] else { panic!("{page:?}") };
    scene.store.load(*id).await.unwrap().unwrap()
}

#[tokio::test]
async fn a_file_that_may_be_there_keeps_its_parts_and_its_place_in_the_list() {
    for content in [bytes(10_000), bytes(50)] {
        let scene = Scene::new();
        scene.meta.fail([Failing::Not, Failing::UncertainDone]);
        let body = &mut intake(&content);
        let told = scene.store.store_whole(&alice(), description(), body).await;
        assert!(matches!(told, Err(AppendError::Store(StoreError::Uncertain(_)))), "{told:?}");
        assert!(scene.content(&listed(&scene).await).await == content);
    }
    let scene = Scene::new();
    scene.meta.fail([Failing::Not, Failing::UncertainDone]);
    let told = give(&scene, &mut intake(&bytes(10_000))).await;
    assert!(matches!(told, Err(AppendError::Store(StoreError::Uncertain(_)))), "{told:?}");
    assert!(scene.content(&listed(&scene).await).await == bytes(10_000));
    assert!(matches!(give(&scene, &mut intake(&bytes(10_000))).await, Ok(Given::Here(_))));
}

#[tokio::test]
async fn a_given_file_that_is_another_leaves_nothing() {
    let scene = Scene::new();
    let damaged = give(&scene, &mut checked(&bytes(10_000), b"another")).await;
    assert!(matches!(damaged, Err(AppendError::Digest(_))), "{damaged:?}");
    assert_eq!(scene.parts().await, 0);
}

#[tokio::test]
async fn of_two_attempts_to_give_a_file_the_slower_finds_it() {
    let scene = Arc::new(Scene::new());
    let beside = scene.clone();
    let quicker = futures::stream::once(async move {
        let given = give(&beside, &mut intake(&bytes(10_000))).await;
        assert!(matches!(given, Ok(Given::Stored)), "{given:?}");
        Ok(Bytes::from(bytes(10_000)))
    });
    let slower = give(&scene, &mut Intake::new(quicker.boxed(), 10_000, IDLE, never())).await;
    assert!(matches!(slower, Ok(Given::Here(_))), "{slower:?}");
    assert!(scene.content(&listed(&scene).await).await == bytes(10_000));
    assert_eq!(scene.parts().await, listed(&scene).await.record.parts.len());
}

/// An upload of many parts of one byte, in a store that merges them with the next append.
async fn in_many(scene: &Scene) -> (Store, Held) {
    let mut held = scene.begin(100).await;
    for place in 0..OF_MANY as u8 {
        held = scene.append(&held, &[place]).await.unwrap();
    }
    (Store { merge_at_parts: OF_MANY, ..scene.store.clone() }, held)
}

#[tokio::test]
async fn a_copy_of_small_parts_that_may_have_been_taken_is_looked_after() {
    let content: Vec<u8> = (0..=OF_MANY as u8).collect();
    // It was: the small ones go. It was not and still may be: both stay.
    for (failing, named, stored) in
        [(Failing::UncertainDone, 2, 2), (Failing::UncertainNotDone, OF_MANY + 1, OF_MANY + 2)]
    {
        let scene = Scene::new();
        let (store, held) = in_many(&scene).await;
        scene.meta.fail([failing]);
        let body = &mut intake(&content[OF_MANY..]);
        let held = store.append(held, body, Completes::AtLength).await.unwrap();
        assert!(scene.content(&held).await == content);
        assert_eq!((held.record.parts.len(), scene.parts().await), (named, stored));
    }
}

#[tokio::test]
async fn an_append_does_not_go_on_from_what_another_made_of_a_copy() {
    let scene = Scene::new();
    let (store, held) = in_many(&scene).await;
    scene.meta.fail([Failing::UncertainOvertaken]);
    let late = store.append(held, &mut intake(b"late"), Completes::AtLength).await;
    assert!(matches!(late, Err(AppendError::Superseded { .. })), "{late:?}");
}

#[tokio::test]
async fn an_offset_is_told_though_no_epoch_can_be_written() {
    let scene = Scene::new();
    let held = scene.append(&scene.begin(10).await, b"01234").await.unwrap();
    scene.meta.fail([Failing::Full]);
    let shown = scene.store.interrupt(held.id).await.unwrap().unwrap();
    assert_eq!((shown.record.offset(), shown.is_same(&held)), (5, true));
}

#[tokio::test]
async fn a_removal_that_may_have_been_made_is_made() {
    for happened in [Failing::UncertainDone, Failing::UncertainNotDone] {
        let scene = Scene::new();
        assert!(matches!(give(&scene, &mut intake(&bytes(10_000))).await, Ok(Given::Stored)));
        // A reason to take the tombstone away, and then the tombstone.
        scene.meta.fail([Failing::Not, happened]);
        let removed = scene.store.remove(edge_id(), |_| Ok::<_, ()>(())).await;
        assert!(matches!(removed, Ok(()) | Err(ChangeError::Gone)), "{removed:?}");
        assert!(scene.store.load(edge_id()).await.unwrap().is_none());
        assert!(matches!(give(&scene, &mut intake(b"")).await, Ok(Given::Removed)));
    }
}

#[tokio::test]
async fn nobody_is_shut_out_for_certain_by_what_is_uncertain() {
    for happened in [Failing::UncertainDone, Failing::UncertainNotDone] {
        let scene = Scene::new();
        let held = scene.begin(10).await;
        scene.meta.fail([happened]);
        assert!(!scene.store.shut_out(&held).await.unwrap(), "the collector looks again");
        let now = scene.store.load(held.id).await.unwrap().unwrap();
        assert!(scene.store.shut_out(&now).await.unwrap());
    }
}
