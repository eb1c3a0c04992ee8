//! Keeps the number of an upload's parts small, however small the pieces are in which it comes: a
//! run of small parts is copied into one, and the record takes that one in their place.
//!
//! The copy is durable before the record names it, and the record takes it by compare-and-swap on
//! the very state that was copied from. The small parts go after that. Nobody reads them by then:
//! only uploads that go on are merged, and nothing is delivered of them. A copy that the record did
//! not take is garbage; so is a small part that a crash left behind.

use std::ops::Range;
use std::time::Duration;

use futures::{StreamExt as _, TryStreamExt as _};
use tokio::sync::watch;

use super::{Held, PART_AGE_MAX, PARTS_MAX, Store, StoreError};
use crate::blobs::PartLimits;
use crate::intake::{BodyCut, Cuts, End, Intake};
use crate::meta::MetaError;
use crate::record::{Part, PartName, Record};

/// An upload with this many parts has some merged. One that comes in large pieces never gets there.
pub(super) const MERGE_AT_PARTS: usize = 1024;
/// Fewer than this are not worth a copy, while there is room for more.
const RUN_PARTS_MIN: usize = 16;
/// The most that is copied at once: a client waits for it. With parts of this size, an upload has
/// room for a TiB.
const RUN_BYTES_MAX: u64 = 128 << 20;
/// A disk that takes longer to read on is as good as none.
const READ_IDLE_MAX: Duration = Duration::from_secs(30);

/// The longest run of own parts that together have at most `bytes_max` bytes.
fn longest_run(parts: &[Part], bytes_max: u64) -> Range<usize> {
    let (mut longest, mut begin, mut bytes) = (0..0, 0, 0);
    for (place, part) in parts.iter().enumerate() {
        bytes += part.bytes;
        while begin <= place && (bytes > bytes_max || part.source != 0) {
            bytes -= parts.get(begin).map_or(0, |first| first.bytes);
            begin += 1;
        }
        if place + 1 - begin > longest.len() {
            longest = begin..place + 1;
        }
    }
    longest
}

impl Store {
    /// Merges some of an upload's parts if it has many. Returns the state to go on from, which has
    /// the same bytes. If it can't be done now, it is tried again with the next append.
    pub(super) async fn merge_small_parts(&self, held: Held) -> Held {
        let Some(run) = self.run_to_merge(&held.record) else { return held };
        match self.merge(&held, run).await {
            Ok(Some(merged)) => merged,
            Ok(None) => held,
            Err(error) => {
                tracing::warn!(id = %held.id, %error, "small parts were not merged");
                held
            }
        }
    }

    fn run_to_merge(&self, record: &Record) -> Option<Range<usize>> {
        let parts = record.parts.len();
        if parts < self.merge_at_parts {
            return None;
        }
        let bytes_max = self.part_limits(record.offset(), parts).bytes_max.min(RUN_BYTES_MAX);
        let run = longest_run(&record.parts, bytes_max);
        if run.len() >= RUN_PARTS_MIN {
            return Some(run);
        }
        // There is little room left, so two are better than none.
        let run = longest_run(&record.parts, RUN_BYTES_MAX);
        (parts > PARTS_MAX / 2 && run.len() >= 2).then_some(run)
    }

    /// `None` where the record is in another state by now.
    async fn merge(&self, held: &Held, run: Range<usize>) -> Result<Option<Held>, StoreError> {
        let mut merged = held.clone();
        let name = self.new_part(held.id);
        let Some(part) = self.copy(held, run.clone(), name).await? else { return Ok(None) };
        let small: Vec<Part> = merged.record.parts.splice(run, [part]).collect();
        let small: Vec<_> =
            small.into_iter().map(|part| held.record.part_name(held.id, part)).collect();
        let (taken, garbage) = match self.replace(&merged).await {
            Ok(version) => (Some(Held { version, ..merged }), small),
            Err(MetaError::Conflict) => (None, vec![name]),
            Err(MetaError::Uncertain(_)) => return self.look_after_merge(held, name, small).await,
            Err(error) => {
                self.blobs.remove(&[name]).await;
                return Err(error.into());
            }
        };
        self.blobs.remove(&garbage).await;
        Ok(taken)
    }

    /// Copies parts into one.
    async fn copy(
        &self,
        held: &Held,
        run: Range<usize>,
        name: PartName,
    ) -> Result<Option<Part>, StoreError> {
        let bytes_of = |parts: &[Part]| parts.iter().map(|part| part.bytes).sum::<u64>();
        let begin = held.record.parts.get(..run.start).map_or(0, bytes_of);
        let bytes = held.record.parts.get(run).map_or(0, bytes_of);
        let stored = self.read(held, begin..begin + bytes).map_err(|_| BodyCut).boxed();
        let cuts = Cuts { shutdown: watch::channel(false).1, superseded: None };
        let mut intake = Intake::new(stored, bytes, READ_IDLE_MAX, cuts);
        let limits = PartLimits { bytes_max: bytes, age_max: PART_AGE_MAX };
        let written = self.blobs.write(name, &mut intake, limits).await?;
        let whole = written.end == Some(End::Complete)
            && written.part.is_some_and(|part| part.bytes == bytes);
        if !whole {
            self.blobs.remove(&[name]).await;
        }
        Ok(written.part.filter(|_| whole))
    }

