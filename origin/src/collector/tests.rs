//! What is collected and what never is.

use std::sync::atomic::Ordering;

use axum::response::IntoResponse as _;
use bytes::Bytes;
use futures::stream::{self, StreamExt as _};
use outport_wire::id::Home;
use tokio::sync::watch;

use super::scene::*;
use super::*;
use crate::environment::Environment as _;
use crate::fixtures::{alice, description};
use crate::http::failure::Failure;
use crate::intake::{Cuts, Intake};
use crate::meta::{Key, Meta as _, MetaError};
use crate::record::{Concat, Opening, Record};
use crate::store::{AppendError, Found, Held, day_of};
use crate::turns::Remains;

#[tokio::test]
async fn an_upload_that_makes_no_progress_goes_whole() {
    let scene = Scene::new();
    let held = scene.begin(Opening::of_length(10)).await;
    scene.append(&held, b"01234").await.unwrap();
    scene.pass(WEEK - 1);
    assert_eq!(scene.round().await.uploads, Tally::default());
    scene.pass(HOUR - 10);
    assert!(matches!(scene.store.find(held.id).await.unwrap(), Found::Expired(_)));
    assert_eq!(scene.round().await.uploads, Tally::default(), "clocks may differ");
    scene.pass(20);
    assert_eq!(scene.round().await.uploads, Tally { count: 1, bytes: 5 });
    assert!(matches!(scene.store.find(held.id).await.unwrap(), Found::Nothing));
    assert_eq!((scene.parts().await, scene.due().await, scene.listed().await), (0, 0, 0));
}

#[tokio::test]
async fn what_was_renewed_stays_as_long_after_it_has_expired() {
    let scene = Scene::new();
    let held = scene.begin(Opening::of_length(10)).await;
    scene.pass(HOUR / 2);
    scene.append(&held, b"01234").await.unwrap();
    // The entry is from before it was renewed.
    scene.pass(WEEK + HOUR - HOUR / 2 + 60);
    assert_eq!(scene.round().await.uploads, Tally::default());
    scene.pass(HOUR / 2);
    assert_eq!(scene.round().await.uploads.count, 1);
}

#[tokio::test]
async fn who_is_at_work_on_what_has_expired_ends_first() {
    let scene = Scene::new();
    let held = scene.begin(Opening::of_length(10)).await;
    let turn = scene.store.turn(held.id, Remains::Dropped).await.unwrap();
    scene.pass(WEEK + 2 * HOUR);
    assert_eq!(scene.round().await.uploads.count, 0);
    drop(turn);
    assert_eq!(scene.round().await.uploads.count, 1);
}

#[tokio::test]
async fn progress_keeps_an_upload_alive() {
    let scene = Scene::new();
    let mut held = scene.begin(Opening::of_length(5)).await;
    for byte in [b"0", b"1", b"2", b"3"] {
        held = scene.append(&held, byte).await.unwrap();
        scene.pass(WEEK - HOUR);
        scene.round().await;
    }
    held = scene.append(&held, b"4").await.unwrap();
    assert!(held.record.is_file());
    scene.pass(10 * WEEK);
    assert_eq!(scene.round().await.bytes(), 0);
    assert_eq!((scene.due().await, scene.parts().await), (0, 5), "a file stays");
}

#[tokio::test]
async fn a_clock_that_jumps_and_comes_back_hides_nothing() {
    let scene = Scene::new();
    scene.pass(500 * DAY);
    scene.round().await;
    scene.clock.0.store(0, Ordering::Relaxed);
    let held = scene.begin(Opening::of_length(10)).await;
    scene.pass(WEEK + 2 * HOUR);
    assert_eq!(scene.round().await.uploads.count, 1);
    assert!(!scene.is_there(&held).await);
}

#[tokio::test]
async fn a_file_goes_at_its_time() {
    let scene = Scene::new();
    let file = scene.file(b"0123456789").await;
    scene.expire(&file, 40 * DAY).await;
    scene.pass(40 * DAY);
    assert_eq!(scene.round().await.files.count, 0);
    scene.pass(2 * HOUR);
    assert_eq!(scene.round().await.files, Tally { count: 1, bytes: 10 });
    assert_eq!((scene.parts().await, scene.due().await, scene.listed().await), (0, 0, 0));
}

