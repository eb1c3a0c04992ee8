//! Frees what nobody needs any more: uploads and files that have expired, parts that no record
//! names, partial uploads whose final one is gone, entries of lists without a record, what crashes
//! left behind in ledgers.
//!
//! It works in small steps with pauses, all the time, beside uploads that run in this process and
//! beside other origins on the same store. It has no lock and trusts no clock with what was
//! acknowledged. Each thing that it removes was made impossible to need first, by a
//! compare-and-swap on the one record that could name it:
//!
//! - **An expired upload or file** is removed in the very state that was found to have expired. An
//!   append that commits before that renews it, and the removal fails; one that comes after finds
//!   nothing to commit to. What has expired stays for [`Collection::expired_for`], so that clocks
//!   that differ by less never take an upload early.
//! - **A part that a complete record does not name**: nothing is ever added to a complete record.
//!   The part was seen before the record was read, so it will never be named.
//! - **A part that an open record does not name** may be on its way into it, written by an append
//!   that sleeps. The record's epoch is raised first: whoever began in an older epoch can't commit
//!   any more, and whoever begins in the new one writes other parts. An upload that somebody works
//!   on in this process is left for a later round instead of being interrupted.
//! - **A part without a record** may belong to a file that is stored as a whole, whose record comes
//!   after its parts. A tombstone goes where the record would be, and a record that comes late
//!   fails. Tombstones stand for 30 days, and one that ends soon is put up anew before it is relied
//!   upon.
//! - **A partial upload that is claimed by a final one which does not exist**: the final record is
//!   there before the first claim, and an id never comes back, so the final upload was removed. Its
//!   partial ones were to go with it.
//! - **An entry of a list without a record**: a tombstone first, as for parts.
//!
//! So grace and clocks are for courtesy, not for safety: with no grace at all, an upload that runs
//! is told to begin a part anew or loses its turn, and no acknowledged byte is lost. The grace,
//! [`Collection::grace`], is longer than any part is written and waits to be named: a part is ended
//! after [`PART_AGE_MAX`](crate::store::PART_AGE_MAX), and a body that counts as a whole is cut
//! after the same time.
//!
//! A crash at any step leaves what the next round finds: the reason to look, an entry in the index
//! of what is due or the part itself, goes last.

mod due;
mod parts;
mod progress;
mod report;

use std::collections::HashSet;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use outport_wire::UnixSeconds;
use outport_wire::id::FileId;
use outport_wire::identity::Identity;
use tokio::sync::Mutex;

pub use self::report::{Collected, Tally};
use crate::blobs::Folder;
use crate::config::Collection;
use crate::metrics::Metrics;
use crate::store::{Slot, Store, StoreError};

/// How many entries of the index of what is due one step looks at. What is left is there in the
/// next one.
const STEP_ENTRIES_MAX: usize = 10_000;
/// How many a round looks at that somebody asked for.
const ROUND_ENTRIES_MAX: usize = 1_000_000;
/// The shortest pause between two steps.
const PAUSE_MIN: Duration = Duration::from_millis(1);

/// Whether anything is done about what is found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Mode {
    /// It is removed.
    Remove,
    /// It is counted.
    Count,
}

/// One step, or one round.
struct Round {
    mode: Mode,
    done: Collected,
    /// How many entries of the index of what is due may still be looked at.
    entries_left: usize,
    /// What was counted, where nothing is removed: it is found again by other entries.
    counted: HashSet<FileId>,
}

impl Round {
    fn new(mode: Mode, entries_left: usize) -> Self {
        Self { mode, done: Collected::default(), entries_left, counted: HashSet::new() }
    }

    fn removes(&self) -> bool {
        self.mode == Mode::Remove
    }

    /// Whether it counts: what is removed does once, by being removed.
    fn counts(&mut self, id: FileId) -> bool {
        self.removes() || self.counted.insert(id)
    }
}

/// The collector of one origin.
#[derive(Clone)]
pub(crate) struct Collector {
    store: Store,
    policy: Collection,
    /// Where the blob store keeps its files, if it does; unfinished ones are left there by a kill.
    folder: Option<PathBuf>,
    metrics: Arc<Metrics>,
    /// One round at a time. Inside is the tenant whose ledger was looked at last.
    turn: Arc<Mutex<Option<Bytes>>>,
}