    /// Nobody could tell whether the record took the copy.
    async fn look_after_merge(
        &self,
        held: &Held,
        name: PartName,
        small: Vec<PartName>,
    ) -> Result<Option<Held>, StoreError> {
        let Some(now) = self.load_any(held.id).await? else { return Ok(None) };
        if now.record.part_names(now.id).contains(&name) {
            self.blobs.remove(&small).await;
            let same = (now.record.offset(), now.record.epoch)
                == (held.record.offset(), held.record.epoch);
            return Ok(Some(now).filter(|_| same));
        }
        if !now.is_same(held) {
            // What expected a state that is past will never be made.
            self.blobs.remove(&[name]).await;
        }
        Ok(None)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::collector::scene::Scene;
    use crate::fixtures::intake;
    use crate::record::Opening;
    use crate::store::Completes;

    fn part(bytes: u64, source: u16) -> Part {
        Part { bytes, nonce: 0, source }
    }

    #[test]
    fn runs_are_long_and_own_and_within_bounds() {
        let run = |bytes: &[u64], max| {
            let parts: Vec<_> = bytes.iter().map(|bytes| part(*bytes, 0)).collect();
            longest_run(&parts, max)
        };
        assert_eq!(run(&[], 10), 0..0);
        assert_eq!(run(&[11, 20], 10), 0..0);
        assert_eq!(run(&[1, 1, 9, 2, 2, 2, 2, 2, 9], 10), 3..8);
        assert_eq!(run(&[1, 1, 1, 1], 3), 0..3);
        assert_eq!(longest_run(&[part(1, 1), part(1, 0), part(1, 0), part(1, 2)], 9), 1..3);
    }

    #[tokio::test]
    async fn short_runs_are_merged_where_there_is_little_room_left() {
        let scene = Scene::new();
        let mut record = scene.begin(Opening::of_length(u64::MAX)).await.record;
        // Pairs of small parts between large ones.
        let triple = [part(1, 0), part(1, 0), part(RUN_BYTES_MAX, 0)];
        record.parts = triple.repeat(PARTS_MAX / 6);
        assert_eq!(scene.store.run_to_merge(&record), None);
        record.parts.extend(triple.repeat(2));
        assert_eq!(scene.store.run_to_merge(&record), Some(0..2));
    }

    #[tokio::test]
    async fn an_upload_in_very_many_pieces_has_few_parts() {
        let mut scene = Scene::new();
        scene.store.merge_at_parts = 40;
        let content: Vec<u8> = (0..3000).map(|place| (place % 251) as u8).collect();
        let mut held = scene.begin(Opening::of_length(content.len() as u64)).await;
        for byte in content.chunks(1) {
            held = scene.append(&held, byte).await.unwrap();
            assert!(held.record.parts.len() <= 41, "{}", held.record.parts.len());
        }
        assert!(held.record.is_file());
        assert_eq!(scene.content(&held).await, content);
        assert_eq!(
            scene.parts().await,
            held.record.parts.len(),
            "nothing is left of the small ones"
        );
        assert!(scene.fsck.run(false).await.unwrap().is_sound());
    }

    #[tokio::test]
    async fn a_copy_that_comes_late_changes_nothing() {
        let scene = Scene::new();
        let mut held = scene.begin(Opening::of_length(100)).await;
        for byte in [b"0", b"1", b"2"] {
            held = scene.append(&held, byte).await.unwrap();
        }
        let before = held.clone();
        let held = scene.append(&held, b"3").await.unwrap();
        assert!(scene.store.merge(&before, 0..3).await.unwrap().is_none());
        assert_eq!((scene.content(&held).await, scene.parts().await), (b"0123".to_vec(), 4));
        // One in time does, and whoever began before it goes on behind it.
        let merged = scene.store.merge(&held, 0..3).await.unwrap().unwrap();
        assert_eq!((merged.record.parts.len(), scene.parts().await), (2, 2));
        let body = &mut intake(b"4");
        let done = scene.store.append(held, body, Completes::Not).await.unwrap();
        assert_eq!(scene.content(&done).await, b"01234");
    }

    #[tokio::test]
    async fn a_part_that_can_not_be_read_is_not_merged() {
        let scene = Scene::new();
        let mut held = scene.begin(Opening::of_length(100)).await;
        for byte in [b"0", b"1", b"2"] {
            held = scene.append(&held, byte).await.unwrap();
        }
        scene.store.remove_parts(&held.record.part_names(held.id)[1..2]).await;
        assert!(scene.store.merge(&held, 0..3).await.unwrap().is_none());
        assert_eq!(scene.parts().await, 2);
    }
}