#[tokio::test]
async fn a_file_whose_expiry_was_taken_back_stays() {
    let scene = Scene::new();
    let file = scene.file(b"0123456789").await;
    scene.expire(&file, DAY).await;
    let taken_back = scene.store.change(file.id, |record| {
        record.expires_s = None;
        Ok::<_, ()>(())
    });
    taken_back.await.unwrap();
    scene.pass(2 * DAY);
    assert_eq!(scene.round().await.bytes(), 0);
    assert!(scene.is_there(&file).await && scene.due().await == 0);
}

#[tokio::test]
async fn parts_without_a_record_go_and_their_record_never_comes() {
    let scene = Scene::new();
    let id = FileId::new(Home::of(0, "demo", "alice"), scene.clock.unix_ms(), 7);
    scene.garbage(id).await;
    scene.pass(24 * HOUR);
    assert_eq!(scene.round().await.parts.count, 0, "it may be on its way");
    scene.pass(2 * HOUR);
    assert_eq!(scene.round().await.parts, Tally { count: 1, bytes: 7 });
    assert_eq!(scene.parts().await, 0);
    // Whoever wrote it wakes up, and wants to name it.
    let record = Record::begin(&alice(), description(), Opening::of_length(7), 0);
    let late = Bytes::from(record.to_bytes());
    let key = Key::new(format!("file/{id}"), "record");
    assert!(scene.meta.put(key.clone(), late, None).await.is_err());
    scene.pass(31 * DAY);
    let before = scene.everything().await;
    scene.collector.round(Mode::Count).await.unwrap();
    assert_eq!(scene.everything().await, before, "the tombstone is still there");
    scene.round().await;
    assert_eq!((scene.meta.get(key).await.unwrap(), scene.due().await), (None, 0));
}

/// A body that is collected beside, as if it had slept for longer than the grace in its middle.
fn slow(scene: &Arc<Scene>, bytes: usize) -> Intake {
    let (scene, piece) = (scene.clone(), move || Ok(Bytes::from(vec![b'a'; bytes])));
    let asleep = stream::once(async move {
        scene.pass(26 * HOUR);
        assert!(scene.round().await.parts.count > 0);
        piece()
    });
    let body = stream::iter([piece()]).chain(asleep).boxed();
    let cuts = Cuts { shutdown: watch::channel(false).1, superseded: None };
    Intake::new(body, u64::MAX, Duration::from_secs(60), cuts)
}

#[tokio::test]
async fn a_file_that_was_taken_for_left_behind_is_sent_again() {
    let scene = Arc::new(Scene::new());
    let late = scene.store.store_whole(&alice(), description(), &mut slow(&scene, 5_000)).await;
    assert!(matches!(late, Err(AppendError::Store(StoreError::LeftBehind))), "{late:?}");
    let told = Failure::from(late.unwrap_err()).into_response();
    assert_eq!(told.status(), 503, "whoever sent it did nothing wrong, and may do it again");
    assert_eq!((scene.parts().await, scene.listed().await), (0, 0));
    let again = scene.file(&[b'a'; 10_000]).await;
    assert_eq!(scene.content(&again).await.len(), 10_000);
}

#[tokio::test]
async fn a_tombstone_that_ends_soon_is_not_relied_upon() {
    let scene = Scene::new();
    let id = FileId::new(Home::of(0, "demo", "alice"), scene.clock.unix_ms(), 7);
    assert!(scene.store.bury(id).await.unwrap());
    scene.pass(29 * DAY);
    scene.garbage(id).await;
    scene.round().await;
    assert_eq!(scene.parts().await, 0);
    scene.pass(10 * DAY);
    scene.round().await;
    assert!(matches!(scene.store.slot(id).await.unwrap(), Slot::Buried(_)));
}

#[tokio::test]
async fn whoever_wrote_a_part_and_slept_can_not_commit_it() {
    let scene = Scene::new();
    let held = scene.begin(Opening::of_length(10)).await;
    scene.append(&held, b"01234").await.unwrap();
    let held = scene.store.load(held.id).await.unwrap().unwrap();
    // A part that was written in this state, and is about to be committed.
    scene.garbage(held.id).await;
    scene.pass(30 * HOUR);
    let turn = scene.store.turn(held.id, Remains::Dropped).await.unwrap();
    assert_eq!(scene.round().await.parts.count, 0, "somebody is at work");
    assert_eq!(scene.elsewhere().round(Mode::Remove).await.unwrap().parts.count, 1);
    drop(turn);
    let late = scene.append(&held, b"56789").await;
    assert!(matches!(late, Err(AppendError::Superseded { offset: 5 })), "{late:?}");
    assert_eq!(scene.parts().await, 1, "what is named stays");
}

