//! What the collector works with: looks that change nothing, and steps that a crash, a race or a
//! late writer turns into nothing or into what was meant.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, PoisonError};

use bytes::Bytes;
use futures::TryStreamExt as _;
use futures::stream::{BoxStream, StreamExt as _};
use outport_wire::id::FileId;
use outport_wire::identity::Identity;

use super::{Held, Store, StoreError};
use crate::blobs::{Folder, StoredPart};
use crate::hooks::Kind;
use crate::meta::{Key, MetaError, Version};
use crate::record::PartName;

/// How many entries of lists are remembered until the collector looks at them.
const NOTICED_MAX: usize = 1000;

/// Entries of lists that were seen to have no record, for the collector to look at.
#[derive(Clone, Debug, Default)]
pub(crate) struct Noticed(Arc<Mutex<BTreeSet<(String, String, FileId)>>>);

impl Noticed {
    /// Remembers an entry, unless too many are remembered: it will be seen again.
    pub(super) fn add(&self, owner: &Identity, id: FileId) {
        let mut noticed = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if noticed.len() < NOTICED_MAX {
            noticed.insert((owner.tenant.clone(), owner.subject.clone(), id));
        }
    }

    fn take(&self) -> Vec<(Identity, FileId)> {
        let taken = std::mem::take(&mut *self.0.lock().unwrap_or_else(PoisonError::into_inner));
        let identity =
            |tenant: &str, subject: &str| Identity::new(tenant, subject, Default::default()).ok();
        let taken = taken.into_iter();
        taken.filter_map(|(tenant, subject, id)| Some((identity(&tenant, &subject)?, id))).collect()
    }
}

impl Store {
    /// The parts in one folder, finished ones alone.
    pub(crate) fn stored_in(
        &self,
        folder: Folder,
    ) -> BoxStream<'static, Result<StoredPart, StoreError>> {
        self.blobs.stored_in(folder).map_err(StoreError::from).boxed()
    }

    /// Removes parts. The caller has made sure that no record names them, or ever will.
    pub(crate) async fn remove_parts(&self, names: &[PartName]) {
        self.blobs.remove(names).await;
    }

    /// Whether somebody in this process is at work on the upload.
    pub(crate) fn is_at_work(&self, id: FileId) -> bool {
        self.turns.is_taken(id)
    }

    /// Raises the epoch of a record that is still in the `held` state, so that no append commits
    /// that began before. `false` where the record is in another state by now.
    pub(crate) async fn shut_out(&self, held: &Held) -> Result<bool, StoreError> {
        let mut raised = held.clone();
        raised.record.epoch = raised.record.epoch.wrapping_add(1);
        changed(self.replace(&raised).await.map(drop))
    }

    /// Removes what is still in the `held` state, parts and all. `false` where it is in another
    /// state by now. `news` is what is told of it.
    pub(crate) async fn remove_held(
        &self,
        held: &Held,
        news: Option<Kind>,
    ) -> Result<bool, StoreError> {
        let announced = self.announce_removal(held, news).await?;
        let removed = changed(self.vacate(held).await)?;
        if removed {
            self.hooks.made(announced);
            self.remove_remains(held).await;
        }
        Ok(removed)
    }

    /// Whether an owner's list has an entry for the id.
    pub(crate) async fn is_listed(&self, owner: &Identity, id: FileId) -> Result<bool, StoreError> {
        Ok(self.meta.get(super::list::entry_key(owner, id)).await?.is_some())
    }

    /// The same store as another process has it open.
    #[cfg(test)]
    pub(crate) fn elsewhere(&self) -> Self {
        Self { turns: Default::default(), noticed: Default::default(), ..self.clone() }
    }

    /// How long a part is. `None` where it is not there.
    pub(crate) async fn part_bytes(&self, name: PartName) -> Result<Option<u64>, StoreError> {
        Ok(self.blobs.length(name).await?)
    }

    /// Entries of lists that had no record when they were seen.
    pub(crate) fn noticed(&self) -> Vec<(Identity, FileId)> {
        self.noticed.take()
    }

    /// Puts an entry into an owner's list again that is missing there.
    pub(crate) async fn list_again(&self, owner: &Identity, id: FileId) -> Result<(), StoreError> {
        match self.list_entry(owner, id).await {
            Ok(()) | Err(StoreError::Contended) => Ok(()), // It is there by now.
            Err(error) => Err(error),
        }
    }

    /// What the collector remembers.
    pub(crate) async fn collector_progress(&self) -> Result<Option<(Version, Bytes)>, StoreError> {
        let entry = self.meta.get(progress_key()).await?;
        Ok(entry.map(|entry| (entry.version, entry.value)))
    }

    /// Remembers where the collector is, unless another collector has gone on meanwhile.
    pub(crate) async fn set_collector_progress(
        &self,
        expected: Option<Version>,
        value: Bytes,
    ) -> Result<bool, StoreError> {
        changed(self.meta.put(progress_key(), value, expected).await.map(drop))
    }
}

/// Whether a change was made for certain.
fn changed(outcome: Result<(), MetaError>) -> Result<bool, StoreError> {
    match outcome {
        Ok(()) => Ok(true),
        Err(MetaError::Conflict | MetaError::Uncertain(_)) => Ok(false),
        Err(error) => Err(error.into()),
    }
}

fn progress_key() -> Key {
    Key::new("collector", "progress")
}

#[cfg(test)]
mod tests {
    use outport_wire::id::Home;

    use super::*;

    #[test]
    fn so_many_entries_are_remembered_and_no_more() {
        let owner = Identity::new("demo", "alice", Default::default()).unwrap();
        let noticed = Noticed::default();
        for random in 0..NOTICED_MAX as u64 + 10 {
            noticed.add(&owner, FileId::new(Home::of(0, "demo", "alice"), 1, random));
        }
        assert_eq!(noticed.take().len(), NOTICED_MAX);
        assert_eq!(noticed.take(), []);
    }
}
