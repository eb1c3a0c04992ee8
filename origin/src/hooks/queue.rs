//! The durable queue of one receiver: what it has yet to be told, ordered by when the next attempt is
//! due, and beside it what was given up.
//!
//! An entry is claimed by compare-and-swap before anything is sent, so that of several origins on
//! one store one sends it. Whoever claims it has it until its lease is over; if that one is gone
//! by then, another takes it. An entry moves by being written in its new place before it goes from
//! the old one: after a crash in between there are two, and the receiver is told twice. There is
//! never none.

use std::sync::Arc;

use bytes::Bytes;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::event::{Event, EventId, Kind};
use crate::meta::{self, Key, Meta, MetaError, SCAN_ENTRIES_MAX, Version};

/// The form in which entries are stored, written into each of them.
const FORMAT: u8 = 1;
/// The most that a receiver can have waiting. Beyond that, changes that it would have to be told
/// of are refused until it has taken some: nothing is dropped.
pub(crate) const WAITING_MAX: u64 = 1_000_000;
/// The most that is kept of what was given up. Beyond that, the oldest goes.
pub(crate) const DEAD_MAX: u64 = 100_000;
/// How many entries are looked at for those that are due. More than are ever claimed at once, so
/// that there is always one behind them.
const DUE_ENTRIES_MAX: usize = 256;

/// How the last attempt ended.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Attempt {
    pub(crate) at_ms: u64,
    /// The answer's status, or why there was none.
    pub(crate) outcome: String,
}

/// An event on its way to one receiver.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Entry {
    #[serde(rename = "v")]
    format: u8,
    kind: Kind,
    id: outport_wire::id::FileId,
    at_ms: u64,
    file: Value,
    /// Attempts that failed.
    pub(crate) attempts: u32,
    /// Until when somebody is sending it; 0 is nobody.
    #[serde(default)]
    pub(crate) claimed_until_ms: u64,
    #[serde(default)]
    pub(crate) last: Option<Attempt>,
}

/// An entry in the place and state it was found in.
#[derive(Clone, Debug)]
pub(crate) struct Queued {
    pub(crate) key: Bytes,
    version: Version,
    pub(crate) entry: Entry,
}

/// What is to be done next.
#[derive(Debug)]
pub(crate) struct Due {
    /// To be claimed and sent, the longest due first.
    pub(crate) entries: Vec<Queued>,
    /// When there will be something, if nothing new comes.
    pub(crate) next_ms: Option<u64>,
}

/// Which of the two lists of a receiver.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Shelf {
    /// What it has yet to be told.
    Waiting,
    /// What was given up.
    Dead,
}

/// The queue of one receiver.
#[derive(Clone)]
pub(crate) struct Queue {
    meta: Arc<dyn Meta>,
    hook: Arc<str>,
}

impl Entry {
    fn of(event: Event) -> Self {
        Self {
            format: FORMAT,
            kind: event.id.kind,
            id: event.id.file,
            at_ms: event.at_ms,
            file: event.file,
            attempts: 0,
            claimed_until_ms: 0,
            last: None,
        }
    }

    /// What is told.
    pub(crate) fn event(&self) -> Event {
        Event { id: self.event_id(), at_ms: self.at_ms, file: self.file.clone() }
    }

    pub(crate) fn event_id(&self) -> EventId {
        EventId { kind: self.kind, file: self.id }
    }

    fn to_bytes(&self) -> Bytes {
        serde_json::to_vec(self).unwrap_or_default().into() // Maps have text keys, so JSON takes it all.
    }

    fn from_bytes(bytes: &[u8]) -> Option<Self> {
        serde_json::from_slice(bytes).ok().filter(|entry: &Self| entry.format == FORMAT)
    }
}

impl Queued {
    /// When the next attempt is due, or when it was given up.
    pub(crate) fn at_ms(&self) -> u64 {
        time_of(&self.key)
    }
}

impl Queue {
    pub(crate) fn new(meta: Arc<dyn Meta>, hook: &str) -> Self {
        Self { meta, hook: hook.into() }
    }

    /// Adds an event that is due at once. Says whether it was not there yet: its place follows from
    /// the event, so that adding it twice in a row makes one entry.
    pub(crate) async fn add(&self, event: Event) -> Result<bool, MetaError> {
        let due_ms = event.at_ms;
        self.put(Shelf::Waiting, due_ms, &Entry::of(event)).await
    }

