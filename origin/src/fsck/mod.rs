//! Proves that records, manifests and parts agree, or says where they don't.
//!
//! It goes through all metadata once and through all parts once, beside uploads that run. What
//! looks wrong is looked at again in its latest state before it is told: it may have been changed
//! meanwhile. Repairs are made only where nothing can be lost by them; what is damaged or missing
//! can't be made again.

mod record;
mod report;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, HashSet};
use std::sync::Arc;

use futures::TryStreamExt as _;
use outport_wire::UnixSeconds;
use outport_wire::id::FileId;

pub use self::report::{Disagreement, Fscked, Kind};
use crate::blobs::Folder;
use crate::collector::Collector;
use crate::meta::{Entry, Key, Walk};
use crate::store::{
    Slot, Store, StoreError, day_of, due_entry, list_owner, listed_id, stored_slot,
};

/// How many entries are fetched at once.
const ENTRIES: usize = 500;
/// How many ids are remembered to compare records with the index of what is due: 64 MiB of them,
/// about. In a store with more open uploads than this, the rest is not compared.
const IDS_MAX: usize = 2_000_000;
/// For so many missing entries the index is searched, in case the entry has only moved.
const SEARCHES_MAX: usize = 1000;

/// A check of one store.
#[derive(Clone)]
pub(crate) struct Fsck {
    store: Store,
    all: Arc<dyn Walk>,
    /// Makes the repairs that are its own work, too.
    collector: Collector,
}

/// One run.
struct Run {
    repair: bool,
    found: Fscked,
    /// What is to expire, and when. In order, so that the same store is told of in the same way.
    expecting: BTreeMap<FileId, UnixSeconds>,
    /// What the index of what is due knows.
    noted: HashSet<FileId>,
}

impl Fsck {
    pub(crate) fn new(store: Store, all: Arc<dyn Walk>, collector: Collector) -> Self {
        Self { store, all, collector }
    }

    /// Goes through everything, and repairs what can be repaired if it is told to.
    pub(crate) async fn run(&self, repair: bool) -> Result<Fscked, StoreError> {
        let mut run = Run {
            repair,
            found: Fscked::default(),
            expecting: BTreeMap::new(),
            noted: HashSet::new(),
        };
        let mut after = None;
        loop {
            let entries = self.all.walk(after, ENTRIES).await?;
            let last = entries.len() < ENTRIES;
            after = entries.last().map(|(key, _)| key.clone());
            for (key, entry) in &entries {
                self.look(key, entry, &mut run).await?;
            }
            if last {
                break;
            }
        }
        self.compare_index(&mut run).await?;
        for folder in Folder::all() {
            self.look_through(folder, &mut run).await?;
        }
        Ok(run.found)
    }

    async fn look(&self, key: &Key, entry: &Entry, run: &mut Run) -> Result<(), StoreError> {
        if let Some((id, slot)) = stored_slot(key, entry) {
            return self.look_at_slot(id, slot, run).await;
        }
        if let Some(owner) = list_owner(&key.partition)
            && let Some(id) = listed_id(&key.key)
        {
            run.found.list_entries += 1;
            return self.look_at_listed(&owner, id, run).await;
        }
        if let Some((_, id)) = due_entry(key) {
            run.found.due_entries += 1;
            remember(&mut run.noted, &mut run.found.index_compared, id);
            return Ok(());
        }
        run.found.others += 1;
        Ok(())
    }

    async fn look_at_slot(
        &self,
        id: FileId,
        slot: Result<Slot, String>,
        run: &mut Run,
    ) -> Result<(), StoreError> {
        match slot {
            Ok(Slot::Held(held)) => self.look_at_record(held, run).await,
            Ok(Slot::Buried(_) | Slot::Empty) => {
                run.found.tombstones += 1;
                Ok(())
            }
            Err(reason) => {
                run.found.tell(Kind::UnreadableRecord, id, reason, false);
                Ok(())
            }
        }
    }

    async fn look_at_listed(
        &self,
        owner: &outport_wire::identity::Identity,
        id: FileId,
        run: &mut Run,
    ) -> Result<(), StoreError> {
        match self.store.slot(id).await {
            Ok(Slot::Held(held)) if held.owner().as_ref() == Some(owner) => {}
            Ok(Slot::Held(held)) => {
                let record = &held.record;
                let whose = format!(
                    "of {} in {}, it is in the list of another",
                    record.owner, record.tenant
                );
                run.found.tell(Kind::ListedElsewhere, id, whose, false);
            }
            // A file that is stored as a whole has its record last.
            Ok(Slot::Buried(_) | Slot::Empty) if !self.collector.is_old(id.unix_ms() / 1000) => {
                run.found.entries_without_record += 1;
            }
            Ok(Slot::Buried(_) | Slot::Empty) => {
                let repaired = run.repair && self.collector.take_off_list(owner, id).await?;
                let whose = format!("in the list of {} in {}", owner.subject, owner.tenant);
                run.found.tell(Kind::ListedWithoutRecord, id, whose, repaired);
            }
            Err(StoreError::Fault(_)) => {} // Told where its record is.
            Err(error) => return Err(error),
        }
        Ok(())
    }

    /// What is to expire has an entry in the index of what is due, or the collector never looks.
    async fn compare_index(&self, run: &mut Run) -> Result<(), StoreError> {
        let expecting = std::mem::take(&mut run.expecting);
        let missing: Vec<_> =
            expecting.into_iter().filter(|(id, _)| !run.noted.contains(id)).collect();
        for (place, (id, _)) in missing.into_iter().enumerate() {
            // It may have changed, or its entry may have moved past the walk.
            let Ok(Slot::Held(held)) = self.store.slot(id).await else { continue };
            let Some(expires_s) = self.collector.expects(&held.record) else { continue };
            if place < SEARCHES_MAX && self.is_noted(id, expires_s).await? {
                continue;
            }
            if run.repair {
                self.store.expect_expiry(&held, expires_s).await?;
            }
            run.found.tell(Kind::NotDue, id, String::new(), run.repair);
        }
        Ok(())
    }

    /// Whether the index has an entry for the id before or at the time when it expires.
    async fn is_noted(&self, id: FileId, expires_s: UnixSeconds) -> Result<bool, StoreError> {
        for day in self.collector.first_day().await?..=day_of(expires_s) {
            let mut after = None;
            loop {
                let entries = self.store.due(day, after, ENTRIES).await?;
                if entries.iter().any(|due| due.id == id) {
                    return Ok(true);
                }
                if entries.len() < ENTRIES {
                    break;
                }
                after = entries.last().map(crate::store::Due::cursor);
            }
        }
        Ok(false)
    }

    /// Counts the parts in a folder, and those among them that no record names.
    async fn look_through(&self, folder: Folder, run: &mut Run) -> Result<(), StoreError> {
        let mut parts = self.store.stored_in(folder);
        while let Some(part) = parts.try_next().await? {
            run.found.parts.add(part.bytes);
            let named = match self.store.slot(part.name.writer).await {
                Ok(Slot::Held(held)) => held.record.part_names(held.id).contains(&part.name),
                Ok(Slot::Buried(_) | Slot::Empty) => false,
                Err(StoreError::Fault(_)) => true, // Nobody knows, so it stays.
                Err(error) => return Err(error),
            };
            if !named {
                run.found.unnamed_parts.add(part.bytes);
            }
        }
        Ok(())
    }
}

/// Remembers an id, while there is room.
fn remember(ids: &mut HashSet<FileId>, all: &mut bool, id: FileId) {
    if ids.len() < IDS_MAX {
        ids.insert(id);
    } else {
        *all = false;
    }
}