impl Collector {
    pub(crate) fn new(
        store: Store,
        policy: Collection,
        folder: Option<PathBuf>,
        metrics: Arc<Metrics>,
    ) -> Self {
        Self { store, policy, folder, metrics, turn: Arc::default() }
    }

    /// Collects for ever, a small step at a time.
    pub(crate) async fn run(self) {
        let pause = (self.policy.round / Folder::COUNT).max(PAUSE_MIN);
        loop {
            tokio::time::sleep(pause).await;
            match self.step().await {
                Ok(done) if done.is_empty() => {}
                Ok(done) => tracing::info!(?done, "collected"),
                Err(error) => tracing::warn!(%error, "nothing was collected"),
            }
        }
    }

    /// What is due, and one folder of parts. Several collectors on one store share the folders.
    pub(crate) async fn step(&self) -> Result<Collected, StoreError> {
        let mut last_ledger = self.turn.lock().await;
        let mut round = Round::new(Mode::Remove, STEP_ENTRIES_MAX);
        *last_ledger = self.store.reconcile_ledgers(last_ledger.take()).await?;
        self.look_at_due(&mut round).await?;
        self.look_at_noticed(&mut round).await;
        if let Some(folder) = self.next_folder().await? {
            self.look_through(folder, &mut round).await?;
        }
        self.metrics.collected(&round.done);
        Ok(round.done)
    }

    /// One round over everything, now.
    pub(crate) async fn round(&self, mode: Mode) -> Result<Collected, StoreError> {
        let _turn = self.turn.lock().await;
        let mut round = Round::new(mode, ROUND_ENTRIES_MAX);
        if round.removes() {
            // Before any tombstone goes that tells a ledger who has removed a record.
            let mut last = None;
            while let Some(next) = self.store.reconcile_ledgers(last).await? {
                last = Some(next);
            }
        }
        self.look_at_due(&mut round).await?;
        self.look_at_noticed(&mut round).await;
        for folder in Folder::all() {
            self.look_through(folder, &mut round).await?;
        }
        if round.removes() {
            self.metrics.collected(&round.done);
            self.metrics.round_ended(self.store.now_s());
        }
        Ok(round.done)
    }

    /// Looks at entries of lists that had no record when they were seen.
    async fn look_at_noticed(&self, round: &mut Round) {
        for (owner, id) in self.store.noticed() {
            if !self.is_old(id.unix_ms() / 1000) {
                continue;
            }
            match self.unlist(&owner, id, round.mode).await {
                Ok(true) => round.done.list_entries += 1,
                Ok(false) => {}
                Err(error) => round.done.failed(id, &error),
            }
        }
    }

    /// Takes an entry without a record off its owner's list.
    async fn unlist(&self, owner: &Identity, id: FileId, mode: Mode) -> Result<bool, StoreError> {
        if matches!(self.store.slot(id).await?, Slot::Held(_))
            || !self.store.is_listed(owner, id).await?
        {
            return Ok(false);
        }
        if mode == Mode::Remove {
            if !self.store.bury(id).await? {
                return Ok(false); // The record has come.
            }
            self.store.unlist(owner, id).await;
        }
        Ok(true)
    }

    /// Takes an entry that has no record off its owner's list.
    pub(crate) async fn take_off_list(
        &self,
        owner: &Identity,
        id: FileId,
    ) -> Result<bool, StoreError> {
        self.unlist(owner, id, Mode::Remove).await
    }

    /// Whether what was made then is old enough to be looked at.
    pub(crate) fn is_old(&self, made_s: UnixSeconds) -> bool {
        self.has_passed(made_s, self.policy.grace)
    }

    fn has_passed(&self, since_s: UnixSeconds, time: Duration) -> bool {
        since_s.saturating_add(time.as_secs()) <= self.store.now_s()
    }
}

#[cfg(test)]
pub(crate) mod scene;
#[cfg(test)]
mod tests;