#[tokio::test]
async fn a_complete_record_keeps_what_it_names() {
    let scene = Scene::new();
    let file = scene.file(b"0123456789").await;
    scene.garbage(file.id).await;
    scene.pass(30 * HOUR);
    let done = scene.round().await;
    assert_eq!((done.parts.count, done.parts_seen, scene.parts().await), (1, 2, 1));
}

#[tokio::test]
async fn a_dry_run_changes_nothing_and_tells_the_same() {
    let scene = Scene::new();
    let file = scene.file(b"0123456789").await;
    let open = scene.begin(Opening::of_length(10)).await;
    scene.append(&open, b"01234").await.unwrap();
    let (one, two) = (scene.partial(b"01").await, scene.partial(b"234").await);
    let of = vec![one.id, two.id];
    let last = scene.store.concatenate(&alice(), description(), of, 100).await.unwrap();
    scene.expire(&last, DAY).await;
    let nobody = FileId::new(Home::of(0, "demo", "alice"), scene.clock.unix_ms(), 7);
    for writer in [file.id, open.id, nobody] {
        scene.garbage(writer).await;
    }
    scene.pass(WEEK + 2 * HOUR);
    let before = scene.everything().await;
    let told = scene.collector.round(Mode::Count).await.unwrap();
    assert_eq!(scene.everything().await, before);
    assert_eq!(
        (told.files.count, told.uploads, told.parts.count),
        (1, Tally { count: 3, bytes: 10 }, 3)
    );
    let done = scene.round().await;
    assert_eq!((done.files, done.uploads), (told.files, told.uploads));
    assert!(scene.is_there(&file).await && scene.parts().await == 1);
}

#[tokio::test]
async fn partial_uploads_expire_until_they_are_claimed() {
    let scene = Scene::new();
    let (one, two, left) =
        (scene.partial(b"01").await, scene.partial(b"234").await, scene.partial(b"5").await);
    let of = vec![one.id, two.id];
    let last = scene.store.concatenate(&alice(), description(), of, 100).await.unwrap();
    scene.pass(5 * WEEK);
    assert_eq!(scene.round().await.uploads, Tally { count: 1, bytes: 1 });
    assert!(!scene.is_there(&left).await);
    assert!(scene.is_there(&one).await && scene.is_there(&two).await && last.record.is_file());
    assert_eq!(scene.parts().await, 2);
}

#[tokio::test]
async fn what_a_final_upload_left_behind_goes() {
    let scene = Scene::new();
    let one = scene.partial(b"01").await;
    let empty = scene.partial(b"").await;
    let of = vec![one.id, empty.id];
    let last = scene.store.concatenate(&alice(), description(), of, 100).await.unwrap();
    // Its removal stopped behind the record.
    let key = Key::new(format!("file/{}", last.id), "record");
    let entry = scene.meta.get(key.clone()).await.unwrap().unwrap();
    scene.meta.delete(key, entry.version).await.unwrap();
    scene.pass(2 * WEEK);
    assert_eq!(scene.round().await.orphans, Tally { count: 2, bytes: 2 });
    scene.pass(40 * DAY);
    scene.round().await;
    assert_eq!((scene.parts().await, scene.due().await, scene.listed().await), (0, 0, 0));
}

#[tokio::test]
async fn what_a_final_upload_left_behind_is_found_by_its_parts_too() {
    let scene = Scene::new();
    let one = scene.partial(b"01").await;
    let of = vec![one.id];
    let last = scene.store.concatenate(&alice(), description(), of, 100).await.unwrap();
    let key = Key::new(format!("file/{}", last.id), "record");
    let entry = scene.meta.get(key.clone()).await.unwrap().unwrap();
    scene.meta.delete(key, entry.version).await.unwrap();
    // Long before it is due.
    scene.pass(26 * HOUR);
    assert_eq!(scene.round().await.orphans, Tally { count: 1, bytes: 2 });
    assert_eq!(scene.parts().await, 0);
}

#[tokio::test]
async fn a_step_looks_at_so_many_entries() {
    let scene = Scene::new();
    for _ in 0..3 {
        scene.begin(Opening::of_length(10)).await;
    }
    scene.pass(WEEK + 2 * HOUR);
    let mut step = Round::new(Mode::Remove, 2);
    scene.collector.look_at_due(&mut step).await.unwrap();
    assert_eq!(step.done.uploads.count, 2);
    assert_eq!(scene.round().await.uploads.count, 1, "what is left is there in the next one");
}

