//! Goes through a folder of parts, and removes those that no record names and none ever will.

use std::collections::{BTreeMap, HashSet};
use std::path::Path;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use futures::TryStreamExt as _;
use outport_wire::UnixSeconds;
use outport_wire::id::FileId;

use super::{Collector, Mode, Round, Tally};
use crate::blobs::{Folder, StoredPart};
use crate::record::PartName;
use crate::store::{Held, Slot, StoreError};

/// How many parts are looked at together. They are in memory.
const BATCH_PARTS: usize = 1000;
/// Between two batches others get their turn.
const BATCH_PAUSE: Duration = Duration::from_millis(5);

impl Collector {
    /// Looks through one folder.
    pub(super) async fn look_through(
        &self,
        folder: Folder,
        round: &mut Round,
    ) -> Result<(), StoreError> {
        self.remove_unfinished(folder, round).await?;
        let mut batches = self.store.stored_in(folder).try_chunks(BATCH_PARTS);
        while let Some(batch) = batches.try_next().await.map_err(|failed| failed.1)? {
            round.done.parts_seen += batch.len() as u64;
            for (writer, parts) in by_writer(batch) {
                if let Err(error) = self.look_at_parts(writer, &parts, round).await {
                    round.done.failed(writer, &error);
                }
            }
            tokio::time::sleep(BATCH_PAUSE).await;
        }
        Ok(())
    }

    /// Looks at parts of one writer. They were seen before its record is read, so whoever wrote
    /// them began before that.
    async fn look_at_parts(
        &self,
        writer: FileId,
        parts: &[StoredPart],
        round: &mut Round,
    ) -> Result<(), StoreError> {
        let old = || parts.iter().filter(|part| self.is_old(unix_s(part.modified)));
        if old().next().is_none() {
            return Ok(());
        }
        let (garbage, is_shut_out): (Vec<_>, _) = match self.store.slot(writer).await? {
            Slot::Held(held) if self.is_orphan(&held).await? => {
                return self.remove_orphan(&held, round).await;
            }
            Slot::Held(held) => {
                let named: HashSet<_> = held.record.part_names(writer).into_iter().collect();
                let garbage: Vec<_> = old().filter(|part| !named.contains(&part.name)).collect();
                let shut_out = garbage.is_empty() || self.shut_out(&held, round.mode).await?;
                (garbage, shut_out)
            }
            Slot::Buried(_) | Slot::Empty => {
                (old().collect(), !round.removes() || self.store.bury(writer).await?)
            }
        };
        if is_shut_out {
            if round.removes() {
                let names: Vec<PartName> = garbage.iter().map(|part| part.name).collect();
                self.store.remove_parts(&names).await;
            }
            garbage.iter().for_each(|part| round.done.parts.add(part.bytes));
        }
        Ok(())
    }

    /// Makes sure that nobody adds parts to the record who began before it was read.
    async fn shut_out(&self, held: &Held, mode: Mode) -> Result<bool, StoreError> {
        if held.record.complete {
            return Ok(true);
        }
        if self.store.is_at_work(held.id) {
            return Ok(false);
        }
        if mode == Mode::Count { Ok(true) } else { self.store.shut_out(held).await }
    }

    /// Whether it was claimed by a final upload that is gone.
    async fn is_orphan(&self, held: &Held) -> Result<bool, StoreError> {
        let Some(last) = held.record.claimed_by() else { return Ok(false) };
        Ok(!matches!(self.store.slot(last).await?, Slot::Held(_)))
    }

    async fn remove_unfinished(&self, folder: Folder, round: &mut Round) -> Result<(), StoreError> {
        let Some(blobs) = &self.folder else { return Ok(()) };
        let folder = blobs.join(folder.name());
        let (collector, mode) = (self.clone(), round.mode);
        let removing =
            tokio::task::spawn_blocking(move || collector.remove_unfinished_now(&folder, mode));
        let removed = removing.await.map_err(|error| StoreError::Fault(error.to_string()))?;
        round.done.unfinished.count += removed.count;
        round.done.unfinished.bytes += removed.bytes;
        Ok(())
    }

    /// While a part is being written, `object_store` keeps it under its name, a `#` and a number,
    /// and passes over such files when it lists. One that nobody has written to for so long has no
    /// writer.
    fn remove_unfinished_now(&self, folder: &Path, mode: Mode) -> Tally {
        let mut removed = Tally::default();
        for entry in std::fs::read_dir(folder).into_iter().flatten().flatten() {
            let is_unfinished = entry.file_name().to_string_lossy().contains('#');
            let Some(metadata) = entry.metadata().ok().filter(|_| is_unfinished) else { continue };
            let modified = metadata.modified().unwrap_or_else(|_| SystemTime::now());
            if self.is_old(unix_s(modified))
                && (mode == Mode::Count || std::fs::remove_file(entry.path()).is_ok())
            {
                removed.add(metadata.len());
            }
        }
        removed
    }
}

fn by_writer(parts: Vec<StoredPart>) -> BTreeMap<FileId, Vec<StoredPart>> {
    let mut by_writer: BTreeMap<_, Vec<_>> = BTreeMap::new();
    for part in parts {
        by_writer.entry(part.name.writer).or_default().push(part);
    }
    by_writer
}

fn unix_s(time: SystemTime) -> UnixSeconds {
    time.duration_since(UNIX_EPOCH).unwrap_or_default().as_secs()
}