    /// What is due at `now_ms`, and not claimed.
    pub(crate) async fn due(&self, now_ms: u64) -> Result<Due, MetaError> {
        let mut due = Due { entries: Vec::new(), next_ms: None };
        let (found, _) = self.page(Shelf::Waiting, None, DUE_ENTRIES_MAX).await?;
        for queued in found {
            let ready_ms = queued.at_ms().max(queued.entry.claimed_until_ms);
            if ready_ms <= now_ms {
                due.entries.push(queued);
            } else {
                due.next_ms = Some(due.next_ms.map_or(ready_ms, |next| next.min(ready_ms)));
            }
        }
        Ok(due)
    }

    /// Takes an entry until `until_ms`, if it still is as it was found. Nobody else sends it before.
    pub(crate) async fn claim(
        &self,
        queued: Queued,
        until_ms: u64,
    ) -> Result<Option<Queued>, MetaError> {
        let entry = Entry { claimed_until_ms: until_ms, ..queued.entry };
        let key = self.key(Shelf::Waiting, queued.key.clone());
        match self.meta.put(key, entry.to_bytes(), Some(queued.version)).await {
            Ok(version) => Ok(Some(Queued { version, entry, ..queued })),
            Err(MetaError::Conflict) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// It was told: the entry goes. Says whether it was still there as it was claimed.
    pub(crate) async fn delivered(&self, claimed: &Queued) -> Result<bool, MetaError> {
        self.remove(Shelf::Waiting, claimed).await
    }

    /// An attempt failed, and another is due at `due_ms`.
    pub(crate) async fn again(
        &self,
        claimed: Queued,
        due_ms: u64,
        attempt: Attempt,
    ) -> Result<(), MetaError> {
        let entry = failed(&claimed.entry, attempt);
        self.relocate(Shelf::Waiting, &claimed, Shelf::Waiting, due_ms, &entry).await.map(drop)
    }

    /// The last attempt failed: it is kept for whoever looks, and can be sent again by
    /// [`replay`](Self::replay).
    pub(crate) async fn bury(&self, claimed: Queued, attempt: Attempt) -> Result<(), MetaError> {
        let at_ms = attempt.at_ms;
        let entry = failed(&claimed.entry, attempt);
        self.relocate(Shelf::Waiting, &claimed, Shelf::Dead, at_ms, &entry).await.map(drop)
    }

    /// Makes an entry due at `now_ms`, with all attempts before it. Says whether it was still there.
    pub(crate) async fn replay(
        &self,
        shelf: Shelf,
        found: &Queued,
        now_ms: u64,
    ) -> Result<bool, MetaError> {
        let entry = Entry { attempts: 0, claimed_until_ms: 0, ..found.entry.clone() };
        self.relocate(shelf, found, Shelf::Waiting, now_ms, &entry).await
    }

    /// The oldest of what was given up goes.
    pub(crate) async fn forget_oldest_dead(&self) -> Result<bool, MetaError> {
        let (found, _) = self.page(Shelf::Dead, None, 1).await?;
        match found.first() {
            Some(oldest) => self.remove(Shelf::Dead, oldest).await,
            None => Ok(false),
        }
    }

    /// Entries in their order, and where the next page begins.
    pub(crate) async fn page(
        &self,
        shelf: Shelf,
        after: Option<Bytes>,
        limit: usize,
    ) -> Result<(Vec<Queued>, Option<Bytes>), MetaError> {
        let limit = limit.min(SCAN_ENTRIES_MAX);
        let scanned = self.meta.scan(self.partition(shelf), after, limit).await?;
        let next = scanned.last().filter(|_| scanned.len() == limit).map(|(key, _)| key.clone());
        let read = |(key, meta::Entry { version, value }): (Bytes, meta::Entry)| {
            let entry = Entry::from_bytes(&value);
            if entry.is_none() {
                tracing::error!(hook = %self.hook, ?key, "an entry of a queue can't be read");
            }
            Some(Queued { key, version, entry: entry? })
        };
        Ok((scanned.into_iter().filter_map(read).collect(), next))
    }

    /// The entry of one event, wherever it is. Looks through everything.
    pub(crate) async fn find(&self, id: EventId) -> Result<Option<(Shelf, Queued)>, MetaError> {
        for shelf in [Shelf::Waiting, Shelf::Dead] {
            let mut after = None;
            loop {
                let (found, next) = self.page(shelf, after, SCAN_ENTRIES_MAX).await?;
                if let Some(queued) = found.into_iter().find(|q| q.entry.event_id() == id) {
                    return Ok(Some((shelf, queued)));
                }
                if next.is_none() {
                    break;
                }
                after = next;
            }
        }
        Ok(None)
    }

    /// How many entries there are, by counting them.
    pub(crate) async fn count(&self, shelf: Shelf) -> Result<u64, MetaError> {
        let (mut count, mut after) = (0, None);
        loop {
            let scanned = self.meta.scan(self.partition(shelf), after, SCAN_ENTRIES_MAX).await?;
            count += scanned.len() as u64;
            if scanned.len() < SCAN_ENTRIES_MAX {
                return Ok(count);
            }
            after = scanned.last().map(|(key, _)| key.clone());
        }
    }

    async fn put(&self, shelf: Shelf, at_ms: u64, entry: &Entry) -> Result<bool, MetaError> {
        let key = self.key(shelf, place(at_ms, entry.event_id()));
        changed(self.meta.put(key, entry.to_bytes(), None).await)
    }

    /// Writes an entry in its new place, and then takes it from the old one. Says whether it was
    /// still there as it was found.
    async fn relocate(
        &self,
        from: Shelf,
        found: &Queued,
        to: Shelf,
        at_ms: u64,
        entry: &Entry,
    ) -> Result<bool, MetaError> {
        let new = self.key(to, place(at_ms, entry.event_id()));
        if new != self.key(from, found.key.clone()) {
            self.put(to, at_ms, entry).await?;
            return self.remove(from, found).await;
        }
        // It stays where it is; to remove the old one would be to lose it.
        changed(self.meta.put(new, entry.to_bytes(), Some(found.version)).await)
    }

    async fn remove(&self, shelf: Shelf, queued: &Queued) -> Result<bool, MetaError> {
        changed(self.meta.delete(self.key(shelf, queued.key.clone()), queued.version).await)
    }

    fn key(&self, shelf: Shelf, key: Bytes) -> Key {
        Key { partition: self.partition(shelf), key }
    }

    fn partition(&self, shelf: Shelf) -> Bytes {
        let name = match shelf {
            Shelf::Waiting => "waiting",
            Shelf::Dead => "dead",
        };
        format!("hook-{name}/{}", self.hook).into()
    }
}

/// Whether a change was made; `false` where the key was in another state.
fn changed<T>(outcome: Result<T, MetaError>) -> Result<bool, MetaError> {
    match outcome {
        Ok(_) => Ok(true),
        Err(MetaError::Conflict) => Ok(false),
        Err(error) => Err(error),
    }
}

fn failed(entry: &Entry, attempt: Attempt) -> Entry {
    Entry {
        attempts: entry.attempts.saturating_add(1),
        claimed_until_ms: 0,
        last: Some(attempt),
        ..entry.clone()
    }
}

/// Scans go upwards: time first.
fn place(at_ms: u64, id: EventId) -> Bytes {
    [at_ms.to_be_bytes().as_slice(), id.to_string().as_bytes()].concat().into()
}

fn time_of(key: &[u8]) -> u64 {
    key.first_chunk::<8>().map_or(0, |time| u64::from_be_bytes(*time))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::meta::MemoryMeta;

    fn queue() -> Queue {
        Queue::new(Arc::new(MemoryMeta::default()), "a")
    }

    fn event(at_ms: u64, file: &str) -> Event {
        let id = EventId { kind: Kind::Removed, file: file.parse().unwrap() };
        Event { id, at_ms, file: json!({ "name": file }) }
    }

    const A: &str = "01000G0000000C000000000004";
    const B: &str = "01000G0000000C00000000000C";

    async fn due(queue: &Queue, now_ms: u64) -> Vec<Queued> {
        queue.due(now_ms).await.unwrap().entries
    }

    fn attempt(at_ms: u64) -> Attempt {
        Attempt { at_ms, outcome: "status 500".into() }
    }

    #[tokio::test]
    async fn the_longest_due_comes_first() {
        let queue = queue();
        for event in [event(300, A), event(100, B), event(200, A)] {
            assert!(queue.add(event).await.unwrap());
        }
        assert!(!queue.add(event(100, B)).await.unwrap(), "it is there already");
        let found = queue.due(250).await.unwrap();
        let order: Vec<_> = found.entries.iter().map(|q| (q.at_ms(), q.entry.event())).collect();
        assert_eq!(order, [(100, event(100, B)), (200, event(200, A))]);
        assert_eq!(found.next_ms, Some(300));
        assert_eq!(queue.count(Shelf::Waiting).await.unwrap(), 3);
    }

    #[tokio::test]
    async fn receivers_have_nothing_in_common() {
        let meta = Arc::new(MemoryMeta::default());
        Queue::new(meta.clone(), "a").add(event(1, A)).await.unwrap();
        assert!(due(&Queue::new(meta, "b"), 10).await.is_empty());
    }

    #[tokio::test]
    async fn of_two_who_claim_one_sends() {
        let queue = queue();
        queue.add(event(1, A)).await.unwrap();
        let found = due(&queue, 10).await.remove(0);
        let first = queue.claim(found.clone(), 50).await.unwrap().unwrap();
        assert!(queue.claim(found, 50).await.unwrap().is_none());
        // Nobody sees it before the lease is over, and everybody then.
        let meanwhile = queue.due(49).await.unwrap();
        assert_eq!((meanwhile.entries.len(), meanwhile.next_ms), (0, Some(50)));
        let again = due(&queue, 50).await.remove(0);
        assert!(queue.claim(again, 90).await.unwrap().is_some());
        assert!(!queue.delivered(&first).await.unwrap(), "it is somebody else's by now");
        assert_eq!(queue.count(Shelf::Waiting).await.unwrap(), 1);
    }

    #[tokio::test]
    async fn what_failed_comes_again_and_then_dies_and_can_be_replayed() {
        let queue = queue();
        queue.add(event(1, A)).await.unwrap();
        let claimed = queue.claim(due(&queue, 1).await.remove(0), 50).await.unwrap().unwrap();
        queue.again(claimed, 500, attempt(2)).await.unwrap();
        assert!(due(&queue, 499).await.is_empty());
        let found = due(&queue, 500).await.remove(0);
        assert_eq!((found.entry.attempts, found.entry.last.clone()), (1, Some(attempt(2))));

        let claimed = queue.claim(found, 550).await.unwrap().unwrap();
        queue.bury(claimed, attempt(501)).await.unwrap();
        assert_eq!(queue.count(Shelf::Waiting).await.unwrap(), 0);
        let (shelf, dead) = queue.find(event(1, A).id).await.unwrap().unwrap();
        assert_eq!((shelf, dead.entry.attempts, dead.at_ms()), (Shelf::Dead, 2, 501));

        assert!(queue.replay(shelf, &dead, 900).await.unwrap());
        assert_eq!(queue.count(Shelf::Dead).await.unwrap(), 0);
        let found = due(&queue, 900).await.remove(0);
        assert_eq!((found.entry.attempts, found.entry.event()), (0, event(1, A)));
    }

    #[tokio::test]
    async fn what_stays_in_its_place_is_not_lost() {
        let queue = queue();
        queue.add(event(5, A)).await.unwrap();
        let found = due(&queue, 5).await.remove(0);
        assert!(queue.replay(Shelf::Waiting, &found, 5).await.unwrap());
        let claimed = queue.claim(due(&queue, 5).await.remove(0), 9).await.unwrap().unwrap();
        queue.again(claimed, 5, attempt(5)).await.unwrap();
        assert_eq!(due(&queue, 5).await.remove(0).entry.attempts, 1);
    }

    #[tokio::test]
    async fn what_can_not_be_moved_stays_where_it_is() {
        let queue = queue();
        queue.add(event(1, A)).await.unwrap();
        let claimed = queue.claim(due(&queue, 1).await.remove(0), 50).await.unwrap().unwrap();
        let outcome = "x".repeat(meta::VALUE_BYTES_MAX);
        let moved = queue.again(claimed, 500, Attempt { at_ms: 2, outcome }).await;
        assert!(matches!(moved, Err(MetaError::TooLarge(_))), "{moved:?}");
        assert_eq!(due(&queue, 50).await.len(), 1, "nothing is taken away before it is elsewhere");
    }

    #[tokio::test]
    async fn pages_go_through_everything() {
        let queue = queue();
        for at_ms in 0..5 {
            queue.add(event(at_ms, A)).await.unwrap();
        }
        let (first, next) = queue.page(Shelf::Waiting, None, 3).await.unwrap();
        let (second, end) = queue.page(Shelf::Waiting, next, 3).await.unwrap();
        let times: Vec<_> = first.iter().chain(&second).map(Queued::at_ms).collect();
        assert_eq!((times, end), (vec![0, 1, 2, 3, 4], None));
    }

    #[tokio::test]
    async fn the_oldest_dead_goes_first() {
        let queue = queue();
        for (at_ms, file) in [(1, A), (2, B)] {
            queue.add(event(at_ms, file)).await.unwrap();
            let claimed = queue.claim(due(&queue, 9).await.remove(0), 50).await.unwrap().unwrap();
            queue.bury(claimed, attempt(at_ms)).await.unwrap();
        }
        assert!(queue.forget_oldest_dead().await.unwrap());
        assert!(queue.find(event(1, A).id).await.unwrap().is_none());
        assert!(queue.find(event(2, B).id).await.unwrap().is_some());
    }
}