#[tokio::test]
async fn a_final_upload_lives_as_long_as_its_partial_ones() {
    let scene = Scene::new();
    let concat = Some(Concat::Partial { claimed_by: None });
    let opening = Opening { concat, ..Opening::of_length(2) };
    let (done, open) = (scene.partial(b"01").await, scene.begin(opening).await);
    let of = vec![done.id, open.id];
    let last = scene.store.concatenate(&alice(), description(), of, 100).await.unwrap();
    scene.pass(6 * DAY);
    let claimed = scene.store.load(open.id).await.unwrap().unwrap();
    scene.append(&claimed, b"2").await.unwrap();
    scene.pass(6 * DAY);
    assert_eq!(scene.round().await.bytes(), 0);
    assert!(scene.is_there(&last).await && scene.is_there(&done).await);
    scene.pass(2 * DAY);
    assert_eq!(scene.round().await.uploads, Tally { count: 3, bytes: 3 });
    // What is looked at once more is buried for thirty days, so that it never comes late.
    for _ in 0..2 {
        scene.pass(40 * DAY);
        scene.round().await;
    }
    assert_eq!((scene.parts().await, scene.due().await, scene.listed().await), (0, 0, 0));
}

/// Two partial uploads, the one brought on after three days and the other after six, and the final
/// one that waits for them.
async fn unfinished(scene: &Scene) -> [Held; 3] {
    let opening = || {
        let concat = Some(Concat::Partial { claimed_by: None });
        Opening { concat, ..Opening::of_length(2) }
    };
    let (one, two) = (scene.begin(opening()).await, scene.begin(opening()).await);
    let of = vec![one.id, two.id];
    let last = scene.store.concatenate(&alice(), description(), of, 100).await.unwrap();
    for piece in [&one, &two] {
        scene.pass(3 * DAY);
        let claimed = scene.store.load(piece.id).await.unwrap().unwrap();
        scene.append(&claimed, b"0").await.unwrap();
    }
    [one, two, last]
}

#[tokio::test]
async fn a_final_upload_goes_with_the_first_of_its_partial_ones() {
    let scene = Scene::new();
    unfinished(&scene).await;
    scene.pass(DAY + 2 * HOUR);
    assert_eq!(scene.round().await.bytes(), 0);
    scene.pass(3 * DAY);
    assert_eq!(scene.round().await.uploads, Tally { count: 3, bytes: 2 });
}

#[tokio::test]
async fn a_final_upload_goes_though_none_of_its_partial_ones_is_found() {
    let scene = Scene::new();
    let [_, _, last] = unfinished(&scene).await;
    scene.pass(4 * DAY + 2 * HOUR);
    let mut entries = Vec::new();
    for day in day_of(scene.store.now_s()) - 10..=day_of(scene.store.now_s()) {
        entries.extend(scene.store.due(day, None, 100).await.unwrap());
    }
    for due in entries.iter().filter(|due| due.id != last.id) {
        scene.store.settle_due(due).await.unwrap();
    }
    assert_eq!(scene.round().await.uploads, Tally { count: 3, bytes: 2 });
}

#[tokio::test]
async fn a_final_upload_that_claimed_nothing_goes() {
    let scene = Scene::new();
    let concat = Some(Concat::Partial { claimed_by: None });
    let piece = scene.begin(Opening { concat, ..Opening::of_length(2) }).await;
    // Whoever began it was killed before it claimed anything.
    let concat = Some(Concat::Final { of: vec![piece.id] });
    let last = scene.begin(Opening { concat, ..Opening::default() }).await;
    scene.pass(6 * DAY);
    scene.append(&piece, b"0").await.unwrap();
    scene.pass(DAY + 2 * HOUR);
    assert_eq!(scene.round().await.uploads, Tally { count: 1, bytes: 0 });
    assert!(scene.is_there(&piece).await && !scene.is_there(&last).await);
}

#[tokio::test]
async fn an_upload_that_was_begun_by_half_leaves_nothing() {
    let scene = Scene::new();
    let held = scene.begin(Opening::of_length(2)).await;
    // As if its record had never been written.
    let key = Key::new(format!("file/{}", held.id), "record");
    let entry = scene.meta.get(key.clone()).await.unwrap().unwrap();
    scene.meta.delete(key, entry.version).await.unwrap();
    scene.pass(WEEK + 2 * HOUR);
    assert_eq!(scene.round().await.list_entries, 1);
    assert_eq!(scene.listed().await, 0);
    let place = scene.store.slot(held.id).await.unwrap();
    assert!(matches!(place, Slot::Buried(_)), "its record does not come behind that");
}

