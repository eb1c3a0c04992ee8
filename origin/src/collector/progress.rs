//! Where the collector is, kept beside the metadata: the folder that is looked through next, and
//! the first day on which something may still be due.

use bytes::Bytes;
use outport_wire::UnixSeconds;
use serde::{Deserialize, Serialize};

use super::Collector;
use crate::blobs::Folder;
use crate::meta::Version;
use crate::store::{StoreError, day_of};

/// Nothing was ever due before this day: 2025-01-01.
const FIRST_DAY: u64 = 20_089;
/// So many days before today are looked at even if nothing was due on them: an origin whose clock
/// is slow may still write there.
const LATE_DAYS: u64 = 2;

#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct Progress {
    next_folder: Folder,
    first_day: u64,
    /// When the last folder was reached last.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    round_ended_s: Option<UnixSeconds>,
}

impl Default for Progress {
    fn default() -> Self {
        Self { next_folder: Folder::first(), first_day: FIRST_DAY, round_ended_s: None }
    }
}

impl Progress {
    fn read(value: &[u8]) -> Self {
        // What can't be read is begun anew, which costs time and nothing else.
        serde_json::from_slice(value).unwrap_or_default()
    }

    fn to_bytes(&self) -> Bytes {
        serde_json::to_vec(self).unwrap_or_default().into()
    }
}

impl Collector {
    /// Takes the next folder. `None` where another collector was faster.
    pub(super) async fn next_folder(&self) -> Result<Option<Folder>, StoreError> {
        let (version, mut progress) = self.progress().await?;
        let folder = progress.next_folder;
        progress.next_folder = folder.next();
        if progress.next_folder == Folder::first() {
            progress.round_ended_s = Some(self.store.now_s());
        }
        if let Some(ended_s) = progress.round_ended_s {
            self.metrics.round_ended(ended_s);
        }
        let taken = self.store.set_collector_progress(version, progress.to_bytes()).await?;
        Ok(taken.then_some(folder))
    }

    /// The first day on which something may be due. However far a clock has jumped, it is never
    /// later than today.
    pub(crate) async fn first_day(&self) -> Result<u64, StoreError> {
        Ok(self.progress().await?.1.first_day.min(self.last_settled_day()))
    }

    /// Nothing is due before `day` any more.
    pub(super) async fn settled_before(&self, day: u64) -> Result<(), StoreError> {
        let (version, mut progress) = self.progress().await?;
        let day = day.min(self.last_settled_day());
        if progress.first_day != day {
            progress.first_day = day;
            self.store.set_collector_progress(version, progress.to_bytes()).await?;
        }
        Ok(())
    }

    fn last_settled_day(&self) -> u64 {
        day_of(self.store.now_s()).saturating_sub(LATE_DAYS)
    }

    async fn progress(&self) -> Result<(Option<Version>, Progress), StoreError> {
        Ok(match self.store.collector_progress().await? {
            Some((version, value)) => (Some(version), Progress::read(&value)),
            None => (None, Progress::default()),
        })
    }
}