/// The concatenation failed, and could not give it back.
#[tokio::test]
async fn a_piece_goes_with_what_is_not_to_be_made_of_it_any_more() {
    let scene = Scene::new();
    let concat = Some(Concat::Partial { claimed_by: None });
    let piece = scene.begin(Opening { concat, ..Opening::of_length(2) }).await;
    let of = vec![piece.id];
    let last = scene.store.concatenate(&alice(), description(), of, 100).await.unwrap();
    let abandoned = scene.store.change(last.id, |record| {
        record.concat = None;
        Ok::<_, ()>(())
    });
    abandoned.await.unwrap();
    scene.pass(2 * WEEK);
    scene.round().await;
    for id in [piece.id, last.id] {
        assert!(!matches!(scene.store.slot(id).await.unwrap(), Slot::Held(_)), "{id}");
    }
}

/// Its writer slept between the index of what is due and the list, for longer than it would live.
#[tokio::test]
async fn an_upload_that_nobody_would_look_at_any_more_is_never_made() {
    let scene = Scene::new();
    let held = scene.begin(Opening::of_length(2)).await;
    let key = Key::new(format!("file/{}", held.id), "record");
    let entry = scene.meta.get(key.clone()).await.unwrap().unwrap();
    scene.meta.delete(key.clone(), entry.version).await.unwrap();
    scene.store.unlist(&alice(), held.id).await;
    scene.pass(WEEK + 2 * HOUR);
    scene.round().await;
    let late = scene.meta.put(key, entry.value, None).await;
    assert!(matches!(late, Err(MetaError::Conflict)), "{late:?}");
}

#[tokio::test]
async fn an_entry_of_a_list_without_a_record_goes_once_it_was_seen() {
    let scene = Scene::new();
    let file = scene.file(b"0").await;
    let key = Key::new(format!("file/{}", file.id), "record");
    let entry = scene.meta.get(key.clone()).await.unwrap().unwrap();
    scene.meta.delete(key, entry.version).await.unwrap();
    scene.store.list(&alice(), "", 10, None).await.unwrap();
    assert_eq!(scene.round().await.list_entries, 0, "the record may be on its way");
    scene.pass(26 * HOUR);
    scene.store.list(&alice(), "", 10, None).await.unwrap();
    assert_eq!(scene.round().await.list_entries, 1);
    assert_eq!((scene.listed().await, scene.parts().await), (0, 0));
}

#[tokio::test]
async fn a_ledger_is_settled_by_rounds_and_by_steps() {
    let scene = Scene::new();
    let gone = FileId::new(Home::of(0, "demo", "alice"), 1, 7);
    let left = format!(
        r#"{{"settled":[5,1],"unsettled":{{"{gone}":{{"1":{{"to":[7,1],"until_s":1}}}}}}}}"#
    );
    for by_step in [false, true] {
        let key = Key::new("ledger", format!("tenant-{by_step}"));
        scene.meta.put(key.clone(), left.clone().into(), None).await.unwrap();
        if by_step {
            scene.collector.step().await.unwrap();
        } else {
            scene.round().await;
        }
        let settled = scene.meta.get(key).await.unwrap().unwrap().value;
        assert_eq!(settled, r#"{"settled":[5,1]}"#);
    }
}

#[tokio::test]
async fn one_round_is_made_at_a_time() {
    let scene = Scene::new();
    let turn = scene.collector.turn.lock().await;
    let mut round = Box::pin(scene.collector.round(Mode::Count));
    assert!(futures::poll!(&mut round).is_pending());
    drop(turn);
    round.await.unwrap();
}

#[tokio::test]
async fn several_collectors_share_the_folders() {
    let scene = Scene::new();
    let mut seen = Vec::new();
    for turn in 0..Folder::COUNT {
        let collector = if turn % 2 == 0 { scene.collector.clone() } else { scene.elsewhere() };
        seen.extend(collector.next_folder().await.unwrap());
    }
    assert_eq!(seen, Folder::all().collect::<Vec<_>>());
    assert_eq!(
        Folder::all().map(Folder::name).collect::<std::collections::BTreeSet<_>>().len(),
        1024
    );
}
